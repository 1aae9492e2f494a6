//! What an instance tells others of itself: its session file, or its entries in the databases.
//!
//! These are inputs of publishing, and what the original application shows. They are written once
//! an editor answers, and taken away when it does not run any more.

mod anew;

use std::os::fd::{AsFd as _, OwnedFd};

use jiff::Timestamp;
use oh_host::atomic::{self, Meta};
use oh_host::databases::{self, EditFault, Edited, Place, Standing, iso_text};
use oh_host::folder::{self, FolderFault};
use oh_host::instances::Record;
use oh_host::lock::{Held, Leases};
use oh_host::process::Pid;
use oh_host::publish::{Host, LOCK_WAIT};
use oh_host::users::is_root;
use oh_model::databases::{
    Document as _, NewRepository, PortDocument, PortEntry, RepositoriesDocument, RepositoryKind,
};
use oh_model::instance::Subject;
use oh_model::path::{InRoot, RealPath};
use oh_model::session::{Extension, SessionFile, UserWord};

pub(crate) use anew::{Database, mend, salvage};

use crate::fault::{Fault, Refusal};

/// The largest session file that is compared with ours, in bytes.
const SESSION_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Everybody may read a session file: it says no secret.
const SESSION_FILE: Meta = Meta { mode: 0o644, owner: None };

/// A folder of session files that is missing is made so.
const SESSIONS_FOLDER: Meta = Meta { mode: 0o755, owner: None };

/// Announces an instance. `pid` is its supervisor: SIGTERM to it stops the instance.
///
/// Returns what people should know, one line each.
pub(crate) fn announce(
    host: &Host,
    record: &Record,
    pid: Pid,
    held: &mut Held<'_, Leases>,
) -> Result<Vec<String>, Fault> {
    match record.subject {
        Subject::Session => {
            let path = session_file(host, record)?;
            let folder = match open_sessions(host, &path)? {
                Some(folder) => folder,
                None => {
                    atomic::create_dirs(&path.parent(), SESSIONS_FOLDER)?;
                    // Judged all the same: somebody else may have made it at the same time.
                    open_sessions(host, &path)?.ok_or(Fault::NoSessionFolder)?
                }
            };
            let text = session_text(record);
            atomic::replace_in(folder.as_fd(), &path, text.as_bytes(), SESSION_FILE)?;
            Ok(Vec::new())
        }
        Subject::Repository => in_databases(host, record, Some(pid), held),
    }
}

/// Takes back what [`announce`] said; returns what people should know.
pub(crate) fn withdraw(
    host: &Host,
    record: &Record,
    held: &mut Held<'_, Leases>,
) -> Result<Vec<String>, Fault> {
    match record.subject {
        Subject::Session => {
            let path = session_file(host, record)?;
            let Some(folder) = open_sessions(host, &path)? else { return Ok(Vec::new()) };
            // A file that somebody else has put there since speaks of another editor.
            let text = session_text(record);
            if atomic::has_bytes_in(folder.as_fd(), &path, text.as_bytes())? {
                atomic::remove_in(folder.as_fd(), &path)?;
            }
            Ok(Vec::new())
        }
        Subject::Repository => in_databases(host, record, None, held),
    }
}

/// Says whether the session file of an instance is there and ours; `None` where there is none.
pub(crate) fn session_words(host: &Host, record: &Record) -> Result<Option<bool>, Fault> {
    let path = session_file(host, record)?;
    if atomic::read_limited(&path, SESSION_FILE_BYTES_MAX)?.is_none() {
        return Ok(None);
    }
    is_ours(&path, record).map(Some)
}

/// Takes the entries of an id back that has no record: its port is free again, and its editor does
/// not run.
pub(crate) fn release(
    host: &Host,
    id: &str,
    held: &mut Held<'_, Leases>,
) -> Result<Vec<String>, Fault> {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let range = settings.ports;
    let names = [PortDocument::NAME, RepositoriesDocument::NAME];
    let held = held.databases(names, "oh-instances", LOCK_WAIT)?;
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let (ports, repositories) = (&settings.port_database, &settings.repository_database);
    let mut notes = Vec::new();
    let known = anew::Known::when_wanted(host);
    let empty = PortDocument::empty(range);
    let edited = databases::edit(&held, place(ports), &empty, |database| {
        if database.is_anew() {
            database.complete(&known.ports, range);
        }
        database.release(id, range);
        database.mend(range);
    });
    notes.extend(told(ports.as_str(), edited)?);
    let empty = RepositoriesDocument::empty();
    let edited = databases::edit(&held, place(repositories), &empty, |database| {
        if database.is_anew() {
            database.complete(&known.repositories);
        }
        if matches!(database.state(id), Some((true, _))) {
            database.stopped(id);
        }
    });
    notes.extend(told(repositories.as_str(), edited)?);
    Ok(notes)
}

