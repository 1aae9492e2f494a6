//! `oh-cleanup` and processes that do not end as they should, or are not who they seem to be.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;
#[path = "cleanup/stand_in.rs"]
mod stand_in;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oh_host::members::Target;
use oh_host::process::{Identity, Pid};
use oh_host::stop::{self, How};
use oh_testsuite::alone::alone;
use oh_testsuite::instances::end;
use oh_testsuite::lab::Said;
use oh_testsuite::process::Running;
use oh_testsuite::{components, trace, wait};
use rustix::process::Signal;
use scene::Scene;
use stand_in::WAITS;

/// How long something may take on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

const NS_LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// How often a number is tried to be given anew: others may be quicker.
const TRIES: usize = 200;

/// Starts a program until it has this very number.
fn with_number(pid: u32, mut command: impl FnMut() -> Command) -> Result<Running> {
    for _ in 0..TRIES {
        fs::write(NS_LAST_PID, (pid - 1).to_string()).context("environment: ns_last_pid")?;
        let running = Running::start(&mut command())?;
        if running.id() == pid {
            return Ok(running);
        }
    }
    bail!("{pid} was not given anew")
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

#[test]
fn a_number_that_was_given_anew_is_a_strangers() -> Result<()> {
    alone("a_number_that_was_given_anew_is_a_strangers", || {
        let scene = Scene::new()?;
        let file = scene.instances.lab.at("plan.json").display().to_string();
        let port = scene.instances.first_port;
        let mut editor = stand_in::start(&scene, "old", port, WAITS)?;
        let pid = editor.id();
        let planned = scene.run(&["plan", "--all", "--output", &file])?.expect(0)?;
        ensure!(planned.stdout.contains(&format!("(pid {pid})")), "{planned:?}");
        editor.stop()?;
        // An innocent with the number, and an editor with it that is not the one that was shown.
        let stranger = with_number(pid, sleeper)?;
        let said = scene.run(&["apply", &file, "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("as wanted stop"), "{said:?}");
        ensure!(!stranger.has_ended()?, "{said:?}");
        drop(stranger);
        let command = || stand_in::command(&scene, "old", port, WAITS).expect("it was written");
        let other = with_number(pid, command)?;
        let said = scene.run(&["apply", &file, "--yes"])?;
        ensure!(said.stdout.contains("as wanted stop"), "{said:?}");
        ensure!(!other.has_ended()?, "{said:?}");
        Ok(())
    })
}

#[test]
fn a_number_that_is_given_anew_in_the_same_tick_is_a_strangers() -> Result<()> {
    alone("a_number_that_is_given_anew_in_the_same_tick_is_a_strangers", || {
        let mut same = 0;
        for _ in 0..TRIES {
            let mut first = Running::start(&mut sleeper())?;
            let pid = first.id();
            let identity = Identity::of(Pid::new(pid).context("a pid")?)?;
            first.signal(Signal::KILL);
            first.stop()?;
            let second = with_number(pid, sleeper)?;
            let now = Identity::of(Pid::new(pid).context("a pid")?)?;
            same += usize::from(now.start_time_ticks == identity.start_time_ticks);
            let target = Target { identity: Some(identity), token: None };
            let outcomes = stop::stop(&[target], Duration::ZERO)?;
            let hows: Vec<How> = outcomes.iter().map(|outcome| outcome.how).collect();
            ensure!(hows == [How::Stranger], "{outcomes:?}");
            ensure!(!second.has_ended()?);
            if same >= 3 {
                return Ok(());
            }
        }
        bail!("environment: only {same} of {TRIES} were of the same tick")
    })
}

#[test]
fn what_runs_in_a_container_is_not_ours_to_end() -> Result<()> {
    alone("what_runs_in_a_container_is_not_ours_to_end", || {
        let scene = Scene::new()?;
        let first = scene.instances.first_port;
        let in_namespaces = |kind: &[&str], id: &str, port: u16| -> Result<Running> {
            let inside = stand_in::command(&scene, id, port, WAITS)?;
            let mut command = Command::new(components::program("unshare")?);
            command.args(kind).arg(inside.get_program()).args(inside.get_args());
            let mut running = Running::start(command.env_clear().env("PATH", "/usr/bin:/bin"))?;
            running.wait_for_line("up", BOUND)?;
            Ok(running)
        };
        let whole = ["--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc"];
        let container = in_namespaces(&whole, "container", first)?;
        let mounts = in_namespaces(&["--mount"], "mounts", first + 1)?;
        let ours = stand_in::start(&scene, "ours", first + 2, WAITS)?;
        scene.leave("tmp/code-server-userdata-ours-1/a", "a")?;
        let said = scene.run(&["--all", "--yes"])?.expect(0)?;
        let kept = said.stdout.matches("it is in namespaces of its own").count();
        ensure!(kept == 2, "{said:?}");
        ensure!(!container.has_ended()? && !mounts.has_ended()? && ours.has_ended()?, "{said:?}");
        ensure!(said.stdout.contains("done: 1 editor stopped"), "{said:?}");
        Ok(())
    })
}

/// Goes on whatever is asked.
const IGNORES: &str = "trap '' TERM; echo up; while :; do sleep 1000; done\n";

/// Ends at once, and what it has started does not.
const LEAVES: &str =
    "setsid bash -c 'trap \"\" TERM; echo up; while :; do sleep 1000; done' & wait\n";

/// Starts again what it is asked to end, as long as it lives.
const RESPAWNS: &str = "again() { (trap '' TERM; while :; do sleep 1000; done) & }\n\
                        trap again TERM; again; echo up; while :; do wait; done\n";

/// Is started again by what is no editor.
const STARTER: &str = "while :; do bash \"$@\"; done";

#[test]
fn editors_that_do_not_want_to_end_are_ended() -> Result<()> {
    alone("editors_that_do_not_want_to_end_are_ended", || {
        let scene = Scene::new()?;
        let first = scene.instances.first_port;
        let mut started = Vec::new();
        for (at, (id, script)) in
            [("ignores", IGNORES), ("leaves", LEAVES), ("respawns", RESPAWNS), ("stopped", WAITS)]
                .into_iter()
                .enumerate()
        {
            started.push(stand_in::start(&scene, id, first + u16::try_from(at)?, script)?);
        }
        let stopped = started.last().context("the last one")?;
        trace::signal(stopped.id(), Signal::STOP)?;
        let said = scene.run(&["--processes", "--yes", "--grace", "500ms"])?.expect(0)?;
        ensure!(said.stdout.contains("4 editors stopped"), "{said:?}");
        let left = scene.instances.processes()?;
        let left: Vec<_> = left.iter().filter(|(_, line)| !line.is_empty()).collect();
        ensure!(left.is_empty(), "{left:?}: {said:?}");
        Ok(())
    })
}

#[test]
fn an_editor_that_is_started_again_is_not_said_to_be_stopped() -> Result<()> {
    alone("an_editor_that_is_started_again_is_not_said_to_be_stopped", || {
        let scene = Scene::new()?;
        let port = scene.instances.first_port;
        let editor = stand_in::command(&scene, "again", port, WAITS)?;
        let mut starter = Command::new("sh");
        starter.args(["-c", STARTER, "sh"]).args(editor.get_args());
        let mut starter = Running::start(starter.env_clear().env("PATH", "/usr/bin:/bin"))?;
        starter.wait_for_line("up", BOUND)?;
        let said = wait::until("a start before the last look", BOUND, || {
            scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
            let said = scene.run(&["--all", "--yes"])?;
            // On a busy machine it may be started only behind that, which nobody can tell.
            Ok((said.code != 0).then_some(said))
        })?;
        let said = said.expect(1)?;
        ensure!(said.stdout.contains(&format!("came back an editor on port {port}: ")), "{said:?}");
        ensure!(said.stdout.contains("not clean: "), "{said:?}");
        ensure!(said.stdout.contains("1 thing moved"), "{said:?}");
        starter.stop()?;
        let said = scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(said.stdout.starts_with("nothing to do"), "{said:?}");
        Ok(())
    })
}

/// Kills the first process of a real editor, cleans up, and listens on its port at once.
fn ports_are_free(rounds: usize) -> Result<()> {
    let scene = Scene::new()?;
    for round in 0..rounds {
        let editor = scene.historic(&format!("old{round}"), 1)?;
        let port = editor.port;
        let wanted = format!("--bind-addr 127.0.0.1:{port}");
        let processes = scene.instances.processes()?;
        let first = processes.iter().find(|(_, line)| line.contains(&wanted));
        let first = *first.context("the editor")?.0;
        // Its child would find out by itself, at some time within some seconds.
        for pid in processes.keys().filter(|pid| **pid != first) {
            trace::signal(*pid, Signal::STOP)?;
        }
        end(first)?;
        ensure!(TcpListener::bind(("127.0.0.1", port)).is_err(), "round {round}");
        let said = scene.run(&["--processes", "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("1 editor stopped"), "round {round}: {said:?}");
        let again = TcpListener::bind(("127.0.0.1", port));
        again.with_context(|| format!("round {round}: {said:?}"))?;
    }
    Ok(())
}

#[test]
fn a_port_is_free_the_moment_its_editor_is_said_to_be_stopped() -> Result<()> {
    alone("a_port_is_free_the_moment_its_editor_is_said_to_be_stopped", || ports_are_free(3))
}

#[cfg(feature = "full")]
#[test]
fn a_port_is_free_each_of_fifty_times() -> Result<()> {
    alone("a_port_is_free_each_of_fifty_times", || ports_are_free(50))
}

/// A control group whose processes hang until it is dropped, or the test is gone.
struct Frozen {
    group: PathBuf,
    _watcher: Running,
}

/// Thaws the group when nobody holds its input any more.
const WATCHER: &str = "echo up; while kill -0 \"$2\" 2>/dev/null; do sleep 1; done; \
                       echo THAWED >\"$1/freezer.state\"";

impl Frozen {
    fn freeze(pid: u32) -> Result<Self> {
        let group = PathBuf::from(format!("/sys/fs/cgroup/freezer/oh-test-{pid}"));
        let missing = "environment: no freezer of version 1 in /sys/fs/cgroup/freezer";
        fs::create_dir(&group).context(missing)?;
        // It is in a group of its own, so that it outlives a test that is killed.
        let mut watcher = Command::new(components::program("sh")?);
        watcher.args(["-c", WATCHER, "sh"]).arg(&group);
        let mut watcher = Running::start(watcher.arg(std::process::id().to_string()))?;
        watcher.wait_for_line("up", BOUND)?;
        let frozen = Self { group, _watcher: watcher };
        fs::write(frozen.group.join("cgroup.procs"), pid.to_string())?;
        fs::write(frozen.group.join("freezer.state"), "FROZEN")?;
        wait::until("a frozen process", BOUND, || {
            let state = fs::read_to_string(frozen.group.join("freezer.state"))?;
            Ok((state.trim() == "FROZEN").then_some(()))
        })?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A failing test is already failing; there is nobody to tell.
        drop(fs::write(self.group.join("freezer.state"), "THAWED"));
        drop(wait::until_true("the end of the group", BOUND, || {
            fs::remove_dir(&self.group).is_ok()
        }));
    }
}

#[test]
fn what_hangs_in_the_kernel_is_named_and_keeps_nothing_else() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.instances.first_port;
    let mut hung = stand_in::start(&scene, "hung", first, WAITS)?;
    let other = stand_in::start(&scene, "other", first + 1, WAITS)?;
    let frozen = Frozen::freeze(hung.id())?;
    let said = scene.run(&["--processes", "--yes", "--grace", "200ms"])?.expect(1)?;
    let named = format!("pid {} (bash) did not end: it hangs in the kernel", hung.id());
    ensure!(said.stdout.contains(&named), "{said:?}");
    // Where, as far as this kernel says it.
    let place = fs::read_to_string(format!("/proc/{}/wchan", hung.id()))?;
    ensure!(place == "0" || said.stdout.contains(&place), "{place:?}: {said:?}");
    ensure!(said.stdout.contains("not clean: 1 editor stopped, 1 step not done"), "{said:?}");
    ensure!(other.has_ended()? && !hung.has_ended()?, "{said:?}");
    // It dies of what was sent to it, and the next run finds nothing.
    drop(frozen);
    hung.wait(BOUND)?;
    let again = scene.run(&["--processes", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do"), "{again:?}");
    Ok(())
}

#[test]
fn what_this_very_command_runs_in_is_kept() -> Result<()> {
    alone("what_this_very_command_runs_in_is_kept", || {
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let first = scene.instances.first_port;
        let other = stand_in::start(&scene, "other", first + 1, WAITS)?;
        scene.leave("tmp/code-server-userdata-around-1/a", "a")?;
        // As in a terminal of an editor: a shell below it, in a session of its own.
        let tool = lab.built("oh-cleanup")?.get_program().to_string_lossy().into_owned();
        let (root, out) = (lab.root(), lab.at("out").display().to_string());
        let script = format!(
            "setsid --wait bash -c '{tool} --all --yes --root {root} >{out} 2>&1; \
             echo \"exit $?\" >>{out}'\n{WAITS}"
        );
        let own = lab.at(&format!("tmp/code-server-userdata-around-{first}"));
        fs::create_dir_all(&own)?;
        let around = stand_in::start(&scene, "around", first, &script)?;
        let said = fs::read_to_string(Path::new(&out))?;
        ensure!(said.ends_with("exit 0\n"), "{said}");
        ensure!(said.contains("this very command runs in it: run it elsewhere"), "{said}");
        ensure!(said.contains(&format!("an editor on port {first} stays")), "{said}");
        ensure!(!around.has_ended()? && other.has_ended()? && own.exists(), "{said}");
        ensure!(!lab.at("tmp/code-server-userdata-around-1").exists(), "{said}");
        // From elsewhere it is one like any other.
        let mut command = lab.built("oh-cleanup")?;
        command.env_clear().args(["--all", "--yes", "--root", &root]).stdin(Stdio::null());
        Said::from(command.output()?).expect(0)?;
        ensure!(around.has_ended()? && !own.exists());
        Ok(())
    })
}

#[test]
fn what_this_very_command_runs_in_is_taken_where_that_is_said() -> Result<()> {
    alone("what_this_very_command_runs_in_is_taken_where_that_is_said", || {
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let first = scene.instances.first_port;
        // As in a terminal of an editor, which ends with it: a shell below it that has a terminal.
        let tool = lab.built("oh-cleanup")?.get_program().to_string_lossy().into_owned();
        let (root, out) = (lab.root(), lab.at("out").display().to_string());
        let asked = format!("{tool} --all --yes --include-self-session --root {root}");
        let script = format!(
            "script --quiet --command '{asked} >{out} 2>&1; echo shell lives >>{out}' /dev/null \
             </dev/null >/dev/null &\n{WAITS}"
        );
        let own = lab.at(&format!("tmp/code-server-userdata-around-{first}"));
        fs::create_dir_all(&own)?;
        let around = stand_in::start(&scene, "around", first, &script)?;
        let runs = wait::until("the run to be over", BOUND, || {
            let runs = scene.run(&["runs", "--format", "json"])?.json()?["result"]["runs"].clone();
            Ok((runs[0]["is_over"] == serde_json::json!(true)).then_some(runs))
        })?;
        ensure!(around.has_ended()? && !own.exists(), "{runs}");
        let said = wait::until("its report", BOUND, || {
            let said = fs::read_to_string(Path::new(&out))?;
            Ok(said.contains("undo: ").then_some(said))
        })?;
        ensure!(said.contains("done      stop    an editor on port"), "{said}");
        ensure!(!said.contains("shell lives"), "{said}");
        Ok(())
    })
}
