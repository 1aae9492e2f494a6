use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    root: Root,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let root = Root::below(dir.path()).unwrap();
        Self { dir, root }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn folder(&self) -> RealPath {
        RealPath::parse(self.at("tmp").to_str().unwrap()).unwrap()
    }

    fn look(&self, name: &[u8]) -> Thing {
        look(&self.folder(), &Name::new(name).unwrap()).unwrap().unwrap()
    }

    fn place(&self, thing: &Thing, number: usize) -> Place {
        let run = RunId::parse("20261120T030211Z").unwrap();
        Quarantine::new(&self.root, run).place(thing, number).unwrap()
    }

    fn taken(&self, name: &[u8], number: usize) -> (Thing, Place) {
        let thing = self.look(name);
        let place = self.place(&thing, number);
        assert_eq!(taking(&thing, &place), Taken::Moved);
        (thing, place)
    }
}

fn wanted<'w>(thing: &'w Thing, place: &'w Place) -> Wanted<'w> {
    Wanted { thing, place, may_change: false }
}

fn taking(thing: &Thing, place: &Place) -> Taken {
    take(wanted(thing, place)).unwrap()
}

/// Everything of a tree that a rename must not change.
fn told(path: &Path) -> Vec<String> {
    let meta = fs::symlink_metadata(path).unwrap();
    let what = if meta.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else if meta.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let times = (meta.mtime(), meta.mtime_nsec(), meta.atime(), meta.atime_nsec());
    let own =
        format!("{path:?} {:o} {} {} {times:?} {what:?}", meta.mode(), meta.uid(), meta.ino());
    let mut all = vec![own];
    if meta.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        below.sort();
        all.extend(below.iter().flat_map(|path| told(path)));
    }
    all
}

#[test]
fn what_was_taken_comes_back_as_it_was() {
    let lab = Lab::new();
    let name = b"code\nserver\t\xff".as_slice();
    let path = lab.at("tmp").join(OsStr::from_bytes(name));
    fs::create_dir_all(path.join("User/deep")).unwrap();
    fs::write(path.join("User/settings.json"), "{}").unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    fs::set_permissions(path.join("User"), fs::Permissions::from_mode(0o2711)).unwrap();
    // The first look may set the time of access, and the second does not any more (relatime).
    told(&path);
    let before = told(&path);
    let (thing, place) = lab.taken(name, 7);
    assert!(!path.exists());
    assert!(lab.at("var/lib/openhands-toolkit/quarantine/20261120T030211Z/7/User").exists());
    let meta = fs::metadata(place.folder.as_str()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o700);
    assert_eq!(taking(&thing, &place), Taken::Already);
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Moved);
    assert_eq!(told(&path), before);
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Already);
    // As it is written down and read again.
    let text = serde_json::to_string(&thing).unwrap();
    assert_eq!(serde_json::from_str::<Thing>(&text).unwrap(), thing);
}

#[test]
fn what_is_something_else_by_now_stays() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "one").unwrap();
    let thing = lab.look(b"a");
    let place = lab.place(&thing, 1);
    fs::rename(lab.at("tmp/a"), lab.at("tmp/b")).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Gone);
    fs::write(lab.at("tmp/a"), "two").unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Another));
    assert_eq!(fs::read(lab.at("tmp/a")).unwrap(), b"two");
    fs::remove_file(lab.at("tmp/a")).unwrap();
    symlink("b", lab.at("tmp/a")).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Another));
    assert_eq!(fs::read(lab.at("tmp/b")).unwrap(), b"one");
}

#[test]
fn a_link_is_taken_and_not_what_it_leads_to() {
    let lab = Lab::new();
    fs::create_dir(lab.at("precious")).unwrap();
    symlink(lab.at("precious"), lab.at("tmp/a")).unwrap();
    let (thing, place) = lab.taken(b"a", 1);
    assert_eq!(thing.kind, FileKind::Link);
    let removed =
        purge(&thing, &place, Rules { owners: None, progress: None, interrupts: None }).unwrap();
    assert_eq!((removed.files, removed.folders, removed.left_count), (1, 0, 0));
    assert!(lab.at("precious").exists());
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Missing);
}

