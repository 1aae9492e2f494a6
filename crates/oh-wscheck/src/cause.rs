//! From what was seen to the cause, the lines that have it, and what stands beside it as evidence.

use oh_nginx_conf::lint::Finding;
use oh_probe::cause::{self, Cause};
use oh_probe::diagnose::{self, Certainty};
use oh_probe::kind::Family;

use crate::check::Seen;
use crate::cli::HopName;
use crate::climbed::{Climbed, diagnosis};
use crate::hops::Hop;
use crate::rungs::{answered, polled};

/// Why it does not connect.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) cause: &'static Cause,
    pub(crate) certainty: Certainty,
    /// The hop that fails.
    pub(crate) hop: String,
    /// What speaks for it beside the rung that failed, a line each.
    pub(crate) evidence: Vec<String>,
    /// What the linter finds of it on the way of the request, the worst first.
    pub(crate) findings: Vec<Finding>,
}

/// Finds the cause of what was seen; nothing where it connects.
pub(crate) fn find(seen: &Seen) -> Option<Found> {
    let diagnosis = diagnosis(&seen.hops)?;
    let is_app_server = seen.kind.as_ref().is_some_and(|kind| kind.family == Family::OpenHandsV1);
    let (cause, certainty) = if is_app_server {
        // It has said what it is, whatever it answers at a path that it does not have.
        (&cause::NO_SOCKET_IO, Certainty::Certain)
    } else {
        (diagnosis.cause, diagnosis.certainty)
    };
    let is_of_proxy = diagnosis.hop != HopName::Upstream.word();
    let (cause, findings) = if is_of_proxy { lines(seen, cause) } else { (cause, Vec::new()) };
    let failing = seen.hops.iter().position(|(hop, _)| hop.name.word() == diagnosis.hop)?;
    Some(Found {
        cause,
        certainty,
        hop: diagnosis.hop,
        evidence: evidence(&seen.hops, failing),
        findings,
    })
}

/// Finds the cause of what was asked beyond one connection, where it fails.
pub(crate) fn beyond(seen: &Seen) -> Option<Found> {
    let failed = seen.further.iter().find(|one| !one.causes.is_empty())?;
    let (cause, certainty) = failed.causes.first().copied()?;
    let (cause, findings) = lines(seen, cause);
    Some(Found {
        cause,
        certainty,
        hop: failed.check.group.clone(),
        evidence: vec![format!("{}: {}", failed.check.name, failed.check.said)],
        findings,
    })
}

/// Finds the lines of a cause, where the configuration was read, and by them perhaps a cause that is nearer.
fn lines(seen: &Seen, cause: &'static Cause) -> (&'static Cause, Vec<Finding>) {
    let configuration = seen.configuration.as_ref().and_then(|read| read.as_ref().ok());
    let Some(configuration) = configuration else { return (cause, Vec::new()) };
    let cause = diagnose::refined(cause, &configuration.tree, &configuration.known);
    let mut findings = diagnose::lines_of(cause, &configuration.tree, &configuration.known);
    // Of other sites and paths nothing is told here, unless nothing is found on the way itself.
    if let Some(serving) = &configuration.serving {
        let is_on_the_way = |finding: &Finding| serving.has(&finding.place);
        if findings.iter().any(is_on_the_way) {
            findings.retain(is_on_the_way);
        }
    }
    (cause, findings)
}

/// Says what the hop behind answers, and what is answered here without an upgrade.
fn evidence(hops: &[(Hop, Climbed)], failing: usize) -> Vec<String> {
    let mut out = Vec::new();
    if let Some((hop, climbed)) = hops.get(failing + 1) {
        let (target, name) = (&hop.way.target, hop.name.word());
        out.push(format!("the same straight to {target} ({name}): {}", upgrade_text(climbed)));
    }
    if let Some((_, climbed)) = hops.get(failing)
        && let Some(answer) = climbed.plain()
    {
        out.push(match climbed {
            Climbed::SocketIo(_) => format!("polling there: {}", polled(answer)),
            Climbed::Raw(_) => format!("without an upgrade: {}", answered(answer)),
        });
    }
    out
}

fn upgrade_text(climbed: &Climbed) -> String {
    match climbed.upgrade().map(|upgrade| &upgrade.value) {
        Some(Ok(upgrade)) if upgrade.is_open() => "101".to_owned(),
        Some(Ok(upgrade)) => answered(&upgrade.answer),
        Some(Err(failure)) => failure.to_string(),
        None => "not reached".to_owned(),
    }
}
