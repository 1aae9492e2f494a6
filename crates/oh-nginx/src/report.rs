//! What people and programs see of facts, plans and deeds: the answer first, then the evidence.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oh_host::heartbeat::Heartbeat;
use oh_host::login::Login;
use oh_host::nginx::Workers;
use oh_host::publish::{Facts, Published, Running, Step};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::plan::{Exclusion, Plan};
use oh_model::routes::Routes;
use oh_term::Answer;
use serde_json::{Value, json};

use crate::routes::{Row, rows, rows_json, wanted_json};

/// The answer of `plan`.
pub(crate) fn plan(facts: &Facts, plan: &Plan<Step>, diff: &str) -> Answer {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let mut lines = Lines::default();
    let runs = matches!(facts.running, Running::Master { .. });
    let routes = counted(&facts.routes);
    let waits = steps.is_empty() && !runs;
    if waits {
        lines.add(format!("nothing would be changed: {routes} in place, not served"));
        lines.add("no nginx master of this configuration runs; start it, and they are served");
    } else if steps.is_empty() {
        lines.add(format!("nothing to do: {routes}"));
    } else {
        lines.text(diff);
        lines.add(format!("{routes}, in {} steps", steps.len()));
        steps.iter().enumerate().for_each(|(index, step)| lines.item(index + 1, step));
    }
    lines.exclusions(&plan.exclusions);
    let hint = if waits {
        Some(facts.start_nginx())
    } else {
        (!steps.is_empty()).then(|| go_on_with("apply"))
    };
    let result = json!({
        "steps": steps,
        "digest": plan.digest().to_string(),
        "diff": diff,
        "running": runs,
        "exclusions": exclusions(&plan.exclusions),
    });
    let exit = if waits { Exit::No } else { Exit::Ok };
    hint.into_iter().fold(Answer::new(lines.0, result).exit(exit), Answer::hint)
}

fn go_on_with(command: &str) -> Hint {
    Hint::run("go on with", Command::ours("oh-nginx", &[command]))
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
    let hint = done.login.as_ref().map(|_| new_login());
    let result = json!({
        "generation": generation.to_string(),
        "seen": done.seen,
        "steps": steps,
        "routes": wanted_json(&done.site, &done.routes),
        "exclusions": exclusions(&done.routes.exclusions),
        "workers": done.workers.as_ref().map(workers_json),
        "login": done.login.as_ref().map(login_json),
    });
    hint.into_iter().fold(Answer::new(lines.0, result).exit(exit), Answer::hint)
}

/// A watch, as its heartbeat shows it.
pub(crate) struct Seen {
    heartbeat: Heartbeat,
    lives: bool,
    looked_s_ago: u64,
}

impl Seen {
    /// Asks the kernel whether the watch lives.
    pub(crate) fn at(heartbeat: Heartbeat, now: SystemTime) -> Self {
        let looked = UNIX_EPOCH + Duration::from_millis(heartbeat.last_scan_ms);
        // A clock that was set back makes it now.
        let looked_s_ago = now.duration_since(looked).unwrap_or_default().as_secs();
        Self { lives: heartbeat.lives(), looked_s_ago, heartbeat }
    }

    fn line(&self) -> String {
        let (pid, ago) = (self.heartbeat.process.pid, self.looked_s_ago);
        match (&self.heartbeat.failing, self.lives) {
            (_, false) => format!(
                "the watch (process {pid}) has ended; it last looked {ago} s ago; start it again"
            ),
            (Some(failing), true) => format!(
                "a watch (process {pid}) looked {ago} s ago and cannot publish: {}",
                failing.reason
            ),
            (None, true) => format!("a watch (process {pid}) looked {ago} s ago"),
        }
    }
}

/// The answer of `status`.
pub(crate) fn status(
    facts: &Facts,
    workers: Option<&Workers>,
    settled: bool,
    watch: Option<&Seen>,
) -> Answer {
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
    let rows = rows(facts);
    lines.routes(&rows);
    lines.exclusions(&facts.routes.exclusions);
    if let Some(workers) = workers {
        lines.old_workers(workers);
    }
    if let Some(watch) = watch {
        lines.add(watch.line());
    }
    let in_step = settled && wanted.is_some() && wanted.as_ref() == answered && workers.is_some();
    let mut hint = None;
    if wanted.is_some() && workers.is_none() {
        let orphans = if answered.is_some() { ", only workers that lost theirs" } else { "" };
        lines.add(format!("no nginx master of this configuration runs{orphans}"));
        hint = Some(facts.start_nginx());
    } else if !in_step {
        lines.add("what is served is not what the sessions say");
        hint = Some(go_on_with("plan"));
    }
    let result = json!({
        "origin": format!("{scheme}://{}", site.authority),
        "nginx": facts.built.version.to_string(),
        "served": answered.map(ToString::to_string),
        "in_step": in_step,
        "routes": rows_json(&rows),
        "exclusions": exclusions(&facts.routes.exclusions),
        "workers": workers.map(workers_json),
        "watch": watch.map(watch_json),
    });
    let answer = Answer::new(lines.0, result).exit(if in_step { Exit::Ok } else { Exit::No });
    hint.into_iter().fold(answer, Answer::hint)
}

/// The answer of `login`.
pub(crate) fn login(login: &Login, file: &str) -> Answer {
    let mut lines = Lines::default();
    lines.login(login);
    Answer::new(lines.0, json!({ "login": login_json(login), "file": file })).hint(new_login())
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

    fn routes(&mut self, rows: &[Row]) {
        let width = rows.iter().map(|row| row.path.len()).max().unwrap_or(0);
        for row in rows {
            let (path, target, state) = (&row.path, row.target(), row.state.as_str());
            let owner = row.owner.unwrap_or_default();
            self.add(format!("  {path:<width$}  {target:<15}  {state}  {owner}").trim_end());
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
    }
}

fn new_login() -> Hint {
    Hint::run("the password is shown this once; a new one", Command::ours("oh-nginx", &["login"]))
}

pub(crate) fn counted(routes: &Routes) -> String {
    let editors = several(routes.editors.len(), "editor");
    format!("{editors}, {}", several(routes.apps.len(), "application"))
}

pub(crate) fn several(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

pub(crate) fn exclusions(exclusions: &[Exclusion]) -> Value {
    let shown = |e: &Exclusion| json!({ "subject": e.subject, "reason": e.reason });
    exclusions.iter().map(shown).collect()
}

fn workers_json(workers: &Workers) -> Value {
    let pids =
        |pids: &[oh_host::process::Pid]| pids.iter().map(|pid| pid.get()).collect::<Vec<_>>();
    json!({ "current": pids(&workers.current), "old": pids(&workers.old) })
}

fn watch_json(watch: &Seen) -> Value {
    let heartbeat = &watch.heartbeat;
    json!({
        "lives": watch.lives,
        "pid": heartbeat.process.pid.get(),
        "last_scan_ms": heartbeat.last_scan_ms,
        "interval_ms": heartbeat.interval_ms,
        "generation": heartbeat.generation,
        "served": heartbeat.served,
        "nginx_runs": heartbeat.nginx_runs,
        "failing": heartbeat.failing.as_ref().map(|failing| &failing.reason),
    })
}

fn login_json(login: &Login) -> Value {
    json!({ "user": login.user, "password": login.password.reveal() })
}
