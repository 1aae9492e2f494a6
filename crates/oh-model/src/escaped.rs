//! Bytes as text, and back: names of files are any bytes but NUL and `/`, and JSON and terminals
//! take text.
//!
//! What can be printed stands for itself; a backslash is doubled, and every other byte is `\x` and
//! two lower-case hexadecimal digits. A text has one reading, and bytes have one text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Says why a text is no name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no name of a file as it is written here")]
pub struct NameFault(pub String);

/// The name of a file in its folder: any bytes but NUL and `/`; shown and written escaped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Vec<u8>);

impl Name {
    /// Takes the bytes of a name; `None` for what names no file in a folder: nothing at all, `.`,
    /// `..`, and what has a slash or a NUL in it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let names = !bytes.is_empty() && bytes != b"." && bytes != b"..";
        (names && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'))).then_some(Self(bytes))
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl TryFrom<String> for Name {
    type Error = NameFault;

    fn try_from(text: String) -> Result<Self, NameFault> {
        unescape(&text).and_then(Self::new).ok_or(NameFault(text))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        escape(&name.0)
    }
}

/// Writes bytes as text.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                character if is_harmless(character) => text.push(character),
                character => {
                    let mut buffer = [0; 4];
                    character
                        .encode_utf8(&mut buffer)
                        .bytes()
                        .for_each(|byte| hex(&mut text, byte));
                }
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(&mut text, *byte));
    }
    text
}

/// Reads what [`escape`] wrote; `None` for any other text.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        if let Some(after) = escaped.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
            continue;
        }
        let digits = escaped.strip_prefix('x')?.get(..2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = escaped.get(3..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    // One reading, and one text: `\x41` is not how an `A` is written.
    (escape(&bytes) == text).then_some(bytes)
}

/// Says whether a character shows itself on a terminal, and directs nothing there. What changes the
/// direction or the lines of a text does (Unicode 15: bidirectional formatting characters, line and
/// paragraph separators).
pub fn is_harmless(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    !character.is_control() && !directs
}

fn hex(text: &mut String, byte: u8) {
    // Writing to a String does not fail.
    write!(text, "\\x{byte:02x}").ok();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_printed_stands_for_itself() {
        for (bytes, text) in [
            (b"/tmp/code-server-a b".as_slice(), "/tmp/code-server-a b"),
            ("é".as_bytes(), "é"),
            (b"a\\b", "a\\\\b"),
            (b"new\nline\ttab", "new\\x0aline\\x09tab"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("\u{202e}".as_bytes(), "\\xe2\\x80\\xae"),
        ] {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).unwrap(), bytes);
        }
        for text in ["\\", "\\x", "\\x4", "\\xzz", "\\n", "\\x41", "\\xFF", "a\nb"] {
            assert_eq!(unescape(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unescape(&escape(&bytes)), Some(bytes));
        }

        #[test]
        fn a_text_that_is_read_is_the_one_that_would_be_written(text in "[a\\\\x0-9f\n]{0,12}") {
            if let Some(bytes) = unescape(&text) {
                prop_assert_eq!(escape(&bytes), text);
            }
        }
    }
}
