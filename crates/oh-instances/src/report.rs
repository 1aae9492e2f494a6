//! What people and programs read of what was done.

use std::error::Error;

use oh_host::instances::Record;
use oh_host::login::Login;
use oh_host::publish::Host;
use oh_host::users::Users;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::upstream::Target;
use oh_term::Answer;
use serde_json::{Value, json};

use crate::look::Found;
use crate::start::Started;
use crate::stop::Stopped;

/// Returns a fault with its causes on one line.
pub(crate) fn chain(fault: &dyn Error) -> String {
    let mut said = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.ends_with(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    said
}

/// Returns the address of an instance; `None` where the site has no name.
pub(crate) fn url(host: &Host, id: &str) -> Option<String> {
    let site = &host.settings.site;
    match site.isolation {
        oh_config::Isolation::Subdomain => {
            let domain = site.sessions_domain()?.to_string();
            let port = site.port();
            let shown = if port.get() == site.scheme().port_default() {
                String::new()
            } else {
                format!(":{port}")
            };
            Some(format!("{}://{}.{domain}{shown}/", site.scheme(), id.to_ascii_lowercase()))
        }
        _ => Some(format!("{}/vscode/{id}/", site.origin()?)),
    }
}

/// The answer of a start or restart.
pub(crate) fn started(host: &Host, started: &Started) -> Answer {
    let Found { record, state, .. } = &started.found;
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let url = url(host, record.id.as_str()).unwrap_or_else(|| format!("/vscode/{}/", record.id));
    let said = if started.ran_before { "runs already" } else { "runs" };
    let editor = state.as_ref().and_then(|state| state.editor.as_ref());
    let pid = editor.map_or_else(String::new, |editor| format!(", pid {}", editor.pid));
    let place = match record.target {
        Target::Port(port) => format!("port {port}"),
        Target::Socket => "its socket".into(),
    };
    let mut human = format!("{} {said}: {url}\n", record.id);
    human.push_str(&format!("  folder   {}\n", record.folder));
    human.push_str(&format!(
        "  editor   {} on {place}{pid}, user {}\n",
        record.server,
        users.shown(record.uid)
    ));
    if !record.apps.is_empty() {
        let ports: Vec<String> = record.apps.iter().map(ToString::to_string).collect();
        human.push_str(&format!("  apps     ports {}\n", ports.join(", ")));
    }
    match (record.asks_for_key(state.as_ref()), record.key_is_nginxs) {
        (false, _) => {
            human
                .push_str("  warning  it asks for no key: every user of this machine can use it\n");
        }
        (true, true) => {}
        (true, false) => human.push_str("  key      it asks visitors for its key\n"),
    }
    if let Some(login) = &started.login {
        human.push_str(&format!(
            "  login    {}  {}   (shown once; anew with: oh-nginx login)\n",
            login.user,
            login.password.reveal()
        ));
    }
    let login = started
        .login
        .as_ref()
        .map(|login| json!({ "user": login.user, "password": login.password.reveal() }));
    let result = json!({
        "instance": instance(host, &started.found),
        "ran_before": started.ran_before,
        "generation": started.generation,
        "login": login,
    });
    Answer::new(human, result).notes(started.notes.clone())
}

/// Shows a login that was made where nothing else came of it.
pub(crate) fn login(login: &Login) -> Hint {
    let (user, password) = (&login.user, login.password.reveal());
    format!(
        "the site has a login by now: {user}  {password}   (shown once; anew with: oh-nginx login)"
    )
    .into()
}

/// An instance for programs.
pub(crate) fn instance(host: &Host, found: &Found) -> Value {
    let Found { record, state, .. } = found;
    let editor = state.as_ref().and_then(|state| state.editor.as_ref());
    json!({
        "id": record.id.as_str(),
        "subject": record.subject.as_str(),
        "server": record.server.as_str(),
        "port": record.target.port().map(oh_model::port::Port::get),
        "apps": record.apps.iter().map(|port| port.get()).collect::<Vec<_>>(),
        "folder": record.folder.as_str(),
        "uid": record.uid,
        "url": url(host, record.id.as_str()),
        "pid": editor.map(|editor| editor.pid.get()),
        "supervisor_pid": state.as_ref().map(|state| state.supervisor.pid.get()),
        "unit": record.unit,
        "is_half_started": found.is_half_started,
    })
}

/// The answer of a stop that is not carried out.
pub(crate) fn would_stop(ids: &[InstanceId], records: &[Option<Record>], purge: bool) -> Answer {
    let mut human = String::new();
    let mut rows = Vec::new();
    for (id, record) in ids.iter().zip(records) {
        human.push_str(&match record {
            None if purge => format!("{id} does not run; what it keeps would be removed\n"),
            None => format!("{id} does not run\n"),
            Some(_) if purge => format!("{id} would be stopped, and what it keeps removed\n"),
            Some(_) => format!("{id} would be stopped\n"),
        });
        rows.push(json!({ "id": id.as_str(), "would_be_stopped": record.is_some() }));
    }
    if ids.is_empty() {
        human.push_str("no instance runs\n");
    }
    Answer::new(human, json!({ "dry_run": true, "purge": purge, "instances": rows }))
}

/// The answer of a stop.
pub(crate) fn stopped(stopped: &[Stopped]) -> Answer {
    let mut human = String::new();
    let mut notes = Vec::new();
    for one in stopped {
        let id = &one.id;
        if !one.left.is_empty() {
            human.push_str(&format!("{id} is not stopped\n"));
            human.extend(one.left.iter().map(|left| format!("  left     {left}\n")));
        } else if one.was_there {
            human.push_str(&format!("{id} stopped\n"));
            human.extend(one.stays.iter().map(|stays| format!("  stays    {stays}\n")));
        } else {
            human.push_str(&format!("{id} does not run\n"));
        }
        notes.extend(one.notes.iter().cloned());
    }
    if stopped.is_empty() {
        human.push_str("no instance runs\n");
    }
    let is_whole = stopped.iter().all(|one| one.left.is_empty() && one.stays.is_empty());
    let result: Vec<Value> = stopped
        .iter()
        .map(|one| {
            json!({
                "id": one.id.as_str(),
                "was_there": one.was_there,
                "processes": one.processes,
                "left": one.left,
                "stays": one.stays,
            })
        })
        .collect();
    let answer = Answer::new(human, json!({ "stopped": result })).notes(notes);
    if is_whole {
        return answer.exit(Exit::Ok);
    }
    let list = Command::ours("oh-instances", &["list"]);
    answer.exit(Exit::No).hint(Hint::run("look", list))
}
