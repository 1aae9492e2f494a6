//! `oh-cleanup` on a machine with real editors behind a real nginx, and what must survive it.

#[path = "crash/blows.rs"]
#[expect(dead_code, reason = "one blow is enough here")]
mod blows;
#[path = "cleanup/scene.rs"]
mod scene;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use oh_testsuite::instances::is_root;
use oh_testsuite::process::Running;
use oh_testsuite::wait;
use scene::{PORTS, REPOSITORIES, Scene};
use serde_json::json;

/// How long an editor may take to come up again, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

#[test]
fn one_command_ends_in_the_clean_state_and_another_takes_it_back() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let old = scene.historic("old", 1)?;
    let decoys = scene.decoys()?;
    scene.leave("tmp/code-server-userdata-gone-8890/User/settings.json", "{}")?;
    scene.leave("tmp/vscode-agent-gone-8890/data/a", "a")?;
    scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
    let before = scene.things("tmp")?;
    let (ports, repositories) = (scene.text(PORTS)?, scene.text(REPOSITORIES)?);

    let said = scene.run(&["--all", "--yes", "--reason", "port 8888 is stuck"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 2 editors stopped, "), "{said:?}");
    ensure!(scene.instances.processes()?.keys().all(|pid| decoys.contains(pid)), "{said:?}");
    ensure!(old.is_over() && decoys.live()?, "{said:?}");
    let kept = scene.tree("tmp")?;
    ensure!(kept.contains("code-server-4.100.3/bin"), "{kept}");
    ensure!(!is_root()? || kept.contains("code-server-userdata-theirs-8899"), "{kept}");
    for gone in ["code-server-userdata-old", "code-server-extensions-old", "gone"] {
        ensure!(!scene.tree("tmp")?.contains(gone), "{gone}: {}", scene.tree("tmp")?);
    }
    ensure!(scene.instances.json(PORTS)?["instances"] == json!({}), "{}", scene.text(PORTS)?);
    let known = scene.instances.json(REPOSITORIES)?["repositories"].clone();
    ensure!(known.to_string().matches("\"vscodeRunning\":false").count() == 2, "{known}");
    ensure!(!scene.is_routed("hello")?, "hello is routed");

    let again = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");

    let undone = scene.run(&["undo"])?.expect(0)?;
    ensure!(
        undone.stdout.contains("start its editors again: oh-instances reconcile"),
        "{undone:?}"
    );
    ensure!(scene.text(PORTS)? == ports && scene.text(REPOSITORIES)? == repositories, "{undone:?}");
    ensure!(scene.things("tmp")? == before, "{}\n{before}", scene.things("tmp")?);
    scene.instances.run(&["reconcile", "--start"])?.expect(0)?;
    wait::until("hello to run again", BOUND, || Ok(scene.is_routed("hello")?.then_some(())))?;
    ensure!(decoys.live()?);
    Ok(())
}

#[test]
fn an_editor_that_somebody_works_in_is_kept_with_all_that_belongs_to_it() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    let browser = TcpStream::connect(("127.0.0.1", old.port))?;
    let before = (scene.things("tmp")?, scene.text(PORTS)?);
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do\n"), "{said:?}");
    ensure!(said.stdout.contains("somebody works in it (--force-active)"), "{said:?}");
    ensure!(said.stdout.contains(&format!("an editor on port {} stays", old.port)), "{said:?}");
    ensure!((scene.things("tmp")?, scene.text(PORTS)?) == before && !old.is_over(), "{said:?}");
    scene.run(&["--all", "--yes", "--force-active"])?.expect(0)?;
    ensure!(old.is_over());
    drop(browser);
    Ok(())
}

