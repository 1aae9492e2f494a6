//! VS Code's own web server, as openvscode-server runs it.
//!
//! openvscode-server is in no package registry. code-server brings the same server with two patches:
//! one makes every address relative, one leaves the name of the host to the browser. They are taken
//! back here, in a copy, so that it again depends on what a proxy tells it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::components;
use crate::editor;
use crate::process::Running;

/// How long the server may take to listen, on two busy cores.
const START_BOUND: Duration = Duration::from_secs(60);

/// What code-server's patches made of the server, and what it was before: the base of all addresses
/// from `X-Forwarded-Prefix` or the command line, and the authority from what the request says.
/// The names are those of the pinned version.
const PATCHES: [(&str, &str); 2] = [
    ("l=s||(a&&qX(a)?a:this._basePath)", "l=a&&qX(a)?a:this._basePath"),
    (
        "m=p?\"test+test\":\"remote\"",
        "m=p?\"test+test\":o(\"x-original-host\")||o(\"x-forwarded-host\")||t.headers.host",
    ),
];

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    running: Running,
    /// Where it listens: an address and port, or the path of its socket.
    pub address: String,
    _copy: TempDir,
}

impl Server {
    /// Starts a server with a connection token on a free port, or where `more` says; `data` is a
    /// folder for what it keeps.
    ///
    /// # Errors
    ///
    /// When the copy cannot be made, or the server does not come to listen.
    pub fn start(data: &Path, token: &str, more: &[&str]) -> Result<Self> {
        let copy = copy()?;
        let user = data.join("data/User");
        fs::create_dir_all(&user)?;
        fs::write(user.join("settings.json"), editor::SETTINGS)?;
        let token_file = data.join("token");
        fs::write(&token_file, token)?;
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600))?;
        let mut command = Command::new(components::node()?);
        command
            .arg(copy.path().join("out/server-main.js"))
            .args(["--accept-server-license-terms", "--telemetry-level", "off"])
            .arg("--disable-workspace-trust")
            .arg("--connection-token-file")
            .arg(token_file)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(more)
            .arg("--server-data-dir")
            .arg(data)
            .arg("--user-data-dir")
            .arg(data.join("data"))
            .env("HOME", data)
            .env("TMPDIR", data)
            .env_remove("XDG_RUNTIME_DIR");
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("Server bound to ", START_BOUND)?;
        let address = line.split(' ').nth(3).unwrap_or_default().to_owned();
        running.wait_for_line("Extension host agent started", START_BOUND)?;
        Ok(Self { running, address, _copy: copy })
    }

    /// Returns the id of its process, which is that of its group.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Returns what the server has said.
    pub fn log(&self) -> String {
        self.running.log()
    }
}

fn copy() -> Result<TempDir> {
    let copy = tempfile::Builder::new().prefix("oh-vscode-").tempdir()?;
    copy_into(copy.path())?;
    Ok(copy)
}

/// Makes a copy of the server in a folder, of links but for the one file that is changed, and returns
/// its entry point, to be run by [`components::node`].
///
/// # Errors
///
/// When a component is missing, is not the pinned one, or a file cannot be written.
pub fn copy_into(copy: &Path) -> Result<PathBuf> {
    let original = original()?;
    let out = copy.join("out");
    fs::create_dir_all(&out)?;
    for (from, to) in [(original.clone(), copy), (original.join("out"), out.as_path())] {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            if !["out", "server-main.js"].iter().any(|name| entry.file_name() == *name) {
                symlink(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    let mut text = fs::read_to_string(original.join("out/server-main.js"))?;
    for (patched, before) in PATCHES {
        let found = text.contains(patched);
        anyhow::ensure!(found, "environment: the pinned VS Code server has no {patched:?}");
        text = text.replacen(patched, before, 1);
    }
    let entry = out.join("server-main.js");
    fs::write(&entry, text)?;
    Ok(entry)
}

fn original() -> Result<PathBuf> {
    let entry = components::code_server()?;
    let package = entry.ancestors().find(|folder| folder.join("lib/vscode").is_dir());
    Ok(package.context("environment: code-server without VS Code")?.join("lib/vscode"))
}
