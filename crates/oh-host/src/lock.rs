//! Locks in one order, so that no two tools ever wait for each other.
//!
//! watch (for as long as a watch lives) → world (shared: a start, a watch tick; exclusive: cleanup,
//! deploy) → leases, sorted → databases, sorted → publish. The order is in the types: a guard borrows the one before it
//! mutably, and offers only what comes later. A tool may leave levels out and never goes back.
//!
//! What counts is the kernel's flock(2) on a file that is never unlinked, so a holder that is
//! killed frees it. Each holder writes into the file who it is and why; that record is advice
//! for people and decides nothing, except that a tool started by the holder and given its
//! [`Inheritance`] may go on under the holder's lock.
//!
//! ```
//! # use core::time::Duration;
//! # use oh_host::lock::{Locks, LockFault, Share};
//! # fn start(locks: &mut Locks) -> Result<(), LockFault> {
//! let mut world = locks.world(Share::Shared, "start", Duration::ZERO)?;
//! let mut lease = world.leases(["8888"], "start", Duration::ZERO)?;
//! let publish = lease.publish("start", Duration::ZERO)?;
//! # drop(publish); Ok(()) }
//! ```
//!
//! Going back does not compile, neither from the later level nor around it:
//!
//! ```compile_fail,E0277
//! # use core::time::Duration;
//! # use oh_host::lock::{Locks, LockFault, Share};
//! # fn start(locks: &mut Locks) -> Result<(), LockFault> {
//! let mut publish = locks.publish("start", Duration::ZERO)?;
//! let lease = publish.leases(["8888"], "start", Duration::ZERO)?;
//! # Ok(()) }
//! ```
//!
//! ```compile_fail,E0499
//! # use core::time::Duration;
//! # use oh_host::lock::{Locks, LockFault, Share};
//! # fn start(locks: &mut Locks) -> Result<(), LockFault> {
//! let publish = locks.publish("start", Duration::ZERO)?;
//! let lease = locks.leases(["8888"], "start", Duration::ZERO)?;
//! drop(publish);
//! # Ok(()) }
//! ```
//!
//! One [`Locks`] per process: two of them would know nothing of each other's order. Waiting polls,
//! is bounded and is not fair; who is waited for can be told, and the wait be ended
//! ([`Locks::waiting`]).

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use oh_model::path::{InRoot, PathFault, RealPath};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::atomic::{FileFault, Meta, create_dirs, stat_or_none};
use crate::boot::BootId;
use crate::folder::FileKind;
use crate::process::{Identity, Pid, ProcessFault, Processes, lives};
use crate::random::{RandomFault, token};
use crate::root::Root;

/// The folder of the lock files, below the root; mode 0700.
pub const LOCKS_FOLDER: &str = "/run/openhands-toolkit/locks";
/// The version of the record in a lock file.
pub const HOLDER_SCHEMA: u32 = 1;
/// The most bytes of a record that are read.
const HOLDER_BYTES_MAX: usize = 4096;
/// How long a waiting tool sleeps between two tries.
const POLL: Duration = Duration::from_millis(20);
/// How long a tool waits before it tells whom it waits for: most hold a lock for less.
const TELL_AFTER: Duration = Duration::from_millis(300);
/// The longest name of a lease or a database, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// How often a lock file may be exchanged under us before we give up.
const EXCHANGES_MAX: u32 = 8;

