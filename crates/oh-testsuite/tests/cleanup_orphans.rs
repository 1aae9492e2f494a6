//! What an OpenHands that was killed leaves behind ends with `oh-cleanup`, and nothing else does.

#[path = "cleanup/left.rs"]
mod left;

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;

use anyhow::{Result, ensure};
use left::{BOUND, Left};
use oh_testsuite::wait;

#[test]
fn what_a_killed_openhands_left_ends_and_nothing_else_does() -> Result<()> {
    let left = Left::new()?;
    let decoys = left.decoys()?;
    let mut dead = left.app("dead", true)?;
    let mut alive = left.app("alive", false)?;
    fs::write(format!("{}/notes.txt", dead.workspace), "notes")?;

    let dry = left.run(&["--dry-run"])?.expect(0)?;
    ensure!(dry.stdout.matches("its OpenHands runs (pid ").count() == 2, "{dry:?}");
    ensure!(!dry.stdout.contains("would stop"), "{dry:?}");

    left.kill(&mut dead)?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 1 orphan stopped"), "{said:?}");
    for port in dead.ports {
        ensure!(!left.runs(&port.to_string())?, "{said:?}\n{:?}", left.processes()?);
    }
    // All terminals of a user are of one tmux, and another OpenHands of that user runs.
    ensure!(said.stdout.contains(", which runs, may have its terminals in it"), "{said:?}");
    ensure!(left.runs("-sopenhands-root-")?, "{said:?}");
    let running = left.processes()?;
    for port in alive.ports {
        ensure!(left.runs(&port.to_string())?, "{said:?}\n{running:?}");
    }
    ensure!(decoys.iter().all(|pid| running.contains_key(pid)), "{said:?}\n{running:?}");

    left.kill(&mut alive)?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 2 orphans stopped, 2 things moved"), "{said:?}");
    let running = left.processes()?;
    ensure!(!left.runs("-sopenhands-root-")?, "{said:?}\n{running:?}");
    ensure!(decoys.iter().all(|pid| running.contains_key(pid)), "{said:?}\n{running:?}");
    for gone in [&dead.workspace, &alive.workspace] {
        ensure!(!fs::exists(gone)?, "{said:?}");
    }
    let again = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    left.run(&["undo"])?.expect(0)?;
    ensure!(fs::read_to_string(format!("{}/notes.txt", dead.workspace))? == "notes");
    Ok(())
}

#[test]
fn an_orphan_to_which_somebody_is_connected_stays() -> Result<()> {
    let left = Left::new()?;
    let mut dead = left.app("dead", false)?;
    left.kill(&mut dead)?;
    let browser = TcpStream::connect(("127.0.0.1", dead.ports[2]))?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do\n"), "{said:?}");
    let me = format!("1 connection is open (pid {} (", std::process::id());
    ensure!(said.stdout.contains(&me), "{said:?}");
    ensure!(fs::exists(&dead.workspace)? && left.runs("server-main.js")?, "{said:?}");
    let said = left.run(&["--all", "--yes", "--force-active"])?.expect(0)?;
    ensure!(said.stdout.contains("1 orphan stopped, 1 thing moved"), "{said:?}");
    // Whose connection was ended is told.
    let told = format!("; ends 1 connection of pid {} (", std::process::id());
    ensure!(said.stdout.contains(&told), "{said:?}");
    ensure!(left.processes()?.is_empty(), "{:?}", left.processes()?);
    drop(browser);
    Ok(())
}

#[test]
fn what_is_left_of_an_orphan_is_known_by_its_folder_or_its_group() -> Result<()> {
    let left = Left::new()?;
    let mut dead = left.app("dead", true)?;
    left.kill(&mut dead)?;
    left.kill_part("action_execution_server")?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    // The kernels work in the workspace, tmux was given it, and the editor has the group.
    ensure!(said.stdout.contains("3 orphans stopped, 1 thing moved"), "{said:?}");
    ensure!(said.stdout.contains("with which it shares its process group"), "{said:?}");
    ensure!(left.processes()?.is_empty(), "{said:?}\n{:?}", left.processes()?);
    Ok(())
}

#[test]
fn a_workspace_with_a_repository_stays_where_its_orphan_ends() -> Result<()> {
    let left = Left::new()?;
    let mut dead = left.app("dead", false)?;
    fs::create_dir_all(format!("{}/project/.git", dead.workspace))?;
    left.kill(&mut dead)?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("project in it is a repository of git"), "{said:?}");
    ensure!(left.processes()?.is_empty() && fs::exists(&dead.workspace)?, "{said:?}");
    Ok(())
}

