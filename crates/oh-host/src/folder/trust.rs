//! Configuration that decides what root does: believed only where root alone could have written.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oh_model::hint::shell_word;
use oh_model::path::RealPath;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use super::{FileKind, WARY};
use crate::root::Root;

/// The most symbolic links on the way to a file, as in the kernel.
const LINKS_MAX: usize = 40;

/// The bit of a mode that lets only owners rename and remove: such a folder is shared on purpose.
const STICKY: u32 = 0o1000;

/// Says why a file is not trusted.
#[derive(Debug, Error)]
pub enum TrustFault {
    /// The file, a folder above it or a link on the way belongs to somebody else.
    #[error("{path} is {kind} that belongs to uid {uid} (mode {mode:04o}), not to root{or_you}")]
    Owner {
        /// What is not trusted.
        path: String,
        /// What it is.
        kind: FileKind,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
        /// ` or to you`, for a user other than root.
        or_you: &'static str,
    },
    /// The file or a folder above it can be written by others.
    #[error("{path} is {kind} of uid {uid} with mode {mode:04o}: others may write to it")]
    Writable {
        /// What is not trusted.
        path: String,
        /// What it is.
        kind: FileKind,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
        /// What has to go from the mode, for chmod(1).
        take: &'static str,
    },
    /// The path does not lead to a regular file.
    #[error("{path} is {kind}, not a regular file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// There are too many symbolic links on the way.
    #[error("{path} is behind more than {LINKS_MAX} symbolic links")]
    Links {
        /// The path that was asked for.
        path: String,
    },
    /// It has too many bytes.
    #[error("{path} has more than {max} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit.
        max: u64,
    },
    /// It is not UTF-8.
    #[error("{path} is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The file.
        path: String,
        /// Where the first wrong byte is.
        at: usize,
    },
    /// It cannot be opened or read.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl TrustFault {
    /// Returns the command that mends it, or what to do where no command does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { path, kind: FileKind::Link, .. } => {
                Some(format!("chown -h root: {}", shell_word(path)))
            }
            Self::Owner { path, .. } => Some(format!("chown root: {}", shell_word(path))),
            // `chmod go-w /tmp` would mend our reading and break the machine.
            Self::Writable { kind: FileKind::Folder, mode, .. } if mode & STICKY != 0 => Some(
                "keep the file where only root can write, such as /etc/openhands-toolkit".into(),
            ),
            Self::Writable { path, take, .. } => Some(format!("chmod {take} {}", shell_word(path))),
            _ => None,
        }
    }
}

/// Reads a configuration file that may name commands, paths and users; `None` where there is none.
///
/// For root, the file and every folder and link on the way to it have to belong to root, and the
/// file and the folders have to be writable by nobody else: links are followed one by one, and
/// what they lead to is judged in the same way. Below a root folder other than `/` the way begins
/// at that folder, which [`Root::below`] has judged. For anybody else, the file has to belong to
/// root or to them and must not be writable by everybody.
///
/// # Errors
/// [`TrustFault`].
pub fn read_trusted(
    root: &Root,
    path: &RealPath,
    bytes_max: u64,
) -> Result<Option<String>, TrustFault> {
    let me = rustix::process::geteuid().as_raw();
    read_as(&Judge { strict: me == 0, me }, root, path, bytes_max)
}

/// Who asks, and so what is asked of a file and of the way to it.
pub(super) struct Judge {
    pub(super) strict: bool,
    pub(super) me: u32,
}

pub(super) fn read_as(
    judge: &Judge,
    root: &Root,
    path: &RealPath,
    bytes_max: u64,
) -> Result<Option<String>, TrustFault> {
    let Some((file, shown)) = walk(judge, root, path)? else { return Ok(None) };
    let io = |doing, source: std::io::Error| TrustFault::Io { doing, path: shown.clone(), source };
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(std::fs::File::from(file), bytes_max.saturating_add(1));
    std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(|source| io("read", source))?;
    if bytes.len() as u64 > bytes_max {
        return Err(TrustFault::TooLarge { path: shown, max: bytes_max });
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|fault| TrustFault::NotUtf8 { path: shown, at: fault.utf8_error().valid_up_to() })
}

/// The folders from the start of the way to here, each open, with its path for messages.
struct Way {
    folders: Vec<(OwnedFd, String)>,
}

impl Way {
    fn begin(judge: &Judge, at: &str) -> Result<Self, TrustFault> {
        let folder = open_folder(rustix::fs::CWD, at, at)?;
        let stat = rustix::fs::fstat(&folder).map_err(|errno| io("look at", at, errno))?;
        judge.folder(at, &stat)?;
        Ok(Self { folders: vec![(folder, at.to_owned())] })
    }

