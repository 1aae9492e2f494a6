//! The border of Engine.IO: what python-engineio answers by itself, in its own words.
//!
//! engineioxide, which does the rest, refuses with a JSON object and knows no CORS.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, HeaderMap, ORIGIN,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Json, Response};

use super::{parameter, wants_websocket};

const UNSUPPORTED: &str =
    "The client is using an unsupported version of the Socket.IO or Engine.IO protocols";

/// Answers what Engine.IO refuses in the recorded words, and lets every origin in.
pub(super) async fn border(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/socket.io" && !path.starts_with("/socket.io/") {
        return next.run(request).await;
    }
    let headers = cross_origin(request.method(), request.headers());
    let mut response = match answer(&request) {
        Some(answer) => answer,
        None => {
            let text = parameter(request.uri().query().unwrap_or_default(), "sid");
            let text = format!("Invalid session {}", text.unwrap_or("None"));
            let posted = request.method() == Method::POST;
            let response = next.run(with_transport(request)).await;
            in_its_words(response, posted, &text)
        }
    };
    response.headers_mut().extend(headers);
    response
}

/// Answers what does not come to a session; the order is python-engineio's.
fn answer(request: &Request) -> Option<Response> {
    let query = request.uri().query().unwrap_or_default();
    let upgrade = wants_websocket(request);
    if !matches!(parameter(query, "transport"), None | Some("polling" | "websocket")) {
        return Some(bad_request("Invalid transport"));
    }
    let session = parameter(query, "sid");
    if session.is_none() && parameter(query, "EIO") != Some("4") {
        let forbidden = || (StatusCode::FORBIDDEN, "").into_response();
        return Some(if upgrade { forbidden() } else { bad_request(UNSUPPORTED) });
    }
    let plain = [(CONTENT_TYPE, "text/plain")];
    match *request.method() {
        Method::GET if !upgrade && parameter(query, "transport") == Some("websocket") => {
            Some(bad_request("Invalid websocket upgrade"))
        }
        Method::GET => None,
        Method::POST if session.is_some() => None,
        Method::POST => Some(bad_request("Invalid session None")),
        Method::OPTIONS => Some((plain, "OK").into_response()),
        _ => Some((StatusCode::METHOD_NOT_ALLOWED, plain, "Method Not Found").into_response()),
    }
}

/// Words what engineioxide has answered as python-engineio does.
fn in_its_words(mut response: Response, posted: bool, unknown_session: &str) -> Response {
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status() == StatusCode::BAD_REQUEST && json {
        return bad_request(unknown_session);
    }
    if posted && response.status() == StatusCode::OK {
        *response.body_mut() = Body::from("OK");
        // The length of another body.
        response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
    }
    response
}

fn bad_request(text: &str) -> Response {
    let body = Json(text).into_response().into_body();
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "text/plain")], body).into_response()
}

/// Every origin may do everything, and that is said even to those that are none.
fn cross_origin(method: &Method, asked: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if let Some(origin) = asked.get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    if *method == Method::OPTIONS {
        let methods = HeaderValue::from_static("OPTIONS, GET, POST");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers
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