#[test]
fn nothing_comes_back_over_something_new_or_into_another_folder() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "old").unwrap();
    let (thing, place) = lab.taken(b"a", 1);
    fs::write(lab.at("tmp/a"), "new").unwrap();
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Occupied);
    assert_eq!(fs::read(lab.at("tmp/a")).unwrap(), b"new");
    fs::rename(lab.at("tmp"), lab.at("before")).unwrap();
    assert_eq!(put_back(&thing, &place).unwrap(), Back::AnotherFolder);
    fs::create_dir(lab.at("tmp")).unwrap();
    assert_eq!(put_back(&thing, &place).unwrap(), Back::AnotherFolder);
    fs::remove_dir(lab.at("tmp")).unwrap();
    symlink("before", lab.at("tmp")).unwrap();
    fs::remove_file(lab.at("before/a")).unwrap();
    // The link is ours here; whose it may be is what `Way` is tested for.
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Moved);
    assert_eq!(fs::read(lab.at("before/a")).unwrap(), b"old");
}

#[test]
fn a_quarantine_that_others_may_enter_is_not_used() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "").unwrap();
    let thing = lab.look(b"a");
    let place = lab.place(&thing, 1);
    fs::set_permissions(place.folder.as_str(), fs::Permissions::from_mode(0o755)).unwrap();
    let fault = take(wanted(&thing, &place)).unwrap_err();
    assert!(matches!(fault, QuarantineFault::Folder(FileFault::FolderWritable { .. })), "{fault}");
    assert!(lab.at("tmp/a").exists());
}

#[test]
fn a_run_leaves_no_empty_folder() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "").unwrap();
    let (thing, place) = lab.taken(b"a", 1);
    close(&place.folder);
    assert!(Path::new(place.folder.as_str()).exists());
    put_back(&thing, &place).unwrap();
    close(&place.folder);
    assert!(!Path::new(place.folder.as_str()).exists());
}

#[test]
fn what_is_not_what_was_moved_is_neither_put_back_nor_purged() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "ours").unwrap();
    let (thing, place) = lab.taken(b"a", 1);
    let held = Path::new(place.folder.as_str()).join("1");
    fs::rename(&held, held.with_extension("kept")).unwrap();
    fs::write(&held, "another").unwrap();
    assert_eq!(put_back(&thing, &place).unwrap(), Back::Unrecognised);
    let fault = purge(&thing, &place, Rules { owners: None, progress: None, interrupts: None })
        .unwrap_err();
    assert!(fault.to_string().ends_with("/1 is not what was moved there"), "{fault}");
    assert_eq!(fs::read(&held).unwrap(), b"another");
}

#[test]
fn an_inode_that_is_given_anew_is_another_thing() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "one").unwrap();
    let thing = lab.look(b"a");
    let Some(born_ns) = thing.number.born_ns else { return };
    // The file system may or may not give the number anew; the birth is never the same.
    let reborn = Number { born_ns: Some(born_ns - 1), ..thing.number };
    let place = lab.place(&thing, 1);
    assert_eq!(
        taking(&Thing { number: reborn, ..thing.clone() }, &place),
        Taken::Kept(Keeps::Another)
    );
    assert_eq!(taking(&Thing { uid: thing.uid + 1, ..thing }, &place), Taken::Kept(Keeps::Another));
    assert!(lab.at("tmp/a").exists());
}

