//! `oh-nginx watch` on a laboratory.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::Lab;
use crate::process::Running;
use crate::wait;

/// How long a watch may take to do what it should.
pub const BOUND: Duration = Duration::from_secs(60);

/// A watch that runs.
#[derive(Debug)]
pub struct Watch(Running);

impl Watch {
    /// Starts a watch with these arguments before the word `watch`, and waits for its first look.
    ///
    /// # Errors
    ///
    /// With its log, when it ends first.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let mut running = Running::start(&mut Self::command(lab, arguments)?)?;
        running.wait_for_line("generation ", BOUND)?;
        Ok(Self(running))
    }

    /// Starts a watch and waits for nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_only(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        Ok(Self(Running::start(&mut Self::command(lab, arguments)?)?))
    }

    fn command(lab: &Lab, arguments: &[&str]) -> Result<Command> {
        lab.command(&[arguments, &["watch"]].concat())
    }

    /// Returns what it has told so far.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// Returns its pid.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it tells this.
    ///
    /// # Errors
    ///
    /// With its log.
    pub fn tells(&mut self, text: &str) -> Result<String> {
        self.0.wait_for_line(text, BOUND)
    }

    /// Sends a signal to it alone.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Sends a signal, waits for the end, and returns the exit code and all that it told.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn end(mut self, signal: Signal) -> Result<(Option<i32>, String)> {
        self.signal(signal)?;
        let status = self.0.wait(BOUND)?;
        Ok((status.code(), self.0.log()))
    }
}

/// Returns the number of the generation that nginx answers.
///
/// # Errors
///
/// When it answers none.
pub fn generation_number(lab: &Lab) -> Result<u64> {
    let generation = lab.generation().context("no generation is answered")?;
    let (number, _) = generation.split_once('-').context("no generation")?;
    Ok(number.parse()?)
}

/// Waits until a session is routed to the port, or answers the status.
///
/// # Errors
///
/// When it is not in time.
pub fn routed(lab: &Lab, id: &str, expected: Result<u16, u16>) -> Result<()> {
    let what = format!("{id} at {expected:?}");
    wait::until(&what, BOUND, || Ok((lab.routed(id).ok() == Some(expected)).then_some(())))
}

/// Returns the heartbeat.
///
/// # Errors
///
/// When there is none.
pub fn heartbeat(lab: &Lab) -> Result<Value> {
    let text = fs::read_to_string(lab.at("run/openhands-toolkit/watch.json"))?;
    let heartbeat: Value = serde_json::from_str(&text)?;
    ensure!(heartbeat.get("schema_version") == Some(&Value::from(1)), "{heartbeat}");
    Ok(heartbeat)
}
