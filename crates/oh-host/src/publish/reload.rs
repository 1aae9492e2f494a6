//! A reload of what is not ours: asked for, and looked after as far as it can be seen.
//!
//! An operator's configuration answers no generation. What can be seen is that the workers of
//! before have stopped accepting and that others have come.

use std::thread;
use std::time::{Duration, Instant};

use super::apply::{emergencies_in, length_of};
use super::facts::{Paths, Running, judged_by_root};
use super::{Host, PublishFault, site};
use crate::nginx::{self, Nginx};
use crate::tree::{self, changeable_by_others};

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

/// Makes nginx read its configuration again, and waits until new workers serve it.
///
/// # Errors
/// [`PublishFault`] where nginx cannot be asked.
pub fn reload(host: &Host) -> Result<Reloaded, PublishFault> {
    let settings = &host.settings.nginx;
    let config = Paths::of(host)?.config;
    let nginx = Nginx { program: site::program(&settings.program)?, config, interrupts: None };
    let built = nginx.built()?;
    // The pid file is named in the main file, which may be readable where another is not.
    let (tree, faults) = tree::read_leniently(&nginx.config);
    let Some(master) = nginx.master(&nginx::pid_file(&tree, &built)?)? else {
        return Ok(Reloaded::NoMaster);
    };
    if !faults.is_empty() {
        return Ok(Reloaded::Refused(faults.iter().map(ToString::to_string).collect()));
    }
    let running = Running::Master { master, answered: None };
    let safe = !judged_by_root(&running) || changeable_by_others(&tree).is_none();
    let Running::Master { master, .. } = running else { return Ok(Reloaded::NoMaster) };
    if safe {
        let tested = nginx.test(&nginx.config, master.test_user())?;
        if !tested.accepted {
            return Ok(Reloaded::Refused(tested.complaints));
        }
    }
    let log = nginx::error_log(&tree, &built);
    let from = length_of(log.clone());
    let before = master.accepting()?;
    match master.reload() {
        Err(fault) if fault.is_gone() => return Ok(Reloaded::NoMaster),
        asked => asked?,
    }
    let (begun, limit) = (Instant::now(), Duration::from_millis(settings.seen_timeout_ms));
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
