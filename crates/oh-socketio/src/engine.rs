//! Engine.IO 4: the packets, and how each transport carries them.
//!
//! A WebSocket carries one packet a frame, binary messages as they are. Long polling carries several in
//! one text, with [`SEPARATOR`] between them and binary messages in base64 behind a `b`.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use thiserror::Error;

/// Stands between the packets of one payload of long polling.
pub const SEPARATOR: char = '\u{1e}';

/// What stands before a binary message of long polling.
const BINARY_MARK: char = 'b';

/// Base64 as JavaScript's decoders take it: padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a WebSocket carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text frame.
    Text(Cow<'a, str>),
    /// A binary frame.
    Binary(Cow<'a, [u8]>),
}

impl Frame<'_> {
    /// Says how many bytes it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Says whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the server's first, with what both keep to.
    Open(Open),
    /// `1`: the sender ends the connection.
    Close,
    /// `2`: the server asks whether the client lives; with `probe`, the client tries a transport.
    Ping(Cow<'a, str>),
    /// `3`: the answer, with what the ping had.
    Pong(Cow<'a, str>),
    /// `4`: a message in text.
    Text(Cow<'a, str>),
    /// A message in bytes; it has no number on a WebSocket, and a `b` in long polling.
    Binary(Cow<'a, [u8]>),
    /// `5`: the client goes on over the transport that it tried.
    Upgrade,
    /// `6`: nothing, to end a poll that waits.
    Noop,
}

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// The session's id. Whoever has it can speak in the session's name.
    pub sid: String,
    /// The transports to which the client may go over.
    #[serde(default)]
    pub upgrades: Vec<String>,
    /// How often the server asks whether the client lives, in milliseconds. Zero from python-engineio where
    /// it is less than a second.
    #[serde(rename = "pingInterval")]
    pub ping_interval_ms: u64,
    /// How long it waits for the answer, in milliseconds.
    #[serde(rename = "pingTimeout")]
    pub ping_timeout_ms: u64,
    /// How many bytes the server takes at once; older servers do not say it.
    #[serde(rename = "maxPayload")]
    pub payload_bytes_max: Option<u64>,
}

impl Open {
    /// Says how long after a sign of the server's the next one is due at the latest, in milliseconds.
    pub fn silence_max_ms(&self) -> u64 {
        self.ping_interval_ms.saturating_add(self.ping_timeout_ms)
    }
}

/// Says why something is no packet of Engine.IO 4.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketFault {
    /// There is nothing where a packet has to be.
    #[error("a packet of Engine.IO is empty")]
    Empty,
    /// It begins with something that is no kind of packet.
    #[error("a packet of Engine.IO begins with {0:?}, expected a digit from 0 to 6")]
    Kind(char),
    /// The first packet of the server is not as it has to be.
    #[error("the first packet of Engine.IO is not as it has to be: {0}")]
    Open(String),
    /// A binary message of long polling is not in base64.
    #[error("a binary message of long polling is not in base64")]
    Base64,
    /// A payload has its length before it, as Engine.IO 3 had it.
    #[error("a payload has its length before it: that is Engine.IO 3 (Socket.IO 2)")]
    Engine3,
    /// A payload has more packets than are taken.
    #[error("a payload has more than {max} packets")]
    Packets {
        /// How many are taken.
        max: usize,
    },
}

/// Reads the packet of a frame.
///
/// What stands behind a packet that has nothing to say (`1`, `5`, `6`) is not looked at: neither does the
/// reference.
///
/// # Errors
/// [`PacketFault`], never for a binary frame.
pub fn read_frame<'a>(frame: Frame<'a>) -> Result<Packet<'a>, PacketFault> {
    match frame {
        Frame::Binary(bytes) => Ok(Packet::Binary(bytes)),
        Frame::Text(Cow::Borrowed(text)) => read_packet(text),
        Frame::Text(Cow::Owned(text)) => read_packet(&text).map(Packet::into_owned),
    }
}

/// Writes the frame that carries a packet over a WebSocket.
pub fn write_frame<'a>(packet: &Packet<'a>) -> Frame<'a> {
    match packet {
        Packet::Binary(bytes) => Frame::Binary(bytes.clone()),
        other => Frame::Text(Cow::Owned(text_of(other))),
    }
}

