//! What files said, for as long as they do not change.
//!
//! A watch looks at the same thousand files again and again. A file is the same while device,
//! inode, size, time of writing and time of change are: the last one is the kernel's and nobody
//! sets it. Two writings within one tick of the kernel's clock have one time; so a file is kept
//! only when its last change was some time ago. What this cannot see is a file that its owner
//! writes through a memory mapping; so a watch forgets everything at each full rescan.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use rustix::fs::Stat;
use rustix::time::{ClockId, clock_gettime};

use super::{FileFacts, number, state};

/// How long ago the last change of a file has to be, in nanoseconds: far more than a tick.
const SETTLED_NS: i128 = 1_000_000_000;

/// What the files of one folder said.
#[derive(Debug, Default)]
pub struct Memory {
    /// From the time before.
    known: HashMap<OsString, FileFacts>,
    /// From this time.
    kept: HashMap<OsString, FileFacts>,
    stamps: HashMap<OsString, Stamp>,
}

type Stamp = (u64, u64, (i128, i128, i128));

impl Memory {
    /// Returns what the file said, if it is the same.
    pub(super) fn recall(&mut self, name: &OsStr, stat: &Stat) -> Option<FileFacts> {
        if self.stamps.get(name) != Some(&stamp(stat)) {
            return None;
        }
        let facts = self.known.remove(name)?;
        self.kept.insert(name.to_owned(), facts.clone());
        Some(facts)
    }

    /// Keeps what a file said, if it has settled.
    pub(super) fn keep(&mut self, name: &OsStr, stat: &Stat, facts: &FileFacts) {
        let now = clock_gettime(ClockId::Realtime);
        let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
        let (_, _, changed) = state(stat);
        if now - changed >= SETTLED_NS {
            self.stamps.insert(name.to_owned(), stamp(stat));
            self.kept.insert(name.to_owned(), facts.clone());
        }
    }

    /// Forgets the files that were not met, and is ready for the next time.
    pub(super) fn turned(mut self) -> Self {
        self.stamps.retain(|name, _| self.kept.contains_key(name));
        Self { known: self.kept, kept: HashMap::new(), stamps: self.stamps }
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let number = number(stat);
    (number.device, number.inode, state(stat))
}
