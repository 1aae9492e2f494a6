//! One thread's way through a tree: down into each folder, and back when it is empty.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use super::{FOLDER, Removed, Rules, Why, count, os, unlink};

/// How many folders of the way are open at once.
const OPEN_MAX: usize = 64;

/// How often a folder is read again that others fill while it is emptied.
const PASSES_MAX: u32 = 4;

/// How much is read of a folder at once, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;

/// The unit of `stx_blocks`, in bytes (statx(2)).
const BLOCK_BYTES: u64 = 512;

/// A folder on the way.
struct Frame {
    /// `None` where it was closed to have room for those below it.
    folder: Option<OwnedFd>,
    /// Its file system, number and mount, to know it again.
    identity: Identity,
    /// How much room it had before it was emptied, in bytes.
    bytes: u64,
    /// Its name in the folder above.
    name: CString,
    /// The folders in it that are still to be removed.
    folders: Vec<CString>,
    /// What in it stays.
    stay: BTreeSet<CString>,
    passes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Identity {
    fn of(stat: &Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
        }
    }
}

pub(super) struct Walk<'w> {
    /// The folder that it all is in.
    parent: BorrowedFd<'w>,
    /// What the folder is called that is being looked at: at first that one.
    here: PathBuf,
    rules: Rules<'w>,
    removed: Removed,
    names: Names,
}

impl<'w> Walk<'w> {
    pub(super) fn new(parent: BorrowedFd<'w>, shown: &Path, rules: Rules<'w>) -> Self {
        let (here, names) = (shown.into(), Names::default());
        Self { parent, here, rules, removed: Removed::default(), names }
    }

    pub(super) fn finish(self) -> Removed {
        self.removed
    }

    /// Says whether a signal came; nothing more is removed then.
    fn is_cut(&mut self) -> bool {
        self.removed.is_cut |= self.rules.is_interrupted();
        self.removed.is_cut
    }

    /// Removes a folder, or what has taken its place.
    pub(super) fn remove(&mut self, name: &CStr) {
        let mut way: Vec<Frame> = Vec::new();
        way.extend(self.descend(self.parent, name));
        while let Some(frame) = way.last_mut() {
            if self.is_cut() {
                return;
            }
            let Some(next) = frame.folders.pop() else {
                self.ascend(&mut way);
                continue;
            };
            // The last of the way is open always.
            let Some(folder) = &frame.folder else { return };
            match self.descend(folder.as_fd(), &next) {
                Some(below) => way.push(below),
                // It is gone, or stays and was told.
                None if is_there(folder.as_fd(), &next) => drop(frame.stay.insert(next)),
                None => {}
            }
            // The first of them needs no finding, and the others are found from below.
            if let Some(far) = way.len().checked_sub(OPEN_MAX).filter(|far| *far > 0)
                && let Some(frame) = way.get_mut(far)
            {
                frame.folder = None;
            }
        }
    }

    /// Goes down into a folder that may be removed, and removes all in it but folders.
    fn descend(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Option<Frame> {
        let (folder, stat) = self.enter_at(parent, name)?;
        self.here.push(os(name));
        let (folders, stay) = self.flatten(folder.as_fd());
        let (identity, bytes) = (Identity::of(&stat), stat.stx_blocks * BLOCK_BYTES);
        let (folder, name) = (Some(folder), name.into());
        Some(Frame { folder, identity, bytes, name, folders, stay, passes: 1 })
    }

    /// Goes back from a folder in which nothing more is to be done, and removes it where nothing
    /// stays in it.
    fn ascend(&mut self, way: &mut Vec<Frame>) {
        let Some(mut frame) = way.pop() else { return };
        let Some(folder) = frame.folder.take() else { return };
        if let Some(above) = way.last_mut()
            && above.folder.is_none()
        {
            above.folder = back(folder.as_fd(), above.identity);
            if above.folder.is_none() {
                self.removed.leave(self.here.clone(), Why::Moved);
                // What is above it was left by it, and cannot be looked at any more.
                way.clear();
                return;
            }
        }
        let above = way.last().and_then(|above| above.folder.as_ref());
        let parent = above.map_or(self.parent, |folder| folder.as_fd());
        if frame.stay.is_empty() {
            match unlink(parent, &frame.name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.removed.folders += 1;
                    self.removed.bytes += frame.bytes;
                    count(self.rules.progress);
                    self.here.pop();
                    return;
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) if frame.passes < PASSES_MAX => {
                    (frame.folders, frame.stay) = self.flatten(folder.as_fd());
                    frame.passes += 1;
                    way.push(Frame { folder: Some(folder), ..frame });
                    return;
                }
                Err(errno) => self.removed.leave(self.here.clone(), why(errno)),
            }
        }
        self.here.pop();
        if let Some(above) = way.last_mut() {
            above.stay.insert(frame.name);
        }
    }

    /// Goes down into a folder that may be removed; removes what is none.
    pub(super) fn enter(&mut self, name: &CStr) -> Option<OwnedFd> {
        let (folder, _) = self.enter_at(self.parent, name)?;
        self.here.push(os(name));
        Some(folder)
    }

