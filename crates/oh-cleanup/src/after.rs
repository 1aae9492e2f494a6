//! What came back: a look behind all acts, compared with what they were to leave.
//!
//! A supervisor may start again what was stopped, and an application make again what was moved. That is
//! no failure of a step, and yet the machine is not as it was to be.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::process::Pid;
use oh_host::publish::Host;
use oh_model::container::Listed;
use oh_model::plan::{Exclusion, Outcome};
use oh_model::port::Port;

use crate::apply::{Deed, chain, is_of};
use crate::facts::{self, Editor, Facts, Look};
use crate::step::{Step, StopContainer};

/// What a look behind all acts saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct After {
    /// What came back, and how.
    pub(crate) came_back: Vec<Exclusion>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<Exclusion>,
}

/// Looks once more; `before` is what was seen before anything was done.
pub(crate) fn look(host: &Host, before: &Facts, deeds: &[Deed]) -> After {
    let seen = Look::begin(host).and_then(|mut look| facts::gather(&mut look));
    let seen = seen.map(|mut now| {
        if deeds.iter().any(|deed| stopped_container(deed).is_some()) {
            facts::containers::add(&mut now);
        }
        now
    });
    let ports = facts::held_ports(&ports(before, deeds));
    let unseen = |why: String| Exclusion { subject: "what came back".into(), reason: why };
    match (seen, ports) {
        (Ok(now), Ok(held)) => {
            // What was not seen before is told already.
            let is_new = |one: &Exclusion| !before.unseen.contains(one);
            After {
                came_back: came_back(before, deeds, &now, &held),
                unseen: now.unseen.iter().filter(|one| is_new(one)).cloned().collect(),
            }
        }
        (Err(fault), _) => After { unseen: vec![unseen(chain(&fault))], ..After::default() },
        (_, Err(why)) => After { unseen: vec![unseen(why)], ..After::default() },
    }
}

/// The container that a step stopped.
fn stopped_container(deed: &Deed) -> Option<&StopContainer> {
    match &deed.step {
        Step::StopContainer(stop) if deed.outcome.is_ok() => Some(stop),
        _ => None,
    }
}

/// The editors that were stopped, as they were.
fn stopped<'f>(before: &'f Facts, deeds: &[Deed]) -> Vec<&'f Editor> {
    let stops = deeds.iter().filter_map(|deed| match &deed.step {
        Step::Stop(stop) if deed.outcome.is_ok() => Some(stop),
        _ => None,
    });
    let editors = |stop| before.editors.iter().filter(move |editor| is_of(stop, editor));
    stops.flat_map(editors).collect()
}

/// The ports on which nobody is to listen any more.
fn ports(before: &Facts, deeds: &[Deed]) -> BTreeSet<Port> {
    let mut ports: BTreeSet<Port> =
        stopped(before, deeds).into_iter().flat_map(|editor| editor.ports.clone()).collect();
    for deed in deeds.iter().filter(|deed| deed.outcome.is_ok()) {
        let Step::Release(release) = &deed.step else { continue };
        let ids: BTreeSet<&String> = release.ids.iter().collect();
        let entries = before.entries.iter().filter(|entry| entry.database == release.database);
        let free = entries.filter(|entry| entry.holder == Ok(None) && ids.contains(&entry.id));
        ports.extend(free.filter_map(|entry| entry.port));
    }
    ports
}

fn came_back(
    before: &Facts,
    deeds: &[Deed],
    now: &Facts,
    held: &BTreeMap<Port, String>,
) -> Vec<Exclusion> {
    let mut back = BTreeSet::new();
    let mut say = |subject: String, reason: String| back.insert(Exclusion { subject, reason });
    for editor in stopped(before, deeds) {
        let is_new = |now: &&Editor| !before.editors.iter().any(|one| is_one(one, now));
        let mut fresh = now.editors.iter().filter(is_new);
        let pids = |one: &Editor| {
            let pids: Vec<String> = one.pids.iter().map(ToString::to_string).collect();
            pids.join(", ")
        };
        if let Some(again) = fresh.clone().find(|now| is_again(editor, now)) {
            say(editor.what.clone(), format!("it runs again (pid {})", pids(again)));
        } else if let Some((by, other)) = fresh.find_map(|now| Some((starter(editor, now)?, now))) {
            let why = format!(
                "pid {by}, which had started it, has started {} since (pid {})",
                other.what,
                pids(other)
            );
            say(editor.what.clone(), why);
        }
    }
    for stop in deeds.iter().filter_map(stopped_container) {
        // A restart has the same number, and one that was made anew the same name.
        let is_it = |one: &Listed| one.id == stop.container.id || one.name == stop.container.name;
        if let Some((engine, one)) = now.containers.iter().find(|(_, one)| is_it(one)) {
            let what = format!("the container {} of {engine}", stop.container.name.as_str());
            say(what, format!("it runs again ({})", one.id.as_str()));
        }
    }
    for (port, holder) in held {
        say(format!("port {port}"), format!("{holder} listens on it"));
    }
    let there: BTreeSet<_> = now
        .leftovers
        .iter()
        // What a stranger makes anew under an old name brought nothing of ours back.
        .filter(|one| one.is_owned)
        .map(|one| &one.thing)
        .chain(now.sessions.iter().map(|one| &one.thing))
        .map(|thing| (&thing.folder, &thing.name))
        .collect();
    for deed in deeds.iter().filter(|deed| matches!(deed.outcome, Ok(Outcome::Done))) {
        let Step::Move(step) = &deed.step else { continue };
        if there.contains(&(&step.thing.folder, &step.thing.name)) {
            say(step.thing.shown(), "it was made again".into());
        }
    }
    back.into_iter().collect()
}

/// Says whether two looks saw the same processes: what stayed beside what was stopped came not back.
fn is_one(before: &Editor, now: &Editor) -> bool {
    before.leaders.iter().any(|leader| now.leaders.contains(leader))
}

/// Says whether an editor that runs now is the one that was stopped, started again. What anybody may say
/// in arguments brings nothing of others back.
fn is_again(before: &Editor, now: &Editor) -> bool {
    let is_same = match (&before.id, &now.id) {
        (Some(before), Some(now)) => before == now,
        _ => !before.folders.is_disjoint(&now.folders) || !before.ports.is_disjoint(&now.ports),
    };
    is_same && counts(now)
}

fn counts(now: &Editor) -> bool {
    now.is_owned && !now.is_elsewhere && !now.pids.is_empty()
}

/// Returns who started both, where nothing else tells that one is the other, started again: its folder, its
/// port and its name may be drawn anew each time, and whoever starts it again stays.
fn starter(before: &Editor, now: &Editor) -> Option<Pid> {
    let are_alike = before.uid == now.uid && before.id.is_none() && now.id.is_none();
    let mut both = before.starters.intersection(&now.starters);
    both.next().filter(|_| are_alike && counts(now)).map(|(pid, _)| *pid)
}

#[cfg(test)]
mod tests;
