//! The kernel's own list of TCP sockets in one state, by sock_diag(7): one question for each family, and
//! only what is in that state comes back, where /proc/net/tcp walks every bucket of the kernel's table.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};

use super::{End, Listener};

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

/// Returns the sockets in one state, each with the address of its other end.
fn in_state(states: StateFlags) -> io::Result<Vec<(Listener, SocketAddr)>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut found = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        ask(&socket, family, any, states.clone())?;
        while hear(&socket, &mut found)? {}
    }
    Ok(found)
}

fn ask(socket: &Socket, family: u8, any: SocketId, states: StateFlags) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: any,
    });
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(())
}

/// Takes one answer; says whether there is more to come.
fn hear(socket: &Socket, found: &mut Vec<(Listener, SocketAddr)>) -> io::Result<bool> {
    let mut buffer = Vec::with_capacity(ANSWER_BYTES_MAX);
    socket.recv(&mut buffer, 0)?;
    let mut rest = buffer.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                let id = &response.header.socket_id;
                let listener = Listener {
                    address: SocketAddr::new(id.source_address, id.source_port),
                    inode: response.header.inode.into(),
                    uid: response.header.uid,
                    only_ipv6: response.nlas.contains(&Nla::SkV6Only(true)),
                };
                let peer = SocketAddr::new(id.destination_address, id.destination_port);
                found.push((listener, peer));
            }
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
