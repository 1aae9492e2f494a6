//! Entries of the databases that no record knows: what the original application left.
//!
//! An entry is a word and no proof. It is taken back where nobody has its port, and its editor is
//! adopted where everything about it says that the original application started it: who listens,
//! with which arguments, in which folder, as which user. Arguments are what whoever started a process
//! wrote, so they count only where that was the user whose rights it has, who also made the socket. Whatever is between the two is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;

use oh_host::process::{Identity, Pid, ProcessDir, Processes};
use oh_host::publish::Host;
use oh_host::sockets::{self, Holding};
use oh_model::editor_command::EditorCommand;
use oh_model::id::{InstanceId, RepoId};
use oh_model::listening::Listening;
use oh_model::path::{InRoot, RealPath};
use oh_model::port::Port;

use super::facts::Databases;
use crate::fault::Fault;
use crate::target;

/// How many ancestors of a listener are looked at.
const ANCESTORS_MAX: usize = 4;

/// An entry of one or both databases whose id has no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    /// The id, as it is written.
    pub(crate) id: String,
    /// The ports that it is said to have.
    pub(crate) ports: BTreeSet<Port>,
    /// The folders that it is said to open.
    pub(crate) folders: BTreeSet<String>,
    /// An entry cannot be read whole.
    pub(crate) unread: Option<String>,
    /// Whether its entry says which port it has, readable otherwise or not.
    pub(crate) claims_port: bool,
    /// Whether a process with the number of the entry is a code-server with its port.
    pub(crate) is_coming: bool,
    pub(crate) holder: Holder,
    /// Who owns the folder, or why it is no repository's.
    pub(crate) owner: Result<u32, String>,
    /// The folder that every path is below; empty for the machine itself.
    pub(crate) base: String,
}

/// Who has the port of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    /// Somebody whose process is not shown to us.
    Unseen,
    /// Whoever made the socket, and the process that listens, then its parent, and so on.
    Seen {
        /// The users that made the sockets which are reached there: a socket can be inherited.
        makers: BTreeSet<u32>,
        /// The way up from the listener.
        members: Vec<Member>,
    },
}

/// A process on the way from a listener to the first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    /// Whose it is; `None` where it has the rights of one user and was started by another, who
    /// could have given it its arguments and its sockets.
    pub(crate) uid: Option<u32>,
    /// What it was started as, where that is an editor.
    pub(crate) command: Option<EditorCommand>,
}

/// An editor that becomes an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adoption {
    pub(crate) id: InstanceId,
    pub(crate) port: Port,
    pub(crate) folder: InRoot,
    pub(crate) uid: u32,
    pub(crate) leader: Identity,
}

impl fmt::Display for Adoption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, port, folder, uid, leader } = self;
        let pid = leader.pid;
        write!(f, "adopt {id}: the editor of {folder} on port {port} (pid {pid}, uid {uid})")
    }
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Adopt(Box<Adoption>),
    Release(String),
    Left(String),
}

impl Stray {
    /// Decides what becomes of it.
    pub(crate) fn fate(&self) -> Fate {
        if let Some(why) = &self.unread {
            let is_dead = self.claims_port && self.holder == Holder::Nobody && !self.is_coming;
            return if is_dead {
                Fate::Release(format!("{} ({why})", self.gone()))
            } else {
                Fate::Left(why.clone())
            };
        }
        if self.is_coming && self.holder == Holder::Nobody {
            return Fate::Left("its editor runs and does not listen".into());
        }
        let (makers, members) = match &self.holder {
            Holder::Nobody => return Fate::Release(self.gone()),
            Holder::Unseen => return Fate::Left("who listens on its port is not shown".into()),
            Holder::Seen { makers, members } => (makers, members),
        };
        match self.proved(makers, members) {
            Ok(adoption) => Fate::Adopt(Box::new(adoption)),
            Err(why) => Fate::Left(why),
        }
    }

    fn gone(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        match ports.as_slice() {
            [] => "its editor is said to run and has no port".into(),
            [port] => format!("nobody listens on port {port}"),
            ports => format!("nobody listens on ports {}", ports.join(", ")),
        }
    }

    fn proved(&self, makers: &BTreeSet<u32>, members: &[Member]) -> Result<Adoption, String> {
        let id = RepoId::parse(&self.id).map_err(|fault| format!("its id is none: {fault}"))?;
        let (Some(port), 1) = (self.ports.first().copied(), self.ports.len()) else {
            return Err("the databases give it several ports, and somebody listens".into());
        };
        let (Some(folder), 1) = (self.folders.first(), self.folders.len()) else {
            return Err("the databases give it several folders".into());
        };
        let folder = InRoot::parse(folder).map_err(|fault| format!("its folder: {fault}"))?;
        let owner = self.owner.clone()?;
        let listener = members.first().ok_or("nobody knows who listens on its port")?;
        let pid = listener.identity.pid;
        let leader = members.iter().rfind(|member| self.is_editor(member, port));
        let leader = leader.ok_or_else(|| {
            format!("pid {pid} listens on port {port}, and is no editor of the original's")
        })?;
        let opened = format!("{}{folder}", self.base);
        if !leader.command.as_ref().is_some_and(|command| command.names(&opened)) {
            return Err(format!("the editor on port {port} (pid {pid}) opens another folder"));
        }
        let (Some(uid), Some(of_listener)) = (leader.uid, listener.uid) else {
            return Err(format!("pid {pid} or its editor has another user's rights"));
        };
        if uid != of_listener {
            return Err(format!("pid {pid} and its editor are of different users"));
        }
        if let Some(other) = makers.iter().find(|maker| **maker != uid) {
            return Err(format!("uid {other} made the socket of its editor, which is uid {uid}'s"));
        }
        if uid != owner && uid != 0 {
            return Err(format!("its editor is uid {uid}'s, and its folder uid {owner}'s"));
        }
        Ok(Adoption { id: id.into(), port, folder, uid, leader: leader.identity.clone() })
    }

