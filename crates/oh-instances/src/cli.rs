//! The arguments of `oh-instances`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use oh_model::session::APPS_MAX;
use oh_term::{Answer, Common, Failure, Format, Tool, duration};

use crate::units::Unit;
use crate::{commands, env, idle, list, logs, reconcile, status, supervise, units};

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
    /// One that runs already is the answer. Exit codes: 0 it runs and is served, 1 it runs and its
    /// route could not be looked after, 2 refused, 4 something could not be looked at, 5 another
    /// command works on it, 6 failed and taken back, 8 failed and not taken back, 78 configuration,
    /// 130 interrupted: taken back, or going on by itself where it ran before.
    Start(StartArguments),
    /// Stop editors: all that they started, their routes and their records
    ///
    /// With --idle, those that nobody has used for so long: nobody is connected, no terminal has
    /// more than a shell that waits, and nothing works. What cannot be judged is spared.
    ///
    /// Exit codes: 0 stopped or nothing to do, 1 something is left and named, 2 refused, 4 some could
    /// not be judged, 5 another command works on it, 130 interrupted before it came to all.
    Stop(StopArguments),
    /// Start an editor anew, on its port and behind its route
    ///
    /// Exit codes: 0 it runs anew and is served, 1 it does not, 2 refused, 4 something could not be
    /// looked at, 5 another command works on it, 78 configuration, 130 interrupted, and it goes on by
    /// itself.
    Restart {
        /// The instance
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Show every instance: how it is, what it uses, who is connected, whether it is in use
    ///
    /// Exit codes: 0 all that are wanted run, 1 one of them does not, or nobody watches it, 4 a record
    /// cannot be read.
    List {
        /// Look again and again, e.g. 500ms, 5s, 2m, until interrupted
        #[arg(
            long,
            value_name = "INTERVAL",
            num_args = 0..=1,
            default_missing_value = "5s",
            value_parser = interval
        )]
        watch: Option<Duration>,
    },
    /// Show all of one instance, and what to do next
    ///
    /// Exit codes: 0 it is well, 1 it is not, 2 there is none, 4 its record cannot be read.
    Status {
        /// The instance
        #[arg(value_name = "ID")]
        id: String,
        /// Print the key that visitors enter, and nothing else
        #[arg(long)]
        reveal_key: bool,
    },
    /// Show what an editor printed, over the logs that were set aside
    ///
    /// Exit codes: 0 shown, 2 there is none, 4 it cannot be read.
    Logs(LogsArguments),
    /// Set right what is not as it is wanted
    ///
    /// Goes on with starts, stops and restarts that were killed; gives editors a supervisor; retires
    /// what does not run any more: it is not served, and its record stays for `start`; writes again
    /// what a database lost; releases entries whose editor is gone, and adopts editors that the
    /// original application started, where that is proved. What is left alone is named. Exit codes:
    /// 0 done or nothing to do, 1 done in part, 4 something could not be looked at, 5 done but for
    /// what another command works on, 78 configuration, 130 interrupted before all was done.
    Reconcile(ReconcileArguments),
    /// Write the file of variables that OpenHands is started with
    ///
    /// Each variable has a comment that says who reads it. Lines of others stay as they are. Exit
    /// codes: 0 written or nothing to do, 2 refused, 6 failed and as before, 78 configuration.
    Env(EnvArguments),
    /// Print a unit of systemd that fits this configuration
    ///
    /// Exit codes: 0 printed, 78 configuration.
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
pub(crate) struct ReconcileArguments {
    /// Start what is wanted and does not run, instead of retiring it
    #[arg(long)]
    pub(crate) start: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// Name the instance, where the folder's name makes no id
    #[arg(long, value_name = "ID", requires = "repo")]
    pub(crate) name: Option<String>,
    /// Give the session this many ports for applications
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "session",
        value_parser = apps
    )]
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
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["all", "idle"],
        conflicts_with = "all"
    )]
    pub(crate) ids: Vec<String>,
    /// Stop every instance
    #[arg(long)]
    pub(crate) all: bool,
    /// Remove settings, extensions and logs too
    #[arg(long)]
    pub(crate) purge: bool,
    /// Stop only what nobody has used for so long, e.g. 1h; without an ID, of all
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "all")]
    pub(crate) idle: Option<Duration>,
    /// Name what will be idle for long enough within this time
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration::parse,
        requires = "idle",
        conflicts_with = "all"
    )]
    pub(crate) warn: Option<Duration>,
    /// Say what would be stopped, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// The instance
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Show so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub(crate) lines: usize,
    /// Go on with what is added, until interrupted or until the instance is stopped
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show what its supervisor printed instead
    #[arg(long)]
    pub(crate) supervisor: bool,
}

fn apps(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= APPS_MAX => Ok(count),
        _ => Err(format!("a number from 0 to {APPS_MAX}")),
    }
}

/// The shortest interval between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if interval < INTERVAL_MIN {
        return Err(format!("at least {} ms", INTERVAL_MIN.as_millis()));
    }
    Ok(interval)
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
            Command::Stop(arguments) => match arguments.idle {
                Some(idle) => idle::stop_idle(&arguments, idle, &self.common),
                None => commands::stop(&arguments, &self.common),
            },
            Command::Restart { id } => commands::restart(&id, &self.common),
            Command::List { watch } => list::list(watch, &self.common),
            Command::Status { id, reveal_key: true } => status::reveal_key(&id, &self.common),
            Command::Status { id, .. } => status::status(&id, &self.common),
            Command::Logs(arguments) => logs::logs(&arguments, &self.common),
            Command::Env(arguments) => env::env(&arguments, &self.common),
            Command::PrintUnit { unit } => units::print(unit, &self.common),
            Command::Reconcile(arguments) => reconcile::reconcile(&arguments, &self.common),
            Command::Supervise { id } => supervise::answer(&id, &self.common),
        }
    }
}
