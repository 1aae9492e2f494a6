//! The way to a WebSocket without a protocol of its own through one hop, step by step: that of an agent server of
//! OpenHands, or any other.
//!
//! Harmless by construction: nothing is sent over the WebSocket but the goodbye. An agent server is asked for a
//! conversation that nobody has: that it says so, with 4004, proves the path and the key, and where no key was
//! given it waits for one in the first message, which does not come.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::ask::{Visitor, ask};
use crate::cause::{self, Cause};
use crate::diagnose::{Certainty, Diagnosis, Standing, below_http, of_common};
use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::Answer;
use crate::ladder::{Rung, UpgradeAnswer, taken_apart};
use crate::reach::{Reached, Stream, Way};
use crate::signature::{self, Common, Upgrade};
use crate::socketio::{End, closed, end_of};
use crate::websocket::{self, Handshake};

/// The conversation that nobody has: the nil UUID (RFC 9562, section 5.9).
const NOBODYS_CONVERSATION: &str = "00000000-0000-0000-0000-000000000000";

/// The header in which an agent server takes its key. A query would be in the logs of all on the way.
const KEY_HEADER: &str = "X-Session-API-Key";

/// How an agent server says that there is no such conversation.
const NO_CONVERSATION: u16 = 4004;

/// How an agent server says that the key is not its own.
const NO_KEY: u16 = 4001;

/// How long a server that speaks first may take, by default.
pub const FIRST_FRAME: Duration = Duration::from_secs(1);

/// How much of a text is kept.
const TEXT_CHARS_MAX: usize = 200;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query.
    pub target: String,
    /// Who asks.
    pub visitor: Visitor,
    /// How long the first frame is waited for. That none comes is no fault.
    pub first_frame: Duration,
}

/// What was seen of one hop.
#[derive(Debug, Default)]
pub struct Ladder {
    /// DNS, TCP, a proxy and TLS, of the connection that was to be upgraded; its stream is used up.
    pub reached: Option<Reached>,
    /// The answer to the upgrade.
    pub upgrade: Rung<UpgradeAnswer>,
    /// The answer to the same without an upgrade, which tells a page that hides the loss of its headers; it is
    /// asked for where the upgrade does not open.
    pub page: Rung<Answer>,
    /// What came over the WebSocket.
    pub first: Option<Timed<First>>,
    /// Whether the server has answered our goodbye.
    pub is_parted: bool,
}

/// What came first over a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// A text; its beginning.
    Text(String),
    /// So many bytes.
    Binary(usize),
    /// Nothing, for so long: the server waits for us.
    Quiet(Duration),
    /// The end.
    Ended(End),
}

/// One hop, as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'o> {
    /// What it is called: `public`, `nginx`, `upstream`.
    pub name: &'o str,
    /// What was seen of it.
    pub ladder: &'o Ladder,
}

impl Asked {
    /// Asks for whatever WebSocket there is at path and query.
    pub const fn at(target: String, visitor: Visitor) -> Self {
        Self { target, visitor, first_frame: FIRST_FRAME }
    }

    /// Asks an agent server below a prefix for the conversation that nobody has, with its key where there is one.
    pub fn agent_server(prefix: &str, visitor: &Visitor, key: Option<&str>) -> Self {
        let visitor = match key {
            Some(key) => visitor.with(KEY_HEADER, key.to_owned()),
            None => visitor.clone(),
        };
        Self::at(format!("{prefix}/sockets/events/{NOBODYS_CONVERSATION}"), visitor)
    }
}

impl First {
    /// Says whether it is what an agent server says of a conversation that nobody has: the path is right, and so is
    /// the key.
    pub const fn is_no_conversation(&self) -> bool {
        matches!(self, Self::Ended(End::Closed { code: Some(NO_CONVERSATION), .. }))
    }
}

/// Climbs as far as it goes, by two connections at most, one after the other.
pub async fn climb(way: &Way, asked: &Asked) -> Ladder {
    let mut ladder = Ladder::default();
    climb_into(way, asked, &mut ladder).await;
    ladder
}

