//! Removes for good what runs moved away.
//!
//! What goes is shown and asked for, and nothing but that goes. That a thing is being removed is written
//! down first: what is half gone is never put back as if it were whole.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use oh_host::journal::{self, Journal};
use oh_host::lock::Share;
use oh_host::publish::Host;
use oh_host::quarantine;
use oh_host::remove::{Left, Removed, Rules, Why};
use oh_host::signals::Interrupts;
use oh_host::users::Users;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use oh_model::run::RunId;
use oh_term::text::{bytes, several};
use oh_term::{Answer, Common, Failure, Progress, consent};
use serde_json::{Value, json};

use crate::apply::{PURPOSE, chain};
use crate::clean::{Context, context};
use crate::cli::PurgeArguments;
use crate::evidence;
use crate::facts::owners;
use crate::fault::Fault;
use crate::interrupt::{self, From};
use crate::journal::{Line, Run, TOOL, Undo};
use crate::limit;
use crate::remains;
use crate::runs::{held, ids};
use crate::waits::{self, LOCK_WAIT};

mod lost;

/// What is asked to go: runs, and those of which nobody can tell what they moved.
struct Chosen {
    runs: Vec<Run>,
    unread: Vec<(RunId, String)>,
    /// Those of which nobody can tell, that go all the same: they were asked for by their names.
    lost: Vec<(RunId, String)>,
}

/// What became of a run.
struct Told {
    run: RunId,
    removed: Removed,
    /// Whether it has done more since it was shown, of which nothing is removed.
    is_more: bool,
}

/// Purges, or says what would be removed.
pub(crate) fn purge(asked: &PurgeArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let is_by_room = asked.runs.is_empty() && asked.older_than.is_none();
    if is_by_room && host.settings.cleanup.quarantine_max_mib.is_none() {
        return Err(Failure::of(Fault::NoRunNamed));
    }
    let chosen = choose(&host, asked).map_err(Failure::of)?;
    if asked.dry_run || (chosen.runs.is_empty() && chosen.lost.is_empty()) {
        let would = would(&chosen, asked.dry_run).notes(warnings);
        let hints = if is_by_room { by_name().into() } else { Vec::new() };
        return Ok(hints.into_iter().fold(would, Answer::hint));
    }
    consent(&shown(&chosen), asked.yes)?;
    let progress = Progress::start();
    let interrupts = interrupt::listen(&progress, From::Anywhere)?;
    let mut locks = waits::locks(&host.root, &progress)?;
    // Beside starts, and not beside another cleanup or undo.
    let world = locks.world(Share::Exclusive, PURPOSE, asked.wait.unwrap_or(LOCK_WAIT));
    let _world = world.map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    let work = Work { host: &host, progress: &progress, interrupts: &interrupts };
    let held_back = interrupts.hold();
    let mut told = Vec::new();
    for shown in &chosen.runs {
        if interrupts.is_asked() {
            let removed = Removed { is_cut: true, ..Removed::default() };
            told.push(Told { run: shown.id.clone(), removed, is_more: false });
            continue;
        }
        // Behind the lock: another command may have taken it back or purged it meanwhile.
        let done = match Run::read(&host.root, &shown.id) {
            Err(journal::JournalFault::Unknown(_)) => continue,
            Err(fault) => Err(Fault::Journal(fault)),
            Ok(now) => work.one(shown, &now, asked.others),
        };
        // What is wrong with one run keeps no other's room.
        told.push(done.unwrap_or_else(|fault| Told {
            run: shown.id.clone(),
            removed: stays(format!("the run {}", shown.id), &fault),
            is_more: false,
        }));
    }
    for (run, _) in &chosen.lost {
        if interrupts.is_asked() {
            let removed = Removed { is_cut: true, ..Removed::default() };
            told.push(Told { run: run.clone(), removed, is_more: false });
            continue;
        }
        told.extend(lost::remove(&host, run, asked.others, &interrupts));
    }
    held_back.answered();
    Ok(answer(&chosen, &told).notes(warnings))
}

