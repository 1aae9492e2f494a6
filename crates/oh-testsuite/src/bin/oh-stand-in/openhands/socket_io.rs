//! Socket.IO as the connect handler of OpenHands speaks it: the conversation again, and then the namespace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use engineioxide::handler::EngineIoHandler;
use engineioxide::{DisconnectReason, Socket, Str};
use oh_socketio::socket::{self, Kind, MAIN_NAMESPACE, Packet};
use serde_json::{Value, json};

use super::conversations::Conversations;
use super::parameter;

/// What answers.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    settings_stored: Arc<AtomicBool>,
    conversations: Arc<Conversations>,
}

/// The conversation that a connection has joined.
pub(super) type Joined = Mutex<Option<String>>;

impl Handler {
    pub(super) fn new(settings_stored: Arc<AtomicBool>, conversations: Arc<Conversations>) -> Self {
        Self { settings_stored, conversations }
    }

    /// Answers the request for a namespace, as python-socketio and the handler of OpenHands do.
    fn connect(&self, namespace: &str, auth: Option<&str>, socket: &Socket<Joined>) {
        if namespace != MAIN_NAMESPACE {
            return send(socket, Kind::ConnectError, namespace, &json!("Unable to connect"));
        }
        let is_empty = |auth: &str| matches!(auth, "{}" | "null" | "[]" | "\"\"");
        if auth.is_some_and(|auth| !is_empty(auth)) {
            // The handler takes none, fails, and nobody is told.
            return;
        }
        let (kind, data) = match self.join(socket) {
            Ok(()) => (Kind::Connect, json!({"sid": socket.id.to_string()})),
            Err(refusal) => (Kind::ConnectError, refusal),
        };
        send(socket, kind, namespace, &data);
    }

    /// Sends the conversation again and joins it; in this order, so that a refusal may come behind it.
    fn join(&self, socket: &Socket<Joined>) -> Result<(), Value> {
        let query = socket.req_parts.uri.query().unwrap_or_default();
        let id = parameter(query, "conversation_id").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| json!({"message": "No conversation_id in query params"}))?;
        let latest = parameter(query, "latest_event_id").and_then(|text| text.parse().ok());
        for event in self.conversations.replay(id, latest.unwrap_or(-1)) {
            send(socket, Kind::Event, MAIN_NAMESPACE, &json!(["oh_event", event]));
        }
        if !self.settings_stored.load(Ordering::Relaxed) {
            let data = json!({"msg_id": "CONFIGURATION$SETTINGS_NOT_FOUND"});
            return Err(json!({"message": "Settings not found", "data": data}));
        }
        self.conversations.join(id);
        *socket.data.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
        Ok(())
    }
}

impl EngineIoHandler for Handler {
    type Data = Joined;

    fn on_connect(self: Arc<Self>, _socket: Arc<Socket<Joined>>) {}

    fn on_disconnect(&self, socket: Arc<Socket<Joined>>, _reason: DisconnectReason) {
        let joined = socket.data.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(id) = joined {
            self.conversations.leave(&id);
        }
    }

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<Joined>>) {
        // python-socketio takes no notice of what it cannot read, and OpenHands of events without an agent.
        if let Ok(Packet { kind: Kind::Connect, namespace, data, .. }) = socket::read(&message) {
            self.connect(&namespace, data.as_deref(), &socket);
        }
    }

    fn on_binary(self: &Arc<Self>, _data: Bytes, _socket: Arc<Socket<Joined>>) {}
}

fn send(socket: &Socket<Joined>, kind: Kind, namespace: &str, data: &Value) {
    let data = Some(data.to_string().into());
    let packet = Packet { namespace: namespace.to_owned().into(), data, ..Packet::bare(kind) };
    // Whoever has gone needs no answer.
    drop(socket.emit(socket::write(&packet)));
}
