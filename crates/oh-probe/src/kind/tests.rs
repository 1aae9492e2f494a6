use super::*;
use crate::answers::{Said, answer};

const PAGE: Said<'_> = (200, "text/html; charset=utf-8", "<!doctype html><title>OpenHands</title>");
const NOT_FOUND: Said<'_> = (404, "application/json", r#"{"detail":"Not Found"}"#);
const NOT_FOUND_OF_CODE: Said<'_> = (404, "text/plain", "Not found.");
const INVALID_TRANSPORT: Said<'_> = (400, "text/plain", "\"Invalid transport\"");
const UPTIME: Said<'_> = (
    200,
    "application/json",
    r#"{"uptime":62.2,"idle_time":62.2,"resources":{"cpu_percent":0.0}}"#,
);
const AGENT_INFO: Said<'_> = (
    200,
    "application/json",
    r#"{"uptime":69.0,"idle_time":69.0,"title":"OpenHands Agent Server","version":"1.34.0","sdk_version":"1.34.0"}"#,
);
const AGENT_API: Said<'_> = (
    200,
    "application/json",
    r#"{"openapi":"3.1.0","info":{"title":"OpenHands Agent Server","description":"-","version":"0.1.0"},"paths":{"#,
);
const COMMIT: Said<'_> = (200, "text/plain", "53c2f3253bcf32886706fc023e794bbeb253c90f");

