//! What reaches the programs behind nginx: upgrade, host, scheme.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::super::backend::Backend;
use super::super::finding::{Change, Severity};
use super::super::model::Node;
use super::super::request::{Request, Variables};
use super::super::role::{self, Role, Route};
use super::super::simulate::{Outcome, run};
use super::super::{Upstream, UpstreamKind};
use super::{Judge, Said, is_same};
use crate::version::NginxVersion;

/// The first nginx that speaks HTTP/1.1 to upstreams by itself.
const HTTP_1_1_BY_DEFAULT: NginxVersion = NginxVersion { major: 1, minor: 29, patch: 7 };

/// Headers whose loss breaks something; the others of a lost list matter less.
const VITAL: [&str; 3] = ["upgrade", "connection", "host"];

/// Headers that programs believe, so that a lost line lets strangers set them.
const BELIEVED: [&str; 7] = [
    "forwarded",
    "x-original-host",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-forwarded-for",
];

/// What a WebSocket handshake of a browser has.
pub(super) fn websocket(request: &Request) -> Request {
    let origin = request.origin();
    request.with(&[("upgrade", "websocket"), ("connection", "Upgrade"), ("origin", &origin)])
}

/// A header as what is behind nginx sees it.
pub(super) struct Seen<'c> {
    /// The value; `None` where it cannot be told. Empty where none is sent.
    pub(super) value: Option<String>,
    /// The line that sets it; `None` where nginx or the client does.
    pub(super) by: Option<&'c Node<'c>>,
}

/// Works out a header of a request that goes on; `name` in lower case with `-`.
pub(super) fn seen<'c>(route: &Route<'c>, request: &Request, name: &str) -> Seen<'c> {
    let variables = variables(route, request);
    let lines = route.scope.list("proxy_set_header");
    let by = lines.into_iter().rev().find(|line| line.word(0).eq_ignore_ascii_case(name));
    let value = match by {
        Some(line) => variables.value(line.word(1)),
        None => match name {
            "host" => variables.proxy_host.clone(),
            "connection" => Some("close".to_owned()),
            "upgrade" => Some(String::new()),
            _ if passes_no_headers(route) => Some(String::new()),
            name => {
                let key = name.replace('-', "_");
                let found = request.headers.iter().find(|(given, _)| **given == key);
                Some(found.map(|(_, value)| value.clone()).unwrap_or_default())
            }
        },
    };
    Seen { value, by }
}

fn passes_no_headers(route: &Route<'_>) -> bool {
    route.scope.value("proxy_pass_request_headers").is_some_and(|node| node.word(0) == "off")
}

/// The variables at the moment when the request goes on.
pub(super) fn variables<'c>(route: &Route<'c>, request: &Request) -> Variables<'c> {
    match run(route.server, request) {
        Outcome::Proxied(passed) if is_same(&passed.scope, &route.scope) => passed.variables,
        _ => role::at_location(route.server.config, &route.scope, request),
    }
}

/// Returns the names of headers that the level above sets and this one drops.
pub(super) fn lost_names(route: &Route<'_>) -> Vec<String> {
    let here = route.scope.list("proxy_set_header");
    let has = |name: &str| here.iter().any(|line| line.word(0).eq_ignore_ascii_case(name));
    let lost = route.scope.lost("proxy_set_header").into_iter().map(|line| line.word(0));
    lost.filter(|name| !has(name)).map(str::to_ascii_lowercase).collect()
}

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        inherited(judge, &route);
        upgrade(judge, &route);
        http_version(judge, &route);
        if matches!(route.role, Role::Editor | Role::SocketIo) {
            host(judge, &route);
        }
        if route.role == Role::SocketIo {
            proto(judge, &route);
            allow_origin(judge, &route);
        }
        forwarded_port(judge, &route);
    }
}

