//! What people and programs read of a plan and of what became of it.

use std::collections::BTreeMap;

use oh_host::remove::Removed;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::plan::{Exclusion, Outcome, Plan};
use oh_model::run::RunId;
use oh_term::Answer;
use oh_term::text::{bytes, several};
use serde_json::{Value, json};

use crate::after::After;
use crate::apply::Deed;
use crate::evidence::Written;
use crate::facts::Facts;
use crate::lines;
use crate::purge;
use crate::step::{Kind, Step};

/// A plan that is not carried out: there is nothing to do, or nobody asked for more.
pub(crate) fn planned(facts: &Facts, plan: &Plan<Step>, is_dry: bool) -> Answer {
    let mut human = String::new();
    if plan.steps.is_empty() {
        human.push_str("nothing to do\n");
    }
    // Where nothing is done there is nothing that would be.
    human.push_str(&match plan.steps.is_empty() && !is_dry {
        true => kept(facts, plan),
        false => shown(facts, plan),
    });
    let result = json(facts, plan, &[], None, None, is_dry);
    let exit = if is_blind(facts) { Exit::CouldNotLook } else { Exit::Ok };
    let exit = exit.worst(unheld(facts, plan));
    match facts.no_state.as_ref().filter(|_| !plan.steps.is_empty()) {
        // Without a journal nothing is done at all.
        Some(why) => {
            human.push_str(&format!("a run would do nothing of it: {why}\n"));
            Answer::new(human, result).exit(exit.worst(Exit::Intact))
        }
        None => Answer::new(human, result).exit(exit),
    }
}

/// How a run ends whose quarantine cannot hold all that is to go.
fn unheld(facts: &Facts, plan: &Plan<Step>) -> Exit {
    let is_it = |one: &Exclusion| facts.no_hold.values().any(|why| *why == one.reason);
    if plan.exclusions.iter().any(is_it) { Exit::No } else { Exit::Ok }
}

/// The answer to who wants the plan itself: its text, and on stderr what it would do.
pub(crate) fn printed(facts: &Facts, plan: &Plan<Step>, text: &str) -> Answer {
    let Answer { human, mut result, exit, .. } = planned(facts, plan, true);
    result["plan"] = serde_json::from_str(text).unwrap_or(Value::Null);
    Answer::new(text.to_owned(), result).exit(exit).notes(human.lines().map(str::to_owned))
}

/// What a plan would do, for whoever is asked: the sum, and each step.
pub(crate) fn shown(facts: &Facts, plan: &Plan<Step>) -> String {
    let mut text = lines::sum(plan);
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    text.push_str(&lines::steps("  ", plan.steps.iter()));
    text.push_str(&kept(facts, plan));
    text
}

/// What is left alone, and what was not seen.
fn kept(facts: &Facts, plan: &Plan<Step>) -> String {
    let mut not_seen = lines::exclusions(&facts.unseen);
    if facts.is_partial {
        not_seen.push("processes that are hidden from us (hidepid); root sees all".into());
    }
    let of = |head: &str, all: Vec<String>| -> String {
        let head = |at: usize| if at == 0 { head.to_owned() } else { String::new() };
        all.iter().enumerate().map(|(at, one)| format!("{:<10}{one}\n", head(at))).collect()
    };
    of("kept", lines::exclusions(&plan.exclusions)) + &of("not seen", not_seen)
}

fn is_blind(facts: &Facts) -> bool {
    facts.is_partial || !facts.unseen.is_empty()
}

/// What a run did.
pub(crate) struct Done<'d> {
    pub(crate) run: &'d RunId,
    pub(crate) deeds: &'d [Deed],
    pub(crate) evidence: Option<Written>,
    /// What was removed for good, where that was asked for; `Err` says why not all of it was.
    pub(crate) removed: Option<Result<Removed, String>>,
    /// What it was limited to, where it was.
    pub(crate) limits: Option<String>,
    /// What was seen behind all acts.
    pub(crate) after: After,
}

