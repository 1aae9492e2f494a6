//! Who holds locks of files, by the kernel's table (`proc_locks(5)`), read once for any number of files.
//!
//! Nobody writes into that table but by taking a lock. Locks of other pid namespaces are not in it, and
//! the process is the one that took the lock: what it started may hold it on when it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::process::Pid;

/// Where the kernel tells it.
const LOCKS: &str = "/proc/locks";

/// Who holds locks of which files at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileLocks(BTreeMap<((u32, u32), u64), BTreeSet<Pid>>);

impl FileLocks {
    /// Reads the kernel's table once.
    ///
    /// # Errors
    /// The system's.
    pub fn look() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(LOCKS)?))
    }

    /// Returns the processes that took locks of a file, by the major and minor number of its device and
    /// its inode; none where the file system numbers its files in its own way.
    pub fn of(&self, device: (u32, u32), inode: u64) -> impl Iterator<Item = Pid> {
        self.0.get(&(device, inode)).into_iter().flatten().copied()
    }

    fn parse(table: &str) -> Self {
        let mut locks: BTreeMap<((u32, u32), u64), BTreeSet<Pid>> = BTreeMap::new();
        for line in table.lines() {
            // `1: FLOCK  ADVISORY  WRITE 123 08:01:456 0 EOF`; who waits for one has a `->` before it.
            let mut fields = line.split_ascii_whitespace().skip(1);
            if fields.next() == Some("->") {
                continue;
            }
            let (pid, file) = (fields.nth(2), fields.next().unwrap_or_default());
            let mut numbers = file.splitn(3, ':');
            let device = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
            let (major, minor) = (device(numbers.next()), device(numbers.next()));
            let inode = numbers.next().and_then(|inode| inode.parse().ok());
            let pid = pid.and_then(|pid| Pid::new(pid.parse().ok()?));
            if let (Some(major), Some(minor), Some(inode), Some(pid)) = (major, minor, inode, pid) {
                locks.entry(((major, minor), inode)).or_default().insert(pid);
            }
        }
        Self(locks)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = "1: FLOCK  ADVISORY  WRITE 123 08:1f:456 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 124 08:1f:456 0 EOF\n\
            2: FLOCK  ADVISORY  READ  0 08:1f:456 0 EOF\n\
            3: OFDLCK ADVISORY  READ  -1 08:1f:457 0 EOF\n\
            4: POSIX  ADVISORY  READ  125 08:1f:456 0 EOF\ntorn";
        let locks = FileLocks::parse(table);
        let of = |inode| locks.of((8, 0x1f), inode).map(Pid::get).collect::<Vec<u32>>();
        assert_eq!(of(456), [123, 125]);
        assert_eq!(of(457), [] as [u32; 0]);
    }

    #[test]
    fn who_holds_a_lock_is_found() {
        let file = tempfile::tempfile().unwrap();
        let stat = file.metadata().unwrap();
        let device = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
        let of = || FileLocks::look().unwrap().of(device, stat.ino()).collect::<Vec<Pid>>();
        assert_eq!(of(), []);
        file.lock().unwrap();
        assert_eq!(of(), [Pid::own()]);
    }
}
