//! Real servers, real nginx in front of them, a real client, and our own ladder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_nginx_conf::inspect::{File, Tree};
use oh_nginx_conf::lint::{KeyKind, Known};
use oh_nginx_conf::parse::parse;
use oh_probe::dial::{Override, Route};
use oh_probe::ladder::{Asked, Ladder, climb};
use oh_probe::limits::Limits;
use oh_probe::reach::Way;
use oh_probe::target::Target;
use oh_probe::tls::Trust;
use oh_testsuite::authority::Authority;
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::net::{self, Upgrade};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net::Request};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::raw;
use crate::sites::Base;

/// How long a program may take to start, and an answer that is expected, on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// How long one is waited for that never comes; proxies wait a second in such blocks.
const SILENCE: Duration = Duration::from_millis(2000);

/// The name by which sites are called.
const NAME: &str = "oh.example";

/// What the client says of a connection that works.
pub(crate) const WORKS: &str = "said hello";

/// By which address a site is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// By its own.
    Own,
    /// By plain HTTP where it speaks TLS.
    Plain,
    /// At the port beside it, by plain HTTP.
    Beside,
    /// By a name that nobody has.
    NoName,
}

/// What is looked at.
pub(crate) struct Visit<'v> {
    pub(crate) base: &'v Base,
    /// The configurations of its proxies, the outermost first.
    pub(crate) texts: &'v [String],
    /// The kind of server behind them.
    pub(crate) upstream: &'v str,
    pub(crate) door: Door,
    /// What else the handshake asks, as `a=b`; nothing where empty.
    pub(crate) query: &'v str,
    /// Whether something is silent for good.
    pub(crate) is_silent: bool,
    /// How many WebSockets there are already.
    pub(crate) held: usize,
}

/// What was seen.
pub(crate) struct Seen {
    /// What the real client says.
    pub(crate) client: String,
    /// The name of each hop, and what our ladder saw of it; the outermost first.
    pub(crate) hops: Vec<(&'static str, Ladder)>,
}

impl Seen {
    /// Whether the way is open: the client is connected, or refused by the application itself.
    pub(crate) fn works(&self) -> bool {
        self.client == WORKS || self.client.starts_with("refused: ")
    }
}

/// Everything that lives as long as the test.
pub(crate) struct Scene {
    ports: BTreeMap<String, u16>,
    proxies: Vec<Lab>,
    client: (Running, u16),
    authority: String,
    trust: Trust,
    runtime: Runtime,
    _servers: Vec<Running>,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let mut python = Command::new(components::python()?);
        python.args(["-u", "-c", include_str!("servers.py")]);
        let mut node = Command::new(components::node()?);
        node.args(["-e", include_str!("servers.js")]);
        node.env("NODE_PATH", components::socket_io_modules()?);
        let mut client = Command::new(components::node()?);
        client.args(["-e", include_str!("client.js")]);
        client.env("NODE_PATH", components::socket_io_modules()?);
        let mut servers = [Running::start(&mut python)?, Running::start(&mut node)?];
        let mut client = Running::start(&mut client)?;

        let proxies = vec![Lab::plain()?, Lab::plain()?];
        let mut ports: BTreeMap<_, _> = raw::start()?.into_iter().collect();
        for server in &mut servers {
            let line = server.wait_for_line("ports ", BOUND)?;
            for pair in line.split(' ').filter_map(|word| word.split_once('=')) {
                ports.insert(pair.0.to_owned(), pair.1.parse()?);
            }
        }
        // Quiet ports of the laboratories, where nobody listens.
        ports.insert("nobody".to_owned(), proxies[0].upstream_port);
        let line = client.wait_for_line("listening on ", BOUND)?;
        let client_port = line.rsplit(' ').next().unwrap_or_default().parse()?;
        for proxy in &proxies {
            fs::create_dir_all(proxy.at("www"))?;
            proxy.write("www/index.html", "<!doctype html><title>A page</title>")?;
            proxy.write("users", "")?;
        }
        let tls = proxies[0].at("tls");
        fs::create_dir_all(&tls)?;
        certificates(&tls)?;
        Ok(Self {
            ports,
            authority: fs::read_to_string(tls.join("root.pem"))?,
            trust: Trust::of_pem(&fs::read(tls.join("root.pem"))?)?,
            proxies,
            client: (client, client_port),
            runtime: Builder::new_current_thread().enable_all().build()?,
            _servers: servers.into(),
        })
    }

