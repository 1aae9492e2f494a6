//! `oh-instances` on a booted machine: a configuration, editors, units, and what is to be waited for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::Said;
use crate::machine::Machine;
use crate::{components, wait};

/// How long an editor may take to come up again, on two busy cores.
pub const BOUND: Duration = Duration::from_secs(90);

/// The limits of each editor; [`is_limited`] knows them as systemd tells them.
const CONFIG: &str = "[toolkit]
schema = 1

[toolkit.site]
domain = \"oh.example\"
upstream = \"127.0.0.1:3000\"
tls = \"off\"
auth = \"none\"

[toolkit.sessions]
user = \"nobody\"

[toolkit.instances]
program = \"/etc/code-server\"
user = \"nobody\"
memory_max_mib = 2048
tasks_max = 512
cpu_max_percent = 150
";

/// The units that are printed, and the files that they belong in.
const UNITS: [(&str, &str); 3] = [
    ("boot", "oh-instances-boot.service"),
    ("service", "oh-instances-reconcile.service"),
    ("timer", "oh-instances-reconcile.timer"),
];

/// Configures a machine; it has the databases of the original application.
///
/// # Errors
///
/// When the machine is gone, or a component is missing.
pub fn prepare(machine: &Machine) -> Result<()> {
    for folder in [
        "etc/openhands-toolkit",
        "tmp/openhands-sessions",
        "var/www/github",
        "var/www/ai-desktop/data",
    ] {
        machine.run(&["mkdir", "--parents", &format!("/{folder}")])?.expect(0)?;
    }
    configure(machine, "")?;
    let program = machine.at("etc/code-server");
    let (node, server) = (components::node()?, components::code_server()?);
    let script = format!("#!/bin/sh\nexec {} {} \"$@\"\n", node.display(), server.display());
    fs::write(&program, script)?;
    Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?)
}

/// Writes the configuration, with more of `[toolkit.instances]`.
///
/// # Errors
///
/// When the machine is gone.
pub fn configure(machine: &Machine, more: &str) -> Result<()> {
    Ok(fs::write(machine.at("etc/openhands-toolkit/config.toml"), format!("{CONFIG}{more}"))?)
}

/// Installs the units as docs/instances.md says, and as they are printed.
///
/// # Errors
///
/// When the machine is gone, or a unit is refused.
pub fn install(machine: &Machine) -> Result<()> {
    machine.run(&["oh-nginx", "apply"])?.expect(0)?;
    for (unit, file) in UNITS {
        let text = machine.run(&["oh-instances", "print-unit", unit])?.expect(0)?.stdout;
        fs::write(machine.at(&format!("etc/systemd/system/{file}")), text)?;
    }
    systemctl(machine, &["daemon-reload"])?;
    systemctl(machine, &["enable", "oh-instances-boot.service"])?;
    systemctl(machine, &["enable", "--now", "oh-instances-reconcile.timer"])
}

/// Asks systemd for something, and demands that it is done.
///
/// # Errors
///
/// When the machine is gone, or systemd says no.
pub fn systemctl(machine: &Machine, words: &[&str]) -> Result<()> {
    machine.run(&[&["systemctl"], words].concat())?.expect(0).map(drop)
}

/// Returns the folder of a repository of that name, which is made where it is missing.
///
/// # Errors
///
/// When the machine is gone.
pub fn repository(machine: &Machine, name: &str) -> Result<String> {
    let folder = format!("/var/www/github/{name}");
    machine.run(&["mkdir", "--parents", &folder])?.expect(0)?;
    machine.run(&["chown", "nobody:nogroup", &folder])?.expect(0)?;
    Ok(folder)
}

/// Starts the editor of a repository and returns the instance.
///
/// # Errors
///
/// When the machine is gone, or it is not started.
pub fn start(machine: &Machine, name: &str) -> Result<Value> {
    let folder = repository(machine, name)?;
    let words = ["oh-instances", "start", "--repo", &folder, "--format", "json"];
    let said = machine.run(&words)?.expect(0)?;
    Ok(said.json()?["result"]["instance"].clone())
}

/// Returns the instances that `list` knows, sorted by id.
///
/// # Errors
///
/// When the machine is gone, or there is no list.
pub fn list(machine: &Machine) -> Result<Vec<Value>> {
    let said = machine.run(&["oh-instances", "list", "--format", "json"])?;
    let document = said.json()?;
    let instances = document["result"]["instances"].as_array();
    Ok(instances.with_context(|| format!("no instances: {said:?}"))?.clone())
}

