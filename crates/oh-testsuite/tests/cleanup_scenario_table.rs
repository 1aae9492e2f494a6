//! The tables of `docs/cleanup-scenarios.md` and `docs/cleanup-features.md` are true: each row is there, and
//! each test that it names.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;

/// How many scenarios there are.
const SCENARIOS: usize = 35;

/// How many of them have to be tests.
const TESTED_MIN: usize = 31;

/// How many things it can do.
const FEATURES: usize = 22;

/// How a row begins that has no test; the reason is behind it.
const NONE: &str = "none: ";

/// Demands that `file::name`, or `crates/path/file.rs::name`, is a test.
fn exists(test: &str) -> Result<()> {
    let (file, name) = test.split_once("::").with_context(|| format!("{test} is no test"))?;
    let path = match file.contains('/') {
        true => file.to_owned(),
        false => format!("crates/oh-testsuite/tests/{file}.rs"),
    };
    let path = components::workspace()?.join(path);
    let text = fs::read_to_string(&path).with_context(|| format!("{test}: no file"))?;
    let (before, _) = text.split_once(&format!("fn {name}(")).with_context(|| test.to_owned())?;
    let above = before.trim_end().lines().next_back().unwrap_or_default();
    ensure!(above.trim() == "#[test]", "{test} is no test");
    Ok(())
}

/// The words between backticks that name a test.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"))
}

/// The rows of a page's tables, each with its cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn page(name: &str) -> Result<String> {
    Ok(fs::read_to_string(components::workspace()?.join("docs").join(name))?)
}

#[test]
fn every_scenario_has_its_test_or_a_reason() -> Result<()> {
    let page = page("cleanup-scenarios.md")?;
    let rows = rows(&page);
    ensure!(rows.len() == SCENARIOS, "{} rows", rows.len());
    let mut tested = 0;
    for (at, row) in rows.iter().enumerate() {
        let [number, scenario, told] = row.as_slice() else { anyhow::bail!("{row:?}") };
        ensure!(*number == (at + 1).to_string() && !scenario.is_empty(), "{row:?}");
        let reason = told.strip_prefix(NONE).is_some_and(|reason| !reason.is_empty());
        ensure!(reason || tests(told).next().is_some(), "{row:?}");
        tested += usize::from(!reason);
    }
    ensure!(tested >= TESTED_MIN, "only {tested} are tests");
    tests(&page).try_for_each(exists)
}

#[test]
fn everything_that_it_can_do_has_its_test() -> Result<()> {
    let page = page("cleanup-features.md")?;
    let rows = rows(&page);
    ensure!(rows.len() == FEATURES, "{} rows", rows.len());
    for (at, row) in rows.iter().enumerate() {
        let [number, what, told] = row.as_slice() else { anyhow::bail!("{row:?}") };
        ensure!(*number == format!("C{}", at + 1) && !what.is_empty(), "{row:?}");
        ensure!(tests(told).next().is_some(), "{row:?}");
    }
    tests(&page).try_for_each(exists)
}
