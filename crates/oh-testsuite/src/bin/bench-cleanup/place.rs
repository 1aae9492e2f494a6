//! Where trees are made: a root of its own on a file system.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use serde_json::Value;
use tempfile::TempDir;

/// How many files a tree has, and in how many folders.
pub(crate) const FILES: usize = 100_000;
pub(crate) const FOLDERS: usize = 1000;

/// What the tree is called: a left-over.
const TREE: &str = "tmp/code-server-userdata-bench-8888";

/// The file systems that are called by their names (statfs(2)).
const KINDS: [(i64, &str); 4] =
    [(0xef53, "ext4"), (0x0102_1994, "tmpfs"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs")];

/// A root for a cleanup.
pub(crate) struct Place {
    root: TempDir,
    /// Which it is, and its file system.
    pub(crate) name: String,
}

/// A run that moved the tree away.
pub(crate) struct Moved {
    pub(crate) run: String,
    pub(crate) took: Duration,
}

impl Place {
    pub(crate) fn new(what: &str, above: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("oh-bench-").tempdir_in(above)?;
        fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
        let tmp = root.path().join("tmp");
        fs::create_dir(&tmp)?;
        fs::set_permissions(&tmp, Permissions::from_mode(0o1777))?;
        let kind = rustix::fs::statfs(root.path())?.f_type;
        let known = KINDS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name);
        let kind = known.map_or_else(|| format!("{kind:#x}"), str::to_owned);
        Ok(Self { root, name: format!("{what} ({kind})") })
    }

    /// Makes the tree anew, and waits until the disk has it.
    pub(crate) fn tree(&self) -> Result<PathBuf> {
        let tree = self.root.path().join(TREE);
        for folder in 0..FOLDERS {
            let folder = tree.join(format!("folder-{folder}"));
            fs::create_dir_all(&folder)?;
            for file in 0..FILES / FOLDERS {
                File::create(folder.join(format!("file-{file}")))?;
            }
        }
        self.settle();
        Ok(tree)
    }

    /// Has the disk take what was written before, so that it is not paid for by what comes now.
    pub(crate) fn settle(&self) {
        rustix::fs::sync();
    }

    pub(crate) fn is_empty(&self) -> Result<()> {
        ensure!(fs::read_dir(self.root.path().join("tmp"))?.next().is_none(), "something is left");
        let quarantine = self.root.path().join("var/lib/openhands-toolkit/quarantine");
        let Ok(names) = fs::read_dir(quarantine) else { return Ok(()) };
        for name in names {
            let name = name?.file_name();
            ensure!(name == ".spare", "{name:?} is left in the quarantine");
        }
        Ok(())
    }

    /// `oh-cleanup` on this root.
    pub(crate) fn cleanup(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(components::built("oh-cleanup")?);
        command.env_clear().current_dir("/").args(arguments);
        command.arg("--root").arg(self.root.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// The command that moves the tree away.
    pub(crate) fn take(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.cleanup(&["--temp", "--yes", "--older-than", "0s"])?;
        command.args(arguments);
        Ok(command)
    }

    /// Moves the tree away.
    pub(crate) fn moved(&self, arguments: &[&str]) -> Result<Moved> {
        let mut command = self.take(&["--format", "json"])?;
        let begun = Instant::now();
        let said = command.args(arguments).output()?;
        let took = begun.elapsed();
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let told: Value = serde_json::from_slice(&said.stdout)?;
        let run = told["result"]["run"].as_str().context("a run")?.to_owned();
        Ok(Moved { run, took })
    }

    /// The run that left a journal last.
    pub(crate) fn last(&self) -> Result<String> {
        let said = self.cleanup(&["runs", "--format", "json"])?.output()?;
        let told: Value = serde_json::from_slice(&said.stdout)?;
        let runs = told["result"]["runs"].as_array().context("runs")?;
        Ok(runs.last().and_then(|run| run["run"].as_str()).context("a run")?.to_owned())
    }
}