/// Says why a lock was not taken.
#[derive(Debug, Error)]
pub enum LockFault {
    /// Somebody holds it, and the time to wait is over.
    #[error("the lock {name} is held by {holder}")]
    Held {
        /// The lock: `world`, `lease-8888`, ….
        name: String,
        /// Its file.
        path: String,
        /// Who holds it, as far as can be told.
        holder: Holder,
    },
    /// Whoever waited was told to end.
    #[error("the wait for the lock {name} was interrupted")]
    Interrupted {
        /// The lock.
        name: String,
    },
    /// A lease or a database has a name that cannot be a file's.
    #[error("{0:?} cannot be the name of a lock: letters, digits, `.`, `_`, `-`, at most 64")]
    Name(String),
    /// The path of the folder is too long below this root.
    #[error("the folder of the locks has no path below this root")]
    Path(#[source] PathFault),
    /// The folder cannot be made or is not ours.
    #[error("the folder of the locks cannot be used")]
    Folder(#[source] FileFault),
    /// The locks that are held are not those of the root that is worked on.
    #[error("the locks in {held} are held, and those in {wanted} are needed")]
    OtherRoot {
        /// The folder of the locks that are held.
        held: String,
        /// The folder of those that are needed.
        wanted: String,
    },
    /// The lock of a database is needed that is not among those that are held.
    #[error("the lock of the database {0} is not held")]
    NotHeld(String),
    /// What is there is no lock file of ours.
    #[error("{path} is no lock file of ours: {why}")]
    NotOurs {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {doing} the lock file {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// We do not know who we are, so nobody else could.
    #[error("cannot write down who holds the lock")]
    Own(#[source] ProcessFault),
    /// There is no unpredictable text for the inheritance.
    #[error("cannot make the secret of the lock")]
    Random(#[from] RandomFault),
}

impl LockFault {
    /// Says whether the only fault is that somebody else holds it (exit code 5).
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Says whether it was waited for and the wait was ended.
    pub const fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }
}

/// Who holds a lock, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process that left a record and lives.
    Known {
        /// Its number.
        pid: Pid,
        /// What it holds the lock for.
        purpose: String,
        /// Since when.
        since: Timestamp,
    },
    /// A process that left no record, or a wrong one.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { pid, purpose, since } => {
                write!(f, "process {pid} ({purpose}) since {since}")
            }
            Self::Unknown => f.write_str("a process that left no record"),
        }
    }
}

/// The record in a lock file.
#[derive(Debug, Serialize, Deserialize)]
struct HolderRecord {
    schema: u32,
    pid: u32,
    start_time_ticks: u64,
    boot_id: BootId,
    purpose: String,
    since: String,
    /// What a tool has to know that goes on under this holder's locks.
    inheritance: String,
}

/// What a tool hands to one that it starts, so that it can go on under the same locks.
///
/// It is believed only from an ancestor that lives. It is not secret from the same user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inheritance(String);

impl Inheritance {
    /// Takes what a parent handed over, by argument or environment.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns what to hand over.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the world is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// With others that change single things: a start, a watch tick.
    Shared,
    /// Alone: cleanup, deploy.
    Exclusive,
}

/// Nothing is held yet.
#[derive(Debug)]
pub enum Free {}
/// The right to watch is held.
#[derive(Debug)]
pub enum Watch {}
/// The world is held.
#[derive(Debug)]
pub enum World {}
/// Leases are held.
#[derive(Debug)]
pub enum Leases {}
/// Databases are held.
#[derive(Debug)]
pub enum Databases {}
/// The right to publish is held.
#[derive(Debug)]
pub enum Publish {}

/// Says that one level comes before another.
pub trait Before<Later>: sealed::Level {}
impl Before<Watch> for Free {}
impl Before<World> for Free {}
impl Before<World> for Watch {}
impl Before<Leases> for Free {}
impl Before<Leases> for World {}
impl Before<Databases> for Free {}
impl Before<Databases> for World {}
impl Before<Databases> for Leases {}
impl Before<Publish> for Free {}
impl Before<Publish> for Watch {}
impl Before<Publish> for World {}
impl Before<Publish> for Leases {}
impl Before<Publish> for Databases {}

mod sealed {
    /// Keeps the levels to those of this module.
    pub trait Level {}
    impl Level for super::Free {}
    impl Level for super::Watch {}
    impl Level for super::World {}
    impl Level for super::Leases {}
    impl Level for super::Databases {}
    impl Level for super::Publish {}
}

/// The beginning of the order, with nothing held.
pub type Locks = Held<'static, Free>;

/// Locks of one level; dropping it frees them.
///
/// It borrows the level before, so that one cannot be used or freed meanwhile.
#[derive(Debug)]
pub struct Held<'before, Level> {
    place: Arc<Place>,
    /// Empty where a parent's are gone on with.
    #[expect(dead_code, reason = "kept for the locks, which end with the files")]
    files: Vec<Taken>,
    /// What they are, those of a parent among them.
    names: Vec<String>,
    before: PhantomData<&'before mut ()>,
    level: PhantomData<Level>,
}

