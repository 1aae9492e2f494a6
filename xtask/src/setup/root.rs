//! Whole Debian roots of our cache, for what needs another Debian or another process 1 than this
//! machine has.
//!
//! Only debootstrap and the scripts of Debian's own packages run as root, as they do everywhere;
//! what comes from PyPI is installed as `nobody` inside the root. Nothing is started in it, and
//! nothing of it is mounted when this is done.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use super::Place;
use super::cached::run;
use crate::failure::Environment;

/// A Debian with packages, and what it may hold from PyPI.
pub(super) struct Root {
    /// The release of Debian.
    pub(super) suite: &'static str,
    /// The packages beyond the smallest root, separated by commas.
    pub(super) packages: &'static str,
    /// What is installed into `/opt/openhands`.
    pub(super) python: Option<Python>,
    /// Text for `sh` in the root, as `nobody`, that ends with 0.
    pub(super) proof: &'static str,
}

/// Packages from PyPI.
pub(super) struct Python {
    /// The moment after which nothing that was published counts.
    pub(super) until: &'static str,
    /// The packages.
    pub(super) pins: &'static [&'static str],
}

/// The installer of Python packages; pip cannot leave out what is newer than a day.
const UV: &str = "uv==0.13.9";

/// The root's Python folder.
const PYTHON_FOLDER: &str = "/opt/openhands";

/// Where programs of the network look for certificates, on Debian everywhere the same.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

impl Root {
    /// Returns all that decides what the root holds.
    pub(super) fn pins(&self) -> Vec<&'static str> {
        let mut pins = vec![self.suite, self.packages];
        if let Some(python) = &self.python {
            pins.extend([python.until, UV]);
            pins.extend(python.pins);
        }
        pins
    }

    /// Fills a folder that does not exist yet; the root is `root` below it.
    pub(super) fn fill(&self, shell: &Shell, place: &Place, folder: &Path) -> Result<()> {
        if !place.root {
            let text = "the full tier makes and boots a whole Debian: run this as root";
            return Err(Environment(text.to_owned()).into());
        }
        let root = folder.join("root");
        fs::create_dir_all(&root)?;
        let (suite, include) = (self.suite, format!("--include={}", self.packages));
        run(cmd!(shell, "debootstrap --variant=minbase {include} {suite} {root}"))?;
        if let Some(python) = &self.python {
            python.install(shell, &root)?;
        }
        let proof = self.proof;
        run(inside(shell, &root, &["sh", "-euc", proof]))
    }
}

impl Python {
    fn install(&self, shell: &Shell, root: &Path) -> Result<()> {
        // The network of this machine, and the certificates that its owner trusts.
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))
            .context("could not hand on /etc/resolv.conf")?;
        fs::copy(Path::new("/").join(CERTIFICATES), root.join(CERTIFICATES))
            .context("could not hand on the certificates")?;
        let folder = root.join(PYTHON_FOLDER.trim_start_matches('/'));
        fs::create_dir_all(folder.join("home"))?;
        cmd!(shell, "chown --recursive nobody:nogroup {folder}").quiet().run()?;
        run(inside(shell, root, &["python3", "-m", "venv", PYTHON_FOLDER]))?;
        let pip = ["bin/python", "-m", "pip", "install", "--no-cache-dir", UV];
        run(inside(shell, root, &pip))?;
        let until = format!("--exclude-newer={}", self.until);
        let mut words = vec!["bin/uv", "pip", "install", "--python=bin/python", "--no-cache"];
        words.extend(["--compile-bytecode", until.as_str()]);
        words.extend(self.pins);
        run(inside(shell, root, &words))?;
        let home = folder.join("home");
        cmd!(shell, "rm --recursive --force --one-file-system -- {home}").quiet().run()?;
        // From here on it is root's, and whoever runs it can change nothing of it.
        let chown = ["--recursive", "--no-dereference", "root:root"];
        Ok(cmd!(shell, "chown {chown...} {folder}").quiet().run()?)
    }
}

/// Makes a command that runs in the root as `nobody`.
fn inside<'a>(shell: &'a Shell, root: &Path, words: &[&str]) -> Cmd<'a> {
    let user = ["--userspec=nobody:nogroup", "--groups="];
    let home = format!("{PYTHON_FOLDER}/home");
    let folder = if root.join("opt/openhands").is_dir() { PYTHON_FOLDER } else { "/" };
    let environment =
        [format!("--chdir={folder}"), format!("HOME={home}"), format!("TMPDIR={home}")];
    cmd!(shell, "chroot {user...} {root} env {environment...} {words...}")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SSL_CERT_FILE", Path::new("/").join(CERTIFICATES))
}
