//! Carries a plan out, step by step; each looks again under the lease of its instance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oh_host::atomic::Change;
use oh_host::folder::Memory;
use oh_host::instances::{self, Phase, Record, STATE_SCHEMA, State, Wanted};
use oh_host::lock::{Held, Leases, Share, World};
use oh_host::login::Login;
use oh_host::process::Identity;
use oh_host::publish::{self, Asked, Host, PublishFault};
use oh_host::random;
use oh_host::users::Users;
use oh_model::diagnostic::Diagnostic as _;
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_model::instance::{Server, Subject};
use oh_model::plan::{Confirmed, Outcome, Plan};
use oh_model::upstream::{Target, Upstream};
use oh_term::Failure;

use super::facts::{self, Words};
use super::plan::{Step, Verdict, verdict};
use super::strays::{self, Adoption, Fate};
use crate::editor::{self, Places};
use crate::fault::Fault;
use crate::look;
use crate::report::chain;
use crate::work::Work;
use crate::{inputs, launch, ready, start, stop};

/// What locks are held for.
const PURPOSE: &str = "oh-instances reconcile";

/// How long to wait for whoever has the world, and for the databases.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// What became of a step.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) step: Step,
    pub(super) outcome: Result<Outcome, NotDone>,
}

/// Why a step was not done.
#[derive(Debug)]
pub(super) struct NotDone {
    pub(super) why: String,
    pub(super) exit: Exit,
}

/// What a run did.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) deeds: Vec<Deed>,
    /// What people should know.
    pub(super) notes: Vec<String>,
    /// A login that was made for the site.
    pub(super) login: Option<Login>,
}

impl From<Fault> for NotDone {
    fn from(fault: Fault) -> Self {
        let exit = match fault.exit() {
            exit @ (Exit::Locked | Exit::Interrupted | Exit::RollbackFailed) => exit,
            _ => Exit::No,
        };
        Self { why: chain(&fault), exit }
    }
}

impl NotDone {
    fn said(why: impl Into<String>) -> Self {
        Self { why: why.into(), exit: Exit::No }
    }
}

/// One run.
struct Run<'r> {
    host: &'r Host,
    start: bool,
    work: &'r Work<'r>,
    done: Done,
}

/// Carries out the plan that was confirmed.
pub(super) fn apply(
    work: &Work<'_>,
    plan: &Plan<Step>,
    consent: Confirmed,
    start: bool,
) -> Result<Done, Failure> {
    if !consent.covers(plan) {
        return Err(Failure::new(Exit::Refused, "the plan is not the one that was confirmed"));
    }
    let of = |fault: Fault| Failure::of(fault);
    let mut locks = work.locks().map_err(|fault| of(fault.into()))?;
    let world = locks.world(Share::Shared, PURPOSE, LOCK_WAIT);
    let mut world = world.map_err(|fault| of(fault.into()))?;
    let mut run = Run { host: work.host, start, work, done: Done::default() };
    for step in &plan.steps {
        work.progress.doing(step.to_string());
        // What a step took away is not to be served, whatever was asked since.
        let is_due = *step == Step::Publish && run.has_changed();
        let outcome = match work.go_on() {
            Err(interrupted) if !is_due => Err(interrupted.into()),
            Err(_) => work.whole(|| work.to_the_end(|| run.carry_out(step, &mut world))),
            Ok(()) => work.whole(|| run.carry_out(step, &mut world)),
        };
        run.done.deeds.push(Deed { step: step.clone(), outcome });
    }
    // One that was made on the way to a step that failed is shown all the same.
    run.done.login = run.done.login.take().or_else(|| work.take_login());
    Ok(run.done)
}

