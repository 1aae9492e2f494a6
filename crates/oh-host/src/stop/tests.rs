use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::process::{IDENTITY_SCHEMA, Identity};
use crate::spawn::TOKEN_KEY;

/// Longer than any test may take: whoever waits for it has failed.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

/// Starts `sh -c script` as [`crate::spawn`] does, and waits for the line that it prints when it
/// is ready; the words of that line are the pids of what it started.
fn leader(target: &Target) -> &Identity {
    target.identity.as_ref().unwrap()
}

fn start(script: &str, token: Option<&str>) -> (Child, Target, Vec<Pid>) {
    let mut command = Command::new("sh");
    // A bound for loops, so that nothing outlives a test that was itself killed.
    let rounds = "x ".repeat(600);
    command.args(["-c", script]).env("N", rounds).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(token) = token {
        command.env(TOKEN_KEY, token);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids = line.split_whitespace().map(|word| Pid::new(word.parse().unwrap()).unwrap());
    let identity = Identity::of(Pid::new(child.id()).unwrap()).unwrap();
    let target = Target { identity: Some(identity), token: token.map(str::to_owned) };
    (child, target, pids.collect())
}

fn token() -> String {
    crate::random::token().unwrap()
}

fn is_gone(pid: Pid) -> bool {
    match ProcessDir::open(pid) {
        Ok(process) => process.is_gone().unwrap(),
        Err(fault) => fault.is_gone(),
    }
}

fn how(outcomes: &[Outcome], pid: Pid) -> How {
    outcomes.iter().find(|outcome| outcome.pid == pid).unwrap().how
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_goes_at_once_is_not_waited_for() {
    let (mut child, target, pids) = start("sleep 60 & echo $!; wait", Some(&token()));
    let started = Instant::now();
    let outcomes = stop(std::slice::from_ref(&target), LONG).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.how == How::Term && outcome.target == 0));
    assert!(is_gone(leader(&target).pid) && is_gone(pids[0]));
    child.wait().unwrap();
    let again = stop(&[target], LONG).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].how, How::AlreadyGone);
}

#[test]
fn what_ignores_the_request_is_killed_after_the_grace() {
    let script = "trap '' TERM; echo; for i in $N; do sleep 0.1; done";
    let (mut child, target, _) = start(script, None);
    let started = Instant::now();
    let outcomes = stop(std::slice::from_ref(&target), SHORT).unwrap();
    assert!(started.elapsed() >= SHORT);
    assert_eq!(how(&outcomes, leader(&target).pid), How::Kill);
    assert!(outcomes.iter().all(Outcome::is_settled), "{outcomes:?}");
    child.wait().unwrap();
}

#[test]
fn a_session_of_its_own_does_not_save_a_child() {
    let script = "setsid sh -c 'trap \"\" TERM; sleep 61 & echo $$; wait; sleep 60' & wait";
    let (mut child, target, pids) = start(script, None);
    let outcomes = stop(std::slice::from_ref(&target), SHORT).unwrap();
    assert_eq!(how(&outcomes, leader(&target).pid), How::Term);
    assert_eq!(how(&outcomes, pids[0]), How::Kill);
    assert!(outcomes.len() >= 3 && outcomes.iter().all(Outcome::is_settled), "{outcomes:?}");
    child.wait().unwrap();
}

#[test]
fn orphans_of_a_leader_that_is_gone_are_found_by_their_token() {
    let token = token();
    let script = "setsid sleep 60 & a=$!; sleep 60 & echo $a $!; wait";
    let (mut child, target, pids) = start(script, Some(&token));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    let outcomes = stop(std::slice::from_ref(&target), LONG).unwrap();
    assert_eq!(how(&outcomes, leader(&target).pid), How::AlreadyGone);
    for pid in pids {
        assert_eq!(how(&outcomes, pid), How::Term);
        assert!(is_gone(pid));
    }
}

