//! What an OpenHands that is gone left running: the servers of its conversations, their kernels,
//! editors and terminals.
//!
//! A name proves nothing here either. What has a command line of OpenHands' is proved by a folder that
//! OpenHands gave to it (of its arguments, the one that it works in, or of its environment) and that is a
//! left-over by its name and place; its user has to be one whose things may be cleaned up. What has no
//! such folder belongs to what has one by descent, or by the process group that OpenHands had, and only
//! where its command line is one that OpenHands starts. An orphan has no living parent but the first
//! process, or its user's systemd: whatever else is above it keeps it, OpenHands itself first of all.
//! What systemd itself started has no other parent either, and is no orphan while its service runs.

use core::convert::Infallible;
use std::collections::{BTreeMap, BTreeSet};

use oh_host::members::Target;
use oh_host::process::{Glance, Identity, Pid, ProcessDir, ProcessFault, ProcessStat, settle};
use oh_host::usage::{self, Closely, Subject};
use oh_model::container::Container;
use oh_model::held_by::Service;
use oh_model::openhands_command::{Part, takes_orphans};
use oh_model::path::RealPath;
use oh_model::port::Port;

use super::clients::{self, Who};
use super::editors::leftover;
use super::{Editor, Look, Unread};
use crate::fault::Fault;
use crate::step::Kind;
use services::Services;

mod services;

/// The variables with which OpenHands starts the server of a conversation, and which what that starts
/// inherits.
const MARKS: [&str; 2] = ["LOCAL_RUNTIME_MODE", "OPENHANDS_REPO_PATH"];

/// Where an agent server has the sockets of its terminals.
const TERMINALS_FOLDER: &str = "TMUX_TMPDIR";

/// How the kernel ends the path of a folder that is gone.
const DELETED: &str = " (deleted)";

/// A process with a command line that OpenHands starts.
#[derive(Debug)]
struct Piece {
    stat: ProcessStat,
    identity: Identity,
    part: Part,
    /// Its user; `None` where it has one user's rights and was started by another.
    uid: Option<u32>,
    /// The folders that prove it.
    proofs: BTreeSet<RealPath>,
    /// The folder that it was given or works in, where that is no left-over.
    other_folder: Option<Other>,
    /// Whether it has the variables of OpenHands.
    is_marked: bool,
    /// The folder of the sockets of its terminals, where it was given one.
    sockets: Option<String>,
    /// Whether it is in another pid or mount namespace, and in which container.
    elsewhere: Option<Option<Container>>,
    /// The service of systemd that holds it.
    service: Option<Service>,
}

/// A folder that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Other {
    At(String),
    /// The kernel does not tell it: its path is too long, and anybody may make such a one.
    Unknown,
}

/// What stands above a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Nobody who could still want it.
    Nobody,
    /// OpenHands itself.
    App(Pid),
    /// Another process.
    Another(Pid),
    /// One that is not seen here, as the first process has it and what was started in a container from
    /// outside.
    Outside,
}

/// Pieces that descend from one of them.
#[derive(Debug)]
struct Tree<'p> {
    top: &'p Piece,
    pieces: Vec<&'p Piece>,
    above: Above,
    /// Why a service of systemd keeps it.
    served: Option<String>,
}

impl<'p> Tree<'p> {
    const fn of(top: &'p Piece, pieces: Vec<&'p Piece>, above: Above) -> Self {
        Self { top, pieces, above, served: None }
    }

    fn is_proved(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.proofs.is_empty())
    }

    fn is_anothers(&self) -> bool {
        self.pieces.iter().any(|piece| piece.is_anothers())
    }
}

