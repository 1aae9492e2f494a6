//! Ending what was started: all of it, nothing else, and not a moment longer than it takes.
//!
//! What belongs to a record is found in four ways, because each alone misses some: the recorded
//! leader itself, what descends from it, what is in a process group or session that it or its
//! descendants lead, and whatever carries the record's token in its environment. The last finds
//! orphans of a leader that is long gone. A process found once is held by its open `/proc` folder
//! and signalled through it, so a number that is reused meanwhile never leads to a stranger.
//!
//! This process, its ancestors and the first process are never signalled. Deciding *whether* to
//! stop is the caller's, and so is recording before that it is wanted stopped: something that
//! restarts it would be stopped again and again only until the time is over.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use thiserror::Error;

use crate::boot::{BootFault, BootId, boot_id};
use crate::process::{
    Identity, Pid, ProcessDir, ProcessFault, ProcessStat, Processes, Sent, Signal,
};
use crate::spawn::{TOKEN_CHARACTERS_MIN, TOKEN_KEY};

/// How long after SIGKILL a process may take to go before it counts as surviving.
pub const KILL_WAIT: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How many processes are held open at once; more are recognised by their start time alone.
const HELD_MAX: usize = 512;

/// What is to be stopped, as it was written down.
#[derive(Debug, Clone)]
pub struct Target {
    /// The leader, where it is known.
    pub identity: Option<Identity>,
    /// The token in the environment of everything that it started.
    pub token: Option<String>,
}

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
    #[error(
        "the token of {} has fewer than {TOKEN_CHARACTERS_MIN} characters",
        .0.map_or_else(|| "a target".into(), |pid| format!("process {pid}"))
    )]
    Token(Option<Pid>),
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
/// has started meanwhile, for [`KILL_WAIT`] at most. A process that is dead and not yet reaped is
/// gone. The outcomes are sorted by target and pid.
///
/// # Errors
/// [`StopFault`]. A single process that cannot be stopped is an outcome, not an error.
pub fn stop(targets: &[Target], grace: Duration) -> Result<Vec<Outcome>, StopFault> {
    let mut run = Run::new(targets)?;
    run.meet_leaders()?;
    run.gather()?;
    if !run.terminate(grace)? {
        run.kill()?;
    }
    run.outcomes()
}

/// A process at one time of this boot.
type Key = (Pid, u64);

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
}

impl<'t> Run<'t> {
    fn new(targets: &'t [Target]) -> Result<Self, StopFault> {
        let short = |token: &&String| token.len() < TOKEN_CHARACTERS_MIN;
        if let Some(target) = targets.iter().find(|t| t.token.as_ref().filter(short).is_some()) {
            return Err(StopFault::Token(target.identity.as_ref().map(|leader| leader.pid)));
        }
        let me = Pid::own();
        let all = Processes::look().map_err(StopFault::Look)?;
        let mut protected: BTreeSet<Pid> = all.ancestors_of(me).into_iter().collect();
        protected.extend([me, Pid::INIT]);
        let boot_id = boot_id()?;
        let (known, leaders) = (BTreeMap::new(), Vec::new());
        Ok(Self { targets, boot_id, me, protected, known, leaders })
    }

