//! Taking things away, many at once: each is looked at once more right before its rename and again
//! behind it, and the folders are synced once for all.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oh_model::escaped::Name;
use oh_model::path::RealPath;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{
    Keeps, Number, Place, QuarantineFault, Taken, Thing, c_name, io, rename, stat, stat_or_none,
    told,
};
use crate::atomic;
use crate::folder::FileKind;
use crate::mounts::{self, MOUNTS, Mounts};
use crate::way::{Way, WayFault};

/// A thing that is to be taken, as it was looked at, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// The thing.
    pub thing: &'w Thing,
    /// Its place.
    pub place: &'w Place,
    /// Whether only its number counts, and not when it was changed or how long it is.
    pub may_change: bool,
}

/// Takes a thing away into its place; what is there by now instead of it stays.
///
/// # Errors
/// [`QuarantineFault`]; the thing is where it was, or in its place.
pub fn take(wanted: Wanted<'_>) -> Result<Taken, QuarantineFault> {
    let mounts = read_mounts()?;
    let mut pair = match Pair::open(&wanted.thing.folder, &wanted.place.folder)? {
        Some(pair) => pair,
        None => return Ok(Taken::Gone),
    };
    let taken = pair.take(wanted, &mounts)?;
    if taken == Taken::Moved {
        pair.sync()?;
    }
    Ok(taken)
}