/// [`climb`], for whoever has no time for all of it: what was seen until then stands in the ladder.
pub async fn climb_into(way: &Way, asked: &Asked, ladder: &mut Ladder) {
    let mut reached = way.reach().await;
    let stream = reached.stream.take();
    ladder.reached = Some(reached);
    let Some(stream) = stream else { return };

    let began = Instant::now();
    let authority = asked.visitor.authority(way);
    let handshake = Handshake {
        target: &asked.target,
        authority: &authority,
        origin: asked.visitor.origin.as_deref(),
        headers: asked.visitor.headers.clone(),
    };
    let upgraded = websocket::upgrade(stream, &handshake, &way.limits).await;
    let took = began.elapsed();
    let (value, socket) = taken_apart(upgraded);
    ladder.upgrade = Some(Timed { took, value });
    match socket {
        Some(socket) => listen(*socket, asked.first_frame, way.limits.packet, ladder).await,
        None => ladder.page = Some(ask(way, &asked.visitor, "GET", &asked.target).await),
    }
}

/// Waits for what comes first, and ends the connection with its goodbye.
async fn listen(
    mut socket: WebSocketStream<Stream>,
    first_frame: Duration,
    due: Duration,
    ladder: &mut Ladder,
) {
    let began = Instant::now();
    let until = Deadline::now() + first_frame;
    let first = loop {
        match timeout_at(until, socket.next()).await {
            Err(_) => break First::Quiet(first_frame),
            Ok(None) => break First::Ended(End::Cut(Failure::Closed { bytes: 0 })),
            Ok(Some(Err(fault))) => break First::Ended(end_of(&fault, 0)),
            Ok(Some(Ok(Message::Text(text)))) => {
                break First::Text(text.chars().take(TEXT_CHARS_MAX).collect());
            }
            Ok(Some(Ok(Message::Binary(bytes)))) => break First::Binary(bytes.len()),
            Ok(Some(Ok(Message::Close(frame)))) => break First::Ended(closed(frame.as_ref())),
            // The library answers pings itself.
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
        }
    };
    let has_word = matches!(first, First::Ended(End::Closed { .. }));
    let is_over = matches!(first, First::Ended(_));
    ladder.first = Some(Timed { took: began.elapsed(), value: first });
    ladder.is_parted = has_word || (!is_over && part(&mut socket, due).await);
    if has_word {
        // The answer to the server's goodbye is on its way; it ends when the server ends the connection.
        drop(
            timeout_at(Deadline::now() + due, async { while socket.next().await.is_some() {} })
                .await,
        );
    }
}

/// Says goodbye (RFC 6455, section 7.1.1) and waits for the server's.
async fn part(socket: &mut WebSocketStream<Stream>, due: Duration) -> bool {
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let parting = async {
        if socket.close(Some(normal)).await.is_err() {
            return false;
        }
        let mut is_answered = false;
        while let Some(Ok(message)) = socket.next().await {
            is_answered |= message.is_close();
        }
        is_answered
    };
    // Who does not answer is left without.
    timeout_at(Deadline::now() + due, parting).await.unwrap_or(false)
}

