//! What is asked: a URL as people paste it.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use url::{Host, Url};

/// A server and a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
    /// The name, or the address in its short form.
    pub host: TargetHost,
    /// The port, also where the URL did not say it.
    pub port: u16,
    /// The path, which begins with `/`.
    pub path: String,
    /// What stands behind the `?`, as it was written.
    pub query: Option<String>,
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetHost {
    /// A name, in the alphabet of DNS.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Says why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetFault {
    /// It has no scheme.
    #[error("{0:?} has no scheme, expected a URL like https://oh.example or ws://127.0.0.1:3000")]
    NoScheme(String),
    /// Its scheme is another.
    #[error("the scheme is {0:?}, expected http, https, ws or wss")]
    Scheme(String),
    /// It cannot be read.
    #[error("{text:?} is no URL: {why}")]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: url::ParseError,
    },
    /// It has no host.
    #[error("the URL has no host")]
    NoHost,
    /// It has a name or a password, which would be seen in the list of processes and in reports.
    #[error("the URL has a name or a password in it, which others could read")]
    Credentials,
}

impl Target {
    /// Reads a URL; `ws` and `wss` mean what `http` and `https` do. A fragment is left out.
    ///
    /// # Errors
    /// [`TargetFault`], which never repeats a password.
    pub fn parse(text: &str) -> Result<Self, TargetFault> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                return Err(TargetFault::NoScheme(text.to_owned()));
            }
            Err(why) if text.contains('@') => {
                return Err(TargetFault::Syntax { text: "the URL".to_owned(), why });
            }
            Err(why) => return Err(TargetFault::Syntax { text: text.to_owned(), why }),
        };
        let is_tls = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            // `oh.example:3000` has, for a reader of URLs, the scheme `oh.example`.
            other if other.contains('.') || other == "localhost" => {
                return Err(TargetFault::NoScheme(text.to_owned()));
            }
            other => return Err(TargetFault::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetFault::Credentials);
        }
        let host = match url.host().ok_or(TargetFault::NoHost)? {
            Host::Domain(name) => TargetHost::Name(name.to_owned()),
            Host::Ipv4(address) => TargetHost::Address(address.into()),
            Host::Ipv6(address) => TargetHost::Address(address.into()),
        };
        let port = url.port_or_known_default().ok_or(TargetFault::NoHost)?;
        let (path, query) = (url.path().to_owned(), url.query().map(str::to_owned));
        Ok(Self { is_tls, host, port, path, query })
    }

    /// Returns what the `Host` header says: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let own = if self.is_tls { 443 } else { 80 };
        if self.port == own {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the origin that a page of this server has.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }

    /// Returns the same server with another path, and without a query.
    pub fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), query: None, ..self.clone() }
    }
}

impl fmt::Display for Target {
    /// Without its query, in which keys travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        if self.path != "/" { f.write_str(&self.path) } else { Ok(()) }
    }
}

impl fmt::Display for TargetHost {
    /// As a URL has it: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_as_people_paste_them() {
        for (text, shown, authority, port) in [
            ("https://oh.example", "https://oh.example", "oh.example", 443),
            ("wss://oh.example:8443/", "https://oh.example:8443", "oh.example:8443", 8443),
            ("http://[::1]:3000/oh/?a=b#c", "http://[::1]:3000/oh/", "[::1]:3000", 3000),
            ("ws://127.0.0.1", "http://127.0.0.1", "127.0.0.1", 80),
            ("https://OH.Example:443", "https://oh.example", "oh.example", 443),
            (
                "https://bücher.example",
                "https://xn--bcher-kva.example",
                "xn--bcher-kva.example",
                443,
            ),
        ] {
            let target = Target::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!((target.to_string().as_str(), target.port), (shown, port));
            assert_eq!(target.authority(), authority);
        }
    }

    #[test]
    fn what_is_no_target_is_told() {
        for (text, said) in [
            (
                "oh.example",
                "\"oh.example\" has no scheme, expected a URL like https://oh.example or ws://127.0.0.1:3000",
            ),
            (
                "localhost:3000",
                "\"localhost:3000\" has no scheme, expected a URL like https://oh.example or ws://127.0.0.1:3000",
            ),
            ("ftp://a", "the scheme is \"ftp\", expected http, https, ws or wss"),
            ("http://a:b@c", "the URL has a name or a password in it, which others could read"),
            ("http://a:secret@c:x", "\"the URL\" is no URL: invalid port number"),
            ("http://a:99999", "\"http://a:99999\" is no URL: invalid port number"),
        ] {
            assert_eq!(
                Target::parse(text).map_err(|fault| fault.to_string()),
                Err(said.to_owned())
            );
        }
    }
}
