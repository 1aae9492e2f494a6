//! The blocks: changes of the good sites, each with the row of the facts that it shows, and what has to be said.
//!
//! Whether a block works is never written down by hand alone: the real client says it, and a table that says
//! otherwise fails.

use crate::scene::Door;
use crate::sites::{
    BASE_PATH_SITE, Base, IPV6_SITE, NODE_SITE, OWN_SITE, PLAIN_SITE, SUB_PATH_SITE, TLS_SITE,
    TWO_PROXIES,
};

/// How a block is mended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mend<'b> {
    /// By the lines that the linter prints for the cause.
    Lines,
    /// By the lines of the cause itself, pasted above the other locations, or in `http` where they say so.
    Pasted,
    /// By what the cause says in words, done so.
    By(Changes<'b>),
    /// By the site's own address.
    OwnDoor,
    /// At the server; the proxies have no part in it.
    AtTheServer,
}

/// Texts, and what takes their place.
pub(crate) type Changes<'b> = &'b [(&'static str, &'static str)];

/// One site, good or bad.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'b> {
    /// The row of the facts that it shows; empty where it shows that something is harmless.
    pub(crate) row: &'static str,
    pub(crate) about: &'b str,
    pub(crate) base: &'static Base,
    pub(crate) upstream: &'static str,
    pub(crate) changes: Changes<'b>,
    /// Which of the proxies is changed.
    pub(crate) at: usize,
    /// Its cause, and those that come to light when it is mended; none where it works.
    pub(crate) causes: &'b [&'static str],
    /// What is warned of, where it works.
    pub(crate) warnings: &'static [&'static str],
    /// What stands in the line that has the fault.
    pub(crate) line: &'static str,
    pub(crate) mend: Mend<'b>,
    pub(crate) door: Door,
    pub(crate) query: &'static str,
    pub(crate) is_silent: bool,
    pub(crate) held: usize,
    /// Whether it is made of two, of which one may undo the other.
    pub(crate) is_pair: bool,
}

impl<'b> Block<'b> {
    /// A site that works.
    pub(crate) const fn good(about: &'b str, base: &'static Base, changes: Changes<'b>) -> Self {
        Self {
            row: "",
            about,
            base,
            upstream: base.upstream,
            changes,
            at: 0,
            causes: &[],
            warnings: &[],
            line: "",
            mend: Mend::Lines,
            door: Door::Own,
            query: "",
            is_silent: false,
            held: 0,
            is_pair: false,
        }
    }

    /// A site that does not work, for the cause that the row is called by.
    const fn bad(
        causes: &'b [&'static str],
        about: &'b str,
        base: &'static Base,
        changes: Changes<'b>,
    ) -> Self {
        Self { causes, row: causes[0], ..Self::good(about, base, changes) }
    }

    const fn at_line(self, line: &'static str) -> Self {
        Self { line, ..self }
    }

    const fn by(self, changes: Changes<'b>) -> Self {
        Self { mend: Mend::By(changes), ..self }
    }

    const fn pasted(self) -> Self {
        Self { mend: Mend::Pasted, ..self }
    }

    /// The second proxy is changed, and not the first.
    const fn inner(self) -> Self {
        Self { at: 1, ..self }
    }

    /// The server is another, and the fault is its own.
    const fn of_the_server(self, upstream: &'static str) -> Self {
        Self { upstream, mend: Mend::AtTheServer, ..self }
    }

    const fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    const fn through(self, door: Door) -> Self {
        Self { door, mend: Mend::OwnDoor, ..self }
    }

    const fn asking(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    const fn shows(self, row: &'static str) -> Self {
        Self { row, ..self }
    }

    const fn warned_of(self, warnings: &'static [&'static str]) -> Self {
        Self { warnings, ..self }
    }

    const fn beside(self, held: usize) -> Self {
        Self { held, ..self }
    }

    /// The hop that has the fault.
    pub(crate) fn hop(&self) -> &'static str {
        match self.mend {
            Mend::AtTheServer => "upstream",
            _ if self.base.texts.len() == self.at + 1 => "nginx",
            _ => "public",
        }
    }
}

