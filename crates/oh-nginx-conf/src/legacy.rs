//! Servers that others wrote: what each serves, and what of it our own server would not serve.
//!
//! For taking an older installation over. A server is read into what ours has too (a name, a port,
//! TLS, OpenHands at `/`, editors and applications below their prefixes) and into the rest. The
//! list of directives that may go without a loss is closed: whatever is not on it counts as
//! something that would be lost, with its place. Nothing is decided here.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use oh_model::id::SessionId;

use crate::inspect::{File, Place, Tree, listen_port};
use crate::parse::Directive;

/// What the generators of old write at the head of what they made.
pub const GENERATED_MARK: &str = "Auto-generated config for";

/// Where certbot leaves what proves that a name is served here.
const CHALLENGE: &str = "/.well-known/acme-challenge";

/// Directives of a server that ours has its own answer to, or that only tune.
const TUNING: &[&str] = &[
    "absolute_redirect",
    "charset",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_buffer_size",
    "client_header_timeout",
    "client_max_body_size",
    "default_type",
    "http2",
    "keepalive_timeout",
    "large_client_header_buffers",
    "port_in_redirect",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_cache_bypass",
    "proxy_connect_timeout",
    "proxy_cookie_path",
    "proxy_hide_header",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_next_upstream",
    "proxy_no_cache",
    "proxy_pass_header",
    "proxy_pass_request_headers",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "reset_timedout_connection",
    "resolver",
    "resolver_timeout",
    "send_timeout",
    "server_name_in_redirect",
    "server_tokens",
    "ssl_buffer_size",
    "ssl_ciphers",
    "ssl_conf_command",
    "ssl_dhparam",
    "ssl_early_data",
    "ssl_ecdh_curve",
    "ssl_prefer_server_ciphers",
    "ssl_protocols",
    "ssl_session_cache",
    "ssl_session_tickets",
    "ssl_session_timeout",
    "ssl_stapling",
    "ssl_stapling_verify",
    "ssl_trusted_certificate",
    "tcp_nodelay",
    "tcp_nopush",
];

/// What a `proxy_set_header` may say that ours says too, or that nobody behind ours reads.
const HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "early-data",
    "forwarded",
    "host",
    "origin",
    "proxy",
    "sec-websocket-extensions",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-nginx-proxy",
    "x-original-host",
    "x-original-uri",
    "x-real-ip",
    "x-scheme",
];

/// What a `listen` may not have: ours would not answer in the same way.
const LISTEN_OPTIONS_BEYOND: &[&str] = &["proxy_protocol", "quic"];

/// Directives that go, and that the operator should know of: nothing is served less for it.
const GIVEN_UP: &[&str] = &[
    "access_log",
    "add_header",
    "error_log",
    "gzip",
    "gzip_comp_level",
    "gzip_disable",
    "gzip_http_version",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_types",
    "gzip_vary",
    "log_not_found",
];

/// What a location of an editor may have beside: ours opens folders and strips prefixes too.
const ROUTING: &[&str] = &["if", "proxy_pass", "return", "rewrite", "set", "break"];

/// A server block that somebody wrote.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// The file that the block stands in, by its index in the tree.
    pub file: usize,
    /// The bytes of the block in that file.
    pub span: core::ops::Range<usize>,
    /// The lines of the block.
    pub lines: (usize, usize),
    /// Whether it stands at the beginning of its file, in no other block there.
    pub at_top: bool,
    /// Its names.
    pub names: Vec<String>,
    /// Where it listens.
    pub listens: Vec<Listening>,
    /// Certificate and key.
    pub tls: Option<(String, String)>,
    /// The file of users, where it asks for a password.
    pub users_file: Option<String>,
    /// Whether it asks for a password itself.
    pub asks: bool,
    /// Where `/` leads: address and port.
    pub upstream: Option<(String, usize)>,
    /// Editors and applications.
    pub routes: Vec<Route>,
    /// The lines that include files of repositories.
    pub includes: Vec<IncludeLine>,
    /// Whether it answers certbot.
    pub challenge: Option<usize>,
    /// Whether it sends on to HTTPS.
    pub redirects: bool,
    /// What ours would not serve: a line and what it is.
    pub beyond: Vec<Beyond>,
    /// What goes without anything being served less.
    pub given_up: Vec<Beyond>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The address: `*`, IPv4 or bracketed IPv6.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Whether it speaks TLS there.
    pub tls: bool,
    /// The line.
    pub line: usize,
}

