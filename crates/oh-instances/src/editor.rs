//! How an editor is started: its folders, its files, its arguments, its environment.
//!
//! Everything that one editor keeps is its own: settings, extensions, agent, temporary files, and
//! what programs in it find by XDG. The folder of all of it is root's, and those in it are the
//! user's, so that what root writes for the editor cannot be led elsewhere. The environment is made
//! here, whole: `PORT` or `VSCODE_IPC_HOOK_CLI` of whoever runs the command would change what it does.

use std::ffi::OsString;

use oh_host::atomic::{self, Meta};
use oh_host::command::SYSTEM_PATH;
use oh_host::instances::{self, Record};
use oh_host::publish::Host;
use oh_host::random;
use oh_host::spawn::Spawn;
use oh_host::users::{OwnerSet, Users, is_root};
use oh_model::instance::{Key, Server, Subject};
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::upstream::{Target, Upstream};
use sha2::{Digest as _, Sha256};

use crate::fault::{Fault, Refusal, SOCKET_PATH_BYTES_MAX};

/// What an editor has for itself, below its folder.
const FOLDERS: [&str; 7] = ["data", "extensions", "agent", "tmp", "config", "share", "cache"];

/// How many hexadecimal digits name the folder of an editor that runs: paths of sockets are short.
const RUNTIME_DIGITS: usize = 12;

/// The longest name that VS Code gives to a socket in `XDG_RUNTIME_DIR`: `vscode-ipc-`, a UUID,
/// `.sock`.
const SOCKET_NAME_BYTES: usize = 52;

/// Where everything of an editor is, as this machine has it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What it keeps.
    pub(crate) home: RealPath,
    /// What it keeps while it runs.
    pub(crate) runtime: RealPath,
    /// What it prints.
    pub(crate) log: RealPath,
    /// Its socket and the folder of it, where it listens on one.
    pub(crate) socket: Option<(RealPath, RealPath)>,
    /// The folder that it opens.
    pub(crate) folder: RealPath,
}

impl Places {
    /// Works out the places of an editor.
    pub(crate) fn of(host: &Host, record: &Record) -> Result<Self, Fault> {
        let settings = &host.settings.instances;
        let id = record.id.folded();
        let below = |folder: &InRoot, name: &str| -> Result<RealPath, PathFault> {
            host.root.real(folder)?.join(name)
        };
        let socket = match (&record.target, &host.settings.sessions.sockets) {
            (Target::Port(_), _) => None,
            (Target::Socket, None) => return Err(Refusal::NoSockets.into()),
            (Target::Socket, Some(sockets)) => {
                let socket = instances::socket(&host.root, sockets, &record.id)?;
                let count = socket.as_str().len();
                if count > SOCKET_PATH_BYTES_MAX {
                    return Err(Refusal::SocketPath { path: socket.to_string(), count }.into());
                }
                let folder = socket.parent();
                Some((socket, folder))
            }
        };
        let runtime = below(&settings.runtime_directory, &runtime_name(&id))?;
        Ok(Self {
            home: below(&settings.directory, &id)?,
            runtime,
            log: below(&settings.log_directory, &format!("{id}.log"))?,
            socket,
            folder: host.root.real(&record.folder)?,
        })
    }

    /// Says what the editor cannot do where it is.
    pub(crate) fn warning(&self) -> Option<String> {
        let count = self.runtime.as_str().len() + 1 + SOCKET_NAME_BYTES;
        (count > SOCKET_PATH_BYTES_MAX).then(|| {
            format!(
                "warning: `code` does not work in terminals of this editor: \
                 {}/vscode-ipc-….sock has {count} bytes, and a socket's path at most \
                 {SOCKET_PATH_BYTES_MAX}; it does below a shorter root or instances.runtime_directory",
                self.runtime
            )
        })
    }
}

/// What an editor keeps where it has no record any more.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) home: RealPath,
    pub(crate) log: RealPath,
    /// Whose it is; `None` where nothing is kept but logs.
    pub(crate) uid: Option<u32>,
}

/// Finds what is kept of an id, in lower case.
pub(crate) fn kept(host: &Host, id: &str) -> Result<Kept, PathFault> {
    use std::os::unix::fs::MetadataExt as _;
    let settings = &host.settings.instances;
    let home = host.root.real(&settings.directory)?.join(id)?;
    let log = host.root.real(&settings.log_directory)?.join(&format!("{id}.log"))?;
    // The folder itself is root's, so nobody else could exchange what is in it.
    let theirs = home.join(FOLDERS[0])?;
    let uid = [&theirs, &home].into_iter().find_map(|folder| {
        let meta = std::fs::symlink_metadata(folder.as_str()).ok()?;
        Some(meta.uid())
    });
    Ok(Kept { home, log, uid })
}

