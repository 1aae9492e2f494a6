//! Paths with a gap in them, and owners of files.

use alloc::format;
use alloc::string::String;
use core::fmt;

use oh_model::id::{RepoId, SessionId};
use oh_model::path::{InRoot, PathFault};

macro_rules! template_type {
    ($(#[$doc:meta])* $name:ident, $id:ident, $gap:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(InRoot);

        impl $name {
            /// What stands for the id.
            pub(crate) const GAP: &'static str = $gap;

            /// Takes a path that has the gap once.
            pub(crate) fn new(path: InRoot) -> Option<Self> {
                (path.as_str().matches(Self::GAP).count() == 1).then_some(Self(path))
            }

            /// Returns the path of this id.
            ///
            /// # Errors
            /// [`PathFault::TooLong`] where the path gets too long; nothing else can happen.
            pub fn fill(&self, id: &$id) -> Result<InRoot, PathFault> {
                InRoot::parse(&self.0.as_str().replace(Self::GAP, id.as_str()))
            }

            /// Returns the folder that all filled paths are below: the one before the gap.
            pub fn folder(&self) -> InRoot {
                let mut folder = self.0.parent();
                while folder.as_str().contains(Self::GAP) {
                    folder = folder.parent();
                }
                folder
            }

            /// Returns what stands before and behind the gap in the names of the filled paths;
            /// `None` where their folders differ.
            pub fn names(&self) -> Option<(&str, &str)> {
                self.0.name().split_once(Self::GAP)
            }

            /// Returns the path as written, with its gap.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

template_type! {
    /// A path with `{id}` in the place of a session's id.
    SessionPath, SessionId, "{id}"
}

template_type! {
    /// A path with `{repo}` in the place of a repository's id.
    RepositoryPath, RepoId, "{repo}"
}

/// A path that may begin at the home folder of a user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HomePath {
    /// An absolute path.
    Absolute(InRoot),
    /// A path below the home folder, without the `~/`.
    BelowHome(String),
}

impl HomePath {
    /// Reads an absolute path or `~/…`.
    ///
    /// # Errors
    /// [`PathFault`] for the first rule that the text breaks.
    pub(crate) fn read(text: &str) -> Result<Self, PathFault> {
        match text.strip_prefix("~/") {
            Some(below) => InRoot::parse(&format!("/{below}")).and_then(|path| match path.name() {
                "" => Err(PathFault::EmptyPart),
                _ => Ok(Self::BelowHome(String::from(below))),
            }),
            None => InRoot::parse(text).map(Self::Absolute),
        }
    }

    /// Returns the path for a user with this home folder.
    ///
    /// # Errors
    /// [`PathFault::TooLong`] where the path gets too long; nothing else can happen.
    pub fn at(&self, home: &InRoot) -> Result<InRoot, PathFault> {
        match self {
            Self::Absolute(path) => Ok(path.clone()),
            Self::BelowHome(below) => home.join(below),
        }
    }
}

impl fmt::Display for HomePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(path) => path.fmt(f),
            Self::BelowHome(below) => write!(f, "~/{below}"),
        }
    }
}

/// The longest user name, in bytes (useradd's limit).
const USER_BYTES_MAX: usize = 32;

/// The owner of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A user name; `oh-host` asks the machine for the number.
    Name(String),
    /// A user number.
    Uid(u32),
}

impl Owner {
    /// Reads a user name, or a number below 4294967295, which the kernel keeps for "nobody".
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let strict =
                text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            return text.parse().ok().filter(|uid| strict && *uid != u32::MAX).map(Self::Uid);
        }
        let good = text.len() <= USER_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        good.then(|| Self::Name(String::from(text)))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Uid(uid) => uid.fmt(f),
        }
    }
}

/// Patterns of regular expressions for the JSON Schema, without anchors.
pub(crate) mod pattern {
    use alloc::format;
    use alloc::string::String;

    /// A user name or number.
    pub(crate) const OWNER: &str = "([A-Za-z_][A-Za-z0-9_.-]{0,31}|0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-4])";

    /// An absolute path below `/`, whose braces, if any, are those of the gap.
    pub(crate) fn path(gap: Option<&str>) -> String {
        let control = "\\x00-\\x1f\\x7f-\\x9f";
        let gap = gap.map_or_else(String::new, |gap| format!("|\\{{{gap}\\}}"));
        let any = format!("([^/{{}}{control}]{gap})");
        let first = format!("([^/.{{}}{control}]{gap})");
        // A part that is neither empty nor `.` nor `..`.
        format!("(/({first}{any}*|\\.{first}{any}*|\\.\\.{any}+))+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> InRoot {
        InRoot::parse(text).unwrap()
    }

    #[test]
    fn a_gap_is_filled_with_an_id_and_nothing_else() {
        let template = RepositoryPath::new(path("/etc/nginx/vscode-projects/{repo}.conf")).unwrap();
        let filled = template.fill(&RepoId::parse("my-repo").unwrap()).unwrap();
        assert_eq!(filled.as_str(), "/etc/nginx/vscode-projects/my-repo.conf");
        assert_eq!(template.folder().as_str(), "/etc/nginx/vscode-projects");
        assert_eq!(template.names(), Some(("", ".conf")));
        let in_folders = SessionPath::new(path("/w/{id}/x")).unwrap();
        assert_eq!((in_folders.folder().as_str(), in_folders.names()), ("/w", None));
        assert_eq!(SessionPath::new(path("/w/{repo}")), None);
        assert_eq!(SessionPath::new(path("/w/{id}/{id}")), None);
    }

    #[test]
    fn home_is_known_when_the_user_is() {
        let file = HomePath::read("~/.openhands_env").unwrap();
        assert_eq!(file.at(&path("/home/ubuntu")).unwrap().as_str(), "/home/ubuntu/.openhands_env");
        assert_eq!(file.at(&path("/")).unwrap().as_str(), "/.openhands_env");
        for bad in ["~", "~/", "~ubuntu/x", "~/../x", "x"] {
            assert!(HomePath::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_owner_is_a_name_or_a_number() {
        assert_eq!(Owner::read("0"), Some(Owner::Uid(0)));
        assert_eq!(Owner::read("4294967294"), Some(Owner::Uid(u32::MAX - 1)));
        assert_eq!(Owner::read("www-data"), Some(Owner::Name(String::from("www-data"))));
        for bad in ["", "-x", "a b", "007", "4294967295", "1a", "é", "a:b"] {
            assert_eq!(Owner::read(bad), None, "{bad:?}");
        }
    }
}
