//! What was seen of a hop, rung by rung.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oh_model::check::{Check, Verdict};
use oh_probe::dial::Timed;
use oh_probe::failure::Failure;
use oh_probe::http1::Answer;
use oh_probe::ladder::{Ended, Ladder, UpgradeAnswer};
use oh_probe::raw::{self, First};
use oh_probe::reach::Reached;
use oh_probe::signature::{self, Common, Polling};
use oh_probe::socketio::End;
use oh_probe::tls::Handshake;

use crate::climbed::Climbed;
use crate::hops::Hop;

/// How many days before its end a certificate is told of.
const DAYS_LEFT_MIN: i64 = 14;

/// How many characters of an answer are shown.
const BODY_CHARS_MAX: usize = 60;

/// How many names of a certificate are shown.
const NAMES_SHOWN: usize = 3;

/// Makes the rungs of a hop, also of those that were not reached.
pub(crate) fn rungs(hop: &Hop, climbed: &Climbed) -> Vec<Check> {
    match climbed {
        Climbed::SocketIo(ladder) => socket_io(hop, ladder),
        Climbed::Raw(ladder) => {
            let mut rungs = Rungs::begin(hop, ladder.reached.as_ref());
            rungs.upgrade(ladder.upgrade.as_ref());
            rungs.first(ladder);
            rungs.all
        }
    }
}

/// The rungs of Socket.IO.
pub(crate) fn socket_io(hop: &Hop, ladder: &Ladder) -> Vec<Check> {
    let mut rungs = Rungs::begin(hop, ladder.reached.as_ref());
    rungs.upgrade(ladder.upgrade.as_ref());
    rungs.polling(ladder);
    rungs.open(ladder);
    rungs.connect(ladder);
    rungs.all
}

struct Rungs {
    group: &'static str,
    all: Vec<Check>,
}

impl Rungs {
    /// Begins with the way to the server.
    fn begin(hop: &Hop, reached: Option<&Reached>) -> Self {
        let mut rungs = Self { group: hop.name.word(), all: Vec::new() };
        match reached {
            Some(reached) => rungs.reached(hop, reached),
            None => rungs.not_reached("tcp"),
        }
        rungs
    }

    fn add(&mut self, name: &str, verdict: Verdict, took: Duration, said: impl Into<String>) {
        let took_us = Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.push(name, verdict, took_us, said.into());
    }

    fn not_reached(&mut self, name: &str) {
        self.push(name, Verdict::NotReached, None, String::new());
    }

    fn push(&mut self, name: &str, verdict: Verdict, took_us: Option<u64>, said: String) {
        let (name, group) = (name.to_owned(), self.group.to_owned());
        self.all.push(Check { name, group, verdict, said, took_us, cause: None });
    }

    fn reached(&mut self, hop: &Hop, reached: &Reached) {
        if let Some(Timed { took, value }) = &reached.dns {
            let host = &hop.way.target.host;
            match value {
                Ok(addresses) => {
                    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                    self.add(
                        "dns",
                        Verdict::Passed,
                        *took,
                        format!("{host} -> {}", shown.join(", ")),
                    );
                }
                Err(failure) => {
                    self.add("dns", Verdict::Failed, *took, format!("{host}: {failure}"));
                }
            }
        }
        for (address, Timed { took, value }) in &reached.tcp {
            match value {
                Ok(()) => self.add("tcp", Verdict::Passed, *took, address.to_string()),
                Err(failure) => {
                    self.add("tcp", Verdict::Failed, *took, format!("{address}: {failure}"));
                }
            }
        }
        // Where one address of several answers, those before it only cost time.
        let has_connected = reached.tcp.last().is_some_and(|(_, last)| last.value.is_ok());
        if has_connected {
            let failed = self.all.iter_mut().filter(|check| check.name == "tcp");
            failed
                .filter(|check| check.verdict == Verdict::Failed)
                .for_each(|check| check.verdict = Verdict::Warned);
        }
        if reached.tcp.is_empty() {
            self.not_reached("tcp");
        }
        if let Some(Timed { took, value }) = &reached.proxy {
            match value {
                Ok(()) => self.add("proxy", Verdict::Passed, *took, "connects"),
                Err(failure) => self.add("proxy", Verdict::Failed, *took, failure.to_string()),
            }
        }
        if hop.way.target.is_tls {
            self.tls(hop, reached.tls.as_ref());
        }
    }

