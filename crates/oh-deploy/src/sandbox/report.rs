//! What people see of a sandbox that is up: where to go, how to get in, how to stop.

use oh_model::exit::Exit;
use oh_model::hint::Command;
use oh_model::plan::Plan;
use oh_term::Answer;
use serde_json::json;

use super::apply::Done;
use super::commands;
use super::facts::Facts;
use super::parts::{Part, editor_user};
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
    add(&format!("  a new password:  {}", line(commands::oh_nginx(dir, &["login"]))));
    add(&format!("  the routes:      {}", line(commands::oh_nginx(dir, &["status"]))));
    add(&format!("  stop:            {}", line(commands::take_down(dir))));
    let mut notes =
        vec![match editor_user(&facts.home) {
        Some(_) => "note: the editors run as nobody; whoever is on this machine reaches them \
                    without a login",
        None => "note: whoever is on this machine reaches the editors without a login, and has a \
                 terminal of yours there",
    }
    .to_string()];
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
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
        "ports": facts.ports,
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

/// Returns the addresses that answer, and the parts that are not there.
///
/// What runs has answered: a run waits for all that it starts or finds starting.
fn addresses(facts: &Facts, plan: &Plan<Step>) -> (Vec<(String, String)>, Vec<Part>) {
    let origin = facts.origin();
    let is_up =
        |part: &Part| facts.running.contains_key(part) || plan.steps.contains(&Step::Start(*part));
    let mut links = vec![("OpenHands (a stand-in)".to_string(), format!("{origin}/"))];
    let up = facts.links().into_iter().filter(|(part, _)| is_up(part));
    links.extend(up.map(|(part, path)| (part.to_string(), format!("{origin}{path}"))));
    (links, Part::ALL.into_iter().filter(|part| !is_up(part)).collect())
}
