//! What every proxied location needs: nginx inherits headers all or not at all.

use alloc::vec::Vec;

use oh_model::instance::Server;

use super::sessions::refuse_foreign_origins;
use super::{Auth, HTTPS_PORT, Isolation, LoginPages, Site, Tls};
use crate::write::{Text, Unquotable, Word};

/// The scheme of a URL without TLS.
pub(super) const HTTP: &str = "http://";

/// What goes on of the wish to speak another protocol.
pub(super) struct UpgradeHeaders {
    upgrade: &'static str,
    connection: &'static str,
}

/// A WebSocket may be opened.
pub(super) const UPGRADE: UpgradeHeaders =
    UpgradeHeaders { upgrade: "$oh_upgrade", connection: "$oh_connection" };

/// The question is plain HTTP even where it is about a WebSocket.
pub(super) const NO_UPGRADE: UpgradeHeaders = UpgradeHeaders { upgrade: "''", connection: "''" };

/// Who asks for the login, in words of nginx.
pub(super) enum Login {
    /// nginx, by a file of users.
    Basic(Word),
    /// An endpoint, and the way to a login.
    Request(Word, Option<Pages>),
    /// Not nginx.
    Elsewhere,
}

/// The pages of the login, in words of nginx.
pub(super) struct Pages {
    prefix: Word,
    upstream: Word,
    /// Where a browser is sent that has no login.
    start: Word,
}

impl Pages {
    /// The pages are the site's: a host of a session leads to them, and says where it was.
    fn of(pages: &LoginPages, site: &Site, authority: &[&str]) -> Result<Self, Unquotable> {
        let own = authority == [site.authority.as_str()];
        let (here, back) = if own {
            (Vec::new(), Vec::new())
        } else {
            let scheme = site.scheme();
            ([scheme, site.authority.as_str()].to_vec(), [&[scheme], authority].concat())
        };
        let parts = [&here, &[pages.start.as_str(), "?rd="][..], &back, &["$request_uri"]].concat();
        Ok(Self {
            prefix: Word::glued(&[&pages.prefix])?,
            upstream: Word::glued(&["http://", &pages.upstream])?,
            start: Word::query(&parts)?,
        })
    }
}

/// What the locations of a server have in common.
pub(super) struct Shared {
    authority: Word,
    port: Word,
    /// What is asked for, as a whole URL.
    whole: Word,
    /// The origin of the site, with a slash.
    pub(super) origin: Word,
    /// The origin as programs write it that know no TLS, where the site speaks TLS.
    pub(super) plain_origin: Option<Word>,
    login: Login,
    hsts: bool,
    tls: bool,
    /// Whether nginx can set the flags of a cookie.
    cookie_flags: bool,
    /// Applications get an origin that nobody else has.
    pub(super) sandbox: bool,
}

impl Shared {
    /// Works out the words for the servers under `authority`, which may be made of variables.
    pub(super) fn of(site: &Site, authority: &[&str]) -> Result<Self, Unquotable> {
        let glued = |before: &[&str], after: &[&str]| -> Result<Word, Unquotable> {
            let parts: Vec<&str> = [before, authority, after].concat();
            Word::glued(&parts)
        };
        Ok(Self {
            authority: glued(&[], &[])?,
            port: Word::number(site.port.get()),
            whole: glued(&[site.scheme()], &["$request_uri"])?,
            origin: glued(&[site.scheme()], &["/"])?,
            plain_origin: match site.tls {
                Some(_) => Some(glued(&[HTTP], &["/"])?),
                None => None,
            },
            login: match &site.auth {
                Auth::Basic { users } => Login::Basic(Word::value(users.as_str())?),
                Auth::Request { endpoint, pages } => {
                    let pages = pages.as_ref().map(|pages| Pages::of(pages, site, authority));
                    Login::Request(Word::value(endpoint)?, pages.transpose()?)
                }
                Auth::Editor | Auth::Nobody => Login::Elsewhere,
            },
            // HSTS holds for a name on all its ports, so only the default port may set it.
            hsts: site.tls.is_some() && site.port.get() == HTTPS_PORT,
            tls: site.tls.is_some(),
            cookie_flags: site.nginx.has_cookie_flags(),
            sandbox: matches!(site.isolation, Isolation::Sandbox),
        })
    }

    /// Asks for the login, in a server.
    pub(super) fn login(&self, text: &mut Text) {
        text.comment("An operator's `satisfy any` would let addresses in without the login.");
        text.fixed("satisfy", &["all"]);
        match &self.login {
            Login::Basic(users) => {
                text.fixed("auth_basic", &["OpenHands"]);
                text.directive("auth_basic_user_file", core::slice::from_ref(users));
            }
            Login::Request(endpoint, pages) => {
                text.fixed("auth_basic", &["off"]);
                text.fixed("auth_request", &["/.oh/login"]);
                self.login_endpoint(text, endpoint);
                if let Some(pages) = pages {
                    self.login_pages(text, pages);
                }
            }
            Login::Elsewhere => text.fixed("auth_basic", &["off"]),
        }
    }

