//! What people see of a sandbox that is up: where to go, how to get in, how to stop.

use oh_model::exit::Exit;
use oh_model::plan::Plan;
use oh_term::Answer;
use serde_json::json;

use super::apply::Done;
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
    let rows = [("OpenHands (a stand-in)", "/".to_string())];
    let links = facts.links();
    let rows = rows.iter().chain(&links);
    let width = rows.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.for_each(|(name, path)| add(&format!("  {name:<width$}  {origin}{path}")));
    add("");
    match login {
        Some(login) => {
            add(&format!("  user {}   password {}", login.user, login.password.reveal()));
            add("  the password is shown this once");
        }
        None => add("  user openhands   password as it was shown when it was made"),
    }
    let command = "cargo run --quiet --package oh-nginx --";
    let dir = &facts.home.path;
    add(&format!("  a new password:  {command} --root {dir} login"));
    add(&format!("  the routes:      {command} --root {dir} status"));
    add(&format!("  stop:            cargo xtask deploy --sandbox --down --dir {dir}"));
    let mut notes =
        vec![match editor_user(&facts.home) {
        Some(_) => "note: the editors run as nobody; whoever is on this machine reaches them \
                    without a login",
        None => "note: whoever is on this machine reaches the editors without a login, and has a \
                 terminal of yours there",
    }
    .to_string()];
    let editors = facts.editor.is_some();
    if !editors {
        notes.push("missing: the editors (code-server is not installed); all else is up".into());
        notes.push("hint: cargo xtask setup --for sandbox".into());
    }
    let result = json!({
        "dir": dir.as_str(),
        "origin": origin,
        "session": facts.record.session,
        "repository": super::files::REPOSITORY,
        "ports": facts.ports,
        "editors": editors,
        "steps": steps,
        "login": login.map(|login| json!({
            "user": login.user,
            "password": login.password.reveal(),
        })),
    });
    let exit = if editors { Exit::Ok } else { Exit::No };
    Answer::new(text, result).exit(exit).notes(notes)
}