fn choose(host: &Host, asked: &PurgeArguments) -> Result<Chosen, Fault> {
    let before = asked.older_than.map(|age| {
        let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
        let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
        before.strftime("%Y%m%dT%H%M%SZ").to_string()
    });
    // Runs are named by the second: one of this very second is as old as can be told.
    let is_old = |id: &RunId| {
        let is_before = |before: &String| id.to_string().get(..before.len()) <= Some(before);
        before.as_ref().is_none_or(is_before)
    };
    let ids: Vec<RunId> = match before {
        None if asked.runs.is_empty() => limit::beyond(host)?,
        None => asked.runs.iter().map(|name| RunId::parse(name)).collect::<Result<_, _>>()?,
        Some(_) => ids(host)?.into_iter().filter(is_old).collect(),
    };
    let mut chosen = Chosen { runs: Vec::new(), unread: Vec::new(), lost: Vec::new() };
    let remains = remains::find(&host.root)?;
    if asked.runs.is_empty() {
        for (id, left) in remains.iter().filter(|(id, _)| is_old(id)) {
            // What a run moved away may be the only one of its kind; a copy of a database that no
            // journal knows can never come back.
            let to = if left.has_folder { &mut chosen.unread } else { &mut chosen.lost };
            to.push((id.clone(), lost::gone(left)));
        }
    }
    for id in ids {
        match Run::read(&host.root, &id) {
            Ok(run) => chosen.runs.push(run),
            Err(fault @ journal::JournalFault::Unknown(_)) if !asked.runs.is_empty() => {
                let Some(left) = remains.get(&id) else { return Err(fault.into()) };
                chosen.lost.push((id, lost::gone(left)));
            }
            Err(fault) if !asked.runs.is_empty() => {
                chosen.lost.push((id, format!("its journal cannot be read: {}", chain(&fault))));
            }
            // One that cannot be read keeps no other's room.
            Err(fault) => chosen.unread.push((id, chain(&fault))),
        }
    }
    Ok(chosen)
}

/// What removing works with.
pub(crate) struct Work<'w> {
    pub(crate) host: &'w Host,
    pub(crate) progress: &'w Progress,
    pub(crate) interrupts: &'w Interrupts,
}

