//! From the arguments to the hops: where each connection goes, and what is asked there.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use oh_config::Settings;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_probe::ask::Visitor;
use oh_probe::dial::{Override, Route};
use oh_probe::http1::Header;
use oh_probe::kind::prefix_of;
use oh_probe::ladder::Asked;
use oh_probe::limits::Limits;
use oh_probe::raw;
use oh_probe::reach::Way;
use oh_probe::target::{Target, TargetHost};
use oh_probe::tls::Trust;
use oh_term::Failure;

use crate::cli::{CheckArguments, HopName};

/// The path of Socket.IO where a server has no prefix.
const SOCKET_IO: &str = "socket.io/";

/// The header of OpenHands for its key.
const KEY_HEADER: &str = "X-Session-API-Key";

/// The bytes that a file of certificates may have.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;

/// The bytes that a key may have.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// A hop, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) name: HopName,
    pub(crate) way: Way,
    /// What is asked of Socket.IO; the other protocols take the visitor of it.
    pub(crate) asked: Asked,
    /// The path below which the program is, without its last slash.
    pub(crate) prefix: String,
    /// Path and query that were given, for a WebSocket of no known program.
    given: String,
    /// The key of OpenHands, where one was given.
    key: Option<String>,
}

/// What is spoken to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Socket.IO.
    SocketIo,
    /// The WebSocket of an agent server.
    AgentServer,
    /// The WebSocket at the very path that was given, whatever it speaks.
    Raw,
}

impl Hop {
    /// A hop that is asked for Socket.IO alone, at the top of a server.
    pub(crate) fn socket_io(name: HopName, way: Way, asked: Asked) -> Self {
        Self { name, way, asked, prefix: String::new(), given: "/".to_owned(), key: None }
    }

    /// What is asked where the API of OpenHands is asked too, which has its key in a header.
    pub(crate) fn keyed(&self) -> Asked {
        let mut asked = self.asked.clone();
        let header = self.key.as_deref().and_then(|key| Header::new(KEY_HEADER, key.to_owned()));
        asked.headers.extend(header);
        asked
    }

    /// The token of an editor: that of a file, or of the address, as editors print it.
    pub(crate) fn token(&self) -> Option<String> {
        let of_address = || {
            let query = self.way.target.query.as_deref()?;
            let token = query.split('&').find_map(|pair| pair.strip_prefix("tkn="))?;
            Some(token.to_owned())
        };
        self.key.clone().or_else(of_address)
    }

    /// Who asks.
    pub(crate) fn visitor(&self) -> Visitor {
        let Asked { origin, authority, headers, .. } = self.asked.clone();
        Visitor { origin, authority, headers }
    }

    /// What is asked of a WebSocket without Socket.IO.
    pub(crate) fn raw(&self, speech: Speech) -> raw::Asked {
        if speech == Speech::AgentServer {
            return raw::Asked::agent_server(&self.prefix, &self.visitor(), self.key.as_deref());
        }
        raw::Asked::at(self.given.clone(), self.visitor())
    }
}

/// Makes the outermost hop of the arguments, and the address of the site where they name none.
pub(crate) fn public(arguments: &CheckArguments, settings: &Settings) -> Result<Hop, Failure> {
    let given = arguments.url.as_ref().or(arguments.vscode.as_ref());
    let url = match (given, settings.site.origin()) {
        (Some(url), _) => url.clone(),
        (None, Some(origin)) => origin,
        (None, None) => {
            let example = Command::ours("oh-wscheck", &["https://oh.example"]);
            return Err(refused("no address was given, and the configuration has no site.domain")
                .hint(Hint::run("name it", example)));
        }
    };
    let target = Target::parse(&url).map_err(|fault| Failure::new(Exit::Refused, fault))?;
    let limits = limits(arguments);
    let trust = if target.is_tls { Some(trust(arguments)?) } else { None };
    let overrides: Result<Vec<_>, _> =
        arguments.resolve.iter().map(|text| resolved(text)).collect();
    let proxy = arguments.proxy.as_deref().map(|url| {
        Target::parse(url)
            .map_err(|fault| Failure::new(Exit::Refused, format!("--proxy: {fault}")))
            .and_then(|proxy| {
                if proxy.is_tls {
                    return Err(refused("--proxy: only proxies that speak plain HTTP are known"));
                }
                Ok(proxy)
            })
    });
    let route = Route { overrides: overrides?, proxy: proxy.transpose()? };
    let path = match &arguments.path {
        Some(path) if path.starts_with('/') => path.clone(),
        Some(path) => return Err(refused(format!("--path {path:?} does not begin with /"))),
        None => format!("{}/{SOCKET_IO}", prefix_of(&target.path)),
    };
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'?' || byte == b'#') {
        return Err(refused(format!("--path {path:?} has what no path has; write it as in a URL")));
    }
    let mut query = target.query.as_deref().map(|query| format!("&{query}")).unwrap_or_default();
    let key = key(arguments)?;
    if let Some(key) = &key {
        query.push_str(&format!("&session_api_key={}", percent_encoded(key)));
    }
    let origin = arguments.origin.clone().unwrap_or_else(|| target.origin());
    if Header::new("Origin", origin.as_str()).is_none() {
        return Err(refused(format!("--origin {origin:?} cannot stand in a header")));
    }
    let asked = Asked {
        path,
        query,
        engine_version: arguments.eio,
        origin: Some(origin),
        authority: None,
        headers: headers(&arguments.headers)?,
        keeps_frames: arguments.verbose,
    };
    let way = Way { target, route, trust, takes_any_certificate: arguments.insecure, limits };
    let prefix = prefix_of(&way.target.path).to_owned();
    let query = way.target.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let given = format!("{}{query}", way.target.path);
    Ok(Hop { name: HopName::Public, way, asked, prefix, given, key })
}

