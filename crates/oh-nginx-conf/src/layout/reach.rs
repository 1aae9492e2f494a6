//! Whether an editor is reached by its route, asked from the machine itself.
//!
//! `/reach/vscode/{id}/healthz` and `/reach/vscode/{id}/version` on the generation's listener are passed
//! on to the editor, and nothing else is: a GET without a query, a body or a header of whoever asks. So
//! no login is needed, and no key is presented: both answer whoever asks.

use super::Site;
use super::proxy::DIRECTS_NGINX;
use super::sessions::{EDITORS, SOCKET, absent_is_unknown, goes_on};
use crate::write::{Text, Word};

/// The two questions, as [`oh_model::instance::Server::health_path`] has them.
const ASKED: &str = "\"^/reach/vscode/(?<oh_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?<oh_rest>/(?:healthz|version))\\z\"";

/// Writes the locations, in the server of the generation.
pub(super) fn locations(text: &mut Text, site: &Site) {
    text.comment(
        "Says whether an editor is reached by its route: two questions, and nothing else.",
    );
    text.block("location", &[Word::fixed("~"), Word::fixed(ASKED)], |text| {
        text.block(
            "if",
            &[Word::fixed("($request_method"), Word::fixed("!="), Word::fixed("GET)")],
            |text| {
                text.fixed("return", &["405"]);
            },
        );
        text.fixed("set", &["$oh_kind", "vscode"]);
        goes_on(text, "$oh_reach_way");
    });
    way(text, "@oh_reach", false);
    if site.sockets.is_some() {
        way(text, "@oh_reach_socket", true);
    }
    text.block("location", &[Word::fixed("@oh_unknown")], |text| text.fixed("return", &["404"]));
}

fn way(text: &mut Text, name: &'static str, socket: bool) {
    text.block("location", &[Word::fixed(name)], |text| {
        if socket {
            absent_is_unknown(text);
        }
        let target = if socket { SOCKET } else { EDITORS.port };
        text.directive("proxy_pass", &[Word::joined(target, "$oh_reach_path")]);
        text.fixed("proxy_http_version", &["1.1"]);
        text.fixed("proxy_method", &["GET"]);
        text.fixed("proxy_pass_request_headers", &["off"]);
        text.fixed("proxy_pass_request_body", &["off"]);
        text.fixed("proxy_set_header", &["Content-Length", "''"]);
        text.fixed("proxy_set_header", &["Host", "localhost"]);
        text.fixed("proxy_ignore_headers", &DIRECTS_NGINX);
        text.fixed("proxy_hide_header", &["Set-Cookie"]);
        text.fixed("proxy_connect_timeout", &["2s"]);
        text.fixed("proxy_send_timeout", &["2s"]);
        text.fixed("proxy_read_timeout", &["5s"]);
        text.fixed("proxy_buffering", &["off"]);
        text.comment("An answer that is no HTTP goes on as it is: nothing may follow it.");
        text.fixed("keepalive_timeout", &["0"]);
    });
}
