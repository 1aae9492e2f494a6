//! Decides what is done, over the facts alone: pure, total, and in one order.
//!
//! An editor is stopped where it is ours to stop and nobody is connected; what belongs to one that
//! stays, stays with it: its folders, its entries, its session. What is not done, and why, is part of
//! the plan. Nobody's file can keep others' things from being cleaned up.

mod generated;
mod named;

use std::collections::{BTreeMap, BTreeSet};

use oh_host::folder::FileKind;
use oh_host::process::Pid;
use oh_model::container::{ContainerId, Engine, Listed};
use oh_model::leftover;
use oh_model::path::RealPath;
use oh_model::plan::{Exclusion, Plan};
use oh_model::port::Port;
use oh_term::duration;
use oh_term::text::{escaped, several};

use crate::facts::clients;
use crate::facts::{Editor, Entry, Facts, Leftover, Life, Listening, Session};
use crate::journal;
use crate::request::{Kinds, Request};
use crate::step::{Database, Move, Release, Step, Stop, StopContainer};
use named::Names;

/// What is directly in an installed program, and in nothing that an editor leaves behind.
const OF_PROGRAMS: [&[u8]; 4] = [b"package.json", b"node_modules", b"bin", b"out"];

/// How the folders are called into which a release of an editor is unpacked, and left-overs too.
const PROGRAM_NAME: &[u8] = b"code-server-";

/// Makes the plan.
pub(crate) fn plan(facts: &Facts, request: &Request) -> Plan<Step> {
    plan_but(facts, request, |_| None)
}

/// Makes the plan where it was seen since that some editors stay, and why.
pub(crate) fn plan_but(
    facts: &Facts,
    request: &Request,
    stays: impl Fn(&Editor) -> Option<String>,
) -> Plan<Step> {
    let mut made = Made::default();
    // They have no id of ours, and no user.
    let containers = match request.ids.is_empty() && request.uids.is_empty() {
        true => &*facts.containers,
        false => &[],
    };
    for editor in &facts.editors {
        match stays(editor).map_or_else(|| stops(editor, facts, request), Err) {
            Ok(true) => made.stop(editor, facts, request),
            Ok(false) => made.stay(editor, facts),
            // It is stopped as a container.
            Err(_) if is_in_one_of(editor, containers) => {}
            Err(why) => {
                made.stay(editor, facts);
                made.exclude(&editor.what, why);
            }
        }
    }
    containers.iter().for_each(|(engine, one)| made.container(*engine, one));
    facts.notes.iter().for_each(|note| made.exclude(&note.subject, &note.reason));
    if request.kinds.temporary {
        facts.leftovers.iter().for_each(|one| made.leftover(one, facts, request));
        if facts.more_of_others > 0 {
            let what = format!("{} more things", facts.more_of_others);
            made.exclude(what, "they have the names of left-overs and belong to others");
        }
    }
    facts.sessions.iter().for_each(|one| made.session(one, facts, request));
    made.entries(facts, request);
    if request.kinds.nginx {
        made.generated(facts, request);
        made.is_unread = facts.is_unread;
    }
    made.finish(facts, request)
}

/// Says whether an editor is in one of these containers, by what the kernel says of it.
fn is_in_one_of(editor: &Editor, containers: &[(Engine, Listed)]) -> bool {
    let is_its = |id: &ContainerId| containers.iter().any(|(_, one)| one.id == *id);
    editor.container.as_ref().is_some_and(is_its)
}

/// Says whether a word is the port of an entry of a database that is asked for, and of no other.
fn is_port_of_named(word: &str, facts: &Facts, request: &Request) -> bool {
    let Some(port) = word.parse().ok().and_then(Port::new) else { return false };
    let mut ids = facts.entries.iter().filter(|one| one.port == Some(port)).map(|one| &one.id);
    let is_known = ids.clone().next().is_some();
    is_known && ids.all(|id| request.names(id))
}

/// How long nothing has changed in a session's file.
fn age_ns(facts: &Facts, session: &Session) -> i64 {
    facts.now_ns.saturating_sub(session.thing.modified_ns).max(0)
}

