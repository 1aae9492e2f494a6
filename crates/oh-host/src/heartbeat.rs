//! What a watch leaves for others to see: that it lives, when it last looked, and what came of it.
//!
//! `/run/openhands-toolkit/watch.json` is replaced in one step after each look and never synced: it
//! is of this boot only. Whether the watch lives is not in it; that is asked of the kernel, by the
//! identity of the process.

use oh_model::path::{InRoot, PathFault, RealPath};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::atomic::{self, FileFault};
use crate::process::{Identity, ProcessDir};
use crate::root::Root;

/// Where the heartbeat is, below the root.
pub const HEARTBEAT_FILE: &str = "/run/openhands-toolkit/watch.json";
/// The version of the file.
pub const HEARTBEAT_SCHEMA: u32 = 1;
/// The largest heartbeat that is read, in bytes.
const HEARTBEAT_BYTES_MAX: u64 = 64 * 1024;
/// Everybody may know how the watch is.
const MODE: u32 = 0o644;

/// What a watch says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// [`HEARTBEAT_SCHEMA`].
    pub schema_version: u32,
    /// The process that watches.
    pub process: Identity,
    /// When it last looked, whatever came of it, in milliseconds since 1970.
    pub last_scan_ms: u64,
    /// How long it may be until it looks again, in milliseconds.
    pub interval_ms: u64,
    /// The generation in place, whether or not it is served.
    pub generation: Option<String>,
    /// How many editors and applications are wanted; `None` until a look could tell.
    pub routed: Option<usize>,
    /// How many claims are not routed; `None` until a look could tell.
    pub excluded: Option<usize>,
    /// What nginx answers; `None` where it serves nothing of ours, or it cannot be told.
    #[serde(default)]
    pub served: Option<Answered>,
    /// Whether an nginx of this configuration runs; `None` where it cannot be told.
    #[serde(default)]
    pub nginx_runs: Option<bool>,
    /// How many sessions were retired since it started.
    pub retired: u64,
    /// How many old workers of nginx linger, where that is known.
    pub old_workers: Option<usize>,
    /// Why it cannot publish, where that is so.
    pub failing: Option<Failing>,
}

/// The set that nginx was seen to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The generation that is answered.
    pub generation: String,
    /// How many editors and applications it routes; `None` where its file is gone.
    pub routed: Option<usize>,
}

/// Since when and why a watch cannot publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The message of the last failure with its causes, on one line.
    pub reason: String,
}

/// Says why there is no heartbeat to go by.
#[derive(Debug, Error)]
pub enum HeartbeatFault {
    /// The path is too long below the root.
    #[error("the heartbeat has no path below this root")]
    Path(#[from] PathFault),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The file is not what it should be.
    #[error("{path} is no heartbeat that is known here: {why}")]
    Content {
        /// The file.
        path: RealPath,
        /// What is wrong with it.
        why: String,
    },
}

impl Heartbeat {
    /// Leaves the heartbeat; the folder has to exist.
    ///
    /// # Errors
    /// [`HeartbeatFault`].
    pub fn write(&self, root: &Root) -> Result<(), HeartbeatFault> {
        let path = path(root)?;
        let content = |fault: serde_json::Error| HeartbeatFault::Content {
            path: path.clone(),
            why: fault.to_string(),
        };
        let mut bytes = serde_json::to_vec(self).map_err(content)?;
        bytes.push(b'\n');
        Ok(atomic::replace_for_now(&path, &bytes, MODE)?)
    }

    /// Says whether the process that left it lives.
    pub fn lives(&self) -> bool {
        let process = ProcessDir::open(self.process.pid);
        process.and_then(|process| process.is(&self.process)).unwrap_or(false)
    }
}

/// Reads the heartbeat; `None` where no watch has left one since the machine started.
///
/// # Errors
/// [`HeartbeatFault`].
pub fn read(root: &Root) -> Result<Option<Heartbeat>, HeartbeatFault> {
    let path = path(root)?;
    let Some(bytes) = atomic::read_limited(&path, HEARTBEAT_BYTES_MAX)? else { return Ok(None) };
    let content = |why: String| HeartbeatFault::Content { path: path.clone(), why };
    let heartbeat: Heartbeat =
        serde_json::from_slice(&bytes).map_err(|fault| content(fault.to_string()))?;
    if heartbeat.schema_version != HEARTBEAT_SCHEMA {
        return Err(content(format!("it has schema_version {}", heartbeat.schema_version)));
    }
    Ok(Some(heartbeat))
}

fn path(root: &Root) -> Result<RealPath, PathFault> {
    InRoot::parse(HEARTBEAT_FILE).and_then(|path| root.real(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every version that was ever written has to be understood, or refused by its number.
    const VERSION_1: &str = r#"{"schema_version":1,"process":{"schema":1,"boot_id":
        "00000000-0000-4000-8000-000000000000","pid":4121,"start_time_ticks":99,"argv_sha256":
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"last_scan_ms":
        1795262400000,"interval_ms":30000,"generation":"3-0123456789ab","routed":2,"excluded":1,
        "retired":0,"old_workers":null,"failing":{"since_ms":1795262400000,"reason":"torn"}}"#;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::below(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("run/openhands-toolkit")).unwrap();
        (folder, root)
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written() {
        let (folder, root) = root();
        assert_eq!(read(&root).unwrap(), None);
        let mut heartbeat: Heartbeat = serde_json::from_str(VERSION_1).unwrap();
        assert!(!heartbeat.lives());
        heartbeat.process = Identity::own().unwrap();
        heartbeat.write(&root).unwrap();
        assert_eq!(read(&root).unwrap(), Some(heartbeat.clone()));
        assert!(heartbeat.lives());
        let below = folder.path().join("run/openhands-toolkit/watch.json");
        std::fs::write(below, VERSION_1.replace("_version\":1", "_version\":2")).unwrap();
        let fault = read(&root).unwrap_err().to_string();
        assert!(fault.ends_with("it has schema_version 2"), "{fault}");
    }
}
