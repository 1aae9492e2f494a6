//! `oh-instances`: editors started, watched, recovered and stopped.
//!
//! A record is wanted before anything runs, and withdrawn after nothing runs any more; what lies
//! between is told by the kernel. One supervisor an instance, a process of this very program, holds
//! its port and starts its editor again; the commands only ask it and look. nginx's routes are
//! `oh-host::publish`'s, and what the original's databases say is an input of theirs like any other.

mod cli;
mod commands;
mod editor;
mod env;
mod fault;
mod idle;
mod inputs;
mod lasting;
mod launch;
mod list;
mod logs;
mod look;
mod ready;
mod reconcile;
mod report;
mod room;
mod start;
mod status;
mod stop;
mod supervise;
mod target;
mod units;
mod view;
mod work;

pub use cli::Cli;
