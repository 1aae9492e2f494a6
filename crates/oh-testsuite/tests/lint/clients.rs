//! Real clients of a site: socket.io-client on Node, and Chromium as a page of the site, as a page
//! of another origin, and as a person at the workbench.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::net::{self, Request};
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};
use serde_json::{Value, json};

/// How long a program may take to listen.
const START_BOUND: Duration = Duration::from_secs(90);

/// How long socket.io-client may take for all that it is asked.
const TALK_BOUND: Duration = Duration::from_secs(120);

/// How long a page may take.
const PAGE_BOUND: Duration = Duration::from_secs(30);

/// How long a workbench may take until it shows its folder, on two busy cores.
const WORKBENCH_BOUND: Duration = Duration::from_secs(30);

/// How long its terminal may take to write a file.
const TERMINAL_BOUND: Duration = Duration::from_secs(20);

/// How long a connection is held silent where a mutant is about time. A broken one ends before.
const SILENCE: Duration = Duration::from_secs(3);

/// How long a workbench may take to answer keys before they are pressed again.
const KEYS_BOUND: Duration = Duration::from_secs(5);

/// A message near what OpenHands takes (`maxPayload` of its handshake, 4 MiB).
const MESSAGE_BYTES: usize = 4_000_000;

/// What a workbench is that shows its folder without a dialog.
pub(crate) const USABLE: &str = "usable";

/// The file by which the folder of the workbench is known.
const KNOWN_FILE: &str = "known-by-this.txt";

/// What clients see, one line for each thing.
pub(crate) type Seen = Vec<(String, String)>;

/// Clients that live as long as the site.
pub(crate) struct Clients {
    browser: Browser,
    socket_io: Running,
    socket_io_port: u16,
    foreign_port: u16,
    folder: PathBuf,
    numbers: AtomicUsize,
    _foreign: Running,
}

/// What the clients visit.
pub(crate) struct Visited<'a> {
    /// Scheme, host and port.
    pub(crate) origin: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    /// The commit of the VS Code behind `/vscode/code/`.
    pub(crate) commit: &'a str,
}

impl Clients {
    pub(crate) fn new(lab: &Lab, folder: &Path) -> Result<Self> {
        let mut node = Command::new(components::node()?);
        node.args(["-e", include_str!("socket_io.js")]);
        node.env("NODE_PATH", components::socket_io_modules()?);
        node.env("NODE_EXTRA_CA_CERTS", lab.at("etc/tls.pem"));
        let mut socket_io = Running::start(&mut node)?;
        let line = socket_io.wait_for_line("listening on ", START_BOUND)?;
        let socket_io_port = line.rsplit(' ').next().unwrap_or_default().parse()?;
        // With its key trusted, Chromium keeps files and takes service workers as it does elsewhere.
        let trusted = format!("--ignore-certificate-errors-spki-list={}", key_digest(lab)?);
        let browser =
            Browser::start_with(&["--host-resolver-rules=MAP oh.example 127.0.0.1", &trusted])?;
        fs::write(folder.join(KNOWN_FILE), "")?;
        let (foreign, foreign_port) = foreign(lab)?;
        let (folder, numbers) = (folder.to_owned(), AtomicUsize::new(0));
        Ok(Self {
            browser,
            socket_io,
            socket_io_port,
            foreign_port,
            folder,
            numbers,
            _foreign: foreign,
        })
    }

    /// What socket.io-client sees, by each transport alone.
    pub(crate) fn socket_io(&self, site: &Visited<'_>, holds: bool) -> Result<Seen> {
        let wanted = json!({
            "url": site.origin,
            "headers": {"Authorization": lab::basic(site.user, site.password), "Origin": site.origin},
            "bytes": MESSAGE_BYTES,
            "hold_ms": if holds { SILENCE.as_millis() } else { 0 },
        });
        let url = format!("http://127.0.0.1:{}/", self.socket_io_port);
        let answer = net::send(&Request {
            method: "POST",
            body: wanted.to_string().as_bytes(),
            timeout: TALK_BOUND,
            ..Request::get(&url)
        });
        let answer = answer.with_context(|| self.socket_io.log())?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let told = |transport: &str| answer[transport].as_str().unwrap_or_default().to_owned();
        Ok(vec![
            ("socket.io: polling".into(), told("polling")),
            ("socket.io: WebSocket".into(), told("websocket")),
        ])
    }

    /// What Chromium sees.
    pub(crate) fn browser(&self, site: &Visited<'_>) -> Result<Seen> {
        let Visited { origin, user, password, commit } = site;
        let browser = &self.browser;
        // Workers outlive the configuration that let them in.
        browser.forget_workers(origin)?;
        // The login is answered once; later addresses carry none, so that pages may ask for more.
        let with_login = origin.replacen("://", &format!("://{user}:{}@", escaped(password)), 1);
        let page = format!("{origin}/?{}", self.number());
        let answers =
            browser.open(&format!("{with_login}/login")).is_ok() && browser.open(&page).is_ok();
        if answers {
            self.is_complete(&page)?;
        }
        let nothing = || vec![("browser".to_owned(), "no answer".to_owned())];
        let mut seen = Seen::new();
        if answers {
            let folder = self.folder.display().to_string();
            let arguments = [json!(origin), json!(folder), json!(commit)];
            let own = listed(&browser.script(include_str!("own_page.js"), &arguments)?)?;
            seen.extend(own);
        } else {
            seen.extend(nothing());
        }
        let beside = format!("https://oh.example:{}/", self.foreign_port);
        browser.open(&beside)?;
        self.is_complete(&beside)?;
        let arguments = [json!(origin), json!(commit)];
        seen.extend(listed(&browser.script(include_str!("foreign_page.js"), &arguments)?)?);
        Ok(seen)
    }

