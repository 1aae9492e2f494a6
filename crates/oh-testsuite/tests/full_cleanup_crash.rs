//! `oh-cleanup` struck at every system call that changes something: killed, out of space, refused.

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
fn a_cleanup_is_killed_at_every_call() -> Result<()> {
    let struck = Struck::set()?.matrix(&[Blow::Kill], 1)?;
    ensure!(struck > 60, "only {struck} blows");
    Ok(())
}

#[test]
fn a_cleanup_meets_a_full_disk_at_every_call() -> Result<()> {
    let struck = Struck::set()?.matrix(&[Blow::NoSpace], 1)?;
    ensure!(struck > 30, "only {struck} blows");
    Ok(())
}

#[test]
fn a_cleanup_is_refused_every_call() -> Result<()> {
    let struck = Struck::set()?.matrix(&[Blow::Denied], 1)?;
    ensure!(struck > 20, "only {struck} blows");
    Ok(())
}

#[test]
fn a_cleanup_is_killed_at_every_call_while_an_editor_runs() -> Result<()> {
    let struck = Struck::set()?.matrix_with_an_editor(1)?;
    ensure!(struck > 30, "only {struck} blows");
    Ok(())
}

#[test]
fn an_undo_is_killed_at_every_call() -> Result<()> {
    let struck = Struck::set()?.matrix_of_an_undo(1)?;
    ensure!(struck > 20, "only {struck} blows");
    Ok(())
}
