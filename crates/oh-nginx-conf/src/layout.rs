//! The one file that we own: maps from ids to ports, and the servers that use them.
//!
//! Everything that changes with a session is a line of a `map`, of the form `key value;`, with
//! keys and values from closed alphabets. Everything else is fixed by the configuration, and two
//! locations serve every session there will ever be, so the cost of a reload hardly grows with
//! their number. The file is one file so that nginx reads all of it or none.
//!
//! Order of judgement for a request: a foreign `Origin` on any upgrade is refused (403), then the
//! login is asked for (401), and only then does an unknown id become 404, a missing slash 301 and
//! a bare address of a folder 302. nginx runs `return` and `rewrite` before it asks for the
//! login, so these answers are given by `try_files`, which it runs after.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use oh_model::path::{InRoot, RealPath};
use oh_model::plan::Digest;
use oh_model::port::Port;
use oh_model::routes::{EditorRoute, Routes};

use crate::version::NginxVersion;
use crate::write::{Text, Unquotable, Word};

/// The HTTP port that sends browsers on to HTTPS.
pub const HTTP_PORT: u16 = 80;

/// The HTTPS port that an address need not name.
pub const HTTPS_PORT: u16 = 443;

/// The first line of the file: by it everybody knows whose file this is.
pub const MARK: &str =
    "Written by oh-nginx. Changes made here are lost; `oh-nginx status` says what it is made of.";

/// The line by which a hook of ours is known.
pub const HOOK_MARK: &str =
    "Written by oh-nginx: includes the routes of sessions and repositories.";

/// What the configuration and the machine fix.
#[derive(Debug, Clone)]
pub struct Site {
    /// The public name or address, without port.
    pub name: String,
    /// Name and, where it is not the scheme's own, port: what browsers send as `Host`.
    pub authority: String,
    /// The public port.
    pub port: Port,
    /// Certificate and key, where the site speaks TLS.
    pub tls: Option<Tls>,
    /// The addresses to listen on: `*`, IPv4 or bracketed IPv6.
    pub listen: Vec<String>,
    /// Where OpenHands answers, as address and port.
    pub upstream: String,
    /// Who asks for the login.
    pub auth: Auth,
    /// All origins from which a WebSocket may be opened.
    pub origins: Vec<String>,
    /// The loopback port that answers which generation is served.
    pub generation_port: Port,
    /// What this nginx can do.
    pub nginx: NginxVersion,
    /// Whether `map_hash_bucket_size` has to be, and can be, set here.
    pub set_map_bucket: bool,
    /// Whether no other server listens on the port, so that ours can refuse other names there.
    pub port_is_exclusive: bool,
}

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate with its chain.
    pub certificate: RealPath,
    /// The key.
    pub key: RealPath,
}

/// Who asks for the login.
#[derive(Debug, Clone)]
pub enum Auth {
    /// nginx, by a file of users.
    Basic {
        /// The file.
        users: RealPath,
    },
    /// An endpoint that answers 2xx or 401.
    Request {
        /// Its URL, with a literal address.
        endpoint: String,
    },
    /// The editor itself, by its token or password.
    Editor,
    /// Nobody.
    Nobody,
}

/// The file, but for the number of its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    before: String,
    after: String,
    digest: Digest,
}

impl Layout {
    /// Returns the digest of everything but the generation.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the whole file as generation `number`.
    pub fn text(&self, number: u64) -> String {
        let generation = Generation { number, digest: self.digest.to_string() };
        format!("{}{generation}{}", self.before, self.after)
    }

    /// Returns what the file calls itself as generation `number`.
    pub fn generation(&self, number: u64) -> Generation {
        Generation { number, digest: self.digest.to_string() }
    }
}

/// The most digits of a generation's number: it never comes near to the end of 64 bits.
const NUMBER_DIGITS_MAX: usize = 15;

/// Names a set of routes: a number that grows, and the digest of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Grows by one with every change.
    pub number: u64,
    /// The first digits of the digest of the file without this name.
    pub digest: String,
}

impl Generation {
    /// Reads `43-9f2c1ab04d7e`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, digest) = text.split_once('-')?;
        let is_hexadecimal = !digest.is_empty() && digest.bytes().all(|b| b.is_ascii_hexdigit());
        let is_number =
            number.len() <= NUMBER_DIGITS_MAX && number.bytes().all(|b| b.is_ascii_digit());
        if !is_hexadecimal || !is_number {
            return None;
        }
        Some(Self { number: number.parse().ok()?, digest: digest.into() })
    }
}