#[test]
fn a_plan_that_is_only_shown_changes_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let old = scene.historic("old", 1)?;
    scene.leave("tmp/vscode-agent-gone-8890/data/a", "a")?;
    let before = (scene.things("tmp")?, scene.tree("var")?, scene.tree("etc")?);
    let processes = scene.instances.processes()?;
    let dry = scene.run(&["--dry-run"])?.expect(0)?;
    for line in ["would stop", "would move", "would release"] {
        ensure!(dry.stdout.contains(line), "{dry:?}");
    }
    let refused = scene.run(&[])?.expect(2)?;
    ensure!(refused.stderr.contains("nobody is there to confirm this plan"), "{refused:?}");
    ensure!((scene.things("tmp")?, scene.tree("var")?, scene.tree("etc")?) == before, "{dry:?}");
    ensure!(scene.instances.processes()? == processes && !old.is_over(), "{dry:?}");
    Ok(())
}

#[test]
fn a_torn_database_is_kept_and_written_anew() -> Result<()> {
    let scene = Scene::new()?;
    let whole = scene.text(PORTS)?;
    let torn = whole.get(..whole.len() - 20).unwrap_or_default();
    fs::write(scene.instances.lab.at(PORTS), torn)?;
    let said = scene.run(&["--databases", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("the torn one is kept as "), "{said:?}");
    let now = scene.instances.json(PORTS)?;
    ensure!(now["availablePorts"].as_array().is_some_and(|ports| ports.len() == 12), "{now}");
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.text(PORTS)? == torn, "{}", scene.text(PORTS)?);
    Ok(())
}

#[test]
fn a_plan_in_a_file_is_carried_out_as_far_as_it_is_still_true() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["vscode-agent-gone-1", "vscode-agent-changed-2"] {
        scene.leave(&format!("tmp/{name}/data/a"), "a")?;
    }
    // What could not be carried out is not written.
    let shared = scene.instances.lab.at("tmp/plan.json").display().to_string();
    let refused = scene.run(&["plan", "--all", "--output", &shared])?.expect(2)?;
    ensure!(refused.stderr.contains("others may write to it"), "{refused:?}");
    ensure!(refused.stderr.contains("a folder that is yours alone"), "{refused:?}");
    ensure!(!fs::exists(&shared)?);
    let file = scene.instances.lab.at("plan.json").display().to_string();
    scene.run(&["plan", "--all", "--output", &file])?.expect(0)?;
    ensure!(fs::metadata(&file)?.mode() & 0o7777 == 0o600);
    // Another thing by the same name, and one that was not there.
    let changed = scene.instances.lab.at("tmp/vscode-agent-changed-2");
    fs::rename(&changed, scene.instances.lab.at("away"))?;
    scene.leave("tmp/vscode-agent-changed-2/new", "new")?;
    scene.leave("tmp/vscode-agent-late-3/new", "new")?;
    let said = scene.run(&["apply", &file, "--yes"])?.expect(1)?;
    ensure!(said.stdout.contains("it is another way by now"), "{said:?}");
    let left = scene.tree("tmp")?;
    ensure!(left.contains("changed-2/new") && left.contains("late-3/new"), "{left}");
    ensure!(!left.contains("gone-1"), "{left}");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replacen("vscode-agent-gone-1", "vscode-agent-late-3", 1))?;
    let refused = scene.run(&["apply", &file, "--yes"])?.expect(2)?;
    ensure!(refused.stderr.contains("not those that its digest is of"), "{refused:?}");
    Ok(())
}

#[test]
fn an_editor_that_has_ended_by_itself_is_as_wanted() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    let file = scene.instances.lab.at("plan.json").display().to_string();
    scene.run(&["plan", "--all", "--output", &file])?.expect(0)?;
    old.end();
    let said = scene.run(&["apply", &file, "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("as wanted stop    an editor on port"), "{said:?}");
    Ok(())
}

#[test]
fn what_was_moved_long_ago_is_removed_for_good() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    scene.run(&["--temp", "--yes"])?.expect(0)?;
    let kept = scene.run(&["purge", "--older-than", "7d", "--yes"])?.expect(0)?;
    ensure!(kept.stdout == "nothing to do\n", "{kept:?}");
    let purged = scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(0)?;
    ensure!(purged.stdout.starts_with("purged "), "{purged:?}");
    let quarantine = scene.tree("var/lib/openhands-toolkit/quarantine")?;
    ensure!(!quarantine.contains("data"), "{quarantine}");
    let none = scene.run(&["undo"])?.expect(2)?;
    ensure!(none.stderr.contains("no run has anything that could be taken back"), "{none:?}");
    Ok(())
}