/// Where the lock files are, and who we are.
#[derive(Debug)]
struct Place {
    path: RealPath,
    folder: OwnedFd,
    own: Identity,
    secret: Inheritance,
    inherited: Option<Inheritance>,
    waiter: Waiter,
}

/// What a tool does while it waits.
pub trait Waiting: Send + Sync {
    /// Is told who holds a lock that is waited for, once a lock, after a moment.
    fn tell(&self, holder: &Holder);

    /// Says whether to go on waiting.
    fn goes_on(&self) -> bool {
        true
    }
}

/// Nobody is told, and nothing cuts the wait short.
struct Patient;

impl Waiting for Patient {
    fn tell(&self, _holder: &Holder) {}
}

/// Who waits.
struct Waiter(Box<dyn Waiting>);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

/// One file that is locked.
#[derive(Debug)]
struct Taken {
    file: File,
    exclusive: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.exclusive {
            // Advice only: without it the next one who is refused would read an old name.
            drop(self.file.set_len(0));
        }
    }
}

impl Locks {
    /// Opens the folder of the locks below a root, and makes it where it is missing.
    ///
    /// `inherited` is what a parent tool handed over: a lock that this parent holds counts as
    /// taken, for as long as the parent holds it.
    ///
    /// # Errors
    /// [`LockFault`] where the folder belongs to somebody else or others may write to it.
    pub fn open(root: &Root, inherited: Option<Inheritance>) -> Result<Self, LockFault> {
        Self::waiting(root, inherited, Patient)
    }

    /// The same; `waiting` is told who is waited for, and may end the wait.
    ///
    /// # Errors
    /// As [`Locks::open`].
    pub fn waiting(
        root: &Root,
        inherited: Option<Inheritance>,
        waiting: impl Waiting + 'static,
    ) -> Result<Self, LockFault> {
        let path = folder_of(root)?;
        create_dirs(&path, Meta { mode: 0o700, owner: None }).map_err(LockFault::Folder)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path.as_str(), flags, Mode::empty())
            .map_err(|errno| io("open the folder of", &path, errno))?;
        let place = Place {
            path,
            folder,
            own: Identity::own().map_err(LockFault::Own)?,
            secret: Inheritance(token()?),
            inherited,
            waiter: Waiter(Box::new(waiting)),
        };
        Ok(Self {
            place: Arc::new(place),
            files: Vec::new(),
            names: Vec::new(),
            before: PhantomData,
            level: PhantomData,
        })
    }
}

/// Who works alone on a root: the world is locked exclusively.
///
/// The lock is tried, and given back at once: whoever wants it in that moment and does not wait at all is
/// refused.
///
/// # Errors
/// [`LockFault`] where the lock cannot be looked at; that there is none is no fault.
pub fn works_alone(root: &Root) -> Result<Option<Holder>, LockFault> {
    let path = format!("{}/world.lock", folder_of(root)?);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&*path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io("open", path, errno)),
    };
    let known = || {
        let record = record_of(&file)?;
        let pid = Pid::new(record.pid)?;
        let is_here = crate::boot::boot_id().is_ok_and(|boot| boot == record.boot_id);
        let lives = is_here && lives(pid, record.start_time_ticks);
        let since = record.since.parse().ok().filter(|_| lives)?;
        Some(Holder::Known { pid, purpose: record.purpose, since })
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(known().unwrap_or(Holder::Unknown))),
        Err(TryLockError::Error(source)) => Err(LockFault::Io { doing: "try", path, source }),
    }
}

