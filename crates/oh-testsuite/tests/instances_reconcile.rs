//! `oh-instances reconcile` with a real code-server: what was killed is gone on with, taken over,
//! retired or adopted, and the second run finds nothing to do.

#[path = "instances/reconciled.rs"]
mod reconciled;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::Instances;
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};
use reconciled::{
    BOUND, PORTS, REPOSITORIES, editor_as, editor_of_the_original, end, entry, is_routed, kill_all,
    pid, plan, reconcile, settled, tell, without_changes,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const RECORD: &str = "var/lib/openhands-toolkit/instances/hello.json";
const STATE: &str = "run/openhands-toolkit/instances/hello.json";

#[test]
fn an_instance_of_which_nothing_lives_is_retired_or_started_again() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let other = scene.start("other")?;
    ensure!(settled(&scene)?.is_empty());
    kill_all(&before)?;
    // It is said first, and nothing is done.
    let planned = without_changes(&scene, &["reconcile", "--dry-run"])?;
    ensure!(planned.stdout.contains("retire hello: nothing of it runs"), "{planned:?}");
    ensure!(planned.stdout.contains("publish the routes"), "{planned:?}");
    ensure!(is_routed(&scene, "hello")?);

    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines.len() == 2 && lines[0].starts_with("retire hello"), "{lines:?}");
    ensure!(!is_routed(&scene, "hello")? && is_routed(&scene, "other")?);
    ensure!(scene.json(PORTS)?["instances"].get("hello").is_none());
    ensure!(scene.json(REPOSITORIES)?["repositories"][0]["vscodeRunning"] == json!(false));
    ensure!(scene.json(RECORD)?["announced"] == json!(false));
    TcpListener::bind(("127.0.0.1", scene.first_port)).context("the port is still taken")?;
    let left = settled(&scene)?;
    ensure!(left.len() == 1 && left[0].starts_with("hello: nothing of it runs"), "{left:?}");

    // It comes back where it was, by `start` or by us.
    let again = scene.start("hello")?;
    ensure!(again["port"] == before["port"], "{again:#}");
    kill_all(&again)?;
    let lines = reconcile(&scene, &["--start"], 0)?;
    ensure!(lines.len() == 2 && lines[0].starts_with("start hello"), "{lines:?}");
    ensure!(is_routed(&scene, "hello")?);
    let now = scene.ask(&["start", "--repo", "/var/www/github/hello"])?;
    ensure!(now["ran_before"] == json!(true), "{now:#}");
    ensure!(now["instance"]["port"] == before["port"], "{now:#}");
    ensure!(settled(&scene)?.is_empty());
    let still = scene.ask(&["start", "--repo", "/var/www/github/other"])?;
    ensure!(still["instance"] == other, "{still:#}{other:#}");
    Ok(())
}

#[test]
fn what_was_said_in_an_earlier_boot_keeps_nothing_from_running() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let supervisor = i32::try_from(pid(&before, "supervisor_pid")?)?;
    let supervisor = Pid::from_raw(supervisor).context("no number")?;
    kill_process(supervisor, Signal::TERM)?;
    wait::until("its last word", BOUND, || {
        Ok((scene.json(STATE)?["phase"] == json!("stopped")).then_some(()))
    })?;
    wait::until("its end", BOUND, || Ok(scene.processes()?.is_empty().then_some(())))?;
    // Who was told to end stays so, and it is said.
    let status = scene.run(&["status", "hello"])?.expect(1)?;
    ensure!(status.stdout.contains("its supervisor was told to end"), "{status:?}");
    ensure!(reconcile(&scene, &["--start"], 0)?.is_empty() && !is_routed(&scene, "hello")?);
    // The same state, as a root that outlives a reboot has it.
    let boot = scene.json(STATE)?["supervisor"]["boot_id"].clone();
    let boot = boot.as_str().context("no boot")?;
    let earlier = "00000000-0000-4000-8000-000000000000";
    let text = fs::read_to_string(scene.lab.at(STATE))?.replace(boot, earlier);
    ensure!(text.contains(earlier), "{text}");
    scene.lab.write(STATE, &text)?;
    let lines = reconcile(&scene, &["--start"], 0)?;
    ensure!(lines[0].starts_with("start hello"), "{lines:?}");
    ensure!(is_routed(&scene, "hello")?);
    Ok(())
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_other_from_being_ended() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let torn = "var/lib/openhands-toolkit/instances/torn.json";
    scene.lab.write(torn, "{\"schema\": 1, \"id\"")?;
    let said = scene.run(&["stop", "--all"])?.expect(1)?;
    ensure!(said.stdout.contains("torn is not stopped\n"), "{said:?}");
    // Whose routes there are is not known, so its own stays until that is mended.
    ensure!(said.stdout.contains("hello is not stopped\n  left     its route: "), "{said:?}");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    fs::remove_file(scene.lab.at(torn))?;
    scene.run(&["stop", "--all"])?.expect(0)?;
    ensure!(!is_routed(&scene, "hello")?);
    Ok(())
}

