//! Progress on stderr: a live line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the live line moves, in milliseconds.
const TICK_MS: u64 = 100;

/// Tells which step is under way.
///
/// On a terminal the step under way is one live line, replaced by the next; a finished step
/// leaves a line. Elsewhere each finished step is a line, so a log holds no control characters.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<Arc<Live>>,
}

/// The live line, which goes with the last who has it.
#[derive(Debug)]
struct Live(ProgressBar);

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
        Self { bar }
    }

    /// Says what is being done now.
    pub fn doing(&self, what: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.0.set_message(what.into());
        }
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
        let line = format!("  {what:<18} {detail}");
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
