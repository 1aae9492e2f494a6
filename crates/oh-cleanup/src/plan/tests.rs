use insta::assert_snapshot;
use oh_host::boot::BootId;
use oh_host::process::Identity;
use oh_host::quarantine::{Number, Thing};
use oh_host::survey::Survey;
use oh_model::container::{ContainerId, ContainerName, Engine};
use oh_model::escaped::Name;
use oh_model::id::InstanceId;
use oh_model::path::InRoot;

use super::*;
use crate::request::Kinds;
use crate::step::Kind;

/// What makes something of a scene another.
type Change<T> = fn(&mut T);

const MINUTE_NS: i64 = 60_000_000_000;
const NOW_NS: i64 = 1_000_000 * MINUTE_NS;

fn pid(number: u32) -> Pid {
    Pid::new(number).unwrap()
}

fn port(number: u64) -> Port {
    Port::new(number).unwrap()
}

fn identity(number: u32) -> Identity {
    Identity {
        boot_id: BootId::parse("123e4567-e89b-12d3-a456-426614174000").unwrap(),
        pid: pid(number),
        start_time_ticks: 1,
        argv_sha256: String::new(),
        pidfd_inode: None,
    }
}

fn editor(id: Option<&str>, first: u32, on: Option<u64>, folders: &[&str]) -> Editor {
    Editor {
        what: match (id, on) {
            (Some(id), _) => format!("the repository {id}"),
            (None, Some(on)) => format!("an editor on port {on}"),
            (None, None) => "what is left of an editor".into(),
        },
        kind: Kind::Editor,
        kept: None,
        id: id.map(|id| InstanceId::parse(id).unwrap()),
        uid: Some(1000),
        is_owned: true,
        leaders: vec![identity(first)],
        pids: (first..first + 3).map(pid).collect(),
        connections: Some(0),
        clients: Vec::new(),
        ports: on.map(port).into_iter().collect(),
        is_elsewhere: false,
        container: None,
        folders: folders.iter().map(|path| RealPath::parse(path).unwrap()).collect(),
        is_around_us: false,
        starters: BTreeSet::new(),
        why: "it is ours".into(),
    }
}

fn thing(path: &str, kind: FileKind) -> Thing {
    let path = RealPath::parse(path).unwrap();
    let number = |inode| Number { device: (8, 1), inode, born_ns: None };
    Thing {
        folder: path.parent(),
        folder_number: number(2),
        name: Name::new(path.name()).unwrap(),
        number: number(u64::try_from(path.as_str().len()).unwrap()),
        kind,
        uid: 1000,
        modified_ns: 0,
        size_bytes: 20,
        is_mount: false,
    }
}

fn leftover(path: &str) -> Leftover {
    Leftover {
        thing: thing(path, FileKind::Folder),
        owner: "ubuntu".into(),
        is_owned: true,
        survey: Survey {
            bytes: 4096,
            entries: 1,
            newest_ns: NOW_NS - 30 * MINUTE_NS,
            is_whole: true,
            ..Survey::default()
        },
        users: Vec::new(),
        is_locked: false,
        held: None,
        unsaved: None,
    }
}

fn entry(database: Database, id: &str, on: u64) -> Entry {
    let path = match database {
        Database::Ports => "/data/vscode-ports.json",
        Database::Repositories => "/data/repositories.json",
    };
    Entry {
        database,
        path: InRoot::parse(path).unwrap(),
        id: id.into(),
        port: Some(port(on)),
        holder: Ok(None),
        is_coming: false,
    }
}

fn all() -> Request {
    Request { kinds: Kinds::ALL, age_min_ns: 10 * MINUTE_NS, ..Request::default() }
}

