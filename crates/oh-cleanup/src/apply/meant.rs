//! What of a plan is still meant: the steps of one that was made since, found by what they are done to.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::process::{Identity, Pid};
use oh_model::escaped::Name;
use oh_model::id::InstanceId;
use oh_model::path::RealPath;
use oh_model::plan::Plan;

use crate::facts::Editor;
use crate::step::{Database, Move, Release, Step, Stop};

/// The steps of a plan that was made since.
#[derive(Debug, Default)]
pub(super) struct Meant<'p> {
    ids: BTreeSet<&'p InstanceId>,
    leaders: BTreeMap<Pid, Vec<&'p Identity>>,
    moves: BTreeMap<(&'p RealPath, &'p Name), &'p Move>,
    releases: BTreeMap<Database, &'p Release>,
    /// Of these there are few.
    others: Vec<&'p Step>,
    /// Why something is left alone by now.
    reasons: BTreeMap<&'p str, &'p str>,
}

impl<'p> Meant<'p> {
    pub(super) fn of(plan: &'p Plan<Step>) -> Self {
        let mut meant = Self::default();
        for step in &plan.steps {
            match step {
                Step::Stop(Stop { id: Some(id), .. }) => {
                    meant.ids.insert(id);
                }
                Step::Stop(stop) => {
                    for leader in &stop.leaders {
                        meant.leaders.entry(leader.pid).or_default().push(leader);
                    }
                }
                Step::Move(step) => {
                    meant.moves.insert((&step.thing.folder, &step.thing.name), step);
                }
                Step::Release(release) => {
                    meant.releases.insert(release.database, release);
                }
                other => meant.others.push(other),
            }
        }
        let reasons = plan.exclusions.iter();
        meant.reasons = reasons.map(|one| (one.subject.as_str(), one.reason.as_str())).collect();
        meant
    }

    /// Says whether the same would be done to the same thing; of entries to some of them.
    pub(super) fn has(&self, step: &Step) -> bool {
        match step {
            Step::Stop(Stop { id: Some(id), .. }) => self.ids.contains(id),
            Step::Stop(stop) => stop.leaders.iter().any(|leader| {
                self.leaders.get(&leader.pid).is_some_and(|all| all.contains(&leader))
            }),
            Step::Move(step) => {
                let now = self.moves.get(&(&step.thing.folder, &step.thing.name));
                now.is_some_and(|now| is_same(step, now))
            }
            Step::Release(release) => self.releases.contains_key(&release.database),
            other => self.others.contains(&other),
        }
    }

    /// Parts the entries of a step: those that are still meant, and the others, each with the reason.
    pub(super) fn parted(&self, release: &Release) -> (Release, Vec<String>) {
        let now: BTreeSet<&String> =
            self.releases.get(&release.database).iter().flat_map(|now| &now.ids).collect();
        let (ids, kept): (Vec<String>, Vec<String>) =
            release.ids.iter().cloned().partition(|id| now.contains(id));
        let kept = kept.iter().map(|id| self.why_entry(release, id)).collect();
        (Release { ids, ..release.clone() }, kept)
    }

    fn why_entry(&self, release: &Release, id: &str) -> String {
        let id = id.escape_debug();
        let subject = format!("{id} of {}", release.path);
        let reason = self.reasons.get(subject.as_str());
        format!("{id}: {}", reason.copied().unwrap_or("it is another way by now"))
    }

    /// Says why a step is not meant any more.
    pub(super) fn why_not(&self, step: &Step) -> String {
        let reason = |subject: &str| self.reasons.get(subject).map(ToString::to_string);
        let reason = match step {
            Step::Move(step) => reason(&step.thing.shown()),
            Step::Stop(stop) => reason(&stop.what),
            Step::Release(release) => {
                let all = release.ids.iter().map(|id| self.why_entry(release, id));
                Some(all.collect::<Vec<_>>().join("; "))
            }
            _ => None,
        };
        match reason.or_else(|| self.how_changed(step)) {
            Some(reason) => format!("it is another way by now: {reason}"),
            None => "it is another way by now".into(),
        }
    }
}

impl Meant<'_> {
    /// Says how a thing is another one than was to be moved, and who can have made it so.
    fn how_changed(&self, step: &Step) -> Option<String> {
        let Step::Move(step) = step else { return None };
        let now = self.moves.get(&(&step.thing.folder, &step.thing.name))?;
        let uid = now.thing.uid;
        Some(match step.thing.number == now.thing.number {
            true => format!("it was changed since it was looked at, and is uid {uid}'s"),
            false => format!("something else has its name, which is uid {uid}'s"),
        })
    }
}

fn is_same(step: &Move, now: &Move) -> bool {
    let (was, is) = (&step.thing, &now.thing);
    let is_unchanged = was.modified_ns == is.modified_ns && was.size_bytes == is.size_bytes;
    was.number == is.number && (step.may_change || is_unchanged)
}

/// Says whether a step is to stop this editor.
pub(crate) fn is_of(stop: &Stop, editor: &Editor) -> bool {
    match &stop.id {
        Some(id) => editor.id.as_ref() == Some(id),
        None => editor.id.is_none() && stop.leaders.iter().any(|one| editor.leaders.contains(one)),
    }
}
