//! Takes a run back, last step first: what it moved comes back to where it was, and databases get back
//! what was taken out of them, unless somebody has written there since.

use std::collections::BTreeSet;

use oh_host::atomic;
use oh_host::containers::{self, Turned};
use oh_host::databases::{self, DATABASE_BYTES_MAX, Restored};
use oh_host::entry::digest;
use oh_host::inputs;
use oh_host::instances::{self, Wanted};
use oh_host::journal::{Journal, JournalFault};
use oh_host::lock::{Held, Share, World};
use oh_host::publish::{self, Host};
use oh_host::quarantine::{self, Back, Place, Thing};
use oh_model::databases::{Document as _, PortDocument, RepositoriesDocument};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::path::{InRoot, RealPath};
use oh_model::run::RunId;
use oh_term::{Answer, Common, Failure, Progress};

use crate::apply::{PURPOSE, chain};
use crate::clean::{Context, context};
use crate::cli::UndoArguments;
use crate::elsewhere::{self, Elsewhere};
use crate::fault::Fault;
use crate::interrupt::{self, From};
use crate::journal::{Line, Run, TOOL, Undo};
use crate::unread;
use crate::waits::{self, LOCK_WAIT};
use told::Told;

mod nginx;
mod told;

/// How many things are put back between two looks at whether a signal came, as a run moves them.
const BATCH: usize = 1000;

/// Why something is not back that a signal kept from being begun.
const INTERRUPTED: &str = "the command was interrupted before it came to it";

/// Why something is not back that somebody can make way for.
const OCCUPIED: &str = "something new has its name";
const ANOTHER: &str = "the folder that it was in is another one";

/// Takes a run back, or says what would come back.
pub(crate) fn undo(asked: &UndoArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let name = asked.run.as_deref();
    if asked.dry_run {
        let mut run = find(&host, name).map_err(Failure::of)?;
        let elsewhere = elsewhere::leave_out(&host.root, &mut run);
        let undoable = undoable(&run, &elsewhere)?;
        return Ok(told::would(&run, &undoable, &elsewhere).notes(warnings));
    }
    let progress = Progress::start();
    let interrupts = interrupt::listen(&progress, From::Anywhere)?;
    let mut locks = waits::locks(&host.root, &progress)?;
    let world = locks.world(Share::Exclusive, PURPOSE, asked.wait.unwrap_or(LOCK_WAIT));
    let mut world = world.map_err(|fault| Failure::of(Fault::Lock(fault)))?;
    // Behind the lock: a run that is at work has not written all of it.
    let mut run = find(&host, name).map_err(Failure::of)?;
    let elsewhere = elsewhere::leave_out(&host.root, &mut run);
    let undoable = undoable(&run, &elsewhere)?;
    let journal = Journal::reopen(&host.root, TOOL, &run.id);
    let mut journal = journal.map_err(|fault| Failure::of(Fault::Journal(fault)))?;
    let held_back = interrupts.hold();
    let left_out = elsewhere.values().flatten().map(|step| Line::Undone { step: *step });
    // Where it cannot be written down, the next undo finds it as this one did.
    drop(journal.note_all(left_out));
    progress.doing(format!("take {} back", run.id));
    let mut told = nginx::bring_back(&host, &run, &mut journal, &mut world).map_err(Failure::of)?;
    let of_nginx: BTreeSet<usize> =
        unread::undoable(&host, &run).into_iter().map(|(step, ..)| step).collect();
    let rest: Vec<(usize, Undo)> =
        undoable.into_iter().filter(|(step, _)| !of_nginx.contains(step)).collect();
    let is_thing = |one: &(usize, Undo)| matches!(one.1, Undo::Moved { .. });
    for alike in rest.chunk_by(|one, next| is_thing(one) && is_thing(next)) {
        for batch in alike.chunks(BATCH) {
            let outcomes = match batch {
                _ if interrupts.is_asked() => vec![Err(INTERRUPTED.to_owned()); batch.len()],
                [(_, undo)] if !batch.iter().all(is_thing) => {
                    vec![take_back(&host, undo, &mut world)]
                }
                _ => put_all_back(batch),
            };
            let done = batch.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            let lines: Vec<Line> =
                done.map(|((step, _), _)| Line::Undone { step: *step }).collect();
            // Where it cannot be written down, the next undo finds that it is back.
            drop(journal.note_all(&lines));
            let told_of = |((step, undo), outcome): (&(usize, Undo), _)| Told {
                subject: subject(undo),
                bytes: run.room_of(*step),
                outcome,
            };
            told.extend(batch.iter().zip(outcomes).map(told_of));
        }
    }
    told.extend(half_gone(&run));
    let wanted = want_again(&host, &run, &mut journal, &mut told);
    // What was begun is ended: routes are of what is back.
    let published = match publish::traces(&host) {
        Ok(traces) if !traces.is_empty() => {
            publish::publish_within(&mut world, &host, PURPOSE).err()
        }
        _ => None,
    };
    held_back.answered();
    let is_cut = told.iter().any(|one| one.outcome.as_ref().is_err_and(|why| why == INTERRUPTED));
    let done = told::Done {
        told: &told,
        wanted: &wanted,
        elsewhere: &elsewhere,
        published: published.map(|fault| chain(&fault)),
    };
    let answer = told::answer(&run, &done);
    let again = || Command::ours("oh-cleanup", &["undo", &run.id.to_string()]);
    let answer = match is_cut {
        true => answer.exit(Exit::Interrupted).hint(Hint::run("take the rest back", again())),
        false => answer,
    };
    let starts_with = |why: &String| [OCCUPIED, ANOTHER].iter().any(|one| why.starts_with(one));
    let is_in_the_way = told.iter().any(|one| one.outcome.as_ref().is_err_and(starts_with));
    let answer = match is_in_the_way {
        true => answer.hint(Hint::run("move aside what is in the way, and again", again())),
        false => answer,
    };
    Ok(answer.notes(warnings))
}

