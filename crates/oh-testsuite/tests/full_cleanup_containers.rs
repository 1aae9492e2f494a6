//! Containers of OpenHands under a real podman: named, and stopped and started again where that is asked.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said};

const SCRIPT: &str = include_str!("cleanup/containers.sh");

#[test]
fn containers_stop_where_they_are_asked_for_and_an_undo_starts_them_again() -> Result<()> {
    components::program("podman")?;
    let (lab, image) = (Lab::plain()?, tempfile::tempdir()?);
    let mut command = Command::new(components::program("setpriv")?);
    // Ends with the test, whatever ends the test.
    command.args(["--pdeathsig", "KILL"]).arg(components::program("unshare")?);
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
    command.args(["--kill-child=KILL", "sh", "-euc", SCRIPT, "sh"]);
    command.arg(components::built("oh-cleanup")?).arg(lab.root()).arg(image.path());
    let said = Said::from(command.output()?).expect(0)?;
    let part = |name: &str| -> Result<&str> {
        let behind = said.stdout.split_once(&format!("== {name}\n"));
        let (_, behind) = behind.with_context(|| format!("no {name}: {said:?}"))?;
        Ok(behind.split("\n== ").next().unwrap_or_default())
    };
    let end = said.stdout.lines().rfind(|line| line.starts_with("== end ")).unwrap_or_default();
    let agent = end.trim_start_matches("== end ");
    let running = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("runs ")).map(str::to_owned).collect()
    };
    let all = ["my-openhands-runtime-c", "oh-agent-server-b", "openhands-runtime-a"];

    // Without being asked for it is named, with the line that stops it.
    let named = part("named")?;
    let line = format!("where `podman ps` lists it, podman stop {agent}");
    ensure!(named.contains(&line), "{named}");
    ensure!(running(part("all")?) == all, "{said:?}");
    let dry = part("dry")?;
    for name in ["openhands-runtime-a", "oh-agent-server-b"] {
        ensure!(dry.contains(&format!("  stop    the container {name} of podman")), "{dry}");
    }
    ensure!(dry.matches("  stop    the container").count() == 2, "{dry}");
    ensure!(running(dry) == all, "{dry}");

    let done = part("done")?;
    ensure!(done.contains("2 containers stopped"), "{done}");
    ensure!(running(done) == ["my-openhands-runtime-c"], "{done}");
    ensure!(part("again")?.contains("nothing to do"), "{said:?}");

    // The one that was stopped before stays so.
    let undone = part("undo")?;
    ensure!(undone.matches("started   the container").count() == 2, "{undone}");
    ensure!(running(undone) == all, "{undone}");

    // An engine that cannot be asked is said.
    let blind = part("blind")?;
    ensure!(blind.contains("code 4") && running(blind) == all, "{said:?}");
    ensure!(said.stdout.contains("containers of podman: podman ps: exit code 1"), "{said:?}");
    Ok(())
}
