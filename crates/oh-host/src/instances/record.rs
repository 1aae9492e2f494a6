//! What is wanted of an instance, as it is written down.

use oh_model::id::{IdFault, InstanceId};
use oh_model::instance::{Instance, Key, Server, Subject};
use oh_model::path::{InRoot, PathFault};
use oh_model::port::Port;
use oh_model::upstream::{Target, Upstream};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::State;
use crate::process::Identity;

/// The version of the record.
pub const RECORD_SCHEMA: u32 = 1;

/// What the token of a supervisor has behind that of its editor.
pub const SUPERVISOR_SUFFIX: &str = "-supervisor";

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It is to run.
    Running,
    /// It is to be stopped, or was.
    Stopped,
}

/// The record of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Record {
    /// Its id.
    pub id: InstanceId,
    /// What it is the editor of.
    pub subject: Subject,
    /// What is wanted.
    pub wanted: Wanted,
    /// Which program it is.
    pub server: Server,
    /// Where it listens.
    pub target: Target,
    /// The ports that applications of a session were given.
    pub apps: Vec<Port>,
    /// What becomes of the prefix.
    pub upstream: Upstream,
    /// The folder that it opens.
    pub folder: InRoot,
    /// The user that it runs as.
    pub uid: u32,
    /// The group that it runs as.
    pub gid: u32,
    /// The text in the environment of everything that belongs to it.
    pub token: String,
    /// What the editor asks for; `None` where it asks for nothing. Where the key is
    /// [renewed](Self::renews_key) it is another one that the editor has.
    pub key: Option<Key>,
    /// Whether nginx presents the key, so that visitors need none.
    pub key_is_nginxs: bool,
    /// Whether somebody else started its editor, and it was taken over.
    pub adopted: bool,
    /// The unit of systemd that its supervisor is in, where there is one.
    pub unit: Option<String>,
    /// Who is starting it; `None` once the start is whole.
    pub starter: Option<Identity>,
    /// Whether its editor answered and is to be served.
    pub announced: bool,
    /// How often a restart was asked for.
    pub generation: u32,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Record {
    /// Returns the token of its supervisor. It is not the editor's: what ends the editor's family
    /// must not end who does it.
    pub fn supervisor_token(&self) -> String {
        format!("{}{SUPERVISOR_SUFFIX}", self.token)
    }

    /// Says whether each start of the editor has a key of its own, which its state tells.
    ///
    /// Between two starts anybody can take a port, and is presented the key there by nginx. A socket
    /// is in a folder of its own, and a key that people enter is theirs.
    pub fn renews_key(&self) -> bool {
        self.key.is_some() && self.key_is_nginxs && self.target != Target::Socket
    }

    /// Says whether its editor asks for a key; one that was taken over may not yet.
    pub fn asks_for_key(&self, state: Option<&State>) -> bool {
        match state.filter(|state| self.adopted && state.editor.is_some()) {
            Some(state) => state.key.is_some(),
            None => self.key.is_some(),
        }
    }

    /// Returns what it tells the agreement about routes.
    pub fn claim(&self) -> Instance {
        Instance {
            id: self.id.clone(),
            subject: self.subject,
            target: self.target,
            uid: self.uid,
            folder: self.folder.clone(),
            upstream: self.upstream,
            server: self.server,
            key: self.key.clone().filter(|_| self.key_is_nginxs),
            announced: self.announced,
        }
    }

    /// Returns every port that it has.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.target.port().into_iter().chain(self.apps.iter().copied())
    }
}

/// [`Record`] as JSON has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: u32,
    id: String,
    subject: String,
    wanted: Wanted,
    server: String,
    /// Absent: on the socket that is made of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    apps: Vec<u16>,
    upstream: String,
    folder: String,
    uid: u32,
    gid: u32,
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    key_is_nginxs: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    adopted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starter: Option<Identity>,
    announced: bool,
    generation: u32,
    created_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Says why a record cannot be used.
