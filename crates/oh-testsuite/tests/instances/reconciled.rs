//! What the tests of reconciling share.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
pub(crate) use oh_testsuite::instances::end;
use oh_testsuite::instances::{Instances, is_root, user_ids};
use oh_testsuite::lab::Said;
use oh_testsuite::process::Running;
use oh_testsuite::{components, wait};
use serde_json::{Value, json};

/// How long an editor may take to come up again, on two busy cores.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

pub(crate) const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
pub(crate) const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";

/// The calls that change something outside the process, or end one.
const CHANGING: &str = "openat,ftruncate,fchmod,fchown,fchownat,mkdirat,renameat,renameat2,linkat,\
                        symlinkat,utimensat,unlinkat,rmdir,pidfd_send_signal,kill";

pub(crate) fn pid(instance: &Value, key: &str) -> Result<u32> {
    let pid = instance[key].as_u64().with_context(|| format!("no {key}: {instance}"))?;
    Ok(u32::try_from(pid)?)
}

/// Ends the supervisor of an instance, and then its editor, with SIGKILL.
pub(crate) fn kill_all(instance: &Value) -> Result<()> {
    end(pid(instance, "supervisor_pid")?)?;
    end(pid(instance, "pid")?)
}

/// What nginx would route an id to.
pub(crate) fn is_routed(scene: &Instances, id: &str) -> Result<bool> {
    let status = scene.lab.run(&["status", "--format", "json"])?.json()?;
    let routes = status["result"]["routes"].as_array().cloned().unwrap_or_default();
    Ok(routes.iter().any(|route| route["path"] == json!(format!("/vscode/{id}/"))))
}

/// The entry of an instance in the database of ports.
pub(crate) fn entry(scene: &Instances, id: &str) -> Result<Value> {
    Ok(scene.json(PORTS)?["instances"][id].clone())
}

/// Reconciles and returns the steps; what was not done says so.
pub(crate) fn reconcile(scene: &Instances, more: &[&str], code: i32) -> Result<Vec<String>> {
    let arguments = [&["reconcile"], more, &["--format", "json"]].concat();
    let document = scene.run(&arguments)?.expect(code)?.json()?;
    let steps = document["result"]["steps"].as_array().cloned().context("no steps")?;
    let line = |step: &Value| {
        let text = step["step"].as_str().unwrap_or_default();
        let is_done = step["outcome"] != json!("not-done");
        if is_done { text.to_owned() } else { format!("not done: {text}: {}", step["why"]) }
    };
    Ok(steps.iter().map(line).collect())
}

