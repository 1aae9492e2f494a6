//! What each command does: gather, decide, do, report.

use std::time::SystemTime;

use oh_host::heartbeat;
use oh_host::lock::Locks;
use oh_host::login;
use oh_host::publish::{self, Facts, PublishFault, Running};
use oh_model::exit::Exit;
use oh_nginx_conf::layout::Auth;
use oh_term::{Answer, Common, Failure};
use serde_json::json;
use similar::TextDiff;

use crate::edge::{Context, context};
use crate::report::{self, Seen};

/// How many unchanged lines a diff shows around a change.
const DIFF_CONTEXT_LINES: usize = 3;

pub(crate) fn render(common: &Common) -> Result<Answer, Failure> {
    let (facts, mut notes) = gather(common)?;
    let text = facts.target_text().shown();
    notes.extend(facts.routes.exclusions.iter().map(|e| format!("not routed: {e}")));
    Ok(Answer::new(text.clone(), json!({ "text": text })).notes(notes))
}

pub(crate) fn plan(common: &Common) -> Result<Answer, Failure> {
    let (facts, notes) = gather(common)?;
    let plan = publish::plan(&facts).map_err(Failure::of)?;
    let (live, wanted) = (facts.live_text.shown(), facts.target_text().shown());
    let diff = TextDiff::from_lines(live.as_str(), wanted.as_str());
    let name = facts.paths.live.as_str();
    let unified = diff
        .unified_diff()
        .context_radius(DIFF_CONTEXT_LINES)
        .header(name, &format!("{name} (planned)"))
        .to_string();
    Ok(report::plan(&facts, &plan, &unified).notes(notes))
}

pub(crate) fn apply(common: &Common) -> Result<Answer, Failure> {
    let context = context(common)?;
    let published = publish::publish(&context.host, "oh-nginx apply").map_err(Failure::of)?;
    Ok(report::published(&published).notes(context.warnings))
}

pub(crate) fn status(common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings: notes } = context(common)?;
    let facts = publish::gather(&host).map_err(Failure::of)?;
    let root = host.root;
    let unknown = facts
        .routes
        .listening_unknown
        .as_ref()
        .map(|why| format!("warning: whose the ports of sessions are cannot be told ({why})"));
    let workers = match &facts.running {
        Running::Master { master, .. } => {
            Some(master.workers().map_err(|fault| Failure::of(PublishFault::from(fault)))?)
        }
        Running::Nothing { .. } => None,
    };
    // What `apply` would refuse or do is what is not as it should be.
    let settled = publish::plan(&facts).is_ok_and(|plan| plan.steps.is_empty());
    let (watch, unread) = match heartbeat::read(&root) {
        Ok(watch) => (watch, None),
        Err(fault) => (None, Some(format!("warning: whether a watch lives is not known: {fault}"))),
    };
    let watch = watch.map(|heartbeat| Seen::at(heartbeat, SystemTime::now()));
    let answer = report::status(&facts, workers.as_ref(), settled, watch.as_ref());
    Ok(answer.notes(notes).notes(unknown).notes(unread))
}

pub(crate) fn login(common: &Common) -> Result<Answer, Failure> {
    let context = context(common)?;
    // An `apply` that runs meanwhile could take away what is made here.
    let mut locks = Locks::open(&context.host.root, None)
        .map_err(|fault| Failure::of(PublishFault::from(fault)))?;
    let _held = locks
        .publish("oh-nginx login", publish::LOCK_WAIT)
        .map_err(|fault| Failure::of(PublishFault::from(fault)))?;
    let facts = publish::gather(&context.host).map_err(Failure::of)?;
    let Auth::Basic { users } = &facts.site.auth else {
        let what = "nginx asks for no password here: site.auth is not \"basic\"";
        return Err(Failure::new(Exit::Refused, what));
    };
    let made = login::create(users, facts.login_meta).map_err(|fault| {
        Failure::new(Exit::Intact, fault).state("what users there were is as it was")
    })?;
    Ok(report::login(&made, users.as_str()).notes(context.warnings))
}

/// Looks at everything; beside the facts, what is odd in the configuration.
fn gather(common: &Common) -> Result<(Facts, Vec<String>), Failure> {
    let context = context(common)?;
    let facts = publish::gather(&context.host).map_err(Failure::of)?;
    Ok((facts, context.warnings))
}
