//! `oh-instances logs`: the end of what an editor or its supervisor printed, and what comes next.
//!
//! An editor's log is somebody else's word: on a terminal nothing of it directs the terminal.

mod tail;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use oh_host::instances;
use oh_host::publish::Host;
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::id::InstanceId;
use oh_model::path::RealPath;
use oh_term::{Answer, Common, Failure};
use serde_json::json;

use crate::cli::LogsArguments;
use crate::commands::{Context, context, parsed};
use crate::fault::Fault;
use crate::lasting::{self, Goes};
use crate::{look, text};

use tail::Follower;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// Shows the last lines, and with `--follow` each that is added.
pub(crate) fn logs(asked: &LogsArguments, common: &Common) -> Result<Answer, Failure> {
    let Context { host, warnings } = context(common)?;
    let id = parsed(&asked.id)?;
    let record = look::record(&host, &id).map_err(Failure::of)?;
    let log = log_of(&host, &id, asked.supervisor).map_err(Failure::of)?;
    let failed = |source| Failure::of(Fault::Log { path: log.clone(), source });
    let files = host.settings.instances.log_files;
    let lines = match tail::last_lines(&log, files, asked.lines) {
        Ok(lines) => lines,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            return missing(&asked.id, record.as_ref(), &log, asked.supervisor);
        }
        Err(fault) => return Err(failed(fault)),
    };
    if !asked.follow {
        return Ok(answer(&lines.text).notes(warnings));
    }
    let signals = lasting::listen()?;
    warnings.iter().for_each(|line| oh_term::say(line));
    let mut follower = Follower::after(&log, files, &lines).map_err(failed)?;
    // Where the log ends in the middle of a line, the rest of it is to come.
    let (whole, begun) = tail::split_behind_last_line(&lines.text);
    follower.begin_with(begun);
    let mut next = whole.to_owned();
    loop {
        // Before the look: what was written until the record went is still shown.
        let is_last = look::record(&host, &id).map_err(Failure::of)?.is_none();
        next.push_str(&follower.next(is_last).map_err(failed)?);
        if !next.is_empty()
            && let Goes::Out(exit) = lasting::show(&answer(&next), common)?
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

/// The log of an instance, whether or not there still is a record of it.
fn log_of(host: &Host, id: &InstanceId, supervisor: bool) -> Result<RealPath, Fault> {
    let folder = host.root.real(&host.settings.instances.log_directory)?;
    let suffix = if supervisor { ".supervisor" } else { "" };
    Ok(folder.join(&format!("{}.log{suffix}", id.folded()))?)
}

fn missing(
    id: &str,
    record: Option<&instances::Record>,
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

/// Lines as an answer: for people as they are, but harmless to a terminal.
fn answer(lines: &str) -> Answer {
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

/// Returns the last lines of both logs of an instance, harmless, for whoever asks why it is not well.
pub(crate) fn last_words(log: &RealPath, files: u64, lines: usize) -> Vec<String> {
    // A log that cannot be read has nothing to say here; `logs` says why.
    let found = tail::last_lines(log, files, lines).map(|lines| lines.text).unwrap_or_default();
    found.lines().map(text::escaped).collect()
}
