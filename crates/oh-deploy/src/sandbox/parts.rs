//! The programs of a sandbox: what each is, where it listens, how it is started.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use oh_host::atomic::Meta;
use oh_host::command::SYSTEM_PATH;
use oh_host::spawn::Spawn;
use oh_host::users::{Users, is_root};
use oh_model::path::RealPath;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::fault::SandboxFault;
use super::record::Home;

/// The user that root's editors run as: whoever reaches an editor's port on this machine has a
/// terminal of that user, so it must not be root's.
const EDITOR_USER: &str = "nobody";

/// A program of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// The stand-in for OpenHands.
    Openhands,
    /// The session's application.
    App,
    /// The session's editor.
    SessionEditor,
    /// The repository's editor.
    RepositoryEditor,
    /// The web server.
    Nginx,
}

impl Part {
    /// All parts, in the order in which they are started.
    pub(crate) const ALL: [Self; 5] =
        [Self::Openhands, Self::App, Self::SessionEditor, Self::RepositoryEditor, Self::Nginx];

    /// Returns the name of the part's log and folder.
    pub(crate) const fn slug(self) -> &'static str {
        match self {
            Self::Openhands => "openhands",
            Self::App => "app",
            Self::SessionEditor => "session-editor",
            Self::RepositoryEditor => "repository-editor",
            Self::Nginx => "nginx",
        }
    }

    /// Says whether the part is an editor.
    pub(crate) const fn is_editor(self) -> bool {
        matches!(self, Self::SessionEditor | Self::RepositoryEditor)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Openhands => "the stand-in for OpenHands",
            Self::App => "the application of the session",
            Self::SessionEditor => "the editor of the session",
            Self::RepositoryEditor => "the editor of the repository",
            Self::Nginx => "nginx",
        })
    }
}

/// Works out how a part is started.
pub(crate) fn spawn(facts: &Facts, part: Part, token: &str) -> Result<Spawn, SandboxFault> {
    let home = &facts.home;
    let port = facts.ports.of(part);
    let listen = format!("127.0.0.1:{port}");
    match part {
        Part::Nginx => {
            plain(facts, part, token, facts.nginx.program.as_str(), &nginx_arguments(home)?)
        }
        Part::Openhands => {
            let mut arguments: Vec<String> = vec!["openhands".into(), "--listen".into(), listen];
            for (part, path) in facts.links() {
                arguments.extend(["--link".into(), format!("{part}={path}")]);
            }
            plain(facts, part, token, &facts.stand_in, &arguments)
        }
        Part::App => {
            let arguments =
                ["app", "--listen", &listen, "--name", "sandbox"].map(ToString::to_string);
            plain(facts, part, token, &facts.stand_in, &arguments)
        }
        Part::SessionEditor => editor(facts, part, token, port, &facts.session_folder()?),
        Part::RepositoryEditor => editor(facts, part, token, port, &facts.repository_folder()?),
    }
}

fn nginx_arguments(home: &Home) -> Result<Vec<String>, SandboxFault> {
    let config = home.at("etc/nginx/nginx.conf")?;
    Ok(["-c", config.as_str(), "-g", "daemon off;"].map(ToString::to_string).to_vec())
}

fn plain(
    facts: &Facts,
    part: Part,
    token: &str,
    program: &str,
    arguments: &[String],
) -> Result<Spawn, SandboxFault> {
    Ok(Spawn {
        program: path(program)?,
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: pairs(&[("PATH", SYSTEM_PATH), ("LC_ALL", "C.UTF-8")]),
        token: token.into(),
        folder: facts.home.at("var")?,
        log: facts.home.at(&format!("var/log/{}.log", part.slug()))?,
        user: None,
        leads_group: true,
        folders: Vec::new(),
    })
}

/// An editor has everything to itself: data, extensions, configuration, temporary files.
fn editor(
    facts: &Facts,
    part: Part,
    token: &str,
    port: u16,
    folder: &RealPath,
) -> Result<Spawn, SandboxFault> {
    let own = |name: &str| facts.home.at(&format!("var/lib/editors/{}/{name}", part.slug()));
    let Some(install) = &facts.editor else {
        return Err(SandboxFault::Record {
            path: part.slug().into(),
            why: "no editor is installed".into(),
        });
    };
    let user = editor_user(&facts.home);
    let names = ["data", "extensions", "agent", "tmp", "config", "home", "cache", "run"];
    let folders = names
        .iter()
        .map(|name| Ok((own(name)?, Meta { mode: 0o700, owner: user })))
        .collect::<Result<Vec<_>, SandboxFault>>()?;
    let bind = format!("127.0.0.1:{port}");
    let (data, extensions, config) = (own("data")?, own("extensions")?, own("config")?);
    let config_file = config
        .join("code-server.yaml")
        .map_err(|source| SandboxFault::Path { dir: config.to_string(), source })?;
    let arguments = [
        install.code_server.as_str(),
        "--bind-addr",
        &bind,
        // nginx asks for the login; the port itself is on the loopback only.
        "--auth",
        "none",
        "--config",
        config_file.as_str(),
        "--user-data-dir",
        data.as_str(),
        "--extensions-dir",
        extensions.as_str(),
        "--disable-telemetry",
        "--disable-update-check",
        "--disable-workspace-trust",
        "--disable-getting-started-override",
        // Its own port proxy would lead around every rule about ports.
        "--disable-proxy",
        "--ignore-last-opened",
        folder.as_str(),
    ];
    let search = format!("{}:{SYSTEM_PATH}", install.node.parent());
    let environment = pairs(&[
        ("PATH", &search),
        ("LC_ALL", "C.UTF-8"),
        ("SHELL", "/bin/bash"),
        ("HOME", own("home")?.as_str()),
        ("TMPDIR", own("tmp")?.as_str()),
        ("XDG_CONFIG_HOME", config.as_str()),
        ("XDG_DATA_HOME", data.as_str()),
        ("XDG_CACHE_HOME", own("cache")?.as_str()),
        ("XDG_RUNTIME_DIR", own("run")?.as_str()),
        ("VSCODE_AGENT_FOLDER", own("agent")?.as_str()),
    ]);
    Ok(Spawn {
        program: install.node.clone(),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment,
        token: token.into(),
        folder: folder.clone(),
        log: facts.home.at(&format!("var/log/{}.log", part.slug()))?,
        user,
        leads_group: true,
        folders,
    })
}

/// Returns the user and group of the editors and of what they work on; `None` is whoever runs:
/// where that is not root, or where nobody else could get to the folder (below /root, say).
pub(crate) fn editor_user(home: &Home) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let way = Path::new(home.path.as_str()).ancestors();
    let open = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    if !is_root() || !way.into_iter().all(open) {
        return None;
    }
    let users = Users::of_machine().ok()?;
    users.user(EDITOR_USER).map(|user| (user.uid, user.gid))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(key, value)| (OsString::from(key), OsString::from(value))).collect()
}

fn path(text: &str) -> Result<RealPath, SandboxFault> {
    RealPath::parse(text).map_err(|source| SandboxFault::Path { dir: text.into(), source })
}
