//! OpenHands 0.62.0 as it was recorded, without an agent behind it.
//!
//! What the real server does and this one does not: the rate limit (10 requests in a second), API
//! keys, agents. A test of the full tier asks this and a real OpenHands the same, and has a table
//! of where they may differ; in Socket.IO that is where socketioxide leaves no choice. One thing no
//! table can hold: socketioxide pings as soon as a session is open, where the real server waits
//! for `pingInterval`, so a ping may stand before any other answer. The recorded answers stand in
//! fixtures/openhands-0.62/, and a test of the standard tier compares with them.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::UPGRADE;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;

mod engine_io;
mod rest;

/// The largest message, in bytes, that a client may send (`max_http_buffer_size`).
const PAYLOAD_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often the server pings a silent client.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long a client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The real server leaves a socket open that has connected to no namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

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
}

/// Builds the whole site.
pub(crate) fn router(links: Vec<Link>) -> Router {
    let settings_stored = Arc::new(AtomicBool::new(false));
    let (socket_io, io) = SocketIo::builder()
        .req_path("/socket.io")
        .max_payload(PAYLOAD_BYTES_MAX)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build_layer();
    let stored = Arc::clone(&settings_stored);
    let refuse = move |socket: SocketRef| {
        let stored = stored.load(Ordering::Relaxed);
        async move { may_connect(socket.req_parts().uri.query().unwrap_or_default(), stored) }
    };
    let accept = async |_socket: SocketRef| {};
    io.ns("/", socketioxide::handler::ConnectHandler::with(accept, refuse));

    let server = Arc::new(Server { started: Instant::now(), page: page(&links), settings_stored });
    let site = Router::new()
        .route("/alive", get(async || Json(json!({"status": "ok"}))))
        .route("/health", get(async || Json("OK")))
        .route("/server_info", get(server_info))
        .route("/openapi.json", get(async || Json(openapi())))
        .route("/api/options/config", get(async || Json(options_config())))
        .route("/api/conversations", get(async || Json(no_conversations())))
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

/// Decides as the real connect handler does, whose refusal proves that it was reached.
fn may_connect(query: &str, settings_stored: bool) -> Result<(), Refused> {
    if parameter(query, "conversation_id").is_none_or(str::is_empty) {
        Err(Refused("No conversation_id in query params"))
    } else if !settings_stored {
        Err(Refused("Settings not found"))
    } else {
        Ok(())
    }
}

struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
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

fn no_conversations() -> Value {
    json!({"results": [], "next_page_id": null})
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
