//! What is to be done, decided over what was gathered: pure, and looked over by separate code.

use std::collections::BTreeSet;
use std::fmt;

use oh_host::instances::Phase;
use oh_model::id::InstanceId;
use oh_model::plan::{Exclusion, Objection, Plan};

use super::facts::{Facts, Instance, Publishing, Starter, Words};
use super::strays::{Adoption, Fate};
use crate::inputs::Database;
use crate::look::Condition;

/// A step of reconciling. Its text is what people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on with a stop that was not finished.
    FinishStop(InstanceId),
    /// Go on with a start whose editor answers.
    FinishStart(InstanceId),
    /// Take a start back whose editor does not.
    TakeBack(InstanceId),
    /// Go on with a restart that was recorded and that no supervisor heard of.
    Restart(InstanceId),
    /// Give an editor a supervisor.
    Supervise(InstanceId),
    /// Serve an editor that is supervised and not served.
    Serve(InstanceId),
    /// Write again what others are told of an instance.
    Announce(InstanceId),
    /// Take away what is left of an instance of which nothing is to run; its record stays.
    Retire(InstanceId, String),
    /// Start an instance of which nothing lives.
    Start(InstanceId),
    /// Make an editor of nobody's record an instance.
    Adopt(Box<Adoption>),
    /// Take an entry of the databases back whose editor is gone: its id as it is written.
    Release(String, String),
    /// Write a database anew: which, what of it, and why.
    WriteAnew(Database, String, String),
    /// Publish the routes.
    Publish,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FinishStop(id) => write!(f, "stop {id}: its stop was not finished"),
            Self::FinishStart(id) => {
                write!(f, "serve {id}: its start was not finished, and its editor answers")
            }
            Self::TakeBack(id) => {
                write!(f, "stop {id}: its start was not finished, and no editor answers")
            }
            Self::Restart(id) => write!(f, "restart {id}: a restart was asked for and not done"),
            Self::Supervise(id) => write!(f, "supervise {id}: its editor runs and nobody watches"),
            Self::Serve(id) => write!(f, "serve {id}: its editor answers and is not announced"),
            Self::Announce(id) => {
                write!(f, "announce {id} again: what was written of it does not stand")
            }
            Self::Retire(id, why) => write!(f, "retire {id}: {why}"),
            Self::Start(id) => write!(f, "start {id}: it is wanted and nothing of it runs"),
            Self::Adopt(adoption) => adoption.fmt(f),
            Self::Release(id, why) => write!(f, "release {}: {why}", id.escape_debug()),
            Self::WriteAnew(_, what, why) => write!(f, "write anew: {what}: {why}"),
            Self::Publish => f.write_str("publish the routes"),
        }
    }
}

impl Step {
    /// The id that it is about, as it is written; `None` for what is of all.
    pub(crate) fn subject(&self) -> Option<&str> {
        match self {
            Self::FinishStop(id)
            | Self::FinishStart(id)
            | Self::TakeBack(id)
            | Self::Restart(id)
            | Self::Supervise(id)
            | Self::Serve(id)
            | Self::Announce(id)
            | Self::Retire(id, _)
            | Self::Start(id) => Some(id.as_str()),
            Self::Adopt(adoption) => Some(adoption.id.as_str()),
            Self::Release(id, _) => Some(id),
            Self::WriteAnew(..) | Self::Publish => None,
        }
    }
}

/// What an instance calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it is wanted.
    Settled,
    /// Something is to be done.
    Do(Step),
    /// It is not as it is wanted, and left so.
    Left(String),
}

/// Decides the steps, sorted by id within each kind of thing; what is torn comes first, the
/// available ports behind all that changes entries, and the routes last.
pub(crate) fn plan(facts: &Facts, start: bool) -> Plan<Step> {
    let anew = |is_torn: bool| {
        let unfit = facts.unfit.iter().filter(move |unfit| unfit.is_torn == is_torn);
        unfit.map(|one| Step::WriteAnew(one.database, one.what.clone(), one.why.clone()))
    };
    let mut steps: Vec<Step> = anew(true).collect();
    let mut exclusions = facts.unread.clone();
    for instance in &facts.instances {
        match verdict(instance, start) {
            Verdict::Settled => {}
            Verdict::Do(step) => steps.push(step),
            Verdict::Left(reason) => {
                exclusions.push(Exclusion { subject: instance.id.to_string(), reason });
            }
        }
    }
    for stray in &facts.strays {
        match stray.fate() {
            Fate::Adopt(adoption) => steps.push(Step::Adopt(adoption)),
            Fate::Release(why) => steps.push(Step::Release(stray.id.clone(), why)),
            Fate::Left(reason) => {
                let subject = stray.id.escape_debug().to_string();
                exclusions.push(Exclusion { subject, reason });
            }
        }
    }
    exclusions.extend(facts.orphans.iter().map(|(pid, name)| Exclusion {
        subject: format!("pid {pid} ({})", name.escape_debug()),
        reason: "it runs in the folders of an editor and no record knows it".into(),
    }));
    steps.extend(anew(false));
    match &facts.publishing {
        Publishing::Unknown(why) => {
            exclusions.push(Exclusion { subject: "the routes".into(), reason: why.clone() });
        }
        Publishing::Due => steps.push(Step::Publish),
        Publishing::Settled if steps.is_empty() => {}
        Publishing::Settled => steps.push(Step::Publish),
    }
    exclusions.sort();
    Plan { steps, exclusions }
}

