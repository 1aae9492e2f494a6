//! oh-term
