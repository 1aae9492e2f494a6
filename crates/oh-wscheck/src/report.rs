//! The answer for people: what is there, each rung, the cause, and the lines that mend it.

use oh_model::check::{Check, Verdict};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::redact::Redactor;
use oh_nginx_conf::lint::Finding;
use oh_probe::diagnose::Certainty;
use oh_probe::failure::Failure;
use oh_probe::kind::Family;
use oh_probe::ladder::Ended;
use oh_probe::socketio::End;
use oh_term::checks::Checked;
use oh_term::text::wrapped;
use oh_term::{Answer, CheckFormat};

use crate::cause::Found;
use crate::check::Seen;
use crate::cli::CheckArguments;
use crate::climbed::Climbed;
use crate::document;
use crate::further::Further;
use crate::hops::Speech;
use crate::rungs::{answered, rungs};

/// How wide a line for people is, in characters.
pub(crate) const WIDTH: usize = 100;

/// How wide the evidence of a rung is, in characters.
const SAID_WIDTH: usize = 62;

/// How many findings are told with their lines.
const FINDINGS_SHOWN: usize = 2;

/// What OpenHands says to whoever names no conversation: its own handler has answered.
const NO_CONVERSATION: &str = "No conversation_id in query params";

/// Makes the answer, in the format that was asked for.
pub(crate) fn answer(seen: &Seen, arguments: &CheckArguments, format: CheckFormat) -> Answer {
    let mut checks = Vec::new();
    for (hop, climbed) in &seen.hops {
        let mut rungs = rungs(hop, climbed);
        if let Some(found) = seen.found.as_ref().filter(|found| found.hop == hop.name.word()) {
            blame(&mut rungs, found);
        }
        checks.push(rungs);
    }
    checks.push(seen.further.iter().map(further_check).collect());
    let exit = exit(seen);
    let verdict = verdict(seen, exit, &checks);
    let head = head(seen);
    let subject = seen.hops.first().map(|(hop, _)| hop.way.target.to_string()).unwrap_or_default();
    let summary = match &seen.found {
        Some(found) => format!("{head}: {} {}", found.cause.id, found.cause.title),
        None if seen.connects() => format!("{head}: connects"),
        None => format!("{head}: not all was seen in time"),
    };
    let all: Vec<Check> = checks.concat();
    let checked =
        Checked { tool: "oh-wscheck", subject: &subject, verdict, summary: &summary, checks: &all };
    let mut human = match format {
        CheckFormat::Human | CheckFormat::Json => human(seen, &head, &checks),
        CheckFormat::Jsonl => checked.json_lines(),
        CheckFormat::Junit => checked.junit(),
        CheckFormat::Nagios => checked.nagios(),
        CheckFormat::Prometheus => checked.prometheus(),
    };
    if arguments.verbose && format == CheckFormat::Human {
        human.push_str(&frames(seen));
    }
    let result = document::document(seen, &head, &checks, arguments.verbose);
    let mut answer = Answer::new(human, result).exit(exit);
    answer.plugin_code = Some(verdict.plugin_code());
    let is_for_people = matches!(format, CheckFormat::Human | CheckFormat::Json);
    if let Some(found) = seen.found.as_ref().filter(|_| is_for_people) {
        let more = Command::ours("oh-wscheck", &["--explain", found.cause.id]);
        answer = answer.hint(Hint::run("more", more));
    }
    answer
}

/// Gives the cause to the first rung that failed.
fn blame(rungs: &mut [Check], found: &Found) {
    if let Some(rung) = rungs.iter_mut().find(|rung| rung.verdict == Verdict::Failed) {
        rung.cause = Some(found.cause.id);
    }
}

/// It connects, or it does not; where nothing but time was missing, that is said.
fn exit(seen: &Seen) -> Exit {
    let Some((_, climbed)) = seen.hops.first() else { return Exit::CouldNotLook };
    if seen.connects() {
        return beyond(seen);
    }
    if seen.is_cut_short || is_only_late(climbed) { Exit::Deadline } else { Exit::No }
}

/// What was asked beyond one connection, as an exit.
fn beyond(seen: &Seen) -> Exit {
    let has = |verdict| seen.further.iter().any(|one| one.check.verdict == verdict);
    if has(Verdict::Failed) {
        return Exit::No;
    }
    if seen.further.iter().any(|one| one.is_stopped) {
        return Exit::Interrupted;
    }
    if seen.further.iter().any(|one| one.is_late) {
        return Exit::Deadline;
    }
    if has(Verdict::Unknown) { Exit::CouldNotLook } else { Exit::Ok }
}

fn further_check(further: &Further) -> Check {
    let cause = further.causes.first().map(|(cause, _)| cause.id);
    Check { cause, ..further.check.clone() }
}

