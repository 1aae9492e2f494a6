//! A connection that is held in silence, and what ends it.
//!
//! Whoever ends silent connections on the way (nginx counts `proxy_read_timeout` so) counts anew with each frame in
//! either direction. So nothing is sent here but what both protocols demand: the answers to the server's heartbeats.
//! A tool that pings by itself would hide the fault that is looked for.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use oh_socketio::client::{Incoming, State};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::cause::{self, Cause};
use crate::diagnose::Certainty;
use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::Answer;
use crate::ladder::{self, Asked, Ladder};
use crate::limits::Limits;
use crate::polling::{self, Polled, Sid, opened_by};
use crate::reach::{Stream, Way};
use crate::socketio::{Connection, End, Next};

/// How much two times of silence may differ and still be the same limit: machines with other work wake up late.
const SAME_MAX: Duration = Duration::from_millis(500);

/// A connection that was held, as far as it came.
#[derive(Debug, Default)]
pub struct Soaked {
    /// How it was made; without a poll.
    pub ladder: Ladder,
    /// What came of it; nothing where it was not made.
    pub held: Option<Held>,
}

/// What came of a connection that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// How long it was held.
    pub took: Duration,
    /// For how long nothing had gone over it in either direction at the end.
    pub silence: Duration,
    /// How many heartbeats of Engine.IO were answered.
    pub heartbeats: u32,
    /// How many events came; then it was not silent by the server's will.
    pub events: u32,
    /// How it ended.
    pub ending: Ending,
}

/// How a connection ended that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The time was over, and it stood; we ended it with a goodbye.
    Lived,
    /// We were told to stop, and ended it with a goodbye.
    Stopped,
    /// The server has ended the session, or taken the namespace away, and said so.
    Dismissed,
    /// Otherwise.
    Ended(End),
}

/// Makes a connection, holds it for so long without a word of ours, and ends it with a goodbye: also when `stop` is
/// ready before. A connection that is not made by then is dropped.
pub async fn soak(
    way: &Way,
    asked: &Asked,
    lasting: Duration,
    stop: impl Future<Output = ()>,
) -> Soaked {
    let mut stop = pin!(stop);
    let (mut ladder, connection) = select! {
        biased;
        () = &mut stop => return Soaked::default(),
        made = ladder::hold(way, asked) => made,
    };
    let Some(mut connection) = connection else { return Soaked { ladder, held: None } };
    let mut held = Held {
        took: Duration::ZERO,
        silence: Duration::ZERO,
        heartbeats: 0,
        events: 0,
        ending: Ending::Lived,
    };
    let began = Instant::now();
    let until = began + lasting;
    held.ending = loop {
        let next = select! {
            biased;
            () = &mut stop => break Ending::Stopped,
            next = connection.next(until) => next,
        };
        if let Some(ending) = held.count(next, &connection) {
            break ending;
        }
    };
    held.took = began.elapsed();
    held.silence = connection.silent_for();
    ladder.frames = connection.close(Instant::now() + way.limits.packet).await;
    Soaked { ladder, held: Some(held) }
}

impl Held {
    /// Counts what came; an ending, where it is one.
    fn count(&mut self, next: Next, connection: &Connection<Stream>) -> Option<Ending> {
        match next {
            Next::Came(_) if connection.client().state() == State::Closed => {
                Some(Ending::Dismissed)
            }
            Next::Came(Incoming::Disconnected) => Some(Ending::Dismissed),
            Next::Came(Incoming::Ping) => {
                self.heartbeats = self.heartbeats.saturating_add(1);
                None
            }
            Next::Came(Incoming::Event { .. }) => {
                self.events = self.events.saturating_add(1);
                None
            }
            Next::Came(_) => None,
            Next::Quiet => Some(Ending::Lived),
            Next::Ended(end) => Some(Ending::Ended(end)),
        }
    }

    /// Says whether it ended without a word of anybody: somebody on the way has cut it, or the server died.
    const fn is_cut(&self) -> bool {
        matches!(
            self.ending,
            Ending::Ended(End::Cut(Failure::Closed { .. } | Failure::Reset { .. }))
        )
    }

    const fn stood(&self) -> bool {
        matches!(self.ending, Ending::Lived | Ending::Stopped)
    }
}

