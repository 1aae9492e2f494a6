//! Lets a request go through a server as nginx would: rewriting, finding the location, access.
//!
//! This follows `ngx_http_core_find_location` and the rewrite module: exact names first, then the
//! longest prefix with what is nested in it, then patterns in their order. Files are not looked
//! for; where an answer depends on them, or on what cannot be told, the outcome is unknown.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};

use super::backend::Backend;
use super::model::{Level, Matcher, Node, Scope, Server};
use super::request::{Captures, Request, Variables, matched};

/// How often nginx looks for a location anew before it gives up.
const REDIRECTS_MAX: usize = 10;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome<'c> {
    /// nginx answers itself.
    Answered { status: u16, by: &'c Node<'c> },
    /// It goes on.
    Proxied(Box<Passed<'c>>),
    /// nginx looks for a file.
    File(Scope<'c>),
    /// It cannot be told.
    Unknown,
}

/// A request that goes on.
#[derive(Debug)]
pub(super) struct Passed<'c> {
    pub(super) scope: Scope<'c>,
    pub(super) variables: Variables<'c>,
    /// Path and query as they are sent; `None` where they cannot be told.
    pub(super) sent: Option<String>,
    /// Whether somebody was asked for a login on the way.
    pub(super) asked: bool,
}

/// How a run of directives of the rewrite module ended.
enum Flow<'c> {
    Next,
    Break,
    Last,
    Answered(u16, &'c Node<'c>),
    /// An `if` that has a `proxy_pass` of its own took over.
    Inner(&'c Node<'c>),
    Unknown,
}

/// What is found for a URI.
enum Located<'c> {
    /// A location; `is_final` where no pattern may overrule it.
    Found {
        scope: Scope<'c>,
        is_exact: bool,
        captures: Captures,
    },
    /// nginx adds the slash that is missing.
    Slash(&'c Node<'c>),
    None,
    Unknown,
}

/// Lets a request go through a server.
pub(super) fn run<'c>(server: Server<'c>, request: &Request) -> Outcome<'c> {
    let mut variables = Variables::new(server.config, request);
    let mut args = request.args.clone();
    let mut rewritten = false;
    let top = server.scope();
    match script(top.level(), &mut variables, &mut args, &mut rewritten) {
        Flow::Answered(status, by) => return Outcome::Answered { status, by },
        Flow::Unknown => return Outcome::Unknown,
        _ => {}
    }
    let mut named: Option<Scope<'c>> = None;
    let mut asked = false;
    for _ in 0..REDIRECTS_MAX {
        let scope = match named.take() {
            Some(scope) => scope,
            None => match locate(&top, &variables.uri) {
                Located::Found { scope, captures, .. } => {
                    variables.set.extend(captures.into_iter().map(|(k, v)| (k, Some(v))));
                    scope
                }
                Located::Slash(by) => return Outcome::Answered { status: 301, by },
                Located::None => top.clone(),
                Located::Unknown => return Outcome::Unknown,
            },
        };
        let before = variables.uri.clone();
        let mut here = false;
        let flow = script(scope.level(), &mut variables, &mut args, &mut here);
        rewritten |= here;
        let scope = match flow {
            Flow::Answered(status, by) => return Outcome::Answered { status, by },
            Flow::Unknown => return Outcome::Unknown,
            Flow::Last => continue,
            Flow::Next if variables.uri != before => continue,
            Flow::Inner(node) => scope.inner(node),
            Flow::Next | Flow::Break => scope,
        };
        // Access comes before files are looked for.
        if let Some(by) = refused(&scope, variables.request.method) {
            return Outcome::Answered { status: 403, by };
        }
        asked |= asks_login(&scope);
        match files(&scope, &variables) {
            Files::None => return content(&scope, variables, &args, rewritten, asked),
            Files::Answer(outcome) => return outcome,
            Files::Named(name) => {
                let level = top.level();
                let Some(node) = level.at(level.index().named(&name)) else {
                    return Outcome::Unknown;
                };
                named = Some(top.inner(node));
            }
        }
    }
    Outcome::Unknown
}

/// Finds the location that a request enters first; what is rewritten there may lead elsewhere.
pub(super) fn entered<'c>(server: Server<'c>, request: &Request) -> Option<Scope<'c>> {
    match locate(&server.scope(), &request.uri) {
        Located::Found { scope, .. } => Some(scope),
        _ => None,
    }
}

/// Says whether a location asks who somebody is.
pub(super) fn asks_login(scope: &Scope<'_>) -> bool {
    let asks = |name: &str| scope.value(name).is_some_and(|node| node.word(0) != "off");
    let verifies = scope.value("ssl_verify_client").is_some_and(|node| node.word(0) == "on");
    ["auth_basic", "auth_request", "auth_jwt"].iter().any(|name| asks(name)) || verifies
}

