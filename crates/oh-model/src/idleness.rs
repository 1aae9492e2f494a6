//! Whether an instance is in use: what was seen of it goes in, a verdict comes out.
//!
//! Four things are use: somebody is connected, a terminal holds more than a shell that waits, the
//! processes need more processor time than an editor that nobody looks at, and the heartbeat that
//! the editor itself tells. The heartbeat alone is not enough: it stops while somebody works in a
//! terminal. Where something cannot be seen, nothing ages.
//!
//! Pure: the time comes in as milliseconds of a clock that neither jumps nor stands still. What is
//! known is an [`Activity`], which each observation carries forward, so nobody keeps a series.
//! What this does not see: a job without a terminal that waits, or that needs less than
//! [`CPU_BUSY_PERMILLE`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of [`Activity`] as it is written down.
pub const ACTIVITY_SCHEMA: u32 = 1;
/// From how much of one processor on an instance is in use, in thousandths.
///
/// Measured on two cores over all processes of an instance, with what a closed browser leaves
/// behind (extension host, pty host, a shell, language servers): code-server 4.100.3 needs 3.0 on
/// average over four minutes and 5 in the worst 10 s, 4.139.1 2.9 and 11. One that nobody ever
/// looked at needs up to 3; a page that is open and not touched 28, but that one is connected.
pub const CPU_BUSY_PERMILLE: u64 = 50;
/// The shortest time over which processor time is judged, in milliseconds: over less, one
/// collection of garbage looks like work.
pub const CPU_INTERVAL_MIN_MS: u64 = 30_000;
/// For how long after the last use an instance counts as in use, in milliseconds. code-server
/// writes its heartbeat at most once in that time.
pub const ACTIVE_MS: u64 = 60_000;

/// What was seen of an instance at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// When, in milliseconds of a clock that only goes forward (`CLOCK_BOOTTIME`).
    pub at_ms: u64,
    /// The processor time of all its processes, those that ended included, in clock ticks.
    pub cpu_ticks: u64,
    /// How many clock ticks a second of processor time has.
    pub ticks_per_second: u64,
    /// How many connections its server has; `None` where that cannot be told.
    pub connections: Option<u64>,
    /// How many of its terminals hold more than a shell that waits; `None` where that cannot be
    /// told.
    pub busy_terminals: Option<u64>,
    /// What its `/healthz` told, where it has one and answered.
    pub heartbeat: Option<Heartbeat>,
}

/// What an editor tells of its last use. Both times are of the same clock, which may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The last use, in milliseconds since the epoch; 0 is never.
    pub last_ms: u64,
    /// When it was asked, in milliseconds since the epoch.
    pub asked_ms: u64,
}

/// Why an instance counts as in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Because {
    /// It was seen for the first time.
    FirstSeen,
    /// Somebody is connected.
    Connections {
        /// How many connections there are.
        count: u64,
    },
    /// Terminals hold more than a shell that waits.
    Terminals {
        /// How many do.
        count: u64,
    },
    /// It works.
    Cpu {
        /// How much of one processor, in thousandths; several can be busy.
        permille: u64,
    },
    /// The editor says so itself.
    Heartbeat,
    /// Connections or terminals cannot be seen.
    Unseen,
}

/// What is known of the last use of an instance, to be carried from one observation to the next.
///
/// Its times are of one boot: it belongs beside the identity of the process, and goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ActivityRecord", into = "ActivityRecord")]
pub struct Activity {
    /// The last use, in milliseconds of the clock of the observations.
    pub last_active_ms: u64,
    /// What the last use was.
    pub because: Because,
    /// The last observation, in milliseconds.
    pub seen_ms: u64,
    /// Since when processor time is being judged, and what had been used by then.
    mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    at_ms: u64,
    cpu_ticks: u64,
}

/// [`Activity`] as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivityRecord {
    schema: u32,
    last_active_ms: u64,
    because: Because,
    seen_ms: u64,
    mark: Mark,
}

/// Says why a written activity cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an activity of schema {0} is not known here, only {ACTIVITY_SCHEMA}")]
pub struct ActivityFault(u32);

