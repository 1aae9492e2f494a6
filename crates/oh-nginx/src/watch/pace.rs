//! When to look: at once after a rest, then no more often than nginx can bear.
//!
//! Pure: the time comes in as an argument, counted from the start of the watch. Whatever happens
//! in the folders, this decides how often it is looked, so a flood of events makes neither more
//! reloads nor holds the full rescan up.

use std::time::Duration;

use oh_host::watch::Haste;

/// The longest rest after a look, however many old workers linger and whatever failed.
pub(crate) const REST_MOST: Duration = Duration::from_secs(5);

/// How it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rhythm {
    /// The shortest rest after a look.
    pub(crate) interval: Duration,
    /// How often everything is read again.
    pub(crate) rescan: Duration,
    /// How many old workers may linger without more rest.
    pub(crate) old_workers_max: usize,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// What changed.
    Changes,
    /// Everything, as if nothing were known.
    Everything,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What is served is what is wanted.
    Settled {
        /// How many old workers linger.
        old_workers: usize,
        /// Whether nginx was asked to reload for it.
        reloaded: bool,
    },
    /// It could not be published.
    Failed,
}

/// When it was looked, and when it will be.
#[derive(Debug)]
pub(crate) struct Pace {
    rhythm: Rhythm,
    /// When it is wished to look.
    wish: Option<Duration>,
    /// Until when there is rest.
    rest_until: Duration,
    /// When everything is read again.
    rescan_at: Duration,
    /// How often the rest has been doubled for old workers.
    slower: u32,
    /// How often publishing has failed in a row.
    failures: u32,
}

impl Pace {
    /// Begins with a look at everything, at once.
    pub(crate) const fn new(rhythm: Rhythm) -> Self {
        let zero = Duration::ZERO;
        Self { rhythm, wish: None, rest_until: zero, rescan_at: zero, slower: 0, failures: 0 }
    }

    /// Takes another rhythm, and looks at everything again.
    pub(crate) fn change(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
        self.rescan_at = Duration::ZERO;
    }

    /// Takes note that something changed.
    pub(crate) fn notice(&mut self, now: Duration, haste: Haste) {
        let at = match haste {
            Haste::Now => now,
            Haste::Soon => now + self.rhythm.interval,
        };
        self.wish = Some(self.wish.map_or(at, |wish| wish.min(at)));
    }

    /// Says whether no event could bring the next look forward.
    pub(crate) fn is_decided(&self, now: Duration) -> bool {
        self.wish.is_some_and(|wish| wish <= self.rest_until.max(now))
    }

    /// Says whether to look now.
    pub(crate) fn due(&self, now: Duration) -> Option<Scan> {
        if now < self.rest_until {
            None
        } else if self.rescan_at <= now {
            Some(Scan::Everything)
        } else {
            self.wish.is_some_and(|wish| wish <= now).then_some(Scan::Changes)
        }
    }

    /// Returns how long it is until the next look, if nothing happens.
    pub(crate) fn pause(&self, now: Duration) -> Duration {
        let next = self.wish.map_or(self.rescan_at, |wish| wish.min(self.rescan_at));
        next.max(self.rest_until).saturating_sub(now)
    }