/// What connections that were held in silence tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stood for so long.
    Lived(Duration),
    /// It is cut on the way after so much silence.
    Cut {
        /// After how much.
        silence: Duration,
        /// Whether another time, or the direct way, says so too.
        certainty: Certainty,
    },
    /// The direct way is cut after the same silence: whatever ends it is behind the proxy.
    CutBehind(Duration),
    /// It is cut at the same age, however long it had been silent: a limit of a connection's whole life.
    Aged(Duration),
    /// It was cut twice, and neither silence nor age are alike: restarts, or a bad network.
    Unsteady {
        /// How old the first one was.
        first: Duration,
        /// How old the other one was.
        again: Duration,
    },
    /// It was cut once, and not the second time.
    Once(Duration),
    /// The server's heartbeat did not come, and nobody ended the connection: something on the way has forgotten it,
    /// as firewalls forget what is silent.
    Forgotten(Duration),
    /// The server ended it, and said so, when it was so old.
    Closed(Duration),
    /// What came was no frame, or no packet.
    Broken,
    /// It was not made, or stopped before anything could be seen.
    Untold,
}

impl Verdict {
    /// Returns the cause that it is.
    pub const fn cause(&self) -> Option<&'static Cause> {
        match self {
            Self::Cut { .. } => Some(&cause::CUT),
            _ => None,
        }
    }
}

/// Judges a connection that was held, perhaps a second time, and perhaps the same on the way without the proxy.
///
/// One cut alone is likely, and no more: a server that is restarted looks like it. It takes the same silence again,
/// or a direct connection that stood longer, to be certain.
pub fn judge(first: Option<&Held>, again: Option<&Held>, direct: Option<&Held>) -> Verdict {
    let Some(first) = first else { return Verdict::Untold };
    if !first.is_cut() {
        return judge_uncut(first);
    }
    let silence = first.silence;
    match direct {
        Some(direct) if direct.is_cut() && is_same(direct.silence, silence) => {
            return Verdict::CutBehind(silence);
        }
        Some(direct) if direct.stood() && direct.took > silence + SAME_MAX => {
            return match again {
                Some(again) if again.is_cut() && !is_same(again.silence, silence) => {
                    judge_unlike(first, again)
                }
                Some(again) if again.ending == Ending::Lived => Verdict::Once(first.took),
                _ => Verdict::Cut { silence, certainty: Certainty::Certain },
            };
        }
        _ => {}
    }
    match again {
        Some(again) if again.is_cut() && is_same(again.silence, silence) => {
            Verdict::Cut { silence, certainty: Certainty::Certain }
        }
        Some(again) if again.is_cut() => judge_unlike(first, again),
        Some(again) if again.ending == Ending::Lived => Verdict::Once(first.took),
        _ => Verdict::Cut { silence, certainty: Certainty::Likely },
    }
}

fn judge_uncut(held: &Held) -> Verdict {
    match &held.ending {
        Ending::Lived => Verdict::Lived(held.took),
        Ending::Stopped => Verdict::Untold,
        Ending::Dismissed | Ending::Ended(End::Closed { .. }) => Verdict::Closed(held.took),
        Ending::Ended(End::Silent(_) | End::Cut(_)) => Verdict::Forgotten(held.silence),
        Ending::Ended(End::Nonsense(_) | End::NoFrame(_)) => Verdict::Broken,
    }
}

/// Two cuts after different silences.
fn judge_unlike(first: &Held, again: &Held) -> Verdict {
    if is_same(first.took, again.took) {
        Verdict::Aged(first.took)
    } else {
        Verdict::Unsteady { first: first.took, again: again.took }
    }
}

fn is_same(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= SAME_MAX
}

/// What a limit of silence will do to connections that have nothing to say but their heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forecast {
    /// The heartbeat comes in time, and could be late as well.
    Holds,
    /// The heartbeat comes in time where nothing is late.
    Tight,
    /// The limit comes before the heartbeat.
    Cuts,
}

/// Says what a limit of silence on the way will do, of what the server opened with. The documents of socket.io ask for
/// more than both together. A server that pings by WebSocket as well, as uvicorn does each 20 s, may do with less.
pub fn predict(read_timeout: Duration, ping_interval_ms: u64, ping_timeout_ms: u64) -> Forecast {
    let of = Duration::from_millis;
    if read_timeout <= of(ping_interval_ms) {
        Forecast::Cuts
    } else if read_timeout <= of(ping_interval_ms.saturating_add(ping_timeout_ms)) {
        Forecast::Tight
    } else {
        Forecast::Holds
    }
}

