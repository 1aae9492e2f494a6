//! The library that asks the network, against real servers: nginx with certificates of each kind,
//! python-socketio and socket.io.

mod probe {
    mod socket_io;
    mod tls;
}
