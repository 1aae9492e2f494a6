//! Who calls the old generator: cron tables, units of systemd, scripts. They are told about and
//! never changed, because what they call goes on working.

use oh_host::atomic;
use oh_host::publish::real;
use oh_host::root::Root;
use oh_model::path::{InRoot, RealPath};
use oh_nginx_conf::inspect::Place;

use super::fault::AdoptFault;

/// Where callers are looked for, and how many folders deep.
const FOLDERS: &[(&str, usize)] = &[
    ("/etc/cron.d", 0),
    ("/etc/cron.hourly", 0),
    ("/etc/cron.daily", 0),
    ("/etc/cron.weekly", 0),
    ("/etc/cron.monthly", 0),
    ("/etc/systemd/system", 1),
    ("/etc/incron.d", 0),
    ("/etc/sudoers.d", 0),
    ("/usr/local/bin", 0),
    ("/usr/local/sbin", 0),
    ("/usr/local/lib/systemd/system", 1),
    ("/var/spool/cron", 1),
];

/// Single files beside them.
const FILES: &[&str] = &["/etc/crontab", "/etc/rc.local"];

/// The largest file that is searched, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The most files of one folder that are searched.
const FILES_MAX: usize = 4096;

/// Finds the lines that name one of the scripts; a script that names itself is no caller.
///
/// # Errors
/// [`AdoptFault::Path`].
pub(super) fn find(root: &Root, scripts: &[&str]) -> Result<Vec<Place>, AdoptFault> {
    let names: Vec<&str> =
        scripts.iter().filter_map(|path| path.rsplit_once('/').map(|(_, name)| name)).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for file in FILES {
        files.push(at(root, file)?);
    }
    for (folder, depth) in FOLDERS {
        files.extend(files_in(root, folder, *depth)?);
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !scripts.contains(&file.as_str())) {
        // What we may not read we cannot tell of; it is not changed in any case.
        let Ok(Some(bytes)) = atomic::read_limited(file, FILE_BYTES_MAX) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().enumerate().filter(|(_, line)| {
            !line.trim_start().starts_with('#') && names.iter().any(|name| line.contains(name))
        });
        found.extend(lines.map(|(index, _)| Place { path: file.to_string(), line: index + 1 }));
    }
    Ok(found)
}

/// Lists the files of a folder and of the folders in it, sorted, without following links to
/// folders; none where there is no folder.
///
/// # Errors
/// [`AdoptFault::Path`].
pub(super) fn files_in(
    root: &Root,
    folder: &str,
    depth: usize,
) -> Result<Vec<RealPath>, AdoptFault> {
    let mut found = Vec::new();
    list(&at(root, folder)?, depth, &mut found);
    found.sort_unstable();
    Ok(found)
}

fn list(folder: &RealPath, depth: usize, found: &mut Vec<RealPath>) {
    // A folder that is missing or closed to us has no caller that we could name.
    let Ok(entries) = std::fs::read_dir(folder.as_str()) else { return };
    for entry in entries.take(FILES_MAX).flatten() {
        let name = entry.file_name();
        let Some(path) = name.to_str().and_then(|name| folder.join(name).ok()) else { continue };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => list(&path, depth - 1, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

fn at(root: &Root, path: &str) -> Result<RealPath, AdoptFault> {
    let inside = InRoot::parse(path);
    let inside = inside.map_err(|source| AdoptFault::Path { path: path.into(), source })?;
    Ok(real(root, &inside)?)
}