/// Says whether an editor is stopped; `Err` why it is not, where it was asked for.
pub(crate) fn stops(editor: &Editor, facts: &Facts, request: &Request) -> Result<bool, String> {
    let is_named = request.ids.is_empty() || request.names_one_of(&ids(editor, facts));
    if !request.kinds.processes || !is_named || !request.of_user(editor.uid) {
        return Ok(false);
    }
    let said = |why: &str| Err(why.to_owned());
    if let Some(kept) = &editor.kept {
        return Err(kept.clone());
    }
    match (editor.uid, editor.connections) {
        _ if editor.is_elsewhere => {
            said("it is in namespaces of its own, as in a container: stop it there")
        }
        (None, _) => said("it has one user's rights, and another started it"),
        (Some(uid), _) if !editor.is_owned => Err(format!("uid {uid} is none of cleanup.owners")),
        _ if editor.is_around_us && !request.include_self => {
            said("this very command runs in it: run it elsewhere (--include-self-session)")
        }
        (_, Some(count)) if count > 0 && !request.force_active => {
            let are = if count == 1 { "connection is" } else { "connections are" };
            let who = clients::shown(&editor.clients);
            let who = if who.is_empty() { who } else { format!(" ({who})") };
            Err(format!("{count} {are} open{who}: somebody works in it (--force-active)"))
        }
        (_, None) if !request.force_active && !editor.pids.is_empty() => {
            said("nobody can tell whether somebody works in it (--force-active)")
        }
        _ => Ok(true),
    }
}

/// Says whose connections end with an editor.
fn ignored(editor: &Editor) -> Option<String> {
    match editor.connections {
        Some(0) => None,
        Some(count) => {
            let who = clients::shown(&editor.clients);
            let who = if who.is_empty() { who } else { format!(" of {who}") };
            Some(format!("ends {}{who}", several(count, "connection")))
        }
        None => Some("nobody can tell whether somebody works in it".into()),
    }
}

/// The ids of an editor, folded: its record's, those that databases and session files have with its port,
/// and those of its folders' names.
pub(crate) fn ids(editor: &Editor, facts: &Facts) -> BTreeSet<String> {
    let own = editor.id.iter().map(|id| id.folded());
    let is_its = |port: &Option<Port>| port.is_some_and(|port| editor.ports.contains(&port));
    let entries = facts.entries.iter().filter(|entry| is_its(&entry.port)).map(|entry| &entry.id);
    let sessions = facts.sessions.iter().filter(|one| is_its(&one.port)).map(|one| &one.id);
    let folders = editor.folders.iter().flat_map(|path| leftover::ids(path.name()));
    let said = entries.chain(sessions).map(|id| id.to_ascii_lowercase());
    own.chain(said).chain(folders).collect()
}

/// A plan that is being made.
#[derive(Debug, Default)]
struct Made {
    /// In the order of what they are, which is the order in which they are done.
    wanted: Vec<Step>,
    stops: Vec<Step>,
    containers: Vec<Step>,
    moves: Vec<Step>,
    unroutes: Vec<Step>,
    /// Whether nginx is to read what an earlier run left of its files.
    is_unread: bool,
    releases: Vec<Step>,
    forgets: Vec<Step>,
    exclusions: Vec<Exclusion>,
    /// The processes that end.
    ending: BTreeSet<Pid>,
    /// The ids, folded, and the ports of editors that end, each of these with which it is.
    ended_ids: BTreeSet<String>,
    ended_ports: BTreeMap<Port, String>,
    /// What else is known of names of editors.
    names: Names,
    /// Those of editors that stay, each with which it is.
    staying_ids: BTreeMap<String, String>,
    staying_ports: BTreeMap<Port, String>,
    /// The folders of editors, each with which it is, and whether it stays.
    folders: BTreeMap<RealPath, (String, bool)>,
}

impl Made {
    fn exclude(&mut self, subject: impl Into<String>, reason: impl Into<String>) {
        self.exclusions.push(Exclusion { subject: subject.into(), reason: reason.into() });
    }

