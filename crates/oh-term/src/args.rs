//! The arguments that every tool has.

use clap::{Args, ValueEnum};

/// Where the configuration is, what overrides it, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Read this configuration file instead of /etc/openhands-toolkit/config.toml
    #[arg(long, value_name = "FILE", global = true, help_heading = "Common options")]
    pub config: Option<String>,
    /// Put every path below this folder: a sandbox, a test, a mounted disk
    #[arg(long, value_name = "DIR", global = true, help_heading = "Common options")]
    pub root: Option<String>,
    /// Override one key of the configuration, e.g. --set site.port=8443
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, help_heading = "Common options")]
    pub sets: Vec<String>,
    /// Choose how the answer is written
    #[arg(
        long,
        value_enum,
        default_value = "human",
        global = true,
        help_heading = "Common options"
    )]
    pub format: Format,
}

/// How an answer is written; the exit code is the same in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Human,
    /// One JSON document
    Json,
}
