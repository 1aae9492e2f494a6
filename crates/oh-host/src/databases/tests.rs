use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;

use oh_model::databases::{
    NewRepository, PortDocument, PortEntry, RepositoriesDocument, RepositoryKind,
};
use oh_model::port::{Port, PortRange};
use serde_json::{Value, json};

use super::*;
use crate::lock::Locks;

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(60);
/// Tells the test below, run as a child, what to do: `ROOT|WHAT`.
const CHILD: &str = "OHT_TEST_DATABASES_CHILD";

struct Scene {
    folder: Option<tempfile::TempDir>,
    root: Root,
    path: InRoot,
    owners: OwnerSet,
    locks: Locks,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data")).unwrap();
        let mut scene = Self::at(folder.path());
        scene.folder = Some(folder);
        scene
    }

    fn at(folder: &Path) -> Self {
        let root = Root::below(folder).unwrap();
        let me = rustix::process::geteuid().as_raw();
        Self {
            folder: None,
            path: InRoot::parse("/data/vscode-ports.json").unwrap(),
            owners: OwnerSet::of_numbers([0, me, 65534]),
            locks: Locks::open(&root, None).unwrap(),
            root,
        }
    }

    fn file(&self) -> PathBuf {
        self.root.real(&self.path).unwrap().as_str().into()
    }

    fn put(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file(), text).unwrap();
        fs::set_permissions(self.file(), Permissions::from_mode(0o644)).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Edits the port database under its lock.
    fn edit<T>(
        &mut self,
        change: impl FnMut(&mut PortDocument) -> T,
    ) -> Result<Edited<T>, EditFault> {
        let Self { root, path, owners, locks, .. } = self;
        let held = locks.databases([PortDocument::NAME], "a test", LONG).unwrap();
        edit(&held, Place { root, path, owners }, &PortDocument::empty(range()), change)
    }

    fn place(&self) -> Place<'_> {
        Place { root: &self.root, path: &self.path, owners: &self.owners }
    }

    fn lease(&mut self, id: &str, number: u64) -> Result<Edited<()>, EditFault> {
        self.edit(|ports| ports.lease(id, &entry(number), range()))
    }

    fn ids(&self) -> BTreeSet<String> {
        PortDocument::parse(&self.text()).unwrap().ids().into_iter().collect()
    }

    /// The names in the folder of the database, sorted.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.file().parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn range() -> PortRange {
    PortRange::parse("8888-8899").unwrap()
}

fn entry(number: u64) -> PortEntry {
    PortEntry {
        port: Port::new(number).unwrap(),
        pid: 4711,
        project_name: "actmcp".into(),
        repo_path: "/var/www/github/actmcp".into(),
        started_at: iso_text(Timestamp::UNIX_EPOCH),
    }
}

#[test]
fn a_time_is_written_as_javascript_writes_it() {
    assert_eq!(iso_text(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    let time = "2026-11-21T14:50:38.12345Z".parse().unwrap();
    assert_eq!(iso_text(time), "2026-11-21T14:50:38.123Z");
}

#[test]
fn a_new_database_is_whole_and_belongs_to_whom_its_folder_does() {
    let mut scene = Scene::new();
    let owner = if is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    chown(scene.file().parent().unwrap(), Some(owner), None).unwrap();
    let nothing = scene.edit(|ports| ports.release("a", range())).unwrap();
    assert_eq!((nothing.change, scene.names()), (Change::Unchanged, vec![]));
    let edited = scene.lease("a", 8888).unwrap();
    assert_eq!(edited, Edited { value: (), change: Change::Changed, torn: None, rivals: 0 });
    let about = fs::metadata(scene.file()).unwrap();
    assert_eq!((about.mode() & 0o7777, about.uid()), (0o644, owner));
    assert_eq!(scene.names(), ["vscode-ports.json"]);
    assert_eq!(scene.ids(), ["a".to_owned()].into());
}

#[test]
fn mode_and_owner_stay_and_nothing_is_written_for_nothing() {
    let mut scene = Scene::new();
    scene.put("{\"instances\":{},\"availablePorts\":[8888]}");
    fs::set_permissions(scene.file(), Permissions::from_mode(0o640)).unwrap();
    let owner = if is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    chown(scene.file(), Some(owner), None).unwrap();
    let before = fs::metadata(scene.file()).unwrap();
    let edited = scene.edit(|ports| ports.release("a", range())).unwrap();
    assert_eq!((edited.change, edited.value), (Change::Unchanged, false));
    assert_eq!(fs::metadata(scene.file()).unwrap().ino(), before.ino());
    scene.lease("a", 8888).unwrap();
    let after = fs::metadata(scene.file()).unwrap();
    assert_ne!(after.ino(), before.ino());
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), owner, before.gid()));
}

