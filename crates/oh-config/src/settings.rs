//! The configuration as the tools use it: every value has a type, every default is filled in.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU64;

use oh_model::instance::Server;
use oh_model::leftover::Pattern;
use oh_model::path::InRoot;
use oh_model::port::{Port, PortRange, PortSet};
use oh_model::upstream::Upstream;

use crate::fault::{Fault, Origin};
use crate::grammar::{DOMAIN_GAP, Parsed};
use crate::merge::Merged;
use crate::network::{Domain, HttpUrl, Listen, Scheme, WebOrigin};
use crate::places::{HomePath, Owner, RepositoryPath, SessionPath};

/// Every setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[toolkit.site]`.
    pub site: Site,
    /// `[toolkit.nginx]`.
    pub nginx: Nginx,
    /// `[toolkit.sessions]`.
    pub sessions: Sessions,
    /// `[toolkit.instances]`.
    pub instances: Instances,
    /// `[toolkit.cleanup]`.
    pub cleanup: Cleanup,
    /// `[toolkit.wscheck]`.
    pub wscheck: Wscheck,
}

/// The public face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The host, where one is set; [`Site::require_domain`] is for those who cannot go on without.
    pub domain: Option<Domain>,
    /// TLS as configured; [`Site::tls_on`] decides.
    pub tls: Tls,
    /// The certificate chain; `None` where its path needs a domain and there is none.
    pub certificate: Option<InRoot>,
    /// The private key; `None` where its path needs a domain and there is none.
    pub certificate_key: Option<InRoot>,
    /// Where OpenHands listens.
    pub upstream: SocketAddr,
    /// Who asks visitors for a login.
    pub auth: Auth,
    /// The users and password hashes of [`Auth::Basic`].
    pub users_file: InRoot,
    /// Further origins that may open WebSockets.
    pub origins: Vec<WebOrigin>,
    /// What keeps sessions apart in a browser.
    pub isolation: Isolation,
    /// The domain below which sessions have hosts; [`Site::sessions_domain`] fills it in.
    pub(crate) sessions_domain: Option<Domain>,
    /// The wildcard certificate, where it is another than the site's.
    pub sessions_certificate: Option<InRoot>,
    /// Its private key.
    pub sessions_certificate_key: Option<InRoot>,
    pub(crate) port: Port,
    /// The file that a missing domain belongs into, as messages show it.
    pub(crate) file: String,
}

impl Site {
    /// Says whether the site speaks TLS. `auto` without a domain counts as on: what is missing is
    /// most likely a name.
    pub const fn tls_on(&self) -> bool {
        tls_on(self.tls, self.domain.as_ref())
    }

    /// Returns the domain below which sessions have hosts of their own: its own, or the site's.
    pub const fn sessions_domain(&self) -> Option<&Domain> {
        match &self.sessions_domain {
            Some(domain) => Some(domain),
            None => self.domain.as_ref(),
        }
    }

    /// Returns the scheme of the site.
    pub const fn scheme(&self) -> Scheme {
        scheme(self.tls_on())
    }

    /// Returns the port of the site: the configured one, or the default of the scheme.
    pub const fn port(&self) -> Port {
        self.port
    }

    /// Returns `oh.example` or `oh.example:8443`: an IPv6 address in brackets, the port only
    /// where it is not the default of the scheme. `None` without a domain.
    pub fn authority(&self) -> Option<String> {
        let host = self.domain.as_ref()?.in_url();
        if self.port.get() == self.scheme().port_default() {
            return Some(host);
        }
        Some(format!("{host}:{}", self.port))
    }

    /// Returns `https://oh.example:8443`, as a browser sends it in `Origin`. `None` without a
    /// domain.
    pub fn origin(&self) -> Option<String> {
        self.authority().map(|authority| format!("{}://{authority}", self.scheme()))
    }

    /// Returns the domain.
    ///
    /// # Errors
    /// A [`Fault`] that says what to write, and where, if there is none.
    pub fn require_domain(&self) -> Result<&Domain, Box<Fault>> {
        self.domain.as_ref().ok_or_else(|| {
            let fault = Fault::new(Origin::Default, "toolkit.site.domain", "is not set");
            Box::new(fault.with_hint(format!(
                "write domain = \"oh.example\" under [toolkit.site] in {}, or pass --set \
                 site.domain=oh.example",
                self.file
            )))
        })
    }
}

/// Whether the site speaks TLS, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// On for a name, off for a bare address.
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

/// Who asks visitors for a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// nginx, by a password of `site.users_file`.
    Basic,
    /// An endpoint, about every request.
    Request {
        /// The endpoint.
        endpoint: HttpUrl,
        /// Where browsers without a login are sent.
        start: Option<InRoot>,
    },
    /// The editor, by its own token or password.
    Editor,
    /// Nobody.
    None,
}

