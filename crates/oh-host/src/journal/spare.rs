//! The journal of the next run, made ahead: a file of nothing whose inode and room are really taken.
//!
//! On a disk without room, or without inodes, it is renamed and written in place, which needs neither,
//! and which nobody else can have in between. What it has is overwritten before it is used: lines of an
//! earlier run behind the first one would be lines of this one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;
use oh_model::path::RealPath;
use oh_model::run::RunId;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FOLDER, Journal, JournalFault, Room, TEMP_PREFIX};
use super::{fault, file_name, folder, forget, named, open_folder, place};
use crate::atomic;
use crate::folder::each_name;
use crate::random;
use crate::root::Root;

/// How much room the spare has, in bytes.
pub const SPARE_BYTES: u64 = 4 * 1024 * 1024;

/// How much is left to others when it is made, in bytes: it is not to fill the disk.
const LEFT_BYTES_MIN: u64 = 2 * SPARE_BYTES;

/// Its name.
const SPARE: &str = ".spare";

impl Journal {
    /// Begins a journal in the spare: for a disk that has no room for another. `None` where there is no
    /// spare, or the line is longer than that.
    ///
    /// # Errors
    /// [`JournalFault`]; then there is none.
    pub fn begin_in_spare(
        root: &Root,
        tool: &str,
        now: Timestamp,
        first: impl FnOnce(&RunId) -> String,
    ) -> Result<Option<Self>, JournalFault> {
        let path = folder(root)?;
        let Some(open) = own_folder(&path)? else { return Ok(None) };
        let Some(file) = spare(&open, &path, OFlags::WRONLY)? else { return Ok(None) };
        let named = named(now, &path)?;
        let line = format!("{}\n", first(&named));
        let length = line.len() as u64;
        if length > SPARE_BYTES {
            return Ok(None);
        }
        let io = |doing, source| JournalFault::Io { doing, path: path.to_string(), source };
        nothing(&file).map_err(|source| io("clear", source))?;
        file.write_all_at(line.as_bytes(), 0).map_err(|source| io("write to", source))?;
        file.sync_data().map_err(|source| io("sync", source))?;
        let run = place(&open, SPARE, &path, tool, named)?;
        let path = path.join(&file_name(tool, &run))?;
        Ok(Some(Self { path, file, length: Some(length), run, room: Room::Spare }))
    }

    /// Takes the journal of a run away that did nothing; where it was the spare, it is so again.
    ///
    /// # Errors
    /// [`JournalFault`].
    pub fn abandon(mut self, root: &Root, tool: &str) -> Result<(), JournalFault> {
        // Its length is the spare's, and whoever has it next decides how much of it counts.
        let room = std::mem::replace(&mut self.room, Room::Free);
        if room == Room::Spare {
            let folder = open_folder(&self.path.parent())?;
            let name = file_name(tool, &self.run);
            let flags = RenameFlags::NOREPLACE;
            if rustix::fs::renameat_with(&folder, &name, &folder, SPARE, flags).is_ok() {
                return Ok(());
            }
        }
        forget(root, tool, &self.run)
    }
}

/// Makes the spare for the next run, where there is none and the disk has room to spare for it; says
/// whether there is one now.
///
/// # Errors
/// [`JournalFault`]; that the disk is full is none.
pub fn keep_spare(root: &Root) -> Result<bool, JournalFault> {
    let path = folder(root)?;
    atomic::create_dirs(&path, FOLDER).map_err(JournalFault::Folder)?;
    let folder = open_folder(&path)?;
    if spare(&folder, &path, OFlags::RDONLY)?.is_some() {
        return Ok(true);
    }
    let disk = rustix::fs::fstatvfs(&folder).map_err(|errno| fault("look at", &path, errno))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < SPARE_BYTES + LEFT_BYTES_MIN {
        return Ok(false);
    }
    let temp = format!("{TEMP_PREFIX}{}", random::token()?);
    match made(folder.as_fd(), &temp) {
        Ok(()) => Ok(true),
        Err(source) => {
            rustix::fs::unlinkat(&folder, &temp, AtFlags::empty()).ok();
            let fault = JournalFault::Io { doing: "make", path: format!("{path}/{SPARE}"), source };
            if fault.is_no_space() { Ok(false) } else { Err(fault) }
        }
    }
}

/// Takes away what runs that were killed left unfinished: for whoever keeps other runs out. Returns the
/// names.
///
/// # Errors
/// [`JournalFault`].
pub fn sweep(root: &Root) -> Result<Vec<String>, JournalFault> {
    let path = folder(root)?;
    let Some(folder) = own_folder(&path)? else { return Ok(Vec::new()) };
    let mut names: Vec<String> = Vec::new();
    each_name(folder.as_fd(), |name| {
        let name = core::str::from_utf8(name).unwrap_or_default();
        names.extend(is_unfinished(name).then(|| name.to_owned()));
        true
    })
    .map_err(|errno| fault("list", &path, errno))?;
    for name in &names {
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fault("remove", &format!("{path}/{name}"), errno)),
        }
    }
    names.extend(atomic::sweep(&path).map_err(JournalFault::Folder)?);
    Ok(names)
}

fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(TEMP_PREFIX).is_some_and(|token| {
        token.len() == 2 * random::TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Opens the folder of journals; `None` where there is none yet.
fn own_folder(path: &RealPath) -> Result<Option<OwnedFd>, JournalFault> {
    match open_folder(path) {
        Ok(folder) => Ok(Some(folder)),
        Err(JournalFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Opens the spare, where there is one that is whole and has no other name.
fn spare(folder: &OwnedFd, path: &RealPath, how: OFlags) -> Result<Option<File>, JournalFault> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, SPARE, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fault("open", &format!("{path}/{SPARE}"), errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| fault("look at", path, errno))?;
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_mode & 0o077 == 0
        && u64::try_from(stat.st_size) == Ok(SPARE_BYTES);
    Ok(is_ours.then(|| File::from(file)))
}

fn made(folder: BorrowedFd<'_>, temp: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, temp, flags, Mode::RUSR | Mode::WUSR)?);
    nothing(&file)?;
    file.sync_all()?;
    // One that is there already is not whole.
    rustix::fs::renameat(folder, temp, folder, SPARE)?;
    Ok(rustix::fs::fsync(folder)?)
}

/// Writes nothing over all of it.
fn nothing(file: &File) -> io::Result<()> {
    let room = vec![0; usize::try_from(SPARE_BYTES).unwrap_or_default()];
    file.write_all_at(&room, 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::{TOOL, root};
    use super::super::{JOURNALS_FOLDER, Told, line, read, runs};
    use super::*;

    fn has_spare(root: &Root) -> bool {
        let path = folder(root).unwrap();
        own_folder(&path)
            .unwrap()
            .is_some_and(|open| spare(&open, &path, OFlags::RDONLY).unwrap().is_some())
    }

    fn now() -> Timestamp {
        "2026-11-20T03:02:11Z".parse().unwrap()
    }

    fn in_spare(root: &Root, head: &str) -> Option<Journal> {
        Journal::begin_in_spare(root, TOOL, now(), |_| line(&head)).unwrap()
    }

    #[test]
    fn a_journal_in_the_spare_has_its_own_lines_and_no_others() {
        let (dir, root) = root();
        assert!(in_spare(&root, "none yet").is_none() && !has_spare(&root));
        assert!(keep_spare(&root).unwrap() && keep_spare(&root).unwrap());
        let path = dir.path().join(JOURNALS_FOLDER.trim_start_matches('/')).join(SPARE);
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.len(), made.mode() & 0o7777), (SPARE_BYTES, 0o600));
        assert!(made.blocks() * 512 >= SPARE_BYTES);

        // A run that did nothing leaves it as it was, but for what it has.
        let journal = in_spare(&root, "a long line, and another\"").unwrap();
        assert!(!has_spare(&root));
        journal.abandon(&root, TOOL).unwrap();
        assert!(has_spare(&root) && runs(&root, TOOL).unwrap().is_empty());
        assert_eq!(fs::metadata(&path).unwrap().ino(), made.ino());

        let mut journal = in_spare(&root, "a").unwrap();
        journal.note(&1_u32).unwrap();
        let (run, file) = (journal.run().clone(), journal.path().to_string());
        let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
        assert_eq!(told, Told { head: "a".into(), entries: vec![1] });
        journal.note(&2_u32).unwrap();
        drop(journal);
        assert_eq!(fs::read_to_string(file).unwrap(), "\"a\"\n1\n2\n");
        assert!(in_spare(&root, "there is none now").is_none());
    }

    #[test]
    fn a_journal_whose_run_was_killed_goes_on_in_the_midst_of_the_spare() {
        let (_dir, root) = root();
        keep_spare(&root).unwrap();
        let mut journal = in_spare(&root, "a").unwrap();
        journal.note(&1_u32).unwrap();
        let run = journal.run().clone();
        // Nothing is dropped where a process is killed.
        std::mem::forget(journal);
        Journal::reopen(&root, TOOL, &run).unwrap().note(&2_u32).unwrap();
        let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
        assert_eq!(told.entries, [1, 2]);
    }

    #[test]
    fn a_line_that_is_longer_than_the_spare_leaves_it() {
        let (_dir, root) = root();
        keep_spare(&root).unwrap();
        let long = "x".repeat(usize::try_from(SPARE_BYTES).unwrap());
        assert!(in_spare(&root, &long).is_none() && has_spare(&root));
    }

    #[test]
    fn the_room_that_a_journal_did_not_need_is_given_back() {
        let (_dir, root) = root();
        let room = 1 << 20;
        let journal = Journal::begin(&root, TOOL, now(), room, |_| line(&"a")).unwrap();
        let blocks = |journal: &str| fs::metadata(journal).unwrap().blocks() * 512;
        let path = journal.path().to_string();
        assert!(blocks(&path) >= room, "{}", blocks(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"a\"\n");
        drop(journal);
        assert!(blocks(&path) < room, "{}", blocks(&path));
    }

    #[test]
    fn what_killed_runs_left_is_swept_and_nothing_else() {
        let (dir, root) = root();
        assert!(sweep(&root).unwrap().is_empty());
        keep_spare(&root).unwrap();
        let journal = Journal::begin(&root, TOOL, now(), 0, |_| line(&"a")).unwrap();
        let folder = dir.path().join(JOURNALS_FOLDER.trim_start_matches('/'));
        let token = random::token().unwrap();
        // Number 1 was not made at time 0.
        let stale = [format!(".new-{token}"), format!(".oht-1-0-{token}.tmp")];
        let others = [".new-", ".new-of-somebody", "copy.json"].map(str::to_owned);
        for name in stale.iter().chain(&others) {
            fs::write(folder.join(name), "x").unwrap();
        }
        let mut swept = sweep(&root).unwrap();
        swept.sort();
        assert_eq!(swept, stale);
        for name in others.iter().map(String::as_str).chain([SPARE]) {
            assert!(folder.join(name).exists(), "{name}");
        }
        assert!(fs::exists(journal.path().as_str()).unwrap());
    }
}
