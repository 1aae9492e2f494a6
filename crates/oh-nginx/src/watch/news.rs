//! What a watch tells: each thing once, in lines without the time, which the journal has.

use std::collections::{BTreeMap, BTreeSet};

use oh_host::publish::{Published, Step};
use oh_model::hint::Command;
use oh_model::plan::Exclusion;
use oh_model::routes::Routes;
use oh_model::upstream::Target;

use crate::report::{counted, several};

/// How many names or lines of one kind are told at once.
const TOLD_MAX: usize = 20;

/// How many causes of failure are remembered as told.
const CAUSES_MAX: usize = 64;

/// What has been told.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The arguments that commands get.
    carried: Vec<String>,
    routes: BTreeMap<String, Target>,
    exclusions: BTreeSet<Exclusion>,
    conditions: BTreeSet<String>,
    causes: BTreeSet<String>,
    failing: bool,
    begun: bool,
}

impl News {
    /// Has told nothing yet; commands that it names get these arguments.
    pub(crate) fn of(carried: Vec<String>) -> Self {
        Self { carried, ..Self::default() }
    }

    /// Tells what a publish did.
    pub(crate) fn published(&mut self, done: &Published, took_ms: u128) -> Vec<String> {
        let swapped = done.steps.iter().any(|(step, _)| matches!(step, Step::Swap(_)));
        let generation = done.generation.to_string();
        self.served(&generation, &done.routes, swapped, took_ms)
    }

    fn served(
        &mut self,
        generation: &str,
        now: &Routes,
        changed: bool,
        took_ms: u128,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        if self.failing {
            lines.push("publishing works again".to_owned());
        }
        self.failing = false;
        self.causes.clear();
        let routes = paths(now);
        if !self.begun || changed {
            let mut parts = Vec::new();
            if self.begun {
                parts.extend(names("came", routes.iter(), &self.routes));
                parts.extend(names("went", self.routes.iter(), &routes));
            }
            parts.push(counted(now));
            let parts = parts.join("; ");
            lines.push(format!("generation {generation}: {parts}, {took_ms} ms"));
        }
        self.begun = true;
        self.routes = routes;
        lines.extend(self.excluded(&now.exclusions));
        lines
    }

    /// Tells why publishing failed, unless that has been told already.
    pub(crate) fn failed(&mut self, why: &str) -> Vec<String> {
        self.failing = true;
        if self.causes.len() >= CAUSES_MAX {
            self.causes.clear();
        }
        if self.causes.insert(why.to_owned()) { vec![why.to_owned()] } else { Vec::new() }
    }

    /// Tells of conditions that last, when they begin and when they end.
    pub(crate) fn conditions(&mut self, now: impl IntoIterator<Item = String>) -> Vec<String> {
        let now: BTreeSet<String> = now.into_iter().collect();
        let begun = now.difference(&self.conditions).map(|one| format!("warning: {one}"));
        let ended = self.conditions.difference(&now).map(|one| format!("no longer: {one}"));
        let lines = begun.chain(ended).collect();
        self.conditions = now;
        lines
    }

    fn excluded(&mut self, exclusions: &[Exclusion]) -> Vec<String> {
        let now: BTreeSet<Exclusion> = exclusions.iter().cloned().collect();
        let subjects: BTreeSet<&str> = now.iter().map(|one| one.subject.as_str()).collect();
        let begun = now.difference(&self.exclusions).map(|one| format!("not routed: {one}"));
        let ended = self.exclusions.iter().filter(|one| !subjects.contains(one.subject.as_str()));
        let ended = ended.map(|one| format!("no longer refused: {}", one.subject));
        let mut lines = few(begun.collect(), "not routed", &self.carried);
        lines.extend(few(ended.collect(), "no longer refused", &self.carried));
        self.exclusions = now;
        lines
    }
}

fn paths(routes: &Routes) -> BTreeMap<String, Target> {
    let editors = routes.editors.iter().map(|one| (format!("/vscode/{}/", one.id), one.target));
    let apps = routes
        .apps
        .iter()
        .map(|one| (format!("/apps/{}-{}/", one.id, one.index), Target::Port(one.port)));
    editors.chain(apps).collect()
}

