//! The cleanup itself: look, plan, show, ask, lock, look again, do.

use std::time::Duration;

use oh_host::atomic::{self, Meta};
use oh_host::boot::boot_id;
use oh_host::journal::Journal;
use oh_host::lock::Share;
use oh_host::publish::Host;
use oh_host::quarantine::Thing;
use oh_host::remove::Removed;
use oh_host::settings::{self, Wish};
use oh_host::signals::Interrupts;
use oh_host::users::Users;
use oh_model::diagnostic::Diagnostic as _;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::path::RealPath;
use oh_model::plan::{Objection, Plan};
use oh_model::run::RunId;
use oh_term::{Answer, Common, Failure, Progress, consent};

use crate::after;
use crate::apply::{self, Deed, PURPOSE};
use crate::cli::{ApplyArguments, CleanArguments, DoingArguments, PlanArguments, WantedArguments};
use crate::evidence::{self, About, Kept, Written};
use crate::facts::{self, Facts, Look};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::interrupt::{self, From};
use crate::journal::{self, Run};
use crate::known;
use crate::limit;
use crate::plan::plan;
use crate::planfile::PlanFile;
use crate::purge::Work;
use crate::report;
use crate::request::{Kinds, Request};
use crate::room::{self, Begun};
use crate::step::Step;
use crate::waits::{self, LOCK_WAIT};

/// A plan names processes and files: it is its user's alone.
const PLAN_FILE: Meta = Meta { mode: 0o600, owner: None };

/// How a file is named that is not to be written, but printed.
const STDOUT: &str = "-";

/// What a command works with, and what people should know of its configuration.
pub(crate) struct Context {
    pub(crate) host: Host,
    pub(crate) warnings: Vec<String>,
}

/// Finds the configuration and keeps what the commands work with.
pub(crate) fn context(common: &Common) -> Result<Context, Failure> {
    let wish = Wish::of(common.config.clone(), common.root.clone(), common.sets.clone());
    let found = settings::find(&wish).map_err(|fault| {
        let is_of_file = fault.exit() == Exit::Config;
        let failure = Failure::of(fault);
        if !is_of_file || !failure.hints.is_empty() {
            return failure;
        }
        // Without it nobody knows what is ours: neither what to take, nor where an undo publishes.
        let way = "mend it, or name another file for now: --config FILE (/dev/null: the defaults)";
        failure.state("nothing was changed; what runs have moved stays where it is").hint(way)
    })?;
    let warnings = found.warnings();
    Ok(Context { host: found.into_host(), warnings })
}

