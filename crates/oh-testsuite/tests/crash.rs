//! Whatever fails and wherever a run is killed: exactly the old or exactly the new routes are
//! served, and the next run ends in the clean state.

#[path = "crash/scene.rs"]
mod scene;

use anyhow::{Result, ensure};
use scene::{Blow, Change, Scene};

#[test]
fn killed_at_any_change_of_a_data_change() -> Result<()> {
    let struck = Scene::set(Change::Data)?.matrix(&[Blow::Kill], 1)?;
    ensure!(struck > 10, "only {struck} blows");
    Ok(())
}

#[test]
fn a_full_disk_or_a_missing_permission_at_a_data_change() -> Result<()> {
    let struck = Scene::set(Change::Data)?.matrix(&[Blow::NoSpace, Blow::Denied], 1)?;
    ensure!(struck > 10, "only {struck} blows");
    Ok(())
}

#[test]
fn some_blows_at_a_change_that_nginx_judges() -> Result<()> {
    let blows = [Blow::Kill, Blow::NoSpace, Blow::Denied];
    let struck = Scene::set(Change::Structure)?.matrix(&blows, 5)?;
    ensure!(struck > 5, "only {struck} blows");
    Ok(())
}

#[test]
fn some_blows_at_the_first_change_of_all() -> Result<()> {
    let blows = [Blow::Kill, Blow::NoSpace, Blow::Denied];
    let struck = Scene::set(Change::First)?.matrix(&blows, 7)?;
    ensure!(struck > 5, "only {struck} blows");
    Ok(())
}
