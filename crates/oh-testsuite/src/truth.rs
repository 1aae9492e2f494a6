//! What there is of an instance, by the kernel and by the files, and not by what the product says;
//! and whether the product says the same.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::instances::Instances;

const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";
const LOCKS: &str = "run/openhands-toolkit/locks";

/// How the names begin of what is written beside a file before it takes its place.
const UNFINISHED: &str = ".oht-";

/// Where an instance of a repository with this id has its record.
pub fn record(id: &str) -> String {
    format!("var/lib/openhands-toolkit/instances/{id}.json")
}

/// Where its supervisor writes what it sees.
pub fn state(id: &str) -> String {
    format!("run/openhands-toolkit/instances/{id}.json")
}

/// Demands that nothing is left of the one repository of a root, but for what its editor keeps.
///
/// # Errors
///
/// With what is left.
pub fn nothing_is_left(scene: &Instances, id: &str) -> Result<()> {
    let processes = scene.processes()?;
    ensure!(processes.is_empty(), "left running: {processes:?}");
    for file in [record(id), state(id)] {
        ensure!(!scene.lab.at(&file).exists(), "{file} is left");
    }
    let unfinished = unfinished(&scene.lab.at(""))?;
    ensure!(unfinished.is_empty(), "left: {unfinished:?}");
    let held = leases(scene)?;
    ensure!(held.is_empty(), "left locked: {held:?}");
    for below in ["run/oh-editors", "run/sockets/vscode"] {
        let folder = scene.lab.at(below);
        let count = if folder.exists() { fs::read_dir(&folder)?.count() } else { 0 };
        ensure!(count == 0, "something is left in {below}");
    }
    if scene.lab.at(PORTS).exists() {
        let ports = scene.json(PORTS)?;
        ensure!(ports["instances"] == json!({}), "{ports:#}");
    }
    if scene.lab.at(REPOSITORIES).exists() {
        let known = scene.json(REPOSITORIES)?;
        let all = known["repositories"].as_array().context("a list")?;
        let runs = all.iter().any(|one| one["vscodeRunning"] == json!(true));
        ensure!(!runs, "{known:#}");
    }
    for port in scene.first_port..scene.first_port + 12 {
        TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("{port} is taken"))?;
    }
    ensure!(!is_routed(scene, id)?, "it is routed");
    let listed = scene.run(&["list"])?.expect(0)?;
    ensure!(listed.stdout.starts_with("no instance is recorded"), "{listed:?}");
    scene.run(&["status", id])?.expect(2)?;
    Ok(())
}

/// Demands that the one repository of a root runs whole, and that each command says so; returns
/// what `list` says.
///
/// # Errors
///
/// With what is another way.
pub fn runs_whole(scene: &Instances, id: &str) -> Result<Value> {
    let listed = scene.ask(&["list"])?;
    let all = listed["instances"].as_array().context("a list")?;
    let [instance] = all.as_slice() else { anyhow::bail!("{listed:#}") };
    ensure!(instance["state"] == json!("running"), "{instance:#}");
    let number = |key: &str| {
        let number = instance[key].as_u64().and_then(|number| u32::try_from(number).ok());
        number.with_context(|| format!("no {key}: {instance:#}"))
    };
    let (editor, supervisor) = (number("pid")?, number("supervisor_pid")?);
    let processes = scene.processes()?;
    let guards = processes.values().filter(|line| line.contains(" supervise ")).count();
    ensure!(guards == 1 && processes.contains_key(&supervisor), "{processes:?}");
    let strangers: BTreeMap<_, _> = processes
        .iter()
        .filter(|(pid, _)| **pid != supervisor && !descends(**pid, editor))
        .collect();
    ensure!(strangers.is_empty(), "of no editor's family ({editor}): {strangers:?}");
    // code-server's first process starts the server; VS Code's own is the server.
    let least = if instance["server"] == json!("code-server") { 3 } else { 2 };
    ensure!(processes.len() >= least, "its server is missing: {processes:?}");
    let mut wanted = vec![format!("lease-editor-{id}.lock")];
    if let Some(port) = instance["port"].as_u64() {
        TcpStream::connect(("127.0.0.1", u16::try_from(port)?)).context("nobody listens")?;
        let entry = scene.json(PORTS)?["instances"][id].clone();
        ensure!(entry["port"] == json!(port) && entry["pid"] == json!(supervisor), "{entry:#}");
        wanted.push(format!("lease-{port}.lock"));
    }
    wanted.sort();
    let held = leases(scene)?;
    ensure!(held == wanted, "{held:?} instead of {wanted:?}");
    let record = scene.json(&record(id))?;
    let is_whole = record.get("starter").is_none() && record["announced"] == json!(true);
    ensure!(is_whole && record["wanted"] == json!("running"), "{record:#}");
    ensure!(is_routed(scene, id)?, "it is not routed");
    let status = scene.ask(&["status", id])?;
    ensure!(status["is_well"] == json!(true), "{status:#}");
    ensure!(status["instance"]["listener"]["is"] == json!("own"), "{status:#}");
    Ok(instance.clone())
}

/// Says whether nginx would route an id.
///
/// # Errors
///
/// When nobody tells.
pub fn is_routed(scene: &Instances, id: &str) -> Result<bool> {
    let status = scene.lab.run(&["status", "--format", "json"])?.json()?;
    let routes = status["result"]["routes"].as_array().cloned().unwrap_or_default();
    Ok(routes.iter().any(|route| route["path"] == json!(format!("/vscode/{id}/"))))
}

/// The leases that somebody holds, by the names of their files, sorted.
fn leases(scene: &Instances) -> Result<Vec<String>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(scene.lab.at(LOCKS))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("lease-") {
            continue;
        }
        match File::open(entry.path())?.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => held.push(name),
            Err(TryLockError::Error(fault)) => return Err(fault.into()),
        }
    }
    held.sort();
    Ok(held)
}

/// Files and folders that never got their name.
fn unfinished(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            found.push(entry.path().display().to_string());
        } else if entry.file_type()?.is_dir() {
            found.extend(self::unfinished(&entry.path())?);
        }
    }
    Ok(found)
}

/// Says whether a process is another one, or comes from it.
fn descends(mut pid: u32, from: u32) -> bool {
    while pid > 1 {
        if pid == from {
            return true;
        }
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        // The name of the process, in parentheses, may be anything.
        let behind = stat.rsplit_once(") ").map(|(_, behind)| behind).unwrap_or_default();
        let parent = behind.split(' ').nth(1).and_then(|parent| parent.parse().ok());
        pid = parent.unwrap_or_default();
    }
    false
}
