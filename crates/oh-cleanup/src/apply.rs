//! Carries a plan out: each step is written down first, looks again at the last moment, and says what
//! became of it. The editors end all at once, so that the grace of one is that of all.
//!
//! A step that cannot be done keeps no other from being done. A signal is looked at between steps: what
//! was begun is ended, the rest is not begun.

mod databases;
pub(crate) mod nginx;
pub(crate) mod returned;

use std::collections::BTreeMap;
use std::time::Duration;

use oh_host::instances::{self, Wanted};
use oh_host::journal::{Journal, JournalFault};
use oh_host::lock::{Held, World};
use oh_host::members::Target;
use oh_host::process::ProcessDir;
use oh_host::publish::{self, Host};
use oh_host::quarantine::{self, Place, Quarantine, Taken, Thing};
use oh_host::signals::Interrupts;
use oh_host::stop::{self as host_stop, How};
use oh_host::unit;
use oh_model::diagnostic::Diagnostic as _;
use oh_model::escaped::Name;
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_model::plan::{Confirmed, Outcome, Plan};
use oh_term::{Failure, Progress};

use crate::fault::Fault;
use crate::journal::{Line, Undo};
use crate::step::{Move, Step, Stop};

/// What the locks are held for.
pub(crate) const PURPOSE: &str = "oh-cleanup";

/// What became of a step.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) step: Step,
    pub(crate) outcome: Result<Outcome, NotDone>,
    /// What is worth saying of it.
    pub(crate) told: Option<String>,
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) struct NotDone {
    pub(crate) why: String,
    pub(crate) exit: Exit,
    /// What was moved all the same, and can be taken back.
    strands: Option<Box<Undo>>,
}

impl NotDone {
    fn said(why: impl Into<String>) -> Self {
        Self { why: why.into(), exit: Exit::No, strands: None }
    }
}

impl From<Fault> for NotDone {
    fn from(fault: Fault) -> Self {
        let exit = match fault.exit() {
            exit @ (Exit::RolledBack | Exit::RollbackFailed) => exit,
            _ => Exit::No,
        };
        Self { why: chain(&fault), exit, strands: None }
    }
}

impl From<JournalFault> for NotDone {
    fn from(fault: JournalFault) -> Self {
        Self::said(format!("it could not be written down first: {}", chain(&fault)))
    }
}

/// Returns a fault with its causes on one line.
pub(crate) fn chain(fault: &dyn core::error::Error) -> String {
    let mut said = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

/// What a run works with.
pub(crate) struct Run<'r> {
    pub(crate) host: &'r Host,
    pub(crate) journal: Journal,
    pub(crate) grace: Duration,
    pub(crate) progress: &'r Progress,
    pub(crate) interrupts: &'r Interrupts,
}

/// Carries out the plan that was confirmed; `fresh` is what would be planned by now, and what is not in
/// it any more is not done.
pub(crate) fn apply(
    mut run: Run<'_>,
    plan: &Plan<Step>,
    consent: Confirmed,
    fresh: &Plan<Step>,
    world: &mut Held<'_, World>,
) -> Result<Vec<Deed>, Failure> {
    if !consent.covers(plan) {
        return Err(Failure::new(Exit::Refused, "the plan is not the one that was confirmed"));
    }
    let held_back = run.interrupts.hold();
    let (host, id) = (run.host, run.journal.run().clone());
    let mut quarantine = Quarantine::new(&host.root, id);
    let mut deeds: BTreeMap<usize, Deed> = BTreeMap::new();
    let mut files = nginx::Files::default();
    let mut stops: Vec<(usize, &Stop)> = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        if !matches!(step, Step::WantStopped(_) | Step::Stop(_)) && !stops.is_empty() {
            run.stop_all(&std::mem::take(&mut stops), &mut deeds);
        }
        let mut told = None;
        let outcome = match step {
            _ if run.interrupts.is_asked() => Err(NotDone {
                why: "the command was interrupted before it came to it".into(),
                exit: Exit::Interrupted,
                strands: None,
            }),
            step if !is_still_meant(step, fresh) => Err(NotDone::said("it is another way by now")),
            Step::Stop(stop) => {
                stops.push((number, stop));
                continue;
            }
            step => {
                run.progress.doing(step.to_string());
                run.carry_out(number, step, &mut quarantine, world, &mut files, &mut told)
            }
        };
        run.ended(number, &outcome);
        deeds.insert(number, Deed { step: step.clone(), outcome, told });
    }
    if !stops.is_empty() {
        run.stop_all(&stops, &mut deeds);
    }
    for (number, not_done) in files.back {
        if let Some(deed) = deeds.get_mut(&number) {
            deed.outcome = Err(not_done);
        }
    }
    // A journal that cannot say that the run is over says that it may not be.
    drop(run.journal.note(&Line::End));
    held_back.answered();
    Ok(deeds.into_values().collect())
}

