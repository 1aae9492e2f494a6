//! Work that is saved nowhere else: what git has not been told of, and what an editor did not save.
//!
//! git runs whatever a repository's configuration names, so it is run as the owner of the repository,
//! with hooks and fsmonitor off, nothing of our environment, and a time limit.

use std::path::Path;
use std::time::Duration;

use oh_host::command;
use oh_host::survey::Survey;
use oh_model::path::RealPath;

/// The folder in an editor's settings of what was typed and not saved.
const UNSAVED: &str = "Backups";

/// Where git is.
const GIT: &str = "/usr/bin/git";

/// How long one repository may take.
const GIT_LIMIT: Duration = Duration::from_secs(5);

/// How many repositories of one thing are asked.
const REPOSITORIES_MAX: usize = 20;

/// Says what in a thing is saved nowhere else; what nobody can tell counts as unsaved.
pub(super) fn unsaved(path: &Path, survey: &Survey) -> Option<String> {
    if survey.names.contains(UNSAVED.as_bytes()) && !is_empty(&path.join(UNSAVED)) {
        return Some("files in it were changed and not saved".to_owned());
    }
    for repository in survey.repositories.iter().take(REPOSITORIES_MAX) {
        let shown = match repository.as_os_str().is_empty() {
            true => "it".to_owned(),
            false => format!("{} in it", oh_term::text::escaped(&repository.to_string_lossy())),
        };
        match changes(&path.join(repository)) {
            Ok(false) => {}
            Ok(true) => return Some(format!("{shown} has changes that are not committed")),
            Err(why) => {
                return Some(format!("nobody can tell whether all of {shown} is committed: {why}"));
            }
        }
    }
    (survey.repositories.len() > REPOSITORIES_MAX)
        .then(|| format!("it has more than {REPOSITORIES_MAX} repositories"))
}

/// A folder that cannot be looked into may have something in it.
fn is_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(fault) => fault.kind() == std::io::ErrorKind::NotADirectory,
    }
}

/// Says whether a working tree has changes.
fn changes(repository: &Path) -> Result<bool, String> {
    use std::os::unix::fs::MetadataExt as _;
    let folder = repository.to_str().ok_or("its path is no text")?;
    let meta = std::fs::symlink_metadata(repository).map_err(|fault| fault.to_string())?;
    let program = RealPath::parse(GIT).map_err(|fault| fault.to_string())?;
    let is_root = rustix::process::geteuid().is_root();
    let owner = is_root.then(|| (meta.uid(), meta.gid()));
    let arguments = [
        "--no-optional-locks",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-C",
        folder,
        "status",
        "--porcelain",
        "--ignore-submodules=none",
    ];
    let output = command::run(&program, &arguments, owner, GIT_LIMIT);
    let output = output.map_err(|fault| crate::apply::chain(&fault))?;
    if !output.status.success() {
        let first = output.stderr.lines().next().unwrap_or_default();
        return Err(oh_term::text::escaped(first));
    }
    Ok(!output.stdout.trim().is_empty())
}
