//! The rules on texts: every example of the table, our own file, parts of configurations, and
//! hostile texts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use oh_nginx_conf::inspect::{File, Tree};
use oh_nginx_conf::lint::{
    Finding, HEALTHY, KeyKind, Known, RULES, Rule, Setting, Severity, Upstream, UpstreamKind,
    explain, lint,
};
use oh_nginx_conf::parse::parse;
use oh_nginx_conf::version::NginxVersion;
use proptest::prelude::*;

fn tree(text: &str) -> Tree {
    let file = File {
        path: "/site".into(),
        text: text.into(),
        directives: parse(text).unwrap(),
        includes: Vec::new(),
    };
    Tree { files: vec![file] }
}

fn known(setting: Setting) -> Known {
    let upstream = |kind, asks_login| Upstream { kind, asks_login };
    let patch = if setting == Setting::NewNginx { 4 } else { 1 };
    let minor = if setting == Setting::NewNginx { 27 } else { 22 };
    Known {
        nginx: Some(NginxVersion { major: 1, minor, patch }),
        upstreams: BTreeMap::from([
            ("127.0.0.1:8888".into(), upstream(UpstreamKind::CodeServer, Some(false))),
            ("127.0.0.1:8889".into(), upstream(UpstreamKind::OpenVsCodeBase, None)),
            ("127.0.0.1:8890".into(), upstream(UpstreamKind::OpenVsCode, None)),
        ]),
        certificates: BTreeMap::from([("/etc/ssl/oh/fullchain.pem".into(), KeyKind::Ecdsa)]),
        left_out: match setting {
            Setting::LeftOut => vec!["/etc/nginx/vscode-projects/*.conf".into()],
            _ => Vec::new(),
        },
        ..Known::default()
    }
}

fn changed(changes: &[(&str, &str)], rule: &Rule) -> String {
    changes.iter().fold(HEALTHY.to_owned(), |text, (before, after)| {
        assert_eq!(text.matches(before).count(), 1, "{}: {before:?}", rule.id);
        text.replace(before, after)
    })
}

fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| {
        let sure = if finding.sure { "" } else { " (cannot tell)" };
        format!("{} {} {}{sure}: {}\n", finding.rule.id, finding.place, finding.severity, finding.what)
    });
    told.collect()
}

fn found(text: &str, known: &Known) -> Vec<Finding> {
    lint(&tree(text), known).unwrap()
}

/// Without nginx, its own rule has no example here.
fn with_examples() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| rule.id != "OH-NGX-001")
}

#[test]
fn a_healthy_configuration_is_silent() {
    assert_eq!(told(&found(HEALTHY, &known(Setting::Usual))), "");
}

#[test]
fn each_failing_example_has_exactly_its_rule_and_each_passing_one_none() {
    let mut wrong = String::new();
    for rule in with_examples() {
        if rule.setting == Setting::LeftOut {
            continue; // What is left out is not in any text.
        }
        let known = known(rule.setting);
        let failing = found(&changed(rule.failing, rule), &known);
        let ids: BTreeSet<&str> = failing.iter().map(|finding| finding.rule.id).collect();
        if ids != BTreeSet::from([rule.id]) {
            wrong += &format!("{} fails as:\n{}", rule.id, told(&failing));
        }
        if failing.iter().any(|finding| finding.severity < rule.severity) {
            wrong += &format!("{} is worse than it says:\n{}", rule.id, told(&failing));
        }
        let passing = found(&changed(rule.passing, rule), &known);
        if !passing.is_empty() {
            wrong += &format!("{} passes as:\n{}", rule.id, told(&passing));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_left_out_is_named() {
    let known = known(Setting::LeftOut);
    assert_eq!(
        told(&found(HEALTHY, &known)),
        "OH-NGX-212 /site:39 error: /etc/nginx/vscode-projects/*.conf is there, and no include brings it in\n"
    );
}

#[test]
fn the_rules_are_in_order_and_have_pages() {
    let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for rule in RULES {
        let page = explain(&rule.id.to_ascii_lowercase()).unwrap();
        assert!(page.contains(rule.why) && page.contains(rule.source), "{page}");
    }
    assert_eq!(explain("OH-NGX-999"), None);
}

/// Applies all changes of the findings of one text.
fn mended(text: &str, findings: &[Finding]) -> String {
    let mut changes: Vec<_> = findings.iter().flat_map(|finding| &finding.changes).collect();
    changes.sort_by_key(|change| (change.span.start, change.span.end));
    changes.dedup();
    changes.iter().rev().fold(text.to_owned(), |mut text, change| {
        text.replace_range(change.span.clone(), &format!("\n{}\n", change.lines.join("\n")));
        text
    })
}

#[test]
fn the_printed_lines_silence_the_rule() {
    let mut wrong = String::new();
    for rule in with_examples() {
        let known = known(rule.setting);
        let text = if rule.setting == Setting::Usual { changed(rule.failing, rule) } else { HEALTHY.into() };
        let first = found(&text, &known);
        if first.iter().all(|finding| finding.changes.is_empty()) || rule.setting == Setting::LeftOut {
            continue;
        }
        let text = mended(&text, &first);
        let after = found(&text, &known);
        if after.iter().any(|finding| finding.rule.id == rule.id || finding.severity == Severity::Error) {
            wrong += &format!("{}:\n{}{}\n", rule.id, told(&after), text);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_text_makes_the_rules_panic(cut in 0_usize..200, line in "[a-z$~^(){}|*+.;\"'/ 0-9\\\\]{0,60}") {
        let mut lines: Vec<&str> = HEALTHY.lines().collect();
        let at = cut % lines.len();
        lines[at] = &line;
        let text = lines.join("\n");
        if let Ok(directives) = parse(&text) {
            let file = File { path: "/x".into(), text, directives, includes: Vec::new() };
            drop(lint(&Tree { files: vec![file] }, &Known::default()));
        }
    }
}