/// Says whether a plan that is made now would do the same to the same thing.
fn is_still_meant(step: &Step, fresh: &Plan<Step>) -> bool {
    fresh.steps.iter().any(|now| match (step, now) {
        (Step::Stop(step), Step::Stop(now)) if step.id.is_some() => step.id == now.id,
        (Step::Stop(step), Step::Stop(now)) => {
            now.id.is_none() && step.leaders.iter().any(|leader| now.leaders.contains(leader))
        }
        (Step::Move(step), Step::Move(now)) => {
            let (was, is) = (&step.thing, &now.thing);
            let is_same = (&was.folder, &was.name, was.number) == (&is.folder, &is.name, is.number);
            let is_unchanged = was.modified_ns == is.modified_ns && was.size_bytes == is.size_bytes;
            is_same && (step.may_change || is_unchanged)
        }
        (Step::Release(step), Step::Release(now)) => {
            step.database == now.database && step.ids.iter().all(|id| now.ids.contains(id))
        }
        (step, now) => step == now,
    })
}

impl Run<'_> {
    fn begin(&mut self, step: usize, undo: Undo) -> Result<(), JournalFault> {
        self.journal.note(&Line::Begin { step, undo })
    }

    /// Writes down what became of a step. Where that fails, undoing looks at the disk.
    fn ended(&mut self, step: usize, outcome: &Result<Outcome, NotDone>) {
        drop(self.journal.note(&match outcome {
            Ok(_) => Line::Done { step },
            Err(not_done) => Line::Failed { step, why: not_done.why.clone() },
        }));
        if let Err(NotDone { strands: Some(undo), .. }) = outcome {
            drop(self.journal.note(&Line::Begin { step, undo: Undo::clone(undo) }));
        }
    }

    fn carry_out(
        &mut self,
        number: usize,
        step: &Step,
        quarantine: &mut Quarantine<'_>,
        world: &mut Held<'_, World>,
        files: &mut nginx::Files,
        told: &mut Option<String>,
    ) -> Result<Outcome, NotDone> {
        match step {
            Step::WantStopped(id) => self.want_stopped(number, id),
            // Those are done together.
            Step::Stop(_) => Ok(Outcome::AlreadyDone),
            Step::Move(step) if step.is_of_nginx => {
                nginx::take(self, number, step, quarantine, files)
            }
            Step::Reload => nginx::reload(self, number, world, files, told),
            Step::Move(step) => self.take(number, step, quarantine),
            Step::Release(release) => databases::release(self, number, release, world, told),
            Step::Forget(id) => self.forget(number, id, quarantine),
            Step::Publish => {
                self.begin(number, Undo::Nothing)?;
                let published = publish::publish_within(world, self.host, PURPOSE);
                let published = published.map_err(Fault::from)?;
                *told = Some(format!("generation {} is served", published.generation));
                Ok(if published.steps.is_empty() { Outcome::AlreadyDone } else { Outcome::Done })
            }
        }
    }

    fn want_stopped(&mut self, number: usize, id: &InstanceId) -> Result<Outcome, NotDone> {
        let root = &self.host.root;
        let Some(mut record) = instances::read(root, id).map_err(Fault::from)? else {
            return Ok(Outcome::AlreadyDone);
        };
        if record.wanted == Wanted::Stopped {
            return Ok(Outcome::AlreadyDone);
        }
        self.begin(number, Undo::Nothing)?;
        record.wanted = Wanted::Stopped;
        instances::write(root, &record).map_err(Fault::from)?;
        Ok(Outcome::Done)
    }

    /// Ends several editors at once.
    fn stop_all(&mut self, stops: &[(usize, &Stop)], deeds: &mut BTreeMap<usize, Deed>) {
        self.progress.doing(format!("stop {}", oh_term::text::several(stops.len(), "editor")));
        let mut targets: Vec<Target> = Vec::new();
        let mut owners: Vec<usize> = Vec::new();
        let mut begun = Vec::new();
        for (number, stop) in stops {
            let targeted = self.targets(stop).and_then(|of_it| {
                self.begin(*number, Undo::Nothing).map_err(NotDone::from)?;
                Ok(of_it)
            });
            match targeted {
                Ok(of_it) => {
                    owners.extend(of_it.iter().map(|_| *number));
                    targets.extend(of_it);
                    begun.push((*number, *stop));
                }
                Err(not_done) => self.put(deeds, *number, stop, Err(not_done), None),
            }
        }
        let outcomes = match host_stop::stop(&targets, self.grace) {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                let why = chain(&fault);
                for (number, stop) in begun {
                    self.put(deeds, number, stop, Err(NotDone::said(why.clone())), None);
                }
                return;
            }
        };
        for (number, stop) in begun {
            let of_it =
                outcomes.iter().filter(|outcome| owners.get(outcome.target) == Some(&number));
            let (settled, left): (Vec<_>, Vec<_>) = of_it.partition(|outcome| outcome.is_settled());
            let count = |how: How| settled.iter().filter(|outcome| outcome.how == how).count();
            let (term, kill) = (count(How::Term), count(How::Kill));
            let left: Vec<String> = left.iter().map(|one| unsettled(one)).collect();
            let told = format!("{term} by TERM, {kill} by KILL");
            let outcome = if !left.is_empty() {
                Err(NotDone::said(left.join("; ")))
            } else if term + kill == 0 {
                Ok(Outcome::AlreadyDone)
            } else {
                Ok(Outcome::Done)
            };
            let outcome = outcome.and_then(|done| self.end_unit(stop).map(|()| done));
            self.put(deeds, number, stop, outcome, Some(told));
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

    fn take(
        &mut self,
        number: usize,
        step: &Move,
        quarantine: &mut Quarantine<'_>,
    ) -> Result<Outcome, NotDone> {
        let place = quarantine.place(&step.thing, number).map_err(Fault::from)?;
        let undo = Undo::Moved { thing: Box::new(step.thing.clone()), place: place.clone() };
        self.begin(number, undo)?;
        match quarantine::take(&step.thing, &place).map_err(Fault::from)? {
            Taken::Moved => Ok(Outcome::Done),
            Taken::Already | Taken::Gone => Ok(Outcome::AlreadyDone),
            Taken::Another => Err(NotDone::said("something else has its name by now, and stays")),
            Taken::Stranded(thing) => Err(stranded(*thing, place)),
        }
    }

    /// Moves the record of an instance that was stopped; what the kernel tells of it is of no use then.
    fn forget(
        &mut self,
        number: usize,
        id: &InstanceId,
        quarantine: &mut Quarantine<'_>,
    ) -> Result<Outcome, NotDone> {
        let root = &self.host.root;
        let record = instances::read(root, id).map_err(Fault::from)?;
        match record.map(|record| record.wanted) {
            None => return Ok(Outcome::AlreadyDone),
            Some(Wanted::Running) => return Err(NotDone::said("somebody has started it again")),
            Some(Wanted::Stopped) => {}
        }
        let state = instances::read_state(root, id).map_err(Fault::from)?;
        let family = instances::family(
            &instances::read(root, id)
                .map_err(Fault::from)?
                .ok_or_else(|| NotDone::said("it is gone"))?,
            state,
        );
        let alive = host_stop::any_alive(&family).map_err(|fault| NotDone::said(chain(&fault)))?;
        if alive {
            return Err(NotDone::said("something of it still lives"));
        }
        let path = instances::path(root, id).map_err(Fault::from)?;
        let name = Name::new(path.name()).ok_or_else(|| NotDone::said("it has no name"))?;
        let thing = quarantine::look(&path.parent(), &name).map_err(Fault::from)?;
        let Some(thing) = thing else { return Ok(Outcome::AlreadyDone) };
        let place = quarantine.place(&thing, number).map_err(Fault::from)?;
        let undo = Undo::Moved { thing: Box::new(thing.clone()), place: place.clone() };
        self.begin(number, undo)?;
        let taken = quarantine::take(&thing, &place).map_err(Fault::from)?;
        instances::remove_state(root, id).map_err(Fault::from)?;
        match taken {
            Taken::Moved => Ok(Outcome::Done),
            Taken::Already | Taken::Gone => Ok(Outcome::AlreadyDone),
            Taken::Another => Err(NotDone::said("somebody has started it again")),
            Taken::Stranded(thing) => Err(stranded(*thing, place)),
        }
    }
}

/// Says that another thing was moved, because it had the name at the very moment.
fn stranded(thing: Thing, place: Place) -> NotDone {
    let why = format!(
        "another thing had its name at that moment; it is kept as {}/{}",
        place.folder, place.number
    );
    let undo = Undo::Moved { thing: Box::new(thing), place };
    NotDone { why, exit: Exit::No, strands: Some(Box::new(undo)) }
}

/// Says why a process is left.
fn unsettled(outcome: &host_stop::Outcome) -> String {
    let why = match outcome.how {
        How::Denied => "may not be signalled",
        How::Protected => "is this very command or one that it came from: run it elsewhere",
        _ => "did not end: it hangs in the kernel",
    };
    let place = match outcome.how {
        How::Survived => {
            ProcessDir::open(outcome.pid).ok().and_then(|process| process.waits_in_kernel())
        }
        _ => None,
    };
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    format!("pid {} ({}) {why}{place}", outcome.pid, outcome.name.escape_debug())
}