    /// Says whether a process is code-server as the original application started it for a port.
    fn is_editor(&self, member: &Member, port: Port) -> bool {
        is_editor(&self.base, member.command.as_ref(), port)
    }
}

/// Says whether a command line is that of code-server as the original application started it.
fn is_editor(base: &str, command: Option<&EditorCommand>, port: Port) -> bool {
    command.is_some_and(|command| command.has_port(port) && command.is_original(base, port))
}

/// What the databases say of one id.
#[derive(Debug, Default)]
struct Said {
    ports: BTreeSet<Port>,
    folders: BTreeSet<String>,
    pid: Option<Pid>,
    unread: Option<String>,
    claims_port: bool,
}

/// Looks at each entry whose id has no record; `known` are the ids that have one, in lower case.
pub(crate) fn gather(
    host: &Host,
    databases: &Databases,
    known: &BTreeSet<String>,
) -> Result<Vec<Stray>, Fault> {
    // What one of the databases says alone may be half of it.
    if databases.unknown.is_some() {
        return Ok(Vec::new());
    }
    let is_stray = |id: &String| !known.contains(&id.to_ascii_lowercase());
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    if let Some(ports) = &databases.ports {
        for id in ports.ids().into_iter().filter(is_stray) {
            let of_it = said.entry(id.clone()).or_default();
            let port = ports.port_of(&id);
            of_it.claims_port = port.is_some();
            of_it.ports.extend(port);
            of_it.folders.extend(ports.path_of(&id));
            of_it.pid = ports.pid_of(&id).and_then(Pid::new);
            if let Some(Err(fault)) = ports.entry(&id) {
                of_it.unread = Some(format!("its entry: {fault}"));
            }
        }
    }
    if let Some(repositories) = &databases.repositories {
        for id in repositories.ids().into_iter().filter(is_stray) {
            let state = repositories.state(&id);
            let runs = matches!(state, Some((true, _)));
            if !runs && !said.contains_key(&id) {
                continue;
            }
            let of_it = said.entry(id.clone()).or_default();
            of_it.ports.extend(state.filter(|_| runs).and_then(|(_, port)| port));
            of_it.folders.extend(repositories.path_of(&id));
        }
    }
    said.into_iter().map(|(id, said)| stray(host, id, said)).collect()
}

fn stray(host: &Host, id: String, said: Said) -> Result<Stray, Fault> {
    let base = host.root.base().map(ToString::to_string).unwrap_or_default();
    let mut holder = Holder::Nobody;
    for port in &said.ports {
        holder = held(*port)?;
        if holder != Holder::Nobody {
            break;
        }
    }
    let is_coming = said.pid.is_some_and(|pid| {
        let arguments = ProcessDir::open(pid).and_then(|process| process.arguments());
        let command = EditorCommand::read(&arguments.unwrap_or_default());
        said.ports.iter().any(|port| is_editor(&base, command.as_ref(), *port))
    });
    let owner = match said.folders.first() {
        Some(folder) if said.folders.len() == 1 => owner(host, folder),
        _ => Err("its folder is not known".into()),
    };
    let Said { ports, folders, unread, claims_port, .. } = said;
    Ok(Stray { id, ports, folders, unread, claims_port, is_coming, holder, owner, base })
}

fn held(port: Port) -> Result<Holder, Fault> {
    if sockets::holding(port, &[])? == Holding::Nobody {
        return Ok(Holder::Nobody);
    }
    let Some(listener) = sockets::holder(port, &[]) else { return Ok(Holder::Unseen) };
    let Listening::Known(makers) = sockets::listening() else { return Ok(Holder::Unseen) };
    let makers = makers.get(&port).cloned().unwrap_or_default();
    let all = Processes::look()?;
    let way = [vec![listener.pid()], all.ancestors_of(listener.pid())].concat();
    let mut members = Vec::new();
    for pid in way.into_iter().take(ANCESTORS_MAX).filter(|pid| *pid != Pid::INIT) {
        let member = || {
            let process = ProcessDir::open(pid)?;
            let uid = process.only_uid()?;
            let command = EditorCommand::read(&process.arguments()?);
            // Last: what was read before was this very process's.
            Ok(Member { identity: process.identity()?, uid, command })
        };
        match member() {
            Ok(member) => members.push(member),
            Err(oh_host::process::ProcessFault::Gone(_)) => break,
            Err(oh_host::process::ProcessFault::Denied { .. }) if members.is_empty() => {
                return Ok(Holder::Unseen);
            }
            Err(oh_host::process::ProcessFault::Denied { .. }) => break,
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(if members.is_empty() { Holder::Unseen } else { Holder::Seen { makers, members } })
}

fn owner(host: &Host, folder: &str) -> Result<u32, String> {
    let said = |why: &dyn fmt::Display| format!("its folder {}: {why}", folder.escape_debug());
    let inside = InRoot::parse(folder).map_err(|fault| said(&fault))?;
    target::apart(&inside, &host.settings).map_err(|refusal| said(&refusal))?;
    let real: RealPath = host.root.real(&inside).map_err(|fault| said(&fault))?;
    target::plain_folder(&inside, &real).map_err(|refusal| said(&refusal))?;
    let meta = std::fs::symlink_metadata(real.as_str()).map_err(|fault| said(&fault))?;
    Ok(meta.uid())
}

#[cfg(test)]
#[path = "strays_tests.rs"]
mod tests;
