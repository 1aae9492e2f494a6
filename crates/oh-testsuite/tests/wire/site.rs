//! A site of a test, and back ends that show what they receive.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::net::{self, Answer};
use oh_testsuite::process::Running;
use serde_json::json;

/// How long a program may take to listen.
pub(crate) const START_BOUND: Duration = Duration::from_secs(60);
/// What a session file of a test says beside the ports: the folder that is opened.
pub(crate) const FOLDER: &str = "/home/ubuntu/openhands-workspace/S";

/// A site with a session `S`: an editor, an application with index 0, and OpenHands.
///
/// All three are [`Parrot`]s.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    /// The value of the `Authorization` header that opens it; empty where none is asked for.
    pub(crate) login: String,
    pub(crate) editor: Parrot,
    pub(crate) app: Parrot,
    pub(crate) openhands: Parrot,
}

impl Site {
    /// The default: TLS on `localhost`, behind the login.
    pub(crate) fn with_tls() -> Result<Self> {
        Self::of(Lab::with_tls()?, &[])
    }

    pub(crate) fn of(mut lab: Lab, sets: &[&str]) -> Result<Self> {
        let (editor, app, openhands) = (Parrot::start()?, Parrot::start()?, Parrot::start()?);
        let session = json!({
            "vscode_port": editor.port,
            "app_ports": [app.port],
            "toolkit": { "schema": 1, "folder": FOLDER },
        });
        lab.session("S", &session.to_string())?;
        start_nginx(&mut lab)?;
        let login = publish(&lab, &openhands.address(), sets)?;
        Ok(Self { lab, login, editor, app, openhands })
    }

    /// Asks with the login.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.lab.get(path, &self.with_login(headers))
    }

    /// Asks for a WebSocket with the login, and returns the status.
    pub(crate) fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<u16> {
        Ok(net::upgrade(&self.lab.url(path), &self.with_login(headers))?.status())
    }

    pub(crate) fn with_login<'a>(
        &'a self,
        headers: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let login = Some(("Authorization", self.login.as_str())).filter(|(_, key)| !key.is_empty());
        login.into_iter().chain(headers.iter().copied()).collect()
    }

    /// Returns what any of the three has received since the last call.
    pub(crate) fn received(&self) -> Vec<String> {
        [&self.editor, &self.app, &self.openhands].map(Parrot::received).concat()
    }

    pub(crate) fn name_of(&self, head: &str) -> &'static str {
        match head.split(' ').next().and_then(|port| port.parse::<u16>().ok()) {
            Some(port) if port == self.editor.port => "editor",
            Some(port) if port == self.app.port => "app",
            Some(port) if port == self.openhands.port => "OpenHands",
            _ => "nginx",
        }
    }
}

/// Starts nginx with the workers' user named, as Debian's own configuration names it.
pub(crate) fn start_nginx(lab: &mut Lab) -> Result<()> {
    let config = std::fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
    lab.write("etc/nginx/nginx.conf", &format!("user www-data;\n{config}"))?;
    lab.start_nginx()
}

/// Publishes, and returns the value of the `Authorization` header that opens the site.
pub(crate) fn publish(lab: &Lab, upstream: &str, sets: &[&str]) -> Result<String> {
    let upstream = format!("site.upstream={upstream}");
    let mut arguments = vec!["apply", "--format", "json", "--set", &upstream];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let document = lab.run(&arguments)?.expect(0)?.json()?;
    let password = lab::password(&document);
    Ok(password.map(|password| lab::basic("openhands", &password)).unwrap_or_default())
}

/// A back end that answers with its port and the head of the request, and with a line of the
/// answer's head for each `X-Say` of the request. It lives as long as the test's process.
pub(crate) struct Parrot {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Parrot {
    /// Starts one that says what it is asked to say.
    pub(crate) fn start() -> Result<Self> {
        Self::answering(|port, head, body_bytes| {
            // HTTP/2 has the names of headers in lower case.
            let said = head.lines().filter_map(|line| {
                line.strip_prefix("X-Say: ").or_else(|| line.strip_prefix("x-say: "))
            });
            let said: String = said.map(|line| format!("{line}\r\n")).collect();
            let status = if said.contains("Location: ") { "302 Found" } else { "200 OK" };
            let body = format!("{port} {head}{body_bytes} bytes");
            format!(
                "HTTP/1.1 {status}\r\n{said}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        })
    }

    /// Starts one that lets in whoever has the cookie `let=in`, as oauth2-proxy's `/oauth2/auth`.
    pub(crate) fn endpoint() -> Result<Self> {
        Self::answering(|_, head, _| {
            let known = header(head, "Cookie") == Some("let=in");
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        })
    }

    fn answering(answer: fn(u16, &str, u64) -> String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
                let length = header(&head, "Content-Length").and_then(|text| text.parse().ok());
                let mut body = reader.take(length.unwrap_or(0));
                let body_bytes = std::io::copy(&mut body, &mut std::io::sink());
                let answer = answer(port, &head, body_bytes.unwrap_or_default());
                all.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                // A client that went away has its answer.
                stream.write_all(answer.as_bytes()).unwrap_or_default();
            }
        });
        Ok(Self { port, heard })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the heads that have arrived since the last call.
    pub(crate) fn received(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Finds a header in a head as a parrot shows it.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v)
}

/// Starts the stand-in for an application, which speaks WebSocket.
pub(crate) fn stand_in() -> Result<(Running, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut running = Running::start(command.args(["app", "--listen", "127.0.0.1:0"]))?;
    let line = running.wait_for_line("listening on ", START_BOUND)?;
    let address = line.strip_prefix("listening on ").context("no address")?.to_owned();
    Ok((running, address))
}

pub(crate) fn port_of(address: &str) -> Result<u16> {
    Ok(address.rsplit(':').next().unwrap_or_default().parse()?)
}