    fn port(&self, kind: &str) -> Result<u16> {
        self.ports.get(kind).copied().with_context(|| format!("there is no server {kind:?}"))
    }

    /// Returns the configuration of a proxy of a site, with the ports and paths of this laboratory.
    pub(crate) fn filled(
        &self,
        base: &Base,
        upstream: &str,
        at: usize,
        text: &str,
    ) -> Result<String> {
        let lab = &self.proxies[at];
        let next = match self.proxies.get(at + 1) {
            Some(inner) if at + 1 < base.texts.len() => inner.site_port,
            _ => self.port(upstream)?,
        };
        Ok(text
            .replace("@TEMPORARY@", &lab::temporary_paths(&lab.root()))
            .replace("@ROOT@", &lab.root())
            .replace("@TLS@", &self.proxies[0].at("tls").display().to_string())
            .replace("@PORT@", &lab.site_port.to_string())
            .replace("@BESIDE@", &lab.generation_port.to_string())
            .replace("@NOBODY@", &self.port("nobody")?.to_string())
            .replace("@SILENT@", &self.port("silent")?.to_string())
            .replace("@UPSTREAM@", &next.to_string()))
    }

    /// Returns what the linter is told about a proxy.
    pub(crate) fn known(&self, base: &Base, upstream: &str, at: usize) -> Result<Known> {
        let openhands = self.filled(base, upstream, at, "127.0.0.1:@UPSTREAM@")?;
        let certificate = self.filled(base, upstream, at, "@TLS@/good.chain")?;
        Ok(Known {
            openhands: Some(openhands),
            certificates: [(certificate, KeyKind::Ecdsa)].into(),
            ..Known::default()
        })
    }

    /// Serves a site and looks at it: first the real client, then our ladder at each hop.
    pub(crate) fn see(&mut self, visit: &Visit<'_>) -> Result<Seen> {
        for (proxy, text) in self.proxies.iter_mut().zip(visit.texts) {
            proxy.write("etc/nginx/nginx.conf", text)?;
            proxy.start_nginx()?;
        }
        let seen = self.look(visit);
        let logs: Vec<_> = self.proxies.iter().map(Lab::error_log).collect();
        for proxy in &mut self.proxies {
            proxy.stop_nginx()?;
            // The next block begins with a log of its own.
            proxy.write("log/error.log", "")?;
        }
        seen.with_context(|| logs.join("\n"))
    }

    fn look(&self, visit: &Visit<'_>) -> Result<Seen> {
        let own = self.url(visit.base, Door::Own);
        let mut held = Vec::new();
        for _ in 0..visit.held {
            let url = format!("{own}{}?EIO=4&transport=websocket", visit.base.path);
            let upgrade = net::upgrade(&url, &[("Origin", &own)])?;
            ensure!(matches!(upgrade, Upgrade::Open(_)), "not even the first: {upgrade:?}");
            held.push(upgrade);
        }
        let client = self.client_sees(visit)?;
        let mut hops = Vec::new();
        for (at, name) in names(visit.base).into_iter().enumerate() {
            let (way, asked) = self.hop(visit, at)?;
            hops.push((name, self.runtime.block_on(climb(&way, &asked))));
        }
        Ok(Seen { client, hops })
    }

    fn url(&self, base: &Base, door: Door) -> String {
        let (own, beside) = (self.proxies[0].site_port, self.proxies[0].generation_port);
        match door {
            Door::Own => format!("{}://{}:{own}", base.scheme, base.host),
            Door::Plain => format!("http://{}:{own}", base.host),
            Door::Beside => format!("http://{}:{beside}", base.host),
            Door::NoName => format!("{}://no-such-name.invalid:{own}", base.scheme),
        }
    }