fn inherited(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let names = lost_names(route);
    let lost: Vec<&Node<'_>> = route
        .scope
        .lost("proxy_set_header")
        .into_iter()
        .filter(|line| names.iter().any(|name| line.word(0).eq_ignore_ascii_case(name)))
        .collect();
    let is_vital = names.iter().any(|name| VITAL.contains(&name.as_str()));
    let is_believed = names.iter().any(|name| BELIEVED.contains(&name.as_str()));
    if !is_vital && !is_believed {
        return;
    }
    let first = route.scope.list("proxy_set_header").first().copied();
    let Some(first) = first else { return };
    let level = route.scope.list_level("proxy_set_header");
    let shown: Vec<&str> = lost.iter().map(|line| line.word(0)).collect();
    let lines: Vec<String> = lost.iter().map(|line| line.shown()).collect();
    let changes = level.map(|level| Change::add(level, judge.path(), lines)).into_iter().collect();
    judge.say(Said {
        rule: "OH-NGX-101",
        severity: if is_vital { Severity::Error } else { Severity::Warning },
        sure: true,
        place: first.place(),
        what: format!("this proxy_set_header drops those of the block above: {}", shown.join(", ")),
        changes,
    });
}

/// A line for the list that counts, or the list's own line in its place.
pub(super) fn mend(
    judge: &Judge<'_, '_>,
    route: &Route<'_>,
    by: Option<&Node<'_>>,
    line: String,
) -> Change {
    match by {
        Some(node) => Change::replace(node, [line]),
        None => match route.scope.list_level("proxy_set_header") {
            Some(level) => Change::add(level, judge.path(), [line]),
            None => judge.add(&route.scope, [line]),
        },
    }
}

/// Where a header that is missing belongs: to the list that counts, or to the location.
pub(super) fn place(
    judge: &Judge<'_, '_>,
    route: &Route<'_>,
    by: Option<&Node<'_>>,
) -> crate::inspect::Place {
    let level = || route.scope.list_level("proxy_set_header").and_then(|level| level.head);
    by.or_else(level).map_or_else(|| judge.place_of(&route.scope), Node::place)
}

fn upgrade(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if route.role == Role::App {
        return;
    }
    let request = websocket(&route.request);
    let lost = lost_names(route);
    let is_lost = |name: &str| lost.iter().any(|one| one == name);
    let could_be_elsewhere =
        route.scope.may_inherit() && route.scope.list("proxy_set_header").is_empty();
    let severity = if route.role == Role::OpenHands { Severity::Warning } else { Severity::Error };
    let seen_upgrade = seen(route, &request, "upgrade");
    let is_good = seen_upgrade.value.as_deref().is_none_or(|v| v.eq_ignore_ascii_case("websocket"));
    if !is_good && !is_lost("upgrade") {
        let stands = match seen_upgrade.by {
            None => "the header Upgrade is not passed on".to_owned(),
            Some(line) => format!("`{}` sends no \"websocket\"", line.shown()),
        };
        judge.say(Said {
            rule: "OH-NGX-102",
            severity,
            sure: !could_be_elsewhere,
            place: place(judge, route, seen_upgrade.by),
            what: stands,
            changes: Vec::from([mend(
                judge,
                route,
                seen_upgrade.by,
                "proxy_set_header Upgrade $http_upgrade;".to_owned(),
            )]),
        });
    }
    let connection = seen(route, &request, "connection");
    let has_upgrade =
        |value: &str| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
    let is_good = connection.value.as_deref().is_none_or(has_upgrade);
    if !is_good && !is_lost("connection") {
        let stands = match connection.by {
            None => "the header Connection is sent as \"close\"".to_owned(),
            Some(line) => format!("`{}` sends no \"upgrade\"", line.shown()),
        };
        judge.say(Said {
            rule: "OH-NGX-103",
            severity,
            sure: !could_be_elsewhere,
            place: place(judge, route, connection.by),
            what: stands,
            changes: Vec::from([mend(
                judge,
                route,
                connection.by,
                "proxy_set_header Connection \"upgrade\";".to_owned(),
            )]),
        });
    }
}

fn http_version(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let node = route.scope.value("proxy_http_version");
    let is_old = match node {
        Some(node) => node.word(0) == "1.0",
        None => judge.known.nginx.is_none_or(|version| version < HTTP_1_1_BY_DEFAULT),
    };
    if route.role == Role::App || !is_old {
        return;
    }
    let line = "proxy_http_version 1.1;".to_owned();
    let change = match node {
        Some(node) => Change::replace(node, [line]),
        None => judge.add(&route.scope, [line]),
    };
    judge.say(Said {
        rule: "OH-NGX-104",
        severity: Severity::Warning,
        sure: node.is_some() || !route.scope.may_inherit(),
        place: node.map_or_else(|| judge.place_of(&route.scope), Node::place),
        what: "what is behind is asked by HTTP/1.0, which has no Upgrade".to_owned(),
        changes: Vec::from([change]),
    });
}

