//! Headers that a client can set and that the programs behind nginx believe.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::UpstreamKind;
use super::super::finding::{Change, Severity};
use super::super::model::Node;
use super::super::role::{Role, Route};
use super::headers::{is_kind, lost_names, mend, place, seen, websocket};
use super::{Judge, Said};

/// What a stranger writes into each header.
const STRANGE: &str = "strange.example";

/// A header, its key in a request, the lines that set it safely, and who believes it.
struct Believed {
    name: &'static str,
    key: &'static str,
    safe: &'static str,
    by_code_server: bool,
    by_openvscode: bool,
    by_openhands: bool,
}

const BELIEVED: [Believed; 7] = [
    believed("Forwarded", "forwarded", "''", [true, false, false]),
    believed("X-Original-Host", "x_original_host", "''", [false, true, false]),
    believed("X-Forwarded-Host", "x_forwarded_host", "''", [true, true, true]),
    believed("X-Forwarded-Port", "x_forwarded_port", "''", [false, true, false]),
    believed("X-Forwarded-Proto", "x_forwarded_proto", "$scheme", [false, false, true]),
    believed("X-Forwarded-Prefix", "x_forwarded_prefix", "''", [false, true, false]),
    believed("X-Forwarded-For", "x_forwarded_for", "$remote_addr", [false, false, true]),
];

const fn believed(
    name: &'static str,
    key: &'static str,
    safe: &'static str,
    by: [bool; 3],
) -> Believed {
    let [by_code_server, by_openvscode, by_openhands] = by;
    Believed { name, key, safe, by_code_server, by_openvscode, by_openhands }
}

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        if route.role == Role::App {
            continue;
        }
        for header in &BELIEVED {
            passed_on(judge, &route, header);
        }
        never_set(judge, &route);
        smuggled(judge, &route);
    }
    for level in levels(judge) {
        let Some(node) = level.all("underscores_in_headers").find(|node| node.word(0) == "on")
        else {
            continue;
        };
        judge.say(Said {
            rule: "OH-NGX-116",
            severity: Severity::Warning,
            sure: true,
            place: node.place(),
            what: "`X_Forwarded_Host` of a client passes as X-Forwarded-Host does".to_owned(),
            changes: Vec::from([Change::remove(node)]),
        });
    }
}

fn levels<'c>(judge: &Judge<'c, '_>) -> Vec<super::super::model::Level<'c>> {
    let mut out = Vec::from([judge.config.http]);
    out.extend(judge.sites().iter().map(|server| server.level));
    out
}

/// Says whether a client's header reaches what believes it; and the line that lets it.
fn injected<'c>(route: &Route<'c>, header: &Believed) -> Option<Option<&'c Node<'c>>> {
    let believes = match route.role {
        Role::Editor if is_kind(route, UpstreamKind::CodeServer) => header.by_code_server,
        Role::Editor if route.upstream.is_some() => header.by_openvscode,
        Role::Editor => header.by_code_server || header.by_openvscode,
        _ => header.by_openhands,
    };
    let key = header.name.to_ascii_lowercase();
    if !believes || lost_names(route).contains(&key) {
        return None;
    }
    let request = websocket(&route.request).with(&[(header.key, STRANGE)]);
    let found = seen(route, &request, &key);
    found.value.filter(|value| value.contains(STRANGE)).map(|_| found.by)
}

fn line(header: &Believed) -> String {
    format!("proxy_set_header {} {};", header.name, header.safe)
}

/// A line that passes on what a client wrote.
fn passed_on(judge: &mut Judge<'_, '_>, route: &Route<'_>, header: &Believed) {
    let Some(Some(by)) = injected(route, header) else { return };
    judge.say(Said {
        rule: if header.key == "x_forwarded_for" { "OH-NGX-109" } else { "OH-NGX-110" },
        severity: Severity::Warning,
        sure: true,
        place: by.place(),
        what: format!("`{}` passes on what a client writes there", by.shown()),
        changes: Vec::from([Change::replace(by, [line(header)])]),
    });
}

/// Headers that nobody sets, so that a client's own go on.
fn never_set(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let open: Vec<&Believed> =
        BELIEVED.iter().filter(|header| matches!(injected(route, header), Some(None))).collect();
    let could_be_elsewhere =
        route.scope.may_inherit() && route.scope.list("proxy_set_header").is_empty();
    let Some(first) = open.first() else { return };
    let only_for = open.len() == 1 && first.key == "x_forwarded_for";
    let names: Vec<&str> = open.iter().map(|header| header.name).collect();
    let mut change = mend(judge, route, None, String::new());
    change.lines = open.iter().map(|header| line(header)).collect();
    judge.say(Said {
        rule: if only_for { "OH-NGX-109" } else { "OH-NGX-110" },
        severity: Severity::Warning,
        sure: !could_be_elsewhere,
        place: place(judge, route, None),
        what: format!("of a client, as it came, goes on: {}", names.join(", ")),
        changes: Vec::from([change]),
    });
}

/// `Upgrade: h2c` opens a way past nginx to what speaks HTTP/2 in plain text.
fn smuggled(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let request = websocket(&route.request).with(&[("upgrade", "h2c")]);
    let found = seen(route, &request, "upgrade");
    let Some(line) = found.by.filter(|_| found.value.as_deref() == Some("h2c")) else { return };
    let upgrade = judge.variable("oh_upgrade", "");
    let connection = judge.variable("oh_connection", "");
    let lines = [
        format!("map $http_upgrade ${upgrade} {{"),
        "    default '';".to_owned(),
        "    websocket websocket;".to_owned(),
        "}".to_owned(),
        format!("map ${upgrade} ${connection} {{"),
        "    default upgrade;".to_owned(),
        "    '' '';".to_owned(),
        "}".to_owned(),
    ];
    let mut changes = Vec::from([
        judge.add_to_http(lines),
        Change::replace(line, [format!("proxy_set_header Upgrade ${upgrade};")]),
    ]);
    let other = seen(route, &request, "connection").by;
    changes.extend(other.map(|line| connection_line(line, &connection)));
    judge.say(Said {
        rule: "OH-NGX-115",
        severity: Severity::Warning,
        sure: true,
        place: line.place(),
        what: format!("`{}` passes on every protocol, h2c too", line.shown()),
        changes,
    });
}

fn connection_line(line: &Node<'_>, variable: &str) -> Change {
    Change::replace(line, [String::from("proxy_set_header Connection $") + variable + ";"])
}
