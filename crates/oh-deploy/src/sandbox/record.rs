//! The folder of a sandbox and the record in it: what was started, under which token.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use oh_host::atomic::{self, Meta};
use oh_host::lock::{Held, Leases, LockFault, Locks, Share, World};
use oh_host::process::Identity;
use oh_host::random;
use oh_host::root::Root;
use oh_model::path::RealPath;
use serde::{Deserialize, Serialize};

use super::facts::Ports;
use super::fault::SandboxFault;
use super::parts::Part;

/// The record's name; that it is there makes a folder a sandbox.
const RECORD: &str = "sandbox.json";

/// The version of the record.
const SCHEMA: u32 = 2;

/// The largest record that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// Others may pass through, to what is theirs inside, and see nothing: root's editors are not
/// root's.
const FOLDER_MODE: u32 = 0o711;

/// How long to wait for another run on the same sandbox.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// The folder of a sandbox.
#[derive(Debug)]
pub(crate) struct Home {
    /// Where paths of the sandbox start.
    pub(crate) root: Root,
    /// The same as a path.
    pub(crate) path: RealPath,
}

/// What a sandbox remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    schema: u32,
    /// In the environment of everything that was started.
    pub(crate) token: String,
    /// The id of the session.
    pub(crate) session: String,
    /// Whether the site speaks TLS.
    pub(crate) tls: bool,
    /// Who listens where.
    pub(crate) ports: Ports,
    /// What was started, each by its identity.
    pub(crate) started: BTreeMap<Part, Identity>,
}

impl Record {
    /// Makes the record of a new sandbox.
    pub(crate) fn new(tls: bool, ports: Ports) -> Result<Self, SandboxFault> {
        let (token, session) = (random::token()?, random::token()?);
        // Real ids have 32 hexadecimal digits.
        let session = session.chars().take(32).collect();
        Ok(Self { schema: SCHEMA, token, session, tls, ports, started: BTreeMap::new() })
    }
}

/// The way to the lock files, name by name.
const WAY_TO_LOCKS: [&str; 3] = ["run", "openhands-toolkit", "locks"];

/// Says whether there is nothing in a folder but what a run leaves that was killed before its
/// record: its lock files, and names that it gives to what is not whole yet.
fn only_ours(folder: &Path) -> std::io::Result<bool> {
    let mut here = folder.to_path_buf();
    for name in WAY_TO_LOCKS {
        let mut goes_on = false;
        for entry in std::fs::read_dir(&here)? {
            let entry = entry?;
            let found = entry.file_name();
            let found = found.to_string_lossy();
            let is_way = found == name && entry.file_type()?.is_dir();
            let is_unfinished = found.starts_with(".oht-") && found.ends_with(".tmp");
            if !is_way && !is_unfinished {
                return Ok(false);
            }
            goes_on |= is_way;
        }
        if !goes_on {
            return Ok(true);
        }
        here.push(name);
    }
    Ok(true)
}

impl Home {
    /// Opens the folder; makes it where it is missing, refuses one with something else in it.
    pub(crate) fn open(dir: &str) -> Result<Self, SandboxFault> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = Path::new(dir);
        let make = |source| SandboxFault::Make { dir: dir.into(), source };
        if !path.exists() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(path)
                .map_err(make)?;
        }
        let home = Self::existing(dir)?;
        let is_sandbox = home.at(RECORD).is_ok_and(|record| Path::new(record.as_str()).exists());
        let is_empty = || std::fs::read_dir(path).map(|mut entries| entries.next().is_none());
        if is_sandbox || is_empty().map_err(make)? || only_ours(path).map_err(make)? {
            return Ok(home);
        }
        Err(SandboxFault::NotASandbox { dir: dir.into() })
    }

    /// Opens a folder that has to exist.
    pub(crate) fn existing(dir: &str) -> Result<Self, SandboxFault> {
        let root = Root::below(Path::new(dir))?;
        match root.base().cloned() {
            Some(path) => Ok(Self { root, path }),
            None => Err(SandboxFault::NotASandbox { dir: dir.into() }),
        }
    }

    /// Returns the path of something in the folder.
    pub(crate) fn at(&self, below: &str) -> Result<RealPath, SandboxFault> {
        let below = below.trim_end_matches('/');
        self.path.join(below).map_err(|source| SandboxFault::Path { dir: below.into(), source })
    }

    /// Opens the locks of the sandbox.
    pub(crate) fn locks(&self) -> Result<Locks, LockFault> {
        Locks::open(&self.root, None)
    }

    /// Keeps whoever would need all of the sandbox from it; commands of others go on.
    pub(crate) fn share<'l>(
        &self,
        locks: &'l mut Locks,
        purpose: &str,
    ) -> Result<Held<'l, World>, LockFault> {
        locks.world(Share::Shared, purpose, LOCK_WAIT)
    }

    /// Makes this run the only one that brings the sandbox up.
    pub(crate) fn lead<'l>(
        &self,
        world: &'l mut Held<'_, World>,
        purpose: &str,
    ) -> Result<Held<'l, Leases>, LockFault> {
        world.leases(["sandbox"], purpose, LOCK_WAIT)
    }

    /// Takes all of the sandbox, once nobody is at work in it.
    pub(crate) fn take<'l>(
        &self,
        locks: &'l mut Locks,
        purpose: &str,
    ) -> Result<Held<'l, World>, LockFault> {
        locks.world(Share::Exclusive, purpose, LOCK_WAIT)
    }

    /// Reads the record; `None` where there is none yet.
    pub(crate) fn record(&self) -> Result<Option<Record>, SandboxFault> {
        let path = self.at(RECORD)?;
        let Some(bytes) = atomic::read_limited(&path, RECORD_BYTES_MAX)? else { return Ok(None) };
        let fault = |why: String| SandboxFault::Record { path: path.to_string(), why };
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|reason| fault(reason.to_string()))?;
        if record.schema != SCHEMA {
            return Err(fault(format!("its schema is {}, not {SCHEMA}", record.schema)));
        }
        Ok(Some(record))
    }

    /// Writes the record durably.
    pub(crate) fn save(&self, record: &Record) -> Result<(), SandboxFault> {
        let path = self.at(RECORD)?;
        let fault = |why: String| SandboxFault::Record { path: path.to_string(), why };
        let mut bytes =
            serde_json::to_vec_pretty(record).map_err(|reason| fault(reason.to_string()))?;
        bytes.push(b'\n');
        atomic::replace(&path, &bytes, Meta { mode: 0o600, owner: None })?;
        Ok(())
    }
}