#[test]
fn an_agent_server_and_its_editor_are_known_by_their_sandbox() -> Result<()> {
    let left = Left::new()?;
    let (sandbox, [mut server, mut editor]) = left.sandbox("2Xz")?;
    left.orphan(&mut server, "openhands.agent_server")?;
    left.orphan(&mut editor, "/bin/openvscode-server --host")?;
    let said = left.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("2 orphans stopped, 1 thing moved"), "{said:?}");
    ensure!(left.processes()?.is_empty() && !fs::exists(&sandbox)?, "{said:?}");
    // With a parent that runs, whatever that is, nobody is an orphan.
    let (_, [mut server, _]) = left.sandbox("3Ab")?;
    let mut server = server.process_group(0).spawn()?;
    let said = wait::until("the server to be named", BOUND, || {
        let said = left.run(&["--all", "--dry-run"])?.expect(0)?;
        Ok(said.stdout.contains("started it, and runs").then_some(said))
    });
    server.kill()?;
    server.wait()?;
    ensure!(!said?.stdout.contains("would stop"));
    Ok(())
}

#[test]
fn terminals_in_which_somebody_else_works_stay() -> Result<()> {
    let left = Left::new()?;
    let mut dead = left.app("dead", true)?;
    left.kill(&mut dead)?;
    let srv = left.lab.at("srv").display().to_string();
    let mut own = left.command("/usr/bin/tmux");
    ensure!(own.args(["new-session", "-d", "-s", "mine", "-c", &srv]).status()?.success());
    let said = left.run(&["--processes", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("nobody can tell whether somebody works in it"), "{said:?}");
    ensure!(left.runs("-sopenhands-root-")? && !left.runs("ipykernel_launcher")?, "{said:?}");
    Ok(())
}

#[test]
fn a_folder_whose_path_nobody_can_tell_keeps_its_process_and_no_other() -> Result<()> {
    let left = Left::new()?;
    let (_, [mut server, _]) = left.sandbox("2Xz")?;
    left.orphan(&mut server, "openhands.agent_server")?;
    // The kernel tells no path of more than 4096 bytes. One that works in such a folder, and its parent:
    let script = "import os, sys
child = os.fork() == 0
for _ in range(30 if child else 0):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
port = '8001' if child else '8002'
os.execv(sys.executable, [sys.executable, '-m', 'openhands.agent_server', '--port', port])";
    let (sandbox, _) = left.sandbox("3Ab")?;
    let mut deep = left.command("/usr/bin/python3");
    deep.args(["-c", script]).current_dir(sandbox);
    left.orphan(&mut deep, "-m openhands.agent_server --port 8002")?;
    let deep = "-m openhands.agent_server --port 8001";
    wait::until("the deep one", BOUND, || Ok(left.runs(deep)?.then_some(())))?;
    let said = left.run(&["--processes", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 1 orphan stopped"), "{said:?}");
    ensure!(said.stdout.contains("nobody can tell in which folder it works"), "{said:?}");
    ensure!(left.runs("--port 8001")? && left.runs("--port 8002")?, "{said:?}");
    ensure!(!left.runs("--port 8000")?, "{said:?}");
    Ok(())
}

#[test]
fn a_server_in_a_folder_of_somebodys_own_stays_whatever_its_group_is() -> Result<()> {
    let left = Left::new()?;
    let (workspace, own) = (left.workspace("x")?, left.lab.at("srv").display().to_string());
    // Both of one OpenHands that is gone: they have its group.
    let server = |folder: &str| {
        let module = "openhands.runtime.action_execution_server";
        format!("/usr/bin/python3 -u -m {module} 0 --working-dir {folder} & ")
    };
    let mut both = left.command("/bin/sh");
    both.args(["-c", &(server(&workspace) + &server(&own))]);
    left.orphan(&mut both, "action_execution_server")?;
    wait::until("both servers alone", BOUND, || {
        let all = left.processes()?;
        let are = all.len() == 2 && all.values().all(|line| line.starts_with("/usr/bin/python3 "));
        Ok(are.then_some(()))
    })?;
    let mut terminals = left.command("/usr/bin/tmux");
    terminals.args(["new-session", "-d", "-s", "openhands-root-1", "-c", &workspace]);
    ensure!(terminals.status()?.success(), "tmux failed");
    let said = left.run(&["--processes", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("done: 1 orphan stopped"), "{said:?}");
    ensure!(said.stdout.contains("is no left-over (cleanup.leftovers)"), "{said:?}");
    ensure!(said.stdout.contains(", which runs, may have its terminals in it"), "{said:?}");
    ensure!(left.runs("openhands-root-1")?, "{said:?}");
    let is_gone = !left.runs(&format!("--working-dir {workspace}"))?;
    ensure!(left.runs(&own)? && is_gone, "{said:?}\n{:?}", left.processes()?);
    Ok(())
}
