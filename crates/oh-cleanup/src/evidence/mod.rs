//! What the machine was like before a run changed it: kept as one archive for each run, so that whoever
//! looks for the cause afterwards still has what the cleanup took away.
//!
//! It is gathered in the order in which it vanishes (RFC 3227): processes and sockets first, files and
//! logs last. What cannot be read is said in it and keeps nothing else from being kept; that the
//! archive itself cannot be written keeps the run from beginning. Secrets are not in it: see `redact`.
//!
//! Nothing here is removed by itself: `purge` takes the evidence away with its run.

mod bundle;
mod items;
mod logs;
mod processes;
mod repositories;
mod room;
mod store;

use oh_host::atomic::FileFault;
use oh_host::boot::BootId;
use oh_host::process::ProcessFault;
use oh_host::publish::Host;
use oh_model::path::{PathFault, RealPath};
use oh_model::plan::Plan;
use oh_model::run::RunId;
use thiserror::Error;

pub(crate) use store::{Kept, keep_reserve, of_run, remove, sweep};

use crate::facts::Facts;
use crate::step::Step;

/// Says why there is no evidence of a run.
#[derive(Debug, Error)]
pub(crate) enum EvidenceFault {
    #[error("the folder of evidence has no path below this root")]
    Path(#[from] PathFault),
    #[error("{path} can be read by others (mode {mode:04o})")]
    Open { path: String, mode: u32 },
    #[error("could not look at the processes")]
    Processes(#[from] ProcessFault),
    #[error("could not pack it")]
    Pack(#[source] std::io::Error),
    #[error("it does not unpack to what was packed")]
    Unlike,
    #[error("could not write it")]
    File(#[from] FileFault),
    #[error("cannot {doing} {path}")]
    Io { doing: &'static str, path: String, source: std::io::Error },
}

impl EvidenceFault {
    /// Says whether the disk is full, or the user's part of it.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::File(fault) => fault.is_no_space(),
            Self::Io { source, .. } => store::is_no_space(source),
            _ => false,
        }
    }
}

/// The run that the evidence is of.
pub(crate) struct About<'a> {
    pub(crate) host: &'a Host,
    pub(crate) run: &'a RunId,
    pub(crate) boot_id: &'a BootId,
    /// Why it runs, as whoever runs it said.
    pub(crate) reason: Option<&'a str>,
    pub(crate) facts: &'a Facts,
    pub(crate) plan: &'a Plan<Step>,
}

/// The evidence of a run, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) path: RealPath,
    /// How large the archive is.
    pub(crate) bytes: u64,
    /// How many items it has, beside its manifest and sums.
    pub(crate) items: usize,
    /// How many were dropped or cut, because a full disk had no room for them.
    pub(crate) shed: usize,
}

impl Written {
    /// Returns what people should know of what was dropped.
    pub(crate) fn dropped(&self) -> Option<String> {
        let items = oh_term::text::several(self.shed, "item");
        let why = "the disk is full, and the room that is kept is less than it needs";
        (self.shed > 0).then(|| format!("the evidence lacks {items}, or parts of them: {why}"))
    }
}

/// Gathers the evidence of a run and writes it; when it returns, the disk has it. On a full disk it goes
/// into the reserve, as much of it as fits.
pub(crate) fn write(about: &About<'_>) -> Result<Written, EvidenceFault> {
    let gathered = items::gather(about)?;
    let archive = bundle::archive(about.run, &gathered)?;
    let fault = match store::write(about.host, about.run, &archive) {
        Ok(path) => {
            let (bytes, items) = (archive.len() as u64, gathered.items.len());
            return Ok(Written { path, bytes, items, shed: 0 });
        }
        Err(fault) if fault.is_no_space() => fault,
        Err(fault) => return Err(fault),
    };
    let Some(room) = store::reserved(about.host)? else { return Err(fault) };
    let Some(fitting) = room::within(about.run, gathered, archive, room)? else {
        return Err(fault);
    };
    match store::write_into_reserve(about.host, about.run, &fitting.archive)? {
        Some(path) => {
            let (bytes, items) = (fitting.archive.len() as u64, fitting.items);
            Ok(Written { path, bytes, items, shed: fitting.shed })
        }
        None => Err(fault),
    }
}
