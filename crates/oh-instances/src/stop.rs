//! A stop: what is wanted is written first, then all of it ends, then nothing tells of it any more.
//!
//! The supervisor is asked to end, which ends its editor; what is left after that is found by the
//! instance's token and ended here. It counts as stopped when nothing of it lives and its port can
//! be taken again, so that a start may follow at once. A stop that was killed goes on where it was.

use std::time::{Duration, Instant};

use oh_host::atomic;
use oh_host::discard;
use oh_host::folder::Memory;
use oh_host::instances::{self, Record, Wanted};
use oh_host::lock::{Held, Leases, Share, World};
use oh_host::process::{ProcessDir, Processes, Signal};
use oh_host::publish::{self, Asked, Host};
use oh_host::sockets::{BindProbe, bind_probe_everywhere};
use oh_host::stop::{self as host_stop, How, Outcome};
use oh_model::id::InstanceId;
use oh_model::path::RealPath;

use crate::editor::{self, Kept, Places};
use crate::fault::Fault;
use crate::report::chain;
use crate::work::Work;
use crate::{inputs, launch, start};

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
    /// What is left of it, and why: as long as there is any, it is not stopped.
    pub(crate) left: Vec<String>,
    /// What of its folders could not be removed, and why.
    pub(crate) stays: Vec<String>,
    /// What people should know.
    pub(crate) notes: Vec<String>,
    /// Whether the command was told to end before it came to it.
    pub(crate) is_skipped: bool,
}

impl Stopped {
    /// One that is not stopped, and why.
    fn not(id: &InstanceId, why: impl Into<String>) -> Self {
        Self {
            id: id.clone(),
            was_there: true,
            processes: 0,
            left: vec![why.into()],
            stays: Vec::new(),
            notes: Vec::new(),
            is_skipped: false,
        }
    }
}

/// Stops several instances, one after the other; one that fails does not keep the others.
pub(crate) fn stop_all(
    work: &Work<'_>,
    ids: &[InstanceId],
    purge: bool,
) -> Result<Vec<Stopped>, Fault> {
    let mut locks = work.locks()?;
    let mut world = locks.world(Share::Shared, "oh-instances stop", LOCK_WAIT)?;
    Ok(work.whole(|| ids.iter().map(|id| stop_next(work, id, purge, &mut world)).collect()))
}

/// Stops one of several, unless the command was told to end.
fn stop_next(
    work: &Work<'_>,
    id: &InstanceId,
    purge: bool,
    world: &mut Held<'_, World>,
) -> Stopped {
    let interrupted = "the command was interrupted before it came to it";
    if work.go_on().is_err() {
        return Stopped { is_skipped: true, ..Stopped::not(id, interrupted) };
    }
    work.progress.doing(format!("stop {id}"));
    let begun = Instant::now();
    let mut held = match start::lease(world, id, "oh-instances stop", LOCK_WAIT) {
        Ok(held) => held,
        Err(Fault::Interrupted) => {
            return Stopped { is_skipped: true, ..Stopped::not(id, interrupted) };
        }
        Err(fault) => return Stopped::not(id, chain(&fault)),
    };
    let stopped = work.to_the_end(|| stop_one(work.host, id, purge, &mut held));
    let stopped = stopped.unwrap_or_else(|fault| Stopped::not(id, chain(&fault)));
    if stopped.was_there && stopped.left.is_empty() {
        work.progress.done("stopped", &format!("{id}  {:.1} s", begun.elapsed().as_secs_f32()));
    }
    stopped
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
        stays: Vec::new(),
        notes: Vec::new(),
        is_skipped: false,
    };
    let Some(mut record) = instances::read(&host.root, id)? else {
        if purge {
            let kept = editor::kept(host, &id.folded())?;
            stopped.was_there = purge_kept(host, &kept, &mut stopped.stays);
        }
        return Ok(stopped);
    };
    stopped.id = record.id.clone();
    stopped.was_there = true;
    let mut is_written = true;
    if record.wanted != Wanted::Stopped {
        record.wanted = Wanted::Stopped;
        match instances::write(&host.root, &record) {
            Ok(_) => {}
            // What cannot be written can still be taken away.
            Err(fault) if fault.is_no_space() => is_written = false,
            Err(fault) => return Err(fault.into()),
        }
    }
    let outcomes = end_family(host, &record)?;
    let ended = |outcome: &&Outcome| matches!(outcome.how, How::Term | How::Kill);
    stopped.processes = outcomes.iter().filter(ended).count();
    stopped.left.extend(outcomes.iter().filter(|o| !o.is_settled()).map(unsettled));
    if !stopped.left.is_empty() {
        // Its port is still its own; who is asked for it next has to learn that.
        return Ok(stopped);
    }
    if let Some(unit) = &record.unit {
        // What has left the family is still in the group, and ends with it.
        launch::end_unit(host, unit)?;
    }
    stopped.left.extend(port_left(&record)?);
    // Told, and no reason to keep what can be published and taken away all the same.
    match inputs::withdraw(host, &record, held) {
        Ok(notes) => stopped.notes.extend(notes),
        Err(fault) => stopped.left.push(chain(&fault)),
    }
    if !is_written {
        // As it stands, the record would have its route served.
        instances::remove_state(&host.root, id)?;
        instances::remove(&host.root, id)?;
    }
    // Nobody would be shown a password that a stop makes.
    let asked = Asked { purpose: "oh-instances stop", wait: LOCK_WAIT, may_make_login: false };
    if let Err(fault) = publish::publish_as_asked(held, host, asked, &mut Memory::default())
        && publish::may_route(host, id, record.target).unwrap_or(true)
    {
        stopped.left.push(format!("its route: {}", chain(&fault)));
    }
    discard_runtime(host, &record, purge, &mut stopped.stays);
    if Processes::look()?.partial {
        let what = "processes that are hidden from us (hidepid) were not looked at";
        stopped.notes.push(format!("warning: {id}: {what}; root sees all"));
    }
    if stopped.left.is_empty() {
        instances::remove_state(&host.root, id)?;
        instances::remove(&host.root, id)?;
    }
    sweep(host, &record);
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

