//! What a process has open: whoever uses a file may not be deprived of it unasked.

use std::os::fd::AsFd as _;

use rustix::io::Errno;

use super::{ProcessDir, ProcessFault, each_name};

impl ProcessDir {
    /// Returns the paths of what the process works in, runs, and has open, as the kernel tells them:
    /// what is no path (`socket:[123]`) is among them, and what is gone ends with ` (deleted)`.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn opened(&self) -> Result<Vec<Vec<u8>>, ProcessFault> {
        let fault = |errno: Errno| ProcessFault::of("list the files of", self.pid(), errno.into());
        let files = self.open_files()?;
        let mut paths = Vec::new();
        for link in ["cwd", "root", "exe"] {
            // A thread of the kernel's has none, and what ends right now has none any more.
            let read = rustix::fs::readlinkat(&self.folder, link, Vec::new());
            paths.extend(read.ok().map(std::ffi::CString::into_bytes));
        }
        each_name(files.as_fd(), |name| {
            // A descriptor that was closed in between was never there.
            let read = rustix::fs::readlinkat(&files, name, Vec::new());
            paths.extend(read.ok().map(std::ffi::CString::into_bytes));
            true
        })
        .map_err(fault)?;
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::{Command, Stdio};

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
        for path in [dir.path(), &file] {
            let path = path.canonicalize().unwrap();
            assert!(opened.iter().any(|one| one == path.as_os_str().as_bytes()), "{path:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.opened().unwrap_err().is_gone());
    }
}
