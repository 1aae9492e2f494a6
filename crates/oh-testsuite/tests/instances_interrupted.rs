//! `oh-instances` that is interrupted: by a person, a supervisor, or the end of its terminal.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::lock::{Locks, Share};
use oh_host::root::Root;
use oh_testsuite::instances::Instances;
use oh_testsuite::lab::{Said, basic};
use oh_testsuite::wait;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// How long an editor may take to come up again, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

const STATE: &str = "run/openhands-toolkit/instances/hello.json";
const RECORDS: &str = "var/lib/openhands-toolkit/instances";

/// Makes editors wait until a file is there.
fn waits_for_a_file(scene: &Instances, file: &str) -> Result<()> {
    let (file, program) = (scene.lab.at(file), scene.lab.at("code-server"));
    let real = fs::read_to_string(&program)?;
    let wait = format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.05; done\n", file.display());
    Ok(fs::write(&program, real.replacen("#!/bin/sh\n", &wait, 1))?)
}

fn spawn(scene: &Instances, arguments: &[&str]) -> Result<Child> {
    let mut command = scene.command(arguments)?;
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn send(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

fn records(scene: &Instances) -> Result<usize> {
    Ok(fs::read_dir(scene.lab.at(RECORDS))?.count())
}

#[test]
fn a_start_that_is_interrupted_takes_back_what_it_began() -> Result<()> {
    let scene = Instances::new("")?;
    waits_for_a_file(&scene, "go")?;
    let folder = scene.repository("hello")?;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let start = spawn(&scene, &["start", "--repo", &folder])?;
        wait::until_true("the editor to be begun", BOUND, || {
            let state = fs::read_to_string(scene.lab.at(STATE)).unwrap_or_default();
            state.contains("\"editor\": {")
        })?;
        send(&start, signal)?;
        let said = Said::from(start.wait_with_output()?).expect(130)?;
        ensure!(said.stderr.contains("because: interrupted"), "{said:?}");
        // Nobody was shown a password, so nobody may have been given one.
        ensure!(!scene.lab.at("etc/nginx/openhands/users").exists(), "{said:?}");
        ensure!(said.stderr.contains("what it had begun was taken back"), "{said:?}");
        ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
        ensure!(records(&scene)? == 0, "a record is left");
    }
    fs::write(scene.lab.at("go"), "")?;
    scene.ask(&["start", "--repo", &folder])?;
    Ok(())
}

#[test]
fn what_a_start_waits_for_is_told_and_an_interrupt_ends_it_at_once() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let root = Root::below(Path::new(&scene.lab.root()))?;
    let mut locks = Locks::open(&root, None)?;
    let world = locks.world(Share::Exclusive, "a test", BOUND)?;
    let err = scene.lab.at("said");
    let mut command = scene.command(&["start", "--repo", &folder])?;
    let mut start = command.stdout(Stdio::null()).stderr(fs::File::create(&err)?).spawn()?;
    let holder = format!("waits              for process {} (a test) since ", std::process::id());
    wait::until_true("the holder to be told", BOUND, || {
        fs::read_to_string(&err).is_ok_and(|said| said.contains(&holder))
    })?;
    send(&start, Signal::INT)?;
    let status = start.wait()?;
    ensure!(status.signal() == Some(Signal::INT.as_raw()), "{status}");
    drop(world);
    Ok(())
}

#[test]
fn a_restart_that_is_interrupted_goes_on_by_itself() -> Result<()> {
    let scene = Instances::new("")?;
    let before = scene.start("hello")?;
    let login = basic("openhands", &scene.login()?);
    waits_for_a_file(&scene, "go")?;
    let restart = spawn(&scene, &["restart", "hello"])?;
    wait::until_true("another editor to be begun", BOUND, || {
        let state = scene.json(STATE).unwrap_or_default();
        let pid = &state["editor"]["pid"];
        pid.is_u64() && *pid != before["pid"]
    })?;
    send(&restart, Signal::INT)?;
    let said = Said::from(restart.wait_with_output()?).expect(130)?;
    ensure!(said.stderr.contains("what was begun goes on without this command"), "{said:?}");
    fs::write(scene.lab.at("go"), "")?;
    // Its new key is presented too: without it the editor would send visitors to its own login.
    wait::until("the editor to be served", BOUND, || {
        // Whoever is logged in is sent on; the page that asks for a password is 200.
        let page = scene.lab.get("/vscode/hello/login", &[("Authorization", &login)])?;
        Ok((page.status == 302).then_some(()))
    })
}

#[test]
fn a_stop_that_waits_is_interrupted_and_says_what_it_did() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    scene.start("other")?;
    let root = Root::below(Path::new(&scene.lab.root()))?;
    let mut locks = Locks::open(&root, None)?;
    let mut world = locks.world(Share::Shared, "a test", BOUND)?;
    let other = world.leases(["instance-other"], "a test", BOUND)?;
    let (out, err) = (scene.lab.at("out"), scene.lab.at("err"));
    let mut command = scene.command(&["stop", "hello", "other"])?;
    let command = command.stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
    let mut stop = command.spawn()?;
    wait::until_true("the other to be waited for", BOUND, || {
        fs::read_to_string(&err).is_ok_and(|said| said.contains("(a test)"))
    })?;
    send(&stop, Signal::INT)?;
    ensure!(stop.wait()?.code() == Some(130), "{}", fs::read_to_string(&err)?);
    let said = fs::read_to_string(&out)?;
    ensure!(said.starts_with("hello stopped\nother is not stopped\n"), "{said}");
    drop(other);
    Ok(())
}

#[test]
fn a_stop_that_is_interrupted_ends_the_one_and_names_the_others() -> Result<()> {
    let scene = Instances::new("stop_grace_s = 3\n")?;
    let program = scene.lab.at("code-server");
    let real = fs::read_to_string(&program)?;
    let deaf = "#!/bin/sh\n(trap '' TERM; exec sleep 1000) &\n";
    fs::write(&program, real.replacen("#!/bin/sh\n", deaf, 1))?;
    scene.start("hello")?;
    scene.start("other")?;
    let stop = spawn(&scene, &["stop", "hello", "other"])?;
    wait::until_true("the first to be wanted stopped", BOUND, || {
        let record = scene.json(&format!("{RECORDS}/hello.json")).unwrap_or_default();
        record["wanted"] == json!("stopped")
    })?;
    send(&stop, Signal::INT)?;
    let said = Said::from(stop.wait_with_output()?).expect(130)?;
    ensure!(said.stdout.contains("hello stopped\nother is not stopped\n"), "{said:?}");
    ensure!(said.stdout.contains("interrupted before it came to it"), "{said:?}");
    ensure!(records(&scene)? == 1, "{said:?}");
    scene.run(&["status", "other"])?.expect(0)?;
    Ok(())
}
