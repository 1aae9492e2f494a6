//! Ends editors: all at once, so that the grace of one is that of all.
//!
//! Right before the signal all editors are looked at once more. One that somebody has come to since the
//! plan was made is not stopped, and neither is anything begun where a signal came meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use oh_host::instances::{self, Wanted};
use oh_host::members::Target;
use oh_host::process::Identity;
use oh_host::sockets;
use oh_host::stop::{self as host_stop, How};
use oh_host::unit;
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_model::plan::Outcome;
use oh_model::port::Port;

use super::{Deed, NotDone, Run, chain, interrupted, is_of, unsettled};
use crate::facts::{self, Editor, Facts};
use crate::fault::Fault;
use crate::journal::{Line, Undo};
use crate::plan::stops;
use crate::request::Request;
use crate::step::{Step, Stop};

/// The shortest and the longest pause between two looks at who listens.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// What became of all of them.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    /// The steps that were not done, each with the reason.
    pub(super) staying: BTreeMap<usize, String>,
    /// Those of them of which nothing was begun.
    pub(super) untouched: BTreeSet<usize>,
}

/// Says whether a plan that is made over these facts would stop an editor.
pub(super) fn is_to_stop(editor: &Editor, facts: &Facts, request: &Request) -> bool {
    stops(editor, facts, request) == Ok(true)
}

