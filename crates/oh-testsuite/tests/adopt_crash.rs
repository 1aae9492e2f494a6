//! Taking over and giving back, struck at any change: the routes are served all the time, and
//! both `adopt` and `release` end clean from wherever a run ended.

#[path = "adopt/strikes.rs"]
mod strikes;

use anyhow::{Result, ensure};
use strikes::{Blow, Strikes, Struck};

#[test]
fn some_blows_at_taking_over() -> Result<()> {
    let blows = [Blow::Kill, Blow::NoSpace, Blow::Denied];
    let struck = Strikes::set()?.matrix(Struck::Adopt, &blows, 9)?;
    ensure!(struck > 10, "only {struck} blows");
    Ok(())
}

#[test]
fn some_blows_at_giving_back() -> Result<()> {
    let blows = [Blow::Kill, Blow::NoSpace, Blow::Denied];
    let struck = Strikes::set()?.matrix(Struck::Release, &blows, 7)?;
    ensure!(struck > 5, "only {struck} blows");
    Ok(())
}
