//! This machine, synchronous: files, locks, processes and sockets.
//!
//! One door to the outside for everything that is not the network of others. Decisions are made
//! elsewhere, in pure code; here they are carried out, with the checks that belong to the moment
//! of doing. Every path that comes in is a [`RealPath`](oh_model::path::RealPath), made by
//! [`root::Root`] alone. Linux only: `/proc`, `flock`, pidfd signals.
//!
//! This room does not read the names of strangers' things as proof of anything: a file is ours by
//! owner, a process by identity, a port by the socket's holder.

pub mod atomic;
pub mod boot;
pub mod command;
pub mod containers;
pub mod databases;
pub mod discard;
pub mod disk;
pub mod entry;
pub mod flocks;
pub mod folder;
pub mod heartbeat;
pub mod http;
pub mod inputs;
pub mod instances;
pub mod journal;
pub mod lint;
pub mod lock;
pub mod login;
pub mod logs;
pub mod members;
pub mod mounts;
pub mod nginx;
pub mod notify;
mod parallel;
pub mod plain_file;
pub mod process;
pub mod publish;
pub mod quarantine;
pub mod random;
pub mod remove;
pub mod retire;
pub mod root;
pub mod settings;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod stop;
pub mod survey;
pub mod tree;
pub mod unit;
pub mod usage;
pub mod user_file;
pub mod users;
pub mod watch;
pub mod way;
