//! What can be told of the repositories of git that there are, without running anything.
//!
//! `git status` in a stranger's repository runs whatever its configuration names (`core.fsmonitor`, filters,
//! hooks), so nobody is asked what was changed. What is read is where each of them stands, and when its index
//! was written last: HEAD, by which a branch is found again, and nothing that could be a link, on another
//! file system, or large.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oh_host::instances;
use oh_host::way::Way;
use oh_model::path::RealPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::About;
use super::items::Collector;

/// How many are told of.
const REPOSITORIES_MAX: usize = 1000;

/// How much of a file of git is read, in bytes; a name of a branch has 255 at most.
const FILE_BYTES_MAX: u64 = 1024;

/// How a file is opened that may be a pipe or a terminal by then.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What git calls what it has of a repository, a working tree elsewhere has a file by that name
/// (gitrepository-layout(5)).
const GIT: &str = ".git";

/// Adds a line of each repository among what is left over, and of the folder of each instance.
pub(super) fn gather(collector: &mut Collector, about: &About<'_>) {
    let mut table = String::new();
    let mut count = 0_usize;
    let mut places: Vec<(RealPath, PathBuf)> = Vec::new();
    for one in about.facts.leftovers.iter().filter(|one| one.is_owned && !one.thing.is_mount) {
        let name = Path::new(OsStr::from_bytes(one.thing.name.as_bytes()));
        for below in &one.survey.repositories {
            places.push((one.thing.folder.clone(), name.join(below)));
        }
    }
    for record in instances::records(&about.host.root).unwrap_or_default().into_iter().flatten() {
        if let Ok(folder) = about.host.root.real(&record.folder) {
            places.push((folder, ".".into()));
        }
    }
    for (folder, below) in places {
        if count == REPOSITORIES_MAX {
            collector.miss("repositories", format!("there are more than {REPOSITORIES_MAX}"));
            break;
        }
        match told(&folder, &below) {
            Ok(Some(told)) => {
                count += 1;
                let shown = Path::new(folder.as_str()).join(&below);
                let shown = collector.redactor.string(&shown.to_string_lossy());
                let mut row = json!({ "folder": shown.trim_end_matches("/.") });
                for (key, value) in told {
                    row[key] = match value {
                        Value::String(text) => json!(collector.redactor.string(&text)),
                        value => value,
                    };
                }
                table.push_str(&format!("{row}\n"));
            }
            Ok(None) => {}
            Err(why) => collector.miss(format!("the repository {folder}/{}", below.display()), why),
        }
    }
    collector.add_redacted("repositories.jsonl", table.into_bytes());
}

/// What is told of one, by its keys; `None` where there is none by now.
fn told(folder: &RealPath, below: &Path) -> Result<Option<Vec<(&'static str, Value)>>, String> {
    let way = Way::to(folder).map_err(|fault| crate::apply::chain(&fault))?;
    let way = way.open().map_err(|fault| crate::apply::chain(&fault))?;
    let git = below.join(GIT);
    match told_in(way.as_fd(), &git) {
        Ok(told) => Ok(Some(told)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.to_string()),
    }
}

