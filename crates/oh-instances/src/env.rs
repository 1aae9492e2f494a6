//! The file of variables that OpenHands is started with.
//!
//! It is a file of the user's whom OpenHands runs as, so it may have lines of theirs, which stay. What
//! is written is what this installation decides and OpenHands reads; a variable that only a fork
//! reads says so in its comment.

use oh_config::{Isolation, Settings};
use oh_host::publish::{Host, PublishFault};
use oh_host::user_file::{UserFile, UserFileFault};
use oh_host::users::{User, Users, is_root};
use oh_model::diagnostic::Diagnostic;
use oh_model::environment::{self, Change, EditFault, Variable};
use oh_model::exit::Exit;
use oh_model::hint::Hint;
use oh_model::path::{InRoot, PathFault, RealPath};
use oh_model::port::{Port, PortSet};
use oh_term::{Answer, Common, Failure};
use serde_json::{Value, json};
use thiserror::Error;

use crate::cli::EnvArguments;
use crate::commands::{Context, context};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Nobody but the user reads it: keys of language models stand in such files.
const FILE_MODE: u32 = 0o600;

/// What OpenHands 0.62 makes of `RUNTIME_URL` is the address of an editor only where both of these
/// are a folder of the same name: `/{RUNTIME_ID}/vscode/`.
const RUNTIME_ID: &str = "vscode";

/// What a file that is made begins with.
const HEAD: &str =
    "# What OpenHands is started with, by `oh-instances env`; further lines may stand here.\n";

