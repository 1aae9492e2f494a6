//! What is gathered, in the order in which it vanishes, and how much of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};

use jiff::Timestamp;
use oh_host::instances::{RECORDS_FOLDER, STATES_FOLDER};
use oh_host::journal::JOURNALS_FOLDER;
use oh_host::logs::is_of_word;
use oh_host::process::Processes;
use oh_host::publish::Host;
use oh_host::quarantine::Thing;
use oh_host::way::{Way, WayFault};
use oh_model::path::{InRoot, RealPath};
use oh_model::redact::Redactor;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::{About, EvidenceFault, logs, processes, repositories};

/// The largest item, in bytes.
pub(super) const ITEM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much all items have together, in bytes.
const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many files of one folder are kept.
const FILES_MAX: usize = 1000;

/// What the kernel tells of the machine, and what that is called.
const OF_KERNEL: [(&str, &str); 8] = [
    ("sockets/tcp", "/proc/net/tcp"),
    ("sockets/tcp6", "/proc/net/tcp6"),
    ("sockets/udp", "/proc/net/udp"),
    ("sockets/udp6", "/proc/net/udp6"),
    ("sockets/unix", "/proc/net/unix"),
    ("meminfo", "/proc/meminfo"),
    ("loadavg", "/proc/loadavg"),
    ("mountinfo", "/proc/self/mountinfo"),
];

/// The version of the kernel (proc_sys_kernel(5)).
const KERNEL: &str = "/proc/sys/kernel/osrelease";

/// A file of the archive.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: String,
    /// What it has, without secrets.
    pub(super) bytes: Vec<u8>,
    /// Whether it had more.
    pub(super) is_cut: bool,
}

/// What could not be kept.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) name: String,
    pub(super) why: String,
}

/// Everything that the archive has.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) at: Timestamp,
    /// Who ran the command, and why.
    pub(super) by: Value,
    pub(super) machine: Value,
    pub(super) items: Vec<Item>,
    pub(super) missing: Vec<Missing>,
}

/// Gathers everything; changes nothing.
pub(super) fn gather(about: &About<'_>) -> Result<Gathered, EvidenceFault> {
    let all = Processes::look()?;
    let at = Timestamp::now();
    let ending = processes::ending(about.facts, about.plan);
    let redactor = Redactor::of(processes::secrets(about.host, &ending));
    let by = processes::by(&redactor, &all, about.reason);
    let mut collector = Collector::new(redactor);
    processes::gather(&mut collector, &all, &ending);
    for (name, path) in OF_KERNEL {
        match read(path) {
            Ok((bytes, is_cut)) => collector.put(name, bytes, is_cut),
            Err(fault) => collector.miss(name, fault.to_string()),
        }
    }
    disks(&mut collector, about);
    plan(&mut collector, about);
    files(&mut collector, about);
    repositories::gather(&mut collector, about);
    logs::of_nginx(&mut collector, about.host);
    logs::of_editors(&mut collector, about.host);
    let kernel = std::fs::read_to_string(KERNEL).unwrap_or_default();
    let machine = json!({
        "boot_id": about.boot_id.as_str(),
        "kernel": kernel.trim_end(),
        "root": about.host.root.base().map_or("/", RealPath::as_str),
    });
    Ok(Gathered { at, by, machine, items: collector.items, missing: collector.missing })
}

/// Puts items together, within the limits and without secrets.
pub(super) struct Collector {
    pub(super) redactor: Redactor,
    items: Vec<Item>,
    missing: Vec<Missing>,
    bytes: usize,
}

impl Collector {
    fn new(redactor: Redactor) -> Self {
        Self { redactor, items: Vec::new(), missing: Vec::new(), bytes: 0 }
    }

    /// Adds a whole item.
    pub(super) fn add(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.put(name, bytes, false);
    }

    /// Adds a whole item whose texts are without secrets, each by itself: where a secret ends is known
    /// better there than in the whole.
    pub(super) fn add_redacted(&mut self, name: &str, bytes: Vec<u8>) {
        self.keep(name.into(), bytes, false);
    }

    /// Adds what was the beginning of more.
    pub(super) fn add_head(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.put(name, bytes, true);
    }

    /// Says that something is missing.
    pub(super) fn miss(&mut self, name: impl Into<String>, why: impl Into<String>) {
        let (name, why) = (self.redactor.string(&name.into()), why.into());
        self.missing.push(Missing { name, why: self.redactor.string(&why) });
    }

