//! Which locations are an editor's, Socket.IO's, an application's, OpenHands'; see the page of
//! [`super`].

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use oh_model::port::Port;

use super::backend::{Backend, plain};
use super::model::{Config, Matcher, Node, Scope, Server};
use super::request::{Request, Variables, matched};
use super::sample::shortest;
use super::simulate::{Outcome, Passed, run};
use super::{Editor, Known, Upstream};

/// Where OpenHands listens unless somebody says otherwise.
const OPENHANDS_DEFAULT: &str = "127.0.0.1:3000";

/// Names of paths and servers that are editors'.
const EDITOR_NAMES: [&str; 7] =
    ["vscode", "vsc", "code", "code-server", "openvscode", "ide", "editor"];

/// The ports of editors in old installations and by default.
const EDITOR_PORTS: core::ops::RangeInclusive<u16> = 8888..=8899;

/// A path of Socket.IO.
pub(super) const SOCKET_IO: &str = "/socket.io/";

/// The most ids of a map that are tried as samples.
const SAMPLES_MAX: usize = 64;

/// What a location is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Editor,
    SocketIo,
    App,
    OpenHands,
}

/// A location with a role.
#[derive(Debug, Clone)]
pub(super) struct Route<'c> {
    pub(super) server: Server<'c>,
    pub(super) scope: Scope<'c>,
    pub(super) role: Role,
    pub(super) backend: Backend<'c>,
    /// The path below which it answers, with both slashes; `None` where no sample was found.
    pub(super) prefix: Option<String>,
    /// What is known of what answers behind it.
    pub(super) upstream: Option<Upstream>,
    /// A browser's request for its first page.
    pub(super) request: Request,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub(super) struct Door<'c> {
    pub(super) node: Option<&'c Node<'c>>,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    pub(super) is_loopback: bool,
}

/// Returns how a server is reached; port 80 where it says nothing, as root's nginx does.
pub(super) fn doors<'c>(server: &Server<'c>) -> Vec<Door<'c>> {
    if server.config.is_server_part {
        return Vec::new();
    }
    let mut out = Vec::new();
    let says_ssl =
        server.level.all("listen").any(|node| node.words.iter().any(|word| word == "ssl"));
    // A certificate that no socket uses was meant to be used: that is a rule of its own.
    let is_meant = !says_ssl && server.level.all("ssl_certificate").next().is_some();
    let on = is_meant || server.level.all("ssl").last().is_some_and(|ssl| ssl.word(0) == "on");
    for node in server.level.all("listen") {
        let address = node.word(0);
        if address.starts_with("unix:") {
            continue;
        }
        let (host, port) = match address.rsplit_once(':') {
            _ if address.parse::<u16>().is_ok() => ("*", address.parse().ok()),
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
                (host, port.parse().ok())
            }
            _ => (address, Some(80)),
        };
        let has = |word: &str| node.words.iter().skip(1).any(|one| one == word);
        out.extend(port.map(|port| Door {
            node: Some(node),
            port,
            is_tls: has("ssl") || has("quic") || on,
            is_loopback: host.starts_with("127.") || host == "localhost" || host == "[::1]",
        }));
    }
    let says_nothing = server.level.all("listen").next().is_none();
    if says_nothing {
        out.push(Door { node: None, port: 80, is_tls: false, is_loopback: false });
    }
    out
}

/// Returns the first name of a server that is one; none where any name will do.
///
/// `localhost` is what packages write for any name; with a port of its own, somebody chose it.
pub(super) fn name<'c>(server: &Server<'c>) -> Option<&'c str> {
    let words = server.level.all("server_name").flat_map(|node| node.words);
    let mut words = words.map(String::as_str);
    let door = main_door(server);
    let is_chosen = door.port != if door.is_tls { 443 } else { 80 };
    words.find(|word| {
        !matches!(*word, "_" | "")
            && (is_chosen || *word != "localhost")
            && !word.contains(['*', '~', '$'])
            && !word.starts_with('.')
    })
}

/// Writes a host and a port as browsers do.
pub(super) fn authority(host: &str, door: &Door<'_>) -> String {
    let default = if door.is_tls { 443 } else { 80 };
    if door.port == default { host.to_owned() } else { format!("{host}:{}", door.port) }
}

/// A browser's request through a door.
pub(super) fn browser(server: &Server<'_>, door: &Door<'_>) -> Request {
    let host = name(server).unwrap_or("oh.example");
    Request {
        method: "GET",
        scheme: if door.is_tls { "https" } else { "http" },
        authority: authority(host, door),
        port: door.port,
        uri: "/".to_owned(),
        ..Request::default()
    }
}

/// Finds the door that a site is used through: the one with TLS, or the first.
pub(super) fn main_door<'c>(server: &Server<'c>) -> Door<'c> {
    let doors = doors(server);
    let tls = doors.iter().find(|door| door.is_tls).or(doors.first()).cloned();
    tls.unwrap_or(Door { node: None, port: 443, is_tls: true, is_loopback: false })
}

