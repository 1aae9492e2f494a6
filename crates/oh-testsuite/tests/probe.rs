//! The library that asks the network, against real servers: nginx with certificates of each kind,
//! python-socketio and socket.io, servers of WebSockets, the stand-in of OpenHands and editors.

mod probe {
    mod kinds;
    mod load;
    mod peer;
    mod raw;
    mod replay;
    mod servers;
    mod soak;
    mod socket_io;
    mod sticky;
    mod tls;
    mod vscode;
}
