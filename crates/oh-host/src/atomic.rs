//! Files that are either the old or the new one, whatever happens in between.
//!
//! A new content is written beside the target under an unpredictable name, gets its owner and
//! mode, is synced, and takes the target's place by one rename; a kill, a full disk or a power
//! cut leaves the old file or the new one, complete. What a killed run leaves behind carries our
//! name pattern and the identity of its creator, and [`sweep`] takes it away.
//!
//! Folders on the way are opened once and every step is relative to them. This room does not
//! judge who else may write to such a folder: [`crate::folder`] does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oh_model::path::{PathFault, RealPath};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use crate::folder::{FileKind, each_name};
use crate::process::{self, Pid};
use crate::random::{self, RandomFault};
use crate::users::OwnerSet;
use crate::way::{Way, WayFault};

/// How the name of a temporary file of ours begins.
const TEMP_PREFIX: &str = ".oht-";
/// How it ends; no include of nginx takes such a name.
const TEMP_SUFFIX: &str = ".tmp";
/// The mode of a file while it is being written.
const TEMP_MODE: u32 = 0o600;
/// The mode of folders that are made on the way to the one that was asked for.
const WAY: Meta = Meta { mode: 0o755, owner: None };

/// Says why a file or folder was not read or changed. The target is as it was, except after
/// [`FileFault::Unsynced`].
#[derive(Debug, Error)]
pub enum FileFault {
    /// A system call failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something that has to be a regular file is something else.
    #[error("{path} is {kind}, not a regular file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// Something that has to be a folder is something else.
    #[error("{path} is {kind}, not a folder")]
    NotAFolder {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// A folder that exists belongs to somebody else than it has to.
    #[error("the folder {path} belongs to uid {uid}, not to uid {expected}")]
    FolderOwner {
        /// The folder.
        path: String,
        /// Its owner.
        uid: u32,
        /// Who has to own it.
        expected: u32,
    },
    /// A folder that exists may be written by more people than it has to.
    #[error("the folder {path} has mode {mode:04o}: others may write to it")]
    FolderWritable {
        /// The folder.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The way to a file or folder is not to be gone.
    #[error(transparent)]
    Way(#[from] WayFault),
    /// A folder that was made was exchanged before it was finished.
    #[error("what was made beside {path} is another folder by now: somebody exchanged it")]
    Exchanged {
        /// The folder that was to be made.
        path: String,
    },
    /// A file has more bytes than are taken.
    #[error("{path} has more than {max} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit, in bytes.
        max: u64,
    },
    /// The root folder cannot be replaced or removed.
    #[error("/ is no file")]
    NoName,
    /// A text that has to be a path is none.
    #[error("this is no path")]
    Path {
        /// The rule that it breaks.
        source: PathFault,
    },
    /// There was no unpredictable name for a temporary file.
    #[error("cannot name a temporary file beside {path}")]
    Random {
        /// The target.
        path: String,
        /// Why.
        source: RandomFault,
    },
    /// The change was made, but the disk did not confirm it: a power cut may undo it.
    #[error("{path} was changed, but the disk did not confirm it")]
    Unsynced {
        /// The path that was changed.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl FileFault {
    /// Says whether the disk is full, or the user's part of it.
    pub fn is_no_space(&self) -> bool {
        let (Self::Io { source, .. } | Self::Unsynced { source, .. }) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    fn io(doing: &'static str, path: impl ToString, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_string(), source: source.into() }
    }
}

/// The permission bits and the owner of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The permission bits, up to `0o7777`. The umask does not touch them.
    pub mode: u32,
    /// The user and group; `None` leaves it with whoever runs.
    pub owner: Option<(u32, u32)>,
}

impl Meta {
    /// Returns mode and owner of a file that exists, so that its successor can have the same;
    /// `None` where there is nothing.
    ///
    /// # Errors
    /// [`FileFault::NotAFile`], or [`FileFault::Io`].
    pub fn of(path: &RealPath) -> Result<Option<Self>, FileFault> {
        match stat_or_none(rustix::fs::CWD, path.as_str()) {
            Ok(None) => Ok(None),
            Ok(Some(stat)) => {
                regular(path, &stat)?;
                Ok(Some(Self {
                    mode: stat.st_mode & 0o7777,
                    owner: Some((stat.st_uid, stat.st_gid)),
                }))
            }
            Err(errno) => Err(FileFault::io("look at", path, errno)),
        }
    }
}

/// Says whether there was anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The machine is different now.
    Changed,
    /// It was already as wanted; nothing was written.
    Unchanged,
}

/// Says what became of a file that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone now.
    Done,
    /// There was none.
    Absent,
}

/// Gives a file this content, mode and owner, in one step and durably.
///
/// Equal bytes, mode and owner write nothing. A target that exists has to be a regular file: a
/// symbolic link is refused, not followed and not replaced.
///
/// # Errors
/// [`FileFault`]; the target is untouched and the temporary file gone, except that after
/// [`FileFault::Unsynced`] the new file stands.
pub fn replace(path: &RealPath, bytes: &[u8], meta: Meta) -> Result<Change, FileFault> {
    replace_in(parent_of(path)?.as_fd(), path, bytes, meta)
}

/// [`replace`] in the open folder of the file.
///
/// # Errors
/// As [`replace`].
pub fn replace_in(
    folder: BorrowedFd<'_>,
    path: &RealPath,
    bytes: &[u8],
    meta: Meta,
) -> Result<Change, FileFault> {
    if is_already(folder, path, bytes, meta)? {
        return Ok(Change::Unchanged);
    }
    Temp::filled(folder, path, bytes, meta)?.take_the_place_of(path)?;
    Ok(Change::Changed)
}

/// Gives a file this content and mode in one step, for readers of this boot only: nothing is
/// synced. It is for `/run`.
///
/// # Errors
/// [`FileFault`]; the target is untouched.
pub fn replace_for_now(path: &RealPath, bytes: &[u8], mode: u32) -> Result<(), FileFault> {
    let folder = parent_of(path)?;
    let fault = |source| FileFault::io("write the new", path, source);
    let (mut temp, mut file) = Temp::create(folder.as_fd(), path)?;
    file.write_all(bytes).map_err(fault)?;
    give(file.as_fd(), Meta { mode, owner: None }).map_err(|errno| fault(errno.into()))?;
    temp.rename_to(path)
}

/// Removes a file (or a symbolic link itself), durably.
///
/// # Errors
/// [`FileFault`]; a folder is never removed.
pub fn remove_file(path: &RealPath) -> Result<Removed, FileFault> {
    let folder = match parent_of(path) {
        Ok(folder) => folder,
        Err(FileFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Removed::Absent);
        }
        Err(fault) => return Err(fault),
    };
    remove_in(folder.as_fd(), path)
}

