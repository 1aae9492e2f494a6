//! The arguments of `oh-deploy`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use oh_term::{Answer, Failure, Format, Tool};

use crate::sandbox;

/// Deploy OpenHands with editors in the browser
#[derive(Debug, Parser)]
#[command(name = "oh-deploy", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Choose how the answer is written
    #[arg(long, value_enum, default_value_t = Answers::Human, global = true)]
    format: Answers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answers {
    /// Text for people
    Human,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole deployment in one folder, to look at and to try things on
    #[command(subcommand)]
    Sandbox(SandboxCommand),
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Bring it up, or what of it is missing
    Up(Up),
    /// Stop everything that runs in it and remove the folder, workspaces included
    Down {
        /// The folder of the sandbox
        #[arg(long, value_name = "DIR")]
        dir: String,
    },
}

/// What `sandbox up` is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    /// The folder: a new one, an empty one, or one that is a sandbox already
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: String,
    /// The program that stands in for OpenHands and for an application
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) stand_in: String,
    /// The Node.js that runs the editors
    #[arg(long, value_name = "PROGRAM", requires = "code_server")]
    pub(crate) node: Option<String>,
    /// code-server's out/node/entry.js; without it there is neither a session nor an editor of the
    /// repository
    #[arg(long, value_name = "FILE", requires = "node")]
    pub(crate) code_server: Option<String>,
    /// Serve plain HTTP on the bare address 127.0.0.1 instead of TLS on localhost; a sandbox that
    /// is there already keeps what it was made with, and one of TLS refuses this
    #[arg(long)]
    pub(crate) http: bool,
}

impl Tool for Cli {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn format(&self) -> Format {
        match self.format {
            Answers::Human => Format::Human,
            Answers::Json => Format::Json,
        }
    }

    fn answer(self) -> Result<Answer, Failure> {
        let Command::Sandbox(command) = self.command;
        match command {
            SandboxCommand::Up(wish) => sandbox::up(&wish),
            SandboxCommand::Down { dir } => sandbox::down(&dir),
        }
    }
}
