//! Routes to nginx text, and nginx text back to a tree.
//!
//! Two directions that share no code, so that each can judge the other: [`layout`] writes the
//! one file that we own, by a typed writer that quotes by construction; [`parse`] reads anybody's
//! configuration with file and line, [`inspect`] answers questions about what was read, and
//! [`served`] reads our own file back and proves that two versions differ in data lines only, and
//! [`generated`] recognises what the generators of old wrote.
//!
//! Everything is pure (`no_std`). Opening files, following `include`, running nginx and putting
//! the file in its place are the business of `oh-host`.

#![no_std]

extern crate alloc;

pub mod generated;
pub mod inspect;
pub mod layout;
pub mod legacy;
pub mod lint;
mod lua;
pub mod parse;
pub mod secret;
pub mod served;
pub mod version;
pub mod write;
