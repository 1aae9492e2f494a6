use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::*;
use crate::process::{ProcessDir, Signal};

const AT_ONCE: Duration = Duration::ZERO;
/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(20);
/// Tells the test below, run as a child, what to hold: `ROOT|WHAT|INHERITANCE`.
const CHILD: &str = "OHT_TEST_LOCK_CHILD";

#[test]
fn locks_of_one_root_are_no_locks_of_another() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [one, other] = [&one, &other].map(|dir| Root::below(dir.path()).unwrap());
    let mut locks = Locks::open(&one, None).unwrap();
    let held = locks.world(Share::Exclusive, "test", AT_ONCE).unwrap();
    held.demand_root(&one).unwrap();
    assert!(matches!(held.demand_root(&other), Err(LockFault::OtherRoot { .. })));
}

/// Another process that holds a lock until it is told to let go, or is killed.
struct Other {
    child: Child,
    input: Option<ChildStdin>,
    /// Kept open: the child writes more than we read.
    _output: BufReader<ChildStdout>,
    /// What it said first: `held`, or why not.
    said: String,
}

impl Other {
    fn new(root: &Path, what: &str, inheritance: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::holds_a_lock_as_a_child", "--nocapture"])
            .env(CHILD, format!("{}|{what}|{inheritance}", root.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let said = (&mut output)
            .lines()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("says: ")?.1.to_owned()))
            .unwrap();
        Self { input: child.stdin.take(), _output: output, child, said }
    }

    fn pid(&self) -> Pid {
        Pid::new(self.child.id()).unwrap()
    }

    fn let_go(mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Does nothing unless it was started by [`Other`].
#[test]
fn holds_a_lock_as_a_child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let mut parts = order.split('|');
    let mut part = || parts.next().unwrap();
    let root = Root::below(Path::new(part())).unwrap();
    let what = part();
    let inherited = Some(part()).filter(|text| !text.is_empty()).map(Inheritance::from_text);
    let mut locks = Locks::open(&root, inherited).unwrap();
    match what {
        "shared" => hold(&locks.world(Share::Shared, "a test", AT_ONCE)),
        "exclusive" => hold(&locks.world(Share::Exclusive, "a test", AT_ONCE)),
        _ => hold(&locks.publish("a test", AT_ONCE)),
    }
}

fn hold<T>(taken: &Result<T, LockFault>) {
    match taken {
        Ok(_) => println!("says: held"),
        Err(fault) => println!("says: {fault}"),
    }
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn place() -> (tempfile::TempDir, Locks) {
    let dir = tempfile::tempdir().unwrap();
    let locks = Locks::open(&Root::below(dir.path()).unwrap(), None).unwrap();
    (dir, locks)
}

#[test]
fn a_held_lock_names_its_holder_and_frees_when_let_go() {
    let (dir, mut locks) = place();
    let other = Other::new(dir.path(), "exclusive", "");
    assert_eq!(other.said, "held");
    let fault = locks.world(Share::Shared, "me", AT_ONCE).unwrap_err();
    assert!(fault.is_held());
    let start = format!("the lock world is held by process {} (a test) since 2", other.pid());
    assert!(fault.to_string().starts_with(&start), "{fault}");
    // Other levels are not touched by it.
    assert!(locks.publish("me", AT_ONCE).is_ok());
    other.let_go();
    assert!(locks.world(Share::Exclusive, "me", LONG).is_ok());
}

#[test]
fn a_killed_holder_frees_its_lock() {
    let (dir, mut locks) = place();
    let other = Other::new(dir.path(), "exclusive", "");
    other.kill();
    assert!(locks.world(Share::Exclusive, "me", AT_ONCE).is_ok());
}

#[test]
fn a_stopped_holder_keeps_its_lock() {
    let (dir, mut locks) = place();
    let other = Other::new(dir.path(), "publish", "");
    let process = ProcessDir::open(other.pid()).unwrap();
    process.signal(Signal::STOP).unwrap();
    assert!(locks.publish("me", Duration::from_millis(60)).unwrap_err().is_held());
    other.kill();
    assert!(locks.publish("me", AT_ONCE).is_ok());
}

#[test]
fn shared_goes_with_shared_only() {
    let (dir, mut locks) = place();
    let one = Other::new(dir.path(), "shared", "");
    let two = Other::new(dir.path(), "shared", "");
    assert_eq!((one.said.as_str(), two.said.as_str()), ("held", "held"));
    let fault = locks.world(Share::Exclusive, "me", AT_ONCE).unwrap_err();
    let pids = [one.pid(), two.pid()];
    assert!(pids.iter().any(|pid| fault.to_string().contains(&format!("process {pid}"))));
    two.kill();
    // The record is that of the dead one; nothing wrong is said.
    let fault = locks.world(Share::Exclusive, "me", AT_ONCE).unwrap_err();
    assert!(fault.to_string().ends_with("a process that left no record"), "{fault}");
    assert!(locks.world(Share::Shared, "me", AT_ONCE).is_ok());
    one.let_go();
    assert!(locks.world(Share::Exclusive, "me", AT_ONCE).is_ok());
}

#[test]
fn waiting_is_bounded_and_ends_when_the_lock_is_free() {
    let (dir, mut locks) = place();
    let other = Other::new(dir.path(), "exclusive", "");
    let started = Instant::now();
    let wait = Duration::from_millis(150);
    assert!(locks.world(Share::Exclusive, "me", wait).unwrap_err().is_held());
    assert!(started.elapsed() >= wait);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        other.let_go();
    });
    assert!(locks.world(Share::Exclusive, "me", LONG).is_ok());
    thread.join().unwrap();
}

