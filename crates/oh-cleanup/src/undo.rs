//! Takes a run back, last step first: what it moved comes back to where it was, and databases get back
//! what was taken out of them, unless somebody has written there since.

use oh_host::atomic;
use oh_host::containers::{self, Turned};
use oh_host::databases::{self, DATABASE_BYTES_MAX, Restored};
use oh_host::entry::digest;
use oh_host::inputs;
use oh_host::instances::{self, Wanted};
use oh_host::journal::Journal;
use oh_host::lock::{Held, Locks, Share, World};
use oh_host::publish::{self, Host};
use oh_host::quarantine::{self, Back, Place, Thing};
use oh_model::databases::{Document as _, PortDocument, RepositoriesDocument};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::path::{InRoot, RealPath};
use oh_model::run::RunId;
use oh_term::{Answer, Common, Failure};
use serde_json::{Value, json};

use crate::apply::{PURPOSE, chain};
use crate::clean::{Context, LOCK_WAIT, context};
use crate::fault::Fault;
use crate::journal::{Line, Run, TOOL, Undo};
use crate::unread;

mod nginx;

/// What became of a step that was to be taken back.
struct Told {
    subject: String,
    /// What was done, or why nothing was.
    outcome: Result<&'static str, String>,
}

/// Takes a run back, or says what would come back.
pub(crate) fn undo(run: Option<&str>, is_dry: bool, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    if is_dry {
        let run = find(&host, run).map_err(Failure::of)?;
        return Ok(would(&run, &undoable(&run)?).notes(warnings));
    }
    let mut locks =
        Locks::open(&host.root, None).map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    let world = locks.world(Share::Exclusive, PURPOSE, LOCK_WAIT);
    let mut world = world.map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    // Behind the lock: a run that is at work has not written all of it.
    let run = find(&host, run).map_err(Failure::of)?;
    let undoable = undoable(&run)?;
    let journal = Journal::reopen(&host.root, TOOL, &run.id);
    let mut journal = journal.map_err(|fault| Failure::of(Fault::Journal(fault)))?;
    let mut told = nginx::bring_back(&host, &run, &mut journal, &mut world).map_err(Failure::of)?;
    let of_nginx: Vec<usize> =
        unread::undoable(&host, &run).into_iter().map(|(step, ..)| step).collect();
    for (step, undo) in undoable.into_iter().filter(|(step, _)| !of_nginx.contains(step)) {
        let outcome = take_back(&host, &undo, &mut world);
        if outcome.is_ok() {
            // Where it cannot be written down, the next undo finds that it is back.
            drop(journal.note(&Line::Undone { step }));
        }
        told.push(Told { subject: subject(&undo), outcome });
    }
    told.extend(half_gone(&run));
    let wanted = want_again(&host, &run, &mut journal, &mut told);
    let published = match publish::traces(&host) {
        Ok(traces) if !traces.is_empty() => {
            publish::publish_within(&mut world, &host, PURPOSE).err()
        }
        _ => None,
    };
    Ok(answer(&run, &told, &wanted, published.map(|fault| chain(&fault))).notes(warnings))
}

/// What can be taken back, the last first.
fn undoable(run: &Run) -> Result<Vec<(usize, Undo)>, Failure> {
    let all: Vec<(usize, Undo)> =
        run.undoable().into_iter().rev().map(|(step, undo)| (step, undo.clone())).collect();
    let is_none = all.is_empty() && run.wanted().is_empty();
    if is_none { Err(Failure::of(Fault::NothingToUndo(run.id.clone()))) } else { Ok(all) }
}

/// What somebody had begun to remove for good: it is not the whole thing any more.
fn half_gone(run: &Run) -> impl Iterator<Item = Told> {
    let purging = run.purging();
    run.held().into_iter().filter(move |(step, _)| purging.contains(step)).map(|(_, undo)| {
        let why = match undo {
            Undo::Moved { place, .. } => format!(
                "a purge of it was begun; what is left of it is {}/{}",
                place.folder, place.number
            ),
            _ => "a purge of it was begun".into(),
        };
        Told { subject: subject(undo), outcome: Err(why) }
    })
}

/// Finds a run: the one that is named, or the last one that can be taken back.
fn find(host: &Host, name: Option<&str>) -> Result<Run, Fault> {
    if let Some(name) = name {
        return Ok(Run::read(&host.root, &RunId::parse(name)?)?);
    }
    let runs = oh_host::journal::runs(&host.root, TOOL)?;
    for id in runs.iter().rev() {
        // Which run is the last one that can be taken back, nobody knows where one cannot be read.
        let run = Run::read(&host.root, id).map_err(|fault| Fault::Unread(id.clone(), fault))?;
        if !run.undoable().is_empty() || !run.wanted().is_empty() {
            return Ok(run);
        }
    }
    Err(Fault::NoRun)
}

fn put_back(thing: &Thing, place: &Place) -> Result<&'static str, String> {
    let back = quarantine::put_back(thing, place).map_err(|fault| chain(&fault))?;
    match back {
        Back::Moved => Ok("back"),
        Back::Already => Ok("was there"),
        Back::Missing => Err("it is neither in the quarantine nor where it was".into()),
        Back::Unrecognised => {
            Err(format!("{}/{} is not what was moved there", place.folder, place.number))
        }
        Back::Occupied => Err(format!(
            "something new has its name; it is kept as {}/{}",
            place.folder, place.number
        )),
        Back::AnotherFolder => Err(format!(
            "the folder that it was in is another one; it is kept as {}/{}",
            place.folder, place.number
        )),
    }
}

