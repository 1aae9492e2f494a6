//! From what was seen to the cause. Pure: what the network said comes in, and what it means comes out.
//!
//! The hops are asked the same. The innermost that fails is where the fault is: what is behind it answers
//! rightly, and what is before it can do no better. So one comparison tells the proxy's faults from the server's,
//! which no look at one of them could.

use oh_nginx_conf::inspect::Tree;
use oh_nginx_conf::lint::{self, Finding, Known, Severity};

use crate::cause::{self, Cause};
use crate::failure::Failure;
use crate::ladder::{Ended, Ladder};
use crate::reach::Reached;
use crate::signature::{self, Common, Polling, Upgrade};
use crate::tls::Distrust;

/// The type of a frame of settings, with its flags and stream, of which the first frame of HTTP/2 is one
/// (RFC 9113, section 6.5).
const SETTINGS_FRAME: [u8; 6] = [4, 0, 0, 0, 0, 0];

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Nothing else looks like this.
    Certain,
    /// Something else may look like this, and was not asked.
    Likely,
}

/// One hop, as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'o> {
    /// What it is called: `public`, `nginx`, `upstream`.
    pub name: &'o str,
    /// What was seen of it.
    pub ladder: &'o Ladder,
}

/// Why it does not connect.
#[derive(Debug)]
pub struct Diagnosis {
    /// The cause.
    pub cause: &'static Cause,
    /// How sure it is.
    pub certainty: Certainty,
    /// The name of the hop that fails.
    pub hop: String,
    /// The name of the hop behind it, which does not.
    pub behind: Option<String>,
}

