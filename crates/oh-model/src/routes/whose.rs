//! Tables: whose listener a session is routed to, and whose editor is there.

use alloc::vec;
use alloc::vec::Vec;

use super::tests::{policy, session, told};
use super::*;

fn owned(owner: u32, session: FoundSession) -> FoundSession {
    FoundSession { owner, ..session }
}

fn listening(sockets: &[(u64, u32)]) -> Listening {
    let pairs = sockets.iter().map(|(port, uid)| (Port::new(*port).unwrap(), *uid));
    Listening::of(pairs)
}

#[test]
fn a_strangers_listener_is_not_routed_and_takes_nothing() {
    let inputs = Inputs {
        sessions: vec![
            owned(1000, session("mine.json", 1, r#"{"vscode_port":8000}"#)),
            owned(1001, session("theft.json", 2, r#"{"vscode_port":8000}"#)),
            owned(1000, session("app.json", 1, r#"{"vscode_port":8001,"app_ports":[5000]}"#)),
            owned(1000, session("early.json", 1, r#"{"vscode_port":8002}"#)),
        ],
        listening: listening(&[(8000, 1000), (8001, 1000), (5000, 0)]),
        accounts: Accounts::of([("ubuntu".into(), 1000)]),
        ..Inputs::default()
    };
    let (routes, exclusions) = told(&inputs);
    assert_eq!(routes, ["/vscode/early/ 8002", "/vscode/mine/ 8000"]);
    assert_eq!(
        exclusions,
        [
            "session file app.json: uid 0 listens on port 5000, and the session's file belongs to \
             \"ubuntu\": stop that listener, or give the file to who runs it",
            "session file theft.json: user \"ubuntu\" listens on port 8000, and the session's file \
             belongs to uid 1001: stop that listener, or give the file to who runs it",
        ]
    );
}

#[test]
fn only_root_may_say_whose_the_listeners_are() {
    let text = r#"{"vscode_port":8000,"toolkit":{"schema":1,"user":"ubuntu"}}"#;
    let with = |owner: u32, listener: u32| {
        told(&Inputs {
            sessions: vec![owned(owner, session("a.json", 1, text))],
            listening: listening(&[(8000, listener)]),
            accounts: Accounts::of([("ubuntu".into(), 1000)]),
            ..Inputs::default()
        })
    };
    assert_eq!(with(0, 1000).0.len(), 1);
    assert_eq!(with(0, 0).0.len(), 1);
    assert_eq!(with(0, 1001).0.len(), 0);
    assert_eq!(with(1000, 1000).0.len(), 1);
    assert_eq!(
        with(1001, 1000).1,
        ["session file a.json: `toolkit.user` counts in files of root only, and this one \
          belongs to uid 1001"]
    );
}

#[test]
fn what_nobody_can_tell_is_said_and_routed() {
    let inputs = Inputs {
        sessions: vec![session("a.json", 1, r#"{"vscode_port":8000}"#)],
        listening: Listening::Unknown("no netlink".into()),
        ..Inputs::default()
    };
    let routes = agree(&inputs, &policy());
    assert_eq!((routes.editors.len(), routes.exclusions.len()), (1, 0));
    assert_eq!(routes.listening_unknown.as_deref(), Some("no netlink"));
    assert_eq!(routes.announced[0].life, Life::Unknown);
}

#[test]
fn an_editor_is_the_newest_files_of_its_user() {
    let file = |name: &str, age: i128, owner: u32| {
        owned(owner, session(name, age, r#"{"vscode_port":8000}"#))
    };
    let inputs = Inputs {
        sessions: vec![
            file("old.json", 1, 1000),
            file("new.json", 2, 1000),
            file("other.json", 3, 1001),
            owned(1000, session("gone.json", 1, r#"{"vscode_port":8001}"#)),
        ],
        listening: listening(&[(8000, 1000)]),
        ..Inputs::default()
    };
    let routes = agree(&inputs, &policy());
    let lives: Vec<(&str, Life)> =
        routes.announced.iter().map(|one| (one.name.as_str(), one.life)).collect();
    assert_eq!(
        lives,
        [
            ("other.json", Life::Gone),
            ("new.json", Life::There),
            ("gone.json", Life::Gone),
            ("old.json", Life::Gone),
        ]
    );
}

#[test]
fn what_the_rules_refuse_is_not_claimable_and_what_others_took_is() {
    let inputs = Inputs {
        sessions: vec![
            session("new.json", 2, r#"{"vscode_port":8000}"#),
            session("old.json", 1, r#"{"vscode_port":8000}"#),
            session("outside.json", 3, r#"{"vscode_port":9000}"#),
        ],
        ..Inputs::default()
    };
    let routes = agree(&inputs, &policy());
    let claimable: Vec<(&str, bool)> =
        routes.announced.iter().map(|one| (one.name.as_str(), one.claimable)).collect();
    assert_eq!(claimable, [("outside.json", false), ("new.json", true), ("old.json", true)]);
}
