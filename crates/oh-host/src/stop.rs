//! Ending what was started: all of it, nothing else, and not a moment longer than it takes.
//!
//! What belongs to a record is found as [`crate::members`] says: by its leader, descent, groups
//! and sessions, and its token. A process found once is held by its open `/proc` folder and
//! signalled through it, so a number that is reused meanwhile never leads to a stranger.
//!
//! This process, its ancestors and the first process are never signalled. Deciding *whether* to
//! stop is the caller's, and so is recording before that it is wanted stopped: something that
//! restarts it would be stopped again and again only until the time is over.

mod group;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use thiserror::Error;

use self::group::Group;
use crate::boot::{BootFault, BootId, boot_id};
use crate::members::{self, By, Key, Kin, Met, Tokens, is_candidate, key};
use crate::process::{
    Glance, Pid, ProcessDir, ProcessFault, ProcessStat, Processes, Sent, Signal, settle,
};
use crate::signals::Interrupts;
use crate::spawn::TOKEN_CHARACTERS_MIN;

pub use crate::members::Target;

/// How long after SIGKILL a process may take to go before it counts as surviving.
pub const KILL_WAIT: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How many processes are held open at once; more are recognised by their start time alone.
const HELD_MAX: usize = 512;

/// How many control groups are ended as a whole: whoever may make more takes no descriptors that the looks
/// at processes need.
const GROUPS_MAX: usize = 32;
/// How often in a row a control group is looked at whose processes become more meanwhile.
const GROUP_LOOKS_MAX: usize = 8;

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It went after SIGTERM.
    Term,
    /// It went after SIGKILL.
    Kill,
    /// It was gone before anything was sent to it.
    AlreadyGone,
    /// Its number belongs to another process now, which was left alone.
    Stranger,
    /// It is still there after SIGKILL: it hangs in the kernel, or was made too late.
    Survived,
    /// The kernel did not let us signal it.
    Denied,
    /// It is this process or one of its ancestors, and was left alone.
    Protected,
    /// It got SIGTERM, and its end was not waited for, because whoever waits was interrupted.
    Asked,
}

/// One process that belongs to a record, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which of the targets it belongs to, from 0.
    pub target: usize,
    /// The process.
    pub pid: Pid,
    /// Its name, for people; empty for one that was never seen.
    pub name: String,
    /// What became of it.
    pub how: How,
}

impl Outcome {
    /// Says whether nothing is left to do about it.
    pub const fn is_settled(&self) -> bool {
        matches!(self.how, How::Term | How::Kill | How::AlreadyGone | How::Stranger)
    }
}

/// Says why nothing was stopped, or why it is not known what was.
#[derive(Debug, Error)]
pub enum StopFault {
    /// A token is too short to be nobody else's.
    #[error("a token has fewer than {TOKEN_CHARACTERS_MIN} characters")]
    Token,
    /// The boot is not known.
    #[error("cannot tell which boot this is")]
    Boot(#[from] BootFault),
    /// The processes cannot be looked at.
    #[error("cannot look at the processes")]
    Look(#[source] ProcessFault),
}

/// Stops everything that belongs to the targets.
///
/// Sends SIGTERM (and SIGCONT, without which a stopped process would never see it), returns the
/// moment everything is gone, and after `grace` sends SIGKILL to what is left and to what that
/// has started meanwhile, for [`KILL_WAIT`] at most; a control group that has nothing else in it gets it
/// as a whole (`cgroup.kill`). A process that is dead and not yet reaped is
/// gone. The outcomes are sorted by target and pid.
///
/// # Errors
/// [`StopFault`]. A single process that cannot be stopped is an outcome, not an error.
pub fn stop(targets: &[Target], grace: Duration) -> Result<Vec<Outcome>, StopFault> {
    Run::new(targets)?.run(grace)
}

/// [`stop`] that waits no longer than until a signal comes, and then kills nothing whose grace is not
/// over: what lives by then is [`How::Asked`].
///
/// # Errors
/// As [`stop`].
pub fn stop_unless(
    targets: &[Target],
    grace: Duration,
    interrupts: &Interrupts,
) -> Result<Vec<Outcome>, StopFault> {
    Run { interrupts: Some(interrupts), ..Run::new(targets)? }.run(grace)
}

/// Stops everything that belongs to the targets, even what this process came from, but not this process,
/// which is none of theirs then, as [`stop_unless`] does. Whoever calls it has to live on without a
/// terminal.
///
/// # Errors
/// As [`stop`].
pub fn stop_around_us(
    targets: &[Target],
    grace: Duration,
    interrupts: &Interrupts,
) -> Result<Vec<Outcome>, StopFault> {
    let mut run = Run { interrupts: Some(interrupts), ..Run::new(targets)? };
    run.protected = [run.me, Pid::INIT].into();
    run.is_spared = true;
    run.run(grace)
}

/// Says whether anything lives that belongs to the targets, and touches nothing.
///
/// # Errors
/// [`StopFault`].
pub fn any_alive(targets: &[Target]) -> Result<bool, StopFault> {
    let mut run = Run::new(targets)?;
    run.meet_leaders()?;
    run.gather()?;
    run.any_alive()
}

/// Stops what belongs to the target, and all children of this process with what descends from them.
///
/// For a process to which the orphans of what it started come (`PR_SET_CHILD_SUBREAPER` of prctl(2)):
/// it finds those too that have rid themselves of token, group and session. A child with the token of
/// one of `others` is theirs and left alone.
///
/// # Errors
/// As [`stop`].
pub fn stop_with_children<'t>(
    target: &'t Target,
    others: &'t [Target],
    grace: Duration,
) -> Result<Vec<Outcome>, StopFault> {
    let mut run = Run::new(core::slice::from_ref(target))?;
    run.others = Some(Tokens::of(others));
    run.run(grace)
}

/// A process that is ours.
struct Known {
    target: usize,
    name: String,
    /// Held as long as there is room.
    held: Option<ProcessDir>,
    protected: bool,
    denied: bool,
    sent: Option<Signal>,
}

struct Run<'t> {
    targets: &'t [Target],
    boot_id: BootId,
    me: Pid,
    protected: BTreeSet<Pid>,
    known: BTreeMap<Key, Known>,
    /// What is said of leaders that are not signalled.
    leaders: Vec<Outcome>,
    /// Whose children of ours are not the first target's; `None` where none is for being ours.
    others: Option<Tokens<'t>>,
    /// Whether this process is none of the targets', whatever it came from.
    is_spared: bool,
    /// What ends the wait for those that were asked to end.
    interrupts: Option<&'t Interrupts>,
    /// Whether it did.
    is_cut: bool,
}