/// A machine with one of each: an instance, an editor of the original's, what is left of a third.
fn facts() -> Facts {
    Facts {
        now_ns: NOW_NS,
        editors: vec![
            editor(Some("hello"), 100, Some(8888), &[]),
            editor(None, 200, Some(8889), &["/tmp/code-server-userdata-old-8889"]),
            editor(None, 300, None, &["/tmp/code-server-userdata-gone-8890"]),
        ],
        leftovers: vec![
            leftover("/tmp/code-server-userdata-old-8889"),
            leftover("/tmp/code-server-userdata-gone-8890"),
            leftover("/tmp/vscode-agent-x-1"),
        ],
        sessions: vec![
            Session {
                id: "gone".into(),
                thing: thing("/tmp/openhands-sessions/gone.json", FileKind::Regular),
                room_bytes: 4096,
                port: None,
                listening: Vec::new(),
                life: Ok(Life::Gone),
            },
            Session {
                id: "live".into(),
                thing: thing("/tmp/openhands-sessions/live.json", FileKind::Regular),
                room_bytes: 4096,
                port: None,
                listening: Vec::new(),
                life: Ok(Life::Listens),
            },
        ],
        entries: vec![
            entry(Database::Ports, "hello", 8888),
            entry(Database::Ports, "old", 8889),
            entry(Database::Ports, "dead", 8891),
            entry(Database::Repositories, "old", 8889),
        ],
        is_published: true,
        ..Facts::default()
    }
}

fn said(facts: &Facts, request: &Request) -> String {
    let plan = plan(facts, request);
    let steps = plan.steps.iter().map(|step| format!("{step}\n"));
    let kept = plan.exclusions.iter().map(|one| format!("kept {one}\n"));
    steps.chain(kept).collect()
}

