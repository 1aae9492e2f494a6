//! Unix sockets with a path: who waits on which, and who is connected.
//!
//! The path is what its socket was bound to, as its user called it: in a mount namespace of their own
//! anybody may bind any. So a socket is known by its file where the kernel names that, and a path alone
//! counts only for whom it is asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use oh_model::path::RealPath;
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::{SocketFault, diag};

/// The kernel's table of unix sockets; unix(7) has its format.
const UNIX_TABLE: &str = "/proc/net/unix";
/// How many sockets of each kind there are.
const PROTOCOLS: &str = "/proc/net/protocols";
/// `SS_CONNECTING` (not accepted yet) and `SS_CONNECTED` of the kernel's net.h, as the table
/// writes them.
const CONNECTED: [&[u8]; 2] = [b"02", b"03"];
/// What the table says of a socket that waits for connections (`__SO_ACCEPTCON` of the kernel's net.h).
const ACCEPTS: &[u8] = b"00010000";
/// How often the table is read until it has as many lines as there are sockets.
const READS_MAX: usize = 16;

/// A unix socket with a path that waits for connections, or the end of one that its server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// The inode of the socket; 0 for the end of one that is not accepted yet.
    pub inode: u64,
    /// What it was bound to.
    pub path: Vec<u8>,
    /// Its file; `None` where the kernel does not tell.
    pub file: Option<SocketFile>,
    /// The user that made it, or accepted it; `None` where the kernel does not tell.
    pub uid: Option<u32>,
    /// Whether it waits for connections.
    pub is_listening: bool,
    /// How many it has that are not accepted yet.
    pub waiting: usize,
}

/// Which file a socket was bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketFile {
    /// The major and minor number of its file system's device.
    pub device: (u32, u32),
    /// The lower half of its inode's number: the kernel tells no more.
    pub inode: u32,
}

impl SocketFile {
    /// The file that has these numbers.
    pub const fn of(device: (u32, u32), inode: u64) -> Self {
        let [.., a, b, c, d] = inode.to_be_bytes();
        Self { device, inode: u32::from_be_bytes([a, b, c, d]) }
    }

    /// The file that has this path now; what is mounted there is not asked.
    pub fn at(path: &RealPath) -> Option<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(CWD, path.as_str(), flags, StatxFlags::INO).ok()?;
        Some(Self::of((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
    }
}

/// The unix sockets of this network namespace with a path at one moment.
#[derive(Debug, Clone, Default)]
pub struct UnixSockets {
    all: Vec<UnixSocket>,
    by_path: BTreeMap<Vec<u8>, Vec<usize>>,
    by_file: BTreeMap<SocketFile, Vec<usize>>,
}

impl UnixSockets {
    /// Asks the kernel once for all.
    ///
    /// # Errors
    /// [`SocketFault`]; where the kernel has only its table, also that somebody has written lines of it.
    pub fn look() -> Result<Self, SocketFault> {
        // A kernel built without it, or a sandbox that forbids it.
        let all = match diag::unix() {
            Ok(all) => all,
            Err(_) => of_table()?,
        };
        Ok(Self::of(all))
    }

    fn of(all: Vec<UnixSocket>) -> Self {
        let mut sockets = Self::default();
        for (at, one) in all.iter().enumerate() {
            sockets.by_path.entry(one.path.clone()).or_default().push(at);
            if let Some(file) = one.file {
                sockets.by_file.entry(file).or_default().push(at);
            }
        }
        Self { all, ..sockets }
    }

    /// Returns who waits for connections on a file with this path, in no order. Where a socket has that
    /// path and another file (somebody's own folders, or a file system that numbers its files in its own
    /// way), `counts` says whether its user is believed.
    pub fn listening<'s>(
        &'s self,
        path: &[u8],
        file: Option<SocketFile>,
        counts: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = &'s UnixSocket> {
        let of_file = file.and_then(|file| self.by_file.get(&file)).into_iter().flatten().copied();
        let is_believed =
            |at: &usize| self.all.get(*at).is_some_and(|one| one.uid.is_none_or(&counts));
        let of_path = self.by_path.get(path).into_iter().flatten().copied().filter(is_believed);
        let found: BTreeSet<usize> = of_file.chain(of_path).collect();
        found.into_iter().filter_map(|at| self.all.get(at)).filter(|one| one.is_listening)
    }

    /// Returns how many connections the server has that listens on this path; those that wait to be
    /// accepted count.
    pub fn to_path(&self, path: &RealPath) -> usize {
        let of_path = self.by_path.get(path.as_str().as_bytes()).into_iter().flatten();
        let all: Vec<&UnixSocket> = of_path.filter_map(|at| self.all.get(*at)).collect();
        // Others may call a file of their own so.
        let file = SocketFile::at(path);
        let is_known = all.iter().any(|one| one.is_listening && one.file == file);
        let of_it = all.iter().filter(|one| !is_known || one.file == file);
        of_it.map(|one| if one.is_listening { one.waiting } else { 1 }).sum()
    }

    /// Returns the inodes of the sockets that were accepted by whoever listens on a path: of each
    /// connection the end of the server.
    pub fn accepted(&self) -> BTreeSet<u64> {
        let accepted = self.all.iter().filter(|one| !one.is_listening && one.inode != 0);
        accepted.map(|one| one.inode).collect()
    }
}

/// Reads the kernel's table, where it has a line for each socket and no more.
fn of_table() -> Result<Vec<UnixSocket>, SocketFault> {
    let read = |path: &'static str| {
        std::fs::read(path).map_err(|source: io::Error| SocketFault::Read { path, source })
    };
    for _ in 0..READS_MAX {
        let before = count(&read(PROTOCOLS)?);
        let table = read(UNIX_TABLE)?;
        let lines = table.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty());
        if before.is_some() && before == Some(lines.count()) && count(&read(PROTOCOLS)?) == before {
            return Ok(parse(&table));
        }
    }
    Err(SocketFault::Forged { path: UNIX_TABLE })
}

