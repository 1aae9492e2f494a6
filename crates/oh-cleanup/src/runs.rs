//! The runs that left a journal.

use core::fmt;

use oh_host::journal;
use oh_host::lock::{self, Holder, LockFault};
use oh_host::process::Pid;
use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::run::RunId;
use oh_term::text::{bytes, several};
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::apply::chain;
use crate::clean::{Context, context};
use crate::elsewhere;
use crate::evidence;
use crate::fault::Fault;
use crate::journal::{Run, TOOL, Undo};
use crate::remains;

/// Shows them, the oldest first.
pub(crate) fn runs(common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let mut human = String::new();
    let mut rows = Vec::new();
    let mut half = Vec::new();
    let mut exit = Exit::Ok;
    let alone = lock::works_alone(&host.root);
    for id in ids(&host).map_err(Failure::of)? {
        match Run::read(&host.root, &id) {
            Ok(run) => {
                let ((things, room), rest) = (whole(&run), rest(&run));
                let state = if run.is_over() { State::Over } else { State::of(&run, &alone) };
                let reason = run.head.reason.as_deref().map_or_else(String::new, |reason| {
                    format!("  {}", oh_term::text::escaped(reason))
                });
                let held = match things {
                    0 if rest > 0 => String::new(),
                    0 if !run.wanted().is_empty() => {
                        format!("{} to be wanted again", several(run.wanted().len(), "editor"))
                    }
                    0 => "nothing to take back".to_owned(),
                    things => format!("{} to take back, {}", several(things, "thing"), bytes(room)),
                };
                if rest > 0 {
                    half.push(id.to_string());
                }
                let rest_of = match (rest, held.is_empty()) {
                    (0, _) => String::new(),
                    (_, true) => format!("rest of a purge of {}", several(rest, "thing")),
                    (_, false) => format!("  rest of a purge of {}", several(rest, "thing")),
                };
                // One that cannot be looked at hides neither its run nor the others.
                let (evidence, fault) = match evidence::of_run(&host.root, &id) {
                    Ok(evidence) => (evidence, None),
                    Err(fault) => (None, Some(chain(&fault))),
                };
                let shown = match (&evidence, &fault) {
                    (Some((_, size)), _) => format!("  evidence, {}", bytes(*size)),
                    (None, Some(why)) => format!("  evidence: {}", oh_term::text::escaped(why)),
                    (None, None) => String::new(),
                };
                if fault.is_some() {
                    exit = Exit::CouldNotLook;
                }
                human.push_str(&format!("{id}  {held}{rest_of}{shown}{state}{reason}\n"));
                rows.push(json!({
                    "run": id.to_string(),
                    "things": things,
                    "rest_of_purge": rest,
                    "bytes": room,
                    "is_over": run.is_over(),
                    "state": state.word(),
                    "evidence": evidence
                        .map(|(path, size)| json!({ "path": path.as_str(), "bytes": size })),
                    "evidence_fault": fault,
                    "reason": run.head.reason,
                    "uid": run.head.uid,
                }));
            }
            Err(fault) => {
                exit = Exit::CouldNotLook;
                human.push_str(&format!("{id}  cannot be read: {}\n", chain(&fault)));
                rows.push(json!({ "run": id.to_string(), "fault": chain(&fault) }));
            }
        }
    }
    let lost = remains::find(&host.root).map_err(Failure::of)?;
    for (id, left) in &lost {
        human.push_str(&format!("{id}  no journal knows it: {}\n", left.shown()));
        rows.push(json!({
            "run": id.to_string(),
            "bytes": left.bytes,
            "copies": left.copies.len(),
            "state": "lost",
        }));
    }
    if rows.is_empty() {
        human.push_str("there is no run yet\n");
    }
    let mut hints = Vec::new();
    let lost: Vec<String> = lost.keys().map(ToString::to_string).collect();
    for (say, runs) in
        [("end the purge that was begun", half), ("remove for good what no journal knows", lost)]
    {
        if !runs.is_empty() {
            let runs = runs.iter().map(String::as_str);
            let words: Vec<&str> = ["purge"].into_iter().chain(runs).collect();
            hints.push(Hint::run(say, Command::ours("oh-cleanup", &words)));
        }
    }
    let answer = Answer::new(human, json!({ "runs": rows })).exit(exit).notes(warnings);
    Ok(hints.into_iter().fold(answer, Answer::hint))
}

/// How far a run is.
enum State {
    Over,
    AtWork(Pid),
    Interrupted,
    /// It is not over, and nobody can tell whether it goes on.
    Unknown(String),
}

impl State {
    /// Says what became of a run that is not over: whoever works on one has the world alone.
    fn of(run: &Run, alone: &Result<Option<Holder>, LockFault>) -> Self {
        match alone {
            Ok(Some(Holder::Known { pid, .. })) if pid.get() == run.head.pid => Self::AtWork(*pid),
            Ok(Some(Holder::Known { .. }) | None) => Self::Interrupted,
            Ok(Some(Holder::Unknown)) => Self::Unknown("somebody unknown holds the lock".into()),
            Err(fault) => Self::Unknown(chain(fault)),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::AtWork(_) => "at-work",
            Self::Interrupted => "interrupted",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => Ok(()),
            Self::AtWork(pid) => write!(f, "  is at work (pid {pid})"),
            Self::Interrupted => f.write_str("  was interrupted"),
            Self::Unknown(why) => write!(f, "  is at work, or was interrupted: {why}"),
        }
    }
}

pub(crate) fn ids(host: &Host) -> Result<Vec<RunId>, Fault> {
    journal::runs(&host.root, TOOL).map_err(Fault::Runs)
}

/// How much can be taken back, and how much room that has, in bytes.
fn whole(run: &Run) -> (usize, u64) {
    let purging = run.purging();
    sum(run, |step| !purging.contains(&step))
}

/// Of how many things a purge was begun and not ended.
fn rest(run: &Run) -> usize {
    let purging = run.purging();
    sum(run, |step| purging.contains(&step)).0
}

/// How much is kept of what a run did, and how much room that has, in bytes.
pub(crate) fn held(run: &Run) -> (usize, u64) {
    sum(run, |_| true)
}

/// Counts what is kept of these steps; what a killed run did not come to move is not.
fn sum(run: &Run, counts: impl Fn(usize) -> bool) -> (usize, u64) {
    let unmoved = elsewhere::unmoved(run);
    let is_kept = |step: &usize| counts(*step) && !unmoved.contains_key(step);
    let held: Vec<_> = run.held().into_iter().filter(|(step, _)| is_kept(step)).collect();
    let room = held.iter().filter(|(_, undo)| matches!(undo, Undo::Moved { .. }));
    (held.len(), room.map(|(step, _)| run.room_of(*step)).sum())
}
