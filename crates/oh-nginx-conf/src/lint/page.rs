//! The rules as people read them: one at a time, or all as a page.

use alloc::format;
use alloc::string::String;

use super::table::{HEALTHY, Rule, find, rules};

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
    let failing = fragment(rule.failing, Side::After);
    // Where the healthy file itself is the example, its lines stand there.
    let passing = match rule.passing {
        [] => fragment(rule.failing, Side::Before),
        changes => fragment(changes, Side::After),
    };
    let pairs = [("Fails", failing), ("Passes", passing)];
    pairs.into_iter().filter(|(_, text)| !text.is_empty())
}

/// Which side of a change is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Shows changes as whole lines, below each other, without the indentation that they share.
fn fragment(changes: &[(&str, &str)], side: Side) -> String {
    let mut out = String::new();
    for (before, after) in changes {
        let Some((head, tail)) = HEALTHY.split_once(before) else { continue };
        let start = head.rsplit('\n').next().unwrap_or_default();
        let end = tail.split_inclusive('\n').next().filter(|_| !before.ends_with('\n'));
        let chosen = if side == Side::Before { before } else { after };
        if chosen.is_empty() {
            out.push_str(&unindented(before, "# not there: "));
        } else {
            out.push_str(&unindented(&format!("{start}{chosen}{}", end.unwrap_or_default()), ""));
        }
    }
    out
}

fn unindented(text: &str, mark: &str) -> String {
    let depth = text.lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let lines = text.lines().map(|line| line.get(depth..).unwrap_or(line));
    lines.map(|line| format!("{mark}{line}\n")).collect()
}
