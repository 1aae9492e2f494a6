//! What changes between the last look of `oh-cleanup` and its acts: it is held at each line of its
//! journal, something changes, and it goes on.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;

#[path = "cleanup/left.rs"]
#[expect(dead_code, reason = "not everything that OpenHands leaves is needed here")]
mod left;

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use left::Left;
use oh_testsuite::instances::is_root;
use oh_testsuite::lab::Said;
use oh_testsuite::{components, wait};
use rustix::process::{Pid, Signal, kill_process};
use scene::{PORTS, REPOSITORIES, Scene};

const BOUND: Duration = Duration::from_secs(60);

const RECORD: &str = "var/lib/openhands-toolkit/instances/hello.json";

const STATE: &str = "run/openhands-toolkit/instances/hello.json";

/// What strace writes where a program was stopped.
const STOPPED: &str = "--- stopped by SIGSTOP ---";

/// Runs a cleanup that is stopped at every line of its journal, calls `change` there with the number of
/// the line, from 1, and the process, and lets it go on.
fn held_at_each_line(
    scene: &Scene,
    before: &[&str],
    arguments: &[&str],
    mut change: impl FnMut(usize, Pid) -> Result<()>,
) -> Result<Said> {
    let lab = &scene.instances.lab;
    let (log, tool) = (lab.at("log/held"), lab.built("oh-cleanup")?);
    let mut words: Vec<String> = before.iter().map(ToString::to_string).collect();
    words.push(components::program("strace")?.display().to_string());
    words.extend(["-o", &log.display().to_string(), "-e", "trace=pwrite64"].map(Into::into));
    words.extend(["-e", "inject=pwrite64:signal=STOP:when=1+", "--"].map(Into::into));
    words.push(tool.get_program().to_string_lossy().into_owned());
    words.extend(arguments.iter().map(ToString::to_string));
    words.extend(["--no-evidence".into(), "--yes".into(), "--root".into(), lab.root()]);
    let (program, words) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(words).env_clear().current_dir("/").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut told = Ok(());
    for line in 1.. {
        let is_over = wait::until("the next line", BOUND, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let is_held = text.matches(STOPPED).count() >= line;
            let is_over = child.try_wait()?.is_some();
            Ok((is_held || is_over).then_some(!is_held))
        })?;
        if is_over {
            break;
        }
        let of_it = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
        let pid = of_it.split_whitespace().next().context("strace has no child")?;
        let pid = Pid::from_raw(pid.parse()?).context("no pid")?;
        // Whatever comes of it, the program goes on to its end.
        told = told.and_then(|()| change(line, pid));
        kill_process(pid, Signal::CONT)?;
    }
    let said = child.wait_with_output()?.into();
    told.map(|()| said)
}

