//! Who listens: the kernel's table of TCP sockets, and who holds them.
//!
//! A port answers whoever asks, so an answer proves nothing about whose it is. A listener is ours
//! by the inode of its socket, which stands in the kernel's table and among the open files of the
//! process that holds it. Looks at the network namespace of this process; sockets of another
//! (a container's) are not seen.

mod connections;
mod diag;
mod unix;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use oh_model::listening::Listening;
use oh_model::port::Port;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use thiserror::Error;

use crate::parallel;
use crate::process::{self, Pid, ProcessDir, ProcessFault};

pub use connections::{Client, Connections};
pub use unix::{SocketFile, UnixSocket, UnixSockets};

/// The tables of IPv4 and IPv6; proc(5) has their format.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// `TCP_LISTEN` of the kernel's tcp_states.h, as the table writes it.
const LISTEN: &str = "0A";

/// Says why the sockets are not known.
#[derive(Debug, Error)]
pub enum SocketFault {
    /// A table of the kernel cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The table.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A table of the kernel is not what proc(5) says.
    #[error("cannot understand line {line} of {path}")]
    Parse {
        /// The table.
        path: &'static str,
        /// The line, from 1.
        line: usize,
    },
    /// A table of the kernel has lines that are no sockets: names of sockets may have line breaks.
    #[error("cannot believe {path}: it has other lines than there are sockets")]
    Forged {
        /// The table.
        path: &'static str,
    },
    /// A process cannot be looked at, so whose the port is cannot be told.
    #[error("cannot tell who holds port {port}")]
    Process {
        /// The port in question.
        port: Port,
        /// Why.
        source: ProcessFault,
    },
    /// A port cannot be tried.
    #[error("cannot try {address}")]
    Try {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that waits for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Where it listens; an unspecified address is all of them.
    pub address: SocketAddr,
    /// The inode of the socket.
    pub inode: u64,
    /// The user that made the socket.
    pub uid: u32,
    /// Whether it is for IPv6 alone; false where the kernel's table does not tell.
    pub only_ipv6: bool,
}

/// Returns every listening TCP socket, sorted by address.
///
/// # Errors
/// [`SocketFault`]; a kernel without IPv6 has none of it.
pub fn listeners() -> Result<Vec<Listener>, SocketFault> {
    // A kernel built without it, or a sandbox that forbids it: the tables say the same.
    let mut found = match diag::listeners() {
        Ok(found) => found,
        Err(_) => of_tables(LISTEN)?.into_iter().map(|(listener, _)| listener).collect(),
    };
    found.sort_unstable();
    Ok(found)
}

/// One end of a connection, the one that is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    address: SocketAddr,
    peer: SocketAddr,
    inode: u64,
    uid: u32,
}

impl End {
    fn of((socket, peer): (Listener, SocketAddr)) -> Self {
        Self { address: socket.address, peer, inode: socket.inode, uid: socket.uid }
    }
}

/// Returns the sockets in one state, each with the address of its other end.
fn of_tables(state: &str) -> Result<Vec<(Listener, SocketAddr)>, SocketFault> {
    let mut found = Vec::new();
    for path in TABLES {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound && path.ends_with('6') => {
                continue;
            }
            Err(source) => return Err(SocketFault::Read { path, source }),
        };
        let mut listening =
            parse(&text, state).map_err(|line| SocketFault::Parse { path, line })?;
        found.append(&mut listening);
    }
    Ok(found)
}

/// Says whether who asks for this port on the loopback gets one of these processes, and nobody
/// else: there is a listener, and each one that may be reached there is held by one of them.
///
/// # Errors
/// [`SocketFault::Process`] where a process cannot be looked at; one that is gone holds nothing.
pub fn is_listener_of(port: Port, processes: &[ProcessDir]) -> Result<bool, SocketFault> {
    Ok(holding(port, processes)? == Holding::These)
}

/// Who answers on a port of the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Nobody listens there.
    Nobody,
    /// The processes in question, and nobody else.
    These,
    /// Somebody else, alone or beside them.
    Others {
        /// The user that made the first of the sockets.
        uid: u32,
    },
}

/// Returns those of one port's listeners that a connection to 127.0.0.1 may reach: the most
/// specific ones, as the kernel chooses. That is the very address, then 0.0.0.0, then `::` where it
/// is for IPv4 too. Others of the loopback (127.0.0.2, ::1) are reached by nobody who asks
/// 127.0.0.1, and so prove nothing about it.
fn reached<'l>(of_port: &[&'l Listener]) -> Vec<&'l Listener> {
    let on = |wanted: fn(&Listener) -> bool| -> Vec<&'l Listener> {
        of_port.iter().copied().filter(|listener| wanted(listener)).collect()
    };
    let exact = |one: &Listener| one.address.ip().to_canonical() == Ipv4Addr::LOCALHOST;
    let any = |one: &Listener| one.address.ip() == Ipv4Addr::UNSPECIFIED;
    let dual = |one: &Listener| {
        one.address.is_ipv6() && one.address.ip().to_canonical().is_unspecified() && !one.only_ipv6
    };
    [on(exact), on(any), on(dual)].into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
}

