//! What the supervisor of an instance saw, as it leaves it for others.

use serde::{Deserialize, Serialize};

use crate::process::{Identity, ProcessFault};

/// The version of the state.
pub const STATE_SCHEMA: u32 = 1;

/// What a supervisor says. Whether it lives is not in it: that is asked of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`STATE_SCHEMA`].
    pub schema: u32,
    /// The supervisor.
    pub supervisor: Identity,
    /// How the editor is.
    pub phase: Phase,
    /// The editor, while there is one.
    pub editor: Option<Identity>,
    /// Up to which restart it has heard: [`Record::generation`](super::Record::generation).
    pub generation: u32,
    /// How often the editor was started since the supervisor began.
    pub starts: u32,
    /// How it ended, the last one last.
    pub endings: Vec<Ending>,
}

/// How an editor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Phase {
    /// It was started and does not answer yet.
    Starting,
    /// It answers.
    Ready,
    /// It ended, and is started again at this time.
    Waiting {
        /// In milliseconds since 1970.
        until_ms: u64,
    },
    /// It will not be started again: it never answered, or ended too often.
    Failed {
        /// Why.
        why: String,
    },
    /// It ended by itself with exit code 0, which is meant.
    Ended,
}

/// How an editor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How: `exit code 1`, `signal 9 (SIGKILL)`, ….
    pub how: String,
}

impl State {
    /// Says whether the supervisor lives.
    ///
    /// # Errors
    /// [`ProcessFault`] where that cannot be told.
    pub fn is_supervised(&self) -> Result<bool, ProcessFault> {
        self.supervisor.lives()
    }

    /// Says whether the editor lives.
    ///
    /// # Errors
    /// [`ProcessFault`] where that cannot be told.
    pub fn editor_lives(&self) -> Result<bool, ProcessFault> {
        self.editor.as_ref().map_or(Ok(false), Identity::lives)
    }
}