/// [`remove_file`] in the open folder of the file.
///
/// # Errors
/// As [`remove_file`].
pub fn remove_in(folder: BorrowedFd<'_>, path: &RealPath) -> Result<Removed, FileFault> {
    match rustix::fs::unlinkat(folder, path.name(), AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Removed::Absent),
        Err(errno) => return Err(FileFault::io("remove", path, errno)),
    }
    confirm(folder, path)?;
    Ok(Removed::Done)
}

/// Reads a regular file of at most `max` bytes; `None` where there is none.
///
/// Follows symbolic links and asks nothing about owners: it is for places that only root writes.
/// A FIFO, a socket or a device cannot hang it.
///
/// # Errors
/// [`FileFault`].
pub fn read_limited(path: &RealPath, max: u64) -> Result<Option<Vec<u8>>, FileFault> {
    let stat = match rustix::fs::stat(path.as_str()) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(FileFault::io("look at", path, errno)),
    };
    regular(path, &stat)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path.as_str(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(FileFault::io("open", path, errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| FileFault::io("look at", path, errno))?;
    regular(path, &stat)?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FileFault::io("read", path, source))?;
    if bytes.len() as u64 > max {
        return Err(FileFault::TooLarge { path: path.to_string(), max });
    }
    Ok(Some(bytes))
}

/// Makes a folder, and those above it that are missing (mode 0755, whoever runs owns them).
///
/// The folder itself gets the mode and owner. One that exists is left as it is and has to be a
/// real folder (no symbolic link), owned by `meta.owner` (by root or whoever runs, where there is
/// none), and not writable by group or others unless `meta.mode` says so. On the way, a link is
/// followed only where nobody but root or whoever runs could have put it.
///
/// # Errors
/// [`FileFault`]; folders made on the way stay.
pub fn create_dirs(path: &RealPath, meta: Meta) -> Result<Change, FileFault> {
    make_dirs(path, meta, None)
}

/// [`create_dirs`] where users have folders: each one on the way has to be one of the owners'.
///
/// # Errors
/// [`FileFault`]; folders made on the way stay.
pub fn create_dirs_among(
    path: &RealPath,
    meta: Meta,
    owners: &OwnerSet,
) -> Result<Change, FileFault> {
    make_dirs(path, meta, Some(owners))
}

