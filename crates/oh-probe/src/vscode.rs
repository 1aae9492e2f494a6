//! The harmless proof of an editor: that its address leads to VS Code, that a file of it comes, and that a
//! workbench would be let in, and pages of others not.
//!
//! - The page of code-server is never asked for: who opens it without a folder may change what was opened last. Its
//!   address is asked by `OPTIONS` instead, which nginx sends the same way, and which VS Code refuses in words of its
//!   own.
//! - The handshake of a workbench ends where the server says that it takes the token. What comes next would begin a
//!   connection that is kept for hours, and take time from the windows of others that are about to come back.
//! - The server is left as by a window that is closed: it keeps nothing, and has ended its side of the connection
//!   within thirty seconds. It would sooner only for a reset or for nonsense, both of which it logs as an error.
//! - No redirect is followed: it is judged by where it leads.
//! - The token is only given to a server that has refused who has none.
//!
//! code-server counts all of it but its `/healthz` as a visitor, as it does each reload of a page.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use crate::ask::{Visitor, ask, unreached};
use crate::cause::{self, Cause};
use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::Answer;
use crate::kind::{Family, commit, plain};
use crate::ladder::UpgradeAnswer;
use crate::reach::{Stream, Way};
use crate::remote_agent::{self, DISCONNECT, Frames, NO_TOKEN, Said, commit_of, frame};
use crate::signature::{self, Common, Upgrade};
use crate::socketio::{End, closed, end_of};
use crate::websocket::{self, Handshake, Upgraded};

mod page;

pub use page::Page;

/// A page that has no business with anybody's editor (RFC 2606).
const HOSTILE: &str = "https://hostile.example";

/// A file of every workbench of the last years, where its page does not tell.
const STYLE: &str = "static/out/vs/code/browser/workbench/workbench.css";

/// The bytes that are read of an answer: a page has less, and of a file its beginning is enough.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What VS Code says of a method that it does not know.
const UNSUPPORTED: &str = "Unsupported method";

/// The cookie in which a server of VS Code keeps its token.
const TOKEN_COOKIE: &str = "vscode-tkn";

/// What came of a request.
pub type Replied = Timed<Result<Reply, Failure>>;

/// What was answered, without what is secret of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The media type.
    pub media_type: Option<String>,
    /// Where it redirects to.
    pub leads: Option<Leads>,
    /// What kind of body it has.
    pub body: Body,
}

/// Where a redirect leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To somewhere below the prefix.
    Within,
    /// To this address, which is not; its query is left out.
    Outside(String),
}

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A page of a workbench.
    Workbench(Page),
    /// The commit of a server of VS Code.
    Commit(String),
    /// VS Code's own word on a method that it does not know.
    Unsupported,
    /// Something else.
    Other,
}

/// What came of a workbench's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shaken {
    /// The server takes the token; its next question was not answered.
    Signed,
    /// The server says no, and why.
    Refused(String),
    /// The server says something else.
    Strange(String),
    /// Nothing came for so long.
    Quiet(Duration),
    /// It ended.
    Ended(End),
    /// There was no WebSocket.
    NotOpen(UpgradeAnswer),
}

/// What was seen of an editor.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its kind.
    pub family: Family,
    /// The host and port under which it is asked for.
    pub authority: String,
    /// What its address answers to `OPTIONS`.
    pub front: Replied,
    /// What it says at `/version`.
    pub version: Replied,
    /// Its page; of code-server it is not asked for.
    pub page: Option<Replied>,
    /// The answer to the address with its token, where it wants one and one was given.
    pub token: Option<Replied>,
    /// A file of it, and its path.
    pub asset: Option<(String, Replied)>,
    /// The handshake of a workbench.
    pub handshake: Option<Timed<Result<Shaken, Failure>>>,
    /// The answer to an upgrade from a page of somebody else.
    pub hostile: Option<Timed<Result<UpgradeAnswer, Failure>>>,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The address leads to it, its file comes, and a workbench would be let in.
    Works,
    /// There was no answer.
    Silent(Failure),
    /// The address leads to something else, which answers with this status.
    Elsewhere(u16),
    /// A redirect leads out of the prefix, to this address.
    Leaves(String),
    /// A login comes before it: a proxy's, or the password of code-server.
    WantsLogin,
    /// It wants its token, and none was given.
    WantsToken,
    /// It does not take the token.
    TokenRefused,
    /// Its page sends a workbench to another host, this one.
    OtherHost(String),
    /// The file of this path does not come, or as something else.
    Asset(String),
    /// The handshake is refused for the origin of its own page.
    OwnOrigin,
    /// There is no WebSocket.
    NoWebSocket,
    /// The WebSocket opens, and the server refuses the workbench for this reason.
    Refused(String),
    /// The WebSocket opens, and nothing of a server of VS Code comes over it.
    NoHandshake,
    /// A workbench would be let in, and so would a page of anybody.
    OpenToOrigins,
}

