//! Reads nginx's whole configuration, through all `include` directives, as nginx would.
//!
//! It comes from files, or from one text: what `nginx -T` printed, or a single file. Nothing but
//! regular files is opened, and nothing waits, because a text may name anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use oh_model::hint::shell_word;
use oh_model::path::RealPath;
use oh_nginx_conf::inspect::{File, Include, Tree};
use oh_nginx_conf::parse::{Directive, SyntaxFault, parse, parse_beginning};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::folder::FileKind;

/// The most files that one configuration may have.
pub const FILES_MAX: usize = 20_000;

/// How deep files may include each other: the reader recurses, and so does nginx.
pub const DEPTH_MAX: usize = 32;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most text that one configuration may have, in bytes, a file counted as often as it is included.
pub const TREE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most folders of a pattern that may be patterns themselves: each one multiplies what is searched.
const PATTERN_FOLDERS_MAX: usize = 3;

/// The line above each file in what `nginx -T` prints.
const DUMP_MARK: &str = "# configuration file ";

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
        "{path} makes it more than {FILES_MAX} files or {} MiB, or more than {DEPTH_MAX} files below \
         each other: do they include each other?",
        TREE_BYTES_MAX / 1024 / 1024
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
    let disk = Disk { overlay };
    let mut reading = Reading::new(main.parent().as_str(), &disk);
    reading.load(main.as_str(), 0)?;
    Ok(reading.tree)
}

/// Reads the configuration past its faults: of a file with a fault in it as much as can be told.
pub fn read_leniently(main: &RealPath) -> (Tree, Vec<TreeFault>) {
    let overlay = Overlay::new();
    let disk = Disk { overlay: &overlay };
    let mut reading = Reading::new(main.parent().as_str(), &disk);
    reading.lenient = true;
    if let Err(fault) = reading.load(main.as_str(), 0) {
        reading.faults.push(fault);
    }
    (reading.tree, reading.faults)
}

/// Reads a configuration out of one text: what `nginx -T` printed, with the paths and lines of its
/// files, or else a single file that is called `name` and whose includes are not followed.
///
/// # Errors
/// [`TreeFault`].
pub fn read_text(text: &str, name: &str) -> Result<Tree, TreeFault> {
    let (main, files) = split_dump(text)
        .unwrap_or_else(|| (name.into(), BTreeMap::from([(name.into(), text.into())])));
    let prefix = Path::new(&main).parent().and_then(Path::to_str).unwrap_or("/").to_owned();
    let dump = Dump(files);
    let mut reading = Reading::new(&prefix, &dump);
    reading.load(&main, 0)?;
    Ok(reading.tree)
}

/// Says whether a text is what `nginx -T` printed: before its first file, only nginx speaks.
pub fn is_dump(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("nginx: "));
    lines.next().is_some_and(|line| {
        let path = line.trim_end().strip_prefix(DUMP_MARK).and_then(|rest| rest.strip_suffix(':'));
        path.is_some_and(|path| path.starts_with('/'))
    })
}

/// Takes apart what `nginx -T` printed; `None` where it is something else.
fn split_dump(text: &str) -> Option<(String, BTreeMap<String, String>)> {
    let mut files = BTreeMap::new();
    let mut main = None;
    let mut current: Option<(String, String)> = None;
    for line in text.split_inclusive('\n') {
        let path = line.trim_end().strip_prefix(DUMP_MARK).and_then(|rest| rest.strip_suffix(':'));
        match (path.filter(|path| path.starts_with('/')), &mut current) {
            (Some(path), current) => {
                main.get_or_insert_with(|| path.to_owned());
                let done = current.replace((path.to_owned(), String::new()));
                files.extend(done.map(|(path, text)| (path, without_gap(text))));
            }
            (None, Some((_, text))) => text.push_str(line),
            // What nginx says about its test comes first.
            (None, None) => {}
        }
    }
    files.extend(current.map(|(path, text)| (path, without_gap(text))));
    Some((main?, files))
}

/// nginx ends each file with a line break of its own.
fn without_gap(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
    }
    text
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
    bytes: usize,
    source: &'a dyn Source,
    /// Whether to go on after a fault.
    lenient: bool,
    faults: Vec<TreeFault>,
}

impl<'a> Reading<'a> {
    fn new(prefix: &str, source: &'a dyn Source) -> Self {
        Self {
            tree: Tree::default(),
            prefix: prefix.into(),
            bytes: 0,
            source,
            lenient: false,
            faults: Vec::new(),
        }
    }

    /// Reads one file and all below it; returns its index.
    fn load(&mut self, path: &str, depth: usize) -> Result<usize, TreeFault> {
        if self.tree.files.len() >= FILES_MAX || depth >= DEPTH_MAX || self.bytes > TREE_BYTES_MAX {
            return Err(TreeFault::TooMany { path: path.into() });
        }
        let text = self.source.text(path)?;
        self.bytes = self.bytes.saturating_add(text.len());
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
            for file in self.source.expand(path, line, &pattern)? {
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
}

/// Where the files of a configuration come from.
trait Source {
    fn text(&self, path: &str) -> Result<String, TreeFault>;
    /// Returns the files of an `include`, in nginx's order.
    fn expand(&self, path: &str, line: usize, pattern: &str) -> Result<Vec<String>, TreeFault>;
}

/// The files of this machine, as they will be with the overlay.
struct Disk<'a> {
    overlay: &'a Overlay,
}

impl Source for Disk<'_> {
    /// A file behind a link has two names.
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

