//! `oh-cleanup`: the incident tool.
//!
//! What is there is gathered, what is to be done is decided over it by a pure function, other code looks
//! at that plan with distrust, and that very value is shown, asked for and carried out, step by step,
//! each written down before it is done. Nothing is destroyed: what is taken away is renamed into a
//! quarantine, and a journal says how it comes back. What the machine was like before is kept as
//! evidence.

mod after;
mod apply;
mod clean;
mod cli;
mod elsewhere;
mod evidence;
mod facts;
mod fault;
mod guard;
mod interrupt;
mod journal;
mod known;
mod limit;
mod lines;
mod plan;
mod planfile;
mod purge;
mod remains;
mod report;
mod request;
mod room;
mod runs;
mod step;
mod undo;
mod unread;
mod waits;

pub use cli::Cli;
