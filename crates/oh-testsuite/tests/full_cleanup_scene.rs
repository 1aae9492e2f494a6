//! The scene of `cleanup_scene.rs` with twelve editors, a browser that works in one, and a million files.

#[path = "cleanup/everything.rs"]
mod everything;
#[path = "cleanup/fire.rs"]
mod fire;
#[path = "cleanup/left.rs"]
#[expect(dead_code, reason = "one that is dead is enough here")]
mod left;
#[path = "cleanup/old_site.rs"]
#[expect(dead_code, reason = "nginx is asked by the tool")]
mod old_site;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::alone::alone;
use scene::Scene;

/// How many folders there are, and how many files in each.
const MILLION: (usize, usize) = (1000, 1000);

#[test]
fn twelve_editors_on_fire_are_put_out_with_one_command() -> Result<()> {
    alone("twelve_editors_on_fire_are_put_out_with_one_command", || {
        // With the one that has a record.
        fire::Fire::set(11, true)?.is_put_out()
    })
}

#[test]
fn a_million_files_go_and_are_counted() -> Result<()> {
    alone("a_million_files_go_and_are_counted", || {
        let scene = Scene::new()?;
        let tree = scene.instances.lab.at("tmp/code-server-million");
        let (folders, files) = MILLION;
        for folder in 0..folders {
            let folder = tree.join(folder.to_string());
            fs::create_dir_all(&folder)?;
            for file in 0..files {
                fs::File::create(folder.join(file.to_string()))?;
            }
        }
        // They are more than are looked at one by one.
        let take = ["--temp", "--yes", "--older-than", "0s"];
        let kept = scene.run(&take)?.expect(0)?;
        ensure!(kept.stdout.contains("not all of it could be looked at"), "{kept:?}");
        scene.run(&[&take[..], &["--force-unsaved"]].concat())?.expect(0)?;
        ensure!(!tree.exists());
        let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
        let run = runs.pointer("/result/runs/0/run").and_then(|run| run.as_str());
        let said = scene.run(&["purge", run.context("a run")?, "--yes"])?.expect(0)?;
        let count = folders * files + folders + 2;
        ensure!(said.stdout.contains(&format!("{count} names")), "{said:?}");
        Ok(())
    })
}