/// Returns what is left of OpenHands, and what looks like that and stays; `known` belongs to others.
pub(super) fn gather(look: &mut Look<'_>, known: &BTreeSet<Pid>) -> Result<Vec<Editor>, Fault> {
    let Seen { pieces, apps, reapers, .. } = pieces(look, known);
    let (inside, outside): (Vec<&Piece>, Vec<&Piece>) =
        pieces.values().partition(|piece| piece.elsewhere.is_none());
    let mut found = contained(look, &outside);
    let here: BTreeMap<Pid, &Piece> =
        inside.into_iter().map(|piece| (piece.stat.pid, piece)).collect();
    let climb = Climb { look, pieces: &here, apps: &apps, reapers: &reapers };
    let mut trees: BTreeMap<Pid, Tree<'_>> = BTreeMap::new();
    for piece in here.values() {
        let (top, above) = climb.of(piece);
        let tree = trees.entry(top.stat.pid).or_insert_with(|| Tree::of(top, Vec::new(), above));
        tree.pieces.push(piece);
    }
    let mut services = Services::of_machine();
    for tree in trees.values_mut().filter(|tree| tree.above == Above::Nobody) {
        // Of whom nothing is ended, nobody has to be asked.
        if tree.top.uid.is_some_and(|uid| look.owners.contains(uid)) {
            let mut pieces = tree.pieces.iter();
            tree.served = pieces.find_map(|piece| services.keeping(piece, tree.top));
        }
    }
    let (orphans, others): (Vec<Tree<'_>>, Vec<Tree<'_>>) =
        trees.into_values().partition(|tree| tree.above == Above::Nobody);
    // Whatever else is in a tree, somebody's own folder keeps all of it, and so does a service.
    let (mut strangers, orphans): (Vec<Tree<'_>>, Vec<Tree<'_>>) =
        orphans.into_iter().partition(|tree| tree.served.is_some() || tree.is_anothers());
    let (proved, rest): (Vec<Tree<'_>>, Vec<Tree<'_>>) =
        orphans.into_iter().partition(Tree::is_proved);
    let (related, unknown): (Vec<Tree<'_>>, Vec<Tree<'_>>) =
        rest.into_iter().partition(|tree| proved.iter().any(|other| shares_group(tree, other)));
    strangers.extend(unknown);
    let gone: Vec<Tree<'_>> = proved.into_iter().chain(related).collect();
    let others: Vec<Tree<'_>> = others.into_iter().chain(strangers).collect();
    found.extend(of_trees(look, &gone, &others, &apps)?);
    found.extend(others.iter().filter_map(|tree| staying(look, tree)));
    Ok(found)
}

/// What was seen of all processes.
#[derive(Debug, Default)]
struct Seen {
    /// All pieces by their numbers.
    pieces: BTreeMap<Pid, Piece>,
    /// OpenHands itself.
    apps: BTreeSet<Pid>,
    /// What takes the orphans of its user.
    reapers: BTreeMap<Pid, u32>,
    /// How many pieces are not shown to us.
    denied: usize,
    unread: Unread,
}

fn pieces(look: &mut Look<'_>, known: &BTreeSet<Pid>) -> Seen {
    let mut seen = Seen::default();
    let asked = look.all.stats.iter().filter(|stat| !stat.is_kernel && !stat.is_dead());
    // All of those in the moment of an exec are waited for together: anybody may have thousands.
    let Ok(()) = settle(asked.collect(), |asked: Vec<&ProcessStat>| {
        let mut in_exec = Vec::new();
        for stat in asked {
            match seen.add(look, known, stat.pid) {
                Ok(Glance::Seen(())) => {}
                Ok(Glance::InExec) => in_exec.push(stat),
                Err(fault) if fault.is_gone() => {}
                Err(ProcessFault::Denied { .. }) => {}
                // Whatever one process is made to look like, the others are looked at.
                Err(fault) => seen.unread.add(look, stat.pid, &fault),
            }
        }
        Ok::<_, Infallible>(in_exec)
    });
    std::mem::take(&mut seen.unread).say(look);
    if seen.denied > 0 {
        let what = format!("{} processes with command lines of OpenHands", seen.denied);
        look.miss(what, "they are others', and are not shown to us");
    }
    seen
}

impl Seen {
    /// Adds what a process is.
    fn add(
        &mut self,
        look: &Look<'_>,
        known: &BTreeSet<Pid>,
        pid: Pid,
    ) -> Result<Glance<()>, ProcessFault> {
        let process = ProcessDir::open(pid)?;
        let Glance::Seen(arguments) = process.glance_arguments()? else {
            return Ok(Glance::InExec);
        };
        if takes_orphans(&arguments) {
            self.reapers.extend(process.only_uid()?.map(|uid| (pid, uid)));
        }
        match Part::read(&arguments) {
            None => {}
            Some(Part::App) => {
                self.apps.insert(pid);
            }
            Some(_) if known.contains(&pid) => {}
            Some(part) => {
                // Everybody has shells, and most are nothing to us.
                let counts = !matches!(part, Part::Shell);
                let piece = piece(look, &process, part);
                self.denied +=
                    usize::from(counts && matches!(piece, Err(ProcessFault::Denied { .. })));
                self.pieces.insert(pid, piece?);
            }
        }
        Ok(Glance::Seen(()))
    }
}

