//! Containers of OpenHands, through docker and podman as programs.
//!
//! A program is asked only where it is as trustworthy as the system's own: in a folder of the system, and
//! for root changeable by nobody else. What it says is read as others' text. A container is stopped and
//! started by its whole number, and only while that number has the name that it had when it was chosen;
//! it is never removed. Which engine: the machine's own, at its default address; for anybody but root,
//! their own.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use oh_model::container::{Engine, LISTING_FORMAT, Listed, listed};
use oh_model::path::RealPath;
use thiserror::Error;

use crate::command::{self, CommandFault, Output, SYSTEM_PATH};

/// How long an engine may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The longest listing that is read, in bytes: some twenty thousand containers.
const LISTING_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How many containers one call of a program stops: so many docker stops at the same time.
const AT_ONCE_MAX: usize = 32;

/// How much of what an engine says is repeated, in characters.
const SAID_CHARACTERS_MAX: usize = 200;

/// The bits of a mode with which others may write.
const OTHERS_WRITE: u32 = 0o022;

/// Says why containers are not known, or why one was not stopped or started.
#[derive(Debug, Error)]
pub enum ContainerFault {
    /// Its program may have been written by others.
    #[error("{} may be changed by others than root, and is not run", .0.display())]
    Untrusted(PathBuf),
    /// Its program gave no answer.
    #[error(transparent)]
    Command(#[from] CommandFault),
    /// It could not do it: no daemon, no permission, no such container.
    #[error("{engine} {verb}: {ending}{}", said(.stderr))]
    Refused {
        /// Which it is.
        engine: Engine,
        /// What it was to do.
        verb: &'static str,
        /// How its program ended.
        ending: String,
        /// What it said of that, which is others' text.
        stderr: String,
    },
    /// It lists containers in another form than it was asked for.
    #[error("{engine} listed {count} containers in a form that is not known")]
    Odd {
        /// Which it is.
        engine: Engine,
        /// How many lines are not understood.
        count: usize,
    },
    /// It lists more than is read.
    #[error("{engine} listed more than {LISTING_BYTES_MAX} bytes of containers")]
    TooMany {
        /// Which it is.
        engine: Engine,
    },
    /// It was asked to stop it, and it runs.
    #[error("{engine} stop: it runs on{}", said(.stderr))]
    RunsOn {
        /// Which it is.
        engine: Engine,
        /// What its program said, which is others' text.
        stderr: String,
    },
}

/// What became of a container that was to be stopped or started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// It was done.
    Done,
    /// It was so before.
    Already,
    /// There is no container with this number and name.
    Gone,
}

/// Returns OpenHands' containers that run; nothing where there is no such engine.
///
/// # Errors
/// [`ContainerFault`].
pub fn running(engine: Engine) -> Result<Vec<Listed>, ContainerFault> {
    match program(engine)? {
        Some(program) => list(engine, &program, &["--filter", "status=running"]),
        None => Ok(Vec::new()),
    }
}