/// Says why the outermost of the hops does not connect, of what was seen of each, the outermost first; nothing
/// where it does.
///
/// That the application refuses what it was asked for is no fault of the way: the refusal came through it.
pub fn diagnose(hops: &[Hop<'_>]) -> Option<Diagnosis> {
    if hops.first().is_none_or(|hop| connects(hop.ladder)) {
        return None;
    }
    let at = hops.iter().rposition(|hop| !connects(hop.ladder))?;
    let (failing, behind) = (hops.get(at)?, hops.get(at + 1));
    let standing = Standing::of(at, behind.is_some());
    let (cause, certainty) = of_hop(failing.ladder, standing);
    Some(Diagnosis {
        cause,
        certainty,
        hop: failing.name.to_owned(),
        behind: behind.map(|hop| hop.name.to_owned()),
    })
}

/// Returns what the linter finds of a cause, the worst first: the lines that have it, and the lines that mend it.
///
/// Nothing too where the configuration is more than is judged.
pub fn lines_of(cause: &Cause, tree: &Tree, known: &Known) -> Vec<Finding> {
    let mut findings = lint::lint(tree, known).unwrap_or_default();
    findings.retain(|finding| cause.rules.contains(&finding.rule.id));
    findings
}

/// Tells apart what looks the same from outside, where the configuration can be read: an inherited loss from a plain
/// one, and a page in the place of an answer from a page that was asked for.
pub fn refined(cause: &'static Cause, tree: &Tree, known: &Known) -> &'static Cause {
    let has_lines = |cause: &Cause| !lines_of(cause, tree, known).is_empty();
    if cause == &cause::NO_LOCATION {
        // Without its upgrade, a path that was changed shows the server's own page too.
        let others = [cause, &cause::MASKED, &cause::PREFIX];
        return others.into_iter().find(|cause| has_lines(cause)).unwrap_or(cause);
    }
    // A line that breaks it by itself is named before one that may be about another location.
    let breaks = |finding: &Finding| finding.severity == Severity::Error && finding.sure;
    let may_be_lost =
        [&cause::UPGRADE_LOST, &cause::CONNECTION_LOST, &cause::ORIGIN].contains(&cause);
    if may_be_lost
        && has_lines(&cause::UPGRADE_INHERITED)
        && !lines_of(cause, tree, known).iter().any(breaks)
    {
        return &cause::UPGRADE_INHERITED;
    }
    cause
}

/// Returns what is wrong with the answers of a hop, and keeps no WebSocket from opening.
pub fn warnings(ladder: &Ladder) -> Vec<&'static Cause> {
    let polling = ladder.polling.as_ref().and_then(|polling| polling.value.as_ref().ok());
    let origins = polling.map(|answer| answer.headers_of("Access-Control-Allow-Origin").count());
    if origins.is_some_and(|count| count > 1) { vec![&cause::ORIGIN_TWICE] } else { Vec::new() }
}

/// Says whether a connection came to its end: the server gave the namespace, or refused it by itself.
pub fn connects(ladder: &Ladder) -> bool {
    ladder.connect.as_ref().is_some_and(|connect| connect.value.is_ok())
}

type Found = (&'static Cause, Certainty);

/// What is known of a hop by those that were asked beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// What is behind it answers rightly: it is a proxy, and the fault is its own.
    Proxy,
    /// It is the last of several: the server itself.
    Server,
    /// Nobody else was asked: it may be either.
    Alone,
}

impl Standing {
    /// Of the hop at this place, which is not the last one that was asked where there is one behind it.
    pub(crate) const fn of(at: usize, has_behind: bool) -> Self {
        match (has_behind, at) {
            (true, _) => Self::Proxy,
            (false, 0) => Self::Alone,
            (false, _) => Self::Server,
        }
    }
}

fn of_hop(ladder: &Ladder, standing: Standing) -> Found {
    use Certainty::{Certain, Likely};
    if let Some(cause) = ladder.reached.as_ref().and_then(below_http) {
        return (cause, Certain);
    }
    let Some(upgrade) = &ladder.upgrade else { return (&cause::UNKNOWN, Likely) };
    let polling = ladder.polling.as_ref().and_then(|polling| polling.value.as_ref().ok());
    let polling = polling.map(signature::of_polling);
    let sure = if standing == Standing::Proxy { Certain } else { Likely };
    let upgrade = match &upgrade.value {
        Ok(answer) => signature::of_upgrade(answer),
        Err(failure) => return (of_no_answer(failure, polling.as_ref(), standing), sure),
    };
    match (upgrade, polling) {
        // Who is alone may be a proxy, which has no part in this, or has.
        (Upgrade::Open, _) if standing == Standing::Alone => (above_http(ladder, standing), Likely),
        (Upgrade::Open, _) => (above_http(ladder, standing), Certain),
        (Upgrade::Faulty, _) => (&cause::UPGRADE_FAULTY, Certain),
        (Upgrade::NotSeen, _) => (&cause::UPGRADE_LOST, sure),
        (Upgrade::HalfSeen, Some(Polling::Opened(_))) => (&cause::CONNECTION_LOST, sure),
        // A poll tells what an upgrade was refused for.
        (Upgrade::Refused, Some(Polling::Origin(_))) => (&cause::ORIGIN, Certain),
        (Upgrade::Refused, Some(Polling::Version)) => (&cause::QUERY, sure),
        (Upgrade::Refused, Some(Polling::Session)) => (&cause::STICKY, Likely),
        (Upgrade::Refused, Some(Polling::Common(Common::Page | Common::Missing))) => match standing
        {
            // Nobody is before it who could change the path.
            Standing::Server => (&cause::NO_SOCKET_IO, Likely),
            Standing::Proxy | Standing::Alone => (&cause::PREFIX, sure),
        },
        (Upgrade::Refused, _) => (&cause::REFUSED_UPGRADE, Likely),
        (Upgrade::Told(Polling::Origin(_)), _) => (&cause::ORIGIN, Certain),
        (Upgrade::Told(Polling::Session), _) => (&cause::STICKY, Likely),
        (Upgrade::Told(Polling::Version), _) => (&cause::QUERY, sure),
        (Upgrade::Told(_), Some(Polling::Opened(_))) => (&cause::REFUSED_UPGRADE, Likely),
        // Neither of the two transports: the server was told none.
        (Upgrade::Told(Polling::Transport), Some(Polling::Transport)) => (&cause::QUERY, sure),
        (Upgrade::Told(_), _) => (&cause::UNKNOWN, Likely),
        // engine.io ends upgrades of paths that it does not serve, and a proxy between has an answer of its own.
        (
            Upgrade::Common(Common::BadGateway),
            Some(Polling::Common(Common::Page | Common::Missing)),
        ) => (&cause::PREFIX, sure),
        (Upgrade::Common(Common::Page), Some(Polling::Opened(_))) => (&cause::MASKED, sure),
        (Upgrade::Common(Common::Page), _) if standing == Standing::Proxy => {
            (&cause::NO_LOCATION, Likely)
        }
        (Upgrade::Common(Common::Page), _) => (&cause::NO_SOCKET_IO, Likely),
        (Upgrade::Common(common), _) if speaks_for_itself(&common) => (of_common(&common), Certain),
        (Upgrade::Common(common), _) => (of_common(&common), sure),
        (Upgrade::HalfSeen, _) => (&cause::UNKNOWN, Likely),
    }
}

/// Says whether an answer is about nobody but who gives it.
const fn speaks_for_itself(common: &Common) -> bool {
    matches!(
        common,
        Common::Redirect(_)
            | Common::Login
            | Common::PlainToTls
            | Common::NoCertificate
            | Common::OfNginx
    )
}

pub(crate) fn of_common(common: &Common) -> &'static Cause {
    match common {
        Common::Page => &cause::NO_LOCATION,
        Common::Redirect(_) => &cause::REDIRECT,
        Common::Login => &cause::LOGIN,
        Common::Forbidden => &cause::FORBIDDEN,
        Common::Missing => &cause::MISSING,
        Common::TooLarge => &cause::BODY,
        Common::TooMany => &cause::LIMITED,
        Common::BadGateway => &cause::BACK_END,
        Common::GatewayTimeout => &cause::HUNG,
        Common::PlainToTls => &cause::TLS_PORT,
        Common::NoCertificate => &cause::CLIENT_CERTIFICATE,
        Common::OfNginx => &cause::OF_NGINX,
        Common::Other(_) => &cause::UNKNOWN,
    }
}