fn make_dirs(path: &RealPath, meta: Meta, owners: Option<&OwnerSet>) -> Result<Change, FileFault> {
    let fault = |doing, errno: Errno| FileFault::io(doing, path, errno);
    let mut way = Way::begin(true)?;
    let parts: Vec<&str> = path.as_str().split('/').filter(|part| !part.is_empty()).collect();
    let Some((last, above)) = parts.split_last() else { return Ok(Change::Unchanged) };
    for part in above {
        make_folder(way.as_fd(), part, WAY, path)?;
        way.enter(part)?;
        owners.map_or(Ok(()), |owners| way.belongs_to(owners))?;
    }
    if make_folder(way.as_fd(), last, meta, path)? {
        return Ok(Change::Changed);
    }
    let stat = rustix::fs::statat(way.as_fd(), *last, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| fault("look at", e))?;
    let kind = FileKind::of_mode(stat.st_mode);
    if kind != FileKind::Folder {
        return Err(FileFault::NotAFolder { path: path.to_string(), kind });
    }
    check_folder(path, &stat, meta)?;
    Ok(Change::Unchanged)
}

/// Makes a folder with its mode and owner in one step; says whether it was made.
///
/// It is finished under a name of ours before it gets its own, so that a run that is killed leaves
/// either no folder or a whole one.
fn make_folder(
    above: BorrowedFd<'_>,
    name: &str,
    meta: Meta,
    path: &RealPath,
) -> Result<bool, FileFault> {
    let fault = |doing, errno: Errno| FileFault::io(doing, path, errno);
    if stat_or_none(above, name).map_err(|e| fault("look at", e))?.is_some() {
        return Ok(false);
    }
    let temp = temp_name(path)?;
    rustix::fs::mkdirat(above, &temp, Mode::from_raw_mode(0o700)).map_err(|e| fault("make", e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let placed = rustix::fs::openat(above, &temp, flags, Mode::empty()).and_then(|folder| {
        let is_new = is_new_folder(above, folder.as_fd())?;
        if is_new {
            finish_folder(above, folder.as_fd(), &temp, name, meta).map(Some)
        } else {
            Ok(None)
        }
    });
    if placed != Ok(Some(true)) {
        // What is left of it is swept by a later run.
        rustix::fs::unlinkat(above, &temp, AtFlags::REMOVEDIR).ok();
    }
    let placed = placed.map_err(|e| fault("make", e))?;
    placed.ok_or_else(|| FileFault::Exchanged { path: path.to_string() })
}

/// Says whether a folder is one that was just made here: whoever owns the folder above may have
/// put another one under its name, and gets no right on that.
fn is_new_folder(above: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (parent, stat) = (rustix::fs::fstat(above)?, rustix::fs::fstat(folder)?);
    let own = rustix::process::geteuid().as_raw();
    // The group of a folder above that is set-gid is handed down with the bit.
    let is_made = stat.st_uid == own && stat.st_mode & 0o5077 == 0;
    let mut is_empty = true;
    each_name(folder, |_| {
        is_empty = false;
        false
    })?;
    Ok(is_made && is_empty && stat.st_dev == parent.st_dev)
}

/// Gives a new folder its mode, its owner and its name; says whether the name was still free.
fn finish_folder(
    above: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    temp: &str,
    name: &str,
    meta: Meta,
) -> Result<bool, Errno> {
    give(folder, meta)?;
    match rustix::fs::renameat_with(above, temp, above, name, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    // Best effort: what is put into the folder is synced by whoever needs it to last.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(open) = rustix::fs::openat(above, ".", flags, Mode::empty()) {
        rustix::fs::fsync(open).ok();
    }
    Ok(true)
}

/// Opens a folder that has to be of whoever runs, and open to nobody else.
///
/// # Errors
/// [`FileFault`], also where there is none.
pub fn own_folder(folder: &RealPath) -> Result<OwnedFd, FileFault> {
    let way = Way::to(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if let Some(last) = way.passed().last() {
        let path = folder.to_string();
        if last.uid != own {
            return Err(FileFault::FolderOwner { path, uid: last.uid, expected: own });
        }
        if last.mode & 0o077 != 0 {
            return Err(FileFault::FolderWritable { path, mode: last.mode });
        }
    }
    Ok(way.open()?)
}

/// Removes what killed runs left in a folder: files with our name pattern whose creator no longer
/// lives. Returns their names.
///
/// A creator in another pid namespace cannot be seen; should its file be taken away, its rename
/// fails and its target stays as it was.
///
/// # Errors
/// [`FileFault`]; a folder that is missing is swept clean.
pub fn sweep(folder: &RealPath) -> Result<Vec<String>, FileFault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = match rustix::fs::open(folder.as_str(), flags, Mode::empty()) {
        Ok(open) => open,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(FileFault::io("open", folder, errno)),
    };
    let mut left = Vec::new();
    each_name(open.as_fd(), |name| {
        let name = core::str::from_utf8(name).unwrap_or_default();
        if creator_of(name).is_some_and(|(pid, start)| !process::lives(pid, start)) {
            left.push(name.to_owned());
        }
        true
    })
    .map_err(|errno| FileFault::io("list", folder, errno))?;
    let mut removed = Vec::new();
    for name in left {
        let kind = stat_or_none(open.as_fd(), &name)
            .map_err(|errno| FileFault::io("look at what is left in", folder, errno))?
            .map(|stat| FileKind::of_mode(stat.st_mode));
        let flags = match kind {
            Some(FileKind::Regular | FileKind::Link) => Some(AtFlags::empty()),
            // A folder that never got its name has nothing in it, or is not ours to empty.
            Some(FileKind::Folder) => Some(AtFlags::REMOVEDIR),
            _ => None,
        };
        if let Some(flags) = flags {
            match rustix::fs::unlinkat(&open, &name, flags) {
                Ok(()) => removed.push(name),
                Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(FileFault::io("sweep", folder, errno)),
            }
        }
    }
    removed.sort_unstable();
    Ok(removed)
}

/// A temporary file that goes away unless it took its place.
pub(crate) struct Temp<'f> {
    folder: BorrowedFd<'f>,
    name: String,
    placed: bool,
}

impl<'f> Temp<'f> {
    pub(crate) fn create(
        folder: BorrowedFd<'f>,
        target: &RealPath,
    ) -> Result<(Self, File), FileFault> {
        let name = temp_name(target)?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &name, flags, Mode::from_raw_mode(TEMP_MODE))
            .map_err(|errno| FileFault::io("make a temporary file beside", target, errno))?;
        Ok((Self { folder, name, placed: false }, File::from(file)))
    }

    /// Makes a symbolic link instead of a file.
    pub(crate) fn create_link(
        folder: BorrowedFd<'f>,
        target: &RealPath,
        says: &str,
    ) -> Result<Self, FileFault> {
        let name = temp_name(target)?;
        rustix::fs::symlinkat(says, folder, &name)
            .map_err(|errno| FileFault::io("make a temporary link beside", target, errno))?;
        Ok(Self { folder, name, placed: false })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn take_the_place_of(mut self, target: &RealPath) -> Result<(), FileFault> {
        self.rename_to(target)?;
        confirm(self.folder, target)
    }

    /// Takes a name in the folder that is free, and says whether it was; [`confirm`] makes it last.
    pub(crate) fn take_the_free_name(&mut self, target: &RealPath) -> Result<bool, FileFault> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(self.folder, &self.name, self.folder, target.name(), flags)
        {
            Ok(()) => self.placed = true,
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(FileFault::io("give its name to the new", target, errno)),
        }
        Ok(true)
    }

    /// Takes the name of the target and gives it ours, so that what is dropped is the old file; says
    /// whether this file system can. [`confirm`] makes it last; a second time undoes it.
    pub(crate) fn exchange_with(&self, target: &RealPath) -> Result<bool, FileFault> {
        let flags = RenameFlags::EXCHANGE;
        match rustix::fs::renameat_with(self.folder, &self.name, self.folder, target.name(), flags)
        {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS) => Ok(false),
            Err(errno) => Err(FileFault::io("put the new file in place of", target, errno)),
        }
    }

    /// Makes a file of ours that has everything but its name.
    pub(crate) fn filled(
        folder: BorrowedFd<'f>,
        target: &RealPath,
        bytes: &[u8],
        meta: Meta,
    ) -> Result<Self, FileFault> {
        let (temp, file) = Self::create(folder, target)?;
        fill(file, bytes, meta).map_err(|source| FileFault::io("write the new", target, source))?;
        Ok(temp)
    }

    pub(crate) fn rename_to(&mut self, target: &RealPath) -> Result<(), FileFault> {
        rustix::fs::renameat(self.folder, &self.name, self.folder, target.name())
            .map_err(|errno| FileFault::io("put the new file in place of", target, errno))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // The fault that brought us here is the one to tell; a left-over is swept later.
            rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty()).ok();
        }
    }
}

