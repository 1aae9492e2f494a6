//! Reading what others wrote, without being hung or tricked by it.
//!
//! [`read_folder`] reads the `*.json` files of a folder such as `/tmp/openhands-sessions`,
//! [`read_owned_file`] a single file such as a database, [`read_trusted`] a configuration file
//! that decides what root does. A symbolic link is never followed into a place that its maker
//! could not read, a FIFO or a device is never opened, an entry that is refused does not touch
//! the fate of the others, and the kernel's word (fstat) counts, not the file's.
//!
//! This room does not understand what is in a file; `oh-model` does. It cannot defend against a
//! file system that hangs by itself (a dead NFS server).

use core::fmt;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use oh_model::hint::shell_word;
use oh_model::path::RealPath;
use oh_model::routes::FileNumber;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::mounts;
use crate::users::OwnerSet;
use crate::way::{Way, WayFault};

mod memory;
mod trust;

pub use memory::Memory;
pub use trust::{TrustFault, read_trusted};

/// The bytes of directory entries that are asked for at once.
const LISTING_BYTES: usize = 32 * 1024;
/// What the name of a session file ends with.
const SUFFIX: &[u8] = b".json";
/// How a file is opened that a stranger may have put there: no link, no wait, no terminal.
const WARY: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO (named pipe).
    Fifo,
    /// A unix socket.
    Socket,
    /// A block or character device.
    Device,
    /// Something the kernel has no name for.
    Unknown,
}

impl FileKind {
    /// Reads the kind out of `st_mode`.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Self::Regular,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            FileType::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "a regular file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Unknown => "of an unknown kind",
        })
    }
}

/// How much is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most names in the folder, those that are not read among them.
    pub entries_max: usize,
    /// The most bytes of one file.
    pub file_bytes_max: u64,
}

/// What a folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// There is no such folder.
    Absent,
    /// It was read.
    Present {
        /// The `*.json` names, sorted by their bytes.
        entries: Vec<Entry>,
        /// How many other names there are: dot files, temporary files, other endings.
        ignored: usize,
    },
}

impl Folder {
    /// Returns the entries; none where the folder is absent.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Absent => &[],
            Self::Present { entries, .. } => entries,
        }
    }
}

/// One `*.json` name of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as the folder has it; any bytes.
    pub name: OsString,
    /// What the file has, or why it is not believed.
    pub verdict: Result<FileFacts, Refusal>,
}

impl Entry {
    /// Returns the name without `.json`; `None` where it is not UTF-8.
    pub fn stem(&self) -> Option<&str> {
        self.name.to_str()?.strip_suffix(".json")
    }

    /// Returns the name for people: control characters and stray bytes are escaped.
    pub fn shown_name(&self) -> String {
        self.name.as_bytes().escape_ascii().to_string()
    }
}

/// A file that was read, and what the kernel says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// What is in it.
    pub text: String,
    /// Which file it is.
    pub file: FileNumber,
    /// The user that owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// Its size in bytes.
    pub size: u64,
}

/// The bytes of a file, and all that shows that it is another or was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) file: FileNumber,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Its size, and its times in nanoseconds since 1970.
    state: (i128, i128, i128),
}

impl FileBytes {
    /// Says whether it was not written to since; under which name it is does not count.
    pub(crate) fn is_as_written(&self, then: &Self) -> bool {
        let written = |one: &Self| (one.file, one.state.0, one.state.1);
        written(self) == written(then) && self.bytes == then.bytes
    }
}

/// Says why a file is not believed, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is no regular file.
    #[error("it is {0}, not a regular file: put a plain file there")]
    NotAFile(FileKind),
    /// Somebody owns it who is not trusted.
    #[error(
        "it belongs to uid {0}, who is not among the owners: chown it, or add the owner to the \
         configuration"
    )]
    Owner(u32),
    /// It has further names, so it may be a stranger's file that was linked here.
    #[error("it has {0} names (hard links): copy it instead of linking it")]
    Links(u64),
    /// Everybody may write to it.
    #[error("its mode {0:04o} lets everybody write to it: chmod o-w")]
    WorldWritable(u32),
    /// A group may write to it that is not its owner's alone.
    #[error("its mode {mode:04o} lets group {gid} write to it: chmod g-w")]
    GroupWritable {
        /// The permission bits.
        mode: u32,
        /// The group.
        gid: u32,
    },
    /// It has too many bytes.
    #[error("it has {size} bytes, the most is {max}")]
    TooLarge {
        /// Its size when it was looked at.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// It was written or exchanged while it was being read.
    #[error("it changed while it was being read: write it under another name and rename it")]
    Changing,
    /// It is not UTF-8.
    #[error("it is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Unreadable(Errno),
}

