//! What the supervisor of an instance saw, as it leaves it for others.

use oh_model::idleness::Activity;
use oh_model::instance::Key;
use serde::{Deserialize, Deserializer, Serialize};

use crate::boot::boot_id;
use crate::process::{Identity, Pid, ProcessDir, ProcessFault};

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
    /// What the editor asks for where each start of one has a key of its own:
    /// [`Record::renews_key`](super::Record::renews_key).
    #[serde(default, with = "key_text", skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// How it ended, the last one last.
    pub endings: Vec<Ending>,
    /// What is known of the last use of this editor. One that is not known here, or of a state that
    /// has none, is none: it is observed anew.
    #[serde(
        default,
        deserialize_with = "activity_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub activity: Option<Activity>,
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
    /// It ended by itself with exit code 0, or with its supervisor that was told to end: both are
    /// meant.
    Ended,
    /// A signal told its supervisor to end it.
    Stopped,
}

impl Phase {
    /// Says whether it is a supervisor's last word.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Ended | Self::Stopped)
    }
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

/// A key shows itself nowhere but in the files that are for it.
mod key_text {
    use oh_model::instance::Key;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::{Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &Option<Key>, to: S) -> Result<S::Ok, S::Error> {
        key.as_ref().map(Key::reveal).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Key>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        let parsed = |text: String| Key::parse(&text).ok_or_else(|| D::Error::custom("no key"));
        text.map(parsed).transpose()
    }
}

/// A state has to be read even where this part of it is of another version: a stop needs it.
fn activity_or_none<'d, D: Deserializer<'d>>(source: D) -> Result<Option<Activity>, D::Error> {
    let value = serde_json::Value::deserialize(source)?;
    Ok(serde_json::from_value(value).ok())
}

impl State {
    /// Says whether it was written in this boot: of an earlier one nothing lives, and what was said
    /// last is over.
    ///
    /// # Errors
    /// [`ProcessFault`] where that cannot be told.
    pub fn is_of_this_boot(&self) -> Result<bool, ProcessFault> {
        if self.supervisor.boot_id != boot_id()? {
            return Ok(false);
        }
        // A container that is started again is the same boot to the kernel, and another one to us.
        // Nobody is the supervisor of an editor that is being adopted.
        let started = self.supervisor.start_time_ticks;
        match ProcessDir::open(Pid::INIT).and_then(|first| first.stat()) {
            Ok(first) => Ok(started == 0 || started >= first.start_time_ticks),
            Err(_) => Ok(true),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was written before there was an activity.
    const WITHOUT_ACTIVITY: &str = r#"{"schema":1,"supervisor":{"schema":1,"boot_id":
        "00000000-0000-4000-8000-000000000000","pid":4121,"start_time_ticks":99,"argv_sha256":
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"phase":"ready",
        "editor":null,"generation":0,"starts":1,"endings":[{"at_ms":1,"how":"signal 9"}]}"#;
    const ACTIVITY: &str = r#","activity":{"schema":1,"last_active_ms":5,"because":
        {"kind":"heartbeat"},"seen_ms":7,"mark":{"at_ms":5,"cpu_ticks":3}}}"#;

    #[test]
    fn a_state_is_read_with_an_activity_and_without() {
        let without: State = serde_json::from_str(WITHOUT_ACTIVITY).unwrap();
        assert_eq!(without.activity, None);
        let open = WITHOUT_ACTIVITY.strip_suffix('}').unwrap();
        let text = format!("{open}{ACTIVITY}");
        let with: State = serde_json::from_str(&text).unwrap();
        assert_eq!(with.activity.map(|activity| activity.seen_ms), Some(7));
        let written = serde_json::to_string(&with).unwrap();
        assert_eq!(serde_json::from_str::<State>(&written).unwrap(), with);
        let newer = written.replace("\"schema\":1,\"last", "\"schema\":9,\"last");
        assert_ne!(newer, written);
        assert_eq!(serde_json::from_str::<State>(&newer).unwrap(), without);
    }
}
