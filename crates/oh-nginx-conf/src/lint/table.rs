//! Every rule: what it is called, why it is one, and the lines that fail and pass.
//!
//! An example is a change of [`HEALTHY`]: each pair is a text of it and what takes its place. So
//! every example is a whole configuration, which a test gives to the rules and to nginx.

use super::finding::Severity;

mod headers;
mod limits;
mod paths;
mod security;
mod syntax;
mod tls;

/// A configuration in which nothing is found.
pub const HEALTHY: &str = include_str!("../../../../fixtures/lint/healthy.conf");

/// What an example is judged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// code-server without a login on 8888, openvscode-server with a base path on 8889 and without
    /// one on 8890, an ECDSA certificate.
    Usual,
    /// The same, under an nginx that has `keepalive_min_timeout`.
    NewNginx,
    /// The same, with files in `/etc/nginx/vscode-projects` that nobody includes.
    LeftOut,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name for ever.
    pub id: &'static str,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// How much it matters at most.
    pub severity: Severity,
    /// What happens otherwise.
    pub why: &'static str,
    /// Changes of [`HEALTHY`] in which it finds something.
    pub failing: &'static [(&'static str, &'static str)],
    /// Changes in which it finds nothing; none where that is [`HEALTHY`] as it is.
    pub passing: &'static [(&'static str, &'static str)],
    /// What the example is judged with.
    pub setting: Setting,
    /// Where this is known from.
    pub source: &'static str,
}

/// All rules by their subjects, in the order of their names.
const GROUPS: [&[Rule]; 6] =
    [syntax::RULES, headers::RULES, paths::RULES, limits::RULES, tls::RULES, security::RULES];

/// Returns all rules, in the order of their names.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    GROUPS.into_iter().flatten()
}

/// Returns the rule of that name, of its end (`NGX-101`), or of its number alone, where there is
/// only one such.
pub(super) fn find(name: &str) -> Option<&'static Rule> {
    if let Some(rule) = rules().find(|rule| rule.id.eq_ignore_ascii_case(name)) {
        return Some(rule);
    }
    let mut found = rules().filter(|rule| is_short_for(name, rule.id));
    found.next().filter(|_| found.next().is_none())
}

/// Says whether a short name is the end of a rule's name from one of its parts on.
fn is_short_for(name: &str, id: &str) -> bool {
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    let mut ends = id.match_indices('-').filter_map(|(at, _)| id.get(at + 1..));
    ends.any(|end| {
        end.eq_ignore_ascii_case(name) || number(name).is_some_and(|it| number(end) == Some(it))
    })
}
