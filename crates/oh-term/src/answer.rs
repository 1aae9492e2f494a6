//! What a tool found or did, ready to be printed in any format.

use oh_model::exit::Exit;
use oh_model::hint::Hint;
use serde::Serialize;
use serde_json::Value;

use crate::text::escaped_lines;

/// The answer of a run.
#[derive(Debug)]
pub struct Answer {
    /// The text for people, with its line breaks.
    pub human: String,
    /// The same for programs: the `result` of the JSON document.
    pub result: Value,
    /// How the run ended.
    pub exit: Exit,
    /// What to go on with; the last lines of the answer.
    pub hints: Vec<Hint>,
    /// What is worth knowing beside the answer; printed to stderr, one line each.
    pub notes: Vec<String>,
    /// The exit code for whoever asked as a plugin of Nagios, where it has one.
    pub plugin_code: Option<u8>,
    /// Whether all of it was printed already, by [`show`](crate::show).
    pub is_shown: bool,
}

impl Answer {
    /// Makes an answer of its text and of a value that says the same.
    pub fn new(human: String, result: impl Serialize) -> Self {
        // A result is a plain value of ours; one that cannot be written is shown as null.
        let result = serde_json::to_value(result).unwrap_or(Value::Null);
        let (hints, notes) = (Vec::new(), Vec::new());
        Self { human, result, exit: Exit::Ok, hints, notes, plugin_code: None, is_shown: false }
    }

    /// Ends a run all of whose answers were printed by [`show`](crate::show).
    pub fn shown(exit: Exit) -> Self {
        Self { is_shown: true, ..Self::new(String::new(), Value::Null) }.exit(exit)
    }

    /// Escapes in the text for people what would direct a terminal or turn what is read around: for
    /// answers with names and words of others. What programs get stays as it is.
    #[must_use]
    pub fn escaped(mut self) -> Self {
        self.human = escaped_lines(&self.human);
        self
    }

    /// Sets how the run ended.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds what to go on with.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns what to go on with as lines; `carried` are the arguments that commands of ours carry.
    pub(crate) fn next(&self, carried: &[String]) -> Vec<String> {
        self.hints.iter().map(|hint| hint.line(carried)).collect()
    }

    /// Adds lines for stderr.
    #[must_use]
    pub fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}
