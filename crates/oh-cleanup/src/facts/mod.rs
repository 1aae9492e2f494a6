//! What there is on the machine: gathered once, judged elsewhere.
//!
//! What cannot be looked at is a fact of its own and never dropped: a cleanup that does not see
//! everything has to say what it did not see.

pub(crate) mod clients;
pub(crate) mod containers;
mod editors;
pub(crate) mod entries;
pub(crate) mod generated;
mod held;
pub(crate) mod leftovers;
mod orphans;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod users;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use oh_host::process::{Identity, Pid, ProcessDir, ProcessFault, Processes};
use oh_host::publish::Host;
use oh_host::quarantine::{Number, Thing};
use oh_host::sockets::{self, Connections, Listener, UnixSockets};
use oh_host::survey::Survey;
use oh_host::users::{OwnerSet, Users};
use oh_model::container::{ContainerId, Engine, Listed};
use oh_model::id::InstanceId;
use oh_model::path::{InRoot, RealPath};
use oh_model::plan::Exclusion;
use oh_model::port::Port;
use oh_nginx_conf::generated::Generated;
use oh_term::text::several;

use crate::fault::Fault;
use crate::step::{Database, Kind};
use crate::unread;

/// Everything that a plan is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it was, in nanoseconds since the epoch.
    pub(crate) now_ns: i64,
    pub(crate) editors: Vec<Editor>,
    /// Containers of OpenHands that run, where they are asked for.
    pub(crate) containers: Vec<(Engine, Listed)>,
    pub(crate) leftovers: Vec<Leftover>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) entries: Vec<Entry>,
    /// The databases that are torn, each with its file.
    pub(crate) torn: Vec<(Database, InRoot)>,
    /// Those of which the application would make nothing, or whose ports it has lost.
    pub(crate) unfit: Vec<(Database, InRoot)>,
    /// The ids, folded, that a database has, whatever it says of them.
    pub(crate) known_ids: BTreeSet<String>,
    /// What an earlier run was to take of editors that it stopped, and did not.
    pub(crate) left_by_runs: BTreeSet<Number>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<Exclusion>,
    /// What was not looked at and keeps nothing of ours from being seen: others' processes.
    pub(crate) notes: Vec<Exclusion>,
    /// How many more things of others have the names of left-overs than are among those.
    pub(crate) more_of_others: usize,
    /// Whether `/proc` hides others' processes from us.
    pub(crate) is_partial: bool,
    /// Whether nginx serves routes of ours.
    pub(crate) is_published: bool,
    /// Whether those are others than there should be, as a run leaves them that ended before it published.
    pub(crate) is_stale: bool,
    /// Old files for nginx.
    pub(crate) generated: Vec<GeneratedFile>,
    /// Why nothing at all can be written down, where that is so.
    pub(crate) no_state: Option<String>,
    /// The folders whose things no quarantine can hold, each with the reason.
    pub(crate) no_hold: BTreeMap<RealPath, String>,
    /// Whether a run moved such files away, and was not seen to have nginx read what is left.
    pub(crate) is_unread: bool,
}

impl Facts {
    /// Leaves files for nginx alone that were seen to change between two looks.
    pub(crate) fn leave_changed(&mut self, changed: &[Thing]) {
        for file in self.generated.iter_mut().filter(|file| changed.contains(&file.thing)) {
            let why =
                format!("it was changed while it was looked at, and is uid {}'s", file.thing.uid);
            file.content = Err(why);
        }
    }
}

/// An editor, or what is left of one or of OpenHands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Editor {
    /// What it is, for people.
    pub(crate) what: String,
    pub(crate) kind: Kind,
    /// Why it stays, whoever asks; `None` where that is for the plan to say.
    pub(crate) kept: Option<String>,
    /// Its id, where it has a record.
    pub(crate) id: Option<InstanceId>,
    /// Whose it is; `None` where it has one user's rights and was started by another.
    pub(crate) uid: Option<u32>,
    /// Whether that is one of those whose editors may be cleaned up.
    pub(crate) is_owned: bool,
    /// What was started first, or is left of it.
    pub(crate) leaders: Vec<Identity>,
    /// Its processes.
    pub(crate) pids: BTreeSet<Pid>,
    /// Who started it and lives, each with the time of its start: not the first process, nor what takes the
    /// orphans of its user.
    pub(crate) starters: BTreeSet<(Pid, u64)>,
    /// How many browsers are connected; `None` where nobody can tell, and why is not asked.
    pub(crate) connections: Option<usize>,
    /// Who is connected, as far as that is known.
    pub(crate) clients: Vec<clients::Who>,
    /// Where it listens, or was told to.
    pub(crate) ports: BTreeSet<Port>,
    /// Whether it is in another pid or mount namespace, as in a container.
    pub(crate) is_elsewhere: bool,
    /// The container that it is in, where its control groups name one.
    pub(crate) container: Option<ContainerId>,
    /// The folders that it was given for its own things.
    pub(crate) folders: BTreeSet<RealPath>,
    /// Whether this very command was started in it.
    pub(crate) is_around_us: bool,
    /// Why it is one of ours.
    pub(crate) why: String,
}

