//! OpenHands 0.62.0 as it was recorded, without an agent behind it.
//!
//! What the real server does and this one does not: the rate limit (10 requests in a second), API
//! keys, agents. A test of the full tier asks this and a real OpenHands the same, and has a table
//! of where they may differ. One thing no table can hold: engineioxide pings as soon as a session
//! is open, where the real server waits for `pingInterval`, so a ping may stand before any other answer. The recorded answers stand in
//! fixtures/openhands-0.62/, and a test of the standard tier compares with them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::UPGRADE;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use engineioxide::config::EngineIoConfig;
use engineioxide::layer::EngineIoLayer;
use serde_json::{Value, json};

pub(crate) use self::conversations::Conversation;
use self::conversations::Conversations;

mod conversations;
mod engine_io;
mod rest;
mod socket_io;

/// The largest message, in bytes, that a client may send (`max_http_buffer_size`).
const PAYLOAD_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often the server pings a silent client.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long a client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How many packets wait for a client; there may be a whole conversation before the first answer.
const PACKETS_MAX: usize = 2 * conversations::EVENTS_MAX;

/// A link that the page shows.
#[derive(Clone)]
pub(crate) struct Link {
    name: String,
    url: String,
}

impl Link {
    /// Parses `NAME=URL`.
    pub(crate) fn parse(text: &str) -> Result<Link, String> {
        let (name, url) = text.split_once('=').ok_or("a link is NAME=URL")?;
        Ok(Link { name: name.to_owned(), url: url.to_owned() })
    }
}

struct Server {
    started: Instant,
    page: String,
    settings_stored: Arc<AtomicBool>,
    conversations: Arc<Conversations>,
}

/// Builds the whole site.
pub(crate) fn router(links: Vec<Link>, conversations: Vec<Conversation>) -> Router {
    let settings_stored = Arc::new(AtomicBool::new(!conversations.is_empty()));
    let conversations = Arc::new(Conversations::new(conversations));
    let handler = socket_io::Handler::new(Arc::clone(&settings_stored), Arc::clone(&conversations));
    let config = EngineIoConfig::builder()
        .req_path("/socket.io")
        .max_payload(PAYLOAD_BYTES_MAX)
        .max_buffer_size(PACKETS_MAX)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .build();
    let socket_io = EngineIoLayer::from_config(Arc::new(handler), config);

    let page = page(&links);
    let server = Arc::new(Server { started: Instant::now(), page, settings_stored, conversations });
    let site = Router::new()
        .route("/alive", get(async || Json(json!({"status": "ok"}))))
        .route("/health", get(async || Json("OK")))
        .route("/server_info", get(server_info))
        .route("/openapi.json", get(async || Json(openapi())))
        .route("/api/options/config", get(async || Json(options_config())))
        .route("/api/conversations", get(list_conversations))
        .route("/api/conversations/{id}", get(one_conversation))
        .route("/api/settings", get(settings).post(store_settings))
        .fallback(single_page_application)
        .with_state(server);
    // Around the whole and not around each route, where axum adds headers of its own.
    Router::new()
        .fallback_service(site)
        .layer(middleware::from_fn(rest::surround))
        .layer(socket_io)
        .layer(middleware::from_fn(engine_io::border))
}

async fn server_info(State(server): State<Arc<Server>>) -> Json<Value> {
    let uptime = server.started.elapsed().as_secs_f64();
    Json(json!({
        "uptime": uptime,
        "idle_time": uptime,
        "resources": {
            "cpu_percent": 0.0,
            "memory": {"rss": 0, "vms": 0, "percent": 0.0},
            "disk": {"total": 0, "used": 0, "free": 0, "percent": 0.0},
            "io": {"read_bytes": 0, "write_bytes": 0},
        },
    }))
}

async fn settings(State(server): State<Arc<Server>>) -> Response {
    if server.settings_stored.load(Ordering::Relaxed) {
        Json(json!({"language": "en", "llm_model": "stand-in"})).into_response()
    } else {
        (StatusCode::NOT_FOUND, Json(json!({"error": "Settings not found"}))).into_response()
    }
}

async fn store_settings(State(server): State<Arc<Server>>) -> Json<Value> {
    server.settings_stored.store(true, Ordering::Relaxed);
    Json(json!({"message": "Settings stored"}))
}

async fn list_conversations(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({"results": server.conversations.all(), "next_page_id": null}))
}

/// One that is not there is `null`, and no 404.
async fn one_conversation(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Json<Value> {
    Json(server.conversations.find(&id).unwrap_or_default())
}

/// Every miss is the application's page.
async fn single_page_application(State(server): State<Arc<Server>>, method: Method) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return rest::not_allowed();
    }
    Html(server.page.clone()).into_response()
}

fn options_config() -> Value {
    json!({
        "APP_MODE": "oss",
        "GITHUB_CLIENT_ID": "",
        "POSTHOG_CLIENT_KEY": "",
        "FEATURE_FLAGS": {"ENABLE_BILLING": false, "HIDE_LLM_SETTINGS": false},
    })
}

fn openapi() -> Value {
    let info = json!({"title": "OpenHands", "version": "0.62.0"});
    json!({"openapi": "3.1.0", "info": info, "paths": {}})
}

fn wants_websocket(request: &Request) -> bool {
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

fn page(links: &[Link]) -> String {
    let mut list = String::new();
    for link in links {
        // Writing to a string cannot fail.
        let (url, name) = (escape(&link.url), escape(&link.name));
        write!(list, "<li><a href=\"{url}\">{name}</a></li>\n      ").unwrap_or_default();
    }
    include_str!("openhands.html").replace("<!-- links -->", list.trim_end())
}

/// Escapes what HTML would read as markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
