//! What nginx answers itself, or another location takes, where a program should have been asked.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::super::backend::Backend;
use super::super::finding::{Change, Severity};
use super::super::model::{Matcher, Node, Scope, Server};
use super::super::request::{Request, matched, variables_in};
use super::super::role::{self, Role, Route, SOCKET_IO};
use super::super::simulate::{Outcome, entered, run, status_text};
use super::headers::websocket;
use super::{Judge, Said, is_same};

/// Files of the editor; a location for files by their ends would take them.
const ASSETS: [&str; 4] = [
    "static/out/vs/code/browser/workbench/workbench.js",
    "stable-0123456789abcdef/static/out/vs/workbench/workbench.web.main.css",
    "manifest.json",
    "_static/src/browser/media/favicon.svg",
];

/// Files of OpenHands, all below one folder.
const OPENHANDS_ASSETS: [&str; 2] = ["/assets/entry.client.js", "/assets/root.css"];

/// The folder of the files of OpenHands.
const OPENHANDS_FILES: &str = "/assets/";

/// An id that nobody has.
const UNKNOWN: &str = "no-such-session-0";

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        match route.role {
            Role::Editor => editor(judge, &route),
            Role::SocketIo => socket_io(judge, &route),
            Role::App => {
                reaches(judge, &route, &route.request, "a request of the application");
                unknown_session(judge, &route);
            }
            Role::OpenHands => openhands(judge, &route),
        }
        own_page_is_refused(judge, &route);
    }
    without_socket_io(judge);
    leads_nowhere(judge);
}

fn editor(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(prefix) = route.prefix.as_deref() else { return };
    for asset in ASSETS {
        let request = route.request.at(&format!("{prefix}{asset}"));
        if !reaches(judge, route, &request, "a file of the editor") {
            return;
        }
    }
    if prefix != "/" {
        unknown_session(judge, route);
    }
}

fn openhands(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if !reaches(judge, route, &route.request, "a page of OpenHands") || route.request.uri != "/" {
        return;
    }
    for asset in OPENHANDS_ASSETS {
        if !reaches(judge, route, &route.request.at(asset), "a file of OpenHands") {
            return;
        }
    }
}

fn socket_io(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let mut request = route.request.clone();
    request.args = "EIO=4&transport=polling".to_owned();
    if !reaches(judge, route, &request, "Socket.IO by polling") {
        return;
    }
    request.method = "POST";
    reaches(judge, route, &request, "what Socket.IO posts");
}

/// Demands that a request arrives; says what stands in its way.
fn reaches(judge: &mut Judge<'_, '_>, route: &Route<'_>, request: &Request, who: &str) -> bool {
    match run(route.server, request) {
        Outcome::Answered { status, by } => {
            answered(judge, route, request, who, status, by);
            false
        }
        Outcome::Proxied(passed) if !is_same(&passed.scope, &route.scope) => {
            taken(judge, route, &passed.scope, request, who)
        }
        Outcome::File(scope) if !is_same(&scope, &route.scope) => {
            taken(judge, route, &scope, request, who)
        }
        _ => true,
    }
}

fn answered(
    judge: &mut Judge<'_, '_>,
    route: &Route<'_>,
    request: &Request,
    who: &str,
    status: u16,
    by: &Node<'_>,
) {
    let block = around(&route.scope, by);
    let about_query = block.filter(|node| {
        node.words
            .iter()
            .any(|word| ["$arg", "$is_args", "$query_string"].iter().any(|v| word.contains(v)))
    });
    let is_inside =
        block.is_some() || route.scope.level().nodes.iter().any(|n| core::ptr::eq(n, by));
    if !is_inside && by.name != "limit_except" && by.name != "deny" {
        let holds = |scope: &Scope<'_>| scope.level().nodes.iter().any(|n| core::ptr::eq(n, by));
        if let Some(other) = route.server.locations().iter().find(|scope| holds(scope)) {
            taken(judge, route, other, request, who);
        }
        return;
    }
    let what = format!("{who} ({}) gets {} from nginx", request.uri, status_text(status));
    let culprit = block.unwrap_or(by);
    let changes = match (about_query, route.prefix.as_deref()) {
        (Some(node), Some(prefix)) => only_at_the_root(judge, node, prefix),
        _ => Vec::from([Change::remove(culprit)]),
    };
    judge.say(Said {
        rule: match (about_query, by.name) {
            (Some(_), _) => "OH-NGX-206",
            (_, "limit_except") => "OH-NGX-311",
            _ => "OH-NGX-207",
        },
        severity: Severity::Error,
        sure: true,
        place: culprit.place(),
        what,
        changes,
    });
}

