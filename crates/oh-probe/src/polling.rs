//! Long polling: each request on a connection of its own, as a browser behind a proxy may make them.
//!
//! A session that was opened is kept by the server until its heartbeat fails, so whoever opens one ends it.

use std::time::Instant;

use oh_socketio::engine::{self, Open, Packet};

use crate::ask::unreached;
use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::{self, Answer, Header, Request};
use crate::ladder::Asked;
use crate::limits::Limits;
use crate::reach::Way;
use crate::signature::{self, Polling};

/// How many packets are read of the answer that opens a session.
const PACKETS_MAX: usize = 16;

/// How often something is sent, behind several servers, until the one that has the session hears of it.
pub(crate) const TRIES: usize = 16;

/// What a request came to; an error where the server was not even reached.
pub type Polled = Result<Timed<Result<Answer, Failure>>, Failure>;

/// The id of a session, which can stand in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sid(String);

impl Sid {
    /// Takes the id of what Engine.IO opened with; one that could not stand in a query was not made by a server of
    /// Engine.IO.
    pub fn of(open: &Open) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let is_one = !open.sid.is_empty() && open.sid.bytes().all(is_plain);
        is_one.then(|| Self(open.sid.clone()))
    }

    /// Takes the id of the answer to a poll.
    pub fn of_answer(answer: &Answer) -> Option<Self> {
        Self::of(&opened_by(answer)?)
    }
}

/// Returns what Engine.IO opened with, of the answer to a poll.
pub fn opened_by(answer: &Answer) -> Option<Open> {
    let packets =
        engine::read_payload(std::str::from_utf8(&answer.body).ok()?, PACKETS_MAX).ok()?;
    match packets.into_iter().next() {
        Some(Packet::Open(open)) if answer.status == 200 => Some(open),
        _ => None,
    }
}

/// Asks for a session.
///
/// # Errors
/// [`Failure`], where the server was not reached.
pub async fn open(way: &Way, asked: &Asked) -> Polled {
    request(way, asked, "GET", None, &[], &way.limits).await
}

/// Sends packets in a session.
///
/// # Errors
/// [`Failure`], where the server was not reached.
pub async fn post(way: &Way, asked: &Asked, sid: &Sid, packets: &[Packet<'_>]) -> Polled {
    request(way, asked, "POST", Some(sid), packets, &way.limits).await
}

/// Polls in a session; the server answers when it has something to say. The limit of HTTP is that of these limits.
///
/// # Errors
/// [`Failure`], where the server was not reached.
pub async fn get(way: &Way, asked: &Asked, sid: &Sid, limits: &Limits) -> Polled {
    request(way, asked, "GET", Some(sid), &[], limits).await
}

/// Ends a session, and says whether the server that has it took it: where another one answers that it knows no such
/// session, it is said again.
pub async fn end(way: &Way, asked: &Asked, sid: &Sid) -> bool {
    for _ in 0..TRIES {
        let ended = post(way, asked, sid, &[Packet::Close]).await;
        if !is_unknown(&ended) {
            return is_ok(&ended);
        }
    }
    false
}

/// Says whether a request was taken.
pub fn is_ok(polled: &Polled) -> bool {
    matches!(polled, Ok(Timed { value: Ok(answer), .. }) if answer.status == 200)
}

/// Says whether a server answered that it does not know the session.
pub fn is_unknown(polled: &Polled) -> bool {
    let answer = polled.as_ref().ok().and_then(|polled| polled.value.as_ref().ok());
    answer.is_some_and(|answer| signature::of_polling(answer) == Polling::Session)
}

async fn request(
    way: &Way,
    asked: &Asked,
    method: &str,
    sid: Option<&Sid>,
    packets: &[Packet<'_>],
    limits: &Limits,
) -> Polled {
    let mut reached = way.reach().await;
    let Some(mut stream) = reached.stream.take() else {
        return Err(unreached(&reached));
    };
    let mut target = asked.target("polling");
    if let Some(Sid(sid)) = sid {
        target = format!("{target}&sid={sid}");
    }
    let (authority, payload) = (asked.authority(way), engine::write_payload(packets));
    let mut request = Request::get(&target, &authority);
    (request.method, request.body) = (method, payload.as_bytes());
    let origin = asked.origin.as_deref();
    request.headers.extend(origin.and_then(|origin| Header::new("Origin", origin)));
    request.headers.extend(asked.headers.iter().cloned());
    let began = Instant::now();
    let value = http1::exchange(&mut stream, &request, limits).await;
    Ok(Timed { took: began.elapsed(), value })
}