/// The proof.
#[derive(Debug, Clone)]
pub struct Proof {
    /// What it means: the first step that fails.
    pub outcome: Outcome,
    /// Why, where that is known.
    pub cause: Option<&'static Cause>,
    /// Whether pages of others are let in; `None` where that was not seen. A server of VS Code does not look at the
    /// origin, so somebody before it has to.
    pub is_open_to_origins: Option<bool>,
    /// Its commit.
    pub commit: Option<String>,
    /// What else was seen, for people.
    pub notes: Vec<String>,
}

/// Asks an editor below the path of the way, by at most eight requests one after the other.
///
/// The token is that of a server of VS Code; whatever opens a code-server is in the headers of the visitor.
pub async fn look(way: &Way, visitor: &Visitor, family: Family, token: Option<&str>) -> Observed {
    let mut way = way.clone();
    way.limits.body_bytes_max = way.limits.body_bytes_max.min(BODY_BYTES_MAX);
    let prefix = way.target.path.trim_end_matches('/').to_owned();
    let mut asking = Asking { way: &way, visitor: visitor.clone(), prefix };
    let front = asking.reply("OPTIONS", "/").await;
    let version = asking.reply("GET", "/version").await;
    let mut observed = Observed {
        family,
        authority: visitor.authority(&way),
        front,
        version,
        page: None,
        token: None,
        asset: None,
        handshake: None,
        hostile: None,
    };
    let said = if family == Family::OpenVscode {
        asking.open(&mut observed, token).await
    } else {
        NO_TOKEN.to_owned()
    };
    // Who is not let in would only be refused again, and that is in the editor's log.
    let is_shut = observed.page.as_ref().is_some_and(|page| status(page) == Some(403));
    if let Some(commit) = observed.commit().map(str::to_owned) {
        let page = observed.page().and_then(|page| page.asset.clone());
        let asset = page.unwrap_or_else(|| format!("{}/stable-{commit}/{STYLE}", asking.prefix));
        if !is_shut && asking.is_below(&asset) {
            observed.asset = Some((asset.clone(), asking.reply_at("GET", &asset).await));
        }
        let endpoint = remote_agent::endpoint(&asking.prefix, &commit);
        if !is_shut {
            observed.handshake = Some(asking.shake(&endpoint, &said).await);
        }
        observed.hostile = Some(asking.knock(&endpoint).await);
    }
    observed
}

/// Says what it means. Pure.
pub fn judge(observed: &Observed) -> Proof {
    let (outcome, cause) = outcome(observed);
    let hostile = observed.hostile.as_ref().and_then(|hostile| hostile.value.as_ref().ok());
    let is_open_to_origins = hostile.and_then(|answer| match answer.answer.status {
        101 => Some(true),
        403 => Some(false),
        _ => None,
    });
    let mut notes = Vec::new();
    if observed.page.is_none() && observed.family == Family::CodeServer {
        notes.push("its page was not asked for: that can change what it opened last".to_owned());
    }
    if is_open_to_origins == Some(true) {
        notes.push(format!("a page of {HOSTILE} is let in"));
    }
    let commit = observed.commit().map(str::to_owned);
    Proof { outcome, cause, is_open_to_origins, commit, notes }
}

