//! Which of the disks are full that an instance is kept on: what cannot write its log cannot say it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use oh_host::disk::{self, DiskFull};
use oh_host::instances::{RECORDS_FOLDER, STATES_FOLDER};
use oh_host::lock::LOCKS_FOLDER;
use oh_host::publish::Host;
use oh_model::hint::Hint;
use oh_model::path::{InRoot, RealPath};
use oh_term::Failure;

use crate::fault::Fault;

/// Turns a fault of a start into what people read, with the disks that are full.
pub(crate) fn failure(host: &Host, fault: Fault) -> Failure {
    let is_refused = matches!(fault, Fault::Refused(_) | Fault::Unknown(_));
    let hints = if is_refused { Vec::new() } else { hints(host) };
    hints.into_iter().fold(Failure::of(fault), Failure::hint)
}

/// Says where room has to be made, for whoever could not do something.
pub(crate) fn hints(host: &Host) -> Vec<Hint> {
    full(host).into_iter().map(hint).collect()
}

fn hint(full: DiskFull) -> Hint {
    match full {
        DiskFull::Now { path, free_kib, files } => {
            format!("make room on the disk of {path}: {free_kib} KiB and {files} files are free")
                .into()
        }
        DiskFull::Said { path } => format!("make room on the disk of {path}").into(),
    }
}

/// The disks that are full now, each once.
fn full(host: &Host) -> Vec<DiskFull> {
    let settings = &host.settings;
    let ours = [RECORDS_FOLDER, STATES_FOLDER, LOCKS_FOLDER].map(InRoot::parse);
    let databases = [&settings.instances.port_database, &settings.instances.repository_database];
    let folders = ours
        .into_iter()
        .flatten()
        .chain([
            settings.instances.directory.clone(),
            settings.instances.runtime_directory.clone(),
            settings.instances.log_directory.clone(),
            settings.sessions.directory.clone(),
        ])
        .chain(settings.sessions.sockets.clone());
    let folders = folders.filter_map(|folder| host.root.real(&folder).ok());
    let databases = databases.into_iter().filter_map(|path| host.root.real(path).ok());
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for folder in folders.chain(databases.map(|path| path.parent())) {
        let Some((folder, device)) = existing(folder) else { continue };
        if seen.insert(device) {
            found.extend(disk::full(&folder, ""));
        }
    }
    found
}

/// The folder, or the nearest one above it that exists, and its device.
fn existing(mut folder: RealPath) -> Option<(RealPath, u64)> {
    loop {
        if let Ok(meta) = fs::metadata(folder.as_str()) {
            return Some((folder, meta.dev()));
        }
        let above = folder.parent();
        if above == folder {
            return None;
        }
        folder = above;
    }
}
