//! Reads what routes are made of: the session files, the two databases, and the records of editors.

use std::thread;
use std::time::Duration;

use oh_model::databases::{DatabaseFault, PortDb, RepositoriesDb};
use oh_model::path::{InRoot, RealPath};
use oh_model::routes::{FileNumber, FoundSession, Inputs};

use crate::databases::DATABASE_BYTES_MAX;
use crate::folder::{self, Entry, Folder, Limits, Memory, Refusal};
use crate::instances;
use crate::publish::{Host, PublishFault, real};
use crate::sockets;
use crate::users::{OwnerSet, Users};

/// How often a database is read again that is not whole: the original application writes it in
/// place, so a reader can meet it half written.
const DATABASE_READS_MAX: usize = 4;

/// How often a database is read again that was exchanged meanwhile: with many commands at once, one of ours does so
/// any moment.
const DATABASE_CHANGES_MAX: usize = 50;

/// How long to wait before reading it again.
const DATABASE_PAUSE: Duration = Duration::from_millis(20);

/// Reads all inputs; session files that did not change since the last time are not read again.
///
/// # Errors
/// [`PublishFault::Database`] where a database exists and cannot be read or is not whole, and
/// [`PublishFault::Sessions`] where the folder of session files as a whole cannot be believed:
/// then nobody knows which sessions there are, and what is served stays. So it does with
/// [`PublishFault::Instances`], where nobody knows which key is for whom.
pub fn gather(host: &Host, memory: &mut Memory) -> Result<Inputs, PublishFault> {
    let settings = &host.settings;
    let owners = owners(host);
    let limits = Limits {
        entries_max: usize::try_from(settings.sessions.sessions_max).unwrap_or(usize::MAX),
        file_bytes_max: settings.sessions.file_bytes_max,
    };
    let path = real(&host.root, &settings.sessions.directory)?;
    let folder = folder::read_folder_again(&path, limits, &owners, memory)?;
    let sessions = folder.entries().iter().map(found);
    // Without a readable /etc/passwd numbers stand in the place of names.
    let accounts = Users::of_machine().unwrap_or_else(|_| Users::parse("", "")).accounts();
    // Before the listeners: whoever left a port between the two looks is presented nothing.
    let instances = instances::claims(&host.root)?;
    Ok(Inputs {
        instances,
        // After the files: whoever took a port between the two looks is seen.
        listening: sockets::listening(),
        accounts,
        sessions: sessions.collect(),
        sessions_absent: matches!(folder, Folder::Absent).then(|| path.to_string()),
        repositories: database(host, &settings.instances.repository_database, &owners, |text| {
            RepositoriesDb::parse(text).map(drop)
        })?,
        port_database: database(host, &settings.instances.port_database, &owners, |text| {
            PortDb::parse(text).map(drop)
        })?,
    })
}

/// Reads the text of the database of repositories; `None` where there is none.
///
/// # Errors
/// [`PublishFault::Database`] where it cannot be read or is not whole.
pub fn repositories(host: &Host) -> Result<Option<String>, PublishFault> {
    let path = &host.settings.instances.repository_database;
    let text = database(host, path, &owners(host), |text| RepositoriesDb::parse(text).map(drop))?;
    Ok(text.and_then(Result::ok))
}

fn found(entry: &Entry) -> FoundSession {
    let facts = entry.verdict.as_ref();
    FoundSession {
        name: entry.shown_name(),
        modified_ns: facts.map_or(0, |facts| facts.modified_ns),
        owner: facts.map_or(u32::MAX, |facts| facts.uid),
        file: facts.map_or_else(|_| FileNumber::default(), |facts| facts.file),
        text: facts.map(|facts| facts.text.clone()).map_err(ToString::to_string),
    }
}

/// Whose files count: root's, ours, and those of the configured owners that exist here.
pub fn owners(host: &Host) -> OwnerSet {
    let own = rustix::process::geteuid().as_raw().to_string();
    let configured = host.settings.sessions.owners.iter().map(ToString::to_string);
    let words: Vec<String> = configured.chain([own]).collect();
    // Without a readable /etc/passwd only numbers count; that refuses files, never admits them.
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    OwnerSet::of_words(words.iter().map(String::as_str), &users).0
}

fn database(
    host: &Host,
    path: &InRoot,
    owners: &OwnerSet,
    whole: impl Fn(&str) -> Result<(), DatabaseFault>,
) -> Result<Option<Result<String, String>>, PublishFault> {
    let path = real(&host.root, path)?;
    let mut reads = 1;
    let text = loop {
        let text = read_database(&path, owners);
        let reads_max = match &text {
            Some(Err(Refusal::Changing)) => DATABASE_CHANGES_MAX,
            Some(Ok(text)) if whole(text).is_err() => DATABASE_READS_MAX,
            _ => break text,
        };
        if reads >= reads_max {
            break text;
        }
        reads += 1;
        thread::sleep(DATABASE_PAUSE);
    };
    // Nobody knows then which ids and ports are the repositories', so what is served stays.
    let fault = |why, is_torn| PublishFault::Database { path: path.to_string(), why, is_torn };
    match text {
        Some(Err(refusal)) => {
            Err(fault(refusal.to_string(), matches!(refusal, Refusal::NotUtf8(_))))
        }
        Some(Ok(text)) => match whole(&text) {
            Ok(()) => Ok(Some(Ok(text))),
            Err(why) => {
                let is_torn = matches!(why, DatabaseFault::Json(_));
                Err(fault(why.to_string(), is_torn))
            }
        },
        None => Ok(None),
    }
}

fn read_database(path: &RealPath, owners: &OwnerSet) -> Option<Result<String, Refusal>> {
    match folder::read_owned_file(path, DATABASE_BYTES_MAX, owners) {
        Ok(None) => None,
        Ok(Some(facts)) => Some(Ok(facts.text)),
        Err(fault) => Some(Err(fault.refusal)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::settings::{self, Wish};

    /// As many commands at once do: each puts a whole file in the place of another.
    #[test]
    fn a_database_that_is_exchanged_all_the_time_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let wish = Wish::of(None, Some(folder.path().display().to_string()), Vec::new());
        let host = settings::find(&wish).unwrap().into_host();
        let path = InRoot::parse("/data/ports.json").unwrap();
        let file = folder.path().join("data/ports.json");
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(&file, "{}").unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let new = file.with_extension("new");
                while !is_over.load(Ordering::Relaxed) {
                    fs::write(&new, "{}").unwrap();
                    fs::rename(&new, &file).unwrap();
                }
            });
            let read: Vec<_> =
                (0..300).map(|_| database(&host, &path, &owners(&host), |_| Ok(()))).collect();
            is_over.store(true, Ordering::Relaxed);
            let faults: Vec<_> = read.iter().filter_map(|read| read.as_ref().err()).collect();
            assert!(faults.is_empty(), "{} of 300: {:?}", faults.len(), faults.first());
        });
    }
}