impl core::fmt::Display for Generation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-{}", self.number, self.digest)
    }
}

/// Writes the file for the routes; `folders` turns an editor's folder into a real path, or says that it
/// cannot be opened.
///
/// # Errors
/// [`Unquotable`] where a value of the configuration cannot stand in nginx text. Routes never
/// cause one: their alphabets are closed.
pub fn layout(
    site: &Site,
    routes: &Routes,
    folders: impl Fn(&InRoot) -> Option<RealPath>,
) -> Result<Layout, Unquotable> {
    let mut head = Text::default();
    head.comment(MARK);
    head.gap();
    if site.set_map_bucket {
        head.fixed("map_hash_bucket_size", &["128"]);
        head.gap();
    }
    request_maps(&mut head, site)?;
    let folder_line = |editor: &EditorRoute| {
        let folder = folders(editor.folder.as_ref()?)?;
        Some((format!("vscode/{}", editor.id), percent_encoded(folder.as_str())))
    };
    let editors = routes.editors.iter().map(|e| (format!("vscode/{}", e.id), e.port.to_string()));
    data_map(&mut head, "vscode/$oh_id", "$oh_editor", editors)?;
    let apps =
        routes.apps.iter().map(|a| (format!("apps/{}-{}", a.id, a.index), a.port.to_string()));
    data_map(&mut head, "apps/$oh_id", "$oh_app", apps)?;
    let folders = routes.editors.iter().filter_map(folder_line);
    data_map(&mut head, "vscode/$oh_id", "$oh_folder", folders)?;
    let mut before = head.finish();
    before.push_str("map oh $oh_generation {\n    default none;\n    oh ");

    let mut tail = Text::default();
    tail.gap();
    generation_server(&mut tail, site)?;
    refusing_servers(&mut tail, site)?;
    redirecting_server(&mut tail, site)?;
    main_server(&mut tail, site)?;
    let mut after = String::from(";\n}\n");
    after.push_str(&tail.finish());
    let digest = Digest::of([before.as_str(), after.as_str()]);
    Ok(Layout { before, after, digest })
}

fn request_maps(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let map = |text: &mut Text, from, to, lines: &[(&'static str, &'static str)]| {
        text.block("map", &[Word::fixed(from), Word::fixed(to)], |text| {
            lines.iter().for_each(|(k, v)| text.entry(&Word::fixed(k), &Word::fixed(v)));
        });
    };
    text.comment("Only `Upgrade: websocket` goes on: anything else would smuggle.");
    map(text, "$http_upgrade", "$oh_upgrade", &[("default", "''"), ("websocket", "websocket")]);
    map(text, "$oh_upgrade", "$oh_connection", &[("default", "upgrade"), ("''", "''")]);
    text.comment("Any Upgrade with a foreign Origin is refused; no Origin is no browser.");
    map(text, "$http_upgrade", "$oh_upgrading", &[("default", "1"), ("''", "0")]);
    let origins: Vec<Word> =
        site.origins.iter().map(|origin| Word::value(origin)).collect::<Result<_, _>>()?;
    text.block("map", &[Word::fixed("$http_origin"), Word::fixed("$oh_origin_ok")], |text| {
        text.entry(&Word::fixed("default"), &Word::fixed("0"));
        text.entry(&Word::fixed("''"), &Word::fixed("1"));
        origins.iter().for_each(|origin| text.entry(origin, &Word::fixed("1")));
    });
    map(text, "$oh_upgrading$oh_origin_ok", "$oh_refused", &[("default", "0"), ("10", "1")]);
    text.comment("The folder is opened once: GET of exactly the root, no query, no upgrade.");
    map(
        text,
        "$request_method$oh_upgrading$is_args$oh_rest",
        "$oh_at_root",
        &[("default", "0"), ("GET0/", "1")],
    );
    map(text, "$oh_at_root", "$oh_open", &[("default", "''"), ("1", "$oh_folder")]);
    Ok(())
}

/// The names of the maps whose lines come from sessions and repositories.
pub const DATA_MAPS: [&str; 3] = ["$oh_editor", "$oh_app", "$oh_folder"];

