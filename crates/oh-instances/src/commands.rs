//! What each command does: find the configuration, do it, report.

use oh_host::instances;
use oh_host::publish::Host;
use oh_host::settings::{self, Wish};
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_term::{Answer, Common, Failure};

use crate::cli::{StartArguments, StopArguments};
use crate::fault::Fault;
use crate::work::Work;
use crate::{inputs, look, report, room, start, stop};

/// What a command works with, and what people should know of its configuration.
pub(crate) struct Context {
    pub(crate) host: Host,
    pub(crate) warnings: Vec<String>,
}

/// Finds the configuration and keeps what the commands work with.
pub(crate) fn context(common: &Common) -> Result<Context, Failure> {
    let wish = Wish::of(common.config.clone(), common.root.clone(), common.sets.clone());
    let found = settings::find(&wish).map_err(Failure::of)?;
    let warnings = found.warnings();
    Ok(Context { host: found.into_host(), warnings })
}

pub(crate) fn start(asked: &StartArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let work = Work::begin(&host, common)?;
    // With a torn database nobody knows what may be routed, so nothing could be started.
    let salvaged = inputs::salvage(&host).map_err(|fault| room::failure(&host, fault))?;
    match start::start(&work, asked) {
        Ok(started) => Ok(report::started(&host, &started).notes(salvaged).notes(warnings)),
        Err(fault) => {
            salvaged.iter().for_each(|note| work.progress.done("salvaged", note));
            Err(failed(&work, fault))
        }
    }
}

pub(crate) fn restart(id: &str, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let id = known(&host, id)?;
    let salvaged = salvage(&host);
    let work = Work::begin(&host, common)?;
    let started = start::restart(&work, &id).map_err(|fault| failed(&work, fault))?;
    Ok(report::started(&host, &started).notes(salvaged).notes(warnings))
}

pub(crate) fn stop(asked: &StopArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let ids = if asked.all {
        // One that cannot be looked at keeps no other.
        instances::ids(&host.root).map_err(|fault| Failure::of(Fault::from(fault)))?
    } else {
        asked.ids.iter().map(|id| parsed(id)).collect::<Result<Vec<_>, _>>()?
    };
    if asked.dry_run {
        let found = ids.iter().map(|id| look::record(&host, id));
        let found = found.collect::<Result<Vec<_>, _>>().map_err(Failure::of)?;
        return Ok(report::would_stop(&ids, &found, asked.purge).notes(warnings));
    }
    let work = Work::begin(&host, common)?;
    let salvaged = salvage(&host);
    let stopped = stop::stop_all(&work, &ids, asked.purge).map_err(Failure::of)?;
    let answer = report::stopped(&stopped).notes(salvaged).notes(warnings);
    let is_cut_short = stopped.iter().any(|one| one.is_skipped);
    Ok(if is_cut_short { answer.exit(Exit::Interrupted) } else { answer })
}

/// What a start that failed says: a login that was made meanwhile is nowhere else.
fn failed(work: &Work<'_>, fault: Fault) -> Failure {
    let failure = room::failure(work.host, fault);
    match work.take_login() {
        Some(login) => failure.hint(report::login(&login)),
        None => failure,
    }
}

/// Writes torn databases anew, without which no route can be taken away; where that fails, what can
/// be done without them is done all the same.
pub(crate) fn salvage(host: &Host) -> Vec<String> {
    inputs::salvage(host)
        .unwrap_or_else(|fault| vec![format!("warning: {}", report::chain(&fault))])
}

/// Reads an id that has to be of a record.
fn known(host: &Host, id: &str) -> Result<InstanceId, Failure> {
    let parsed = parsed(id)?;
    match look::one(host, &parsed).map_err(Failure::of)? {
        Some(found) => Ok(found.record.id),
        None => Err(Failure::of(Fault::Unknown(id.to_owned()))),
    }
}

/// Reads an id.
pub(crate) fn parsed(id: &str) -> Result<InstanceId, Failure> {
    InstanceId::parse(id).map_err(|_| Failure::of(Fault::Unknown(id.escape_debug().to_string())))
}
