//! `oh-instances` with a real code-server behind a real nginx: starts, stops, restarts, strangers.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use oh_host::lock::Locks;
use oh_host::root::Root;
use oh_testsuite::instances::{Instances, kill};
use oh_testsuite::lab::{self, Said};
use oh_testsuite::{components, net, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long an editor may take to come up again, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// So often has slept who waits in a loop.
const PAUSES: u64 = 5;

const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";
const STATE: &str = "run/openhands-toolkit/instances/hello.json";

fn pid(instance: &Value, key: &str) -> Result<u32> {
    let pid = instance[key].as_u64().with_context(|| format!("no {key}: {instance}"))?;
    Ok(u32::try_from(pid)?)
}

/// What nginx would route an id to.
fn is_routed(scene: &Instances, id: &str) -> Result<bool> {
    let status = scene.lab.run(&["status", "--format", "json"])?.json()?;
    let routes = status["result"]["routes"].as_array().cloned().unwrap_or_default();
    Ok(routes.iter().any(|route| route["path"] == json!(format!("/vscode/{id}/"))))
}

#[test]
fn a_repository_is_started_once_and_stopped_whole() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let first = scene.ask(&["start", "--repo", &folder])?;
    let again = scene.ask(&["start", "--repo", &folder])?;
    ensure!(first["ran_before"] == json!(false), "{first:#}");
    ensure!(again["ran_before"] == json!(true), "{again:#}");
    ensure!(first["instance"] == again["instance"], "{first:#}{again:#}");
    if fs::metadata("/proc/self")?.uid() == 0 {
        // Whose it is stays as it was first said.
        let other = scene.run(&["start", "--repo", &folder, "--user", "1234"])?.expect(2)?;
        ensure!(other.stderr.contains("hello is an editor of nobody, and this start"), "{other:?}");
    }
    let instance = &again["instance"];
    ensure!(instance["port"] == json!(scene.first_port), "{instance:#}");
    ensure!(is_routed(&scene, "hello")?);

    let (ports, repositories) = (scene.json(PORTS)?, scene.json(REPOSITORIES)?);
    let entry = &ports["instances"]["hello"];
    ensure!(entry["port"] == json!(scene.first_port), "{ports:#}");
    ensure!(entry["pid"] == instance["supervisor_pid"], "{ports:#}");
    ensure!(entry["repoPath"] == json!(folder), "{ports:#}");
    let available = ports["availablePorts"].as_array().context("a list")?;
    ensure!(available.len() == 11 && !available.contains(&json!(scene.first_port)), "{ports:#}");
    let known = &repositories["repositories"][0];
    ensure!(known["vscodeRunning"] == json!(true), "{repositories:#}");
    ensure!(known["vscodePort"] == json!(scene.first_port), "{repositories:#}");

    scene.run(&["stop", "hello"])?.expect(0)?;
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    TcpListener::bind(("127.0.0.1", scene.first_port)).context("the port is still taken")?;
    ensure!(!is_routed(&scene, "hello")?);
    let (ports, repositories) = (scene.json(PORTS)?, scene.json(REPOSITORIES)?);
    ensure!(ports["instances"] == json!({}), "{ports:#}");
    ensure!(ports["availablePorts"].as_array().is_some_and(|ports| ports.len() == 12), "{ports:#}");
    let known = &repositories["repositories"][0];
    ensure!(known["vscodeRunning"] == json!(false), "{repositories:#}");
    ensure!(known.get("vscodePort").is_none(), "{repositories:#}");
    let records = scene.lab.at("var/lib/openhands-toolkit/instances");
    ensure!(fs::read_dir(records)?.next().is_none(), "a record is left");
    // What there is nothing of any more is stopped already.
    scene.run(&["stop", "hello"])?.expect(0)?;
    Ok(())
}

