//! Who is connected to a server of this machine, counted at the server's end.
//!
//! Over the loopback each connection is in the kernel's table twice, with either end as its own;
//! the server's end has the server's port. No connection that goes out has a port that somebody
//! listens on: the kernel passes those over when it chooses one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use oh_model::path::RealPath;
use oh_model::port::Port;

use super::{End, Listener, SocketFault, diag, listeners, of_tables, reached};

/// `TCP_ESTABLISHED` of the kernel's tcp_states.h, as the table writes it.
const ESTABLISHED: &str = "01";
/// The kernel's table of unix sockets; unix(7) has its format.
const UNIX_TABLE: &str = "/proc/net/unix";
/// `SS_CONNECTING` (not accepted yet) and `SS_CONNECTED` of the kernel's net.h, as the table
/// writes them.
const CONNECTED: [&str; 2] = ["02", "03"];

/// The TCP connections of this network namespace at one moment.
#[derive(Debug, Clone)]
pub struct Connections {
    /// The ends that are on this machine.
    ends: Vec<End>,
    listeners: Vec<Listener>,
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
        Ok(Self { ends, listeners: listeners()? })
    }

    /// Returns how many connections the server has whom 127.0.0.1 reaches on this port: those over
    /// the loopback, and all others too where it listens on every address.
    pub fn to_port(&self, port: Port) -> usize {
        self.ends_at(port).count()
    }

    /// Returns how many of those come from somebody else than the holders of these sockets.
    pub fn to_port_of_others(&self, port: Port, inodes: &BTreeSet<u64>) -> usize {
        let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
        let is_ours = |theirs: &End| {
            self.ends.iter().any(|end| {
                inodes.contains(&end.inode)
                    && canonical(end.address) == canonical(theirs.peer)
                    && canonical(end.peer) == canonical(theirs.address)
            })
        };
        self.ends_at(port).filter(|end| !is_ours(end)).count()
    }

    /// The server's ends of the connections to a port.
    fn ends_at(&self, port: Port) -> impl Iterator<Item = &End> {
        let of_port = |listener: &&Listener| listener.address.port() == port.get();
        let asked: Vec<&Listener> = self.listeners.iter().filter(of_port).collect();
        let reached = reached(&asked);
        let everywhere = reached.iter().any(|one| one.address.ip().to_canonical().is_unspecified());
        let is_served = !reached.is_empty();
        self.ends.iter().filter(move |end| {
            let is_loopback = end.address.ip().to_canonical().is_loopback();
            is_served && end.address.port() == port.get() && (everywhere || is_loopback)
        })
    }
}

/// The connections to unix sockets of this network namespace at one moment.
#[derive(Debug, Clone)]
pub struct SocketConnections(BTreeMap<String, usize>);

