//! A site with editors of one kind on one transport, and the browser that visits it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, chown};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_config::Transport;
use oh_model::instance::Server;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::instances::{Instances, is_root, user_ids};
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::{editor, wait};
use serde_json::{Value, json};

/// A cold start of an editor's page, on two busy cores.
pub(crate) const BOUND: Duration = Duration::from_secs(180);

const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";

/// The browser of all tests that run at the same time; it ends with the last of them.
static BROWSER: Mutex<Weak<Mutex<Browser>>> = Mutex::new(Weak::new());

/// Which editors there are, and where they listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How(pub(crate) Server, pub(crate) Transport);

/// A site that is configured for one kind of editor; its visitor has answered nginx's login.
pub(crate) struct Scene {
    pub(crate) instances: Instances,
    how: How,
    /// The login as the value of a header.
    login: String,
    browser: Arc<Mutex<Browser>>,
}

impl Scene {
    pub(crate) fn new(how: How) -> Result<Self> {
        let lab = Lab::with_tls()?;
        let instances = Instances::of_kind(lab, how.0, how.1, "")?;
        let lab = &instances.lab;
        let password = lab::password(&lab.run(&["apply", "--format", "json"])?.expect(0)?.json()?)?;
        let login = lab::basic("openhands", &password);
        let scene = Self { instances, how, login, browser: shared_browser()? };
        // The login is answered once, at an address that leads nowhere; later ones carry none.
        let nowhere = scene.instances.lab.url("/vscode/none/");
        let with_login = nowhere.replacen("://", &format!("://openhands:{password}@"), 1);
        scene.browser().open(&with_login)?;
        Ok(scene)
    }

    /// Has the browser for itself.
    pub(crate) fn browser(&self) -> MutexGuard<'_, Browser> {
        self.browser.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the editor of a repository that has a file to know it by.
    pub(crate) fn start(&self, id: &str) -> Result<Value> {
        let folder = self.instances.repository(id)?;
        self.instances.lab.write(&format!("{}/only-in-{id}.txt", folder.trim_matches('/')), "x")?;
        let started = self.instances.ask(&["start", "--repo", &folder])?;
        ensure!(started["ran_before"] == json!(false), "{started:#}");
        let instance = started["instance"].clone();
        ensure!(instance["folder"] == json!(folder), "{instance:#}");
        ensure!(instance["url"] == json!(self.address(id)), "{instance:#}");
        self.listens(&instance)?;
        self.settings(id, editor::SETTINGS)?;
        Ok(instance)
    }

    /// Demands that an instance listens where it has to: on a port of its range or on its socket.
    pub(crate) fn listens(&self, instance: &Value) -> Result<()> {
        let id = instance["id"].as_str().context("no id")?;
        ensure!(instance["server"] == json!(self.how.0.as_str()), "{instance:#}");
        match self.how.1 {
            Transport::Port => {
                let port = port(instance)?;
                let first = self.instances.first_port;
                // Twelve are of repositories, six of sessions.
                ensure!((first..first + 18).contains(&port), "{instance:#}");
                ensure!(TcpListener::bind(("127.0.0.1", port)).is_err(), "nobody has {port}");
            }
            Transport::Unix => {
                ensure!(instance["port"] == Value::Null, "{instance:#}");
                let meta = fs::symlink_metadata(self.socket(id).join("socket"))?;
                ensure!(meta.file_type().is_socket() && meta.mode() & 0o777 == 0o660, "{meta:?}");
                ensure!(fs::metadata(self.socket(id))?.mode() & 0o7 == 0, "anybody may connect");
            }
        }
        ensure!(self.status(id)? == 200, "nginx answers {}", self.status(id)?);
        Ok(())
    }

