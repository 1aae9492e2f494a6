//! Names what in a configuration breaks VS Code in the browser or Socket.IO, or opens a hole.
//!
//! The rules do not look for words. They let requests go through the configuration as nginx
//! would (`simulate`): a browser that opens the editor's page, loads a file of it, opens a
//! WebSocket; Socket.IO by polling; a foreign page that tries the same. What such a request meets
//! (which location, which answer, which headers go on) is judged, and the directive that decided
//! it is named. What a text cannot tell arrives as [`Known`]; a rule that cannot tell says so.
//!
//! # Which locations are looked at
//! A location is an **editor's** if `vscode`, `vsc`, `code`, `code-server`, `openvscode`, `ide` or
//! `editor` is a part of its path, or a name of its server begins so; if it leads to one of the
//! ports 8888 to 8899; or if the comment above it says VS Code or code-server, as old generators
//! wrote it. It is **Socket.IO's** if it serves `/socket.io/` of a server that has OpenHands, or is
//! called so; an **application's** below `/apps/`; **OpenHands'** if it leads to OpenHands
//! (127.0.0.1:3000 unless the settings say otherwise) or is `/` beside an editor. Other locations
//! are looked at only for splitting of requests.
//!
//! Two kinds of editors want opposite things: code-server wants its prefix stripped; an
//! openvscode-server that was started with `--server-base-path` wants it kept. Which of them
//! listens is a fact of the machine; without it the rules about prefixes cannot tell, and say so.
//!
//! What is not followed: a session's own host whose `server_name` is a pattern, `auth_request` and
//! modules that answer by themselves, `try_files` over folders that may have files.
//!
//! Opening files and asking programs is `oh-host`'s.

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use oh_model::port::PortSet;

use crate::inspect::{Place, Tree};
use crate::version::NginxVersion;

mod backend;
mod finding;
mod index;
mod model;
mod page;
mod request;
mod role;
mod rules;
mod sample;
mod serving;
mod simulate;
mod table;

pub use finding::{Change, Finding, Severity, Verb};
pub use page::{explain, reference};
pub use serving::{Meant, PassedOn, Serving, serving};
pub use table::{HEALTHY, Rule, Setting, rules};

/// What no text says, as far as somebody looked.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The nginx that would read it.
    pub nginx: Option<NginxVersion>,
    /// Where OpenHands listens, as address and port; 127.0.0.1:3000 where nobody says.
    pub openhands: Option<String>,
    /// Where editors may listen.
    pub editor_ports: Option<PortSet>,
    /// Where applications may listen.
    pub app_ports: Option<PortSet>,
    /// What answers behind an address and port.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which kind of key a certificate has, by the path that the configuration names.
    pub certificates: BTreeMap<String, KeyKind>,
    /// Patterns of files of routes that exist and that nginx does not include.
    pub left_out: Vec<String>,
}

/// What answers behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Which editor it is.
    pub kind: UpstreamKind,
    /// Whether it asks for a password or token itself, where that could be told.
    pub asks_login: Option<bool>,
}

/// Which editor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamKind {
    /// code-server: its prefix must be stripped, and it checks the Origin itself.
    CodeServer,
    /// openvscode-server at its root: stripped, it needs `X-Forwarded-Prefix`.
    OpenVsCode,
    /// openvscode-server with a base path: its prefix must be kept.
    OpenVsCodeBase,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// ECDSA.
    Ecdsa,
}

/// Says why a configuration was not judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintFault {
    /// More directives or levels than are judged, or too many locations to compare each with each.
    #[error("the configuration has more directives, levels, locations or patterns than are judged")]
    TooLarge,
    /// No `server`, `location` or `map` in it.
    #[error("there is no server and no location in it")]
    NothingToJudge,
}

/// Judges a configuration.
///
/// # Errors
/// [`LintFault`].
pub fn lint(tree: &Tree, known: &Known) -> Result<Vec<Finding>, LintFault> {
    let blocks = model::blocks(tree).ok_or(LintFault::TooLarge)?;
    if !model::is_judgeable(&blocks.nodes) {
        return Err(LintFault::TooLarge);
    }
    let config = model::Config::of(&blocks);
    if config.servers().is_empty() && config.http.all("map").next().is_none() {
        return Err(LintFault::NothingToJudge);
    }
    let mut findings = rules::all(config, known);
    findings.sort_by(|a, b| {
        (a.severity, !a.sure, &a.place.path, a.place.line, a.rule.id).cmp(&(
            b.severity,
            !b.sure,
            &b.place.path,
            b.place.line,
            b.rule.id,
        ))
    });
    // A location with two roles is named once, at its worst.
    let mut said = BTreeSet::new();
    findings.retain(|one| said.insert((one.rule.id, one.place.to_string(), one.what.clone())));
    Ok(findings)
}

/// Finds all paths that the configuration names in a directive such as `ssl_certificate`.
pub fn named_paths(tree: &Tree, directive: &str) -> Vec<String> {
    let mut out = Vec::new();
    tree.visit(&mut |visit| {
        if visit.directive.name == directive {
            out.extend(visit.directive.words.first().map(|word| word.to_owned()));
        }
    });
    out.sort_unstable();
    out.dedup();
    out
}

/// An editor's location whose upstream could be asked what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Editor {
    /// Address and port.
    pub address: String,
    /// The path below which it is published, with both slashes; `/` for a server of its own.
    pub prefix: String,
}

/// Finds the editors that a configuration leads to at fixed addresses.
pub fn editors(tree: &Tree, known: &Known) -> Vec<Editor> {
    let blocks = model::blocks(tree).filter(|blocks| model::is_judgeable(&blocks.nodes));
    let Some(blocks) = blocks else { return Vec::new() };
    let mut out = role::editors(model::Config::of(&blocks), known);
    out.sort_unstable();
    out.dedup();
    out
}

/// Says where something is, for messages about a part of a configuration.
pub(super) fn beginning(path: &str) -> Place {
    Place { path: path.to_owned(), line: 1 }
}