#[test]
fn a_browser_that_comes_at_the_last_moment_keeps_its_editor_and_all_that_is_its() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let old = scene.historic("old", 1)?;
    let left = format!("tmp/code-server-userdata-old-{}/User/a", old.port);
    scene.leave(&left, "a")?;
    let ports = scene.instances.json(PORTS)?;
    let of_hello = ports["instances"]["hello"]["port"].as_u64().context("a port")?;
    let before = || -> Result<_> {
        // What else is in its folder it writes all the time.
        let tree = scene.tree(&left)?;
        Ok((tree, scene.text(PORTS)?, scene.text(REPOSITORIES)?, scene.text(RECORD)?))
    };
    let then = before()?;
    let mut browsers = Vec::new();
    let said = held_at_each_line(&scene, &[], &["--all"], |line, _| {
        if line == 1 {
            browsers.push(TcpStream::connect(("127.0.0.1", old.port))?);
            browsers.push(TcpStream::connect(("127.0.0.1", u16::try_from(of_hello)?))?);
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    ensure!(said.stdout.matches("somebody works in it (--force-active)").count() > 2, "{said:?}");
    let stays = format!("it is another way by now: an editor on port {} stays", old.port);
    ensure!(said.stdout.contains(&stays), "{said:?}");
    ensure!(said.stdout.contains("it runs on, and is wanted as before"), "{said:?}");
    ensure!(!old.is_over() && scene.is_routed("hello")?, "{said:?}");
    ensure!(before()? == then, "{said:?}\n{:#?}\n{then:#?}", before()?);
    drop(browsers);
    scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(old.is_over());
    Ok(())
}

#[test]
fn an_orphan_to_which_somebody_comes_at_the_last_moment_stays() -> Result<()> {
    let scene = Scene::new()?;
    let left = Left::in_lab(&scene.instances.lab)?;
    let mut dead = left.app("dead", false)?;
    left.kill(&mut dead)?;
    let mut browser = None;
    let said = held_at_each_line(&scene, &[], &["--processes"], |line, _| {
        if line == 1 {
            browser = Some(TcpStream::connect(("127.0.0.1", dead.ports[2]))?);
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    ensure!(said.stdout.contains("1 connection is open ("), "{said:?}");
    ensure!(left.runs("server-main.js")? && left.runs("action_execution_server")?, "{said:?}");
    drop(browser);
    Ok(())
}

#[test]
fn what_somebody_comes_to_at_the_last_moment_stays() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["free-1", "changed-2", "entered-3", "another-4"] {
        scene.leave(&format!("tmp/vscode-agent-{name}/a"), "a")?;
    }
    let at = |name: &str| scene.instances.lab.at("tmp").join(format!("vscode-agent-{name}"));
    let mut sleeper = None;
    let said = held_at_each_line(&scene, &[], &["--temp"], |line, _| {
        if line == 1 {
            fs::write(at("changed-2").join("new"), "new")?;
            let mut command = Command::new("sleep");
            sleeper = Some(command.arg("300").current_dir(at("entered-3")).spawn()?);
            fs::rename(at("another-4"), scene.instances.lab.at("away"))?;
            fs::create_dir(at("another-4"))?;
        }
        Ok(())
    });
    if let Some(mut sleeper) = sleeper {
        sleeper.kill()?;
        sleeper.wait()?;
    }
    let said = said?.expect(1)?;
    for why in [
        "it was changed meanwhile",
        "uses it by now",
        "something else has its name by now, and stays",
    ] {
        ensure!(said.stdout.contains(why), "{why}: {said:?}");
    }
    ensure!(!at("free-1").exists(), "{said:?}");
    for name in ["changed-2/new", "changed-2/a", "entered-3/a", "another-4"] {
        ensure!(at(name).exists(), "{name}: {said:?}");
    }
    // What was kept is no part of what comes back.
    fs::remove_file(at("changed-2").join("a"))?;
    let undone = scene.run(&["undo"])?.expect(0)?;
    ensure!(undone.stdout.lines().count() == 2 && at("free-1/a").exists(), "{undone:?}");
    Ok(())
}

#[test]
fn what_is_mounted_at_the_last_moment_stays() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-free-1/a", "a")?;
    scene.leave("tmp/vscode-agent-mounted-2/deep/a", "a")?;
    scene.leave("precious/file", "precious")?;
    let at = |below: &str| scene.instances.lab.at(below);
    let unshare = components::program("unshare")?.display().to_string();
    let before = [unshare.as_str(), "--mount", "--propagation", "private"];
    let said = held_at_each_line(&scene, &before, &["--temp"], |line, pid| {
        if line == 1 {
            let mut command = Command::new(components::program("nsenter")?);
            command.arg(format!("--mount=/proc/{}/ns/mnt", pid.as_raw_nonzero()));
            command.args(["--", "mount", "--bind"]);
            command.arg(at("precious")).arg(at("tmp/vscode-agent-mounted-2/deep"));
            ensure!(command.status()?.success(), "mount");
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    ensure!(said.stdout.contains("something is mounted there by now"), "{said:?}");
    ensure!(!at("tmp/vscode-agent-free-1").exists(), "{said:?}");
    ensure!(at("tmp/vscode-agent-mounted-2/deep/a").exists(), "{said:?}");
    Ok(())
}

#[test]
fn an_entry_whose_port_somebody_takes_at_the_last_moment_stays() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.instances.first_port;
    scene.enter_dead("taken", first + 3)?;
    scene.enter_dead("gone", first + 4)?;
    let mut listener = None;
    let said = held_at_each_line(&scene, &[], &["--databases"], |line, _| {
        if line == 1 {
            listener = Some(TcpListener::bind(("127.0.0.1", first + 3))?);
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    ensure!(said.stdout.contains("listens on its port by now"), "{said:?}");
    let instances = scene.instances.json(PORTS)?["instances"].clone();
    ensure!(instances.get("taken").is_some() && instances.get("gone").is_none(), "{instances}");
    let known = scene.instances.json(REPOSITORIES)?.to_string();
    ensure!(known.matches("\"vscodeRunning\":false").count() == 1, "{known}");
    // All of them all the same, where that is asked for; and it comes back.
    scene.run(&["--databases", "--reset-all", "--yes"])?.expect(0)?;
    ensure!(scene.instances.json(PORTS)?["instances"].get("taken").is_none());
    for _ in 0..2 {
        scene.run(&["undo"])?.expect(0)?;
    }
    let instances = scene.instances.json(PORTS)?["instances"].clone();
    ensure!(instances.get("taken").is_some() && instances.get("gone").is_some(), "{instances}");
    drop(listener);
    Ok(())
}

#[test]
fn no_editor_is_stopped_after_an_interrupt() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let old = scene.historic("old", 1)?;
    let left = format!("tmp/code-server-userdata-old-{}/User/a", old.port);
    scene.leave(&left, "a")?;
    let then = (scene.tree(&left)?, scene.text(PORTS)?, scene.text(RECORD)?);
    // The second line says that the record of hello is about to be written.
    let said = held_at_each_line(&scene, &[], &["--all"], |line, pid| {
        if line == 2 {
            kill_process(pid, Signal::INT)?;
        }
        Ok(())
    })?;
    let said = said.expect(130)?;
    let interrupted = "the command was interrupted before it came to it";
    ensure!(said.stdout.matches(interrupted).count() > 4, "{said:?}");
    ensure!(!old.is_over() && scene.is_routed("hello")?, "{said:?}");
    let now = (scene.tree(&left)?, scene.text(PORTS)?, scene.text(RECORD)?);
    ensure!(now == then, "{said:?}\n{now:#?}\n{then:#?}");
    Ok(())
}

#[test]
fn what_came_back_is_told() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let gone = scene.instances.lab.at("tmp/vscode-agent-gone-1");
    let (mut listener, mut again) = (None, None);
    let said = held_at_each_line(&scene, &[], &["--all"], |_, _| {
        // Whoever supervises it starts it at once, and its application writes.
        if listener.is_none() && old.is_over() {
            listener = Some(TcpListener::bind(("127.0.0.1", old.port))?);
        }
        if again.is_none() && !gone.exists() {
            again = Some(File::create(&gone)?);
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    let port = format!("came back port {}: pid {} ", old.port, std::process::id());
    ensure!(said.stdout.contains(&port), "{said:?}");
    let made = format!("came back {}: it was made again", gone.display());
    ensure!(said.stdout.contains(&made) && said.stdout.contains("not clean: "), "{said:?}");
    // The entry of a port that somebody has is nobody's to hand out.
    ensure!(scene.text(PORTS)?.contains("\"old\""), "{said:?}");
    drop((listener, again));
    Ok(())
}

#[test]
fn thousands_go_with_few_syncs_and_come_back() -> Result<()> {
    const COUNT: usize = 2500;
    let scene = Scene::new()?;
    let at = |number: usize| scene.instances.lab.at(&format!("tmp/vscode-agent-gone-{number}"));
    for number in 0..COUNT {
        File::create(at(number))?;
    }
    let lab = &scene.instances.lab;
    let (log, tool) = (lab.at("log/syncs").display().to_string(), lab.built("oh-cleanup")?);
    let counted = |words: &[&str]| -> Result<(Said, usize)> {
        let mut command = Command::new(components::program("strace")?);
        command.args(["-o", &log, "-e", "trace=fsync,fdatasync", "--"]).arg(tool.get_program());
        command.args(words).args(["--root", &lab.root()]);
        let said = Said::from(command.env_clear().output()?).expect(0)?;
        let calls = fs::read_to_string(&log)?;
        Ok((said, calls.lines().filter(|line| line.contains("sync(")).count()))
    };
    let (said, syncs) = counted(&["--temp", "--older-than", "0s", "--no-evidence", "--yes"])?;
    ensure!(said.stdout.contains(&format!("{COUNT} things moved")), "{said:?}");
    // Four for each thousand, and some for the folders and the journal.
    ensure!(syncs < 30, "{syncs} syncs");
    ensure!((0..COUNT).all(|number| !at(number).exists()));
    let dry = scene.run(&["undo", "--dry-run"])?.expect(0)?;
    ensure!(dry.stdout.starts_with(&format!("would bring back {COUNT} things of ")), "{dry:?}");
    ensure!(dry.stdout.lines().count() == 2, "{dry:?}");
    let (said, syncs) = counted(&["undo"])?;
    // Three for each thousand: the journal and two folders.
    ensure!(syncs < 12, "{syncs} syncs");
    let (sum, lines) = said.stdout.split_once('\n').context("a sum")?;
    ensure!(sum.ends_with(&format!(": {COUNT} things back")), "{said:?}");
    let alike = format!("back      {COUNT} things {}/vscode-agent-*\n", lab.at("tmp").display());
    ensure!(lines == alike, "{said:?}");
    ensure!((0..COUNT).all(|number| at(number).exists()));
    Ok(())
}

#[test]
fn a_database_that_becomes_a_link_at_the_last_moment_is_not_copied() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    scene.enter_dead("gone", scene.instances.first_port + 3)?;
    let at = |below: &str| scene.instances.lab.at(below);
    fs::write(at("shadow"), "root:secret:20000::::::\n")?;
    let said = held_at_each_line(&scene, &[], &["--databases"], |line, _| {
        if line == 1 {
            fs::rename(at(PORTS), at("away"))?;
            std::os::unix::fs::symlink(at("shadow"), at(PORTS))?;
        }
        Ok(())
    })?;
    let said = said.expect(1)?;
    ensure!(
        said.stdout.contains("vscode-ports.json is not used: it is a symbolic link"),
        "{said:?}"
    );
    for entry in fs::read_dir(at("var/lib/openhands-toolkit/journal"))? {
        let bytes = fs::read(entry?.path())?;
        ensure!(!String::from_utf8_lossy(&bytes).contains("secret"), "{said:?}");
    }
    ensure!(fs::symlink_metadata(at(PORTS))?.is_symlink(), "{said:?}");
    // The other one was released and comes back.
    let said = scene.run(&["undo"])?.expect(0)?;
    ensure!(!said.stdout.contains("vscode-ports.json"), "{said:?}");
    Ok(())
}

#[test]
fn a_record_that_is_away_is_told_as_done_though_its_state_stays() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.start("hello")?;
    let at = |below: &str| scene.instances.lab.at(below);
    let journals = at("var/lib/openhands-toolkit/journal");
    let mut is_changed = false;
    let said = held_at_each_line(&scene, &[], &["--processes", "--databases"], |_, _| {
        for entry in fs::read_dir(&journals)? {
            let text = String::from_utf8_lossy(&fs::read(entry?.path())?).into_owned();
            // Its record is about to be moved.
            let is_it = |line: &str| line.contains("\"moved\"") && line.contains("hello.json");
            if !is_changed && text.lines().skip(1).any(is_it) {
                fs::remove_file(at(STATE)).ok();
                fs::create_dir_all(at(STATE))?;
                is_changed = true;
            }
        }
        Ok(())
    })?;
    let said = said.expect(0)?;
    ensure!(is_changed && !at(RECORD).exists(), "{said:?}");
    ensure!(said.stdout.contains("done      move    the record of hello\n"), "{said:?}");
    ensure!(said.stdout.contains("what was known of its processes stays: "), "{said:?}");
    ensure!(said.stdout.contains("oh-cleanup undo "), "{said:?}");
    fs::remove_dir(at(STATE))?;
    scene.run(&["undo"])?.expect(0)?;
    ensure!(at(RECORD).exists());
    Ok(())
}
