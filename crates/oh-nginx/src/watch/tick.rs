//! One look: publish, retire what is over, publish again, leave a heartbeat.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oh_host::folder::Memory;
use oh_host::heartbeat::{Answered, Failing, HEARTBEAT_SCHEMA, Heartbeat};
use oh_host::instances::RECORDS_FOLDER;
use oh_host::lock::{Held, Share, Watch};
use oh_host::notify::Notifier;
use oh_host::process::Identity;
use oh_host::publish::{
    Asked, Host, PublishFault, Published, Step, publish_as_asked, real, standing,
};
use oh_host::retire::{self, Retired};
use oh_host::signals::Signals;
use oh_host::sockets;
use oh_host::watch::{Names, Watches};
use oh_model::hint::Command;
use oh_model::listening::Listening;
use oh_model::path::InRoot;
use oh_model::port::Port;
use oh_model::retirement::{MissingEditors, judge};
use oh_model::routes::Routes;
use oh_term::{Failure, say};

use super::PURPOSE;
use super::news::{News, few};
use super::pace::{Outcome, REST_MOST, Rhythm, Scan};
use crate::report::{counted, several};

/// How long to wait for others that hold a lock before the look is given up until the next one.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How many sessions are moved aside in one look, so that a signal does not wait long.
const RETIRED_MAX: usize = 500;

/// What looks have led to so far.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// How often nginx was asked to reload.
    pub(super) publishes: usize,
    /// How many sessions were moved aside.
    pub(super) retired: usize,
    /// Whether one has succeeded.
    ready: bool,
    generation: Option<String>,
    routed: Option<usize>,
    excluded: Option<usize>,
    served: Option<Answered>,
    nginx_runs: Option<bool>,
    old_workers: Option<usize>,
    failing: Option<Failing>,
}

/// What a watch knows from look to look.
pub(super) struct Watcher {
    host: Host,
    /// The arguments that commands in hints get.
    carried: Vec<String>,
    memory: Memory,
    /// `None` until it is read.
    missing: Option<MissingEditors>,
    news: News,
    /// The ports that sessions and records claim, and who listened there at the last look.
    claimed: BTreeSet<Port>,
    listening: Listening,
    identity: Option<Identity>,
    pub(super) watches: Watches,
    pub(super) notifier: Notifier,
    pub(super) so_far: Look,
}

/// What one look did.
struct Pass {
    /// What was published last.
    published: Published,
    /// The sessions that were moved aside, a line for each.
    retired: Vec<String>,
    /// What was in the way of that.
    troubles: Vec<String>,
}

/// Reads the rhythm out of the settings.
pub(super) fn rhythm(host: &Host) -> Rhythm {
    let nginx = &host.settings.nginx;
    Rhythm {
        interval: Duration::from_millis(nginx.watch_interval_ms),
        rescan: Duration::from_secs(nginx.rescan_s),
        old_workers_max: usize::try_from(nginx.old_workers_max).unwrap_or(usize::MAX),
    }
}