/// Says whether the last rung that was reached had no answer in time.
fn is_only_late(climbed: &Climbed) -> bool {
    let is_late = |failure: &Failure| matches!(failure, Failure::Silent(_));
    let is_quiet = |ended: &Ended| match ended {
        Ended::Quiet(_) => true,
        Ended::End(End::Cut(failure)) => is_late(failure),
        _ => false,
    };
    if let Climbed::SocketIo(ladder) = climbed {
        if let Some(connect) = &ladder.connect {
            return connect.value.as_ref().is_err_and(is_quiet);
        }
        if let Some(open) = &ladder.open {
            return open.value.as_ref().is_err_and(is_quiet);
        }
    }
    if let Some(upgrade) = climbed.upgrade() {
        return upgrade.value.as_ref().is_err_and(is_late);
    }
    let Some(reached) = climbed.reached() else { return true };
    let tls = reached.tls.as_ref().map(|tls| tls.value.as_ref().is_err_and(is_late));
    let proxy = reached.proxy.as_ref().map(|proxy| proxy.value.as_ref().is_err_and(is_late));
    let tcp = reached.tcp.last().map(|(_, tcp)| tcp.value.as_ref().is_err_and(is_late));
    let dns = reached.dns.as_ref().map(|dns| dns.value.as_ref().is_err_and(is_late));
    tls.or(proxy).or(tcp).or(dns).unwrap_or(true)
}

fn verdict(seen: &Seen, exit: Exit, checks: &[Vec<Check>]) -> Verdict {
    match exit {
        // A hop behind that was asked for and fails is told, and this one connects all the same.
        Exit::Ok if seen.found.is_some() => Verdict::Warned,
        Exit::Ok => {
            let warned = |rung: &Check| rung.verdict == Verdict::Warned;
            let of_hop = checks.first().is_some_and(|rungs| rungs.iter().any(warned));
            let is_warned =
                of_hop || checks.last().is_some_and(|further| further.iter().any(warned));
            if is_warned { Verdict::Warned } else { Verdict::Passed }
        }
        Exit::No | Exit::Deadline => Verdict::Failed,
        _ => Verdict::Unknown,
    }
}

/// Says in one line what was found, and where.
fn head(seen: &Seen) -> String {
    let Some((hop, climbed)) = seen.hops.first() else { return String::new() };
    let answers = [
        climbed.upgrade().and_then(|upgrade| Some(&upgrade.value.as_ref().ok()?.answer)),
        climbed.plain(),
    ];
    let server = answers.into_iter().flatten().find_map(|answer| answer.header("Server"));
    let through = match server {
        Some(server) if server.starts_with("nginx") => ", through nginx",
        _ => "",
    };
    format!("{} at {}{through}", kind(seen), hop.way.target)
}

/// Names what was found: by what it said of itself, and where its page is hidden, by its own words on the way.
fn kind(seen: &Seen) -> String {
    let is_openhands = seen.hops.iter().any(|(_, climbed)| match climbed {
        Climbed::SocketIo(ladder) => ladder.connect.as_ref().is_some_and(|connect| {
            let refused = connect.value.as_ref().ok().and_then(|one| one.refused.as_deref());
            refused.is_some_and(|reason| reason.contains(NO_CONVERSATION))
        }),
        Climbed::Raw(_) => false,
    });
    let known = seen.kind.as_ref().filter(|kind| {
        let is_told = !matches!(
            kind.family,
            Family::Other | Family::Silent | Family::Locked | Family::Moved | Family::SocketIo
        );
        is_told || kind.family == Family::SocketIo && !is_openhands
    });
    if let Some(kind) = known {
        let version = kind.version.as_deref().map(|version| format!(" {version}"));
        return format!("{}{}", kind.family, version.unwrap_or_default());
    }
    let has_spoken = seen.hops.iter().any(|(_, climbed)| climbed.upgrade().is_some());
    match seen.speech {
        _ if !has_spoken => "a WebSocket".to_owned(),
        Speech::SocketIo if is_openhands => Family::OpenHandsV0.to_string(),
        Speech::SocketIo => Family::SocketIo.to_string(),
        Speech::AgentServer => Family::AgentServer.to_string(),
        Speech::Raw => Family::WebSocket.to_string(),
    }
}

