//! How much room what was moved away may have together (`cleanup.quarantine_max_mib`).
//!
//! Nothing is removed because of it by itself: in an incident nobody knows yet what will be missed. A run
//! says that there is more, and `purge` without a run removes what is beyond it, shown and asked for as
//! any other. The oldest go first, and the last run that moved anything away stays, however large it is:
//! it is the one that somebody takes back. So does one that was interrupted: what it was to take is taken by
//! the next run. What counts is the room that was counted when things were moved.

use core::num::NonZeroU64;

use oh_host::publish::Host;
use oh_model::hint::{Command, Hint};
use oh_model::run::RunId;
use oh_term::Answer;
use oh_term::text::bytes;

use crate::fault::Fault;
use crate::journal::Run;
use crate::runs::{held, ids};

/// The unit of the key, in bytes.
const MIB_BYTES: u64 = 1 << 20;

/// How many runs a run looks at behind itself, the last first: it is to end soon, however many there were.
const LOOKED_BACK_MAX: usize = 64;

/// What a run keeps from the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    is_over: bool,
}

/// What the runs keep, the oldest first.
struct Looked {
    runs: Vec<RunId>,
    rooms: Vec<Room>,
    /// Those of which nobody can tell.
    unread: Vec<RunId>,
}

/// Returns the runs that have to go for the rest to be within the limit, the oldest first. One that
/// cannot be read is among them, for whoever asks to be told so.
pub(crate) fn beyond(host: &Host) -> Result<Vec<RunId>, Fault> {
    let Some(max) = host.settings.cleanup.quarantine_max_mib else { return Ok(Vec::new()) };
    let Looked { runs, rooms, unread } = look(host, usize::MAX)?;
    let mut all = unread;
    for at in oldest_beyond(&rooms, limit(max)) {
        all.extend(runs.get(at).cloned());
    }
    Ok(all)
}

/// Says in the answer of a run that there is more than the limit, and how that is looked at.
pub(crate) fn told(host: &Host, answer: Answer) -> Answer {
    let Some(max) = host.settings.cleanup.quarantine_max_mib else { return answer };
    // Where nobody can tell, `runs` and `purge` say so; this run is over.
    let Ok(Looked { rooms, .. }) = look(host, LOOKED_BACK_MAX) else { return answer };
    if oldest_beyond(&rooms, limit(max)).is_empty() {
        return answer;
    }
    let (room, max) = (bytes(sum(&rooms)), bytes(limit(max)));
    let note =
        format!("what runs moved away has {room}, more than cleanup.quarantine_max_mib ({max})");
    let look = Command::ours("oh-cleanup", &["purge", "--dry-run"]);
    answer.notes([note]).hint(Hint::run("see which of the oldest would go", look))
}

fn look(host: &Host, runs_max: usize) -> Result<Looked, Fault> {
    let mut looked = Looked { runs: Vec::new(), rooms: Vec::new(), unread: Vec::new() };
    let ids = ids(host)?;
    let before = ids.len().saturating_sub(runs_max);
    for id in ids.into_iter().skip(before) {
        match Run::read(&host.root, &id) {
            Ok(run) => {
                looked.rooms.push(Room { bytes: held(&run).1, is_over: run.is_over() });
                looked.runs.push(id);
            }
            Err(_) => looked.unread.push(id),
        }
    }
    Ok(looked)
}

fn sum(rooms: &[Room]) -> u64 {
    rooms.iter().fold(0, |sum, room| sum.saturating_add(room.bytes))
}

fn limit(max: NonZeroU64) -> u64 {
    max.get().saturating_mul(MIB_BYTES)
}

/// Which of the runs, the oldest first, go until the rest is within the limit.
fn oldest_beyond(rooms: &[Room], max: u64) -> Vec<usize> {
    let mut sum = sum(rooms);
    let last = rooms.iter().rposition(|room| room.bytes > 0);
    let mut gone = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        if sum <= max || Some(at) == last {
            break;
        }
        if room.is_over && room.bytes > 0 {
            gone.push(at);
            sum = sum.saturating_sub(room.bytes);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_the_rest_is_within_the_limit() {
        let of = |rooms: &[u64], max| {
            let room = |bytes: &u64| Room { bytes: *bytes, is_over: true };
            oldest_beyond(&rooms.iter().map(room).collect::<Vec<_>>(), max)
        };
        assert!(of(&[], 0).is_empty());
        assert!(of(&[1, 2, 3], 6).is_empty());
        assert_eq!(of(&[1, 2, 3], 5), [0]);
        assert_eq!(of(&[1, 2, 3], 4), [0, 1]);
        // What has no room frees none.
        assert_eq!(of(&[0, 2, 0, 3], 3), [1]);
        // The last that has any stays.
        assert_eq!(of(&[1, 9, 0], 1), [0]);
        assert!(of(&[9], 1).is_empty());
        assert_eq!(of(&[u64::MAX, u64::MAX], 1), [0]);
    }

    #[test]
    fn one_that_was_interrupted_stays() {
        let of = |bytes, is_over| Room { bytes, is_over };
        let rooms = [of(5, false), of(1, true), of(1, true)];
        assert_eq!(oldest_beyond(&rooms, 5), [1]);
    }
}
