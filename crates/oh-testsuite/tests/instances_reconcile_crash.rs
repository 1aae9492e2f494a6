//! Blows at reconciling: killed at one of its system calls, the next run ends in the same state.

#[path = "crash/blows.rs"]
#[expect(dead_code, reason = "the other tests fail calls as well")]
mod blows;
#[path = "instances/reconciled.rs"]
#[expect(dead_code, reason = "other tests look at more")]
mod reconciled;

use anyhow::{Context as _, Result, ensure};
use blows::Blow;
use oh_testsuite::instances::Instances;
use oh_testsuite::wait;
use reconciled::{BOUND, PORTS, editor_of_the_original, is_routed, kill_all, reconcile, settled};

/// How many blows the standard tier looks at.
const SAMPLE: usize = 5;

/// A root with one instance of which nothing lives.
fn wreck(scene: &Instances) -> Result<()> {
    kill_all(&scene.start("hello")?)
}

#[test]
fn some_blows_at_retiring() -> Result<()> {
    let scene = Instances::new("")?;
    wreck(&scene)?;
    let log = scene.lab.at("log/strace").display().to_string();
    let tool = scene.command(&["reconcile"])?;
    let calls = blows::calls(&tool, &log)?;
    for (call, number) in calls.iter().step_by(calls.len().div_ceil(SAMPLE)) {
        let struck = || -> Result<()> {
            wreck(&scene)?;
            Blow::Kill.strike(&tool, &log, call, *number)?;
            reconcile(&scene, &[], 0)?;
            let left = settled(&scene)?;
            ensure!(
                left.len() == 1 && left[0].starts_with("hello: nothing of it runs"),
                "{left:?}"
            );
            ensure!(!is_routed(&scene, "hello")?, "it is routed");
            let entries = &scene.json(PORTS)?["instances"];
            ensure!(entries.as_object().is_some_and(serde_json::Map::is_empty), "{entries}");
            ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
            Ok(())
        };
        struck().with_context(|| format!("killed at {call} {number}"))?;
    }
    Ok(())
}

#[test]
fn some_blows_at_starting_what_is_wanted() -> Result<()> {
    let scene = Instances::new("")?;
    wreck(&scene)?;
    let log = scene.lab.at("log/strace").display().to_string();
    let tool = scene.command(&["reconcile", "--start"])?;
    let calls = blows::calls(&tool, &log)?;
    let port = scene.json("var/lib/openhands-toolkit/instances/hello.json")?["port"].clone();
    for (call, number) in calls.iter().step_by(calls.len().div_ceil(SAMPLE)) {
        let struck = || -> Result<()> {
            wreck(&scene)?;
            Blow::Kill.strike(&tool, &log, call, *number)?;
            // An editor that is on its way is waited for by `start`, and looked at by the next run.
            let instance = scene.start("hello")?;
            ensure!(instance["port"] == port, "{instance:#}");
            reconcile(&scene, &["--start"], 0)?;
            ensure!(settled(&scene)?.is_empty());
            ensure!(is_routed(&scene, "hello")?, "it is not routed");
            Ok(())
        };
        struck().with_context(|| format!("killed at {call} {number}"))?;
    }
    Ok(())
}

#[test]
fn some_blows_at_adopting() -> Result<()> {
    let scene = Instances::new("")?;
    // nginx has a set.
    scene.start("hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let log = scene.lab.at("log/strace").display().to_string();
    let tool = scene.command(&["reconcile"])?;
    let port = scene.first_port;
    let mut editor = editor_of_the_original(&scene, "old", port)?;
    let calls = blows::calls(&tool, &log)?;
    scene.run(&["stop", "old"])?.expect(0)?;
    editor.stop()?;
    for (call, number) in calls.iter().step_by(calls.len().div_ceil(SAMPLE)) {
        let struck = || -> Result<()> {
            let mut editor = editor_of_the_original(&scene, "old", port)?;
            Blow::Kill.strike(&tool, &log, call, *number)?;
            // A supervisor that was just started is given time by each run.
            wait::until("its adoption", BOUND, || {
                scene.run(&["reconcile"])?.expect(0)?;
                Ok(is_routed(&scene, "old")?.then_some(()))
            })?;
            ensure!(!editor.has_ended()?, "the editor was ended");
            ensure!(settled(&scene)?.is_empty());
            scene.run(&["stop", "old"])?.expect(0)?;
            ensure!(editor.has_ended()?, "the editor is left");
            editor.stop()?;
            Ok(())
        };
        struck().with_context(|| format!("killed at {call} {number}"))?;
    }
    Ok(())
}