fn piece(look: &Look<'_>, process: &ProcessDir, part: Part) -> Result<Piece, ProcessFault> {
    let patterns = &look.host.settings.cleanup.leftovers;
    let leftover = |path: &str| leftover(look, patterns, path);
    let variable = |name: &str| -> Result<Option<String>, ProcessFault> {
        Ok(match process.present_environment_value(name)? {
            Glance::Seen(value) => value.map(|value| String::from_utf8_lossy(&value).into_owned()),
            Glance::InExec => None,
        })
    };
    let uid = process.only_uid()?;
    let groups = process.control_groups()?;
    let (elsewhere, service) = if process.shares_our_namespaces()? {
        (None, Service::of_control_groups(&groups))
    } else {
        (Some(Container::of_control_groups(&groups)), None)
    };
    let works_in = match process.working_folder() {
        Ok(folder) => Some(folder.to_string_lossy().into_owned()),
        Err(ProcessFault::Io { .. }) => None,
        Err(fault) => return Err(fault),
    };
    let works_in = works_in.as_deref().map(|at| at.strip_suffix(DELETED).unwrap_or(at));
    let is_marked = variable(MARKS[0])?.as_deref() == Some("1") && variable(MARKS[1])?.is_some();
    let sockets = variable(TERMINALS_FOLDER)?;
    let own = match &part {
        Part::Terminals { .. } => sockets.as_deref().and_then(leftover),
        _ => None,
    };
    let of_arguments = match &part {
        Part::ActionServer { folder, .. } | Part::Terminals { folder } => folder.as_deref(),
        _ => None,
    };
    let of_work = match &part {
        Part::AgentServer { .. } | Part::Editor => true,
        Part::Kernels => is_marked,
        _ => false,
    };
    let named = of_arguments.or(works_in.filter(|_| of_work));
    let proof = named.and_then(leftover);
    let other_folder = match proof {
        Some(_) => None,
        None if of_work && works_in.is_none() => Some(Other::Unknown),
        None => named.map(|path| Other::At(path.into())),
    };
    let proofs = proof.into_iter().chain(own).collect();
    // Another process may have had its number when all were looked at.
    let stat = process.stat()?;
    // Last: what was read before was this very process's.
    let identity = process.identity()?;
    Ok(Piece {
        stat,
        identity,
        part,
        uid,
        proofs,
        other_folder,
        is_marked,
        sockets,
        elsewhere,
        service,
    })
}

impl Piece {
    /// Says whether it works for somebody in a folder that is no left-over, or may do so. Editors and
    /// kernels are started in the folder of the program, which says nothing.
    fn is_anothers(&self) -> bool {
        let is_told = matches!(
            self.part,
            Part::ActionServer { .. } | Part::AgentServer { .. } | Part::Terminals { .. }
        );
        is_told && self.other_folder.is_some()
    }

    /// Says whether its folder is below our root: what others have below theirs is not even named.
    fn is_below_root(&self, look: &Look<'_>) -> bool {
        let real = match &self.other_folder {
            None => return !self.proofs.is_empty(),
            Some(Other::At(path)) => RealPath::parse(path).ok(),
            Some(Other::Unknown) => None,
        };
        let is_below = match real {
            Some(path) => look.host.root.inside(&path).is_some(),
            None => look.host.root.base().is_none(),
        };
        is_below || !self.proofs.is_empty()
    }
}

/// Goes up from pieces.
struct Climb<'c> {
    look: &'c Look<'c>,
    pieces: &'c BTreeMap<Pid, &'c Piece>,
    apps: &'c BTreeSet<Pid>,
    /// With their users: those of others take nobody's orphans.
    reapers: &'c BTreeMap<Pid, u32>,
}

