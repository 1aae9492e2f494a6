//! One connection of a client, without I/O.
//!
//! Whoever has the connection gives what arrives to [`Client::receive`] or [`Client::receive_payload`], with the
//! time in milliseconds of any clock that only goes forward, sends what [`Client::next_frame`] or
//! [`Client::next_payload`] returns, and asks [`Client::is_overdue`] when [`Client::deadline_ms`] has come.
//! Heartbeats are answered here. The namespace is asked for as soon as the server has opened.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use thiserror::Error;

use crate::deviation::Deviation;
use crate::engine::{self, Frame, Open, Packet};
use crate::socket::{self, Kind, MAIN_NAMESPACE};

/// What a client that tries a WebSocket says, and is answered.
const PROBE: &str = "probe";

/// How many packets one post of long polling has at most: python-engineio reads no more.
pub const POST_PACKETS_MAX: usize = 16;

/// How a client behaves, and what it takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The transport that the connection begins with.
    pub transport: Transport,
    /// The namespace that is asked for, `/` for the main one; `None` where only Engine.IO is spoken.
    pub namespace: Option<String>,
    /// What is sent with the request for it: a JSON object. A server whose handler does not expect one may
    /// give no answer at all.
    pub auth: Option<String>,
    /// How many bytes a message with its attachments may have.
    pub message_bytes_max: usize,
    /// How many packets the answer to a poll may have.
    pub payload_packets_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::WebSocket,
            namespace: Some(MAIN_NAMESPACE.to_owned()),
            auth: None,
            message_bytes_max: 4 << 20,
            payload_packets_max: 16_384,
        }
    }
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The server has said nothing yet.
    Opening,
    /// It has opened; the namespace was asked for, or none is wanted.
    Open,
    /// It gave the namespace.
    Connected,
    /// It refused the namespace, and the connection below it stays open.
    Refused,
    /// It has taken the namespace away, or the client has given it back.
    Disconnected,
    /// One of both has ended the connection.
    Closed,
}

/// How far the way from long polling to a WebSocket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrading {
    /// Packets travel by the transport that the connection began with, or by the new one.
    No,
    /// `2probe` was sent on the new one.
    Probed,
    /// `3probe` was answered; the poll that waits has to end.
    Answered,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<'f> {
    /// The server has opened.
    Opened(Open),
    /// It gave the namespace, with the client's id in it.
    Connected {
        /// The id, where the server says it.
        sid: Option<String>,
    },
    /// It refused the namespace.
    Refused {
        /// What it said, as JSON; see [`socket::refusal`].
        data: Option<Cow<'f, str>>,
    },
    /// An event.
    Event {
        /// The id under which it wants to be answered.
        ack: Option<u64>,
        /// Its name and what it carries, a JSON array; see [`socket::event_name`].
        data: Cow<'f, str>,
        /// What its placeholders stand for.
        attachments: Vec<Vec<u8>>,
    },
    /// The answer to an event of the client's.
    Ack {
        /// The id that [`Client::emit`] gave.
        id: u64,
        /// What it carries, a JSON array.
        data: Cow<'f, str>,
        /// What its placeholders stand for.
        attachments: Vec<Vec<u8>>,
    },
    /// A heartbeat, answered already.
    Ping,
    /// The server answers the client's try of a WebSocket; see [`Client::upgrade`].
    ProbeAnswered,
    /// The server has taken the namespace away.
    Disconnected,
    /// The server ends the connection.
    Closed,
    /// Something that has no meaning for the client: what is of another namespace, a part of what is not
    /// whole yet, or nothing.
    Nothing,
}

impl Incoming<'_> {
    /// Takes what it borrows into it.
    pub fn into_owned(self) -> Incoming<'static> {
        let owned = |data: Cow<'_, str>| Cow::Owned(data.into_owned());
        match self {
            Self::Opened(open) => Incoming::Opened(open),
            Self::Connected { sid } => Incoming::Connected { sid },
            Self::Refused { data } => Incoming::Refused { data: data.map(owned) },
            Self::Event { ack, data, attachments } => {
                Incoming::Event { ack, data: owned(data), attachments }
            }
            Self::Ack { id, data, attachments } => {
                Incoming::Ack { id, data: owned(data), attachments }
            }
            Self::Ping => Incoming::Ping,
            Self::ProbeAnswered => Incoming::ProbeAnswered,
            Self::Disconnected => Incoming::Disconnected,
            Self::Closed => Incoming::Closed,
            Self::Nothing => Incoming::Nothing,
        }
    }
}

