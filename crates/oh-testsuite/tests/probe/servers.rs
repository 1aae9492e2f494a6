//! Real servers that say when somebody opened something, and how they saw it end.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::dial::Route;
use oh_probe::limits::Limits;
use oh_probe::reach::Way;
use oh_probe::target::Target;
use oh_testsuite::lab::Lab;
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};

/// How long a server may take to start, and one step with it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// What a server writes when somebody has opened a session or a WebSocket.
pub(crate) const OPENED: &str = "OPENED";

/// The states of a connection that is none any more or not yet: TIME_WAIT and LISTEN, as the kernel has them.
const NO_CONNECTION: [&str; 2] = ["06", "0A"];

const PYTHON_SOCKET_IO: &str = "
import socketio, uvicorn
io = socketio.AsyncServer(async_mode='asgi')
make = io.eio.generate_id
def generate_id():
    print('OPENED', flush=True)
    return make()
io.eio.generate_id = generate_id
uvicorn.run(socketio.ASGIApp(io), host='127.0.0.1', port=0)
";

/// It has no answer for any other path.
const NODE_SOCKET_IO: &str = "
const http = require('http').createServer();
const io = new (require('socket.io').Server)(http);
io.engine.on('connection', () => console.log('OPENED'));
http.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${http.address().port}`));
";

/// An application that has a page for everything, and a WebSocket for what its path says.
const NODE_WEB_SOCKET: &str = "
const http = require('http').createServer((request, response) => {
  response.setHeader('Content-Type', 'text/html');
  response.end('<!doctype html>');
});
const wss = new (require('ws').WebSocketServer)({ server: http });
wss.on('connection', (socket, request) => {
  console.log('OPENED ' + request.url + ' ' + JSON.stringify(request.headers));
  socket.on('close', (code) => console.log('CLOSED ' + code));
  if (request.url === '/hello') { socket.send('hello'); }
  if (request.url === '/bytes') { socket.send(Buffer.from([1, 2, 3])); }
  if (request.url === '/cut') { socket.terminate(); }
  const code = Number(request.url.slice(1));
  if (code) { socket.close(code, 'said so'); }
});
http.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${http.address().port}`));
";

/// Nothing but WebSockets; other requests get no answer at all, or one that says so.
const NODE_WEB_SOCKET_ALONE: &str = "
const { WebSocketServer } = require('ws');
const silent = process.argv[1] === 'silent';
const http = require('http').createServer();
const wss = new WebSocketServer(silent ? { server: http } : { port: 0, host: '127.0.0.1' });
wss.on('connection', () => console.log('OPENED'));
const say = (server) => () => console.log(`running on http://127.0.0.1:${server.address().port}`);
if (silent) { http.listen(0, '127.0.0.1', say(http)); } else { wss.on('listening', say(wss)); }
";

/// An ASGI application with 404 for pages; it refuses WebSockets at `/refused`.
const PYTHON_WEB_SOCKET: &str = "
import sys, uvicorn
async def app(scope, receive, send):
    if scope['type'] == 'websocket':
        await receive()
        if scope['path'] == '/refused':
            return await send({'type': 'websocket.close', 'code': 1008})
        print('OPENED', flush=True)
        await send({'type': 'websocket.accept'})
        print('CLOSED', (await receive())['code'], flush=True)
    elif scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 404,
                    'headers': [(b'content-type', b'application/json')]})
        await send({'type': 'http.response.body', 'body': b'{\"detail\":\"Not Found\"}'})
uvicorn.run(app, host='127.0.0.1', port=0, ws=sys.argv[1])
";

const PYTHON_WEB_SOCKET_ALONE: &str = "
import asyncio, websockets
async def opened(socket):
    print('OPENED', flush=True)
