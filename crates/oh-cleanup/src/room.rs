//! The journal of a run on a disk that may be full: all of the plan where there is room for it, else in
//! the spare as much of it as that takes, so that what is purged then makes room for the rest.

use oh_host::journal::{HEAD_BYTES_MAX, Journal, JournalFault, SPARE_BYTES, line};
use oh_host::publish::Host;
use oh_model::plan::Plan;

use crate::apply::{Deed, NotDone};
use crate::journal::{self, Head};
use crate::step::Step;

/// What the journal has of a step beside the step itself, in bytes: its place or its copy, and its end.
const LINES_BYTES: u64 = 512;

/// A journal that was begun.
pub(crate) struct Begun {
    pub(crate) journal: Journal,
    /// What of the plan it is for, where that is not all.
    pub(crate) part: Option<Plan<Step>>,
}

/// Begins the journal of a plan.
pub(crate) fn begin(
    host: &Host,
    plan: &Plan<Step>,
    head: impl Fn(Vec<Step>) -> Head,
) -> Result<Begun, JournalFault> {
    let further = plan.steps.iter().map(further).sum();
    let fault = match journal::begin(&host.root, &head(plan.steps.clone()), further) {
        Err(fault) if fault.is_no_space() => fault,
        Err(fault) if fault.is_too_long() => return begin_part(host, plan, head, fault),
        begun => return Ok(Begun { journal: begun?, part: None }),
    };
    let first = line(&head(Vec::new())).len() as u64;
    let part = SPARE_BYTES.checked_sub(first).and_then(|room| part(plan, room));
    let Some(part) = part else { return Err(fault) };
    let begun = journal::begin_in_spare(&host.root, &head(part.steps.clone()))?;
    let Some(journal) = begun else { return Err(fault) };
    Ok(Begun { journal, part: (part.steps.len() < plan.steps.len()).then_some(part) })
}

/// Begins the journal of as much of a plan as one journal takes.
fn begin_part(
    host: &Host,
    plan: &Plan<Step>,
    head: impl Fn(Vec<Step>) -> Head,
    fault: JournalFault,
) -> Result<Begun, JournalFault> {
    let first = line(&head(Vec::new())).len() as u64;
    let room = HEAD_BYTES_MAX.checked_sub(first);
    let Some(part) = room.and_then(|room| part(plan, room)) else { return Err(fault) };
    let further = part.steps.iter().map(further).sum();
    let journal = journal::begin(&host.root, &head(part.steps.clone()), further)?;
    Ok(Begun { journal, part: Some(part) })
}

/// How much a step has in the first line, and in the further ones.
fn first(step: &Step) -> u64 {
    line(step).len() as u64 + 1
}

fn further(step: &Step) -> u64 {
    // What is moved is told once more with its place.
    LINES_BYTES + if matches!(step, Step::Move(_)) { first(step) } else { 0 }
}

/// Leaves out the last things that would be moved, until the rest fits into so many bytes; `None` where it
/// never does.
fn part(plan: &Plan<Step>, room: u64) -> Option<Plan<Step>> {
    let needs = |step: &Step| first(step) + further(step);
    let fixed = plan.steps.iter().filter(|step| !can_wait(step)).map(needs).sum();
    let mut left = room.checked_sub(fixed)?;
    let mut is_full = false;
    let fits = |step: &&Step| {
        if !can_wait(step) {
            return true;
        }
        match left.checked_sub(needs(step)) {
            Some(less) if !is_full => left = less,
            _ => is_full = true,
        }
        !is_full
    };
    let steps: Vec<Step> = plan.steps.iter().filter(fits).cloned().collect();
    (!steps.is_empty()).then(|| Plan { steps, exclusions: plan.exclusions.clone() })
}

/// Says whether a step may be left to another run. Files of nginx go together or not at all.
fn can_wait(step: &Step) -> bool {
    matches!(step, Step::Move(step) if !step.is_of_nginx)
}

/// Puts what was left out beside what became of the part, in the order of the plan.
pub(crate) fn with_the_rest(plan: &Plan<Step>, deeds: Vec<Deed>) -> Vec<Deed> {
    let mut deeds = deeds.into_iter().peekable();
    let told = |step: &Step| {
        deeds.next_if(|deed| deed.step == *step).unwrap_or_else(|| Deed {
            step: step.clone(),
            outcome: Err(NotDone::said(
                "there is no room to write more down, on the disk or in one journal: purge what was \
                 moved, and run it again",
            )),
            told: None,
        })
    };
    plan.steps.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use oh_host::folder::FileKind;
    use oh_host::quarantine::{Number, Thing};
    use oh_model::escaped::Name;
    use oh_model::path::RealPath;
    use oh_model::plan::Outcome;

    use super::*;
    use crate::step::Move;

    fn moved(name: &str) -> Step {
        let number = Number { device: (1, 2), inode: 3, born_ns: Some(4) };
        let thing = Thing {
            folder: RealPath::parse("/tmp").unwrap(),
            folder_number: number,
            name: Name::new(name).unwrap(),
            number,
            kind: FileKind::Regular,
            uid: 0,
            modified_ns: 5,
            size_bytes: 6,
            is_mount: false,
        };
        let what = "a left-over".to_owned();
        Step::Move(Move {
            thing,
            what,
            bytes: 7,
            is_more: false,
            may_change: false,
            is_session: false,
            is_of_nginx: false,
        })
    }

    /// A file of nginx, behind what can be left out.
    fn of_nginx(name: &str) -> Step {
        let Step::Move(step) = moved(name) else { panic!() };
        Step::Move(Move { is_of_nginx: true, ..step })
    }

    fn plan() -> Plan<Step> {
        let steps = vec![moved("a"), moved("b"), moved("c"), Step::Publish];
        Plan { steps, exclusions: Vec::new() }
    }

    #[test]
    fn as_much_is_done_as_can_be_written_down() {
        let plan = plan();
        let needs = |steps: &[Step]| steps.iter().map(|step| first(step) + further(step)).sum();
        let all: u64 = needs(&plan.steps);
        assert_eq!(part(&plan, all), Some(plan.clone()));
        let [a, b, _, publish] = plan.steps.as_slice() else { panic!() };
        let of = |steps: &[&Step]| Plan {
            steps: steps.iter().copied().cloned().collect(),
            exclusions: Vec::new(),
        };
        assert_eq!(part(&plan, all - 1), Some(of(&[a, b, publish])));
        assert_eq!(part(&plan, needs(std::slice::from_ref(publish))), Some(of(&[publish])));
        assert_eq!(part(&plan, needs(std::slice::from_ref(publish)) - 1), None);
        assert_eq!(part(&of(&[a, b]), 10), None);
        let conf = of_nginx("conf");
        let enough = needs(&[a.clone(), conf.clone()]);
        assert_eq!(part(&of(&[a, b, &conf]), enough), Some(of(&[a, &conf])));
    }

    #[test]
    fn what_is_left_out_is_told_in_its_place() {
        let plan = plan();
        let done = |at: usize| Deed {
            step: plan.steps[at].clone(),
            outcome: Ok(Outcome::Done),
            told: None,
        };
        let all = with_the_rest(&plan, vec![done(0), done(3)]);
        let shown: Vec<_> = all.iter().map(|deed| deed.outcome.is_ok()).collect();
        assert_eq!(shown, [true, false, false, true]);
        assert!(all.iter().zip(&plan.steps).all(|(deed, step)| deed.step == *step));
    }
}
