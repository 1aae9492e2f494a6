//! oh-config
#![no_std]
extern crate alloc;
