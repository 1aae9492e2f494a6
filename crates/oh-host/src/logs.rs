//! Logs of programs that write them by themselves: their last lines, and setting them aside.
//!
//! A program that appends to its own open file cannot be told of a new one. So the content is
//! copied aside and the file emptied, which appending (`O_APPEND`) makes safe: the next line begins
//! at the new end. What is written between the copy and the emptying is lost; it is the price of
//! letting an editor outlive whoever watches it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use oh_model::path::RealPath;
use rustix::fs::{Mode, OFlags};

/// How many bytes of a log's end are looked at for its last lines.
const TAIL_BYTES: u64 = 8 * 1024;

/// How many last lines are shown.
const TAIL_LINES: usize = 3;

/// Returns the last lines of a log on one line, behind a colon; nothing where there are none.
pub fn last_lines(log: &RealPath) -> String {
    let text = tail(log, TAIL_BYTES).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    if kept.is_empty() { String::new() } else { format!(": {}", kept.join("; ")) }
}

/// Reads the end of a log, at most `bytes` of it; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// The system's; a symbolic link is not followed.
pub fn tail(log: &RealPath, bytes: u64) -> io::Result<String> {
    let mut file = open(log, OFlags::RDONLY)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut tail = Vec::new();
    file.take(bytes).read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

/// Sets a log aside where it has at least `bytes_max` bytes: its content goes to `LOG.1`, what was
/// there to `LOG.2`, and so on, `files` of them; with none the content goes away. Says whether it
/// was.
///
/// # Errors
/// The system's; the log is as it was, unless it could not be emptied.
pub fn rotate(log: &RealPath, bytes_max: u64, files: u64) -> io::Result<bool> {
    let mut file = match open(log, OFlags::RDWR) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(fault) => return Err(fault),
    };
    if file.metadata()?.len() < bytes_max {
        return Ok(false);
    }
    let aside = |number: u64| format!("{log}.{number}");
    for number in (1..files).rev() {
        match std::fs::rename(aside(number), aside(number + 1)) {
            Ok(()) => {}
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
    }
    if files > 0 {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::open(aside(1), flags, Mode::from_raw_mode(0o600))?;
        io::copy(&mut file, &mut File::from(copy))?;
    }
    file.set_len(0)?;
    Ok(true)
}

fn open(log: &RealPath, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(log.as_str(), flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn log(dir: &tempfile::TempDir) -> RealPath {
        RealPath::parse(dir.path().join("a.log").to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_writer_goes_on_in_the_emptied_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        assert!(!rotate(&log, 1, 2).unwrap());
        let mut writer = File::options().create(true).append(true).open(log.as_str()).unwrap();
        for (line, first) in [("one\n", None), ("two\n", Some("one\n")), ("three\n", Some("two\n"))]
        {
            writer.write_all(line.as_bytes()).unwrap();
            assert!(!rotate(&log, 100, 2).unwrap());
            assert!(rotate(&log, 3, 2).unwrap());
            let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
            assert_eq!(read("a.log").as_deref(), Some(""));
            assert_eq!(read("a.log.1").as_deref(), Some(line));
            assert_eq!(read("a.log.2").as_deref(), first);
            assert_eq!(read("a.log.3"), None);
        }
        writer.write_all(b"four\n").unwrap();
        assert_eq!(std::fs::read(log.as_str()).unwrap(), b"four\n");
        assert!(rotate(&log, 1, 0).unwrap());
        assert_eq!(std::fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "three\n");
    }

    #[test]
    fn the_last_lines_are_those_of_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        assert_eq!(last_lines(&log), "");
        let lines: String = (0..5000).map(|number| format!("line {number}\n\n")).collect();
        std::fs::write(log.as_str(), lines).unwrap();
        assert_eq!(last_lines(&log), ": line 4997; line 4998; line 4999");
    }
}
