//! Holding a real program at one of its system calls, from outside: strace(1) does it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::process::Running;
use crate::{components, wait};

/// How long strace may take to begin or to end, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// What strace writes when a program that it traces was stopped.
const STOPPED: &str = "--- stopped by SIGSTOP ---";

/// A system call of a program: its name, and its number among those of its name.
pub type Call = (String, usize);

/// A program that is stopped behind one of its calls, or in which a child of it is.
#[derive(Debug)]
pub struct Stopped {
    /// The program, which is our child.
    pub running: Running,
    /// Who is stopped.
    pub pid: u32,
    log: NamedTempFile,
}

/// Starts a program that stops (SIGSTOP of signal(7)) behind a call of its own.
///
/// # Errors
///
/// With what it said, where it ended without that call.
pub fn stopped_behind(command: &Command, call: &Call) -> Result<Stopped> {
    stopped(command, call, &[])
}

/// Starts a program and waits until a process that it started stops behind a call that only that
/// one makes. The program itself goes on.
///
/// # Errors
///
/// As [`stopped_behind`].
pub fn with_stopped_child(command: &Command, call: &str) -> Result<Stopped> {
    let stopped = stopped(command, &(call.to_owned(), 1), &["-f"])?;
    ensure!(stopped.pid != stopped.running.id(), "it makes the call {call} itself");
    stopped.let_go()?;
    Ok(stopped)
}

fn stopped(command: &Command, (call, number): &Call, more: &[&str]) -> Result<Stopped> {
    let log = NamedTempFile::new()?;
    let mut strace = Command::new(components::program("strace")?);
    // It is a grandchild of ours, so that the program stays our child when it lets go.
    strace.env_clear().current_dir("/").arg("-D").args(more).arg("-o").arg(log.path());
    strace.args(["-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=STOP:when={number}"), "--"]);
    strace.arg(command.get_program()).args(command.get_args());
    let running = Running::start(&mut strace)?;
    let line = wait::until("a stopped process", BOUND, || {
        let text = fs::read_to_string(log.path())?;
        let line = text.lines().find(|line| line.contains(STOPPED)).map(str::to_owned);
        ensure!(line.is_some() || !running.has_ended()?, "it ended: {}", running.log());
        Ok(line)
    })?;
    // Where it follows, a number stands before each line.
    let pid = match line.split_once(' ').and_then(|(pid, _)| pid.parse().ok()) {
        Some(pid) => pid,
        None => running.id(),
    };
    Ok(Stopped { running, pid, log })
}

impl Stopped {
    /// Lets the process go on.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn go_on(&self) -> Result<()> {
        signal(self.pid, Signal::CONT)
    }

    /// Ends strace; who is stopped stays so.
    fn let_go(&self) -> Result<()> {
        if let Some(tracer) = tracer(self.pid)? {
            signal(tracer, Signal::KILL)?;
        }
        wait::until("the end of strace", BOUND, || {
            let both = [self.pid, self.running.id()];
            let free = both.iter().all(|pid| matches!(tracer(*pid), Ok(None)));
            Ok(free.then_some(()))
        })
        .with_context(|| fs::read_to_string(self.log.path()).unwrap_or_default())
    }
}

/// Has strace look at the calls of a process that is stopped, and lets it go on.
///
/// # Errors
///
/// When strace does not come to it.
pub fn attached(pid: u32, log: &NamedTempFile, options: &[&str]) -> Result<Running> {
    let mut strace = Command::new(components::program("strace")?);
    strace.env_clear().current_dir("/").arg("-o").arg(log.path()).args(options);
    let strace = Running::start(strace.args(["-p", &pid.to_string()]))?;
    wait::until("strace at work", BOUND, || {
        ensure!(!strace.has_ended()?, "strace ended: {}", strace.log());
        Ok((tracer(pid)? == Some(strace.id())).then_some(()))
    })?;
    signal(pid, Signal::CONT)?;
    Ok(strace)
}

/// Says who traces a process.
fn tracer(pid: u32) -> Result<Option<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer: u32 = tracer.context("proc(5)")?.trim().parse()?;
    Ok((tracer != 0).then_some(tracer))
}

/// Sends a signal to a process that the test knows to be its own.
///
/// # Errors
///
/// When it is gone.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let raw = Pid::from_raw(i32::try_from(pid)?).filter(|_| pid > 1).context("no pid")?;
    Ok(kill_process(raw, signal)?)
}

/// Reads the calls of a log of strace, in their order, each with its line.
///
/// # Errors
///
/// When it cannot be read.
pub fn calls(log: &NamedTempFile) -> Result<Vec<(Call, String)>> {
    let text = fs::read_to_string(log.path())?;
    let mut calls: Vec<(Call, String)> = Vec::new();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            continue;
        }
        let before = calls.iter().filter(|((known, _), _)| known == name).count();
        calls.push(((name.to_owned(), before + 1), line.to_owned()));
    }
    Ok(calls)
}
