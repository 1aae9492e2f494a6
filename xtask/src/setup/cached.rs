//! Folders of our cache, filled from npm, PyPI and Debian.
//!
//! A folder is built under another name and renamed when it is whole and proved, so an interrupted
//! install is never taken for a good one. Its name carries a hash of the pinned versions; a link
//! with the component's plain name points to the one in use. Scripts of packages never run as
//! root: root builds as `nobody` and takes the result over afterwards.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xshell::{Cmd, Shell, cmd};

use super::Place;
use super::root::Root;
use crate::failure::say;

/// How a folder of the cache is filled.
pub(super) enum Recipe {
    /// `npm install` of these packages; `proof` is JavaScript that ends with 0.
    Npm { pins: &'static [&'static str], scripts: bool, proof: &'static str },
    /// `pip install` of these packages into a venv; `proof` is Python that ends with 0.
    Python { pins: &'static [&'static str], proof: &'static str },
    /// `cargo install` of this program; `proof` is what it answers when asked for its version. It is
    /// built as this workspace is: by whoever asked for it.
    Cargo { pin: &'static str, proof: &'static str },
    /// A whole Debian, which only root can make.
    Root(Root),
}

/// Written into a folder once it is whole.
const STAMP: &str = "versions.txt";

/// Marks a folder that is not whole.
const PARTIAL: &str = ".partial-";

/// How much of a failed program's output goes into the error.
const OUTPUT_LINES_MAX: usize = 12;

/// npm gives a registry up after about ten seconds; by itself it takes more than two minutes.
const RETRIES: [(&str, &str); 3] = [
    ("npm_config_fetch_retries", "2"),
    ("npm_config_fetch_retry_mintimeout", "1000"),
    ("npm_config_fetch_retry_maxtimeout", "10000"),
];

impl Recipe {
    fn pins(&self) -> Vec<&'static str> {
        match self {
            Recipe::Npm { pins, .. } | Recipe::Python { pins, .. } => pins.to_vec(),
            Recipe::Cargo { pin, .. } => vec![pin],
            Recipe::Root(root) => root.pins(),
        }
    }

    /// Tells whether the pinned versions are installed and in use.
    pub(super) fn present(&self, place: &Place, name: &str) -> bool {
        let folder = folder_name(name, &self.pins());
        fs::read_link(place.cache.join(name)).is_ok_and(|target| target == Path::new(&folder))
            && place.cache.join(folder).join(STAMP).is_file()
    }

    /// Builds the folder beside its place, proves it, and puts it there.
    pub(super) fn install(&self, shell: &Shell, place: &Place, name: &str) -> Result<()> {
        let folder = folder_name(name, &self.pins());
        let whole = place.cache.join(&folder);
        if !whole.join(STAMP).is_file() {
            remove_leftovers(shell, place, name)?;
            // The process id keeps us apart from the children of a run that was killed.
            let partial = format!("{folder}{PARTIAL}{}", std::process::id());
            let partial = place.cache.join(partial);
            self.fill(shell, place, name, &partial)?;
            fs::write(partial.join(STAMP), format!("{}\n", self.pins().join("\n")))?;
            fs::rename(&partial, &whole).context("could not put the folder in its place")?;
        }
        let link = place.cache.join(format!("{name}.link"));
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(&folder, &link)?;
        fs::rename(&link, place.cache.join(name)).context("could not switch to the new version")
    }

    fn fill(&self, shell: &Shell, place: &Place, name: &str, partial: &Path) -> Result<()> {
        if let Recipe::Root(root) = self {
            return root.fill(shell, place, partial);
        }
        let builder = Builder::new(shell, place, partial.to_path_buf())?;
        match self {
            Recipe::Npm { pins, scripts, proof } => builder.npm(name, pins, *scripts, proof)?,
            Recipe::Python { pins, proof } => builder.python(pins, proof)?,
            Recipe::Cargo { pin, proof } => builder.cargo(name, pin, proof)?,
            Recipe::Root(_) => {}
        }
        builder.take_over()
    }
}

