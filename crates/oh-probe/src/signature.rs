//! What an answer is, known by its body and not by its status alone.
//!
//! A status proves little here: OpenHands answers 200 with its page where there is nothing, uvicorn 403 without
//! a word to whatever it does not upgrade, and a proxy in between has answers of its own. The texts are those of
//! python-engineio 4, engine.io 6, uvicorn and nginx, as they were measured.

use oh_socketio::engine::Open;

use crate::http1::Answer;
use crate::ladder::UpgradeAnswer;
use crate::polling::opened_by;

/// What the answer to an upgrade is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// 101, as it has to be.
    Open,
    /// 101, and not as a browser takes it.
    Faulty,
    /// The server did not see that an upgrade was asked for: python-engineio says so, engine.io says
    /// `Bad request` under code 3.
    NotSeen,
    /// uvicorn saw `Upgrade` without `Connection: upgrade`: its application is asked for a WebSocket and cannot
    /// answer.
    HalfSeen,
    /// 403 without a word: what an ASGI server says of each WebSocket that its application refuses.
    Refused,
    /// A server of Engine.IO refuses, and says why.
    Told(Polling),
    /// Something that any path may be answered.
    Common(Common),
}

/// What the answer to a poll is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polling {
    /// A session was opened.
    Opened(Open),
    /// The server does not take this version, or was not told one: the query is lost.
    Version,
    /// The server does not take the page's origin.
    Origin(String),
    /// The server does not know the session.
    Session,
    /// The server does not offer the transport, or was not told one: the query is lost.
    Transport,
    /// A server of Engine.IO says something else.
    Engine(String),
    /// Something that any path may be answered.
    Common(Common),
}

/// What any path may be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Common {
    /// A page of HTML, where something else has to be: nobody serves the path, or its answer is hidden by a page.
    Page,
    /// Somebody else is to be asked.
    Redirect(String),
    /// A name and a password are wanted.
    Login,
    /// A proxy forbids it.
    Forbidden,
    /// There is nothing.
    Missing,
    /// A proxy takes no request of this size.
    TooLarge,
    /// There are too many requests or connections.
    TooMany,
    /// A proxy could not reach what is behind it.
    BadGateway,
    /// What is behind a proxy did not answer in time.
    GatewayTimeout,
    /// A request without TLS came to a port of TLS.
    PlainToTls,
    /// A proxy wants a certificate of the client.
    NoCertificate,
    /// nginx itself failed.
    OfNginx,
    /// Something else.
    Other(u16),
}

/// How many bytes of a reason are kept.
const REASON_BYTES_MAX: usize = 200;

/// Says what the answer to an upgrade is.
pub fn of_upgrade(upgrade: &UpgradeAnswer) -> Upgrade {
    let answer = &upgrade.answer;
    let text = answer.text();
    match answer.status {
        101 if upgrade.is_open() => Upgrade::Open,
        101 => Upgrade::Faulty,
        400 if text.contains("Invalid websocket upgrade") => Upgrade::NotSeen,
        400 if engine_code(&text) == Some(3) => Upgrade::NotSeen,
        500 if text.trim() == "Internal Server Error" => Upgrade::HalfSeen,
        403 if text.is_empty() => Upgrade::Refused,
        400 => match reason_of(&text) {
            Some(reason) => Upgrade::Told(reason),
            None => Upgrade::Common(of_any(answer)),
        },
        _ => Upgrade::Common(of_any(answer)),
    }
}

/// Says what the answer to a poll is.
pub fn of_polling(answer: &Answer) -> Polling {
    if let Some(open) = opened_by(answer) {
        return Polling::Opened(open);
    }
    let reason = Some(answer).filter(|answer| answer.status == 400);
    let reason = reason.and_then(|answer| reason_of(&answer.text()));
    reason.unwrap_or_else(|| Polling::Common(of_any(answer)))
}

/// Says why a server of Engine.IO refuses. engine.io writes a code where it answers a poll, and of an upgrade the
/// words alone.
fn reason_of(text: &str) -> Option<Polling> {
    let code = engine_code(text);
    if text.contains("unsupported version of the Socket.IO or Engine.IO protocol")
        || code == Some(5)
        || text == "Unsupported protocol version"
    {
        return Some(Polling::Version);
    }
    if let Some(origin) = text.trim_matches('"').strip_suffix(" is not an accepted origin.") {
        return Some(Polling::Origin(shortened(origin)));
    }
    if text.contains("Invalid session") || code == Some(1) || text == "Session ID unknown" {
        return Some(Polling::Session);
    }
    if text == "\"Invalid transport\"" || code == Some(0) || text == "Transport unknown" {
        return Some(Polling::Transport);
    }
    let is_reason = code.is_some() || text.starts_with("\"Invalid");
    is_reason.then(|| Polling::Engine(shortened(text)))
}

