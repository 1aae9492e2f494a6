//! The cleanup itself: look, plan, show, ask, lock, look again, do.

use std::time::Duration;

use oh_host::atomic::{self, Meta};
use oh_host::boot::boot_id;
use oh_host::journal::{Journal, JournalFault};
use oh_host::lock::{Holder, Locks, Share, Waiting};
use oh_host::publish::Host;
use oh_host::remove::Removed;
use oh_host::settings::{self, Wish};
use oh_host::signals::Interrupts;
use oh_host::users::Users;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use oh_model::plan::{Objection, Plan};
use oh_model::run::RunId;
use oh_term::{Answer, Common, Failure, Progress, consent};

use crate::apply::{self, Deed, PURPOSE};
use crate::cli::{ApplyArguments, CleanArguments, DoingArguments, PlanArguments, WantedArguments};
use crate::evidence::{self, About, Kept, Written};
use crate::facts::{self, Facts, Look};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::journal::{self, Head, Run};
use crate::plan::plan;
use crate::planfile::PlanFile;
use crate::purge::Work;
use crate::report;
use crate::request::{Kinds, Request};
use crate::step::Step;

/// How long to wait for others at work, where nobody says: a watch's tick is over by then.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A plan names processes and files: it is its user's alone.
const PLAN_FILE: Meta = Meta { mode: 0o600, owner: None };

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

/// Cleans up, or says what would be done.
pub(crate) fn clean(asked: &CleanArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let request = request(&host, &asked.wanted).map_err(Failure::of)?;
    let (facts, plan) = planned(&host, &request)?;
    if asked.dry_run || plan.steps.is_empty() {
        let answer = report::planned(&facts, &plan, asked.dry_run).notes(warnings);
        let is_more = !plan.steps.is_empty();
        let next = "the same without --dry-run asks, and does it";
        return Ok(if is_more { answer.hint(Hint::from(next)) } else { answer });
    }
    consent(&shown(&facts, &plan, &asked.doing), asked.doing.yes)?;
    Ok(carry_out(&host, &request, &plan, &asked.doing)?.notes(warnings))
}

/// Writes a plan into a file, or prints it.
pub(crate) fn make(asked: &PlanArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let request = request(&host, &asked.wanted).map_err(Failure::of)?;
    let (facts, plan) = planned(&host, &request)?;
    let boot_id = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let file = PlanFile::of(&host, boot_id, &request, &plan);
    let path = given(&asked.output).map_err(Failure::of)?;
    let written = atomic::replace(&path, file.render().as_bytes(), PLAN_FILE);
    written.map_err(|fault| Failure::of(Fault::Write(fault)))?;
    let answer = report::planned(&facts, &plan, true).notes(warnings);
    if plan.steps.is_empty() {
        return Ok(answer);
    }
    let apply = Command::ours("oh-cleanup", &["apply", path.as_str()]);
    Ok(answer.hint(Hint::run("carry it out", apply)))
}

/// Carries out a plan from a file, as far as it is still true.
pub(crate) fn apply(asked: &ApplyArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let path = given(&asked.plan).map_err(Failure::of)?;
    let boot_id = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let (request, plan) = PlanFile::read(&host, &path, &boot_id).map_err(Failure::of)?;
    let look = Look::begin(&host).map_err(Failure::of)?;
    refuse(&Guard::new(&look, boot_id).objections(&plan), Exit::Refused)?;
    if plan.steps.is_empty() {
        let facts = Facts::default();
        return Ok(report::planned(&facts, &plan, false).notes(warnings));
    }
    consent(&shown(&Facts::default(), &plan, &asked.doing), asked.doing.yes)?;
    Ok(carry_out(&host, &request, &plan, &asked.doing)?.notes(warnings))
}