/// An editor or an application that a server leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it stands.
    pub place: Place,
    /// Its address: `/vscode/{id}/` or `/apps/{id}-{index}/`.
    pub path: String,
    /// Where it leads to, where that can be told.
    pub port: Option<u16>,
    /// Whether it stands in a file that a program wrote.
    pub generated: bool,
}

/// A line that includes the files of repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeLine {
    /// The file that the line stands in, by its index in the tree.
    pub file: usize,
    /// Its bytes there.
    pub span: core::ops::Range<usize>,
    /// The line.
    pub line: usize,
}

/// Something at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// Where it stands.
    pub place: Place,
    /// What it is, as a fragment of a sentence.
    pub what: String,
}

impl Server {
    /// Says whether it answers nobody but certbot and those whom it sends on to HTTPS.
    pub fn only_redirects(&self) -> bool {
        let serves =
            self.upstream.is_some() || !self.routes.is_empty() || !self.includes.is_empty();
        (self.redirects || self.challenge.is_some()) && !serves && self.beyond.is_empty()
    }

    /// Says whether it answers whatever name it is asked by.
    pub fn takes_any_name(&self) -> bool {
        self.names.iter().all(|name| name == "_" || name.is_empty())
    }

    /// Says whether it has something of an older installation.
    pub fn has_routes(&self) -> bool {
        !self.routes.is_empty() || !self.includes.is_empty()
    }
}

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The folder of the files of repositories.
    pub repositories: &'a str,
    /// Whether a file was written by a program, by its path.
    pub is_generated: &'a dyn Fn(&File) -> bool,
}

/// Reads every server of the configuration, in the order in which nginx reads them.
pub fn servers(tree: &Tree, wanted: Wanted<'_>) -> Vec<Server> {
    let mut found = Vec::new();
    if let Some(main) = tree.files.first() {
        let http = flat(tree, 0, &main.directives);
        for (file, directive) in http {
            if directive.name == "http" {
                let block = directive.block.as_deref().unwrap_or_default();
                for (file_2, inner) in flat(tree, file, block) {
                    if inner.name == "server" {
                        let at_top = file_2 != file;
                        found.push(server(tree, wanted, file_2, inner, at_top));
                    }
                }
            }
        }
    }
    found
}

/// The directives of a block and of what it includes, each with the index of its file.
fn flat<'a>(tree: &'a Tree, file: usize, block: &'a [Directive]) -> Vec<(usize, &'a Directive)> {
    let mut out = Vec::new();
    for directive in block {
        out.push((file, directive));
        for index in brought_in(tree, file, directive) {
            if let Some(included) = tree.files.get(index) {
                out.extend(flat(tree, index, &included.directives));
            }
        }
    }
    out
}

fn brought_in(tree: &Tree, file: usize, directive: &Directive) -> Vec<usize> {
    let includes = tree.files.get(file).map(|file| file.includes.as_slice()).unwrap_or_default();
    let here = includes.iter().find(|include| include.span == directive.span);
    here.map(|include| include.files.clone()).unwrap_or_default()
}

fn place(tree: &Tree, file: usize, line: usize) -> Place {
    let path = tree.files.get(file).map(|file| file.path.clone()).unwrap_or_default();
    Place { path, line }
}

