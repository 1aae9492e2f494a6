//! A machine on which OpenHands was killed: what it leaves is started by a stand-in, with the command
//! lines, folders, environment, groups and sessions of the real one.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::is_root;
use oh_testsuite::lab::{Lab, Said};
use oh_testsuite::{components, wait};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long Python and tmux may take to start all of it, on two busy cores.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Python as Debian has it: others are scripts, and become another program.
const PYTHON: &str = "/usr/bin/python3";

/// The variable by which a test finds all that it started, whatever became of its parents.
const MARK: &str = "OHT_TEST_LEFT";

const FILES: [(&str, &str); 10] = [
    ("openhands/__init__.py", ""),
    ("openhands/server/__init__.py", ""),
    ("openhands/server/__main__.py", include_str!("openhands/app.py")),
    ("openhands/runtime/__init__.py", ""),
    (
        "openhands/runtime/action_execution_server.py",
        include_str!("openhands/action_execution_server.py"),
    ),
    ("openhands/agent_server/__init__.py", ""),
    ("openhands/agent_server/__main__.py", "import signal\n\nsignal.pause()\n"),
    ("jupyter.py", include_str!("openhands/jupyter.py")),
    ("ipykernel_launcher.py", include_str!("openhands/ipykernel_launcher.py")),
    ("bin/jupyter-kernelgateway", include_str!("openhands/serve.py")),
];

const EDITOR: &str = "openhands/.openvscode-server";

const SERVER_MAIN: &str = "const at = process.argv.indexOf('--port');
require('net').createServer(() => {}).listen(Number(process.argv[at + 1]), '127.0.0.1');
";

/// The laboratory, or a part of another one.
pub(crate) struct Left<L: Borrow<Lab> = Lab> {
    pub(crate) lab: L,
}

/// An OpenHands with one conversation.
pub(crate) struct App {
    child: Child,
    pub(crate) workspace: String,
    /// Of the server of the conversation, of its kernels, of its editor.
    pub(crate) ports: [u16; 3],
}

impl Drop for App {
    fn drop(&mut self) {
        // What it leaves ends with the laboratory.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl<L: Borrow<Lab>> Drop for Left<L> {
    fn drop(&mut self) {
        // What is made meanwhile is found by the next look.
        while let Ok(all) = self.processes()
            && !all.is_empty()
        {
            all.keys().for_each(|pid| end(*pid, Signal::KILL));
        }
    }
}

/// Signals a process, if it is there.
fn end(pid: u32, signal: Signal) {
    let number = Pid::from_raw(pid.cast_signed());
    if let Some(open) = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
        // One that has ended meanwhile is as it is to be.
        pidfd_send_signal(open, signal).ok();
    }
}

impl Left {
    pub(crate) fn new() -> Result<Self> {
        Self::in_lab(Lab::plain()?)
    }
}