/// Whether something that an instance tells others still stands as it was written.
#[derive(Debug)]
pub(crate) struct Told {
    /// The file.
    pub(crate) path: String,
    /// `None` where it does; else what is wrong, in a few words.
    pub(crate) wrong: Option<String>,
}

/// Looks whether what [`announce`] said still stands.
pub(crate) fn verify(host: &Host, record: &Record) -> Vec<Told> {
    match record.subject {
        Subject::Session => {
            let path = session_file(host, record).map(|path| path.to_string());
            let path = path.unwrap_or_else(|_| format!("{}.json", record.id));
            vec![Told { path, wrong: session_wrong(host, record) }]
        }
        Subject::Repository => databases_told(host, record),
    }
}

fn session_wrong(host: &Host, record: &Record) -> Option<String> {
    let look = || -> Result<Option<String>, Fault> {
        let path = session_file(host, record)?;
        let there = atomic::read_limited(&path, SESSION_FILE_BYTES_MAX)?;
        Ok(match there {
            None => Some("it is missing".into()),
            Some(bytes) if bytes != session_text(record).as_bytes() => {
                Some("it says something else".into())
            }
            Some(_) => None,
        })
    };
    look().unwrap_or_else(|fault| Some(crate::report::chain(&fault)))
}

fn databases_told(host: &Host, record: &Record) -> Vec<Told> {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let (id, port) = (record.id.as_str(), record.target.port());
    let wrong = |standing: Result<Standing, EditFault>| match standing {
        Ok(Standing::AsWritten) => None,
        Ok(Standing::Overwritten) => Some("somebody wrote it anew without this instance".into()),
        Ok(Standing::Absent) => Some("it is missing".into()),
        Ok(Standing::Torn) => Some("it is torn".into()),
        Err(fault) => Some(crate::report::chain(&fault)),
    };
    // Where the original application is not installed there is nobody to tell.
    let is_installed = |path: &InRoot| {
        let folder = host.root.real(path).map(|path| path.parent());
        folder.is_ok_and(|folder| std::fs::symlink_metadata(folder.as_str()).is_ok())
    };
    let mut told = Vec::new();
    if let Some(port) = port.filter(|_| is_installed(&settings.port_database)) {
        let stands = |database: &PortDocument| matches!(database.entry(id), Some(Ok(entry)) if entry.port == port);
        told.push(Told {
            path: settings.port_database.to_string(),
            wrong: wrong(databases::verify(place(&settings.port_database), stands)),
        });
    }
    if is_installed(&settings.repository_database) {
        let stands = |database: &RepositoriesDocument| database.state(id) == Some((true, port));
        told.push(Told {
            path: settings.repository_database.to_string(),
            wrong: wrong(databases::verify(place(&settings.repository_database), stands)),
        });
    }
    told
}

/// Refuses a session that somebody else announces.
pub(crate) fn unclaimed(host: &Host, record: &Record) -> Result<(), Fault> {
    if record.subject == Subject::Session {
        let path = session_file(host, record)?;
        let there = atomic::read_limited(&path, SESSION_FILE_BYTES_MAX)?;
        if there.is_some() && !is_ours(&path, record)? {
            return Err(Refusal::SessionFile { path: path.to_string() }.into());
        }
    }
    Ok(())
}

fn session_file(host: &Host, record: &Record) -> Result<RealPath, Fault> {
    let folder = host.root.real(&host.settings.sessions.directory)?;
    Ok(folder.join(&format!("{}.json", record.id))?)
}

/// Opens the folder of a session file, judged as by whoever reads it; what is done in it is done in
/// that very folder.
fn open_sessions(host: &Host, file: &RealPath) -> Result<Option<OwnedFd>, FolderFault> {
    folder::open_folder(&file.parent(), &oh_host::inputs::owners(host))
}

