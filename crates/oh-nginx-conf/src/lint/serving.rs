//! Which lines of a configuration a request meets: its server, its location, and where it is passed on to.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::backend::Backend;
use super::model::{self, Config, Scope, Server};
use super::request::{Request, captured, compiled};
use super::role::doors;
use super::simulate::{self, Outcome};
use crate::inspect::{Place, Tree};

/// A request for a WebSocket, as it reaches nginx.
#[derive(Debug, Clone)]
pub struct Meant<'m> {
    /// Whether it comes over TLS.
    pub is_tls: bool,
    /// The name that it is for, without a port.
    pub host: &'m str,
    /// The port that it comes to.
    pub port: u16,
    /// The path.
    pub path: &'m str,
    /// What stands behind the `?`; empty where nothing does.
    pub query: &'m str,
}

/// What a request meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Where its server begins.
    pub server: Option<Place>,
    /// Where its location begins, where it meets one.
    pub location: Option<Place>,
    /// Where it is passed on to.
    pub upstream: Option<PassedOn>,
    /// Each line that counts for it.
    lines: BTreeSet<(String, usize)>,
}

/// Where a request is passed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOn {
    /// `http` or `https`.
    pub scheme: String,
    /// The first address, with its port where one is written: `127.0.0.1:3000`, `unix:/run/x.sock`.
    pub address: String,
    /// The path that is sent; `None` where it cannot be told.
    pub path: Option<String>,
}

impl Serving {
    /// Says whether a line counts for the request: it stands in its location, or around it.
    pub fn has(&self, place: &Place) -> bool {
        self.lines.contains(&(place.path.clone(), place.line))
    }
}

/// Follows a request; nothing where no server has its port, or the configuration is more than is judged.
pub fn serving(tree: &Tree, meant: &Meant<'_>) -> Option<Serving> {
    let blocks = model::blocks(tree).filter(|blocks| model::is_judgeable(&blocks.nodes))?;
    let config = Config::of(&blocks);
    let server = server_of(config, meant)?;
    let own = if meant.is_tls { 443 } else { 80 };
    let authority = if meant.port == own {
        meant.host.to_owned()
    } else {
        format!("{}:{}", meant.host, meant.port)
    };
    let request = Request {
        method: "GET",
        scheme: if meant.is_tls { "https" } else { "http" },
        authority,
        port: meant.port,
        uri: meant.path.to_owned(),
        args: meant.query.to_owned(),
        ..Request::default()
    };
    let request = request.with(&[("upgrade", "websocket"), ("connection", "Upgrade")]);
    let (scope, upstream) = match simulate::run(server, &request) {
        Outcome::Proxied(passed) => {
            let backend = passed.scope.own("proxy_pass").and_then(Backend::of);
            let upstream = backend.and_then(|backend| {
                let path = passed.sent.as_deref().map(|sent| {
                    let path = sent.split_once('?').map_or(sent, |(path, _)| path);
                    path.to_owned()
                });
                let address = backend.addresses(config).into_iter().next();
                let address = address.or_else(|| backend.address(&passed.variables))?;
                Some(PassedOn { scheme: backend.scheme.to_owned(), address, path })
            });
            (passed.scope, upstream)
        }
        Outcome::File(scope) => (scope, None),
        Outcome::Answered { .. } | Outcome::Unknown => {
            (simulate::entered(server, &request).unwrap_or_else(|| server.scope()), None)
        }
    };
    Some(Serving {
        server: server.level.head.map(|node| node.place()),
        location: location_of(&scope),
        upstream,
        lines: lines_of(&scope),
    })
}

fn location_of(scope: &Scope<'_>) -> Option<Place> {
    let heads = scope.levels.iter().rev().filter_map(|level| level.head);
    heads.into_iter().find(|node| node.name == "location").map(|node| node.place())
}

/// The blocks around, and what stands in each of them itself.
fn lines_of(scope: &Scope<'_>) -> BTreeSet<(String, usize)> {
    let heads = scope.levels.iter().filter_map(|level| level.head);
    let inner = scope.levels.iter().flat_map(|level| level.nodes);
    let counts = inner.filter(|node| !matches!(node.name, "server" | "location"));
    heads.chain(counts).map(|node| (node.file.path.clone(), node.line)).collect()
}

/// Chooses the server as nginx does (`ngx_http_find_virtual_server`): of those that have the port, by an exact
/// name, the longest with a star before it, the longest with one behind it, the first pattern; else the one that
/// says `default_server`, or the first.
fn server_of<'c>(config: Config<'c>, meant: &Meant<'_>) -> Option<Server<'c>> {
    if config.is_server_part {
        return config.servers().into_iter().next();
    }
    let has_port = |server: &Server<'_>| doors(server).iter().any(|door| door.port == meant.port);
    let servers: Vec<_> = config.servers().into_iter().filter(has_port).collect();
    let best = servers.iter().enumerate().filter_map(|(index, server)| {
        let rank = rank_of(server, meant.host)?;
        // Of two that are alike the first counts.
        Some(((rank, usize::MAX - index), server))
    });
    let named = best.max_by_key(|(key, _)| *key).map(|(_, server)| *server);
    named
        .or_else(|| servers.iter().find(|server| is_default(server, meant.port)).copied())
        .or_else(|| servers.first().copied())
}

