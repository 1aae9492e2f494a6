//! The answer of `oh-wscheck dev`: whether it works, what stands in the way, and what is set.

use oh_model::check::{Check, Verdict};
use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::redact::Redactor;
use oh_term::checks::Checked;
use oh_term::text::{escaped, several, wrapped};
use oh_term::{Answer, CheckFormat};
use serde_json::{Value, json};

use super::ask::{Asking, Port};
use super::judge::Finding;
use super::rule::{self, Severity};
use super::setup::{Given, Setup};
use crate::rungs;

/// How wide a line for people is, in characters.
const WIDTH: usize = 100;

/// How wide the evidence of a rung is, in characters.
const SAID_WIDTH: usize = 62;

/// How many characters of a value are shown.
const VALUE_CHARS_MAX: usize = 80;

/// Makes the answer, in the format that was asked for.
pub(crate) fn answer(
    setup: &Setup,
    asking: &Asking,
    findings: &[Finding],
    format: CheckFormat,
) -> Answer {
    let redactor = Redactor::default();
    let exit = exit(setup, asking, findings);
    let findings: Vec<Finding> = findings.iter().map(|one| redacted(one, &redactor)).collect();
    let findings = findings.as_slice();
    let head = head(asking, findings);
    let subject = setup.folder.clone();
    let ports = std::iter::once(&asking.server).chain(&asking.vite);
    let of_ports: Vec<(&Port, Vec<Check>)> = ports.map(|port| (port, checks_of(port))).collect();
    let set: Vec<(&str, Given)> = setup
        .set()
        .into_iter()
        .map(|(name, given)| {
            let value = shortened(&redactor.string(&given.value));
            (name, Given { value, ..given })
        })
        .collect();
    let verdict = match exit {
        Exit::Ok if findings.iter().any(|one| one.severity == Severity::Warning) => Verdict::Warned,
        Exit::Ok => Verdict::Passed,
        Exit::No => Verdict::Failed,
        _ => Verdict::Unknown,
    };
    let mut checks: Vec<Check> =
        of_ports.iter().flat_map(|(_, checks)| checks.iter().cloned()).collect();
    checks.extend(findings.iter().map(check));
    let checked =
        Checked { tool: "oh-wscheck", subject: &subject, verdict, summary: &head, checks: &checks };
    let human = match format {
        CheckFormat::Human | CheckFormat::Json => human(&subject, &head, &of_ports, findings, &set),
        CheckFormat::Jsonl => checked.json_lines(),
        CheckFormat::Junit => checked.junit(),
        CheckFormat::Nagios => checked.nagios(),
        CheckFormat::Prometheus => checked.prometheus(),
    };
    let result = json!({
        "summary": head,
        "folder": subject,
        "works": works(asking),
        "is_cut_short": asking.is_cut_short,
        "ports": of_ports.iter().map(|(port, checks)| document_of(port, checks)).collect::<Vec<_>>(),
        "findings": findings.iter().map(document).collect::<Vec<_>>(),
        "set": set.iter().map(|(name, given)| json!({
            "name": name, "value": given.value, "origin": given.origin.to_string(),
        })).collect::<Vec<_>>(),
    });
    let mut answer = Answer::new(human, result).exit(exit);
    answer.plugin_code = Some(verdict.plugin_code());
    let is_for_people = matches!(format, CheckFormat::Human | CheckFormat::Json);
    if let Some(id) = first_id(asking, findings).filter(|_| is_for_people) {
        answer = answer.hint(Hint::run("more", Command::ours("oh-wscheck", &["--explain", id])));
    }
    answer
}

/// A finding repeats what somebody has written.
fn redacted(finding: &Finding, redactor: &Redactor) -> Finding {
    let next = finding.next.iter().map(|line| redactor.string(line)).collect();
    Finding { what: redactor.string(&finding.what), next, ..finding.clone() }
}

/// Explains a rule of this command; nothing where there is none of that name.
pub(crate) fn explained(id: &str) -> Option<Answer> {
    let rule = rule::find(id)?;
    let mut human = format!("{}  {}\n\n", rule.id, rule.title);
    human.push_str(&wrapped("why   ", rule.why, WIDTH));
    human.push_str("seen  by: oh-wscheck dev, which names the place and what to do there\n");
    Some(Answer::new(human, json!({ "id": rule.id, "title": rule.title, "why": rule.why })))
}

fn works(asking: &Asking) -> bool {
    asking.server.works() && asking.vite.as_ref().is_none_or(Port::works)
}

fn exit(setup: &Setup, asking: &Asking, findings: &[Finding]) -> Exit {
    let has_error = findings.iter().any(|one| one.severity == Severity::Error);
    if has_error || !works(asking) && !asking.is_cut_short {
        Exit::No
    } else if asking.is_cut_short {
        Exit::Deadline
    } else if !setup.unread.is_empty() {
        Exit::CouldNotLook
    } else {
        Exit::Ok
    }
}

