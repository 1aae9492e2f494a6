//! What a cleanup does, step by step: the lines that people confirm, and what a plan file has.
//!
//! A step names the very things it is done to, as they were when they were looked at; whoever carries
//! it out looks again. Written as JSON it is a border type: see `planfile`.

use core::fmt;

use oh_host::process::Identity;
use oh_host::quarantine::Thing;
use oh_model::container::{Engine, Listed};
use oh_model::id::InstanceId;
use oh_model::path::InRoot;
use oh_term::text::{bytes, several};
use serde::{Deserialize, Serialize};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// The record says from here on that the instance is to be stopped: nothing starts it again.
    WantStopped(InstanceId),
    /// An editor ends, or what OpenHands left, and all that it started.
    Stop(Stop),
    /// A container stops; it is not removed.
    StopContainer(StopContainer),
    /// A thing goes to the quarantine.
    Move(Move),
    /// Entries of a database go.
    Release(Release),
    /// nginx is asked what it says of the files that are left, and reads them.
    Reload,
    /// The record of an instance goes to the quarantine.
    Forget(InstanceId),
    /// nginx serves what is left.
    Publish,
}

/// What it is that ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// An editor.
    #[default]
    Editor,
    /// What an OpenHands that is gone left running.
    Orphan,
}

/// An editor that ends, or what OpenHands left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stop {
    /// What it is, for people.
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) kind: Kind,
    /// Its id, where it has a record.
    pub(crate) id: Option<InstanceId>,
    /// What was started first, or is left of it.
    pub(crate) leaders: Vec<Identity>,
    /// How many processes it had.
    pub(crate) processes: usize,
    /// Why it is ours to end.
    pub(crate) why: String,
}

/// A container of OpenHands that stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopContainer {
    pub(crate) engine: Engine,
    pub(crate) container: Listed,
}

/// A thing that goes to the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    pub(crate) thing: Thing,
    /// Whose it was, or what it is, for people.
    pub(crate) what: String,
    /// How much room it has, in bytes.
    pub(crate) bytes: u64,
    /// Whether it is a file that announces a session, and no left-over.
    pub(crate) is_session: bool,
    /// Whether it is a file of nginx, which reads what is left when all of them are away.
    pub(crate) is_of_nginx: bool,
    /// Whether it has more, because not all of it was looked at.
    pub(crate) is_more: bool,
    /// Whether something that this plan stops may still write to it: then only its number counts, and
    /// not when it was changed.
    pub(crate) may_change: bool,
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Database {
    Ports,
    Repositories,
}

/// Entries of a database that go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) database: Database,
    /// The file.
    pub(crate) path: InRoot,
    /// The ids, as they are written, in order.
    pub(crate) ids: Vec<String>,
    /// Whether it is torn, and written anew of what is whole of it.
    pub(crate) is_torn: bool,
}

impl Step {
    /// Says whether it moves a left-over.
    pub(crate) const fn is_leftover(&self) -> bool {
        matches!(self, Self::Move(step) if !step.is_session && !step.is_of_nginx)
    }

    /// The kind of a step, for the report.
    pub(crate) const fn phase(&self) -> &'static str {
        match self {
            Self::WantStopped(_) | Self::Stop(_) => "processes",
            Self::StopContainer(_) => "containers",
            Self::Move(_) | Self::Forget(_) => "quarantine",
            Self::Release(_) => "databases",
            Self::Reload | Self::Publish => "nginx",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WantStopped(id) => write!(f, "record that {id} is to be stopped"),
            Self::Stop(stop) => {
                let Stop { what, leaders, processes, why, .. } = stop;
                write!(f, "stop    {what}: {}", several(*processes, "process"))?;
                let pids: Vec<String> = leaders.iter().map(|one| one.pid.to_string()).collect();
                if !pids.is_empty() {
                    write!(f, " (pid {})", pids.join(", "))?;
                }
                write!(f, "; {why}")
            }
            Self::StopContainer(StopContainer { engine, container }) => {
                let Listed { id, name } = container;
                write!(f, "stop    the container {} of {engine} ({})", name.as_str(), id.as_str())
            }
            Self::Move(step) => {
                let more = if step.is_more { "at least " } else { "" };
                let (path, size) = (step.thing.shown(), bytes(step.bytes));
                write!(f, "move    {path} ({more}{size}): {}", step.what)
            }
            Self::Release(release) => {
                let Release { path, ids, is_torn, .. } = release;
                let ids: Vec<String> = ids.iter().map(|id| id.escape_debug().to_string()).collect();
                write!(f, "release {path}: ")?;
                match (ids.as_slice(), is_torn) {
                    ([], true) => f.write_str("it is torn, and written anew of what is whole"),
                    ([], false) => {
                        f.write_str("its ports are not as they are to be, and are mended")
                    }
                    (_, true) => {
                        write!(
                            f,
                            "{}; it is torn, and written anew of what is whole",
                            ids.join(", ")
                        )
                    }
                    (_, false) => f.write_str(&ids.join(", ")),
                }
            }
            Self::Forget(id) => write!(f, "move    the record of {id}"),
            Self::Reload => f.write_str("have nginx test the files that are left, and read them"),
            Self::Publish => f.write_str("publish the routes that are left"),
        }
    }
}