async def main():
    async with websockets.serve(opened, '127.0.0.1', 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(f'running on http://127.0.0.1:{port}', flush=True)
        await asyncio.Future()
asyncio.run(main())
";

/// A server, and where it listens.
pub(crate) struct Server {
    running: Running,
    pub(crate) url: String,
}

impl Server {
    fn start(mut command: Command, line: &str) -> Result<Self> {
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line(line, BOUND)?;
        let address = line.split_whitespace().find(|word| word.contains("127.0.0.1:"));
        let address = address.context("no address")?;
        let url = format!("http://{}", address.trim_start_matches("http://"));
        Ok(Self { running, url })
    }

    fn python(script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(components::python()?);
        command.args(["-u", "-c", script]).args(arguments);
        Self::start(command, "running on http://127.0.0.1:")
    }

    fn node(script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(components::node()?);
        command.args(["-e", script]).args(arguments);
        command.env("NODE_PATH", components::socket_io_modules()?);
        Self::start(command, "running on http://127.0.0.1:")
    }

    /// python-socketio, and 404 for everything else.
    pub(crate) fn python_socket_io() -> Result<Self> {
        Self::python(PYTHON_SOCKET_IO, &[])
    }

    /// socket.io on Node, and no answer to anything else.
    pub(crate) fn node_socket_io() -> Result<Self> {
        Self::node(NODE_SOCKET_IO, &[])
    }

    /// WebSockets on Node that do what their path says, and a page for everything else.
    pub(crate) fn node_web_socket() -> Result<Self> {
        Self::node(NODE_WEB_SOCKET, &[])
    }

    /// WebSockets on uvicorn, by one of its implementations.
    pub(crate) fn python_web_socket(implementation: &str) -> Result<Self> {
        Self::python(PYTHON_WEB_SOCKET, &[implementation])
    }

    /// Every server that has nothing but WebSockets.
    pub(crate) fn web_sockets_alone() -> Result<[Self; 3]> {
        Ok([
            Self::node(NODE_WEB_SOCKET_ALONE, &["silent"])?,
            Self::node(NODE_WEB_SOCKET_ALONE, &["saying"])?,
            Self::python(PYTHON_WEB_SOCKET_ALONE, &[])?,
        ])
    }

    /// The stand-in of OpenHands 0.62.0, or of a session's application.
    pub(crate) fn stand_in(name: &str) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
        command.args([name, "--listen", "127.0.0.1:0"]);
        Self::start(command, "listening on ")
    }

    pub(crate) fn port(&self) -> Result<u16> {
        port_of(&self.url)
    }

    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Fails where anything was opened, or a connection is left.
    pub(crate) fn was_only_asked(&self) -> Result<()> {
        ensure!(!self.log().contains(OPENED), "{}", self.log());
        is_left(self.port()?)
    }
}

/// Returns the port of a URL.
pub(crate) fn port_of(url: &str) -> Result<u16> {
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next());
    Ok(port.context("no port")?.parse()?)
}

/// The way to a URL, over plain HTTP.
pub(crate) fn way(url: &str) -> Result<Way> {
    Ok(Way {
        target: Target::parse(url)?,
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: Limits::default(),
    })
}

/// Waits until a server has no connection any more.
pub(crate) fn is_left(port: u16) -> Result<()> {
    let what = format!("the end of all connections with port {port}");
    wait::until(&what, BOUND, || Ok((connections(port)? == 0).then_some(())))
}

/// Returns how many connections a server on 127.0.0.1 has.
fn connections(port: u16) -> Result<usize> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let own = format!("0100007F:{port:04X}");
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        local == Some(own.as_str()) && state.is_some_and(|state| !NO_CONNECTION.contains(&state))
    };
    Ok(table.lines().filter(is_one).count())
}

/// An nginx whose server, on the port of the site, has these lines; it logs each request.
pub(crate) fn nginx(lines: &str) -> Result<Lab> {
    let mut lab = Lab::plain()?;
    let (port, root) = (lab.site_port, lab.root());
    lab.write(
        "etc/nginx/conf.d/site.conf",
        &format!(
            "map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
             log_format asked '$request';\n\
             server {{ listen 127.0.0.1:{port}; access_log {root}/log/access.log asked;\n{lines}\n}}\n"
        ),
    )?;
    lab.start_nginx()?;
    Ok(lab)
}

/// What a location has to say for WebSockets.
pub(crate) const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Host $http_host; \
     proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;";

/// Returns the first lines of the requests that nginx answered.
pub(crate) fn asked(lab: &Lab) -> Result<Vec<String>> {
    let log = fs::read_to_string(lab.at("log/access.log"))?;
    Ok(log.lines().map(str::to_owned).collect())
}
