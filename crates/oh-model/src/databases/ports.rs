//! `vscode-ports.json`, to be changed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::json::{self, Member, Node};
use super::salvage::{Lost, Shape, salvage};
use super::text::Text;
use super::{DatabaseFault, Document};
use crate::port::{Port, PortRange};

const INSTANCES: &str = "instances";
const AVAILABLE: &str = "availablePorts";

/// An instance as the original application writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEntry {
    /// The port of the editor.
    pub port: Port,
    /// The process of the editor.
    pub pid: u32,
    /// The name of the project; the original application writes the repository's id.
    pub project_name: String,
    /// The folder of the repository, as the application calls it.
    pub repo_path: String,
    /// When it was started: ISO 8601 in UTC with milliseconds, as JavaScript's `toISOString`
    /// writes it. It is not judged.
    pub started_at: String,
}

/// The port database with all its text, to be changed entry by entry.
///
/// Each change makes `instances` an object and `availablePorts` a list where they are missing or
/// of another shape. Of the range the list then has each port once that no entry has, and none
/// that one has; what else is in it stays. Everything else stays as it was spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDocument {
    text: Text,
}

impl PortDocument {
    /// Returns the database of an application that has started nothing yet.
    pub fn empty(range: PortRange) -> Self {
        let mut empty = Self { text: Text::new(Vec::new()) };
        empty.shape(range);
        empty
    }

    /// Returns the ids of all entries, readable or not, in their order.
    pub fn ids(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let ids = self.instances().iter().filter_map(Member::meant);
        ids.filter(|id| seen.insert(id.clone())).collect()
    }

    /// Returns the entry with an id.
    pub fn entry(&self, id: &str) -> Option<Result<PortEntry, DatabaseFault>> {
        json::last(self.instances(), id).map(entry)
    }

    /// Returns the ids of the entries that say that they have a port, sorted.
    pub fn holders(&self, port: Port) -> Vec<String> {
        let claims = self.claims().into_iter();
        claims.filter(|(_, claimed)| *claimed == Some(port)).map(|(id, _)| id).collect()
    }

    /// Returns the ports that the application gives away next, in its order; `None` where there
    /// is no list.
    pub fn available(&self) -> Option<Vec<Port>> {
        match self.text.get(AVAILABLE) {
            Some(Node::List(items)) => Some(items.iter().filter_map(port_of).collect()),
            _ => None,
        }
    }

    /// Adds or updates an entry, and takes its port from those that are available.
    ///
    /// An entry that is there keeps the keys that are not ours, and its former port becomes
    /// available again. Entries of others that claim the port stay: ask [`Self::holders`].
    pub fn lease(&mut self, id: &str, entry: &PortEntry, range: PortRange) {
        self.shape(range);
        let Some(Node::Object(instances)) = self.text.get_mut(INSTANCES) else { return };
        let fields = [
            ("port", Node::plain(entry.port.get())),
            ("pid", Node::plain(entry.pid)),
            ("projectName", Node::plain(&entry.project_name)),
            ("repoPath", Node::plain(&entry.repo_path)),
            ("startedAt", Node::plain(&entry.started_at)),
        ];
        let found = instances.iter_mut().rev().find(|member| member.is(id));
        if let Some(Member { value: Node::Object(members), .. }) = found {
            for (name, value) in fields {
                json::set(members, name, value);
            }
        } else {
            let members = fields.into_iter().map(|(name, value)| Member::new(name, value));
            json::set(instances, id, Node::Object(members.collect()));
        }
        self.mend(range);
    }

    /// Removes an entry, readable or not, and makes its port available again where the range has
    /// it and nobody else claims it. Says whether there was one; without one nothing changes.
    pub fn release(&mut self, id: &str, range: PortRange) -> bool {
        if json::last(self.instances(), id).is_none() {
            return false;
        }
        self.shape(range);
        if let Some(Node::Object(instances)) = self.text.get_mut(INSTANCES) {
            json::remove(instances, id);
        }
        self.mend(range);
        true
    }