fn fill(mut file: File, bytes: &[u8], meta: Meta) -> io::Result<()> {
    file.write_all(bytes)?;
    give(file.as_fd(), meta)?;
    file.sync_all()
}

/// Gives the owner first: chown(2) takes away the set-id bits of a mode.
pub(crate) fn give(file: BorrowedFd<'_>, meta: Meta) -> Result<(), Errno> {
    if let Some((uid, gid)) = meta.owner {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode & 0o7777))
}

/// Says whether a file of an open folder has this content, whoever owns it; a link has none.
///
/// # Errors
/// [`FileFault`].
pub fn has_bytes_in(
    folder: BorrowedFd<'_>,
    path: &RealPath,
    bytes: &[u8],
) -> Result<bool, FileFault> {
    let look = |errno| FileFault::io("look at", path, errno);
    let Some(stat) = stat_or_none(folder, path.name()).map_err(look)? else { return Ok(false) };
    regular(path, &stat)?;
    Ok(reads_as(folder, path, bytes))
}

fn is_already(
    folder: BorrowedFd<'_>,
    path: &RealPath,
    bytes: &[u8],
    meta: Meta,
) -> Result<bool, FileFault> {
    let look = |errno| FileFault::io("look at", path, errno);
    let Some(stat) = stat_or_none(folder, path.name()).map_err(look)? else { return Ok(false) };
    regular(path, &stat)?;
    let same = stat.st_mode & 0o7777 == meta.mode & 0o7777
        && meta.owner.is_none_or(|owner| owner == (stat.st_uid, stat.st_gid))
        && u64::try_from(stat.st_size) == Ok(bytes.len() as u64);
    Ok(same && reads_as(folder, path, bytes))
}

