//! The arguments of `oh-nginx`.

use clap::{Args, Parser, Subcommand};
use oh_term::{Answer, Common, Failure, Format, Tool};

use crate::watch::Unit;
use crate::{adopt, commands, config, lint, watch};

/// Route sessions and repositories through nginx
///
/// Reads the session files and the repository databases, writes one file of nginx
/// configuration, and makes nginx serve it: tested before, seen after, put back if it is not.
#[derive(Debug, Parser)]
#[command(name = "oh-nginx", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the file that would be served
    Render,
    /// Show what would change, as a diff and as steps
    Plan,
    /// Make nginx serve what the sessions and repositories say
    ///
    /// Exit codes: 0 served, 1 in place but no nginx runs, 2 refused, 5 another run publishes,
    /// 6 failed and nothing changed, 7 put back, 8 could not be put back, 78 configuration.
    Apply,
    /// Keep what is served in step with the sessions and repositories
    ///
    /// Goes on until SIGTERM (exit code 0) or SIGINT (130); SIGHUP reads the configuration again.
    /// Moves the files of sessions aside whose editors are gone for longer than
    /// sessions.retire_after_s. Makes no login. Exit code 5: another watch lives.
    Watch {
        /// Look once and end, with the exit codes of `apply`: for timers
        #[arg(long)]
        once: bool,
        /// Print a systemd unit that fits this configuration, and do nothing else
        #[arg(long, value_enum, value_name = "UNIT", conflicts_with = "once")]
        print_unit: Option<Unit>,
    },
    /// Say which routes are served, and what is not routed and why
    ///
    /// Exit codes: 0 all is served, 1 something waits for `apply` or nginx does not run.
    Status,
    /// Make a new password for the login and print it once
    Login,
    /// Take over an older installation: its site, its generator, its routes
    ///
    /// Keeps every file that changes, disables the old site, puts a script that calls `apply` in
    /// the place of the generator, and serves the routes. All of it comes back with `release`.
    ///
    /// Exit codes: 0 taken over or nothing to do, 1 in place but no nginx runs, 2 refused, 5
    /// another run publishes, 7 failed and put back, 8 could not be put back, 78 configuration.
    Adopt(adopt::Consent),
    /// Give back what `adopt` took over, byte for byte
    ///
    /// Exit codes: 0 given back or nothing to do, 1 given back but not served, 2 refused because
    /// something was changed since, 5 another run publishes.
    Release(adopt::Consent),
    /// Name each line that breaks VS Code or Socket.IO, and the lines that mend it
    ///
    /// What opens a hole is named too. Exit codes: 0 nothing but warnings and notes, 1 an error
    /// found, 2 usage, 4 could not look.
    Lint(LintArguments),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub(crate) struct LintArguments {
    /// Read this file and what it includes, or with - what `nginx -T` prints; without it, nginx's
    /// own configuration
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Ask the editors that FILE leads to on this machine which kind they are
    #[arg(long)]
    pub(crate) ask: bool,
    /// Print the page of a rule and judge nothing
    #[arg(long, value_name = "RULE", conflicts_with_all = ["file", "ask"])]
    pub(crate) explain: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings in force
    Show {
        /// Say where each value comes from and what it shadows
        #[arg(long)]
        origin: bool,
    },
    /// Name every fault of the configuration, with file, line and column
    Check,
}

impl Tool for Cli {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn format(&self) -> Format {
        self.common.format
    }

    fn carried(&self) -> Vec<String> {
        self.common.carried()
    }

    fn answer(self) -> Result<Answer, Failure> {
        match self.command {
            Command::Render => commands::render(&self.common),
            Command::Plan => commands::plan(&self.common),
            Command::Apply => commands::apply(&self.common),
            Command::Watch { print_unit: Some(unit), .. } => watch::print(unit, &self.common),
            Command::Watch { once: true, .. } => watch::once(&self.common),
            Command::Watch { .. } => watch::watch(&self.common),
            Command::Status => commands::status(&self.common),
            Command::Login => commands::login(&self.common),
            Command::Adopt(consent) => adopt::adopt(consent, &self.common),
            Command::Release(consent) => adopt::release(consent, &self.common),
            Command::Lint(arguments) => lint::answer(&arguments, &self.common),
            Command::Config(command) => config::answer(&command, &self.common),
        }
    }
}
