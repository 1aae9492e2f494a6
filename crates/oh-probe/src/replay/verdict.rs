//! What a conversation that was joined twice tells. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, NotJoined, Replayed, Status};

/// How many faults are told.
pub const FAULTS_MAX: usize = 64;

/// Something that is not as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An event that came first did not come again, though it stands behind the place that was named.
    Gap {
        /// Its number.
        id: i64,
    },
    /// An event came twice within one join.
    Twice {
        /// Its number.
        id: i64,
    },
    /// An event came again that stands before the place that was named: whoever reconnects has it twice.
    Again {
        /// Its number.
        id: i64,
    },
    /// An event came behind a later one.
    Disorder {
        /// Its number.
        id: i64,
        /// That of the one before it.
        behind: i64,
    },
}

/// What a conversation that was joined twice tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No gap, nothing twice.
    Whole {
        /// How many events came first.
        first: usize,
        /// How many of these came again, or anew.
        again: usize,
    },
    /// These.
    Faulty(Vec<Fault>),
    /// It has no events yet, by which anything could be told.
    Empty,
    /// It was not joined, because this is what it is.
    NotJoined(Status),
    /// It was joined, or was to be, and this came of it.
    Failed(NotJoined),
    /// It was stopped before anything could be told.
    Untold,
}

/// Judges what was seen.
pub fn judge(seen: &Replayed) -> Verdict {
    if let Some(status) = seen.statuses.iter().find(|status| **status != Status::Running) {
        return Verdict::NotJoined(status.clone());
    }
    let failed = [&seen.first, &seen.again].into_iter().flatten();
    if let Some(why) = failed.filter_map(|pass| pass.joined.as_ref().err()).next() {
        return Verdict::Failed(why.clone());
    }
    match (&seen.first, &seen.again) {
        (Some(first), Some(again)) => {
            let faults = compare(&first.events, again.behind, &again.events);
            if faults.is_empty() {
                Verdict::Whole { first: first.events.len(), again: again.events.len() }
            } else {
                Verdict::Faulty(faults)
            }
        }
        (Some(_), None) if !seen.is_stopped => Verdict::Empty,
        _ => Verdict::Untold,
    }
}

/// Compares what came first with what came again, when all behind an event was asked for; at most [`FAULTS_MAX`].
///
/// Of the events that say in which state the agent is, the server sends the last alone, and sends it last: its number
/// may be less than that of the one before, and another one may have taken its place meanwhile.
pub fn compare(first: &[Event], behind: i64, again: &[Event]) -> Vec<Fault> {
    let numbers: BTreeSet<_> = again.iter().map(|event| event.id).collect();
    let state = again.iter().filter(|event| event.is_state).map(|event| event.id).max();
    let is_there = |event: &Event| {
        numbers.contains(&event.id) || event.is_state && state.is_some_and(|id| id > event.id)
    };
    let gaps = first.iter().filter(|event| event.id > behind && !is_there(event));
    let old = again.iter().filter(|event| !event.is_state && event.id <= behind);
    let mut faults: Vec<_> = gaps.map(|event| Fault::Gap { id: event.id }).collect();
    faults.extend(old.map(|event| Fault::Again { id: event.id }));
    for pass in [first, again] {
        faults.extend(twice(pass).map(|id| Fault::Twice { id }));
        faults.extend(disorder(pass));
    }
    faults.truncate(FAULTS_MAX);
    faults
}

fn twice(pass: &[Event]) -> impl Iterator<Item = i64> {
    let mut counts = BTreeMap::new();
    for event in pass {
        *counts.entry(event.id).or_insert(0_usize) += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id)
}

fn disorder(pass: &[Event]) -> Vec<Fault> {
    let plain: Vec<_> = pass.iter().filter(|event| !event.is_state).collect();
    let pairs = plain.windows(2).filter_map(|pair| match pair {
        [one, two] if two.id < one.id => Some(Fault::Disorder { id: two.id, behind: one.id }),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{Ended, Ladder};
    use crate::replay::Pass;

    /// Events of these numbers; those below zero say in which state the agent is.
    fn events(ids: &[i64]) -> Vec<Event> {
        ids.iter().map(|id| Event { id: id.abs(), is_state: *id < 0 }).collect()
    }

    #[test]
    fn gaps_and_doubles_are_found() {
        use Fault::{Again, Disorder, Gap, Twice};
        for (first, behind, again, expected) in [
            // Numbers may be left out: what says nothing is not sent.
            (&[0, 2, 5, 6, -4][..], 2, &[5, 6, -4][..], vec![]),
            (&[0, 2, 5, 6, -1], 2, &[5, 6], vec![]),
            // What is new meanwhile comes as well, and another state takes the place of the old one.
            (&[0, 2, 5, 6, -4], 2, &[5, 6, 7, 9, -8], vec![]),
            (&[0, 1, 2, 3], 1, &[3], vec![Gap { id: 2 }]),
            (&[0, 1, 2, 3], 1, &[], vec![Gap { id: 2 }, Gap { id: 3 }]),
            (&[0, 1, -4], 1, &[], vec![Gap { id: 4 }]),
            (&[0, 1, 2, 3], 1, &[1, 2, 3], vec![Again { id: 1 }]),
            (&[0, 1, 2, 3], 1, &[2, 3, 3], vec![Twice { id: 3 }]),
            (&[0, 1, 1, 2], 1, &[2], vec![Twice { id: 1 }]),
            (&[0, 1, 2, 3], 1, &[3, 2], vec![Disorder { id: 2, behind: 3 }]),
            // The old state once more harms nobody.
            (&[0, 2, 3, -1], 2, &[3, -1], vec![]),
        ] {
            let faults = compare(&events(first), behind, &events(again));
            assert_eq!(faults, expected, "{first:?} {behind} {again:?}");
        }
        let many: Vec<_> = (0..1000).collect();
        assert_eq!(compare(&events(&many), -1, &[]).len(), FAULTS_MAX);
    }

    #[test]
    fn what_was_not_joined_twice_says_why() {
        let pass = |ids: &[i64], behind, joined| {
            let ladder = Ladder::default();
            Some(Pass { behind, ladder, events: events(ids), joined })
        };
        let quiet = NotJoined::Ended(Ended::Dismissed);
        let runs = || vec![Status::Running, Status::Running];
        let stopped = Status::Other("STOPPED".to_owned());
        let seen = |statuses, first, again| Replayed { statuses, first, again, is_stopped: false };
        for (seen, expected) in [
            (
                seen(runs(), pass(&[0, 1, 2], -1, Ok(())), pass(&[2], 1, Ok(()))),
                Verdict::Whole { first: 3, again: 1 },
            ),
            (
                seen(runs(), pass(&[0, 1, 2], -1, Ok(())), pass(&[], 1, Ok(()))),
                Verdict::Faulty(vec![Fault::Gap { id: 2 }]),
            ),
            (seen(vec![stopped.clone()], None, None), Verdict::NotJoined(stopped.clone())),
            // It ended while we looked.
            (
                seen(vec![Status::Running, stopped.clone()], pass(&[0, 1], -1, Ok(())), None),
                Verdict::NotJoined(stopped),
            ),
            (seen(runs(), pass(&[], -1, Err(quiet.clone())), None), Verdict::Failed(quiet)),
            (seen(vec![Status::Running], pass(&[], -1, Ok(())), None), Verdict::Empty),
            (Replayed { is_stopped: true, ..Replayed::default() }, Verdict::Untold),
        ] {
            assert_eq!(judge(&seen), expected, "{seen:?}");
        }
    }
}
