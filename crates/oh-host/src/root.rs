//! `--root DIR`: the folder below which every configured path lies.
//!
//! Turns what a configuration or a record says ([`InRoot`]) into what this machine has
//! ([`RealPath`]) and back; nothing else in the workspace does. It looks at the file system once,
//! when the root is opened, and is a pure join afterwards.
//!
//! Processes have no path. They are in scope only through a record that lies below this root: a
//! tool that runs with `--root DIR` signals what records under `DIR` name, and nothing else.

use std::path::Path;

use oh_model::hint::shell_word;
use oh_model::path::{InRoot, PathFault, RealPath};
use rustix::fs::{FileType, Mode, OFlags};
use thiserror::Error;

/// The bits of a mode that let somebody beside the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Says why a folder cannot be the root.
#[derive(Debug, Error)]
pub enum RootFault {
    /// It is missing or cannot be opened.
    #[error("cannot open the root folder {path}")]
    Open {
        /// The folder as it was given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a folder.
    #[error("the root {path} is not a folder")]
    NotAFolder {
        /// The path as it was given.
        path: String,
    },
    /// Its full path has something that no configured path may have.
    #[error("the root folder {path} cannot be used as a path")]
    Path {
        /// The folder as it was given.
        path: String,
        /// The rule that it breaks.
        source: PathFault,
    },
    /// Somebody else owns it, and could exchange anything below it.
    #[error("the root folder {path} belongs to uid {uid}, neither to root nor to uid {me}")]
    Owner {
        /// The folder, resolved.
        path: String,
        /// Its owner.
        uid: u32,
        /// Who asks.
        me: u32,
    },
    /// Its group or everybody may write to it.
    #[error("the root folder {path} has mode {mode:04o}: others may write to it")]
    Writable {
        /// The folder, resolved.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
}

impl RootFault {
    /// Returns the command that mends it, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } | Self::NotAFolder { .. } | Self::Path { .. } => None,
            Self::Owner { path, me, .. } => Some(format!("chown {me}: {}", shell_word(path))),
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", shell_word(path))),
        }
    }
}

/// The folder below which every configured path lies; `/` unless somebody said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `None` is the machine itself.
    base: Option<RealPath>,
}

impl Root {
    /// Returns the machine itself: paths are what they say.
    pub const fn system() -> Self {
        Self { base: None }
    }

    /// Opens a folder as the root, with symbolic links in its own path resolved once.
    ///
    /// A relative `dir` is taken from the current directory; `/` gives [`Root::system`]. Folders
    /// above it are not judged (a sandbox may lie below a sticky `/tmp`).
    ///
    /// # Errors
    /// [`RootFault`] where it is missing, no folder, owned by neither root nor the caller's
    /// effective user, or writable by its group or by everybody.
    pub fn below(dir: &Path) -> Result<Self, RootFault> {
        let path = || dir.display().to_string();
        let full = std::fs::canonicalize(dir)
            .map_err(|source| RootFault::Open { path: path(), source })?;
        let Some(text) = full.to_str() else {
            return Err(RootFault::Path { path: path(), source: PathFault::Control });
        };
        let base =
            RealPath::parse(text).map_err(|source| RootFault::Path { path: path(), source })?;
        if base.as_str() == "/" {
            return Ok(Self::system());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let stat = rustix::fs::open(base.as_str(), flags, Mode::empty())
            .and_then(rustix::fs::fstat)
            .map_err(|errno| RootFault::Open { path: path(), source: errno.into() })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(RootFault::NotAFolder { path: path() });
        }
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != 0 && stat.st_uid != me {
            return Err(RootFault::Owner { path: text.to_owned(), uid: stat.st_uid, me });
        }
        if stat.st_mode & OTHERS_WRITE != 0 {
            return Err(RootFault::Writable { path: text.to_owned(), mode: stat.st_mode & 0o7777 });
        }
        Ok(Self { base: Some(base) })
    }

    /// Returns where a configured path is on this machine; a pure join.
    ///
    /// # Errors
    /// [`PathFault::TooLong`] where both together are longer than the kernel takes. It cannot
    /// happen for the system root.
    pub fn real(&self, path: &InRoot) -> Result<RealPath, PathFault> {
        match (&self.base, path.as_str()) {
            (None, text) => RealPath::parse(text),
            (Some(base), "/") => Ok(base.clone()),
            (Some(base), text) => base.join(text.trim_start_matches('/')),
        }
    }

    /// Returns what a configuration would call this place; `None` where it is not below the root.
    pub fn inside(&self, path: &RealPath) -> Option<InRoot> {
        let text = path.as_str();
        let below = match &self.base {
            None => text,
            Some(base) => match text.strip_prefix(base.as_str())? {
                "" => "/",
                rest if rest.starts_with('/') => rest,
                _ => return None,
            },
        };
        InRoot::parse(below).ok()
    }

    /// Says whether this is the machine itself.
    pub const fn is_system(&self) -> bool {
        self.base.is_none()
    }

    /// Returns the folder itself as this machine has it; `None` for the machine itself.
    pub const fn base(&self) -> Option<&RealPath> {
        self.base.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn in_root(text: &str) -> InRoot {
        InRoot::parse(text).unwrap()
    }

    #[test]
    fn paths_go_below_the_root_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path()).unwrap();
        let base = dir.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        let real = root.real(&in_root("/etc/nginx")).unwrap();
        assert_eq!(real.as_str(), format!("{base}/etc/nginx"));
        assert_eq!(root.inside(&real), Some(in_root("/etc/nginx")));
        assert_eq!(root.real(&in_root("/")).unwrap().as_str(), base);
        assert_eq!(root.inside(&RealPath::parse(&base).unwrap()), Some(in_root("/")));
        assert_eq!(root.inside(&RealPath::parse(&format!("{base}x/etc")).unwrap()), None);
        assert_eq!(root.inside(&RealPath::parse("/etc").unwrap()), None);
        assert!(!root.is_system());
        let long = in_root(&format!("/{}", "x".repeat(4090)));
        assert_eq!(root.real(&long), Err(PathFault::TooLong));
    }

    #[test]
    fn the_system_root_changes_nothing() {
        let root = Root::system();
        assert_eq!(root.real(&in_root("/")).unwrap().as_str(), "/");
        assert_eq!(root.real(&in_root("/etc")).unwrap().as_str(), "/etc");
        assert_eq!(root.inside(&RealPath::parse("/etc").unwrap()), Some(in_root("/etc")));
        assert_eq!(Root::below(Path::new("/")).unwrap(), root);
    }

    #[test]
    fn a_root_that_others_could_exchange_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o770)).unwrap();
        let fault = Root::below(dir.path()).unwrap_err();
        assert!(matches!(fault, RootFault::Writable { mode: 0o770, .. }), "{fault}");
        assert!(fault.hint().unwrap().starts_with("chmod go-w /"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Root::below(&file), Err(RootFault::NotAFolder { .. })));
        assert!(matches!(Root::below(&dir.path().join("none")), Err(RootFault::Open { .. })));
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
            let fault = Root::below(dir.path()).unwrap_err();
            assert!(matches!(fault, RootFault::Owner { uid: 65534, me: 0, .. }), "{fault}");
        } else {
            // A folder of root's is fine for everybody, as long as nobody else may write to it.
            assert!(Root::below(Path::new("/usr")).is_ok());
        }
    }
}
