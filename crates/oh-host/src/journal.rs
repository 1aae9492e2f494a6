//! Journals of runs: what a run was going to do is on the disk before it does it.
//!
//! A journal is a file of its own, one JSON document a line, that only grows: the first line says
//! what the run is, each further one what is about to be done or what became of it. A line counts
//! once it is synced, and a last line without its end was never finished, so whoever wrote it did
//! nothing of what it says. Journals are their user's alone (0600 in a folder 0700): they name what
//! was secret in what a run looked at.
//!
//! What a line means is the tool's; here it is any type that can be written and read.
//!
//! A journal begins with the room that its further lines will need, so that a run does not stop for want
//! of it half way. Where the disk has none, there is the spare: see [`keep_spare`].

mod spare;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use jiff::Timestamp;
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::run::RunId;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::atomic::{self, FileFault, Meta};
use crate::folder::each_name;
use crate::random::{self, RandomFault};
use crate::root::Root;
use crate::way::WayFault;

pub use spare::{SPARE_BYTES, keep_spare, sweep};

/// Where journals are, below the root; mode 0700.
pub const JOURNALS_FOLDER: &str = "/var/lib/openhands-toolkit/journal";

/// The largest journal that is read, in bytes: 100,000 steps have about 60 MB.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The longest first line, in bytes: it has all that a run is going to do.
pub const HEAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The longest further line, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much is read at once where the end of a journal is looked for, in bytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// How a journal is called before its first line is whole.
const TEMP_PREFIX: &str = ".new-";

/// How the name of a journal ends.
const SUFFIX: &str = ".jsonl";

const FOLDER: Meta = Meta { mode: 0o700, owner: None };

