//! The end of a log over the files that were set aside, and what is added to it since.
//!
//! [`oh_host::logs::rotate`] copies a log to `LOG.1` and empties it, so a reader who has come to
//! some place finds the rest of what it did not read in a copy. It knows the copy by the bytes
//! before that place: a size alone says nothing once the emptied log has grown again.
//!
//! Who writes a log can also make it longer than any memory, or shorter. So nothing is read but the
//! end, where there is more than a limit to read, and that something was left out is said.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use oh_host::logs::{behind_cut, is_of_word, text_of};
use oh_model::path::RealPath;
use rustix::fs::{Mode, OFlags};

/// How much of the logs is read at most for their last lines, or at once by a follower, in bytes.
pub(super) const READ_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much is read at least at once on the way back, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;
/// How many bytes before the place of a reader are compared.
const BEFORE_BYTES: u64 = 256;
/// How much of one line is held back until its end comes, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long a word can be that is not cut, in bytes: longer than a key and its name.
const WORD_BYTES_MAX: usize = 256;

/// The end of a log.
#[derive(Debug)]
pub(super) struct Lines {
    /// The lines, as [`text_of`] them.
    pub(super) text: String,
    /// Whether there may be more of them than were read.
    pub(super) is_cut: bool,
    /// Up to where the log itself was read.
    position: u64,
}