#[test]
fn no_descriptor_of_whoever_starts_it_is_an_editors() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let secret = scene.lab.at("secret");
    fs::write(&secret, "of whoever starts it\n")?;
    // As a shell does with `9<FILE`, and as it comes to be where a script forgets to close one.
    let start = scene.command(&["start", "--repo", &folder])?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<\"$0\" 9<\"$0\"; exec \"$@\""]).arg(&secret);
    shell.arg(start.get_program()).args(start.get_args()).env_clear().current_dir("/");
    Said::from(shell.output()?).expect(0)?;
    let state = scene.json(STATE)?;
    for pid in [pid(&state["editor"], "pid")?, pid(&state["supervisor"], "pid")?] {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))?
            .map(|entry| Ok(fs::read_link(entry?.path())?))
            .collect::<Result<Vec<_>>>()?;
        ensure!(open.len() > 2 && !open.contains(&secret), "{pid}: {open:?}");
    }
    Ok(())
}

#[test]
fn a_session_gets_a_workspace_ports_and_a_file() -> Result<()> {
    let scene = Instances::new("")?;
    let id = "0123456789abcdef0123456789ABCDEF";
    let started = scene.ask(&["start", "--session", id, "--apps", "2"])?;
    let instance = &started["instance"];
    let file = scene.json(&format!("tmp/openhands-sessions/{id}.json"))?;
    ensure!(file["vscode_port"] == instance["port"], "{file:#}");
    ensure!(file["app_ports"].as_array().is_some_and(|ports| ports.len() == 2), "{file:#}");
    let folder = format!("home/ubuntu/openhands-workspace/{id}");
    ensure!(scene.lab.at(&folder).is_dir());
    ensure!(file["toolkit"]["folder"] == json!(format!("/{folder}")), "{file:#}");
    ensure!(is_routed(&scene, id)?);
    scene.run(&["stop", id])?.expect(0)?;
    ensure!(!scene.lab.at(&format!("tmp/openhands-sessions/{id}.json")).exists());
    ensure!(!is_routed(&scene, id)?);
    Ok(())
}

#[test]
fn a_link_in_the_place_of_the_session_folder_is_not_followed() -> Result<()> {
    let scene = Instances::new("")?;
    let id = "0123456789abcdef0123456789abcdef";
    scene.ask(&["start", "--session", id])?;
    let (sessions, away) = (scene.lab.at("tmp/openhands-sessions"), scene.lab.at("tmp/away"));
    fs::rename(&sessions, &away)?;
    std::os::unix::fs::symlink(&away, &sessions)?;
    let said = scene.run(&["stop", id])?;
    ensure!(said.code == 1 && said.stdout.contains("is a symbolic link, not a folder"), "{said:?}");
    ensure!(away.join(format!("{id}.json")).exists(), "what the link leads to was changed");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    fs::remove_file(&sessions)?;
    fs::rename(&away, &sessions)?;
    scene.run(&["stop", id])?.expect(0)?;
    ensure!(!sessions.join(format!("{id}.json")).exists());
    Ok(())
}

#[test]
fn a_workspace_is_not_made_where_a_link_of_a_user_leads() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let scene = Instances::new("")?;
    let (home, victim) = (scene.lab.at("home/ubuntu"), scene.lab.at("victim"));
    fs::create_dir(&victim)?;
    fs::remove_dir(home.join("openhands-workspace"))?;
    std::os::unix::fs::symlink(&victim, home.join("openhands-workspace"))?;
    std::os::unix::fs::chown(&home, Some(65534), Some(65534))?;
    let said = scene.run(&["start", "--session", "usercustomize"])?;
    ensure!(said.code != 0 && said.stderr.contains("is a symbolic link, not a folder"), "{said:?}");
    ensure!(fs::read_dir(&victim)?.next().is_none(), "something was made");
    // A folder of the user's own is his to have his workspaces in.
    fs::remove_file(home.join("openhands-workspace"))?;
    scene.ask(&["start", "--session", "usercustomize"])?;
    let workspace = home.join("openhands-workspace/usercustomize");
    ensure!(fs::metadata(workspace)?.uid() == 65534);
    Ok(())
}

#[test]
fn a_database_that_is_refused_keeps_no_stop_from_the_rest() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let (database, kept) = (scene.lab.at(REPOSITORIES), scene.lab.at("kept"));
    fs::rename(&database, &kept)?;
    fs::create_dir(&database)?;
    let said = scene.run(&["stop", "hello"])?;
    ensure!(said.code == 1 && said.stdout.contains("repositories.json is not used"), "{said:?}");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    // The other database was written all the same, and the editor's folder in /run is gone.
    let ports = scene.json(PORTS)?;
    ensure!(ports["instances"] == json!({}), "{ports:#}");
    let runtime = scene.lab.at("run/oh-editors");
    ensure!(!runtime.exists() || fs::read_dir(&runtime)?.next().is_none(), "a folder is left");
    fs::remove_dir(&database)?;
    fs::rename(&kept, &database)?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    ensure!(!is_routed(&scene, "hello")?);
    Ok(())
}

