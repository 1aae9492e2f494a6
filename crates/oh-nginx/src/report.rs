//! What people and programs see of facts, plans and deeds: the answer first, then the evidence.

use oh_host::login::Login;
use oh_host::nginx::Workers;
use oh_host::publish::{Facts, Published, Running, Step};
use oh_model::exit::Exit;
use oh_model::plan::{Exclusion, Plan};
use oh_model::port::Port;
use oh_model::routes::{Owner, Routes};
use oh_model::upstream::Target;
use oh_nginx_conf::layout::Site;
use oh_term::Answer;
use serde_json::{Value, json};

/// The answer of `plan`.
pub(crate) fn plan(facts: &Facts, plan: &Plan<Step>, diff: &str) -> Answer {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let mut lines = Lines::default();
    if steps.is_empty() {
        lines.add(format!("nothing to do: {}", counted(&facts.routes)));
    } else {
        lines.text(diff);
        lines.add(format!("{}, in {} steps", counted(&facts.routes), steps.len()));
        steps.iter().enumerate().for_each(|(index, step)| lines.item(index + 1, step));
    }
    lines.exclusions(&plan.exclusions);
    if !steps.is_empty() {
        lines.add("go on with: oh-nginx apply");
    }
    let result = json!({
        "steps": steps,
        "digest": plan.digest().to_string(),
        "diff": diff,
        "exclusions": exclusions(&plan.exclusions),
    });
    Answer::new(lines.0, result)
}

/// The answer of `apply`.
pub(crate) fn published(done: &Published) -> Answer {
    let mut lines = Lines::default();
    let generation = &done.generation;
    let routes = counted(&done.routes);
    let exit = match (done.seen, done.steps.is_empty()) {
        (true, true) => {
            lines.add(format!("nothing to do: {routes} served as generation {generation}"));
            Exit::Ok
        }
        (true, false) => {
            lines.add(format!("{routes} served as generation {generation}, seen"));
            Exit::Ok
        }
        (false, _) => {
            lines.add(format!("{routes} in place as generation {generation}, not served"));
            lines.add("no nginx master of this configuration runs; start it, and they are served");
            Exit::No
        }
    };
    let steps: Vec<String> = done.steps.iter().map(|(step, _)| step.to_string()).collect();
    steps.iter().enumerate().for_each(|(index, step)| lines.item(index + 1, step));
    lines.exclusions(&done.routes.exclusions);
    if let Some(workers) = &done.workers {
        lines.old_workers(workers);
    }
    if let Some(login) = &done.login {
        lines.login(login);
    }
    let result = json!({
        "generation": generation.to_string(),
        "seen": done.seen,
        "steps": steps,
        "routes": routes_json(&done.site, &done.routes),
        "exclusions": exclusions(&done.routes.exclusions),
        "workers": done.workers.as_ref().map(workers_json),
        "login": done.login.as_ref().map(login_json),
    });
    Answer::new(lines.0, result).exit(exit)
}

/// The answer of `status`.
pub(crate) fn status(facts: &Facts, workers: Option<&Workers>, settled: bool) -> Answer {
    let mut lines = Lines::default();
    let (site, wanted) = (&facts.site, facts.live.current(&facts.wanted));
    let answered = facts.running.answered();
    let scheme = if site.tls.is_some() { "https" } else { "http" };
    let running = match (&facts.running, workers) {
        (Running::Master { master, .. }, Some(workers)) => format!(
            "nginx {} master pid {}, {}",
            facts.built.version,
            master.pid(),
            several(workers.current.len(), "worker")
        ),
        _ => format!("nginx {} does not run", facts.built.version),
    };
    let serving = match answered {
        Some(generation) => format!("serves generation {generation}"),
        None => "serves nothing of ours".into(),
    };
    lines.add(format!("{scheme}://{}  {running}, {serving}", site.authority));
    lines.routes(facts);
    lines.exclusions(&facts.routes.exclusions);
    if let Some(workers) = workers {
        lines.old_workers(workers);
    }
    let in_step = settled && wanted.is_some() && wanted.as_ref() == answered && workers.is_some();
    if wanted.is_some() && workers.is_none() {
        let orphans = if answered.is_some() { ", only workers that lost theirs" } else { "" };
        lines.add(format!("no nginx master of this configuration runs{orphans}: start nginx"));
    } else if !in_step {
        lines.add("what is served is not what the sessions say; go on with: oh-nginx plan");
    }
    let result = json!({
        "origin": format!("{scheme}://{}", site.authority),
        "nginx": facts.built.version.to_string(),
        "served": answered.map(ToString::to_string),
        "in_step": in_step,
        "routes": routes_json(&facts.site, &facts.routes),
        "exclusions": exclusions(&facts.routes.exclusions),
        "workers": workers.map(workers_json),
    });
    Answer::new(lines.0, result).exit(if in_step { Exit::Ok } else { Exit::No })
}

