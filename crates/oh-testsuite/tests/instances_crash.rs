//! Some blows at starting and stopping; `full_instances_crash.rs` has all of them.

#[path = "instances/crash.rs"]
mod crash;

use anyhow::Result;
use crash::{Blow, Scene, Struck};

/// How many blows of each command the standard tier looks at.
const SAMPLE: usize = 4;

#[test]
fn some_blows_at_a_start_and_a_stop() -> Result<()> {
    let scene = Scene::set()?;
    for struck in [Struck::Start, Struck::Stop] {
        let calls = scene.calls(struck)?;
        for (call, number) in calls.iter().step_by(calls.len().div_ceil(SAMPLE)) {
            scene.survives(Blow::Kill, struck, call, *number)?;
        }
    }
    Ok(())
}
