//! The records of editor instances: what is wanted of each, and what its supervisor says.
//!
//! Two files an instance. The *record* (`/var/lib/openhands-toolkit/instances/{id}.json`) is what is
//! wanted: it outlives a reboot, is written before anything is started, and taken away as the last
//! step of a stop; there is no process without one. The *state*
//! (`/run/openhands-toolkit/instances/{id}.json`) is what the supervisor saw; it is of this boot
//! only. Both are root's alone (or of whoever runs the toolkit), because the record has the key of
//! the editor.
//!
//! Nothing here starts or stops anything.

mod record;
mod state;

pub use record::{RECORD_SCHEMA, Record, SUPERVISOR_SUFFIX, Wanted};
pub use state::{Ending, Phase, STATE_SCHEMA, State};

use oh_model::id::InstanceId;
use oh_model::instance::Instance;
use oh_model::path::{InRoot, PathFault, RealPath};
use thiserror::Error;

use crate::atomic::{self, Change, FileFault, Meta, Removed, create_dirs};
use crate::members::Target;
use crate::root::Root;

/// Where the records are, below the root.
pub const RECORDS_FOLDER: &str = "/var/lib/openhands-toolkit/instances";
/// Where the states are, below the root.
pub const STATES_FOLDER: &str = "/run/openhands-toolkit/instances";
/// The largest record or state that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The most records that are read.
const RECORDS_MAX: usize = 10_000;
/// How the name of a file ends.
const SUFFIX: &str = ".json";
/// The folders and the files in them are for whoever runs the toolkit alone.
const FOLDER: Meta = Meta { mode: 0o700, owner: None };
const FILE: Meta = Meta { mode: 0o600, owner: None };