/// A folder under construction, and whose rights are used for it.
struct Builder<'a> {
    shell: &'a Shell,
    place: &'a Place,
    folder: PathBuf,
    home: PathBuf,
}

impl<'a> Builder<'a> {
    fn new(shell: &'a Shell, place: &'a Place, folder: PathBuf) -> Result<Builder<'a>> {
        let home = folder.join("home");
        fs::create_dir_all(&home)?;
        for folder in [&folder, &home] {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            if place.root {
                cmd!(shell, "chown nobody:nogroup {folder}").quiet().run()?;
            }
        }
        Ok(Builder { shell, place, folder, home })
    }

    fn npm(&self, name: &str, pins: &[&str], scripts: bool, proof: &str) -> Result<()> {
        let folder = &self.folder;
        let options = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefix"];
        if name == "node" {
            // The machine's own npm may stand in a home that `nobody` cannot enter, and this run
            // executes nothing that it fetches.
            let npm =
                cmd!(self.shell, "npm install --ignore-scripts {options...} {folder} {pins...}");
            run(npm.envs(RETRIES))?;
            // One folder on the search path gives Node and the npm that was tested with it: an older
            // npm, such as Debian's, is built around its own Node.
            symlink("node_modules/.bin", folder.join("bin"))?;
            let node = folder.join("bin/node");
            return run(self.unprivileged(cmd!(self.shell, "{node} --eval {proof}")));
        }
        let ignore: &[&str] = if scripts { &[] } else { &["--ignore-scripts"] };
        let node = self.place.cache.join("node/bin/node");
        let cli = self.place.cache.join("node/node_modules/npm/bin/npm-cli.js");
        let install =
            cmd!(self.shell, "{node} {cli} install {ignore...} {options...} {folder} {pins...}");
        run(self.unprivileged(self.npm_settings(install)?))?;
        run(self.unprivileged(cmd!(self.shell, "{node} --eval {proof}")))
    }

    /// Hands the person's registry and certificates on, which `nobody` cannot read.
    fn npm_settings<'b>(&self, install: Cmd<'b>) -> Result<Cmd<'b>> {
        let node = self.place.cache.join("node");
        let headers = fs::canonicalize(node.join("bin/node"))?;
        let headers = headers.ancestors().nth(2).context("Node stands in no folder")?;
        let mut install = install
            .envs(RETRIES)
            .env("npm_config_cache", self.home.join("npm"))
            .env("npm_config_nodedir", headers)
            .env("npm_config_yes", "true");
        for key in ["registry", "cafile"] {
            let value = cmd!(self.shell, "npm config get {key}").quiet().ignore_stderr().read();
            if let Some(value) =
                value.ok().filter(|value| !["", "null", "undefined"].contains(&&**value))
            {
                install = install.env(format!("npm_config_{key}"), value);
            }
        }
        Ok(install)
    }

    fn python(&self, pins: &[&str], proof: &str) -> Result<()> {
        let folder = &self.folder;
        run(self.unprivileged(cmd!(self.shell, "/usr/bin/python3 -m venv {folder}")))?;
        let python = folder.join("bin/python");
        let pip = ["-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"];
        run(self.unprivileged(cmd!(self.shell, "{python} {pip...} {pins...}")))?;
        run(self.unprivileged(cmd!(self.shell, "{python} -c {proof}")))
    }

    fn cargo(&self, name: &str, pin: &str, proof: &str) -> Result<()> {
        let (folder, builds) = (&self.folder, self.home.join("target"));
        let options = ["--locked", "--no-track", "--quiet", "--target-dir"];
        run(cmd!(self.shell, "cargo install {options...} {builds} --root {folder} {pin}"))?;
        let program = folder.join("bin").join(name);
        let said = cmd!(self.shell, "{program} --version").quiet().read()?;
        anyhow::ensure!(said == proof, "{name} says that it is {said:?}");
        Ok(())
    }

    /// Makes a command run in the folder as `nobody` where we are root, with a home of its own.
    fn unprivileged<'b>(&'b self, command: Cmd<'b>) -> Cmd<'b> {
        let mut path = OsString::from(self.place.cache.join("node/bin"));
        path.push(":/usr/local/bin:/usr/bin:/bin");
        let folder = &self.folder;
        let inner: std::process::Command = command.into();
        let mut words = vec![OsString::from("env"), OsString::from("--chdir"), folder.into()];
        if self.place.root {
            let drop = [
                "setpriv",
                "--reuid=nobody",
                "--regid=nogroup",
                "--clear-groups",
                "--no-new-privs",
            ];
            words = drop.map(OsString::from).into_iter().chain(words).collect();
        }
        words.push(inner.get_program().to_owned());
        words.extend(inner.get_args().map(ToOwned::to_owned));
        let Some((program, rest)) = words.split_first() else { return cmd!(self.shell, "false") };
        let mut outer = cmd!(self.shell, "{program} {rest...}")
            .env("PATH", path)
            .env("HOME", &self.home)
            .env("TMPDIR", &self.home);
        for (key, value) in inner.get_envs() {
            if let Some(value) = value {
                outer = outer.env(key, value);
            }
        }
        outer
    }

    /// Throws the build's home away; root becomes the owner, and others may only read.
    fn take_over(&self) -> Result<()> {
        remove_tree(self.shell, &self.home)?;
        if self.place.root {
            let folder = &self.folder;
            let chown = ["--recursive", "--no-dereference", "root:root"];
            cmd!(self.shell, "chown {chown...} {folder}").quiet().run()?;
            cmd!(self.shell, "chmod --recursive u=rwX,go=rX,ug-s {folder}").quiet().run()?;
        }
        Ok(())
    }
}

