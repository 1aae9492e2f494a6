//! The upgrade to a WebSocket (RFC 6455, section 4), and its frames.
//!
//! The handshake is made here, because its answer is what is to be judged: libraries throw away the body of a
//! refusal, and take some answers for refusals that browsers accept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::failure::Failure;
use crate::http1::{self, Answer, Header, Request, Resets};
use crate::limits::Limits;

/// What a server adds to the key before it answers (RFC 6455, section 1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The bytes that a connection holds ready for reading, and for writing: frames of Socket.IO are small, and
/// there may be ten thousand connections.
const BUFFER_BYTES: usize = 4 << 10;

/// What is asked of the server.
#[derive(Debug, Clone)]
pub struct Handshake<'a> {
    /// Path and query.
    pub target: &'a str,
    /// The `Host` header.
    pub authority: &'a str,
    /// The page from which a browser would ask; without one, no `Origin` is sent.
    pub origin: Option<&'a str>,
    /// Further headers.
    pub headers: Vec<Header<'a>>,
}

/// How the server answered.
#[derive(Debug)]
pub enum Upgraded<S> {
    /// As it has to be: frames follow.
    Open(Answer, Box<WebSocketStream<S>>),
    /// With 101, and not as a browser takes it.
    Faulty(Answer, AcceptFault),
    /// With something else.
    Refused(Answer),
}

/// Says why a browser does not take a 101 (RFC 6455, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptFault {
    /// `Upgrade` is not there, or is no `websocket`.
    #[error("the answer has no \"Upgrade: websocket\"")]
    Upgrade,
    /// `Connection` has no `upgrade`.
    #[error("the answer has no \"Connection: upgrade\"")]
    Connection,
    /// `Sec-WebSocket-Accept` is not the answer to the key.
    #[error("the answer's Sec-WebSocket-Accept is not that of the key")]
    Accept,
    /// The server chose a protocol or an extension that was not offered.
    #[error("the answer chooses what was not offered")]
    NotOffered,
}

/// Asks for a WebSocket.
///
/// # Errors
/// [`Failure`], where no whole answer came.
pub async fn upgrade<S: AsyncRead + AsyncWrite + Unpin + Resets>(
    mut stream: S,
    handshake: &Handshake<'_>,
    limits: &Limits,
) -> Result<Upgraded<S>, Failure> {
    let key = new_key()?;
    let mut request = Request::get(handshake.target, handshake.authority);
    let fixed = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", &key),
    ];
    let origin = handshake.origin.map(|origin| ("Origin", origin));
    for (name, value) in fixed.into_iter().chain(origin) {
        let header = Header::new(name, value);
        request.headers.push(header.ok_or_else(|| Failure::Other(format!("{name} is no header")))?);
    }
    request.headers.extend(handshake.headers.iter().cloned());
    let mut answer = http1::exchange(&mut stream, &request, limits).await?;
    if answer.status != 101 {
        return Ok(Upgraded::Refused(answer));
    }
    if let Some(fault) = fault_of(&answer, &key) {
        return Ok(Upgraded::Faulty(answer, fault));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(limits.message_bytes_max))
        .max_frame_size(Some(limits.message_bytes_max));
    let mut rest = std::mem::take(&mut answer.rest);
    // It becomes the buffer of the connection, and has the room that was made to read an answer.
    rest.shrink_to_fit();
    let socket =
        WebSocketStream::from_partially_read(stream, rest, Role::Client, Some(config)).await;
    Ok(Upgraded::Open(answer, Box::new(socket)))
}

fn new_key() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|fault| Failure::Other(fault.to_string()))?;
    Ok(STANDARD.encode(random))
}

fn fault_of(answer: &Answer, key: &str) -> Option<AcceptFault> {
    let expected =
        STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize());
    let was_chosen = |name| answer.headers_of(name).any(|value| !value.trim().is_empty());
    if !answer.has_word("Upgrade", "websocket") {
        Some(AcceptFault::Upgrade)
    } else if !answer.has_word("Connection", "upgrade") {
        Some(AcceptFault::Connection)
    } else if answer.header("Sec-WebSocket-Accept").map(str::trim) != Some(expected.as_str()) {
        Some(AcceptFault::Accept)
    } else if was_chosen("Sec-WebSocket-Extensions") || was_chosen("Sec-WebSocket-Protocol") {
        Some(AcceptFault::NotOffered)
    } else {
        None
    }
}
