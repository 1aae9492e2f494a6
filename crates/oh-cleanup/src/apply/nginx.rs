//! Takes old files away from nginx, and has it read what is left.
//!
//! nginx is asked before the first file goes and again behind the last. Where it refuses then what it
//! accepted before, all of them come back. Where it refused before too, something else is wrong: nothing
//! is worse than it was, so the files stay away, and nginx is not asked to read what it would refuse.

use std::collections::BTreeSet;

use oh_host::journal::Journal;
use oh_host::lock::{Held, World};
use oh_host::publish::{self, Host, Judged, LOCK_WAIT, Reloaded};
use oh_host::quarantine::{self, Back, Place, Quarantine, Thing};
use oh_host::tree;
use oh_model::exit::Exit;
use oh_model::plan::Outcome;

use super::{NotDone, PURPOSE, Run, chain};
use crate::facts::generated;
use crate::fault::Fault;
use crate::journal::{Line, TOOL, Undo};
use crate::step::Move;
use crate::unread::{Unread, unread};

/// What is known of nginx's files while a run is carried out.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Whether nginx was asked before the first move.
    was_asked: bool,
    /// The steps of this run whose files are back.
    pub(super) back: Vec<(usize, NotDone)>,
}

/// Takes a file away, if it still is what it was.
pub(super) fn take(
    run: &mut Run<'_>,
    number: usize,
    step: &Move,
    quarantine: &mut Quarantine<'_>,
    files: &mut Files,
) -> Result<Outcome, NotDone> {
    if !files.was_asked {
        let accepted = match publish::judge(run.host) {
            Ok(Judged::Accepted) => Some(true),
            Ok(Judged::Refused(_)) => Some(false),
            // Without nginx there is nobody to ask; what it says in the end counts then.
            Ok(Judged::NotAsked(_)) | Err(_) => None,
        };
        if let Some(accepted) = accepted {
            run.journal.note(&Line::Judged { accepted })?;
        }
        files.was_asked = true;
    }
    if let Some(why) = generated::is_not_to_go(run.host, &step.thing) {
        return Err(NotDone::said(why));
    }
    run.take(number, step, quarantine)
}

/// Has nginx test what is left and read it.
pub(super) fn reload(
    run: &mut Run<'_>,
    number: usize,
    world: &mut Held<'_, World>,
    files: &mut Files,
    told: &mut Option<String>,
) -> Result<Outcome, NotDone> {
    // This run is among them: what it has moved is in its journal.
    let unread = unread(run.host);
    if unread.is_empty() {
        return Ok(Outcome::AlreadyDone);
    }
    run.begin(number, Undo::Nothing)?;
    let _held = world.publish(PURPOSE, LOCK_WAIT).map_err(Fault::from)?;
    let reloaded = match publish::reload(run.host) {
        Err(fault) if fault.is_no_program() => {
            *told = Some("there is no nginx here that could read it".into());
            return Ok(Outcome::Done);
        }
        reloaded => reloaded.map_err(Fault::from)?,
    };
    let complaints = match reloaded {
        Reloaded::Seen => {
            let mut said =
                "new workers serve what is left, and the old ones accept no more".to_owned();
            for place in still_routed(run.host, &unread) {
                said.push_str(&format!("; {place}"));
            }
            said.push_str(no_server(run.host));
            *told = Some(said);
            return Ok(Outcome::Done);
        }
        Reloaded::NoMaster => match publish::judge(run.host).map_err(Fault::from)? {
            Judged::Refused(complaints) => complaints,
            Judged::Accepted => {
                let rest = no_server(run.host);
                *told = Some(format!("no nginx runs; it accepts what is left{rest}"));
                return Ok(Outcome::Done);
            }
            Judged::NotAsked(why) => {
                *told = Some(format!("no nginx runs, and it was not asked: {why}"));
                return Ok(Outcome::Done);
            }
        },
        Reloaded::Refused(complaints) => complaints,
        Reloaded::NotSeen(logged) => {
            // It accepted what is left, or could not be asked. Whoever sends it a request writes to its
            // log as well: that is told, and decides nothing.
            return Err(NotDone::said(format!(
                "nginx was asked to read what is left, and its workers of before still serve; {}; the \
                 files stay in the quarantine, and undo brings them back",
                logged_reasons(&logged)
            )));
        }
    };
    let guilty = guilty(unread, &complaints);
    if guilty.is_empty() {
        return Err(NotDone::said(format!(
            "nginx refuses its configuration for another reason: {}; the files stay in the quarantine, \
             and nginx serves what it did",
            reasons(&complaints)
        )));
    }
    Err(put_back(run, guilty, &complaints, files))
}

/// The runs whose files nginx misses: those behind which it began to refuse.
fn guilty(unread: Vec<Unread>, complaints: &[String]) -> Vec<Unread> {
    // The last comes first: what was away already when nginx accepted it is not to blame.
    match unread.iter().position(|one| one.accepted == Some(true)) {
        Some(at) => unread.into_iter().take(at + 1).collect(),
        None if names_one(complaints, &unread) => unread,
        None => Vec::new(),
    }
}