impl Run<'_> {
    /// Says whether a step has changed something.
    fn has_changed(&self) -> bool {
        self.done.deeds.iter().any(|deed| !matches!(deed.outcome, Ok(Outcome::AlreadyDone)))
    }

    fn carry_out(&mut self, step: &Step, world: &mut Held<'_, World>) -> Result<Outcome, NotDone> {
        let id = match step {
            Step::Publish => return self.publish(world),
            Step::WriteAnew(database, ..) => {
                let mut held = world.leases([], PURPOSE, Duration::ZERO).map_err(Fault::from)?;
                let (change, notes) = inputs::mend(self.host, *database, &mut held)?;
                self.done.notes.extend(notes);
                return Ok(match change {
                    Change::Unchanged => Outcome::AlreadyDone,
                    Change::Changed => Outcome::Done,
                });
            }
            Step::Release(id, _) => {
                // An id that can be no instance's is nobody's to take.
                let mut held = match InstanceId::parse(id) {
                    Ok(id) => start::lease(world, &id, PURPOSE, Duration::ZERO)?,
                    Err(_) => world.leases([], PURPOSE, Duration::ZERO).map_err(Fault::from)?,
                };
                return self.release(id, &mut held);
            }
            Step::Adopt(adoption) => {
                let mut held = start::lease(world, &adoption.id, PURPOSE, Duration::ZERO)?;
                return self.adopt(adoption, &mut held);
            }
            Step::FinishStop(id)
            | Step::FinishStart(id)
            | Step::TakeBack(id)
            | Step::Restart(id)
            | Step::Supervise(id)
            | Step::Serve(id)
            | Step::Announce(id)
            | Step::Retire(id, _)
            | Step::Start(id) => id,
        };
        let mut held = start::lease(world, id, PURPOSE, Duration::ZERO)?;
        let Some(now) = facts::again(self.host, id)? else { return Ok(Outcome::AlreadyDone) };
        match verdict(&now, self.start) {
            Verdict::Settled => return Ok(Outcome::AlreadyDone),
            Verdict::Do(due) if is_same(&due, step) => {}
            Verdict::Do(_) | Verdict::Left(_) => {
                return Err(NotDone::said("it is another way by now; the next run looks again"));
            }
        }
        self.of_instance(step, id, &now, &mut held)
    }

    fn of_instance(
        &mut self,
        step: &Step,
        id: &InstanceId,
        now: &facts::Instance,
        held: &mut Held<'_, Leases>,
    ) -> Result<Outcome, NotDone> {
        let found = look::one(self.host, id)?.ok_or_else(|| Fault::Unknown(id.to_string()))?;
        let record = found.record.clone();
        match step {
            Step::FinishStop(_) | Step::TakeBack(_) => self.stop(id, held)?,
            Step::FinishStart(_) => {
                let notes = Vec::new();
                let started = start::bring_up(self.work, record, held, notes)?;
                self.started(started);
            }
            Step::Restart(_) => {
                let started = start::restart_held(self.work, found, held)?;
                self.started(started);
            }
            Step::Supervise(_) | Step::Serve(_) => self.serve(record, Vec::new(), held)?,
            Step::Announce(_) => {
                let Some(state) = found.state else {
                    return Err(NotDone::said("its supervisor is gone"));
                };
                let is_overwritten = now.words != Words::All;
                let supervisor = state.supervisor.pid;
                let notes = inputs::announce(self.host, &record, supervisor, held)?;
                self.done.notes.extend(notes);
                if is_overwritten && record.subject == Subject::Repository {
                    self.done.notes.push(format!(
                        "warning: what the databases said of {id} was overwritten by a program \
                         that takes no lock"
                    ));
                }
            }
            Step::Retire(..) => {
                // A supervisor that gave up has said why; that stays to be read.
                let is_told = matches!(found.condition, look::Condition::Supervised(_));
                self.retire(record, is_told, held)?;
            }
            Step::Start(_) => {
                let (record, notes) = start::revive(self.host, found, held)?;
                if let Err(fault) = self.serve(record, notes, held) {
                    // What runs is kept: only what does not is taken back to its record.
                    if let Some(found) = look::one(self.host, id)?
                        && !found.is_ready()
                    {
                        let is_told = matches!(found.condition, look::Condition::Supervised(_));
                        self.retire(found.record, is_told, held)?;
                    }
                    return Err(fault);
                }
            }
            Step::Adopt(_) | Step::Release(..) | Step::WriteAnew(..) | Step::Publish => {}
        }
        Ok(Outcome::Done)
    }

    /// From whatever lives of an instance to one that is supervised and served.
    fn serve(
        &mut self,
        record: Record,
        mut notes: Vec<String>,
        held: &mut Held<'_, Leases>,
    ) -> Result<(), NotDone> {
        let started = start::carry_out(self.work, record, held, &mut notes);
        self.done.notes.extend(notes);
        self.started(started?);
        Ok(())
    }

    fn started(&mut self, started: start::Started) {
        self.done.notes.extend(started.notes);
        if started.login.is_some() {
            self.done.login = started.login;
        }
    }

    fn stop(&mut self, id: &InstanceId, held: &mut Held<'_, Leases>) -> Result<(), NotDone> {
        let stopped = stop::stop_one(self.host, id, false, held)?;
        self.done.notes.extend(stopped.notes);
        if stopped.left.is_empty() { Ok(()) } else { Err(NotDone::said(stopped.left.join("; "))) }
    }

    /// Ends what is left, and takes back what others are told; the record stays.
    fn retire(
        &mut self,
        mut record: Record,
        keeps_state: bool,
        held: &mut Held<'_, Leases>,
    ) -> Result<(), NotDone> {
        record.announced = false;
        instances::write(&self.host.root, &record).map_err(Fault::from)?;
        let outcomes = stop::end_family(self.host, &record)?;
        let left: Vec<String> =
            outcomes.iter().filter(|one| !one.is_settled()).map(stop::unsettled).collect();
        self.done.notes.extend(inputs::withdraw(self.host, &record, held)?);
        if !left.is_empty() {
            return Err(NotDone::said(left.join("; ")));
        }
        if !keeps_state {
            instances::remove_state(&self.host.root, &record.id).map_err(Fault::from)?;
        }
        Ok(())
    }

    fn release(&mut self, id: &str, held: &mut Held<'_, Leases>) -> Result<Outcome, NotDone> {
        match self.fate(id)? {
            None => Ok(Outcome::AlreadyDone),
            Some(Fate::Release(_)) => {
                self.done.notes.extend(inputs::release(self.host, id, held)?);
                Ok(Outcome::Done)
            }
            Some(_) => Err(NotDone::said("it is another way by now; the next run looks again")),
        }
    }

    /// What becomes of an entry now; `None` where there is none, or where it has a record.
    fn fate(&self, id: &str) -> Result<Option<Fate>, NotDone> {
        let known = instances::records(&self.host.root).map_err(Fault::from)?;
        let known: Vec<Record> =
            known.into_iter().collect::<Result<_, _>>().map_err(Fault::from)?;
        let known = known.iter().map(|record| record.id.folded()).collect();
        let strays = strays::gather(self.host, &facts::databases(self.host), &known)?;
        Ok(strays.iter().find(|stray| stray.id == id).map(strays::Stray::fate))
    }

    fn adopt(
        &mut self,
        adoption: &Adoption,
        held: &mut Held<'_, Leases>,
    ) -> Result<Outcome, NotDone> {
        let host = self.host;
        match self.fate(adoption.id.as_str())? {
            None => return Ok(Outcome::AlreadyDone),
            Some(Fate::Adopt(now)) if *now == *adoption => {}
            Some(_) => {
                return Err(NotDone::said("it is another way by now; the next run looks again"));
            }
        }
        let record = adopted(host, adoption)?;
        if record.upstream == Upstream::BasePath {
            return Err(NotDone::said("code-server cannot keep its prefix (instances.upstream)"));
        }
        let places = Places::of(host, &record)?;
        if !ready::answers(&record, &places, adoption.leader.pid)? {
            return Err(NotDone::said("its editor does not answer"));
        }
        {
            let chosen = held.databases(["instances"], PURPOSE, LOCK_WAIT);
            let _chosen = chosen.map_err(Fault::from)?;
            if facts::is_recorded(host, adoption.port)? {
                return Err(NotDone::said(format!("port {} is an instance's", adoption.port)));
            }
            // Before the record: with one and without a state nothing of it would seem to run.
            let state = State {
                schema: STATE_SCHEMA,
                // Nobody yet: no process of this machine started before it.
                supervisor: Identity {
                    start_time_ticks: 0,
                    ..Identity::own().map_err(Fault::from)?
                },
                phase: Phase::Starting,
                editor: Some(adoption.leader.clone()),
                generation: 0,
                key: None,
                starts: 0,
                activity: None,
                endings: Vec::new(),
            };
            instances::write_state(&host.root, &record.id, &state).map_err(Fault::from)?;
            instances::write(&host.root, &record).map_err(Fault::from)?;
        }
        let warning = if record.uid == 0 { ", and it runs as root" } else { "" };
        self.done.notes.push(format!(
            "warning: the editor of {0} asks for no key: every user of this machine can use \
             it{warning}; `oh-instances restart {0}` starts one with a key",
            record.id
        ));
        self.serve(record, Vec::new(), held)?;
        Ok(Outcome::Done)
    }

    fn publish(&mut self, world: &mut Held<'_, World>) -> Result<Outcome, NotDone> {
        // What a timer prints is kept, so no password is made here.
        let asked = Asked { purpose: PURPOSE, wait: LOCK_WAIT, may_make_login: false };
        match publish::publish_as_asked(world, self.host, asked, &mut Memory::default()) {
            Ok(published) if published.steps.is_empty() => Ok(Outcome::AlreadyDone),
            Ok(_) => Ok(Outcome::Done),
            // A site that was never configured serves nothing.
            Err(PublishFault::Config(_)) => Ok(Outcome::AlreadyDone),
            Err(fault) => {
                let exit = match fault.exit() {
                    exit @ (Exit::Locked
                    | Exit::Intact
                    | Exit::RolledBack
                    | Exit::RollbackFailed) => exit,
                    // Other steps may have been done.
                    _ => Exit::No,
                };
                Err(NotDone { why: chain(&fault), exit })
            }
        }
    }
}

