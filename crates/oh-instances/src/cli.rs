//! The arguments of `oh-instances`.

use clap::{Args, Parser, Subcommand};
use oh_term::{Answer, Common, Failure, Format, Tool};

use crate::units::Unit;
use crate::{commands, env, supervise, units};

/// Start, watch, recover and stop the editors of sessions and repositories
///
/// Each editor has its own folders, its own key and its own supervisor, which starts it again when
/// it fails. A command that reports success has seen what it says.
#[derive(Debug, Parser)]
#[command(name = "oh-instances", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the editor of a repository or of a session, and serve it
    ///
    /// One that runs already is the answer. Exit codes: 0 it runs and is served, 2 refused, 5
    /// another command works on it, 6 failed and taken back, 8 failed and not taken back, 78
    /// configuration.
    Start(StartArguments),
    /// Stop editors: all that they started, their routes and their records
    ///
    /// Exit codes: 0 stopped or nothing to do, 1 something is left and named, 2 refused, 5 another
    /// command works on it.
    Stop(StopArguments),
    /// Start an editor anew, on its port and behind its route
    Restart {
        /// The instance
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Write the file of variables that OpenHands is started with
    ///
    /// Each variable has a comment that says who reads it. Lines of others stay as they are. Exit
    /// codes: 0 written or nothing to do, 2 refused, 6 failed and as before, 78 configuration.
    Env(EnvArguments),
    /// Print a unit of systemd that fits this configuration
    PrintUnit {
        /// The unit
        #[arg(value_enum, value_name = "UNIT")]
        unit: Unit,
    },
    /// Run the supervisor of an instance; `start` does
    #[command(hide = true)]
    Supervise {
        /// The instance
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// Name the instance, where the folder's name makes no id
    #[arg(long, value_name = "ID", requires = "repo")]
    pub(crate) name: Option<String>,
    /// Give the session this many ports for applications
    #[arg(long, value_name = "N", default_value_t = 0, requires = "session")]
    pub(crate) apps: usize,
    /// Run the editor as this user; root only
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Demand this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SubjectArguments {
    /// Open this folder
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: Option<String>,
    /// Open the workspace of this session; it is made where it is missing
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EnvArguments {
    /// Write the file of the user whom OpenHands runs as; root only
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Print what a new file would have, and write nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) print: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// The instances
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Stop every instance
    #[arg(long)]
    pub(crate) all: bool,
    /// Remove settings, extensions and logs too
    #[arg(long)]
    pub(crate) purge: bool,
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
            Command::Start(arguments) => commands::start(&arguments, &self.common),
            Command::Stop(arguments) => commands::stop(&arguments, &self.common),
            Command::Restart { id } => commands::restart(&id, &self.common),
            Command::Env(arguments) => env::env(&arguments, &self.common),
            Command::PrintUnit { unit } => units::print(unit, &self.common),
            Command::Supervise { id } => supervise::answer(&id, &self.common),
        }
    }
}
