//! What instances use: one pass over the machine, for many of them at once.
//!
//! Two stages: `stat` of every process, then the arguments and the memory of those that belong to
//! an instance; each on several processors, because most of it is the kernel's work. What belongs is found as [`crate::members`] says; tokens are looked for only where
//! it is asked, because that reads the environment of everybody. Nothing is kept between two
//! passes and nothing is judged: [`oh_model::idleness`] does, from [`Look::observation`].
//!
//! What cannot be seen is said, and never a zero: a process that only root may look into has no
//! PSS, and with `hidepid` the look is [`Look::partial`].

mod roles;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use oh_model::idleness::{Heartbeat, Observation};
use oh_model::path::RealPath;
use oh_model::port::Port;
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::boot::{BootFault, boot_id};
use crate::members::{self, Key, Met, Target, Tokens, is_candidate, key};
use crate::parallel;
use crate::process::{Glance, Pid, ProcessDir, ProcessFault, ProcessStat, Processes, settle};
use crate::sockets::{Connections, UnixSockets};
use crate::spawn::TOKEN_CHARACTERS_MIN;

pub use roles::Role;

/// An instance to look at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What was started.
    pub target: Target,
    /// Where its server listens; `None` where that is not to be counted.
    pub door: Option<Door>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// A port of the loopback.
    Port(Port),
    /// A unix socket, by the path that it was bound to.
    Socket(RealPath),
}

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closely {
    /// Looks for tokens too, and so finds the orphans of leaders that are gone.
    pub tokens: bool,
    /// Reads the PSS of each member: the kernel walks all of its memory for it.
    pub proportional: bool,
}

/// What one pass saw.
#[derive(Debug, Clone)]
pub struct Look {
    /// When it was, in milliseconds since the boot (`CLOCK_BOOTTIME`).
    pub at_ms: u64,
    /// How many clock ticks a second of processor time has.
    pub ticks_per_second: u64,
    /// Whether `/proc` hides others' processes (`hidepid`): then some members may be missing.
    pub partial: bool,
    /// How many processes might carry a token and did not let us see; 0 where none was looked for.
    pub unread_environments: usize,
    /// One for each subject, in their order.
    pub instances: Vec<Usage>,
}

/// What became of an instance's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// It lives, since that long.
    Alive {
        /// How long, in milliseconds; sleep of the machine counts.
        uptime_ms: u64,
    },
    /// It is gone, or nobody knows which it was. What it left is found by tokens only.
    Gone,
    /// Its number belongs to a process now that is none of ours.
    Stranger,
    /// The kernel does not let us tell.
    Denied,
}

/// What an instance uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// What became of its leader.
    pub leader: Leader,
    /// Its processes as a tree: a child stands below its parent, siblings in rising order.
    pub processes: Vec<Member>,
    /// The terminals that were opened in it, in rising order of their sessions.
    pub terminals: Vec<Terminal>,
    /// How many connections its server has.
    pub connections: Count,
}

/// A number that may be unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Known(usize),
    /// It cannot be told, for this reason.
    Unknown(String),
    /// There was no question: the subject has no door.
    NotAsked,
}

/// A process of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: Pid,
    /// When it started, in clock ticks since the boot; with the number it is this very process.
    pub start_time_ticks: u64,
    /// Its parent, which is a member or not.
    pub parent: Option<Pid>,
    /// How many members stand above it.
    pub depth: usize,
    /// Its name, which it may choose itself; for people.
    pub name: String,
    /// Its state, as in [`ProcessStat::state`].
    pub state: char,
    /// What it is to the editor.
    pub role: Role,
    /// The processor time of itself and of its children that ended, in clock ticks.
    pub cpu_ticks: u64,
    /// The memory that it has resident, in bytes; what it shares with others counts in full.
    pub resident_bytes: u64,
    /// Its share of that memory (PSS); `None` where it was not asked or is not permitted.
    pub proportional_bytes: Option<u64>,
}

/// A terminal that was opened in an instance: one session with a controlling terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The session: the number of the shell that leads it, while that lives.
    pub session: Pid,
    /// The processes in it beside its shell, in rising order; stopped ones too.
    pub jobs: Vec<Pid>,
    /// What goes on in it.
    pub now: Now,
}

/// What goes on in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// A shell, alone and asleep in the foreground, waits for somebody to type.
    Waiting,
    /// Anything else.
    Busy,
}

impl Usage {
    /// Returns the processor time of all members, in clock ticks; what ended and was waited for by
    /// a member stays in it, so the difference of two looks is what was used in between.
    pub fn cpu_ticks(&self) -> u64 {
        self.processes.iter().map(|member| member.cpu_ticks).sum()
    }

    /// Returns the resident memory of all members in bytes; what they share counts for each.
    pub fn resident_bytes(&self) -> u64 {
        self.processes.iter().map(|member| member.resident_bytes).sum()
    }

