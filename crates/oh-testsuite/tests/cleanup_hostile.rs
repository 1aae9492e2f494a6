//! Names that deceive whoever reads them, and journals that nobody of ours wrote.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs::{self, File};

use anyhow::{Result, ensure};
use scene::Scene;

const JOURNALS: &str = "var/lib/openhands-toolkit/journal";

#[test]
fn names_that_turn_a_text_around_are_escaped_for_people() -> Result<()> {
    let scene = Scene::new()?;
    let name = "vscode-agent-\u{202e}gpj\u{2066}";
    scene.leave(&format!("tmp/{name}/a"), "a")?;
    let said = scene.run(&["--temp", "--dry-run"])?.expect(0)?;
    ensure!(said.stdout.contains("vscode-agent-\\xe2\\x80\\xaegpj"), "{said:?}");
    let why = "because \u{202e}of\u{200f}";
    let said = scene.run(&["--temp", "--yes", "--no-evidence", "--reason", why])?.expect(0)?;
    ensure!(!said.stdout.contains(['\u{202e}', '\u{2066}']), "{said:?}");
    let runs = scene.run(&["runs"])?.expect(0)?;
    ensure!(runs.stdout.contains("because \\u{202e}of\\u{200f}"), "{runs:?}");
    // Programs get what was said.
    let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?;
    ensure!(runs.json()?["result"]["runs"][0]["reason"] == why, "{runs:?}");
    // What is refused is told on stderr.
    let said = scene.run(&["apply", "/none/\u{202e}gpj"])?;
    ensure!(said.code != 0 && !said.stderr.contains('\u{202e}'), "{said:?}");
    Ok(())
}

#[test]
fn a_journal_that_is_planted_costs_nothing_and_can_be_purged() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-one/a", "a")?;
    scene.run(&["--temp", "--yes", "--no-evidence"])?.expect(0)?;
    let run = "20261120T030211Z-9";
    let planted = scene.instances.lab.at(JOURNALS).join(format!("cleanup-{run}.jsonl"));
    let file = File::create(&planted)?;
    // Sparse: it has no room of its own.
    file.set_len(1 << 40)?;
    drop(file);
    let moved = format!("var/lib/openhands-toolkit/quarantine/{run}/0/kept");
    scene.leave(&moved, "what it moved")?;

    scene.leave("tmp/vscode-agent-two/a", "a")?;
    let said = scene.run(&["--temp", "--yes", "--no-evidence"])?.expect(4)?;
    ensure!(said.stdout.contains(&format!("not seen  the journal of {run}: ")), "{said:?}");
    ensure!(said.stdout.contains("is too long: it has more than "), "{said:?}");
    ensure!(!scene.instances.lab.at("tmp/vscode-agent-two").exists(), "{said:?}");

    // By its age nothing goes of which nobody can tell what it is; by its name it does.
    let said = scene.run(&["purge", "--older-than", "0s", "--dry-run"])?.expect(4)?;
    ensure!(said.stdout.contains(&format!("not seen  {run}: ")), "{said:?}");
    let said = scene.run(&["purge", run, "--dry-run"])?.expect(0)?;
    ensure!(said.stdout.contains("its journal cannot be read: "), "{said:?}");
    ensure!(planted.exists() && scene.instances.lab.at(&moved).exists());
    let said = scene.run(&["purge", run, "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains(&format!("purged    {run}: ")), "{said:?}");
    ensure!(!planted.exists() && !scene.instances.lab.at(&moved).exists(), "{said:?}");
    scene.run(&["--temp", "--yes", "--no-evidence"])?.expect(0)?;
    scene.run(&["undo"])?.expect(0)?;
    ensure!(fs::read_to_string(scene.instances.lab.at("tmp/vscode-agent-two/a"))? == "a");
    Ok(())
}
