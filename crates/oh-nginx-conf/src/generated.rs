//! Recognises the files that the original applications' generators wrote, one for each repository.
//!
//! A file counts only where it begins as they began theirs and has nothing that they never wrote: a
//! closed list of directives, with their very arguments, and of comments. So what somebody has changed
//! by hand, if only by a note, is somebody's, and so is whatever else lies in the same folder.
//!
//! They wrote in place and checked nothing, so a file may end anywhere, and may be one that nginx refuses:
//! with a blank in the path of a repository, or a port that is none. It is recognised all the same, where
//! all that is whole of it is theirs. Who needs a route is decided elsewhere.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use oh_model::port::Port;
use thiserror::Error;

use crate::legacy::GENERATED_MARK;
use crate::parse::{Directive, SyntaxFault, parse};

/// The most bytes of a file that is looked at: theirs have 2 KiB.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// The longest id in an address, in bytes: it was the name of a file.
const ID_BYTES_MAX: usize = 255;

/// What the addresses of editors began with, in one generator or another.
const PREFIXES: [&str; 2] = ["/vscode/", "/vsc/"];

/// The most blocks that are open where a file ends too early: a condition in a location.
const OPEN_MAX: usize = 2;

/// How their comments begin, in small letters.
const COMMENTS: [&str; 10] = [
    "auto-generated config for",
    "generated at:",
    "repository:",
    "port:",
    "path:",
    "automatically open the repository folder",
    "only redirect if: no folder param",
    "websocket support (critical for vs code)",
    "timeouts for long-running operations",
    "allow large file uploads",
];

/// A comment of theirs that is all of its line, because it is a word of everybody's.
const HEADING: &str = "headers";

/// The names of their directives.
const NAMES: [&str; 12] = [
    "location",
    "set",
    "if",
    "return",
    "proxy_pass",
    "proxy_http_version",
    "proxy_set_header",
    "proxy_cache_bypass",
    "proxy_buffering",
    "proxy_read_timeout",
    "proxy_send_timeout",
    "client_max_body_size",
];

/// The headers that they set, each with what to.
const HEADERS: [(&str, &[&str]); 8] = [
    ("Upgrade", &["$http_upgrade"]),
    ("Connection", &["upgrade"]),
    ("Host", &["$host", "$http_host"]),
    ("X-Real-IP", &["$remote_addr"]),
    ("X-Forwarded-For", &["$proxy_add_x_forwarded_for"]),
    ("X-Forwarded-Proto", &["$scheme"]),
    ("X-Original-URI", &["$request_uri"]),
    ("X-Forwarded-Host", &["$host", "$http_host"]),
];

/// The conditions under which they sent on to a folder.
const CONDITIONS: [&[&str]; 5] = [
    &["($arg_folder", "=", "", ")"],
    &["($args", "=", "", ")"],
    &["($args", "!=", "", ")"],
    &["($redirect_needed", "=", "1)"],
    &["($bare", "=", "11)"],
];

/// The variables that they set, each with what to.
const VARIABLES: [(&str, &[&str]); 2] =
    [("$redirect_needed", &["0", "1"]), ("$bare", &["", "1", "${bare}1"])];

/// A file of a generator's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generated {
    /// Its routes, in order; none where it ends before its first one.
    pub routes: Vec<Route>,
    /// Whether it ends too early, so that nginx refuses it.
    pub is_torn: bool,
}

/// A route of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its address: `/vscode/{id}/`.
    pub path: String,
    /// The id in it.
    pub id: String,
    /// The port of the loopback that it leads to; `None` where none is told.
    pub port: Option<Port>,
}

/// Says why a file is none of a generator's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Foreign {
    /// It does not begin as theirs do.
    #[error("it does not begin with `# {GENERATED_MARK}`")]
    NoHeader,
    /// It is longer than any of theirs.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// A line of it was not written by them.
    #[error("line {line} was written by no generator: {shown}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What it says.
        shown: String,
    },
    /// It is no configuration, and not because it ends too early.
    #[error(transparent)]
    Syntax(#[from] SyntaxFault),
}

