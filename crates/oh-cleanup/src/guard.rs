//! Distrusts the planner: looks at a plan with other eyes before anything of it is done.
//!
//! What it objects to is a bug of ours, and then nothing runs. It knows the configuration and the
//! machine, and nothing of how the plan came to be.

use std::collections::BTreeSet;

use oh_host::atomic;
use oh_host::boot::BootId;
use oh_host::folder::FileKind;
use oh_host::process::{Identity, Pid};
use oh_host::publish::Host;
use oh_host::quarantine::{self, Thing};
use oh_host::users::OwnerSet;
use oh_model::leftover::Pattern;
use oh_model::path::{InRoot, RealPath};
use oh_model::plan::{Objection, Plan};

use crate::facts::Look;
use crate::request::Request;
use crate::step::Step;

/// How the name of a session file ends.
const SESSION_SUFFIX: &[u8] = b".json";

/// The folder of the toolkit's own, which nothing above may move.
const OWN_FOLDER: &str = "/var/lib/openhands-toolkit";

/// What a plan has to keep to.
pub(crate) struct Guard<'g> {
    host: &'g Host,
    owners: &'g OwnerSet,
    /// What is never ended.
    own: BTreeSet<Pid>,
    boot_id: BootId,
}

impl<'g> Guard<'g> {
    pub(crate) fn new(look: &'g Look<'_>, boot_id: BootId, request: &Request) -> Self {
        let mut own = look.own.clone();
        if request.include_self {
            own.retain(|pid| *pid == Pid::own());
        }
        Self { host: look.host, owners: &look.owners, own, boot_id }
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
                | Step::Reload
                | Step::Forget(_)
                | Step::Publish => {}
            }
        }
        objections
    }

    /// The files of nginx that do not begin as generated ones do, though they are what the planner saw:
    /// whoever may write to them changed them in between, or the planner errs. Neither is moved, and
    /// neither is a reason for the rest to stay.
    pub(crate) fn unsteady<'p>(&self, plan: &'p Plan<Step>) -> Vec<&'p Thing> {
        let moves = plan.steps.iter().filter_map(|step| match step {
            Step::Move(step) if self.is_nginx(&step.thing) => Some(&step.thing),
            _ => None,
        });
        moves.filter(|thing| !self.begins_as_generated(thing)).collect()
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
        let is_nginx = self.is_nginx(thing);
        let own = InRoot::parse(OWN_FOLDER).ok().and_then(|path| real(&path));
        let shown = thing.shown();
        let is_known = is_session || is_nginx;
        let why = if !is_known && !settings.cleanup.leftovers.iter().any(is_leftover) {
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

/// How a generated file for nginx begins.
const GENERATED: &[u8] = b"# Auto-generated config for";

/// The largest such file, in bytes.
const GENERATED_BYTES_MAX: u64 = 64 * 1024;

impl Guard<'_> {
    /// Says whether a thing has the place and the name of a generated file for nginx.
    fn is_nginx(&self, thing: &Thing) -> bool {
        let template = self.host.settings.nginx.legacy_repositories.as_str();
        let Some((folder, name)) = template.rsplit_once('/') else { return false };
        let Some((_, suffix)) = name.split_once('}') else { return false };
        let folder = InRoot::parse(folder).ok().and_then(|path| self.host.root.real(&path).ok());
        folder.as_ref() == Some(&thing.folder) && thing.name.as_bytes().ends_with(suffix.as_bytes())
    }

    /// Reads how a file begins. One that is another by now is not moved, so it may begin as it will.
    fn begins_as_generated(&self, thing: &Thing) -> bool {
        if thing.kind != FileKind::Regular {
            return false;
        }
        let now = quarantine::look(&thing.folder, &thing.name);
        if !now.is_ok_and(|now| now.is_some_and(|now| now == *thing)) {
            return true;
        }
        let name = core::str::from_utf8(thing.name.as_bytes()).unwrap_or_default();
        let path = thing.folder.join(name).ok();
        let read = path.map(|path| atomic::read_limited(&path, GENERATED_BYTES_MAX));
        matches!(read, Some(Ok(Some(bytes))) if bytes.starts_with(GENERATED))
    }
}

fn is_within(path: &RealPath, above: &str) -> bool {
    let below = path.as_str().strip_prefix(above);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

#[cfg(test)]
mod tests;
