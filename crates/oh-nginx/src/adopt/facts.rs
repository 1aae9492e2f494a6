//! What is known of an older installation before anything is decided: read, never changed.

use std::path::Path;

use oh_config::{Loaded, Settings};
use oh_host::atomic;
use oh_host::entry::{self, Entry};
use oh_host::publish::{PublishFault, real};
use oh_host::root::Root;
use oh_host::settings::Found;
use oh_host::tree::{self, TreeFault};
use oh_model::path::{InRoot, RealPath};
use oh_nginx_conf::inspect::{File, Place, Tree};
use oh_nginx_conf::layout::{HOOK_MARK, MARK};
use oh_nginx_conf::legacy::{self, GENERATED_MARK, Server, Wanted};

use super::callers;
use super::fault::AdoptFault;
use super::shim::SHIM_MARK;

/// The largest script that is read, in bytes.
const SCRIPT_BYTES_MAX: u64 = 1024 * 1024;

/// By these words a script is known that wrote the routes of sessions or repositories.
const GENERATOR_WORDS: &[&str] =
    &["openhands-sessions", GENERATED_MARK, "sites-available/openhands", "vscode-projects"];

/// Where certbot says how it renews.
const RENEWAL_FOLDER: &str = "/etc/letsencrypt/renewal";

/// A script that wrote, or may have written, files of nginx.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    /// Where it is.
    pub(crate) path: RealPath,
    /// What is there.
    pub(crate) entry: Entry,
    /// What it was found to be.
    pub(crate) kind: GeneratorKind,
}

/// What a script was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GeneratorKind {
    /// It writes routes.
    Writes,
    /// A copy that nobody calls.
    Backup,
    /// Ours, in the place of an older one.
    Shim,
    /// Something else, in the place where the generator would be.
    Unknown,
}

/// How certbot renews a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    /// Its file.
    pub(crate) place: Place,
    /// How it proves that the name is served here: `nginx`, `webroot`, `standalone`.
    pub(crate) authenticator: String,
    /// All that the file says.
    pub(crate) text: String,
}

/// Everything that adopting decides by.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Where paths start.
    pub(crate) root: Root,
    /// The settings as they are, from all layers.
    pub(crate) loaded: Loaded,
    /// The configuration file, where there is one.
    pub(crate) config: Option<String>,
    /// nginx's configuration as it is, as far as it can be read.
    pub(crate) tree: Tree,
    /// What is wrong with it.
    pub(crate) faults: Vec<TreeFault>,
    /// Its servers, but for ours.
    pub(crate) servers: Vec<Server>,
    /// Scripts in the place of the generator and beside it.
    pub(crate) generators: Vec<Generator>,
    /// Who names them.
    pub(crate) callers: Vec<Place>,
    /// How certificates are renewed.
    pub(crate) renewals: Vec<Renewal>,
    /// The site file of an older installation.
    pub(crate) site: RealPath,
}

impl Facts {
    /// Returns the settings as they are.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// Returns a file of nginx's configuration.
    pub(crate) fn file(&self, index: usize) -> Option<&File> {
        self.tree.files.get(index)
    }

    /// Says whether a file is the site that the generator wrote.
    pub(crate) fn is_legacy_site(&self, file: &File) -> bool {
        file.text.contains(GENERATED_MARK) || is_same_file(&file.path, self.site.as_str())
    }
}

/// Says whether two paths lead to one file.
fn is_same_file(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let resolved = |path: &str| std::fs::canonicalize(path).ok();
    resolved(one).is_some_and(|one| Some(one) == resolved(other))
}

