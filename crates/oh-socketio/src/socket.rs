//! Socket.IO 5: the packets, each within a message of Engine.IO.
//!
//! `<kind>[<attachments>-][<namespace>,][<ack id>][JSON]`; the attachments of a binary packet follow it, a
//! binary message each.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// The namespace where nothing else is said.
pub const MAIN_NAMESPACE: &str = "/";

/// How many attachments a packet may announce.
pub const ATTACHMENTS_MAX: usize = 64;

/// The kind of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `0`: the client asks for a namespace, or the server gives it.
    Connect,
    /// `1`: the sender leaves the namespace.
    Disconnect,
    /// `2`: an event.
    Event,
    /// `3`: the answer to an event that had an id.
    Ack,
    /// `4`: the server refuses the namespace.
    ConnectError,
    /// `5`: an event with attachments.
    BinaryEvent,
    /// `6`: an answer with attachments.
    BinaryAck,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    const fn digit(self) -> char {
        match self {
            Self::Connect => '0',
            Self::Disconnect => '1',
            Self::Event => '2',
            Self::Ack => '3',
            Self::ConnectError => '4',
            Self::BinaryEvent => '5',
            Self::BinaryAck => '6',
        }
    }

    const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// One packet, without its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which namespace it concerns; begins with `/`.
    pub namespace: Cow<'a, str>,
    /// The id of an event that wants an answer, or of the answer.
    pub ack: Option<u64>,
    /// How many attachments follow; zero for what is not binary.
    pub attachments: usize,
    /// JSON, whole and of the shape that the kind wants, as it was written.
    pub data: Option<Cow<'a, str>>,
}

/// Says why a message is no packet of Socket.IO 5.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketFault {
    /// It begins with something that is no kind of packet.
    #[error("a packet of Socket.IO begins with {0:?}, expected a digit from 0 to 6")]
    Kind(Option<char>),
    /// A binary packet does not say how many attachments it has.
    #[error("a binary packet of Socket.IO does not say how many attachments follow")]
    Attachments,
    /// It announces more attachments than are taken.
    #[error("a packet of Socket.IO announces {announced} attachments, more than {ATTACHMENTS_MAX}")]
    TooManyAttachments {
        /// How many it announces.
        announced: u64,
    },
    /// The id of an answer is no number of 64 bits.
    #[error("the id of an answer of Socket.IO is too large")]
    AckId,
    /// An answer has no id.
    #[error("an answer of Socket.IO has no id")]
    NoAckId,
    /// What it carries is no JSON.
    #[error("what a packet of Socket.IO carries is no JSON")]
    Json,
    /// What it carries is JSON, and not of the shape that its kind wants.
    #[error("what a packet of Socket.IO carries is not {expected}")]
    Shape {
        /// What has to be there.
        expected: &'static str,
    },
    /// A placeholder names an attachment that was not announced.
    #[error("a placeholder of Socket.IO names attachment {number} of {announced}")]
    Placeholder {
        /// The number of it.
        number: u64,
        /// How many were announced.
        announced: usize,
    },
}

/// Reads a packet from the text of a message.
///
/// A refusal may carry any JSON, or none: python-socketio sends a text, others `null`.
///
/// # Errors
/// [`PacketFault`].
pub fn read(text: &str) -> Result<Packet<'_>, PacketFault> {
    let first = text.chars().next();
    let kind = Kind::ALL.into_iter().find(|kind| Some(kind.digit()) == first);
    let kind = kind.ok_or(PacketFault::Kind(first))?;
    let rest = text.strip_prefix(kind.digit()).unwrap_or_default();
    let (attachments, rest) = read_attachments(kind, rest)?;
    let (namespace, rest) = read_namespace(rest);
    let (ack, rest) = read_ack(rest)?;
    if ack.is_none() && matches!(kind, Kind::Ack | Kind::BinaryAck) {
        return Err(PacketFault::NoAckId);
    }
    let data = (!rest.is_empty()).then_some(rest);
    judge_data(kind, data)?;
    if kind.is_binary() {
        judge_placeholders(data.unwrap_or_default(), attachments)?;
    }
    let (namespace, data) = (Cow::Borrowed(namespace), data.map(Cow::Borrowed));
    Ok(Packet { kind, namespace, ack, attachments, data })
}

/// Writes the text of the message that carries a packet.
pub fn write(packet: &Packet<'_>) -> String {
    let mut text = String::new();
    text.push(packet.kind.digit());
    if packet.kind.is_binary() {
        text.push_str(&format!("{}-", packet.attachments));
    }
    if packet.namespace != MAIN_NAMESPACE {
        text.push_str(&format!("{},", packet.namespace));
    }
    if let Some(id) = packet.ack {
        text.push_str(&id.to_string());
    }
    text.push_str(packet.data.as_deref().unwrap_or_default());
    text
}