/// Tells it.
pub(crate) fn done(facts: &Facts, plan: &Plan<Step>, done: &Done<'_>) -> Answer {
    let Done { run, deeds, evidence, removed, limits, after } = done;
    let deeds = *deeds;
    let mut human = String::new();
    let mut exit = Exit::Ok;
    let is_plain = |deed: &&Deed| deed.told.is_none() && deed.outcome.is_ok();
    for chunk in deeds.chunk_by(|one, next| is_plain(&one) == is_plain(&next)) {
        let plain = chunk.iter().filter(is_plain);
        let (done, as_wanted): (Vec<&Deed>, _) =
            plain.partition(|deed| matches!(deed.outcome, Ok(Outcome::Done)));
        human.push_str(&lines::steps("done      ", done.iter().map(|deed| &deed.step)));
        human.push_str(&lines::steps("as wanted ", as_wanted.iter().map(|deed| &deed.step)));
        for Deed { step, outcome, told } in chunk.iter().filter(|deed| !is_plain(deed)) {
            let told = told.as_ref().map_or_else(String::new, |told| format!("\n          {told}"));
            match outcome {
                Ok(Outcome::Done) => human.push_str(&format!("done      {step}{told}\n")),
                Ok(Outcome::AlreadyDone) => human.push_str(&format!("as wanted {step}\n")),
                Err(not_done) => {
                    human.push_str(&format!("not done  {step}\n          {}\n", not_done.why));
                    exit = exit.worst(not_done.exit);
                }
            }
        }
    }
    match removed {
        Some(Ok(removed)) => {
            let (names, freed) = (purge::names(removed), bytes(removed.bytes));
            human.push_str(&format!("removed   for good: {names}, {freed} freed\n"));
            human.push_str(&purge::left(removed));
            if removed.left_count > 0 {
                exit = exit.worst(Exit::No);
            }
            if removed.is_cut {
                human.push_str("          interrupted: the rest of it goes by a purge\n");
                exit = exit.worst(Exit::Interrupted);
            }
        }
        Some(Err(why)) => {
            human.push_str(&format!("not done  remove what was moved for good\n          {why}\n"));
            exit = exit.worst(Exit::No);
        }
        None => {}
    }
    for one in &after.came_back {
        human.push_str(&format!("came back {one}\n"));
        exit = exit.worst(Exit::No);
    }
    human.push_str(&kept(facts, plan));
    for one in &after.unseen {
        human.push_str(&format!("not seen  {one}\n"));
    }
    if let Some(Written { path, bytes: size, items, .. }) = evidence {
        let (size, items) = (bytes(*size), several(*items, "item"));
        human.push_str(&format!("evidence  {path} ({size}, {items})\n"));
    }
    exit = exit.worst(unheld(facts, plan));
    let is_blind = is_blind(facts) || !after.unseen.is_empty();
    if exit == Exit::Ok && is_blind {
        exit = Exit::CouldNotLook;
    }
    let is_clean = plan.exclusions.is_empty() && !is_blind;
    human.push_str(&summary(deeds, is_clean, limits.as_deref(), after.came_back.len()));
    let is_done = |deed: &&Deed| matches!(deed.outcome, Ok(Outcome::Done));
    let is_kept = removed.is_none();
    let moved = is_kept && deeds.iter().filter(is_done).any(|deed| deed.step.is_leftover());
    let mut undoable = deeds.iter().filter(is_done).filter(|deed| is_undoable(&deed.step));
    let is_undoable = undoable.any(|deed| is_kept || !deed.step.is_leftover());
    let mut result = json(facts, plan, deeds, Some(run), evidence.as_ref(), false);
    result["removed"] = json!(removed.as_ref().map(|removed| match removed {
        Ok(removed) => json!({
            "files": removed.files,
            "folders": removed.folders,
            "bytes": removed.bytes,
            "left": removed.left_count,
            "is_interrupted": removed.is_cut,
        }),
        Err(why) => json!({ "why": why }),
    }));
    result["came_back"] = json!(listed(&after.came_back));
    if let Some(unseen) = result["not_seen"].as_array_mut() {
        unseen.extend(listed(&after.unseen));
    }
    let answer = Answer::new(human, result).exit(exit);
    let is_interrupted = |deed: &Deed| {
        deed.outcome.as_ref().is_err_and(|not_done| not_done.exit == Exit::Interrupted)
    };
    let answer = match deeds.iter().any(is_interrupted) {
        true => answer.hint("run it again: that goes on with what was not begun"),
        false => answer,
    };
    if !is_undoable {
        let is_stopped = |deed: &Deed| matches!(deed.step, Step::Stop(_));
        let nobody = "nothing to undo: what was stopped is started by whoever had started it";
        let is_told = deeds.iter().filter(is_done).any(is_stopped);
        return if is_told { answer.hint(Hint::from(nobody)) } else { answer };
    }
    let run = run.to_string();
    let ours =
        |say: &'static str, words: &[&str]| Hint::run(say, Command::ours("oh-cleanup", words));
    let undo = if moved || is_kept { "undo" } else { "undo what was not removed" };
    let answer = answer.hint(ours(undo, &["undo", &run]));
    if moved { answer.hint(ours("free the room", &["purge", &run])) } else { answer }
}

