//! `docs`: the files under docs/ that the tools write themselves.

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

/// Writes the generated files, or with `check` fails where one is out of date.
pub(crate) fn run(shell: &Shell, check: bool) -> Result<u8> {
    let tools =
        ["oh-nginx", "oh-instances", "oh-cleanup", "oh-wscheck", "oh-deploy", "oh-testsuite"];
    let tools = tools.map(|tool| format!("--package={tool}"));
    cmd!(shell, "cargo build --quiet {tools...} --bins")
        .quiet()
        .run()
        .context("could not build the tools whose texts are in docs/")?;
    let check: &[&str] = if check { &["--check"] } else { &[] };
    cmd!(shell, "cargo run --quiet --package oh-testsuite --bin generate-docs -- {check...}")
        .quiet()
        .run()
        .context("docs/ was not brought up to date")?;
    Ok(0)
}
