//! The servers: the site, what leads to it, what refuses other names, and who tells the generation.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::proxy::{Shared, TlsWords, UPGRADE, tls_versions};
use super::sessions::{self, APPS, EDITORS, refuse_foreign_origins};
use super::{HTTP_PORT, HTTPS_PORT, Isolation, Site, hosts, reach};
use crate::write::{Text, Unquotable, Word};

/// Answers, on this machine only, which generation is served.
pub(super) fn generation(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let listen = Word::glued(&["127.0.0.1:", &site.generation_port.to_string()])?;
    text.comment("Answers, on this machine only, which generation is served.");
    text.block("server", &[], |text| {
        text.directive("listen", &[listen]);
        text.fixed("server_name", &["localhost"]);
        text.fixed("server_tokens", &["off"]);
        text.fixed("access_log", &["off"]);
        text.fixed("auth_basic", &["off"]);
        text.block("location", &[Word::fixed("="), Word::fixed("/generation")], |text| {
            text.fixed("default_type", &["text/plain"]);
            text.fixed("return", &["200", "$oh_generation"]);
        });
        reach::locations(text, site);
        text.block("location", &[Word::fixed("/")], |text| text.fixed("return", &["404"]));
    });
    Ok(())
}

/// The words of one `listen` for each address.
fn listens(site: &Site, port: u16, more: &[&'static str]) -> Result<Vec<Vec<Word>>, Unquotable> {
    site.listen
        .iter()
        .map(|address| {
            let mut words = Vec::from([Word::glued(&[address, ":", &port.to_string()])?]);
            words.extend(more.iter().map(|word| Word::fixed(word)));
            Ok(words)
        })
        .collect()
}

/// The same for the public port, with TLS where the site speaks it.
pub(super) fn secure_listens(site: &Site) -> Result<Vec<Vec<Word>>, Unquotable> {
    let old_http2 = !site.nginx.has_http2_directive();
    match &site.tls {
        None => listens(site, site.port.get(), &[]),
        Some(_) if old_http2 => listens(site, site.port.get(), &["ssl", "http2"]),
        Some(_) => listens(site, site.port.get(), &["ssl"]),
    }
}

pub(super) fn write_listens(text: &mut Text, listens: &[Vec<Word>]) {
    listens.iter().for_each(|words| text.directive("listen", words));
}

/// Refuses other names on ports that are ours alone, so that no foreign name resolves to us.
pub(super) fn refusing(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    if !site.port_is_exclusive {
        return Ok(());
    }
    let more: &[&str] =
        if site.tls.is_some() { &["ssl", "default_server"] } else { &["default_server"] };
    let listens = listens(site, site.port.get(), more)?;
    text.gap();
    text.block("server", &[], |text| {
        write_listens(text, &listens);
        text.fixed("server_name", &["_"]);
        text.fixed("server_tokens", &["off"]);
        if site.tls.is_some() {
            text.fixed("ssl_reject_handshake", &["on"]);
            text.comment("The versions are settled here, before the name is known.");
            tls_versions(text);
        }
        text.fixed("return", &["444"]);
    });
    Ok(())
}

/// Sends plain HTTP on to HTTPS, where HTTPS has its own port.
pub(super) fn redirecting(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    if site.tls.is_none() || site.port.get() != HTTPS_PORT {
        return Ok(());
    }
    let mut redirect = |name: Word, authority: &str| -> Result<(), Unquotable> {
        let listens = listens(site, HTTP_PORT, &[])?;
        let target = Word::glued(&["https://", authority, "$request_uri"])?;
        text.gap();
        text.block("server", &[], |text| {
            write_listens(text, &listens);
            text.directive("server_name", &[name]);
            text.fixed("server_tokens", &["off"]);
            text.directive("return", &[Word::fixed("301"), target]);
        });
        Ok(())
    };
    if !site.http_is_served {
        redirect(Word::value(&site.name)?, &site.authority)?;
    }
    match &site.isolation {
        Isolation::Hosts(hosts) => redirect(Word::glued(&["*.", &hosts.base])?, "$host"),
        Isolation::Path | Isolation::Sandbox => Ok(()),
    }
}

/// Writes what every server of the site has, whatever its name.
pub(super) fn common(text: &mut Text, site: &Site, tls: Option<&TlsWords>, shared: &Shared) {
    text.fixed("server_tokens", &["off"]);
    text.comment("Redirects stay relative: the public port is not always the one listened on.");
    text.fixed("absolute_redirect", &["off"]);
    if let Some(tls) = tls {
        tls.write(text);
    }
    if site.nginx.has_keepalive_min_timeout() {
        text.fixed("keepalive_min_timeout", &["10s"]);
    }
    text.fixed("client_max_body_size", &["0"]);
    shared.login(text);
    shared.security_headers(text);
}

/// Writes the site itself.
pub(super) fn main(text: &mut Text, site: &Site) -> Result<(), Unquotable> {
    let authority = [site.authority.as_str()];
    let shared = Shared::of(site, &authority)?;
    let name = Word::value(&site.name)?;
    let listens = secure_listens(site)?;
    let tls = match &site.tls {
        None => None,
        Some(tls) => Some(TlsWords::of(tls, site, &authority)?),
    };
    let upstream = Word::glued(&["http://", &site.upstream])?;
    let mut ways = Text::nested();
    match &site.isolation {
        Isolation::Path | Isolation::Sandbox => {
            sessions::ways(&mut ways, site, &EDITORS, &shared)?;
            sessions::ways(&mut ways, site, &APPS, &shared)?;
        }
        Isolation::Hosts(hosts) => hosts::moved(&mut ways, site, hosts, &shared)?,
    }
    text.gap();
    text.block("server", &[], |text| {
        write_listens(text, &listens);
        text.directive("server_name", &[name]);
        common(text, site, tls.as_ref(), &shared);
        text.gap();
        sessions::judged(text, &EDITORS, &shared);
        sessions::judged(text, &APPS, &shared);
        text.gap();
        text.comment("The ways: reached from inside only, and after the login.");
        own_answers(text, site, &shared);
        text.append(ways);
        text.gap();
        openhands(text, &upstream, &shared);
    });
    Ok(())
}

/// Answers that nginx may give only to those who are logged in.
fn own_answers(text: &mut Text, site: &Site, shared: &Shared) {
    let mut answer = |name, words: &'static [&'static str]| {
        text.block("location", &[Word::fixed(name)], |text| {
            shared.after_login(text);
            text.fixed("return", words);
        });
    };
    answer("@oh_unknown", &["404"]);
    answer("@oh_slash", &["301", "$oh_bare/$is_args$args"]);
    if !matches!(site.isolation, Isolation::Hosts(_)) {
        answer("@oh_open", &["302", "/vscode/$oh_id/?folder=$oh_open"]);
    }
}

fn openhands(text: &mut Text, upstream: &Word, shared: &Shared) {
    let proxied = |text: &mut Text| {
        text.directive("proxy_pass", core::slice::from_ref(upstream));
        shared.proxy(text, &UPGRADE);
        text.fixed("proxy_set_header", &["X-Forwarded-Prefix", "''"]);
        text.fixed("proxy_set_header", &["X-Forwarded-Path", "''"]);
    };
    text.comment("Socket.IO can do by polling what it does by WebSocket, and OpenHands lets any");
    text.comment("Origin in, with its cookies: so the Origin counts without an upgrade too.");
    text.block("location", &[Word::fixed("^~"), Word::fixed("/socket.io")], |text| {
        text.block("if", &[Word::fixed("($oh_origin_ok = 0)")], |text| {
            text.fixed("return", &["403"]);
        });
        proxied(text);
    });
    text.comment("OpenHands: pages and API.");
    text.block("location", &[Word::fixed("/")], |text| {
        refuse_foreign_origins(text);
        proxied(text);
    });
}
