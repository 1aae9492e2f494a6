use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;

const PLAIN: Meta = Meta { mode: 0o644, owner: None };

fn real(path: &Path) -> RealPath {
    RealPath::parse(path.to_str().unwrap()).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_replaced_once_and_then_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let path = real(&file);
    assert_eq!(replace(&path, b"one", PLAIN).unwrap(), Change::Changed);
    let inode = file.metadata().unwrap().ino();
    assert_eq!(replace(&path, b"one", PLAIN).unwrap(), Change::Unchanged);
    assert_eq!(file.metadata().unwrap().ino(), inode);
    assert_eq!(replace(&path, b"two", PLAIN).unwrap(), Change::Changed);
    assert_eq!(std::fs::read(&file).unwrap(), b"two");
    assert_ne!(file.metadata().unwrap().ino(), inode);
    let secret = Meta { mode: 0o600, owner: None };
    assert_eq!(replace(&path, b"two", secret).unwrap(), Change::Changed);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(names(dir.path()), ["file"]);
    assert_eq!(Meta::of(&path).unwrap().unwrap().mode, 0o600);
    assert_eq!(Meta::of(&real(&dir.path().join("none"))).unwrap(), None);
}

#[test]
fn the_owner_is_given_before_the_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let me = dir.path().metadata().unwrap();
    let root = rustix::process::geteuid().is_root();
    let owner = if root { (65534, 65534) } else { (me.uid(), me.gid()) };
    let meta = Meta { mode: 0o640, owner: Some(owner) };
    assert_eq!(replace(&real(&file), b"x", meta).unwrap(), Change::Changed);
    let found = file.metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), mode(&file)), (owner.0, owner.1, 0o640));
    assert_eq!(replace(&real(&file), b"x", meta).unwrap(), Change::Unchanged);
    assert_eq!(Meta::of(&real(&file)).unwrap(), Some(meta));
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    let link = dir.path().join("link");
    symlink(&target, &link).unwrap();
    for (path, kind) in [(&link, FileKind::Link), (&dir.path().to_path_buf(), FileKind::Folder)] {
        match replace(&real(path), b"x", PLAIN) {
            Err(FileFault::NotAFile { kind: found, .. }) => assert_eq!(found, kind),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(replace(&real(Path::new("/")), b"x", PLAIN), Err(FileFault::NoName)));
    let missing = replace(&real(&dir.path().join("no/file")), b"x", PLAIN).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open the folder /"), "{missing}");
    // /dev/full is no folder; a full disk is made of a name that is too long to be renamed to.
    let long = dir.path().join("x".repeat(300));
    assert!(replace(&real(&long), b"x", PLAIN).is_err());
    assert_eq!(names(dir.path()), ["link", "target"]);
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    if !rustix::process::geteuid().is_root() {
        let foreign = Meta { mode: 0o600, owner: Some((0, 0)) };
        assert!(replace(&real(&target), b"x", foreign).is_err());
        assert_eq!(names(dir.path()), ["link", "target"]);
    }
}

#[test]
fn readers_see_the_old_or_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let (old, new) = (vec![b'o'; 100_000], vec![b'n'; 100_000]);
    replace(&real(&file), &old, PLAIN).unwrap();
    let path = file.clone();
    let reader = std::thread::spawn(move || {
        for _ in 0..300 {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 100_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        }
    });
    while !reader.is_finished() {
        replace(&real(&file), &new, PLAIN).unwrap();
        replace(&real(&file), &old, PLAIN).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn left_overs_of_the_dead_are_swept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let (own, start) = process::own_start().unwrap();
    let random = "0123456789abcdef0123456789abcdef";
    let left = format!(".oht-{dead}-1-{random}.tmp");
    let reused = format!(".oht-{own}-{}-{random}.tmp", start + 1);
    let busy = format!(".oht-{own}-{start}-{random}.tmp");
    let empty = format!(".oht-{dead}-2-{random}.tmp");
    let folder = format!(".oht-{dead}-3-{random}.tmp");
    let foreign = [".oht-x-1-0.tmp", ".hidden", "file.tmp", ".oht-1-1.tmp"];
    for name in [left.as_str(), &reused, &busy].into_iter().chain(foreign) {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    std::fs::create_dir(dir.path().join(&empty)).unwrap();
    std::fs::create_dir(dir.path().join(&folder)).unwrap();
    std::fs::write(dir.path().join(&folder).join("precious"), "").unwrap();
    let mut expected = vec![left, reused, empty];
    expected.sort_unstable();
    assert_eq!(sweep(&real(dir.path())).unwrap(), expected);
    let rest = names(dir.path());
    assert_eq!(rest.len(), 2 + foreign.len(), "{rest:?}");
    assert!(rest.contains(&busy) && rest.contains(&folder));
    assert!(sweep(&real(&dir.path().join("none"))).unwrap().is_empty());
}

#[test]
fn names_of_ours_are_recognised() {
    let name = temp_name(&real(Path::new("/x"))).unwrap();
    assert_eq!(creator_of(&name), Some(process::own_start().unwrap()));
}

#[test]
fn removing_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(remove_file(&real(&file)).unwrap(), Removed::Done);
    assert_eq!(remove_file(&real(&file)).unwrap(), Removed::Absent);
    assert_eq!(remove_file(&real(&file.join("below"))).unwrap(), Removed::Absent);
    assert!(remove_file(&real(dir.path())).is_err());
}

