//! What benchmarks share: whole processes, timed and with their memory, among strangers.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How often the memory of a process is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Runs a command to its end and returns how long it took.
///
/// # Errors
///
/// When it cannot be run, or fails; then with what it said.
pub fn timed(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let output = command.output().context("could not run it")?;
    let took = begun.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

/// Runs a command to its end and returns the most memory that it was seen to have, in bytes: its own
/// highest mark (`VmHWM`, proc_pid_status(5)), as it was at the last look before it ended.
///
/// # Errors
///
/// When it cannot be run, or fails.
pub fn peak_memory(command: &mut Command) -> Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("could not run it")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak_kib = peak_kib.max(now.unwrap_or(0));
        thread::sleep(LOOK_EVERY);
    };
    ensure!(ended.success(), "{command:?} ended with {ended}");
    Ok(peak_kib * 1024)
}

/// The least and the median of some times.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The least.
    pub min: Duration,
    /// The median.
    pub median: Duration,
}

impl Spread {
    /// Takes them of some times; of none, both are nothing.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |index: usize| times.get(index).copied().unwrap_or_default();
        Self { min: at(0), median: at(times.len() / 2) }
    }
}

/// Processes that have nothing to do with it; they end when this is dropped.
#[derive(Debug)]
pub struct Strangers(Vec<Child>);

impl Strangers {
    /// Starts so many.
    ///
    /// # Errors
    ///
    /// When one cannot be started.
    pub fn start(count: usize) -> Result<Self> {
        let mut all = Self(Vec::new());
        for _ in 0..count {
            let mut sleep = Command::new("/usr/bin/sleep");
            all.0.push(sleep.arg("600").stdin(Stdio::null()).spawn()?);
        }
        Ok(all)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // They are our children; one that cannot be ended ends by itself.
            if child.kill().is_ok() && child.wait().is_err() {
                return;
            }
        }
    }
}
