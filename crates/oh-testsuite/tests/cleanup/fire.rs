//! The big scene: real editors with open terminals, what they and a dead OpenHands left, and innocents
//! of every kind. It stands in namespaces of its own.
//!
//! What is to burn is put there by [`Fire::fuel`], and what is to survive by [`Fire::innocents`]; a new kind
//! of left-over is a line in the one or the other, and a name in what [`Fire::names`] expects afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::sockets::Connections;
use oh_model::port::Port;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::instances::{kill, user_ids};
use oh_testsuite::net::{self, WebSocket};
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, remote_agent, wait};
use rustix::fs::{CWD, RenameFlags};
use serde_json::json;

use crate::everything::everything;
use crate::left::Left;
use crate::old_site;
use crate::scene::{Decoys, PORTS, Scene};

/// How long something of an editor may take, on two busy cores.
const BOUND: Duration = Duration::from_secs(120);

/// How many precious files there are.
const PRECIOUS: usize = 8000;

/// What a foreign file of nginx says, in the folder in which older scripts keep theirs.
const FOREIGN: &str = "location /foreign/ {\n    return 204;\n}\n";

/// An old file for nginx that is broken.
const BROKEN: &str = "etc/nginx/vscode-projects/gone.conf";

/// A user who has nothing to do with it.
const STRANGER: u32 = 4242;

/// An editor of the original application's.
struct Editor {
    id: String,
    port: u16,
    running: Running,
    agent: String,
}

impl Editor {
    /// The command lines of what works in its folder, as its terminals do, or has its variables.
    fn lines(&self, scene: &Scene) -> Result<Vec<String>> {
        let folder = scene.instances.lab.at(&format!("var/www/github/{}", self.id));
        let mut lines = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let path = entry.path();
            // One that is gone has nothing, and what is no process neither.
            let text = |name: &str| {
                let bytes = fs::read(path.join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let is_in = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
            if is_in || text("environ").contains(&self.agent) {
                lines.push(text("cmdline").trim().to_owned());
            }
        }
        Ok(lines)
    }
}

/// How somebody works in an editor.
#[expect(dead_code, reason = "it is enough that they are there")]
enum Attached {
    /// A WebSocket to its remote agent.
    Socket(Box<WebSocket>),
    Browser(Browser),
}

/// The scene; dropping it ends all of it.
pub(crate) struct Fire {
    /// In whose terminal the tool is run.
    around: Editor,
    /// In which somebody works.
    busy: Editor,
    /// With terminals that somebody has left open.
    idle: Vec<Editor>,
    _attached: Attached,
    browser: Browser,
    decoys: Decoys,
    others: Vec<Running>,
    precious: PathBuf,
    /// Last: the others end before it.
    scene: Scene,
}

impl Drop for Fire {
    fn drop(&mut self) {
        // What was started in terminals is in groups of its own; all of it has our root's name.
        let all = [&mut self.around, &mut self.busy].into_iter().chain(&mut self.idle);
        all.for_each(|one| drop(one.running.stop()));
        self.others.iter_mut().for_each(|one| drop(one.stop()));
        drop(wait::until_true("the end of all", BOUND, || {
            let left = self.scene.instances.processes().unwrap_or_default();
            left.keys().for_each(|pid| drop(kill(*pid)));
            left.is_empty()
        }));
        let mount = self.scene.instances.lab.at("tmp/code-server-bound/inside");
        drop(Command::new("umount").arg(mount).status());
    }
}

impl Fire {
    /// Lights it, with this many editors; `is_full` for a whole browser that works in one.
    pub(crate) fn set(editors: u16, is_full: bool) -> Result<Self> {
        let scene = Scene::new()?;
        scene.instances.start("hello")?;
        let browser = Browser::start()?;
        let around = edit(&scene, "around", 1, None)?;
        let busy = edit(&scene, "busy", 2, Some(user_ids()?))?;
        let mut idle = Vec::new();
        for nth in 3..=editors {
            idle.push(edit(&scene, &format!("idle{nth}"), nth, Some(user_ids()?))?);
        }
        for one in &idle {
            terminal(&browser, &scene, one)?;
            run_in_terminal(&browser, "sleep 3000")?;
            wait::until(&format!("a job in {}", one.id), BOUND, || {
                Ok(one.lines(&scene)?.iter().any(|line| line == "sleep 3000").then_some(()))
            })?;
        }
        // It ends, and with it whatever it keeps open to what it has left.
        drop(browser);
        let browser = Browser::start()?;
        let attached = if is_full {
            let browser = Browser::start()?;
            terminal(&browser, &scene, &busy)?;
            Attached::Browser(browser)
        } else {
            Attached::Socket(Box::new(attach(&busy)?))
        };
        terminal(&browser, &scene, &around)?;
        let precious = scene.instances.lab.at("home/precious");
        let decoys = scene.decoys()?;
        let (others, _attached) = (Vec::new(), attached);
        let mut fire =
            Self { around, busy, idle, _attached, browser, decoys, others, precious, scene };
        fire.innocents()?;
        fire.fuel()?;
        // A browser keeps connections for a while to what it has left.
        for one in &fire.idle {
            let port = Port::new(one.port.into()).context("a port")?;
            wait::until(&format!("nobody in {}", one.id), BOUND, || {
                Ok((Connections::look()?.to_port(port) == 0).then_some(()))
            })?;
        }
        Ok(fire)
    }

