//! Nouns, their file formats, and the vocabulary of doing and judging.
//!
//! Everything here is pure: text goes in, values and text come out. No file, process, network,
//! environment, clock or hash seed can be reached (`no_std`); what they know arrives as an
//! argument. This room does not read configuration (`oh-config`), does not know nginx's syntax
//! (`oh-nginx-conf`) and does nothing to the machine (`oh-host`).

#![no_std]

extern crate alloc;

pub mod check;
pub mod container;
pub mod databases;
pub mod diagnostic;
pub mod editor_command;
pub mod environment;
pub mod escaped;
pub mod exit;
pub mod held_by;
pub mod hint;
pub mod id;
pub mod idleness;
pub mod instance;
pub mod leftover;
pub mod listening;
pub mod openhands_command;
pub mod path;
pub mod plan;
pub mod port;
pub mod redact;
pub mod restart;
pub mod retirement;
pub mod routes;
pub mod run;
pub mod session;
pub mod unit;
pub mod upstream;
