//! The whole crash matrices; `crash.rs` has the data change whole and a sample of the others.

#[path = "crash/scene.rs"]
mod scene;

use anyhow::{Result, ensure};
use scene::{Blow, Change, Scene};

/// Everything that can happen at a system call.
const BLOWS: [Blow; 3] = [Blow::Kill, Blow::NoSpace, Blow::Denied];

#[test]
fn every_blow_at_a_data_change() -> Result<()> {
    let struck = Scene::set(Change::Data)?.matrix(&BLOWS, 1)?;
    ensure!(struck > 20, "only {struck} blows");
    Ok(())
}

#[test]
fn every_blow_at_a_change_that_nginx_judges() -> Result<()> {
    let struck = Scene::set(Change::Structure)?.matrix(&BLOWS, 1)?;
    ensure!(struck > 20, "only {struck} blows");
    Ok(())
}

#[test]
fn every_blow_at_the_first_change_of_all() -> Result<()> {
    let struck = Scene::set(Change::First)?.matrix(&BLOWS, 1)?;
    ensure!(struck > 20, "only {struck} blows");
    Ok(())
}