const UPGRADE: &str = "        proxy_set_header Upgrade $http_upgrade;\n";
const CONNECTION: &str = "        proxy_set_header Connection $connection_upgrade;\n";
const MAP: &str = "    map $http_upgrade $connection_upgrade {\n        default upgrade;\n        '' close;\n    }\n";
const VERSION: &str = "        proxy_http_version 1.1;\n";
const HOST: &str = "        proxy_set_header Host $http_host;\n";
const PROTO: &str = "        proxy_set_header X-Forwarded-Proto $scheme;\n";
const PASS: &str = "            proxy_pass http://openhands;\n";
const SUB_PASS: &str = "            proxy_pass http://openhands/;\n";
const WHOLE: &str =
    "        location /socket.io/ {\n            proxy_pass http://openhands;\n        }\n";
const LISTEN_TLS: &str = "listen 127.0.0.1:@PORT@ ssl http2;";
const SERVER: &str = "        server 127.0.0.1:@UPSTREAM@;\n";
const PROTOCOLS: &str = "        ssl_protocols TLSv1.2 TLSv1.3;\n";
const READ: &str = "proxy_read_timeout 1h;";
const BODY: &str = "        client_max_body_size 16m;\n";

/// Takes the place of the headers in the location of the site that has them there.
const NODE_UPGRADE: &str = "            proxy_set_header Upgrade $http_upgrade;\n";
const NODE_CONNECTION: &str = "            proxy_set_header Connection $connection_upgrade;\n";