/// What keeps sessions, OpenHands and each other apart in a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Nothing: all have the site's origin.
    Path,
    /// Applications have an origin that nobody else has.
    Sandbox,
    /// Every editor and application has a host of its own.
    Subdomain,
}

/// The web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nginx {
    /// The program.
    pub program: InRoot,
    /// The main configuration file, never written.
    pub config: InRoot,
    /// The folder of the generated configuration.
    pub directory: InRoot,
    /// The file that includes the folder.
    pub hook: InRoot,
    /// The addresses to listen on; never empty.
    pub listen: Vec<Listen>,
    /// The port on 127.0.0.1 that tells the generation.
    pub generation_port: Port,
    /// How long a new generation may take to be seen, in milliseconds.
    pub seen_timeout_ms: u64,
    /// How long a watch lets pass between two reloads at least, in milliseconds.
    pub watch_interval_ms: u64,
    /// How many old workers may linger before a watch reloads less often.
    pub old_workers_max: u64,
    /// How often a watch reads everything again, in seconds.
    pub rescan_s: u64,
    /// The site file of an older installation.
    pub legacy_site: InRoot,
    /// The file per repository of an older installation.
    pub legacy_repositories: RepositoryPath,
    /// The generator of an older installation.
    pub legacy_generator: InRoot,
}

/// Sessions of OpenHands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// The folder of the session files.
    pub directory: InRoot,
    /// Whose session files count; never empty.
    pub owners: Vec<Owner>,
    /// The most sessions that are routed.
    pub sessions_max: u64,
    /// The largest session file, in bytes.
    pub file_bytes_max: u64,
    /// How long the editor of a session may be gone before its file is moved aside, in seconds;
    /// `None` is for ever.
    pub retire_after_s: Option<NonZeroU64>,
    /// Where the editor of a session may be.
    pub editor_ports: PortSet,
    /// Where an application of a session may be.
    pub app_ports: PortSet,
    /// What becomes of the prefix of an editor.
    pub upstream: Upstream,
    /// The folder of sockets, where there is one.
    pub sockets: Option<InRoot>,
    /// The workspace of a session.
    pub workspace: SessionPath,
    /// The user whom the editor of a session runs as, where root starts it.
    pub user: Owner,
}

/// Editor instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// The ports that instances are given.
    pub ports: PortRange,
    /// The folder that an instance opens.
    pub repository: RepositoryPath,
    /// What becomes of the prefix of an editor.
    pub upstream: Upstream,
    /// The record of ports.
    pub port_database: InRoot,
    /// The record of repositories.
    pub repository_database: InRoot,
    /// The file of variables that OpenHands is started with.
    pub environment_file: HomePath,
    /// Which program serves VS Code.
    pub server: Server,
    /// That program: the configured one, or the usual place of its kind.
    pub program: InRoot,
    /// The user whom the editor of a repository runs as; `None` is the owner of its folder.
    pub user: Option<Owner>,
    /// Where editors listen.
    pub transport: Transport,
    /// Whether editors ask for a key.
    pub asks_for_key: bool,
    /// The folder of what editors keep.
    pub directory: InRoot,
    /// The folder of what they keep while they run.
    pub runtime_directory: InRoot,
    /// The folder of what they print.
    pub log_directory: InRoot,
    /// The size at which a log is set aside, in bytes.
    pub log_bytes_max: u64,
    /// How many logs that were set aside are kept.
    pub log_files: u64,
    /// How long an editor may take until it answers, in seconds.
    pub ready_timeout_s: u64,
    /// How long it has to end by itself, in seconds.
    pub stop_grace_s: u64,
    /// How often it is started again within the window.
    pub restarts_max: u64,
    /// The time within which restarts count, in seconds.
    pub restart_window_s: u64,
    /// What it may use.
    pub limits: Limits,
    /// What holds its supervisor.
    pub supervision: Supervision,
}

/// Where editors listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// On a port of 127.0.0.1.
    Port,
    /// On a unix socket.
    Unix,
}

/// What an editor and all that it starts may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in MiB.
    pub memory_mib: Option<NonZeroU64>,
    /// Processor time, in percent of one processor.
    pub cpu_percent: Option<NonZeroU64>,
    /// Processes and threads.
    pub tasks: Option<NonZeroU64>,
}

/// What holds the supervisor of an editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Supervision {
    /// systemd where it can.
    Auto,
    /// A transient unit of systemd.
    Systemd,
    /// Nothing: it is a process of its own.
    Process,
}

/// What is taken for a left-over, and how long is waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanup {
    /// Where left-overs lie.
    pub leftovers: Vec<Pattern>,
    /// Whose they may be.
    pub owners: Vec<Owner>,
    /// How long a process has to end by itself, in seconds.
    pub grace_s: u64,
    /// How long nothing may have changed in what is nobody's, in seconds.
    pub age_min_s: u64,
    /// How much room what runs moved away may have, in MiB; `None` is no limit.
    pub quarantine_max_mib: Option<NonZeroU64>,
}

