//! What a workbench and its server say to each other before they trust each other, without I/O.
//!
//! Source: VS Code, `remoteAgentConnection.ts` and `ipc.net.ts`: frames of a header of 13 bytes (kind, id,
//! acknowledgement and length, big-endian) and a body, in binary messages of a WebSocket.

use serde::Deserialize;

use crate::random;

/// The kind of frame that carries the handshake.
pub const CONTROL: u8 = 2;

/// The kind of frame that ends a connection, so that the server does not wait for its return.
pub const DISCONNECT: u8 = 5;

/// What a client says that has no token.
pub const NO_TOKEN: &str = "00000000000000000000";

const HEADER_BYTES: usize = 13;

/// The bytes that a frame of the handshake may have.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// The digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// What a server says in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It takes the token, and wants to know what the connection is for.
    Sign {
        /// What the client has to sign.
        data: String,
    },
    /// The connection is made.
    Ok,
    /// It refuses, and why.
    Error(String),
    /// Something else.
    Other(String),
}

/// The bytes that have come, and are cut into frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

/// Says that a frame has more bytes than any of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct TooLong(pub usize);

impl Frames {
    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next control frame, if one is whole; other kinds are passed over.
    ///
    /// # Errors
    /// [`TooLong`], before the rest of such a frame is waited for.
    pub fn next_control(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        loop {
            let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let [kind, .., a, b, c, d] = *header;
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                return Err(TooLong(length));
            }
            let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
            self.bytes.drain(..HEADER_BYTES + length);
            if kind == CONTROL {
                return Ok(Some(body));
            }
        }
    }
}

/// Returns a frame.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    // What is sent here is short.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend([0; 8]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}

/// Returns the frame by which a workbench begins, with its token or [`NO_TOKEN`].
pub fn auth(token: &str) -> Vec<u8> {
    let message = serde_json::json!({ "type": "auth", "auth": token, "data": random::uuid() });
    frame(CONTROL, message.to_string().as_bytes())
}

/// Reads what a server says.
pub fn said(body: &[u8]) -> Said {
    #[derive(Deserialize)]
    struct Message {
        r#type: String,
        data: Option<String>,
        reason: Option<String>,
    }
    let other = || Said::Other(String::from_utf8_lossy(body).chars().take(200).collect());
    let Ok(message) = serde_json::from_slice::<Message>(body) else { return other() };
    match (message.r#type.as_str(), message.data, message.reason) {
        ("sign", Some(data), _) => Said::Sign { data },
        ("ok", _, _) => Said::Ok,
        ("error", _, reason) => Said::Error(reason.unwrap_or_default()),
        _ => other(),
    }
}

/// Returns the commit that a workbench's page names.
pub fn commit_of(page: &str) -> Option<&str> {
    let commit = page.split("stable-").nth(1)?.get(..COMMIT_DIGITS)?;
    is_commit(commit).then_some(commit)
}

/// Says whether a text is a commit.
pub fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns path and query of the WebSocket of a workbench below a prefix, with a connection of its own.
pub fn endpoint(prefix: &str, commit: &str) -> String {
    let token = random::uuid();
    format!(
        "{prefix}/stable-{commit}?reconnectionToken={token}&reconnection=false&skipWebSocketFrames=false"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_are() {
        let bytes: Vec<u8> =
            [frame(3, b"ack"), frame(CONTROL, b"one"), frame(9, b""), frame(CONTROL, b"two")]
                .concat();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(size) {
                frames.push(part);
                while let Ok(Some(body)) = frames.next_control() {
                    seen.push(body);
                }
            }
            assert_eq!(seen, [b"one", b"two"], "{size}");
        }
    }

    #[test]
    fn a_long_frame_is_not_waited_for() {
        let mut frames = Frames::default();
        frames.push(&[CONTROL, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(frames.next_control(), Err(TooLong(0x7fff_ffff)));
    }

    #[test]
    fn what_a_server_says_is_read() {
        let sign = br#"{"type":"sign","data":"d","signedData":"s"}"#;
        assert_eq!(said(sign), Said::Sign { data: "d".to_owned() });
        assert_eq!(said(br#"{"type":"ok"}"#), Said::Ok);
        let refused = br#"{"type":"error","reason":"Unauthorized client refused: auth mismatch"}"#;
        assert_eq!(
            said(refused),
            Said::Error("Unauthorized client refused: auth mismatch".to_owned())
        );
        assert_eq!(said(b"hello"), Said::Other("hello".to_owned()));
        assert_eq!(said(br#"{"type":"sign"}"#), Said::Other(r#"{"type":"sign"}"#.to_owned()));
    }

    #[test]
    fn a_page_names_its_commit() {
        let commit = "53c2f3253bcf32886706fc023e794bbeb253c90f";
        assert_eq!(commit_of(&format!("src=\"stable-{commit}/static\"")), Some(commit));
        assert_eq!(commit_of("stable-53c2"), None);
        assert_eq!(commit_of(&format!("stable-{}", "z".repeat(40))), None);
    }
}
