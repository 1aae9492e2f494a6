//! What `oh_host::usage` sees of a real editor: its roles, who is connected, and what goes on in a
//! terminal that was opened in a browser and outlives it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::members::Target;
use oh_host::process::{Identity, Pid, ProcessDir, Signal};
use oh_host::spawn::TOKEN_KEY;
use oh_host::usage::{self, Closely, Count, Door, Leader, Look, Now, Role, Subject, Usage};
use oh_host::{random, stop};
use oh_model::idleness::{Because, Heartbeat, Observation, Verdict, judge};
use oh_model::port::Port;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, net, wait};
use serde_json::Value;
use tempfile::TempDir;

/// A cold start of the editor and its first page, on two busy cores.
const BOUND: Duration = Duration::from_secs(90);
/// How long nobody looks in between, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// An editor that goes with its terminals, whatever becomes of the test.
struct Editor {
    running: Running,
    url: String,
    subject: Subject,
    folder: TempDir,
}

impl Editor {
    fn start() -> Result<Editor> {
        let folder = tempfile::tempdir()?;
        let user = folder.path().join("data/User");
        fs::create_dir_all(&user)?;
        fs::write(user.join("settings.json"), editor::SETTINGS)?;
        let token = random::token()?;
        let mut command = Command::new(components::node()?);
        command
            .arg(components::code_server()?)
            .args(["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry"])
            .args(["--disable-workspace-trust", "--disable-update-check"])
            .arg("--user-data-dir")
            .arg(folder.path().join("data"))
            .arg(folder.path())
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .env("SHELL", "/bin/bash")
            .env(TOKEN_KEY, &token)
            .env_remove("XDG_CONFIG_HOME");
        let mut running = Running::start(&mut command)?;
        let identity = Identity::of(Pid::new(running.id()).context("no pid")?)?;
        let line = running.wait_for_line("HTTP server listening on ", BOUND)?;
        let url = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('/').to_owned();
        let port = url.rsplit(':').next().and_then(|port| Port::new(port.parse().ok()?));
        let door = Some(Door::Port(port.context("the editor names no port")?));
        let subject =
            Subject { target: Target { identity: Some(identity), token: Some(token) }, door };
        Ok(Editor { running, url, subject, folder })
    }

    fn look(&self, closely: Closely) -> Result<(Look, Usage)> {
        let look = usage::look(std::slice::from_ref(&self.subject), closely)?;
        let usage = look.instances.first().context("nothing was seen")?.clone();
        Ok((look, usage))
    }

    /// Looks until it is as wanted.
    fn until(&self, what: &str, holds: impl Fn(&Usage) -> bool) -> Result<(Look, Usage)> {
        let mut last = None;
        let found = wait::until(what, BOUND, || {
            let seen = self.look(Closely::default())?;
            let right = holds(&seen.1);
            last = Some(format!("{:#?}", seen.1));
            Ok(right.then_some(seen))
        });
        found.with_context(|| last.unwrap_or_default())
    }

    fn heartbeat(&self) -> Result<Heartbeat> {
        let answer = net::send(&net::Request::get(&format!("{}/healthz", self.url)))?;
        let told: Value = serde_json::from_slice(&answer.body)?;
        let last_ms = told["lastHeartbeat"].as_u64().context("no heartbeat")?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Heartbeat { last_ms, asked_ms: u64::try_from(now.as_millis())? })
    }

    /// Judges what was seen as if it had been so for an hour.
    fn verdict_an_hour_later(&self, (look, usage): &(Look, Usage)) -> Result<Verdict> {
        let heartbeat = self.heartbeat()?;
        let first = look.observation(usage, Some(heartbeat));
        let heartbeat = Some(Heartbeat { asked_ms: heartbeat.asked_ms + HOUR_MS, ..heartbeat });
        let later = Observation { at_ms: first.at_ms + HOUR_MS, heartbeat, ..first };
        judge(&[first, later], later.at_ms).context("nothing to judge")
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // A failing test is already failing; there is nobody to tell.
        let target = std::slice::from_ref(&self.subject.target);
        drop(stop::stop(target, Duration::from_secs(5)));
        drop(self.running.stop());
    }
}

