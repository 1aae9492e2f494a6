//! Out of the way by a rename: what is taken away can come back, byte by byte, until it is purged.
//!
//! A thing is known by its file system and number, so that what somebody puts in its place between
//! the look and the rename is neither taken nor lost: a rename follows no link, what turns out to be
//! something else is put back at once, and nothing is ever renamed over something. A rename works
//! within one mount, so each mount has a quarantine of its own: ours is a folder of the toolkit, and
//! where that is on another mount, a folder at the top of the mount. Each is its user's alone (0700),
//! and what was a stranger's name there already is passed by.
//!
//! Who may be deprived of what is decided elsewhere. Nothing here is undone or removed by itself.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oh_model::escaped::Name;
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::run::RunId;
use rustix::fs::{AtFlags, Mode, RenameFlags, Statx, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::atomic::{self, FileFault, Meta};
use crate::folder::FileKind;
use crate::mounts::{self, MOUNTS, Mounts};
use crate::random::{self, RandomFault};
use crate::remove::{self, Removed, Rules};
use crate::root::Root;
use crate::way::{Way, WayFault};

mod back;
mod hold;
mod take;

pub use back::{put_back, put_back_all};
pub use hold::{NoHold, no_hold, no_state};
pub use take::{Wanted, is_locked_in, take, take_all};

/// The quarantine of the mount that it is on, below the root; mode 0700.
pub const QUARANTINE_FOLDER: &str = "/var/lib/openhands-toolkit/quarantine";

/// How the quarantine at the top of another mount is called; where that is a stranger's, a text that
/// nobody could have foreseen is behind it.
pub const QUARANTINE_NAME: &str = ".openhands-toolkit-quarantine";

/// The folder of the next run, in each quarantine.
const SPARE: &str = ".spare";

/// The user of what is mounted and shows itself to nobody else: the number that no user can have.
pub const HIDDEN_UID: u32 = u32::MAX;

/// How many names are tried at the top of a mount.
const ATTEMPTS_MAX: usize = 4;

const PRIVATE: Meta = Meta { mode: 0o700, owner: None };

/// Says why something was neither taken nor put back.
#[derive(Debug, Error)]
pub enum QuarantineFault {
    /// There is no unpredictable name.
    #[error("a quarantine cannot be named")]
    Random(#[from] RandomFault),
    /// A path does not fit below this root.
    #[error("a path of the quarantine cannot be used")]
    Path(#[from] PathFault),
    /// The folder of the quarantine cannot be made, or is not ours.
    #[error("the quarantine cannot be used")]
    Folder(#[from] FileFault),
    /// The way to a thing is not to be gone.
    #[error("the folder that it is in cannot be opened")]
    Way(#[from] WayFault),
    /// A system call failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// What is in a place is not what was moved there.
    #[error("{path} is not what was moved there")]
    Another {
        /// The place.
        path: String,
    },
    /// The mount of a thing has no folder for a quarantine.
    #[error("there is no quarantine on its mount ({mount}): {why}")]
    NoPlace {
        /// Where it is mounted.
        mount: String,
        /// Why.
        why: String,
    },
}

/// A name in a folder, and which very thing it led to when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// The folder that it is in.
    pub folder: RealPath,
    /// Which folder that is.
    pub folder_number: Number,
    /// Its name there.
    pub name: Name,
    /// Which thing it is.
    pub number: Number,
    /// What it is.
    pub kind: FileKind,
    /// Whose it is.
    pub uid: u32,
    /// When it was last changed, in nanoseconds since the epoch; for a folder, what is in it.
    pub modified_ns: i64,
    /// How long it is, in bytes; of no meaning for anything but a file.
    pub size_bytes: u64,
    /// Whether something is mounted in its place.
    pub is_mount: bool,
}

impl Thing {
    /// Says whether another look saw the same thing, with the same owner.
    fn is(&self, other: &Self) -> bool {
        (self.number, self.kind, self.uid) == (other.number, other.kind, other.uid)
    }

    /// Says whether another look saw it as it was then: neither written since nor of another length.
    fn is_unchanged(&self, then: &Self) -> bool {
        let length = |thing: &Self| (thing.kind == FileKind::Regular).then_some(thing.size_bytes);
        self.modified_ns == then.modified_ns && length(self) == length(then)
    }

    /// Its path, for people.
    pub fn shown(&self) -> String {
        format!("{}/{}", self.folder.as_str().trim_end_matches('/'), self.name)
    }
}

/// Which file or folder of this machine. Inodes are given anew at once, so the birth counts too where the
/// file system tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The major and minor number of its file system's device: of this boot.
    pub device: (u32, u32),
    /// Its inode there.
    pub inode: u64,
    /// When it was made, in nanoseconds since the epoch; `None` where nobody knows.
    pub born_ns: Option<i64>,
}

impl Number {
    fn of(stat: &Statx) -> Self {
        let knows_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let (seconds, rest) = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let born = seconds.saturating_mul(1_000_000_000).saturating_add(rest.into());
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born_ns: knows_birth.then_some(born),
        }
    }

    /// Says whether it is the same after another boot, which numbers devices anew.
    const fn is_still(self, other: Self) -> bool {
        let is_born_then = match (self.born_ns, other.born_ns) {
            (Some(one), Some(other)) => one == other,
            (None, None) => true,
            _ => false,
        };
        self.inode == other.inode && is_born_then
    }
}

/// Where a thing is that was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The folder of the run in a quarantine.
    pub folder: RealPath,
    /// The name of the thing there.
    pub number: usize,
}

impl Place {
    fn name(&self) -> String {
        self.number.to_string()
    }
}

/// What became of a thing that was to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in its place now.
    Moved,
    /// It was there already.
    Already,
    /// There is no such name any more.
    Gone,
    /// It stays where it is, or what is there by now does.
    Kept(Keeps),
    /// Something else had its name at the very moment, was moved, and cannot go back, because
    /// somebody has made that name again: this very thing is in the place.
    Stranded(Box<Thing>),
}