#[test]
fn an_application_that_outlives_its_editor_keeps_its_port() -> Result<()> {
    let scene = Instances::new("")?;
    let id = "0123456789abcdef0123456789abcdef";
    let start = ["start", "--session", id, "--apps", "1"];
    let before = scene.ask(&start)?["instance"].clone();
    let port = u16::try_from(before["apps"][0].as_u64().context("no port")?)?;
    let application = TcpListener::bind(("127.0.0.1", port))?;
    for key in ["supervisor_pid", "pid"] {
        let victim = pid(&before, key)?;
        kill(victim)?;
        wait::until_true("its end", BOUND, || is_dead(victim))?;
    }
    let after = scene.ask(&start)?["instance"].clone();
    ensure!(after["pid"] != before["pid"] && after["apps"] == before["apps"], "{after:#}");
    ensure!(after["port"] == before["port"], "{before:#}{after:#}");
    drop(application);
    Ok(())
}

#[test]
fn what_is_mounted_in_an_editors_folder_survives_its_purge() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let (precious, inside) = (scene.lab.at("precious"), scene.home("hello").join("data/inside"));
    fs::create_dir_all(&precious)?;
    fs::create_dir_all(&inside)?;
    fs::write(precious.join("thesis.txt"), "ten years")?;
    // Of the same file system, so that only the mount tells it apart.
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let stop = scene.command(&["stop", "hello", "--purge"])?;
    let mut command = Command::new(components::program("unshare")?);
    command.args(["--mount", "/bin/sh", "-c", script, "sh"]).args([&precious, &inside]);
    command.arg(stop.get_program()).args(stop.get_args());
    let said = Said::from(command.output()?).expect(1)?;
    ensure!(said.stdout.contains("data/inside: something is mounted there"), "{said:?}");
    ensure!(fs::read_to_string(precious.join("thesis.txt"))? == "ten years");
    // The folder is root's, and so not the editor's to be removed.
    let said = scene.run(&["stop", "hello", "--purge"])?.expect(1)?;
    ensure!(said.stdout.contains("data/inside: it belongs to uid 0"), "{said:?}");
    fs::remove_dir(&inside)?;
    scene.run(&["stop", "hello", "--purge"])?.expect(0)?;
    ensure!(!scene.home("hello").exists() && precious.join("thesis.txt").exists());
    Ok(())
}

#[test]
fn a_stranger_on_a_port_is_named_and_gone_around() -> Result<()> {
    let scene = Instances::new("")?;
    let stranger = TcpListener::bind(("127.0.0.1", scene.first_port))?;
    let folder = scene.repository("hello")?;
    let port = scene.first_port.to_string();
    let said = scene.run(&["start", "--repo", &folder, "--port", &port])?.expect(2)?;
    let own = format!("pid {} (", std::process::id());
    ensure!(said.stderr.contains(&format!("port {port} is taken by {own}")), "{said:?}");
    ensure!(scene.processes()?.is_empty());

    let said = scene.run(&["start", "--repo", &folder, "--format", "json"])?.expect(0)?;
    ensure!(said.stderr.contains(&format!("port {port} is taken by {own}")), "{said:?}");
    let instance = said.json()?["result"]["instance"].clone();
    ensure!(instance["port"] == json!(scene.first_port + 1), "{instance:#}");
    drop(stranger);
    Ok(())
}

