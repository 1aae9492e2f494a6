//! What is looked at, in turn.

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::finding::{Change, Finding, Severity};
use super::model::{Config, Scope, Server};
use super::role::{self, Role, Route, SOCKET_IO};
use super::simulate::{Outcome, run};
use super::table;
use super::{Known, beginning};
use crate::inspect::Place;

mod answers;
mod chosen;
mod general;
mod headers;
mod limits;
mod paths;
mod security;
mod splitting;
mod tls;
mod trust;

/// Judges everything.
pub(super) fn all(config: Config<'_>, known: &Known) -> Vec<Finding> {
    let mut routes = role::routes(config, known);
    with_socket_io(&mut routes);
    let origins = routes.iter().map(|route| route.request.origin().to_ascii_lowercase()).collect();
    let (found, named) = (Vec::new(), BTreeMap::new());
    let mut judge = Judge { config, known, routes, origins, found, named };
    general::dead(&mut judge);
    headers::judge(&mut judge);
    trust::judge(&mut judge);
    paths::judge(&mut judge);
    answers::judge(&mut judge);
    limits::judge(&mut judge);
    tls::judge(&mut judge);
    security::judge(&mut judge);
    splitting::judge(&mut judge);
    chosen::judge(&mut judge);
    general::judge(&mut judge);
    judge.found
}

/// Socket.IO may be served by the location of OpenHands: that location then has two roles.
fn with_socket_io(routes: &mut Vec<Route<'_>>) {
    let mut more = Vec::new();
    for route in routes.iter().filter(|route| route.role == Role::OpenHands) {
        let Outcome::Proxied(passed) = run(route.server, &route.request.at(SOCKET_IO)) else {
            continue;
        };
        if is_same(&passed.scope, &route.scope) {
            let mut other = route.clone();
            other.role = Role::SocketIo;
            other.prefix = Some(SOCKET_IO.into());
            other.request = route.request.at(SOCKET_IO);
            more.push(other);
        }
    }
    routes.extend(more);
}

/// What the rules work with.
pub(super) struct Judge<'c, 'k> {
    pub(super) config: Config<'c>,
    pub(super) known: &'k Known,
    pub(super) routes: Vec<Route<'c>>,
    /// The origins of all servers that have a route, in lower case.
    pub(super) origins: BTreeSet<String>,
    pub(super) found: Vec<Finding>,
    /// The variables of the maps that are printed, by what they are wished to be called and what
    /// they are for.
    named: BTreeMap<(&'static str, String), String>,
}

/// What a rule says; [`Judge::say`] looks up the rest.
pub(super) struct Said {
    pub(super) rule: &'static str,
    pub(super) severity: Severity,
    pub(super) sure: bool,
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) changes: Vec<Change>,
}

impl<'c> Judge<'c, '_> {
    pub(super) fn say(&mut self, said: Said) {
        let Some(rule) = table::find(said.rule) else { return };
        let (severity, sure) = (said.severity, said.sure);
        let Said { place, what, changes, .. } = said;
        self.found.push(Finding { rule, severity, sure, place, what, changes });
    }

    /// Returns the routes, apart from what is found meanwhile.
    pub(super) fn each(&self) -> Vec<Route<'c>> {
        self.routes.clone()
    }

    /// Returns the servers that have a route.
    pub(super) fn sites(&self) -> Vec<Server<'c>> {
        let mut out: Vec<Server<'c>> = Vec::new();
        for route in &self.routes {
            if !out.iter().any(|server| is_same_server(*server, route.server)) {
                out.push(route.server);
            }
        }
        out
    }

    /// Says where a block begins.
    pub(super) fn place_of(&self, scope: &Scope<'_>) -> Place {
        scope.head().map_or_else(|| beginning(self.path()), super::model::Node::place)
    }

    /// The file that stands for a block that is not in the text.
    pub(super) fn path(&self) -> &'c str {
        self.config.main.first().map_or("", |node| node.file.path.as_str())
    }

    /// Adds lines to the beginning of a block.
    pub(super) fn add(&self, scope: &Scope<'_>, lines: impl IntoIterator<Item = String>) -> Change {
        Change::add(scope.level(), self.path(), lines)
    }

    /// Adds maps to `http`, at its end: nginx refuses `map_hash_bucket_size` after a map, and
    /// lets a variable be used before its map stands.
    pub(super) fn add_to_http(&self, lines: impl IntoIterator<Item = String>) -> Change {
        Change::append(self.config.http, self.path(), lines)
    }

    /// Returns the name of a variable for a map that is printed: one that no other map has, and the
    /// same each time it is asked for the same purpose. Two maps of one name would undo each other.
    pub(super) fn variable(&mut self, wish: &'static str, purpose: &str) -> String {
        let key = (wish, purpose.to_owned());
        if let Some(name) = self.named.get(&key) {
            return name.clone();
        }
        let stands = self.config.http.all("map").filter_map(|map| map.word(1).strip_prefix('$'));
        let taken: BTreeSet<&str> = stands.chain(self.named.values().map(String::as_str)).collect();
        let numbered = (2_usize..).map(|number| format!("{wish}_{number}"));
        let free = core::iter::once(wish.to_owned()).chain(numbered);
        let name = free.into_iter().find(|name| !taken.contains(name.as_str())).unwrap_or_default();
        self.named.insert(key, name.clone());
        name
    }
}

/// Says whether two scopes are the same block.
pub(super) fn is_same(a: &Scope<'_>, b: &Scope<'_>) -> bool {
    match (a.head(), b.head()) {
        (Some(a), Some(b)) => core::ptr::eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

pub(super) fn is_same_server(a: Server<'_>, b: Server<'_>) -> bool {
    core::ptr::eq(a.level.nodes, b.level.nodes)
}
