//! Tells the service manager how a service is: sd_notify(3), a datagram of `KEY=value` lines.
//!
//! Without a socket to tell, nothing is told. That the manager does not hear is no reason to stop.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, where there is one.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// Takes the value of `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// The system's; also where the name is no address.
    pub fn of(socket: Option<&str>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold us up.
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    /// Tells that the service is ready.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Tells what the service is doing, in one line for people.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// Tells that the service lives.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Tells that the service ends by itself.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            drop(socket.send_to_addr(state.as_bytes(), address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn the_manager_hears_on_either_kind_of_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("oht-notify-{}", std::process::id());
        let hidden = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, word) in [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&hidden).unwrap(), format!("@{name}")),
        ] {
            let notifier = Notifier::of(Some(&word)).unwrap();
            notifier.ready();
            notifier.status("two\nlines");
            assert_eq!(
                (heard(&socket), heard(&socket)),
                ("READY=1".into(), "STATUS=two lines".into())
            );
        }
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        Notifier::of(None).unwrap().ready();
        Notifier::of(Some("/nowhere/at/all")).unwrap().alive();
    }
}
