//! Processes, known by what cannot be reused: never by a bare pid, never by a name.
//!
//! A [`ProcessDir`] is an open `/proc/PID` folder. Everything about the process is read relative
//! to it, and signals go through it (`pidfd_send_signal(2)` takes it): once the process is gone
//! the folder answers nothing, whoever has the number now. An [`Identity`] is what of a process
//! can be written down and recognised later.
//!
//! Only a real `/proc` of our own pid namespace is taken: in any other, numbers mean somebody
//! else. What `/proc` hides from us (`hidepid`) looks as if it were gone, and is told from that: it
//! is [`ProcessFault::Denied`]. This room decides nothing about who may be signalled; [`crate::stop`] and the planners
//! do.

mod exec;
mod hanging;
mod opened;
mod surroundings;

use core::fmt;
use core::num::NonZeroU32;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use procfs_core::FromRead;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::boot::{BootFault, BootId, boot_id};
use crate::folder::each_name;
use crate::parallel;
use crate::random::hexadecimal;

pub use exec::{Glance, settle};
pub use opened::Opened;
pub use rustix::process::Signal;
pub use surroundings::Variable;

/// The version of [`Identity`] as it is written down.
pub const IDENTITY_SCHEMA: u32 = 1;
/// The most bytes of a command line or an environment that are read.
pub const ARGUMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The most bytes of `/proc/PID/stat` and `/proc/PID/status` that are read.
const STAT_BYTES_MAX: u64 = 64 * 1024;
/// How many bytes are read first of a file of `/proc/PID`: more than most have.
const READ_BYTES: usize = 4 * 1024;
/// What fstatfs(2) calls procfs (`PROC_SUPER_MAGIC`).
const PROC_MAGIC: u64 = 0x9fa0;
/// What fstatfs(2) calls the file system of pidfds since Linux 6.9 (`PID_FS_MAGIC`).
const PIDFS_MAGIC: u64 = 0x5049_4446;

/// The number of a process: 1 to 2³¹ - 1. It names a process only while that process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// The first process of the pid namespace.
    pub const INIT: Self = Self(NonZeroU32::MIN);

    /// Takes a number that may be a pid.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).filter(|number| number.get() <= i32::MAX as u32).map(Self)
    }

    /// Returns the pid of this process.
    pub fn own() -> Self {
        Self::new(std::process::id()).unwrap_or(Self::INIT)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    fn raw(self) -> Option<rustix::process::Pid> {
        i32::try_from(self.get()).ok().and_then(rustix::process::Pid::from_raw)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Says why a process could not be looked at or signalled.
#[derive(Debug, Error)]
pub enum ProcessFault {
    /// It does not exist any more.
    #[error("process {0} is gone")]
    Gone(Pid),
    /// The kernel does not let us.
    #[error("not permitted to {doing} process {pid}")]
    Denied {
        /// What was being done.
        doing: &'static str,
        /// The process.
        pid: Pid,
    },
    /// Another system call failed.
    #[error("cannot {doing} process {pid}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The process.
        pid: Pid,
        /// What the system said.
        source: io::Error,
    },
    /// A file of `/proc/PID` is not what proc(5) says.
    #[error("cannot understand /proc/{pid}/{file}: {fault}")]
    Parse {
        /// The process.
        pid: Pid,
        /// The file.
        file: &'static str,
        /// What was not understood.
        fault: String,
    },
    /// There is no `/proc`, or it is another namespace's or no procfs at all.
    #[error("/proc cannot be used: {0}")]
    Proc(String),
    /// The boot is not known.
    #[error("cannot tell which boot this is")]
    Boot(#[from] BootFault),
}

impl ProcessFault {
    /// Says whether the process simply does not exist any more.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }

    fn of(doing: &'static str, pid: Pid, fault: io::Error) -> Self {
        match Errno::from_io_error(&fault) {
            Some(Errno::NOENT | Errno::SRCH) => Self::Gone(pid),
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { doing, pid },
            _ => Self::Io { doing, pid, source: fault },
        }
    }
}

/// What of a process can be written down and recognised later, in this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "IdentityRecord", into = "IdentityRecord")]
pub struct Identity {
    /// The boot that it belongs to.
    pub boot_id: BootId,
    /// Its number.
    pub pid: Pid,
    /// When it started, in clock ticks (1/100 s) since the boot.
    pub start_time_ticks: u64,
    /// SHA-256 of its command line as `/proc/PID/cmdline` has it, in hexadecimal.
    pub argv_sha256: String,
    /// The inode of its pidfd, where the kernel has them (since 6.9); never reused in one boot.
    pub pidfd_inode: Option<u64>,
}

impl Identity {
    /// Writes down the process that has this number now.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn of(pid: Pid) -> Result<Self, ProcessFault> {
        ProcessDir::open(pid)?.identity()
    }

    /// Says whether the process that was written down lives; the dead that are not reaped do not.
    ///
    /// # Errors
    /// [`ProcessFault`] where that cannot be told.
    pub fn lives(&self) -> Result<bool, ProcessFault> {
        // Whoever has its number now, in another boot it is somebody else.
        if boot_id()? != self.boot_id {
            return Ok(false);
        }
        let process = ProcessDir::open(self.pid);
        match process.and_then(|process| Ok(process.is(self)? && !process.is_gone()?)) {
            Ok(lives) => Ok(lives),
            Err(fault) if fault.is_gone() => Ok(false),
            Err(ProcessFault::Denied { .. }) if self.is_replaced() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Says whether its number is known to be another process's now, also where that is hidden.
    pub(crate) fn is_replaced(&self) -> bool {
        let now = pidfd_inode(self.pid);
        self.pidfd_inode.zip(now).is_some_and(|(then, now)| then != now)
    }

    /// Writes down this process.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn own() -> Result<Self, ProcessFault> {
        Self::of(Pid::own())
    }
}

/// [`Identity`] as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityRecord {
    schema: u32,
    boot_id: BootId,
    pid: u32,
    start_time_ticks: u64,
    argv_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pidfd_inode: Option<u64>,
}

/// Says why a written identity cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityFault {
    /// It is of another version.
    #[error("an identity of schema {0} is not known here, only {IDENTITY_SCHEMA}")]
    Schema(u32),
    /// The number is no pid.
    #[error("{0} is no pid")]
    Pid(u32),
    /// The hash is no SHA-256.
    #[error("argv_sha256 has to be 64 hexadecimal digits")]
    Hash,
}

