use std::net::SocketAddr;

use super::*;
use crate::dial::Route;
use crate::limits::Limits;
use crate::target::{Target, TargetHost};

const COMMIT: &str = "53c2f3253bcf32886706fc023e794bbeb253c90f";

fn timed<T>(value: T) -> Timed<T> {
    Timed { took: Duration::ZERO, value }
}

fn reply(status: u16, media_type: &str, body: Body) -> Replied {
    timed(Ok(Reply { status, media_type: Some(media_type.to_owned()), leads: None, body }))
}

fn redirect(leads: Leads) -> Replied {
    timed(Ok(Reply { status: 302, media_type: None, leads: Some(leads), body: Body::Other }))
}

fn upgrade(status: u16, media_type: &str, body: &str) -> UpgradeAnswer {
    let answer = Answer {
        status,
        headers: vec![("Content-Type".to_owned(), media_type.to_owned())],
        body: body.as_bytes().to_vec(),
        is_whole: true,
        rest: Vec::new(),
    };
    UpgradeAnswer { answer, fault: None }
}

fn page(authority: &str) -> Page {
    Page {
        commit: Some(COMMIT.to_owned()),
        authority: Some(authority.to_owned()),
        base: None,
        asset: None,
    }
}

/// code-server as it works.
fn code_server() -> Observed {
    Observed {
        family: Family::CodeServer,
        authority: "oh.example:8443".to_owned(),
        front: reply(405, "text/plain", Body::Unsupported),
        version: reply(200, "text/plain", Body::Commit(COMMIT.to_owned())),
        page: None,
        token: None,
        asset: Some(("/x.css".to_owned(), reply(200, "text/css", Body::Other))),
        handshake: Some(timed(Ok(Shaken::Signed))),
        hostile: Some(timed(Ok(upgrade(403, "text/plain", "Forbidden")))),
    }
}

/// A server of VS Code as it works, opened by its token.
fn openvscode() -> Observed {
    Observed {
        family: Family::OpenVscode,
        page: Some(reply(200, "text/html", Body::Workbench(page("oh.example:8443")))),
        token: Some(redirect(Leads::Within)),
        hostile: Some(timed(Ok(upgrade(101, "", "")))),
        ..code_server()
    }
}

fn told(observed: &Observed) -> (Outcome, Option<&'static str>) {
    let proof = judge(observed);
    (proof.outcome, proof.cause.map(|cause| cause.id))
}

#[test]
fn what_works_is_told_with_whom_it_lets_in() {
    let proof = judge(&code_server());
    assert_eq!((proof.outcome, proof.is_open_to_origins), (Outcome::Works, Some(false)));
    assert_eq!(proof.commit.as_deref(), Some(COMMIT));
    assert_eq!(proof.notes, ["its page was not asked for: that can change what it opened last"]);
    let proof = judge(&openvscode());
    assert_eq!((proof.outcome, proof.is_open_to_origins), (Outcome::Works, Some(true)));
    assert_eq!(proof.notes, ["a page of https://hostile.example is let in"]);
    let relative = Observed {
        page: Some(reply(200, "text/html", Body::Workbench(page("remote")))),
        ..openvscode()
    };
    assert_eq!(told(&relative), (Outcome::Works, None));
}