impl Work<'_> {
    /// Removes what was shown of a run and is still there, and the run itself where nothing of it is left.
    fn one(&self, shown: &Run, now: &Run, others: bool) -> Result<Told, Fault> {
        let steps: BTreeSet<usize> = shown.held().into_iter().map(|(step, _)| step).collect();
        let removed = self.things(now, &steps, others)?;
        let is_more = !now.held().iter().all(|(step, _)| steps.contains(step));
        let mut told = Told { run: now.id.clone(), removed, is_more };
        if told.removed.is_whole() && !is_more {
            // Before the journal: what has none is found by nobody.
            if let Some(bytes) = evidence::remove(&self.host.root, &now.id)? {
                told.removed.files += 1;
                told.removed.bytes += bytes;
            }
            // What was taken back has copies too.
            let (copies, bytes) = remains::remove_copies(&self.host.root, &now.id)?;
            told.removed.files += copies;
            told.removed.bytes += bytes;
            remains::close(&self.host.root, &now.id);
            journal::forget(&self.host.root, TOOL, &now.id)?;
        }
        Ok(told)
    }

    /// Removes what these steps of a run moved away and copied.
    pub(crate) fn things(
        &self,
        run: &Run,
        steps: &BTreeSet<usize>,
        others: bool,
    ) -> Result<Removed, Fault> {
        let mut journal = Journal::reopen(&self.host.root, TOOL, &run.id)?;
        let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
        let owners: Vec<u32> = owners(self.host, &users).uids().collect();
        let (count, mut all) = (AtomicU64::new(0), Removed::default());
        let mut folders: BTreeSet<RealPath> = BTreeSet::new();
        let what = format!("remove what {} moved", run.id);
        self.progress.counting(&what, "names", &count, || -> Result<(), Fault> {
            for (step, undo) in run.held() {
                if !steps.contains(&step) {
                    continue;
                }
                if self.interrupts.is_asked() {
                    all.is_cut = true;
                    break;
                }
                journal.note(&Line::Purging { step })?;
                match undo {
                    // A container was not removed, and is only not started any more.
                    Undo::Nothing | Undo::Wanted(_) | Undo::Stopped { .. } => {}
                    Undo::Moved { thing, place } => {
                        let mut mine = owners.clone();
                        mine.push(thing.uid);
                        let owners = (!others).then_some(mine.as_slice());
                        let interrupts = Some(self.interrupts);
                        let rules = Rules { owners, progress: Some(&count), interrupts };
                        let removed = quarantine::purge(thing, place, rules);
                        let removed = removed.unwrap_or_else(|fault| {
                            stays(format!("{}/{}", place.folder, place.number), &fault)
                        });
                        folders.insert(place.folder.clone());
                        let is_gone = removed.is_whole();
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
            Ok(())
        })?;
        folders.iter().for_each(quarantine::close);
        Ok(all)
    }
}

/// What a fault leaves: all of it.
fn stays(path: String, fault: &dyn core::error::Error) -> Removed {
    let why = Why::System(io::Error::other(chain(fault)));
    let left = vec![Left { path: path.into(), why }];
    Removed { left, left_count: 1, ..Removed::default() }
}

/// What would be removed, for whoever is asked.
fn shown(chosen: &Chosen) -> String {
    let line = |run: &Run| {
        let (things, room) = held(run);
        format!(
            "would remove {} of {} for good ({})\n",
            several(things, "thing"),
            run.id,
            bytes(room)
        )
    };
    let lost = chosen.lost.iter().map(|(run, why)| lost::shown(run, why));
    chosen.runs.iter().map(line).chain(lost).chain(unread(chosen)).collect()
}

fn unread(chosen: &Chosen) -> impl Iterator<Item = String> {
    chosen.unread.iter().map(|(run, why)| format!("not seen  {run}: {why}\n"))
}

fn would(chosen: &Chosen, is_dry: bool) -> Answer {
    let human = match (chosen.runs.is_empty(), chosen.unread.is_empty()) {
        (true, true) if chosen.lost.is_empty() => "nothing to do\n".into(),
        _ => shown(chosen),
    };
    let lost = chosen.lost.iter().map(|(run, _)| run.to_string());
    let all: Vec<String> = chosen.runs.iter().map(|run| run.id.to_string()).chain(lost).collect();
    let result = json!({ "dry_run": is_dry, "runs": all, "not_seen": not_seen(chosen) });
    Answer::new(human, result).exit(exit(chosen))
}

/// How runs are purged that are not beyond the limit.
pub(crate) fn by_name() -> [Hint; 2] {
    let all = Command::ours("oh-cleanup", &["purge", "--older-than", "7d"]);
    [
        Hint::run("see them", Command::ours("oh-cleanup", &["runs"])),
        Hint::run("those of before this week", all),
    ]
}

fn not_seen(chosen: &Chosen) -> Vec<Value> {
    let row = |(run, why): &(RunId, String)| json!({ "subject": run.to_string(), "reason": why });
    chosen.unread.iter().map(row).collect()
}

fn exit(chosen: &Chosen) -> Exit {
    if chosen.unread.is_empty() { Exit::Ok } else { Exit::CouldNotLook }
}

/// Says what a removal left, line by line.
pub(crate) fn left(removed: &Removed) -> String {
    let line = |left: &Left| {
        let path = oh_term::text::escaped(&left.path.to_string_lossy());
        format!("stays     {path}: {}\n", left.why)
    };
    removed.left.iter().map(line).collect()
}

/// How many names are gone.
pub(crate) fn names(removed: &Removed) -> String {
    several(usize::try_from(removed.files + removed.folders).unwrap_or(usize::MAX), "name")
}

fn answer(chosen: &Chosen, told: &[Told]) -> Answer {
    let mut human = String::new();
    let mut rows: Vec<Value> = Vec::new();
    for Told { run, removed, is_more } in told {
        let (names, freed) = (names(removed), bytes(removed.bytes));
        let is_part = *is_more || !removed.is_whole();
        let head = if is_part { "in part" } else { "purged" };
        human.push_str(&format!("{head:<10}{run}: {names}, {freed} freed\n"));
        if removed.is_cut {
            human.push_str("          interrupted: the rest of it goes by the same purge again\n");
        }
        if *is_more {
            human.push_str("          it has done more since it was shown: look again\n");
        }
        human.push_str(&left(removed));
        rows.push(json!({
            "run": run.to_string(),
            "files": removed.files,
            "folders": removed.folders,
            "bytes": removed.bytes,
            "left": removed.left_count,
            "is_interrupted": removed.is_cut,
        }));
    }
    human.extend(unread(chosen));
    if human.is_empty() {
        human.push_str("nothing to do\n");
    }
    let is_whole = told.iter().all(|told| told.removed.left_count == 0 && !told.is_more);
    let is_interrupted = told.iter().any(|told| told.removed.is_cut);
    let is_others = told.iter().flat_map(|told| &told.removed.left);
    let is_others = is_others.into_iter().any(|left| matches!(left.why, Why::Owner(_)));
    let exit = match (is_interrupted, is_whole) {
        (true, _) => Exit::Interrupted,
        (false, false) => Exit::No,
        (false, true) => exit(chosen),
    };
    let result = json!({ "dry_run": false, "runs": rows, "not_seen": not_seen(chosen) });
    let answer = Answer::new(human, result).exit(exit);
    if !is_others {
        return answer;
    }
    let runs: Vec<String> = told.iter().map(|told| told.run.to_string()).collect();
    let mut words = vec!["purge", "--others"];
    words.extend(runs.iter().map(String::as_str));
    answer.hint(Hint::run("remove what is others' too", Command::ours("oh-cleanup", &words)))
}
