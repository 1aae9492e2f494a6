//! What is wrong, where, and how to mend it; and where a value comes from.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use oh_model::exit::Exit;

/// Names a layer; a later one wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Built in.
    Default,
    /// The configuration file.
    File,
    /// An `OHT_…` variable.
    Environment,
    /// `--set` on the command line.
    CommandLine,
}

impl Layer {
    /// Returns the name that JSON output uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        }
    }
}

/// Says where a value was written; the order is that of the layers, then of the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Nobody wrote it: the default.
    Default,
    /// A place in a file.
    File {
        /// The path as messages show it.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
    },
    /// A variable of the environment.
    Environment {
        /// The name of the variable.
        name: Arc<str>,
    },
    /// An argument of `--set`.
    CommandLine {
        /// Which `--set` of the command line, from 1.
        ordinal: usize,
        /// The argument as typed.
        argument: Arc<str>,
    },
}

impl Origin {
    /// Returns the layer.
    pub const fn layer(&self) -> Layer {
        match self {
            Self::Default => Layer::Default,
            Self::File { .. } => Layer::File,
            Self::Environment { .. } => Layer::Environment,
            Self::CommandLine { .. } => Layer::CommandLine,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment { name } => f.write_str(&crate::text::plain(name)),
            Self::CommandLine { argument, .. } => {
                write!(f, "--set {}", crate::text::plain(argument))
            }
        }
    }
}

/// Names a second place that a fault is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Also {
    /// Where it is.
    pub origin: Origin,
    /// What stands there.
    pub what: String,
}

/// Says what is wrong with the configuration, or, as a warning, what is odd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is; [`Origin::Default`] where it is nowhere because it is missing.
    pub origin: Origin,
    /// The full path of the key, such as `toolkit.site.domain`; empty for a fault of syntax.
    pub key: String,
    /// What is wrong: a lower-case fragment.
    pub what: String,
    /// The right spelling, or the fact that decides the next step.
    pub hint: Option<String>,
    /// The other places that are part of it.
    pub also: Vec<Also>,
}

impl Fault {
    pub(crate) fn new(origin: Origin, key: &str, what: impl Into<String>) -> Self {
        Self { origin, key: String::from(key), what: what.into(), hint: None, also: Vec::new() }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_also(mut self, origin: Origin, what: impl Into<String>) -> Self {
        self.also.push(Also { origin, what: what.into() });
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        for also in &self.also {
            write!(f, "\n  also: {}: {}", also.origin, also.what)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Fault {}

/// Holds every fault of a configuration, sorted by position; never empty where [`load`] fails.
///
/// [`load`]: crate::load
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Returns the exit code of a tool that cannot go on because of them.
    pub const fn exit(&self) -> Exit {
        Exit::Config
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for Faults {}

/// Collects while all layers are read: nothing stops at the first fault.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

impl Notes {
    pub(crate) fn sort(&mut self) {
        self.faults.sort();
        self.warnings.sort();
    }
}

/// Returns the full path of a key of ours, as messages name it.
pub(crate) fn full(path: &str) -> String {
    if path.is_empty() { String::from("toolkit") } else { format!("toolkit.{path}") }
}