impl<'t> Run<'t> {
    fn new(targets: &'t [Target]) -> Result<Self, StopFault> {
        if members::with_short_token(targets).is_some() {
            return Err(StopFault::Token);
        }
        let me = Pid::own();
        let all = Processes::look().map_err(StopFault::Look)?;
        let mut protected: BTreeSet<Pid> = all.ancestors_of(me).into_iter().collect();
        protected.extend([me, Pid::INIT]);
        let boot_id = boot_id()?;
        let (known, leaders) = (BTreeMap::new(), Vec::new());
        Ok(Self {
            targets,
            boot_id,
            me,
            protected,
            known,
            leaders,
            others: None,
            is_spared: false,
            interrupts: None,
            is_cut: false,
        })
    }

    fn run(mut self, grace: Duration) -> Result<Vec<Outcome>, StopFault> {
        self.meet_leaders()?;
        self.gather()?;
        if !self.terminate(grace)? && !self.is_cut {
            self.kill()?;
        }
        self.outcomes()
    }

    /// Looks whether each recorded leader is still that process.
    fn meet_leaders(&mut self) -> Result<(), StopFault> {
        for (target, Target { identity, .. }) in self.targets.iter().enumerate() {
            let Some(identity) = identity else { continue };
            let how = match members::meet(identity, &self.boot_id).map_err(StopFault::Look)? {
                Met::Itself(process, stat) => {
                    self.learn(target, process, &stat);
                    continue;
                }
                Met::Stranger => How::Stranger,
                Met::Gone => How::AlreadyGone,
                Met::Denied => How::Denied,
            };
            self.leaders.push(Outcome { target, pid: identity.pid, name: String::new(), how });
        }
        Ok(())
    }

    /// Finds what belongs to the targets and is not known yet; returns how many there are.
    fn gather(&mut self) -> Result<usize, StopFault> {
        let all = Processes::look().map_err(StopFault::Look)?;
        let before = self.known.len();
        self.find_tokens(&all)?;
        // Each generation may bring the next one in.
        loop {
            let count = self.known.len();
            self.find_families(&all)?;
            if self.known.len() == count {
                return Ok(count - before);
            }
        }
    }

