//! Removes a folder that is ours alone, or one user's: nobody else may write to it.
//!
//! [`crate::remove`] does it; here is the question whether it may be done, and one answer instead
//! of a list: what is mounted there, or does not go for another reason, is a fault.

use std::io;

use oh_model::path::RealPath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::remove::{self, Rules};

/// How a folder is looked at.
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What could not be removed, and why.
pub type Left = (String, io::Error);

/// Removes a folder and all that is in it.
///
/// # Errors
/// [`Left`]: the first thing that could not be removed; what else could is gone.
pub fn remove_folder(path: &RealPath) -> Result<(), Left> {
    remove_folder_of(path, rustix::process::geteuid().as_raw())
}

/// [`remove_folder`] for a folder that may be this user's too.
///
/// # Errors
/// As [`remove_folder`].
pub fn remove_folder_of(path: &RealPath, uid: u32) -> Result<(), Left> {
    let left = |errno: Errno| (path.to_string(), errno.into());
    let folder = rustix::fs::open(path.as_str(), FOLDER, Mode::empty()).map_err(left)?;
    let stat = rustix::fs::fstat(&folder).map_err(left)?;
    let owners = [rustix::process::geteuid().as_raw(), uid];
    if !owners.contains(&stat.st_uid) || stat.st_mode & 0o022 != 0 {
        let why = "it belongs to another user, or others may write to it";
        return Err((path.to_string(), io::Error::new(io::ErrorKind::PermissionDenied, why)));
    }
    let removed = remove::remove(path, Rules { owners: None, progress: None });
    let removed = removed.map_err(|fault| (path.to_string(), fault))?;
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
}