/// Reads how many unix sockets this network namespace has; proc_net(5).
fn count(protocols: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(protocols);
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let is_unix = matches!(fields.next(), Some("UNIX" | "UNIX-STREAM"));
        // The size of one stands between.
        if is_unix { fields.nth(1)?.parse::<usize>().ok() } else { None }
    };
    let counts: Vec<usize> = text.lines().filter_map(of_line).collect();
    (!counts.is_empty()).then(|| counts.into_iter().sum())
}

/// Reads the lines of the table with a path.
fn parse(table: &[u8]) -> Vec<UnixSocket> {
    let line = |line: &[u8]| {
        // Number, references, protocol, flags, type, state, inode, path: the accepted end has the path
        // of its listener, and the other one has none.
        let mut fields = line.splitn(7, |byte| *byte == b' ');
        let is_listening = fields.nth(3) == Some(ACCEPTS);
        let state = fields.nth(1)?;
        let rest = fields.next()?.trim_ascii_start();
        let at = rest.iter().position(|byte| *byte == b' ')?;
        let (inode, path) = (rest.get(..at)?, rest.get(at + 1..)?);
        // What begins with `@` is the name of no file.
        if path.first() == Some(&b'@') || !(is_listening || CONNECTED.contains(&state)) {
            return None;
        }
        Some(UnixSocket {
            inode: core::str::from_utf8(inode).ok()?.parse().ok()?,
            path: path.to_vec(),
            file: None,
            uid: None,
            is_listening,
            waiting: 0,
        })
    };
    table.split(|byte| *byte == b'\n').skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

    use super::*;

    fn inode(socket: impl std::os::fd::AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    fn bytes(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }

    /// A socket with a name of no file that writes a line of its own into the kernel's table.
    fn forger(path: &Path, state: &str, flags: &str) -> OwnedFd {
        let line = format!("\n0: 00000002 00000000 {flags} 0001 {state} 4242 ");
        let name = [line.as_bytes(), path.as_os_str().as_bytes()].concat();
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let address = SocketAddrUnix::new_abstract_name(&name).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        socket
    }

    #[test]
    fn a_name_with_a_line_break_is_nobodys_socket() {
        let dir = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").unwrap();
        let path = dir.path().join("x");
        let real = RealPath::parse(path.to_str().unwrap()).unwrap();
        let listens = forger(&path, "01", "00010000");
        let connected = forger(&path, "03", "00000000");
        let table = fs::read(UNIX_TABLE).unwrap();
        let forged = parse(&table).into_iter().filter(|one| one.path == bytes(&path)).count();
        assert_eq!(forged, 2, "the table itself can be written");
        let sockets = UnixSockets::look().unwrap();
        assert_eq!(sockets.listening(&bytes(&path), None, |_| true).count(), 0);
        assert_eq!(sockets.to_path(&real), 0);
        assert!(!sockets.accepted().contains(&4242));
        // Where there is nothing but the table, it is not believed.
        assert!(matches!(of_table(), Err(SocketFault::Forged { .. })));
        drop((listens, connected));
    }

    #[test]
    fn the_servers_end_of_a_socket_is_told_from_the_clients() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank");
        let server = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (accepted, _) = server.accept().unwrap();
        let told = UnixSockets::look().unwrap().accepted();
        assert!(told.contains(&inode(&accepted)));
        assert!(!told.contains(&inode(&client)) && !told.contains(&inode(&server)));
    }

    #[test]
    fn a_socket_that_waits_is_told_from_what_is_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank\nand \u{fc}");
        let server = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let accepted = server.accept().unwrap();
        let listening = || -> Vec<UnixSocket> {
            let sockets = UnixSockets::look().unwrap();
            sockets.listening(&bytes(&path), None, |_| true).cloned().collect()
        };
        let found = listening();
        assert_eq!(found.len(), 1);
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((found[0].inode, found[0].uid), (inode(&server), Some(own)));
        drop(server);
        assert_eq!(listening(), []);
        drop((client, accepted));
    }

    #[test]
    fn a_socket_is_known_by_its_file_whatever_its_path_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let [bound, moved] = ["bound", "moved"].map(|name| dir.path().join(name));
        let _server = UnixListener::bind(&bound).unwrap();
        fs::rename(&bound, &moved).unwrap();
        let stat = fs::symlink_metadata(&moved).unwrap();
        let device = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
        let file = SocketFile::of(device, stat.ino());
        assert_eq!(SocketFile::at(&RealPath::parse(moved.to_str().unwrap()).unwrap()), Some(file));
        let sockets = UnixSockets::look().unwrap();
        let count = |path: &Path, file, counts: bool| {
            sockets.listening(&bytes(path), file, |_| counts).count()
        };
        assert_eq!(count(&moved, Some(file), false), 1);
        // By its path alone it counts for its user.
        assert_eq!(count(&bound, None, true), 1);
        assert_eq!(count(&bound, None, false), 0);
    }

    #[test]
    fn a_connection_to_a_socket_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with a blank");
        let real = RealPath::parse(path.to_str().unwrap()).unwrap();
        let server = UnixListener::bind(&path).unwrap();
        let count = || UnixSockets::look().unwrap().to_path(&real);
        assert_eq!(count(), 0);
        let clients = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        // Those that wait to be accepted count: somebody asks.
        assert_eq!(count(), 2);
        let accepted = server.accept().unwrap();
        assert_eq!(count(), 2);
        drop((clients, accepted, server));
        assert_eq!(count(), 0);
    }

    #[test]
    fn the_kernels_table_is_read_where_it_has_nothing_else() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            00000000c5e048f1: 00000002 00000000 00010000 0001 01   644 /a b\n\
            00000000c5e048f1: 00000003 00000000 00000000 0001 03   645 /a b\n\
            00000000c5e048f1: 00000003 00000000 00000000 0001 03   646\n\
            00000000c5e048f1: 00000002 00000000 00010000 0001 01   647 @/a b\n";
        let sockets = UnixSockets::of(parse(table));
        assert_eq!(sockets.listening(b"/a b", None, |_| false).count(), 1);
        assert_eq!(sockets.to_path(&RealPath::parse("/a b").unwrap()), 1);
        assert_eq!(sockets.accepted(), [645].into());
        let protocols = b"protocol  size sockets  memory\nUNIX-STREAM 1152 3 -1\nUNIX 1152 1 -1\n";
        assert_eq!(count(protocols), Some(4));
        assert_eq!(count(b"protocol  size sockets  memory\nTCP 1 1 1\n"), None);
    }
}