#[test]
fn one_orphan_with_the_token_vouches_for_its_group() {
    // The second orphan has lost the token; the group of the leader that is gone is its own.
    let script = "sleep 60 & a=$!; env -i sleep 60 & echo $a $!; wait";
    let (mut child, target, pids) = start(script, Some(&token()));
    // The shell names a child before that has become `env`.
    wait_until(|| {
        let look = ProcessDir::open(pids[1]).unwrap();
        look.environment_value(TOKEN_KEY).unwrap().is_none()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let outcomes = stop(&[target], LONG).unwrap();
    assert_eq!(pids.iter().map(|pid| how(&outcomes, *pid)).collect::<Vec<_>>(), [How::Term; 2]);
}

#[test]
fn a_stranger_with_the_same_arguments_lives_on() {
    let script = "sleep 60 & echo $!; wait";
    let (mut ours, target, _) = start(script, Some(&token()));
    let (mut stranger, foreign, strangers) = start(script, Some(&token()));
    let outcomes = stop(&[target], LONG).unwrap();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert!(!is_gone(leader(&foreign).pid) && !is_gone(strangers[0]));
    ours.wait().unwrap();
    stop(&[foreign], LONG).unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_number_that_was_reused_is_a_stranger_s() {
    let (mut child, mut target, pids) = start("sleep 60 & echo $!; wait", None);
    let real = target.clone();
    target.identity.as_mut().unwrap().start_time_ticks -= 1;
    let mut same_tick = real.clone();
    let known = same_tick.identity.as_mut().unwrap();
    known.pidfd_inode = known.pidfd_inode.map(|inode| inode + 1);
    known.argv_sha256 = "0".repeat(64);
    let outcomes = stop(&[target, same_tick], LONG).unwrap();
    let hows: Vec<How> = outcomes.iter().map(|outcome| outcome.how).collect();
    assert_eq!(hows, [How::Stranger, How::Stranger]);
    assert!(!is_gone(leader(&real).pid) && !is_gone(pids[0]));
    stop(&[real], LONG).unwrap();
    child.wait().unwrap();
}

#[test]
fn another_boot_s_processes_are_gone() {
    let (mut child, target, _) = start("echo; exec sleep 60", None);
    let mut earlier = target.clone();
    earlier.identity.as_mut().unwrap().boot_id =
        BootId::parse("123e4567-e89b-12d3-a456-426614174000").unwrap();
    assert_eq!(stop(&[earlier], LONG).unwrap()[0].how, How::AlreadyGone);
    assert!(!is_gone(leader(&target).pid));
    stop(&[target], LONG).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_stopped_process_wakes_to_go() {
    let (mut child, target, _) = start("echo; exec sleep 60", None);
    let process = ProcessDir::open(leader(&target).pid).unwrap();
    process.signal(Signal::STOP).unwrap();
    wait_until(|| process.stat().unwrap().state == 'T');
    let outcomes = stop(&[target], LONG).unwrap();
    assert_eq!(outcomes[0].how, How::Term);
    child.wait().unwrap();
}

#[test]
fn what_starts_itself_anew_is_caught() {
    // Each one starts its successor when it is asked to go, in a session of its own.
    let script = "trap 'setsid sh -c \"$S\" & exit' TERM; echo; for i in $N; do sleep 0.1; done";
    let script = format!("export S='{}'; {script}", script.replace('\'', "'\\''"));
    let token = token();
    let (mut child, target, _) = start(&script, Some(&token));
    let outcomes = stop(&[target], SHORT).unwrap();
    assert!(outcomes.iter().all(Outcome::is_settled), "{outcomes:?}");
    child.wait().unwrap();
    let left = Processes::look().unwrap().stats.into_iter().filter(|stat| {
        let process = ProcessDir::open(stat.pid);
        !stat.is_dead()
            && process.is_ok_and(|p| p.environment_has(TOKEN_KEY, &token).unwrap_or(false))
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn several_targets_share_one_grace() {
    let script = "trap '' TERM; echo; for i in $N; do sleep 0.1; done";
    let mut started: Vec<_> = (0..3).map(|_| start(script, Some(&token()))).collect();
    let targets: Vec<Target> = started.iter().map(|(_, target, _)| target.clone()).collect();
    let began = Instant::now();
    let outcomes = stop(&targets, SHORT).unwrap();
    assert!(began.elapsed() < 3 * SHORT + Duration::from_secs(2));
    for (at, target) in targets.iter().enumerate() {
        let own = outcomes.iter().find(|outcome| outcome.pid == leader(target).pid).unwrap();
        assert_eq!((own.target, own.how), (at, How::Kill));
    }
    for (child, ..) in &mut started {
        child.wait().unwrap();
    }
}

#[test]
fn this_process_is_never_signalled() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let target = Target { identity: Some(Identity::own().unwrap()), token: None };
    let outcomes = stop(&[target], LONG).unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!((outcomes[0].pid, outcomes[0].how), (Pid::own(), How::Protected));
    assert!(!is_gone(Pid::new(child.id()).unwrap()), "nor is what it started");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_token_that_anybody_might_have_is_refused() {
    let target = Target { identity: Some(Identity::own().unwrap()), token: Some("x".into()) };
    assert!(matches!(stop(&[target], LONG), Err(StopFault::Token)));
    assert_eq!(IDENTITY_SCHEMA, 1);
}

/// Makes processes that show neither arguments nor an environment, as in the moment of an exec, and
/// for ever: `PR_SET_MM_MAP` of prctl(2), which anybody may. The fields are those of
/// `/proc/self/stat`.
const HIDDEN: &str = r#"
import ctypes, os, signal
stat = [0, 0, 0] + open("/proc/self/stat").read().rsplit(") ")[1].split()
at = lambda *fields: [int(stat[field]) for field in fields]
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
of = at(26, 27, 45, 46, 47) + [libc.sbrk(0)] + at(28, 48, 48, 50, 50)
of = (ctypes.c_uint64 * 13)(*of, 0, 0xffffffff << 32)
if libc.prctl(35, 14, ctypes.byref(of), ctypes.c_ulong(104), ctypes.c_ulong(0)) == 0:
    children = [os.fork() for _ in range(400) if os.getpid() == LEADER]
    if os.getpid() == LEADER:
        print(*children, flush=True)
    signal.pause()
print(flush=True)
"#;

#[test]
fn any_number_of_processes_that_hide_their_environment_hold_nothing_up() {
    let script = HIDDEN.replace("LEADER", "int(os.environ[\"LEADER\"])");
    let script = format!("LEADER=$$ exec python3 -c '{script}'");
    let (mut crowd, crowd_target, hidden) = start(&script, None);
    if hidden.is_empty() {
        // A kernel without CONFIG_CHECKPOINT_RESTORE: nobody can hide there.
        crowd.wait().unwrap();
        return;
    }
    for pid in &hidden {
        let process = ProcessDir::open(*pid).unwrap();
        assert_eq!(process.present_environment_value(TOKEN_KEY).unwrap(), Glance::InExec);
    }
    let (mut child, target, _) = start("echo; exec sleep 60", Some(&token()));
    let began = Instant::now();
    let outcomes = stop(&[target], LONG).unwrap();
    let took = began.elapsed();
    stop(&[crowd_target], LONG).unwrap();
    crowd.wait().unwrap();
    child.wait().unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    // It looks twice, and each look waited for 8 s when it waited for each of them.
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_group_that_ours_has_left_meanwhile_makes_no_stranger_ours() {
    let (mut child, target, _) = start("echo; exec sleep 60", None);
    let (mut stranger, foreign, _) = start("echo; exec sleep 60", None);
    let number = leader(&foreign).pid;
    let targets = [target];
    let mut run = Run::new(&targets).unwrap();
    run.meet_leaders().unwrap();
    // When all were looked at, ours was in a group that a leader of ours had made, and it has left
    // it since: the group ended, and its number is another's.
    run.leaders.push(Outcome {
        target: 0,
        pid: number,
        name: String::new(),
        how: How::AlreadyGone,
    });
    let mut all = Processes::look().unwrap();
    let ours = all.stats.iter_mut().find(|stat| stat.pid == leader(&targets[0]).pid).unwrap();
    ours.group = Some(number);
    run.find_families(&all).unwrap();
    let known: Vec<Pid> = run.known.keys().map(|(pid, _)| *pid).collect();
    assert_eq!(known, [leader(&targets[0]).pid]);
    stop(&[targets[0].clone(), foreign], LONG).unwrap();
    child.wait().unwrap();
    stranger.wait().unwrap();
}

/// A control group for a test, which ends with it, and with all that is in it.
struct TestGroup(std::path::PathBuf);

impl TestGroup {
    /// Makes one; `None` for anybody but root, who may not.
    fn make() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let of_mount = |mount: &&str| std::fs::exists(format!("{mount}/cgroup.procs")).unwrap();
        let mount = mounts.into_iter().find(of_mount).expect("environment: no control groups here");
        let folder = std::path::Path::new(mount).join(format!("oh-host-test-{}", token()));
        std::fs::create_dir(&folder).expect("environment: no control group can be made here");
        Some(Self(folder))
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    fn members(&self) -> String {
        std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap()
    }
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        drop(std::fs::write(self.0.join("cgroup.kill"), "1"));
        let end = Instant::now() + Duration::from_secs(10);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Starts a shell in a group and waits until it says that it is ready.
fn start_in(group: &TestGroup, script: &str) -> (Child, Target) {
    let (child, target, _) =
        start(&format!("echo $$ >{}/cgroup.procs; {script}", group.0.display()), None);
    (child, target)
}

#[test]
fn a_group_of_ours_alone_is_ended_as_a_whole_and_one_with_a_stranger_is_not() {
    let Some(group) = TestGroup::make() else { return };
    let script = "trap '' TERM; echo; for i in $N; do sleep 0.1; done";
    let (mut ours, target) = start_in(&group, script);
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    group.take(stranger.id());
    let targets = [target];
    let run = || {
        let mut run = Run::new(&targets).unwrap();
        run.meet_leaders().unwrap();
        run.gather().unwrap();
        run.kill_groups().unwrap();
        run.known.values().any(|known| known.sent == Some(Signal::KILL))
    };
    assert!(!run());
    assert!(stranger.try_wait().unwrap().is_none() && ours.try_wait().unwrap().is_none());
    // One that is in a group below is in it too.
    let below = group.0.join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    assert!(!run());
    assert!(stranger.try_wait().unwrap().is_none() && ours.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    wait_until(|| std::fs::remove_dir(&below).is_ok());
    assert!(run());
    // No signal was sent to it.
    let status = ours.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    wait_until(|| group.members().is_empty());
}

#[test]
fn a_group_with_what_must_not_end_is_not_ended() {
    let Some(group) = TestGroup::make() else { return };
    let script = "trap '' TERM; echo; for i in $N; do sleep 0.1; done";
    let (mut ours, target) = start_in(&group, script);
    let (mut around, other) = start_in(&group, script);
    let protected = leader(&other).pid;
    let targets = [target, other];
    let mut run = Run::new(&targets).unwrap();
    run.meet_leaders().unwrap();
    run.gather().unwrap();
    for (key, known) in &mut run.known {
        known.protected = key.0 == protected;
    }
    run.kill_groups().unwrap();
    assert!(run.known.values().all(|known| known.sent.is_none()));
    assert!(ours.try_wait().unwrap().is_none() && around.try_wait().unwrap().is_none());
    for child in [&mut ours, &mut around] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