/// Says why a record or a state was not read or written.
#[derive(Debug, Error)]
pub enum InstanceFault {
    /// The path is too long below the root.
    #[error("the records of instances have no path below this root")]
    Path(#[from] PathFault),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The folder cannot be listed.
    #[error("cannot list {path}")]
    List {
        /// The folder.
        path: RealPath,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are more records than are read.
    #[error("{path} has more than {RECORDS_MAX} records")]
    TooMany {
        /// The folder.
        path: RealPath,
    },
    /// A file is not what it should be.
    #[error("{path} is no file of this toolkit: {why}")]
    Content {
        /// The file.
        path: RealPath,
        /// What is wrong with it.
        why: String,
    },
}

impl InstanceFault {
    /// Says whether it is for a full disk that nothing was written.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::File(fault) if fault.is_no_space())
    }

    /// Returns what can be done, where that is not said already.
    pub fn hint(&self) -> Option<String> {
        let denied =
            |source: &std::io::Error| source.kind() == std::io::ErrorKind::PermissionDenied;
        match self {
            Self::List { source, .. } | Self::File(FileFault::Io { source, .. })
                if denied(source) =>
            {
                Some("the records are readable by root alone: run this as root".into())
            }
            Self::Content { path, .. } => {
                Some(format!("mend {path}, or move it away if that editor is not to run"))
            }
            _ => None,
        }
    }
}

/// Reads every record, sorted by id. One that cannot be read is a fault beside the others.
///
/// # Errors
/// [`InstanceFault`] where the folder as a whole cannot be read.
pub fn records(root: &Root) -> Result<Vec<Result<Record, InstanceFault>>, InstanceFault> {
    Ok(ids(root)?.iter().filter_map(|id| read(root, id).transpose()).collect())
}

/// Returns the ids that there are records of, as their files are named, sorted.
///
/// # Errors
/// [`InstanceFault`] where the folder cannot be read.
pub fn ids(root: &Root) -> Result<Vec<InstanceId>, InstanceFault> {
    let folder = real(root, RECORDS_FOLDER)?;
    let list = |source| InstanceFault::List { path: folder.clone(), source };
    let entries = match std::fs::read_dir(folder.as_str()) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => return Err(list(fault)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(list)?.file_name();
        // Names that we do not give (an editor's backup, our own unfinished ones) are no records.
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
        ids.extend(InstanceId::parse(id));
        if ids.len() > RECORDS_MAX {
            return Err(InstanceFault::TooMany { path: folder });
        }
    }
    ids.sort();
    Ok(ids)
}

/// Reads a record; `None` where there is none.
///
/// # Errors
/// [`InstanceFault`].
pub fn read(root: &Root, id: &InstanceId) -> Result<Option<Record>, InstanceFault> {
    parsed(&file(root, RECORDS_FOLDER, id)?)
}

/// Writes a record durably.
///
/// # Errors
/// [`InstanceFault`]; what was there is as it was.
pub fn write(root: &Root, record: &Record) -> Result<Change, InstanceFault> {
    create_dirs(&real(root, RECORDS_FOLDER)?, FOLDER)?;
    let path = file(root, RECORDS_FOLDER, &record.id)?;
    Ok(atomic::replace(&path, &text(&path, record)?, FILE)?)
}

/// Takes a record away durably.
///
/// # Errors
/// [`InstanceFault`].
pub fn remove(root: &Root, id: &InstanceId) -> Result<Removed, InstanceFault> {
    Ok(atomic::remove_file(&file(root, RECORDS_FOLDER, id)?)?)
}

/// Returns where a record is, or would be.
///
/// # Errors
/// [`InstanceFault`] where the path is too long.
pub fn path(root: &Root, id: &InstanceId) -> Result<RealPath, InstanceFault> {
    Ok(file(root, RECORDS_FOLDER, id)?)
}

/// Reads what the supervisor of an instance says; `None` where it has said nothing in this boot.
///
/// # Errors
/// [`InstanceFault`].
pub fn read_state(root: &Root, id: &InstanceId) -> Result<Option<State>, InstanceFault> {
    parsed(&file(root, STATES_FOLDER, id)?)
}

/// Writes what a supervisor says, for readers of this boot.
///
/// # Errors
/// [`InstanceFault`].
pub fn write_state(root: &Root, id: &InstanceId, state: &State) -> Result<(), InstanceFault> {
    create_dirs(&real(root, STATES_FOLDER)?, FOLDER)?;
    let path = file(root, STATES_FOLDER, id)?;
    Ok(atomic::replace_for_now(&path, &text(&path, state)?, FILE.mode)?)
}

/// Takes a state away.
///
/// # Errors
/// [`InstanceFault`].
pub fn remove_state(root: &Root, id: &InstanceId) -> Result<Removed, InstanceFault> {
    Ok(atomic::remove_file(&file(root, STATES_FOLDER, id)?)?)
}

/// Removes what commands and supervisors that were killed left of files that they were writing.
///
/// # Errors
/// [`InstanceFault`].
pub fn sweep(root: &Root) -> Result<(), InstanceFault> {
    for folder in [RECORDS_FOLDER, STATES_FOLDER] {
        atomic::sweep(&real(root, folder)?)?;
    }
    Ok(())
}

/// Returns what the records that are wanted running tell the agreement about routes.
///
/// # Errors
/// [`InstanceFault`]: one record that cannot be read leaves open whose port it has, and a state which
/// key, so nothing is said of any.
pub fn claims(root: &Root) -> Result<Vec<Instance>, InstanceFault> {
    let mut claims = Vec::new();
    for record in records(root)? {
        let record = record?;
        if record.wanted == Wanted::Running {
            let mut claim = record.claim();
            if record.renews_key() {
                claim.key = read_state(root, &record.id)?.and_then(|state| state.key);
            }
            claims.push(claim);
        }
    }
    Ok(claims)
}

fn parsed<T: serde::de::DeserializeOwned>(path: &RealPath) -> Result<Option<T>, InstanceFault> {
    let Some(bytes) = atomic::read_limited(path, FILE_BYTES_MAX)? else { return Ok(None) };
    let content = |fault: serde_json::Error| InstanceFault::Content {
        path: path.clone(),
        why: fault.to_string(),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(content)
}

fn text(path: &RealPath, value: &impl serde::Serialize) -> Result<Vec<u8>, InstanceFault> {
    let content = |fault: serde_json::Error| InstanceFault::Content {
        path: path.clone(),
        why: fault.to_string(),
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(content)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The file of an instance: ids that differ in case only are one route, and so one file.
fn file(root: &Root, folder: &str, id: &InstanceId) -> Result<RealPath, PathFault> {
    real(root, folder)?.join(&format!("{}{SUFFIX}", id.folded()))
}

fn real(root: &Root, path: &str) -> Result<RealPath, PathFault> {
    InRoot::parse(path).and_then(|path| root.real(&path))
}

/// Returns where the editor of an id listens that has no port, below the folder of sockets.
///
/// # Errors
/// [`PathFault`] where the path is too long.
pub fn socket(root: &Root, sockets: &InRoot, id: &InstanceId) -> Result<RealPath, PathFault> {
    root.real(sockets)?.join(&format!("vscode/{}/socket", id.folded()))
}

/// Returns what to end (see [`crate::stop`]) so that nothing of an instance lives, its supervisor
/// before its editor: also what no state tells of, such as a supervisor that was killed before its
/// first word.
pub fn family(record: &Record, state: Option<State>) -> Vec<Target> {
    let state = state.into_iter();
    let told = state.flat_map(|state| [Some(state.supervisor), state.editor]).flatten();
    let told = told.map(|identity| Target { identity: Some(identity), token: None });
    let tokens = [record.supervisor_token(), record.token.clone()];
    let carriers = tokens.map(|token| Target { identity: None, token: Some(token) });
    told.chain(carriers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::record::sample;

    #[test]
    fn what_is_written_is_read_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path()).unwrap();
        assert!(records(&root).unwrap().is_empty());
        let record = sample();
        assert_eq!(write(&root, &record).unwrap(), Change::Changed);
        assert_eq!(write(&root, &record).unwrap(), Change::Unchanged);
        let folded = InstanceId::parse(&record.id.as_str().to_lowercase()).unwrap();
        assert_eq!(read(&root, &folded).unwrap(), Some(record.clone()));
        // On a port it is the state that tells the key.
        let without = Instance { key: None, ..record.claim() };
        assert_eq!(claims(&root).unwrap(), [without]);
        let on_socket = Record { target: oh_model::upstream::Target::Socket, ..record.clone() };
        write(&root, &on_socket).unwrap();
        assert_eq!(claims(&root).unwrap(), [on_socket.claim()]);
        assert_eq!(remove(&root, &record.id).unwrap(), Removed::Done);
        assert_eq!(remove(&root, &record.id).unwrap(), Removed::Absent);
        assert!(records(&root).unwrap().is_empty());
    }

    #[test]
    fn one_record_that_cannot_be_read_is_named_beside_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path()).unwrap();
        write(&root, &sample()).unwrap();
        let folder = dir.path().join(RECORDS_FOLDER.trim_start_matches('/'));
        std::fs::write(folder.join("torn.json"), "{\"schema\": 1, \"id\"").unwrap();
        std::fs::write(folder.join("notes.txt"), "").unwrap();
        std::fs::write(folder.join("..json"), "").unwrap();
        let all = records(&root).unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].is_ok());
        let fault = all[1].as_ref().unwrap_err().to_string();
        assert!(fault.contains("torn.json is no file of this toolkit"), "{fault}");
        assert!(claims(&root).is_err());
    }

    #[test]
    fn nobody_else_reads_the_keys() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path()).unwrap();
        write(&root, &sample()).unwrap();
        let folder = dir.path().join(RECORDS_FOLDER.trim_start_matches('/'));
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("actmcp.json")), 0o600);
    }
}