/// Says why a whole folder is not believed.
#[derive(Debug, Error)]
pub enum FolderFault {
    /// The path leads to something else.
    #[error("{path} is {kind}, not a folder")]
    NotAFolder {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// Its owner is not trusted.
    #[error("the folder {path} belongs to uid {uid}, who is not among the owners")]
    Owner {
        /// The folder.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// Its group or everybody may add and exchange files; a sticky bit does not change that.
    #[error("the folder {path} has mode {mode:04o}: others than its owner may put files there")]
    Writable {
        /// The folder.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It has more names than are taken.
    #[error("the folder {path} has more than {max} entries")]
    TooMany {
        /// The folder.
        path: String,
        /// The limit.
        max: usize,
    },
    /// The way to it is not to be gone.
    #[error(transparent)]
    Way(#[from] WayFault),
    /// It cannot be opened or listed.
    #[error("cannot {doing} the folder {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl FolderFault {
    /// Returns the command that mends it, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { path, .. } => {
                Some(format!("chown --no-dereference root: {}", shell_word(path)))
            }
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", shell_word(path))),
            Self::TooMany { path, .. } => {
                Some(format!("find {} -maxdepth 1 -mtime +7 -name '*.json'", shell_word(path)))
            }
            Self::NotAFolder { .. } | Self::Way(_) | Self::Io { .. } => None,
        }
    }
}

/// Says why a single file is not believed.
#[derive(Debug, Error)]
#[error("{path} is not used")]
pub struct OwnedFault {
    /// The file.
    pub path: String,
    /// Why.
    #[source]
    pub refusal: Refusal,
}

/// Reads the `*.json` files of a folder, sorted by name.
///
/// The folder has to be a real one, owned by root or one of `owners`, and writable by its owner
/// alone. A file has to be regular, have one name, belong to one of `owners`, be writable by
/// nobody else (by the owner's private group at most), be no larger than the limit, hold still
/// while it is read, and be UTF-8; what is not is an entry with a [`Refusal`]. A file that goes
/// away in between was never there.
///
/// # Errors
/// [`FolderFault`] where nothing in the folder can be believed. A missing folder is
/// [`Folder::Absent`].
pub fn read_folder(
    path: &RealPath,
    limits: Limits,
    owners: &OwnerSet,
) -> Result<Folder, FolderFault> {
    read_folder_again(path, limits, owners, &mut Memory::default())
}

/// [`read_folder`], where files that did not change since the last time are looked at and not read.
///
/// # Errors
/// As [`read_folder`].
pub fn read_folder_again(
    path: &RealPath,
    limits: Limits,
    owners: &OwnerSet,
    memory: &mut Memory,
) -> Result<Folder, FolderFault> {
    let Some(folder) = open_folder(path, owners)? else { return Ok(Folder::Absent) };
    let (mut names, mut seen) = (Vec::new(), 0);
    each_name(folder.as_fd(), |name| {
        seen += 1;
        if name.ends_with(SUFFIX) && !name.starts_with(b".") {
            names.push(OsString::from_vec(name.to_vec()));
        }
        seen <= limits.entries_max
    })
    .map_err(|errno| folder_io("list", path, errno))?;
    if seen > limits.entries_max {
        return Err(FolderFault::TooMany { path: path.to_string(), max: limits.entries_max });
    }
    let ignored = seen - names.len();
    names.sort_unstable();
    let mut reader = Reader::new(limits.file_bytes_max, owners);
    reader.memory = core::mem::take(memory);
    let entries = names
        .into_iter()
        .filter_map(|name| {
            let verdict = reader.read(folder.as_fd(), &name).transpose()?;
            Some(Entry { name, verdict })
        })
        .collect();
    *memory = reader.memory.turned();
    Ok(Folder::Present { entries, ignored })
}

/// Opens a folder whose files may count, as [`read_folder`] judges it; `None` where there is none.
///
/// # Errors
/// [`FolderFault`].
pub fn open_folder(path: &RealPath, owners: &OwnerSet) -> Result<Option<OwnedFd>, FolderFault> {
    let io = |doing, errno| folder_io(doing, path, errno);
    let above = match Way::to(&path.parent()) {
        Ok(above) => above,
        Err(WayFault::NoFolder { .. }) => return Ok(None),
        Err(fault) => return Err(fault.into()),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named = match rustix::fs::openat(above.as_fd(), path.name(), flags, Mode::empty()) {
        Ok(named) => named,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io("look at", errno)),
    };
    // What a stranger has mounted there may never answer.
    if let Some(uid) = mounts::answered_by(named.as_fd()) {
        return Err(WayFault::Mounted { path: path.to_string(), uid }.into());
    }
    let stat = rustix::fs::fstat(&named).map_err(|errno| io("look at", errno))?;
    let kind = FileKind::of_mode(stat.st_mode);
    if kind != FileKind::Folder {
        return Err(FolderFault::NotAFolder { path: path.to_string(), kind });
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(above.as_fd(), path.name(), flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io("open", errno)),
    };
    let stat = rustix::fs::fstat(&folder).map_err(|errno| io("look at", errno))?;
    if !owners.contains(stat.st_uid) {
        return Err(FolderFault::Owner { path: path.to_string(), uid: stat.st_uid });
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(FolderFault::Writable { path: path.to_string(), mode });
    }
    Ok(Some(folder))
}

fn folder_io(doing: &'static str, path: &RealPath, errno: Errno) -> FolderFault {
    FolderFault::Io { doing, path: path.to_string(), source: errno.into() }
}

/// Reads one file as [`read_folder`] reads each of its files; `None` where there is none.
///
/// The folders above are not judged and links among them are followed; the file itself may not
/// be a link.
///
/// # Errors
/// [`OwnedFault`].
pub fn read_owned_file(
    path: &RealPath,
    bytes_max: u64,
    owners: &OwnerSet,
) -> Result<Option<FileFacts>, OwnedFault> {
    Reader::new(bytes_max, owners)
        .read(rustix::fs::CWD, OsStr::new(path.as_str()))
        .map_err(|refusal| OwnedFault { path: path.to_string(), refusal })
}

/// [`read_owned_file`] in a folder that is open, whatever the bytes are.
pub(crate) fn read_owned_bytes(
    folder: BorrowedFd<'_>,
    name: &str,
    bytes_max: u64,
    owners: &OwnerSet,
) -> Result<Option<FileBytes>, Refusal> {
    let mut reader = Reader::new(bytes_max, owners);
    let name = OsStr::new(name);
    let Some(before) = reader.look(folder, name)? else { return Ok(None) };
    let Some((stat, length)) = reader.open_and_fill(folder, name, &before)? else {
        return Ok(None);
    };
    let mut bytes = reader.buffer;
    bytes.truncate(length);
    Ok(Some(FileBytes {
        bytes,
        file: number(&stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        state: state(&stat),
    }))
}

/// Calls back with each name of an open folder but `.` and `..`, until the answer is false.
///
/// # Errors
/// The system's.
pub fn each_name(folder: BorrowedFd<'_>, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Errno> {
    let mut buffer: Vec<u8> = Vec::with_capacity(LISTING_BYTES);
    let mut listing = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !take(name) {
            break;
        }
    }
    Ok(())
}

/// Reads files one after the other through one buffer.
struct Reader<'o> {
    /// One byte longer than the limit, so that a longer file shows.
    buffer: Vec<u8>,
    max: u64,
    owners: &'o OwnerSet,
    memory: Memory,
}

