//! The locations below which sessions live on the site's own host: `/vscode/{id}/`, `/apps/{id}-{index}/`.
//!
//! A request is first judged in the location of its kind, and then goes on, by its way, to one of
//! four: a port or a socket, each with the prefix stripped or with every byte of the address kept.

use super::Site;
use super::proxy::{HTTP, Shared};
use crate::write::{Text, Unquotable, Word};

/// What differs between the two kinds of address below which sessions live.
///
/// The patterns end in `\z`: `$` would let a line feed at the end pass, which the redirect that adds
/// a slash would then write into the head of its answer.
pub(super) struct Kind {
    comment: &'static str,
    prefix: &'static str,
    no_slash: &'static str,
    with_rest: &'static str,
    /// What `$oh_kind` is.
    pub(super) name: &'static str,
    /// The variable with the way of its requests.
    way: &'static str,
    /// The variable with its port.
    pub(super) port: &'static str,
    /// The locations of its ways: a port, a port with the address kept, and both for a socket.
    ways: [&'static str; 4],
    /// Where it redirects who knows itself only by address and port.
    pub(super) local: &'static str,
    own_prefix: &'static str,
    own_root: &'static str,
    /// Whether it is what `sandbox` sets apart.
    pub(super) sandboxed: bool,
    /// Whether its programs may have a key that nginx presents.
    pub(super) keyed: bool,
}

pub(super) const EDITORS: Kind = Kind {
    comment: "Editors: /vscode/{id}/",
    prefix: "/vscode/",
    no_slash: "\"^(?<oh_bare>/vscode/[A-Za-z0-9][A-Za-z0-9_-]{0,63})\\z\"",
    with_rest: "\"^/vscode/(?<oh_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?<oh_rest>/[^\\x00-\\x1f\\x7f]*)\\z\"",
    name: "vscode",
    way: "$oh_editor_way",
    port: "http://127.0.0.1:$oh_editor",
    ways: ["@oh_editor", "@oh_editor_whole", "@oh_editor_socket", "@oh_editor_socket_whole"],
    local: "http://127.0.0.1:$oh_editor/",
    own_prefix: "/vscode/$oh_id",
    own_root: "/vscode/$oh_id/",
    sandboxed: false,
    keyed: true,
};

pub(super) const APPS: Kind = Kind {
    comment: "Applications: /apps/{id}-{index}/",
    prefix: "/apps/",
    no_slash: "\"^(?<oh_bare>/apps/[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{1,2})\\z\"",
    with_rest: "\"^/apps/(?<oh_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{1,2})(?<oh_rest>/[^\\x00-\\x1f\\x7f]*)\\z\"",
    name: "apps",
    way: "$oh_app_way",
    port: "http://127.0.0.1:$oh_app",
    ways: ["@oh_app", "@oh_app_whole", "@oh_app_socket", "@oh_app_socket_whole"],
    local: "http://127.0.0.1:$oh_app/",
    own_prefix: "/apps/$oh_id",
    own_root: "/apps/$oh_id/",
    sandboxed: true,
    keyed: false,
};

/// Where a program listens on a socket: made of the kind and the id, never of what a file says.
pub(super) const SOCKET: &str = "http://unix:$oh_socket:";

/// What an application may do that has an origin of its own by `sandbox`.
const SANDBOX: &str =
    "\"sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads\"";

/// Writes where requests of the kind are judged.
pub(super) fn judged(text: &mut Text, kind: &Kind, shared: &Shared) {
    let word = Word::fixed;
    let sandboxed = kind.sandboxed && shared.sandbox;
    let refuse_foreign_origins = |text: &mut Text| match sandboxed {
        true => refuse(text, "($oh_app_refused)"),
        false => refuse_foreign_origins(text),
    };
    text.comment(kind.comment);
    text.block("location", &[word("^~"), word(kind.prefix)], |text| {
        text.block("location", &[word("~"), word(kind.no_slash)], |text| {
            refuse_foreign_origins(text);
            goes_on(text, "@oh_slash");
        });
        text.block("location", &[word("~"), word(kind.with_rest)], |text| {
            refuse_foreign_origins(text);
            of_kind(text, kind);
            goes_on(text, kind.way);
        });
        refuse_foreign_origins(text);
        goes_on(text, "=404");
    });
}

/// Lets a request go on, once its login is known: to a location, or to an answer.
///
/// The file that it looks for is never there, and that is remembered.
pub(super) fn goes_on(text: &mut Text, way: &'static str) {
    text.fixed("root", &["/dev/null"]);
    text.fixed("open_file_cache", &["max=16"]);
    text.fixed("open_file_cache_errors", &["on"]);
    text.directive("try_files", &[Word::fixed("/absent"), Word::fixed(way)]);
}

/// Says which kind of address a request has, for the maps that both kinds share.
fn of_kind(text: &mut Text, kind: &Kind) {
    text.directive("set", &[Word::fixed("$oh_kind"), Word::fixed(kind.name)]);
    text.fixed("set", &["$oh_route", "$oh_kind/$oh_id"]);
}

/// Writes the locations that requests of the kind go on to.
pub(super) fn ways(
    text: &mut Text,
    site: &Site,
    kind: &Kind,
    shared: &Shared,
) -> Result<(), Unquotable> {
    let own = Own::of(site, kind)?;
    let [port, port_whole, socket, socket_whole] = kind.ways;
    way(text, port, false, false, kind, shared, &own);
    way(text, port_whole, false, true, kind, shared, &own);
    if site.sockets.is_some() {
        way(text, socket, true, false, kind, shared, &own);
        way(text, socket_whole, true, true, kind, shared, &own);
    }
    Ok(())
}

/// The prefix of a kind as a whole URL: as it is, and as programs write it that know no TLS.
struct Own {
    prefix: Word,
    plain_prefix: Word,
}

impl Own {
    fn of(site: &Site, kind: &Kind) -> Result<Self, Unquotable> {
        let whole = |scheme| Word::glued(&[scheme, &site.authority, kind.own_prefix]);
        Ok(Self { prefix: whole(site.scheme())?, plain_prefix: whole(HTTP)? })
    }
}

fn way(
    text: &mut Text,
    name: &'static str,
    socket: bool,
    whole: bool,
    kind: &Kind,
    shared: &Shared,
    own: &Own,
) {
    let word = Word::fixed;
    text.block("location", &[word(name)], |text| {
        shared.after_login(text);
        if socket {
            absent_is_unknown(text);
        }
        let sandboxed = kind.sandboxed && shared.sandbox;
        if sandboxed {
            text.comment("An answer of HTTP/1 that is no HTTP would pass without our headers.");
            text.block("if", &[word("($server_protocol != HTTP/2.0)")], |text| {
                text.fixed("return", &["505"]);
            });
        }
        if !whole {
            text.fixed("rewrite", &["^", "$oh_rest", "break"]);
        }
        text.directive("proxy_pass", &[word(if socket { SOCKET } else { kind.port })]);
        shared.of_session(text);
        let prefix = if whole { "''" } else { "$oh_prefix" };
        text.directive("proxy_set_header", &[word("X-Forwarded-Prefix"), word(prefix)]);
        text.directive("proxy_set_header", &[word("X-Forwarded-Path"), word(kind.own_root)]);
        if kind.keyed {
            shared.key(text);
        }
        redirects(text, socket, kind, shared, own);
        text.comment("A cookie stays where it was set, whatever path it asks for.");
        text.directive("proxy_cookie_path", &[word("~.*"), word(kind.own_root)]);
        text.directive(
            "add_header",
            &[word("Service-Worker-Allowed"), word(kind.own_root), word("always")],
        );
        if sandboxed {
            sandbox(text);
        }
    });
}

/// Gives what is behind an origin that nobody else has.
fn sandbox(text: &mut Text) {
    text.fixed("add_header", &["Content-Security-Policy", SANDBOX, "always"]);
    text.comment("Its cookies would be the origin's.");
    text.fixed("proxy_set_header", &["Cookie", "''"]);
    text.fixed("proxy_hide_header", &["Set-Cookie"]);
}

/// Keeps redirects below the prefix: to the program's own root, or with its prefix known to it.
fn redirects(text: &mut Text, socket: bool, kind: &Kind, shared: &Shared, own: &Own) {
    let word = Word::fixed;
    text.comment("What sits behind may redirect to its own root, or know its prefix.");
    text.directive("proxy_redirect", &[word(kind.own_prefix), word(kind.own_prefix)]);
    text.directive("proxy_redirect", &[word("/"), word(kind.own_root)]);
    if !socket {
        text.directive("proxy_redirect", &[word(kind.local), word(kind.own_root)]);
    }
    text.directive("proxy_redirect", &[own.prefix.clone(), own.prefix.clone()]);
    text.directive("proxy_redirect", &[shared.origin.clone(), word(kind.own_root)]);
    if let Some(plain) = &shared.plain_origin {
        text.comment("Many programs take it for granted that they are reached without TLS.");
        text.directive("proxy_redirect", &[own.plain_prefix.clone(), own.prefix.clone()]);
        text.directive("proxy_redirect", &[plain.clone(), word(kind.own_root)]);
    }
}

/// Answers 404 where there is no folder for a socket; a folder without one is 502, as is a port
/// without a listener. (nginx's `-e` does not see sockets.)
pub(super) fn absent_is_unknown(text: &mut Text) {
    text.block("if", &[Word::fixed("(!-d"), Word::fixed("$oh_socket_folder)")], |text| {
        text.fixed("return", &["404"]);
    });
    text.comment("Maps ignore case and folders do not.");
    text.block("if", &[Word::fixed("($oh_id ~ [A-Z])")], |text| text.fixed("return", &["404"]));
}

/// Refuses upgrades and changes that a page of another origin asks for.
pub(super) fn refuse_foreign_origins(text: &mut Text) {
    refuse(text, "($oh_refused)");
}

fn refuse(text: &mut Text, condition: &'static str) {
    text.block("if", &[Word::fixed(condition)], |text| text.fixed("return", &["403"]));
}