    /// Returns the names in a folder, in order; where there is none, there are none.
    pub(super) fn names(&mut self, what: &str, folder: &RealPath, max: usize) -> Vec<String> {
        let entries = match std::fs::read_dir(folder.as_str()) {
            Ok(entries) => entries,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(fault) => {
                self.miss(what, fault.to_string());
                return Vec::new();
            }
        };
        // What is no text is nothing of ours.
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        if names.len() > max {
            self.miss(what, format!("there are {}, and {max} are kept", names.len()));
            names.truncate(max);
        }
        names
    }

    fn put(&mut self, name: impl Into<String>, bytes: Vec<u8>, is_head: bool) {
        let name = self.redactor.string(&name.into());
        let bytes = if is_head { before_cut(bytes) } else { bytes };
        let bytes = self.redactor.text(&bytes);
        self.keep(name, bytes, is_head);
    }

    fn keep(&mut self, name: String, mut bytes: Vec<u8>, is_head: bool) {
        let is_cut = is_head || bytes.len() > ITEM_BYTES_MAX;
        bytes.truncate(ITEM_BYTES_MAX);
        if self.bytes + bytes.len() > BUNDLE_BYTES_MAX {
            return self.miss(name, "the archive has as much as it may");
        }
        self.bytes += bytes.len();
        self.items.push(Item { name, bytes, is_cut });
    }

    /// Adds a file, which is no link; one that is not there is missing only where that is said.
    fn file(&mut self, name: &str, path: &RealPath) {
        match read(path.as_str()) {
            Ok((bytes, is_cut)) => self.put(name, bytes, is_cut),
            Err(fault) => self.miss(name, fault.to_string()),
        }
    }

    /// Adds the files of a folder.
    fn folder(&mut self, what: &str, host: &Host, folder: &str) {
        let folder = match InRoot::parse(folder).and_then(|folder| host.root.real(&folder)) {
            Ok(folder) => folder,
            Err(fault) => return self.miss(what, fault.to_string()),
        };
        for name in self.names(what, &folder, FILES_MAX) {
            match folder.join(&name) {
                Ok(path) => self.file(&format!("{what}/{name}"), &path),
                Err(fault) => self.miss(format!("{what}/{name}"), fault.to_string()),
            }
        }
    }
}

/// How full the disks are that a cleanup has to do with.
fn disks(collector: &mut Collector, about: &About<'_>) {
    let host = about.host;
    let mut folders: BTreeSet<RealPath> = BTreeSet::new();
    let journals = InRoot::parse(JOURNALS_FOLDER).ok();
    let settings = &host.settings;
    let databases = [&settings.instances.port_database, &settings.instances.repository_database];
    let configured = settings.cleanup.leftovers.iter().map(|pattern| pattern.folder().clone());
    let configured = configured.chain(databases.map(InRoot::parent)).chain(journals);
    let configured = configured.chain([settings.sessions.directory.clone()]);
    folders.extend(configured.filter_map(|folder| host.root.real(&folder).ok()));
    let mut table = String::new();
    for folder in folders {
        // What a stranger has mounted there may never answer.
        if let Err(fault @ WayFault::Mounted { .. }) = Way::to(&folder) {
            collector.miss(format!("the disk of {folder}"), fault.to_string());
            continue;
        }
        match rustix::fs::statvfs(folder.as_str()) {
            Ok(disk) => {
                let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                let row = json!({
                    "folder": folder.as_str(),
                    "disk": disk.f_fsid,
                    "bytes": bytes(disk.f_blocks),
                    "free_bytes": bytes(disk.f_bfree),
                    "available_bytes": bytes(disk.f_bavail),
                    "files": disk.f_files,
                    "free_files": disk.f_ffree,
                });
                table.push_str(&format!("{row}\n"));
            }
            // Where nothing is yet, there is no disk to be full.
            Err(Errno::NOENT) => {}
            Err(errno) => collector.miss(format!("the disk of {folder}"), errno.to_string()),
        }
    }
    collector.add("disks.jsonl", table.into_bytes());
}

