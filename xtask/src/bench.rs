//! `bench`: each benchmark is a program `bench-NAME` of the test suite, or a bench target.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::failure::Usage;
use crate::setup::{self, Need};
use crate::workspace;

/// Benchmarks that are cargo bench targets: (name, package, target).
const BENCH_TARGETS: &[(&str, &str, &str)] = &[("config", "oh-config", "load")];

/// Runs a benchmark by its name; without a name, lists them on stdout.
pub(crate) fn run(shell: &Shell, name: Option<&str>, arguments: &[String]) -> Result<u8> {
    let programs = programs(shell)?;
    let known = || {
        let targets = BENCH_TARGETS.iter().map(|(name, ..)| (*name).to_owned());
        let mut known: Vec<String> = targets.chain(programs.iter().cloned()).collect();
        known.sort();
        known
    };
    let Some(name) = name else {
        for name in known() {
            writeln!(std::io::stdout(), "{name}")?;
        }
        return Ok(0);
    };
    if let Some((_, package, target)) = BENCH_TARGETS.iter().find(|(known, ..)| *known == name) {
        cmd!(shell, "cargo bench --package {package} --bench {target} -- {arguments...}").run()?;
    } else if programs.iter().any(|known| known == name) {
        let place = setup::run(shell, Need::Bench)?;
        let _components = shell.push_env("OHT_TEST_COMPONENTS", &place.cache);
        cmd!(shell, "cargo build --release --workspace --bins").run()?;
        let program = workspace::target()?.join(format!("release/bench-{name}"));
        cmd!(shell, "{program} {arguments...}").run()?;
    } else {
        let known = known().join(", ");
        return Err(Usage(format!("no benchmark is called {name:?}; known: {known}")).into());
    }
    Ok(0)
}

/// Returns the names behind `bench-` of the test suite's programs, sorted.
fn programs(shell: &Shell) -> Result<Vec<String>> {
    let files =
        shell.read_dir("crates/oh-testsuite/src/bin").context("could not list benchmarks")?;
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str()?.strip_prefix("bench-"));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    Ok(names)
}
