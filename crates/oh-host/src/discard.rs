//! Removes a folder that is ours alone, or one user's: nobody else may write to it.
//!
//! It is simple on purpose. It never follows a link, never leaves the file system, and stops at the
//! first thing that is not as expected; whoever owns the folder can exchange things in it
//! meanwhile, and loses by it only what they have put there. Folders that others can write to are the business of `oh-cleanup`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How deep a folder may be.
const DEPTH_MAX: usize = 512;

/// How a folder is opened to be emptied.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What could not be removed, and why.
pub type Left = (String, io::Error);

/// Removes a folder and all that is in it.
///
/// # Errors
/// [`Left`]: the first thing that could not be removed; what came before it is gone.
pub fn remove_folder(path: &RealPath) -> Result<(), Left> {
    remove_folder_of(path, rustix::process::geteuid().as_raw())
}

/// [`remove_folder`] for a folder that may be this user's too.
///
/// # Errors
/// As [`remove_folder`].
pub fn remove_folder_of(path: &RealPath, uid: u32) -> Result<(), Left> {
    let left = |errno: Errno| (path.to_string(), errno.into());
    let parent = rustix::fs::open(path.parent().as_str(), FOLDER, Mode::empty()).map_err(left)?;
    let folder = rustix::fs::openat(&parent, path.name(), FOLDER, Mode::empty()).map_err(left)?;
    let stat = rustix::fs::fstat(&folder).map_err(left)?;
    let own = rustix::process::geteuid().as_raw();
    if ![own, uid].contains(&stat.st_uid) || stat.st_mode & 0o022 != 0 {
        let why = "it belongs to another user, or others may write to it";
        return Err((path.to_string(), io::Error::new(io::ErrorKind::PermissionDenied, why)));
    }
    empty(&folder, path.as_str(), stat.st_dev, 0)?;
    rustix::fs::unlinkat(&parent, path.name(), AtFlags::REMOVEDIR).map_err(left)
}

/// Removes everything in an open folder.
fn empty(folder: &OwnedFd, path: &str, device: u64, depth: usize) -> Result<(), Left> {
    let left = |errno: Errno| (path.to_string(), io::Error::from(errno));
    if depth >= DEPTH_MAX {
        return Err((path.into(), io::Error::other("it is too deep")));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(left)? {
        let entry = entry.map_err(left)?;
        let name = entry.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        let shown = format!("{path}/{}", name.to_string_lossy());
        let left = |errno: Errno| (shown.clone(), io::Error::from(errno));
        let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(left)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            remove(folder.as_fd(), &name, AtFlags::empty()).map_err(left)?;
            continue;
        }
        if stat.st_dev != device {
            return Err((shown, io::Error::other("another file system is mounted there")));
        }
        let below = rustix::fs::openat(folder, &name, FOLDER, Mode::empty()).map_err(left)?;
        empty(&below, &shown, device, depth + 1)?;
        remove(folder.as_fd(), &name, AtFlags::REMOVEDIR).map_err(left)?;
    }
    Ok(())
}

/// Removes one name; a name that went by itself is removed too.
fn remove(folder: BorrowedFd<'_>, name: &std::ffi::CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
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
}