#[test]
fn nothing_is_removed_for_good_that_was_not_confirmed() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    let refused = scene.run(&["purge", &run])?.expect(2)?;
    ensure!(refused.stderr.contains("would remove 1 thing of "), "{refused:?}");
    ensure!(refused.stderr.contains("nobody is there to confirm this plan"), "{refused:?}");
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.tree("tmp")?.contains("gone-1/data/a"));
    Ok(())
}

#[test]
fn what_others_put_into_it_stays_in_the_quarantine() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/theirs", "a")?;
    let theirs = scene.instances.lab.at("tmp/vscode-agent-gone-1/data/theirs");
    std::os::unix::fs::chown(&theirs, Some(4242), Some(4242))?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    let said = scene.run(&["purge", &run, "--yes"])?.expect(1)?;
    ensure!(said.stdout.contains("data/theirs: it belongs to uid 4242"), "{said:?}");
    ensure!(said.stdout.contains(&format!("oh-cleanup purge --others {run}")), "{said:?}");
    let quarantine = "var/lib/openhands-toolkit/quarantine";
    ensure!(scene.tree(quarantine)?.contains("data/theirs"), "{said:?}");
    scene.run(&["purge", &run, "--others", "--yes"])?.expect(0)?;
    ensure!(!scene.tree(quarantine)?.contains("data"), "{}", scene.tree(quarantine)?);
    Ok(())
}

#[test]
fn room_that_is_needed_at_once_is_freed_and_the_rest_can_come_back() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    let refused = scene.run(&["--all", "--purge-now"])?.expect(2)?;
    ensure!(refused.stderr.contains("for good: it cannot come back"), "{refused:?}");
    let said = scene.run(&["--all", "--purge-now", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("removed   for good: 3 names, "), "{said:?}");
    ensure!(!said.stdout.contains("free the room"), "{said:?}");
    let kept = scene.tree("var/lib/openhands-toolkit")?;
    ensure!(kept.contains(".tar.zst") && !kept.contains("data/a"), "{kept}");
    let undone = scene.run(&["undo"])?.expect(0)?;
    ensure!(undone.stdout.contains("gone.json"), "{undone:?}");
    ensure!(scene.text(PORTS)?.contains("\"gone\""), "{}", scene.text(PORTS)?);
    ensure!(!scene.tree("tmp")?.contains("vscode-agent"), "{}", scene.tree("tmp")?);
    Ok(())
}

#[test]
fn one_of_several_is_taken_by_its_id() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let old = scene.historic("old", 1)?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    scene.leave("tmp/vscode-agent-gone-8890/data/a", "a")?;
    let said = scene.run(&["--all", "--repository", "old", "--yes"])?.expect(0)?;
    ensure!(old.is_over() && scene.is_routed("hello")?, "{said:?}");
    let ports = scene.instances.json(PORTS)?["instances"].clone();
    ensure!(ports["old"].is_null() && ports["hello"].is_object() && ports["gone"].is_object());
    let left = scene.things("tmp")?;
    ensure!(!left.contains("-old-") && left.contains("vscode-agent-gone-8890"), "{left}");
    let said = scene.run(&["--all", "--session", "GONE", "--yes"])?.expect(0)?;
    ensure!(!scene.things("tmp")?.contains("gone") && scene.is_routed("hello")?, "{said:?}");
    ensure!(scene.instances.json(PORTS)?["instances"]["gone"].is_null(), "{said:?}");
    Ok(())
}

