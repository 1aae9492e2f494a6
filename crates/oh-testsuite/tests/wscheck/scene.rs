//! A site as people have it: nginx in a root of its own, and behind it a server that answers as OpenHands does,
//! with a page for everything that it does not know.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oh_testsuite::lab::{Said, temporary_paths};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use tempfile::TempDir;

/// How long a program may take to start.
const BOUND: Duration = Duration::from_secs(60);

/// It tells each query that a namespace was asked for with, and how many sessions are open.
const SERVER: &str = "
import socketio, uvicorn
from urllib.parse import parse_qs
io = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*', max_http_buffer_size=4*1024*1024)
@io.event
async def connect(sid, environ):
    print('asked', environ['QUERY_STRING'], flush=True)
    if 'conversation_id' not in parse_qs(environ['QUERY_STRING']):
        raise socketio.exceptions.ConnectionRefusedError('No conversation_id in query params')
async def page(scope, receive, send):
    if scope['type'] != 'http':
        return
    kind, body = b'text/html; charset=utf-8', b'<!doctype html><title>OpenHands</title>'
    if scope['path'] == '/open':
        kind, body = b'text/plain', str(sum(not one.closed for one in io.eio.sockets.values())).encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', kind)]})
    await send({'type': 'http.response.body', 'body': body})
uvicorn.run(socketio.ASGIApp(io, other_asgi_app=page), host='127.0.0.1', port=0, log_level='info')
";

/// Everything that an upgrade needs, as the locations of a good configuration have it.
pub(crate) const GOOD: &str = "            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-Proto $scheme;
";

pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) server: Running,
    pub(crate) upstream: String,
    pub(crate) port: u16,
    nginx: Option<Running>,
}

impl Scene {
    /// Starts the server; nginx starts with its first configuration.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("etc/nginx"))?;
        fs::create_dir_all(folder.path().join("run"))?;
        let mut server = Running::start(Command::new(components::python()?).args(["-c", SERVER]))?;
        let line = server.wait_for_line("running on ", BOUND)?;
        let (_, url) = line.split_once("running on ").context("it does not say where it is")?;
        let upstream = url.split_whitespace().next().context("it has no address")?.to_owned();
        let port = net::free_port()?;
        fs::create_dir_all(folder.path().join("etc/openhands-toolkit"))?;
        fs::write(
            folder.path().join("etc/openhands-toolkit/config.toml"),
            format!("[toolkit.site]\ndomain = \"oh.example\"\ntls = \"off\"\nport = {port}\n"),
        )?;
        Ok(Self { folder, server, upstream, port, nginx: None })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://oh.example:{}", self.port)
    }

    pub(crate) fn root(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("etc/nginx/nginx.conf")
    }

    /// Serves a site with these lines in its server, `UPSTREAM` in the place of the server behind it.
    pub(crate) fn serve(&mut self, server: &str) -> Result<()> {
        let root = self.root();
        let text = format!(
            "pid {root}/run/nginx.pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\n    access_log off;\n\
             {}    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n    server {{\n        \
             listen 127.0.0.1:{};\n        server_name oh.example;\n{server}    }}\n}}\n",
            temporary_paths(&root),
            self.port,
        );
        self.serve_text(&text.replace("UPSTREAM", &self.upstream))
    }

    /// Serves this configuration.
    pub(crate) fn serve_text(&mut self, text: &str) -> Result<()> {
        if let Some(mut nginx) = self.nginx.take() {
            nginx.stop()?;
        }
        fs::write(self.config(), text)?;
        let mut command = Command::new(components::program("nginx")?);
        command.arg("-c").arg(self.config()).args(["-g", "daemon off;"]);
        let nginx = Running::start(&mut command)?;
        wait::until("nginx", BOUND, || {
            if nginx.has_ended()? {
                bail!("nginx ended: {}", nginx.log());
            }
            Ok(net::get(&format!("http://127.0.0.1:{}/open", self.port), &[]).ok())
        })?;
        self.nginx = Some(nginx);
        Ok(())
    }

    /// A run of the tool on this machine, whose name `oh.example` is here.
    pub(crate) fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(components::built("oh-wscheck")?);
        command.args(words).args(["--root", &self.root()]);
        command.args(["--resolve", &format!("oh.example:{}:127.0.0.1", self.port)]);
        command.stdin(Stdio::null());
        Ok(command)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Result<Said> {
        Ok(self.command(words)?.output()?.into())
    }

    /// Waits until the server has no session left, and fails where one stays.
    pub(crate) fn is_left_alone(&self) -> Result<()> {
        let url = format!("{}/open", self.upstream);
        let ended = wait::until("the end of all sessions", Duration::from_secs(5), || {
            Ok((net::get(&url, &[])?.text() == "0").then_some(()))
        });
        ensure!(ended.is_ok(), "sessions are left: {}", net::get(&url, &[])?.text());
        Ok(())
    }
}
