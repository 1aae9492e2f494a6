//! The sandbox: bring it up, find it as it was, take it down.
//!
//! A run looks first (`facts`), decides (`plan`), and then does what is missing (`apply`). A
//! second run finds nothing missing, so it writes nothing and says so. What runs is known by the
//! record in the folder, which is written before anything is started and after it is known; the
//! editors have records of their own, because `oh-instances` runs them.

mod apply;
mod commands;
mod down;
mod editors;
mod facts;
mod fault;
mod files;
mod parts;
mod plan;
mod ready;
mod record;
mod report;
mod vanished;

use oh_term::{Answer, Failure, Progress};

pub(crate) use down::down;

use crate::cli::Up;
use fault::SandboxFault;

/// What the locks are held for, as others read it who wait for them.
const PURPOSE: &str = "oh-deploy sandbox up";

/// Brings a sandbox up.
pub(crate) fn up(wish: &Up) -> Result<Answer, Failure> {
    let progress = Progress::start();
    bring_up(wish, &progress).map_err(|fault| fault.failure(&wish.dir))
}

fn bring_up(wish: &Up, progress: &Progress) -> Result<Answer, SandboxFault> {
    let home = record::Home::open(&wish.dir)?;
    // A record that is not one of ours refuses the folder before anything is made in it.
    home.record()?;
    let mut locks = home.locks()?;
    let mut world = home.share(&mut locks, PURPOSE)?;
    let mut held = home.lead(&mut world, PURPOSE)?;
    let facts = facts::gather(home, wish)?;
    let plan = plan::plan(&facts);
    let done = apply::apply(&facts, &plan, &mut held, progress)?;
    Ok(report::up(&facts, &plan, done))
}