/// The WebSocket check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wscheck {
    /// The ports of a development setup.
    pub development_ports: Vec<Port>,
}

pub(crate) const fn tls_on(tls: Tls, domain: Option<&Domain>) -> bool {
    match tls {
        Tls::On => true,
        Tls::Off => false,
        Tls::Auto => !matches!(domain, Some(Domain::Address(_))),
    }
}

pub(crate) const fn scheme(tls_on: bool) -> Scheme {
    if tls_on { Scheme::Https } else { Scheme::Http }
}

/// Builds the settings of values without a fault; `None` only where the table of keys has another
/// type than the settings, or a value is faulty after all.
pub(crate) fn build(merged: &Merged, file: &str) -> Option<Settings> {
    Some(Settings {
        site: site(merged, file)?,
        nginx: Nginx {
            program: take(merged, "nginx.program")?,
            config: take(merged, "nginx.config")?,
            directory: take(merged, "nginx.directory")?,
            hook: take(merged, "nginx.hook")?,
            listen: take(merged, "nginx.listen")?,
            generation_port: take(merged, "nginx.generation_port")?,
            seen_timeout_ms: take(merged, "nginx.seen_timeout_ms")?,
            watch_interval_ms: take(merged, "nginx.watch_interval_ms")?,
            old_workers_max: take(merged, "nginx.old_workers_max")?,
            rescan_s: take(merged, "nginx.rescan_s")?,
            legacy_site: take(merged, "nginx.legacy_site")?,
            legacy_repositories: take(merged, "nginx.legacy_repositories")?,
            legacy_generator: take(merged, "nginx.legacy_generator")?,
        },
        sessions: Sessions {
            directory: take(merged, "sessions.directory")?,
            owners: take(merged, "sessions.owners")?,
            sessions_max: take(merged, "sessions.sessions_max")?,
            file_bytes_max: take(merged, "sessions.file_bytes_max")?,
            retire_after_s: NonZeroU64::new(take(merged, "sessions.retire_after_s")?),
            editor_ports: take(merged, "sessions.editor_ports")?,
            app_ports: take(merged, "sessions.app_ports")?,
            upstream: take(merged, "sessions.upstream")?,
            sockets: take(merged, "sessions.sockets")?,
            workspace: take(merged, "sessions.workspace")?,
            user: take(merged, "sessions.user")?,
        },
        instances: Instances {
            ports: take(merged, "instances.ports")?,
            repository: take(merged, "instances.repository")?,
            upstream: take(merged, "instances.upstream")?,
            port_database: take(merged, "instances.port_database")?,
            repository_database: take(merged, "instances.repository_database")?,
            environment_file: take(merged, "instances.environment_file")?,
            server: take(merged, "instances.server")?,
            program: program(
                take(merged, "instances.program")?,
                take(merged, "instances.server")?,
            )?,
            user: take(merged, "instances.user")?,
            transport: take(merged, "instances.transport")?,
            asks_for_key: matches!(merged.parsed("instances.auth")?, Parsed::Choice("key")),
            directory: take(merged, "instances.directory")?,
            runtime_directory: take(merged, "instances.runtime_directory")?,
            log_directory: take(merged, "instances.log_directory")?,
            log_bytes_max: take(merged, "instances.log_bytes_max")?,
            log_files: take(merged, "instances.log_files")?,
            ready_timeout_s: take(merged, "instances.ready_timeout_s")?,
            stop_grace_s: take(merged, "instances.stop_grace_s")?,
            restarts_max: take(merged, "instances.restarts_max")?,
            restart_window_s: take(merged, "instances.restart_window_s")?,
            limits: Limits {
                memory_mib: NonZeroU64::new(take(merged, "instances.memory_max_mib")?),
                cpu_percent: NonZeroU64::new(take(merged, "instances.cpu_max_percent")?),
                tasks: NonZeroU64::new(take(merged, "instances.tasks_max")?),
            },
            supervision: take(merged, "instances.supervision")?,
        },
        cleanup: Cleanup {
            leftovers: take(merged, "cleanup.leftovers")?,
            owners: take(merged, "cleanup.owners")?,
            grace_s: take(merged, "cleanup.grace_s")?,
            age_min_s: take(merged, "cleanup.age_min_s")?,
            quarantine_max_mib: NonZeroU64::new(take(merged, "cleanup.quarantine_max_mib")?),
        },
        wscheck: Wscheck { development_ports: take(merged, "wscheck.development_ports")? },
    })
}

