//! `oh-nginx`: routes from sessions and repositories.
//!
//! Shows, plans and publishes what nginx serves. All decisions are `oh-model`'s and
//! `oh-nginx-conf`'s, all doing is `oh-host::publish`'s; here is what people see of it.

mod adopt;
mod cli;
mod commands;
mod config;
mod edge;
mod lint;
mod report;
mod routes;
mod watch;

pub use cli::Cli;
