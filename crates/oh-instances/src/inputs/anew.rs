//! The databases made anew: what was torn or removed gets back what the records of instances know,
//! and the ports that nobody has are available.

use std::cell::LazyCell;
use std::time::Duration;

use jiff::Timestamp;
use oh_host::atomic::Change;
use oh_host::databases::{self, Edited, Place, iso_text};
use oh_host::instances::{self, Phase};
use oh_host::lock::{Held, Leases, Locks, Share};
use oh_host::publish::{Host, LOCK_WAIT};
use oh_model::databases::{
    Document, NewRepository, PortDocument, PortEntry, RepositoriesDocument, RepositoryKind,
};
use oh_model::instance::Subject;
use oh_model::port::Port;

use crate::fault::Fault;
use crate::look::{self, Condition, Found};

/// What locks are held for.
const PURPOSE: &str = "oh-instances: writing a torn database anew";

/// How long to wait for whoever has the world.
const WORLD_WAIT: Duration = Duration::from_secs(30);

/// One of the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Ports,
    Repositories,
}

/// What the records know of repositories.
pub(super) struct Known {
    /// The entries of those whose editors are to run and are watched, or live.
    pub(super) ports: Vec<(String, PortEntry)>,
    /// All of them, with the port of each that runs.
    pub(super) repositories: Vec<(NewRepository, Option<Option<Port>>)>,
}

impl Known {
    /// Looks at the records once they are wanted: an edit of a whole database does not need them.
    pub(super) fn when_wanted(host: &Host) -> LazyCell<Self, impl FnOnce() -> Self> {
        LazyCell::new(|| Self::of(host))
    }

    /// A record that cannot be read is named by whoever looks at instances; the others count.
    fn of(host: &Host) -> Self {
        let mut known = Self { ports: Vec::new(), repositories: Vec::new() };
        let now = iso_text(Timestamp::now());
        let ids = instances::ids(&host.root).unwrap_or_default();
        let found = ids.iter().filter_map(|id| look::one(host, id).ok().flatten());
        for found in found.filter(|found| found.record.subject == Subject::Repository) {
            let runs = found.record.announced && runs(&found.condition);
            let Found { record, state, .. } = found;
            let id = record.id.to_string();
            let name: String = record.folder.name().into();
            let state = state.filter(|_| runs);
            if let (Some(port), Some(state)) = (record.target.port(), &state) {
                let entry = PortEntry {
                    port,
                    pid: state.supervisor.pid.get(),
                    project_name: name.clone(),
                    repo_path: record.folder.to_string(),
                    started_at: now.clone(),
                };
                known.ports.push((id.clone(), entry));
            }
            let kind: RepositoryKind = super::kind_of(host, &record);
            let repository = NewRepository {
                id,
                name,
                path: record.folder.clone(),
                kind,
                added_at: now.clone(),
            };
            known.repositories.push((repository, state.map(|_| record.target.port())));
        }
        known
    }
}

/// Says whether an editor lives, or is started again by somebody who does.
fn runs(condition: &Condition) -> bool {
    match condition {
        Condition::Supervised(phase) => !matches!(phase, Phase::Failed { .. } | Phase::Ended),
        Condition::Unsupervised => true,
        Condition::Gone | Condition::Stopping => false,
    }
}

/// Writes a database anew where it is torn or its available ports are not those that nobody has;
/// says whether anything was written, and returns what people should know.
pub(crate) fn mend(
    host: &Host,
    database: Database,
    held: &mut Held<'_, Leases>,
) -> Result<(Change, Vec<String>), Fault> {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let range = settings.ports;
    let names = [PortDocument::NAME, RepositoriesDocument::NAME];
    let held = held.databases(names, PURPOSE, LOCK_WAIT)?;
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let known = Known::when_wanted(host);
    let (path, edited) = match database {
        Database::Ports => {
            let path = &settings.port_database;
            let empty = PortDocument::empty(range);
            let edited = databases::edit(&held, place(path), &empty, |document| {
                if document.is_anew() {
                    document.complete(&known.ports, range);
                }
                document.mend(range);
            });
            (path, edited)
        }
        Database::Repositories => {
            let path = &settings.repository_database;
            let empty = RepositoriesDocument::empty();
            let edited = databases::edit(&held, place(path), &empty, |document| {
                if document.is_anew() {
                    document.complete(&known.repositories);
                }
            });
            (path, edited)
        }
    };
    let change = edited.as_ref().map_or(Change::Unchanged, |Edited { change, .. }| *change);
    Ok((change, super::told(path.as_str(), edited)?))
}

/// Writes torn databases anew, before something is to be routed by them; returns what people
/// should know. Where none is torn nothing is touched.
pub(crate) fn salvage(host: &Host) -> Result<Vec<String>, Fault> {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let mut torn = Vec::new();
    // One that cannot be read at all is said by whoever needs it.
    if is_torn::<PortDocument>(place(&settings.port_database)) {
        torn.push(Database::Ports);
    }
    if is_torn::<RepositoriesDocument>(place(&settings.repository_database)) {
        torn.push(Database::Repositories);
    }
    let mut notes = Vec::new();
    if torn.is_empty() {
        return Ok(notes);
    }
    let mut locks = Locks::open(&host.root, None)?;
    let mut world = locks.world(Share::Shared, PURPOSE, WORLD_WAIT)?;
    let mut held = world.leases([], PURPOSE, WORLD_WAIT)?;
    for database in torn {
        notes.extend(mend(host, database, &mut held)?.1);
    }
    Ok(notes)
}

fn is_torn<D: Document>(place: Place<'_>) -> bool {
    matches!(databases::read_what_is_whole::<D>(place), Ok(Some((_, Some(_)))))
}
