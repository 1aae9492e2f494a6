//! `oh-cleanup` beside an nginx that does not run, or does not take its configuration any more.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use oh_testsuite::wait;
use scene::{PORTS, Scene};
use serde_json::json;

/// How long nginx may take to serve something else, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// A scene with an instance that is served, and left-overs.
fn served() -> Result<Scene> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    Ok(scene)
}

/// Demands that all but the routes is clean.
fn is_clean_but_for_routes(scene: &Scene) -> Result<()> {
    ensure!(scene.instances.processes()?.is_empty(), "{:?}", scene.instances.processes()?);
    ensure!(!scene.tree("tmp")?.contains("gone"), "{}", scene.tree("tmp")?);
    ensure!(scene.instances.json(PORTS)?["instances"] == json!({}), "{}", scene.text(PORTS)?);
    Ok(())
}

#[test]
fn where_no_nginx_runs_everything_else_is_done() -> Result<()> {
    let mut scene = served()?;
    scene.instances.lab.stop_nginx()?;
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    is_clean_but_for_routes(&scene)?;
    ensure!(said.stdout.contains("publish the routes"), "{said:?}");
    // What it serves when it comes up is what is left.
    scene.instances.lab.start_nginx()?;
    ensure!(!scene.is_routed("hello")?, "hello is routed");
    Ok(())
}

#[test]
fn a_configuration_that_nginx_refuses_ends_no_other_step() -> Result<()> {
    let scene = served()?;
    let before = scene.instances.lab.generation();
    // As an operator's, or what an older script took away.
    let broken = "etc/nginx/conf.d/broken.conf";
    scene.instances.lab.write(broken, "include /nowhere/shared.inc;\n")?;
    let said = scene.run(&["--all", "--yes"])?;
    is_clean_but_for_routes(&scene)?;
    let line = said.stdout.lines().find(|line| line.contains("publish the routes"));
    ensure!(line.is_some_and(|line| line.starts_with("not done  ")), "{said:?}");
    ensure!([1, 6, 7].contains(&said.code), "{said:?}");
    ensure!(scene.instances.lab.generation() == before, "what was served is gone: {said:?}");
    fs::remove_file(scene.instances.lab.at(broken))?;
    let again = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(again.stdout.contains("done      publish the routes"), "{again:?}");
    let last = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(last.stdout.starts_with("nothing to do"), "{last:?}");
    wait::until("the route to be gone", BOUND, || Ok((!scene.is_routed("hello")?).then_some(())))?;
    Ok(())
}