impl<L: Borrow<Lab>> Left<L> {
    /// Puts the programs of OpenHands into a laboratory.
    pub(crate) fn in_lab(lab: L) -> Result<Self> {
        let left = Self { lab };
        let lab = left.lab();
        for (path, text) in FILES {
            let path = lab.at("opt").join(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        let editor = lab.at("opt").join(EDITOR);
        for folder in ["bin", "out"] {
            fs::create_dir_all(editor.join(folder))?;
        }
        fs::write(editor.join("out/server-main.js"), SERVER_MAIN)?;
        let (node, script) = (components::node()?, editor.join("bin/openvscode-server"));
        let main = editor.join("out/server-main.js");
        let text = format!("#!/bin/sh\n{} {} \"$@\"\n", node.display(), main.display());
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        for folder in ["tmp", "tmux", "srv"] {
            fs::create_dir_all(lab.at(folder))?;
        }
        fs::set_permissions(lab.at("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::set_permissions(lab.at("tmux"), fs::Permissions::from_mode(0o700))?;
        for folder in ["", "opt", "tmp", "srv"] {
            // Other users have things here too.
            let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
            fs::set_permissions(lab.at(folder), fs::Permissions::from_mode(mode))?;
        }
        Ok(left)
    }

    fn lab(&self) -> &Lab {
        self.lab.borrow()
    }

    /// Runs `oh-cleanup` on this root.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = self.lab().built("oh-cleanup")?;
        command.env_clear().current_dir("/").args(arguments);
        command.arg("--root").arg(self.lab().root()).stdin(Stdio::null());
        Ok(command.output().context("could not run oh-cleanup")?.into())
    }

    /// A command whose process, and what it starts, ends with the laboratory.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.lab().at("srv"));
        command.env(MARK, self.lab().root()).env("TMUX_TMPDIR", self.lab().at("tmux"));
        command.env("PYTHONPATH", self.lab().at("opt")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/");
        command
    }

    /// Makes a workspace, as OpenHands makes one for a conversation.
    pub(crate) fn workspace(&self, id: &str) -> Result<String> {
        let path = self.lab().at(&format!("tmp/openhands_workspace_{id}"));
        fs::create_dir_all(&path)?;
        Ok(path.display().to_string())
    }

    /// Starts OpenHands with a conversation, and waits for all that belongs to it.
    pub(crate) fn app(&self, id: &str, has_terminals: bool) -> Result<App> {
        let workspace = self.workspace(id)?;
        let ports = free_ports()?;
        let mut command = self.command(PYTHON);
        command.args(["-m", "openhands.server", &workspace]).process_group(0);
        command.args(ports.map(|port| port.to_string()));
        command.env("STAND_IN_TERMINALS", if has_terminals { "1" } else { "0" });
        let app = App { child: command.spawn()?, workspace, ports };
        let mut wanted = vec![
            format!("action_execution_server {}", ports[0]),
            format!(
                "jupyter-kernelgateway --KernelGatewayApp.ip=0.0.0.0 --KernelGatewayApp.port={}",
                ports[1]
            ),
            "ipykernel_launcher".to_owned(),
            format!("server-main.js --host 0.0.0.0 --connection-token T --port {}", ports[2]),
        ];
        if has_terminals {
            wanted.push("tmux new-session -P -F#{session_id} -sopenhands-root-".to_owned());
        }
        wait::until("what OpenHands starts", BOUND, || {
            let all = self.processes()?;
            let runs = |what: &String| all.values().any(|line| line.contains(what));
            let listens = ports.iter().all(|port| {
                // It is asked by nobody: a connection would be one.
                TcpListener::bind(("127.0.0.1", *port)).is_err()
            });
            Ok((wanted.iter().all(runs) && listens).then_some(()))
        })?;
        Ok(app)
    }

    /// Kills OpenHands itself.
    pub(crate) fn kill(&self, app: &mut App) -> Result<()> {
        app.child.kill()?;
        app.child.wait()?;
        Ok(())
    }

    /// Kills a process by a part of its command line, and waits until it is gone.
    pub(crate) fn kill_part(&self, part: &str) -> Result<()> {
        let found = self.processes()?.into_iter().find(|(_, line)| line.contains(part));
        let (pid, _) = found.with_context(|| format!("{part} does not run"))?;
        end(pid, Signal::KILL);
        wait::until("its end", BOUND, || Ok((!self.processes()?.contains_key(&pid)).then_some(())))
    }

    /// Starts something that loses its parent at once; returns its number.
    pub(crate) fn orphan(&self, command: &mut Command, line: &str) -> Result<u32> {
        let before = self.processes()?;
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut setsid = self.command("/usr/bin/setsid");
        setsid.arg("--fork").arg(program).args(arguments);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                setsid.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            setsid.current_dir(folder);
        }
        ensure!(setsid.status()?.success(), "setsid failed");
        wait::until("an orphan", BOUND, || {
            let all = self.processes()?;
            let fresh =
                all.iter().find(|(pid, one)| !before.contains_key(pid) && one.contains(line));
            Ok(fresh.map(|(pid, _)| *pid))
        })
    }

    /// All that the laboratory started and that runs, with its arguments.
    pub(crate) fn processes(&self) -> Result<BTreeMap<u32, String>> {
        let mark = format!("{MARK}={}", self.lab().root());
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let at = Path::new("/proc").join(pid.to_string());
            let environment = fs::read(at.join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()) {
                let line = fs::read(at.join("cmdline")).unwrap_or_default();
                found.insert(pid, String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        Ok(found)
    }

    /// Says whether anything runs that has a text among its arguments.
    pub(crate) fn runs(&self, text: &str) -> Result<bool> {
        Ok(self.processes()?.values().any(|line| line.contains(text)))
    }

    /// Starts what looks like something of OpenHands', and is none of it or none of ours.
    pub(crate) fn decoys(&self) -> Result<Vec<u32>> {
        let workspace = self.workspace("decoys")?;
        let mut decoys = Vec::new();
        // An action server with a folder that is somebody's own.
        let folder = self.lab().at("srv").display().to_string();
        // It has terminals of its own: those of the others are not its.
        let mut own = self.server(&folder);
        own.env("TMUX_TMPDIR", &folder);
        decoys.push(self.orphan(&mut own, "--working-dir")?);
        // Those whose arguments only say it.
        let line = "python -u -m openhands.runtime.action_execution_server 1 --working-dir";
        for (name, words) in [
            ("vim", "action_execution_server.py".to_owned()),
            ("bash", format!("{line} {workspace}")),
        ] {
            let script = format!("exec -a {name} sleep 300");
            let mut command = self.command("/bin/bash");
            command.args(["-c", &format!("{script} # {words}")]).current_dir(&workspace);
            decoys.push(self.orphan(&mut command, "300")?);
        }
        let mut shell = self.command("/bin/bash");
        shell.args(["-c", &format!("sleep 301; true # {line} {workspace}")]);
        decoys.push(self.orphan(shell.current_dir(&workspace), "sleep 301; true")?);
        // Somebody's own kernels and terminals, in a folder with the very name.
        let program = self.lab().at("opt/bin/jupyter-kernelgateway").display().to_string();
        let [port, ..] = free_ports()?;
        let mut kernels = self.command(PYTHON);
        kernels.args([&program, "--KernelGatewayApp.ip=0.0.0.0"]);
        kernels.arg(format!("--KernelGatewayApp.port={port}")).current_dir(&workspace);
        decoys.push(self.orphan(&mut kernels, &format!("port={port}"))?);
        let mut terminals = self.command("/usr/bin/tmux");
        terminals.args(["-L", "mine", "new-session", "-d", "-s", "mine", "-c", &workspace]);
        // It comes back when the server that it leaves behind runs.
        ensure!(terminals.status()?.success(), "tmux failed");
        let server = self.processes()?.into_iter().find(|(_, line)| line.contains("tmux -L mine"));
        decoys.extend(server.map(|(pid, _)| pid));
        // The same as ours, another user's.
        if is_root()? {
            let theirs = self.workspace("theirs")?;
            chown(&theirs, Some(4242), Some(4242))?;
            let mut command = self.command("/usr/bin/setpriv");
            command.args(["--reuid=4242", "--regid=4242", "--clear-groups", "--", PYTHON]);
            command.args(self.server(&theirs).get_args());
            decoys.push(self.orphan(&mut command, &format!("--working-dir {theirs}"))?);
        }
        Ok(decoys)
    }

    /// The command of an agent server that works in a sandbox of its own, and that of its editor.
    pub(crate) fn sandbox(&self, id: &str) -> Result<(String, [Command; 2])> {
        let sandbox = self.lab().at(&format!("tmp/openhands-sandboxes/{id}"));
        fs::create_dir_all(&sandbox)?;
        let mut server = self.command(PYTHON);
        server.args(["-m", "openhands.agent_server", "--port", "8000"]).current_dir(&sandbox);
        let mut editor = self.command("/bin/sh");
        let [port, ..] = free_ports()?;
        editor.arg(self.lab().at("opt").join(EDITOR).join("bin/openvscode-server"));
        editor.args(["--host", "0.0.0.0", "--connection-token", "T", "--port"]);
        editor.arg(port.to_string()).arg("--disable-workspace-trust").current_dir(&sandbox);
        Ok((sandbox.display().to_string(), [server, editor]))
    }

    /// The command of an action server that does nothing.
    fn server(&self, workspace: &str) -> Command {
        let mut command = self.command(PYTHON);
        command.args(["-u", "-m", "openhands.runtime.action_execution_server", "0"]);
        command.args(["--working-dir", workspace]);
        command
    }
}

fn free_ports() -> Result<[u16; 3]> {
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