impl SocketConnections {
    /// Reads the kernel's table once for all.
    ///
    /// # Errors
    /// [`SocketFault::Read`].
    pub fn look() -> Result<Self, SocketFault> {
        // A path may have any bytes; one that is no text is none of ours.
        let bytes = std::fs::read(UNIX_TABLE)
            .map_err(|source: io::Error| SocketFault::Read { path: UNIX_TABLE, source })?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Returns how many connections the server has that listens on this path.
    pub fn to_path(&self, path: &RealPath) -> usize {
        self.0.get(path.as_str()).copied().unwrap_or_default()
    }

    /// A path may also have line breaks; a line that is only a part of one counts for nothing.
    fn parse(text: &str) -> Self {
        let mut counts = BTreeMap::new();
        for line in text.lines().skip(1) {
            // Number, references, protocol, flags, type, state, inode; the accepted end has the
            // path of its listener, and the other one has none.
            let mut fields = line.splitn(7, ' ');
            let (state, rest) = (fields.nth(5), fields.next().unwrap_or_default());
            let Some((_, path)) = rest.trim_start().split_once(' ') else { continue };
            if state.is_some_and(|state| CONNECTED.contains(&state)) && path.starts_with('/') {
                *counts.entry(path.to_owned()).or_default() += 1;
            }
        }
        Self(counts)
    }
}

/// What the kernel's table says of a socket that waits for connections (`__SO_ACCEPTCON` of the
/// kernel's net.h).
const ACCEPTS: &[u8] = b"00010000";

/// Returns the paths of the unix sockets of this network namespace that wait for connections, as they
/// were bound: a file may have been moved or removed since.
///
/// # Errors
/// [`SocketFault::Read`].
pub fn listening_paths() -> Result<BTreeSet<Vec<u8>>, SocketFault> {
    let bytes = std::fs::read(UNIX_TABLE)
        .map_err(|source: io::Error| SocketFault::Read { path: UNIX_TABLE, source })?;
    let line = |line: &[u8]| {
        // Number, references, protocol, flags, type, state, inode, path.
        let mut fields = line.splitn(7, |byte| *byte == b' ');
        let is_listening = fields.nth(3) == Some(ACCEPTS);
        let rest = fields.nth(2)?.trim_ascii_start();
        let (_, path) = rest.split_at(rest.iter().position(|byte| *byte == b' ')? + 1);
        (is_listening && path.starts_with(b"/")).then(|| path.to_vec())
    };
    Ok(bytes.split(|byte| *byte == b'\n').skip(1).filter_map(line).collect())
}

/// Returns the inodes of the sockets of this network namespace that were accepted by whoever listens on
/// a path: of each connection the end of the server.
///
/// # Errors
/// [`SocketFault::Read`].
pub fn accepted_inodes() -> Result<BTreeSet<u64>, SocketFault> {
    let bytes = std::fs::read(UNIX_TABLE)
        .map_err(|source: io::Error| SocketFault::Read { path: UNIX_TABLE, source })?;
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| {
        // Number, references, protocol, flags, type, state, inode, path.
        let mut fields = line.splitn(7, ' ');
        let (state, rest) = (fields.nth(5)?, fields.next()?);
        let (inode, path) = rest.trim_start().split_once(' ')?;
        let is_accepted = CONNECTED.contains(&state) && path.starts_with('/');
        if is_accepted { inode.parse().ok() } else { None }
    };
    Ok(text.lines().skip(1).filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

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
            let ends = ends.iter().map(|end| End { address: *end, peer: *end, inode: 0 }).collect();
            Connections { ends, listeners }.to_port(Port::new(80).unwrap())
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
    }

    #[test]
    fn the_servers_end_of_a_socket_is_told_from_the_clients() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank");
        let server = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (accepted, _) = server.accept().unwrap();
        let told = accepted_inodes().unwrap();
        assert!(told.contains(&rustix::fs::fstat(&accepted).unwrap().st_ino));
        for other in [rustix::fs::fstat(&client).unwrap(), rustix::fs::fstat(&server).unwrap()] {
            assert!(!told.contains(&other.st_ino));
        }
    }

    #[test]
    fn a_socket_that_waits_is_told_from_what_is_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank");
        let bytes = path.to_str().unwrap().as_bytes().to_vec();
        let server = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let accepted = server.accept().unwrap();
        assert!(listening_paths().unwrap().contains(&bytes));
        drop(server);
        assert!(!listening_paths().unwrap().contains(&bytes));
        drop((client, accepted));
    }

    #[test]
    fn a_connection_to_a_socket_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank");
        let real = RealPath::parse(path.to_str().unwrap()).unwrap();
        let server = UnixListener::bind(&path).unwrap();
        assert_eq!(SocketConnections::look().unwrap().to_path(&real), 0);
        let clients = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        // Those that wait to be accepted count: somebody asks.
        assert_eq!(SocketConnections::look().unwrap().to_path(&real), 2);
        let accepted = server.accept().unwrap();
        assert_eq!(SocketConnections::look().unwrap().to_path(&real), 2);
        drop((clients, accepted, server));
        assert_eq!(SocketConnections::look().unwrap().to_path(&real), 0);
    }
}
