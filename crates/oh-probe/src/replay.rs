//! A conversation of OpenHands (V0) that is left and joined again: whether what the server sends again has no gap and
//! nothing twice.
//!
//! To join a conversation that does not run starts its agent and its runtime. So the server is asked for the
//! conversation's status right before each join, and only one that runs is joined. Nothing is sent to the agent.

use std::future::Future;
use std::time::Duration;

use oh_socketio::client::{Incoming, Options};
use oh_socketio::socket::{event_arguments, event_name, refusal};
use serde::Deserialize;
use tokio::select;
use tokio::time::Instant;

use crate::ask::{Visitor, ask};
use crate::failure::Failure;
use crate::http1::Answer;
use crate::ladder::{self, Asked, Ended, Ladder};
use crate::reach::{Stream, Way};
use crate::socketio::{Connection, Next};

mod verdict;

pub use verdict::{FAULTS_MAX, Fault, Verdict, compare, judge};

/// How many events of a conversation are taken note of; a longer one is not judged.
pub const EVENTS_MAX: usize = 100_000;

/// The name under which OpenHands sends its events.
const EVENT: &str = "oh_event";

/// What an observation is called that says in which state the agent is.
const STATE: &str = "agent_state_changed";

/// How many characters of a word of the server's are kept.
const WORD_CHARS_MAX: usize = 200;

/// The id of a conversation, which can stand in a path and in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationId(String);

impl ConversationId {
    /// Takes an id, where it is one: 1 to 128 letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_id = (1..=128).contains(&text.len()) && text.bytes().all(is_word);
        is_id.then(|| Self(text.to_owned()))
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is to be joined, and how.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The conversation.
    pub conversation: ConversationId,
    /// The path of the API, which the id follows: `/api/conversations/`, below the prefix of the site.
    pub api: String,
    /// How long the server may take to send a conversation again.
    pub within: Duration,
}

/// What the server says of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It runs, and is one of V0: it can be joined.
    Running,
    /// It is something else, as the server says it: `STOPPED`, `STARTING`, …
    Other(String),
    /// It is not one of V0: its events travel another way, and to join it by this one would start a second runtime.
    Version(String),
    /// The server knows none of this id.
    Unknown,
    /// The server answered something else.
    Answered(u16),
    /// There was no answer.
    Failed(Failure),
}

/// One event of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// Whether it says in which state the agent is: the server sends the last of these, and sends it last.
    pub is_state: bool,
}

/// What the server sent when the conversation was joined once.
#[derive(Debug)]
pub struct Pass {
    /// The number behind which it was asked to begin.
    pub behind: i64,
    /// How it was reached; from the first packet on nothing.
    pub ladder: Ladder,
    /// The events with a number, in the order in which they came.
    pub events: Vec<Event>,
    /// How it went on.
    pub joined: Result<(), NotJoined>,
}

/// Why a conversation was not joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotJoined {
    /// There was no WebSocket; the ladder has why.
    NoSocket,
    /// The server refused it, and said this.
    Refused(String),
    /// It ended, or did not come to its end in time.
    Ended(Ended),
    /// There are more events than are taken note of.
    TooMany,
}

/// What was seen of a conversation that was joined twice, as far as it came.
#[derive(Debug, Default)]
pub struct Replayed {
    /// What the server said of it before each join, in order.
    pub statuses: Vec<Status>,
    /// The first join, from the beginning, which ends with a cut and without a goodbye.
    pub first: Option<Pass>,
    /// The second join, from the middle of what came first.
    pub again: Option<Pass>,
    /// Whether it was stopped.
    pub is_stopped: bool,
}

/// Joins a conversation that runs, cuts the connection, and joins it again from the middle. When `stop` is ready, or this
/// is dropped, the connection is cut, at which the server ends its session.
///
/// The query must name no conversation; a key belongs into it, and into the headers.
pub async fn gather(
    way: &Way,
    asked: &Asked,
    replay: &Replay,
    stop: impl Future<Output = ()>,
) -> Replayed {
    let mut seen = Replayed::default();
    let is_stopped = select! {
        biased;
        () = stop => true,
        () = join_twice(way, asked, replay, &mut seen) => false,
    };
    seen.is_stopped = is_stopped;
    seen
}