/// Cleans up, or says what would be done.
pub(crate) fn clean(asked: &CleanArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let request = request(&host, &asked.wanted).map_err(Failure::of)?;
    let (facts, plan) = planned(&host, &request)?;
    known::refuse_unknown(&facts, &request)?;
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
    known::refuse_unknown(&facts, &request)?;
    let boot = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let file = PlanFile::of(&host, boot.clone(), &request, &plan);
    if asked.output == STDOUT {
        return Ok(report::printed(&facts, &plan, &file.render()).notes(warnings));
    }
    let path = given(&asked.output).map_err(Failure::of)?;
    let written = atomic::replace(&path, file.render().as_bytes(), PLAN_FILE);
    written.map_err(|fault| Failure::of(Fault::Write(fault)))?;
    // What nobody would carry out is no plan: others may write to its folder, say.
    if let Err(fault) = PlanFile::read(&host, &path, &boot) {
        drop(atomic::remove_file(&path));
        let hint = "write it into a folder that is yours alone";
        return Err(Failure::of(fault).hint(hint));
    }
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
    refuse(&Guard::new(&look, boot_id, &request).objections(&plan), Exit::Refused)?;
    if plan.steps.is_empty() {
        let facts = Facts::default();
        return Ok(report::planned(&facts, &plan, false).notes(warnings));
    }
    let shown = shown(&Facts::default(), &plan, &asked.doing);
    consent(&shown, asked.doing.yes).map_err(|mut refused| {
        // There is no other way to look at it than this one.
        for hint in &mut refused.hints {
            *hint = "that is what the plan has; confirm it with --yes".into();
        }
        refused
    })?;
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
    let from = match request.include_self {
        true => From::BeyondTheTerminal,
        false => From::Anywhere,
    };
    let interrupts = interrupt::listen(&progress, from)?;
    let lock = |fault| Failure::of(Fault::Lock(fault));
    let mut locks = waits::locks(&host.root, &progress)?;
    let wait = asked.wait.unwrap_or(LOCK_WAIT);
    let mut world = locks.world(Share::Exclusive, PURPOSE, wait).map_err(lock)?;
    // Whoever was asked took their time, and so did the lock.
    progress.doing("look again");
    let (facts, fresh) = planned(host, request)?;
    let boot = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let unswept = swept(host);
    let head = |steps| journal::head(boot.clone(), asked.reason.clone(), steps);
    let begun =
        room::begin(host, plan, head).map_err(|fault| Failure::of(Fault::Journal(fault)))?;
    let Begun { journal, part } = begun;
    let run_id = journal.run().clone();
    // What is kept is told as it is now.
    let told = Plan { steps: plan.steps.clone(), exclusions: fresh.exclusions.clone() };
    progress.doing("keep evidence");
    let reason = asked.reason.as_deref();
    let about = About { host, run: &run_id, boot_id: &boot, reason, facts: &facts, plan: &told };
    let (evidence, journal) = match asked.no_evidence {
        true => (None, journal),
        false => kept(&about, journal).map(|(written, journal)| (Some(written), journal))?,
    };
    // Evidence takes its time too: what has changed since is left alone.
    let (seen, fresh) =
        if asked.no_evidence { (facts.clone(), fresh) } else { planned(host, request)? };
    let told = Plan { steps: plan.steps.clone(), exclusions: fresh.exclusions.clone() };
    let grace = asked.grace.unwrap_or(Duration::from_secs(host.settings.cleanup.grace_s));
    // A part of what was confirmed is confirmed.
    let (begun, consented) = match &part {
        Some(part) => (part, part.confirm()),
        None => (plan, consented),
    };
    let dropped = evidence.as_ref().and_then(Written::dropped);
    let (interrupts, doing) = (&interrupts, &progress);
    let run =
        apply::Run { host, journal, request, facts: &seen, grace, progress: doing, interrupts };
    let deeds = apply::apply(run, begun, consented, &fresh, &mut world)?;
    let removed = asked.purge_now.then(|| removed(host, &run_id, &deeds, doing, interrupts));
    let deeds = if part.is_some() { room::with_the_rest(plan, deeds) } else { deeds };
    progress.doing("look what came back");
    let after = after::look(host, &seen, &deeds);
    let limits = request.limits();
    let done = report::Done { run: &run_id, deeds: &deeds, evidence, removed, limits, after };
    let notes = unswept.into_iter().chain(dropped).chain(reserved(host, asked.no_evidence));
    let answer = report::done(&facts, &told, &done).notes(notes);
    // What moved nothing away has made nothing more.
    let is_more = deeds.iter().any(is_moved);
    Ok(if is_more { limit::told(host, answer) } else { answer })
}

/// What would be done, for whoever is asked.
fn shown(facts: &Facts, plan: &Plan<Step>, asked: &DoingArguments) -> String {
    let mut text = report::shown(facts, plan);
    if asked.purge_now && plan.steps.iter().any(Step::is_leftover) {
        text.push_str("would then remove what was moved for good: it cannot come back\n");
    }
    let stops = plan.steps.iter().filter_map(|step| match step {
        Step::Stop(stop) => Some(stop),
        _ => None,
    });
    let mut around = facts.editors.iter().filter(|editor| editor.is_around_us);
    if around.any(|editor| stops.clone().any(|stop| apply::is_of(stop, editor))) {
        text.push_str("would end its own terminal: `oh-cleanup runs` tells of it afterwards\n");
    }
    text
}

