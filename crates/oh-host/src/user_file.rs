//! A file of a user's, read and replaced by root in folders that are the user's own.
//!
//! Whoever owns a folder can put a link, somebody else's file or another folder in the place of
//! anything in it, at any time. So the way is opened folder by folder: a link is followed only where
//! nobody but root (or whoever runs) could have put it, each folder has to be root's or the user's,
//! and the file has to be a plain one of the user's with one name. What is written has its owner and
//! mode before it has its name.

use std::os::fd::{AsFd as _, OwnedFd};

use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use thiserror::Error;

use crate::atomic::{self, Change, FileFault, Meta, Temp};
use crate::folder::{FileBytes, Refusal, read_owned_bytes};
use crate::users::{OwnerSet, Users, is_root};
use crate::way::{Way, WayFault};

/// Says why a file of a user's was not read or replaced. It is as it was, except where
/// [`FileFault::Unsynced`] says otherwise.
#[derive(Debug, Error)]
pub enum UserFileFault {
    /// Its folder is not one that it may be in.
    #[error(transparent)]
    Way(#[from] WayFault),
    /// The file is not one that may be used.
    #[error("{path} is not used")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        source: Refusal,
    },
    /// Somebody else wrote it in between.
    #[error("{path} was changed by somebody else meanwhile")]
    Changed {
        /// The file.
        path: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileFault),
}

impl Diagnostic for UserFileFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Way(WayFault::Open { .. }) => Exit::CouldNotLook,
            Self::Way(_) | Self::Refused { .. } => Exit::Refused,
            Self::File(FileFault::Unsynced { .. }) => Exit::No,
            Self::Changed { .. } | Self::File(_) => Exit::Intact,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::File(FileFault::Unsynced { .. }) => None,
            _ => Some("nothing was changed".into()),
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::Way(WayFault::Writable { path, .. }) => {
                vec![Hint::run("", Command::other("chmod", &["go-w", path]))]
            }
            _ => Vec::new(),
        }
    }
}

/// A file of a user's as it was found, in its open folder.
#[derive(Debug)]
pub struct UserFile {
    folder: OwnedFd,
    path: RealPath,
    user: (u32, u32),
    owners: OwnerSet,
    bytes_max: u64,
    found: Option<FileBytes>,
}

impl UserFile {
    /// Opens the way to a file of this user and group, and reads it where it exists.
    ///
    /// # Errors
    /// [`UserFileFault`].
    pub fn open(
        path: &RealPath,
        user: (u32, u32),
        users: &Users,
        bytes_max: u64,
    ) -> Result<Self, UserFileFault> {
        let word = user.0.to_string();
        // A number is always known.
        let (owners, _) = OwnerSet::of_words([word.as_str()], users);
        let folder = walk(&path.parent(), &owners)?;
        let mut file = Self { folder, path: path.clone(), user, owners, bytes_max, found: None };
        file.found = file.look()?;
        Ok(file)
    }

    /// Returns what is in it; `None` where there is no file.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.found.as_ref().map(|found| found.bytes.as_slice())
    }

    /// Returns its permission bits; `None` where there is no file.
    pub fn mode(&self) -> Option<u32> {
        self.found.as_ref().map(|found| found.mode)
    }

    /// Gives it this content and mode in one step and durably; equal ones write nothing.
    ///
    /// # Errors
    /// [`UserFileFault`].
    pub fn replace(self, bytes: &[u8], mode: u32) -> Result<Change, UserFileFault> {
        let is_same = |found: &FileBytes| found.bytes == bytes && found.mode == mode;
        if self.found.as_ref().is_some_and(is_same) {
            return Ok(Change::Unchanged);
        }
        let meta = Meta { mode, owner: is_root().then_some(self.user) };
        let mut temp = Temp::filled(self.folder.as_fd(), &self.path, bytes, meta)?;
        let changed = || UserFileFault::Changed { path: self.path.to_string() };
        match (&self.found, self.look()?) {
            (None, None) => {
                if !temp.take_the_free_name(&self.path)? {
                    return Err(changed());
                }
                atomic::confirm(self.folder.as_fd(), &self.path)?;
            }
            (Some(then), Some(now)) if now.is_as_written(then) => {
                temp.take_the_place_of(&self.path)?;
            }
            _ => return Err(changed()),
        }
        Ok(Change::Changed)
    }

    fn look(&self) -> Result<Option<FileBytes>, UserFileFault> {
        let refused = |source| UserFileFault::Refused { path: self.path.to_string(), source };
        let (folder, name) = (self.folder.as_fd(), self.path.name());
        let found =
            read_owned_bytes(folder, name, self.bytes_max, &self.owners).map_err(refused)?;
        // Not even root's: the user may have moved a file here that only root can read.
        match found {
            Some(found) if found.uid != self.user.0 => Err(refused(Refusal::Owner(found.uid))),
            found => Ok(found),
        }
    }
}