/// Why a thing was not taken away at the very moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Its name leads to something else by now.
    Another,
    /// The folder that it was in is another one by now.
    AnotherFolder,
    /// It was changed since it was looked at.
    Changed,
    /// Somebody holds its lock.
    Locked,
    /// Something is mounted on it, or in it.
    Mounted,
}

impl core::fmt::Display for Keeps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Another => "something else has its name by now, and stays",
            Self::AnotherFolder => "the folder that it was in is another one by now",
            Self::Changed => "it was changed meanwhile",
            Self::Locked => "somebody holds its lock by now",
            Self::Mounted => "something is mounted there by now",
        })
    }
}

/// What became of a thing that was to be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// It is where it was.
    Moved,
    /// It was there already.
    Already,
    /// It is neither in its place nor where it was.
    Missing,
    /// What is in its place is something else, which stays there.
    Unrecognised,
    /// Something new has its name, which stays.
    Occupied,
    /// The folder that it was in is another one by now.
    AnotherFolder,
}

/// Looks at a name in a folder; `None` where there is nothing.
///
/// # Errors
/// [`QuarantineFault`].
pub fn look(folder: &RealPath, name: &Name) -> Result<Option<Thing>, QuarantineFault> {
    let way = match Way::to(folder) {
        Err(WayFault::NoFolder { .. }) => return Ok(None),
        way => way?,
    };
    look_in(way.as_fd(), folder, name)
}

/// The same in an open folder.
///
/// # Errors
/// [`QuarantineFault`].
pub fn look_in(
    open: BorrowedFd<'_>,
    folder: &RealPath,
    name: &Name,
) -> Result<Option<Thing>, QuarantineFault> {
    let shown = || format!("{folder}/{name}");
    let above =
        stat(open, c"", AtFlags::EMPTY_PATH).map_err(|errno| io("look at", folder, errno))?;
    // What somebody mounted there may never answer; what the kernel knows by itself is enough.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let name_there = c_name(name.as_bytes());
    let stat = match stat(open, &name_there, flags) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        // What somebody mounted there may show itself to nobody else.
        Err(errno) => match mounts::number_and_top(open, &name_there, flags) {
            Ok((number, _)) if number != above.stx_mnt_id => {
                return Ok(Some(hidden(folder, Number::of(&above), name)));
            }
            _ => return Err(io("look at", shown(), errno)),
        },
    };
    let is_mount = stat.stx_mnt_id != above.stx_mnt_id;
    Ok(Some(told(&stat, folder, Number::of(&above), name, is_mount)))
}

/// A mount of which nothing is shown: it is nobody's whom we know.
fn hidden(folder: &RealPath, folder_number: Number, name: &Name) -> Thing {
    Thing {
        folder: folder.clone(),
        folder_number,
        name: name.clone(),
        number: Number { device: (0, 0), inode: 0, born_ns: None },
        kind: FileKind::Unknown,
        uid: HIDDEN_UID,
        modified_ns: 0,
        size_bytes: 0,
        is_mount: true,
    }
}

/// Puts down what the kernel tells of a thing.
fn told(
    stat: &Statx,
    folder: &RealPath,
    folder_number: Number,
    name: &Name,
    is_mount: bool,
) -> Thing {
    let seconds = stat.stx_mtime.tv_sec.saturating_mul(1_000_000_000);
    Thing {
        folder: folder.clone(),
        folder_number,
        name: name.clone(),
        number: Number::of(stat),
        kind: FileKind::of_mode(stat.stx_mode.into()),
        uid: stat.stx_uid,
        modified_ns: seconds.saturating_add(stat.stx_mtime.tv_nsec.into()),
        size_bytes: stat.stx_size,
        is_mount,
    }
}

