//! OpenHands 0.62.0 as it was recorded, without an agent behind it.
//!
//! What the real server does and this one does not: the rate limit (10 requests in a second),
//! CORS of the REST part, API keys, agents. In Socket.IO, socketioxide differs in four
//! places that our clients must not depend on: it pings as soon as a session is open, where the
//! real server waits for `pingInterval`, so a ping may stand before the answer to `40`; the
//! session id has another length; `Settings not found` carries no `data`; and an unknown namespace
//! is refused with `{"message":"Invalid namespace"}` where the real one says `"Unable to connect"`. The refusals of Engine.IO, which
//! socketioxide words in its own way, are answered here before it sees them. The recorded answers
//! stand in fixtures/openhands-0.62/, and a test compares.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN, UPGRADE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;

/// The largest message, in bytes, that a client may send (`max_http_buffer_size`).
const PAYLOAD_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often the server pings a silent client.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long a client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The real server leaves a socket open that has connected to no namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

const UNSUPPORTED: &str =
    "The client is using an unsupported version of the Socket.IO or Engine.IO protocols";

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
    Router::new()
        .route("/alive", get(async || Json(json!({"status": "ok"}))))
        .route("/health", get(async || Json("OK")))
        .route("/server_info", get(server_info))
        .route("/openapi.json", get(async || Json(openapi())))
        .route("/api/options/config", get(async || Json(options_config())))
        .route("/api/conversations", get(async || Json(no_conversations())))
        .route("/api/settings", get(settings).post(store_settings))
        .fallback(single_page_application)
        .with_state(server)
        .layer(socket_io)
        .layer(middleware::from_fn(socket_io_border))
}

/// Answers what Engine.IO refuses in the recorded words, and lets every origin in.
async fn socket_io_border(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/socket.io" && !path.starts_with("/socket.io/") {
        return next.run(request).await;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(with_transport(request)).await,
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

fn refusal(request: &Request) -> Option<Response> {
    let query = request.uri().query().unwrap_or_default();
    let upgrade = wants_websocket(request);
    let bad = |text: &str| {
        let body = Json(text).into_response().into_body();
        (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "text/plain")], body).into_response()
    };
    if parameter(query, "EIO") != Some("4") {
        let forbidden = || (StatusCode::FORBIDDEN, "").into_response();
        return Some(if upgrade { forbidden() } else { bad(UNSUPPORTED) });
    }
    match parameter(query, "transport") {
        Some("websocket") if !upgrade => Some(bad("Invalid websocket upgrade")),
        None | Some("polling" | "websocket") => None,
        Some(_) => Some(bad("Invalid transport")),
    }
}

/// Names the transport that is meant when none is named: the real server takes polling.
fn with_transport(mut request: Request) -> Request {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    if parameter(query, "transport").is_none() {
        let named = format!("{}?{query}&transport=polling", uri.path());
        if let Ok(named) = named.parse() {
            *request.uri_mut() = named;
        }
    }
    request
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
        "resources": {"cpu_percent": 0.0, "memory": {}, "disk": {}, "io": {}},
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

/// Every miss is the application's page, and a WebSocket to anywhere else breaks the server.
async fn single_page_application(State(server): State<Arc<Server>>, request: Request) -> Response {
    if wants_websocket(&request) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response();
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
