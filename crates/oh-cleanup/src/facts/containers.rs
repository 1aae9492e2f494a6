//! Containers of OpenHands that run, where they are asked for.

use oh_host::containers;
use oh_model::container::Engine;
use oh_model::plan::Exclusion;

use super::Facts;
use crate::apply::chain;

/// Adds those of all engines; one that cannot be asked is said and keeps no other.
pub(crate) fn add(facts: &mut Facts) {
    if !Engine::ALL.into_iter().any(containers::is_there) {
        let reason = "there is neither docker nor podman here".to_owned();
        facts.unseen.push(Exclusion { subject: "containers".into(), reason });
    }
    for engine in Engine::ALL {
        match containers::running(engine) {
            Ok(found) => {
                for one in found {
                    // What is called docker may be podman.
                    if !facts.containers.iter().any(|(_, known)| known.id == one.id) {
                        facts.containers.push((engine, one));
                    }
                }
            }
            Err(fault) => {
                let subject = format!("containers of {engine}");
                facts.unseen.push(Exclusion { subject, reason: chain(&fault) });
            }
        }
    }
}