#[test]
fn one_that_cannot_be_started_keeps_no_other() -> Result<()> {
    let scene = Instances::new("ready_timeout_s = 20\nrestarts_max = 0\n")?;
    let (bad, good) = (scene.start("bad")?, scene.start("good")?);
    kill_all(&bad)?;
    kill_all(&good)?;
    // Where its folder was there is none.
    fs::rename(scene.lab.at("var/www/github/bad"), scene.lab.at("var/www/github/away"))?;
    let lines = reconcile(&scene, &["--start"], 1)?;
    ensure!(lines[0].starts_with("not done: start bad"), "{lines:?}");
    ensure!(lines[1].starts_with("start good"), "{lines:?}");
    ensure!(is_routed(&scene, "good")? && !is_routed(&scene, "bad")?);
    // Its record stays, and with its folder it comes back.
    fs::rename(scene.lab.at("var/www/github/away"), scene.lab.at("var/www/github/bad"))?;
    let back = scene.ask(&["start", "--repo", "/var/www/github/bad"])?;
    ensure!(back["instance"]["port"] == bad["port"], "{back:#}");
    Ok(())
}

#[test]
fn an_editor_without_a_supervisor_gets_one() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    end(pid(&before, "supervisor_pid")?)?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("supervise hello"), "{lines:?}");
    let state = scene.json(STATE)?;
    ensure!(state["editor"]["pid"] == before["pid"], "{state:#}");
    ensure!(state["supervisor"]["pid"] != before["supervisor_pid"], "{state:#}");
    ensure!(entry(&scene, "hello")?["pid"] == state["supervisor"]["pid"]);
    ensure!(settled(&scene)?.is_empty());
    // It is a supervisor: it starts the editor again.
    end(pid(&before, "pid")?)?;
    wait::until("the editor after its end", BOUND, || {
        let state = scene.json(STATE)?;
        let is_new = state["editor"]["pid"] != before["pid"];
        Ok((is_new && state["phase"] == json!("ready")).then_some(()))
    })
}

