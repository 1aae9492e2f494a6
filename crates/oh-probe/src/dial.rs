//! From a name to a connection: DNS and TCP, or a proxy that does both.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::http1::{self, Request};
use crate::limits::Limits;
use crate::target::{Target, TargetHost};

/// What a step took, and what came of it.
#[derive(Debug, Clone)]
pub struct Timed<T> {
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub value: T,
}

/// An address that is used for a name and a port instead of what DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The name, in any case.
    pub name: String,
    /// The port.
    pub port: u16,
    /// Where a connection to both goes.
    pub address: SocketAddr,
}

/// How a connection is made.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Addresses that are used instead of what DNS says; the first that fits counts.
    pub overrides: Vec<Override>,
    /// An HTTP proxy that is asked to `CONNECT`; it resolves the name itself.
    pub proxy: Option<Target>,
}

/// The steps of a connection.
#[derive(Debug)]
pub struct Dialed {
    /// The addresses of the name; `None` where it is an address, was overridden, or is left to a proxy.
    pub dns: Option<Timed<Result<Vec<IpAddr>, Failure>>>,
    /// Each address that was tried, in order; the last is the one that is connected, if any is.
    pub tcp: Vec<(SocketAddr, Timed<Result<(), Failure>>)>,
    /// What the proxy said, where there is one.
    pub proxy: Option<Timed<Result<(), Failure>>>,
    /// The connection.
    pub stream: Option<TcpStream>,
}

/// Connects to a server. The addresses are tried one after the other, in the order of the system, each with
/// its own deadline: which of them fails is a finding that a race between them would hide.
pub async fn dial(target: &Target, route: &Route, limits: &Limits) -> Dialed {
    let mut dialed = Dialed { dns: None, tcp: Vec::new(), proxy: None, stream: None };
    let towards = route.proxy.as_ref().unwrap_or(target);
    let addresses = match addresses_of(towards, route, limits, &mut dialed).await {
        Some(addresses) => addresses,
        None => return dialed,
    };
    for address in addresses {
        let (tcp, stream) = connect(address, limits).await;
        dialed.tcp.push((address, tcp));
        if stream.is_some() {
            dialed.stream = stream;
            break;
        }
    }
    if route.proxy.is_some()
        && let Some(stream) = dialed.stream.take()
    {
        let began = Instant::now();
        let (value, stream) = match through_proxy(stream, target, limits).await {
            Ok(stream) => (Ok(()), Some(stream)),
            Err(failure) => (Err(failure), None),
        };
        dialed.proxy = Some(Timed { took: began.elapsed(), value });
        dialed.stream = stream;
    }
    dialed
}

async fn addresses_of(
    target: &Target,
    route: &Route,
    limits: &Limits,
    dialed: &mut Dialed,
) -> Option<Vec<SocketAddr>> {
    let name = match &target.host {
        TargetHost::Address(address) => return Some(vec![SocketAddr::new(*address, target.port)]),
        TargetHost::Name(name) => name,
    };
    let overridden = route
        .overrides
        .iter()
        .find(|entry| entry.port == target.port && entry.name.eq_ignore_ascii_case(name));
    if let Some(entry) = overridden {
        return Some(vec![entry.address]);
    }
    let began = Instant::now();
    let found = match timeout(limits.dns, lookup_host((name.as_str(), target.port))).await {
        Err(_) => Err(Failure::Silent(limits.dns)),
        Ok(Err(fault)) => Err(Failure::NoAddress(reason_of(&fault))),
        Ok(Ok(addresses)) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.dedup();
            if addresses.is_empty() {
                Err(Failure::NoAddress("it has none".to_owned()))
            } else {
                Ok(addresses)
            }
        }
    };
    let value = found.as_ref().map(|all| all.iter().map(SocketAddr::ip).collect());
    let value = value.map_err(Failure::clone);
    dialed.dns = Some(Timed { took: began.elapsed(), value });
    found.ok()
}

/// The standard library says of every name that its lookup failed, and then why.
fn reason_of(fault: &io::Error) -> String {
    let said = fault.to_string();
    said.rsplit_once("information: ").map_or(said.clone(), |(_, why)| why.to_owned())
}

async fn connect(
    address: SocketAddr,
    limits: &Limits,
) -> (Timed<Result<(), Failure>>, Option<TcpStream>) {
    let began = Instant::now();
    let (value, stream) = match timeout(limits.tcp, TcpStream::connect(address)).await {
        Err(_) => (Err(Failure::Silent(limits.tcp)), None),
        Ok(Err(fault)) => (Err(Failure::of_io(&fault, 0)), None),
        Ok(Ok(stream)) => match stream.set_nodelay(true) {
            Ok(()) => (Ok(()), Some(stream)),
            Err(fault) => (Err(Failure::of_io(&fault, 0)), None),
        },
    };
    (Timed { took: began.elapsed(), value }, stream)
}

/// Asks an HTTP proxy for a connection (RFC 9110, section 9.3.6).
async fn through_proxy(
    mut stream: TcpStream,
    target: &Target,
    limits: &Limits,
) -> Result<TcpStream, Failure> {
    let authority = format!("{}:{}", target.host, target.port);
    let request = Request { method: "CONNECT", ..Request::get(&authority, &authority) };
    let answer = http1::exchange(&mut stream, &request, limits).await?;
    match (answer.status, answer.rest.is_empty()) {
        (200..300, true) => Ok(stream),
        (200..300, false) => Err(Failure::Proxy("it sent more than its answer".to_owned())),
        (status, _) => Err(Failure::Proxy(format!("it answers {status}"))),
    }
}
