//! A name in the file system as it is: nothing, a file, or a link, with all that a backup keeps.
//!
//! For whoever takes something over and has to be able to give it back byte for byte. [`look`]
//! reads a name without following it, [`put`] makes it what it was or is to be, by one rename.
//! What a copy would lose (a second hard link, access lists) is a fault of its own, so that nobody
//! takes away what nobody could give back. Folders are not entries.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::atomic::{self, Change, FileFault, Meta, Removed, Temp};
use crate::folder::FileKind;

/// The largest file that is an entry, in bytes.
pub const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most that the names of extended attributes take, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its user and group; `None` leaves it with whoever runs.
        owner: Option<(u32, u32)>,
        /// When it was changed last; `None` is the time of writing.
        modified: Option<Modified>,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
        /// Its user and group.
        owner: (u32, u32),
        /// When it was changed last.
        modified: Modified,
    },
}

/// A time stamp of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// Says why a name cannot be kept or put.
#[derive(Debug, Error)]
pub enum EntryFault {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The file has other names, which would go on showing the old content.
    #[error("{path} has {names} names (hard links)")]
    SeveralNames {
        /// The file.
        path: String,
        /// How many.
        names: u64,
    },
    /// The file has attributes that a copy would lose.
    #[error("{path} has the extended attribute {name}, which a copy would lose")]
    Attribute {
        /// The file.
        path: String,
        /// The first such attribute.
        name: String,
    },
    /// What a link says is no text.
    #[error("the target of the link {path} is not UTF-8")]
    Target {
        /// The link.
        path: String,
    },
}

impl Entry {
    /// Says whether both are the same thing, whenever it was written.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (
                Self::File { bytes, mode, owner, .. },
                Self::File { bytes: bytes_2, mode: mode_2, owner: owner_2, .. },
            ) => {
                let owners = owner.is_none() || owner_2.is_none() || owner == owner_2;
                bytes == bytes_2 && mode == mode_2 && owners
            }
            (
                Self::Link { target, owner, .. },
                Self::Link { target: target_2, owner: owner_2, .. },
            ) => target == target_2 && owner == owner_2,
            _ => false,
        }
    }

    /// Says whether there is nothing.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns the content of a file.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::File { bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

/// Returns the SHA-256 of some bytes, as hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at a name, without following it.
///
/// # Errors
/// [`EntryFault`], also where it is neither a regular file nor a link.
pub fn look(path: &RealPath) -> Result<Entry, EntryFault> {
    let fault =
        |doing, errno: Errno| FileFault::Io { doing, path: path.to_string(), source: errno.into() };
    let stat = match rustix::fs::lstat(path.as_str()) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Entry::Absent),
        Err(errno) => return Err(fault("look at", errno).into()),
    };
    match FileKind::of_mode(stat.st_mode) {
        FileKind::Link => {
            let target = rustix::fs::readlink(path.as_str(), Vec::new())
                .map_err(|errno| fault("read the link", errno))?;
            let target = target.into_string();
            let target = target.map_err(|_| EntryFault::Target { path: path.to_string() })?;
            Ok(Entry::Link { target, owner: (stat.st_uid, stat.st_gid), modified: modified(&stat) })
        }
        FileKind::Regular => file(path),
        kind => Err(FileFault::NotAFile { path: path.to_string(), kind }.into()),
    }
}

fn file(path: &RealPath) -> Result<Entry, EntryFault> {
    let fault =
        |doing, errno: Errno| FileFault::Io { doing, path: path.to_string(), source: errno.into() };
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = rustix::fs::open(path.as_str(), flags, Mode::empty())
        .map_err(|errno| fault("open", errno))?;
    // What was opened counts, not what was looked at before.
    let stat = rustix::fs::fstat(&open).map_err(|errno| fault("look at", errno))?;
    let kind = FileKind::of_mode(stat.st_mode);
    if kind != FileKind::Regular {
        return Err(FileFault::NotAFile { path: path.to_string(), kind }.into());
    }
    if stat.st_nlink > 1 {
        return Err(EntryFault::SeveralNames { path: path.to_string(), names: stat.st_nlink });
    }
    if let Some(name) = attribute(open.as_fd()).map_err(|errno| fault("look at", errno))? {
        return Err(EntryFault::Attribute { path: path.to_string(), name });
    }
    let mut bytes = Vec::new();
    File::from(open)
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| FileFault::Io { doing: "read", path: path.to_string(), source })?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(FileFault::TooLarge { path: path.to_string(), max: BYTES_MAX }.into());
    }
    Ok(Entry::File {
        bytes,
        mode: stat.st_mode & 0o7777,
        owner: Some((stat.st_uid, stat.st_gid)),
        modified: Some(modified(&stat)),
    })
}

