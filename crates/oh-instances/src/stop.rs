//! A stop: what is wanted is written first, then all of it ends, then nothing tells of it any more.
//!
//! The supervisor is asked to end, which ends its editor; what is left after that is found by the
//! instance's token and ended here. It counts as stopped when nothing of it lives and its port can
//! be taken again, so that a start may follow at once. A stop that was killed goes on where it was.

use std::time::{Duration, Instant};

use oh_host::discard;
use oh_host::instances::{self, Record, Wanted};
use oh_host::lock::{Held, Leases, Locks, Share};
use oh_host::process::{ProcessDir, Signal};
use oh_host::publish::{self, Host};
use oh_host::sockets::{BindProbe, bind_probe_everywhere};
use oh_host::stop::{self as host_stop, How, Outcome};
use oh_model::id::InstanceId;
use oh_term::Progress;

use crate::editor::Places;
use crate::fault::Fault;
use crate::report::chain;
use crate::{inputs, start};

/// How long to wait for another command on the same instance.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// How often it is asked whether the supervisor has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// What a supervisor may take beyond the grace of its editor.
const SUPERVISOR_SLACK: Duration = Duration::from_secs(5);

/// How long a port may stay taken after its editor is gone.
const PORT_WAIT: Duration = Duration::from_secs(5);

/// What a stop did to one instance.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) id: InstanceId,
    /// Whether there was anything to stop.
    pub(crate) was_there: bool,
    /// How many processes were ended.
    pub(crate) processes: usize,
    /// What is left, and why.
    pub(crate) left: Vec<String>,
    /// What people should know.
    pub(crate) notes: Vec<String>,
}

/// Stops several instances, one after the other; one that fails does not keep the others.
pub(crate) fn stop_all(
    host: &Host,
    ids: &[InstanceId],
    purge: bool,
    progress: &Progress,
) -> Result<Vec<Stopped>, Fault> {
    let mut locks = Locks::open(&host.root, None)?;
    let mut world = locks.world(Share::Shared, "oh-instances stop", LOCK_WAIT)?;
    let mut all = Vec::new();
    for id in ids {
        progress.doing(format!("stop {id}"));
        let mut held = start::lease(&mut world, id, "oh-instances stop", LOCK_WAIT)?;
        let begun = Instant::now();
        let stopped = match stop_one(host, id, purge, &mut held) {
            Ok(stopped) => stopped,
            Err(fault) => Stopped {
                id: id.clone(),
                was_there: true,
                processes: 0,
                left: vec![chain(&fault)],
                notes: Vec::new(),
            },
        };
        if stopped.was_there && stopped.left.is_empty() {
            progress.done("stopped", &format!("{id}  {:.1} s", begun.elapsed().as_secs_f32()));
        }
        all.push(stopped);
    }
    Ok(all)
}

/// Stops one instance whose lease is held.
pub(crate) fn stop_one(
    host: &Host,
    id: &InstanceId,
    purge: bool,
    held: &mut Held<'_, Leases>,
) -> Result<Stopped, Fault> {
    let mut stopped = Stopped {
        id: id.clone(),
        was_there: false,
        processes: 0,
        left: Vec::new(),
        notes: Vec::new(),
    };
    let Some(mut record) = instances::read(&host.root, id)? else { return Ok(stopped) };
    stopped.was_there = true;
    if record.wanted != Wanted::Stopped {
        record.wanted = Wanted::Stopped;
        instances::write(&host.root, &record)?;
    }
    let outcomes = end_family(host, &record)?;
    let ended = |outcome: &&Outcome| matches!(outcome.how, How::Term | How::Kill);
    stopped.processes = outcomes.iter().filter(ended).count();
    stopped.left.extend(outcomes.iter().filter(|o| !o.is_settled()).map(unsettled));
    if !stopped.left.is_empty() {
        // Its port is still its own; who is asked for it next has to learn that.
        return Ok(stopped);
    }
    stopped.left.extend(port_left(&record)?);
    // Told, and no reason to keep what can be published and taken away all the same.
    match inputs::withdraw(host, &record, held) {
        Ok(notes) => stopped.notes.extend(notes),
        Err(fault) => stopped.left.push(chain(&fault)),
    }
    if let Err(fault) = publish::publish_within(held, host, "oh-instances stop")
        && publish::may_route(host, id, record.target).unwrap_or(true)
    {
        stopped.left.push(format!("its route: {}", chain(&fault)));
    }
    discard_runtime(host, &record, purge, &mut stopped.left);
    if stopped.left.is_empty() {
        instances::remove_state(&host.root, id)?;
        instances::remove(&host.root, id)?;
    }
    Ok(stopped)
}

