//! Why an installation was not taken over or given back, and in which state it is.

use oh_config::Faults;
use oh_host::atomic::FileFault;
use oh_host::entry::EntryFault;
use oh_host::lock::LockFault;
use oh_host::publish::PublishFault;
use oh_host::tree::TreeFault;
use oh_model::diagnostic::Diagnostic as _;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::PathFault;
use oh_model::plan::Objection;
use oh_nginx_conf::legacy::Beyond;
use oh_term::Failure;
use thiserror::Error;

/// Says why it did not happen.
#[derive(Debug, Error)]
pub(crate) enum AdoptFault {
    /// Only the operator can decide.
    #[error("{what}")]
    Refused {
        /// What stands in the way.
        what: String,
        /// What the operator can do.
        hints: Vec<Hint>,
    },
    /// What a server of the operator serves would not be served any more.
    #[error("the server of {name} serves more than oh-nginx would")]
    Lost {
        /// Its name and port.
        name: String,
        /// What would be lost.
        source: Losses,
    },
    /// A key cannot be told from the old installation.
    #[error("toolkit.{key} cannot be told from the old installation: {why}")]
    Underivable {
        /// The key.
        key: &'static str,
        /// Why.
        why: String,
        /// An argument that says it.
        hint: String,
    },
    /// What was derived is no sound configuration.
    #[error("the configuration that the old installation makes is not sound\n{0}")]
    Derived(Faults),
    /// A path does not fit below the root.
    #[error("{path} is no path below the root")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: PathFault,
    },
    /// A file could not be read or written.
    #[error("could not look at, or change, a file")]
    File(#[from] FileFault),
    /// A file cannot be kept or put.
    #[error("could not keep a file as it is")]
    Entry(#[from] EntryFault),
    /// Another run publishes, or a watch lives.
    #[error("{}", if .0.is_held() { "another run of ours is at it" } else { "could not take the lock" })]
    Lock(#[from] LockFault),
    /// Publishing cannot be planned or done.
    #[error(transparent)]
    Publish(#[from] PublishFault),
    /// Our own check found the plan wrong.
    #[error("the plan is wrong, so nothing was run: {}", listed(.0))]
    Objections(Vec<Objection>),
    /// The record of what was taken over is not what was written.
    #[error("the record in {folder} cannot be used: {why}")]
    Record {
        /// Its folder.
        folder: String,
        /// What is wrong with it.
        why: String,
    },
    /// Taking over failed, and everything is as it was.
    #[error("could not take the installation over")]
    Undone {
        /// Why it failed.
        source: Box<AdoptFault>,
        /// What could be seen of the state from before.
        state: String,
    },
    /// Taking over failed, and not everything could be put back.
    #[error("could not take the installation over, and not put everything back")]
    Stuck {
        /// Why it failed.
        source: Box<AdoptFault>,
        /// In which state it is.
        state: String,
    },
}

/// A command of ours, and the words that lead to it.
pub(crate) fn then(lead: &'static str, command: &str) -> Hint {
    Hint::run(lead, Command::ours("oh-nginx", &[command]))
}

/// What publishing would have run again is to be run from here.
fn of_adopt(hint: Hint) -> Hint {
    match hint {
        Hint::Run { lead, command } if command == Command::ours("oh-nginx", &["apply"]) => {
            then(lead, "adopt")
        }
        hint => hint,
    }
}

/// What would be lost, with its places.
#[derive(Debug, Error)]
#[error("{}", shown(.0))]
pub(crate) struct Losses(pub(crate) Vec<Beyond>);

fn shown(losses: &[Beyond]) -> String {
    let lines = losses.iter().map(|loss| format!("{}: {}", loss.place, loss.what));
    lines.collect::<Vec<_>>().join("\n")
}

fn listed(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl AdoptFault {
    /// Refuses with one thing to do.
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self::Refused { what: what.into(), hints: vec![hint.into()] }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } | Self::Lost { .. } | Self::Objections(_) => Exit::Refused,
            Self::Underivable { .. } | Self::Derived(_) | Self::Path { .. } => Exit::Config,
            Self::File(_) | Self::Record { .. } => Exit::CouldNotLook,
            Self::Entry(EntryFault::File(_)) => Exit::CouldNotLook,
            Self::Entry(_) => Exit::Refused,
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Lock(_) => Exit::CouldNotLook,
            // A configuration that nginx could not read either: only the operator can mend it.
            Self::Publish(PublishFault::Tree(TreeFault::Syntax { .. })) => Exit::Refused,
            Self::Publish(fault) => fault.exit(),
            Self::Undone { .. } => Exit::RolledBack,
            Self::Stuck { .. } => Exit::RollbackFailed,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::Refused { hints, .. } => hints.clone(),
            Self::Lost { .. } => vec![
                "move what is named into a server of its own, with another name or port".into(),
                "or let it stay: give oh-nginx another name or port, e.g. --set site.port=8443"
                    .into(),
            ],
            Self::Underivable { hint, .. } => vec![hint.clone().into()],
            Self::Entry(EntryFault::SeveralNames { path, .. }) => {
                vec![format!("give {path} a copy of its own").into(), then("then run", "adopt")]
            }
            Self::Lock(fault) if fault.is_held() => vec![
                "a watch ends with its service: systemctl stop oh-nginx-watch; start it again after this"
                    .into(),
            ],
            Self::Publish(fault) => fault.hints().into_iter().map(of_adopt).collect(),
            Self::Undone { source, .. } => source.hints(),
            Self::Stuck { source, .. } => {
                let mut hints = source.hints();
                hints.push(then("give back what is left with", "release"));
                hints
            }
            _ => Vec::new(),
        }
    }

    /// Turns it into what people read.
    pub(crate) fn into_failure(self) -> Failure {
        let (exit, hints) = (self.exit(), self.hints());
        let state = match &self {
            Self::Undone { state, .. } | Self::Stuck { state, .. } => state.clone(),
            _ => "nothing was changed".into(),
        };
        let failure = match self {
            // A key that is missing is said as everywhere else.
            Self::Publish(fault @ PublishFault::Config(_)) => return Failure::of(fault),
            fault => Failure::new(exit, fault),
        };
        hints.into_iter().fold(failure.state(state), Failure::hint)
    }
}