impl TryFrom<IdentityRecord> for Identity {
    type Error = IdentityFault;

    fn try_from(record: IdentityRecord) -> Result<Self, IdentityFault> {
        if record.schema != IDENTITY_SCHEMA {
            return Err(IdentityFault::Schema(record.schema));
        }
        let hash = &record.argv_sha256;
        if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(IdentityFault::Hash);
        }
        Ok(Self {
            boot_id: record.boot_id,
            pid: Pid::new(record.pid).ok_or(IdentityFault::Pid(record.pid))?,
            start_time_ticks: record.start_time_ticks,
            argv_sha256: record.argv_sha256,
            pidfd_inode: record.pidfd_inode,
        })
    }
}

impl From<Identity> for IdentityRecord {
    fn from(identity: Identity) -> Self {
        Self {
            schema: IDENTITY_SCHEMA,
            boot_id: identity.boot_id,
            pid: identity.pid.get(),
            start_time_ticks: identity.start_time_ticks,
            argv_sha256: identity.argv_sha256,
            pidfd_inode: identity.pidfd_inode,
        }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStat {
    /// The process.
    pub pid: Pid,
    /// Its name, which it may choose itself; for people only.
    pub name: String,
    /// Its state: `R` running, `S` sleeping, `D` waiting, `T` stopped, `Z` dead and not reaped, ….
    pub state: char,
    /// Its parent; `None` for the first process and those of the kernel.
    pub parent: Option<Pid>,
    /// Its process group; `None` where the group's leader is outside our namespace.
    pub group: Option<Pid>,
    /// Its session; `None` as for the group.
    pub session: Option<Pid>,
    /// The device number of its controlling terminal, where it has one.
    pub terminal: Option<u32>,
    /// The process group in the foreground of that terminal.
    pub foreground: Option<Pid>,
    /// When it started, in clock ticks since the boot.
    pub start_time_ticks: u64,
    /// The processor time that it used, in clock ticks.
    pub cpu_ticks: u64,
    /// The processor time of its children that are dead and waited for, and of theirs.
    pub cpu_ticks_of_children: u64,
    /// The memory that it has resident, in pages.
    pub resident_pages: u64,
    /// How many threads it has.
    pub threads: u64,
    /// Whether it is a thread of the kernel.
    pub is_kernel: bool,
}

impl ProcessStat {
    /// Says whether it is dead and waits to be reaped: such a one holds nothing and counts as
    /// gone. A process whose first thread alone has ended looks like it and is not.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }
}

/// An open `/proc/PID` folder: one process, and no other, for as long as it is held.
#[derive(Debug)]
pub struct ProcessDir {
    pid: Pid,
    folder: OwnedFd,
}

/// Says what became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The process has it.
    Delivered,
    /// There is no such process any more.
    Gone,
}

impl ProcessDir {
    /// Opens the process that has this number now.
    ///
    /// # Errors
    /// [`ProcessFault::Gone`] where there is none, [`ProcessFault::Proc`] where `/proc` is not
    /// that of our own namespace.
    pub fn open(pid: Pid) -> Result<Self, ProcessFault> {
        Self::open_in(proc_folder()?, pid)
    }