    fn here(&self) -> (BorrowedFd<'_>, &str) {
        self.folders.last().map_or((rustix::fs::CWD, ""), |(fd, path)| (fd.as_fd(), path))
    }

    fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.here().1.trim_end_matches('/'))
    }
}

fn walk(
    judge: &Judge,
    root: &Root,
    path: &RealPath,
) -> Result<Option<(OwnedFd, String)>, TrustFault> {
    let (start, rest) = match (root.base(), root.inside(path)) {
        (Some(base), Some(inside)) => (base.as_str(), inside.as_str().to_owned()),
        _ => ("/", path.as_str().to_owned()),
    };
    let mut way = Way::begin(judge, start)?;
    let mut parts: VecDeque<String> = split(&rest).collect();
    let mut links = 0;
    while let Some(name) = parts.pop_front() {
        if name == ".." {
            // The folder above the first one is itself for `/`; out of another root it is judged
            // from the top, because a link led there.
            if way.folders.len() > 1 {
                way.folders.pop();
            } else if way.here().1 != "/" {
                let above = RealPath::parse(way.here().1).map(|path| path.parent().to_string());
                parts = split(&above.unwrap_or_default()).chain(parts).collect();
                way = Way::begin(judge, "/")?;
            }
            continue;
        }
        let shown = way.shown(&name);
        let look = rustix::fs::statat(way.here().0, &name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = match look {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(io("look at", &shown, errno)),
        };
        match FileKind::of_mode(stat.st_mode) {
            FileKind::Link => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(TrustFault::Links { path: path.to_string() });
                }
                judge.link(&shown, &stat)?;
                let target = rustix::fs::readlinkat(way.here().0, &name, Vec::new())
                    .map_err(|errno| io("follow", &shown, errno))?;
                let Ok(target) = target.to_str() else {
                    return Err(io("follow", &shown, Errno::ILSEQ));
                };
                if target.starts_with('/') {
                    way = Way::begin(judge, "/")?;
                }
                parts = split(target).chain(parts).collect();
            }
            FileKind::Folder if !parts.is_empty() => {
                let folder = open_folder(way.here().0, &name, &shown)?;
                let stat =
                    rustix::fs::fstat(&folder).map_err(|errno| io("look at", &shown, errno))?;
                judge.folder(&shown, &stat)?;
                way.folders.push((folder, shown));
            }
            FileKind::Regular if parts.is_empty() => {
                judge.file(&shown, &stat)?;
                let file = rustix::fs::openat(way.here().0, &name, WARY, Mode::empty())
                    .map_err(|errno| io("open", &shown, errno))?;
                let stat =
                    rustix::fs::fstat(&file).map_err(|errno| io("look at", &shown, errno))?;
                judge.file(&shown, &stat)?;
                return Ok(Some((file, shown)));
            }
            FileKind::Regular => return Ok(None),
            kind => return Err(TrustFault::NotAFile { path: shown, kind }),
        }
    }
    Err(TrustFault::NotAFile { path: path.to_string(), kind: FileKind::Folder })
}

impl Judge {
    fn folder(&self, path: &str, stat: &Stat) -> Result<(), TrustFault> {
        if self.strict { self.check(path, stat, 0o022) } else { Ok(()) }
    }

    fn link(&self, path: &str, stat: &Stat) -> Result<(), TrustFault> {
        // The mode of a link is always 0777 and says nothing.
        if self.strict { self.check(path, stat, 0) } else { Ok(()) }
    }

    fn file(&self, path: &str, stat: &Stat) -> Result<(), TrustFault> {
        let kind = FileKind::of_mode(stat.st_mode);
        if kind != FileKind::Regular {
            return Err(TrustFault::NotAFile { path: path.to_owned(), kind });
        }
        self.check(path, stat, if self.strict { 0o022 } else { 0o002 })
    }

    fn check(&self, path: &str, stat: &Stat, forbidden: u32) -> Result<(), TrustFault> {
        let (path, kind) = (path.to_owned(), FileKind::of_mode(stat.st_mode));
        let (uid, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        if uid != 0 && (self.strict || uid != self.me) {
            let or_you = if self.strict { "" } else { " or to you" };
            return Err(TrustFault::Owner { path, kind, uid, mode, or_you });
        }
        if mode & forbidden != 0 {
            let take = if self.strict { "go-w" } else { "o-w" };
            return Err(TrustFault::Writable { path, kind, uid, mode, take });
        }
        Ok(())
    }
}

fn split(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn open_folder(at: BorrowedFd<'_>, name: &str, shown: &str) -> Result<OwnedFd, TrustFault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|errno| io("open", shown, errno))
}

fn io(doing: &'static str, path: &str, errno: Errno) -> TrustFault {
    TrustFault::Io { doing, path: path.to_owned(), source: errno.into() }
}