/// Says whether nginx complains of a file by its name.
fn names_one(complaints: &[String], unread: &[Unread]) -> bool {
    let mut paths = unread.iter().flat_map(|one| &one.moved).map(|(_, thing, _)| thing.shown());
    paths.any(|path| complaints.iter().any(|line| line.contains(&path)))
}

pub(crate) fn reasons(complaints: &[String]) -> String {
    if complaints.is_empty() { "it gave no reason".into() } else { complaints.join("; ") }
}

/// What the log of nginx has of the moment in which it was to read its configuration: a log is written to
/// by whoever sends a request, so it is what the log says, and no more.
pub(crate) fn logged_reasons(logged: &[String]) -> String {
    if logged.is_empty() {
        "its log gives no reason".into()
    } else {
        format!("its log says: {}", logged.join("; "))
    }
}

/// Puts files back, and looks whether nginx accepts them.
fn put_back(
    run: &mut Run<'_>,
    unread: Vec<Unread>,
    complaints: &[String],
    files: &mut Files,
) -> NotDone {
    let own = run.journal.run().clone();
    let why = format!("nginx refuses what is left: {}", reasons(complaints));
    let mut left = Vec::new();
    for Unread { run: id, moved, .. } in unread {
        let mut other = None;
        for (step, thing, place) in moved {
            match back(&thing, &place) {
                Err(fault) => left.push(format!("{}: {fault}", thing.shown())),
                Ok(()) if id == own => {
                    // Where it cannot be written down, undoing finds that it is back.
                    drop(run.journal.note(&Line::Undone { step }));
                    let why = "it is back, because nginx refused what was left".to_owned();
                    let exit = Exit::RolledBack;
                    files.back.push((step, NotDone { exit, ..NotDone::said(why) }));
                }
                Ok(()) => {
                    let root = &run.host.root;
                    other = other.or_else(|| Journal::reopen(root, TOOL, &id).ok());
                    if let Some(other) = &mut other {
                        drop(other.note(&Line::Undone { step }));
                    }
                }
            }
        }
    }
    let verified = if left.is_empty() { verified(run) } else { Err(left.join("; ")) };
    let (why, exit) = match verified {
        Ok(state) => (format!("{why}; all is back, and {state}"), Exit::RolledBack),
        Err(state) => (format!("{why}; and not all is as it was: {state}"), Exit::RollbackFailed),
    };
    NotDone { exit, ..NotDone::said(why) }
}

fn back(thing: &Thing, place: &Place) -> Result<(), String> {
    match quarantine::put_back(thing, place).map_err(|fault| chain(&fault))? {
        Back::Moved | Back::Already => Ok(()),
        Back::Missing | Back::Unrecognised | Back::Occupied | Back::AnotherFolder => {
            Err(format!("it stays as {}/{}", place.folder, place.number))
        }
    }
}

/// Looks whether nginx accepts what is back.
fn verified(run: &Run<'_>) -> Result<&'static str, String> {
    match publish::judge(run.host) {
        Ok(Judged::Accepted) => Ok("nginx accepts it, and serves what it did"),
        Ok(Judged::NotAsked(_)) => Ok("nginx serves what it did"),
        Ok(Judged::Refused(lines)) => Err(format!("nginx refuses it too: {}", reasons(&lines))),
        Err(fault) => Err(chain(&fault)),
    }
}

/// Says so where nginx accepts a configuration that has it listen nowhere. No file of a generator's has a
/// server, so that was so before; nobody sees it by what nginx answers to `nginx -t`.
fn no_server(host: &Host) -> &'static str {
    let Ok(config) = publish::real(&host.root, &host.settings.nginx.config) else { return "" };
    let (tree, faults) = tree::read_leniently(&config);
    let mut is_one = !faults.is_empty();
    tree.visit(&mut |visit| {
        // In an `upstream` a server is a line.
        is_one |= visit.directive.name == "server" && visit.directive.block.is_some();
    });
    if is_one { "" } else { "; its configuration has no server, so it listens nowhere" }
}

/// Names the routes that were to go and that another file has too, as far as they can be read.
fn still_routed(host: &Host, unread: &[Unread]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(config) = publish::real(&host.root, &host.settings.nginx.config) else { return found };
    let gone: BTreeSet<String> = unread
        .iter()
        .flat_map(|one| &one.moved)
        .flat_map(|(_, _, place)| generated::routes_in(host, place))
        .collect();
    let (tree, _) = tree::read_leniently(&config);
    tree.visit(&mut |visit| {
        let path = visit.directive.words.last().filter(|_| visit.directive.name == "location");
        if let Some(path) = path.filter(|path| gone.contains(*path)) {
            found.insert(format!("{path} is routed all the same, by {}", visit.place()));
        }
    });
    found
}
