//! What a first and a second signal do to a process that is in the midst of a change: in a process of its
//! own, which this test starts as itself.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that talks to itself")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use oh_host::signals::Interrupts;
use rustix::process::{Pid, Signal, kill_process};

/// Says to this test that it is the process that is interrupted.
const INSIDE: &str = "OHT_TEST_INTERRUPTED";

/// It ends with the test.
struct Held {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Held {
    fn start(name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut held = Self { child, lines };
        held.says("held");
        held
    }

    /// Waits until it says something; its end is an end of the lines.
    fn says(&mut self, what: &str) {
        let is_it = |line: std::io::Result<String>| line.unwrap().ends_with(what);
        assert!(self.lines.any(is_it), "it never said {what:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// Holds signals back, and answers each line.
fn inside() {
    let interrupts = Interrupts::listen().unwrap();
    interrupts.tell(|| println!("told")).unwrap();
    let _held = interrupts.hold();
    println!("held");
    for line in std::io::stdin().lines() {
        println!("answers {}", line.unwrap());
    }
}

#[test]
fn an_interrupt_is_told_at_once_and_the_second_ends_the_process() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut held = Held::start("an_interrupt_is_told_at_once_and_the_second_ends_the_process");
    held.signal(Signal::INT);
    held.says("told");
    // Whoever reads the line may be quicker than what counts behind it.
    let status = loop {
        if let Some(status) = held.child.try_wait().unwrap() {
            break status;
        }
        held.signal(Signal::INT);
    };
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn what_is_sent_twice_by_itself_ends_nothing_at_once() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut held = Held::start("what_is_sent_twice_by_itself_ends_nothing_at_once");
    for signal in [Signal::TERM, Signal::TERM, Signal::HUP, Signal::HUP] {
        held.signal(signal);
        let mut words = held.child.stdin.as_ref().unwrap();
        words.write_all(b"still\n").unwrap();
        held.says("answers still");
    }
    held.child.stdin.take();
    let status = held.child.wait().unwrap();
    // What was kept back ends it when its change is over.
    assert!(status.signal().is_some_and(|number| [15, 1].contains(&number)), "{status}");
}