#[test]
fn an_editor_of_somebody_else_is_not_replaced() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let stranger = TcpListener::bind(("127.0.0.1", scene.first_port))?;
    let port = scene.first_port;
    let entry = json!({ "port": port, "pid": 1, "projectName": "hello", "repoPath": folder,
        "startedAt": "2026-01-01T00:00:00.000Z" });
    let database = json!({ "instances": { "hello": entry }, "availablePorts": [] }).to_string();
    scene.lab.write(PORTS, &database)?;
    let said = scene.run(&["start", "--repo", &folder])?.expect(2)?;
    ensure!(said.stderr.contains(&format!("hello runs already on port {port}, as ")), "{said:?}");
    ensure!(fs::read_to_string(scene.lab.at(PORTS))? == database, "it was changed");
    // An entry that nobody stands behind is the original's left-over.
    drop(stranger);
    let started = scene.ask(&["start", "--repo", &folder])?;
    ensure!(started["instance"]["port"] == json!(port), "{started:#}");
    Ok(())
}

#[test]
fn an_editor_that_is_killed_is_started_again_by_its_supervisor() -> Result<()> {
    let scene = Instances::new("")?;
    let mut instance = scene.start("hello")?;
    let supervisor = pid(&instance, "supervisor_pid")?;
    // Its first process, and then the one that listens.
    for child_of_it in [false, true] {
        let editor = pid(&instance, "pid")?;
        let struck = if child_of_it { child(editor)? } else { editor };
        kill(struck)?;
        let folder = "/var/www/github/hello";
        instance = wait::until("the editor after its end", BOUND, || {
            let instance = scene.ask(&["start", "--repo", folder])?["instance"].clone();
            Ok((pid(&instance, "pid")? != editor).then_some(instance))
        })?;
        ensure!(pid(&instance, "supervisor_pid")? == supervisor, "{instance:#}");
        ensure!(instance["port"] == json!(scene.first_port), "{instance:#}");
    }
    Ok(())
}

/// The one child of a process.
fn child(of: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
    Ok(children.split_whitespace().next().context("no child")?.parse()?)
}

#[test]
fn each_start_on_a_port_has_a_key_of_its_own() -> Result<()> {
    let scene = Instances::new("")?;
    let login = lab::basic("openhands", &scene.login()?);
    let instance = scene.start("hello")?;
    let key = || -> Result<String> {
        Ok(scene.json(STATE)?["key"].as_str().context("no key")?.to_owned())
    };
    let direct = format!("http://127.0.0.1:{}/", scene.first_port);
    let opens = |key: &str| -> Result<bool> {
        let cookie = format!("code-server-session={key}");
        let answer = net::get(&direct, &[("Cookie", &cookie)])?;
        Ok(answer.header("Location").is_none_or(|to| !to.contains("login")))
    };
    let is_let_in = || -> Result<bool> {
        let answer = scene.lab.get("/vscode/hello/login", &[("Authorization", &login)])?;
        // Who is logged in is sent on; the page that asks for a password is 200.
        Ok(answer.status == 302)
    };
    let first = key()?;
    ensure!(opens(&first)? && is_let_in()?, "the first key opens nothing");
    kill(pid(&instance, "pid")?)?;
    wait::until("another editor", BOUND, || {
        let state = scene.json(STATE)?;
        let is_new = state["editor"]["pid"] != instance["pid"];
        Ok((is_new && state["phase"] == json!("ready")).then_some(()))
    })?;
    let second = key()?;
    ensure!(first != second, "the key is the same");
    // Without being asked nginx presents the new one.
    wait::until("the visitor to be let in", BOUND, || Ok(is_let_in()?.then_some(())))?;
    ensure!(opens(&second)? && !opens(&first)?, "the first key opens the second editor");
    scene.ask(&["restart", "hello"])?;
    let third = key()?;
    ensure!(third != second && is_let_in()?, "after a restart");
    ensure!(opens(&third)? && !opens(&second)?, "the second key opens the third editor");
    Ok(())
}

#[test]
fn a_supervisor_that_is_told_to_end_by_hand_leaves_no_route() -> Result<()> {
    let scene = Instances::new("")?;
    let instance = scene.start("hello")?;
    ensure!(is_routed(&scene, "hello")?);
    // As the original application does, to the pid of its database.
    let supervisor = pid(&instance, "supervisor_pid")?;
    kill_process(Pid::from_raw(supervisor.cast_signed()).context("no pid")?, Signal::TERM)?;
    wait::until_true("its end", BOUND, || is_dead(supervisor))?;
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    ensure!(!is_routed(&scene, "hello")?);
    ensure!(scene.json(PORTS)?["instances"] == json!({}), "{:#}", scene.json(PORTS)?);
    let login = lab::basic("openhands", &scene.login()?);
    let answer = scene.lab.get("/vscode/hello/x", &[("Authorization", &login)])?;
    ensure!(answer.status == 404, "{answer:?}");
    let again = scene.start("hello")?;
    ensure!(again["port"] == instance["port"], "{again:#}");
    Ok(())
}