#[test]
fn everything_goes_in_one_order() {
    assert_snapshot!(said(&facts(), &all()), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    stop    an editor on port 8889: 3 processes (pid 200); it is ours
    stop    what is left of an editor: 3 processes (pid 300); it is ours
    move    /tmp/code-server-userdata-old-8889 (4.0K): of an editor on port 8889
    move    /tmp/code-server-userdata-gone-8890 (4.0K): of what is left of an editor
    move    /tmp/vscode-agent-x-1 (4.0K): nobody uses it, user ubuntu
    move    /tmp/openhands-sessions/gone.json (4.0K): it announces an editor that is gone
    release /data/vscode-ports.json: hello, old, dead
    release /data/repositories.json: old
    move    the record of hello
    publish the routes that are left
    kept /tmp/openhands-sessions/live.json: its editor listens
    ");
}

#[test]
fn what_belongs_to_an_editor_that_stays_stays_with_it() {
    let mut facts = facts();
    for editor in &mut facts.editors {
        editor.connections = Some(1);
    }
    facts.entries[0].holder = Ok(Some("pid 101 (node, user ubuntu)".into()));
    assert_snapshot!(said(&facts, &all()), @"
    move    /tmp/vscode-agent-x-1 (4.0K): nobody uses it, user ubuntu
    move    /tmp/openhands-sessions/gone.json (4.0K): it announces an editor that is gone
    release /data/vscode-ports.json: dead
    publish the routes that are left
    kept /tmp/code-server-userdata-gone-8890: what is left of an editor stays
    kept /tmp/code-server-userdata-old-8889: an editor on port 8889 stays
    kept /tmp/openhands-sessions/live.json: its editor listens
    kept an editor on port 8889: 1 connection is open: somebody works in it (--force-active)
    kept hello of /data/vscode-ports.json: the repository hello stays
    kept old of /data/repositories.json: an editor on port 8889 stays
    kept old of /data/vscode-ports.json: an editor on port 8889 stays
    kept the repository hello: 1 connection is open: somebody works in it (--force-active)
    kept what is left of an editor: 1 connection is open: somebody works in it (--force-active)
    ");
    // Unless it is said.
    let forced = Request { force_active: true, ..all() };
    let told = said(&facts, &forced);
    assert_eq!(told.matches("; ends 1 connection\n").count(), 3, "{told}");
    assert_eq!(told.replace("; ends 1 connection\n", "\n"), said(&self::facts(), &all()));
}

#[test]
fn what_is_not_ours_to_take_is_named_with_its_reason() {
    let reasons: [(&str, Change<Leftover>); 10] = [
        ("owner", |one| (one.is_owned, one.owner) = (false, "ci".into())),
        ("mount", |one| one.thing.is_mount = true),
        ("inside", |one| one.survey.mounts = vec!["a/b".into()]),
        ("held", |one| one.held = Some("somebody holds its lock".into())),
        ("used", |one| one.users = vec![(pid(7), "pid 7 (vim, user ci)".into())]),
        ("young", |one| one.survey.newest_ns = NOW_NS - MINUTE_NS),
        ("program", |one| _ = one.survey.names.insert(b"package.json".to_vec())),
        ("unsaved", |one| one.unsaved = Some("it has changes that are not committed".into())),
        ("ending", |one| one.users = vec![(pid(101), String::new())]),
        ("plain", |_| {}),
    ];
    let mut facts = facts();
    facts.leftovers = reasons
        .map(|(name, change)| {
            let mut one = leftover(&format!("/tmp/code-server-{name}"));
            change(&mut one);
            one
        })
        .into();
    facts.sessions.clear();
    facts.entries.clear();
    assert_snapshot!(said(&facts, &Request { kinds: Kinds { temporary: true, ..Kinds::default() }, ..all() }), @"
    move    /tmp/code-server-plain (4.0K): nobody uses it, user ubuntu
    kept /tmp/code-server-ending: pid 101 uses it
    kept /tmp/code-server-held: somebody holds its lock
    kept /tmp/code-server-inside: something is mounted in it: a/b
    kept /tmp/code-server-mount: something is mounted there
    kept /tmp/code-server-owner: it belongs to ci
    kept /tmp/code-server-program: it has a `package.json`, as an installed program has
    kept /tmp/code-server-unsaved: it has changes that are not committed (--force-unsaved)
    kept /tmp/code-server-used: pid 7 (vim, user ci) uses it
    kept /tmp/code-server-young: it was changed less than 10m ago (--older-than)
    ");
}

#[test]
fn what_has_only_a_port_in_its_name_is_of_the_id_that_a_database_has_with_it() {
    let mut facts = facts();
    facts.editors.clear();
    facts.leftovers = ["code-server-8888.log", "code-server-config-8888", "code-server-8889.log"]
        .map(|name| leftover(&format!("/tmp/{name}")))
        .into();
    let dead = facts.entries.first().cloned().unwrap();
    let entry = |id: &str, on| Entry { id: id.into(), port: Some(port(on)), ..dead.clone() };
    facts.entries = vec![entry("a", 8888), entry("b", 8889), entry("c", 8889)];
    let moved = |ids: &[&str]| -> Vec<String> {
        let ids = ids.iter().map(ToString::to_string).collect();
        let kinds = Kinds { temporary: true, ..Kinds::default() };
        let plan = plan(&facts, &Request { kinds, ids, ..all() });
        let moved = plan.steps.iter().filter_map(|step| match step {
            Step::Move(step) => Some(step.thing.name.to_string()),
            _ => None,
        });
        moved.collect()
    };
    assert_eq!(moved(&["a"]), ["code-server-8888.log", "code-server-config-8888"]);
    // Nobody knows whose it is.
    assert!(moved(&["b"]).is_empty());
    assert_eq!(moved(&["b", "c"]), ["code-server-8889.log"]);
}

#[test]
fn what_is_too_new_is_alike_however_new_it_is() {
    let mut facts = facts();
    let young = |number: i64| {
        let mut one = leftover(&format!("/tmp/vscode-ipc-{number}.sock"));
        one.survey.newest_ns = NOW_NS - number * MINUTE_NS / 4;
        one
    };
    facts.leftovers = (0..12).map(young).collect();
    let kinds = Kinds { temporary: true, ..Kinds::default() };
    let plan = plan(&facts, &Request { kinds, ..all() });
    assert_eq!(
        crate::lines::exclusions(&plan.exclusions),
        ["12 things /tmp/vscode-ipc-*: it was changed less than 10m ago (--older-than)"]
    );
}

#[test]
fn editors_that_are_not_ours_to_stop_are_named_with_their_reason() {
    let changes: [Change<Editor>; 6] = [
        |one| one.is_elsewhere = true,
        |one| one.uid = None,
        |one| one.is_owned = false,
        |one| one.is_around_us = true,
        |one| one.connections = Some(2),
        |one| one.connections = None,
    ];
    let editors = (0_u32..).zip(changes).map(|(at, change)| {
        let mut one = editor(None, 100 * (at + 1), Some(8888 + u64::from(at)), &[]);
        change(&mut one);
        one
    });
    let facts = Facts { editors: editors.collect(), ..Facts::default() };
    assert_snapshot!(said(&facts, &all()), @"
    kept an editor on port 8888: it is in namespaces of its own, as in a container: stop it there
    kept an editor on port 8889: it has one user's rights, and another started it
    kept an editor on port 8890: uid 1000 is none of cleanup.owners
    kept an editor on port 8891: this very command runs in it: run it elsewhere (--include-self-session)
    kept an editor on port 8892: 2 connections are open: somebody works in it (--force-active)
    kept an editor on port 8893: nobody can tell whether somebody works in it (--force-active)
    ");
}

#[test]
fn what_openhands_left_goes_with_its_folder_and_what_runs_keeps_its_own() {
    let orphan = |first, folder: &str| Editor {
        what: "an action execution server on port 30450".into(),
        kind: Kind::Orphan,
        ..editor(None, first, Some(30450), &[folder])
    };
    let (dead, alive) = ("/tmp/openhands_workspace_a", "/tmp/openhands_workspace_b");
    let mut runs = orphan(200, alive);
    runs.kept = Some("its OpenHands runs (pid 7)".into());
    let facts = Facts {
        now_ns: NOW_NS,
        editors: vec![orphan(100, dead), runs],
        leftovers: vec![leftover(dead), leftover(alive)],
        ..Facts::default()
    };
    assert_snapshot!(said(&facts, &all()), @"
    stop    an action execution server on port 30450: 3 processes (pid 100); it is ours
    move    /tmp/openhands_workspace_a (4.0K): of an action execution server on port 30450
    kept /tmp/openhands_workspace_b: an action execution server on port 30450 stays
    kept an action execution server on port 30450: its OpenHands runs (pid 7)
    ");
    // Who is connected to what runs is not what keeps it.
    let forced = Request { force_active: true, ..all() };
    assert_eq!(said(&facts, &forced), said(&facts, &all()));
}

#[test]
fn containers_stop_behind_editors_and_are_not_named_twice() {
    let id = "a".repeat(64);
    let container = Listed {
        id: ContainerId::parse(&id).unwrap(),
        name: ContainerName::parse("openhands-runtime-abc").unwrap(),
    };
    let mut inside = editor(None, 200, None, &[]);
    inside.is_elsewhere = true;
    inside.kept = Some(format!("it is in a container: docker stop {id}, or --containers"));
    inside.container = ContainerId::parse(&id);
    let unlisted = Facts {
        editors: vec![editor(Some("hello"), 100, Some(8888), &[]), inside],
        ..Facts::default()
    };
    let processes = || Request { kinds: Kinds { processes: true, ..Kinds::default() }, ..all() };
    assert_snapshot!(said(&unlisted, &processes()), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    move    the record of hello
    kept what is left of an editor: it is in a container: docker stop aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, or --containers
    ");
    let facts = Facts { containers: vec![(Engine::Docker, container)], ..unlisted };
    // Whatever text of its own another one has, it is in no container.
    let mut other = editor(None, 300, None, &[]);
    other.kept = Some(format!("its folder /srv/{id} is no left-over (cleanup.leftovers)"));
    let mut named = facts.clone();
    named.editors.push(other);
    let told = said(&named, &Request { containers: true, ..processes() });
    assert!(told.ends_with(&format!("{}\n", named.editors[2].kept.as_ref().unwrap())), "{told}");
    assert_snapshot!(said(&facts, &Request { containers: true, ..processes() }), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    stop    the container openhands-runtime-abc of docker (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)
    move    the record of hello
    ");
    // They have neither.
    let named = Request { ids: ["hello".to_owned()].into(), containers: true, ..all() };
    assert!(!said(&facts, &named).contains("container"));
    // Of a user's they are not stopped, and what is in one stays.
    let of_user = Request { uids: [1000].into(), containers: true, ..processes() };
    let told = said(&facts, &of_user);
    assert!(told.contains("it is in a container") && !told.contains("stop    the cont"), "{told}");
}

#[test]
fn only_what_is_named_goes() {
    let named = Request { ids: ["hello".to_owned()].into(), ..all() };
    assert_snapshot!(said(&facts(), &named), @"
    record that hello is to be stopped
    stop    the repository hello: 3 processes (pid 100); it is ours
    release /data/vscode-ports.json: hello
    move    the record of hello
    publish the routes that are left
    ");
    // The databases say which editor that is, and the name of a left-over which one it was of.
    let named = Request { ids: ["old".to_owned(), "x".to_owned()].into(), ..all() };
    assert_snapshot!(said(&facts(), &named), @"
    stop    an editor on port 8889: 3 processes (pid 200); it is ours
    move    /tmp/code-server-userdata-old-8889 (4.0K): of an editor on port 8889
    move    /tmp/vscode-agent-x-1 (4.0K): nobody uses it, user ubuntu
    release /data/vscode-ports.json: old
    release /data/repositories.json: old
    publish the routes that are left
    ");
    let users = Request { uids: [4242].into(), ..all() };
    assert_snapshot!(said(&facts(), &users), @"");
    // A name that is none writes nothing, whatever a database needs.
    let torn = (Database::Ports, InRoot::parse("/data/vscode-ports.json").unwrap());
    let broken = Facts { torn: vec![torn.clone()], unfit: vec![torn], ..facts() };
    let unknown = Request { ids: ["tpyo".to_owned()].into(), ..all() };
    assert_snapshot!(said(&broken, &unknown), @"");
    assert_snapshot!(said(&broken, &users), @"");
    let temporary = Request { kinds: Kinds { temporary: true, ..Kinds::default() }, ..all() };
    assert_snapshot!(said(&facts(), &temporary), @"
    move    /tmp/vscode-agent-x-1 (4.0K): nobody uses it, user ubuntu
    kept /tmp/code-server-userdata-gone-8890: what is left of an editor stays
    kept /tmp/code-server-userdata-old-8889: an editor on port 8889 stays
    ");
}

#[test]
fn all_entries_go_where_that_is_said() {
    let mut facts = facts();
    facts.editors.clear();
    facts.leftovers.clear();
    facts.sessions.clear();
    facts.entries[2].holder = Ok(Some("pid 9 (nc, user ci)".into()));
    facts.entries[1].holder = Err("it cannot be seen".into());
    facts.torn = vec![(Database::Repositories, InRoot::parse("/data/repositories.json").unwrap())];
    assert_snapshot!(said(&facts, &all()), @"
    release /data/vscode-ports.json: hello
    release /data/repositories.json: old; it is torn, and written anew of what is whole
    publish the routes that are left
    kept dead of /data/vscode-ports.json: pid 9 (nc, user ci) listens on its port
    kept old of /data/vscode-ports.json: nobody can tell who listens on its port: it cannot be seen
    ");
    assert_snapshot!(said(&facts, &Request { reset_all: true, ..all() }), @"
    release /data/vscode-ports.json: hello, old, dead
    release /data/repositories.json: old; it is torn, and written anew of what is whole
    publish the routes that are left
    ");
}

#[test]
fn a_second_plan_over_what_is_left_is_empty() {
    let facts = Facts { now_ns: NOW_NS, is_published: true, ..Facts::default() };
    assert_eq!(plan(&facts, &all()), Plan { steps: Vec::new(), exclusions: Vec::new() });
}

mod belongings;
mod nginx;

#[test]
fn what_could_not_be_looked_at_of_others_is_told_and_is_no_doubt() {
    let note = Exclusion { subject: "1 process of others".into(), reason: "odd".into() };
    let facts = Facts { notes: vec![note], ..Facts::default() };
    assert_eq!(said(&facts, &all()), "kept 1 process of others: odd\n");
}
