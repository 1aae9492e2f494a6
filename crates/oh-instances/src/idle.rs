//! `oh-instances stop --idle`: those that nobody uses are stopped, and everybody else is spared
//! with the reason.
//!
//! Each that is due is looked at again at the last moment before it is stopped. What cannot be
//! judged is spared, and said.

use std::time::Duration;

use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::id::InstanceId;
use oh_term::{Answer, Common, Failure, duration, text};
use serde_json::{Value, json};

use crate::cli::StopArguments;
use crate::commands::{self, Context, context, parsed};
use crate::fault::Fault;
use crate::look;
use crate::stop::{self, Stopped};
use crate::view::{self, Depth, One, Seen, Use, because};
use crate::work::Work;

/// What is looked at: whether somebody came just now is worth a question.
const DEPTH: Depth = Depth { proportional: false, heartbeat: true };

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Limits {
    idle_ms: u64,
    /// How long before it is due an instance is named.
    warn_ms: u64,
}

/// What becomes of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judged {
    /// It was idle for long enough.
    Due(String),
    /// It will be due soon.
    Soon(String),
    /// It stays.
    Spared(String),
    /// It stays, because nobody can tell.
    Unjudged(String),
}

/// An instance and what becomes of it.
#[derive(Debug)]
struct Line {
    id: InstanceId,
    judged: Judged,
    stopped: Option<Stopped>,
    /// Whether the command was told to end before it came to it.
    is_skipped: bool,
}

impl Line {
    fn is_cut_short(&self) -> bool {
        self.is_skipped || self.stopped.as_ref().is_some_and(|one| one.is_skipped)
    }
}

/// Stops, or says what would be stopped.
pub(crate) fn stop_idle(
    asked: &StopArguments,
    idle: Duration,
    common: &Common,
) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let limits = Limits { idle_ms: ms(idle), warn_ms: asked.warn.map_or(0, ms) };
    let wanted = asked.ids.iter().map(|id| parsed(id)).collect::<Result<Vec<_>, _>>()?;
    let mut lines = judged(&host, &wanted, limits).map_err(Failure::of)?;
    if !asked.dry_run {
        let work = Work::begin(&host, common)?;
        let is_due = |line: &Line| matches!(line.judged, Judged::Due(_));
        let salvaged = if lines.iter().any(is_due) { commands::salvage(&host) } else { Vec::new() };
        for line in &mut lines {
            stop_due(&work, line, limits, asked.purge).map_err(Failure::of)?;
        }
        let answer = answer(&lines, limits, false).notes(salvaged).notes(warnings);
        let is_cut_short = lines.iter().any(Line::is_cut_short);
        return Ok(if is_cut_short { answer.exit(Exit::Interrupted) } else { answer });
    }
    Ok(answer(&lines, limits, true).notes(warnings))
}

fn judged(host: &Host, wanted: &[InstanceId], limits: Limits) -> Result<Vec<Line>, Fault> {
    let view = if wanted.is_empty() {
        view::all(host, DEPTH)?
    } else {
        for id in wanted {
            look::record(host, id)?.ok_or_else(|| Fault::Unknown(id.to_string()))?;
        }
        view::of(host, wanted.to_vec(), DEPTH)?
    };
    Ok(view.instances.into_iter().map(|seen| line(seen, limits)).collect())
}

fn line(seen: Seen, limits: Limits) -> Line {
    let judged = match &seen.what {
        Ok(one) => of_instance(one, limits),
        Err(why) => Judged::Unjudged(text::escaped(why)),
    };
    Line { id: seen.id, judged, stopped: None, is_skipped: false }
}

fn of_instance(one: &One, limits: Limits) -> Judged {
    if one.standing.is_well || one.standing.word == "unsupervised" {
        judge(&one.in_use, limits)
    } else {
        Judged::Spared(format!("not running: {}", one.standing.shown))
    }
}

fn judge(in_use: &Use, limits: Limits) -> Judged {
    match in_use {
        Use::Active(why) => Judged::Spared(format!("in use: {}", because(*why))),
        Use::Unknown(why) => Judged::Unjudged(text::escaped(why)),
        Use::Idle(ms, why) => {
            let idle = format!("idle for {}", duration::shown(*ms));
            let last = format!("the last use was {}", because(*why));
            let left_ms = limits.idle_ms.saturating_sub(*ms);
            if left_ms == 0 {
                Judged::Due(format!("{idle}; {last}"))
            } else if left_ms <= limits.warn_ms {
                Judged::Soon(format!("{idle}, due in {}; {last}", duration::shown(left_ms)))
            } else {
                Judged::Spared(format!("{idle} only; {last}"))
            }
        }
    }
}