fn runtime_name(id: &str) -> String {
    let digits: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().take(RUNTIME_DIGITS).collect()
}

/// Makes a key of 256 bits.
pub(crate) fn new_key() -> Result<Key, Fault> {
    let digits = random::token()? + &random::token()?;
    Key::parse(&digits).ok_or_else(|| Fault::NotReady("no key could be made".into()))
}

/// Makes the folders and files that the editor needs.
///
/// `sockets_group` is the group that may connect to its socket.
pub(crate) fn prepare(
    host: &Host,
    record: &Record,
    places: &Places,
    sockets_group: Option<u32>,
) -> Result<(), Fault> {
    let root_or_us = |mode| Meta { mode, owner: None };
    let owner = is_root().then_some((record.uid, record.gid));
    let theirs = |mode| Meta { mode, owner };
    let settings = &host.settings.instances;
    // Others pass through these to what is theirs, and see no names.
    for folder in [&settings.directory, &settings.runtime_directory] {
        atomic::create_dirs(&host.root.real(folder)?, root_or_us(0o711))?;
    }
    atomic::create_dirs(&host.root.real(&settings.log_directory)?, root_or_us(0o700))?;
    atomic::create_dirs(&places.home, root_or_us(0o711))?;
    for name in FOLDERS {
        atomic::create_dirs(&places.home.join(name)?, theirs(0o700))?;
    }
    atomic::create_dirs(&places.runtime, theirs(0o700))?;
    if record.subject == Subject::Session {
        let meta = theirs(0o755);
        // It may be below a folder of the user's, and is not below anybody else's.
        match owner {
            Some((uid, _)) => {
                let own = rustix::process::geteuid().as_raw();
                let owners = OwnerSet::of_numbers([uid, own]);
                atomic::create_dirs_among(&places.folder, meta, &owners)
            }
            None => atomic::create_dirs(&places.folder, meta),
        }?;
    }
    if let Some((_, folder)) = &places.socket {
        atomic::create_dirs(&folder.parent(), root_or_us(0o755))?;
        let owner = is_root().then_some((record.uid, sockets_group.unwrap_or(record.gid)));
        // The group of what is made in it is that of nginx's workers.
        atomic::create_dirs(folder, Meta { mode: 0o2750, owner })?;
    }
    let secret = theirs(0o400);
    match record.server {
        Server::CodeServer => {
            let auth = match &record.key {
                Some(key) => {
                    // The cookie that nginx presents is compared with the hash as it stands there;
                    // what visitors enter is hashed first, and so has to stand there itself.
                    let word = if record.key_is_nginxs { "hashed-password" } else { "password" };
                    format!("auth: password\n{word}: \"{}\"\n", key.reveal())
                }
                None => "auth: none\n".into(),
            };
            let text = format!("{auth}cert: false\n");
            atomic::replace(&places.home.join("code-server.yaml")?, text.as_bytes(), secret)?;
        }
        Server::Openvscode => {
            if let Some(key) = &record.key {
                let path = places.home.join("connection-token")?;
                atomic::replace(&path, key.reveal().as_bytes(), secret)?;
            }
        }
    }
    Ok(())
}

/// Says how the editor is started.
pub(crate) fn spawn(host: &Host, record: &Record, places: &Places) -> Result<Spawn, Fault> {
    let program = RealPath::parse(host.settings.instances.program.as_str())?;
    let arguments = match record.server {
        Server::CodeServer => code_server(record, places)?,
        Server::Openvscode => openvscode(record, places)?,
    };
    Ok(Spawn {
        program,
        arguments: arguments.into_iter().map(OsString::from).collect(),
        environment: environment(host, record, places)?,
        token: record.token.clone(),
        folder: places.folder.clone(),
        log: places.log.clone(),
        user: is_root().then_some((record.uid, record.gid)),
        leads_group: true,
        folders: Vec::new(),
    })
}