/// An upgrade that is lost on the way, or half of it.
const UPGRADES: &[Block<'static>] = &[
    Block::bad(&["UPG-1"], "no Upgrade", &PLAIN_SITE, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "nothing of it", &PLAIN_SITE, &[(VERSION, ""), (UPGRADE, ""), (CONNECTION, "")]),
    Block::bad(&["UPG-1"], "nothing of it, and no map", &PLAIN_SITE, &[(MAP, ""), (VERSION, ""), (UPGRADE, ""), (CONNECTION, "")])
        .pasted(),
    Block::bad(&["UPG-1"], "HTTP/1.1 alone", &PLAIN_SITE, &[(UPGRADE, ""), (CONNECTION, "")]),
    Block::bad(&["UPG-1"], "Upgrade ''", &PLAIN_SITE, &[("Upgrade $http_upgrade", "Upgrade ''")])
        .at_line("Upgrade ''"),
    Block::bad(&["UPG-1"], "Upgrade h2c", &PLAIN_SITE, &[("Upgrade $http_upgrade", "Upgrade h2c")])
        .at_line("Upgrade h2c"),
    Block::bad(&["UPG-1"], "no Upgrade, Node", &NODE_SITE, &[(NODE_UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Connection, Node", &NODE_SITE, &[(NODE_CONNECTION, "")]),
    Block::bad(&["UPG-1"], "neither, Node", &NODE_SITE, &[(NODE_UPGRADE, ""), (NODE_CONNECTION, "")]),
    Block::bad(&["UPG-1"], "no Upgrade, TLS", &TLS_SITE, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Upgrade, below a path", &SUB_PATH_SITE, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Upgrade, a base path", &BASE_PATH_SITE, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Upgrade, IPv6", &IPV6_SITE, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Upgrade at the outer", &TWO_PROXIES, &[(UPGRADE, "")]),
    Block::bad(&["UPG-1"], "no Upgrade at the inner", &TWO_PROXIES, &[(UPGRADE, "")]).inner(),
    Block::bad(&["UPG-2"], "the original's header", &PLAIN_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            proxy_set_header X-Forwarded-Path $uri;\n"),
    ])
    .at_line("X-Forwarded-Path"),
    Block::bad(&["UPG-2"], "a header in the location, TLS", &TLS_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            proxy_set_header X-Real-IP $remote_addr;\n"),
    ])
    .at_line("X-Real-IP"),
    Block::bad(&["UPG-2"], "a header in the location, below a path", &SUB_PATH_SITE, &[
        (SUB_PASS, "            proxy_pass http://openhands/;\n            proxy_set_header X-Forwarded-Path /oh;\n"),
    ])
    .at_line("X-Forwarded-Path"),
    Block::bad(&["UPG-2", "UPG-3"], "Upgrade alone in the location", &PLAIN_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            proxy_set_header Upgrade $http_upgrade;\n"),
    ]),
    Block::bad(&["UPG-2"], "a header at the inner", &TWO_PROXIES, &[
        (PASS, "            proxy_pass http://openhands;\n            proxy_set_header X-Real-IP $remote_addr;\n"),
    ])
    .inner(),
    Block::bad(&["UPG-3"], "no Connection", &PLAIN_SITE, &[(CONNECTION, "")]),
    Block::bad(&["UPG-3"], "Connection close", &PLAIN_SITE, &[("Connection $connection_upgrade", "Connection close")])
        .at_line("Connection close"),
    Block::bad(&["UPG-3"], "Connection ''", &PLAIN_SITE, &[("Connection $connection_upgrade", "Connection ''")])
        .at_line("Connection ''"),
    Block::bad(&["UPG-3"], "Connection keep-alive", &TLS_SITE, &[("Connection $connection_upgrade", "Connection keep-alive")])
        .at_line("Connection keep-alive"),
    Block::bad(&["UPG-3"], "a map without default", &PLAIN_SITE, &[("        default upgrade;\n", "")]),
    Block::bad(&["UPG-3"], "a map that says close", &OWN_SITE, &[("default upgrade;", "default close;")]),
    Block::bad(&["UPG-3"], "no Connection at the inner", &TWO_PROXIES, &[(CONNECTION, "")]).inner(),
    Block::good("no Connection at the outer: the inner adds it", &TWO_PROXIES, &[(CONNECTION, "")]),
    Block::good("HTTP/1.0", &PLAIN_SITE, &[("proxy_http_version 1.1", "proxy_http_version 1.0")])
        .shows("UPG-4")
        .warned_of(&["UPG-4"]),
    Block::good("nothing about HTTP/1.1, Node", &NODE_SITE, &[(VERSION, "")])
        .shows("UPG-4")
        .warned_of(&["UPG-4"]),
    Block::good("HTTP/2 beside HTTP/1.1", &TLS_SITE, &[]).shows("UPG-6"),
    Block::bad(&["UPG-7"], "a wrong key", &PLAIN_SITE, &[]).of_the_server("wrong key"),
    Block::bad(&["UPG-7"], "101 without Upgrade", &PLAIN_SITE, &[]).of_the_server("no Upgrade").silent(),
    Block::bad(&["H2-1"], "http2 without ssl", &PLAIN_SITE, &[("@PORT@;", "@PORT@ http2;")]).at_line("http2"),
    Block::bad(&["H2-1"], "http2 without ssl, Node", &NODE_SITE, &[("@PORT@;", "@PORT@ http2;")]).at_line("http2"),
];