#[test]
fn a_start_that_was_killed_is_gone_on_with_where_its_editor_answers() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let mut start = Running::start(&mut scene.command(&["start", "--repo", &folder])?)?;
    wait::until("the editor", BOUND, || {
        Ok(scene.json(STATE).is_ok_and(|state| state["editor"].is_object()).then_some(()))
    })?;
    // While somebody starts it, it is left to them.
    let left = plan(&scene)?;
    ensure!(left.1.iter().any(|line| line.contains("is starting it")), "{left:?}");
    end(start.id())?;
    start.wait(BOUND)?;
    wait::until("its supervisor's word", BOUND, || {
        Ok((scene.json(STATE)?["phase"] == json!("ready")).then_some(()))
    })?;
    let editor = scene.json(STATE)?["editor"].clone();
    ensure!(scene.json(RECORD)?["starter"].is_object() && !is_routed(&scene, "hello")?);
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("serve hello: its start was not finished"), "{lines:?}");
    ensure!(is_routed(&scene, "hello")?);
    ensure!(scene.json(RECORD)?.get("starter").is_none());
    ensure!(scene.json(STATE)?["editor"] == editor);
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn a_start_that_was_killed_is_taken_back_where_no_editor_answers() -> Result<()> {
    let scene = Instances::new("")?;
    fs::write(scene.lab.at("code-server"), "#!/bin/sh\nsleep 1000\n")?;
    let folder = scene.repository("hello")?;
    let mut start = Running::start(&mut scene.command(&["start", "--repo", &folder])?)?;
    wait::until("the editor", BOUND, || {
        Ok(scene.json(STATE).is_ok_and(|state| state["editor"].is_object()).then_some(()))
    })?;
    end(start.id())?;
    start.wait(BOUND)?;
    ensure!(!scene.processes()?.is_empty());
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("stop hello: its start was not finished"), "{lines:?}");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    ensure!(!scene.lab.at(RECORD).exists() && !scene.lab.at(STATE).exists());
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn a_stop_that_was_killed_is_finished() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    // What a stop leaves that was killed after its first write, and no supervisor.
    let mut record = scene.json(RECORD)?;
    record["wanted"] = json!("stopped");
    scene.lab.write(RECORD, &record.to_string())?;
    end(pid(&before, "supervisor_pid")?)?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("stop hello: its stop was not finished"), "{lines:?}");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    ensure!(!scene.lab.at(RECORD).exists() && !is_routed(&scene, "hello")?);
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn a_restart_that_was_killed_is_done() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    // What a restart leaves that was killed before it told the supervisor.
    let mut record = scene.json(RECORD)?;
    record["generation"] = json!(1);
    scene.lab.write(RECORD, &record.to_string())?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("restart hello"), "{lines:?}");
    let state = scene.json(STATE)?;
    ensure!(state["editor"]["pid"] != before["pid"], "{state:#}");
    ensure!(state["supervisor"]["pid"] == before["supervisor_pid"], "{state:#}");
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn a_session_keeps_its_file_while_it_runs_and_never_takes_anothers() -> Result<()> {
    let scene = Instances::new("")?;
    let started = scene.ask(&["start", "--session", "4f1c"])?;
    let file = "tmp/openhands-sessions/4f1c.json";
    let written = scene.json(file)?;
    fs::remove_file(scene.lab.at(file))?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("announce 4f1c again"), "{lines:?}");
    ensure!(scene.json(file)? == written && is_routed(&scene, "4f1c")?);
    kill_all(&started["instance"])?;
    reconcile(&scene, &[], 0)?;
    ensure!(!scene.lab.at(file).exists() && !is_routed(&scene, "4f1c")?);
    // Somebody else announces it now, and is not displaced.
    let other = json!({ "vscode_port": scene.first_port });
    scene.lab.write(file, &other.to_string())?;
    let lines = reconcile(&scene, &["--start"], 1)?;
    ensure!(lines[0].contains("announces this session already"), "{lines:?}");
    ensure!(scene.json(file)? == other);
    scene.run(&["stop", "4f1c"])?.expect(0)?;
    ensure!(scene.json(file)? == other);
    Ok(())
}