/// What `try_files` does.
enum Files<'c> {
    /// There is none.
    None,
    /// The request goes on to a location by its name.
    Named(String),
    Answer(Outcome<'c>),
}

/// Follows `try_files` where no file can be there, and where all that is tried are files.
fn files<'c>(scope: &Scope<'c>, variables: &Variables<'c>) -> Files<'c> {
    let Some(node) = scope.level().all("try_files").next() else { return Files::None };
    let last = node.words.last().map_or("", String::as_str);
    let is_empty = scope.value("root").is_some_and(|root| root.word(0) == "/dev/null");
    let Some(value) = variables.value(last) else { return Files::Answer(Outcome::Unknown) };
    if let Some(status) = value.strip_prefix('=').and_then(|status| status.parse().ok())
        && is_empty
    {
        return Files::Answer(Outcome::Answered { status, by: node });
    }
    match (value.starts_with('@'), is_empty) {
        (true, true) => Files::Named(value),
        (false, _) if scope.own("proxy_pass").is_none() => {
            Files::Answer(Outcome::File(scope.clone()))
        }
        _ => Files::Answer(Outcome::Unknown),
    }
}

/// What the content phase of a location does, after access.
fn content<'c>(
    scope: &Scope<'c>,
    mut variables: Variables<'c>,
    args: &str,
    rewritten: bool,
    asked: bool,
) -> Outcome<'c> {
    let Some(node) = scope.own("proxy_pass") else { return Outcome::File(scope.clone()) };
    let Some(backend) = Backend::of(node) else { return Outcome::Unknown };
    variables.proxy_host = backend.address(&variables);
    let sent = sent(scope, backend, &variables, args, rewritten);
    Outcome::Proxied(Box::new(Passed { scope: scope.clone(), variables, sent, asked }))
}

/// Finds the line that refuses everybody, or this method to everybody.
fn refused<'c>(scope: &Scope<'c>, method: &str) -> Option<&'c Node<'c>> {
    let deny_all = |node: &&Node<'_>| node.name == "deny" && node.word(0) == "all";
    let mut firsts = scope.levels.iter().rev().map(|level| level.those(level.index().access()));
    let first = firsts.find_map(|mut lines| lines.next());
    if let Some(node) = first.filter(deny_all) {
        return Some(node);
    }
    let limit = scope.level().all("limit_except").next()?;
    let allowed = limit.words.iter().any(|word| {
        word.eq_ignore_ascii_case(method) || (word.eq_ignore_ascii_case("GET") && method == "HEAD")
    });
    let first = limit.children().iter().find(|node| matches!(node.name, "allow" | "deny"))?;
    Some(limit).filter(|_| !allowed && deny_all(&first))
}

fn sent(
    scope: &Scope<'_>,
    backend: Backend<'_>,
    variables: &Variables<'_>,
    args: &str,
    rewritten: bool,
) -> Option<String> {
    let query = if args.is_empty() { String::new() } else { format!("?{args}") };
    if backend.has_variables() {
        return match backend.variable_uri(variables) {
            // What variables name is sent as it is, the query too.
            Some(uri) => Some(uri),
            None if backend.address(variables).is_some() => {
                Some(format!("{}{query}", variables.uri))
            }
            None => None,
        };
    }
    match (backend.uri, scope.location()) {
        (Some(uri), Some(matcher)) if !rewritten => {
            let path = matcher.path()?;
            let rest = variables.uri.strip_prefix(path)?;
            Some(format!("{uri}{rest}{query}"))
        }
        _ => Some(format!("{}{query}", variables.uri)),
    }
}

/// Runs the directives of the rewrite module in a block.
fn script<'c>(
    level: Level<'c>,
    variables: &mut Variables<'c>,
    args: &mut String,
    rewritten: &mut bool,
) -> Flow<'c> {
    for node in level.those(level.index().script()) {
        match node.name {
            "set" => {
                let value = variables.value(node.word(1));
                variables.set.insert(node.word(0).trim_start_matches('$').to_owned(), value);
            }
            "break" => return Flow::Break,
            "return" => return returned(node, variables),
            "rewrite" => match rewrite(node, variables, args) {
                Flow::Next => {}
                Flow::Break if node.word(2) != "break" => *rewritten = true,
                Flow::Break => {
                    *rewritten = true;
                    return Flow::Break;
                }
                flow => {
                    *rewritten = true;
                    return flow;
                }
            },
            "if" => match variables.condition(node.words) {
                Some(false) => {}
                Some(true) => match script(Level::of(node), variables, args, rewritten) {
                    Flow::Next if node.named("proxy_pass").next().is_some() => {
                        return Flow::Inner(node);
                    }
                    Flow::Next => {}
                    flow => return flow,
                },
                None if decides(node) => return Flow::Unknown,
                None => forget(node, variables),
            },
            _ => {}
        }
    }
    Flow::Next
}

