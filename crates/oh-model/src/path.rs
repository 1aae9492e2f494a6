//! The two kinds of path: as the configuration says it, and as this machine has it.
//!
//! Every tool takes `--root DIR`, which puts all paths below a folder. What a configuration or a
//! record says is an [`InRoot`] path; what goes into nginx text, into the arguments of a program
//! or to the kernel is a [`RealPath`]. `oh-host` alone turns the one into the other, so neither
//! can be taken for the other by accident.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest path that Linux takes, in bytes, with its closing NUL.
pub const PATH_BYTES_MAX: usize = 4096;

/// Says why a text cannot be used as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathFault {
    /// It does not begin with `/`.
    #[error("a path begins with `/`")]
    Relative,
    /// It has `.` or `..` as a part.
    #[error("a path has no `.` or `..` in it")]
    Dots,
    /// It has two slashes in a row, or ends with one.
    #[error("a path has no empty part: no `//`, no `/` at its end")]
    EmptyPart,
    /// It has a control character.
    #[error("a path has no control characters")]
    Control,
    /// It is longer than [`PATH_BYTES_MAX`].
    #[error("a path has fewer than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

fn check(text: &str) -> Result<(), PathFault> {
    let Some(rest) = text.strip_prefix('/') else { return Err(PathFault::Relative) };
    if text.len() >= PATH_BYTES_MAX {
        return Err(PathFault::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(PathFault::Control);
    }
    for part in rest.split('/') {
        match part {
            "" if rest.is_empty() => {}
            "" => return Err(PathFault::EmptyPart),
            "." | ".." => return Err(PathFault::Dots),
            _ => {}
        }
    }
    Ok(())
}

macro_rules! path_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks that the text is an absolute path without dots, empty parts or control
            /// characters, and keeps it as it is.
            ///
            /// # Errors
            /// [`PathFault`] for the first rule that the text breaks.
            pub fn parse(text: &str) -> Result<Self, PathFault> {
                check(text)?;
                Ok(Self(String::from(text)))
            }

            /// Returns `/`.
            pub fn root() -> Self {
                Self(String::from("/"))
            }

            /// Returns the path as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the folder that the path is in; the root is in itself.
            pub fn parent(&self) -> Self {
                match self.0.rsplit_once('/') {
                    Some(("", _)) | None => Self(String::from("/")),
                    Some((parent, _)) => Self(String::from(parent)),
                }
            }

            /// Returns the last part of the path; empty for the root.
            pub fn name(&self) -> &str {
                self.0.rsplit_once('/').map_or("", |(_, name)| name)
            }

            /// Returns the path of a thing below this one.
            ///
            /// # Errors
            /// [`PathFault`] where `below` is absolute or climbs.
            pub fn join(&self, below: &str) -> Result<Self, PathFault> {
                let base = self.0.trim_end_matches('/');
                Self::parse(&alloc::format!("{base}/{below}"))
            }
        }

        impl TryFrom<String> for $name {
            type Error = PathFault;

            fn try_from(text: String) -> Result<Self, PathFault> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(path: $name) -> Self {
                path.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

path_type! {
    /// A path as the configuration or a record says it, before `--root` is put in front.
    InRoot
}

path_type! {
    /// A path as this machine has it: what nginx, a program or the kernel is given.
    RealPath
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_one_place_in_one_way() {
        for good in ["/", "/etc", "/etc/nginx/nginx.conf", "/with blank/é"] {
            assert_eq!(InRoot::parse(good).unwrap().as_str(), good);
        }
        for (bad, fault) in [
            ("", PathFault::Relative),
            ("etc", PathFault::Relative),
            ("/etc/", PathFault::EmptyPart),
            ("//etc", PathFault::EmptyPart),
            ("/etc/../root", PathFault::Dots),
            ("/./etc", PathFault::Dots),
            ("/a\nb", PathFault::Control),
        ] {
            assert_eq!(InRoot::parse(bad), Err(fault), "{bad:?}");
        }
    }

    #[test]
    fn joining_never_climbs() {
        let etc = RealPath::parse("/etc").unwrap();
        assert_eq!(etc.join("nginx/x").unwrap().as_str(), "/etc/nginx/x");
        assert_eq!(etc.join("../x"), Err(PathFault::Dots));
        assert_eq!(etc.join("/x"), Err(PathFault::EmptyPart));
        assert_eq!(RealPath::parse("/").unwrap().join("x").unwrap().as_str(), "/x");
        assert_eq!(etc.parent().as_str(), "/");
        assert_eq!(etc.join("a/b").unwrap().parent().as_str(), "/etc/a");
    }
}
