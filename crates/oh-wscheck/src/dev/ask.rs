//! Asks both ports, as a page would: the server itself, and the server through Vite.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use oh_probe::cause::Cause;
use oh_probe::diagnose;
use oh_probe::dial::Route;
use oh_probe::failure::Failure;
use oh_probe::http1::Answer;
use oh_probe::ladder::{self, Asked, Ladder};
use oh_probe::limits::Limits;
use oh_probe::reach::Way;
use oh_probe::signature::{self, Polling};
use oh_probe::target::{Target, TargetHost};
use oh_probe::tls::Trust;
use tokio::time::{Instant, timeout_at};

use super::judge::{Seen, Server, Through};
use super::proxy::SOCKET_IO;
use super::setup::{Listens, Setup};
use crate::cli::HopName;
use crate::hops::Hop;

/// How long each step may take; what is asked is on this machine.
const STEP_MAX: Duration = Duration::from_secs(3);

/// What the server's port is called.
const SERVER: &str = "server";

/// A port that was asked.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) hop: Hop,
    pub(crate) ladder: Ladder,
    /// Why the WebSocket does not work there, by the causes of all ways.
    pub(crate) cause: Option<&'static Cause>,
}

impl Port {
    pub(crate) fn works(&self) -> bool {
        diagnose::connects(&self.ladder)
    }

    /// Returns the cause where it says what to do: those of HTTP are told by what an nginx does, and Vite is none.
    pub(crate) fn told_cause(&self) -> Option<&'static Cause> {
        self.cause.filter(|_| self.name == SERVER || self.ladder.upgrade.is_none())
    }
}

/// What both ports answered.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) server: Port,
    pub(crate) vite: Option<Port>,
    pub(crate) is_cut_short: bool,
}

/// Asks the server, then Vite.
pub(crate) async fn ask(setup: &Setup, until: Instant) -> Asking {
    let mut is_cut_short = false;
    let server =
        port(SERVER, setup.server_port, setup.server.as_ref(), until, &mut is_cut_short).await;
    let vite = match setup.vite_port {
        Some(number) => {
            Some(port("vite", number, setup.vite.as_ref(), until, &mut is_cut_short).await)
        }
        None => None,
    };
    let mut asking = Asking { server, vite, is_cut_short };
    asking.server.cause = cause(&asking.server, None);
    if let Some(mut vite) = asking.vite.take() {
        vite.cause = cause(&vite, Some(&asking.server));
        asking.vite = Some(vite);
    }
    asking
}

fn cause(port: &Port, behind: Option<&Port>) -> Option<&'static Cause> {
    let hop = diagnose::Hop { name: port.name, ladder: &port.ladder };
    // Of what is behind and does not work the cause was told already.
    let behind = behind.filter(|behind| behind.works());
    let behind = behind.map(|behind| diagnose::Hop { name: behind.name, ladder: &behind.ladder });
    let hops: Vec<_> = std::iter::once(hop).chain(behind).collect();
    diagnose::diagnose(&hops).map(|diagnosis| diagnosis.cause)
}

/// Asks a port in plain HTTP, and where that is not understood, over TLS.
async fn port(
    name: &'static str,
    number: u16,
    listens: Option<&Listens>,
    until: Instant,
    is_cut_short: &mut bool,
) -> Port {
    let address = address(listens);
    let mut asked = None;
    for is_tls in [false, true] {
        let trust = if is_tls { Trust::of_machine().ok() } else { None };
        if is_tls && trust.is_none() {
            break;
        }
        let hop = hop(address, number, trust);
        let mut ladder = Ladder::default();
        let climbed =
            timeout_at(until, ladder::climb_into(&hop.way, &hop.asked, &mut ladder)).await;
        *is_cut_short |= climbed.is_err();
        let is_answered = !matches!(
            ladder.upgrade.as_ref().map(|upgrade| &upgrade.value),
            Some(Err(Failure::Closed { .. } | Failure::Reset { .. } | Failure::NotHttp { .. }))
        );
        let has_handshake = ladder
            .reached
            .as_ref()
            .and_then(|reached| reached.tls.as_ref())
            .is_some_and(|tls| tls.value.is_ok());
        // What has no TLS either is told as it was seen first.
        if !is_tls || has_handshake {
            asked = Some(Port { name, hop, ladder, cause: None });
        }
        if is_answered {
            break;
        }
    }
    asked.unwrap_or_else(|| Port {
        name,
        hop: hop(address, number, None),
        ladder: Ladder::default(),
        cause: None,
    })
}

