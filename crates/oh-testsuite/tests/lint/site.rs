//! The healthy site of the linter in front of a real code-server and a real python-socketio.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_nginx_conf::lint::HEALTHY;
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::net::{self, Answer, Request};
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};
use serde_json::Value;

/// How long a program may take to listen.
const START_BOUND: Duration = Duration::from_secs(90);

/// How long a connection is held silent where a mutant is about time. A broken one ends before.
const SILENCE: Duration = Duration::from_secs(3);

/// A message that fits into what OpenHands takes.
const MESSAGE_BYTES: usize = 4_000_000;

const USER: &str = "person";
const PASSWORD: &str = "a password of a test";

/// What OpenHands is to nginx: Socket.IO that takes any Origin, and a page that shows headers.
const PYTHON_SERVER: &str = "
import json, socketio, uvicorn
io = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*', max_http_buffer_size=4194304)
async def page(scope, receive, send):
    headers = {k.decode(): v.decode() for k, v in scope['headers']}
    body = ('OpenHands ' + json.dumps(headers)).encode()
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
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
    _programs: Vec<Running>,
}

/// What clients see, one line for each thing.
pub(crate) type Seen = Vec<(&'static str, String)>;

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::with_tls()?;
        let mut python = Command::new(components::python()?);
        let mut python = Running::start(python.args(["-u", "-c", PYTHON_SERVER]))?;
        let line = python.wait_for_line("running on http://127.0.0.1:", START_BOUND)?;
        let openhands = port_in(&line)?;
        let (editor, editor_port) = code_server(&lab)?;
        let page = net::get(&format!("http://127.0.0.1:{editor_port}/?folder=/tmp"), &[])?;
        let text = page.text();
        let after = text.split_once("stable-").context("the page names no commit")?.1;
        let commit = after.chars().take_while(char::is_ascii_hexdigit).collect();
        let healthy = adapted(&lab, openhands, editor_port, lab::back_end()?)?;
        let login = lab::basic(USER, PASSWORD);
        let _programs = vec![python, editor];
        Ok(Self { lab, healthy, login, commit, openhands, _programs })
    }

    /// Lets the linter judge a configuration.
    pub(crate) fn lint(&self, text: &str) -> Result<Value> {
        self.lab.write("etc/nginx/nginx.conf", text)?;
        let upstream = format!("site.upstream=127.0.0.1:{}", self.openhands);
        let said = self.lab.run(&["lint", "--format", "json", "--set", &upstream])?;
        ensure!(said.code == 0 || said.code == 1, "{said:?}");
        Ok(said.json()?["result"].clone())
    }

    /// Serves a configuration and looks at it as clients do.
    pub(crate) fn seen(&mut self, text: &str, about: &str) -> Result<Seen> {
        self.lab.write("etc/nginx/nginx.conf", text)?;
        self.lab.start_nginx()?;
        let seen = self.look(about);
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

    fn look(&self, about: &str) -> Result<Seen> {
        let status = |answer: Result<Answer>| {
            answer.map_or_else(|_| "no answer".into(), |answer| answer.status.to_string())
        };
        let refused = |answer: Result<Answer>| match answer {
            Ok(answer) if answer.status >= 400 => "refused".into(),
            other => status(other),
        };
        let own = self.origin();
        let own = ("Origin", own.as_str());
        let evil = ("Origin", "https://evil.example");
        let socket =
            format!("/vscode/code/stable-{}?reconnectionToken=a&reconnection=false", self.commit);
        let polling = "/socket.io/?EIO=4&transport=polling";
        let websocket = "/socket.io/?EIO=4&transport=websocket";
        let page = self.get("/vscode/code/?folder=/tmp", &[]);
        let page = page.map_or_else(
            |_| "no answer".into(),
            |answer| {
                format!(
                    "{} {}",
                    answer.status,
                    answer.text().contains("vscode-workbench-web-configuration")
                )
            },
        );
        let mut seen = vec![
            ("editor: page", page),
            ("editor: first address", self.location("/vscode/code/")),
            ("editor: no slash", self.location("/vscode/code?a=b")),
            (
                "editor: file",
                status(self.get("/vscode/code/_static/src/browser/media/favicon.svg", &[])),
            ),
            (
                "editor: script",
                status(self.get(
                    &format!(
                        "/vscode/code/stable-{}/static/out/vs/code/browser/workbench/workbench.js",
                        self.commit
                    ),
                    &[],
                )),
            ),
            ("editor: WebSocket", self.upgrade(&socket, &[own])),
            ("editor: foreign WebSocket", self.refused(&socket, &[evil])),
            (
                "editor: foreign WebSocket with Forwarded",
                self.refused(&socket, &[evil, ("Forwarded", "host=evil.example")]),
            ),
            (
                "editor: foreign WebSocket with X-Forwarded-Host",
                self.refused(&socket, &[evil, ("X-Forwarded-Host", "evil.example")]),
            ),
            ("editor: WebSocket of null", self.refused(&socket, &[("Origin", "null")])),
            (
                "editor: without login",
                refused(net::get(&self.url("/vscode/code/?folder=/tmp"), &[])),
            ),
            ("editor: unknown session", refused(self.get("/vscode/nobody/", &[]))),
            ("editor: service worker", self.service_worker()),
            ("app", status(self.get("/apps/code-0/x", &[]))),
            ("app: unknown", refused(self.get("/apps/nobody-0/", &[]))),
            ("openhands: page", status(self.get("/", &[]))),
            ("openhands: believed", self.believed()),
            ("socket.io: WebSocket", self.socket_io(websocket, own)),
            ("socket.io: foreign WebSocket", self.refused(websocket, &[evil])),
            ("socket.io: polling and 4 MB", self.polled(polling, own)),
            ("socket.io: polling as browsers do", status(self.get(polling, &[]))),
            ("socket.io: allowed origins", self.allowed_origins(polling, own)),
            ("splitting: an answer", self.split_answer()),
            ("splitting: a request", self.split_request()),
            ("socket.io: foreign polling", refused(self.get(polling, &[evil]))),
        ];
        if about.contains("timeout") {
            seen.push(("socket.io: silence", self.silence(websocket, own)));
        }
        if about.contains("ssl") {
            seen.push(("tls 1.2", self.tls_1_2()?));
        }
        Ok(seen)
    }

    /// Where a browser is sent, on this site.
    fn location(&self, path: &str) -> String {
        match self.get(path, &[]) {
            Ok(answer) => {
                let to = answer.header("Location").unwrap_or_default();
                let to = to.strip_prefix(self.origin().as_str()).unwrap_or(to);
                let to = to.split('?').next().unwrap_or_default();
                let folder = path.split('?').next().unwrap_or_default();
                let to =
                    to.strip_prefix("./").map_or(to.to_owned(), |rest| format!("{folder}{rest}"));
                format!("{} {to}", answer.status)
            }
            Err(_) => "no answer".into(),
        }
    }

    /// How often Socket.IO says who may read its answer.
    fn allowed_origins(&self, path: &str, origin: (&str, &str)) -> String {
        let answer = self.get(path, &[origin]);
        let count = |answer: Answer| answer.header_all("Access-Control-Allow-Origin").count();
        answer.map_or_else(|_| "no answer".into(), |answer| count(answer).to_string())
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

    fn service_worker(&self) -> String {
        let answer = self.get("/vscode/code/_static/out/browser/serviceWorker.js", &[]);
        answer.map_or_else(
            |_| "no answer".into(),
            |answer| {
                format!(
                    "{} {}",
                    answer.status,
                    answer.header("Service-Worker-Allowed").unwrap_or("-")
                )
            },
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

    /// Connects to Socket.IO by WebSocket alone.
    fn socket_io(&self, path: &str, origin: (&str, &str)) -> String {
        let talk = || -> Result<String> {
            let headers = [("Authorization", self.login.as_str()), origin];
            let mut socket = net::upgrade(&self.url(path), &headers)?.open()?;
            let open = net::receive_text(&mut socket)?;
            net::send_text(&mut socket, "40")?;
            let connected = net::receive_text(&mut socket)?;
            Ok(format!("{} {}", open.starts_with("0{"), connected.starts_with("40{")))
        };
        talk().unwrap_or_else(|_| self.upgrade(path, &[origin]))
    }

    /// Connects by polling and posts a large message.
    fn polled(&self, path: &str, origin: (&str, &str)) -> String {
        let talk = || -> Result<String> {
            let open = self.get(path, &[origin])?;
            let text = open.text();
            let Some((_, after)) = text.split_once("0{\"sid\":\"") else {
                return Ok(format!("{} without a session", open.status));
            };
            let sid = after.split('"').next().unwrap_or_default();
            let url = self.url(&format!("{path}&sid={sid}"));
            let message = format!("42[\"x\",\"{}\"]", "x".repeat(MESSAGE_BYTES));
            let headers =
                [("Authorization", self.login.as_str()), origin, ("Content-Type", "text/plain")];
            let post = |body: &str| {
                let body = body.as_bytes();
                net::send(&Request {
                    method: "POST",
                    headers: &headers,
                    body,
                    ..Request::get(&url)
                })
            };
            Ok(format!("{} {}", post("40")?.status, post(&message)?.status))
        };
        talk().unwrap_or_else(|_| "no answer".into())
    }

    /// Holds a connection and says nothing.
    fn silence(&self, path: &str, origin: (&str, &str)) -> String {
        let hold = || -> Result<bool> {
            let headers = [("Authorization", self.login.as_str()), origin];
            let mut socket = net::upgrade(&self.url(path), &headers)?.open()?;
            net::receive_text(&mut socket)?;
            socket.get_ref().set_read_timeout(SILENCE)?;
            let fault = socket.read().err();
            let is_timeout = |fault: &std::io::Error| {
                matches!(
                    fault.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                )
            };
            Ok(fault.is_some_and(|fault| {
                format!("{fault:?}").contains("WouldBlock")
                    || std::error::Error::source(&fault)
                        .and_then(|s| s.downcast_ref())
                        .is_some_and(is_timeout)
            }))
        };
        hold().map_or_else(
            |_| "no answer".into(),
            |held| if held { "held".into() } else { "cut".into() },
        )
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

fn code_server(lab: &Lab) -> Result<(Running, u16)> {
    let port = net::free_port()?;
    let home = lab.at("home");
    fs::create_dir_all(&home)?;
    let mut command = Command::new(components::node()?);
    command.arg(components::code_server()?);
    command.args(["--bind-addr", &format!("127.0.0.1:{port}"), "--auth", "none"]);
    command.args(["--disable-telemetry", "--disable-update-check", "--user-data-dir"]);
    command.arg(home.join("data")).arg("--extensions-dir").arg(home.join("extensions"));
    command.arg("/tmp").env_remove("PORT").env("HOME", &home);
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
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {root}/run/{kind};\n"))
        .concat();
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