/// A path, a query or a host that is changed on the way.
const PATHS: &[Block<'static>] = &[
    Block::bad(&["PATH-1"], "the prefix stripped", &PLAIN_SITE, &[("http://openhands;", "http://openhands/;")])
        .at_line("http://openhands/;"),
    Block::bad(&["PATH-1"], "the prefix stripped, TLS", &TLS_SITE, &[("http://openhands;", "http://openhands/;")])
        .at_line("http://openhands/;"),
    Block::bad(&["PATH-1"], "the prefix stripped, Node", &NODE_SITE, &[
        ("/socket.io/ {\n            proxy_pass http://openhands;", "/socket.io/ {\n            proxy_pass http://openhands/;"),
    ])
    .at_line("http://openhands/;"),
    Block::bad(&["PATH-1"], "another path", &PLAIN_SITE, &[("http://openhands;", "http://openhands/ws/;")])
        .at_line("http://openhands/ws/;"),
    Block::bad(&["PATH-1"], "the prefix stripped at the inner", &TWO_PROXIES, &[("http://openhands;", "http://openhands/;")])
        .inner()
        .at_line("http://openhands/;"),
    Block::bad(&["PATH-1"], "the prefix kept", &SUB_PATH_SITE, &[("http://openhands/;", "http://openhands;")])
        .by(&[("http://openhands;", "http://openhands/;")]),
    Block::bad(&["PATH-1"], "stripped twice", &SUB_PATH_SITE, &[
        ("location /oh/ {", "location /oh/socket.io/ {"),
    ])
    .at_line("http://openhands/;"),
    Block::bad(&["PATH-1"], "stripped, and the server has the path", &BASE_PATH_SITE, &[
        ("http://openhands;", "http://openhands/socket.io/;"),
    ])
    .by(&[("http://openhands/socket.io/;", "http://openhands;")]),
    Block::bad(&["PATH-2"], "no location", &PLAIN_SITE, &[(WHOLE, "")]).pasted(),
    Block::bad(&["PATH-2"], "no location, no header and no map", &OWN_SITE, &[
        (WHOLE, ""),
        (MAP, ""),
        (VERSION, ""),
        (HOST, ""),
        (PROTO, ""),
        (UPGRADE, ""),
        (CONNECTION, ""),
    ])
    .pasted(),
    Block::bad(&["PATH-2"], "files in the location, and OpenHands beside it", &NODE_SITE, &[
        ("/socket.io/ {\n            proxy_pass http://openhands;\n", "/socket.io/ {\n            root @ROOT@/www;\n            try_files $uri /index.html;\n"),
        ("        location / {\n", "        location = /index.html {\n            root @ROOT@/www;\n        }\n        location / {\n"),
    ])
    .at_line("location /socket.io/"),
    Block::bad(&["PATH-2"], "a location of another name", &PLAIN_SITE, &[("location /socket.io/", "location /socketio/")])
        .by(&[("location /socketio/", "location /socket.io/")]),
    Block::bad(&["PATH-2"], "a location that serves files", &PLAIN_SITE, &[
        (PASS, "            try_files $uri /index.html;\n"),
    ])
    .by(&[("/socket.io/ {\n            try_files $uri /index.html;\n", "/socket.io/ {\n            proxy_pass http://openhands;\n")]),
    Block::bad(&["PATH-2"], "a pattern takes it", &TLS_SITE, &[
        (WHOLE, "        location /socket.io/ {\n            proxy_pass http://openhands;\n        }\n        location ~ /$ {\n            try_files $uri /index.html;\n        }\n"),
    ]),
    Block::bad(&["PATH-3"], "a capture without the query", &PLAIN_SITE, &[
        (WHOLE, "        location ~ ^/(socket\\.io/.*)$ {\n            proxy_pass http://openhands/$1;\n        }\n"),
    ])
    .at_line("/$1;"),
    Block::bad(&["PATH-3"], "$uri", &TLS_SITE, &[("http://openhands;", "http://openhands$uri;")]).at_line("$uri;"),
    Block::bad(&["PATH-3"], "$uri, Node", &NODE_SITE, &[
        ("/socket.io/ {\n            proxy_pass http://openhands;", "/socket.io/ {\n            proxy_pass http://openhands$uri;"),
    ])
    .at_line("$uri;"),
    Block::bad(&["PATH-4"], "plain HTTP is sent on to TLS", &TLS_SITE, &[
        ("    server {\n", "    server {\n        listen 127.0.0.1:@BESIDE@;\n        return 301 https://oh.example:@PORT@$request_uri;\n    }\n    server {\n"),
    ])
    .through(Door::Beside),
    Block::bad(&["PATH-4"], "sent on to another path", &PLAIN_SITE, &[
        (PASS, "            return 302 /elsewhere$request_uri;\n            proxy_pass http://openhands;\n"),
    ])
    .at_line("return 302"),
    Block::bad(&["PATH-5"], "404", &PLAIN_SITE, &[
        (PASS, "            return 404;\n            proxy_pass http://openhands;\n"),
    ])
    .at_line("return 404"),
    Block::bad(&["PATH-5"], "a folder without files", &PLAIN_SITE, &[(PASS, "            try_files $uri =404;\n")])
        .by(&[("            try_files $uri =404;\n", "            proxy_pass http://openhands;\n")]),
    Block::bad(&["ORI-1"], "Host $host", &OWN_SITE, &[("$http_host", "$host")]).at_line("Host $host"),
    Block::bad(&["ORI-1"], "no Host", &OWN_SITE, &[(HOST, "")]),
    Block::bad(&["ORI-1"], "Host $proxy_host", &OWN_SITE, &[("$http_host", "$proxy_host")]).at_line("$proxy_host"),
    Block::bad(&["ORI-1"], "Host $host, IPv6", &IPV6_SITE, &[("$http_host", "$host")]).at_line("Host $host"),
    Block::bad(&["ORI-1"], "no X-Forwarded-Proto", &TLS_SITE, &[(PROTO, "")]),
    Block::bad(&["ORI-1"], "X-Forwarded-Proto http", &TLS_SITE, &[("X-Forwarded-Proto $scheme", "X-Forwarded-Proto http")])
        .at_line("X-Forwarded-Proto http"),
    Block::bad(&["ORI-1"], "no Host, TLS", &TLS_SITE, &[(HOST, "")]),
    Block::bad(&["ORI-1"], "no Host at the outer", &TWO_PROXIES, &[(HOST, "")]),
    Block::bad(&["ORI-1"], "the inner says its own scheme", &TWO_PROXIES, &[("$http_x_forwarded_proto", "$scheme")])
        .inner()
        .by(&[("X-Forwarded-Proto $scheme", "X-Forwarded-Proto $http_x_forwarded_proto")]),
    Block::bad(&["ORI-1"], "a list without the site", &PLAIN_SITE, &[]).of_the_server("listed"),
    Block::good("a header of its own for other origins", &PLAIN_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            add_header Access-Control-Allow-Origin *;\n"),
    ])
    .shows("ORI-2")
    .warned_of(&["ORI-2"]),
];

