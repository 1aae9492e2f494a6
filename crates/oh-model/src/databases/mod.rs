//! The two databases of the original application: `vscode-ports.json` and `repositories.json`.
//!
//! `vscode-ports.json` is `{"instances": {"<repository id>": {"port", "pid", "projectName",
//! "repoPath", "startedAt"}}, "availablePorts": […]}`; an older reset left `"instances": []`,
//! which is read as empty. `repositories.json` is `{"repositories": [{"id", "name", "path",
//! "type", "vscodePort"?, "vscodeRunning"}]}`. Unknown keys belong to the application and are
//! not looked at. An entry that cannot be read is kept as a fault, so that the others count.
//!
//! [`PortDb`] and [`RepositoriesDb`] are what routes are made of. To change a database there are
//! [`PortDocument`] and [`RepositoriesDocument`], which keep the text of all that they do not
//! change, and save what can be read of a text that is torn. What is torn, and when, the reader
//! of the file knows (`oh_host::databases`).

mod json;
mod ports;
mod repositories;
mod salvage;
mod text;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;
use thiserror::Error;

pub use ports::{PortDocument, PortEntry};
pub use repositories::{NewRepository, RepositoriesDocument, RepositoryKind};
pub use salvage::Lost;

use crate::path::InRoot;
use crate::port::Port;

/// A database whose text can be changed entry by entry.
pub trait Document: Sized {
    /// The name of its lock, and of its file without the ending.
    const NAME: &'static str;

    /// Reads a whole text.
    ///
    /// # Errors
    /// [`DatabaseFault::Json`] where the text is torn, so that [`Self::salvage`] is the way on;
    /// [`DatabaseFault::Kind`] where it is JSON and another thing than this database: nobody but
    /// a person can know what was meant.
    fn parse(text: &str) -> Result<Self, DatabaseFault>;

    /// Reads what is whole of a text that may be cut off, overwritten in part, or anything.
    ///
    /// An entry is saved if all its text is there. Behind the first damage only lines are
    /// believed that begin as `JSON.stringify(value, null, 2)` makes them and have all that an
    /// entry has; behind the end of a whole text, nothing. Where the end of a new text and the
    /// rest of an old one meet in one entry and make a whole one, nobody can tell.
    fn salvage(bytes: &[u8]) -> (Self, Lost);

    /// Writes the text as JavaScript does, `JSON.stringify(value, null, 2)`, with a final newline
    /// only if the old text had one. Where nothing was changed it is the old text, byte by byte.
    fn render(&self) -> String;

    /// Says whether it was read from no whole text: it was salvaged, or there was no file. Then it
    /// may lack what its writer knew, and whoever knows some of it has to add that.
    fn is_anew(&self) -> bool;
}

/// Says why a database, or an entry of one, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatabaseFault {
    /// The text is not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A key has the wrong kind or is missing.
    #[error("`{key}` has to be {wanted}")]
    Kind {
        /// The key.
        key: &'static str,
        /// What has to stand there.
        wanted: &'static str,
    },
}

/// The instances that `vscode-ports.json` knows: the port of each repository's editor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortDb {
    /// By repository id, as written.
    pub instances: BTreeMap<String, Result<Port, DatabaseFault>>,
}

impl PortDb {
    /// Reads the text of `vscode-ports.json`.
    ///
    /// # Errors
    /// [`DatabaseFault`] where the file as a whole cannot be read.
    pub fn parse(text: &str) -> Result<Self, DatabaseFault> {
        let root = json(text)?;
        let instances = match root.get("instances") {
            None => BTreeMap::new(),
            Some(Value::Array(list)) if list.is_empty() => BTreeMap::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(id, entry)| (id.clone(), port(entry.get("port"), "port")))
                .collect(),
            Some(_) => {
                return Err(DatabaseFault::Kind { key: "instances", wanted: "an object" });
            }
        };
        Ok(Self { instances })
    }
}

/// A repository of `repositories.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The id, as written.
    pub id: String,
    /// The folder of the repository.
    pub path: InRoot,
    /// The port of its editor, where `vscodeRunning` says that one runs.
    pub running: Option<Port>,
}

/// The repositories that `repositories.json` knows, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoriesDb {
    /// Each entry, or the id (where there is one) and why it cannot be used.
    pub repositories: Vec<Result<Repository, (String, DatabaseFault)>>,
}

