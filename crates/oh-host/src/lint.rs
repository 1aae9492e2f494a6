//! What the linter has to know beside the text: what nginx says, keys, and who listens.
//!
//! nginx judges syntax first, where that is safe: `nginx -t` opens what a text names and loads its
//! modules. So it gets a whole configuration only, one that nobody else can change, and for a file
//! that is not this machine's configuration only one that loads no module. Upstreams are asked
//! what they are only if they listen on the loopback, and only where the caller wants it: a text
//! of somebody else would choose whom we ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oh_model::path::RealPath;
use oh_nginx_conf::inspect::{Place, Tree};
use oh_nginx_conf::lint::{self, Editor, KeyKind, Known, Upstream, UpstreamKind};
use oh_nginx_conf::version::NginxVersion;

use crate::http::{self, Get, Response, Target};
use crate::nginx::Nginx;
use crate::publish::Host;
use crate::signals::Interrupts;
use crate::tree::{self, TreeFault};

/// How long an upstream may take to say what it is.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// The most that an upstream's answer may have, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The most upstreams that are asked.
const UPSTREAMS_MAX: usize = 64;

/// What is to be judged.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// The configuration that the settings name.
    Machine(RealPath),
    /// A file, with what it includes.
    File(RealPath),
    /// A text from elsewhere: what `nginx -T` printed, or one file.
    Text(String),
}

/// What nginx says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// nginx accepts it.
    Accepted,
    /// nginx, or our reader in its place, refuses it.
    Refused(Vec<Complaint>),
    /// nginx was not asked, and why.
    NotAsked(String),
    /// nginx was asked and may not open what the configuration names.
    NotAllowed(String),
}

/// Something that nginx does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where, as far as nginx says.
    pub place: Option<Place>,
    /// What.
    pub what: String,
}

/// A configuration, and what belongs to judging it.
#[derive(Debug)]
pub struct Looked {
    /// The configuration; empty where it could not be read as one.
    pub tree: Tree,
    /// What no text says.
    pub known: Known,
    /// What nginx says.
    pub judged: Judged,
}

/// Reads what is wanted and looks at what belongs to it. A signal that ends us ends the nginx that
/// is asked first, where `interrupts` are there.
///
/// # Errors
/// [`TreeFault`] where it cannot be read; a fault of syntax is an answer.
pub fn look(
    host: &Host,
    wanted: &Wanted,
    ask: bool,
    interrupts: Option<&Interrupts>,
) -> Result<Looked, TreeFault> {
    let dump = match wanted {
        Wanted::File(path) => tree::text_of(path.as_str()).ok().filter(|text| tree::is_dump(text)),
        _ => None,
    };
    let dump = dump.map(Wanted::Text);
    let wanted = dump.as_ref().unwrap_or(wanted);
    let read = match wanted {
        Wanted::Machine(path) | Wanted::File(path) => tree::read(path),
        Wanted::Text(text) => tree::read_text(text, "-"),
    };
    let (tree, judged) = match read {
        Ok(tree) => {
            let judged = judged(host, wanted, &tree, interrupts);
            (tree, judged)
        }
        Err(TreeFault::Syntax { path, fault }) => {
            let place = Some(Place { path, line: fault.line });
            let complaint = Complaint { place, what: fault.what.into() };
            (Tree::default(), Judged::Refused(vec![complaint]))
        }
        Err(fault) => return Err(fault),
    };
    let known = known(host, wanted, &tree, ask, interrupts);
    Ok(Looked { tree, known, judged })
}

/// Reads this machine's configuration with what belongs to judging it, and runs and asks nothing.
///
/// # Errors
/// [`TreeFault`].
pub fn read(host: &Host, config: &RealPath) -> Result<(Tree, Known), TreeFault> {
    Ok((tree::read(config)?, of_settings(host)))
}

fn of_settings(host: &Host) -> Known {
    let settings = &host.settings;
    Known {
        openhands: Some(settings.site.upstream.to_string()),
        editor_ports: Some(settings.sessions.editor_ports.clone()),
        app_ports: Some(settings.sessions.app_ports.clone()),
        ..Known::default()
    }
}

