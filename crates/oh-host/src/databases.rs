//! Changes the databases of the original application, which writes them without a lock.
//!
//! [`edit`] reads a database, changes it and puts the new one in its place by one rename, so that
//! every reader meets a whole file, and a full disk or a kill leaves the old one. Our own tools
//! keep apart by their locks. The application knows none, so the file is compared to what was
//! read at the last moment before the rename, and once more behind it: old and new exchange their
//! names, so the old one can be put back. Where it is another, everything starts over.
//!
//! What this cannot do: the application keeps what it once read and writes all of it, so an edit
//! of ours may be gone a moment later. [`verify`] tells. And what the application writes into a
//! file that it opened before the exchange and had not written by then is lost.
//!
//! A file that is no JSON is given time, as its writer may be half way. If it holds still it is
//! torn: it is kept beside, and what can be read of it is gone on with. It is never taken for an
//! empty one.

use core::time::Duration;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use jiff::Timestamp;
use oh_model::databases::{DatabaseFault, Document, Lost};
use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::{InRoot, PathFault, RealPath};
use thiserror::Error;

use crate::atomic::{self, Change, FileFault, Meta, Temp};
use crate::folder::{FileBytes, OwnedFault, Refusal, read_owned_bytes};
use crate::lock::{Databases, Held, LockFault};
use crate::root::Root;
use crate::users::{OwnerSet, is_root};
use crate::way::{Way, WayFault};

/// The largest database that is read, in bytes.
pub const DATABASE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The mode of a database that is new; everybody reads it, as the application makes it.
const NEW_MODE: u32 = 0o644;
/// The mode of a torn file that is kept.
const TORN_MODE: u32 = 0o600;
/// How long to wait before a file is looked at again that is not whole.
const PAUSE: Duration = Duration::from_millis(20);
/// How many looks in a row have to find the same torn file: half a second. A writer that was
/// held up for longer finds its file replaced.
const TORN_LOOKS: u32 = 25;
/// How often a file is looked at that is never whole and never still: three seconds.
const LOOKS_MAX: u32 = 150;
/// How often an edit starts over because somebody wrote to the file.
const STARTS_MAX: u32 = 32;
/// How many torn files of one second are kept.
const SAME_SECOND_MAX: u32 = 100;

/// Which database, and whose file it may be.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// The root that the path is below.
    pub root: &'p Root,
    /// The file.
    pub path: &'p InRoot,
    /// Who may own it.
    pub owners: &'p OwnerSet,
}

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited<T> {
    /// What the change returned.
    pub value: T,
    /// Whether anything was written.
    pub change: Change,
    /// The file was torn.
    pub torn: Option<Torn>,
    /// How often somebody wrote to the file while it was being changed: more than none says that
    /// somebody writes it who does not take the lock. All that was written was taken up.
    pub rivals: u32,
}

/// A torn file, and what could not be saved of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Where it is kept, byte by byte.
    pub kept: RealPath,
    /// What the new file lacks of it.
    pub lost: Lost,
}

/// What became of a database that was to get back what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It has it again.
    Done,
    /// It had it already.
    Already,
    /// Somebody has written it since, so it is as it was found.
    Rewritten,
    /// There is no file.
    Absent,
}

/// Whether what was written still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    AsWritten,
    /// Somebody wrote the file anew without it.
    Overwritten,
    /// There is no file.
    Absent,
    /// The file is torn.
    Torn,
}