/// Says whether two steps do the same to the same; what is said of it may have changed.
fn is_same(one: &Step, other: &Step) -> bool {
    core::mem::discriminant(one) == core::mem::discriminant(other)
        && one.subject() == other.subject()
}

/// The record of an editor that somebody else started.
fn adopted(host: &Host, adoption: &Adoption) -> Result<Record, Fault> {
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let key_is_nginxs = host.settings.site.auth != oh_config::Auth::Editor;
    // Visitors could not enter what it does not ask for.
    let asks = host.settings.instances.asks_for_key && key_is_nginxs;
    Ok(Record {
        id: adoption.id.clone(),
        subject: Subject::Repository,
        wanted: Wanted::Running,
        server: Server::CodeServer,
        target: Target::Port(adoption.port),
        apps: Vec::new(),
        upstream: host.settings.instances.upstream,
        folder: adoption.folder.clone(),
        uid: adoption.uid,
        gid: users.user_of(adoption.uid).map_or(adoption.uid, |user| user.gid),
        // Nothing carries it until its supervisor starts it again: it is its state that knows it.
        token: random::token()?,
        // As it runs it asks for none; the next one has one.
        key: if asks { Some(editor::new_key()?) } else { None },
        key_is_nginxs,
        adopted: true,
        unit: launch::unit(host, &adoption.id.folded()),
        // Whole: a run that is killed here leaves an editor without a supervisor, which gets one.
        starter: None,
        announced: false,
        generation: 0,
        created_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    })
}
