//! The rules as people read them: one at a time, or all as a page.

use alloc::format;
use alloc::string::String;

use super::finding::Severity;
use super::table::{HEALTHY, Rule, Setting, find, rules};

/// Returns the page of one rule as plain text.
pub fn explain(id: &str) -> Option<String> {
    let rule = find(id)?;
    let mut out = format!("{}  {}  {}\n\n{}\n", rule.id, rule.severity, rule.title, rule.why);
    for (title, text) in examples(rule) {
        out.push_str(&format!("\n{title}:\n\n"));
        text.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    out.push_str(&format!("\nknown from: {}\n", rule.source));
    Some(out)
}

/// Returns the page of all rules, in Markdown.
pub fn reference() -> String {
    let mut out = String::from(
        "# What `oh-nginx lint` finds\n\n\
         Written by `cargo xtask docs` from the table of rules; edit it there. Each example is a change \
         of the healthy configuration at the end of this page, and a test gives both to the linter and \
         to nginx.\n\n| rule | | what |\n|---|---|---|\n",
    );
    for rule in rules() {
        let anchor = rule.id.to_ascii_lowercase();
        out.push_str(&format!(
            "| [{}](#{anchor}) | {} | {} |\n",
            rule.id, rule.severity, rule.title
        ));
    }
    for rule in rules() {
        out.push_str(&format!(
            "\n## {}\n\n**{}**, {}. {}\n",
            rule.id,
            capital(rule.title),
            rule.severity,
            rule.why
        ));
        for (title, text) in examples(rule) {
            out.push_str(&format!("\n{title}:\n\n```nginx\n{text}```\n"));
        }
        out.push_str(&format!("\nKnown from: {}.\n", rule.source));
    }
    out.push_str(&format!("\n## A healthy configuration\n\n```nginx\n{HEALTHY}```\n"));
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Returns what is shown of a rule's examples, each with its title.
fn examples(rule: &Rule) -> impl Iterator<Item = (&'static str, String)> {
    let failing = shown(rule.failing.iter().map(|(_, after)| *after));
    // Where the healthy file itself is the example, its lines stand there.
    let lines = rule.failing.iter().map(|(before, _)| *before);
    let passing = if rule.passing.is_empty() {
        shown(lines)
    } else {
        shown(rule.passing.iter().map(|(_, after)| *after))
    };
    let is_shown = rule.setting == Setting::Usual && rule.severity <= Severity::Note;
    let failing = if failing.is_empty() && !rule.failing.is_empty() && is_shown {
        String::from("# the line below is not there\n")
    } else {
        failing
    };
    let pairs = [("fails", failing), ("passes", passing)];
    pairs.into_iter().filter(|(_, text)| !text.is_empty())
}

/// Puts fragments below each other, without the indentation that all of their lines have.
fn shown(parts: impl Iterator<Item = &'static str>) -> String {
    let mut out = String::new();
    for part in parts.filter(|part| !part.is_empty()) {
        let depth =
            part.lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
        for line in part.lines() {
            out.push_str(line.get(depth..).unwrap_or(line));
            out.push('\n');
        }
    }
    out
}
