//! `oh-instances` of an ordinary user from whom `/proc` hides all others' processes (`hidepid=2`), on a
//! Debian 12 with a real systemd: what cannot be seen is said, and is neither gone nor free.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::booted::{eventually, list, prepare, start};
use oh_testsuite::lab::{Said, temporary_paths};
use oh_testsuite::machine::Machine;
use serde_json::{Value, json};

const USER: &str = "ordinary";

/// A root of that user's own.
const ROOT: &str = "/srv/lab";

/// Starts the nginx of that root.
const NGINX: [&str; 3] = ["nginx", "-c", "/srv/lab/etc/nginx/nginx.conf"];

const CONFIG: &str = "[toolkit.site]
domain = \"127.0.0.1\"
port = 8081
upstream = \"127.0.0.1:3000\"
tls = \"off\"
auth = \"none\"
[toolkit.nginx]
listen = [\"127.0.0.1\"]
generation_port = 8082
[toolkit.instances]
program = \"/etc/code-server\"
";

fn as_user(machine: &Machine, words: &[&str]) -> Result<Said> {
    let become_user = ["setpriv", "--reuid=ordinary", "--regid=ordinary", "--clear-groups", "--"];
    machine.run(&[&become_user[..], words].concat())
}

/// Runs it as the user on their own root.
fn own(machine: &Machine, arguments: &[&str]) -> Result<Said> {
    as_user(machine, &[&["oh-instances", "--root", ROOT], arguments].concat())
}

/// A machine with a user who has a root of their own.
fn machine() -> Result<Machine> {
    let machine = Machine::boot()?;
    prepare(&machine)?;
    machine.run(&["oh-nginx", "apply"])?.expect(0)?;
    machine.run(&["useradd", "--create-home", USER])?.expect(0)?;
    machine.run(&["mount", "-o", "remount,hidepid=2", "/proc"])?.expect(0)?;
    let below = ROOT.trim_start_matches('/');
    for folder in [
        "etc/nginx/conf.d",
        "etc/openhands-toolkit",
        "run",
        "log",
        "tmp/openhands-sessions",
        "var/www/github/hello",
        "var/www/ai-desktop/data",
    ] {
        fs::create_dir_all(machine.at(&format!("{below}/{folder}")))?;
    }
    let temporary = temporary_paths(ROOT);
    let main = format!(
        "pid {ROOT}/run/nginx.pid;\nerror_log {ROOT}/log/error.log;\nevents {{ }}\n\
         http {{\n  access_log off;\n{temporary}  include conf.d/*.conf;\n}}\n"
    );
    fs::write(machine.at(&format!("{below}/etc/nginx/nginx.conf")), main)?;
    fs::write(machine.at(&format!("{below}/etc/openhands-toolkit/config.toml")), CONFIG)?;
    give(&machine, USER)?;
    Ok(machine)
}

/// Makes everything of the user's root somebody's.
fn give(machine: &Machine, user: &str) -> Result<()> {
    machine.run(&["chown", "--recursive", &format!("{user}:"), ROOT])?.expect(0).map(drop)
}

#[test]
fn what_is_ones_own_is_seen_and_the_rest_is_said_to_be_hidden() -> Result<()> {
    let machine = machine()?;
    as_user(&machine, &NGINX)?.expect(0)?;
    let theirs = start(&machine, "theirs")?;
    ensure!(theirs["port"] == json!(8888), "{theirs:#}");
    let hidden = as_user(&machine, &["test", "-e", "/proc/1/stat"])?;
    ensure!(hidden.code == 1, "nothing is hidden");

    // What is root's is not told of, and not said to be away.
    for arguments in [&["list"][..], &["status", "theirs"], &["stop", "theirs"], &["reconcile"]] {
        let said = as_user(&machine, &[&["oh-instances"], arguments].concat())?;
        ensure!([1, 4].contains(&said.code), "{arguments:?}: {said:?}");
        ensure!(said.stderr.contains("Permission denied"), "{arguments:?}: {said:?}");
    }

    // A port whose holder is hidden is not free.
    let repo = ["start", "--repo", "/var/www/github/hello"];
    let taken = "port 8888 is taken by somebody who cannot be seen";
    let refused = own(&machine, &[&repo[..], &["--port", "8888"]].concat())?.expect(2)?;
    ensure!(refused.stderr.contains(taken), "{refused:?}");
    let started = own(&machine, &[&repo[..], &["--format", "json"]].concat())?.expect(0)?;
    ensure!(started.stderr.contains(taken), "{started:?}");
    ensure!(started.json()?["result"]["instance"]["port"] == json!(8889), "{started:?}");

    let listed = own(&machine, &["list"])?.expect(0)?;
    ensure!(listed.stdout.contains("the one instance runs"), "{listed:?}");
    ensure!(listed.stdout.contains("not seen: other users' processes are hidden"), "{listed:?}");
    let status = own(&machine, &["status", "hello"])?.expect(0)?;
    ensure!(status.stdout.contains("hello runs"), "{status:?}");
    ensure!(status.stdout.contains("not seen"), "{status:?}");

    // An entry whose listener is hidden is left alone.
    let ports = "srv/lab/var/www/ai-desktop/data/vscode-ports.json";
    let mut database: Value = serde_json::from_str(&fs::read_to_string(machine.at(ports))?)?;
    database["instances"]["old"] = json!({ "port": 8888, "pid": 1, "projectName": "old",
        "repoPath": "/var/www/github/old", "startedAt": "2025-11-17T20:08:00.000Z" });
    fs::write(machine.at(ports), database.to_string())?;
    let left = own(&machine, &["reconcile"])?.expect(0)?;
    ensure!(left.stdout.contains("old: who listens on its port is not shown"), "{left:?}");

    // Units that the user prints, and root installs, run as the user.
    let unit = own(&machine, &["print-unit", "boot"])?.expect(0)?.stdout;
    fs::write(machine.at("etc/systemd/system/own-boot.service"), unit)?;
    machine.run(&["systemctl", "daemon-reload"])?.expect(0)?;
    let of_user = ["ps", "-U", USER, "-o", "pid=,args="];
    for line in machine.run(&of_user)?.stdout.lines().filter(|line| !line.contains("nginx")) {
        let pid = line.split_whitespace().next().context("ps(1)")?;
        // A worker ends with its server.
        machine.run(&["kill", "-KILL", pid])?;
    }
    eventually(&machine, "the end of all of it", || Ok(own(&machine, &["list"])?.code == 1))?;
    machine.run(&["systemctl", "start", "own-boot.service"])?.expect(0)?;
    let again = own(&machine, &["list"])?.expect(0)?;
    ensure!(again.stdout.contains("the one instance runs"), "{again:?}");

    let stopped = own(&machine, &["stop", "hello"])?.expect(0)?;
    ensure!(stopped.stdout.contains("hello stopped"), "{stopped:?}");
    ensure!(stopped.stderr.contains("hidden from us (hidepid)"), "{stopped:?}");
    let all = list(&machine)?;
    ensure!(all.len() == 1 && all[0]["state"] == json!("running"), "{all:#?}");
    ensure!(all[0]["pid"] == theirs["pid"], "{all:#?}");
    Ok(())
}

#[test]
fn what_is_hidden_is_neither_gone_nor_stopped() -> Result<()> {
    let machine = machine()?;
    // Root started it on a root that was root's, and gave the files to the user afterwards.
    give(&machine, "root")?;
    machine.run(&["chown", "ordinary:", &format!("{ROOT}/var/www/github/hello")])?.expect(0)?;
    machine.run(&NGINX)?.expect(0)?;
    let words = ["oh-instances", "--root", ROOT, "start", "--repo", "/var/www/github/hello"];
    let started = machine.run(&[&words[..], &["--user", USER, "--format", "json"]].concat())?;
    let hello = started.expect(0)?.json()?["result"]["instance"].clone();
    let supervisor = hello["supervisor_pid"].as_u64().context("no supervisor")?;
    give(&machine, USER)?;

    let unseen = format!("not permitted to see process {supervisor}");
    for (arguments, code) in [
        (&["list"][..], 4),
        (&["status", "hello"], 4),
        (&["start", "--repo", "/var/www/github/hello"], 4),
        (&["restart", "hello"], 4),
        (&["reconcile", "--dry-run"], 4),
        (&["reconcile", "--start"], 4),
        (&["stop", "--idle", "1h"], 4),
        (&["stop", "hello"], 1),
    ] {
        let said = own(&machine, arguments)?.expect(code)?;
        let all = format!("{}{}", said.stdout, said.stderr);
        ensure!(all.contains(&unseen), "{arguments:?}: {said:?}");
        for lie in ["gone", "hello stopped", "does not run", "nothing of it runs"] {
            ensure!(!all.contains(lie), "{arguments:?}: {lie}: {said:?}");
        }
    }
    // The same of an nginx that is hidden.
    let routes = as_user(&machine, &["oh-nginx", "--root", ROOT, "status"])?;
    let all = format!("{}{}", routes.stdout, routes.stderr);
    ensure!(routes.code != 0 && all.contains("not permitted to see process"), "{routes:?}");
    ensure!(!all.contains("does not run"), "{routes:?}");

    // Whoever sees it ends it.
    give(&machine, "root")?;
    for pid in [&hello["pid"], &hello["supervisor_pid"]] {
        machine.run(&["test", "-e", &format!("/proc/{pid}")])?.expect(0)?;
    }
    machine.run(&["oh-instances", "--root", ROOT, "stop", "hello"])?.expect(0)?;
    for pid in [&hello["pid"], &hello["supervisor_pid"]] {
        machine.run(&["test", "-e", &format!("/proc/{pid}")])?.expect(1)?;
    }
    Ok(())
}
