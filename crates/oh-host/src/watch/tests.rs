use std::fs;
use std::path::Path;

use super::*;

fn real(path: &Path) -> RealPath {
    RealPath::parse(path.to_str().unwrap()).unwrap()
}

fn watching(path: &Path, names: Names) -> Watches {
    let mut watches = Watches::new().unwrap();
    watches.add(real(path), names, false);
    assert!(watches.refresh().is_empty());
    watches
}

/// Inotify events are there when the call that makes them returns.
fn heard(watches: &mut Watches, change: impl FnOnce()) -> Option<Haste> {
    change();
    let haste = watches.take();
    watches.refresh();
    haste
}

#[test]
fn whole_session_files_are_heard_at_once_and_drafts_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut watches = watching(folder.path(), Names::Sessions);
    assert_eq!(heard(&mut watches, || fs::write(at(".a.tmp"), "x").unwrap()), None);
    assert_eq!(heard(&mut watches, || fs::write(at(".a.json"), "x").unwrap()), None);
    assert_eq!(heard(&mut watches, || fs::write(at("notes.txt"), "x").unwrap()), None);
    assert_eq!(
        heard(&mut watches, || fs::rename(at(".a.tmp"), at("a.json")).unwrap()),
        Some(Haste::Now)
    );
    assert_eq!(heard(&mut watches, || fs::write(at("b.json"), "x").unwrap()), Some(Haste::Now));
    assert_eq!(
        heard(&mut watches, || std::os::unix::fs::symlink("/", at("l.json")).unwrap()),
        Some(Haste::Soon)
    );
    assert_eq!(heard(&mut watches, || fs::remove_file(at("b.json")).unwrap()), Some(Haste::Now));
    assert_eq!(heard(&mut watches, || ()), None);
}

#[test]
fn of_databases_only_their_names_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let mut watches = watching(folder.path(), Names::These(vec!["db.json".into()]));
    let write = |name: &str| fs::write(folder.path().join(name), "x").unwrap();
    assert_eq!(heard(&mut watches, || write("other.json")), None);
    assert_eq!(heard(&mut watches, || write("db.json")), Some(Haste::Now));
}

#[test]
fn a_folder_that_is_missing_is_heard_to_come_from_any_depth() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("a/b/sessions");
    let mut watches = watching(&folder, Names::Sessions);
    let make = |below: &str| fs::create_dir(base.path().join(below)).unwrap();
    assert_eq!(heard(&mut watches, || make("other")), None);
    assert_eq!(heard(&mut watches, || make("a")), Some(Haste::Now));
    assert_eq!(heard(&mut watches, || make("a/b")), Some(Haste::Now));
    assert_eq!(heard(&mut watches, || make("a/b/sessions")), Some(Haste::Now));
    let file = folder.join("a.json");
    assert_eq!(heard(&mut watches, || fs::write(&file, "x").unwrap()), Some(Haste::Now));
    // What happens above does not matter any more.
    assert_eq!(heard(&mut watches, || make("a/b/other")), None);
}

#[test]
fn a_folder_that_is_exchanged_is_watched_anew() {
    let base = tempfile::tempdir().unwrap();
    let (folder, old) = (base.path().join("sessions"), base.path().join("old"));
    fs::create_dir(&folder).unwrap();
    let mut watches = watching(&folder, Names::Sessions);
    assert_eq!(heard(&mut watches, || fs::rename(&folder, &old).unwrap()), Some(Haste::Now));
    assert_eq!(heard(&mut watches, || fs::write(old.join("a.json"), "x").unwrap()), None);
    assert_eq!(heard(&mut watches, || fs::create_dir(&folder).unwrap()), Some(Haste::Now));
    assert_eq!(
        heard(&mut watches, || fs::write(folder.join("a.json"), "x").unwrap()),
        Some(Haste::Now)
    );
    fs::remove_file(folder.join("a.json")).unwrap();
    assert_eq!(heard(&mut watches, || fs::remove_dir(&folder).unwrap()), Some(Haste::Now));
    // A link in its place is not what the reader would follow, so it is not followed here.
    let linked = heard(&mut watches, || std::os::unix::fs::symlink(&old, &folder).unwrap());
    assert_eq!(linked, Some(Haste::Now));
    assert_eq!(heard(&mut watches, || fs::write(old.join("b.json"), "x").unwrap()), None);
}

#[test]
fn a_folder_above_that_is_exchanged_is_found_by_the_next_look() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("a/sessions");
    fs::create_dir_all(&folder).unwrap();
    let mut watches = watching(&folder, Names::Sessions);
    fs::rename(base.path().join("a"), base.path().join("b")).unwrap();
    fs::create_dir_all(&folder).unwrap();
    assert!(watches.refresh().is_empty());
    assert_eq!(
        heard(&mut watches, || fs::write(folder.join("a.json"), "x").unwrap()),
        Some(Haste::Now)
    );
}

#[test]
fn two_places_of_one_folder_are_both_heard() {
    let folder = tempfile::tempdir().unwrap();
    let mut watches = watching(folder.path(), Names::These(vec!["a".into()]));
    watches.add(real(folder.path()), Names::These(vec!["b".into()]), true);
    assert!(watches.refresh().is_empty());
    for name in ["a", "b"] {
        let write = || fs::write(folder.path().join(name), "x").unwrap();
        assert_eq!(heard(&mut watches, write), Some(Haste::Now), "{name}");
    }
    assert_eq!(heard(&mut watches, || fs::write(folder.path().join("c"), "x").unwrap()), None);
}

#[test]
fn an_overflow_says_look() {
    assert_eq!(meaning(&[], -1, ReadFlags::QUEUE_OVERFLOW, None), Some(Haste::Now));
    assert_eq!(meaning(&[], 7, ReadFlags::CLOSE_WRITE, Some(b"a.json")), None);
}
