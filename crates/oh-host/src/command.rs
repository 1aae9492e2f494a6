//! Runs a program to its end: cleared environment, a time limit, bounded output.
//!
//! For programs that answer a question (`nginx -t`). What goes on running is [`crate::spawn`]'s.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use oh_model::path::RealPath;
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

use crate::signals::Interrupts;

/// The most that is kept of each of a program's outputs, in bytes; the rest is read and dropped.
pub const OUTPUT_BYTES_MAX: u64 = 256 * 1024;

/// How long to wait before looking again whether the program has ended, at first.
const POLL_FIRST: Duration = Duration::from_micros(200);

/// How long to wait before looking again, at most.
const POLL_MOST: Duration = Duration::from_millis(20);

/// How long to wait for the rest of the output once the program has ended.
const OUTPUT_WAIT: Duration = Duration::from_secs(2);

/// The `PATH` that programs get: where a distribution puts its own.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Says why a program gave no answer.
#[derive(Debug, Error)]
pub enum CommandFault {
    /// It could not be started.
    #[error("could not run {program}")]
    Start {
        /// The program.
        program: RealPath,
        /// The system's reason.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{program} did not end within {limit_ms} ms and was killed")]
    TimedOut {
        /// The program.
        program: RealPath,
        /// The limit.
        limit_ms: u128,
    },
    /// Somebody ended it, so what it said is no answer.
    #[error("{program} was ended by signal {signal}")]
    Ended {
        /// The program.
        program: RealPath,
        /// The signal.
        signal: i32,
    },
    /// It did not do what it was asked.
    #[error("{program} failed ({ending}): {said}")]
    Failed {
        /// The program.
        program: RealPath,
        /// How it ended.
        ending: String,
        /// What it said, on one line.
        said: String,
    },
    /// Its output could not be read or its end not seen.
    #[error("could not follow {program}")]
    Follow {
        /// The program.
        program: RealPath,
        /// The system's reason.
        source: io::Error,
    },
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error; bytes that are no UTF-8 are replaced.
    pub stderr: String,
    /// Whether it said more on its standard output than is kept.
    pub is_cut: bool,
}

impl Output {
    /// Returns itself, unless a signal ended the program: then it did not come to an answer.
    ///
    /// # Errors
    /// [`CommandFault::Ended`].
    pub fn by_itself(self, program: &RealPath) -> Result<Self, CommandFault> {
        match self.status.signal() {
            Some(signal) => Err(CommandFault::Ended { program: program.clone(), signal }),
            None => Ok(self),
        }
    }

    /// Says how the program ended, for a message.
    pub fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "an unknown end".into(),
        }
    }
}

/// Runs a program as another user (`None`: as ourselves) and waits for its end.
///
/// # Errors
/// [`CommandFault`]; an exit code other than 0 is an answer, not an error.
pub fn run(
    program: &RealPath,
    arguments: &[&str],
    user: Option<(u32, u32)>,
    limit: Duration,
) -> Result<Output, CommandFault> {
    run_until(program, arguments, user, limit, None)
}

/// The same; a signal that ends us ends the program first.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    program: &RealPath,
    arguments: &[&str],
    user: Option<(u32, u32)>,
    limit: Duration,
    interrupts: Option<&Interrupts>,
) -> Result<Output, CommandFault> {
    run_bounded(program, arguments, user, limit, interrupts, OUTPUT_BYTES_MAX)
}

/// The same as [`run`] for a program whose answer is long; `bytes_max` of its standard output are kept.
///
/// # Errors
/// As [`run`].
pub fn run_long(
    program: &RealPath,
    arguments: &[&str],
    limit: Duration,
    bytes_max: u64,
) -> Result<Output, CommandFault> {
    run_bounded(program, arguments, None, limit, None, bytes_max)
}