#[test]
fn an_editor_outlives_its_supervisor_and_is_taken_over() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    kill(pid(&before, "supervisor_pid")?)?;
    let after = scene.ask(&["start", "--repo", "/var/www/github/hello"])?["instance"].clone();
    ensure!(after["pid"] == before["pid"], "{before:#}{after:#}");
    ensure!(after["supervisor_pid"] != before["supervisor_pid"], "{before:#}{after:#}");
    // Without any supervisor a stop finds all of it.
    kill(pid(&after, "supervisor_pid")?)?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    Ok(())
}

#[test]
fn an_editor_that_ends_while_it_is_taken_over_is_started_again() -> Result<()> {
    let scene = Instances::new("stop_grace_s = 1\n")?;
    let before = scene.start("hello")?;
    let supervisor = pid(&before, "supervisor_pid")?;
    kill(supervisor)?;
    wait::until_true("the end of the supervisor", BOUND, || {
        scene.processes().is_ok_and(|left| !left.contains_key(&supervisor))
    })?;
    // Its listener hangs, so that its new supervisor does not come to see it answer. Not before: a
    // group with a stopped process that loses its parent gets SIGHUP.
    stop_for_now(child(pid(&before, "pid")?)?)?;
    let folder = "/var/www/github/hello";
    let after = thread::scope(|scope| -> Result<Value> {
        let start = scope.spawn(|| scene.ask(&["start", "--repo", folder]));
        wait::until("the new supervisor", BOUND, || {
            let state = scene.json(STATE);
            let is_new =
                state.is_ok_and(|state| state["supervisor"]["pid"] != before["supervisor_pid"]);
            // It has seen the editor alive before it wrote this for the first time.
            Ok((is_new || start.is_finished()).then_some(()))
        })?;
        kill(pid(&before, "pid")?)?;
        let started = start.join().map_err(|_| anyhow!("the start panicked"))??;
        Ok(started["instance"].clone())
    })?;
    ensure!(after["pid"] != before["pid"], "{before:#}{after:#}");
    ensure!(after["port"] == before["port"], "{before:#}{after:#}");
    let state = scene.json(STATE)?;
    let endings = state["endings"].as_array().context("a list")?;
    ensure!(endings.len() == 1, "{state:#}");
    Ok(())
}

#[test]
fn a_supervisor_that_is_killed_while_a_start_waits_for_it_is_replaced() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let supervisor = pid(&before, "supervisor_pid")?;
    // It lives, and does not see that its editor ends.
    stop_for_now(supervisor)?;
    kill(pid(&before, "pid")?)?;
    ensure!(pauses_of_a_start(&scene).is_none(), "the first start is still at it");
    let after = thread::scope(|scope| -> Result<Value> {
        let start = scope.spawn(|| scene.ask(&["start", "--repo", "/var/www/github/hello"]));
        until_a_start_waits(&scene, &start)?;
        kill(supervisor)?;
        start.join().map_err(|_| anyhow!("the start panicked"))?
    })?;
    ensure!(after["ran_before"] == json!(false), "{after:#}");
    for key in ["pid", "supervisor_pid"] {
        ensure!(after["instance"][key] != before[key], "{before:#}{after:#}");
    }
    ensure!(after["instance"]["port"] == before["port"], "{before:#}{after:#}");
    Ok(())
}

