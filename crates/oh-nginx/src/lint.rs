//! `oh-nginx lint`: what in a configuration breaks VS Code or Socket.IO, and the lines that mend it.

use std::collections::BTreeMap;
use std::io::Read as _;

use oh_host::lint::{self, Complaint, Judged, Looked, Wanted};
use oh_host::publish::Host;
use oh_host::signals::Interrupts;
use oh_host::tree::{FILE_BYTES_MAX, TreeFault};
use oh_model::exit::Exit;
use oh_model::path::RealPath;
use oh_nginx_conf::lint::{Change, Finding, Severity, Verb, explain};
use oh_term::{Answer, Common, Failure, text};
use serde_json::{Value, json};

use crate::cli::LintArguments;
use crate::edge::context;

/// How wide a line for people is, in characters.
const WIDTH: usize = 100;

/// The rule of what nginx itself refuses.
const REFUSED_BY_NGINX: &str = "OH-NGX-001";

pub(crate) fn answer(arguments: &LintArguments, common: &Common) -> Result<Answer, Failure> {
    if let Some(id) = &arguments.explain {
        return explained(id);
    }
    let context = context(common)?;
    let wanted = wanted(arguments.file.as_deref(), &context.host)?;
    // Without them we judge all the same; nginx would then outlive us by its time limit.
    let interrupts = Interrupts::listen().ok();
    let looked = lint::look(&context.host, &wanted, arguments.ask, interrupts.as_ref())
        .map_err(|fault| could_not(&fault))?;
    let (findings, nothing) = match oh_nginx_conf::lint::lint(&looked.tree, &looked.known) {
        Ok(findings) => (findings, None),
        // What could not be read as a configuration is said by what refused it.
        Err(_) if matches!(looked.judged, Judged::Refused(_)) => (Vec::new(), None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    if let Some(fault) = nothing {
        return Err(Failure::new(Exit::CouldNotLook, fault)
            .hint("name the main file, such as /etc/nginx/nginx.conf, or a file with a server or locations"));
    }
    Ok(report(&looked, &findings, shown_name(&wanted)).notes(context.warnings))
}

fn explained(id: &str) -> Result<Answer, Failure> {
    match explain(id) {
        Some(text) => {
            // Examples keep their lines.
            let lines = text.lines().map(|line| {
                if line.starts_with(' ') {
                    format!("{line}\n")
                } else {
                    text::wrapped("", line, WIDTH)
                }
            });
            Ok(Answer::new(lines.collect(), json!({ "text": text })))
        }
        None => Err(Failure::new(Exit::Refused, format!("there is no rule {id:?}")).hint(
            "rules are called OH-NGX-101 and the like, 101 for short; docs/lint.md has all of them",
        )),
    }
}

fn wanted(file: Option<&str>, host: &Host) -> Result<Wanted, Failure> {
    let unusable = |path: &str, fault: &dyn std::error::Error| {
        Failure::new(Exit::Refused, format!("{path} cannot be used: {fault}"))
    };
    match file {
        None => {
            let config = &host.settings.nginx.config;
            let real = host.root.real(config).map_err(|fault| unusable(config.as_str(), &fault))?;
            Ok(Wanted::Machine(real))
        }
        Some("-") => Ok(Wanted::Text(stdin()?)),
        Some(path) => {
            let absolute = std::path::absolute(path).map_err(|fault| unusable(path, &fault))?;
            let text = absolute.to_str().unwrap_or(path);
            Ok(Wanted::File(RealPath::parse(text).map_err(|fault| unusable(path, &fault))?))
        }
    }
}

/// Reads what is piped in, with the limit of a file.
fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let could_not =
        |why: String| Failure::new(Exit::CouldNotLook, format!("could not read from stdin: {why}"));
    let read = std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|fault| could_not(fault.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(could_not(format!("it has more than {} MiB", FILE_BYTES_MAX / 1024 / 1024)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn could_not(fault: &TreeFault) -> Failure {
    let source = std::error::Error::source(fault);
    let because = source.map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(Exit::CouldNotLook, plain(&format!("{fault}{because}")))
}

fn shown_name(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Machine(path) | Wanted::File(path) => path.to_string(),
        Wanted::Text(_) => "the text from stdin".into(),
    }
}

/// Writes text of others without what would move a cursor or turn a line around.
fn plain(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().fold(String::new(), |mut out, c| {
        if is_odd(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

fn report(looked: &Looked, findings: &[Finding], name: String) -> Answer {
    let refused: &[Complaint] = match &looked.judged {
        Judged::Refused(complaints) => complaints,
        _ => &[],
    };
    let count =
        |severity| findings.iter().filter(|one| one.sure && one.severity == severity).count();
    let errors = count(Severity::Error) + refused.len();
    let (warnings, notes) = (count(Severity::Warning), count(Severity::Note));
    let unsure = findings.iter().filter(|one| !one.sure).count();
    let exit = match &looked.judged {
        _ if errors > 0 => Exit::No,
        Judged::NotAllowed(_) => Exit::CouldNotLook,
        _ => Exit::Ok,
    };
    let counted = [
        several(errors, "error"),
        several(warnings, "warning"),
        several(notes, "note"),
        (unsure > 0).then(|| format!("{unsure} that the text cannot tell")),
    ];
    let counted: Vec<String> = counted.into_iter().flatten().collect();
    let found = if counted.is_empty() { "nothing found".into() } else { counted.join(", ") };
    let files = looked.tree.files.len();
    let files = if files > 1 { format!(" ({files} files)") } else { String::new() };
    let mut out = format!("{found} in {}{files}\n", plain(&name));
    match &looked.judged {
        Judged::Accepted => out += "nginx accepts it\n",
        Judged::NotAsked(why) => out += &format!("nginx was not asked: {}\n", plain(why)),
        Judged::NotAllowed(why) => {
            out += &format!("nginx could not look, run this as root: {}\n", plain(why));
        }
        Judged::Refused(_) => {}
    }
    refused.iter().for_each(|complaint| out += &refused_text(complaint));
    let mut changes = Changes::default();
    findings.iter().for_each(|finding| out += &finding_text(finding, &mut changes));
    if let Some(id) =
        refused.first().map(|_| REFUSED_BY_NGINX).or(findings.first().map(|one| one.rule.id))
    {
        out += &format!("\nmore: oh-nginx lint --explain {id}\n");
    }
    let mut known = Changes::default();
    let result = json!({
        "file": name,
        "files": looked.tree.files.len(),
        "nginx": judged_json(&looked.judged),
        "errors": errors,
        "warnings": warnings,
        "notes": notes,
        "cannot_tell": unsure,
        "findings": refused.iter().map(refused_json).chain(findings.iter().map(|one| finding_json(one, &mut known))).collect::<Vec<_>>(),
    });
    Answer::new(out, result).exit(exit)
}

fn several(count: usize, what: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    }
}

fn refused_text(complaint: &Complaint) -> String {
    let place = complaint.place.as_ref().map_or_else(|| "nginx".into(), ToString::to_string);
    format!(
        "\n{}  {REFUSED_BY_NGINX}  error\n  {}\n  why: nginx does not start with it, and a reload keeps what was there\n",
        plain(&place),
        plain(&complaint.what)
    )
}

/// The changes so far: several findings may need the same one, which is made once.
#[derive(Default)]
struct Changes<'f>(BTreeMap<Made<'f>, usize>);

/// What a change does: its verb, its file, the bytes, and the lines.
type Made<'f> = (Verb, &'f str, (usize, usize), &'f [String]);

impl<'f> Changes<'f> {
    /// Returns the number of a change, and whether it is there for the first time.
    fn number(&mut self, change: &'f Change) -> (usize, bool) {
        let bytes = (change.span.start, change.span.end);
        let next = self.0.len();
        let made = (change.verb, change.place.path.as_str(), bytes, change.lines.as_slice());
        let number = *self.0.entry(made).or_insert(next);
        (number, number == next)
    }
}

fn finding_text<'f>(finding: &'f Finding, changes: &mut Changes<'f>) -> String {
    let sure =
        if finding.sure { String::new() } else { " if it is so: the text cannot tell".into() };
    let mut out = format!(
        "\n{}  {}  {}{sure}\n{}{}",
        plain(&finding.place.to_string()),
        finding.rule.id,
        finding.severity,
        text::wrapped("  ", &plain(&finding.what), WIDTH),
        text::wrapped("  why: ", first_sentence(finding.rule.why), WIDTH)
    );
    if let Some(step) = finding.next_step() {
        out += &text::wrapped("  next: ", step, WIDTH);
    }
    for change in &finding.changes {
        let head = plain(&change.instruction(&finding.place));
        if !changes.number(change).1 {
            out += &format!("  {}\n", head.replace(", write:", ": the lines above"));
            continue;
        }
        out += &format!("  {head}\n");
        change.lines.iter().for_each(|line| out += &format!("      {}\n", plain(line)));
    }
    out
}

fn first_sentence(text: &str) -> &str {
    text.find(". ").and_then(|at| text.get(..=at)).unwrap_or(text)
}

fn judged_json(judged: &Judged) -> Value {
    match judged {
        Judged::Accepted => json!({ "answer": "accepted" }),
        Judged::Refused(_) => json!({ "answer": "refused" }),
        Judged::NotAllowed(why) => json!({ "answer": "not-allowed", "why": why }),
        Judged::NotAsked(why) => json!({ "answer": "not-asked", "why": why }),
    }
}

fn refused_json(complaint: &Complaint) -> Value {
    json!({
        "rule": REFUSED_BY_NGINX,
        "severity": "error",
        "sure": true,
        "path": complaint.place.as_ref().map(|place| &place.path),
        "line": complaint.place.as_ref().map(|place| place.line),
        "what": complaint.what,
        "why": "nginx does not start with it, and a reload keeps what was there",
        "changes": [],
    })
}

fn finding_json<'f>(finding: &'f Finding, known: &mut Changes<'f>) -> Value {
    let changes = finding.changes.iter().map(|change| {
        let verb = match change.verb {
            Verb::Replace => "replace",
            Verb::Remove => "remove",
            Verb::Add => "add",
            Verb::Append => "append",
        };
        json!({
            // The same number is the same change, to be made once.
            "id": known.number(change).0,
            "verb": verb,
            "path": change.place.path,
            "line": change.place.line,
            "block": change.block,
            "bytes": [change.span.start, change.span.end],
            "lines": change.lines,
        })
    });
    json!({
        "rule": finding.rule.id,
        "severity": finding.severity.to_string(),
        "sure": finding.sure,
        "path": finding.place.path,
        "line": finding.place.line,
        "what": finding.what,
        "why": finding.rule.why,
        "next": finding.next_step(),
        "changes": changes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\\n\\u{202e}b");
        assert_eq!(plain("é ok"), "é ok");
    }

    #[test]
    fn a_why_is_one_line() {
        assert_eq!(first_sentence("a b. c d."), "a b.");
        assert_eq!(first_sentence("a 127.0.0.1 b"), "a 127.0.0.1 b");
    }
}
