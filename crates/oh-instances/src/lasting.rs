//! Commands that go on until they are told to end: what they print, and how they end.

use std::io;
use std::time::Duration;

use oh_host::signals::{End, Signals};
use oh_model::exit::Exit;
use oh_term::{Answer, Common, Failure, Screen};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::Cli;
use crate::fault::Fault;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    On,
    /// The run ends, with this code.
    Out(Exit),
}

/// Listens to what ends the command.
pub(crate) fn listen() -> Result<Signals, Failure> {
    Signals::listen().map_err(|source| Failure::of(Fault::Io(source)))
}

/// Listens also to what makes the screen of a terminal be drawn anew.
pub(crate) fn listen_on_a_screen() -> Result<Signals, Failure> {
    Signals::listen_on_a_screen().map_err(|source| Failure::of(Fault::Io(source)))
}

/// Prints one of several answers; a reader who has seen enough ends the run.
pub(crate) fn show(answer: &Answer, common: &Common) -> Result<Goes, Failure> {
    goes(oh_term::show::<Cli>(answer, &common.carried(), common.format))
}

/// Draws one of several answers in the place of the one before.
pub(crate) fn draw(screen: &mut Screen, answer: &Answer, common: &Common) -> Result<Goes, Failure> {
    goes(screen.draw(answer, &common.carried()))
}

fn goes(shown: io::Result<()>) -> Result<Goes, Failure> {
    match shown {
        Ok(()) => Ok(Goes::On),
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => Ok(Goes::Out(Exit::Ok)),
        Err(source) => Err(Failure::of(Fault::Answer(source))),
    }
}

/// Waits so long, or until the command is told to end.
pub(crate) fn pause(signals: &Signals, most: Duration) -> Result<Goes, Failure> {
    let mut watched = [PollFd::new(signals, PollFlags::IN)];
    match poll(&mut watched, Timespec::try_from(most).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => signals.settle(),
        Err(errno) => return Err(Failure::of(Fault::Io(errno.into()))),
    }
    Ok(match signals.end() {
        // The terminal is gone, and with it whoever read.
        None if signals.take_hang_up() => Goes::Out(Exit::Interrupted),
        None => Goes::On,
        Some(End::Terminate) => Goes::Out(Exit::Ok),
        Some(End::Interrupt) => Goes::Out(Exit::Interrupted),
    })
}
