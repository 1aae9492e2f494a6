//! Every mutant of the healthy site; `lint.rs` has a sample.

#[path = "lint/mutants.rs"]
mod mutants;
#[path = "lint/site.rs"]
mod site;

use anyhow::{Result, ensure};
use mutants::{judge, mutants};
use site::Site;

/// Fewer would mean that the table of values no longer fits the healthy site.
const MUTANTS_MIN: usize = 200;

#[test]
fn every_mutant_is_named_and_healed() -> Result<()> {
    let mut site = Site::new()?;
    let healthy = site.healthy.clone();
    let seen = site.seen(&healthy, "")?;
    let all = mutants(&healthy);
    ensure!(all.len() >= MUTANTS_MIN, "only {} mutants", all.len());
    let mut wrong = Vec::new();
    for mutant in &all {
        wrong.extend(judge(&mut site, &seen, mutant)?);
    }
    ensure!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), all.len(), wrong.join("\n"));
    Ok(())
}
