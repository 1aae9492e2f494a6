//! Moves the files of sessions aside whose editors are gone, and remembers since when they are.
//!
//! The decision is `oh_model::retirement`'s. Here is what belongs to the moment: the file has to be
//! the very one that was judged, still nobody of the session listens, and the new name is in the
//! same folder and begins with a dot, so no reader takes it. Of the files that were moved aside the
//! latest hundred are kept.
//!
//! Since when editors are missing stands in a file of this boot, so that a watch that is started
//! again, and one that runs from a timer, go on where the last one was.

use std::os::fd::{AsFd, BorrowedFd};

use oh_model::listening::Listens;
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::port::Port;
use oh_model::retirement::{Missing, MissingEditors};
use oh_model::routes::{Announced, FileNumber, SESSION_FILE_SUFFIX};
use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::atomic::{self, FileFault};
use crate::boot::{BootFault, BootId, boot_id};
use crate::folder::{self, FolderFault, each_name};
use crate::inputs;
use crate::publish::Host;
use crate::root::Root;
use crate::sockets;

/// Where it stands since when editors are missing, below the root.
pub const MISSING_FILE: &str = "/run/openhands-toolkit/missing-editors.json";
/// The version of that file.
const MISSING_SCHEMA: u32 = 1;
/// The largest such file that is read, in bytes: 100,000 sessions have 20 MB.
const MISSING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Nobody else needs to know.
const MISSING_MODE: u32 = 0o600;
/// How the name of a file that was moved aside begins.
const PREFIX: &str = ".retired-";
/// How many files that were moved aside are kept in a folder.
const KEPT_MAX: usize = 100;

