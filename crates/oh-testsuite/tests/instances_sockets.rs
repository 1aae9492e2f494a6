//! `oh-instances` with editors on unix sockets: what was interrupted or killed is set right as on
//! ports, a socket that nobody listens on is in nobody's way, and what is told of each kind is true.

#[path = "instances/reconciled.rs"]
#[expect(dead_code, reason = "other tests look at more")]
mod reconciled;

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use oh_config::Transport;
use oh_model::instance::Server;
use oh_testsuite::instances::{Instances, end_group};
use oh_testsuite::lab::Lab;
use oh_testsuite::process::Running;
use oh_testsuite::truth::{nothing_is_left, record, runs_whole, state};
use oh_testsuite::wait;
use reconciled::{BOUND, PORTS, REPOSITORIES, end, is_routed, pid, plan, reconcile, settled};
use serde_json::{Value, json};

const STORAGE: &str = "run/sockets/vscode";

fn on_sockets(server: Server) -> Result<Instances> {
    Instances::of_kind(Lab::with_login()?, server, Transport::Unix, "")
}

fn socket(scene: &Instances, id: &str) -> PathBuf {
    scene.lab.at(&format!("{STORAGE}/{id}/socket"))
}

/// Ends the supervisor of an instance, and then all of its editor, with SIGKILL.
fn kill_family(instance: &Value) -> Result<()> {
    end(pid(instance, "supervisor_pid")?)?;
    end_group(pid(instance, "pid")?)
}

/// Says whether a file is there, and nobody listens on it.
fn is_stale(socket: &Path) -> bool {
    socket.exists() && UnixStream::connect(socket).is_err()
}

/// Waits until the editor of an instance answers that is another one than before.
fn another_editor(scene: &Instances, id: &str, before: &Value) -> Result<Value> {
    wait::until("another editor", BOUND, || {
        let now = scene.json(&state(id))?;
        let is_new = now["editor"]["pid"] != before["pid"] && now["phase"] == json!("ready");
        Ok(is_new.then_some(now))
    })
}

#[test]
fn one_of_which_nothing_lives_is_retired_or_started_again() -> Result<()> {
    let scene = on_sockets(Server::CodeServer)?;
    let before = scene.start("hello")?;
    ensure!(before["port"].is_null() && settled(&scene)?.is_empty(), "{before:#}");
    runs_whole(&scene, "hello")?;
    let session = scene.ask(&["start", "--session", "4f1c"])?["instance"].clone();
    let file = "tmp/openhands-sessions/4f1c.json";
    ensure!(scene.json(file)?.get("vscode_port").is_none(), "{:#}", scene.json(file)?);
    kill_family(&before)?;
    kill_family(&session)?;
    ensure!(is_stale(&socket(&scene, "hello")) && is_stale(&socket(&scene, "4f1c")));

    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines.len() == 3 && lines[0].starts_with("retire 4f1c"), "{lines:?}");
    ensure!(lines[1].starts_with("retire hello"), "{lines:?}");
    ensure!(!is_routed(&scene, "hello")? && !is_routed(&scene, "4f1c")?);
    ensure!(!scene.lab.at(file).exists(), "the session's file is left");
    let known = scene.json(REPOSITORIES)?;
    ensure!(known["repositories"][0]["vscodeRunning"] == json!(false), "{known:#}");
    let left = settled(&scene)?;
    ensure!(left.len() == 2 && left[1].starts_with("hello: nothing of it runs"), "{left:?}");

    // What is left of the socket is in nobody's way.
    let again = scene.start("hello")?;
    ensure!(UnixStream::connect(socket(&scene, "hello")).is_ok(), "nobody listens");
    kill_family(&again)?;
    ensure!(is_stale(&socket(&scene, "hello")));
    let lines = reconcile(&scene, &["--start"], 0)?;
    ensure!(lines.len() == 3 && lines[0].starts_with("start 4f1c"), "{lines:?}");
    ensure!(lines[1].starts_with("start hello"), "{lines:?}");
    ensure!(is_routed(&scene, "hello")? && is_routed(&scene, "4f1c")?);
    ensure!(settled(&scene)?.is_empty());
    scene.run(&["stop", "4f1c"])?.expect(0)?;
    runs_whole(&scene, "hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    nothing_is_left(&scene, "hello")
}

