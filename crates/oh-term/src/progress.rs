//! Progress on stderr: a live line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::text::escaped;

/// How often the live line moves, in milliseconds.
const TICK_MS: u64 = 100;

/// How often a count is told.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// Tells which step is under way.
///
/// On a terminal the step under way is one live line, replaced by the next; a finished step
/// leaves a line. Elsewhere each finished step is a line, so a log holds no control characters.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<Arc<Live>>,
    under_way: Arc<Mutex<String>>,
}

/// The live line, which goes with the last who has it.
#[derive(Debug)]
struct Live(ProgressBar);

/// Somebody who has something to say beside it, and does not keep it.
#[derive(Debug, Clone)]
pub struct Beside {
    bar: Weak<Live>,
    under_way: Arc<Mutex<String>>,
}

impl Beside {
    /// Leaves a line that is made of what is being done now; see [`Progress::under_way`].
    pub fn line(&self, line: impl FnOnce(&str) -> String) {
        let progress = Progress { bar: self.bar.upgrade(), under_way: Arc::clone(&self.under_way) };
        progress.line(&line(&progress.under_way()));
    }
}

impl Progress {
    /// Looks whether stderr is a terminal and begins.
    pub fn start() -> Self {
        let live = std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(TICK_MS));
            Arc::new(Live(bar))
        });
        Self { bar, under_way: Arc::default() }
    }

    /// Says what is being done now.
    pub fn doing(&self, what: impl Into<String>) {
        let what = escaped(&what.into());
        if let Some(bar) = &self.bar {
            bar.0.set_message(what.clone());
        }
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Lets somebody say a line beside it who may be there for longer.
    pub fn beside(&self) -> Beside {
        let bar = self.bar.as_ref().map_or_else(Weak::new, Arc::downgrade);
        Beside { bar, under_way: Arc::clone(&self.under_way) }
    }

    /// Returns what is being done now, as it was said last; empty before.
    pub fn under_way(&self) -> String {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how far work is that takes long, by what it counts, while it goes on.
    pub fn counting<T>(
        &self,
        what: &str,
        unit: &str,
        count: &AtomicU64,
        work: impl FnOnce() -> T,
    ) -> T {
        self.doing(what);
        let Some(bar) = &self.bar else { return work() };
        let (ended, end) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                loop {
                    let done = count.load(Ordering::Relaxed);
                    bar.0.set_message(format!("{what}: {done} {unit}"));
                    // Nothing is ever sent: the other end goes when the work has ended.
                    if end.recv_timeout(COUNT_EVERY) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
            let made = work();
            drop(ended);
            made
        })
    }

    /// Says who is waited for, and for what; a log has it as a line.
    pub fn waiting(&self, whom: &str) {
        match &self.bar {
            Some(_) => self.doing(format!("wait for {whom}")),
            None => self.done("waits", &format!("for {whom}")),
        }
    }

    /// Leaves a line: what was done, and what is worth knowing of it.
    pub fn done(&self, what: &str, detail: &str) {
        self.line(&format!("  {what:<18} {detail}"));
    }

    /// Leaves a line as it is.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.0.println(line),
            None => {
                // Progress that cannot be shown (stderr is closed) is no reason to stop.
                drop(writeln!(std::io::stderr(), "{line}"));
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
