//! Whether an editor answers, and nobody else in its place.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oh_host::http::{self, Get, Response};
use oh_host::instances::Record;
use oh_host::process::{Pid, ProcessDir, Processes};
use oh_host::sockets;
use oh_model::idleness::Heartbeat;
use oh_model::instance::Server;
use oh_model::upstream::{Target, Upstream};

use crate::editor::Places;
use crate::fault::Fault;

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Says whether the editor whose leader is this process answers where its record says.
///
/// An answer alone proves nothing: the listener has to be one of the leader's family.
pub(crate) fn answers(record: &Record, places: &Places, leader: Pid) -> Result<bool, Fault> {
    if asked(record, places).is_none_or(|answer| answer.status != 200) {
        return Ok(false);
    }
    is_own_listener(record, places, leader)
}

/// Asks an editor for its last use; `None` where it does not tell.
///
/// code-server says when a page last told it to be there, and how it is counts as nobody's use.
pub(crate) fn heartbeat(record: &Record, places: &Places) -> Option<Heartbeat> {
    if record.server != Server::CodeServer {
        return None;
    }
    let answer = asked(record, places).filter(|answer| answer.status == 200)?;
    let told: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let last_ms = told.get("lastHeartbeat")?.as_u64()?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Heartbeat { last_ms, asked_ms: u64::try_from(since.as_millis()).ok()? })
}

/// Asks whoever answers where the record says.
fn asked(record: &Record, places: &Places) -> Option<Response> {
    let health = record.server.health_path();
    let path = match record.upstream {
        Upstream::BasePath => format!("/vscode/{}/{health}", record.id),
        Upstream::StripPrefix | Upstream::Strip => format!("/{health}"),
    };
    let target = match (record.target, &places.socket) {
        (Target::Port(port), _) => {
            http::Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port.get())))
        }
        (Target::Socket, Some((socket, _))) => http::Target::Unix(socket.clone()),
        (Target::Socket, None) => return None,
    };
    let question = Get {
        target,
        path: &path,
        host: "localhost",
        headers: &[],
        timeout: ANSWER_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    };
    http::get(&question).ok()
}

/// Says whether the family of this leader, and nobody else, listens where the record says.
pub(crate) fn is_own_listener(
    record: &Record,
    places: &Places,
    leader: Pid,
) -> Result<bool, Fault> {
    let mut family = Processes::look()?.descendants_of(leader);
    family.push(leader);
    match (record.target, &places.socket) {
        (Target::Port(port), _) => {
            let family: Vec<ProcessDir> =
                family.into_iter().filter_map(|pid| ProcessDir::open(pid).ok()).collect();
            Ok(sockets::is_listener_of(port, &family)?)
        }
        (Target::Socket, Some((socket, _))) => Ok(listens_on(socket.as_str(), &family)),
        (Target::Socket, None) => Ok(false),
    }
}

/// Says whether one of these processes listens on the socket (`SO_PEERCRED` of unix(7) tells who
/// called listen(2)).
fn listens_on(socket: &str, family: &[Pid]) -> bool {
    let Ok(stream) = UnixStream::connect(socket) else { return false };
    let Ok(peer) = rustix::net::sockopt::socket_peercred(&stream) else { return false };
    let listener = u32::try_from(peer.pid.as_raw_nonzero().get()).ok().and_then(Pid::new);
    listener.is_some_and(|listener| family.contains(&listener))
}
