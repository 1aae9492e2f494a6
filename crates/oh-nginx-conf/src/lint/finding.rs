//! What was found, and the lines that mend it.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::beginning;
use super::model::{Level, Node};
use super::table::Rule;
use crate::inspect::Place;

/// How much a finding matters; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something breaks, or is open to strangers.
    Error,
    /// It works, and is not as it should be.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something that a rule found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How much it matters here; never more than the rule's own.
    pub severity: Severity,
    /// Whether it is so. Otherwise the text cannot tell, and `what` says what decides.
    pub sure: bool,
    /// The directive, or the block that lacks one.
    pub place: Place,
    /// What stands there, on one line.
    pub what: String,
    /// What to write; nothing where only the operator can decide.
    pub changes: Vec<Change>,
}

impl Finding {
    /// Says what to do where only the operator can write the lines; `None` where lines are there.
    pub fn next_step(&self) -> Option<&'static str> {
        let steps = NEXT_STEPS.iter().filter(|_| self.changes.is_empty());
        steps.copied().find_map(|(rule, step)| (rule == self.rule.id).then_some(step))
    }
}

/// What to do about findings whose lines depend on what the operator wants.
const NEXT_STEPS: [(&str, &str); 7] = [
    (
        "OH-NGX-211",
        "write a proxy_pass to the port that the program listens on, or take the location away",
    ),
    ("OH-NGX-306", "raise the limit where it stands, or move it to the locations that are meant"),
    (
        "OH-NGX-405",
        "give the server `listen 443 ssl;`, ssl_certificate and ssl_certificate_key, or listen on \
         127.0.0.1 only",
    ),
    ("OH-NGX-506", "name the file of the users: auth_basic_user_file FILE;"),
    ("OH-NGX-508", "give each session a port of its own, or take one of the two away"),
    (
        "OH-NGX-510",
        "lead it to the port of a session; where the address chooses the port, look it up in a \
         map whose default is ''",
    ),
    (
        "OH-NGX-512",
        "capture only what cannot break a line: [^\\x00-\\x1f\\x7f]* in the place of .* and the like, \
         with \\z at the end of the pattern",
    ),
];

/// What to do with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Write the lines in the place of what stands there.
    Replace,
    /// Take away what stands there.
    Remove,
    /// Write the lines at the beginning of the block.
    Add,
    /// Write the lines at the end of the block.
    Append,
}

/// One change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to do.
    pub verb: Verb,
    /// Where: the directive, or the block.
    pub place: Place,
    /// The head of the block to add to, for people.
    pub block: String,
    /// The bytes that the lines take the place of; empty where they are added.
    pub span: Range<usize>,
    /// The lines.
    pub lines: Vec<String>,
}

impl Change {
    /// Says what to do with the lines, for people who look at a place of the same configuration.
    pub fn instruction(&self, from: &Place) -> String {
        let place = if self.place.path == from.path {
            format!("line {}", self.place.line)
        } else {
            self.place.to_string()
        };
        match self.verb {
            Verb::Replace => format!("in the place of {place}, write:"),
            Verb::Remove => format!("take away {place}"),
            Verb::Add if self.block.is_empty() => {
                "outside of this text, in the block that includes it, write:".into()
            }
            Verb::Add => format!("at the beginning of `{}` ({place}), write:", self.block),
            Verb::Append => format!("at the end of `{}` ({place}), write:", self.block),
        }
    }

    pub(super) fn replace(node: &Node<'_>, lines: impl IntoIterator<Item = String>) -> Self {
        Self {
            verb: Verb::Replace,
            place: node.place(),
            block: String::new(),
            span: node.span.clone(),
            lines: lines.into_iter().collect(),
        }
    }

    pub(super) fn remove(node: &Node<'_>) -> Self {
        Self { verb: Verb::Remove, ..Self::replace(node, []) }
    }

    /// Adds to a block; `file` is where the text is that has no block of its own.
    pub(super) fn add(
        level: Level<'_>,
        file: &str,
        lines: impl IntoIterator<Item = String>,
    ) -> Self {
        let (place, block, at) = match level.head {
            Some(head) => (head.place(), head.shown(), head.body.unwrap_or(head.span.start)),
            None => (beginning(file), String::new(), 0),
        };
        Self { verb: Verb::Add, place, block, span: at..at, lines: lines.into_iter().collect() }
    }

    /// Adds to the end of a block: what may stand after its use, and must stand after what an
    /// operator sets.
    pub(super) fn append(
        level: Level<'_>,
        file: &str,
        lines: impl IntoIterator<Item = String>,
    ) -> Self {
        let added = Self::add(level, file, lines);
        let end = level.head.filter(|head| head.block.is_some()).and_then(|head| {
            let at = head.span.end.checked_sub(1)?;
            head.file.text.get(at..head.span.end).filter(|text| *text == "}").map(|_| at)
        });
        match end {
            Some(at) => Self { verb: Verb::Append, span: at..at, ..added },
            None => added,
        }
    }
}
