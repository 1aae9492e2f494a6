//! `oh-nginx` on a Debian 12 whose nginx is Debian's package under a real systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::Said;
use oh_testsuite::machine::Machine;
use oh_testsuite::wait;

const BOUND: Duration = Duration::from_secs(20);

const CONFIG: &str = "[toolkit]
schema = 1

[toolkit.site]
domain = \"oh.example\"
upstream = \"127.0.0.1:3000\"
tls = \"off\"
auth = \"none\"
";

/// Boots a machine with a configuration and a folder for sessions.
fn machine() -> Result<Machine> {
    let machine = Machine::boot()?;
    for folder in ["etc/openhands-toolkit", "tmp/openhands-sessions", "tmp/new"] {
        machine.run(&["mkdir", "--mode=0755", &format!("/{folder}")])?.expect(0)?;
    }
    fs::write(machine.at("etc/openhands-toolkit/config.toml"), CONFIG)?;
    Ok(machine)
}

/// Writes a session file in one step.
fn session(machine: &Machine, id: &str, port: u16) -> Result<()> {
    fs::write(machine.at("tmp/new/file"), format!("{{\"vscode_port\": {port}}}"))?;
    Ok(fs::rename(
        machine.at("tmp/new/file"),
        machine.at(&format!("tmp/openhands-sessions/{id}.json")),
    )?)
}

fn apply(machine: &Machine) -> Result<Said> {
    machine.run(&["oh-nginx", "apply"])
}

/// Does this with nginx's unit, and waits until nginx is done with it.
fn systemctl(machine: &Machine, verb: &str) -> Result<()> {
    machine.run(&["systemctl", verb, "nginx"])?.expect(0)?;
    if verb == "stop" {
        return Ok(());
    }
    // systemd is content with the pid file, which nginx writes before it calls itself a master.
    wait::until_true("nginx's workers", BOUND, || {
        workers(machine).is_ok_and(|workers| !workers.is_empty())
    })
}

/// Returns the process id of nginx's master as systemd knows it; 0 while nginx is stopped.
fn main_pid(machine: &Machine) -> Result<String> {
    let said = machine.run(&["systemctl", "show", "--property=MainPID", "--value", "nginx"])?;
    Ok(said.expect(0)?.stdout.trim().to_owned())
}

/// Returns the status that nginx answers on port 80; 502 is a route without an editor behind it.
fn status_of(machine: &Machine, path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1{path}");
    let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let words = [&curl, ["--header", "Host: oh.example", url.as_str()].as_slice()].concat();
    Ok(machine.run(&words)?.expect(0)?.stdout)
}

#[test]
fn what_debian_ships_is_served_reloaded_restarted_and_stopped() -> Result<()> {
    let machine = machine()?;
    let shipped = machine.run(&["systemctl", "cat", "nginx"])?.expect(0)?.stdout;
    ensure!(shipped.contains("PIDFile=/run/nginx.pid"), "{shipped}");
    ensure!(shipped.contains("-s reload"), "{shipped}");

    // The first run includes the file and reloads the master that systemd started.
    session(&machine, "alpha", 41000)?;
    let first_master = main_pid(&machine)?;
    let first = apply(&machine)?.expect(0)?;
    ensure!(first.stdout.contains("1 editor, 0 applications served as"), "{}", first.stdout);
    let reload = format!("reload the nginx master (pid {first_master})");
    ensure!(first.stdout.contains(&reload), "{}", first.stdout);
    ensure!(status_of(&machine, "/vscode/alpha/")? == "502");
    ensure!(status_of(&machine, "/vscode/beta/")? == "404");
    ensure!(main_pid(&machine)? == first_master, "a reload is no restart");

    // The second run does nothing: the workers that the first one's reload started live on.
    let before = workers(&machine)?;
    let second = apply(&machine)?.expect(0)?;
    ensure!(second.stdout.starts_with("nothing to do: 1 editor"), "{}", second.stdout);
    ensure!(workers(&machine)? == before, "something was reloaded");

    // systemd's own reload, by the package's ExecReload, changes nothing for us.
    systemctl(&machine, "reload")?;
    wait::until_true("the reload by systemd", BOUND, || {
        workers(&machine).is_ok_and(|now| !now.iter().any(|worker| before.contains(worker)))
    })?;
    let reloaded = apply(&machine)?.expect(0)?;
    ensure!(reloaded.stdout.starts_with("nothing to do: "), "{}", reloaded.stdout);

    // A restart between two runs: another master, found through the package's pid file.
    systemctl(&machine, "restart")?;
    let second_master = main_pid(&machine)?;
    ensure!(second_master != first_master);
    session(&machine, "beta", 41001)?;
    let restarted = apply(&machine)?.expect(0)?;
    let reload = format!("reload the nginx master (pid {second_master})");
    ensure!(restarted.stdout.contains(&reload), "{}", restarted.stdout);
    ensure!(status_of(&machine, "/vscode/beta/")? == "502");

    stopped_and_started_again(&machine)
}