impl<Level> Held<'_, Level> {
    /// Takes the right to watch; whoever has it keeps it, so nobody waits for it.
    ///
    /// # Errors
    /// [`LockFault`].
    pub fn watch(&mut self, purpose: &str) -> Result<Held<'_, Watch>, LockFault>
    where
        Level: Before<Watch>,
    {
        self.next(&["watch".to_owned()], Share::Exclusive, purpose, Duration::ZERO)
    }

    /// Takes the world, waiting at most `wait`.
    ///
    /// # Errors
    /// [`LockFault`].
    pub fn world(
        &mut self,
        share: Share,
        purpose: &str,
        wait: Duration,
    ) -> Result<Held<'_, World>, LockFault>
    where
        Level: Before<World>,
    {
        self.next(&["world".to_owned()], share, purpose, wait)
    }

    /// Takes leases, in sorted order, waiting at most `wait` for all of them together.
    ///
    /// # Errors
    /// [`LockFault`]; none is held then.
    pub fn leases<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        purpose: &str,
        wait: Duration,
    ) -> Result<Held<'_, Leases>, LockFault>
    where
        Level: Before<Leases>,
    {
        self.next(&sorted("lease", names)?, Share::Exclusive, purpose, wait)
    }

    /// Takes databases, in sorted order, waiting at most `wait` for all of them together.
    ///
    /// # Errors
    /// [`LockFault`]; none is held then.
    pub fn databases<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        purpose: &str,
        wait: Duration,
    ) -> Result<Held<'_, Databases>, LockFault>
    where
        Level: Before<Databases>,
    {
        self.next(&sorted("database", names)?, Share::Exclusive, purpose, wait)
    }

    /// Takes the right to publish, waiting at most `wait`.
    ///
    /// # Errors
    /// [`LockFault`].
    pub fn publish(&mut self, purpose: &str, wait: Duration) -> Result<Held<'_, Publish>, LockFault>
    where
        Level: Before<Publish>,
    {
        self.next(&["publish".to_owned()], Share::Exclusive, purpose, wait)
    }

    /// Makes sure that these are the locks of a root.
    ///
    /// # Errors
    /// [`LockFault::OtherRoot`].
    pub fn demand_root(&self, root: &Root) -> Result<(), LockFault> {
        let (held, wanted) = (&self.place.path, folder_of(root)?);
        if *held == wanted {
            return Ok(());
        }
        Err(LockFault::OtherRoot { held: held.to_string(), wanted: wanted.to_string() })
    }

    /// Returns what to hand to a tool that is started while this is held.
    pub fn inheritance(&self) -> &Inheritance {
        &self.place.secret
    }

    fn next<Later>(
        &mut self,
        names: &[String],
        share: Share,
        purpose: &str,
        wait: Duration,
    ) -> Result<Held<'_, Later>, LockFault> {
        let until = Instant::now().checked_add(wait);
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            files.extend(self.place.take(name, share, purpose, until)?);
        }
        Ok(Held {
            place: Arc::clone(&self.place),
            files,
            names: names.to_vec(),
            before: PhantomData,
            level: PhantomData,
        })
    }
}

impl Held<'_, Databases> {
    /// Makes sure that the lock of a database is among these.
    ///
    /// # Errors
    /// [`LockFault::NotHeld`].
    pub fn demand_database(&self, name: &str) -> Result<(), LockFault> {
        let held = self.names.iter().any(|held| held.strip_prefix("database-") == Some(name));
        if held { Ok(()) } else { Err(LockFault::NotHeld(name.to_owned())) }
    }
}

