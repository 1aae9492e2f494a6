//! What is in a tree, without changing or following anything: how much room it has, when something in
//! it was changed last, what is mounted in it, and where somebody's work may lie.
//!
//! The tree may be anybody's and of any size, so a survey has limits; one that met them says so, and
//! is a lower bound. Nothing but folders is opened, and no file system is entered but the one that the
//! tree is on.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::folder::each_name;
use crate::mounts;

/// How many names are looked at.
pub const ENTRIES_MAX: u64 = 200_000;

/// How deep folders are gone into.
const DEPTH_MAX: usize = 64;

/// How many repositories and mounts are named.
pub const NAMED_MAX: usize = 100;

/// How editors call the folder in their settings of what was typed and not saved (VS Code's
/// `backupHome`); empty, it says that all is saved.
pub const UNSAVED_NAME: &[u8] = b"Backups";

/// The unit of `stx_blocks`, in bytes (statx(2)).
const BLOCK_BYTES: u64 = 512;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);

/// What is in a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// How much room it has on its disk, in bytes; a file with several names in it counts once.
    pub bytes: u64,
    /// How many files, folders and other things there are, the tree itself among them.
    pub entries: u64,
    /// When something in it was changed last, in nanoseconds since the epoch.
    pub newest_ns: i64,
    /// What is mounted in it, by the way there from the tree.
    pub mounts: Vec<PathBuf>,
    /// The folders in it that are git's working trees, by the way there from the tree; empty for the
    /// tree itself. One more than [`NAMED_MAX`] says that there may be more.
    pub repositories: Vec<PathBuf>,
    /// The first folder in it by the name of [`UNSAVED_NAME`] that has something in it, by the way there.
    pub unsaved: Option<PathBuf>,
    /// What is directly in it.
    pub names: BTreeSet<Vec<u8>>,
    /// Whether all of it was looked at.
    pub is_whole: bool,
}

/// Looks at what a name in a folder leads to; a link is a thing of its own.
///
/// # Errors
/// The system's, where the name itself cannot be looked at. What cannot be entered makes the survey a
/// lower bound.
pub fn survey(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Survey, Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let mut walk =
        Walk { survey: Survey { is_whole: true, ..Survey::default() }, ..Walk::default() };
    let stat = look(folder, &name)?;
    walk.mount = stat.stx_mnt_id;
    walk.count(&stat);
    if is_folder(&stat) {
        walk.enter(folder, &name, &PathBuf::new(), 0);
    }
    Ok(walk.survey)
}

#[derive(Default)]
struct Walk {
    survey: Survey,
    mount: u64,
    /// How many names were listed.
    listed: u64,
    /// The files with several names that were counted.
    counted: BTreeSet<u64>,
}

impl Walk {
    fn enter(&mut self, parent: BorrowedFd<'_>, name: &CStr, here: &Path, depth: usize) {
        let Some(folder) = open(parent, name) else {
            self.survey.is_whole = false;
            return;
        };
        let mut names = Vec::new();
        let listed = each_name(folder.as_fd(), |name| {
            names.push(name.to_vec());
            self.listed += 1;
            self.listed < ENTRIES_MAX
        });
        // All names that are held at once count, at whatever depth they are.
        self.survey.is_whole &= listed.is_ok() && self.listed < ENTRIES_MAX;
        if depth == 0 {
            self.survey.names = names.iter().cloned().collect();
        }
        let is_repository = names.iter().any(|name| name == b".git");
        if is_repository && self.survey.repositories.len() <= NAMED_MAX {
            self.survey.repositories.push(here.to_owned());
        }
        let is_backups = depth > 0 && here.file_name().map(OsStr::as_bytes) == Some(UNSAVED_NAME);
        if is_backups && !names.is_empty() && self.survey.unsaved.is_none() {
            self.survey.unsaved = Some(here.to_owned());
        }
        for name in names {
            if self.survey.entries >= ENTRIES_MAX {
                self.survey.is_whole = false;
                return;
            }
            self.visit(folder.as_fd(), &name, here, depth);
        }
    }

    fn visit(&mut self, folder: BorrowedFd<'_>, name: &[u8], here: &Path, depth: usize) {
        let there = here.join(OsStr::from_bytes(name));
        let Ok(name) = CString::new(name) else { return };
        let stat = match look(folder, &name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(_) => {
                // What somebody mounted may show itself to nobody else.
                let number = mounts::number_and_top(folder, &name, AtFlags::STATX_DONT_SYNC);
                match number {
                    Ok((number, _)) if number != self.mount => self.mounted(there),
                    _ => self.survey.is_whole = false,
                }
                return;
            }
        };
        if stat.stx_mnt_id != self.mount {
            return self.mounted(there);
        }
        self.count(&stat);
        if is_folder(&stat) {
            if depth < DEPTH_MAX {
                self.enter(folder, &name, &there, depth + 1);
            } else {
                self.survey.is_whole = false;
            }
        }
    }

