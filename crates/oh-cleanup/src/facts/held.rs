//! What no quarantine can hold: nobody is promised what a run could not do.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::publish::Host;
use oh_host::quarantine::{self, NoHold};
use oh_model::path::RealPath;

use super::{GeneratedFile, Leftover, Session};

/// Returns why nothing at all can be written down. Where nobody can tell, the run will say.
pub(super) fn no_state(host: &Host) -> Option<String> {
    quarantine::no_state(&host.root).ok().flatten().map(|why| told(&why))
}

/// Returns the folders whose things cannot be moved, each with the reason.
pub(super) fn no_hold(
    host: &Host,
    leftovers: &[Leftover],
    sessions: &[Session],
    generated: &[GeneratedFile],
) -> BTreeMap<RealPath, String> {
    let leftovers = leftovers.iter().map(|one| &one.thing);
    let others =
        sessions.iter().map(|one| &one.thing).chain(generated.iter().map(|one| &one.thing));
    let folders: BTreeSet<&RealPath> = leftovers.chain(others).map(|thing| &thing.folder).collect();
    let refused = folders.into_iter().filter_map(|folder| {
        let why = quarantine::no_hold(&host.root, folder).ok().flatten()?;
        Some((folder.clone(), told(&why)))
    });
    refused.collect()
}

/// Says why, and the way out.
fn told(why: &NoHold) -> String {
    match why {
        NoHold::ReadOnly(path) => {
            format!("the mount of {path} may only be read: mount it for writing")
        }
        NoHold::AboveRoot(path) => format!(
            "its mount begins above the root, and what is in it cannot be moved: give it a mount of its \
             own (mount --bind {path} {path})"
        ),
    }
}
