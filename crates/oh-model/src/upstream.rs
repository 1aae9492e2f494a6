//! Where a program of a session listens, and what it wants to see of its address.

use core::fmt;

use crate::port::Port;

/// Where an editor listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// On a port of 127.0.0.1.
    Port(Port),
    /// On the socket whose path is made of its id.
    Socket,
}

impl Target {
    /// Returns the port, where it is one.
    pub const fn port(self) -> Option<Port> {
        match self {
            Self::Port(port) => Some(port),
            Self::Socket => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Socket => f.write_str("its socket"),
        }
    }
}

/// What becomes of the prefix of an address on the way to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upstream {
    /// It is stripped, and said in `X-Forwarded-Prefix`: right for code-server and for newer
    /// openvscode-server without a base path.
    #[default]
    StripPrefix,
    /// It is stripped and not said.
    Strip,
    /// It stays, every byte of the address as it came: for a program that was started with the
    /// prefix as its base path.
    BasePath,
}

impl Upstream {
    /// Every kind, under the name that files and configurations give it.
    pub const ALL: [Self; 3] = [Self::StripPrefix, Self::Strip, Self::BasePath];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StripPrefix => "strip+prefix",
            Self::Strip => "strip",
            Self::BasePath => "base-path",
        }
    }

    /// Finds it by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upstream| upstream.as_str() == name)
    }
}
