//! A small web application of a session, with what proxies get wrong on its paths.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::{any, get, post};
use serde_json::{Map, Value, json};

use crate::openhands::escape;

/// How many bytes `/big` answers unless it is told.
const BIG_BYTES: usize = 8 * 1024 * 1024;
/// The most that `/big` answers.
const BIG_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long `/slow` takes unless it is told, in milliseconds.
const SLOW_MS: u64 = 1_000;

/// Builds the application.
///
/// `/` is a page; `/headers` shows the request as it arrived; `/cookie?path=&name=` sets a cookie;
/// `/redirect` goes to `/`; `/ws` echoes frames; `/big?bytes=` is long; `/slow?ms=` takes its
/// time; `/echo` returns the posted body; anything else is 404.
pub(crate) fn router(name: String) -> Router {
    let page = Html(page(&name));
    Router::new()
        .route("/", get(async move || page))
        .route("/headers", any(headers))
        .route("/cookie", get(cookie))
        .route("/redirect", get(async || (StatusCode::FOUND, [(LOCATION, "/")])))
        .route("/ws", any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_frames)))
        .route("/big", get(big))
        .route("/slow", get(slow))
        .route("/echo", post(async |body: Bytes| body))
        .fallback(async || (StatusCode::NOT_FOUND, "not a path of the stand-in\n"))
}

async fn headers(uri: Uri, headers: HeaderMap) -> Json<Value> {
    let mut seen: Map<String, Value> = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        seen.insert(name.to_string(), json!(values.join(", ")));
    }
    Json(json!({"uri": uri.to_string(), "headers": seen}))
}

async fn cookie(Query(query): Query<HashMap<String, String>>) -> Response {
    let name = query.get("name").map_or("stand-in", String::as_str);
    let path = query.get("path").map_or("/", String::as_str);
    let cookie = format!("{name}=value; Path={path}; HttpOnly; SameSite=Lax");
    ([(SET_COOKIE, cookie)], "a cookie was set\n").into_response()
}

async fn big(Query(query): Query<HashMap<String, usize>>) -> Response {
    let bytes = query.get("bytes").copied().unwrap_or(BIG_BYTES);
    if bytes > BIG_BYTES_MAX {
        return (StatusCode::BAD_REQUEST, "too many bytes\n").into_response();
    }
    vec![b'x'; bytes].into_response()
}

async fn slow(Query(query): Query<HashMap<String, u64>>) -> &'static str {
    let ms = query.get("ms").copied().unwrap_or(SLOW_MS);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "at last\n"
}

async fn echo_frames(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let echo = matches!(message, Message::Text(_) | Message::Binary(_));
        if echo && socket.send(message).await.is_err() {
            return;
        }
    }
}

fn page(name: &str) -> String {
    let name = escape(name);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>{name} (stand-in)</title></head>\n\
         <body><h1>{name}</h1><p>This is a stand-in for a web application of a session.</p></body>\n\
         </html>\n"
    )
}