    fn mounted(&mut self, there: PathBuf) {
        if self.survey.mounts.len() < NAMED_MAX {
            self.survey.mounts.push(there);
        }
    }

    fn count(&mut self, stat: &Statx) {
        self.survey.entries += 1;
        let is_one_of_several = !is_folder(stat) && stat.stx_nlink > 1;
        if !is_one_of_several || self.counted.insert(stat.stx_ino) {
            self.survey.bytes += stat.stx_blocks * BLOCK_BYTES;
        }
        let seconds = stat.stx_mtime.tv_sec.saturating_mul(1_000_000_000);
        let modified_ns = seconds.saturating_add(stat.stx_mtime.tv_nsec.into());
        self.survey.newest_ns = self.survey.newest_ns.max(modified_ns);
    }
}

/// Opens a folder; whoever is not its owner cannot keep its time of access as it was.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    match rustix::fs::openat(parent, name, FOLDER, Mode::empty()) {
        Err(Errno::PERM) => {
            rustix::fs::openat(parent, name, FOLDER.difference(OFlags::NOATIME), Mode::empty()).ok()
        }
        opened => opened.ok(),
    }
}

fn look(folder: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    // What somebody mounted in it may never answer; what the kernel knows by itself is enough.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let wanted = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);
    let stat = rustix::fs::statx(folder, name, flags, wanted)?;
    // Before Linux 5.8 nobody would know what is mounted where.
    let knows_mount = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
    if knows_mount { Ok(stat) } else { Err(Errno::NOSYS) }
}

fn is_folder(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_an_editor_did_not_save_is_found_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let open = fs::File::open(dir.path()).unwrap();
        fs::create_dir_all(tree.join("data/User/Backups")).unwrap();
        // All is saved.
        assert_eq!(survey(open.as_fd(), b"tree").unwrap().unsaved, None);
        fs::create_dir_all(tree.join("data/User/Backups/1f2e/untitled")).unwrap();
        let seen = survey(open.as_fd(), b"tree").unwrap();
        assert_eq!(seen.unsaved, Some("data/User/Backups".into()));
    }

    #[test]
    fn a_tree_is_counted_once_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir_all(tree.join("work/.git")).unwrap();
        fs::write(tree.join("a/file"), vec![1; 10_000]).unwrap();
        fs::hard_link(tree.join("a/file"), tree.join("a/b/same")).unwrap();
        fs::write(dir.path().join("outside"), vec![1; 1_000_000]).unwrap();
        symlink("../outside", tree.join("link")).unwrap();
        symlink("..", tree.join("a/up")).unwrap();
        let late = SystemTime::now() + Duration::from_secs(1000);
        fs::File::open(tree.join("a/file")).unwrap().set_modified(late).unwrap();

        let open = fs::File::open(dir.path()).unwrap();
        let seen = survey(open.as_fd(), b"tree").unwrap();
        let all = ["", "a", "a/b", "a/file", "a/up", "link", "work", "work/.git"];
        let blocks: u64 =
            all.iter().map(|name| fs::symlink_metadata(tree.join(name)).unwrap().blocks()).sum();
        assert_eq!((seen.entries, seen.bytes), (9, blocks * BLOCK_BYTES));
        assert_eq!(seen.repositories, [PathBuf::from("work")]);
        assert!(seen.is_whole && seen.mounts.is_empty());
        let late_ns = late.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        assert_eq!(i128::from(seen.newest_ns), late_ns as i128);
        let names: Vec<_> = seen.names.iter().map(Vec::as_slice).collect();
        assert_eq!(names, [b"a".as_slice(), b"link", b"work"]);

        let link = survey(open.as_fd(), b"tree/link").unwrap();
        assert_eq!((link.entries, link.is_whole), (1, true));
        assert_eq!(survey(open.as_fd(), b"none").unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn what_is_too_deep_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..=DEPTH_MAX + 1).fold(dir.path().join("tree"), |path, _| path.join("d"));
        fs::create_dir_all(deep).unwrap();
        let open = fs::File::open(dir.path()).unwrap();
        assert!(!survey(open.as_fd(), b"tree").unwrap().is_whole);
    }
}