fn subject(undo: &Undo) -> String {
    match undo {
        Undo::Nothing | Undo::Wanted(_) => String::new(),
        Undo::Moved { thing, .. } => thing.shown(),
        Undo::Stopped { container, .. } => format!("the container {}", container.name.as_str()),
        Undo::Copied { path, .. } => path.to_string(),
    }
}

fn take_back(
    host: &Host,
    undo: &Undo,
    world: &mut Held<'_, World>,
) -> Result<&'static str, String> {
    match undo {
        // What was wanted is wanted again behind all that comes back.
        Undo::Nothing | Undo::Wanted(_) => Ok("nothing to do"),
        Undo::Moved { thing, place } => {
            let back = put_back(thing, place);
            quarantine::close(&place.folder);
            back
        }
        Undo::Stopped { engine, container } => {
            match containers::start(*engine, container).map_err(|fault| chain(&fault))? {
                Turned::Done => Ok("started"),
                Turned::Already => Ok("runs"),
                Turned::Gone => Err(format!("{engine} has none with its number and name any more")),
            }
        }
        Undo::Copied { path, copy, sha256, written } => {
            restore(host, path, (copy, sha256), written, world)
        }
    }
}

/// Puts the copy of a database back, where nobody has written there since.
fn restore(
    host: &Host,
    path: &InRoot,
    (copy, sha256): (&RealPath, &str),
    written: &str,
    world: &mut Held<'_, World>,
) -> Result<&'static str, String> {
    let said = |fault: &dyn core::error::Error| chain(fault);
    let of_ports = *path == host.settings.instances.port_database;
    let name = if of_ports { PortDocument::NAME } else { RepositoriesDocument::NAME };
    let held = world.databases([name], PURPOSE, LOCK_WAIT).map_err(|fault| said(&fault))?;
    let kept = atomic::read_limited(copy, DATABASE_BYTES_MAX).map_err(|fault| said(&fault))?;
    let kept = kept.ok_or_else(|| format!("its copy {copy} is gone"))?;
    if digest(&kept) != sha256 {
        return Err(format!("its copy {copy} is not what was written"));
    }
    let owners = inputs::owners(host);
    let place = databases::Place { root: &host.root, path, owners: &owners };
    let is_ours = |now: &[u8]| digest(now) == written;
    match databases::restore(&held, place, name, &kept, is_ours).map_err(|fault| said(&fault))? {
        Restored::Done => Ok("back"),
        Restored::Already => Ok("was there"),
        Restored::Absent => Err(format!("it is gone; what it was is {copy}")),
        Restored::Rewritten => {
            Err(format!("somebody has written it since, so it stays; what it was is {copy}"))
        }
    }
}

/// Has the instances wanted again that the run had wanted stopped; returns their ids.
fn want_again(
    host: &Host,
    run: &Run,
    journal: &mut Journal,
    told: &mut Vec<Told>,
) -> Vec<InstanceId> {
    let mut wanted = Vec::new();
    let all_is_back = told.iter().all(|one| one.outcome.is_ok());
    for (step, id) in run.wanted() {
        let written = instances::read(&host.root, id).and_then(|record| match record {
            Some(mut record) => {
                record.wanted = Wanted::Running;
                record.announced = false;
                instances::write(&host.root, &record).map(|_| true)
            }
            None => Ok(false),
        });
        match written {
            Ok(is_there) => {
                // A record that is still to come back is wanted by the next undo.
                if is_there || all_is_back {
                    drop(journal.note(&Line::Undone { step }));
                }
                wanted.extend(is_there.then(|| id.clone()));
            }
            Err(fault) => {
                told.push(Told {
                    subject: format!("{id}, which was wanted"),
                    outcome: Err(chain(&fault)),
                });
            }
        }
    }
    wanted
}

fn would(run: &Run, undoable: &[(usize, Undo)]) -> Answer {
    let lines = undoable.iter().map(|(_, undo)| format!("would bring back {}\n", subject(undo)));
    let wanted: Vec<&str> = run.wanted().into_iter().map(|(_, id)| id.as_str()).collect();
    let again = wanted.iter().map(|id| format!("would have {id} wanted again\n"));
    let all: Vec<String> = undoable.iter().map(|(_, undo)| subject(undo)).collect();
    let result = json!({
        "dry_run": true,
        "run": run.id.to_string(),
        "would_come_back": all,
        "would_be_wanted_again": wanted,
    });
    Answer::new(lines.chain(again).collect(), result)
}

fn answer(run: &Run, told: &[Told], wanted: &[InstanceId], published: Option<String>) -> Answer {
    let mut human = String::new();
    for Told { subject, outcome, .. } in told {
        match outcome {
            Ok(done) => human.push_str(&format!("{done:<10}{subject}\n")),
            Err(why) => human.push_str(&format!("not back  {subject}\n          {why}\n")),
        }
    }
    if let Some(why) = &published {
        human.push_str(&format!("not back  the routes\n          {why}\n"));
    }
    let is_whole = published.is_none() && told.iter().all(|one| one.outcome.is_ok());
    let rows = told.iter().map(|one| {
        let (outcome, why) = match &one.outcome {
            Ok(done) => (*done, Value::Null),
            Err(why) => ("not back", json!(why)),
        };
        json!({ "subject": one.subject, "outcome": outcome, "why": why })
    });
    let result = json!({
        "run": run.id.to_string(),
        "things": rows.collect::<Vec<_>>(),
        "wanted_again": wanted.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "routes": published,
    });
    let answer = Answer::new(human, result).exit(if is_whole { Exit::Ok } else { Exit::No });
    if wanted.is_empty() {
        return answer;
    }
    let start = Command::ours("oh-instances", &["reconcile", "--start"]);
    answer.hint(Hint::run("start its editors again", start))
}
