//! Many connections at once, held until all are there, with the time of each step.
//!
//! A load is opt-in and polite: no more than some are begun at the same time, nothing is begun behind the first
//! connection where that one fails, and each connection that was made is ended with its goodbye.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::select;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ask::unreached;
use crate::dial::{Override, Timed};
use crate::failure::Failure;
use crate::ladder::{self, Asked, Ended, Ladder};
use crate::reach::{Stream, Way};
use crate::signature::{self, Upgrade};
use crate::socketio::{Connection, Next};
use crate::target::TargetHost;

mod verdict;

pub use verdict::{Met, judge, worker_connections_about};

/// How many connections a load has at most: one address has some 28,000 ports for them.
pub const CONNECTIONS_MAX: usize = 20_000;

/// How many are begun at the same time, unless it is said otherwise: with some hundred, the queues of usual servers
/// overflow, and what is measured is that.
pub const CONCURRENCY: usize = 64;

/// How long a connection that is held waits for something to come before it waits again.
const HOLD_LOOK: Duration = Duration::from_secs(3600);

/// How long all goodbyes together may take.
const GOODBYES_MAX: Duration = Duration::from_secs(30);

/// How many different failures are told apart; further ones are counted.
const FAILURES_MAX: usize = 32;

/// How many descriptors this process may have beside those of the load.
const DESCRIPTORS_BESIDE: u64 = 64;

/// What a SYN waits that has no answer, before it is sent again for the first time and the second
/// (RFC 6298, section 2), in milliseconds; and how much later the answer may come.
const RETRANSMITS_MS: [u64; 2] = [1000, 3000];
const RETRANSMIT_LATE_MS: u64 = 300;

/// How many connections, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How many; at most [`CONNECTIONS_MAX`] are made.
    pub connections: usize,
    /// How many are begun at the same time.
    pub concurrency: usize,
    /// How many are begun in a second at most.
    pub per_second: Option<u32>,
}

impl Load {
    /// So many, as fast as they are made, [`CONCURRENCY`] at the same time.
    pub const fn of(connections: usize) -> Self {
        Self { connections, concurrency: CONCURRENCY, per_second: None }
    }
}

/// A step of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To an address; names are looked up for the first connection alone.
    Tcp,
    /// Through the handshake, where TLS is spoken.
    Tls,
    /// To the answer to the upgrade.
    Upgrade,
    /// To the first packet of Engine.IO.
    Open,
    /// To the answer to the request for the namespace.
    Connect,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Tls, Self::Upgrade, Self::Open, Self::Connect];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Open => "open",
            Self::Connect => "connect",
        }
    }
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// How many were wanted, of those that were asked for.
    pub wanted: usize,
    /// How many were begun.
    pub begun: usize,
    /// How many came to their end: the namespace was given, or the application refused it.
    pub made: usize,
    /// How many of these the application refused.
    pub refused: usize,
    /// How many were held at the same time, at most.
    pub held_max: usize,
    /// How many that were made had ended before all were there.
    pub lost: usize,
    /// From the first step of the first connection until the last one was made or had failed.
    pub took: Duration,
    /// The times of each step, of the connections that came through it.
    pub steps: Vec<(Step, Spread)>,
    /// How many connections of TCP took as long as those whose first packet was dropped.
    pub retransmitted: usize,
    /// Why connections failed, in the order in which the failures came.
    pub failures: Vec<Failed>,
    /// How many failed otherwise, where there were too many different failures to tell.
    pub failed_otherwise: usize,
    /// How many descriptors this process may have.
    pub descriptors: Descriptors,
    /// Whether it was stopped before all were there.
    pub is_stopped: bool,
}

impl Loaded {
    /// Says how many connections failed.
    pub fn failed(&self) -> usize {
        self.failures.iter().map(|failed| failed.count).sum::<usize>() + self.failed_otherwise
    }

