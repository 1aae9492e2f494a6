//! The healthy site of the linter in front of a real code-server and a real python-socketio.
//!
//! Real clients visit it (`clients.rs`). By wire is looked at what no such client does: headers
//! that only an attacker writes, lines that are split, and the versions of TLS.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_nginx_conf::lint::HEALTHY;
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::net::{self, Answer};
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, remote_agent, wait};
use serde_json::Value;

use crate::clients::{Clients, Seen, Visited};
use crate::mutants::expected;

/// How long a program may take to listen.
const START_BOUND: Duration = Duration::from_secs(90);

const USER: &str = "person";
const PASSWORD: &str = "a password of a test";

/// What OpenHands is to nginx: Socket.IO that takes any Origin, and a page that shows headers.
const PYTHON_SERVER: &str = "
import itertools, json, socketio, sys, uvicorn
io = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*', max_http_buffer_size=4194304)
client = open(sys.argv[1], 'rb').read()
numbers = itertools.count()
@io.event
async def ask(sid, data):
    await io.emit('told', data, to=sid)
async def page(scope, receive, send):
    headers = {k.decode(): v.decode() for k, v in scope['headers']}
    # Each page has a client of its own: the browser keeps what an unhealthy site gave it.
    script = '<script src=/assets/socket.io.min.js?%d></script>' % next(numbers)
    kind, body = 'text/html', '<title>OpenHands</title>' + script
    body = (body + '<pre>' + json.dumps(headers)).encode()
    if scope['path'] == '/assets/socket.io.min.js':
        kind, body = 'text/javascript', client
    headers = [(b'content-type', kind.encode())]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})
uvicorn.run(socketio.ASGIApp(io, other_asgi_app=page), host='127.0.0.1', port=0, proxy_headers=False)
";

