//! What has the name of a left-over: what it is, whose, and who uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use oh_host::process::Pid;
use oh_host::quarantine::{self, HIDDEN_UID, QuarantineFault};
use oh_host::survey;
use oh_host::way::{Way, WayFault};
use oh_model::escaped::Name;
use oh_model::path::RealPath;
use oh_term::text::several;
use rustix::io::Errno;

use super::users::{Places, Users};
use super::{Editor, Leftover, Look, clients, users, work};

/// How many names of left-overs are listed in one folder: with more than that somebody floods it.
const NAMES_MAX: usize = 1_000_000;

/// How many things of others are named in one look; the rest are counted. They are asked nothing but
/// whose they are, which the kernel knows by itself, so they take no time that would have to be limited.
const STRANGERS_MAX: usize = 1000;

pub(super) fn gather(look: &mut Look<'_>, editors: &[Editor]) -> Vec<Leftover> {
    let mut found: BTreeMap<(RealPath, Name), Leftover> = BTreeMap::new();
    let mut strangers = 0_usize;
    for pattern in look.host.settings.cleanup.leftovers.clone() {
        let Ok(folder) = look.host.root.real(pattern.folder()) else { continue };
        match in_folder(look, &folder, &mut strangers, |name| pattern.names(name)) {
            Ok(things) => {
                let keyed =
                    |one: Leftover| ((one.thing.folder.clone(), one.thing.name.clone()), one);
                found.extend(things.into_iter().map(keyed));
            }
            Err(why) => look.miss(folder.to_string(), why),
        }
    }
    if strangers > STRANGERS_MAX {
        // They stay like those that are named, so that no number of them hides anything of ours.
        look.more_of_others = strangers - STRANGERS_MAX;
    }
    let mut found: Vec<Leftover> = found.into_values().collect();
    add_users(look, editors, &mut found);
    clients::add_holders(look, &mut found);
    found
}

fn in_folder(
    look: &mut Look<'_>,
    folder: &RealPath,
    strangers: &mut usize,
    names: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Leftover>, String> {
    let way = match Way::to(folder) {
        Ok(way) => way,
        Err(WayFault::NoFolder { .. }) => return Ok(Vec::new()),
        Err(fault) => return Err(fault.to_string()),
    };
    let open = way.open().map_err(|fault| fault.to_string())?;
    let mut wanted = Vec::new();
    oh_host::folder::each_name(open.as_fd(), |name| {
        wanted.extend(Some(name).filter(|name| names(name)).and_then(Name::new));
        wanted.len() < NAMES_MAX
    })
    .map_err(|errno| format!("it cannot be listed: {errno}"))?;
    if wanted.len() >= NAMES_MAX {
        look.miss(folder.to_string(), format!("it has {NAMES_MAX} names of left-overs or more"));
    }
    wanted.sort();
    let mut found = Vec::new();
    for name in wanted {
        match leftover(look, open.as_fd(), folder, &name) {
            Ok(Some(thing)) if !thing.is_owned => {
                *strangers += 1;
                found.extend((*strangers <= STRANGERS_MAX).then_some(thing));
            }
            Ok(thing) => found.extend(thing),
            // One that cannot be looked at keeps no other.
            Err(fault) => look.miss(format!("{folder}/{name}"), crate::apply::chain(&fault)),
        }
    }
    Ok(found)
}

fn leftover(
    look: &Look<'_>,
    open: std::os::fd::BorrowedFd<'_>,
    folder: &RealPath,
    name: &Name,
) -> Result<Option<Leftover>, QuarantineFault> {
    let Some(thing) = quarantine::look_in(open, folder, name)? else { return Ok(None) };
    // What is others' stays, and is not asked anything: they might answer with anything.
    let is_owned = look.is_owned(thing.uid);
    // Neither is what somebody mounted there, which may never answer.
    let is_asked = is_owned && !thing.is_mount;
    let survey = match is_asked.then(|| survey::survey(open, name.as_bytes())) {
        Some(Ok(survey)) => survey,
        // What goes away meanwhile is no left-over any more.
        Some(Err(Errno::NOENT)) => return Ok(None),
        Some(Err(_)) | None => survey::Survey::default(),
    };
    let is_locked = is_asked && quarantine::is_locked_in(open, name, thing.kind);
    let unsaved = work::unsaved(&survey);
    Ok(Some(Leftover {
        owner: match thing.uid {
            HIDDEN_UID => "whoever mounted it, and is not shown to us".into(),
            uid => look.users.shown(uid),
        },
        is_owned,
        thing,
        survey,
        users: Vec::new(),
        is_locked,
        held: None,
        unsaved,
    }))
}

/// Adds who works in what, runs it, or has it open.
fn add_users(look: &mut Look<'_>, editors: &[Editor], found: &mut [Leftover]) {
    let counts = |at: usize, uid| {
        look.owners.contains(uid) || found.get(at).is_some_and(|one| one.thing.uid == uid)
    };
    let Users { of_things, perhaps, denied_count } =
        users::users(&Places::of(found.iter().map(|one| &one.thing)), &look.all, counts);
    let of_editors: BTreeSet<Pid> = editors.iter().flat_map(|one| &one.pids).copied().collect();
    for (at, pids) in of_things {
        let Some(one) = found.get_mut(at) else { continue };
        one.users.extend(pids.into_iter().map(|(pid, uid)| {
            // Whether an editor stays is for the plan to say.
            let is_of_editor = of_editors.contains(&pid);
            (pid, if is_of_editor { String::new() } else { look.shown(pid, uid) })
        }));
    }
    for (at, pids) in perhaps {
        let Some(one) = found.get_mut(at) else { continue };
        one.users.extend(pids.into_iter().map(|(pid, uid)| (pid, untold(&look.shown(pid, uid)))));
    }
    if denied_count > 0 {
        let what = several(denied_count, "process");
        look.miss(what, "they are others', and what they use cannot be seen");
    }
}

/// Names who perhaps uses a thing.
pub(crate) fn untold(shown: &str) -> String {
    format!("{shown}, of which the kernel does not tell all paths because one is too long, perhaps")
}