/// Says why a process is left.
pub(crate) fn unsettled(outcome: &Outcome) -> String {
    let why = match outcome.how {
        How::Denied => "may not be signalled",
        How::Protected => "is this very command or one that it came from: run it elsewhere",
        _ => "did not end",
    };
    format!("pid {} ({}) {why}", outcome.pid, outcome.name.escape_debug())
}

/// Ends everything of an instance.
pub(crate) fn end_family(host: &Host, record: &Record) -> Result<Vec<Outcome>, Fault> {
    let grace = Duration::from_secs(host.settings.instances.stop_grace_s);
    let state = instances::read_state(&host.root, &record.id)?;
    let mut outcomes = Vec::new();
    if let Some(state) = &state
        && ask_supervisor(&state.supervisor, grace)?
    {
        outcomes.push(Outcome {
            target: 0,
            pid: state.supervisor.pid,
            name: "supervisor".into(),
            how: How::Term,
        });
    }
    outcomes.extend(host_stop::stop(&instances::family(record, state), grace)?);
    Ok(outcomes)
}

/// Asks a supervisor to end its editor and itself, and waits; says whether it did.
fn ask_supervisor(supervisor: &oh_host::process::Identity, grace: Duration) -> Result<bool, Fault> {
    let process = match ProcessDir::open(supervisor.pid) {
        Ok(process) => process,
        Err(fault) if fault.is_gone() => return Ok(false),
        Err(fault) => return Err(fault.into()),
    };
    if !supervisor.lives()? {
        return Ok(false);
    }
    process.signal(Signal::TERM)?;
    let deadline = Instant::now() + grace + SUPERVISOR_SLACK;
    while Instant::now() < deadline {
        if process.is_gone()? {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Waits until the editor's port can be taken; names who has it where it cannot.
fn port_left(record: &Record) -> Result<Option<String>, Fault> {
    let Some(port) = record.target.port() else { return Ok(None) };
    let deadline = Instant::now() + PORT_WAIT;
    while bind_probe_everywhere(port)? == BindProbe::Taken {
        if Instant::now() >= deadline {
            // A stranger may have been there all the time, and is no part of this stop.
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

/// Takes away what is of no use without the editor, and with `purge` all that it kept.
fn discard_runtime(host: &Host, record: &Record, purge: bool, left: &mut Vec<String>) {
    let Ok(places) = Places::of(host, record) else { return };
    let mut folders = vec![places.runtime];
    folders.extend(places.socket.map(|(_, folder)| folder));
    if purge {
        folders.push(places.home);
        let log = |suffix: &str| format!("{}{suffix}", places.log);
        let kept = host.settings.instances.log_files;
        let numbered = (1..=kept).map(|number| log(&format!(".{number}")));
        for log in numbered.chain([log(""), log(".supervisor")]) {
            if let Err(fault) = std::fs::remove_file(&log)
                && fault.kind() != std::io::ErrorKind::NotFound
            {
                left.push(format!("{log}: {fault}"));
            }
        }
    }
    for folder in folders {
        let exists = std::fs::symlink_metadata(folder.as_str()).is_ok();
        if exists && let Err((path, fault)) = discard::remove_folder_of(&folder, record.uid) {
            left.push(format!("{path}: {fault}"));
        }
    }
}