#[test]
fn an_editor_or_its_supervisor_alone_that_is_gone_comes_again() -> Result<()> {
    let scene = on_sockets(Server::CodeServer)?;
    let before = scene.start("hello")?;
    // The supervisor: its editor stays, and gets another one.
    end(pid(&before, "supervisor_pid")?)?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("supervise hello"), "{lines:?}");
    let now = scene.json(&state("hello"))?;
    ensure!(now["editor"]["pid"] == before["pid"], "{now:#}");
    ensure!(now["supervisor"]["pid"] != before["supervisor_pid"], "{now:#}");
    ensure!(settled(&scene)?.is_empty());
    // The editor: its server has the socket for some seconds more, and is no part of the next one.
    end(pid(&before, "pid")?)?;
    let now = another_editor(&scene, "hello", &before)?;
    ensure!(settled(&scene)?.is_empty());
    runs_whole(&scene, "hello")?;

    // A restart that was killed before it told the supervisor.
    let mut wanted = scene.json(&record("hello"))?;
    wanted["generation"] = json!(1);
    scene.lab.write(&record("hello"), &wanted.to_string())?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("restart hello"), "{lines:?}");
    let after = another_editor(&scene, "hello", &now["editor"])?;
    ensure!(after["supervisor"] == now["supervisor"], "{after:#}");
    // What others are told was overwritten; there is no port that anybody could be told of.
    ensure!(scene.json(PORTS).is_err() || scene.json(PORTS)?["instances"] == json!({}));
    let written = scene.json(REPOSITORIES)?;
    scene.lab.write(REPOSITORIES, "{\"repositories\":[]}")?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("announce hello again"), "{lines:?}");
    let now = scene.json(REPOSITORIES)?;
    for key in ["id", "path", "vscodeRunning", "vscodePort"] {
        let of = |known: &Value| known["repositories"][0][key].clone();
        ensure!(of(&now) == of(&written), "{key}: {now:#}");
    }
    ensure!(settled(&scene)?.is_empty());

    // A stop that was killed after its first write, and the supervisor with it.
    let mut wanted = scene.json(&record("hello"))?;
    wanted["wanted"] = json!("stopped");
    scene.lab.write(&record("hello"), &wanted.to_string())?;
    end(pid(&after["supervisor"], "pid")?)?;
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("stop hello: its stop was not finished"), "{lines:?}");
    ensure!(settled(&scene)?.is_empty());
    nothing_is_left(&scene, "hello")
}

#[test]
fn a_start_that_was_killed_is_gone_on_with_or_taken_back() -> Result<()> {
    let scene = on_sockets(Server::CodeServer)?;
    let folder = scene.repository("hello")?;
    let killed = || -> Result<()> {
        let mut start = Running::start(&mut scene.command(&["start", "--repo", &folder])?)?;
        wait::until("the editor", BOUND, || {
            Ok(scene.json(&state("hello")).is_ok_and(|now| now["editor"].is_object()).then_some(()))
        })?;
        end(start.id())?;
        start.wait(BOUND)?;
        Ok(())
    };
    killed()?;
    wait::until("its supervisor's word", BOUND, || {
        Ok((scene.json(&state("hello"))?["phase"] == json!("ready")).then_some(()))
    })?;
    ensure!(!is_routed(&scene, "hello")?);
    let lines = reconcile(&scene, &[], 0)?;
    ensure!(lines[0].starts_with("serve hello: its start was not finished"), "{lines:?}");
    ensure!(settled(&scene)?.is_empty());
    runs_whole(&scene, "hello")?;
    scene.run(&["stop", "hello"])?.expect(0)?;

    // One whose editor answers nobody.
    let program = scene.lab.at("code-server");
    let text = fs::read_to_string(&program)?;
    fs::write(&program, "#!/bin/sh\nexec sleep 1000\n")?;
    killed()?;
    let (steps, _) = plan(&scene)?;
    ensure!(steps[0].starts_with("stop hello: its start was not finished"), "{steps:?}");
    reconcile(&scene, &[], 0)?;
    nothing_is_left(&scene, "hello")?;
    fs::write(&program, text)?;
    // What a killed editor left in the place of its socket is in nobody's way.
    kill_family(&scene.start("hello")?)?;
    ensure!(is_stale(&socket(&scene, "hello")), "no socket is left");
    scene.start("hello")?;
    runs_whole(&scene, "hello")?;
    Ok(())
}

