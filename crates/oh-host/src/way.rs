//! The way to a folder, opened folder by folder, so that nobody can exchange what was judged.
//!
//! Whoever owns a folder, or may write to it, can put a link or another folder in the place of
//! anything in it, at any time. So a link is followed only where nobody but root (or whoever runs)
//! could have put it, and what it leads to is a way of its own, gone in the same manner. Whose the
//! folders may be and who may write to them is for the caller to say, who is told of each.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::folder::FileKind;
use crate::mounts;
use crate::users::{OwnerSet, Users};

/// The most symbolic links on a way, as in the kernel.
const LINKS_MAX: usize = 40;

/// The bit of a mode that lets only owners rename and remove.
const STICKY: u32 = 0o1000;

/// Says why a way is not gone.
#[derive(Debug, Error)]
pub enum WayFault {
    /// There is no such folder.
    #[error("there is no folder {path}")]
    NoFolder {
        /// The folder.
        path: String,
    },
    /// Something on the way is no folder, or a link that is not followed.
    #[error("{path} is {kind}, not a folder")]
    NotAFolder {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// A folder on the way belongs to a stranger.
    #[error("the folder {path} belongs to uid {uid}, neither to root nor to the user")]
    Owner {
        /// The folder.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// Others than the user may exchange what is in a folder.
    #[error("the folder {path} has mode {mode:04o}: others may put files there")]
    Writable {
        /// The folder.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A program of a stranger answers for what is mounted there, or does not.
    #[error("uid {uid} has mounted a file system on {path}, and it is not asked anything")]
    Mounted {
        /// The folder.
        path: String,
        /// The user.
        uid: u32,
    },
    /// A folder cannot be opened.
    #[error("cannot open the folder {path}")]
    Open {
        /// The folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A folder of a way, as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Its path.
    pub path: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

impl Passed {
    /// Says whether others than its owner, root and `user` may exchange what is in it. A sticky bit
    /// keeps them from the entries of others, and what they put there is their own.
    pub fn lets_others_exchange(&self, user: u32, users: &Users) -> bool {
        let private = [Some(0), users.private_group(self.uid), users.private_group(user)];
        let is_groups = self.mode & 0o020 != 0 && !private.contains(&Some(self.gid));
        (is_groups || self.mode & 0o002 != 0) && self.mode & STICKY == 0
    }
}

/// A folder that is open, and how it was come to.
#[derive(Debug)]
pub struct Way {
    here: OwnedFd,
    follows: bool,
    links: usize,
    passed: Vec<Passed>,
}

impl Way {
    /// Goes to a folder, through links where nobody but root or whoever runs could have put them.
    ///
    /// # Errors
    /// [`WayFault`].
    pub fn to(path: &RealPath) -> Result<Self, WayFault> {
        Self::begin(true)?.along(path)
    }

    /// Goes to a folder through no link at all.
    ///
    /// # Errors
    /// [`WayFault`].
    pub fn without_links(path: &RealPath) -> Result<Self, WayFault> {
        Self::begin(false)?.along(path)
    }

    /// The folders that were passed, from `/` to the last, which is the one that is open.
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    pub(crate) fn begin(follows: bool) -> Result<Self, WayFault> {
        let here = rustix::fs::open("/", FLAGS, Mode::empty()).map_err(|errno| open("/", errno))?;
        let first = passed("/".into(), &here)?;
        Ok(Self { here, follows, links: 0, passed: vec![first] })
    }

    fn along(mut self, path: &RealPath) -> Result<Self, WayFault> {
        for part in split(path.as_str()) {
            self.enter(&part)?;
        }
        Ok(self)
    }

    /// Goes on to what this folder has under a name.
    pub(crate) fn enter(&mut self, name: &str) -> Result<(), WayFault> {
        let mut parts = VecDeque::from([name.to_owned()]);
        while let Some(part) = parts.pop_front() {
            let path = self.shown(&part);
            match rustix::fs::openat(&self.here, &part, FLAGS, Mode::empty()) {
                Ok(next) => {
                    self.passed.push(passed(path, &next)?);
                    self.here = next;
                }
                Err(Errno::NOENT) => return Err(WayFault::NoFolder { path }),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let target = self.link(&part, path)?;
                    if target.starts_with('/') {
                        let top = Self::begin(self.follows)?;
                        self.here = top.here;
                        self.passed.extend(top.passed);
                    }
                    parts = split(&target).chain(parts).collect();
                }
                Err(errno) => return Err(open(&path, errno)),
            }
        }
        Ok(())
    }

    /// Returns where a link leads, if it may be followed.
    fn link(&mut self, name: &str, path: String) -> Result<String, WayFault> {
        let fault = |errno| open(&path, errno);
        let stat = rustix::fs::statat(&self.here, name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = FileKind::of_mode(stat.map_err(fault)?.st_mode);
        if kind != FileKind::Link || !self.follows || !self.is_closed() {
            return Err(WayFault::NotAFolder { path, kind });
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(fault(Errno::LOOP));
        }
        let target = rustix::fs::readlinkat(&self.here, name, Vec::new()).map_err(fault)?;
        target.into_string().map_err(|_| fault(Errno::ILSEQ))
    }

    /// Whether root and whoever runs alone can put anything here.
    fn is_closed(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.passed.last().is_some_and(|at| [0, own].contains(&at.uid) && at.mode & 0o022 == 0)
    }

    /// Refuses a folder on the way that is a stranger's.
    pub(crate) fn belongs_to(&self, owners: &OwnerSet) -> Result<(), WayFault> {
        match self.passed.iter().find(|at| !owners.contains(at.uid)) {
            Some(at) => Err(WayFault::Owner { path: at.path.clone(), uid: at.uid }),
            None => Ok(()),
        }
    }

    /// The last folder, to make and open things in; it cannot be listed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Opens the last folder for listing and syncing.
    ///
    /// # Errors
    /// [`WayFault::Open`].
    pub fn open(&self) -> Result<OwnedFd, WayFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.here, ".", flags, Mode::empty())
            .map_err(|errno| open(&self.shown("."), errno))
    }

    fn shown(&self, name: &str) -> String {
        let here = self.passed.last().map_or("", |at| at.path.trim_end_matches('/'));
        match name {
            "." => here.to_owned(),
            ".." => match here.rsplit_once('/') {
                Some((above, _)) if !above.is_empty() => above.to_owned(),
                _ => "/".to_owned(),
            },
            name => format!("{here}/{name}"),
        }
    }
}

/// How the folders of a way are opened; it takes no right but to pass.
const FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn passed(path: String, folder: &OwnedFd) -> Result<Passed, WayFault> {
    // Nobody but root mounts anything on the top of all.
    if path != "/"
        && let Some(uid) = mounts::answered_by(folder.as_fd())
    {
        return Err(WayFault::Mounted { path, uid });
    }
    let stat = rustix::fs::fstat(folder).map_err(|errno| open(&path, errno))?;
    Ok(Passed { path, uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 })
}

fn split(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn open(path: &str, errno: Errno) -> WayFault {
    WayFault::Open { path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn real(path: &std::path::Path) -> RealPath {
        RealPath::parse(path.to_str().unwrap()).unwrap()
    }

    /// `ours` and `shared` (which everybody may write to), and `away` with `below` in it.
    fn folders() -> (tempfile::TempDir, impl Fn(&str) -> RealPath) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ours", "shared", "away/below"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for (name, mode) in [("ours", 0o755), ("shared", 0o777)] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("../away", dir.path().join("ours/link")).unwrap();
        symlink("../away", dir.path().join("shared/link")).unwrap();
        symlink("../shared/link", dir.path().join("ours/astray")).unwrap();
        symlink(dir.path().join("ours/round"), dir.path().join("ours/round")).unwrap();
        let base = dir.path().to_owned();
        (dir, move |name: &str| real(&base.join(name)))
    }

    #[test]
    fn links_are_followed_where_nobody_else_could_have_put_them() {
        let (dir, at) = folders();
        let way = Way::to(&at("ours/link/below")).unwrap();
        let below = dir.path().join("away/below");
        assert_eq!(way.passed().last().unwrap().path, below.to_str().unwrap());
        // A link of ours that leads through one of somebody else's leads nowhere.
        for name in ["shared/link/below", "ours/astray/below"] {
            let fault = Way::to(&at(name)).unwrap_err();
            let is_link = matches!(&fault, WayFault::NotAFolder { kind: FileKind::Link, path }
                if path.ends_with("shared/link"));
            assert!(is_link, "{name}: {fault}");
        }
        let fault = Way::to(&at("ours/round")).unwrap_err();
        assert!(matches!(fault, WayFault::Open { .. }), "{fault}");
        let fault = Way::without_links(&at("ours/link/below")).unwrap_err();
        assert!(matches!(fault, WayFault::NotAFolder { kind: FileKind::Link, .. }), "{fault}");
    }

    #[test]
    fn what_is_not_there_and_what_is_no_folder_are_told_apart() {
        let (dir, at) = folders();
        fs::write(dir.path().join("ours/file"), "").unwrap();
        let fault = Way::to(&at("ours/none/below")).unwrap_err();
        assert!(matches!(fault, WayFault::NoFolder { .. }), "{fault}");
        let fault = Way::to(&at("ours/file/below")).unwrap_err();
        assert!(matches!(fault, WayFault::NotAFolder { kind: FileKind::Regular, .. }), "{fault}");
    }
}
