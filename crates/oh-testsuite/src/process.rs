//! Child processes that end with the handle that started them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tempfile::TempDir;

use crate::wait;

/// How long a program may take to end after SIGTERM before it gets SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running program, in a process group of its own.
///
/// Dropping it ends the whole group, so a failing test leaves nothing behind.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    _folder: TempDir,
}

impl Running {
    /// Starts a program; what it writes goes to a log that errors quote.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Result<Running> {
        use std::os::unix::process::CommandExt as _;
        let name = command.get_program().to_string_lossy().into_owned();
        let folder = tempfile::tempdir().context("could not make a folder for a log")?;
        let log = folder.path().join("log");
        let file = File::create(&log).context("could not make a log")?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Running { name, child, log, ended: None, _folder: folder })
    }

    /// Returns the process id; it stays ours until this value is dropped.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the program has written so far, stdout and stderr in one.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Returns where the log is.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Waits for a line that contains `text` and returns that line.
    ///
    /// # Errors
    ///
    /// With the whole log, when the program ends first or `bound` passes.
    pub fn wait_for_line(&mut self, text: &str, bound: Duration) -> Result<String> {
        let what = format!("{text:?} from {}", self.name);
        let found = wait::until(&what, bound, || {
            let ended = self.has_ended()?;
            let log = self.log();
            // Only whole lines: the last one may still be on its way.
            let whole = log.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
            match whole.lines().find(|line| line.contains(text)) {
                None if ended => bail!("it ended"),
                line => Ok(line.map(str::to_owned)),
            }
        });
        found.with_context(|| format!("{} wrote:\n{}", self.name, self.log()))
    }

    /// Tells whether the program itself has ended; its group may live on.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the child, which is a bug here.
    pub fn has_ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // NOWAIT leaves the zombie, so that the id of the group cannot become somebody else's.
        Ok(self.ended.is_some() || waitid(WaitId::Pid(self.pid()), options)?.is_some())
    }

    /// Waits until the program ends by itself.
    ///
    /// # Errors
    ///
    /// With the whole log, when `bound` passes.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let ended = wait::until(&what, bound, || Ok(self.has_ended()?.then_some(())));
        ended.with_context(|| format!("{} wrote:\n{}", self.name, self.log()))?;
        self.reap()
    }

    /// Ends the whole group: SIGTERM, a grace of five seconds, SIGKILL.
    ///
    /// # Errors
    ///
    /// When the program cannot be waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        self.signal(Signal::TERM);
        let what = format!("the end of {}", self.name);
        let ended = wait::until(&what, STOP_GRACE, || Ok(self.has_ended()?.then_some(())));
        if ended.is_err() {
            self.signal(Signal::KILL);
        }
        self.reap()
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // An error means that nobody is left in the group, and that was the wish.
            kill_process_group(self.pid(), signal).unwrap_or_default();
        }
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        // Whoever the program left behind in its group goes before the group's id is given up.
        self.signal(Signal::KILL);
        let status =
            self.child.wait().with_context(|| format!("could not wait for {}", self.name))?;
        self.ended = Some(status);
        Ok(status)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failing test is already failing; there is nobody to tell.
        drop(self.stop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Running {
        Running::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_line_is_returned_whole() {
        let mut running = shell("printf 'listening '; sleep 0.05; echo on 7; exec sleep 60");
        assert_eq!(running.wait_for_line("listening", BOUND).unwrap(), "listening on 7");
    }

    #[test]
    fn an_end_before_the_line_quotes_the_log() {
        let mut running = shell("echo port is taken >&2; exit 3");
        let error = running.wait_for_line("listening", BOUND).unwrap_err();
        assert!(format!("{error:#}").contains("port is taken"), "{error:#}");
        assert_eq!(running.stop().unwrap().code(), Some(3));
    }

    #[test]
    fn a_dropped_handle_takes_children_that_ignore_sigterm_along() {
        let mut running = shell("sh -c 'trap \"\" TERM; echo child $$; exec sleep 60' & wait");
        let line = running.wait_for_line("child", BOUND).unwrap();
        let child = line.strip_prefix("child ").unwrap().to_owned();
        drop(running);
        wait::until_true("the end of the child", BOUND, || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
        .unwrap();
    }
}