/// Whether an instance is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is, or was within [`ACTIVE_MS`].
    Active {
        /// For this reason.
        because: Because,
    },
    /// It is not.
    Idle {
        /// Since when, in milliseconds of the clock of the observations.
        since_ms: u64,
        /// What its last use was.
        because: Because,
    },
}

/// Judges a series of observations in the order of their times; `None` where there is none.
pub fn judge(series: &[Observation], now_ms: u64) -> Option<Verdict> {
    let (first, rest) = series.split_first()?;
    let begun = Activity::begin(first);
    let known = rest.iter().fold(begun, |activity, next| activity.carry(next));
    Some(known.verdict(now_ms))
}

impl Activity {
    /// Begins with an instance of which nothing is known: it counts as used now.
    pub fn begin(first: &Observation) -> Self {
        let Observation { at_ms, cpu_ticks, .. } = *first;
        let because = seen_use(first).unwrap_or(Because::FirstSeen);
        Self { last_active_ms: at_ms, because, seen_ms: at_ms, mark: Mark { at_ms, cpu_ticks } }
    }

    /// Takes the next observation. One that is earlier than the last is of another clock, and
    /// begins anew.
    #[must_use]
    pub fn carry(&self, next: &Observation) -> Self {
        if next.at_ms < self.seen_ms || self.mark.at_ms > self.seen_ms {
            return Self::begin(next);
        }
        let Observation { at_ms, cpu_ticks, .. } = *next;
        let mut mark = self.mark;
        let mut worked = None;
        let interval_ms = at_ms - mark.at_ms;
        if interval_ms >= CPU_INTERVAL_MIN_MS {
            // Processor time is lost with a process that nobody of the instance waits for.
            let ticks = cpu_ticks.saturating_sub(mark.cpu_ticks);
            let permille = permille(ticks, next.ticks_per_second, interval_ms);
            worked = (permille >= CPU_BUSY_PERMILLE).then_some(Because::Cpu { permille });
            mark = Mark { at_ms, cpu_ticks };
        }
        let used = seen_use(next).or(worked).map(|because| (at_ms, because));
        let told = next.heartbeat.and_then(|beat| Some((beat.at(at_ms)?, Because::Heartbeat)));
        let told = told.filter(|(beat_ms, _)| *beat_ms > self.last_active_ms);
        let (last_active_ms, because) =
            used.or(told).unwrap_or((self.last_active_ms, self.because));
        Self { last_active_ms, because, seen_ms: at_ms, mark }
    }

    /// Says whether the instance is in use at this time of the same clock.
    pub fn verdict(&self, now_ms: u64) -> Verdict {
        let Self { last_active_ms, because, .. } = *self;
        if now_ms.saturating_sub(last_active_ms) < ACTIVE_MS {
            Verdict::Active { because }
        } else {
            Verdict::Idle { since_ms: last_active_ms, because }
        }
    }
}

impl Heartbeat {
    /// Returns when it was on the clock of an observation that was made at `at_ms`; `None` where
    /// there has been none. One that is still to come was written before its clock was set back,
    /// and counts as now.
    fn at(&self, at_ms: u64) -> Option<u64> {
        let age_ms = self.asked_ms.saturating_sub(self.last_ms);
        (self.last_ms != 0).then(|| at_ms.saturating_sub(age_ms))
    }
}

/// Returns the use that one observation shows without another.
fn seen_use(seen: &Observation) -> Option<Because> {
    match (seen.connections, seen.busy_terminals) {
        (Some(count @ 1..), _) => Some(Because::Connections { count }),
        (_, Some(count @ 1..)) => Some(Because::Terminals { count }),
        (None, _) | (_, None) => Some(Because::Unseen),
        (Some(0), Some(0)) => None,
    }
}

fn permille(ticks: u64, ticks_per_second: u64, interval_ms: u64) -> u64 {
    let used_ms = u128::from(ticks) * 1000 / u128::from(ticks_per_second.max(1));
    u64::try_from(used_ms * 1000 / u128::from(interval_ms.max(1))).unwrap_or(u64::MAX)
}

impl TryFrom<ActivityRecord> for Activity {
    type Error = ActivityFault;