/// Says whether a step that was done can be taken back.
fn is_undoable(step: &Step) -> bool {
    matches!(
        step,
        Step::StopContainer(_)
            | Step::Move(_)
            | Step::Release(_)
            | Step::Forget(_)
            | Step::WantStopped(_)
    )
}

/// What was done, in one line.
fn summary(deeds: &[Deed], is_clean: bool, limits: Option<&str>, back: usize) -> String {
    let done = |phase: &str| {
        deeds.iter().filter(|deed| deed.outcome.is_ok() && deed.step.phase() == phase).count()
    };
    let room: u64 = deeds
        .iter()
        .filter(|deed| deed.outcome.is_ok())
        .filter_map(|deed| match &deed.step {
            Step::Move(step) => Some(step.bytes),
            _ => None,
        })
        .sum();
    let left = deeds.iter().filter(|deed| deed.outcome.is_err()).count();
    let stops = |kind: Kind| {
        let is_one = |step: &Step| matches!(step, Step::Stop(stop) if stop.kind == kind);
        deeds.iter().filter(|deed| deed.outcome.is_ok() && is_one(&deed.step)).count()
    };
    let mut parts: BTreeMap<usize, String> = BTreeMap::new();
    let (editors, orphans) = (stops(Kind::Editor), stops(Kind::Orphan));
    let counted = [(editors, "editor"), (orphans, "orphan"), (done("containers"), "container")];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted.map(|(count, what)| several(count, what)).collect();
    if !counted.is_empty() {
        parts.insert(0, format!("{} stopped", counted.join(", ")));
    }
    if done("quarantine") > 0 {
        let things = several(done("quarantine"), "thing");
        parts.insert(1, format!("{things} moved ({})", bytes(room)));
    }
    if done("databases") > 0 {
        parts.insert(2, format!("{} written", several(done("databases"), "database")));
    }
    if left > 0 {
        parts.insert(3, format!("{} not done", several(left, "step")));
    }
    if back > 0 {
        parts.insert(4, format!("{} came back", several(back, "thing")));
    }
    let head = match (left + back, is_clean) {
        // Of the rest it says nothing.
        (0, true) => limits.map_or("clean".into(), |limits| format!("clean ({limits})")),
        // Something is kept, or was not seen.
        (0, false) => "done".to_owned(),
        _ => "not clean".to_owned(),
    };
    let parts: Vec<String> = parts.into_values().collect();
    if parts.is_empty() { format!("{head}\n") } else { format!("{head}: {}\n", parts.join(", ")) }
}

fn listed(list: &[Exclusion]) -> Vec<Value> {
    list.iter().map(|one| json!({ "subject": one.subject, "reason": one.reason })).collect()
}

fn json(
    facts: &Facts,
    plan: &Plan<Step>,
    deeds: &[Deed],
    run: Option<&RunId>,
    evidence: Option<&Written>,
    is_dry: bool,
) -> Value {
    let steps = plan.steps.iter().enumerate().map(|(at, step)| {
        let deed = deeds.get(at);
        let outcome = deed.map(|deed| match &deed.outcome {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::AlreadyDone) => "already-done",
            Err(_) => "not-done",
        });
        let why = deed.and_then(|deed| deed.outcome.as_ref().err()).map(|one| one.why.clone());
        let bytes = match step {
            Step::Move(step) => Some(step.bytes),
            _ => None,
        };
        json!({
            "step": step.to_string(),
            "phase": step.phase(),
            "bytes": bytes,
            "outcome": outcome,
            "why": why,
            "told": deed.and_then(|deed| deed.told.clone()),
        })
    });
    let evidence = evidence
        .map(|one| json!({ "path": one.path.as_str(), "bytes": one.bytes, "items": one.items }));
    json!({
        "dry_run": is_dry,
        "run": run.map(ToString::to_string),
        "evidence": evidence,
        "digest": plan.digest().to_string(),
        "steps": steps.collect::<Vec<_>>(),
        "kept": listed(&plan.exclusions),
        "not_seen": listed(&facts.unseen),
        "is_partial": facts.is_partial,
    })
}