/// Returns, for each port, the users whose sockets a connection to 127.0.0.1 would reach.
pub fn listening() -> Listening {
    match listeners() {
        Ok(listeners) => reached_by_port(&listeners),
        Err(fault) => Listening::Unknown(fault.to_string()),
    }
}

fn reached_by_port(listeners: &[Listener]) -> Listening {
    let mut ports: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
    for listener in listeners {
        ports.entry(listener.address.port()).or_default().push(listener);
    }
    Listening::of(ports.into_iter().flat_map(|(port, of_port)| {
        let port = Port::new(port.into());
        reached(&of_port).into_iter().filter_map(move |one| Some((port?, one.uid)))
    }))
}

/// Says who listens on this port of the loopback: these processes, or somebody else.
///
/// # Errors
/// [`SocketFault::Process`] where a process cannot be looked at; one that is gone holds nothing.
pub fn holding(port: Port, processes: &[ProcessDir]) -> Result<Holding, SocketFault> {
    let listeners = listeners()?;
    let of_port = |listener: &&Listener| listener.address.port() == port.get();
    let asked = reached(&listeners.iter().filter(of_port).collect::<Vec<_>>());
    let Some(first) = asked.first() else { return Ok(Holding::Nobody) };
    let wanted: BTreeSet<u64> = asked.iter().map(|listener| listener.inode).collect();
    let mut held = BTreeSet::new();
    for process in processes {
        match process.socket_inodes() {
            Ok(inodes) => held.extend(inodes),
            Err(fault) if fault.is_gone() => {}
            Err(source) => return Err(SocketFault::Process { port, source }),
        }
        if wanted.is_subset(&held) {
            return Ok(Holding::These);
        }
    }
    let uid = asked.iter().find(|listener| !held.contains(&listener.inode)).unwrap_or(first).uid;
    Ok(Holding::Others { uid })
}

/// Returns a process that listens on this port of the loopback and is none of these, the one with
/// the lowest number; `None` where that cannot be told.
pub fn holder(port: Port, but: &[ProcessDir]) -> Option<ProcessDir> {
    let listeners = listeners().ok()?;
    let of_port = |listener: &&Listener| listener.address.port() == port.get();
    let asked = reached(&listeners.iter().filter(of_port).collect::<Vec<_>>());
    let mut wanted: BTreeSet<u64> = asked.iter().map(|listener| listener.inode).collect();
    for inode in but.iter().filter_map(|process| process.socket_inodes().ok()).flatten() {
        wanted.remove(&inode);
    }
    let opened = process::pids().ok()?.into_iter().filter_map(|pid| ProcessDir::open(pid).ok());
    opened
        .into_iter()
        .find(|process| process.socket_inodes().is_ok_and(|inodes| !inodes.is_disjoint(&wanted)))
}

/// Returns which process holds each of these sockets, the one with the lowest number, by one look at
/// all; what cannot be told is not among them.
pub fn holders(sockets: &BTreeSet<u64>) -> BTreeMap<u64, Pid> {
    let mut holders = BTreeMap::new();
    if sockets.is_empty() {
        return holders;
    }
    let pids = process::pids().unwrap_or_default();
    let held = parallel::map(&pids, |pid| {
        let held = ProcessDir::open(*pid).and_then(|process| process.socket_inodes());
        let held = held.unwrap_or_default();
        held.intersection(sockets).copied().collect::<Vec<u64>>()
    });
    for (pid, held) in pids.into_iter().zip(held) {
        for inode in held {
            holders.entry(inode).or_insert(pid);
        }
    }
    holders
}

/// What a try to take a port says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindProbe {
    /// It can be taken.
    Free,
    /// Only the rests of closed connections are in the way (for up to 60 s): a program that sets
    /// `SO_REUSEADDR`, as Node and nginx do, can take it now.
    Lingering,
    /// Somebody has it.
    Taken,
}