    fn expand(&self, path: &str, line: usize, pattern: &str) -> Result<Vec<String>, TreeFault> {
        let mut files = expand(path, line, pattern)?;
        // Taken away by its own name; a name without a pattern has to exist.
        files.retain(|file| self.overlay.get(file) != Some(&None) || pattern == file);
        Ok(files)
    }
}

/// The files of one text, by their paths.
struct Dump(BTreeMap<String, String>);

impl Source for Dump {
    fn text(&self, path: &str) -> Result<String, TreeFault> {
        // Only what is there is ever asked for.
        Ok(self.0.get(path).cloned().unwrap_or_default())
    }

    fn expand(&self, path: &str, line: usize, pattern: &str) -> Result<Vec<String>, TreeFault> {
        if !is_pattern(pattern) {
            return Ok(self.0.keys().filter(|file| *file == pattern).cloned().collect());
        }
        let wanted = glob::Pattern::new(pattern)
            .map_err(|fault| bad_pattern(path, line, pattern, fault.to_string()))?;
        let files = self.0.keys().filter(|file| wanted.matches_with(file, OPTIONS));
        Ok(files.cloned().collect())
    }
}

/// Reads a regular file; nginx itself opens what its configuration names, and a FIFO hangs nginx,
/// not us.
pub(crate) fn text_of(path: &str) -> Result<String, TreeFault> {
    let read = |source| TreeFault::Read { path: path.into(), source };
    let unfit = |what: String| read(io::Error::new(io::ErrorKind::InvalidData, what));
    let regular = |meta: &std::fs::Metadata| match FileKind::of_mode(meta.mode()) {
        FileKind::Regular => Ok(()),
        kind => Err(unfit(format!("it is {kind}"))),
    };
    // Looked at before it is opened: opening a FIFO wakes its writer.
    regular(&std::fs::metadata(path).map_err(read)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| read(errno.into()))?;
    let file = std::fs::File::from(file);
    let mut bytes = Vec::new();
    regular(&file.metadata().map_err(read)?)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unfit(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    // A comment in Latin-1 is no fault to nginx.
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

/// How nginx's glob(3) compares names.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn bad_pattern(path: &str, line: usize, pattern: &str, reason: String) -> TreeFault {
    let (path, pattern) = (path.into(), pattern.into());
    TreeFault::Pattern { path, line, pattern, reason }
}

/// Expands a pattern as nginx does: sorted, hidden files only by name, no match is no fault; a
/// name without a pattern has to exist.
fn expand(path: &str, line: usize, pattern: &str) -> Result<Vec<String>, TreeFault> {
    if !is_pattern(pattern) {
        return Ok(vec![pattern.into()]);
    }
    let fault = |reason: String| bad_pattern(path, line, pattern, reason);
    if pattern.split('/').filter(|part| is_pattern(part)).count() > PATTERN_FOLDERS_MAX {
        return Err(fault(format!("more than {PATTERN_FOLDERS_MAX} of its folders are patterns")));
    }
    let found = glob::glob_with(pattern, OPTIONS).map_err(|f| fault(f.to_string()))?;
    let mut files = Vec::new();
    for entry in found.take(FILES_MAX) {
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
    fn what_nginx_prints_keeps_the_places_of_its_files() {
        let dump = "nginx: the configuration file /e/nginx.conf syntax is ok\n\
                    nginx: configuration file /e/nginx.conf test is successful\n\
                    # configuration file /e/nginx.conf:\na;\nhttp { include conf.d/*.conf; }\n\n\
                    # configuration file /e/conf.d/x.conf:\n\nb;\n\n";
        let mut told = Vec::new();
        let tree = read_text(dump, "-").unwrap();
        tree.visit(&mut |visit| told.push(format!("{} {}", visit.place(), visit.directive.name)));
        let expected = [
            "/e/nginx.conf:1 a",
            "/e/nginx.conf:2 http",
            "/e/nginx.conf:2 include",
            "/e/conf.d/x.conf:2 b",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_single_text_reaches_no_file() {
        let tree = read_text("include /etc/passwd; include /etc/*; a;", "-").unwrap();
        assert_eq!(tree.files.len(), 1);
    }

    #[test]
    fn files_of_a_dump_that_include_each_other_end() {
        let twice = "include /e/a;\n".repeat(2);
        let dump = format!("# configuration file /e/a:\n{twice}");
        assert!(read_text(&dump, "-").unwrap_err().to_string().contains("include each other"));
    }

    #[test]
    fn a_fifo_or_a_device_is_not_opened() {
        let (dir, main) = written(&[("nginx.conf", "include fifo;")]);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let fault = read(&main).unwrap_err();
        assert!(fault.to_string().ends_with("fifo"), "{fault}");
        fs::write(main.as_str(), "include /dev/zero;").unwrap();
        assert!(read(&main).is_err());
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