    /// Returns another number each time: Chromium shows a page again that it was given once, also
    /// one that says 404.
    fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for a page: the driver may come back before the browser has left the page before.
    fn is_complete(&self, url: &str) -> Result<()> {
        self.browser.wait_until("the page", PAGE_BOUND, |browser| {
            let state = browser.script("return [document.readyState, location.href]", &[])?;
            Ok(state == json!(["complete", url]))
        })
    }

    /// Opens the workbench at its shortest address, as a person does; whether its terminal is used
    /// too is said.
    pub(crate) fn workbench(&self, site: &Visited<'_>, uses_terminal: bool) -> Result<String> {
        let seen = self.workbench_at(site.origin, uses_terminal);
        // What is open there would come back, again and again.
        self.browser.open("about:blank")?;
        seen
    }

    fn workbench_at(&self, origin: &str, uses_terminal: bool) -> Result<String> {
        let browser = &self.browser;
        if browser.open(&format!("{origin}/vscode/code?look={}", self.number())).is_err() {
            return Ok("no answer".to_owned());
        }
        let look = || browser.script(include_str!("workbench.js"), &[]);
        let come = wait::until("the workbench", WORKBENCH_BOUND, || Ok(verdict(&look()?)));
        match come {
            Ok(verdict) if verdict == USABLE && uses_terminal => self.terminal(),
            Ok(verdict) => Ok(verdict),
            Err(_) => Ok(format!("not in time: {}", look()?)),
        }
    }

    /// Lets a terminal of the workbench write a file.
    fn terminal(&self) -> Result<String> {
        let browser = &self.browser;
        let name = format!("proof-{}", self.number());
        let proof = self.folder.join(&name);
        let focus = ".terminal-wrapper.active .xterm-helper-textarea:focus";
        // A workbench that is new takes no keys yet.
        let opened = browser.wait_until("a terminal", TERMINAL_BOUND, |browser| {
            browser.press(&[Key::Control, Key::Shift, Key::Character('`')])?;
            Ok(browser.wait_for(focus, KEYS_BOUND).is_ok())
        });
        if opened.is_err() {
            return Ok("no terminal".to_owned());
        }
        browser.type_text(&format!("echo 42 > {name}"))?;
        browser.press(&[Key::Enter])?;
        let written = wait::until_true("the file that the terminal writes", TERMINAL_BOUND, || {
            fs::read_to_string(&proof).is_ok_and(|text| text == "42\n")
        });
        Ok(if written.is_ok() { USABLE } else { "a dead terminal" }.to_owned())
    }
}

/// Serves a page over TLS beside the site: of the same name, and of another origin.
fn foreign(lab: &Lab) -> Result<(Running, u16)> {
    let (root, port) = (lab.root(), net::free_port()?);
    let temporary = lab::temporary_paths(&root);
    let text = format!(
        "pid {root}/run/foreign.pid;\nerror_log {root}/log/foreign.log;\nevents {{ }}\n\
         http {{\n{temporary}access_log off;\nserver {{\nlisten 127.0.0.1:{port} ssl;\n\
         ssl_certificate {root}/etc/tls.pem;\nssl_certificate_key {root}/etc/tls.key;\n\
         default_type text/html;\nlocation / {{ return 200 '<title>beside</title>'; }}\n}}\n}}\n"
    );
    lab.write("etc/foreign.conf", &text)?;
    let mut command = Command::new(components::program("nginx")?);
    command.arg("-c").arg(lab.at("etc/foreign.conf")).args(["-g", "daemon off;"]);
    let running = Running::start(&mut command)?;
    wait::until_true("the page beside the site", START_BOUND, || {
        net::get(&format!("https://localhost:{port}/"), &[]).is_ok_and(|one| one.status == 200)
    })?;
    Ok((running, port))
}

/// What a look at a workbench says, if it says something yet.
fn verdict(state: &Value) -> Option<String> {
    let text = |key: &str| state[key].as_str().unwrap_or_default();
    if state.is_null() {
        return None;
    }
    if state["isPage"] != true {
        return Some(format!("no workbench: {} at {}", state["status"], text("url")));
    }
    if state["failed"].as_array().is_some_and(|failed| !failed.is_empty()) {
        return Some(format!("without its files: {}", state["failed"]));
    }
    if !text("dialog").is_empty() {
        return Some(format!("dialog: {}", text("dialog")));
    }
    let is_usable = state["bar"] == true && text("files").contains(KNOWN_FILE);
    is_usable.then(|| USABLE.to_owned())
}

/// Reads pairs of names and values.
fn listed(found: &Value) -> Result<Seen> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let pairs = found.as_array().context("no list")?;
    pairs.iter().map(|pair| Ok((text(&pair[0])?, text(&pair[1])?))).collect()
}

/// Writes a password as a URL has it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20").replace('@', "%40").replace('/', "%2F")
}

/// The digest of the laboratory's public key, as Chromium wants it.
fn key_digest(lab: &Lab) -> Result<String> {
    let openssl = |arguments: &[&str], file: &Path| -> Result<Vec<u8>> {
        let mut command = Command::new(components::program("openssl")?);
        let output = command.args(arguments).arg(file).output().context("could not run openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    };
    let pem = openssl(&["x509", "-pubkey", "-noout", "-in"], &lab.at("etc/tls.pem"))?;
    let pem = String::from_utf8(pem)?;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = lab.at("etc/tls.der");
    fs::write(&der, BASE64_STANDARD.decode(body).ok().context("the key is not base64")?)?;
    Ok(BASE64_STANDARD.encode(openssl(&["dgst", "-sha256", "-binary"], &der)?))
}