/// Makes the hop to this machine's own nginx, asked as the site is.
pub(crate) fn nginx(public: &Hop) -> Hop {
    let target = &public.way.target;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut way = public.way.clone();
    way.route.proxy = None;
    match &target.host {
        TargetHost::Name(name) => {
            let address = SocketAddr::new(loopback, target.port);
            let entry = Override { name: name.clone(), port: target.port, address };
            way.route.overrides = vec![entry];
        }
        // An address is in its certificate, if at all; which of its own a machine is asked on changes nothing else.
        TargetHost::Address(_) => {
            way.target.host = TargetHost::Address(loopback);
            way.takes_any_certificate = true;
        }
    }
    let authority = Some(target.authority());
    let asked = Asked { authority, ..public.asked.clone() };
    Hop { name: HopName::Nginx, way, asked, ..public.clone() }
}

/// Makes the hop to what stands behind, asked as a proxy would ask that is as it should be: in the name of the
/// site, with its scheme.
///
/// `passed` is where nginx's configuration leads; without it, and without an argument, the settings say.
pub(crate) fn upstream(
    arguments: &CheckArguments,
    settings: &Settings,
    passed: Option<&str>,
    public: &Hop,
) -> Result<Hop, Failure> {
    let url = match (&arguments.upstream, passed) {
        (Some(url), _) => url.clone(),
        (None, Some(url)) => url.to_owned(),
        (None, None) => format!("http://{}", settings.site.upstream),
    };
    let target = Target::parse(&url)
        .map_err(|fault| Failure::new(Exit::Refused, format!("--upstream: {fault}")))?;
    let prefix = target.path.trim_end_matches('/').to_owned();
    let path = format!("{prefix}/{SOCKET_IO}");
    let asked = Asked { path, ..public.asked.behind(&public.way.target) };
    let trust = if target.is_tls { Some(trust(arguments)?) } else { None };
    let way = Way {
        target,
        route: Route::default(),
        trust,
        // nginx looks at no certificate behind it, unless told to.
        takes_any_certificate: true,
        limits: public.way.limits.clone(),
    };
    Ok(Hop { name: HopName::Upstream, way, asked, prefix, ..public.clone() })
}

/// No step takes longer than the whole.
fn limits(arguments: &CheckArguments) -> Limits {
    let mut limits = Limits::default();
    for limit in
        [&mut limits.dns, &mut limits.tcp, &mut limits.tls, &mut limits.http, &mut limits.packet]
    {
        *limit = (*limit).min(arguments.timeout);
    }
    limits
}

fn trust(arguments: &CheckArguments) -> Result<Trust, Failure> {
    let Some(path) = &arguments.cacert else {
        let machine = Trust::of_machine();
        return machine.map_err(|fault| {
            Failure::new(Exit::CouldNotLook, fault)
                .hint("install ca-certificates, or name whom to trust: --cacert FILE")
        });
    };
    let pem = read(path, CERTIFICATES_BYTES_MAX, "--cacert")?;
    Trust::of_pem(&pem)
        .map_err(|fault| Failure::new(Exit::Refused, format!("--cacert {path}: {fault}")))
}

fn key(arguments: &CheckArguments) -> Result<Option<String>, Failure> {
    let Some(path) = &arguments.key_file else { return Ok(None) };
    let bytes = read(path, KEY_BYTES_MAX, "--key-file")?;
    let key = String::from_utf8(bytes).ok().map(|key| key.trim().to_owned());
    match key {
        Some(key) if !key.is_empty() && !key.contains(char::is_control) => Ok(Some(key)),
        _ => Err(refused(format!("--key-file {path}: it has no key, on one line"))),
    }
}

fn read(path: &str, max: u64, option: &str) -> Result<Vec<u8>, Failure> {
    let could_not =
        |why: String| Failure::new(Exit::Refused, format!("{option} {path} cannot be read: {why}"));
    let mut bytes = Vec::new();
    let count = if path == "-" {
        std::io::stdin().lock().take(max + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).map_err(|fault| could_not(fault.to_string()))?;
        file.take(max + 1).read_to_end(&mut bytes)
    };
    count.map_err(|fault| could_not(fault.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(could_not(format!("it has more than {max} bytes")));
    }
    Ok(bytes)
}

fn headers(given: &[String]) -> Result<Vec<Header<'static>>, Failure> {
    let header = |text: &String| {
        let (name, value) = text.split_once(':')?;
        Header::new(name.to_owned(), value.trim().to_owned())
    };
    // What is wrong is not repeated: it may be a key.
    let headers = given.iter().map(|text| {
        header(text)
            .ok_or_else(|| refused("a header that was given is none; write: -H 'Name: value'"))
    });
    headers.collect()
}

fn resolved(text: &str) -> Result<Override, Failure> {
    let parsed = || {
        let (name, rest) = text.split_once(':')?;
        let (port, address) = rest.split_once(':')?;
        let (port, address) =
            (port.parse().ok()?, address.trim_matches(['[', ']']).parse::<IpAddr>().ok()?);
        Some(Override { name: name.to_owned(), port, address: SocketAddr::new(address, port) })
    };
    parsed().ok_or_else(|| {
        refused(format!(
            "--resolve {text:?} is not HOST:PORT:ADDRESS, as in oh.example:443:127.0.0.1"
        ))
    })
}

/// Writes a value for a query (RFC 3986, section 2.3).
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Refused, why.into())
}
