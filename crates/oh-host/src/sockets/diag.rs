//! The kernel's own list of sockets in one state, by sock_diag(7): one question for each family, and only
//! what is in that state comes back. /proc/net/tcp walks every bucket of the kernel's table, and in
//! /proc/net/unix whoever binds a name with a line break writes lines of their own.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{
    Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    Nla as _,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::unix::nlas::{Nla as UnixNla, UnixDiagName};
use netlink_packet_sock_diag::unix::{
    ShowFlags, StateFlags as UnixStateFlags, UnixRequest, UnixResponse,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};

use super::unix::{SocketFile, UnixSocket};
use super::{End, Listener};

/// `UNIX_DIAG_UID` and `UDIAG_SHOW_UID` of the kernel's unix_diag.h, since Linux 4.20.
const UNIX_DIAG_UID: u16 = 7;
const SHOW_UID: ShowFlags = ShowFlags::from_bits_retain(1 << 6);

/// What one answer of the kernel can have, in bytes: it never sends more at once.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Asks the kernel which TCP sockets listen.
///
/// # Errors
/// The system's; also where this kernel has no sock_diag.
pub(super) fn listeners() -> io::Result<Vec<Listener>> {
    Ok(in_state(StateFlags::LISTEN)?.into_iter().map(|(listener, _)| listener).collect())
}

/// Asks the kernel which TCP connections are established; of each the end that is ours.
///
/// # Errors
/// As for [`listeners`].
pub(super) fn established() -> io::Result<Vec<End>> {
    Ok(in_state(StateFlags::ESTABLISHED)?.into_iter().map(End::of).collect())
}

/// Asks the kernel which unix sockets with a path wait for connections or have one; one that is not
/// accepted yet is not among them, and counts for its listener.
///
/// # Errors
/// As for [`listeners`]; a kernel may have it for TCP alone.
pub(super) fn unix() -> io::Result<Vec<UnixSocket>> {
    let request = UnixRequest {
        state_flags: UnixStateFlags::LISTEN | UnixStateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::VFS | ShowFlags::RQLEN | SHOW_UID,
        cookie: [0xff; 8],
    };
    let mut found = Vec::new();
    dump(&connected()?, SockDiagMessage::UnixRequest(request), |message| {
        if let SockDiagMessage::UnixResponse(response) = message {
            found.extend(unix_socket(&response));
        }
    })?;
    Ok(found)
}

/// Reads one answer; `None` for a socket without a path.
fn unix_socket(response: &UnixResponse) -> Option<UnixSocket> {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(UnixDiagName::Pathname(path)) = response.name() else { return None };
    let mut socket = UnixSocket {
        inode: response.header.inode.into(),
        path: path.as_bytes().to_vec(),
        file: None,
        uid: None,
        is_listening: response.header.state == TCP_LISTEN,
        waiting: 0,
    };
    for one in &response.nlas {
        match one {
            UnixNla::Vfs(file) => {
                // Two numbers in the machine's byte order: the inode, and the device as the kernel
                // itself writes it.
                let mut bytes = [0; 8];
                file.emit(&mut bytes);
                let [a, b, c, d, e, f, g, h] = bytes;
                let inode = u32::from_ne_bytes([a, b, c, d]);
                let device = u32::from_ne_bytes([e, f, g, h]);
                let device = (device >> 20, device & 0xf_ffff);
                socket.file = Some(SocketFile { device, inode });
            }
            UnixNla::ReceiveQueueLength(waiting, _) if socket.is_listening => {
                socket.waiting = usize::try_from(*waiting).unwrap_or(usize::MAX);
            }
            UnixNla::Other(other) if other.kind() == UNIX_DIAG_UID && other.value_len() == 4 => {
                let mut bytes = [0; 4];
                other.emit_value(&mut bytes);
                socket.uid = Some(u32::from_ne_bytes(bytes));
            }
            _ => {}
        }
    }
    Some(socket)
}

/// Returns the sockets in one state, each with the address of its other end.
fn in_state(states: StateFlags) -> io::Result<Vec<(Listener, SocketAddr)>> {
    let socket = connected()?;
    let mut found = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: states.clone(),
            socket_id: any,
        });
        dump(&socket, request, |message| {
            let SockDiagMessage::InetResponse(response) = message else { return };
            let id = &response.header.socket_id;
            let listener = Listener {
                address: SocketAddr::new(id.source_address, id.source_port),
                inode: response.header.inode.into(),
                uid: response.header.uid,
                only_ipv6: response.nlas.contains(&Nla::SkV6Only(true)),
            };
            found.push((listener, SocketAddr::new(id.destination_address, id.destination_port)));
        })?;
    }
    Ok(found)
}

fn connected() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Asks one question, and takes the whole answer.
fn dump(
    socket: &Socket,
    request: SockDiagMessage,
    mut take: impl FnMut(SockDiagMessage),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    while hear(socket, &mut take)? {}
    Ok(())
}

/// Takes one part of an answer; says whether there is more to come.
fn hear(socket: &Socket, take: &mut impl FnMut(SockDiagMessage)) -> io::Result<bool> {
    let mut buffer = Vec::with_capacity(ANSWER_BYTES_MAX);
    socket.recv(&mut buffer, 0)?;
    let mut rest = buffer.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => take(message),
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(fault) => return Err(fault.to_io()),
            _ => {}
        }
        // Messages are aligned to four bytes (netlink(7), NLMSG_ALIGN).
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let aligned = length.next_multiple_of(4).max(4);
        rest = rest.get(aligned..).unwrap_or_default();
    }
    Ok(true)
}
