//! Who may open an editor: login, Origin, and what a session can do to its neighbours.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::UpstreamKind;
use super::super::finding::{Change, Severity};
use super::super::model::{Matcher, Node, Server};
use super::super::request::{Request, Variables};
use super::super::role::{self, Role, Route};
use super::super::simulate::{Outcome, asks_login, run};
use super::headers::{is_kind, websocket};
use super::{Judge, Said};

/// A page that has no business here.
const HOSTILE: &str = "https://evil.example";

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    // One look at each server: it may have thousands of locations.
    let sites = judge.sites();
    let internal: Vec<_> = sites.iter().map(|server| internal_in(server.level.nodes)).collect();
    for route in judge.each() {
        origin(judge, &route);
        let is_its = |server: &Server<'_>| super::is_same_server(*server, route.server);
        let internal = sites.iter().position(is_its).and_then(|at| internal.get(at).copied()?);
        match route.role {
            Role::Editor => {
                login(judge, &route);
                service_worker(judge, &route);
                directs_nginx(judge, &route, internal);
            }
            Role::App => {
                service_worker(judge, &route);
                cookie_path(judge, &route);
                directs_nginx(judge, &route, internal);
            }
            Role::SocketIo | Role::OpenHands => {}
        }
    }
}

/// Requests of a hostile page, with what each of them is.
fn hostile_requests(route: &Route<'_>) -> Vec<(Request, &'static str)> {
    let request = websocket(&route.request);
    let mut out = Vec::from([
        (request.with(&[("origin", HOSTILE)]), "a WebSocket of a foreign page"),
        (request.with(&[("origin", "null")]), "a WebSocket of a page without an origin (null)"),
        (
            request.with(&[("origin", HOSTILE), ("upgrade", "websocket, x")]),
            "a WebSocket of a foreign page that writes `Upgrade: websocket, x`",
        ),
    ]);
    if route.role == Role::SocketIo {
        let mut polling = route.request.with(&[("origin", HOSTILE)]);
        polling.args = "EIO=4&transport=polling".to_owned();
        out.push((polling, "Socket.IO by polling of a foreign page"));
    }
    out
}

fn origin(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    if route.prefix.is_none() {
        return;
    }
    let passing = hostile_requests(route).into_iter().find(|(request, _)| {
        // What does not arrive is no way in; a variant that nginx cuts off is none either.
        let Outcome::Proxied(_) = run(route.server, request) else { return false };
        let upgrade = super::headers::seen(route, request, "upgrade").value;
        !request.headers.contains_key("upgrade") || upgrade.is_none_or(|value| !value.is_empty())
    });
    let Some((_, what)) = passing else { return };
    let is_checked_by_editor = is_kind(route, UpstreamKind::CodeServer);
    let (severity, sure) = match route.role {
        Role::Editor if is_checked_by_editor => (Severity::Warning, true),
        Role::Editor => (Severity::Error, route.upstream.is_some()),
        Role::SocketIo => (Severity::Error, true),
        Role::OpenHands | Role::App => (Severity::Warning, true),
    };
    let changes = origin_lines(judge, route);
    judge.say(Said {
        rule: "OH-NGX-507",
        severity,
        sure: sure && !route.scope.may_inherit(),
        place: judge.place_of(&route.scope),
        what: format!("{what} goes on"),
        changes,
    });
}

/// The lines that refuse foreign pages: a condition, and the maps that it needs where none do.
fn origin_lines(judge: &mut Judge<'_, '_>, route: &Route<'_>) -> Vec<Change> {
    let own = match role::name(&route.server) {
        Some(_) => route.request.origin(),
        // The text has no name: the operator writes the address of the site.
        None => "https://THE-NAME-OF-THE-SITE".to_owned(),
    };
    let decides = if route.role == Role::SocketIo { Decides::Origin } else { Decides::Upgrade };
    if let Some(variable) = standing(judge, route, decides) {
        return Vec::from([judge.add(&route.scope, [decides.condition(variable)])]);
    }
    let ok = judge.variable("oh_origin_ok", &own);
    let upgrading = judge.variable("oh_upgrading", "");
    let refused = judge.variable("oh_refused", &own);
    let map = [
        format!("map $http_upgrade ${upgrading} {{"),
        "    default 1;".to_owned(),
        "    '' 0;".to_owned(),
        "}".to_owned(),
        format!("map $http_origin ${ok} {{"),
        "    default 0;".to_owned(),
        "    '' 1;".to_owned(),
        format!("    \"{own}\" 1;"),
        "}".to_owned(),
        format!("map ${upgrading}${ok} ${refused} {{"),
        "    default 0;".to_owned(),
        "    10 1;".to_owned(),
        "}".to_owned(),
    ];
    let variable = if decides == Decides::Origin { ok } else { refused };
    Vec::from([judge.add_to_http(map), judge.add(&route.scope, [decides.condition(&variable)])])
}

