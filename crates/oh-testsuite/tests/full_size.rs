//! How large the incident tool is as it is shipped: it is copied onto machines whose disks are full.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;

/// The largest that it may be without symbols, in bytes.
const BYTES_MAX: u64 = 4_000_000;

/// The folder of builds that this test stands in.
fn target() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(3).context("a folder of builds")?.to_path_buf())
}

#[test]
fn the_incident_tool_is_small() -> Result<()> {
    let target = target()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--offline", "--package", "oh-cleanup"]);
    build.arg("--target-dir").arg(&target).current_dir(components::workspace()?);
    let built = build.output().context("could not run cargo")?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = target.join("release/oh-cleanup");
    let folder = tempfile::tempdir()?;
    let stripped = folder.path().join("oh-cleanup");
    let mut strip = Command::new(components::program("strip")?);
    let strip = strip.arg("--strip-all").arg("-o").arg(&stripped).arg(&program).output()?;
    ensure!(strip.status.success(), "{}", String::from_utf8_lossy(&strip.stderr));
    let bytes = fs::metadata(&stripped)?.len();
    ensure!(bytes < BYTES_MAX, "{bytes} bytes without symbols, and {BYTES_MAX} are allowed");
    Ok(())
}