impl<'o> Reader<'o> {
    fn new(max: u64, owners: &'o OwnerSet) -> Self {
        Self { buffer: Vec::new(), max, owners, memory: Memory::default() }
    }

    fn read(&mut self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileFacts>, Refusal> {
        let Some(before) = self.look(folder, name)? else { return Ok(None) };
        if let Some(facts) = self.memory.recall(name, &before) {
            return Ok(Some(facts));
        }
        let Some((opened, length)) = self.open_and_fill(folder, name, &before)? else {
            return Ok(None);
        };
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let text = core::str::from_utf8(bytes)
            .map_err(|fault| Refusal::NotUtf8(fault.valid_up_to()))?
            .to_owned();
        let facts = FileFacts {
            text,
            file: number(&opened),
            uid: opened.st_uid,
            gid: opened.st_gid,
            mode: opened.st_mode & 0o7777,
            modified_ns: modified_ns(&opened),
            size: length as u64,
        };
        self.memory.keep(name, &opened, &facts);
        Ok(Some(facts))
    }

    /// Looks before it is opened: opening a FIFO wakes its writer, opening a device may do
    /// anything. What is opened is looked at again, and has to be the same file.
    fn look(&self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>, Refusal> {
        let before = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Refusal::Unreadable(errno)),
        };
        self.judge(&before)?;
        Ok(Some(before))
    }

