//! An editor instance: what it serves, what kind of server it is, and the key that it asks for.
//!
//! An instance is the editor of one session or of one repository. Its record is `oh-host`'s
//! (`instances`); here are the words that the agreement about routes and the layout of nginx share
//! with it.

use alloc::string::String;
use core::fmt;

use crate::id::InstanceId;
use crate::path::InRoot;
use crate::upstream::{Target, Upstream};

/// What an instance is the editor of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A repository: announced by the two databases.
    Repository,
    /// A session: announced by its session file.
    Session,
}

impl Subject {
    /// Every kind, under the name that records give it.
    pub const ALL: [Self; 2] = [Self::Repository, Self::Session];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Session => "session",
        }
    }

    /// Finds it by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.as_str() == name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which program serves VS Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// code-server, by Coder.
    CodeServer,
    /// openvscode-server, by Gitpod, and whatever has the options of VS Code's own server.
    Openvscode,
}

impl Server {
    /// Every kind, under the name that files and configurations give it.
    pub const ALL: [Self; 2] = [Self::CodeServer, Self::Openvscode];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CodeServer => "code-server",
            Self::Openvscode => "openvscode-server",
        }
    }

    /// Finds it by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.as_str() == name)
    }

    /// Returns the path below its address that answers 200 to whoever asks, once it is ready, and
    /// counts as nobody's activity.
    pub const fn health_path(self) -> &'static str {
        match self {
            Self::CodeServer => "healthz",
            Self::Openvscode => "version",
        }
    }

    /// Returns the cookie that the key is presented in.
    ///
    /// code-server 4 compares it with `hashed-password` as it stands there; VS Code's server
    /// compares it with its connection token.
    pub const fn key_cookie(self) -> &'static str {
        match self {
            Self::CodeServer => "code-server-session",
            Self::Openvscode => "vscode-tkn",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an editor asks for before it lets anybody in: 64 hexadecimal digits. It is in no message,
/// log or `Debug` text.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// How many hexadecimal digits a [`Key`] has.
pub const KEY_DIGITS: usize = 64;

impl Key {
    /// Takes lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == KEY_DIGITS
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_key.then(|| Self(text.into()))
    }

    /// Returns the digits, for the editor's own file, the record and nginx's map alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

/// What the record of an instance that is wanted running tells the agreement about routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// What it is the editor of.
    pub subject: Subject,
    /// Where it listens.
    pub target: Target,
    /// The user whose listener it is.
    pub uid: u32,
    /// The folder that it opens.
    pub folder: InRoot,
    /// What becomes of the prefix.
    pub upstream: Upstream,
    /// Which program it is.
    pub server: Server,
    /// What it asks for, where nginx is to present it.
    pub key: Option<Key>,
    /// Whether it answered and is to be served: a repository is routed by this alone, whether or
    /// not the databases know it.
    pub announced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_key_is_never_shown_by_accident() {
        let digits = "0123456789abcdef".repeat(4);
        let key = Key::parse(&digits).unwrap();
        assert_eq!(format!("{key:?}"), "Key(not shown)");
        assert_eq!(key.reveal(), digits);
        assert_eq!(Key::parse(&digits.to_uppercase()), None);
        assert_eq!(Key::parse("ab"), None);
    }
}
