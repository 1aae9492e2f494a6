//! The path that goes on: stripped or kept, with its query.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::UpstreamKind;
use super::super::finding::{Change, Severity};
use super::super::model::Matcher;
use super::super::request::{Request, variables_in};
use super::super::role::{Role, Route, SOCKET_IO};
use super::super::simulate::{Outcome, Passed, run};
use super::headers::{is_kind, mend, place, seen, shown, websocket};
use super::{Judge, Said, is_same};

/// A file of the editor, as its page names it.
const ASSET: &str = "static/out/vs/code/browser/workbench/workbench.js";

/// A query that must arrive.
const QUERY: &str = "folder=/srv&tkn=1";

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        match route.role {
            Role::Editor => editor(judge, &route),
            Role::SocketIo => socket_io(judge, &route),
            Role::App | Role::OpenHands => {}
        }
    }
}

/// Lets a request for a path go through, as a page's or, where that is not let in, as its WebSocket's, which has
/// an Origin; `None` where another location takes it.
fn passed<'c>(route: &Route<'c>, uri: &str, args: &str) -> Option<Box<Passed<'c>>> {
    let mut request = route.request.at(uri);
    request.args = args.to_owned();
    let through = |request: &Request| match run(route.server, request) {
        Outcome::Proxied(passed) if is_same(&passed.scope, &route.scope) => Some(passed),
        _ => None,
    };
    through(&request).or_else(|| through(&websocket(&request)))
}

