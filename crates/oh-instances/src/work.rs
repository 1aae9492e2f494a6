//! What a command works with that changes something, and how it is interrupted.
//!
//! Until it has begun, a signal ends it at once, as it ends any program. Once it has begun, a signal
//! is looked at between steps and while it waits: what was begun is taken back or said, and only then
//! the command ends. Whoever starts it with a signal ignored (nohup) has it ignored.

use std::io;

use oh_host::lock::{LockFault, Locks};
use oh_host::publish::Host;
use oh_host::signals::Interrupts;
use oh_term::{Common, Failure, Progress};

use crate::fault::Fault;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Work<'w> {
    pub(crate) host: &'w Host,
    /// What a supervisor has to be told.
    pub(crate) common: &'w Common,
    pub(crate) progress: Progress,
    interrupts: Interrupts,
}

impl<'w> Work<'w> {
    /// Begins a command.
    pub(crate) fn begin(host: &'w Host, common: &'w Common) -> Result<Self, Failure> {
        let deaf = |source: io::Error| Failure::of(Fault::Io(source));
        let interrupts = Interrupts::listen().map_err(deaf)?;
        Ok(Self { host, common, progress: Progress::start(), interrupts })
    }

    /// Opens the locks; who is waited for is told.
    pub(crate) fn locks(&self) -> Result<Locks, LockFault> {
        let progress = self.progress.clone();
        Locks::telling(&self.host.root, None, move |holder| progress.waiting(&holder.to_string()))
    }

    /// Does what a signal must not cut short; [`Work::go_on`] says that one came.
    pub(crate) fn whole<T>(&self, act: impl FnOnce() -> T) -> T {
        let held = self.interrupts.hold();
        let done = act();
        held.answered();
        done
    }

    /// Asks whether to go on.
    ///
    /// # Errors
    /// [`Fault::Interrupted`].
    pub(crate) fn go_on(&self) -> Result<(), Fault> {
        if self.interrupts.is_asked() { Err(Fault::Interrupted) } else { Ok(()) }
    }
}
