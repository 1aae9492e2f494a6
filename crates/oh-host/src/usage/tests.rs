use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use oh_model::idleness::{Because, Verdict, judge};

use super::*;
use crate::process::{Identity, Signal};
use crate::spawn::TOKEN_KEY;
use crate::stop;

const PLAIN: Closely = Closely { tokens: false, proportional: false };
const TOKENS: Closely = Closely { tokens: true, proportional: false };

/// An instance of a test: ended with everything that it started, whatever happens.
struct Instance {
    child: Child,
    subject: Subject,
    /// What the script printed as its first line.
    words: Vec<Pid>,
}

impl Instance {
    /// Starts `program argument…` as [`crate::spawn`] does; it prints a line when it is ready.
    fn start(program: &str, arguments: &[&str]) -> Self {
        let token = crate::random::token().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env(TOKEN_KEY, &token).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let identity = Identity::of(Pid::new(child.id()).unwrap()).unwrap();
        let target = Target { identity: Some(identity), token: Some(token) };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let words = line.split_whitespace().map(|word| Pid::new(word.parse().unwrap()).unwrap());
        let words = words.collect();
        Self { child, subject: Subject { target, door: None }, words }
    }

    fn shell(script: &str) -> Self {
        Self::start("sh", &["-c", script])
    }

    /// Starts something that opens a pseudo-terminal and lets a program lead a session in it, as a
    /// pty host does; what stands in `typed` is typed into it.
    fn terminal(program: &[&str], typed: &str) -> Self {
        let script = "import os, pty, sys\n\
            pid, fd = pty.fork()\n\
            if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])\n\
            os.write(fd, sys.argv[1].encode())\n\
            print(pid, flush=True)\n\
            while os.read(fd, 4096): pass\n";
        Self::start("python3", &[&["-c", script, typed], program].concat())
    }

    fn leader(&self) -> Pid {
        self.subject.target.identity.as_ref().unwrap().pid
    }

    fn look(&self, closely: Closely) -> Look {
        look(std::slice::from_ref(&self.subject), closely).unwrap()
    }

    fn usage(&self) -> Usage {
        self.look(PLAIN).instances.remove(0)
    }

