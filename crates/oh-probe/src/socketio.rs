//! One connection of Socket.IO over a WebSocket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use oh_socketio::client::{Client, Fault, Incoming, Options};
use oh_socketio::engine::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::failure::Failure;

/// One connection. What it has to say to heartbeats is said while it waits in [`Connection::next`].
#[derive(Debug)]
pub struct Connection<S> {
    socket: WebSocketStream<S>,
    client: Client,
    began: Instant,
    /// When the last frame went, in whichever direction.
    moved: Instant,
    bytes: usize,
    seen: Option<Vec<Seen>>,
}

/// A frame that went over the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When, since the connection was upgraded.
    pub after: Duration,
    /// Whether the server sent it.
    pub is_ours: bool,
    /// Its text; of a binary one, how long it is.
    pub text: String,
}

/// What came, or did not.
#[derive(Debug)]
pub enum Next {
    /// This came.
    Came(Incoming<'static>),
    /// Nothing came until then.
    Quiet,
    /// The connection has ended.
    Ended(End),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a frame that says so.
    Closed {
        /// The code of it (RFC 6455, section 7.4), where it has one.
        code: Option<u16>,
        /// The reason of it.
        reason: String,
    },
    /// Without such a frame: somebody between us and the server has ended it, or the server died.
    Cut(Failure),
    /// With something that is no packet, or cannot come where it came.
    Nonsense(Fault),
    /// With something that is no frame of a WebSocket.
    NoFrame(String),
    /// The server has been silent for longer than its own heartbeat.
    Silent(Duration),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Begins on a WebSocket that was just upgraded; the server speaks first.
    pub fn new(socket: WebSocketStream<S>, options: Options, keeps_frames: bool) -> Self {
        let seen = keeps_frames.then(Vec::new);
        let now = Instant::now();
        Self { socket, client: Client::new(options), began: now, moved: now, bytes: 0, seen }
    }

    /// Returns what is known of the connection.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the frames that were seen, where they were to be kept.
    pub fn seen(&self) -> &[Seen] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// Says for how long nothing went over the connection in either direction, heartbeats of the WebSocket
    /// counted in: whoever ends silent connections on the way counts so too.
    pub fn silent_for(&self) -> Duration {
        self.moved.elapsed()
    }

    /// Waits for the next thing, at most until then.
    pub async fn next(&mut self, until: Instant) -> Next {
        loop {
            if let Err(end) = self.flush(until).await {
                return Next::Ended(end);
            }
            let due = self.client.deadline_ms().map(|ms| self.began + Duration::from_millis(ms));
            let wake = due.map_or(until, |due| due.min(until));
            let message = match timeout_at(wake, self.socket.next()).await {
                Err(_) if self.client.is_overdue(self.now_ms()) => {
                    let open = self.client.open();
                    let silence_ms = open.map_or(0, |open| open.silence_max_ms());
                    return Next::Ended(End::Silent(Duration::from_millis(silence_ms)));
                }
                Err(_) if Instant::now() >= until => return Next::Quiet,
                Err(_) => continue,
                Ok(None) => return Next::Ended(End::Cut(Failure::Closed { bytes: self.bytes })),
                Ok(Some(Err(fault))) => return Next::Ended(self.end_of(&fault)),
                Ok(Some(Ok(message))) => message,
            };
            self.bytes += message.len();
            if !message.is_close() {
                self.moved = Instant::now();
            }
            let now_ms = self.now_ms();
            let taken = match &message {
                Message::Text(text) => {
                    self.note(false, text.as_str());
                    self.client.receive(Frame::Text(text.as_str().into()), now_ms)
                }
                Message::Binary(bytes) => {
                    self.note(false, &format!("({} bytes)", bytes.len()));
                    self.client.receive(Frame::Binary(bytes.as_ref().into()), now_ms)
                }
                Message::Close(frame) => return Next::Ended(closed(frame.as_ref())),
                // The library answers pings of the WebSocket itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            return match taken {
                Ok(incoming) => Next::Came(incoming.into_owned()),
                Err(fault) => Next::Ended(End::Nonsense(fault)),
            };
        }
    }

    /// Sends an event, of a JSON array that begins with its name, and returns the id of the answer if one is
    /// wanted; see [`Client::emit`].
    ///
    /// # Errors
    /// The end of the connection.
    pub async fn emit(
        &mut self,
        data: &str,
        wants_answer: bool,
        until: Instant,
    ) -> Result<Option<u64>, End> {
        let id = self.client.emit(data, wants_answer);
        self.flush(until).await?;
        Ok(id)
    }

    /// Ends the connection: the namespace, the session, the WebSocket, each with its word, and waits for the
    /// server's until then. What is left of it goes with the connection.
    pub async fn close(mut self, until: Instant) -> Vec<Seen> {
        self.client.close();
        let goodbye = async {
            // Who does not take our goodbye is left without one.
            if self.flush(until).await.is_ok() && self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // The deadline has come, or the server has answered: the connection ends in both cases.
        drop(timeout_at(until, goodbye).await);
        self.seen.unwrap_or_default()
    }

    async fn flush(&mut self, until: Instant) -> Result<(), End> {
        while let Some(frame) = self.client.next_frame() {
            let message = match frame {
                Frame::Text(text) => {
                    self.note(true, &text);
                    Message::text(text.into_owned())
                }
                Frame::Binary(bytes) => {
                    self.note(true, &format!("({} bytes)", bytes.len()));
                    Message::binary(bytes.into_owned())
                }
            };
            match timeout_at(until, self.socket.send(message)).await {
                Err(_) => return Err(End::Cut(Failure::Silent(self.began.elapsed()))),
                Ok(Err(fault)) => return Err(self.end_of(&fault)),
                Ok(Ok(())) => self.moved = Instant::now(),
            }
        }
        Ok(())
    }

    fn note(&mut self, is_ours: bool, text: &str) {
        let after = self.began.elapsed();
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { after, is_ours, text: text.to_owned() });
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn end_of(&self, fault: &Error) -> End {
        end_of(fault, self.bytes)
    }
}

/// Says how a connection ended over which so many bytes had come.
pub(crate) fn end_of(fault: &Error, bytes: usize) -> End {
    match fault {
        Error::Io(fault) => End::Cut(Failure::of_io(fault, bytes)),
        Error::ConnectionClosed | Error::AlreadyClosed => closed(None),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Cut(Failure::Closed { bytes }),
        other => End::NoFrame(other.to_string()),
    }
}

/// Says how a connection ended by a frame that says so.
pub(crate) fn closed(frame: Option<&CloseFrame>) -> End {
    let code = frame.map(|frame| frame.code.into());
    End::Closed { code, reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default() }
}
