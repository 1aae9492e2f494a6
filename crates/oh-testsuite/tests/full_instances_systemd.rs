//! `oh-instances` on a Debian 12 with a real systemd: transient units, limits, and what is left.

use std::fs;

use anyhow::{Result, ensure};
use oh_testsuite::booted::{
    BOUND, configure, eventually, is_limited, kill, list, members, prepare, property, repository,
    start, unit,
};
use oh_testsuite::machine::Machine;
use oh_testsuite::{components, wait};
use serde_json::{Value, json};

fn machine() -> Result<Machine> {
    let machine = Machine::boot()?;
    prepare(&machine)?;
    Ok(machine)
}

/// Waits until nothing of a unit is left.
fn is_gone(machine: &Machine, unit: &str) -> Result<()> {
    eventually(machine, &format!("the end of {unit}"), || {
        Ok(property(machine, unit, "LoadState")? == "not-found")
    })
}

/// Says what `list` knows of an instance.
fn listed(machine: &Machine, id: &str) -> Result<Value> {
    Ok(list(machine)?.into_iter().find(|one| one["id"] == id).unwrap_or_default())
}

#[test]
fn an_instance_is_a_unit_with_limits_and_leaves_nothing() -> Result<()> {
    let machine = machine()?;
    let hello = unit("hello");
    let first = start(&machine, "hello")?;
    ensure!(first["unit"] == json!(hello), "{first:#}");
    ensure!(property(&machine, &hello, "ActiveState")? == "active");
    let main = property(&machine, &hello, "MainPID")?;
    ensure!(json!(main.parse::<u64>()?) == first["supervisor_pid"]);
    is_limited(&machine, &first)?;

    // Its supervisor starts the editor again; systemd has no part in it.
    kill(&machine, &first, "pid")?;
    let second = wait::until("the editor after its end", BOUND, || {
        let instance = start(&machine, "hello")?;
        Ok((instance["pid"] != first["pid"]).then_some(instance))
    })?;
    ensure!(second["supervisor_pid"] == first["supervisor_pid"], "{first:#}{second:#}");

    // Without its supervisor the whole group ends, and a start works at once.
    kill(&machine, &second, "supervisor_pid")?;
    let third = start(&machine, "hello")?;
    ensure!(third["supervisor_pid"] != second["supervisor_pid"], "{second:#}{third:#}");
    ensure!(third["port"] == first["port"], "{first:#}{third:#}");

    machine.run(&["oh-instances", "stop", "hello"])?.expect(0)?;
    ensure!(property(&machine, &hello, "ActiveState")? == "inactive");
    ensure!(property(&machine, &hello, "LoadState")? == "not-found", "the unit is remembered");
    let left = machine.run(&["ps", "-eo", "args"])?.expect(0)?.stdout;
    ensure!(!left.contains("code-server"), "{left}");
    Ok(())
}

#[test]
fn a_stop_leaves_no_unit_no_control_group_and_no_process() -> Result<()> {
    let machine = machine()?;
    // What has left the family of the editor, its session and its environment.
    let program = machine.at("etc/code-server");
    let script = fs::read_to_string(&program)?;
    let escape = "(setsid env -i /bin/sleep 100000 &)\nexec ";
    fs::write(&program, script.replacen("exec ", escape, 1))?;
    start(&machine, "hello")?;
    let hello = unit("hello");
    let group = property(&machine, &hello, "ControlGroup")?;
    let folder = machine.at(&format!("sys/fs/cgroup{group}"));
    ensure!(group.ends_with(&hello) && folder.is_dir(), "{group}");
    let of_nobody = |machine: &Machine| machine.run(&["ps", "-u", "nobody", "-o", "args="]);
    let before = of_nobody(&machine)?.stdout;
    ensure!(before.contains("sleep 100000") && before.contains("code-server"), "{before}");

    machine.run(&["oh-instances", "stop", "hello"])?.expect(0)?;
    let left = of_nobody(&machine)?.stdout;
    ensure!(left.is_empty(), "{left}");
    ensure!(!folder.exists(), "its control group is left");
    let units = ["systemctl", "list-units", "--all", "--no-legend", "openhands-editor*"];
    let units = machine.run(&units)?.expect(0)?.stdout;
    ensure!(units.is_empty(), "{units}");
    Ok(())
}

#[test]
fn a_supervisor_that_was_killed_comes_back_in_a_new_unit_with_its_limits() -> Result<()> {
    let machine = machine()?;
    let before = start(&machine, "hello")?;
    let hello = unit("hello");
    let invocation = property(&machine, &hello, "InvocationID")?;
    kill(&machine, &before, "supervisor_pid")?;
    is_gone(&machine, &hello)?;
    ensure!(listed(&machine, "hello")?["state"] == json!("gone"));
    let said = machine.run(&["oh-instances", "reconcile", "--start"])?.expect(0)?;
    ensure!(said.stdout.contains("start hello"), "{said:?}");
    let after = listed(&machine, "hello")?;
    ensure!(after["port"] == before["port"], "{before:#}{after:#}");
    ensure!(property(&machine, &hello, "InvocationID")? != invocation, "it is the same unit");
    is_limited(&machine, &after)
}