/// Reads the last lines of a log and of the `files` that were set aside of it, at most `most` bytes.
pub(super) fn last_lines(log: &RealPath, files: u64, lines: usize, most: u64) -> io::Result<Lines> {
    let mut file = open(log.as_str())?;
    let position = file.metadata()?.len();
    let mut found = Vec::new();
    read_back(&mut file, position, lines, most, &mut found)?;
    for number in 1..=files {
        if has_lines(&found, lines) || left(&found, most) == 0 {
            break;
        }
        match open(&aside(log, number)) {
            Ok(mut older) => {
                let length = older.metadata()?.len();
                read_back(&mut older, length, lines, most, &mut found)?;
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => break,
            Err(fault) => return Err(fault),
        }
    }
    let is_cut = !has_lines(&found, lines) && left(&found, most) == 0;
    let last = last_of(&found, lines);
    let text = text_of(if is_cut { behind_cut(last) } else { last });
    Ok(Lines { text, is_cut, position })
}

/// Puts what stands before `end` in front of what was found, until there are lines enough, or
/// `most` bytes.
fn read_back(
    file: &mut File,
    end: u64,
    lines: usize,
    most: u64,
    found: &mut Vec<u8>,
) -> io::Result<()> {
    let mut end = end;
    while end > 0 && !has_lines(found, lines) && left(found, most) > 0 {
        // Each piece is as long as all before, so that many lines are not moved many times.
        let length = count(found).max(PIECE_BYTES).min(left(found, most));
        let begin = end.saturating_sub(length);
        let mut piece = read_at(file, begin, end - begin)?;
        piece.append(found);
        *found = piece;
        end = begin;
    }
    Ok(())
}

fn has_lines(found: &[u8], lines: usize) -> bool {
    // One more than asked: what stands before the first newline may be half a line.
    found.iter().filter(|byte| **byte == b'\n').count() > lines
}

fn left(found: &[u8], most: u64) -> u64 {
    most.saturating_sub(count(found))
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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

/// What was added to a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added {
    /// It, as [`text_of`] it.
    pub(super) text: String,
    /// Whether something before it was skipped, or may have been.
    pub(super) is_cut: bool,
}

/// Bytes that were read, the last [`READ_BYTES_MAX`] of them.
#[derive(Debug, Default)]
struct Read {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Read {
    /// Adds what stands between two places of a file; says up to where that is.
    fn add(&mut self, file: &mut File, begin: u64, end: u64) -> io::Result<u64> {
        let from = begin.max(end.saturating_sub(READ_BYTES_MAX));
        let mut new = read_at(file, from, end.saturating_sub(from))?;
        let place = from + count(&new);
        if from > begin {
            self.cut();
        }
        self.bytes.append(&mut new);
        let surplus = count(&self.bytes).saturating_sub(READ_BYTES_MAX);
        if surplus > 0 {
            self.is_cut = true;
            self.bytes.drain(..usize::try_from(surplus).unwrap_or(usize::MAX));
        }
        Ok(place)
    }

    /// Skips what was read so far: something is missing behind it.
    fn cut(&mut self) {
        self.bytes.clear();
        self.is_cut = true;
    }
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
    pub(super) fn next(&mut self, all: bool) -> io::Result<Added> {
        let mut read = Read { bytes: std::mem::take(&mut self.begun), is_cut: false };
        if self.is_replaced()? {
            let end = self.file.metadata()?.len();
            read.add(&mut self.file, self.position, end)?;
            self.file = open(self.log.as_str())?;
            self.position = 0;
        } else if self.is_emptied()? {
            self.add_rest_aside(&mut read)?;
            self.position = 0;
        }
        let end = self.file.metadata()?.len();
        self.position = read.add(&mut self.file, self.position, end)?;
        self.before = before(&mut self.file, self.position)?;
        let Read { bytes: mut added, is_cut } = read;
        let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if !all {
            let is_long = added.len() - whole > LINE_BYTES_MAX;
            self.begun = added.split_off(if is_long { before_last_word(&added) } else { whole });
        }
        let text = text_of(if is_cut { behind_cut(&added) } else { &added });
        Ok(Added { text, is_cut })
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
    fn add_rest_aside(&self, read: &mut Read) -> io::Result<()> {
        for number in 1..=self.files {
            let Ok(mut copy) = open(&aside(&self.log, number)) else { break };
            let length = copy.metadata()?.len();
            if length < self.position || before(&mut copy, self.position)? != self.before {
                continue;
            }
            read.add(&mut copy, self.position, length)?;
            for later in (1..number).rev() {
                let mut later = open(&aside(&self.log, later))?;
                let length = later.metadata()?.len();
                read.add(&mut later, 0, length)?;
            }
            return Ok(());
        }
        // Nobody kept it, or only its end.
        read.cut();
        Ok(())
    }
}

/// Returns where the last word begins, unless it is a very long one.
fn before_last_word(bytes: &[u8]) -> usize {
    let word = bytes.iter().rev().take_while(|byte| is_of_word(**byte)).count();
    if word > WORD_BYTES_MAX { bytes.len() } else { bytes.len() - word }
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
            last_lines(&self.path, 3, lines, READ_BYTES_MAX).unwrap().text
        }

        fn follower(&self) -> Follower {
            let lines = last_lines(&self.path, 3, 0, READ_BYTES_MAX).unwrap();
            Follower::after(&self.path, 3, &lines).unwrap()
        }
    }

    /// What was added, where nothing was skipped.
    fn whole(follower: &mut Follower, all: bool) -> String {
        let added = follower.next(all).unwrap();
        assert!(!added.is_cut, "{}", added.text);
        added.text
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
        assert_eq!(whole(&mut follower, false), "");
        log.write("one\ntw");
        assert_eq!(whole(&mut follower, false), "one\n");
        log.write("o\nthree");
        assert_eq!(whole(&mut follower, false), "two\n");
        assert_eq!(whole(&mut follower, true), "three");
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
            whole(&mut follower, false),
            "one\ntwo\nthree\nfour, which is longer than all of it was before\n"
        );
        // Emptied, and nothing new.
        log.rotate();
        assert_eq!(whole(&mut follower, false), "");
        log.write("five\n");
        assert_eq!(whole(&mut follower, false), "five\n");
        // Twice between two looks.
        log.write("six\n");
        log.rotate();
        log.write("seven\n");
        log.rotate();
        log.write("eight\n");
        assert_eq!(whole(&mut follower, false), "six\nseven\neight\n");
    }

    #[test]
    fn a_log_that_is_a_new_file_is_read_from_its_beginning() {
        let mut log = Log::new();
        log.write("old\n");
        let mut follower = log.follower();
        std::fs::remove_file(log.path.as_str()).unwrap();
        log.write("last\n");
        assert_eq!(whole(&mut follower, false), "last\n");
        std::fs::write(log.path.as_str(), "new\n").unwrap();
        assert_eq!(whole(&mut follower, false), "new\n");
    }

    #[test]
    fn of_a_log_that_is_longer_than_the_memory_the_end_is_read() {
        let mut log = Log::new();
        log.write("old\n");
        let mut follower = log.follower();
        for claimed in [300 << 20, 8 << 40] {
            log.writer.set_len(claimed).unwrap();
            let added = follower.next(false).unwrap();
            assert_eq!(added, Added { text: String::new(), is_cut: true }, "{claimed}");
            assert!(follower.begun.len() <= LINE_BYTES_MAX, "{}", follower.begun.len());
            log.write("\nnew\n");
            assert_eq!(whole(&mut follower, false), "\nnew\n");
        }
        let lines = last_lines(&log.path, 3, 5, PIECE_BYTES).unwrap();
        assert!(lines.is_cut && lines.text == "\nnew\n", "{}", lines.text.len());
        // More than is read at once, of which the end begins in the middle of a key.
        let key = "0f".repeat(32);
        log.write(&format!("{key} {key}\n").repeat(140_000));
        let added = follower.next(false).unwrap();
        assert!(added.is_cut && added.text.starts_with([' ', '\n']), "{}", added.text.len());
        assert!(count(added.text.as_bytes()) <= READ_BYTES_MAX);
        // A line without an end is told in pieces, and no word in two.
        let begun = format!("{}tkn={key}", " ".repeat(LINE_BYTES_MAX));
        let (before, rest) = begun.split_at(begun.len() - 9);
        log.write(before);
        assert_eq!(whole(&mut follower, false).trim(), "");
        log.write(&format!("{rest} x\n"));
        assert_eq!(whole(&mut follower, false), format!("tkn={key} x\n"));
    }

    #[test]
    fn that_something_was_lost_of_a_log_is_said() {
        let mut log = Log::new();
        log.write("one\ntwo\n");
        let mut follower = log.follower();
        log.write("begun");
        assert_eq!(whole(&mut follower, false), "");
        log.writer.set_len(3).unwrap();
        log.write("\nthree\n");
        let added = follower.next(false).unwrap();
        assert!(added.is_cut && added.text.ends_with("\nthree\n"), "{added:?}");
        log.write("four\n");
        assert_eq!(whole(&mut follower, false), "four\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let path = RealPath::parse(path.to_str().unwrap()).unwrap();
        assert!(last_lines(&path, 3, 5, READ_BYTES_MAX).is_err());
    }
}
