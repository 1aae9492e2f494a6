//! What is missing, as steps.

use std::fmt;

use oh_model::plan::Plan;

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
        }
    }
}

/// Decides what to do. Editors that are not installed are left out.
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
    for part in Part::ALL {
        let recorded = facts.record.started.get(&part);
        match facts.running.get(&part) {
            Some(identity) if recorded == Some(identity) => {}
            Some(_) => steps.push(Step::Adopt(part)),
            None if part.is_editor() && facts.editor.is_none() => {}
            None => steps.push(Step::Start(part)),
        }
        if facts.starting.contains(&part) {
            steps.push(Step::Await(part));
        }
    }
    if facts.unpublished {
        steps.push(Step::Publish);
    }
    Plan { steps, exclusions: Vec::new() }
}
