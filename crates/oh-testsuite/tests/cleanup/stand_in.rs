//! Programs that are editors by what they are called and given, and behave as no real one can be made to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use oh_testsuite::components;
use oh_testsuite::process::Running;

use crate::scene::Scene;

/// How long a shell may take to begin.
const BOUND: Duration = Duration::from_secs(20);

/// Writes the program of a stand-in, and returns its command: a shell that runs `script`, and has an
/// editor's arguments for the port.
pub(crate) fn command(scene: &Scene, id: &str, port: u16, script: &str) -> Result<Command> {
    let lab = &scene.instances.lab;
    fs::create_dir_all(lab.at(&format!("home/{id}")))?;
    let program = format!("home/{id}/code-server");
    lab.write(&program, script)?;
    fs::set_permissions(lab.at(&program), fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new(components::program("bash")?);
    command.arg(lab.at(&program)).args(["--bind-addr", &format!("127.0.0.1:{port}")]);
    command.arg("--user-data-dir").arg(lab.at(&format!("tmp/code-server-userdata-{id}-{port}")));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    Ok(command)
}

/// Starts a stand-in and waits until it says that it is up.
pub(crate) fn start(scene: &Scene, id: &str, port: u16, script: &str) -> Result<Running> {
    let mut running = Running::start(&mut command(scene, id, port, script)?)?;
    running.wait_for_line("up", BOUND)?;
    Ok(running)
}

/// What an editor does that waits for ever.
pub(crate) const WAITS: &str = "echo up; while :; do sleep 1000; done\n";
