//! Reads nginx's whole configuration, through all `include` directives, as nginx would.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use oh_model::hint::shell_word;
use oh_model::path::RealPath;
use oh_nginx_conf::inspect::{File, Include, Tree};
use oh_nginx_conf::parse::{Directive, SyntaxFault, parse, parse_beginning};
use thiserror::Error;

/// The most files that one configuration may have.
pub const FILES_MAX: usize = 20_000;

/// How deep files may include each other: the reader recurses, and so does nginx.
pub const DEPTH_MAX: usize = 32;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Says why a configuration could not be read.
#[derive(Debug, Error)]
pub enum TreeFault {
    /// A file could not be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is no configuration.
    #[error("{path}:{}: {}", .fault.line, .fault.what)]
    Syntax {
        /// The file.
        path: String,
        /// Where and what; its line belongs to `path`.
        fault: SyntaxFault,
    },
    /// There are more files than [`FILES_MAX`], or they are deeper than [`DEPTH_MAX`].
    #[error(
        "{path} makes it more than {FILES_MAX} files, or more than {DEPTH_MAX} below each other: \
         do they include each other?"
    )]
    TooMany {
        /// The file that was one too many.
        path: String,
    },
    /// A pattern of an `include` is none.
    #[error("{path}:{line}: cannot expand {pattern:?}: {reason}")]
    Pattern {
        /// The file.
        path: String,
        /// The line of the directive.
        line: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What files will say after a change, by path: a text, or nothing where the name will be gone.
pub type Overlay = BTreeMap<String, Option<String>>;

/// Reads the configuration that begins with `main`.
///
/// # Errors
/// [`TreeFault`] for the first file that nginx could not read either.
pub fn read(main: &RealPath) -> Result<Tree, TreeFault> {
    read_over(main, &Overlay::new())
}

/// Reads the configuration as it will be with the overlay.
///
/// # Errors
/// As [`read`].
pub fn read_over(main: &RealPath, overlay: &Overlay) -> Result<Tree, TreeFault> {
    let mut reading = Reading::new(main, overlay);
    reading.load(main.as_str(), 0)?;
    Ok(reading.tree)
}

/// Reads the configuration past its faults: of a file with a fault in it as much as can be told.
pub fn read_leniently(main: &RealPath) -> (Tree, Vec<TreeFault>) {
    let overlay = Overlay::new();
    let mut reading = Reading::new(main, &overlay);
    reading.lenient = true;
    if let Err(fault) = reading.load(main.as_str(), 0) {
        reading.faults.push(fault);
    }
    (reading.tree, reading.faults)
}

/// A file or folder of a configuration that others than its user can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changeable {
    /// The file or folder.
    pub path: String,
    /// Who can change it, as a fragment of a sentence.
    pub why: String,
    /// The command that mends it.
    pub mend: String,
}

/// Finds a file of the configuration, or a folder on the way to one, that others than root can
/// change: `nginx -t` opens what the text names, so root must not run it over their text.
///
/// A sticky folder such as `/tmp` counts as safe to pass through, because others cannot exchange
/// what root put there.
pub fn changeable_by_others(tree: &Tree) -> Option<Changeable> {
    changeable_on_the_way(tree.files.iter().map(|file| file.path.as_str()))
}

/// Finds what others than root can change among these files and the folders above them.
pub fn changeable_on_the_way<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<Changeable> {
    changeable_on_ways(paths.into_iter().map(PathBuf::from).collect())
}

/// Finds what others than root can change of a folder, of folders in it by these names, or on the way
/// to them. Here a sticky folder is not safe: others may add to it.
pub fn addable_by_others(folder: &RealPath, names: &[&str]) -> Option<Changeable> {
    let folder = PathBuf::from(folder.as_str());
    let ways: Vec<PathBuf> =
        names.iter().map(|name| folder.join(name)).chain([folder.clone()]).collect();
    let shared = |path: &PathBuf| {
        let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
        let path = path.display().to_string();
        let mend = format!("chmod go-w {}", shell_word(&path));
        (mode & 0o022 != 0).then(|| Changeable { path, why: format!("has mode {mode:04o}"), mend })
    };
    // Whoever may add to where the folder is to be can make it.
    let nearest = folder.ancestors().find(|path| path.exists()).map(Path::to_path_buf);
    let found = nearest.iter().chain(&ways).find_map(shared);
    found.or_else(|| changeable_on_ways(ways))
}

