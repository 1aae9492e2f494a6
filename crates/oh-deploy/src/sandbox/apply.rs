//! Does the steps: what is started is recorded before the next step, and waited for together.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use oh_host::http::{self, Get, Target};
use oh_host::process::{Pid, ProcessDir, Processes};
use oh_host::publish::{self, Published};
use oh_host::settings;
use oh_host::sockets;
use oh_host::spawn::{Started, spawn};
use oh_model::plan::Plan;
use oh_model::port::Port;
use oh_term::Progress;

use super::facts::{Facts, part_token, sandbox_wish};
use super::fault::SandboxFault;
use super::files;
use super::parts::{self, Part};
use super::plan::Step;
use super::record::Record;

/// How long a part may take until it answers, in seconds. An editor's first start compiles much.
const READY_LIMIT_S: u64 = 120;

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(25);

/// How many lines of a log are shown.
const LOG_LINES: usize = 3;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What publishing did.
    pub(crate) published: Option<Published>,
}

/// Does the steps of the plan.
pub(crate) fn apply(
    facts: &Facts,
    plan: &Plan<Step>,
    progress: &Progress,
) -> Result<Done, SandboxFault> {
    let mut record = facts.record.clone();
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
            Step::Publish => {
                wait_for_all(facts, &mut record, &mut waiting, progress)?;
                done.published = Some(publish(facts)?);
                progress.done("nginx", "serves the routes");
            }
        }
    }
    wait_for_all(facts, &mut record, &mut waiting, progress)?;
    Ok(done)
}

fn start(
    facts: &Facts,
    part: Part,
    record: &mut Record,
) -> Result<(Part, Started, Instant), SandboxFault> {
    let wanted = parts::spawn(facts, part, &part_token(record, part))?;
    let started = spawn(&wanted).map_err(|source| SandboxFault::Start { part, source })?;
    record.started.insert(part, started.identity.clone());
    facts.home.save(record)?;
    Ok((part, started, Instant::now()))
}

fn publish(facts: &Facts) -> Result<Published, SandboxFault> {
    let host = settings::find(&sandbox_wish(&facts.home))?.into_host();
    Ok(publish::publish(&host, "oh-deploy sandbox up")?)
}

/// Waits until every part that was started answers, and writes down who it is then: nginx writes
/// its title over its arguments, and these are part of an identity.
fn wait_for_all(
    facts: &Facts,
    record: &mut Record,
    waiting: &mut Vec<(Part, Started, Instant)>,
    progress: &Progress,
) -> Result<(), SandboxFault> {
    for (part, mut started, begun) in waiting.drain(..) {
        progress.doing(format!("wait for {part}"));
        wait_for(facts, part, &mut started, begun)?;
        let identity = ProcessDir::open(started.identity.pid)?.identity()?;
        if record.started.insert(part, identity.clone()) != Some(identity) {
            facts.home.save(record)?;
        }
        let took = begun.elapsed().as_secs_f32();
        progress.done(part.slug(), &format!("pid {}  {took:.1} s", started.identity.pid));
    }
    Ok(())
}

fn wait_for(
    facts: &Facts,
    part: Part,
    started: &mut Started,
    begun: Instant,
) -> Result<(), SandboxFault> {
    let port = facts.ports.of(part);
    loop {
        // Where it cannot be told whether it ended, it is asked.
        if let Ok(Some(status)) = started.ended() {
            let said = last_lines(facts, part);
            return Err(SandboxFault::Ended { part, ending: status.to_string(), said });
        }
        if answers(facts, part, port, started.identity.pid)? {
            return Ok(());
        }
        if begun.elapsed() >= Duration::from_secs(READY_LIMIT_S) {
            return Err(SandboxFault::NotReady { part, port, limit_s: READY_LIMIT_S });
        }
        thread::sleep(PAUSE);
    }
}

/// Says whether the part answers, and not a stranger in its place.
fn answers(facts: &Facts, part: Part, port: u16, pid: Pid) -> Result<bool, SandboxFault> {
    let path = match part {
        // Before its first publishing nginx listens nowhere; its pid file tells.
        Part::Nginx => {
            let pid_file = facts.home.at(files::PID_FILE)?;
            let master = facts.nginx.master(&pid_file).map_err(publish::PublishFault::from)?;
            return Ok(master.is_some_and(|master| master.pid() == pid));
        }
        Part::Openhands => "/alive",
        Part::App => "/",
        Part::SessionEditor | Part::RepositoryEditor => "/healthz",
    };
    let question = Get {
        target: Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        path,
        host: "localhost",
        headers: &[],
        timeout: ANSWER_LIMIT,
        body_bytes_max: ANSWER_BYTES_MAX,
    };
    if !http::get(&question).is_ok_and(|answer| answer.status == 200) {
        return Ok(false);
    }
    let mut family = Processes::look()?.descendants_of(pid);
    family.push(pid);
    let family: Vec<ProcessDir> =
        family.into_iter().filter_map(|pid| ProcessDir::open(pid).ok()).collect();
    match Port::new(port.into()) {
        Some(port) => Ok(sockets::is_listener_of(port, &family)?),
        None => Ok(false),
    }
}

fn last_lines(facts: &Facts, part: Part) -> String {
    let log = facts.home.at(&format!("var/log/{}.log", part.slug()));
    let text = log.ok().and_then(|log| std::fs::read(log.as_str()).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
