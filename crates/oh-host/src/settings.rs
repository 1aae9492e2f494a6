//! Finds the configuration and hands it to `oh-config`: file, environment, command line.

use std::path::Path;

use oh_config::{FILE_DEFAULT, Faults, Loaded, SourceText, Sources};
use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::Hint;
use oh_model::path::{InRoot, PathFault, RealPath};
use serde_json::Value;
use thiserror::Error;

use crate::folder::{FileKind, TrustFault, read_trusted};
use crate::publish::Host;
use crate::root::{Root, RootFault};
use crate::spawn::TOKEN_KEY;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The file that a user other than root may keep in the folder where the tool is run.
const LOCAL_FILE: &str = "config.toml";

/// The prefix of the environment's names that are ours.
const ENVIRONMENT_PREFIX: &str = "OHT_";

/// What decides which configuration is read.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// `--config`: this file instead of all others.
    pub config: Option<String>,
    /// `--root`.
    pub root: Option<String>,
    /// `--set`, as typed.
    pub sets: Vec<String>,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Wish {
    /// Takes what the command line says, and our names of the environment of this process.
    pub fn of(config: Option<String>, root: Option<String>, sets: Vec<String>) -> Self {
        // A name or value that is not UTF-8 is none of ours: our names are ASCII.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            // The mark of what we started is no setting, and terminals of editors have it.
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX) && name != TOKEN_KEY)
            .collect();
        Self { config, root, sets, environment }
    }
}

/// Says why there is no configuration to work with.
#[derive(Debug, Error)]
pub enum SettingsFault {
    /// `--root` cannot be used.
    #[error("--root cannot be used")]
    Root(#[from] RootFault),
    /// `--config` is no path.
    #[error("--config {path} is no path")]
    Path {
        /// What was typed.
        path: String,
        /// What is wrong with it.
        source: PathFault,
    },
    /// `--config` names a file that does not exist.
    #[error("there is no file {path}")]
    Missing {
        /// The file.
        path: String,
    },
    /// The file or its folders are not to be trusted, or it cannot be read.
    #[error("the configuration file cannot be used")]
    Trust(#[from] TrustFault),
    /// It was read, and is wrong.
    #[error("{}", counted(.0))]
    Faults(Faults),
}

impl Diagnostic for SettingsFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Root(_) | Self::Path { .. } => Exit::Refused,
            Self::Missing { .. } | Self::Trust(_) | Self::Faults(_) => Exit::Config,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint = match self {
            Self::Root(fault) => fault.hint(),
            Self::Trust(fault) => fault.hint(),
            _ => None,
        };
        hint.map(Hint::from).into_iter().collect()
    }

    fn faults(&self) -> Vec<Value> {
        match self {
            Self::Faults(faults) => faults.0.iter().map(oh_config::fault_json).collect(),
            _ => Vec::new(),
        }
    }
}

/// Several faults come below a line that counts them.
fn counted(faults: &Faults) -> String {
    match faults.0.len() {
        1 => faults.to_string(),
        count => format!("the configuration has {count} faults\n{faults}"),
    }
}

/// A configuration that was read, and where paths start.
#[derive(Debug)]
pub struct Found {
    /// Where paths start.
    pub root: Root,
    /// The settings with their origins and warnings.
    pub loaded: Loaded,
    /// The file that was read; `None` where there is none.
    pub file: Option<String>,
    /// A file that people may think counts and that does not, with the reason; a fragment.
    pub passed_over: Option<String>,
}

impl Found {
    /// Says what is odd and yet usable, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let odd = self.loaded.warnings.iter().map(|fault| format!("warning: {fault}"));
        self.passed_over_warning().into_iter().chain(odd).collect()
    }

    /// Names a file that people may think counts.
    pub fn passed_over_warning(&self) -> Option<String> {
        self.passed_over.as_ref().map(|what| format!("warning: {what}"))
    }

    /// Keeps what tools work with.
    pub fn into_host(self) -> Host {
        Host { root: self.root, settings: self.loaded.settings }
    }
}

