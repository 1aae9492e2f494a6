//! Who is connected to what, and who holds what: named for people, who decide whether it counts. Anybody
//! on this machine may connect to a port and lock what they can open, so what keeps a thing is told by
//! its process and user.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::flocks::FileLocks;
use oh_host::folder::FileKind;
use oh_host::process::{Pid, ProcessDir};
use oh_host::sockets::{self, Client, SocketFile, UnixSocket};
use oh_model::port::Port;

use super::{Editor, Leftover, Look};

/// How many are named of one thing: the rest are counted.
const NAMED_MAX: usize = 3;

/// Who is connected, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    /// Whom it is, as far as that is known.
    pub(crate) shown: String,
    /// The inode of their socket and its user, where that is on this machine.
    socket: Option<(u64, u32)>,
}

impl Who {
    pub(super) fn of(look: &Look<'_>, client: &Client) -> Self {
        let shown = match client.socket {
            Some((_, uid)) => format!("user {}", look.users.shown(uid)),
            None => client.address.to_string(),
        };
        Self { shown, socket: client.socket }
    }
}

/// Returns who is connected to a port, but the holders of these sockets.
pub(super) fn of_port(look: &Look<'_>, port: Port, but: &BTreeSet<u64>) -> Option<Vec<Who>> {
    let clients = look.connections.as_ref()?.clients_of_others(port, but);
    Some(clients.iter().map(|client| Who::of(look, client)).collect())
}

/// Says who they are, the first of them; each once.
pub(crate) fn shown(clients: &[Who]) -> String {
    listed(&clients.iter().map(|one| one.shown.as_str()).collect())
}

fn listed(all: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = all.iter().take(NAMED_MAX).copied().collect();
    let more = all.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", named.join(", "))
}

/// Finds the processes of those who are connected, by one look at all.
pub(super) fn name(look: &Look<'_>, editors: &mut [Editor]) {
    let clients = || editors.iter().flat_map(|editor| &editor.clients);
    let holders = sockets::holders(&clients().filter_map(|one| Some(one.socket?.0)).collect());
    for one in editors.iter_mut().flat_map(|editor| &mut editor.clients) {
        let Some((inode, uid)) = one.socket else { continue };
        if let Some(pid) = holders.get(&inode) {
            one.shown = look.shown(*pid, uid);
        }
    }
}

/// Adds who listens on sockets, and who holds the locks that somebody holds.
pub(super) fn add_holders(look: &Look<'_>, found: &mut [Leftover]) {
    let mut listening: BTreeMap<usize, Vec<&UnixSocket>> = BTreeMap::new();
    for (at, one) in found.iter_mut().enumerate() {
        if one.thing.kind != FileKind::Socket {
            continue;
        }
        let folder = one.thing.folder.as_str().trim_end_matches('/').as_bytes();
        let path = [folder, b"/", one.thing.name.as_bytes()].concat();
        let number = one.thing.number;
        let file = SocketFile::of(number.device, number.inode);
        match &look.sockets {
            Ok(sockets) => {
                let owner = one.thing.uid;
                // In a mount namespace of their own anybody may have a socket with any path.
                let counts = |uid| look.owners.contains(uid) || uid == owner;
                let all: Vec<_> = sockets.listening(&path, Some(file), counts).collect();
                if !all.is_empty() {
                    listening.insert(at, all);
                }
            }
            Err(why) => one.held = Some(format!("nobody can tell who listens: {why}")),
        }
    }
    let inodes = listening.values().flatten().map(|socket| socket.inode).collect();
    let holders = sockets::holders(&inodes);
    let who = |socket: &UnixSocket| match (holders.get(&socket.inode), socket.uid) {
        (Some(pid), Some(uid)) => Some(look.shown(*pid, uid)),
        (Some(pid), None) => Some(process(look, *pid)),
        (None, Some(uid)) => Some(format!("user {}", look.users.shown(uid))),
        (None, None) => None,
    };
    for (at, all) in listening {
        let all: BTreeSet<String> = all.into_iter().filter_map(who).collect();
        if let Some(one) = found.get_mut(at) {
            one.held = Some(said("somebody listens on it", &all));
        }
    }
    name_locks(look, found);
}

/// Says who took the locks; of those that cannot be told it stays with somebody.
fn name_locks(look: &Look<'_>, found: &mut [Leftover]) {
    if !found.iter().any(|one| one.is_locked) {
        return;
    }
    let locks = FileLocks::look().unwrap_or_default();
    for one in found.iter_mut().filter(|one| one.is_locked) {
        let number = one.thing.number;
        let all = locks.of(number.device, number.inode).map(|pid| process(look, pid)).collect();
        one.held = Some(said("somebody holds its lock", &all));
    }
}

fn said(what: &str, all: &BTreeSet<String>) -> String {
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    if all.is_empty() { what.to_owned() } else { format!("{what}: {}", listed(&all)) }
}

fn process(look: &Look<'_>, pid: Pid) -> String {
    match ProcessDir::open(pid).and_then(|process| process.uid()) {
        Ok(uid) => look.shown(pid, uid),
        Err(_) => format!("pid {pid}, which is gone or hidden"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_clients_the_first_are_named_and_each_once() {
        let who = |shown: &str| Who { shown: shown.into(), socket: None };
        assert_eq!(
            shown(&[who("pid 2 (b, user u)"), who("pid 2 (b, user u)")]),
            "pid 2 (b, user u)"
        );
        let all: Vec<Who> = (1..=5).map(|pid| who(&format!("pid {pid}"))).collect();
        assert_eq!(shown(&all), "pid 1, pid 2, pid 3 and 2 more");
    }
}