/// What would be done, and what would be left alone.
pub(crate) fn plan(scene: &Instances) -> Result<(Vec<String>, Vec<String>)> {
    let result = scene.ask(&["reconcile", "--dry-run"])?;
    let steps = result["steps"].as_array().cloned().unwrap_or_default();
    let steps = steps.iter().filter_map(|step| step["step"].as_str());
    let left = result["left_alone"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let left =
        left.iter().map(|left| format!("{}: {}", text(&left["subject"]), text(&left["reason"])));
    Ok((steps.map(ToOwned::to_owned).collect(), left.collect()))
}

/// Demands that a run finds nothing to do and does nothing; returns what it leaves alone.
pub(crate) fn settled(scene: &Instances) -> Result<Vec<String>> {
    let said = without_changes(scene, &["reconcile"])?;
    ensure!(said.stdout.starts_with("nothing to do\n"), "{said:?}");
    Ok(plan(scene)?.1)
}

/// Runs a command and demands that it changes no file and signals nobody: by what the files are,
/// and by what it asks of the kernel.
pub(crate) fn without_changes(scene: &Instances, arguments: &[&str]) -> Result<Said> {
    let before = files(scene)?;
    let log = tempfile::NamedTempFile::new()?;
    let tool = scene.command(arguments)?;
    let mut command = Command::new(components::program("strace")?);
    command.env_clear().current_dir("/").arg("-f").arg("-o").arg(log.path());
    command.args(["-e", &format!("trace={CHANGING}"), "--"]);
    command.arg(tool.get_program()).args(tool.get_args());
    let said = Said::from(command.output().context("could not run strace")?).expect(0)?;
    let text = fs::read_to_string(log.path())?;
    let is_change = |line: &&str| {
        let Some((_, call)) = line.split_once(' ') else { return false };
        let call = call.trim_start();
        // The rest of a call that another one came between has been counted.
        let is_call = call.contains('(') && !call.starts_with("<...");
        is_call && (!call.starts_with("openat(") || call.contains("O_CREAT"))
    };
    ensure!(text.lines().count() > 10, "too few calls to be true: {text}");
    let changes: Vec<&str> = text.lines().filter(is_change).collect();
    ensure!(changes.is_empty(), "it changes something: {changes:#?}");
    let after = files(scene)?;
    ensure!(before == after, "{before:#?}{after:#?}");
    Ok(said)
}

/// Each file that the toolkit writes, with its inode and its bytes.
fn files(scene: &Instances) -> Result<BTreeMap<String, (u64, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    for folder in ["var/lib/openhands-toolkit", "run", "var/www", "tmp", "etc"] {
        let folder = scene.lab.at(folder);
        if folder.exists() {
            walk(&folder, &mut found)?;
        }
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut BTreeMap<String, (u64, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.path().display().to_string();
        // What an editor keeps, and what its supervisor sees, changes by itself.
        let own = ["/code-server-", "/run/openhands-toolkit/instances/", "/run/oh-editors/"];
        if own.iter().any(|part| name.contains(part)) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if kind.is_file() {
            found.insert(name, (entry.metadata()?.ino(), fs::read(entry.path())?));
        }
    }
    Ok(())
}

/// Starts code-server as the original application did, with its entries in both databases.
pub(crate) fn editor_of_the_original(scene: &Instances, id: &str, port: u16) -> Result<Running> {
    editor_as(scene, id, port, if is_root()? { Some(user_ids()?) } else { None })
}

/// The same as another user; `None` is whoever runs the test.
pub(crate) fn editor_as(
    scene: &Instances,
    id: &str,
    port: u16,
    user: Option<(u32, u32)>,
) -> Result<Running> {
    let folder = scene.repository(id)?;
    let mut command = Command::new(components::node()?);
    let name = |what: &str| scene.lab.at(&format!("tmp/code-server-{what}-{id}-{port}"));
    let (data, extensions) = (name("userdata"), name("extensions"));
    fs::create_dir_all(scene.lab.at("tmp"))?;
    for folder in [&data, &extensions] {
        fs::create_dir_all(folder)?;
        if let Some((uid, gid)) = user {
            chown(folder, Some(uid), Some(gid))?;
        }
    }
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.env_clear().current_dir("/").arg(components::code_server()?);
    command.arg(scene.lab.at(folder.trim_start_matches('/')));
    command.args(["--bind-addr", &format!("127.0.0.1:{port}"), "--auth", "none"]);
    command.args(["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]);
    command.arg("--user-data-dir").arg(&data).arg("--extensions-dir").arg(&extensions);
    for key in ["HOME", "TMPDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "VSCODE_AGENT_FOLDER"] {
        command.env(key, &data);
    }
    command.env("PATH", "/usr/bin:/bin");
    let mut editor = Running::start(&mut command)?;
    wait::until("the editor of the original", BOUND, || {
        ensure!(!editor.has_ended()?, "it ended: {}", editor.log());
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
    })?;
    editor.wait_for_line("HTTP server listening", BOUND)?;
    tell(scene, id, port, editor.id())?;
    Ok(editor)
}

/// Writes both databases as the original application does for an editor that it started.
pub(crate) fn tell(scene: &Instances, id: &str, port: u16, pid: u32) -> Result<()> {
    let folder = format!("/var/www/github/{id}");
    let entry = json!({ "port": port, "pid": pid, "projectName": id, "repoPath": folder,
                        "startedAt": "2025-11-17T20:08:00.000Z" });
    let ports = json!({ "instances": { id: entry }, "availablePorts": [] });
    scene.lab.write(PORTS, &ports.to_string())?;
    let known = json!({ "repositories": [{ "id": id, "name": id, "path": folder, "type": "folder",
        "addedAt": "2025-11-17T20:08:00.000Z", "vscodePort": port, "vscodeRunning": true }] });
    scene.lab.write(REPOSITORIES, &known.to_string())
}