fn reads_as(folder: BorrowedFd<'_>, path: &RealPath, bytes: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, path.name(), flags, Mode::empty()) else {
        // Not ours to read, then ours to write anew: the rename needs no right on the old file.
        return false;
    };
    let mut found = Vec::with_capacity(bytes.len() + 1);
    let read = File::from(file).take(bytes.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == bytes
}

fn check_folder(path: &RealPath, stat: &Stat, meta: Meta) -> Result<(), FileFault> {
    let me = rustix::process::geteuid().as_raw();
    let expected = meta.owner.map_or(me, |(uid, _)| uid);
    if stat.st_uid != expected && (meta.owner.is_some() || stat.st_uid != 0) {
        return Err(FileFault::FolderOwner { path: path.to_string(), uid: stat.st_uid, expected });
    }
    if stat.st_mode & 0o022 & !meta.mode != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(FileFault::FolderWritable { path: path.to_string(), mode });
    }
    Ok(())
}

pub(crate) fn parent_of(path: &RealPath) -> Result<OwnedFd, FileFault> {
    if path.name().is_empty() {
        return Err(FileFault::NoName);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = path.parent();
    rustix::fs::open(parent.as_str(), flags, Mode::empty())
        .map_err(|errno| FileFault::io("open the folder", parent, errno))
}

/// Makes what was renamed in a folder last.
pub(crate) fn confirm(folder: BorrowedFd<'_>, path: &RealPath) -> Result<(), FileFault> {
    rustix::fs::fsync(folder)
        .map_err(|errno| FileFault::Unsynced { path: path.to_string(), source: errno.into() })
}

fn regular(path: &RealPath, stat: &Stat) -> Result<(), FileFault> {
    match FileKind::of_mode(stat.st_mode) {
        FileKind::Regular => Ok(()),
        kind => Err(FileFault::NotAFile { path: path.to_string(), kind }),
    }
}

pub(crate) fn stat_or_none(folder: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes `.oht-PID-START-RANDOM.tmp`: who made it, and nothing that can be guessed.
fn temp_name(target: &RealPath) -> Result<String, FileFault> {
    let random =
        random::token().map_err(|source| FileFault::Random { path: target.to_string(), source })?;
    let (pid, start) = process::own_start().map_err(|fault| {
        FileFault::io("name a temporary file beside", target, io::Error::other(fault))
    })?;
    Ok(format!("{TEMP_PREFIX}{pid}-{start}-{random}{TEMP_SUFFIX}"))
}

/// Says whether a name is one of our temporary files or folders, whoever made it.
pub fn is_temporary(name: &str) -> bool {
    creator_of(name).is_some()
}

fn creator_of(name: &str) -> Option<(Pid, u64)> {
    let mut parts = name.strip_prefix(TEMP_PREFIX)?.strip_suffix(TEMP_SUFFIX)?.split('-');
    let (pid, start, random) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none()
        && random.len() == 2 * random::TOKEN_BYTES
        && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pid = Pid::new(pid.parse().ok()?)?;
    whole.then_some((pid, start.parse().ok()?))
}

#[cfg(test)]
mod tests;
