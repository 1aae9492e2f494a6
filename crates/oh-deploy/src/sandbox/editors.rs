//! The editors of a sandbox: `oh-instances` runs them, and is asked about them.
//!
//! It is the program of that name beside this one. What it does is a transaction of its own, so a
//! run that is killed while it is at work leaves nothing half done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use oh_host::command;
use oh_host::users::is_root;
use oh_model::path::RealPath;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::SandboxFault;
use super::files;
use super::parts::editor_user;
use super::record::{Home, Record};

/// The name of the program.
const PROGRAM: &str = "oh-instances";

/// How long one command may take: more than it gives itself to wait for an editor.
const LIMIT: Duration = Duration::from_secs(600);

/// An editor of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Editor {
    /// The session's.
    Session,
    /// The repository's.
    Repository,
}

impl Editor {
    /// All of them, in the order in which they are started.
    pub(crate) const ALL: [Self; 2] = [Self::Session, Self::Repository];

    /// Returns its name in lines of progress.
    pub(crate) const fn slug(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Repository => "repository",
        }
    }

    /// Returns the id of its instance.
    pub(crate) fn id(self, record: &Record) -> &str {
        match self {
            Self::Session => &record.session,
            Self::Repository => files::REPOSITORY,
        }
    }
}

impl fmt::Display for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the editor of the {}", self.slug())
    }
}

/// An editor that runs and is well.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    /// The ports of applications.
    pub(crate) apps: Vec<u16>,
}

impl Seen {
    /// Returns the port of the sandbox's only application.
    pub(crate) fn app(&self) -> Option<u16> {
        self.apps.first().copied()
    }
}

/// What a start came to.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) seen: Seen,
    /// What people should know.
    pub(crate) notes: Vec<String>,
}

/// The document around each answer.
#[derive(Debug, Deserialize)]
struct Document {
    result: serde_json::Value,
    error: Option<Said>,
}

/// A failure.
#[derive(Debug, Deserialize)]
struct Said {
    message: String,
    causes: Vec<String>,
}

/// Finds the editors that are well.
pub(crate) fn running(
    home: &Home,
    record: &Record,
) -> Result<BTreeMap<Editor, Seen>, SandboxFault> {
    #[derive(Deserialize)]
    struct List {
        instances: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        id: String,
        #[serde(default)]
        is_well: bool,
    }
    let (result, _) = ask(home, "look at the editors", &["list"])?;
    let list: List = read(result.clone())?;
    let mut running = BTreeMap::new();
    for (at, listed) in list.instances.iter().enumerate() {
        let editor = Editor::ALL.into_iter().find(|editor| editor.id(record) == listed.id);
        if let Some(editor) = editor.filter(|_| listed.is_well) {
            running.insert(editor, read(result["instances"][at].clone())?);
        }
    }
    Ok(running)
}

/// Starts an editor, or finds it running.
pub(crate) fn start(home: &Home, record: &Record, editor: Editor) -> Result<Begun, SandboxFault> {
    let folder = format!("/{}", files::REPOSITORY_FOLDER);
    let mut arguments = match editor {
        Editor::Session => vec!["start", "--session", record.session.as_str(), "--apps", "1"],
        Editor::Repository => vec!["start", "--repo", folder.as_str()],
    };
    // Where nobody else gets to the folder the editors are root's, which has to be said each time.
    if is_root() && editor_user(home).is_none() {
        arguments.extend(["--user", "root"]);
    }
    let (result, notes) = ask(home, &format!("start {editor}"), &arguments)?;
    Ok(Begun { seen: read(result["instance"].clone())?, notes })
}

/// Runs a command on the sandbox; returns its result, and what it said beside.
fn ask(
    home: &Home,
    doing: &str,
    arguments: &[&str],
) -> Result<(serde_json::Value, Vec<String>), SandboxFault> {
    let program = program()?;
    let root = format!("--root={}", home.path);
    let arguments = [&[root.as_str(), "--format=json"], arguments].concat();
    let output = command::run(&program, &arguments, None, LIMIT)?.by_itself(&program)?;
    let failed = |why: String| SandboxFault::Editor { doing: doing.into(), why };
    let Ok(document) = serde_json::from_str::<Document>(&output.stdout) else {
        let last = output.stderr.lines().last().unwrap_or_default();
        return Err(failed(format!("{program} ended with {}: {last}", output.ending())));
    };
    if let Some(Said { message, causes }) = document.error {
        return Err(failed([vec![message], causes].concat().join(": ")));
    }
    let said = output.stderr.lines();
    let notes = said.filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect();
    Ok((document.result, notes))
}

fn read<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, SandboxFault> {
    serde_json::from_value(value).map_err(|reason| SandboxFault::Editor {
        doing: "understand oh-instances".into(),
        why: reason.to_string(),
    })
}

/// The program beside this one.
fn program() -> Result<RealPath, SandboxFault> {
    let own = std::env::current_exe()
        .map_err(|source| SandboxFault::Make { dir: PROGRAM.into(), source })?;
    let beside = own.with_file_name(PROGRAM).to_string_lossy().into_owned();
    RealPath::parse(&beside).map_err(|source| SandboxFault::Path { dir: beside, source })
}
