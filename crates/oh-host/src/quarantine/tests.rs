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
        assert_eq!(take(&thing, &place).unwrap(), Taken::Moved);
        (thing, place)
    }
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
    assert_eq!(take(&thing, &place).unwrap(), Taken::Already);
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
    assert_eq!(take(&thing, &place).unwrap(), Taken::Gone);
    fs::write(lab.at("tmp/a"), "two").unwrap();
    assert_eq!(take(&thing, &place).unwrap(), Taken::Another);
    assert_eq!(fs::read(lab.at("tmp/a")).unwrap(), b"two");
    fs::remove_file(lab.at("tmp/a")).unwrap();
    symlink("b", lab.at("tmp/a")).unwrap();
    assert_eq!(take(&thing, &place).unwrap(), Taken::Another);
    assert_eq!(fs::read(lab.at("tmp/b")).unwrap(), b"one");
}

#[test]
fn a_link_is_taken_and_not_what_it_leads_to() {
    let lab = Lab::new();
    fs::create_dir(lab.at("precious")).unwrap();
    symlink(lab.at("precious"), lab.at("tmp/a")).unwrap();
    let (thing, place) = lab.taken(b"a", 1);
    assert_eq!(thing.kind, FileKind::Link);
    let removed = purge(&thing, &place, Rules { owners: None, progress: None }).unwrap();
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
    let fault = take(&thing, &place).unwrap_err();
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
    let fault = purge(&thing, &place, Rules { owners: None, progress: None }).unwrap_err();
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
    assert_eq!(take(&Thing { number: reborn, ..thing.clone() }, &place).unwrap(), Taken::Another);
    assert_eq!(take(&Thing { uid: thing.uid + 1, ..thing }, &place).unwrap(), Taken::Another);
    assert!(lab.at("tmp/a").exists());
}

#[test]
fn a_path_of_mountinfo_is_read() {
    assert_eq!(octal("/mnt/a\\040b\\134c"), "/mnt/a b\\c");
    assert_eq!(octal("/plain"), "/plain");
}
