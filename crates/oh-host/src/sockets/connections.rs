//! Who is connected to a server of this machine, counted at the server's end.
//!
//! Over the loopback each connection is in the kernel's table twice, with either end as its own;
//! the server's end has the server's port. No connection that goes out has a port that somebody
//! listens on: the kernel passes those over when it chooses one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use oh_model::port::Port;

use super::{End, Listener, SocketFault, diag, listeners, of_tables, reached};

/// `TCP_ESTABLISHED` of the kernel's tcp_states.h, as the table writes it.
const ESTABLISHED: &str = "01";

/// The TCP connections of this network namespace at one moment.
#[derive(Debug, Clone)]
pub struct Connections {
    /// The ends that are on this machine.
    ends: Vec<End>,
    /// Those of a port of ours.
    by_port: BTreeMap<u16, Vec<usize>>,
    /// By both addresses, ours first; the same two may be in several places of the table.
    by_pair: BTreeMap<(Address, Address), Vec<usize>>,
    /// By their ports.
    listeners: BTreeMap<u16, Vec<Listener>>,
}

/// An address as it is compared: those of IPv4 are one, however they are written.
type Address = (IpAddr, u16);

fn canonical(end: SocketAddr) -> Address {
    (end.ip().to_canonical(), end.port())
}

/// Who has the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Where it is.
    pub address: SocketAddr,
    /// The inode of its socket and the user that made it, where that is on this machine.
    pub socket: Option<(u64, u32)>,
}

impl Connections {
    /// Asks the kernel once for all.
    ///
    /// # Errors
    /// [`SocketFault`].
    pub fn look() -> Result<Self, SocketFault> {
        let ends = match diag::established() {
            Ok(ends) => ends,
            Err(_) => of_tables(ESTABLISHED)?.into_iter().map(End::of).collect(),
        };
        Ok(Self::of(ends, listeners()?))
    }

    /// Looks each address up once: anybody may have thousands of connections.
    fn of(ends: Vec<End>, all: Vec<Listener>) -> Self {
        let mut by_port: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        let mut by_pair: BTreeMap<(Address, Address), Vec<usize>> = BTreeMap::new();
        for (at, end) in ends.iter().enumerate() {
            by_port.entry(end.address.port()).or_default().push(at);
            by_pair.entry((canonical(end.address), canonical(end.peer))).or_default().push(at);
        }
        let mut listeners: BTreeMap<u16, Vec<Listener>> = BTreeMap::new();
        for one in all {
            listeners.entry(one.address.port()).or_default().push(one);
        }
        Self { ends, by_port, by_pair, listeners }
    }

    /// Returns how many connections the server has whom 127.0.0.1 reaches on this port: those over
    /// the loopback, and all others too where it listens on every address.
    pub fn to_port(&self, port: Port) -> usize {
        self.ends_at(port).count()
    }

    /// Returns how many of those come from somebody else than the holders of these sockets.
    pub fn to_port_of_others(&self, port: Port, inodes: &BTreeSet<u64>) -> usize {
        let is_ours = |theirs: &End| self.others(theirs).any(|end| inodes.contains(&end.inode));
        self.ends_at(port).filter(|end| !is_ours(end)).count()
    }

    /// Returns who those are, each connection once, in order.
    pub fn clients_of_others(&self, port: Port, inodes: &BTreeSet<u64>) -> Vec<Client> {
        let client = |end: &End| {
            let mut others = self.others(end);
            let first = others.next();
            if first.into_iter().chain(others).any(|other| inodes.contains(&other.inode)) {
                return None;
            }
            Some(Client { address: end.peer, socket: first.map(|one| (one.inode, one.uid)) })
        };
        let mut clients: Vec<Client> = self.ends_at(port).filter_map(client).collect();
        clients.sort_unstable();
        clients
    }

    /// The other end of a connection, where it is on this machine.
    fn others(&self, end: &End) -> impl Iterator<Item = &End> {
        let pair = (canonical(end.peer), canonical(end.address));
        let found = self.by_pair.get(&pair).into_iter().flatten();
        found.filter_map(|at| self.ends.get(*at))
    }

