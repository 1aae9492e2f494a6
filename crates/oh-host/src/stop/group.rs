//! Control groups (cgroups(7), version 2): one that has nothing but what is to end, such as an instance's
//! own, is ended by one write, which nothing that forks meanwhile escapes.
//!
//! What a group is called counts for nothing. It is opened once, what is in it and below it is listed
//! through that, and it is told to end through that; so none that is made by its name meanwhile is meant.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::folder::each_name;
use crate::process::{Pid, ProcessDir};

/// Where groups of version 2 are: alone, or beside those of version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// What such a file system says of itself (statfs(2)).
const GROUPS_MAGIC: u64 = 0x6367_7270;

/// How deep groups are gone into, and how many there may be: one with more is ended process by process.
const DEPTH_MAX: usize = 8;
const GROUPS_MAX: usize = 256;

/// How much of a list of processes is read, in bytes.
const LIST_BYTES_MAX: u64 = 1024 * 1024;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open group.
#[derive(Debug)]
pub(super) struct Group(OwnedFd);

impl Group {
    /// Opens the group that a process is in; `None` where it has none of its own to speak of, or nobody
    /// can tell.
    pub(super) fn of(process: &ProcessDir) -> Option<(String, Self)> {
        let groups = process.control_groups().ok()?;
        let path = below_the_mount(&groups)?.to_owned();
        let mounted = MOUNTS.iter().find_map(|mount| {
            let mount = rustix::fs::open(*mount, FOLDER, Mode::empty()).ok()?;
            let kind = rustix::fs::fstatfs(&mount).ok()?.f_type;
            (u64::try_from(kind) == Ok(GROUPS_MAGIC)).then_some(mount)
        });
        let open = rustix::fs::openat(mounted?, path.as_str(), FOLDER, Mode::empty()).ok()?;
        Some((path, Self(open)))
    }

    /// Lists all that is in it and below it; `None` where not all of it can be told.
    pub(super) fn members(&self) -> Option<Vec<Pid>> {
        let (mut all, mut count) = (Vec::new(), 0);
        list(self.0.as_fd(), 0, &mut count, &mut all)?;
        Some(all)
    }

    /// Has the kernel kill all of it; says whether it does. It does not before version 5.14, and for
    /// nobody who may not write to the group.
    pub(super) fn kill(&self) -> bool {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, "cgroup.kill", flags, Mode::empty());
        file.is_ok_and(|file| File::from(file).write_all(b"1").is_ok())
    }
}

/// Finds the group of version 2 in `/proc/PID/cgroup`; that of the whole machine is nobody's, and one
/// outside what we see of them is not ours to open.
fn below_the_mount(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_told = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_told.then_some(path)
}

fn list(group: BorrowedFd<'_>, depth: usize, count: &mut usize, all: &mut Vec<Pid>) -> Option<()> {
    *count += 1;
    if depth > DEPTH_MAX || *count > GROUPS_MAX {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(group, "cgroup.procs", flags, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(file).take(LIST_BYTES_MAX).read_to_string(&mut text).ok()?;
    if text.len() as u64 == LIST_BYTES_MAX {
        return None;
    }
    for line in text.lines() {
        // One of another namespace has no number here: 0.
        all.push(line.parse().ok().and_then(Pid::new)?);
    }
    let mut names = Vec::new();
    each_name(group, |name| {
        names.push(name.to_vec());
        true
    })
    .ok()?;
    for name in names {
        match rustix::fs::openat(group, name.as_slice(), FOLDER, Mode::empty()) {
            Ok(below) => list(below.as_fd(), depth + 1, count, all)?,
            // A file, or a group that is gone by now.
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT) => {}
            Err(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_of_its_own_below_what_we_see_is_one() {
        let of = |text| below_the_mount(text);
        assert_eq!(of("9:name=systemd:/x\n0::/a.slice/b.service\n"), Some("a.slice/b.service"));
        for none in ["", "4:memory:/x\n", "0::/\n", "0::/../x\n", "0::/a//b\n", "0::a\n"] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
