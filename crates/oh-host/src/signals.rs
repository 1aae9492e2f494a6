//! What people ask of a tool that goes on: to end, or to read its configuration again.
//!
//! A signal sets a flag and wakes whoever waits; the flags are looked at between steps. For tools
//! that end by themselves the kernel's own way with signals is right, and this is not used.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// How many bytes of wakings are taken at once.
const WAKINGS: usize = 64;

/// The signals that were sent to this process.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
}

/// How a tool was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM: by a supervisor.
    Terminate,
    /// SIGINT: by a person.
    Interrupt,
}

impl Signals {
    /// Listens to SIGTERM, SIGINT and SIGHUP from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let listen = |signal| -> io::Result<Arc<AtomicBool>> {
            let asked = Arc::new(AtomicBool::new(false));
            // The flag first: who is woken finds it set.
            flag::register(signal, Arc::clone(&asked))?;
            pipe::register(signal, waker.try_clone()?)?;
            Ok(asked)
        };
        let (terminate, interrupt, hang_up) = (listen(SIGTERM)?, listen(SIGINT)?, listen(SIGHUP)?);
        Ok(Self { wake, terminate, interrupt, hang_up })
    }

    /// Says whether the tool was asked to end.
    pub fn end(&self) -> Option<End> {
        if self.interrupt.load(Ordering::Relaxed) {
            Some(End::Interrupt)
        } else {
            self.terminate.load(Ordering::Relaxed).then_some(End::Terminate)
        }
    }

    /// Says, once, whether the configuration is to be read again.
    pub fn take_hang_up(&self) -> bool {
        self.hang_up.swap(false, Ordering::Relaxed)
    }

    /// Forgets that somebody was woken; the flags stay.
    pub fn settle(&self) {
        let mut wakings = [0; WAKINGS];
        while (&self.wake).read(&mut wakings).is_ok_and(|count| count > 0) {}
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
