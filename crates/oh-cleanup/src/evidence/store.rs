//! Where evidence is kept, and the reserve that a full disk leaves for it.
//!
//! The reserve is a file of nothing whose room is really taken. Where the disk is full it is renamed,
//! overwritten in place and cut to length, which needs no further room.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use oh_host::atomic::{self, FileFault, Meta};
use oh_host::publish::Host;
use oh_host::root::Root;
use oh_model::path::{InRoot, RealPath};
use oh_model::run::RunId;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::EvidenceFault;

/// Where evidence is, below the root; mode 0700.
const FOLDER: &str = "/var/lib/openhands-toolkit/evidence";

const FOLDER_META: Meta = Meta { mode: 0o700, owner: None };

/// What a process has open and was asked is its user's alone.
const FILE_META: Meta = Meta { mode: 0o600, owner: None };

/// How the name of an archive ends.
const SUFFIX: &str = ".tar.zst";

/// How the name of one ends that is being written into the reserve.
const UNFINISHED_SUFFIX: &str = ".tar.zst.part";

/// The name of the reserve.
const RESERVE: &str = "reserve";

/// How much the reserve has, in bytes.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// How much is left to others when the reserve is made, in bytes: it is not to fill the disk.
const LEFT_BYTES_MIN: u64 = RESERVE_BYTES;

/// What becomes of the reserve at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    /// The disk has no room to spare for it.
    NoRoom,
}

/// Writes the archive of a run where the disk has room.
pub(super) fn write(host: &Host, run: &RunId, archive: &[u8]) -> Result<RealPath, EvidenceFault> {
    let folder = folder(&host.root)?;
    let path = folder.join(&format!("{run}{SUFFIX}"))?;
    atomic::create_dirs(&folder, FOLDER_META)?;
    open_folder(&folder)?;
    atomic::replace(&path, archive, FILE_META)?;
    Ok(path)
}

/// Returns how much room the reserve has, in bytes; `None` where there is none.
pub(super) fn reserved(host: &Host) -> Result<Option<u64>, EvidenceFault> {
    let folder = folder(&host.root)?;
    // Without room for the folder there is no reserve in it.
    let open = match open_folder(&folder) {
        Err(EvidenceFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        open => open?,
    };
    let Some(file) = reserve(&open, &folder, OFlags::RDONLY)? else { return Ok(None) };
    let meta = file.metadata().map_err(|source| io_fault("look at", &folder, RESERVE, source))?;
    Ok(Some(meta.len()))
}

/// Writes the archive of a run into the reserve; `None` where there is none that is large enough.
pub(super) fn write_into_reserve(
    host: &Host,
    run: &RunId,
    archive: &[u8],
) -> Result<Option<RealPath>, EvidenceFault> {
    let folder = folder(&host.root)?;
    let path = folder.join(&format!("{run}{SUFFIX}"))?;
    let open = open_folder(&folder)?;
    Ok(into_reserve(&open, &folder, run, archive)?.then_some(path))
}

/// Writes an archive into the reserve; says whether there was one that is large enough.
fn into_reserve(
    open: &OwnedFd,
    folder: &RealPath,
    run: &RunId,
    archive: &[u8],
) -> Result<bool, EvidenceFault> {
    let Some(file) = reserve(open, folder, OFlags::WRONLY)? else { return Ok(false) };
    let (part, name) = (format!("{run}{UNFINISHED_SUFFIX}"), format!("{run}{SUFFIX}"));
    let fault = |doing, source| io_fault(doing, folder, &part, source);
    let length = file.metadata().map_err(|source| fault("look at", source))?.len();
    if length < archive.len() as u64 {
        return Ok(false);
    }
    rename(open, RESERVE, &part).map_err(|errno| fault("take the reserve for", errno.into()))?;
    let written = file
        .write_all_at(archive, 0)
        .and_then(|()| file.set_len(archive.len() as u64))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(rename(open, &part, &name)?))
        .and_then(|()| Ok(rustix::fs::fsync(open)?));
    if let Err(source) = written {
        // Half of an archive is none, and as a reserve it would not be whole.
        rustix::fs::unlinkat(open, &part, AtFlags::empty()).ok();
        return Err(fault("write", source));
    }
    Ok(true)
}

