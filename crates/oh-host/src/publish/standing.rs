//! What is in place and what nginx serves, whatever the inputs say.
//!
//! For who could not publish and has to tell all the same what people get. It reads neither
//! session files nor databases, and judges nothing.

use oh_model::id::InstanceId;
use oh_model::upstream::Target;
use oh_nginx_conf::layout::Generation;
use oh_nginx_conf::served::{self, Served};

use super::facts::{Paths, Running, running, text_of};
use super::{Host, PublishFault, site, staging};
use crate::nginx::Nginx;
use crate::tree;

/// What stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The generation in place; `None` where there is none or it cannot be read.
    pub in_place: Option<Generation>,
    /// Whether an nginx of this configuration runs; `None` where it cannot be told.
    pub runs: Option<bool>,
    /// What is answered; `None` where nothing of ours is, or it cannot be told.
    pub served: Option<ServedSet>,
}

/// A set that nginx serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedSet {
    /// The generation that is answered.
    pub generation: Generation,
    /// How many editors and applications it routes to ports; `None` where its file is gone.
    pub routed: Option<usize>,
}

/// Looks at what stands.
pub fn standing(host: &Host) -> Standing {
    let sets = sets(host).unwrap_or_default();
    let in_place = sets.live.as_ref().map(|set| set.generation.clone());
    let Ok((running, _)) = runs(host) else { return Standing { in_place, ..Standing::default() } };
    let served = running.answered().map(|generation| {
        let known = [&sets.live, &sets.previous];
        let set = known.into_iter().flatten().find(|set| set.generation == *generation);
        let routed = set.map(|set| set.editors.len() + set.apps.len());
        ServedSet { generation: generation.clone(), routed }
    });
    let runs = Some(matches!(running, Running::Master { .. }));
    Standing { in_place, runs, served }
}

/// Says whether there may be a route to an instance: where neither the set in place nor the one
/// kept beside it has one, nothing has to be published to take it away.
///
/// # Errors
///
/// [`PublishFault`], where the sets cannot be read.
pub fn may_route(host: &Host, id: &InstanceId, target: Target) -> Result<bool, PublishFault> {
    let sets = sets(host)?;
    let id = id.folded();
    Ok(sets.live.iter().chain(&sets.previous).any(|set| match target {
        // Routes to sockets are derived from the id, so a set has no line for each.
        Target::Socket => true,
        Target::Port(_) => set.editors.keys().any(|known| known.to_ascii_lowercase() == id),
    }))
}

/// The sets of the folder, as far as they are ours.
#[derive(Default)]
struct Sets {
    live: Option<Served>,
    previous: Option<Served>,
}

fn sets(host: &Host) -> Result<Sets, PublishFault> {
    let paths = Paths::of(host)?;
    let set = |path| -> Result<Option<Served>, PublishFault> {
        Ok(text_of(path)?.and_then(|text| served::read(&text).ok()))
    };
    let previous = site::below(&paths.folder, staging::PREVIOUS)?;
    Ok(Sets { live: set(&paths.live)?, previous: set(&previous)? })
}

/// Looks for the nginx of the configuration, and who answers its generation.
pub(super) fn runs(host: &Host) -> Result<(Running, Option<String>), PublishFault> {
    let settings = &host.settings.nginx;
    let config = Paths::of(host)?.config;
    let nginx = Nginx { program: site::program(&settings.program)?, config, interrupts: None };
    let built = nginx.built()?;
    // The pid file is named in the main file, which may be readable where another is not.
    let (tree, _) = tree::read_leniently(&nginx.config);
    running(&nginx, &tree, &built, settings.generation_port)
}
