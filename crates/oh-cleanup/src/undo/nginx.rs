//! Brings files of nginx back, and has nginx read them.
//!
//! One with which nginx refuses what it accepted before stays in the quarantine: with it in place, nginx
//! would not start again. Where nginx refused before, none of them is to blame, and all come back. It is
//! asked once for all of them; one by one only where it refuses them together.

use std::collections::BTreeSet;

use oh_host::journal::Journal;
use oh_host::lock::{Held, World};
use oh_host::publish::{self, Host, Judged, Reloaded};
use oh_host::quarantine::{self, Place, Taken, Thing};
use oh_model::path::RealPath;

use super::{Told, put_back};
use crate::apply::chain;
use crate::apply::nginx::{logged_reasons, reasons};
use crate::fault::Fault;
use crate::journal::{Line, Run};
use crate::unread;

/// What is said of an nginx that is not there.
const UNREAD: &str = "nginx, which does not run, and reads them when it starts";

/// A file that was to come back.
struct File {
    step: usize,
    thing: Thing,
    place: Place,
    outcome: Result<&'static str, String>,
}

/// Brings the files of a run back, the last first.
pub(super) fn bring_back(
    host: &Host,
    run: &Run,
    journal: &mut Journal,
    world: &mut Held<'_, World>,
) -> Result<Vec<Told>, Fault> {
    let files = unread::undoable(host, run);
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let _held = world.publish(super::PURPOSE, publish::LOCK_WAIT)?;
    // An undo that was killed may have left the very file in place that nginx refuses.
    let was_begun = run.lines.contains(&Line::BringingBack { accepted: true });
    let accepted = was_begun || matches!(publish::judge(host), Ok(Judged::Accepted));
    journal.note(&Line::BringingBack { accepted })?;
    let back = |(step, thing, place): (usize, Thing, Place)| {
        let outcome = put_back(&thing, &place);
        File { step, thing, place, outcome }
    };
    let mut files: Vec<File> = files.into_iter().rev().map(back).collect();
    let is_to_judge =
        |file: &File| file.outcome == Ok("back") || (was_begun && file.outcome.is_ok());
    let mut came: Vec<&mut File> = files.iter_mut().filter(|file| is_to_judge(file)).collect();
    if accepted
        && !came.is_empty()
        && let Ok(Judged::Refused(together)) = publish::judge(host)
    {
        one_by_one(host, &mut came, &together);
    }
    let folders: BTreeSet<RealPath> = files.iter().map(|file| file.place.folder.clone()).collect();
    folders.iter().for_each(quarantine::close);
    let back: Vec<usize> =
        files.iter().filter(|file| file.outcome.is_ok()).map(|file| file.step).collect();
    let told = |file: File| Told {
        subject: file.thing.shown(),
        bytes: run.room_of(file.step),
        outcome: file.outcome,
    };
    let mut told: Vec<Told> = files.into_iter().map(told).collect();
    if back.is_empty() {
        return Ok(told);
    }
    let (subject, read) = match publish::reload(host) {
        Ok(Reloaded::Seen) => ("nginx, which has read them again", Ok("done")),
        Ok(Reloaded::NoMaster) => (UNREAD, Ok("done")),
        Err(fault) if fault.is_no_program() => (UNREAD, Ok("done")),
        Ok(Reloaded::Refused(lines)) => {
            ("nginx", Err(format!("it refuses its configuration, as before: {}", reasons(&lines))))
        }
        Ok(Reloaded::NotSeen(lines)) => {
            ("nginx", Err(format!("its workers of before still serve; {}", logged_reasons(&lines))))
        }
        Err(fault) => ("nginx", Err(chain(&fault))),
    };
    if read.is_ok() {
        // Until nginx has read them, the next undo finds that they are there, and asks again.
        for step in back {
            drop(journal.note(&Line::Undone { step }));
        }
    }
    told.push(Told { subject: subject.into(), bytes: 0, outcome: read });
    Ok(told)
}

/// Finds out with which of the files nginx refuses what it accepted before: without all of them first, and
/// then with one more each time. Where it refuses without them too, none of them is to blame.
fn one_by_one(host: &Host, came: &mut [&mut File], together: &[String]) {
    let mut away: Vec<&mut File> = Vec::new();
    for file in came.iter_mut() {
        if is_away(file) {
            away.push(file);
        } else {
            let why = reasons(together);
            file.outcome = Err(format!("it is back, and nginx refuses its configuration: {why}"));
        }
    }
    let is_to_blame = !matches!(publish::judge(host), Ok(Judged::Refused(_)));
    for file in away {
        file.outcome = put_back(&file.thing, &file.place);
        if !is_to_blame || file.outcome.is_err() {
            continue;
        }
        if let Ok(Judged::Refused(lines)) = publish::judge(host) {
            let why = reasons(&lines);
            file.outcome = Err(if is_away(file) {
                format!(
                    "nginx refuses its configuration with it ({why}); it is kept as {}/{}",
                    file.place.folder, file.place.number
                )
            } else {
                format!("it is back, and nginx refuses its configuration: {why}")
            });
        }
    }
}

/// Takes a file away again; says whether it is in the quarantine.
fn is_away(file: &File) -> bool {
    let wanted = quarantine::Wanted { thing: &file.thing, place: &file.place, may_change: true };
    matches!(quarantine::take(wanted), Ok(Taken::Moved))
}