    fn open_in(proc: &OwnedFd, pid: Pid) -> Result<Self, ProcessFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::openat(proc, pid.to_string(), flags, Mode::empty()).map_err(|errno| {
                match errno {
                    Errno::NOENT if exists(pid) => ProcessFault::Denied { doing: "see", pid },
                    errno => ProcessFault::of("open", pid, errno.into()),
                }
            })?;
        Ok(Self { pid, folder })
    }

    /// Returns the number.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Reads state, parent, group and start time.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn stat(&self) -> Result<ProcessStat, ProcessFault> {
        let bytes = self.read("stat", STAT_BYTES_MAX)?;
        let stat = procfs_core::process::Stat::from_read(bytes.as_slice()).map_err(|fault| {
            ProcessFault::Parse { pid: self.pid, file: "stat", fault: fault.to_string() }
        })?;
        let number = |raw: i32| u32::try_from(raw).ok().and_then(Pid::new);
        Ok(ProcessStat {
            pid: self.pid,
            name: stat.comm,
            state: stat.state,
            parent: number(stat.ppid),
            group: number(stat.pgrp),
            session: number(stat.session),
            // The kernel prints the bits of a device number as if they had a sign.
            terminal: Some(stat.tty_nr.cast_unsigned()).filter(|device| *device != 0),
            foreground: number(stat.tpgid),
            start_time_ticks: stat.starttime,
            cpu_ticks: stat.utime.saturating_add(stat.stime),
            cpu_ticks_of_children: u64::try_from(stat.cutime.saturating_add(stat.cstime))
                .unwrap_or_default(),
            resident_pages: stat.rss,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            // PF_KTHREAD of the kernel's sched.h.
            is_kernel: stat.flags & 0x0020_0000 != 0,
        })
    }

    /// Reads the arguments, at most [`ARGUMENT_BYTES_MAX`]; empty for the dead and the kernel's.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn arguments(&self) -> Result<Vec<Vec<u8>>, ProcessFault> {
        Ok(split_arguments(&self.read_settled("cmdline")?))
    }

    /// Returns the memory that is its own and its share of what it has together with others, in
    /// bytes (PSS). The kernel walks all of its memory for it.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn proportional_bytes(&self) -> Result<u64, ProcessFault> {
        let bytes = self.read("smaps_rollup", STAT_BYTES_MAX)?;
        proportional_bytes(&String::from_utf8_lossy(&bytes)).ok_or_else(|| ProcessFault::Parse {
            pid: self.pid,
            file: "smaps_rollup",
            fault: "no Pss".to_owned(),
        })
    }

    /// Returns what the process calls itself, with blanks between its arguments: a program may
    /// write a title over them. Empty for the dead and for those that are just being started.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn title(&self) -> Result<String, ProcessFault> {
        let bytes = self.read("cmdline", ARGUMENT_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        Ok(text.trim_end().to_owned())
    }

    /// Returns the children that this process has now, without looking at all others.
    ///
    /// # Errors
    /// [`ProcessFault`]; also where the kernel keeps no such list (before 3.5, or built without).
    pub fn children(&self) -> Result<Vec<Pid>, ProcessFault> {
        let path = format!("task/{}/children", self.pid);
        let bytes = self.read(&path, ARGUMENT_BYTES_MAX)?;
        let numbers = String::from_utf8_lossy(&bytes);
        Ok(numbers.split_whitespace().filter_map(|n| Pid::new(n.parse().ok()?)).collect())
    }

    /// Returns the path of the program, as the kernel tells it (with ` (deleted)` where it is).
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn executable(&self) -> Result<PathBuf, ProcessFault> {
        self.link("exe")
    }

    /// Returns the folder that it works in.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn working_folder(&self) -> Result<PathBuf, ProcessFault> {
        self.link("cwd")
    }

    /// Returns the number of the user whose rights it has (the effective one).
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn uid(&self) -> Result<u32, ProcessFault> {
        let bytes = self.read("status", STAT_BYTES_MAX)?;
        String::from_utf8_lossy(&bytes)
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| ProcessFault::Parse {
                pid: self.pid,
                file: "status",
                fault: "no Uid".to_owned(),
            })
    }

    /// Returns the number of its user where it has no other's rights, as real, effective, saved and
    /// file system user; `None` for a program such as su(1), which somebody else started.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn only_uid(&self) -> Result<Option<u32>, ProcessFault> {
        let bytes = self.read("status", STAT_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uids: Result<Vec<u32>, _> =
            line.unwrap_or_default().split_whitespace().map(str::parse).collect();
        match uids.as_deref() {
            Ok([uid, others @ ..]) if !others.is_empty() => {
                Ok(others.iter().all(|other| other == uid).then_some(*uid))
            }
            _ => Err(ProcessFault::Parse {
                pid: self.pid,
                file: "status",
                fault: "no Uid".to_owned(),
            }),
        }
    }

    /// Says whether it was started with this in its environment.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn environment_has(&self, key: &str, value: &str) -> Result<bool, ProcessFault> {
        let bytes = self.read_settled("environ")?;
        let wanted = format!("{key}={value}");
        Ok(bytes.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()))
    }

    /// Returns the value of a variable that it was started with.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn environment_value(&self, key: &str) -> Result<Option<Vec<u8>>, ProcessFault> {
        Ok(value_in(&self.read_settled("environ")?, key))
    }

    /// Returns the same without waiting, for a look at many (see [`settle`]).
    ///
    /// # Errors
    /// As [`ProcessDir::environment_value`].
    pub fn present_environment_value(
        &self,
        key: &str,
    ) -> Result<Glance<Option<Vec<u8>>>, ProcessFault> {
        Ok(match self.glance("environ")? {
            Glance::Seen(bytes) => Glance::Seen(value_in(&bytes, key)),
            Glance::InExec => Glance::InExec,
        })
    }

    /// Returns the inodes of the sockets that it holds open.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn socket_inodes(&self) -> Result<BTreeSet<u64>, ProcessFault> {
        let fault = |errno: Errno| ProcessFault::of("list the files of", self.pid, errno.into());
        let folder = self.open_files()?;
        let mut inodes = BTreeSet::new();
        let mut buffer = Vec::new();
        each_name(folder.as_fd(), |name| {
            // A descriptor that was closed in between was never there.
            if let Ok(link) = rustix::fs::readlinkat(&folder, name, core::mem::take(&mut buffer)) {
                inodes.extend(link.to_str().ok().and_then(socket_inode));
                buffer = link.into_bytes();
            }
            true
        })
        .map_err(fault)?;
        Ok(inodes)
    }

    /// Writes down who this is.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn identity(&self) -> Result<Identity, ProcessFault> {
        let boot_id = boot_id()?;
        let pidfd_inode = pidfd_inode(self.pid);
        let argv_sha256 = self.argv_sha256()?;
        // Read last: an answer proves that the number was still this process's when the pidfd was
        // opened by number.
        let stat = self.stat()?;
        Ok(Identity {
            boot_id,
            pid: self.pid,
            start_time_ticks: stat.start_time_ticks,
            argv_sha256,
            pidfd_inode,
        })
    }

    /// Says whether this is the process that was written down.
    ///
    /// Boot, pid and start time have to be equal. Two processes may share all three (a number
    /// reused within one tick): the pidfd's inode tells them apart, and where the kernel has none
    /// the arguments have to. With an inode the arguments are not asked, because a program may
    /// write its own anew or become another one by exec, and stays the same process.
    ///
    /// # Errors
    /// [`ProcessFault`]; a process that is gone is an error, not a no.
    pub fn is(&self, identity: &Identity) -> Result<bool, ProcessFault> {
        if self.pid != identity.pid || boot_id()? != identity.boot_id {
            return Ok(false);
        }
        let inode = identity.pidfd_inode.and_then(|wanted| Some((wanted, pidfd_inode(self.pid)?)));
        let same = match inode {
            Some((wanted, found)) => wanted == found,
            None => self.argv_sha256()? == identity.argv_sha256,
        };
        Ok(self.stat()?.start_time_ticks == identity.start_time_ticks && same)
    }

    /// Says whether the process is gone; one that is dead and not yet reaped is.
    ///
    /// # Errors
    /// [`ProcessFault`] where it cannot be told.
    pub fn is_gone(&self) -> Result<bool, ProcessFault> {
        match self.stat() {
            Ok(stat) => Ok(stat.is_dead()),
            Err(fault) if fault.is_gone() => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a signal to this very process, through the open folder.
    ///
    /// # Errors
    /// [`ProcessFault::Denied`], or [`ProcessFault::Io`].
    pub fn signal(&self, signal: Signal) -> Result<Sent, ProcessFault> {
        match rustix::process::pidfd_send_signal(&self.folder, signal) {
            Ok(()) => Ok(Sent::Delivered),
            Err(Errno::SRCH) => Ok(Sent::Gone),
            Err(errno) => Err(ProcessFault::of("signal", self.pid, errno.into())),
        }
    }

    fn argv_sha256(&self) -> Result<String, ProcessFault> {
        let bytes = self.read_settled("cmdline")?;
        Ok(hexadecimal(&Sha256::digest(&bytes)))
    }

    fn link(&self, name: &str) -> Result<PathBuf, ProcessFault> {
        use std::os::unix::ffi::OsStringExt;
        let link = rustix::fs::readlinkat(&self.folder, name, Vec::new())
            .map_err(|errno| ProcessFault::of("look at", self.pid, errno.into()))?;
        Ok(std::ffi::OsString::from_vec(link.into_bytes()).into())
    }

    fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, ProcessFault> {
        let fault = |fault| ProcessFault::of("look at", self.pid, fault);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty())
            .map_err(|errno| fault(errno.into()))?;
        // With room from the begin most files are read at once, and not in ever larger pieces.
        let mut bytes = Vec::with_capacity(READ_BYTES);
        File::from(file).take(max).read_to_end(&mut bytes).map_err(fault)?;
        Ok(bytes)
    }
}