/// Takes the slash off the end, and what stands twice.
fn squeezed(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

fn editor(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(prefix) = route.prefix.as_deref().filter(|prefix| *prefix != "/") else { return };
    let uri = format!("{prefix}{ASSET}");
    let Some(sent) = passed(route, &uri, "").and_then(|passed| passed.sent) else { return };
    if lost_query(judge, route, &uri) {
        return;
    }
    let stripped = format!("/{ASSET}");
    let (is_stripped, is_kept) = (sent == stripped, sent == uri);
    if is_kept {
        kept(judge, route, prefix);
    } else if is_stripped {
        stripped_from(judge, route, prefix);
    } else {
        let is_wanted_kept = is_kind(route, UpstreamKind::OpenVsCodeBase);
        let changes = glued_right(judge, route, prefix, is_wanted_kept);
        judge.say(Said {
            rule: "OH-NGX-203",
            severity: Severity::Error,
            sure: true,
            place: route.backend.node.place(),
            what: format!("{prefix}{} is asked for as {}", short(ASSET), short(&sent)),
            changes,
        });
    }
}

fn short(path: &str) -> &str {
    path.find("out/").and_then(|at| path.get(..at)).unwrap_or(path)
}

fn target(route: &Route<'_>, uri: &str) -> String {
    format!("proxy_pass {}://{}{uri};", route.backend.scheme, route.backend.authority)
}

fn kept(judge: &mut Judge<'_, '_>, route: &Route<'_>, prefix: &str) {
    if is_kind(route, UpstreamKind::OpenVsCodeBase) {
        return;
    }
    let is_known = route.upstream.is_some();
    let what = if is_known {
        format!("{prefix} is not stripped, and what listens there answers at its root")
    } else {
        format!("{prefix} is not stripped: right only for an openvscode-server with that base path")
    };
    let changes = match route.scope.location() {
        Some(Matcher::Prefix { path, .. }) if !route.backend.has_variables() => {
            let mut changes =
                Vec::from([Change::replace(route.backend.node, [target(route, "/")])]);
            changes.extend(with_slash(route, path));
            changes
        }
        _ => Vec::from([judge.add(
            &route.scope,
            [format!(
                "rewrite \"^{}(/[^\\x00-\\x1f\\x7f]*)\\z\" $1 break;",
                prefix.trim_end_matches('/')
            )],
        )]),
    };
    judge.say(Said {
        rule: "OH-NGX-201",
        severity: Severity::Error,
        sure: is_known,
        place: route.backend.node.place(),
        what,
        changes,
    });
}

fn stripped_from(judge: &mut Judge<'_, '_>, route: &Route<'_>, prefix: &str) {
    if is_kind(route, UpstreamKind::OpenVsCodeBase) {
        let changes = if route.backend.uri == Some("/") && !route.backend.has_variables() {
            Vec::from([Change::replace(route.backend.node, [target(route, "")])])
        } else {
            Vec::new()
        };
        judge.say(Said {
            rule: "OH-NGX-202",
            severity: Severity::Error,
            sure: true,
            place: route.backend.node.place(),
            what: format!("{prefix} is stripped, and what listens there was started with it"),
            changes,
        });
    }
    if is_kind(route, UpstreamKind::OpenVsCode) {
        let wanted = prefix.trim_end_matches('/');
        let found = seen(route, &websocket(&route.request), "x-forwarded-prefix");
        if found.value.as_deref().is_some_and(|value| value != wanted) {
            let line = format!("proxy_set_header X-Forwarded-Prefix {wanted};");
            judge.say(Said {
                rule: "OH-NGX-208",
                severity: Severity::Error,
                sure: true,
                place: place(judge, route, found.by),
                what: "openvscode-server is not told its prefix: it redirects to the root"
                    .to_owned(),
                changes: Vec::from([mend(judge, route, found.by, line)]),
            });
        }
    }
}

/// A location must end with a slash where its `proxy_pass` does.
fn with_slash(route: &Route<'_>, path: &str) -> Option<Change> {
    let head = route.scope.head().filter(|_| !path.ends_with('/'))?;
    let end = head.body?;
    let mut change = Change::replace(head, [format!("location ^~ {path}/ {{")]);
    change.span = head.span.start..end;
    Some(change)
}

fn glued_right(judge: &Judge<'_, '_>, route: &Route<'_>, prefix: &str, keep: bool) -> Vec<Change> {
    if route.backend.has_variables() {
        return Vec::new();
    }
    let Some(path) = route.scope.location().and_then(Matcher::path) else { return Vec::new() };
    let uri = if keep { "" } else { "/" };
    let mut changes = Vec::from([Change::replace(route.backend.node, [target(route, uri)])]);
    changes.extend(with_slash(route, path));
    // A rewrite that does the same, or half of it, goes.
    let rewrites = route.scope.level().all("rewrite");
    changes.extend(
        rewrites
            .filter(|node| squeezed(node.word(0)).contains(&squeezed(prefix)))
            .map(Change::remove),
    );
    let unchanged = changes.iter().all(|change| change.lines == [shown(route.backend)]);
    if unchanged { Vec::from([judge.add(&route.scope, [target(route, uri)])]) } else { changes }
}

/// A query that does not arrive: variables in `proxy_pass` name the whole URI.
fn lost_query(judge: &mut Judge<'_, '_>, route: &Route<'_>, uri: &str) -> bool {
    let Some(sent) = passed(route, uri, QUERY).and_then(|passed| passed.sent) else { return false };
    if sent.ends_with(QUERY) {
        return false;
    }
    let node = route.backend.node;
    let changes = if variables_in(node.word(0)).is_empty() {
        Vec::new()
    } else {
        Vec::from([Change::replace(node, [format!("proxy_pass {}$is_args$args;", node.word(0))])])
    };
    judge.say(Said {
        rule: "OH-NGX-205",
        severity: Severity::Error,
        sure: true,
        place: node.place(),
        what: format!("`{}` drops the query", node.shown()),
        changes,
    });
    true
}

fn socket_io(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(uri) = route.prefix.as_deref() else { return };
    if lost_query(judge, route, uri) {
        return;
    }
    let Some(sent) = passed(route, uri, "").and_then(|passed| passed.sent) else { return };
    // Below another path, it is the server's as well where that knows it, and has to be taken away where not.
    if sent == uri || sent == SOCKET_IO {
        return;
    }
    let changes = if route.backend.has_variables() {
        Vec::new()
    } else {
        let kept = if uri == SOCKET_IO { "" } else { SOCKET_IO };
        Vec::from([Change::replace(route.backend.node, [target(route, kept)])])
    };
    judge.say(Said {
        rule: "OH-NGX-204",
        severity: Severity::Error,
        sure: true,
        place: route.backend.node.place(),
        what: format!("{uri} is asked for as {sent}"),
        changes,
    });
}
