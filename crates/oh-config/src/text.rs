//! Text of others in messages, and positions in a text.

use alloc::string::String;
use alloc::vec::Vec;

/// The longest piece of somebody's text that a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Returns the text for a message: without control characters, and cut where it is long.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns the text in quotation marks for a message.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    shown.push_str(&plain(text).replace('"', "\\\""));
    shown.push('"');
    shown
}

/// Joins the pieces.
pub(crate) fn join<T: AsRef<str>>(pieces: &[T], between: &str) -> String {
    let mut joined = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            joined.push_str(between);
        }
        joined.push_str(piece.as_ref());
    }
    joined
}

/// Breaks a paragraph into lines of at most `columns` characters, where it has blanks.
pub(crate) fn wrap(paragraph: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(String::from(word)),
        }
    }
    lines
}

/// Finds the line and column of a byte of a text.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    /// The first byte of each line.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let mut starts = Vec::from([0]);
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1));
        Self { text, starts }
    }

    /// Returns how many lines there are.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Returns the index (from 0) of the line that the byte is in.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    /// Returns the byte where the line of that index begins; the end of the text after the last.
    pub(crate) fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// Returns the line of that index without its end.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        let text = self.text.get(self.start(line)..self.start(line + 1)).unwrap_or("");
        text.trim_end_matches(['\n', '\r'])
    }

    /// Says whether nothing but blanks follows the byte.
    pub(crate) fn rest_is_blank(&self, byte: usize) -> bool {
        self.text.get(byte..).is_some_and(|rest| rest.trim().is_empty())
    }

    /// Returns line and column of the byte, both from 1, the column in characters.
    pub(crate) fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.line_of(byte);
        let start = self.start(line);
        let before = self.text.as_bytes().get(start..byte).unwrap_or(&[]);
        // The first byte of a character is the one that does not continue another.
        let column = before.iter().filter(|b| (**b & 0xC0) != 0x80).count();
        (line + 1, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let lines = Lines::new("é = 1\r\n\nab");
        let at = |byte| lines.position(byte);
        assert_eq!([at(0), at(3), at(8), at(9), at(10), at(11)].map(|p| p.0), [1, 1, 2, 3, 3, 3]);
        assert_eq!([at(0), at(3), at(8), at(9), at(10), at(11)].map(|p| p.1), [1, 3, 1, 1, 2, 3]);
        assert_eq!(lines.line(0), "é = 1");
        assert_eq!(lines.line(2), "ab");
        assert_eq!(lines.line(9), "");
    }

    #[test]
    fn text_of_others_cannot_forge_a_line_of_ours() {
        assert_eq!(quoted("a\nerror: b\u{1b}[31m"), "\"a\\nerror: b\\u{1b}[31m\"");
        assert_eq!(plain(&"é".repeat(70)).chars().count(), 61);
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert!(wrap("", 7).is_empty());
    }
}