    fn tls(&mut self, hop: &Hop, tls: Option<&Timed<Result<Handshake, Failure>>>) {
        let Some(Timed { took, value }) = tls else { return self.not_reached("tls") };
        match value {
            Err(failure) => self.add("tls", Verdict::Failed, *took, failure.to_string()),
            Ok(handshake) => {
                let (said, days_left) = described(handshake);
                match &handshake.verdict {
                    Ok(()) if days_left.is_some_and(|days| days < DAYS_LEFT_MIN) => {
                        self.add("tls", Verdict::Warned, *took, said);
                    }
                    Ok(()) => self.add("tls", Verdict::Passed, *took, said),
                    Err(distrust) => {
                        let is_taken = hop.way.takes_any_certificate;
                        let verdict = if is_taken { Verdict::Warned } else { Verdict::Failed };
                        self.add("tls", verdict, *took, format!("{distrust}; {said}"));
                    }
                }
            }
        }
    }

    fn upgrade(&mut self, upgrade: Option<&Timed<Result<UpgradeAnswer, Failure>>>) {
        let Some(Timed { took, value }) = upgrade else { return self.not_reached("upgrade") };
        match value {
            Err(failure) => self.add("upgrade", Verdict::Failed, *took, failure.to_string()),
            Ok(upgrade) if upgrade.is_open() => self.add("upgrade", Verdict::Passed, *took, "101"),
            Ok(upgrade) => {
                let said = match &upgrade.fault {
                    Some(fault) => format!("101, {fault}"),
                    None => answered(&upgrade.answer),
                };
                self.add("upgrade", Verdict::Failed, *took, said);
            }
        }
    }

    /// What came over a WebSocket that has no protocol of its own.
    fn first(&mut self, ladder: &raw::Ladder) {
        let Some(Timed { took, value }) = &ladder.first else { return self.not_reached("frames") };
        let said = match value {
            First::Text(text) => format!("a text: {}", shortened(text)),
            First::Binary(bytes) => format!("{bytes} bytes"),
            First::Quiet(_) => "open, and the server waits for us".to_owned(),
            First::Ended(end) if value.is_no_conversation() => {
                format!("{}, as is right for an id that nobody has", end_text(end))
            }
            First::Ended(end) => end_text(end),
        };
        let verdict = if raw::connects(ladder) { Verdict::Passed } else { Verdict::Failed };
        self.add("frames", verdict, *took, said);
    }

    /// A page that connects by a WebSocket alone needs no polling; others begin with it.
    fn polling(&mut self, ladder: &Ladder) {
        let Some(Timed { took, value }) = &ladder.polling else {
            return self.not_reached("polling");
        };
        match value {
            Err(failure) => self.add("polling", Verdict::Warned, *took, failure.to_string()),
            Ok(answer) => {
                let is_open = matches!(signature::of_polling(answer), Polling::Opened(_));
                let verdict = if is_open { Verdict::Passed } else { Verdict::Warned };
                self.add("polling", verdict, *took, polled(answer));
            }
        }
    }

    fn open(&mut self, ladder: &Ladder) {
        let Some(Timed { took, value }) = &ladder.open else {
            return self.not_reached("engine.io");
        };
        match value {
            Ok(open) => {
                let said = format!(
                    "heartbeat each {} s, or ended after {} s",
                    shown_s(open.ping_interval_ms),
                    shown_s(open.silence_max_ms())
                );
                self.add("engine.io", Verdict::Passed, *took, said);
            }
            Err(ended) => self.add("engine.io", Verdict::Failed, *took, ended_text(ended)),
        }
    }

