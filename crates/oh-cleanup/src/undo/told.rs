//! What people and programs read of a run that is taken back: the sum first, and what is alike as one line.

use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::run::RunId;
use oh_term::Answer;
use oh_term::text::{bytes, several};
use serde_json::{Value, json};

use super::subject;
use crate::elsewhere::Elsewhere;
use crate::journal::{Line, Run, Undo};
use crate::lines;
use crate::step::{Kind, Step};

/// What became of a step that was to be taken back.
pub(super) struct Told {
    pub(super) subject: String,
    /// How much room it has, in bytes; 0 for what is no thing.
    pub(super) bytes: u64,
    /// What was done, or why nothing was.
    pub(super) outcome: Result<&'static str, String>,
}

/// So many things, with their room where it is known.
fn things(count: usize, room: u64) -> String {
    let room = if room > 0 { format!(" ({})", bytes(room)) } else { String::new() };
    format!("{}{room}", several(count, "thing"))
}

/// What became of all of them.
pub(super) struct Done<'d> {
    pub(super) told: &'d [Told],
    /// The instances that are wanted again.
    pub(super) wanted: &'d [InstanceId],
    /// What other runs have.
    pub(super) elsewhere: &'d Elsewhere,
    /// Why the routes were not published, where they were not.
    pub(super) published: Option<String>,
}

/// Says which runs have what this one did not come to move, and how that is taken back.
fn with_elsewhere(human: &mut String, elsewhere: &Elsewhere) -> Vec<Hint> {
    let say = |(run, steps): (&RunId, &Vec<usize>)| {
        let things = several(steps.len(), "thing");
        human.push_str(&format!(
            "left out  {things}: it did not come to move them, and {run} did\n"
        ));
        let undo = Command::ours("oh-cleanup", &["undo", &run.to_string()]);
        Hint::run("take back what a later run moved", undo)
    };
    elsewhere.iter().map(say).collect()
}

/// The editors that a run stopped, and that no record has started again.
fn stopped(run: &Run) -> Vec<&str> {
    let wanted: Vec<&InstanceId> = run.wanted().into_iter().map(|(_, id)| id).collect();
    let steps = run.head.steps.iter().enumerate().filter_map(|(step, one)| match one {
        Step::Stop(stop) if stop.kind == Kind::Editor => Some((step, stop)),
        _ => None,
    });
    let stopped = steps.filter(|(step, stop)| {
        let is_wanted = stop.id.as_ref().is_some_and(|id| wanted.contains(&id));
        !is_wanted && run.lines.contains(&Line::Done { step: *step })
    });
    stopped.map(|(_, stop)| stop.what.as_str()).collect()
}

pub(super) fn would(run: &Run, undoable: &[(usize, Undo)], elsewhere: &Elsewhere) -> Answer {
    let wanted: Vec<&str> = run.wanted().into_iter().map(|(_, id)| id.as_str()).collect();
    let rooms: Vec<u64> = undoable.iter().map(|(step, _)| run.room_of(*step)).collect();
    let all: Vec<String> = undoable.iter().map(|(_, undo)| subject(undo)).collect();
    let room = rooms.iter().sum();
    let mut parts = Vec::new();
    if !all.is_empty() {
        parts.push(format!("bring back {}", things(all.len(), room)));
    }
    if !wanted.is_empty() {
        parts.push(format!("have {} wanted again", several(wanted.len(), "editor")));
    }
    if parts.is_empty() {
        parts.push("bring nothing back".into());
    }
    let mut human = format!("would {} of {}\n", parts.join(", and "), run.id);
    let lines = all.iter().zip(rooms).map(|(subject, room)| lines::Said {
        head: "would bring back ",
        subject,
        why: None,
        bytes: room,
    });
    lines::alike(lines).iter().for_each(|line| human.push_str(line));
    wanted.iter().for_each(|id| human.push_str(&format!("would have {id} wanted again\n")));
    let hints = with_elsewhere(&mut human, elsewhere);
    let result = json!({
        "dry_run": true,
        "run": run.id.to_string(),
        "bytes": room,
        "would_come_back": all,
        "would_be_wanted_again": wanted,
    });
    hints.into_iter().fold(Answer::new(human, result), Answer::hint)
}

pub(super) fn answer(run: &Run, done: &Done<'_>) -> Answer {
    let Done { told, wanted, elsewhere, published } = done;
    let (back, not_back): (Vec<&Told>, Vec<&Told>) =
        told.iter().partition(|one| one.outcome.is_ok());
    let room = back.iter().map(|one| one.bytes).sum();
    let mut parts = Vec::new();
    if !back.is_empty() {
        parts.push(format!("{} back", things(back.len(), room)));
    }
    if !wanted.is_empty() {
        parts.push(format!("{} wanted again", several(wanted.len(), "editor")));
    }
    if !not_back.is_empty() {
        parts.push(format!("{} not back", things(not_back.len(), 0)));
    }
    if parts.is_empty() {
        parts.push("nothing was to do any more".into());
    }
    let mut human = format!("{}: {}\n", run.id, parts.join(", "));
    let heads: Vec<String> = told
        .iter()
        .map(|one| format!("{:<10}", one.outcome.as_ref().copied().unwrap_or("not back")))
        .collect();
    let lines = told.iter().zip(&heads).map(|(one, head)| lines::Said {
        head,
        subject: &one.subject,
        why: one.outcome.as_ref().err().map(String::as_str),
        bytes: one.bytes,
    });
    lines::alike(lines).iter().for_each(|line| human.push_str(line));
    if let Some(why) = published {
        human.push_str(&format!("not back  the routes\n          {why}\n"));
    }
    let hints = with_elsewhere(&mut human, elsewhere);
    let stopped = stopped(run);
    if !stopped.is_empty() {
        let (count, what) = (several(stopped.len(), "editor"), stopped.join(", "));
        human.push_str(&format!(
            "still stopped: {count} ({what}), unless whoever had started them has done so again\n"
        ));
    }
    let is_whole = published.is_none() && not_back.is_empty();
    let rows = told.iter().map(|one| {
        let (outcome, why) = match &one.outcome {
            Ok(done) => (*done, Value::Null),
            Err(why) => ("not back", json!(why)),
        };
        json!({ "subject": one.subject, "outcome": outcome, "why": why })
    });
    let result = json!({
        "run": run.id.to_string(),
        "bytes": room,
        "things": rows.collect::<Vec<_>>(),
        "wanted_again": wanted.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "still_stopped": stopped,
        "elsewhere": elsewhere
            .iter()
            .map(|(run, steps)| json!({ "run": run.to_string(), "things": steps.len() }))
            .collect::<Vec<_>>(),
        "routes": published,
    });
    let answer = Answer::new(human, result).exit(if is_whole { Exit::Ok } else { Exit::No });
    let answer = hints.into_iter().fold(answer, Answer::hint);
    if wanted.is_empty() {
        return answer;
    }
    let start = Command::ours("oh-instances", &["reconcile", "--start"]);
    answer.hint(Hint::run("start its editors again", start))
}