    /// Asks for no login again, in a location that is reached after it only.
    pub(super) fn after_login(&self, text: &mut Text) {
        match &self.login {
            Login::Basic(_) => text.fixed("auth_basic", &["off"]),
            Login::Request(..) => text.fixed("auth_request", &["off"]),
            Login::Elsewhere => {}
        }
    }

    fn login_endpoint(&self, text: &mut Text, endpoint: &Word) {
        text.block("location", &[Word::fixed("="), Word::fixed("/.oh/login")], |text| {
            text.fixed("internal", &[]);
            text.fixed("auth_request", &["off"]);
            text.directive("proxy_pass", core::slice::from_ref(endpoint));
            text.fixed("proxy_pass_request_body", &["off"]);
            self.proxy(text, &NO_UPGRADE);
            text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
            text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
            text.fixed("proxy_set_header", &["Content-Length", "''"]);
            text.comment(
                "Which session is asked for, and whose it is; empty for OpenHands itself.",
            );
            text.fixed("uninitialized_variable_warn", &["off"]);
            text.fixed("proxy_set_header", &["X-OpenHands-Route", "$oh_route"]);
            text.fixed("proxy_set_header", &["X-OpenHands-Owner", "$oh_owner"]);
            text.comment("Endpoints judge by these too; a visitor could say them.");
            for name in ["X-Forwarded-Uri", "X-Auth-Request-Redirect"] {
                text.directive(
                    "proxy_set_header",
                    &[Word::fixed(name), Word::fixed("$request_uri")],
                );
            }
            for name in ["X-Forwarded-Method", "X-Original-Method"] {
                let method = Word::fixed("$request_method");
                text.directive("proxy_set_header", &[Word::fixed(name), method]);
            }
            text.directive(
                "proxy_set_header",
                &[Word::fixed("X-Original-URL"), self.whole.clone()],
            );
            let foreign = ["X-Forwarded-User", "Remote-User", "Range", "If-None-Match"];
            for name in foreign.into_iter().chain(["If-Modified-Since"]) {
                text.directive("proxy_set_header", &[Word::fixed(name), Word::fixed("''")]);
            }
        });
    }

    fn login_pages(&self, text: &mut Text, pages: &Pages) {
        text.comment("A browser that wants a page is sent to the login; whatever else gets 401.");
        text.fixed("error_page", &["401", "=", "@oh_login"]);
        text.block("location", &[Word::fixed("@oh_login")], |text| {
            text.fixed("auth_request", &["off"]);
            text.block("if", &[Word::fixed("($oh_wants_page = 0)")], |text| {
                text.fixed("return", &["401"]);
            });
            text.directive("return", &[Word::fixed("302"), pages.start.clone()]);
        });
        text.block("location", &[Word::fixed("^~"), pages.prefix.clone()], |text| {
            refuse_foreign_origins(text);
            text.fixed("auth_request", &["off"]);
            text.directive("proxy_pass", core::slice::from_ref(&pages.upstream));
            self.proxy(text, &NO_UPGRADE);
            text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
            text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
        });
    }

    /// Writes the headers and limits of a proxied location.
    pub(super) fn proxy(&self, text: &mut Text, upgrade: &UpgradeHeaders) {
        text.fixed("proxy_http_version", &["1.1"]);
        text.directive("proxy_set_header", &[Word::fixed("Host"), self.authority.clone()]);
        let mut header = |name, value| {
            text.directive("proxy_set_header", &[Word::fixed(name), Word::fixed(value)]);
        };
        header("Upgrade", upgrade.upgrade);
        header("Connection", upgrade.connection);
        text.fixed("proxy_set_header", &["X-Real-IP", "$remote_addr"]);
        text.fixed("proxy_set_header", &["X-Forwarded-For", "$remote_addr"]);
        text.fixed("proxy_set_header", &["X-Forwarded-Proto", "$scheme"]);
        text.directive(
            "proxy_set_header",
            &[Word::fixed("X-Forwarded-Host"), self.authority.clone()],
        );
        text.directive("proxy_set_header", &[Word::fixed("X-Forwarded-Port"), self.port.clone()]);
        text.fixed("proxy_set_header", &["X-Original-URI", "$request_uri"]);
        text.comment("Editors believe these before Host; nobody may say them from outside.");
        text.fixed("proxy_set_header", &["Forwarded", "''"]);
        text.fixed("proxy_set_header", &["X-Original-Host", "''"]);
        text.fixed("proxy_set_header", &["Proxy", "''"]);
        if matches!(self.login, Login::Basic(_)) {
            text.comment("The password is for nginx; what runs in a session must not see it.");
            text.fixed("proxy_set_header", &["Authorization", "''"]);
        }
        text.comment("Socket.IO pings every 25 s, but an application may compute for long.");
        text.comment("What runs in a session may not direct nginx to its internal locations.");
        text.fixed("proxy_ignore_headers", &DIRECTS_NGINX);
        text.fixed("proxy_connect_timeout", &["5s"]);
        text.fixed("proxy_read_timeout", &["1h"]);
        text.fixed("proxy_send_timeout", &["1h"]);
        text.fixed("proxy_buffering", &["off"]);
        text.fixed("proxy_request_buffering", &["off"]);
    }