/// Takes a path of the command line, from the current folder where it is relative.
fn given(path: &str) -> Result<RealPath, Fault> {
    let bad = |why: String| Fault::Plan { path: path.escape_debug().to_string(), why };
    let whole = std::path::absolute(path).map_err(|fault| bad(fault.to_string()))?;
    let whole = whole.to_str().ok_or_else(|| bad("it is no text".into()))?;
    RealPath::parse(whole).map_err(|fault| bad(fault.to_string()))
}

/// Locks, looks again, and does what was confirmed and is still meant.
fn carry_out(
    host: &Host,
    request: &Request,
    plan: &Plan<Step>,
    asked: &DoingArguments,
) -> Result<Answer, Failure> {
    let consented = plan.confirm();
    let progress = Progress::start();
    let interrupts = Interrupts::listen().map_err(|fault| Failure::of(Fault::Signals(fault)))?;
    let lock = |fault| Failure::of(Fault::Lock(fault));
    let waiting = Patience(progress.clone());
    let mut locks = Locks::waiting(&host.root, None, waiting).map_err(lock)?;
    let wait = asked.wait.unwrap_or(LOCK_WAIT);
    let mut world = locks.world(Share::Exclusive, PURPOSE, wait).map_err(lock)?;
    // Whoever was asked took their time, and so did the lock.
    progress.doing("look again");
    let (facts, fresh) = planned(host, request)?;
    let boot = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let head = journal::head(boot.clone(), asked.reason.clone(), plan.steps.clone());
    let journal = begin(host, &head).map_err(|fault| Failure::of(Fault::Journal(fault)))?;
    let run_id = journal.run().clone();
    // What is kept is told as it is now.
    let told = Plan { steps: plan.steps.clone(), exclusions: fresh.exclusions.clone() };
    progress.doing("keep evidence");
    let reason = asked.reason.as_deref();
    let about = About { host, run: &run_id, boot_id: &boot, reason, facts: &facts, plan: &told };
    let evidence = if asked.no_evidence { None } else { Some(kept(&about, &journal)?) };
    // Evidence takes its time too: what has changed since is left alone.
    let (_, fresh) =
        if asked.no_evidence { (facts.clone(), fresh) } else { planned(host, request)? };
    let grace = asked.grace.unwrap_or(Duration::from_secs(host.settings.cleanup.grace_s));
    let run = apply::Run { host, journal, grace, progress: &progress, interrupts: &interrupts };
    let mut deeds = apply::apply(run, plan, consented, &fresh, &mut world)?;
    let unknown = look_afterwards(host, request, &mut deeds, &progress);
    let removed = asked.purge_now.then(|| removed(host, &run_id, &deeds, &progress, &interrupts));
    let note = evidence.as_ref().and_then(|_| reserved(host));
    let done = report::Done { run: &run_id, deeds: &deeds, evidence, removed };
    Ok(report::done(&facts, &told, &done).notes(note).notes(unknown))
}

/// Looks whether what was stopped runs again; returns what people should know where that fails.
fn look_afterwards(
    host: &Host,
    request: &Request,
    deeds: &mut [Deed],
    progress: &Progress,
) -> Option<String> {
    if !deeds.iter().any(|deed| matches!(deed.step, Step::Stop(_))) {
        return None;
    }
    progress.doing("look whether anything came back");
    match planned(host, request) {
        Ok((_, after)) => {
            apply::returned::say(deeds, &after);
            None
        }
        Err(_) => Some("nobody could look whether anything that was stopped came back".into()),
    }
}

/// What would be done, for whoever is asked.
fn shown(facts: &Facts, plan: &Plan<Step>, asked: &DoingArguments) -> String {
    let mut text = report::shown(facts, plan);
    if asked.purge_now && plan.steps.iter().any(Step::is_leftover) {
        text.push_str("would then remove what was moved for good: it cannot come back\n");
    }
    text
}