impl Place {
    /// Takes one lock; `None` where our parent holds it for us.
    fn take(
        &self,
        name: &str,
        share: Share,
        purpose: &str,
        until: Option<Instant>,
    ) -> Result<Option<Taken>, LockFault> {
        let file_name = format!("{name}.lock");
        let path = format!("{}/{file_name}", self.path);
        let mut exchanges = 0;
        let tell_at = Instant::now() + TELL_AFTER;
        let mut is_told = false;
        loop {
            let file = self.open(&file_name, &path)?;
            let tried = match share {
                Share::Shared => file.try_lock_shared(),
                Share::Exclusive => file.try_lock(),
            };
            match tried {
                Ok(()) if self.is_current(&file, &file_name, &path)? => {
                    self.sign(&file, purpose);
                    return Ok(Some(Taken { file, exclusive: share == Share::Exclusive }));
                }
                Ok(()) => {
                    // Somebody unlinked the file between our open and our lock, which nobody
                    // ever should: the lock that counts is on the file that has the name.
                    exchanges += 1;
                    if exchanges > EXCHANGES_MAX {
                        let why = "it is exchanged again and again".to_owned();
                        return Err(LockFault::NotOurs { path, why });
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    let record = record_of(&file);
                    if self.inherits(record.as_ref()) {
                        return Ok(None);
                    }
                    if until.is_some_and(|until| Instant::now() >= until) {
                        let holder = self.holder(record);
                        return Err(LockFault::Held { name: name.to_owned(), path, holder });
                    }
                    if !is_told && Instant::now() >= tell_at {
                        is_told = true;
                        self.waiter.0.tell(&self.holder(record));
                    }
                    if !self.waiter.0.goes_on() {
                        return Err(LockFault::Interrupted { name: name.to_owned() });
                    }
                    std::thread::sleep(POLL);
                }
                Err(TryLockError::Error(source)) => {
                    return Err(LockFault::Io { doing: "take", path, source });
                }
            }
        }
    }

    fn open(&self, file_name: &str, path: &str) -> Result<File, LockFault> {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, file_name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| io("open", path, errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| io("look at", path, errno))?;
        let kind = FileKind::of_mode(stat.st_mode);
        let me = rustix::process::geteuid().as_raw();
        let why = if kind != FileKind::Regular {
            format!("it is {kind}")
        } else if stat.st_uid != me && stat.st_uid != 0 {
            format!("it belongs to uid {}", stat.st_uid)
        } else if stat.st_mode & 0o077 != 0 {
            format!("it has mode {:04o}, not 0600", stat.st_mode & 0o7777)
        } else {
            return Ok(File::from(file));
        };
        Err(LockFault::NotOurs { path: path.to_owned(), why })
    }

    fn is_current(&self, file: &File, file_name: &str, path: &str) -> Result<bool, LockFault> {
        let look = |errno| io("look at", path, errno);
        let held = rustix::fs::fstat(file).map_err(look)?;
        let named = stat_or_none(self.folder.as_fd(), file_name).map_err(look)?;
        Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)))
    }

    /// Writes down who holds the lock. A record that cannot be written (a full disk) is missed by
    /// people only, so the lock is held all the same.
    fn sign(&self, mut file: &File, purpose: &str) {
        let record = HolderRecord {
            schema: HOLDER_SCHEMA,
            pid: self.own.pid.get(),
            start_time_ticks: self.own.start_time_ticks,
            boot_id: self.own.boot_id.clone(),
            purpose: purpose
                .chars()
                .take(200)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            since: Timestamp::now().to_string(),
            inheritance: self.secret.0.clone(),
        };
        let Ok(mut line) = serde_json::to_vec(&record) else { return };
        line.push(b'\n');
        let cleared = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        drop(cleared.and_then(|_| file.write_all(&line)));
    }

    fn lives(&self, record: &HolderRecord) -> Option<Pid> {
        let pid = Pid::new(record.pid)?;
        let here = record.boot_id == self.own.boot_id && lives(pid, record.start_time_ticks);
        here.then_some(pid)
    }

    fn holder(&self, record: Option<HolderRecord>) -> Holder {
        let known = record.and_then(|record| {
            let since = record.since.parse().ok()?;
            Some(Holder::Known { pid: self.lives(&record)?, purpose: record.purpose, since })
        });
        known.unwrap_or(Holder::Unknown)
    }

    /// Says whether the lock is held by an ancestor of ours that handed us its inheritance.
    fn inherits(&self, record: Option<&HolderRecord>) -> bool {
        let (Some(record), Some(inherited)) = (record, &self.inherited) else { return false };
        if record.inheritance != inherited.0 || record.inheritance.is_empty() {
            return false;
        }
        let Some(pid) = self.lives(record) else { return false };
        Processes::look().is_ok_and(|all| all.ancestors_of(self.own.pid).contains(&pid))
    }
}

fn folder_of(root: &Root) -> Result<RealPath, LockFault> {
    InRoot::parse(LOCKS_FOLDER).and_then(|path| root.real(&path)).map_err(LockFault::Path)
}

fn record_of(file: &File) -> Option<HolderRecord> {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    // Read at an offset: a file that others hold is not ours to move in.
    let count = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0).ok()?;
    let record: HolderRecord = serde_json::from_slice(bytes.get(..count)?).ok()?;
    (record.schema == HOLDER_SCHEMA).then_some(record)
}

fn sorted<'n>(
    kind: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<Vec<String>, LockFault> {
    let mut sorted = Vec::new();
    for name in names {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(LockFault::Name(name.to_owned()));
        }
        sorted.push(format!("{kind}-{name}"));
    }
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted)
}

fn io(doing: &'static str, path: impl ToString, errno: rustix::io::Errno) -> LockFault {
    LockFault::Io { doing, path: path.to_string(), source: errno.into() }
}

#[cfg(test)]
mod tests;