fn has(usage: &Usage, role: Role) -> bool {
    usage.processes.iter().any(|member| member.role == role)
}

fn is(usage: &Usage, now: Now) -> bool {
    matches!(&*usage.terminals, [terminal] if terminal.now == now)
}

#[test]
fn an_editor_in_use_is_told_from_an_abandoned_one() -> Result<()> {
    let editor = Editor::start()?;

    // Nobody has looked at it yet.
    let seen = editor.look(Closely { tokens: true, proportional: true })?;
    let roles: Vec<Role> = seen.1.processes.iter().map(|member| member.role).collect();
    ensure!(roles == [Role::Wrapper, Role::Server], "{:#?}", seen.1);
    ensure!(matches!(seen.1.leader, Leader::Alive { .. }), "{:?}", seen.1.leader);
    ensure!(seen.1.connections == Count::Known(0), "{:?}", seen.1.connections);
    let proportional = seen.1.proportional_bytes().context("no PSS")?;
    ensure!(proportional > 20_000_000 && proportional <= seen.1.resident_bytes());
    let verdict = editor.verdict_an_hour_later(&seen)?;
    ensure!(matches!(verdict, Verdict::Idle { because: Because::FirstSeen, .. }), "{verdict:?}");

    // A browser with a terminal, whose shell waits and then works.
    let browser = Browser::start()?;
    browser.open(&format!("{}/?folder={}", editor.url, editor.folder.path().display()))?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
    let seen = editor.until("a connection", |usage| {
        !matches!(usage.connections, Count::Known(0)) && has(usage, Role::ExtensionHost)
    })?;
    let verdict = editor.verdict_an_hour_later(&seen)?;
    let connected =
        |verdict| matches!(verdict, Verdict::Active { because: Because::Connections { .. } });
    ensure!(connected(verdict), "{verdict:?}");
    editor::run_command(&browser, "Terminal: Create New Terminal", BOUND)?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    let (_, usage) = editor.until("a shell that waits", |usage| is(usage, Now::Waiting))?;
    ensure!(has(&usage, Role::PtyHost) && has(&usage, Role::Shell), "{usage:#?}");
    browser.type_text("sleep 3000")?;
    browser.press(&[Key::Enter])?;
    let job = |usage: &Usage| is(usage, Now::Busy) && !usage.terminals[0].jobs.is_empty();
    editor.until("a job in the terminal", job)?;

    // The browser goes. What it had opened stays, and so does the job: it is spared.
    drop(browser);
    let seen = editor.until("the end of the connections", |usage| {
        usage.connections == Count::Known(0) && job(usage)
    })?;
    ensure!(has(&seen.1, Role::ExtensionHost) && has(&seen.1, Role::PtyHost), "{:#?}", seen.1);
    let verdict = editor.verdict_an_hour_later(&seen)?;
    let because = Because::Terminals { count: 1 };
    ensure!(verdict == Verdict::Active { because }, "{verdict:?}");

    // The job goes too. The editor is abandoned now, although all of it lives on.
    let pid = *seen.1.terminals[0].jobs.first().context("no job")?;
    ProcessDir::open(pid)?.signal(Signal::KILL)?;
    let seen = editor.until("a shell that waits again", |usage| is(usage, Now::Waiting))?;
    ensure!(has(&seen.1, Role::ExtensionHost) && has(&seen.1, Role::Shell), "{:#?}", seen.1);
    let verdict = editor.verdict_an_hour_later(&seen)?;
    ensure!(matches!(verdict, Verdict::Idle { .. }), "{verdict:?}");
    Ok(())
}
