//! What is asked beyond one connection: held in silence, many at once, long polling behind several servers.

use std::time::Duration;

use oh_model::check::{Check, Verdict};
use oh_probe::cause::{self, Cause};
use oh_probe::diagnose::Certainty;
use oh_probe::ladder::Asked;
use oh_probe::load::{self, Load, Loaded, Met, Step};
use oh_probe::polling::{self, Sid};
use oh_probe::replay::{self, ConversationId, Fault, NotJoined, Replay, Status};
use oh_probe::soak::{self, Held, Soaked};
use oh_probe::sticky;
use tokio::time::{Instant, sleep_until};

use crate::cli::CheckArguments;
use crate::hops::Hop;
use crate::rungs::ended_text;

/// The header by which a server lets pages of another origin read its answers.
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// What came of one of these.
#[derive(Debug)]
pub(crate) struct Further {
    pub(crate) check: Check,
    /// What else is told of it, a line each.
    pub(crate) lines: Vec<String>,
    /// Why, where it failed and that is known.
    pub(crate) causes: Vec<(&'static Cause, Certainty)>,
    /// Whether it was stopped before its end.
    pub(crate) is_stopped: bool,
    /// Whether the time was over before its end.
    pub(crate) is_late: bool,
}

/// Asks what was wanted of a hop that connects; `direct` is what stands behind it, where that is known.
pub(crate) async fn ask(
    arguments: &CheckArguments,
    hop: &Hop,
    direct: Option<&Hop>,
    mut say: impl FnMut(&str),
) -> Vec<Further> {
    let mut all: Vec<Further> = Vec::new();
    let is_stopped = |all: &[Further]| all.iter().any(|one| one.is_stopped);
    if arguments.sticky {
        say("asking for sessions of long polling");
        all.push(sticky(hop).await);
    }
    if let Some(origin) = arguments.cors.as_ref().filter(|_| !is_stopped(&all)) {
        say("asking in the name of another page");
        all.push(cors(hop, origin).await);
    }
    if let Some(id) = arguments.conversation.as_ref().filter(|_| !is_stopped(&all)) {
        say("joining the conversation twice");
        all.push(conversation(hop, id, arguments.timeout).await);
    }
    if let Some(connections) = arguments.load.filter(|_| !is_stopped(&all)) {
        say(&format!("making {connections} connections"));
        all.push(load(hop, connections, arguments.timeout).await);
    }
    if let Some(lasting) = arguments.soak.filter(|_| !is_stopped(&all)) {
        say(&format!("holding a connection in silence for {} s", lasting.as_secs()));
        all.push(soak(hop, direct, lasting).await);
    }
    all
}

/// Ready when whoever started us wants no more.
async fn interrupted() {
    // Where no signal can be heard, none is waited for.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn interrupted_or(until: Instant) {
    tokio::select! {
        () = interrupted() => {}
        () = sleep_until(until) => {}
    }
}

async fn soak(hop: &Hop, direct: Option<&Hop>, lasting: Duration) -> Further {
    let began = Instant::now();
    let first = soak::soak(&hop.way, &hop.asked, lasting, interrupted()).await;
    let was_cut =
        matches!(judged(&first, None, None), soak::Verdict::Cut { .. } | soak::Verdict::Once(_));
    // A cut is asked for again, and of what stands behind: a server that was restarted looks like one.
    let (again, behind) = if was_cut {
        let longer = lasting.min(held_for(&first) + held_for(&first) / 2 + Duration::from_secs(1));
        let again = soak::soak(&hop.way, &hop.asked, longer, interrupted());
        let behind = async {
            match direct {
                Some(hop) => Some(soak::soak(&hop.way, &hop.asked, longer, interrupted()).await),
                None => None,
            }
        };
        let (again, behind) = tokio::join!(again, behind);
        (Some(again), behind)
    } else {
        (None, None)
    };
    let judged = judged(&first, again.as_ref(), behind.as_ref());
    let (verdict, said) = soak_text(&judged);
    let certainty = match judged {
        soak::Verdict::Cut { certainty, .. } => certainty,
        _ => Certainty::Likely,
    };
    let is_stopped = first.held.as_ref().is_some_and(|held| held.ending == soak::Ending::Stopped);
    Further {
        check: check("soak", verdict, began.elapsed(), said),
        lines: heartbeat(&first).into_iter().collect(),
        causes: judged.cause().map(|cause| (cause, certainty)).into_iter().collect(),
        is_stopped,
        is_late: false,
    }
}

fn judged(first: &Soaked, again: Option<&Soaked>, direct: Option<&Soaked>) -> soak::Verdict {
    let held = |soaked: Option<&Soaked>| soaked.and_then(|one| one.held.clone());
    let (again, direct) = (held(again), held(direct));
    soak::judge(first.held.as_ref(), again.as_ref(), direct.as_ref())
}

fn held_for(soaked: &Soaked) -> Duration {
    soaked.held.as_ref().map(|held: &Held| held.took).unwrap_or_default()
}

/// Says how often the server speaks by itself.
fn heartbeat(soaked: &Soaked) -> Option<String> {
    let open = soaked.ladder.open.as_ref()?.value.as_ref().ok()?;
    let (interval, silence) = (open.ping_interval_ms, open.silence_max_ms());
    Some(format!(
        "the server's heartbeat comes each {} s: a limit of silence below {} s cuts connections",
        interval / 1000,
        silence / 1000
    ))
}

fn soak_text(verdict: &soak::Verdict) -> (Verdict, String) {
    let s = |time: &Duration| format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100);
    match verdict {
        soak::Verdict::Lived(time) => (Verdict::Passed, format!("stood for {}", s(time))),
        soak::Verdict::Cut { silence, .. } => {
            (Verdict::Failed, format!("cut without a word after {} of silence", s(silence)))
        }
        soak::Verdict::CutBehind(silence) => {
            (Verdict::Failed, format!("cut after {} of silence, behind the proxy too", s(silence)))
        }
        soak::Verdict::Aged(age) => {
            (Verdict::Failed, format!("cut each time when it is {} old, silent or not", s(age)))
        }
        soak::Verdict::Unsteady { first, again } => (
            Verdict::Failed,
            format!(
                "cut after {}, and again after {}: restarts, or the network",
                s(first),
                s(again)
            ),
        ),
        soak::Verdict::Once(age) => {
            (Verdict::Warned, format!("cut once after {}, and not again", s(age)))
        }
        soak::Verdict::Forgotten(age) => (
            Verdict::Failed,
            format!("the heartbeat did not come any more after {}: forgotten on the way", s(age)),
        ),
        soak::Verdict::Closed(age) => {
            (Verdict::Failed, format!("the server ended it after {}", s(age)))
        }
        soak::Verdict::Broken => (Verdict::Failed, "what came was no packet".to_owned()),
        soak::Verdict::Untold => (Verdict::Unknown, "nothing could be seen".to_owned()),
    }
}

