//! The routes that a status tells of: those that are served, that wait, and that leave.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::publish::Facts;
use oh_model::port::Port;
use oh_model::routes::{Owner, Routes};
use oh_model::upstream::{Target, Upstream};
use oh_nginx_conf::layout::Site;
use oh_nginx_conf::served::Served;
use serde_json::{Value, json};

/// Where a route is between the inputs and nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// nginx serves it, and the inputs want it.
    Served,
    /// nginx serves it, and the next `apply` takes it away.
    Leaving,
    /// The inputs want it, and nginx does not serve it yet.
    Waiting,
    /// nginx serves a set of ours whose file is not there: nobody can tell.
    Unknown,
}

impl State {
    /// Returns the word that people and programs read.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Leaving => "leaving",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// A route as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// Its path, or its address where it has a host of its own.
    pub(crate) path: String,
    /// Where it is.
    pub(crate) state: State,
    /// Its port on 127.0.0.1; `None` is a socket.
    pub(crate) port: Option<Port>,
    /// How its address is handed on, where that is known.
    upstream: Option<&'static str>,
    /// Whose it is, where that is known.
    pub(crate) owner: Option<&'static str>,
}

impl Row {
    /// Returns where it leads.
    pub(crate) fn target(&self) -> String {
        self.port.map_or_else(|| "its socket".into(), |port| format!("127.0.0.1:{port}"))
    }
}

/// Returns what the inputs want, without a look at what is served.
pub(crate) fn wanted_json(site: &Site, routes: &Routes) -> Value {
    wanted(site, routes).iter().map(row_json).collect()
}

/// Writes rows for programs, each with its state.
pub(crate) fn rows_json(rows: &[Row]) -> Value {
    let with_state = |row: &Row| {
        let mut object = row_json(row);
        object["state"] = row.state.as_str().into();
        object
    };
    rows.iter().map(with_state).collect()
}

/// Returns what is served and what is wanted, by address.
pub(crate) fn rows(facts: &Facts) -> Vec<Row> {
    let site = &facts.site;
    let mut rows = wanted(site, &facts.routes);
    let served = facts.served();
    let ports = served.map(|set| served_ports(site, set)).unwrap_or_default();
    // A socket has no line of its own: it is served wherever sets with sockets are.
    let sockets = served.is_some() && facts.only_data_changes();
    let state = |row: &Row| match (facts.running.answered(), served, row.port) {
        (None, ..) => State::Waiting,
        (Some(_), None, _) => State::Unknown,
        (Some(_), Some(_), None) if sockets => State::Served,
        (Some(_), Some(_), Some(port)) if ports.get(&row.path) == Some(&port) => State::Served,
        _ => State::Waiting,
    };
    rows.iter_mut().for_each(|row| row.state = state(row));
    let staying: BTreeSet<(String, Option<Port>)> =
        rows.iter().map(|row| (row.path.clone(), row.port)).collect();
    let leaving = ports
        .into_iter()
        .map(|(path, port)| (path, Some(port)))
        .filter(|served| !staying.contains(served))
        .map(|(path, port)| Row { path, state: State::Leaving, port, upstream: None, owner: None });
    rows.extend(leaving);
    rows.sort();
    rows
}

fn wanted(site: &Site, routes: &Routes) -> Vec<Row> {
    let row = |path, port, upstream: Upstream, owner| Row {
        path,
        state: State::Waiting,
        port,
        upstream: Some(upstream.as_str()),
        owner: Some(owner),
    };
    let editors = routes.editors.iter().map(|editor| {
        let owner = match editor.owner {
            Owner::Repository => "repository",
            Owner::Session => "session",
        };
        let port = match editor.target {
            Target::Port(port) => Some(port),
            Target::Socket => None,
        };
        row(site.editor_address(&editor.id), port, editor.upstream, owner)
    });
    let apps = routes
        .apps
        .iter()
        .map(|app| row(site.app_address(&app.name()), Some(app.port), app.upstream, "application"));
    editors.chain(apps).collect()
}

fn served_ports(site: &Site, set: &Served) -> BTreeMap<String, Port> {
    let editors = set.editors.iter().map(|(id, port)| (site.editor_address(id), *port));
    let apps = set.apps.iter().map(|(key, port)| (site.app_address(key), *port));
    editors.chain(apps).collect()
}

fn row_json(row: &Row) -> Value {
    json!({
        "path": row.path,
        "port": row.port.map(Port::get),
        "upstream": row.upstream,
        "owner": row.owner,
    })
}
