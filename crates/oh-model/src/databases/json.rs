//! JSON that stays as it was spelled.
//!
//! A [`Node`] keeps the text of every name, number and text, the order of names, and names that
//! occur twice. Only blanks between them are not kept: they are written as JavaScript's
//! `JSON.stringify(value, null, 2)` writes them, which is how the original application does.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// How deep objects and lists are taken apart; what is deeper is one text, blanks included. The
/// databases have four levels, and a stack has an end.
const DEPTH_MAX: usize = 32;

/// A value as it was spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A text, a number, `true`, `false`, `null`; or what is too deep.
    Plain(String),
    /// An object.
    Object(Vec<Member>),
    /// A list.
    List(Vec<Node>),
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The name as it was spelled, with its quotes.
    pub(super) name: String,
    /// The value.
    pub(super) value: Node,
}

impl Member {
    pub(super) fn new(name: &str, value: Node) -> Self {
        Self { name: spelled(name), value }
    }

    /// Returns the name as it is meant; `None` where it is no Unicode.
    pub(super) fn meant(&self) -> Option<String> {
        serde_json::from_str(&self.name).ok()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.meant().is_some_and(|meant| meant == name)
    }
}

impl Node {
    /// Makes a text, a number, `true` or `false`.
    pub(super) fn plain(value: impl Serialize) -> Self {
        Self::Plain(spelled(value))
    }

    /// Reads a text that is one JSON value and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader::new(text.as_bytes());
        let node = reader.node()?;
        reader.blanks();
        reader.rest().is_empty().then_some(node)
    }

    pub(super) fn members(&self) -> Option<&[Member]> {
        match self {
            Self::Object(members) => Some(members),
            Self::Plain(_) | Self::List(_) => None,
        }
    }

    /// Returns the member that counts of an object: of equal names the last, as in JavaScript.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        last(self.members()?, name)
    }

    /// Returns what is meant; `None` for an object or a list.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Plain(text) => serde_json::from_str(text).ok(),
            Self::Object(_) | Self::List(_) => None,
        }
    }

    /// Returns the text that is meant.
    pub(super) fn text(&self) -> Option<String> {
        match self.value()? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Writes it as `JSON.stringify(value, null, 2)` does.
    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, depth: usize, out: &mut String) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Object(members) => {
                let write = |member: &Member, out: &mut String| {
                    out.push_str(&member.name);
                    out.push_str(": ");
                    member.value.write(depth + 1, out);
                };
                write_all(members, ['{', '}'], depth, out, write);
            }
            Self::List(items) => {
                let write = |item: &Self, out: &mut String| item.write(depth + 1, out);
                write_all(items, ['[', ']'], depth, out, write);
            }
        }
    }
}

fn write_all<T>(
    all: &[T],
    [open, close]: [char; 2],
    depth: usize,
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (index, one) in all.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        indent(depth + 1, out);
        write(one, out);
    }
    if !all.is_empty() {
        out.push('\n');
        indent(depth, out);
    }
    out.push(close);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(core::iter::repeat_n("  ", depth));
}

/// Returns the value that counts of those with a name: the last.
pub(super) fn last<'m>(members: &'m [Member], name: &str) -> Option<&'m Node> {
    members.iter().rev().find(|member| member.is(name)).map(|member| &member.value)
}

/// Gives a name its value; one that means the same already keeps its spelling.
pub(super) fn set(members: &mut Vec<Member>, name: &str, value: Node) {
    match members.iter_mut().rev().find(|member| member.is(name)) {
        Some(member) => {
            let same = member.value.value().is_some_and(|old| Some(old) == value.value());
            if !same {
                member.value = value;
            }
        }
        None => members.push(Member::new(name, value)),
    }
}

/// Removes a name, as often as it occurs.
pub(super) fn remove(members: &mut Vec<Member>, name: &str) {
    members.retain(|member| !member.is(name));
}

fn spelled(value: impl Serialize) -> String {
    // Numbers, texts and truth values can always be written.
    serde_json::to_string(&value).unwrap_or_default()
}

/// Reads values one after the other, from bytes that may stop being JSON anywhere.
#[derive(Debug, Clone)]
pub(super) struct Reader<'t> {
    bytes: &'t [u8],
    /// How many bytes were read.
    pub(super) at: usize,
}