/// Says why a database was not read or changed. The file is as it was, except where
/// [`FileFault::Unsynced`] says otherwise.
#[derive(Debug, Error)]
pub enum EditFault {
    /// The path is too long below the root.
    #[error("{path} has no path below this root")]
    Path {
        /// The path.
        path: InRoot,
        /// The rule that it breaks.
        source: PathFault,
    },
    /// The lock is not held, or not this root's.
    #[error("the database cannot be changed")]
    Lock(#[from] LockFault),
    /// The folder of the database is missing.
    #[error("{path} has no folder: the application that it belongs to is not installed there")]
    NoFolder {
        /// The database.
        path: RealPath,
    },
    /// The file is not one that may be used.
    #[error(transparent)]
    Refused(#[from] OwnedFault),
    /// The file is JSON, and another thing than this database.
    #[error("{path} is another thing than the database {name}")]
    Another {
        /// The database.
        path: RealPath,
        /// What it should be.
        name: &'static str,
        /// What is wrong with it.
        source: DatabaseFault,
    },
    /// The file is torn, and this was no edit.
    #[error("{path} is torn: {lost}")]
    Torn {
        /// The database.
        path: RealPath,
        /// What cannot be read.
        lost: Lost,
    },
    /// Somebody writes the file again and again.
    #[error("{path} is written again and again by somebody who does not take its lock")]
    Busy {
        /// The database.
        path: RealPath,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
}

impl Diagnostic for EditFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Lock(fault) if fault.is_held() => Exit::Locked,
            Self::Path { .. } => Exit::Config,
            Self::Lock(_)
            | Self::NoFolder { .. }
            | Self::Refused(_)
            | Self::Another { .. }
            | Self::Torn { .. } => Exit::CouldNotLook,
            Self::File(FileFault::Unsynced { .. }) => Exit::No,
            Self::Busy { .. } | Self::File(_) => Exit::Intact,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::File(FileFault::Unsynced { .. }) => None,
            _ => Some("the database is as it was".into()),
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let show = |path: &RealPath| Command::other("head", &["--bytes=2000", path.as_str()]);
        match self {
            Self::NoFolder { path } => {
                let folder = path.parent();
                let make = Command::other("mkdir", &["--parents", folder.as_str()]);
                let keys = "or set instances.port_database and instances.repository_database";
                vec![Hint::run("install the application, or", make), keys.into()]
            }
            Self::Another { path, .. } => {
                vec![Hint::run("move it away if it is not needed; it begins with", show(path))]
            }
            Self::Torn { path, .. } => {
                let lead =
                    "the next change keeps it beside and saves what is whole; it begins with";
                vec![Hint::run(lead, show(path))]
            }
            Self::Busy { path } => {
                let folder = path.parent();
                let who = Command::other("fuser", &["--verbose", folder.as_str(), path.as_str()]);
                vec![Hint::run("stop who writes it, then try again", who)]
            }
            Self::Path { .. } | Self::Lock(_) | Self::Refused(_) | Self::File(_) => Vec::new(),
        }
    }
}

/// Returns a time as JavaScript's `toISOString` writes it: UTC, milliseconds, `Z`.
pub fn iso_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Reads a database; `None` where there is no file or no folder.
///
/// # Errors
/// [`EditFault`]; a torn file is given time to become whole first.
pub fn read<D: Document>(place: Place<'_>) -> Result<Option<D>, EditFault> {
    match read_what_is_whole(place)? {
        None => Ok(None),
        Some((document, None)) => Ok(Some(document)),
        Some((_, Some(lost))) => {
            let path = place.root.real(place.path);
            let path =
                path.map_err(|source| EditFault::Path { path: place.path.clone(), source })?;
            Err(EditFault::Torn { path, lost })
        }
    }
}

/// Reads a database, or what is whole of it and what it lacks where it is torn; `None` where there
/// is no file or no folder.
///
/// # Errors
/// [`EditFault`], but not for a torn file; it is given time to become whole first.
pub fn read_what_is_whole<D: Document>(
    place: Place<'_>,
) -> Result<Option<(D, Option<Lost>)>, EditFault> {
    let file = match File::open(place) {
        Ok(file) => file,
        Err(EditFault::NoFolder { .. }) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    Ok(match file.settle()? {
        Found::Absent => None,
        Found::Whole(_, document) => Some((document, None)),
        Found::Torn(look) => {
            let (document, lost) = D::salvage(&look.bytes);
            Some((document, Some(lost)))
        }
    })
}

/// Says whether a database still has what was written: `stands` looks at it.
///
/// # Errors
/// [`EditFault`] where it cannot be told.
pub fn verify<D: Document>(
    place: Place<'_>,
    stands: impl FnOnce(&D) -> bool,
) -> Result<Standing, EditFault> {
    match read::<D>(place) {
        Ok(Some(document)) if stands(&document) => Ok(Standing::AsWritten),
        Ok(Some(_)) => Ok(Standing::Overwritten),
        Ok(None) => Ok(Standing::Absent),
        Err(EditFault::Torn { .. }) => Ok(Standing::Torn),
        Err(fault) => Err(fault),
    }
}

/// Changes a database under its lock, which is named [`Document::NAME`].
///
/// `change` may be called several times, each time with the database as it is then; where there
/// is no file, with `empty`. A change that changes nothing writes nothing. The new file has mode
/// and owner of the old one; where there was none, 0644 and the owner of its folder, which has to
/// exist. A torn file is kept beside as `NAME.torn-YYYYMMDDTHHMMSSZ`, with mode 0600, and written
/// anew with what could be saved, even where nothing else changes; `change` is told by
/// [`Document::is_anew`], and adds what it knows.
///
/// # Errors
/// [`EditFault`]; the file is as it was.
pub fn edit<D: Document + Clone, T>(
    held: &Held<'_, Databases>,
    place: Place<'_>,
    empty: &D,
    mut change: impl FnMut(&mut D) -> T,
) -> Result<Edited<T>, EditFault> {
    held.demand_root(place.root)?;
    held.demand_database(D::NAME)?;
    let file = File::open(place)?;
    // What a killed run left here is in nobody's way; another run comes.
    drop(atomic::sweep(&file.path.parent()));
    let mut rivals = 0;
    while rivals < STARTS_MAX {
        let found = file.settle::<D>()?;
        let (mut document, lost) = match &found {
            Found::Absent => (empty.clone(), None),
            Found::Whole(_, document) => (document.clone(), None),
            Found::Torn(look) => {
                let (document, lost) = D::salvage(&look.bytes);
                (document, Some(lost))
            }
        };
        let value = change(&mut document);
        let text = document.render();
        let same = match &found {
            Found::Absent => text == empty.render(),
            Found::Whole(look, _) => text.as_bytes() == look.bytes,
            Found::Torn(_) => false,
        };
        if same {
            return Ok(Edited { value, change: Change::Unchanged, torn: None, rivals });
        }
        match file.put(found.look(), text.as_bytes(), lost)? {
            Some(torn) => return Ok(Edited { value, change: Change::Changed, torn, rivals }),
            None => rivals += 1,
        }
    }
    Err(EditFault::Busy { path: file.path })
}

/// Reads the bytes of a database as [`edit`] would read them, whole or torn; `None` where there is no
/// file or no folder.
///
/// # Errors
/// [`EditFault`].
pub fn read_bytes(place: Place<'_>) -> Result<Option<Vec<u8>>, EditFault> {
    let file = match File::open(place) {
        Ok(file) => file,
        Err(EditFault::NoFolder { .. }) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    Ok(file.still()?.map(|found| found.bytes))
}

/// Puts bytes back into the place of a database, under the lock of this name, where what is there by
/// now is `replaces`' to replace. Mode and owner stay those of the file that is there, which is judged
/// and exchanged as [`edit`] does it: a file that may not be used is neither read nor replaced.
///
/// # Errors
/// [`EditFault`]; the file is as it was.
pub fn restore(
    held: &Held<'_, Databases>,
    place: Place<'_>,
    name: &str,
    bytes: &[u8],
    replaces: impl Fn(&[u8]) -> bool,
) -> Result<Restored, EditFault> {
    held.demand_root(place.root)?;
    held.demand_database(name)?;
    let file = match File::open(place) {
        Ok(file) => file,
        Err(EditFault::NoFolder { .. }) => return Ok(Restored::Absent),
        Err(fault) => return Err(fault),
    };
    drop(atomic::sweep(&file.path.parent()));
    for _ in 0..STARTS_MAX {
        let Some(found) = file.still()? else { return Ok(Restored::Absent) };
        if found.bytes == bytes {
            return Ok(Restored::Already);
        }
        if !replaces(&found.bytes) {
            return Ok(Restored::Rewritten);
        }
        if file.put(Some(&found), bytes, None)?.is_some() {
            return Ok(Restored::Done);
        }
    }
    Err(EditFault::Busy { path: file.path })
}

/// A file in an open folder.
struct File<'p> {
    path: RealPath,
    folder: OwnedFd,
    owners: &'p OwnerSet,
}

/// What a file turned out to be.
enum Found<D> {
    Absent,
    Whole(FileBytes, D),
    /// No JSON, and nobody is writing it.
    Torn(FileBytes),
}

impl<D> Found<D> {
    const fn look(&self) -> Option<&FileBytes> {
        match self {
            Self::Absent => None,
            Self::Whole(look, _) | Self::Torn(look) => Some(look),
        }
    }
}

impl<'p> File<'p> {
    fn open(place: Place<'p>) -> Result<Self, EditFault> {
        let path = place.root.real(place.path);
        let path = path.map_err(|source| EditFault::Path { path: place.path.clone(), source })?;
        // Whoever owns a folder above could lead us anywhere by a link.
        let folder = match Way::to(&path.parent()).and_then(|way| way.open()) {
            Ok(folder) => folder,
            Err(WayFault::NoFolder { .. }) => return Err(EditFault::NoFolder { path }),
            Err(fault) => return Err(FileFault::from(fault).into()),
        };
        Ok(Self { path, folder, owners: place.owners })
    }

    fn look(&self) -> Result<Option<FileBytes>, Refusal> {
        self.look_at(self.path.name())
    }

    fn look_at(&self, name: &str) -> Result<Option<FileBytes>, Refusal> {
        read_owned_bytes(self.folder.as_fd(), name, DATABASE_BYTES_MAX, self.owners)
    }

    /// Looks until nobody writes the file while it is read.
    fn still(&self) -> Result<Option<FileBytes>, EditFault> {
        for _ in 0..LOOKS_MAX {
            match self.look() {
                Err(Refusal::Changing) => thread::sleep(PAUSE),
                found => return found.map_err(|refusal| self.refused(refusal)),
            }
        }
        Err(EditFault::Busy { path: self.path.clone() })
    }

    fn refused(&self, refusal: Refusal) -> EditFault {
        OwnedFault { path: self.path.to_string(), refusal }.into()
    }

    /// Looks until the file is whole, or torn and still.
    fn settle<D: Document>(&self) -> Result<Found<D>, EditFault> {
        let (mut last, mut same) = (None, 0);
        for look in 0..LOOKS_MAX {
            if look > 0 {
                thread::sleep(PAUSE);
            }
            let found = match self.look() {
                Ok(None) => return Ok(Found::Absent),
                Ok(Some(found)) => found,
                Err(Refusal::Changing) => {
                    last = None;
                    continue;
                }
                Err(refusal) => return Err(self.refused(refusal)),
            };
            let parsed = core::str::from_utf8(&found.bytes).map(D::parse);
            match parsed {
                Ok(Ok(document)) => return Ok(Found::Whole(found, document)),
                Ok(Err(source @ DatabaseFault::Kind { .. })) => {
                    let path = self.path.clone();
                    return Err(EditFault::Another { path, name: D::NAME, source });
                }
                Ok(Err(DatabaseFault::Json(_))) | Err(_) => {}
            }
            same = if last.as_ref() == Some(&found) { same + 1 } else { 1 };
            if same >= TORN_LOOKS {
                return Ok(Found::Torn(found));
            }
            last = Some(found);
        }
        Err(EditFault::Busy { path: self.path.clone() })
    }

    /// Puts bytes in the place of what was read; `None` where the file is another by now.
    fn put(
        &self,
        read: Option<&FileBytes>,
        bytes: &[u8],
        lost: Option<Lost>,
    ) -> Result<Option<Option<Torn>>, EditFault> {
        let folder = self.folder.as_fd();
        let owner = match read {
            Some(read) => Some((read.uid, read.gid)),
            None => self.owner_of_new()?,
        };
        let meta = Meta { mode: read.map_or(NEW_MODE, |read| read.mode), owner };
        // Both are on the disk before either has its name: a full disk is found out here.
        let mut new = Temp::filled(folder, &self.path, bytes, meta)?;
        let keep = match (read, lost) {
            (Some(read), Some(lost)) => {
                let meta = Meta { mode: TORN_MODE, ..meta };
                Some((Temp::filled(folder, &self.path, &read.bytes, meta)?, lost))
            }
            _ => None,
        };
        // A file that may not be used any more is another one; the next look says why.
        if !self.look().is_ok_and(|now| now.as_ref() == read) {
            return Ok(None);
        }
        let torn = match keep {
            Some((temp, lost)) => Some(Torn { kept: self.keep(temp)?, lost }),
            None => None,
        };
        let placed = match read {
            Some(read) => self.replace(&mut new, read)?,
            None => new.take_the_free_name(&self.path)?,
        };
        if !placed {
            return Ok(None);
        }
        atomic::confirm(folder, &self.path)?;
        Ok(Some(torn))
    }

    /// Puts the new file in the place of the one that was read. A write that came since is found
    /// in the old file, which then gets its place back.
    fn replace(&self, new: &mut Temp<'_>, read: &FileBytes) -> Result<bool, EditFault> {
        if !new.exchange_with(&self.path)? {
            new.rename_to(&self.path)?;
            return Ok(true);
        }
        let old = self.look_at(new.name());
        if old.is_ok_and(|old| old.is_some_and(|old| old.is_as_written(read))) {
            return Ok(true);
        }
        new.exchange_with(&self.path)?;
        Ok(false)
    }

    /// Root gives a new file to whom its folder belongs to; another can only keep it.
    fn owner_of_new(&self) -> Result<Option<(u32, u32)>, EditFault> {
        if !is_root() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&self.folder).map_err(|errno| FileFault::Io {
            doing: "look at the folder of",
            path: self.path.to_string(),
            source: errno.into(),
        })?;
        Ok(Some((stat.st_uid, stat.st_gid)))
    }

    /// Gives a torn file a name of its own beside, and returns it.
    fn keep(&self, mut temp: Temp<'_>) -> Result<RealPath, EditFault> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        for number in 1..=SAME_SECOND_MAX {
            let more = if number == 1 { String::new() } else { format!("-{number}") };
            let path = format!("{}.torn-{stamp}{more}", self.path);
            let path = RealPath::parse(&path).map_err(|source| FileFault::Path { source })?;
            if temp.take_the_free_name(&path)? {
                return Ok(path);
            }
        }
        Err(EditFault::Busy { path: self.path.clone() })
    }
}

#[cfg(test)]
mod tests;