async fn join_twice(way: &Way, asked: &Asked, replay: &Replay, seen: &mut Replayed) {
    if !is_running(way, asked, replay, seen).await {
        return;
    }
    let (first, connection) = join(way, asked, replay, -1).await;
    // As a network that fails would: without a word.
    drop(connection);
    let behind = middle(&first.events);
    let is_joined = first.joined.is_ok();
    seen.first = Some(first);
    let Some(behind) = behind.filter(|_| is_joined) else { return };
    if !is_running(way, asked, replay, seen).await {
        return;
    }
    let (again, connection) = join(way, asked, replay, behind).await;
    seen.again = Some(again);
    if let Some(connection) = connection {
        connection.close(Instant::now() + way.limits.packet).await;
    }
}

async fn is_running(way: &Way, asked: &Asked, replay: &Replay, seen: &mut Replayed) -> bool {
    let status = status(way, asked, replay).await;
    let is_running = status == Status::Running;
    seen.statuses.push(status);
    is_running
}

/// Asks the server in which state the conversation is; this changes nothing.
pub async fn status(way: &Way, asked: &Asked, replay: &Replay) -> Status {
    let visitor = Visitor {
        origin: asked.origin.clone(),
        authority: asked.authority.clone(),
        headers: asked.headers.clone(),
    };
    let path = format!("{}{}", replay.api, replay.conversation.as_str());
    match ask(way, &visitor, "GET", &path).await.value {
        Ok(answer) => status_of(&answer),
        Err(failure) => Status::Failed(failure),
    }
}

fn status_of(answer: &Answer) -> Status {
    #[derive(Deserialize)]
    struct Conversation {
        status: String,
        conversation_version: Option<String>,
    }
    let text = answer.text();
    match (answer.status, serde_json::from_str::<Option<Conversation>>(&text)) {
        (404, _) | (200, Ok(None)) => Status::Unknown,
        (200, Ok(Some(Conversation { conversation_version: Some(version), .. })))
            if version != "V0" =>
        {
            Status::Version(shortened(&version))
        }
        (200, Ok(Some(conversation))) if conversation.status == "RUNNING" => Status::Running,
        (200, Ok(Some(conversation))) => Status::Other(shortened(&conversation.status)),
        (other, _) => Status::Answered(other),
    }
}

/// Joins the conversation and takes note of what comes until the server says that this was all.
async fn join(
    way: &Way,
    asked: &Asked,
    replay: &Replay,
    behind: i64,
) -> (Pass, Option<Connection<Stream>>) {
    let id = replay.conversation.as_str();
    let query = format!("{}&conversation_id={id}&latest_event_id={behind}", asked.query);
    let asked = Asked { query, ..asked.clone() };
    let mut pass = Pass { behind, ladder: Ladder::default(), events: Vec::new(), joined: Ok(()) };
    let Some(socket) = ladder::reach_socket(way, &asked, &mut pass.ladder).await else {
        pass.joined = Err(NotJoined::NoSocket);
        return (pass, None);
    };
    let mut connection = Connection::new(*socket, Options::default(), false);
    pass.joined = receive(&mut connection, replay.within, &mut pass.events).await;
    (pass, Some(connection))
}

async fn receive(
    connection: &mut Connection<Stream>,
    within: Duration,
    events: &mut Vec<Event>,
) -> Result<(), NotJoined> {
    let until = Instant::now() + within;
    loop {
        match connection.next(until).await {
            Next::Came(Incoming::Connected { .. }) => return Ok(()),
            Next::Came(Incoming::Refused { data }) => {
                let said = refusal(data.as_deref()).unwrap_or_default();
                return Err(NotJoined::Refused(shortened(&said)));
            }
            Next::Came(Incoming::Event { data, .. }) => {
                if events.len() == EVENTS_MAX {
                    return Err(NotJoined::TooMany);
                }
                events.extend(event_of(&data));
            }
            Next::Came(Incoming::Closed | Incoming::Disconnected) => {
                return Err(NotJoined::Ended(Ended::Dismissed));
            }
            Next::Came(_) => {}
            Next::Quiet => return Err(NotJoined::Ended(Ended::Quiet(within))),
            Next::Ended(end) => return Err(NotJoined::Ended(Ended::End(end))),
        }
    }
}

