//! The command line, and which function answers each command.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::setup::{self, Need};
use crate::{bench, ci, deploy, docs, test, workspace};

/// Build, test and run the toolkit
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests or the sandbox need, after saying what that is
    Setup {
        /// Install only what this needs
        #[arg(long = "for", value_enum, default_value = "test")]
        need: Need,
        /// Say what is missing and install nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring a whole deployment up in a folder, or take it down
    Deploy(deploy::Request),
    /// Run the tests
    Test(test::Request),
    /// Run what continuous integration runs
    Ci,
    /// Write the files under docs/ that the tools can write themselves
    Docs {
        /// Fail where a file is out of date, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of the house: the top level, the manifests, the import edges
    Tidy,
    /// Build a benchmark for release and run it
    Bench {
        /// Name of the benchmark; without it, list them
        name: Option<String>,
        /// Arguments handed on to it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Parses the command line, does what it asks, and returns the exit code to end with.
///
/// # Errors
///
/// Whatever the command reports; `failure` maps it to an exit code.
pub(crate) fn run() -> Result<u8> {
    let cli = Cli::parse();
    let shell = workspace::shell()?;
    match cli.command {
        Command::Setup { need, dry_run: true } => setup::announce_only(need),
        Command::Setup { need, dry_run: false } => setup::run(&shell, need).map(|_| 0),
        Command::Deploy(request) => deploy::run(&shell, &request),
        Command::Test(request) => test::run(&shell, &request),
        Command::Ci => ci::run(&shell),
        Command::Docs { check } => docs::run(&shell, check),
        Command::Tidy => test::tidy(&shell),
        Command::Bench { name, arguments } => bench::run(&shell, name.as_deref(), &arguments),
    }
}
