//! What is asked for: which kinds of things, whose, and what may be done that otherwise is not.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a cleanup is to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) kinds: Kinds,
    /// Only these ids, folded, of instances, sessions and repositories; empty for all.
    pub(crate) ids: BTreeSet<String>,
    /// Only what belongs to these users; empty for all whose things may be cleaned up.
    pub(crate) uids: BTreeSet<u32>,
    /// How long nothing may have changed in what is nobody's, in nanoseconds.
    pub(crate) age_min_ns: i64,
    /// Takes editors to which a browser is connected, or of which nobody can tell.
    pub(crate) force_active: bool,
    /// Takes what has work in it that is saved nowhere else.
    pub(crate) force_unsaved: bool,
    /// Stops containers of OpenHands, which are of no kind.
    #[serde(default)]
    pub(crate) containers: bool,
    /// Takes every entry of the databases, whoever listens.
    pub(crate) reset_all: bool,
    /// Takes the editor too in which this very command runs.
    pub(crate) include_self: bool,
}

/// Kinds of things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kinds {
    pub(crate) processes: bool,
    pub(crate) temporary: bool,
    pub(crate) databases: bool,
    pub(crate) sessions: bool,
    pub(crate) nginx: bool,
}

impl Kinds {
    /// All of them.
    pub(crate) const ALL: Self =
        Self { processes: true, temporary: true, databases: true, sessions: true, nginx: true };
}

impl Request {
    /// Says whether an id is one of those that are asked for.
    pub(crate) fn names(&self, id: &str) -> bool {
        self.names_one_of(&[id.to_ascii_lowercase()].into())
    }

    /// Says whether one of these ids, folded, is asked for; what has none is where none is named.
    pub(crate) fn names_one_of(&self, ids: &BTreeSet<String>) -> bool {
        self.ids.is_empty() || !self.ids.is_disjoint(ids)
    }

    /// What it is limited to, as it is asked for on a command line; `None` for all.
    pub(crate) fn limits(&self) -> Option<String> {
        let Kinds { processes, temporary, databases, sessions, nginx } = self.kinds;
        let kinds = [
            (processes, "--processes"),
            (temporary, "--temp"),
            (databases, "--databases"),
            (sessions, "--sessions"),
            (nginx, "--nginx"),
            (self.containers, "--containers"),
        ];
        let kinds = kinds.into_iter().filter(|(is_asked, _)| *is_asked && self.kinds != Kinds::ALL);
        let kinds = kinds.map(|(_, kind)| kind.to_owned());
        let ids = self.ids.iter().map(|id| format!("--only {}", id.escape_debug()));
        let users = self.uids.iter().map(|uid| format!("--user {uid}"));
        let all: Vec<String> = kinds.chain(ids).chain(users).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }

    /// Says whether a user is one of those that are asked for.
    pub(crate) fn of_user(&self, uid: Option<u32>) -> bool {
        self.uids.is_empty() || uid.is_some_and(|uid| self.uids.contains(&uid))
    }
}