/// A thing that has the name of a left-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) thing: Thing,
    /// Its owner, for people.
    pub(crate) owner: String,
    /// Whether that is one of those whose things may be cleaned up.
    pub(crate) is_owned: bool,
    pub(crate) survey: Survey,
    /// Who uses it: the process, with its name and user for people.
    pub(crate) users: Vec<(Pid, String)>,
    /// Whether somebody holds its lock.
    pub(crate) is_locked: bool,
    /// That somebody listens on it, or holds its lock, and who.
    pub(crate) held: Option<String>,
    /// What in it is not saved anywhere else, where it was looked for.
    pub(crate) unsaved: Option<String>,
}

/// A file that announces a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// Its id: the name of the file without its ending.
    pub(crate) id: String,
    pub(crate) thing: Thing,
    /// How much room it has on its disk, in bytes.
    pub(crate) room_bytes: u64,
    /// The port that it says its editor has, where it says one.
    pub(crate) port: Option<Port>,
    /// Who listens on that port.
    pub(crate) listening: Vec<Listening>,
    /// Whether its editor is there; `Err` says why that is not known.
    pub(crate) life: Result<Life, String>,
}

/// Whether the editor of a session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Listens,
    Gone,
}

/// What a database says of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) database: Database,
    pub(crate) path: InRoot,
    /// The id, as it is written.
    pub(crate) id: String,
    pub(crate) port: Option<Port>,
    /// Who listens on its port, for people; `None` where nobody does, `Err` where nobody can tell.
    pub(crate) holder: Result<Option<String>, String>,
    /// Whether a process with the number of the entry is an editor with its port.
    pub(crate) is_coming: bool,
}

/// A file among those that the generators of the original applications wrote for nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GeneratedFile {
    pub(crate) thing: Thing,
    /// Its name, as far as it is the id of a repository.
    pub(crate) stem: String,
    /// What it routes; `Err` why it is none of theirs.
    pub(crate) content: Result<Generated, String>,
    /// Who listens on the ports that it leads to; `Err` where nobody can tell.
    pub(crate) listening: BTreeMap<Port, Result<Vec<Listening>, String>>,
}

/// Somebody who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listening {
    /// The process, where it is an editor's.
    pub(crate) pid: Option<Pid>,
    /// Who it is, for people.
    pub(crate) shown: String,
}

/// What is looked at, and with whose eyes.
pub(crate) struct Look<'l> {
    pub(crate) host: &'l Host,
    pub(crate) users: Users,
    /// Who looks.
    me: u32,
    /// Those whose things may be cleaned up.
    pub(crate) owners: OwnerSet,
    pub(crate) all: Processes,
    /// This process and those that it came from.
    pub(crate) own: BTreeSet<Pid>,
    /// Who waits for connections, or why nobody can tell.
    pub(crate) listeners: Result<Vec<Listener>, String>,
    /// Those by their ports, the first of each, and by their sockets: where those are in the list.
    by_port: BTreeMap<u16, usize>,
    by_inode: BTreeMap<u64, Vec<usize>>,
    /// Who is connected to whom; `None` where nobody can tell.
    pub(crate) connections: Option<Connections>,
    /// Who waits on unix sockets, and who is connected to them, or why nobody can tell.
    pub(crate) sockets: Result<UnixSockets, String>,
    pub(crate) unseen: Vec<Exclusion>,
    /// What was not looked at and keeps nothing of ours from being seen.
    notes: Vec<Exclusion>,
    /// How many things of others were counted and not named.
    pub(crate) more_of_others: usize,
}