/// The host that programs believe: of `X-Forwarded-Host`, or of `Host`.
fn believed_host<'c>(route: &Route<'c>, request: &Request) -> Seen<'c> {
    let forwarded = seen(route, request, "x-forwarded-host");
    match forwarded.value.as_deref() {
        Some("") => seen(route, request, "host"),
        _ => forwarded,
    }
}

fn host(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if lost_names(route).iter().any(|name| name == "host" || name == "x-forwarded-host") {
        return;
    }
    let server = route.server;
    let doors = role::doors(&server);
    let names: Vec<&str> =
        server.level.all("server_name").flat_map(|n| n.words).map(String::as_str).collect();
    for door in &doors {
        let request = Request { uri: route.request.uri.clone(), ..role::browser(&server, door) };
        let request = websocket(&request);
        let found = believed_host(route, &request);
        let Some(value) = found.value.filter(|value| *value != request.authority) else { continue };
        let text = found.by.map_or("", |line| line.word(1));
        let is_literal = found.by.is_some() && !text.contains('$');
        let (host, _) = request.authority.rsplit_once(':').unwrap_or((&request.authority, ""));
        let is_own_name = value.split(':').next().is_some_and(|v| names.contains(&v) || v == host);
        // A port that stands there as a number may be what others see of this machine.
        let sure = !is_literal || (role::name(&server).is_some() && !is_own_name);
        let is_other_door = is_literal && doors.len() > 1 && names.contains(&value.as_str());
        if is_other_door || (is_literal && role::name(&server).is_none()) {
            continue;
        }
        let rule = match text {
            _ if text.contains("$server_port") => "OH-NGX-107",
            _ if text.contains("$host") || is_own_name => "OH-NGX-106",
            _ => "OH-NGX-105",
        };
        let name = found.by.map_or("Host", |line| line.word(0));
        let line = format!("proxy_set_header {name} {};", wanted_host(&server, &doors));
        judge.say(Said {
            rule,
            severity: if route.role == Role::Editor { Severity::Error } else { Severity::Warning },
            sure,
            place: place(judge, route, found.by),
            what: match found.by {
                None => {
                    format!("the host goes on as {value:?}; browsers say {:?}", request.authority)
                }
                Some(by) => {
                    format!("`{}` says {value:?}; browsers say {:?}", by.shown(), request.authority)
                }
            },
            changes: Vec::from([mend(judge, route, found.by, line)]),
        });
        return;
    }
    if judge.config.is_server_part {
        part_of_a_server(judge, route);
    }
    let host = seen(route, &websocket(&route.request), "host");
    if let Some(line) = host.by.filter(|line| line.word(1).contains("$http_host"))
        && let Some(name) = role::name(&server)
        && let [door] = doors.as_slice()
    {
        let line_wanted = format!("proxy_set_header Host {};", role::authority(name, door));
        judge.say(Said {
            rule: "OH-NGX-108",
            severity: Severity::Warning,
            sure: true,
            place: line.place(),
            what: format!("`{}` passes on whatever a client calls this site", line.shown()),
            changes: Vec::from([Change::replace(line, [line_wanted])]),
        });
    }
}

/// A file of locations: the port is not in it.
fn part_of_a_server(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let found = believed_host(route, &websocket(&route.request));
    let text = found.by.map_or("", |line| line.word(1));
    let is_missing = found.by.is_none();
    if is_missing || text == "$host" {
        let line = "proxy_set_header Host $http_host;".to_owned();
        judge.say(Said {
            rule: if is_missing { "OH-NGX-105" } else { "OH-NGX-106" },
            severity: Severity::Error,
            sure: is_missing && !route.scope.list("proxy_set_header").is_empty(),
            place: place(judge, route, found.by),
            what: if is_missing {
                "no Host is passed on".to_owned()
            } else {
                "`Host $host` has no port; whether the site has one is not in this text".to_owned()
            },
            changes: Vec::from([mend(judge, route, found.by, line)]),
        });
    }
}