#[test]
fn nobody_keeps_what_is_not_theirs_by_looking_busy() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    scene.leave("tmp/vscode-agent-gone-2/data/a", "a")?;
    let at = |below: &str| scene.instances.lab.at(below);
    let busy = |uid: u32, below: &str| {
        let mut command = Command::new("sleep");
        command.arg("300").uid(uid).gid(uid).current_dir(at(below)).process_group(0);
        Running::start(&mut command)
    };
    let (theirs, ours) =
        (busy(4242, "tmp/vscode-agent-gone-1/data")?, busy(0, "tmp/vscode-agent-gone-2/data")?);
    let said = scene.run(&["--temp", "--yes"])?.expect(0)?;
    let left = scene.things("tmp")?;
    ensure!(!left.contains("gone-1") && left.contains("gone-2"), "{said:?}");
    ensure!(said.stdout.contains(&format!("pid {} (sleep, user root) uses it", ours.id())));
    ensure!(!theirs.has_ended()? && !ours.has_ended()?);
    Ok(())
}

#[test]
fn what_is_half_removed_never_comes_back_as_a_whole() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["gone-1", "gone-2"] {
        scene.leave(&format!("tmp/vscode-agent-{name}/data/a"), "a")?;
        scene.leave(&format!("tmp/vscode-agent-{name}/data/b"), "b")?;
    }
    let run = scene.moved_by(&["--temp", "--yes"])?;
    let log = scene.instances.lab.at("log/strace").display().to_string();
    let mut tool = scene.instances.lab.built("oh-cleanup")?;
    tool.args(["purge", &run, "--yes", "--root"]).arg(scene.instances.lab.root());
    // Behind its first file.
    let killed = blows::Blow::Kill.strike(&tool, &log, "unlinkat", 2)?;
    ensure!(killed.code != 0, "{killed:?}");
    let said = scene.run(&["undo"])?.expect(1)?;
    ensure!(said.stdout.contains("a purge of it was begun; what is left of it is "), "{said:?}");
    let tree = scene.tree("tmp")?;
    ensure!(tree.matches("/data/").count() == 2, "{tree}");
    scene.run(&["purge", &run, "--yes"])?.expect(0)?;
    let quarantine = scene.tree("var/lib/openhands-toolkit/quarantine")?;
    ensure!(!quarantine.contains("data"), "{quarantine}");
    Ok(())
}

#[test]
fn a_journal_that_cannot_be_read_ends_no_purge_of_others() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/data/a", "a")?;
    let first = scene.moved_by(&["--temp", "--yes"])?;
    let journal = "var/lib/openhands-toolkit/journal/cleanup-20200101T000000Z.jsonl";
    scene.instances.lab.write(journal, "{\"schema\": 99}\n")?;
    wait::until("the run to be old enough", BOUND, || {
        let said = scene.run(&["purge", "--older-than", "0s", "--yes"])?.expect(4)?;
        ensure!(said.stdout.contains("not seen  20200101T000000Z: "), "{said:?}");
        Ok(said.stdout.contains(&format!("purged    {first}")).then_some(()))
    })?;
    let said = scene.run(&["undo"])?.expect(4)?;
    ensure!(said.stderr.contains("name the run that is to be taken back"), "{said:?}");
    Ok(())
}

#[test]
fn what_was_written_since_is_not_overwritten_by_an_undo() -> Result<()> {
    let scene = Scene::new()?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    scene.run(&["--databases", "--yes"])?.expect(0)?;
    scene.enter_dead("new", scene.instances.first_port + 4)?;
    let since = (scene.text(PORTS)?, scene.text(REPOSITORIES)?);
    let said = scene.run(&["undo"])?.expect(1)?;
    ensure!(said.stdout.contains("somebody has written it since, so it stays"), "{said:?}");
    ensure!((scene.text(PORTS)?, scene.text(REPOSITORIES)?) == since, "{said:?}");
    Ok(())
}

