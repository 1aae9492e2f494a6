//! A failure as people read it: what, because of what, in which state things are, what to do.

use std::error::Error;
use std::fmt::{self, Write as _};

use oh_model::exit::Exit;
use serde_json::{Value, json};

/// The one thing to do next: a command that can be pasted, or the fact that decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(pub String);

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
}

impl Failure {
    /// Makes a failure of an error.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), state: None, hints: Vec::new() }
    }

    /// Says in which state things are now.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(Hint(hint.into()));
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

    /// Returns the same for programs.
    pub fn to_json(&self) -> Value {
        let hints: Vec<&str> = self.hints.iter().map(|hint| hint.0.as_str()).collect();
        json!({
            "message": self.error.to_string(),
            "causes": self.causes(),
            "state": self.state,
            "hints": hints,
            "exit": self.exit.code(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.error.to_string();
        // Several faults of a configuration come as several blocks; each keeps its own lines.
        write!(f, "error: {message}")?;
        for cause in self.causes() {
            write!(f, "\n  because: {}", indented(&cause)?)?;
        }
        if let Some(state) = &self.state {
            write!(f, "\n{state}")?;
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {}", hint.0))
    }
}

/// Puts further lines of a cause below its first.
fn indented(cause: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(cause.len());
    for (index, line) in cause.lines().enumerate() {
        let gap = if index == 0 { "" } else { "\n           " };
        write!(out, "{gap}{line}")?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
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
            .hint("oh-nginx apply");
        assert_eq!(
            failure.to_string(),
            "error: could not reload nginx\n  because: line one\n           line two\n\
             nothing was changed\nhint: oh-nginx apply"
        );
        assert_eq!(failure.to_json()["exit"], 6);
    }

    #[test]
    fn a_cause_that_repeats_what_it_is_the_cause_of_is_left_out() {
        let failure =
            Failure::new(Exit::Intact, Outer(std::io::Error::other("could not reload nginx")));
        assert_eq!(failure.to_string(), "error: could not reload nginx");
        assert_eq!(failure.to_json()["causes"], json!([]));
    }
}
