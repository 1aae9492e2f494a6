//! Carries the plan out, step by step; after the swap every failure leads back.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

use oh_model::path::RealPath;
use oh_model::plan::{Confirmed, Outcome, Plan};
use oh_nginx_conf::layout::Generation;
use oh_nginx_conf::served;

use super::facts::{Facts, Hook, Running, answered_generation, hook_text, stranger_on};
use super::fault::{Complaints, Now, PublishFault, StepFault};
use super::plan::Step;
use super::staging::Staging;
use super::{Published, wrapper};
use crate::atomic::{self, Change, Meta};
use crate::login::{self, Login};
use crate::nginx::{self, Master};
use crate::process::ProcessDir;

/// How long to wait before asking again which generation is served, at first.
const POLL_FIRST: Duration = Duration::from_millis(1);

/// How long to wait before asking again, at most.
const POLL_MOST: Duration = Duration::from_millis(3);

/// How much of the error log is read for a reason, in bytes.
const LOG_BYTES_MAX: u64 = 64 * 1024;

/// Everybody reads the hook, only its owner writes it.
const HOOK_META: Meta = Meta { mode: 0o644, owner: None };

/// Carries out a confirmed plan.
///
/// # Errors
/// [`PublishFault`], with the routes that are served now.
pub(super) fn apply(
    facts: &Facts,
    plan: Plan<Step>,
    consent: Confirmed,
) -> Result<Published, PublishFault> {
    if !consent.covers(&plan) {
        let what = "the plan changed after it was confirmed".to_string();
        return Err(PublishFault::Refused { what, hint: "run the command again".into() });
    }
    let mut run = Run::start(facts)?;
    let mut done = Vec::with_capacity(plan.steps.len());
    for step in plan.steps {
        match run.step(&step) {
            Ok(outcome) => done.push((step, outcome)),
            Err(failure) => return Err(run.undo(step, failure)),
        }
    }
    let workers = match &facts.running {
        Running::Master { master, .. } => master.workers().ok(),
        Running::Nothing { .. } => None,
    };
    Ok(Published {
        generation: facts.target(),
        seen: matches!(facts.running, Running::Master { .. }),
        steps: done,
        site: facts.site.clone(),
        routes: facts.routes.clone(),
        workers,
        login: run.login,
        login_wanted: false,
    })
}

/// Why a step did not end well.
enum Failure {
    /// It could not be done.
    Fault(StepFault),
    /// nginx refused the staged configuration.
    Refused(Vec<String>),
    /// The generation was not seen.
    NotSeen(Generation, Vec<String>),
}

impl<F: Into<StepFault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

/// A plan under way, and what has to be undone if it fails.
struct Run<'a> {
    facts: &'a Facts,
    staging: Staging,
    login: Option<Login>,
    kept: bool,
    swapped: bool,
    hooked: bool,
    reloaded: bool,
    log_from: u64,
    /// The workers that accepted connections before the reload.
    before: Vec<ProcessDir>,
}

impl<'a> Run<'a> {
    fn start(facts: &'a Facts) -> Result<Self, PublishFault> {
        let staging = Staging::open(&facts.paths.folder)?;
        if let Err(fault) = wrapper::sweep(facts) {
            staging.leave_nothing();
            return Err(fault.into());
        }
        Ok(Self {
            facts,
            staging,
            login: None,
            kept: false,
            swapped: false,
            hooked: false,
            reloaded: false,
            log_from: 0,
            before: Vec::new(),
        })
    }

    fn step(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let facts = self.facts;
        match step {
            Step::Stage(_) => self.staging.stage(&facts.target_text(), facts.secrets_owner())?,
            Step::Prove => self.prove()?,
            Step::Test => self.test()?,
            Step::Login(file) => {
                self.login = Some(login::create(file, facts.login_meta)?);
            }
            Step::Keep(_) => {
                self.staging.keep()?;
                self.kept = true;
            }
            Step::Swap(_) => {
                self.staging.swap()?;
                self.swapped = true;
            }
            Step::Hook(file) => {
                self.hooked = true;
                let text = hook_text(&facts.paths.live).map_err(StepFault::from)?;
                if atomic::replace(file, text.as_bytes(), HOOK_META)? == Change::Unchanged {
                    return Ok(Outcome::AlreadyDone);
                }
            }
            Step::Reload(_) => {
                if let Running::Master { master, .. } = &facts.running {
                    self.log_from = log_length(facts);
                    self.before = master.accepting()?;
                    self.reloaded = true;
                    master.reload()?;
                }
            }
            Step::See(generation) => self.see(generation)?,
        }
        Ok(Outcome::Done)
    }

    fn prove(&self) -> Result<(), Failure> {
        let staged = self.facts.target_text();
        let live = self.facts.live_text.reveal();
        Ok(served::data_only(live, staged.reveal()).map_err(StepFault::Proof)?)
    }

    fn test(&self) -> Result<(), Failure> {
        let facts = self.facts;
        let user = match &facts.running {
            Running::Master { master, .. } => master.test_user(),
            Running::Nothing { .. } => None,
        };
        let wrapper = wrapper::write(facts)?;
        let tested = facts.nginx.test(wrapper.main(), user)?;
        let complaints = wrapper.translated(tested.complaints);
        drop(wrapper);
        if tested.accepted { Ok(()) } else { Err(Failure::Refused(complaints)) }
    }

