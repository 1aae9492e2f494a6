//! What an answer may cost: time and bytes.

use std::time::Duration;

/// The limits of one connection. Each step has its own deadline, so that none hangs, and a server that means
/// harm costs these bytes and this time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the addresses of a name.
    pub dns: Duration,
    /// For a connection to one address.
    pub tcp: Duration,
    /// For the handshake of TLS.
    pub tls: Duration,
    /// For a whole answer of HTTP, and for the answer to an upgrade.
    pub http: Duration,
    /// For each packet of Engine.IO and Socket.IO that is due at once.
    pub packet: Duration,
    /// The bytes of the head of an answer.
    pub head_bytes_max: usize,
    /// The bytes of the body of an answer that are read; the rest is left.
    pub body_bytes_max: usize,
    /// The bytes of one message of a WebSocket.
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dns: Duration::from_secs(5),
            tcp: Duration::from_secs(5),
            tls: Duration::from_secs(5),
            http: Duration::from_secs(10),
            packet: Duration::from_secs(5),
            head_bytes_max: 64 << 10,
            body_bytes_max: 1 << 20,
            message_bytes_max: 4 << 20,
        }
    }
}