/// Finds all locations that have a role.
pub(super) fn routes<'c>(config: Config<'c>, known: &Known) -> Vec<Route<'c>> {
    let mut out = Vec::new();
    for server in config.servers() {
        let scopes: Vec<(Scope<'c>, Backend<'c>)> = server
            .locations()
            .into_iter()
            .filter_map(|scope| Some((scope.clone(), Backend::of(scope.own("proxy_pass")?)?)))
            .collect();
        let has_editor = scopes.iter().any(|(scope, b)| is_editor(&server, scope, *b, known));
        let request = browser(&server, &main_door(&server));
        for (scope, backend) in scopes {
            if let Some(Matcher::Named(_)) = scope.location() {
                out.extend(by_name_alone(&server, &scope, backend, known, &request));
                continue;
            }
            let Some(role) = role(&server, &scope, backend, known, has_editor) else { continue };
            let prefix = prefix(config, &scope, role);
            let upstream = backend
                .addresses(config)
                .iter()
                .find_map(|address| known.upstreams.get(&plain(address)).copied());
            let request = match &prefix {
                Some(prefix) => request.at(prefix),
                None => request.clone(),
            };
            let upstream =
                upstream.or_else(|| mapped_upstream(config, &scope, backend, &request, known));
            out.push(Route { server, scope, role, backend, prefix, upstream, request });
        }
    }
    out
}

/// A location that others hand requests to by its name: what arrives there says what it is for.
fn by_name_alone<'c>(
    server: &Server<'c>,
    scope: &Scope<'c>,
    backend: Backend<'c>,
    known: &Known,
    request: &Request,
) -> Option<Route<'c>> {
    let is_here = |outcome: &Passed<'c>| match (outcome.scope.head(), scope.head()) {
        (Some(a), Some(b)) => core::ptr::eq(a, b),
        _ => false,
    };
    // The root of a session may be sent on to its folder; what is below it is not.
    let tries = samples(server.config)
        .flat_map(|sample| [(sample.clone(), sample.clone()), (format!("{sample}x"), sample)]);
    for (uri, prefix) in tries {
        let request = request.at(&uri);
        let Outcome::Proxied(passed) = run(*server, &request) else { continue };
        if !is_here(&passed) {
            continue;
        }
        let address = passed.variables.proxy_host.as_deref().map(plain);
        let upstream = address.and_then(|address| known.upstreams.get(&address).copied());
        let role = if prefix.starts_with("/apps/") { Role::App } else { Role::Editor };
        let (server, scope, prefix) = (*server, scope.clone(), Some(prefix));
        return Some(Route { server, scope, role, backend, prefix, upstream, request });
    }
    None
}

/// Paths of sessions: those that a map routes, and usual ones.
fn samples(config: Config<'_>) -> impl Iterator<Item = String> {
    let routed = config.http.all("map").flat_map(Node::children).filter(|line| {
        let name = line.name;
        ["vscode/", "apps/", "/vscode/", "/apps/"].iter().any(|start| name.starts_with(start))
    });
    let routed = routed.take(SAMPLES_MAX).map(|line| format!("/{}/", line.name.trim_matches('/')));
    let usual = ["/vscode/a/", "/vscode/8888/", "/apps/a-0/", "/a/vscode/", "/8888/", "/"];
    routed.chain(usual.map(ToOwned::to_owned))
}

/// What is known of an upstream that variables name, for the sample that is used.
fn mapped_upstream(
    config: Config<'_>,
    scope: &Scope<'_>,
    backend: Backend<'_>,
    request: &Request,
    known: &Known,
) -> Option<Upstream> {
    let variables = at_location(config, scope, request);
    known.upstreams.get(&plain(&backend.address(&variables)?)).copied()
}

/// The variables of a request once its location is found.
pub(super) fn at_location<'c>(
    config: Config<'c>,
    scope: &Scope<'c>,
    request: &Request,
) -> Variables<'c> {
    let mut variables = Variables::new(config, request);
    for level in &scope.levels {
        let Some(head) = level.head.filter(|head| head.name == "location") else { continue };
        if let Matcher::Regex { pattern, ignores_case } = Matcher::of(head)
            && let Some(Some(captures)) = matched(pattern, ignores_case, &request.uri)
        {
            variables.set.extend(captures.into_iter().map(|(name, value)| (name, Some(value))));
        }
    }
    for set in scope.levels.iter().flat_map(|level| level.all("set")) {
        let value = variables.value(set.word(1));
        variables.set.insert(set.word(0).trim_start_matches('$').to_owned(), value);
    }
    variables.proxy_host =
        scope.own("proxy_pass").and_then(Backend::of).and_then(|b| b.address(&variables));
    variables
}

