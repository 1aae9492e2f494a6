//! What a server is: a handful of harmless questions, and what their answers mean.
//!
//! A status proves nothing here, because OpenHands answers 200 with its page where there is nothing; so media
//! types and bodies count. [`look`] asks and [`judge`], which is pure, says what it means.
//!
//! Nothing that is asked begins anything. `/` is never asked for: code-server writes down what was opened last
//! when its page is asked for. `/healthz` goes before all others, because it is the one path of code-server that
//! does not count as a visitor and does not let VS Code be loaded. Engine.IO is asked for a transport that there is
//! not, and a WebSocket for a version that there is not: both are refused in words that only they have, and nothing
//! is opened.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::ask::{Visitor, ask};
use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::{Answer, Header};
use crate::random;
use crate::reach::Way;
use crate::remote_agent::is_commit;

/// How long `/healthz` is asked alone.
const ALONE: Duration = Duration::from_secs(1);

/// How long the first answer is waited for where `/healthz` had none: a server of Node without a page leaves all
/// paths that it does not know without an answer.
const LAGGARD: Duration = Duration::from_secs(5);

/// The bytes that are read of an answer; what tells is at the beginning.
const BODY_BYTES_MAX: usize = 16 << 10;

/// How much is kept of what a server says of itself.
const NAME_CHARS_MAX: usize = 64;

/// The first version of OpenHands without Socket.IO.
const FIRST_WITHOUT_SOCKET_IO: (u32, u32) = (1, 7);

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// `/healthz`, which code-server answers.
    Health,
    /// `/openapi.json`, in which the programs of OpenHands say their name.
    OpenApi,
    /// `/server_info`, which the programs of OpenHands answer.
    ServerInfo,
    /// A transport of Engine.IO that there is not.
    Engine,
    /// `/version`, at which a server of VS Code says its commit.
    Commit,
    /// A path that nobody has.
    Canary,
    /// An upgrade to a version of WebSockets that there is not, at the path that was given; asked where nothing
    /// else told.
    Upgrade,
}

/// One question and what came of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What was asked.
    pub question: Question,
    /// Path and query of it.
    pub target: String,
    /// What was answered.
    pub answer: Timed<Result<Answer, Failure>>,
}

/// What was seen of a server.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The path under which it is, without its last slash.
    pub prefix: String,
    /// What was asked, in the order of [`Question`]; what was not answered in time is left out.
    pub asked: Vec<Asked>,
}

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OpenHands whose pages connect by Socket.IO, up to 1.6.
    OpenHandsV0,
    /// The app server of OpenHands from 1.7 on: it has no WebSocket, pages connect to agent servers.
    OpenHandsV1,
    /// An agent server of OpenHands, with a WebSocket for each conversation.
    AgentServer,
    /// Agent Canvas: an agent server behind a page of its own.
    AgentCanvas,
    /// code-server.
    CodeServer,
    /// A server of VS Code itself, as openvscode-server is.
    OpenVscode,
    /// Socket.IO, and no OpenHands.
    SocketIo,
    /// Some WebSocket.
    WebSocket,
    /// Whatever is there is behind a login.
    Locked,
    /// Every path is redirected.
    Moved,
    /// It answers, and is none of these.
    Other,
    /// Nothing answered.
    Silent,
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its kind.
    pub family: Family,
    /// Its version, where it says one; the commit of a server of VS Code.
    pub version: Option<String>,
    /// Whether it has an answer for paths that nobody has; `None` where that could not be told.
    pub has_fallback: Option<bool>,
    /// The proxy that answers in front of it, as it names itself.
    pub proxy: Option<String>,
    /// Which answers told, for people.
    pub evidence: Vec<String>,
}

impl Family {
    /// Says whether its pages connect by Socket.IO.
    pub const fn has_socket_io(self) -> bool {
        matches!(self, Self::OpenHandsV0 | Self::SocketIo)
    }

    /// Says whether it is an editor.
    pub const fn is_editor(self) -> bool {
        matches!(self, Self::CodeServer | Self::OpenVscode)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenHandsV0 => "OpenHands V0 (Socket.IO)",
            Self::OpenHandsV1 => "OpenHands V1 app server (no WebSocket of its own)",
            Self::AgentServer => "OpenHands V1 agent server",
            Self::AgentCanvas => "OpenHands Agent Canvas",
            Self::CodeServer => "code-server",
            Self::OpenVscode => "VS Code server (openvscode-server)",
            Self::SocketIo => "Socket.IO",
            Self::WebSocket => "WebSocket",
            Self::Locked => "something behind a login",
            Self::Moved => "something that redirects",
            Self::Other => "an unknown server",
            Self::Silent => "nothing that answers",
        })
    }
}

