//! One instance as people and programs read it.

use jiff::Timestamp;
use oh_config::Limits as Configured;
use oh_host::publish::Host;
use oh_host::users::Users;
use oh_model::hint::{Command, Hint};
use oh_model::instance::Subject;
use oh_model::upstream::Target;
use oh_term::duration;
use oh_term::text::{bytes, escaped, percent, permille, several};
use serde_json::{Value, json};

use crate::view::{self, One, Use, View};

use super::{Details, Listener};

/// How many of its last endings are shown to people.
const ENDINGS_SHOWN: usize = 5;
/// How many processes are shown to people.
const PROCESSES_SHOWN: usize = 60;

/// Everything for people: how it is, what it is, what runs, what it said.
pub(super) fn human(host: &Host, view: &View, one: &One, details: &Details) -> String {
    let record = &one.found.record;
    let id = record.id.as_str();
    let url = crate::report::url(host, id).unwrap_or_else(|| format!("/vscode/{id}/"));
    let mut lines = vec![format!("{id} {}: {url}", state_shown(one))];
    lines.extend(one.standing.why.iter().map(|why| format!("  why         {}", escaped(why))));
    lines.push(String::new());
    let facts = facts(host, view, one, details);
    lines.extend(facts.into_iter().map(|(label, fact)| format!("  {label:<11} {fact}")));
    lines.extend(processes(view, one));
    for (label, said) in [
        ("the end of its editor's log", &details.editor_said),
        ("the end of its supervisor's log", &details.supervisor_said),
    ] {
        if !said.is_empty() {
            lines.extend([String::new(), format!("  {label}")]);
            lines.extend(said.iter().map(|line| format!("    {line}")));
        }
    }
    let mut text = lines.join("\n");
    text.push_str("\n\n");
    text
}

fn state_shown(one: &One) -> String {
    match one.standing.word {
        "running" => "runs".into(),
        "unsupervised" => "runs, and nobody watches it (unsupervised)".into(),
        _ => format!("is not running ({})", one.standing.shown),
    }
}

fn facts(host: &Host, view: &View, one: &One, details: &Details) -> Vec<(&'static str, String)> {
    let record = &one.found.record;
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let mut facts = vec![("folder", record.folder.to_string())];
    let place = match record.target {
        Target::Port(port) => format!("port {port}"),
        Target::Socket => "its socket".into(),
    };
    let user = users.shown(record.uid);
    facts.push(("editor", format!("{} on {place}, user {user}{}", record.server, run(one))));
    if !record.apps.is_empty() {
        let ports: Vec<String> = record.apps.iter().map(ToString::to_string).collect();
        facts.push(("apps", format!("ports {}", ports.join(", "))));
    }
    facts.push(("listener", listener(&details.listener)));
    facts.push(("in use", use_shown(&one.in_use)));
    if let Some(uptime_ms) = one.uptime_ms() {
        let used = permille(one.usage.cpu_ticks(), view.ticks_per_second, uptime_ms);
        let own = one.usage.proportional_bytes();
        let own =
            own.map_or_else(|| "PSS not permitted".into(), |pss| format!("PSS {}", bytes(pss)));
        let resident = bytes(one.usage.resident_bytes());
        facts.push((
            "uses",
            format!("{} of a processor since its start, RSS {resident}, {own}", percent(used)),
        ));
    }
    facts.push(("supervisor", supervisor(one, details)));
    facts.push(("limits", limits(one, details, &host.settings.instances.limits)));
    facts.push(match (record.asks_for_key(one.found.state.as_ref()), record.key_is_nginxs) {
        (false, _) => {
            ("warning", "it asks for no key: every user of this machine can use it".into())
        }
        (true, true) => ("key", "nginx presents it".into()),
        (true, false) => ("key", "visitors enter it; --reveal-key shows it".into()),
    });
    for told in &details.told {
        let said = told.wrong.as_ref().map_or_else(|| "as written".into(), |why| escaped(why));
        facts.push(("told", format!("{}: {said}", told.path)));
    }
    if let Some(places) = &one.places {
        facts.push(("keeps", places.home.to_string()));
        facts.push(("log", places.log.to_string()));
        facts.extend(places.socket.as_ref().map(|(socket, _)| ("socket", socket.to_string())));
    }
    let endings = one.found.state.as_ref().map(|state| &*state.endings).unwrap_or_default();
    for ending in endings.iter().rev().take(ENDINGS_SHOWN) {
        let ago = duration::shown(view.now_ms.saturating_sub(ending.at_ms));
        facts.push(("ended", format!("{ago} ago: {}", escaped(&ending.how))));
    }
    if endings.len() > ENDINGS_SHOWN {
        facts
            .push(("", format!("and {} before", several(endings.len() - ENDINGS_SHOWN, "ending"))));
    }
    facts.extend(view.unseen.iter().map(|line| ("not seen", line.clone())));
    facts
}

fn run(one: &One) -> String {
    let starts = one.found.state.as_ref().map_or(0, |state| state.starts);
    let up = one.uptime_ms().map(|ms| format!(", up {}", duration::shown(ms)));
    let up = up.unwrap_or_default();
    match starts {
        0 | 1 => up,
        _ => format!("{up}, started {starts} times by this supervisor"),
    }
}

fn listener(listener: &Listener) -> String {
    match listener {
        Listener::Own => "its own".into(),
        Listener::Nobody => "none".into(),
        Listener::Other(who) => format!("not its own: {who}"),
        Listener::Unknown(why) => format!("cannot be told: {}", escaped(why)),
    }
}