/// Chooses the address of this machine on which somebody listens.
fn address(listens: Option<&Listens>) -> IpAddr {
    let addresses = listens.map(|listens| listens.addresses.as_slice()).unwrap_or_default();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let takes_ipv4 = |one: IpAddr| one == loopback || one.is_unspecified();
    match addresses.first() {
        Some(first) if !addresses.iter().any(|one| takes_ipv4(one.ip())) => first.ip(),
        _ => loopback,
    }
}

fn hop(address: IpAddr, port: u16, trust: Option<Trust>) -> Hop {
    let is_tls = trust.is_some();
    let target = Target {
        is_tls,
        host: TargetHost::Address(address),
        port,
        path: "/".to_owned(),
        query: None,
    };
    let limits = Limits {
        dns: STEP_MAX,
        tcp: STEP_MAX,
        tls: STEP_MAX,
        http: STEP_MAX,
        packet: STEP_MAX,
        ..Limits::default()
    };
    let asked = Asked {
        path: SOCKET_IO.to_owned(),
        query: String::new(),
        engine_version: 4,
        origin: Some(target.origin()),
        authority: None,
        headers: Vec::new(),
        keeps_frames: false,
    };
    let way = Way {
        target,
        route: Route::default(),
        trust,
        // Whether a browser would take it is another question than whether the two ports meet.
        takes_any_certificate: true,
        limits,
    };
    Hop::socket_io(HopName::Public, way, asked)
}

/// Sums up what was answered.
pub(crate) fn seen(asking: &Asking) -> Seen {
    let server = &asking.server;
    let is_tls = server.hop.way.target.is_tls;
    let server = match &server.ladder.upgrade {
        Some(_) if server.works() => Server::Works { is_tls },
        Some(_) => Server::Fails { is_tls },
        None => Server::Unknown,
    };
    let through = asking.vite.as_ref().map_or(Through::Unknown, through);
    Seen { server, through }
}

fn through(vite: &Port) -> Through {
    let ladder = &vite.ladder;
    if vite.works() {
        return Through::Works;
    }
    let Some(upgrade) = &ladder.upgrade else { return Through::Unknown };
    let polling = ladder.polling.as_ref().and_then(|polling| polling.value.as_ref().ok());
    let is_silent = matches!(upgrade.value, Err(Failure::Silent(_)));
    let is_ended = matches!(upgrade.value, Err(Failure::Closed { .. } | Failure::Reset { .. }));
    match polling.map(|answer| (signature::of_polling(answer), answer)) {
        Some((Polling::Opened(_), _)) if is_silent => Through::PollsAlone,
        Some((_, answer)) if is_silent && is_of_vite(answer) => Through::Kept,
        // To a target of wss Vite speaks plain HTTP where a poll is passed on, and TLS where an upgrade is.
        Some((Polling::Opened(_), _)) if is_ended => Through::Unreached,
        Some((_, answer)) if is_ended && answer.status == 500 => Through::Unreached,
        _ => Through::Other(vite.cause.map_or("UNK-1", |cause| cause.id)),
    }
}

/// Vite answers a path that it does not know with its page, or with 404 where it has none.
fn is_of_vite(answer: &Answer) -> bool {
    answer.status == 404 || answer.media_type().as_deref() == Some("text/html")
}