    /// Puts down what goes.
    fn fuel(&self) -> Result<()> {
        let scene = &self.scene;
        // What an OpenHands that was killed leaves running: all ends with the namespaces, if not before.
        let left = ManuallyDrop::new(Left::in_lab(&scene.instances.lab)?);
        left.kill(&mut left.app("dead", true)?)?;
        // An old file for nginx that ends too early, so that nginx refuses all.
        scene.old_site(&scene.include_all())?;
        let whole = old_site::text("gone", scene.instances.first_port + 12, "/var/www/github/gone");
        let torn = whole.split("    # Timeouts").next().context("a file")?;
        scene.instances.lab.write(BROKEN, torn)?;
        scene.leave("tmp/code-server-userdata-gone-8890/User/settings.json", "{}")?;
        scene.leave("tmp/code-server-config-8891/config.yaml", "a")?;
        scene.leave("tmp/vscode-agent-gone-8890/data/a", "a")?;
        scene.leave("tmp/vscode-ipc-gone.sock", "no socket any more")?;
        scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
        // What announces one that ends, and what it logs as long as it lives.
        for one in self.idle.iter().take(1) {
            let text = format!("{{\"vscode_port\": {}}}", one.port);
            scene.leave("tmp/openhands-sessions/idle.json", &text)?;
            let log = format!("tmp/code-server-{}-{}.log", one.id, one.port);
            scene.instances.lab.write(&log, "young")?;
        }
        scene.enter_dead("gone", scene.instances.first_port + 12)?;
        // Last: nothing enters itself in what is torn.
        let whole = scene.text(PORTS)?;
        let torn = whole.get(..whole.len() - 20).context("a database")?;
        fs::write(scene.instances.lab.at(PORTS), torn)?;
        Ok(())
    }

