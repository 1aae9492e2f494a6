//! Everything that publishing leaves on a machine, by name: for whoever has to take it back.

use oh_model::path::RealPath;

use super::facts::{Hook, hook, hook_text};
use super::wrapper::MAIN_COPY;
use super::{Host, PublishFault, facts, site, staging};
use crate::atomic::FileFault;

/// How the name of a copy for a test begins.
const COPY_PREFIX: &str = ".test-";

/// Names the files of ours that are there, in the order in which they are to go: the hook first,
/// so that nginx never reads half of us. A login's users are not among them, and neither is what
/// somebody else wrote.
///
/// # Errors
/// [`PublishFault`] where it cannot be told.
pub fn traces(host: &Host) -> Result<Vec<RealPath>, PublishFault> {
    let paths = facts::Paths::of(host)?;
    let mut found = Vec::new();
    // The text is of no interest; that nginx can name the folder was so when it was written.
    if hook_text(&paths.live).is_ok() && matches!(hook(&paths)?, Hook::Ours | Hook::Outdated(_)) {
        found.push(paths.hook.clone());
    }
    let names = [staging::LIVE, staging::PREVIOUS, staging::STAGED, staging::KEEPING];
    for name in names {
        found.push(site::below(&paths.folder, name)?);
    }
    for name in copies(&paths.folder)? {
        found.push(site::below(&paths.folder, &name)?);
    }
    found.push(site::below(&paths.config.parent(), MAIN_COPY)?);
    found.retain(|path| std::fs::symlink_metadata(path.as_str()).is_ok());
    Ok(found)
}

fn copies(folder: &RealPath) -> Result<Vec<String>, FileFault> {
    let entries = match std::fs::read_dir(folder.as_str()) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(FileFault::Io { doing: "list", path: folder.to_string(), source });
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(COPY_PREFIX) && name.ends_with(".conf")).collect();
    names.sort_unstable();
    Ok(names)
}
