//! A port that a client chooses: it is read from the address and written into `proxy_pass`.

use alloc::format;

use super::super::backend::Backend;
use super::super::finding::Severity;
use super::super::model::{Matcher, Scope};
use super::super::request::{compiled, variables_in};
use super::super::sample::capture_of;
use super::{Judge, Said};

/// Ports that are no session's: ssh, Docker, a database, OpenHands.
const FOREIGN: [&str; 4] = ["22", "2375", "5432", "3000"];

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for server in judge.config.servers() {
        for scope in server.locations() {
            in_scope(judge, &scope);
        }
    }
}

fn in_scope(judge: &mut Judge<'_, '_>, scope: &Scope<'_>) {
    let Some(backend) = scope.own("proxy_pass").and_then(Backend::of) else { return };
    let Some(Matcher::Regex { pattern, ignores_case }) = scope.location() else { return };
    // A variable for the path follows a port of digits or of variables.
    let Some((_, port)) = backend.authority.rsplit_once(':') else { return };
    let Some(name) = variables_in(port).first().copied() else { return };
    let Some(regex) = capture_of(pattern, name).and_then(|one| compiled(&one, ignores_case)) else {
        return;
    };
    let Some(foreign) = FOREIGN.into_iter().find(|port| regex.is_match(port.as_bytes())) else {
        return;
    };
    judge.say(Said {
        rule: "OH-NGX-510",
        severity: Severity::Error,
        sure: true,
        place: backend.node.place(),
        what: format!(
            "`{}`: a client chooses the port; ${name} may be {foreign}",
            backend.node.shown()
        ),
        changes: [].into(),
    });
}
