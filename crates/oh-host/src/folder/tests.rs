use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::trust::{Judge, read_as};
use super::*;
use crate::root::Root;
use crate::users::Users;

const LIMITS: Limits = Limits { entries_max: 100, file_bytes_max: 64 };
const NOBODY: u32 = 65534;

pub(crate) fn make_fifo(path: &Path) {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).unwrap();
}

fn real(path: &Path) -> RealPath {
    RealPath::parse(path.to_str().unwrap()).unwrap()
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own() -> OwnerSet {
    OwnerSet::of_numbers([me()])
}

fn write(path: &Path, text: &[u8], mode: u32) {
    std::fs::write(path, text).unwrap();
    set_mode(path, mode);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn verdicts(dir: &Path) -> Vec<(String, Result<String, Refusal>)> {
    let folder = read_folder(&real(dir), LIMITS, &own()).unwrap();
    let entries = folder.entries().iter();
    entries
        .map(|entry| {
            let verdict = entry.verdict.clone().map(|facts| facts.text);
            (entry.shown_name(), verdict)
        })
        .collect()
}

#[test]
fn good_files_are_read_in_order_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("b.json", "B"), ("a.json", "A"), (".x.json", ""), ("c.json.tmp", "")] {
        write(&dir.path().join(name), text.as_bytes(), 0o644);
    }
    match read_folder(&real(dir.path()), LIMITS, &own()).unwrap() {
        Folder::Present { entries, ignored } => {
            assert_eq!(ignored, 2);
            let stems: Vec<_> = entries.iter().map(|entry| entry.stem().unwrap()).collect();
            assert_eq!(stems, ["a", "b"]);
            let facts = entries[0].verdict.as_ref().unwrap();
            assert_eq!((facts.text.as_str(), facts.uid, facts.size), ("A", me(), 1));
            assert_eq!(facts.mode, 0o644);
            assert!(facts.modified_ns > 1_500_000_000_000_000_000);
        }
        Folder::Absent => panic!("it is there"),
    }
    let none = read_folder(&real(&dir.path().join("none")), LIMITS, &own()).unwrap();
    assert_eq!(none, Folder::Absent);
    assert!(none.entries().is_empty());
}

#[test]
fn every_trap_is_refused_by_name_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    make_fifo(&at("fifo.json"));
    symlink("/etc/passwd", at("link.json")).unwrap();
    std::fs::create_dir(at("folder.json")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket.json")).unwrap();
    write(&at("hard.json"), b"x", 0o644);
    std::fs::hard_link(at("hard.json"), at("second")).unwrap();
    write(&at("large.json"), &[b'x'; 65], 0o644);
    write(&at("limit.json"), &[b'x'; 64], 0o644);
    write(&at("world.json"), b"x", 0o646);
    write(&at("group.json"), b"x", 0o664);
    write(&at("bytes.json"), b"ok\xff", 0o644);
    write(&at("good.json"), b"good", 0o600);
    let odd = OsStr::from_bytes(b"\xff\n.json");
    write(&dir.path().join(odd), b"odd", 0o600);
    let is_root = me() == 0;
    if is_root {
        write(&at("foreign.json"), b"x", 0o644);
        chown(at("foreign.json"), Some(NOBODY), None).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("null.json"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
    } else {
        write(&at("foreign.json"), b"x", 0o000);
    }
    let gid = rustix::process::getegid().as_raw();
    let mut expected: Vec<(&str, Result<String, Refusal>)> = vec![
        ("bytes.json", Err(Refusal::NotUtf8(2))),
        ("fifo.json", Err(Refusal::NotAFile(FileKind::Fifo))),
        ("folder.json", Err(Refusal::NotAFile(FileKind::Folder))),
    ];
    let foreign = if is_root { Refusal::Owner(NOBODY) } else { Refusal::Unreadable(Errno::ACCESS) };
    expected.extend([
        ("foreign.json", Err(foreign)),
        ("good.json", Ok("good".to_owned())),
        ("group.json", Err(Refusal::GroupWritable { mode: 0o664, gid })),
        ("hard.json", Err(Refusal::Links(2))),
        ("large.json", Err(Refusal::TooLarge { size: 65, max: 64 })),
        ("limit.json", Ok("x".repeat(64))),
        ("link.json", Err(Refusal::NotAFile(FileKind::Link))),
    ]);
    if is_root {
        expected.push(("null.json", Err(Refusal::NotAFile(FileKind::Device))));
    }
    expected.extend([
        ("socket.json", Err(Refusal::NotAFile(FileKind::Socket))),
        ("world.json", Err(Refusal::WorldWritable(0o646))),
        ("\\xff\\n.json", Ok("odd".to_owned())),
    ]);
    let expected: Vec<_> = expected.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    let started = Instant::now();
    assert_eq!(verdicts(dir.path()), expected);
    assert!(started.elapsed() < Duration::from_secs(2), "a FIFO hung it");
}

#[test]
fn a_private_group_may_write_and_another_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    write(&file, b"x", 0o664);
    let (uid, gid) = (me(), rustix::process::getegid().as_raw());
    let passwd = format!("own:x:{uid}:{gid}::/:/bin/sh\n");
    for (group, private) in
        [(format!("own:x:{gid}:\n"), true), (format!("own:x:{gid}:eve\n"), false)]
    {
        let users = Users::parse(&passwd, &group);
        let (owners, _) = OwnerSet::of_words(["own"], &users);
        let read = read_owned_file(&real(&file), 10, &owners);
        assert_eq!(read.is_ok(), private, "{read:?}");
    }
}

