//! What belongs to a record of something that was started.
//!
//! It is found in four ways, because each alone misses some: the recorded leader itself, what
//! descends from it, what is in a process group or session that it or its descendants lead, and
//! whatever carries the record's token in its environment. The last finds orphans of a leader that
//! is long gone, and is the dear one: it reads the environment of everybody.
//!
//! Here are the rules. [`crate::stop`] goes by them again and again until nothing is left, and
//! makes sure of each process before it is signalled; [`crate::usage`] goes by them once, over one
//! look at all processes.

use std::collections::{BTreeMap, BTreeSet};

use crate::boot::BootId;
use crate::process::{Identity, Pid, ProcessDir, ProcessFault, ProcessStat};
use crate::spawn::{TOKEN_CHARACTERS_MIN, TOKEN_KEY};

/// What was started, as it was written down.
#[derive(Debug, Clone)]
pub struct Target {
    /// The leader, where it is known.
    pub identity: Option<Identity>,
    /// The token in the environment of everything that it started.
    pub token: Option<String>,
}

/// A process at one time of this boot.
pub(crate) type Key = (Pid, u64);

pub(crate) fn key(stat: &ProcessStat) -> Key {
    (stat.pid, stat.start_time_ticks)
}

/// Says whether a process can belong to anything: it lives, and is no thread of the kernel's.
pub(crate) fn is_candidate(stat: &ProcessStat) -> bool {
    !stat.is_kernel && !stat.is_dead() && stat.pid != Pid::INIT
}

/// What became of a recorded leader.
#[derive(Debug)]
pub(crate) enum Met {
    /// It lives.
    Itself(ProcessDir, ProcessStat),
    /// It is gone, or was of an earlier boot.
    Gone,
    /// Its number belongs to another process now.
    Stranger,
    /// The kernel does not let us tell.
    Denied,
}

/// Looks whether a recorded leader is still that process.
pub(crate) fn meet(identity: &Identity, boot_id: &BootId) -> Result<Met, ProcessFault> {
    if identity.boot_id != *boot_id {
        return Ok(Met::Gone);
    }
    let look = || {
        let process = ProcessDir::open(identity.pid)?;
        let stat = process.stat()?;
        // The dead have no arguments to be recognised by, and need not be told apart.
        if stat.is_dead() && stat.start_time_ticks == identity.start_time_ticks {
            return Ok(Met::Gone);
        }
        Ok(if process.is(identity)? { Met::Itself(process, stat) } else { Met::Stranger })
    };
    match look() {
        Err(fault) if fault.is_gone() => Ok(Met::Gone),
        Err(ProcessFault::Denied { .. }) if identity.is_replaced() => Ok(Met::Stranger),
        Err(ProcessFault::Denied { .. }) => Ok(Met::Denied),
        met => met,
    }
}

/// Returns the first target whose token is too short to be nobody else's.
pub(crate) fn with_short_token<'t>(
    targets: impl IntoIterator<Item = &'t Target>,
) -> Option<&'t Target> {
    let short = |token: &String| token.len() < TOKEN_CHARACTERS_MIN;
    targets.into_iter().find(|target| target.token.as_ref().is_some_and(short))
}

/// The tokens of targets, by which their processes are recognised.
#[derive(Debug, Default)]
pub(crate) struct Tokens<'t>(Vec<(usize, &'t str)>);

impl<'t> Tokens<'t> {
    pub(crate) fn of(targets: impl IntoIterator<Item = &'t Target>) -> Self {
        let tokens = targets.into_iter().enumerate();
        Self(tokens.filter_map(|(at, target)| Some((at, target.token.as_deref()?))).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whose token the process with this number carries now: the number may have another
    /// process than when all were looked at, and what carries the token belongs in either case.
    ///
    /// # Errors
    /// [`ProcessFault::Denied`] for others' processes to anybody but root.
    pub(crate) fn carried_by(
        &self,
        pid: Pid,
    ) -> Result<Option<(usize, ProcessDir, ProcessStat)>, ProcessFault> {
        let look = || -> Result<_, ProcessFault> {
            let process = ProcessDir::open(pid)?;
            let Some(value) = process.environment_value(TOKEN_KEY)? else { return Ok(None) };
            let owner = self.0.iter().find(|(_, token)| token.as_bytes() == value);
            let Some((target, _)) = owner else { return Ok(None) };
            let stat = process.stat()?;
            Ok(is_candidate(&stat).then_some((*target, process, stat)))
        };
        match look() {
            Err(fault) if fault.is_gone() => Ok(None),
            found => found,
        }
    }
}

/// Whose children, and whose groups and sessions, belong to which target.
#[derive(Debug, Default)]
pub(crate) struct Kin {
    parents: BTreeMap<Pid, usize>,
    groups: BTreeMap<Pid, usize>,
    sessions: BTreeMap<Pid, usize>,
}

impl Kin {
    /// What this process starts belongs to the target.
    pub(crate) fn take_children_of(&mut self, stat: &ProcessStat, target: usize) {
        self.parents.insert(stat.pid, target);
    }

    /// What shares the group or the session of this process belongs to the target, as far as one
    /// of its own leads it.
    pub(crate) fn take_groups_of(
        &mut self,
        stat: &ProcessStat,
        target: usize,
        leads: &BTreeSet<Pid>,
    ) {
        let led = |number: &Pid| leads.contains(number);
        self.groups.extend(stat.group.filter(led).map(|group| (group, target)));
        self.sessions.extend(stat.session.filter(led).map(|session| (session, target)));
    }

    /// Returns the target that a process belongs to by descent, else by its group, else by its
    /// session.
    pub(crate) fn claims(&self, stat: &ProcessStat) -> Option<usize> {
        let by = |map: &BTreeMap<Pid, usize>, number: Option<Pid>| map.get(&number?).copied();
        by(&self.parents, stat.parent)
            .or_else(|| by(&self.groups, stat.group))
            .or_else(|| by(&self.sessions, stat.session))
    }
}
