//! What is missing, as steps.

use std::fmt;

use oh_model::plan::Plan;

use super::editors::Editor;
use super::facts::Facts;
use super::files::Wanted;
use super::parts::Part;

/// A step on the way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the record of a new sandbox.
    Record,
    /// Make the folders.
    Folders,
    /// Write a file.
    Write(Wanted),
    /// Make a certificate.
    Certificate,
    /// Start a part.
    Start(Part),
    /// Write down what was found running.
    Adopt(Part),
    /// Wait for a part that was found running and does not answer yet.
    Await(Part),
    /// Publish the routes.
    Publish,
    /// Start editors, all at once.
    Editors(Vec<Editor>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("record a new sandbox"),
            Self::Folders => f.write_str("make its folders"),
            Self::Write(wanted) => write!(f, "write {}", wanted.path),
            Self::Certificate => f.write_str("make a certificate for localhost"),
            Self::Start(part) => write!(f, "start {part}"),
            Self::Adopt(part) => write!(f, "write down {part}, found running"),
            Self::Await(part) => write!(f, "wait for {part}, found starting"),
            Self::Publish => f.write_str("publish the routes"),
            Self::Editors(editors) => {
                let names: Vec<String> = editors.iter().map(ToString::to_string).collect();
                write!(f, "start {}", names.join(" and "))
            }
        }
    }
}

/// Decides what to do. Where no editor is installed, so are a session and its application.
pub(crate) fn plan(facts: &Facts) -> Plan<Step> {
    let mut steps = Vec::new();
    if facts.is_new {
        steps.push(Step::Record);
    }
    if !facts.missing.is_empty() || facts.is_new {
        steps.push(Step::Folders);
    }
    steps.extend(facts.missing.iter().cloned().map(Step::Write));
    if facts.certificate_missing {
        steps.push(Step::Certificate);
    }
    for part in [Part::Openhands, Part::Nginx] {
        steps.extend(keep_up(facts, part));
    }
    if facts.unpublished {
        steps.push(Step::Publish);
    }
    let is_down = |editor: &Editor| !facts.editors.contains_key(editor);
    let down: Vec<Editor> = Editor::ALL.into_iter().filter(is_down).collect();
    if facts.editor.is_some() && !down.is_empty() {
        steps.push(Step::Editors(down));
    }
    if facts.editor.is_some() || !is_down(&Editor::Session) {
        steps.extend(keep_up(facts, Part::App));
    }
    Plan { steps, exclusions: Vec::new() }
}

fn keep_up(facts: &Facts, part: Part) -> Vec<Step> {
    let recorded = facts.record.started.get(&part);
    let mut steps = Vec::new();
    match facts.running.get(&part) {
        Some(identity) if recorded == Some(identity) => {}
        Some(_) => steps.push(Step::Adopt(part)),
        None => steps.push(Step::Start(part)),
    }
    if facts.starting.contains(&part) {
        steps.push(Step::Await(part));
    }
    steps
}
