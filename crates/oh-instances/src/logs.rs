//! `oh-instances logs`: the end of what an editor or its supervisor printed, and what comes next.
//!
//! An editor's log is somebody else's word: on a terminal nothing of it directs the terminal, and a
//! key that is in it is not shown.

mod tail;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use oh_host::instances::{self, Record};
use oh_host::logs::without_keys;
use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::instance::Key;
use oh_model::path::RealPath;
use oh_term::{Answer, Common, Failure, text};
use serde_json::json;

use crate::cli::LogsArguments;
use crate::commands::{Context, context, parsed};
use crate::fault::Fault;
use crate::lasting::{self, Goes};
use crate::look;

use tail::{Added, Follower, READ_BYTES_MAX};

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// How much is read of a log at most for the last words of an editor, in bytes.
const LAST_WORDS_BYTES_MAX: u64 = 64 * 1024;

/// Shows the last lines, and with `--follow` each that is added.
pub(crate) fn logs(asked: &LogsArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let id = parsed(&asked.id)?;
    let record = look::record(&host, &id).map_err(Failure::of)?;
    let log = log_of(&host, &id, asked.supervisor).map_err(Failure::of)?;
    let failed = |source| Failure::of(Fault::Log { path: log.clone(), source });
    let files = host.settings.instances.log_files;
    let mut keys = Vec::new();
    learn_keys(&host, &id, record.as_ref(), &mut keys);
    let lines = match tail::last_lines(&log, files, asked.lines, READ_BYTES_MAX) {
        Ok(lines) => lines,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            return missing(&asked.id, record.as_ref(), &log, asked.supervisor);
        }
        Err(fault) => return Err(failed(fault)),
    };
    let limit = text::bytes(READ_BYTES_MAX);
    let cut = lines.is_cut.then(|| format!("warning: no more than the last {limit} were read"));
    let warnings = warnings.into_iter().chain(cut);
    if !asked.follow {
        return Ok(answer(&lines.text, &keys).notes(warnings));
    }
    let signals = lasting::listen()?;
    warnings.for_each(|line| oh_term::say(&line));
    let mut follower = Follower::after(&log, files, &lines).map_err(failed)?;
    // Where the log ends in the middle of a line, the rest of it is to come.
    let (whole, begun) = tail::split_behind_last_line(&lines.text);
    follower.begin_with(begun);
    let mut next = whole.to_owned();
    loop {
        // Before the look: what was written until the record went is still shown.
        let record = look::record(&host, &id).map_err(Failure::of)?;
        let is_last = record.is_none();
        let Added { text, is_cut } = follower.next(is_last).map_err(failed)?;
        if is_cut {
            oh_term::say("warning: the log was cut, or has grown too fast: lines may be missing");
        }
        next.push_str(&text);
        learn_keys(&host, &id, record.as_ref(), &mut keys);
        if !next.is_empty()
            && let Goes::Out(exit) = lasting::show(&answer(&next, &keys), common)?
        {
            return Ok(Answer::shown(exit));
        }
        next.clear();
        if is_last {
            return Ok(Answer::shown(Exit::Ok));
        }
        if let Goes::Out(exit) = lasting::pause(&signals, PAUSE)? {
            return Ok(Answer::shown(exit));
        }
    }
}

/// Adds the keys that an instance has now; those that it had before may still be in what is read.
fn learn_keys(host: &Host, id: &InstanceId, record: Option<&Record>, keys: &mut Vec<Key>) {
    // A state that cannot be read is no reason to show nothing.
    let state = instances::read_state(&host.root, id).ok().flatten();
    let present = record.and_then(|record| record.key.clone()).into_iter();
    for key in present.chain(state.and_then(|state| state.key)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
}

/// The log of an instance, whether or not there still is a record of it.
fn log_of(host: &Host, id: &InstanceId, supervisor: bool) -> Result<RealPath, Fault> {
    let folder = host.root.real(&host.settings.instances.log_directory)?;
    let suffix = if supervisor { ".supervisor" } else { "" };
    Ok(folder.join(&format!("{}.log{suffix}", id.folded()))?)
}

fn missing(
    id: &str,
    record: Option<&Record>,
    log: &RealPath,
    supervisor: bool,
) -> Result<Answer, Failure> {
    let Some(record) = record else { return Err(Failure::of(Fault::Unknown(id.to_owned()))) };
    let fault = io::Error::from(io::ErrorKind::NotFound);
    let failure = Failure::of(Fault::Log { path: log.clone(), source: fault });
    Err(match &record.unit {
        Some(unit) if supervisor => {
            let unit = format!("--unit={unit}");
            failure.hint(Hint::run("systemd has it", Command::other("journalctl", &[&unit])))
        }
        _ => failure.hint("it has printed nothing yet"),
    })
}

/// Lines as an answer: for people as they are, but harmless to a terminal and without keys.
fn answer(lines: &str, keys: &[Key]) -> Answer {
    let lines = &*without_keys(lines, keys);
    let result = json!({ "lines": lines.lines().collect::<Vec<_>>() });
    let ended = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
    if !io::stdout().is_terminal() {
        return Answer::new(format!("{lines}{ended}"), result);
    }
    let harmless = lines.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => format!("{}\n", text::escaped(line.strip_suffix('\r').unwrap_or(line))),
        None => text::escaped(line),
    });
    Answer::new(format!("{}{ended}", harmless.collect::<String>()), result)
}

/// Returns the last lines of a log of an instance, harmless and without keys, for whoever asks why
/// it is not well.
pub(crate) fn last_words<'k>(
    log: &RealPath,
    files: u64,
    lines: usize,
    keys: impl IntoIterator<Item = &'k Key>,
) -> Vec<String> {
    // A log that cannot be read has nothing to say here; `logs` says why.
    let found = tail::last_lines(log, files, lines, LAST_WORDS_BYTES_MAX);
    let found = found.map(|lines| without_keys(&lines.text, keys)).unwrap_or_default();
    found.lines().map(text::escaped).collect()
}
