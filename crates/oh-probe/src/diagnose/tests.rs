use std::net::SocketAddr;
use std::time::Duration;

use oh_socketio::engine::Open;

use super::*;
use crate::answers::{Said, answer};
use crate::dial::Timed;
use crate::ladder::{Connected, UpgradeAnswer};
use crate::tls::Handshake;

const OPEN: Said<'_> =
    (200, "text/plain", r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#);
const PAGE: Said<'_> = (200, "text/html", "<!doctype html>");
const NOT_SEEN: Said<'_> = (400, "text/plain", "\"Invalid websocket upgrade\"");
const REFUSED: Said<'_> = (403, "", "");

fn timed<T>(value: T) -> Timed<T> {
    Timed { took: Duration::ZERO, value }
}

/// A hop that answers an upgrade so, and a poll so.
fn seen(upgrade: Said<'_>, polling: Said<'_>) -> Ladder {
    Ladder {
        upgrade: Some(timed(Ok(UpgradeAnswer { answer: answer(upgrade), fault: None }))),
        polling: Some(timed(Ok(answer(polling)))),
        ..Ladder::default()
    }
}

/// A hop that gives no answer to an upgrade.
fn without_answer(failure: Failure, polling: Option<Said<'_>>) -> Ladder {
    Ladder {
        upgrade: Some(timed(Err(failure))),
        polling: polling.map(|said| timed(Ok(answer(said)))),
        ..Ladder::default()
    }
}

/// A hop whose WebSocket opens, and what comes then.
fn opened(connect: Option<Result<Connected, Ended>>) -> Ladder {
    let open = Open {
        sid: "e".to_owned(),
        upgrades: Vec::new(),
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        payload_bytes_max: None,
    };
    Ladder { open: Some(timed(Ok(open))), connect: connect.map(timed), ..seen((101, "", ""), OPEN) }
}

fn good() -> Ladder {
    opened(Some(Ok(Connected { refused: None, events: Vec::new() })))
}

fn of_tcp(failure: Failure) -> Ladder {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let reached = Reached {
        dns: None,
        tcp: vec![(address, timed(Err(failure)))],
        proxy: None,
        tls: None,
        stream: None,
    };
    Ladder { reached: Some(reached), ..Ladder::default() }
}

fn of_tls(value: Result<Handshake, Failure>) -> Ladder {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let reached = Reached {
        dns: None,
        tcp: vec![(address, timed(Ok(())))],
        proxy: None,
        tls: Some(timed(value)),
        stream: None,
    };
    Ladder { reached: Some(reached), ..Ladder::default() }
}

/// Diagnoses hops, the outermost first; the id, how sure it is, and which hop it is.
fn told(ladders: &[&Ladder]) -> Option<(&'static str, Certainty, String)> {
    let names = ["public", "nginx", "upstream"];
    let hops: Vec<_> =
        ladders.iter().zip(names).map(|(ladder, name)| Hop { name, ladder }).collect();
    diagnose(&hops).map(|found| (found.cause.id, found.certainty, found.hop))
}

#[test]
fn what_connects_has_no_cause() {
    assert_eq!(told(&[&good()]), None);
    let refused = Connected { refused: Some("No conversation_id".to_owned()), events: Vec::new() };
    assert_eq!(told(&[&opened(Some(Ok(refused)))]), None, "the refusal came all the way");
    assert_eq!(told(&[&good(), &seen(NOT_SEEN, OPEN)]), None, "nobody comes by that way");
    assert_eq!(told(&[]), None);
}

#[test]
fn what_a_proxy_does_is_told_from_what_is_behind_it() {
    for (proxied, id) in [
        (seen(NOT_SEEN, OPEN), "UPG-1"),
        (seen((400, "application/json", r#"{"code":3,"message":"Bad request"}"#), OPEN), "UPG-1"),
        (seen((500, "text/plain", "Internal Server Error"), OPEN), "UPG-3"),
        (seen(PAGE, OPEN), "MASK-1"),
        (seen(REFUSED, PAGE), "PATH-1"),
        (without_answer(Failure::Closed { bytes: 0 }, Some(PAGE)), "PATH-1"),
        (without_answer(Failure::Reset { bytes: 0 }, None), "LIM-3"),
        (without_answer(Failure::Silent(Duration::from_secs(9)), None), "GW-2"),
    ] {
        let expected = |certainty, hop: &str| Some((id, certainty, hop.to_owned()));
        assert_eq!(told(&[&proxied, &good()]), expected(Certainty::Certain, "public"));
        let with_another = told(&[&proxied, &proxied, &good()]);
        assert_eq!(with_another, expected(Certainty::Certain, "nginx"), "the innermost of both");
    }
    let pages = told(&[&seen(PAGE, PAGE), &good()]);
    assert_eq!(pages, Some(("PATH-2", Certainty::Likely, "public".to_owned())), "or two faults");
    let alone = told(&[&seen(NOT_SEEN, OPEN)]);
    assert_eq!(alone, Some(("UPG-1", Certainty::Likely, "public".to_owned())));
    let everywhere = told(&[&seen(PAGE, PAGE), &seen(PAGE, PAGE)]);
    assert_eq!(everywhere, Some(("KIND-1", Certainty::Likely, "nginx".to_owned())));
}

#[test]
fn a_poll_tells_what_an_upgrade_is_refused_for() {
    let version =
        "\"The client is using an unsupported version of the Socket.IO or Engine.IO protocols\"";
    for (body, id) in [
        ("\"https://a is not an accepted origin.\"", "ORI-1"),
        (version, "PATH-3"),
        ("\"Invalid session e\"", "STK-1"),
    ] {
        let found = told(&[&seen(REFUSED, (400, "text/plain", body)), &good()]);
        assert_eq!(found.map(|(id, _, _)| id), Some(id));
    }
    let application = told(&[&seen(REFUSED, OPEN)]);
    assert_eq!(application.map(|(id, _, _)| id), Some("SIO-0"));
}

#[test]
fn answers_of_proxies_are_known() {
    for (status, body, id) in [
        (301, "", "PATH-4"),
        (401, "<html>", "AUTH-1"),
        (400, "The plain HTTP request was sent to HTTPS port", "GW-3"),
        (400, "No required SSL certificate was sent", "TLS-10"),
        (500, "<center>nginx", "GW-5"),
    ] {
        let said = (status, "text/html", body);
        let expected = Some((id, Certainty::Certain, "public".to_owned()));
        assert_eq!(told(&[&seen(said, said)]), expected, "{status}");
    }
    for (status, id) in [
        (403, "AUTH-2"),
        (404, "PATH-5"),
        (413, "LIM-1"),
        (503, "LIM-2"),
        (502, "GW-1"),
        (504, "GW-2"),
        (418, "UNK-1"),
    ] {
        let seen = seen((status, "text/html", "<html>"), (status, "text/html", "<html>"));
        let expected = |certainty| Some((id, certainty, "public".to_owned()));
        assert_eq!(told(&[&seen]), expected(Certainty::Likely), "{status}: or what is behind it");
        assert_eq!(told(&[&seen, &good()]), expected(Certainty::Certain), "{status}");
    }
}

#[test]
fn below_http_the_first_that_fails_counts() {
    for (ladder, id) in [
        (of_tcp(Failure::Refused), "NET-2"),
        (of_tcp(Failure::Silent(Duration::from_secs(5))), "NET-3"),
        (of_tcp(Failure::Unreachable("no route".to_owned())), "NET-4"),
        (of_tls(Err(Failure::Tls("received fatal alert: ProtocolVersion".to_owned()))), "TLS-8"),
        (
            of_tls(Err(Failure::Tls(
                "received corrupt message of type InvalidContentType".to_owned(),
            ))),
            "TLS-9",
        ),
        (of_tls(Err(Failure::Certificate(Distrust::NoNames))), "TLS-7"),
    ] {
        assert_eq!(told(&[&ladder, &good()]).map(|(id, _, _)| id), Some(id));
    }
    for (distrust, id) in [
        (Distrust::Expired, "TLS-1"),
        (Distrust::NotYet, "TLS-2"),
        (Distrust::Name { wanted: "a".to_owned(), names: Vec::new() }, "TLS-3"),
        (Distrust::SelfSigned, "TLS-4"),
        (Distrust::IntermediateMissing { issuer: "b".to_owned() }, "TLS-5"),
        (Distrust::UnknownAuthority { issuer: "b".to_owned() }, "TLS-6"),
    ] {
        let handshake = Handshake {
            version: "1.3",
            alpn: None,
            certificate: None,
            chain_length: 1,
            verdict: Err(distrust),
        };
        assert_eq!(told(&[&of_tls(Ok(handshake))]).map(|(id, _, _)| id), Some(id));
    }
}

#[test]
fn above_http_the_way_is_open_and_something_else_is_wrong() {
    let quiet = Ended::Quiet(Duration::from_secs(5));
    assert_eq!(told(&[&opened(Some(Err(quiet.clone())))]).map(|(id, _, _)| id), Some("SIO-2"));
    let cut = opened(Some(Err(Ended::Dismissed)));
    assert_eq!(told(&[&cut]).map(|(id, _, _)| id), Some("SIO-2"));
    assert_eq!(told(&[&cut, &good()]).map(|(id, _, _)| id), Some("TMO-1"), "the server waits");
    let no_engine = Ladder { open: Some(timed(Err(quiet))), connect: None, ..opened(None) };
    assert_eq!(told(&[&no_engine]).map(|(id, _, _)| id), Some("SIO-3"));
}

#[test]
fn http_2_is_known_by_its_first_frame() {
    let settings = vec![0, 0, 0x12, 4, 0, 0, 0, 0, 0, 0, 3];
    let ladder = without_answer(Failure::NotHttp { first: settings }, None);
    assert_eq!(told(&[&ladder]).map(|(id, _, _)| id), Some("H2-1"));
    let ssh = without_answer(Failure::NotHttp { first: b"SSH-2.0".to_vec() }, None);
    assert_eq!(told(&[&ssh]).map(|(id, _, _)| id), Some("GW-4"));
}

#[test]
fn a_server_is_told_from_a_proxy_by_what_stands_before_it() {
    let refusal = "<html><center>nginx</center>";
    for (server, alone, behind) in [
        (without_answer(Failure::Reset { bytes: 0 }, None), "LIM-3", "GW-4"),
        (without_answer(Failure::Closed { bytes: 0 }, None), "LIM-3", "GW-4"),
        (without_answer(Failure::Closed { bytes: 0 }, Some(PAGE)), "PATH-1", "KIND-1"),
        (without_answer(Failure::Closed { bytes: 9 }, None), "GW-4", "GW-4"),
        (seen(REFUSED, PAGE), "PATH-1", "KIND-1"),
        (seen(REFUSED, (404, "text/plain", "")), "PATH-1", "KIND-1"),
        (seen((500, "text/html", refusal), (500, "text/html", refusal)), "GW-5", "GW-5"),
    ] {
        assert_eq!(told(&[&server]).map(|(id, _, _)| id), Some(alone));
        assert_eq!(told(&[&server, &server]).map(|(id, _, _)| id), Some(behind));
    }
}

#[test]
fn what_engine_io_says_of_an_upgrade_counts() {
    let transport = (400, "application/json", r#"{"code":0,"message":"Transport unknown"}"#);
    let origin = (400, "application/json", "\"https://a is not an accepted origin.\"");
    for (upgrade, polling, id) in [
        ((400, "text/html", "Transport unknown"), transport, "PATH-3"),
        (transport, OPEN, "SIO-0"),
        (origin, origin, "ORI-1"),
        ((502, "text/html", "<html>"), PAGE, "PATH-1"),
        ((502, "text/html", "<html>"), (502, "text/html", "<html>"), "GW-1"),
    ] {
        assert_eq!(told(&[&seen(upgrade, polling), &good()]).map(|(id, _, _)| id), Some(id));
    }
}

#[test]
fn a_second_origin_is_warned_of() {
    let mut ladder = good();
    assert_eq!(warnings(&ladder), Vec::<&Cause>::new());
    let Some(Timed { value: Ok(answer), .. }) = &mut ladder.polling else { panic!("it polled") };
    for origin in ["*", "https://a"] {
        answer.headers.push(("access-control-allow-origin".to_owned(), origin.to_owned()));
    }
    assert_eq!(warnings(&ladder), [&cause::ORIGIN_TWICE]);
}

/// A site whose pages are files, with these lines in the location of Socket.IO and in its server.
fn tree(location: &str, server: &str) -> Tree {
    let text = format!(
        "http {{ server {{ listen 80; server_name a.example; {server} location / {{ root /srv; }} \
         location /socket.io/ {{ {location} }} }} }}"
    );
    let directives = oh_nginx_conf::parse::parse(&text).expect("it can be read");
    let path = "/etc/nginx/nginx.conf".to_owned();
    let file = oh_nginx_conf::inspect::File { path, text, directives, includes: Vec::new() };
    Tree { files: vec![file] }
}

#[test]
fn the_configuration_tells_apart_what_looks_the_same() {
    let headers = "proxy_http_version 1.1; proxy_set_header Host $http_host; \
                   proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let pass = "proxy_pass http://127.0.0.1:3000;";
    let hidden = format!("{pass} proxy_intercept_errors on; error_page 400 =200 /index.html;");
    let own = format!("{pass} proxy_set_header X-Real-IP $remote_addr;");
    let refused = format!("{pass} deny all;");
    for (cause, location, server, id) in [
        (&cause::NO_LOCATION, "proxy_pass http://127.0.0.1:3000/;", headers, "PATH-1"),
        (&cause::NO_LOCATION, &hidden, headers, "MASK-1"),
        (&cause::NO_LOCATION, &refused, headers, "PATH-2"),
        (&cause::NO_LOCATION, pass, headers, "PATH-2"),
        (&cause::UPGRADE_LOST, &own, headers, "UPG-2"),
        (&cause::CONNECTION_LOST, &own, headers, "UPG-2"),
        (&cause::ORIGIN, &own, headers, "UPG-2"),
        (&cause::UPGRADE_LOST, pass, "proxy_set_header Host $http_host;", "UPG-1"),
        (&cause::UPGRADE_LOST, &own, "", "UPG-1"),
        (&cause::BACK_END, &own, headers, "GW-1"),
    ] {
        let told = refined(cause, &tree(location, server), &Known::default());
        assert_eq!(told.id, id, "{location}; {server}");
    }
}
