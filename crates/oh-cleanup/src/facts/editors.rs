//! The editors that run, and what is left of them: by record, or by what they were given.
//!
//! A name proves nothing: editors are called `node`, and many things that are none have their name in
//! their arguments. What has a record is found by the record. Beside that, an editor of the original
//! application's is a process that runs an editor's program, as a user whose editors may be cleaned up
//! and with no other user's rights, whose own folders (of its arguments or its environment, which are
//! its user's words) are left-overs by name. What descends from it belongs to it.

use core::convert::Infallible;
use std::collections::BTreeSet;

use oh_host::instances::{self, Record};
use oh_host::members::Target;
use oh_host::process::{Glance, Identity, Pid, ProcessDir, ProcessFault, ProcessStat, settle};
use oh_host::usage::{self, Closely, Count, Door, Subject, Usage};
use oh_model::editor_command::{EditorCommand, is_part};
use oh_model::leftover::Pattern;
use oh_model::path::{InRoot, RealPath};
use oh_model::port::Port;
use oh_model::upstream::Target as Place;
use oh_term::text::several;

use super::clients::{self, Who};
use super::{Editor, Look, Unread};
use crate::fault::Fault;
use crate::step::Kind;

/// The variables that code-server hands down to what it starts, which name its folders: a socket in its
/// settings' folder, and the folder that the original application gave it for its server.
const FOLDER_VARIABLES: [(&str, bool); 2] =
    [("CODE_SERVER_SESSION_SOCKET", true), ("VSCODE_AGENT_FOLDER", false)];

/// An editor that no record knows, or a part of one.
#[derive(Debug, Clone)]
struct Stray {
    identity: Identity,
    parent: Option<Pid>,
    uid: Option<u32>,
    port: Option<Port>,
    /// Whether it was told to listen on a unix socket, of which nobody counts the connections.
    is_on_socket: bool,
    /// Whether it is in another pid or mount namespace: what it calls a path is another one's.
    is_elsewhere: bool,
    /// Its own folders that are left-overs by name.
    folders: BTreeSet<RealPath>,
}

pub(super) fn gather(look: &mut Look<'_>) -> Result<Vec<Editor>, Fault> {
    let (records, families) = recorded(look)?;
    let strays = strays(look);
    let of_records = families.iter().flatten().cloned();
    let subjects: Vec<Subject> = of_records.chain(strays.iter().map(subject)).collect();
    let closely = Closely { tokens: true, proportional: false };
    let seen = usage::look(&subjects, closely)?;
    if seen.unread_environments > 0 {
        let what = format!("{} environments", seen.unread_environments);
        look.miss(what, "they are others', and may hide what an editor left");
    }
    let mut usages = seen.instances.into_iter();
    let mut editors = Vec::new();
    let mut known = BTreeSet::new();
    for (record, family) in records.iter().zip(&families) {
        let of_it: Vec<Usage> = usages.by_ref().take(family.len()).collect();
        let editor = of_record(look, record, family, &of_it);
        known.extend(editor.pids.iter().copied());
        editors.push(editor);
    }
    let strays: Vec<(Stray, Usage)> = strays.into_iter().zip(usages).collect();
    editors.extend(grouped(look, strays, &known));
    Ok(editors)
}

/// The records of all instances, and what to look for of each.
fn recorded(look: &mut Look<'_>) -> Result<(Vec<Record>, Vec<Vec<Subject>>), Fault> {
    let (mut records, mut families) = (Vec::new(), Vec::new());
    let root = &look.host.root;
    let mut unseen = Vec::new();
    for read in instances::records(root)? {
        let state = match &read {
            Ok(record) => instances::read_state(root, &record.id),
            Err(_) => Ok(None),
        };
        match (read, state) {
            (Ok(record), Ok(state)) => {
                let door = match record.target {
                    Place::Port(port) => Some(Door::Port(port)),
                    Place::Socket => socket(look, &record).map(Door::Socket),
                };
                let targets = instances::family(&record, state).into_iter();
                families
                    .push(targets.map(|target| Subject { target, door: door.clone() }).collect());
                records.push(record);
            }
            (Err(fault), _) | (_, Err(fault)) => {
                unseen.push(("the record of an instance".to_owned(), fault.to_string()));
            }
        }
    }
    unseen.into_iter().for_each(|(subject, reason)| look.miss(subject, reason));
    Ok((records, families))
}

/// Where the editor of a record listens that has no port.
fn socket(look: &Look<'_>, record: &Record) -> Option<RealPath> {
    let folder = look.host.settings.sessions.sockets.as_ref()?;
    instances::socket(&look.host.root, folder, &record.id).ok()
}