impl<'a> Packet<'a> {
    /// Makes one of the main namespace that carries nothing.
    pub const fn bare(kind: Kind) -> Self {
        let namespace = Cow::Borrowed(MAIN_NAMESPACE);
        Self { kind, namespace, ack: None, attachments: 0, data: None }
    }

    /// Takes what it borrows into it.
    pub fn into_owned(self) -> Packet<'static> {
        Packet {
            kind: self.kind,
            namespace: Cow::Owned(self.namespace.into_owned()),
            ack: self.ack,
            attachments: self.attachments,
            data: self.data.map(|data| Cow::Owned(data.into_owned())),
        }
    }
}

/// Returns the name of an event, of the array that its packet carries; a number in digits.
pub fn event_name(data: &str) -> Option<String> {
    match serde_json::from_str(head(data)?.get()).ok()? {
        serde_json::Value::String(name) => Some(name),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns what an event carries behind its name, each as its JSON was written; at most `max` of them.
pub fn event_arguments(data: &str, max: usize) -> Vec<&str> {
    let mut json = serde_json::Deserializer::from_str(data);
    let arguments = json.deserialize_seq(Arguments { skip: 1, max });
    arguments.map(|raw| raw.into_iter().map(RawValue::get).collect()).unwrap_or_default()
}

/// Returns the reason of a refusal, of what its packet carries: the `message` of an object, or a text.
pub fn refusal(data: Option<&str>) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal<'j> {
        #[serde(borrow)]
        message: Cow<'j, str>,
    }
    let data = data?;
    let object =
        serde_json::from_str::<Refusal<'_>>(data).map(|refusal| refusal.message.into_owned());
    object.or_else(|_| serde_json::from_str(data)).ok()
}

/// Returns the id that the server gives to a connected client.
pub fn connected_sid(data: Option<&str>) -> Option<String> {
    #[derive(Deserialize)]
    struct Connected<'j> {
        #[serde(borrow)]
        sid: Cow<'j, str>,
    }
    serde_json::from_str::<Connected<'_>>(data?).ok().map(|connected| connected.sid.into_owned())
}

fn read_attachments(kind: Kind, text: &str) -> Result<(usize, &str), PacketFault> {
    if !kind.is_binary() {
        return Ok((0, text));
    }
    let (number, rest) = text.split_once('-').ok_or(PacketFault::Attachments)?;
    let announced: u64 = digits(number).ok_or(PacketFault::Attachments)?;
    match usize::try_from(announced) {
        Ok(attachments) if attachments <= ATTACHMENTS_MAX => Ok((attachments, rest)),
        _ => Err(PacketFault::TooManyAttachments { announced }),
    }
}

fn read_namespace(text: &str) -> (&str, &str) {
    if !text.starts_with('/') {
        return (MAIN_NAMESPACE, text);
    }
    text.split_once(',').unwrap_or((text, ""))
}

