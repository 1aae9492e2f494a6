//! Whether an editor is reached by its route, from nginx on: the proof for who has just started one.
//!
//! nginx passes one question on to the routed editor, without a login and without its key; see
//! `oh_nginx_conf::layout`. What answers counts only if it is the nginx of this configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oh_model::id::InstanceId;
use oh_model::instance::Server;

use super::facts::{Running, stranger_on};
use super::{Host, PublishFault, standing};
use crate::http::{self, Get, Target};

/// How long the answer may take: longer than nginx gives the editor.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How much the editor may answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How the question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The editor answered 200.
    Reached,
    /// Another status: 404 where nginx has no such route, 502 where nobody listens, 504 where the
    /// editor does not answer; any other is the editor's own.
    Status(u16),
    /// No nginx of this configuration runs.
    NoMaster,
    /// Somebody else has the port of nginx's generation, and who: what is answered there says nothing.
    Stranger(String),
    /// nginx did not answer, and why.
    NoAnswer(String),
}

/// Asks the editor of `id` through nginx whether it is there.
///
/// # Errors
/// [`PublishFault`] where nginx cannot be looked at.
pub fn reach(host: &Host, id: &InstanceId, server: Server) -> Result<Reach, PublishFault> {
    let (master, stranger) = match standing::runs(host)? {
        (Running::Master { master, .. }, stranger) => (master, stranger),
        (Running::Nothing { .. }, _) => return Ok(Reach::NoMaster),
    };
    if let Some(stranger) = stranger {
        return Ok(Reach::Stranger(stranger));
    }
    let port = host.settings.nginx.generation_port;
    let answer = http::get(&Get {
        target: Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()))),
        path: &format!("/reach/vscode/{id}/{}", server.health_path()),
        host: "localhost",
        headers: &[],
        timeout: ANSWER_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    });
    // Once more: whoever took the port between the two looks answered.
    if let Some(stranger) = stranger_on(port, &master) {
        return Ok(Reach::Stranger(stranger));
    }
    Ok(match answer {
        Ok(answer) if answer.status == 200 => Reach::Reached,
        Ok(answer) => Reach::Status(answer.status),
        Err(fault) => Reach::NoAnswer(fault.to_string()),
    })
}