#[derive(Debug, Error)]
enum EnvFault {
    #[error("there is no user {user:?} in /etc/passwd")]
    NoUser { user: String },
    #[error("only root can write the file of user {user}")]
    OtherUser { user: String },
    #[error("the home folder {home:?} of user {user} cannot be used")]
    Home { user: String, home: String, source: PathFault },
    #[error("{path} cannot be used")]
    Path { path: String, source: PathFault },
    #[error("no port of sessions.editor_ports is left for VSCODE_PORT")]
    NoPort,
    #[error("{path} is not UTF-8 at byte {at}")]
    NotUtf8 { path: String, at: usize },
    #[error("{path} cannot be changed")]
    Text { path: String, source: EditFault },
    #[error("the file cannot be used")]
    File(#[from] UserFileFault),
    #[error("the users of this machine cannot be read")]
    Users(#[from] oh_host::atomic::FileFault),
}

impl Diagnostic for EnvFault {
    fn exit(&self) -> Exit {
        match self {
            Self::NoPort => Exit::Config,
            Self::File(fault) => fault.exit(),
            Self::Users(_) => Exit::CouldNotLook,
            _ => Exit::Refused,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::File(fault) => fault.state(),
            _ => Some("nothing was changed".into()),
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::NoUser { .. } => {
                vec![
                    "name the user whom OpenHands runs as with --user, or set sessions.user".into(),
                ]
            }
            Self::Text { source: EditFault::Entangled { key, .. }, .. } => {
                vec![format!("give {key} a line of its own, or remove it").into()]
            }
            Self::File(fault) => fault.hints(),
            _ => Vec::new(),
        }
    }
}

/// Writes the file, or says what it would write.
pub(crate) fn env(asked: &EnvArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let domain = host.settings.site.require_domain();
    domain.map_err(|fault| Failure::of(PublishFault::Config(fault)))?;
    answer(&host, asked).map_err(Failure::of).map(|answer| answer.notes(warnings))
}

fn answer(host: &Host, asked: &EnvArguments) -> Result<Answer, EnvFault> {
    let users = Users::of_machine()?;
    let user = user(host, asked.user.as_deref(), &users)?;
    let path = path(host, &user)?;
    let notes = notes(&host.settings);
    if asked.print {
        let variables = variables(&host.settings, &user.name, None)?;
        let text = edited(&path, "", &variables)?.text;
        let result = json!({ "file": path.as_str(), "text": text });
        return Ok(Answer::new(text, result).notes(notes));
    }
    let file = UserFile::open(&path, (user.uid, user.gid), &users, FILE_BYTES_MAX)?;
    let before = match core::str::from_utf8(file.bytes().unwrap_or_default()) {
        Ok(text) => text.to_owned(),
        Err(fault) => {
            return Err(EnvFault::NotUtf8 { path: path.to_string(), at: fault.valid_up_to() });
        }
    };
    let port = environment::value_of(&before, "VSCODE_PORT")
        .map_err(|source| EnvFault::Text { path: path.to_string(), source })?;
    let variables = variables(&host.settings, &user.name, port.as_deref())?;
    let edited = edited(&path, &before, &variables)?;
    let mode_before = file.mode();
    let is_new = file.bytes().is_none();
    let is_as_wanted = edited.text == before && mode_before == Some(FILE_MODE);
    if !asked.dry_run {
        file.replace(edited.text.as_bytes(), FILE_MODE)?;
    }
    let said = match (is_as_wanted, asked.dry_run, is_new) {
        (true, _, _) => "is as it should be",
        (_, true, true) => "would be made",
        (_, true, false) => "would be changed",
        (_, false, true) => "made",
        (_, false, false) => "changed",
    };
    let mut human = format!("{path} {said}\n");
    for (variable, change) in variables.iter().zip(&edited.changes) {
        human.push_str(&line(variable, change));
    }
    if let Some(mode) = mode_before.filter(|mode| *mode != FILE_MODE) {
        human.push_str(&format!("  mode      {FILE_MODE:04o} (was {mode:04o})\n"));
    }
    let shown: Vec<Value> =
        variables.iter().zip(&edited.changes).map(|(one, change)| shown(one, change)).collect();
    let result = json!({
        "file": path.as_str(),
        "user": user.name,
        "changed": !is_as_wanted && !asked.dry_run,
        "as_wanted": is_as_wanted,
        "variables": shown,
    });
    Ok(Answer::new(human, result).notes(notes))
}

fn line(variable: &Variable, change: &Change) -> String {
    let Variable { key, value, .. } = variable;
    match change {
        Change::Kept => format!("  there     {key}={value}\n"),
        Change::Added => format!("  added     {key}={value}\n"),
        Change::Respelled => format!("  respelled {key}={value}   (for systemd too)\n"),
        Change::Changed(was) => {
            format!("  changed   {key}={value}   (was {})\n", was.escape_debug())
        }
    }
}

fn shown(variable: &Variable, change: &Change) -> Value {
    let (change, was) = match change {
        Change::Kept => ("kept", None),
        Change::Added => ("added", None),
        Change::Respelled => ("respelled", None),
        Change::Changed(was) => ("changed", Some(was)),
    };
    json!({ "key": variable.key, "value": variable.value, "change": change, "was": was })
}

/// Whom OpenHands runs as.
fn user(host: &Host, demanded: Option<&str>, users: &Users) -> Result<User, EnvFault> {
    let configured = host.settings.sessions.user.to_string();
    let own = rustix::process::geteuid().as_raw();
    let uid = match demanded {
        Some(word) => users.uid(word),
        None if is_root() => users.uid(&configured),
        None => Some(own),
    };
    let shown = || match demanded {
        None if !is_root() => own.to_string(),
        demanded => demanded.unwrap_or(&configured).to_owned(),
    };
    let user = uid.and_then(|uid| users.user_of(uid));
    let user = user.ok_or_else(|| EnvFault::NoUser { user: shown() })?.clone();
    if !is_root() && user.uid != own {
        return Err(EnvFault::OtherUser { user: user.name });
    }
    Ok(user)
}

fn path(host: &Host, user: &User) -> Result<RealPath, EnvFault> {
    let file = &host.settings.instances.environment_file;
    let home = InRoot::parse(&user.home).map_err(|source| EnvFault::Home {
        user: user.name.clone(),
        home: user.home.clone(),
        source,
    });
    let fault = |source| EnvFault::Path { path: file.to_string(), source };
    let inside = match file {
        oh_config::HomePath::Absolute(path) => path.clone(),
        below @ oh_config::HomePath::BelowHome(_) => below.at(&home?).map_err(fault)?,
    };
    host.root.real(&inside).map_err(fault)
}

fn edited(
    path: &RealPath,
    before: &str,
    variables: &[Variable],
) -> Result<environment::Edited, EnvFault> {
    let text = if before.is_empty() { HEAD } else { before };
    environment::edit(text, variables)
        .map_err(|source| EnvFault::Text { path: path.to_string(), source })
}

/// What of the site OpenHands cannot be told.
fn notes(settings: &Settings) -> Vec<String> {
    if runtime_url(settings).is_some() {
        return Vec::new();
    }
    vec![
        "RUNTIME_URL is left out: OpenHands puts a port behind any address with \"localhost\" in it"
            .into(),
    ]
}

/// What is written, in this order. `port` is what the file says of the editor's port.
fn variables(
    settings: &Settings,
    user: &str,
    port: Option<&str>,
) -> Result<Vec<Variable>, EnvFault> {
    let port = editor_port(settings, port).ok_or(EnvFault::NoPort)?;
    let origins: Vec<String> = settings
        .site
        .origin()
        .into_iter()
        .chain(settings.site.origins.iter().map(ToString::to_string))
        .collect();
    let runtime = runtime_url(settings);
    let of = |key: &'static str, value: String, comment: &str| {
        Some(Variable { key, value, comment: comment.to_owned() })
    };
    let site = settings.site.authority().unwrap_or_default();
    let upstream = settings.site.upstream.port();
    let all = [
        of("CLOUD_DOMAIN", site, CLOUD_DOMAIN),
        of("RUNTIME", "local".into(), RUNTIME),
        of("RUNTIME_USERNAME", user.into(), RUNTIME_USERNAME),
        of("SU_TO_USER", "false".into(), SU_TO_USER),
        of("VSCODE_PORT", port.to_string(), VSCODE_PORT),
        runtime.as_ref().and_then(|url| of("RUNTIME_URL", url.clone(), RUNTIME_URL)),
        runtime.and_then(|_| {
            let is_path = settings.site.isolation != Isolation::Subdomain;
            is_path.then(|| of("RUNTIME_ID", RUNTIME_ID.into(), RUNTIME_ID_IS))?
        }),
        of("PERMITTED_CORS_ORIGINS", origins.join(","), PERMITTED_CORS_ORIGINS),
        of("port", upstream.to_string(), PORT),
    ];
    Ok(all.into_iter().flatten().collect())
}

const CLOUD_DOMAIN: &str = "the site that the links of sessions lead to. Read by forks with a \
    cloud runtime, and looked for by their checks; OpenHands itself does not read it.";

const RUNTIME: &str = "where OpenHands runs what an agent does; local is this machine, as its own \
    user. Read by OpenHands. The word cloud belongs to forks that bring such a runtime: OpenHands \
    itself ends with \"Runtime cloud not supported\".";

const RUNTIME_USERNAME: &str = "the user, besides root and openhands, for whom the VSCode plugin \
    of OpenHands starts an editor. Without it the plugin starts none for this user.";

const SU_TO_USER: &str = "whether the VSCode plugin, the Jupyter plugin and shells of OpenHands \
    become that user by `su`, which asks for a password. OpenHands runs as that user already.";

const VSCODE_PORT: &str = "the port on which the VSCode plugin of OpenHands starts its editor. \
    Fixed, so that a session file can name it; therefore one conversation at a time has an editor. \
    It is one of sessions.editor_ports. The plugin listens on all addresses: let a firewall close it.";

const RUNTIME_URL: &str = "what the local runtime of OpenHands makes the editor's address of, which \
    browsers are sent to. docs/instances.md says how that address is served.";

const RUNTIME_ID_IS: &str = "the first folder of RUNTIME_URL: with it the local runtime says \
    /vscode/vscode/, and the VSCode plugin lets its editor keep that prefix.";

const PERMITTED_CORS_ORIGINS: &str = "the origins whose pages may ask OpenHands. Read by its \
    server; without it versions up to 1.4 permit localhost, and versions from 1.6 on everybody.";

const PORT: &str = "the port on which the server of OpenHands listens, where nginx expects it \
    (site.upstream). It is lower case.";

/// The port that is named already, where it is one that may be; else the first of the smallest
/// range: `start` takes the ports of sessions from the largest.
fn editor_port(settings: &Settings, named: Option<&str>) -> Option<Port> {
    let PortSet(ranges) = &settings.sessions.editor_ports;
    let reserved = [settings.site.port(), settings.nginx.generation_port];
    let is_free = |port: &Port| {
        !reserved.contains(port)
            && port.get() != settings.site.upstream.port()
            && !settings.instances.ports.contains(*port)
    };
    let named = named.and_then(|text| text.parse().ok()).and_then(Port::new);
    let named = named.filter(|port| settings.sessions.editor_ports.contains(*port));
    let mut smallest: Vec<_> = ranges.iter().collect();
    smallest.sort_by_key(|range| range.count());
    let mut ports = smallest.into_iter().flat_map(|range| range.ports());
    named.filter(is_free).or_else(|| ports.find(is_free))
}

/// What `RUNTIME_URL` has to be so that OpenHands 0.62 makes of it an address that is served:
/// `URL/vscode/` where its path begins with `RUNTIME_ID`, else `vscode-` before the host.
fn runtime_url(settings: &Settings) -> Option<String> {
    let site = &settings.site;
    let url = match site.isolation {
        Isolation::Subdomain => {
            let domain = site.sessions_domain()?;
            let port = site.port();
            let scheme = site.scheme();
            let shown = if port.get() == scheme.port_default() {
                String::new()
            } else {
                format!(":{port}")
            };
            format!("{scheme}://openhands.{domain}{shown}")
        }
        Isolation::Path | Isolation::Sandbox => format!("{}/{RUNTIME_ID}", site.origin()?),
    };
    (!url.contains("localhost")).then_some(url)
}
