//! Stopping what has come to this process as an orphan. One test alone, because every child of this
//! process is meant.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oh_host::process::{Pid, ProcessDir};
use oh_host::spawn::TOKEN_KEY;
use oh_host::stop::{self, How, Target};

const BOUND: Duration = Duration::from_secs(20);

fn is_gone(pid: Pid) -> bool {
    ProcessDir::open(pid).and_then(|process| process.is_gone()).unwrap_or(true)
}

#[test]
fn orphans_that_have_come_to_us_are_ended_and_those_of_others_are_not() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let (ours, theirs) = ("a".repeat(32), "b".repeat(32));
    // Neither the first, which has a child, nor the second can be known by any mark of ours.
    let script = format!(
        "setsid env -i /bin/sh -c 'trap \"\" TERM; /bin/sleep 60 & echo $!; wait; wait' &\n\
         {TOKEN_KEY}={theirs} setsid /bin/sleep 60 & echo $$ $!"
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).env(TOKEN_KEY, &ours).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut numbers: Vec<Vec<Pid>> = (0..2)
        .map(|_| lines.next().unwrap().unwrap())
        .map(|line| line.split(' ').map(|n| Pid::new(n.parse().unwrap()).unwrap()).collect())
        .collect();
    numbers.sort_by_key(Vec::len);
    let (below, other) = (numbers[0][0], numbers[1][1]);
    shell.wait().unwrap();
    let orphan = ProcessDir::open(below).unwrap().stat().unwrap().parent.unwrap();
    let parent = |pid| ProcessDir::open(pid).unwrap().stat().unwrap().parent;
    // Before it is another program it has the token of ours.
    let carries = |pid, token: &str| {
        ProcessDir::open(pid).unwrap().environment_has(TOKEN_KEY, token).unwrap()
    };
    let end = Instant::now() + BOUND;
    while !carries(other, &theirs) || carries(orphan, &ours) {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!([parent(orphan), parent(other)], [Some(Pid::own()); 2]);

    let target = |token: &str| Target { identity: None, token: Some(token.to_owned()) };
    let others = [target(&theirs)];
    let outcomes =
        stop::stop_with_children(&target(&ours), &others, Duration::from_millis(300)).unwrap();
    let mut ended: Vec<Pid> = outcomes.iter().map(|outcome| outcome.pid).collect();
    let mut expected = vec![orphan, below];
    ended.sort();
    expected.sort();
    assert_eq!(ended, expected, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome.how, How::Term | How::Kill)));
    assert!(is_gone(orphan) && is_gone(below));
    assert!(!is_gone(other), "another's is ended");
    stop::stop(&others, BOUND).unwrap();
    assert!(is_gone(other));
}
