//! `oh-deploy`: deployments; so far the sandbox, a whole deployment in a folder.
//!
//! The sandbox is the real code with another root: real nginx, real editors, the same
//! configuration, the same `publish`. Only OpenHands itself is a stand-in.

mod cli;
mod sandbox;

pub use cli::Cli;