    /// Looks until it is as wanted.
    fn until(&self, what: &str, holds: impl Fn(&Usage) -> bool) -> Usage {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let usage = self.usage();
            if holds(&usage) {
                return usage;
            }
            assert!(Instant::now() < end, "{what} did not come to pass: {usage:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the leader alone.
    fn behead(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let target = self.subject.target.clone();
        // A test that fails is failing already.
        drop(stop::stop(&[target], Duration::from_secs(2)));
        drop(self.child.wait());
    }
}

fn now(usage: &Usage) -> Vec<Now> {
    usage.terminals.iter().map(|terminal| terminal.now).collect()
}

fn role(usage: &Usage, pid: Pid) -> Role {
    usage.processes.iter().find(|member| member.pid == pid).unwrap().role
}

const BASH: [&str; 3] = ["bash", "--norc", "--noprofile"];

#[test]
fn a_shell_that_waits_is_told_from_one_that_works() {
    let waiting = Instance::terminal(&BASH, "");
    let usage = waiting.until("a prompt", |usage| now(usage) == [Now::Waiting]);
    assert_eq!(usage.terminals[0].session, waiting.words[0]);
    assert!(usage.terminals[0].jobs.is_empty());
    assert_eq!(role(&usage, waiting.leader()), Role::Wrapper);
    assert_eq!(role(&usage, waiting.words[0]), Role::Shell);
    assert_eq!(usage.busy_terminals(), 0);

    for (what, typed) in
        [("a job in the foreground", "sleep 300\n"), ("a job in the background", "sleep 300 &\n")]
    {
        let busy = Instance::terminal(&BASH, typed);
        let usage = busy
            .until(what, |usage| usage.terminals.iter().any(|terminal| !terminal.jobs.is_empty()));
        assert_eq!(now(&usage), [Now::Busy], "{what}");
        assert_eq!(role(&usage, usage.terminals[0].jobs[0]), Role::Job, "{what}");
        assert_eq!(usage.busy_terminals(), 1);
    }

    // The shell itself works, on and off the processor: seen by what it uses.
    let busy = Instance::terminal(&BASH, "while :; do :; done\n");
    let before = busy.usage().cpu_ticks();
    busy.until("work", |usage| usage.cpu_ticks() > before + 3 && now(usage) == [Now::Busy]);
}

#[test]
fn what_leads_a_terminal_and_is_no_shell_that_asks_is_a_job() {
    for program in [
        &["sleep", "300"][..],
        &["sh", "-c", "read x; exit 0"],
        &["bash", "--norc", "-c", "read x; exit 0"],
        &["python3", "-c", "input()"],
    ] {
        let busy = Instance::terminal(program, "");
        // The program has taken the place of the fork, and has come to rest.
        let usage = busy.until("a program at rest", |usage| {
            usage.processes.iter().any(|member| {
                member.pid == busy.words[0] && member.name == program[0] && member.state == 'S'
            })
        });
        assert_eq!(now(&usage), [Now::Busy], "{program:?}");
    }
}

#[test]
fn the_terminal_of_whoever_started_it_is_none_of_the_instance() {
    // The instance is what runs in this terminal.
    let outer = Instance::terminal(&["sh", "-c", "sleep 300 & sleep 301"], "");
    outer.until("the instance", |usage| usage.processes.len() == 4);
    let identity = Identity::of(outer.words[0]).unwrap();
    let inner = Subject { target: Target { identity: Some(identity), token: None }, door: None };
    let usage = look(&[inner], PLAIN).unwrap().instances.remove(0);
    assert_eq!(usage.processes.len(), 3);
    assert!(usage.terminals.is_empty(), "{usage:#?}");
}

#[test]
fn a_job_that_left_its_terminal_is_a_job_and_no_terminal() {
    let left = Instance::terminal(&BASH, "(setsid sleep 300 &)\n");
    // Its parents are gone: nothing but its token says whose it is.
    let end = Instant::now() + Duration::from_secs(20);
    let usage = loop {
        let look = left.look(TOKENS);
        let usage = look.instances.into_iter().next().unwrap();
        let alone = |member: &Member| member.name == "sleep" && member.depth == 0;
        if usage.processes.iter().any(alone) && now(&usage) == [Now::Waiting] {
            break usage;
        }
        assert!(Instant::now() < end, "{usage:#?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let sleep = usage.processes.iter().find(|member| member.name == "sleep").unwrap();
    assert_eq!((sleep.role, usage.busy_terminals()), (Role::Job, 0));
    assert!(left.usage().processes.iter().all(|member| member.name != "sleep"));
}

#[test]
fn a_tree_is_measured_and_a_stranger_is_not_in_it() {
    let stranger = Instance::shell("sleep 300 & echo $!; wait");
    let one = Instance::shell("sh -c 'sleep 300 & wait' & setsid sleep 301 & echo $!; wait");
    one.until("the tree", |usage| usage.processes.len() == 4);
    let subjects = [one.subject.clone(), stranger.subject.clone()];
    let closely = Closely { tokens: true, proportional: true };
    let both = look(&subjects, closely).unwrap();
    assert_eq!(both.ticks_per_second, 100);
    assert_eq!(both.instances.iter().map(|one| one.processes.len()).collect::<Vec<_>>(), [4, 2]);
    let usage = &both.instances[0];
    let depths: Vec<usize> = usage.processes.iter().map(|member| member.depth).collect();
    assert_eq!((depths[0], usage.processes[0].pid), (0, one.leader()));
    assert!(depths == [0, 1, 2, 1] || depths == [0, 1, 1, 2], "{depths:?}");
    for member in &usage.processes[1..] {
        assert_eq!(member.role, Role::Helper);
    }
    let (resident, proportional) = (usage.resident_bytes(), usage.proportional_bytes().unwrap());
    assert!(proportional > 0 && proportional <= resident, "{proportional} of {resident}");
    let Leader::Alive { uptime_ms } = usage.leader else { panic!("{usage:#?}") };
    assert!(uptime_ms < 600_000, "{uptime_ms}");
    assert_eq!(usage.connections, Count::NotAsked);
    // PSS was not asked for: unknown, and not nothing.
    assert_eq!(one.usage().proportional_bytes(), None);
}

#[test]
fn processor_time_outlives_the_process_that_used_it() {
    let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let worked = Instance::shell(&format!("sh -c '{work}'; echo; exec sleep 300"));
    assert_eq!(
        worked.until("the end of it", |usage| usage.processes.len() == 1).processes.len(),
        1
    );
    let look = worked.look(PLAIN);
    assert!(look.instances[0].cpu_ticks() > 0, "{look:#?}");
}

#[test]
fn what_a_dead_leader_left_is_found_by_tokens_only() {
    let mut orphans = Instance::shell("setsid sleep 300 & echo $!; wait");
    orphans.behead();
    let look = orphans.look(PLAIN);
    assert_eq!(look.instances[0].leader, Leader::Gone);
    assert!(look.instances[0].processes.is_empty());
    let look = orphans.look(TOKENS);
    let pids: Vec<Pid> = look.instances[0].processes.iter().map(|member| member.pid).collect();
    assert_eq!(pids, orphans.words);
    // A number that is another process's now.
    let mut other = orphans.subject.clone();
    let own = Identity::own().unwrap();
    let earlier = Identity { start_time_ticks: own.start_time_ticks - 1, ..own };
    other.target.identity = Some(earlier);
    assert_eq!(super::look(&[other], PLAIN).unwrap().instances[0].leader, Leader::Stranger);
}

#[test]
fn an_instance_that_another_started_is_its_own() {
    let outer = Instance::shell("sh -c 'sleep 300 & wait' & echo $!; wait");
    outer.until("the tree", |usage| usage.processes.len() == 3);
    let inner = Target { identity: Some(Identity::of(outer.words[0]).unwrap()), token: None };
    let subjects = [outer.subject.clone(), Subject { target: inner, door: None }];
    for subjects in [subjects.clone(), [subjects[1].clone(), subjects[0].clone()]] {
        let seen = look(&subjects, PLAIN).unwrap();
        for (subject, usage) in subjects.iter().zip(&seen.instances) {
            let expected =
                if subject.target.identity.as_ref().unwrap().pid == outer.leader() { 1 } else { 2 };
            assert_eq!(usage.processes.len(), expected, "{usage:#?}");
        }
    }
}

#[test]
fn connections_are_counted_while_they_last() {
    let instance = Instance::shell("echo; exec sleep 300");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (tcp, unix) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let port = Port::new(tcp.local_addr().unwrap().port().into()).unwrap();
    let with = |door: Door| Subject { door: Some(door), ..instance.subject.clone() };
    let subjects = [
        with(Door::Port(port)),
        with(Door::Socket(RealPath::parse(path.to_str().unwrap()).unwrap())),
    ];
    let counts = || -> Vec<Count> {
        let seen = look(&subjects, PLAIN).unwrap().instances;
        seen.into_iter().map(|usage| usage.connections).collect()
    };
    assert_eq!(counts(), [Count::Known(0), Count::Known(0)]);
    let clients = (TcpStream::connect(("127.0.0.1", port.get())), UnixStream::connect(&path));
    let accepted = (tcp.accept().unwrap(), unix.accept().unwrap());
    assert_eq!(counts(), [Count::Known(1), Count::Known(1)]);
    drop((clients, accepted));
    assert_eq!(counts(), [Count::Known(0), Count::Known(0)]);
}

#[test]
fn what_is_seen_becomes_a_verdict() {
    let busy = Instance::terminal(&BASH, "sleep 300\n");
    busy.until("the job", |usage| usage.busy_terminals() == 1);
    let idle = Instance::shell("echo; exec sleep 300");
    let door = |instance: &Instance| Subject {
        // Nobody listens there, so nobody is connected.
        door: Some(Door::Port(Port::new(1).unwrap())),
        ..instance.subject.clone()
    };
    let seen = look(&[door(&busy), door(&idle)], PLAIN).unwrap();
    assert!(!seen.partial);
    let verdict = |usage: &Usage| {
        let first = seen.observation(usage, None);
        let hour = 3_600_000;
        let later = Observation { at_ms: first.at_ms + hour, ..first };
        judge(&[first, later], later.at_ms).unwrap()
    };
    let because = Because::Terminals { count: 1 };
    assert_eq!(verdict(&seen.instances[0]), Verdict::Active { because });
    let since_ms = seen.at_ms;
    let because = Because::FirstSeen;
    assert_eq!(verdict(&seen.instances[1]), Verdict::Idle { since_ms, because });
    // A view that may lack a job judges nobody idle.
    let partial = Look { partial: true, ..seen };
    assert_eq!(partial.observation(&partial.instances[1], None).busy_terminals, None);
}

#[test]
fn a_stopped_job_keeps_its_terminal_busy() {
    let busy = Instance::terminal(&BASH, "sleep 300\n");
    let usage = busy.until("the job", |usage| usage.busy_terminals() == 1);
    let usage = match usage.terminals[0].jobs.first() {
        Some(_) => usage,
        None => busy.until("the job", |usage| !usage.terminals[0].jobs.is_empty()),
    };
    let job = ProcessDir::open(usage.terminals[0].jobs[0]).unwrap();
    job.signal(Signal::STOP).unwrap();
    let stopped = |usage: &Usage| usage.processes.iter().any(|member| member.state == 'T');
    assert_eq!(now(&busy.until("a stop", stopped)), [Now::Busy]);
}

#[test]
fn a_token_that_anybody_might_have_is_refused() {
    let target = Target { identity: Some(Identity::own().unwrap()), token: Some("x".into()) };
    let fault = look(&[Subject { target, door: None }], TOKENS).unwrap_err();
    assert!(matches!(fault, UsageFault::Token), "{fault}");
}

#[test]
fn a_number_that_is_somebody_elses_by_now_is_not_looked_at_closer() {
    let instance = Instance::shell("echo; exec sleep 300");
    let stat = ProcessDir::open(instance.leader()).unwrap().stat().unwrap();
    let earlier =
        ProcessStat { start_time_ticks: stat.start_time_ticks.saturating_sub(1), ..stat.clone() };
    assert!(look_closer(&stat, PLAIN).unwrap().is_some());
    assert!(look_closer(&earlier, PLAIN).unwrap().is_none());
}

/// What is added round by round over all processes, as it was once done: quadratic, and plainly so.
fn kin_by_rounds(owners: &mut BTreeMap<Key, usize>, all: &Processes) {
    loop {
        let leads: BTreeSet<Pid> = owners.keys().map(|(pid, _)| *pid).collect();
        let mut kin = members::Kin::default();
        for stat in &all.stats {
            if let Some(target) = owners.get(&key(stat)) {
                kin.take_children_of(stat.pid, *target);
                kin.take_groups_of(stat, *target, &leads);
            }
        }
        let before = owners.len();
        for stat in all.stats.iter().filter(|stat| is_candidate(stat)) {
            if let Some((target, _)) = kin.claims(stat) {
                owners.entry(key(stat)).or_insert(target);
            }
        }
        if owners.len() == before {
            return;
        }
    }
}

#[test]
fn kin_is_what_the_rounds_find_and_a_long_line_has_no_rounds_over_all() {
    let own = ProcessDir::open(Pid::own()).unwrap().stat().unwrap();
    let pid = |number: u32| Pid::new(number).unwrap();
    let look = |stats: Vec<ProcessStat>| Processes { stats, partial: false };
    // A family that mixes descent, groups and sessions, with three leaders, by a fixed series of numbers.
    for seed in 1..40_u64 {
        let mut state = seed;
        let mut next = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(state >> 33).unwrap() % below
        };
        let stats = (2..302).map(|number| ProcessStat {
            pid: pid(number),
            parent: Some(pid(1 + next(number))),
            group: Some(pid(1 + next(number))),
            session: Some(pid(1 + next(number / 8 + 1))),
            state: if next(20) == 0 { 'Z' } else { 'S' },
            ..own.clone()
        });
        let all = look(stats.collect());
        let mut owners = Owners(
            [40, 90, 170]
                .into_iter()
                .enumerate()
                .map(|(target, at)| (key(&all.stats[at]), target))
                .collect(),
        );
        let mut expected = owners.0.clone();
        kin_by_rounds(&mut expected, &all);
        owners.add_kin(&all);
        assert_eq!(owners.0, expected, "{seed}");
    }
    // The line in which each is the child of the one behind it: 5000 rounds over 5000 processes once.
    const LONG: u32 = 5000;
    let line = (2..2 + LONG).map(|number| ProcessStat {
        pid: pid(number),
        parent: Some(pid(number + 1)),
        group: None,
        session: None,
        state: 'S',
        ..own.clone()
    });
    let all = look(line.collect());
    let mut owners = Owners([(key(&all.stats[all.stats.len() - 1]), 0)].into());
    owners.add_kin(&all);
    assert_eq!(owners.0.len(), all.stats.len());
    let expected: Vec<Pid> = (2..1 + LONG).map(pid).collect();
    assert_eq!(all.descendants_of(pid(1 + LONG)), expected);
    assert_eq!(all.ancestors_of(pid(2)).len(), usize::try_from(LONG).unwrap());
}