    /// Returns the times of a step.
    pub fn spread(&self, step: Step) -> Option<&Spread> {
        self.steps.iter().find(|(known, _)| *known == step).map(|(_, spread)| spread)
    }
}

/// Some times, by their nearest ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 95 of a hundred took no longer.
    pub p95: Duration,
    /// 99 of a hundred took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Spread {
    /// Takes it of some times; nothing of none.
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let count = times.len();
        let rank = |percent: usize| times.get((count * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { count, p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// A failure, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In which step.
    pub step: Step,
    /// Why.
    pub why: Why,
    /// How often.
    pub count: usize,
    /// How many connections were held when it came first.
    pub held: usize,
}

/// Why a connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There was no answer.
    Failure(Failure),
    /// The upgrade was answered otherwise.
    Answered(Upgrade),
    /// A packet that was due did not come.
    Ended(Ended),
}

/// How many descriptors this process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// How many it may have now, after the limit was raised as far as it may be; `None` where there is no limit.
    pub limit: Option<u64>,
    /// Whether that is enough for the load.
    pub is_enough: bool,
}

/// Makes the connections, holds them until all are there or have failed, and ends them.
///
/// The limit of descriptors of this process is raised as far as it may be, and stays raised. When `stop` is ready,
/// nothing more is begun, and what was made is ended with its goodbye as well; where this is dropped, it is cut.
pub async fn load(way: &Way, asked: &Asked, load: &Load, stop: impl Future<Output = ()>) -> Loaded {
    let mut stop = pin!(stop);
    let wanted = load.connections.min(CONNECTIONS_MAX);
    let mut tally = Tally::new(wanted, raise_descriptors(wanted));
    let mut crowd = Crowd::new(way, asked, load.concurrency);
    let began = Instant::now();
    let mut next_at = began;
    while tally.loaded.begun < wanted || tally.under_way() > 0 {
        let may_begin = tally.may_begin(wanted, load.concurrency);
        if !may_begin && tally.under_way() == 0 {
            break;
        }
        select! {
            biased;
            () = &mut stop => {
                tally.loaded.is_stopped = true;
                break;
            }
            Some(report) = crowd.reports.recv() => {
                if let (1, Report::Made(climbed)) = (tally.loaded.begun, &report) {
                    crowd.go_where(climbed.address);
                }
                tally.count(report);
            }
            () = sleep_until(next_at), if may_begin => {
                crowd.begin();
                tally.loaded.begun += 1;
                let pause = load.per_second.and_then(|rate| Duration::from_secs(1).checked_div(rate));
                next_at += pause.unwrap_or_default();
            }
        }
    }
    let took = began.elapsed();
    crowd.end().await;
    tally.finish(took)
}

/// The connections, each a task of its own.
struct Crowd {
    way: Arc<Way>,
    asked: Arc<Asked>,
    tasks: JoinSet<()>,
    release: watch::Sender<bool>,
    goodbyes: Arc<Semaphore>,
    reporter: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// What a connection tells.
enum Report {
    /// It is there, or has failed.
    Made(Box<Climbed>),
    /// It was there, and has ended by itself.
    Lost,
}

impl Crowd {
    fn new(way: &Way, asked: &Asked, concurrency: usize) -> Self {
        let (reporter, reports) = mpsc::unbounded_channel();
        Self {
            way: Arc::new(way.clone()),
            asked: Arc::new(Asked { keeps_frames: false, ..asked.clone() }),
            tasks: JoinSet::new(),
            release: watch::Sender::new(false),
            goodbyes: Arc::new(Semaphore::new(concurrency.clamp(1, CONNECTIONS_MAX))),
            reporter,
            reports,
        }
    }

    /// Lets the further connections go to the address that the first one was made to.
    fn go_where(&mut self, address: Option<std::net::SocketAddr>) {
        let mut way = Way::clone(&self.way);
        if let (Some(address), None, TargetHost::Name(name)) =
            (address, &way.route.proxy, &way.target.host)
        {
            let port = way.target.port;
            way.route.overrides.push(Override { name: name.clone(), port, address });
            self.way = Arc::new(way);
        }
    }

