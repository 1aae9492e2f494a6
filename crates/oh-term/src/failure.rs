//! A failure as people read it: what, because of what, in which state things are, what to do.

use std::error::Error;

use oh_model::diagnostic::Diagnostic;
use oh_model::exit::Exit;
use oh_model::hint::Hint;
use serde_json::{Value, json};

/// A run that did not end as asked.
#[derive(Debug)]
pub struct Failure {
    /// How the run ends.
    pub exit: Exit,
    /// The error and its chain of causes.
    pub error: Box<dyn Error + Send + Sync>,
    /// In which state things are now; a whole line.
    pub state: Option<String>,
    /// What to do next.
    pub hints: Vec<Hint>,
    /// The single faults for programs, where the error is a list of them.
    pub faults: Vec<Value>,
}

impl Failure {
    /// Makes a failure of an error.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), state: None, hints: Vec::new(), faults: Vec::new() }
    }

    /// Makes a failure of a fault that knows what it means for people.
    pub fn of(fault: impl Diagnostic + Send + Sync + 'static) -> Self {
        let (exit, state) = (fault.exit(), fault.state());
        let (hints, faults) = (fault.hints(), fault.faults());
        Self { exit, error: Box::new(fault), state, hints, faults }
    }

    /// Says in which state things are now.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds single faults for programs.
    #[must_use]
    pub fn faults(mut self, faults: impl IntoIterator<Item = Value>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// What stands below the error; a layer that only repeats the one above it says nothing.
    fn causes(&self) -> Vec<String> {
        let mut said = vec![self.error.to_string()];
        let mut source = self.error.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if said.last() != Some(&cause) {
                said.push(cause);
            }
            source = error.source();
        }
        said.split_off(1)
    }

    /// Returns the error with its causes on one line, without state and hints: for records.
    pub fn reason(&self) -> String {
        let said = std::iter::once(self.error.to_string()).chain(self.causes());
        let lines = |part: String| {
            let lines = part.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join("; ")
        };
        said.map(lines).collect::<Vec<_>>().join(": ")
    }

    /// Returns the text for people; commands of ours get the common arguments.
    pub fn text(&self, common: &[String]) -> String {
        // Several faults of a configuration come as several blocks; each keeps its own lines.
        let mut lines = vec![format!("error: {}", self.error)];
        let causes = self.causes().into_iter();
        lines.extend(causes.map(|cause| format!("  because: {}", indented(&cause))));
        lines.extend(self.state.clone());
        lines.extend(self.hints.iter().map(|hint| format!("hint: {}", hint.line(common))));
        lines.join("\n")
    }

    /// Returns the same for programs; commands of ours get the common arguments.
    pub fn to_json(&self, common: &[String]) -> Value {
        let hints: Vec<String> = self.hints.iter().map(|hint| hint.line(common)).collect();
        json!({
            "message": self.error.to_string(),
            "causes": self.causes(),
            "state": self.state,
            "hints": hints,
            "faults": self.faults,
            "exit": self.exit.code(),
        })
    }
}

/// Puts further lines of a cause below its first.
fn indented(cause: &str) -> String {
    cause.lines().collect::<Vec<_>>().join("\n           ")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use oh_model::hint::Command;

    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("could not reload nginx")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_chain_the_state_and_the_hint_stand_in_that_order() {
        let inner = std::io::Error::other("line one\nline two");
        let failure = Failure::new(Exit::Intact, Outer(inner))
            .state("nothing was changed")
            .hint("chmod go-w /a")
            .hint(Hint::run("mend it, then run", Command::ours("oh-nginx", &["apply"])));
        let common = ["--root", "/a b"].map(String::from);
        assert_eq!(
            failure.text(&common),
            "error: could not reload nginx\n  because: line one\n           line two\n\
             nothing was changed\nhint: chmod go-w /a\n\
             hint: mend it, then run: oh-nginx apply --root '/a b'"
        );
        assert_eq!(failure.reason(), "could not reload nginx: line one; line two");
        let document = failure.to_json(&common);
        assert_eq!(document["exit"], 6);
        assert_eq!(document["hints"][1], "mend it, then run: oh-nginx apply --root '/a b'");
    }

    #[test]
    fn a_cause_that_repeats_what_it_is_the_cause_of_is_left_out() {
        let failure =
            Failure::new(Exit::Intact, Outer(std::io::Error::other("could not reload nginx")));
        assert_eq!(failure.text(&[]), "error: could not reload nginx");
        assert_eq!(failure.to_json(&[])["causes"], json!([]));
    }
}
