//! Whether a part answers, and not a stranger in its place.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oh_host::http::{self, Get, Target};
use oh_host::nginx::Nginx;
use oh_host::process::{Pid, ProcessDir, Processes};
use oh_host::publish;
use oh_host::sockets;
use oh_model::port::Port;

use super::fault::SandboxFault;
use super::files;
use super::parts::Part;
use super::record::Home;

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Says whether the part answers that was started as process `pid` for `port`.
pub(crate) fn answers(
    home: &Home,
    nginx: &Nginx,
    part: Part,
    port: Option<u16>,
    pid: Pid,
) -> Result<bool, SandboxFault> {
    let path = match part {
        // Before its first publishing nginx listens nowhere; its pid file tells.
        Part::Nginx => {
            let pid_file = home.at(files::PID_FILE)?;
            let master = nginx.master(&pid_file).map_err(publish::PublishFault::from)?;
            return Ok(master.is_some_and(|master| master.pid() == pid));
        }
        Part::Openhands => "/alive",
        Part::App => "/",
    };
    let Some(port) = port.and_then(|port| Port::new(port.into())) else { return Ok(false) };
    let question = Get {
        target: Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()))),
        path,
        host: "localhost",
        headers: &[],
        timeout: ANSWER_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    };
    if !http::get(&question).is_ok_and(|answer| answer.status == 200) {
        return Ok(false);
    }
    let mut family = Processes::look()?.descendants_of(pid);
    family.push(pid);
    let family: Vec<ProcessDir> =
        family.into_iter().filter_map(|pid| ProcessDir::open(pid).ok()).collect();
    Ok(sockets::is_listener_of(port, &family)?)
}
