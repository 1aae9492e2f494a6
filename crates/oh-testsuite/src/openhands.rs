//! A real OpenHands, run in the Debian root that `cargo xtask setup --for full` made: 0.62.0, or
//! 1.11.0, which has no Socket.IO, and its agent server.
//!
//! It runs as `nobody`, in namespaces that end with it, and listens on 127.0.0.1 only; its own
//! start-up code would listen on every address. It has no model, so it holds no conversation.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::process::Running;
use crate::{components, net, wait};

/// How long it may take to be ready: it imports some thousand Python modules.
const START_BOUND: Duration = Duration::from_secs(120);

/// `nobody` and `nogroup`, the same numbers in every Debian.
const NOBODY: u32 = 65534;

/// The page that stands for the front end, which is not on PyPI.
const PAGE: &str = "<!doctype html>\n<title>OpenHands</title>\n";

/// Enters the root with a work folder as /srv. The mounts are in a namespace of their own. The
/// shell stays, as process 1 of the namespace: whoever becomes `nobody` is no longer killed with
/// its parent (PR_SET_PDEATHSIG), but everybody is with process 1.
const ENTER: &str = r#"
mount --bind "$2" "$1/srv"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
root="$1"
shift 2
chroot --userspec=nobody:nogroup --groups= "$root" env --ignore-environment --chdir=/srv \
  HOME=/srv PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 \
  RUNTIME=local RUN_AS_OPENHANDS=false SKIP_DEPENDENCY_CHECK=1 FILE_STORE_PATH=/srv/store \
  LITELLM_LOCAL_MODEL_COST_MAP=True "$@"
"#;

/// A folder that is /srv for what runs in the root.
#[derive(Debug)]
pub struct Work {
    root: PathBuf,
    folder: TempDir,
}

impl Work {
    /// Makes an empty folder that `nobody` owns, for OpenHands 0.62.0.
    ///
    /// # Errors
    ///
    /// When it cannot be made; as "environment" where we are not root, or a component is missing.
    pub fn make() -> Result<Work> {
        Work::of(components::openhands_0_62()?)
    }

    fn of(root: PathBuf) -> Result<Work> {
        let folder = tempfile::Builder::new().prefix("oh-real-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        chown(folder.path(), Some(NOBODY), Some(NOBODY))
            .context("environment: a real OpenHands is run by root only, as nobody")?;
        Ok(Work { root, folder })
    }

    /// Returns the path of something in the folder.
    pub fn at(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Returns the command that runs OpenHands' own Python with this folder as /srv.
    ///
    /// # Errors
    ///
    /// As "environment", when a component is missing.
    pub fn python(&self, arguments: &[&str]) -> Result<Command> {
        self.python_with(&[], arguments)
    }

    /// [`Work::python`] with more of an environment, each as `NAME=VALUE`.
    fn python_with(&self, environment: &[&str], arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(components::program("setpriv")?);
        // Ends with the test, whatever ends the test.
        command.args(["--pdeathsig", "KILL"]).arg(components::program("unshare")?);
        command.args(["--mount", "--propagation", "private", "--pid", "--fork"]);
        command.args(["--kill-child=KILL", "sh", "-euc", ENTER, "sh"]);
        command.arg(&self.root).arg(self.folder.path()).args(environment);
        command.arg("/opt/openhands/bin/python");
        command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command)
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct OpenHands {
    running: Running,
    work: Work,
    /// Its address, such as `127.0.0.1:41234`.
    pub address: String,
}

impl OpenHands {
    /// Starts a server with nothing stored, and `config.toml` with this text where one is given.
    ///
    /// # Errors
    ///
    /// With its log, when it does not get ready.
    pub fn start(config: Option<&str>) -> Result<OpenHands> {
        OpenHands::start_in(Work::make()?, config)
    }

    /// Starts a server of 1.11.0 with nothing stored.
    ///
    /// # Errors
    ///
    /// With its log, when it does not get ready.
    pub fn start_1_11() -> Result<OpenHands> {
        OpenHands::start_in(Work::of(components::openhands_1_11()?)?, None)
    }

    /// Starts an agent server of 1.11.0 that has this key, and no editor.
    ///
    /// # Errors
    ///
    /// With its log, when it does not get ready.
    pub fn start_agent_server(key: &str) -> Result<OpenHands> {
        let work = Work::of(components::openhands_1_11()?)?;
        let address = format!("127.0.0.1:{}", net::free_port()?);
        let (_, port) = address.split_once(':').unwrap_or_default();
        let key = format!("SESSION_API_KEY={key}");
        let environment = [key.as_str(), "OH_ENABLE_VSCODE=0", "OH_ENABLE_VNC=0"];
        let arguments = ["-m", "openhands.agent_server", "--host", "127.0.0.1", "--port", port];
        let running = Running::start(&mut work.python_with(&environment, &arguments)?)?;
        let url = format!("http://{address}/alive");
        let answered = wait::until("the agent server", START_BOUND, || {
            if running.has_ended()? {
                bail!("it ended");
            }
            Ok(net::get(&url, &[]).ok().filter(|answer| answer.status == 200))
        });
        answered.with_context(|| running.log())?;
        Ok(OpenHands { running, work, address })
    }

    fn start_in(work: Work, config: Option<&str>) -> Result<OpenHands> {
        fs::create_dir_all(work.at("frontend/build"))?;
        fs::write(work.at("frontend/build/index.html"), PAGE)?;
        if let Some(config) = config {
            fs::write(work.at("config.toml"), config)?;
        }
        let mut command = work.python(&[
            "-m",
            "uvicorn",
            "openhands.server.listen:app",
            "--host=127.0.0.1",
            "--port=0",
            "--no-use-colors",
        ])?;
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("Uvicorn running on http://", START_BOUND)?;
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.context("no address")?.to_owned();
        Ok(OpenHands { running, work, address })
    }

    /// Returns its base URL.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns its port.
    ///
    /// # Errors
    ///
    /// When the address has none, which is a bug here.
    pub fn port(&self) -> Result<u16> {
        Ok(self.address.rsplit(':').next().unwrap_or_default().parse()?)
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Returns the path of something in the folder that is /srv for it.
    pub fn at(&self, below: &str) -> PathBuf {
        self.work.at(below)
    }

    /// Returns the folder where it keeps what is stored.
    pub fn store(&self) -> PathBuf {
        self.work.at("store")
    }
}

/// Returns the files below a folder, for "nothing was stored".
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        // A folder that is not there holds nothing.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