/// A site, and what is behind it.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    /// The healthy configuration with the ports and paths of this laboratory.
    pub(crate) healthy: String,
    login: String,
    commit: String,
    openhands: u16,
    clients: Clients,
    /// The folder that the workbench opens.
    pub(crate) folder: String,
    /// Whether a terminal of the workbench is used too.
    pub(crate) uses_terminal: bool,
    _programs: Vec<Running>,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::with_tls()?;
        let folder = lab.at("workspace");
        fs::create_dir_all(&folder)?;
        let client =
            components::socket_io_modules()?.join("socket.io-client/dist/socket.io.min.js");
        let mut python = Command::new(components::python()?);
        let mut python = Running::start(python.args(["-u", "-c", PYTHON_SERVER]).arg(client))?;
        let line = python.wait_for_line("running on http://127.0.0.1:", START_BOUND)?;
        let openhands = port_in(&line)?;
        let (code_server, editor_port) = code_server(&lab, &folder)?;
        let page = net::get(&format!("http://127.0.0.1:{editor_port}/?folder=/tmp"), &[])?;
        let commit = remote_agent::commit(&page.text())?;
        let healthy = adapted(&lab, openhands, editor_port, lab::back_end()?)?;
        let login = lab::basic(USER, PASSWORD);
        let clients = Clients::new(&lab, &folder)?;
        let folder = folder.display().to_string();
        let _programs = vec![python, code_server];
        Ok(Self {
            lab,
            healthy,
            login,
            commit,
            openhands,
            clients,
            folder,
            uses_terminal: true,
            _programs,
        })
    }

    /// Lets the linter judge a configuration.
    pub(crate) fn lint(&self, text: &str) -> Result<Value> {
        self.lab.write("etc/nginx/nginx.conf", text)?;
        let upstream = format!("site.upstream=127.0.0.1:{}", self.openhands);
        let said = self.lab.run(&["lint", "--format", "json", "--set", &upstream])?;
        ensure!(said.code == 0 || said.code == 1, "{said:?}");
        Ok(said.json()?["result"].clone())
    }

    /// Serves a configuration and looks at it as clients do. Where something is not as `healthy`
    /// has it, nobody opens the workbench, which takes long and would add nothing.
    pub(crate) fn seen(&mut self, text: &str, about: &str, healthy: Option<&Seen>) -> Result<Seen> {
        self.lab.write("etc/nginx/nginx.conf", text)?;
        self.lab.start_nginx()?;
        let seen = self.look(about, healthy);
        self.lab.stop_nginx()?;
        seen
    }

    fn url(&self, path: &str) -> String {
        format!("https://oh.example:{}{path}", self.lab.site_port)
    }

    fn origin(&self) -> String {
        self.url("")
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut all = vec![("Authorization", self.login.as_str())];
        all.extend_from_slice(headers);
        net::get(&self.url(path), &all)
    }

    /// Asks for a WebSocket and returns the status, or that there was no answer.
    fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut all = vec![("Authorization", self.login.as_str())];
        all.extend_from_slice(headers);
        match net::upgrade(&self.url(path), &all) {
            Ok(upgrade) => upgrade.status().to_string(),
            Err(_) => "no answer".into(),
        }
    }

    /// Asks for a WebSocket that must not open; which refusal it is does not matter.
    fn refused(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let status = self.upgrade(path, headers);
        if matches!(status.parse(), Ok(400_u16..)) { "refused".into() } else { status }
    }

    /// Lets all clients look at once: they wait for different things.
    fn look(&self, about: &str, healthy: Option<&Seen>) -> Result<Seen> {
        let origin = self.origin();
        let site =
            Visited { origin: &origin, user: USER, password: PASSWORD, commit: &self.commit };
        let holds = about.contains("timeout");
        let (others, browser) = thread::scope(|scope| {
            let others = scope.spawn(|| -> Result<Seen> {
                let mut seen = self.clients.socket_io(&site, holds)?;
                seen.extend(self.by_wire(about)?);
                Ok(seen)
            });
            let browser = self.clients.browser(&site);
            (others.join(), browser)
        });
        let mut seen = others.ok().context("a client panicked")??;
        seen.extend(browser?);
        if healthy.is_none_or(|healthy| seen == expected(healthy, &seen)) {
            let verdict = self.clients.workbench(&site, self.uses_terminal)?;
            seen.push(("workbench".to_owned(), verdict));
        }
        Ok(seen)
    }

    /// What only an attacker sends, or no client of ours tells.
    fn by_wire(&self, about: &str) -> Result<Seen> {
        let evil = ("Origin", "https://evil.example");
        let socket =
            format!("/vscode/code/stable-{}?reconnectionToken=a&reconnection=false", self.commit);
        let websocket = "/socket.io/?EIO=4&transport=websocket";
        let polling = self.get("/socket.io/?EIO=4&transport=polling", &[evil]);
        let mut seen = vec![
            ("editor: foreign WebSocket", self.refused(&socket, &[evil])),
            ("editor: WebSocket of null", self.refused(&socket, &[("Origin", "null")])),
            (
                "editor: foreign WebSocket with Forwarded",
                self.refused(&socket, &[evil, ("Forwarded", "host=evil.example")]),
            ),
            (
                "editor: foreign WebSocket with X-Forwarded-Host",
                self.refused(&socket, &[evil, ("X-Forwarded-Host", "evil.example")]),
            ),
            ("socket.io: foreign WebSocket", self.refused(websocket, &[evil])),
            (
                "socket.io: foreign polling",
                match polling {
                    Ok(answer) if answer.status >= 400 => "refused".to_owned(),
                    other => other.map_or("no answer".into(), |answer| answer.status.to_string()),
                },
            ),
            ("openhands: believed", self.believed()),
            ("splitting: an answer", self.split_answer()),
            ("splitting: a request", self.split_request()),
        ];
        if about.contains("ssl") {
            seen.push(("tls 1.2", self.tls_1_2()?));
        }
        Ok(seen.into_iter().map(|(what, is)| (what.to_owned(), is)).collect())
    }

    /// Whether a client writes a header of an answer.
    fn split_answer(&self) -> String {
        let answer = self.get("/x%0d%0aX-Split:%20yes", &[]);
        answer.map_or_else(
            |_| "no answer".into(),
            |answer| answer.header("X-Split").unwrap_or("-").into(),
        )
    }

    /// Whether a client writes a header of a request.
    fn split_request(&self) -> String {
        let answer = self.get("/a%20HTTP/1.1%0d%0aX-Split:%20yes%0d%0aX-Rest:%20", &[]);
        answer.map_or_else(
            |_| "no answer".into(),
            |answer| answer.text().contains("x-split").to_string(),
        )
    }

    /// Which of a stranger's headers reach OpenHands.
    fn believed(&self) -> String {
        let names = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"];
        let headers = names.map(|name| (name, "strange.example"));
        match self.get("/", &headers) {
            Ok(answer) => {
                let text = answer.text().to_ascii_lowercase();
                let reached = names.iter().filter(|name| {
                    let mark = format!("\"{}\": \"", name.to_ascii_lowercase());
                    let value = text.split_once(&mark).map(|(_, rest)| rest.split('"').next());
                    value.flatten().is_some_and(|value| value.contains("strange.example"))
                });
                reached.copied().collect::<Vec<_>>().join(" ")
            }
            Err(_) => "no answer".into(),
        }
    }

    fn tls_1_2(&self) -> Result<String> {
        let address = format!("127.0.0.1:{}", self.lab.site_port);
        let mut command = Command::new(components::program("openssl")?);
        command.args(["s_client", "-tls1_2", "-servername", "oh.example", "-connect", &address]);
        let output = command.stdin(Stdio::null()).output()?;
        Ok(output.status.success().to_string())
    }
}

