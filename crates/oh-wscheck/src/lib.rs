//! `oh-wscheck`: why the WebSocket does not connect, and the line that mends it.
//!
//! It does what a browser would do and what none would tell: each step of the way is seen and timed
//! (`oh-probe`), the same is asked of what stands behind, and of the two together follows the cause. Where nginx's
//! configuration can be read, the line is named that has it. It begins nothing on a server: no conversation, no
//! agent, no session that outlives the look.

mod cause;
mod check;
mod cli;
mod climbed;
mod dev;
mod document;
mod editor;
mod further;
mod hops;
mod nginx;
mod page;
mod report;
mod rungs;

pub use cli::Cli;
