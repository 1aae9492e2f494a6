//! All instances at one moment: what is wanted, what runs, what it uses, and whether it is in use.
//!
//! One pass over the machine for all of them. What the supervisor observed is carried on by this
//! very look, so that somebody who came a second ago counts. What cannot be told is said and is
//! never "idle".

use std::time::{SystemTime, UNIX_EPOCH};

use oh_host::instances::{self, Phase};
use oh_host::members::Target;
use oh_host::process::Identity;
use oh_host::publish::Host;
use oh_host::spawn::TOKEN_CHARACTERS_MIN;
use oh_host::usage::{self, Closely, Count, Door, Leader, Look, Subject, Usage};
use oh_model::id::InstanceId;
use oh_model::idleness::{Because, Heartbeat, Observation, Verdict};
use oh_model::upstream::Target as Listens;

use crate::editor::Places;
use crate::fault::Fault;
use crate::look::{self, Condition, Found};
use crate::{ready, report};
use oh_term::text;

/// How old the last observation of a supervisor may be: after that nobody knows what was since.
const OBSERVED_MAX_MS: u64 = 150_000;

/// Instances at one moment.
#[derive(Debug)]
pub(crate) struct View {
    /// When, in milliseconds since the boot.
    pub(crate) at_ms: u64,
    /// When, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    pub(crate) ticks_per_second: u64,
    /// What could not be seen, one line each.
    pub(crate) unseen: Vec<String>,
    /// Sorted by id.
    pub(crate) instances: Vec<Seen>,
}

/// An instance, or why its record cannot be read.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: InstanceId,
    pub(crate) what: Result<Box<One>, String>,
}

/// An instance whose record was read.
#[derive(Debug)]
pub(crate) struct One {
    pub(crate) found: Found,
    pub(crate) standing: Standing,
    pub(crate) places: Option<Places>,
    pub(crate) usage: Usage,
    pub(crate) in_use: Use,
}

/// How an instance stands, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// One word or two, the same in every format.
    pub(crate) word: &'static str,
    /// The same with what is worth knowing: `restarting in 12s`.
    pub(crate) shown: String,
    /// Why, where there is more to say.
    pub(crate) why: Option<String>,
    /// Whether the editor runs as it is wanted to.
    pub(crate) is_well: bool,
}

/// Whether an instance is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is.
    Active(Because),
    /// It is not, for so long; and what the last use was.
    Idle(u64, Because),
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// How closely to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Reads the memory that is each process's own share.
    pub(crate) proportional: bool,
    /// Asks each editor for its heartbeat.
    pub(crate) heartbeat: bool,
}

/// What was written of an instance, and where it has its things.
type Recorded = (Found, Option<Places>);

/// Looks at all instances.
pub(crate) fn all(host: &Host, depth: Depth) -> Result<View, Fault> {
    of(host, instances::ids(&host.root)?, depth)
}

/// Looks at these instances; one without a record is left out.
pub(crate) fn of(host: &Host, ids: Vec<InstanceId>, depth: Depth) -> Result<View, Fault> {
    let mut read: Vec<(InstanceId, Result<Recorded, String>)> = Vec::new();
    for id in ids {
        match look::one(host, &id) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let places = Places::of(host, &found.record).ok();
                read.push((found.record.id.clone(), Ok((found, places))));
            }
            // What stands above the fault itself says nothing more.
            Err(Fault::Record(fault)) => read.push((id, Err(report::chain(&fault)))),
            Err(fault) => read.push((id, Err(report::chain(&fault)))),
        }
    }
    let subjects: Vec<Subject> = read
        .iter()
        .filter_map(|(_, found)| found.as_ref().ok())
        .map(|(found, places)| subject(found, places.as_ref()))
        .collect();
    let closely = Closely { tokens: true, proportional: depth.proportional };
    let look = usage::look(&subjects, closely)?;
    let now_ms = now_ms();
    let mut usages = look.instances.clone().into_iter();
    let instances = read
        .into_iter()
        .map(|(id, found)| {
            let what = found.and_then(|(found, places)| {
                let usage = usages.next().ok_or("it was not looked at")?;
                let standing = standing(&found, now_ms);
                let heartbeat = if depth.heartbeat && found.is_ready() {
                    places.as_ref().and_then(|places| ready::heartbeat(&found.record, places))
                } else {
                    None
                };
                let in_use = in_use(&found, &look, &usage, heartbeat);
                Ok(Box::new(One { found, standing, places, usage, in_use }))
            });
            Seen { id, what }
        })
        .collect();
    Ok(View {
        at_ms: look.at_ms,
        now_ms,
        ticks_per_second: look.ticks_per_second,
        unseen: unseen(&look),
        instances,
    })
}

/// What is looked for of an instance.
pub(crate) fn subject(found: &Found, places: Option<&Places>) -> Subject {
    let editor = found.state.as_ref().and_then(|state| state.editor.clone());
    subject_of(&found.record, editor, places)
}

/// The same of a record and its editor.
pub(crate) fn subject_of(
    record: &instances::Record,
    editor: Option<Identity>,
    places: Option<&Places>,
) -> Subject {
    let door = match record.target {
        Listens::Port(port) => Some(Door::Port(port)),
        Listens::Socket => places
            .and_then(|places| places.socket.as_ref())
            .map(|(socket, _)| Door::Socket(socket.clone())),
    };
    // One that is too short would keep all the others from being looked at.
    let token = Some(record.token.clone()).filter(|token| token.len() >= TOKEN_CHARACTERS_MIN);
    Subject { target: Target { identity: editor, token }, door }
}

