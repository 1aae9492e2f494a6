//! `oh-instances` on a Debian 12 with a real systemd: transient units, limits, and what is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::machine::Machine;
use oh_testsuite::{components, wait};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(60);

const UNIT: &str = "openhands-editor-hello.service";

const CONFIG: &str = "[toolkit]
schema = 1

[toolkit.site]
domain = \"oh.example\"
upstream = \"127.0.0.1:3000\"
tls = \"off\"
auth = \"none\"

[toolkit.instances]
program = \"/etc/code-server\"
user = \"nobody\"
memory_max_mib = 2048
tasks_max = 512
cpu_max_percent = 150
";

fn machine() -> Result<Machine> {
    let machine = Machine::boot()?;
    for folder in ["etc/openhands-toolkit", "tmp/openhands-sessions", "var/www/github/hello"] {
        machine.run(&["mkdir", "--parents", &format!("/{folder}")])?.expect(0)?;
    }
    machine.run(&["chown", "nobody:nogroup", "/var/www/github/hello"])?.expect(0)?;
    fs::write(machine.at("etc/openhands-toolkit/config.toml"), CONFIG)?;
    let program = machine.at("etc/code-server");
    let (node, server) = (components::node()?, components::code_server()?);
    let script = format!("#!/bin/sh\nexec {} {} \"$@\"\n", node.display(), server.display());
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(machine)
}

fn start(machine: &Machine) -> Result<Value> {
    let words = ["oh-instances", "start", "--repo", "/var/www/github/hello", "--format", "json"];
    let said = machine.run(&words)?.expect(0)?;
    Ok(said.json()?["result"]["instance"].clone())
}

fn property(machine: &Machine, name: &str) -> Result<String> {
    let property = format!("--property={name}");
    let said = machine.run(&["systemctl", "show", &property, "--value", UNIT])?.expect(0)?;
    Ok(said.stdout.trim().to_owned())
}

fn kill(machine: &Machine, pid: &Value) -> Result<()> {
    let pid = pid.as_u64().context("no pid")?.to_string();
    machine.run(&["kill", "-KILL", &pid])?.expect(0)?;
    Ok(())
}

/// The processes of the unit's control group.
fn members(machine: &Machine) -> Result<Vec<String>> {
    let group = property(machine, "ControlGroup")?;
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let said = machine.run(&["cat", &format!("/sys/fs/cgroup{group}/cgroup.procs")])?;
    Ok(said.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn an_instance_is_a_unit_with_limits_and_leaves_nothing() -> Result<()> {
    let machine = machine()?;
    let first = start(&machine)?;
    ensure!(first["unit"] == json!(UNIT), "{first:#}");
    ensure!(property(&machine, "ActiveState")? == "active");
    ensure!(json!(property(&machine, "MainPID")?.parse::<u64>()?) == first["supervisor_pid"]);
    let limits = ["MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "Restart", "KillMode"];
    let limits: Vec<String> =
        limits.iter().map(|name| property(&machine, name)).collect::<Result<_>>()?;
    let mib = 2048_u64 * 1024 * 1024;
    ensure!(limits == [&mib.to_string(), "512", "1.500000s", "no", "mixed"], "{limits:?}");
    let inside = members(&machine)?;
    for key in ["pid", "supervisor_pid"] {
        ensure!(inside.contains(&first[key].to_string()), "{key} is not in {inside:?}");
    }

    // Its supervisor starts the editor again; systemd has no part in it.
    kill(&machine, &first["pid"])?;
    let second = wait::until("the editor after its end", BOUND, || {
        let instance = start(&machine)?;
        Ok((instance["pid"] != first["pid"]).then_some(instance))
    })?;
    ensure!(second["supervisor_pid"] == first["supervisor_pid"], "{first:#}{second:#}");

    // Without its supervisor the whole group ends, and a start works at once.
    kill(&machine, &second["supervisor_pid"])?;
    let third = start(&machine)?;
    ensure!(third["supervisor_pid"] != second["supervisor_pid"], "{second:#}{third:#}");
    ensure!(third["port"] == first["port"], "{first:#}{third:#}");

    machine.run(&["oh-instances", "stop", "hello"])?.expect(0)?;
    ensure!(property(&machine, "ActiveState")? == "inactive");
    ensure!(property(&machine, "LoadState")? == "not-found", "the unit is remembered");
    let left = machine.run(&["ps", "-eo", "args"])?.expect(0)?.stdout;
    ensure!(!left.contains("code-server"), "{left}");
    Ok(())
}
