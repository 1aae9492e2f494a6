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
//! login, so these answers are given by `try_files`, which it runs after: a map names the location
//! that a request goes on to, its *way*. Locations that are reached by a way ask for no login again.

mod generation;
mod hosts;
mod maps;
mod proxy;
mod reach;
mod servers;
mod sessions;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use oh_model::path::{InRoot, RealPath};
use oh_model::plan::Digest;
use oh_model::port::Port;
use oh_model::routes::Routes;

pub use self::generation::Generation;
pub use self::maps::{DATA_MAPS, DataMap};
use crate::secret::SetText;
use crate::version::NginxVersion;
use crate::write::{Text, Unquotable, Word};

/// The HTTP port that sends browsers on to HTTPS.
pub const HTTP_PORT: u16 = 80;

/// The HTTPS port that an address need not name.
pub const HTTPS_PORT: u16 = 443;

/// The bucket of a `map` that we set, in bytes. It has to hold one id, and with some nine of them nginx
/// builds the maps of 1000 sessions twice as fast as with two, and those of 20,000 at all.
pub const MAP_BUCKET: u32 = 512;

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
    /// How what runs in sessions is kept from OpenHands and from each other in a browser.
    pub isolation: Isolation,
    /// The folder of the sockets that programs of sessions may listen on, where there is one.
    pub sockets: Option<RealPath>,
    /// The loopback port that answers which generation is served.
    pub generation_port: Port,
    /// What this nginx can do.
    pub nginx: NginxVersion,
    /// Whether `map_hash_bucket_size` has to be, and can be, set here.
    pub set_map_bucket: bool,
    /// Whether `map_hash_max_size` can be set here.
    pub set_map_max_size: bool,
    /// Whether no other server listens on the port, so that ours can refuse other names there.
    pub port_is_exclusive: bool,
    /// Whether a server of the operator's answers plain HTTP for the name already, as certbot may
    /// need it to: then it stays the one.
    pub http_is_served: bool,
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
        /// The pages of the login, where they are below the site.
        pages: Option<LoginPages>,
    },
    /// The editor itself, by its token or password.
    Editor,
    /// Nobody.
    Nobody,
}

/// The pages by which visitors come to a login.
#[derive(Debug, Clone)]
pub struct LoginPages {
    /// The prefix that is theirs, with a slash at both ends.
    pub prefix: String,
    /// The page to begin with, below the prefix.
    pub start: String,
    /// Where they are served, as address and port.
    pub upstream: String,
}

/// How what runs in sessions is kept from OpenHands and from each other in a browser.
#[derive(Debug, Clone)]
pub enum Isolation {
    /// Not at all: everything has the site's origin, below `/vscode/` and `/apps/`.
    Path,
    /// As with `Path`, and applications get an origin that nobody else has, by the `sandbox` of a
    /// Content-Security-Policy: no cookies, no storage, no WebSockets for them.
    Sandbox,
    /// Every editor and application has a host of its own.
    Hosts(Hosts),
}

/// The hosts `{id}.{base}` and `{id}-{index}.{base}`.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// What follows the first label.
    pub base: String,
    /// The wildcard certificate, where the site speaks TLS.
    pub tls: Option<Tls>,
}

impl Site {
    /// Returns the scheme and what follows it: `https://`.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https://" } else { "http://" }
    }

    /// Says whether a server of that name would take requests that are ours: the site's, or those of
    /// all hosts below it.
    pub fn serves_names_of(&self, name: &str) -> bool {
        let of_hosts =
            |hosts: &Hosts| name.strip_prefix("*.").or(name.strip_prefix('.')) == Some(&hosts.base);
        name == self.name || matches!(&self.isolation, Isolation::Hosts(hosts) if of_hosts(hosts))
    }

    /// Returns where the editor of an id is found: a path of the site, or a URL of its own.
    pub fn editor_address(&self, id: &str) -> String {
        self.address("vscode", id)
    }

    /// Returns where an application is found; the key is `{id}-{index}`.
    pub fn app_address(&self, key: &str) -> String {
        self.address("apps", key)
    }

    fn address(&self, kind: &str, key: &str) -> String {
        match &self.isolation {
            Isolation::Path | Isolation::Sandbox => format!("/{kind}/{key}/"),
            Isolation::Hosts(hosts) => {
                let (scheme, port) = (self.scheme(), self.port_suffix());
                format!("{scheme}{}.{}{port}/", key.to_ascii_lowercase(), hosts.base)
            }
        }
    }

    /// Returns `:8443` where the port has to be said, and nothing otherwise.
    fn port_suffix(&self) -> String {
        let usual = if self.tls.is_some() { HTTPS_PORT } else { HTTP_PORT };
        if self.port.get() == usual { String::new() } else { format!(":{}", self.port) }
    }
}

/// The file, but for the number of its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    before: SetText,
    after: String,
    digest: Digest,
}

impl Layout {
    /// Returns the digest of everything but the generation.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the whole file as generation `number`.
    pub fn text(&self, number: u64) -> SetText {
        let generation = self.generation(number);
        SetText::new(format!("{}{generation}{}", self.before.reveal(), self.after))
    }

    /// Returns what the file calls itself as generation `number`.
    pub fn generation(&self, number: u64) -> Generation {
        Generation { number, digest: self.digest.to_string() }
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
        head.directive("map_hash_bucket_size", &[Word::number(MAP_BUCKET)]);
    }
    if site.set_map_max_size {
        head.fixed("map_hash_max_size", &["16384"]);
    }
    if site.set_map_bucket || site.set_map_max_size {
        head.gap();
    }
    maps::of_requests(&mut head, site)?;
    maps::of_ways(&mut head, site)?;
    maps::of_reach(&mut head, site);
    maps::of_data(&mut head, routes, folders)?;
    let mut before = head.finish();
    before.push_str("map oh $oh_generation {\n    default none;\n    oh ");

    let mut tail = Text::default();
    tail.gap();
    servers::generation(&mut tail, site)?;
    servers::refusing(&mut tail, site)?;
    servers::redirecting(&mut tail, site)?;
    servers::main(&mut tail, site)?;
    if let Isolation::Hosts(hosts) = &site.isolation {
        hosts::servers(&mut tail, site, hosts)?;
    }
    let mut after = String::from(";\n}\n");
    after.push_str(&tail.finish());
    let digest = Digest::of([before.as_str(), after.as_str()]);
    Ok(Layout { before: SetText::new(before), after, digest })
}