fn site(merged: &Merged, file: &str) -> Option<Site> {
    let domain: Option<Domain> = take(merged, "site.domain")?;
    let tls: Tls = take(merged, "site.tls")?;
    let port: Option<Port> = take(merged, "site.port")?;
    let port_default = scheme(tls_on(tls, domain.as_ref())).port_default();
    Some(Site {
        certificate: certificate(take(merged, "site.certificate")?, domain.as_ref())?,
        certificate_key: certificate(take(merged, "site.certificate_key")?, domain.as_ref())?,
        upstream: take(merged, "site.upstream")?,
        auth: auth(merged)?,
        users_file: take(merged, "site.users_file")?,
        origins: take(merged, "site.origins")?,
        isolation: take(merged, "site.isolation")?,
        sessions_domain: take(merged, "site.sessions_domain")?,
        sessions_certificate: take(merged, "site.sessions_certificate")?,
        sessions_certificate_key: take(merged, "site.sessions_certificate_key")?,
        port: port.or_else(|| Port::new(port_default.into()))?,
        file: String::from(file),
        domain,
        tls,
    })
}

/// Fills the domain into a path; the inner `None` is a path that needs a domain and has none.
fn certificate(path: InRoot, domain: Option<&Domain>) -> Option<Option<InRoot>> {
    if !path.as_str().contains(DOMAIN_GAP) {
        return Some(Some(path));
    }
    match domain {
        Some(domain) => {
            InRoot::parse(&path.as_str().replace(DOMAIN_GAP, &domain.to_string())).ok().map(Some)
        }
        None => Some(None),
    }
}

/// Fills in where a program usually is.
fn program(configured: Option<InRoot>, server: Server) -> Option<InRoot> {
    configured.or_else(|| {
        let usual = match server {
            Server::CodeServer => "/usr/bin/code-server",
            Server::Openvscode => "/openhands/.openvscode-server/bin/openvscode-server",
        };
        InRoot::parse(usual).ok()
    })
}

fn auth(merged: &Merged) -> Option<Auth> {
    match merged.parsed("site.auth")? {
        Parsed::Choice("basic") => Some(Auth::Basic),
        Parsed::Choice("request") => Some(Auth::Request {
            endpoint: take(merged, "site.auth_request")?,
            start: take(merged, "site.auth_start")?,
        }),
        Parsed::Choice("editor") => Some(Auth::Editor),
        Parsed::Choice("none") => Some(Auth::None),
        _ => None,
    }
}

/// A type of the settings, taken out of the value that the grammar made.
pub(crate) trait Take: Sized {
    fn take(parsed: &Parsed) -> Option<Self>;
}

pub(crate) fn take<T: Take>(merged: &Merged, path: &str) -> Option<T> {
    merged.parsed(path).and_then(T::take)
}

macro_rules! take_from {
    ($($variant:ident => $type:ty),* $(,)?) => {
        $(impl Take for $type {
            fn take(parsed: &Parsed) -> Option<Self> {
                match parsed {
                    Parsed::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }
        })*
    };
}

take_from! {
    Integer => u64,
    Port => Port,
    Ports => Vec<Port>,
    Range => PortRange,
    Ranges => PortSet,
    Domain => Domain,
    Path => InRoot,
    SessionPath => SessionPath,
    RepositoryPath => RepositoryPath,
    HomePath => HomePath,
    Endpoint => SocketAddr,
    HttpUrl => HttpUrl,
    WebOrigins => Vec<WebOrigin>,
    Listen => Vec<Listen>,
    Owners => Vec<Owner>,
    User => Owner,
    Patterns => Vec<Pattern>,
}

impl Take for Tls {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice("auto") => Some(Self::Auto),
            Parsed::Choice("on") => Some(Self::On),
            Parsed::Choice("off") => Some(Self::Off),
            _ => None,
        }
    }
}

impl Take for Isolation {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice("path") => Some(Self::Path),
            Parsed::Choice("sandbox") => Some(Self::Sandbox),
            Parsed::Choice("subdomain") => Some(Self::Subdomain),
            _ => None,
        }
    }
}

impl Take for Server {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice(name) => Self::parse(name),
            _ => None,
        }
    }
}

impl Take for Transport {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice("port") => Some(Self::Port),
            Parsed::Choice("unix") => Some(Self::Unix),
            _ => None,
        }
    }
}

impl Take for Supervision {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice("auto") => Some(Self::Auto),
            Parsed::Choice("systemd") => Some(Self::Systemd),
            Parsed::Choice("process") => Some(Self::Process),
            _ => None,
        }
    }
}

impl Take for Upstream {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Choice(name) => Self::parse(name),
            _ => None,
        }
    }
}

impl<T: Take> Take for Option<T> {
    fn take(parsed: &Parsed) -> Option<Self> {
        match parsed {
            Parsed::Unset => Some(None),
            other => T::take(other).map(Some),
        }
    }
}