fn server(
    tree: &Tree,
    wanted: Wanted<'_>,
    file: usize,
    directive: &Directive,
    at_top: bool,
) -> Server {
    let text = tree.files.get(file).map(|file| file.text.as_str()).unwrap_or_default();
    let more = text.get(directive.span.clone()).map_or(0, |text| text.matches('\n').count());
    let mut server = Server {
        file,
        span: directive.span.clone(),
        lines: (directive.line, directive.line + more),
        at_top,
        ..Server::default()
    };
    let block = directive.block.as_deref().unwrap_or_default();
    let (mut certificate, mut key) = (None, None);
    let mut locations = Vec::new();
    for (file, inner) in flat(tree, file, block) {
        let first = inner.words.first().map_or("", String::as_str);
        match inner.name.as_str() {
            "listen" => listens(tree, file, inner, &mut server),
            "server_name" => {
                server.names.extend(inner.words.iter().map(|name| name.to_ascii_lowercase()));
            }
            "ssl_certificate" => certificate = Some(first.to_string()),
            "ssl_certificate_key" => key = Some(first.to_string()),
            "auth_basic" => server.asks = first != "off",
            "auth_basic_user_file" => server.users_file = Some(first.to_string()),
            "include" if is_repositories(tree, wanted, file, inner) => {
                let line = inner.line;
                server.includes.push(IncludeLine { file, span: inner.span.clone(), line });
            }
            "include" => {}
            "location" => locations.push((file, inner)),
            "return" | "if" if is_redirect(inner) => server.redirects = true,
            "return" if matches!(first, "404" | "444") => {}
            _ if is_tuning(inner) => {}
            _ => other(tree, file, inner, &mut server),
        }
    }
    server.tls = certificate.zip(key);
    // Where `/` leads to is known once all locations were looked at.
    let root = locations.iter().find(|(_, location)| location.words == ["/"]);
    let upstream = root.and_then(|(_, location)| target(tree, location));
    for (file, location) in &locations {
        read_location(tree, wanted, *file, location, upstream.as_ref(), &mut server);
    }
    if server.listens.is_empty() {
        let listening =
            Listening { address: "*".into(), port: 80, tls: false, line: directive.line };
        server.listens.push(listening);
    }
    server
}

fn is_tuning(directive: &Directive) -> bool {
    if directive.name == "proxy_set_header" {
        let header = directive.words.first().map(|word| word.to_ascii_lowercase());
        return header.is_some_and(|header| HEADERS.contains(&header.as_str()));
    }
    TUNING.contains(&directive.name.as_str())
}

/// Sorts a directive that nobody knows: it goes with a word, or it would be missed.
fn other(tree: &Tree, file: usize, directive: &Directive, server: &mut Server) {
    let place = place(tree, file, directive.line);
    let shown = shown(directive);
    let list = if GIVEN_UP.contains(&directive.name.as_str()) {
        &mut server.given_up
    } else {
        &mut server.beyond
    };
    list.push(Beyond { place, what: shown });
}

fn shown(directive: &Directive) -> String {
    let words: String = directive.words.iter().map(|word| format!(" {word}")).collect();
    format!("{}{words}", directive.name).escape_debug().to_string()
}

fn listens(tree: &Tree, file: usize, directive: &Directive, server: &mut Server) {
    let word = directive.words.first().map_or("", String::as_str);
    let Some(port) = listen_port(word) else {
        let place = place(tree, file, directive.line);
        server.beyond.push(Beyond { place, what: shown(directive) });
        return;
    };
    let address = match word.rsplit_once(':') {
        _ if word.parse::<u16>().is_ok() => "*",
        Some((address, _)) if address.ends_with(']') || !address.contains(':') => address,
        _ => word,
    };
    let has = |wanted: &str| directive.words.iter().any(|word| word == wanted);
    if LISTEN_OPTIONS_BEYOND.iter().any(|option| has(option)) {
        let place = place(tree, file, directive.line);
        server.beyond.push(Beyond { place, what: shown(directive) });
    }
    let tls = has("ssl");
    server.listens.push(Listening { address: address.into(), port, tls, line: directive.line });
}

