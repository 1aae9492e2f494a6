//! What the databases of the original application say of editors.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::databases::{self, Place};
use oh_host::inputs;
use oh_host::process::{Pid, ProcessDir};
use oh_host::sockets;
use oh_host::users::OwnerSet;
use oh_model::databases::{Document, PortDocument, RepositoriesDocument};
use oh_model::editor_command::EditorCommand;
use oh_model::path::InRoot;
use oh_model::port::Port;

use super::{Entry, Look};
use crate::step::Database;

/// What is known of the databases themselves: those that are to be written anew, which are torn or of
/// which the application would make nothing, and whom they know.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) torn: Vec<(Database, InRoot)>,
    pub(super) unfit: Vec<(Database, InRoot)>,
    /// The ids, folded, that they have.
    pub(super) known_ids: BTreeSet<String>,
}

pub(super) fn gather(look: &mut Look<'_>) -> (Vec<Entry>, Broken) {
    let range = look.host.settings.instances.ports;
    let settings = &look.host.settings.instances;
    let (ports, repositories) =
        (settings.port_database.clone(), settings.repository_database.clone());
    let (mut entries, mut broken) = (Vec::new(), Broken::default());
    let mut said: Vec<Said<'_>> = Vec::new();
    if let Some((database, is_torn)) = read::<PortDocument>(look, &ports) {
        for id in database.ids() {
            let port = database.port_of(&id);
            let pid = database.pid_of(&id).and_then(Pid::new);
            broken.known_ids.insert(id.to_ascii_lowercase());
            said.push(Said { database: Database::Ports, path: &ports, id, port, pid });
        }
        match is_torn {
            true => broken.torn.push((Database::Ports, ports.clone())),
            false if database.unfit(range).is_some() => {
                broken.unfit.push((Database::Ports, ports.clone()));
            }
            false => {}
        }
    }
    if let Some((database, is_torn)) = read::<RepositoriesDocument>(look, &repositories) {
        for id in database.ids() {
            broken.known_ids.insert(id.to_ascii_lowercase());
            if let Some((true, port)) = database.state(&id) {
                let (database, path) = (Database::Repositories, &repositories);
                said.push(Said { database, path, id, port, pid: None });
            }
        }
        let torn = is_torn.then(|| (Database::Repositories, repositories.clone()));
        broken.torn.extend(torn);
    }
    // Once for all: who holds a socket is seen in what every process has open.
    let listening = said.iter().filter_map(|one| look.listener(one.port?).ok().flatten());
    let holders = sockets::holders(&listening.map(|one| one.inode).collect());
    entries.extend(said.into_iter().map(|one| entry(look, &holders, one)));
    (entries, broken)
}

/// Reads what is whole of a database, and says whether it is torn.
fn read<D: Document>(look: &mut Look<'_>, path: &InRoot) -> Option<(D, bool)> {
    let owners = inputs::owners(look.host);
    let place = Place { root: &look.host.root, path, owners: &owners };
    match databases::read_what_is_whole::<D>(place) {
        Ok(read) => read.map(|(database, lost)| (database, lost.is_some())),
        Err(fault) => {
            look.miss(path.to_string(), crate::apply::chain(&fault));
            None
        }
    }
}

/// What a database says of an id.
struct Said<'p> {
    database: Database,
    path: &'p InRoot,
    id: String,
    port: Option<Port>,
    pid: Option<Pid>,
}

fn entry(look: &Look<'_>, holders: &BTreeMap<u64, Pid>, said: Said<'_>) -> Entry {
    let Said { database, path, id, port, pid } = said;
    let holder = match port.map(|port| look.listener(port)) {
        Some(Ok(Some(listener))) => Ok(Some(match holders.get(&listener.inode) {
            Some(pid) => look.shown(*pid, listener.uid),
            None => format!("user {}", look.users.shown(listener.uid)),
        })),
        Some(Err(why)) => Err(why),
        _ => Ok(None),
    };
    let is_coming = pid.zip(port).is_some_and(|(pid, port)| is_coming(&look.owners, pid, port));
    Entry { database, path: path.clone(), id, port, holder, is_coming }
}

/// Says whether a process is an editor that was told to listen on this port; a stranger's may have such
/// arguments, and the number of one that is gone.
pub(crate) fn is_coming(owners: &OwnerSet, pid: Pid, port: Port) -> bool {
    let Ok(process) = ProcessDir::open(pid) else { return false };
    // Without waiting: anybody may fill a database with those that show nothing.
    let command = EditorCommand::read(&process.present_arguments().unwrap_or_default());
    let is_told = command.is_some_and(|command| command.has_port(port));
    is_told && process.only_uid().is_ok_and(|uid| uid.is_some_and(|uid| owners.contains(uid)))
}
