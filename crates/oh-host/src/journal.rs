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
use std::io;
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
    /// There is no such run.
    #[error("there is no run {0}")]
    Unknown(RunId),
}

impl JournalFault {
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
        // Whole before it has its name: one that was killed on the way left no journal.
        let temp = format!("{TEMP_PREFIX}{}", random::token()?);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, &temp, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(made.map_err(|errno| fault("make", &path, errno))?);
        let line = format!("{}\n", first(&named));
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
        let length = text(root, tool, run)?.length;
        let path = folder(root)?.join(&file_name(tool, run))?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path.as_str(), flags, Mode::empty())
            .map_err(|errno| fault("open", &path, errno))?;
        let (file, run) = (File::from(file), run.clone());
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
    let text = text(root, tool, run)?;
    let path = folder(root)?.join(&file_name(tool, run))?;
    let bad =
        |line: usize, fault: String| JournalFault::Line { path: path.to_string(), line, fault };
    let mut lines = text.text.lines().enumerate();
    let (_, first) = lines.next().ok_or_else(|| bad(1, "it is empty".into()))?;
    let head = serde_json::from_str(first).map_err(|fault| bad(1, fault.to_string()))?;
    let entry = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|fault| bad(at + 1, fault.to_string()))
    };
    let entries = lines.map(entry).collect::<Result<_, _>>()?;
    Ok(Told { head, entries })
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

/// The whole lines of a journal.
struct Text {
    text: String,
    length: u64,
}

fn text(root: &Root, tool: &str, run: &RunId) -> Result<Text, JournalFault> {
    let path = folder(root)?.join(&file_name(tool, run))?;
    let unknown = || JournalFault::Unknown(run.clone());
    match atomic::own_folder(&path.parent()) {
        Ok(_) => {}
        Err(FileFault::Way(WayFault::NoFolder { .. })) => return Err(unknown()),
        Err(fault) => return Err(JournalFault::Folder(fault)),
    }
    let read = atomic::read_limited(&path, JOURNAL_BYTES_MAX).map_err(JournalFault::Folder)?;
    let mut bytes = read.ok_or_else(unknown)?;
    // Before it is taken for text: a line may end within a letter.
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let length = bytes.len() as u64;
    let text = String::from_utf8(bytes).map_err(|fault| JournalFault::Line {
        path: path.to_string(),
        line: 0,
        fault: fault.to_string(),
    })?;
    Ok(Text { text, length })
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
    fn a_line_of_something_else_is_named() {
        let (_dir, root) = root();
        let mut journal = begin(&root);
        journal.note(&"x").unwrap();
        let fault = read::<String, u32>(&root, TOOL, journal.run()).unwrap_err().to_string();
        assert!(fault.contains("oh-test-20261120T030211Z.jsonl:2: invalid type"), "{fault}");
    }
}