/// The answer of `login`.
pub(crate) fn login(login: &Login, file: &str) -> Answer {
    let mut lines = Lines::default();
    lines.login(login);
    Answer::new(lines.0, json!({ "login": login_json(login), "file": file }))
}

/// Lines of text, as they grow.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: impl AsRef<str>) {
        self.text(line.as_ref());
        self.0.push('\n');
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn item(&mut self, number: usize, text: &str) {
        self.add(format!("  {number:>2}  {text}"));
    }

    fn exclusions(&mut self, exclusions: &[Exclusion]) {
        if exclusions.is_empty() {
            return;
        }
        self.add(format!("not routed: {}", exclusions.len()));
        exclusions.iter().for_each(|exclusion| self.add(format!("  {exclusion}")));
    }

    fn routes(&mut self, facts: &Facts) {
        let site = &facts.site;
        let editors = facts.routes.editors.iter().map(|editor| {
            let owner = owner(editor.owner);
            (site.editor_address(&editor.id), target(editor.target), owner)
        });
        let apps = facts.routes.apps.iter().map(|app| {
            (site.app_address(&app.name()), target(Target::Port(app.port)), "application")
        });
        let rows: Vec<_> = editors.chain(apps).collect();
        let width = rows.iter().map(|(path, _, _)| path.len()).max().unwrap_or(0);
        for (path, target, owner) in rows {
            self.add(format!("  {path:<width$}  {target:<15}  {owner}"));
        }
    }

    fn old_workers(&mut self, workers: &Workers) {
        if !workers.old.is_empty() {
            let old = several(workers.old.len(), "old worker");
            self.add(format!("{old} left with the last connections of earlier generations"));
        }
    }

    fn login(&mut self, login: &Login) {
        let line = format!("login: user {}, password {}", login.user, login.password.reveal());
        self.add(line);
        self.add("the password is shown this once; a new one:  oh-nginx login");
    }
}

fn target(target: Target) -> String {
    match target {
        Target::Port(port) => format!("127.0.0.1:{port}"),
        Target::Socket => "its socket".into(),
    }
}

const fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Repository => "repository",
        Owner::Session => "session",
    }
}

fn counted(routes: &Routes) -> String {
    let editors = several(routes.editors.len(), "editor");
    format!("{editors}, {}", several(routes.apps.len(), "application"))
}

fn several(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn exclusions(exclusions: &[Exclusion]) -> Value {
    let shown = |e: &Exclusion| json!({ "subject": e.subject, "reason": e.reason });
    exclusions.iter().map(shown).collect()
}

fn routes_json(site: &Site, routes: &Routes) -> Value {
    let editors = routes.editors.iter().map(|editor| {
        json!({
            "path": site.editor_address(&editor.id),
            "port": editor.target.port().map(Port::get),
            "upstream": editor.upstream.as_str(),
            "owner": owner(editor.owner),
        })
    });
    let apps = routes.apps.iter().map(|app| {
        json!({
            "path": site.app_address(&app.name()),
            "port": app.port.get(),
            "upstream": app.upstream.as_str(),
            "owner": "application",
        })
    });
    editors.chain(apps).collect()
}

fn workers_json(workers: &Workers) -> Value {
    let pids =
        |pids: &[oh_host::process::Pid]| pids.iter().map(|pid| pid.get()).collect::<Vec<_>>();
    json!({ "current": pids(&workers.current), "old": pids(&workers.old) })
}

fn login_json(login: &Login) -> Value {
    json!({ "user": login.user, "password": login.password.reveal() })
}
