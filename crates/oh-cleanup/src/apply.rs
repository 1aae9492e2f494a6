//! Carries a plan out: each step is written down first, looks again at the last moment, and says what
//! became of it. What belongs to an editor that turns out to stay, stays with it.
//!
//! A step that cannot be done keeps no other from being done. A signal is looked at between steps: what
//! was begun is ended, the rest is not begun.

mod containers;
mod databases;
mod meant;
mod moves;
pub(crate) mod nginx;
mod stops;

use std::collections::BTreeMap;
use std::time::Duration;

use oh_host::atomic::Removed;
use oh_host::instances::{self, InstanceFault, Wanted as WantedState};
use oh_host::journal::{Journal, JournalFault};
use oh_host::lock::{Held, World};
use oh_host::process::ProcessDir;
use oh_host::publish::{self, Host};
use oh_host::quarantine::{self, Place, Quarantine, Thing, Wanted};
use oh_host::signals::Interrupts;
use oh_host::stop::{self as host_stop, How};
use oh_model::diagnostic::Diagnostic as _;
use oh_model::escaped::Name;
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_model::plan::{Confirmed, Outcome, Plan};
use oh_term::{Failure, Progress};

use crate::facts::{Editor, Facts, runs};
use crate::fault::Fault;
use crate::journal::{Line, Undo};
use crate::plan::plan_but;
use crate::request::Request;
use crate::step::{Move, Step};
use meant::Meant;
pub(crate) use meant::is_of;

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
    /// Whether it is certain that nothing was done, so that there is nothing to take back.
    is_untouched: bool,
}

impl NotDone {
    pub(crate) fn said(why: impl Into<String>) -> Self {
        Self { why: why.into(), exit: Exit::No, strands: None, is_untouched: false }
    }

    /// What it was to be done to was looked at, and stays as it is.
    pub(crate) fn kept(why: impl Into<String>) -> Self {
        Self { is_untouched: true, ..Self::said(why) }
    }

    fn unwritten(fault: &JournalFault) -> Self {
        Self::said(format!("it could not be written down first: {}", chain(fault)))
    }
}

fn interrupted() -> NotDone {
    let why = "the command was interrupted before it came to it";
    NotDone { exit: Exit::Interrupted, ..NotDone::said(why) }
}

impl From<Fault> for NotDone {
    fn from(fault: Fault) -> Self {
        let exit = match fault.exit() {
            exit @ (Exit::RolledBack | Exit::RollbackFailed) => exit,
            _ => Exit::No,
        };
        Self { exit, ..Self::said(chain(&fault)) }
    }
}

