//! Whoever a start depends on is killed at one of its steps: the supervisor, the editor's first
//! process, the server that it starts, or their group. The start succeeds or takes all back.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::{Instances, end, end_group};
use oh_testsuite::process::Running;
use oh_testsuite::trace::{self, Call, signal};
use oh_testsuite::truth::{self, nothing_is_left, runs_whole};
use oh_testsuite::{components, wait};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// How long a step may take to come, and a start to end, on two busy cores.
const BOUND: Duration = Duration::from_secs(120);

/// What the editor's program waits for, where it is there.
const GATE: &str = "gate";

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The supervisor has started the editor's first process.
    Spawned,
    /// That one has started the server.
    Born,
    /// The server listens, and the supervisor has not seen it.
    Listening,
    /// The supervisor has said that it answers, and the start has not read it.
    Ready,
    /// It stands in both databases.
    Announced,
    /// Its route is in the file that nginx is to read.
    Published,
    /// It has answered through nginx.
    Reached,
    /// Its record says that the start is whole.
    Committed,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Supervisor,
    /// The editor's first process.
    Parent,
    /// The server that it started.
    Child,
    /// Both, by their process group.
    Group,
}

impl Step {
    pub(crate) const ALL: [Self; 8] = [
        Self::Spawned,
        Self::Born,
        Self::Listening,
        Self::Ready,
        Self::Announced,
        Self::Published,
        Self::Reached,
        Self::Committed,
    ];
}

impl Victim {
    pub(crate) const ALL: [Self; 4] = [Self::Supervisor, Self::Parent, Self::Child, Self::Group];

    /// Says whether there is somebody to kill.
    pub(crate) fn is_there(self, step: Step) -> bool {
        self != Self::Child || step > Step::Spawned
    }

    /// The exit code of a start that lost it: an editor that has answered is started again, and one
    /// that has not is given up. A supervisor whose editor lives is replaced.
    fn exit_code(self, step: Step) -> i32 {
        if self == Self::Supervisor || step >= Step::Ready { 0 } else { 6 }
    }
}

/// A root with one repository.
pub(crate) struct Scene {
    instances: Instances,
    folder: String,
    calls: Vec<(Call, String)>,
}

impl Scene {
    pub(crate) fn set() -> Result<Self> {
        let instances = Instances::new("stop_grace_s = 5\n")?;
        let folder = instances.repository("hello")?;
        let program = instances.lab.at("code-server");
        let text = fs::read_to_string(&program)?;
        let gate = instances.lab.at(GATE).display().to_string();
        let gate = format!("#!/bin/sh\n[ -p {gate} ] && read -r line <{gate}\n");
        fs::write(&program, text.replacen("#!/bin/sh\n", &gate, 1))?;
        // The first set makes the login and the folders of nginx.
        instances.ask(&["start", "--repo", &folder])?;
        instances.run(&["stop", "hello"])?.expect(0)?;
        let mut scene = Self { instances, folder, calls: Vec::new() };
        let log = NamedTempFile::new()?;
        let mut strace = Command::new(components::program("strace")?);
        let start = scene.start()?;
        strace.env_clear().current_dir("/").arg("-o").arg(log.path());
        strace.args(["-e", "trace=renameat,renameat2,fsync", "--"]);
        let said = strace.arg(start.get_program()).args(start.get_args()).output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        scene.calls = trace::calls(&log)?;
        scene.stop()?;
        Ok(scene)
    }

    /// Kills somebody at a step of a start, and demands that all is well with it and the next one.
    pub(crate) fn survives(&self, step: Step, victim: Victim) -> Result<()> {
        let survived = self.strike(step, victim);
        if survived.is_err() {
            // The next blow meets what this one should have left.
            drop(self.instances.run(&["stop", "hello"]));
        }
        survived.with_context(|| format!("{victim:?} at {step:?}"))
    }

    fn strike(&self, step: Step, victim: Victim) -> Result<()> {
        let (mut start, held) = self.come_to(step)?;
        let editor = self.pid("editor")?;
        self.kill(victim)?;
        if step == Step::Spawned && victim == Victim::Supervisor {
            self.open_the_gate()?;
        }
        held.into_iter().try_for_each(|pid| go_on(pid, victim))?;
        let status = start.wait(BOUND)?;
        let said = start.log();
        ensure!(status.code() == Some(victim.exit_code(step)), "{status}: {said}");
        let gate = self.instances.lab.at(GATE);
        if gate.exists() {
            fs::remove_file(gate)?;
        }
        let is_up = status.success();
        if is_up {
            if victim != Victim::Supervisor {
                // Its first process outlives its server for a moment, and so the start may.
                wait::until("another editor", BOUND, || {
                    let state = self.instances.json(&truth::state("hello"))?;
                    let is_new = state["editor"]["pid"] != json!(editor);
                    Ok((is_new && state["phase"] == json!("ready")).then_some(()))
                })?;
            }
            runs_whole(&self.instances, "hello").with_context(|| said.clone())?;
        } else {
            ensure!(said.contains("was taken back"), "{said}");
            nothing_is_left(&self.instances, "hello").with_context(|| said.clone())?;
        }
        let again = self.instances.ask(&["start", "--repo", &self.folder])?;
        ensure!(again["ran_before"] == json!(is_up), "{said}{again:#}");
        ensure!(again["instance"]["port"] == json!(self.instances.first_port), "{again:#}");
        runs_whole(&self.instances, "hello")?;
        self.stop()
    }