    /// The server's ends of the connections to a port.
    fn ends_at(&self, port: Port) -> impl Iterator<Item = &End> {
        let asked: Vec<&Listener> = self.listeners.get(&port.get()).into_iter().flatten().collect();
        let reached = reached(&asked);
        let everywhere = reached.iter().any(|one| one.address.ip().to_canonical().is_unspecified());
        let is_served = !reached.is_empty();
        let of_port = self.by_port.get(&port.get()).into_iter().flatten();
        of_port.filter_map(|at| self.ends.get(*at)).filter(move |end| {
            let is_loopback = end.address.ip().to_canonical().is_loopback();
            is_served && (everywhere || is_loopback)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_counts_once_and_at_the_servers_end() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let server = TcpListener::bind(address).unwrap();
            let port = Port::new(server.local_addr().unwrap().port().into()).unwrap();
            assert_eq!(Connections::look().unwrap().to_port(port), 0, "{address}");
            let clients: Vec<TcpStream> =
                (0..3).map(|_| TcpStream::connect(("127.0.0.1", port.get())).unwrap()).collect();
            let accepted: Vec<_> = (0..3).map(|_| server.accept().unwrap()).collect();
            assert_eq!(Connections::look().unwrap().to_port(port), 3, "{address}");
            let of_a_client = clients[0].local_addr().unwrap().port();
            let of_a_client = Port::new(of_a_client.into()).unwrap();
            assert_eq!(Connections::look().unwrap().to_port(of_a_client), 0, "{address}");
            // The server need not have noticed yet.
            drop(clients);
            assert_eq!(Connections::look().unwrap().to_port(port), 0, "{address}");
            drop(accepted);
        }
    }

    #[test]
    fn who_is_reached_from_elsewhere_is_another_server() {
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listener =
            |text: &str| Listener { address: end(text), inode: 1, uid: 0, only_ipv6: false };
        let ends = [
            end("127.0.0.1:80"),
            end("[::ffff:127.0.0.1]:80"),
            end("192.0.2.1:80"),
            end("127.0.0.1:81"),
        ];
        let count = |listeners: &[&str]| {
            let listeners = listeners.iter().map(|text| listener(text)).collect();
            let end = |end: &SocketAddr| End { address: *end, peer: *end, inode: 0, uid: 0 };
            let ends = ends.iter().map(end).collect();
            Connections::of(ends, listeners).to_port(Port::new(80).unwrap())
        };
        assert_eq!(count(&["127.0.0.1:80", "192.0.2.1:80"]), 2);
        assert_eq!(count(&["127.0.0.1:80", "0.0.0.0:80"]), 2);
        assert_eq!(count(&["0.0.0.0:80"]), 3);
        assert_eq!(count(&["[::]:80"]), 3);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn the_kernels_table_says_the_same_as_its_answer() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let _accepted = server.accept().unwrap();
        let of_it = |all: Vec<End>| -> Vec<End> {
            all.into_iter().filter(|one| one.address == address).collect()
        };
        let told = of_it(diag::established().unwrap());
        assert_eq!(told.len(), 1);
        let tables = of_tables(ESTABLISHED).unwrap().into_iter().map(End::of).collect();
        assert_eq!(of_it(tables), told);
    }

    #[test]
    fn who_holds_both_ends_is_no_client() {
        let server = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = Port::new(server.local_addr().unwrap().port().into()).unwrap();
        let clients = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", port.get())).unwrap());
        let accepted = [(); 2].map(|()| server.accept().unwrap());
        let inode = |socket: &TcpStream| rustix::fs::fstat(socket).unwrap().st_ino;
        let others = |own: &[u64]| {
            let own = own.iter().copied().collect();
            Connections::look().unwrap().to_port_of_others(port, &own)
        };
        assert_eq!(others(&[]), 2);
        assert_eq!(others(&[inode(&clients[0])]), 1);
        assert_eq!(others(&clients.each_ref().map(inode)), 0);
        // The end of the server itself is nobody's who asks.
        assert_eq!(others(&accepted.each_ref().map(|(end, _)| inode(end))), 2);
        // Who they are is told with their users.
        let own = rustix::process::geteuid().as_raw();
        let mut expected: Vec<Client> = clients
            .iter()
            .map(|one| Client {
                address: one.local_addr().unwrap(),
                socket: Some((inode(one), own)),
            })
            .collect();
        expected.sort_unstable();
        let told = Connections::look().unwrap();
        assert_eq!(told.clients_of_others(port, &BTreeSet::new()), expected);
        expected.retain(|one| one.socket != Some((inode(&clients[0]), own)));
        let told = told.clients_of_others(port, &[inode(&clients[0])].into());
        assert_eq!(told, expected);
    }

    #[test]
    fn of_many_connections_to_many_ports_each_is_looked_up_by_its_addresses() {
        const PORTS: u16 = 50;
        const EACH: u16 = 100;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (mut ends, mut all, mut own) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut inode = 0;
        for port in 0..PORTS {
            all.push(Listener { address: at(1000 + port), inode: 0, uid: 0, only_ipv6: false });
            for number in 0..EACH {
                let (server, client) = (at(1000 + port), at(20_000 + PORTS * number + port));
                inode += 2;
                ends.push(End { address: server, peer: client, inode, uid: 0 });
                ends.push(End { address: client, peer: server, inode: inode + 1, uid: 0 });
                // Of each port the first clients are our own.
                if number < port {
                    own.insert(inode + 1);
                }
            }
        }
        let told = Connections::of(ends, all);
        for number in 0..PORTS {
            let port = Port::new((1000 + number).into()).unwrap();
            assert_eq!(told.to_port(port), usize::from(EACH));
            assert_eq!(told.to_port_of_others(port, &own), usize::from(EACH - number));
            assert_eq!(told.ends_at(port).count(), usize::from(EACH));
        }
        // Nothing but those of the port, and of each its one other end, is looked at.
        assert!(told.ends.iter().all(|end| told.others(end).count() == 1));
        assert!(told.by_port.iter().all(|(port, ends)| {
            ends.len() == if *port < 20_000 { usize::from(EACH) } else { 1 }
        }));
    }
}
