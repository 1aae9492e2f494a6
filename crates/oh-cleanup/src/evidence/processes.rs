//! All processes, and what those of the editors that end have at hand.

use std::collections::BTreeSet;

use oh_host::instances;
use oh_host::process::{Pid, ProcessDir, ProcessFault, ProcessStat, Processes, Variable};
use oh_host::publish::Host;
use oh_model::plan::Plan;
use oh_model::redact::{Redactor, names_secret};
use serde_json::{Value, json};

use super::items::{Collector, ITEM_BYTES_MAX};

use crate::facts::{Editor, Facts};
use crate::step::{Step, Stop};

/// How much of the arguments of one process is kept, in bytes: less of each where all of them are more
/// than the table takes, so that who has many does not push out the others.
const ARGUMENTS_BYTES_MAX: [usize; 5] = [16 * 1024, 4096, 1024, 256, 0];

/// How many names of variables and of what is open are kept of one process, each.
const NAMES_MAX: usize = 4096;

/// The majors of the kernel's pseudoterminals (devices.txt), and how many terminals one has.
const PTS_MAJORS: core::ops::RangeInclusive<u32> = 136..=143;
const PTS_A_MAJOR: u32 = 256;

/// Returns the processes of the editors that the plan ends.
pub(super) fn ending(facts: &Facts, plan: &Plan<Step>) -> BTreeSet<Pid> {
    let stops = plan.steps.iter().filter_map(|step| match step {
        Step::Stop(stop) => Some(stop),
        _ => None,
    });
    let stops: Vec<&Stop> = stops.collect();
    let ends = |editor: &&Editor| {
        stops.iter().any(|stop| {
            stop.id.is_some() && stop.id == editor.id
                || stop.leaders.iter().any(|leader| editor.leaders.contains(leader))
        })
    };
    facts.editors.iter().filter(ends).flat_map(|editor| editor.pids.iter().copied()).collect()
}

/// Returns what is known to be secret: of the records, and of the environments of the editors that end.
pub(super) fn secrets(host: &Host, ending: &BTreeSet<Pid>) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    // A record that cannot be read has its secrets behind their names still.
    for record in instances::records(&host.root).unwrap_or_default().into_iter().flatten() {
        let state = instances::read_state(&host.root, &record.id).ok().flatten();
        let keys = record.key.iter().cloned().chain(state.and_then(|state| state.key));
        secrets.extend(keys.map(|key| key.reveal().as_bytes().to_vec()));
        secrets.push(record.token.into_bytes());
    }
    for pid in ending {
        let environment = ProcessDir::open(*pid).and_then(|process| process.environment());
        let secret = |(name, value): Variable| names_secret(&name).then_some(value);
        secrets.extend(environment.unwrap_or_default().into_iter().filter_map(secret));
    }
    secrets
}

/// Takes the table of all processes, and more of those that end.
pub(super) fn gather(collector: &mut Collector, all: &Processes, ending: &BTreeSet<Pid>) {
    let mut table = Vec::new();
    for arguments_max in ARGUMENTS_BYTES_MAX {
        table = table_of(&collector.redactor, all, arguments_max);
        if table.len() <= ITEM_BYTES_MAX {
            break;
        }
    }
    collector.add_redacted("processes.jsonl", table);
    if all.partial {
        collector.miss("processes of others", "they are hidden from us (hidepid)");
    }
    let mut table = Vec::new();
    for pid in ending {
        match at_hand(&collector.redactor, *pid) {
            Ok(row) => push_line(&mut table, &row),
            Err(fault) => collector.miss(format!("what pid {pid} has"), fault.to_string()),
        }
    }
    collector.add_redacted("editors.jsonl", table);
}

/// Makes a line of each process, until they are more than is kept.
fn table_of(redactor: &Redactor, all: &Processes, arguments_max: usize) -> Vec<u8> {
    let mut table = Vec::new();
    for stat in &all.stats {
        push_line(&mut table, &row(redactor, stat, arguments_max));
        if table.len() > ITEM_BYTES_MAX {
            break;
        }
    }
    table
}

