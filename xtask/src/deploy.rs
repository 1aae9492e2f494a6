//! `deploy --sandbox`: builds the tools and hands over to `oh-deploy`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use xshell::{Shell, cmd};

use crate::failure::{Usage, say};
use crate::setup::{self, Need};
use crate::workspace;

/// What `deploy` was asked to do.
#[derive(Args)]
pub(crate) struct Request {
    /// Work in a folder of its own and touch nothing outside it
    #[arg(long)]
    sandbox: bool,
    /// Folder of the sandbox [default: sandbox, in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Take the sandbox down instead
    #[arg(long)]
    down: bool,
    /// Serve plain HTTP instead of HTTPS with a certificate of the sandbox's own; later runs keep
    /// it without being told
    #[arg(long, conflicts_with = "down")]
    http: bool,
}

/// Brings the sandbox up or down; the exit code is `oh-deploy`'s.
pub(crate) fn run(shell: &Shell, request: &Request) -> Result<u8> {
    if !request.sandbox {
        let hint = "hint: cargo xtask deploy --sandbox";
        return Err(
            Usage(format!("only a sandbox can be deployed from a source tree\n{hint}")).into()
        );
    }
    let target = workspace::target()?;
    let dir = match &request.dir {
        Some(dir) => std::path::absolute(dir).context("could not find the sandbox's folder")?,
        None => target.join("sandbox"),
    };
    let mut oh_deploy = Command::new(target.join("debug/oh-deploy"));
    if request.down {
        build(shell)?;
        oh_deploy.args(["sandbox", "down", "--dir"]).arg(&dir);
    } else {
        let place = setup::run(shell, Need::Sandbox)?;
        build(shell)?;
        oh_deploy.args(["sandbox", "up", "--dir"]).arg(&dir);
        oh_deploy.arg("--stand-in").arg(target.join("debug/oh-stand-in"));
        if let Some((node, entry)) = place.editor() {
            oh_deploy.arg("--node").arg(node).arg("--code-server").arg(entry);
        }
        if request.http {
            oh_deploy.arg("--http");
        }
    }
    let status = oh_deploy.status().context("could not run oh-deploy")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(130))
}

/// Builds as `test` does: with fewer packages cargo would unite other features and build anew.
fn build(shell: &Shell) -> Result<()> {
    say("deploy: building the tools");
    cmd!(shell, "cargo build --quiet --workspace --bins")
        .quiet()
        .run()
        .context("could not build the tools")
}
