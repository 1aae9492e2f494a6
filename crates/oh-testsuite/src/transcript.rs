//! Recorded exchanges with a real program, played against whatever answers at an address.
//!
//! The same file proves the stand-in and the real server: equal transcripts on both.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::net;

pub mod facts;

/// The version of the fixture format that is read here.
const SCHEMA: u32 = 1;

/// A recording of one program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The version of this format.
    pub schema: u32,
    /// The program that was recorded, with its version.
    pub program: String,
    /// Requests with their answers.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// WebSockets with their frames.
    #[serde(default)]
    pub sockets: Vec<Socket>,
}

/// One request and what is known of its answer; what is left out was not recorded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The path with its query.
    pub path: String,
    /// Headers that the request carries.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The status.
    pub status: u16,
    /// How the content type begins.
    pub content_type: Option<String>,
    /// Headers that the answer carries.
    #[serde(default)]
    pub answer_headers: BTreeMap<String, String>,
    /// The body as JSON, compared as a value.
    pub json: Option<Value>,
    /// The keys that the body, a JSON object, has at least.
    pub keys: Option<Vec<String>>,
    /// The body as text, session ids replaced by `*`.
    pub text: Option<String>,
    /// Whether the body is the same as for a path that cannot exist.
    #[serde(default)]
    pub same_as_unknown: bool,
}

/// One WebSocket: what is sent and received in turn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// The path with its query.
    pub path: String,
    /// The status of the handshake.
    pub status: u16,
    /// The body where the handshake was refused.
    pub refusal: Option<String>,
    /// The frames in their order.
    #[serde(default)]
    pub frames: Vec<Frame>,
}

/// A text frame; session ids are replaced by `*`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// From the client to the server.
    Send(String),
    /// From the server to the client.
    Receive(String),
}

/// Reads a recording.
///
/// # Errors
///
/// When the file cannot be read, is no recording, or is of another version.
pub fn read(file: &Path) -> Result<Recording> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("could not read {name}"))?;
    let recording: Recording =
        serde_json::from_str(&text).with_context(|| format!("{name} is not a recording"))?;
    ensure!(recording.schema == SCHEMA, "{name} has schema {}", recording.schema);
    Ok(recording)
}

/// Plays a recording against a base URL and returns every difference as a sentence.
///
/// # Errors
///
/// When no answer comes at all.
pub fn differences(base: &str, recording: &Recording) -> Result<Vec<String>> {
    let unknown = net::get(&format!("{base}/a-path-that-cannot-exist-8f1c"), &[])?;
    let mut found = Vec::new();
    for exchange in &recording.exchanges {
        compare_exchange(base, exchange, &unknown, &mut found)?;
    }
    for socket in &recording.sockets {
        compare_socket(base, socket, &mut found)?;
    }
    Ok(found)
}

/// Receives the next Engine.IO packet that is no ping, and answers pings as a client has to.
///
/// A server may ping whenever it likes: engineioxide does at once, python-engineio only after
/// `pingInterval`. So a ping may stand before any other answer.
///
/// # Errors
///
/// As [`net::receive_text`].
pub fn receive_packet(socket: &mut net::WebSocket) -> Result<String> {
    loop {
        let packet = net::receive_text(socket)?;
        if packet != "2" {
            return Ok(packet);
        }
        net::send_text(socket, "3")?;
    }
}

fn compare_exchange(
    base: &str,
    expected: &Exchange,
    unknown: &net::Answer,
    found: &mut Vec<String>,
) -> Result<()> {
    let headers: Vec<(&str, &str)> =
        expected.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let answer = net::get(&format!("{base}{}", expected.path), &headers)?;
    let mut differs = |what: &str, is: String, recorded: String| {
        found.push(format!("{}: {what} is {is}, recorded was {recorded}", expected.path));
    };
    if answer.status != expected.status {
        differs("status", answer.status.to_string(), expected.status.to_string());
    }
    let content_type = answer.header("Content-Type").unwrap_or_default();
    if let Some(recorded) = &expected.content_type
        && !content_type.starts_with(recorded)
    {
        differs("content type", content_type.to_owned(), recorded.clone());
    }
    for (key, recorded) in &expected.answer_headers {
        if answer.header(key) != Some(recorded) {
            differs(key, format!("{:?}", answer.header(key)), recorded.clone());
        }
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(recorded) = &expected.json
        && json != *recorded
    {
        differs("body", answer.text(), recorded.to_string());
    }
    for key in expected.keys.iter().flatten().filter(|key| json.get(key).is_none()) {
        differs("body", answer.text(), format!("an object with {key:?}"));
    }
    let text = without_session(&answer.text());
    if let Some(recorded) = &expected.text
        && !same_packet(&text, recorded)
    {
        differs("body", text, recorded.clone());
    }
    if expected.same_as_unknown && answer.body != unknown.body {
        differs("body", answer.text(), "that of an unknown path".to_owned());
    }
    Ok(())
}

fn compare_socket(base: &str, expected: &Socket, found: &mut Vec<String>) -> Result<()> {
    let mut differs = |what: &str, is: &str, recorded: &str| {
        found.push(format!("{}: {what} is {is}, recorded was {recorded}", expected.path));
    };
    let upgrade = net::upgrade(&format!("{base}{}", expected.path), &[])?;
    let status = upgrade.status();
    if status != expected.status {
        differs("handshake", &status.to_string(), &expected.status.to_string());
        return Ok(());
    }
    let mut socket = match upgrade {
        net::Upgrade::Open(socket) => socket,
        net::Upgrade::Refused(answer) => {
            let recorded = expected.refusal.as_deref().unwrap_or_default();
            if answer.text() != recorded {
                differs("refusal", &answer.text(), recorded);
            }
            return Ok(());
        }
    };
    for frame in &expected.frames {
        match frame {
            Frame::Send(text) => net::send_text(&mut socket, text)?,
            Frame::Receive(recorded) => {
                let text = without_session(&receive_packet(&mut socket)?);
                if !same_packet(&text, recorded) {
                    differs("frame", &text, recorded);
                }
            }
        }
    }
    Ok(())
}

/// Compares two texts; where both are packets (digits, then JSON), the order of keys is free.
fn same_packet(text: &str, recorded: &str) -> bool {
    let split = |packet: &str| -> Option<(String, Value)> {
        let json = packet.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let kind = packet.strip_suffix(json)?.to_owned();
        Some((kind, serde_json::from_str(json).ok()?))
    };
    text == recorded || split(text).is_some_and(|packet| Some(packet) == split(recorded))
}

/// Replaces the value of every `"sid"`, which is another one in every run.
fn without_session(text: &str) -> String {
    let mut parts = text.split("\"sid\":\"");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('"').map(|(_, rest)| rest).unwrap_or_default();
        clean.push_str("\"sid\":\"*\"");
        clean.push_str(rest);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_free_and_nothing_else_is() {
        assert!(same_packet(r#"0{"a":1,"b":2}"#, r#"0{"b":2,"a":1}"#));
        assert!(!same_packet(r#"0{"a":1}"#, r#"1{"a":1}"#));
        assert!(!same_packet(r#"42["a","b"]"#, r#"42["b","a"]"#));
        assert!(!same_packet("40", "41"));
    }

    #[test]
    fn a_session_id_is_taken_out() {
        assert_eq!(without_session(r#"0{"sid":"abc","x":1}"#), r#"0{"sid":"*","x":1}"#);
        assert_eq!(without_session("40"), "40");
    }
}