/// Says which of all instances run, as `id:port`.
///
/// # Errors
///
/// When the machine is gone, or there is no list.
pub fn running(machine: &Machine) -> Result<Vec<String>> {
    let all = list(machine)?;
    let running = all.iter().filter(|one| one["state"] == "running");
    let shown = running.map(|one| {
        let id = one["id"].as_str().unwrap_or_default();
        format!("{id}:{}", one["port"])
    });
    Ok(shown.collect())
}

/// Returns the status that nginx answers for the health of an instance: 200 where it is served, 404
/// where nothing is routed, 502 where nobody listens.
///
/// # Errors
///
/// When the machine is gone.
pub fn health(machine: &Machine, id: &str) -> Result<String> {
    let url = format!("http://127.0.0.1/vscode/{id}/healthz");
    let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let words = [&curl, ["--header", "Host: oh.example", url.as_str()].as_slice()].concat();
    Ok(machine.run(&words)?.stdout)
}

/// Returns the unit of an instance.
pub fn unit(id: &str) -> String {
    format!("openhands-editor-{id}.service")
}

/// Returns a property of a unit.
///
/// # Errors
///
/// When the machine is gone.
pub fn property(machine: &Machine, unit: &str, name: &str) -> Result<String> {
    let property = format!("--property={name}");
    let said = machine.run(&["systemctl", "show", &property, "--value", unit])?.expect(0)?;
    Ok(said.stdout.trim().to_owned())
}

/// Demands that the unit of an instance has its limits, and that all of its processes are in it.
///
/// # Errors
///
/// When the machine is gone, or where one of it does not hold.
pub fn is_limited(machine: &Machine, instance: &Value) -> Result<()> {
    let id = instance["id"].as_str().context("no id")?;
    let limits = ["MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "Restart", "KillMode"];
    let limits: Vec<String> =
        limits.iter().map(|name| property(machine, &unit(id), name)).collect::<Result<_>>()?;
    let mib = 2048_u64 * 1024 * 1024;
    ensure!(limits == [&mib.to_string(), "512", "1.500000s", "no", "mixed"], "{limits:?}");
    let all = list(machine)?;
    let now = all.iter().find(|one| one["id"] == id).context("it is not listed")?;
    let processes = now["processes"].as_array().context("no processes")?.iter();
    let wanted = processes.map(|one| &one["pid"]).chain([&now["supervisor_pid"]]);
    let inside = members(machine, &unit(id))?;
    for pid in wanted {
        ensure!(inside.contains(&pid.to_string()), "{pid} is not in {inside:?}: {now:#}");
    }
    Ok(())
}

/// The processes of a unit's control group.
///
/// # Errors
///
/// When the machine is gone.
pub fn members(machine: &Machine, unit: &str) -> Result<Vec<String>> {
    let group = property(machine, unit, "ControlGroup")?;
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let said = machine.run(&["cat", &format!("/sys/fs/cgroup{group}/cgroup.procs")])?;
    Ok(said.stdout.lines().map(str::to_owned).collect())
}

/// Ends a process of an instance with SIGKILL, and waits until it is gone.
///
/// # Errors
///
/// When the machine is gone, or the process is.
pub fn kill(machine: &Machine, instance: &Value, key: &str) -> Result<()> {
    let pid = instance[key].as_u64().with_context(|| format!("no {key}: {instance:#}"))?;
    machine.run(&["kill", "-KILL", &pid.to_string()])?.expect(0)?;
    // A signal is only on its way.
    let there = format!("/proc/{pid}/stat");
    let end = format!("the end of {pid}");
    eventually(machine, &end, || Ok(machine.run(&["test", "-e", &there])?.code == 1))
}

/// Waits; where that takes too long, the journal of our units is told.
///
/// # Errors
///
/// When the machine is gone, and after [`BOUND`].
pub fn eventually(
    machine: &Machine,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait::until(what, BOUND, || Ok(holds()?.then_some(()))).with_context(|| journal(machine))
}

/// Returns what our units have told systemd.
pub fn journal(machine: &Machine) -> String {
    let words = ["journalctl", "--no-pager", "--boot", "--lines=100"];
    let units = ["--unit=oh-instances*", "--unit=openhands-editor*", "--unit=nginx*"];
    let said: Result<Said> = machine.run(&[&words[..], &units].concat());
    said.map_or_else(|why| why.to_string(), |said| said.stdout)
}
