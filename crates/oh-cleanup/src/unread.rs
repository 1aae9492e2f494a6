//! What nginx may not have read yet: files of its configuration that a run moved away, of which no run
//! has seen that nginx serves what is left.
//!
//! It is asked of the journals. A run that was killed behind a move, and one that nginx refused to follow,
//! leave such files; the next one that has nginx read what is left settles it for all before it.

use oh_host::journal;
use oh_host::publish::Host;
use oh_host::quarantine::{Place, Thing};
use oh_model::run::RunId;

use crate::facts::generated::place;
use crate::journal::{LOOK_BYTES_MAX, Line, Run, TOOL, Undo};
use crate::step::Step;

/// How many runs are looked at, the last ones.
const RUNS_MAX: usize = 64;

/// A run whose moved files nginx may not have read.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) run: RunId,
    /// Whether nginx accepted its configuration before; `None` where it was not asked.
    pub(crate) accepted: Option<bool>,
    /// The files, each with its step.
    pub(crate) moved: Vec<(usize, Thing, Place)>,
}

/// Finds them, the last run first.
pub(crate) fn unread(host: &Host) -> Vec<Unread> {
    let mut found = Vec::new();
    // Without journals nothing was moved.
    let runs = journal::runs(&host.root, TOOL).unwrap_or_default();
    let mut left_bytes = LOOK_BYTES_MAX;
    for id in runs.into_iter().rev().take(RUNS_MAX) {
        // One whose first line is not whole did nothing; `runs` names it, and any other one too.
        let Ok(run) = Run::read_up_to(&host.root, &id, &mut left_bytes) else { continue };
        if is_settled(&run) {
            break;
        }
        let moved = moved(host, &run);
        if moved.is_empty() {
            continue;
        }
        let judged = run.lines.iter().find_map(|line| match line {
            Line::Judged { accepted } => Some(*accepted),
            _ => None,
        });
        found.push(Unread { run: id, accepted: judged, moved });
    }
    found
}

/// Says whether a thing is one of the files of generators, by its folder.
fn is_of_nginx(host: &Host, thing: &Thing) -> bool {
    place(host).is_some_and(|(folder, _, behind)| {
        thing.folder == folder && thing.name.as_bytes().ends_with(behind.as_bytes())
    })
}

/// The files for nginx of a run that can be taken back, each with its step.
pub(crate) fn undoable(host: &Host, run: &Run) -> Vec<(usize, Thing, Place)> {
    let undoable = run.undoable().into_iter();
    let of_nginx = undoable.filter_map(|(step, undo)| match undo {
        Undo::Moved { thing, place } if is_of_nginx(host, thing) => {
            Some((step, Thing::clone(thing), place.clone()))
        }
        _ => None,
    });
    of_nginx.collect()
}

fn is_settled(run: &Run) -> bool {
    let is_reload = |step: &usize| matches!(run.head.steps.get(*step), Some(Step::Reload));
    run.lines.iter().any(|line| matches!(line, Line::Done { step } if is_reload(step)))
}

/// Those that are away: a run that was killed before a move has written it down all the same.
fn moved(host: &Host, run: &Run) -> Vec<(usize, Thing, Place)> {
    let mut moved = undoable(host, run);
    moved.retain(|(_, _, place)| {
        let held = place.folder.join(&place.number.to_string());
        held.is_ok_and(|held| std::fs::symlink_metadata(held.as_str()).is_ok())
    });
    moved
}