/// Finds and reads the configuration.
///
/// `--config FILE` replaces every other file; `/dev/null` has the defaults alone. Without it, `/etc/openhands-toolkit/config.toml`
/// below the root counts; where that is missing, a user other than root may have a `config.toml`
/// of their own in the current folder. Root never reads one there, because anybody may have put
/// it there.
///
/// # Errors
/// [`SettingsFault`].
pub fn find(wish: &Wish) -> Result<Found, SettingsFault> {
    let root = match &wish.root {
        None => Root::system(),
        Some(dir) => Root::below(Path::new(dir))?,
    };
    let (file, passed_over) = match &wish.config {
        Some(path) => (Some(named(&root, path)?), None),
        None => default_file(&root)?,
    };
    let path = file.as_ref().map(|file| file.path.clone());
    // Where there is no file, messages name the one that would count: below the root, not above.
    let file = file.map_or_else(|| missing_default(&root), Ok).map(Some)?;
    let sources = Sources { file, environment: wish.environment.clone(), sets: wish.sets.clone() };
    let loaded = oh_config::load(&sources).map_err(SettingsFault::Faults)?;
    Ok(Found { root, loaded, file: path, passed_over })
}

/// What is named where no file is to be read.
const NO_FILE: &str = "/dev/null";

/// Reads the file that `--config` names, from the current folder where it is relative.
fn named(root: &Root, path: &str) -> Result<SourceText, SettingsFault> {
    if path == NO_FILE {
        return Ok(SourceText { path: path.into(), text: String::new() });
    }
    let real = real(path)?;
    match read_trusted(root, &real, FILE_BYTES_MAX)? {
        Some(text) => Ok(SourceText { path: path.into(), text }),
        None => Err(SettingsFault::Missing { path: path.into() }),
    }
}

/// The file that counts, and the one that was passed over.
type Looked = (Option<SourceText>, Option<String>);

fn default_file(root: &Root) -> Result<Looked, SettingsFault> {
    let real = default_path(root)?;
    if let Some(text) = read_trusted(root, &real, FILE_BYTES_MAX)? {
        return Ok((Some(SourceText { path: real.to_string(), text }), None));
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root || !root.is_system() {
        return Ok((None, None));
    }
    local_file(root)
}

/// An empty text in the place of the file that is not there.
fn missing_default(root: &Root) -> Result<SourceText, SettingsFault> {
    Ok(SourceText { path: default_path(root)?.to_string(), text: String::new() })
}

fn default_path(root: &Root) -> Result<RealPath, SettingsFault> {
    let path = |source| SettingsFault::Path { path: FILE_DEFAULT.into(), source };
    InRoot::parse(FILE_DEFAULT).and_then(|inside| root.real(&inside)).map_err(path)
}

/// Reads the user's own file in the current folder; a file of anybody else is passed over, and
/// the reason is told.
fn local_file(root: &Root) -> Result<Looked, SettingsFault> {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    // What cannot be looked at could not be read either: there is none.
    let Ok(meta) = std::fs::symlink_metadata(LOCAL_FILE) else { return Ok((None, None)) };
    let kind = FileKind::of_mode(meta.mode());
    let why = if kind != FileKind::Regular {
        Some(format!("it is {kind}, not a regular file"))
    } else if meta.uid() != own {
        Some(format!("it belongs to uid {}, not to you", meta.uid()))
    } else {
        None
    };
    if let Some(why) = why {
        return Ok((None, Some(format!("./{LOCAL_FILE} is passed over: {why}"))));
    }
    let text = read_trusted(root, &real(LOCAL_FILE)?, FILE_BYTES_MAX)?;
    Ok((text.map(|text| SourceText { path: LOCAL_FILE.into(), text }), None))
}

/// Makes a typed path absolute, without following links: judging them is the reader's work.
fn real(path: &str) -> Result<RealPath, SettingsFault> {
    let absolute = std::path::absolute(path).ok();
    let text = absolute.as_deref().and_then(Path::to_str).unwrap_or(path);
    RealPath::parse(text).map_err(|source| SettingsFault::Path { path: path.into(), source })
}