    fn stop(&mut self, editor: &Editor, facts: &Facts, request: &Request) {
        if let Some(id) = &editor.id {
            self.wanted.push(Step::WantStopped(id.clone()));
            self.forgets.push(Step::Forget(id.clone()));
            self.ended_ids.insert(id.folded());
        }
        let what = || editor.what.clone();
        self.ended_ports.extend(editor.ports.iter().map(|port| (*port, what())));
        self.names.ending.extend(ids(editor, facts).into_iter().map(|id| (id, what())));
        self.ending.extend(&editor.pids);
        for folder in &editor.folders {
            self.folders.entry(folder.clone()).or_insert((editor.what.clone(), false));
        }
        if editor.pids.is_empty() {
            return;
        }
        self.stops.push(Step::Stop(Stop {
            what: editor.what.clone(),
            kind: editor.kind,
            id: editor.id.clone(),
            leaders: editor.leaders.clone(),
            processes: editor.pids.len(),
            why: match ignored(editor).filter(|_| request.force_active) {
                Some(ignored) => format!("{}; {ignored}", editor.why),
                None => editor.why.clone(),
            },
        }));
    }

    fn container(&mut self, engine: Engine, one: &Listed) {
        let step = StopContainer { engine, container: one.clone() };
        self.containers.push(Step::StopContainer(step));
    }

    fn stay(&mut self, editor: &Editor, facts: &Facts) {
        if let Some(id) = &editor.id {
            self.staying_ids.insert(id.folded(), editor.what.clone());
        }
        // What anybody may say in arguments keeps nothing of others.
        if !editor.is_owned || editor.is_elsewhere {
            return;
        }
        self.names.staying.extend(ids(editor, facts));
        if !editor.pids.is_empty() {
            let ports = editor.ports.iter();
            self.staying_ports.extend(ports.map(|port| (*port, editor.what.clone())));
        }
        for folder in &editor.folders {
            self.folders.insert(folder.clone(), (editor.what.clone(), true));
        }
    }

    fn leftover(&mut self, one: &Leftover, facts: &Facts, request: &Request) {
        if !request.of_user(Some(one.thing.uid)) || !self.is_named(one, facts, request) {
            return;
        }
        match self.taken(one, facts, request) {
            Ok(step) => self.moves.push(Step::Move(step)),
            Err(why) => self.exclude(one.thing.shown(), why),
        }
    }

    /// Says whether a left-over is asked for: by its name, by the editor that is stopped, or by the port
    /// that its name has for want of an id.
    fn is_named(&self, one: &Leftover, facts: &Facts, request: &Request) -> bool {
        let of_name = || leftover::ids(&String::from_utf8_lossy(one.thing.name.as_bytes()));
        request.ids.is_empty()
            || matches!(self.of_editor(one), Some((_, false)))
            || request.names_one_of(&of_name())
            || of_name().iter().any(|port| is_port_of_named(port, facts, request))
            || self.has_ended_port_alone(one)
    }

    /// The editor whose folder a left-over is, and whether that stays.
    fn of_editor(&self, one: &Leftover) -> Option<&(String, bool)> {
        self.folders.get(&RealPath::parse(&one.thing.shown()).ok()?)
    }

