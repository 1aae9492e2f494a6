//! Why a cleanup did not do what it was asked, and what to do about it.

use std::io;

use oh_host::atomic::FileFault;
use oh_host::boot::BootFault;
use oh_host::instances::InstanceFault;
use oh_host::journal::JournalFault;
use oh_host::lock::LockFault;
use oh_host::process::ProcessFault;
use oh_host::publish::PublishFault;
use oh_host::quarantine::QuarantineFault;
use oh_host::stop::StopFault;
use oh_host::usage::UsageFault;
use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::PathFault;
use oh_model::run::{RunId, RunIdFault};
use thiserror::Error;

use crate::evidence::EvidenceFault;
use crate::purge;

/// Says why something was not done.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("{0:?} is no user of this machine")]
    NoUser(String),
    #[error(transparent)]
    RunId(#[from] RunIdFault),
    #[error("no run has anything that could be taken back")]
    NoRun,
    #[error("nobody said what is to be purged: name runs, or how old they are")]
    NoRunNamed,
    #[error("--reset-all is about databases, and they are not asked for")]
    ResetsNothing,
    #[error("the runs cannot be looked at")]
    Runs(#[source] JournalFault),
    #[error(
        "the journal of {0}, the last run, cannot be read: name the run that is to be taken back"
    )]
    Unread(RunId, #[source] JournalFault),
    #[error("the journal of {0} cannot be read, and so nothing of it can be taken back")]
    Unreadable(RunId, #[source] JournalFault),
    #[error("the run {0} has nothing that could be taken back")]
    NothingToUndo(RunId),
    #[error("the run {0} has nothing that could be taken back: a purge of it was begun")]
    HalfPurged(RunId),
    #[error("{path} cannot be used as a plan: {why}")]
    Plan { path: String, why: String },
    #[error("the plan was made {0}")]
    Stale(String),
    #[error("{}", if .0.is_held() { "another command is at work" } else { "could not take a lock" })]
    Lock(#[from] LockFault),
    #[error("{}", if matches!(.0, JournalFault::Unknown(_)) {
        "nothing can be taken back or purged"
    } else {
        "could not keep a journal"
    })]
    Journal(#[from] JournalFault),
    #[error("could not keep evidence of what is there")]
    Evidence(#[from] EvidenceFault),
    #[error("could not read or write the record of an instance")]
    Record(#[from] InstanceFault),
    #[error("could not look at a process")]
    Process(#[from] ProcessFault),
    #[error("could not look at the processes")]
    Usage(#[from] UsageFault),
    #[error("cannot tell which boot this is")]
    Boot(#[from] BootFault),
    #[error("could not move it")]
    Quarantine(#[from] QuarantineFault),
    #[error("could not stop it")]
    Stop(#[from] StopFault),
    #[error("the routes could not be published")]
    Publish(#[from] PublishFault),
    #[error("a path cannot be used")]
    Path(#[from] PathFault),
    #[error("the copy of a database could not be removed")]
    Copy(#[source] FileFault),
    #[error("could not write the plan")]
    Write(#[source] FileFault),
    #[error("could not listen to signals")]
    Signals(#[source] io::Error),
}

impl Fault {
    /// Says whether somebody who is not root was denied something.
    fn is_not_ours(&self) -> bool {
        let mut cause: Option<&dyn core::error::Error> = Some(self);
        let mut is_denied = false;
        while let Some(fault) = cause {
            let io = fault.downcast_ref::<io::Error>();
            is_denied |= io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied);
            cause = fault.source();
        }
        is_denied && !rustix::process::geteuid().is_root()
    }
}

impl Diagnostic for Fault {
    fn exit(&self) -> Exit {
        match self {
            Self::NoUser(_)
            | Self::RunId(_)
            | Self::NoRun
            | Self::NoRunNamed
            | Self::ResetsNothing
            | Self::NothingToUndo(_)
            | Self::HalfPurged(_)
            | Self::Plan { .. }
            | Self::Stale(_) => Exit::Refused,
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Journal(JournalFault::Unknown(_)) => Exit::Refused,
            // Without a journal nothing is done, and without evidence only where that is asked for.
            Self::Journal(_) | Self::Evidence(_) => Exit::Intact,
            Self::Publish(fault) => fault.exit(),
            Self::Unread(..)
            | Self::Unreadable(..)
            | Self::Runs(_)
            | Self::Lock(_)
            | Self::Process(_)
            | Self::Usage(_)
            | Self::Boot(_)
            | Self::Record(_)
            | Self::Path(_) => Exit::CouldNotLook,
            Self::Write(_) => Exit::Intact,
            Self::Quarantine(_) | Self::Stop(_) | Self::Signals(_) | Self::Copy(_) => Exit::No,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::Publish(fault) => fault.state(),
            Self::Quarantine(_) | Self::Stop(_) | Self::Copy(_) => None,
            _ => Some("nothing was changed".into()),
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let ours = |words: &[&str]| vec![Hint::run("", Command::ours("oh-cleanup", words))];
        match self {
            Self::NoRunNamed => purge::by_name().into(),
            Self::ResetsNothing => vec!["add --databases, or take --all".into()],
            Self::Runs(_) | Self::Lock(_) | Self::Record(_) | Self::Journal(_)
                if self.is_not_ours() =>
            {
                let own = "what root works on is root's alone: run it as root, or on a folder of yours \
                           with --root DIR";
                vec![own.into()]
            }
            Self::HalfPurged(run) => {
                let purge = Command::ours("oh-cleanup", &["purge", &run.to_string()]);
                vec![Hint::run("end that purge", purge)]
            }
            Self::Unreadable(run, _) => {
                let purge = Command::ours("oh-cleanup", &["purge", &run.to_string()]);
                vec![Hint::run("remove for good what it moved away", purge)]
            }
            // The journal is what a run cannot do without, so other room has to be found.
            Self::Journal(fault) if fault.is_no_space() => {
                let see = Command::ours("oh-cleanup", &["runs"]);
                let [_, old] = purge::by_name();
                vec![Hint::run("make room on the disk, of earlier runs first", see), old]
            }
            Self::RunId(_)
            | Self::NoRun
            | Self::Unread(..)
            | Self::NothingToUndo(_)
            | Self::Journal(JournalFault::Unknown(_)) => ours(&["runs"]),
            Self::Stale(_) => ours(&["plan", "--all", "--output", "FILE"]),
            Self::Publish(fault) => fault.hints(),
            Self::Lock(fault) if fault.is_held() => vec!["wait for its end: --wait 10m".into()],
            Self::Evidence(fault) => {
                let room = fault.is_no_space().then(|| {
                    Hint::run(
                        "make room on the disk, of earlier runs first",
                        Command::ours("oh-cleanup", &["runs"]),
                    )
                });
                room.into_iter().chain(["or do without it: --no-evidence".into()]).collect()
            }
            _ => Vec::new(),
        }
    }
}