/// The same redirect for exactly the root of the editor.
fn only_at_the_root(judge: &mut Judge<'_, '_>, redirect: &Node<'_>, prefix: &str) -> Vec<Change> {
    let Some(target) = redirect.named("return").next() else {
        return Vec::from([Change::remove(redirect)]);
    };
    let variable = judge.variable("oh_at_root", prefix);
    let map = [
        format!("map $request_method$http_upgrade$is_args$uri ${variable} {{"),
        "    default 0;".to_owned(),
        format!("    GET{prefix} 1;"),
        "}".to_owned(),
    ];
    let line = format!("if (${variable}) {{ {} }}", target.shown());
    Vec::from([judge.add_to_http(map), Change::replace(redirect, [line])])
}

/// Finds the `if` of a location that a directive stands in.
fn around<'c>(scope: &Scope<'c>, inner: &Node<'_>) -> Option<&'c Node<'c>> {
    let ifs = scope.levels.iter().flat_map(|level| level.nodes).filter(|node| node.name == "if");
    let mut ifs = ifs.filter(|node| node.children().iter().any(|one| core::ptr::eq(one, inner)));
    ifs.next()
}

fn taken(
    judge: &mut Judge<'_, '_>,
    route: &Route<'_>,
    other: &Scope<'_>,
    request: &Request,
    who: &str,
) -> bool {
    // Locations of the same program (`/vscode/…` by several patterns) are no strangers to each other.
    if judge.routes.iter().any(|one| one.role == route.role && is_same(&one.scope, other)) {
        return true;
    }
    if let Some(rewrite) = leaving(route, request) {
        return left(judge, other, rewrite, request, who);
    }
    if let (Some(Matcher::Exact(path)), Some(own)) = (route.scope.location(), route.scope.head()) {
        let sure = is_sure(route, other);
        return exact(judge, route, (own, path), sure, request, who);
    }
    let Some(Matcher::Regex { .. }) = other.location() else { return true };
    let Some(head) = other.head() else { return true };
    let mut changes = Vec::new();
    if route.role == Role::OpenHands {
        // A final `/` would take every request from every pattern.
        changes.extend(own_files(judge, route));
    } else if let (Some(Matcher::Prefix { path, is_final: false }), Some(own)) =
        (route.scope.location(), route.scope.head())
        && let Some(end) = own.body
    {
        let mut change = Change::replace(own, [format!("location ^~ {path} {{")]);
        change.span = own.span.start..end;
        changes.push(change);
    }
    judge.say(Said {
        rule: "OH-NGX-214",
        severity: Severity::Error,
        sure: is_sure(route, other),
        place: head.place(),
        what: format!("`{}` takes {who} ({})", head.shown(), request.uri),
        changes,
    });
    false
}

/// Says whether what takes a request is wrong for sure: the files of OpenHands may lie in a folder.
fn is_sure(route: &Route<'_>, other: &Scope<'_>) -> bool {
    let serves_files = ["root", "alias"].iter().any(|name| other.value(name).is_some());
    route.role != Role::OpenHands || !serves_files
}

/// A location for the files of OpenHands with all that the one of its pages has.
fn own_files(judge: &Judge<'_, '_>, route: &Route<'_>) -> Option<Change> {
    let head = route.scope.head()?;
    let text = head.file.text.get(head.body?..head.span.end.checked_sub(1)?)?;
    let passed = route.backend.node;
    let text = match route.backend.uri {
        None => text.to_owned(),
        // What `/` is replaced by there is kept here.
        Some("/") => {
            let target =
                format!("proxy_pass {}://{};", route.backend.scheme, route.backend.authority);
            text.replace(passed.file.text.get(passed.span.clone())?, &target)
        }
        Some(_) => return None,
    };
    let opening = format!("location ^~ {OPENHANDS_FILES} {{");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.map(|line| format!("    {line}"));
    let lines = core::iter::once(opening).chain(lines).chain(core::iter::once("}".to_owned()));
    Some(Change::add(route.server.level, judge.path(), lines))
}

