//! The build tool: installs what the tests need, builds, and runs the tools.
//!
//! It imports none of our crates, so `cargo xtask --help` compiles in seconds. What it does not do
//! is decide anything about a deployment: that is `oh-deploy`.

use std::process::ExitCode;

mod bench;
mod ci;
mod cli;
mod deploy;
mod docs;
mod failure;
mod setup;
mod test;
mod workspace;

fn main() -> ExitCode {
    failure::exit_code(cli::run())
}