    /// Puts down what stays, beside the decoys of every scene.
    fn innocents(&mut self) -> Result<()> {
        let lab = &self.scene.instances.lab;
        for number in 0..PRECIOUS {
            let folder = self.precious.join((number % 100).to_string());
            if number < 100 {
                fs::create_dir_all(&folder)?;
            }
            fs::write(folder.join(number.to_string()), "ten years")?;
        }
        // Mounted in what would go.
        let inside = lab.at("tmp/code-server-bound/inside");
        fs::create_dir_all(&inside)?;
        let mount = components::program("mount")?;
        let status = Command::new(mount).arg("--bind").args([&self.precious, &inside]).status()?;
        ensure!(status.success(), "mount: {status}");
        // Behind links that are exchanged all the time.
        let (tree, links) = self.swapped();
        for number in 0..100 {
            fs::create_dir_all(tree.join(number.to_string()))?;
            fs::create_dir_all(&links)?;
            symlink(self.precious.join(number.to_string()), links.join(number.to_string()))?;
        }
        // A foreign file of nginx.
        fs::create_dir_all(lab.at("etc/nginx/vscode-projects"))?;
        lab.write("etc/nginx/vscode-projects/foreign.conf", FOREIGN)?;
        // A checkout of the editor's sources, at work.
        let checkout = lab.at("tmp/code-server-src");
        fs::create_dir_all(checkout.join("out/node"))?;
        fs::create_dir_all(checkout.join("node_modules"))?;
        fs::write(checkout.join("package.json"), "{\"name\": \"code-server\"}")?;
        let script = "console.log('up'); setInterval(() => {}, 1000000)";
        fs::write(checkout.join("out/node/entry.js"), script)?;
        let mut command = Command::new(components::node()?);
        command.arg(checkout.join("out/node/entry.js")).arg("--user-data-dir");
        command.arg(lab.at("home/own-data")).current_dir(&checkout).env_clear();
        let mut running = Running::start(&mut command)?;
        running.wait_for_line("up", BOUND)?;
        self.others.push(running);
        // Another user's editor, named as ours are.
        let theirs = edit_as(&self.scene, "theirs", 13, Some((STRANGER, STRANGER)), false)?;
        self.others.push(theirs.running);
        Ok(())
    }

    /// A folder of an editor that ends, and links of the names of what is in it.
    fn swapped(&self) -> (PathBuf, PathBuf) {
        let lab = &self.scene.instances.lab;
        let whose = self.idle.first().map(|one| format!("{}-{}", one.id, one.port));
        let tree = lab.at(&format!("tmp/code-server-extensions-{}", whose.unwrap_or_default()));
        (tree, lab.at("home/links"))
    }

    /// Runs the tool in the terminal of an editor, and demands the clean state.
    pub(crate) fn is_put_out(&self) -> Result<()> {
        let lab = &self.scene.instances.lab;
        let before = (everything(&self.precious)?, self.names()?);
        let out = lab.at("out").display().to_string();
        let tool = lab.built("oh-cleanup")?.get_program().to_string_lossy().into_owned();
        let script = format!(
            "{tool} --all --yes --root {} >{out} 2>&1; echo \"exit $?\" >>{out}\n",
            lab.root()
        );
        lab.write("put-out", &script)?;
        let is_over = AtomicBool::new(false);
        let (swaps, swapped) = (AtomicU64::new(0), self.swapped());
        let said = std::thread::scope(|scope| {
            scope.spawn(|| swap(&swapped, &is_over, &swaps));
            let said = run_in_terminal(&self.browser, &format!("sh {}/put-out", lab.root()));
            let said = said.and_then(|()| {
                wait::until("the end of the tool", BOUND, || {
                    let text = fs::read_to_string(&out).unwrap_or_default();
                    Ok(text.contains("\nexit ").then_some(text))
                })
            });
            is_over.store(true, Ordering::Relaxed);
            said.with_context(|| {
                let text = fs::read_to_string(&out).unwrap_or_default();
                let lines = self.around.lines(&self.scene).unwrap_or_default();
                format!("it said {text:?}; there are {lines:#?}")
            })
        })?;
        ensure!(swaps.into_inner() > 1000, "too few exchanges");
        ensure!(said.ends_with("exit 0\n"), "{said}");
        self.is_clean(&said).with_context(|| said.clone())?;
        ensure!(everything(&self.precious)? == before.0, "something precious is gone: {said}");
        // From elsewhere, and again: nothing.
        let again = self.scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(again.stdout.starts_with("nothing to do"), "{again:?}");
        // All comes back as it was: the torn database too, of which no routes can be made.
        let undone = self.scene.run(&["undo"])?.expect(1)?;
        ensure!(undone.stdout.matches("not back  ").count() == 2, "{undone:?}");
        // nginx would not start with it.
        ensure!(undone.stdout.contains(&format!("{BROKEN}\n")), "{undone:?}");
        ensure!(undone.stdout.contains("not back  the routes"), "{undone:?}");
        ensure!(self.names()? == before.1, "{:#?}\n{:#?}", self.names()?, before.1);
        Ok(())
    }

