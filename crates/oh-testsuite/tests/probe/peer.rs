//! Servers of Socket.IO that say how many connections they have, alone and behind nginx.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_probe::dial::Route;
use oh_probe::ladder::Asked;
use oh_probe::limits::Limits;
use oh_probe::reach::Way;
use oh_probe::target::Target;
use oh_testsuite::lab::Lab;
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};

/// How long a server may take to start, and one step with it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// What an upgrade needs of nginx.
pub(crate) const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Host $http_host; \
     proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;";

const PYTHON_SERVER: &str = "
import socketio, sys, uvicorn
interval, timeout = map(int, sys.argv[1:])
io = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*', ping_interval=interval, ping_timeout=timeout)
@io.event
async def connect(sid, environ):
    pass
async def count(scope, receive, send):
    open = sum(not socket.closed for socket in io.eio.sockets.values())
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': str(open).encode()})
uvicorn.run(socketio.ASGIApp(io, count), host='127.0.0.1', port=0, lifespan='off')
";

const NODE_SERVER: &str = "
const [interval, timeout] = process.argv.slice(1).map((seconds) => seconds * 1000);
const http = require('http').createServer((_, answer) => answer.end(String(io.engine.clientsCount)));
const io = new (require('socket.io').Server)(http, { pingInterval: interval, pingTimeout: timeout });
http.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${http.address().port}`));
";

/// A server, and where it listens.
pub(crate) struct Peer {
    _running: Running,
    pub(crate) port: u16,
}

impl Peer {
    fn start(command: &mut Command) -> Result<Self> {
        let mut running = Running::start(command)?;
        let line = running.wait_for_line("running on http://127.0.0.1:", BOUND)?;
        let (_, rest) = line.split_once("http://127.0.0.1:").context("no address")?;
        let port = rest.split_whitespace().next().context("no port")?.parse()?;
        Ok(Self { _running: running, port })
    }

    /// python-socketio on uvicorn, with a heartbeat of so many seconds.
    pub(crate) fn python(interval_s: u32, timeout_s: u32) -> Result<Self> {
        let mut command = Command::new(components::python()?);
        command.args(["-u", "-c", PYTHON_SERVER]);
        Self::start(command.args([interval_s, timeout_s].map(|seconds| seconds.to_string())))
    }

    /// socket.io on Node, with a heartbeat of so many seconds.
    pub(crate) fn node(interval_s: u32, timeout_s: u32) -> Result<Self> {
        let mut command = Command::new(components::node()?);
        command.args(["-e", NODE_SERVER]).env("NODE_PATH", components::socket_io_modules()?);
        Self::start(command.args([interval_s, timeout_s].map(|seconds| seconds.to_string())))
    }

    /// Waits until it has so many sessions of Engine.IO.
    pub(crate) fn wait_for_sessions(&self, count: usize) -> Result<()> {
        wait_for_sessions(self.port, count)
    }
}

/// [`Peer::wait_for_sessions`] of the server on that port.
pub(crate) fn wait_for_sessions(port: u16, count: usize) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/");
    let mut said = String::new();
    let waited = wait::until("the sessions of a server", BOUND, || {
        said = net::get(&url, &[])?.text();
        Ok((said == count.to_string()).then_some(()))
    });
    waited.with_context(|| format!("it has {said}, not {count}"))
}

/// Starts nginx with these servers, and what an upgrade needs.
pub(crate) fn nginx(lab: &mut Lab, servers: &str) -> Result<()> {
    let map = "map $http_upgrade $connection_upgrade { default upgrade; '' close; }";
    lab.write("etc/nginx/conf.d/site.conf", &format!("{map}\n{servers}"))?;
    lab.start_nginx()
}

/// The way to a port of this machine.
pub(crate) fn way(port: u16) -> Result<Way> {
    Ok(Way {
        target: Target::parse(&format!("http://127.0.0.1:{port}/"))?,
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: Limits { http: BOUND, packet: BOUND, ..Limits::default() },
    })
}

/// Socket.IO as a page asks for it.
pub(crate) fn asked() -> Asked {
    Asked {
        path: "/socket.io/".to_owned(),
        query: String::new(),
        engine_version: 4,
        origin: None,
        authority: None,
        headers: Vec::new(),
        keeps_frames: true,
    }
}