    /// Returns the memory of the instance in bytes, with its share of what others have too (PSS);
    /// `None` where it is not known of every member.
    pub fn proportional_bytes(&self) -> Option<u64> {
        self.processes.iter().map(|member| member.proportional_bytes).sum()
    }

    /// Returns how many terminals have more than a shell that waits.
    pub fn busy_terminals(&self) -> usize {
        self.terminals.iter().filter(|terminal| terminal.now == Now::Busy).count()
    }
}

impl Look {
    /// Puts down what [`oh_model::idleness`] judges of one instance. The heartbeat is what its
    /// `/healthz` said, where it has one; ask after the look, or the question is a connection. An
    /// instance without a door is never idle: nobody knows who is connected.
    pub fn observation(&self, instance: &Usage, heartbeat: Option<Heartbeat>) -> Observation {
        Observation {
            at_ms: self.at_ms,
            cpu_ticks: instance.cpu_ticks(),
            ticks_per_second: self.ticks_per_second,
            connections: match instance.connections {
                Count::Known(count) => u64::try_from(count).ok(),
                Count::Unknown(_) | Count::NotAsked => None,
            },
            busy_terminals: (!self.partial)
                .then(|| u64::try_from(instance.busy_terminals()).ok())
                .flatten(),
            heartbeat,
        }
    }
}