fn changeable_on_ways(mut ways: Vec<PathBuf>) -> Option<Changeable> {
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for path in way.ancestors() {
            if !seen.insert(path.to_path_buf()) {
                continue;
            }
            if let Some(found) = changeable(path) {
                return Some(found);
            }
            // What a link leads to is a way of its own; each is judged once, so links end.
            if let (Ok(target), Some(folder)) = (std::fs::read_link(path), path.parent()) {
                ways.push(normal(&folder.join(target)));
                if let Ok(rest) = way.strip_prefix(path) {
                    ways.extend(ways.last().map(|target| target.join(rest)));
                }
            }
        }
    }
    None
}

/// Takes `.` and `..` out of a path, as far as they lead back to what is written before them.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

fn changeable(path: &Path) -> Option<Changeable> {
    // What is not there yet (the hook before its first day) is made by us.
    let meta = std::fs::symlink_metadata(path).ok()?;
    let shown = path.display().to_string();
    let found = |why: String, mend: &str| {
        let mend = format!("{mend} {}", shell_word(&shown));
        Some(Changeable { path: shown.clone(), why, mend })
    };
    if meta.uid() != 0 {
        return found(format!("belongs to uid {}", meta.uid()), "chown --no-dereference root");
    }
    if meta.is_symlink() {
        return None;
    }
    let (group, others) = (meta.mode() & 0o020 != 0 && meta.gid() != 0, meta.mode() & 0o002 != 0);
    let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
    if (group || others) && !sticky {
        return found(format!("has mode {:04o}", meta.mode() & 0o7777), "chmod go-w");
    }
    None
}

/// A configuration while it is read.
struct Reading<'a> {
    tree: Tree,
    prefix: String,
    overlay: &'a Overlay,
    /// Whether to go on after a fault.
    lenient: bool,
    faults: Vec<TreeFault>,
}

impl<'a> Reading<'a> {
    fn new(main: &RealPath, overlay: &'a Overlay) -> Self {
        let prefix = main.parent().to_string();
        Self { tree: Tree::default(), prefix, overlay, lenient: false, faults: Vec::new() }
    }

    /// Reads one file and all below it; returns its index.
    fn load(&mut self, path: &str, depth: usize) -> Result<usize, TreeFault> {
        if self.tree.files.len() >= FILES_MAX || depth >= DEPTH_MAX {
            return Err(TreeFault::TooMany { path: path.into() });
        }
        let text = self.text(path)?;
        let directives = match parse(&text) {
            Ok(directives) => directives,
            Err(fault) => {
                let fault = TreeFault::Syntax { path: path.into(), fault };
                if !self.lenient {
                    return Err(fault);
                }
                self.faults.push(fault);
                parse_beginning(&text)
            }
        };
        let mut wanted = Vec::new();
        includes_in(&directives, &mut wanted);
        let wanted: Vec<(std::ops::Range<usize>, usize, String)> = wanted
            .into_iter()
            .filter_map(|d| {
                Some((d.span.clone(), d.line, absolute(d.words.first()?, &self.prefix)))
            })
            .collect();
        let index = self.tree.files.len();
        self.tree.files.push(File { path: path.into(), text, directives, includes: Vec::new() });
        for (span, line, pattern) in wanted {
            let mut files = Vec::new();
            for file in expand(path, line, &pattern)? {
                // Taken away by its own name; a name without a pattern has to exist.
                if self.overlay.get(&file) == Some(&None) && pattern != file {
                    continue;
                }
                match self.load(&file, depth + 1) {
                    Ok(loaded) => files.push(loaded),
                    Err(fault @ TreeFault::TooMany { .. }) => return Err(fault),
                    Err(fault) if self.lenient => self.faults.push(fault),
                    Err(fault) => return Err(fault),
                }
            }
            if let Some(file) = self.tree.files.get_mut(index) {
                file.includes.push(Include { span, pattern, files });
            }
        }
        Ok(index)
    }

    /// Returns what a file says, or will say; a file behind a link has two names.
    fn text(&self, path: &str) -> Result<String, TreeFault> {
        if self.overlay.is_empty() {
            return text_of(path);
        }
        let resolved = std::fs::canonicalize(path).ok();
        let resolved = resolved.as_deref().and_then(Path::to_str);
        let will = self.overlay.get(path).or_else(|| self.overlay.get(resolved?));
        match will {
            Some(Some(text)) => Ok(text.clone()),
            Some(None) => {
                let source = io::Error::new(io::ErrorKind::NotFound, "it will be taken away");
                Err(TreeFault::Read { path: path.into(), source })
            }
            None => text_of(path),
        }
    }
}