fn told_in(folder: BorrowedFd<'_>, git: &Path) -> Result<Vec<(&'static str, Value)>, Errno> {
    let open = beneath(folder, git, OFlags::PATH)?;
    if FileType::from_raw_mode(stat(open.as_fd(), Path::new(""))?.stx_mode.into())
        != FileType::Directory
    {
        return Ok(vec![("elsewhere", line_of(folder, git)?)]);
    }
    let of = |name: &str| beneath(open.as_fd(), Path::new(name), OFlags::PATH);
    let head = line_of(open.as_fd(), Path::new("HEAD")).unwrap_or(Value::Null);
    let branch = head.as_str().and_then(|head| head.strip_prefix("ref: ")).map(str::to_owned);
    let at = branch.and_then(|branch| line_of(open.as_fd(), Path::new(&branch)).ok());
    let index = of("index").and_then(|index| stat(index.as_fd(), Path::new("")));
    let index = index
        .ok()
        .map(|stat| json!({ "bytes": stat.stx_size, "modified_s": stat.stx_mtime.tv_sec }));
    // What git keeps while it merges, rebases or locks says that something was under way.
    let marks = ["MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "index.lock"];
    let marks: Vec<&str> = marks.into_iter().filter(|mark| of(mark).is_ok()).collect();
    let stash = of("refs/stash").is_ok();
    Ok(vec![
        ("head", head),
        ("at", at.unwrap_or(Value::Null)),
        ("index", json!(index)),
        ("under_way", json!(marks)),
        ("has_stash", json!(stash)),
    ])
}

/// Opens what is below a folder: through no link, and on its own file system.
fn beneath(folder: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(folder, path, flags, Mode::empty(), within)
}

fn stat(folder: BorrowedFd<'_>, path: &Path) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(folder, path, flags, StatxFlags::BASIC_STATS)
}

/// Reads the first line of a small file; what is no file, such as a pipe, is not opened for reading.
fn line_of(folder: BorrowedFd<'_>, path: &Path) -> Result<Value, Errno> {
    let looked = beneath(folder, path, OFlags::PATH)?;
    let kind = stat(looked.as_fd(), Path::new(""))?.stx_mode.into();
    if FileType::from_raw_mode(kind) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    // It may have been exchanged since; nothing waits, and what is read has its limit.
    let file = beneath(folder, path, READ)?;
    let mut bytes = Vec::new();
    let read = File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|fault| Errno::from_io_error(&fault).unwrap_or(Errno::IO))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(json!(text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn row(folder: &Path) -> Result<Option<Value>, String> {
        let real = RealPath::parse(folder.to_str().unwrap()).unwrap();
        let told = told(&real, Path::new("."))?;
        Ok(told.map(|told| told.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
    }

    #[test]
    fn a_repository_is_told_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().join(below);
        assert_eq!(row(dir.path()), Ok(None));
        fs::create_dir_all(at(".git/refs/heads")).unwrap();
        fs::write(at(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(at(".git/refs/heads/main"), "0123abcd\n").unwrap();
        fs::write(at(".git/index"), "12345").unwrap();
        fs::write(at(".git/MERGE_HEAD"), "").unwrap();
        let told = row(dir.path()).unwrap().unwrap();
        assert_eq!(told["head"], "ref: refs/heads/main");
        assert_eq!(told["at"], "0123abcd");
        assert_eq!(told["index"]["bytes"], 5);
        assert_eq!(
            (&told["under_way"], &told["has_stash"]),
            (&json!(["MERGE_HEAD"]), &json!(false))
        );
    }

    #[test]
    fn what_somebody_planted_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().join(below);
        fs::write(at("secret"), "secret\n").unwrap();
        fs::create_dir_all(at("a/.git")).unwrap();
        symlink(at("secret"), at("a/.git/HEAD")).unwrap();
        let told = row(&at("a")).unwrap().unwrap();
        assert_eq!((&told["head"], &told["at"]), (&Value::Null, &Value::Null));
        // The name of a branch is anybody's to write.
        for branch in ["../../secret", "/etc/passwd", "a\0b", "", &"x/".repeat(4000)] {
            fs::remove_file(at("a/.git/HEAD")).ok();
            fs::write(at("a/.git/HEAD"), format!("ref: {branch}\n")).unwrap();
            assert_eq!(row(&at("a")).unwrap().unwrap()["at"], Value::Null, "{branch}");
        }
        // A pipe is not waited for, and a large file is not read.
        fs::remove_file(at("a/.git/HEAD")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("a/.git/HEAD"), 0o600.into()).unwrap();
        assert_eq!(row(&at("a")).unwrap().unwrap()["head"], Value::Null);
        fs::remove_file(at("a/.git/HEAD")).unwrap();
        fs::write(at("a/.git/HEAD"), "x".repeat(1 << 20)).unwrap();
        let head = row(&at("a")).unwrap().unwrap()["head"].as_str().map(str::len);
        assert_eq!(head, Some(1024));
        fs::create_dir(at("b")).unwrap();
        symlink(at("a/.git"), at("b/.git")).unwrap();
        row(&at("b")).unwrap_err();
        // A working tree elsewhere says where its repository is, and that is not followed.
        fs::create_dir(at("c")).unwrap();
        fs::write(at("c/.git"), "gitdir: ../a/.git\n").unwrap();
        assert_eq!(row(&at("c")).unwrap().unwrap(), json!({ "elsewhere": "gitdir: ../a/.git" }));
    }
}