/// What a variable says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// Whether its Origin is one of the site's.
    Origin,
    /// Whether it opens a WebSocket for a page that is not.
    Upgrade,
}

impl Decides {
    fn condition(self, variable: &str) -> String {
        match self {
            Self::Origin => format!("if (${variable} = 0) {{ return 403; }}"),
            Self::Upgrade => format!("if (${variable}) {{ return 403; }}"),
        }
    }
}

/// The most lines of a map that is asked whether it decides: those that route have many.
const LINES_MAX: usize = 64;

/// Finds a map that decides already as the lines would: others of the site may use it.
fn standing<'c>(judge: &Judge<'c, '_>, route: &Route<'c>, decides: Decides) -> Option<&'c str> {
    role::name(&route.server)?;
    let plain = &route.request;
    let upgrade = websocket(plain);
    let mut cases = Vec::from([(upgrade.clone(), false), (plain.clone(), false)]);
    cases.extend(hostile_requests(route).into_iter().map(|(request, _)| (request, true)));
    let small = judge.config.http.all("map").filter(|map| map.children().len() <= LINES_MAX);
    let mut names = small.filter_map(|map| map.word(1).strip_prefix('$'));
    names.find(|name| {
        cases.iter().all(|(request, is_hostile)| {
            let value = Variables::new(judge.config, request).value(&format!("${name}"));
            match (decides, value.as_deref()) {
                (_, None) => false,
                (Decides::Origin, Some(value)) => value == if *is_hostile { "0" } else { "1" },
                (Decides::Upgrade, Some(value)) => matches!(value, "" | "0") != *is_hostile,
            }
        })
    })
}

fn login(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let scope = &route.scope;
    // A location that is reached by its name alone may have been asked for on the way to it.
    let on_the_way = match run(route.server, &route.request) {
        Outcome::Proxied(passed) => super::is_same(&passed.scope, scope) && passed.asked,
        _ => false,
    };
    let is_asked = asks_login(scope) || on_the_way;
    let limits = |scope: &super::super::model::Scope<'_>| {
        scope.list("deny").iter().any(|node| node.word(0) == "all")
    };
    let any = scope.value("satisfy").filter(|node| node.word(0) == "any");
    if let Some(node) = any.filter(|_| is_asked && !scope.list("allow").is_empty()) {
        judge.say(Said {
            rule: "OH-NGX-502",
            severity: Severity::Warning,
            sure: true,
            place: node.place(),
            what: "`satisfy any` lets whoever comes from an allowed address in without the login"
                .to_owned(),
            changes: Vec::from([Change::replace(node, ["satisfy all;".to_owned()])]),
        });
    }
    without_users(judge, route);
    let by_editor = route.upstream.and_then(|upstream| upstream.asks_login);
    if is_asked || limits(scope) || by_editor == Some(true) {
        return;
    }
    let off = scope.value("auth_basic");
    let server = route.server.level;
    let lines = [
        "auth_basic OpenHands;".to_owned(),
        "auth_basic_user_file /etc/nginx/openhands.users;".to_owned(),
    ];
    let has_file = scope.value("auth_basic_user_file").is_some();
    let changes = match off {
        Some(node) => {
            Vec::from([Change::replace(node, lines.into_iter().take(if has_file { 1 } else { 2 }))])
        }
        None if has_file => {
            Vec::from([Change::add(server, judge.path(), lines.into_iter().take(1))])
        }
        None => Vec::from([Change::add(server, judge.path(), lines)]),
    };
    judge.say(Said {
        rule: "OH-NGX-501",
        severity: Severity::Error,
        sure: by_editor == Some(false) && !scope.may_inherit(),
        place: off.map_or_else(|| judge.place_of(scope), Node::place),
        what: match by_editor {
            Some(_) => "nobody asks for a login: neither nginx nor the editor".to_owned(),
            None => "nginx asks for no login; whether the editor does could not be seen".to_owned(),
        },
        changes,
    });
}