/// Runs a command silently; the end of what it wrote is in the error.
pub(super) fn run(command: Cmd<'_>) -> Result<()> {
    let name = command.to_string();
    let output = command.quiet().ignore_status().output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(OUTPUT_LINES_MAX)..).unwrap_or_default();
    bail!("`{name}` failed ({}):\n    {}", output.status, end.join("\n    "))
}

/// Removes what interrupted runs left; the lock says that none is at work.
fn remove_leftovers(shell: &Shell, place: &Place, name: &str) -> Result<()> {
    for entry in fs::read_dir(&place.cache)? {
        let entry = entry?.file_name().to_string_lossy().into_owned();
        if entry.starts_with(&format!("{name}-")) && entry.contains(PARTIAL) {
            // A child of the killed run may still write into it; the next run tries again.
            remove_tree(shell, &place.cache.join(&entry)).unwrap_or_else(|error| {
                say(&format!("setup: could not remove {entry}: {error}"));
            });
        }
    }
    Ok(())
}

/// Removes a tree of the cache, whose folder only root or its owner can write to.
fn remove_tree(shell: &Shell, folder: &Path) -> Result<()> {
    if folder.symlink_metadata().is_ok() {
        cmd!(shell, "rm --recursive --force --one-file-system -- {folder}").quiet().run()?;
    }
    Ok(())
}

/// Names a version by a hash of its pins (FNV-1a), so that a changed pin is another folder.
fn folder_name(name: &str, pins: &[&str]) -> String {
    let bytes = pins.iter().flat_map(|pin| pin.bytes().chain([b'\n']));
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{name}-{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_pin_is_another_folder() {
        assert_eq!(folder_name("a", &[]), "a-811c9dc5");
        assert_ne!(folder_name("a", &["x@1"]), folder_name("a", &["x@2"]));
        assert_ne!(folder_name("a", &["x@1", "y@1"]), folder_name("a", &["x@1y@1"]));
    }
}