/// Says whether it took a left-over away.
fn is_moved(deed: &Deed) -> bool {
    deed.outcome.is_ok() && deed.step.is_leftover()
}

/// Removes the left-overs for good that were moved; records and session files have no room to speak of.
fn removed(
    host: &Host,
    run: &RunId,
    deeds: &[Deed],
    progress: &Progress,
    interrupts: &Interrupts,
) -> Result<Removed, String> {
    let steps = deeds.iter().enumerate().filter(|(_, deed)| is_moved(deed)).map(|(at, _)| at);
    let work = Work { host, progress, interrupts };
    let run = Run::read(&host.root, run).map_err(|fault| apply::chain(&fault))?;
    work.things(&run, &steps.collect(), false).map_err(|fault| apply::chain(&fault))
}

/// Takes away what killed runs left unfinished; returns what people should know of that. Nobody else is
/// at work: the lock is ours.
fn swept(host: &Host) -> Option<String> {
    let journals = oh_host::journal::sweep(&host.root).map_err(|fault| apply::chain(&fault));
    let evidence = evidence::sweep(host).map_err(|fault| apply::chain(&fault));
    let why = journals.map(drop).and(evidence).err()?;
    Some(format!("what a killed run left unfinished could not be removed: {why}"))
}

/// Keeps the evidence of a run that is about to begin; without it there is no such run.
fn kept(about: &About<'_>, journal: Journal) -> Result<(Written, Journal), Failure> {
    match evidence::write(about) {
        Ok(written) => Ok((written, journal)),
        Err(fault) => {
            // Where it stays, it is the journal of a run that did nothing.
            drop(journal.abandon(&about.host.root, journal::TOOL));
            Err(Failure::of(Fault::Evidence(fault)))
        }
    }
}

/// Keeps room for the journal and the evidence of the next run; returns what people should know of that.
fn reserved(host: &Host, no_evidence: bool) -> Vec<String> {
    const NONE: &str = "the disk has none to spare";
    let journal = match oh_host::journal::keep_spare(&host.root) {
        Ok(true) => None,
        Ok(false) => Some(NONE.to_owned()),
        Err(fault) => Some(apply::chain(&fault)),
    };
    let evidence = match (!no_evidence).then(|| evidence::keep_reserve(host)) {
        None | Some(Ok(Kept::Whole)) => None,
        Some(Ok(Kept::NoRoom)) => Some(NONE.to_owned()),
        Some(Err(fault)) => Some(apply::chain(&fault)),
    };
    let note = |what, why| format!("no room is kept for the {what} of the next run: {why}");
    let notes =
        [journal.map(|why| note("journal", why)), evidence.map(|why| note("evidence", why))];
    notes.into_iter().flatten().collect()
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
    let mut facts = facts::gather(&mut look).map_err(Failure::of)?;
    if request.containers {
        facts::containers::add(&mut facts);
    }
    let boot_id = boot_id().map_err(|fault| Failure::of(Fault::Boot(fault)))?;
    let guard = Guard::new(&look, boot_id, request);
    let mut made = plan(&facts, request);
    let unsteady: Vec<Thing> = guard.unsteady(&made).into_iter().cloned().collect();
    if !unsteady.is_empty() {
        facts.leave_changed(&unsteady);
        made = plan(&facts, request);
    }
    // Our planner erred.
    refuse(&guard.objections(&made), Exit::Bug)?;
    Ok((facts, made))
}

fn request(host: &Host, asked: &WantedArguments) -> Result<Request, Fault> {
    let WantedArguments { all, processes, temp, databases, sessions, nginx, containers, .. } =
        *asked;
    let kinds = Kinds { processes, temporary: temp, databases, sessions, nginx };
    if asked.reset_all
        && !databases
        && (processes || temp || sessions || nginx || containers)
        && !all
    {
        return Err(Fault::ResetsNothing);
    }
    let is_named = processes || temp || databases || sessions || nginx || (containers && !all);
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
        containers,
        reset_all: asked.reset_all,
        include_self: asked.include_self_session,
    })
}
