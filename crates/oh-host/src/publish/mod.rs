//! Publishing: the one owner of what nginx serves.
//!
//! Nothing edits the generated file. Tools change the inputs (session files, databases) and call
//! [`publish`], which reads the inputs under the publish lock, renders, and, where the result is
//! not what is served: stages, tests, swaps by rename, reloads the master, and looks.
//!
//! Three files in one folder hold the state, and together with what nginx answers they are all
//! that a later run needs, so there is no journal to replay:
//!
//! - `routes.conf`: what nginx reads, through the hook;
//! - `previous.conf`: the set to go back to: the one before it, or still the one that nginx serves
//!   where a set was put in place and never served;
//! - `staged.conf`: a set on its way; what a killed run leaves of it is overwritten.
//!
//! Killed between any two steps, exactly the old or exactly the new routes are served, and the
//! next run ends in the clean state: `routes.conf` is always a whole file that nginx has
//! accepted (or that differs from an accepted one in data lines only), and a set that is in its
//! place but not served is reloaded again. "Served" is never inferred: a listener on 127.0.0.1,
//! which belongs to the master that was signalled, has to answer the very generation.

mod apply;
mod facts;
mod fault;
mod plan;
mod reach;
mod reload;
mod site;
mod staging;
mod standing;
mod traces;
mod wrapper;

use std::time::Duration;

use oh_config::Settings;
use oh_model::plan::{Outcome, Plan};
use oh_model::routes::Routes;
use oh_nginx_conf::layout::{Generation, Site};

pub use facts::{Facts, Hook, Live, Running, gather, gather_over, group_of_workers};
pub use fault::{Now, PublishFault};
pub use plan::{Step, objections, plan};
pub use reach::{Reach, reach};
pub use reload::{Judged, Reloaded, judge, reload};
pub use site::real;
pub use standing::{ServedSet, Standing, may_route, standing};
pub use traces::traces;

use crate::folder::Memory;
use crate::lock::{Before, Held, Locks, Publish};
use crate::login::Login;
use crate::nginx::Workers;
use crate::root::Root;

/// How long to wait for another run that publishes.
pub const LOCK_WAIT: Duration = Duration::from_secs(30);

/// This machine, as a tool was told to see it.
#[derive(Debug)]
pub struct Host {
    /// Where paths start.
    pub root: Root,
    /// What the configuration says.
    pub settings: Settings,
}

/// What publishing did, and what is served now.
#[derive(Debug)]
pub struct Published {
    /// The generation that is in place.
    pub generation: Generation,
    /// Whether it was seen served; if not, no nginx runs that could serve it.
    pub seen: bool,
    /// What was done, in order.
    pub steps: Vec<(Step, Outcome)>,
    /// The site that they are routes of.
    pub site: Site,
    /// The routes and what was left out.
    pub routes: Routes,
    /// The workers, where a master runs.
    pub workers: Option<Workers>,
    /// A login that was made for this set; its password is nowhere else.
    pub login: Option<Login>,
    /// Whether a login is wanted and nobody has one, because none was to be made.
    pub login_wanted: bool,
}

/// How it is published.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'p> {
    /// What for, as others read it who wait for the lock.
    pub purpose: &'p str,
    /// How long to wait for another run that publishes.
    pub wait: Duration,
    /// Whether a login is made where one is wanted. Without, nginx refuses everybody until there
    /// is one; it is for runs whose output is kept.
    pub may_make_login: bool,
}

/// Makes nginx serve what the inputs say.
///
/// # Errors
/// [`PublishFault`]; it says which routes are served now.
pub fn publish(host: &Host, purpose: &str) -> Result<Published, PublishFault> {
    publish_within(&mut Locks::open(&host.root, None)?, host, purpose)
}

/// [`publish`] for a tool that holds locks of this root already: they stay one chain, so the
/// order of locks holds for all of it.
///
/// # Errors
/// As [`publish`], and where the locks are those of another root.
pub fn publish_within<Level: Before<Publish>>(
    held: &mut Held<'_, Level>,
    host: &Host,
    purpose: &str,
) -> Result<Published, PublishFault> {
    let asked = Asked { purpose, wait: LOCK_WAIT, may_make_login: true };
    publish_as_asked(held, host, asked, &mut Memory::default())
}

/// [`publish_within`] as it is asked; session files that did not change since the last time are
/// not read again.
///
/// # Errors
/// As [`publish_within`].
pub fn publish_as_asked<Level: Before<Publish>>(
    held: &mut Held<'_, Level>,
    host: &Host,
    asked: Asked<'_>,
    memory: &mut Memory,
) -> Result<Published, PublishFault> {
    held.demand_root(&host.root)?;
    let _held = held.publish(asked.purpose, asked.wait)?;
    let mut facts = facts::gather_again(host, memory)?;
    let login_wanted = facts.login_wanted.is_some() && !asked.may_make_login;
    if login_wanted {
        facts.login_wanted = None;
    }
    let published = carry_out(&facts)?;
    Ok(Published { login_wanted, ..published })
}

/// Does as [`publish`], under a lock that the caller holds for more than this.
///
/// # Errors
/// As [`publish`].
pub fn publish_under(host: &Host, held: &Held<'_, Publish>) -> Result<Published, PublishFault> {
    held.demand_root(&host.root)?;
    carry_out(&gather(host)?)
}

/// Finds out what [`publish`] would stop at before it changes anything, for whoever begins
/// something that has to be published in the end.
///
/// # Errors
/// As [`publish`], but for what only shows on the way.
pub fn check(host: &Host) -> Result<Facts, PublishFault> {
    let facts = gather(host)?;
    checked(&facts)?;
    Ok(facts)
}

fn checked(facts: &Facts) -> Result<Plan<Step>, PublishFault> {
    let plan = plan(facts)?;
    let objections = objections(&plan, facts);
    if objections.is_empty() { Ok(plan) } else { Err(PublishFault::Objections(objections)) }
}

fn carry_out(facts: &Facts) -> Result<Published, PublishFault> {
    let plan = checked(facts)?;
    let consent = plan.confirm();
    apply::apply(facts, plan, consent)
}