fn data_map(
    text: &mut Text,
    from: &'static str,
    to: &'static str,
    lines: impl Iterator<Item = (String, String)>,
) -> Result<(), Unquotable> {
    let lines = lines
        .map(|(key, value)| Ok((Word::glued(&[&key])?, Word::glued(&[&value])?)))
        .collect::<Result<Vec<_>, Unquotable>>()?;
    text.block("map", &[Word::fixed(from), Word::fixed(to)], |text| {
        text.entry(&Word::fixed("default"), &Word::fixed("''"));
        lines.iter().for_each(|(key, value)| text.entry(key, value));
    });
    Ok(())
}

/// Encodes a path for a query: unreserved characters and `/` stay.
fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn generation_server(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let listen = Word::glued(&["127.0.0.1:", &site.generation_port.to_string()])?;
    text.comment("Answers, on this machine only, which generation is served.");
    text.block("server", &[], |text| {
        text.directive("listen", &[listen]);
        text.fixed("server_name", &["localhost"]);
        text.fixed("server_tokens", &["off"]);
        text.fixed("access_log", &["off"]);
        text.fixed("auth_basic", &["off"]);
        text.block("location", &[Word::fixed("="), Word::fixed("/generation")], |text| {
            text.fixed("default_type", &["text/plain"]);
            text.fixed("return", &["200", "$oh_generation"]);
        });
        text.block("location", &[Word::fixed("/")], |text| text.fixed("return", &["404"]));
    });
    Ok(())
}