impl RepositoriesDb {
    /// Reads the text of `repositories.json`.
    ///
    /// # Errors
    /// [`DatabaseFault`] where the file as a whole cannot be read.
    pub fn parse(text: &str) -> Result<Self, DatabaseFault> {
        let root = json(text)?;
        match root.get("repositories") {
            Some(Value::Array(entries)) => {
                Ok(Self { repositories: entries.iter().map(repository).collect() })
            }
            _ => Err(DatabaseFault::Kind { key: "repositories", wanted: "a list" }),
        }
    }
}

fn json(text: &str) -> Result<Value, DatabaseFault> {
    match serde_json::from_str(text) {
        Ok(root @ Value::Object(_)) => Ok(root),
        Ok(_) => Err(DatabaseFault::Kind { key: "the whole text", wanted: "an object" }),
        Err(fault) => Err(DatabaseFault::Json(fault.to_string())),
    }
}

fn repository(entry: &Value) -> Result<Repository, (String, DatabaseFault)> {
    let id = match entry.get("id") {
        Some(Value::String(id)) => id.clone(),
        _ => return Err((String::new(), DatabaseFault::Kind { key: "id", wanted: "a text" })),
    };
    let read = || {
        let path = entry.get("path").and_then(Value::as_str).map(InRoot::parse);
        let Some(Ok(path)) = path else {
            return Err(DatabaseFault::Kind { key: "path", wanted: "an absolute path" });
        };
        let running = match entry.get("vscodeRunning") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => match entry.get("vscodePort") {
                None => None,
                value => Some(port(value, "vscodePort")?),
            },
            Some(_) => {
                return Err(DatabaseFault::Kind { key: "vscodeRunning", wanted: "true or false" });
            }
        };
        Ok((path, running))
    };
    match read() {
        Ok((path, running)) => Ok(Repository { id, path, running }),
        Err(fault) => Err((id, fault)),
    }
}

fn port(value: Option<&Value>, key: &'static str) -> Result<Port, DatabaseFault> {
    value
        .and_then(Value::as_u64)
        .and_then(Port::new)
        .ok_or(DatabaseFault::Kind { key, wanted: "a port (1 to 65535)" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_historic_shapes_of_the_port_database_are_read() {
        let real = r#"{"instances":{"actmcp":{"port":8888,"pid":12,"projectName":"actmcp",
            "repoPath":"/var/www/github/actmcp","startedAt":"2025-11-17T20:08:00Z"}},
            "availablePorts":[8889,8890]}"#;
        assert_eq!(PortDb::parse(real).unwrap().instances["actmcp"], Ok(Port::new(8888).unwrap()));
        let reset = r#"{"instances":[]}"#;
        assert_eq!(PortDb::parse(reset).unwrap(), PortDb::default());
    }

    #[test]
    fn a_bad_entry_leaves_the_others() {
        let text = r#"{"repositories":[
            {"id":"a","name":"a","path":"/srv/a","type":"git","vscodePort":8888,"vscodeRunning":true},
            {"id":"b","name":"b","path":"srv/b","type":"git","vscodeRunning":false},
            {"name":"c"},
            {"id":"d","name":"d","path":"/srv/d","type":"folder","vscodePort":"8889","vscodeRunning":true},
            {"id":"e","name":"e","path":"/srv/e","type":"folder","vscodeRunning":false,"branch":"main"}]}"#;
        let ids: Vec<_> = RepositoriesDb::parse(text)
            .unwrap()
            .repositories
            .into_iter()
            .map(|entry| entry.map(|r| (r.id, r.running.map(Port::get))).map_err(|(id, _)| id))
            .collect();
        assert_eq!(
            ids,
            [
                Ok(("a".into(), Some(8888))),
                Err("b".into()),
                Err("".into()),
                Err("d".into()),
                Ok(("e".into(), None)),
            ]
        );
    }

    #[test]
    fn a_torn_database_is_a_fault_and_never_an_empty_one() {
        let text = r#"{"repositories":[{"id":"a","path":"/a"}]}"#;
        for end in 0..text.len() {
            assert!(RepositoriesDb::parse(text.get(..end).unwrap()).is_err(), "{end}");
        }
    }
}
