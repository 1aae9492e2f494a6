//! What people and programs read of a plan and of what became of it.

use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::plan::{Exclusion, Objection, Outcome, Plan};
use oh_term::{Answer, Failure};
use serde_json::{Value, json};

use super::apply::{Deed, Done};
use super::plan::Step;
use crate::cli::ReconcileArguments;

/// A plan that is shown and not carried out.
pub(super) fn planned(plan: &Plan<Step>, asked: &ReconcileArguments, is_blind: bool) -> Answer {
    let mut human = String::new();
    if plan.steps.is_empty() {
        human.push_str("nothing to do\n");
    }
    for (at, step) in plan.steps.iter().enumerate() {
        human.push_str(&format!("{:>3}  {step}\n", at + 1));
    }
    left(&mut human, &plan.exclusions);
    let exit = if is_blind { Exit::CouldNotLook } else { Exit::Ok };
    let answer = Answer::new(human, json(plan, &[], asked.dry_run)).exit(exit);
    if plan.steps.is_empty() {
        return answer;
    }
    let mut words = vec!["reconcile"];
    if asked.start {
        words.push("--start");
    }
    answer.hint(Hint::run("go on with", Command::ours("oh-instances", &words)))
}

/// What a run did.
pub(super) fn done(plan: &Plan<Step>, done: Done, is_blind: bool) -> Answer {
    let mut human = String::new();
    let mut exit = Exit::Ok;
    for Deed { step, outcome } in &done.deeds {
        match outcome {
            Ok(Outcome::Done) => human.push_str(&format!("done      {step}\n")),
            Ok(Outcome::AlreadyDone) => human.push_str(&format!("as wanted {step}\n")),
            Err(not_done) => {
                human.push_str(&format!("not done  {step}\n          {}\n", not_done.why));
                exit = if exit == Exit::Ok { not_done.exit } else { worst(exit, not_done.exit) };
            }
        }
    }
    left(&mut human, &plan.exclusions);
    if let Some(login) = &done.login {
        let password = login.password.reveal();
        human.push_str(&format!(
            "login     {}  {password}   (shown once; anew with: oh-nginx login)\n",
            login.user
        ));
    }
    if is_blind && exit == Exit::Ok {
        exit = Exit::CouldNotLook;
    }
    let mut result = json(plan, &done.deeds, false);
    let login = done.login.as_ref().map(|login| {
        let password = login.password.reveal();
        json!({ "user": login.user, "password": password })
    });
    if let Some(result) = result.as_object_mut() {
        result.insert("login".into(), login.into());
    }
    Answer::new(human, result).notes(done.notes).exit(exit)
}

/// A lock that is held stands back behind everything else that went wrong.
fn worst(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        // Whoever interrupted it has to hear what could not be taken back.
        (Exit::RollbackFailed, _) | (_, Exit::RollbackFailed) => Exit::RollbackFailed,
        (Exit::Locked, other) => other,
        (one, Exit::Locked) => one,
        (one, other) => one.worst(other),
    }
}

/// A plan that must not be carried out.
pub(super) fn refused(objections: Vec<Objection>) -> Failure {
    let all: Vec<String> = objections.iter().map(ToString::to_string).collect();
    Failure::new(Exit::Bug, format!("the plan contradicts itself: {}", all.join("; ")))
        .state("nothing was changed")
}

fn left(human: &mut String, exclusions: &[Exclusion]) {
    if !exclusions.is_empty() {
        human.push_str("left alone\n");
    }
    human.extend(exclusions.iter().map(|exclusion| format!("  {exclusion}\n")));
}

fn json(plan: &Plan<Step>, deeds: &[Deed], is_dry: bool) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let outcome = deeds.get(at).map(|deed| match &deed.outcome {
                Ok(Outcome::Done) => "done",
                Ok(Outcome::AlreadyDone) => "already-done",
                Err(_) => "not-done",
            });
            let why = deeds.get(at).and_then(|deed| deed.outcome.as_ref().err());
            json!({
                "step": step.to_string(),
                "id": step.subject(),
                "outcome": outcome,
                "why": why.map(|not_done| not_done.why.clone()),
            })
        })
        .collect();
    let left: Vec<Value> = plan
        .exclusions
        .iter()
        .map(|exclusion| json!({ "subject": exclusion.subject, "reason": exclusion.reason }))
        .collect();
    json!({
        "dry_run": is_dry,
        "digest": plan.digest().to_string(),
        "steps": steps,
        "left_alone": left,
    })
}
