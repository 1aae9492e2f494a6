//! What editors have to stand: alone, one after the other, at once, killed, all stopped; each with
//! its own things, and with a session's application.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{slice, thread};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use oh_model::instance::Server;
use oh_testsuite::instances::{is_root, kill, user_ids};
use oh_testsuite::{components, editor, wait};
use serde_json::{Value, json};

use crate::scene::{BOUND, How, Scene, environment, pid};

/// What tells programs where to keep their things.
const PLACES: [&str; 6] = [
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "TMPDIR",
    "VSCODE_AGENT_FOLDER",
];

/// What stands in the command line of every editor, and of nothing that one starts.
const LISTENER: &str = "--extensions-dir";

/// Started, opened, stopped whole.
pub(crate) fn one(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let instance = scene.start("single")?;
    ensure!(scene.is_running_by_database("single")? == Some(true), "not by the database");
    scene.visit(&scene.browser(), "single")?;
    scene.instances.run(&["stop", "single"])?.expect(0)?;
    scene.all_are_gone(&[instance])
}

/// One of two is stopped; the page and the terminal of the other work on.
pub(crate) fn two_in_sequence(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let first = scene.start("first")?;
    let second = scene.start("second")?;
    {
        let browser = scene.browser();
        scene.visit(&browser, "first")?;
        scene.visit(&browser, "second")?;
        scene.instances.run(&["stop", "first"])?.expect(0)?;
        scene.is_gone(&first)?;
        // nginx has changed its routes meanwhile; the connection of the page lives on.
        let shown = scene.shell_tells(&browser, &second, "pwd")?;
        let folder = scene.instances.lab.at("var/www/github/second");
        ensure!(Path::new(&shown) == folder, "{shown}");
    }
    scene.listens(&second)?;
    let again = scene.instances.ask(&["start", "--repo", "/var/www/github/second"])?;
    ensure!(again["instance"] == second, "{again:#}{second:#}");
    scene.instances.run(&["stop", "second"])?.expect(0)?;
    scene.all_are_gone(&[first, second])
}

/// Three are started at once, are apart, and are stopped at once.
pub(crate) fn three_at_once(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let ids = ["red", "green", "blue"];
    let instances = at_once(&ids, |id| scene.start(id))?;
    for key in ["url", "pid", "supervisor_pid"] {
        let different: BTreeSet<String> =
            instances.iter().map(|instance| instance[key].to_string()).collect();
        ensure!(different.len() == ids.len(), "{key}: {different:?}");
    }
    let ports: BTreeSet<u64> =
        instances.iter().filter_map(|instance| instance["port"].as_u64()).collect();
    let on_ports = instances.iter().filter(|instance| instance["port"] != Value::Null).count();
    ensure!(ports.len() == on_ports, "{ports:?}");
    for id in ids {
        scene.visit(&scene.browser(), id)?;
    }
    at_once(&ids, |id| scene.instances.run(&["stop", id])?.expect(0))?;
    scene.all_are_gone(&instances)
}

/// The editor and who watches it are killed; the next start is as good as the first.
pub(crate) fn a_crash(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let before = scene.start("crashed")?;
    scene.visit(&scene.browser(), "crashed")?;
    let processes = scene.processes_of("crashed")?;
    kill(pid(&before, "supervisor_pid")?)?;
    kill(pid(&before, "pid")?)?;
    let after = scene.start("crashed")?;
    for key in ["pid", "supervisor_pid"] {
        ensure!(after[key] != before[key], "{key}: {before:#}{after:#}");
    }
    // Its place is free at once, so it is the same one.
    ensure!(after["port"] == before["port"], "{before:#}{after:#}");
    let now = scene.processes_of("crashed")?;
    let left: Vec<_> = processes.keys().filter(|pid| now.contains_key(pid)).collect();
    ensure!(left.is_empty(), "left running: {left:?} of {processes:?}");
    scene.visit(&scene.browser(), "crashed")?;
    scene.instances.run(&["stop", "crashed"])?.expect(0)?;
    scene.all_are_gone(&[after])
}

/// All are stopped with one command, and fresh ones start.
pub(crate) fn all_stopped(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let instances =
        ["one", "two", "three"].iter().map(|id| scene.start(id)).collect::<Result<Vec<_>>>()?;
    scene.visit(&scene.browser(), "three")?;
    let stopped = scene.instances.ask(&["stop", "--all"])?;
    ensure!(stopped["stopped"].as_array().is_some_and(|all| all.len() == 3), "{stopped:#}");
    scene.all_are_gone(&instances)?;
    ensure!(scene.instances.home("one").exists(), "what it keeps is gone");

    let fresh = [scene.start("two")?, scene.start("four")?];
    scene.visit(&scene.browser(), "two")?;
    scene.instances.run(&["stop", "--all", "--purge"])?.expect(0)?;
    scene.all_are_gone(&fresh)?;
    for id in ["two", "four"] {
        ensure!(!scene.instances.home(id).exists(), "what {id} keeps is left");
    }
    Ok(())
}