/// Looks at everything.
///
/// # Errors
/// [`AdoptFault`] where something that decides could not be looked at.
pub(crate) fn gather(found: Found) -> Result<Facts, AdoptFault> {
    let Found { root, loaded, file: config, .. } = found;
    let settings = &loaded.settings.nginx;
    let at = |path: &InRoot| real(&root, path);
    let (main, site) = (at(&settings.config)?, at(&settings.legacy_site)?);
    let repositories = at(&settings.legacy_repositories.folder())?;
    let (tree, mut faults) = tree::read_leniently(&main);
    if let Some(index) = faults.iter().position(is_hidden) {
        return Err(PublishFault::from(faults.swap_remove(index)).into());
    }
    let is_generated = |file: &File| {
        file.text.contains(GENERATED_MARK)
            || is_same_file(&file.path, site.as_str())
            || Path::new(&file.path).parent() == Some(Path::new(repositories.as_str()))
    };
    let wanted = Wanted { repositories: repositories.as_str(), is_generated: &is_generated };
    let mut servers = legacy::servers(&tree, wanted);
    servers.retain(|server| tree.files.get(server.file).is_some_and(|file| !is_ours(&file.text)));
    let generators = generators(&at(&settings.legacy_generator)?)?;
    let names: Vec<&str> = generators
        .iter()
        .filter(|generator| generator.kind != GeneratorKind::Unknown)
        .map(|generator| generator.path.as_str())
        .collect();
    let callers = callers::find(&root, &names)?;
    let renewals = renewals(&root)?;
    Ok(Facts { root, loaded, config, tree, faults, servers, generators, callers, renewals, site })
}

/// Says whether a file is there and cannot be read: whatever is in it must not be taken for nothing.
fn is_hidden(fault: &TreeFault) -> bool {
    match fault {
        TreeFault::Read { source, .. } => source.kind() != std::io::ErrorKind::NotFound,
        TreeFault::TooMany { .. } | TreeFault::Pattern { .. } => true,
        TreeFault::Syntax { .. } => false,
    }
}

/// Says whether a text is one of ours.
fn is_ours(text: &str) -> bool {
    text.contains(MARK) || text.contains(HOOK_MARK)
}

/// The script that writes the generator anew: run after taking over, it would undo it.
const REPAIR: &str = "fix_nginx_generator.sh";

/// Looks for the generator and for what stands beside it under a name that begins like its own.
fn generators(path: &RealPath) -> Result<Vec<Generator>, AdoptFault> {
    let stem = path.name().rsplit_once('.').map_or(path.name(), |(stem, _)| stem);
    let mut names = vec![path.name().to_string()];
    // A folder that is missing or cannot be read has no generator that we could replace.
    if let Ok(entries) = std::fs::read_dir(path.parent().as_str()) {
        let others = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_one = |name: &String| name.starts_with(stem) || name == REPAIR;
        names.extend(others.filter(|name| is_one(name) && name != path.name()));
    }
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        let at = path.parent().join(&name);
        let at = at.map_err(|source| AdoptFault::Path { path: name.clone(), source })?;
        let Some(bytes) = atomic::read_limited(&at, SCRIPT_BYTES_MAX)? else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let entry = entry::look(&at)?;
        let kind = if text.contains(SHIM_MARK) {
            GeneratorKind::Shim
        } else if !GENERATOR_WORDS.iter().any(|word| text.contains(word)) {
            GeneratorKind::Unknown
        } else if at == *path || (name.ends_with(".sh") && is_executable(&entry)) {
            GeneratorKind::Writes
        } else {
            GeneratorKind::Backup
        };
        // Strangers are of interest only in the very place.
        if kind != GeneratorKind::Unknown || at == *path {
            found.push(Generator { path: at, entry, kind });
        }
    }
    Ok(found)
}

const fn is_executable(entry: &Entry) -> bool {
    matches!(entry, Entry::File { mode, .. } if *mode & 0o111 != 0)
}

fn renewals(root: &Root) -> Result<Vec<Renewal>, AdoptFault> {
    let mut found = Vec::new();
    for path in callers::files_in(root, RENEWAL_FOLDER, 0)? {
        // What only certbot can read only certbot can tell; nothing depends on it but advice.
        let Ok(Some(bytes)) = atomic::read_limited(&path, SCRIPT_BYTES_MAX) else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().enumerate();
        let said = lines.filter_map(|(index, line)| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "authenticator").then(|| (index + 1, value.trim().to_string()))
        });
        let last = said.last();
        if let Some((line, authenticator)) = last {
            let place = Place { path: path.to_string(), line };
            found.push(Renewal { place, authenticator, text });
        }
    }
    Ok(found)
}