fn is_repositories(tree: &Tree, wanted: Wanted<'_>, file: usize, directive: &Directive) -> bool {
    let includes = tree.files.get(file).map(|file| file.includes.as_slice()).unwrap_or_default();
    let here = includes.iter().find(|include| include.span == directive.span);
    here.is_some_and(|include| {
        include.pattern.rsplit_once('/').is_some_and(|(folder, _)| folder == wanted.repositories)
    })
}

/// `return 301 https://…`, also within an `if`, as certbot writes it.
fn is_redirect(directive: &Directive) -> bool {
    match (directive.name.as_str(), &directive.block) {
        ("return", None) => {
            let code = directive.words.first().map_or("", String::as_str);
            let target = directive.words.last().map_or("", String::as_str);
            matches!(code, "301" | "302" | "307" | "308") && target.starts_with("https://")
                || target.starts_with("https://") && directive.words.len() == 1
        }
        ("if", Some(block)) => !block.is_empty() && block.iter().all(is_redirect),
        _ => false,
    }
}

/// What a location is about.
enum About {
    Root,
    Challenge,
    Route(String),
    Other,
}

fn about(location: &Directive) -> About {
    let (exact, uri) = match location.words.as_slice() {
        [uri] => (false, uri.as_str()),
        [modifier, uri] if modifier == "^~" || modifier == "=" => (modifier == "=", uri.as_str()),
        _ => return About::Other,
    };
    if uri == "/" && !exact {
        return About::Root;
    }
    if uri.starts_with(CHALLENGE) {
        return About::Challenge;
    }
    let bare = uri.strip_suffix('/').unwrap_or(uri);
    let id = bare.strip_prefix("/vscode/").or_else(|| bare.strip_prefix("/apps/"));
    match id.map(SessionId::parse) {
        Some(Ok(_)) => About::Route(format!("{bare}/")),
        _ => About::Other,
    }
}

fn read_location(
    tree: &Tree,
    wanted: Wanted<'_>,
    file: usize,
    location: &Directive,
    root: Option<&Target>,
    server: &mut Server,
) {
    let here = place(tree, file, location.line);
    let beyond = |what: String| Beyond { place: here.clone(), what };
    match about(location) {
        About::Challenge => server.challenge = Some(location.line),
        About::Route(path) => {
            let port = target(tree, location).map(|target| target.port);
            let file_of = tree.files.get(file);
            let generated = file_of.is_some_and(|file| (wanted.is_generated)(file));
            // `= /vscode/x` beside `/vscode/x/` is one route.
            match server.routes.iter_mut().find(|route| route.path == path) {
                Some(known) => known.port = known.port.or(port),
                None => server.routes.push(Route { place: here, path, port, generated }),
            }
            content(tree, file, location, ROUTING, server);
        }
        About::Root if only_redirects(location) => server.redirects = true,
        About::Root => match root {
            Some(target) if target.is_whole("/") => {
                server.upstream = Some((target.address(), location.line));
                content(tree, file, location, &["proxy_pass"], server);
            }
            _ => server.beyond.push(beyond("location / leads to no address of its own".into())),
        },
        About::Other => {
            let uri = location.words.last().map_or("", String::as_str);
            let modified =
                location.words.len() > 1 && location.words.first().is_none_or(|m| m != "^~");
            match (target(tree, location), root) {
                (Some(own), Some(root))
                    if !modified && own.address() == root.address() && own.is_whole(uri) =>
                {
                    content(tree, file, location, &["proxy_pass"], server);
                }
                _ => server.beyond.push(beyond(shown(location))),
            }
        }
    }
}

fn only_redirects(location: &Directive) -> bool {
    let block = location.block.as_deref().unwrap_or_default();
    !block.is_empty() && block.iter().all(is_redirect)
}

/// Looks for what a location has beside what ours has.
fn content(tree: &Tree, file: usize, location: &Directive, known: &[&str], server: &mut Server) {
    let block = location.block.as_deref().unwrap_or_default();
    for (file, inner) in flat(tree, file, block) {
        let name = inner.name.as_str();
        if name == "include" || known.contains(&name) || is_tuning(inner) {
            continue;
        }
        other(tree, file, inner, server);
    }
}

