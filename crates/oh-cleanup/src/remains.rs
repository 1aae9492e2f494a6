//! What is left of runs that no journal knows: folders in the quarantine of the toolkit's own folder, and
//! copies of databases beside the journals.
//!
//! They are known by their names alone, in folders that are ours alone. What is no name of ours is
//! nobody's remains.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use oh_host::atomic::{self, FileFault};
use oh_host::folder::each_name;
use oh_host::journal::{self, JOURNALS_FOLDER, JournalFault};
use oh_host::quarantine::{self, QUARANTINE_FOLDER};
use oh_host::root::Root;
use oh_host::survey::survey;
use oh_host::way::WayFault;
use oh_model::path::{InRoot, RealPath};
use oh_model::run::RunId;
use oh_term::text::{bytes, several};

use crate::fault::Fault;
use crate::journal::TOOL;

/// What is left of a run.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The copies of databases.
    pub(crate) copies: Vec<RealPath>,
    /// Whether it has a folder in the quarantine that has something in it.
    pub(crate) has_folder: bool,
    /// How much room all of it has, in bytes.
    pub(crate) bytes: u64,
}

impl Remains {
    /// Says what it is, for people.
    pub(crate) fn shown(&self) -> String {
        let copies = match self.copies.len() {
            0 => None,
            count => Some(format!("{} of databases", several(count, "copy"))),
        };
        let folder = self.has_folder.then(|| "what it moved away".to_owned());
        let all: Vec<String> = folder.into_iter().chain(copies).collect();
        format!("{}, {}", all.join(" and "), bytes(self.bytes))
    }
}

/// How the copy of a database is named that a step of a run made.
pub(crate) fn copy_name(run: &RunId, step: usize, file: &str) -> String {
    format!("{TOOL}-{run}.{step}.{file}")
}

/// Reads the run out of the name of a copy.
fn run_of_copy(name: &str) -> Option<RunId> {
    let (run, rest) = name.strip_prefix(TOOL)?.strip_prefix('-')?.split_once('.')?;
    let (step, file) = rest.split_once('.')?;
    let is_step = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    RunId::parse(run).ok().filter(|_| is_step && !file.is_empty())
}

/// Finds what no journal knows.
pub(crate) fn find(root: &Root) -> Result<BTreeMap<RunId, Remains>, Fault> {
    let known = || journal::runs(root, TOOL).map_err(Fault::Runs);
    let mut runs: BTreeSet<RunId> = known()?.into_iter().collect();
    let mut found = all(root)?;
    // A run that began meanwhile had its journal first.
    runs.extend(known()?);
    found.retain(|run, _| !runs.contains(run));
    Ok(found)
}

/// Removes the copies of a run; returns how many these were, and how much room they had, in bytes.
pub(crate) fn remove_copies(root: &Root, run: &RunId) -> Result<(u64, u64), Fault> {
    let mut all = BTreeMap::new();
    copies(root, &mut all)?;
    let remains = all.remove(run).unwrap_or_default();
    for path in &remains.copies {
        atomic::remove_file(path).map_err(Fault::Copy)?;
    }
    Ok((remains.copies.len() as u64, remains.bytes))
}

/// Removes the folder of a run in the quarantine where nothing is in it any more.
pub(crate) fn close(root: &Root, run: &RunId) {
    let folder = InRoot::parse(QUARANTINE_FOLDER).and_then(|path| root.real(&path));
    // One that has no path is not there.
    if let Ok(folder) = folder.and_then(|folder| folder.join(&run.to_string())) {
        quarantine::close(&folder);
    }
}

fn all(root: &Root) -> Result<BTreeMap<RunId, Remains>, Fault> {
    let mut all = BTreeMap::new();
    copies(root, &mut all)?;
    each(root, QUARANTINE_FOLDER, |folder, name| {
        let Ok(run) = RunId::parse(name) else { return };
        // One that cannot be looked at is named all the same.
        let survey = survey(folder.as_fd(), name.as_bytes()).unwrap_or_default();
        // A folder that was emptied has no room to speak of.
        if !survey.is_whole || survey.entries > 1 {
            let remains: &mut Remains = all.entry(run).or_default();
            remains.has_folder = true;
            remains.bytes = remains.bytes.saturating_add(survey.bytes);
        }
    })?;
    Ok(all)
}

fn copies(root: &Root, all: &mut BTreeMap<RunId, Remains>) -> Result<(), Fault> {
    let path = root.real(&InRoot::parse(JOURNALS_FOLDER)?)?;
    each(root, JOURNALS_FOLDER, |_, name| {
        let (Some(run), Ok(copy)) = (run_of_copy(name), path.join(name)) else { return };
        let meta = std::fs::symlink_metadata(copy.as_str());
        let Some(meta) = meta.ok().filter(std::fs::Metadata::is_file) else { return };
        let remains = all.entry(run).or_default();
        remains.copies.push(copy);
        remains.bytes = remains.bytes.saturating_add(meta.len());
    })
}

/// Goes through the names in a folder of ours; where there is none, there are none.
fn each(
    root: &Root,
    folder: &str,
    mut take: impl FnMut(&std::os::fd::OwnedFd, &str),
) -> Result<(), Fault> {
    let path = root.real(&InRoot::parse(folder)?)?;
    let open = match atomic::own_folder(&path) {
        Err(FileFault::Way(WayFault::NoFolder { .. })) => return Ok(()),
        open => open.map_err(|fault| Fault::Runs(JournalFault::Folder(fault)))?,
    };
    let each = each_name(open.as_fd(), |name| {
        take(&open, core::str::from_utf8(name).unwrap_or_default());
        true
    });
    each.map_err(|errno| {
        let (doing, path) = ("look beside", path.to_string());
        Fault::Runs(JournalFault::Io { doing, path, source: errno.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_copy_says_whose_it_is() {
        let run = RunId::parse("20261120T030211Z-2").unwrap();
        let name = copy_name(&run, 12, "vscode-ports.json");
        assert_eq!(name, "cleanup-20261120T030211Z-2.12.vscode-ports.json");
        assert_eq!(run_of_copy(&name), Some(run));
        for other in [
            "cleanup-20261120T030211Z.jsonl",
            "cleanup-20261120T030211Z.x.vscode-ports.json",
            "cleanup-20261120T030211Z..vscode-ports.json",
            "cleanup-20261120T030211Z.1.",
            "cleanup-notes.1.json",
            "adopt-20261120T030211Z.1.vscode-ports.json",
        ] {
            assert_eq!(run_of_copy(other), None, "{other}");
        }
    }
}