/// Says why the outermost of the hops does not connect, of what was seen of each, the outermost first; nothing
/// where it does. See [`crate::diagnose::diagnose`].
///
/// That the server ends the WebSocket with a word of its own is no fault of the way, but where it says that the key
/// is not its own.
pub fn diagnose_raw(hops: &[Hop<'_>]) -> Option<Diagnosis> {
    if hops.first().is_none_or(|hop| connects(hop.ladder)) {
        return None;
    }
    let at = hops.iter().rposition(|hop| !connects(hop.ladder))?;
    let (failing, behind) = (hops.get(at)?, hops.get(at + 1));
    let (cause, certainty) = of_hop(failing.ladder, Standing::of(at, behind.is_some()));
    Some(Diagnosis {
        cause,
        certainty,
        hop: failing.name.to_owned(),
        behind: behind.map(|hop| hop.name.to_owned()),
    })
}

/// Says whether a WebSocket was opened, and stayed so or was ended by the server's own word.
pub fn connects(ladder: &Ladder) -> bool {
    ladder.first.as_ref().is_some_and(|first| match &first.value {
        First::Text(_) | First::Binary(_) | First::Quiet(_) => true,
        First::Ended(End::Closed { code, .. }) => *code != Some(NO_KEY),
        First::Ended(_) => false,
    })
}

fn of_hop(ladder: &Ladder, standing: Standing) -> (&'static Cause, Certainty) {
    use Certainty::{Certain, Likely};
    let is_good_behind = standing == Standing::Proxy;
    if let Some(cause) = ladder.reached.as_ref().and_then(below_http) {
        return (cause, Certain);
    }
    let Some(upgrade) = &ladder.upgrade else { return (&cause::UNKNOWN, Likely) };
    let sure = if is_good_behind { Certain } else { Likely };
    let page =
        ladder.page.as_ref().and_then(|page| page.value.as_ref().ok()).map(signature::of_any);
    let upgrade = match &upgrade.value {
        Ok(answer) => signature::of_upgrade(answer),
        Err(failure) => return (of_no_answer(failure, ladder.page.as_ref(), standing), sure),
    };
    match upgrade {
        Upgrade::Open => (above_http(ladder), Certain),
        Upgrade::Faulty => (&cause::UPGRADE_FAULTY, Certain),
        Upgrade::NotSeen => (&cause::UPGRADE_LOST, sure),
        // The page of an application at its own server, which asserts that it is asked for no WebSocket.
        Upgrade::HalfSeen if !is_good_behind && page == Some(Common::Page) => {
            (&cause::NO_WEBSOCKET, Likely)
        }
        Upgrade::HalfSeen => (&cause::CONNECTION_LOST, sure),
        // An agent server says so of a key in the header, and of what is no id.
        Upgrade::Refused => (&cause::REFUSED_UPGRADE, Likely),
        Upgrade::Common(Common::Page) if is_good_behind => (&cause::UPGRADE_HIDDEN, Certain),
        Upgrade::Common(Common::Page) => (&cause::NO_WEBSOCKET, Likely),
        Upgrade::Told(_) => (&cause::UNKNOWN, Likely),
        // With an upgrade a route is found, and without one it is not: the headers were lost.
        Upgrade::Common(Common::Missing | Common::Other(426)) if is_good_behind => {
            (&cause::UPGRADE_LOST, Likely)
        }
        Upgrade::Common(Common::Other(426)) => (&cause::UPGRADE_LOST, Likely),
        Upgrade::Common(common) => (of_common(&common), Certain),
    }
}

/// The connection was made, and nothing of HTTP came back.
fn of_no_answer(
    failure: &Failure,
    page: Option<&Timed<Result<Answer, Failure>>>,
    standing: Standing,
) -> &'static Cause {
    let has_page = page.is_some_and(|page| page.value.is_ok());
    match failure {
        // Who answers pages and cuts upgrades knows no WebSocket at this path.
        Failure::Closed { bytes: 0 } if has_page => &cause::NO_WEBSOCKET,
        _ => crate::diagnose::of_no_answer(failure, None, standing),
    }
}

/// The WebSocket is open, and ends.
fn above_http(ladder: &Ladder) -> &'static Cause {
    match ladder.first.as_ref().map(|first| &first.value) {
        Some(First::Ended(End::Closed { code: Some(NO_KEY), .. })) => &cause::KEY,
        Some(First::Ended(End::Cut(_) | End::Silent(_))) => &cause::CUT,
        Some(First::Ended(End::NoFrame(_) | End::Nonsense(_))) => &cause::UPGRADE_FAULTY,
        _ => &cause::UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