#[test]
fn a_folder_that_others_write_to_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a.json"), b"x", 0o644);
    for mode in [0o775, 0o1777] {
        set_mode(dir.path(), mode);
        let fault = read_folder(&real(dir.path()), LIMITS, &own()).unwrap_err();
        assert!(matches!(fault, FolderFault::Writable { mode: found, .. } if found == mode));
        assert!(fault.hint().unwrap().starts_with("chmod go-w /"));
    }
    set_mode(dir.path(), 0o755);
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let fault = read_folder(&real(&link), LIMITS, &own()).unwrap_err();
    assert!(matches!(fault, FolderFault::NotAFolder { kind: FileKind::Link, .. }), "{fault}");
    if me() == 0 {
        chown(dir.path(), Some(NOBODY), None).unwrap();
        let fault = read_folder(&real(dir.path()), LIMITS, &own()).unwrap_err();
        assert!(matches!(fault, FolderFault::Owner { uid: NOBODY, .. }), "{fault}");
        let nobody = OwnerSet::of_numbers([NOBODY]);
        assert!(read_folder(&real(dir.path()), LIMITS, &nobody).is_ok());
    } else {
        let stranger = OwnerSet::of_numbers([me() + 1]);
        let fault = read_folder(&real(dir.path()), LIMITS, &stranger).unwrap_err();
        assert!(matches!(fault, FolderFault::Owner { .. }), "{fault}");
    }
}

#[test]
fn too_many_names_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..101 {
        write(&dir.path().join(format!("{number}.json")), b"x", 0o600);
    }
    let fault = read_folder(&real(dir.path()), LIMITS, &own()).unwrap_err();
    assert!(matches!(fault, FolderFault::TooMany { max: 100, .. }), "{fault}");
    std::fs::remove_file(dir.path().join("0.json")).unwrap();
    assert_eq!(verdicts(dir.path()).len(), 100);
}

#[test]
fn what_is_written_meanwhile_is_whole_or_said_to_be_changing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    write(&file, b"", 0o600);
    let path = file.clone();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = std::sync::Arc::clone(&done);
    let writer = std::thread::spawn(move || {
        // Grown in place and cut again, as a careless writer does.
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let mut file =
                std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
            for _ in 0..8 {
                file.write_all(b"12345678").unwrap();
            }
        }
    });
    let (mut read, mut changing) = (0, 0);
    for _ in 0..2000 {
        match verdicts(dir.path()).remove(0).1 {
            Ok(text) => {
                assert_eq!(text.len() % 8, 0);
                read += 1;
            }
            Err(Refusal::Changing) => changing += 1,
            Err(other) => panic!("{other}"),
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(read + changing, 2000);
}

#[test]
fn a_single_file_is_read_as_warily() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    let large = vec![b'x'; 200_000];
    write(&file, &large, 0o644);
    let facts = read_owned_file(&real(&file), 1_000_000, &own()).unwrap().unwrap();
    assert_eq!(facts.size, 200_000);
    assert!(read_owned_file(&real(&file), 200_000, &own()).is_ok());
    let fault = read_owned_file(&real(&file), 199_999, &own()).unwrap_err();
    assert_eq!(fault.refusal, Refusal::TooLarge { size: 200_000, max: 199_999 });
    let none = real(&dir.path().join("none"));
    assert_eq!(read_owned_file(&none, 10, &own()).unwrap(), None);
}

#[test]
fn twelve_thousand_files_are_quick() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..12_000 {
        write(&dir.path().join(format!("{number}.json")), b"{\"vscode_port\":8888}", 0o600);
    }
    let limits = Limits { entries_max: 20_000, file_bytes_max: 65_536 };
    let started = Instant::now();
    let folder = read_folder(&real(dir.path()), limits, &own()).unwrap();
    let took = started.elapsed();
    assert_eq!(folder.entries().len(), 12_000);
    assert!(folder.entries().iter().all(|entry| entry.verdict.is_ok()));
    // About 60 ms; the bound is for a busy machine and a debug build.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// A root folder with `etc/ours/config.toml` in it, all of it tight.
fn configured() -> (tempfile::TempDir, Root, RealPath) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("etc/ours")).unwrap();
    for folder in ["", "etc", "etc/ours"] {
        set_mode(&dir.path().join(folder), 0o755);
    }
    let file = dir.path().canonicalize().unwrap().join("etc/ours/config.toml");
    write(&file, b"schema = 1\n", 0o644);
    let root = Root::below(dir.path()).unwrap();
    (dir, root, real(&file))
}

