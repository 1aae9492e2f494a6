//! `oh-instances list`: every instance at one moment, or again and again.

mod table;

use std::time::{Duration, Instant};

use oh_host::publish::Host;
use oh_host::users::Users;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_term::text::{bytes, percent, permille, several};
use oh_term::{Answer, Common, Failure, Format, Screen, duration, text};
use serde_json::{Value, json};

use crate::commands::{Context, context};
use crate::lasting::{self, Goes};
use crate::report;
use crate::view::{self, Depth, One, Seen, Use, View};

use table::{Row, WIDTH_MAX};

/// What a list looks at.
const DEPTH: Depth = Depth { proportional: true, heartbeat: false };

/// Answers once, or with `every` until told to end.
pub(crate) fn list(every: Option<Duration>, common: &Common) -> Result<Answer, Failure> {
    let context = context(common)?;
    let users = Users::of_machine().unwrap_or_else(|_| Users::parse("", ""));
    if let Some(every) = every {
        return Ok(Answer::shown(watch(every, &context, &users, common)?));
    }
    let Context { host, warnings } = context;
    let view = view::all(&host, DEPTH).map_err(Failure::of)?;
    Ok(answer(&host, &users, &view, None).notes(warnings))
}

/// Answers again and again: on a terminal each in the place of the one before, else each behind it.
fn watch(
    every: Duration,
    Context { host, warnings }: &Context,
    users: &Users,
    common: &Common,
) -> Result<Exit, Failure> {
    let mut screen = Screen::of_stdout().filter(|_| common.format == Format::Human);
    let is_screen = screen.is_some();
    let signals = if is_screen { lasting::listen_on_a_screen() } else { lasting::listen() }?;
    if !is_screen {
        warnings.iter().for_each(|line| oh_term::say(line));
    }
    let mut show = |answer: &Answer| match &mut screen {
        Some(screen) => lasting::draw(screen, answer, common),
        None => lasting::show(answer, common),
    };
    let mut before: Option<View> = None;
    loop {
        let begun = Instant::now();
        let view = view::all(host, DEPTH).map_err(Failure::of)?;
        let mut answer = answer(host, users, &view, before.as_ref()).notes(warnings.clone());
        if !is_screen && before.is_some() {
            answer.human.insert(0, '\n');
        }
        if let Goes::Out(exit) = show(&answer)? {
            return Ok(exit);
        }
        before = Some(view);
        // A look that takes longer than the interval is followed by the next, not by two.
        loop {
            let left = every.saturating_sub(begun.elapsed());
            if let Goes::Out(exit) = lasting::pause(&signals, left)? {
                return Ok(exit);
            }
            if left.is_zero() {
                break;
            }
            if signals.take_redraw()
                && let Goes::Out(exit) = show(&answer)?
            {
                return Ok(exit);
            }
        }
    }
}

/// Makes the answer of one look; `before` is the look that came before it.
fn answer(host: &Host, users: &Users, view: &View, before: Option<&View>) -> Answer {
    let rows: Vec<Row> = view.instances.iter().map(|seen| row(host, view, before, seen)).collect();
    let mut human = format!("{}\n", counted(view));
    if !rows.is_empty() {
        human.push('\n');
        human.push_str(&table::table(&rows));
        human.push('\n');
    }
    let runs = |seen: &Seen| seen.what.as_ref().is_ok_and(|one| one.uptime_ms().is_some());
    if view.instances.iter().any(runs) {
        human.push_str(&match interval_ms(view, before) {
            Some(ms) => format!("CPU: of one processor, in the last {}\n", interval_shown(ms)),
            None => "CPU: of one processor, since each editor's start\n".to_owned(),
        });
    }
    human.extend(view.unseen.iter().map(|line| format!("not seen: {line}\n")));
    let interval = interval_ms(view, before);
    let result = json!({
        "at_ms": view.now_ms,
        "cpu_since": if interval.is_some() { "previous look" } else { "start of each editor" },
        "interval_ms": interval,
        "not_seen": view.unseen,
        "instances": view.instances.iter()
            .map(|seen| json_of(host, users, view, before, seen)).collect::<Vec<_>>(),
    });
    let answer = Answer::new(human, result).exit(exit(view));
    match view.instances.iter().find(|seen| !is_well(seen)) {
        Some(seen) => {
            let command = Command::ours("oh-instances", &["status", seen.id.as_str()]);
            answer.hint(Hint::run("look closer", command))
        }
        None => answer,
    }
}