/// What proxies refuse, hide, limit, and cannot reach.
const PROXIES: &[Block<'static>] = &[
    Block::bad(&["LIM-2"], "limit_conn", &PLAIN_SITE, &[
        ("    server {\n", "    limit_conn_zone $binary_remote_addr zone=some:1m;\n    server {\n"),
        (PASS, "            proxy_pass http://openhands;\n            limit_conn some 1;\n"),
    ])
    .beside(1)
    .at_line("limit_conn some"),
    Block::bad(&["LIM-2"], "limit_req", &OWN_SITE, &[
        ("    server {\n", "    limit_req_zone $binary_remote_addr zone=some:1m rate=1r/m;\n    server {\n"),
        (PASS, "            proxy_pass http://openhands;\n            limit_req zone=some;\n"),
    ])
    .beside(1)
    .at_line("limit_req zone"),
    Block::bad(&["LIM-2"], "limit_req with 429", &NODE_SITE, &[
        ("    server {\n", "    limit_req_zone $binary_remote_addr zone=some:1m rate=1r/m;\n    limit_req_status 429;\n    server {\n"),
        ("/socket.io/ {\n", "/socket.io/ {\n            limit_req zone=some;\n"),
    ])
    .beside(1)
    .at_line("limit_req zone"),
    Block::bad(&["LIM-3"], "all connections taken", &PLAIN_SITE, &[("worker_connections 4096", "worker_connections 8")])
        .beside(3)
        .at_line("worker_connections 8"),
    Block::bad(&["GW-5"], "one connection left, and two needed", &PLAIN_SITE, &[
        ("worker_connections 4096", "worker_connections 9"),
    ])
    .beside(3)
    .at_line("worker_connections 9"),
    Block::bad(&["GW-1"], "another port", &PLAIN_SITE, &[(SERVER, "        server 127.0.0.1:@NOBODY@;\n")])
        .by(&[("127.0.0.1:@NOBODY@;", "127.0.0.1:@UPSTREAM@;")]),
    Block::bad(&["GW-1"], "TLS to what speaks none", &PLAIN_SITE, &[("http://openhands;", "https://openhands;")])
        .at_line("https://openhands"),
    Block::bad(&["GW-1"], "TLS to what speaks none, at the inner", &TWO_PROXIES, &[("http://openhands;", "https://openhands;")])
        .inner()
        .at_line("https://openhands"),
    Block::bad(&["GW-2"], "a port that is silent", &PLAIN_SITE, &[
        (SERVER, "        server 127.0.0.1:@SILENT@;\n"),
        (READ, "proxy_read_timeout 1s;"),
    ])
    .silent()
    .by(&[("127.0.0.1:@SILENT@;", "127.0.0.1:@UPSTREAM@;"), ("proxy_read_timeout 1s;", READ)]),
    Block::bad(&["GW-2"], "a silent server", &PLAIN_SITE, &[(READ, "proxy_read_timeout 1s;")])
        .of_the_server("silent")
        .silent(),
    Block::bad(&["GW-2"], "a server that sends a byte now and then", &PLAIN_SITE, &[]).of_the_server("slow").silent(),
    Block::bad(&["GW-3"], "plain HTTP to the port of TLS", &TLS_SITE, &[]).through(Door::Plain),
    Block::bad(&["GW-3"], "plain HTTP to an inner that speaks TLS", &TWO_PROXIES, &[
        ("@PORT@;\n", "@PORT@ ssl;\n        ssl_certificate @TLS@/good.chain;\n        ssl_certificate_key @TLS@/good.key;\n"),
    ])
    .inner()
    .by(&[("@PORT@ ssl;", "@PORT@;")]),
    Block::bad(&["GW-4"], "a server that resets", &PLAIN_SITE, &[]).of_the_server("reset"),
    Block::bad(&["GW-4"], "a server that is half closed", &PLAIN_SITE, &[]).of_the_server("half-closed"),
    Block::bad(&["GW-4"], "endless headers", &PLAIN_SITE, &[]).of_the_server("endless head"),
    Block::bad(&["GW-4"], "another protocol than HTTP", &PLAIN_SITE, &[]).of_the_server("banner"),
    Block::bad(&["GW-4"], "an answer that ends midway", &PLAIN_SITE, &[]).of_the_server("midway"),
    Block::bad(&["AUTH-1"], "a login", &PLAIN_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            auth_basic OpenHands;\n            auth_basic_user_file @ROOT@/users;\n"),
    ])
    .by(&[("            auth_basic OpenHands;\n", "")]),
    Block::bad(&["AUTH-2"], "deny all", &PLAIN_SITE, &[(PASS, "            proxy_pass http://openhands;\n            deny all;\n")])
        .at_line("deny all"),
    Block::bad(&["AUTH-2"], "pages that have an origin are refused", &TLS_SITE, &[
        (PASS, "            if ($http_origin) { return 403; }\n            proxy_pass http://openhands;\n"),
    ])
    .at_line("if ($http_origin)"),
    Block::bad(&["MASK-1", "UPG-1"], "a page in the place of a refusal", &PLAIN_SITE, &[
        (UPGRADE, ""),
        (PASS, "            proxy_pass http://openhands;\n            proxy_intercept_errors on;\n            error_page 400 403 =200 /index.html;\n"),
    ])
    .at_line("proxy_intercept_errors"),
    Block::bad(&["PATH-2"], "a page in the place of what nginx refuses", &PLAIN_SITE, &[
        (PASS, "            proxy_pass http://openhands;\n            deny all;\n            proxy_intercept_errors on;\n            error_page 403 =200 /index.html;\n"),
    ])
    .at_line("deny all"),
    Block::bad(&["MASK-1", "PATH-1"], "a page in the place of a path that is not there", &TLS_SITE, &[
        (PASS, "            proxy_pass http://openhands/;\n            proxy_intercept_errors on;\n            error_page 403 =200 /index.html;\n"),
    ])
    .at_line("proxy_intercept_errors"),
];

