//! Runs whose journals cannot be read, or are gone: what they moved can never be taken back, and they would keep their
//! room for ever. They go where they are asked for by their names, and not by their age.

use oh_host::journal;
use oh_host::publish::Host;
use oh_host::quarantine;
use oh_host::remove::{Removed, Rules};
use oh_host::signals::Interrupts;
use oh_host::users::Users;
use oh_model::run::RunId;

use super::{Told, stays};
use crate::evidence;
use crate::facts::owners;
use crate::fault::Fault;
use crate::journal::{Run, TOOL};
use crate::remains::{self, Remains};

/// What would be removed, for whoever is asked.
pub(super) fn shown(run: &RunId, why: &str) -> String {
    format!(
        "would remove {run} for good, with all that it moved to {}: {why}\n",
        quarantine::QUARANTINE_FOLDER
    )
}

/// Says of a run without a journal what is left of it.
pub(super) fn gone(left: &Remains) -> String {
    format!("its journal is gone; what is left of it is {}", left.shown())
}

/// Removes a run, unless it is gone or can be read by now; the journal goes last, so that what is left of
/// one that was killed meanwhile can be asked for again.
pub(super) fn remove(
    host: &Host,
    run: &RunId,
    others: bool,
    interrupts: &Interrupts,
) -> Option<Told> {
    let root = &host.root;
    match Run::read(root, run) {
        Err(journal::JournalFault::Unknown(_)) => match remains::find(root) {
            Ok(left) if !left.contains_key(run) => return None,
            Ok(_) => {}
            Err(fault) => {
                let removed = stays(format!("the run {run}"), &fault);
                return Some(Told { run: run.clone(), removed, is_more: false });
            }
        },
        Err(_) => {}
        Ok(_) => {
            let (removed, is_more) = (Removed::default(), true);
            return Some(Told { run: run.clone(), removed, is_more });
        }
    }
    let removed = removed(host, run, others, interrupts)
        .unwrap_or_else(|fault| stays(format!("the run {run}"), &fault));
    Some(Told { run: run.clone(), removed, is_more: false })
}

fn removed(
    host: &Host,
    run: &RunId,
    others: bool,
    interrupts: &Interrupts,
) -> Result<Removed, Fault> {
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let owners: Vec<u32> = owners(host, &users).uids().collect();
    let owners = (!others).then_some(owners.as_slice());
    let rules = Rules { owners, progress: None, interrupts: Some(interrupts) };
    let mut removed = quarantine::purge_run(&host.root, run, rules)?;
    if !removed.is_whole() {
        return Ok(removed);
    }
    if let Some(bytes) = evidence::remove(&host.root, run)? {
        removed.files += 1;
        removed.bytes += bytes;
    }
    let (copies, bytes) = remains::remove_copies(&host.root, run)?;
    removed.files += copies;
    removed.bytes += bytes;
    journal::forget(&host.root, TOOL, run)?;
    Ok(removed)
}