/// Stops one that is due, unless it is not any more.
fn stop_due(work: &Work<'_>, line: &mut Line, limits: Limits, purge: bool) -> Result<(), Fault> {
    if !matches!(line.judged, Judged::Due(_)) {
        return Ok(());
    }
    if work.go_on().is_err() {
        line.judged = Judged::Unjudged("the command was interrupted before it came to it".into());
        line.is_skipped = true;
        return Ok(());
    }
    let again = view::of(work.host, vec![line.id.clone()], DEPTH)?.instances.pop();
    line.judged = match again {
        Some(seen) => self::line(seen, limits).judged,
        None => Judged::Spared("it is gone by now".into()),
    };
    if matches!(line.judged, Judged::Due(_)) {
        let ids = std::slice::from_ref(&line.id);
        line.stopped = stop::stop_all(work, ids, purge)?.pop();
    }
    Ok(())
}

fn answer(lines: &[Line], limits: Limits, is_dry: bool) -> Answer {
    let due = lines.iter().filter(|line| matches!(line.judged, Judged::Due(_))).count();
    let verb = if is_dry { "would stop" } else { "stopped" };
    let mut human = format!(
        "{verb} {due} of {}: idle for {} or longer\n",
        text::several(lines.len(), "instance"),
        duration::shown(limits.idle_ms),
    );
    let widest = lines.iter().map(|line| line.id.as_str().len()).max().unwrap_or_default();
    for line in lines {
        let id = &line.id;
        let (word, why) = said(line, is_dry);
        human.push_str(&format!("  {word:<11}{:<widest$}  {why}\n", id.as_str()));
        let left = line.stopped.iter().flat_map(|stopped| &stopped.left);
        human.extend(left.map(|left| format!("  left       {:<widest$}  {left}\n", "")));
    }
    let is_left = |line: &Line| line.stopped.as_ref().is_some_and(|one| !one.left.is_empty());
    let exit = lines.iter().map(|line| match &line.judged {
        _ if is_left(line) => Exit::No,
        Judged::Unjudged(_) => Exit::CouldNotLook,
        _ => Exit::Ok,
    });
    let exit = exit.fold(Exit::Ok, Exit::worst);
    let notes: Vec<String> =
        lines.iter().flat_map(|line| &line.stopped).flat_map(|one| one.notes.clone()).collect();
    let result = json!({
        "dry_run": is_dry,
        "idle_ms": limits.idle_ms,
        "warn_ms": limits.warn_ms,
        "instances": lines.iter().map(|line| json_of(line, is_dry)).collect::<Vec<_>>(),
    });
    Answer::new(human, result).exit(exit).notes(notes)
}

fn said(line: &Line, is_dry: bool) -> (&'static str, String) {
    match &line.judged {
        Judged::Due(why) if is_dry => ("would stop", why.clone()),
        Judged::Due(why) => match &line.stopped {
            Some(stopped) if stopped.left.is_empty() => ("stopped", why.clone()),
            _ => ("not stopped", why.clone()),
        },
        Judged::Soon(why) => ("soon", why.clone()),
        Judged::Spared(why) => ("spared", why.clone()),
        Judged::Unjudged(why) => ("spared", format!("cannot be judged: {why}")),
    }
}

fn json_of(line: &Line, is_dry: bool) -> Value {
    let (word, why) = said(line, is_dry);
    json!({
        "id": line.id.as_str(),
        "verdict": match line.judged {
            Judged::Due(_) => "due",
            Judged::Soon(_) => "soon",
            Judged::Spared(_) => "spared",
            Judged::Unjudged(_) => "unjudged",
        },
        "said": word,
        "why": why,
        "processes": line.stopped.as_ref().map(|stopped| stopped.processes),
        "left": line.stopped.as_ref().map(|stopped| stopped.left.clone()),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use oh_model::idleness::Because;

    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn each_verdict_is_named_with_its_reason() {
        let limits = Limits { idle_ms: 60 * MINUTE, warn_ms: 5 * MINUTE };
        let uses = [
            ("abandoned", Use::Idle(60 * MINUTE, Because::Connections { count: 2 })),
            ("almost", Use::Idle(55 * MINUTE, Because::FirstSeen)),
            ("not-yet", Use::Idle(55 * MINUTE - 1, Because::Heartbeat)),
            ("shell", Use::Active(Because::Terminals { count: 1 })),
            ("works", Use::Active(Because::Cpu { permille: 1050 })),
            ("unseen", Use::Unknown("its connections cannot be seen: EPERM".into())),
        ];
        let lines: Vec<Line> = uses
            .map(|(id, in_use)| Line {
                id: InstanceId::parse(id).unwrap(),
                judged: judge(&in_use, limits),
                stopped: None,
                is_skipped: false,
            })
            .into();
        let answer = answer(&lines, limits, true);
        assert_snapshot!(answer.human, @"
        would stop 1 of 6 instances: idle for 1h 00m or longer
          would stop abandoned  idle for 1h 00m; the last use was 2 connections
          soon       almost     idle for 55m, due in 5m 00s; the last use was its start
          spared     not-yet    idle for 54m only; the last use was an open page
          spared     shell      in use: 1 terminal at work
          spared     works      in use: 105% of a processor
          spared     unseen     cannot be judged: its connections cannot be seen: EPERM
        ");
        assert_eq!(answer.exit, Exit::CouldNotLook);
    }
}