fn text_of(path: &str) -> Result<String, TreeFault> {
    let read = |source| TreeFault::Read { path: path.into(), source };
    // nginx itself opens what its configuration names; a FIFO there hangs nginx, not us.
    let metadata = std::fs::metadata(path).map_err(read)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let what = "it is no regular file, or larger than 64 MiB";
        return Err(read(io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    // A comment in Latin-1 is no fault to nginx.
    let bytes = std::fs::read(path).map_err(read)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|fault| String::from_utf8_lossy(fault.as_bytes()).into_owned()))
}

fn includes_in<'a>(directives: &'a [Directive], out: &mut Vec<&'a Directive>) {
    for directive in directives {
        if directive.name == "include" && directive.block.is_none() {
            out.push(directive);
        }
        includes_in(directive.block.as_deref().unwrap_or_default(), out);
    }
}

/// Relative names start from the folder of the main configuration file.
fn absolute(name: &str, prefix: &str) -> String {
    if name.starts_with('/') { name.into() } else { format!("{prefix}/{name}") }
}

/// Expands a pattern as nginx does: sorted, hidden files only by name, no match is no fault; a
/// name without a pattern has to exist.
fn expand(path: &str, line: usize, pattern: &str) -> Result<Vec<String>, TreeFault> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![pattern.into()]);
    }
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let fault = |reason: String| {
        let (path, pattern) = (path.into(), pattern.into());
        TreeFault::Pattern { path, line, pattern, reason }
    };
    let found = glob::glob_with(pattern, options).map_err(|f| fault(f.to_string()))?;
    let mut files = Vec::new();
    for entry in found {
        let entry = entry.map_err(|f| fault(f.to_string()))?;
        files.push(utf8(&entry).ok_or_else(|| fault("a name is not UTF-8".into()))?);
    }
    files.sort_unstable();
    Ok(files)
}

fn utf8(path: &Path) -> Option<String> {
    path.to_str().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, RealPath) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let main = RealPath::parse(dir.path().join("nginx.conf").to_str().unwrap()).unwrap();
        (dir, main)
    }

    #[test]
    fn includes_are_followed_in_nginx_order() {
        let (_dir, main) = written(&[
            ("nginx.conf", "http { include conf.d/*.conf; include one; }"),
            ("conf.d/b.conf", "b;"),
            ("conf.d/a.conf", "a;"),
            ("conf.d/.hidden.conf", "hidden;"),
            ("one", "one;"),
        ]);
        let mut names = Vec::new();
        read(&main).unwrap().visit(&mut |visit| {
            names.push(format!("{}{}", visit.blocks.join(""), visit.directive.name));
        });
        assert_eq!(names, ["http", "httpinclude", "httpa", "httpb", "httpinclude", "httpone"]);
    }

    #[test]
    fn links_are_followed_to_who_can_change_what_they_lead_to() {
        let (dir, main) = written(&[("nginx.conf", "include conf.d/*;"), ("theirs/x.conf", "a;")]);
        let theirs = dir.path().join("theirs");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        std::os::unix::fs::symlink("../theirs/x.conf", dir.path().join("conf.d/x.conf")).unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).unwrap();
        let found = changeable_by_others(&read(&main).unwrap()).unwrap();
        if fs::metadata(dir.path()).unwrap().uid() == 0 {
            assert_eq!(found.path, theirs.display().to_string());
            assert_eq!(found.why, "has mode 0777");
        } else {
            assert!(found.why.starts_with("belongs to uid "), "{found:?}");
        }
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        let (dir, main) = written(&[("nginx.conf", "include a/*; "), ("a/x", "ok;\nlocation {")]);
        let fault = read(&main).unwrap_err().to_string();
        let path = dir.path().join("a/x");
        assert_eq!(
            fault,
            format!("{}:2: unexpected end of file, expecting \"}}\"", path.display())
        );
        let (_dir, main) = written(&[("nginx.conf", "include missing;")]);
        assert!(read(&main).unwrap_err().to_string().starts_with("could not read /"));
        let (_dir, main) = written(&[("nginx.conf", "include nginx.conf;")]);
        assert!(read(&main).unwrap_err().to_string().contains("include each other"));
    }
}
