//! Where the workspace is, and how its commands are run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell};

use crate::failure::say;

/// Returns a shell that stands in the root of the workspace.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new().context("could not start")?;
    shell.change_dir(root()?);
    Ok(shell)
}

/// Returns the folder that holds the root manifest.
pub(crate) fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("the build tool stands in no workspace")?.to_path_buf())
}

/// Returns cargo's folder of build results.
pub(crate) fn target() -> Result<PathBuf> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root()?.join(folder))
}

/// Runs a step of a longer run: its name before, its time after.
pub(crate) fn step(name: &str, command: Cmd<'_>) -> Result<()> {
    timed(name, || Ok(command.quiet().run()?))
}

/// Runs a function as a step of a longer run: its name before, its time after.
pub(crate) fn timed(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {name}"));
    let start = Instant::now();
    run().with_context(|| format!("step `{name}` failed"))?;
    say(&format!("== {name}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Returns where a program is found on the search path, the system's folders included.
///
/// A user's search path often lacks `/usr/sbin`, where nginx is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
