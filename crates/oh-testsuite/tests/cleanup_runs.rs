//! What `oh-cleanup runs`, `undo` and `purge` say of runs of which something is left, and of which nobody
//! knows any more.

#[path = "crash/blows.rs"]
#[expect(dead_code, reason = "one blow is enough here")]
mod blows;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;
#[path = "cleanup/stand_in.rs"]
mod stand_in;

use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::alone::alone;
use oh_testsuite::instances::is_root;
use scene::{PORTS, Scene};
use serde_json::json;

const JOURNALS: &str = "var/lib/openhands-toolkit/journal";
const QUARANTINE: &str = "var/lib/openhands-toolkit/quarantine";

/// How many things a run moves that is killed in the midst of them.
const COUNT: usize = 40;

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

#[test]
fn what_a_later_run_moved_is_not_missed_by_the_one_that_was_killed() -> Result<()> {
    for is_first_first in [true, false] {
        let scene = Scene::new()?;
        let at = |number: usize| scene.instances.lab.at(&format!("tmp/vscode-agent-gone-{number}"));
        for number in 0..COUNT {
            File::create(at(number))?;
        }
        let words = ["--temp", "--older-than", "0s", "--no-evidence", "--yes"];
        let log = scene.instances.lab.at("log/strace").display().to_string();
        let mut tool = scene.instances.lab.built("oh-cleanup")?;
        tool.args(words).arg("--root").arg(scene.instances.lab.root());
        // In the midst of its moves: all of them are written down.
        let killed = blows::Blow::Kill.strike(&tool, &log, "renameat2", COUNT / 2)?;
        ensure!(killed.code != 0, "{killed:?}");
        let moved = (0..COUNT).filter(|number| !at(*number).exists()).count();
        ensure!(moved > 0 && moved < COUNT, "{moved}");
        let second = scene.moved_by(&words)?;
        let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
        let runs = runs["result"]["runs"].clone();
        ensure!(runs[0]["things"] == json!(moved), "{moved}: {runs:#}");
        ensure!(runs[1]["things"] == json!(COUNT - moved), "{moved}: {runs:#}");
        let first = runs[0]["run"].as_str().context("a run")?.to_owned();
        if is_first_first {
            let said = scene.run(&["undo", &first])?.expect(0)?;
            let left = format!("{}: it did not come to move them, and {second} did", COUNT - moved);
            let left = left.replacen(':', " things:", 1);
            ensure!(said.stdout.contains(&left), "{left}: {said:?}");
            ensure!(said.stdout.contains(&format!("oh-cleanup undo {second}")), "{said:?}");
        }
        scene.run(&["undo", &second])?.expect(0)?;
        if !is_first_first {
            scene.run(&["undo", &first])?.expect(0)?;
        }
        ensure!((0..COUNT).all(|number| at(number).exists()));
        scene.run(&["undo"])?.expect(2)?;
    }
    Ok(())
}

#[test]
fn what_a_purge_left_is_named_by_runs_and_by_undo() -> Result<()> {
    if !is_root()? {
        return Ok(()); // Only root gives files away.
    }
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/theirs", "a")?;
    let theirs = scene.instances.lab.at("tmp/vscode-agent-gone-1/data/theirs");
    std::os::unix::fs::chown(&theirs, Some(4242), Some(4242))?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    scene.run(&["purge", &run, "--yes"])?.expect(1)?;
    let runs = scene.run(&["runs"])?.expect(0)?;
    ensure!(runs.stdout.contains("rest of a purge of 1 thing"), "{runs:?}");
    ensure!(!runs.stdout.contains("to take back"), "{runs:?}");
    ensure!(runs.stdout.contains(&format!("oh-cleanup purge {run}")), "{runs:?}");
    let said = scene.run(&["undo", &run])?.expect(2)?;
    ensure!(said.stderr.contains("a purge of it was begun"), "{said:?}");
    ensure!(said.stderr.contains(&format!("oh-cleanup purge {run}")), "{said:?}");
    Ok(())
}

#[test]
fn a_journal_that_cannot_be_read_is_told_as_that() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    let journal = scene.instances.lab.at(JOURNALS).join(format!("cleanup-{run}.jsonl"));
    File::options().write(true).open(&journal)?.set_len(100)?;
    let said = scene.run(&["undo", &run])?.expect(4)?;
    let cannot = format!("the journal of {run} cannot be read, and so nothing of it can be taken");
    ensure!(said.stderr.contains(&cannot), "{said:?}");
    ensure!(said.stderr.contains(&format!("oh-cleanup purge {run}")), "{said:?}");
    Ok(())
}

#[test]
fn what_is_in_the_way_of_an_undo_is_told_with_what_to_do() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    scene.leave("tmp/vscode-agent-gone-1/new", "a")?;
    let said = scene.run(&["undo"])?.expect(1)?;
    let hint = format!("move aside what is in the way, and again: oh-cleanup undo {run}");
    ensure!(said.stdout.contains(&hint), "{said:?}");
    Ok(())
}

#[test]
fn an_undo_names_the_editors_that_it_does_not_start() -> Result<()> {
    alone("an_undo_names_the_editors_that_it_does_not_start", || {
        let scene = Scene::new()?;
        let port = scene.instances.first_port;
        let _old = stand_in::start(&scene, "old", port, stand_in::WAITS)?;
        scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
        scene.run(&["--processes", "--temp", "--yes"])?.expect(0)?;
        let said = scene.run(&["undo"])?.expect(0)?;
        ensure!(said.stdout.contains("still stopped: 1 editor (an editor on port "), "{said:?}");
        Ok(())
    })
}
