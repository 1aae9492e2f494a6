//! The typed writer: nginx text in which no value can become syntax.
//!
//! A directive is a list of [`Word`]s. A word is made in one of two ways. [`Word::fixed`] takes
//! text that stands in our own source and may hold variables; [`Word::value`] takes text from
//! outside, quotes it where nginx needs that, and refuses what cannot be quoted: `$`, which has
//! no escape in nginx, and control characters.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use thiserror::Error;

/// Says that a value cannot be written into nginx text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("nginx has no way to write {character:?} in a value: {value:?}")]
pub struct Unquotable {
    /// The value.
    pub value: String,
    /// Its first character that cannot be written.
    pub character: char,
}

/// One word of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(Cow<'static, str>);

impl Word {
    /// Takes a word of our own source as it stands: bare, quoted, with variables.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Takes two halves of a word of our own source.
    pub fn joined(first: &'static str, second: &'static str) -> Self {
        Self(Cow::Owned([first, second].concat()))
    }

    /// Takes a value from outside and quotes it.
    ///
    /// # Errors
    /// [`Unquotable`] for `$` and for control characters.
    pub fn value(text: &str) -> Result<Self, Unquotable> {
        if let Some(character) = text.chars().find(|c| *c == '$' || c.is_control()) {
            return Err(Unquotable { value: text.into(), character });
        }
        if !text.is_empty() && text.chars().all(is_plain) {
            return Ok(Self(Cow::Owned(text.into())));
        }
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        Ok(Self(Cow::Owned(quoted)))
    }

    /// Takes a number.
    pub fn number(number: impl Into<u64>) -> Self {
        Self(Cow::Owned(number.into().to_string()))
    }

    /// Puts a word before another without a gap: `https://` before an authority.
    ///
    /// Both are plain, or the result is refused: two quoted halves are no quoted whole.
    ///
    /// # Errors
    /// [`Unquotable`] with the character that needs a quote.
    pub fn glued(parts: &[&str]) -> Result<Self, Unquotable> {
        let whole: String = parts.iter().copied().collect();
        match whole.chars().find(|c| !is_plain(*c) && *c != '$') {
            Some(character) => Err(Unquotable { value: whole, character }),
            None => Ok(Self(Cow::Owned(whole))),
        }
    }

    /// Makes an address with a query of parts that are plain but for `?` and `=`.
    ///
    /// # Errors
    /// [`Unquotable`] with the character that needs a quote.
    pub fn query(parts: &[&str]) -> Result<Self, Unquotable> {
        let whole: String = parts.iter().copied().collect();
        let in_query = |c: char| is_plain(c) || matches!(c, '$' | '?' | '=');
        match whole.chars().find(|c| !in_query(*c)) {
            Some(character) => Err(Unquotable { value: whole, character }),
            None => Ok(Self(Cow::Owned(whole))),
        }
    }

    /// Makes the name of a server that is `label`, a pattern of our own source, before `base`, and
    /// keeps what the label matches as `$oh_id`.
    ///
    /// # Errors
    /// [`Unquotable`] where `base` is no host name.
    pub fn host_pattern(label: &'static str, base: &str) -> Result<Self, Unquotable> {
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if let Some(character) = base.chars().find(|c| !in_name(*c)) {
            return Err(Unquotable { value: base.into(), character });
        }
        let base = base.replace('.', "\\.");
        Ok(Self(Cow::Owned(alloc::format!("\"~^(?<oh_id>{label})\\.{base}\\z\""))))
    }

    /// Makes the words of `if (variable = value)`.
    pub fn condition(variable: &'static str, value: &Self) -> [Self; 3] {
        let fixed = |text: String| Self(Cow::Owned(text));
        [
            fixed(alloc::format!("({variable}")),
            Self::fixed("="),
            fixed(alloc::format!("{})", value.0)),
        ]
    }
}

/// Says whether a character can stand in a bare word without meaning anything.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '[' | ']' | '*' | '%')
}

/// nginx text that grows directive by directive, indented by its blocks.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
    depth: usize,
}

impl Text {
    /// Begins text that will stand in a block of another.
    pub fn nested() -> Self {
        Self { text: String::new(), depth: 1 }
    }

    /// Writes what was written apart.
    pub fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.text
    }

    /// Writes an empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Writes a comment; a line break in it would end it, so it becomes a blank.
    pub fn comment(&mut self, comment: &str) {
        self.indent();
        self.text.push_str("# ");
        self.text.extend(comment.chars().map(|c| if c.is_control() { ' ' } else { c }));
        self.text.push('\n');
    }

    /// Writes a directive.
    pub fn directive(&mut self, name: &'static str, words: &[Word]) {
        self.head(name, words);
        self.text.push_str(";\n");
    }

    /// Writes a directive whose words all stand in our source.
    pub fn fixed(&mut self, name: &'static str, words: &'static [&'static str]) {
        self.indent();
        self.text.push_str(name);
        for word in words {
            self.text.push(' ');
            self.text.push_str(word);
        }
        self.text.push_str(";\n");
    }

    /// Writes a block.
    pub fn block(&mut self, name: &'static str, words: &[Word], body: impl FnOnce(&mut Self)) {
        self.head(name, words);
        self.text.push_str(" {\n");
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.indent();
        self.text.push_str("}\n");
    }

    /// Writes one line of a `map`: a key and its value.
    pub fn entry(&mut self, key: &Word, value: &Word) {
        self.indent();
        for part in [key.0.as_ref(), " ", value.0.as_ref(), ";\n"] {
            self.text.push_str(part);
        }
    }

    fn head(&mut self, name: &'static str, words: &[Word]) {
        self.indent();
        self.text.push_str(name);
        for word in words {
            self.text.push(' ');
            self.text.push_str(&word.0);
        }
    }

    fn indent(&mut self) {
        (0..self.depth).for_each(|_| self.text.push_str("    "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use proptest::prelude::*;

    #[test]
    fn a_dollar_cannot_be_quoted_and_is_refused() {
        assert_eq!(Word::value("/srv/$host").unwrap_err().character, '$');
        assert_eq!(Word::value("a\nb").unwrap_err().character, '\n');
    }

    proptest! {
        #[test]
        fn a_value_reads_back_as_itself_and_as_one_word(value in "[^$\\p{Cc}]{0,40}") {
            let mut text = Text::default();
            text.directive("x", &[Word::value(&value).unwrap()]);
            let read = parse(&text.finish()).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].words, &[value]);
            prop_assert!(read[0].block.is_none());
        }
    }
}
