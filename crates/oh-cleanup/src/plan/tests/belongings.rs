//! What belongs to an editor by a port or a name.

use super::*;
use crate::facts::Listening;

fn session(id: &str, on: u64, holder: Option<u32>) -> Session {
    let shown = |number| format!("pid {number} (node, user ubuntu)");
    Session {
        id: id.into(),
        thing: thing(&format!("/tmp/openhands-sessions/{id}.json"), FileKind::Regular),
        room_bytes: 4096,
        port: Some(port(on)),
        listening: holder
            .map(|number| Listening { pid: Some(pid(number)), shown: shown(number) })
            .into_iter()
            .collect(),
        life: Ok(Life::Listens),
    }
}

fn young(path: &str) -> Leftover {
    let mut one = leftover(path);
    (one.thing.kind, one.survey.newest_ns) = (FileKind::Regular, NOW_NS);
    one
}

#[test]
fn a_session_that_announces_the_port_of_an_editor_that_is_stopped_goes_with_it() {
    let mut facts = Facts { leftovers: Vec::new(), entries: Vec::new(), ..facts() };
    facts.editors.truncate(2);
    let mut unknown = session("unknown", 8889, None);
    unknown.life = Err("nobody can tell".into());
    facts.sessions = vec![
        session("one", 8889, Some(201)),
        // Whom the port has too is not stopped.
        session("two", 8889, Some(7)),
        session("other", 8890, Some(8)),
        unknown,
    ];
    assert_snapshot!(said(&facts, &all()), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    stop    an editor on port 8889: 3 processes (pid 200); it is ours
    move    /tmp/openhands-sessions/one.json (4.0K): it announces an editor that is stopped
    move    the record of hello
    publish the routes that are left
    kept /tmp/openhands-sessions/other.json: its editor listens
    kept /tmp/openhands-sessions/two.json: pid 7 (node, user ubuntu) listens on its port
    kept /tmp/openhands-sessions/unknown.json: nobody can tell
    ");
    // Another editor has the port and stays.
    facts.editors[0].ports = [port(8889)].into();
    facts.editors[0].connections = Some(1);
    let told = said(&facts, &all());
    assert!(told.contains("one.json: its editor listens"), "{told}");
    // Of another user's it is not asked for.
    let of_user = Request { uids: [1000].into(), ..all() };
    facts.editors[0].ports.clear();
    facts.sessions.truncate(1);
    assert!(said(&facts, &of_user).contains("move    /tmp/openhands-sessions/one.json"));
    facts.sessions[0].thing.uid = 0;
    assert!(!said(&facts, &of_user).contains("one.json"));
}

#[test]
fn what_is_named_after_an_editor_that_is_stopped_is_never_too_new() {
    let mut facts = facts();
    facts.sessions.clear();
    facts.editors.truncate(2);
    facts.leftovers = [
        "code-server-hello.log",
        "code-server-old-8889.log",
        "code-server-8889.log",
        "vscode-agent-Hello-7777",
        "code-server-dead.log",
        "code-server-dead-8891.log",
        "3f2c-8889",
    ]
    .map(|name| young(&format!("/tmp/{name}")))
    .into();
    let mut used = young("/tmp/code-server-hello-8888.log");
    used.users = vec![(pid(7), "pid 7 (tail, user ci)".into())];
    facts.leftovers.push(used);
    let temporary = || Kinds { processes: true, temporary: true, ..Kinds::default() };
    let request = Request { kinds: temporary(), ..all() };
    let moves = |told: &str| -> Vec<String> {
        let lines = told.lines().filter(|line| line.contains("/tmp/"));
        lines.map(str::to_owned).collect()
    };
    assert_snapshot!(moves(&said(&facts, &request)).join("\n"), @"
    move    /tmp/code-server-hello.log (4.0K): of the repository hello
    move    /tmp/code-server-old-8889.log (4.0K): of an editor on port 8889
    move    /tmp/code-server-8889.log (4.0K): of an editor on port 8889
    move    /tmp/vscode-agent-Hello-7777 (4.0K): of the repository hello
    kept /tmp/3f2c-8889: it was changed less than 10m ago (--older-than)
    kept /tmp/code-server-dead-8891.log: it was changed less than 10m ago (--older-than)
    kept /tmp/code-server-dead.log: it was changed less than 10m ago (--older-than)
    kept /tmp/code-server-hello-8888.log: pid 7 (tail, user ci) uses it
    ");
    // With the one that is named goes what has but its port in its name, and nothing of others.
    let named = Request { ids: ["old".to_owned()].into(), ..request.clone() };
    assert_snapshot!(moves(&said(&facts, &named)).join("\n"), @"
    move    /tmp/code-server-old-8889.log (4.0K): of an editor on port 8889
    move    /tmp/code-server-8889.log (4.0K): of an editor on port 8889
    ");
    // What may be another's too, which stays, is as any other.
    facts.editors[0].connections = Some(1);
    facts.leftovers = vec![young("/tmp/code-server-hello-8889.log")];
    let told = said(&facts, &request);
    assert!(told.contains("code-server-hello-8889.log: it was changed less than"), "{told}");
}