#[test]
fn the_first_step_that_fails_is_told() {
    let shaken = |shaken| Some(timed(Ok(shaken)));
    let not_open =
        |status, media_type, body| shaken(Shaken::NotOpen(upgrade(status, media_type, body)));
    let other = |status| reply(status, "text/html", Body::Other);
    let outside = || redirect(Leads::Outside("https://oh.example:8443/".to_owned()));
    let failure = || Failure::Silent(Duration::from_secs(1));
    let nothing = || Observed {
        asset: None,
        handshake: None,
        hostile: None,
        front: other(404),
        version: other(404),
        ..code_server()
    };
    let page = |page| Some(reply(200, "text/html", Body::Workbench(page)));
    for (what, observed, outcome, cause) in [
        (
            "a redirect that leads to the site",
            Observed { front: outside(), ..code_server() },
            Outcome::Leaves("https://oh.example:8443/".to_owned()),
            "PATH-6",
        ),
        (
            "a token that leads to the site",
            Observed { token: Some(outside()), ..openvscode() },
            Outcome::Leaves("https://oh.example:8443/".to_owned()),
            "PATH-6",
        ),
        ("a prefix that is not stripped", nothing(), Outcome::Elsewhere(404), "PATH-1"),
        (
            "a page of another",
            Observed { front: other(405), version: other(200), ..nothing() },
            Outcome::Elsewhere(200),
            "PATH-1",
        ),
        (
            "nobody behind the proxy",
            Observed { front: other(502), version: other(502), ..nothing() },
            Outcome::Elsewhere(502),
            "GW-1",
        ),
        (
            "a redirect for every request",
            Observed {
                front: redirect(Leads::Within),
                version: redirect(Leads::Within),
                ..nothing()
            },
            Outcome::Elsewhere(302),
            "PATH-4",
        ),
        (
            "a login",
            Observed { front: other(401), version: other(401), ..nothing() },
            Outcome::WantsLogin,
            "AUTH-1",
        ),
        (
            "a token that was not given",
            Observed { page: Some(other(403)), token: None, ..openvscode() },
            Outcome::WantsToken,
            "KEY-2",
        ),
        (
            "a token that is another's",
            Observed { page: Some(other(403)), token: Some(other(403)), ..openvscode() },
            Outcome::TokenRefused,
            "KEY-2",
        ),
        (
            "a host that is not the site's",
            Observed {
                page: page(super::Page {
                    authority: Some("127.0.0.1:8080".to_owned()),
                    ..self::page("")
                }),
                ..openvscode()
            },
            Outcome::OtherHost("127.0.0.1:8080".to_owned()),
            "ORI-1",
        ),
        (
            "a page instead of a file",
            Observed { asset: Some(("/x.css".to_owned(), other(200))), ..code_server() },
            Outcome::Asset("/x.css".to_owned()),
            "EDIT-1",
        ),
        (
            "the Host without its port",
            Observed { handshake: not_open(403, "text/plain", "Forbidden"), ..code_server() },
            Outcome::OwnOrigin,
            "ORI-1",
        ),
        (
            "headers that are lost",
            Observed { handshake: not_open(404, "text/plain", "Not found."), ..code_server() },
            Outcome::NoWebSocket,
            "UPG-1",
        ),
        (
            "headers that are lost before a page",
            Observed { handshake: not_open(200, "text/html", "<html>"), ..code_server() },
            Outcome::NoWebSocket,
            "UPG-5",
        ),
        (
            "a token that the handshake does not take",
            Observed {
                handshake: shaken(Shaken::Refused("auth mismatch".to_owned())),
                ..openvscode()
            },
            Outcome::Refused("auth mismatch".to_owned()),
            "KEY-2",
        ),
        (
            "another WebSocket",
            Observed { handshake: shaken(Shaken::Strange("hello".to_owned())), ..code_server() },
            Outcome::NoHandshake,
            "KIND-2",
        ),
        (
            "an Origin that a proxy takes away",
            Observed { hostile: Some(timed(Ok(upgrade(101, "", "")))), ..code_server() },
            Outcome::OpenToOrigins,
            "ORI-3",
        ),
    ] {
        assert_eq!(told(&observed), (outcome, Some(cause)), "{what}");
    }
    let silent =
        Observed { front: timed(Err(failure())), version: timed(Err(failure())), ..nothing() };
    assert_eq!(told(&silent), (Outcome::Silent(failure()), None));
}

#[test]
fn a_guessed_file_that_vs_code_has_not_is_no_fault() {
    let missing = || Some(("/x.css".to_owned(), reply(404, "text/plain", Body::Other)));
    assert_eq!(told(&Observed { asset: missing(), ..code_server() }).0, Outcome::Works);
    let named = told(&Observed { asset: missing(), ..openvscode() });
    assert_eq!(named.0, Outcome::Asset("/x.css".to_owned()));
}

#[test]
fn a_redirect_is_judged_by_where_a_browser_would_go() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let way = Way {
        target: Target {
            is_tls: true,
            host: TargetHost::Address(address.ip()),
            port: 8443,
            path: "/vscode/a/".to_owned(),
            query: None,
        },
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: Limits::default(),
    };
    let visitor = Visitor { authority: Some("oh.example:8443".to_owned()), ..Visitor::default() };
    let asking = Asking { way: &way, visitor, prefix: "/vscode/a".to_owned() };
    for (location, outside) in [
        (".", None),
        ("./?folder=/w", None),
        ("./login", None),
        ("/vscode/a?folder=/w", None),
        ("https://oh.example:8443/vscode/a/", None),
        ("//oh.example:8443/vscode/a/", None),
        ("?x", None),
        ("/?folder=/w", Some("https://oh.example:8443/")),
        ("..", Some("https://oh.example:8443/vscode/")),
        ("/vscode/ab/", Some("https://oh.example:8443/vscode/ab/")),
        ("/vscode/a/../b/", Some("https://oh.example:8443/vscode/b/")),
        ("http://oh.example:8443/vscode/a/", Some("http://oh.example:8443/vscode/a/")),
        ("http://oh.example:18080/vscode/a/?tkn=s", Some("http://oh.example:18080/vscode/a/")),
        ("https://oh.example/vscode/a/", Some("https://oh.example/vscode/a/")),
        ("https://[", Some("https://[")),
    ] {
        let expected = outside.map_or(Leads::Within, |to| Leads::Outside(to.to_owned()));
        assert_eq!(asking.leads("/vscode/a/", location), expected, "{location}");
    }
}

#[test]
fn a_token_is_written_as_a_query_has_it() {
    assert_eq!(escaped("a-1_B"), "a-1_B");
    assert_eq!(escaped("a&b=c d/+"), "a%26b%3Dc+d%2F%2B");
}
