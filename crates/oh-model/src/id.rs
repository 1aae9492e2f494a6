//! The ids of sessions and repositories: the part of a URL that an outsider may choose.
//!
//! An id is `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`. The alphabet has no character that means anything
//! to nginx, to a shell or to a path, so an id needs no quoting anywhere. Real ones have 32, 36,
//! 38 and 53 characters.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Says why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdFault {
    /// There is nothing.
    #[error("an id cannot be empty")]
    Empty,
    /// It is longer than [`ID_BYTES_MAX`].
    #[error("an id has at most {ID_BYTES_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// It begins with a dash or an underscore.
    #[error("an id begins with a letter or a digit, not with {0:?}")]
    BadStart(char),
    /// It has a character that is not allowed.
    #[error("an id has only letters, digits, `_` and `-`, not {0:?}")]
    BadCharacter(char),
}

fn check(text: &str) -> Result<(), IdFault> {
    let Some(first) = text.chars().next() else { return Err(IdFault::Empty) };
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-'))
    {
        return Err(IdFault::BadCharacter(bad));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(IdFault::BadStart(first));
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdFault::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and keeps it as it is.
            ///
            /// # Errors
            /// [`IdFault`] for the first rule that the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                check(text)?;
                Ok(Self(String::from(text)))
            }

            /// Returns the id as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the id in lower case: two ids that fold to the same text are the same
            /// route, because the keys of an nginx `map` ignore case.
            pub fn folded(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdFault;

            fn try_from(text: String) -> Result<Self, IdFault> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type! {
    /// The id of an OpenHands session: the stem of its `{id}.json`.
    SessionId
}

id_type! {
    /// The id of a repository, as `repositories.json` has it.
    RepoId
}

id_type! {
    /// The id of an editor instance: of a session or of a repository, which share `/vscode/{id}/`.
    InstanceId
}

impl From<SessionId> for InstanceId {
    fn from(id: SessionId) -> Self {
        Self(id.0)
    }
}

impl From<RepoId> for InstanceId {
    fn from(id: RepoId) -> Self {
        Self(id.0)
    }
}

impl RepoId {
    /// Makes an id of a repository's name as the original application does:
    /// `name.replace(/[^a-zA-Z0-9-_]/g, '-').toLowerCase()`, which counts UTF-16 units.
    ///
    /// # Errors
    /// [`IdFault`] where the result breaks the rule for ids; such a repository needs a name
    /// of its own.
    pub fn normalise(name: &str) -> Result<Self, IdFault> {
        let mut id = String::with_capacity(name.len());
        for c in name.chars() {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                id.push(c.to_ascii_lowercase());
            } else {
                (0..c.len_utf16()).for_each(|_| id.push('-'));
            }
        }
        Self::parse(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn real_ids_are_ids() {
        for id in [
            "a",
            "0123456789abcdef0123456789abcdef",
            "123e4567-e89b-12d3-a456-426614174000",
            "123e4567-e89b-12d3-a456-426614174000-0123456789abcdef",
            "Under_score-dash",
        ] {
            assert_eq!(SessionId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn what_nginx_would_take_for_syntax_is_refused() {
        for (id, fault) in [
            ("", IdFault::Empty),
            ("a/ { return 200 pwn; } location /b", IdFault::BadCharacter('/')),
            ("$host", IdFault::BadCharacter('$')),
            ("~.*", IdFault::BadCharacter('~')),
            ("a\n", IdFault::BadCharacter('\n')),
            ("é", IdFault::BadCharacter('é')),
            ("-a", IdFault::BadStart('-')),
            ("_", IdFault::BadStart('_')),
            (&format!("{:065}", 0), IdFault::TooLong(65)),
        ] {
            assert_eq!(SessionId::parse(id), Err(fault), "{id}");
        }
    }

    #[test]
    fn repository_names_become_the_ids_of_the_original() {
        assert_eq!(RepoId::normalise("My.Repo v2").unwrap().as_str(), "my-repo-v2");
        assert_eq!(RepoId::normalise("a😀b").unwrap().as_str(), "a--b");
        assert_eq!(RepoId::normalise(".dotfiles"), Err(IdFault::BadStart('-')));
    }
}