#[test]
fn who_is_told_to_end_by_systemd_stays_ended_and_says_so() -> Result<()> {
    let machine = machine()?;
    start(&machine, "hello")?;
    let hello = unit("hello");
    machine.run(&["systemctl", "stop", &hello])?.expect(0)?;
    is_gone(&machine, &hello)?;
    let now = listed(&machine, "hello")?;
    ensure!(now["state"] == json!("ended"), "{now:#}");
    ensure!(now["why"] == json!("its editor ended: its supervisor was told to end"), "{now:#}");
    let said = machine.run(&["oh-instances", "reconcile", "--start"])?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do\n"), "{said:?}");
    ensure!(said.stdout.contains("hello: its editor ended, and that was meant"), "{said:?}");
    ensure!(property(&machine, &hello, "LoadState")? == "not-found");
    let again = start(&machine, "hello")?;
    is_limited(&machine, &again)
}

#[test]
fn an_editor_that_outlived_its_supervisor_gets_a_unit_with_limits() -> Result<()> {
    let machine = machine()?;
    configure(&machine, "supervision = \"process\"\n")?;
    let before = start(&machine, "hello")?;
    let hello = unit("hello");
    ensure!(before["unit"].is_null(), "{before:#}");
    configure(&machine, "")?;
    kill(&machine, &before, "supervisor_pid")?;
    eventually(&machine, "the end of its supervisor", || {
        Ok(listed(&machine, "hello")?["state"] == json!("unsupervised"))
    })?;
    let said = machine.run(&["oh-instances", "reconcile"])?.expect(0)?;
    ensure!(said.stdout.contains("supervise hello"), "{said:?}");
    ensure!(!said.stderr.contains("limits"), "{said:?}");
    let after = listed(&machine, "hello")?;
    ensure!(after["pid"] == before["pid"], "its editor was started anew: {after:#}");
    ensure!(after["unit"] == json!(hello), "{after:#}");
    is_limited(&machine, &after)?;
    machine.run(&["oh-instances", "stop", "hello"])?.expect(0)?;
    ensure!(property(&machine, &hello, "LoadState")? == "not-found");
    ensure!(machine.run(&["ps", "-u", "nobody", "-o", "args="])?.stdout.is_empty());
    Ok(())
}

#[test]
fn an_editor_of_the_original_application_is_adopted_into_a_unit_with_limits() -> Result<()> {
    let machine = machine()?;
    let folder = repository(&machine, "hello")?;
    let data = "/tmp/code-server-userdata-hello-8890";
    machine.run(&["install", "--directory", "--owner=nobody", data])?.expect(0)?;
    let (node, server) = (components::node()?, components::code_server()?);
    let environment = ["HOME", "TMPDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME"];
    let environment = environment.map(|key| format!("--setenv={key}={data}"));
    let run = ["systemd-run", "--quiet", "--unit=original", "--uid=nobody", "--gid=nogroup"];
    let [node, server] = [&node, &server].map(|path| path.display().to_string());
    let arguments = ["--bind-addr", "127.0.0.1:8890", "--auth", "none", "--user-data-dir", data];
    let words: Vec<&str> = (run.into_iter())
        .chain(environment.iter().map(String::as_str))
        .chain(["--", &node, &server, &folder])
        .chain(arguments)
        .collect();
    machine.run(&words)?.expect(0)?;
    let answers = ["curl", "--silent", "--fail", "http://127.0.0.1:8890/healthz"];
    eventually(&machine, "the editor of the original", || Ok(machine.run(&answers)?.code == 0))?;
    let pid: u64 = property(&machine, "original.service", "MainPID")?.parse()?;
    let entry = json!({ "port": 8890, "pid": pid, "projectName": "hello", "repoPath": folder,
                        "startedAt": "2025-11-17T20:08:00.000Z" });
    let ports = json!({ "instances": { "hello": entry }, "availablePorts": [] });
    let known = json!({ "repositories": [{ "id": "hello", "name": "hello", "path": folder,
        "type": "folder", "vscodePort": 8890, "vscodeRunning": true }] });
    for (name, database) in [("vscode-ports", ports), ("repositories", known)] {
        let path = machine.at(&format!("var/www/ai-desktop/data/{name}.json"));
        fs::write(path, database.to_string())?;
    }

    let said = machine.run(&["oh-instances", "reconcile"])?.expect(0)?;
    ensure!(said.stdout.contains("adopt hello"), "{said:?}");
    ensure!(!said.stderr.contains("limits"), "{said:?}");
    let hello = listed(&machine, "hello")?;
    ensure!(hello["pid"] == json!(pid), "{hello:#}");
    is_limited(&machine, &hello)?;
    ensure!(members(&machine, "original.service")?.is_empty(), "it is still in its old unit");
    machine.run(&["oh-instances", "stop", "hello"])?.expect(0)?;
    ensure!(machine.run(&["ps", "-u", "nobody", "-o", "args="])?.stdout.is_empty());
    Ok(())
}
