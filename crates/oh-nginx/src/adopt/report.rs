//! What people and programs see of taking over and giving back.

use oh_config::Auth;
use oh_host::publish::{self, Published, Reloaded};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::plan::{Exclusion, Plan};
use oh_term::Answer;
use serde_json::json;

use super::fault::then;
use super::plan::{Doing, Step};
use super::{Prepared, release};
use crate::report::{exclusions, published};

/// The answer where there is nothing to take over.
pub(super) fn nothing() -> Answer {
    let text = "nothing to adopt: no older generator, no older site, and no server in the way\n";
    Answer::new(text.into(), json!({ "steps": [], "adopted": false }))
}

/// The answer of a dry run, and what is confirmed.
pub(super) fn plan(prepared: &Prepared) -> Answer {
    let plan = &prepared.plan;
    let site = &prepared.wanted.site;
    let scheme = if site.tls.is_some() { "https" } else { "http" };
    let mut text = format!(
        "would take over an older installation as {scheme}://{}, in {} steps\n",
        site.authority,
        plan.steps.len()
    );
    text.push_str(&numbered(&plan.steps));
    let config = config_text(prepared);
    if let Some((path, said)) = &config {
        text.push_str(&format!("{path} will say\n"));
        said.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).for_each(|line| {
            text.push_str(&format!("  {line}\n"));
        });
    }
    text.push_str(&listed("worth knowing", &plan.exclusions));
    if asks_anew(prepared) {
        text.push_str(
            "visitors will be asked for a login, which they were not; to leave that to the editors:\n\
             \x20 --set site.auth=editor\n",
        );
    }
    if !prepared.facts.callers.is_empty() {
        text.push_str("goes on working, by the script in the place of the generator\n");
        prepared.facts.callers.iter().for_each(|place| text.push_str(&format!("  {place}\n")));
    }
    let callers: Vec<String> = prepared.facts.callers.iter().map(ToString::to_string).collect();
    let result = json!({
        "steps": lines(&plan.steps),
        "digest": plan.digest().to_string(),
        "config": config.map(|(path, text)| json!({ "path": path, "text": text })),
        "exclusions": exclusions(&plan.exclusions),
        "callers": callers,
        "asks_anew": asks_anew(prepared),
    });
    Answer::new(text, result).hint(then("go on with", "adopt"))
}

fn config_text(prepared: &Prepared) -> Option<(String, String)> {
    let change = prepared.draft.changes.iter().find(|change| change.doing == Doing::Configure)?;
    let text = String::from_utf8_lossy(change.after.bytes()?).into_owned();
    Some((change.path.to_string(), text))
}

/// Says whether visitors are asked for a password that were not asked before.
fn asks_anew(prepared: &Prepared) -> bool {
    let taken = prepared.draft.taken.iter();
    let mut taken = taken.filter_map(|index| prepared.facts.servers.get(*index));
    prepared.host.settings.site.auth == Auth::Basic && taken.any(|server| !server.asks)
}

/// The answer after taking over.
pub(super) fn adopted(prepared: &Prepared, done: &Published) -> Answer {
    let changes: Vec<String> =
        prepared.draft.changes.iter().map(|change| format!("  {change}\n")).collect();
    let head = format!(
        "taken over: {} changed, and kept in the record\n{}",
        several(changes.len(), "name"),
        changes.concat()
    );
    let head = format!("{head}{}", listed("worth knowing", &prepared.draft.exclusions));
    with_published(&head, &lines(&prepared.plan.steps), done)
}

/// The answer after going on.
pub(super) fn went_on(plan: &Plan<Step>, done: &Published) -> Answer {
    with_published("taken over: went on where a run had ended\n", &lines(&plan.steps), done)
}

fn with_published(head: &str, steps: &[String], done: &Published) -> Answer {
    let publishing = published(done);
    let text = format!("{head}{}", publishing.human);
    let result = json!({ "steps": steps, "adopted": true, "published": publishing.result });
    let answer = Answer::new(text, result).exit(publishing.exit);
    let answer = publishing.hints.into_iter().fold(answer, Answer::hint);
    answer.hint(then("back with", "release"))
}