/// While nginx is stopped the answer is no, and true; what was put in place is served after it.
fn stopped_and_started_again(machine: &Machine) -> Result<()> {
    systemctl(machine, "stop")?;
    ensure!(!machine.at("run/nginx.pid").exists(), "Debian's unit leaves its pid file");
    session(machine, "gamma", 41002)?;
    for when in ["with a change", "without a change"] {
        let stopped = apply(machine)?.expect(1)?;
        let said = &stopped.stdout;
        ensure!(said.contains("3 editors, 0 applications in place as"), "{when}: {said}");
        ensure!(said.contains("no nginx master of this configuration runs"), "{when}: {said}");
    }
    let status = machine.run(&["oh-nginx", "status"])?.expect(1)?;
    ensure!(status.stdout.contains("does not run, serves nothing of ours"), "{}", status.stdout);
    ensure!(main_pid(machine)? == "0", "a run of ours starts no service");

    systemctl(machine, "start")?;
    let started = apply(machine)?.expect(0)?;
    ensure!(started.stdout.starts_with("nothing to do: 3 editors"), "{}", started.stdout);
    ensure!(status_of(machine, "/vscode/gamma/")? == "502");
    machine.run(&["systemctl", "is-active", "nginx"])?.expect(0).map(drop)
}

/// Returns the process ids of nginx's workers: a reload replaces them all.
fn workers(machine: &Machine) -> Result<Vec<String>> {
    let master = main_pid(machine)?;
    let said = machine.run(&["pgrep", "--parent", &master])?.expect(0)?;
    Ok(said.stdout.lines().map(str::to_owned).collect())
}

/// Installs what `oh-nginx watch --print-unit` prints.
fn install(machine: &Machine, unit: &str, file: &str) -> Result<()> {
    let text = machine.run(&["oh-nginx", "watch", "--print-unit", unit])?.expect(0)?.stdout;
    Ok(fs::write(machine.at(&format!("etc/systemd/system/{file}")), text)?)
}

/// Waits until nginx answers a path with the status.
fn answers(machine: &Machine, path: &str, status: &str) -> Result<()> {
    wait::until_true(&format!("{status} at {path}"), BOUND, || {
        status_of(machine, path).is_ok_and(|seen| seen == status)
    })
    .with_context(|| journal(machine))
}

/// Returns what the watch has told systemd.
fn journal(machine: &Machine) -> String {
    let said = machine.run(&["journalctl", "--no-pager", "--unit", "oh-nginx*"]);
    said.map_or_else(|why| why.to_string(), |said| said.stdout)
}

