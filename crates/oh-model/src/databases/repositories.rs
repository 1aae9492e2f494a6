//! `repositories.json`, to be changed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde_json::Value;

use super::json::{self, Member, Node};
use super::salvage::{Lost, Shape, salvage};
use super::text::Text;
use super::{DatabaseFault, Document};
use crate::path::InRoot;
use crate::port::Port;

const REPOSITORIES: &str = "repositories";

/// What a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A checkout of git.
    Git,
    /// A plain folder.
    Folder,
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Git => "git",
            Self::Folder => "folder",
        })
    }
}

/// A repository that the application does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// The id.
    pub id: String,
    /// The name that people see.
    pub name: String,
    /// The folder, as the application calls it.
    pub path: InRoot,
    /// What it is.
    pub kind: RepositoryKind,
    /// When it was added, as JavaScript's `toISOString` writes it. It is not judged.
    pub added_at: String,
}

/// The database of repositories with all its text, to be changed entry by entry.
///
/// Of entries with one id the first counts, as in the application. Entries of older versions
/// have no `vscodeRunning`; they get it when they are started or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoriesDocument {
    text: Text,
}

impl RepositoriesDocument {
    /// Returns the database of an application that knows no repository yet.
    pub fn empty() -> Self {
        let none = Member::new(REPOSITORIES, Node::List(Vec::new()));
        Self { text: Text::new(Vec::from([none])) }
    }

    /// Returns the ids of all entries that have one, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.entries().iter().filter_map(|entry| entry.get("id")?.text()).collect()
    }

    /// Says whether there is an entry with an id.
    pub fn has(&self, id: &str) -> bool {
        self.entries().iter().any(|entry| is(entry, "id", id))
    }

    /// Returns the id of the first entry with a folder; paths are compared as texts.
    pub fn id_at(&self, path: &InRoot) -> Option<String> {
        self.entries().iter().find(|entry| is(entry, "path", path.as_str()))?.get("id")?.text()
    }

    /// Returns the folder of the entry with an id, as it is written.
    pub fn path_of(&self, id: &str) -> Option<String> {
        self.entries().iter().find(|entry| is(entry, "id", id))?.get("path")?.text()
    }

    /// Returns whether the entry with an id says that its editor runs, and on which port; without
    /// a port it runs on a unix socket. `None` where there is no such entry.
    pub fn state(&self, id: &str) -> Option<(bool, Option<Port>)> {
        let entry = self.entries().iter().find(|entry| is(entry, "id", id))?;
        let runs = entry.get("vscodeRunning").and_then(Node::value) == Some(Value::Bool(true));
        let port = entry.get("vscodePort").and_then(Node::value);
        Some((runs, port.and_then(|port| Port::new(port.as_u64()?))))
    }

    /// Adds a repository whose editor does not run, unless the id is there; says whether it did.
    pub fn add(&mut self, new: &NewRepository) -> bool {
        if self.has(&new.id) {
            return false;
        }
        let fields = [
            ("id", Node::plain(&new.id)),
            ("name", Node::plain(&new.name)),
            ("path", Node::plain(new.path.as_str())),
            ("type", Node::plain(alloc::format!("{}", new.kind))),
            ("addedAt", Node::plain(&new.added_at)),
            ("vscodeRunning", Node::plain(false)),
        ];
        let members = fields.into_iter().map(|(name, value)| Member::new(name, value));
        let entry = Node::Object(members.collect());
        match self.text.get_mut(REPOSITORIES) {
            Some(Node::List(entries)) => entries.push(entry),
            // Only what was salvaged can lack the list.
            _ => {
                let list = Node::List(Vec::from([entry]));
                self.text.members.push(Member::new(REPOSITORIES, list));
            }
        }
        true
    }

    /// Writes down that the editor of a repository runs, on a port or (`None`) on a unix socket.
    /// Says whether there is such an entry.
    pub fn running(&mut self, id: &str, port: Option<Port>) -> bool {
        let Some(entry) = self.entry_mut(id) else { return false };
        match port {
            Some(port) => json::set(entry, "vscodePort", Node::plain(port.get())),
            None => json::remove(entry, "vscodePort"),
        }
        json::set(entry, "vscodeRunning", Node::plain(true));
        true
    }

    /// Writes down that the editor of a repository does not run. Says whether there is such an
    /// entry.
    pub fn stopped(&mut self, id: &str) -> bool {
        let Some(entry) = self.entry_mut(id) else { return false };
        json::remove(entry, "vscodePort");
        json::set(entry, "vscodeRunning", Node::plain(false));
        true
    }

    /// Adds what is known of repositories, where the database was made anew of less: each with the
    /// port of its editor, where one runs (`Some(None)` on a unix socket).
    pub fn complete(&mut self, known: &[(NewRepository, Option<Option<Port>>)]) {
        for (repository, running) in known {
            self.add(repository);
            if let Some(port) = running {
                self.running(&repository.id, *port);
            }
        }
    }

    fn entries(&self) -> &[Node] {
        match self.text.get(REPOSITORIES) {
            Some(Node::List(entries)) => entries,
            _ => &[],
        }
    }

    fn entry_mut(&mut self, id: &str) -> Option<&mut Vec<Member>> {
        let Some(Node::List(entries)) = self.text.get_mut(REPOSITORIES) else { return None };
        match entries.iter_mut().find(|entry| is(entry, "id", id))? {
            Node::Object(members) => Some(members),
            Node::Plain(_) | Node::List(_) => None,
        }
    }
}

impl Document for RepositoriesDocument {
    const NAME: &'static str = "repositories";

    fn parse(text: &str) -> Result<Self, DatabaseFault> {
        let text = Text::parse(text)?;
        match text.get(REPOSITORIES) {
            Some(Node::List(_)) => Ok(Self { text }),
            _ => Err(DatabaseFault::Kind { key: REPOSITORIES, wanted: "a list" }),
        }
    }

    fn salvage(bytes: &[u8]) -> (Self, Lost) {
        let shape = Shape {
            collection: REPOSITORIES,
            list: true,
            made_anew: &[],
            whole: |node| {
                let text = |key: &&str| node.get(key).is_some_and(|value| value.text().is_some());
                ["id", "name", "path"].iter().all(text)
            },
        };
        let (mut members, lost) = salvage(bytes, &shape);
        if json::last(&members, REPOSITORIES).is_none() {
            members.push(Member::new(REPOSITORIES, Node::List(Vec::new())));
        }
        (Self { text: Text::new(members) }, lost)
    }

    fn render(&self) -> String {
        self.text.render()
    }

    fn is_anew(&self) -> bool {
        self.text.is_anew()
    }
}

fn is(entry: &Node, key: &str, text: &str) -> bool {
    entry.get(key).and_then(Node::text).is_some_and(|found| found == text)
}

#[cfg(test)]
mod tests;