fn of_record(look: &Look<'_>, record: &Record, family: &[Subject], usages: &[Usage]) -> Editor {
    let pids: BTreeSet<Pid> =
        usages.iter().flat_map(|usage| &usage.processes).map(|member| member.pid).collect();
    let leaders = family.iter().filter_map(|subject| subject.target.identity.clone());
    let leaders = leaders.filter(|leader| pids.contains(&leader.pid)).collect();
    let is_around_us = !look.own.is_disjoint(&pids);
    let unit = record.unit.as_ref().filter(|_| is_around_us);
    Editor {
        // Its supervisor, which is a part of it, and the wish to have it running, which is recorded.
        starters: BTreeSet::new(),
        what: format!("the {} {}", record.subject, record.id),
        kind: Kind::Editor,
        kept: unit.map(|unit| {
            format!(
                "this very command runs in its unit {unit}, and would end with it: run it elsewhere"
            )
        }),
        id: Some(record.id.clone()),
        uid: Some(record.uid),
        // It is root's record that says so.
        is_owned: true,
        leaders,
        is_around_us,
        connections: connections(usages.first()),
        clients: record.target.port().map(|port| clients_of(look, port)).unwrap_or_default(),
        ports: record.target.port().into_iter().collect(),
        is_elsewhere: false,
        container: None,
        folders: BTreeSet::new(),
        why: "it has a record".into(),
        pids,
    }
}

fn clients_of(look: &Look<'_>, port: Port) -> Vec<Who> {
    clients::of_port(look, port, &BTreeSet::new()).unwrap_or_default()
}

fn connections(usage: Option<&Usage>) -> Option<usize> {
    match &usage?.connections {
        Count::Known(count) => Some(*count),
        Count::Unknown(_) | Count::NotAsked => None,
    }
}

/// Every process that runs a part of an editor with left-overs for its own folders.
fn strays(look: &mut Look<'_>) -> Vec<Stray> {
    let patterns = &look.host.settings.cleanup.leftovers;
    let mut strays = Vec::new();
    let mut denied = 0_usize;
    let mut unread = Unread::default();
    let asked = look.all.stats.iter().filter(|stat| !stat.is_kernel && !stat.is_dead());
    // All of those in the moment of an exec are waited for together: anybody may have thousands.
    let Ok(()) = settle(asked.collect(), |asked| {
        let mut in_exec = Vec::new();
        for stat in asked {
            match stray(look, patterns, stat) {
                Ok(Glance::Seen(stray)) => strays.extend(stray),
                Ok(Glance::InExec) => in_exec.push(stat),
                Err(fault) if fault.is_gone() => {}
                Err(ProcessFault::Denied { .. }) => denied += 1,
                // Whatever one process is made to look like, the others are looked at.
                Err(fault) => unread.add(look, stat.pid, &fault),
            }
        }
        Ok::<_, Infallible>(in_exec)
    });
    unread.say(look);
    if denied > 0 {
        look.miss(several(denied, "process"), "they are others', and are not shown to us");
    }
    strays
}

/// Says what a process is, where it is a part of an editor with left-overs for its own folders.
fn stray(
    look: &Look<'_>,
    patterns: &[Pattern],
    stat: &ProcessStat,
) -> Result<Glance<Option<Stray>>, ProcessFault> {
    let process = ProcessDir::open(stat.pid)?;
    let Glance::Seen(arguments) = process.glance_arguments()? else { return Ok(Glance::InExec) };
    let command = EditorCommand::read(&arguments);
    if command.is_none() && !is_part(&arguments) {
        return Ok(Glance::Seen(None));
    }
    let mut folders = BTreeSet::new();
    if let Some(command) = &command {
        folders.extend(command.own_folders().filter_map(|path| leftover(look, patterns, path)));
    }
    // What names its own folders has the variables of whoever started it.
    let names_own = command.as_ref().is_some_and(|one| one.own_folders().next().is_some());
    for (variable, is_below) in FOLDER_VARIABLES.into_iter().filter(|_| !names_own) {
        let Glance::Seen(Some(value)) = process.present_environment_value(variable)? else {
            continue;
        };
        let value = String::from_utf8_lossy(&value).into_owned();
        let path =
            if is_below { value.rsplit_once('/').map(|(above, _)| above) } else { Some(&*value) };
        folders.extend(path.and_then(|path| leftover(look, patterns, path)));
    }
    if folders.is_empty() {
        return Ok(Glance::Seen(None));
    }
    let uid = process.only_uid()?;
    let port = command.as_ref().and_then(EditorCommand::port);
    let is_on_socket = command.as_ref().is_some_and(EditorCommand::has_socket);
    let is_elsewhere = !process.shares_our_namespaces()?;
    // Last: what was read before was this very process's.
    let identity = process.identity()?;
    let parent = stat.parent;
    Ok(Glance::Seen(Some(Stray {
        identity,
        parent,
        uid,
        port,
        is_on_socket,
        is_elsewhere,
        folders,
    })))
}

