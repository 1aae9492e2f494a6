//! Text of a request that becomes a line of another request, or of an answer.
//!
//! nginx decodes `%0d%0a` in `$uri` and in what a pattern captures of it. Where that is written
//! into a URI that goes on, or into the head of an answer, a client writes headers of its own.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::finding::{Change, Severity};
use super::super::model::{Matcher, Node, Scope};
use super::super::request::{matched, variables_in};
use super::{Judge, Said};

/// What a client sends to split a line, once it is decoded.
const SPLIT: &str = "\r\n";

/// The longest prefix of a capture that is tried before the line break.
const BEFORE: [&str; 6] = ["", "a", "/", "/a", "1", "/vscode/a"];

pub(super) fn judge(judge: &mut Judge<'_, '_>) {
    for server in judge.config.servers() {
        let mut scopes = Vec::from([server.scope()]);
        scopes.extend(server.locations());
        for scope in scopes {
            let mut found = Vec::new();
            in_block(&scope, scope.level().nodes, None, &mut found);
            for (node, variable) in found {
                say(judge, node, &variable);
            }
        }
    }
}

fn in_block<'c>(
    scope: &Scope<'c>,
    nodes: &'c [Node<'c>],
    condition: Option<&'c Node<'c>>,
    found: &mut Vec<(&'c Node<'c>, String)>,
) {
    let mut pattern = condition.and_then(pattern_of_if);
    for node in nodes {
        let written: &[String] = match node.name {
            "proxy_pass" => node.words,
            "return" => node
                .words
                .get(1..)
                .filter(|_| is_redirect(node))
                .unwrap_or(node.words.get(..1).unwrap_or_default()),
            "add_header" | "proxy_set_header" => node.words.get(1..).unwrap_or_default(),
            "rewrite" => {
                pattern = Some(node.word(0));
                // What `rewrite` itself writes into a URI is encoded again.
                &[]
            }
            "if" if node.block.is_some() => {
                in_block(scope, node.children(), Some(node), found);
                &[]
            }
            _ => &[],
        };
        let names = written.iter().flat_map(|word| variables_in(word));
        let mut splitting = names.filter(|name| splits(scope, name, pattern));
        if let Some(name) = splitting.next() {
            found.push((node, name.to_owned()));
        }
    }
}

/// Says whether a `return` writes a `Location`.
fn is_redirect(node: &Node<'_>) -> bool {
    matches!(node.word(0), "301" | "302" | "303" | "307" | "308")
}

fn pattern_of_if<'c>(node: &'c Node<'c>) -> Option<&'c str> {
    let at = node.words.iter().position(|word| matches!(word.as_str(), "~" | "~*"))?;
    node.words.get(at + 1).map(|word| word.trim_end_matches(')'))
}

/// Says whether a variable can hold a line break of a client's.
fn splits(scope: &Scope<'_>, name: &str, latest: Option<&str>) -> bool {
    if matches!(name, "uri" | "document_uri") {
        // A location of one address has no other.
        return !matches!(scope.location(), Some(Matcher::Exact(_)));
    }
    let own =
        scope.levels.iter().rev().filter_map(|level| level.head).find_map(
            |head| match Matcher::of(head) {
                Matcher::Regex { pattern, .. } if head.name == "location" => Some(pattern),
                _ => None,
            },
        );
    let is_number = name.bytes().all(|b| b.is_ascii_digit());
    let pattern = match (is_number, latest, own) {
        (true, Some(latest), _) => latest,
        (_, _, Some(own)) if is_number || own.contains(&format!("<{name}>")) => own,
        (false, Some(latest), _) if latest.contains(&format!("<{name}>")) => latest,
        _ => return false,
    };
    captures_break(pattern, name)
}

/// Says whether a capture of a pattern can hold a line break: it is tried.
fn captures_break(pattern: &str, name: &str) -> bool {
    let starts = literal_start(pattern);
    let tries = BEFORE.iter().flat_map(|before| {
        [
            format!("{before}{SPLIT}X: y"),
            format!("{starts}{before}{SPLIT}X: y"),
            format!("{before}\rX"),
            format!("{starts}{before}\rX"),
        ]
    });
    let mut tries = tries.filter_map(|text| matched(pattern, false, &text).flatten());
    tries.any(|captures| captures.iter().any(|(key, value)| key == name && value.contains('\r')))
}

/// Returns what a pattern begins with, as far as it is plain text.
fn literal_start(pattern: &str) -> String {
    let text = pattern.strip_prefix('^').unwrap_or(pattern);
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_')).collect()
}

fn say(judge: &mut Judge<'_, '_>, node: &Node<'_>, variable: &str) {
    let is_uri = matches!(variable, "uri" | "document_uri");
    let changes = if is_uri && node.name != "proxy_pass" {
        let text = node.shown();
        let braced = format!("${{{variable}}}");
        let mended =
            text.replace(&braced, "$request_uri").replace(&format!("${variable}"), "$request_uri");
        Vec::from([Change::replace(
            node,
            [mended.replace("$request_uri$is_args$args", "$request_uri")],
        )])
    } else {
        Vec::new()
    };
    judge.say(Said {
        rule: "OH-NGX-512",
        severity: Severity::Error,
        sure: true,
        place: node.place(),
        what: format!(
            "`{}`: ${variable} can hold a line break that a client sent as %0d%0a",
            node.shown()
        ),
        changes,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_tried_with_a_line_break() {
        assert!(
            captures_break("^/vscode/(?<id>\\d+)(?<rest>/.*)", "rest")
                || captures_break("(?<rest>/.*)", "rest")
        );
        assert!(captures_break("^/([^/]+)/", "1") || captures_break("^/([^/]+)", "1"));
        assert!(!captures_break("^/vscode/(?<rest>/[^\\x00-\\x1f\\x7f]*)\\z", "rest"));
        assert!(!captures_break("^/([a-z0-9_-]+)$", "1"));
    }
}
