//! Stand-ins for programs that a sandbox or a test does not install: OpenHands itself, and a web
//! application of a session.
//!
//! They answer as the real programs were recorded to answer, and say plainly what they are. Each
//! prints one line, `listening on ADDRESS`, and ends on SIGTERM or SIGINT.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use axum::Router;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

mod app;
mod openhands;

/// Stand in for a program that is not installed
#[derive(Parser)]
#[command(name = "oh-stand-in", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer as OpenHands 0.62.0 does, without an agent behind it
    Openhands {
        /// Address to listen on; port 0 takes any free one
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Link to show on the page
        #[arg(long = "link", value_name = "NAME=URL", value_parser = openhands::Link::parse)]
        links: Vec<openhands::Link>,
        /// Conversation that there is from the start, its status and how many events it has had; settings are stored
        /// then
        #[arg(long = "conversation", value_name = "ID=STATUS:EVENTS", value_parser = openhands::Conversation::parse)]
        conversations: Vec<openhands::Conversation>,
    },
    /// Be a small web application of a session
    App {
        /// Address to listen on; port 0 takes any free one
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Name to show on the page
        #[arg(long, default_value = "app")]
        name: String,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr is nobody's loss.
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Openhands { listen, links, conversations } => {
                serve(listen, openhands::router(links, conversations)).await
            }
            Command::App { listen, name } => serve(listen, app::router(name)).await,
        }
    })
}

/// Serves until a signal comes; connections that are open then are cut, as a killed server's are.
async fn serve(listen: SocketAddr, router: Router) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("could not listen on {listen}"))?;
    writeln!(std::io::stderr(), "listening on {}", listener.local_addr()?)?;
    let service = router.into_make_service();
    tokio::select! {
        served = axum::serve(listener, service) => served.context("the server ended"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
