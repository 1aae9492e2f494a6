//! Ports, maps that route, names that resolve twice, and what old generators left behind.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use oh_model::port::{Port, PortSet};

use super::super::backend::{Backend, plain};
use super::super::finding::{Change, Severity};
use super::super::model::{Level, Matcher, Node};
use super::super::request::variables_in;
use super::super::role::{self, Role, Route};
use super::{Judge, Said};
use crate::inspect::Place;

/// Ports below this one are root's services: ssh, mail, printers.
const UNPRIVILEGED: u16 = 1024;

/// Databases and daemons that trust whoever reaches them on loopback.
const TRUSTING: [u16; 9] = [2375, 2376, 2379, 3306, 5432, 6379, 9200, 11211, 27017];

/// Words of a map that are none of its keys.
const MAP_WORDS: [&str; 2] = ["hostnames", "volatile"];

/// OpenHands has nothing there; the old generator sent `/ws` on.
const DEAD: [&str; 2] = ["/ws", "/ws/"];

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        localhost(judge, &route);
        plain_text(judge, &route);
        ports(judge, &route);
        if matches!(route.role, Role::Editor | Role::App) {
            routing_maps(judge, &route);
        }
    }
    twice(judge);
    redirects(judge);
    left_out(judge);
}

fn localhost(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Backend { node, authority, .. } = route.backend;
    let is_name = |address: &str| {
        ["localhost", "[::1]"].iter().any(|name| {
            address.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    };
    let upstream = judge.config.upstream(authority);
    let servers = upstream.into_iter().flat_map(|upstream| upstream.named("server"));
    let found = servers
        .filter(|server| is_name(server.word(0)))
        .chain(Some(node).filter(|_| is_name(authority)));
    for node in found.collect::<Vec<_>>() {
        let name = if node.shown().contains("[::1]") { "[::1]" } else { "localhost" };
        let line = node.shown().replacen(name, "127.0.0.1", 1);
        judge.say(Said {
            rule: "OH-NGX-513",
            severity: Severity::Warning,
            sure: true,
            place: node.place(),
            what: format!("`{}`: that is ::1, where nothing of yours listens", node.shown()),
            changes: Vec::from([Change::replace(node, [line])]),
        });
    }
}

/// OpenHands and editors speak plain HTTP on the loopback.
fn plain_text(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Backend { node, scheme, .. } = route.backend;
    if scheme != "https" {
        return;
    }
    let addresses = route.backend.addresses(judge.config);
    let is_local = addresses.iter().any(|address| plain(address).starts_with("127."));
    // Where editors were asked, they were asked in plain text.
    let is_known =
        route.upstream.is_some() || matches!(route.role, Role::OpenHands | Role::SocketIo);
    if !is_local {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-216",
        severity: Severity::Error,
        sure: is_known,
        place: node.place(),
        what: format!("`{}` speaks TLS to what speaks plain HTTP", node.shown()),
        changes: Vec::from([Change::replace(
            node,
            [node.shown().replacen("https://", "http://", 1)],
        )]),
    });
}

fn ports(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if !matches!(route.role, Role::Editor | Role::App) {
        return;
    }
    let mut addresses: Vec<(String, Place)> = route
        .backend
        .addresses(judge.config)
        .into_iter()
        .map(|address| (address, route.backend.node.place()))
        .collect();
    for (line, _) in map_lines(judge, route) {
        addresses.push((format!("127.0.0.1:{}", line.word(0)), line.place()));
    }
    let openhands =
        judge.known.openhands.as_deref().map_or_else(|| "127.0.0.1:3000".to_owned(), plain);
    for (address, place) in addresses {
        let Some(port) = route.backend.port(&address) else { continue };
        let is_local = plain(&address).starts_with("127.");
        let allowed = if route.role == Role::Editor {
            &judge.known.editor_ports
        } else {
            &judge.known.app_ports
        };
        let outside =
            |allowed: &PortSet| Port::new(port.into()).is_some_and(|port| !allowed.contains(port));
        let is_bad = port < UNPRIVILEGED || TRUSTING.contains(&port);
        let (severity, what) = if plain(&address) == openhands {
            (Severity::Error, format!("port {port} is OpenHands, not a session"))
        } else if is_local && is_bad {
            (Severity::Error, format!("port {port} of this machine is a service, not a session"))
        } else if is_local && allowed.as_ref().is_some_and(outside) {
            (Severity::Warning, format!("port {port} is outside of the ports for sessions"))
        } else {
            continue;
        };
        judge.say(Said {
            rule: "OH-NGX-510",
            severity,
            sure: true,
            place,
            what,
            changes: Vec::new(),
        });
    }
}

/// The lines of the maps that a route's `proxy_pass` is made of, each with its map.
fn map_lines<'c>(judge: &Judge<'c, '_>, route: &Route<'c>) -> Vec<(&'c Node<'c>, &'c Node<'c>)> {
    let names = variables_in(route.backend.node.word(0));
    let is_used =
        |map: &&'c Node<'c>| names.iter().any(|n| map.word(1).strip_prefix('$') == Some(n));
    let maps = judge.config.http.all("map").filter(is_used);
    maps.flat_map(|map| map.children().iter().map(move |line| (line, map))).collect()
}

