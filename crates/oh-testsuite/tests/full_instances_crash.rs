//! A start and a stop, killed at every call that changes something; and a start on a full disk.

#[path = "instances/crash.rs"]
mod crash;

use anyhow::{Result, ensure};
use crash::{Blow, Scene, Struck};

fn at_every_call(blow: Blow, struck: Struck) -> Result<()> {
    let scene = Scene::set()?;
    let calls = scene.calls(struck)?;
    let mut wrong = Vec::new();
    // How often it opens something to look, after that, is another number each time.
    let spawned = calls.iter().position(|(call, _)| call.starts_with("clone"));
    let spawned = spawned.unwrap_or(calls.len());
    let fits = |(at, (call, _)): &(usize, &(String, usize))| {
        blow.fits(call) && (matches!(blow, Blow::Kill) || call != "openat" || *at < spawned)
    };
    for (_, (call, number)) in calls.iter().enumerate().filter(fits) {
        if let Err(fault) = scene.survives(blow, struck, call, *number) {
            wrong.push(format!("{fault:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), calls.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_start_is_killed_at_every_call() -> Result<()> {
    at_every_call(Blow::Kill, Struck::Start)
}

#[test]
fn a_stop_is_killed_at_every_call() -> Result<()> {
    at_every_call(Blow::Kill, Struck::Stop)
}

#[test]
fn a_start_meets_a_full_disk_at_every_call() -> Result<()> {
    at_every_call(Blow::NoSpace, Struck::Start)
}