/// Says why what arrived ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is no packet of Engine.IO.
    #[error(transparent)]
    Engine(#[from] engine::PacketFault),
    /// It is no packet of Socket.IO.
    #[error(transparent)]
    Socket(#[from] socket::PacketFault),
    /// It is a packet, and not one that can come now.
    #[error("{what} {when}")]
    Unexpected {
        /// What came.
        what: &'static str,
        /// When it came.
        when: &'static str,
    },
    /// A message has more bytes than are taken.
    #[error("a message has more than {max} bytes")]
    MessageBytes {
        /// How many are taken.
        max: usize,
    },
}

/// A binary packet whose attachments have not all come.
#[derive(Debug)]
struct Unfinished {
    packet: socket::Packet<'static>,
    attachments: Vec<Vec<u8>>,
    bytes: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    options: Options,
    state: State,
    transport: Transport,
    upgrading: Upgrading,
    open: Option<Open>,
    deadline_ms: Option<u64>,
    to_send: VecDeque<Packet<'static>>,
    unfinished: Option<Unfinished>,
    next_ack: u64,
    deviations: BTreeSet<Deviation>,
}

impl Client {
    /// Begins a connection; the server speaks first.
    pub fn new(options: Options) -> Self {
        Self {
            state: State::Opening,
            transport: options.transport,
            upgrading: Upgrading::No,
            open: None,
            deadline_ms: None,
            to_send: VecDeque::new(),
            unfinished: None,
            next_ack: 0,
            deviations: BTreeSet::new(),
            options,
        }
    }

    /// Says how far the connection is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Says by what packets travel.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns what the server opened with.
    pub const fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Returns what was met that is not as the specification has it.
    pub const fn deviations(&self) -> &BTreeSet<Deviation> {
        &self.deviations
    }

    /// Says by when the server has to have been heard of; `None` before it opened and after the end.
    pub const fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// Says whether the server has been silent for longer than it said that it would be.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// Takes a frame of the WebSocket.
    ///
    /// # Errors
    /// [`Fault`]; the connection is [`State::Closed`] then.
    pub fn receive<'f>(&mut self, frame: Frame<'f>, now_ms: u64) -> Result<Incoming<'f>, Fault> {
        if frame.len() > self.options.message_bytes_max {
            return self.ended(Fault::MessageBytes { max: self.options.message_bytes_max });
        }
        let packet = match engine::read_frame(frame) {
            Ok(packet) => packet,
            Err(fault) => return self.ended(fault.into()),
        };
        self.take(packet, Transport::WebSocket, now_ms).or_else(|fault| self.ended(fault))
    }

    /// Takes the answer to a poll, and returns what was in it, in order.
    ///
    /// # Errors
    /// [`Fault`] of the first packet that has one; the connection is [`State::Closed`] then.
    pub fn receive_payload<'f>(
        &mut self,
        payload: &'f str,
        now_ms: u64,
    ) -> Result<Vec<Incoming<'f>>, Fault> {
        let packets = match engine::read_payload(payload, self.options.payload_packets_max) {
            Ok(packets) => packets,
            Err(fault) => return self.ended(fault.into()),
        };
        let mut taken = Vec::with_capacity(packets.len());
        for packet in packets {
            match self.take(packet, Transport::Polling, now_ms) {
                Ok(incoming) => taken.push(incoming),
                Err(fault) => return self.ended(fault),
            }
        }
        Ok(taken)
    }

    /// Takes the body with which a post of long polling was answered.
    pub fn receive_posted(&mut self, body: &str) {
        if body == "OK" {
            self.deviations.insert(Deviation::PostAnsweredInCapitals);
        }
    }

    /// Returns the next frame to send over the WebSocket.
    pub fn next_frame(&mut self) -> Option<Frame<'static>> {
        if self.transport != Transport::WebSocket {
            return None;
        }
        self.to_send.pop_front().map(|packet| engine::write_frame(&packet))
    }

    /// Returns the next post of long polling: what is to send, up to what the server takes at once.
    ///
    /// Nothing while the WebSocket takes over: what is to send then goes there.
    pub fn next_payload(&mut self) -> Option<String> {
        if self.transport != Transport::Polling || self.upgrading == Upgrading::Answered {
            return None;
        }
        let bytes_max =
            self.open.as_ref().and_then(|open| open.payload_bytes_max).unwrap_or(u64::MAX);
        let mut payload = String::new();
        for _ in 0..POST_PACKETS_MAX {
            let Some(packet) = self.to_send.front() else { break };
            let text = engine::write_payload([packet]);
            let bytes = payload.len() + text.len() + engine::SEPARATOR.len_utf8();
            if !payload.is_empty() {
                if bytes as u64 > bytes_max {
                    break;
                }
                payload.push(engine::SEPARATOR);
            }
            payload.push_str(&text);
            self.to_send.pop_front();
        }
        (!payload.is_empty()).then_some(payload)
    }

    /// Begins to try a WebSocket beside long polling, and returns the frame to send over it.
    ///
    /// `None` where the connection is not open, or goes over a WebSocket already.
    pub fn probe(&mut self) -> Option<Frame<'static>> {
        let is_open = matches!(self.state, State::Open | State::Connected | State::Refused);
        if !is_open || self.transport != Transport::Polling || self.upgrading != Upgrading::No {
            return None;
        }
        self.upgrading = Upgrading::Probed;
        Some(engine::write_frame(&Packet::Ping(PROBE.into())))
    }

    /// Goes over to the WebSocket: to be called when the probe was answered and the poll that waited has ended.
    /// Returns the frame to send over it before any other.
    ///
    /// `None` where the probe was not answered.
    pub fn upgrade(&mut self) -> Option<Frame<'static>> {
        if self.upgrading != Upgrading::Answered {
            return None;
        }
        self.upgrading = Upgrading::No;
        self.transport = Transport::WebSocket;
        Some(engine::write_frame(&Packet::Upgrade))
    }

    /// Sends an event, of a JSON array that begins with its name, and returns the id of the answer if one is wanted.
    ///
    /// `None` too where no namespace was given; nothing is sent then.
    pub fn emit(&mut self, data: &str, wants_answer: bool) -> Option<u64> {
        if self.state != State::Connected {
            return None;
        }
        let ack = wants_answer.then_some(self.next_ack);
        self.next_ack += u64::from(wants_answer);
        self.send(Kind::Event, ack, Some(data.to_owned()));
        ack
    }

    /// Gives the namespace back and ends the connection. Neither server that was measured closes the
    /// WebSocket for it: that is left to the client, when what is to send has been sent.
    pub fn close(&mut self) {
        if matches!(self.state, State::Opening | State::Closed) {
            self.state = State::Closed;
            return;
        }
        if self.state == State::Connected {
            self.send(Kind::Disconnect, None, None);
        }
        self.to_send.push_back(Packet::Close);
        self.end();
    }

    fn ended<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        self.end();
        Err(fault)
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.deadline_ms = None;
        self.unfinished = None;
    }

    fn send(&mut self, kind: Kind, ack: Option<u64>, data: Option<String>) {
        let Some(namespace) = self.options.namespace.clone() else { return };
        let packet = socket::Packet {
            ack,
            namespace: Cow::Owned(namespace),
            data: data.map(Cow::Owned),
            ..socket::Packet::bare(kind)
        };
        self.to_send.push_back(Packet::Text(Cow::Owned(socket::write(&packet))));
    }

    fn take<'f>(
        &mut self,
        packet: Packet<'f>,
        by: Transport,
        now_ms: u64,
    ) -> Result<Incoming<'f>, Fault> {
        if self.state == State::Closed {
            return Err(Fault::Unexpected { what: "a packet came", when: "after the end" });
        }
        let is_probed = by != self.transport;
        match packet {
            Packet::Pong(text)
                if is_probed && text == PROBE && self.upgrading == Upgrading::Probed =>
            {
                self.upgrading = Upgrading::Answered;
                Ok(Incoming::ProbeAnswered)
            }
            _ if is_probed => {
                let what = "something other than the answer came";
                Err(Fault::Unexpected { what, when: "over the WebSocket that is tried" })
            }
            Packet::Open(open) if self.state == State::Opening => Ok(self.opened(open, now_ms)),
            Packet::Open(_) => {
                Err(Fault::Unexpected { what: "the server opened", when: "a second time" })
            }
            _ if self.state == State::Opening => {
                Err(Fault::Unexpected { what: "a packet came", when: "before the server opened" })
            }
            Packet::Ping(text) => {
                self.heard(now_ms);
                self.to_send.push_back(Packet::Pong(Cow::Owned(text.into_owned())));
                Ok(Incoming::Ping)
            }
            Packet::Text(Cow::Borrowed(text)) => self.message(socket::read(text)?),
            Packet::Text(Cow::Owned(text)) => self.message(socket::read(&text)?.into_owned()),
            Packet::Binary(bytes) => self.attached(bytes.into_owned()),
            Packet::Close => {
                self.end();
                Ok(Incoming::Closed)
            }
            Packet::Noop => {
                if by == Transport::WebSocket {
                    self.deviations.insert(Deviation::NoopOverWebSocket);
                }
                Ok(Incoming::Nothing)
            }
            Packet::Pong(_) => {
                Err(Fault::Unexpected { what: "a pong came", when: "without a ping" })
            }
            Packet::Upgrade => Err(Fault::Unexpected {
                what: "the server upgraded",
                when: "which is the client's",
            }),
        }
    }

    fn opened<'f>(&mut self, open: Open, now_ms: u64) -> Incoming<'f> {
        self.state = State::Open;
        if open.ping_interval_ms == 0 {
            self.deviations.insert(Deviation::NoPingInterval);
        }
        self.open = Some(open.clone());
        self.heard(now_ms);
        self.send(Kind::Connect, None, self.options.auth.clone());
        Incoming::Opened(open)
    }

    /// Only a ping, as the reference has it: other packets do not prove that the server's heart beats.
    fn heard(&mut self, now_ms: u64) {
        let silence_max_ms = self.open.as_ref().map(Open::silence_max_ms);
        self.deadline_ms = silence_max_ms.map(|silence_ms| now_ms.saturating_add(silence_ms));
    }

    fn message<'f>(&mut self, packet: socket::Packet<'f>) -> Result<Incoming<'f>, Fault> {
        if self.unfinished.is_some() {
            return Err(Fault::Unexpected { what: "a packet came", when: "among attachments" });
        }
        if packet.attachments > 0 {
            let bytes = packet.data.as_ref().map_or(0, |data| data.len());
            let packet = packet.into_owned();
            self.unfinished = Some(Unfinished { packet, attachments: Vec::new(), bytes });
            return Ok(Incoming::Nothing);
        }
        self.whole(packet, Vec::new())
    }

    fn attached<'f>(&mut self, bytes: Vec<u8>) -> Result<Incoming<'f>, Fault> {
        let Some(unfinished) = &mut self.unfinished else {
            return Err(Fault::Unexpected {
                what: "an attachment came",
                when: "without its packet",
            });
        };
        unfinished.bytes = unfinished.bytes.saturating_add(bytes.len());
        if unfinished.bytes > self.options.message_bytes_max {
            return Err(Fault::MessageBytes { max: self.options.message_bytes_max });
        }
        unfinished.attachments.push(bytes);
        if unfinished.attachments.len() < unfinished.packet.attachments {
            return Ok(Incoming::Nothing);
        }
        match mem::take(&mut self.unfinished) {
            Some(Unfinished { packet, attachments, .. }) => self.whole(packet, attachments),
            None => Ok(Incoming::Nothing),
        }
    }

    fn whole<'f>(
        &mut self,
        packet: socket::Packet<'f>,
        attachments: Vec<Vec<u8>>,
    ) -> Result<Incoming<'f>, Fault> {
        if self.options.namespace.as_deref() != Some(&*packet.namespace) {
            return Ok(Incoming::Nothing);
        }
        let socket::Packet { kind, ack, data, .. } = packet;
        Ok(match kind {
            Kind::Connect => {
                let sid = socket::connected_sid(data.as_deref());
                if sid.is_none() {
                    self.deviations.insert(Deviation::ConnectWithoutSid);
                }
                self.state = State::Connected;
                Incoming::Connected { sid }
            }
            Kind::ConnectError => {
                self.deviations.extend(deviation_of_refusal(data.as_deref()));
                self.state = State::Refused;
                Incoming::Refused { data }
            }
            Kind::Disconnect => {
                self.state = State::Disconnected;
                Incoming::Disconnected
            }
            Kind::Event | Kind::BinaryEvent => {
                if self.state == State::Open {
                    self.deviations.insert(Deviation::EventBeforeConnect);
                }
                Incoming::Event { ack, data: data.unwrap_or_default(), attachments }
            }
            Kind::Ack | Kind::BinaryAck => {
                let id = ack.unwrap_or_default();
                Incoming::Ack { id, data: data.unwrap_or_default(), attachments }
            }
        })
    }
}

fn deviation_of_refusal(data: Option<&str>) -> Option<Deviation> {
    let begins = data.and_then(|data| data.trim_start().bytes().next());
    match begins {
        Some(b'{') => None,
        Some(b'"') => Some(Deviation::RefusalAsText),
        _ => Some(Deviation::RefusalAsOther),
    }
}

#[cfg(test)]
mod tests;