/// Finds the `rewrite` by which a request leaves the location that it has come to.
fn leaving<'c>(route: &Route<'c>, request: &Request) -> Option<&'c Node<'c>> {
    let first = entered(route.server, request)?;
    if !is_same(&first, &route.scope) {
        return None;
    }
    let nodes = route.scope.level().nodes;
    let inner = nodes.iter().filter(|node| node.name == "if").flat_map(Node::children);
    let mut rewrites = nodes.iter().chain(inner).filter(|node| node.name == "rewrite");
    rewrites.find(|node| {
        let stays = !matches!(node.word(2), "" | "last");
        !stays && matches!(matched(node.word(0), false, &request.uri), Some(Some(_)))
    })
}

/// A rewrite without `break` looks for a location anew.
fn left(
    judge: &mut Judge<'_, '_>,
    other: &Scope<'_>,
    rewrite: &Node<'_>,
    request: &Request,
    who: &str,
) -> bool {
    let text = rewrite.shown();
    let text = text.trim_end_matches(';').trim_end();
    let text = text.strip_suffix(" last").unwrap_or(text);
    let place = match other.head().filter(|head| head.name == "location") {
        Some(head) => format!("`{}`", head.shown()),
        None => "no location".to_owned(),
    };
    judge.say(Said {
        rule: "OH-NGX-217",
        severity: Severity::Error,
        sure: true,
        place: rewrite.place(),
        what: format!("`{}` sends {who} ({}) on to {place}", rewrite.shown(), request.uri),
        changes: Vec::from([Change::replace(rewrite, [format!("{text} break;")])]),
    });
    false
}

/// A location for one address only, where the program has many.
fn exact(
    judge: &mut Judge<'_, '_>,
    route: &Route<'_>,
    (own, path): (&Node<'_>, &str),
    sure: bool,
    request: &Request,
    who: &str,
) -> bool {
    let is_served = judge.routes.iter().any(|one| {
        let is_other = one.role == route.role && !is_same(&one.scope, &route.scope);
        is_other
            && one
                .scope
                .location()
                .and_then(Matcher::path)
                .is_some_and(|path| request.uri.starts_with(path))
    });
    if is_served {
        return true;
    }
    // A final `/` would take every request from every pattern.
    let mark = if route.role == Role::OpenHands { "" } else { "^~ " };
    let mut change = Change::replace(own, [format!("location {mark}{path} {{")]);
    change.span = own.span.start..own.body.unwrap_or(own.span.end);
    judge.say(Said {
        rule: "OH-NGX-207",
        severity: Severity::Error,
        sure,
        place: own.place(),
        what: format!(
            "`{}` serves this address alone, and not {who} ({})",
            own.shown(),
            request.uri
        ),
        changes: Vec::from([change]),
    });
    false
}

/// An id that nobody has must not end at OpenHands, which answers everything with its page.
fn unknown_session(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(prefix) = route.prefix.as_deref() else { return };
    let Some((parent, _)) = prefix.trim_end_matches('/').rsplit_once('/') else { return };
    if parent.is_empty() {
        return;
    }
    let request = route.request.at(&format!("{parent}/{UNKNOWN}/"));
    let passed = match run(route.server, &request) {
        Outcome::Proxied(passed) => passed,
        Outcome::Answered { status, by } => return answered_well(judge, by, status, parent),
        _ => return,
    };
    let ends_at = judge.routes.iter().find(|one| is_same(&one.scope, &passed.scope));
    if !ends_at.is_some_and(|one| one.role == Role::OpenHands) {
        return;
    }
    let Some(place) = route.scope.head().map(Node::place) else { return };
    let place = route.server.level.head.map_or(place, Node::place);
    let lines = [format!("location ^~ {parent}/ {{"), "    return 404;".to_owned(), "}".to_owned()];
    judge.say(Said {
        rule: "OH-NGX-210",
        severity: Severity::Error,
        sure: true,
        place,
        what: format!("{parent}/{{id}}/ of an id that is not there shows OpenHands"),
        changes: Vec::from([Change::add(route.server.level, judge.path(), lines)]),
    });
}

/// A refusal that looks like success, or like a way elsewhere.
fn answered_well(judge: &mut Judge<'_, '_>, by: &Node<'_>, status: u16, parent: &str) {
    if status >= 400 {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-210",
        severity: Severity::Error,
        sure: true,
        place: by.place(),
        what: format!("{parent}/{{id}}/ of an id that is not there gets {status}"),
        changes: Vec::from([Change::replace(by, ["return 404;".to_owned()])]),
    });
}