/// Reads a file, and returns its routes where a generator wrote all of it.
///
/// # Errors
/// [`Foreign`] for the first thing that none of them wrote.
pub fn recognise(text: &str) -> Result<Generated, Foreign> {
    if !has_header(text) {
        return Err(Foreign::NoHeader);
    }
    if text.len() > FILE_BYTES_MAX {
        return Err(Foreign::TooLong);
    }
    // What a machine that lost its power leaves where the end was to be.
    let text = text.trim_end_matches('\0');
    comments(text)?;
    let (directives, is_torn) = match parse(text) {
        Ok(directives) => (directives, false),
        Err(fault) => (beginning(text, fault)?, true),
    };
    let mut generated = Generated { routes: Vec::new(), is_torn };
    for (at, directive) in directives.iter().enumerate() {
        let may_end = is_torn && at + 1 == directives.len();
        let Some((path, id)) = location(directive) else { return Err(line_of(directive)) };
        let block = directive.block.as_deref().unwrap_or_default();
        if let [modifier, _] = directive.words.as_slice()
            && modifier == "="
        {
            block.iter().try_for_each(|inner| sends_on(inner, &path))?;
            continue;
        }
        match body(block, &path)? {
            Pass::None if !may_end => return Err(line_of(directive)),
            Pass::None => generated.routes.push(Route { path, id, port: None }),
            Pass::To(port) => generated.routes.push(Route { path, id, port }),
        }
    }
    Ok(generated)
}

/// Says whether a text begins as generated files do.
pub fn has_header(text: &str) -> bool {
    text.strip_prefix("# ").is_some_and(|rest| rest.starts_with(GENERATED_MARK))
}

/// Where a location leads to.
enum Pass {
    None,
    /// To the loopback; without a port where what stands there is none.
    To(Option<Port>),
}

/// Looks at every comment. The last line may end anywhere.
fn comments(text: &str) -> Result<(), Foreign> {
    let (whole, last) = text.rsplit_once('\n').unwrap_or(("", text));
    let lines = whole.lines().map(|line| (line, false)).chain([(last, true)]);
    for (at, (line, is_last)) in lines.enumerate() {
        let is_theirs = match line.trim_start().strip_prefix('#') {
            Some(comment) => is_comment(&comment.trim().to_ascii_lowercase(), is_last),
            None => !has_comment(line),
        };
        if !is_theirs {
            return Err(Foreign::Line { line: at + 1, shown: shown(line) });
        }
    }
    Ok(())
}

/// Says whether they wrote a comment, or where it may end anywhere, its beginning.
fn is_comment(comment: &str, may_end: bool) -> bool {
    comment == HEADING
        || COMMENTS.iter().any(|start| comment.starts_with(start))
        || (may_end && COMMENTS.iter().chain([&HEADING]).any(|one| one.starts_with(comment)))
}

/// Says whether a comment may begin behind something else on a line: they wrote none.
fn has_comment(line: &str) -> bool {
    let begins = |before: char| matches!(before, ' ' | '\t' | '\r' | ';' | '{' | '}');
    line.match_indices('#').any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(begins)
    })
}

/// Reads what is whole of a text that ends too early.
fn beginning(text: &str, fault: SyntaxFault) -> Result<Vec<Directive>, Foreign> {
    let closed = |text: &str| {
        (0..=OPEN_MAX).find_map(|open| parse(&format!("{text}\n{}", "}".repeat(open))).ok())
    };
    if let Some(directives) = closed(text) {
        return Ok(directives);
    }
    // They wrote a directive on each line, so what is not whole is the last one.
    let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", text));
    let directives = closed(whole).ok_or(fault)?;
    let line = whole.lines().count() + 1;
    if is_beginning(rest.trim_start()) {
        Ok(directives)
    } else {
        Err(Foreign::Line { line, shown: shown(rest) })
    }
}

/// Says whether a line of theirs begins so.
fn is_beginning(rest: &str) -> bool {
    match rest.split_once([' ', '\t']) {
        Some((name, _)) => NAMES.contains(&name),
        None => NAMES.iter().any(|name| name.starts_with(rest)),
    }
}

/// Reads the address of a location, and the id in it.
fn location(directive: &Directive) -> Option<(String, String)> {
    let bare = match directive.words.as_slice() {
        [uri] => uri.strip_suffix('/')?,
        [modifier, uri] if modifier == "^~" => uri.strip_suffix('/')?,
        [modifier, uri] if modifier == "=" => uri.as_str(),
        _ => return None,
    };
    let id = PREFIXES.iter().find_map(|prefix| bare.strip_prefix(prefix))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_id = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(is_plain);
    let is_location = directive.name == "location" && directive.block.is_some();
    (is_location && is_id).then(|| (format!("{bare}/"), id.to_string()))
}