/// Where a `proxy_pass` leads to.
struct Target {
    host: String,
    port: u16,
    uri: String,
}

impl Target {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Says whether what is asked for below `prefix` arrives under the same name.
    fn is_whole(&self, prefix: &str) -> bool {
        self.uri.is_empty() || self.uri == prefix
    }
}

fn target(tree: &Tree, location: &Directive) -> Option<Target> {
    let block = location.block.as_deref().unwrap_or_default();
    let pass = block.iter().find(|directive| directive.name == "proxy_pass")?;
    let rest = pass.words.first()?.strip_prefix("http://")?;
    let (authority, uri) = match rest.split_once('/') {
        Some((authority, uri)) => (authority, format!("/{uri}")),
        None => (rest, String::new()),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host.to_string(), port.parse().ok()?),
        None => upstream(tree, authority).unwrap_or((authority.to_string(), 80)),
    };
    // The servers of old listen on IPv4 only, whatever `localhost` resolves to.
    let host = if host == "localhost" { "127.0.0.1".into() } else { host };
    host.parse::<core::net::IpAddr>().ok()?;
    Some(Target { host, port, uri })
}

/// The one server of an `upstream` block.
fn upstream(tree: &Tree, name: &str) -> Option<(String, u16)> {
    let mut found = None;
    tree.visit(&mut |visit| {
        let directive = visit.directive;
        if directive.name == "upstream" && directive.words.first().is_some_and(|word| word == name)
        {
            let block = directive.block.as_deref().unwrap_or_default();
            let servers: Vec<_> = block.iter().filter(|inner| inner.name == "server").collect();
            if let [only] = servers.as_slice() {
                let word = only.words.first().map_or("", String::as_str);
                let (host, port) = word.rsplit_once(':').unwrap_or((word, "80"));
                found = port.parse().ok().map(|port| (host.to_string(), port));
            }
        }
    });
    found
}