#[test]
fn what_was_changed_since_it_was_looked_at_stays() {
    let lab = Lab::new();
    let path = lab.at("tmp/a");
    fs::write(&path, "one").unwrap();
    let thing = lab.look(b"a");
    let place = lab.place(&thing, 1);
    let then = fs::metadata(&path).unwrap().modified().unwrap();
    let set = |time| fs::File::options().write(true).open(&path).unwrap().set_modified(time);
    set(then + std::time::Duration::from_nanos(1)).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Changed));
    // Written, and made as old as it was.
    fs::write(&path, "longer").unwrap();
    set(then).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Changed));
    fs::write(&path, "two").unwrap();
    set(then).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Moved);

    fs::create_dir(lab.at("tmp/folder")).unwrap();
    let thing = lab.look(b"folder");
    let place = lab.place(&thing, 2);
    let then = fs::metadata(lab.at("tmp/folder")).unwrap().modified().unwrap();
    fs::write(lab.at("tmp/folder/new"), "").unwrap();
    // A clock may be too coarse to tell.
    fs::File::open(lab.at("tmp/folder")).unwrap().set_modified(then + LATER).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Changed));
    let may_change = Wanted { may_change: true, ..wanted(&thing, &place) };
    assert_eq!(take(may_change).unwrap(), Taken::Moved);
}

const LATER: std::time::Duration = std::time::Duration::from_secs(1);

#[test]
fn what_somebody_locks_meanwhile_stays() {
    use rustix::fs::{FlockOperation, flock};
    let lab = Lab::new();
    fs::write(lab.at("tmp/file"), "").unwrap();
    fs::create_dir(lab.at("tmp/folder")).unwrap();
    for (number, name) in ["file", "folder"].into_iter().enumerate() {
        let thing = lab.look(name.as_bytes());
        let place = lab.place(&thing, number);
        let theirs = fs::File::open(lab.at("tmp").join(name)).unwrap();
        for how in [FlockOperation::LockShared, FlockOperation::LockExclusive] {
            flock(&theirs, how).unwrap();
            assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::Locked), "{name}");
        }
        drop(theirs);
        assert_eq!(taking(&thing, &place), Taken::Moved, "{name}");
    }
}

#[test]
fn what_is_in_another_folder_by_now_stays() {
    let lab = Lab::new();
    fs::write(lab.at("tmp/a"), "").unwrap();
    let thing = lab.look(b"a");
    let place = lab.place(&thing, 1);
    fs::rename(lab.at("tmp"), lab.at("before")).unwrap();
    fs::create_dir(lab.at("tmp")).unwrap();
    fs::rename(lab.at("before/a"), lab.at("tmp/a")).unwrap();
    assert_eq!(taking(&thing, &place), Taken::Kept(Keeps::AnotherFolder));
    assert!(lab.at("tmp/a").exists());
}

#[test]
fn of_many_each_has_its_own_answer_and_one_keeps_no_other() {
    let lab = Lab::new();
    for name in ["moved", "gone", "changed", "last"] {
        fs::write(lab.at("tmp").join(name), name).unwrap();
    }
    fs::create_dir(lab.at("other")).unwrap();
    fs::write(lab.at("other/far"), "far").unwrap();
    let other = RealPath::parse(lab.at("other").to_str().unwrap()).unwrap();
    let far = look(&other, &Name::new("far").unwrap()).unwrap().unwrap();
    let things =
        [lab.look(b"moved"), lab.look(b"gone"), far, lab.look(b"changed"), lab.look(b"last")];
    let run = RunId::parse("20261120T030211Z").unwrap();
    let mut quarantine = Quarantine::new(&lab.root, run);
    let places: Vec<Place> = things
        .iter()
        .enumerate()
        .map(|(number, thing)| quarantine.place(thing, number).unwrap())
        .collect();
    fs::remove_file(lab.at("tmp/gone")).unwrap();
    fs::write(lab.at("tmp/changed"), "by somebody").unwrap();
    let all: Vec<_> =
        things.iter().zip(&places).map(|(thing, place)| wanted(thing, place)).collect();
    let taken: Vec<Taken> = take_all(&all).into_iter().map(Result::unwrap).collect();
    let changed = Taken::Kept(Keeps::Changed);
    assert_eq!(taken, [Taken::Moved, Taken::Gone, Taken::Moved, changed, Taken::Moved]);
    assert_eq!(fs::read(Path::new(places[2].folder.as_str()).join("2")).unwrap(), b"far");
    // A folder that cannot be used is the fault of each.
    fs::set_permissions(places[0].folder.as_str(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(take_all(&all).iter().all(Result::is_err));
}
