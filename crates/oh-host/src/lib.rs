//! oh-host