/// Another certificate.
macro_rules! certificate {
    ($id:literal, $about:literal, $file:literal, $key:literal) => {
        Block::bad(
            &[$id],
            concat!("a certificate ", $about),
            &TLS_SITE,
            &[("good.chain", $file), ("good.key", $key)],
        )
        .by(&[($file, "good.chain"), ($key, "good.key")])
    };
}

/// Certificates, and what stands below HTTP.
const BELOW_HTTP: &[Block<'static>] = &[
    Block::bad(&["NET-1"], "a name without an address", &PLAIN_SITE, &[]).through(Door::NoName),
    Block::bad(&["NET-2"], "nobody listens there", &PLAIN_SITE, &[]).through(Door::Beside),
    Block::bad(&["NET-2"], "the server does not run", &PLAIN_SITE, &[]).of_the_server("nobody"),
    certificate!("TLS-1", "expired", "expired.pem", "expired.key"),
    certificate!("TLS-2", "not valid yet", "early.pem", "early.key"),
    certificate!("TLS-3", "for other names", "other.pem", "other.key"),
    certificate!("TLS-4", "signed by itself, as openssl makes them", "self.pem", "self.key"),
    certificate!("TLS-4", "signed by itself, no authority", "self-leaf.pem", "self-leaf.key"),
    certificate!("TLS-5", "without the one between", "good.pem", "good.key"),
    certificate!("TLS-6", "of another authority", "strange.chain", "strange-leaf.key"),
    certificate!("TLS-7", "without names", "nameless.pem", "nameless.key"),
    Block::bad(&["TLS-8"], "an old version alone", &TLS_SITE, &[
        (PROTOCOLS, "        ssl_protocols TLSv1.1;\n        ssl_ciphers DEFAULT@SECLEVEL=0;\n"),
    ])
    .at_line("TLSv1.1"),
    Block::bad(&["TLS-8"], "ciphers for another key", &TLS_SITE, &[
        (PROTOCOLS, "        ssl_protocols TLSv1.2;\n        ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;\n"),
    ])
    .at_line("ECDHE-RSA"),
    Block::bad(&["TLS-8"], "a name that no server has", &TLS_SITE, &[
        (PROTOCOLS, "        ssl_protocols TLSv1.2 TLSv1.3;\n        ssl_reject_handshake on;\n"),
    ])
    .by(&[("        ssl_reject_handshake on;\n", "")]),
    Block::bad(&["TLS-9"], "a port without ssl", &TLS_SITE, &[(LISTEN_TLS, "listen 127.0.0.1:@PORT@;")])
        .at_line("listen 127.0.0.1"),
    Block::bad(&["TLS-9"], "a port of HTTP/2 without ssl", &TLS_SITE, &[(LISTEN_TLS, "listen 127.0.0.1:@PORT@ http2;")])
        .at_line("http2"),
    Block::bad(&["TLS-10"], "a certificate of the client is wanted", &TLS_SITE, &[
        (PROTOCOLS, "        ssl_protocols TLSv1.2 TLSv1.3;\n        ssl_verify_client on;\n        ssl_client_certificate @TLS@/root.pem;\n"),
    ])
    .by(&[("        ssl_verify_client on;\n", "")]),
];

