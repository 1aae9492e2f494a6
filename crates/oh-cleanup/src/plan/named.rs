//! Which left-overs belong to an editor that ends by nothing but their names, as its logs do: those are as
//! young as its last word, so their age says nothing.

use std::collections::{BTreeMap, BTreeSet};

use oh_model::leftover;
use oh_model::port::Port;

use super::Made;
use crate::facts::Leftover;

/// The ids, folded, that are known of editors: those that end, each with which it is, and those that stay.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) ending: BTreeMap<String, String>,
    pub(super) staying: BTreeSet<String>,
}

impl Made {
    /// The editor that ends whose id or port is in the name of a thing; `None` too where the name has those
    /// of one that stays.
    pub(super) fn named_after(&self, one: &Leftover) -> Option<&str> {
        let (ids, port) = said(one);
        let stays = ids.iter().any(|id| self.names.staying.contains(id))
            || port.is_some_and(|port| self.staying_ports.contains_key(&port));
        if stays {
            return None;
        }
        let by_id = ids.iter().find_map(|id| self.names.ending.get(id));
        by_id.or_else(|| self.ended_ports.get(&port?)).map(String::as_str)
    }

    /// Says whether nothing but the port of an editor that ends is in the name of a thing.
    pub(super) fn has_ended_port_alone(&self, one: &Leftover) -> bool {
        let (ids, port) = said(one);
        port.is_some_and(|port| ids.contains(&port.to_string())) && self.named_after(one).is_some()
    }
}

fn said(one: &Leftover) -> (BTreeSet<String>, Option<Port>) {
    let name = String::from_utf8_lossy(one.thing.name.as_bytes());
    (leftover::ids(&name), leftover::port(&name))
}
