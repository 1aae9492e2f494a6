//! What the scenarios share: finding real programs, driving a browser, speaking raw HTTP, TLS and
//! WebSocket, and waiting on conditions.
//!
//! Nothing here knows what a tool of ours should do: expectations stand in the tests. Everything
//! that is started is ended by the handle that started it, also when a test fails.

pub mod alone;
pub mod authority;
pub mod bench;
pub mod booted;
pub mod browser;
pub mod components;
pub mod editor;
pub mod instances;
pub mod lab;
pub mod machine;
pub mod net;
pub mod openhands;
pub mod openvscode;
pub mod printed;
pub mod process;
pub mod remote_agent;
pub mod stranger;
pub mod trace;
pub mod transcript;
pub mod truth;
pub mod wait;
pub mod watching;