    /// Looks whether each recorded leader is still that process.
    fn meet_leaders(&mut self) -> Result<(), StopFault> {
        for (target, Target { identity, .. }) in self.targets.iter().enumerate() {
            let Some(identity) = identity else { continue };
            let met = if identity.boot_id == self.boot_id {
                meet(identity)
            } else {
                Err(ProcessFault::Gone(identity.pid))
            };
            let how = match met {
                Ok(Some((process, stat))) => {
                    self.learn(target, process, &stat);
                    continue;
                }
                Ok(None) => How::Stranger,
                Err(fault) if fault.is_gone() => How::AlreadyGone,
                Err(ProcessFault::Denied { .. }) => How::Denied,
                Err(fault) => return Err(StopFault::Look(fault)),
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
        let tokens: Vec<(usize, &str)> = (self.targets.iter().enumerate())
            .filter_map(|(at, target)| Some((at, target.token.as_deref()?)))
            .collect();
        if tokens.is_empty() {
            return Ok(());
        }
        for stat in all.stats.iter().filter(|stat| is_candidate(stat)) {
            if self.known.contains_key(&key(stat)) {
                continue;
            }
            let look = ProcessDir::open(stat.pid)
                .and_then(|process| Ok((process.environment_value(TOKEN_KEY)?, process)));
            let (value, process) = match look {
                Ok((Some(value), process)) => (value, process),
                // Whose environment we may not read we could not signal either.
                Ok((None, _)) | Err(ProcessFault::Gone(_) | ProcessFault::Denied { .. }) => {
                    continue;
                }
                Err(fault) => return Err(StopFault::Look(fault)),
            };
            let owner = tokens.iter().find(|(_, token)| token.as_bytes() == value);
            if let Some((target, _)) = owner {
                // The number may have another process by now than when all were looked at; what
                // carries the token is ours in either case.
                match process.stat() {
                    Ok(stat) if is_candidate(&stat) => self.learn(*target, process, &stat),
                    Ok(_) => {}
                    Err(fault) if fault.is_gone() => {}
                    Err(fault) => return Err(StopFault::Look(fault)),
                }
            }
        }
        Ok(())
    }

    /// Finds children of what is known, and what is in the groups and sessions that it leads.
    fn find_families(&mut self, all: &Processes) -> Result<(), StopFault> {
        let (mut parents, mut groups, mut sessions) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let leads: BTreeSet<Pid> = self.leading_numbers();
        for stat in &all.stats {
            let Some(known) = self.known.get(&key(stat)) else { continue };
            // Those that were known when all were looked at, and live now: their numbers were
            // their own in between, and so were those of their groups and sessions.
            if stat.pid == self.me || !is_alive(&key(stat), known).map_err(StopFault::Look)? {
                continue;
            }
            parents.insert(stat.pid, known.target);
            if known.protected {
                continue;
            }
            let led = |number: &Pid| leads.contains(number);
            groups.extend(stat.group.filter(led).map(|group| (group, known.target)));
            sessions.extend(stat.session.filter(led).map(|session| (session, known.target)));
        }
        let member = |map: &BTreeMap<Pid, usize>, number: Option<Pid>| {
            number.and_then(|number| map.get(&number).copied())
        };
        for stat in all.stats.iter().filter(|stat| is_candidate(stat)) {
            if self.known.contains_key(&key(stat)) {
                continue;
            }
            let target = member(&parents, stat.parent)
                .or_else(|| member(&groups, stat.group))
                .or_else(|| member(&sessions, stat.session));
            let Some(target) = target else { continue };
            let look = ProcessDir::open(stat.pid).and_then(|p| Ok((p.stat()?, p)));
            match look {
                Ok((now, process)) if key(&now) == key(stat) && is_candidate(&now) => {
                    self.learn(target, process, &now);
                }
                Ok(_) | Err(ProcessFault::Gone(_) | ProcessFault::Denied { .. }) => {}
                Err(fault) => return Err(StopFault::Look(fault)),
            }
        }
        Ok(())
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

/// Opens a recorded process; `None` where the number is another's now.
fn meet(identity: &Identity) -> Result<Option<(ProcessDir, ProcessStat)>, ProcessFault> {
    let process = ProcessDir::open(identity.pid)?;
    let stat = process.stat()?;
    let recorded = stat.start_time_ticks == identity.start_time_ticks;
    if stat.is_dead() && recorded {
        // The dead have no arguments to be recognised by, and need not be told apart.
        return Err(ProcessFault::Gone(identity.pid));
    }
    Ok(process.is(identity)?.then_some((process, stat)))
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

fn is_candidate(stat: &ProcessStat) -> bool {
    !stat.is_kernel && !stat.is_dead() && stat.pid != Pid::INIT
}

fn key(stat: &ProcessStat) -> Key {
    (stat.pid, stat.start_time_ticks)
}

#[cfg(test)]
mod tests;