impl Watcher {
    pub(super) fn new(host: Host, notifier: Notifier, carried: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            watches: watches(&host)?,
            host,
            news: News::of(carried.clone()),
            carried,
            memory: Memory::default(),
            missing: None,
            claimed: BTreeSet::new(),
            listening: Listening::default(),
            // Without it the heartbeat could not be told from a dead one's, so none is left.
            identity: Identity::own().ok(),
            notifier,
            so_far: Look::default(),
        })
    }

    /// Goes on with other settings.
    pub(super) fn change(&mut self, host: Host) -> io::Result<()> {
        self.host = host;
        self.memory = Memory::default();
        self.watches = watches(&self.host)?;
        Ok(())
    }

    /// Says whether other users listen on the ports of sessions than at the last look.
    pub(super) fn listeners_changed(&self) -> bool {
        !self.claimed.is_empty() && sockets::listening().only(&self.claimed) != self.listening
    }

    /// Looks, publishes, tells, and leaves a heartbeat.
    pub(super) fn look(
        &mut self,
        held: &mut Held<'_, Watch>,
        scan: Scan,
        signals: &Signals,
    ) -> Outcome {
        // What waits is answered by this look; what comes from here on is for the next one.
        self.watches.take();
        let mut conditions = self.watches.refresh();
        if scan == Scan::Everything {
            self.memory = Memory::default();
        }
        let begun = Instant::now();
        let (lines, outcome) = match self.pass(held) {
            Ok(Pass { published, retired, troubles }) => {
                let mut lines = self.news.published(&published, begun.elapsed().as_millis());
                lines.extend(few(retired, "retired", &self.carried));
                let lasting = lasting(&published, &self.carried);
                conditions.extend(lasting.into_iter().chain(troubles));
                (lines, self.settled(&published))
            }
            // A supervisor ends all that belongs to a service: that is the end, and no failure.
            Err(fault) if signals.end().is_some() && fault.is_of_ended_program() => {
                return Outcome::Failed;
            }
            Err(fault) => {
                let failure = Failure::of(fault);
                let since_ms =
                    self.so_far.failing.take().map_or_else(unix_ms, |failing| failing.since_ms);
                let lines = self.news.failed(&failure.text(&self.carried));
                self.so_far.failing = Some(Failing { since_ms, reason: failure.reason() });
                self.stands();
                (lines, Outcome::Failed)
            }
        };
        lines.iter().for_each(|line| say(line));
        if outcome != Outcome::Failed {
            self.news.conditions(conditions).iter().for_each(|line| say(line));
        }
        self.leave_heartbeat();
        outcome
    }

    /// Looks once and returns what was published last; beside it, what else is worth knowing.
    pub(super) fn once(
        &mut self,
        held: &mut Held<'_, Watch>,
    ) -> Result<(Published, Vec<String>), PublishFault> {
        let Pass { published, retired, troubles } = self.pass(held)?;
        let troubles = lasting(&published, &self.carried).into_iter().chain(troubles);
        let warnings = troubles.map(|line| format!("warning: {line}"));
        let retired = few(retired, "retired", &self.carried);
        Ok((published, retired.into_iter().chain(warnings).collect()))
    }

    /// Publishes, retires what is over, and publishes again where anything was.
    fn pass(&mut self, held: &mut Held<'_, Watch>) -> Result<Pass, PublishFault> {
        let mut world = held.world(Share::Shared, PURPOSE, LOCK_WAIT)?;
        let asked = Asked { purpose: PURPOSE, wait: LOCK_WAIT, may_make_login: false };
        let listening = sockets::listening();
        let first = publish_as_asked(&mut world, &self.host, asked, &mut self.memory)?;
        self.count(&first);
        self.claimed = claimed(&first.routes);
        self.listening = listening.only(&self.claimed);
        let (retired, troubles) = self.retire(&first.routes);
        if retired.is_empty() {
            return Ok(Pass { published: first, retired, troubles });
        }
        let second = publish_as_asked(&mut world, &self.host, asked, &mut self.memory)?;
        self.count(&second);
        // Both have been done; the news is what is served now.
        let steps = first.steps.into_iter().chain(second.steps).collect();
        Ok(Pass { published: Published { steps, ..second }, retired, troubles })
    }

    fn count(&mut self, published: &Published) {
        self.so_far.publishes += usize::from(reloaded(published));
    }

    /// Moves the files of sessions aside that are over; returns a line for each, and what is in
    /// the way.
    fn retire(&mut self, routes: &Routes) -> (Vec<String>, Vec<String>) {
        let (mut retired, mut troubles) = (Vec::new(), Vec::new());
        let root = &self.host.root;
        let limit_s = self.host.settings.sessions.retire_after_s;
        let before = self.missing.take().unwrap_or_else(|| {
            retire::load(root).unwrap_or_else(|fault| {
                troubles.push(format!("sessions age anew: {fault}"));
                MissingEditors::new()
            })
        });
        let limit_ms = limit_s.map(|limit| limit.get().saturating_mul(1000));
        let mut verdict = judge(&routes.announced, &before, retire::now_ms(), limit_ms);
        // The others are met by the next look, which the new names bring.
        for session in verdict.over.iter().take(RETIRED_MAX) {
            match retire::retire(&self.host, session, unix_ms() / 1000) {
                Ok(Retired::Aside(name)) => {
                    verdict.missing.remove(&session.name);
                    retired.push(format!(
                        "retired {}: nobody of it listens on port {} for {} s; its file is {name} now",
                        session.name,
                        session.editor.map_or(0, Port::get),
                        limit_s.map_or(0, std::num::NonZeroU64::get),
                    ));
                }
                Ok(Retired::Changed) => {}
                Err(fault) => {
                    let why = fault.source().map(|why| format!(": {why}")).unwrap_or_default();
                    troubles.push(format!("{} is not retired: {fault}{why}", session.name));
                }
            }
        }
        if verdict.missing != before
            && let Err(fault) = retire::save(root, &verdict.missing)
        {
            troubles.push(format!("a watch that is started anew ages sessions anew: {fault}"));
        }
        if !retired.is_empty() {
            retire::forget_the_oldest(&self.host);
        }
        self.missing = Some(verdict.missing);
        self.so_far.retired += retired.len();
        (retired, troubles)
    }

    fn settled(&mut self, published: &Published) -> Outcome {
        let old_workers = published.workers.as_ref().map(|workers| workers.old.len());
        let routed = published.routes.editors.len() + published.routes.apps.len();
        let generation = published.generation.to_string();
        let so_far = &mut self.so_far;
        so_far.failing = None;
        so_far.generation = Some(generation.clone());
        so_far.routed = Some(routed);
        so_far.excluded = Some(published.routes.exclusions.len());
        so_far.old_workers = old_workers;
        if published.seen {
            so_far.served = Some(Answered { generation, routed: Some(routed) });
            so_far.nginx_runs = Some(true);
        } else {
            // Workers that lost their master may still serve what was before.
            self.stands();
        }
        let so_far = &mut self.so_far;
        if !so_far.ready {
            so_far.ready = true;
            self.notifier.ready();
        }
        self.notifier.status(&format!(
            "generation {}: {}, {} not routed",
            published.generation,
            counted(&published.routes),
            published.routes.exclusions.len()
        ));
        let old_workers = old_workers.unwrap_or(0);
        Outcome::Settled { old_workers, reloaded: reloaded(published) }
    }

    /// Looks at what is in place and served, where publishing did not see it.
    fn stands(&mut self) {
        let standing = standing(&self.host);
        let so_far = &mut self.so_far;
        let before = so_far.served.take();
        so_far.served = standing.served.map(|set| {
            let generation = set.generation.to_string();
            // The file names the routes by port; sessions on sockets are known from the look.
            let known = before.filter(|set| set.generation == generation);
            Answered { routed: known.map_or(set.routed, |set| set.routed), generation }
        });
        so_far.generation = standing.in_place.map(|generation| generation.to_string());
        so_far.nginx_runs = standing.runs;
    }

    /// Leaves the heartbeat; that it cannot be left is a condition like others.
    fn leave_heartbeat(&mut self) {
        let Some(process) = self.identity.clone() else { return };
        let so_far = &self.so_far;
        let rescan = rhythm(&self.host).rescan.max(REST_MOST);
        let heartbeat = Heartbeat {
            schema_version: HEARTBEAT_SCHEMA,
            process,
            last_scan_ms: unix_ms(),
            interval_ms: u64::try_from(rescan.as_millis()).unwrap_or(u64::MAX),
            generation: so_far.generation.clone(),
            routed: so_far.routed,
            excluded: so_far.excluded,
            served: so_far.served.clone(),
            nginx_runs: so_far.nginx_runs,
            retired: so_far.retired as u64,
            old_workers: so_far.old_workers,
            failing: so_far.failing.clone(),
        };
        if let Err(fault) = heartbeat.write(&self.host.root) {
            self.news
                .failed(&format!("warning: no heartbeat: {fault}"))
                .iter()
                .for_each(|l| say(l));
        }
    }
}

