//! The folder with the three files, through one open descriptor: write, keep, swap, durably.
//!
//! The file is synced when it is staged and the folder once, after the swap: a crash before that
//! leaves the old name with the old bytes, or the new name with all of the new ones.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use oh_model::path::RealPath;
use oh_nginx_conf::secret::SetText;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use crate::atomic::{self, FileFault, Meta};

/// The name of the set that nginx reads.
pub(super) const LIVE: &str = "routes.conf";
/// The name of the set to go back to.
pub(super) const PREVIOUS: &str = "previous.conf";
/// The name of a set on its way.
pub(super) const STAGED: &str = "staged.conf";
/// A second name for a moment, while a set is kept.
pub(super) const KEEPING: &str = ".keeping";

/// What everybody may read and only we write: nginx's master reads as root or as us.
const FILE_MODE: u32 = 0o644;
/// The mode of a set with keys.
const SECRET_MODE: u32 = 0o600;
/// The mode of the folder itself.
const FOLDER_MODE: u32 = 0o755;

/// The folder of the three files, held open.
#[derive(Debug)]
pub(super) struct Staging {
    path: RealPath,
    folder: OwnedFd,
    /// The folders that were not there before, the deepest first.
    made: Vec<RealPath>,
}

impl Staging {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// [`FileFault`], also where the folder is a link or somebody else's.
    pub(super) fn open(path: &RealPath) -> Result<Self, FileFault> {
        let made = missing(path);
        atomic::create_dirs(path, Meta { mode: FOLDER_MODE, owner: None })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path.as_str(), flags, Mode::empty())
            .map_err(|errno| io_fault("open", path, errno))?;
        Ok(Self { path: path.clone(), folder, made })
    }

    /// Removes the folders that [`Staging::open`] made, as far as nothing is in them.
    pub(super) fn leave_nothing(&self) {
        for folder in &self.made {
            // One that is not empty is in use by now, and so are those above it.
            if rustix::fs::unlinkat(rustix::fs::CWD, folder.as_str(), AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Writes the set on its way and syncs it; what a killed run left is overwritten. One with keys
    /// in it is for `secrets_owner` alone, or for whoever runs.
    pub(super) fn stage(
        &self,
        text: &SetText,
        secrets_owner: Option<(u32, u32)>,
    ) -> Result<(), FileFault> {
        let fault = |source: io::Error| io_fault("write", &self.at(STAGED), source);
        self.unlink(STAGED)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let secret = text.has_keys();
        let mode = Mode::from_raw_mode(if secret { SECRET_MODE } else { FILE_MODE });
        let fd = rustix::fs::openat(&self.folder, STAGED, flags, mode)
            .map_err(|errno| fault(errno.into()))?;
        if let (true, Some((uid, gid))) = (secret, secrets_owner) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(&fd, Some(uid), Some(gid)).map_err(|errno| fault(errno.into()))?;
        }
        // The umask may have taken bits that nginx's workers do not need but people do.
        rustix::fs::fchmod(&fd, mode).map_err(|errno| fault(errno.into()))?;
        let mut file = File::from(fd);
        let written = file.write_all(text.reveal().as_bytes()).and_then(|()| file.sync_all());
        if let Err(source) = written {
            // The reason is the full disk, not that its traces could not be removed.
            drop(self.unlink(STAGED));
            return Err(fault(source));
        }
        Ok(())
    }

    /// Gives the set in place a second name, to go back to; the name is never without a file.
    pub(super) fn keep(&self) -> Result<(), FileFault> {
        self.second_name(LIVE, PREVIOUS)
    }

    /// Puts the staged set in place, and makes that last.
    pub(super) fn swap(&self) -> Result<(), FileFault> {
        self.rename(STAGED, LIVE)?;
        self.sync()
    }

    /// Puts the kept set back in place, and makes that last.
    pub(super) fn restore(&self) -> Result<(), FileFault> {
        self.second_name(PREVIOUS, LIVE)?;
        self.sync()
    }

    /// Takes the set in place away: there was none before.
    pub(super) fn withdraw(&self) -> Result<(), FileFault> {
        self.unlink(LIVE)?;
        self.sync()
    }

    /// Removes a set that is not to be.
    pub(super) fn discard(&self) -> Result<(), FileFault> {
        self.unlink(STAGED)
    }

    fn second_name(&self, from: &str, to: &str) -> Result<(), FileFault> {
        self.unlink(KEEPING)?;
        let folder = &self.folder;
        rustix::fs::linkat(folder, from, folder, KEEPING, AtFlags::empty())
            .map_err(|errno| io_fault("make a second name of", &self.at(from), errno))?;
        self.rename(KEEPING, to)?;
        // rename(2) does nothing where both names are one file already, and leaves the first.
        self.unlink(KEEPING)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileFault> {
        rustix::fs::renameat(&self.folder, from, &self.folder, to)
            .map_err(|errno| io_fault("put in place", &self.at(to), errno))
    }

    fn unlink(&self, name: &str) -> Result<(), FileFault> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(io_fault("remove", &self.at(name), errno)),
        }
    }

    fn sync(&self) -> Result<(), FileFault> {
        rustix::fs::fsync(&self.folder).map_err(|errno| io_fault("sync", &self.path, errno))
    }

    /// The path of a file, for messages; the folder itself where a name cannot be joined.
    fn at(&self, name: &str) -> RealPath {
        self.path.join(name).unwrap_or_else(|_| self.path.clone())
    }
}