fn judged(host: &Host, wanted: &Wanted, tree: &Tree, interrupts: Option<&Interrupts>) -> Judged {
    let not = |why: &str| Judged::NotAsked(why.into());
    let (path, is_machines) = match wanted {
        Wanted::Machine(path) => (path, true),
        Wanted::File(path) => (path, false),
        Wanted::Text(_) => return not("it is a text, and not the files that nginx would read"),
    };
    let has = |name: &str| {
        let mut found = false;
        tree.visit(&mut |visit| found |= visit.blocks.is_empty() && visit.directive.name == name);
        found
    };
    if !has("http") || !has("events") {
        return not("it is a part of a configuration");
    }
    if !is_machines && has("load_module") {
        return not("it loads modules, which are programs");
    }
    if let Some(why) = changed_by_others(tree) {
        return Judged::NotAsked(why);
    }
    let Some(nginx) = nginx(host, path, interrupts) else { return not("nginx.program is no path") };
    match nginx.test(path, None) {
        Ok(tested) if tested.accepted => Judged::Accepted,
        Ok(tested) if !rustix::process::geteuid().is_root() && is_denied(&tested.complaints) => {
            Judged::NotAllowed(tested.complaints.join("; "))
        }
        Ok(tested) => Judged::Refused(tested.complaints.iter().map(|one| complaint(one)).collect()),
        Err(fault) => Judged::NotAsked(chain(&fault)),
    }
}

/// Says whether nginx complains of nothing but what it may not open.
fn is_denied(complaints: &[String]) -> bool {
    let mut faults = complaints
        .iter()
        .filter(|one| !one.starts_with("warn: ") && !one.contains(": warn: "))
        .peekable();
    faults.peek().is_some() && faults.all(|one| one.contains("Permission denied"))
}

/// Says who could have put something into the text that our nginx would run.
fn changed_by_others(tree: &Tree) -> Option<String> {
    let me = rustix::process::geteuid();
    if me.is_root() {
        let found = tree::changeable_by_others(tree)?;
        return Some(format!("others can change it: {} {}", found.path, found.why));
    }
    let is_others = |path: &str| match std::fs::metadata(path) {
        Ok(meta) => {
            let is_owned = meta.uid() == me.as_raw() || meta.uid() == 0;
            !is_owned || meta.mode() & 0o002 != 0
        }
        Err(_) => true,
    };
    let found = tree.files.iter().find(|file| is_others(&file.path))?;
    Some(format!("others can change it: {}", found.path))
}

fn nginx(host: &Host, config: &RealPath, interrupts: Option<&Interrupts>) -> Option<Nginx> {
    // Programs are the machine's, whatever the root.
    let program = RealPath::parse(host.settings.nginx.program.as_str()).ok()?;
    Some(Nginx { program, config: config.clone(), interrupts: interrupts.cloned() })
}

/// Writes a fault with its causes on one line.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut out = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        source = cause.source();
    }
    out
}

/// Takes `FILE:LINE: what` apart.
fn complaint(text: &str) -> Complaint {
    let mut parts = text.splitn(3, ':');
    let (path, line, what) = (parts.next(), parts.next(), parts.next());
    let line = line.and_then(|line| line.trim().parse().ok());
    match (path, line, what) {
        (Some(path), Some(line), Some(what)) if path.starts_with('/') => {
            Complaint { place: Some(Place { path: path.into(), line }), what: what.trim().into() }
        }
        _ => Complaint { place: None, what: text.into() },
    }
}

fn known(
    host: &Host,
    wanted: &Wanted,
    tree: &Tree,
    ask: bool,
    interrupts: Option<&Interrupts>,
) -> Known {
    let mut known = Known {
        nginx: version(host, interrupts),
        certificates: lint::named_paths(tree, "ssl_certificate")
            .into_iter()
            .filter_map(|path| Some((path.clone(), key_kind(&tree::text_of(&path).ok()?)?)))
            .collect(),
        ..of_settings(host)
    };
    if matches!(wanted, Wanted::Machine(_)) {
        known.left_out = left_out(host, tree);
    }
    if ask || matches!(wanted, Wanted::Machine(_)) {
        known.upstreams = asked(lint::editors(tree, &known));
    }
    known
}

fn version(host: &Host, interrupts: Option<&Interrupts>) -> Option<NginxVersion> {
    let config = RealPath::parse("/").ok()?;
    Some(nginx(host, &config, interrupts)?.built().ok()?.version)
}

/// Finds files of routes, where old installations have them, that nginx does not include.
fn left_out(host: &Host, tree: &Tree) -> Vec<String> {
    let pattern = host.settings.nginx.legacy_repositories.to_string();
    let Some((before, after)) = pattern.split_once("{repo}") else { return Vec::new() };
    let inside = format!("{before}*{after}");
    let real =
        oh_model::path::InRoot::parse(&inside).ok().and_then(|path| host.root.real(&path).ok());
    let Some(real) = real else { return Vec::new() };
    let Ok(found) = glob::glob(real.as_str()) else { return Vec::new() };
    let files: Vec<String> =
        found.flatten().filter_map(|path| path.to_str().map(String::from)).collect();
    let is_read = |path: &String| tree.files.iter().any(|file| file.path == *path);
    if files.is_empty() || files.iter().any(is_read) { Vec::new() } else { vec![real.to_string()] }
}