/// Makes the reserve for the next run, where there is none and the disk has room to spare.
pub(crate) fn keep_reserve(host: &Host) -> Result<Kept, EvidenceFault> {
    let folder = folder(&host.root)?;
    let open = open_folder(&folder)?;
    if let Some(file) = reserve(&open, &folder, OFlags::RDONLY)?
        && file.metadata().is_ok_and(|meta| meta.len() >= RESERVE_BYTES)
    {
        return Ok(Kept::Whole);
    }
    let disk = rustix::fs::fstatvfs(&open)
        .map_err(|errno| io_fault("look at the disk of", &folder, RESERVE, errno.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE_BYTES + LEFT_BYTES_MIN {
        return Ok(Kept::NoRoom);
    }
    let room = vec![0; usize::try_from(RESERVE_BYTES).unwrap_or_default()];
    match atomic::replace(&folder.join(RESERVE)?, &room, FILE_META) {
        Ok(_) => Ok(Kept::Whole),
        Err(fault) if fault.is_no_space() => Ok(Kept::NoRoom),
        Err(fault) => Err(fault.into()),
    }
}

/// Takes away what runs that were killed left unfinished: for whoever keeps other runs out.
pub(crate) fn sweep(host: &Host) -> Result<(), EvidenceFault> {
    let folder = folder(&host.root)?;
    let open = match open_folder(&folder) {
        Err(EvidenceFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        open => open?,
    };
    for name in unfinished(&open).map_err(|errno| io_fault("list", &folder, "", errno.into()))? {
        match rustix::fs::unlinkat(&open, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(io_fault("remove", &folder, &name, errno.into())),
        }
    }
    atomic::sweep(&folder)?;
    Ok(())
}

/// The names of archives that were being written into the reserve.
fn unfinished(open: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(open)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        let run = name.strip_suffix(UNFINISHED_SUFFIX);
        if run.is_some_and(|run| RunId::parse(run).is_ok()) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Returns how large the evidence of a run is, and where; `None` where there is none.
pub(crate) fn of_run(root: &Root, run: &RunId) -> Result<Option<(RealPath, u64)>, EvidenceFault> {
    let path = folder(root)?.join(&format!("{run}{SUFFIX}"))?;
    match std::fs::symlink_metadata(path.as_str()) {
        Ok(meta) => Ok(Some((path, meta.len()))),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EvidenceFault::Io { doing: "look at", path: path.to_string(), source }),
    }
}

/// Takes the evidence of a run away; returns how much room it had.
pub(crate) fn remove(root: &Root, run: &RunId) -> Result<Option<u64>, EvidenceFault> {
    let folder = folder(root)?;
    let found = of_run(root, run)?;
    if let Some((path, _)) = &found {
        atomic::remove_file(path)?;
    }
    atomic::remove_file(&folder.join(&format!("{run}{UNFINISHED_SUFFIX}"))?)?;
    Ok(found.map(|(_, bytes)| bytes))
}

pub(super) fn is_no_space(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn folder(root: &Root) -> Result<RealPath, EvidenceFault> {
    Ok(root.real(&InRoot::parse(FOLDER)?)?)
}

/// Opens the folder, which has to be its user's alone.
fn open_folder(folder: &RealPath) -> Result<OwnedFd, EvidenceFault> {
    let fault = |errno: Errno| EvidenceFault::Io {
        doing: "open",
        path: folder.to_string(),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(folder.as_str(), flags, Mode::empty()).map_err(fault)?;
    let stat = rustix::fs::fstat(&open).map_err(fault)?;
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(EvidenceFault::Open { path: folder.to_string(), mode });
    }
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        let (path, uid) = (folder.to_string(), stat.st_uid);
        return Err(FileFault::FolderOwner { path, uid, expected: me }.into());
    }
    Ok(open)
}

/// Opens the reserve, where there is one and it is a file that has no other name.
fn reserve(
    open: &OwnedFd,
    folder: &RealPath,
    flags: OFlags,
) -> Result<Option<File>, EvidenceFault> {
    let fault = |errno: Errno| io_fault("open", folder, RESERVE, errno.into());
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(open, RESERVE, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fault(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(fault)?;
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_mode & 0o077 == 0;
    Ok(is_ours.then(|| File::from(file)))
}

fn rename(open: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(open, from, open, to, RenameFlags::NOREPLACE)
}

fn io_fault(
    doing: &'static str,
    folder: &RealPath,
    name: &str,
    source: io::Error,
) -> EvidenceFault {
    EvidenceFault::Io { doing, path: format!("{folder}/{name}"), source }
}
