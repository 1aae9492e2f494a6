//! Takes left-overs away: what may have changed since the plan is asked once for all of them, then they
//! go in batches.
//!
//! Of a batch every place is on the disk before the first thing is moved, so that wherever this process
//! is killed, `undo` knows of all that was.

use std::collections::BTreeMap;
use std::sync::Arc;

use oh_host::journal::JournalFault;
use oh_host::process::{Pid, Processes};
use oh_host::publish::Host;
use oh_host::quarantine::{self, Keeps, Place, Quarantine, QuarantineFault, Taken, Thing, Wanted};
use oh_host::users::Users as People;
use oh_model::plan::Outcome;

use super::{Deed, NotDone, Run, chain, interrupted, stranded};
use crate::facts::leftovers::untold;
use crate::facts::users::{Places, Users, users};
use crate::facts::{owners, sessions};
use crate::fault::Fault;
use crate::journal::{Line, Undo};
use crate::step::{Move, Step};

/// How many things are moved between two looks at whether a signal came. Of 1000 the four syncs are less
/// than the renames; a tenfold would be no faster, and would make a signal wait ten times as long, some
/// 100 ms on a slow disk. Their lines in the journal have half a megabyte.
const BATCH: usize = 1000;

/// A thing and its place, and which step it is.
type Placed<'p> = (usize, &'p Move, Place);

impl Run<'_> {
    /// Takes things away, and what is in use by now stays.
    pub(super) fn move_all(
        &mut self,
        moves: Vec<(usize, &Move)>,
        quarantine: &mut Quarantine<'_>,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        if moves.is_empty() {
            return;
        }
        self.progress.doing(format!("move {}", oh_term::text::several(moves.len(), "thing")));
        let used = used(self.host, &moves);
        let has_sessions = moves.iter().any(|(_, step)| step.is_session);
        let listened =
            has_sessions.then(|| sessions::listened(self.host).map_err(|why| chain(&why)));
        let mut rest = Vec::new();
        for (at, (number, step)) in moves.into_iter().enumerate() {
            let listened = listened.as_ref().filter(|_| step.is_session);
            match listened.map(|all| all.as_ref().map(|all| all.get(&step.thing.number))) {
                Some(Ok(Some(who))) => {
                    self.keep(deeds, number, step, who.clone());
                    continue;
                }
                Some(Err(why)) => {
                    let why = format!("nobody can tell whether its editor listens: {why}");
                    self.keep(deeds, number, step, why);
                    continue;
                }
                Some(Ok(None)) | None => {}
            }
            match used.as_ref().map(|used| used.get(&at)) {
                Ok(None) => rest.push((number, step)),
                Ok(Some(who)) => self.keep(deeds, number, step, format!("{who} uses it by now")),
                Err(why) => {
                    let why = format!("nobody can tell who uses it: {why}");
                    self.keep(deeds, number, step, why);
                }
            }
        }
        for batch in rest.chunks(BATCH) {
            if self.interrupts.is_asked() {
                for (number, step) in batch {
                    self.moved(deeds, *number, step, Err(interrupted()));
                }
                continue;
            }
            self.move_batch(batch, quarantine, deeds);
        }
    }

    fn keep(&mut self, deeds: &mut BTreeMap<usize, Deed>, number: usize, step: &Move, why: String) {
        self.ended(number, &Err(NotDone::said(why.clone())));
        self.moved(deeds, number, step, Err(NotDone::said(why)));
    }

    #[expect(clippy::unused_self, reason = "the deeds of a run")]
    fn moved(
        &self,
        deeds: &mut BTreeMap<usize, Deed>,
        number: usize,
        step: &Move,
        outcome: Result<Outcome, NotDone>,
    ) {
        deeds.insert(number, Deed { step: Step::Move(step.clone()), outcome, told: None });
    }

    fn move_batch(
        &mut self,
        batch: &[(usize, &Move)],
        quarantine: &mut Quarantine<'_>,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        let mut placed: Vec<Placed<'_>> = Vec::new();
        for (number, step) in batch {
            match quarantine.place(&step.thing, *number) {
                Ok(place) => placed.push((*number, step, place)),
                Err(fault) => {
                    self.keep(deeds, *number, step, chain(&Fault::from(fault)));
                }
            }
        }
        let placed = self.begin_all(&placed, deeds);
        let wanted: Vec<Wanted<'_>> = placed
            .iter()
            .map(|(_, step, place)| Wanted {
                thing: &step.thing,
                place,
                may_change: step.may_change,
            })
            .collect();
        let mut lines = Vec::new();
        for ((number, step, place), taken) in placed.iter().zip(quarantine::take_all(&wanted)) {
            let outcome = outcome(taken, place, step.thing.uid);
            lines.extend(super::lines(*number, &outcome));
            self.moved(deeds, *number, step, outcome);
        }
        // Where it cannot be written down, undoing looks at the disk.
        drop(self.journal.note_all(&lines));
    }

    /// Writes down what is about to be moved, and returns what of it was. On a full disk less of it may
    /// still fit than all.
    fn begin_all<'p>(
        &mut self,
        placed: &[Placed<'p>],
        deeds: &mut BTreeMap<usize, Deed>,
    ) -> Vec<Placed<'p>> {
        let lines = placed.iter().map(|(step, of, place)| {
            let undo = Undo::Moved { thing: Box::new(of.thing.clone()), place: place.clone() };
            Line::Begin { step: *step, undo }
        });
        match (self.journal.note_all(lines), placed) {
            (Ok(()), _) => placed.to_vec(),
            (Err(fault), [_, _, ..]) if fault.is_no_space() => {
                let (first, second) = placed.split_at(placed.len() / 2);
                let mut begun = self.begin_all(first, deeds);
                // Where no room was left for the first there is none for the second.
                match begun.len() == first.len() {
                    true => begun.extend(self.begin_all(second, deeds)),
                    false => self.not_begun(second, &fault, deeds),
                }
                begun
            }
            (Err(fault), _) => {
                self.not_begun(placed, &fault, deeds);
                Vec::new()
            }
        }
    }

    fn not_begun(
        &mut self,
        placed: &[Placed<'_>],
        fault: &JournalFault,
        deeds: &mut BTreeMap<usize, Deed>,
    ) {
        for (number, step, _) in placed {
            self.moved(deeds, *number, step, Err(NotDone::unwritten(fault)));
        }
    }
}

