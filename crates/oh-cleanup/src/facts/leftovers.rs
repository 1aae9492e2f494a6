//! What has the name of a left-over: what it is, whose, and who uses it.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use oh_host::folder::FileKind;
use oh_host::process::{Pid, ProcessDir, ProcessFault};
use oh_host::quarantine::{self, QuarantineFault};
use oh_host::survey;
use oh_host::way::{Way, WayFault};
use oh_model::escaped::Name;
use oh_model::path::RealPath;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Editor, Leftover, Look, work};

/// How many things are looked at in one folder: with more than that somebody floods it.
const NAMES_MAX: usize = 100_000;

pub(super) fn gather(look: &mut Look<'_>, editors: &[Editor]) -> Vec<Leftover> {
    let mut found: BTreeMap<(RealPath, Name), Leftover> = BTreeMap::new();
    for pattern in look.host.settings.cleanup.leftovers.clone() {
        let Ok(folder) = look.host.root.real(pattern.folder()) else { continue };
        match in_folder(look, &folder, |name| pattern.names(name)) {
            Ok(things) => {
                found.extend(
                    things
                        .into_iter()
                        .map(|one| ((one.thing.folder.clone(), one.thing.name.clone()), one)),
                );
            }
            Err(why) => look.miss(folder.to_string(), why),
        }
    }
    let mut found: Vec<Leftover> = found.into_values().collect();
    add_users(look, editors, &mut found);
    add_listeners(look, &mut found);
    found
}

fn in_folder(
    look: &mut Look<'_>,
    folder: &RealPath,
    names: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Leftover>, String> {
    let way = match Way::to(folder) {
        Ok(way) => way,
        Err(WayFault::NoFolder { .. }) => return Ok(Vec::new()),
        Err(fault) => return Err(fault.to_string()),
    };
    let open = way.open().map_err(|fault| fault.to_string())?;
    let mut wanted = Vec::new();
    let mut count = 0;
    oh_host::folder::each_name(open.as_fd(), |name| {
        count += 1;
        wanted.extend(Name::new(name).filter(|_| names(name)));
        count < NAMES_MAX
    })
    .map_err(|errno| format!("it cannot be listed: {errno}"))?;
    if count >= NAMES_MAX {
        return Err(format!("it has {NAMES_MAX} names or more"));
    }
    wanted.sort();
    let mut found = Vec::new();
    for name in wanted {
        match leftover(look, open.as_fd(), folder, &name) {
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
    let survey = match is_owned.then(|| survey::survey(open, name.as_bytes())) {
        Some(Ok(survey)) => survey,
        // What goes away meanwhile is no left-over any more.
        Some(Err(Errno::NOENT)) => return Ok(None),
        Some(Err(_)) | None => survey::Survey::default(),
    };
    let held = match thing.kind {
        FileKind::Folder | FileKind::Regular if is_owned => lock_of(open, name),
        _ => None,
    };
    let unsaved = work::unsaved(&survey);
    Ok(Some(Leftover {
        owner: look.users.shown(thing.uid),
        is_owned,
        thing,
        survey,
        users: Vec::new(),
        held,
        unsaved,
    }))
}

/// Says whether somebody holds the lock of a thing (flock(2)), as systemd-tmpfiles asks.
fn lock_of(open: std::os::fd::BorrowedFd<'_>, name: &Name) -> Option<String> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(open, name.as_bytes(), flags, Mode::empty()).ok()?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some("somebody holds its lock".into()),
        _ => None,
    }
}

/// Adds who works in what, runs it, or has it open, but for the editors' own.
fn add_users(look: &mut Look<'_>, editors: &[Editor], found: &mut [Leftover]) {
    if found.is_empty() {
        return;
    }
    let of_editor = |pid: Pid| editors.iter().any(|editor| editor.pids.contains(&pid));
    let paths: Vec<Vec<u8>> = found
        .iter()
        .map(|one| {
            let folder = one.thing.folder.as_str().trim_end_matches('/').as_bytes();
            [folder, b"/", one.thing.name.as_bytes()].concat()
        })
        .collect();
    let mut denied = 0_usize;
    let stats = look.all.stats.iter().filter(|stat| !stat.is_kernel && !stat.is_dead());
    let me = Pid::own();
    let pids: Vec<Pid> = stats.map(|stat| stat.pid).filter(|pid| *pid != me).collect();
    for pid in pids {
        let looked = || -> Result<(Vec<Vec<u8>>, u32), ProcessFault> {
            let process = ProcessDir::open(pid)?;
            Ok((process.opened()?, process.uid()?))
        };
        let (opened, uid) = match looked() {
            Ok(looked) => looked,
            Err(fault) if fault.is_gone() => continue,
            Err(_) => {
                denied += 1;
                continue;
            }
        };
        for (one, path) in found.iter_mut().zip(&paths) {
            let is_in = |opened: &Vec<u8>| {
                let below = opened.strip_prefix(path.as_slice());
                below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
            };
            if opened.iter().any(is_in) && !of_editor(pid) {
                one.users.push((pid, look.shown(pid, uid)));
            } else if opened.iter().any(is_in) {
                // Whether that editor stays is for the plan to say.
                one.users.push((pid, String::new()));
            }
        }
    }
    if denied > 0 {
        let what = format!("{denied} processes");
        look.miss(what, "they are others', and what they use cannot be seen");
    }
}

/// Adds who listens on sockets.
fn add_listeners(look: &Look<'_>, found: &mut [Leftover]) {
    for one in found.iter_mut().filter(|one| one.thing.kind == FileKind::Socket) {
        let folder = one.thing.folder.as_str().trim_end_matches('/').as_bytes();
        let path = [folder, b"/", one.thing.name.as_bytes()].concat();
        one.held = match &look.listening_paths {
            Ok(listening) if listening.contains(&path) => Some("somebody listens on it".into()),
            Ok(_) => None,
            Err(why) => Some(format!("nobody can tell who listens: {why}")),
        };
    }
}