#[test]
fn what_is_killed_while_a_start_publishes_is_started_again() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    ensure!(pauses_of_a_start(&scene).is_none(), "the first start is still at it");
    let root = Root::below(Path::new(&scene.lab.root()))?;
    let mut locks = Locks::open(&root, None)?;
    let publishing = locks.publish("a test", BOUND)?;
    let after = thread::scope(|scope| -> Result<Value> {
        let start = scope.spawn(|| scene.ask(&["start", "--repo", "/var/www/github/hello"]));
        // It has found the editor ready.
        until_a_start_waits(&scene, &start)?;
        for key in ["supervisor_pid", "pid"] {
            let victim = pid(&before, key)?;
            kill(victim)?;
            wait::until_true("its end", BOUND, || is_dead(victim))?;
        }
        drop(publishing);
        start.join().map_err(|_| anyhow!("the start panicked"))?
    })?;
    for key in ["pid", "supervisor_pid"] {
        ensure!(after["instance"][key] != before[key], "{before:#}{after:#}");
    }
    ensure!(after["instance"]["port"] == before["port"], "{before:#}{after:#}");
    ensure!(is_routed(&scene, "hello")?);
    Ok(())
}

/// Waits until a start that has the lease of `hello` does nothing but wait.
fn until_a_start_waits<T>(scene: &Instances, start: &ScopedJoinHandle<'_, T>) -> Result<()> {
    let mut first = None;
    wait::until_true("the start to wait", BOUND, || {
        let now = pauses_of_a_start(scene);
        first = first.or(now);
        let slept = now.zip(first).map_or(0, |(now, first)| now.saturating_sub(first));
        start.is_finished() || slept >= PAUSES
    })
}

/// Says whether a process has ended, whether or not it is reaped.
fn is_dead(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_none_or(|state| state.trim_start().starts_with(['Z', 'X']))
}

/// Says how often a start has slept that has the lease of its instance; `None` where none has it.
fn pauses_of_a_start(scene: &Instances) -> Option<u64> {
    let lease = scene.json("run/openhands-toolkit/locks/lease-instance-hello.lock").ok()?;
    let is_start = lease["purpose"].as_str()?.contains("oh-instances start hello");
    let status = fs::read_to_string(format!("/proc/{}/status", lease["pid"])).ok()?;
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok().filter(|_| is_start)
}

/// Stops a process until it is continued or killed (SIGSTOP of signal(7)).
fn stop_for_now(pid: u32) -> Result<()> {
    let raw = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    Ok(kill_process(raw, Signal::STOP)?)
}

#[test]
fn a_stranger_who_takes_the_port_of_a_killed_editor_is_not_served() -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    let scene = Instances::new("")?;
    let instance = scene.start("hello")?;
    let login = lab::basic("openhands", &scene.login()?);
    // Whoever asks for the port again and again has it first.
    let is_over = AtomicBool::new(false);
    let stranger = thread::scope(|scope| -> Result<TcpListener> {
        let port = scene.first_port;
        let is_over = &is_over;
        let stranger = scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(taken) = TcpListener::bind(("127.0.0.1", port)) {
                    return Some(taken);
                }
            }
            None
        });
        for id in
            scene.processes()?.iter().filter(|(_, line)| line.contains("entry")).map(|one| *one.0)
        {
            kill(id)?;
        }
        let gone = wait::until_true("the editor's end", BOUND, || {
            pid(&instance, "pid").is_ok_and(is_dead) && (stranger.is_finished())
        });
        is_over.store(true, Ordering::Relaxed);
        gone?;
        stranger.join().map_err(|_| anyhow!("the stranger panicked"))?.context("no port")
    })?;
    // Another user's listener there is no reason to wait.
    let why = wait::until("the supervisor's word", BOUND, || {
        Ok(scene.json(STATE)?["phase"]["failed"]["why"].as_str().map(str::to_owned))
    })?;
    let own = format!("port {} is taken by pid {} (", scene.first_port, std::process::id());
    ensure!(why.contains(&own), "{why}");
    wait::until("its route to go", BOUND, || {
        // The stranger answers nothing.
        let answer = scene.lab.get("/vscode/hello/x", &[("Authorization", &login)]);
        Ok(answer.is_ok_and(|answer| answer.status == 404).then_some(()))
    })?;
    // Whoever asks for it gets another port.
    let again = scene.start("hello")?;
    ensure!(again["port"] == json!(scene.first_port + 1), "{again:#}");
    drop(stranger);
    Ok(())
}