/// Puts things back together: their folders are synced once.
fn put_all_back(batch: &[(usize, Undo)]) -> Vec<Result<&'static str, String>> {
    let moved: Vec<(&Thing, &Place)> = batch
        .iter()
        .filter_map(|(_, undo)| match undo {
            Undo::Moved { thing, place } => Some((&**thing, place)),
            _ => None,
        })
        .collect();
    let back = quarantine::put_back_all(&moved);
    let folders: BTreeSet<&RealPath> = moved.iter().map(|(_, place)| &place.folder).collect();
    folders.into_iter().for_each(quarantine::close);
    let told = |((_, place), back): (&(&Thing, &Place), _)| said_of(back, place);
    moved
        .iter()
        .zip(back.into_iter().map(|back| back.map_err(|fault| chain(&*fault))))
        .map(told)
        .collect()
}

/// What can be taken back, the last first.
fn undoable(run: &Run, elsewhere: &Elsewhere) -> Result<Vec<(usize, Undo)>, Failure> {
    let all: Vec<(usize, Undo)> =
        run.undoable().into_iter().rev().map(|(step, undo)| (step, undo.clone())).collect();
    if !all.is_empty() || !run.wanted().is_empty() || !elsewhere.is_empty() {
        return Ok(all);
    }
    let run_id = run.id.clone();
    let is_half_gone = half_gone(run).next().is_some();
    let fault = if is_half_gone { Fault::HalfPurged(run_id) } else { Fault::NothingToUndo(run_id) };
    Err(Failure::of(fault))
}

/// What somebody had begun to remove for good: it is not the whole thing any more.
fn half_gone(run: &Run) -> impl Iterator<Item = Told> {
    let purging = run.purging();
    run.held().into_iter().filter(move |(step, _)| purging.contains(step)).map(|(step, undo)| {
        let why = match undo {
            Undo::Moved { place, .. } => format!(
                "a purge of it was begun; what is left of it is {}/{}",
                place.folder, place.number
            ),
            _ => "a purge of it was begun".into(),
        };
        Told { subject: subject(undo), bytes: run.room_of(step), outcome: Err(why) }
    })
}

/// Finds a run: the one that is named, or the last one that can be taken back.
fn find(host: &Host, name: Option<&str>) -> Result<Run, Fault> {
    if let Some(name) = name {
        let id = RunId::parse(name)?;
        return Run::read(&host.root, &id).map_err(|fault| match fault {
            JournalFault::Line { .. } | JournalFault::TooLong { .. } => {
                Fault::Unreadable(id, fault)
            }
            fault => fault.into(),
        });
    }
    let runs = oh_host::journal::runs(&host.root, TOOL).map_err(Fault::Runs)?;
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
    said_of(quarantine::put_back(thing, place).map_err(|fault| chain(&fault)), place)
}

/// Says what became of a thing that was to be put back.
fn said_of(back: Result<Back, String>, place: &Place) -> Result<&'static str, String> {
    match back? {
        Back::Moved => Ok("back"),
        Back::Already => Ok("was there"),
        Back::Missing => Err("it is neither in the quarantine nor where it was".into()),
        Back::Unrecognised => {
            Err(format!("{}/{} is not what was moved there", place.folder, place.number))
        }
        Back::Occupied => {
            Err(format!("{OCCUPIED}; it is kept as {}/{}", place.folder, place.number))
        }
        Back::AnotherFolder => {
            Err(format!("{ANOTHER}; it is kept as {}/{}", place.folder, place.number))
        }
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
        // What was wanted is wanted again behind all that comes back, and things come back together.
        Undo::Nothing | Undo::Wanted(_) | Undo::Moved { .. } => Ok("nothing to do"),
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
                    bytes: 0,
                    outcome: Err(chain(&fault)),
                });
            }
        }
    }
    wanted
}
