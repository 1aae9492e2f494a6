//! What people read of many steps and many reasons: the sum first, and things that are alike as one line.
//!
//! A machine on fire has thousands of left-overs, and a list of them is read by nobody. Programs get all
//! of them (`--format json`), and so does a plan in a file.

use std::collections::BTreeMap;

use oh_model::plan::{Exclusion, Plan};
use oh_term::text::{bytes, several};

use crate::step::{self, Move, Step};

/// From how many on things that are alike are one line.
const MANY: usize = 10;

/// What makes things alike: the folder with the beginning of their names, and what is said of them.
type Kind = (String, String);

/// A line, and what it is one of.
struct Line {
    kind: Option<Kind>,
    bytes: u64,
    text: String,
}

/// What a plan would do, in sum.
pub(crate) fn sum(plan: &Plan<Step>) -> String {
    let mut text = String::new();
    let mut line = |head: &str, said: String| text.push_str(&format!("would {head:<10}{said}\n"));
    let (mut editors, mut processes, mut things, mut room) = (0, 0, 0, 0);
    let (mut entries, mut databases) = (0, 0);
    let (mut is_read, mut is_published) = (false, false);
    let (mut orphans, mut containers) = (0, 0);
    for step in &plan.steps {
        match step {
            Step::Stop(stop) => {
                let count = match stop.kind {
                    step::Kind::Editor => &mut editors,
                    step::Kind::Orphan => &mut orphans,
                };
                (*count, processes) = (*count + 1, processes + stop.processes);
            }
            Step::StopContainer(_) => containers += 1,
            Step::Move(step) => (things, room) = (things + 1, room + step.bytes),
            Step::Release(step) => (entries, databases) = (entries + step.ids.len(), databases + 1),
            Step::Reload => is_read = true,
            Step::Publish => is_published = true,
            Step::WantStopped(_) | Step::Forget(_) => {}
        }
    }
    if editors + orphans > 0 {
        let kinds = [(editors, "editor"), (orphans, "orphan")];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(count, what)| several(count, what)).collect();
        let processes = several(processes, "process");
        line("stop", format!("{} with {processes}", kinds.join(" and ")));
    }
    if containers > 0 {
        line("stop", format!("{}, none of which is removed", several(containers, "container")));
    }
    if things > 0 {
        line("move", format!("{} to the quarantine ({})", several(things, "thing"), bytes(room)));
    }
    if databases > 0 {
        let (entries, of) = (several(entries, "entry"), several(databases, "database"));
        line("release", format!("{entries} of {of}, with a copy of each first"));
    }
    if is_read {
        line("reload", "nginx, once it accepts the files that are left".into());
    }
    if is_published {
        line("publish", "the routes that are left".into());
    }
    if !plan.exclusions.is_empty() {
        line("keep", several(plan.exclusions.len(), "thing"));
    }
    text
}

/// Steps, each behind `head`; what is alike is one line.
pub(crate) fn steps<'s>(head: &str, steps: impl Iterator<Item = &'s Step>) -> String {
    let line = |step: &Step| match step {
        Step::Move(step) => Line {
            kind: Some(kind(step)),
            bytes: step.bytes,
            text: Step::Move(step.clone()).to_string(),
        },
        step => Line { kind: None, bytes: 0, text: step.to_string() },
    };
    let told = |count: usize, (names, what): &Kind, room: u64| {
        format!("move    {count} things {names}* ({}): {what}", bytes(room))
    };
    joined(steps.map(line).collect(), told).iter().map(|text| format!("{head}{text}\n")).collect()
}

/// What stays, with the reasons; what is alike is one line.
pub(crate) fn exclusions(all: &[Exclusion]) -> Vec<String> {
    let line = |one: &Exclusion| Line {
        kind: Some((beginning(&one.subject), one.reason.clone())),
        bytes: 0,
        text: one.to_string(),
    };
    let told =
        |count: usize, (names, reason): &Kind, _| format!("{count} things {names}*: {reason}");
    joined(all.iter().map(line).collect(), told)
}