    fn find_tokens(&mut self, all: &Processes) -> Result<(), StopFault> {
        let tokens = Tokens::of(self.targets);
        if tokens.is_empty() {
            return Ok(());
        }
        let unknown =
            |stat: &&ProcessStat| is_candidate(stat) && !self.known.contains_key(&key(stat));
        let unknown: Vec<Pid> = all.stats.iter().filter(unknown).map(|stat| stat.pid).collect();
        let settled = settle(unknown, |pids| {
            let mut in_exec = Vec::new();
            for pid in pids {
                match tokens.carried_by(pid) {
                    Ok(Glance::Seen(Some(it))) => self.learn(it.target, it.process, &it.stat),
                    Ok(Glance::InExec) => in_exec.push(pid),
                    // Whose environment we may not read we could not signal either.
                    Ok(Glance::Seen(None)) | Err(ProcessFault::Denied { .. }) => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(in_exec)
        });
        settled.map_err(StopFault::Look)
    }

    /// Finds children of what is known, and what is in the groups and sessions that it leads.
    fn find_families(&mut self, all: &Processes) -> Result<(), StopFault> {
        let mut kin = Kin::default();
        if self.others.is_some() {
            kin.take_children_of(self.me, 0);
        }
        let leads: BTreeSet<Pid> = self.leading_numbers();
        for stat in &all.stats {
            let Some(known) = self.known.get(&key(stat)) else { continue };
            // Those that were known when all were looked at, and live now: their numbers were
            // their own in between, and so were those of their groups and sessions.
            if stat.pid == self.me || !is_alive(&key(stat), known).map_err(StopFault::Look)? {
                continue;
            }
            kin.take_children_of(stat.pid, known.target);
            if !known.protected {
                kin.take_groups_of(stat, known.target, &leads);
            }
        }
        for stat in all.stats.iter().filter(|stat| is_candidate(stat)) {
            if self.known.contains_key(&key(stat)) {
                continue;
            }
            let Some((target, by)) = kin.claims(stat) else { continue };
            let look = || -> Result<_, ProcessFault> {
                let process = ProcessDir::open(stat.pid)?;
                let now = process.stat()?;
                let is_itself = key(&now) == key(stat) && is_candidate(&now);
                let is_ours = is_itself && self.still_holds(by, &now)? && !self.is_others(&now)?;
                Ok(is_ours.then_some((now, process)))
            };
            match look() {
                Ok(Some((now, process))) => self.learn(target, process, &now),
                Ok(None) | Err(ProcessFault::Gone(_) | ProcessFault::Denied { .. }) => {}
                Err(fault) => return Err(StopFault::Look(fault)),
            }
        }
        Ok(())
    }

    /// Says whether what made a process ours is so now, after it was opened: one of ours may have
    /// left a group since all were looked at, and the group's number be a stranger's.
    fn still_holds(&self, by: By, now: &ProcessStat) -> Result<bool, ProcessFault> {
        let stat_of = |key: Key| match self.known.get(&key) {
            Some(known) => reach(&key, known, ProcessDir::stat),
            None => Ok(None),
        };
        Ok(match by {
            By::Descent => true,
            By::Group(key) => stat_of(key)?.is_some_and(|ours| ours.group == now.group),
            By::Session(key) => stat_of(key)?.is_some_and(|ours| ours.session == now.session),
        })
    }

    /// Says whether a child of this process belongs to others.
    fn is_others(&self, now: &ProcessStat) -> Result<bool, ProcessFault> {
        let Some(others) = self.others.as_ref().filter(|_| now.parent == Some(self.me)) else {
            return Ok(false);
        };
        Ok(matches!(others.carried_by(now.pid)?, Glance::Seen(Some(_))))
    }

    /// The numbers that a group or session of ours may have: those of all that is or was known,
    /// and of leaders that are gone; not of one whose number is a stranger's.
    fn leading_numbers(&self) -> BTreeSet<Pid> {
        let gone = self.leaders.iter().filter(|leader| {
            leader.how == How::AlreadyGone
                && self
                    .targets
                    .get(leader.target)
                    .and_then(|target| target.identity.as_ref())
                    .is_some_and(|leader| leader.boot_id == self.boot_id)
        });
        self.known.keys().map(|(pid, _)| *pid).chain(gone.map(|leader| leader.pid)).collect()
    }

    fn learn(&mut self, target: usize, process: ProcessDir, stat: &ProcessStat) {
        if self.is_spared && stat.pid == self.me {
            return;
        }
        let protected = self.protected.contains(&stat.pid);
        let room = self.known.values().filter(|known| known.held.is_some()).count() < HELD_MAX;
        let known = Known {
            target,
            name: stat.name.clone(),
            held: room.then_some(process),
            protected,
            denied: false,
            sent: None,
        };
        self.known.entry(key(stat)).or_insert(known);
    }

    /// Asks all to end; true where nothing is left within the time.
    fn terminate(&mut self, grace: Duration) -> Result<bool, StopFault> {
        let deadline = Instant::now().checked_add(grace);
        let mut pause = PAUSE.0;
        self.send(&[Signal::TERM, Signal::CONT], false)?;
        loop {
            if !self.any_alive()? {
                // What ended may have started something as its last deed.
                if self.gather()? == 0 {
                    return Ok(true);
                }
                self.send(&[Signal::TERM, Signal::CONT], false)?;
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            if self.interrupts.is_some_and(Interrupts::is_asked) {
                self.is_cut = true;
                return Ok(false);
            }
            std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// Kills what is left, until two looks in a row find nothing.
    fn kill(&mut self) -> Result<(), StopFault> {
        let deadline = Instant::now() + KILL_WAIT;
        let mut pause = PAUSE.0;
        loop {
            let fresh = self.gather()?;
            self.kill_groups()?;
            self.send(&[Signal::KILL], true)?;
            if fresh == 0 && !self.any_alive()? && self.gather()? == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// Has the kernel end the control groups that have nothing but what is to end, each at once, with what
    /// is forked from then on. Where there is none, and for what is in others, there are the signals.
    fn kill_groups(&mut self) -> Result<(), StopFault> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for (key, known) in self.known.iter().filter(|(_, known)| !known.protected) {
            if groups.len() == GROUPS_MAX {
                break;
            }
            let group = reach(key, known, |process| Ok(Group::of(process)));
            // Whose group cannot be read is ended as one of none.
            groups.extend(group.ok().flatten().flatten());
        }
        for group in groups.values() {
            for _ in 0..GROUP_LOOKS_MAX {
                let Some(members) = group.members().filter(|members| !members.is_empty()) else {
                    break;
                };
                if let Some(keys) = self.all_known(&members) {
                    if group.kill() {
                        for key in keys {
                            self.known.entry(key).and_modify(|one| one.sent = Some(Signal::KILL));
                        }
                    }
                    break;
                }
                if self.gather()? == 0 {
                    // Somebody else is in it.
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns which of those that are to end these processes are; `None` where one is none of them.
    fn all_known(&self, members: &[Pid]) -> Option<Vec<Key>> {
        let mut keys = Vec::new();
        for pid in members {
            // Of one that is gone nobody can tell what it has left in the group.
            let key = key(&ProcessDir::open(*pid).and_then(|process| process.stat()).ok()?);
            if self.known.get(&key)?.protected {
                return None;
            }
            keys.push(key);
        }
        Some(keys)
    }

    /// Sends the signals to what lives: once to each, or again and again.
    fn send(&mut self, signals: &[Signal], again: bool) -> Result<(), StopFault> {
        for (key, known) in &mut self.known {
            if known.protected || (known.sent.is_some() && !again) {
                continue;
            }
            let sent = reach(key, known, |process| {
                let mut delivered = Sent::Gone;
                for signal in signals {
                    delivered = process.signal(*signal)?;
                }
                Ok(delivered)
            });
            match sent {
                Ok(Some(Sent::Delivered)) => known.sent = signals.first().copied(),
                // SIGTERM may have ended it before SIGCONT came.
                Ok(Some(Sent::Gone)) => known.sent = known.sent.or(signals.first().copied()),
                Ok(None) => {}
                Err(ProcessFault::Denied { .. }) => known.denied = true,
                Err(fault) => return Err(StopFault::Look(fault)),
            }
        }
        Ok(())
    }

    /// Says whether anything lives that could still go.
    fn any_alive(&self) -> Result<bool, StopFault> {
        for (key, known) in &self.known {
            if !known.protected && !known.denied && is_alive(key, known).map_err(StopFault::Look)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn outcomes(mut self) -> Result<Vec<Outcome>, StopFault> {
        let mut outcomes = core::mem::take(&mut self.leaders);
        for (key, known) in self.known {
            let alive = is_alive(&key, &known).map_err(StopFault::Look)?;
            let how = match known.sent {
                _ if known.protected => How::Protected,
                _ if alive && known.denied => How::Denied,
                Some(_) if alive && self.is_cut => How::Asked,
                _ if alive => How::Survived,
                None => How::AlreadyGone,
                Some(Signal::KILL) => How::Kill,
                Some(_) => How::Term,
            };
            outcomes.push(Outcome { target: known.target, pid: key.0, name: known.name, how });
        }
        outcomes.sort_by_key(|outcome| (outcome.target, outcome.pid));
        Ok(outcomes)
    }
}

/// Does something with a known process; `None` where it is gone.
fn reach<T>(
    key: &Key,
    known: &Known,
    act: impl FnOnce(&ProcessDir) -> Result<T, ProcessFault>,
) -> Result<Option<T>, ProcessFault> {
    let opened;
    let process = match &known.held {
        Some(process) => process,
        None => match ProcessDir::open(key.0) {
            Ok(process) => {
                opened = process;
                &opened
            }
            Err(fault) if fault.is_gone() => return Ok(None),
            Err(fault) => return Err(fault),
        },
    };
    match process.stat() {
        Ok(stat) if stat.start_time_ticks == key.1 && !stat.is_dead() => act(process).map(Some),
        Ok(_) => Ok(None),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn is_alive(key: &Key, known: &Known) -> Result<bool, ProcessFault> {
    Ok(reach(key, known, |_| Ok(()))?.is_some())
}

#[cfg(test)]
mod tests;
