//! What a command works with that changes something, and how it is interrupted.
//!
//! Until it has begun, a signal ends it at once, as it ends any program. Once it has begun, a signal
//! is looked at between steps and while it waits: what was begun is taken back or said, and only then
//! the command ends. Whoever starts it with a signal ignored (nohup) has it ignored.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oh_host::lock::{Holder, LockFault, Locks, Waiting};
use oh_host::login::Login;
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
    /// Whether waits for locks are not cut short.
    is_deaf: Arc<AtomicBool>,
    login: RefCell<Option<Login>>,
}

impl<'w> Work<'w> {
    /// Begins a command.
    pub(crate) fn begin(host: &'w Host, common: &'w Common) -> Result<Self, Failure> {
        let deaf = |source: io::Error| Failure::of(Fault::Io(source));
        let interrupts = Interrupts::listen().map_err(deaf)?;
        let (progress, is_deaf) = (Progress::start(), Arc::default());
        Ok(Self { host, common, progress, interrupts, is_deaf, login: RefCell::default() })
    }

    /// Opens the locks; who is waited for is told, and a signal ends the wait.
    pub(crate) fn locks(&self) -> Result<Locks, LockFault> {
        let waiting = Patience {
            progress: self.progress.clone(),
            interrupts: self.interrupts.clone(),
            is_deaf: Arc::clone(&self.is_deaf),
        };
        Locks::waiting(&self.host.root, None, waiting)
    }

    /// Does what a signal must not cut short; [`Work::go_on`] says that one came.
    pub(crate) fn whole<T>(&self, act: impl FnOnce() -> T) -> T {
        let held = self.interrupts.hold();
        let done = act();
        held.answered();
        done
    }

    /// Does what has to come to its end whatever is asked, such as taking back what was begun: its
    /// waits for locks are not cut short either.
    pub(crate) fn to_the_end<T>(&self, act: impl FnOnce() -> T) -> T {
        let was_deaf = self.is_deaf.swap(true, Ordering::SeqCst);
        let done = act();
        self.is_deaf.store(was_deaf, Ordering::SeqCst);
        done
    }

    /// Asks whether to go on.
    ///
    /// # Errors
    /// [`Fault::Interrupted`].
    pub(crate) fn go_on(&self) -> Result<(), Fault> {
        if self.interrupts.is_asked() { Err(Fault::Interrupted) } else { Ok(()) }
    }

    /// Keeps a login that was made: it is nowhere else, and whatever comes has to show it.
    pub(crate) fn keep_login(&self, login: Option<Login>) {
        if login.is_some() {
            self.login.replace(login);
        }
    }

    /// Returns the login that was made and not shown yet.
    pub(crate) fn take_login(&self) -> Option<Login> {
        self.login.take()
    }
}

/// How a command waits for a lock.
struct Patience {
    progress: Progress,
    interrupts: Interrupts,
    is_deaf: Arc<AtomicBool>,
}

impl Waiting for Patience {
    fn tell(&self, holder: &Holder) {
        self.progress.waiting(&holder.to_string());
    }

    fn goes_on(&self) -> bool {
        self.is_deaf.load(Ordering::SeqCst) || !self.interrupts.is_asked()
    }
}
