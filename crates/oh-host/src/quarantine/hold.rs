//! Whether a quarantine could hold something, told without making anything.

use std::os::fd::AsFd as _;

use oh_model::path::{InRoot, RealPath};
use rustix::fs::{AtFlags, StatVfsMountFlags};

use super::{QUARANTINE_FOLDER, QuarantineFault, io, mount_point, stat};
use crate::root::Root;
use crate::way::{Way, WayFault};

/// Why things cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoHold {
    /// The mount of this path may only be read: that of the toolkit's own folder, or of the things.
    ReadOnly(RealPath),
    /// Their mount begins above the root, where nothing of ours may be.
    AboveRoot(RealPath),
}

/// Says why nothing at all can be written down or moved; `None` where it can, as far as can be told.
///
/// # Errors
/// [`QuarantineFault`] where nobody can tell.
pub fn no_state(root: &Root) -> Result<Option<NoHold>, QuarantineFault> {
    let (path, _, is_read_only) = existing(&root.real(&InRoot::parse(QUARANTINE_FOLDER)?)?)?;
    Ok(is_read_only.then_some(NoHold::ReadOnly(path)))
}

/// Says why the things in a folder cannot be moved; `None` where they can, as far as can be told.
///
/// # Errors
/// [`QuarantineFault`] where nobody can tell.
pub fn no_hold(root: &Root, folder: &RealPath) -> Result<Option<NoHold>, QuarantineFault> {
    let (path, mount, is_read_only) = existing(folder)?;
    if is_read_only {
        return Ok(Some(NoHold::ReadOnly(path)));
    }
    let (_, of_state, _) = existing(&root.real(&InRoot::parse(QUARANTINE_FOLDER)?)?)?;
    if mount == of_state || root.inside(&mount_point(mount)?).is_some() {
        return Ok(None);
    }
    Ok(Some(NoHold::AboveRoot(folder.clone())))
}

/// The folder, or the nearest one above it that is there, with its mount and whether that may only be
/// read.
fn existing(folder: &RealPath) -> Result<(RealPath, u64, bool), QuarantineFault> {
    let mut here = folder.clone();
    let way = loop {
        match Way::to(&here) {
            Err(WayFault::NoFolder { .. }) if here.as_str() != "/" => here = here.parent(),
            way => break way?,
        }
    };
    let open = way.open()?;
    let cause = |errno| io("look at", &here, errno);
    let seen = stat(open.as_fd(), c"", AtFlags::EMPTY_PATH).map_err(cause)?;
    let disk = rustix::fs::fstatvfs(&open).map_err(cause)?;
    Ok((here, seen.stx_mnt_id, disk.f_flag.contains(StatVfsMountFlags::RDONLY)))
}