/// Every process that is visible, in rising order of pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// What each one's stat says. Those that went away in between are not among them.
    pub stats: Vec<ProcessStat>,
    /// Whether `/proc` hides others' processes from us (`hidepid`): then this is a part only.
    pub partial: bool,
}

impl Processes {
    /// Looks at all processes, on several processors at once; each holds no more than two
    /// descriptors at a time.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn look() -> Result<Self, ProcessFault> {
        let looks = parallel::map(&pids()?, |pid| {
            match ProcessDir::open(*pid).and_then(|process| process.stat()) {
                // With hidepid=1 others' folders are listed and cannot be opened.
                Err(ProcessFault::Gone(_) | ProcessFault::Denied { .. }) => None,
                look => Some(look),
            }
        });
        let stats = looks.into_iter().flatten().collect::<Result<Vec<ProcessStat>, _>>()?;
        let partial = !stats.iter().any(|stat| stat.pid == Pid::INIT);
        Ok(Self { stats, partial })
    }

    /// Returns one process.
    pub fn get(&self, pid: Pid) -> Option<&ProcessStat> {
        let at = self.stats.binary_search_by_key(&pid, |stat| stat.pid).ok()?;
        self.stats.get(at)
    }

    /// Returns the processes whose parent this is.
    pub fn children_of(&self, pid: Pid) -> impl Iterator<Item = &ProcessStat> {
        self.stats.iter().filter(move |stat| stat.parent == Some(pid))
    }

    /// Returns children, grandchildren and so on, in rising order; without the process itself.
    pub fn descendants_of(&self, pid: Pid) -> Vec<Pid> {
        let mut below: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
        for stat in &self.stats {
            if let Some(parent) = stat.parent {
                below.entry(parent).or_default().push(stat.pid);
            }
        }
        let mut found = BTreeSet::new();
        let mut fresh = vec![pid];
        while let Some(parent) = fresh.pop() {
            let children = below.get(&parent).into_iter().flatten().copied();
            fresh.extend(children.filter(|child| found.insert(*child)));
        }
        found.remove(&pid);
        found.into_iter().collect()
    }

    /// Returns the parent, its parent and so on, up to the first process.
    pub fn ancestors_of(&self, pid: Pid) -> Vec<Pid> {
        let (mut found, mut met) = (Vec::new(), BTreeSet::new());
        let mut here = pid;
        while let Some(parent) = self.get(here).and_then(|stat| stat.parent) {
            if !met.insert(parent) {
                break;
            }
            found.push(parent);
            here = parent;
        }
        found
    }
}

