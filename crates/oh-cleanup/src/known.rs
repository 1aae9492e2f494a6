//! The ids that there are: one that was asked for and that nothing has is a slip, and looks like a machine
//! that is clean.

use std::collections::BTreeSet;

use oh_model::exit::Exit;
use oh_model::hint::{Command, Hint};
use oh_model::leftover;
use oh_term::Failure;

use crate::facts::Facts;
use crate::plan;
use crate::request::Request;

/// How many ids are told; the most alike come first.
const TOLD_MAX: usize = 20;

/// Refuses ids that nothing has, whatever kinds of things are asked for.
pub(crate) fn refuse_unknown(facts: &Facts, request: &Request) -> Result<(), Failure> {
    if request.ids.is_empty() {
        return Ok(());
    }
    let (told, of_names) = ids(facts);
    let is_unknown = |id: &&String| !told.contains(*id) && !of_names.contains(*id);
    let unknown: Vec<&String> = request.ids.iter().filter(is_unknown).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let all: Vec<String> = unknown.iter().map(|id| id.escape_debug().to_string()).collect();
    let what = format!("nothing that is seen here has the id {}", all.join(", or "));
    let failure = Failure::new(Exit::Refused, what).state("nothing was changed");
    let taken = Hint::run("what was taken before", Command::ours("oh-cleanup", &["runs"]));
    Err(failure.hint(Hint::from(there_are(first, &told))).hint(taken))
}

/// The ids, folded, that are known as such, and all that names of left-overs may speak of.
fn ids(facts: &Facts) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut told = facts.known_ids.clone();
    told.extend(facts.editors.iter().filter_map(|editor| Some(editor.id.as_ref()?.folded())));
    told.extend(facts.entries.iter().map(|entry| entry.id.to_ascii_lowercase()));
    told.extend(facts.sessions.iter().map(|session| session.id.to_ascii_lowercase()));
    for file in &facts.generated {
        let routes = file.content.iter().flat_map(|content| &content.routes);
        told.extend(routes.map(|route| route.id.as_str().to_ascii_lowercase()));
        told.insert(file.stem.to_ascii_lowercase());
    }
    let mut of_names: BTreeSet<String> =
        facts.editors.iter().flat_map(|editor| plan::ids(editor, facts)).collect();
    for one in &facts.leftovers {
        let name = String::from_utf8_lossy(one.thing.name.as_bytes());
        of_names.extend(leftover::ids(&name));
        // What is others' has any name they like.
        told.extend(leftover::id(&name).filter(|_| one.is_owned));
    }
    (told, of_names)
}

fn there_are(wanted: &str, told: &BTreeSet<String>) -> String {
    let alike = |id: &str| id.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let mut all: Vec<&String> = told.iter().collect();
    all.sort_by_key(|id| core::cmp::Reverse(alike(id)));
    let more = all.len().saturating_sub(TOLD_MAX);
    let shown = all.iter().take(TOLD_MAX).map(|id| id.escape_debug().to_string());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match (all.is_empty(), more) {
        (true, _) => "there is no id here at all".to_owned(),
        (false, 0) => format!("the ids there are: {shown}"),
        (false, more) => format!("the ids there are: {shown}, and {more} more"),
    }
}
