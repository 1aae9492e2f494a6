//! From a target to a stream of bytes: DNS, TCP, a proxy, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::dial::{self, Dialed, Route, Timed};
use crate::failure::Failure;
use crate::http1::Resets;
use crate::limits::Limits;
use crate::target::Target;
use crate::tls::{self, Trust};

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Way {
    /// Which server, and which path on it.
    pub target: Target,
    /// How a connection is made.
    pub route: Route,
    /// Whom to trust, where it is spoken to over TLS.
    pub trust: Option<Trust>,
    /// Whether a certificate that is not trusted keeps nothing from going on.
    pub takes_any_certificate: bool,
    /// What an answer may cost.
    pub limits: Limits,
}

/// The steps to a stream, each as far as it was reached.
#[derive(Debug)]
pub struct Reached {
    /// The addresses of the name, where it was asked for.
    pub dns: Option<Timed<Result<Vec<IpAddr>, Failure>>>,
    /// Each address that was tried, in order; the last is the one that is connected, if any is.
    pub tcp: Vec<(SocketAddr, Timed<Result<(), Failure>>)>,
    /// What the proxy said, where there is one.
    pub proxy: Option<Timed<Result<(), Failure>>>,
    /// The handshake of TLS, where it is spoken and there is a connection.
    pub tls: Option<Timed<Result<tls::Handshake, Failure>>>,
    /// The stream. There is none where a certificate is not trusted, unless any is to be taken: a key that was
    /// given for a server is not for whoever stands in its place.
    pub stream: Option<Stream>,
}

/// A stream of bytes to a server.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<tls::Stream>),
}

impl Way {
    /// Reaches the server, on a connection of its own.
    pub async fn reach(&self) -> Reached {
        let Dialed { dns, tcp, proxy, stream } =
            dial::dial(&self.target, &self.route, &self.limits).await;
        let mut reached = Reached { dns, tcp, proxy, tls: None, stream: None };
        match (stream, &self.trust) {
            (Some(stream), Some(trust)) if self.target.is_tls => {
                let shaken = tls::handshake(stream, &self.target.host, trust, &self.limits).await;
                let value = shaken.value.map(|(handshake, stream)| {
                    if handshake.verdict.is_ok() || self.takes_any_certificate {
                        reached.stream = Some(Stream::Tls(Box::new(stream)));
                    }
                    handshake
                });
                reached.tls = Some(Timed { took: shaken.took, value });
            }
            (Some(stream), _) if !self.target.is_tls => {
                reached.stream = Some(Stream::Plain(stream));
            }
            _ => {}
        }
        reached
    }
}

impl Resets for Stream {
    fn resets_when_dropped(&self, is_reset: bool) {
        match self {
            Self::Plain(stream) => stream.resets_when_dropped(is_reset),
            Self::Tls(stream) => stream.get_ref().0.resets_when_dropped(is_reset),
        }
    }
}

impl Reached {
    /// Returns why there is no stream; nothing where there was one.
    pub fn failure(&self) -> Option<Failure> {
        if let Some(Err(failure)) = self.dns.as_ref().map(|dns| &dns.value) {
            return Some(failure.clone());
        }
        if let Some((_, Timed { value: Err(failure), .. })) = self.tcp.last() {
            return Some(failure.clone());
        }
        if let Some(Err(failure)) = self.proxy.as_ref().map(|proxy| &proxy.value) {
            return Some(failure.clone());
        }
        match &self.tls.as_ref()?.value {
            Err(failure) => Some(failure.clone()),
            Ok(handshake) => {
                let distrust = handshake.verdict.as_ref().err()?;
                Some(Failure::Certificate(distrust.clone()))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