    fn begin(&mut self) {
        let (way, asked) = (Arc::clone(&self.way), Arc::clone(&self.asked));
        let (reporter, released) = (self.reporter.clone(), self.release.subscribe());
        let goodbyes = Arc::clone(&self.goodbyes);
        self.tasks.spawn(live(way, asked, reporter, released, goodbyes));
    }

    /// Ends all of them, and waits for it: each says goodbye, and has a limit for it, as all have together.
    async fn end(mut self) {
        self.release.send_replace(true);
        let goodbyes = async { while self.tasks.join_next().await.is_some() {} };
        // Who has not said goodbye by then is cut when the tasks are dropped.
        drop(timeout(GOODBYES_MAX, goodbyes).await);
    }
}

/// One connection: made, told, held, ended.
async fn live(
    way: Arc<Way>,
    asked: Arc<Asked>,
    reporter: mpsc::UnboundedSender<Report>,
    mut released: watch::Receiver<bool>,
    goodbyes: Arc<Semaphore>,
) {
    // What it takes to make a connection is given back before it is held: there may be ten thousand.
    let making = Box::pin(make(&way, &asked, &reporter));
    let made = select! {
        biased;
        _ = released.wait_for(|released| *released) => return,
        made = making => made,
    };
    let Some(mut connection) = made else { return };
    if hold(&mut connection, &mut released).await {
        // Some at a time: a goodbye takes room as well. It is never closed.
        let _turn = goodbyes.acquire().await;
        Box::pin(connection.close(Instant::now() + way.limits.packet)).await;
    } else {
        drop(reporter.send(Report::Lost));
    }
}

/// Makes a connection, and tells what came of it.
async fn make(
    way: &Way,
    asked: &Asked,
    reporter: &mpsc::UnboundedSender<Report>,
) -> Option<Box<Connection<Stream>>> {
    let (ladder, connection) = ladder::hold(way, asked).await;
    // Where nobody listens any more, the load is over.
    drop(reporter.send(Report::Made(Box::new(Climbed::of(&ladder)))));
    connection.map(Box::new)
}

/// Holds a connection until it is released; `false` where it ended before.
async fn hold(connection: &mut Connection<Stream>, released: &mut watch::Receiver<bool>) -> bool {
    loop {
        let next = select! {
            biased;
            _ = released.wait_for(|released| *released) => return true,
            next = connection.next(Instant::now() + HOLD_LOOK) => next,
        };
        if let Next::Ended(_) = next {
            return false;
        }
    }
}

/// What one connection took, and what came of it.
struct Climbed {
    times: Vec<(Step, Duration)>,
    /// Whether the application refused it, where it was made.
    made: Result<bool, (Step, Why)>,
    /// Where it went.
    address: Option<std::net::SocketAddr>,
}

impl Climbed {
    fn of(ladder: &Ladder) -> Self {
        let mut climbed = Self {
            times: Vec::with_capacity(Step::ALL.len()),
            made: Err((Step::Tcp, Why::Failure(Failure::Other("it was not begun".to_owned())))),
            address: None,
        };
        climbed.made = climbed.climb(ladder);
        climbed
    }

