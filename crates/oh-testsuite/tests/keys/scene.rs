//! A site, records of editors, and editors that ask for a key.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_host::instances::{self, Phase, Record, STATE_SCHEMA, State, Wanted};
use oh_host::process::Identity;
use oh_host::publish::Host;
use oh_host::root::Root;
use oh_host::settings::{self, Wish};
use oh_model::id::InstanceId;
use oh_model::instance::{Key, Server, Subject};
use oh_model::path::InRoot;
use oh_model::port::Port;
use oh_model::upstream::{Target, Upstream};
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::openvscode;
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor};
use serde_json::{Value, json};

/// A cold start of an editor and its first page, on two busy cores.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// The folder of sockets in a laboratory.
pub(crate) const SOCKETS: &str = "sessions.sockets=/run/sockets";

/// A key of a test: 32 times two digits.
pub(crate) fn key(digits: &str) -> String {
    digits.repeat(32)
}

/// The user that runs the tests, and the editors in them.
pub(crate) fn own_uid() -> Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// A site over TLS behind nginx's login.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) sets: Vec<String>,
    /// The login as the value of a header.
    pub(crate) login: String,
    /// The login as a URL has it.
    pub(crate) credentials: String,
}

impl Scene {
    pub(crate) fn new(sets: &[&str]) -> Result<Self> {
        let mut lab = Lab::with_tls()?;
        let config = fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
        lab.write("etc/nginx/nginx.conf", &format!("user www-data;\n{config}"))?;
        lab.start_nginx()?;
        let sets = sets.iter().map(ToString::to_string).collect();
        let mut scene = Self { lab, sets, login: String::new(), credentials: String::new() };
        let password = lab::password(&scene.apply()?)?;
        scene.login = lab::basic("openhands", &password);
        scene.credentials = format!("openhands:{password}");
        Ok(scene)
    }

    /// Publishes, and returns the document that says so.
    pub(crate) fn apply(&self) -> Result<Value> {
        self.lab.run(&self.arguments(&["apply", "--format", "json"]))?.expect(0)?.json()
    }

    /// A command with the settings of the scene.
    pub(crate) fn arguments<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let sets = self.sets.iter().flat_map(|set| ["--set", set.as_str()]);
        command.iter().copied().chain(sets).collect()
    }

    /// Returns where a socket of an editor is, with its folder made.
    pub(crate) fn socket(&self, id: &str) -> Result<PathBuf> {
        let folder = self.lab.at(&format!("run/sockets/vscode/{id}"));
        fs::create_dir_all(&folder)?;
        Ok(folder.join("socket"))
    }

    /// The address of an editor, where sessions have hosts of their own or not.
    pub(crate) fn base(&self, id: &str) -> String {
        match self.sets.iter().any(|set| set.ends_with("=subdomain")) {
            true => format!("https://{id}.localhost:{}/", self.lab.site_port),
            false => self.lab.url(&format!("/vscode/{id}/")),
        }
    }
}

/// Writes a record, and the state that has the key of the editor; the session or the databases are
/// another's to write.
pub(crate) fn put_record(lab: &Lab, record: &Record) -> Result<()> {
    let root = Root::below(&lab.at(""))?;
    instances::write(&root, record)?;
    let state = State {
        schema: STATE_SCHEMA,
        supervisor: Identity::own()?,
        phase: Phase::Ready,
        editor: None,
        generation: record.generation,
        starts: 1,
        key: record.key.clone().filter(|_| record.renews_key()),
        endings: Vec::new(),
        activity: None,
    };
    instances::write_state(&root, &record.id, &state)?;
    Ok(())
}

/// Writes a record and the session file that belongs to it.
pub(crate) fn put_session(lab: &Lab, record: &Record) -> Result<()> {
    put_record(lab, record)?;
    let ours = |transport: &str| json!({ "schema": 1, "upstream": record.upstream.as_str(), "transport": transport });
    let text = match record.target {
        Target::Port(port) => json!({ "vscode_port": port.get(), "toolkit": ours("tcp") }),
        Target::Socket => json!({ "toolkit": ours("unix") }),
    };
    lab.session(record.id.as_str(), &text.to_string())
}

/// Returns this laboratory as the doors to the machine see it.
pub(crate) fn host(lab: &Lab, sets: &[String]) -> Result<Host> {
    let root = Some(lab.root());
    let wish = Wish { config: None, root, sets: sets.to_vec(), environment: Vec::new() };
    Ok(settings::find(&wish)?.into_host())
}

