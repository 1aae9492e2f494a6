//! Every mutant of the healthy site; `lint.rs` has a sample.

#[path = "lint/clients.rs"]
mod clients;
#[path = "lint/mutants.rs"]
mod mutants;
#[path = "lint/site.rs"]
mod site;

use anyhow::{Result, ensure};
use mutants::{Tally, does_look, is_usable, judge, mutants};
use site::Site;

/// Fewer that break something would mean that clients no longer look.
const HEALED_MIN: usize = 60;

/// More would mean that findings have lost their lines.
const LEFT_MAX: usize = 12;

/// Fewer would mean that the table of values no longer fits the healthy site.
const MUTANTS_MIN: usize = 200;

/// Of how many mutants one has its terminal used too: each takes as long as a page.
const TERMINAL_EACH: usize = 10;

#[test]
fn every_mutant_is_named_and_healed() -> Result<()> {
    let mut site = Site::new()?;
    let healthy = site.healthy.clone();
    let seen = site.seen(&healthy, "", None)?;
    let all = mutants(&healthy, &site.folder);
    ensure!(all.len() >= MUTANTS_MIN, "only {} mutants", all.len());
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    is_usable(&seen)?;
    for (number, mutant) in all.iter().enumerate() {
        site.uses_terminal = number % TERMINAL_EACH == 0;
        wrong.extend(judge(&mut site, &seen, mutant, &mut tally)?);
    }
    ensure!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), all.len(), wrong.join("\n"));
    ensure!(tally.healed >= HEALED_MIN && tally.left_to_the_operator <= LEFT_MAX, "{tally:?}");
    does_look(&tally)
}
