//! Engine.IO 4 and Socket.IO 5 without I/O: packets, and what a client makes of them.
//!
//! [`engine`] and [`socket`] read and write packets; [`client`] keeps the state of one connection over
//! either transport, or over both while one is exchanged for the other. Nothing here sends, waits or
//! looks at a clock: frames and times come in, frames to send and what they meant come out.
//!
//! Real servers differ from the specification and from each other. A client that is as strict as the
//! specification takes a good server for a broken one, and one that takes anything proves nothing. So
//! what is taken beyond the specification is a closed list, [`deviation::Deviation`], and each one that
//! was met is told.
//!
//! Sources: the [Engine.IO protocol](https://github.com/socketio/engine.io-protocol), version 4, and the
//! [Socket.IO protocol](https://github.com/socketio/socket.io-protocol), version 5. The sample session of
//! the latter has the probe and the heartbeat the wrong way round; its own text and suite are followed.

#![no_std]

extern crate alloc;

pub mod client;
pub mod deviation;
pub mod engine;
pub mod socket;
