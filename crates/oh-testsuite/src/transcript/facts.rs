//! What a server answers to probes, as facts that are compared one by one with another server's.
//!
//! A recording knows what was once worth writing down; this asks two servers the same and holds
//! all of it against each other. Ids and times, which differ in every run, are taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{receive_packet, without_session};
use crate::net::{self, Answer, Request};

/// What is known: by probe and aspect, what was answered.
pub type Facts = BTreeMap<(String, String), String>;

/// A question to a server.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// One request.
    Http(Http),
    /// A WebSocket: the handshake, the first packet, and one answer to each packet that is sent.
    Socket {
        /// The path with its query.
        path: &'static str,
        /// What is sent, one after the other.
        sends: &'static [&'static str],
    },
    /// A session by polling: opened, connected to `/`, then sent messages of these lengths.
    Polling {
        /// The lengths in bytes.
        messages: &'static [usize],
    },
    /// Many requests for this path at once: are some refused as too many?
    Burst {
        /// The path.
        path: &'static str,
    },
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    /// The method.
    pub method: &'static str,
    /// The path with its query.
    pub path: &'static str,
    /// Headers to add.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body, JSON where it is not empty.
    pub body: &'static str,
    /// What of the answer's body is a fact.
    pub answer: Body,
}

/// What of a body is a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole,
    /// Of a JSON value, where which types are.
    Types,
    /// Of a JSON value, these leaves.
    Leaves(&'static [&'static str]),
}

/// The headers that browsers and checkers act on.
const HEADERS: [&str; 10] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-max-age",
    "allow",
    "cache-control",
    "content-type",
    "location",
    "vary",
];

/// How many requests are sent at once: OpenHands refuses from the 21st within a second.
const BURST_REQUESTS: usize = 40;

/// How many times that is tried before it counts as "none is refused".
const BURSTS_MAX: usize = 5;

/// Engine.IO's mark between two packets in one body.
const SEPARATOR: char = '\u{1e}';

/// Asks a server everything.
///
/// # Errors
///
/// When no answer comes at all.
pub fn observe(base: &str, probes: &[Probe]) -> Result<Facts> {
    let page = net::get(&format!("{base}/a-path-that-cannot-exist-8f1c"), &[])?.body;
    let mut facts = Facts::new();
    for probe in probes {
        let subject = subject(probe);
        let mut note = |aspect: &str, is: String| {
            facts.insert((subject.clone(), aspect.to_owned()), is);
        };
        match probe {
            Probe::Http(http) => request(base, http, &page, &mut note),
            Probe::Socket { path, sends } => socket(&format!("{base}{path}"), sends, &mut note),
            Probe::Polling { messages } => polling(base, messages, &mut note),
            Probe::Burst { path } => burst(&format!("{base}{path}"), &mut note),
        }
        .with_context(|| subject.clone())?;
    }
    Ok(facts)
}

fn subject(probe: &Probe) -> String {
    match probe {
        Probe::Http(http) => {
            let headers = http.headers.iter().map(|(key, value)| format!(" {key}: {value}"));
            format!("{} {}{}", http.method, http.path, headers.collect::<String>())
        }
        Probe::Socket { path, .. } => format!("WebSocket {path}"),
        Probe::Polling { .. } => "polling".to_owned(),
        Probe::Burst { path } => format!("a burst of GET {path}"),
    }
}

fn request(
    base: &str,
    http: &Http,
    page: &[u8],
    note: &mut impl FnMut(&str, String),
) -> Result<()> {
    let url = format!("{base}{}", http.path);
    let mut headers = http.headers.to_vec();
    if !http.body.is_empty() {
        headers.push(("Content-Type", "application/json"));
    }
    let answer = net::send(&Request {
        method: http.method,
        headers: &headers,
        body: http.body.as_bytes(),
        ..Request::get(&url)
    })?;
    note("status", answer.status.to_string());
    for name in HEADERS {
        if let Some(value) = answer.header(name) {
            note(name, value.to_lowercase());
        }
    }
    if answer.body == page && !page.is_empty() {
        note("body", "the page".to_owned());
        return Ok(());
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(json) => leaves("body", &json, http.answer, note),
        Err(_) => note("body", packet(&answer.text())),
    }
    Ok(())
}

/// Notes each leaf of a JSON value under its path.
fn leaves(path: &str, json: &Value, body: Body, note: &mut impl FnMut(&str, String)) {
    match json {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(&format!("{path}.{key}"), value, body, note);
            }
        }
        leaf => match body {
            Body::Whole => note(path, leaf.to_string()),
            Body::Types => note(path, kind(leaf).to_owned()),
            Body::Leaves(wanted) if wanted.contains(&path) => note(path, leaf.to_string()),
            Body::Leaves(_) => {}
        },
    }
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn socket(url: &str, sends: &[&str], note: &mut impl FnMut(&str, String)) -> Result<()> {
    let upgrade = net::upgrade(url, &[])?;
    note("status", upgrade.status().to_string());
    let mut socket = match upgrade {
        net::Upgrade::Open(socket) => socket,
        net::Upgrade::Refused(answer) => {
            note("refusal", answer.text());
            return Ok(());
        }
    };
    note("first packet", packet(&receive_packet(&mut socket)?));
    for text in sends {
        net::send_text(&mut socket, text)?;
        note(&format!("answer to {text}"), packet(&receive_packet(&mut socket)?));
    }
    Ok(())
}

