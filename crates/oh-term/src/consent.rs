//! Consent: what will be done is shown, and somebody says yes.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use oh_model::exit::Exit;

use crate::Failure;
use crate::text::escaped_lines;

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64;

/// Asks whether to go on with what is shown; `given` is a consent from the command line.
///
/// # Errors
/// [`Failure`] (refused) where the answer is no, or nobody is there to be asked.
pub fn consent(shown: &str, given: bool) -> Result<(), Failure> {
    if given {
        return Ok(());
    }
    let mut stderr = io::stderr().lock();
    // What cannot be shown cannot be confirmed either, and the answer will be no.
    drop(stderr.write_all(escaped_lines(shown).as_bytes()));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let what = "nobody is there to confirm this plan: stdin and stderr are no terminal";
        return Err(refused(what).hint("look with --dry-run, then confirm with --yes"));
    }
    drop(stderr.write_all(b"Go on? [y/N] "));
    drop(stderr.flush());
    let mut answer = String::new();
    let mut limited = io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX);
    let read = limited.read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(refused("not confirmed")),
    }
}

fn refused(what: &'static str) -> Failure {
    Failure::new(Exit::Refused, what).state("nothing was changed")
}