pub(crate) fn below_http(reached: &Reached) -> Option<&'static Cause> {
    if let Some(Err(_)) = reached.dns.as_ref().map(|dns| &dns.value) {
        return Some(&cause::NAME);
    }
    if let Some((_, last)) = reached.tcp.last()
        && let Err(failure) = &last.value
    {
        return Some(match failure {
            Failure::Refused => &cause::REFUSED,
            Failure::Silent(_) => &cause::FIREWALL,
            Failure::Unreachable(_) => &cause::UNREACHABLE,
            _ => &cause::UNKNOWN,
        });
    }
    if let Some(Err(_)) = reached.proxy.as_ref().map(|proxy| &proxy.value) {
        return Some(&cause::PROXY);
    }
    match &reached.tls.as_ref()?.value {
        Err(Failure::Certificate(distrust)) => Some(of_distrust(distrust)),
        Err(Failure::Tls(said)) if said.contains("InvalidContentType") => Some(&cause::PLAIN_PORT),
        Err(Failure::Silent(_)) => Some(&cause::HUNG),
        Err(_) => Some(&cause::HANDSHAKE),
        Ok(handshake) => handshake.verdict.as_ref().err().map(of_distrust),
    }
}

fn of_distrust(distrust: &Distrust) -> &'static Cause {
    match distrust {
        Distrust::Name { .. } => &cause::WRONG_NAME,
        Distrust::Expired => &cause::EXPIRED,
        Distrust::NotYet => &cause::NOT_YET,
        Distrust::SelfSigned => &cause::SELF_SIGNED,
        Distrust::IntermediateMissing { .. } => &cause::INTERMEDIATE,
        Distrust::NoNames => &cause::NO_NAMES,
        Distrust::UnknownAuthority { .. } | Distrust::Other(_) => &cause::AUTHORITY,
    }
}

/// The connection was made, and nothing of HTTP came back.
pub(crate) fn of_no_answer(
    failure: &Failure,
    polling: Option<&Polling>,
    standing: Standing,
) -> &'static Cause {
    match failure {
        Failure::NotHttp { first } if first.get(3..9) == Some(&SETTINGS_FRAME) => &cause::HTTP_2,
        // engine.io ends upgrades of paths that it does not serve so, after a second.
        Failure::Closed { bytes: 0 } if polling.is_some() => match standing {
            Standing::Server => &cause::NO_SOCKET_IO,
            Standing::Proxy | Standing::Alone => &cause::PREFIX,
        },
        Failure::Reset { bytes: 0 } | Failure::Closed { bytes: 0 } => match standing {
            Standing::Server => &cause::NO_HTTP,
            Standing::Proxy | Standing::Alone => &cause::CONNECTIONS,
        },
        Failure::Silent(_) => &cause::HUNG,
        Failure::NotHttp { .. }
        | Failure::TooLarge { .. }
        | Failure::Reset { .. }
        | Failure::Closed { .. } => &cause::NO_HTTP,
        _ => &cause::UNKNOWN,
    }
}

/// The WebSocket is open, and Socket.IO does not come to its end.
fn above_http(ladder: &Ladder, standing: Standing) -> &'static Cause {
    match (&ladder.open, &ladder.connect) {
        (Some(open), _) if open.value.is_err() => &cause::NO_ENGINE,
        (_, Some(connect)) => match &connect.value {
            Err(Ended::Quiet(_)) => &cause::NO_NAMESPACE,
            // Who ends it is between, where the server answers in its time.
            Err(_) if standing == Standing::Proxy => &cause::CUT,
            Err(_) => &cause::NO_NAMESPACE,
            Ok(_) => &cause::UNKNOWN,
        },
        _ => &cause::UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