fn routing_maps(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    for (line, map) in map_lines(judge, route) {
        let what = match line.name {
            "default" if !line.word(0).is_empty() && line.word(0).parse::<u16>().is_ok() => {
                "sends every id that nobody has to one session"
            }
            "include" => continue,
            name if MAP_WORDS.contains(&name) => {
                "is a word of nginx, and not the route it looks like"
            }
            name if name.starts_with('~') => "is a pattern: many ids lead there",
            _ if line.word(0).contains('$') => "lets what a client sends choose where it leads",
            _ => continue,
        };
        let change = if line.name == "default" {
            Change::replace(line, ["default '';".to_owned()])
        } else {
            Change::remove(line)
        };
        judge.say(Said {
            rule: "OH-NGX-511",
            severity: Severity::Error,
            sure: true,
            place: line.place(),
            what: format!("`{}` in `{}` {what}", line.shown(), map.shown()),
            changes: Vec::from([change]),
        });
    }
}

/// Names the locations that lead to nothing; nothing else about them matters.
pub(super) fn dead(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        let Some(head) = route.scope.head().filter(|_| is_dead(&route)) else { continue };
        judge.say(Said {
            rule: "OH-NGX-213",
            severity: Severity::Warning,
            sure: true,
            place: head.place(),
            what: format!("`{}` leads to nothing: OpenHands has no /ws", head.shown()),
            changes: Vec::from([Change::remove(head)]),
        });
    }
    judge.routes.retain(|route| !is_dead(route));
}

fn is_dead(route: &Route<'_>) -> bool {
    let path = route.scope.location().and_then(Matcher::path);
    route.role == Role::OpenHands && path.is_some_and(|path| DEAD.contains(&path))
}

/// Two paths that lead to one editor.
fn twice(judge: &mut Judge<'_, '_>) {
    let mut seen: BTreeMap<String, (String, Place)> = BTreeMap::new();
    for route in judge.each() {
        let Some(prefix) =
            route.prefix.clone().filter(|_| matches!(route.role, Role::Editor | Role::App))
        else {
            continue;
        };
        for address in route.backend.addresses(judge.config) {
            let here = (prefix.clone(), route.backend.node.place());
            match seen.get(&plain(&address)) {
                Some((other, place)) if *other != prefix => {
                    judge.say(Said {
                        rule: "OH-NGX-508",
                        severity: Severity::Warning,
                        sure: true,
                        place: here.1.clone(),
                        what: format!(
                            "{prefix} and {other} (line {}) both lead to {address}",
                            place.line
                        ),
                        changes: Vec::new(),
                    });
                }
                _ => drop(seen.insert(plain(&address), here)),
            }
        }
    }
}

/// nginx writes the port that it listens on into its own redirects.
fn redirects(judge: &mut Judge<'_, '_>) {
    for server in judge.sites() {
        let scope = server.scope();
        let is_off = |name: &str| scope.value(name).is_some_and(|node| node.word(0) == "off");
        let doors = role::doors(&server);
        let is_usual = doors.iter().all(|door| door.port == if door.is_tls { 443 } else { 80 });
        if is_usual || is_off("absolute_redirect") || scope.may_inherit() {
            continue;
        }
        let node = scope.value("absolute_redirect");
        let line = "absolute_redirect off;".to_owned();
        judge.say(Said {
            rule: "OH-NGX-209",
            severity: Severity::Warning,
            sure: true,
            place: judge.place_of(&scope),
            what: "redirects of nginx name the port that it listens on, and its scheme".to_owned(),
            changes: Vec::from([match node {
                Some(node) => Change::replace(node, [line]),
                None => judge.add(&scope, [line]),
            }]),
        });
    }
}

/// Files of routes that exist and that nobody includes.
fn left_out(judge: &mut Judge<'_, '_>) {
    if !judge.config.has_http {
        return;
    }
    let openhands = judge.routes.iter().find(|route| route.role == Role::OpenHands);
    let server = openhands
        .map(|route| route.server)
        .or_else(|| judge.config.servers().into_iter().next_back());
    let Some(server) = server else { return };
    for pattern in judge.known.left_out.clone() {
        let place = judge.place_of(&server.scope());
        let level: Level<'_> = server.level;
        let change = Change::add(level, judge.path(), [format!("include {pattern};")]);
        judge.say(Said {
            rule: "OH-NGX-212",
            severity: Severity::Error,
            sure: true,
            place,
            what: format!("{pattern} is there, and no include brings it in"),
            changes: Vec::from([change]),
        });
    }
}