/// The words of one `listen` for each address.
fn listens(site: &Site, port: u16, more: &[&'static str]) -> Result<Vec<Vec<Word>>, Unquotable> {
    site.listen
        .iter()
        .map(|address| {
            let mut words = Vec::from([Word::glued(&[address, ":", &port.to_string()])?]);
            words.extend(more.iter().map(|word| Word::fixed(word)));
            Ok(words)
        })
        .collect()
}

fn write_listens(text: &mut Text, listens: &[Vec<Word>]) {
    listens.iter().for_each(|words| text.directive("listen", words));
}

/// Refuses other names on ports that are ours alone, so that no foreign name resolves to us.
fn refusing_servers(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let port = site.port.get();
    if site.port_is_exclusive {
        let more: &[&str] =
            if site.tls.is_some() { &["ssl", "default_server"] } else { &["default_server"] };
        let listens = listens(site, port, more)?;
        text.gap();
        text.block("server", &[], |text| {
            write_listens(text, &listens);
            text.fixed("server_name", &["_"]);
            text.fixed("server_tokens", &["off"]);
            if site.tls.is_some() {
                text.fixed("ssl_reject_handshake", &["on"]);
                text.comment("The versions are settled here, before the name is known.");
                tls_versions(text);
            }
            text.fixed("return", &["444"]);
        });
    }
    Ok(())
}

/// Sends plain HTTP on to HTTPS, where HTTPS has its own port.
fn redirecting_server(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    if site.tls.is_none() || site.port.get() != HTTPS_PORT {
        return Ok(());
    }
    let listens = listens(site, HTTP_PORT, &[])?;
    let name = Word::value(&site.name)?;
    let target = Word::glued(&["https://", &site.authority, "$request_uri"])?;
    text.gap();
    text.block("server", &[], |text| {
        write_listens(text, &listens);
        text.directive("server_name", &[name]);
        text.fixed("server_tokens", &["off"]);
        text.directive("return", &[Word::fixed("301"), target]);
    });
    Ok(())
}

fn main_server(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let shared = Shared::of(site)?;
    let name = Word::value(&site.name)?;
    let old_http2 = site.tls.is_some() && !site.nginx.has_http2_directive();
    let listens = match &site.tls {
        None => listens(site, site.port.get(), &[])?,
        Some(_) if old_http2 => listens(site, site.port.get(), &["ssl", "http2"])?,
        Some(_) => listens(site, site.port.get(), &["ssl"])?,
    };
    let tls = match &site.tls {
        None => None,
        Some(tls) => Some(TlsWords::of(tls, site)?),
    };
    let users = match &site.auth {
        Auth::Basic { users } => Some(Word::value(users.as_str())?),
        _ => None,
    };
    let endpoint = match &site.auth {
        Auth::Request { endpoint } => Some(Word::value(endpoint)?),
        _ => None,
    };
    let upstream = Word::glued(&["http://", &site.upstream])?;
    let own = |kind: &Kind| -> Result<OwnWords, Unquotable> {
        let whole = |scheme| Word::glued(&[scheme, &site.authority, kind.prefix_header]);
        Ok(OwnWords { prefix: whole(scheme(site))?, plain_prefix: whole(HTTP)? })
    };
    let (own_editor, own_app) = (own(&EDITORS)?, own(&APPS)?);
    text.gap();
    text.block("server", &[], |text| {
        write_listens(text, &listens);
        text.directive("server_name", &[name]);
        text.fixed("server_tokens", &["off"]);
        text.comment("Redirects stay relative: the public port is not always the one listened on.");
        text.fixed("absolute_redirect", &["off"]);
        if let Some(tls) = &tls {
            tls.write(text, site);
        }
        if site.nginx.has_keepalive_min_timeout() {
            text.fixed("keepalive_min_timeout", &["10s"]);
        }
        text.fixed("client_max_body_size", &["0"]);
        text.comment("An operator's `satisfy any` would let addresses in without the login.");
        text.fixed("satisfy", &["all"]);
        match &users {
            Some(users) => {
                text.fixed("auth_basic", &["OpenHands"]);
                text.directive("auth_basic_user_file", core::slice::from_ref(users));
            }
            None => text.fixed("auth_basic", &["off"]),
        }
        if let Some(endpoint) = &endpoint {
            text.fixed("auth_request", &["/.oh/login"]);
            login_endpoint(text, endpoint, &shared);
        }
        shared.security_headers(text);
        text.gap();
        after_login(text);
        text.gap();
        sessions(text, &EDITORS, &shared, &own_editor);
        text.gap();
        sessions(text, &APPS, &shared, &own_app);
        text.gap();
        let openhands = |text: &mut Text| {
            text.directive("proxy_pass", core::slice::from_ref(&upstream));
            shared.proxy(text, &UPGRADE);
            text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
            text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
        };
        text.comment(
            "Socket.IO can do by polling what it does by WebSocket, and OpenHands lets any",
        );
        text.comment("Origin in, with its cookies: so the Origin counts without an upgrade too.");
        text.block("location", &[Word::fixed("^~"), Word::fixed("/socket.io")], |text| {
            text.block("if", &[Word::fixed("($oh_origin_ok = 0)")], |text| {
                text.fixed("return", &["403"]);
            });
            openhands(text);
        });
        text.comment("OpenHands: pages and API.");
        text.block("location", &[Word::fixed("/")], |text| {
            refuse_foreign_origins(text);
            openhands(text);
        });
    });
    Ok(())
}

/// Answers that nginx may give only to those who are logged in; see the module's page.
fn after_login(text: &mut Text) {
    let exactly = |uri| [Word::fixed("="), Word::fixed(uri)];
    text.comment("Reached from inside only, and after the login: `root` has nothing to serve.");
    text.block("location", &exactly("/.oh/unknown"), |text| {
        text.fixed("internal", &[]);
        text.fixed("root", &["/dev/null"]);
        text.fixed("try_files", &["/absent", "=404"]);
    });
    text.block("location", &exactly("/.oh/open"), |text| {
        text.fixed("internal", &[]);
        text.fixed("root", &["/dev/null"]);
        text.fixed("try_files", &["/absent", "@oh_open"]);
    });
    text.block("location", &[Word::fixed("@oh_open")], |text| {
        text.fixed("return", &["302", "/vscode/$oh_id/?folder=$oh_open"]);
    });
    text.block("location", &[Word::fixed("@oh_slash")], |text| {
        text.fixed("return", &["301", "$oh_bare/$is_args$args"]);
    });
}

fn login_endpoint(text: &mut Text, endpoint: &Word, shared: &Shared) {
    text.block("location", &[Word::fixed("="), Word::fixed("/.oh/login")], |text| {
        text.fixed("internal", &[]);
        text.fixed("auth_request", &["off"]);
        text.directive("proxy_pass", core::slice::from_ref(endpoint));
        text.fixed("proxy_pass_request_body", &["off"]);
        shared.proxy(text, &NO_UPGRADE);
        text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
        text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
        text.fixed("proxy_set_header", &["Content-Length", "''"]);
    });
}

/// What differs between the two kinds of address below which sessions live.
///
/// The patterns end in `\z`: `$` would let a line feed at the end pass, which the redirect that adds
/// a slash would then write into the head of its answer.
struct Kind {
    comment: &'static str,
    prefix: &'static str,
    no_slash: &'static str,
    with_rest: &'static str,
    unknown: &'static str,
    opens_folders: bool,
    upstream: &'static str,
    prefix_header: &'static str,
    path_header: &'static str,
    local_redirect: &'static str,
}

const EDITORS: Kind = Kind {
    comment: "Editors: /vscode/{id}/",
    prefix: "/vscode/",
    no_slash: "\"^(?<oh_bare>/vscode/[A-Za-z0-9][A-Za-z0-9_-]{0,63})\\z\"",
    with_rest: "\"^/vscode/(?<oh_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?<oh_rest>/[^\\x00-\\x1f\\x7f]*)\\z\"",
    unknown: "($oh_editor = '')",
    opens_folders: true,
    upstream: "http://127.0.0.1:$oh_editor",
    prefix_header: "/vscode/$oh_id",
    path_header: "/vscode/$oh_id/",
    local_redirect: "http://127.0.0.1:$oh_editor/",
};

const APPS: Kind = Kind {
    comment: "Applications: /apps/{id}-{index}/",
    prefix: "/apps/",
    no_slash: "\"^(?<oh_bare>/apps/[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{1,2})\\z\"",
    with_rest: "\"^/apps/(?<oh_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{1,2})(?<oh_rest>/[^\\x00-\\x1f\\x7f]*)\\z\"",
    unknown: "($oh_app = '')",
    opens_folders: false,
    upstream: "http://127.0.0.1:$oh_app",
    prefix_header: "/apps/$oh_id",
    path_header: "/apps/$oh_id/",
    local_redirect: "http://127.0.0.1:$oh_app/",
};

/// The prefix of a kind as a whole URL: as it is, and as programs write it that know no TLS.
struct OwnWords {
    prefix: Word,
    plain_prefix: Word,
}

fn sessions(text: &mut Text, kind: &Kind, shared: &Shared, own: &OwnWords) {
    let word = Word::fixed;
    text.comment(kind.comment);
    text.block("location", &[word("^~"), word(kind.prefix)], |text| {
        text.block("location", &[word("~"), word(kind.no_slash)], |text| {
            refuse_foreign_origins(text);
            text.fixed("root", &["/dev/null"]);
            text.fixed("try_files", &["/absent", "@oh_slash"]);
        });
        text.block("location", &[word("~"), word(kind.with_rest)], |text| {
            refuse_foreign_origins(text);
            text.block("if", &[word(kind.unknown)], |text| {
                text.fixed("rewrite", &["^", "/.oh/unknown", "last"]);
            });
            if kind.opens_folders {
                text.block("if", &[word("($oh_open)")], |text| {
                    text.fixed("rewrite", &["^", "/.oh/open", "last"]);
                });
            }
            text.fixed("rewrite", &["^", "$oh_rest", "break"]);
            text.directive("proxy_pass", &[word(kind.upstream)]);
            shared.proxy(text, &UPGRADE);
            if shared.endpoint_judges {
                text.fixed("proxy_set_header", &["Authorization", "''"]);
            }
            text.directive(
                "proxy_set_header",
                &[word("X-Forwarded-Prefix"), word(kind.prefix_header)],
            );
            text.directive("proxy_set_header", &[word("X-Forwarded-Path"), word(kind.path_header)]);
            text.comment("What sits behind may redirect to its own root, or know its prefix.");
            text.directive("proxy_redirect", &[word(kind.prefix_header), word(kind.prefix_header)]);
            text.directive("proxy_redirect", &[word("/"), word(kind.path_header)]);
            text.directive("proxy_redirect", &[word(kind.local_redirect), word(kind.path_header)]);
            text.directive("proxy_redirect", &[own.prefix.clone(), own.prefix.clone()]);
            text.directive("proxy_redirect", &[shared.origin.clone(), word(kind.path_header)]);
            if let Some(plain) = &shared.plain_origin {
                text.comment(
                    "Many programs take it for granted that they are reached without TLS.",
                );
                text.directive("proxy_redirect", &[own.plain_prefix.clone(), own.prefix.clone()]);
                text.directive("proxy_redirect", &[plain.clone(), word(kind.path_header)]);
            }
            text.comment("A cookie stays where it was set, whatever path it asks for.");
            text.directive("proxy_cookie_path", &[word("~.*"), word(kind.path_header)]);
            text.fixed("proxy_hide_header", &["Service-Worker-Allowed"]);
            text.fixed("proxy_hide_header", &["Clear-Site-Data"]);
            shared.security_headers(text);
            text.directive(
                "add_header",
                &[word("Service-Worker-Allowed"), word(kind.path_header), word("always")],
            );
        });
        refuse_foreign_origins(text);
        text.fixed("root", &["/dev/null"]);
        text.fixed("try_files", &["/absent", "=404"]);
    });
}

fn refuse_foreign_origins(text: &mut Text) {
    text.block("if", &[Word::fixed("($oh_refused)")], |text| text.fixed("return", &["403"]));
}

/// The scheme of a URL without TLS.
const HTTP: &str = "http://";

const fn scheme(site: &Site) -> &'static str {
    if site.tls.is_some() { "https://" } else { HTTP }
}

