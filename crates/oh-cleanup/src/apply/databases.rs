//! Takes entries out of a database: a copy first, read back and compared, then the change.

use std::collections::BTreeMap;

use oh_host::atomic::{self, Change, Meta};
use oh_host::databases::{self, Edited, Place};
use oh_host::entry::digest;
use oh_host::inputs;
use oh_host::journal::JOURNALS_FOLDER;
use oh_host::lock::{Held, World};
use oh_host::process::Pid;
use oh_host::publish::{Host, LOCK_WAIT};
use oh_host::users::Users;
use oh_model::databases::{Document, PortDocument, RepositoriesDocument};
use oh_model::path::{InRoot, RealPath};
use oh_model::plan::Outcome;
use oh_model::port::{Port, PortRange};

use super::{NotDone, PURPOSE, Run, chain};
use crate::facts;
use crate::facts::entries::is_coming;
use crate::fault::Fault;
use crate::journal::Undo;
use crate::remains::copy_name;
use crate::step::{Database, Release};

/// A copy is its user's alone, as the journal is.
const COPY: Meta = Meta { mode: 0o600, owner: None };

pub(super) fn release(
    run: &mut Run<'_>,
    number: usize,
    mut release: Release,
    mut kept: Vec<String>,
    world: &mut Held<'_, World>,
    told: &mut Option<String>,
) -> Result<Outcome, NotDone> {
    let host = run.host;
    let said = |fault: &dyn core::error::Error| NotDone::said(chain(fault));
    let name = match release.database {
        Database::Ports => PortDocument::NAME,
        Database::Repositories => RepositoriesDocument::NAME,
    };
    let held = world.databases([name], PURPOSE, LOCK_WAIT).map_err(Fault::from)?;
    let (owners, path) = (inputs::owners(host), release.path.clone());
    let place = Place { root: &host.root, path: &path, owners: &owners };
    // A file that may not be used is not copied either: its owner may have put a link in its place.
    let bytes = databases::read_bytes(place).map_err(|fault| NotDone::kept(chain(&fault)))?;
    let Some(bytes) = bytes else { return Ok(Outcome::AlreadyDone) };
    if !run.request.reset_all {
        kept.extend(keep_taken(host, &mut release, &bytes)?);
    }
    let release = &release;
    if release.ids.is_empty() && !release.is_torn && !kept.is_empty() {
        return Err(NotDone::kept(format!("all of them stay: {}", kept.join("; "))));
    }
    let copy = copy_path(run, number, &release.path)?;
    atomic::replace(&copy, &bytes, COPY).map_err(|fault| said(&fault))?;
    let back = atomic::read_limited(&copy, databases::DATABASE_BYTES_MAX).map_err(|f| said(&f))?;
    if back.as_deref() != Some(bytes.as_slice()) {
        return Err(NotDone::said(format!("its copy {copy} does not read back as it was written")));
    }
    let range = host.settings.instances.ports;
    let written = digest(edited_text(release, &bytes, range).as_bytes());
    let undo = Undo::Copied {
        path: release.path.clone(),
        copy: copy.clone(),
        sha256: digest(&bytes),
        written,
    };
    run.begin(number, undo)?;
    let edited = match release.database {
        Database::Ports => {
            let empty = PortDocument::empty(range);
            databases::edit(&held, place, &empty, |database| {
                release_ports(release, database, range);
            })
        }
        Database::Repositories => {
            let empty = RepositoriesDocument::empty();
            databases::edit(&held, place, &empty, |database| {
                release_repositories(release, database);
            })
        }
    };
    let Edited { change, torn, rivals, .. } = edited.map_err(|fault| said(&fault))?;
    let mut said = format!("a copy is {copy}");
    if let Some(torn) = torn {
        said.push_str(&format!("; the torn one is kept as {}", torn.kept));
    }
    if rivals > 0 {
        said.push_str("; a program that takes no lock writes it");
    }
    *told = Some(said);
    if !kept.is_empty() {
        return Err(NotDone::said(format!(
            "the others are gone, and these stay: {}",
            kept.join("; ")
        )));
    }
    Ok(if change == Change::Changed { Outcome::Done } else { Outcome::AlreadyDone })
}

/// Keeps the entries whose ports somebody has by now; returns them, each with who it is.
fn keep_taken(host: &Host, release: &mut Release, bytes: &[u8]) -> Result<Vec<String>, NotDone> {
    let claims: BTreeMap<&String, (Port, Option<Pid>)> = match release.database {
        Database::Ports => {
            let database: PortDocument = parsed(bytes);
            let claim =
                |id: &str| Some((database.port_of(id)?, database.pid_of(id).and_then(Pid::new)));
            release.ids.iter().filter_map(|id| Some((id, claim(id)?))).collect()
        }
        Database::Repositories => {
            let database: RepositoriesDocument = parsed(bytes);
            let claim = |id: &str| database.state(id).and_then(|(_, port)| Some((port?, None)));
            release.ids.iter().filter_map(|id| Some((id, claim(id)?))).collect()
        }
    };
    let ports = claims.values().map(|(port, _)| *port).collect();
    let held = facts::held_ports(&ports).map_err(|why| {
        NotDone::kept(format!("nobody can tell who listens on their ports: {why}"))
    })?;
    let owners = facts::owners(host, &Users::of_machine().unwrap_or_else(|_| Users::parse("", "")));
    let why = |id: &String| -> Option<String> {
        let (port, pid) = claims.get(id)?;
        if let Some(holder) = held.get(port) {
            return Some(format!("{holder} listens on its port by now"));
        }
        let is_coming = pid.is_some_and(|pid| is_coming(&owners, pid, *port));
        is_coming.then(|| "its editor runs and does not listen yet".into())
    };
    let kept: BTreeMap<String, String> =
        release.ids.iter().filter_map(|id| Some((id.clone(), why(id)?))).collect();
    release.ids.retain(|id| !kept.contains_key(id));
    Ok(kept.into_iter().map(|(id, why)| format!("{}: {why}", id.escape_debug())).collect())
}

fn release_ports(release: &Release, database: &mut PortDocument, range: PortRange) {
    for id in &release.ids {
        database.release(id, range);
    }
    database.mend(range);
}

fn release_repositories(release: &Release, database: &mut RepositoriesDocument) {
    for id in &release.ids {
        database.stopped(id);
    }
}

/// What the change makes of these bytes: whoever takes it back knows by that whether somebody else has
/// written since.
fn edited_text(release: &Release, bytes: &[u8], range: PortRange) -> String {
    match release.database {
        Database::Ports => {
            let mut database: PortDocument = parsed(bytes);
            release_ports(release, &mut database, range);
            database.render()
        }
        Database::Repositories => {
            let mut database: RepositoriesDocument = parsed(bytes);
            release_repositories(release, &mut database);
            database.render()
        }
    }
}

fn parsed<D: Document>(bytes: &[u8]) -> D {
    let whole = core::str::from_utf8(bytes).ok().and_then(|text| D::parse(text).ok());
    whole.unwrap_or_else(|| D::salvage(bytes).0)
}

/// Where the copy of a database is kept: beside the journal, one for each step.
fn copy_path(run: &Run<'_>, number: usize, path: &InRoot) -> Result<RealPath, NotDone> {
    let folder = InRoot::parse(JOURNALS_FOLDER).and_then(|path| run.host.root.real(&path));
    let name = copy_name(run.journal.run(), number, path.name());
    let copy = folder.and_then(|folder| folder.join(&name));
    Ok(copy.map_err(Fault::from)?)
}
