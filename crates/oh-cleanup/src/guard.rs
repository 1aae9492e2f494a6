//! Distrusts the planner: looks at a plan with other eyes before anything of it is done.
//!
//! What it objects to is a bug of ours, and then nothing runs. It knows the configuration and the
//! machine, and nothing of how the plan came to be.

use std::collections::BTreeSet;

use oh_host::boot::BootId;
use oh_host::process::{Identity, Pid};
use oh_host::publish::Host;
use oh_host::quarantine::Thing;
use oh_host::users::OwnerSet;
use oh_model::leftover::Pattern;
use oh_model::path::{InRoot, RealPath};
use oh_model::plan::{Objection, Plan};

use crate::facts::Look;
use crate::step::Step;

/// How the name of a session file ends.
const SESSION_SUFFIX: &[u8] = b".json";

/// The folder of the toolkit's own, which nothing above may move.
const OWN_FOLDER: &str = "/var/lib/openhands-toolkit";

/// What a plan has to keep to.
pub(crate) struct Guard<'g> {
    host: &'g Host,
    owners: &'g OwnerSet,
    own: &'g BTreeSet<Pid>,
    boot_id: BootId,
}

impl<'g> Guard<'g> {
    pub(crate) fn new(look: &'g Look<'_>, boot_id: BootId) -> Self {
        Self { host: look.host, owners: &look.owners, own: &look.own, boot_id }
    }

    /// Returns what is wrong with a plan.
    pub(crate) fn objections(&self, plan: &Plan<Step>) -> Vec<Objection> {
        let mut objections = Vec::new();
        for step in &plan.steps {
            match step {
                Step::Stop(stop) => {
                    if stop.id.is_none() && stop.leaders.is_empty() {
                        objections.push(Objection(format!("{step}: it names no process")));
                    }
                    objections.extend(stop.leaders.iter().filter_map(|one| self.leader(one)));
                }
                Step::Move(step) => objections.extend(self.thing(&step.thing)),
                // What its name is made of says that it is OpenHands'.
                Step::StopContainer(_)
                | Step::WantStopped(_)
                | Step::Release(_)
                | Step::Forget(_)
                | Step::Publish => {}
            }
        }
        objections
    }

    fn leader(&self, leader: &Identity) -> Option<Objection> {
        let pid = leader.pid;
        let why = if pid == Pid::INIT {
            "is the first process"
        } else if self.own.contains(&pid) {
            "is this command, or one that it came from"
        } else if leader.boot_id != self.boot_id {
            "is of another boot"
        } else {
            return None;
        };
        Some(Objection(format!("pid {pid} {why}")))
    }

    fn thing(&self, thing: &Thing) -> Option<Objection> {
        let settings = &self.host.settings;
        let real = |path: &InRoot| self.host.root.real(path).ok();
        let in_folder = |folder: &InRoot| real(folder).as_ref() == Some(&thing.folder);
        let name = thing.name.as_bytes();
        let is_leftover = |one: &Pattern| in_folder(one.folder()) && one.names(name);
        let is_session = in_folder(&settings.sessions.directory) && name.ends_with(SESSION_SUFFIX);
        let own = InRoot::parse(OWN_FOLDER).ok().and_then(|path| real(&path));
        let shown = thing.shown();
        let why = if !is_session && !settings.cleanup.leftovers.iter().any(is_leftover) {
            "is no left-over by its name"
        } else if thing.is_mount {
            "is a mount"
        } else if !is_session && !self.owners.contains(thing.uid) {
            "belongs to nobody of cleanup.owners"
        } else if own.is_some_and(|own| is_within(&own, &shown)) {
            "has what the toolkit itself keeps"
        } else {
            return None;
        };
        Some(Objection(format!("{shown} {why}")))
    }
}

fn is_within(path: &RealPath, above: &str) -> bool {
    let below = path.as_str().strip_prefix(above);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