/// What goes on of the wish to speak another protocol.
struct UpgradeHeaders {
    upgrade: &'static str,
    connection: &'static str,
}

/// A WebSocket may be opened.
const UPGRADE: UpgradeHeaders =
    UpgradeHeaders { upgrade: "$oh_upgrade", connection: "$oh_connection" };

/// The question is plain HTTP even where it is about a WebSocket.
const NO_UPGRADE: UpgradeHeaders = UpgradeHeaders { upgrade: "''", connection: "''" };

/// What every proxied location needs: nginx inherits headers all or not at all.
struct Shared {
    authority: Word,
    port: Word,
    origin: Word,
    /// The origin as programs write it that know no TLS, where the site speaks TLS.
    plain_origin: Option<Word>,
    login_is_ours: bool,
    /// An endpoint judges what visitors send: it is for the endpoint, and not for sessions.
    endpoint_judges: bool,
    hsts: bool,
}

impl Shared {
    fn of(site: &Site) -> Result<Self, Unquotable> {
        Ok(Self {
            authority: Word::value(&site.authority)?,
            port: Word::number(site.port.get()),
            origin: Word::glued(&[scheme(site), &site.authority, "/"])?,
            plain_origin: match site.tls {
                Some(_) => Some(Word::glued(&[HTTP, &site.authority, "/"])?),
                None => None,
            },
            login_is_ours: matches!(site.auth, Auth::Basic { .. }),
            endpoint_judges: matches!(site.auth, Auth::Request { .. }),
            // HSTS holds for a name on all its ports, so only the default port may set it.
            hsts: site.tls.is_some() && site.port.get() == HTTPS_PORT,
        })
    }