/// Demands that `list`, `status` and `logs` say of an instance what is so.
fn is_told_as_it_is(server: Server, transport: Transport, first_words: &str) -> Result<()> {
    let scene = Instances::of_kind(Lab::with_login()?, server, transport, "")?;
    let started = scene.start("hello")?;
    let instance = runs_whole(&scene, "hello")?;
    for key in ["pid", "supervisor_pid", "port", "url", "server", "folder"] {
        ensure!(instance[key] == started[key], "{key}: {instance:#}{started:#}");
    }
    ensure!(instance["server"] == json!(server.as_str()), "{instance:#}");
    let path = socket(&scene, "hello");
    let place = match transport {
        Transport::Port => {
            ensure!(instance["port"] == json!(scene.first_port), "{instance:#}");
            ensure!(instance["socket"].is_null(), "{instance:#}");
            scene.first_port.to_string()
        }
        Transport::Unix => {
            ensure!(instance["port"].is_null(), "{instance:#}");
            ensure!(instance["socket"] == json!(path), "{instance:#}");
            "socket".to_owned()
        }
    };
    // Each process that there is, and no other; and one of them is the server.
    let listed = instance["processes"].as_array().context("no processes")?;
    let mut listed: Vec<u64> = listed.iter().filter_map(|one| one["pid"].as_u64()).collect();
    let mut there: Vec<u64> = scene.processes()?.into_keys().map(u64::from).collect();
    there.retain(|pid| json!(pid) != instance["supervisor_pid"]);
    listed.sort_unstable();
    there.sort_unstable();
    ensure!(listed == there, "{listed:?} {there:?}");
    let roles = instance["processes"].to_string();
    ensure!(roles.contains("\"role\":\"server\""), "{roles}");
    ensure!(instance["pss_bytes"].as_u64().is_some_and(|bytes| bytes > 20_000_000));
    // As people see it, by the columns.
    let said = scene.run(&["list"])?.expect(0)?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = said.stdout.lines().skip_while(|line| !line.starts_with("ID"));
    let (names, row) = (words(lines.next().unwrap_or_default()), words(lines.next().unwrap_or("")));
    let column = |name: &str| {
        let at = names.iter().position(|known| known == name);
        at.and_then(|at| row.get(at)).cloned().unwrap_or_default()
    };
    ensure!(column("ID") == "hello" && column("STATE") == "running", "{said:?}");
    ensure!(
        column("PORT") == place && json!(column("PID").parse::<u32>()?) == instance["pid"],
        "{said:?}"
    );
    ensure!(column("PROC") == there.len().to_string() && column("CONN") == "0", "{said:?}");

    // Who is connected is counted.
    let connected = || -> Result<Value> { Ok(scene.ask(&["list"])?["instances"][0].clone()) };
    let becomes = |count: u64| {
        wait::until(&format!("{count} connections"), BOUND, || {
            Ok((connected()?["connections"] == json!(count)).then_some(()))
        })
    };
    let visitors: Vec<Box<dyn Send>> = match transport {
        Transport::Port => {
            let address = ("127.0.0.1", scene.first_port);
            vec![Box::new(TcpStream::connect(address)?), Box::new(TcpStream::connect(address)?)]
        }
        Transport::Unix => {
            vec![Box::new(UnixStream::connect(&path)?), Box::new(UnixStream::connect(&path)?)]
        }
    };
    becomes(2)?;
    let used = connected()?["use"].clone();
    ensure!(used["is_idle"] == json!(false), "{used:#}");
    drop(visitors);
    becomes(0)?;

    let status = scene.run(&["status", "hello"])?.expect(0)?.stdout;
    let shown = match transport {
        Transport::Port => format!("{server} on port {}, user ", scene.first_port),
        Transport::Unix => format!("{server} on its socket, user "),
    };
    for line in [shown.as_str(), "listener    its own", "key         nginx presents it"] {
        ensure!(status.contains(line), "{line}: {status}");
    }
    let names_socket = status.contains(&format!("socket      {}", path.display()));
    ensure!(names_socket == (transport == Transport::Unix), "{status}");
    let databases = if transport == Transport::Unix { 1 } else { 2 };
    ensure!(status.matches(": as written").count() == databases, "{status}");
    let said = scene.run(&["logs", "hello", "--lines", "100"])?.expect(0)?;
    ensure!(said.stdout.contains(first_words), "{said:?}");

    is_told_after_its_end(&scene, server, &instance)
}

