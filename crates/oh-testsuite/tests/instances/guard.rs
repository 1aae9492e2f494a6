//! A supervisor that is struck at one of its own system calls while a start waits for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::{Instances, end};
use oh_testsuite::trace::{self, Call, attached};
use oh_testsuite::truth::{nothing_is_left, runs_whole};
use oh_testsuite::wait;
use serde_json::json;
use tempfile::NamedTempFile;

/// How long a start may take to end, on two busy cores.
const BOUND: Duration = Duration::from_secs(120);

/// The call of a supervisor before it takes or writes anything; no start makes it.
const FIRST: &str = "setsid";

/// Its calls that change something, take something or end somebody. Opening is none of them: how
/// often it looks at /proc is another number each time, and what it opens it then writes.
const CHANGING: &str = "trace=flock,write,ftruncate,fsync,fchmod,fchown,fchownat,mkdirat,renameat,\
                        renameat2,unlinkat,rmdir,bind,clone,clone3,pidfd_open,pidfd_send_signal";

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// `kill -9` before it takes effect.
    Kill,
    /// The disk is full.
    NoSpace,
}

impl Blow {
    /// Says whether the kernel could ever do this at that call.
    pub(crate) fn fits(self, (call, _): &Call) -> bool {
        self == Self::Kill || ["write", "fsync", "mkdirat", "renameat"].contains(&call.as_str())
    }
}

/// A root with one repository.
pub(crate) struct Scene {
    instances: Instances,
    folder: String,
}

impl Scene {
    pub(crate) fn set() -> Result<Self> {
        let instances = Instances::new("stop_grace_s = 5\n")?;
        let folder = instances.repository("hello")?;
        // The first set makes the login and the folders of nginx.
        instances.ask(&["start", "--repo", &folder])?;
        instances.run(&["stop", "hello"])?.expect(0)?;
        Ok(Self { instances, folder })
    }

    /// The calls of a supervisor until its start has succeeded.
    pub(crate) fn calls(&self) -> Result<Vec<Call>> {
        let log = NamedTempFile::new()?;
        let (code, said) = self.start_under(&log, &["-e", CHANGING])?;
        ensure!(code == Some(0), "{said}");
        self.stop()?;
        let calls: Vec<Call> = trace::calls(&log)?.into_iter().map(|(call, _)| call).collect();
        ensure!(calls.len() > 10, "too few calls to be true: {calls:?}");
        Ok(calls)
    }

    /// Kills the supervisor before it has done anything.
    pub(crate) fn survives_no_supervisor(&self) -> Result<()> {
        let start = self.instances.command(&["start", "--repo", &self.folder])?;
        let mut held = trace::with_stopped_child(&start, FIRST)?;
        end(held.pid)?;
        let code = held.running.wait(BOUND)?.code();
        self.is_well(code, &held.running.log())
    }

    /// Strikes the supervisor at one of its calls, and demands that all is well with the start and the
    /// next one.
    pub(crate) fn survives(&self, blow: Blow, call: &Call) -> Result<()> {
        let (name, number) = call;
        let (injection, trace) = match blow {
            Blow::Kill => ("signal=KILL", "+++ killed by SIGKILL +++"),
            Blow::NoSpace => ("error=ENOSPC", "(INJECTED)"),
        };
        let inject = format!("inject={name}:{injection}:when={number}");
        let struck = || {
            let log = NamedTempFile::new()?;
            let options = ["-e", CHANGING, "-e", &inject];
            let (code, said) = self.start_under(&log, &options)?;
            let traced = std::fs::read_to_string(log.path())?;
            ensure!(traced.contains(trace), "it was not struck: {traced}");
            if blow == Blow::NoSpace && code != Some(0) {
                ensure!(said.contains("No space left on device"), "{said}");
            }
            self.is_well(code, &said)
        };
        struck().with_context(|| format!("{blow:?} at {name} {number}"))
    }

    /// A disk that is full when the supervisor writes what it observed ends neither it nor its editor.
    pub(crate) fn outlives_a_full_disk(&self) -> Result<()> {
        let started = self.instances.ask(&["start", "--repo", &self.folder])?;
        let supervisor = &started["instance"]["supervisor_pid"];
        let supervisor = supervisor.as_u64().and_then(|pid| u32::try_from(pid).ok());
        let log = NamedTempFile::new()?;
        let options = ["-e", "trace=renameat", "-e", "inject=renameat:error=ENOSPC"];
        let mut strace = attached(supervisor.context("no supervisor")?, &log, &options)?;
        wait::until("an observation", BOUND, || {
            Ok(std::fs::read_to_string(log.path())?.contains("(INJECTED)").then_some(()))
        })?;
        strace.stop()?;
        let after = runs_whole(&self.instances, "hello")?;
        for key in ["pid", "supervisor_pid"] {
            ensure!(after[key] == started["instance"][key], "{after:#}");
        }
        self.stop()
    }

    /// Starts with strace at work on the supervisor; returns how the start ended and what it said.
    fn start_under(&self, log: &NamedTempFile, options: &[&str]) -> Result<(Option<i32>, String)> {
        let start = self.instances.command(&["start", "--repo", &self.folder])?;
        let mut held = trace::with_stopped_child(&start, FIRST)?;
        let mut strace = attached(held.pid, log, options)?;
        let code = held.running.wait(BOUND)?.code();
        strace.stop()?;
        Ok((code, held.running.log()))
    }

    /// Demands that a start which ended so has left what it says, and that the next one succeeds.
    fn is_well(&self, code: Option<i32>, said: &str) -> Result<()> {
        let scene = &self.instances;
        match code {
            Some(6) => {
                ensure!(said.contains("was taken back"), "{said}");
                nothing_is_left(scene, "hello").with_context(|| said.to_owned())?;
            }
            // It was replaced, because its editor lived.
            Some(0) => {
                runs_whole(scene, "hello").with_context(|| said.to_owned())?;
            }
            _ => anyhow::bail!("exit {code:?}: {said}"),
        }
        let again = scene.ask(&["start", "--repo", &self.folder])?;
        ensure!(again["instance"]["port"] == json!(scene.first_port), "{again:#}");
        runs_whole(scene, "hello")?;
        self.stop()
    }

    fn stop(&self) -> Result<()> {
        self.instances.run(&["stop", "hello"])?.expect(0)?;
        nothing_is_left(&self.instances, "hello")
    }
}