/// What is open, and not as it should be above that.
const ABOVE_HTTP: &[Block<'static>] = &[
    Block::good("the application refuses by itself", &TLS_SITE, &[])
        .asking("refuse=1")
        .shows("SIO-1"),
    Block::bad(&["SIO-0"], "a server that polls only", &PLAIN_SITE, &[]).of_the_server("polling"),
    Block::bad(&["SIO-0"], "a server that polls only, Node", &NODE_SITE, &[])
        .of_the_server("node-polling"),
    Block::bad(&["SIO-2"], "a handler that waits", &PLAIN_SITE, &[])
        .of_the_server("any")
        .asking("hang=1")
        .silent(),
    Block::bad(&["SIO-3"], "garbage behind the 101", &PLAIN_SITE, &[]).of_the_server("garbage"),
    Block::bad(&["SIO-3"], "another protocol behind the 101", &PLAIN_SITE, &[])
        .of_the_server("another protocol")
        .silent(),
    Block::bad(&["SIO-3"], "nothing behind the 101", &PLAIN_SITE, &[])
        .of_the_server("mute")
        .silent(),
    Block::bad(&["KIND-1"], "a server without Socket.IO", &PLAIN_SITE, &[]).of_the_server("page"),
    Block::bad(
        &["TMO-1"],
        "cut while the handler works",
        &PLAIN_SITE,
        &[(READ, "proxy_read_timeout 1s;")],
    )
    .asking("slow=1")
    .at_line("proxy_read_timeout 1s"),
];