#[test]
fn a_stop_that_is_only_asked_about_stops_nothing() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    for arguments in [
        &["stop", "hello", "--dry-run"][..],
        &["stop", "--all", "--dry-run"],
        &["stop", "--all", "--purge", "--dry-run"],
    ] {
        let said = scene.run(arguments)?.expect(0)?;
        ensure!(said.stdout.starts_with("hello would be stopped"), "{arguments:?}: {said:?}");
    }
    let after = scene.ask(&["start", "--repo", "/var/www/github/hello"])?;
    ensure!(after["ran_before"] == json!(true) && after["instance"] == before, "{after:#}");
    Ok(())
}

#[test]
fn a_port_that_is_lost_during_the_start_is_gone_around() -> Result<()> {
    let scene = Instances::new("")?;
    let (go, program) = (scene.lab.at("go").display().to_string(), scene.lab.at("code-server"));
    let real = fs::read_to_string(&program)?;
    let wait = format!("#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\n");
    fs::write(&program, real.replacen("#!/bin/sh\n", &wait, 1))?;
    let folder = scene.repository("hello")?;
    let mut command = scene.command(&["start", "--repo", &folder, "--format", "json"])?;
    let start = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    wait::until("the editor to be begun", BOUND, || {
        let state = fs::read_to_string(scene.lab.at(STATE)).unwrap_or_default();
        Ok(state.contains("\"editor\": {").then_some(()))
    })?;
    let stranger = TcpListener::bind(("127.0.0.1", scene.first_port))?;
    fs::write(&go, "")?;
    let said = Said::from(start.wait_with_output()?).expect(0)?;
    let own = format!("port {} is taken by pid {} (", scene.first_port, std::process::id());
    ensure!(said.stderr.contains(&own), "{said:?}");
    let instance = said.json()?["result"]["instance"].clone();
    ensure!(instance["port"] == json!(scene.first_port + 1), "{instance:#}");
    drop(stranger);
    Ok(())
}

#[test]
fn a_restart_keeps_the_port_and_the_supervisor() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let after = scene.ask(&["restart", "hello"])?;
    ensure!(after["ran_before"] == json!(false), "{after:#}");
    let after = after["instance"].clone();
    ensure!(after["pid"] != before["pid"], "{before:#}{after:#}");
    for key in ["supervisor_pid", "port", "url"] {
        ensure!(after[key] == before[key], "{before:#}{after:#}");
    }
    kill(pid(&after, "supervisor_pid")?)?;
    let again = scene.ask(&["restart", "hello"])?["instance"].clone();
    ensure!(again["pid"] != after["pid"], "{after:#}{again:#}");
    Ok(())
}

#[test]
fn a_start_that_fails_leaves_nothing() -> Result<()> {
    let scene = Instances::new("")?;
    let program = scene.lab.at("code-server");
    fs::write(program, "#!/bin/sh\necho the disk is on fire\nexit 3\n")?;
    let folder = scene.repository("hello")?;
    let said = scene.run(&["start", "--repo", &folder])?.expect(6)?;
    ensure!(said.stderr.contains("the disk is on fire"), "{said:?}");
    ensure!(said.stderr.contains("exit code 3"), "{said:?}");
    ensure!(said.stderr.contains("was taken back"), "{said:?}");
    ensure!(scene.processes()?.is_empty());
    ensure!(!is_routed(&scene, "hello")?);
    let records = scene.lab.at("var/lib/openhands-toolkit/instances");
    ensure!(fs::read_dir(records)?.next().is_none(), "a record is left");
    ensure!(!scene.lab.at(PORTS).exists() || scene.json(PORTS)?["instances"] == json!({}));
    Ok(())
}

#[test]
fn what_was_never_served_needs_no_publishing_to_be_taken_back() -> Result<()> {
    let scene = Instances::new("")?;
    let go = scene.lab.at("go").display().to_string();
    let waiting = format!("#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\nexit 3\n");
    fs::write(scene.lab.at("code-server"), waiting)?;
    let folder = scene.repository("hello")?;
    let mut command = scene.command(&["start", "--repo", &folder])?;
    let start = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    wait::until("the editor to be begun", BOUND, || {
        let state = fs::read_to_string(scene.lab.at(STATE)).unwrap_or_default();
        Ok(state.contains("\"editor\"").then_some(()))
    })?;
    // From now on nobody can read what nginx serves.
    let (config, away) = (scene.lab.at("etc/nginx/nginx.conf"), scene.lab.at("nginx.conf.away"));
    fs::rename(&config, &away)?;
    fs::write(&go, "")?;
    let said = Said::from(start.wait_with_output()?).expect(6)?;
    ensure!(said.stderr.contains("was taken back"), "{said:?}");
    let records = scene.lab.at("var/lib/openhands-toolkit/instances");
    ensure!(fs::read_dir(records)?.next().is_none(), "a record is left");
    // Nor is anything begun now.
    let said = scene.run(&["start", "--repo", &folder])?.expect(4)?;
    ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
    fs::rename(&away, &config)?;
    Ok(())
}

