//! Sessions of long polling, each request on a connection of its own: whether all of them come to the server that has
//! the session.
//!
//! Behind a proxy with several servers and no affinity they do not, and each request has a new chance to go wrong. So
//! there are several sessions, and what has to be heard by the server that has one (the request for the namespace, and
//! the end) is sent again until that server hears it.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use oh_socketio::engine::Packet;
use oh_socketio::socket::{self, Kind};
use tokio::select;

use crate::cause::{self, Cause};
use crate::diagnose::Certainty;
use crate::ladder::Asked;
use crate::limits::Limits;
use crate::polling::{self, Polled, Sid, TRIES, is_ok, is_unknown};
use crate::reach::Way;

/// How many sessions are opened unless it is said otherwise: three requests of each need the right server, so of two
/// servers by chance a fault is missed once in five hundred times.
pub const SESSIONS: usize = 3;

/// How long the answer to a poll may take that is due at once, though nothing else is.
const POLL_MAX: Duration = Duration::from_secs(5);

/// What was asked of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To be opened.
    Open,
    /// For the namespace, by a post; perhaps several times.
    Namespace,
    /// For what the server says of it, by a poll.
    Poll,
    /// To be ended; perhaps several times.
    End,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Step {
    /// Of which session, from zero.
    pub session: usize,
    /// What was asked.
    pub request: Request,
    /// What came of it; how long it took where the server was reached.
    pub answered: Polled,
}

/// What was seen of some sessions.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The requests, in order.
    pub steps: Vec<Step>,
    /// How many sessions could not be ended; the server ends them when their heartbeat fails.
    pub left: usize,
}

/// Opens some sessions of long polling one after the other, asks for the namespace in each, and ends it. Where `stop` is
/// ready, it ends with the session that is open.
pub async fn gather(
    way: &Way,
    asked: &Asked,
    sessions: usize,
    stop: impl Future<Output = ()>,
) -> Seen {
    let mut stop = pin!(stop);
    let mut seen = Seen::default();
    for session in 0..sessions {
        // Each step has a limit, so a session that is begun is ended before we stop.
        let is_stopped = select! {
            biased;
            () = &mut stop => true,
            () = std::future::ready(()) => false,
        };
        if is_stopped || !one(way, asked, session, &mut seen).await {
            break;
        }
    }
    seen
}

/// One session; `false` where none was opened.
async fn one(way: &Way, asked: &Asked, session: usize, seen: &mut Seen) -> bool {
    let mut note = |request, answered| seen.steps.push(Step { session, request, answered });
    let opened = polling::open(way, asked).await;
    let answer = opened.as_ref().ok().and_then(|opened| opened.value.as_ref().ok());
    let sid = answer.and_then(Sid::of_answer);
    note(Request::Open, opened);
    let Some(sid) = sid else { return false };

    let namespace = socket::write(&socket::Packet::bare(Kind::Connect));
    let posts =
        [(Request::Namespace, Packet::Text(namespace.into())), (Request::End, Packet::Close)];
    let mut is_heard = false;
    for (request, packet) in posts {
        if request == Request::End && is_heard {
            // Without a namespace the server would have nothing to say.
            let limits = Limits { http: way.limits.http.min(POLL_MAX), ..way.limits.clone() };
            note(Request::Poll, polling::get(way, asked, &sid, &limits).await);
        }
        is_heard = false;
        for _ in 0..TRIES {
            let answered = polling::post(way, asked, &sid, std::slice::from_ref(&packet)).await;
            let goes_on = is_unknown(&answered);
            is_heard = is_ok(&answered);
            note(request, answered);
            if !goes_on {
                break;
            }
        }
    }
    seen.left += usize::from(!is_heard);
    true
}

/// What sessions of long polling tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Each request came to the server that had the session.
    Kept {
        /// How many requests needed it.
        requests: usize,
    },
    /// Some came to a server that does not know it.
    Lost {
        /// How many did.
        lost: usize,
        /// How many requests needed the right one.
        requests: usize,
        /// Whether others came to the right one: then there are several servers.
        certainty: Certainty,
    },
    /// No session was opened, or something else went wrong: long polling does not work at all.
    Broken,
    /// Nothing was asked.
    Untold,
}

impl Verdict {
    /// Returns the cause that it is.
    pub const fn cause(&self) -> Option<&'static Cause> {
        match self {
            Self::Lost { .. } => Some(&cause::STICKY),
            _ => None,
        }
    }
}

/// Judges what was seen of some sessions.
pub fn judge(seen: &Seen) -> Verdict {
    if seen.steps.is_empty() {
        return Verdict::Untold;
    }
    let within: Vec<_> = seen.steps.iter().filter(|step| step.request != Request::Open).collect();
    let lost = within.iter().filter(|step| is_unknown(&step.answered)).count();
    let kept = within.iter().filter(|step| is_ok(&step.answered)).count();
    let requests = within.len();
    if lost > 0 {
        // A server that is restarted, or drops the id, knows none; of several, one does.
        let certainty = if kept > 0 { Certainty::Certain } else { Certainty::Likely };
        Verdict::Lost { lost, requests, certainty }
    } else if kept < requests || requests == 0 || !seen.steps.iter().all(was_opened) {
        Verdict::Broken
    } else {
        Verdict::Kept { requests }
    }
}

fn was_opened(step: &Step) -> bool {
    step.request != Request::Open || is_ok(&step.answered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Timed;
    use crate::http1::Answer;

    const UNKNOWN: (u16, &str) = (400, "\"Invalid session e1\"");
    const OK: (u16, &str) = (200, "OK");
    const OPENED: (u16, &str) = (200, "0{}");

    /// Sessions that were answered so, four requests each.
    fn seen(answers: &[(u16, &str)]) -> Seen {
        let requests = [Request::Open, Request::Namespace, Request::Poll, Request::End];
        let step = |(at, (status, body)): (usize, &(u16, &str))| {
            let answer = Answer {
                status: *status,
                headers: Vec::new(),
                body: body.as_bytes().to_vec(),
                is_whole: true,
                rest: Vec::new(),
            };
            let answered = Ok(Timed { took: Duration::ZERO, value: Ok(answer) });
            Step { session: at / 4, request: requests[at % 4], answered }
        };
        Seen { steps: answers.iter().enumerate().map(step).collect(), left: 0 }
    }

    #[test]
    fn sessions_are_kept_or_lost() {
        use Certainty::{Certain, Likely};
        let node = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
        for (answers, expected) in [
            (vec![OPENED, OK, OK, OK], Verdict::Kept { requests: 3 }),
            (vec![OPENED, OK, OK, OK, OPENED, OK, OK, OK], Verdict::Kept { requests: 6 }),
            (
                vec![OPENED, OK, OK, OK, OPENED, OK, node, OK],
                Verdict::Lost { lost: 1, requests: 6, certainty: Certain },
            ),
            (
                vec![OPENED, UNKNOWN, UNKNOWN, UNKNOWN],
                Verdict::Lost { lost: 3, requests: 3, certainty: Likely },
            ),
            (vec![(502, "<html>")], Verdict::Broken),
            (vec![OPENED, (502, "<html>"), OK, OK], Verdict::Broken),
            (vec![OPENED, OK, OK, OK, (503, "")], Verdict::Broken),
            (vec![], Verdict::Untold),
        ] {
            assert_eq!(judge(&seen(&answers)), expected, "{answers:?}");
        }
    }
}
