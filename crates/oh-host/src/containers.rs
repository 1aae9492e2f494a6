//! Containers of OpenHands, through docker and podman as programs.
//!
//! A program is asked only where it is as trustworthy as the system's own: in a folder of the system, and
//! for root changeable by nobody else. What it says is read as others' text. A container is stopped and
//! started by its whole number, and only while that number has the name that it had when it was chosen;
//! it is never removed. Which engine: the machine's own, at its default address; for anybody but root,
//! their own.

use core::time::Duration;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oh_model::container::{Engine, LISTING_FORMAT, Listed, listed};
use oh_model::path::RealPath;
use thiserror::Error;

use crate::command::{self, CommandFault, Output, SYSTEM_PATH};

/// How long an engine may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

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

/// Stops a container, which has `grace` to end by itself.
///
/// # Errors
/// [`ContainerFault`].
pub fn stop(engine: Engine, one: &Listed, grace: Duration) -> Result<Turned, ContainerFault> {
    let Some(program) = program(engine)? else { return Ok(Turned::Gone) };
    match state(engine, &program, one)? {
        None => return Ok(Turned::Gone),
        Some(false) => return Ok(Turned::Already),
        Some(true) => {}
    }
    let seconds = grace.as_secs().to_string();
    let arguments = ["stop", "--time", &seconds, one.id.as_str()];
    answer(engine, &program, "stop", &arguments, grace.saturating_add(ANSWER_LIMIT))?;
    Ok(Turned::Done)
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
    let output = answer(engine, program, "ps", &arguments, ANSWER_LIMIT)?;
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
    let output = command::run(program, arguments, None, limit)?;
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
}
