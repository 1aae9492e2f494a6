//! What `oh-cleanup` can do beside the cleanup itself: the rows of `docs/cleanup-features.md` that no other
//! file holds.

#[expect(dead_code, reason = "other tests need all of it")]
#[path = "cleanup/scene.rs"]
mod scene;
#[path = "cleanup/stand_in.rs"]
mod stand_in;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::alone::alone;
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};
use scene::{PORTS, REPOSITORIES, Scene};
use serde_json::{Value, json};
use stand_in::WAITS;

const JOURNALS: &str = "var/lib/openhands-toolkit/journal";
const QUARANTINE: &str = "var/lib/openhands-toolkit/quarantine";

/// Longer than a second, on two busy cores.
const BOUND: Duration = Duration::from_secs(20);

/// The unit of the limit, in bytes.
const MIB: usize = 1 << 20;

#[test]
fn a_plan_on_stdout_is_the_plan_and_nothing_else() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let said = scene.run(&["plan", "--all", "--output", "-"])?.expect(0)?;
    ensure!(!Path::new("/-").exists(), "it is a file by that name");
    ensure!(said.stderr.contains("would move"), "{said:?}");
    let plan: Value = serde_json::from_str(&said.stdout)?;
    ensure!(plan["steps"].as_array().is_some_and(|steps| steps.len() == 1), "{plan}");
    let document = scene.run(&["plan", "--all", "-o-", "--format", "json"])?.expect(0)?.json()?;
    ensure!(document["result"]["plan"] == plan, "{document}");
    // Whoever keeps it has what `apply` takes.
    let file = scene.instances.lab.at("plan.json");
    fs::write(&file, &said.stdout)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    scene.run(&["apply", &file.display().to_string(), "--yes"])?.expect(0)?;
    ensure!(!scene.tree("tmp")?.contains("gone-1"));
    // One that has nothing to do is one too.
    let none = scene.run(&["plan", "--temp", "--output", "-"])?.expect(0)?;
    let plan: Value = serde_json::from_str(&none.stdout)?;
    ensure!(plan["steps"].as_array().is_some_and(Vec::is_empty), "{none:?}");
    Ok(())
}

/// Has one run move a left-over of so many MiB; returns the name of the run.
fn moved(scene: &Scene, name: &str, mib: usize, arguments: &[&str]) -> Result<String> {
    scene.leave(&format!("tmp/vscode-agent-{name}/data/a"), &"x".repeat(mib * MIB))?;
    scene.moved_by(&[&["--temp", "--yes"], arguments].concat())
}

fn runs(scene: &Scene) -> Result<Vec<String>> {
    let said = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    let all = said["result"]["runs"].as_array().context("runs")?.clone();
    Ok(all.iter().filter_map(|run| run["run"].as_str().map(str::to_owned)).collect())
}

#[test]
fn a_purge_without_a_name_takes_the_oldest_runs_beyond_the_limit() -> Result<()> {
    let scene = Scene::new()?;
    let limit = ["--set", "cleanup.quarantine_max_mib=3"];
    let purge = [&["purge"][..], &limit].concat();
    let first = moved(&scene, "first-1", 2, &limit)?;
    ensure!(scene.run(&purge)?.expect(0)?.stdout.starts_with("nothing to do\n"));
    let second = moved(&scene, "second-2", 1, &limit)?;
    // A run that goes beyond it removes nothing by itself, and says so.
    scene.leave("tmp/vscode-agent-third-3/data/a", &"x".repeat(MIB))?;
    let said = scene.run(&[&["--temp", "--yes"][..], &limit].concat())?.expect(0)?;
    ensure!(said.stderr.contains("cleanup.quarantine_max_mib"), "{said:?}");
    ensure!(said.stdout.contains("oh-cleanup purge --dry-run"), "{said:?}");
    ensure!(scene.tree(QUARANTINE)?.matches("/data/a").count() == 3);
    // It is shown and asked for, as any other.
    let refused = scene.run(&purge)?.expect(2)?;
    ensure!(refused.stderr.contains(&format!("would remove 1 thing of {first}")), "{refused:?}");
    ensure!(scene.tree(QUARANTINE)?.matches("/data/a").count() == 3);
    let said = scene.run(&[&purge[..], &["--yes"]].concat())?.expect(0)?;
    ensure!(said.stdout.starts_with(&format!("purged    {first}: ")), "{said:?}");
    let left = runs(&scene)?;
    ensure!(left.len() == 2 && left[0] == second, "{left:?}");
    // The last one stays, however large it is: it is the one that somebody misses something of.
    let tight = ["purge", "--yes", "--set", "cleanup.quarantine_max_mib=1"];
    scene.run(&tight)?.expect(0)?;
    ensure!(runs(&scene)? == left[1..], "{left:?}");
    // Runs are named by the second, and the name of one that is purged is free within it.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    let then = second()?;
    wait::until_true("the next second", BOUND, || second().is_ok_and(|now| now > then))?;
    let last = moved(&scene, "fourth-4", 4, &[])?;
    scene.run(&tight)?.expect(0)?;
    ensure!(runs(&scene)? == [last]);
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.tree("tmp")?.contains("vscode-agent-fourth-4/data/a"));
    // Without a limit nothing is beyond it, and somebody has to say what is to go.
    scene.run(&["purge", "--yes", "--set", "cleanup.quarantine_max_mib=0"])?.expect(2)?;
    Ok(())
}