impl<'l> Look<'l> {
    pub(crate) fn begin(host: &'l Host) -> Result<Self, Fault> {
        let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
        let all = Processes::look()?;
        let own = all.ancestors_of(Pid::own()).into_iter().chain([Pid::own()]).collect();
        let me = rustix::process::geteuid().as_raw();
        let owners = owners(host, &users);
        let listeners = sockets::listeners().map_err(|fault| fault.to_string());
        let sockets = UnixSockets::look().map_err(|fault| fault.to_string());
        let (mut by_port, mut by_inode) = (BTreeMap::new(), BTreeMap::<u64, Vec<usize>>::new());
        for (at, one) in listeners.iter().flatten().enumerate() {
            by_port.entry(one.address.port()).or_insert(at);
            by_inode.entry(one.inode).or_default().push(at);
        }
        let (connections, unseen) = (Connections::look().ok(), Vec::new());
        Ok(Self {
            host,
            users,
            me,
            owners,
            all,
            own,
            listeners,
            by_port,
            by_inode,
            connections,
            sockets,
            unseen,
            notes: Vec::new(),
            more_of_others: 0,
        })
    }

    /// Returns who listens on a port; `Err` where nobody can tell.
    pub(crate) fn listener(&self, port: Port) -> Result<Option<&Listener>, String> {
        let listeners = self.listeners.as_ref().map_err(Clone::clone)?;
        Ok(self.by_port.get(&port.get()).and_then(|at| listeners.get(*at)))
    }

    /// Returns those of these sockets that wait for connections; `None` where nobody can tell.
    pub(crate) fn listening(&self, inodes: &BTreeSet<u64>) -> Option<Vec<&Listener>> {
        let listeners = self.listeners.as_ref().ok()?;
        let all = inodes.iter().filter_map(|inode| self.by_inode.get(inode)).flatten();
        Some(all.filter_map(|at| listeners.get(*at)).collect())
    }

    /// Says whether the things of a user may be cleaned up.
    pub(crate) fn is_owned(&self, uid: u32) -> bool {
        // Whom a set of owners believes is root too, whoever asks.
        self.owners.contains(uid) && (self.me == 0 || self.me == uid)
    }

    /// Who started a process, where that is neither the first process nor somebody's systemd.
    fn starter(&self, pid: Pid) -> Option<(Pid, u64)> {
        let parent = self.all.get(pid)?.parent.filter(|parent| *parent != Pid::INIT)?;
        let stat = self.all.get(parent)?;
        (stat.name != "systemd").then_some((parent, stat.start_time_ticks))
    }

    /// Says that something was not looked at.
    pub(crate) fn miss(&mut self, subject: impl Into<String>, reason: impl Into<String>) {
        self.unseen.push(Exclusion { subject: subject.into(), reason: reason.into() });
    }

    /// Names a process for people.
    pub(crate) fn shown(&self, pid: Pid, uid: u32) -> String {
        let name = self.all.get(pid).map(|stat| stat.name.escape_debug().to_string());
        format!("pid {pid} ({}, user {})", name.unwrap_or_default(), self.users.shown(uid))
    }
}

/// Processes that could not be looked at for themselves: they keep no other from being seen.
#[derive(Debug, Default)]
struct Unread {
    /// How many are of users whose things may be cleaned up, and why that was so of the first of them.
    ours: (usize, Option<String>),
    /// The same of others': they keep nothing, and anybody can make such a one.
    others: (usize, Option<String>),
}

impl Unread {
    fn add(&mut self, look: &Look<'_>, pid: Pid, fault: &ProcessFault) {
        let uid = ProcessDir::open(pid).and_then(|process| process.uid());
        let is_others = uid.is_ok_and(|uid| !look.owners.contains(uid));
        let (count, why) = if is_others { &mut self.others } else { &mut self.ours };
        *count += 1;
        why.get_or_insert_with(|| crate::apply::chain(fault));
    }

    /// Says so once, however many there are.
    fn say(self, look: &mut Look<'_>) {
        let what = |count: usize| several(count, "process");
        if let (count, Some(why)) = self.ours {
            look.miss(what(count), why);
        }
        if let (count, Some(why)) = self.others {
            let subject = format!("{} of others", what(count));
            // Editors and orphans are both looked for, and may both meet it.
            let note = Exclusion { subject, reason: why };
            if !look.notes.contains(&note) {
                look.notes.push(note);
            }
        }
    }
}

/// Looks at everything; writes nothing.
pub(crate) fn gather(look: &mut Look<'_>) -> Result<Facts, Fault> {
    let editors = running(look)?;
    let leftovers = leftovers::gather(look, &editors);
    let sessions = sessions::gather(look, &editors);
    let (entries, entries::Broken { torn, unfit, known_ids }) = entries::gather(look);
    let generated = generated::gather(look, &editors);
    let is_unread = !unread::unread(look.host).is_empty();
    let left_by_runs = runs::gather(look);
    let is_published = oh_host::publish::traces(look.host).is_ok_and(|traces| !traces.is_empty());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let no_hold = held::no_hold(look.host, &leftovers, &sessions, &generated);
    Ok(Facts {
        no_state: held::no_state(look.host),
        no_hold,
        now_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        editors,
        containers: Vec::new(),
        leftovers,
        sessions,
        entries,
        torn,
        unfit,
        known_ids,
        left_by_runs,
        more_of_others: look.more_of_others,
        is_partial: look.all.partial,
        unseen: look.unseen.clone(),
        notes: look.notes.clone(),
        is_published,
        is_stale: is_published && is_stale(look.host),
        generated,
        is_unread,
    })
}

