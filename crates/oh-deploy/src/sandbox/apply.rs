//! Does the steps: what is started is recorded before the next step, and waited for together.

use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use oh_host::disk;
use oh_host::lock::{Held, Leases};
use oh_host::logs;
use oh_host::process::{Identity, ProcessDir, ProcessFault};
use oh_host::publish::{self, Published};
use oh_host::settings;
use oh_host::spawn::{Started, spawn};
use oh_host::stop::{self, Target};
use oh_model::plan::Plan;
use oh_term::Progress;

use super::editors::{self, Begun, Editor};
use super::facts::{Facts, orphaned_workers, part_token, sandbox_wish};
use super::fault::SandboxFault;
use super::files;
use super::parts::{self, Part};
use super::plan::Step;
use super::ready;
use super::record::Record;

/// How long a part may take until it answers, in seconds.
const READY_LIMIT_S: u64 = 60;

/// How long what is left of a part has to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(25);

/// How many lines of a log are shown.
const LOG_LINES: usize = 3;

/// How much of a log is read for them, in bytes.
const LOG_BYTES: u64 = 8 * 1024;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What publishing did.
    pub(crate) published: Option<Published>,
    /// What people should know of the editors.
    pub(crate) notes: Vec<String>,
}

/// A part that does not answer yet.
struct Waiting {
    part: Part,
    identity: Identity,
    /// The child, where this run has started it.
    child: Option<Started>,
    begun: Instant,
}

/// Does the steps of the plan.
pub(crate) fn apply(
    facts: &Facts,
    plan: &Plan<Step>,
    held: &mut Held<'_, Leases>,
    progress: &Progress,
) -> Result<Done, SandboxFault> {
    let mut record = facts.record.clone();
    if let Some(session) = facts.editors.get(&Editor::Session) {
        record.ports.app = session.app();
    }
    let mut waiting = Vec::new();
    let mut done = Done::default();
    for step in &plan.steps {
        progress.doing(step.to_string());
        match step {
            Step::Record => facts.home.save(&record)?,
            Step::Folders => files::folders(&facts.home)?,
            Step::Write(wanted) => files::write(&facts.home, wanted)?,
            Step::Certificate => files::certificate(facts)?,
            Step::Start(part) => waiting.push(start(facts, *part, &mut record)?),
            Step::Adopt(part) => {
                record.started.extend(facts.running.get(part).map(|id| (*part, id.clone())));
                facts.home.save(&record)?;
            }
            Step::Await(part) => {
                waiting.extend(facts.running.get(part).map(|identity| Waiting {
                    part: *part,
                    identity: identity.clone(),
                    child: None,
                    begun: Instant::now(),
                }));
            }
            Step::Publish => {
                wait_for_all(facts, &mut record, &mut waiting, progress)?;
                done.published = Some(publish(facts, held)?);
                progress.done("nginx", "serves the routes");
            }
            Step::Editors(editors) => {
                wait_for_all(facts, &mut record, &mut waiting, progress)?;
                let app = record.ports.app;
                for begun in start_editors(facts, editors, progress)? {
                    done.notes.extend(begun.notes);
                    record.ports.app = begun.seen.app().or(record.ports.app);
                }
                if facts.running.contains_key(&Part::App) && record.ports.app != app {
                    waiting.push(start(facts, Part::App, &mut record)?);
                }
            }
        }
    }
    wait_for_all(facts, &mut record, &mut waiting, progress)?;
    Ok(done)
}