async fn load(hop: &Hop, connections: usize, limit: Duration) -> Further {
    let began = Instant::now();
    let stop = interrupted_or(began + limit);
    let loaded = load::load(&hop.way, &hop.asked, &Load::of(connections), stop).await;
    let met = load::judge(&loaded);
    let is_late = loaded.is_stopped && began.elapsed() >= limit;
    let failed = loaded.failed();
    let verdict = match () {
        () if loaded.is_stopped => Verdict::Unknown,
        () if failed > 0 || loaded.lost > 0 => Verdict::Failed,
        () if !met.is_empty() => Verdict::Warned,
        () => Verdict::Passed,
    };
    let mut said =
        format!("{} of {} made, {} held at once", loaded.made, loaded.wanted, loaded.held_max);
    if loaded.lost > 0 {
        said.push_str(&format!(", {} lost", loaded.lost));
    }
    if loaded.is_stopped {
        said.push_str("; stopped before all were there");
    }
    Further {
        check: check("load", verdict, loaded.took, said),
        lines: load_lines(&loaded, &met),
        causes: met.iter().map(|met| (met.cause, met.certainty)).collect(),
        is_stopped: loaded.is_stopped && !is_late,
        is_late,
    }
}

fn load_lines(loaded: &Loaded, met: &[Met]) -> Vec<String> {
    let ms = |time: Duration| format!("{}.{}", time.as_millis(), time.subsec_micros() % 1000 / 100);
    let steps = Step::ALL.into_iter().filter_map(|step| {
        let spread = loaded.spread(step)?;
        let [p50, p95, p99, max] = [spread.p50, spread.p95, spread.p99, spread.max].map(ms);
        Some(format!("{:<8} p50 {p50}  p95 {p95}  p99 {p99}  max {max} ms", step.name()))
    });
    let failures = loaded.failures.iter().map(|failed| {
        let why = match &failed.why {
            load::Why::Failure(failure) => failure.to_string(),
            load::Why::Answered(upgrade) => format!("answered by {upgrade:?}"),
            load::Why::Ended(ended) => ended_text(ended),
        };
        format!(
            "{} failed in {}: {why}, {} held then",
            failed.count,
            failed.step.name(),
            failed.held
        )
    });
    let met = met.iter().map(|met| {
        format!("{}: {}, met by {} at {} held", met.cause.id, met.cause.title, met.count, met.held)
    });
    steps.chain(failures).chain(met).collect()
}

async fn sticky(hop: &Hop) -> Further {
    let began = Instant::now();
    let seen = sticky::gather(&hop.way, &hop.asked, sticky::SESSIONS, interrupted()).await;
    let judged = sticky::judge(&seen);
    let (verdict, said, certainty) = match judged {
        sticky::Verdict::Kept { requests } => (
            Verdict::Passed,
            format!("{requests} requests came to the server that has the session"),
            Certainty::Certain,
        ),
        sticky::Verdict::Lost { lost, requests, certainty } => (
            Verdict::Failed,
            format!(
                "{lost} of {requests} requests came to a server that does not know the session"
            ),
            certainty,
        ),
        sticky::Verdict::Broken => {
            (Verdict::Failed, "long polling does not work".to_owned(), Certainty::Likely)
        }
        sticky::Verdict::Untold => {
            (Verdict::Unknown, "nothing could be seen".to_owned(), Certainty::Likely)
        }
    };
    Further {
        check: check("sticky", verdict, began.elapsed(), said),
        lines: Vec::new(),
        causes: judged.cause().map(|cause| (cause, certainty)).into_iter().collect(),
        is_stopped: judged == sticky::Verdict::Untold,
        is_late: false,
    }
}