/// Says whether an `if` changes what becomes of a request.
fn decides(node: &Node<'_>) -> bool {
    node.children().iter().any(|inner| !matches!(inner.name, "set" | "add_header" | "access_log"))
}

/// What an `if` sets that may or may not be run cannot be told afterwards.
fn forget(node: &Node<'_>, variables: &mut Variables<'_>) {
    for set in node.named("set") {
        variables.set.insert(set.word(0).trim_start_matches('$').to_owned(), None);
    }
}

fn returned<'c>(node: &'c Node<'c>, variables: &Variables<'_>) -> Flow<'c> {
    match node.word(0).parse() {
        Ok(status) => Flow::Answered(status, node),
        // `return URL` is a redirect.
        Err(_) if variables.value(node.word(0)).is_some() => Flow::Answered(302, node),
        Err(_) => Flow::Unknown,
    }
}

/// Applies a `rewrite`; [`Flow::Break`] says that it changed the URI.
fn rewrite<'c>(node: &'c Node<'c>, variables: &mut Variables<'c>, args: &mut String) -> Flow<'c> {
    let captures = match matched(node.word(0), false, &variables.uri) {
        None => return Flow::Unknown,
        Some(None) => return Flow::Next,
        Some(Some(captures)) => captures,
    };
    variables.set.extend(captures.into_iter().map(|(name, value)| (name, Some(value))));
    let target = node.word(1);
    match node.word(2) {
        "permanent" => return Flow::Answered(301, node),
        "redirect" => return Flow::Answered(302, node),
        _ if ["http://", "https://", "$scheme"].iter().any(|s| target.starts_with(s)) => {
            return Flow::Answered(302, node);
        }
        _ => {}
    }
    let Some(value) = variables.value(target) else { return Flow::Unknown };
    match value.split_once('?') {
        None => variables.uri = value,
        Some((uri, "")) => {
            variables.uri = uri.to_owned();
            args.clear();
        }
        Some((uri, added)) => {
            let rest = if args.is_empty() { String::new() } else { format!("&{args}") };
            *args = format!("{added}{rest}");
            variables.uri = uri.to_owned();
        }
    }
    if node.word(2) == "last" { Flow::Last } else { Flow::Break }
}

/// Finds the location of a URI in a block.
fn locate<'c>(scope: &Scope<'c>, uri: &str) -> Located<'c> {
    let level = scope.level();
    let index = level.index();
    if let Some(node) = level.at(index.exact(uri)) {
        let scope = scope.inner(node);
        return Located::Found { scope, is_exact: true, captures: Captures::new() };
    }
    let best = level.at(index.longest(uri));
    // `/a` is sent on to `/a/` where that is proxied, unless a prefix `/a` stands there too.
    if index.prefix(uri).is_none() {
        let with_slash = format!("{uri}/");
        let ends = [index.exact(&with_slash), index.prefix(&with_slash)];
        let mut ends = ends.into_iter().filter_map(|at| level.at(at));
        if let Some(node) = ends.find(|node| node.named("proxy_pass").next().is_some()) {
            return Located::Slash(node);
        }
    }
    let mut found = Located::None;
    if let Some(node) = best {
        let inner = scope.inner(node);
        found = match locate(&inner, uri) {
            Located::None => {
                Located::Found { scope: inner, is_exact: false, captures: Captures::new() }
            }
            // A pattern or an exact name within it ends the search; a prefix does not.
            found @ Located::Found { is_exact: true, .. } => return found,
            found @ (Located::Slash(_) | Located::Unknown) => return found,
            found @ Located::Found { is_exact: false, .. } => found,
        };
    }
    let is_final = |node| matches!(Matcher::of(node), Matcher::Prefix { is_final: true, .. });
    if best.is_some_and(is_final) {
        return found;
    }
    for node in index.patterns().iter().filter_map(|at| level.at(Some(*at))) {
        match node.matched(uri) {
            None => return Located::Unknown,
            Some(None) => {}
            Some(Some(captures)) => return within(&scope.inner(node), uri, captures),
        }
    }
    found
}

/// Looks into a location that a pattern found.
fn within<'c>(scope: &Scope<'c>, uri: &str, captures: Captures) -> Located<'c> {
    match locate(scope, uri) {
        Located::None => Located::Found { scope: scope.clone(), is_exact: true, captures },
        Located::Found { scope, captures: inner, .. } => {
            let captures = captures.into_iter().chain(inner).collect();
            Located::Found { scope, is_exact: true, captures }
        }
        found => found,
    }
}

/// Says for a message what a status is.
pub(super) fn status_text(status: u16) -> String {
    match status {
        444 => "a closed connection".to_owned(),
        status => status.to_string(),
    }
}