/// Takes whole directives out of a text, each with the rest of its lines, and leaves a note where
/// the first of several lines stood.
///
/// `None` where a span is no span of the text.
pub fn cut(text: &str, spans: &[core::ops::Range<usize>], note: &str) -> Option<String> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.start);
    let mut out = text.to_string();
    for span in spans.into_iter().rev() {
        let line = out.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let before = out.get(line..span.start)?;
        let rest = out.get(span.end..)?;
        let end = span.end + rest.find('\n').map_or(rest.len(), |at| at + 1);
        let after = out.get(span.end..end)?.trim();
        let alone = before.trim().is_empty() && (after.is_empty() || after.starts_with('#'));
        if alone {
            let note = format!("{before}# {note}\n");
            out.replace_range(line..end, &note);
        } else {
            out.replace_range(span, "");
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use alloc::vec;

    fn read(text: &str) -> Vec<Server> {
        let whole = format!("http {{\n{text}\n}}\n");
        let file = File {
            path: "/site".into(),
            directives: parse(&whole).unwrap(),
            text: whole,
            includes: Vec::new(),
        };
        let tree = Tree { files: vec![file] };
        servers(&tree, Wanted { repositories: "/repos", is_generated: &|_| false })
    }

    fn lost(text: &str) -> Vec<String> {
        let servers = read(text);
        servers[0].beyond.iter().map(|b| format!("{}:{}", b.place.line, b.what)).collect()
    }

    const ROOT: &str = "location / { proxy_pass http://localhost:3000; }";

    #[test]
    fn what_ours_serves_too_is_not_lost() {
        let server = &read(
            "upstream oh { server 127.0.0.1:3000; }\n\
             server { listen 443 ssl http2; listen [::]:443 ssl; server_name oh.example;\n\
             ssl_certificate /c; ssl_certificate_key /k; client_max_body_size 9m;\n\
             location / { proxy_pass http://oh; proxy_set_header Upgrade $http_upgrade; }\n\
             location /ws { proxy_pass http://localhost:3000/ws; }\n\
             location = /vscode/a { return 301 /vscode/a/; }\n\
             location /vscode/a/ { proxy_pass http://localhost:8080/; }\n\
             location /apps/a-0/ { proxy_pass http://127.0.0.1:8081/; } }",
        )[0];
        assert_eq!(server.beyond, []);
        assert_eq!(server.upstream, Some(("127.0.0.1:3000".into(), 5)));
        assert_eq!(server.names, ["oh.example"]);
        assert_eq!(server.tls, Some(("/c".into(), "/k".into())));
        let listens: Vec<_> =
            server.listens.iter().map(|l| (l.address.as_str(), l.port, l.tls)).collect();
        assert_eq!(listens, [("*", 443, true), ("[::]", 443, true)]);
        let routes: Vec<_> = server.routes.iter().map(|r| (r.path.as_str(), r.port)).collect();
        assert_eq!(routes, [("/vscode/a/", Some(8080)), ("/apps/a-0/", Some(8081))]);
    }

    #[test]
    fn what_would_be_lost_is_named_with_its_line() {
        let with = |more: &str| lost(&format!("server {{ {ROOT}\n{more} }}"));
        for (more, expected) in [
            ("location /files/ { root /srv; }", "3:location /files/"),
            ("location /ws { proxy_pass http://localhost:3001; }", "3:location /ws"),
            ("location /ws { proxy_pass http://localhost:3000/other; }", "3:location /ws"),
            (
                "location ~ ^/vscode/(.*) { proxy_pass http://localhost:1; }",
                "3:location ~ ^/vscode/(.*)",
            ),
            ("location /vscode/ { proxy_pass http://localhost:8080/; }", "3:location /vscode/"),
            ("deny 192.0.2.1;", "3:deny 192.0.2.1"),
            ("location /vscode/a/ { allow 192.0.2.1; }", "3:allow 192.0.2.1"),
            ("auth_request /auth;", "3:auth_request /auth"),
            ("return 200 hello;", "3:return 200 hello"),
            ("listen unix:/run/x;", "3:listen unix:/run/x"),
            ("listen 443 ssl proxy_protocol;", "3:listen 443 ssl proxy_protocol"),
            ("ssl_verify_client on;", "3:ssl_verify_client on"),
            ("proxy_set_header X-Api-Key 1;", "3:proxy_set_header X-Api-Key 1"),
        ] {
            assert_eq!(with(more), [expected], "{more}");
        }
        assert_eq!(
            lost("server { location / { root /srv; } }"),
            ["2:location / leads to no address of its own"]
        );
        let given_up = &read(&format!("server {{ {ROOT}\naccess_log /l; }}"))[0].given_up;
        assert_eq!(given_up[0].what, "access_log /l");
    }

    #[test]
    fn a_server_that_only_redirects_is_known_in_every_spelling() {
        for text in [
            "server { listen 80; return 301 https://$host$request_uri; }",
            "server { if ($host = oh.example) { return 301 https://$host$request_uri; } \
             listen 80; server_name oh.example; return 404; }",
            "server { location /.well-known/acme-challenge/ { root /var/www; } \
             location / { return 301 https://$host$request_uri; } }",
        ] {
            assert!(read(text)[0].only_redirects(), "{text}");
        }
        assert!(!read(&format!("server {{ {ROOT} }}"))[0].only_redirects());
        assert!(!read("server { return 301 http://other.example; }")[0].only_redirects());
    }

    #[test]
    fn exactly_the_lines_of_a_directive_go() {
        let text = "a;\n  include  /repos/*.conf; # managed\nb; c; d;\n";
        let read = parse(text).unwrap();
        let spans = [read[1].span.clone(), read[3].span.clone()];
        assert_eq!(cut(text, &spans, "gone").unwrap(), "a;\n  # gone\nb;  d;\n");
    }
}