    fn proxy(&self, text: &mut Text, upgrade: &UpgradeHeaders) {
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
        if self.login_is_ours {
            text.comment("The password is for nginx; what runs in a session must not see it.");
            text.fixed("proxy_set_header", &["Authorization", "''"]);
        }
        text.comment("Socket.IO pings every 25 s, but an application may compute for long.");
        text.comment("What runs in a session may not direct nginx to its internal locations.");
        text.fixed(
            "proxy_ignore_headers",
            &[
                "X-Accel-Redirect",
                "X-Accel-Expires",
                "X-Accel-Limit-Rate",
                "X-Accel-Buffering",
                "X-Accel-Charset",
            ],
        );
        text.fixed("proxy_connect_timeout", &["5s"]);
        text.fixed("proxy_read_timeout", &["1h"]);
        text.fixed("proxy_send_timeout", &["1h"]);
        text.fixed("proxy_buffering", &["off"]);
        text.fixed("proxy_request_buffering", &["off"]);
    }

    fn security_headers(&self, text: &mut Text) {
        if self.hsts {
            text.fixed(
                "add_header",
                &["Strict-Transport-Security", "\"max-age=31536000\"", "always"],
            );
        }
    }
}

struct TlsWords {
    certificate: Word,
    key: Word,
    https: Word,
}

impl TlsWords {
    fn of(tls: &Tls, site: &Site) -> Result<Self, Unquotable> {
        Ok(Self {
            certificate: Word::value(tls.certificate.as_str())?,
            key: Word::value(tls.key.as_str())?,
            https: Word::glued(&["https://", &site.authority, "$request_uri"])?,
        })
    }

    fn write(&self, text: &mut Text, site: &Site) {
        if site.nginx.has_http2_directive() {
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

fn tls_versions(text: &mut Text) {
    text.fixed("ssl_protocols", &["TLSv1.2", "TLSv1.3"]);
    text.comment("Both kinds of key: a list for RSA alone fails with an ECDSA certificate.");
    text.fixed("ssl_ciphers", &[CIPHERS]);
    text.fixed("ssl_prefer_server_ciphers", &["off"]);
}

/// Forward-secret AEAD ciphers of TLS 1.2; those of TLS 1.3 need no list.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