impl<'c> Climb<'c> {
    /// Returns the highest piece above one that belongs to it, and what stands above that.
    fn of(&self, piece: &'c Piece) -> (&'c Piece, Above) {
        let mut top = piece;
        // Never longer than there are processes: a number that is used anew makes no circle.
        for _ in 0..=self.look.all.stats.len() {
            let Some(parent) = top.stat.parent else { return (top, Above::Outside) };
            match self.pieces.get(&parent) {
                Some(above) if self.belongs(top, above) => top = above,
                _ => return (top, self.above(parent, top.uid)),
            }
        }
        (top, Above::Another(top.stat.pid))
    }

    /// Says whether a piece is of the family of the one that is its parent.
    fn belongs(&self, piece: &Piece, above: &Piece) -> bool {
        let is_shells = |one: &Piece| {
            let parent = one.stat.parent.and_then(|pid| self.pieces.get(&pid));
            parent.is_some_and(|pid| matches!(pid.part, Part::Starter | Part::Shell))
        };
        // Everybody has shells.
        let is_known = above.part != Part::Shell || above.is_marked || is_shells(above);
        piece.uid.is_some() && piece.uid == above.uid && is_known
    }

    fn above(&self, parent: Pid, uid: Option<u32>) -> Above {
        if parent == Pid::INIT {
            // In a container it may be OpenHands, or one of its servers, and all orphans are its children.
            let is_part = self.pieces.get(&parent).is_some_and(|one| one.part != Part::Shell);
            return if self.apps.contains(&parent) {
                Above::App(parent)
            } else if is_part {
                Above::Another(parent)
            } else {
                Above::Nobody
            };
        }
        let ancestors = self.look.all.ancestors_of(parent);
        let mut all = [parent].into_iter().chain(ancestors);
        if let Some(app) = all.find(|pid| self.apps.contains(pid)) {
            return Above::App(app);
        }
        let is_reaper = uid.is_some() && self.reapers.get(&parent).copied() == uid;
        if is_reaper { Above::Nobody } else { Above::Another(parent) }
    }
}

/// Says whether something without a folder of its own was started by the same OpenHands: it has the
/// process group of what has one.
fn shares_group(tree: &Tree<'_>, proved: &Tree<'_>) -> bool {
    let is_known = tree.top.part != Part::Shell || tree.top.is_marked;
    is_known
        && tree.top.stat.group.is_some()
        && proved.pieces.iter().any(|piece| {
            let is_led = piece.stat.group == Some(piece.stat.pid);
            !is_led
                && piece.uid == tree.top.uid
                && piece.stat.group == tree.top.stat.group
                && piece.stat.session == tree.top.stat.session
        })
}