impl Observed {
    /// Returns the commit that it says, at `/version` or in its page.
    fn commit(&self) -> Option<&str> {
        if let Some(Body::Commit(commit)) = body(&self.version) {
            return Some(commit);
        }
        self.page().and_then(|page| page.commit.as_deref())
    }

    fn page(&self) -> Option<&Page> {
        match body(self.page.as_ref()?) {
            Some(Body::Workbench(page)) => Some(page),
            _ => None,
        }
    }
}

fn status(replied: &Replied) -> Option<u16> {
    replied.value.as_ref().ok().map(|reply| reply.status)
}

fn body(replied: &Replied) -> Option<&Body> {
    replied.value.as_ref().ok().map(|reply| &reply.body)
}

type Found = (Outcome, Option<&'static Cause>);

fn outcome(observed: &Observed) -> Found {
    let replies: Vec<_> = [Some(&observed.front), Some(&observed.version)]
        .into_iter()
        .chain([observed.page.as_ref(), observed.token.as_ref()])
        .flatten()
        .collect();
    let outside = replies.iter().find_map(|replied| match &replied.value.as_ref().ok()?.leads {
        Some(Leads::Outside(to)) => Some(to.clone()),
        _ => None,
    });
    if let Some(to) = outside {
        return (Outcome::Leaves(to), Some(&cause::LEAVES));
    }
    let is_there = body(&observed.front) == Some(&Body::Unsupported) || observed.commit().is_some();
    if !is_there {
        return of_another(&replies);
    }
    if observed.family == Family::OpenVscode
        && let Some(found) = of_token(observed)
    {
        return found;
    }
    let Some(handshake) = &observed.handshake else {
        // There is VS Code, and it does not say which.
        return match observed.version.value.as_ref().map(|reply| reply.status) {
            Ok(401) => (Outcome::WantsLogin, Some(&cause::LOGIN)),
            Ok(status) => (Outcome::Elsewhere(status), Some(&cause::PREFIX)),
            Err(failure) => (Outcome::Silent(failure.clone()), None),
        };
    };
    if let Some(path) = broken_asset(observed) {
        return (Outcome::Asset(path), Some(&cause::EDITOR_FILES));
    }
    match of_handshake(&handshake.value) {
        Some(found) => found,
        None if observed.family == Family::CodeServer && is_let_in(observed) => {
            (Outcome::OpenToOrigins, Some(&cause::OPEN_ORIGIN))
        }
        None => (Outcome::Works, None),
    }
}

fn is_let_in(observed: &Observed) -> bool {
    let hostile = observed.hostile.as_ref().and_then(|hostile| hostile.value.as_ref().ok());
    hostile.is_some_and(|answer| answer.answer.status == 101)
}

/// What answers is no VS Code, or nothing does.
fn of_another(replies: &[&Replied]) -> Found {
    let mut statuses = replies.iter().rev().filter_map(|replied| replied.value.as_ref().ok());
    let Some(status) = statuses.next().map(|reply| reply.status) else {
        let mut failures = replies.iter().filter_map(|replied| replied.value.as_ref().err());
        let failure = failures.next().cloned().unwrap_or(Failure::Closed { bytes: 0 });
        return (Outcome::Silent(failure), None);
    };
    match status {
        401 => (Outcome::WantsLogin, Some(&cause::LOGIN)),
        300..=399 => (Outcome::Elsewhere(status), Some(&cause::REDIRECT)),
        502 => (Outcome::Elsewhere(status), Some(&cause::BACK_END)),
        504 => (Outcome::Elsewhere(status), Some(&cause::HUNG)),
        403 => (Outcome::Elsewhere(status), Some(&cause::FORBIDDEN)),
        _ => (Outcome::Elsewhere(status), Some(&cause::PREFIX)),
    }
}

/// What a server of VS Code says of who has its token, and what its page says.
fn of_token(observed: &Observed) -> Option<Found> {
    let page = observed.page.as_ref()?.value.as_ref().ok()?;
    if page.status == 403 {
        return Some(match &observed.token {
            None => (Outcome::WantsToken, Some(&cause::TOKEN)),
            Some(_) => (Outcome::TokenRefused, Some(&cause::TOKEN)),
        });
    }
    let Body::Workbench(page) = &page.body else {
        return Some((Outcome::Elsewhere(page.status), Some(&cause::PREFIX)));
    };
    let other = page.authority.as_ref().filter(|other| {
        !other.is_empty() && *other != "remote" && !other.eq_ignore_ascii_case(&observed.authority)
    })?;
    Some((Outcome::OtherHost(other.clone()), Some(&cause::ORIGIN)))
}

fn broken_asset(observed: &Observed) -> Option<String> {
    let (path, replied) = observed.asset.as_ref()?;
    let is_good = replied.value.as_ref().is_ok_and(|reply| {
        let kind = reply.media_type.as_deref().unwrap_or_default();
        reply.status == 200 && (kind == "text/css" || kind.ends_with("javascript"))
    });
    // Without its page the path is a guess, and VS Code's own 404 is no fault of the way.
    let is_guess = observed.page().is_none();
    let is_missing = replied.value.as_ref().is_ok_and(|reply| {
        reply.status == 404 && reply.media_type.as_deref() == Some("text/plain")
    });
    (!(is_good || is_guess && is_missing)).then(|| path.clone())
}

fn of_handshake(shaken: &Result<Shaken, Failure>) -> Option<Found> {
    Some(match shaken {
        Ok(Shaken::Signed) => return None,
        Ok(Shaken::NotOpen(upgrade)) => of_refusal(upgrade),
        Ok(Shaken::Refused(why)) => (Outcome::Refused(why.clone()), Some(&cause::TOKEN)),
        Ok(Shaken::Strange(_) | Shaken::Quiet(_) | Shaken::Ended(_)) => {
            (Outcome::NoHandshake, Some(&cause::NO_WEBSOCKET))
        }
        Err(failure) => (Outcome::Silent(failure.clone()), None),
    })
}

fn of_refusal(upgrade: &UpgradeAnswer) -> Found {
    let none = |cause| (Outcome::NoWebSocket, Some(cause));
    match signature::of_upgrade(upgrade) {
        // code-server says so without a word, and a proxy that looks at the origin with its page.
        Upgrade::Refused | Upgrade::Common(Common::Forbidden) => {
            (Outcome::OwnOrigin, Some(&cause::ORIGIN))
        }
        Upgrade::Common(Common::Login) => (Outcome::WantsLogin, Some(&cause::LOGIN)),
        Upgrade::Faulty => none(&cause::UPGRADE_FAULTY),
        Upgrade::HalfSeen => none(&cause::CONNECTION_LOST),
        Upgrade::Common(Common::Page) => none(&cause::UPGRADE_HIDDEN),
        Upgrade::Common(common @ (Common::BadGateway | Common::GatewayTimeout)) => {
            none(crate::diagnose::of_common(&common))
        }
        // The pages come, so it is the same server: it did not see that an upgrade was asked for.
        _ => none(&cause::UPGRADE_LOST),
    }
}

/// One editor, as it is asked.
struct Asking<'w> {
    way: &'w Way,
    visitor: Visitor,
    prefix: String,
}