#[test]
fn what_another_command_works_on_is_left_to_it() -> Result<()> {
    let scene = Instances::new("")?;
    let (hello, other) = (scene.start("hello")?, scene.start("other")?);
    end(pid(&hello, "supervisor_pid")?)?;
    end(pid(&other, "supervisor_pid")?)?;
    let lock = scene.lab.at("run/openhands-toolkit/locks/lease-instance-hello.lock");
    let lock = fs::File::open(lock)?;
    lock.try_lock()?;
    let lines = reconcile(&scene, &[], 5)?;
    ensure!(lines[0].starts_with("not done: supervise hello"), "{lines:?}");
    ensure!(lines[0].contains("another command is at work"), "{lines:?}");
    ensure!(lines[1].starts_with("supervise other"), "{lines:?}");
    drop(lock);
    ensure!(reconcile(&scene, &[], 0)?[0].starts_with("supervise hello"));
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn what_no_record_knows_is_named_and_left_alone() -> Result<()> {
    let scene = Instances::new("")?;
    let instance = scene.start("hello")?;
    let record = fs::read_to_string(scene.lab.at(RECORD))?;
    fs::remove_file(scene.lab.at(RECORD))?;
    let (_, left) = plan(&scene)?;
    reconcile(&scene, &[], 0)?;
    let editor = pid(&instance, "pid")?;
    let orphan = format!("pid {editor} (");
    ensure!(left.iter().any(|line| line.starts_with(&orphan)), "{left:?}");
    ensure!(left.iter().any(|line| line.contains("is no editor of the original's")), "{left:?}");
    ensure!(scene.processes()?.contains_key(&editor), "it was ended");
    // One that cannot be read may be of anybody: nothing is decided about what it may know.
    scene.lab.write(RECORD, "{")?;
    let said = scene.run(&["reconcile", "--dry-run"])?.expect(4)?;
    ensure!(said.stdout.contains("hello.json is no file of this toolkit"), "{said:?}");
    ensure!(!said.stdout.contains(&orphan), "{said:?}");
    scene.lab.write(RECORD, &record)?;
    reconcile(&scene, &[], 0)?;
    ensure!(is_routed(&scene, "hello")? && settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn an_entry_that_was_overwritten_is_written_again() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let written = (scene.json(PORTS)?, scene.json(REPOSITORIES)?);
    scene.lab.write(PORTS, "{\"instances\":{},\"availablePorts\":[]}")?;
    let said = scene.run(&["reconcile"])?.expect(0)?;
    ensure!(said.stdout.contains("done      announce hello again"), "{said:?}");
    ensure!(said.stderr.contains("overwritten by a program that takes no lock"), "{said:?}");
    ensure!(entry(&scene, "hello")?["port"] == before["port"]);
    ensure!(scene.json(REPOSITORIES)? == written.1);
    ensure!(settled(&scene)?.is_empty());
    // One that was never ours is not.
    let mut foreign = scene.json(PORTS)?;
    foreign["instances"]["hello"]["port"] = json!(scene.first_port + 5);
    scene.lab.write(PORTS, &foreign.to_string())?;
    ensure!(without_changes(&scene, &["reconcile"]).is_err(), "a change is not seen");
    ensure!(entry(&scene, "hello")?["port"] == before["port"]);
    Ok(())
}

#[test]
fn what_the_original_application_left_is_released_or_left_alone() -> Result<()> {
    let scene = Instances::new("")?;
    // nginx has a set, so that only what is said below is to be done.
    scene.start("hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let stranger = TcpListener::bind(("127.0.0.1", 0))?;
    let taken = stranger.local_addr()?.port();
    let (gone, old) = (scene.repository("gone")?, scene.repository("old")?);
    let of = |port: u16, path: &str| {
        json!({ "port": port, "pid": 1, "projectName": "x", "repoPath": path,
                "startedAt": "2025-11-17T20:08:00.000Z" })
    };
    let port = scene.first_port + 3;
    let ports = json!({
        "instances": { "gone": of(port, &gone), "old": of(taken, &old) },
        "availablePorts": [scene.first_port],
    });
    scene.lab.write(PORTS, &ports.to_string())?;
    let repository = |id: &str, path: &str, port: u16| {
        json!({ "id": id, "name": id, "path": path, "type": "folder",
                "vscodePort": port, "vscodeRunning": true })
    };
    let known = json!({ "repositories": [
        repository("gone", &gone, port),
        repository("old", &old, taken),
        repository("only-here", &gone, port + 1),
    ] });
    scene.lab.write(REPOSITORIES, &known.to_string())?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0] == format!("release gone: nobody listens on port {port}"), "{lines:?}");
    ensure!(lines[1].starts_with("release only-here"), "{lines:?}");
    let (ports, known) = (scene.json(PORTS)?, scene.json(REPOSITORIES)?);
    ensure!(ports["instances"].get("gone").is_none(), "{ports:#}");
    ensure!(ports["instances"]["old"] == of(taken, &old), "{ports:#}");
    ensure!(ports["availablePorts"] == available_but(&scene, &[]), "{ports:#}");
    let runs = |at: usize| known["repositories"][at]["vscodeRunning"].clone();
    ensure!((runs(0), runs(1), runs(2)) == (json!(false), json!(true), json!(false)), "{known:#}");
    let left = settled(&scene)?;
    let own = format!("old: pid {} listens on port {taken}", std::process::id());
    ensure!(left.len() == 1 && left[0].starts_with(&own), "{left:?}");
    drop(stranger);
    Ok(())
}

#[test]
fn an_editor_of_the_original_is_adopted_restarted_and_stopped() -> Result<()> {
    let scene = Instances::new("")?;
    let port = scene.first_port + 2;
    let mut editor = editor_of_the_original(&scene, "old", port)?;
    let planned = without_changes(&scene, &["reconcile", "--dry-run"])?;
    let step = format!("adopt old: the editor of /var/www/github/old on port {port}");
    ensure!(planned.stdout.contains(&step), "{planned:?}");

    let said = scene.run(&["reconcile"])?.expect(0)?;
    ensure!(said.stdout.contains(&format!("done      {step}")), "{said:?}");
    ensure!(said.stderr.contains("asks for no key"), "{said:?}");
    ensure!(is_routed(&scene, "old")?);
    let state = scene.json("run/openhands-toolkit/instances/old.json")?;
    ensure!(state["editor"]["pid"] == json!(editor.id()), "{state:#}");
    ensure!(entry(&scene, "old")?["pid"] == state["supervisor"]["pid"]);
    ensure!(settled(&scene)?.is_empty());
    // It is an instance like any other: known, started again by its supervisor, stopped.
    let now = scene.ask(&["start", "--repo", "/var/www/github/old"])?;
    ensure!(now["ran_before"] == json!(true), "{now:#}");
    end(editor.id())?;
    editor.wait(BOUND)?;
    let again = wait::until("the editor after its end", BOUND, || {
        let state = scene.json("run/openhands-toolkit/instances/old.json")?;
        let is_new = state["editor"]["pid"] != json!(editor.id());
        Ok((is_new && state["phase"] == json!("ready")).then_some(state))
    })?;
    let line = scene
        .processes()?
        .remove(&u32::try_from(again["editor"]["pid"].as_u64().context("a pid")?)?);
    ensure!(line.is_some_and(|line| line.contains("openhands-editors/old")), "{again:#}");
    scene.run(&["stop", "old"])?.expect(0)?;
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    TcpListener::bind(("127.0.0.1", port)).context("the port is still taken")?;
    ensure!(!is_routed(&scene, "old")?);
    Ok(())
}

/// A program of root's that listens on a socket which somebody else made, under a name that is not
/// its own: what su(1) is while it asks for a password, where that is how it was started.
const PRETENDER: &str = r#"
import os, socket, sys
os.setegid(65534); os.seteuid(65534)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[2].rsplit(":", 1)[1])))
os.seteuid(0); os.setegid(0)
listener.listen()
while True:
    asked, _ = listener.accept()
    asked.recv(65536)
    asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    asked.close()
