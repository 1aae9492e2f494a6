//! Why a step had no answer.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use crate::tls::Distrust;

/// How many of the first bytes are kept of what is no HTTP.
pub const FIRST_BYTES_MAX: usize = 64;

/// Says why a step had no answer. What was answered, and is not as it has to be, is no failure: it is an
/// answer to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// A host or a network on the way cannot be reached, or a firewall says so.
    #[error("{0}")]
    Unreachable(String),
    /// There was no answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection was reset.
    #[error("connection reset after {bytes} bytes")]
    Reset {
        /// How much of the answer had come.
        bytes: usize,
    },
    /// The connection was ended before the answer was whole.
    #[error("connection closed after {bytes} bytes")]
    Closed {
        /// How much of the answer had come.
        bytes: usize,
    },
    /// What came is no HTTP/1.1.
    #[error("what came is no HTTP/1.1: {}", shown_bytes(.first))]
    NotHttp {
        /// The first bytes of it.
        first: Vec<u8>,
    },
    /// The answer has more than is taken.
    #[error("the {what} of the answer has more than {max} bytes")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How many bytes are taken.
        max: usize,
    },
    /// This process, or this machine, may open no more files and connections.
    #[error("this machine lets us open no further connection: {0}")]
    NoDescriptors(String),
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    NoAddress(String),
    /// The proxy does not pass the connection on.
    #[error("the proxy does not connect: {0}")]
    Proxy(String),
    /// The handshake of TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server showed a certificate that is none for TLS, and the handshake ended over it.
    #[error("certificate: {0}")]
    Certificate(Distrust),
    /// Something else that the system said.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Judges what the system said of a connection of which so many bytes had come.
    pub fn of_io(fault: &io::Error, bytes: usize) -> Self {
        let exhausted = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        if fault.raw_os_error().is_some_and(|code| exhausted.contains(&code)) {
            return Self::NoDescriptors(fault.to_string());
        }
        match fault.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset { bytes },
            io::ErrorKind::UnexpectedEof => Self::Closed { bytes },
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable(fault.to_string()),
            _ => Self::Other(fault.to_string()),
        }
    }
}

/// Shows bytes as a person can compare them: as text where they are, in hexadecimal where not.
fn shown_bytes(bytes: &[u8]) -> String {
    if bytes.is_ascii() && !bytes.contains(&0) {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let hexadecimal: Vec<_> = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    hexadecimal.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_http_is_shown() {
        let of = |first: &[u8]| Failure::NotHttp { first: first.to_vec() }.to_string();
        assert_eq!(of(b"SSH-2.0\r\n"), r#"what came is no HTTP/1.1: "SSH-2.0\r\n""#);
        assert_eq!(of(&[0, 0, 0x12, 4]), "what came is no HTTP/1.1: 00 00 12 04");
    }
}