impl Asking<'_> {
    async fn reply(&self, method: &str, below: &str) -> Replied {
        self.reply_at(method, &format!("{}{below}", self.prefix)).await
    }

    async fn reply_at(&self, method: &str, target: &str) -> Replied {
        let Timed { took, value } = ask(self.way, &self.visitor, method, target).await;
        Timed { took, value: value.map(|answer| self.read(target, &answer)) }
    }

    /// Keeps of an answer what is told of it.
    fn read(&self, target: &str, answer: &Answer) -> Reply {
        let is_redirect = (300..400).contains(&answer.status);
        let location = answer.header("Location").filter(|_| is_redirect);
        let body = if let Some(commit) = commit(answer) {
            Body::Commit(commit)
        } else if answer.status == 405 && answer.text().starts_with(UNSUPPORTED) {
            Body::Unsupported
        } else if let Some(page) = self.page(target, answer) {
            Body::Workbench(page)
        } else {
            Body::Other
        };
        Reply {
            status: answer.status,
            media_type: answer.media_type(),
            leads: location.map(|location| self.leads(target, location)),
            body,
        }
    }

    fn page(&self, target: &str, answer: &Answer) -> Option<Page> {
        if answer.status != 200 {
            return None;
        }
        let mut page = page::read(&answer.text())?;
        let path = |asset: String| {
            let url = self.url(target)?.join(&asset).ok()?;
            (url.origin() == self.url(target)?.origin()).then(|| url.path().to_owned())
        };
        page.asset = page.asset.and_then(path);
        Some(page)
    }

    /// Asks for the page, and opens it by the token where it has to be. Returns what a workbench says as its token.
    async fn open(&mut self, observed: &mut Observed, token: Option<&str>) -> String {
        let root = format!("{}/", self.prefix);
        let (replied, set) = self.page_and_cookie(&root).await;
        let is_refused = status(&replied) == Some(403);
        observed.page = Some(replied);
        // Somebody before it has opened it, and the page is given the token.
        if let Some(set) = set {
            self.visitor = self.visitor.with("Cookie", format!("{TOKEN_COOKIE}={set}"));
            return set;
        }
        let Some(token) = token.filter(|_| is_refused) else { return NO_TOKEN.to_owned() };
        let (replied, set) = self.page_and_cookie(&format!("{root}?tkn={}", escaped(token))).await;
        observed.token = Some(replied);
        if let Some(set) = set {
            self.visitor = self.visitor.with("Cookie", format!("{TOKEN_COOKIE}={set}"));
            observed.page = Some(self.page_and_cookie(&root).await.0);
        }
        token.to_owned()
    }

    /// Asks for a page, and returns the token that comes with it as a cookie.
    async fn page_and_cookie(&self, target: &str) -> (Replied, Option<String>) {
        let Timed { took, value } = ask(self.way, &self.visitor, "GET", target).await;
        let cookie = value.as_ref().ok().and_then(|answer| {
            let mut cookies = answer.headers_of("Set-Cookie");
            cookies.find_map(|cookie| {
                let value = cookie.strip_prefix(TOKEN_COOKIE)?.strip_prefix('=')?;
                value.split(';').next().filter(|value| !value.is_empty()).map(str::to_owned)
            })
        });
        let value = value.map(|answer| self.read(target, &answer));
        (Timed { took, value }, cookie)
    }

    fn url(&self, target: &str) -> Option<Url> {
        let scheme = if self.way.target.is_tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}{target}", self.visitor.authority(self.way))).ok()
    }

    fn leads(&self, target: &str, location: &str) -> Leads {
        let base = self.url(target);
        let to = base.as_ref().and_then(|base| base.join(location).ok());
        match (base, to) {
            (Some(base), Some(to)) if base.origin() == to.origin() && self.is_below(to.path()) => {
                Leads::Within
            }
            // Keys travel in queries.
            (_, Some(mut to)) => {
                to.set_query(None);
                Leads::Outside(plain(to.as_str()))
            }
            _ => Leads::Outside(plain(location.split('?').next().unwrap_or_default())),
        }
    }

    fn is_below(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    async fn upgrade(&self, target: &str, origin: &str) -> Result<Upgraded<Stream>, Failure> {
        let mut reached = self.way.reach().await;
        let Some(stream) = reached.stream.take() else { return Err(unreached(&reached)) };
        let authority = self.visitor.authority(self.way);
        let handshake = Handshake {
            target,
            authority: &authority,
            origin: Some(origin),
            headers: self.visitor.headers.clone(),
        };
        websocket::upgrade(stream, &handshake, &self.way.limits).await
    }

    /// Makes the first half of a workbench's handshake, from the editor's own page.
    async fn shake(&self, endpoint: &str, token: &str) -> Timed<Result<Shaken, Failure>> {
        let began = Instant::now();
        let own = self.url("/").map(|url| url.origin().ascii_serialization());
        let origin = self.visitor.origin.clone().or(own).unwrap_or_default();
        let value = match self.upgrade(endpoint, &origin).await {
            Ok(Upgraded::Open(_, socket)) => Ok(sign(*socket, token, self.way.limits.packet).await),
            Ok(Upgraded::Faulty(answer, fault)) => {
                Ok(Shaken::NotOpen(UpgradeAnswer { answer, fault: Some(fault) }))
            }
            Ok(Upgraded::Refused(answer)) => {
                Ok(Shaken::NotOpen(UpgradeAnswer { answer, fault: None }))
            }
            Err(failure) => Err(failure),
        };
        Timed { took: began.elapsed(), value }
    }

    /// Asks for a WebSocket from the page of somebody else, and ends it without a word where it opens.
    async fn knock(&self, endpoint: &str) -> Timed<Result<UpgradeAnswer, Failure>> {
        let began = Instant::now();
        let value = match self.upgrade(endpoint, HOSTILE).await {
            Ok(Upgraded::Open(answer, socket)) => {
                leave(*socket, self.way.limits.packet).await;
                Ok(UpgradeAnswer { answer, fault: None })
            }
            Ok(Upgraded::Faulty(answer, fault)) => Ok(UpgradeAnswer { answer, fault: Some(fault) }),
            Ok(Upgraded::Refused(answer)) => Ok(UpgradeAnswer { answer, fault: None }),
            Err(failure) => Err(failure),
        };
        Timed { took: began.elapsed(), value }
    }
}