fn port_in(line: &str) -> Result<u16> {
    let after = line.split("127.0.0.1:").nth(1).context("no port")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

fn code_server(lab: &Lab, folder: &Path) -> Result<(Running, u16)> {
    let port = net::free_port()?;
    let home = lab.at("home");
    fs::create_dir_all(home.join("data/User"))?;
    fs::write(home.join("data/User/settings.json"), editor::SETTINGS)?;
    let mut command = Command::new(components::node()?);
    command.arg(components::code_server()?);
    command.args(["--bind-addr", &format!("127.0.0.1:{port}"), "--auth", "none"]);
    command.args(["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]);
    command.arg("--user-data-dir").arg(home.join("data"));
    command.arg("--extensions-dir").arg(home.join("extensions"));
    command.arg(folder).env_remove("PORT").env("HOME", &home);
    let running = Running::start(&mut command)?;
    let url = format!("http://127.0.0.1:{port}/healthz");
    wait::until_true("code-server", START_BOUND, || {
        net::get(&url, &[]).is_ok_and(|answer| answer.status == 200)
    })?;
    Ok((running, port))
}

/// The healthy configuration for this laboratory; without the openvscode-server, which is not here.
fn adapted(lab: &Lab, openhands: u16, editor: u16, app: u16) -> Result<String> {
    let hash = Command::new(components::program("openssl")?)
        .args(["passwd", "-apr1", PASSWORD])
        .output()
        .context("could not run openssl")?;
    let hash = String::from_utf8(hash.stdout)?;
    lab.write("etc/users", &format!("{USER}:{hash}"))?;
    let (root, port) = (lab.root(), lab.site_port);
    let temporary = lab::temporary_paths(&root);
    let (before, rest) = HEALTHY
        .split_once("        location ^~ /vscode/open/ {\n")
        .context("no openvscode-server")?;
    let (_, after) = rest.split_once("        }\n").context("no end")?;
    let text = format!("{before}{after}")
        .replace(
            "worker_processes 2;\n",
            &format!(
                "pid {root}/run/nginx.pid;\nerror_log {root}/log/error.log;\nworker_processes 1;\n"
            ),
        )
        .replace("    access_log off;\n", &format!("    access_log off;\n{temporary}"))
        .replace("listen 443 ", &format!("listen 127.0.0.1:{port} "))
        .replace("/etc/ssl/oh/fullchain.pem", &format!("{root}/etc/tls.pem"))
        .replace("/etc/ssl/oh/privkey.pem", &format!("{root}/etc/tls.key"))
        .replace("/etc/nginx/openhands.users", &format!("{root}/etc/users"))
        .replace("https://oh.example\"", &format!("https://oh.example:{port}\""))
        .replace("Host oh.example;", &format!("Host oh.example:{port};"))
        .replace("X-Forwarded-Port 443;", &format!("X-Forwarded-Port {port};"))
        .replace("127.0.0.1:3000", &format!("127.0.0.1:{openhands}"))
        .replace("127.0.0.1:8888", &format!("127.0.0.1:{editor}"))
        .replace("127.0.0.1:40123", &format!("127.0.0.1:{app}"));
    Ok(text)
}