/// Makes facts of orphans. `others` live with their OpenHands, or stay for their folders.
fn of_trees(
    look: &Look<'_>,
    trees: &[Tree<'_>],
    others: &[Tree<'_>],
    apps: &BTreeSet<Pid>,
) -> Result<Vec<Editor>, Fault> {
    if trees.is_empty() {
        return Ok(Vec::new());
    }
    let subjects: Vec<Subject> =
        trees.iter().flat_map(|tree| &tree.pieces).map(|piece| subject(piece)).collect();
    let seen = usage::look(&subjects, Closely::default())?;
    let mut usages = seen.instances.into_iter();
    let families: Vec<BTreeSet<Pid>> = trees
        .iter()
        .map(|tree| {
            let of_it = usages.by_ref().take(tree.pieces.len());
            of_it.flat_map(|usage| usage.processes).map(|member| member.pid).collect()
        })
        .collect();
    // What one of them asks of another is nobody's work.
    let own = families.iter().flatten().try_fold(BTreeSet::new(), |mut own, pid| {
        own.extend(sockets_of(*pid)?);
        Some(own)
    });
    let editor = |(tree, pids): (&Tree<'_>, BTreeSet<Pid>)| {
        let mut ports = BTreeSet::new();
        let mut clients = Vec::new();
        let connections = own.as_ref().and_then(|own| {
            clients = connected(look, &pids, own, &mut ports)?;
            Some(clients.len() + attached(look, tree, trees)?)
        });
        let mut editor = named(look, tree);
        // Whoever works on OpenHands by means of OpenHands runs one in the terminals of another.
        let app = pids.intersection(apps).next();
        let app = app.map(|app| format!("another OpenHands runs in it (pid {app})"));
        editor.kept = app.or_else(|| in_use(tree, others));
        editor.connections = connections;
        editor.clients = clients;
        editor.is_around_us = !look.own.is_disjoint(&pids);
        editor.ports.extend(ports);
        editor.pids = pids;
        editor
    };
    Ok(trees.iter().zip(families).map(editor).collect())
}

fn subject(piece: &Piece) -> Subject {
    let target = Target { identity: Some(piece.identity.clone()), token: None };
    Subject { target, door: None }
}

fn sockets_of(pid: Pid) -> Option<BTreeSet<u64>> {
    match ProcessDir::open(pid).and_then(|process| process.socket_inodes()) {
        Ok(held) => Some(held),
        Err(fault) if fault.is_gone() => Some(BTreeSet::new()),
        Err(_) => None,
    }
}

/// Returns who is connected from outside to what these processes listen on, and adds those ports; `None`
/// where nobody can tell.
fn connected(
    look: &Look<'_>,
    pids: &BTreeSet<Pid>,
    own: &BTreeSet<u64>,
    ports: &mut BTreeSet<Port>,
) -> Option<Vec<Who>> {
    let mut inodes = BTreeSet::new();
    for pid in pids {
        inodes.extend(sockets_of(*pid)?);
    }
    let mut clients = Vec::new();
    for listener in look.listening(&inodes)? {
        let address = listener.address.ip();
        // Only what is reached on the loopback is counted.
        if !address.is_loopback() && !address.is_unspecified() {
            return None;
        }
        let port = Port::new(listener.address.port().into())?;
        if ports.insert(port) {
            clients.extend(clients::of_port(look, port, own)?);
        }
    }
    Some(clients)
}

/// Counts who looks at terminals; `None` where somebody else may work in one of them.
fn attached(look: &Look<'_>, tree: &Tree<'_>, trees: &[Tree<'_>]) -> Option<usize> {
    let mut count = 0;
    let is_tmux = |piece: &&&Piece| matches!(piece.part, Part::Terminals { .. });
    for piece in tree.pieces.iter().filter(is_tmux) {
        let accepted = look.sockets.as_ref().ok()?.accepted();
        count += sockets_of(piece.stat.pid)?.intersection(&accepted).count();
        // Whoever opens a terminal by hand gets it of the same server.
        let folders = || trees.iter().flat_map(|tree| &tree.pieces).flat_map(|one| &one.proofs);
        let works_in_one = |pid: Pid| {
            let works_in = ProcessDir::open(pid).and_then(|process| process.working_folder());
            works_in.is_ok_and(|at| folders().any(|folder| at.starts_with(folder.as_str())))
        };
        for pane in look.all.children_of(piece.stat.pid).filter(|pane| !pane.is_dead()) {
            let mut below = look.all.descendants_of(pane.pid).into_iter().chain([pane.pid]);
            if !below.any(works_in_one) {
                return None;
            }
        }
    }
    Some(count)
}

/// Says why terminals stay that a living server may use too: all that have their sockets in one folder
/// are of one server of tmux.
fn in_use(tree: &Tree<'_>, others: &[Tree<'_>]) -> Option<String> {
    let is_tmux = |piece: &Piece| matches!(piece.part, Part::Terminals { .. });
    let tmux = tree.pieces.iter().find(|piece| is_tmux(piece))?;
    let uses = |piece: &&&Piece| {
        is_server(piece) && piece.uid == tmux.uid && piece.sockets == tmux.sockets
    };
    let user = others.iter().flat_map(|tree| &tree.pieces).find(uses)?;
    Some(format!("pid {}, which runs, may have its terminals in it", user.stat.pid))
}

/// What stays, where it has a folder below our root: its OpenHands runs, or nobody knows whose it is.
fn staying(look: &Look<'_>, tree: &Tree<'_>) -> Option<Editor> {
    let piece = tree.pieces.iter().find(|one| one.is_below_root(look))?;
    if !piece.uid.is_some_and(|uid| look.owners.contains(uid)) && piece.proofs.is_empty() {
        return None;
    }
    let shown = |pid: Pid| {
        let name = look.all.get(pid).map(|stat| stat.name.escape_debug().to_string());
        format!("pid {pid} ({})", name.unwrap_or_default())
    };
    let keeps = tree.pieces.iter().find(|one| one.is_anothers()).unwrap_or(piece);
    let by_folder = || match (tree.above, &keeps.other_folder) {
        (Above::App(app), _) => format!("its OpenHands runs (pid {app})"),
        (Above::Another(parent), _) => format!("{} started it, and runs", shown(parent)),
        (Above::Outside, _) => "what started it cannot be seen from here".to_owned(),
        (Above::Nobody, Some(Other::At(folder))) => {
            let folder = oh_term::text::escaped(folder);
            format!("its folder {folder} is no left-over (cleanup.leftovers)")
        }
        (Above::Nobody, Some(Other::Unknown) | None) => {
            "nobody can tell in which folder it works".to_owned()
        }
    };
    let kept = tree.served.clone().unwrap_or_else(by_folder);
    let pids = tree.pieces.iter().map(|piece| piece.stat.pid).collect();
    Some(Editor { kept: Some(kept), pids, ..named(look, tree) })
}

/// Those in containers, each container once; below another root they are strangers.
fn contained(look: &Look<'_>, pieces: &[&Piece]) -> Vec<Editor> {
    if look.host.root.base().is_some() {
        return Vec::new();
    }
    let mut containers: BTreeMap<&Container, &Piece> = BTreeMap::new();
    for piece in pieces {
        if let Some(Some(container)) = piece.elsewhere.as_ref().filter(|_| is_server(piece)) {
            containers.entry(container).or_insert(piece);
        }
    }
    let nowhere = pieces.iter().filter(|piece| piece.elsewhere == Some(None));
    let nowhere = nowhere.filter(|piece| is_server(piece)).map(|piece| {
        let tree = Tree::of(piece, vec![piece], Above::Nobody);
        Editor { is_elsewhere: true, ..named(look, &tree) }
    });
    let editor = |(container, piece): (&Container, &Piece)| {
        let tree = Tree::of(piece, vec![piece], Above::Nobody);
        // Whoever has control groups of their own gives them any name.
        let why = format!(
            "its control group has the name of a container: --containers, or, where `{} ps` lists \
             it, {}",
            container.engine,
            container.stop_line()
        );
        let container = Some(container.id.clone());
        Editor { kept: Some(why), is_elsewhere: true, container, ..named(look, &tree) }
    };
    let in_one = containers.into_iter().map(editor);
    in_one.chain(nowhere).collect()
}

fn is_server(piece: &Piece) -> bool {
    matches!(piece.part, Part::ActionServer { .. } | Part::AgentServer { .. })
}

/// What a tree is, without what it is connected to.
fn named(look: &Look<'_>, tree: &Tree<'_>) -> Editor {
    let parts = || tree.pieces.iter().map(|piece| &piece.part);
    let on = |what: &str, port: Option<Port>| match port {
        Some(port) => format!("{what} on port {port}"),
        None => what.to_owned(),
    };
    let what = parts().find_map(|part| match part {
        Part::ActionServer { port, .. } => Some(on("an action execution server", *port)),
        Part::AgentServer { port } => Some(on("an agent server", *port)),
        _ => None,
    });
    let what = what.or_else(|| {
        let mut kinds = parts().filter_map(|part| match part {
            Part::Terminals { .. } => Some("terminals of OpenHands"),
            Part::Editor => Some("an editor of OpenHands"),
            Part::Kernels => Some("kernels of OpenHands"),
            _ => None,
        });
        kinds.next().map(str::to_owned)
    });
    let what = what.unwrap_or_else(|| "what is left of OpenHands".to_owned());
    let folders: BTreeSet<RealPath> =
        tree.pieces.iter().flat_map(|piece| piece.proofs.clone()).collect();
    let why = match folders.first() {
        Some(folder) => format!("its OpenHands is gone, and its folder is {folder}"),
        None => "its OpenHands is gone, with which it shares its process group".to_owned(),
    };
    let uid = tree.top.uid;
    Editor {
        what: format!("{what} (pid {})", tree.top.stat.pid),
        kind: Kind::Orphan,
        id: None,
        uid,
        is_owned: uid.is_some_and(|uid| look.owners.contains(uid)),
        kept: None,
        // All of them: whichever ends first, the others are still known.
        leaders: tree.pieces.iter().map(|piece| piece.identity.clone()).collect(),
        pids: BTreeSet::new(),
        connections: None,
        clients: Vec::new(),
        ports: BTreeSet::new(),
        is_elsewhere: false,
        container: None,
        folders,
        is_around_us: false,
        starters: BTreeSet::new(),
        why,
    }
}

#[cfg(test)]
mod tests;
