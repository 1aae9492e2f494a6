//! oh-nginx