fn head(asking: &Asking, findings: &[Finding]) -> String {
    let direct = asking.server.works();
    let way = match asking.vite.as_ref().map(Port::works) {
        None if direct => "the WebSocket works",
        None => "the WebSocket does not work",
        Some(true) if direct => "the WebSocket works, directly and through Vite",
        Some(false) if direct => "the WebSocket works directly, and not through Vite",
        Some(true) => "the WebSocket works through Vite, and not on the server's port",
        Some(false) => "the WebSocket works neither directly nor through Vite",
    };
    let count = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let counts =
        [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
            .into_iter()
            .filter(|(severity, _)| count(*severity) > 0)
            .map(|(severity, word)| several(count(severity), word));
    std::iter::once(way.to_owned()).chain(counts).collect::<Vec<_>>().join("; ")
}

/// What to explain: the worst that was found, or why a port does not answer.
fn first_id(asking: &Asking, findings: &[Finding]) -> Option<&'static str> {
    let error = findings.iter().find(|one| one.severity == Severity::Error);
    let of_vite = asking.vite.as_ref().and_then(Port::told_cause);
    let cause = asking.server.told_cause().or(of_vite);
    let other = findings.first();
    error.map(|one| one.rule.id).or(cause.map(|one| one.id)).or(other.map(|one| one.rule.id))
}

fn checks_of(port: &Port) -> Vec<Check> {
    let mut checks = rungs::socket_io(&port.hop, &port.ladder);
    for check in &mut checks {
        port.name.clone_into(&mut check.group);
    }
    if let Some(failed) = checks.iter_mut().find(|check| check.verdict == Verdict::Failed) {
        failed.cause = port.told_cause().map(|cause| cause.id);
    }
    checks
}

fn check(finding: &Finding) -> Check {
    let verdict = match finding.severity {
        Severity::Error => Verdict::Failed,
        Severity::Warning if finding.rule == &rule::UNREAD => Verdict::Unknown,
        Severity::Warning => Verdict::Warned,
        Severity::Note => Verdict::Passed,
    };
    Check {
        name: finding.rule.id.to_owned(),
        group: "setup".to_owned(),
        verdict,
        said: format!("{}: {}; {}", finding.place, finding.rule.title, finding.what),
        took_us: None,
        cause: (verdict == Verdict::Failed).then_some(finding.rule.id),
    }
}

fn human(
    folder: &str,
    head: &str,
    ports: &[(&Port, Vec<Check>)],
    findings: &[Finding],
    set: &[(&str, Given)],
) -> String {
    // A line break in somebody else's word would begin a line of ours.
    let mut out = format!("{head}\nset-up in {}\n", escaped(folder));
    for (port, checks) in ports {
        let shown = if port.name == "vite" { "Vite" } else { "server" };
        out.push_str(&format!("\n{shown} at {}\n", port.hop.way.target));
        // Of a way that works its end is enough.
        let last = checks.last().filter(|_| port.works());
        let shown = last.map_or(checks.as_slice(), std::slice::from_ref);
        shown.iter().for_each(|check| out.push_str(&line(check)));
        if let Some(cause) = port.told_cause() {
            out.push_str(&format!("  cause  {}  {}\n", cause.id, cause.title));
            cause.mend.iter().for_each(|mend| out.push_str(&format!("         {mend}\n")));
        }
    }
    for finding in findings {
        let Finding { rule, severity, place, what, next } = finding;
        out.push_str(&format!("\n{}  {}  {}\n", rule.id, severity.word(), rule.title));
        out.push_str(&wrapped("        ", &escaped(&format!("{place}  {what}")), WIDTH));
        out.push_str(&wrapped("        ", rule.why, WIDTH));
        for (index, line) in next.iter().enumerate() {
            let line = escaped(line);
            out.push_str(&wrapped(if index == 0 { "  next  " } else { "        " }, &line, WIDTH));
        }
    }
    if set.is_empty() {
        return out;
    }
    out.push_str("\nset\n");
    let name_width = set.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let value_width = set.iter().map(|(_, given)| given.value.chars().count()).max();
    let value_width = value_width.unwrap_or_default();
    for (name, Given { value, origin }) in set {
        let (value, origin) = (escaped(value), escaped(&origin.to_string()));
        out.push_str(&format!("  {name:<name_width$}  {value:<value_width$}  {origin}\n"));
    }
    out
}

/// One rung: its name, what was seen, how long it took, and what that is.
fn line(rung: &Check) -> String {
    let word = rung.verdict.word();
    if rung.verdict == Verdict::NotReached {
        return format!("  {:<10} {word}\n", rung.name);
    }
    let took_us = rung.took_us.unwrap_or_default();
    let took = format!("{}.{} ms", took_us / 1000, took_us % 1000 / 100);
    let said = wrapped("", &rung.said, SAID_WIDTH);
    let mut lines = said.lines();
    let first = lines.next().unwrap_or_default();
    let mut out = format!("  {:<10} {first:<SAID_WIDTH$} {took:>12}   {word}\n", rung.name);
    lines.for_each(|line| out.push_str(&format!("  {:<10} {line}\n", "")));
    out
}

fn document_of(port: &Port, checks: &[Check]) -> Value {
    let rungs = checks.iter().map(|rung| {
        let took = rung.took_us.map(std::time::Duration::from_micros);
        json!({
            "name": rung.name,
            "verdict": rung.verdict.word(),
            "said": rung.said,
            "ms": took.map(|took| took.as_secs_f64() * 1000.0),
            "cause": rung.cause,
        })
    });
    json!({
        "name": port.name,
        "target": port.hop.way.target.to_string(),
        "connects": port.works(),
        "cause": port.told_cause().map(|cause| cause.id),
        "rungs": rungs.collect::<Vec<_>>(),
    })
}

fn document(finding: &Finding) -> Value {
    json!({
        "id": finding.rule.id,
        "severity": finding.severity.word(),
        "title": finding.rule.title,
        "place": finding.place,
        "what": finding.what,
        "why": finding.rule.why,
        "next": finding.next,
    })
}

fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if text.chars().count() > VALUE_CHARS_MAX {
        out.push('…');
    }
    out.replace(['\n', '\r'], " ")
}