/// Reads the packets of one payload of long polling, in order.
///
/// # Errors
/// [`PacketFault`] for the first that is none, and where there are more than `packets_max`.
pub fn read_payload(payload: &str, packets_max: usize) -> Result<Vec<Packet<'_>>, PacketFault> {
    if has_length_before(payload) {
        return Err(PacketFault::Engine3);
    }
    let mut packets = Vec::new();
    for text in payload.split(SEPARATOR) {
        if packets.len() == packets_max {
            return Err(PacketFault::Packets { max: packets_max });
        }
        packets.push(read_packet(text)?);
    }
    Ok(packets)
}

/// Writes packets as one payload of long polling.
pub fn write_payload<'p>(packets: impl IntoIterator<Item = &'p Packet<'p>>) -> String {
    let mut payload = String::new();
    for packet in packets {
        if !payload.is_empty() {
            payload.push(SEPARATOR);
        }
        payload.push_str(&text_of(packet));
    }
    payload
}

impl<'a> Packet<'a> {
    /// Takes what it borrows into it.
    pub fn into_owned(self) -> Packet<'static> {
        match self {
            Self::Open(open) => Packet::Open(open),
            Self::Close => Packet::Close,
            Self::Ping(text) => Packet::Ping(Cow::Owned(text.into_owned())),
            Self::Pong(text) => Packet::Pong(Cow::Owned(text.into_owned())),
            Self::Text(text) => Packet::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Packet::Binary(Cow::Owned(bytes.into_owned())),
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}

fn read_packet(text: &str) -> Result<Packet<'_>, PacketFault> {
    let mut characters = text.chars();
    let kind = characters.next().ok_or(PacketFault::Empty)?;
    let rest = characters.as_str();
    Ok(match kind {
        '0' => Packet::Open(read_open(rest)?),
        '1' => Packet::Close,
        '2' => Packet::Ping(Cow::Borrowed(rest)),
        '3' => Packet::Pong(Cow::Borrowed(rest)),
        '4' => Packet::Text(Cow::Borrowed(rest)),
        '5' => Packet::Upgrade,
        '6' => Packet::Noop,
        BINARY_MARK => {
            let bytes = BASE64.decode(rest).map_err(|_| PacketFault::Base64)?;
            Packet::Binary(Cow::Owned(bytes))
        }
        other => return Err(PacketFault::Kind(other)),
    })
}

fn read_open(json: &str) -> Result<Open, PacketFault> {
    serde_json::from_str(json).map_err(|fault| PacketFault::Open(fault.to_string()))
}

fn text_of(packet: &Packet<'_>) -> String {
    let (kind, rest): (char, Cow<'_, str>) = match packet {
        Packet::Open(open) => ('0', Cow::Owned(open_text(open))),
        Packet::Close => ('1', Cow::Borrowed("")),
        Packet::Ping(text) => ('2', Cow::Borrowed(text)),
        Packet::Pong(text) => ('3', Cow::Borrowed(text)),
        Packet::Text(text) => ('4', Cow::Borrowed(text)),
        Packet::Binary(bytes) => (BINARY_MARK, Cow::Owned(BASE64.encode(bytes))),
        Packet::Upgrade => ('5', Cow::Borrowed("")),
        Packet::Noop => ('6', Cow::Borrowed("")),
    };
    let mut text = String::with_capacity(rest.len() + 1);
    text.push(kind);
    text.push_str(&rest);
    text
}

fn open_text(open: &Open) -> String {
    let mut fields = serde_json::Map::new();
    fields.insert("sid".to_owned(), open.sid.as_str().into());
    fields.insert("upgrades".to_owned(), open.upgrades.clone().into());
    fields.insert("pingInterval".to_owned(), open.ping_interval_ms.into());
    fields.insert("pingTimeout".to_owned(), open.ping_timeout_ms.into());
    if let Some(bytes) = open.payload_bytes_max {
        fields.insert("maxPayload".to_owned(), bytes.into());
    }
    serde_json::Value::Object(fields).to_string()
}