/// Says why nothing was seen.
#[derive(Debug, Error)]
pub enum UsageFault {
    /// A token is too short to be nobody else's.
    #[error("a token has fewer than {TOKEN_CHARACTERS_MIN} characters")]
    Token,
    /// The boot is not known.
    #[error("cannot tell which boot this is")]
    Boot(#[from] BootFault),
    /// The processes cannot be looked at.
    #[error("cannot look at the processes")]
    Look(#[from] ProcessFault),
}

/// Looks at all of them at one moment.
///
/// # Errors
/// [`UsageFault`]. A single process or table that cannot be read is said in the answer.
pub fn look(subjects: &[Subject], closely: Closely) -> Result<Look, UsageFault> {
    let targets = || subjects.iter().map(|subject| &subject.target);
    if members::with_short_token(targets()).is_some() {
        return Err(UsageFault::Token);
    }
    let at = boot_time();
    let boot_id = boot_id()?;
    let leaders = targets()
        .map(|target| match &target.identity {
            Some(identity) => members::meet(identity, &boot_id),
            None => Ok(Met::Gone),
        })
        .collect::<Result<Vec<Met>, ProcessFault>>()?;
    let all = Processes::look()?;
    let mut owners = Owners::of_leaders(&leaders, &all);
    let tokens = if closely.tokens { Tokens::of(targets()) } else { Tokens::default() };
    let unread_environments = owners.add_carriers(&all, &tokens)?;
    owners.add_kin(&all);
    let doors = Doors::look(subjects);
    let found = owners.by_target(&all, subjects.len());
    let members = found.concat();
    let mut closer = parallel::map(&members, |stat| look_closer(stat, closely)).into_iter();
    let unit = Unit::of_machine();
    let instances = subjects.iter().zip(leaders).zip(found).map(|((subject, met), stats)| {
        let leader = match met {
            Met::Itself(_, stat) => Leader::Alive { uptime_ms: unit.since(&stat, at) },
            Met::Gone => Leader::Gone,
            Met::Stranger => Leader::Stranger,
            Met::Denied => Leader::Denied,
        };
        let identity = subject.target.identity.as_ref();
        let pid = identity.filter(|_| matches!(leader, Leader::Alive { .. })).map(|id| id.pid);
        let mut seen = Vec::with_capacity(stats.len());
        for (stat, closer) in stats.into_iter().zip(closer.by_ref()) {
            // What ended since uses nothing.
            seen.extend(closer?.map(|closer| (stat, closer)));
        }
        let (processes, terminals) = tree(pid, &seen, &unit);
        Ok(Usage { leader, processes, terminals, connections: doors.count(subject.door.as_ref()) })
    });
    let instances = instances.collect::<Result<Vec<Usage>, ProcessFault>>()?;
    Ok(Look {
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        ticks_per_second: unit.ticks_per_second,
        partial: all.partial,
        unread_environments,
        instances,
    })
}

/// Whose the processes are that were seen.
struct Owners(BTreeMap<Key, usize>);

impl Owners {
    fn of_leaders(leaders: &[Met], all: &Processes) -> Self {
        let mut owners = BTreeMap::new();
        for (target, met) in leaders.iter().enumerate() {
            if let Met::Itself(_, stat) = met {
                // One that ended since is in no look; two records of one process are one's.
                if all.get(stat.pid).is_some_and(|seen| key(seen) == key(stat)) {
                    owners.entry(key(stat)).or_insert(target);
                }
            }
        }
        Self(owners)
    }

    /// Adds what carries a token; returns how many environments could not be read.
    fn add_carriers(
        &mut self,
        all: &Processes,
        tokens: &Tokens<'_>,
    ) -> Result<usize, ProcessFault> {
        let mut unread = 0;
        if tokens.is_empty() {
            return Ok(unread);
        }
        let is_asked = |stat: &&ProcessStat| is_candidate(stat) && !self.0.contains_key(&key(stat));
        let asked: Vec<&ProcessStat> = all.stats.iter().filter(is_asked).collect();
        settle(asked, |asked| {
            let carried = parallel::map(&asked, |stat| {
                Ok(match tokens.carried_by(stat.pid)? {
                    // Held by none: there may be more of them than descriptors.
                    Glance::Seen(found) => Glance::Seen(found.map(|it| (it.target, key(&it.stat)))),
                    Glance::InExec => Glance::InExec,
                })
            });
            let mut in_exec = Vec::new();
            for (stat, carried) in asked.into_iter().zip(carried) {
                match carried {
                    Ok(Glance::Seen(Some((target, now)))) if now == key(stat) => {
                        self.0.insert(now, target);
                    }
                    Ok(Glance::Seen(_)) => {}
                    Ok(Glance::InExec) => in_exec.push(stat),
                    Err(ProcessFault::Denied { .. }) => unread += 1,
                    Err(fault) => return Err(fault),
                }
            }
            Ok(in_exec)
        })?;
        Ok(unread)
    }

    /// Adds children, and groups and sessions that members lead, until there are no more. Each process
    /// is come to from what was added in the round before: anybody may have thousands of them in one line.
    fn add_kin(&mut self, all: &Processes) {
        let [mut below, mut groups, mut sessions] = [const { BTreeMap::new() }; 3];
        let (mut leads, mut fresh) = (BTreeSet::new(), Vec::new());
        for (at, stat) in all.stats.iter().enumerate() {
            let numbers = [stat.parent, stat.group, stat.session];
            for (of, number) in [&mut below, &mut groups, &mut sessions].into_iter().zip(numbers) {
                if let Some(number) = number {
                    of.entry(number).or_insert_with(Vec::new).push(at);
                }
            }
            if let Some(target) = self.0.get(&key(stat)) {
                leads.insert(stat.pid);
                fresh.push((at, *target));
            }
        }
        while !fresh.is_empty() {
            let mut claimed: BTreeMap<usize, usize> = BTreeMap::new();
            let is_free = |owners: &Self, at: usize| {
                let stat = all.stats.get(at);
                stat.is_some_and(|stat| is_candidate(stat) && !owners.0.contains_key(&key(stat)))
            };
            let stat = |at: &(usize, usize)| all.stats.get(at.0);
            for (at, target) in &fresh {
                let children = all.stats.get(*at).and_then(|stat| below.get(&stat.pid));
                for child in children.into_iter().flatten().filter(|at| is_free(self, **at)) {
                    claimed.entry(*child).or_insert(*target);
                }
            }
            for (of, number) in [
                (&groups, (|stat| stat.group) as fn(&ProcessStat) -> Option<Pid>),
                (&sessions, |stat| stat.session),
            ] {
                // Those that one of ours leads, and that have one more of ours now, or its leader.
                let touched = fresh.iter().filter_map(stat);
                let touched = touched.flat_map(|stat| [Some(stat.pid), number(stat)]).flatten();
                let touched: BTreeSet<Pid> = touched.filter(|one| leads.contains(one)).collect();
                for members in touched.iter().filter_map(|one| of.get(one)) {
                    let target = members
                        .iter()
                        .rev()
                        .find_map(|at| self.0.get(&key(all.stats.get(*at)?)).copied());
                    let Some(target) = target else { continue };
                    for at in members.iter().filter(|at| is_free(self, **at)) {
                        claimed.entry(*at).or_insert(target);
                    }
                }
            }
            fresh = claimed.into_iter().collect();
            for (at, target) in &fresh {
                if let Some(stat) = all.stats.get(*at) {
                    self.0.insert(key(stat), *target);
                    leads.insert(stat.pid);
                }
            }
        }
    }

    fn by_target<'a>(&self, all: &'a Processes, targets: usize) -> Vec<Vec<&'a ProcessStat>> {
        let mut found = vec![Vec::new(); targets];
        for stat in &all.stats {
            let owner = self.0.get(&key(stat)).and_then(|target| found.get_mut(*target));
            owner.into_iter().for_each(|list| list.push(stat));
        }
        found
    }
}

/// What only members are asked for.
struct Closer {
    arguments: Vec<Vec<u8>>,
    proportional_bytes: Option<u64>,
}

