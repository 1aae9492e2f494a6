//! Some blows at whoever a start depends on; `full_instances_steps.rs` has all of them.

#[path = "instances/guard.rs"]
#[expect(dead_code, reason = "what takes half a minute is of the full tier")]
mod guard;
#[path = "instances/steps.rs"]
#[expect(dead_code, reason = "the full tier goes through all steps and victims")]
mod steps;

use anyhow::Result;
use guard::Blow;
use steps::{Step, Victim};

/// How many calls of the supervisor the standard tier looks at.
const SAMPLE: usize = 4;

#[test]
fn some_blows_at_the_calls_of_a_supervisor() -> Result<()> {
    let scene = guard::Scene::set()?;
    scene.survives_no_supervisor()?;
    let calls = scene.calls()?;
    for call in calls.iter().skip(1).step_by(calls.len().div_ceil(SAMPLE)) {
        scene.survives(Blow::Kill, call)?;
    }
    let fitting: Vec<_> = calls.iter().filter(|call| Blow::NoSpace.fits(call)).collect();
    for call in fitting.iter().skip(1).step_by(fitting.len().div_ceil(2)) {
        scene.survives(Blow::NoSpace, call)?;
    }
    Ok(())
}

#[test]
fn some_blows_at_the_steps_of_a_start() -> Result<()> {
    let scene = steps::Scene::set()?;
    scene.survives(Step::Spawned, Victim::Group)?;
    scene.survives(Step::Born, Victim::Child)?;
    scene.survives(Step::Listening, Victim::Parent)?;
    scene.survives(Step::Published, Victim::Child)?;
    scene.survives(Step::Committed, Victim::Supervisor)
}