/// Names an attribute that a new file would not get by itself; labels of the system it gets.
fn attribute(file: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let mut names = vec![0_u8; ATTRIBUTES_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno),
    };
    let names = names.get(..length).unwrap_or_default();
    let mut names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let found = names.find(|name| {
        !name.starts_with(b"security.selinux") && !name.starts_with(b"security.apparmor")
    });
    Ok(found.map(|name| String::from_utf8_lossy(name).into_owned()))
}

fn modified(stat: &Stat) -> Modified {
    Modified {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    }
}

/// Makes a name what the entry says, in one step and durably; equal ones write nothing.
///
/// # Errors
/// [`EntryFault`]; the name is as it was, except after [`FileFault::Unsynced`].
pub fn put(path: &RealPath, entry: &Entry) -> Result<Change, EntryFault> {
    let now = look(path)?;
    let time = |entry: &Entry| match entry {
        Entry::File { modified, .. } => *modified,
        Entry::Link { modified, .. } => Some(*modified),
        Entry::Absent => None,
    };
    if now.is_same(entry) && (time(entry).is_none() || time(entry) == time(&now)) {
        return Ok(Change::Unchanged);
    }
    match entry {
        Entry::Absent => {
            return Ok(match atomic::remove_file(path)? {
                Removed::Done => Change::Changed,
                Removed::Absent => Change::Unchanged,
            });
        }
        Entry::File { bytes, mode, owner, modified } => {
            let folder = atomic::parent_of(path)?;
            let (temp, file) = Temp::create(folder.as_fd(), path)?;
            let meta = Meta { mode: *mode, owner: *owner };
            fill(file, bytes, meta, *modified).map_err(|source| FileFault::Io {
                doing: "write the new",
                path: path.to_string(),
                source,
            })?;
            temp.take_the_place_of(path)?;
        }
        Entry::Link { target, owner, modified } => {
            let folder = atomic::parent_of(path)?;
            let temp = Temp::create_link(folder.as_fd(), path, target)?;
            let dress = || -> Result<(), Errno> {
                let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(folder.as_fd(), temp.name(), Some(uid), Some(gid), flags)?;
                rustix::fs::utimensat(folder.as_fd(), temp.name(), &stamps(*modified), flags)
            };
            dress().map_err(|errno| FileFault::Io {
                doing: "write the new",
                path: path.to_string(),
                source: errno.into(),
            })?;
            temp.take_the_place_of(path)?;
        }
    }
    Ok(Change::Changed)
}

fn fill(
    mut file: File,
    bytes: &[u8],
    meta: Meta,
    modified: Option<Modified>,
) -> std::io::Result<()> {
    file.write_all(bytes)?;
    atomic::give(file.as_fd(), meta)?;
    if let Some(modified) = modified {
        rustix::fs::futimens(&file, &stamps(modified))?;
    }
    file.sync_all()
}

const fn stamps(modified: Modified) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec {
            tv_sec: modified.seconds,
            tv_nsec: modified.nanoseconds as _,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn path(dir: &tempfile::TempDir, name: &str) -> RealPath {
        RealPath::parse(dir.path().join(name).to_str().unwrap()).unwrap()
    }

    #[test]
    fn what_was_taken_away_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (path(&dir, "file"), path(&dir, "link"));
        std::fs::write(file.as_str(), b"old \xff").unwrap();
        std::fs::set_permissions(file.as_str(), PermissionsExt::from_mode(0o754)).unwrap();
        std::os::unix::fs::symlink("nowhere", link.as_str()).unwrap();
        for path in [&file, &link] {
            let before = look(path).unwrap();
            assert_eq!(put(path, &Entry::Absent).unwrap(), Change::Changed);
            assert_eq!(look(path).unwrap(), Entry::Absent);
            assert_eq!(put(path, &before).unwrap(), Change::Changed);
            assert_eq!(look(path).unwrap(), before);
            assert_eq!(put(path, &before).unwrap(), Change::Unchanged);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "something was left");
    }

    #[test]
    fn what_a_copy_would_lose_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(&dir, "file");
        std::fs::write(file.as_str(), "x").unwrap();
        std::fs::hard_link(file.as_str(), dir.path().join("other")).unwrap();
        let fault = look(&file).unwrap_err();
        assert!(fault.to_string().ends_with("has 2 names (hard links)"), "{fault}");
        let fault = look(&path(&dir, "file").parent()).unwrap_err();
        assert!(matches!(fault, EntryFault::File(FileFault::NotAFile { .. })), "{fault}");
    }
}
