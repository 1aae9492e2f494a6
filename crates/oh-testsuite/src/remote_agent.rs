//! The handshake of VS Code's remote agent, by which a workbench connects to its server, up to its end.
//!
//! `oh-probe` stops halfway, where nothing has begun yet; here the whole is made, with the same frames.

use anyhow::{Context as _, Result, bail, ensure};
use oh_probe::remote_agent::{self, CONTROL, DISCONNECT, Frames, Said, frame};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::net::{self, WebSocket};

pub use oh_probe::remote_agent::NO_TOKEN;

/// Finds the commit that a workbench's page names.
///
/// # Errors
///
/// When the page is no workbench's.
pub fn commit(page: &str) -> Result<String> {
    let commit = remote_agent::commit_of(page).context("the page names no commit")?;
    Ok(commit.to_owned())
}

/// Connects below `base`, which ends in a slash, until the server says that it is content.
///
/// # Errors
///
/// With the status, where no WebSocket is opened; with what the server says instead of `ok`.
pub fn handshake(base: &str, commit: &str, token: &str, headers: &[(&str, &str)]) -> Result<()> {
    let url = remote_agent::endpoint(base.trim_end_matches('/'), commit);
    let mut socket = net::upgrade(&url, headers)?.open()?;
    socket.send(Message::binary(remote_agent::auth(token)))?;
    let data = match hear(&mut socket)? {
        Said::Sign { data } => data,
        other => bail!("the server says {other:?}"),
    };
    let purpose = json!({
        "type": "connectionType",
        "commit": commit,
        "signedData": data,
        "desiredConnectionType": 1,
    });
    say(&mut socket, &purpose)?;
    let end = hear(&mut socket)?;
    ensure!(end == Said::Ok, "the server says {end:?}");
    socket.send(Message::binary(frame(DISCONNECT, &[])))?;
    Ok(socket.close(None)?)
}

fn say(socket: &mut WebSocket, message: &Value) -> Result<()> {
    Ok(socket.send(Message::binary(frame(CONTROL, message.to_string().as_bytes())))?)
}

/// Reads the next control message; other kinds of frame are passed over.
fn hear(socket: &mut WebSocket) -> Result<Said> {
    let mut frames = Frames::default();
    loop {
        if let Some(body) = frames.next_control()? {
            return Ok(remote_agent::said(&body));
        }
        match socket.read()? {
            Message::Binary(more) => frames.push(&more),
            Message::Close(why) => bail!("the server closes: {why:?}"),
            _ => {}
        }
    }
}
