//! The record of what was taken over: the receipt and, beside it, every file that changed.
//!
//! Written and synced before the first change, in a folder that is ours alone. `kept/N` is what a
//! name was, `made/N` what it became; receipt.json says which names these are, with owners, modes
//! and times. The receipt is written last, so a folder without one is what a run left that was
//! killed before it changed anything.

use oh_host::atomic::{self, Meta};
use oh_host::discard;
use oh_host::entry::{self, Entry, Modified};
use oh_host::folder::read_trusted;
use oh_host::publish::real;
use oh_host::root::Root;
use oh_model::path::{InRoot, RealPath};
use serde::{Deserialize, Serialize};

use super::fault::AdoptFault;
use super::plan::{Change, Doing};

/// Where the record is.
const FOLDER: &str = "/var/lib/openhands-toolkit/adopted";

/// The name of the receipt.
const RECEIPT: &str = "receipt.json";

/// The version of its format.
const SCHEMA: u32 = 1;

/// The largest receipt, in bytes.
const RECEIPT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Nobody else looks into the record: it may hold what was secret in the originals.
const PRIVATE_FOLDER: Meta = Meta { mode: 0o700, owner: None };
const PRIVATE_FILE: Meta = Meta { mode: 0o600, owner: None };

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The configuration that was in force, as a file: it says where our own files are.
    pub(crate) config: String,
    /// The names that changed, in order.
    pub(crate) changes: Vec<Change>,
    /// The folders that were made, the deepest last.
    pub(crate) folders: Vec<InRoot>,
    /// Whether our own routes were published before.
    pub(crate) ours_before: bool,
    /// Whether there was a file of users before.
    pub(crate) users_before: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFile {
    schema: u32,
    tool_version: String,
    config: String,
    ours_before: bool,
    users_before: bool,
    folders: Vec<String>,
    changes: Vec<ChangeFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeFile {
    path: String,
    doing: DoingFile,
    before: EntryFile,
    after: EntryFile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum DoingFile {
    Configure,
    Shim,
    Unlink,
    Remove,
    Edit { lines: Vec<(usize, usize)> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EntryFile {
    Absent,
    File {
        copy: String,
        sha256: String,
        mode: u32,
        owner: Option<(u32, u32)>,
        modified: Option<(i64, u32)>,
    },
    Link {
        target: String,
        owner: (u32, u32),
        modified: (i64, u32),
    },
}

/// Returns where the record is below a root.
///
/// # Errors
/// [`AdoptFault`].
pub(crate) fn folder(root: &Root) -> Result<RealPath, AdoptFault> {
    let inside = InRoot::parse(FOLDER);
    let inside = inside.map_err(|source| AdoptFault::Path { path: FOLDER.into(), source })?;
    Ok(real(root, &inside)?)
}

/// Reads the record; `None` where nothing was taken over.
///
/// # Errors
/// [`AdoptFault::Record`] where it is not ours alone, or not what was written.
pub(crate) fn read(root: &Root) -> Result<Option<Receipt>, AdoptFault> {
    let folder = folder(root)?;
    let bad = |why: String| AdoptFault::Record { folder: folder.to_string(), why };
    let path = below(&folder, RECEIPT)?;
    let text =
        read_trusted(root, &path, RECEIPT_BYTES_MAX).map_err(|fault| bad(fault.to_string()))?;
    let Some(text) = text else { return Ok(None) };
    let file: ReceiptFile =
        serde_json::from_str(&text).map_err(|fault| bad(format!("{RECEIPT}: {fault}")))?;
    if file.schema != SCHEMA {
        return Err(bad(format!("{RECEIPT} has version {}, not {SCHEMA}", file.schema)));
    }
    let mut changes = Vec::with_capacity(file.changes.len());
    for change in file.changes {
        let inside = inside(&change.path)?;
        changes.push(Change {
            path: real(root, &inside)?,
            doing: match change.doing {
                DoingFile::Configure => Doing::Configure,
                DoingFile::Shim => Doing::Shim,
                DoingFile::Unlink => Doing::Unlink,
                DoingFile::Remove => Doing::Remove,
                DoingFile::Edit { lines } => Doing::Edit(lines),
            },
            before: entry_of(&folder, change.before)?,
            after: entry_of(&folder, change.after)?,
        });
    }
    Ok(Some(Receipt {
        config: file.config,
        changes,
        folders: file.folders.iter().map(|path| inside(path)).collect::<Result<_, _>>()?,
        ours_before: file.ours_before,
        users_before: file.users_before,
    }))
}

/// Writes the record, the receipt last.
///
/// # Errors
/// [`AdoptFault`]; nothing of the installation was changed.
pub(crate) fn write(root: &Root, receipt: &Receipt) -> Result<(), AdoptFault> {
    let folder = folder(root)?;
    for below_it in [None, Some("kept"), Some("made")] {
        let path = below_it.map_or_else(|| Ok(folder.clone()), |name| below(&folder, name))?;
        atomic::create_dirs(&path, PRIVATE_FOLDER)?;
    }
    let mut changes = Vec::with_capacity(receipt.changes.len());
    for (index, change) in receipt.changes.iter().enumerate() {
        let Some(path) = root.inside(&change.path) else {
            let what = format!("{} is not below the root", change.path);
            return Err(AdoptFault::refused(what, "run the command again"));
        };
        changes.push(ChangeFile {
            path: path.to_string(),
            doing: match &change.doing {
                Doing::Configure => DoingFile::Configure,
                Doing::Shim => DoingFile::Shim,
                Doing::Unlink => DoingFile::Unlink,
                Doing::Remove => DoingFile::Remove,
                Doing::Edit(lines) => DoingFile::Edit { lines: lines.clone() },
            },
            before: keep(&folder, &format!("kept/{index}"), &change.before)?,
            after: keep(&folder, &format!("made/{index}"), &change.after)?,
        });
    }
    let file = ReceiptFile {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        config: receipt.config.clone(),
        ours_before: receipt.ours_before,
        users_before: receipt.users_before,
        folders: receipt.folders.iter().map(ToString::to_string).collect(),
        changes,
    };
    let text = serde_json::to_string_pretty(&file);
    let text = text.map_err(|fault| AdoptFault::Record {
        folder: folder.to_string(),
        why: fault.to_string(),
    })?;
    atomic::replace(&below(&folder, RECEIPT)?, text.as_bytes(), PRIVATE_FILE)?;
    Ok(())
}

/// Removes the record, the receipt first: from then on nothing is taken over.
///
/// # Errors
/// [`AdoptFault`].
pub(crate) fn remove(root: &Root) -> Result<(), AdoptFault> {
    let folder = folder(root)?;
    if std::fs::symlink_metadata(folder.as_str()).is_err() {
        return Ok(());
    }
    atomic::remove_file(&below(&folder, RECEIPT)?)?;
    discard::remove_folder(&folder).map_err(|(path, fault)| AdoptFault::Record {
        folder: folder.to_string(),
        why: format!("{path} cannot be removed: {fault}"),
    })
}

/// Says whether there is a folder of the record, with a receipt or without.
pub(crate) fn exists(root: &Root) -> Result<bool, AdoptFault> {
    Ok(std::fs::symlink_metadata(folder(root)?.as_str()).is_ok())
}

fn keep(folder: &RealPath, copy: &str, entry: &Entry) -> Result<EntryFile, AdoptFault> {
    let pair = |modified: Modified| (modified.seconds, modified.nanoseconds);
    Ok(match entry {
        Entry::Absent => EntryFile::Absent,
        Entry::File { bytes, mode, owner, modified } => {
            atomic::replace(&below(folder, copy)?, bytes, PRIVATE_FILE)?;
            EntryFile::File {
                copy: copy.into(),
                sha256: entry::digest(bytes),
                mode: *mode,
                owner: *owner,
                modified: modified.map(pair),
            }
        }
        Entry::Link { target, owner, modified } => {
            EntryFile::Link { target: target.clone(), owner: *owner, modified: pair(*modified) }
        }
    })
}

fn entry_of(folder: &RealPath, entry: EntryFile) -> Result<Entry, AdoptFault> {
    let stamp = |(seconds, nanoseconds): (i64, u32)| Modified { seconds, nanoseconds };
    Ok(match entry {
        EntryFile::Absent => Entry::Absent,
        EntryFile::File { copy, sha256, mode, owner, modified } => {
            let bytes = atomic::read_limited(&below(folder, &copy)?, entry::BYTES_MAX)?;
            let bytes = bytes.filter(|bytes| entry::digest(bytes) == sha256);
            let Some(bytes) = bytes else {
                let why = format!("{copy} is missing or was changed");
                return Err(AdoptFault::Record { folder: folder.to_string(), why });
            };
            Entry::File { bytes, mode, owner, modified: modified.map(stamp) }
        }
        EntryFile::Link { target, owner, modified } => {
            Entry::Link { target, owner, modified: stamp(modified) }
        }
    })
}

fn inside(path: &str) -> Result<InRoot, AdoptFault> {
    InRoot::parse(path).map_err(|source| AdoptFault::Path { path: path.into(), source })
}

fn below(folder: &RealPath, name: &str) -> Result<RealPath, AdoptFault> {
    folder.join(name).map_err(|source| AdoptFault::Path { path: name.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written_and_a_changed_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path()).unwrap();
        let at = |path| real(&root, &InRoot::parse(path).unwrap()).unwrap();
        let modified = Modified { seconds: 1, nanoseconds: 2 };
        let file = Entry::File {
            bytes: b"a\xff".to_vec(),
            mode: 0o640,
            owner: Some((1, 2)),
            modified: Some(modified),
        };
        let link = Entry::Link { target: "x".into(), owner: (0, 0), modified };
        let change = |path, before, after| Change {
            path: at(path),
            doing: Doing::Edit(vec![(1, 2)]),
            before,
            after,
        };
        let receipt = Receipt {
            config: "[toolkit]\n".into(),
            changes: vec![
                change("/a", file.clone(), Entry::Absent),
                change("/b", Entry::Absent, file),
                change("/c", link, Entry::Absent),
            ],
            folders: vec![InRoot::parse("/etc/x").unwrap()],
            ours_before: false,
            users_before: true,
        };
        assert_eq!(read(&root).unwrap(), None);
        write(&root, &receipt).unwrap();
        let text = std::fs::read_to_string(format!("{}/{RECEIPT}", folder(&root).unwrap()));
        let expected = include_str!("../../../../fixtures/receipt/1.json");
        // The version of the tool is the only word that another one writes differently.
        let version = |text: &str| text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        assert_eq!(version(&text.unwrap()), expected.trim_end());
        assert_eq!(read(&root).unwrap(), Some(receipt));
        let kept = format!("{}/kept/0", folder(&root).unwrap());
        std::fs::write(kept, "other").unwrap();
        let fault = read(&root).unwrap_err().to_string();
        assert!(fault.ends_with("kept/0 is missing or was changed"), "{fault}");
        remove(&root).unwrap();
        assert_eq!(read(&root).unwrap(), None);
        assert!(!exists(&root).unwrap());
    }
}