/// What is not as it should be for as long as it lasts.
fn lasting(published: &Published, carried: &[String]) -> Vec<String> {
    let unknown = published.routes.listening_unknown.as_ref().map(|why| {
        format!("whose the ports of sessions are cannot be told ({why}), so every claim is routed")
    });
    let login = published.login_wanted.then(|| {
        let login = Command::ours("oh-nginx", &["login"]).line(carried);
        format!("nobody has a login yet, so nginx refuses everybody; make one:  {login}")
    });
    let stopped = (!published.seen)
        .then(|| "no nginx master of this configuration runs, so nothing is served".to_owned());
    let old = published.workers.as_ref().map_or(0, |workers| workers.old.len());
    let crowded = (old >= CROWD).then(|| {
        format!("{} or more linger with their last connections", several(CROWD, "old worker"))
    });
    unknown.into_iter().chain(login).chain(stopped).chain(crowded).collect()
}

/// From how many old workers on it is worth a line.
const CROWD: usize = 50;

fn reloaded(published: &Published) -> bool {
    published.steps.iter().any(|(step, _)| matches!(step, Step::Reload(_)))
}

/// Returns the ports that sessions and records name, routed or not.
fn claimed(routes: &Routes) -> BTreeSet<Port> {
    let of_session = routes.announced.iter();
    let of_session =
        of_session.flat_map(|one| one.editor.into_iter().chain(one.apps.iter().copied()));
    of_session.chain(routes.recorded.iter().copied()).collect()
}

/// Prepares to watch the folders of session files, of the databases and of the records of editors.
fn watches(host: &Host) -> io::Result<Watches> {
    let settings = &host.settings;
    let mut watches = Watches::new()?;
    let mut add = |path: &InRoot, names: Option<Names>| {
        let path = real(&host.root, path).map_err(io::Error::other)?;
        match names {
            Some(names) => watches.add(path, names, false),
            None => watches.add(path.parent(), Names::These(vec![path.name().to_owned()]), true),
        }
        Ok::<(), io::Error>(())
    };
    add(&settings.sessions.directory, Some(Names::Sessions))?;
    add(&settings.instances.port_database, None)?;
    add(&settings.instances.repository_database, None)?;
    let records = InRoot::parse(RECORDS_FOLDER).map_err(io::Error::other)?;
    add(&records, Some(Names::Sessions))?;
    Ok(watches)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