/// Returns the numbers of all processes that `/proc` shows, in rising order.
///
/// # Errors
/// [`ProcessFault::Proc`].
pub fn pids() -> Result<Vec<Pid>, ProcessFault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fault = |errno: Errno| ProcessFault::Proc(errno.to_string());
    // A listing has a position of its own, so the shared descriptor is opened anew.
    let listing = rustix::fs::openat(proc_folder()?, ".", flags, Mode::empty()).map_err(fault)?;
    let mut pids = Vec::new();
    each_name(listing.as_fd(), |name| {
        let number = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        pids.extend(number.and_then(Pid::new));
        true
    })
    .map_err(fault)?;
    pids.sort_unstable();
    Ok(pids)
}

/// Returns the number and the start time of this process.
pub(crate) fn own_start() -> Result<(Pid, u64), ProcessFault> {
    static START: OnceLock<u64> = OnceLock::new();
    let pid = Pid::own();
    if let Some(start) = START.get() {
        return Ok((pid, *start));
    }
    let start = ProcessDir::open(pid)?.stat()?.start_time_ticks;
    Ok((pid, *START.get_or_init(|| start)))
}

/// Says whether the process that had this number and start time lives, or may live.
pub(crate) fn lives(pid: Pid, start_time_ticks: u64) -> bool {
    match ProcessDir::open(pid).and_then(|process| process.stat()) {
        Ok(stat) => stat.start_time_ticks == start_time_ticks && !stat.is_dead(),
        Err(fault) => !fault.is_gone(),
    }
}

