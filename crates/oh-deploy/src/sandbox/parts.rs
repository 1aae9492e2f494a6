//! The programs of a sandbox beside its editors: what each is, where it listens, how it is started.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use oh_host::command::SYSTEM_PATH;
use oh_host::spawn::Spawn;
use oh_host::users::{Users, is_root};
use oh_model::path::RealPath;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::fault::SandboxFault;
use super::record::Home;

/// The user that root's editors run as: whoever is let in has a terminal of that user, so it must
/// not be root's.
pub(crate) const EDITOR_USER: &str = "nobody";

/// A program of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// The stand-in for OpenHands.
    Openhands,
    /// The web server.
    Nginx,
    /// The session's application.
    App,
}

impl Part {
    /// All parts, in the order in which they are started.
    pub(crate) const ALL: [Self; 3] = [Self::Openhands, Self::Nginx, Self::App];

    /// Returns the name of the part's log and folder.
    pub(crate) const fn slug(self) -> &'static str {
        match self {
            Self::Openhands => "openhands",
            Self::App => "app",
            Self::Nginx => "nginx",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Openhands => "the stand-in for OpenHands",
            Self::App => "the application of the session",
            Self::Nginx => "nginx",
        })
    }
}

/// Works out how a part is started that listens on `port`.
pub(crate) fn spawn(
    facts: &Facts,
    part: Part,
    port: u16,
    token: &str,
) -> Result<Spawn, SandboxFault> {
    let home = &facts.home;
    let listen = format!("127.0.0.1:{port}");
    match part {
        Part::Nginx => {
            plain(facts, part, token, facts.nginx.program.as_str(), &nginx_arguments(home)?)
        }
        Part::Openhands => {
            let mut arguments: Vec<String> = vec!["openhands".into(), "--listen".into(), listen];
            for (name, path) in facts.links() {
                arguments.extend(["--link".into(), format!("{name}={path}")]);
            }
            plain(facts, part, token, &facts.stand_in, &arguments)
        }
        Part::App => {
            let arguments =
                ["app", "--listen", &listen, "--name", "sandbox"].map(ToString::to_string);
            plain(facts, part, token, &facts.stand_in, &arguments)
        }
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
        environment: [("PATH", SYSTEM_PATH), ("LC_ALL", "C.UTF-8")]
            .map(|(key, value)| (OsString::from(key), OsString::from(value)))
            .to_vec(),
        token: token.into(),
        folder: facts.home.at("var")?,
        log: facts.home.at(&format!("var/log/{}.log", part.slug()))?,
        user: None,
        leads_group: true,
        folders: Vec::new(),
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

fn path(text: &str) -> Result<RealPath, SandboxFault> {
    RealPath::parse(text).map_err(|source| SandboxFault::Path { dir: text.into(), source })
}