/// Good sites, and changes that break nothing.
const HARMLESS: &[Block<'static>] = &[
    Block::good("as it is", &PLAIN_SITE, &[]),
    Block::good("as it is, one's own pages only", &OWN_SITE, &[]),
    Block::good("as it is, Node", &NODE_SITE, &[]),
    Block::good("as it is, below a path", &SUB_PATH_SITE, &[]),
    Block::good("as it is, a base path", &BASE_PATH_SITE, &[]),
    Block::good("as it is, IPv6", &IPV6_SITE, &[]),
    Block::good("as it is, two proxies", &TWO_PROXIES, &[]),
    Block::good(
        "Connection upgrade",
        &PLAIN_SITE,
        &[("Connection $connection_upgrade", "Connection upgrade")],
    ),
    Block::good(
        "Connection Upgrade, Node",
        &NODE_SITE,
        &[("Connection $connection_upgrade", "Connection Upgrade")],
    ),
    Block::good("Upgrade websocket", &TLS_SITE, &[("Upgrade $http_upgrade", "Upgrade websocket")]),
    Block::good("no limit of bodies: polling posts, and nobody polls", &PLAIN_SITE, &[(BODY, "")]),
    Block::good(
        "a location for exactly this",
        &PLAIN_SITE,
        &[("location /socket.io/", "location = /socket.io/")],
    ),
    Block::good(
        "a location that patterns do not win over",
        &TLS_SITE,
        &[("location /socket.io/", "location ^~ /socket.io/")],
    ),
    Block::good(
        "a location without the slash",
        &OWN_SITE,
        &[("location /socket.io/", "location /socket.io")],
    ),
    Block::good(
        "$request_uri",
        &PLAIN_SITE,
        &[("http://openhands;", "http://openhands$request_uri;")],
    ),
    Block::good(
        "the whole path named",
        &PLAIN_SITE,
        &[("http://openhands;", "http://openhands/socket.io/;")],
    ),
    Block::good("no X-Forwarded-Proto where there is no TLS", &OWN_SITE, &[(PROTO, "")]),
    Block::good("no Host where any origin is taken", &PLAIN_SITE, &[(HOST, "")]),
    Block::good(
        "no buffers",
        &PLAIN_SITE,
        &[(READ, "proxy_read_timeout 1h;\n        proxy_buffering off;")],
    ),
    Block::good("TLS 1.3 alone", &TLS_SITE, &[(PROTOCOLS, "        ssl_protocols TLSv1.3;\n")]),
    Block::good("no HTTP/2", &TLS_SITE, &[(LISTEN_TLS, "listen 127.0.0.1:@PORT@ ssl;")]),
    Block { upstream: "websocket", ..Block::good("a server that polls not", &PLAIN_SITE, &[]) },
    Block::good(
        "posts refused",
        &PLAIN_SITE,
        &[(
            PASS,
            "            proxy_pass http://openhands;\n            limit_except GET { deny all; }\n",
        )],
    ),
    Block::good(
        "pages for faults that do not happen",
        &PLAIN_SITE,
        &[(
            PASS,
            "            proxy_pass http://openhands;\n            proxy_intercept_errors on;\n            error_page 403 =200 /index.html;\n",
        )],
    ),
    Block::good(
        "a listing of the site's own origin",
        &TLS_SITE,
        &[(
            PASS,
            "            if ($http_origin !~ ^https://oh\\.example:) { return 403; }\n            proxy_pass http://openhands;\n",
        )],
    ),
];

/// Returns all of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Block<'static>> {
    [HARMLESS, UPGRADES, PATHS, PROXIES, BELOW_HTTP, ABOVE_HTTP].into_iter().flatten()
}