impl Run<'_> {
    /// Ends several editors at once, and says which of them stay.
    pub(super) fn stop_all(
        &mut self,
        wanted: &[(usize, &Stop)],
        deeds: &mut BTreeMap<usize, Deed>,
    ) -> Stopped {
        let mut stopped = Stopped::default();
        if wanted.is_empty() {
            return stopped;
        }
        self.progress.doing(format!("stop {}", oh_term::text::several(wanted.len(), "editor")));
        let now = facts::editors_now(self.host).map_err(|fault| chain(&fault));
        let mut targets: Vec<Target> = Vec::new();
        let mut owners: Vec<usize> = Vec::new();
        let mut begun: Vec<(usize, &Stop, BTreeSet<Port>)> = Vec::new();
        for (number, stop) in wanted {
            let may = self.may_stop(stop, &now);
            let targeted = may.and_then(|ports| Ok((self.targets(stop)?, ports)));
            let targeted = targeted.and_then(|targeted| {
                self.begin(*number, Undo::Nothing).map_err(NotDone::from)?;
                Ok(targeted)
            });
            match targeted {
                Ok((of_it, ports)) => {
                    owners.extend(of_it.iter().map(|_| *number));
                    targets.extend(of_it);
                    begun.push((*number, stop, ports));
                }
                Err(not_done) => {
                    stopped.untouched.insert(*number);
                    stopped.staying.insert(*number, not_done.why.clone());
                    self.put(deeds, *number, stop, Err(not_done), None);
                }
            }
        }
        let end = Instant::now().checked_add(self.grace);
        let stop = if self.request.include_self {
            host_stop::stop_around_us
        } else {
            host_stop::stop_unless
        };
        let outcomes = match stop(&targets, self.grace, self.interrupts) {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                let why = chain(&fault);
                for (number, stop, _) in begun {
                    stopped.staying.insert(number, why.clone());
                    self.put(deeds, number, stop, Err(NotDone::said(why.clone())), None);
                }
                return stopped;
            }
        };
        let ports = begun.iter().flat_map(|(_, _, ports)| ports).copied().collect();
        let held = self.held_after(ports, end);
        for (number, stop, ports) in begun {
            let of_it =
                outcomes.iter().filter(|outcome| owners.get(outcome.target) == Some(&number));
            let (settled, left): (Vec<_>, Vec<_>) = of_it.partition(|outcome| outcome.is_settled());
            let count = |how: How| settled.iter().filter(|outcome| outcome.how == how).count();
            let (term, kill) = (count(How::Term), count(How::Kill));
            let is_asked = left.iter().any(|one| one.how == How::Asked);
            let left: Vec<String> = left.iter().map(|one| unsettled(one)).collect();
            let mut told = format!("{term} by TERM, {kill} by KILL");
            for (port, holder) in held.iter().filter(|(port, _)| ports.contains(port)) {
                told.push_str(&format!("; {holder} listens on port {port}"));
            }
            let outcome = if !left.is_empty() {
                Err(NotDone::said(left.join("; ")))
            } else if term + kill == 0 {
                Ok(Outcome::AlreadyDone)
            } else {
                Ok(Outcome::Done)
            };
            let outcome = outcome.and_then(|done| self.end_unit(stop).map(|()| done));
            if let Err(not_done) = &outcome {
                stopped.staying.insert(number, not_done.why.clone());
            }
            if is_asked {
                // What it left is for the next run, as where this one was killed here: nothing is written
                // down of its end, which is to come.
                let outcome = outcome.map_err(|fault| NotDone { exit: Exit::Interrupted, ..fault });
                let step = Step::Stop(stop.clone());
                deeds.insert(number, Deed { step, outcome, told: Some(told) });
                continue;
            }
            self.put(deeds, number, stop, outcome, Some(told));
        }
        stopped
    }

    /// Says whether an editor may still be stopped, and returns its ports.
    fn may_stop(
        &self,
        stop: &Stop,
        now: &Result<Vec<Editor>, String>,
    ) -> Result<BTreeSet<Port>, NotDone> {
        if self.interrupts.is_asked() {
            return Err(interrupted());
        }
        let now = now.as_ref().map_err(|why| {
            NotDone::said(format!("nobody can tell whether somebody works in it: {why}"))
        })?;
        let mut ports = BTreeSet::new();
        // As it was looked at before: one that ends right now has no listener any more.
        for editor in self.facts.editors.iter().chain(now).filter(|editor| is_of(stop, editor)) {
            ports.extend(&editor.ports);
        }
        let mut is_known = false;
        for editor in now.iter().filter(|editor| is_of(stop, editor)) {
            is_known = true;
            stops(editor, self.facts, self.request).map_err(NotDone::said)?;
        }
        // What lives and is none of ours by now has become something else; of what has ended there may be
        // more in its family. Who cannot be told to be gone may live.
        let lives = |leader: &Identity| leader.lives().unwrap_or(true);
        if !is_known && stop.leaders.iter().any(lives) {
            return Err(NotDone::said("it is another way by now, and runs".to_owned()));
        }
        Ok(ports)
    }

    /// Waits until nobody listens on the ports of what was stopped; returns who does, once the time is
    /// over.
    fn held_after(&self, ports: BTreeSet<Port>, end: Option<Instant>) -> BTreeMap<Port, String> {
        let mut pause = PAUSE.0;
        loop {
            // Where nobody can tell, the look behind all steps says so.
            let Ok(listeners) = sockets::listeners() else { return BTreeMap::new() };
            let is_held = |port: &Port| {
                listeners.iter().any(|listener| listener.address.port() == port.get())
            };
            if !ports.iter().any(is_held) {
                return BTreeMap::new();
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_none_or(|left| left.is_zero()) || self.interrupts.is_asked() {
                return facts::held_ports(&ports).unwrap_or_default();
            }
            std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// Has the instances wanted again of whose editors nothing was begun.
    pub(super) fn want_again(
        &mut self,
        wanted: &[(usize, &InstanceId)],
        stops: &[(usize, &Stop)],
        stopped: &Stopped,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        for (number, id) in wanted {
            let Some((stop, why)) = stops
                .iter()
                .filter(|(_, stop)| stop.id.as_ref() == Some(id))
                .find_map(|(stop, _)| Some((stop, stopped.staying.get(stop)?)))
            else {
                continue;
            };
            let was_changed = |deed: &&mut Deed| matches!(deed.outcome, Ok(Outcome::Done));
            let Some(deed) = deeds.get_mut(number).filter(was_changed) else { continue };
            if !stopped.untouched.contains(stop) {
                continue;
            }
            let root = &self.host.root;
            let again = instances::read(root, id).and_then(|record| match record {
                Some(mut record) => {
                    record.wanted = Wanted::Running;
                    instances::write(root, &record).map(drop)
                }
                None => Ok(()),
            });
            let not_done = match again {
                Ok(()) => NotDone::said(format!("it runs on, and is wanted as before: {why}")),
                Err(fault) => NotDone::said(format!(
                    "it runs on ({why}), and cannot be recorded as wanted: {}",
                    chain(&Fault::from(fault))
                )),
            };
            drop(self.journal.note(&Line::Undone { step: *number }));
            deed.outcome = Err(not_done);
        }
    }

    fn put(
        &mut self,
        deeds: &mut BTreeMap<usize, Deed>,
        number: usize,
        stop: &Stop,
        outcome: Result<Outcome, NotDone>,
        told: Option<String>,
    ) {
        self.ended(number, &outcome);
        deeds.insert(number, Deed { step: Step::Stop(stop.clone()), outcome, told });
    }

    /// What is ended: all of an instance by its record, else what was named and what descends from it.
    fn targets(&self, stop: &Stop) -> Result<Vec<Target>, NotDone> {
        let root = &self.host.root;
        let named = stop.leaders.iter().cloned();
        let mut targets: Vec<Target> =
            named.map(|identity| Target { identity: Some(identity), token: None }).collect();
        if let Some(id) = &stop.id
            && let Some(record) = instances::read(root, id).map_err(Fault::from)?
        {
            let state = instances::read_state(root, id).map_err(Fault::from)?;
            targets.extend(instances::family(&record, state));
        }
        Ok(targets)
    }

    /// Waits for the unit of an instance: what has left the family is still in its group.
    fn end_unit(&self, stop: &Stop) -> Result<(), NotDone> {
        let Some(id) = &stop.id else { return Ok(()) };
        let record = instances::read(&self.host.root, id).map_err(Fault::from)?;
        match record.and_then(|record| record.unit) {
            Some(name) => {
                unit::end(&name, self.grace).map_err(|fault| NotDone::said(chain(&fault)))
            }
            None => Ok(()),
        }
    }
}