    /// Waits until nginx answers the generation; the answer counts only from nginx itself.
    fn see(&self, generation: &Generation) -> Result<(), Failure> {
        let facts = self.facts;
        let Running::Master { master, .. } = &facts.running else { return Ok(()) };
        if wait_for(facts, master, Some(generation), &self.before) {
            return Ok(());
        }
        let mut reasons = emergencies(facts, self.log_from);
        if reasons.is_empty()
            && facts.changeable.is_none()
            && let Ok(tested) = facts.nginx.test(&facts.paths.config, master.test_user())
            && !tested.accepted
        {
            reasons = tested.complaints;
        }
        Err(Failure::NotSeen(generation.clone(), reasons))
    }

    /// Leads back to what was before and makes the fault that says how that went.
    fn undo(self, step: Step, failure: Failure) -> PublishFault {
        let now = self.put_back();
        match (failure, now) {
            (Failure::Refused(lines), _) => PublishFault::Test { source: Complaints(lines) },
            (Failure::NotSeen(wanted, lines), now) => {
                PublishFault::NotSeen { wanted, source: Complaints(lines), now }
            }
            (Failure::Fault(source), Now::Unchanged) => {
                PublishFault::Step { step, source: Box::new(source) }
            }
            (Failure::Fault(source), now) => {
                PublishFault::AfterSwap { step, source: Box::new(source), now }
            }
        }
    }

    fn put_back(&self) -> Now {
        // What was staged is overwritten by the next run; that it could not be removed is no news.
        drop(self.staging.discard());
        let put_back = self.put_files_back();
        self.staging.leave_nothing();
        match put_back {
            Err(fault) => Now::Unknown(fault.to_string()),
            Ok(false) => Now::Unchanged,
            Ok(true) => self.see_old(),
        }
    }

    /// Says whether anything had to be put back.
    fn put_files_back(&self) -> Result<bool, StepFault> {
        let facts = self.facts;
        let previous_is_served = facts.previous_is_served();
        let astray = self.swapped || (self.reloaded && previous_is_served);
        if astray && (self.kept || previous_is_served) {
            self.staging.restore()?;
        } else if self.swapped {
            self.staging.withdraw()?;
        }
        match &facts.hook {
            Hook::Absent if self.hooked => {
                atomic::remove_file(&facts.paths.hook)?;
            }
            Hook::Outdated(text) if self.hooked => {
                atomic::replace(&facts.paths.hook, text.as_bytes(), HOOK_META)?;
            }
            _ => {}
        }
        Ok(astray || self.hooked)
    }

    /// Reloads, where a reload was asked for, and looks whether the old set is served.
    fn see_old(&self) -> Now {
        let Running::Master { master, answered } = &self.facts.running else {
            return Now::PutBack(None);
        };
        match if self.reloaded { master.reload() } else { Ok(()) } {
            Ok(()) => {}
            // Without a master nobody serves the wrong set, and the next one reads the right one.
            Err(fault) if fault.is_gone() => return Now::PutBack(None),
            Err(fault) => return Now::Unknown(fault.to_string()),
        }
        // The reload that did not happen left its workers, and so may this one: the generation
        // alone tells.
        if wait_for(self.facts, master, answered.as_ref(), &[]) {
            return Now::PutBack(answered.clone());
        }
        Now::Unknown("nginx does not answer the generation from before".into())
    }
}

/// Waits until nginx answers the generation, or answers none where none is expected.
///
/// One answer is not enough: for a moment after a reload the workers from `before` accept
/// connections beside the new ones. So first they have to stop accepting.
fn wait_for(
    facts: &Facts,
    master: &Master,
    expected: Option<&Generation>,
    before: &[ProcessDir],
) -> bool {
    let port = facts.site.generation_port;
    let (begun, mut pause) = (Instant::now(), POLL_FIRST);
    loop {
        if !before.iter().any(nginx::accepts) && answered_generation(port).as_ref() == expected {
            return expected.is_none() || stranger_on(port, master).is_none();
        }
        if begun.elapsed() >= facts.seen_limit {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(POLL_MOST);
    }
}

fn log_length(facts: &Facts) -> u64 {
    length_of(nginx::error_log(&facts.tree, &facts.built))
}

pub(super) fn length_of(log: Option<RealPath>) -> u64 {
    log.and_then(|log| std::fs::metadata(log.as_str()).ok()).map_or(0, |meta| meta.len())
}

/// Returns what nginx logged at level `emerg` since the log had the length.
fn emergencies(facts: &Facts, from: u64) -> Vec<String> {
    emergencies_in(nginx::error_log(&facts.tree, &facts.built), from)
}

pub(super) fn emergencies_in(log: Option<RealPath>, from: u64) -> Vec<String> {
    let Some(log) = log else { return Vec::new() };
    // A log that cannot be read has no reason to tell; that the reload failed is told anyway.
    let Ok(mut file) = File::open(log.as_str()) else { return Vec::new() };
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_ok() {
        drop(file.take(LOG_BYTES_MAX).read_to_end(&mut bytes));
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> =
        text.lines().filter(|line| line.contains("[emerg]")).filter_map(nginx::complaint).collect();
    lines.dedup();
    lines
}