impl From<JournalFault> for NotDone {
    fn from(fault: JournalFault) -> Self {
        Self::unwritten(&fault)
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
    /// What is asked for.
    pub(crate) request: &'r Request,
    /// What was seen last, before anything was done.
    pub(crate) facts: &'r Facts,
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
    let is_before = |step: &Step| matches!(step, Step::WantStopped(_) | Step::Stop(_));
    let behind = plan.steps.iter().rposition(is_before).map_or(0, |last| last + 1);
    let numbered = || plan.steps.iter().enumerate();

    let meant = Meant::of(fresh);
    let (mut wanted, mut all, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    // Those are stopped together, wherever they are in a plan.
    let is_one_of_all = |(_, step): &(usize, &Step)| !matches!(step, Step::StopContainer(_));
    for (number, step) in numbered().take(behind).filter(is_one_of_all) {
        let may = run.may(step, &meant);
        if let Step::Stop(stop) = step {
            all.push((number, stop));
        }
        match (step, may) {
            (Step::Stop(stop), Ok(())) => stops.push((number, stop)),
            (step, may) => {
                if let Step::WantStopped(id) = step {
                    wanted.push((number, id));
                }
                run.one(number, step, may, &meant, &mut quarantine, world, &mut files, &mut deeds);
            }
        }
    }
    let mut stopped = run.stop_all(&stops, &mut deeds);
    for (number, _) in &all {
        if let Some(Err(not_done)) = deeds.get(number).map(|deed| &deed.outcome)
            && !stopped.staying.contains_key(number)
        {
            stopped.staying.insert(*number, not_done.why.clone());
            stopped.untouched.insert(*number);
        }
    }
    run.want_again(&wanted, &all, &stopped, &mut deeds);

    // What belongs to those that stay, stays too, and to those that came since the plan was shown.
    let (facts, request) = (run.facts, run.request);
    let step_of = |editor: &Editor| all.iter().find(|(_, stop)| is_of(stop, editor));
    let is_new = |editor: &Editor| {
        let is_covered = editor.pids.is_empty() || step_of(editor).is_some();
        !is_covered && stops::is_to_stop(editor, facts, request)
    };
    let is_other = !stopped.staying.is_empty() || facts.editors.iter().any(is_new);
    let replanned = is_other.then(|| {
        plan_but(facts, request, |editor| match step_of(editor) {
            Some((number, _)) => stopped.staying.get(number).cloned(),
            None => is_new(editor).then(|| "it was started since the plan was made".into()),
        })
    });
    let meant = replanned.as_ref().map_or(meant, Meant::of);
    let mut moves: Vec<(usize, &Move)> = Vec::new();
    run.stop_containers(plan, &meant, &mut deeds);
    for (number, step) in numbered().skip(behind).filter(is_one_of_all) {
        match (step, run.may(step, &meant)) {
            (Step::Move(step), Ok(())) if !step.is_of_nginx => moves.push((number, step)),
            (step, may) => {
                if !matches!(step, Step::Move(step) if !step.is_of_nginx) {
                    run.move_all(core::mem::take(&mut moves), &mut quarantine, &mut deeds);
                }
                run.one(number, step, may, &meant, &mut quarantine, world, &mut files, &mut deeds);
            }
        }
    }
    run.move_all(moves, &mut quarantine, &mut deeds);
    for (number, not_done) in files.back {
        if let Some(deed) = deeds.get_mut(&number) {
            deed.outcome = Err(not_done);
        }
    }
    let is_cut = |deed: &Deed| matches!(&deed.outcome, Err(why) if why.exit == Exit::Interrupted);
    if !deeds.values().any(is_cut) {
        // A journal that cannot say that the run is over says that it may not be.
        drop(run.journal.note(&Line::End));
    }
    held_back.answered();
    Ok(deeds.into_values().collect())
}

/// Says whether what a step is to stop has ended by itself meanwhile: that is as wanted.
fn has_ended(step: &Step) -> bool {
    match step {
        Step::Stop(stop) if stop.id.is_none() => {
            stop.leaders.iter().all(|leader| leader.lives().is_ok_and(|lives| !lives))
        }
        _ => false,
    }
}

/// What a journal says of the end of a step.
fn lines(step: usize, outcome: &Result<Outcome, NotDone>) -> Vec<Line> {
    match outcome {
        Ok(_) => vec![Line::Done { step }],
        Err(NotDone { why, is_untouched: true, .. }) => vec![Line::Kept { step, why: why.clone() }],
        Err(NotDone { why, strands, .. }) => {
            let failed = Line::Failed { step, why: why.clone() };
            let again = strands.as_ref().map(|undo| Line::Begin { step, undo: Undo::clone(undo) });
            [failed].into_iter().chain(again).collect()
        }
    }
}

impl Run<'_> {
    fn begin(&mut self, step: usize, undo: Undo) -> Result<(), JournalFault> {
        self.journal.note(&Line::Begin { step, undo })
    }

    /// Writes down what became of a step. Where that fails, undoing looks at the disk.
    fn ended(&mut self, step: usize, outcome: &Result<Outcome, NotDone>) {
        drop(self.journal.note_all(lines(step, outcome)));
    }

    /// Says whether a step may still be done.
    fn may(&self, step: &Step, meant: &Meant<'_>) -> Result<(), NotDone> {
        if self.interrupts.is_asked() {
            Err(interrupted())
        } else if meant.has(step) || has_ended(step) {
            Ok(())
        } else {
            Err(NotDone::said(meant.why_not(step)))
        }
    }

    /// Does one step, where it may be done, and keeps what became of it.
    #[expect(clippy::too_many_arguments, reason = "all that a step works with")]
    fn one(
        &mut self,
        number: usize,
        step: &Step,
        may: Result<(), NotDone>,
        meant: &Meant<'_>,
        quarantine: &mut Quarantine<'_>,
        world: &mut Held<'_, World>,
        files: &mut nginx::Files,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        let mut told = None;
        // The moves before it take their time.
        let may = may.and_then(|()| self.may(step, meant));
        let outcome = may.and_then(|()| {
            self.progress.doing(step.to_string());
            self.carry_out(number, step, meant, quarantine, world, files, &mut told)
        });
        self.ended(number, &outcome);
        deeds.insert(number, Deed { step: step.clone(), outcome, told });
    }

    #[expect(clippy::too_many_arguments, reason = "all that a step works with")]
    fn carry_out(
        &mut self,
        number: usize,
        step: &Step,
        meant: &Meant<'_>,
        quarantine: &mut Quarantine<'_>,
        world: &mut Held<'_, World>,
        files: &mut nginx::Files,
        told: &mut Option<String>,
    ) -> Result<Outcome, NotDone> {
        match step {
            Step::WantStopped(id) => self.want_stopped(number, id),
            Step::Move(step) if step.is_of_nginx => {
                nginx::take(self, number, step, quarantine, files)
            }
            // Those are done together.
            Step::Stop(_) | Step::Move(_) | Step::StopContainer(_) => Ok(Outcome::AlreadyDone),
            Step::Reload => nginx::reload(self, number, world, files, told),
            Step::Release(release) => {
                let (release, kept) = meant.parted(release);
                databases::release(self, number, release, kept, world, told)
            }
            Step::Forget(id) => self.forget(number, id, quarantine, told),
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
        let is_stopped = record.wanted == WantedState::Stopped;
        if !is_stopped || runs::has_stopped(self.host, id)? {
            self.begin(number, Undo::Wanted(id.clone()))?;
        }
        if is_stopped {
            return Ok(Outcome::AlreadyDone);
        }
        record.wanted = WantedState::Stopped;
        instances::write(root, &record).map_err(Fault::from)?;
        Ok(Outcome::Done)
    }

    /// Takes one thing away.
    fn take(
        &mut self,
        number: usize,
        step: &Move,
        quarantine: &mut Quarantine<'_>,
    ) -> Result<Outcome, NotDone> {
        let place = quarantine.place(&step.thing, number).map_err(Fault::from)?;
        let undo = Undo::Moved { thing: Box::new(step.thing.clone()), place: place.clone() };
        self.begin(number, undo)?;
        let may_change = step.may_change;
        let taken = quarantine::take(Wanted { thing: &step.thing, place: &place, may_change });
        moves::outcome(taken.map_err(Into::into), &place, step.thing.uid)
    }

    /// Moves the record of an instance that was stopped; what the kernel tells of it is of no use then.
    fn forget(
        &mut self,
        number: usize,
        id: &InstanceId,
        quarantine: &mut Quarantine<'_>,
        told: &mut Option<String>,
    ) -> Result<Outcome, NotDone> {
        let root = &self.host.root;
        let record = instances::read(root, id).map_err(Fault::from)?;
        match record.map(|record| record.wanted) {
            None => return Ok(Outcome::AlreadyDone),
            Some(WantedState::Running) => {
                return Err(NotDone::said("somebody has started it again"));
            }
            Some(WantedState::Stopped) => {}
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
        let taken = quarantine::take(Wanted { thing: &thing, place: &place, may_change: false });
        let taken = taken.map_err(Fault::from)?;
        let outcome = moves::outcome(Ok(taken), &place, thing.uid)?;
        // The record is away and can come back, whatever becomes of what the kernel told of it.
        *told = unforgotten(instances::remove_state(root, id));
        Ok(outcome)
    }
}

/// Says what stays of an instance whose record was moved.
fn unforgotten(state: Result<Removed, InstanceFault>) -> Option<String> {
    let fault = Fault::from(state.err()?);
    Some(format!("what was known of its processes stays: {}", chain(&fault)))
}

/// Says that another thing was moved, because it had the name at the very moment.
fn stranded(thing: Thing, place: Place) -> NotDone {
    let why = format!(
        "another thing had its name at that moment; it is kept as {}/{}",
        place.folder, place.number
    );
    let undo = Undo::Moved { thing: Box::new(thing), place };
    NotDone { strands: Some(Box::new(undo)), ..NotDone::said(why) }
}

/// Says why a process is left.
fn unsettled(outcome: &host_stop::Outcome) -> String {
    let why = match outcome.how {
        How::Denied => "may not be signalled",
        How::Protected => "is this very command or one that it came from: run it elsewhere",
        How::Asked => "got TERM, and its end was not waited for: the next run goes on",
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
