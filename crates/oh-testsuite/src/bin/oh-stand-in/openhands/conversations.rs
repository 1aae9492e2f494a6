//! Conversations without an agent: what they are, and what has happened in them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// How many events a conversation may have had.
pub(super) const EVENTS_MAX: usize = 1000;

/// What a conversation can be that was there before.
const STATUSES: &[&str] = &["STARTING", "RUNNING", "STOPPED", "ARCHIVED", "ERROR"];

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    id: String,
    status: String,
    events: usize,
    connections: usize,
}

impl Conversation {
    /// Parses `ID=STATUS:EVENTS`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(id, rest)| Some((id, rest.split_once(':')?)));
        let (id, (status, events)) = parts.ok_or("a conversation is ID=STATUS:EVENTS")?;
        let events = events.parse().map_err(|_| format!("{events:?} is no number of events"))?;
        if !STATUSES.contains(&status) || events > EVENTS_MAX {
            return Err(format!("a status is of {STATUSES:?}, and there are {EVENTS_MAX} events"));
        }
        Ok(Self { id: id.to_owned(), status: status.to_owned(), events, connections: 0 })
    }

    fn json(&self) -> Value {
        json!({
            "conversation_id": self.id,
            "title": format!("Conversation {}", self.id),
            "last_updated_at": "2025-11-01T00:00:00Z",
            "status": self.status,
            "runtime_status": null,
            "selected_repository": null,
            "selected_branch": null,
            "git_provider": null,
            "trigger": "gui",
            "num_connections": self.connections,
            "url": null,
            "session_api_key": null,
            "created_at": "2025-11-01T00:00:00Z",
            "pr_number": [],
            "conversation_version": "V0",
        })
    }
}

/// All of them, by their ids.
#[derive(Debug)]
pub(super) struct Conversations(Mutex<BTreeMap<String, Conversation>>);

impl Conversations {
    pub(super) fn new(all: Vec<Conversation>) -> Self {
        Self(Mutex::new(all.into_iter().map(|one| (one.id.clone(), one)).collect()))
    }

    pub(super) fn all(&self) -> Vec<Value> {
        self.locked().values().map(Conversation::json).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Value> {
        self.locked().get(id).map(Conversation::json)
    }

    /// Returns what is sent again behind an event: what says nothing is left out, and of what says in which state
    /// the agent is, the last comes last.
    pub(super) fn replay(&self, id: &str, latest_event_id: i64) -> Vec<Value> {
        let count = self.locked().get(id).map_or(0, |one| one.events);
        let mut state = None;
        let mut events = Vec::new();
        for id in (0..).take(count).skip_while(|id| *id <= latest_event_id) {
            match id % 6 {
                1 => state = Some(event(id, "observation", "agent_state_changed")),
                4 => {}
                2 | 5 => events.push(event(id, "observation", "run")),
                _ => events.push(event(id, "action", "message")),
            }
        }
        events.extend(state);
        events
    }

    /// Joins one: whatever it was, it runs then, and one that was not there is there. This is what a check must
    /// never do to a conversation that does not run.
    pub(super) fn join(&self, id: &str) {
        let mut all = self.locked();
        let new =
            || Conversation { id: id.to_owned(), status: String::new(), events: 0, connections: 0 };
        let conversation = all.entry(id.to_owned()).or_insert_with(new);
        "RUNNING".clone_into(&mut conversation.status);
        conversation.connections += 1;
    }

    /// Leaves one; it goes on.
    pub(super) fn leave(&self, id: &str) {
        if let Some(conversation) = self.locked().get_mut(id) {
            conversation.connections = conversation.connections.saturating_sub(1);
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Conversation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(id: i64, kind: &str, name: &str) -> Value {
    let mut event = json!({
        "id": id,
        "timestamp": "2025-11-01T00:00:00.000000",
        "source": "agent",
        "message": "",
    });
    event[kind] = json!(name);
    event[if kind == "action" { "args" } else { "extras" }] = json!({});
    event
}
