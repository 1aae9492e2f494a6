//! The hosts of sessions: `{id}.{base}` for editors and `{id}-{index}.{base}` for applications.
//!
//! A host is an origin of its own: pages of one session do not reach the storage of another nor that of
//! OpenHands. (They can set cookies for all hosts of one registrable domain.) Addresses are handed on byte by byte, since there is no prefix to
//! strip. A name that ends like an application's number is an application's if there is one, and
//! otherwise an editor's.

use alloc::vec::Vec;

use super::proxy::{Shared, TlsWords};
use super::servers;
use super::sessions::{APPS, EDITORS, Kind, SOCKET, absent_is_unknown, goes_on};
use super::{Hosts, Site};
use crate::write::{Text, Unquotable, Word};

/// A server for one form of host name.
struct Form {
    comment: &'static str,
    /// The pattern of the first label.
    label: &'static str,
    /// What `$oh_kind` is.
    kind: &'static str,
    /// The variable with the way of its requests.
    way: &'static str,
}

/// nginx takes the first pattern that fits, so the narrower one comes first.
const FORMS: [Form; 2] = [
    Form {
        comment: "Applications, and editors whose id ends like an application's number.",
        label: "[a-z0-9][a-z0-9_-]{0,60}-[0-9]{1,2}",
        kind: "$oh_host_kind",
        way: "$oh_app_host",
    },
    Form {
        comment: "Editors.",
        label: "[a-z0-9][a-z0-9_-]{0,62}",
        kind: "vscode",
        way: "$oh_editor_host",
    },
];

/// Writes the servers of sessions' own hosts.
pub(super) fn servers(text: &mut Text, site: &Site, hosts: &Hosts) -> Result<(), Unquotable> {
    for form in &FORMS {
        server(text, site, hosts, form)?;
    }
    Ok(())
}

fn server(text: &mut Text, site: &Site, hosts: &Hosts, form: &Form) -> Result<(), Unquotable> {
    let port = site.port_suffix();
    // `$host` is what the name's pattern let through, in lower case and without the port.
    let authority = ["$host", port.as_str()];
    let shared = Shared::of(site, &authority)?;
    let name = Word::host_pattern(form.label, &hosts.base)?;
    let origin: Vec<&str> = [&[site.scheme()], authority.as_slice()].concat();
    let own_origin = Word::condition("$http_origin", &Word::glued(&origin)?);
    let tls = match &hosts.tls {
        Some(tls) => Some(TlsWords::of(tls, site, &authority)?),
        None => None,
    };
    let listens = servers::secure_listens(site)?;
    text.gap();
    text.comment(form.comment);
    text.block("server", &[], |text| {
        servers::write_listens(text, &listens);
        text.directive("server_name", &[name]);
        servers::common(text, site, tls.as_ref(), &shared);
        text.comment("Here, because `try_files` does not work beside an `if` that only sets.");
        text.fixed("set", &["$oh_own_origin", "$oh_no_origin"]);
        text.block("if", &own_origin, |text| text.fixed("set", &["$oh_own_origin", "1"]));
        text.block("location", &[Word::fixed("/")], |text| {
            text.block("if", &[Word::fixed("($oh_host_refused)")], |text| {
                text.fixed("return", &["403"]);
            });
            text.comment("Not for the server: the question about the login would set them anew.");
            text.directive("set", &[Word::fixed("$oh_kind"), Word::fixed(form.kind)]);
            text.fixed("set", &["$oh_route", "$oh_kind/$oh_id"]);
            text.fixed("set", &["$oh_rest", "$uri"]);
            goes_on(text, form.way);
        });
        way(text, "@oh_editor", EDITORS.port, &EDITORS, &shared);
        way(text, "@oh_app", APPS.port, &APPS, &shared);
        if site.sockets.is_some() {
            way(text, "@oh_editor_socket", SOCKET, &EDITORS, &shared);
            way(text, "@oh_app_socket", SOCKET, &APPS, &shared);
        }
        ends(text, &shared);
    });
    Ok(())
}

fn way(text: &mut Text, name: &'static str, target: &'static str, kind: &Kind, shared: &Shared) {
    let word = Word::fixed;
    let socket = target == SOCKET;
    text.block("location", &[word(name)], |text| {
        shared.after_login(text);
        if socket {
            absent_is_unknown(text);
        }
        text.directive("proxy_pass", &[word(target)]);
        shared.of_session(text);
        text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
        text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
        if kind.keyed {
            shared.key(text);
        }
        if !socket {
            text.directive("proxy_redirect", &[word(kind.local), word("/")]);
        }
        if let Some(plain) = &shared.plain_origin {
            text.comment("Many programs take it for granted that they are reached without TLS.");
            text.directive("proxy_redirect", &[plain.clone(), word("/")]);
        }
        text.comment("A cookie for all hosts below the base would reach every other session.");
        text.fixed("proxy_cookie_domain", &["~.", "$host"]);
        text.fixed("add_header", &["Service-Worker-Allowed", "/", "always"]);
    });
}

/// Answers that nginx gives itself.
fn ends(text: &mut Text, shared: &Shared) {
    let mut end = |name, words: &'static [&'static str]| {
        text.block("location", &[Word::fixed(name)], |text| {
            shared.after_login(text);
            text.fixed("return", words);
        });
    };
    end("@oh_unknown", &["404"]);
    end("@oh_open", &["302", "$oh_editor_root?folder=$oh_open"]);
    end("@oh_home", &["302", "/$oh_kind/$oh_id/"]);
}

/// Writes the locations of the site's own host that lead on to a session's.
pub(super) fn moved(
    text: &mut Text,
    site: &Site,
    hosts: &Hosts,
    shared: &Shared,
) -> Result<(), Unquotable> {
    let port = site.port_suffix();
    let target = Word::glued(&[site.scheme(), "$oh_id.", &hosts.base, &port, "/$is_args$args"])?;
    let mut end = |name, socket: bool| {
        text.block("location", &[Word::fixed(name)], |text| {
            shared.after_login(text);
            if socket {
                absent_is_unknown(text);
            }
            text.directive("return", &[Word::fixed("302"), target.clone()]);
        });
    };
    end("@oh_moved", false);
    if site.sockets.is_some() {
        end("@oh_editor_moved", true);
        end("@oh_app_moved", true);
    }
    Ok(())
}