    /// Says how a left-over goes, or why it stays.
    fn taken(&self, one: &Leftover, facts: &Facts, request: &Request) -> Result<Move, String> {
        let of_editor = self.of_editor(one);
        if !one.is_owned {
            return Err(format!("it belongs to {}", one.owner));
        }
        if let Some((what, true)) = of_editor {
            return Err(format!("{what} stays"));
        }
        if one.thing.is_mount {
            return Err("something is mounted there".into());
        }
        if let Some(mount) = one.survey.mounts.first() {
            let mount = escaped(&mount.to_string_lossy());
            return Err(format!("something is mounted in it: {mount}"));
        }
        if let Some(held) = &one.held {
            return Err(held.clone());
        }
        if let Some((pid, shown)) = one.users.iter().find(|(pid, _)| !self.ending.contains(pid)) {
            let who = if shown.is_empty() { format!("pid {pid}") } else { shown.clone() };
            return Err(format!("{who} uses it"));
        }
        if one.thing.kind == FileKind::Folder
            && one.thing.name.as_bytes().starts_with(PROGRAM_NAME)
            && let Some(name) = OF_PROGRAMS.iter().find(|name| one.survey.names.contains(**name))
        {
            let name = String::from_utf8_lossy(name);
            return Err(format!("it has a `{name}`, as an installed program has"));
        }
        if let Some(unsaved) = one.unsaved.as_ref().filter(|_| !request.force_unsaved) {
            return Err(format!("{unsaved} (--force-unsaved)"));
        }
        if !one.survey.is_whole && !request.force_unsaved {
            return Err("not all of it could be looked at (--force-unsaved)".into());
        }
        // A clock that was set back makes nothing younger than now.
        let age_ns = facts.now_ns.saturating_sub(one.survey.newest_ns).max(0);
        let is_left = facts.left_by_runs.contains(&one.thing.number);
        let of = of_editor.map(|(what, _)| what.as_str()).or_else(|| self.named_after(one));
        if of.is_none() && !is_left && age_ns < request.age_min_ns {
            // Without its own age: what is alike is one line.
            let least = u64::try_from(request.age_min_ns / 1_000_000).unwrap_or_default();
            let least = duration::shown(least);
            return Err(format!("it was changed less than {least} ago (--older-than)"));
        }
        let what = match of {
            Some(what) => journal::of_editor(what),
            None if is_left => "of an editor that an earlier run stopped".into(),
            None => format!("nobody uses it, user {}", one.owner),
        };
        Ok(Move {
            thing: one.thing.clone(),
            what,
            bytes: one.survey.bytes,
            is_session: false,
            is_of_nginx: false,
            is_more: !one.survey.is_whole,
            may_change: of.is_some() || is_left,
        })
    }

    fn session(&mut self, session: &Session, facts: &Facts, request: &Request) {
        let folded = session.id.to_ascii_lowercase();
        if !request.names(&session.id) {
            return;
        }
        let is_free = session.listening.iter().all(|one| self.is_ending(one));
        let ends = self.ended_ids.contains(&folded) || self.has_ended(session, request);
        let ends = ends && is_free;
        let what = match &session.life {
            _ if ends => "it announces an editor that is stopped".to_owned(),
            _ if !request.kinds.sessions || !request.of_user(Some(session.thing.uid)) => return,
            _ if self.staying_ids.contains_key(&folded) => return,
            // It is written before its editor listens.
            Ok(Life::Gone)
                if !facts.left_by_runs.contains(&session.thing.number)
                    && age_ns(facts, session) < request.age_min_ns =>
            {
                return self
                    .exclude(session.thing.shown(), "it is new: its editor may be starting");
            }
            Ok(Life::Gone) => "it announces an editor that is gone".to_owned(),
            Ok(Life::Listens) => {
                return self.exclude(session.thing.shown(), self.who_listens(session));
            }
            Err(why) => return self.exclude(session.thing.shown(), why.clone()),
        };
        self.moves.push(Step::Move(Move {
            thing: session.thing.clone(),
            what,
            bytes: session.room_bytes,
            is_session: true,
            is_of_nginx: false,
            is_more: false,
            // Its supervisor takes it away where it has the time.
            may_change: ends,
        }));
    }

    /// Says whether the editor that a session announces ends, by its port.
    fn has_ended(&self, session: &Session, request: &Request) -> bool {
        let ends = session.port.is_some_and(|port| {
            self.ended_ports.contains_key(&port) && !self.staying_ports.contains_key(&port)
        });
        ends && session.life.is_ok()
            && request.of_user(Some(session.thing.uid))
            && !self.staying_ids.contains_key(&session.id.to_ascii_lowercase())
    }

    fn is_ending(&self, one: &Listening) -> bool {
        one.pid.is_some_and(|pid| self.ending.contains(&pid))
    }

    /// Says why a session stays on whose port somebody listens.
    fn who_listens(&self, session: &Session) -> String {
        let is_ended = session.port.is_some_and(|port| self.ended_ports.contains_key(&port));
        match session.listening.iter().find(|one| !self.is_ending(one)).filter(|_| is_ended) {
            Some(other) => format!("{} listens on its port", other.shown),
            None => "its editor listens".to_owned(),
        }
    }