/// Asks editors on the loopback what they are.
fn asked(editors: Vec<Editor>) -> BTreeMap<String, Upstream> {
    let mut out = BTreeMap::new();
    for editor in editors.into_iter().take(UPSTREAMS_MAX) {
        let Ok(address) = editor.address.parse::<SocketAddr>() else { continue };
        if let Some(upstream) = ask(address, &editor.prefix) {
            out.insert(editor.address, upstream);
        }
    }
    out
}

/// Asks one: code-server answers `/healthz`, openvscode-server `/version` with its commit.
fn ask(address: SocketAddr, prefix: &str) -> Option<Upstream> {
    if get(address, "/healthz").is_some_and(|answer| has(&answer, "lastHeartbeat")) {
        let page = get(address, "/");
        let to_login = page.and_then(|page| page.header("location").map(|to| to.contains("login")));
        return Some(Upstream {
            kind: UpstreamKind::CodeServer,
            asks_login: Some(to_login == Some(true)),
        });
    }
    let is_commit = |answer: &Response| {
        let text = answer.body.trim_ascii();
        answer.status == 200 && text.len() == 40 && text.iter().all(u8::is_ascii_hexdigit)
    };
    // Without its token, openvscode-server refuses its page.
    let login = |path: &str| get(address, path).map(|page| page.status == 403);
    if get(address, "/version").is_some_and(|answer| is_commit(&answer)) {
        return Some(Upstream { kind: UpstreamKind::OpenVsCode, asks_login: login("/") });
    }
    let below = format!("{prefix}version");
    if get(address, &below).is_some_and(|answer| is_commit(&answer)) {
        return Some(Upstream { kind: UpstreamKind::OpenVsCodeBase, asks_login: login(prefix) });
    }
    None
}

fn has(answer: &Response, text: &str) -> bool {
    answer.status == 200 && String::from_utf8_lossy(&answer.body).contains(text)
}

fn get(address: SocketAddr, path: &str) -> Option<Response> {
    let host = address.to_string();
    http::get(&Get {
        target: Target::Tcp(address),
        path,
        host: &host,
        headers: &[],
        timeout: ASK_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    })
    .ok()
}

/// Reads which kind of key the first certificate of a PEM file has.
fn key_kind(pem: &str) -> Option<KeyKind> {
    let (_, after) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = after.split_once("-----END CERTIFICATE-----")?;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    key_kind_of_der(&der)
}

/// The number of an elliptic curve key in an algorithm (RFC 5480).
const ID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The number of an RSA key in an algorithm (RFC 3279).
const ID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Finds the key's algorithm in a certificate (RFC 5280, section 4.1).
fn key_kind_of_der(der: &[u8]) -> Option<KeyKind> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    let (tag, _, after) = element(rest)?;
    // The version is there unless it is the first one.
    if tag == 0xa0 {
        rest = after;
    }
    // Serial number, signature, issuer, validity, subject.
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let (_, key, _) = element(rest)?;
    let (_, algorithm, _) = element(key)?;
    match element(algorithm)? {
        (0x06, ID_EC, _) => Some(KeyKind::Ecdsa),
        (0x06, ID_RSA, _) => Some(KeyKind::Rsa),
        _ => None,
    }
}

/// Takes one element off DER: its tag, what is in it, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits.iter().try_fold(0_usize, |sum, digit| {
            sum.checked_mul(256)?.checked_add(usize::from(*digit))
        })?;
        (length, rest)
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((tag, inside, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_has_its_place() {
        let one = complaint("/etc/nginx/a.conf:3: unknown directive \"x\"");
        assert_eq!(one.place.unwrap().to_string(), "/etc/nginx/a.conf:3");
        assert_eq!(one.what, "unknown directive \"x\"");
        assert_eq!(complaint("bind() failed").place, None);
    }

    #[test]
    fn what_may_not_be_opened_is_no_fault_of_the_text() {
        let denied = "cannot load certificate key \"/k.pem\": BIO_new_file() failed (SSL: \
                      error:8000000D:system library::Permission denied)";
        let warned = "/etc/nginx/nginx.conf:1: warn: the \"user\" directive makes sense only if";
        let list = |lines: &[&str]| lines.iter().map(|line| (*line).into()).collect::<Vec<_>>();
        assert!(is_denied(&list(&[warned, denied])));
        assert!(!is_denied(&list(&[denied, "/a:1: unknown directive \"x\""])));
        assert!(!is_denied(&list(&[warned])) && !is_denied(&[]));
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_key() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00"] {
            assert_eq!(key_kind_of_der(der), None);
        }
        assert_eq!(key_kind("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"), None);
    }
}