    /// The same, and it stays here.
    fn enter_at(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Option<(OwnedFd, Statx)> {
        let entered = self.look_and_open(parent, name);
        match entered {
            Ok(entered) => entered,
            Err(why) => {
                self.removed.leave(self.here.join(os(name)), why);
                None
            }
        }
    }

    fn look_and_open(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Option<(OwnedFd, Statx)>, Why> {
        if self.is_cut() {
            return Ok(None);
        }
        let looked = match look(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(looked) => looked,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(why(errno)),
        };
        if !is_folder(&looked) {
            return self.remove_file(parent, name, &looked).map(|()| None);
        }
        // Before it is opened: a file system that hangs would have us wait.
        let here = look(parent, c"", AtFlags::EMPTY_PATH).map_err(why)?;
        if here.stx_mnt_id != looked.stx_mnt_id {
            return Err(Why::Mount);
        }
        if self.rules.spare(looked.stx_uid) {
            return Err(Why::Owner(looked.stx_uid));
        }
        let folder = match rustix::fs::openat(parent, name, FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(Why::Grows),
            Err(errno) => return Err(why(errno)),
        };
        let stat = look(folder.as_fd(), c"", AtFlags::EMPTY_PATH).map_err(why)?;
        // What was exchanged meanwhile was not looked at.
        if Identity::of(&stat) == Identity::of(&looked) {
            Ok(Some((folder, stat)))
        } else {
            Err(Why::Grows)
        }
    }

    /// Removes all but the folders of the open folder that is here; returns these, and what stays.
    pub(super) fn flatten(&mut self, folder: BorrowedFd<'_>) -> (Vec<CString>, BTreeSet<CString>) {
        let (mut folders, mut stay) = (Vec::new(), BTreeSet::new());
        let mut names = std::mem::take(&mut self.names);
        let read = self.flatten_with(folder, &mut names, &mut folders, &mut stay);
        self.names = names;
        if let Err(errno) = read {
            self.removed.leave(self.here.clone(), why(errno));
            stay.insert(c".".into());
        }
        (folders, stay)
    }

    fn flatten_with(
        &mut self,
        folder: BorrowedFd<'_>,
        names: &mut Names,
        folders: &mut Vec<CString>,
        stay: &mut BTreeSet<CString>,
    ) -> Result<(), Errno> {
        names.read(folder)?;
        for (kind, name) in names.each() {
            if self.is_cut() {
                break;
            }
            if kind == FileType::Directory {
                folders.push(name.to_owned());
                continue;
            }
            let removed = match look(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_folder(&stat) => {
                    folders.push(name.to_owned());
                    Ok(())
                }
                Ok(stat) => self.remove_file(folder, name, &stat),
                Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(why(errno)),
            };
            if let Err(why) = removed {
                self.removed.leave(self.here.join(os(name)), why);
                stay.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// Removes what is no folder.
    fn remove_file(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stat: &Statx,
    ) -> Result<(), Why> {
        if self.rules.spare(stat.stx_uid) {
            return Err(Why::Owner(stat.stx_uid));
        }
        unlink(folder, name, AtFlags::empty()).map_err(why)?;
        self.removed.files += 1;
        if stat.stx_nlink == 1 {
            self.removed.bytes += stat.stx_blocks * BLOCK_BYTES;
        }
        count(self.rules.progress);
        Ok(())
    }

    /// Removes a folder that was emptied before, and what others have put into it since.
    pub(super) fn remove_again(&mut self, folder: BorrowedFd<'_>, name: &CStr) {
        // It has to be the same one: what was never looked at is not removed.
        let known = look(folder, c"", AtFlags::EMPTY_PATH);
        let now = look(self.parent, name, AtFlags::SYMLINK_NOFOLLOW);
        match (known, now) {
            (Ok(known), Ok(now)) if Identity::of(&known) == Identity::of(&now) => {
                self.remove(name);
            }
            (_, Err(Errno::NOENT)) => {}
            _ => self.removed.leave(self.here.join(os(name)), Why::Moved),
        }
    }
}

/// The names in a folder, all of them before the first is removed: others who put names in as fast as
/// they are removed would else be followed for ever.
#[derive(Default)]
struct Names {
    /// One behind the other, each with its NUL.
    bytes: Vec<u8>,
    /// Where each ends, and what it was when it was read.
    ends: Vec<(usize, FileType)>,
}

impl Names {
    fn read(&mut self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        self.bytes.clear();
        self.ends.clear();
        // By a descriptor of its own, from the first entry on.
        let reader = rustix::fs::openat(folder, c".", FOLDER, Mode::empty())?;
        let mut buffer = Box::new_uninit_slice(BUFFER_BYTES);
        let mut entries = RawDir::new(&reader, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.bytes.extend_from_slice(name.to_bytes_with_nul());
                self.ends.push((self.bytes.len(), entry.file_type()));
            }
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = (FileType, &CStr)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        begins.zip(&self.ends).filter_map(|(begin, (end, kind))| {
            let name = CStr::from_bytes_with_nul(self.bytes.get(begin..*end)?).ok()?;
            Some((*kind, name))
        })
    }
}

/// Opens the folder above again from the one below, where it is the very one that was left.
fn back(below: BorrowedFd<'_>, identity: Identity) -> Option<OwnedFd> {
    let folder = rustix::fs::openat(below, c"..", FOLDER, Mode::empty()).ok()?;
    let stat = look(folder.as_fd(), c"", AtFlags::EMPTY_PATH).ok()?;
    (Identity::of(&stat) == identity).then_some(folder)
}

fn look(folder: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Statx, Errno> {
    let wanted = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);
    rustix::fs::statx(folder, name, flags | AtFlags::NO_AUTOMOUNT, wanted)
}

fn is_folder(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

fn is_there(folder: BorrowedFd<'_>, name: &CStr) -> bool {
    !matches!(look(folder, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}

fn why(errno: Errno) -> Why {
    match errno {
        // unlink(2): it is used as a mount point.
        Errno::BUSY => Why::Mount,
        Errno::NOTEMPTY | Errno::EXIST => Why::Grows,
        errno => Why::System(errno.into()),
    }
}