/// The quarantines of a run, one for each mount.
#[derive(Debug)]
pub struct Quarantine<'r> {
    root: &'r Root,
    run: RunId,
    /// The folders of the run, by the number of their mount.
    folders: BTreeMap<u64, RealPath>,
    /// The same by the folder that things are in: many are in one.
    by_source: BTreeMap<RealPath, RealPath>,
}

impl<'r> Quarantine<'r> {
    /// Begins with none.
    pub fn new(root: &'r Root, run: RunId) -> Self {
        Self { root, run, folders: BTreeMap::new(), by_source: BTreeMap::new() }
    }

    /// Makes the place that a thing will have, so that it can be written down before it is taken.
    ///
    /// # Errors
    /// [`QuarantineFault`].
    pub fn place(&mut self, thing: &Thing, number: usize) -> Result<Place, QuarantineFault> {
        // Whether that folder is another one by the time is asked when the thing is taken.
        if let Some(folder) = self.by_source.get(&thing.folder) {
            return Ok(Place { folder: folder.clone(), number });
        }
        let way = Way::to(&thing.folder)?;
        let above = stat(way.as_fd(), c"", AtFlags::EMPTY_PATH)
            .map_err(|errno| io("look at", &thing.folder, errno))?;
        let mount = above.stx_mnt_id;
        let folder = match self.folders.get(&mount) {
            Some(folder) => folder.clone(),
            None => {
                let quarantine = self.folder_on(mount)?;
                let folder = quarantine.join(&self.run.to_string())?;
                match atomic::create_dirs(&folder, PRIVATE) {
                    Err(fault) if fault.is_no_space() && take_spare(&quarantine, &folder)? => {}
                    made => drop(made?),
                }
                keep_spare(&quarantine);
                self.folders.insert(mount, folder.clone());
                folder
            }
        };
        self.by_source.insert(thing.folder.clone(), folder.clone());
        Ok(Place { folder, number })
    }

