//! What a run was about to move and never did: one that was killed had written down more than it came to,
//! and a later run has taken the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use oh_host::journal;
use oh_host::quarantine::{Place, Thing};
use oh_host::root::Root;
use oh_model::run::RunId;

use crate::journal::{LOOK_BYTES_MAX, Line, Run, TOOL, Undo};

/// Which steps of a run are those of which a later run has the things, by that run.
pub(crate) type Elsewhere = BTreeMap<RunId, Vec<usize>>;

/// What a run was about to move, where nothing says that it did, and nothing is in its place.
pub(crate) fn unmoved(run: &Run) -> BTreeMap<usize, &Thing> {
    let done = run.lines.iter().filter_map(|line| match line {
        // Of what is half removed something was there.
        Line::Done { step } | Line::Purging { step } => Some(*step),
        _ => None,
    });
    let done: BTreeSet<usize> = done.collect();
    let begun = run.held().into_iter().filter(|(step, _)| !done.contains(step));
    let unmoved = begun.filter_map(|(step, undo)| match undo {
        Undo::Moved { thing, place } if is_away(place) => Some((step, &**thing)),
        _ => None,
    });
    unmoved.collect()
}

/// Says whether nothing is in a place. One that cannot be looked at may have something in it.
fn is_away(place: &Place) -> bool {
    let path = place.folder.join(&place.number.to_string());
    let found = path.map(|path| std::fs::symlink_metadata(path.as_str()));
    matches!(found, Ok(Err(fault)) if fault.kind() == io::ErrorKind::NotFound)
}

/// Finds what later runs have of it, and leaves it out: it is theirs to bring back.
pub(crate) fn leave_out(root: &Root, run: &mut Run) -> Elsewhere {
    let unmoved = unmoved(run);
    let mut found = Elsewhere::new();
    if unmoved.is_empty() {
        return found;
    }
    let key = |thing: &Thing| (thing.folder.clone(), thing.name.clone());
    let wanted: BTreeMap<_, _> =
        unmoved.iter().map(|(step, thing)| (key(thing), (*step, thing.number))).collect();
    // What is not found is told as missing, as if there were no journals.
    let later = journal::runs(root, TOOL).unwrap_or_default();
    let mut left_bytes = LOOK_BYTES_MAX;
    for id in later.into_iter().filter(|id| *id > run.id) {
        let Ok(later) = Run::read_up_to(root, &id, &mut left_bytes) else { continue };
        for (_, undo) in later.held() {
            let Undo::Moved { thing, place } = undo else { continue };
            let Some((step, number)) = wanted.get(&key(thing)) else { continue };
            if *number == thing.number && !is_away(place) {
                found.entry(id.clone()).or_default().push(*step);
            }
        }
    }
    let steps: Vec<usize> = found.values().flatten().copied().collect();
    run.lines.extend(steps.into_iter().map(|step| Line::Undone { step }));
    found
}
