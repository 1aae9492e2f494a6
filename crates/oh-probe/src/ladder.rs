//! The way of a page's WebSocket through one hop, step by step: what a browser would do, and what it would not
//! be told.
//!
//! Harmless by construction: the namespace is asked for only with the query that the caller chose, no event is
//! sent, and every session that a server opened is ended with its own goodbye.

use oh_socketio::client::{Incoming, Options, State};
use oh_socketio::deviation::Deviation;
use oh_socketio::engine::Open;
use oh_socketio::socket::{event_name, refusal};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::Instant as Deadline;
use tokio_tungstenite::WebSocketStream;

use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::{Answer, Header};
use crate::polling::{self, Sid};
use crate::reach::{Reached, Stream, Way};
use crate::socketio::{Connection, End, Next, Seen};
use crate::target::Target;
use crate::websocket::{self, AcceptFault, Handshake, Upgraded};

/// What a step came to; nothing where it was not reached.
pub type Rung<T> = Option<Timed<Result<T, Failure>>>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path of Socket.IO on the server, with its last slash.
    pub path: String,
    /// Further query, which begins with `&` where it is not empty.
    pub query: String,
    /// The version of Engine.IO that is named.
    pub engine_version: u8,
    /// The page from which a browser would ask.
    pub origin: Option<String>,
    /// The `Host` header, where it is another than the target's.
    pub authority: Option<String>,
    /// Further headers.
    pub headers: Vec<Header<'static>>,
    /// Whether frames are kept.
    pub keeps_frames: bool,
}

/// What was seen of one hop.
#[derive(Debug, Default)]
pub struct Ladder {
    /// DNS, TCP, a proxy and TLS, of the connection that was to be upgraded; its stream is used up.
    pub reached: Option<Reached>,
    /// The answer to a poll with the same query: it needs no upgrade, so it tells what stands in the way of one,
    /// and it has the reason where an upgrade is refused without a word.
    pub polling: Rung<Answer>,
    /// The answer to the upgrade.
    pub upgrade: Rung<UpgradeAnswer>,
    /// What Engine.IO opened with.
    pub open: Option<Timed<Result<Open, Ended>>>,
    /// What came of the namespace.
    pub connect: Option<Timed<Result<Connected, Ended>>>,
    /// What the server does otherwise than the specification.
    pub deviations: BTreeSet<Deviation>,
    /// The frames, where they were to be kept.
    pub frames: Vec<Seen>,
}

/// How an upgrade was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeAnswer {
    /// The answer; its body has the reason of a refusal.
    pub answer: Answer,
    /// What is wrong with a 101.
    pub fault: Option<AcceptFault>,
}

impl UpgradeAnswer {
    /// Says whether frames follow.
    pub const fn is_open(&self) -> bool {
        self.answer.status == 101 && self.fault.is_none()
    }
}

/// What the server says of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The reason of a refusal; `None` where it was given.
    pub refused: Option<String>,
    /// The names of the events that came until then, in order; at most [`EVENTS_MAX`].
    pub events: Vec<String>,
}

/// Why a packet that was due did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The connection stands, and nothing came in time.
    Quiet(Duration),
    /// It ended.
    End(End),
    /// The server has ended the session, or taken the namespace away.
    Dismissed,
}

/// How many names of events are kept.
pub const EVENTS_MAX: usize = 64;

impl Asked {
    /// Returns path and query for a transport.
    pub(crate) fn target(&self, transport: &str) -> String {
        let Self { path, query, engine_version, .. } = self;
        format!("{path}?EIO={engine_version}&transport={transport}{query}")
    }

    /// Returns what a proxy of this site has to ask of what is behind it: the same, with the host and the scheme by
    /// which pages reach the site. A server that compares them with the page's origin can be asked directly so.
    pub fn behind(&self, site: &Target) -> Self {
        let scheme = if site.is_tls { "https" } else { "http" };
        let mut asked = Self { authority: Some(site.authority()), ..self.clone() };
        asked.headers.extend(Header::new("X-Forwarded-Proto", scheme));
        asked
    }

    pub(crate) fn authority(&self, way: &Way) -> String {
        self.authority.clone().unwrap_or_else(|| way.target.authority())
    }
}

/// Climbs as far as it goes, by three connections at most, one after the other.
pub async fn climb(way: &Way, asked: &Asked) -> Ladder {
    let mut ladder = Ladder::default();
    climb_into(way, asked, &mut ladder).await;
    ladder
}

/// [`climb`], for whoever has no time for all of it: what was seen until then stands in the ladder.
pub async fn climb_into(way: &Way, asked: &Asked, ladder: &mut Ladder) {
    let socket = reach_socket(way, asked, ladder).await;
    if ladder.upgrade.is_some() {
        ladder.polling = poll(way, asked).await;
    }
    if let Some(socket) = socket {
        let mut connection = Connection::new(*socket, Options::default(), asked.keeps_frames);
        speak(&mut connection, ladder, way.limits.packet).await;
        ladder.frames = connection.close(Deadline::now() + way.limits.packet).await;
    }
}