fn read_ack(text: &str) -> Result<(Option<u64>, &str), PacketFault> {
    let rest = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number = text.strip_suffix(rest).unwrap_or_default();
    if number.is_empty() {
        return Ok((None, text));
    }
    digits(number).map(|id| (Some(id), rest)).ok_or(PacketFault::AckId)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn judge_data(kind: Kind, data: Option<&str>) -> Result<(), PacketFault> {
    let begins = match data {
        Some(json) if serde_json::from_str::<IgnoredAny>(json).is_ok() => {
            json.trim_start().bytes().next()
        }
        Some(_) => return Err(PacketFault::Json),
        None => None,
    };
    let expected = match (kind, begins) {
        (Kind::Connect, None | Some(b'{')) | (Kind::Disconnect, None) | (Kind::ConnectError, _) => {
            return Ok(());
        }
        (Kind::Ack | Kind::BinaryAck, Some(b'[')) => return Ok(()),
        (Kind::Event | Kind::BinaryEvent, Some(b'[')) => {
            let name = data.and_then(head).map(RawValue::get);
            let is_name =
                name.is_some_and(|name| name.starts_with(['"', '-']) || digit_first(name));
            if is_name {
                return Ok(());
            }
            "an array that begins with the name of an event"
        }
        (Kind::Event | Kind::BinaryEvent, _) => "an array that begins with the name of an event",
        (Kind::Ack | Kind::BinaryAck, _) => "an array",
        (Kind::Connect, _) => "an object",
        (Kind::Disconnect, _) => "nothing",
    };
    Err(PacketFault::Shape { expected })
}

fn digit_first(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns the first of an array, without keeping the others.
fn head(data: &str) -> Option<&RawValue> {
    let mut json = serde_json::Deserializer::from_str(data);
    json.deserialize_seq(Arguments { skip: 0, max: 1 }).ok()?.into_iter().next()
}

/// Some of an array, each as it was written; the others are gone over.
struct Arguments {
    skip: usize,
    max: usize,
}

impl<'de> Visitor<'de> for Arguments {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        for _ in 0..self.skip {
            if array.next_element::<IgnoredAny>()?.is_none() {
                return Ok(kept);
            }
        }
        while kept.len() < self.max {
            match array.next_element::<&RawValue>()? {
                Some(raw) => kept.push(raw),
                None => return Ok(kept),
            }
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

/// Demands that each placeholder names an attachment that was announced.
fn judge_placeholders(data: &str, announced: usize) -> Result<(), PacketFault> {
    let mut highest = None;
    let mut json = serde_json::Deserializer::from_str(data);
    // Deeper than the reader goes is told here, as a text that is no JSON.
    Placeholders(&mut highest).deserialize(&mut json).map_err(|_| PacketFault::Json)?;
    match highest {
        Some(number) if number >= announced as u64 => {
            Err(PacketFault::Placeholder { number, announced })
        }
        _ => Ok(()),
    }
}

/// Looks for `{"_placeholder":true,"num":N}` wherever it stands, and keeps the highest number.
struct Placeholders<'h>(&'h mut Option<u64>);

impl<'de> DeserializeSeed<'de> for Placeholders<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

/// What stands at a place: whole numbers and `true` matter, as the fields of a placeholder.
impl<'de> Visitor<'de> for Placeholders<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.then_some(1))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element_seed(Placeholders(&mut *self.0))?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = object.next_key::<Cow<'de, str>>()? {
            let value = object.next_value_seed(Placeholders(&mut *self.0))?;
            match &*key {
                "_placeholder" => is_placeholder = value.is_some(),
                "num" => number = value,
                _ => {}
            }
        }
        if is_placeholder {
            *self.0 = (*self.0).max(Some(number.unwrap_or(u64::MAX)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_packets_of_the_specification_are_read() {
        let read = |text: &str| read(text).map(Packet::into_owned);
        let bare = Packet::bare;
        let with = |kind, data: &'static str| Packet { data: Some(data.into()), ..bare(kind) };
        assert_eq!(read("0"), Ok(bare(Kind::Connect)));
        assert_eq!(read(r#"0{"sid":"a"}"#), Ok(with(Kind::Connect, r#"{"sid":"a"}"#)));
        let admin = Packet { namespace: "/admin".into(), ..with(Kind::Connect, r#"{"sid":"a"}"#) };
        assert_eq!(read(r#"0/admin,{"sid":"a"}"#), Ok(admin));
        let left = Packet { namespace: "/admin".into(), ..bare(Kind::Disconnect) };
        assert_eq!(read("1/admin,"), Ok(left));
        assert_eq!(read(r#"2["foo"]"#), Ok(with(Kind::Event, r#"["foo"]"#)));
        let asked =
            Packet { namespace: "/admin".into(), ack: Some(12), ..with(Kind::Event, r#"["foo"]"#) };
        assert_eq!(read(r#"2/admin,12["foo"]"#), Ok(asked));
        let answered = Packet { ack: Some(13), ..with(Kind::Ack, r#"["bar"]"#) };
        assert_eq!(read(r#"313["bar"]"#), Ok(answered));
        let refused = with(Kind::ConnectError, r#"{"message":"Not authorized"}"#);
        assert_eq!(read(r#"4{"message":"Not authorized"}"#), Ok(refused));
        let data = r#"["baz",{"_placeholder":true,"num":0}]"#;
        let binary = Packet { attachments: 1, ..with(Kind::BinaryEvent, data) };
        assert_eq!(read(&format!("51-{data}")), Ok(binary));
        let data = r#"["bar",{"_placeholder":true,"num":0}]"#;
        let answer = Packet { attachments: 1, ack: Some(15), ..with(Kind::BinaryAck, data) };
        assert_eq!(read(&format!("61-15{data}")), Ok(answer));
    }

    #[test]
    fn what_is_no_packet_is_told() {
        let fault = |text: &str| read(text).err();
        assert_eq!(fault(""), Some(PacketFault::Kind(None)));
        assert_eq!(fault("abc"), Some(PacketFault::Kind(Some('a'))));
        assert_eq!(fault("9"), Some(PacketFault::Kind(Some('9'))));
        assert_eq!(fault(r#"5["a"]"#), Some(PacketFault::Attachments));
        assert_eq!(fault(r#"5-["a"]"#), Some(PacketFault::Attachments));
        let many = PacketFault::TooManyAttachments { announced: 65 };
        assert_eq!(fault(r#"565-["a"]"#), Some(many));
        assert_eq!(fault("399999999999999999999[]"), Some(PacketFault::AckId));
        assert_eq!(fault("3[]"), Some(PacketFault::NoAckId));
        assert_eq!(fault("2[\"a\""), Some(PacketFault::Json));
        for (text, expected) in [
            ("2", "an array that begins with the name of an event"),
            ("2{}", "an array that begins with the name of an event"),
            ("2[]", "an array that begins with the name of an event"),
            ("2[null]", "an array that begins with the name of an event"),
            ("31{}", "an array"),
            ("0[]", "an object"),
            ("1{}", "nothing"),
        ] {
            assert_eq!(fault(text), Some(PacketFault::Shape { expected }), "{text}");
        }
        let data = r#"["a",[{"b":{"num":1,"_placeholder":true}}]]"#;
        let placeholder = PacketFault::Placeholder { number: 1, announced: 1 };
        assert_eq!(fault(&format!("51-{data}")), Some(placeholder));
    }

    #[test]
    fn a_refusal_may_say_anything() {
        for (text, reason) in [
            (
                r#"4{"message":"No conversation_id in query params"}"#,
                Some("No conversation_id in query params"),
            ),
            (r#"4/vscode,"Unable to connect""#, Some("Unable to connect")),
            (r#"4/random,{"message":"Invalid namespace"}"#, Some("Invalid namespace")),
            ("4", None),
            ("4null", None),
            ("4[1]", None),
            (r#"4{"message":7}"#, None),
        ] {
            let packet = read(text).unwrap_or_else(|fault| unreachable!("{text}: {fault}"));
            assert_eq!(refusal(packet.data.as_deref()).as_deref(), reason, "{text}");
        }
    }

    #[test]
    fn an_event_is_taken_apart() {
        let data = r#"[ "oh_event", {"id": 1.0}, [2] ,null]"#;
        assert_eq!(event_name(data).as_deref(), Some("oh_event"));
        assert_eq!(event_name("[7]").as_deref(), Some("7"));
        assert_eq!(event_name("[]"), None);
        assert_eq!(event_arguments(data, 9), vec![r#"{"id": 1.0}"#, "[2]", "null"]);
        assert_eq!(event_arguments(data, 1), vec![r#"{"id": 1.0}"#]);
        assert_eq!(event_arguments("[]", 1), Vec::<&str>::new());
        assert_eq!(connected_sid(Some(r#"{"sid":"x","y":1}"#)).as_deref(), Some("x"));
        assert_eq!(connected_sid(None), None);
    }

    #[test]
    fn deep_json_is_told_and_kills_nothing() {
        let deep = format!("51-{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(read(&deep).is_err());
        let deep = format!("2[\"a\",{}{}]", "[".repeat(200_000), "]".repeat(200_000));
        let packet = read(&deep).unwrap_or_else(|fault| unreachable!("{fault}"));
        assert_eq!(event_name(&packet.data.unwrap_or_default()).as_deref(), Some("a"));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::vec(("[a-z_]*", inner), 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<serde_json::Value>()),
            ]
        })
    }

    fn any_packet() -> impl Strategy<Value = Packet<'static>> {
        let namespace = prop_oneof![Just("/".to_owned()), "/[^,]{1,9}"];
        let kind = prop_oneof![
            Just(Kind::Event),
            Just(Kind::Ack),
            Just(Kind::Connect),
            Just(Kind::ConnectError)
        ];
        (kind, namespace, any::<Option<u64>>(), ".*", any_json()).prop_map(
            |(kind, namespace, ack, name, json)| {
                let data = match kind {
                    Kind::Connect => serde_json::json!({ name: json }),
                    Kind::Event | Kind::Ack => serde_json::json!([name, json]),
                    // The digits of a number would be read as the id.
                    _ => serde_json::json!({ "message": name }),
                };
                let ack = match kind {
                    Kind::Ack => Some(ack.unwrap_or_default()),
                    Kind::Event => ack,
                    _ => None,
                };
                let (namespace, data) = (Cow::Owned(namespace), Some(Cow::Owned(data.to_string())));
                Packet { kind, namespace, ack, attachments: 0, data }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packet in any_packet()) {
            let text = write(&packet);
            prop_assert_eq!(read(&text), Ok(packet), "{}", text);
        }

        #[test]
        fn no_text_is_too_much(text in any::<String>(), near in r#"[0-6][0-9]{0,3}-?(/a,)?[0-9]{0,21}[\[\]{}"a:,0-9]*"#) {
            for text in [text, near] {
                if let Ok(packet) = read(&text) {
                    let data = packet.data.as_deref();
                    let _ = (event_name(data.unwrap_or_default()), event_arguments(data.unwrap_or_default(), 2));
                    let _ = (refusal(data), connected_sid(data));
                }
            }
        }
    }
}
