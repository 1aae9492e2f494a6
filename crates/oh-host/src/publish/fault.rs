//! Why publishing did not happen, and which routes are served now.

use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::PathFault;
use oh_model::plan::Objection;
use oh_nginx_conf::layout::Generation;
use oh_nginx_conf::write::Unquotable;
use serde_json::Value;
use thiserror::Error;

use crate::atomic::FileFault;
use crate::command::CommandFault;
use crate::folder::FolderFault;
use crate::instances::InstanceFault;
use crate::lock::LockFault;
use crate::login::LoginFault;
use crate::nginx::NginxFault;
use crate::tree::TreeFault;

use super::Step;

/// Which routes are served after a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now {
    /// Those from before: nothing was changed.
    Unchanged,
    /// Those from before: what was changed was put back, and nginx was seen to serve it.
    PutBack(Option<Generation>),
    /// It could not be told.
    Unknown(String),
}

/// Says why publishing did not happen.
#[derive(Debug, Error)]
pub enum PublishFault {
    /// Somebody else holds the publish lock, or it cannot be taken.
    #[error("{}", if .0.is_held() { "another run is publishing" } else { "could not take the lock" })]
    Lock(#[from] LockFault),
    /// The folder of session files cannot be trusted or read.
    #[error("could not read the session files")]
    Sessions(#[from] FolderFault),
    /// A database of repositories exists and cannot be used.
    #[error("{path} cannot be used: {why}")]
    Database {
        /// The database.
        path: String,
        /// Why.
        why: String,
        /// It is torn, so that what is whole of it can be saved.
        is_torn: bool,
    },
    /// The records of editors cannot be used.
    #[error("could not read the records of editors")]
    Instances(#[from] InstanceFault),
    /// A file of ours cannot be read, or its folder not be opened.
    #[error("could not look at our own files")]
    Look(#[from] FileFault),
    /// A path of the configuration does not fit below the root.
    #[error("{path} is no path below the root")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: PathFault,
    },
    /// nginx's own configuration cannot be read.
    #[error("could not read nginx's configuration")]
    Tree(#[from] TreeFault),
    /// nginx cannot be asked.
    #[error("could not ask nginx")]
    Nginx(#[from] NginxFault),
    /// A value of the configuration cannot be written into nginx text.
    #[error("the configuration cannot be written for nginx")]
    Layout(#[from] Unquotable),
    /// The configuration has something to be set first.
    #[error("{}", without_hint(.0))]
    Config(Box<oh_config::Fault>),
    /// Something stands in the way that only the operator can decide.
    #[error("{what}")]
    Refused {
        /// What stands in the way.
        what: String,
        /// What the operator can do.
        hint: Hint,
    },
    /// Our own check found the plan wrong.
    #[error("the plan is wrong, so nothing was run: {}", listed(.0))]
    Objections(Vec<Objection>),
    /// nginx refused the staged configuration.
    #[error("`nginx -t` refused the staged configuration")]
    Test {
        /// What nginx said.
        source: Complaints,
    },
    /// A step before the swap failed.
    #[error("could not {step}")]
    Step {
        /// The step.
        step: Step,
        /// Why.
        source: Box<StepFault>,
    },
    /// The change was made, did not take effect, and was undone.
    #[error("nginx was asked to reload and does not serve generation {wanted}")]
    NotSeen {
        /// What should have been served.
        wanted: Generation,
        /// What nginx says about it.
        source: Complaints,
        /// Which routes are served now.
        now: Now,
    },
    /// A step after the swap failed.
    #[error("could not {step}")]
    AfterSwap {
        /// The step.
        step: Step,
        /// Why.
        source: Box<StepFault>,
        /// Which routes are served now.
        now: Now,
    },
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum StepFault {
    /// A file could not be written, linked, renamed or removed.
    #[error(transparent)]
    File(#[from] FileFault),
    /// nginx could not be run or signalled.
    #[error(transparent)]
    Nginx(#[from] NginxFault),
    /// The login could not be made.
    #[error(transparent)]
    Login(#[from] LoginFault),
    /// nginx text cannot name a path.
    #[error(transparent)]
    Unquotable(#[from] Unquotable),
    /// The staged text is not what it should be.
    #[error("{0}")]
    Proof(String),
}

/// Lines that nginx printed or logged.
#[derive(Debug, Error)]
#[error("{}", if .0.is_empty() { "nginx gave no reason".into() } else { .0.join("\n") })]
pub struct Complaints(pub Vec<String>);

/// The command that makes nginx serve what the inputs say.
pub(super) fn apply_again() -> Command {
    Command::ours("oh-nginx", &["apply"])
}

/// Its hint is among the hints, so it need not stand in the message as well.
fn without_hint(fault: &oh_config::Fault) -> oh_config::Fault {
    oh_config::Fault { hint: None, ..fault.clone() }
}

fn listed(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl PublishFault {
    /// Says whether nothing failed but a program that was asked, because a signal ended it, and
    /// nothing was changed.
    pub fn is_of_ended_program(&self) -> bool {
        let ended =
            |fault: &NginxFault| matches!(fault, NginxFault::Run(CommandFault::Ended { .. }));
        match self {
            Self::Nginx(fault) => ended(fault),
            Self::Step { source, .. } => match &**source {
                StepFault::Nginx(fault) => ended(fault),
                _ => false,
            },
            _ => false,
        }
    }

    /// Says whether there is no nginx on this machine that could be run.
    pub const fn is_no_program(&self) -> bool {
        matches!(self, Self::Nginx(NginxFault::Run(CommandFault::Start { .. })))
    }

    /// Returns which routes are served now.
    pub const fn now(&self) -> &Now {
        match self {
            Self::NotSeen { now, .. } | Self::AfterSwap { now, .. } => now,
            _ => &Now::Unchanged,
        }
    }
}

impl Diagnostic for PublishFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Lock(_) => Exit::CouldNotLook,
            Self::Database { .. }
            | Self::Sessions(_)
            | Self::Instances(_)
            | Self::Look(_)
            | Self::Tree(_)
            | Self::Nginx(_) => Exit::CouldNotLook,
            Self::Layout(_) | Self::Config(_) | Self::Path { .. } => Exit::Config,
            Self::Refused { .. } | Self::Objections(_) => Exit::Refused,
            Self::Test { .. } | Self::Step { .. } => Exit::Intact,
            Self::NotSeen { now, .. } | Self::AfterSwap { now, .. } => match now {
                Now::Unchanged => Exit::Intact,
                Now::PutBack(_) => Exit::RolledBack,
                Now::Unknown(_) => Exit::RollbackFailed,
            },
        }
    }

    fn state(&self) -> Option<String> {
        Some(match self.now() {
            Now::Unchanged => "nothing was changed; what was served is still served".into(),
            Now::PutBack(Some(generation)) => {
                format!("the routes of generation {generation} were put back and are served")
            }
            Now::PutBack(None) => "what was changed was taken back".into(),
            Now::Unknown(why) => format!("the routes could not be put back: {why}"),
        })
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::Refused { hint, .. } => vec![hint.clone()],
            Self::Sessions(FolderFault::NotAFolder { .. }) => {
                vec!["put a real folder there, or set sessions.directory to one".into()]
            }
            Self::Sessions(fault) => fault.hint().map(Hint::from).into_iter().collect(),
            Self::Database { is_torn: true, .. } => {
                let lead = "keep it beside, and write anew what is whole of it and what runs, with";
                vec![Hint::run(lead, Command::ours("oh-instances", &["reconcile"]))]
            }
            Self::Database { path, .. } => vec![format!("mend {path}").into()],
            Self::Instances(fault) => fault.hint().into_iter().map(Hint::from).collect(),
            Self::Nginx(NginxFault::Run(CommandFault::Start { .. })) => {
                vec!["install nginx, or set nginx.program to where it is".into()]
            }
            Self::Tree(_) | Self::Test { .. } | Self::NotSeen { .. } => {
                vec![Hint::run("mend what is named above, then run", apply_again())]
            }
            Self::Config(fault) => fault.hint.clone().map(Hint::from).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn faults(&self) -> Vec<Value> {
        match self {
            Self::Config(fault) => vec![oh_config::fault_json(fault)],
            _ => Vec::new(),
        }
    }
}