/// What root would say, with whoever runs in root's place as far as they can be.
fn judged(root: &Root, path: &RealPath) -> Result<Option<String>, TrustFault> {
    read_as(&Judge { strict: me() == 0, me: me() }, root, path, 1000)
}

#[test]
fn a_tight_configuration_is_read() {
    let (dir, root, path) = configured();
    assert_eq!(read_trusted(&root, &path, 1000).unwrap().unwrap(), "schema = 1\n");
    assert_eq!(read_trusted(&root, &real(&dir.path().join("etc/none")), 9).unwrap(), None);
    assert_eq!(read_trusted(&root, &real(&dir.path().join("none/x")), 9).unwrap(), None);
    assert!(matches!(read_trusted(&root, &path, 3), Err(TrustFault::TooLarge { max: 3, .. })));
    let folder = real(&dir.path().join("etc"));
    assert!(matches!(read_trusted(&root, &folder, 9), Err(TrustFault::NotAFile { .. })));
    // A link that stays within the root is followed, one that climbs too.
    symlink("ours/config.toml", dir.path().join("etc/link")).unwrap();
    symlink("../etc/./link", dir.path().join("etc/again")).unwrap();
    let again = real(&dir.path().canonicalize().unwrap().join("etc/again"));
    assert_eq!(read_trusted(&root, &again, 1000).unwrap().unwrap(), "schema = 1\n");
    symlink("loop", dir.path().join("etc/loop")).unwrap();
    let endless = real(&dir.path().canonicalize().unwrap().join("etc/loop"));
    assert!(matches!(read_trusted(&root, &endless, 9), Err(TrustFault::Links { .. })));
}

#[test]
fn a_configuration_that_others_could_write_is_not_trusted() {
    let (dir, root, path) = configured();
    set_mode(Path::new(path.as_str()), 0o646);
    let fault = read_trusted(&root, &path, 1000).unwrap_err();
    assert!(fault.to_string().contains("mode 0646"), "{fault}");
    let take = if me() == 0 { "go-w" } else { "o-w" };
    assert_eq!(fault.hint().unwrap(), format!("chmod {take} {path}"));
    set_mode(Path::new(path.as_str()), 0o664);
    set_mode(&dir.path().join("etc"), 0o777);
    let read = judged(&root, &path);
    if me() != 0 {
        assert!(read.is_ok(), "folders and groups are a user's own affair");
        return;
    }
    let fault = read.unwrap_err();
    assert!(matches!(&fault, TrustFault::Writable { path, .. } if path.ends_with("/etc")));
    set_mode(&dir.path().join("etc"), 0o755);
    assert!(matches!(judged(&root, &path), Err(TrustFault::Writable { mode: 0o664, .. })));
    set_mode(Path::new(path.as_str()), 0o644);
    chown(dir.path().join("etc/ours"), Some(NOBODY), None).unwrap();
    let fault = judged(&root, &path).unwrap_err();
    assert!(matches!(fault, TrustFault::Owner { kind: FileKind::Folder, uid: NOBODY, .. }));
    chown(dir.path().join("etc/ours"), Some(0), None).unwrap();
    chown(path.as_str(), Some(NOBODY), None).unwrap();
    let fault = judged(&root, &path).unwrap_err();
    assert!(matches!(fault, TrustFault::Owner { kind: FileKind::Regular, .. }), "{fault}");
    // A user may keep a file of their own, and it is nobody else's.
    let user = |me| read_as(&Judge { strict: false, me }, &root, &path, 1000);
    assert!(user(NOBODY).is_ok());
    assert!(matches!(user(1), Err(TrustFault::Owner { .. })));
}

#[test]
fn a_link_out_of_the_root_is_judged_from_the_top() {
    let (dir, root, _) = configured();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("config.toml");
    write(&target, b"x = 1\n", 0o644);
    let link = dir.path().canonicalize().unwrap().join("etc/out");
    symlink(&target, &link).unwrap();
    let read = read_trusted(&root, &real(&link), 1000);
    if me() == 0 {
        // The temporary folder is everybody's.
        let fault = read.unwrap_err();
        assert!(matches!(fault, TrustFault::Writable { .. }), "{fault}");
        // `chmod go-w /tmp` would break the machine, so it is not what the hint says.
        let hint = fault.hint().unwrap();
        assert!(hint.starts_with("keep the file where only root can write"), "{hint}");
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        let fault = read_trusted(&root, &real(&link), 1000).unwrap_err();
        assert!(matches!(fault, TrustFault::Owner { kind: FileKind::Link, .. }), "{fault}");
        assert!(fault.hint().unwrap().starts_with("chown -h root: /"));
    } else {
        assert_eq!(read.unwrap().unwrap(), "x = 1\n");
    }
}
