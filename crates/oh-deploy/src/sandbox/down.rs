//! Takes a sandbox down: stops what the record names, then removes the folder.

use std::path::Path;
use std::time::Duration;

use oh_host::stop::{self, How, Target};
use oh_host::{discard, instances};
use oh_model::exit::Exit;
use oh_term::{Answer, Failure, Progress};
use serde_json::json;

use super::facts::{orphaned_workers, part_token, still_running};
use super::fault::SandboxFault;
use super::parts::Part;
use super::record::{Home, Record};
use super::vanished;

/// How long a part has to end by itself.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Stops everything and removes the folder.
pub(crate) fn down(dir: &str) -> Result<Answer, Failure> {
    let progress = Progress::start();
    let down =
        if Path::new(dir).exists() { take_down(dir, &progress) } else { vanished::down(dir) };
    down.map_err(|fault| fault.failure(dir))
}

fn take_down(dir: &str, progress: &Progress) -> Result<Answer, SandboxFault> {
    let home = Home::existing(dir)?;
    // The folder of the locks is made only in what is a sandbox.
    let Some(record) = home.record()? else {
        return Err(SandboxFault::NotASandbox { dir: dir.into() });
    };
    let mut locks = home.locks()?;
    let held = home.take(&mut locks, "oh-deploy sandbox down")?;
    progress.doing("stop what runs");
    let stopped = stopped(&targets(&home, &record)?, GRACE)?;
    progress.done("stopped", &format!("{stopped} processes"));
    progress.doing("remove the folder");
    remove(&home)?;
    // Whoever waits for the lock finds no sandbox any more.
    drop(held);
    progress.done("removed", home.path.as_str());
    let human = format!("down: {stopped} processes stopped, {} removed\n", home.path);
    let result = json!({ "stopped": stopped, "removed": home.path.as_str() });
    Ok(Answer::new(human, result).exit(Exit::Ok))
}

/// Stops the targets, and returns how many processes that were.
pub(super) fn stopped(targets: &[Target], grace: Duration) -> Result<usize, SandboxFault> {
    let outcomes = stop::stop(targets, grace)?;
    let survivors: Vec<String> = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.how, How::Survived | How::Denied))
        .map(|outcome| format!("pid {}", outcome.pid))
        .collect();
    if !survivors.is_empty() {
        return Err(SandboxFault::Survivors(survivors.join(", ")));
    }
    Ok(outcomes.iter().filter(|outcome| matches!(outcome.how, How::Term | How::Kill)).count())
}

/// Removes the folder, the record last: a run that is killed on the way leaves a sandbox.
fn remove(home: &Home) -> Result<(), SandboxFault> {
    let fault = |(path, source)| SandboxFault::Remove { path, source };
    let cannot_look = |source| fault((home.path.to_string(), source));
    for entry in std::fs::read_dir(home.path.as_str()).map_err(cannot_look)? {
        let entry = entry.map_err(cannot_look)?;
        if entry.file_type().map_err(cannot_look)?.is_dir() {
            discard::remove_folder(&home.at(&entry.file_name().to_string_lossy())?)
                .map_err(fault)?;
        }
    }
    discard::remove_folder(&home.path).map_err(fault)
}

/// What is recorded, and what a run has started that was killed before it could write that down.
///
/// The editors are ended by their records: nothing of them is to be told to anybody any more, and a
/// configuration that somebody broke is in nobody's way.
fn targets(home: &Home, record: &Record) -> Result<Vec<Target>, SandboxFault> {
    let mut all = record.started.clone();
    if all.len() < Part::ALL.len() {
        for (part, identity) in still_running(home, record)? {
            all.entry(part).or_insert(identity);
        }
    }
    let target = |(part, identity)| Target {
        identity: Some(identity),
        token: Some(part_token(record, part)),
    };
    let workers = orphaned_workers(record)?.into_iter();
    let workers = workers.map(|identity| Target { identity: Some(identity), token: None });
    let mut targets = Vec::new();
    // Editors first: their supervisors would start them again.
    for instance in instances::records(&home.root)? {
        let instance = instance?;
        let state = instances::read_state(&home.root, &instance.id)?;
        targets.extend(instances::family(&instance, state));
    }
    targets.extend(all.into_iter().map(target).chain(workers));
    Ok(targets)
}