fn role(
    server: &Server<'_>,
    scope: &Scope<'_>,
    backend: Backend<'_>,
    known: &Known,
    has_editor: bool,
) -> Option<Role> {
    let path = scope.location().map_or("", text_of);
    let is_socket_io = path.contains("/socket.io") || path.contains(r"/socket\.io");
    let openhands = known.openhands.as_deref().unwrap_or(OPENHANDS_DEFAULT);
    let is_openhands =
        backend.addresses(server.config).iter().any(|address| plain(address) == plain(openhands));
    if is_socket_io {
        return Some(Role::SocketIo);
    }
    if path.trim_start_matches('^').starts_with("/apps/") {
        return Some(Role::App);
    }
    if is_editor(server, scope, backend, known) && !(is_openhands && path == "/") {
        return Some(Role::Editor);
    }
    if is_openhands || (path == "/" && has_editor) {
        return Some(Role::OpenHands);
    }
    None
}

/// The path or pattern of a location.
fn text_of(matcher: Matcher<'_>) -> &str {
    match matcher {
        Matcher::Exact(text) | Matcher::Named(text) => text,
        Matcher::Prefix { path, .. } => path,
        Matcher::Regex { pattern, .. } => pattern,
    }
}

fn is_editor(server: &Server<'_>, scope: &Scope<'_>, backend: Backend<'_>, known: &Known) -> bool {
    let path = scope.location().map_or("", text_of);
    if path.starts_with("/apps/") || path.contains("/socket.io") {
        return false;
    }
    let is_name = |part: &str| EDITOR_NAMES.contains(&part);
    // The first two parts: `/runtime/vscode/`, not a file of somebody's called `code`.
    let by_path = path.trim_start_matches('^').split(['/', '(', '\\']).skip(1).take(2).any(is_name);
    let first_label = |name: &str| name.split(['.', '-']).next().map(str::to_owned);
    let by_name = path == "/"
        && server
            .level
            .all("server_name")
            .flat_map(|node| node.words)
            .filter_map(|n| first_label(n))
            .any(|label| is_name(&label));
    let ports: Vec<u16> =
        backend.addresses(server.config).iter().filter_map(|a| backend.port(a)).collect();
    let by_port = ports.iter().any(|port| EDITOR_PORTS.contains(port));
    let by_fact =
        backend.addresses(server.config).iter().any(|a| known.upstreams.contains_key(&plain(a)));
    by_path || by_name || by_port || by_fact || comment_says_so(scope)
}

/// Says whether a path is called as an editor's or an application's is.
pub(super) fn is_session_path(path: &str) -> bool {
    path.starts_with("/apps/")
        || path.split('/').skip(1).take(2).any(|part| EDITOR_NAMES.contains(&part))
}

/// Old generators wrote a comment above each location.
fn comment_says_so(scope: &Scope<'_>) -> bool {
    let Some(head) = scope.head() else { return false };
    let before = head.file.text.get(..head.span.start).unwrap_or_default();
    let above = before.trim_end().lines().next_back().unwrap_or_default().trim_start();
    let Some(comment) = above.strip_prefix('#') else { return false };
    let comment = comment.to_ascii_lowercase();
    ["vs code", "vscode", "code-server"].iter().any(|mark| comment.contains(mark))
}

/// Finds a path that the location serves.
fn prefix(config: Config<'_>, scope: &Scope<'_>, role: Role) -> Option<String> {
    if role == Role::SocketIo {
        let path = scope.location().and_then(Matcher::path).unwrap_or(SOCKET_IO);
        let before = path.split_once("/socket.io").map_or("", |(before, _)| before);
        return Some(format!("{before}{SOCKET_IO}"));
    }
    match scope.location()? {
        Matcher::Exact(path) | Matcher::Prefix { path, .. } => {
            Some(if path.ends_with('/') { path.to_owned() } else { format!("{path}/") })
        }
        Matcher::Named(_) => None,
        Matcher::Regex { pattern, ignores_case } => {
            let fits =
                |sample: &String| matches!(matched(pattern, ignores_case, sample), Some(Some(_)));
            // A name of its own: what the pattern says, up to a slash.
            let own = || {
                let text = shortest(pattern)?;
                let path = text.get(..=text.rfind('/')?)?;
                Some(path.to_owned()).filter(fits).filter(|path| path.starts_with('/'))
            };
            samples(config).find(fits).or_else(own)
        }
    }
}

/// Finds the editors at fixed addresses of this machine.
pub(super) fn editors(config: Config<'_>, known: &Known) -> Vec<Editor> {
    let found = routes(config, known).into_iter().filter(|route| route.role == Role::Editor);
    let mut out = Vec::new();
    for route in found {
        let variables = at_location(config, &route.scope, &route.request);
        let mut addresses = route.backend.addresses(config);
        addresses.extend(route.backend.address(&variables).filter(|a| !a.contains('$')));
        for address in addresses.iter().map(|address| plain(address)) {
            let is_port = route.backend.port(&address).and_then(|port| Port::new(port.into()));
            if address.starts_with("127.") && is_port.is_some() {
                let prefix = route.prefix.clone().unwrap_or_else(|| "/".to_owned());
                out.push(Editor { address, prefix });
            }
        }
    }
    out
}