    /// Lets the editor's program go on, which waits there.
    fn open_the_gate(&self) -> Result<()> {
        let mut gate = File::options();
        // Without a reader it fails instead of waiting for one.
        let gate = gate.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        Ok(gate.open(self.instances.lab.at(GATE))?.write_all(b"\n")?)
    }

    fn start(&self) -> Result<Command> {
        self.instances.command(&["start", "--repo", &self.folder])
    }

    fn stop(&self) -> Result<()> {
        self.instances.run(&["stop", "hello"])?.expect(0)?;
        nothing_is_left(&self.instances, "hello")
    }

    /// Starts, and returns at that step with who is stopped (SIGSTOP) so that it goes no further.
    fn come_to(&self, step: Step) -> Result<(Running, Option<u32>)> {
        if step > Step::Ready {
            let stopped = trace::stopped_behind(&self.start()?, &self.call_of(step)?)?;
            return Ok((stopped.running, Some(stopped.pid)));
        }
        if step == Step::Spawned {
            let readable = Mode::from_raw_mode(0o644);
            mknodat(CWD, self.instances.lab.at(GATE), FileType::Fifo, readable, 0)?;
        }
        let start = Running::start(&mut self.start()?)?;
        self.wait_for("the editor", &start, |state| state["editor"].is_object())?;
        let held = match step {
            Step::Listening => Some(self.pid("supervisor")?),
            Step::Ready => Some(start.id()),
            _ => None,
        };
        held.into_iter().try_for_each(|pid| signal(pid, Signal::STOP))?;
        match step {
            Step::Born => {
                let editor = self.pid("editor")?;
                self.wait_for("its server", &start, |_| child(editor).is_ok())?;
            }
            Step::Listening => {
                let address = ("127.0.0.1", self.instances.first_port);
                let is_there = |_: &Value| std::net::TcpStream::connect(address).is_ok();
                self.wait_for("its listener", &start, is_there)?;
                let phase = self.instances.json(&truth::state("hello"))?["phase"].clone();
                ensure!(phase == json!("starting"), "the supervisor was quicker: {phase}");
            }
            Step::Ready => {
                self.wait_for("its answer", &start, |state| state["phase"] == json!("ready"))?;
            }
            _ => {}
        }
        Ok((start, held))
    }

    /// Waits for what the state of the instance tells or the kernel.
    fn wait_for(
        &self,
        what: &str,
        start: &Running,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Result<()> {
        wait::until(what, BOUND, || {
            ensure!(!start.has_ended()?, "it ended: {}", start.log());
            let state = self.instances.json(&truth::state("hello"));
            Ok(state.is_ok_and(|state| is_so(&state)).then_some(()))
        })
    }

    /// The call behind which a start has come to a step.
    fn call_of(&self, step: Step) -> Result<Call> {
        let last = |names: &[&str], has: &str, before: usize| {
            let calls = self.calls.iter().take(before);
            let is_it = |((name, _), line): &&(Call, String)| {
                names.contains(&name.as_str()) && line.contains(has)
            };
            calls.enumerate().rfind(|(_, call)| is_it(call)).map(|(at, _)| at)
        };
        let renames = ["renameat", "renameat2"];
        let all = self.calls.len();
        let commit = last(&renames, "\"hello.json\"", all);
        let at = match step {
            Step::Announced => last(&renames, "\"repositories.json\"", all),
            Step::Published => last(&renames, "\"routes.conf\"", all),
            // What is written of it next is the record.
            Step::Reached => commit.and_then(|commit| last(&["fsync"], "", commit)),
            _ => commit,
        };
        let call = at.and_then(|at| self.calls.get(at)).map(|(call, _)| call.clone());
        call.with_context(|| format!("{step:?} is none of {:#?}", self.calls))
    }

    fn pid(&self, whose: &str) -> Result<u32> {
        let state = self.instances.json(&truth::state("hello"))?;
        let pid = state[whose]["pid"].as_u64().with_context(|| format!("no {whose}: {state:#}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Kills, and returns when the dead are dead.
    fn kill(&self, victim: Victim) -> Result<()> {
        let editor = self.pid("editor")?;
        match victim {
            Victim::Supervisor => end(self.pid("supervisor")?),
            Victim::Parent => end(editor),
            Victim::Child => end(child(editor)?),
            Victim::Group => end_group(editor),
        }
    }
}

/// Lets somebody go on who was stopped, unless it is the one who was killed.
fn go_on(pid: u32, victim: Victim) -> Result<()> {
    match signal(pid, Signal::CONT) {
        Err(_) if victim == Victim::Supervisor => Ok(()),
        sent => sent,
    }
}

/// The one child of a process.
fn child(of: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
    Ok(children.split_whitespace().next().context("no child")?.parse()?)
}