/// Says what an answer is that may be had of any path.
pub fn of_any(answer: &Answer) -> Common {
    let is_page = answer.media_type().as_deref() == Some("text/html");
    match answer.status {
        200 if is_page => Common::Page,
        301 | 302 | 303 | 307 | 308 => {
            Common::Redirect(answer.header("Location").map(shortened).unwrap_or_default())
        }
        400 if answer.text().contains("The plain HTTP request was sent to HTTPS port") => {
            Common::PlainToTls
        }
        400 if answer.text().contains("SSL certificate") => Common::NoCertificate,
        401 => Common::Login,
        403 => Common::Forbidden,
        404 => Common::Missing,
        413 => Common::TooLarge,
        429 | 503 => Common::TooMany,
        502 => Common::BadGateway,
        504 => Common::GatewayTimeout,
        500 if answer.text().contains("<center>nginx") => Common::OfNginx,
        other => Common::Other(other),
    }
}

/// The code of a fault of engine.io: `{"code":3,"message":"Bad request"}`.
fn engine_code(text: &str) -> Option<u8> {
    let rest = text.trim_start().strip_prefix("{\"code\":")?;
    rest.split_once(',')?.0.trim().parse().ok()
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media_type: &str, body: &str) -> Answer {
        Answer {
            status,
            headers: vec![("content-type".to_owned(), media_type.to_owned())],
            body: body.as_bytes().to_vec(),
            is_whole: true,
            rest: Vec::new(),
        }
    }

    #[test]
    fn an_upgrade_is_known_by_its_words() {
        for (status, media_type, body, expected) in [
            (101, "", "", Upgrade::Open),
            (400, "text/plain", "\"Invalid websocket upgrade\"", Upgrade::NotSeen),
            (400, "application/json", r#"{"code":3,"message":"Bad request"}"#, Upgrade::NotSeen),
            (500, "text/plain", "Internal Server Error", Upgrade::HalfSeen),
            (403, "", "", Upgrade::Refused),
            (403, "text/html", "<html>nginx</html>", Upgrade::Common(Common::Forbidden)),
            (200, "text/html; charset=utf-8", "<html>", Upgrade::Common(Common::Page)),
            (500, "text/html", "<html>500</html>", Upgrade::Common(Common::Other(500))),
            (
                500,
                "text/html",
                "<hr><center>nginx/1.22.1</center>",
                Upgrade::Common(Common::OfNginx),
            ),
            (400, "text/html", "Transport unknown", Upgrade::Told(Polling::Transport)),
            (400, "text/html", "Unsupported protocol version", Upgrade::Told(Polling::Version)),
            (400, "text/html", "Session ID unknown", Upgrade::Told(Polling::Session)),
            (
                400,
                "text/html",
                "<title>400 No required SSL certificate was sent</title>",
                Upgrade::Common(Common::NoCertificate),
            ),
            (
                400,
                "application/json",
                "\"https://a is not an accepted origin.\"",
                Upgrade::Told(Polling::Origin("https://a".to_owned())),
            ),
        ] {
            let answer = answer(status, media_type, body);
            assert_eq!(of_upgrade(&UpgradeAnswer { answer, fault: None }), expected, "{body}");
        }
    }

    #[test]
    fn a_poll_is_known_by_its_words() {
        let version = "\"The client is using an unsupported version of the Socket.IO or Engine.IO protocols\"";
        for (status, body, expected) in [
            (400, version, Polling::Version),
            (400, r#"{"code":5,"message":"Unsupported protocol version"}"#, Polling::Version),
            (
                400,
                "\"https://oh.example is not an accepted origin.\"",
                Polling::Origin("https://oh.example".to_owned()),
            ),
            (400, "\"Invalid session abc\"", Polling::Session),
            (400, r#"{"code":1,"message":"Session ID unknown"}"#, Polling::Session),
            (400, "\"Invalid transport\"", Polling::Transport),
            (400, r#"{"code":0,"message":"Transport unknown"}"#, Polling::Transport),
            (400, "\"Invalid packet\"", Polling::Engine("\"Invalid packet\"".to_owned())),
            (502, "<html>", Polling::Common(Common::BadGateway)),
        ] {
            assert_eq!(of_polling(&answer(status, "text/plain", body)), expected, "{body}");
        }
        let open =
            r#"0{"sid":"e","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;
        assert!(matches!(of_polling(&answer(200, "text/plain", open)), Polling::Opened(_)));
        assert_eq!(
            of_polling(&answer(502, "text/plain", open)),
            Polling::Common(Common::BadGateway)
        );
    }
}