/// Says why since when editors are missing is not known, or cannot be kept.
#[derive(Debug, Error)]
pub enum MissingFault {
    /// The path is too long below the root.
    #[error("the record of missing editors has no path below this root")]
    Path(#[from] PathFault),
    /// It cannot be told which boot this is.
    #[error(transparent)]
    Boot(#[from] BootFault),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The file is not what it should be.
    #[error("{path} is not understood: {why}")]
    Content {
        /// The file.
        path: RealPath,
        /// What is wrong with it.
        why: String,
    },
}

/// Says why a file was not moved aside.
#[derive(Debug, Error)]
pub enum RetireFault {
    /// The path of the folder is too long below the root.
    #[error("the folder of session files has no path below this root")]
    Path(#[from] PathFault),
    /// The folder cannot be believed any more.
    #[error(transparent)]
    Folder(#[from] FolderFault),
    /// A system call failed.
    #[error("cannot {doing} {name}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What became of a file that was to be moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retired {
    /// It has this name now.
    Aside(String),
    /// It is another file by now, or its editor is back: nothing was done.
    Changed,
}

/// [`MissingEditors`] as the file has them.
#[derive(Serialize, Deserialize)]
struct MissingRecord {
    schema_version: u32,
    boot_id: BootId,
    sessions: Vec<SessionRecord>,
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    name: String,
    device: u64,
    inode: u64,
    modified_ns: i64,
    editor: u16,
    since_ms: u64,
}

/// Returns the time since the machine started, sleep included, in milliseconds: it never jumps.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let milliseconds = i128::from(now.tv_sec) * 1000 + i128::from(now.tv_nsec) / 1_000_000;
    u64::try_from(milliseconds).unwrap_or_default()
}

/// Reads since when editors are missing; what another boot wrote counts for nothing.
///
/// # Errors
/// [`MissingFault`]; a file that is not understood is not trusted in part either.
pub fn load(root: &Root) -> Result<MissingEditors, MissingFault> {
    let path = path(root)?;
    let Some(bytes) = atomic::read_limited(&path, MISSING_BYTES_MAX)? else {
        return Ok(MissingEditors::new());
    };
    let content = |why: String| MissingFault::Content { path: path.clone(), why };
    let record: MissingRecord =
        serde_json::from_slice(&bytes).map_err(|fault| content(fault.to_string()))?;
    if record.schema_version != MISSING_SCHEMA {
        return Err(content(format!("it has schema_version {}", record.schema_version)));
    }
    if record.boot_id != boot_id()? {
        return Ok(MissingEditors::new());
    }
    let sessions = record.sessions.into_iter().map(|one| {
        let editor = Port::new(one.editor.into()).ok_or_else(|| content("a port is 0".into()))?;
        let file = FileNumber { device: one.device, inode: one.inode };
        let modified_ns = one.modified_ns.into();
        Ok((one.name, Missing { file, modified_ns, editor, since_ms: one.since_ms }))
    });
    sessions.collect()
}

/// Writes since when editors are missing; the folder has to exist.
///
/// # Errors
/// [`MissingFault`].
pub fn save(root: &Root, missing: &MissingEditors) -> Result<(), MissingFault> {
    let path = path(root)?;
    let sessions = missing.iter().map(|(name, one)| SessionRecord {
        name: name.clone(),
        device: one.file.device,
        inode: one.file.inode,
        // A time beyond the year 2262 is written as another, and so the session begins again.
        modified_ns: i64::try_from(one.modified_ns).unwrap_or_default(),
        editor: one.editor.get(),
        since_ms: one.since_ms,
    });
    let record = MissingRecord {
        schema_version: MISSING_SCHEMA,
        boot_id: boot_id()?,
        sessions: sessions.collect(),
    };
    let content = |fault: serde_json::Error| MissingFault::Content {
        path: path.clone(),
        why: fault.to_string(),
    };
    let bytes = serde_json::to_vec(&record).map_err(content)?;
    Ok(atomic::replace_for_now(&path, &bytes, MISSING_MODE)?)
}

/// Moves the file of a session aside, if it is still the one that was judged and its editor is
/// still gone. `unix_s` becomes part of the new name.
///
/// # Errors
/// [`RetireFault`]; the file has its name then.
pub fn retire(host: &Host, session: &Announced, unix_s: u64) -> Result<Retired, RetireFault> {
    let path = host.root.real(&host.settings.sessions.directory)?;
    let Some(folder) = folder::open_folder(&path, &inputs::owners(host))? else {
        return Ok(Retired::Changed);
    };
    let name = session.name.as_str();
    let fault = |doing, errno: Errno| RetireFault::Io {
        doing,
        name: format!("{path}/{name}"),
        source: errno.into(),
    };
    let Some(editor) = session.editor else { return Ok(Retired::Changed) };
    let listens = sockets::listening().on(editor, session.whose);
    let still = look(folder.as_fd(), name).map_err(|errno| fault("look at", errno))?;
    if matches!(listens, Listens::Own | Listens::Unknown) || !still.is_some_and(is(session)) {
        return Ok(Retired::Changed);
    }
    let stem = name.strip_suffix(SESSION_FILE_SUFFIX).unwrap_or(name);
    let aside = format!("{PREFIX}{stem}-{unix_s}{SESSION_FILE_SUFFIX}");
    let rename = |from: &str, to: &str| {
        rustix::fs::renameat_with(&folder, from, &folder, to, RenameFlags::NOREPLACE)
    };
    match rename(name, &aside) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Retired::Changed),
        Err(errno) => return Err(fault("move aside", errno)),
    }
    // A new file may have taken the name in between: it goes back, unless there is one yet newer.
    if !look(folder.as_fd(), &aside).is_ok_and(|stat| stat.is_some_and(is(session))) {
        return match rename(&aside, name) {
            Ok(()) | Err(Errno::EXIST | Errno::NOENT) => Ok(Retired::Changed),
            Err(errno) => Err(fault("give its name back to", errno)),
        };
    }
    Ok(Retired::Aside(aside))
}

fn look(folder: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Says whether a file is the one of the session; a rename changes neither number nor time.
fn is(session: &Announced) -> impl Fn(Stat) -> bool {
    let (file, modified_ns) = (session.file, session.modified_ns);
    move |stat| folder::number(&stat) == file && folder::modified_ns(&stat) == modified_ns
}

/// Removes the oldest files that were moved aside, beyond those that are kept: they count among
/// the names of the folder. Best effort, the next time is soon enough.
pub fn forget_the_oldest(host: &Host) {
    let path = host.root.real(&host.settings.sessions.directory);
    let opened = path.ok().map(|path| folder::open_folder(&path, &inputs::owners(host)));
    let Some(Ok(Some(folder))) = opened else { return };
    let mut aside: Vec<(u64, String)> = Vec::new();
    let listed = each_name(folder.as_fd(), |name| {
        let name = String::from_utf8_lossy(name);
        aside.extend(retired_at(&name).map(|time| (time, name.into_owned())));
        true
    });
    if listed.is_err() {
        return;
    }
    aside.sort_unstable();
    let extra = aside.len().saturating_sub(KEPT_MAX);
    for (_, name) in aside.iter().take(extra) {
        rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty()).ok();
    }
}

/// Reads the time out of a name of ours.
fn retired_at(name: &str) -> Option<u64> {
    let inner = name.strip_prefix(PREFIX)?.strip_suffix(SESSION_FILE_SUFFIX)?;
    inner.rsplit_once('-')?.1.parse().ok()
}

fn path(root: &Root) -> Result<RealPath, PathFault> {
    InRoot::parse(MISSING_FILE).and_then(|path| root.real(&path))
}

#[cfg(test)]
mod tests;
