//! The arguments of `oh-cleanup`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use oh_model::exit::Exit;
use oh_model::hint::{Command as HintedCommand, Hint};
use oh_term::{Answer, Common, Failure, Format, Tool, duration};

use crate::{clean, purge, runs, undo};

/// Stop editors, and take away what they and OpenHands left behind, so that it can come back
///
/// What is done is shown first, and asked for. Editors that somebody works in, what belongs to others,
/// what is in use, mounted, locked or not saved stays, and is named with the reason. What is taken away
/// goes to a quarantine by a rename: `undo` puts it back, `purge` frees its room. What the machine was
/// like before is kept as evidence, without secrets.
///
/// Exit codes: 0 done or nothing to do, 1 done in part, 2 refused, 4 something could not be looked at,
/// 5 another command is at work, 6 failed with nothing changed, 7 nginx refused what was left and its
/// files are back, 8 they could not be put back, 78 configuration, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "oh-cleanup", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    clean: CleanArguments,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write down what would be done, to be looked at and carried out later
    ///
    /// Exit codes: 0 written, 2 refused, 4 something could not be looked at, 6 the file could not be
    /// written.
    Plan(PlanArguments),
    /// Carry out a plan, as far as it is still true: what has changed since is not touched
    ///
    /// Exit codes: as without a command; 2 for a plan of another boot or root.
    Apply(ApplyArguments),
    /// Take back what a run did: what it moved comes back, and what it took out of databases
    ///
    /// Nothing is put over something new. Editors that were stopped are not started; the answer says
    /// how. Exit codes: 0 all is back, 1 some of it is not, 2 refused, 4 the last run cannot be read,
    /// 5 another command is at work, 130 interrupted.
    Undo(UndoArguments),
    /// Show the runs that can be taken back or purged
    ///
    /// Exit codes: 0 shown, 4 a journal cannot be read.
    Runs,
    /// Remove for good what runs moved away, and so free its room
    ///
    /// What goes is shown first, and asked for. What is mounted in it stays, and what belongs to users
    /// that are none of cleanup.owners (--others).
    ///
    /// Exit codes: 0 all is gone, 1 some of it stays, 2 refused, 4 a journal cannot be read, 5 another
    /// command is at work, 130 interrupted.
    Purge(PurgeArguments),
}

impl Command {
    const fn name(&self) -> &'static str {
        match self {
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::Undo(_) => "undo",
            Self::Runs => "runs",
            Self::Purge(_) => "purge",
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct CleanArguments {
    #[command(flatten)]
    pub(crate) wanted: WantedArguments,
    #[command(flatten)]
    pub(crate) doing: DoingArguments,
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) wanted: WantedArguments,
    /// Write the plan into this file; - prints it, and says on stderr what it would do
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: String,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArguments {
    /// The file of the plan
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
    #[command(flatten)]
    pub(crate) doing: DoingArguments,
}

/// What is to be taken.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct WantedArguments {
    /// Take everything but containers: editors, what OpenHands left running, left-overs, entries of
    /// databases, session files, old files for nginx
    #[arg(long, conflicts_with_all = ["processes", "temp", "databases", "sessions", "nginx"])]
    pub(crate) all: bool,
    /// Take editors that run, and what is left of them and of an OpenHands that is gone
    #[arg(long)]
    pub(crate) processes: bool,
    /// Take left-overs (cleanup.leftovers)
    #[arg(long)]
    pub(crate) temp: bool,
    /// Take entries of databases whose editor is gone, and write torn databases anew
    #[arg(long)]
    pub(crate) databases: bool,
    /// Take session files whose editor is gone
    #[arg(long)]
    pub(crate) sessions: bool,
    /// Take the files for nginx that older generators wrote, where nobody needs their routes
    #[arg(long)]
    pub(crate) nginx: bool,
    /// Stop containers of OpenHands (openhands-runtime-*, oh-agent-server-*) through docker and podman,
    /// of this machine also with --root; `undo` starts them again. No part of --all
    #[arg(long, conflicts_with_all = ["only", "user"])]
    pub(crate) containers: bool,
    /// Take only what belongs to this instance, session or repository
    #[arg(long, value_name = "ID", visible_aliases = ["instance", "session", "repository"])]
    pub(crate) only: Vec<String>,
    /// Take only what belongs to this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Vec<String>,
    /// Take left-overs in which nothing has changed for so long, e.g. 10m, 2h; 0s for all
    #[arg(long, value_name = "AGE", value_parser = duration::parse)]
    pub(crate) older_than: Option<Duration>,
    /// Take editors too to which a browser is connected
    #[arg(long)]
    pub(crate) force_active: bool,
    /// Take left-overs too that have work in them which is saved nowhere else
    #[arg(long)]
    pub(crate) force_unsaved: bool,
    /// Take the editor too in whose terminal this command runs; it goes on without the terminal
    #[arg(long)]
    pub(crate) include_self_session: bool,
    /// Take every entry of the databases, whoever listens on its port
    #[arg(long)]
    pub(crate) reset_all: bool,
}

/// How it is done.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DoingArguments {
    /// Give processes so long to end by themselves, e.g. 5s; 1h at most
    #[arg(long, value_name = "TIME", value_parser = grace)]
    pub(crate) grace: Option<Duration>,
    /// Write down why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Wait so long for another command that is at work, e.g. 1m; without it 10s
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// Keep no evidence of what was there; otherwise nothing is done where it cannot be kept
    #[arg(long)]
    pub(crate) no_evidence: bool,
    /// Remove left-overs for good once they are moved, to free their room at once: they cannot come back
    #[arg(long)]
    pub(crate) purge_now: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArguments {
    /// The run; without it the last one
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Wait so long for another command that is at work, e.g. 1m; without it 10s
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// Say what would come back, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArguments {
    /// The runs; without one, those that --older-than names, or else the oldest as long as all of them
    /// have more room than cleanup.quarantine_max_mib, but never the last
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// Purge the runs that began so long ago, e.g. 7d
    #[arg(long, value_name = "AGE", value_parser = duration::parse, conflicts_with = "runs")]
    pub(crate) older_than: Option<Duration>,
    /// Remove too what is in it and belongs to none of cleanup.owners
    #[arg(long)]
    pub(crate) others: bool,
    /// Wait so long for another command that is at work, e.g. 1m; without it 10s
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// Say what would be removed, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The longest grace, as `cleanup.grace_s` has it.
const GRACE_MAX: Duration = Duration::from_secs(3600);

fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration::parse(text)?;
    if grace > GRACE_MAX {
        return Err("at most 1h: editors that end by themselves do so within seconds".to_owned());
    }
    Ok(grace)
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
        if let Some(command) = &self.command
            && self.clean != CleanArguments::default()
        {
            let name = command.name();
            let what = format!("options of a cleanup stand before `{name}`, which has its own");
            let help = Hint::run("see them", HintedCommand::ours("oh-cleanup", &[name, "--help"]));
            let refused = Failure::new(Exit::Refused, what).state("nothing was changed");
            return Err(refused.hint(help));
        }
        // Whatever it looks at was named by others.
        let answer = match self.command {
            None => clean::clean(&self.clean, &self.common),
            Some(Command::Plan(arguments)) => clean::make(&arguments, &self.common),
            Some(Command::Apply(arguments)) => clean::apply(&arguments, &self.common),
            Some(Command::Undo(arguments)) => undo::undo(&arguments, &self.common),
            Some(Command::Runs) => runs::runs(&self.common),
            Some(Command::Purge(arguments)) => purge::purge(&arguments, &self.common),
        };
        answer.map(Answer::escaped)
    }
}
