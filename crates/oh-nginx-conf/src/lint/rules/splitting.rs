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
use super::super::request::{captured, compiled, variables_in};
use super::super::sample::with_breaks;
use super::{Judge, Said};

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
    let Some(regex) = compiled(pattern, false) else { return false };
    let mut tries = with_breaks(pattern).into_iter().flat_map(|text| {
        // A path begins with `/`, and a pattern need not.
        let path = format!("/{text}");
        [text, path]
    });
    tries.any(|text| {
        let captures = captured(&regex, &text).unwrap_or_default();
        captures.iter().any(|(key, value)| key == name && value.contains(['\r', '\n']))
    })
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
        for (pattern, name) in [
            (r"(?<p>\d+)(?<rest>/.*)", "rest"),
            (r"(?<p>\d+)(?<rest>/[^x]*)", "rest"),
            (r"^/(?<p>\d+)(?<rest>/.*)$", "rest"),
            (r"^/port/(?<p>\d+)(?<rest>/.*)$", "rest"),
            (r"^/vscode/(?<id>\d+)(?<rest>/.*)", "rest"),
            (r"^/apps/(?<app>[a-z]{3}-[0-9]+)/(?<rest>.*)$", "rest"),
            (r"^/(a|b)/c(/.*)?$", "2"),
            (r"^/(?:x|/port/[^/]{2,}/(\w+|[^/]+))", "1"),
            ("^/([^/]+)/", "1"),
            (r"^/v(\s)", "1"),
        ] {
            assert!(captures_break(pattern, name), "{pattern}");
        }
        for (pattern, name) in [
            (r"^/vscode/(?<rest>/[^\x00-\x1f\x7f]*)\z", "rest"),
            ("^/([a-z0-9_-]+)$", "1"),
            (r"^/(?<p>\d+)(?<rest>/.*)$", "p"),
            (r"^/(?<p>\d+)/.*$", "p"),
            (r"^/(a|b|\d+)(/[!-~]*)$", "2"),
            (r"^/(a{1000}){1000}(.*)", "1"),
        ] {
            assert!(!captures_break(pattern, name), "{pattern}");
        }
    }
}
