use std::net::SocketAddr;

use super::*;
use crate::answers::{Said, answer};
use crate::websocket::AcceptFault;

const PAGE: Said<'_> = (200, "text/html", "<!doctype html>");
const MISSING: Said<'_> = (404, "application/json", r#"{"detail":"Not Found"}"#);
const ASSERTED: Said<'_> = (500, "text/plain", "Internal Server Error");

fn timed<T>(value: T) -> Timed<T> {
    Timed { took: Duration::ZERO, value }
}

/// A hop that answers an upgrade so, and the same without one so.
fn seen(upgrade: Said<'_>, page: Said<'_>) -> Ladder {
    Ladder {
        upgrade: Some(timed(Ok(UpgradeAnswer { answer: answer(upgrade), fault: None }))),
        page: Some(timed(Ok(answer(page)))),
        ..Ladder::default()
    }
}

fn opened(first: First) -> Ladder {
    let upgrade = UpgradeAnswer { answer: answer((101, "", "")), fault: None };
    Ladder { upgrade: Some(timed(Ok(upgrade))), first: Some(timed(first)), ..Ladder::default() }
}

fn ended(code: Option<u16>) -> Ladder {
    opened(First::Ended(End::Closed { code, reason: String::new() }))
}

fn without_answer(failure: Failure, page: Option<Said<'_>>) -> Ladder {
    Ladder {
        upgrade: Some(timed(Err(failure))),
        page: page.map(|said| timed(Ok(answer(said)))),
        ..Ladder::default()
    }
}

fn told(ladders: &[&Ladder]) -> Option<(&'static str, Certainty, String)> {
    let names = ["public", "nginx", "upstream"];
    let hops: Vec<_> =
        ladders.iter().zip(names).map(|(ladder, name)| Hop { name, ladder }).collect();
    diagnose_raw(&hops).map(|found| (found.cause.id, found.certainty, found.hop))
}

#[test]
fn what_opens_has_no_cause() {
    for ladder in [
        opened(First::Quiet(FIRST_FRAME)),
        opened(First::Text("{}".to_owned())),
        opened(First::Binary(3)),
        ended(Some(NO_CONVERSATION)),
        ended(Some(1000)),
        ended(None),
    ] {
        assert_eq!(told(&[&ladder]), None, "{ladder:?}");
    }
    assert!(
        First::Ended(End::Closed { code: Some(4004), reason: String::new() }).is_no_conversation()
    );
    assert!(!First::Quiet(FIRST_FRAME).is_no_conversation());
    assert_eq!(told(&[]), None);
}

#[test]
fn what_a_proxy_does_is_told_from_what_is_behind_it() {
    let good = opened(First::Quiet(FIRST_FRAME));
    for (proxied, id, certainty) in [
        (seen(PAGE, PAGE), "UPG-5", Certainty::Certain),
        (seen(MISSING, MISSING), "UPG-1", Certainty::Likely),
        (seen((426, "text/plain", "Upgrade Required"), PAGE), "UPG-1", Certainty::Likely),
        (seen(ASSERTED, MISSING), "UPG-3", Certainty::Certain),
        (seen((502, "text/html", "<html>"), PAGE), "GW-1", Certainty::Certain),
        (seen((401, "text/html", "<html>"), PAGE), "AUTH-1", Certainty::Certain),
        (seen((403, "text/html", "<html>"), PAGE), "AUTH-2", Certainty::Certain),
        (seen((301, "text/html", ""), PAGE), "PATH-4", Certainty::Certain),
        (without_answer(Failure::Reset { bytes: 0 }, None), "LIM-3", Certainty::Certain),
        (without_answer(Failure::Silent(FIRST_FRAME), None), "GW-2", Certainty::Certain),
        (opened(First::Ended(End::Cut(Failure::Closed { bytes: 0 }))), "TMO-1", Certainty::Certain),
    ] {
        let expected = |hop: &str| Some((id, certainty, hop.to_owned()));
        assert_eq!(told(&[&proxied, &good]), expected("public"));
        assert_eq!(told(&[&proxied, &proxied, &good]), expected("nginx"), "the innermost of both");
    }
}

#[test]
fn what_the_server_itself_does_is_told_too() {
    for (ladder, id) in [
        (seen(PAGE, PAGE), "KIND-2"),
        (seen(ASSERTED, PAGE), "KIND-2"),
        (without_answer(Failure::Closed { bytes: 0 }, Some(PAGE)), "KIND-2"),
        (seen(MISSING, MISSING), "PATH-5"),
        (seen((403, "", ""), MISSING), "SIO-0"),
        (ended(Some(NO_KEY)), "KEY-1"),
        (opened(First::Ended(End::NoFrame("reserved bits".to_owned()))), "UPG-7"),
    ] {
        assert_eq!(told(&[&ladder]).map(|(id, _, _)| id), Some(id), "{ladder:?}");
    }
    let mut faulty = seen((101, "", ""), PAGE);
    if let Some(Ok(upgrade)) = faulty.upgrade.as_mut().map(|upgrade| &mut upgrade.value) {
        upgrade.fault = Some(AcceptFault::Accept);
    }
    assert_eq!(told(&[&faulty]).map(|(id, _, _)| id), Some("UPG-7"));
}

#[test]
fn what_is_below_http_is_told_as_for_socket_io() {
    let reached = Reached {
        dns: None,
        tcp: vec![(SocketAddr::from(([127, 0, 0, 1], 1)), timed(Err(Failure::Refused)))],
        proxy: None,
        tls: None,
        stream: None,
    };
    let ladder = Ladder { reached: Some(reached), ..Ladder::default() };
    let expected = ("NET-2", Certainty::Certain, "public".to_owned());
    assert_eq!(told(&[&ladder]), Some(expected));
}

#[test]
fn an_agent_server_is_asked_with_its_key_in_a_header() {
    let asked = Asked::agent_server("/oh", &Visitor::default(), Some("sekret"));
    assert_eq!(asked.target, "/oh/sockets/events/00000000-0000-0000-0000-000000000000");
    let headers: Vec<_> =
        asked.visitor.headers.iter().map(|header| (header.name(), header.value())).collect();
    assert_eq!(headers, [("X-Session-API-Key", "sekret")]);
    let broken = Asked::agent_server("", &Visitor::default(), Some("a\r\nb"));
    assert_eq!(broken.visitor.headers, []);
}