    fn climb(&mut self, ladder: &Ladder) -> Result<bool, (Step, Why)> {
        let not_begun = || Why::Failure(Failure::Other("it was not begun".to_owned()));
        let reached = ladder.reached.as_ref().ok_or_else(|| (Step::Tcp, not_begun()))?;
        if let Some((address, Timed { took, value: Ok(()) })) = reached.tcp.last() {
            self.times.push((Step::Tcp, *took));
            self.address = Some(*address);
        }
        if let Some(Timed { took, value: Ok(_) }) = &reached.tls {
            self.times.push((Step::Tls, *took));
        }
        let Some(upgrade) = &ladder.upgrade else {
            let step = if reached.tls.is_some() { Step::Tls } else { Step::Tcp };
            return Err((step, Why::Failure(unreached(reached))));
        };
        match &upgrade.value {
            Ok(answer) if answer.is_open() => self.times.push((Step::Upgrade, upgrade.took)),
            Ok(answer) => {
                return Err((Step::Upgrade, Why::Answered(signature::of_upgrade(answer))));
            }
            Err(failure) => return Err((Step::Upgrade, Why::Failure(failure.clone()))),
        }
        let ended = |step, ended: &Ended| (step, Why::Ended(ended.clone()));
        if let Some(open) = &ladder.open {
            open.value.as_ref().map_err(|why| ended(Step::Open, why))?;
            self.times.push((Step::Open, open.took));
        }
        let connect = ladder.connect.as_ref().ok_or_else(|| (Step::Connect, not_begun()))?;
        let connected = connect.value.as_ref().map_err(|why| ended(Step::Connect, why))?;
        self.times.push((Step::Connect, connect.took));
        Ok(connected.refused.is_some())
    }
}

/// What is counted while it runs.
struct Tally {
    loaded: Loaded,
    times: [Vec<Duration>; Step::ALL.len()],
    held: usize,
    may_go_on: bool,
}

impl Tally {
    fn new(wanted: usize, descriptors: Descriptors) -> Self {
        let loaded = Loaded {
            wanted,
            begun: 0,
            made: 0,
            refused: 0,
            held_max: 0,
            lost: 0,
            took: Duration::ZERO,
            steps: Vec::new(),
            retransmitted: 0,
            failures: Vec::new(),
            failed_otherwise: 0,
            descriptors,
            is_stopped: false,
        };
        Self { loaded, times: Default::default(), held: 0, may_go_on: true }
    }

    /// Says how many were begun and have not told yet.
    fn under_way(&self) -> usize {
        self.loaded.begun - self.loaded.made - self.loaded.failed()
    }

    /// The first goes alone: where it fails, so would the rest.
    fn may_begin(&self, wanted: usize, concurrency: usize) -> bool {
        let alone = if self.loaded.made == 0 { 1 } else { concurrency.max(1) };
        self.may_go_on && self.loaded.begun < wanted && self.under_way() < alone
    }

    fn count(&mut self, report: Report) {
        let climbed = match report {
            Report::Made(climbed) => climbed,
            Report::Lost => {
                self.held = self.held.saturating_sub(1);
                self.loaded.lost += 1;
                return;
            }
        };
        for (step, took) in climbed.times {
            if let Some(times) = self.times.get_mut(step as usize) {
                times.push(took);
            }
        }
        match climbed.made {
            Ok(is_refused) => {
                self.held += 1;
                self.loaded.made += 1;
                self.loaded.refused += usize::from(is_refused);
                self.loaded.held_max = self.loaded.held_max.max(self.held);
            }
            Err((step, why)) => self.fail(step, why),
        }
    }

    fn fail(&mut self, step: Step, why: Why) {
        // What this machine does not give now it gives to none of the rest.
        let is_ours = matches!(why, Why::Failure(Failure::NoDescriptors(_)));
        self.may_go_on &= self.loaded.made > 0 && !is_ours;
        let failures = &mut self.loaded.failures;
        let is_same = |known: &&mut Failed| (known.step, &known.why) == (step, &why);
        if let Some(known) = failures.iter_mut().find(is_same) {
            known.count += 1;
        } else if failures.len() < FAILURES_MAX {
            failures.push(Failed { step, why, count: 1, held: self.held });
        } else {
            self.loaded.failed_otherwise += 1;
        }
    }

