//! oh-nginx-conf
#![no_std]
extern crate alloc;