fn is_default(server: &Server<'_>, port: u16) -> bool {
    let says = |word: &String| word == "default_server" || word == "default";
    doors(server)
        .iter()
        .any(|door| door.port == port && door.node.is_some_and(|node| node.words.iter().any(says)))
}

/// How well the names of a server fit; nothing where none does.
fn rank_of(server: &Server<'_>, host: &str) -> Option<(u8, usize)> {
    let host = host.to_ascii_lowercase();
    let names = server.level.all("server_name").flat_map(|node| node.words);
    names
        .filter_map(|name| {
            let name = name.to_ascii_lowercase();
            if let Some(pattern) = name.strip_prefix('~') {
                let regex = compiled(pattern, true)?;
                return captured(&regex, &host).map(|_| (1, 0));
            }
            if let Some(end) = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
                let before = host.strip_suffix(end)?;
                let is_itself = before.is_empty() && name.starts_with('.');
                return (is_itself || before.ends_with('.')).then_some((3, end.len()));
            }
            if let Some(start) = name.strip_suffix(".*") {
                let rest = host.strip_prefix(start)?;
                return rest.starts_with('.').then_some((2, start.len()));
            }
            (name == host).then_some((4, 0))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::File;
    use crate::parse::parse;

    const TEXT: &str = "
http {
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    upstream oh { server 127.0.0.1:3000; server 127.0.0.1:3001; }
    server {
        listen 80 default_server;
        server_name _;
        return 404;
    }
    server {
        listen 8443 ssl;
        server_name oh.example *.oh.example;
        proxy_set_header Upgrade $http_upgrade;
        location / { proxy_pass http://127.0.0.1:4000; }
        location /socket.io/ {
            proxy_set_header X-Forwarded-Path /;
            proxy_pass http://oh;
        }
        location /oh/ { proxy_pass http://oh/; }
        location /static/ { root /srv; }
    }
    server {
        listen 8443 ssl;
        server_name ~^other\\.;
        location / { proxy_pass https://127.0.0.1:5000; }
    }
}
";

    fn found(host: &str, port: u16, path: &str) -> Option<Serving> {
        let (name, text) = ("nginx.conf".to_owned(), TEXT.to_owned());
        let directives = parse(TEXT).unwrap();
        let tree =
            Tree { files: [File { path: name, text, directives, includes: [].into() }].into() };
        serving(&tree, &Meant { is_tls: port != 80, host, port, path, query: "EIO=4" })
    }

    fn line(place: Option<&Place>) -> Option<usize> {
        place.map(|place| place.line)
    }

    #[test]
    fn a_request_meets_the_lines_that_nginx_would_choose() {
        for (host, port, path, server, location, upstream) in [
            (
                "oh.example",
                8443,
                "/socket.io/",
                10,
                Some(15),
                Some(("127.0.0.1:3000", "/socket.io/")),
            ),
            (
                "OH.example",
                8443,
                "/oh/socket.io/",
                10,
                Some(19),
                Some(("127.0.0.1:3000", "/socket.io/")),
            ),
            ("a.oh.example", 8443, "/x", 10, Some(14), Some(("127.0.0.1:4000", "/x"))),
            ("oh.example", 8443, "/static/a", 10, Some(20), None),
            ("other.example", 8443, "/", 22, Some(25), Some(("127.0.0.1:5000", "/"))),
            // No name fits: the first of the port.
            (
                "nobody.example",
                8443,
                "/socket.io/",
                10,
                Some(15),
                Some(("127.0.0.1:3000", "/socket.io/")),
            ),
            ("oh.example", 80, "/socket.io/", 5, None, None),
        ] {
            let serving = found(host, port, path).unwrap_or_else(|| panic!("{host}:{port}{path}"));
            assert_eq!(line(serving.server.as_ref()), Some(server), "{host}:{port}{path}");
            assert_eq!(line(serving.location.as_ref()), location, "{host}:{port}{path}");
            let passed = serving.upstream.as_ref();
            let passed = passed.map(|one| (one.address.as_str(), one.path.as_deref().unwrap()));
            assert_eq!(passed, upstream, "{host}:{port}{path}");
        }
        assert_eq!(found("oh.example", 81, "/"), None);
    }

    #[test]
    fn only_the_lines_around_count() {
        let serving = found("oh.example", 8443, "/socket.io/").unwrap();
        let path = serving.server.as_ref().unwrap().path.clone();
        let counting: Vec<_> = (1..28)
            .filter(|line| serving.has(&Place { path: path.clone(), line: *line }))
            .collect();
        assert_eq!(counting, [2, 3, 4, 10, 11, 12, 13, 15, 16, 17]);
    }
}
