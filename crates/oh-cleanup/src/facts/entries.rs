//! What the databases of the original application say of editors.

use oh_host::databases::{self, Place};
use oh_host::inputs;
use oh_host::process::{Pid, ProcessDir};
use oh_host::sockets;
use oh_model::databases::{Document, PortDocument, RepositoriesDocument};
use oh_model::editor_command::EditorCommand;
use oh_model::path::InRoot;
use oh_model::port::Port;

use super::{Entry, Look};
use crate::step::Database;

/// The databases that are to be written anew: those that are torn, and those of which the application
/// would make nothing.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) torn: Vec<(Database, InRoot)>,
    pub(super) unfit: Vec<(Database, InRoot)>,
}

pub(super) fn gather(look: &mut Look<'_>) -> (Vec<Entry>, Broken) {
    let range = look.host.settings.instances.ports;
    let settings = &look.host.settings.instances;
    let (ports, repositories) =
        (settings.port_database.clone(), settings.repository_database.clone());
    let (mut entries, mut broken) = (Vec::new(), Broken::default());
    if let Some((database, is_torn)) = read::<PortDocument>(look, &ports) {
        for id in database.ids() {
            let port = database.port_of(&id);
            let pid = database.pid_of(&id).and_then(Pid::new);
            entries.push(entry(look, Database::Ports, &ports, id, (port, pid)));
        }
        match is_torn {
            true => broken.torn.push((Database::Ports, ports)),
            false if database.unfit(range).is_some() => {
                broken.unfit.push((Database::Ports, ports));
            }
            false => {}
        }
    }
    if let Some((database, is_torn)) = read::<RepositoriesDocument>(look, &repositories) {
        for id in database.ids() {
            if let Some((true, port)) = database.state(&id) {
                entries.push(entry(look, Database::Repositories, &repositories, id, (port, None)));
            }
        }
        broken.torn.extend(is_torn.then_some((Database::Repositories, repositories)));
    }
    (entries, broken)
}

/// Reads what is whole of a database, and says whether it is torn.
fn read<D: Document>(look: &mut Look<'_>, path: &InRoot) -> Option<(D, bool)> {
    let owners = inputs::owners(look.host);
    let place = Place { root: &look.host.root, path, owners: &owners };
    match databases::read_what_is_whole::<D>(place) {
        Ok(read) => read.map(|(database, lost)| (database, lost.is_some())),
        Err(fault) => {
            look.miss(path.to_string(), fault.to_string());
            None
        }
    }
}

fn entry(
    look: &Look<'_>,
    database: Database,
    path: &InRoot,
    id: String,
    (port, pid): (Option<Port>, Option<Pid>),
) -> Entry {
    let shown = |port: Port, uid: u32| match sockets::holder(port, &[]) {
        Some(process) => look.shown(process.pid(), uid),
        None => format!("user {}", look.users.shown(uid)),
    };
    let holder = match port.map(|port| (port, look.listener(port))) {
        Some((port, Ok(Some(listener)))) => Ok(Some(shown(port, listener.uid))),
        Some((_, Err(why))) => Err(why),
        _ => Ok(None),
    };
    let is_coming = pid.zip(port).is_some_and(|(pid, port)| {
        let arguments = ProcessDir::open(pid).and_then(|process| process.arguments());
        let command = EditorCommand::read(&arguments.unwrap_or_default());
        command.is_some_and(|command| command.has_port(port))
    });
    Entry { database, path: path.clone(), id, port, holder, is_coming }
}