    /// Adds what is known of instances that run, where the database was made anew of less, and
    /// mends it. An entry that says the same stays as it is.
    pub fn complete(&mut self, known: &[(String, PortEntry)], range: PortRange) {
        for (id, entry) in known {
            let stands = self.entry(id).is_some_and(|written| {
                written.is_ok_and(|written| {
                    (written.port, written.pid, &written.repo_path)
                        == (entry.port, entry.pid, &entry.repo_path)
                })
            });
            if !stands {
                self.lease(id, entry, range);
            }
        }
        self.mend(range);
    }

    /// Makes both keys what the application works with, and of the range available what no entry
    /// has: what starts that failed lost comes back, and what an entry has goes, also from beyond
    /// the range. Other ports of beyond stay, and so does what is no port, behind the ports. Where
    /// the ports are the right ones already, they keep their order.
    pub fn mend(&mut self, range: PortRange) {
        self.shape(range);
        let taken = self.taken();
        let missing = self.missing(range);
        let Some(Node::List(items)) = self.text.get_mut(AVAILABLE) else { return };
        let mut seen = BTreeSet::new();
        items.retain(|item| match meant_port(item) {
            Some(port) if taken.contains(&port) => false,
            // Once, and spelled as the application does.
            Some(port) if range.contains(port) => port_of(item).is_some() && seen.insert(port),
            _ => true,
        });
        if !missing.is_empty() {
            items.extend(missing.into_iter().map(|port| Node::plain(port.get())));
            items.sort_by_key(|item| (port_of(item).is_none(), port_of(item)));
        }
    }

    /// Says why [`Self::mend`] would change something; `None` where it would not.
    pub fn unfit(&self, range: PortRange) -> Option<String> {
        let mut mended = self.clone();
        mended.mend(range);
        if mended == *self {
            return None;
        }
        if !matches!(self.text.get(INSTANCES), Some(Node::Object(_))) {
            return Some(format!("`{INSTANCES}` is no object"));
        }
        let Some(Node::List(items)) = self.text.get(AVAILABLE) else {
            return Some("there is no such list".into());
        };
        let listed: Vec<Port> = items.iter().filter_map(meant_port).collect();
        let used = self.claims().into_iter().find_map(|(id, port)| {
            let port = port.filter(|port| listed.contains(port))?;
            Some(format!("it has port {port}, which is that of {}", id.escape_debug()))
        });
        let twice = || {
            let mut seen = BTreeSet::new();
            let twice =
                listed.iter().find(|port| range.contains(**port) && !seen.insert(**port))?;
            Some(format!("it has port {twice} twice"))
        };
        let missing = || {
            let first = self.missing(range).first().copied()?;
            Some(format!("it lacks port {first}, which nobody has"))
        };
        let strange = || Some("a port of it is spelled strangely".into());
        used.or_else(twice).or_else(missing).or_else(strange)
    }

    /// Returns the port of an entry that may be unreadable otherwise.
    pub fn port_of(&self, id: &str) -> Option<Port> {
        port_of(json::last(self.instances(), id)?.get("port")?)
    }

    /// Returns the process of an entry that may be unreadable otherwise.
    pub fn pid_of(&self, id: &str) -> Option<u32> {
        pid_of(json::last(self.instances(), id)?)
    }

    /// Returns the folder of an entry that may be unreadable otherwise.
    pub fn path_of(&self, id: &str) -> Option<String> {
        json::last(self.instances(), id)?.get("repoPath")?.text()
    }

    fn instances(&self) -> &[Member] {
        self.text.get(INSTANCES).and_then(Node::members).unwrap_or_default()
    }

