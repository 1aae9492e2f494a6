//! The network, asked step by step and timed: DNS, TCP, TLS, HTTP, WebSocket, Socket.IO.
//!
//! Each step is an observation of its own, with the time it took, and has a deadline. What was answered is
//! kept as it was answered, also where it is wrong: what it means is judged elsewhere. Nothing here follows
//! a redirect, keeps a cookie, tries again or begins anything on a server.

pub mod ask;
pub mod cause;
pub mod diagnose;
pub mod dial;
pub mod failure;
pub mod http1;
pub mod kind;
pub mod ladder;
pub mod limits;
pub mod load;
pub mod polling;
mod random;
pub mod raw;
pub mod reach;
pub mod reference;
pub mod remote_agent;
pub mod replay;
pub mod signature;
pub mod soak;
pub mod socketio;
pub mod sticky;
pub mod target;
pub mod tls;
pub mod vscode;
pub mod websocket;

#[cfg(test)]
mod answers;
#[cfg(test)]
mod hostile;