"#;

#[test]
fn a_program_of_roots_with_a_strangers_socket_is_not_adopted() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let scene = Instances::new("")?;
    let port = scene.first_port;
    let folder = scene.lab.at(scene.repository("old")?.trim_start_matches('/'));
    fs::create_dir(scene.lab.at("pretender"))?;
    scene.lab.write("pretender/code-server", PRETENDER)?;
    let mut command = Command::new(components::program("python3")?);
    command.arg(scene.lab.at("pretender/code-server")).arg("--bind-addr");
    command.arg(format!("127.0.0.1:{port}")).arg(folder).arg("--user-data-dir");
    command.arg(scene.lab.at(&format!("tmp/code-server-userdata-old-{port}")));
    let mut pretender = Running::start(&mut command)?;
    wait::until_true("the pretender", BOUND, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    tell(&scene, "old", port, pretender.id())?;
    let (steps, left) = plan(&scene)?;
    ensure!(!steps.iter().any(|line| line.contains("old")), "{steps:?}");
    let why = "uid 65534 made the socket of its editor, which is uid 0's";
    ensure!(left.iter().any(|line| line.contains(why)), "{left:?}");
    pretender.stop()?;
    Ok(())
}

#[test]
fn an_editor_of_roots_that_was_adopted_is_never_started_as_root() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let scene = Instances::new("")?;
    let port = scene.first_port;
    let editor = editor_as(&scene, "old", port, None)?;
    reconcile(&scene, &[], 0)?;
    let owner = |pid: &Value| -> Result<u32> {
        let pid = pid.as_u64().context("no pid")?;
        Ok(fs::metadata(format!("/proc/{pid}"))?.uid())
    };
    let state = || scene.json("run/openhands-toolkit/instances/old.json");
    ensure!(owner(&state()?["editor"]["pid"])? == 0);
    ensure!(is_routed(&scene, "old")?);
    // By a person it is started anew as its folder's owner, with a key.
    let again = scene.ask(&["restart", "old"])?["instance"].clone();
    ensure!(again["port"] == json!(port), "{again:#}");
    ensure!(owner(&again["pid"])? != 0, "{again:#}");
    ensure!(state()?["key"].is_string(), "it asks for no key");
    ensure!(editor.has_ended()?);
    scene.run(&["stop", "old"])?.expect(0)?;

    // By itself it is not started at all.
    let mut editor = editor_as(&scene, "old", port, None)?;
    reconcile(&scene, &[], 0)?;
    end(editor.id())?;
    editor.wait(BOUND)?;
    let why = wait::until("the supervisor's word", BOUND, || {
        Ok(state()?["phase"]["failed"]["why"].as_str().map(str::to_owned))
    })?;
    ensure!(why.contains("it was taken over, ran as root and ended"), "{why}");
    wait::until("its route to go", BOUND, || Ok((!is_routed(&scene, "old")?).then_some(())))?;
    // Whoever asks for it has one of the folder's owner.
    let again = scene.ask(&["start", "--repo", "/var/www/github/old"])?["instance"].clone();
    ensure!(owner(&again["pid"])? != 0, "{again:#}");
    Ok(())
}