/// Looks at a member once more; `None` where it is gone, and its number may be somebody else's.
fn look_closer(stat: &ProcessStat, closely: Closely) -> Result<Option<Closer>, ProcessFault> {
    let look = || {
        let process = ProcessDir::open(stat.pid)?;
        if key(&process.stat()?) != key(stat) {
            return Err(ProcessFault::Gone(stat.pid));
        }
        let arguments = match process.present_arguments() {
            Err(ProcessFault::Denied { .. }) => Vec::new(),
            read => read?,
        };
        let proportional_bytes = match closely.proportional.then(|| process.proportional_bytes()) {
            None | Some(Err(ProcessFault::Denied { .. })) => None,
            Some(read) => Some(read?),
        };
        Ok(Closer { arguments, proportional_bytes })
    };
    match look() {
        Err(fault) if fault.is_gone() => Ok(None),
        look => look.map(Some),
    }
}

/// Says what each process is to the editor, and puts them in the order of a tree.
fn tree(
    leader: Option<Pid>,
    seen: &[(&ProcessStat, Closer)],
    unit: &Unit,
) -> (Vec<Member>, Vec<Terminal>) {
    let known: Vec<roles::Known<'_>> = seen
        .iter()
        .map(|(stat, Closer { arguments, .. })| roles::Known { stat, arguments })
        .collect();
    let roles = roles::roles(leader, &known);
    let terminals = roles::terminals(&known, &roles);
    let members = seen.iter().map(|(stat, closer)| Member {
        pid: stat.pid,
        start_time_ticks: stat.start_time_ticks,
        parent: stat.parent,
        depth: 0,
        name: stat.name.clone(),
        state: stat.state,
        role: roles.get(&stat.pid).copied().unwrap_or(Role::Helper),
        cpu_ticks: stat.cpu_ticks.saturating_add(stat.cpu_ticks_of_children),
        resident_bytes: stat.resident_pages.saturating_mul(unit.page_bytes),
        proportional_bytes: closer.proportional_bytes,
    });
    (in_order_of_tree(members.collect()), terminals)
}

fn in_order_of_tree(members: Vec<Member>) -> Vec<Member> {
    let pids: BTreeSet<Pid> = members.iter().map(|member| member.pid).collect();
    let mut below: BTreeMap<Option<Pid>, Vec<Member>> = BTreeMap::new();
    for member in members {
        let parent = member.parent.filter(|parent| pids.contains(parent));
        below.entry(parent).or_default().push(member);
    }
    let mut ordered = Vec::with_capacity(pids.len());
    let mut open = below.remove(&None).unwrap_or_default();
    open.reverse();
    while let Some(member) = open.pop() {
        let children = below.remove(&Some(member.pid)).unwrap_or_default();
        let depth = member.depth + 1;
        open.extend(children.into_iter().rev().map(|child| Member { depth, ..child }));
        ordered.push(member);
    }
    ordered
}

/// The tables of connections, each read once and only where a subject needs it.
struct Doors {
    ports: Result<Option<Connections>, String>,
    sockets: Result<Option<UnixSockets>, String>,
}

impl Doors {
    fn look(subjects: &[Subject]) -> Self {
        let doors = || subjects.iter().filter_map(|subject| subject.door.as_ref());
        let ports = doors().any(|door| matches!(door, Door::Port(_)));
        let sockets = doors().any(|door| matches!(door, Door::Socket(_)));
        Self {
            ports: ports.then(Connections::look).transpose().map_err(|fault| fault.to_string()),
            sockets: (sockets.then(UnixSockets::look).transpose())
                .map_err(|fault| fault.to_string()),
        }
    }

    fn count(&self, door: Option<&Door>) -> Count {
        let counted = match door {
            None => return Count::NotAsked,
            Some(Door::Port(port)) => {
                self.ports.as_ref().map(|table| table.as_ref().map(|table| table.to_port(*port)))
            }
            Some(Door::Socket(path)) => {
                self.sockets.as_ref().map(|table| table.as_ref().map(|table| table.to_path(path)))
            }
        };
        match counted {
            Ok(Some(count)) => Count::Known(count),
            Ok(None) => Count::NotAsked,
            Err(why) => Count::Unknown(why.clone()),
        }
    }
}

/// What the kernel counts in.
struct Unit {
    ticks_per_second: u64,
    page_bytes: u64,
}

impl Unit {
    fn of_machine() -> Self {
        Self {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or_default(),
        }
    }

    /// Returns how long a process lives, in milliseconds.
    fn since(&self, stat: &ProcessStat, at: Duration) -> u64 {
        let started_ms =
            u128::from(stat.start_time_ticks) * 1000 / u128::from(self.ticks_per_second);
        u64::try_from(at.as_millis().saturating_sub(started_ms)).unwrap_or(u64::MAX)
    }
}

fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests;