/// Polls as a page of that origin does, and reads of the answer what a browser reads (WHATWG Fetch, "CORS check").
/// A page of another origin needs it for polling; of a WebSocket no browser asks it.
async fn cors(hop: &Hop, origin: &str) -> Further {
    let began = Instant::now();
    let asked = Asked { origin: Some(origin.to_owned()), ..hop.asked.clone() };
    let opened = polling::open(&hop.way, &asked).await;
    let answer = opened.as_ref().ok().and_then(|opened| opened.value.as_ref().ok());
    if let Some(sid) = answer.and_then(Sid::of_answer) {
        polling::end(&hop.way, &asked, &sid).await;
    }
    let (verdict, said, cause) = match answer {
        None => (Verdict::Unknown, "there was no answer".to_owned(), None),
        Some(answer) => {
            let allowed: Vec<&str> = answer.headers_of(ALLOW_ORIGIN).collect();
            match allowed[..] {
                [] => (Verdict::Failed, format!("{origin} may not read the answers"), None),
                [one] if one == origin => {
                    (Verdict::Passed, format!("{origin} may read them"), None)
                }
                ["*"] => (
                    Verdict::Warned,
                    "any page may read them, and none with its cookies".to_owned(),
                    None,
                ),
                [one] => (Verdict::Failed, format!("only {one} may read them"), None),
                [..] => (
                    Verdict::Failed,
                    format!("{ALLOW_ORIGIN} is there {} times", allowed.len()),
                    Some(&cause::ORIGIN_TWICE),
                ),
            }
        }
    };
    Further {
        check: check("cors", verdict, began.elapsed(), said),
        lines: Vec::new(),
        causes: cause.map(|cause| (cause, Certainty::Certain)).into_iter().collect(),
        is_stopped: false,
        is_late: false,
    }
}

async fn conversation(hop: &Hop, id: &ConversationId, within: Duration) -> Further {
    let began = Instant::now();
    let replay = Replay {
        conversation: id.clone(),
        api: format!("{}/api/conversations/", hop.prefix),
        within,
    };
    let seen = replay::gather(&hop.way, &hop.keyed(), &replay, interrupted()).await;
    let judged = replay::judge(&seen);
    let (verdict, said) = match &judged {
        replay::Verdict::Whole { first, again } => (
            Verdict::Passed,
            format!("{first} events, {again} of them again: no gap, nothing twice"),
        ),
        replay::Verdict::Faulty(faults) => {
            (Verdict::Failed, format!("{} of what was sent again is wrong", faults.len()))
        }
        replay::Verdict::Empty => (Verdict::Unknown, "it has no events yet".to_owned()),
        replay::Verdict::NotJoined(status) => {
            (Verdict::Unknown, format!("not joined, to start nothing: {}", status_text(status)))
        }
        replay::Verdict::Failed(why) => (Verdict::Failed, not_joined_text(why)),
        replay::Verdict::Untold => (Verdict::Unknown, "nothing could be seen".to_owned()),
    };
    let lines = match &judged {
        replay::Verdict::Faulty(faults) => faults.iter().map(fault_text).collect(),
        _ => Vec::new(),
    };
    Further {
        check: check("conversation", verdict, began.elapsed(), said),
        lines,
        causes: Vec::new(),
        is_stopped: seen.is_stopped,
        is_late: false,
    }
}

fn status_text(status: &Status) -> String {
    match status {
        Status::Running => "it runs".to_owned(),
        Status::Other(word) => format!("it is {word}"),
        Status::Version(word) => format!("it is one of {word}"),
        Status::Unknown => "the server knows none of this id".to_owned(),
        Status::Answered(status) => format!("the server answers {status} to the question for it"),
        Status::Failed(failure) => failure.to_string(),
    }
}

fn not_joined_text(why: &NotJoined) -> String {
    match why {
        NotJoined::NoSocket => "there was no WebSocket".to_owned(),
        NotJoined::Refused(reason) => format!("refused: {reason}"),
        NotJoined::Ended(ended) => ended_text(ended),
        NotJoined::TooMany => "it has more events than are taken note of".to_owned(),
    }
}

fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::Gap { id } => format!("event {id} did not come again"),
        Fault::Twice { id } => format!("event {id} came twice"),
        Fault::Again { id } => format!("event {id} came again, and was not asked for"),
        Fault::Disorder { id, behind } => format!("event {id} came behind {behind}"),
    }
}

fn check(name: &str, verdict: Verdict, took: Duration, said: String) -> Check {
    Check {
        name: name.to_owned(),
        group: "further".to_owned(),
        verdict,
        said,
        took_us: Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        cause: None,
    }
}