#[test]
fn an_adopted_editor_is_stopped_by_its_family() -> Result<()> {
    let scene = Instances::new("")?;
    let mut editor = editor_of_the_original(&scene, "old", scene.first_port)?;
    reconcile(&scene, &[], 0)?;
    // Also where nobody supervises it any more.
    let state = scene.json("run/openhands-toolkit/instances/old.json")?;
    end(pid(&state["supervisor"], "pid")?)?;
    scene.run(&["stop", "old"])?.expect(0)?;
    ensure!(editor.has_ended()?);
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    editor.stop()?;
    Ok(())
}

#[test]
fn an_editor_of_another_folder_is_not_adopted() -> Result<()> {
    let scene = Instances::new("")?;
    let port = scene.first_port;
    let mut editor = editor_of_the_original(&scene, "old", port)?;
    let other = scene.repository("other")?;
    for (path, key) in [(PORTS, "/instances/old/repoPath"), (REPOSITORIES, "/repositories/0/path")]
    {
        let mut document = scene.json(path)?;
        *document.pointer_mut(key).context("no such key")? = json!(other);
        scene.lab.write(path, &document.to_string())?;
    }
    let (steps, left) = plan(&scene)?;
    ensure!(!steps.iter().any(|line| line.contains("old")), "{steps:?}");
    ensure!(left.iter().any(|line| line.contains("opens another folder")), "{left:?}");
    ensure!(!editor.has_ended()?);
    editor.stop()?;
    Ok(())
}

/// The ports of the range without some, as they are to be available.
fn available_but(scene: &Instances, taken: &[&Value]) -> Value {
    let range = (scene.first_port..scene.first_port + 12).map(Value::from);
    range.filter(|port| !taken.contains(&port)).collect()
}

/// Leaves so many bytes of a file, in place.
fn cut(scene: &Instances, path: &str, bytes: usize) -> Result<()> {
    let whole = fs::read(scene.lab.at(path))?;
    fs::write(scene.lab.at(path), whole.get(..bytes).context("it is shorter")?)?;
    Ok(())
}