/// The folder that a path of an editor is, where that is a left-over by name and below our root.
pub(super) fn leftover(look: &Look<'_>, patterns: &[Pattern], path: &str) -> Option<RealPath> {
    let real = RealPath::parse(path).ok()?;
    let inside: InRoot = look.host.root.inside(&real)?;
    // A thing in one counts as well: `…/code-server-config-8888/data`.
    let mut here = inside;
    loop {
        let above = here.parent();
        if patterns.iter().any(|one| *one.folder() == above && one.names(here.name().as_bytes())) {
            return look.host.root.real(&here).ok();
        }
        if above == here || above.as_str() == "/" {
            return None;
        }
        here = above;
    }
}

fn subject(stray: &Stray) -> Subject {
    let target = Target { identity: Some(stray.identity.clone()), token: None };
    Subject { target, door: stray.port.map(Door::Port) }
}

/// Puts together what belongs together, and says what it is.
fn grouped(look: &Look<'_>, strays: Vec<(Stray, Usage)>, known: &BTreeSet<Pid>) -> Vec<Editor> {
    let mut groups: Vec<Vec<(Stray, Usage)>> = Vec::new();
    for one in strays.into_iter().filter(|(stray, _)| !known.contains(&stray.identity.pid)) {
        let belongs =
            |group: &Vec<(Stray, Usage)>| group.iter().any(|other| is_one(&one.0, &other.0));
        let (mine, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(belongs);
        groups = others;
        groups.push(mine.into_iter().flatten().chain([one]).collect());
    }
    groups.into_iter().map(|group| of_group(look, &group, known)).collect()
}

/// Says whether two parts are of one editor: of one user, and one is the other's child, or both have a
/// folder of their own in common.
fn is_one(one: &Stray, other: &Stray) -> bool {
    let is_child = |child: &Stray, parent: &Stray| child.parent == Some(parent.identity.pid);
    let said = [one.port, other.port];
    let are_two = matches!(said, [Some(one), Some(other)] if one != other);
    let is_same_kind = one.uid == other.uid && one.is_elsewhere == other.is_elsewhere;
    is_same_kind
        && !are_two
        && (is_child(one, other)
            || is_child(other, one)
            || !one.folders.is_disjoint(&other.folders))
}

fn of_group(look: &Look<'_>, group: &[(Stray, Usage)], known: &BTreeSet<Pid>) -> Editor {
    let strays = || group.iter().map(|(stray, _)| stray);
    let uid = strays().next().and_then(|stray| stray.uid);
    let folders: BTreeSet<RealPath> = strays().flat_map(|stray| stray.folders.clone()).collect();
    let pids: BTreeSet<Pid> = group
        .iter()
        .flat_map(|(_, usage)| usage.processes.iter().map(|member| member.pid))
        .filter(|pid| !known.contains(pid))
        .collect();
    let mut ports: BTreeSet<Port> = strays().filter_map(|stray| stray.port).collect();
    let is_on_socket = strays().any(|stray| stray.is_on_socket);
    let clients = connected(look, &pids, &mut ports).filter(|_| !is_on_socket);
    let shown = folders.last().map(ToString::to_string);
    let what = match ports.first() {
        Some(port) => format!("an editor on port {port}"),
        None => "what is left of an editor".into(),
    };
    Editor {
        what,
        kind: Kind::Editor,
        kept: None,
        id: None,
        uid,
        is_owned: uid.is_some_and(|uid| look.is_owned(uid)),
        is_elsewhere: strays().any(|stray| stray.is_elsewhere),
        container: None,
        // All of them: whichever ends first, the others are still known.
        leaders: strays().map(|stray| stray.identity.clone()).collect(),
        is_around_us: !look.own.is_disjoint(&pids),
        connections: clients.as_ref().map(Vec::len),
        clients: clients.unwrap_or_default(),
        starters: strays()
            .filter_map(|stray| look.starter(stray.identity.pid))
            .filter(|(pid, _)| !pids.contains(pid))
            .collect(),
        ports,
        why: format!("its own folder is {}", shown.unwrap_or_default()),
        folders,
        pids,
    }
}

/// Returns who is connected to what these processes listen on, and adds those ports; `None` where nobody
/// can tell. What an editor was told decides nothing: a variable may have told it otherwise.
fn connected(
    look: &Look<'_>,
    pids: &BTreeSet<Pid>,
    ports: &mut BTreeSet<Port>,
) -> Option<Vec<Who>> {
    let mut inodes = BTreeSet::new();
    for pid in pids {
        match ProcessDir::open(*pid).and_then(|process| process.socket_inodes()) {
            Ok(held) => inodes.extend(held),
            Err(fault) if fault.is_gone() => {}
            Err(_) => return None,
        }
    }
    let mut clients = Vec::new();
    for listener in look.listening(&inodes)? {
        let address = listener.address.ip();
        // Only what is reached on the loopback is counted.
        if !address.is_loopback() && !address.is_unspecified() {
            return None;
        }
        let port = Port::new(listener.address.port().into())?;
        ports.insert(port);
        clients.extend(clients::of_port(look, port, &BTreeSet::new())?);
    }
    Some(clients)
}
