//! `oh-cleanup` on a Debian 12 with a real systemd: what a unit holds is nobody's orphan.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::booted::{BOUND, property, systemctl};
use oh_testsuite::machine::Machine;
use oh_testsuite::{components, wait};

const CONFIG: &str = "[toolkit]
schema = 1

[toolkit.site]
domain = \"oh.example\"
upstream = \"127.0.0.1:3000\"
tls = \"off\"
auth = \"none\"
";

/// How a server of OpenHands is called here; it does nothing.
const SERVER: &str = "exec -a openhands-agent-server sleep infinity";

/// Writes and starts a unit that runs a script in a sandbox.
fn unit(machine: &Machine, name: &str, kind: &str, script: &str) -> Result<()> {
    machine.run(&["mkdir", "--parents", &format!("/tmp/openhands-sandboxes/{name}")])?.expect(0)?;
    let text = format!(
        "[Service]\n{kind}WorkingDirectory=/tmp/openhands-sandboxes/{name}\n\
         ExecStart=/bin/bash -c '{script}'\n"
    );
    fs::write(machine.at(&format!("etc/systemd/system/{name}.service")), text)?;
    systemctl(machine, &["daemon-reload"])?;
    systemctl(machine, &["start", &format!("{name}.service")])
}

/// The servers that run, by the sandboxes in which they work.
fn running(machine: &Machine) -> Result<Vec<String>> {
    let script = "for cwd in $(pgrep --full '^openhands-agent-server'); do \
                  readlink /proc/$cwd/cwd; done | sort";
    let said = machine.run(&["bash", "-c", script])?.expect(0)?.stdout;
    Ok(said.lines().map(|at| at.rsplit('/').next().unwrap_or_default().to_owned()).collect())
}

#[test]
fn what_a_unit_that_runs_has_is_no_orphan() -> Result<()> {
    let machine = Machine::boot()?;
    machine.run(&["mkdir", "--parents", "/etc/openhands-toolkit"])?.expect(0)?;
    fs::write(machine.at("etc/openhands-toolkit/config.toml"), CONFIG)?;
    fs::copy(components::built("oh-cleanup")?, machine.at("root/oh-cleanup"))?;

    unit(&machine, "served", "Restart=always\n", SERVER)?;
    let in_background = format!("({SERVER}) &");
    unit(&machine, "batch", "Type=oneshot\nRemainAfterExit=yes\n", &in_background)?;
    // It ends by itself, and leaves what it started: its unit is dead.
    unit(&machine, "gone", "Type=oneshot\nKillMode=process\n", &in_background)?;
    wait::until("all servers", BOUND, || {
        Ok((running(&machine)? == ["batch", "gone", "served"]).then_some(()))
    })?;
    let main = property(&machine, "served.service", "MainPID")?;

    let said = machine.run(&["/root/oh-cleanup", "--processes", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 1 orphan stopped"), "{said:?}");
    for why in [
        "it is the main process of served.service, which systemd starts again: systemctl stop \
         served.service",
        "it is of batch.service, which runs: systemctl stop batch.service",
    ] {
        ensure!(said.stdout.contains(why), "{said:?}");
    }
    ensure!(running(&machine)? == ["batch", "served"], "{said:?}");
    ensure!(property(&machine, "served.service", "MainPID")? == main, "{said:?}");

    // As told: then nothing is left of it.
    systemctl(&machine, &["stop", "served.service"])?;
    let left = running(&machine)?;
    ensure!(left.first().context("the other one")? == "batch" && left.len() == 1, "{left:?}");
    Ok(())
}