/// Reads the number of an event; messages about the runtime are none, and have a word for a number.
fn event_of(data: &str) -> Option<Event> {
    #[derive(Deserialize)]
    struct Numbered {
        id: i64,
    }
    #[derive(Deserialize)]
    struct Observed {
        observation: String,
    }
    if event_name(data).as_deref() != Some(EVENT) {
        return None;
    }
    let json = *event_arguments(data, 1).first()?;
    let Numbered { id } = serde_json::from_str(json).ok()?;
    let observed = serde_json::from_str::<Observed>(json);
    Some(Event { id, is_state: observed.is_ok_and(|observed| observed.observation == STATE) })
}

/// Chooses where the second join begins: behind the event in the middle, so that both parts have some.
fn middle(events: &[Event]) -> Option<i64> {
    let plain: Vec<_> = events.iter().filter(|event| !event.is_state).collect();
    let at = plain.len().checked_sub(1)? / 2;
    plain.get(at).map(|event| event.id)
}

fn shortened(text: &str) -> String {
    text.chars().take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_conversation_that_runs_is_joined() {
        for (status, body, expected) in [
            (200, r#"{"status":"RUNNING"}"#, Status::Running),
            (200, r#"{"status":"RUNNING","conversation_version":"V0"}"#, Status::Running),
            (
                200,
                r#"{"status":"RUNNING","conversation_version":"V1"}"#,
                Status::Version("V1".to_owned()),
            ),
            (200, r#"{"status":"STOPPED"}"#, Status::Other("STOPPED".to_owned())),
            (200, r#"{"status":"STARTING"}"#, Status::Other("STARTING".to_owned())),
            (200, "null", Status::Unknown),
            (404, r#"{"detail":"Not Found"}"#, Status::Unknown),
            // The page for everything that there is not.
            (200, "<!doctype html>", Status::Answered(200)),
            (200, r#"{"status":7}"#, Status::Answered(200)),
            (200, r#""RUNNING""#, Status::Answered(200)),
            (401, r#"{"status":"RUNNING"}"#, Status::Answered(401)),
        ] {
            let answer = Answer {
                status,
                headers: Vec::new(),
                body: body.as_bytes().to_vec(),
                is_whole: true,
                rest: Vec::new(),
            };
            assert_eq!(status_of(&answer), expected, "{body}");
        }
    }

    #[test]
    fn an_id_can_stand_in_a_path_and_in_a_query() {
        for (text, is_id) in [
            ("6f8f7a3b9c0d4e5f8a1b2c3d4e5f6a7b", true),
            ("a-b_C", true),
            ("", false),
            ("a/../b", false),
            ("a&latest_event_id=9", false),
            ("ä", false),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(ConversationId::parse(text).is_some(), is_id, "{text}");
        }
    }

    #[test]
    fn events_are_known_by_their_numbers() {
        let event = |id, is_state| Some(Event { id, is_state });
        for (data, expected) in [
            (r#"["oh_event",{"id":7,"action":"message"}]"#, event(7, false)),
            (r#"["oh_event",{"id":9,"observation":"agent_state_changed"}]"#, event(9, true)),
            (r#"["oh_event",{"id":3,"observation":{"a":1}}]"#, event(3, false)),
            (r#"["oh_event",{"status_update":true,"id":"STATUS$READY"}]"#, None),
            (r#"["oh_event",{"id":1.5}]"#, None),
            (r#"["oh_event"]"#, None),
            (r#"["other",{"id":7}]"#, None),
        ] {
            assert_eq!(event_of(data), expected, "{data}");
        }
    }

    #[test]
    fn the_middle_leaves_some_on_both_sides() {
        let events = |ids: &[i64]| -> Vec<_> {
            ids.iter().map(|id| Event { id: *id, is_state: false }).collect()
        };
        assert_eq!(middle(&events(&[0, 1, 2, 3, 4])), Some(2));
        assert_eq!(middle(&events(&[0, 1])), Some(0));
        assert_eq!(middle(&events(&[7])), Some(7));
        assert_eq!(middle(&[Event { id: 1, is_state: true }]), None);
    }
}