    fn connect(&mut self, ladder: &Ladder) {
        let Some(Timed { took, value }) = &ladder.connect else {
            return self.not_reached("socket.io");
        };
        match value {
            Ok(connected) => {
                let said = match (&connected.refused, connected.events.len()) {
                    (Some(reason), _) => format!("the application answers: {reason}"),
                    (None, 0) => "connected".to_owned(),
                    (None, count) => format!("connected, {count} events before"),
                };
                self.add("socket.io", Verdict::Passed, *took, said);
            }
            Err(ended) => self.add("socket.io", Verdict::Failed, *took, ended_text(ended)),
        }
    }
}

/// Describes a handshake, and says how many days its certificate has left.
fn described(handshake: &Handshake) -> (String, Option<i64>) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    let Some(certificate) = &handshake.certificate else {
        return (format!("{}, a certificate that cannot be read", handshake.version), None);
    };
    let days = certificate.days_left(now_s);
    let mut names =
        certificate.names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match certificate.names.len() {
        0 => "no name".clone_into(&mut names),
        count if count > NAMES_SHOWN => {
            names.push_str(&format!(" and {} more", count - NAMES_SHOWN));
        }
        _ => {}
    }
    let left = match days {
        i64::MIN..0 => "expired".to_owned(),
        0 => "ends today".to_owned(),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    };
    (format!("{}, {names}, {left}", handshake.version), Some(days))
}

/// Writes an answer on one line: its status, and what it says.
pub(crate) fn answered(answer: &Answer) -> String {
    let status = answer.status;
    let what = match signature::of_any(answer) {
        Common::Page => "a page of HTML".to_owned(),
        Common::Redirect(location) => format!("to {location}"),
        _ if answer.media_type().as_deref() == Some("text/html") => {
            title(&answer.text()).unwrap_or_else(|| "a page of HTML".to_owned())
        }
        _ => shortened(answer.text().trim()),
    };
    if status == 101 {
        "101".to_owned()
    } else if what.is_empty() {
        format!("{status} without a word")
    } else {
        format!("{status} {what}")
    }
}

/// Writes the answer to a poll on one line.
pub(crate) fn polled(answer: &Answer) -> String {
    match signature::of_polling(answer) {
        Polling::Opened(_) => format!("{}, opens a session", answer.status),
        _ => answered(answer),
    }
}

/// The title of a page, as nginx's own pages have one.
fn title(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    Some(format!("page {:?}", shortened(title)))
}

fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(BODY_CHARS_MAX).collect();
    if text.chars().count() > BODY_CHARS_MAX {
        out.push('…');
    }
    out.replace(['\n', '\r'], " ")
}

pub(crate) fn ended_text(ended: &Ended) -> String {
    match ended {
        Ended::Quiet(due) => format!("nothing within {} ms", due.as_millis()),
        Ended::Dismissed => "the server ended it".to_owned(),
        Ended::End(end) => end_text(end),
    }
}

pub(crate) fn end_text(end: &End) -> String {
    match end {
        End::Closed { code: None, .. } => "closed without a code".to_owned(),
        End::Closed { code: Some(code), reason } if reason.is_empty() => format!("closed, {code}"),
        End::Closed { code: Some(code), reason } => {
            format!("closed, {code} {:?}", shortened(reason))
        }
        End::Cut(failure) => format!("cut without a goodbye: {failure}"),
        End::Nonsense(fault) => format!("no packet of Socket.IO: {fault}"),
        End::NoFrame(fault) => format!("no frame of a WebSocket: {fault}"),
        End::Silent(limit) => format!("silent for more than {} s", limit.as_secs()),
    }
}

fn shown_s(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{}", ms / 1000)
    } else {
        format!("{}.{:03}", ms / 1000, ms % 1000)
    }
}
