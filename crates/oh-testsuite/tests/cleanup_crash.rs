//! `oh-cleanup` struck at some of its system calls; `full_cleanup_crash.rs` strikes at all of them.

#[path = "cleanup/crash.rs"]
mod crash;
#[expect(dead_code, reason = "nothing is beside the old files here")]
#[path = "cleanup/old_site.rs"]
mod old_site;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "no decoys are here")]
mod scene;

use anyhow::{Result, ensure};
use crash::{Blow, Struck};

#[test]
fn some_blows_at_a_cleanup() -> Result<()> {
    let struck = Struck::set()?.matrix(&[Blow::Kill, Blow::NoSpace, Blow::Denied], 13)?;
    ensure!(struck > 15, "only {struck} blows");
    Ok(())
}

#[test]
fn a_cleanup_that_was_killed_behind_its_stops_is_gone_on_with() -> Result<()> {
    let struck = Struck::set()?.matrix_with_an_editor(17)?;
    ensure!(struck > 2, "only {struck} blows");
    Ok(())
}

#[test]
fn an_undo_that_was_killed_is_gone_on_with() -> Result<()> {
    let struck = Struck::set()?.matrix_of_an_undo(9)?;
    ensure!(struck > 2, "only {struck} blows");
    Ok(())
}