    /// What is in the folder of left-overs.
    fn names(&self) -> Result<BTreeSet<String>> {
        let entries = fs::read_dir(self.scene.instances.lab.at("tmp"))?.flatten();
        Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    fn is_clean(&self, said: &str) -> Result<()> {
        let (scene, lab) = (&self.scene, &self.scene.instances.lab);
        // Those that end: all of them, and nothing of them waited for the grace.
        let stopped = format!("{} editors, 2 orphans stopped", self.idle.len() + 1);
        ensure!(said.contains(&stopped), "{stopped}");
        let killed = said.lines().filter(|line| line.contains(" by KILL"));
        ensure!(killed.clone().count() == self.idle.len() + 3);
        ensure!(
            killed.clone().all(|line| line.ends_with(", 0 by KILL")),
            "the grace was waited for"
        );
        for one in &self.idle {
            ensure!(one.running.has_ended()?, "{} lives", one.id);
            let left = one.lines(scene)?;
            ensure!(left.is_empty(), "of {}: {left:?}", one.id);
            TcpListener::bind(("127.0.0.1", one.port)).with_context(|| one.id.clone())?;
        }
        // Those that stay, with all that is theirs.
        for (one, why) in
            [(&self.around, "this very command runs in it"), (&self.busy, "works in it")]
        {
            ensure!(!one.running.has_ended()?, "{} is gone", one.id);
            let line = format!("an editor on port {}: ", one.port);
            let line = said.lines().find(|said| said.contains(&line));
            ensure!(line.is_some_and(|line| line.contains(why)), "{}: {why}", one.id);
            let answer = net::get(&format!("http://127.0.0.1:{}/healthz", one.port), &[])?;
            ensure!(answer.status == 200, "{}", one.id);
        }
        ensure!(self.decoys.live()?, "a decoy is gone");
        for one in &self.others {
            ensure!(!one.has_ended()?, "an innocent is gone: {}", one.log());
        }
        let stays = |name: &str| {
            name.contains("-around-") || name.contains("-busy-") || name.contains("-theirs-")
        };
        let known =
            ["code-server-bound", "code-server-src", "code-server-4.100.3", "openhands-sessions"];
        let wrong: Vec<String> = self
            .names()?
            .into_iter()
            .filter(|name| name.starts_with("code-server") || name.contains("vscode"))
            .filter(|name| !stays(name) && !known.contains(&name.as_str()))
            .collect();
        ensure!(wrong.is_empty(), "left: {wrong:?}");
        for one in [&self.around, &self.busy] {
            let own = format!("code-server-userdata-{}-{}", one.id, one.port);
            ensure!(self.names()?.contains(&own), "{own} is gone");
        }
        ensure!(
            fs::read_dir(lab.at("tmp/openhands-sessions"))?.next().is_none(),
            "a session is left"
        );
        ensure!(lab.at("tmp/code-server-bound/inside/0/0").exists());
        ensure!(scene.text("etc/nginx/vscode-projects/foreign.conf")? == FOREIGN);
        // What was broken does not break nginx any more.
        ensure!(!lab.at(BROKEN).exists() && said.contains("new workers serve what is left"));
        ensure!(!left_alive(scene)?, "an orphan lives");
        ensure!(!lab.at("tmp/openhands_workspace_dead").exists(), "its workspace is left");
        // Databases: whole, in their shape, with those that stay and no others.
        let ports = scene.instances.json(PORTS)?;
        let entries = ports["instances"].as_object().context("an object")?;
        let ids: Vec<&str> = entries.keys().map(String::as_str).collect();
        ensure!(ids == ["around", "busy"], "{ports:#}");
        let free = ports["availablePorts"].as_array().context("a list")?;
        ensure!(free.len() == 10, "{ports:#}");
        ensure!(free.iter().all(|port| *port != json!(self.busy.port)), "{ports:#}");
        ensure!(!scene.is_routed("hello")?, "hello is routed");
        Ok(())
    }
}

/// Says whether anything runs that a killed OpenHands left.
fn left_alive(scene: &Scene) -> Result<bool> {
    ManuallyDrop::new(Left { lab: &scene.instances.lab }).processes().map(|all| !all.is_empty())
}

/// Exchanges entries of a tree with links, by their paths.
fn swap((tree, links): &(PathBuf, PathBuf), is_over: &AtomicBool, swaps: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        for number in 0..100 {
            let [one, other] = [tree, links].map(|folder| folder.join(number.to_string()));
            // Once it is moved away there is nothing to exchange.
            let done = rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
            swaps.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
        }
    }
}

/// Starts an editor, enters it in the databases, and waits until it answers.
fn edit(scene: &Scene, id: &str, nth: u16, user: Option<(u32, u32)>) -> Result<Editor> {
    edit_as(scene, id, nth, user, true)
}

fn edit_as(
    scene: &Scene,
    id: &str,
    nth: u16,
    user: Option<(u32, u32)>,
    is_entered: bool,
) -> Result<Editor> {
    let (lab, port) = (&scene.instances.lab, scene.instances.first_port + nth);
    let own = |kind: &str| lab.at(&format!("tmp/code-server-{kind}-{id}-{port}"));
    let agent = lab.at(&format!("tmp/vscode-agent-{id}-{port}"));
    let home = lab.at(&format!("home/{id}"));
    let data = own("userdata");
    fs::create_dir_all(data.join("User"))?;
    fs::write(data.join("User/settings.json"), editor::SETTINGS)?;
    fs::create_dir_all(&home)?;
    let folder = scene.instances.repository(id)?;
    let folder = lab.at(folder.trim_start_matches('/'));
    let mut command = Command::new(components::node()?);
    command.arg(components::code_server()?).arg(&folder);
    command.args(["--bind-addr", &format!("127.0.0.1:{port}"), "--auth", "none"]);
    command.args(["--disable-workspace-trust", "--disable-update-check", "--disable-telemetry"]);
    command.arg("--user-data-dir").arg(&data).arg("--extensions-dir").arg(own("extensions"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SHELL", "/bin/bash");
    command.env("HOME", &home).env("VSCODE_AGENT_FOLDER", &agent).current_dir("/");
    if let Some((uid, gid)) = user {
        for path in [&home, &data, &data.join("User"), &data.join("User/settings.json")] {
            chown(path, Some(uid), Some(gid))?;
        }
        command.uid(uid).gid(gid);
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
    let running = Running::start(&mut command)?;
    wait::until(&format!("the editor {id}"), BOUND, || {
        ensure!(!running.has_ended()?, "it ended: {}", running.log());
        let answer = net::get(&format!("http://127.0.0.1:{port}/healthz"), &[]);
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })?;
    // Another one may answer there.
    ensure!(!running.has_ended()?, "{id} ended: {}", running.log());
    if is_entered {
        scene.enter_dead(id, port)?;
    }
    Ok(Editor { id: id.to_owned(), port, running, agent: agent.display().to_string() })
}

/// Opens an editor in the browser, and a terminal in it.
fn terminal(browser: &Browser, scene: &Scene, one: &Editor) -> Result<()> {
    let folder = scene.instances.lab.at(&format!("var/www/github/{}", one.id));
    browser.open(&format!("http://127.0.0.1:{}/?folder={}", one.port, folder.display()))?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
    editor::run_command(browser, "Terminal: Create New Terminal", BOUND)?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    Ok(())
}

fn run_in_terminal(browser: &Browser, line: &str) -> Result<()> {
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    browser.type_text(line)?;
    browser.press(&[Key::Enter])
}

/// Opens a WebSocket as a workbench does, and leaves it open.
fn attach(one: &Editor) -> Result<WebSocket> {
    let base = format!("http://127.0.0.1:{}/", one.port);
    let page = net::get(&format!("{base}?folder=/"), &[])?.text();
    let commit = remote_agent::commit(&page)?;
    let query = "reconnectionToken=4f1c0000-0000-4000-8000-000000000001&reconnection=false";
    let url = format!("{base}stable-{commit}?{query}&skipWebSocketFrames=false");
    net::upgrade(&url, &[])?.open()
}