#[test]
fn a_child_goes_on_under_its_parent_s_lock() {
    let (dir, mut locks) = place();
    let mut world = locks.world(Share::Exclusive, "deploy", AT_ONCE).unwrap();
    let secret = world.inheritance().as_str().to_owned();
    let stranger = Other::new(dir.path(), "exclusive", "");
    assert!(stranger.said.contains("is held by process"), "{}", stranger.said);
    stranger.let_go();
    let wrong = Other::new(dir.path(), "exclusive", "not what was handed over");
    assert!(wrong.said.contains("is held by process"), "{}", wrong.said);
    wrong.let_go();
    let child = Other::new(dir.path(), "exclusive", &secret);
    assert_eq!(child.said, "held");
    // What the parent does not hold, the child takes for itself.
    let publisher = Other::new(dir.path(), "publish", &secret);
    assert_eq!(publisher.said, "held");
    assert!(world.publish("me", AT_ONCE).unwrap_err().is_held());
    child.let_go();
    publisher.let_go();
    drop(world);
    // The record is gone with the lock: what was handed over is worth nothing now.
    let text = std::fs::read(dir.path().join("run/openhands-toolkit/locks/world.lock")).unwrap();
    assert!(text.is_empty());
}

#[test]
fn the_order_goes_down_and_levels_may_be_left_out() {
    let (_dir, mut locks) = place();
    {
        let mut world = locks.world(Share::Shared, "start", AT_ONCE).unwrap();
        let mut leases = world.leases(["8889", "8888", "8888"], "start", AT_ONCE).unwrap();
        let mut databases = leases.databases(["vscode-ports"], "start", AT_ONCE).unwrap();
        let _publish = databases.publish("start", AT_ONCE).unwrap();
    }
    {
        let mut databases = locks.databases(["repositories"], "x", AT_ONCE).unwrap();
        let _publish = databases.publish("x", AT_ONCE).unwrap();
    }
    let _leases = locks.leases(["a"], "x", AT_ONCE).unwrap();
}

#[test]
fn leases_are_all_or_none() {
    let (dir, mut locks) = place();
    let mut others = Locks::open(&Root::below(dir.path()).unwrap(), None).unwrap();
    let held = others.leases(["8889"], "other", AT_ONCE).unwrap();
    let fault = locks.leases(["8888", "8889"], "me", AT_ONCE).unwrap_err();
    assert!(fault.to_string().starts_with("the lock lease-8889 is held by process"), "{fault}");
    drop(held);
    assert!(others.leases(["8888"], "other", AT_ONCE).is_ok());
    for bad in ["", "../x", "a/b", "a b", &"x".repeat(65)] {
        assert!(matches!(locks.leases([bad], "me", AT_ONCE), Err(LockFault::Name(_))), "{bad}");
    }
}

#[test]
fn lock_files_stay_and_are_ours() {
    let (dir, mut locks) = place();
    let folder = dir.path().join("run/openhands-toolkit/locks");
    let file = folder.join("publish.lock");
    drop(locks.publish("me", AT_ONCE).unwrap());
    let (inode, mode) = (file.metadata().unwrap().ino(), file.metadata().unwrap().mode());
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700);
    drop(locks.publish("me", AT_ONCE).unwrap());
    assert_eq!(file.metadata().unwrap().ino(), inode);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let fault = locks.publish("me", AT_ONCE).unwrap_err();
    assert!(fault.to_string().ends_with("it has mode 0666, not 0600"), "{fault}");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(matches!(locks.publish("me", AT_ONCE), Err(LockFault::Io { .. })));
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    let again = Locks::open(&Root::below(dir.path()).unwrap(), None);
    assert!(matches!(again, Err(LockFault::Folder(_))));
}

#[test]
fn a_record_of_another_version_is_no_record() {
    let (dir, mut locks) = place();
    let mut others = Locks::open(&Root::below(dir.path()).unwrap(), None).unwrap();
    let _held = others.publish("other", AT_ONCE).unwrap();
    let file = dir.path().join("run/openhands-toolkit/locks/publish.lock");
    for text in ["", "{", r#"{"schema":2}"#] {
        std::fs::write(&file, text).unwrap();
        let fault = locks.publish("me", AT_ONCE).unwrap_err();
        assert!(fault.to_string().ends_with("left no record"), "{fault}");
    }
}
