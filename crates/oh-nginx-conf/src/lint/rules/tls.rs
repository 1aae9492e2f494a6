//! TLS: keys against ciphers, versions, and servers that have a certificate and do not use it.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::KeyKind;
use super::super::finding::{Change, Severity};
use super::super::model::{Node, Scope, Server};
use super::super::role;
use super::{Judge, Said};

/// Ciphers for both kinds of keys, all of them with forward secrecy.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                       ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                       ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// Versions that browsers have given up.
const OLD_VERSIONS: [&str; 4] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"];

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for server in judge.sites() {
        let scope = server.scope();
        ciphers(judge, &scope);
        versions(judge, &scope);
        listens(judge, server);
    }
}

/// Which keys a list of ciphers serves; `None` where a word stands for many.
fn served(list: &str) -> Option<Vec<KeyKind>> {
    let mut out = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        if word.starts_with(['!', '-', '@', '+']) || word.starts_with("TLS_") {
            continue;
        }
        let is_suite = word.contains('-');
        match word {
            _ if is_suite && word.contains("ECDSA") => out.push(KeyKind::Ecdsa),
            // `AES128-SHA` and `DHE-RSA-…`: without a word for the key, it is RSA.
            _ if is_suite && !word.starts_with("PSK") => out.push(KeyKind::Rsa),
            "aRSA" | "kRSA" | "RSA" => out.push(KeyKind::Rsa),
            "aECDSA" | "ECDSA" => out.push(KeyKind::Ecdsa),
            _ => return None,
        }
    }
    Some(out)
}

fn ciphers(judge: &mut Judge<'_, '_>, scope: &Scope<'_>) {
    let Some(node) = scope.value("ssl_ciphers") else { return };
    let only_new = scope.value("ssl_protocols").is_some_and(|p| p.words == ["TLSv1.3"]);
    let Some(served) = served(node.word(0)).filter(|served| !served.is_empty() && !only_new) else {
        return;
    };
    let certificates = scope.list("ssl_certificate");
    for certificate in certificates {
        let path = certificate.word(0);
        let kind = judge.known.certificates.get(path).copied();
        let (rsa, ecdsa) = (served.contains(&KeyKind::Rsa), served.contains(&KeyKind::Ecdsa));
        let (sure, what) = match (kind, rsa, ecdsa) {
            (Some(KeyKind::Ecdsa), _, true)
            | (Some(KeyKind::Rsa), true, _)
            | (None, true, true) => continue,
            (Some(KeyKind::Ecdsa), ..) => {
                (true, format!("{path} has an ECDSA key; no cipher here serves it"))
            }
            (Some(KeyKind::Rsa), ..) => {
                (true, format!("{path} has an RSA key; no cipher here serves it"))
            }
            (None, ..) => {
                let only = if rsa { "RSA" } else { "ECDSA" };
                (
                    false,
                    format!(
                        "these ciphers serve {only} keys only; which one {path} has could not be seen"
                    ),
                )
            }
        };
        judge.say(Said {
            rule: "OH-NGX-401",
            severity: Severity::Error,
            sure,
            place: node.place(),
            what,
            changes: Vec::from([Change::replace(node, [format!("ssl_ciphers {CIPHERS};")])]),
        });
    }
}

fn versions(judge: &mut Judge<'_, '_>, scope: &Scope<'_>) {
    let Some(node) = scope.value("ssl_protocols") else { return };
    let has_new = node.words.iter().any(|word| word == "TLSv1.2" || word == "TLSv1.3");
    let old: Vec<&str> =
        node.words.iter().map(String::as_str).filter(|word| OLD_VERSIONS.contains(word)).collect();
    let has_1_2 = node.words.iter().any(|word| word == "TLSv1.2");
    if old.is_empty() && has_1_2 {
        return;
    }
    judge.say(Said {
        rule: "OH-NGX-402",
        severity: match (has_new, old.is_empty()) {
            (true, true) => Severity::Note,
            (true, false) => Severity::Warning,
            (false, _) => Severity::Error,
        },
        sure: true,
        place: node.place(),
        what: match old.is_empty() {
            true => {
                format!("`{}` leaves out TLS 1.2, which older programs still speak", node.shown())
            }
            false => format!("`{}` has versions that are broken", node.shown()),
        },
        changes: Vec::from([Change::replace(node, ["ssl_protocols TLSv1.2 TLSv1.3;".to_owned()])]),
    });
}

fn has(node: &Node<'_>, word: &str) -> bool {
    node.words.iter().any(|one| one == word)
}

fn listens(judge: &mut Judge<'_, '_>, server: Server<'_>) {
    let doors = role::doors(&server);
    let certificate = server.level.all("ssl_certificate").next();
    let says_ssl = server.level.all("listen").any(|node| has(node, "ssl") || has(node, "quic"));
    for node in server.level.all("listen") {
        let on = server.level.all("ssl").next().is_some();
        if has(node, "http2") && !has(node, "ssl") && !on {
            let words: Vec<&str> =
                node.words.iter().map(String::as_str).filter(|w| *w != "http2").collect();
            judge.say(Said {
                rule: "OH-NGX-403",
                severity: Severity::Error,
                sure: true,
                place: node.place(),
                what: format!("`{}` speaks HTTP/2 in plain text only", node.shown()),
                changes: Vec::from([Change::replace(
                    node,
                    [format!("listen {};", words.join(" "))],
                )]),
            });
        } else if certificate.is_some() && !says_ssl && !on {
            judge.say(Said {
                rule: "OH-NGX-404",
                severity: Severity::Error,
                sure: true,
                place: node.place(),
                what: format!("`{}` speaks no TLS, although there is a certificate", node.shown()),
                changes: Vec::from([Change::replace(
                    node,
                    [format!("listen {} ssl;", node.words.join(" "))],
                )]),
            });
        }
    }
    if let Some(certificate) = certificate.filter(|_| server.level.all("listen").next().is_none()) {
        judge.say(Said {
            rule: "OH-NGX-404",
            severity: Severity::Error,
            sure: true,
            place: certificate.place(),
            what: "the server has a certificate and no listen: it speaks plain HTTP on port 80"
                .to_owned(),
            changes: Vec::from([judge.add(&server.scope(), ["listen 443 ssl;".to_owned()])]),
        });
    }
    let is_plain = !doors.is_empty() && certificate.is_none() && !says_ssl;
    let is_seen_by_others = doors.iter().any(|door| !door.is_loopback && !door.is_tls);
    let has_editor = judge.routes.iter().any(|route| {
        route.role == role::Role::Editor && super::is_same_server(route.server, server)
    });
    if is_plain && is_seen_by_others && has_editor {
        let place = doors
            .first()
            .and_then(|door| door.node)
            .map_or_else(|| judge.place_of(&server.scope()), Node::place);
        judge.say(Said {
            rule: "OH-NGX-405",
            severity: Severity::Warning,
            sure: true,
            place,
            what: "the site is served without TLS".to_owned(),
            changes: Vec::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ciphers_tells_which_keys_it_serves() {
        assert_eq!(served("ECDHE-RSA-AES128-GCM-SHA256:!aNULL"), Some(Vec::from([KeyKind::Rsa])));
        assert_eq!(served("ECDHE-ECDSA-AES128-GCM-SHA256"), Some(Vec::from([KeyKind::Ecdsa])));
        assert_eq!(served("AES256-SHA"), Some(Vec::from([KeyKind::Rsa])));
        assert_eq!(served("HIGH:!aNULL"), None);
    }
}