fn human(seen: &Seen, head: &str, checks: &[Vec<Check>]) -> String {
    let outcome = match (seen.connects(), seen.is_cut_short) {
        (true, _) if beyond(seen) == Exit::No => "connects, and does not hold",
        (true, _) => "connects",
        (false, true) => "not seen in time",
        (false, false) => "does not connect",
    };
    let mut out = format!("{head}: {outcome}\n");
    for ((hop, _), rungs) in seen.hops.iter().zip(checks) {
        if seen.hops.len() > 1 {
            out.push_str(&format!("\n  {}: {}\n", hop.name.word(), hop.way.target));
        } else {
            out.push('\n');
        }
        rungs.iter().for_each(|rung| out.push_str(&line(rung)));
    }
    if !seen.further.is_empty() {
        out.push('\n');
    }
    for further in &seen.further {
        out.push_str(&line(&further.check));
        further.lines.iter().for_each(|line| out.push_str(&format!("  {:<10} {line}\n", "")));
    }
    if seen.is_cut_short {
        out.push_str("\nthe time was over before the end was reached; give more: --timeout 60s\n");
    }
    if let Some(found) = &seen.found {
        out.push_str(&cause(seen, found));
    }
    out
}

/// One rung: its name, what was seen, how long it took, and what that is.
pub(crate) fn line(rung: &Check) -> String {
    let word = rung.verdict.word();
    if rung.verdict == Verdict::NotReached {
        return format!("  {:<10} {word}\n", rung.name);
    }
    let took = rung.took_us.map(shown_ms).unwrap_or_default();
    let said = wrapped("", &rung.said, SAID_WIDTH);
    let mut lines = said.lines();
    let first = lines.next().unwrap_or_default();
    let mut out = format!("  {:<10} {first:<SAID_WIDTH$} {took:>12}   {word}\n", rung.name);
    lines.for_each(|line| out.push_str(&format!("  {:<10} {line}\n", "")));
    out
}

fn shown_ms(took_us: u64) -> String {
    format!("{}.{} ms", took_us / 1000, took_us % 1000 / 100)
}

fn cause(seen: &Seen, found: &Found) -> String {
    let sure = match found.certainty {
        Certainty::Certain => "",
        Certainty::Likely => ", most likely: nothing behind it was asked",
    };
    let is_likely_alone = found.certainty == Certainty::Likely && seen.hops.len() > 1;
    let sure = if is_likely_alone { ", most likely" } else { sure };
    let mut out = format!("\ncause  {}  {}{sure}\n", found.cause.id, found.cause.title);
    for line in &found.evidence {
        out.push_str(&wrapped("       ", line, WIDTH));
    }
    out.push_str(&wrapped("       ", found.cause.why, WIDTH));
    match &seen.configuration {
        Some(Ok(configuration)) => {
            if let Some(serving) = &configuration.serving {
                let place = serving.location.as_ref().or(serving.server.as_ref());
                if let Some(place) = place {
                    out.push_str(&wrapped(
                        "       ",
                        &format!("nginx serves it at {place}"),
                        WIDTH,
                    ));
                }
            }
        }
        Some(Err(why)) => {
            let line = format!("nginx's configuration could not be read: {why}");
            out.push_str(&wrapped("       ", &line, WIDTH));
        }
        None => {}
    }
    out.push('\n');
    let mended: Vec<&Finding> =
        found.findings.iter().filter(|finding| !finding.changes.is_empty()).collect();
    if mended.is_empty() {
        for (index, line) in found.cause.mend.iter().enumerate() {
            out.push_str(&format!("{}{line}\n", if index == 0 { "mend   " } else { "       " }));
        }
        return out;
    }
    for finding in mended.iter().take(FINDINGS_SHOWN) {
        let place = format!("{}  {}", finding.place, finding.what);
        out.push_str(&wrapped("mend   ", &place, WIDTH));
        for change in &finding.changes {
            out.push_str(&format!("       {}\n", change.instruction(&finding.place)));
            change.lines.iter().for_each(|line| out.push_str(&format!("           {line}\n")));
        }
    }
    out.push_str("       then:  nginx -t && nginx -s reload\n");
    out
}

/// The frames of each hop, without secrets.
fn frames(seen: &Seen) -> String {
    let redactor = Redactor::default();
    let mut out = String::new();
    for (hop, climbed) in &seen.hops {
        let Climbed::SocketIo(ladder) = climbed else { continue };
        if let Some(Ok(upgrade)) = ladder.upgrade.as_ref().map(|upgrade| &upgrade.value) {
            out.push_str(&format!(
                "\nframes of {}: {}\n",
                hop.name.word(),
                answered(&upgrade.answer)
            ));
        }
        for frame in &ladder.frames {
            let arrow = if frame.is_ours { "->" } else { "<-" };
            let took_us = u64::try_from(frame.after.as_micros()).unwrap_or(u64::MAX);
            let text = redactor.string(&frame.text);
            out.push_str(&format!("  {:>12}  {arrow} {text}\n", shown_ms(took_us)));
        }
    }
    out
}