/// Starts editors side by side; where one fails the others are what they are.
fn start_editors(
    facts: &Facts,
    editors: &[Editor],
    progress: &Progress,
) -> Result<Vec<Begun>, SandboxFault> {
    let begun = Instant::now();
    let started: Vec<_> = thread::scope(|scope| {
        let start =
            |editor| scope.spawn(move || editors::start(&facts.home, &facts.record, editor));
        let all: Vec<_> = editors.iter().copied().map(start).collect();
        all.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut all = Vec::new();
    for (editor, started) in editors.iter().zip(started) {
        let started = started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (pid, took) = (started.seen.pid, begun.elapsed().as_secs_f32());
        progress.done(editor.slug(), &format!("pid {pid}  {took:.1} s"));
        all.push(started);
    }
    Ok(all)
}

fn start(facts: &Facts, part: Part, record: &mut Record) -> Result<Waiting, SandboxFault> {
    let token = part_token(record, part);
    stop_leftovers(record, part, &token)?;
    let Some(port) = record.ports.of(part) else {
        return Err(SandboxFault::NoAppPort);
    };
    let wanted = parts::spawn(facts, part, port, &token)?;
    let started = spawn(&wanted).map_err(|source| SandboxFault::Start { part, source })?;
    record.started.insert(part, started.identity.clone());
    facts.home.save(record)?;
    let identity = started.identity.clone();
    Ok(Waiting { part, identity, child: Some(started), begun: Instant::now() })
}

/// Stops what is left of a part: workers of nginx serve for ever where their master was killed, and
/// an application may be on a port that its session has no more.
fn stop_leftovers(record: &Record, part: Part, token: &str) -> Result<(), SandboxFault> {
    let Some(identity) = record.started.get(&part) else { return Ok(()) };
    let mut left = vec![Target { identity: Some(identity.clone()), token: Some(token.into()) }];
    if part == Part::Nginx {
        let workers = orphaned_workers(record)?.into_iter();
        left.extend(workers.map(|identity| Target { identity: Some(identity), token: None }));
    }
    stop::stop(&left, LEFTOVER_GRACE)?;
    Ok(())
}

fn publish(facts: &Facts, held: &mut Held<'_, Leases>) -> Result<Published, SandboxFault> {
    let host = settings::find(&sandbox_wish(&facts.home))?.into_host();
    Ok(publish::publish_within(held, &host, "oh-deploy sandbox up")?)
}

/// Waits until every part answers that did not yet, and writes down who it is then: nginx writes
/// its title over its arguments, and these are part of an identity.
fn wait_for_all(
    facts: &Facts,
    record: &mut Record,
    waiting: &mut Vec<Waiting>,
    progress: &Progress,
) -> Result<(), SandboxFault> {
    for mut one in waiting.drain(..) {
        let (part, pid) = (one.part, one.identity.pid);
        progress.doing(format!("wait for {part}"));
        wait_for(facts, record.ports.of(part), &mut one)?;
        let identity = ProcessDir::open(pid)?.identity()?;
        if record.started.insert(part, identity.clone()) != Some(identity) {
            facts.home.save(record)?;
        }
        let took = one.begun.elapsed().as_secs_f32();
        progress.done(part.slug(), &format!("pid {pid}  {took:.1} s"));
    }
    Ok(())
}

fn wait_for(facts: &Facts, port: Option<u16>, one: &mut Waiting) -> Result<(), SandboxFault> {
    let (part, pid) = (one.part, one.identity.pid);
    loop {
        if let Some(ending) = ended(one)? {
            let said = last_lines(facts, part);
            let source = disk::full(&facts.home.path, &said);
            return Err(SandboxFault::Ended { part, ending, said, source });
        }
        if ready::answers(&facts.home, &facts.nginx, part, port, pid)? {
            return Ok(());
        }
        if one.begun.elapsed() >= Duration::from_secs(READY_LIMIT_S) {
            let source = disk::full(&facts.home.path, &last_lines(facts, part));
            let port = port.unwrap_or_default();
            return Err(SandboxFault::NotReady { part, port, limit_s: READY_LIMIT_S, source });
        }
        thread::sleep(PAUSE);
    }
}

/// Says how the part ended, where it did.
fn ended(one: &mut Waiting) -> Result<Option<String>, SandboxFault> {
    match &mut one.child {
        // Where it cannot be told whether it ended, it is asked.
        Some(child) => Ok(child.ended().ok().flatten().map(|status| status.to_string())),
        None if runs(&one.identity)? => Ok(None),
        None => Ok(Some("an earlier run started it".into())),
    }
}

/// Says whether it is still there, under whatever title: nginx changes its own.
fn runs(identity: &Identity) -> Result<bool, ProcessFault> {
    match ProcessDir::open(identity.pid).and_then(|process| process.stat()) {
        Ok(stat) => Ok(stat.start_time_ticks == identity.start_time_ticks && !stat.is_dead()),
        Err(fault) if fault.is_gone() => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn last_lines(facts: &Facts, part: Part) -> String {
    let log = facts.home.at(&format!("var/log/{}.log", part.slug()));
    let text = log.ok().and_then(|log| logs::tail(&log, LOG_BYTES).ok()).unwrap_or_default();
    let text = logs::without_keys(&text, []);
    let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
