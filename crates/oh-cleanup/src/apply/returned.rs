//! What was stopped and runs again: somebody starts it, of whom nothing is known here.

use oh_model::plan::Plan;

use super::{Deed, NotDone};
use crate::step::{Step, Stop};

/// Says of each editor that was stopped whether it would be stopped again; `after` is what would be
/// planned by now. A step whose editor runs is not done, whatever became of the one that ran before.
pub(crate) fn say(deeds: &mut [Deed], after: &Plan<Step>) {
    for deed in deeds.iter_mut().filter(|deed| deed.outcome.is_ok()) {
        let Step::Stop(was) = &deed.step else { continue };
        let again = after.steps.iter().find_map(|step| match step {
            Step::Stop(now) if is_same(was, now) => Some(now),
            _ => None,
        });
        let Some(again) = again else { continue };
        let pids: Vec<String> = again.leaders.iter().map(|one| one.pid.to_string()).collect();
        let why = match pids.as_slice() {
            [] => "it runs again: something starts it".to_owned(),
            pids => format!("it runs again as pid {}: something starts it", pids.join(", ")),
        };
        deed.outcome = Err(NotDone::said(why));
    }
}

/// Says whether two looks saw one editor: by its record, or by its port and its folder.
fn is_same(was: &Stop, now: &Stop) -> bool {
    match (&was.id, &now.id) {
        (Some(was), Some(now)) => was == now,
        (None, None) => (&was.what, &was.why) == (&now.what, &now.why),
        _ => false,
    }
}
