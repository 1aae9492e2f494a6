//! The library that asks the network, against real servers: nginx with certificates of each kind,
//! python-socketio and socket.io.

mod probe {
    mod load;
    mod peer;
    mod soak;
    mod socket_io;
    mod sticky;
    mod tls;
}