#[derive(Debug, Error)]
enum RecordFault {
    #[error("its schema is {0}, and only {RECORD_SCHEMA} is known here")]
    Schema(u32),
    #[error("`id` is none: {0}")]
    Id(IdFault),
    #[error("`folder` is none: {0}")]
    Folder(PathFault),
    #[error("`{0}` has a value that is not known here")]
    Word(&'static str),
}

impl TryFrom<Raw> for Record {
    type Error = RecordFault;

    fn try_from(raw: Raw) -> Result<Self, RecordFault> {
        if raw.schema != RECORD_SCHEMA {
            return Err(RecordFault::Schema(raw.schema));
        }
        let port = |number: u16| Port::new(number.into()).ok_or(RecordFault::Word("port"));
        Ok(Self {
            id: InstanceId::parse(&raw.id).map_err(RecordFault::Id)?,
            subject: Subject::parse(&raw.subject).ok_or(RecordFault::Word("subject"))?,
            wanted: raw.wanted,
            server: Server::parse(&raw.server).ok_or(RecordFault::Word("server"))?,
            target: raw.port.map(port).transpose()?.map_or(Target::Socket, Target::Port),
            apps: raw.apps.into_iter().map(port).collect::<Result<_, _>>()?,
            upstream: Upstream::parse(&raw.upstream).ok_or(RecordFault::Word("upstream"))?,
            folder: InRoot::parse(&raw.folder).map_err(RecordFault::Folder)?,
            uid: raw.uid,
            gid: raw.gid,
            token: raw.token,
            // What stands there instead of a key is not repeated.
            key: raw.key.map(|key| Key::parse(&key).ok_or(RecordFault::Word("key"))).transpose()?,
            key_is_nginxs: raw.key_is_nginxs,
            adopted: raw.adopted,
            unit: raw.unit,
            starter: raw.starter,
            announced: raw.announced,
            generation: raw.generation,
            created_ms: raw.created_ms,
        })
    }
}

impl From<Record> for Raw {
    fn from(record: Record) -> Self {
        Self {
            schema: RECORD_SCHEMA,
            id: record.id.as_str().into(),
            subject: record.subject.as_str().into(),
            wanted: record.wanted,
            server: record.server.as_str().into(),
            port: record.target.port().map(Port::get),
            apps: record.apps.iter().map(|port| port.get()).collect(),
            upstream: record.upstream.as_str().into(),
            folder: record.folder.as_str().into(),
            uid: record.uid,
            gid: record.gid,
            token: record.token,
            key: record.key.map(|key| key.reveal().into()),
            key_is_nginxs: record.key_is_nginxs,
            adopted: record.adopted,
            unit: record.unit,
            starter: record.starter,
            announced: record.announced,
            generation: record.generation,
            created_ms: record.created_ms,
        }
    }
}

#[cfg(test)]
pub(super) fn sample() -> Record {
    Record {
        id: InstanceId::parse("ActMcp").unwrap(),
        subject: Subject::Repository,
        wanted: Wanted::Running,
        server: Server::CodeServer,
        target: Target::Port(Port::new(8888).unwrap()),
        apps: Vec::new(),
        upstream: Upstream::StripPrefix,
        folder: InRoot::parse("/var/www/github/actmcp").unwrap(),
        uid: 1000,
        gid: 1000,
        token: "0123456789abcdef".into(),
        key: Key::parse(&"0f".repeat(32)),
        key_is_nginxs: true,
        adopted: false,
        unit: None,
        starter: None,
        announced: true,
        generation: 0,
        created_ms: 1_700_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_itself() {
        for record in [sample(), Record { target: Target::Socket, key: None, ..sample() }] {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        let text = serde_json::to_string(&sample()).unwrap().replace("0f0f", "HUNTER2");
        let fault = serde_json::from_str::<Record>(&text).unwrap_err().to_string();
        assert!(fault.contains("`key`") && !fault.contains("HUNTER2"), "{fault}");
    }

    #[test]
    fn a_key_that_nginx_does_not_present_is_not_told_to_it() {
        assert!(sample().claim().key.is_some());
        assert_eq!(Record { key_is_nginxs: false, ..sample() }.claim().key, None);
    }
}