/// The site's own page opens a WebSocket and must not be taken for a stranger.
fn own_page_is_refused(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if judge.config.is_server_part || route.role == Role::App || route.prefix.is_none() {
        return;
    }
    let mut request = websocket(&route.request);
    if route.role == Role::SocketIo {
        request.args = "EIO=4&transport=websocket".to_owned();
    }
    let Outcome::Answered { status, by } = run(route.server, &request) else { return };
    if status < 400 {
        return;
    }
    // Without Origin the same is refused: then the Origin is not what decides.
    let mut plain = request.clone();
    plain.headers.remove("origin");
    if matches!(run(route.server, &plain), Outcome::Answered { status: other, .. } if other == status)
    {
        if matches!(route.role, Role::Editor | Role::SocketIo) {
            reaches(judge, route, &request, "a WebSocket of the site's own page");
        }
        return;
    }
    // The origin of a site without a name is nobody's to judge.
    if role::name(&route.server).is_none() {
        return;
    }
    let accepted = other_addresses(&route.request).into_iter().find(|origin| {
        let request = request.with(&[("origin", origin)]);
        matches!(run(route.server, &request), Outcome::Proxied(_))
    });
    let origin = request.origin();
    let culprit = around(&route.scope, by).unwrap_or(by);
    let lines = origin_line(judge, &origin, culprit);
    judge.say(Said {
        rule: "OH-NGX-509",
        severity: Severity::Error,
        sure: accepted.is_none(),
        place: culprit.place(),
        what: match accepted {
            None => format!(
                "a WebSocket of the site's own page ({origin}) gets {}",
                status_text(status)
            ),
            Some(other) => {
                format!("WebSockets are let in from {other} only; the text says {origin}")
            }
        },
        changes: lines,
    });
}

/// How else the same site may be called, where another program stands in front of nginx.
fn other_addresses(request: &Request) -> Vec<String> {
    let (host, _) = request.authority.rsplit_once(':').unwrap_or((&request.authority, ""));
    let port = request.port.to_string();
    let mut out = Vec::new();
    for scheme in ["https", "http"] {
        out.push(format!("{scheme}://{host}"));
        out.push(format!("{scheme}://{host}:{port}"));
    }
    out
}

/// The line that is missing in the map of origins that a condition is made of.
fn origin_line(judge: &Judge<'_, '_>, origin: &str, culprit: &Node<'_>) -> Vec<Change> {
    let mut maps = Vec::new();
    origin_maps(judge, culprit.words, MAPS_DEEP_MAX, &mut maps);
    let [map] = maps.as_slice() else { return Vec::from([Change::remove(culprit)]) };
    let addresses = map.children().iter().filter(|line| line.name.contains("://"));
    let value = addresses.clone().map(|line| line.word(0));
    let value = value.filter(|value| *value != "0" && !value.is_empty()).last().unwrap_or("1");
    let line = format!("\"{origin}\" {value};");
    // An address of another site that uses the same map stays.
    let is_of_another = |line: &Node<'_>| judge.origins.contains(&line.name.to_ascii_lowercase());
    let stands = addresses.clone().find(|line| !is_of_another(line));
    match stands.filter(|line| addresses.clone().filter(|one| one.name == line.name).count() == 1) {
        Some(stands) => Vec::from([Change::replace(stands, [line])]),
        None => Vec::from([Change::add(super::super::model::Level::of(map), judge.path(), [line])]),
    }
}

/// How deep maps may be made of maps.
const MAPS_DEEP_MAX: usize = 16;

/// Finds the maps of `$http_origin` that words depend on, each once.
fn origin_maps<'c>(
    judge: &Judge<'c, '_>,
    words: &[String],
    depth: usize,
    found: &mut Vec<&'c Node<'c>>,
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for name in words.iter().flat_map(|word| variables_in(word)) {
        let Some(map) = judge.config.map(name) else { continue };
        if map.word(0) != "$http_origin" {
            origin_maps(judge, map.words.get(..1).unwrap_or_default(), depth, found);
        } else if !found.iter().any(|one| core::ptr::eq(*one, map)) {
            found.push(map);
        }
    }
}