/// The record of an editor of ours.
pub(crate) fn record(id: &str, subject: Subject, server: Server, key: &str) -> Result<Record> {
    Ok(Record {
        id: InstanceId::parse(id)?,
        subject,
        wanted: Wanted::Running,
        server,
        target: Target::Socket,
        apps: Vec::new(),
        upstream: Upstream::StripPrefix,
        folder: InRoot::parse("/srv/workspace")?,
        uid: own_uid()?,
        gid: 0,
        token: "0123456789abcdef".into(),
        announced: true,
        generation: 0,
        key: Some(Key::parse(key).context("no key")?),
        key_is_nginxs: true,
        adopted: false,
        unit: None,
        starter: None,
        created_ms: 1_700_000_000_000,
    })
}

/// The same on a port.
pub(crate) fn on_port(record: Record, port: u16) -> Result<Record> {
    let port = Port::new(port.into()).context("no port")?;
    Ok(Record { target: Target::Port(port), announced: false, ..record })
}

/// An editor that runs and asks for a key.
pub(crate) struct Editor {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    pub(crate) key: String,
    address: String,
    _running: Box<dyn std::any::Any>,
}

impl Editor {
    /// code-server with a password that nobody knows, but for its hash.
    pub(crate) fn code_server(key: &str, socket: Option<&Path>) -> Result<Self> {
        let folder = workspace()?;
        let data = folder.path().join(".data");
        fs::create_dir_all(data.join("User"))?;
        fs::write(data.join("User/settings.json"), editor::SETTINGS)?;
        let config = data.join("config.yaml");
        fs::write(&config, format!("auth: password\nhashed-password: \"{key}\"\n"))?;
        let mut command = Command::new(components::node()?);
        command
            .arg(components::code_server()?)
            .args(["--disable-telemetry", "--disable-workspace-trust"])
            .args(["--disable-update-check", "--disable-proxy"]);
        match socket {
            Some(path) => command.args(["--socket-mode", "666", "--socket"]).arg(path),
            None => command.args(["--bind-addr", "127.0.0.1:0"]),
        };
        command
            .arg("--config")
            .arg(&config)
            .arg("--user-data-dir")
            .arg(&data)
            .arg(folder.path())
            .env("HOME", &data)
            .env("TMPDIR", &data)
            .env_remove("PASSWORD")
            .env_remove("HASHED_PASSWORD")
            .env_remove("XDG_CONFIG_HOME");
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("HTTP server listening on ", BOUND)?;
        let address = line.rsplit(['/', ' ']).find(|part| !part.is_empty()).unwrap_or_default();
        let (address, key, running) = (address.to_owned(), key.to_owned(), Box::new(running));
        Ok(Self { folder, server: Server::CodeServer, key, address, _running: running })
    }

    /// VS Code's own server with a connection token in a file.
    pub(crate) fn openvscode(key: &str, socket: Option<&Path>, more: &[&str]) -> Result<Self> {
        let folder = workspace()?;
        let path = folder.path().display().to_string();
        let socket_text = socket.map(|path| path.display().to_string());
        let mut flags = vec!["--default-folder", path.as_str()];
        flags.extend(socket_text.iter().flat_map(|path| ["--socket-path", path.as_str()]));
        flags.extend(more);
        let running = openvscode::Server::start(&folder.path().join(".data"), key, &flags)?;
        if let Some(socket) = socket {
            fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
        }
        let (address, key) = (running.address.clone(), key.to_owned());
        let running = Box::new(running);
        Ok(Self { folder, server: Server::Openvscode, key, address, _running: running })
    }

    pub(crate) fn port(&self) -> Result<u16> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        port.parse().with_context(|| format!("{:?} has no port", self.address))
    }

    /// What the workbench says at its handshake.
    pub(crate) fn token(&self) -> &str {
        match self.server {
            Server::CodeServer => oh_testsuite::remote_agent::NO_TOKEN,
            Server::Openvscode => &self.key,
        }
    }

    /// Its record, on its port, as the editor of a session.
    pub(crate) fn record(&self, id: &str) -> Result<Record> {
        on_port(self.record_on_socket(id)?, self.port()?)
    }

    /// Its record on a socket.
    pub(crate) fn record_on_socket(&self, id: &str) -> Result<Record> {
        record(id, Subject::Session, self.server, &self.key)
    }
}

/// A folder with a file to know it by.
fn workspace() -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("oh-workspace-").tempdir()?;
    fs::write(folder.path().join("README.md"), "known by this\n")?;
    Ok(folder)
}