#[test]
fn a_watch_under_systemd_does_all_that_it_does_without_its_walls() -> Result<()> {
    let machine = machine()?;
    apply(&machine)?.expect(0)?;
    install(&machine, "service", "oh-nginx-watch.service")?;
    machine.run(&["systemctl", "daemon-reload"])?.expect(0)?;
    // Type=notify: systemd is content only when the first look has succeeded.
    let started = machine.run(&["systemctl", "start", "oh-nginx-watch"])?;
    ensure!(started.code == 0, "{started:?}\n{}", journal(&machine));

    session(&machine, "alpha", 41000)?;
    answers(&machine, "/vscode/alpha/", "502")?;
    fs::remove_file(machine.at("tmp/openhands-sessions/alpha.json"))?;
    answers(&machine, "/vscode/alpha/", "404")?;

    // More than data lines: nginx judges the whole, within the unit's walls.
    let before = machine.run(&["oh-nginx", "render"])?.expect(0)?.stdout;
    let site = CONFIG.replace("upstream", "origins = [\"https://other.example\"]\nupstream");
    let more =
        format!("{site}\n[toolkit.nginx]\nrescan_s = 1\n[toolkit.sessions]\nretire_after_s = 1\n");
    fs::write(machine.at("etc/openhands-toolkit/config.toml"), more)?;
    machine.run(&["systemctl", "reload", "oh-nginx-watch"])?.expect(0)?;
    wait::until_true("the new configuration", BOUND, || {
        machine.run(&["oh-nginx", "status"]).is_ok_and(|status| status.code == 0)
    })
    .with_context(|| journal(&machine))?;
    ensure!(machine.run(&["oh-nginx", "render"])?.expect(0)?.stdout != before);

    // A session that never was is retired: its file is moved aside, its route goes.
    session(&machine, "beta", 41001)?;
    wait::until_true("the retirement", BOUND, || {
        let names = fs::read_dir(machine.at("tmp/openhands-sessions")).into_iter().flatten();
        let mut names = names.flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with(".retired-beta-"))
    })
    .with_context(|| journal(&machine))?;
    answers(&machine, "/vscode/beta/", "404")?;

    fs::write(machine.at("etc/openhands-toolkit/config.toml"), CONFIG)?;
    machine.run(&["systemctl", "reload", "oh-nginx-watch"])?.expect(0)?;
    systemctl(&machine, "restart")?;
    session(&machine, "gamma", 41002)?;
    answers(&machine, "/vscode/gamma/", "502")?;

    machine.run(&["systemctl", "stop", "oh-nginx-watch"])?.expect(0)?;
    let show = ["systemctl", "show", "--property=Result", "--value", "oh-nginx-watch"];
    ensure!(machine.run(&show)?.expect(0)?.stdout.trim() == "success", "{}", journal(&machine));
    by_timer_and_path(&machine)
}

/// The units for where nothing may run all the time.
fn by_timer_and_path(machine: &Machine) -> Result<()> {
    for (unit, file) in [
        ("once", "oh-nginx-once.service"),
        ("timer", "oh-nginx-once.timer"),
        ("path", "oh-nginx-once.path"),
    ] {
        install(machine, unit, file)?;
    }
    machine.run(&["systemctl", "daemon-reload"])?.expect(0)?;
    machine.run(&["systemctl", "start", "oh-nginx-once.timer", "oh-nginx-once.path"])?.expect(0)?;
    session(machine, "delta", 41003)?;
    answers(machine, "/vscode/delta/", "502")
}

#[test]
fn beside_a_mistake_that_systemd_would_not_start_nothing_is_changed() -> Result<()> {
    let machine = machine()?;
    session(&machine, "alpha", 41000)?;
    apply(&machine)?.expect(0)?;
    let hook = machine.at("etc/nginx/conf.d/00-openhands.conf");
    // A mistake of the operator's in a file of theirs, seen only while nginx is stopped.
    systemctl(&machine, "stop")?;
    fs::write(machine.at("etc/nginx/conf.d/theirs.conf"), "server { listen 81\n")?;
    fs::remove_file(&hook)?;
    machine.run(&["systemctl", "start", "nginx"])?.expect(1)?;
    let refused = apply(&machine)?.expect(4)?;
    ensure!(refused.stderr.contains("/etc/nginx/conf.d/theirs.conf:2: "), "{}", refused.stderr);
    ensure!(!hook.exists(), "something was changed");
    // Mended, it is started and served.
    fs::remove_file(machine.at("etc/nginx/conf.d/theirs.conf"))?;
    systemctl(&machine, "start")?;
    apply(&machine)?.expect(0)?;
    ensure!(status_of(&machine, "/vscode/alpha/")? == "502");
    Ok(())
}

#[test]
fn a_machine_leaves_no_process_mount_or_control_group() -> Result<()> {
    let machine = Machine::boot()?;
    let mut paths: Vec<PathBuf> = machine.cgroups().to_vec();
    ensure!(!paths.is_empty() && paths.iter().all(|path| path.is_dir()), "{paths:?}");
    paths.extend(machine.processes().map(|process| PathBuf::from(format!("/proc/{process}"))));
    drop(machine);
    let left: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    ensure!(left.is_empty(), "{left:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains("/debian-12-"), "{mounts}");
    ensure!(!Path::new("/run/systemd/nspawn/propagate/oh-machine").exists());
    Ok(())
}
