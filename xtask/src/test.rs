//! `test`: the machine is made ready, the tools are built, then every test is run.

use anyhow::Result;
use clap::Args;
use xshell::{Shell, cmd};

use crate::failure::say;
use crate::setup::{self, Need};
use crate::workspace;

/// What `test` was asked to run.
#[derive(Args, Default)]
pub(crate) struct Request {
    /// Add the full tier: random and exhaustive tests, a real OpenHands, hosts with systemd
    #[arg(long)]
    full: bool,
    /// Run only the tests whose name contains one of these
    filters: Vec<String>,
}

/// The features that add the full tier.
const FULL: &str = "--features=oh-testsuite/full,oh-testsuite/long,oh-testsuite/machines";

/// Runs the tests with nextest where it is installed, else with `cargo test`.
pub(crate) fn run(shell: &Shell, request: &Request) -> Result<u8> {
    let place = setup::run(shell, if request.full { Need::Full } else { Need::Test })?;
    let _components = shell.push_env("OHT_TEST_COMPONENTS", &place.cache);
    let full: &[&str] = if request.full { &[FULL] } else { &[] };
    cmd!(shell, "cargo build --workspace --bins {full...}").run()?;
    let filters = &request.filters;
    if workspace::program("cargo-nextest").is_some() {
        let options = ["--workspace", "--no-fail-fast", "--no-tests=warn"];
        cmd!(shell, "cargo nextest run {options...} {full...} {filters...}").run()?;
        if filters.is_empty() {
            cmd!(shell, "cargo test --workspace --doc --quiet").run()?;
        }
    } else {
        say("test: cargo-nextest is not installed; `cargo test` runs each test once");
        cmd!(shell, "cargo test --workspace --no-fail-fast {full...} -- {filters...}").run()?;
    }
    Ok(0)
}

/// Runs the tests that hold the rules of the house.
pub(crate) fn tidy(shell: &Shell) -> Result<u8> {
    cmd!(shell, "cargo test --quiet --package oh-testsuite --test tidy --test edges").run()?;
    Ok(0)
}

/// Runs one test target of the full tier that needs no more than the standard tier has.
pub(crate) fn run_full_target(shell: &Shell, name: &str) -> Result<()> {
    let place = setup::run(shell, Need::Test)?;
    let _components = shell.push_env("OHT_TEST_COMPONENTS", &place.cache);
    cmd!(shell, "cargo test --package oh-testsuite --features full --test {name}").run()?;
    Ok(())
}