/// Decides what one instance calls for.
pub(crate) fn verdict(instance: &Instance, start: bool) -> Verdict {
    let id = || instance.id.clone();
    match instance.starter {
        Starter::Lives(pid) => return Verdict::Left(format!("pid {pid} is starting it")),
        _ if instance.condition == Condition::Stopping => {
            return Verdict::Do(Step::FinishStop(id()));
        }
        Starter::Dead if instance.answers => return Verdict::Do(Step::FinishStart(id())),
        Starter::Dead => return Verdict::Do(Step::TakeBack(id())),
        Starter::None => {}
    }
    let stands = instance.announced || matches!(instance.words, Words::All | Words::Some);
    let retired = |why: String, leftovers: bool| {
        if stands || leftovers { Verdict::Do(Step::Retire(id(), why)) } else { Verdict::Left(why) }
    };
    let processes = !instance.left.is_empty();
    match &instance.condition {
        Condition::Stopping => Verdict::Do(Step::FinishStop(id())),
        Condition::Unsupervised => Verdict::Do(Step::Supervise(id())),
        Condition::Gone if start => Verdict::Do(Step::Start(id())),
        Condition::Supervised(Phase::Stopped) => {
            retired("its supervisor was told to end".into(), processes)
        }
        Condition::Gone => {
            let why = "nothing of it runs; `start` or `reconcile --start` brings it back";
            retired(why.into(), processes || instance.has_state)
        }
        Condition::Supervised(Phase::Failed { why }) => {
            let first = why.lines().next().unwrap_or_default();
            retired(format!("its supervisor gave up: {first}"), processes)
        }
        Condition::Supervised(Phase::Ended) => {
            retired("its editor ended, and that was meant; `status` says how".into(), processes)
        }
        Condition::Supervised(_) if instance.is_lagging => Verdict::Do(Step::Restart(id())),
        Condition::Supervised(phase) => match &instance.words {
            Words::Unknown(why) => Verdict::Left(why.clone()),
            Words::All if instance.announced => Verdict::Settled,
            _ if instance.announced => Verdict::Do(Step::Announce(id())),
            _ if *phase == Phase::Ready => Verdict::Do(Step::Serve(id())),
            _ => Verdict::Left("its editor does not answer yet".into()),
        },
    }
}

/// Looks the plan over: what it finds is an error of [`plan`], so nothing may run.
pub(crate) fn objections(facts: &Facts, plan: &Plan<Step>) -> Result<(), Vec<Objection>> {
    let mut objections = Vec::new();
    let mut seen = BTreeSet::new();
    let of = |id: &str| facts.instances.iter().find(|one| one.id.as_str().eq_ignore_ascii_case(id));
    for step in &plan.steps {
        let Some(subject) = step.subject() else { continue };
        if !seen.insert(subject.to_ascii_lowercase()) {
            objections.push(Objection(format!("two steps are about {subject:?}")));
        }
        let record = of(subject);
        let is_stray = matches!(step, Step::Adopt(_) | Step::Release(..));
        if is_stray == record.is_some() {
            objections.push(Objection(format!("`{step}` is about another kind of thing")));
        }
        if record.is_some_and(|one| matches!(one.starter, Starter::Lives(_))) {
            objections.push(Objection(format!("`{step}` is about what somebody is starting")));
        }
        if let Step::Adopt(adoption) = step
            && facts.instances.iter().any(|one| one.ports.contains(&adoption.port))
        {
            objections.push(Objection(format!("`{step}` takes the port of an instance")));
        }
    }
    if plan.steps.iter().rev().skip(1).any(|step| *step == Step::Publish) {
        objections.push(Objection("the routes are published before all is done".into()));
    }
    if objections.is_empty() { Ok(()) } else { Err(objections) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
