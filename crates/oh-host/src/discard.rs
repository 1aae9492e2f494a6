//! Removes a folder that is ours alone, or one that we made for a user.
//!
//! [`crate::remove`] does it; here is the question whether it may be done, and one answer instead
//! of a list: what is mounted there, or does not go for another reason, is a fault.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::remove::{self, Rules};

/// How a folder is opened to be emptied.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What could not be removed, and why.
pub type Left = (String, io::Error);

/// Removes a folder and all that is in it, whoever has put it there.
///
/// # Errors
/// [`Left`]: the first thing that could not be removed; what else could is gone. A folder of
/// somebody else's, or one that others may write to, is left as it is.
pub fn remove_folder(path: &RealPath) -> Result<(), Left> {
    let left = |errno: Errno| (path.to_string(), errno.into());
    let folder = rustix::fs::open(path.as_str(), FOLDER, Mode::empty()).map_err(left)?;
    let stat = rustix::fs::fstat(&folder).map_err(left)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(denied(path, "it belongs to another user, or others may write to it"));
    }
    let removed = remove::remove(path, Rules { owners: None, progress: None, interrupts: None });
    first(removed.map_err(|fault| (path.to_string(), fault))?)
}

/// Removes a folder that was made for a user, in a folder that is ours alone: whatever its mode is by
/// now, it becomes ours first, so that nobody puts anything into it any more.
///
/// # Errors
/// As [`remove_folder`]. What is in it and is not the user's stays, and so does the folder then: they
/// may have moved there what they could not have removed.
pub fn remove_folder_of(path: &RealPath, uid: u32) -> Result<(), Left> {
    let left = |errno: Errno| (path.to_string(), errno.into());
    let own = rustix::process::geteuid();
    let parent = rustix::fs::open(path.parent().as_str(), FOLDER, Mode::empty()).map_err(left)?;
    let folder = rustix::fs::openat(&parent, path.name(), FOLDER, Mode::empty()).map_err(left)?;
    let stat = rustix::fs::fstat(&folder).map_err(left)?;
    if ![own.as_raw(), uid].contains(&stat.st_uid) {
        return Err(denied(path, "it belongs to another user"));
    }
    if own.is_root() {
        let root = (Some(Uid::ROOT), Some(Gid::ROOT));
        rustix::fs::fchown(&folder, root.0, root.1).map_err(left)?;
    }
    rustix::fs::fchmod(&folder, Mode::RWXU).map_err(left)?;
    let owners = [uid];
    let rules = Rules { owners: Some(&owners), progress: None, interrupts: None };
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).map_err(left)? {
        let name = entry.map_err(left)?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    let mut fault = Ok(());
    for name in names {
        let name = OsStr::from_bytes(name.as_bytes());
        let removed = remove::remove_in(folder.as_fd(), name, Path::new(path.as_str()), rules);
        fault = fault.and(first(removed));
    }
    fault?;
    rustix::fs::unlinkat(&parent, path.name(), AtFlags::REMOVEDIR).map_err(left)
}

fn denied(path: &RealPath, why: &str) -> Left {
    (path.to_string(), io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn first(removed: remove::Removed) -> Result<(), Left> {
    match removed.left.into_iter().next() {
        Some(left) => {
            let why = io::Error::other(left.why.to_string());
            Err((left.path.to_string_lossy().into_owned(), why))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_goes_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, inside) = (dir.path().join("outside"), dir.path().join("inside"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        fs::write(inside.join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("a/link")).unwrap();
        remove_folder(&RealPath::parse(inside.to_str().unwrap()).unwrap()).unwrap();
        assert!(!inside.exists());
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_left() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let path = RealPath::parse(dir.path().to_str().unwrap()).unwrap();
        assert!(remove_folder(&path).is_err());
        assert!(dir.path().exists());
    }

    #[test]
    fn what_a_user_opened_to_others_goes_and_what_is_not_theirs_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("runtime");
        let path = RealPath::parse(folder.to_str().unwrap()).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root { 4242 } else { rustix::process::geteuid().as_raw() };
        let theirs = |path: &Path| {
            if is_root {
                std::os::unix::fs::chown(path, Some(user), None).unwrap();
            }
        };
        fs::create_dir_all(folder.join("deep/deeper")).unwrap();
        for below in ["deep/deeper", "deep", ""] {
            theirs(&folder.join(below));
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        if is_root {
            // Moved there by the user, with the folder of root's that it is in.
            fs::create_dir(folder.join("moved")).unwrap();
            fs::write(folder.join("moved/precious"), "x").unwrap();
            let (left, why) = remove_folder_of(&path, user).unwrap_err();
            assert!(left.ends_with("/moved") && why.to_string().contains("uid 0"), "{left}: {why}");
            assert!(folder.join("moved/precious").exists() && !folder.join("deep").exists());
            let mode = fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            fs::remove_file(folder.join("moved/precious")).unwrap();
            fs::remove_dir(folder.join("moved")).unwrap();
        }
        remove_folder_of(&path, user).unwrap();
        assert!(!folder.exists());
    }
}
