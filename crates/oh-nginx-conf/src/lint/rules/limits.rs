//! Sizes, times and numbers that cut connections or refuse what is normal.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::finding::{Change, Severity};
use super::super::model::Node;
use super::super::role::{Role, Route};
use super::{Judge, Said};

/// What OpenHands lets a Socket.IO message have, in bytes (`maxPayload` of its handshake).
const SOCKET_IO_BYTES: u64 = 4 * 1024 * 1024;

/// What nginx lets a body have unless it is told, in bytes.
const BODY_BYTES_DEFAULT: u64 = 1024 * 1024;

/// How long a healthy Socket.IO connection may be silent: `pingInterval`, in milliseconds.
const PING_INTERVAL_MS: u64 = 25_000;

/// What a ping may be late, in milliseconds.
const PING_SLACK_MS: u64 = 5_000;

/// Below this, a busy machine loses the connections of its editors, in milliseconds.
const EDITOR_READ_MS: u64 = 30_000;

/// Below this, a reload cuts people off in the middle of their work, in milliseconds.
const SHUTDOWN_MS: u64 = 300_000;

/// Below this, some ten open editors use all connections.
const CONNECTIONS: u64 = 1024;

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for route in judge.each() {
        if route.role == Role::SocketIo {
            body(judge, &route);
            several_servers(judge, &route);
        }
        if matches!(route.role, Role::SocketIo | Role::Editor) {
            read_timeout(judge, &route);
            in_the_way(judge, &route);
        }
    }
    if !judge.routes.is_empty() {
        of_the_process(judge);
    }
}

fn body(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let node = route.scope.value("client_max_body_size");
    let bytes = match node {
        Some(node) => bytes(node.word(0)),
        None => Some(BODY_BYTES_DEFAULT),
    };
    if bytes.is_none_or(|bytes| bytes == 0 || bytes >= SOCKET_IO_BYTES) {
        return;
    }
    let line = "client_max_body_size 5m;".to_owned();
    judge.say(Said {
        rule: "OH-NGX-301",
        severity: Severity::Error,
        sure: node.is_some() || !route.scope.may_inherit(),
        place: node.map_or_else(|| judge.place_of(&route.scope), Node::place),
        what: match node {
            Some(node) => format!("`{}`; Socket.IO posts up to 4 MiB", node.shown()),
            None => "a body may have 1 MiB, as nobody says otherwise; Socket.IO posts up to 4 MiB"
                .to_owned(),
        },
        changes: Vec::from([match node {
            Some(node) => Change::replace(node, [line]),
            None => judge.add(&route.scope, [line]),
        }]),
    });
}

fn read_timeout(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(node) = route.scope.value("proxy_read_timeout") else { return };
    let Some(ms) = milliseconds(node.word(0)) else { return };
    let (least, severity, why) = match route.role {
        Role::SocketIo => {
            (PING_INTERVAL_MS + PING_SLACK_MS, Severity::Error, "Socket.IO is silent for 25 s")
        }
        _ => (EDITOR_READ_MS, Severity::Warning, "an editor may be silent that long"),
    };
    if ms > least {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-302",
        severity,
        sure: true,
        place: node.place(),
        what: format!("`{}`; {why}", node.shown()),
        changes: Vec::from([Change::replace(node, ["proxy_read_timeout 1h;".to_owned()])]),
    });
}