    /// Demands that an instance which was stopped has left nothing, and that its port is free.
    pub(crate) fn is_gone(&self, instance: &Value) -> Result<()> {
        let id = instance["id"].as_str().context("no id")?;
        let left = self.processes_of(id)?;
        ensure!(left.is_empty(), "left running: {left:?}");
        if self.how.1 == Transport::Port {
            let port = port(instance)?;
            TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("{port} is taken"))?;
        }
        ensure!(!self.socket(id).exists(), "the folder of its socket is left");
        ensure!(self.status(id)? == 404, "nginx answers {}", self.status(id)?);
        let record = format!("var/lib/openhands-toolkit/instances/{id}.json");
        ensure!(!self.instances.lab.at(&record).exists(), "its record is left");
        if instance["subject"] == json!("repository") {
            if self.how.1 == Transport::Port {
                let ports = self.instances.json(PORTS)?;
                ensure!(ports["instances"].get(id).is_none(), "{ports:#}");
                let free = ports["availablePorts"].as_array().context("a list")?;
                ensure!(free.contains(&instance["port"]), "{ports:#}");
            }
            ensure!(self.is_running_by_database(id)? == Some(false), "it runs by the database");
        }
        Ok(())
    }

    /// Demands that nothing at all is left, not even what editors keep only while they run.
    pub(crate) fn all_are_gone(&self, instances: &[Value]) -> Result<()> {
        for instance in instances {
            self.is_gone(instance)?;
        }
        let left = self.instances.processes()?;
        ensure!(left.is_empty(), "left running: {left:?}");
        for below in ["run/oh-editors", "run/sockets/vscode", "tmp/openhands-sessions"] {
            let path = self.instances.lab.at(below);
            let entries = if path.exists() { fs::read_dir(&path)?.count() } else { 0 };
            ensure!(entries == 0, "{below} is not empty");
        }
        Ok(())
    }

    /// Says what the database of repositories has about one.
    pub(crate) fn is_running_by_database(&self, id: &str) -> Result<Option<bool>> {
        let text = self.instances.json(REPOSITORIES)?;
        let known = text["repositories"].as_array().context("a list")?;
        let known = known.iter().find(|known| known["id"] == json!(id));
        Ok(known.and_then(|known| known["vscodeRunning"].as_bool()))
    }

    /// Returns what nginx answers to a visitor who asks whether an editor is well.
    pub(crate) fn status(&self, id: &str) -> Result<u16> {
        let health = match self.how.0 {
            Server::CodeServer => "healthz",
            Server::Openvscode => "version",
        };
        Ok(self.get(&format!("/vscode/{id}/{health}"))?.0)
    }

    /// Asks for a path as a visitor; returns the status and the body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.instances.lab.get(path, &[("Authorization", &self.login)])?;
        Ok((answer.status, answer.text()))
    }

    /// The public address of an editor.
    pub(crate) fn address(&self, id: &str) -> String {
        self.instances.lab.url(&format!("/vscode/{id}/"))
    }

    /// Opens an editor's page and demands that it shows the files of its folder, and of no other,
    /// and that its key stands in no address.
    pub(crate) fn visit(&self, browser: &Browser, id: &str) -> Result<()> {
        let address = self.address(id);
        browser.open(&address)?;
        browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
        let file = format!("only-in-{id}.txt");
        browser.wait_until(&file, BOUND, |browser| Ok(explorer(browser)?.contains(&file)))?;
        let files = explorer(browser)?;
        ensure!(files.matches("only-in-").count() == 1, "{files}");
        let dialogs = browser.script(
            "return [...document.querySelectorAll('.monaco-dialog-box')].map((d) => d.innerText)",
            &[],
        )?;
        ensure!(dialogs == json!([]), "a dialog: {dialogs}");

        let url = browser.url()?;
        ensure!(url.starts_with(address.trim_end_matches('/')), "{url} is not below {address}");
        let folder = if self.how.1 == Transport::Port { "run" } else { "var/lib" };
        let has_key = format!("{folder}/openhands-toolkit/instances/{id}.json");
        let has_key = self.instances.json(&has_key)?;
        let key = has_key["key"].as_str().context("the editor asks for no key")?.to_owned();
        ensure!(!url.contains("tkn") && !url.contains(&key), "{url}");
        let asked = "return performance.getEntries().map((entry) => entry.name)";
        let asked: Vec<String> = serde_json::from_value(browser.script(asked, &[])?)?;
        ensure!(asked.iter().any(|address| address.contains("/vscode/")), "nothing was asked for");
        // VS Code's own page knows its token, and asks with it for files of extensions.
        let is_its_own = |address: &&String| {
            self.how.0 == Server::Openvscode && address.contains("/vscode-remote-resource?")
        };
        let with_key =
            asked.iter().filter(|address| address.contains(&key) && !is_its_own(address));
        let with_key: Vec<_> = with_key.collect();
        ensure!(with_key.is_empty(), "the key stands in addresses: {with_key:?}");
        Ok(())
    }

    /// Runs a line in a new terminal of the page that is open.
    pub(crate) fn type_into_terminal(&self, browser: &Browser, line: &str) -> Result<()> {
        // On a busy machine a page may be asked before it can have one; a second one does no harm.
        let focused = |bound| {
            editor::run_command(browser, "Terminal: Create New Terminal", BOUND)?;
            browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", bound)
        };
        focused(BOUND / 3).or_else(|_| focused(BOUND))?;
        browser.type_text(line)?;
        browser.press(&[Key::Enter])
    }

    /// Returns what a line writes in a terminal of the instance's page, which is open.
    pub(crate) fn shell_tells(
        &self,
        browser: &Browser,
        instance: &Value,
        line: &str,
    ) -> Result<String> {
        let folder = instance["folder"].as_str().context("no folder")?;
        let proof = self.instances.lab.at(folder.trim_matches('/')).join("proof");
        self.type_into_terminal(browser, &format!("{line} > proof"))?;
        wait::until("the file that the terminal writes", BOUND, || {
            let text = fs::read_to_string(&proof).unwrap_or_default();
            Ok(text.strip_suffix('\n').map(str::to_owned))
        })
    }

    /// Writes the settings of an editor's user as their own file.
    pub(crate) fn settings(&self, id: &str, text: &str) -> Result<()> {
        let user = self.instances.home(id).join("data/User");
        fs::create_dir_all(&user)?;
        fs::write(user.join("settings.json"), text)?;
        if is_root()? {
            let (uid, gid) = user_ids()?;
            chown(user.join("settings.json"), Some(uid), Some(gid))?;
            chown(user, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// The folder of an editor's socket.
    fn socket(&self, id: &str) -> PathBuf {
        self.instances.lab.at(&format!("run/sockets/vscode/{id}"))
    }

    /// Returns the processes of an instance, its supervisor among them.
    pub(crate) fn processes_of(&self, id: &str) -> Result<BTreeMap<u32, String>> {
        let own = self.instances.home(id).join("tmp").display().to_string();
        let supervisor = format!(" supervise {id} ");
        let mut all = self.instances.processes()?;
        all.retain(|pid, line| {
            let its = environment(*pid).is_ok_and(|pairs| pairs.get("TMPDIR") == Some(&own));
            its || line.contains(&supervisor)
        });
        Ok(all)
    }
}

/// Returns the environment of a process.
pub(crate) fn environment(pid: u32) -> Result<BTreeMap<String, String>> {
    let text = fs::read(format!("/proc/{pid}/environ"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Returns a process of an instance.
pub(crate) fn pid(instance: &Value, key: &str) -> Result<u32> {
    let pid = instance[key].as_u64().with_context(|| format!("no {key}: {instance:#}"))?;
    Ok(u32::try_from(pid)?)
}

/// Returns the port of an instance.
fn port(instance: &Value) -> Result<u16> {
    let port = instance["port"].as_u64().with_context(|| format!("no port: {instance:#}"))?;
    Ok(u16::try_from(port)?)
}

/// Returns what the explorer of the page that is open shows.
fn explorer(browser: &Browser) -> Result<String> {
    let text = "return document.querySelector('.explorer-folders-view')?.innerText ?? ''";
    Ok(browser.script(text, &[])?.as_str().unwrap_or_default().to_owned())
}

fn shared_browser() -> Result<Arc<Mutex<Browser>>> {
    let mut shared = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(browser) = shared.upgrade() {
        return Ok(browser);
    }
    let browser = Arc::new(Mutex::new(Browser::start()?));
    *shared = Arc::downgrade(&browser);
    Ok(browser)
}