/// A setting and an extension of one are absent in the other, and so is whatever else is kept.
pub(crate) fn each_has_its_own(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let (one, other) = (scene.start("one")?, scene.start("other")?);
    let mut settings: Value = serde_json::from_str(editor::SETTINGS)?;
    settings["window.title"] = json!("a title of one alone");
    scene.settings("one", &settings.to_string())?;
    let package = extension(&scene)?;
    list_extensions(&scene, &one, &["--install-extension", &package])?;
    let of_one = list_extensions(&scene, &one, &["--list-extensions"])?;
    ensure!(of_one.lines().any(|line| line == "example.only-in-one"), "{of_one:?}");
    let of_other = list_extensions(&scene, &other, &["--list-extensions"])?;
    ensure!(!of_other.contains("only-in-one"), "{of_other:?}");
    let mut sockets = Vec::new();
    {
        let browser = scene.browser();
        scene.visit(&browser, "one")?;
        browser.wait_until("the title", BOUND, |b| Ok(b.title()?.contains("of one alone")))?;
        // A command of the extension is there to be run.
        editor::run_command(&browser, "Only in One: Greet", BOUND)?;
        sockets.push(scene.shell_tells(&browser, &one, "echo $VSCODE_IPC_HOOK_CLI")?);
        scene.visit(&browser, "other")?;
        browser.wait_until("the title", BOUND, |b| Ok(b.title()?.contains("other")))?;
        ensure!(!browser.title()?.contains("of one alone"), "{}", browser.title()?);
        sockets.push(scene.shell_tells(&browser, &other, "echo $VSCODE_IPC_HOOK_CLI")?);
    }
    let runtimes = [places_are_its_own(&scene, "one")?, places_are_its_own(&scene, "other")?];
    let [of_one, of_other] = &runtimes;
    ensure!(of_one != of_other, "{of_one:?}");
    // What the command line in a terminal speaks to.
    let open = ipc_sockets(&scene)?;
    for (socket, runtime) in sockets.iter().map(Path::new).zip(&runtimes) {
        ensure!(socket.starts_with(runtime), "{socket:?} is not below {runtime:?}");
        ensure!(open.contains(&socket.to_path_buf()), "{socket:?} is none of {open:?}");
    }
    let is_below = |path: &PathBuf| runtimes.iter().any(|runtime| path.starts_with(runtime));
    ensure!(open.iter().all(is_below), "{open:?} is not all below {runtimes:?}");
    scene.instances.run(&["stop", "--all"])?.expect(0)?;
    scene.all_are_gone(&[one, other])
}

/// A session's workspace opens, and what its terminal starts on its port is its application.
pub(crate) fn a_session(how: How) -> Result<()> {
    let scene = Scene::new(how)?;
    let id = "0123456789abcdef0123456789abcdef";
    let started = scene.instances.ask(&["start", "--session", id, "--apps", "1"])?;
    let instance = &started["instance"];
    scene.listens(instance)?;
    let folder = format!("home/ubuntu/openhands-workspace/{id}");
    ensure!(instance["folder"] == json!(format!("/{folder}")), "{instance:#}");
    let file = format!("only-in-{id}.txt");
    scene.instances.lab.write(&format!("{folder}/{file}"), "x")?;
    scene.settings(id, editor::SETTINGS)?;
    let app = format!("/apps/{id}-0/");
    ensure!(scene.get(&app)?.0 == 502, "somebody answers already: {:?}", scene.get(&app)?);
    {
        let browser = scene.browser();
        scene.visit(&browser, id)?;
        let serve = "/usr/bin/python3 -m http.server --bind 127.0.0.1 $APP_PORT_1";
        scene.type_into_terminal(&browser, serve)?;
        wait::until_true("the application", BOUND, || {
            scene.get(&app).is_ok_and(|(status, text)| status == 200 && text.contains(&file))
        })?;
        browser.open(&scene.instances.lab.url(&app))?;
        browser.wait_until("the application's page", BOUND, |b| Ok(b.source()?.contains(&file)))?;
    }
    scene.instances.run(&["stop", id])?.expect(0)?;
    ensure!(scene.get(&app)?.0 == 404, "{:?}", scene.get(&app)?);
    scene.all_are_gone(slice::from_ref(instance))
}