/// Says why a journal was not begun, gone on with, or read.
#[derive(Debug, Error)]
pub enum JournalFault {
    /// The folder of journals has no path below this root.
    #[error("the folder of journals has no path below this root")]
    Path(#[from] PathFault),
    /// The folder of journals cannot be made, or is not ours.
    #[error("the folder of journals cannot be used")]
    Folder(#[source] FileFault),
    /// A system call failed.
    #[error("cannot {doing} the journal {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The journal.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Too many runs began in this second.
    #[error("too many runs began at {0}")]
    Crowded(RunId),
    /// There is no unpredictable name.
    #[error("a journal cannot be named")]
    Random(#[from] RandomFault),
    /// A line is none of this tool's.
    #[error("{path}:{line}: {fault}")]
    Line {
        /// The journal.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// A journal, or a line of it, is longer than is read.
    #[error("{path} is too long: {what} has more than {max} bytes")]
    TooLong {
        /// The journal.
        path: String,
        /// What of it.
        what: &'static str,
        /// How many bytes are read of that.
        max: u64,
    },
    /// There is no such run.
    #[error("there is no run {0}")]
    Unknown(RunId),
}

impl JournalFault {
    /// Says whether there would be more in the journal than is ever read.
    pub const fn is_too_long(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }

    /// Says whether the disk is full, or the user's part of it.
    pub fn is_no_space(&self) -> bool {
        let kind = match self {
            Self::Folder(fault) => return fault.is_no_space(),
            Self::Io { source, .. } => source.kind(),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    run: RunId,
    path: RealPath,
    file: File,
    /// How many bytes of it are whole lines; `None` where nobody knows any more.
    length: Option<u64>,
    /// What room it has behind these.
    room: Room,
}

/// The room behind the lines of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// What the disk gives.
    Free,
    /// Some of its own, which goes back to the disk.
    Own,
    /// That of the spare, which it was.
    Spare,
}

impl Journal {
    /// Begins the journal of a run of `tool`, with its first line, and with room for so many bytes of
    /// further lines where the file system can promise that.
    ///
    /// # Errors
    /// [`JournalFault`]; then there is none.
    pub fn begin(
        root: &Root,
        tool: &str,
        now: Timestamp,
        room_bytes: u64,
        first: impl FnOnce(&RunId) -> String,
    ) -> Result<Self, JournalFault> {
        let path = folder(root)?;
        atomic::create_dirs(&path, FOLDER).map_err(JournalFault::Folder)?;
        let folder = open_folder(&path)?;
        let named = named(now, &path)?;
        let line = format!("{}\n", first(&named));
        if line.len() as u64 > HEAD_BYTES_MAX {
            // Nobody could read it, and so take nothing back.
            return Err(too_long(&path, "the first line", HEAD_BYTES_MAX));
        }
        // Whole before it has its name: one that was killed on the way left no journal.
        let temp = format!("{TEMP_PREFIX}{}", random::token()?);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, &temp, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(made.map_err(|errno| fault("make", &path, errno))?);
        let placed = written(&file, &line, room_bytes, &path)
            .and_then(|()| place(&folder, &temp, &path, tool, named));
        if placed.is_err() {
            rustix::fs::unlinkat(&folder, &temp, AtFlags::empty()).ok();
        }
        let run = placed?;
        let path = path.join(&file_name(tool, &run))?;
        Ok(Self { path, file, length: Some(line.len() as u64), run, room: Room::Own })
    }

    /// Goes on with the journal of a run.
    ///
    /// # Errors
    /// [`JournalFault`].
    pub fn reopen(root: &Root, tool: &str, run: &RunId) -> Result<Self, JournalFault> {
        let (path, file) = open(root, tool, run, OFlags::RDWR)?;
        let io = |source| JournalFault::Io { doing: "read", path: path.to_string(), source };
        let length = whole_length(&file).map_err(io)?;
        let run = run.clone();
        Ok(Self { path, file, length: Some(length), run, room: Room::Free })
    }

    /// The run whose journal it is.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Where it is.
    pub fn path(&self) -> &RealPath {
        &self.path
    }

    /// Adds a line; when it returns, the disk has it.
    ///
    /// # Errors
    /// [`JournalFault`]; then the journal is as it was.
    pub fn note(&mut self, entry: &impl Serialize) -> Result<(), JournalFault> {
        self.append(format!("{}\n", line(entry)))
    }

    /// Adds many lines at once, with one sync; when it returns, the disk has all of them. Where this
    /// process is killed meanwhile, the disk has the first of them, or none.
    ///
    /// # Errors
    /// [`JournalFault`]; then the journal is as it was.
    pub fn note_all<E: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = E>,
    ) -> Result<(), JournalFault> {
        let lines: String = entries.into_iter().map(|one| format!("{}\n", line(&one))).collect();
        if lines.is_empty() { Ok(()) } else { self.append(lines) }
    }

    /// Adds whole lines.
    fn append(&mut self, bytes: String) -> Result<(), JournalFault> {
        let io = |doing, source| JournalFault::Io { doing, path: self.path.to_string(), source };
        let Some(length) = self.length else {
            return Err(io("go on with", io::Error::other("its end is not known any more")));
        };
        if bytes.split_inclusive('\n').any(|line| line.len() as u64 > LINE_BYTES_MAX) {
            return Err(too_long(&self.path, "a line", LINE_BYTES_MAX));
        }
        let grown = length.saturating_add(bytes.len() as u64);
        if grown > JOURNAL_BYTES_MAX {
            // It could not be read any more.
            return Err(io("write to", io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let written = self.file.write_all_at(bytes.as_bytes(), length);
        if let Err(source) = written.and_then(|()| self.file.sync_data()) {
            // Half a line would be taken for the end of the journal by whoever goes on with it.
            let is_cut = self.file.set_len(length).and_then(|()| self.file.sync_data()).is_ok();
            self.length = is_cut.then_some(length);
            return Err(JournalFault::Io {
                doing: "write to",
                path: self.path.to_string(),
                source,
            });
        }
        self.length = Some(grown);
        Ok(())
    }
}

impl Drop for Journal {
    /// Gives back the room that it did not need. Where that fails, its lines are whole all the same.
    fn drop(&mut self) {
        if let (Room::Own | Room::Spare, Some(length)) = (self.room, self.length) {
            self.file.set_len(length).ok();
        }
    }
}

/// Writes the first line, and has the disk keep room for others.
fn written(file: &File, line: &str, room_bytes: u64, path: &RealPath) -> Result<(), JournalFault> {
    let io = |doing, source| JournalFault::Io { doing, path: path.to_string(), source };
    file.write_all_at(line.as_bytes(), 0).map_err(|source| io("write to", source))?;
    let kept = FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, kept, line.len() as u64, room_bytes.max(1)) {
        // Not every file system can promise it.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(errno) => return Err(io("keep room for", errno.into())),
    }
    file.sync_data().map_err(|source| io("sync", source))
}

/// Gives a file the name of the run, or of the next that is free; returns the run.
fn place(
    folder: &OwnedFd,
    from: &str,
    path: &RealPath,
    tool: &str,
    named: RunId,
) -> Result<RunId, JournalFault> {
    let mut run = named.clone();
    loop {
        let name = file_name(tool, &run);
        match rustix::fs::renameat_with(folder, from, folder, &name, RenameFlags::NOREPLACE) {
            Ok(()) => break,
            Err(Errno::EXIST) => {
                run = run.next().ok_or_else(|| JournalFault::Crowded(named.clone()))?;
            }
            Err(errno) => return Err(fault("name", path, errno)),
        }
    }
    rustix::fs::fsync(folder).map_err(|errno| fault("sync the folder of", path, errno))?;
    Ok(run)
}

/// The run that begins now.
fn named(now: Timestamp, path: &RealPath) -> Result<RunId, JournalFault> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    RunId::parse(&time).map_err(|fault| JournalFault::Io {
        doing: "name",
        path: path.to_string(),
        source: io::Error::other(fault),
    })
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<H, E> {
    /// Its first line.
    pub head: H,
    /// The others.
    pub entries: Vec<E>,
}

/// Writes a value as a line of a journal.
pub fn line(value: &impl Serialize) -> String {
    // Values of ours have no keys that are no text, which is all that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads the journal of a run.
///
/// # Errors
/// [`JournalFault`]; a last line that was not finished is none.
pub fn read<H: DeserializeOwned, E: DeserializeOwned>(
    root: &Root,
    tool: &str,
    run: &RunId,
) -> Result<Told<H, E>, JournalFault> {
    read_up_to(root, tool, run, &mut JOURNAL_BYTES_MAX.clone())
}

/// The same, where no more than so many bytes are read, which are less afterwards: for a look at many
/// journals, of which anybody may have made any as long as they like.
///
/// # Errors
/// [`JournalFault`]; one that is longer is not read at all.
pub fn read_up_to<H: DeserializeOwned, E: DeserializeOwned>(
    root: &Root,
    tool: &str,
    run: &RunId,
    left_bytes: &mut u64,
) -> Result<Told<H, E>, JournalFault> {
    let (path, file) = open(root, tool, run, OFlags::RDONLY)?;
    let io = |source| JournalFault::Io { doing: "read", path: path.to_string(), source };
    let length = file.metadata().map_err(io)?.len();
    let max = JOURNAL_BYTES_MAX.min(*left_bytes);
    let rest = left_bytes.checked_sub(length).filter(|_| length <= JOURNAL_BYTES_MAX);
    *left_bytes = rest.ok_or_else(|| too_long(&path, "it", max))?;
    // What is added meanwhile is not asked for.
    let mut reader = BufReader::new(file.take(length));
    let mut line = Vec::new();
    let bad =
        |line: usize, fault: String| JournalFault::Line { path: path.to_string(), line, fault };
    let first = next_line(&mut reader, &mut line, HEAD_BYTES_MAX).map_err(io)?;
    let head = match first {
        Next::Whole => serde_json::from_slice(&line).map_err(|fault| bad(1, fault.to_string()))?,
        Next::End if length == 0 => return Err(bad(1, "it is empty".into())),
        Next::End => return Err(bad(1, "its first line is not whole".into())),
        Next::TooLong => return Err(too_long(&path, "the first line", HEAD_BYTES_MAX)),
    };
    let mut entries = Vec::new();
    loop {
        match next_line(&mut reader, &mut line, LINE_BYTES_MAX).map_err(io)? {
            Next::Whole => {}
            Next::End => return Ok(Told { head, entries }),
            Next::TooLong => return Err(too_long(&path, "a line", LINE_BYTES_MAX)),
        }
        let entry = serde_json::from_slice(&line);
        entries.push(entry.map_err(|fault| bad(entries.len() + 2, fault.to_string()))?);
    }
}

/// What the next line of a journal is.
enum Next {
    Whole,
    /// There is none, or it was never finished.
    End,
    TooLong,
}

/// Reads a line of so many bytes at most, without its end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, max: u64) -> io::Result<Next> {
    line.clear();
    reader.take(max).read_until(b'\n', line)?;
    let is_whole = line.pop_if(|byte| *byte == b'\n').is_some();
    Ok(match (is_whole, line.len() as u64 >= max) {
        (true, _) => Next::Whole,
        (false, false) => Next::End,
        (false, true) => Next::TooLong,
    })
}

/// How many bytes of a journal are whole lines.
fn whole_length(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut bytes = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(TAIL_BYTES);
        bytes.resize(usize::try_from(end - begin).unwrap_or_default(), 0);
        file.read_exact_at(&mut bytes, begin)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Returns the runs of a tool that left a journal, the oldest first.
///
/// # Errors
/// [`JournalFault`]; that there is no folder is none.
pub fn runs(root: &Root, tool: &str) -> Result<Vec<RunId>, JournalFault> {
    let path = folder(root)?;
    let folder = match open_folder(&path) {
        Ok(folder) => folder,
        Err(JournalFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(fault) => return Err(fault),
    };
    let mut runs = Vec::new();
    each_name(folder.as_fd(), |name| {
        let name = core::str::from_utf8(name).unwrap_or_default();
        let of_tool = name.strip_prefix(tool).and_then(|name| name.strip_prefix('-'));
        let run = of_tool.and_then(|name| name.strip_suffix(SUFFIX));
        runs.extend(run.and_then(|run| RunId::parse(run).ok()));
        true
    })
    .map_err(|errno| fault("list", &path, errno))?;
    runs.sort();
    Ok(runs)
}

/// Returns when a run wrote to its journal last.
///
/// # Errors
/// [`JournalFault`].
pub fn written_last(root: &Root, tool: &str, run: &RunId) -> Result<SystemTime, JournalFault> {
    let path = folder(root)?.join(&file_name(tool, run))?;
    let written = std::fs::symlink_metadata(path.as_str()).and_then(|meta| meta.modified());
    written.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => JournalFault::Unknown(run.clone()),
        _ => JournalFault::Io { doing: "look at", path: path.to_string(), source },
    })
}

/// Takes a journal away.
///
/// # Errors
/// [`JournalFault`]; that there is none is no fault.
pub fn forget(root: &Root, tool: &str, run: &RunId) -> Result<(), JournalFault> {
    let path = folder(root)?.join(&file_name(tool, run))?;
    match std::fs::remove_file(path.as_str()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(JournalFault::Io { doing: "remove", path: path.to_string(), source })
        }
        _ => Ok(()),
    }
}

/// Opens the journal of a run, which is a file of ours.
fn open(
    root: &Root,
    tool: &str,
    run: &RunId,
    how: OFlags,
) -> Result<(RealPath, File), JournalFault> {
    let path = folder(root)?.join(&file_name(tool, run))?;
    let unknown = || JournalFault::Unknown(run.clone());
    match atomic::own_folder(&path.parent()) {
        Ok(_) => {}
        Err(FileFault::Way(WayFault::NoFolder { .. })) => return Err(unknown()),
        Err(fault) => return Err(JournalFault::Folder(fault)),
    }
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path.as_str(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(unknown()),
        Err(errno) => return Err(fault("open", &path, errno)),
    };
    match file.metadata() {
        Ok(told) if told.is_file() => Ok((path, file)),
        Ok(_) => Err(fault("read", &path, Errno::INVAL)),
        Err(source) => Err(JournalFault::Io { doing: "look at", path: path.to_string(), source }),
    }
}

fn too_long(path: &RealPath, what: &'static str, max: u64) -> JournalFault {
    JournalFault::TooLong { path: path.to_string(), what, max }
}

fn folder(root: &Root) -> Result<RealPath, JournalFault> {
    Ok(root.real(&InRoot::parse(JOURNALS_FOLDER)?)?)
}

fn open_folder(path: &RealPath) -> Result<OwnedFd, JournalFault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path.as_str(), flags, Mode::empty())
        .map_err(|errno| fault("open the folder of", path, errno))
}

fn file_name(tool: &str, run: &RunId) -> String {
    format!("{tool}-{run}{SUFFIX}")
}

fn fault(doing: &'static str, path: &dyn core::fmt::Display, errno: Errno) -> JournalFault {
    JournalFault::Io { doing, path: path.to_string(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    pub(super) const TOOL: &str = "oh-test";

    pub(super) fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Root::below(dir.path()).unwrap();
        (dir, root)
    }

    fn begin(root: &Root) -> Journal {
        let now: Timestamp = "2026-11-20T03:02:11Z".parse().unwrap();
        Journal::begin(root, TOOL, now, 1000, |run| line(&run.to_string())).unwrap()
    }

    #[test]
    fn what_was_noted_is_read_in_order() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        assert_eq!(journal.run().to_string(), "20261120T030211Z");
        journal.note(&1_u32).unwrap();
        let mode = fs::metadata(journal.path().as_str()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let second = begin(&root);
        assert_eq!(second.run().to_string(), "20261120T030211Z-2");
        let run = journal.run().clone();
        drop(journal);
        Journal::reopen(&root, TOOL, &run).unwrap().note(&2_u32).unwrap();
        let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
        assert_eq!(told, Told { head: run.to_string(), entries: vec![1, 2] });
        assert_eq!(runs(&root, TOOL).unwrap(), [run.clone(), second.run().clone()]);
        forget(&root, TOOL, &run).unwrap();
        let gone = read::<String, u32>(&root, TOOL, &run).unwrap_err();
        assert_eq!(gone.to_string(), "there is no run 20261120T030211Z");
        assert!(runs(&root, "oh").unwrap().is_empty());
    }

    #[test]
    fn many_lines_are_noted_at_once_or_none_of_them() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        journal.note_all([1_u32, 2, 3]).unwrap();
        journal.note_all(core::iter::empty::<u32>()).unwrap();
        // Room for one of them, where it is as long as it may be.
        let length = journal.length.replace(JOURNAL_BYTES_MAX - 3);
        let fault = journal.note_all([5_u32, 6]).unwrap_err();
        assert!(fault.to_string().starts_with("cannot write to the journal "), "{fault}");
        journal.length = length;
        journal.note(&4_u32).unwrap();
        let told: Told<String, u32> = read(&root, TOOL, journal.run()).unwrap();
        assert_eq!(told.entries, [1, 2, 3, 4]);
    }

    #[test]
    fn a_line_that_was_not_finished_counts_for_nothing() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        journal.note(&1_u32).unwrap();
        let (run, path) = (journal.run().clone(), journal.path().clone());
        drop(journal);
        let mut torn = fs::read(path.as_str()).unwrap();
        // Within a letter.
        torn.extend_from_slice(b"\"\xc3");
        fs::write(path.as_str(), torn).unwrap();
        let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
        assert_eq!(told.entries, [1]);
        Journal::reopen(&root, TOOL, &run).unwrap().note(&4_u32).unwrap();
        let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
        assert_eq!(told.entries, [1, 4]);
    }

    #[test]
    fn what_is_longer_than_any_of_ours_is_neither_written_nor_read() {
        let (_dir, root) = root();
        let now: Timestamp = "2026-11-20T03:02:11Z".parse().unwrap();
        let long = |max: u64| "x".repeat(usize::try_from(max).unwrap());
        let begun = Journal::begin(&root, TOOL, now, 1, |_| long(HEAD_BYTES_MAX));
        assert!(begun.unwrap_err().is_too_long());
        assert!(runs(&root, TOOL).unwrap().is_empty());
        let mut journal = begin(&root);
        assert!(journal.note(&long(LINE_BYTES_MAX)).unwrap_err().is_too_long());
        journal.note(&1_u32).unwrap();
        let (run, path) = (journal.run().clone(), journal.path().to_string());
        drop(journal);
        let told = |left: &mut u64| read_up_to::<String, u32>(&root, TOOL, &run, left);
        let length = fs::metadata(&path).unwrap().len();
        let mut left = length + 1;
        assert_eq!(told(&mut left).unwrap().entries, [1]);
        assert_eq!(left, 1);
        // What is not read takes nothing of what others may have.
        assert!(told(&mut left).unwrap_err().is_too_long());
        assert_eq!(left, 1);
        // Others' journals are sparse: they cost whoever made them nothing.
        for (at, bytes) in [(0, HEAD_BYTES_MAX), (length, LINE_BYTES_MAX), (0, JOURNAL_BYTES_MAX)] {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(at).unwrap();
            file.set_len(at + bytes + 1).unwrap();
            assert!(told(&mut u64::MAX.clone()).unwrap_err().is_too_long(), "{at} {bytes}");
            file.set_len(0).unwrap();
            let whole = format!("{}\n1\n", line(&run.to_string()));
            fs::write(&path, whole).unwrap();
        }
    }

    #[test]
    fn the_end_of_a_long_journal_is_found() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        journal.note_all(0..40_000_u32).unwrap();
        let (run, path) = (journal.run().clone(), journal.path().to_string());
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for torn in [0, 10, 3 * usize::try_from(TAIL_BYTES).unwrap()] {
            fs::write(&path, [whole.as_slice(), &vec![b'1'; torn]].concat()).unwrap();
            Journal::reopen(&root, TOOL, &run).unwrap().note(&7_u32).unwrap();
            let told: Told<String, u32> = read(&root, TOOL, &run).unwrap();
            assert_eq!((told.entries.len(), told.entries.last()), (40_001, Some(&7)));
        }
    }

    #[test]
    fn a_first_line_that_was_cut_is_not_taken_for_nothing() {
        let (_dir, root) = root();
        let journal = begin(&root);
        let (run, path) = (journal.run().clone(), journal.path().to_string());
        drop(journal);
        for (length, why) in [(5, "its first line is not whole"), (0, "it is empty")] {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let fault = read::<String, u32>(&root, TOOL, &run).unwrap_err().to_string();
            assert!(fault.ends_with(why), "{fault}");
        }
    }

    #[test]
    fn a_line_of_something_else_is_named() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        journal.note(&"x").unwrap();
        let fault = read::<String, u32>(&root, TOOL, journal.run()).unwrap_err().to_string();
        assert!(fault.contains("oh-test-20261120T030211Z.jsonl:2: invalid type"), "{fault}");
    }
}
