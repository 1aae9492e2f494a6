//! `vscode-ports.json`, to be changed.

use alloc::collections::{BTreeMap, BTreeSet};
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
/// of another shape: the list is then the ports of the range that no instance has. Everything
/// else stays as it was spelled.
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
        let former = self.port_of(id);
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
        self.give_back(former, range);
        if let Some(Node::List(items)) = self.text.get_mut(AVAILABLE) {
            items.retain(|item| port_of(item) != Some(entry.port));
        }
    }

    /// Removes an entry, readable or not, and makes its port available again where the range has
    /// it and nobody else claims it. Says whether there was one; without one nothing changes.
    pub fn release(&mut self, id: &str, range: PortRange) -> bool {
        if json::last(self.instances(), id).is_none() {
            return false;
        }
        self.shape(range);
        let former = self.port_of(id);
        if let Some(Node::Object(instances)) = self.text.get_mut(INSTANCES) {
            json::remove(instances, id);
        }
        self.give_back(former, range);
        true
    }

    /// Makes the available ports those of the range that no entry has.
    ///
    /// It brings back what the application lost by starts that failed, and both keys to their
    /// shape.
    pub fn mend(&mut self, range: PortRange) {
        self.shape(range);
        let wanted: Vec<Port> = self.free(range).collect();
        if self.available().as_ref() != Some(&wanted) {
            self.set(AVAILABLE, list(wanted.into_iter()));
        }
    }

    fn instances(&self) -> &[Member] {
        self.text.get(INSTANCES).and_then(Node::members).unwrap_or_default()
    }

    fn port_of(&self, id: &str) -> Option<Port> {
        port_of(json::last(self.instances(), id)?.get("port")?)
    }

    /// Returns which port each entry claims; of equal ids the last counts.
    fn claims(&self) -> BTreeMap<String, Option<Port>> {
        let claim =
            |member: &Member| Some((member.meant()?, member.value.get("port").and_then(port_of)));
        self.instances().iter().filter_map(claim).collect()
    }

    fn free(&self, range: PortRange) -> impl Iterator<Item = Port> {
        let taken: BTreeSet<Port> = self.claims().into_values().flatten().collect();
        range.ports().filter(move |port| !taken.contains(port))
    }

    /// Gives both keys the shape that the application works with.
    fn shape(&mut self, range: PortRange) {
        if !matches!(self.text.get(INSTANCES), Some(Node::Object(_))) {
            self.set(INSTANCES, Node::Object(Vec::new()));
        }
        if !matches!(self.text.get(AVAILABLE), Some(Node::List(_))) {
            let free = list(self.free(range));
            self.set(AVAILABLE, free);
        }
    }

    fn set(&mut self, name: &str, value: Node) {
        match self.text.get_mut(name) {
            Some(old) => *old = value,
            None => self.text.members.push(Member::new(name, value)),
        }
    }

    /// Makes a port available that an entry had: sorted, without doubles, what is no port last.
    fn give_back(&mut self, port: Option<Port>, range: PortRange) {
        let Some(port) = port.filter(|port| range.contains(*port)) else { return };
        if !self.holders(port).is_empty() {
            return;
        }
        if let Some(Node::List(items)) = self.text.get_mut(AVAILABLE) {
            items.push(Node::plain(port.get()));
            items.sort_by_key(|item| (port_of(item).is_none(), port_of(item)));
            items.dedup_by(|one, next| port_of(one).is_some() && port_of(one) == port_of(next));
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
}

fn list(ports: impl Iterator<Item = Port>) -> Node {
    Node::List(ports.map(|port| Node::plain(port.get())).collect())
}

fn port_of(node: &Node) -> Option<Port> {
    let value = node.value()?;
    value.as_u64().and_then(Port::new)
}

fn entry(node: &Node) -> Result<PortEntry, DatabaseFault> {
    let text = |key: &'static str| {
        let text = node.get(key).and_then(Node::text);
        text.ok_or(DatabaseFault::Kind { key, wanted: "a text" })
    };
    let port = node.get("port").and_then(port_of);
    let pid = node.get("pid").and_then(Node::value);
    let pid = pid.as_ref().and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
    Ok(PortEntry {
        port: port.ok_or(DatabaseFault::Kind { key: "port", wanted: "a port (1 to 65535)" })?,
        pid: pid.ok_or(DatabaseFault::Kind { key: "pid", wanted: "the number of a process" })?,
        project_name: text("projectName")?,
        repo_path: text("repoPath")?,
        started_at: text("startedAt")?,
    })
}

#[cfg(test)]
mod tests;