fn openhands(version: &str) -> String {
    let info = format!(r#"{{"title":"OpenHands","description":"-","version":"{version}"}}"#);
    // Cut in the middle, as long ones are.
    format!(r#"{{"openapi":"3.1.0","info":{info},"paths":{{"/api/v1/conv"#)
}

fn asked(question: Question, value: Result<Answer, Failure>) -> Asked {
    Asked { question, target: String::new(), answer: Timed { took: Duration::ZERO, value } }
}

fn seen(said: &[(Question, Said<'_>)]) -> Observed {
    let asked = said.iter().map(|(question, said)| asked(*question, Ok(answer(*said))));
    Observed { prefix: String::new(), asked: asked.collect() }
}

/// The same answer to everything but to these questions.
fn all_but(said: Said<'_>, others: &[(Question, Said<'_>)]) -> Observed {
    use Question::{Canary, Commit, Engine, Health, OpenApi, ServerInfo};
    let mut all: Vec<_> =
        [Health, OpenApi, ServerInfo, Engine, Commit, Canary].map(|one| (one, said)).to_vec();
    for (question, said) in &mut all {
        if let Some((_, other)) = others.iter().find(|(other, _)| other == question) {
            *said = *other;
        }
    }
    seen(&all)
}

fn told(observed: &Observed) -> (Family, Option<String>, Option<bool>) {
    let kind = judge(observed);
    assert!(!kind.evidence.is_empty(), "{kind:?}");
    (kind.family, kind.version, kind.has_fallback)
}

#[test]
fn every_program_is_known_by_what_it_was_recorded_to_answer() {
    use Question::{Commit, Engine, Health, OpenApi, ServerInfo};
    let (early, late) = (openhands("0.62.0"), openhands("1.11.0"));
    let early = (200, "application/json", early.as_str());
    let late = (200, "application/json", late.as_str());
    let version = |version: &str| Some(version.to_owned());
    let commit = || Some(COMMIT.2.to_owned());
    for (what, observed, expected) in [
        (
            "0.62.0 with its page",
            all_but(PAGE, &[(OpenApi, early), (ServerInfo, UPTIME), (Engine, INVALID_TRANSPORT)]),
            (Family::OpenHandsV0, version("0.62.0"), Some(true)),
        ),
        (
            "0.62.0 with SERVE_FRONTEND=false, whose OpenAPI fails",
            all_but(
                NOT_FOUND,
                &[
                    (OpenApi, (500, "text/plain", "Internal Server Error")),
                    (ServerInfo, UPTIME),
                    (Engine, INVALID_TRANSPORT),
                ],
            ),
            (Family::OpenHandsV0, None, Some(false)),
        ),
        (
            "0.62.0 behind a proxy that has no location for Socket.IO",
            all_but(PAGE, &[(OpenApi, early), (ServerInfo, UPTIME)]),
            (Family::OpenHandsV0, version("0.62.0"), Some(true)),
        ),
        (
            "1.11.0",
            all_but(PAGE, &[(OpenApi, late), (ServerInfo, UPTIME)]),
            (Family::OpenHandsV1, version("1.11.0"), Some(true)),
        ),
        (
            "an agent server 1.34.0",
            all_but(NOT_FOUND, &[(OpenApi, AGENT_API), (ServerInfo, AGENT_INFO)]),
            (Family::AgentServer, version("1.34.0"), Some(false)),
        ),
        (
            "Agent Canvas before it",
            all_but(PAGE, &[(OpenApi, AGENT_API), (ServerInfo, AGENT_INFO)]),
            (Family::AgentCanvas, None, Some(true)),
        ),
        (
            "code-server, which is not asked further",
            seen(&[(
                Health,
                (200, "application/json", r#"{"status":"expired","lastHeartbeat":0}"#),
            )]),
            (Family::CodeServer, None, None),
        ),
        (
            "VS Code without a token",
            all_but(NOT_FOUND_OF_CODE, &[(Commit, COMMIT)]),
            (Family::OpenVscode, commit(), Some(false)),
        ),
        (
            "VS Code with a token",
            all_but((403, "text/plain", "Forbidden."), &[(Commit, COMMIT)]),
            (Family::OpenVscode, commit(), None),
        ),
        (
            "python-socketio alone",
            all_but((404, "text/plain", "Not Found"), &[(Engine, INVALID_TRANSPORT)]),
            (Family::SocketIo, None, Some(false)),
        ),
        (
            "socket.io of Node, which answers nothing else",
            seen(&[(
                Engine,
                (400, "application/json", r#"{"code":0,"message":"Transport unknown"}"#),
            )]),
            (Family::SocketIo, None, None),
        ),
        (
            "socketioxide",
            seen(&[(
                Engine,
                (400, "application/json", r#"{"code":"0","message":"Transport unknown"}"#),
            )]),
            (Family::SocketIo, None, None),
        ),
        (
            "python-socketio that does not take the origin",
            seen(&[(
                Engine,
                (400, "text/plain", "\"https://evil.example is not an accepted origin.\""),
            )]),
            (Family::SocketIo, None, None),
        ),
        (
            "an application that says its page to everything",
            all_but(PAGE, &[]),
            (Family::Other, None, Some(true)),
        ),
        (
            "an API that is not OpenHands",
            all_but(
                NOT_FOUND,
                &[(
                    OpenApi,
                    (200, "application/json", r#"{"info":{"title":"Shop","version":"1"}}"#),
                )],
            ),
            (Family::Other, None, Some(false)),
        ),
        (
            "a login before everything",
            all_but((401, "text/html", "<html>401 nginx</html>"), &[]),
            (Family::Locked, None, None),
        ),
        ("nothing", seen(&[]), (Family::Silent, None, None)),
    ] {
        assert_eq!(told(&observed), expected, "{what}");
    }
}

#[test]
fn what_answers_counts_for_more_than_a_number() {
    use Question::{Engine, OpenApi};
    for (version, engine, family) in [
        ("1.6.0", Some(INVALID_TRANSPORT), Family::OpenHandsV0),
        ("1.6.0", None, Family::OpenHandsV0),
        ("1.7.0", None, Family::OpenHandsV1),
        ("1.7.0-rc.1", None, Family::OpenHandsV1),
        ("2.0", None, Family::OpenHandsV1),
        ("1.9.0", Some(INVALID_TRANSPORT), Family::OpenHandsV0),
        ("unknown", None, Family::OpenHandsV1),
    ] {
        let api = openhands(version);
        let mut said = vec![(OpenApi, (200, "application/json", api.as_str()))];
        said.extend(engine.map(|engine| (Engine, engine)));
        assert_eq!(judge(&seen(&said)).family, family, "{version} {engine:?}");
    }
}

#[test]
fn a_websocket_is_known_by_how_it_refuses_a_version() {
    let with_versions = |status| {
        let mut refused = answer((status, "text/html", ""));
        refused.headers.push(("Sec-WebSocket-Version".to_owned(), "13, 8".to_owned()));
        refused
    };
    let websockets =
        "Failed to open a WebSocket connection: invalid Sec-WebSocket-Version header: 0.";
    for (refused, expected) in [
        (with_versions(400), Family::WebSocket),
        (with_versions(426), Family::WebSocket),
        (answer((426, "text/plain", "Upgrade Required")), Family::WebSocket),
        (answer((400, "text/plain", websockets)), Family::WebSocket),
        (answer((400, "text/html", "400 Bad Request")), Family::Other),
        (answer(PAGE), Family::Other),
    ] {
        let mut observed = all_but((404, "text/plain", "no"), &[]);
        let shown = format!("{refused:?}");
        observed.asked.push(asked(Question::Upgrade, Ok(refused)));
        assert_eq!(judge(&observed).family, expected, "{shown}");
    }
}

#[test]
fn who_answers_in_front_and_where_everything_leads_is_told() {
    let mut observed = all_but((301, "text/html", ""), &[]);
    for asked in &mut observed.asked {
        if let Ok(answer) = &mut asked.answer.value {
            answer.headers.push(("server".to_owned(), "nginx/1.22.1".to_owned()));
            let to = "https://oh.example/\u{1b}[31m?tkn=secret".to_owned();
            answer.headers.push(("Location".to_owned(), to));
        }
    }
    let kind = judge(&observed);
    assert_eq!((kind.family, kind.proxy.as_deref()), (Family::Moved, Some("nginx/1.22.1")));
    assert_eq!(kind.evidence, ["every path is redirected: https://oh.example/[31m"]);
    let mut observed = all_but(PAGE, &[]);
    if let Some(Ok(answer)) = observed.asked.first_mut().map(|asked| &mut asked.answer.value) {
        answer.headers.push(("server".to_owned(), "uvicorn".to_owned()));
    }
    assert_eq!(judge(&observed).proxy, None);
}

#[test]
fn what_a_server_says_of_itself_is_short_and_directs_no_terminal() {
    let long = format!("1.0{}\\u001b]0;owned\\u0007", "0".repeat(200));
    let api = openhands(&long);
    let kind = judge(&seen(&[(Question::OpenApi, (200, "application/json", api.as_str()))]));
    let version = kind.version.unwrap_or_default();
    assert_eq!(version.len(), NAME_CHARS_MAX);
    assert!(kind.evidence.iter().all(|line| !line.contains('\u{1b}')), "{:?}", kind.evidence);
}

#[test]
fn a_program_is_looked_for_above_its_own_paths() {
    for (path, prefix) in [
        ("/", ""),
        ("", ""),
        ("/oh/", "/oh"),
        ("/oh", "/oh"),
        ("/socket.io/", ""),
        ("/oh/socket.io", "/oh"),
        ("/sockets/events/00000000-0000-0000-0000-000000000000", ""),
        ("/oh/conversations/abc", "/oh"),
        ("/api/conversations/abc", ""),
        ("/vscode/socketsy/", "/vscode/socketsy"),
        ("/apis/sockets/x", "/apis"),
    ] {
        assert_eq!(prefix_of(path), prefix, "{path}");
    }
}
