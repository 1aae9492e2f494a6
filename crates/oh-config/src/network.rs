//! Names and addresses of the network, as the configuration writes them.
//!
//! Each type has its reader and, beside it, the pattern that the JSON Schema publishes; the tests
//! hold the two together.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use oh_model::port::Port;

/// The longest host name, in bytes (RFC 1035, without the closing dot).
pub(crate) const NAME_BYTES_MAX: usize = 253;

/// The longest label of a host name, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host: a lower-case name, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// A host name.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

impl Domain {
    /// Reads a lower-case host name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if is_name(text) {
            return Some(Self::Name(String::from(text)));
        }
        read_v4(text).map(IpAddr::V4).or_else(|| read_v6(text).map(IpAddr::V6)).map(Self::Address)
    }

    /// Returns the host as a URL has it: an IPv6 address in brackets.
    pub fn in_url(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(address) => address_in_url(*address),
        }
    }
}

/// Writes the host without brackets.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The scheme of a web address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Returns `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port that a URL of this scheme need not name, as a number.
    pub const fn port_default(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A web origin, as a browser sends it in `Origin`: the scheme's default port is never named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebOrigin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub host: Domain,
    /// The port, where it is not the default of the scheme.
    pub port: Option<Port>,
}

impl WebOrigin {
    /// Reads `scheme://host` or `scheme://host:port`, without a path.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.strip_prefix("https://") {
            Some(rest) => (Scheme::Https, rest),
            None => (Scheme::Http, text.strip_prefix("http://")?),
        };
        let (host, port) = split_port(rest)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => Domain::Address(IpAddr::V6(read_v6(inner.strip_suffix(']')?)?)),
            None => Domain::read(host).filter(|_| !host.contains(':'))?,
        };
        Some(Self { scheme, host, port: port.filter(|port| port.get() != scheme.port_default()) })
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host.in_url())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// An http URL whose host is an IP address: what nginx asks about a login.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpUrl {
    /// Address and port; 80 where the URL names none.
    pub address: SocketAddr,
    /// The path as written: empty, or beginning with a slash.
    pub path: String,
}

impl HttpUrl {
    /// Reads `http://ADDRESS[:PORT][/PATH]`; a path has only letters, digits and `.`, `_`, `~`,
    /// `-`, `/`, which mean nothing to nginx.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at)?;
        let (host, port) = split_port(authority)?;
        let address = read_bracketed(host)?;
        let safe = |c: char| c.is_ascii_alphanumeric() || "._~-/".contains(c);
        let port = port.map_or(Scheme::Http.port_default(), Port::get);
        path.chars()
            .all(safe)
            .then(|| Self { address: SocketAddr::new(address, port), path: String::from(path) })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// An address that nginx listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// Every IPv4 address of the machine, written `*`.
    All,
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// One IPv6 address, written in brackets; `[::]` is every IPv6 address.
    V6(Ipv6Addr),
}

impl Listen {
    /// Reads `*`, an IPv4 address, or an IPv6 address in brackets.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        Some(match read_bracketed(text)? {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        })
    }

    /// Says whether a connection of this machine to the address ends at this listener.
    pub(crate) fn takes(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::All, IpAddr::V4(to)) => to.is_loopback() || to.is_unspecified(),
            (Self::V4(at), IpAddr::V4(to)) => at == to || (at.is_unspecified() && to.is_loopback()),
            (Self::V6(at), IpAddr::V6(to)) => at == to || (at.is_unspecified() && to.is_loopback()),
            (Self::All | Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Writes the address as a `listen` directive has it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Reads `ADDRESS:PORT`, an IPv6 address in brackets.
pub(crate) fn read_endpoint(text: &str) -> Option<SocketAddr> {
    let (host, port) = split_port(text)?;
    Some(SocketAddr::new(read_bracketed(host)?, port?.get()))
}

/// Reads a port in decimal, without a sign and without leading zeros.
pub(crate) fn read_port(text: &str) -> Option<Port> {
    let digits = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).and_then(Port::new)
}

/// Returns the address as a URL has it.
pub(crate) fn address_in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Splits `host:port`; the host may be an IPv6 address in brackets.
fn split_port(text: &str) -> Option<(&str, Option<Port>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, Some(read_port(port)?))),
        _ => Some((text, None)),
    }
}

fn read_bracketed(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(inner) => read_v6(inner.strip_suffix(']')?).map(IpAddr::V6),
        None => read_v4(text).map(IpAddr::V4),
    }
}

