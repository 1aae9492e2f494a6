//! A sandbox of a test: brought up, asked and taken down by the built `oh-deploy`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use oh_testsuite::components;
use oh_testsuite::lab::{self, Said};
use serde_json::Value;
use tempfile::TempDir;

/// What a sandbox is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// TLS and both editors.
    Everything,
    /// Plain HTTP and both editors.
    Http,
    /// TLS, and no editor installed.
    NoEditor,
}

/// A sandbox, which is taken down when it is dropped.
///
/// One at a time: a sandbox takes the first ports that are free.
pub(crate) struct Deployment {
    folder: TempDir,
    name: &'static str,
    with: With,
    _turn: File,
}

impl Deployment {
    /// Chooses a folder; nothing runs yet.
    pub(crate) fn new(with: With) -> Result<Self> {
        Self::named(with, "sandbox")
    }

    /// [`Deployment::new`] with a name for the folder.
    pub(crate) fn named(with: With, name: &'static str) -> Result<Self> {
        let turn = File::create(std::env::temp_dir().join("oh-sandbox-tests.lock"))?;
        turn.lock().context("could not wait for another test's sandbox")?;
        // Root's editors are somebody else's, where these get to the folder.
        let open = fs::Permissions::from_mode(0o711);
        let folder = tempfile::Builder::new().prefix("oh-sandbox-").permissions(open).tempdir()?;
        Ok(Self { folder, name, with, _turn: turn })
    }

    /// Returns the folder of the sandbox.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Returns the command that brings it up.
    pub(crate) fn up_command(&self, format: &str) -> Result<Command> {
        let mut command = self.tool("up")?;
        command.args(["--format", format]);
        command.arg("--stand-in").arg(env!("CARGO_BIN_EXE_oh-stand-in"));
        if self.with != With::NoEditor {
            command.arg("--node").arg(components::node()?);
            command.arg("--code-server").arg(components::code_server()?);
        }
        if self.with == With::Http {
            command.arg("--http");
        }
        Ok(command)
    }

    /// Brings it up, or what of it is missing.
    pub(crate) fn up(&self) -> Result<Said> {
        Ok(self.up_command("json")?.output().context("could not run oh-deploy")?.into())
    }

    /// Takes it down.
    pub(crate) fn down(&self) -> Result<Said> {
        Ok(self.down_command()?.output().context("could not run oh-deploy")?.into())
    }

    /// Returns the command that takes it down.
    pub(crate) fn down_command(&self) -> Result<Command> {
        self.tool("down")
    }

    fn tool(&self, verb: &str) -> Result<Command> {
        let mut command = Command::new(components::built("oh-deploy")?);
        command.env_clear().current_dir("/").args(["sandbox", verb, "--dir"]).arg(self.dir());
        Ok(command)
    }

    /// Makes a new login, and returns user and password.
    pub(crate) fn login(&self) -> Result<(String, String)> {
        let mut command = Command::new(components::built("oh-nginx")?);
        command.env_clear().args(["login", "--format", "json", "--root"]).arg(self.dir());
        let said: Said = command.output().context("could not run oh-nginx")?.into();
        let said = said.expect(0)?.json()?;
        Ok(("openhands".to_owned(), lab::password(&said)?))
    }

    /// Reads the record of what was started.
    pub(crate) fn record(&self) -> Result<Value> {
        let record = fs::read(self.dir().join("sandbox.json")).context("there is no record")?;
        Ok(serde_json::from_slice(&record)?)
    }

    /// Returns the text in the environment of everything that an editor starts.
    pub(crate) fn token_of(&self, id: &str) -> Result<String> {
        let record = format!("var/lib/openhands-toolkit/instances/{id}.json");
        let record: Value = serde_json::from_slice(&fs::read(self.dir().join(record))?)?;
        Ok(record["token"].as_str().context("no token")?.to_owned())
    }

    /// Returns the id of the session.
    pub(crate) fn session(&self) -> Result<String> {
        Ok(self.record()?["session"].as_str().context("no session is recorded")?.to_owned())
    }

    /// Returns the public address of a path.
    pub(crate) fn url(&self, path: &str) -> Result<String> {
        let record = self.record()?;
        let host = if record["tls"] == true { "https://localhost" } else { "http://127.0.0.1" };
        Ok(format!("{host}:{}{path}", record["ports"]["site"]))
    }

    /// Returns the workspace of the session.
    pub(crate) fn workspace(&self) -> Result<PathBuf> {
        Ok(self.dir().join("home/ubuntu/openhands-workspace").join(self.session()?))
    }

    /// Returns the folder of the repository.
    pub(crate) fn repository(&self) -> PathBuf {
        self.dir().join("var/www/github/hello")
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // A failing test is already failing; there is nobody to tell.
        drop(self.down());
    }
}

/// Returns the living processes whose environment carries a token, by the part that they are of:
/// the supervisor of an editor is `supervisor`, and all that it started has no name.
pub(crate) fn carriers(token: &str) -> Result<BTreeMap<String, Vec<u32>>> {
    let marked = format!("OHT_INSTANCE={token}");
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (pid, folder) in processes()? {
        // What ended meanwhile carries nothing.
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let part = variables.find_map(|one| one.strip_prefix(&marked).map(str::to_owned));
        let part = part.map(|part| part.trim_start_matches('-').to_owned());
        if let Some(part) = part {
            found.entry(part).or_default().push(pid);
        }
    }
    Ok(found)
}

/// Returns the living processes whose command line names a folder: nginx's master among them,
/// which writes its title over its environment.
pub(crate) fn naming(dir: &Path) -> Result<Vec<(u32, String)>> {
    let dir = dir.display().to_string();
    let named = processes()?.into_iter().filter_map(|(pid, folder)| {
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&dir).then_some((pid, line))
    });
    Ok(named.collect())
}

fn processes() -> Result<Vec<(u32, PathBuf)>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let number = |name: &std::ffi::OsStr| name.to_str()?.parse().ok();
    Ok(entries.filter_map(|entry| Some((number(&entry.file_name())?, entry.path()))).collect())
}
