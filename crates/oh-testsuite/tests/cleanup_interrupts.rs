//! `oh-cleanup` that somebody interrupts, or that waits for another: it says so at once, ends what it is
//! at, and no more is begun.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;
#[path = "cleanup/stand_in.rs"]
#[expect(dead_code, reason = "not every editor is needed here")]
mod stand_in;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::lock::{Locks, Share};
use oh_host::root::Root;
use oh_testsuite::alone::alone;
use oh_testsuite::{components, wait};
use rustix::process::{Pid, Signal, kill_process};
use scene::Scene;

const BOUND: Duration = Duration::from_secs(60);

/// What strace writes where a program was stopped.
const STOPPED: &str = "--- stopped by SIGSTOP ---";

/// How the line begins that is said at once.
const LINE: &str = "interrupted: ends with this (";

/// A command that runs; it ends with the test.
struct Going {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    /// What strace writes of it, where it is traced.
    log: Option<PathBuf>,
}

impl Drop for Going {
    fn drop(&mut self) {
        // Whoever traces it lets it go.
        drop(self.pid().map(|pid| kill_process(pid, Signal::KILL)));
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Going {
    /// Starts the tool, under strace where it is to be stopped at a call.
    fn start(scene: &Scene, arguments: &[&str], inject: Option<&str>) -> Result<Self> {
        let lab = &scene.instances.lab;
        let [out, err, log] = ["log/out", "log/err", "log/held"].map(|below| lab.at(below));
        let tool = lab.built("oh-cleanup")?;
        let mut command = match inject {
            None => Command::new(tool.get_program()),
            Some(inject) => {
                let mut command = Command::new(components::program("strace")?);
                command.arg("-o").arg(&log).args(["-e", inject, "--"]).arg(tool.get_program());
                command
            }
        };
        command.args(arguments).args(["--root", &lab.root()]).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        let child = command.spawn()?;
        Ok(Self { child, out, err, log: inject.map(|_| log) })
    }

    /// The tool itself.
    fn pid(&self) -> Result<Pid> {
        let own = self.child.id();
        let pid = match self.log {
            None => i32::try_from(own)?,
            Some(_) => {
                let of_it = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
                of_it.split_whitespace().next().context("strace has no child")?.parse()?
            }
        };
        Pid::from_raw(pid).context("a pid")
    }

    /// Waits until it has been stopped so often.
    fn is_held(&mut self, times: usize) -> Result<Pid> {
        let log = self.log.clone().context("it is not traced")?;
        wait::until("the call", BOUND, || {
            ensure!(self.child.try_wait()?.is_none(), "it ended: {}", self.said());
            let text = fs::read_to_string(&log).unwrap_or_default();
            Ok((text.matches(STOPPED).count() >= times).then_some(()))
        })?;
        self.pid()
    }

    fn said(&self) -> String {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        format!("{}{}", text(&self.out), text(&self.err))
    }

    /// Waits until it has said something.
    fn says(&self, what: &str) -> Result<()> {
        let said = wait::until("the line", BOUND, || Ok(self.said().contains(what).then_some(())));
        said.with_context(|| format!("{what:?} in {}", self.said()))
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let ended = wait::until("its end", BOUND, || Ok(self.child.try_wait()?));
        ended.with_context(|| self.said())
    }
}

/// Says when it is asked to end, and goes on.
const SAYS_SO: &str = "trap 'echo asked' TERM; echo up; while :; do sleep 1000; done\n";

#[test]
fn nobody_waits_for_a_grace_that_was_interrupted_and_nothing_is_killed() -> Result<()> {
    alone("nobody_waits_for_a_grace_that_was_interrupted_and_nothing_is_killed", || {
        let scene = Scene::new()?;
        let port = scene.instances.first_port;
        let mut editor = stand_in::start(&scene, "old", port, SAYS_SO)?;
        let young = format!("tmp/code-server-userdata-old-{port}");
        fs::create_dir_all(scene.instances.lab.at(&young))?;
        let mut tool = Going::start(&scene, &["--all", "--yes", "--grace", "1h"], None)?;
        editor.wait_for_line("asked", BOUND)?;
        kill_process(tool.pid()?, Signal::INT)?;
        let status = tool.end()?;
        let said = tool.said();
        ensure!(status.code() == Some(130), "{status}: {said}");
        ensure!(said.contains(&format!("{LINE}stop 1 editor); Ctrl-C again: at once")), "{said}");
        let asked = "got TERM, and its end was not waited for: the next run goes on";
        ensure!(said.contains(asked), "{said}");
        ensure!(!editor.has_ended()? && scene.tree("tmp")?.contains(&young), "{said}");
        let runs = scene.run(&["runs"])?.expect(0)?;
        ensure!(runs.stdout.contains("  was interrupted"), "{runs:?}");
        // Its folder is as young as can be, and goes all the same.
        let next = scene.run(&["--all", "--yes", "--grace", "100ms"])?.expect(0)?;
        ensure!(next.stdout.contains("1 editor stopped"), "{next:?}");
        ensure!(editor.has_ended()? && !scene.tree("tmp")?.contains(&young), "{next:?}");
        Ok(())
    })
}

#[test]
fn what_ended_by_itself_behind_an_interrupt_leaves_nothing_to_the_next_run() -> Result<()> {
    alone("what_ended_by_itself_behind_an_interrupt_leaves_nothing_to_the_next_run", || {
        let scene = Scene::new()?;
        let port = scene.instances.first_port;
        let mut editor = stand_in::start(&scene, "old", port, SAYS_SO)?;
        let young = format!("tmp/code-server-userdata-old-{port}");
        fs::create_dir_all(scene.instances.lab.at(&young))?;
        let mut tool = Going::start(&scene, &["--all", "--yes", "--grace", "1h"], None)?;
        editor.wait_for_line("asked", BOUND)?;
        kill_process(tool.pid()?, Signal::TERM)?;
        ensure!(tool.end()?.code() == Some(130), "{}", tool.said());
        editor.stop()?;
        scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(!scene.tree("tmp")?.contains(&young), "{}", scene.tree("tmp")?);
        Ok(())
    })
}

#[test]
fn a_purge_ends_between_two_files_and_counts_what_is_gone() -> Result<()> {
    const FILES: usize = 300;
    let scene = Scene::new()?;
    for number in 0..FILES {
        scene.leave(&format!("tmp/vscode-agent-gone-1/data/{number}"), "a")?;
    }
    let first = scene.moved_by(&["--temp", "--yes"])?;
    scene.leave("tmp/vscode-agent-gone-2/a", "a")?;
    let second = scene.moved_by(&["--temp", "--yes"])?;
    let held = "inject=unlinkat:signal=STOP:when=100";
    let mut tool = Going::start(&scene, &["purge", &first, &second, "--yes"], Some(held))?;
    let pid = tool.is_held(1)?;
    kill_process(pid, Signal::INT)?;
    kill_process(pid, Signal::CONT)?;
    let (status, said) = (tool.end()?, tool.said());
    ensure!(status.code() == Some(130), "{status}: {said}");
    let left = scene.tree("var/lib/openhands-toolkit/quarantine")?.matches("/data/").count();
    ensure!(left > FILES / 2, "{left} are left: {said}");
    ensure!(said.contains(&format!("in part   {first}: {} names, ", FILES - left)), "{said}");
    ensure!(said.contains(&format!("in part   {second}: 0 names, 0B freed")), "{said}");
    ensure!(said.contains("interrupted: the rest of it goes by the same purge again"), "{said}");
    let again = scene.run(&["purge", &first, &second, "--yes"])?.expect(0)?;
    ensure!(again.stdout.matches("purged ").count() == 2, "{again:?}");
    Ok(())
}

#[test]
fn an_interrupt_that_came_behind_the_last_name_is_too_late() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    // The file, and its folder.
    let held = "inject=unlinkat:signal=STOP:when=2";
    let mut tool = Going::start(&scene, &["purge", &run, "--yes"], Some(held))?;
    let pid = tool.is_held(1)?;
    kill_process(pid, Signal::INT)?;
    kill_process(pid, Signal::CONT)?;
    let (status, said) = (tool.end()?, tool.said());
    ensure!(status.code() == Some(0) && said.contains("purged "), "{status}: {said}");
    Ok(())
}

#[test]
fn an_undo_ends_between_two_batches_and_the_next_one_goes_on() -> Result<()> {
    const COUNT: usize = 1200;
    let scene = Scene::new()?;
    let at = |number: usize| scene.instances.lab.at(&format!("tmp/vscode-agent-gone-{number}"));
    for number in 0..COUNT {
        File::create(at(number))?;
    }
    scene.run(&["--temp", "--older-than", "0s", "--yes"])?.expect(0)?;
    let held = "inject=pwrite64:signal=STOP:when=1";
    let mut tool = Going::start(&scene, &["undo"], Some(held))?;
    let pid = tool.is_held(1)?;
    kill_process(pid, Signal::INT)?;
    kill_process(pid, Signal::CONT)?;
    let (status, said) = (tool.end()?, tool.said());
    ensure!(status.code() == Some(130), "{status}: {said}");
    let back = (0..COUNT).filter(|number| at(*number).exists()).count();
    ensure!(back == 1000, "{back} are back: {said}");
    ensure!(said.contains(": 1000 things back, 200 things not back\n"), "{said}");
    ensure!(said.contains("200 things ") && said.contains("before it came to it"), "{said}");
    ensure!(said.contains(LINE), "{said}");
    scene.run(&["undo"])?.expect(0)?;
    ensure!((0..COUNT).all(|number| at(number).exists()));
    Ok(())
}

#[test]
fn each_command_says_whom_it_waits_for_and_how_to_wait_longer() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let run = scene.moved_by(&["--temp", "--yes"])?;
    scene.leave("tmp/vscode-agent-gone-2/a", "a")?;
    let root = Root::below(scene.instances.lab.at("").as_path())?;
    let mut locks = Locks::open(&root, None)?;
    let held = locks.world(Share::Exclusive, "a test", Duration::ZERO)?;
    let whom = format!("for process {} (a test) since ", std::process::id());
    for words in [&["--temp", "--yes"][..], &["undo"], &["purge", &run, "--yes"]] {
        let said = scene.run(&[words, &["--wait", "1s"]].concat())?.expect(5)?;
        ensure!(said.stderr.contains(&whom), "{words:?}: {said:?}");
        ensure!(said.stderr.contains("hint: wait for its end: --wait 10m\n"), "{said:?}");
    }
    let mut tool = Going::start(&scene, &["undo", "--wait", "1h"], None)?;
    tool.says(&whom)?;
    drop(held);
    ensure!(tool.end()?.code() == Some(0), "{}", tool.said());
    Ok(())
}

#[test]
fn a_run_that_is_at_work_and_one_that_was_interrupted_are_told_apart() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    // The second line of its journal is about what it moves.
    let held = "inject=pwrite64:signal=STOP:when=2";
    let mut tool = Going::start(&scene, &["--temp", "--no-evidence", "--yes"], Some(held))?;
    let pid = tool.is_held(1)?;
    let runs = scene.run(&["runs"])?.expect(0)?;
    let at_work = format!("  is at work (pid {})\n", pid.as_raw_nonzero());
    ensure!(runs.stdout.ends_with(&at_work), "{runs:?}");
    kill_process(pid, Signal::KILL)?;
    tool.end()?;
    let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    ensure!(runs["result"]["runs"][0]["state"] == "interrupted", "{runs}");
    scene.run(&["--temp", "--yes"])?.expect(0)?;
    let runs = scene.run(&["runs"])?.expect(0)?;
    ensure!(runs.stdout.matches("was interrupted").count() == 1, "{runs:?}");
    Ok(())
}
