//! What runs of late left undone: a run that stopped editors and was killed before it took their folders
//! leaves them to the next one, which knows no editor for them any more.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use oh_host::journal;
use oh_host::quarantine::Number;

use super::Look;
use crate::journal::{Run, TOOL};

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
    let since = SystemTime::now().checked_sub(LATE);
    for id in runs.iter().rev().take(RUNS_MAX) {
        let is_of_late = journal::written_last(root, TOOL, id)
            .is_ok_and(|written| since.is_none_or(|since| written >= since));
        if !is_of_late {
            continue;
        }
        match Run::read(root, id) {
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