/// What is about to be done, and what is not.
fn plan(collector: &mut Collector, about: &About<'_>) {
    let all = |list: &[oh_model::plan::Exclusion]| -> Vec<Value> {
        list.iter().map(|one| json!({ "subject": one.subject, "reason": one.reason })).collect()
    };
    let steps = json!({ "steps": about.plan.steps, "digest": about.plan.digest().to_string() });
    collector.add("plan.json", format!("{steps:#}\n").into_bytes());
    // By itself: anybody may give names to what is kept, and as many as they like.
    let kept = json!({
        "kept": all(&about.plan.exclusions),
        "not_seen": all(&about.facts.unseen),
    });
    collector.add("kept.json", format!("{kept:#}\n").into_bytes());
}

/// The files that say what should run, as they are.
fn files(collector: &mut Collector, about: &About<'_>) {
    let host = about.host;
    let settings = &host.settings.instances;
    for path in [&settings.port_database, &settings.repository_database] {
        let name = format!("databases/{}", path.name());
        match host.root.real(path) {
            Ok(path) => collector.file(&name, &path),
            Err(fault) => collector.miss(name, fault.to_string()),
        }
    }
    for session in &about.facts.sessions {
        let Thing { folder, .. } = &session.thing;
        let name = format!("{}.json", session.id);
        if let Ok(path) = folder.join(&name) {
            collector.file(&format!("sessions/{name}"), &path);
        }
    }
    collector.folder("instances", host, RECORDS_FOLDER);
    collector.folder("states", host, STATES_FOLDER);
}

/// Reads a file, at most as much as an item has; says whether it has more. What is no file, such as a
/// pipe or a link that somebody put there, is not read.
fn read(path: &str) -> io::Result<(Vec<u8>, bool)> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(ITEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > ITEM_BYTES_MAX;
    Ok((bytes, is_cut))
}

/// Leaves out the beginning of a word at the end of what was cut: it may be of a secret.
fn before_cut(mut bytes: Vec<u8>) -> Vec<u8> {
    let word = bytes.iter().rev().take_while(|byte| is_of_word(**byte)).count();
    bytes.truncate(bytes.len() - word);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector() -> Collector {
        Collector::new(Redactor::of([b"0123456789abcdef".to_vec()]))
    }

    #[test]
    fn an_item_that_is_too_large_is_cut_and_says_so() {
        let mut collector = collector();
        collector.add("a", vec![b'.'; ITEM_BYTES_MAX]);
        collector.add("b", vec![b'.'; ITEM_BYTES_MAX + 1]);
        let shown: Vec<_> = collector
            .items
            .iter()
            .map(|item| (&*item.name, item.bytes.len(), item.is_cut))
            .collect();
        assert_eq!(shown, [("a", ITEM_BYTES_MAX, false), ("b", ITEM_BYTES_MAX, true)]);
    }

    #[test]
    fn what_is_too_much_together_is_missing_by_name() {
        let mut collector = collector();
        collector.bytes = BUNDLE_BYTES_MAX - 1;
        for (name, bytes) in [("two", "ab"), ("one", "a"), ("none", ""), ("more", "a")] {
            collector.add(name, bytes.into());
        }
        let kept: Vec<_> = collector.items.iter().map(|item| &*item.name).collect();
        let missing: Vec<_> = collector.missing.iter().map(|one| &*one.name).collect();
        assert_eq!((kept, missing), (vec!["one", "none"], vec!["two", "more"]));
    }

    #[test]
    fn a_secret_that_a_limit_cuts_goes_whole() {
        let mut collector = collector();
        collector.add_head("a", b"x 0123456789abc".to_vec());
        collector.add("b", b"x 0123456789abcdef y".to_vec());
        let texts: Vec<_> = collector.items.iter().map(|item| &*item.bytes).collect();
        assert_eq!(texts, [&b"x "[..], b"x <redacted> y"]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("file")).unwrap(), (b"text".to_vec(), false));
        for other in [at("link"), at(""), at("none")] {
            read(&other).unwrap_err();
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_empty() {
        let mut collector = collector();
        let folder = RealPath::parse("/nonexistent/of/nobody").unwrap();
        assert!(collector.names("a", &folder, 1).is_empty() && collector.missing.is_empty());
        let folder = RealPath::parse("/proc/self/status").unwrap();
        assert!(collector.names("a", &folder, 1).is_empty());
        assert_eq!(collector.missing.len(), 1);
    }
}