fn read_v4(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

/// Reads an IPv6 address in hexadecimal groups. A tail in IPv4 form is refused: such an address
/// is an IPv4 address, and nginx compares addresses as they are written.
fn read_v6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().filter(|_| !text.contains('.'))
}

fn is_name(text: &str) -> bool {
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // A name whose last label begins with a digit would be taken for an IPv4 address by browsers.
    let last = text.rsplit('.').next().unwrap_or("");
    text.len() <= NAME_BYTES_MAX
        && text.split('.').all(good)
        && last.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Patterns of regular expressions for the JSON Schema, without anchors.
pub(crate) mod pattern {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// A port, 1 to 65535, without leading zeros.
    pub(crate) const PORT: &str =
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

    /// A host name; its length is a matter of `maxLength`.
    pub(crate) const NAME: &str =
        "([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?";

    /// An IPv4 address.
    pub(crate) fn v4() -> String {
        let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
        format!("{octet}(\\.{octet}){{3}}")
    }

    /// An IPv6 address in hexadecimal groups.
    pub(crate) fn v6() -> String {
        let group = "[0-9a-fA-F]{1,4}";
        let mut forms = Vec::from([
            format!("({group}:){{7}}{group}"),
            format!("({group}:){{1,7}}:"),
            format!(":((:{group}){{1,7}}|:)"),
        ]);
        // N groups, the gap, and at most 7 - N groups.
        forms.extend(
            (1..=6).map(|before| format!("({group}:){{{before}}}(:{group}){{1,{}}}", 7 - before)),
        );
        format!("({})", crate::text::join(&forms, "|"))
    }

    /// An IPv4 address, or an IPv6 address in brackets.
    pub(crate) fn bracketed() -> String {
        format!("({}|\\[{}\\])", v4(), v6())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Option<String> {
        WebOrigin::read(text).map(|origin| origin.to_string())
    }

    #[test]
    fn hosts_are_read_strictly() {
        for good in ["oh.example", "localhost", "a-b.c1", "10.0.0.1", "::1", "2001:db8::7"] {
            assert_eq!(Domain::read(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "OH.example",
            "a_b",
            "a b",
            "1.2.3",
            "1.2.3.999",
            "[::1]",
            "::ffff:1.2.3.4",
            "é.example",
            "a:1",
            "http://a",
            "fe80::1%eth0",
            "01.2.3.4",
        ] {
            assert_eq!(Domain::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        assert_eq!(origin("https://oh.example:443").unwrap(), "https://oh.example");
        assert_eq!(origin("http://oh.example:443").unwrap(), "http://oh.example:443");
        assert_eq!(origin("http://[::1]:8080").unwrap(), "http://[::1]:8080");
        for bad in [
            "oh.example",
            "https://",
            "https://oh.example/",
            "https://oh.example:",
            "ws://a",
            "https://oh.example:0",
            "https://::1",
            "https://[::1",
            "https://a:08",
            "https://u@a",
        ] {
            assert_eq!(origin(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_and_a_port() {
        assert_eq!(read_endpoint("127.0.0.1:3000").unwrap().to_string(), "127.0.0.1:3000");
        assert_eq!(read_endpoint("[::1]:3000").unwrap().to_string(), "[::1]:3000");
        for bad in ["127.0.0.1", "localhost:3000", "::1:3000", "127.0.0.1:0", "127.0.0.1:+1", ":1"]
        {
            assert_eq!(read_endpoint(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_url_has_nothing_that_nginx_would_take_for_syntax() {
        let url = HttpUrl::read("http://127.0.0.1:4180/oauth2/auth").unwrap();
        assert_eq!((url.address.port(), url.path.as_str()), (4180, "/oauth2/auth"));
        assert_eq!(HttpUrl::read("http://[::1]").unwrap().to_string(), "http://[::1]:80");
        for bad in [
            "https://127.0.0.1/",
            "http://localhost/",
            "http://127.0.0.1/$uri",
            "http://127.0.0.1/;",
            "http://127.0.0.1/a?b",
            "http:///a",
            "127.0.0.1:80",
        ] {
            assert_eq!(HttpUrl::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_listener_takes_what_arrives_at_it() {
        let takes =
            |listen: &str, to: &str| Listen::read(listen).unwrap().takes(to.parse().unwrap());
        assert!(takes("*", "127.0.0.1"));
        assert!(!takes("*", "10.0.0.1"), "nobody knows whose address that is");
        assert!(!takes("*", "::1"));
        assert!(takes("[::]", "::1"));
        assert!(takes("10.0.0.1", "10.0.0.1"));
        assert!(!takes("10.0.0.1", "127.0.0.1"));
    }
}
