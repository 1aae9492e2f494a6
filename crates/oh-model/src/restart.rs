//! Whether and when a program that ended is started again.
//!
//! An end that is known to be meant stays (a server may end by itself when it was idle). A program that ends
//! before it ever answered will not answer the next time either. All else is started again after a
//! pause, which doubles with each restart within the window and is drawn between nothing and its
//! full length, so that many that ended together do not start together.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The longest pause before the first restart, in milliseconds.
pub const PAUSE_FIRST_MS: u64 = 200;
/// The longest pause before any restart, in milliseconds.
pub const PAUSE_MOST_MS: u64 = 30_000;

/// How often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The most restarts within the window.
    pub restarts_max: usize,
    /// The window, in milliseconds.
    pub window_ms: u64,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Whether it was meant: exit code 0, of a program that ends so for no other reason.
    pub is_clean: bool,
    /// Whether it had ever answered, since its supervisor began.
    pub was_ready: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is started again.
    Again {
        /// After this pause, in milliseconds.
        after_ms: u64,
    },
    /// It stays ended, as it was meant.
    Ended,
    /// It is given up, and why.
    GivenUp(String),
}

/// Decides what comes after an end.
///
/// `restarts_ms` are the times of the restarts so far and `now_ms` is the time of the end, all of one
/// clock that does not jump; those outside the window are dropped. `chance` is any number, drawn
/// anew each time.
pub fn next(
    end: End,
    restarts_ms: &mut Vec<u64>,
    now_ms: u64,
    chance: u64,
    policy: Policy,
) -> Next {
    if end.is_clean {
        return Next::Ended;
    }
    if !end.was_ready {
        return Next::GivenUp("it ended before it answered".into());
    }
    restarts_ms.retain(|restart| now_ms.saturating_sub(*restart) < policy.window_ms);
    let count = restarts_ms.len();
    if policy.restarts_max == 0 {
        return Next::GivenUp("it ended, and restarts are off".into());
    }
    if count >= policy.restarts_max {
        return Next::GivenUp(format!(
            "it ended again after {count} restarts within {} s",
            policy.window_ms / 1000
        ));
    }
    let doubled = u32::try_from(count).ok().and_then(|count| 2_u64.checked_pow(count));
    let longest = PAUSE_FIRST_MS.saturating_mul(doubled.unwrap_or(u64::MAX)).min(PAUSE_MOST_MS);
    restarts_ms.push(now_ms);
    Next::Again { after_ms: chance % (longest + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const POLICY: Policy = Policy { restarts_max: 3, window_ms: 10_000 };
    const CRASH: End = End { is_clean: false, was_ready: true };

    #[test]
    fn a_meant_end_stays_and_a_stillborn_one_is_given_up() {
        let mut restarts = vec![];
        let clean = End { is_clean: true, was_ready: true };
        assert_eq!(next(clean, &mut restarts, 0, 0, POLICY), Next::Ended);
        let stillborn = End { is_clean: false, was_ready: false };
        let given_up = next(stillborn, &mut restarts, 0, 0, POLICY);
        assert_eq!(given_up, Next::GivenUp("it ended before it answered".into()));
        assert!(restarts.is_empty());
    }

    #[test]
    fn restarts_within_the_window_count_and_older_ones_do_not() {
        let mut restarts = vec![];
        for now in [0, 1000, 2000] {
            assert!(matches!(next(CRASH, &mut restarts, now, 7, POLICY), Next::Again { .. }));
        }
        let given_up = next(CRASH, &mut restarts, 3000, 7, POLICY);
        let why = "it ended again after 3 restarts within 10 s";
        assert_eq!(given_up, Next::GivenUp(why.into()));
        // The first one is out of the window now.
        assert!(matches!(next(CRASH, &mut restarts, 10_000, 7, POLICY), Next::Again { .. }));
        let off = Policy { restarts_max: 0, ..POLICY };
        assert!(matches!(next(CRASH, &mut vec![], 0, 0, off), Next::GivenUp(_)));
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_is_drawn_below_it() {
        let policy = Policy { restarts_max: 100, window_ms: u64::MAX };
        let mut restarts = vec![];
        let mut longest = vec![];
        for _ in 0..70 {
            // The greatest chance that is a pause of its own length or less.
            let mut most = 0;
            for chance in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_001] {
                let mut tried = restarts.clone();
                if let Next::Again { after_ms } = next(CRASH, &mut tried, 0, chance, policy) {
                    most = most.max(after_ms);
                }
            }
            longest.push(most);
            next(CRASH, &mut restarts, 0, 0, policy);
        }
        assert_eq!(longest[..4], [200, 400, 800, 1600]);
        assert!(longest.iter().skip(8).all(|most| *most == PAUSE_MOST_MS), "{longest:?}");
        assert_eq!(next(CRASH, &mut restarts, 0, 0, policy), Next::Again { after_ms: 0 });
    }
}
