use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use oh_config::Sources;
use oh_model::listening::{Life, Whose};

use super::*;
use crate::folder::{Limits, read_folder};

struct Scene {
    folder: tempfile::TempDir,
    host: Host,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tmp/openhands-sessions")).unwrap();
        fs::create_dir_all(folder.path().join("run/openhands-toolkit")).unwrap();
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("tmp/openhands-sessions"), open).unwrap();
        let root = Root::below(folder.path()).unwrap();
        let settings = oh_config::load(&Sources::default()).unwrap().settings;
        Self { folder, host: Host { root, settings } }
    }

    fn put(&self, name: &str) {
        let path = self.folder.path().join("tmp/openhands-sessions").join(name);
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }

    fn session(&self, name: &str, editor: u16) -> Announced {
        let path = self.host.root.real(&self.host.settings.sessions.directory).unwrap();
        let limits = Limits { entries_max: 1000, file_bytes_max: 1000 };
        let folder = read_folder(&path, limits, &inputs::owners(&self.host)).unwrap();
        let entry = folder.entries().iter().find(|entry| entry.name == name).unwrap();
        let facts = entry.verdict.as_ref().unwrap();
        Announced {
            name: name.into(),
            file: facts.file,
            modified_ns: facts.modified_ns,
            editor: Port::new(editor.into()),
            apps: Vec::new(),
            whose: Whose { owner: facts.uid, named: None },
            life: Life::Gone,
            claimable: true,
        }
    }

    fn names(&self) -> Vec<String> {
        let folder = self.folder.path().join("tmp/openhands-sessions");
        let names = fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A port that nobody listens on while it is held.
fn silent_port() -> (rustix::fd::OwnedFd, u16) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let bound = std::net::SocketAddr::try_from(getsockname(&held).unwrap()).unwrap();
    (held, bound.port())
}

#[test]
fn a_session_without_its_editor_is_moved_aside() {
    let (scene, (_held, port)) = (Scene::new(), silent_port());
    scene.put("a.json");
    let session = scene.session("a.json", port);
    let aside = Retired::Aside(".retired-a-7.json".into());
    assert_eq!(retire(&scene.host, &session, 7).unwrap(), aside);
    assert_eq!(scene.names(), [".retired-a-7.json"]);
    assert_eq!(retire(&scene.host, &session, 8).unwrap(), Retired::Changed);
}

#[test]
fn an_editor_that_came_back_keeps_its_file() {
    let scene = Scene::new();
    scene.put("a.json");
    let editor = TcpListener::bind("127.0.0.1:0").unwrap();
    let session = scene.session("a.json", editor.local_addr().unwrap().port());
    assert_eq!(retire(&scene.host, &session, 7).unwrap(), Retired::Changed);
    assert_eq!(scene.names(), ["a.json"]);
}

#[test]
fn a_file_that_is_another_by_now_stays() {
    let (scene, (_held, port)) = (Scene::new(), silent_port());
    scene.put("a.json");
    let session = scene.session("a.json", port);
    let other = Announced { modified_ns: session.modified_ns - 1, ..session.clone() };
    assert_eq!(retire(&scene.host, &other, 7).unwrap(), Retired::Changed);
    let number = FileNumber { inode: session.file.inode + 1, ..session.file };
    let other = Announced { file: number, ..session };
    assert_eq!(retire(&scene.host, &other, 7).unwrap(), Retired::Changed);
    assert_eq!(scene.names(), ["a.json"]);
}

#[test]
fn a_name_that_is_taken_is_not_replaced() {
    let (scene, (_held, port)) = (Scene::new(), silent_port());
    scene.put("a.json");
    scene.put(".retired-a-7.json");
    let session = scene.session("a.json", port);
    let fault = retire(&scene.host, &session, 7).unwrap_err();
    assert!(fault.to_string().starts_with("cannot move aside "), "{fault}");
    assert_eq!(scene.names(), [".retired-a-7.json", "a.json"]);
}

#[test]
fn the_latest_hundred_are_kept_and_only_ours_are_removed() {
    let (scene, (_held, port)) = (Scene::new(), silent_port());
    for time in 0..KEPT_MAX {
        scene.put(&format!(".retired-x-{time}.json"));
    }
    scene.put(".retired-by-hand.json");
    scene.put("a.json");
    retire(&scene.host, &scene.session("a.json", port), 5000).unwrap();
    forget_the_oldest(&scene.host);
    let names = scene.names();
    assert_eq!(names.len(), KEPT_MAX + 1);
    assert!(names.contains(&".retired-by-hand.json".into()));
    assert!(names.contains(&".retired-a-5000.json".into()));
    assert!(!names.contains(&".retired-x-0.json".into()));
}

#[test]
fn since_when_is_remembered_for_this_boot() {
    let scene = Scene::new();
    let root = &scene.host.root;
    assert!(load(root).unwrap().is_empty());
    let missing = MissingEditors::from([(
        "a.json".to_owned(),
        Missing {
            file: FileNumber { device: 1, inode: 2 },
            modified_ns: 3,
            editor: Port::new(8000).unwrap(),
            since_ms: 4,
        },
    )]);
    save(root, &missing).unwrap();
    assert_eq!(load(root).unwrap(), missing);
    let file = scene.folder.path().join("run/openhands-toolkit/missing-editors.json");
    let text = fs::read_to_string(&file).unwrap();
    let here = boot_id().unwrap().as_str().to_owned();
    fs::write(&file, text.replace(&here, "00000000-0000-4000-8000-000000000000")).unwrap();
    assert!(load(root).unwrap().is_empty(), "another boot's");
    for torn in
        [text.split_at(text.len() / 2).0, "", "[]", &text.replace("_version\":1", "_version\":9")]
    {
        fs::write(&file, torn).unwrap();
        assert!(load(root).is_err(), "{torn}");
    }
}

#[test]
fn time_passes() {
    let before = now_ms();
    assert!(before > 0 && now_ms() >= before);
}