/// Opens `/proc` once and makes sure that its numbers mean what ours mean.
fn proc_folder() -> Result<&'static OwnedFd, ProcessFault> {
    static PROC: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(folder) = PROC.get() {
        return Ok(folder);
    }
    let fault = |errno: Errno| ProcessFault::Proc(errno.to_string());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open("/proc", flags, Mode::empty()).map_err(fault)?;
    let system = rustix::fs::fstatfs(&folder).map_err(fault)?;
    if u64::try_from(system.f_type) != Ok(PROC_MAGIC) {
        return Err(ProcessFault::Proc("it is no procfs".to_owned()));
    }
    let own = rustix::fs::readlinkat(&folder, "self", Vec::new()).map_err(fault)?;
    if own.to_bytes() != Pid::own().to_string().as_bytes() {
        return Err(ProcessFault::Proc("it belongs to another pid namespace".to_owned()));
    }
    Ok(PROC.get_or_init(|| folder))
}

fn value_in(environment: &[u8], key: &str) -> Option<Vec<u8>> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(key.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec))
}

/// Returns the inode of a process's pidfd. `None` where the kernel has no file system for them:
/// there every pidfd has the same inode.
fn pidfd_inode(pid: Pid) -> Option<u64> {
    let pidfd = rustix::process::pidfd_open(pid.raw()?, PidfdFlags::empty()).ok()?;
    let system = rustix::fs::fstatfs(&pidfd).ok()?;
    if u64::try_from(system.f_type) != Ok(PIDFS_MAGIC) {
        return None;
    }
    Some(rustix::fs::fstat(&pidfd).ok()?.st_ino)
}

/// Says whether a process has this number, whatever `/proc` shows of it: a pidfd is given for those
/// that are hidden too.
fn exists(pid: Pid) -> bool {
    pid.raw().is_some_and(|raw| rustix::process::pidfd_open(raw, PidfdFlags::empty()).is_ok())
}

fn split_arguments(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    whole.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Reads the line `Pss:   123 kB`.
fn proportional_bytes(text: &str) -> Option<u64> {
    let kib =
        text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;