fn polling(base: &str, messages: &[usize], note: &mut impl FnMut(&str, String)) -> Result<()> {
    let url = format!("{base}/socket.io/?EIO=4&transport=polling");
    let open = net::get(&url, &[])?;
    note("first packet", packet(&open.text()));
    let json = open.text();
    let json: Value = serde_json::from_str(json.strip_prefix('0').unwrap_or_default())?;
    let url = format!("{url}&sid={}", json["sid"].as_str().context("no session id")?);
    let post = |body: &[u8]| net::send(&Request { method: "POST", body, ..Request::get(&url) });
    let said = |answer: &Answer| format!("{} {}", answer.status, answer.text());

    note("answer to 40", said(&post(b"40")?));
    note("packets after 40", packets(&url)?);
    for length in messages {
        // To a namespace that does not exist, so that it reaches nobody and is answered.
        let mut body = br#"40/nobody,{"x":""#.to_vec();
        body.resize(length.saturating_sub(2), b'x');
        body.extend(br#""}"#);
        // A server that has given the session up may close before it has read the whole message.
        let answer = post(&body).map_or_else(|_| "none".to_owned(), |answer| said(&answer));
        note(&format!("answer to {length} bytes"), answer);
    }
    Ok(())
}

/// Sends many requests at once, and again where a slow machine has spread them over seconds.
fn burst(url: &str, note: &mut impl FnMut(&str, String)) -> Result<()> {
    let mut refused = false;
    for _ in 0..BURSTS_MAX {
        let answers: Vec<_> = thread::scope(|scope| {
            let sent: Vec<_> =
                (0..BURST_REQUESTS).map(|_| scope.spawn(|| net::get(url, &[]))).collect();
            sent.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for answer in answers {
            refused |= answer?.status == 429;
        }
        if refused {
            break;
        }
    }
    note("some are refused with 429", refused.to_string());
    Ok(())
}

/// Polls until there is something else than pings, and returns it.
fn packets(url: &str) -> Result<String> {
    loop {
        let text = net::get(url, &[])?.text();
        let packets: Vec<String> =
            text.split(SEPARATOR).filter(|one| *one != "2").map(packet).collect();
        if !packets.is_empty() {
            return Ok(packets.join(" "));
        }
        net::send(&Request { method: "POST", body: b"3", ..Request::get(url) })?;
    }
}

/// Writes a packet so that two of one meaning are equal: ids taken out, keys in order.
fn packet(text: &str) -> String {
    let text = without_session(text);
    let json = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let kind = text.strip_suffix(json).unwrap_or_default();
    serde_json::from_str::<Value>(json).map_or(text.clone(), |json| format!("{kind}{json}"))
}

/// Something that two servers answer differently on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// The probe.
    pub subject: &'static str,
    /// What of its answer; `*` is all of it.
    pub aspect: &'static str,
    /// Why that is right.
    pub reason: &'static str,
}

/// Returns every fact that differs without an exception, and every exception without a difference.
pub fn differences(real: &Facts, other: &Facts, exceptions: &[Exception]) -> Vec<String> {
    let mut found = Vec::new();
    let mut used = vec![false; exceptions.len()];
    let keys: BTreeSet<_> = real.keys().chain(other.keys()).collect();
    for key in keys {
        let (subject, aspect) = key;
        let (is, should) = (other.get(key), real.get(key));
        if is == should {
            continue;
        }
        let excepted = exceptions
            .iter()
            .position(|one| one.subject == subject && ["*", aspect].contains(&one.aspect));
        if let Some(used) = excepted.and_then(|index| used.get_mut(index)) {
            *used = true;
        } else {
            found.push(format!("{subject}: {aspect} is {is:?}, of the real one {should:?}"));
        }
    }
    let unused = exceptions.iter().zip(used).filter(|(_, used)| !used);
    found.extend(unused.map(|(one, _)| {
        format!("{}: {}: an exception without a difference", one.subject, one.aspect)
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(value: &str) -> Facts {
        Facts::from([(("GET /".to_owned(), "status".to_owned()), value.to_owned())])
    }

    #[test]
    fn a_difference_needs_an_exception_and_an_exception_a_difference() {
        let exception = Exception { subject: "GET /", aspect: "status", reason: "a test" };
        assert_eq!(differences(&facts("200"), &facts("200"), &[]), Vec::<String>::new());
        assert_eq!(
            differences(&facts("200"), &facts("404"), &[]),
            ["GET /: status is Some(\"404\"), of the real one Some(\"200\")"]
        );
        assert_eq!(differences(&facts("200"), &facts("404"), &[exception]), Vec::<String>::new());
        assert_eq!(
            differences(&facts("200"), &facts("200"), &[exception]),
            ["GET /: status: an exception without a difference"]
        );
        assert_eq!(differences(&facts("200"), &Facts::new(), &[]).len(), 1);
    }

    #[test]
    fn packets_of_one_meaning_are_equal() {
        assert_eq!(packet(r#"0{"sid":"abc","a":1}"#), packet(r#"0{"a":1,"sid":"xyz"}"#));
        assert_ne!(packet(r#"0{"a":1}"#), packet(r#"4{"a":1}"#));
        assert_eq!(packet("40"), "40");
    }
}