/// Engine.IO 3 wrote `97:0{…}`: the number of characters, a colon, and a packet.
fn has_length_before(payload: &str) -> bool {
    let Some((length, packet)) = payload.split_once(':') else { return false };
    !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && packet.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Result<Packet<'_>, PacketFault> {
        read_frame(Frame::Text(Cow::Borrowed(text)))
    }

    #[test]
    fn the_packets_of_the_specification_are_read() {
        let open = r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let expected = Open {
            sid: "a".into(),
            upgrades: vec!["websocket".into()],
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            payload_bytes_max: Some(1_000_000),
        };
        assert_eq!(expected.silence_max_ms(), 45_000);
        assert_eq!(text(open), Ok(Packet::Open(expected)));
        assert_eq!(text("1"), Ok(Packet::Close));
        assert_eq!(text("2"), Ok(Packet::Ping("".into())));
        assert_eq!(text("3probe"), Ok(Packet::Pong("probe".into())));
        assert_eq!(text("4hello"), Ok(Packet::Text("hello".into())));
        assert_eq!(text("5"), Ok(Packet::Upgrade));
        assert_eq!(text("6"), Ok(Packet::Noop));
        let bytes = read_frame(Frame::Binary(Cow::Borrowed(&[4, 1])));
        assert_eq!(bytes, Ok(Packet::Binary(Cow::Borrowed(&[4, 1]))));
    }

    #[test]
    fn what_is_no_packet_is_told() {
        assert_eq!(text(""), Err(PacketFault::Empty));
        assert_eq!(text("7"), Err(PacketFault::Kind('7')));
        assert_eq!(text("<html>"), Err(PacketFault::Kind('<')));
        assert_eq!(text("b*"), Err(PacketFault::Base64));
        let Err(PacketFault::Open(why)) = text("0{}") else { unreachable!("there is no sid") };
        assert_eq!(why, "missing field `sid` at line 1 column 2");
    }

    #[test]
    fn a_payload_has_several_packets() {
        let packets = read_payload("4hello\u{1e}2\u{1e}bAQIDBA==\u{1e}bAQIDBA", 4);
        let bytes = Packet::Binary(Cow::Borrowed(&[1, 2, 3, 4]));
        let expected =
            vec![Packet::Text("hello".into()), Packet::Ping("".into()), bytes.clone(), bytes];
        assert_eq!(packets.as_ref(), Ok(&expected));
        assert_eq!(write_payload(&expected[..3]), "4hello\u{1e}2\u{1e}bAQIDBA==");
        assert_eq!(read_payload("2\u{1e}2\u{1e}2", 2), Err(PacketFault::Packets { max: 2 }));
        assert_eq!(read_payload("2\u{1e}", 2), Err(PacketFault::Empty));
    }

    #[test]
    fn a_payload_of_engine_io_3_is_known() {
        assert_eq!(read_payload(r#"97:0{"sid":"a"}"#, 4), Err(PacketFault::Engine3));
        assert_eq!(read_payload("2:40", 4), Err(PacketFault::Engine3));
        assert_eq!(read_payload("42[\"a:1\"]", 4).map(|packets| packets.len()), Ok(1));
    }

    #[test]
    fn an_interval_of_zero_is_taken() {
        let Ok(Packet::Open(open)) = text(r#"0{"sid":"a","pingInterval":0,"pingTimeout":200}"#)
        else {
            unreachable!("it is whole")
        };
        assert_eq!((open.ping_interval_ms, open.payload_bytes_max), (0, None));
        assert_eq!(open.upgrades, Vec::<String>::new());
    }

    fn any_packet() -> impl Strategy<Value = Packet<'static>> {
        let open = (".*", proptest::collection::vec(".*", 0..3), any::<u64>(), any::<u64>())
            .prop_map(|(sid, upgrades, ping_interval_ms, ping_timeout_ms)| {
                let payload_bytes_max = (ping_timeout_ms % 2 == 0).then_some(ping_interval_ms);
                Packet::Open(Open {
                    sid,
                    upgrades,
                    ping_interval_ms,
                    ping_timeout_ms,
                    payload_bytes_max,
                })
            });
        prop_oneof![
            open,
            Just(Packet::Close),
            "[^\u{1e}]*".prop_map(|text| Packet::Ping(text.into())),
            "[^\u{1e}]*".prop_map(|text| Packet::Pong(text.into())),
            "[^\u{1e}]*".prop_map(|text| Packet::Text(text.into())),
            any::<Vec<u8>>().prop_map(|bytes| Packet::Binary(bytes.into())),
            Just(Packet::Upgrade),
            Just(Packet::Noop),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packets in proptest::collection::vec(any_packet(), 1..8)) {
            for packet in &packets {
                prop_assert_eq!(&read_frame(write_frame(packet)), &Ok(packet.clone()));
            }
            let payload = write_payload(&packets);
            prop_assert_eq!(read_payload(&payload, packets.len()), Ok(packets));
        }

        #[test]
        fn no_text_is_too_much(text in any::<String>(), payload in "[0-9b\u{1e}:{}a]*") {
            drop((read_frame(Frame::Text(text.as_str().into())), read_payload(&text, 16)));
            if let Ok(packets) = read_payload(&payload, 16) {
                prop_assert!((1..=16).contains(&packets.len()));
            }
        }
    }
}
