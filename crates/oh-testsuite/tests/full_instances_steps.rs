//! Whoever a start depends on, killed at each of its steps; the supervisor at every call that
//! changes something.

#[path = "instances/guard.rs"]
mod guard;
#[path = "instances/steps.rs"]
mod steps;

use anyhow::{Result, ensure};
use guard::Blow;
use oh_testsuite::trace::Call;
use steps::{Step, Victim};

fn at_every_call(blow: Blow) -> Result<()> {
    let scene = guard::Scene::set()?;
    let calls = scene.calls()?;
    let fitting: Vec<&Call> = calls.iter().filter(|call| blow.fits(call)).collect();
    ensure!(fitting.len() > 10, "too few calls to be true: {fitting:?}");
    let survived = fitting.iter().map(|call| scene.survives(blow, call));
    let wrong = survived.filter_map(|survived| survived.err().map(|fault| format!("{fault:#}")));
    let wrong: Vec<String> = wrong.collect();
    ensure!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), fitting.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_supervisor_is_killed_at_every_call() -> Result<()> {
    guard::Scene::set()?.survives_no_supervisor()?;
    at_every_call(Blow::Kill)
}

#[test]
fn a_supervisor_meets_a_full_disk_at_every_call() -> Result<()> {
    at_every_call(Blow::NoSpace)
}

#[test]
fn a_supervisor_outlives_a_full_disk() -> Result<()> {
    guard::Scene::set()?.outlives_a_full_disk()
}

#[test]
fn each_of_four_is_killed_at_every_step() -> Result<()> {
    let scene = steps::Scene::set()?;
    let mut wrong = Vec::new();
    for step in Step::ALL {
        for victim in Victim::ALL.into_iter().filter(|victim| victim.is_there(step)) {
            if let Err(fault) = scene.survives(step, victim) {
                wrong.push(format!("{fault:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
