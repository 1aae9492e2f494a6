//! The end of a log over the files that were set aside, and what is added to it since.
//!
//! [`oh_host::logs::rotate`] copies a log to `LOG.1` and empties it, so a reader who has come to
//! some place finds the rest of what it did not read in a copy. It knows the copy by the bytes
//! before that place: a size alone says nothing once the emptied log has grown again.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use oh_model::path::RealPath;
use rustix::fs::{Mode, OFlags};

/// How much of the logs is read at most for their last lines, in bytes.
const LAST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much is read at least at once on the way back, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;
/// How many bytes before the place of a reader are compared.
const BEFORE_BYTES: u64 = 256;
/// How much of one line is held back until its end comes, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The end of a log.
#[derive(Debug)]
pub(super) struct Lines {
    /// The lines; bytes that are no UTF-8 are replaced.
    pub(super) text: String,
    /// Up to where the log itself was read.
    position: u64,
}

/// Reads the last lines of a log and of the `files` that were set aside of it.
pub(super) fn last_lines(log: &RealPath, files: u64, lines: usize) -> io::Result<Lines> {
    let mut file = open(log.as_str())?;
    let position = file.metadata()?.len();
    let mut found = Vec::new();
    read_back(&mut file, position, lines, &mut found)?;
    for number in 1..=files {
        if is_enough(&found, lines) {
            break;
        }
        match open(&aside(log, number)) {
            Ok(mut older) => {
                let length = older.metadata()?.len();
                read_back(&mut older, length, lines, &mut found)?;
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => break,
            Err(fault) => return Err(fault),
        }
    }
    let text = String::from_utf8_lossy(last_of(&found, lines)).into_owned();
    Ok(Lines { text, position })
}

/// Puts what stands before `end` in front of what was found, until there are lines enough.
fn read_back(file: &mut File, end: u64, lines: usize, found: &mut Vec<u8>) -> io::Result<()> {
    let mut end = end;
    while end > 0 && !is_enough(found, lines) {
        // Each piece is as long as all before, so that many lines are not moved many times.
        let length = u64::try_from(found.len()).unwrap_or(PIECE_BYTES).max(PIECE_BYTES);
        let begin = end.saturating_sub(length);
        let mut piece = read_at(file, begin, end - begin)?;
        piece.append(found);
        *found = piece;
        end = begin;
    }
    Ok(())
}

fn is_enough(found: &[u8], lines: usize) -> bool {
    // One more than asked: what stands before the first newline may be half a line.
    let newlines = found.iter().filter(|byte| **byte == b'\n').count();
    newlines > lines || u64::try_from(found.len()).is_ok_and(|count| count >= LAST_BYTES_MAX)
}

fn last_of(found: &[u8], lines: usize) -> &[u8] {
    let pieces: Vec<&[u8]> = found.split_inclusive(|byte| *byte == b'\n').collect();
    let dropped: usize =
        pieces.iter().take(pieces.len().saturating_sub(lines)).map(|piece| piece.len()).sum();
    found.get(dropped..).unwrap_or_default()
}

/// Parts a text behind its last newline.
pub(super) fn split_behind_last_line(text: &str) -> (&str, &str) {
    text.split_at(text.rfind('\n').map_or(0, |at| at + 1))
}

/// A reader that goes on where it was.
#[derive(Debug)]
pub(super) struct Follower {
    log: RealPath,
    files: u64,
    file: File,
    /// Up to where the file was read.
    position: u64,
    /// What stood before that place.
    before: Vec<u8>,
    /// A line whose end has not come.
    begun: Vec<u8>,
}

impl Follower {
    /// Begins behind lines that were read.
    pub(super) fn after(log: &RealPath, files: u64, lines: &Lines) -> io::Result<Self> {
        let mut file = open(log.as_str())?;
        let position = lines.position;
        let before = before(&mut file, position)?;
        Ok(Self { log: log.clone(), files, file, position, before, begun: Vec::new() })
    }

    /// Takes the beginning of the line that comes next.
    pub(super) fn begin_with(&mut self, begun: &str) {
        self.begun = begun.as_bytes().to_vec();
    }

    /// Reads what was added, in whole lines; with `all`, the begun one too.
    pub(super) fn next(&mut self, all: bool) -> io::Result<String> {
        let mut added = std::mem::take(&mut self.begun);
        if self.is_replaced()? {
            let end = self.file.metadata()?.len();
            let rest = end.saturating_sub(self.position);
            added.append(&mut read_at(&mut self.file, self.position, rest)?);
            self.file = open(self.log.as_str())?;
            self.position = 0;
        } else if self.is_emptied()? {
            added.append(&mut self.rest_aside()?);
            self.position = 0;
        }
        let end = self.file.metadata()?.len();
        let mut new = read_at(&mut self.file, self.position, end.saturating_sub(self.position))?;
        self.position += u64::try_from(new.len()).unwrap_or_default();
        self.before = before(&mut self.file, self.position)?;
        added.append(&mut new);
        let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if !all && added.len() - whole <= LINE_BYTES_MAX {
            self.begun = added.split_off(whole);
        }
        Ok(lossy(&added))
    }

    /// Says whether another file has its name. One without a name can still be read to its end.
    fn is_replaced(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match std::fs::symlink_metadata(self.log.as_str()) {
            Ok(named) => Ok((own.dev(), own.ino()) != (named.dev(), named.ino())),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Says whether the file has lost what was read of it.
    fn is_emptied(&mut self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        Ok(length < self.position || before(&mut self.file, self.position)? != self.before)
    }

    /// Reads what we had not read when the log was emptied, of the files that were set aside.
    fn rest_aside(&mut self) -> io::Result<Vec<u8>> {
        for number in 1..=self.files {
            let Ok(mut copy) = open(&aside(&self.log, number)) else { break };
            let length = copy.metadata()?.len();
            if length < self.position || before(&mut copy, self.position)? != self.before {
                continue;
            }
            let mut rest = read_at(&mut copy, self.position, length - self.position)?;
            for later in (1..number).rev() {
                let mut later = open(&aside(&self.log, later))?;
                let length = later.metadata()?.len();
                rest.append(&mut read_at(&mut later, 0, length)?);
            }
            return Ok(rest);
        }
        Ok(Vec::new())
    }
}

fn before(file: &mut File, position: u64) -> io::Result<Vec<u8>> {
    let begin = position.saturating_sub(BEFORE_BYTES);
    read_at(file, begin, position - begin)
}

fn read_at(file: &mut File, begin: u64, count: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn aside(log: &RealPath, number: u64) -> String {
    format!("{log}.{number}")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn open(path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use oh_host::logs::rotate;

    use super::*;

    struct Log {
        _dir: tempfile::TempDir,
        path: RealPath,
        writer: File,
    }

    impl Log {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = RealPath::parse(dir.path().join("a.log").to_str().unwrap()).unwrap();
            let writer = File::options().create(true).append(true).open(path.as_str()).unwrap();
            Self { _dir: dir, path, writer }
        }

        fn write(&mut self, text: &str) {
            self.writer.write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            assert!(rotate(&self.path, 0, 3).unwrap());
        }

        fn last(&self, lines: usize) -> String {
            last_lines(&self.path, 3, lines).unwrap().text
        }

        fn follower(&self) -> Follower {
            Follower::after(&self.path, 3, &last_lines(&self.path, 3, 0).unwrap()).unwrap()
        }
    }

    #[test]
    fn the_last_lines_come_from_as_many_files_as_they_are_in() {
        let mut log = Log::new();
        assert_eq!(log.last(3), "");
        log.write("one\ntwo\nth");
        log.rotate();
        log.write("ree\nfour\n");
        log.rotate();
        log.write("five\nsix");
        for (lines, text) in [
            (0, ""),
            (1, "six"),
            (2, "five\nsix"),
            (3, "four\nfive\nsix"),
            (4, "three\nfour\nfive\nsix"),
            (9, "one\ntwo\nthree\nfour\nfive\nsix"),
        ] {
            assert_eq!(log.last(lines), text, "{lines}");
        }
        let many: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
        log.write(&format!("\n{many}"));
        assert_eq!(log.last(2), "line 39998\nline 39999\n");
        assert_eq!(log.last(30_000).lines().next(), Some("line 10000"));
    }

    #[test]
    fn a_follower_goes_on_in_whole_lines() {
        let mut log = Log::new();
        log.write("old\n");
        let mut follower = log.follower();
        assert_eq!(follower.next(false).unwrap(), "");
        log.write("one\ntw");
        assert_eq!(follower.next(false).unwrap(), "one\n");
        log.write("o\nthree");
        assert_eq!(follower.next(false).unwrap(), "two\n");
        assert_eq!(follower.next(true).unwrap(), "three");
    }

    #[test]
    fn nothing_is_lost_or_told_twice_where_the_log_is_emptied() {
        let mut log = Log::new();
        log.write("old\n");
        let mut follower = log.follower();
        // Grown before and after, to more than it was.
        log.write("one\ntwo\nthr");
        log.rotate();
        log.write("ee\nfour, which is longer than all of it was before\n");
        assert_eq!(
            follower.next(false).unwrap(),
            "one\ntwo\nthree\nfour, which is longer than all of it was before\n"
        );
        // Emptied, and nothing new.
        log.rotate();
        assert_eq!(follower.next(false).unwrap(), "");
        log.write("five\n");
        assert_eq!(follower.next(false).unwrap(), "five\n");
        // Twice between two looks.
        log.write("six\n");
        log.rotate();
        log.write("seven\n");
        log.rotate();
        log.write("eight\n");
        assert_eq!(follower.next(false).unwrap(), "six\nseven\neight\n");
    }

    #[test]
    fn a_log_that_is_a_new_file_is_read_from_its_beginning() {
        let mut log = Log::new();
        log.write("old\n");
        let mut follower = log.follower();
        std::fs::remove_file(log.path.as_str()).unwrap();
        log.write("last\n");
        assert_eq!(follower.next(false).unwrap(), "last\n");
        std::fs::write(log.path.as_str(), "new\n").unwrap();
        assert_eq!(follower.next(false).unwrap(), "new\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let path = RealPath::parse(path.to_str().unwrap()).unwrap();
        assert!(last_lines(&path, 3, 5).is_err());
    }
}