/// Takes many things away, each as [`take`] does; what keeps one of them keeps no other. What is
/// mounted where is read once, each folder is gone to once and synced once, so that many cost little
/// more than their renames. The answers are in the order of the things.
///
/// # Errors
/// None as a whole. A folder that cannot be used, or not be synced, is the fault of each thing in it;
/// the thing is where it was, or in its place.
pub fn take_all(wanted: &[Wanted<'_>]) -> Vec<Result<Taken, Arc<QuarantineFault>>> {
    let mounts = match read_mounts() {
        Ok(mounts) => mounts,
        Err(fault) => {
            let fault = Arc::new(fault);
            return wanted.iter().map(|_| Err(Arc::clone(&fault))).collect();
        }
    };
    let mut pairs: BTreeMap<(&RealPath, &RealPath), Vec<(usize, Wanted<'_>)>> = BTreeMap::new();
    for (at, one) in wanted.iter().enumerate() {
        pairs.entry((&one.thing.folder, &one.place.folder)).or_default().push((at, *one));
    }
    let mut taken = BTreeMap::new();
    for ((from, store), of_pair) in pairs {
        of_a_pair(from, store, &of_pair, &mounts, &mut taken);
    }
    // By their numbers: in their order.
    taken.into_values().collect()
}

type Answers = BTreeMap<usize, Result<Taken, Arc<QuarantineFault>>>;

fn of_a_pair(
    from: &RealPath,
    store: &RealPath,
    wanted: &[(usize, Wanted<'_>)],
    mounts: &Mounts,
    taken: &mut Answers,
) {
    let mut all = |answer: &dyn Fn() -> Result<Taken, Arc<QuarantineFault>>| {
        taken.extend(wanted.iter().map(|(at, _)| (*at, answer())));
    };
    let mut pair = match Pair::open(from, store) {
        Ok(Some(pair)) => pair,
        Ok(None) => return all(&|| Ok(Taken::Gone)),
        Err(fault) => {
            let fault = Arc::new(fault);
            return all(&|| Err(Arc::clone(&fault)));
        }
    };
    let mut moved = Vec::new();
    for (at, one) in wanted {
        let answer = pair.take(*one, mounts).map_err(Arc::new);
        moved.extend(matches!(answer, Ok(Taken::Moved)).then_some(*at));
        taken.insert(*at, answer);
    }
    if moved.is_empty() {
        return;
    }
    if let Err(fault) = pair.sync() {
        let fault = Arc::new(fault);
        taken.extend(moved.into_iter().map(|at| (at, Err(Arc::clone(&fault)))));
    }
}

fn read_mounts() -> Result<Mounts, QuarantineFault> {
    Mounts::read().map_err(|source| QuarantineFault::Io {
        doing: "read",
        path: MOUNTS.into(),
        source,
    })
}

/// The folder that things are in, and the one that they go to.
struct Pair {
    folder: RealPath,
    from: OwnedFd,
    number: Number,
    mount: u64,
    /// What the kernel calls the folder.
    shown: Vec<u8>,
    store: OwnedFd,
}

impl Pair {
    /// Opens both; `None` where the one that the things are in is gone.
    fn open(folder: &RealPath, store: &RealPath) -> Result<Option<Self>, QuarantineFault> {
        let store = atomic::own_folder(store)?;
        let way = match Way::to(folder) {
            Err(WayFault::NoFolder { .. }) => return Ok(None),
            way => way?,
        };
        let from = way.open()?;
        let fault = |errno| io("look at", folder, errno);
        let above = stat(from.as_fd(), c"", AtFlags::EMPTY_PATH).map_err(fault)?;
        let shown = mounts::shown_by_kernel(from.as_fd()).map_err(fault)?;
        let (number, mount) = (Number::of(&above), above.stx_mnt_id);
        Ok(Some(Self { folder: folder.clone(), from, number, mount, shown, store }))
    }

    fn take(&mut self, wanted: Wanted<'_>, mounts: &Mounts) -> Result<Taken, QuarantineFault> {
        let Wanted { thing, place, may_change } = wanted;
        let cause = |errno| io("move away", thing.shown(), errno);
        let (name, number) = (c_name(thing.name.as_bytes()), c_name(place.name().as_bytes()));
        if self.number != thing.folder_number {
            return Ok(self.already(thing, &number)?.unwrap_or(Taken::Kept(Keeps::AnotherFolder)));
        }
        let there = stat_or_none(self.from.as_fd(), &name).map_err(cause)?;
        let Some(there) = there else {
            return Ok(self.already(thing, &number)?.unwrap_or(Taken::Gone));
        };
        let is_mount = there.stx_mnt_id != self.mount;
        let now = told(&there, &self.folder, self.number, &thing.name, is_mount);
        let path = [self.shown.as_slice(), b"/", thing.name.as_bytes()].concat();
        if is_mount || mounts.at_or_below(&path).is_some() {
            return Ok(Taken::Kept(Keeps::Mounted));
        }
        if !now.is(thing) {
            return Ok(Taken::Kept(Keeps::Another));
        }
        if !may_change && !now.is_unchanged(thing) {
            return Ok(Taken::Kept(Keeps::Changed));
        }
        // Held over the rename: whoever wants it meanwhile is told that it is taken.
        let _lock = match lock_in(self.from.as_fd(), &name, now.kind) {
            Lock::Theirs => return Ok(Taken::Kept(Keeps::Locked)),
            Lock::Ours(lock) => Some(lock),
            Lock::None => None,
        };
        match rename(self.from.as_fd(), &name, self.store.as_fd(), &number) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Taken::Gone),
            // Something was mounted on it in this moment.
            Err(Errno::BUSY) => return Ok(Taken::Kept(Keeps::Mounted)),
            Err(errno) => return Err(cause(errno)),
        }
        self.judged(wanted, &name, &number)
    }

    /// Looks at what was moved: whoever may write to the folder may have put something else there since
    /// it was looked at, and whoever had it open may have written to it.
    fn judged(
        &self,
        Wanted { thing, may_change, .. }: Wanted<'_>,
        name: &CStr,
        number: &CStr,
    ) -> Result<Taken, QuarantineFault> {
        let cause = |errno| io("move away", thing.shown(), errno);
        let Some(stat) = stat_or_none(self.store.as_fd(), number).map_err(cause)? else {
            return Ok(Taken::Moved);
        };
        let moved = told(&stat, &thing.folder, thing.folder_number, &thing.name, false);
        // Some file systems take the new way up for a change of a folder.
        let is_written =
            !may_change && moved.kind != FileKind::Folder && !moved.is_unchanged(thing);
        let keeps = match () {
            () if !moved.is(thing) => Keeps::Another,
            () if is_written => Keeps::Changed,
            () => return Ok(Taken::Moved),
        };
        match rename(self.store.as_fd(), number, self.from.as_fd(), name) {
            Ok(()) => Ok(Taken::Kept(keeps)),
            Err(Errno::EXIST) => Ok(Taken::Stranded(Box::new(moved))),
            Err(errno) => Err(io("put back what had taken the place of", thing.shown(), errno)),
        }
    }

    /// Says whether a thing that is not where it was is in its place.
    fn already(&self, thing: &Thing, number: &CStr) -> Result<Option<Taken>, QuarantineFault> {
        let there = stat_or_none(self.store.as_fd(), number);
        let there = there.map_err(|errno| io("look for", thing.shown(), errno))?;
        let is_it = there.is_some_and(|there| Number::of(&there).is_still(thing.number));
        Ok(is_it.then_some(Taken::Already))
    }

    fn sync(&self) -> Result<(), QuarantineFault> {
        for folder in [&self.store, &self.from] {
            rustix::fs::fsync(folder).map_err(|errno| io("sync", &self.folder, errno))?;
        }
        Ok(())
    }
}

/// Whose the lock of a thing is (flock(2)).
enum Lock {
    /// Somebody else's, shared or not.
    Theirs,
    /// Ours, as long as the file is open.
    Ours(OwnedFd),
    /// Nobody's that could be told: it has none, or cannot be opened.
    None,
}

/// Says whether somebody holds the lock of a file or folder (flock(2)), as systemd-tmpfiles asks.
pub fn is_locked_in(folder: BorrowedFd<'_>, name: &Name, kind: FileKind) -> bool {
    matches!(lock_in(folder, &c_name(name.as_bytes()), kind), Lock::Theirs)
}

fn lock_in(folder: BorrowedFd<'_>, name: &CString, kind: FileKind) -> Lock {
    // To open a device does something, and the others are held in other ways.
    if !matches!(kind, FileKind::Folder | FileKind::Regular) {
        return Lock::None;
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()) else {
        return Lock::None;
    };
    // A shared one would stand beside others that are shared. Where files have to be open for writing
    // for that (NFS), shared is all that can be had.
    let lock = |how| rustix::fs::flock(&file, how);
    let tried = match lock(FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::BADF) => lock(FlockOperation::NonBlockingLockShared),
        tried => tried,
    };
    match tried {
        Err(Errno::WOULDBLOCK) => Lock::Theirs,
        Ok(()) => Lock::Ours(file),
        Err(_) => Lock::None,
    }
}