/// Tries to take a port, and lets go of it at once.
///
/// The first try is made without `SO_REUSEADDR`, so that a socket which is bound and does not
/// listen yet is seen too. The answer is of the past when it arrives: take a lease first.
///
/// # Errors
/// [`SocketFault::Try`] where the address is not this machine's or the port is not permitted.
pub fn bind_probe(address: IpAddr, port: Port) -> Result<BindProbe, SocketFault> {
    let address = SocketAddr::new(address, port.get());
    let fault = |errno: Errno| SocketFault::Try { address, source: errno.into() };
    if try_bind(address, false).map_err(fault)? {
        Ok(BindProbe::Free)
    } else if try_bind(address, true).map_err(fault)? {
        Ok(BindProbe::Lingering)
    } else {
        Ok(BindProbe::Taken)
    }
}

/// Says whether the port can be taken on this address, with nothing in the way.
///
/// # Errors
/// [`SocketFault::Try`].
pub fn bindable(address: IpAddr, port: Port) -> Result<bool, SocketFault> {
    Ok(bind_probe(address, port)? == BindProbe::Free)
}

/// Tries a port on 127.0.0.1, 0.0.0.0, ::1 and ::, and returns the worst answer; without the
/// addresses of IPv6 where the machine has none.
///
/// # Errors
/// [`SocketFault::Try`].
pub fn bind_probe_everywhere(port: Port) -> Result<BindProbe, SocketFault> {
    let addresses: [IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let mut worst = BindProbe::Free;
    for address in addresses {
        let answer = match bind_probe(address, port) {
            Err(SocketFault::Try { source, .. }) if address.is_ipv6() && is_absent(&source) => {
                continue;
            }
            answer => answer?,
        };
        worst = match (worst, answer) {
            (BindProbe::Taken, _) | (_, BindProbe::Taken) => return Ok(BindProbe::Taken),
            (BindProbe::Lingering, _) | (_, BindProbe::Lingering) => BindProbe::Lingering,
            (BindProbe::Free, BindProbe::Free) => BindProbe::Free,
        };
    }
    Ok(worst)
}

fn is_absent(fault: &io::Error) -> bool {
    matches!(Errno::from_io_error(fault), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Listens for a moment, but never accepts: without it two sockets with `SO_REUSEADDR` may both
/// bind.
fn try_bind(address: SocketAddr, reuse: bool) -> Result<bool, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    if address.is_ipv6() {
        // `::` alone, or a free port would look taken because 0.0.0.0 has it.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    let tried = rustix::net::bind(&socket, &address)
        .and_then(|()| if reuse { rustix::net::listen(&socket, 1) } else { Ok(()) });
    match tried {
        Ok(()) => Ok(true),
        Err(Errno::ADDRINUSE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Reads the sockets of a table that are in this state; the fault is the number of the line.
fn parse(text: &str, wanted: &str) -> Result<Vec<(Listener, SocketAddr)>, usize> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, peer, state) = (fields.next(), fields.next(), fields.next());
        if state != Some(wanted) {
            continue;
        }
        // tx:rx, tr:when and retrnsmt stand between the state and the uid; the timeout follows.
        let (uid, inode) = (fields.nth(3), fields.nth(1));
        let listener = || {
            let listener = Listener {
                address: socket_address(local?)?,
                inode: inode?.parse().ok()?,
                uid: uid?.parse().ok()?,
                only_ipv6: false,
            };
            Some((listener, socket_address(peer?)?))
        };
        found.push(listener().ok_or(at + 1)?);
    }
    Ok(found)
}

/// Reads `0100007F:1F90`: words of the address in the machine's byte order, then the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|at| {
            let word = address.get(8 * at..8 * at + 8)?;
            Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
        })
        .collect();
    let bytes = words?.concat();
    let ip: IpAddr = match address.len() {
        8 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        32 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn socket(address: &str, uid: u32) -> Listener {
        Listener { address: address.parse().unwrap(), inode: u64::from(uid), uid, only_ipv6: false }
    }

    #[test]
    fn strangers_beside_127_0_0_1_are_not_asked() {
        let only_ipv6 = |address, uid| Listener { only_ipv6: true, ..socket(address, uid) };
        let all = [
            socket("127.0.0.1:80", 1),
            socket("[::ffff:127.0.0.1]:80", 2),
            socket("0.0.0.0:80", 3),
            socket("[::]:80", 4),
            only_ipv6("[::]:80", 5),
            socket("127.0.0.2:80", 6),
            socket("[::1]:80", 7),
        ];
        let uids = |from: usize| -> Vec<u32> {
            let of_port: Vec<&Listener> = all[from..].iter().collect();
            reached(&of_port).iter().map(|one| one.uid).collect()
        };
        assert_eq!(uids(0), [1, 2]);
        assert_eq!(uids(2), [3]);
        assert_eq!(uids(3), [4]);
        assert!(uids(4).is_empty());
    }

    #[test]
    fn each_port_has_its_own_listeners() {
        let all = [socket("127.0.0.1:80", 1), socket("0.0.0.0:81", 2), socket("[::1]:82", 3)];
        let port = |number| Port::new(number).unwrap();
        let expected = Listening::of([(port(80), 1), (port(81), 2)]);
        assert_eq!(reached_by_port(&all), expected);
    }

    #[test]
    fn the_kernel_says_which_sockets_are_for_ipv6_alone() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let of = |all: Vec<Listener>| all.into_iter().find(|one| one.address == address);
        let found = of(diag::listeners().unwrap()).unwrap();
        let alone = sockopt::ipv6_v6only(&listener).unwrap();
        assert_eq!(found.only_ipv6, alone);
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
        sockopt::set_ipv6_v6only(&socket, true).unwrap();
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        rustix::net::bind(&socket, &any).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let bound = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        let all = diag::listeners().unwrap();
        assert!(all.iter().any(|one| one.address == bound && one.only_ipv6));
    }
    fn listener(address: &str) -> (TcpListener, Port) {
        let listener = TcpListener::bind(address).unwrap();
        let port = Port::new(listener.local_addr().unwrap().port().into()).unwrap();
        (listener, port)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 00\n\
            \x20  1: 0100007F:22B8 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 00\n\
            \x20  2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0  0  0 7 1\n";
        let found = parse(text, LISTEN).unwrap();
        assert!(found.iter().all(|(_, peer)| peer.port() == 0));
        let listeners: Vec<Listener> = found.into_iter().map(|(listener, _)| listener).collect();
        assert_eq!(
            listeners,
            [
                Listener { inode: 12345, ..socket("127.0.0.1:8888", 1000) },
                Listener { inode: 7, ..socket("[::1]:22", 0) },
            ]
        );
        assert_eq!(parse("head\n 0: xyz 0:0 0A 0:0 0:0 0 0 0 1", LISTEN), Err(2));
    }

    #[test]
    fn a_listener_is_ours_by_its_socket() {
        let (listener, port) = listener("127.0.0.1:0");
        let found = listeners().unwrap();
        let entry = found.iter().find(|entry| entry.address.port() == port.get()).unwrap();
        assert_eq!(entry.uid, rustix::process::geteuid().as_raw());
        let own = [ProcessDir::open(Pid::own()).unwrap()];
        assert!(is_listener_of(port, &own).unwrap());
        assert!(!is_listener_of(port, &[]).unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let stranger = [ProcessDir::open(Pid::new(child.id()).unwrap()).unwrap()];
        assert!(!is_listener_of(port, &stranger).unwrap());
        assert_eq!(holder(port, &stranger).map(|process| process.pid()), Some(Pid::own()));
        assert!(holder(port, &own).is_none());
        drop(listener);
        assert!(!is_listener_of(port, &own).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_holders_of_sockets_are_found_by_one_look() {
        let all = [listener("127.0.0.1:0").0, listener("127.0.0.1:0").0];
        let of = |one: &TcpListener| {
            let address = one.local_addr().unwrap();
            listeners().unwrap().into_iter().find(|one| one.address == address).unwrap().inode
        };
        let inodes: BTreeSet<u64> = all.iter().map(of).collect();
        assert_eq!(inodes.len(), 2);
        let expected = inodes.iter().map(|inode| (*inode, Pid::own())).collect();
        let asked = inodes.iter().copied().chain([u64::MAX]).collect();
        assert_eq!(holders(&asked), expected);
    }

    #[test]
    fn a_port_is_tried() {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let (listener, port) = listener(address);
            assert_eq!(bind_probe(local, port).unwrap(), BindProbe::Taken);
            assert_eq!(bind_probe_everywhere(port).unwrap(), BindProbe::Taken);
            drop(listener);
            assert!(bindable(local, port).unwrap());
            assert_eq!(bind_probe_everywhere(port).unwrap(), BindProbe::Free);
        }
        let foreign = bind_probe(IpAddr::from([192, 0, 2, 1]), Port::new(8888).unwrap());
        assert!(matches!(foreign, Err(SocketFault::Try { .. })));
    }

    #[test]
    fn a_socket_that_is_bound_and_does_not_listen_takes_the_port() {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        rustix::net::bind(&socket, &any).unwrap();
        let bound = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        let port = Port::new(bound.port().into()).unwrap();
        assert!(!bindable(bound.ip(), port).unwrap());
    }

    #[test]
    fn rests_of_closed_connections_are_told_apart() {
        let (listener, port) = listener("127.0.0.1:0");
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        // The side that closes first keeps the port in TIME-WAIT.
        drop(server);
        client.read_to_end(&mut Vec::new()).unwrap();
        drop(client);
        drop(listener);
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(bind_probe(local, port).unwrap(), BindProbe::Lingering);
    }
}
