//! What `oh-cleanup runs`, `undo` and `purge` say of runs of which something is left, and of which nobody
//! knows any more.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use scene::{PORTS, Scene};
use serde_json::json;

const JOURNALS: &str = "var/lib/openhands-toolkit/journal";
const QUARANTINE: &str = "var/lib/openhands-toolkit/quarantine";

/// The copies of databases that are kept.
fn copies(scene: &Scene) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(scene.instances.lab.at(JOURNALS))? {
        let name = entry?.file_name().into_string().ok().context("a name")?;
        names.extend(name.ends_with(".json").then_some(name));
    }
    names.sort();
    Ok(names)
}

#[test]
fn no_copy_of_a_database_outlives_its_run() -> Result<()> {
    let scene = Scene::new()?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    let run = scene.moved_by(&["--databases", "--yes"])?;
    ensure!(copies(&scene)?.len() == 2, "{:?}", copies(&scene)?);
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.text(PORTS)?.contains("\"gone\""), "{}", scene.text(PORTS)?);
    scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(0)?;
    ensure!(copies(&scene)?.is_empty(), "{:?}", copies(&scene)?);

    // What earlier versions left behind is shown, asked for, and goes with the next purge.
    let stale = format!("{JOURNALS}/cleanup-20200101T000000Z.2.vscode-ports.json");
    let others = [format!("{JOURNALS}/cleanup-notes.json"), format!("{JOURNALS}/cleanup-{run}.x")];
    for below in others.iter().chain([&stale]) {
        scene.instances.lab.write(below, "{}")?;
    }
    let runs = scene.run(&["runs"])?.expect(0)?;
    ensure!(runs.stdout.contains("20200101T000000Z  no journal knows it: "), "{runs:?}");
    ensure!(!runs.stdout.contains("there is no run yet"), "{runs:?}");
    let refused = scene.run(&["purge", "--older-than", "7d"])?.expect(2)?;
    ensure!(refused.stderr.contains("would remove 20200101T000000Z for good"), "{refused:?}");
    ensure!(scene.instances.lab.at(&stale).exists());
    scene.run(&["purge", "--older-than", "7d", "--yes"])?.expect(0)?;
    ensure!(!scene.instances.lab.at(&stale).exists());
    ensure!(others.iter().all(|below| scene.instances.lab.at(below).exists()));
    Ok(())
}

#[test]
fn a_run_whose_journal_is_gone_is_named_and_can_be_purged() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    let journal = scene.instances.lab.at(JOURNALS).join(format!("cleanup-{run}.jsonl"));
    fs::remove_file(&journal)?;
    let said = scene.run(&["runs"])?.expect(0)?;
    ensure!(said.stdout.contains(&format!("{run}  no journal knows it: ")), "{said:?}");
    ensure!(said.stdout.contains(&format!("oh-cleanup purge {run}")), "{said:?}");
    let json = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    let row = &json["result"]["runs"][0];
    ensure!(row["run"] == json!(run) && row["state"] == "lost", "{json:#}");
    ensure!(row["bytes"].as_u64() > Some(0), "{json:#}");

    // By its age nothing goes of which nobody can tell what it is; by its name it does.
    let said = scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(4)?;
    ensure!(said.stdout.contains(&format!("not seen  {run}: its journal is gone")), "{said:?}");
    ensure!(scene.tree(QUARANTINE)?.contains("data/a"), "{said:?}");
    let said = scene.run(&["purge", &run, "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains(&format!("purged    {run}: ")), "{said:?}");
    ensure!(!scene.tree(QUARANTINE)?.contains(&run), "{}", scene.tree(QUARANTINE)?);
    let said = scene.run(&["runs"])?.expect(0)?;
    ensure!(said.stdout == "there is no run yet\n", "{said:?}");
    scene.run(&["purge", &run, "--yes"])?.expect(2)?;
    Ok(())
}
