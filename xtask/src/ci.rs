//! `ci`: the steps of continuous integration, in the order in which they fail fastest.

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::failure::say;
use crate::{docs, test, workspace};

/// Runs every step; the first that fails ends the run.
pub(crate) fn run(shell: &Shell) -> Result<u8> {
    // What nothing is built twice from need not fill the disk.
    let _incremental = shell.push_env("CARGO_INCREMENTAL", "0");
    workspace::step("format", cmd!(shell, "cargo fmt --all --check"))?;
    let everything = ["--workspace", "--all-targets", "--all-features", "--locked"];
    workspace::step("clippy", cmd!(shell, "cargo clippy {everything...} -- --deny warnings"))?;
    {
        let _warnings = shell.push_env("RUSTDOCFLAGS", "--deny warnings");
        let rustdoc = cmd!(shell, "cargo doc --workspace --no-deps --locked");
        workspace::step("rustdoc", rustdoc)?;
    }
    workspace::timed("docs", || docs::run(shell, true).map(drop))?;
    workspace::timed("tidy", || test::tidy(shell).map(drop))?;
    if workspace::program("cargo-deny").is_some() {
        workspace::step("licences", cmd!(shell, "cargo deny check bans licenses sources"))?;
    } else {
        say("== licences: not run; for this step: cargo install --locked cargo-deny");
    }
    workspace::timed("test", || test::run(shell, &test::Request::default()).map(drop))?;
    sample(shell)?;
    Ok(0)
}

/// Runs one target of the full tier, chosen by the commit so that all get their turn, but for those
/// that need more: `machines` have to install gigabytes first, and `long` ones would be all of it.
fn sample(shell: &Shell) -> Result<()> {
    let manifest = shell.read_file("crates/oh-testsuite/Cargo.toml")?;
    let targets = full_targets(&manifest);
    let commit =
        cmd!(shell, "git rev-parse HEAD").quiet().read().context("no commit to choose by")?;
    let Some(name) = choose(&targets, &commit) else {
        say("== full tier: it has no target yet");
        return Ok(());
    };
    let count = targets.len();
    workspace::timed(&format!("full tier, sample of 1 in {count}: {name}"), || {
        test::run_full_target(shell, name)
    })
}

/// Returns the names of the test targets that need the feature `full` and no other.
fn full_targets(manifest: &str) -> Vec<&str> {
    let quoted = |line: &str| line.split('"').nth(1).map(str::len).unwrap_or_default();
    manifest
        .split("[[test]]")
        .skip(1)
        .filter(|table| {
            table
                .lines()
                .any(|line| line.starts_with("required-features") && line.ends_with("[\"full\"]"))
        })
        .filter_map(|table| table.lines().find(|line| line.starts_with("name") && quoted(line) > 0))
        .filter_map(|line| line.split('"').nth(1))
        .collect()
}

/// Returns the target whose turn it is at this commit.
fn choose<'a>(targets: &[&'a str], commit: &str) -> Option<&'a str> {
    let digits = commit.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok())?;
    let turn = usize::try_from(digits).ok()?.checked_rem(targets.len())?;
    targets.get(turn).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
[[test]]
name = "soak"
required-features = ["full"]

[[test]]
name = "tidy"

[[test]]
name = "hosts"
required-features = ["machines"]

[[test]]
name = "mutants"
required-features = ["full", "long"]

[[test]]
name = "editors"
required-features = ["full"]
"#;

    #[test]
    fn only_targets_that_need_no_more_than_the_feature_are_samples() {
        assert_eq!(full_targets(MANIFEST), ["soak", "editors"]);
    }

    #[test]
    fn the_commit_chooses_the_sample() {
        assert_eq!(choose(&["a", "b", "c"], "0000000400ff"), Some("b"));
        assert_eq!(choose(&[], "0000000400ff"), None);
    }
}
