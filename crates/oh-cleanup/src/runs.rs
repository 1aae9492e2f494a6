//! The runs that left a journal.

use oh_host::journal;
use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::run::RunId;
use oh_term::text::{bytes, several};
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::apply::chain;
use crate::clean::{Context, context};
use crate::evidence;
use crate::fault::Fault;
use crate::journal::{Run, TOOL, Undo};
use crate::step::Step;

/// Shows them, the oldest first.
pub(crate) fn runs(common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let mut human = String::new();
    let mut rows = Vec::new();
    let mut exit = Exit::Ok;
    for id in ids(&host).map_err(Failure::of)? {
        match Run::read(&host.root, &id) {
            Ok(run) => {
                let (things, room) = held(&run);
                let over = if run.is_over() { "" } else { "  is at work, or was interrupted" };
                let reason = run.head.reason.as_deref().map_or_else(String::new, |reason| {
                    format!("  {}", oh_term::text::escaped(reason))
                });
                let held = match things {
                    0 if !run.wanted().is_empty() => {
                        format!("{} to be wanted again", several(run.wanted().len(), "editor"))
                    }
                    0 => "nothing to take back".to_owned(),
                    things => format!("{} to take back, {}", several(things, "thing"), bytes(room)),
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
                human.push_str(&format!("{id}  {held}{shown}{over}{reason}\n"));
                rows.push(json!({
                    "run": id.to_string(),
                    "things": things,
                    "bytes": room,
                    "is_over": run.is_over(),
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
    if rows.is_empty() {
        human.push_str("there is no run yet\n");
    }
    Ok(Answer::new(human, json!({ "runs": rows })).exit(exit).notes(warnings))
}

pub(crate) fn ids(host: &Host) -> Result<Vec<RunId>, Fault> {
    Ok(journal::runs(&host.root, TOOL)?)
}

/// How much is kept of what a run did, and how much room that has, in bytes.
pub(crate) fn held(run: &Run) -> (usize, u64) {
    let held = run.held();
    let room = held.iter().filter(|(_, undo)| matches!(undo, Undo::Moved { .. }));
    let room = room.filter_map(|(step, _)| match run.head.steps.get(*step)? {
        Step::Move(step) => Some(step.bytes),
        _ => None,
    });
    (held.len(), room.sum())
}