impl Asked {
    /// Says whether there was no connection at all.
    fn is_unreached(&self) -> bool {
        use Failure::{Certificate, NoAddress, Proxy, Refused, Tls, Unreachable};
        let failure = self.answer.value.as_ref().err();
        failure.is_some_and(|failure| {
            matches!(
                failure,
                Certificate(_) | NoAddress(_) | Proxy(_) | Refused | Tls(_) | Unreachable(_)
            )
        })
    }
}

impl Observed {
    /// Returns the answer to a question.
    pub fn answer(&self, question: Question) -> Option<&Answer> {
        self.of(question)?.answer.value.as_ref().ok()
    }

    fn of(&self, question: Question) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.question == question)
    }
}

/// Asks a server what it is, by at most seven requests.
///
/// Where its path is one of a program that is known (`/socket.io/`, `/sockets/…`, `/conversations/…`), the program
/// is looked for above it.
pub async fn look(way: &Way, visitor: &Visitor) -> Observed {
    let prefix = prefix_of(&way.target.path).to_owned();
    let mut way = way.clone();
    way.limits.body_bytes_max = way.limits.body_bytes_max.min(BODY_BYTES_MAX);
    let mut looking = Looking { way, visitor, running: JoinSet::new(), asked: Vec::new() };
    looking.begin(Question::Health, format!("{prefix}/healthz"));
    looking.take_one(Instant::now() + ALONE).await;
    let mut observed = Observed { prefix, asked: looking.asked.clone() };
    let is_unreached = observed.of(Question::Health).is_some_and(Asked::is_unreached);
    if !is_unreached && judge(&observed).family != Family::CodeServer {
        for (question, below) in [
            (Question::OpenApi, "/openapi.json".to_owned()),
            (Question::ServerInfo, "/server_info".to_owned()),
            (Question::Engine, "/socket.io/?EIO=4&transport=none".to_owned()),
            (Question::Commit, "/version".to_owned()),
            (
                Question::Canary,
                format!("/__oh_canary_{}", random::hexadecimal(&random::bytes::<8>())),
            ),
        ] {
            looking.begin(question, format!("{}{below}", observed.prefix));
        }
        looking.take_rest().await;
        observed.asked.clone_from(&looking.asked);
        // What answers nothing may still answer an upgrade: a server of WebSockets alone does.
        if matches!(judge(&observed).family, Family::Other | Family::Silent) {
            let path = looking.way.target.path.clone();
            looking.begin(Question::Upgrade, path);
            looking.take_one(Instant::now() + LAGGARD).await;
        }
    }
    // So that whoever goes on has left those that did not answer.
    looking.running.shutdown().await;
    observed.asked = std::mem::take(&mut looking.asked);
    observed.asked.sort_by_key(|asked| asked.question);
    observed
}

/// Returns the path of the program to which a path belongs, without its last slash.
pub fn prefix_of(path: &str) -> &str {
    let parts = ["/socket.io", "/sockets", "/conversations", "/api"];
    let begins = |part: &str| {
        let mut found = path.match_indices(part).map(|(at, _)| at);
        found.find(|at| {
            let rest = path.get(at + part.len()..).unwrap_or_default();
            rest.is_empty() || rest.starts_with('/')
        })
    };
    let at = parts.into_iter().filter_map(begins).min().unwrap_or(path.len());
    path.get(..at).unwrap_or(path).trim_end_matches('/')
}

/// Says what a server is, of what was seen of it.
pub fn judge(observed: &Observed) -> Kind {
    let mut kind = family(observed);
    kind.proxy = observed
        .asked
        .iter()
        .filter_map(|asked| asked.answer.value.as_ref().ok())
        .find_map(proxy_of);
    kind.has_fallback = observed.answer(Question::Canary).and_then(|answer| match answer.status {
        200 => Some(true),
        404 | 405 | 410 => Some(false),
        _ => None,
    });
    if kind.has_fallback == Some(true) {
        kind.evidence.push("every path that nobody has is answered with 200".to_owned());
    }
    kind
}

/// What Engine.IO is, by what it says of a transport that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// python-engineio, which OpenHands has.
    Python,
    /// engine.io, of Node, or one that answers as it does.
    Node,
}

/// What `/server_info` says.
#[derive(Deserialize)]
struct ServerInfo {
    title: Option<String>,
    version: Option<String>,
    uptime: Option<f64>,
    idle_time: Option<f64>,
}

/// What stands under `info` in `/openapi.json`.
#[derive(Deserialize)]
struct Info {
    title: String,
    version: String,
}

/// What code-server says at `/healthz`.
#[derive(Deserialize)]
struct Health {
    status: String,
    #[serde(rename = "lastHeartbeat")]
    _last_heartbeat: u64,
}

const AGENT_SERVER: &str = "OpenHands Agent Server";

