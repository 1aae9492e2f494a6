//! Watching one process: waiting for its end or a signal, and learning how it ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use oh_host::process::{Identity, Pid, ProcessDir};
use oh_host::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitOptions, WaitStatus, pidfd_open};

use crate::fault::Fault;

/// How many that ended are reaped at once: others decide how many there are.
const REAPED_MAX: usize = 4096;

/// How a process ended, as far as that is known.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// For people: `exit code 1`, `signal 9`, ….
    pub(super) how: String,
    /// Whether it had exit code 0.
    pub(super) is_clean: bool,
}

impl Seen {
    pub(super) fn failed(how: String) -> Self {
        Self { how, is_clean: false }
    }

    /// It was no child of ours, so nobody tells.
    pub(super) fn unknown() -> Self {
        Self::failed("an end that nobody saw".into())
    }
}

/// Opens a process to watch it; `None` where it is gone.
pub(super) fn open(identity: &Identity, is_child: bool) -> Result<Option<OwnedFd>, Fault> {
    let raw = i32::try_from(identity.pid.get()).ok().and_then(rustix::process::Pid::from_raw);
    let Some(raw) = raw else { return Ok(None) };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(io::Error::from(errno).into()),
    };
    // A child keeps its number until it is reaped, and we alone reap it. For another, looked at
    // after it was opened: what is the one that was written down now was so then.
    if !is_child {
        let is = ProcessDir::open(identity.pid).and_then(|process| process.is(identity));
        match is {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(fault) if fault.is_gone() => return Ok(None),
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(Some(pidfd))
}

/// Waits for the end of a process, for a signal, or for so long; says whether the process ended,
/// however many signals come.
pub(super) fn wait(
    signals: &Signals,
    process: Option<&OwnedFd>,
    most: Duration,
) -> Result<bool, Fault> {
    let mut watched = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    watched.extend(process.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    let most = Timespec::try_from(most).ok();
    match poll(&mut watched, most.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(io::Error::from(errno).into()),
    }
    let came = |at: usize| watched.get(at).is_some_and(|fd| !fd.revents().is_empty());
    if came(0) {
        signals.settle();
    }
    Ok(came(1))
}

/// Reaps a child that ended and says how it did.
pub(super) fn ending(identity: &Identity, is_child: bool) -> Seen {
    let raw = i32::try_from(identity.pid.get()).ok().and_then(rustix::process::Pid::from_raw);
    if !is_child {
        return Seen::unknown();
    }
    match rustix::process::waitpid(raw, WaitOptions::NOHANG) {
        Ok(Some((_, status))) => of_status(status),
        Ok(None) | Err(_) => Seen::unknown(),
    }
}

fn of_status(status: WaitStatus) -> Seen {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Seen { how: format!("exit code {code}"), is_clean: code == 0 },
        (None, Some(signal)) => Seen::failed(format!("signal {signal}")),
        (None, None) => Seen::unknown(),
    }
}

/// Reaps what has ended, at most [`REAPED_MAX`] at a time; says how the editor ended where it is a
/// child of ours and among them.
pub(super) fn reap(editor: Option<&Identity>) -> Option<Seen> {
    let mut seen = None;
    for _ in 0..REAPED_MAX {
        let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) else { break };
        let pid = u32::try_from(pid.as_raw_nonzero().get()).ok().and_then(Pid::new);
        if editor.is_some_and(|editor| Some(editor.pid) == pid) {
            seen = Some(of_status(status));
        }
    }
    seen
}