impl<'t> Reader<'t> {
    pub(super) const fn new(bytes: &'t [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn rest(&self) -> &'t [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Returns how many blanks are before a byte on its line; `None` where there is more than that.
    pub(super) fn column(&self, at: usize) -> Option<usize> {
        let before = self.bytes.get(..at)?;
        let blanks = before.iter().rev().take_while(|byte| **byte == b' ').count();
        let outside = before.len().checked_sub(blanks + 1).and_then(|at| before.get(at));
        outside.is_none_or(|byte| *byte == b'\n').then_some(blanks)
    }

    /// Says whether no line break was read since a byte.
    pub(super) fn is_one_line(&self, from: usize) -> bool {
        self.bytes.get(from..self.at).is_some_and(|read| !read.contains(&b'\n'))
    }

    /// Returns the next byte after blanks, and stays before it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.rest().first().copied()
    }

    /// Takes the next byte after blanks, if it is this one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    pub(super) fn blanks(&mut self) {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.rest().iter().take_while(blank).count();
    }

    /// Reads a name and its colon.
    pub(super) fn name(&mut self) -> Option<String> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let name = self.whole()?.to_string();
        self.take(b':').then_some(name)
    }

    /// Reads a value; `None` where none is whole here, and then stands anywhere in it.
    pub(super) fn node(&mut self) -> Option<Node> {
        self.node_at(DEPTH_MAX)
    }

    fn node_at(&mut self, depth: usize) -> Option<Node> {
        match self.peek()? {
            b'{' if depth > 0 => {
                let member = |reader: &mut Self| {
                    let name = reader.name()?;
                    Some(Member { name, value: reader.node_at(depth - 1)? })
                };
                self.all(b'}', member).map(Node::Object)
            }
            b'[' if depth > 0 => self.all(b']', |reader| reader.node_at(depth - 1)).map(Node::List),
            _ => self.whole().map(|text| Node::Plain(text.to_string())),
        }
    }

    fn all<T>(&mut self, close: u8, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        let mut all = Vec::new();
        if self.take(close) {
            return Some(all);
        }
        loop {
            all.push(one(self)?);
            if self.take(close) {
                return Some(all);
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    /// Reads a value as one text. A number at the very end is none: more digits may have followed.
    fn whole(&mut self) -> Option<&'t str> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter();
        let raw: &'t RawValue = values.next()?.ok()?;
        let end = self.at + values.byte_offset();
        let number = raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if number && end >= self.bytes.len() {
            return None;
        }
        self.at = end;
        Some(raw.get())
    }
}

/// Says what is wrong with a text, in words; `None` where it is JSON.
pub(super) fn fault(text: &str) -> Option<String> {
    serde_json::from_str::<&RawValue>(text).err().map(|fault| format!("{fault}"))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn what_javascript_wrote_is_written_again_byte_by_byte() {
        let text = r#"{
  "a": {
    "\u00e9 \" b": -1.50e+3,
    "empty": {},
    "none": [],
    "list": [
      1,
      null,
      "\ud800",
      {
        "deep": true
      }
    ]
  },
  "a": 12345678901234567890123
}"#;
        assert_eq!(Node::parse(text).unwrap().print(), text);
    }

    #[test]
    fn blanks_are_those_of_javascript() {
        let node = Node::parse(" {\"a\":[1 ,2],\t\"b\" :{}}\r\n").unwrap();
        assert_eq!(node.print(), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
    }

    #[test]
    fn what_is_no_json_is_none_here_either() {
        for bad in
            ["", "{", "{\"a\"}", "{\"a\":1,}", "[1,]", "{} {}", "{'a':1}", "\u{feff}{}", "[\"\n\"]"]
        {
            assert_eq!(Node::parse(bad), None, "{bad:?}");
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = ["{\"a\":", &deep, "}"].concat();
        let node = Node::parse(&text).unwrap();
        let printed: String = node.print().split_whitespace().collect();
        assert_eq!(printed, text);
        assert_eq!(Node::parse(&"[".repeat(100_000)), None);
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let mut node = Node::parse("{\"a\":1,\"\\u0061\":2}").unwrap();
        assert_eq!(node.get("a"), Some(&Node::Plain("2".to_string())));
        let Node::Object(members) = &mut node else { panic!() };
        set(members, "a", Node::plain(2));
        assert_eq!(members.len(), 2);
        remove(members, "a");
        assert_eq!(members.len(), 0);
    }
}
