use oh_host::settings::{self, Wish};

use super::*;

const SERVER: Part = Part::AgentServer { port: None };

fn pid(number: u32) -> Pid {
    Pid::new(number).unwrap()
}

/// A piece with this number and parent.
fn piece(number: u32, parent: Option<u32>, part: Part) -> Piece {
    let own = ProcessDir::open(Pid::own()).unwrap();
    let stat = ProcessStat { pid: pid(number), parent: parent.map(pid), ..own.stat().unwrap() };
    Piece {
        stat,
        identity: own.identity().unwrap(),
        part,
        uid: Some(1000),
        proofs: BTreeSet::new(),
        other_folder: None,
        is_marked: false,
        sockets: None,
        elsewhere: None,
        service: None,
    }
}

/// What stands above the last of some pieces, and which of them is the highest.
fn above(pieces: &[Piece], apps: &[u32]) -> (u32, Above) {
    let dir = tempfile::tempdir().unwrap();
    let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
    let host = settings::find(&wish).unwrap().into_host();
    let look = Look::begin(&host).unwrap();
    let here: BTreeMap<Pid, &Piece> = pieces.iter().map(|one| (one.stat.pid, one)).collect();
    let apps = apps.iter().copied().map(pid).collect();
    let climb = Climb { look: &look, pieces: &here, apps: &apps, reapers: &BTreeMap::new() };
    let (top, above) = climb.of(pieces.last().unwrap());
    (top.stat.pid.get(), above)
}

#[test]
fn a_child_of_the_first_process_is_an_orphan_unless_that_is_of_openhands() {
    let child = || piece(70, Some(1), SERVER);
    assert_eq!(above(&[child()], &[]), (70, Above::Nobody));
    assert_eq!(above(&[piece(1, None, Part::Shell), child()], &[]), (70, Above::Nobody));
    assert_eq!(above(&[child()], &[1]), (70, Above::App(Pid::INIT)));
    // A server that is the first process of its container has no parent, which is no sign of its end.
    assert_eq!(above(&[piece(1, None, SERVER), child()], &[]), (1, Above::Outside));
    let others = Piece { uid: Some(0), ..piece(1, None, SERVER) };
    assert_eq!(above(&[others, child()], &[]), (70, Above::Another(Pid::INIT)));
}

#[test]
fn what_was_started_from_another_namespace_is_no_orphan() {
    assert_eq!(above(&[piece(70, None, SERVER)], &[]), (70, Above::Outside));
    let shell = piece(70, None, Part::Starter);
    assert_eq!(above(&[shell, piece(71, Some(70), SERVER)], &[]), (70, Above::Outside));
}