    /// Takes note of a look that ended now. What happened since it began comes as a notice.
    pub(crate) fn done(&mut self, now: Duration, scan: Scan, outcome: Outcome) {
        self.wish = None;
        if scan == Scan::Everything {
            self.rescan_at = now + self.rhythm.rescan;
        }
        match outcome {
            Outcome::Settled { old_workers, reloaded } => {
                self.failures = 0;
                let many = old_workers > self.rhythm.old_workers_max;
                self.slower = match (many, reloaded) {
                    (false, _) => 0,
                    (true, true) => self.slower.saturating_add(1),
                    (true, false) => self.slower,
                };
                self.rest_until = now + self.doubled(self.slower, REST_MOST);
            }
            Outcome::Failed => {
                self.rest_until = now + self.doubled(self.failures, REST_MOST);
                // What is wrong may be mended where no event tells of it.
                self.wish = Some(now + self.doubled(self.failures, self.rhythm.rescan));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    fn doubled(&self, times: u32, most: Duration) -> Duration {
        let factor = 2_u32.saturating_pow(times);
        self.rhythm.interval.saturating_mul(factor).min(most.max(self.rhythm.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Outcome = Outcome::Settled { old_workers: 0, reloaded: true };
    const CROWDED: Outcome = Outcome::Settled { old_workers: 17, reloaded: true };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn pace() -> Pace {
        let mut pace =
            Pace::new(Rhythm { interval: ms(250), rescan: ms(30_000), old_workers_max: 16 });
        assert_eq!(pace.due(ms(0)), Some(Scan::Everything));
        pace.done(ms(0), Scan::Everything, QUIET);
        pace
    }

    /// Lets time pass in steps of 1 ms; `happens` says what is noticed, a look takes `takes` and
    /// ends as `ends` says. Returns when looks began.
    fn run(
        pace: &mut Pace,
        span: core::ops::Range<u64>,
        takes: u64,
        happens: impl Fn(u64) -> Option<Haste>,
        mut ends: impl FnMut() -> Outcome,
    ) -> Vec<(u64, Scan)> {
        let (mut looks, mut now) = (Vec::new(), span.start);
        while now < span.end {
            if let Some(haste) = happens(now) {
                pace.notice(ms(now), haste);
            }
            if let Some(scan) = pace.due(ms(now)) {
                looks.push((now, scan));
                // What happens while it looks waits in the queue.
                let queued = (now + 1..=now + takes).filter_map(&happens).max();
                now += takes;
                pace.done(ms(now), scan, ends());
                if let Some(haste) = queued {
                    pace.notice(ms(now), haste);
                }
            }
            now += 1;
        }
        looks
    }

    fn at(looks: &[(u64, Scan)]) -> Vec<u64> {
        looks.iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn the_first_change_after_a_rest_is_looked_at_at_once() {
        let once = |now| (now == 1000).then_some(Haste::Now);
        assert_eq!(at(&run(&mut pace(), 1..29_000, 120, once, || QUIET)), [1000]);
    }

    #[test]
    fn what_begins_is_looked_at_after_an_interval_and_with_what_is_whole() {
        let soon = |now| (now == 1000).then_some(Haste::Soon);
        assert_eq!(at(&run(&mut pace(), 1..29_000, 120, soon, || QUIET)), [1250]);
        let both = |now| match now {
            1000 => Some(Haste::Soon),
            1003 => Some(Haste::Now),
            _ => None,
        };
        assert_eq!(at(&run(&mut pace(), 1..29_000, 120, both, || QUIET)), [1003]);
    }

    #[test]
    fn a_thousand_changes_in_a_second_are_few_looks() {
        let burst = |now| (1000..2000).contains(&now).then_some(Haste::Now);
        let looks = at(&run(&mut pace(), 1..29_000, 120, burst, || QUIET));
        assert_eq!(looks, [1000, 1370, 1740, 2110]);
    }

    #[test]
    fn a_flood_neither_quickens_the_looks_nor_holds_the_rescan_up() {
        let looks = run(&mut pace(), 1..60_500, 10, |_| Some(Haste::Now), || QUIET);
        assert!(looks.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 260), "{looks:?}");
        let full: Vec<u64> =
            looks.iter().filter(|(_, scan)| *scan == Scan::Everything).map(|(at, _)| *at).collect();
        assert_eq!(full.len(), 2, "{full:?}");
        assert!(full.iter().zip([30_000, 60_270]).all(|(is, due)| is.abs_diff(due) < 300));
    }

    #[test]
    fn without_events_everything_is_looked_at_by_the_timer() {
        let looks = run(&mut pace(), 1..95_000, 0, |_| None, || QUIET);
        assert_eq!(at(&looks), [30_000, 60_000, 90_000]);
        assert!(looks.iter().all(|(_, scan)| *scan == Scan::Everything));
    }

    #[test]
    fn lingering_workers_double_the_rest_up_to_5_s_and_no_longer() {
        let looks = at(&run(&mut pace(), 1..29_000, 0, |_| Some(Haste::Now), || CROWDED));
        let rests: Vec<u64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(rests, [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
        let mut pace = pace();
        pace.done(ms(300), Scan::Changes, CROWDED);
        assert_eq!(pace.pause(ms(300)), ms(29_700));
        pace.notice(ms(301), Haste::Now);
        assert_eq!(pace.pause(ms(301)), ms(499));
        // A look that reloads nothing makes no worker old.
        let still = Outcome::Settled { old_workers: 17, reloaded: false };
        pace.done(ms(800), Scan::Changes, still);
        pace.notice(ms(800), Haste::Now);
        assert_eq!(pace.pause(ms(800)), ms(500));
        pace.done(ms(1300), Scan::Changes, QUIET);
        pace.notice(ms(1300), Haste::Now);
        assert_eq!(pace.pause(ms(1300)), ms(250));
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_but_a_change_does_not_wait_long() {
        let looks = at(&run(&mut pace(), 1..100_000, 0, |_| None, || Outcome::Failed));
        let rests: Vec<u64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(rests.iter().all(|rest| *rest <= 30_000), "{rests:?}");
        let mut pace = pace();
        let mut now = ms(300);
        for _ in 0..10 {
            pace.done(now, Scan::Changes, Outcome::Failed);
            pace.notice(now, Haste::Now);
            assert!(pace.pause(now) <= REST_MOST);
            now += pace.pause(now);
        }
        pace.done(now, Scan::Everything, Outcome::Failed);
        assert!(pace.pause(now) > REST_MOST);
        pace.done(now, Scan::Changes, QUIET);
        pace.notice(now, Haste::Now);
        assert_eq!(pace.pause(now), ms(250));
    }

    #[test]
    fn who_has_decided_need_not_listen() {
        let mut pace = pace();
        assert!(!pace.is_decided(ms(1)));
        pace.notice(ms(1), Haste::Soon);
        assert!(!pace.is_decided(ms(1)) || pace.pause(ms(1)) <= ms(250));
        pace.notice(ms(2), Haste::Now);
        assert!(pace.is_decided(ms(2)));
    }

    #[test]
    fn an_interval_longer_than_the_longest_rest_is_kept() {
        let rhythm = Rhythm { interval: ms(9000), rescan: ms(30_000), old_workers_max: 16 };
        let mut pace = Pace::new(rhythm);
        pace.done(ms(0), Scan::Everything, CROWDED);
        pace.notice(ms(1), Haste::Now);
        assert_eq!(pace.pause(ms(0)), ms(9000));
    }
}