/// A poll that was held, as far as it came.
#[derive(Debug)]
pub struct HeldPoll {
    /// The answer that opened the session.
    pub opened: Polled,
    /// What came of the poll; nothing where there is no session.
    pub poll: Option<Timed<PollEnding>>,
}

/// How a poll ended that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollEnding {
    /// The time was over, and it was not answered; the session was ended.
    Held,
    /// We were told to stop; the session was ended.
    Stopped,
    /// It was answered.
    Answered(Answer),
    /// It was ended without an answer.
    Failed(Failure),
}

/// What a poll that was held tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollVerdict {
    /// It was held until the server had something to say, or until we ended it.
    Held(Duration),
    /// Somebody on the way answered in the server's place, after so long.
    Cut(Duration),
    /// The server, or somebody, answered something else.
    Other(u16),
    /// It was ended without an answer, after so long.
    Dropped(Duration),
    /// There was no session, or we stopped before anything could be seen.
    Untold,
}

impl PollVerdict {
    /// Returns the cause that it is.
    pub const fn cause(&self) -> Option<&'static Cause> {
        match self {
            Self::Cut(_) => Some(&cause::POLL_CUT),
            _ => None,
        }
    }
}

/// Opens a session of long polling, holds one poll for as long, and ends the session: also when `stop` is ready before.
/// The namespace is not asked for, so that the server has nothing to say but its heartbeat.
pub async fn hold_poll(
    way: &Way,
    asked: &Asked,
    lasting: Duration,
    stop: impl Future<Output = ()>,
) -> HeldPoll {
    // The server has a session from here on, whose id is known with the answer alone: so the answer is waited for.
    let opened = polling::open(way, asked).await;
    let answer = opened.as_ref().ok().and_then(|opened| opened.value.as_ref().ok());
    let Some(sid) = answer.and_then(Sid::of_answer) else { return HeldPoll { opened, poll: None } };
    let limits = Limits { http: lasting.saturating_add(way.limits.http), ..way.limits.clone() };
    let began = Instant::now();
    let value = select! {
        biased;
        () = stop => PollEnding::Stopped,
        polled = polling::get(way, asked, &sid, &limits) => match polled {
            Ok(Timed { value: Ok(answer), .. }) => PollEnding::Answered(answer),
            Ok(Timed { value: Err(failure), .. }) | Err(failure) => PollEnding::Failed(failure),
        },
        () = sleep_until(began + lasting) => PollEnding::Held,
    };
    let took = began.elapsed();
    // Where it cannot be ended, it ends with its heartbeat.
    polling::end(way, asked, &sid).await;
    HeldPoll { opened, poll: Some(Timed { took, value }) }
}

/// Judges a poll that was held.
pub fn judge_poll(held: &HeldPoll) -> PollVerdict {
    let Some(Timed { took, value }) = &held.poll else { return PollVerdict::Untold };
    match value {
        PollEnding::Held => PollVerdict::Held(*took),
        PollEnding::Stopped => PollVerdict::Untold,
        PollEnding::Answered(answer) if answer.status == 504 => PollVerdict::Cut(*took),
        PollEnding::Answered(answer) if answer.status == 200 => PollVerdict::Held(*took),
        PollEnding::Answered(answer) => PollVerdict::Other(answer.status),
        PollEnding::Failed(_) => PollVerdict::Dropped(*took),
    }
}

