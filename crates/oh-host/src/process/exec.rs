//! The moment of an exec, in which a process has neither arguments nor an environment.
//!
//! It is over in a moment and worth waiting for: what is missed in it may be what is looked for. But
//! anybody may make processes that look so for ever, so a look at many waits once for all of them
//! together, and not for each. One whose first thread has ended shows what it has in its others.

use core::time::Duration;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use super::{ARGUMENT_BYTES_MAX, ProcessDir, ProcessFault, each_name};

/// How long one look waits for those in the moment of an exec.
const EXEC_WAIT: Duration = Duration::from_millis(20);
/// How long it waits before it looks at them again.
const EXEC_PAUSE: Duration = Duration::from_millis(1);

/// How many threads of one process are asked: anybody can have thousands.
const THREADS_MAX: usize = 16;

/// What one look at a process saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance<T> {
    /// What there was to see.
    Seen(T),
    /// It may be in the moment of an exec: another look may see more.
    InExec,
}

/// Looks at many, and again at those that `look` gives back, which may be in the moment of an exec:
/// at all of them together, for 20 ms at most and one look over them. Who is in it still has shown
/// nothing.
///
/// # Errors
/// What `look` says.
pub fn settle<T, E>(
    many: Vec<T>,
    mut look: impl FnMut(Vec<T>) -> Result<Vec<T>, E>,
) -> Result<(), E> {
    let mut in_exec = look(many)?;
    let end = Instant::now() + EXEC_WAIT;
    while !in_exec.is_empty() && Instant::now() < end {
        std::thread::sleep(EXEC_PAUSE);
        in_exec = look(in_exec)?;
    }
    Ok(())
}

impl ProcessDir {
    /// Reads `cmdline` or `environ`, and not in the moment of an exec.
    pub(super) fn read_settled(&self, name: &str) -> Result<Vec<u8>, ProcessFault> {
        let mut seen = Vec::new();
        settle(vec![()], |_| -> Result<_, ProcessFault> {
            Ok(match self.glance(name)? {
                Glance::Seen(bytes) => {
                    seen = bytes;
                    Vec::new()
                }
                Glance::InExec => vec![()],
            })
        })?;
        Ok(seen)
    }

    /// Reads the arguments without waiting, for a look at many (see [`settle`]).
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn glance_arguments(&self) -> Result<Glance<Vec<Vec<u8>>>, ProcessFault> {
        Ok(match self.glance("cmdline")? {
            Glance::Seen(bytes) => Glance::Seen(super::split_arguments(&bytes)),
            Glance::InExec => Glance::InExec,
        })
    }

    /// Reads `cmdline` or `environ` as it is, and says where that may be the moment of an exec.
    pub(super) fn glance(&self, name: &str) -> Result<Glance<Vec<u8>>, ProcessFault> {
        let bytes = match self.read(name, ARGUMENT_BYTES_MAX) {
            Ok(bytes) if !bytes.is_empty() => return Ok(Glance::Seen(bytes)),
            Ok(bytes) => bytes,
            // What the first thread had is gone for the kernel too.
            Err(fault) if fault.is_gone() => Vec::new(),
            Err(fault) => return Err(fault),
        };
        let stat = self.stat()?;
        if stat.state == 'Z' && stat.threads > 1 {
            // One of the others may be in the moment of an exec, which makes it the first.
            let read = self.read_of_a_thread(name)?;
            return Ok(read.map_or(Glance::InExec, Glance::Seen));
        }
        if !self.read("cmdline", ARGUMENT_BYTES_MAX)?.is_empty() {
            // The moment is over; an environment that is empty now is so.
            return Ok(Glance::Seen(self.read(name, ARGUMENT_BYTES_MAX)?));
        }
        let has_none = stat.is_dead() || stat.is_kernel;
        Ok(if has_none { Glance::Seen(bytes) } else { Glance::InExec })
    }

    /// Opens the folder of what the process has open. One whose first thread has ended shows it in its
    /// others only.
    pub(super) fn open_files(&self) -> Result<OwnedFd, ProcessFault> {
        let fault = |errno: rustix::io::Errno| {
            ProcessFault::of("list the files of", self.pid(), errno.into())
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &str| rustix::fs::openat(&self.folder, path, flags, Mode::empty());
        let files = open("fd").map_err(fault)?;
        let mut is_empty = true;
        each_name(files.as_fd(), |_| {
            is_empty = false;
            false
        })
        .map_err(fault)?;
        if is_empty && self.stat()?.threads > 1 {
            let others = self.other_threads()?.into_iter();
            if let Some(of_other) =
                others.filter_map(|at| open(&format!("task/{at}/fd")).ok()).next()
            {
                return Ok(of_other);
            }
        }
        // It was listed: from the begin, as whoever asks for it expects.
        open("fd").map_err(fault)
    }

    /// Reads what all threads of a process have in common from one that lives; `None` where none of
    /// those that are asked does.
    fn read_of_a_thread(&self, name: &str) -> Result<Option<Vec<u8>>, ProcessFault> {
        let mut seen = None;
        for number in self.other_threads()? {
            match self.read(&format!("task/{number}/{name}"), ARGUMENT_BYTES_MAX) {
                // It may be on its way out, and another one have more.
                Ok(bytes) if bytes.is_empty() => seen = Some(bytes),
                Err(fault) if fault.is_gone() => {}
                read => return read.map(Some),
            }
        }
        Ok(seen)
    }

    /// The numbers of some threads beside the first.
    fn other_threads(&self) -> Result<Vec<String>, ProcessFault> {
        let fault = |errno: rustix::io::Errno| {
            ProcessFault::of("list the threads of", self.pid(), errno.into())
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let threads = rustix::fs::openat(&self.folder, "task", flags, Mode::empty());
        let own = self.pid().to_string();
        let mut numbers: Vec<String> = Vec::new();
        each_name(threads.map_err(fault)?.as_fd(), |number| {
            let number = core::str::from_utf8(number).unwrap_or_default();
            numbers.extend((number != own).then(|| number.to_owned()));
            numbers.len() < THREADS_MAX
        })
        .map_err(fault)?;
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_never_settle_are_waited_for_no_longer_than_one() {
        let looks_max = 1 + EXEC_WAIT.as_millis() / EXEC_PAUSE.as_millis();
        for count in [1, 100_000] {
            let mut looks = 0;
            let settled: Result<(), ()> = settle(vec![(); count], |all| {
                looks += 1;
                assert_eq!(all.len(), count);
                Ok(all)
            });
            settled.unwrap();
            assert!((2..=looks_max).contains(&looks), "{looks} looks at {count}");
        }
    }

    #[test]
    fn what_settles_is_looked_at_until_it_does() {
        let mut seen = Vec::new();
        let settled: Result<(), ()> = settle(vec![3, 1, 2_u32], |all| {
            seen.extend(all.iter().copied().filter(|left| *left == 1));
            Ok(all.into_iter().filter(|left| *left > 1).map(|left: u32| left - 1).collect())
        });
        settled.unwrap();
        assert_eq!(seen, [1, 1, 1]);
    }
}