#[test]
fn a_stop_that_meets_torn_databases_loses_nothing_of_what_runs() -> Result<()> {
    let scene = Instances::new("")?;
    let (hello, other) = (scene.start("hello")?, scene.start("other")?);
    let third = scene.start("third")?;
    cut(&scene, PORTS, 200)?;
    cut(&scene, REPOSITORIES, 100)?;
    let said = scene.run(&["stop", "other"])?.expect(0)?;
    ensure!(said.stderr.contains("vscode-ports.json was torn at instances"), "{said:?}");
    ensure!(said.stderr.contains("repositories.json was torn at"), "{said:?}");
    ensure!(said.stderr.contains("what the records of instances know was written again"));
    let ports = scene.json(PORTS)?;
    let instances = ports["instances"].as_object().context("no object")?;
    ensure!(instances.len() == 2, "{ports:#}");
    for (id, instance) in [("hello", &hello), ("third", &third)] {
        ensure!(instances[id]["port"] == instance["port"], "{ports:#}");
        ensure!(instances[id]["pid"] == instance["supervisor_pid"], "{ports:#}");
    }
    let available = available_but(&scene, &[&hello["port"], &third["port"]]);
    ensure!(ports["availablePorts"] == available, "{ports:#}");
    let known = scene.json(REPOSITORIES)?;
    let known = known["repositories"].as_array().context("no list")?;
    let runs = |id: &str| {
        let found = known.iter().find(|known| known["id"] == json!(id));
        found.map(|known| (known["vscodeRunning"].clone(), known["vscodePort"].clone()))
    };
    for (id, instance) in [("hello", &hello), ("third", &third)] {
        ensure!(runs(id) == Some((json!(true), instance["port"].clone())), "{known:#?}");
    }
    ensure!(runs("other") == Some((json!(false), Value::Null)), "{known:#?}");
    ensure!(settled(&scene)?.is_empty());
    // The next one gets a port of nobody.
    let again = scene.start("other")?;
    ensure!(again["port"] == other["port"], "{again:#}");
    ensure!(settled(&scene)?.is_empty());
    // And so where there is no file any more.
    fs::remove_file(scene.lab.at(PORTS))?;
    fs::remove_file(scene.lab.at(REPOSITORIES))?;
    scene.run(&["stop", "third"])?.expect(0)?;
    let ports = scene.json(PORTS)?;
    ensure!(ports["instances"].as_object().is_some_and(|all| all.len() == 2), "{ports:#}");
    let available = available_but(&scene, &[&hello["port"], &other["port"]]);
    ensure!(ports["availablePorts"] == available, "{ports:#}");
    ensure!(settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn available_ports_that_are_in_use_or_missing_are_written_anew() -> Result<()> {
    let scene = Instances::new("")?;
    let hello = scene.start("hello")?;
    let port = scene.first_port;
    ensure!(hello["port"] == json!(port), "{hello:#}");
    let step = "write anew: availablePorts of /var/www/ai-desktop/data/vscode-ports.json: ";
    let beyond = json!(65_000);
    for (written, why, more) in [
        (None, "there is no such list".to_owned(), None),
        (
            Some(json!([port, port + 2, port + 11, port + 11, beyond])),
            format!("it has port {port}, which is that of hello"),
            Some(beyond),
        ),
        (Some(json!([port + 1])), format!("it lacks port {}, which nobody has", port + 2), None),
    ] {
        let mut ports = scene.json(PORTS)?;
        let members = ports.as_object_mut().context("no object")?;
        match written {
            Some(written) => drop(members.insert("availablePorts".into(), written)),
            None => drop(members.remove("availablePorts")),
        }
        scene.lab.write(PORTS, &ports.to_string())?;
        let planned = without_changes(&scene, &["reconcile", "--dry-run"])?;
        ensure!(planned.stdout.contains(&format!("{step}{why}\n")), "{planned:?}");
        let lines = reconcile(&scene, &[], 0)?;
        ensure!(lines.len() == 2 && lines[0] == format!("{step}{why}"), "{lines:?}");
        let mut available = available_but(&scene, &[&hello["port"]]);
        available.as_array_mut().context("no list")?.extend(more);
        ensure!(scene.json(PORTS)?["availablePorts"] == available, "{:#}", scene.json(PORTS)?);
        ensure!(entry(&scene, "hello")?["port"] == hello["port"]);
        ensure!(settled(&scene)?.is_empty());
    }
    Ok(())
}

#[test]
fn a_start_and_a_reconciling_save_torn_databases() -> Result<()> {
    let scene = Instances::new("")?;
    let hello = scene.start("hello")?;
    cut(&scene, PORTS, 0)?;
    // A start that is refused tells of it too.
    let said = scene.run(&["start", "--repo", "/var/www/github/nowhere"])?.expect(2)?;
    ensure!(said.stderr.contains("vscode-ports.json was torn at its beginning"), "{said:?}");
    ensure!(entry(&scene, "hello")?["port"] == hello["port"]);
    cut(&scene, PORTS, 0)?;
    let other = scene.repository("other")?;
    let said = scene.run(&["start", "--repo", &other])?.expect(0)?;
    ensure!(said.stderr.contains("vscode-ports.json was torn at its beginning"), "{said:?}");
    let ports = scene.json(PORTS)?;
    let taken = [&ports["instances"]["hello"]["port"], &ports["instances"]["other"]["port"]];
    ensure!(*taken[0] == hello["port"] && taken[1].is_u64(), "{ports:#}");
    ensure!(ports["availablePorts"] == available_but(&scene, &taken), "{ports:#}");
    cut(&scene, REPOSITORIES, 0)?;
    let said = scene.run(&["start", "--session", "4f1c"])?.expect(0)?;
    ensure!(said.stderr.contains("repositories.json was torn at its beginning"), "{said:?}");
    ensure!(settled(&scene)?.is_empty());
    // Who cannot save it is told who does.
    cut(&scene, PORTS, 150)?;
    let said = scene.lab.run(&["apply"])?.expect(4)?;
    ensure!(said.stderr.contains("oh-instances reconcile"), "{said:?}");
    ensure!(!said.stderr.contains("move it away"), "{said:?}");
    let kept = |name: &str| name.starts_with("vscode-ports.json.torn-");
    let folder = scene.lab.at("var/www/ai-desktop/data");
    let count = || -> Result<usize> {
        let names = fs::read_dir(&folder)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok(names.iter().filter(|name| name.file_name().to_str().is_some_and(kept)).count())
    };
    ensure!(count()? == 2);
    let planned = without_changes(&scene, &["reconcile", "--dry-run"])?;
    let step = "write anew: /var/www/ai-desktop/data/vscode-ports.json: it is torn (";
    ensure!(planned.stdout.contains(step), "{planned:?}");
    let said = scene.run(&["reconcile"])?.expect(0)?;
    ensure!(said.stdout.contains(&format!("done      {step}")), "{said:?}");
    ensure!(!said.stdout.contains("left alone"), "{said:?}");
    ensure!(count()? == 3);
    let after = scene.json(PORTS)?;
    for id in ["hello", "other"] {
        let is = |key: &str| after["instances"][id][key] == ports["instances"][id][key];
        ensure!(is("port") && is("pid") && is("repoPath"), "{after:#}{ports:#}");
    }
    ensure!(after["availablePorts"] == ports["availablePorts"], "{after:#}");
    ensure!(settled(&scene)?.is_empty());
    ensure!(is_routed(&scene, "hello")? && is_routed(&scene, "4f1c")?);
    // What has no entry of its own is stopped beside a torn one too.
    cut(&scene, PORTS, 150)?;
    scene.run(&["stop", "4f1c"])?.expect(0)?;
    ensure!(!is_routed(&scene, "4f1c")? && settled(&scene)?.is_empty());
    Ok(())
}

#[test]
fn an_entry_that_cannot_be_read_whole_is_released_where_it_is_dead() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let folder = scene.repository("dead")?;
    let stranger = TcpListener::bind(("127.0.0.1", 0))?;
    let taken = stranger.local_addr()?.port();
    let port = scene.first_port + 5;
    let mut ports = scene.json(PORTS)?;
    ports["instances"]["dead"] = json!({ "port": port, "pid": 999_999, "more": [1] });
    ports["instances"]["alive"] = json!({ "port": taken, "pid": 999_999, "more": [1] });
    ports["availablePorts"] = available_but(&scene, &[&json!(scene.first_port), &json!(port)]);
    scene.lab.write(PORTS, &ports.to_string())?;
    let mut known = scene.json(REPOSITORIES)?;
    known["repositories"].as_array_mut().context("no list")?.push(json!({
        "id": "dead", "name": "dead", "path": folder, "type": "folder",
        "vscodePort": port, "vscodeRunning": true }));
    scene.lab.write(REPOSITORIES, &known.to_string())?;
    let lines = reconcile(&scene, &[], 0)?;
    let released = format!("release dead: nobody listens on port {port} (its entry: ");
    ensure!(lines.len() == 2 && lines[0].starts_with(&released), "{lines:?}");
    let after = scene.json(PORTS)?;
    ensure!(after["instances"].get("dead").is_none(), "{after:#}");
    ensure!(after["instances"]["alive"] == ports["instances"]["alive"], "{after:#}");
    let available = available_but(&scene, &[&json!(scene.first_port)]);
    ensure!(after["availablePorts"] == available, "{after:#}");
    let known = scene.json(REPOSITORIES)?;
    ensure!(known["repositories"][1]["vscodeRunning"] == json!(false), "{known:#}");
    let left = settled(&scene)?;
    ensure!(left.len() == 1 && left[0].starts_with("alive: its entry: "), "{left:?}");
    drop(stranger);
    Ok(())
}