fn family(observed: &Observed) -> Kind {
    if let Some(status) = observed.answer(Question::Health).and_then(health) {
        return found(
            Family::CodeServer,
            None,
            format!("/healthz says {status:?} and its last heartbeat"),
        );
    }
    if let Some(commit) = observed.answer(Question::Commit).and_then(commit) {
        return found(
            Family::OpenVscode,
            Some(commit),
            "/version is a commit of VS Code".to_owned(),
        );
    }
    let info = observed.answer(Question::OpenApi).and_then(info);
    let server = observed.answer(Question::ServerInfo).and_then(json::<ServerInfo>);
    let engine = observed.answer(Question::Engine).and_then(engine);
    let is_agent_server = [
        info.as_ref().map(|info| info.title.as_str()),
        server.as_ref().and_then(|server| server.title.as_deref()),
    ]
    .contains(&Some(AGENT_SERVER));
    if is_agent_server {
        return of_agent_server(observed, server.as_ref());
    }
    let counts_time = |server: &ServerInfo| server.uptime.is_some() && server.idle_time.is_some();
    match info {
        Some(info) if info.title == "OpenHands" => {
            let version = plain(&info.version);
            let said = format!("/openapi.json says \"OpenHands\" {version}");
            return of_openhands(engine, Some(version), said);
        }
        _ if server.as_ref().is_some_and(counts_time) => {
            let said = "/server_info says how long OpenHands runs and idles".to_owned();
            return of_openhands(engine, None, said);
        }
        _ => {}
    }
    if let Some(engine) = engine {
        let which = if engine == Engine::Python { "python-engineio" } else { "engine.io" };
        let said = format!("{which} refuses a transport that there is not");
        return found(Family::SocketIo, None, said);
    }
    of_others(observed)
}

fn of_agent_server(observed: &Observed, server: Option<&ServerInfo>) -> Kind {
    let has_page = observed.answer(Question::Canary).is_some_and(is_page);
    let family = if has_page { Family::AgentCanvas } else { Family::AgentServer };
    // What its OpenAPI says is the same in all versions.
    let version = server.and_then(|server| server.version.as_deref()).map(plain);
    let said = version.as_deref().unwrap_or("without its version");
    let mut kind = found(family, None, format!("it says {AGENT_SERVER:?}, {said}"));
    if has_page {
        kind.evidence.push("it has a page, which an agent server alone has not".to_owned());
    } else {
        kind.version = version;
    }
    kind
}

fn of_openhands(engine: Option<Engine>, version: Option<String>, said: String) -> Kind {
    let is_late =
        version.as_deref().and_then(numbers).map(|numbers| numbers >= FIRST_WITHOUT_SOCKET_IO);
    // What answers counts for more than what a number promises.
    let family = match (engine, is_late) {
        (Some(_), _) | (None, Some(false)) => Family::OpenHandsV0,
        (None, Some(true) | None) => Family::OpenHandsV1,
    };
    let mut kind = found(family, version, said);
    kind.evidence.push(match engine {
        Some(Engine::Python) => "python-engineio refuses a transport that there is not".to_owned(),
        Some(Engine::Node) => "engine.io refuses a transport that there is not".to_owned(),
        None => "no Engine.IO answers at /socket.io/".to_owned(),
    });
    kind
}

/// Says what it is where no program said its name.
fn of_others(observed: &Observed) -> Kind {
    if let Some(said) = observed.answer(Question::Upgrade).and_then(speaks_websocket) {
        return found(Family::WebSocket, None, said);
    }
    let Some(answer) =
        observed.answer(Question::Canary).or_else(|| observed.answer(Question::Health))
    else {
        let mut failures =
            observed.asked.iter().filter_map(|asked| asked.answer.value.as_ref().err());
        let why =
            failures.next().map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
        return found(Family::Silent, None, why);
    };
    let status = answer.status;
    match (status, answer.header("Location")) {
        (401, _) => {
            found(Family::Locked, None, "paths that nobody has are answered with 401".to_owned())
        }
        (301 | 302 | 303 | 307 | 308, Some(to)) => {
            // Keys travel in queries.
            let to = plain(to.split('?').next().unwrap_or_default());
            found(Family::Moved, None, format!("every path is redirected: {to}"))
        }
        _ => {
            found(Family::Other, None, format!("a path that nobody has is answered with {status}"))
        }
    }
}

fn found(family: Family, version: Option<String>, evidence: String) -> Kind {
    Kind { family, version, has_fallback: None, proxy: None, evidence: vec![evidence] }
}

fn health(answer: &Answer) -> Option<String> {
    json::<Health>(answer).map(|health| plain(&health.status))
}

