//! The peers: pm2, and code-server without anything around it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use oh_testsuite::bench::timed;
use oh_testsuite::{components, net, wait};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tempfile::TempDir;

/// How long twelve editors may take.
const BOUND: Duration = Duration::from_secs(120);

/// Where the ports begin, below those that the kernel gives to connections.
const PM2_PORT: u16 = 31_700;
const BARE_PORT: u16 = 31_750;

/// The arguments of an editor, as ours are given.
fn arguments(folder: &TempDir, port: u16) -> Vec<String> {
    let at = |name: &str| folder.path().join(format!("{port}-{name}")).display().to_string();
    let mut arguments = vec!["--bind-addr".to_owned(), format!("127.0.0.1:{port}")];
    arguments.extend(["--auth".into(), "none".into(), "--config".into(), at("config.yaml")]);
    arguments.extend(["--user-data-dir".into(), at("data")]);
    arguments.extend(["--extensions-dir".into(), at("extensions")]);
    arguments.extend(["--disable-telemetry".into(), "--disable-update-check".into()]);
    arguments.push(folder.path().display().to_string());
    arguments
}

fn wait_for_all(first: u16, count: u16) -> Result<()> {
    for port in first..first + count {
        let url = format!("http://127.0.0.1:{port}/healthz");
        wait::until_true("an editor", BOUND, || {
            net::get(&url, &[]).is_ok_and(|answer| answer.status == 200)
        })?;
    }
    Ok(())
}

fn wait_until_free(port: u16) -> Result<()> {
    wait::until_true("the port", BOUND, || TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// pm2 with a home of its own; dropping it ends its daemon.
pub(crate) struct Pm2 {
    folder: TempDir,
    count: u16,
}

impl Pm2 {
    pub(crate) fn new(count: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("oh-pm2-").tempdir()?;
        let script = components::code_server()?;
        let apps: Vec<_> = (PM2_PORT..PM2_PORT + count)
            .map(|port| {
                json!({
                    "name": format!("editor-{port}"),
                    "script": script,
                    "args": arguments(&folder, port),
                    "interpreter": "node",
                })
            })
            .collect();
        let text = json!({ "apps": apps }).to_string();
        fs::write(folder.path().join("ecosystem.json"), text)?;
        Ok(Self { folder, count })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let node = components::node()?;
        let path = node.parent().context("node has a folder")?.display().to_string();
        let mut command = Command::new(&node);
        command.arg(components::pm2()?).args(arguments).env_clear();
        command.env("PATH", format!("{path}:/usr/bin:/bin"));
        command.env("HOME", self.folder.path()).env("PM2_HOME", self.folder.path().join("pm2"));
        Ok(command)
    }

    pub(crate) fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let file = self.folder.path().join("ecosystem.json").display().to_string();
        timed(&mut self.command(&["start", &file])?)?;
        wait_for_all(PM2_PORT, self.count)?;
        Ok(begun.elapsed())
    }

    pub(crate) fn list(&self) -> Result<Duration> {
        timed(&mut self.command(&["ls"])?)
    }

    pub(crate) fn stop_one(&self) -> Result<Duration> {
        let begun = Instant::now();
        timed(&mut self.command(&["stop", &format!("editor-{PM2_PORT}")])?)?;
        wait_until_free(PM2_PORT)?;
        Ok(begun.elapsed())
    }

    pub(crate) fn stop_rest(&self) -> Result<()> {
        timed(&mut self.command(&["delete", "all"])?)?;
        (PM2_PORT..PM2_PORT + self.count).try_for_each(wait_until_free)
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        // Its own way to end its daemon and all that it started. Nobody can be told where that fails.
        if let Ok(mut command) = self.command(&["kill"]) {
            drop(command.output());
        }
    }
}

/// code-server alone.
pub(crate) struct Bare {
    folder: TempDir,
    count: u16,
    children: Vec<Child>,
}

impl Bare {
    pub(crate) fn new(count: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("oh-bare-").tempdir()?;
        Ok(Self { folder, count, children: Vec::new() })
    }

    pub(crate) fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        for port in BARE_PORT..BARE_PORT + self.count {
            let mut command = Command::new(components::node()?);
            command.arg(components::code_server()?).args(arguments(&self.folder, port));
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.children.push(command.process_group(0).spawn()?);
        }
        wait_for_all(BARE_PORT, self.count)?;
        Ok(begun.elapsed())
    }

    pub(crate) fn stop_one(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.children.drain(..1).try_for_each(ended)?;
        wait_until_free(BARE_PORT)?;
        Ok(begun.elapsed())
    }

    pub(crate) fn stop_rest(&mut self) -> Result<()> {
        self.children.drain(..).try_for_each(ended)?;
        (BARE_PORT..BARE_PORT + self.count).try_for_each(wait_until_free)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // What a failed round left; one that is gone already is no fault.
        self.children.drain(..).for_each(|child| drop(ended(child)));
    }
}

/// Asks the group of an editor to end, and waits for its leader.
fn ended(mut child: Child) -> Result<()> {
    // A child that was not waited for keeps its number, which is its group's.
    let asked = kill_process_group(Pid::from_child(&child), Signal::TERM);
    child.wait()?;
    Ok(asked?)
}