    /// Writes what a location needs beside that if a program of a session is behind it.
    pub(super) fn of_session(&self, text: &mut Text) {
        self.proxy(text, &UPGRADE);
        if matches!(self.login, Login::Request(..)) {
            text.comment("What the endpoint judges by is for the endpoint and OpenHands.");
            text.fixed("proxy_set_header", &["Authorization", "''"]);
        }
        text.comment("Headers that speak for the whole origin are not a session's to say.");
        for name in ORIGIN_WIDE {
            text.directive("proxy_hide_header", &[Word::fixed(name)]);
        }
        text.comment("An answer that is no HTTP goes on as it is: nothing may follow it.");
        text.fixed("keepalive_timeout", &["0"]);
        self.security_headers(text);
    }

    /// Presents an editor's key to it, in a location that leads to editors alone.
    pub(super) fn key(&self, text: &mut Text) {
        text.fixed("proxy_set_header", &["Cookie", "$oh_cookies"]);
        if self.cookie_flags {
            let token = Word::fixed(Server::Openvscode.key_cookie());
            let secure = self.tls.then_some(Word::fixed("secure"));
            let strict = Word::fixed("samesite=strict");
            text.comment(
                "VS Code's server gives its page the key, which the page has to say again.",
            );
            let words: Vec<Word> = [token].into_iter().chain(secure).chain([strict]).collect();
            text.directive("proxy_cookie_flags", &words);
        }
    }

    /// Writes the headers that every answer has.
    pub(super) fn security_headers(&self, text: &mut Text) {
        if self.hsts {
            text.fixed(
                "add_header",
                &["Strict-Transport-Security", "\"max-age=31536000\"", "always"],
            );
        }
    }
}

/// Headers by which what is behind would direct nginx.
pub(super) const DIRECTS_NGINX: [&str; 5] = [
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

/// Headers that change how a browser treats everything of the origin.
const ORIGIN_WIDE: [&str; 7] = [
    "Service-Worker-Allowed",
    "Clear-Site-Data",
    "Strict-Transport-Security",
    "NEL",
    "Report-To",
    "Reporting-Endpoints",
    "Alt-Svc",
];

/// The words of a server's TLS.
pub(super) struct TlsWords {
    certificate: Word,
    key: Word,
    https: Word,
    http2: bool,
}

impl TlsWords {
    /// Works out the words for the servers under `authority`.
    pub(super) fn of(tls: &Tls, site: &Site, authority: &[&str]) -> Result<Self, Unquotable> {
        let https: Vec<&str> = [&["https://"], authority, &["$request_uri"]].concat();
        Ok(Self {
            certificate: Word::value(tls.certificate.as_str())?,
            key: Word::value(tls.key.as_str())?,
            https: Word::glued(&https)?,
            http2: site.nginx.has_http2_directive(),
        })
    }

    pub(super) fn write(&self, text: &mut Text) {
        if self.http2 {
            text.fixed("http2", &["on"]);
        }
        text.directive("ssl_certificate", core::slice::from_ref(&self.certificate));
        text.directive("ssl_certificate_key", core::slice::from_ref(&self.key));
        tls_versions(text);
        text.comment("Plain HTTP on this port.");
        text.directive(
            "error_page",
            &[Word::fixed("497"), Word::fixed("=301"), self.https.clone()],
        );
    }
}

/// Writes which TLS is spoken.
pub(super) fn tls_versions(text: &mut Text) {
    text.fixed("ssl_protocols", &["TLSv1.2", "TLSv1.3"]);
    text.comment("Both kinds of key: a list for RSA alone fails with an ECDSA certificate.");
    text.fixed("ssl_ciphers", &[CIPHERS]);
    text.fixed("ssl_prefer_server_ciphers", &["off"]);
}

/// Forward-secret AEAD ciphers of TLS 1.2; those of TLS 1.3 need no list.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
