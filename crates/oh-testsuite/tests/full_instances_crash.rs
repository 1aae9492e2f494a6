//! A start and a stop, killed at every call that changes something.

#[path = "instances/crash.rs"]
mod crash;

use anyhow::{Result, ensure};
use crash::{Blow, Scene, Struck};

fn at_every_call(struck: Struck) -> Result<()> {
    let scene = Scene::set()?;
    let calls = scene.calls(struck)?;
    let mut wrong = Vec::new();
    for (call, number) in &calls {
        if let Err(fault) = scene.survives(Blow::Kill, struck, call, *number) {
            wrong.push(format!("{fault:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), calls.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_start_is_killed_at_every_call() -> Result<()> {
    at_every_call(Struck::Start)
}

#[test]
fn a_stop_is_killed_at_every_call() -> Result<()> {
    at_every_call(Struck::Stop)
}
