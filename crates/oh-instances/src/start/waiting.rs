//! Waits until an editor answers and somebody watches it, and starts a supervisor where nobody does.

use std::time::{Duration, Instant};

use oh_host::instances::{self, Phase, Record};
use oh_host::logs;
use oh_host::process::{Identity, Pid, ProcessDir};
use oh_host::publish::Host;
use oh_host::spawn::Started as Child;
use oh_model::id::InstanceId;
use oh_model::path::RealPath;

use super::PAUSE;
use crate::editor::Places;
use crate::fault::Fault;
use crate::look::{self, Condition};
use crate::work::Work;
use crate::{launch, ready};

/// How long a supervisor may take until it says anything.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(30);

/// An editor that answers, and who watches it.
pub(super) struct Up {
    pub(super) supervisor: Pid,
    pub(super) editor: Identity,
    /// Whether it was started here, or taken over.
    pub(super) was_launched: bool,
    /// Whether nobody watched it before.
    pub(super) was_taken_over: bool,
}

/// Waits for an editor that is watched; starts a supervisor for one that is not.
pub(super) fn get_up(work: &Work<'_>, record: &mut Record, places: &Places) -> Result<Up, Fault> {
    let host = work.host;
    let id = &record.id.clone();
    let (mut was_launched, mut was_taken_over, mut is_second) = (false, false, false);
    loop {
        let found = look::one(host, id)?.ok_or_else(|| Fault::Unknown(id.to_string()))?;
        was_launched |= !found.is_ready();
        let is_watched = found.is_watched();
        let (mut child, mut forerunner) = (None, None);
        if !is_watched {
            work.go_on()?;
            work.progress.doing(format!("start the editor of {id}"));
            was_taken_over = found.condition == Condition::Unsupervised;
            if was_taken_over {
                // What the configuration says of supervisors may be new since the one before.
                let unit = launch::unit(host, &id.folded());
                if record.unit != unit {
                    record.unit = unit;
                    instances::write(&host.root, record)?;
                }
            } else {
                instances::remove_state(&host.root, id)?;
            }
            child = launch::supervisor(host, record, places, work.common)?;
            forerunner = found.state.map(|state| state.supervisor);
        }
        work.progress.doing(format!("wait for the editor of {id}"));
        match wait_until_ready(work, record, places, child, forerunner.as_ref()) {
            // Who watched it was on its way out when we looked, or was killed since; and one that we
            // started is replaced once where its editor lives.
            Err(Fault::Supervisor(_)) if is_watched => was_launched = true,
            Err(Fault::Supervisor(_)) if !is_second && lives_on(host, id)? => is_second = true,
            Err(fault) => return Err(fault),
            Ok((supervisor, editor)) => {
                return Ok(Up { supervisor, editor, was_launched, was_taken_over });
            }
        }
    }
}

/// Says whether an editor lives that nobody watches.
fn lives_on(host: &Host, id: &InstanceId) -> Result<bool, Fault> {
    Ok(look::one(host, id)?.is_some_and(|found| found.condition == Condition::Unsupervised))
}

/// Waits until the supervisor says that the editor answers; returns both.
fn wait_until_ready(
    work: &Work<'_>,
    record: &Record,
    places: &Places,
    mut child: Option<Child>,
    forerunner: Option<&Identity>,
) -> Result<(Pid, Identity), Fault> {
    let (host, begun) = (work.host, Instant::now());
    let limit = FIRST_WORD_LIMIT + Duration::from_secs(host.settings.instances.ready_timeout_s);
    let mut heard = None;
    loop {
        let state = instances::read_state(&host.root, &record.id)?;
        // What a forerunner or an earlier generation said is not of this start.
        let state = state.filter(|state| {
            let is_launched = match &child {
                Some(child) => state.supervisor == child.identity,
                // In a unit: whoever speaks and is not the one before.
                None => forerunner != Some(&state.supervisor),
            };
            is_launched && state.generation == record.generation
        });
        heard = state.as_ref().map(|state| state.supervisor.pid).or(heard);
        if let Some(state) = state {
            match (&state.phase, &state.editor) {
                // What its supervisor said is of a moment ago; one that was killed since is not ready.
                (Phase::Ready, Some(editor))
                    if editor.lives()?
                        && ready::answers(record, places, editor.pid)?
                        && state.supervisor.lives()? =>
                {
                    return Ok((state.supervisor.pid, editor.clone()));
                }
                (Phase::Failed { why }, _) => return Err(Fault::NotReady(why.clone())),
                (Phase::Ended, _) => {
                    let last = state.endings.last().map(|ending| ending.how.as_str());
                    let how = last.unwrap_or("nobody knows how");
                    return Err(Fault::NotReady(format!("it ended: {how}")));
                }
                (Phase::Stopped, _) => {
                    return Err(Fault::NotReady("its supervisor was told to end".into()));
                }
                _ => {}
            }
            // It may have said why it ends since its state was read.
            if !state.supervisor.lives()?
                && instances::read_state(&host.root, &record.id)?.as_ref() == Some(&state)
            {
                return Err(Fault::Supervisor(last_words(record, places)));
            }
        } else if let Some(child) = &mut child
            && let Some(status) = child.ended()?
        {
            return Err(Fault::Supervisor(format!("{status}{}", last_words(record, places))));
        }
        if begun.elapsed() >= limit {
            return Err(silence(host, record, heard, limit));
        }
        work.go_on()?;
        std::thread::sleep(PAUSE);
    }
}

/// Says who says nothing.
fn silence(host: &Host, record: &Record, heard: Option<Pid>, limit: Duration) -> Fault {
    let state = instances::read_state(&host.root, &record.id).ok().flatten();
    let Some(pid) = heard.or(state.map(|state| state.supervisor.pid)) else {
        return Fault::NotReady(format!("nothing was heard of it for {} s", limit.as_secs()));
    };
    let stat = ProcessDir::open(pid).and_then(|process| process.stat());
    let is_stopped = stat.is_ok_and(|stat| matches!(stat.state, 'T' | 't'));
    Fault::Silent { pid, limit_s: limit.as_secs(), is_stopped }
}

/// The last lines of a supervisor's own log, or where they are.
fn last_words(record: &Record, places: &Places) -> String {
    if let Some(unit) = &record.unit {
        return format!("why is told by `journalctl --unit={unit}`");
    }
    let log = RealPath::parse(&format!("{}.supervisor", places.log));
    log.map(|log| logs::last_lines(&log, &record.key)).unwrap_or_default()
}