fn code_server(record: &Record, places: &Places) -> Result<Vec<String>, Fault> {
    let home = |name: &str| places.home.join(name).map(|path| path.to_string());
    let mut arguments = vec!["--config".to_owned(), home("code-server.yaml")?];
    match (&places.socket, record.target.port()) {
        (Some((socket, _)), _) => {
            arguments.extend(["--socket", socket.as_str(), "--socket-mode", "660"].map(Into::into));
        }
        (None, port) => {
            let port = port.map_or(0, |port| port.get());
            arguments.extend(["--bind-addr".into(), format!("127.0.0.1:{port}")]);
        }
    }
    arguments.extend(["--user-data-dir".into(), home("data")?]);
    arguments.extend(["--extensions-dir".into(), home("extensions")?]);
    arguments.extend(["--session-socket".into(), places.runtime.join("session")?.to_string()]);
    arguments.extend(
        [
            "--disable-telemetry",
            "--disable-update-check",
            "--disable-workspace-trust",
            "--disable-getting-started-override",
            // Its own port proxy would lead around every rule about ports.
            "--disable-proxy",
            "--ignore-last-opened",
        ]
        .map(Into::into),
    );
    arguments.push(places.folder.to_string());
    Ok(arguments)
}

fn openvscode(record: &Record, places: &Places) -> Result<Vec<String>, Fault> {
    let home = |name: &str| places.home.join(name).map(|path| path.to_string());
    let mut arguments = match (&places.socket, record.target.port()) {
        (Some((socket, _)), _) => vec!["--socket-path".to_owned(), socket.to_string()],
        (None, port) => {
            let port = port.map_or(0, |port| port.get()).to_string();
            vec!["--host".into(), "127.0.0.1".into(), "--port".into(), port]
        }
    };
    match &record.key {
        Some(_) => arguments.extend(["--connection-token-file".into(), home("connection-token")?]),
        None => arguments.push("--without-connection-token".into()),
    }
    if record.upstream == Upstream::BasePath {
        arguments.extend(["--server-base-path".into(), format!("/vscode/{}", record.id)]);
    }
    arguments.extend(["--server-data-dir".into(), home("agent")?]);
    arguments.extend(["--user-data-dir".into(), home("data")?]);
    arguments.extend(["--extensions-dir".into(), home("extensions")?]);
    arguments.extend(["--default-folder".into(), places.folder.to_string()]);
    arguments.extend(
        ["--accept-server-license-terms", "--disable-workspace-trust", "--telemetry-level", "off"]
            .map(Into::into),
    );
    Ok(arguments)
}

fn environment(
    host: &Host,
    record: &Record,
    places: &Places,
) -> Result<Vec<(OsString, OsString)>, Fault> {
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let user = users.user_of(record.uid);
    let own = |name: &str| places.home.join(name).map(|path| path.to_string());
    // A home that is not the user's (that of `nobody` is nowhere) is none.
    let home = user.map(|user| user.home.as_str()).filter(|home| is_home_of(home, record.uid));
    let home = match home {
        Some(home) => home.to_owned(),
        None => own("share")?,
    };
    let mut pairs = vec![
        ("PATH".to_owned(), SYSTEM_PATH.to_owned()),
        ("LANG".into(), "C.UTF-8".into()),
        ("SHELL".into(), "/bin/bash".into()),
        ("HOME".into(), home),
        ("TMPDIR".into(), own("tmp")?),
        ("XDG_CONFIG_HOME".into(), own("config")?),
        ("XDG_DATA_HOME".into(), own("share")?),
        ("XDG_CACHE_HOME".into(), own("cache")?),
        ("XDG_STATE_HOME".into(), own("share")?),
        ("XDG_RUNTIME_DIR".into(), places.runtime.to_string()),
        ("VSCODE_AGENT_FOLDER".into(), own("agent")?),
    ];
    if let Some(user) = user {
        pairs.push(("USER".into(), user.name.clone()));
        pairs.push(("LOGNAME".into(), user.name.clone()));
    }
    let apps = record.apps.iter().enumerate();
    pairs.extend(apps.map(|(at, port)| (format!("APP_PORT_{}", at + 1), port.to_string())));
    if let Some(origin) = host.settings.site.origin() {
        pairs.push(("OPENHANDS_SITE".into(), origin));
    }
    Ok(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

fn is_home_of(home: &str, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(home).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_runtime_folder_is_short_and_its_own() {
        let (one, other) = (runtime_name("actmcp"), runtime_name("actmcp2"));
        assert_eq!((one.len(), other.len()), (RUNTIME_DIGITS, RUNTIME_DIGITS));
        assert_ne!(one, other);
    }
}