impl HeldPoll {
    /// Returns the intervals of the heartbeat that the server said, in milliseconds: see [`predict`].
    pub fn heartbeat_ms(&self) -> Option<(u64, u64)> {
        let open = opened_by(self.opened.as_ref().ok()?.value.as_ref().ok()?)?;
        Some((open.ping_interval_ms, open.ping_timeout_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(took_ms: u64, silence_ms: u64, ending: Ending) -> Held {
        Held {
            took: Duration::from_millis(took_ms),
            silence: Duration::from_millis(silence_ms),
            heartbeats: 0,
            events: 0,
            ending,
        }
    }

    fn cut(took_ms: u64, silence_ms: u64) -> Held {
        held(took_ms, silence_ms, Ending::Ended(End::Cut(Failure::Closed { bytes: 99 })))
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_connection_tells_how_it_ended() {
        let closed = End::Closed { code: Some(1011), reason: "keepalive ping timeout".to_owned() };
        let reset = End::Cut(Failure::Reset { bytes: 0 });
        let stuck = End::Cut(Failure::Silent(ms(5000)));
        let likely = Verdict::Cut { silence: ms(2900), certainty: Certainty::Likely };
        for (ending, expected) in [
            (Ending::Lived, Verdict::Lived(ms(3000))),
            (Ending::Stopped, Verdict::Untold),
            (Ending::Dismissed, Verdict::Closed(ms(3000))),
            (Ending::Ended(closed), Verdict::Closed(ms(3000))),
            (Ending::Ended(End::Silent(ms(45_000))), Verdict::Forgotten(ms(2900))),
            (Ending::Ended(stuck), Verdict::Forgotten(ms(2900))),
            (Ending::Ended(End::NoFrame("?".to_owned())), Verdict::Broken),
            (Ending::Ended(reset), likely),
        ] {
            let held = held(3000, 2900, ending);
            assert_eq!(judge(Some(&held), None, None), expected, "{held:?}");
        }
        assert_eq!(judge(None, None, None), Verdict::Untold);
    }

    #[test]
    fn a_second_connection_and_the_direct_way_make_it_certain() {
        let first = cut(63_000, 60_000);
        let lived = |took_ms| held(took_ms, 20_000, Ending::Lived);
        let certain = Verdict::Cut { silence: ms(60_000), certainty: Certainty::Certain };
        let likely = Verdict::Cut { silence: ms(60_000), certainty: Certainty::Likely };
        for (again, direct, expected) in [
            (None, None, likely.clone()),
            (Some(cut(61_000, 60_400)), None, certain.clone()),
            (Some(cut(63_100, 20_000)), None, Verdict::Aged(ms(63_000))),
            (
                Some(cut(30_000, 20_000)),
                None,
                Verdict::Unsteady { first: ms(63_000), again: ms(30_000) },
            ),
            (Some(lived(90_000)), None, Verdict::Once(ms(63_000))),
            (None, Some(lived(90_000)), certain.clone()),
            // Not held for as long, it says nothing.
            (None, Some(lived(50_000)), likely),
            (None, Some(cut(60_300, 60_300)), Verdict::CutBehind(ms(60_000))),
            (Some(cut(61_000, 60_400)), Some(lived(90_000)), certain),
            (Some(cut(63_100, 20_000)), Some(lived(90_000)), Verdict::Aged(ms(63_000))),
            (Some(lived(90_000)), Some(lived(90_000)), Verdict::Once(ms(63_000))),
        ] {
            let said = judge(Some(&first), again.as_ref(), direct.as_ref());
            assert_eq!(said, expected, "{again:?} {direct:?}");
        }
    }

    #[test]
    fn a_limit_is_measured_by_the_heartbeat() {
        for (read_timeout_s, interval_ms, timeout_ms, expected) in [
            (3, 25_000, 20_000, Forecast::Cuts),
            (25, 25_000, 20_000, Forecast::Cuts),
            (26, 25_000, 20_000, Forecast::Tight),
            (45, 25_000, 20_000, Forecast::Tight),
            (46, 25_000, 20_000, Forecast::Holds),
            // python-engineio says zero where it pings more than once a second.
            (1, 0, 1000, Forecast::Tight),
            (60, u64::MAX, u64::MAX, Forecast::Cuts),
        ] {
            let said = predict(Duration::from_secs(read_timeout_s), interval_ms, timeout_ms);
            assert_eq!(said, expected, "{read_timeout_s}");
        }
    }

    #[test]
    fn a_held_poll_tells_who_answered() {
        let answer = |status| Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            is_whole: true,
            rest: Vec::new(),
        };
        let lost = Failure::Closed { bytes: 0 };
        for (ending, expected) in [
            (PollEnding::Answered(answer(504)), PollVerdict::Cut(ms(3004))),
            (PollEnding::Answered(answer(200)), PollVerdict::Held(ms(3004))),
            (PollEnding::Answered(answer(400)), PollVerdict::Other(400)),
            (PollEnding::Failed(lost), PollVerdict::Dropped(ms(3004))),
            (PollEnding::Held, PollVerdict::Held(ms(3004))),
            (PollEnding::Stopped, PollVerdict::Untold),
        ] {
            let opened = Ok(Timed { took: ms(1), value: Ok(answer(200)) });
            let held = HeldPoll { opened, poll: Some(Timed { took: ms(3004), value: ending }) };
            assert_eq!(judge_poll(&held), expected, "{held:?}");
        }
        let held = HeldPoll { opened: Err(Failure::Refused), poll: None };
        assert_eq!(judge_poll(&held), PollVerdict::Untold);
    }
}
