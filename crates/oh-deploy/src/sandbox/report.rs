//! What people see of a sandbox that is up: where to go, how to get in, how to stop.

use std::collections::BTreeSet;

use oh_host::users::is_root;
use oh_model::exit::Exit;
use oh_model::hint::Command;
use oh_model::plan::Plan;
use oh_term::Answer;
use serde_json::json;

use super::apply::Done;
use super::commands;
use super::facts::Facts;
use super::parts::editor_user;
use super::plan::Step;

/// The answer of `sandbox up`.
pub(crate) fn up(facts: &Facts, plan: &Plan<Step>, done: Done) -> Answer {
    let origin = facts.origin();
    let login = done.published.as_ref().and_then(|published| published.login.as_ref());
    let mut text = String::new();
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    match (steps.is_empty(), facts.is_new) {
        (true, _) => add("nothing to do: the sandbox is up as it was"),
        (false, true) => add(&format!("the sandbox is up in {}", facts.home.path)),
        (false, false) => add(&format!("the sandbox is up again: {}", steps.join(", "))),
    }
    add("");
    let (links, missing) = addresses(facts, plan);
    let width = links.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    links.iter().for_each(|(name, url)| add(&format!("  {name:<width$}  {url}")));
    add("");
    match login {
        Some(login) => {
            add(&format!("  user {}   password {}", login.user, login.password.reveal()));
            add("  the password is shown this once");
        }
        None => add("  user openhands   password as it was shown when it was made"),
    }
    let dir = facts.home.path.as_str();
    let line = |command: Command| command.line(&[]);
    let ours = |tool, verb| line(commands::ours(tool, dir, &[verb]));
    add(&format!("  a new password:  {}", ours("oh-nginx", "login")));
    add(&format!("  the routes:      {}", ours("oh-nginx", "status")));
    add(&format!("  the editors:     {}", ours("oh-instances", "list")));
    add(&format!("  stop:            {}", line(commands::take_down(dir))));
    let mut notes = done.notes;
    if missing.is_empty() && editor_user(&facts.home).is_none() {
        let who = if is_root() { "is root on this machine" } else { "has a terminal of yours" };
        notes.push(format!("note: whoever has this login {who}"));
    }
    let names = missing;
    let missing = &names;
    if !missing.is_empty() {
        let names = names.join(", ");
        notes.push(format!("missing: {names} (code-server is not installed); all else is up"));
        notes.push("hint: cargo xtask setup --for sandbox".into());
    }
    let links: Vec<_> =
        links.iter().map(|(name, url)| json!({ "name": name, "url": url })).collect();
    let result = json!({
        "dir": dir,
        "origin": origin,
        "session": facts.record.session,
        "repository": super::files::REPOSITORY,
        "ports": facts.record.ports,
        "editors": missing.is_empty(),
        "links": links,
        "missing": names,
        "steps": steps,
        "login": login.map(|login| json!({
            "user": login.user,
            "password": login.password.reveal(),
        })),
    });
    let exit = if missing.is_empty() { Exit::Ok } else { Exit::No };
    Answer::new(text, result).exit(exit).notes(notes)
}

/// Returns the addresses that answer, and what is not there.
///
/// What runs has answered: a run waits for all that it starts or finds starting.
fn addresses(facts: &Facts, plan: &Plan<Step>) -> (Vec<(String, String)>, Vec<String>) {
    let origin = facts.origin();
    let started = plan.steps.iter().flat_map(|step| match step {
        Step::Editors(editors) => editors.iter().map(ToString::to_string).collect(),
        Step::Start(part) => vec![part.to_string()],
        _ => Vec::new(),
    });
    let editors = facts.editors.keys().map(ToString::to_string);
    let parts = facts.running.keys().map(ToString::to_string);
    let up: BTreeSet<String> = started.chain(editors).chain(parts).collect();
    let mut links = vec![("OpenHands (a stand-in)".to_string(), format!("{origin}/"))];
    let (there, missing): (Vec<_>, Vec<_>) =
        facts.links().into_iter().partition(|(name, _)| up.contains(name));
    links.extend(there.into_iter().map(|(name, path)| (name, format!("{origin}{path}"))));
    (links, missing.into_iter().map(|(name, _)| name).collect())
}
