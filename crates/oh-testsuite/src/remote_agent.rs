//! The handshake of VS Code's remote agent, by which a workbench connects to its server.
//!
//! Source: VS Code, `remoteAgentConnection.ts` and `ipc.net.ts`: frames of a header of 13 bytes
//! (kind, id, acknowledgement and length, big-endian) and a body, in binary WebSocket messages.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::net::{self, WebSocket};

/// The kind of frame that carries the handshake.
const CONTROL: u8 = 2;

/// The kind of frame that ends a connection, so that the server does not wait for its return.
const DISCONNECT: u8 = 5;

const HEADER_BYTES: usize = 13;

/// What a client says that has no token.
pub const NO_TOKEN: &str = "00000000000000000000";

/// Finds the commit that a workbench's page names.
///
/// # Errors
///
/// When the page is no workbench's.
pub fn commit(page: &str) -> Result<String> {
    let after = page.split("stable-").nth(1).context("the page names no commit")?;
    let commit: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    ensure!(commit.len() == 40, "{commit:?} is no commit");
    Ok(commit)
}

/// Connects below `base`, which ends in a slash, until the server says that it is content.
///
/// # Errors
///
/// With the status, where no WebSocket is opened; with what the server says instead of `ok`.
pub fn handshake(base: &str, commit: &str, token: &str, headers: &[(&str, &str)]) -> Result<()> {
    let query = "reconnectionToken=4f1c0000-0000-4000-8000-000000000000&reconnection=false";
    let url = format!("{base}stable-{commit}?{query}&skipWebSocketFrames=false");
    let mut socket = net::upgrade(&url, headers)?.open()?;
    say(&mut socket, &json!({ "type": "auth", "auth": token, "data": "x" }))?;
    let sign = hear(&mut socket)?;
    ensure!(sign["type"] == "sign", "the server says {sign}");
    say(
        &mut socket,
        &json!({
            "type": "connectionType",
            "commit": commit,
            "signedData": sign["data"],
            "desiredConnectionType": 1,
        }),
    )?;
    let end = hear(&mut socket)?;
    ensure!(end["type"] == "ok", "the server says {end}");
    socket.send(Message::binary(frame(DISCONNECT, &[])?))?;
    Ok(socket.close(None)?)
}

fn frame(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let mut frame = vec![kind];
    frame.extend([0; 8]);
    frame.extend(u32::try_from(body.len())?.to_be_bytes());
    frame.extend(body);
    Ok(frame)
}

fn say(socket: &mut WebSocket, message: &Value) -> Result<()> {
    Ok(socket.send(Message::binary(frame(CONTROL, message.to_string().as_bytes())?))?)
}

/// Reads the next control message; other kinds of frame are passed over.
fn hear(socket: &mut WebSocket) -> Result<Value> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        while let Some(header) = bytes.get(..HEADER_BYTES) {
            let length = u32::from_be_bytes(header[9..].try_into()?) as usize;
            let Some(body) = bytes.get(HEADER_BYTES..HEADER_BYTES + length) else { break };
            if header[0] == CONTROL {
                return serde_json::from_slice(body).context("a control frame is JSON");
            }
            bytes.drain(..HEADER_BYTES + length);
        }
        match socket.read()? {
            Message::Binary(more) => bytes.extend(&more),
            Message::Close(why) => bail!("the server closes: {why:?}"),
            _ => {}
        }
    }
}