/// Stops containers of all engines at the same time, each of which has `grace` to end by itself; returns
/// what became of each, in their order. One that cannot be stopped keeps no other.
pub fn stop_all(
    all: &[(Engine, &Listed)],
    grace: Duration,
) -> Vec<Result<Turned, Arc<ContainerFault>>> {
    let mut parts: Vec<(Engine, Vec<usize>)> = Vec::new();
    for engine in Engine::ALL {
        let of_it = all.iter().enumerate().filter(|(_, (one, _))| *one == engine);
        let of_it: Vec<usize> = of_it.map(|(at, _)| at).collect();
        parts.extend(of_it.chunks(AT_ONCE_MAX).map(|part| (engine, part.to_vec())));
    }
    let stopped = thread::scope(|scope| {
        let begun: Vec<_> = parts
            .iter()
            .map(|(engine, part)| {
                let part: Vec<&Listed> =
                    part.iter().filter_map(|at| Some(all.get(*at)?.1)).collect();
                scope.spawn(move || stop_part(*engine, &part, grace))
            })
            .collect();
        begun.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut outcomes = BTreeMap::new();
    for ((_, part), came) in parts.into_iter().zip(stopped) {
        let came = came.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcomes.extend(part.into_iter().zip(came));
    }
    outcomes.into_values().collect()
}

/// Stops some containers of one engine by one call of its program.
fn stop_part(
    engine: Engine,
    all: &[&Listed],
    grace: Duration,
) -> Vec<Result<Turned, Arc<ContainerFault>>> {
    match program(engine) {
        Ok(Some(program)) => stop_by(engine, &program, all, grace),
        Ok(None) => vec![Ok(Turned::Gone); all.len()],
        Err(fault) => vec![Err(Arc::new(fault)); all.len()],
    }
}

fn stop_by(
    engine: Engine,
    program: &RealPath,
    all: &[&Listed],
    grace: Duration,
) -> Vec<Result<Turned, Arc<ContainerFault>>> {
    let look = || -> Result<(BTreeSet<Listed>, BTreeSet<Listed>), ContainerFault> {
        let known = list(engine, program, &[])?;
        let running = list(engine, program, &["--filter", "status=running"])?;
        Ok((known.into_iter().collect(), running.into_iter().collect()))
    };
    let each = |fault: ContainerFault| {
        let fault = Arc::new(fault);
        all.iter().map(|_| Err(Arc::clone(&fault))).collect()
    };
    let (known, running) = match look() {
        Ok(before) => before,
        Err(fault) => return each(fault),
    };
    let wanted: Vec<&str> =
        all.iter().filter(|one| running.contains(**one)).map(|one| one.id.as_str()).collect();
    let mut still = BTreeSet::new();
    let mut said = String::new();
    if !wanted.is_empty() {
        let seconds = grace.as_secs().to_string();
        let arguments = [&["stop", "--time", &seconds], wanted.as_slice()].concat();
        let limit = grace.saturating_add(ANSWER_LIMIT);
        let failed = match answer(engine, program, "stop", &arguments, limit) {
            Ok(_) => None,
            Err(ContainerFault::Refused { stderr, .. }) => Some(stderr),
            Err(fault) => Some(fault.to_string()),
        };
        // Where one could not be stopped, the others may be.
        if let Some(stderr) = failed {
            said = stderr;
            still = match look() {
                Ok((_, running)) => running,
                Err(fault) => return each(fault),
            };
        }
    }
    let outcome = |one: &&Listed| {
        if !known.contains(*one) {
            Ok(Turned::Gone)
        } else if !running.contains(*one) {
            Ok(Turned::Already)
        } else if still.contains(*one) {
            Err(Arc::new(ContainerFault::RunsOn { engine, stderr: said.clone() }))
        } else {
            Ok(Turned::Done)
        }
    };
    all.iter().map(outcome).collect()
}

/// Starts a container that was stopped.
///
/// # Errors
/// [`ContainerFault`].
pub fn start(engine: Engine, one: &Listed) -> Result<Turned, ContainerFault> {
    let Some(program) = program(engine)? else { return Ok(Turned::Gone) };
    match state(engine, &program, one)? {
        None => return Ok(Turned::Gone),
        Some(true) => return Ok(Turned::Already),
        Some(false) => {}
    }
    answer(engine, &program, "start", &["start", one.id.as_str()], ANSWER_LIMIT)?;
    Ok(Turned::Done)
}

/// Says whether a container runs; `None` where there is none with this number and name.
fn state(engine: Engine, program: &RealPath, one: &Listed) -> Result<Option<bool>, ContainerFault> {
    let id = format!("id={}", one.id.as_str());
    if !list(engine, program, &["--filter", &id])?.contains(one) {
        return Ok(None);
    }
    let running = list(engine, program, &["--filter", &id, "--filter", "status=running"])?;
    Ok(Some(running.contains(one)))
}

fn list(
    engine: Engine,
    program: &RealPath,
    filters: &[&str],
) -> Result<Vec<Listed>, ContainerFault> {
    let listing = ["ps", "--all", "--no-trunc", "--format", LISTING_FORMAT];
    let arguments = [&listing, filters].concat();
    let output = command::run_long(program, &arguments, ANSWER_LIMIT, LISTING_BYTES_MAX)?;
    let output = succeeded(engine, "ps", output)?;
    // What is not seen would be taken for gone.
    if output.is_cut {
        return Err(ContainerFault::TooMany { engine });
    }
    match listed(&output.stdout) {
        (found, 0) => Ok(found),
        (_, count) => Err(ContainerFault::Odd { engine, count }),
    }
}

fn answer(
    engine: Engine,
    program: &RealPath,
    verb: &'static str,
    arguments: &[&str],
    limit: Duration,
) -> Result<Output, ContainerFault> {
    succeeded(engine, verb, command::run(program, arguments, None, limit)?)
}

fn succeeded(engine: Engine, verb: &'static str, output: Output) -> Result<Output, ContainerFault> {
    if output.status.success() {
        return Ok(output);
    }
    let ending = output.ending();
    Err(ContainerFault::Refused { engine, verb, ending, stderr: output.stderr })
}

/// Says whether this machine has an engine, or what may be one.
pub fn is_there(engine: Engine) -> bool {
    !matches!(program(engine), Ok(None))
}

/// Finds the program of an engine; `None` where there is none.
fn program(engine: Engine) -> Result<Option<RealPath>, ContainerFault> {
    let is_root = rustix::process::geteuid().is_root();
    find(engine, SYSTEM_PATH.split(':').map(Path::new), is_root)
}

fn find<'f>(
    engine: Engine,
    mut folders: impl Iterator<Item = &'f Path>,
    is_root: bool,
) -> Result<Option<RealPath>, ContainerFault> {
    // What links lead to is what is run: nobody may exchange it between the look and the run.
    let Some(real) = folders.find_map(|folder| folder.join(engine.program()).canonicalize().ok())
    else {
        return Ok(None);
    };
    let is_trusted = |path: &Path| {
        let meta = path.symlink_metadata();
        meta.is_ok_and(|meta| meta.uid() == 0 && meta.mode() & OTHERS_WRITE == 0)
    };
    if is_root && !real.ancestors().all(is_trusted) {
        return Err(ContainerFault::Untrusted(real));
    }
    Ok(real.to_str().and_then(|path| RealPath::parse(path).ok()))
}

/// The last line of what a program said, for people.
fn said(stderr: &str) -> String {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let shown: String = last.trim().escape_debug().take(SAID_CHARACTERS_MAX).collect();
    if shown.is_empty() { shown } else { format!(": {shown}") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_program_that_others_may_change_is_not_run_by_root() {
        let dir = tempfile::tempdir().unwrap();
        let [folder, empty] = ["bin", "empty"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("podman"), "").unwrap();
        let in_folder = |is_root| find(Engine::Podman, [&*empty, &*folder].into_iter(), is_root);
        let real = folder.join("podman").canonicalize().unwrap();
        assert_eq!(in_folder(false).unwrap().unwrap().as_str(), real.to_str().unwrap());
        // The folder for temporary files is everybody's.
        assert!(matches!(in_folder(true), Err(ContainerFault::Untrusted(path)) if path == real));
        let none = find(Engine::Docker, [&*folder].into_iter(), true);
        assert!(matches!(none, Ok(None)));
        // A link is what it leads to.
        symlink("/bin/sh", folder.join("docker")).unwrap();
        let led = find(Engine::Docker, [&*folder].into_iter(), true).unwrap().unwrap();
        assert_eq!(Path::new(led.as_str()), Path::new("/bin/sh").canonicalize().unwrap());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_an_engine_says_is_shown_as_others_text() {
        let fault = ContainerFault::Refused {
            engine: Engine::Docker,
            verb: "ps",
            ending: "exit code 1".into(),
            stderr: format!("first\n\x1b[2J{}\n\n", "a".repeat(1000)),
        };
        let shown = fault.to_string();
        assert!(shown.starts_with("docker ps: exit code 1: \\u{1b}[2Jaaa"), "{shown}");
        assert!(shown.len() < 300, "{shown}");
    }

    #[test]
    fn an_engine_that_answers_in_another_form_is_not_believed() {
        let program = RealPath::parse("/bin/echo").unwrap();
        let fault = list(Engine::Docker, &program, &[]).unwrap_err();
        assert_eq!(fault.to_string(), "docker listed 1 containers in a form that is not known");
    }

    /// A program that answers as docker does and stops what it is told to.
    fn engine(folder: &Path, listing: &str, stop: &str) -> RealPath {
        let path = folder.join("docker");
        let script = format!(
            "#!/bin/sh\ncd {}\necho \"$@\" >>asked\ncase $1 in\n\
             ps) {listing};;\nstop) {stop};;\nesac\n",
            folder.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        RealPath::parse(path.to_str().unwrap()).unwrap()
    }

    fn one(digit: char, name: &str) -> Listed {
        let id = oh_model::container::ContainerId::parse(&digit.to_string().repeat(64)).unwrap();
        Listed { id, name: oh_model::container::ContainerName::parse(name).unwrap() }
    }

    fn lines(all: &[&Listed]) -> String {
        let line = |one: &&Listed| format!("\"{}\" \"{}\"\n", one.id.as_str(), one.name.as_str());
        all.iter().map(line).collect()
    }

    #[test]
    fn a_listing_is_read_whole_or_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<Listed> =
            (0..5000).map(|at| one('a', &format!("openhands-runtime-{at:04}"))).collect();
        fs::write(dir.path().join("long"), lines(&all.iter().collect::<Vec<_>>())).unwrap();
        let program = engine(dir.path(), "cat long", "exit 9");
        assert_eq!(list(Engine::Docker, &program, &[]).unwrap(), all);
        let endless = format!("head -c {} /dev/zero", LISTING_BYTES_MAX + 1);
        let program = engine(dir.path(), &endless, "exit 9");
        let fault = list(Engine::Docker, &program, &[]).unwrap_err();
        assert!(matches!(fault, ContainerFault::TooMany { .. }), "{fault}");
    }

    #[test]
    fn containers_are_stopped_by_one_call_and_each_is_judged_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let [ends, stays, rests, gone] = ["a", "b", "c", "d"]
            .map(|name| one(name.chars().next().unwrap(), &format!("openhands-runtime-{name}")));
        fs::write(dir.path().join("all"), lines(&[&ends, &stays, &rests])).unwrap();
        fs::write(dir.path().join("running"), lines(&[&ends, &stays])).unwrap();
        fs::write(dir.path().join("left"), lines(&[&stays])).unwrap();
        let listing = "case \"$*\" in *status=running*) cat running;; *) cat all;; esac";
        let stop = "mv left running; echo 'cannot stop b' >&2; exit 1";
        let program = engine(dir.path(), listing, stop);
        let all = [&ends, &stays, &rests, &gone];
        let came = stop_by(Engine::Docker, &program, &all, Duration::from_secs(3));
        let shown: Vec<String> = came
            .iter()
            .map(|came| match came {
                Ok(turned) => format!("{turned:?}"),
                Err(fault) => fault.to_string(),
            })
            .collect();
        assert_eq!(shown, ["Done", "docker stop: it runs on: cannot stop b", "Already", "Gone"]);
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        let stops: Vec<&str> = asked.lines().filter(|line| line.starts_with("stop")).collect();
        let line = format!("stop --time 3 {} {}", ends.id.as_str(), stays.id.as_str());
        assert_eq!(stops, [line]);
    }
}