fn run_bounded(
    program: &RealPath,
    arguments: &[&str],
    user: Option<(u32, u32)>,
    limit: Duration,
    interrupts: Option<&Interrupts>,
    bytes_max: u64,
) -> Result<Output, CommandFault> {
    // Before it starts, so that there is no moment in which a signal would leave it behind.
    let _held = interrupts.map(Interrupts::hold);
    let mut command = Command::new(program.as_str());
    command.args(arguments).env_clear().env("PATH", SYSTEM_PATH).env("LC_ALL", "C");
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    crate::spawn::keep_descriptors();
    let mut child = command
        .spawn()
        .map_err(|source| CommandFault::Start { program: program.clone(), source })?;
    let stdout = child.stdout.take().map(|pipe| drained(pipe, bytes_max));
    let stderr = child.stderr.take().map(|pipe| drained(pipe, OUTPUT_BYTES_MAX));
    let status = wait(&mut child, program, limit, interrupts)?;
    let text = |reader: Option<Receiver<Drained>>| {
        // A program may leave a child behind that holds the pipe open; its answer is what came.
        let drained = reader.and_then(|reader| reader.recv_timeout(OUTPUT_WAIT).ok());
        let Drained { kept, is_cut } = drained.unwrap_or_default();
        (String::from_utf8_lossy(&kept).into_owned(), is_cut)
    };
    let (stdout, is_cut) = text(stdout);
    Ok(Output { status, stdout, stderr: text(stderr).0, is_cut })
}

fn wait(
    child: &mut Child,
    program: &RealPath,
    limit: Duration,
    interrupts: Option<&Interrupts>,
) -> Result<ExitStatus, CommandFault> {
    let follow = |source| CommandFault::Follow { program: program.clone(), source };
    let (begun, mut pause) = (Instant::now(), POLL_FIRST);
    loop {
        if let Some(status) = child.try_wait().map_err(follow)? {
            return Ok(status);
        }
        let is_asked = interrupts.is_some_and(Interrupts::is_asked);
        if is_asked || begun.elapsed() >= limit {
            // Our own child, not yet waited for: its pid, which is its group's number too, cannot
            // have been given to another. The group, because a shell would leave its children.
            kill_process_group(Pid::from_child(child), Signal::KILL)
                .map_err(|errno| follow(errno.into()))?;
            child.wait().map_err(follow)?;
            let limit_ms = limit.as_millis();
            return Err(CommandFault::TimedOut { program: program.clone(), limit_ms });
        }
        thread::sleep(pause);
        // Grows slowly: what ends within milliseconds is not waited for twice as long.
        pause = (pause * 5 / 4).min(POLL_MOST);
    }
}

/// What a pipe had.
#[derive(Default)]
struct Drained {
    kept: Vec<u8>,
    is_cut: bool,
}

/// Reads a pipe in a thread of its own.
fn drained(pipe: impl Read + Send + 'static, bytes_max: u64) -> Receiver<Drained> {
    let (sender, receiver) = channel();
    // Nobody waits any more where the receiver is gone.
    thread::spawn(move || drop(sender.send(drain(pipe, bytes_max))));
    receiver
}

/// Reads a pipe to its end, so that the program never blocks on it, and keeps the beginning.
fn drain(mut pipe: impl Read, bytes_max: u64) -> Drained {
    let mut kept = Vec::new();
    // A pipe that fails has ended: what came before is the answer.
    let is_read = pipe.by_ref().take(bytes_max).read_to_end(&mut kept).is_ok();
    let more = is_read.then(|| io::copy(&mut pipe, &mut io::sink()).unwrap_or_default());
    Drained { kept, is_cut: more.is_some_and(|more| more > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Output, CommandFault> {
        run(&RealPath::parse("/bin/sh").unwrap(), &["-c", script], None, limit)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_has_both_outputs_and_the_end() {
        let output = sh("echo out; echo err >&2; exit 3", LONG).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(output.ending(), "exit code 3");
    }

    #[test]
    fn a_chatterer_neither_blocks_nor_fills_the_memory() {
        let output = sh("head -c 3000000 /dev/zero", LONG).unwrap();
        assert_eq!(output.stdout.len() as u64, OUTPUT_BYTES_MAX);
        assert!(output.status.success() && output.is_cut);
        let program = RealPath::parse("/bin/sh").unwrap();
        let script = ["-c", "head -c 3000000 /dev/zero"];
        let output = run_long(&program, &script, LONG, 3_000_000).unwrap();
        assert_eq!((output.stdout.len(), output.is_cut), (3_000_000, false));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let fault = sh("sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert_eq!(fault.to_string(), "/bin/sh did not end within 50 ms and was killed");
    }

    #[test]
    fn nothing_of_our_environment_is_inherited() {
        let output = sh("env | cut -d= -f1 | sort | tr '\\n' ' '", LONG).unwrap();
        assert_eq!(output.stdout, "LC_ALL PATH PWD ");
    }
}