/// The folder and those above it, as far as they are missing.
fn missing(path: &RealPath) -> Vec<RealPath> {
    let mut missing = Vec::new();
    let mut here = path.clone();
    while !here.name().is_empty() && !Path::new(here.as_str()).exists() {
        missing.push(here.clone());
        here = here.parent();
    }
    missing
}

fn io_fault(doing: &'static str, path: &RealPath, source: impl Into<io::Error>) -> FileFault {
    FileFault::Io { doing, path: path.to_string(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging() -> (tempfile::TempDir, Staging) {
        let dir = tempfile::tempdir().unwrap();
        let path = RealPath::parse(dir.path().join("ours").to_str().unwrap()).unwrap();
        let staging = Staging::open(&path).unwrap();
        (dir, staging)
    }

    fn files(staging: &Staging) -> Vec<(String, String)> {
        let mut files: Vec<_> = std::fs::read_dir(staging.path.as_str())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_string();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_set_comes_is_kept_and_comes_back() {
        let (_dir, staging) = staging();
        let name = |name: &str, text: &str| (name.to_string(), text.to_string());
        staging.stage(&SetText::new("one".into()), None).unwrap();
        staging.swap().unwrap();
        assert_eq!(files(&staging), [name(LIVE, "one")]);
        staging.keep().unwrap();
        staging.keep().unwrap();
        staging.stage(&SetText::new("two".into()), None).unwrap();
        staging.swap().unwrap();
        assert_eq!(files(&staging), [name(PREVIOUS, "one"), name(LIVE, "two")]);
        staging.restore().unwrap();
        assert_eq!(files(&staging), [name(PREVIOUS, "one"), name(LIVE, "one")]);
        staging.withdraw().unwrap();
        staging.stage(&SetText::new("three".into()), None).unwrap();
        staging.discard().unwrap();
        assert_eq!(files(&staging), [name(PREVIOUS, "one")]);
    }

    #[test]
    fn a_set_with_keys_is_for_nobody_else_as_long_as_it_is_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, staging) = staging();
        let mode = |name| {
            let file = dir.path().join("ours").join(name);
            file.metadata().unwrap().permissions().mode() & 0o777
        };
        let keyed = SetText::new(format!("code-server-session={}", "0f".repeat(32)));
        staging.stage(&keyed, None).unwrap();
        assert_eq!(mode(STAGED), 0o600);
        staging.swap().unwrap();
        staging.keep().unwrap();
        staging.stage(&SetText::new("two".into()), None).unwrap();
        assert_eq!((mode(LIVE), mode(PREVIOUS), mode(STAGED)), (0o600, 0o600, 0o644));
        staging.swap().unwrap();
        staging.restore().unwrap();
        assert_eq!(mode(LIVE), 0o600);
    }

    #[test]
    fn folders_that_were_made_for_nothing_go_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = RealPath::parse(dir.path().join("a/b").to_str().unwrap()).unwrap();
        let staging = Staging::open(&path).unwrap();
        staging.stage(&SetText::new("one".into()), None).unwrap();
        staging.leave_nothing();
        assert_eq!(files(&staging), [(STAGED.to_string(), "one".to_string())]);
        staging.discard().unwrap();
        staging.leave_nothing();
        assert!(!dir.path().join("a").exists());
        // What was there before is not ours to remove.
        let found = RealPath::parse(dir.path().join("c").to_str().unwrap()).unwrap();
        std::fs::create_dir(found.as_str()).unwrap();
        Staging::open(&found).unwrap().leave_nothing();
        assert!(dir.path().join("c").exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_set_is_not_followed() {
        let (dir, staging) = staging();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join("ours").join(STAGED)).unwrap();
        staging.stage(&SetText::new("one".into()), None).unwrap();
        staging.swap().unwrap();
        assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
        assert_eq!(files(&staging), [(LIVE.to_string(), "one".to_string())]);
    }
}