/// Names what is in the one and not, or with another port, in the other.
fn names<'r>(
    verb: &str,
    these: impl Iterator<Item = (&'r String, &'r Target)>,
    others: &BTreeMap<String, Target>,
) -> Option<String> {
    let found: Vec<&str> = these
        .filter(|(path, target)| others.get(*path) != Some(target))
        .map(|(path, _)| path.as_str())
        .collect();
    let shown = found.iter().take(TOLD_MAX).copied().collect::<Vec<_>>().join(" ");
    match found.len() {
        0 => None,
        count if count > TOLD_MAX => {
            Some(format!("{verb} {shown} and {}", several(count - TOLD_MAX, "more path")))
        }
        _ => Some(format!("{verb} {shown}")),
    }
}

/// Keeps the first lines, and says how many more there are.
pub(crate) fn few(mut lines: Vec<String>, what: &str, carried: &[String]) -> Vec<String> {
    if lines.len() > TOLD_MAX {
        let more = lines.len() - TOLD_MAX;
        lines.truncate(TOLD_MAX);
        let all = Command::ours("oh-nginx", &["status"]).line(carried);
        lines.push(format!("{what}: {more} more; all of them:  {all}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use oh_model::port::Port;
    use oh_model::routes::{EditorRoute, Owner};
    use oh_model::upstream::Upstream;

    fn routes(ids: &[&str], excluded: &[&str]) -> Routes {
        let editor = |id: &&str| EditorRoute {
            id: (*id).into(),
            target: Target::Port(Port::new(8000).unwrap()),
            upstream: Upstream::default(),
            account: None,
            presents: None,
            folder: None,
            owner: Owner::Session,
        };
        let exclusion =
            |subject: &&str| Exclusion { subject: (*subject).into(), reason: "odd".into() };
        Routes {
            editors: ids.iter().map(editor).collect(),
            exclusions: excluded.iter().map(exclusion).collect(),
            ..Routes::default()
        }
    }

    #[test]
    fn each_thing_is_told_once() {
        let mut news = News::default();
        let mut told = |ids: &[&str], excluded: &[&str], changed| {
            news.served("7-ab", &routes(ids, excluded), changed, 3)
        };
        assert_eq!(
            told(&["a"], &["x"], false),
            ["generation 7-ab: 1 editor, 0 applications, 3 ms", "not routed: x: odd"]
        );
        assert!(told(&["a"], &["x"], false).is_empty());
        assert_eq!(
            told(&["b"], &[], true),
            [
                "generation 7-ab: came /vscode/b/; went /vscode/a/; 1 editor, 0 \
                 applications, 3 ms",
                "no longer refused: x"
            ]
        );
        assert!(told(&["b"], &[], false).is_empty());
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_too() {
        let mut news = News::default();
        assert_eq!(news.failed("torn"), ["torn"]);
        assert!(news.failed("torn").is_empty());
        assert_eq!(news.failed("other"), ["other"]);
        assert!(news.failed("torn").is_empty());
        let lines = news.served("7-ab", &routes(&[], &[]), false, 1);
        assert_eq!(lines[0], "publishing works again");
        assert_eq!(news.failed("torn"), ["torn"]);
    }

    #[test]
    fn twelve_thousand_names_are_not_a_line() {
        let ids: Vec<String> = (0..12_000).map(|number| format!("s{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut news = News::default();
        news.served("7-ab", &routes(&[], &[]), false, 1);
        let lines = news.served("7-ab", &routes(&ids, &ids), true, 1);
        assert!(lines.iter().all(|line| line.len() < 1000));
        assert!(lines[0].contains(" and 11980 more paths"), "{}", lines[0]);
        assert_eq!(lines.len(), 1 + TOLD_MAX + 1);
        let last = lines.last().unwrap();
        assert_eq!(last, "not routed: 11980 more; all of them:  oh-nginx status");
    }

    #[test]
    fn conditions_begin_and_end() {
        let mut news = News::default();
        assert_eq!(news.conditions(["no login".to_owned()]), ["warning: no login"]);
        assert!(news.conditions(["no login".to_owned()]).is_empty());
        assert_eq!(news.conditions([]), ["no longer: no login"]);
    }
}