/// Says how many of them run.
fn counted(view: &View) -> String {
    let count = |is: fn(&Seen) -> bool| view.instances.iter().filter(|seen| is(seen)).count();
    let unwatched = count(is_unwatched);
    let runs = count(is_well) + unwatched;
    let said = match (view.instances.len(), runs) {
        (0, _) => "no instance is recorded".to_owned(),
        (1, 1) => "the one instance runs".to_owned(),
        (all, runs) if all == runs => format!("all {all} instances run"),
        (all, 1) => format!("1 of {} runs", several(all, "instance")),
        (all, runs) => format!("{runs} of {} run", several(all, "instance")),
    };
    match unwatched {
        0 => said,
        1 if runs == 1 => format!("{said}, and nobody watches it"),
        count => format!("{said}, and nobody watches {count} of them"),
    }
}

/// Says whether an editor runs that nobody would start again.
fn is_unwatched(seen: &Seen) -> bool {
    seen.what.as_ref().is_ok_and(|one| one.standing.word == "unsupervised")
}

fn is_well(seen: &Seen) -> bool {
    seen.what.as_ref().is_ok_and(|one| one.standing.is_well)
}

/// 1 where one that is wanted running does not run, 4 where one could only not be looked at.
fn exit(view: &View) -> Exit {
    let each = view.instances.iter().map(|seen| match &seen.what {
        Err(_) => Exit::CouldNotLook,
        Ok(one) if one.standing.is_well || !one.found.is_wanted() => Exit::Ok,
        Ok(_) => Exit::No,
    });
    each.fold(Exit::Ok, Exit::worst)
}

fn interval_ms(view: &View, before: Option<&View>) -> Option<u64> {
    before.map(|before| view.at_ms.saturating_sub(before.at_ms))
}

fn interval_shown(ms: u64) -> String {
    if ms < 1000 { format!("{ms}ms") } else { duration::shown(ms) }
}

/// How much of one processor an instance used since the look before, or since its start.
fn cpu_permille(one: &One, view: &View, before: Option<&View>) -> Option<u64> {
    let ticks = one.usage.cpu_ticks();
    let Some(before) = before else {
        return Some(permille(ticks, view.ticks_per_second, one.uptime_ms()?));
    };
    let same = |seen: &&Seen| seen.id == one.found.record.id;
    let then = before.instances.iter().find(same)?.what.as_ref().ok()?;
    // Another editor by now has used what it used since its start, which is within the interval.
    let used = if then.editor() == one.editor() {
        ticks.saturating_sub(then.usage.cpu_ticks())
    } else {
        ticks
    };
    one.uptime_ms()?;
    Some(permille(used, view.ticks_per_second, interval_ms(view, Some(before))?))
}

