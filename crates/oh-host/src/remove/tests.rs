//! What goes and what stays, also where others change the tree meanwhile.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn path(path: &Path) -> RealPath {
    RealPath::parse(path.to_str().unwrap()).unwrap()
}

fn remove_own(tree: &Path) -> Removed {
    let owners = [own()];
    remove(&path(tree), Rules { owners: Some(&owners), progress: None, interrupts: None }).unwrap()
}

#[test]
fn a_tree_goes_and_is_counted_and_what_links_lead_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    fs::write(tree.join("a/b/c/file"), vec![1; 8192]).unwrap();
    fs::hard_link(outside.join("precious"), tree.join("linked")).unwrap();
    symlink(&outside, tree.join("d/link")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    let odd = OsStr::from_bytes(b"new\nline \xff\xfe\t");
    fs::write(tree.join(odd), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("fifo"), Mode::RWXU).unwrap();
    let removed = remove_own(&tree);
    assert!(removed.left.is_empty(), "{:?}", removed.left);
    assert_eq!((removed.files, removed.folders, removed.left_count), (7, 5, 0));
    // What has another name still has its room.
    let folders = 5 * 4096;
    assert!((8192..8192 * 3 + folders).contains(&removed.bytes), "{}", removed.bytes);
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "x");
    // A second time there is nothing to do.
    let again = remove_own(&tree);
    assert_eq!((again.files, again.folders, again.left_count), (0, 0, 0));
}

#[test]
fn what_is_freed_is_what_a_survey_counted() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("empty/below")).unwrap();
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/file"), vec![1; 10_000]).unwrap();
    // Both names go: the room of one.
    fs::hard_link(tree.join("a/file"), tree.join("a/b/same")).unwrap();
    let open = fs::File::open(dir.path()).unwrap();
    let seen = crate::survey::survey(open.as_fd(), b"tree").unwrap();
    assert_eq!(remove_own(&tree).bytes, seen.bytes);
}

#[test]
fn a_link_in_the_place_of_the_tree_goes_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/precious"), "x").unwrap();
    symlink("real", dir.path().join("tree")).unwrap();
    assert_eq!(remove_own(&dir.path().join("tree")).files, 1);
    assert!(dir.path().join("real/precious").exists());
    assert!(fs::symlink_metadata(dir.path().join("tree")).is_err());
}

#[test]
fn what_belongs_to_somebody_else_stays_with_the_folders_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    for folder in ["a/theirs/below", "a/ours", "b", "c"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for file in ["a/theirs/below/x", "a/ours/x", "b/theirs", "b/ours", "c/x"] {
        fs::write(tree.join(file), "x").unwrap();
    }
    if !rustix::process::geteuid().is_root() {
        // Nobody else's can be made: nothing of ours is to be removed then.
        let removed = remove(
            &path(&tree),
            Rules { owners: Some(&[own() + 1]), progress: None, interrupts: None },
        )
        .unwrap();
        assert_eq!((removed.files, removed.left_count), (0, 1));
        assert!(matches!(removed.left[0].why, Why::Owner(uid) if uid == own()));
        return;
    }
    for theirs in ["a/theirs", "b/theirs"] {
        std::os::unix::fs::chown(tree.join(theirs), Some(4242), None).unwrap();
    }
    let removed = remove_own(&tree);
    let mut left: Vec<String> =
        removed.left.iter().map(|left| format!("{}: {}", left.path.display(), left.why)).collect();
    left.sort();
    let shown = |name: &str| format!("{}: it belongs to uid 4242", tree.join(name).display());
    assert_eq!(left, [shown("a/theirs"), shown("b/theirs")]);
    assert!(tree.join("a/theirs/below/x").exists() && tree.join("b/theirs").exists());
    for gone in ["a/ours", "b/ours", "c"] {
        assert!(!tree.join(gone).exists(), "{gone}");
    }
    // Both users' things go where both are named.
    let removed = remove(
        &path(&tree),
        Rules { owners: Some(&[own(), 4242]), progress: None, interrupts: None },
    )
    .unwrap();
    assert_eq!(removed.left_count, 0);
    assert!(!tree.exists());
}

#[test]
fn a_tree_deeper_than_there_are_descriptors_goes() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    const DEPTH: u64 = 3000;
    let mut here = rustix::fs::open(&tree, FOLDER, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        // Two at each depth, so that threads share it and every folder is come back to.
        for name in ["a", "b"] {
            rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
        }
        here = rustix::fs::openat(&here, "a", FOLDER, Mode::empty()).unwrap();
    }
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let counter = AtomicU64::new(0);
    let rules = Rules { owners: Some(&[own()]), progress: Some(&counter), interrupts: None };
    let removed = remove(&path(&tree), rules).unwrap();
    assert_eq!((removed.folders, removed.left_count), (2 * DEPTH + 1, 0), "{:?}", removed.left);
    assert_eq!(counter.into_inner(), 2 * DEPTH + 1);
    assert!(!tree.exists());
    let after = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + OPEN_AFTER, "{before} descriptors and then {after}");
}

/// Other tests open files meanwhile.
const OPEN_AFTER: usize = 200;

#[test]
fn links_that_are_swapped_in_meanwhile_lead_nowhere() {
    const FOLDERS: usize = 40;
    const ROUNDS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    for number in 0..200 {
        fs::write(victim.join(number.to_string()), "precious").unwrap();
    }
    for round in 0..ROUNDS {
        let tree = dir.path().join(format!("tree-{round}"));
        let links = dir.path().join(format!("links-{round}"));
        fs::create_dir(&links).unwrap();
        for number in 0..FOLDERS {
            fs::create_dir_all(tree.join(number.to_string())).unwrap();
            for file in 0..20 {
                fs::write(tree.join(number.to_string()).join(file.to_string()), "x").unwrap();
            }
            symlink(&victim, links.join(number.to_string())).unwrap();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for number in 0..FOLDERS {
                        let name = number.to_string();
                        let exchange = rustix::fs::RenameFlags::EXCHANGE;
                        let cwd = rustix::fs::CWD;
                        // One that is gone by now is not exchanged any more.
                        let _gone = rustix::fs::renameat_with(
                            cwd,
                            tree.join(&name),
                            cwd,
                            links.join(&name),
                            exchange,
                        );
                    }
                }
            });
            let removed = remove_own(&tree);
            is_over.store(true, Ordering::Relaxed);
            for left in &removed.left {
                assert!(left.path.starts_with(&tree), "{left:?}");
            }
        });
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 200, "round {round}");
    }
}

#[test]
fn a_tree_that_others_fill_meanwhile_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                drop(fs::create_dir_all(tree.join(format!("a/b/{number}"))));
                drop(fs::write(tree.join(format!("a/b/{number}/x")), "x"));
            }
        });
        let removed = remove_own(&tree);
        is_over.store(true, Ordering::Relaxed);
        // Either it went at a good moment, or it is said that it grows.
        assert!(removed.left.iter().all(|left| matches!(left.why, Why::Grows | Why::System(_))));
    });
    remove_own(&tree);
    assert!(!tree.exists());
}