/// Opens a folder step by step; the last one may be written by the user alone.
fn walk(path: &RealPath, owners: &OwnerSet) -> Result<OwnedFd, WayFault> {
    let way = Way::to(path)?;
    way.belongs_to(owners)?;
    if let Some(last) = way.passed().last() {
        let is_shared = last.mode & 0o020 != 0 && !owners.is_private_group(last.uid, last.gid);
        if is_shared || last.mode & 0o002 != 0 {
            return Err(WayFault::Writable { path: path.to_string(), mode: last.mode });
        }
    }
    way.open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::FileKind;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    const BYTES_MAX: u64 = 1024;

    /// A home in a folder of its own, and who owns it.
    fn home() -> (tempfile::TempDir, (u32, u32)) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::set_permissions(dir.path().join("home"), fs::Permissions::from_mode(0o755)).unwrap();
        let meta = fs::metadata(dir.path()).unwrap();
        let user = if is_root() {
            let user = (65534, 65534);
            let home = dir.path().join("home");
            std::os::unix::fs::chown(home, Some(user.0), Some(user.1)).unwrap();
            user
        } else {
            (meta.uid(), meta.gid())
        };
        (dir, user)
    }

    fn open(
        dir: &tempfile::TempDir,
        below: &str,
        user: (u32, u32),
    ) -> Result<UserFile, UserFileFault> {
        let base = dir.path().canonicalize().unwrap();
        let path = RealPath::parse(base.join(below).to_str().unwrap()).unwrap();
        UserFile::open(&path, user, &Users::default(), BYTES_MAX)
    }

    #[test]
    fn a_file_is_made_replaced_and_left_alone() {
        let (dir, user) = home();
        let file = open(&dir, "home/env", user).unwrap();
        assert_eq!((file.bytes(), file.mode()), (None, None));
        assert_eq!(file.replace(b"one", 0o600).unwrap(), Change::Changed);
        let meta = fs::metadata(dir.path().join("home/env")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o600, user.0, user.1));
        let file = open(&dir, "home/env", user).unwrap();
        assert_eq!(file.bytes(), Some(b"one".as_slice()));
        assert_eq!(file.replace(b"one", 0o600).unwrap(), Change::Unchanged);
        let again = fs::metadata(dir.path().join("home/env")).unwrap();
        assert_eq!(again.ino(), meta.ino());
        let file = open(&dir, "home/env", user).unwrap();
        assert_eq!(file.replace(b"two", 0o600).unwrap(), Change::Changed);
        assert_eq!(fs::read(dir.path().join("home/env")).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path().join("home")).unwrap().count(), 1, "a file is left");
    }

    #[test]
    fn what_changed_meanwhile_stays() {
        let (dir, user) = home();
        let file = open(&dir, "home/env", user).unwrap();
        fs::write(dir.path().join("home/env"), "theirs").unwrap();
        if is_root() {
            let env = dir.path().join("home/env");
            std::os::unix::fs::chown(env, Some(user.0), Some(user.1)).unwrap();
        }
        let fault = file.replace(b"ours", 0o600).unwrap_err();
        assert!(matches!(fault, UserFileFault::Changed { .. }), "{fault}");
        assert_eq!(fs::read(dir.path().join("home/env")).unwrap(), b"theirs");
    }

    #[test]
    fn links_are_not_followed_where_the_user_could_have_put_them() {
        let (dir, user) = home();
        fs::create_dir(dir.path().join("away")).unwrap();
        fs::write(dir.path().join("away/env"), "precious").unwrap();
        symlink(dir.path().join("away/env"), dir.path().join("home/env")).unwrap();
        symlink(dir.path().join("away"), dir.path().join("home/below")).unwrap();
        let fault = open(&dir, "home/env", user).unwrap_err();
        let is_refused =
            matches!(fault, UserFileFault::Refused { source: Refusal::NotAFile(_), .. });
        assert!(is_refused, "{fault}");
        if is_root() {
            let fault = open(&dir, "home/below/env", user).unwrap_err();
            let is_link = matches!(
                fault,
                UserFileFault::Way(WayFault::NotAFolder { kind: FileKind::Link, .. })
            );
            assert!(is_link, "{fault}");
        }
        assert_eq!(fs::read(dir.path().join("away/env")).unwrap(), b"precious");
    }

    #[test]
    fn files_of_others_and_folders_that_others_write_to_are_refused() {
        let (dir, user) = home();
        let home = dir.path().join("home");
        if is_root() {
            // A file that only root can read, which the user has moved here.
            fs::write(home.join("env"), "secret").unwrap();
            let fault = open(&dir, "home/env", user).unwrap_err();
            let is_owner =
                matches!(fault, UserFileFault::Refused { source: Refusal::Owner(0), .. });
            assert!(is_owner, "{fault}");
            let fault = open(&dir, "home/env", (65533, 65533)).unwrap_err();
            assert!(
                matches!(fault, UserFileFault::Way(WayFault::Owner { uid: 65534, .. })),
                "{fault}"
            );
            fs::remove_file(home.join("env")).unwrap();
        }
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
        let fault = open(&dir, "home/env", user).unwrap_err();
        assert!(
            matches!(fault, UserFileFault::Way(WayFault::Writable { mode: 0o777, .. })),
            "{fault}"
        );
        let fault = open(&dir, "home/none/env", user).unwrap_err();
        assert!(matches!(fault, UserFileFault::Way(WayFault::NoFolder { .. })), "{fault}");
    }
}