#[test]
fn a_stop_that_cannot_take_its_route_away_is_not_done_until_it_can() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let (config, away) = (scene.lab.at("etc/nginx/nginx.conf"), scene.lab.at("nginx.conf.away"));
    fs::rename(&config, &away)?;
    let said = scene.run(&["stop", "hello"])?.expect(1)?;
    ensure!(said.stdout.contains("its route: could not read nginx's configuration"), "{said:?}");
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    fs::rename(&away, &config)?;
    // nginx goes on to serve it: nobody is there, and that is not the answer for an unknown id.
    let password = scene.login()?;
    let login = lab::basic("openhands", &password);
    let status = || -> Result<u16> {
        Ok(scene.lab.get("/vscode/hello/x", &[("Authorization", &login)])?.status)
    };
    ensure!(status()? == 502, "{}", status()?);
    scene.run(&["stop", "hello"])?.expect(0)?;
    ensure!(status()? == 404, "{}", status()?);
    Ok(())
}

#[test]
fn nothing_is_begun_where_no_nginx_runs() -> Result<()> {
    let mut scene = Instances::new("")?;
    scene.lab.stop_nginx()?;
    let folder = scene.repository("hello")?;
    let said = scene.run(&["start", "--repo", &folder])?.expect(2)?;
    ensure!(said.stderr.contains("no nginx runs that could serve it"), "{said:?}");
    ensure!(said.stderr.contains("start nginx, by its service or with: "), "{said:?}");
    let records = scene.lab.at("var/lib/openhands-toolkit/instances");
    ensure!(!records.exists() || fs::read_dir(records)?.next().is_none(), "a record is left");
    Ok(())
}

#[test]
fn an_editor_that_crashes_again_and_again_is_given_up_and_not_routed() -> Result<()> {
    let scene = Instances::new("restarts_max = 1\n")?;
    let mut instance = scene.start("hello")?;
    for _ in 0..2 {
        let editor = pid(&instance, "pid")?;
        kill(editor)?;
        instance = wait::until("what becomes of it", BOUND, || {
            let state = scene.json(STATE)?;
            let settled =
                state["phase"] == json!("ready") || state["phase"].get("failed").is_some();
            let is_new = state["editor"]["pid"] != json!(editor);
            Ok((settled && is_new)
                .then(|| json!({ "pid": state["editor"]["pid"], "phase": state["phase"] })))
        })?;
    }
    let why = instance["phase"]["failed"]["why"].as_str().unwrap_or_default().to_owned();
    ensure!(why.contains("after 1 restarts within 300 s (signal 9)"), "{instance:#}");
    wait::until("its route to go", BOUND, || Ok((!is_routed(&scene, "hello")?).then_some(())))?;
    wait::until_true("its processes to go", BOUND, || {
        scene.processes().is_ok_and(|left| left.is_empty())
    })?;
    ensure!(scene.json(PORTS)?["instances"] == json!({}));
    // It starts at once when somebody asks for it.
    let again = scene.start("hello")?;
    ensure!(again["port"] == json!(scene.first_port), "{again:#}");
    Ok(())
}

#[test]
fn a_session_by_the_id_of_a_repository_is_refused_before_anything_is_begun() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let said = scene.run(&["start", "--session", "Hello"])?.expect(2)?;
    ensure!(said.stderr.contains("the id Hello is that of a repository"), "{said:?}");
    ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
    ensure!(said.stderr.contains("hint: give the session another id"), "{said:?}");
    ensure!(!scene.lab.at("home/ubuntu/openhands-workspace/Hello").exists(), "{said:?}");
    Ok(())
}