/// Takes away what starts and supervisors left that were killed while they wrote or made something.
fn sweep(host: &Host, record: &Record) {
    let settings = &host.settings;
    let real = |folder| host.root.real(folder).ok();
    let mut folders: Vec<RealPath> = Vec::new();
    folders.extend(real(&settings.instances.directory));
    folders.extend(real(&settings.instances.runtime_directory));
    folders.extend(real(&settings.instances.log_directory));
    folders.extend(real(&settings.sessions.directory));
    if let Ok(places) = Places::of(host, record) {
        folders.push(places.home);
        folders.extend(places.socket.map(|(_, folder)| folder.parent()));
    }
    // What cannot be swept is in nobody's way: the next stop tries again.
    drop(instances::sweep(&host.root));
    folders.iter().for_each(|folder| drop(atomic::sweep(folder)));
}

/// Takes away what is of no use without the editor, and with `purge` all that it kept.
fn discard_runtime(host: &Host, record: &Record, purge: bool, stays: &mut Vec<String>) {
    let Ok(places) = Places::of(host, record) else { return };
    discard(&places.runtime, record.uid, stays);
    if let Some((_, folder)) = &places.socket {
        discard(folder, record.uid, stays);
    }
    if purge {
        let kept = Kept { home: places.home, log: places.log, uid: Some(record.uid) };
        purge_kept(host, &kept, stays);
    }
}

/// Removes what an editor keeps; says whether there was anything.
fn purge_kept(host: &Host, kept: &Kept, stays: &mut Vec<String>) -> bool {
    let log = |suffix: &str| format!("{}{suffix}", kept.log);
    let numbered = (1..=host.settings.instances.log_files).map(|number| log(&format!(".{number}")));
    let mut was_there = false;
    for log in numbered.chain([log(""), log(".supervisor")]) {
        match std::fs::remove_file(&log) {
            Ok(()) => was_there = true,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {}
            Err(fault) => stays.push(format!("{log}: {fault}")),
        }
    }
    if let Some(uid) = kept.uid {
        was_there |= discard(&kept.home, uid, stays);
    }
    was_there
}

/// Removes a folder of an editor; says whether it was there.
fn discard(folder: &RealPath, uid: u32, stays: &mut Vec<String>) -> bool {
    if std::fs::symlink_metadata(folder.as_str()).is_err() {
        return false;
    }
    if let Err((path, fault)) = discard::remove_folder_of(folder, uid) {
        stays.push(format!("{path}: {fault}"));
    }
    true
}
