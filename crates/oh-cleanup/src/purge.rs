//! Removes for good what runs moved away.

use jiff::Timestamp;
use oh_host::journal::{self, Journal};
use oh_host::lock::{Locks, Share};
use oh_host::publish::Host;
use oh_host::quarantine;
use oh_host::remove::{Removed, Rules};
use oh_model::exit::Exit;
use oh_model::path::RealPath;
use oh_model::run::RunId;
use oh_term::text::{bytes, several};
use oh_term::{Answer, Common, Failure, Progress};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use crate::apply::PURPOSE;
use crate::clean::{Context, LOCK_WAIT, context};
use crate::cli::PurgeArguments;
use crate::evidence;
use crate::fault::Fault;
use crate::journal::{Line, Run, TOOL, Undo};
use crate::runs::{held, ids};

/// Purges, or says what would be removed.
pub(crate) fn purge(asked: &PurgeArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    if asked.dry_run {
        let runs = chosen(&host, asked).map_err(Failure::of)?;
        return Ok(would(&runs).notes(warnings));
    }
    let mut locks =
        Locks::open(&host.root, None).map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    // Beside starts, and not beside another cleanup or undo.
    let world = locks.world(Share::Exclusive, PURPOSE, LOCK_WAIT);
    let _world = world.map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    // Behind the lock: a run that is at work is no run to purge.
    let runs = chosen(&host, asked).map_err(Failure::of)?;
    let progress = Progress::start();
    let mut told = Vec::new();
    for run in &runs {
        progress.doing(format!("purge {}", run.id));
        told.push((run, purge_one(&host, run).map_err(Failure::of)?));
    }
    Ok(answer(&told).notes(warnings))
}

fn chosen(host: &Host, asked: &PurgeArguments) -> Result<Vec<Run>, Fault> {
    let ids: Vec<RunId> = match asked.older_than {
        None => asked.runs.iter().map(|name| RunId::parse(name)).collect::<Result<_, _>>()?,
        Some(age) => {
            let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
            let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
            let before = before.strftime("%Y%m%dT%H%M%SZ").to_string();
            ids(host)?.into_iter().filter(|id| id.to_string() < before).collect()
        }
    };
    ids.iter().map(|id| Ok(Run::read(&host.root, id)?)).collect()
}

fn purge_one(host: &Host, run: &Run) -> Result<Removed, Fault> {
    let mut journal = Journal::reopen(&host.root, TOOL, &run.id)?;
    let count = AtomicU64::new(0);
    let mut all = Removed::default();
    let mut folders: BTreeSet<RealPath> = BTreeSet::new();
    for (step, undo) in run.undoable() {
        match undo {
            Undo::Nothing => continue,
            // It was not removed, and is only not started any more.
            Undo::Stopped { .. } => {}
            Undo::Moved { thing, place } => {
                let rules = Rules { owners: None, progress: Some(&count) };
                let removed = quarantine::purge(thing, place, rules)?;
                folders.insert(place.folder.clone());
                let is_gone = removed.left_count == 0;
                all.add(removed);
                if !is_gone {
                    continue;
                }
            }
            Undo::Copied { copy, .. } => {
                // One that is gone is as it is to be.
                drop(std::fs::remove_file(copy.as_str()));
            }
        }
        journal.note(&Line::Purged { step })?;
    }
    folders.iter().for_each(quarantine::close);
    if all.left_count == 0 {
        // Before the journal: what has none is found by nobody.
        if let Some(bytes) = evidence::remove(&host.root, &run.id)? {
            all.files += 1;
            all.bytes += bytes;
        }
        journal::forget(&host.root, TOOL, &run.id)?;
    }
    Ok(all)
}

fn would(runs: &[Run]) -> Answer {
    let line = |run: &Run| {
        let (things, room) = held(run);
        format!("would remove {} of {} ({})\n", several(things, "thing"), run.id, bytes(room))
    };
    let human =
        if runs.is_empty() { "nothing to do\n".into() } else { runs.iter().map(line).collect() };
    let all: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
    Answer::new(human, json!({ "dry_run": true, "runs": all }))
}

fn answer(told: &[(&Run, Removed)]) -> Answer {
    let mut human = String::new();
    let mut rows: Vec<Value> = Vec::new();
    for (run, removed) in told {
        let count = removed.files + removed.folders;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        human.push_str(&format!(
            "purged    {}: {}, {} freed\n",
            run.id,
            several(count, "name"),
            bytes(removed.bytes)
        ));
        for left in &removed.left {
            let path = oh_term::text::escaped(&left.path.to_string_lossy());
            human.push_str(&format!("stays     {path}: {}\n", left.why));
        }
        rows.push(json!({
            "run": run.id.to_string(),
            "files": removed.files,
            "folders": removed.folders,
            "bytes": removed.bytes,
            "left": removed.left_count,
        }));
    }
    if told.is_empty() {
        human.push_str("nothing to do\n");
    }
    let is_whole = told.iter().all(|(_, removed)| removed.left_count == 0);
    let answer = Answer::new(human, json!({ "runs": rows }));
    answer.exit(if is_whole { Exit::Ok } else { Exit::No })
}