#[test]
fn reading_has_a_limit_and_is_not_hung() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "12345").unwrap();
    assert_eq!(read_limited(&real(&file), 5).unwrap(), Some(b"12345".to_vec()));
    assert!(matches!(read_limited(&real(&file), 4), Err(FileFault::TooLarge { max: 4, .. })));
    assert_eq!(read_limited(&real(&dir.path().join("none")), 5).unwrap(), None);
    let fifo = dir.path().join("fifo");
    crate::folder::tests::make_fifo(&fifo);
    for (path, kind) in
        [(fifo.as_path(), FileKind::Fifo), (Path::new("/dev/null"), FileKind::Device)]
    {
        match read_limited(&real(path), 5) {
            Err(FileFault::NotAFile { kind: found, .. }) => assert_eq!(found, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn folders_are_made_once_and_not_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    let private = Meta { mode: 0o700, owner: None };
    assert_eq!(create_dirs(&real(&deep), private).unwrap(), Change::Changed);
    assert_eq!(create_dirs(&real(&deep), private).unwrap(), Change::Unchanged);
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&dir.path().join("a")) & 0o022, 0);
    let link = dir.path().join("link");
    symlink(&deep, &link).unwrap();
    match create_dirs(&real(&link), private) {
        Err(FileFault::NotAFolder { kind, .. }) => assert_eq!(kind, FileKind::Link),
        other => panic!("{other:?}"),
    }
    // Links on the way are the operator's: /var/run is one.
    assert_eq!(create_dirs(&real(&link.join("d")), private).unwrap(), Change::Changed);
    std::fs::set_permissions(&deep, PermissionsExt::from_mode(0o770)).unwrap();
    let open = create_dirs(&real(&deep), private).unwrap_err();
    assert!(matches!(open, FileFault::FolderWritable { mode: 0o770, .. }), "{open}");
    let group = Meta { mode: 0o770, owner: None };
    assert_eq!(create_dirs(&real(&deep), group).unwrap(), Change::Unchanged);
    let me = rustix::process::geteuid().as_raw();
    let foreign = Meta { mode: 0o770, owner: Some((me + 1, 0)) };
    let owner = create_dirs(&real(&deep), foreign).unwrap_err();
    assert!(matches!(owner, FileFault::FolderOwner { .. }), "{owner}");
}

/// A folder that belongs to a user (to us, where the tests are not root's), and `away` beside it.
fn folder_of_a_user() -> (tempfile::TempDir, u32) {
    let dir = tempfile::tempdir().unwrap();
    let (user, away) = (dir.path().join("user"), dir.path().join("away"));
    std::fs::create_dir(&user).unwrap();
    std::fs::create_dir(&away).unwrap();
    symlink(&away, user.join("link")).unwrap();
    let me = rustix::process::geteuid().as_raw();
    if me != 0 {
        return (dir, me);
    }
    std::os::unix::fs::chown(&user, Some(65534), Some(65534)).unwrap();
    (dir, 65534)
}

#[test]
fn nobody_leads_a_folder_that_is_made_elsewhere() {
    let (dir, user) = folder_of_a_user();
    if user != 65534 {
        return;
    }
    let (own, link) = (dir.path().join("user/own"), dir.path().join("user/link/usercustomize"));
    let theirs = Meta { mode: 0o755, owner: Some((user, user)) };
    for made in [create_dirs(&real(&link), theirs), create_dirs(&real(&link.join("below")), theirs)]
    {
        let fault = made.unwrap_err();
        let is_link = matches!(
            &fault,
            FileFault::Way(WayFault::NotAFolder { kind: FileKind::Link, path })
                if path.ends_with("user/link")
        );
        assert!(is_link, "{fault}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("away")).unwrap().count(), 0);
    let others = OwnerSet::of_numbers([1234]);
    let fault = create_dirs_among(&real(&own), theirs, &others).unwrap_err();
    assert!(matches!(fault, FileFault::Way(WayFault::Owner { uid: 65534, .. })), "{fault}");
    assert!(!own.exists());
    let owners = OwnerSet::of_numbers([user]);
    assert_eq!(create_dirs_among(&real(&own), theirs, &owners).unwrap(), Change::Changed);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&own).unwrap()), user);
}

#[test]
fn a_folder_that_took_the_place_of_a_new_one_is_not_given_away() {
    let (dir, _) = folder_of_a_user();
    let open = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(dir.path().join(name), flags, Mode::empty()).unwrap()
    };
    let make = |name: &str, mode: u32| {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    let is_new = |name: &str| is_new_folder(open(".").as_fd(), open(name).as_fd()).unwrap();
    make("new", 0o700);
    assert!(is_new("new"));
    make("open", 0o755);
    assert!(!is_new("open"));
    make("full", 0o700);
    std::fs::write(dir.path().join("full/secret"), "").unwrap();
    assert!(!is_new("full"));
    if rustix::process::geteuid().is_root() {
        make("theirs", 0o700);
        std::os::unix::fs::chown(dir.path().join("theirs"), Some(65534), None).unwrap();
        assert!(!is_new("theirs"));
    }
}
