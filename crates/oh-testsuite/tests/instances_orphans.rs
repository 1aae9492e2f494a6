//! What an editor leaves behind, with a real supervisor: nothing of it outlives the editor.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::{Instances, is_root, kill};
use oh_testsuite::lab::Lab;
use oh_testsuite::wait;
use serde_json::{Value, json};

/// How long an editor may take to come up again, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// Less than any time after which a supervisor looks around by itself.
const AT_ONCE: Duration = Duration::from_secs(6);

const CONFIG: &str = "etc/openhands-toolkit/config.toml";
const STATE: &str = "run/openhands-toolkit/instances/hello.json";

/// An editor each start of which leaves an orphan: in a session of its own, without an environment.
struct Leaving {
    scene: Instances,
}

impl Leaving {
    fn new() -> Result<Self> {
        let scene = Instances::new("")?;
        scene.repository("hello")?;
        let (program, list) = (scene.lab.at("code-server"), Self::list(&scene));
        let script = fs::read_to_string(&program)?;
        let orphan = format!("echo $$ >> {}; exec /bin/sleep 300", list.display());
        let leave = format!("#!/bin/sh\n(setsid env -i /bin/sh -c '{orphan}' &)\n");
        fs::write(&program, script.replacen("#!/bin/sh\n", &leave, 1))?;
        Ok(Self { scene })
    }

    fn list(scene: &Instances) -> std::path::PathBuf {
        scene.lab.at("var/www/github/hello/orphans")
    }

    /// Returns the orphan of this start, from 0, once it is the supervisor's child.
    fn orphan(&self, start: usize, supervisor: &Value) -> Result<u32> {
        let supervisor = supervisor.to_string();
        wait::until("the orphan", BOUND, || {
            let list = fs::read_to_string(Self::list(&self.scene)).unwrap_or_default();
            let Some(Ok(pid)) = list.lines().nth(start).map(str::parse) else { return Ok(None) };
            let is_adopted = line(pid, "PPid:").is_some_and(|ppid| ppid == supervisor);
            Ok((is_adopted && line(pid, "Name:").is_some_and(|name| name == "sleep"))
                .then_some(pid))
        })
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // Only a failing test has left one.
        let list = fs::read_to_string(Self::list(&self.scene)).unwrap_or_default();
        for pid in list.lines().filter_map(|pid| pid.parse().ok()) {
            if line(pid, "Name:").is_some_and(|name| name == "sleep") {
                drop(kill(pid));
            }
        }
    }
}