    fn try_from(record: ActivityRecord) -> Result<Self, ActivityFault> {
        let ActivityRecord { schema, last_active_ms, because, seen_ms, mark } = record;
        if schema != ACTIVITY_SCHEMA {
            return Err(ActivityFault(schema));
        }
        Ok(Self { last_active_ms, because, seen_ms, mark })
    }
}

impl From<Activity> for ActivityRecord {
    fn from(activity: Activity) -> Self {
        let Activity { last_active_ms, because, seen_ms, mark } = activity;
        Self { schema: ACTIVITY_SCHEMA, last_active_ms, because, seen_ms, mark }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    const MINUTE: u64 = 60_000;
    /// What a closed browser leaves behind, in ticks a minute: the worst minute that was measured.
    const ABANDONED: u64 = 30;

    /// An instance that nobody uses, at that minute.
    fn quiet(minute: u64) -> Observation {
        Observation {
            at_ms: 1_000_000 + minute * MINUTE,
            cpu_ticks: 5000 + minute * ABANDONED,
            ticks_per_second: 100,
            connections: Some(0),
            busy_terminals: Some(0),
            heartbeat: Some(Heartbeat {
                last_ms: 0,
                asked_ms: 1_700_000_000_000 + minute * MINUTE,
            }),
        }
    }

    /// Three hours, one look a minute, and what was concluded at the end.
    fn after_three_hours(change: impl Fn(u64, &mut Observation)) -> Verdict {
        let series: Vec<Observation> = (0..=180)
            .map(|minute| {
                let mut seen = quiet(minute);
                change(minute, &mut seen);
                seen
            })
            .collect();
        judge(&series, series[180].at_ms).unwrap()
    }

    fn idle(minute: u64, because: Because) -> Verdict {
        Verdict::Idle { since_ms: quiet(minute).at_ms, because }
    }

    fn active(because: Because) -> Verdict {
        Verdict::Active { because }
    }

    #[test]
    fn an_abandoned_editor_is_found() {
        let beat = |minute: u64, last: u64| Heartbeat {
            last_ms: 1_700_000_000_000 + last * MINUTE,
            asked_ms: 1_700_000_000_000 + minute * MINUTE,
        };
        let never_opened = after_three_hours(|_, _| ());
        assert_eq!(never_opened, idle(0, Because::FirstSeen));
        // The extension host lives on for its three hours; the browser was closed after ten minutes.
        let closed = after_three_hours(|minute, seen| {
            seen.connections = Some(if minute <= 10 { 3 } else { 0 });
            seen.heartbeat = Some(beat(minute, minute.min(10)));
        });
        assert_eq!(closed, idle(10, Because::Connections { count: 3 }));
        // Somebody looked in between two looks of ours: only the heartbeat knows.
        let between = after_three_hours(|minute, seen| {
            seen.heartbeat = Some(beat(minute, if minute < 20 { 0 } else { 20 }));
        });
        assert_eq!(between, idle(20, Because::Heartbeat));
        let job_ended = after_three_hours(|minute, seen| {
            seen.busy_terminals = Some((minute <= 30).into());
        });
        assert_eq!(job_ended, idle(30, Because::Terminals { count: 1 }));
        let compiled = after_three_hours(|minute, seen| seen.cpu_ticks += minute.min(40) * 6000);
        assert_eq!(compiled, idle(40, Because::Cpu { permille: 1005 }));
    }

    #[test]
    fn a_busy_shell_without_a_browser_is_spared() {
        // `sleep 3000` in the foreground of a terminal needs no processor at all.
        let asleep = after_three_hours(|_, seen| seen.busy_terminals = Some(1));
        assert_eq!(asleep, active(Because::Terminals { count: 1 }));
        // A job in the background, without a terminal, on a tenth of a processor.
        let detached = after_three_hours(|minute, seen| seen.cpu_ticks += minute * 600);
        assert_eq!(detached, active(Because::Cpu { permille: 105 }));
        let connected = after_three_hours(|_, seen| seen.connections = Some(1));
        assert_eq!(connected, active(Because::Connections { count: 1 }));
        let beating = after_three_hours(|_, seen| {
            let asked_ms = seen.heartbeat.unwrap().asked_ms;
            seen.heartbeat = Some(Heartbeat { last_ms: asked_ms - 30_000, asked_ms });
        });
        assert_eq!(beating, active(Because::Heartbeat));
    }

    #[test]
    fn where_nothing_can_be_seen_nothing_ages() {
        let connections = after_three_hours(|_, seen| seen.connections = None);
        assert_eq!(connections, active(Because::Unseen));
        let terminals = after_three_hours(|_, seen| seen.busy_terminals = None);
        assert_eq!(terminals, active(Because::Unseen));
        // An editor without /healthz is judged by the rest.
        let heartbeat = after_three_hours(|_, seen| seen.heartbeat = None);
        assert_eq!(heartbeat, idle(0, Because::FirstSeen));
        assert_eq!(judge(&[], 0), None);
    }

    #[test]
    fn looks_that_follow_closely_are_judged_together() {
        // A look each second, and in one of them a collection of garbage.
        let look = |second: u64, ticks: u64| Observation {
            at_ms: 1_000_000 + second * 1000,
            cpu_ticks: ticks,
            ..quiet(0)
        };
        let known = (1..=70).fold(Activity::begin(&look(0, 0)), |known, second| {
            known.carry(&look(second, if second < 40 { 0 } else { 50 }))
        });
        assert_eq!(known.because, Because::FirstSeen);
        // The same work, all the time.
        let known = (1..=70).fold(Activity::begin(&look(0, 0)), |known, second| {
            known.carry(&look(second, second * 50))
        });
        assert_eq!(known.last_active_ms, look(60, 0).at_ms);
        assert_eq!(known.because, Because::Cpu { permille: 500 });
    }

    #[test]
    fn clocks_and_counters_that_go_back_end_nothing() {
        let known = Activity::begin(&quiet(100)).carry(&quiet(180));
        assert_eq!(known.verdict(quiet(180).at_ms), idle(100, Because::FirstSeen));
        // Another boot: what was known is of another clock.
        let anew = known.carry(&quiet(3));
        assert_eq!(anew, Activity::begin(&quiet(3)));
        assert_eq!(known.verdict(0), active(Because::FirstSeen));
        // A process ended with all its processor time.
        let less = known.carry(&Observation { cpu_ticks: 0, ..quiet(181) });
        assert_eq!(less.last_active_ms, known.last_active_ms);
        // A heartbeat of the future counts as now, and no sooner.
        let ahead = Heartbeat { last_ms: u64::MAX, asked_ms: 1 };
        let told = known.carry(&Observation { heartbeat: Some(ahead), ..quiet(181) });
        assert_eq!(told.last_active_ms, quiet(181).at_ms);
        // One from before the boot is old, and no more.
        let old = Heartbeat { last_ms: 1, asked_ms: u64::MAX };
        let told = known.carry(&Observation { heartbeat: Some(old), ..quiet(181) });
        assert_eq!(told.last_active_ms, known.last_active_ms);
    }

    #[test]
    fn an_activity_is_written_in_one_version() {
        let seen = Observation { connections: Some(2), ..quiet(0) };
        let known = Activity::begin(&seen).carry(&quiet(1));
        let text = r#"{"schema":1,"last_active_ms":1000000,"because":{"kind":"connections","count":2},"seen_ms":1060000,"mark":{"at_ms":1060000,"cpu_ticks":5030}}"#;
        assert_eq!(serde_json::to_string(&known).unwrap(), text);
        assert_eq!(serde_json::from_str::<Activity>(text).unwrap(), known);
        for (from, to) in
            [("\"schema\":1", "\"schema\":2"), ("connections", "ghosts"), ("seen_ms", "x")]
        {
            let broken = text.replacen(from, to, 1);
            assert!(serde_json::from_str::<Activity>(&broken).is_err(), "{broken}");
        }
        for because in [Because::FirstSeen, Because::Heartbeat, Because::Unseen] {
            let text = serde_json::to_string(&because).unwrap();
            assert_eq!(serde_json::from_str::<Because>(&text).unwrap(), because, "{text}");
        }
        let fault = serde_json::from_str::<Activity>(&text.replacen('1', "7", 1)).unwrap_err();
        assert!(format!("{fault}").contains("schema 7"), "{fault}");
    }
}
