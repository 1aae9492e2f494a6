//! What surrounds every answer that is not Socket.IO's: CORS, caching, methods.
//!
//! Nobody has set `PERMITTED_CORS_ORIGINS`: pages of this machine may read, all others may not.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CACHE_CONTROL, EXPIRES, HeaderMap, ORIGIN, PRAGMA, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Json, Response};
use serde_json::json;

use super::wants_websocket;

/// Surrounds an answer as the real server's middleware does.
pub(super) async fn surround(mut request: Request, next: Next) -> Response {
    if wants_websocket(&request) {
        // The static files come before the routes for it, and assert that it is none.
        return (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response();
    }
    let assets = request.uri().path().starts_with("/assets");
    let origin = request.headers().get(ORIGIN).cloned();
    if request.method() == Method::HEAD {
        // The routes take GET alone, so HEAD comes to the page on every path.
        *request.uri_mut() = Uri::from_static("/");
    }
    let mut response = match preflight(&request) {
        Some(answer) => answer,
        None => simple(origin.as_ref(), methods(next.run(request).await)),
    };
    let headers = response.headers_mut();
    if assets {
        set(headers, CACHE_CONTROL, "public, max-age=2592000, immutable");
    } else {
        set(headers, CACHE_CONTROL, "no-cache, no-store, must-revalidate, max-age=0");
        set(headers, PRAGMA, "no-cache");
        set(headers, EXPIRES, "0");
    }
    response
}

/// Answers the question of a browser before a request, on whatever path.
fn preflight(request: &Request) -> Option<Response> {
    let asked = request.headers();
    let origin = asked.get(ORIGIN)?;
    if request.method() != Method::OPTIONS || !asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let local = is_local(origin);
    let mut response = if local {
        "OK".into_response()
    } else {
        (StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response()
    };
    let headers = response.headers_mut();
    set(headers, VARY, "Origin");
    set(headers, ACCESS_CONTROL_ALLOW_METHODS, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    set(headers, ACCESS_CONTROL_MAX_AGE, "600");
    set(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    if local {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}

/// Says who may read the answer to a request of another origin.
fn simple(origin: Option<&HeaderValue>, mut response: Response) -> Response {
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    set(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    if is_local(origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        set(headers, VARY, "Origin");
    }
    response
}

/// Words the refusal of a method as the real server does.
fn methods(mut response: Response) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = not_allowed();
    }
    response.headers_mut().remove(ALLOW);
    response
}

/// The refusal of a method.
pub(super) fn not_allowed() -> Response {
    let body = Json(json!({"detail": "Method Not Allowed"}));
    (StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}

/// Tells whether an origin is a page of this machine, on whatever port.
fn is_local(origin: &HeaderValue) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = authority.and_then(|(_, authority)| authority.split(':').next());
    matches!(host, Some("localhost" | "127.0.0.1"))
}

fn set(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