/// A user who has nothing to do with it.
const STRANGER: u32 = 4242;

#[test]
fn what_only_has_the_words_of_an_editor_lives() -> Result<()> {
    alone("what_only_has_the_words_of_an_editor_lives", || {
        let scene = Scene::new()?;
        let first = scene.instances.first_port;
        let ours = stand_in::start(&scene, "ours", first, WAITS)?;
        // The same program and folders, and somebody else's.
        let mut command = stand_in::command(&scene, "theirs", first + 1, WAITS)?;
        let mut theirs = Running::start(command.uid(STRANGER).gid(STRANGER))?;
        theirs.wait_for_line("up", BOUND)?;
        // The very words, as what somebody has run elsewhere, looks for, or edits.
        let words = stand_in::command(&scene, "words", first + 2, WAITS)?;
        let words: Vec<_> = words.get_args().map(ToOwned::to_owned).collect();
        let mut decoys = Vec::new();
        for name in ["ssh", "vim", "grep"] {
            let mut command = Command::new(components::program("bash")?);
            command.arg0(name).args(["-c", WAITS, name, "host", "code-server"]).args(&words);
            let mut decoy = Running::start(command.env_clear().env("PATH", "/usr/bin:/bin"))?;
            decoy.wait_for_line("up", BOUND)?;
            decoys.push(decoy);
        }
        let dry = scene.run(&["--processes", "--dry-run"])?.expect(0)?;
        // What proves it is shown with it.
        let step = dry.stdout.lines().find(|line| line.contains(&format!("(pid {})", ours.id())));
        let step = step.with_context(|| format!("{dry:?}"))?;
        ensure!(step.contains("; ") && dry.stdout.matches("  stop  ").count() == 1, "{dry:?}");
        let said = scene.run(&["--processes", "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("1 editor stopped") && ours.has_ended()?, "{said:?}");
        ensure!(!theirs.has_ended()?, "{said:?}");
        for decoy in &decoys {
            ensure!(!decoy.has_ended()?, "{said:?}");
        }
        Ok(())
    })
}

/// The copies of databases that are kept, each with its text, the oldest first.
fn copies(scene: &Scene) -> Result<Vec<(String, String)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(scene.instances.lab.at(JOURNALS))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            copies.push((path.display().to_string(), fs::read_to_string(path)?));
        }
    }
    copies.sort();
    Ok(copies)
}

#[test]
fn each_run_has_copies_of_its_own_which_go_with_it() -> Result<()> {
    let scene = Scene::new()?;
    let mut texts = Vec::new();
    let mut runs = Vec::new();
    for (nth, id) in ["one", "two", "three"].into_iter().enumerate() {
        scene.enter_dead(id, scene.instances.first_port + u16::try_from(nth)?)?;
        texts.push((scene.text(PORTS)?, scene.text(REPOSITORIES)?));
        runs.push(scene.moved_by(&["--databases", "--yes"])?);
    }
    let kept = copies(&scene)?;
    ensure!(kept.len() == 2 * runs.len(), "{kept:?}");
    for (run, (ports, repositories)) in runs.iter().zip(&texts) {
        let of_it = kept.iter().filter(|(path, _)| path.contains(&format!("-{run}.")));
        let of_it: Vec<&String> = of_it.map(|(_, text)| text).collect();
        ensure!(of_it.contains(&ports) && of_it.contains(&repositories), "{run}: {kept:?}");
    }
    // Nothing but a purge takes one away, and that of its own run alone.
    scene.run(&["purge", &runs[0], "--yes"])?.expect(0)?;
    let left = copies(&scene)?;
    ensure!(left.len() == 4 && left.iter().all(|copy| kept.contains(copy)), "{left:?}");
    ensure!(!left.iter().any(|(path, _)| path.contains(&format!("-{}.", runs[0]))), "{left:?}");
    scene.run(&["undo", &runs[2]])?.expect(0)?;
    ensure!((scene.text(PORTS)?, scene.text(REPOSITORIES)?) == texts[2]);
    Ok(())
}