fn row(host: &Host, view: &View, before: Option<&View>, seen: &Seen) -> Row {
    let one = match &seen.what {
        Ok(one) => one,
        Err(why) => {
            let below = vec![fitting("cannot be read: ", why)];
            return Row { id: seen.id.to_string(), cells: None, below };
        }
    };
    let record = &one.found.record;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let lives = !one.usage.processes.is_empty();
    let cells = [
        one.standing.shown.clone(),
        record.target.port().map_or_else(|| "socket".into(), |port| port.to_string()),
        or_none(one.uptime_ms().and_then(|_| Some(one.editor()?.pid.to_string()))),
        one.usage.processes.len().to_string(),
        or_none(cpu_permille(one, view, before).map(percent)),
        or_none(lives.then(|| bytes(one.usage.resident_bytes()))),
        or_none(one.usage.proportional_bytes().filter(|_| lives).map(bytes)),
        one.connections().map_or_else(|| "?".into(), |count| count.to_string()),
        or_none(one.uptime_ms().map(duration::shown)),
        match &one.in_use {
            Use::Active(_) => "in use".into(),
            Use::Idle(ms, _) => duration::shown(*ms),
            Use::Unknown(_) => "?".into(),
        },
    ];
    let address =
        report::url(host, record.id.as_str()).unwrap_or_else(|| format!("/vscode/{}/", record.id));
    let mut below = vec![format!("{address}  {}", record.folder)];
    if address.chars().count() + record.folder.as_str().chars().count() + 4 > WIDTH_MAX {
        below = vec![address, record.folder.to_string()];
    }
    below.extend(one.standing.why.as_ref().map(|why| fitting("why: ", why)));
    Row { id: record.id.to_string(), cells: Some(cells), below }
}

/// Writes somebody's words on one line of the table; `status` has all of them.
fn fitting(lead: &str, words: &str) -> String {
    let words = text::escaped(words);
    let room = WIDTH_MAX.saturating_sub(2 + lead.len());
    if words.chars().count() <= room {
        return format!("{lead}{words}");
    }
    let begin: String = words.chars().take(room.saturating_sub(1)).collect();
    format!("{lead}{begin}…")
}

fn json_of(host: &Host, users: &Users, view: &View, before: Option<&View>, seen: &Seen) -> Value {
    match &seen.what {
        Err(why) => json!({ "id": seen.id.as_str(), "state": "unreadable", "why": why }),
        Ok(one) => {
            let mut value = instance(host, users, view, one);
            value["cpu_permille"] = json!(cpu_permille(one, view, before));
            value
        }
    }
}

/// All that is known of an instance, for programs.
pub(crate) fn instance(host: &Host, users: &Users, view: &View, one: &One) -> Value {
    let record = &one.found.record;
    let ticks_ms = |ticks: u64| ticks.saturating_mul(1000) / view.ticks_per_second.max(1);
    let processes = one.usage.processes.iter().map(|member| {
        json!({
            "pid": member.pid.get(),
            "parent_pid": member.parent.map(|pid| pid.get()),
            "depth": member.depth,
            "role": member.role.as_str(),
            "name": member.name,
            "state": member.state.to_string(),
            "cpu_ms": ticks_ms(member.cpu_ticks),
            "rss_bytes": member.resident_bytes,
            "pss_bytes": member.proportional_bytes,
        })
    });
    let mut value = report::instance(host, &one.found);
    let more = json!({
        "state": one.standing.word,
        "state_shown": one.standing.shown,
        "why": one.standing.why,
        "is_well": one.standing.is_well,
        "is_wanted": one.found.is_wanted(),
        "user": users.shown(record.uid),
        "socket": one.places.as_ref()
            .and_then(|places| Some(places.socket.as_ref()?.0.as_str().to_owned())),
        "uptime_ms": one.uptime_ms(),
        "cpu_ms": ticks_ms(one.usage.cpu_ticks()),
        "rss_bytes": one.usage.resident_bytes(),
        "pss_bytes": one.usage.proportional_bytes(),
        "connections": one.connections(),
        "busy_terminals": one.usage.busy_terminals(),
        "use": use_json(&one.in_use),
        "processes": processes.collect::<Vec<_>>(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// Whether it is in use, for programs.
pub(crate) fn use_json(in_use: &Use) -> Value {
    match in_use {
        Use::Active(because) => {
            json!({ "is_idle": false, "idle_ms": 0, "last_use": view::because(*because) })
        }
        Use::Idle(ms, because) => {
            json!({ "is_idle": true, "idle_ms": ms, "last_use": view::because(*because) })
        }
        Use::Unknown(why) => json!({ "is_idle": null, "idle_ms": null, "unknown": why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_shown_with_its_unit() {
        assert_eq!(interval_shown(500), "500ms");
        assert_eq!(interval_shown(5004), "5s");
    }
}