/// The answer where a record is there: what is still to be done.
pub(super) fn rest(plan: &Plan<Step>, wanted: &publish::Facts) -> Answer {
    let pending = plan.steps.iter().any(|step| matches!(step, Step::Change(_)));
    let served = wanted.running.answered().is_some();
    let mut text = match (plan.steps.len(), pending) {
        (0, _) if served => "nothing to do: adopted already, and served\n".to_string(),
        (0, _) => "nothing to do: adopted already; no nginx of this configuration runs\n".into(),
        (count, true) => format!("adopted in part: would go on with {}\n", several(count, "step")),
        (count, false) => format!("adopted already: would publish in {}\n", several(count, "step")),
    };
    text.push_str(&numbered(&plan.steps));
    text.push_str(&listed("worth knowing", &plan.exclusions));
    let result = json!({
        "steps": lines(&plan.steps),
        "digest": plan.digest().to_string(),
        "adopted": true,
        "exclusions": exclusions(&plan.exclusions),
        "served": wanted.running.answered().map(ToString::to_string),
    });
    // With nobody to serve it, all is in place and not served, as after `apply`.
    let waits = plan.steps.is_empty() && !served;
    Answer::new(text, result).exit(if waits { Exit::No } else { Exit::Ok })
}

/// The answer where there is no record.
pub(super) fn nothing_to_release() -> Answer {
    let text = "nothing to give back: nothing was taken over here\n";
    Answer::new(text.into(), json!({ "steps": [], "released": false }))
}

/// The answer of a dry run of `release`, and what is confirmed.
pub(super) fn release_plan(plan: &Plan<release::Step>) -> Answer {
    let mut text = format!("would give back what was taken over, in {} steps\n", plan.steps.len());
    text.push_str(&numbered(&plan.steps));
    text.push_str(&listed("worth knowing", &plan.exclusions));
    let result = json!({
        "steps": lines(&plan.steps),
        "digest": plan.digest().to_string(),
        "exclusions": exclusions(&plan.exclusions),
    });
    Answer::new(text, result).hint(then("go on with", "release"))
}

/// The answer after giving back.
pub(super) fn released(plan: &Plan<release::Step>, reloaded: &Reloaded) -> Answer {
    let (state, exit) = match reloaded {
        Reloaded::Seen => ("new workers of nginx serve it".to_string(), Exit::Ok),
        Reloaded::NoMaster => ("no nginx of this configuration runs".into(), Exit::Ok),
        Reloaded::Refused(reasons) | Reloaded::NotSeen(reasons) => {
            let mut text = "nginx does not accept its configuration, and still serves what it \
                            had read:\n"
                .to_string();
            reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
            (text, Exit::No)
        }
    };
    let mut text = format!("given back: every file is what it was; {}\n", state.trim_end());
    text.push_str(&numbered(&plan.steps));
    text.push_str(&listed("worth knowing", &plan.exclusions));
    let result = json!({
        "steps": lines(&plan.steps),
        "released": true,
        "seen": *reloaded == Reloaded::Seen,
        "exclusions": exclusions(&plan.exclusions),
    });
    let mend = Hint::run("mend that, then", Command::other("nginx", &["-s", "reload"]));
    let answer = Answer::new(text, result).exit(exit);
    if exit == Exit::Ok { answer } else { answer.hint(mend) }
}

fn lines<S: ToString>(steps: &[S]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn numbered<S: ToString>(steps: &[S]) -> String {
    let steps = lines(steps);
    let numbered = steps.iter().enumerate();
    numbered.map(|(index, step)| format!("  {:>2}  {step}\n", index + 1)).collect()
}

fn listed(title: &str, exclusions: &[Exclusion]) -> String {
    if exclusions.is_empty() {
        return String::new();
    }
    let lines: String = exclusions.iter().map(|exclusion| format!("  {exclusion}\n")).collect();
    format!("{title}: {}\n{lines}", exclusions.len())
}

fn several(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