/// The host as it should go on: the site's own where the text tells it.
pub(super) fn wanted_host(server: &super::Server<'_>, doors: &[role::Door<'_>]) -> String {
    match (role::name(server), doors) {
        (Some(name), [door]) => role::authority(name, door),
        _ => "$http_host".to_owned(),
    }
}

fn proto(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if lost_names(route).iter().any(|name| name == "x-forwarded-proto")
        || judge.config.is_server_part
    {
        return;
    }
    let found = seen(route, &websocket(&route.request), "x-forwarded-proto");
    if route.request.scheme != "https"
        || found.value.as_deref().is_none_or(|value| value == "https")
    {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-112",
        severity: Severity::Warning,
        sure: true,
        place: place(judge, route, found.by),
        what: format!(
            "Socket.IO is told that the site speaks {:?}; it speaks https",
            found.value.unwrap_or_default()
        ),
        changes: Vec::from([mend(
            judge,
            route,
            found.by,
            "proxy_set_header X-Forwarded-Proto $scheme;".to_owned(),
        )]),
    });
}

fn allow_origin(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let lines = route.scope.list("add_header");
    let twice =
        lines.into_iter().find(|l| l.word(0).eq_ignore_ascii_case("Access-Control-Allow-Origin"));
    let is_hidden = route
        .scope
        .list("proxy_hide_header")
        .iter()
        .any(|line| line.word(0).eq_ignore_ascii_case("Access-Control-Allow-Origin"));
    let Some(line) = twice.filter(|_| !is_hidden) else { return };
    // Browsers look at it for pages of other origins; where none is let in, nobody is hurt.
    let other = others(judge, route);
    judge.say(Said {
        rule: "OH-NGX-114",
        severity: if other.is_some() { Severity::Error } else { Severity::Warning },
        sure: true,
        place: line.place(),
        what: match other {
            Some(other) => format!(
                "`{}` comes beside the one that Socket.IO sends: browsers refuse both to {other}",
                line.shown()
            ),
            None => format!(
                "`{}` comes beside the one that Socket.IO sends; no page of another origin is let in",
                line.shown()
            ),
        },
        changes: Vec::from([Change::remove(line)]),
    });
}

/// Finds another origin whose pages may poll.
fn others(judge: &Judge<'_, '_>, route: &Route<'_>) -> Option<String> {
    let maps = judge.config.http.all("map").filter(|map| map.word(0) == "$http_origin");
    let named = maps.flat_map(Node::children).map(|line| line.name);
    let named = named.filter(|name| name.contains("://") && !name.starts_with('~'));
    let mut tried = named.chain(["https://another.example"]);
    let own = route.request.origin();
    let found = tried.find(|origin| {
        let request = route.request.with(&[("origin", origin)]);
        !origin.eq_ignore_ascii_case(&own)
            && matches!(run(route.server, &request), Outcome::Proxied(_))
    });
    found.map(str::to_owned)
}

fn forwarded_port(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if route.role != Role::Editor || judge.config.is_server_part {
        return;
    }
    let found = seen(route, &websocket(&route.request), "x-forwarded-port");
    let port = route.request.port.to_string();
    let Some(line) = found.by else { return };
    if found.value.as_deref().is_none_or(|value| value.is_empty() || *value == port) {
        return;
    }
    let reads_it = match route.upstream {
        Some(Upstream { kind: UpstreamKind::CodeServer, .. }) => return,
        Some(_) => true,
        None => false,
    };
    judge.say(Said {
        rule: "OH-NGX-113",
        severity: Severity::Error,
        sure: reads_it,
        place: line.place(),
        what: format!("`{}` while the site listens on {port}", line.shown()),
        changes: Vec::from([Change::replace(
            line,
            [format!("proxy_set_header X-Forwarded-Port {port};")],
        )]),
    });
}

/// Says whether the program behind a route is this kind.
pub(super) fn is_kind(route: &Route<'_>, kind: UpstreamKind) -> bool {
    route.upstream.is_some_and(|upstream| upstream.kind == kind)
}

/// Returns what a route's `proxy_pass` is, for messages.
pub(super) fn shown(backend: Backend<'_>) -> String {
    backend.node.shown()
}