    /// Returns which port each entry claims; of equal ids the last counts. One that is spelled
    /// strangely is claimed too: its editor may run.
    fn claims(&self) -> BTreeMap<String, Option<Port>> {
        let claim = |member: &Member| {
            Some((member.meant()?, member.value.get("port").and_then(meant_port)))
        };
        self.instances().iter().filter_map(claim).collect()
    }

    fn taken(&self) -> BTreeSet<Port> {
        self.claims().into_values().flatten().collect()
    }

    /// The ports of the range that nobody has and that are not available.
    fn missing(&self, range: PortRange) -> Vec<Port> {
        let (taken, listed) = (self.taken(), self.available().unwrap_or_default());
        let is_missing = |port: &Port| !taken.contains(port) && !listed.contains(port);
        range.ports().filter(is_missing).collect()
    }

    /// Gives both keys the shape that the application works with.
    fn shape(&mut self, range: PortRange) {
        if !matches!(self.text.get(INSTANCES), Some(Node::Object(_))) {
            self.set(INSTANCES, Node::Object(Vec::new()));
        }
        if !matches!(self.text.get(AVAILABLE), Some(Node::List(_))) {
            self.set(AVAILABLE, Node::List(Vec::new()));
            let free = self.missing(range).into_iter().map(|port| Node::plain(port.get()));
            self.set(AVAILABLE, Node::List(free.collect()));
        }
    }

    fn set(&mut self, name: &str, value: Node) {
        match self.text.get_mut(name) {
            Some(old) => *old = value,
            None => self.text.members.push(Member::new(name, value)),
        }
    }
}

impl Document for PortDocument {
    const NAME: &'static str = "vscode-ports";

    fn parse(text: &str) -> Result<Self, DatabaseFault> {
        let text = Text::parse(text)?;
        match text.get(INSTANCES) {
            None | Some(Node::Object(_)) => Ok(Self { text }),
            Some(Node::List(items)) if items.is_empty() => Ok(Self { text }),
            Some(_) => Err(DatabaseFault::Kind { key: INSTANCES, wanted: "an object" }),
        }
    }

    fn salvage(bytes: &[u8]) -> (Self, Lost) {
        // Of a text that broke before its list of ports, a list is an older one's. It is made anew.
        let shape = Shape {
            collection: INSTANCES,
            list: false,
            made_anew: &[AVAILABLE],
            whole: |node| entry(node).is_ok(),
        };
        let (members, lost) = salvage(bytes, &shape);
        (Self { text: Text::new(members) }, lost)
    }

    fn render(&self) -> String {
        self.text.render()
    }

    fn is_anew(&self) -> bool {
        self.text.is_anew()
    }
}

fn port_of(node: &Node) -> Option<Port> {
    let value = node.value()?;
    value.as_u64().and_then(Port::new)
}

/// Reads a port as a program in JavaScript may use it, which takes `8888.0` and `"8888"` too.
fn meant_port(node: &Node) -> Option<Port> {
    let number = match node.value()? {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        Value::Number(number) => number.as_f64()?,
        _ => return None,
    };
    Port::new(format!("{number}").parse().ok()?)
}

fn pid_of(node: &Node) -> Option<u32> {
    node.get("pid")?.value()?.as_u64().and_then(|pid| u32::try_from(pid).ok())
}

fn entry(node: &Node) -> Result<PortEntry, DatabaseFault> {
    let text = |key: &'static str| {
        let text = node.get(key).and_then(Node::text);
        text.ok_or(DatabaseFault::Kind { key, wanted: "a text" })
    };
    let port = node.get("port").and_then(port_of);
    Ok(PortEntry {
        port: port.ok_or(DatabaseFault::Kind { key: "port", wanted: "a port (1 to 65535)" })?,
        pid: pid_of(node)
            .ok_or(DatabaseFault::Kind { key: "pid", wanted: "the number of a process" })?,
        project_name: text("projectName")?,
        repo_path: text("repoPath")?,
        started_at: text("startedAt")?,
    })
}

#[cfg(test)]
mod tests;
