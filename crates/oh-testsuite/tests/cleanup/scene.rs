//! A machine on fire: editors of the original application's, what they left, and innocent others.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use oh_testsuite::instances::{Instances, is_root, user_ids};
use oh_testsuite::lab::Said;
use oh_testsuite::{components, net, wait};
use serde_json::json;

pub(crate) const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
pub(crate) const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";

/// How long an editor may take to answer, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// Longer than what is left over has to be old.
const LONG_AGO: Duration = Duration::from_secs(7200);

/// The laboratory, with the databases of the original application.
pub(crate) struct Scene {
    pub(crate) instances: Instances,
}

/// A program that a test started; it ends with it.
pub(crate) struct Running {
    child: std::cell::RefCell<Child>,
    pub(crate) port: u16,
}

impl Running {
    fn new(child: Child, port: u16) -> Self {
        Self { child: child.into(), port }
    }

    /// Says whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.child.borrow_mut().try_wait(), Ok(Some(_)))
    }

    /// Ends it, and all of its group.
    pub(crate) fn end(&self) {
        let mut child = self.child.borrow_mut();
        // Its group: code-server's child has the port for some seconds more.
        if let Ok(None) = child.try_wait()
            && let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed())
        {
            rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
        }
        drop(child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Those that have nothing to do with it.
pub(crate) struct Decoys(Vec<Running>);

impl Decoys {
    /// Says whether all of them live.
    pub(crate) fn live(&self) -> Result<bool> {
        Ok(self.0.iter().all(|one| !one.is_over()))
    }

    /// Says whether a process is one of them, or was started by one.
    pub(crate) fn contains(&self, pid: &u32) -> bool {
        let group = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let behind = stat.rsplit_once(") ").map(|(_, behind)| behind.to_owned());
            behind.and_then(|behind| behind.split(' ').nth(2)?.parse::<u32>().ok())
        };
        self.0.iter().any(|one| group(*pid) == Some(one.child.borrow().id()))
    }
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let instances = Instances::new("")?;
        let lab = &instances.lab;
        fs::create_dir_all(lab.at("tmp/openhands-sessions"))?;
        fs::set_permissions(lab.at("tmp"), fs::Permissions::from_mode(0o1777))?;
        let first = instances.first_port;
        let available: Vec<u16> = (first..first + 12).collect();
        let (ports, repositories) = (
            json!({ "instances": {}, "availablePorts": available }),
            json!({ "repositories": [] }),
        );
        lab.write(PORTS, &format!("{ports:#}"))?;
        lab.write(REPOSITORIES, &format!("{repositories:#}"))?;
        Ok(Self { instances })
    }

    /// Runs `oh-cleanup` on this root.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = self.instances.lab.built("oh-cleanup")?;
        command.env_clear().current_dir("/").args(arguments);
        command.arg("--root").arg(self.instances.lab.root()).stdin(Stdio::null());
        Ok(command.output().context("could not run oh-cleanup")?.into())
    }

    /// Runs a cleanup that has something to do; returns the name of its run.
    pub(crate) fn moved_by(&self, arguments: &[&str]) -> Result<String> {
        let said = self.run(&[arguments, &["--format", "json"]].concat())?.expect(0)?.json()?;
        Ok(said["result"]["run"].as_str().context("a run")?.to_owned())
    }

    /// Starts an editor as the original application did, on one of its ports, and enters it in the
    /// databases.
    pub(crate) fn historic(&self, id: &str, nth: u16) -> Result<Running> {
        let port = self.instances.first_port + nth;
        let folder = self.instances.repository(id)?;
        let at = |below: &str| self.instances.lab.at(below).display().to_string();
        let own = |kind: &str| at(&format!("tmp/code-server-{kind}-{id}-{port}"));
        let agent = at(&format!("tmp/vscode-agent-{id}-{port}"));
        let mut command = Command::new(components::node()?);
        command.arg(components::code_server()?).arg(at(folder.trim_start_matches('/')));
        command.args(["--bind-addr", &format!("127.0.0.1:{port}"), "--auth", "none"]);
        command.args(["--disable-telemetry", "--disable-update-check"]);
        command.arg("--disable-workspace-trust");
        command.args(["--user-data-dir", &own("userdata"), "--extensions-dir", &own("extensions")]);
        let running = self.editor(command, port, &agent)?;
        // It makes its folders when somebody looks at it first.
        let settings = own("userdata");
        wait::until("the editor's folder of settings", BOUND, || {
            net::get(&format!("http://127.0.0.1:{port}/"), &[])?;
            Ok(Path::new(&settings).exists().then_some(()))
        })?;
        let pid = running.child.borrow().id();
        self.enter(id, &folder, port, pid)?;
        Ok(running)
    }

    /// Enters an editor of which nothing runs.
    pub(crate) fn enter_dead(&self, id: &str, port: u16) -> Result<()> {
        let folder = self.instances.repository(id)?;
        self.enter(id, &folder, port, 1)
    }

    /// Enters an editor in both databases, as the original application does.
    fn enter(&self, id: &str, folder: &str, port: u16, pid: u32) -> Result<()> {
        let mut ports = self.instances.json(PORTS)?;
        ports["instances"][id] = json!({
            "port": port, "pid": pid, "projectName": id,
            "repoPath": folder, "startedAt": "2025-11-17T21:22:00.000Z",
        });
        let free = ports["availablePorts"].as_array().cloned().unwrap_or_default();
        let free: Vec<_> = free.into_iter().filter(|one| *one != json!(port)).collect();
        ports["availablePorts"] = json!(free);
        fs::write(self.instances.lab.at(PORTS), format!("{ports:#}"))?;
        let mut repositories = self.instances.json(REPOSITORIES)?;
        let entry = json!({
            "id": id, "name": id, "path": folder, "type": "git", "addedAt": "2025-11-17T21:22:00.000Z",
            "vscodePort": port, "vscodeRunning": true,
        });
        if let Some(all) = repositories["repositories"].as_array_mut() {
            all.push(entry);
        }
        fs::write(self.instances.lab.at(REPOSITORIES), format!("{repositories:#}"))?;
        Ok(())
    }

    /// Starts an editor as the editors' user, and waits until it answers.
    fn editor(&self, mut command: Command, port: u16, agent: &str) -> Result<Running> {
        let home = self.instances.lab.at("home/editor");
        fs::create_dir_all(&home)?;
        if is_root()? {
            let (uid, gid) = user_ids()?;
            chown(&home, Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home);
        command.env("VSCODE_AGENT_FOLDER", agent).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running::new(command.current_dir("/").spawn()?, port);
        wait::until("the editor to answer", BOUND, || {
            let answer = net::get(&format!("http://127.0.0.1:{port}/healthz"), &[]);
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })?;
        Ok(running)
    }

    /// Starts what looks like an editor and is none, or is none of ours.
    pub(crate) fn decoys(&self) -> Result<Decoys> {
        let at = |below: &str| self.instances.lab.at(below).display().to_string();
        let mut decoys = Vec::new();
        for name in ["vim code-server.conf", "code-server", "/usr/bin/code-server"] {
            let mut command = Command::new("sleep");
            command.arg0(name).arg("300").process_group(0).env_clear();
            decoys.push(Running::new(command.spawn()?, 0));
        }
        let mut shell = Command::new("bash");
        let words = "sleep 300 # node entry.js --user-data-dir /tmp/code-server-userdata-x-8888";
        shell.args(["-c", &format!("{words}\ntrue")]).process_group(0).env_clear();
        decoys.push(Running::new(shell.spawn()?, 0));
        // The same program, the same user, and folders that are no left-overs.
        let port = self.instances.first_port + 20;
        let mut other = Command::new(components::node()?);
        other.arg(components::code_server()?).args(["--auth", "none"]);
        other.args(["--bind-addr", &format!("127.0.0.1:{port}")]);
        other.args([
            "--user-data-dir",
            &at("home/editor/own"),
            "--extensions-dir",
            &at("home/editor/ext"),
        ]);
        decoys.push(self.editor(other, port, &at("home/editor/agent"))?);
        // The same folders' names, another user.
        if is_root()? {
            let theirs = self.instances.lab.at("tmp/code-server-userdata-theirs-8899");
            fs::create_dir_all(&theirs)?;
            chown(&theirs, Some(4242), Some(4242))?;
        }
        fs::create_dir_all(self.instances.lab.at("tmp/code-server-4.100.3/bin"))?;
        Ok(Decoys(decoys))
    }

    /// Leaves a file behind, in folders that nobody has changed for long.
    pub(crate) fn leave(&self, below: &str, text: &str) -> Result<()> {
        let above = Path::new(below).parent().context("a folder")?;
        fs::create_dir_all(self.instances.lab.at(&above.to_string_lossy()))?;
        self.instances.lab.write(below, text)?;
        let then = SystemTime::now() - LONG_AGO;
        let mut here = Path::new(below);
        while here.starts_with("tmp/") && here != Path::new("tmp") {
            fs::File::open(self.instances.lab.at(&here.to_string_lossy()))?.set_modified(then)?;
            here = here.parent().context("tmp")?;
        }
        Ok(())
    }

    /// Reads a file below the root.
    pub(crate) fn text(&self, below: &str) -> Result<String> {
        Ok(fs::read_to_string(self.instances.lab.at(below))?)
    }

    /// Every name below a folder, with what a rename must not change.
    pub(crate) fn tree(&self, below: &str) -> Result<String> {
        let mut lines = Vec::new();
        list(&self.instances.lab.at(below), &mut lines)?;
        lines.sort();
        Ok(lines.join("\n"))
    }

    /// Every name directly in a folder, with which very thing it is: what is in it may change, where an
    /// editor runs.
    pub(crate) fn things(&self, below: &str) -> Result<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.instances.lab.at(below))? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            lines.push(format!(
                "{} {:o} {} {}",
                path.display(),
                meta.mode(),
                meta.uid(),
                meta.ino()
            ));
        }
        lines.sort();
        Ok(lines.join("\n"))
    }

    /// What nginx would route an id to.
    pub(crate) fn is_routed(&self, id: &str) -> Result<bool> {
        let status = self.instances.lab.run(&["status", "--format", "json"])?.json()?;
        let routes = status["result"]["routes"].as_array().cloned().unwrap_or_default();
        Ok(routes.iter().any(|route| route["path"] == json!(format!("/vscode/{id}/"))))
    }
}

fn list(path: &Path, lines: &mut Vec<String>) -> Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    let is_folder = meta.is_dir();
    // A folder that others write into changes its time: what is in it is in the list.
    let time = if is_folder { 0 } else { meta.mtime_nsec() };
    lines.push(format!(
        "{} {:o} {} {} {time}",
        path.display(),
        meta.mode(),
        meta.uid(),
        meta.ino()
    ));
    if is_folder {
        for entry in fs::read_dir(path)? {
            list(&entry?.path(), lines)?;
        }
    }
    Ok(())
}