/// Does the same with several ids at the same time.
fn at_once<T: Send>(ids: &[&str], act: impl Fn(&str) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let workers: Vec<_> = ids.iter().map(|id| scope.spawn(|| act(id))).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|done| done.unwrap_or_else(|_| Err(anyhow!("a worker panicked")))).collect()
    })
}

/// Packs an extension with one command; returns where.
fn extension(scene: &Scene) -> Result<String> {
    let lab = &scene.instances.lab;
    fs::create_dir_all(lab.at("packed/extension"))?;
    let command = json!({ "command": "onlyInOne.greet", "title": "Only in One: Greet" });
    let package = json!({
        "name": "only-in-one",
        "publisher": "example",
        "version": "1.0.0",
        "engines": { "vscode": "^1.60.0" },
        "contributes": { "commands": [command] },
    });
    lab.write("packed/extension/package.json", &package.to_string())?;
    lab.write(
        "packed/extension.vsixmanifest",
        "<PackageManifest Version=\"2.0.0\" \
         xmlns=\"http://schemas.microsoft.com/developer/vsx-schema/2011\"><Metadata>\
         <Identity Language=\"en-US\" Id=\"only-in-one\" Version=\"1.0.0\" Publisher=\"example\"/>\
         </Metadata></PackageManifest>",
    )?;
    let mut pack = Command::new("/usr/bin/python3");
    pack.args(["-m", "zipfile", "-c", "../one.vsix", "extension", "extension.vsixmanifest"]);
    let packed = pack.current_dir(lab.at("packed")).output()?;
    ensure!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    Ok(lab.at("one.vsix").display().to_string())
}

/// Runs the editor's own command line in the environment and as the user of an instance.
fn list_extensions(scene: &Scene, instance: &Value, arguments: &[&str]) -> Result<String> {
    let id = instance["id"].as_str().context("no id")?;
    let program = match instance["server"] == json!(Server::Openvscode.as_str()) {
        true => "openvscode-server",
        false => "code-server",
    };
    let home = scene.instances.home(id);
    let mut command = if is_root()? {
        let (uid, gid) = user_ids()?;
        let mut command = Command::new(components::program("setpriv")?);
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.arg("--clear-groups").arg(scene.instances.lab.at(program));
        command
    } else {
        Command::new(scene.instances.lab.at(program))
    };
    command.env_clear().envs(environment(pid(instance, "pid")?)?).current_dir("/");
    command.arg("--extensions-dir").arg(home.join("extensions"));
    command.arg("--user-data-dir").arg(home.join("data"));
    if program == "openvscode-server" {
        command.arg("--server-data-dir").arg(home.join("agent"));
    }
    let output = command.args(arguments).output().context("the editor's command line")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {text}{errors}");
    Ok(text)
}

/// Demands that each process of an editor has what it keeps in the editor's own folders; returns
/// the one of its sockets.
fn places_are_its_own(scene: &Scene, id: &str) -> Result<PathBuf> {
    let home = scene.instances.home(id);
    let mut runtimes = BTreeSet::new();
    let processes = scene.processes_of(id)?;
    for (pid, line) in &processes {
        if line.contains(" supervise ") {
            continue;
        }
        // One that has ended meanwhile has no places.
        let Ok(pairs) = environment(*pid) else { continue };
        for name in PLACES {
            let place = match pairs.get(name) {
                Some(place) => Path::new(place),
                // VS Code keeps its own variables from what runs in terminals.
                None if name == "VSCODE_AGENT_FOLDER" && !line.contains(LISTENER) => continue,
                None => bail!("{pid} has no {name}: {line}"),
            };
            let (parent, shown) = (place.parent(), place.display());
            ensure!(parent == Some(&home), "{name} of {pid} is {shown}: {line}");
        }
        runtimes.extend(pairs.get("XDG_RUNTIME_DIR").map(PathBuf::from));
    }
    ensure!(runtimes.len() == 1, "{runtimes:?} of {processes:?}");
    let runtime = runtimes.pop_first().context("no folder of sockets")?;
    let all = scene.instances.lab.at("run/oh-editors");
    ensure!(runtime.parent() == Some(&all), "{}", runtime.display());
    for folder in ["data", "extensions", "agent", "tmp"].map(|name| home.join(name)) {
        ensure!(fs::metadata(&folder)?.mode() & 0o77 == 0, "others see {}", folder.display());
    }
    Ok(runtime)
}

/// Returns the sockets of VS Code's command line, of all editors of this root.
fn ipc_sockets(scene: &Scene) -> Result<Vec<PathBuf>> {
    let root = scene.instances.lab.root();
    let sockets = fs::read_to_string("/proc/net/unix")?;
    let paths = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    let ours = paths.filter(|path| path.starts_with(&root) && path.contains("/vscode-ipc-"));
    Ok(ours.map(PathBuf::from).collect())
}
