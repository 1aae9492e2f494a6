use oh_host::boot::BootId;
use oh_host::folder::FileKind;
use oh_host::process::{Identity, Pid};
use oh_host::quarantine::{Number, Thing};
use oh_host::survey::Survey;
use oh_model::escaped::Name;
use oh_model::path::{InRoot, RealPath};

use oh_model::container::{ContainerId, ContainerName, Engine};

use super::*;
use crate::apply::NotDone;
use crate::facts::{Entry, Leftover};
use crate::step::{Database, Kind, Move, Release, Stop};

fn port(number: u64) -> Port {
    Port::new(number).unwrap()
}

fn identity(number: u32) -> Identity {
    Identity {
        boot_id: BootId::parse("123e4567-e89b-12d3-a456-426614174000").unwrap(),
        pid: Pid::new(number).unwrap(),
        start_time_ticks: 1,
        argv_sha256: String::new(),
        pidfd_inode: None,
    }
}

fn editor(leader: u32, on: u64, folder: &str) -> Editor {
    Editor {
        what: format!("an editor on port {on}"),
        id: None,
        uid: Some(1000),
        is_owned: true,
        leaders: vec![identity(leader)],
        pids: [Pid::new(leader).unwrap()].into(),
        connections: Some(0),
        clients: Vec::new(),
        ports: [port(on)].into(),
        is_elsewhere: false,
        container: None,
        folders: [RealPath::parse(folder).unwrap()].into(),
        kind: Kind::Editor,
        kept: None,
        is_around_us: false,
        starters: BTreeSet::new(),
        why: "it is ours".into(),
    }
}

fn thing(name: &str, inode: u64) -> Thing {
    let number = |inode| Number { device: (8, 1), inode, born_ns: None };
    Thing {
        folder: RealPath::parse("/tmp").unwrap(),
        folder_number: number(2),
        name: Name::new(name).unwrap(),
        number: number(inode),
        kind: FileKind::Folder,
        uid: 1000,
        modified_ns: 0,
        size_bytes: 20,
        is_mount: false,
    }
}

fn leftover(thing: Thing) -> Leftover {
    Leftover {
        thing,
        owner: "ubuntu".into(),
        is_owned: true,
        survey: Survey::default(),
        users: Vec::new(),
        is_locked: false,
        held: None,
        unsaved: None,
    }
}

fn deed(step: Step, outcome: Result<Outcome, NotDone>) -> Deed {
    Deed { step, outcome, told: None }
}

fn stop(leader: u32) -> Step {
    Step::Stop(Stop {
        what: String::new(),
        kind: Kind::Editor,
        id: None,
        leaders: vec![identity(leader)],
        processes: 1,
        why: String::new(),
    })
}

fn moved(name: &str) -> Step {
    let thing = thing(name, 7);
    Step::Move(Move {
        thing,
        what: String::new(),
        bytes: 0,
        is_session: false,
        is_of_nginx: false,
        is_more: false,
        may_change: false,
    })
}

fn release(ids: &[&str]) -> Step {
    Step::Release(Release {
        database: Database::Ports,
        path: InRoot::parse("/data/vscode-ports.json").unwrap(),
        ids: ids.iter().map(ToString::to_string).collect(),
        is_torn: false,
    })
}

fn entry(id: &str, on: u64) -> Entry {
    Entry {
        database: Database::Ports,
        path: InRoot::parse("/data/vscode-ports.json").unwrap(),
        id: id.into(),
        port: Some(port(on)),
        holder: Ok(None),
        is_coming: false,
    }
}

