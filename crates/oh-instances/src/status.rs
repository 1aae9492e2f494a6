//! `oh-instances status`: all of one instance, and the one thing to do next.

mod limits;
mod report;

use oh_host::process::{Pid, ProcessDir};
use oh_host::publish::Host;
use oh_host::sockets::{self, Holding};
use oh_host::users::Users;
use oh_model::exit::Exit;
use oh_model::path::RealPath;
use oh_model::upstream::Target;
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::commands::{Context, context, parsed};
use crate::editor::Places;
use crate::fault::{Fault, Refusal};
use crate::inputs::{self, Told};
use crate::view::{self, Depth, One};
use crate::{logs, look, ready};

use limits::Limits;

/// How many last lines of a log are shown of an instance that is not well.
const LAST_LINES: usize = 8;

/// What is known of an instance beyond what a list shows.
#[derive(Debug)]
struct Details {
    listener: Listener,
    told: Vec<Told>,
    /// What the kernel holds it to, where that can be told.
    limits: Option<Limits>,
    supervisor_lives: Option<bool>,
    /// The last lines of its editor's log and of its supervisor's, where it is not well.
    editor_said: Vec<String>,
    supervisor_said: Vec<String>,
}

/// Who listens where its editor should.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listener {
    Own,
    Nobody,
    /// Somebody else, named for people.
    Other(String),
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// Answers for one instance.
pub(crate) fn status(id: &str, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let wanted = parsed(id)?;
    let depth = Depth { proportional: true, heartbeat: false };
    let mut view = view::of(&host, vec![wanted], depth).map_err(Failure::of)?;
    let seen = view.instances.pop().ok_or_else(|| Failure::of(Fault::Unknown(id.to_owned())))?;
    let one = match seen.what {
        Ok(one) => one,
        Err(why) => return Err(Failure::new(Exit::CouldNotLook, why)),
    };
    let details = details(&host, &one);
    let is_well = one.standing.is_well
        && matches!(details.listener, Listener::Own | Listener::Unknown(_))
        && details.told.iter().all(|told| told.wrong.is_none());
    let human = report::human(&host, &view, &one, &details);
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let mut instance = crate::list::instance(&host, &users, &view, &one);
    let more = report::json(&one, &details);
    if let (Some(instance), serde_json::Value::Object(more)) = (instance.as_object_mut(), more) {
        instance.extend(more);
    }
    let result = json!({
        "at_ms": view.now_ms,
        "not_seen": view.unseen,
        "is_well": is_well,
        "instance": instance,
    });
    let exit = if is_well { Exit::Ok } else { Exit::No };
    let answer = Answer::new(human, result).exit(exit).notes(warnings);
    Ok(match report::next(&one, &details) {
        Some(hint) => answer.hint(hint),
        None => answer,
    })
}

/// Prints the key that visitors enter, and nothing else. Whoever reads the record may know it.
pub(crate) fn reveal_key(id: &str, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let wanted = parsed(id)?;
    let record = look::record(&host, &wanted).map_err(Failure::of)?;
    let record = record.ok_or_else(|| Failure::of(Fault::Unknown(id.to_owned())))?;
    let id = record.id.clone();
    let key = match &record.key {
        None => return Err(Failure::of(Fault::from(Refusal::NoKey { id }))),
        Some(_) if record.key_is_nginxs => {
            return Err(Failure::of(Fault::from(Refusal::KeyOfNginx { id })));
        }
        Some(key) => key.reveal(),
    };
    let result = json!({ "id": id.as_str(), "key": key });
    Ok(Answer::new(format!("{key}\n"), result).notes(warnings))
}

fn details(host: &Host, one: &One) -> Details {
    let record = &one.found.record;
    let leader = one.uptime_ms().and_then(|_| one.editor()).map(|editor| editor.pid);
    let supervisor = one.found.state.as_ref().map(|state| &state.supervisor);
    let is_well = one.standing.is_well;
    let files = host.settings.instances.log_files;
    let state = one.found.state.as_ref();
    let keys = record.key.iter().chain(state.and_then(|state| state.key.as_ref()));
    let said = |log: Option<RealPath>| match log {
        Some(log) if !is_well => logs::last_words(&log, files, LAST_LINES, keys.clone()),
        _ => Vec::new(),
    };
    let supervisors = |places: &Places| RealPath::parse(&format!("{}.supervisor", places.log)).ok();
    Details {
        listener: listener(one, leader),
        // One that does not run has taken back what it told.
        told: if is_well { inputs::verify(host, record) } else { Vec::new() },
        limits: leader.filter(|_| record.unit.is_some()).and_then(limits::of),
        supervisor_lives: supervisor.and_then(|identity| identity.lives().ok()),
        editor_said: said(one.places.as_ref().map(|places| places.log.clone())),
        supervisor_said: said(one.places.as_ref().and_then(supervisors)),
    }
}

fn listener(one: &One, leader: Option<Pid>) -> Listener {
    let record = &one.found.record;
    match (record.target, &one.places, leader) {
        (Target::Port(port), _, _) => {
            let family = one.usage.processes.iter().map(|member| member.pid);
            let family: Vec<ProcessDir> =
                family.filter_map(|pid| ProcessDir::open(pid).ok()).collect();
            match sockets::holding(port, &family) {
                Ok(Holding::These) => Listener::Own,
                Ok(Holding::Nobody) => Listener::Nobody,
                Ok(Holding::Others { .. }) => Listener::Other(look::holder(port)),
                Err(fault) => Listener::Unknown(crate::report::chain(&fault)),
            }
        }
        (Target::Socket, Some(places), Some(leader)) => {
            match ready::is_own_listener(record, places, leader) {
                Ok(true) => Listener::Own,
                Ok(false) => Listener::Nobody,
                Err(fault) => Listener::Unknown(crate::report::chain(&fault)),
            }
        }
        (Target::Socket, None, _) => Listener::Unknown("its socket has no path".into()),
        (Target::Socket, Some(_), None) => Listener::Nobody,
    }
}