fn use_shown(in_use: &Use) -> String {
    match in_use {
        Use::Active(because) => format!("yes: {}", view::because(*because)),
        Use::Idle(ms, because) => {
            format!(
                "not for {}; the last use was {}",
                duration::shown(*ms),
                view::because(*because)
            )
        }
        Use::Unknown(why) => format!("cannot be told: {}", escaped(why)),
    }
}

fn supervisor(one: &One, details: &Details) -> String {
    let unit = one.found.record.unit.as_ref();
    let unit = unit.map(|unit| format!(", unit {unit}")).unwrap_or_default();
    let Some(state) = &one.found.state else { return format!("none has said anything{unit}") };
    let pid = state.supervisor.pid;
    match details.supervisor_lives {
        Some(true) => format!("pid {pid}{unit}"),
        Some(false) => format!("ended (it was pid {pid}){unit}"),
        None => format!("pid {pid}{unit}; whether it lives cannot be told"),
    }
}

fn limits(one: &One, details: &Details, configured: &Configured) -> String {
    let is_configured = configured.memory_mib.is_some()
        || configured.cpu_percent.is_some()
        || configured.tasks.is_some();
    if one.found.record.unit.is_none() {
        return if is_configured {
            "none in force: those that are configured need systemd".into()
        } else {
            "none".into()
        };
    }
    let Some(limits) = &details.limits else { return "cannot be told".into() };
    let shown: Vec<String> = [
        limits.memory_bytes.map(|count| format!("memory {}", bytes(count))),
        limits.cpu_percent.map(|count| format!("{count}% of a processor")),
        limits.tasks.map(|count| format!("{count} processes and threads")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

fn processes(view: &View, one: &One) -> Vec<String> {
    let members = &one.usage.processes;
    if members.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), format!("  {}", several(members.len(), "process"))];
    for member in members.iter().take(PROCESSES_SHOWN) {
        let name = format!("{}{}", "  ".repeat(member.depth), escaped(&member.name));
        let seconds = member.cpu_ticks / view.ticks_per_second.max(1);
        let memory = bytes(member.resident_bytes);
        let (pid, role) = (member.pid.to_string(), member.role.as_str());
        lines.push(format!("    {pid:>7}  {role:<14}  {seconds:>6}s CPU  {memory:>6} RSS  {name}"));
    }
    if members.len() > PROCESSES_SHOWN {
        lines.push(format!("    and {} more", members.len() - PROCESSES_SHOWN));
    }
    lines
}

/// What is known beyond the list, for programs.
pub(super) fn json(one: &One, details: &Details) -> Value {
    let record = &one.found.record;
    let endings = one.found.state.as_ref().map(|state| &*state.endings).unwrap_or_default();
    let endings = endings.iter().map(|ending| {
        let at =
            i64::try_from(ending.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        json!({ "at_ms": ending.at_ms, "at": at.map(|at| at.to_string()), "how": ending.how })
    });
    let listener = match &details.listener {
        Listener::Own => json!({ "is": "own" }),
        Listener::Nobody => json!({ "is": "none" }),
        Listener::Other(who) => json!({ "is": "other", "who": who }),
        Listener::Unknown(why) => json!({ "is": "unknown", "why": why }),
    };
    let told = details.told.iter();
    let key = match (record.asks_for_key(one.found.state.as_ref()), record.key_is_nginxs) {
        (false, _) => "none",
        (true, true) => "nginx",
        (true, false) => "visitors",
    };
    json!({
        "endings": endings.collect::<Vec<_>>(),
        "starts": one.found.state.as_ref().map(|state| state.starts),
        "supervisor_lives": details.supervisor_lives,
        "listener": listener,
        "told": told.map(|told| json!({ "path": told.path, "wrong": told.wrong })).collect::<Vec<_>>(),
        "limits": details.limits,
        "key_of": key,
        "data": one.places.as_ref().map(|places| places.home.as_str()),
        "log": one.places.as_ref().map(|places| places.log.as_str()),
        "editor_said": details.editor_said,
        "supervisor_said": details.supervisor_said,
    })
}

/// The one next step, where one is due.
pub(super) fn next(one: &One, details: &Details) -> Option<Hint> {
    let record = &one.found.record;
    let id = record.id.as_str();
    let run =
        |lead, arguments: &[&str]| Some(Hint::run(lead, Command::ours("oh-instances", arguments)));
    let start = |lead| {
        let arguments: &[&str] = match record.subject {
            Subject::Session => &["start", "--session", id],
            Subject::Repository if record.folder.name() == id => {
                &["start", "--repo", record.folder.as_str()]
            }
            Subject::Repository => &["start", "--repo", record.folder.as_str(), "--name", id],
        };
        run(lead, arguments)
    };
    match one.standing.word {
        "stop not finished" => run("finish it", &["stop", id]),
        "start not finished" => start("finish it"),
        "unsupervised" => start("watch it again"),
        "gone" => start("start it again"),
        "failed" => run("mend what its log says, then", &["restart", id]),
        "ended" => run("start it again", &["restart", id]),
        "starting" | "restarting" => run("look on", &["logs", id, "--follow"]),
        _ if matches!(details.listener, Listener::Nobody | Listener::Other(_)) => {
            run("start its editor anew", &["restart", id])
        }
        _ if details.told.iter().any(|told| told.wrong.is_some()) => start("tell it again"),
        _ => None,
    }
}