fn session_text(record: &Record) -> String {
    let ours = Extension {
        folder: Some(record.folder.clone()),
        upstream: Some(record.upstream),
        // A file of root's says whose the listeners are; anybody else's are their own.
        user: is_root().then_some(UserWord::Number(record.uid)),
        ..Extension::default()
    };
    SessionFile { target: record.target, apps: record.apps.clone(), ours }.render()
}

fn is_ours(path: &RealPath, record: &Record) -> Result<bool, Fault> {
    let there = atomic::read_limited(path, SESSION_FILE_BYTES_MAX)?;
    Ok(there.is_none_or(|bytes| bytes == session_text(record).as_bytes()))
}

/// Writes (or, without a pid, takes away) the entries of a repository.
fn in_databases(
    host: &Host,
    record: &Record,
    pid: Option<Pid>,
    held: &mut Held<'_, Leases>,
) -> Result<Vec<String>, Fault> {
    let settings = &host.settings.instances;
    let owners = oh_host::inputs::owners(host);
    let range = settings.ports;
    let (id, folder) = (record.id.as_str(), record.folder.as_str());
    let now = iso_text(Timestamp::now());
    let names = [PortDocument::NAME, RepositoriesDocument::NAME];
    let held = held.databases(names, "oh-instances", LOCK_WAIT)?;
    let place = |path| Place { root: &host.root, path, owners: &owners };
    let known = anew::Known::when_wanted(host);
    let mut ports = Ok(Vec::new());
    if let Some(port) = record.target.port() {
        let edited = databases::edit(
            &held,
            place(&settings.port_database),
            &PortDocument::empty(range),
            |database| {
                if database.is_anew() {
                    database.complete(&known.ports, range);
                }
                match pid {
                    Some(pid) => {
                        let entry = PortEntry {
                            port,
                            pid: pid.get(),
                            project_name: record.folder.name().into(),
                            repo_path: folder.into(),
                            started_at: now.clone(),
                        };
                        database.lease(id, &entry, range);
                    }
                    // One with another port is of an editor that somebody else started since.
                    None => {
                        if !matches!(database.entry(id), Some(Ok(entry)) if entry.port != port) {
                            database.release(id, range);
                        }
                    }
                }
                database.mend(range);
            },
        );
        ports = told(settings.port_database.as_str(), edited);
    }
    // The one is written even where the other cannot be.
    let edited = databases::edit(
        &held,
        place(&settings.repository_database),
        &RepositoriesDocument::empty(),
        |database| {
            if database.is_anew() {
                database.complete(&known.repositories);
            }
            match pid {
                Some(_) => {
                    database.add(&NewRepository {
                        id: id.into(),
                        name: record.folder.name().into(),
                        path: record.folder.clone(),
                        kind: kind_of(host, record),
                        added_at: now.clone(),
                    });
                    database.running(id, record.target.port());
                }
                None => {
                    let state = database.state(id);
                    let port = record.target.port();
                    if !matches!(state, Some((true, other)) if other.is_some() && other != port) {
                        database.stopped(id);
                    }
                }
            }
        },
    );
    let repositories = told(settings.repository_database.as_str(), edited);
    Ok([ports?, repositories?].concat())
}

fn kind_of(host: &Host, record: &Record) -> RepositoryKind {
    let git = host.root.real(&record.folder).and_then(|folder| folder.join(".git"));
    let is_git = git.is_ok_and(|git| std::fs::symlink_metadata(git.as_str()).is_ok());
    if is_git { RepositoryKind::Git } else { RepositoryKind::Folder }
}

/// Says what is odd about a database that was written. Where the original application is not
/// installed there is none, and nobody to tell.
fn told<T>(path: &str, edited: Result<Edited<T>, EditFault>) -> Result<Vec<String>, EditFault> {
    let edited = match edited {
        Err(EditFault::NoFolder { .. }) => return Ok(Vec::new()),
        edited => edited?,
    };
    let torn = edited.torn.as_ref().map(|torn| {
        let lost = match torn.lost.bytes {
            0 => "it ends there".to_owned(),
            bytes => format!("{bytes} bytes of it could not be read"),
        };
        format!(
            "warning: {path} was torn at {} ({lost}); it is kept as {}, and what the records of \
             instances know was written again",
            torn.lost.at, torn.kept
        )
    });
    let rivals = (edited.rivals > 0)
        .then(|| format!("warning: {path} is written by a program that takes no lock"));
    Ok(torn.into_iter().chain(rivals).collect())
}