fn shown(before: &Facts, deeds: &[Deed], now: &Facts, held: &[(u64, &str)]) -> Vec<String> {
    let held = held.iter().map(|(on, who)| (port(*on), (*who).to_owned())).collect();
    came_back(before, deeds, now, &held).iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_started_or_made_again_is_named() {
    let before = Facts {
        editors: vec![editor(100, 8888, "/tmp/code-server-a"), editor(200, 8889, "/tmp/b")],
        ..Facts::default()
    };
    let deeds = [
        deed(stop(100), Ok(Outcome::Done)),
        deed(stop(200), Ok(Outcome::AlreadyDone)),
        deed(moved("code-server-a"), Ok(Outcome::Done)),
        deed(moved("vscode-agent-x"), Ok(Outcome::Done)),
    ];
    assert!(shown(&before, &deeds, &Facts::default(), &[]).is_empty());
    // On another port, in the same folder.
    let now = Facts {
        editors: vec![editor(300, 8890, "/tmp/code-server-a")],
        leftovers: vec![leftover(thing("code-server-a", 8))],
        ..Facts::default()
    };
    let holder = (8889, "pid 400 (node, user ubuntu)");
    assert_eq!(
        shown(&before, &deeds, &now, &[holder]),
        [
            "/tmp/code-server-a: it was made again",
            "an editor on port 8888: it runs again (pid 300)",
            "port 8889: pid 400 (node, user ubuntu) listens on it",
        ]
    );
}

#[test]
fn what_somebody_starts_again_under_drawn_names_is_named() {
    let started_by = |by: u32, editor: Editor| {
        let starters = [(Pid::new(by).unwrap(), 1)].into();
        Editor { starters, ..editor }
    };
    let before = Facts {
        editors: vec![started_by(50, editor(100, 8888, "/tmp/code-server-a"))],
        ..Facts::default()
    };
    let stopped = [deed(stop(100), Ok(Outcome::Done))];
    let now = |by, change: fn(&mut Editor)| {
        let mut again = started_by(by, editor(300, 9999, "/tmp/code-server-drawn"));
        change(&mut again);
        shown(&before, &stopped, &Facts { editors: vec![again], ..Facts::default() }, &[])
    };
    assert_eq!(
        now(50, |_| {}),
        [
            "an editor on port 8888: pid 50, which had started it, has started an editor on port 9999 \
             since (pid 300)"
        ]
    );
    assert!(now(51, |_| {}).is_empty());
    assert!(now(50, |it| it.uid = Some(4242)).is_empty());
    assert!(now(50, |it| it.is_owned = false).is_empty());
}

#[test]
fn what_was_left_alone_or_is_a_strangers_did_not_come_back() {
    let before =
        Facts { editors: vec![editor(100, 8888, "/tmp/code-server-a")], ..Facts::default() };
    let not_done = || Err(NotDone::kept("somebody works in it"));
    let left = [deed(stop(100), not_done()), deed(moved("code-server-a"), not_done())];
    let now = Facts { leftovers: vec![leftover(thing("code-server-a", 7))], ..before.clone() };
    assert!(shown(&before, &left, &now, &[]).is_empty());
    assert!(ports(&before, &left).is_empty());
    let stopped = [deed(stop(100), Ok(Outcome::Done))];
    for change in [|it: &mut Editor| it.is_owned = false, |it: &mut Editor| it.is_elsewhere = true]
    {
        let mut theirs = editor(300, 8888, "/tmp/code-server-a");
        change(&mut theirs);
        let now = Facts { editors: vec![theirs], ..Facts::default() };
        assert!(shown(&before, &stopped, &now, &[]).is_empty());
    }
    // What was beside it all the time, in the same folder.
    let stays = editor(400, 8890, "/tmp/code-server-a");
    let before =
        Facts { editors: vec![before.editors[0].clone(), stays.clone()], ..Facts::default() };
    let now = Facts { editors: vec![stays], ..Facts::default() };
    assert!(shown(&before, &stopped, &now, &[]).is_empty());
}

#[test]
fn the_ports_of_what_was_stopped_and_released_are_asked() {
    let held = Entry { holder: Ok(Some("pid 9".into())), ..entry("reset", 8892) };
    let before = Facts {
        editors: vec![editor(100, 8888, "/tmp/code-server-a")],
        entries: vec![entry("a", 8890), entry("b", 8891), held],
        ..Facts::default()
    };
    let deeds =
        [deed(stop(100), Ok(Outcome::Done)), deed(release(&["a", "reset"]), Ok(Outcome::Done))];
    assert_eq!(ports(&before, &deeds), [port(8888), port(8890)].into());
}

#[test]
fn a_container_that_was_stopped_and_runs_again_is_told() {
    let listed = |digit: &str, name: &str| Listed {
        id: ContainerId::parse(&digit.repeat(64)).unwrap(),
        name: ContainerName::parse(name).unwrap(),
    };
    let stop = |container: Listed| {
        Step::StopContainer(StopContainer { engine: Engine::Docker, container })
    };
    let [again, anew, kept] = [
        listed("a", "openhands-runtime-a"),
        listed("b", "openhands-runtime-b"),
        listed("c", "openhands-runtime-c"),
    ];
    let deeds = [
        deed(stop(again.clone()), Ok(Outcome::Done)),
        deed(stop(anew), Ok(Outcome::Done)),
        deed(stop(listed("e", "openhands-runtime-e")), Ok(Outcome::Done)),
        deed(stop(kept.clone()), Err(NotDone::kept("it runs on"))),
    ];
    let running = [again, listed("d", "openhands-runtime-b"), kept];
    let containers = running.into_iter().map(|one| (Engine::Docker, one)).collect();
    let now = Facts { containers, ..Facts::default() };
    assert_eq!(
        shown(&Facts::default(), &deeds, &now, &[]),
        [
            format!(
                "the container openhands-runtime-a of docker: it runs again ({})",
                "a".repeat(64)
            ),
            format!(
                "the container openhands-runtime-b of docker: it runs again ({})",
                "d".repeat(64)
            ),
        ]
    );
}
