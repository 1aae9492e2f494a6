//! What a look came to, one thing at a time: what people, and the programs that watch over a site, are told.

use alloc::string::String;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is called; the same in each run, so that its history can be kept: `upgrade`, `tls`.
    pub name: String,
    /// What it belongs to, where there are several of the same name: `public`, `upstream`; or nothing.
    pub group: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The evidence, on one line.
    pub said: String,
    /// How long it took, in microseconds.
    pub took_us: Option<u64>,
    /// The id of the cause, where it failed and one is known.
    pub cause: Option<&'static str>,
}

/// What came of a check: that nobody could tell is no answer of the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as it should be.
    Passed,
    /// It works, and something about it will not do for long.
    Warned,
    /// It could not be reached, because of what failed before.
    NotReached,
    /// Nobody could tell.
    Unknown,
    /// It is not as it should be.
    Failed,
}

impl Verdict {
    /// Returns the word of it, for people and programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Warned => "warning",
            Self::NotReached => "not reached",
            Self::Unknown => "unknown",
            Self::Failed => "FAILED",
        }
    }

    /// Returns the code that a plugin of Nagios ends with (0 ok, 1 warning, 2 critical, 3 unknown).
    pub const fn plugin_code(self) -> u8 {
        match self {
            Self::Passed | Self::NotReached => 0,
            Self::Warned => 1,
            Self::Failed => 2,
            Self::Unknown => 3,
        }
    }

    /// Returns the word that a plugin of Nagios begins with.
    pub const fn plugin_word(self) -> &'static str {
        match self.plugin_code() {
            0 => "OK",
            1 => "WARNING",
            2 => "CRITICAL",
            _ => "UNKNOWN",
        }
    }
}
