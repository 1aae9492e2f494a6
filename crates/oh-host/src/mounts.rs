//! What is mounted where, as the kernel tells it once for all (`proc_pid_mountinfo(5)`): no folder is
//! walked and nothing that is mounted is asked, because what somebody mounted may never answer.
//!
//! The paths are those of this process's mount namespace, without a link in them; compare them with what
//! the kernel calls an open folder ([`shown_by_kernel`]), and not with what people call it.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// Where the kernel tells it.
pub const MOUNTS: &str = "/proc/self/mountinfo";

/// What is mounted where at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The numbers of the mounts, by where they are.
    points: BTreeMap<Vec<u8>, u64>,
}

impl Mounts {
    /// Reads the kernel's table once.
    ///
    /// # Errors
    /// The system's.
    pub fn read() -> io::Result<Self> {
        // As bytes: anybody may mount something where the path is no text.
        Ok(Self::parse(&std::fs::read(MOUNTS)?))
    }

    fn parse(table: &[u8]) -> Self {
        let point = |line: &[u8]| {
            // Number, number of the parent, device, root, where it is, ….
            let mut fields = line.split(|byte| *byte == b' ');
            let number = core::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            Some((octal(fields.nth(3)?), number))
        };
        Self { points: table.split(|byte| *byte == b'\n').filter_map(point).collect() }
    }

    /// Returns where a mount is, by its number.
    pub fn point_of(&self, number: u64) -> Option<&[u8]> {
        self.points.iter().find(|(_, it)| **it == number).map(|(point, _)| point.as_slice())
    }

    /// Returns where something is mounted on this very path or below it.
    pub fn at_or_below(&self, path: &[u8]) -> Option<&[u8]> {
        if let Some((point, _)) = self.points.get_key_value(path) {
            return Some(point);
        }
        let below = [path, b"/"].concat();
        let from = (Bound::Included(below.as_slice()), Bound::Unbounded);
        let (point, _) = self.points.range::<[u8], _>(from).next()?;
        point.starts_with(&below).then_some(point)
    }
}

/// Returns the user who mounted what an open folder (`O_PATH` is enough) is the top of, where that is a
/// file system that a program of theirs answers for (FUSE), and they are neither root nor whoever runs.
/// Nothing is asked of it: it may never answer.
pub fn answered_by(folder: BorrowedFd<'_>) -> Option<u32> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = number_and_top(folder, c"", flags).ok()?;
    let (number, true) = stat else { return None };
    let table = std::fs::read(MOUNTS).ok()?;
    let user = user_of(&table, number)?;
    (![0, rustix::process::geteuid().as_raw()].contains(&user)).then_some(user)
}

/// Returns the number of the mount that a name in a folder leads to, and whether it is the top of it, by
/// what the kernel knows without asking a file system for anything.
///
/// # Errors
/// The system's.
pub(crate) fn number_and_top(
    folder: BorrowedFd<'_>,
    name: &CStr,
    flags: AtFlags,
) -> Result<(u64, bool), Errno> {
    let flags = flags | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(folder, name, flags, StatxFlags::empty())?;
    let is_top = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((stat.stx_mnt_id, is_top))
}

/// The user of a mount whose file system a program answers for.
fn user_of(table: &[u8], number: u64) -> Option<u32> {
    let number = number.to_string();
    let is_it = |line: &&[u8]| line.split(|byte| *byte == b' ').next() == Some(number.as_bytes());
    let line = table.split(|byte| *byte == b'\n').find(is_it)?;
    // Optional fields, `-`, the type of the file system, its source, its options: blanks in them are
    // written as `\040`.
    let mut fields = line.split(|byte| *byte == b' ').skip_while(|field| *field != b"-").skip(1);
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    if !kind.starts_with(b"fuse") {
        return None;
    }
    let of =
        |option: &[u8]| core::str::from_utf8(option.strip_prefix(b"user_id=")?).ok()?.parse().ok();
    options.split(|byte| *byte == b',').find_map(of)
}

/// Returns what the kernel calls an open folder: its path without a link in it, as it is now.
///
/// # Errors
/// The system's.
pub fn shown_by_kernel(folder: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Reads the blanks and backslashes of a path in the table: `\040`.
fn octal(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let digits = (*first == b'\\').then(|| behind.get(..3)).flatten();
        let digits = digits.and_then(|digits| core::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                plain.push(code);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/vda rw\n\
        22 21 0:5 / /tmp/a\\040b\\134c rw shared:1 - tmpfs none rw\n\
        23 21 0:6 / /tmp/a-c rw - tmpfs none rw\n\
        24 21 0:7 / /tmp/a/deep/er rw - tmpfs none rw\n\
        25 21 0:8 / /tmp/\xff rw - tmpfs none rw\n\
        torn";

    #[test]
    fn what_is_mounted_on_a_path_or_below_it_is_found() {
        let mounts = Mounts::parse(TABLE);
        for (path, point) in [
            (b"/tmp/a".as_slice(), Some(b"/tmp/a/deep/er".as_slice())),
            (b"/tmp/a/deep/er", Some(b"/tmp/a/deep/er")),
            (b"/tmp/a/deep/e", None),
            (b"/tmp/a-c", Some(b"/tmp/a-c")),
            (b"/tmp/a-", None),
            (b"/tmp/a b\\c", Some(b"/tmp/a b\\c")),
            (b"/tmp/\xff", Some(b"/tmp/\xff")),
            (b"/tmp", Some(b"/tmp/a b\\c")),
            (b"/home", None),
        ] {
            let shown = String::from_utf8_lossy(path);
            assert_eq!(mounts.at_or_below(path), point, "{shown}");
        }
        assert_eq!(mounts.point_of(24), Some(b"/tmp/a/deep/er".as_slice()));
        assert_eq!(mounts.point_of(26), None);
    }

    #[test]
    fn whose_program_answers_for_a_mount_is_read() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/vda rw,user_id=7\n\
            31 21 0:9 / /tmp/a\\040-\\040b rw,nosuid shared:1 master:2 - fuse.sshfs a:/ rw,user_id=1001,group_id=7\n\
            32 21 0:9 / /tmp/b rw - fuseblk /dev/vdb rw,user_id=0,allow_other\n\
            3 21 0:9 / /tmp/c rw - fuse none rw,user_id=9\n";
        for (number, user) in [(21, None), (31, Some(1001)), (32, Some(0)), (3, Some(9)), (4, None)]
        {
            assert_eq!(user_of(table, number), user, "{number}");
        }
    }

    #[test]
    fn a_path_of_the_table_is_read() {
        assert_eq!(octal(b"/mnt/a\\040b\\134c"), b"/mnt/a b\\c");
        for plain in [b"/plain".as_slice(), b"/a\\9", b"/a\\", b"/a\\07"] {
            assert_eq!(octal(plain), plain);
        }
    }

    #[test]
    fn this_machine_has_a_mount_at_its_top() {
        assert_eq!(Mounts::read().unwrap().at_or_below(b"/proc"), Some(b"/proc".as_slice()));
    }
}
