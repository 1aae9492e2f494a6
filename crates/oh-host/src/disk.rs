//! Whether a disk is full: the reason of many a failure, and seldom the one that is told.
//!
//! A program that cannot write its log cannot say why it ended. What can be known afterwards is
//! what it could still say, and how much is left on the disk now.

use oh_model::path::RealPath;
use rustix::process::geteuid;
use thiserror::Error;

/// With less than this the disk counts as full, in bytes: programs write more than that at once.
const FREE_BYTES_MIN: u64 = 256 * 1024;

/// How programs say that the disk is full: strerror(3) of ENOSPC and EDQUOT, and Node's code.
const SAID: [&str; 3] = ["No space left on device", "Disk quota exceeded", "ENOSPC"];

/// Says that a disk is full, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiskFull {
    /// There is next to nothing left now.
    #[error(
        "no space left on the disk of {path} (ENOSPC): {free_kib} KiB and {files} files are free"
    )]
    Now {
        /// The folder.
        path: String,
        /// How much whoever runs may still write, in KiB.
        free_kib: u64,
        /// How many files may still be made.
        files: u64,
    },
    /// A program said so.
    #[error("no space left on the disk of {path} (ENOSPC), as its log says")]
    Said {
        /// The folder.
        path: String,
    },
}

/// Says whether the disk of a folder is full, by what a program said and by what is left.
///
/// `None` where there is space, and where that cannot be told.
pub fn full(folder: &RealPath, said: &str) -> Option<DiskFull> {
    let path = folder.to_string();
    if SAID.iter().any(|words| said.contains(words)) {
        return Some(DiskFull::Said { path });
    }
    let disk = rustix::fs::statvfs(folder.as_str()).ok()?;
    // What is kept back is root's to use.
    let (blocks, files) = if geteuid().is_root() {
        (disk.f_bfree, disk.f_ffree)
    } else {
        (disk.f_bavail, disk.f_favail)
    };
    let free = blocks.saturating_mul(disk.f_frsize);
    // Some file systems count no files, and then there are none in all.
    let is_full = free < FREE_BYTES_MIN || (disk.f_files > 0 && files == 0);
    is_full.then_some(DiskFull::Now { path, free_kib: free / 1024, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_counts() {
        let here = RealPath::parse("/").unwrap();
        let said = "nginx: [emerg] mkdir() \"/x\" failed (28: No space left on device)";
        assert_eq!(full(&here, said), Some(DiskFull::Said { path: "/".into() }));
        assert_eq!(
            full(&here, "ENOSPC: write").unwrap().to_string(),
            "no space left on the disk of / (ENOSPC), as its log says"
        );
    }

    #[test]
    fn a_file_system_without_space_is_full() {
        // Of its nature it has neither blocks nor files to give.
        let proc = RealPath::parse("/proc").unwrap();
        let found = full(&proc, "").unwrap();
        assert!(found.to_string().contains("(ENOSPC): 0 KiB and 0 files are free"), "{found}");
        assert_eq!(full(&RealPath::parse("/absent").unwrap(), ""), None);
    }
}
