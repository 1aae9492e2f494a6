use std::process::{Child, Command, Stdio};

use super::*;

fn sleeper() -> Child {
    Command::new("sleep").arg("60").env("OHT_TEST", "here").spawn().unwrap()
}

fn pid_of(child: &Child) -> Pid {
    Pid::new(child.id()).unwrap()
}

#[test]
fn a_process_is_recognised_and_another_is_not() {
    let (mut one, mut two) = (sleeper(), sleeper());
    let identity = Identity::of(pid_of(&one)).unwrap();
    let dir = ProcessDir::open(pid_of(&one)).unwrap();
    assert!(dir.is(&identity).unwrap());
    let earlier = Identity { start_time_ticks: 1, ..identity.clone() };
    assert!(!dir.is(&earlier).unwrap());
    let older_kernel = Identity { pidfd_inode: None, ..identity.clone() };
    assert!(dir.is(&older_kernel).unwrap());
    let other_argv = Identity { argv_sha256: "0".repeat(64), ..older_kernel };
    assert!(!dir.is(&other_argv).unwrap());
    if let Some(inode) = identity.pidfd_inode {
        let same_tick = Identity { pidfd_inode: Some(inode + 1), ..identity.clone() };
        assert!(!dir.is(&same_tick).unwrap());
    }
    let boot_id = BootId::parse("123e4567-e89b-12d3-a456-426614174000").unwrap();
    assert!(!dir.is(&Identity { boot_id, ..identity.clone() }).unwrap());
    assert!(!ProcessDir::open(pid_of(&two)).unwrap().is(&identity).unwrap());
    for child in [&mut one, &mut two] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(dir.stat().unwrap_err().is_gone());
    assert!(dir.is(&identity).unwrap_err().is_gone());
    assert_eq!(dir.signal(Signal::TERM).unwrap(), Sent::Gone);
}

#[test]
fn a_zombie_is_gone() {
    let mut child = sleeper();
    let dir = ProcessDir::open(pid_of(&child)).unwrap();
    assert!(!dir.is_gone().unwrap());
    assert_eq!(dir.signal(Signal::KILL).unwrap(), Sent::Delivered);
    let end = std::time::Instant::now() + core::time::Duration::from_secs(5);
    while !dir.is_gone().unwrap() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!(dir.stat().unwrap().state, 'Z');
    assert!(dir.arguments().unwrap().is_empty());
    child.wait().unwrap();
    assert!(dir.is_gone().unwrap());
}

#[test]
fn what_proc_tells_is_read() {
    let mut child = sleeper();
    let dir = ProcessDir::open(pid_of(&child)).unwrap();
    assert_eq!(dir.arguments().unwrap(), [b"sleep".to_vec(), b"60".to_vec()]);
    assert!(dir.environment_has("OHT_TEST", "here").unwrap());
    assert!(!dir.environment_has("OHT_TEST", "her").unwrap());
    assert_eq!(dir.environment_value("OHT_TEST").unwrap(), Some(b"here".to_vec()));
    assert_eq!(dir.environment_value("OHT_TES").unwrap(), None);
    assert!(dir.executable().unwrap().is_absolute());
    assert_eq!(dir.working_folder().unwrap(), std::env::current_dir().unwrap());
    assert_eq!(dir.uid().unwrap(), rustix::process::geteuid().as_raw());
    let stat = dir.stat().unwrap();
    assert_eq!((stat.parent, stat.is_kernel), (Some(Pid::own()), false));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn families_are_found() {
    let mut shell = Command::new("sh")
        .args(["-c", "sleep 60 & echo; wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The shell writes a line once its own child runs.
    shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let all = Processes::look().unwrap();
    let below = all.descendants_of(pid_of(&shell));
    assert_eq!(below.len(), 1);
    assert!(all.children_of(Pid::own()).any(|stat| stat.pid == pid_of(&shell)));
    assert_eq!(all.ancestors_of(below[0])[..2], [pid_of(&shell), Pid::own()]);
    assert!(all.descendants_of(Pid::own()).contains(&below[0]));
    for pid in below {
        ProcessDir::open(pid).unwrap().signal(Signal::KILL).unwrap();
    }
    shell.wait().unwrap();
}

#[test]
fn an_identity_is_written_in_one_version() {
    let boot_id = "123e4567-e89b-12d3-a456-426614174000";
    let hash = "ab".repeat(32);
    let text = format!(
        r#"{{"schema":1,"boot_id":"{boot_id}","pid":42,"start_time_ticks":7,"argv_sha256":"{hash}","pidfd_inode":9}}"#
    );
    let identity: Identity = serde_json::from_str(&text).unwrap();
    assert_eq!(identity.pid.get(), 42);
    assert_eq!(serde_json::to_string(&identity).unwrap(), text);
    for (from, to) in
        [("\"schema\":1", "\"schema\":2"), ("42", "0"), ("ab", "g"), ("\"pid\"", "\"p\"")]
    {
        let broken = text.replacen(from, to, 1);
        assert!(serde_json::from_str::<Identity>(&broken).is_err(), "{broken}");
    }
}

#[test]
fn own_start_is_ours() {
    let (pid, start) = own_start().unwrap();
    assert!(lives(pid, start));
    assert!(!lives(pid, start + 1));
}