    /// Reads the file that was looked at; returns what it is, and how many bytes are in the buffer.
    fn open_and_fill(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        before: &Stat,
    ) -> Result<Option<(Stat, usize)>, Refusal> {
        let file = match rustix::fs::openat(folder, name, WARY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(Refusal::Changing),
            Err(errno) => return Err(Refusal::Unreadable(errno)),
        };
        let opened = rustix::fs::fstat(&file).map_err(Refusal::Unreadable)?;
        if (opened.st_dev, opened.st_ino) != (before.st_dev, before.st_ino) {
            return Err(Refusal::Changing);
        }
        self.judge(&opened)?;
        let length = self.fill(file.as_fd())?;
        let after = rustix::fs::fstat(&file).map_err(Refusal::Unreadable)?;
        if state(&opened) != state(&after) || u64::try_from(opened.st_size) != Ok(length as u64) {
            return Err(Refusal::Changing);
        }
        Ok(Some((opened, length)))
    }

    fn judge(&self, stat: &Stat) -> Result<(), Refusal> {
        let mode = stat.st_mode & 0o7777;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        #[expect(clippy::useless_conversion, reason = "the type differs between architectures")]
        let links = u64::from(stat.st_nlink);
        match FileKind::of_mode(stat.st_mode) {
            FileKind::Regular => {}
            kind => return Err(Refusal::NotAFile(kind)),
        }
        if !self.owners.contains(stat.st_uid) {
            return Err(Refusal::Owner(stat.st_uid));
        }
        // A file with no name left is one that was replaced while we came: there is a newer one.
        match links {
            0 => return Err(Refusal::Changing),
            1 => {}
            more => return Err(Refusal::Links(more)),
        }
        if mode & 0o002 != 0 {
            return Err(Refusal::WorldWritable(mode));
        }
        if mode & 0o020 != 0 && !self.owners.is_private_group(stat.st_uid, stat.st_gid) {
            return Err(Refusal::GroupWritable { mode, gid: stat.st_gid });
        }
        if size > self.max {
            return Err(Refusal::TooLarge { size, max: self.max });
        }
        Ok(())
    }

    /// Reads to the end of the file or of the buffer; returns how many bytes there are.
    fn fill(&mut self, file: BorrowedFd<'_>) -> Result<usize, Refusal> {
        let room = usize::try_from(self.max.saturating_add(1)).unwrap_or(usize::MAX);
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                // Grown as needed: a database may have a limit of megabytes and a few lines.
                let longer = (2 * length).max(64 * 1024).min(room);
                if longer == length {
                    return Err(Refusal::Changing);
                }
                self.buffer.resize(longer, 0);
            }
            let free = self.buffer.get_mut(length..).unwrap_or_default();
            match rustix::io::read(file, free) {
                Ok(0) => return Ok(length),
                Ok(count) => length += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Refusal::Unreadable(errno)),
            }
        }
    }
}

/// Which file it is.
pub(crate) fn number(stat: &Stat) -> FileNumber {
    FileNumber { device: stat.st_dev, inode: stat.st_ino }
}

/// When it was last written, in nanoseconds since 1970.
pub(crate) fn modified_ns(stat: &Stat) -> i128 {
    let (_, modified, _) = state(stat);
    modified
}

/// What shows that a file was written to.
pub(crate) fn state(stat: &Stat) -> (i128, i128, i128) {
    let time = |seconds: i128, nanos: i128| seconds * 1_000_000_000 + nanos;
    (
        i128::from(stat.st_size),
        time(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        time(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
    )
}

#[cfg(test)]
pub(crate) mod tests;
