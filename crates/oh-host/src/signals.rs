//! What people ask of a tool that goes on: to end, or to read its configuration again.
//!
//! A signal sets a flag and wakes whoever waits; the flags are looked at between steps. For tools
//! that end by themselves the kernel's own way with signals is right; those of them that wait for
//! a program take it along, and those that are in the midst of a change end it first
//! ([`Interrupts`]).

use std::ffi::c_int;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use signal_hook::low_level::{emulate_default_handler, pipe};

/// How many bytes of wakings are taken at once.
const WAKINGS: usize = 64;

/// The signals that were sent to this process.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    redraw: Arc<AtomicBool>,
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
        Self::of(&[], &[])
    }

    /// Is also woken where a child of this process ends (SIGCHLD), to wait for it.
    ///
    /// # Errors
    /// The system's.
    pub fn listen_with_children() -> io::Result<Self> {
        Self::of(&[], &[SIGCHLD])
    }

    /// Listens also to what makes a screen be drawn anew: its size changed (SIGWINCH), or this
    /// process was stopped meanwhile (SIGCONT).
    ///
    /// # Errors
    /// The system's.
    pub fn listen_on_a_screen() -> io::Result<Self> {
        Self::of(&[SIGWINCH, SIGCONT], &[])
    }

    fn of(redrawing: &[i32], waking: &[i32]) -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let listen = |signals: &[i32]| -> io::Result<Arc<AtomicBool>> {
            let asked = Arc::new(AtomicBool::new(false));
            for signal in signals {
                // The flag first: who is woken finds it set.
                flag::register(*signal, Arc::clone(&asked))?;
                pipe::register(*signal, waker.try_clone()?)?;
            }
            Ok(asked)
        };
        for signal in waking {
            pipe::register(*signal, waker.try_clone()?)?;
        }
        Ok(Self {
            terminate: listen(&[SIGTERM])?,
            interrupt: listen(&[SIGINT])?,
            hang_up: listen(&[SIGHUP])?,
            redraw: listen(redrawing)?,
            wake,
        })
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

    /// Says, once, whether what a screen shows is to be drawn anew.
    pub fn take_redraw(&self) -> bool {
        self.redraw.swap(false, Ordering::Relaxed)
    }

    /// Forgets that somebody was woken; the flags stay.
    pub fn settle(&self) {
        let mut wakings = [0; WAKINGS];
        while (&self.wake).read(&mut wakings).is_ok_and(|count| count > 0) {}
    }
}

/// Lets a signal end what this process is in the midst of, and then this process.
///
/// While it is in the midst of nothing, a signal does what it always does. A signal that whoever
/// started us wants ignored stays so.
#[derive(Debug, Clone)]
pub struct Interrupts {
    /// Whether a signal ends this process at once.
    at_once: Arc<AtomicBool>,
    /// The signal that came meanwhile; 0 for none.
    asked: Arc<AtomicUsize>,
    /// Those that are listened to.
    listened: Vec<c_int>,
}

impl Interrupts {
    /// Listens to SIGTERM, SIGINT and SIGHUP from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Self::listen_to(&[(SIGTERM, 15), (SIGINT, 2), (SIGHUP, 1)])
    }

    /// The same, of a process that ends its own terminal: SIGHUP says nothing to it.
    ///
    /// # Errors
    /// The system's.
    pub fn listen_beyond_the_terminal() -> io::Result<Self> {
        // Handled and never looked at: what it runs meanwhile still gets the signal.
        flag::register(SIGHUP, Arc::default())?;
        Self::listen_to(&[(SIGTERM, 15), (SIGINT, 2)])
    }

    /// Listens to these signals, each with its number.
    fn listen_to(signals: &[(c_int, usize)]) -> io::Result<Self> {
        let at_once = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicUsize::new(0));
        let ignored = ignored_signals()?;
        let mut listened = Vec::new();
        for (signal, number) in signals.iter().copied() {
            if ignored & (1 << (number - 1)) != 0 {
                continue;
            }
            listened.push(signal);
            // The number first: whoever looks once the other has passed finds it.
            flag::register_usize(signal, Arc::clone(&asked), number)?;
            flag::register_conditional_default(signal, Arc::clone(&at_once))?;
        }
        Ok(Self { at_once, asked, listened })
    }

    /// Has `tell` called at once, by a thread of its own, where a signal comes that is kept back. From
    /// then on SIGINT ends this process: whoever was told that this process ends by itself may not want
    /// to wait for that. Other signals come twice by themselves (timeout(1), a terminal that goes).
    ///
    /// # Errors
    /// The system's.
    pub fn tell(&self, tell: impl Fn() + Send + 'static) -> io::Result<()> {
        let (mut wake, waker) = UnixStream::pair()?;
        let is_told = Arc::new(AtomicBool::new(false));
        for signal in &self.listened {
            if *signal == SIGINT {
                flag::register_conditional_default(*signal, Arc::clone(&is_told))?;
            }
            pipe::register(*signal, waker.try_clone()?)?;
        }
        let at_once = Arc::clone(&self.at_once);
        let wait = move || {
            let mut wakings = [0; WAKINGS];
            // It goes on behind that: a thread that waits takes signals while the others cannot.
            while wake.read(&mut wakings).is_ok_and(|count| count > 0) {
                // One that is not kept back has ended this process, or came too late to end anything.
                if !at_once.load(Ordering::SeqCst) && !is_told.load(Ordering::SeqCst) {
                    tell();
                    is_told.store(true, Ordering::SeqCst);
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }

    /// Keeps signals back until [`Held`] goes.
    pub fn hold(&self) -> Held<'_> {
        self.at_once.store(false, Ordering::SeqCst);
        Held { interrupts: self }
    }

    /// Says whether a signal came that was kept back.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) != 0
    }
}

/// Signals are kept back as long as this lives; one that came ends this process when it goes.
#[derive(Debug)]
pub struct Held<'i> {
    interrupts: &'i Interrupts,
}

impl Held<'_> {
    /// Lets signals do again what they always do; one that came ends nothing by itself: whoever is
    /// in the midst of a change answers it, or it came too late.
    pub fn answered(self) {
        let held = core::mem::ManuallyDrop::new(self);
        held.interrupts.at_once.store(true, Ordering::SeqCst);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.interrupts.at_once.store(true, Ordering::SeqCst);
        let asked = i32::try_from(self.interrupts.asked.load(Ordering::SeqCst)).unwrap_or_default();
        if asked != 0 {
            // It comes back only for a signal that it does not know, and those are not listened to.
            drop(emulate_default_handler(asked));
        }
    }
}

/// Returns the signals that this process ignores, as bits from the first one on (proc(5)).
fn ignored_signals() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default())
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn the_end_of_a_child_wakes() {
        let signals = Signals::listen_with_children().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let bound = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut watched = [PollFd::new(&signals, PollFlags::IN)];
        // Nothing but the signal itself may come, and that it interrupts the wait is no wake.
        while poll(&mut watched, Some(&bound)) == Err(rustix::io::Errno::INTR) {}
        assert!(!watched[0].revents().is_empty(), "nobody was woken");
        assert_eq!(signals.end(), None);
        child.wait().unwrap();
    }
}
