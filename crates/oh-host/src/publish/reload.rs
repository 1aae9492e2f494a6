//! A reload of what is not ours: asked for, and looked after as far as it can be seen.
//!
//! An operator's configuration answers no generation. What can be seen is that the workers of
//! before have stopped accepting and that others have come.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use oh_nginx_conf::inspect::Tree;

use super::apply::{emergencies_in, length_of};
use super::facts::{Paths, Running, judged_by_root};
use super::{Host, PublishFault, site};
use crate::nginx::{self, Built, Nginx};
use crate::tree::{self, TreeFault, changeable_by_others};

/// How long to wait before looking at the workers again.
const POLL: Duration = Duration::from_millis(3);

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// New workers serve what is on disk.
    Seen,
    /// No nginx of this configuration runs.
    NoMaster,
    /// nginx does not accept what is on disk and was not asked; what it read before it still serves.
    Refused(Vec<String>),
    /// It was asked, and the workers of before still serve.
    NotSeen(Vec<String>),
}

/// What nginx says of the configuration that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It accepts it.
    Accepted,
    /// It does not: a line for each complaint.
    Refused(Vec<String>),
    /// It was not asked, because root would have had it open what others can change: which, and why.
    NotAsked(String),
}

/// Asks nginx whether it accepts what is on disk; nothing of it is read by the nginx that runs.
///
/// # Errors
/// [`PublishFault`] where nginx cannot be asked.
pub fn judge(host: &Host) -> Result<Judged, PublishFault> {
    Look::begin(host)?.judge()
}

/// Makes nginx read its configuration again, and waits until new workers serve it.
///
/// # Errors
/// [`PublishFault`] where nginx cannot be asked.
pub fn reload(host: &Host) -> Result<Reloaded, PublishFault> {
    let look = Look::begin(host)?;
    let Running::Master { master, .. } = &look.running else { return Ok(Reloaded::NoMaster) };
    if let Judged::Refused(complaints) = look.judge()? {
        return Ok(Reloaded::Refused(complaints));
    }
    let log = nginx::error_log(&look.tree, &look.built);
    let from = length_of(log.clone());
    let before = master.accepting()?;
    match master.reload() {
        Err(fault) if fault.is_gone() => return Ok(Reloaded::NoMaster),
        asked => asked?,
    }
    let (begun, limit) =
        (Instant::now(), Duration::from_millis(host.settings.nginx.seen_timeout_ms));
    loop {
        let old = before.iter().any(nginx::accepts);
        if !old && !master.workers()?.current.is_empty() {
            return Ok(Reloaded::Seen);
        }
        if begun.elapsed() >= limit {
            return Ok(Reloaded::NotSeen(emergencies_in(log, from)));
        }
        thread::sleep(POLL);
    }
}

/// An nginx and the configuration that it would read.
struct Look {
    nginx: Nginx,
    built: Built,
    tree: Tree,
    faults: Vec<TreeFault>,
    running: Running,
}

impl Look {
    fn begin(host: &Host) -> Result<Self, PublishFault> {
        let config = Paths::of(host)?.config;
        let program = site::program(&host.settings.nginx.program)?;
        let nginx = Nginx { program, config, interrupts: None };
        let built = nginx.built()?;
        // The pid file is named in the main file, which may be readable where another is not.
        let (tree, faults) = tree::read_leniently(&nginx.config);
        let running = match nginx.master(&nginx::pid_file(&tree, &built)?)? {
            Some(master) => Running::Master { master, answered: None },
            None => Running::Nothing { answered: None },
        };
        Ok(Self { nginx, built, tree, faults, running })
    }

    fn judge(&self) -> Result<Judged, PublishFault> {
        // What our reader cannot read may name anything, and nginx would open it. A file that is
        // missing names nothing, and nginx knows the line that asks for it.
        if !self.faults.iter().all(is_missing) {
            return Ok(Judged::Refused(self.faults.iter().map(told).collect()));
        }
        if judged_by_root(&self.running)
            && let Some(found) = changeable_by_others(&self.tree)
        {
            return Ok(match self.faults.as_slice() {
                [] => Judged::NotAsked(format!("{} {}", found.path, found.why)),
                faults => Judged::Refused(faults.iter().map(told).collect()),
            });
        }
        let user = match &self.running {
            Running::Master { master, .. } => master.test_user(),
            Running::Nothing { .. } => None,
        };
        let tested = self.nginx.test(&self.nginx.config, user)?;
        let is_accepted = tested.accepted;
        Ok(if is_accepted { Judged::Accepted } else { Judged::Refused(tested.complaints) })
    }
}

fn is_missing(fault: &TreeFault) -> bool {
    matches!(fault, TreeFault::Read { source, .. } if source.kind() == ErrorKind::NotFound)
}

fn told(fault: &TreeFault) -> String {
    match fault {
        TreeFault::Read { source, .. } => format!("{fault}: {source}"),
        _ => fault.to_string(),
    }
}