/// What a line of `/proc/PID/status` says; `None` where there is no such process.
fn line(pid: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

fn is_dead(pid: u32) -> bool {
    line(pid, "State:").is_none_or(|state| state.starts_with(['Z', 'X']))
}

fn pid(instance: &Value, key: &str) -> Result<u32> {
    Ok(u32::try_from(instance[key].as_u64().with_context(|| format!("no {key}"))?)?)
}

#[test]
fn what_has_rid_itself_of_every_mark_ends_with_its_editor() -> Result<()> {
    let leaving = Leaving::new()?;
    let scene = &leaving.scene;
    let instance = scene.start("hello")?;
    let first = leaving.orphan(0, &instance["supervisor_pid"])?;
    kill(pid(&instance, "pid")?)?;
    wait::until("another editor", BOUND, || {
        let state = scene.json(STATE)?;
        let is_new = state["editor"]["pid"] != instance["pid"];
        Ok((is_new && state["phase"] == json!("ready")).then_some(()))
    })?;
    ensure!(is_dead(first), "what the first editor left lives on under the second");
    let second = leaving.orphan(1, &instance["supervisor_pid"])?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    ensure!(is_dead(second), "hello is stopped, and what it left lives on");
    Ok(())
}

#[test]
fn what_goes_on_without_its_first_thread_ends_with_its_editor() -> Result<()> {
    let scene = Instances::new("")?;
    let repository = scene.repository("hello")?;
    let said = scene.lab.at(repository.trim_start_matches('/')).join("left");
    let script = "import ctypes, os, sys, threading, time\n\
        threading.Thread(target=time.sleep, args=(300,)).start()\n\
        open(sys.argv[1], \"w\").write(str(os.getpid()))\n\
        ctypes.CDLL(None).pthread_exit(None)\n";
    scene.lab.write("left.py", script)?;
    let program = scene.lab.at("code-server");
    let (real, left) = (fs::read_to_string(&program)?, scene.lab.at("left.py"));
    let leave = format!("#!/bin/sh\n(setsid python3 {} {} &)\n", left.display(), said.display());
    fs::write(&program, real.replacen("#!/bin/sh\n", &leave, 1))?;
    let instance = scene.start("hello")?;
    let left: u32 = wait::until("the pid of what is left", BOUND, || {
        Ok(fs::read_to_string(&said).unwrap_or_default().parse().ok())
    })?;
    wait::until_true("the end of its first thread", BOUND, || {
        line(left, "State:").is_some_and(|state| state.starts_with('Z'))
    })?;
    ensure!(line(left, "Threads:").is_some_and(|threads| threads != "1"), "it ended");
    // Nobody is there any more whose child it is.
    kill(pid(&instance, "supervisor_pid")?)?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let threads = line(left, "Threads:");
    if threads.is_some() {
        drop(kill(left));
    }
    ensure!(threads.is_none_or(|threads| threads == "1"), "it lives on");
    Ok(())
}

#[test]
fn what_an_editor_left_is_reaped_when_it_ends() -> Result<()> {
    let leaving = Leaving::new()?;
    let instance = leaving.scene.start("hello")?;
    let orphan = leaving.orphan(0, &instance["supervisor_pid"])?;
    kill(orphan)?;
    wait::until_true("the orphan to be reaped", AT_ONCE, || line(orphan, "State:").is_none())
}

/// An editor on a socket that, where there is a file `hold` in its folder, listens when `go` is
/// there, and says in `bound` where.
const ON_A_SOCKET: &str = r#"#!/usr/bin/python3
import os, socket, sys, time
path = sys.argv[sys.argv.index("--socket-path") + 1]
door = socket.socket(socket.AF_UNIX)
door.bind(path)
if os.path.exists("FOLDER/hold"):
    with open("FOLDER/said", "w") as said: said.write(path)
    os.rename("FOLDER/said", "FOLDER/bound")
    while not os.path.exists("FOLDER/go"): time.sleep(0.05)
door.listen(64)
while True:
    caller = door.accept()[0]
    try:
        caller.recv(65536)
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    except OSError: pass
    caller.close()
"#;

#[test]
fn an_editor_whose_socket_was_exchanged_does_not_live_unsupervised() -> Result<()> {
    if !is_root()? {
        // Nobody else can give a socket away.
        return Ok(());
    }
    let lab = Lab::with_login()?;
    let nginx = fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
    lab.write("etc/nginx/nginx.conf", &format!("user www-data;\n{nginx}"))?;
    let more = "server = \"openvscode-server\"\ntransport = \"unix\"\nrestarts_max = 1\n";
    let scene = Instances::of(lab, more)?;
    let config = fs::read_to_string(scene.lab.at(CONFIG))?;
    let sessions = "[toolkit.sessions]\nsockets = \"/run/sockets\"\n";
    scene.lab.write(CONFIG, &config.replacen("[toolkit.sessions]\n", sessions, 1))?;
    let (program, folder) = (scene.lab.at("code-server"), scene.lab.at("var/www/github/hello"));
    fs::write(&program, ON_A_SOCKET.replace("FOLDER", &folder.display().to_string()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let instance = scene.start("hello")?;
    fs::write(folder.join("hold"), "")?;
    kill(pid(&instance, "pid")?)?;
    let socket =
        wait::until(
            "the next editor",
            BOUND,
            || Ok(fs::read_to_string(folder.join("bound")).ok()),
        )?;
    chown(&socket, Some(0), Some(0))?;
    fs::write(folder.join("go"), "")?;
    let why = wait::until("what becomes of it", BOUND, || {
        Ok(scene.json(STATE)?["phase"]["failed"]["why"].as_str().map(str::to_owned))
    })?;
    ensure!(why.contains("is no socket of its own"), "{why}");
    wait::until_true("nothing to live on", BOUND, || {
        scene.processes().is_ok_and(|left| left.is_empty())
    })
}
