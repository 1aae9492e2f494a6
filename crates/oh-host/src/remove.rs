//! Removing a tree that others may be changing at the same time.
//!
//! Everything goes through open folders: a name is never resolved twice, no link is followed, and
//! what is mounted inside is not entered, whatever file system it is of (statx(2) tells the mount).
//! What belongs to somebody else stays where it is, where that is asked for, and with it the folders above it; the rest goes
//! on. A tree may be deeper than there are descriptors: the folders in the middle of the way are
//! closed, and found again from below, where they have to be the very ones that were left.
//!
//! Whoever owns a folder of the tree can exchange what is in it at any moment. What they can have
//! removed by that is only what they could have removed themselves: entries of folders that are
//! theirs.

mod walk;

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::signals::Interrupts;
use walk::Walk;

/// How many things that stay are named; the rest is counted.
pub const LEFT_NAMED_MAX: usize = 1000;

/// How many threads remove a tree at most: beyond that they wait for the same file system.
const THREADS_MAX: usize = 4;

/// How deep the first fork of a tree is looked for.
const FORK_DEPTH_MAX: usize = 8;

/// How a folder is opened to be emptied.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What may be removed, and who is told how far it is.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// The users whose things are removed; `None` is whoever has put something there.
    pub owners: Option<&'r [u32]>,
    /// Counts what is removed while it goes on.
    pub progress: Option<&'r AtomicU64>,
    /// What ends it between two names.
    pub interrupts: Option<&'r Interrupts>,
}

/// Why something stays.
#[derive(Debug)]
pub enum Why {
    /// It belongs to another user.
    Owner(u32),
    /// Something is mounted there.
    Mount,
    /// Others go on putting things into it.
    Grows,
    /// It was moved away while what is below it was removed.
    Moved,
    /// The system did not allow it.
    System(io::Error),
}

impl Rules<'_> {
    fn spare(self, uid: u32) -> bool {
        self.owners.is_some_and(|owners| !owners.contains(&uid))
    }

    fn is_interrupted(self) -> bool {
        self.interrupts.is_some_and(Interrupts::is_asked)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(uid) => write!(f, "it belongs to uid {uid}"),
            Self::Mount => f.write_str("something is mounted there"),
            Self::Grows => f.write_str("others go on putting things into it"),
            Self::Moved => f.write_str("it was moved away meanwhile"),
            Self::System(error) => error.fmt(f),
        }
    }
}

/// Something that stays. Folders that stay because of what is in them are not told.
#[derive(Debug)]
pub struct Left {
    /// Its path, as far as it was known when it was looked at.
    pub path: PathBuf,
    /// Why it stays.
    pub why: Why,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Removed {
    /// How many files, links, sockets and the like are gone.
    pub files: u64,
    /// How many folders are gone.
    pub folders: u64,
    /// How much room they had, in bytes; what has other names still has it.
    pub bytes: u64,
    /// What stays, the first [`LEFT_NAMED_MAX`].
    pub left: Vec<Left>,
    /// How much stays.
    pub left_count: u64,
    /// Whether a signal ended it before it had come to all of it.
    pub is_cut: bool,
}

impl Removed {
    fn leave(&mut self, path: PathBuf, why: Why) {
        self.left_count += 1;
        if self.left.len() < LEFT_NAMED_MAX {
            self.left.push(Left { path, why });
        }
    }

    /// Says whether nothing is left of it.
    pub const fn is_whole(&self) -> bool {
        self.left_count == 0 && !self.is_cut
    }

    /// Adds what else was done.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.folders += other.folders;
        self.bytes += other.bytes;
        self.left_count += other.left_count;
        self.is_cut |= other.is_cut;
        let room = LEFT_NAMED_MAX - self.left.len();
        self.left.extend(other.left.into_iter().take(room));
    }
}

/// Removes what has this path: a folder with all that is in it, or anything else. That it is not
/// there is no fault.
///
/// The way to it is believed: links in it are followed, but not one in its place.
///
/// # Errors
/// Where the folder that it is in cannot be opened. What stays is in the answer.
pub fn remove(path: &RealPath, rules: Rules<'_>) -> io::Result<Removed> {
    let parent = rustix::fs::open(path.parent().as_str(), FOLDER, Mode::empty())?;
    let (above, name) = (path.parent(), OsStr::new(path.name()));
    Ok(remove_in(parent.as_fd(), name, Path::new(above.as_str()), rules))
}

/// [`remove`] for a name in an open folder, which is called `shown` in what stays.
pub fn remove_in(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path, rules: Rules<'_>) -> Removed {
    let mut removed = Removed::default();
    match CString::new(name.as_bytes()) {
        Ok(name) => branch(parent, &name, shown, rules, 0, &mut removed),
        Err(_) => removed.leave(shown.join(name), Why::System(Errno::INVAL.into())),
    }
    removed
}

/// Removes a name. The first folder on the way with several folders in it is where threads share the
/// work.
fn branch(
    parent: BorrowedFd<'_>,
    name: &CStr,
    shown: &Path,
    rules: Rules<'_>,
    depth: usize,
    removed: &mut Removed,
) {
    let mut walk = Walk::new(parent, shown, rules);
    let Some(folder) = walk.enter(name) else { return removed.add(walk.finish()) };
    let (folders, _) = walk.flatten(folder.as_fd());
    removed.add(walk.finish());
    let inside = shown.join(os(name));
    match folders.as_slice() {
        [only] if depth < FORK_DEPTH_MAX => {
            branch(folder.as_fd(), only, &inside, rules, depth + 1, removed);
        }
        several => share(folder.as_fd(), several, &inside, rules, removed),
    }
    if removed.is_whole() {
        let mut walk = Walk::new(parent, shown, rules);
        walk.remove_again(folder.as_fd(), name);
        removed.add(walk.finish());
    }
}

/// Removes folders of one folder, several at a time.
fn share(
    folder: BorrowedFd<'_>,
    names: &[CString],
    shown: &Path,
    rules: Rules<'_>,
    removed: &mut Removed,
) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(THREADS_MAX).min(names.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut walk = Walk::new(folder, shown, rules);
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            walk.remove(name);
        }
        walk.finish()
    };
    if threads < 2 {
        return removed.add(work());
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => removed.add(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
}

/// Takes a name away; one that went by itself is gone too.
fn unlink(folder: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        gone => gone,
    }
}

fn count(progress: Option<&AtomicU64>) {
    if let Some(progress) = progress {
        progress.fetch_add(1, Ordering::Relaxed);
    }
}

fn os(name: &CStr) -> OsString {
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

#[cfg(test)]
mod tests;