/// Looks at what is in a location, and says where it leads.
fn body(block: &[Directive], path: &str) -> Result<Pass, Foreign> {
    let mut pass = Pass::None;
    for directive in block {
        match (directive.name.as_str(), directive.words.as_slice(), &directive.block) {
            ("if", words, Some(inner)) if is_condition(words, path) => {
                inner.iter().try_for_each(|inner| sends_on(inner, path))?;
            }
            ("set", _, None) => sends_on(directive, path)?,
            ("proxy_pass", [target], None) if matches!(pass, Pass::None) => {
                pass = Pass::To(port(target).ok_or_else(|| line_of(directive))?);
            }
            (name, words, None) if is_tuning(name, words, path) => {}
            _ => return Err(line_of(directive)),
        }
    }
    Ok(pass)
}

fn is_condition(words: &[String], path: &str) -> bool {
    let is = |wanted: &[&str]| words.iter().map(String::as_str).eq(wanted.iter().copied());
    CONDITIONS.iter().any(|condition| is(condition)) || is(&["($uri", "=", &format!("{path})")])
}

/// Takes what leads to the folder of a repository: a variable, or the answer itself.
fn sends_on(directive: &Directive, path: &str) -> Result<(), Foreign> {
    let is_theirs = match (directive.name.as_str(), directive.words.as_slice()) {
        ("set", [variable, value]) => {
            let known = VARIABLES.iter().find(|(name, _)| name == variable);
            known.is_some_and(|(_, values)| values.contains(&value.as_str()))
        }
        ("return", [code, target, more @ ..]) => {
            let own = target.strip_prefix("$scheme://$http_host").unwrap_or(target);
            let rest = own.strip_prefix(path);
            let is_folder = rest.is_some_and(|rest| rest.starts_with("?folder="));
            let is_own = rest.is_some_and(|rest| ["", "$is_args$args"].contains(&rest));
            // The path of a repository may have blanks, and nginx refuses it then.
            ["301", "302"].contains(&code.as_str()) && (is_folder || is_own && more.is_empty())
        }
        _ => false,
    };
    if is_theirs && directive.block.is_none() { Ok(()) } else { Err(line_of(directive)) }
}

/// Reads the port of `http://localhost:8888/`; `Some(None)` where they wrote no number, `None` where it
/// leads elsewhere.
fn port(target: &str) -> Option<Option<Port>> {
    let authority = target.strip_prefix("http://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let port = ["localhost:", "127.0.0.1:"].iter().find_map(|host| authority.strip_prefix(host))?;
    match port {
        "" | "undefined" | "null" | "NaN" => Some(None),
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().ok().and_then(Port::new))
        }
        _ => None,
    }
}

fn is_tuning(name: &str, words: &[String], path: &str) -> bool {
    let [first, rest @ ..] = words else { return false };
    match (name, rest) {
        ("proxy_set_header", [value]) if first == "X-Forwarded-Path" => value == path,
        ("proxy_set_header", [value]) => {
            let known = HEADERS.iter().find(|(header, _)| header == first);
            known.is_some_and(|(_, values)| values.contains(&value.as_str()))
        }
        ("proxy_http_version", []) => first == "1.1",
        ("proxy_cache_bypass", []) => first == "$http_upgrade",
        ("proxy_buffering", []) => first == "off",
        ("proxy_read_timeout" | "proxy_send_timeout", []) => is_number(first, &["", "s", "m", "h"]),
        ("client_max_body_size", []) => is_number(first, &["", "k", "K", "m", "M", "g", "G"]),
        _ => false,
    }
}

fn is_number(word: &str, units: &[&str]) -> bool {
    let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && word.strip_prefix(digits).is_some_and(|unit| units.contains(&unit))
}

fn line_of(directive: &Directive) -> Foreign {
    let words: String = directive.words.iter().map(|word| format!(" {word}")).collect();
    Foreign::Line { line: directive.line, shown: shown(&format!("{}{words}", directive.name)) }
}

/// A line for people: harmless, and no longer than it helps.
fn shown(line: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let line = line.trim();
    let start: String = line.chars().take(CHARACTERS_MAX).collect();
    let more = if start.len() < line.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}

#[cfg(test)]
mod tests;
