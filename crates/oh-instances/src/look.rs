//! How an instance is: its record and its state, held against the kernel.

use oh_host::instances::{self, Phase, Record, State, Wanted};
use oh_host::process::ProcessDir;
use oh_host::publish::Host;
use oh_host::sockets;
use oh_host::users::Users;
use oh_model::id::InstanceId;
use oh_model::port::Port;

use crate::fault::Fault;

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Its supervisor lives, and says this of the editor.
    Supervised(Phase),
    /// Its editor lives, and nobody watches it.
    Unsupervised,
    /// It is wanted running, and nothing of it lives.
    Gone,
    /// It is wanted stopped: a stop was not finished.
    Stopping,
}

/// An instance as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) record: Record,
    pub(crate) state: Option<State>,
    pub(crate) condition: Condition,
    /// Whether the start is not whole: whoever made it is at work, or was killed.
    pub(crate) is_half_started: bool,
}

impl Found {
    /// Says whether the editor answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.condition == Condition::Supervised(Phase::Ready)
    }

    /// Says whether a supervisor lives that starts the editor again.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(
            self.condition,
            Condition::Supervised(Phase::Ready | Phase::Starting | Phase::Waiting { .. })
        )
    }

    /// Says whether the editor is to run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.record.wanted == Wanted::Running
    }
}

/// Looks at one instance; `None` where there is no record.
pub(crate) fn one(host: &Host, id: &InstanceId) -> Result<Option<Found>, Fault> {
    instances::read(&host.root, id)?.map(|record| found(host, record)).transpose()
}

/// Reads the record of an instance alone; `None` where there is none.
pub(crate) fn record(host: &Host, id: &InstanceId) -> Result<Option<Record>, Fault> {
    Ok(instances::read(&host.root, id)?)
}

fn found(host: &Host, record: Record) -> Result<Found, Fault> {
    let state = instances::read_state(&host.root, &record.id)?;
    let condition = condition(&record, state.as_ref())?;
    let is_half_started = record.starter.is_some();
    Ok(Found { record, state, condition, is_half_started })
}

fn condition(record: &Record, state: Option<&State>) -> Result<Condition, Fault> {
    if record.wanted == Wanted::Stopped {
        return Ok(Condition::Stopping);
    }
    let Some(state) = state else { return Ok(Condition::Gone) };
    if !state.is_of_this_boot()? {
        return Ok(Condition::Gone);
    }
    // A supervisor that gave up has ended: its last word is still what there is to say.
    let is_last_word = state.phase.is_last();
    if is_last_word || state.is_supervised()? {
        // The end of an editor is known here before its supervisor has said a word about it.
        let is_too_late = state.phase == Phase::Ready && !state.editor_lives()?;
        let phase = if is_too_late { Phase::Starting } else { state.phase.clone() };
        return Ok(Condition::Supervised(phase));
    }
    Ok(if state.editor_lives()? { Condition::Unsupervised } else { Condition::Gone })
}

/// Names who listens on a port, for people: `pid 412 (node, user ci)`.
pub(crate) fn holder(port: Port) -> String {
    match sockets::holder(port, &[]) {
        Some(process) => shown(&process),
        None => "somebody who cannot be seen".into(),
    }
}

/// Names a process for people.
pub(crate) fn shown(process: &ProcessDir) -> String {
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let name = process.stat().map(|stat| stat.name).unwrap_or_default();
    let user = process.uid().map(|uid| users.shown(uid)).unwrap_or_else(|_| "unknown".into());
    format!("pid {} ({}, user {user})", process.pid(), name.escape_debug())
}