/// Removes the left-overs for good that were moved; records and session files have no room to speak of.
fn removed(
    host: &Host,
    run: &RunId,
    deeds: &[Deed],
    progress: &Progress,
    interrupts: &Interrupts,
) -> Result<Removed, String> {
    let is_moved = |deed: &Deed| deed.outcome.is_ok() && deed.step.is_leftover();
    let steps = deeds.iter().enumerate().filter(|(_, deed)| is_moved(deed)).map(|(at, _)| at);
    let work = Work { host, progress, interrupts };
    let run = Run::read(&host.root, run).map_err(|fault| apply::chain(&fault))?;
    work.things(&run, &steps.collect(), false).map_err(|fault| apply::chain(&fault))
}

/// Begins the journal, on a full disk with room that is kept for that.
fn begin(host: &Host, head: &Head) -> Result<Journal, JournalFault> {
    match journal::begin(&host.root, head) {
        Err(fault) if fault.is_no_space() && evidence::lend(host) => {
            journal::begin(&host.root, head)
        }
        begun => begun,
    }
}

/// Keeps the evidence of a run that is about to begin; without it there is no such run.
fn kept(about: &About<'_>, journal: &Journal) -> Result<Written, Failure> {
    evidence::write(about).map_err(|fault| {
        // Where it stays, it is the journal of a run that did nothing.
        drop(oh_host::journal::forget(&about.host.root, journal::TOOL, journal.run()));
        Failure::of(Fault::Evidence(fault))
    })
}

/// Keeps room for the evidence of the next run; returns what people should know of that.
fn reserved(host: &Host) -> Option<String> {
    let why = match evidence::keep_reserve(host) {
        Ok(Kept::Whole) => return None,
        Ok(Kept::NoRoom) => "the disk has none to spare".into(),
        Err(fault) => apply::chain(&fault),
    };
    Some(format!("no room is kept for the evidence of the next run: {why}"))
}

/// How a cleanup waits for a lock: nothing is begun yet, so a signal ends it at once.
struct Patience(Progress);

impl Waiting for Patience {
    fn tell(&self, holder: &Holder) {
        self.0.waiting(&holder.to_string());
    }
}

/// Refuses a plan that somebody objects to.
fn refuse(objections: &[Objection], exit: Exit) -> Result<(), Failure> {
    if objections.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = objections.iter().map(ToString::to_string).collect();
    let what = format!("the plan is refused: {}", all.join("; "));
    Err(Failure::new(exit, what).state("nothing was changed"))
}

/// Looks, plans, and has the plan judged.
fn planned(host: &Host, request: &Request) -> Result<(Facts, Plan<Step>), Failure> {
    let mut look = Look::begin(host).map_err(Failure::of)?;
    let facts = facts::gather(&mut look).map_err(Failure::of)?;
    let plan = plan(&facts, request);
    let boot_id = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    // Our planner erred.
    refuse(&Guard::new(&look, boot_id).objections(&plan), Exit::Bug)?;
    Ok((facts, plan))
}

fn request(host: &Host, asked: &WantedArguments) -> Result<Request, Fault> {
    let WantedArguments { processes, temp, databases, sessions, nginx, .. } = *asked;
    let kinds = Kinds { processes, temporary: temp, databases, sessions, nginx };
    let is_named = processes || temp || databases || sessions || nginx;
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let uid = |word: &String| users.uid(word).ok_or_else(|| Fault::NoUser(word.clone()));
    let age = asked.older_than.unwrap_or(Duration::from_secs(host.settings.cleanup.age_min_s));
    Ok(Request {
        kinds: if is_named { kinds } else { Kinds::ALL },
        ids: asked.only.iter().map(|id| id.to_ascii_lowercase()).collect(),
        uids: asked.user.iter().map(uid).collect::<Result<_, _>>()?,
        age_min_ns: i64::try_from(age.as_nanos()).unwrap_or(i64::MAX),
        force_active: asked.force_active,
        force_unsaved: asked.force_unsaved,
        reset_all: asked.reset_all,
    })
}