/// Climbs without the poll, by one connection, and leaves it open where the server gave the namespace or refused
/// it: whoever has it ends it with [`Connection::close`].
pub async fn hold(way: &Way, asked: &Asked) -> (Ladder, Option<Connection<Stream>>) {
    let mut ladder = Ladder::default();
    let Some(socket) = reach_socket(way, asked, &mut ladder).await else { return (ladder, None) };
    let mut connection = Connection::new(*socket, Options::default(), asked.keeps_frames);
    speak(&mut connection, &mut ladder, way.limits.packet).await;
    if ladder.connect.as_ref().is_some_and(|connect| connect.value.is_ok()) {
        return (ladder, Some(connection));
    }
    ladder.frames = connection.close(Deadline::now() + way.limits.packet).await;
    (ladder, None)
}

/// Reaches the server and asks it for a WebSocket, on which the server speaks first.
pub(crate) async fn reach_socket(
    way: &Way,
    asked: &Asked,
    ladder: &mut Ladder,
) -> Option<Box<WebSocketStream<Stream>>> {
    let mut reached = way.reach().await;
    let stream = reached.stream.take();
    ladder.reached = Some(reached);
    let Timed { took, value } = upgrade(stream?, way, asked).await;
    let (value, socket) = taken_apart(value);
    ladder.upgrade = Some(Timed { took, value });
    socket
}

/// Takes what an upgrade came to apart: what is told of it, and the socket where there is one.
pub(crate) fn taken_apart(
    upgraded: Result<Upgraded<Stream>, Failure>,
) -> (Result<UpgradeAnswer, Failure>, Option<Box<WebSocketStream<Stream>>>) {
    let (answer, fault, socket) = match upgraded {
        Ok(Upgraded::Open(answer, socket)) => (answer, None, Some(socket)),
        Ok(Upgraded::Faulty(answer, fault)) => (answer, Some(fault), None),
        Ok(Upgraded::Refused(answer)) => (answer, None, None),
        Err(failure) => return (Err(failure), None),
    };
    (Ok(UpgradeAnswer { answer, fault }), socket)
}

async fn upgrade(
    stream: Stream,
    way: &Way,
    asked: &Asked,
) -> Timed<Result<Upgraded<Stream>, Failure>> {
    let began = Instant::now();
    let (target, authority) = (asked.target("websocket"), asked.authority(way));
    let handshake = Handshake {
        target: &target,
        authority: &authority,
        origin: asked.origin.as_deref(),
        headers: asked.headers.clone(),
    };
    let value = websocket::upgrade(stream, &handshake, &way.limits).await;
    Timed { took: began.elapsed(), value }
}

/// Polls, and ends the session that was opened by it.
async fn poll(way: &Way, asked: &Asked) -> Rung<Answer> {
    let polled = polling::open(way, asked).await.ok()?;
    if let Some(sid) = polled.value.as_ref().ok().and_then(Sid::of_answer) {
        // Where it cannot be ended, it ends with its heartbeat.
        polling::end(way, asked, &sid).await;
    }
    Some(polled)
}

/// Goes up from the opened WebSocket.
async fn speak(connection: &mut Connection<Stream>, ladder: &mut Ladder, due: Duration) {
    let began = Instant::now();
    let opened = match connection.next(Deadline::now() + due).await {
        Next::Came(Incoming::Opened(open)) => Ok(open),
        Next::Came(_) => Err(Ended::Dismissed),
        Next::Quiet => Err(Ended::Quiet(due)),
        Next::Ended(end) => Err(Ended::End(end)),
    };
    let is_open = opened.is_ok();
    ladder.open = Some(Timed { took: began.elapsed(), value: opened });
    if is_open {
        let began = Instant::now();
        let value = ask_for_namespace(connection, due).await;
        ladder.connect = Some(Timed { took: began.elapsed(), value });
    }
    ladder.deviations.clone_from(connection.client().deviations());
}

async fn ask_for_namespace(
    connection: &mut Connection<Stream>,
    due: Duration,
) -> Result<Connected, Ended> {
    let until = Deadline::now() + due;
    let mut events = Vec::new();
    loop {
        match connection.next(until).await {
            Next::Came(Incoming::Connected { .. }) => {
                return Ok(Connected { refused: None, events });
            }
            Next::Came(Incoming::Refused { data }) => {
                let reason = refusal(data.as_deref()).unwrap_or_default();
                return Ok(Connected { refused: Some(reason), events });
            }
            Next::Came(Incoming::Event { data, .. }) if events.len() < EVENTS_MAX => {
                events.extend(event_name(&data));
            }
            Next::Came(_) if connection.client().state() == State::Closed => {
                return Err(Ended::Dismissed);
            }
            Next::Came(_) => {}
            Next::Quiet => return Err(Ended::Quiet(due)),
            Next::Ended(end) => return Err(Ended::End(end)),
        }
    }
}