    fn entries(&mut self, facts: &Facts, request: &Request) {
        let mut by_database: BTreeMap<Database, Release> = BTreeMap::new();
        // A database belongs to all whose entries it has.
        let is_asked = request.kinds.databases && request.ids.is_empty() && request.uids.is_empty();
        let is_torn = |database: Database| facts.torn.iter().any(|(torn, _)| *torn == database);
        let torn = facts.torn.iter().map(|one| (one, true));
        let broken = torn.chain(facts.unfit.iter().map(|one| (one, false)));
        for ((database, path), is_torn) in broken.filter(|_| is_asked) {
            let release =
                Release { database: *database, path: path.clone(), ids: Vec::new(), is_torn };
            by_database.insert(*database, release);
        }
        for entry in &facts.entries {
            match self.releases(entry, request) {
                Ok(false) => {}
                Ok(true) => {
                    let release = by_database.entry(entry.database).or_insert_with(|| Release {
                        database: entry.database,
                        path: entry.path.clone(),
                        ids: Vec::new(),
                        is_torn: is_torn(entry.database),
                    });
                    release.ids.push(entry.id.clone());
                }
                Err(why) => {
                    let subject = format!("{} of {}", entry.id.escape_debug(), entry.path);
                    self.exclude(subject, why);
                }
            }
        }
        self.releases.extend(by_database.into_values().map(Step::Release));
    }

    /// Says whether an entry goes; `Err` why it stays, where it was asked for.
    fn releases(&self, entry: &Entry, request: &Request) -> Result<bool, String> {
        let folded = entry.id.to_ascii_lowercase();
        if self.ended_ids.contains(&folded) {
            return Ok(true);
        }
        if !request.names(&entry.id) || !request.uids.is_empty() {
            return Ok(false);
        }
        let ends = entry.port.is_some_and(|port| self.ended_ports.contains_key(&port));
        if ends {
            return Ok(true);
        }
        if !request.kinds.databases {
            return Ok(false);
        }
        if request.reset_all {
            return Ok(true);
        }
        if let Some(what) = self.staying_ids.get(&folded) {
            return Err(format!("{what} stays"));
        }
        if let Some(what) = entry.port.and_then(|port| self.staying_ports.get(&port)) {
            return Err(format!("{what} stays"));
        }
        match &entry.holder {
            Ok(None) if entry.is_coming => Err("its editor runs and does not listen yet".into()),
            Ok(None) => Ok(true),
            Ok(Some(holder)) => Err(format!("{holder} listens on its port")),
            Err(why) => Err(format!("nobody can tell who listens on its port: {why}")),
        }
    }

    /// Leaves out what no quarantine can hold.
    fn hold(&mut self, facts: &Facts) {
        for steps in [&mut self.moves, &mut self.unroutes] {
            for step in core::mem::take(steps) {
                match &step {
                    Step::Move(Move { thing, .. }) if facts.no_hold.contains_key(&thing.folder) => {
                        let reason = facts.no_hold.get(&thing.folder).cloned().unwrap_or_default();
                        self.exclusions.push(Exclusion { subject: thing.shown(), reason });
                    }
                    _ => steps.push(step),
                }
            }
        }
    }

    fn finish(mut self, facts: &Facts, request: &Request) -> Plan<Step> {
        self.hold(facts);
        let is_input = |step: &Step| match step {
            Step::Move(step) => step.is_session,
            Step::Release(_) | Step::Forget(_) => true,
            _ => false,
        };
        let changes_routes =
            [&self.moves, &self.releases, &self.forgets].into_iter().flatten().any(is_input);
        let mut steps = self.wanted;
        steps.extend(self.stops);
        steps.extend(self.containers);
        steps.extend(self.moves);
        let reloads = self.is_unread || !self.unroutes.is_empty();
        steps.extend(self.unroutes);
        // Before routes are published: what nginx refuses cannot be published beside.
        steps.extend(reloads.then_some(Step::Reload));
        steps.extend(self.releases);
        steps.extend(self.forgets);
        // A run that ended before it published has left nothing else to do.
        let is_all =
            request.kinds == Kinds::ALL && request.ids.is_empty() && request.uids.is_empty();
        let publishes = facts.is_published && (changes_routes || (is_all && facts.is_stale));
        steps.extend(publishes.then_some(Step::Publish));
        self.exclusions.sort();
        self.exclusions.dedup();
        Plan { steps, exclusions: self.exclusions }
    }
}

#[cfg(test)]
mod tests;
