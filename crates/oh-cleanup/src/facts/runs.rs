//! What runs of late left undone: a run that stopped editors and was killed before it took their folders
//! leaves them to the next one, which knows no editor for them any more.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use oh_host::journal::{self, JournalFault};
use oh_host::publish::Host;
use oh_host::quarantine::Number;
use oh_model::id::InstanceId;
use oh_model::run::RunId;

use super::Look;
use crate::journal::{LOOK_BYTES_MAX, Run, TOOL};
use crate::step::Step;

/// How late a run is one of late: what its editors wrote is older than any least age by then.
const LATE: Duration = Duration::from_secs(24 * 3600);

/// How many runs are looked at, the last ones.
const RUNS_MAX: usize = 16;

/// Returns what was to be taken of editors that were stopped, and was not.
pub(super) fn gather(look: &mut Look<'_>) -> BTreeSet<Number> {
    let root = &look.host.root;
    let runs = match journal::runs(root, TOOL) {
        Ok(runs) => runs,
        Err(fault) => {
            look.miss("the journals of earlier runs", crate::apply::chain(&fault));
            return BTreeSet::new();
        }
    };
    let (mut left, mut unread) = (BTreeSet::new(), Vec::new());
    let mut left_bytes = LOOK_BYTES_MAX;
    for id in runs.iter().rev().take(RUNS_MAX) {
        if !is_of_late(look.host, id) {
            continue;
        }
        match Run::read_up_to(root, id, &mut left_bytes) {
            Ok(run) => left.extend(run.left()),
            // Purged meanwhile.
            Err(journal::JournalFault::Unknown(_)) => {}
            Err(fault) => {
                unread.push((format!("the journal of {id}"), crate::apply::chain(&fault)));
            }
        }
    }
    unread.into_iter().for_each(|(subject, reason)| look.miss(subject, reason));
    left
}

/// Says whether it was an unfinished run of late that recorded an instance as to be stopped. What the last
/// run that came to it says counts.
pub(crate) fn has_stopped(host: &Host, id: &InstanceId) -> Result<bool, JournalFault> {
    let mut left_bytes = LOOK_BYTES_MAX;
    for run in journal::runs(&host.root, TOOL)?.iter().rev().take(RUNS_MAX) {
        if !is_of_late(host, run) {
            continue;
        }
        // One that cannot be read is named by the look at them all.
        let Ok(run) = Run::read_up_to(&host.root, run, &mut left_bytes) else { continue };
        let is_it = |step: &Step| matches!(step, Step::WantStopped(wanted) if wanted == id);
        let Some(number) = run.head.steps.iter().position(is_it) else { continue };
        if run.is_over() {
            return Ok(false);
        }
        if run.has_begun(number) {
            return Ok(run.wanted().contains(&(number, id)));
        }
    }
    Ok(false)
}

fn is_of_late(host: &Host, run: &RunId) -> bool {
    let since = SystemTime::now().checked_sub(LATE);
    journal::written_last(&host.root, TOOL, run)
        .is_ok_and(|written| since.is_none_or(|since| written >= since))
}