/// What is said of a thing.
pub(crate) struct Said<'s> {
    /// What stands before it.
    pub(crate) head: &'s str,
    pub(crate) subject: &'s str,
    /// Said on a line of its own.
    pub(crate) why: Option<&'s str>,
    pub(crate) bytes: u64,
}

/// Things with what is said of them, each with its line breaks; what is alike is one line.
pub(crate) fn alike<'s>(all: impl Iterator<Item = Said<'s>>) -> Vec<String> {
    let whole = |head: &str, what: &str, why: Option<&str>| match why {
        Some(why) => format!("{head}{what}\n          {why}\n"),
        None => format!("{head}{what}\n"),
    };
    let line = |one: Said<'_>| {
        let Said { head, subject, why, bytes } = one;
        // Both are one text here; what is said of things is no path, and has no such break.
        let said = format!("{head}\0{}", why.unwrap_or_default());
        let kind = Some((beginning(subject), said));
        Line { kind, bytes, text: whole(head, subject, why) }
    };
    let told = |count: usize, (names, said): &Kind, room: u64| {
        let (head, why) = said.split_once('\0').unwrap_or((said, ""));
        let room = if room > 0 { format!(" ({})", bytes(room)) } else { String::new() };
        let what = format!("{count} things {names}*{room}");
        whole(head, &what, Some(why).filter(|why| !why.is_empty()))
    };
    joined(all.map(line).collect(), told)
}

/// Joins what is alike where it is many, at the place of the first.
fn joined(lines: Vec<Line>, told: impl Fn(usize, &Kind, u64) -> String) -> Vec<String> {
    let mut kinds: BTreeMap<&Kind, (usize, u64)> = BTreeMap::new();
    for Line { kind, bytes, .. } in &lines {
        if let Some(kind) = kind {
            let (count, sum) = kinds.entry(kind).or_default();
            (*count, *sum) = (*count + 1, *sum + bytes);
        }
    }
    let mut said = Vec::new();
    for Line { kind, text, .. } in &lines {
        match kind.as_ref().and_then(|kind| Some((kind, kinds.get_mut(kind)?))) {
            // It was told with the first of its kind.
            Some((_, (0, _))) => {}
            Some((kind, (count, sum))) if *count >= MANY => {
                said.push(told(*count, kind, *sum));
                *count = 0;
            }
            _ => said.push(text.clone()),
        }
    }
    said
}

fn kind(step: &Move) -> Kind {
    (beginning(&step.thing.shown()), step.what.clone())
}

/// A path up to what makes it one of many: the second of the words that its name is made of.
fn beginning(path: &str) -> String {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(name);
    let mut ends = name.match_indices(['-', '_']).map(|(at, mark)| at + mark.len());
    let end = ends.nth(1).unwrap_or_default();
    format!("{folder}{}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusion(subject: String) -> Exclusion {
        Exclusion { subject, reason: "it is locked".into() }
    }

    #[test]
    fn what_is_alike_is_one_line_where_it_is_many() {
        let few = (1..MANY).map(|at| exclusion(format!("/tmp/vscode-ipc-{at}.sock")));
        let few: Vec<Exclusion> = few.collect();
        assert_eq!(exclusions(&few).len(), MANY - 1);
        let mut many = few;
        many.insert(0, exclusion("/tmp/code-server-userdata-a-1".into()));
        many.push(exclusion("/tmp/vscode-ipc-x.sock".into()));
        many.push(exclusion("hello of /data/vscode-ports.json".into()));
        assert_eq!(
            exclusions(&many),
            [
                "/tmp/code-server-userdata-a-1: it is locked",
                "10 things /tmp/vscode-ipc-*: it is locked",
                "hello of /data/vscode-ports.json: it is locked",
            ]
        );
    }

    #[test]
    fn a_name_is_told_up_to_its_second_word() {
        for (path, told) in [
            ("/tmp/vscode-ipc-1-2.sock", "/tmp/vscode-ipc-"),
            ("/tmp/openhands_workspace_x", "/tmp/openhands_workspace_"),
            ("/tmp/openhands-sandboxes/3f2c", "/tmp/openhands-sandboxes/"),
            ("pid 7", ""),
        ] {
            assert_eq!(beginning(path), told);
        }
    }
}