/// The commit of a server of VS Code: forty digits and nothing else.
pub(crate) fn commit(answer: &Answer) -> Option<String> {
    let text = answer.text();
    (answer.status == 200 && is_commit(&text)).then(|| text.into_owned())
}

/// Reads what stands under `info`, of which the rest of a long document need not be there.
fn info(answer: &Answer) -> Option<Info> {
    if answer.status != 200 {
        return None;
    }
    let text = answer.text();
    let (_, rest) = text.split_once("\"info\":")?;
    serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()
}

fn json<T: for<'j> Deserialize<'j>>(answer: &Answer) -> Option<T> {
    if answer.status != 200 {
        return None;
    }
    serde_json::from_slice(&answer.body).ok()
}

fn engine(answer: &Answer) -> Option<Engine> {
    /// engineioxide writes the code as a text.
    #[derive(Deserialize)]
    struct Fault {
        #[serde(rename = "code")]
        _code: serde_json::Value,
        message: String,
    }
    if answer.status != 400 && answer.status != 403 {
        return None;
    }
    let text = answer.text();
    let text = text.trim();
    if let Ok(fault) = serde_json::from_str::<Fault>(text) {
        let messages =
            ["Transport unknown", "Forbidden", "Bad request", "Unsupported protocol version"];
        return messages.contains(&fault.message.as_str()).then_some(Engine::Node);
    }
    let is_python = text.starts_with("\"Invalid transport")
        || text.contains("unsupported version of the Socket.IO or Engine.IO protocol")
        || text.ends_with(" is not an accepted origin.\"");
    is_python.then_some(Engine::Python)
}

/// Says how a server shows that it knows WebSockets, of its answer to a version that there is not (RFC 6455,
/// section 4.4).
fn speaks_websocket(answer: &Answer) -> Option<String> {
    let said = match answer.header("Sec-WebSocket-Version") {
        Some(versions) => format!("it speaks the versions {} of WebSockets", plain(versions)),
        None if answer.status == 426 => "it wants an upgrade".to_owned(),
        None if answer.status == 400
            && answer.text().to_ascii_lowercase().contains("sec-websocket-version") =>
        {
            "it names the version of WebSockets as what is wrong".to_owned()
        }
        None => return None,
    };
    Some(said)
}

fn is_page(answer: &Answer) -> bool {
    answer.status == 200 && answer.media_type().as_deref() == Some("text/html")
}

/// Returns the name of a proxy that answers.
fn proxy_of(answer: &Answer) -> Option<String> {
    let known =
        ["nginx", "openresty", "tengine", "caddy", "apache", "cloudflare", "awselb", "envoy"];
    let server = answer.header("Server")?;
    let is_known = known
        .iter()
        .any(|name| server.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)));
    is_known.then(|| plain(server))
}

/// Returns the first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns what a server says as it can be shown: short, and without what directs a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(NAME_CHARS_MAX).collect()
}

/// Questions on the way, each on a connection of its own; those that are left end with this value.
struct Looking<'v> {
    way: Way,
    visitor: &'v Visitor,
    running: JoinSet<Asked>,
    asked: Vec<Asked>,
}

impl Looking<'_> {
    fn begin(&mut self, question: Question, target: String) {
        let (way, mut visitor) = (self.way.clone(), self.visitor.clone());
        if question == Question::Upgrade {
            let fixed = [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "0"),
                ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ];
            visitor
                .headers
                .extend(fixed.into_iter().filter_map(|(name, value)| Header::new(name, value)));
        }
        self.running.spawn(async move {
            let answer = ask(&way, &visitor, "GET", &target).await;
            Asked { question, target, answer }
        });
    }

    /// Takes the next answer, if one comes until then.
    async fn take_one(&mut self, until: Instant) -> bool {
        match timeout_at(until, self.running.join_next()).await {
            Ok(Some(Ok(asked))) => {
                self.asked.push(asked);
                true
            }
            // A question that panicked has no answer.
            Ok(Some(Err(_))) => true,
            Ok(None) | Err(_) => false,
        }
    }

    /// Takes all answers that come in time, and no more once it is clear what they will say.
    async fn take_rest(&mut self) {
        let silent = Instant::now() + LAGGARD;
        let mut has_answer = self.asked.iter().any(|asked| asked.answer.value.is_ok());
        loop {
            // Who answers is waited for as long as an answer may take: what is missing would tell another kind.
            let until = if has_answer { Instant::now() + 2 * self.way.limits.http } else { silent };
            if !self.take_one(until).await {
                return;
            }
            let Some(last) = self.asked.last() else { continue };
            let Ok(answer) = &last.answer.value else { continue };
            // No program of OpenHands has it, so no other answer can say more.
            if last.question == Question::Engine && engine(answer) == Some(Engine::Node) {
                return;
            }
            has_answer = true;
        }
    }
}

#[cfg(test)]
mod tests;
