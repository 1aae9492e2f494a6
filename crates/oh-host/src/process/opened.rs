//! What a process has open: whoever uses a file may not be deprived of it unasked.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::{ProcessDir, ProcessFault, each_name};

/// What a process has open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The paths, as the kernel tells them: what is no path (`socket:[123]`) is among them, and what is
    /// gone ends with ` (deleted)`.
    pub paths: Vec<Vec<u8>>,
    /// The devices (major and minor number) of what has a path that the kernel does not tell: it tells
    /// none of more than 4096 bytes, and anybody may make such a one. `None` is a device that it does not
    /// tell either.
    pub untold: BTreeSet<Option<(u32, u32)>>,
}

impl ProcessDir {
    /// Returns what the process works in, runs, and has open.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn opened(&self) -> Result<Opened, ProcessFault> {
        let fault = |errno: Errno| ProcessFault::of("list the files of", self.pid(), errno.into());
        let files = self.open_files()?;
        let mut opened = Opened::default();
        for link in [c"cwd", c"root", c"exe"] {
            // A thread of the kernel's has none, and what ends right now has none any more.
            opened.add(self.folder.as_fd(), link);
        }
        each_name(files.as_fd(), |name| {
            // A descriptor that was closed in between was never there.
            if let Ok(name) = CString::new(name) {
                opened.add(files.as_fd(), &name);
            }
            true
        })
        .map_err(fault)?;
        Ok(opened)
    }
}

impl Opened {
    fn add(&mut self, folder: BorrowedFd<'_>, link: &CStr) {
        match rustix::fs::readlinkat(folder, link, Vec::new()) {
            Ok(path) => self.paths.push(path.into_bytes()),
            Err(Errno::NAMETOOLONG) => {
                // Nothing is asked of its file system, which may be a stranger's.
                let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
                let stat = rustix::fs::statx(folder, link, flags, StatxFlags::empty());
                let device = stat.map(|stat| (stat.stx_dev_major, stat.stx_dev_minor));
                self.untold.insert(device.ok());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::process::Pid;

    #[test]
    fn what_a_process_has_open_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let open = std::fs::File::create(&file).unwrap();
        let mut command = Command::new("sleep");
        command.arg("60").current_dir(dir.path()).stdin(Stdio::from(open));
        let mut child = command.spawn().unwrap();
        let process = ProcessDir::open(Pid::new(child.id()).unwrap()).unwrap();
        let opened = process.opened().unwrap();
        assert_eq!(opened.untold, BTreeSet::new());
        for path in [dir.path(), &file] {
            let path = path.canonicalize().unwrap();
            assert!(opened.paths.iter().any(|one| one == path.as_os_str().as_bytes()), "{path:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.opened().unwrap_err().is_gone());
    }

    #[test]
    fn what_works_in_a_folder_whose_path_is_too_long_is_told_by_its_device() {
        let dir = tempfile::tempdir().unwrap();
        let mut open = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..30 {
            let name = "d".repeat(200);
            rustix::fs::mkdirat(&open, &*name, Mode::RWXU).unwrap();
            open = rustix::fs::openat(&open, &*name, OFlags::PATH, Mode::empty()).unwrap();
        }
        let path = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
        let mut child = Command::new("sleep").arg("60").current_dir(path).spawn().unwrap();
        let process = ProcessDir::open(Pid::new(child.id()).unwrap()).unwrap();
        let opened = process.opened().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let device = dir.path().metadata().unwrap().dev();
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        assert_eq!(opened.untold, [Some(device)].into());
        // What it has beside that is told all the same.
        assert!(opened.paths.contains(&b"/".to_vec()), "{opened:?}");
    }
}