/// What refuses, keeps or replaces answers.
fn in_the_way(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let first = |name: &str| route.scope.list(name).first().copied();
    let on = |name: &str| route.scope.value(name).filter(|node| node.word(0) != "off");
    let limited = first("limit_req").or_else(|| first("limit_conn"));
    let masked = on("proxy_intercept_errors").filter(|_| {
        let pages = route.scope.list("error_page");
        pages.iter().any(|page| page.words.iter().any(|word| word.starts_with('4')))
    });
    let cached = on("proxy_cache");
    let found: [(&str, Option<&Node<'_>>, &str, Vec<String>); 3] = [
        ("OH-NGX-306", limited, "refuses requests of a busy page with 503", Vec::new()),
        (
            "OH-NGX-309",
            masked,
            "hides why a WebSocket was refused behind a page of nginx",
            Vec::from(["proxy_intercept_errors off;".to_owned()]),
        ),
        (
            "OH-NGX-310",
            cached,
            "keeps answers that are one visitor's own",
            Vec::from(["proxy_cache off;".to_owned()]),
        ),
    ];
    for (rule, node, what, lines) in found {
        let Some(node) = node else { continue };
        let is_here = route.scope.level().nodes.iter().any(|one| core::ptr::eq(one, node));
        let change = match (is_here, lines.is_empty()) {
            (true, _) => Vec::from([Change::remove(node)]),
            (false, false) => Vec::from([judge.add(&route.scope, lines)]),
            // A limit cannot be switched off below: where it stands is the operator's choice.
            (false, true) => Vec::new(),
        };
        judge.say(Said {
            rule,
            severity: Severity::Warning,
            sure: true,
            place: node.place(),
            what: format!("`{}` {what}", node.shown()),
            changes: change,
        });
    }
}

/// Socket.IO by polling must come back to the server that gave the session.
fn several_servers(judge: &mut Judge<'_, '_>, route: &Route<'_>) {
    let Some(upstream) = judge.config.upstream(route.backend.authority) else { return };
    let spare =
        |node: &&Node<'_>| !node.words.iter().any(|word| word == "backup" || word == "down");
    let servers = upstream.named("server").filter(spare).count();
    let is_sticky = ["ip_hash", "hash", "sticky", "sticky_cookie"];
    if servers < 2 || is_sticky.iter().any(|name| upstream.named(name).next().is_some()) {
        return;
    }
    let level = super::super::model::Level::of(upstream);
    judge.say(Said {
        rule: "OH-NGX-308",
        severity: Severity::Error,
        sure: true,
        place: upstream.place(),
        what: format!(
            "`{}` has {servers} servers, and a client comes to any of them",
            upstream.shown()
        ),
        changes: Vec::from([Change::add(level, judge.path(), ["ip_hash;".to_owned()])]),
    });
}

fn of_the_process(judge: &mut Judge<'_, '_>) {
    let main = judge.config.main;
    let shutdown = main.iter().find(|node| node.name == "worker_shutdown_timeout");
    if let Some(node) =
        shutdown.filter(|node| milliseconds(node.word(0)).is_some_and(|ms| ms < SHUTDOWN_MS))
    {
        judge.say(Said {
            rule: "OH-NGX-304",
            severity: Severity::Warning,
            sure: true,
            place: node.place(),
            what: format!("`{}` closes every WebSocket that soon after a reload", node.shown()),
            changes: Vec::from([Change::replace(
                node,
                ["worker_shutdown_timeout 15m;".to_owned()],
            )]),
        });
    }
    let events = main.iter().find(|node| node.name == "events");
    let connections = events.and_then(|events| events.named("worker_connections").last());
    if let Some(node) =
        connections.filter(|node| node.word(0).parse::<u64>().is_ok_and(|n| n < CONNECTIONS))
    {
        judge.say(Said {
            rule: "OH-NGX-305",
            severity: Severity::Note,
            sure: true,
            place: node.place(),
            what: format!("`{}`; an open editor holds four or more", node.shown()),
            changes: Vec::from([Change::replace(node, ["worker_connections 4096;".to_owned()])]),
        });
    }
    let knows = judge.known.nginx.is_some_and(|version| version.has_keepalive_min_timeout());
    for server in judge.sites() {
        let scope = server.scope();
        if !knows || scope.may_inherit() || scope.value("keepalive_min_timeout").is_some() {
            continue;
        }
        judge.say(Said {
            rule: "OH-NGX-307",
            severity: Severity::Note,
            sure: true,
            place: judge.place_of(&scope),
            what: "a reload closes kept connections under a client's hands".to_owned(),
            changes: Vec::from([judge.add(&scope, ["keepalive_min_timeout 10s;".to_owned()])]),
        });
    }
}

/// Reads a size as nginx does: `4m`, `512K`, `1g`, bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads a time as nginx does: `60`, `60s`, `1h30m`, `500ms`.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(sum)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_nginx_reads_them() {
        assert_eq!(
            (bytes("4m"), bytes("512K"), bytes("0"), bytes("x")),
            (Some(4 << 20), Some(512 << 10), Some(0), None)
        );
        assert_eq!(milliseconds("1h 30m"), Some(5_400_000));
        assert_eq!(milliseconds("60"), Some(60_000));
        assert_eq!((milliseconds("500ms"), milliseconds("1x")), (Some(500), None));
        assert_eq!(
            (bytes("99999999999999999999g"), milliseconds("18446744073709551615y")),
            (None, None)
        );
    }
}