/// Who uses things by now, for people, by the places of the steps; `Err` where nobody can tell.
fn used(host: &Host, moves: &[(usize, &Move)]) -> Result<BTreeMap<usize, String>, String> {
    let all = Processes::look().map_err(|fault| chain(&fault))?;
    let places = Places::of(moves.iter().map(|(_, step)| &step.thing));
    // Of whom nobody can tell, the plan says so already.
    let people = People::of_machine().unwrap_or_else(|_| People::parse("", ""));
    let owners = owners(host, &people);
    let counts = |at: usize, uid| {
        owners.contains(uid) || moves.get(at).is_some_and(|(_, step)| step.thing.uid == uid)
    };
    let Users { of_things, perhaps, .. } = users(&places, &all, counts);
    let shown = |pids: BTreeMap<Pid, u32>| {
        let (pid, uid) = pids.into_iter().next()?;
        let name = all.get(pid).map(|stat| stat.name.escape_debug().to_string());
        let name = name.unwrap_or_default();
        Some(format!("pid {pid} ({name}, user {})", people.shown(uid)))
    };
    let perhaps = perhaps.into_iter().filter_map(|(at, pids)| Some((at, untold(&shown(pids)?))));
    let of_things = of_things.into_iter().filter_map(|(at, pids)| Some((at, shown(pids)?)));
    // Of whom it is certain comes last, and stays.
    Ok(perhaps.chain(of_things).collect())
}

/// Says what became of a thing that was to be taken.
pub(super) fn outcome(
    taken: Result<Taken, Arc<QuarantineFault>>,
    place: &Place,
    uid: u32,
) -> Result<Outcome, NotDone> {
    match taken.map_err(|fault| NotDone::said(format!("could not move it: {}", chain(&fault))))? {
        Taken::Moved => Ok(Outcome::Done),
        Taken::Already | Taken::Gone => Ok(Outcome::AlreadyDone),
        Taken::Kept(Keeps::Changed) => {
            Err(NotDone::kept(format!("{}, and is uid {uid}'s", Keeps::Changed)))
        }
        Taken::Kept(why) => Err(NotDone::kept(why.to_string())),
        Taken::Stranded(thing) => Err(stranded(Thing::clone(&thing), place.clone())),
    }
}