#[test]
fn a_fault_of_the_configuration_has_a_code_of_its_own_and_changes_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let before = scene.tree("")?;
    for wrong in ["cleanup.grace_s=soon", "cleanup.leftovers=[\"/\"]", "cleanup.grace=1"] {
        let said =
            scene.run(&["--all", "--yes", "--set", wrong, "--format", "json"])?.expect(78)?;
        ensure!(said.json()?["exit"] == json!(78), "{said:?}");
        ensure!(scene.tree("")? == before, "{said:?}");
    }
    let usage = scene.run(&["--everything"])?.expect(2)?;
    ensure!(usage.stdout.is_empty() && scene.tree("")? == before, "{usage:?}");
    Ok(())
}

#[test]
fn without_a_terminal_it_shows_the_plan_and_names_what_confirms_it() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", &"x".repeat(MIB))?;
    // Twice the same file: its room is freed once.
    let tree = scene.instances.lab.at("tmp/vscode-agent-gone-1/data");
    fs::hard_link(tree.join("a"), tree.join("same"))?;
    let mut command = scene.instances.lab.built("oh-cleanup")?;
    command.args(["--temp", "--force-unsaved", "--older-than", "0s"]);
    command.arg("--root").arg(scene.instances.lab.root()).stdin(Stdio::null());
    let said = oh_testsuite::lab::Said::from(command.output()?).expect(2)?;
    ensure!(said.stderr.contains("would move      1 thing"), "{said:?}");
    ensure!(said.stderr.contains("look with --dry-run, then confirm with --yes"), "{said:?}");
    ensure!(!said.stderr.contains('\u{1b}') && !said.stdout.contains('\u{1b}'), "{said:?}");
    let document = scene.run(&["--temp", "--older-than", "0s", "--dry-run", "--format", "json"])?;
    let bytes = document.expect(0)?.json()?["result"]["steps"][0]["bytes"].as_u64();
    let bytes = usize::try_from(bytes.context("the room")?)?;
    ensure!((MIB..2 * MIB).contains(&bytes), "{bytes}");
    Ok(())
}

/// Takes lines back to the document that they are of.
fn document_of(lines: &str) -> Result<Value> {
    let mut document = Value::Null;
    for line in lines.lines() {
        let (way, value) = line.split_once('\t').with_context(|| line.to_owned())?;
        let mut here = &mut document;
        for key in way.split('.') {
            here = match key.parse::<usize>() {
                Ok(at) => {
                    if here.is_null() {
                        *here = json!([]);
                    }
                    let all = here.as_array_mut().with_context(|| line.to_owned())?;
                    ensure!(at <= all.len(), "{line}: out of order");
                    if at == all.len() {
                        all.push(Value::Null);
                    }
                    all.get_mut(at).with_context(|| line.to_owned())?
                }
                Err(_) => &mut here[key],
            };
        }
        *here = serde_json::from_str(value)?;
    }
    Ok(document)
}

#[test]
fn lines_say_what_the_document_says() -> Result<()> {
    let scene = Scene::new()?;
    // Names are anybody's to give.
    scene.leave("tmp/vscode-agent-a\tb\nresult.run\t1/a", "a")?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    for arguments in [&["--all", "--dry-run"][..], &["runs"], &["undo"], &["--temp"]] {
        let [json, lines] =
            ["json", "lines"].map(|format| scene.run(&[arguments, &["--format", format]].concat()));
        let (json, lines) = (json?, lines?);
        ensure!(json.code == lines.code && !lines.stdout.is_empty(), "{lines:?}");
        ensure!(document_of(&lines.stdout)? == json.json()?, "{json:?}\n{lines:?}");
    }
    Ok(())
}