    /// Finds or makes the quarantine of a mount.
    fn folder_on(&self, mount: u64) -> Result<RealPath, QuarantineFault> {
        let own = self.root.real(&InRoot::parse(QUARANTINE_FOLDER)?)?;
        atomic::create_dirs(&own, PRIVATE)?;
        let way = Way::to(&own)?;
        let there = stat(way.as_fd(), c"", AtFlags::EMPTY_PATH)
            .map_err(|errno| io("look at", &own, errno))?;
        if there.stx_mnt_id == mount {
            return Ok(own);
        }
        let top = mount_point(mount)?;
        let none = |why: &str| QuarantineFault::NoPlace { mount: top.to_string(), why: why.into() };
        if self.root.inside(&top).is_none() {
            return Err(none("it is above the root"));
        }
        // Anybody can have the plain name where everybody may write, and nobody one that is drawn.
        for attempt in 0..ATTEMPTS_MAX {
            let name = match attempt {
                0 => QUARANTINE_NAME.to_owned(),
                _ => format!("{QUARANTINE_NAME}-{}", random::token()?),
            };
            let folder = top.join(&name)?;
            match atomic::create_dirs(&folder, PRIVATE) {
                Ok(_) if is_ours_on(&folder, mount)? => return Ok(folder),
                Ok(_)
                | Err(
                    FileFault::NotAFolder { .. }
                    | FileFault::FolderOwner { .. }
                    | FileFault::FolderWritable { .. }
                    | FileFault::Exchanged { .. },
                ) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(none("others have all its names"))
    }
}

/// Makes the folder of the next run ahead, for a disk that has no inode for it then. Where this one has
/// none already, or it is there, that is so.
fn keep_spare(quarantine: &RealPath) {
    if let Ok(store) = atomic::own_folder(quarantine) {
        rustix::fs::mkdirat(&store, SPARE, Mode::RWXU).ok();
    }
}

/// Makes the spare the folder of a run; says whether there was one.
fn take_spare(quarantine: &RealPath, folder: &RealPath) -> Result<bool, QuarantineFault> {
    let store = atomic::own_folder(quarantine)?;
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(&store, SPARE, &store, folder.name(), flags) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(io("take the spare for", folder, errno)),
    }
    rustix::fs::fsync(&store).map_err(|errno| io("sync the folder of", folder, errno))?;
    // Ours alone, as one that is made.
    atomic::own_folder(folder)?;
    Ok(true)
}

/// Removes a thing that is in its place for good, whosever it is; what is mounted in it stays, and is
/// named.
///
/// # Errors
/// [`QuarantineFault`] where the place is not ours, or something else is in it. That nothing is there is
/// none.
pub fn purge(thing: &Thing, place: &Place, rules: Rules<'_>) -> Result<Removed, QuarantineFault> {
    let store = match atomic::own_folder(&place.folder) {
        Ok(store) => store,
        Err(FileFault::Way(WayFault::NoFolder { .. })) => return Ok(Removed::default()),
        Err(fault) => return Err(fault.into()),
    };
    let shown = Path::new(place.folder.as_str());
    let name = place.name();
    let held = stat_or_none(store.as_fd(), &c_name(name.as_bytes()));
    let held = held.map_err(|errno| io("look at", format!("{}/{name}", place.folder), errno))?;
    if held.is_some_and(|held| !Number::of(&held).is_still(thing.number)) {
        return Err(QuarantineFault::Another { path: format!("{}/{name}", place.folder) });
    }
    Ok(remove::remove_in(store.as_fd(), OsStr::from_bytes(name.as_bytes()), shown, rules))
}

/// Removes for good all that a run moved to the quarantine of the toolkit's own folder: for one whose
/// journal says nothing any more. What it moved to those of other mounts is not looked for.
///
/// # Errors
/// [`QuarantineFault`] where the quarantine is not ours. That nothing is there is none.
pub fn purge_run(root: &Root, run: &RunId, rules: Rules<'_>) -> Result<Removed, QuarantineFault> {
    let own = root.real(&InRoot::parse(QUARANTINE_FOLDER)?)?;
    let store = match atomic::own_folder(&own) {
        Ok(store) => store,
        Err(FileFault::Way(WayFault::NoFolder { .. })) => return Ok(Removed::default()),
        Err(fault) => return Err(fault.into()),
    };
    let (name, shown) = (run.to_string(), Path::new(own.as_str()));
    Ok(remove::remove_in(store.as_fd(), OsStr::new(&name), shown, rules))
}

/// Removes the folder of a run where nothing is in it any more.
pub fn close(folder: &RealPath) {
    // One that is not empty, or gone, is as it is to be.
    drop(std::fs::remove_dir(folder.as_str()));
}

/// Says whether a folder is ours alone and on this mount.
fn is_ours_on(folder: &RealPath, mount: u64) -> Result<bool, QuarantineFault> {
    let open = match atomic::own_folder(folder) {
        Ok(open) => open,
        Err(FileFault::FolderOwner { .. } | FileFault::FolderWritable { .. }) => return Ok(false),
        Err(fault) => return Err(fault.into()),
    };
    let there = stat(open.as_fd(), c"", AtFlags::EMPTY_PATH);
    Ok(there.map_err(|errno| io("look at", folder, errno))?.stx_mnt_id == mount)
}

/// Returns where a mount is.
fn mount_point(mount: u64) -> Result<RealPath, QuarantineFault> {
    let mounts = Mounts::read();
    let mounts = mounts.map_err(|source| QuarantineFault::Io {
        doing: "read",
        path: MOUNTS.into(),
        source,
    })?;
    let none = |why: String| QuarantineFault::NoPlace { mount: format!("mount {mount}"), why };
    let point = mounts.point_of(mount).and_then(|point| core::str::from_utf8(point).ok());
    let point = point.ok_or_else(|| none("nobody knows where it is".into()))?;
    RealPath::parse(point).map_err(|fault| none(fault.to_string()))
}

fn stat(folder: BorrowedFd<'_>, name: &core::ffi::CStr, flags: AtFlags) -> Result<Statx, Errno> {
    let wanted = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID).union(StatxFlags::BTIME);
    let stat = rustix::fs::statx(folder, name, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
    // Before Linux 5.8 nobody would know what is mounted where.
    let knows_mount = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
    if knows_mount { Ok(stat) } else { Err(Errno::NOSYS) }
}

fn stat_or_none(folder: BorrowedFd<'_>, name: &core::ffi::CStr) -> Result<Option<Statx>, Errno> {
    match stat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn rename(
    from: BorrowedFd<'_>,
    name: &core::ffi::CStr,
    to: BorrowedFd<'_>,
    new_name: &core::ffi::CStr,
) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE)
}

fn c_name(bytes: &[u8]) -> CString {
    // A Name has no NUL, and a number neither.
    CString::new(bytes).unwrap_or_default()
}

fn io(doing: &'static str, path: impl ToString, errno: Errno) -> QuarantineFault {
    QuarantineFault::Io { doing, path: path.to_string(), source: errno.into() }
}

#[cfg(test)]
mod tests;