/// Observes, for its supervisor, what an instance does; `None` where nothing can be seen.
pub(crate) fn observation(
    record: &instances::Record,
    state: &instances::State,
    places: &Places,
) -> Option<Observation> {
    let subject = subject_of(record, state.editor.clone(), Some(places));
    let closely = Closely { tokens: true, proportional: false };
    let look = usage::look(&[subject], closely).ok()?;
    let usage = look.instances.first()?;
    let heartbeat = ready::heartbeat(record, places);
    Some(look.observation(usage, heartbeat))
}

/// Says how an instance stands.
pub(crate) fn standing(found: &Found, now_ms: u64) -> Standing {
    let plain =
        |word: &'static str, is_well| Standing { word, shown: word.to_owned(), why: None, is_well };
    let because = |word, why: &str| Standing { why: Some(why.to_owned()), ..plain(word, false) };
    if found.condition == Condition::Stopping {
        return because("stop not finished", "it is wanted stopped, and is not gone yet");
    }
    if let Some(starter) = found.record.starter.as_ref().filter(|_| found.is_half_started) {
        return match starter.lives() {
            Ok(true) => plain("starting", false),
            Ok(false) => because("start not finished", "whoever started it has ended"),
            Err(_) => because("start not finished", "whether its starter lives cannot be told"),
        };
    }
    match &found.condition {
        Condition::Stopping | Condition::Supervised(Phase::Ready) => plain("running", true),
        Condition::Supervised(Phase::Starting) => plain("starting", false),
        Condition::Supervised(Phase::Waiting { until_ms }) => {
            let seconds = until_ms.saturating_sub(now_ms).div_ceil(1000);
            let last = found.state.as_ref().and_then(|state| state.endings.last());
            Standing {
                shown: format!("restarting in {seconds}s"),
                why: last.map(|ending| format!("its editor ended: {}", ending.how)),
                ..plain("restarting", false)
            }
        }
        Condition::Supervised(Phase::Failed { why }) => because("failed", why),
        Condition::Supervised(Phase::Ended) => {
            because("ended", "its editor ended by itself, with exit code 0")
        }
        Condition::Supervised(Phase::Stopped) => because("ended", "its supervisor was told to end"),
        Condition::Unsupervised => {
            because("unsupervised", "its editor lives, and its supervisor does not")
        }
        Condition::Gone => because("gone", "neither its supervisor nor its editor lives"),
    }
}

/// Judges whether it is in use, by what its supervisor observed and by this look.
fn in_use(found: &Found, look: &Look, usage: &Usage, heartbeat: Option<Heartbeat>) -> Use {
    let unknown = |why: &str| Use::Unknown(why.to_owned());
    match usage.leader {
        Leader::Alive { .. } => {}
        Leader::Denied => return unknown("its processes cannot be seen"),
        Leader::Gone | Leader::Stranger => return unknown("its editor does not run"),
    }
    if found.condition == Condition::Unsupervised {
        return unknown("its supervisor does not live, so nobody observed it");
    }
    let Some(activity) = found.state.as_ref().and_then(|state| state.activity) else {
        return unknown("it was not observed yet");
    };
    let age_ms = look.at_ms.saturating_sub(activity.seen_ms);
    if age_ms > OBSERVED_MAX_MS {
        let age = oh_term::duration::shown(age_ms);
        return Use::Unknown(format!("its supervisor did not observe it for {age}"));
    }
    match activity.carry(&look.observation(usage, heartbeat)).verdict(look.at_ms) {
        Verdict::Active { because: Because::Unseen } => Use::Unknown(match &usage.connections {
            Count::Unknown(why) => format!("its connections cannot be seen: {why}"),
            _ => "its terminals or connections could not be seen".into(),
        }),
        Verdict::Active { because } => Use::Active(because),
        Verdict::Idle { since_ms, because } => {
            Use::Idle(look.at_ms.saturating_sub(since_ms), because)
        }
    }
}

fn unseen(look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    if look.partial {
        lines.push("other users' processes are hidden (hidepid): some may be missing here".into());
    }
    let unread = look.unread_environments;
    if unread > 0 {
        let several = text::several(unread, "process");
        lines.push(format!("{several} of other users could not be looked into; root sees all"));
    }
    lines
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Says what a use was, for people.
pub(crate) fn because(because: Because) -> String {
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    match because {
        Because::FirstSeen => "its start".into(),
        Because::Connections { count: n } => text::several(count(n), "connection"),
        Because::Terminals { count: n } => {
            format!("{} at work", text::several(count(n), "terminal"))
        }
        Because::Cpu { permille } => format!("{} of a processor", text::percent(permille)),
        Because::Heartbeat => "an open page".into(),
        Because::Unseen => "what could not be seen".into(),
    }
}

impl One {
    /// Returns the leader's uptime in milliseconds, where it lives.
    pub(crate) fn uptime_ms(&self) -> Option<u64> {
        match self.usage.leader {
            Leader::Alive { uptime_ms } => Some(uptime_ms),
            Leader::Gone | Leader::Stranger | Leader::Denied => None,
        }
    }

    /// Returns the editor, where it is recorded.
    pub(crate) fn editor(&self) -> Option<&Identity> {
        self.found.state.as_ref().and_then(|state| state.editor.as_ref())
    }

    /// Returns how many connections its server has, where that is known.
    pub(crate) fn connections(&self) -> Option<usize> {
        match self.usage.connections {
            Count::Known(count) => Some(count),
            Count::Unknown(_) | Count::NotAsked => None,
        }
    }
}