/// Says the token, hears what the server says of it, and leaves.
async fn sign(mut socket: WebSocketStream<Stream>, token: &str, due: Duration) -> Shaken {
    let until = Deadline::now() + due;
    let shaken = match timeout_at(until, say_and_hear(&mut socket, token)).await {
        Ok(shaken) => shaken,
        Err(_) => Shaken::Quiet(due),
    };
    leave(socket, due).await;
    shaken
}

/// Says goodbye as a workbench does, so that the server does not wait for its return, and ends the connection. No
/// answer is waited for: a server of VS Code has none.
async fn leave(mut socket: WebSocketStream<Stream>, due: Duration) {
    let leaving = async {
        let goodbye = Message::binary(frame(DISCONNECT, &[]));
        if socket.send(goodbye).await.is_ok() && socket.close(None).await.is_ok() {
            socket.get_mut().shutdown().await.unwrap_or_default();
        }
    };
    // Who does not take our goodbye is left without one.
    timeout_at(Deadline::now() + due, leaving).await.unwrap_or_default();
}

async fn say_and_hear(socket: &mut WebSocketStream<Stream>, token: &str) -> Shaken {
    if let Err(fault) = socket.send(Message::binary(remote_agent::auth(token))).await {
        return Shaken::Ended(end_of(&fault, 0));
    }
    let mut frames = Frames::default();
    loop {
        match frames.next_control() {
            Ok(Some(body)) => {
                return match remote_agent::said(&body) {
                    Said::Sign { .. } => Shaken::Signed,
                    Said::Error(why) => Shaken::Refused(plain(&why)),
                    Said::Ok => Shaken::Strange("ok".to_owned()),
                    Said::Other(text) => Shaken::Strange(plain(&text)),
                };
            }
            Err(fault) => return Shaken::Strange(fault.to_string()),
            Ok(None) => {}
        }
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => frames.push(&bytes),
            Some(Ok(Message::Text(text))) => return Shaken::Strange(plain(&text)),
            Some(Ok(Message::Close(why))) => return Shaken::Ended(closed(why.as_ref())),
            // The library answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(fault)) => return Shaken::Ended(end_of(&fault, 0)),
            None => return Shaken::Ended(End::Cut(Failure::Closed { bytes: 0 })),
        }
    }
}

/// Writes a token as a query has it.
fn escaped(token: &str) -> String {
    url::form_urlencoded::byte_serialize(token.as_bytes()).collect()
}

#[cfg(test)]
mod tests;
