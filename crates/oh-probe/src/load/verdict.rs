//! What a load tells of the limits that it met. Pure.

use crate::cause::{self, Cause};
use crate::diagnose::Certainty;
use crate::failure::Failure;
use crate::signature::{Common, Upgrade};

use super::{Failed, Loaded, Step, Why};

/// What nginx has of `worker_connections` for itself: a listening socket, and the channel to its master.
const OWN_OF_NGINX: usize = 2;

/// How a server of TLS that hangs up is told of.
const HANGS_UP: &str = "tls handshake eof";

/// A limit that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Which.
    pub cause: &'static Cause,
    /// How sure it is.
    pub certainty: Certainty,
    /// How many connections met it.
    pub count: usize,
    /// How many were held at most: so many the limit lets in, where it limits how many there are.
    pub held: usize,
}

/// Says which limits were met, ours first.
pub fn judge(loaded: &Loaded) -> Vec<Met> {
    let count = |is_one: fn(&Failed) -> bool| -> usize {
        loaded.failures.iter().filter(|failed| is_one(failed)).map(|failed| failed.count).sum()
    };
    let met = |cause, certainty, count| {
        (count > 0).then_some(Met { cause, certainty, count, held: loaded.held_max })
    };
    let (dropped, broken, limited) = (count(is_dropped), count(is_broken), count(is_limited));
    let has_made = loaded.made > 0;
    let sure = if has_made { Certainty::Certain } else { Certainty::Likely };
    // Where connections are dropped, what nginx cannot pass on for want of another one is of the same cause; by
    // itself it is too little to tell.
    let unserved = if dropped > 0 { dropped + broken } else { 0 };
    let is_late = is_mostly_late(loaded);
    [
        met(&cause::DESCRIPTORS, Certainty::Certain, count(is_ours)),
        met(&cause::CONNECTIONS, Certainty::Likely, if has_made { unserved } else { 0 }),
        met(&cause::LIMITED, sure, limited),
        met(&cause::BACKLOG, Certainty::Likely, if is_late { loaded.retransmitted } else { 0 }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Says what `worker_connections` are about, of how many connections were held by one worker: each has one to the
/// client and one to the server behind.
pub const fn worker_connections_about(held: usize) -> usize {
    held.saturating_mul(2).saturating_add(OWN_OF_NGINX)
}

const fn is_ours(failed: &Failed) -> bool {
    matches!(failed.why, Why::Failure(Failure::NoDescriptors(_)))
}

/// The connection was made, and ended before a byte came.
fn is_dropped(failed: &Failed) -> bool {
    match (&failed.why, failed.step) {
        (
            Why::Failure(Failure::Reset { bytes: 0 } | Failure::Closed { bytes: 0 }),
            Step::Tls | Step::Upgrade,
        ) => true,
        (Why::Failure(Failure::Tls(said)), Step::Tls) => said == HANGS_UP,
        _ => false,
    }
}

/// nginx took the connection, and has none to pass it on.
const fn is_broken(failed: &Failed) -> bool {
    matches!(failed.why, Why::Answered(Upgrade::Common(Common::Other(500))))
}

const fn is_limited(failed: &Failed) -> bool {
    matches!(failed.why, Why::Answered(Upgrade::Common(Common::TooMany)))
}

/// One of twenty connections waited for its first packet to be sent again.
fn is_mostly_late(loaded: &Loaded) -> bool {
    let count = loaded.spread(Step::Tcp).map_or(0, |spread| spread.count);
    loaded.retransmitted > 0 && loaded.retransmitted.saturating_mul(20) >= count
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::{Descriptors, Spread};

    /// A load of a hundred, of which some were made, and the rest failed so.
    fn loaded(made: usize, failures: &[(Step, Why, usize)]) -> Loaded {
        let failed = |(step, why, count): &(Step, Why, usize)| Failed {
            step: *step,
            why: why.clone(),
            count: *count,
            held: made,
        };
        let ms = Duration::from_millis;
        let spread = Spread { count: 100, p50: ms(1), p95: ms(2), p99: ms(3), max: ms(3) };
        Loaded {
            wanted: 100,
            begun: 100,
            made,
            refused: 0,
            held_max: made,
            lost: 0,
            took: ms(50),
            steps: vec![(Step::Tcp, spread)],
            retransmitted: 0,
            failures: failures.iter().map(failed).collect(),
            failed_otherwise: 0,
            descriptors: Descriptors { limit: Some(1024), is_enough: true },
            is_stopped: false,
        }
    }

    fn told(loaded: &Loaded) -> Vec<(&'static str, Certainty, usize, usize)> {
        let met = judge(loaded).into_iter();
        met.map(|met| (met.cause.id, met.certainty, met.count, met.held)).collect()
    }

    #[test]
    fn each_limit_is_known_by_its_failures() {
        use Certainty::{Certain, Likely};
        let reset = || Why::Failure(Failure::Reset { bytes: 0 });
        let answered = |common| Why::Answered(Upgrade::Common(common));
        let ours = || Why::Failure(Failure::NoDescriptors("Too many open files".to_owned()));
        let hangs_up = || Why::Failure(Failure::Tls("tls handshake eof".to_owned()));
        let torn = || Why::Failure(Failure::Reset { bytes: 7 });
        for (made, failures, expected) in [
            (100, vec![], vec![]),
            (31, vec![(Step::Upgrade, reset(), 69)], vec![("LIM-3", Likely, 69, 31)]),
            (31, vec![(Step::Tls, hangs_up(), 69)], vec![("LIM-3", Likely, 69, 31)]),
            (
                20,
                vec![
                    (Step::Upgrade, reset(), 60),
                    (Step::Upgrade, answered(Common::Other(500)), 20),
                ],
                vec![("LIM-3", Likely, 80, 20)],
            ),
            // A server that fails is not one that has no connection left.
            (90, vec![(Step::Upgrade, answered(Common::Other(500)), 10)], vec![]),
            (90, vec![(Step::Upgrade, torn(), 10)], vec![]),
            (0, vec![(Step::Upgrade, reset(), 1)], vec![]),
            (
                10,
                vec![(Step::Upgrade, answered(Common::TooMany), 90)],
                vec![("LIM-2", Certain, 90, 10)],
            ),
            (0, vec![(Step::Upgrade, answered(Common::TooMany), 1)], vec![("LIM-2", Likely, 1, 0)]),
            (50, vec![(Step::Tcp, ours(), 1)], vec![("LIM-5", Certain, 1, 50)]),
        ] {
            assert_eq!(told(&loaded(made, &failures)), expected, "{failures:?}");
        }
    }

    #[test]
    fn a_queue_that_overflows_is_known_by_the_second_it_costs() {
        let mut seen = loaded(100, &[]);
        seen.retransmitted = 4;
        assert_eq!(told(&seen), [], "a packet may be lost");
        seen.retransmitted = 5;
        assert_eq!(told(&seen), [("LIM-4", Certainty::Likely, 5, 100)]);
    }

    #[test]
    fn sixty_four_connections_of_a_worker_are_thirty_one_sessions() {
        assert_eq!(worker_connections_about(31), 64);
    }
}