    fn finish(mut self, took: Duration) -> Loaded {
        self.loaded.took = took;
        let tcp = self.times.first().into_iter().flatten();
        self.loaded.retransmitted = tcp.filter(|took| is_retransmitted(**took)).count();
        let spreads = Step::ALL.into_iter().zip(self.times);
        let spreads = spreads.filter_map(|(step, times)| Some((step, Spread::of(times)?)));
        self.loaded.steps = spreads.collect();
        self.loaded
    }
}

/// Says whether a connection took as long as one whose first packet, or first two, were dropped.
fn is_retransmitted(took: Duration) -> bool {
    let ms = took.as_millis();
    RETRANSMITS_MS
        .into_iter()
        .any(|at| (u128::from(at)..u128::from(at + RETRANSMIT_LATE_MS)).contains(&ms))
}

/// Raises the limit of descriptors as far as this process may.
fn raise_descriptors(connections: usize) -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // Where it may not be raised, it stays what it was.
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    let needed = (connections as u64).saturating_add(DESCRIPTORS_BESIDE);
    Descriptors { limit, is_enough: limit.is_none_or(|limit| limit >= needed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_nearest_ranks() {
        let of = |ms: &[u64]| Spread::of(ms.iter().copied().map(Duration::from_millis).collect());
        let ranks = |ms: &[u64]| {
            of(ms).map(|spread| {
                [spread.p50, spread.p95, spread.p99, spread.max].map(|took| took.as_millis())
            })
        };
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(ranks(&hundred), Some([50, 95, 99, 100]));
        assert_eq!(ranks(&[3, 1, 2]), Some([2, 3, 3, 3]));
        assert_eq!(ranks(&[7]), Some([7, 7, 7, 7]));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_dropped_first_packet_is_known_by_its_time() {
        for (ms, expected) in [
            (4, false),
            (999, false),
            (1030, true),
            (1299, true),
            (1300, false),
            (3040, true),
            (5000, false),
        ] {
            assert_eq!(is_retransmitted(Duration::from_millis(ms)), expected, "{ms}");
        }
    }

    #[test]
    fn nothing_is_begun_behind_a_first_that_fails() {
        let enough = Descriptors { limit: None, is_enough: true };
        let climbed =
            |made| Report::Made(Box::new(Climbed { times: Vec::new(), made, address: None }));
        let refused = || Err((Step::Tcp, Why::Failure(Failure::Refused)));
        let mut tally = Tally::new(3, enough);
        assert!(tally.may_begin(3, 64));
        tally.loaded.begun = 1;
        assert!(!tally.may_begin(3, 64), "the first goes alone");
        tally.count(climbed(refused()));
        assert!(!tally.may_begin(3, 64));

        let mut tally = Tally::new(3, enough);
        tally.loaded.begun = 1;
        tally.count(climbed(Ok(false)));
        assert!(tally.may_begin(3, 64));
        tally.loaded.begun = 2;
        tally.count(climbed(refused()));
        assert!(tally.may_begin(3, 64), "one of many may fail");
        let ours = Failure::NoDescriptors("EMFILE".to_owned());
        tally.loaded.begun = 3;
        tally.count(climbed(Err((Step::Tcp, Why::Failure(ours)))));
        assert!(!tally.may_begin(9, 64), "this machine gives no more");
        assert_eq!((tally.loaded.failed(), tally.under_way()), (2, 0));
    }

    #[test]
    fn failures_of_all_kinds_cost_little() {
        let mut tally = Tally::new(99, Descriptors { limit: None, is_enough: true });
        for number in 0..99 {
            let why = Failure::Other(number.to_string());
            let made = Err((Step::Upgrade, Why::Failure(why)));
            tally.loaded.begun += 1;
            tally.count(Report::Made(Box::new(Climbed { times: Vec::new(), made, address: None })));
        }
        let loaded = tally.finish(Duration::ZERO);
        assert_eq!((loaded.failures.len(), loaded.failed()), (FAILURES_MAX, 99));
    }
}