/// Ends the editor, and demands that what becomes of it is told.
fn is_told_after_its_end(scene: &Instances, server: Server, instance: &Value) -> Result<()> {
    end(pid(instance, "pid")?)?;
    let now = another_editor(scene, "hello", instance)?;
    runs_whole(scene, "hello")?;
    let status = scene.run(&["status", "hello"])?.expect(0)?.stdout;
    ensure!(status.contains("ago: signal 9"), "{status}");
    if server == Server::Openvscode {
        // The next one ends by itself and with exit code 0, which is meant.
        let program = scene.lab.at("openvscode-server");
        let text = fs::read_to_string(&program)?;
        fs::write(&program, "#!/bin/sh\nexit 0\n")?;
        end(pid(&now["editor"], "pid")?)?;
        wait::until("its end", BOUND, || Ok(scene.processes()?.is_empty().then_some(())))?;
        let said = scene.run(&["list"])?.expect(1)?;
        ensure!(said.stdout.contains("ended by itself, with exit code 0"), "{said:?}");
        let listed = scene.run(&["list", "--format", "json"])?.json()?;
        let now = &listed["result"]["instances"][0];
        ensure!(now["state"] == json!("ended") && now["processes"] == json!([]), "{now:#}");
        ensure!(now["uptime_ms"].is_null() && now["connections"] == json!(0), "{now:#}");
        let said = scene.run(&["status", "hello"])?.expect(1)?;
        ensure!(said.stdout.contains("listener    none"), "{said:?}");
        ensure!(said.stdout.contains("oh-instances restart hello"), "{said:?}");
        ensure!(!is_routed(scene, "hello")?, "it is routed");
        fs::write(&program, text)?;
        scene.ask(&["restart", "hello"])?;
        runs_whole(scene, "hello")?;
    }
    scene.run(&["stop", "hello"])?.expect(0)?;
    nothing_is_left(scene, "hello")
}

#[test]
fn code_server_on_a_socket_is_told_as_it_is() -> Result<()> {
    is_told_as_it_is(Server::CodeServer, Transport::Unix, "HTTP server listening on ")
}

#[test]
fn openvscode_server_is_told_as_it_is() -> Result<()> {
    is_told_as_it_is(Server::Openvscode, Transport::Port, "Extension host agent listening on ")?;
    is_told_as_it_is(Server::Openvscode, Transport::Unix, "Extension host agent listening on ")
}
