//! The printed units of `oh-instances` on a Debian 12 with a real systemd: what is wanted runs again
//! after a reboot, whatever nginx does, and a timer sets right what was broken.

use std::fs;

use anyhow::{Result, ensure};
use oh_testsuite::booted::{
    eventually, health, install, journal, kill, list, prepare, property, repository, running,
    start, systemctl, unit,
};
use oh_testsuite::machine::{End, Machine};
use serde_json::Value;

const SESSION: &str = "4f1c";
const SESSION_FILE: &str = "tmp/openhands-sessions/4f1c.json";

/// nginx starts when this exists; it goes with the machine, as all of /run.
const PERMIT: &str = "run/nginx-may-start";

/// Three editors that are wanted, one of them a session's, and one that was stopped; returns what
/// runs.
fn scene(machine: &Machine) -> Result<Vec<String>> {
    prepare(machine)?;
    install(machine)?;
    for name in ["hello", "other", "stopped"] {
        start(machine, name)?;
    }
    machine.run(&["oh-instances", "start", "--session", SESSION])?.expect(0)?;
    machine.run(&["oh-instances", "stop", "stopped"])?.expect(0)?;
    let all = running(machine)?;
    ensure!(all.len() == 3, "{all:?}");
    Ok(all)
}

/// Demands that these run, in units, and are served; and that nothing else is.
fn is_as_before(machine: &Machine, before: &[String]) -> Result<()> {
    let now = running(machine)?;
    ensure!(now == before, "{now:?} instead of {before:?}\n{}", journal(machine));
    for id in ["hello", "other", SESSION] {
        ensure!(health(machine, id)? == "200", "{id}: {}", journal(machine));
        ensure!(property(machine, &unit(id), "ActiveState")? == "active", "{id}");
    }
    ensure!(health(machine, "stopped")? == "404");
    ensure!(property(machine, &unit("stopped"), "LoadState")? == "not-found");
    ensure!(machine.at(SESSION_FILE).exists(), "the session is not announced");
    // A further look finds nothing to do.
    let again = machine.run(&["oh-instances", "reconcile", "--start"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    Ok(())
}

#[test]
fn what_is_wanted_runs_again_after_a_reboot_and_what_was_stopped_does_not() -> Result<()> {
    let mut machine = Machine::boot_with_disk()?;
    let before = scene(&machine)?;
    for end in [End::PowerOff, End::PowerFailure] {
        machine = machine.boot_again(end)?;
        machine.wait_until("running")?;
        is_as_before(&machine, &before)?;
        let boot = property(&machine, "oh-instances-boot.service", "ActiveState")?;
        ensure!(boot == "active", "{boot}: {}", journal(&machine));
    }
    Ok(())
}

/// Lets nginx's own unit do this before it starts.
fn before_nginx(machine: &Machine, lines: &str) -> Result<()> {
    let folder = machine.at("etc/systemd/system/nginx.service.d");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("test.conf"), format!("[Service]\n{lines}"))?;
    systemctl(machine, &["daemon-reload"])
}

#[test]
fn editors_wait_for_an_nginx_that_is_slow() -> Result<()> {
    let machine = Machine::boot_with_disk()?;
    let before = scene(&machine)?;
    let wait = format!("ExecStartPre=/bin/sh -c 'until [ -e /{PERMIT} ]; do sleep 0.1; done'\n");
    before_nginx(&machine, &wait)?;
    let mut machine = machine.boot_again(End::PowerOff)?;
    let jobs = ["systemctl", "list-jobs", "--no-legend"];
    let is = |jobs: &str, unit: &str, state: &str| {
        jobs.lines().any(|line| line.contains(unit) && line.contains(state))
    };
    eventually(&machine, "nginx", || {
        let jobs = machine.run(&jobs)?.stdout;
        Ok(is(&jobs, "nginx.service", "running"))
    })?;
    let waiting = machine.run(&jobs)?.stdout;
    ensure!(is(&waiting, "oh-instances-boot.service", "waiting"), "{waiting}");
    ensure!(running(&machine)?.is_empty());
    fs::write(machine.at(PERMIT), "")?;
    machine.wait_until("running")?;
    is_as_before(&machine, &before)
}

#[test]
fn editors_outlive_an_nginx_that_fails_at_first() -> Result<()> {
    let machine = Machine::boot_with_disk()?;
    let before = scene(&machine)?;
    let again = format!(
        "ExecStartPre=/usr/bin/test -e /{PERMIT}\nRestart=on-failure\nRestartSec=1\n\
         [Unit]\nStartLimitIntervalSec=0\n"
    );
    before_nginx(&machine, &again)?;
    let machine = machine.boot_again(End::PowerFailure)?;
    eventually(&machine, "the end of the boot unit", || {
        let state = property(&machine, "oh-instances-boot.service", "ActiveState")?;
        Ok(["active", "failed"].contains(&state.as_str()))
    })?;
    // They run all the same, and it is said what is missing.
    ensure!(running(&machine)? == before, "{}", journal(&machine));
    ensure!(property(&machine, "oh-instances-boot.service", "Result")? == "exit-code");
    ensure!(journal(&machine).contains("no nginx runs that could serve it"));
    let supervisors = |machine: &Machine| -> Result<Vec<Value>> {
        Ok(list(machine)?.iter().map(|one| one["supervisor_pid"].clone()).collect())
    };
    let first = supervisors(&machine)?;
    fs::write(machine.at(PERMIT), "")?;
    eventually(&machine, "nginx", || Ok(health(&machine, "hello")? == "200"))?;
    is_as_before(&machine, &before)?;
    ensure!(supervisors(&machine)? == first, "an editor was started anew");
    Ok(())
}

/// Lets the printed timer come sooner; everything else of it, and all of its service, stays.
fn sooner(machine: &Machine) -> Result<()> {
    let folder = machine.at("etc/systemd/system/oh-instances-reconcile.timer.d");
    fs::create_dir_all(&folder)?;
    let times = "[Timer]\nOnBootSec=\nOnUnitActiveSec=\nOnActiveSec=1s\nOnUnitActiveSec=2s\n\
                 AccuracySec=100ms\n";
    fs::write(folder.join("test.conf"), times)?;
    systemctl(machine, &["daemon-reload"])?;
    systemctl(machine, &["restart", "oh-instances-reconcile.timer"])
}

#[test]
fn a_timer_sets_right_what_was_broken() -> Result<()> {
    let machine = Machine::boot()?;
    let before = scene(&machine)?;
    let timer = "oh-instances-reconcile.timer";
    let times = property(&machine, timer, "TimersMonotonic")?;
    for time in ["OnBootUSec=5min ;", "OnUnitActiveUSec=5min ;"] {
        ensure!(times.contains(time), "{times}");
    }
    ensure!(property(&machine, timer, "ActiveState")? == "active");
    let service = "oh-instances-reconcile.service";
    ensure!(property(&machine, service, "DropInPaths")?.is_empty(), "its walls are not as printed");
    for (name, value) in [("ProtectSystem", "strict"), ("NoNewPrivileges", "yes")] {
        ensure!(property(&machine, service, name)? == value, "{name}");
    }

    // A supervisor that is killed takes its editor along; another session's file is removed.
    let all = list(&machine)?;
    let hello = all.iter().find(|one| one["id"] == "hello").cloned().unwrap_or_default();
    kill(&machine, &hello, "supervisor_pid")?;
    eventually(&machine, "the end of its unit", || {
        Ok(property(&machine, &unit("hello"), "LoadState")? == "not-found")
    })?;
    let gone = machine.run(&["test", "-e", &format!("/proc/{}", hello["pid"])])?;
    ensure!(gone.code == 1, "its editor outlived its unit");
    fs::remove_file(machine.at(SESSION_FILE))?;
    ensure!(running(&machine)?.len() == 2);

    sooner(&machine)?;
    eventually(&machine, "the timer", || {
        Ok(running(&machine)? == before && machine.at(SESSION_FILE).exists())
    })?;
    eventually(&machine, "the end of its service", || {
        Ok(property(&machine, service, "ActiveState")? == "inactive"
            && property(&machine, service, "Result")? == "success"
            && health(&machine, "hello")? == "200")
    })?;
    // It comes again and again, and changes nothing.
    let supervisor = list(&machine)?[1]["supervisor_pid"].clone();
    let last = |machine: &Machine| property(machine, timer, "LastTriggerUSecMonotonic");
    let first = last(&machine)?;
    eventually(&machine, "the next time", || Ok(last(&machine)? != first))?;
    systemctl(&machine, &["stop", timer])?;
    is_as_before(&machine, &before)?;
    ensure!(list(&machine)?[1]["supervisor_pid"] == supervisor, "it was started anew");
    // What was stopped is nobody's to start, and what is broken again is mended again.
    repository(&machine, "stopped")?;
    ensure!(property(&machine, &unit("stopped"), "LoadState")? == "not-found");
    Ok(())
}