/// A site whose root is files answers Socket.IO with its page.
fn without_socket_io(judge: &mut Judge<'_, '_>) {
    for server in judge.sites() {
        let openhands = judge.routes.iter().find(|route| {
            super::is_same_server(route.server, server) && route.role == Role::OpenHands
        });
        let Some(route) = openhands.cloned() else { continue };
        let Outcome::File(scope) = run(server, &route.request.at(SOCKET_IO)) else { continue };
        let target = format!("proxy_pass {}://{};", route.backend.scheme, route.backend.authority);
        let is_own =
            scope.location().and_then(Matcher::path).is_some_and(|path| path.contains("socket.io"));
        let change = match scope.level().all("try_files").next() {
            // It would come before a proxy_pass beside it.
            Some(files) if is_own => Change::replace(files, [target]),
            None if is_own => judge.add(&scope, [target]),
            _ => Change::add(server.level, judge.path(), socket_io_location(&route)),
        };
        judge.say(Said {
            rule: "OH-NGX-215",
            severity: Severity::Error,
            sure: true,
            place: judge.place_of(&scope),
            what: "/socket.io/ ends at files of nginx, and not at OpenHands".to_owned(),
            changes: Vec::from([change]),
        });
    }
}

/// A location with an editor's or an application's name that leads nowhere.
fn leads_nowhere(judge: &mut Judge<'_, '_>) {
    for server in judge.sites() {
        for scope in server.locations() {
            let Some(path) = scope.location().and_then(Matcher::path) else { continue };
            let level = scope.level();
            let does = [
                "proxy_pass",
                "return",
                "rewrite",
                "try_files",
                "root",
                "alias",
                "location",
                "internal",
            ];
            let is_idle = does.iter().all(|name| level.all(name).next().is_none());
            if is_idle && path == "/" {
                pages_lead_nowhere(judge, server, &scope);
                continue;
            }
            let parts = path.split('/').filter(|part| !part.is_empty()).count();
            if !is_idle || !role::is_session_path(path) || parts < 2 {
                continue;
            }
            judge.say(Said {
                rule: "OH-NGX-211",
                severity: Severity::Error,
                sure: true,
                place: judge.place_of(&scope),
                what: format!("{path} leads to no program: there is no proxy_pass"),
                changes: Vec::new(),
            });
        }
    }
}

/// The pages of OpenHands, whose Socket.IO the same server has, are looked for as files.
fn pages_lead_nowhere<'c>(judge: &mut Judge<'c, '_>, server: Server<'c>, scope: &Scope<'c>) {
    let is_its = |route: &&Route<'c>| super::is_same_server(route.server, server);
    let mut routes = judge.routes.iter().filter(is_its);
    let socket_io = routes.find(|route| route.role == Role::SocketIo);
    let Some(Backend { scheme, authority, .. }) = socket_io.map(|route| route.backend) else {
        return;
    };
    // Files may be meant.
    if ["root", "index", "error_page"].iter().any(|name| scope.value(name).is_some()) {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-211",
        severity: Severity::Error,
        sure: !scope.may_inherit(),
        place: judge.place_of(scope),
        what: "/ leads to no program: there is no proxy_pass, and OpenHands has no page".to_owned(),
        changes: Vec::from([judge.add(scope, [format!("proxy_pass {scheme}://{authority};")])]),
    });
}

/// A location for Socket.IO beside the one of OpenHands, with what that one has of its own.
fn socket_io_location(route: &Route<'_>) -> Vec<String> {
    let mut lines = Vec::from(["location /socket.io/ {".to_owned()]);
    let refusing =
        route.scope.level().all("if").filter(|node| node.named("return").next().is_some());
    lines.extend(refusing.map(|node| format!("    {}", whole(node))));
    lines.push(format!("    proxy_pass {}://{};", route.backend.scheme, route.backend.authority));
    let server = route.server.scope();
    let mut more = |name: &str, texts: &[&str]| {
        if server.list(name).is_empty() {
            lines.extend(texts.iter().map(|text| format!("    {name} {text};")));
        }
    };
    more("proxy_http_version", &["1.1"]);
    more("proxy_read_timeout", &["1h"]);
    more("client_max_body_size", &["5m"]);
    more(
        "proxy_set_header",
        &[
            "Host $http_host",
            "Upgrade $http_upgrade",
            "Connection \"upgrade\"",
            "X-Forwarded-Proto $scheme",
            "X-Forwarded-For $remote_addr",
        ],
    );
    lines.push("}".to_owned());
    lines
}

/// A directive with its block, on one line.
fn whole(node: &Node<'_>) -> String {
    let text = node.file.text.get(node.span.clone()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