#[test]
fn the_database_of_repositories_is_changed_the_same_way() {
    let mut scene = Scene::new();
    scene.path = InRoot::parse("/data/repositories.json").unwrap();
    let Scene { root, path, owners, locks, .. } = &mut scene;
    let held = locks.databases(["repositories"], "a test", LONG).unwrap();
    let new = NewRepository {
        id: "a".into(),
        name: "a".into(),
        path: InRoot::parse("/srv/a").unwrap(),
        kind: RepositoryKind::Git,
        added_at: iso_text(Timestamp::UNIX_EPOCH),
    };
    let place = Place { root, path, owners };
    let edited = edit(&held, place, &RepositoriesDocument::empty(), |all| all.add(&new)).unwrap();
    assert!(edited.value);
    let standing = verify(place, |all: &RepositoriesDocument| all.has("a")).unwrap();
    assert_eq!(standing, Standing::AsWritten);
}

#[test]
fn without_its_folder_or_its_lock_nothing_is_made() {
    let mut scene = Scene::new();
    scene.path = InRoot::parse("/nowhere/vscode-ports.json").unwrap();
    let fault = scene.lease("a", 8888).unwrap_err();
    assert!(matches!(fault, EditFault::NoFolder { .. }), "{fault}");
    let hint = fault.hints()[0].line(&[]);
    let folder = scene.root.real(&scene.path).unwrap().parent();
    assert_eq!(hint, format!("install the application, or: mkdir --parents {folder}"));
    assert_eq!(fault.exit(), Exit::CouldNotLook);
    assert!(read::<PortDocument>(scene.place()).unwrap().is_none());

    let mut scene = Scene::new();
    let Scene { root, path, owners, locks, .. } = &mut scene;
    let held = locks.databases(["repositories"], "a test", LONG).unwrap();
    let place = Place { root, path, owners };
    let fault = edit(&held, place, &PortDocument::empty(range()), |_| ()).unwrap_err();
    assert!(matches!(&fault, EditFault::Lock(LockFault::NotHeld(name)) if name == "vscode-ports"));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn links_and_files_of_strangers_are_refused() {
    let mut scene = Scene::new();
    let elsewhere = scene.file().with_file_name("elsewhere");
    fs::write(&elsewhere, "{\"instances\":{}}").unwrap();
    symlink(&elsewhere, scene.file()).unwrap();
    let fault = scene.lease("a", 8888).unwrap_err();
    assert!(
        matches!(&fault, EditFault::Refused(refused) if refused.refusal
        == Refusal::NotAFile(crate::folder::FileKind::Link)),
        "{fault:?}"
    );
    fs::remove_file(scene.file()).unwrap();
    fs::hard_link(&elsewhere, scene.file()).unwrap();
    let fault = scene.lease("a", 8888).unwrap_err();
    assert!(matches!(&fault, EditFault::Refused(refused) if refused.refusal == Refusal::Links(2)));
    fs::remove_file(&elsewhere).unwrap();
    if is_root() {
        chown(scene.file(), Some(65534), None).unwrap();
    }
    scene.owners = OwnerSet::of_numbers([12345]);
    let fault = scene.lease("a", 8888).unwrap_err();
    assert!(matches!(&fault, EditFault::Refused(_)), "{fault}");
    assert_eq!(scene.text(), "{\"instances\":{}}");
}

#[test]
fn another_thing_than_the_database_is_left_alone() {
    let mut scene = Scene::new();
    for text in ["[]", "{\"instances\":[{\"id\":\"a\"}]}"] {
        scene.put(text);
        let fault = scene.lease("a", 8888).unwrap_err();
        assert!(matches!(fault, EditFault::Another { .. }), "{fault}");
        assert_eq!(scene.text(), text);
    }
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

#[test]
fn a_torn_file_is_kept_and_what_is_whole_goes_on() {
    let mut scene = Scene::new();
    for (id, number) in [("a", 8888), ("b", 8889), ("c", 8890)] {
        scene.lease(id, number).unwrap();
    }
    let whole = scene.text();
    let mut torn = whole.as_bytes().get(..whole.find("\"c\"").unwrap() + 9).unwrap().to_vec();
    // The first byte of a letter of two: no UTF-8 either.
    torn.push(0xc3);
    scene.put(&torn);
    assert_eq!(verify(scene.place(), |_: &PortDocument| true).unwrap(), Standing::Torn);
    let mut kept = Vec::new();
    for id in ["d", "e"] {
        scene.put(&torn);
        let edited = scene.lease(id, 8891).unwrap();
        let said = edited.torn.unwrap();
        assert_eq!(said.lost, Lost { bytes: 10, at: "instances.c".into() });
        assert_eq!(scene.ids(), ["a", "b", id].map(str::to_owned).into());
        assert_eq!(fs::read(said.kept.as_str()).unwrap(), torn);
        assert_eq!(fs::metadata(said.kept.as_str()).unwrap().mode() & 0o7777, 0o600);
        kept.push(said.kept.name().to_owned());
    }
    kept.push("vscode-ports.json".into());
    kept.sort();
    assert_eq!(scene.names(), kept);
    let stamp = kept.last().unwrap().strip_prefix("vscode-ports.json.torn-").unwrap();
    assert!(stamp.starts_with("20") && stamp.get(8..9) == Some("T"), "{stamp}");
    assert_eq!(stamp.get(15..16), Some("Z"));
}

#[test]
fn torn_files_of_one_second_have_names_of_their_own() {
    let scene = Scene::new();
    let file = File::open(scene.place()).unwrap();
    let mut names = BTreeSet::new();
    for number in 0..5_u8 {
        let meta = Meta { mode: 0o600, owner: None };
        let temp = Temp::filled(file.folder.as_fd(), &file.path, &[number], meta).unwrap();
        let kept = file.keep(temp).unwrap();
        assert_eq!(fs::read(kept.as_str()).unwrap(), [number]);
        assert!(names.insert(kept));
    }
}

#[test]
fn an_empty_file_is_torn_and_not_the_database_of_nobody() {
    let mut scene = Scene::new();
    scene.put("");
    let edited = scene.lease("a", 8888).unwrap();
    assert_eq!(edited.torn.unwrap().lost, Lost { bytes: 0, at: "its beginning".into() });
    assert_eq!(scene.names().len(), 2);
}

/// Writes as `fs.writeFileSync` does: truncate, then write, in place.
fn write_in_place(file: &Path, value: &Value) {
    fs::write(file, serde_json::to_string_pretty(value).unwrap()).unwrap();
}

#[test]
fn a_write_between_reading_and_renaming_is_taken_up_and_told() {
    let mut scene = Scene::new();
    scene.lease("a", 8888).unwrap();
    let file = scene.file();
    let mut blows = 3;
    let edited = scene.edit(|ports| {
        if blows > 0 {
            blows -= 1;
            let mut value: Value =
                serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            value["blows"] = blows.into();
            write_in_place(&file, &value);
        }
        ports.lease("b", &entry(8889), range());
    });
    assert_eq!(edited.unwrap().rivals, 3);
    assert_eq!(scene.ids(), ["a", "b"].map(str::to_owned).into());
    assert!(scene.text().contains("\"blows\": 0"), "{}", scene.text());

    // The same bytes again are a write as well.
    let mut blow = true;
    let edited = scene.edit(|ports| {
        if core::mem::take(&mut blow) {
            fs::write(&file, fs::read(&file).unwrap()).unwrap();
        }
        ports.release("b", range())
    });
    assert_eq!(edited.unwrap().rivals, 1);

    // A file that was not there before.
    fs::remove_file(&file).unwrap();
    let edited = scene.edit(|ports| {
        if !file.exists() {
            write_in_place(&file, &json!({ "instances": {}, "ours": false }));
        }
        ports.lease("c", &entry(8890), range());
    });
    assert_eq!(edited.unwrap().rivals, 1);
    assert!(scene.text().contains("\"ours\": false") && scene.text().contains("\"c\""));
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

#[test]
fn a_write_after_the_last_look_gets_its_place_back() {
    let scene = Scene::new();
    scene.put("{\"instances\":{}}");
    let file = File::open(scene.place()).unwrap();
    let read = file.look().unwrap().unwrap();
    let meta = Meta { mode: 0o644, owner: None };
    let make = || Temp::filled(file.folder.as_fd(), &file.path, b"{}", meta).unwrap();
    // As long as the old text, so that only bytes and times tell.
    scene.put("{\"instances\":[]}");
    let mut new = make();
    assert!(!file.replace(&mut new, &read).unwrap());
    drop(new);
    assert_eq!(scene.text(), "{\"instances\":[]}");
    let read = file.look().unwrap().unwrap();
    let mut new = make();
    assert!(file.replace(&mut new, &read).unwrap());
    drop(new);
    assert_eq!(scene.text(), "{}");
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

#[test]
fn a_writer_that_never_rests_is_told_and_not_fought() {
    let mut scene = Scene::new();
    let file = scene.file();
    let mut count = 0;
    let fault = scene.edit(|ports| {
        count += 1;
        write_in_place(&file, &json!({ "instances": {}, "count": count }));
        ports.lease("a", &entry(8888), range());
    });
    let fault = fault.unwrap_err();
    assert!(matches!(fault, EditFault::Busy { .. }), "{fault}");
    assert_eq!(fault.exit(), Exit::Intact);
    assert!(scene.text().contains(&format!("\"count\": {count}")), "{}", scene.text());
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

#[test]
fn what_stands_is_told() {
    let mut scene = Scene::new();
    let has = |ports: &PortDocument| ports.ids() == ["a"];
    assert_eq!(verify(scene.place(), has).unwrap(), Standing::Absent);
    scene.lease("a", 8888).unwrap();
    assert_eq!(verify(scene.place(), has).unwrap(), Standing::AsWritten);
    write_in_place(&scene.file(), &json!({ "instances": {} }));
    assert_eq!(verify(scene.place(), has).unwrap(), Standing::Overwritten);
}

/// The original application: reads all, changes one thing, writes all in place, by no lock. Three
/// times a turn; says when it has done so once.
fn rival(file: &Path, turns: &mpsc::Receiver<()>, written: &mpsc::Sender<()>) -> u64 {
    let mut writes = 0;
    while turns.recv().is_ok() {
        for again in 0..3 {
            // Only this thread writes in place, so what it reads has to be whole.
            let text = fs::read_to_string(file).unwrap();
            let mut value: Value = serde_json::from_str(&text).unwrap();
            writes += 1;
            value["rival"] = writes.into();
            write_in_place(file, &value);
            if again == 0 {
                written.send(()).unwrap();
            }
        }
    }
    writes
}

#[test]
fn beside_a_writer_without_locks_no_edit_is_lost_untold() {
    const EDITS: usize = 200;
    let mut scene = Scene::new();
    scene.lease("first", 8888).unwrap();
    let file = scene.file();
    // A turn is taken up when the one before is over; so the other one is never far behind.
    let (turn, turns) = mpsc::sync_channel(0);
    let (written, writes) = mpsc::channel();
    let (mut met, mut lost) = (0, 0);
    let mut wanted: BTreeSet<String> = ["first".to_owned()].into();
    let missing = |wanted: &BTreeSet<String>, ports: &PortDocument| -> Vec<String> {
        let ids: BTreeSet<String> = ports.ids().into_iter().collect();
        wanted.difference(&ids).cloned().collect()
    };
    let count = thread::scope(|scope| {
        let rival = scope.spawn(move || rival(&file, &turns, &written));
        let mut heard = 0;
        for number in 0..EDITS {
            wanted.insert(format!("id-{number}"));
            // Mostly both run as they like; every tenth time, the other one writes for certain
            // between our reading and our renaming.
            let certainly = number % 10 == 9;
            if !certainly {
                turn.send(()).unwrap();
            }
            let mut first = true;
            let edited = scene.edit(|ports| {
                if core::mem::take(&mut first) && certainly {
                    turn.send(()).unwrap();
                    while heard <= number {
                        writes.recv_timeout(LONG).unwrap();
                        heard += 1;
                    }
                }
                for id in missing(&wanted, ports) {
                    ports.lease(&id, &entry(8888), range());
                }
            });
            let edited = edited.unwrap();
            assert_eq!(edited.torn, None);
            assert!(!certainly || edited.rivals > 0, "edit {number}");
            met += edited.rivals;
            let stands = |ports: &PortDocument| missing(&wanted, ports).is_empty();
            let standing = verify(scene.place(), stands).unwrap();
            lost += usize::from(standing == Standing::Overwritten);
            assert!(matches!(standing, Standing::AsWritten | Standing::Overwritten));
        }
        drop(turn);
        rival.join().unwrap()
    });
    assert_eq!(count, 3 * EDITS as u64);
    // The other one rests, so what is told to stand stands.
    let stands = |ports: &PortDocument| missing(&wanted, ports).is_empty();
    if verify(scene.place(), stands).unwrap() == Standing::Overwritten {
        lost += 1;
        scene
            .edit(|ports| wanted.iter().for_each(|id| ports.lease(id, &entry(8888), range())))
            .unwrap();
    }
    assert_eq!(scene.ids(), wanted);
    assert!(scene.text().contains("\"rival\""));
    assert_eq!(scene.names(), ["vscode-ports.json"]);
    println!("met {met} times while editing, overwritten {lost} times after");
}

/// Does nothing unless it was started by one of the tests below.
#[test]
fn edits_as_a_child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (root, what) = order.split_once('|').unwrap();
    let mut scene = Scene::at(Path::new(root));
    if what == "full" {
        let before = scene.text();
        let fault = scene.lease(&"x".repeat(100_000), 8888).unwrap_err();
        assert!(matches!(&fault, EditFault::File(FileFault::Io { .. })), "{fault:?}");
        assert_eq!(scene.text(), before);
        // Torn, it is neither mended nor kept in part.
        scene.put(before.as_bytes().get(..before.len() - 1).unwrap());
        scene.lease(&"x".repeat(100_000), 8888).unwrap_err();
        assert_eq!(format!("{}}}", scene.text()), before);
        assert_eq!(scene.names(), ["vscode-ports.json"]);
        println!("says: full");
        return;
    }
    for number in 0..100 {
        let edited = scene.lease(&format!("{what}-{number}"), 8888).unwrap();
        assert_eq!(edited.rivals, 0);
    }
    println!("says: done");
}

fn child(root: &Path, what: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "databases::tests::edits_as_a_child", "--nocapture"]);
    command.env(CHILD, format!("{}|{what}", root.display()));
    command.stdout(Stdio::piped());
    command
}

#[test]
fn two_processes_of_ours_lose_nothing() {
    let scene = Scene::new();
    let root = scene.folder.as_ref().unwrap().path();
    let both = ["one", "other"].map(|what| child(root, what).spawn().unwrap());
    for one in both {
        let output = one.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("says: done"), "{said}");
    }
    assert_eq!(scene.ids().len(), 200);
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

/// Runs the child by a script that gets the program and its arguments.
fn child_in(script: &str, scene: &Scene, program: &[&str]) -> String {
    let root = scene.folder.as_ref().unwrap().path();
    let child = child(root, "full");
    let (name, rest) = program.split_first().unwrap();
    let mut command = std::process::Command::new(name);
    command.args(rest).args(["sh", "-euc", script, "sh"]);
    command.arg(root).arg(child.get_program()).args(child.get_args());
    command.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_file_that_may_not_grow_stays_as_it_was() {
    let mut scene = Scene::new();
    scene.lease("a", 8888).unwrap();
    let before = scene.text();
    // Blocks of 512 bytes; without the signal, writing fails.
    let script = "trap '' XFSZ; ulimit -f 64; shift; exec \"$@\"";
    let said = child_in(script, &scene, &["env"]);
    assert!(said.contains("says: full"), "{said}");
    assert_eq!(format!("{}}}", scene.text()), before);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    if !is_root() {
        return; // Mounting is root's; the test above fails writes for everybody.
    }
    let mut scene = Scene::new();
    scene.lease("a", 8888).unwrap();
    let script = "cp -a \"$1/data/vscode-ports.json\" \"$1/kept\"\n\
                  mount -t tmpfs -o size=32k,mode=755 tmpfs \"$1/data\"\n\
                  cp -a \"$1/kept\" \"$1/data/vscode-ports.json\"\nshift\nexec \"$@\"";
    let said = child_in(script, &scene, &["unshare", "--mount"]);
    assert!(said.contains("says: full"), "{said}");
}

#[test]
fn a_folder_above_that_is_a_users_leads_nobody_elsewhere() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::new();
    let above = scene.folder.as_ref().unwrap().path().to_owned();
    fs::create_dir_all(above.join("theirs")).unwrap();
    fs::create_dir_all(above.join("victim")).unwrap();
    symlink(above.join("victim"), above.join("theirs/data")).unwrap();
    chown(above.join("theirs"), Some(65534), Some(65534)).unwrap();
    scene.path = InRoot::parse("/theirs/data/vscode-ports.json").unwrap();
    let fault = scene.lease("actmcp", 8888).unwrap_err();
    assert!(
        matches!(fault, EditFault::File(FileFault::Way(WayFault::NotAFolder { .. }))),
        "{fault}"
    );
    assert_eq!(fs::read_dir(above.join("victim")).unwrap().count(), 0);
    // A link of root's is followed: where the data lies is the operator's decision.
    symlink(above.join("victim"), above.join("linked")).unwrap();
    scene.path = InRoot::parse("/linked/vscode-ports.json").unwrap();
    scene.lease("actmcp", 8888).unwrap();
    assert!(above.join("victim/vscode-ports.json").exists());
}

/// What a user may not make us read or write: another's file, here root's.
const SECRET: &str = "root:$6$secret:20000:0:99999:7:::\n";

#[test]
fn what_is_restored_is_read_and_written_as_an_edit_does_it() {
    let mut scene = Scene::new();
    let back = |scene: &mut Scene, replaces: &str| {
        let Scene { root, path, owners, locks, .. } = scene;
        let held = locks.databases([PortDocument::NAME], "a test", LONG).unwrap();
        let place = Place { root, path, owners };
        restore(&held, place, PortDocument::NAME, b"torn\xff", |now| now == replaces.as_bytes())
    };
    assert_eq!(read_bytes(scene.place()).unwrap(), None);
    assert_eq!(back(&mut scene, "{}").unwrap(), Restored::Absent);
    scene.put("{}");
    assert_eq!(read_bytes(scene.place()).unwrap().unwrap(), b"{}");
    assert_eq!(back(&mut scene, "[]").unwrap(), Restored::Rewritten);
    assert_eq!(scene.text(), "{}");
    assert_eq!(back(&mut scene, "{}").unwrap(), Restored::Done);
    assert_eq!(read_bytes(scene.place()).unwrap().unwrap(), b"torn\xff");
    assert_eq!(fs::metadata(scene.file()).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(back(&mut scene, "{}").unwrap(), Restored::Already);
    assert_eq!(scene.names(), ["vscode-ports.json"]);
}

#[test]
fn nothing_is_read_or_restored_through_a_link_or_from_another_user() {
    let mut scene = Scene::new();
    let secret = scene.folder.as_ref().unwrap().path().join("shadow");
    fs::write(&secret, SECRET).unwrap();
    let refused = |scene: &mut Scene| {
        let fault = read_bytes(scene.place()).unwrap_err();
        assert!(matches!(fault, EditFault::Refused(_)), "{fault}");
        let Scene { root, path, owners, locks, .. } = scene;
        let held = locks.databases([PortDocument::NAME], "a test", LONG).unwrap();
        let place = Place { root, path, owners };
        let fault = restore(&held, place, PortDocument::NAME, b"{}", |_| true).unwrap_err();
        assert!(matches!(fault, EditFault::Refused(_)), "{fault}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    };
    symlink(&secret, scene.file()).unwrap();
    refused(&mut scene);
    assert!(fs::symlink_metadata(scene.file()).unwrap().is_symlink());
    fs::remove_file(scene.file()).unwrap();
    if is_root() {
        scene.put(SECRET);
        chown(scene.file(), Some(4711), Some(4711)).unwrap();
        refused(&mut scene);
        assert_eq!(scene.text(), SECRET);
    }
}