/// Says whether publishing would change what nginx serves; where that cannot be told, nothing is said of it.
fn is_stale(host: &Host) -> bool {
    let facts = oh_host::publish::gather(host).ok();
    let plan = facts.and_then(|facts| oh_host::publish::plan(&facts).ok());
    plan.is_some_and(|plan| !plan.steps.is_empty())
}

/// Looks at the editors, and at what is left of OpenHands.
fn running(look: &mut Look<'_>) -> Result<Vec<Editor>, Fault> {
    let mut editors = editors::gather(look)?;
    let known = editors.iter().flat_map(|editor| editor.pids.iter().copied()).collect();
    editors.extend(orphans::gather(look, &known)?);
    clients::name(look, &mut editors);
    Ok(editors)
}

/// Looks at those alone, as they are now.
pub(crate) fn editors_now(host: &Host) -> Result<Vec<Editor>, Fault> {
    running(&mut Look::begin(host)?)
}

/// Returns who listens by now on which of these ports, for people; `Err` where nobody can tell.
pub(crate) fn held_ports(ports: &BTreeSet<Port>) -> Result<BTreeMap<Port, String>, String> {
    let listeners = sockets::listeners().map_err(|fault| crate::apply::chain(&fault))?;
    let of_ports: Vec<(Port, &Listener)> = listeners
        .iter()
        .filter_map(|one| Some((Port::new(one.address.port().into())?, one)))
        .filter(|(port, _)| ports.contains(port))
        .collect();
    if of_ports.is_empty() {
        return Ok(BTreeMap::new());
    }
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let holders = sockets::holders(&of_ports.iter().map(|(_, one)| one.inode).collect());
    let shown = |one: &Listener| match holders.get(&one.inode) {
        Some(pid) => {
            let stat = ProcessDir::open(*pid).and_then(|process| process.stat());
            let name = stat.map(|stat| stat.name.escape_debug().to_string()).unwrap_or_default();
            format!("pid {pid} ({name}, user {})", users.shown(one.uid))
        }
        None => format!("user {}", users.shown(one.uid)),
    };
    Ok(of_ports.into_iter().map(|(port, one)| (port, shown(one))).collect())
}

/// Those whose editors and left-overs may be cleaned up; for anybody but root that is themselves.
pub(crate) fn owners(host: &Host, users: &Users) -> OwnerSet {
    let me = rustix::process::geteuid().as_raw();
    if me != 0 {
        return OwnerSet::of_numbers([me]);
    }
    let settings = &host.settings;
    let configured = settings.cleanup.owners.iter().map(ToString::to_string);
    let editors = settings.instances.user.iter().chain([&settings.sessions.user]);
    let words: Vec<String> = configured.chain(editors.map(ToString::to_string)).collect();
    OwnerSet::of_words(words.iter().map(String::as_str), users).0
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use oh_host::settings::{self, Wish};

    use super::*;

    /// A process of a user whose things are nobody's to clean up.
    fn other() -> (Option<Child>, Pid) {
        if !rustix::process::geteuid().is_root() {
            return (None, Pid::INIT);
        }
        let child = Command::new("sleep").arg("60").uid(54_321).spawn().unwrap();
        let pid = Pid::new(child.id()).unwrap();
        (Some(child), pid)
    }

    #[test]
    fn what_cannot_be_looked_at_of_others_is_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
        let host = settings::find(&wish).unwrap().into_host();
        let mut look = Look::begin(&host).unwrap();
        look.owners = OwnerSet::of_numbers([rustix::process::geteuid().as_raw()]);
        let (child, other) = other();
        let fault = |pid| ProcessFault::Gone(pid);
        let mut unread = Unread::default();
        [other, other, Pid::own()].into_iter().for_each(|pid| unread.add(&look, pid, &fault(pid)));
        unread.say(&mut look);
        if let Some(mut child) = child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let shown = |all: &[Exclusion]| -> Vec<String> {
            all.iter().map(|one| one.subject.clone()).collect()
        };
        assert_eq!(shown(&look.unseen), ["1 process"]);
        assert_eq!(shown(&look.notes), ["2 processes of others"]);
    }
}