/// A login that nobody has: nginx answers 403 to everybody.
fn without_users(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let scope = &route.scope;
    let Some(node) = scope.value("auth_basic").filter(|node| node.word(0) != "off") else { return };
    if scope.value("auth_basic_user_file").is_some() {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-506",
        severity: Severity::Error,
        sure: !scope.may_inherit(),
        place: node.place(),
        what: format!("`{}` without auth_basic_user_file lets nobody in", node.shown()),
        // Where the users are is the operator's to say.
        changes: Vec::new(),
    });
}

/// A service worker of one session may otherwise claim the whole site.
fn service_worker(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(prefix) = route.prefix.as_deref().filter(|prefix| *prefix != "/") else { return };
    let hides = |line: &&Node<'_>| line.word(0).eq_ignore_ascii_case("Service-Worker-Allowed");
    if route.scope.list("proxy_hide_header").iter().any(hides) {
        return;
    }
    let mut lines = Vec::from(["proxy_hide_header Service-Worker-Allowed;".to_owned()]);
    // One line here drops those above: they come along.
    let here = route.scope.level().all("proxy_hide_header").next().is_some();
    if !here {
        lines.extend(route.scope.list("proxy_hide_header").iter().map(|line| line.shown()));
    }
    judge.say(Said {
        rule: "OH-NGX-503",
        severity: Severity::Warning,
        sure: !route.scope.may_inherit(),
        place: judge.place_of(&route.scope),
        what: format!("what runs below {prefix} may take over the whole site in a browser"),
        changes: Vec::from([judge.add(&route.scope, lines)]),
    });
}

fn cookie_path(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(prefix) = route.prefix.as_deref().filter(|prefix| *prefix != "/") else { return };
    if !route.scope.list("proxy_cookie_path").is_empty() {
        return;
    }
    let line = match route.scope.location() {
        Some(Matcher::Regex { .. }) => None,
        _ => Some(format!("proxy_cookie_path / {prefix};")),
    };
    judge.say(Said {
        rule: "OH-NGX-504",
        severity: Severity::Warning,
        sure: !route.scope.may_inherit(),
        place: judge.place_of(&route.scope),
        what: format!("cookies of {prefix} hold for the whole site"),
        changes: line.into_iter().map(|line| judge.add(&route.scope, [line])).collect(),
    });
}

/// `X-Accel-Redirect` of a session opens locations that are `internal`.
fn directs_nginx(judge: &mut Judge<'_, '_>, route: &Route<'_>, internal: Option<&Node<'_>>) {
    let ignored = route.scope.list("proxy_ignore_headers");
    let is_ignored = ignored
        .iter()
        .any(|line| line.words.iter().any(|word| word.eq_ignore_ascii_case("X-Accel-Redirect")));
    let Some(internal) = internal.filter(|_| !is_ignored) else { return };
    let here = ignored.iter().flat_map(|line| line.words).map(String::as_str);
    let words: Vec<String> = here.map(ToString::to_string).collect();
    let more = if words.is_empty() { String::new() } else { format!(" {}", words.join(" ")) };
    judge.say(Said {
        rule: "OH-NGX-505",
        severity: Severity::Warning,
        sure: true,
        place: judge.place_of(&route.scope),
        what: format!("a session may open the location that is internal at line {}", internal.line),
        changes: Vec::from([
            judge.add(&route.scope, [format!("proxy_ignore_headers X-Accel-Redirect{more};")])
        ]),
    });
}

/// Finds a location that only nginx itself may enter, and that gives something away.
fn internal_in<'c>(nodes: &'c [Node<'c>]) -> Option<&'c Node<'c>> {
    nodes.iter().filter(|node| node.name == "location").find_map(|location| {
        let has = |name: &str| location.named(name).next().is_some();
        // A location that only answers, or looks for files where none are, gives nothing away.
        let serves = ["proxy_pass", "root", "alias"].iter().any(|name| has(name));
        let internal = location.named("internal").next().filter(|_| serves && !has("try_files"));
        internal.or_else(|| internal_in(location.children()))
    })
}