    fn client_sees(&self, visit: &Visit<'_>) -> Result<String> {
        let url = self.url(visit.base, visit.door);
        let late = if visit.is_silent { SILENCE } else { BOUND };
        let query: BTreeMap<_, _> = visit.query.split_once('=').into_iter().collect();
        let wanted = json!({
            "url": url,
            "path": visit.base.path,
            "query": query,
            "ca": self.authority,
            "headers": {"Origin": url},
            "late_ms": late.as_millis(),
        });
        let answer = net::send(&Request {
            method: "POST",
            body: wanted.to_string().as_bytes(),
            timeout: BOUND * 2,
            ..Request::get(&format!("http://127.0.0.1:{}/", self.client.1))
        });
        Ok(answer.with_context(|| self.client.0.log())?.text())
    }

    /// How a hop is asked what the site is asked for.
    fn hop(&self, visit: &Visit<'_>, at: usize) -> Result<(Way, Asked)> {
        let public = Target::parse(&self.url(visit.base, visit.door))?;
        let is_upstream = at == visit.base.texts.len();
        let target = match at {
            0 => public.clone(),
            _ if is_upstream => {
                Target::parse(&format!("http://127.0.0.1:{}", self.port(visit.upstream)?))?
            }
            _ => Target::parse(&format!("http://127.0.0.1:{}", self.proxies[at].site_port))?,
        };
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), target.port);
        let overrides = vec![Override { name: NAME.to_owned(), port: target.port, address }];
        let limit = if visit.is_silent { SILENCE } else { BOUND };
        let limits = Limits { http: limit, packet: limit, ..Limits::default() };
        let way = Way {
            target,
            route: Route { overrides, proxy: None },
            trust: Some(self.trust.clone()),
            takes_any_certificate: false,
            limits,
        };
        let path = if is_upstream { visit.base.upstream_path } else { visit.base.path };
        let more = if visit.query.is_empty() { "" } else { "&" };
        let asked = Asked {
            path: path.to_owned(),
            query: format!("{more}{}", visit.query),
            engine_version: 4,
            origin: Some(public.origin()),
            authority: None,
            headers: Vec::new(),
            keeps_frames: false,
        };
        Ok((way, if at == 0 { asked } else { asked.behind(&public) }))
    }
}

/// What the hops of a site are called.
pub(crate) fn names(base: &Base) -> Vec<&'static str> {
    match base.texts.len() {
        1 => vec!["nginx", "upstream"],
        _ => vec!["public", "nginx", "upstream"],
    }
}

/// Reads a configuration as the tools do.
pub(crate) fn tree(text: &str) -> Result<Tree> {
    let file = File {
        path: "/etc/nginx/nginx.conf".to_owned(),
        text: text.to_owned(),
        directives: parse(text)?,
        includes: Vec::new(),
    };
    Ok(Tree { files: vec![file] })
}

/// Makes certificates of each kind; the client trusts `root`.
fn certificates(folder: &Path) -> Result<()> {
    let authority = Authority::new(folder);
    let names = "subjectAltName=DNS:oh.example,IP:127.0.0.1";
    authority.self_signed("root", &[])?;
    authority.signed("between", "root", "9", &["basicConstraints=critical,CA:TRUE"])?;
    authority.signed("good", "between", "9", &[names])?;
    authority.chain("good.chain", &["good", "between"])?;
    authority.signed("expired", "root", "-1", &[names])?;
    authority.signed_between("early", "root", ["20900101000000Z", "20910101000000Z"], &[names])?;
    authority.signed("other", "root", "9", &["subjectAltName=DNS:other.example"])?;
    authority.signed("nameless", "root", "9", &[])?;
    authority.self_signed("self", &[names])?;
    authority.self_signed("self-leaf", &[names, "basicConstraints=critical,CA:FALSE"])?;
    authority.self_signed("strange", &[])?;
    authority.signed("strange-leaf", "strange", "9", &[names])?;
    authority.chain("strange.chain", &["strange-leaf", "strange"])
}
