//! The whole crash matrices of taking over and giving back; `adopt_crash.rs` has a sample.

#[path = "adopt/strikes.rs"]
mod strikes;

use anyhow::{Result, ensure};
use strikes::{Blow, Strikes, Struck};

/// Everything that can happen at a system call.
const BLOWS: [Blow; 3] = [Blow::Kill, Blow::NoSpace, Blow::Denied];

#[test]
fn every_blow_at_taking_over() -> Result<()> {
    let struck = Strikes::set()?.matrix(Struck::Adopt, &BLOWS, 1)?;
    ensure!(struck > 100, "only {struck} blows");
    Ok(())
}

#[test]
fn every_blow_at_giving_back() -> Result<()> {
    let struck = Strikes::set()?.matrix(Struck::Release, &BLOWS, 1)?;
    ensure!(struck > 50, "only {struck} blows");
    Ok(())
}