/// Says who runs this command, and what it was started by.
pub(super) fn by(redactor: &Redactor, all: &Processes, reason: Option<&str>) -> Value {
    let me = Pid::own();
    let terminal = all.get(me).and_then(|stat| stat.terminal).map(terminal);
    let [arguments_max, ..] = ARGUMENTS_BYTES_MAX;
    let row = |stat: &ProcessStat| row(redactor, stat, arguments_max);
    let ancestors = all.ancestors_of(me).into_iter().filter_map(|pid| all.get(pid));
    json!({
        "pid": me.get(),
        "uid": rustix::process::geteuid().as_raw(),
        "tty": terminal,
        "arguments": all.get(me).map(|stat| row(stat)["arguments"].clone()),
        "ancestors": ancestors.map(row).collect::<Vec<Value>>(),
        "reason": reason.map(|reason| redactor.string(reason)),
    })
}

fn row(redactor: &Redactor, stat: &ProcessStat, arguments_max: usize) -> Value {
    let process = ProcessDir::open(stat.pid);
    let of = |look: fn(&ProcessDir) -> Result<Value, ProcessFault>| {
        // One that has ended since is in the table with what was seen of it.
        process.as_ref().ok().and_then(|process| look(process).ok())
    };
    let uid = of(|process| Ok(json!(process.uid()?)));
    let arguments = process.as_ref().ok().and_then(|process| process.present_arguments().ok());
    let arguments = redactor.arguments(&arguments.unwrap_or_default());
    let (arguments, is_cut) = limited(arguments, arguments_max);
    json!({
        "pid": stat.pid.get(),
        "ppid": stat.parent.map(Pid::get),
        "uid": uid,
        "state": stat.state.to_string(),
        "start_time_ticks": stat.start_time_ticks,
        "name": redactor.string(&stat.name),
        "arguments": arguments,
        "is_cut": is_cut,
    })
}

/// Leaves out what is too much of the arguments of one process; says whether it did.
fn limited(arguments: Vec<Vec<u8>>, bytes_max: usize) -> (Vec<String>, bool) {
    let mut left = bytes_max;
    let mut is_cut = false;
    let mut kept = Vec::new();
    for word in arguments {
        let part = word.get(..left.min(word.len())).unwrap_or_default();
        is_cut |= part.len() < word.len();
        kept.push(String::from_utf8_lossy(part).into_owned());
        left -= part.len();
        if is_cut {
            break;
        }
    }
    (kept, is_cut)
}

fn at_hand(redactor: &Redactor, pid: Pid) -> Result<Value, ProcessFault> {
    let process = ProcessDir::open(pid)?;
    let shown = |bytes: &Vec<u8>| redactor.string(&String::from_utf8_lossy(bytes));
    let (environment, opened) = (process.environment()?, process.opened()?);
    let is_cut = environment.len() > NAMES_MAX || opened.paths.len() > NAMES_MAX;
    let is_cut = is_cut || !opened.untold.is_empty();
    let names = environment.iter().take(NAMES_MAX).map(|(name, _)| shown(name));
    Ok(json!({
        "pid": pid.get(),
        "control_groups": redactor.string(&process.control_groups()?),
        "variables": names.collect::<Vec<String>>(),
        "opened": opened.paths.iter().take(NAMES_MAX).map(shown).collect::<Vec<String>>(),
        "is_cut": is_cut,
    }))
}

/// Names a terminal by its device, as the kernel packs it.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    if PTS_MAJORS.contains(&major) {
        return format!("pts/{}", (major - PTS_MAJORS.start()) * PTS_A_MAJOR + minor);
    }
    format!("{major}:{minor}")
}

fn push_line(table: &mut Vec<u8>, row: &Value) {
    table.extend_from_slice(row.to_string().as_bytes());
    table.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_the_names_of_their_devices() {
        for (device, name) in [(0x8803, "pts/3"), (0x8901, "pts/257"), (0x0401, "4:1")] {
            assert_eq!(terminal(device), name);
        }
    }

    #[test]
    fn arguments_have_a_limit_together() {
        let word = vec![b'x'; 99];
        let (kept, is_cut) = limited(vec![word.clone(), b"ab".to_vec(), b"c".to_vec()], 100);
        assert_eq!((kept.len(), is_cut), (2, true));
        assert_eq!(kept[1], "a");
        assert!(!limited(vec![word.clone()], 100).1);
        assert_eq!(limited(vec![word], 0), (vec![String::new()], true));
    }
}
