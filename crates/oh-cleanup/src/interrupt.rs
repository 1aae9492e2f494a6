//! What a signal does to a command that is in the midst of a change: what was begun is ended, the rest is
//! not begun, and whoever waits for that is told so at once.

use oh_host::signals::Interrupts;
use oh_term::{Failure, Progress};

use crate::fault::Fault;

/// Whose signals are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// All that end a command.
    Anywhere,
    /// All but that its terminal is gone: it ends with an editor.
    BeyondTheTerminal,
}

/// Listens to signals. One that comes while something is held is told in a line at once.
pub(crate) fn listen(progress: &Progress, from: From) -> Result<Interrupts, Failure> {
    let deaf = |fault| Failure::of(Fault::Signals(fault));
    let interrupts = match from {
        From::Anywhere => Interrupts::listen(),
        From::BeyondTheTerminal => Interrupts::listen_beyond_the_terminal(),
    };
    let interrupts = interrupts.map_err(deaf)?;
    // Whoever listens does so until the process ends, and the live line is to go before that.
    let beside = progress.beside();
    interrupts.tell(move || beside.line(told)).map_err(deaf)?;
    Ok(interrupts)
}

/// What is said of a signal.
fn told(under_way: &str) -> String {
    let at = if under_way.is_empty() { "what it is at" } else { under_way };
    format!("interrupted: ends with this ({at}); Ctrl-C again: at once, the journal stays right")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_ended_and_what_another_signal_does() {
        let said = told("stop 12 editors");
        let wanted = "interrupted: ends with this (stop 12 editors); \
                      Ctrl-C again: at once, the journal stays right";
        assert_eq!(said, wanted);
        assert!(said.len() <= 100, "{}", said.len());
    }
}