#[test]
fn a_database_that_became_a_link_is_not_written_through() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    let at = |below: &str| scene.instances.lab.at(below);
    let exchange = |text: &str| -> Result<()> {
        fs::write(at("shadow"), text)?;
        fs::set_permissions(at("shadow"), fs::Permissions::from_mode(0o600))?;
        fs::rename(at(PORTS), at("away"))?;
        Ok(symlink(at("shadow"), at(PORTS))?)
    };
    scene.run(&["--databases", "--yes"])?.expect(0)?;
    // As if nobody had written it since: only the link tells.
    let now = scene.text(PORTS)?;
    exchange(&now)?;
    let said = scene.run(&["undo"])?.expect(1)?;
    ensure!(said.stdout.contains("it is a symbolic link"), "{said:?}");
    ensure!(fs::symlink_metadata(at(PORTS))?.is_symlink(), "{said:?}");
    ensure!(fs::read_to_string(at("shadow"))? == now, "{said:?}");
    fs::rename(at("away"), at(PORTS))?;
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.text(PORTS)?.contains("\"gone\""), "{}", scene.text(PORTS)?);
    Ok(())
}

#[test]
fn what_is_in_the_place_of_another_ends_no_purge_of_the_rest() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["gone-1", "gone-2"] {
        scene.leave(&format!("tmp/vscode-agent-{name}/data/a"), "a")?;
    }
    let first = scene.moved_by(&["--temp", "--yes"])?;
    scene.leave("tmp/vscode-agent-gone-3/data/a", "a")?;
    let second = scene.moved_by(&["--temp", "--yes"])?;
    let quarantine = "var/lib/openhands-toolkit/quarantine";
    let place = format!("{quarantine}/{first}/0");
    fs::rename(scene.instances.lab.at(&place), scene.instances.lab.at("away"))?;
    scene.instances.lab.write(&place, "another")?;
    let said = scene.run(&["purge", &first, &second, "--yes"])?.expect(1)?;
    ensure!(said.stdout.contains("/0 is not what was moved there"), "{said:?}");
    ensure!(said.stdout.contains(&format!("in part   {first}: ")), "{said:?}");
    ensure!(said.stdout.contains(&format!("purged    {second}: ")), "{said:?}");
    ensure!(!scene.tree(quarantine)?.contains("data"), "{}", scene.tree(quarantine)?);
    ensure!(scene.text(&place)? == "another", "{said:?}");
    Ok(())
}

#[test]
fn one_undo_has_wanted_again_what_a_killed_run_before_it_had_stopped() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let record = "var/lib/openhands-toolkit/instances/hello.json";
    let wanted = || -> Result<_> { Ok(scene.instances.json(record)?["wanted"].clone()) };
    let log = scene.instances.lab.at("log/strace").display().to_string();
    let mut tool = scene.instances.lab.built("oh-cleanup")?;
    tool.args(["--all", "--yes", "--root"]).arg(scene.instances.lab.root());
    // Its record says that it is to be stopped, and nothing of it is.
    let killed = blows::Blow::Kill.strike(&tool, &log, "pidfd_send_signal", 1)?;
    ensure!(killed.code != 0 && wanted()? == json!("stopped"), "{killed:?}");
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("1 editor stopped"), "{said:?}");
    let (_, run) = said.stdout.split_once("oh-cleanup undo ").unwrap_or_default();
    let run = run.split_whitespace().next().unwrap_or_default().to_owned();
    let dry = scene.run(&["undo", &run, "--dry-run"])?.expect(0)?;
    ensure!(dry.stdout.contains("would have hello wanted again"), "{dry:?}");
    let undone = scene.run(&["undo", &run])?.expect(0)?;
    ensure!(undone.stdout.contains("start its editors again: oh-instances reconcile"));
    ensure!(wanted()? == json!("running"), "{undone:?}");
    Ok(())
}
