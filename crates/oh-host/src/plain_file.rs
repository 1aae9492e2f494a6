//! Reads a file that somebody named: whatever stands there, the reader does not hang on it and holds little.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat};
use thiserror::Error;

/// Says why a file was not read.
#[derive(Debug, Error)]
pub enum PlainFileFault {
    /// It is a folder, a pipe, a device: reading it may take for ever, or change something.
    #[error("it is no plain file")]
    NotPlain,
    /// It is longer than whoever asked wants to hold.
    #[error("it has more than {bytes_max} bytes")]
    TooLong {
        /// The most bytes that were wanted.
        bytes_max: u64,
    },
    /// A system call failed.
    #[error("{0}")]
    Io(io::Error),
}

/// Reads a plain file of at most `bytes_max` bytes; `None` where there is none. Links are followed.
///
/// # Errors
/// [`PlainFileFault`].
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, PlainFileFault> {
    use std::io::Read as _;
    // Without O_NONBLOCK the opening of a pipe waits for somebody who writes.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(PlainFileFault::Io(errno.into())),
    };
    let stat = fstat(&file).map_err(|errno| PlainFileFault::Io(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PlainFileFault::NotPlain);
    }
    let mut bytes = Vec::new();
    // One byte more tells that there is more, however long the file says that it is.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(PlainFileFault::Io)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(PlainFileFault::TooLong { bytes_max });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "1234").unwrap();
        std::os::unix::fs::symlink("plain", at("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(read(&at("plain"), 4).unwrap().unwrap(), b"1234");
        assert_eq!(read(&at("link"), 4).unwrap().unwrap(), b"1234");
        assert!(read(&at("none"), 4).unwrap().is_none());
        assert!(read(&at("plain/below"), 4).unwrap().is_none());
        for (name, said) in [
            ("plain", "it has more than 3 bytes"),
            ("pipe", "it is no plain file"),
            (".", "it is no plain file"),
        ] {
            assert_eq!(read(&at(name), 3).unwrap_err().to_string(), said, "{name}");
        }
    }
}
