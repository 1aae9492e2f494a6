//! Logs of programs that write them by themselves: their last lines, and setting them aside.
//!
//! A program that appends to its own open file cannot be told of a new one. So the content is
//! copied aside and the file emptied, which appending (`O_APPEND`) makes safe: the next line begins
//! at the new end. What is written between the copy and the emptying is lost; it is the price of
//! letting an editor outlive whoever watches it.
//!
//! The program can also make its log longer than the disk, and write anywhere in it. So no size is
//! believed: what is read or copied has a limit of its own. What it prints may have its key in it:
//! nobody shows it but through [`without_keys`].

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use oh_model::instance::Key;
use oh_model::path::RealPath;
use oh_nginx_conf::secret::{self, NOT_SHOWN};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// How many bytes of a log's end are looked at for its last lines.
const TAIL_BYTES: u64 = 8 * 1024;

/// How many last lines are shown.
const TAIL_LINES: usize = 3;

/// How many bytes beyond its limit are kept of a log that is set aside: it grows between two looks.
pub const BEYOND_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How much of a log is copied at once, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;

/// Returns the last lines of a log on one line, behind a colon, without keys; nothing where there
/// are none.
pub fn last_lines<'k>(log: &RealPath, keys: impl IntoIterator<Item = &'k Key>) -> String {
    let text = without_keys(&tail(log, TAIL_BYTES).unwrap_or_default(), keys);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    if kept.is_empty() { String::new() } else { format!(": {}", kept.join("; ")) }
}

/// Reads the end of a log, at most `bytes` of it, from the beginning of a word, as [`text_of`] it.
///
/// # Errors
/// The system's; a symbolic link is not followed.
pub fn tail(log: &RealPath, bytes: u64) -> io::Result<String> {
    let mut file = open(log, OFlags::RDONLY)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut tail = Vec::new();
    file.take(bytes).read_to_end(&mut tail)?;
    Ok(text_of(if length > bytes { behind_cut(&tail) } else { &tail }))
}

/// Returns bytes of a log as text: those that are no UTF-8 are replaced, and zeros left out, which
/// is what a hole in a file reads as.
pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "")
}

/// Returns the text with `<key>` in the place of each of the keys, of what a cookie of an editor
/// has, and of what VS Code's server gives its visitors (`?tkn=…`).
pub fn without_keys<'k>(text: &str, keys: impl IntoIterator<Item = &'k Key>) -> String {
    let text = secret::without_values(&secret::without_keys(text), "tkn");
    keys.into_iter().fold(text, |text, key| text.replace(key.reveal(), NOT_SHOWN))
}

/// Leaves out the rest of a word at the beginning of what was cut: it may be of a key.
pub fn behind_cut(bytes: &[u8]) -> &[u8] {
    let word = bytes.iter().take_while(|byte| is_of_word(**byte)).count();
    bytes.get(word..).unwrap_or_default()
}

/// Says whether a byte can be in a key or in what names it, so that no text is cut there.
pub fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'=')
}

/// Sets a log aside where it has at least `bytes_max` bytes: its content goes to `LOG.1`, what was
/// there to `LOG.2`, and so on, `files` of them; with none the content goes away. Says whether it
/// was.
///
/// Whatever its size, at most its last `bytes_max` and [`BEYOND_BYTES_MAX`] bytes are copied, and
/// no holes.
///
/// # Errors
/// The system's; the log is as it was, unless it could not be emptied.
pub fn rotate(log: &RealPath, bytes_max: u64, files: u64) -> io::Result<bool> {
    let mut file = match open(log, OFlags::RDWR) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(fault) => return Err(fault),
    };
    let length = file.metadata()?.len();
    if length < bytes_max {
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
        copy_end(&mut file, length, bytes_max + BEYOND_BYTES_MAX, &mut File::from(copy))?;
    }
    file.set_len(0)?;
    Ok(true)
}

/// Copies the last `most` bytes of a log that claims to have `length`, but for its holes.
fn copy_end(log: &mut File, length: u64, most: u64, copy: &mut File) -> io::Result<()> {
    let begin = length.saturating_sub(most);
    let mut place = if begin == 0 { 0 } else { behind_newline(log, begin)? };
    // Less than `most` in a whole log, so that lines which come meanwhile are copied too.
    let end = begin + most;
    while place < end {
        place = match rustix::fs::seek(&*log, rustix::fs::SeekFrom::Data(place)) {
            Ok(data) if data >= end => break,
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            // Not every file system knows of holes.
            Err(_) => log.seek(SeekFrom::Start(place))?,
        };
        let count = io::copy(&mut log.by_ref().take(PIECE_BYTES.min(end - place)), copy)?;
        if count == 0 {
            break;
        }
        place += count;
    }
    Ok(())
}

