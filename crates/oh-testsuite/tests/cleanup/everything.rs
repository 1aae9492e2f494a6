//! All that a file system says of a tree, so that two looks can be compared.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{lgetxattr, llistxattr};

/// How long names and values of extended attributes may be, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 4096;

/// Lists a tree: for each name its number, kind and mode, owner, size, time of the last change, links,
/// device, extended attributes, and what is in it or where it leads; not when it was read.
pub(crate) fn everything(path: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    add(path, path, &mut lines)?;
    lines.sort();
    Ok(lines)
}

fn add(top: &Path, path: &Path, lines: &mut Vec<String>) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let below = path.strip_prefix(top)?.as_os_str().as_bytes().escape_ascii().to_string();
    let (mode, uid, gid, links) = (meta.mode(), meta.uid(), meta.gid(), meta.nlink());
    // The folder itself changes with what comes and goes.
    let is_within = path != top;
    let time = if is_within { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
    let links = if meta.is_dir() { 0 } else { links };
    let mut line =
        format!("{below} {} {mode:o} {uid}:{gid} {time:?} {links} {:x}", meta.ino(), meta.rdev());
    let mut names = vec![0; ATTRIBUTES_BYTES_MAX];
    let length = llistxattr(path, &mut names[..])?;
    let mut names: Vec<&[u8]> =
        names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let length = lgetxattr(path, name, &mut value[..])?;
        write!(line, " {}={}", name.escape_ascii(), value[..length].escape_ascii())?;
    }
    if meta.is_symlink() {
        let target = fs::read_link(path)?;
        write!(line, " -> {}", target.as_os_str().as_bytes().escape_ascii())?;
    } else if meta.is_file() {
        write!(line, " {}", fs::read(path)?.escape_ascii())?;
    }
    lines.push(line);
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            add(top, &entry?.path(), lines)?;
        }
    }
    Ok(())
}
