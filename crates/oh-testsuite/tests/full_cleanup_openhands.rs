//! A real OpenHands 0.62 is killed in the middle of a conversation, and nothing of it is left.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::process::Running;

/// How long it may take to start, to start a conversation, and to be cleaned up three times.
const BOUND: Duration = Duration::from_secs(400);

const SCRIPT: &str = "crates/oh-testsuite/tests/cleanup/killed_openhands.sh";

/// What OpenHands starts for a conversation.
const PARTS: [&str; 5] = [
    "-m openhands.runtime.action_execution_server ",
    "/bin/jupyter-kernelgateway ",
    "-m ipykernel_launcher ",
    "/openhands/.openvscode-server/bin/openvscode-server ",
    "tmux new-session ",
];

#[test]
fn nothing_is_left_of_a_real_openhands_that_was_killed() -> Result<()> {
    let root = components::openhands_0_62()?;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(components::program("setpriv")?);
    // Ends with the test, whatever ends the test.
    command.args(["--pdeathsig", "KILL"]).arg(components::program("unshare")?);
    command.args(["--mount", "--propagation", "private", "--pid", "--net", "--fork"]);
    command.args(["--mount-proc", "--kill-child=KILL", "sh", "-eu"]);
    command.arg(components::workspace()?.join(SCRIPT)).arg(root).arg(folder.path());
    command.arg(components::built("oh-cleanup")?);
    let mut running = Running::start(&mut command)?;
    let status = running.wait(BOUND)?;
    let log = running.log();
    ensure!(status.success(), "{log}");
    let part = |name: &str| -> Result<&str> {
        let (_, behind) = log.split_once(&format!("== {name}\n")).context("no such part")?;
        Ok(behind.split("\n== ").next().unwrap_or_default())
    };
    let runs = |part: &str, what: &str| {
        part.lines().any(|line| line.starts_with("runs ") && line.contains(what))
    };
    let before = part("before")?;
    ensure!(before.contains("nothing to do\n") && before.contains("code 0"), "{log}");
    ensure!(before.contains("its OpenHands runs (pid "), "{log}");
    ensure!(PARTS.iter().all(|what| runs(before, what)), "{log}");
    let after = part("after")?;
    ensure!(after.contains("done: 2 orphans stopped, 1 thing moved"), "{log}");
    ensure!(!PARTS.iter().any(|what| runs(after, what) && !what.contains("action")), "{log}");
    // One that only says that it is a server of a conversation, and another stranger.
    let decoy = "runs python -m openhands.runtime.action_execution_server 302";
    let of_servers = after.lines().filter(|line| line.contains("action_execution_server "));
    let of_servers: Vec<&str> =
        of_servers.filter(|line| line.starts_with("runs ")).map(str::trim).collect();
    ensure!(of_servers == [decoy] && runs(after, "sleep 301"), "{log}");
    ensure!(part("again")?.contains("nothing to do\n"), "{log}");
    Ok(())
}