/// Returns where the next line begins, so that none is cut; where none is near, the end of the word.
fn behind_newline(log: &mut File, place: u64) -> io::Result<u64> {
    log.seek(SeekFrom::Start(place))?;
    let mut piece = Vec::new();
    log.by_ref().take(PIECE_BYTES).read_to_end(&mut piece)?;
    let newline = piece.iter().position(|byte| *byte == b'\n');
    let line = newline.map_or(piece.len() - behind_cut(&piece).len(), |at| at + 1);
    Ok(place + u64::try_from(line).unwrap_or_default())
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
        assert_eq!(last_lines(&log, []), "");
        let lines: String = (0..5000).map(|number| format!("line {number}\n\n")).collect();
        std::fs::write(log.as_str(), lines).unwrap();
        assert_eq!(last_lines(&log, []), ": line 4997; line 4998; line 4999");
        // Longer than the disk, and with a line at its end.
        let file = File::options().append(true).open(log.as_str()).unwrap();
        file.set_len(1 << 42).unwrap();
        (&file).write_all(b"end\n").unwrap();
        assert_eq!(last_lines(&log, []), ": end");
    }

    #[test]
    fn a_log_that_is_longer_than_the_disk_is_set_aside_in_little_room() {
        use std::os::unix::fs::MetadataExt as _;
        const LIMIT: u64 = 1024 * 1024;
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        let aside = dir.path().join("a.log.1");
        let file = File::create(log.as_str()).unwrap();
        (&file).write_all(b"one\n").unwrap();
        for length in [300 << 20, 8 << 40] {
            file.set_len(length).unwrap();
            assert!(rotate(&log, LIMIT, 2).unwrap());
            let meta = aside.metadata().unwrap();
            assert!(meta.blocks() * 512 <= LIMIT && meta.len() <= LIMIT, "{meta:?}");
            assert_eq!(file.metadata().unwrap().len(), 0);
        }
        // What stands behind a hole is kept, and of much that was written the end, in whole lines.
        let mut file = file;
        file.seek(SeekFrom::Start(8 << 40)).unwrap();
        file.write_all(b"two\n").unwrap();
        assert!(rotate(&log, LIMIT, 2).unwrap());
        let kept = std::fs::read_to_string(&aside).unwrap();
        assert!(kept.ends_with("two\n") && kept.len() < 5000, "{}", kept.len());
        let line = format!("{}\n", "x".repeat(998));
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(line.repeat(7_000).as_bytes()).unwrap();
        file.write_all(b"last\n").unwrap();
        assert!(rotate(&log, LIMIT, 2).unwrap());
        let kept = std::fs::read_to_string(&aside).unwrap();
        let most = usize::try_from(LIMIT + BEYOND_BYTES_MAX).unwrap();
        assert!(kept.len() <= most && kept.len() > most - 1000, "{}", kept.len());
        assert!(kept.starts_with(&line) && kept.ends_with("x\nlast\n"));
    }

    #[test]
    fn a_key_is_not_among_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        let key = Key::parse(&"0f".repeat(32)).unwrap();
        let token = "c0ffee".repeat(10);
        let url = format!("Web UI available at http://localhost:36200?tkn={token}");
        std::fs::write(log.as_str(), format!("{url}\nsaid {}.\n", key.reveal())).unwrap();
        assert_eq!(
            last_lines(&log, [&key]),
            ": Web UI available at http://localhost:36200?tkn=<key>; said <key>."
        );
        // Nor a part of one, wherever the end that is read begins.
        std::fs::write(log.as_str(), format!("{url}\n{} x\nend\n", key.reveal())).unwrap();
        for bytes in 0..200 {
            let text = without_keys(&tail(&log, bytes).unwrap(), [&key]);
            assert!(!text.contains("c0f") && !text.contains("0f0f"), "{bytes}: {text}");
            assert!(text.ends_with("end\n") || bytes < 5, "{bytes}: {text}");
        }
    }
}
