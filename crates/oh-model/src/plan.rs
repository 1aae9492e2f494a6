//! A plan: what will be done, as a value that is shown, digested, checked and then carried out.
//!
//! Each tool owns its step type `S`. A step says itself in one line (`Display`); the lines are
//! what people confirm, so the digest is taken over them. A plan leaves no choice to whoever
//! carries it out. What is not done, and why, is part of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of some text, shown as 12 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the digest of the parts, one after the other.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        parts.into_iter().for_each(|part| hasher.update(part.as_bytes()));
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A thing that a plan leaves alone, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exclusion {
    /// What is left alone, as its owner would name it.
    pub subject: String,
    /// Why, as a fragment of a sentence.
    pub reason: String,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

/// What will be done, in order, and what is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<S> {
    /// The steps, in the order in which they are carried out.
    pub steps: Vec<S>,
    /// What is left alone.
    pub exclusions: Vec<Exclusion>,
}

impl<S: fmt::Display> Plan<S> {
    /// Returns the digest over the lines of all steps.
    pub fn digest(&self) -> Digest {
        let lines: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        Digest::of(lines.iter().flat_map(|line| [line.as_str(), "\0"]))
    }

    /// Confirms this plan: whoever carries it out can show that it is the one that was meant.
    pub fn confirm(&self) -> Confirmed {
        Confirmed { digest: self.digest() }
    }
}

/// Consent to one plan, by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    digest: Digest,
}

impl Confirmed {
    /// Says whether the consent was given to this plan.
    pub fn covers<S: fmt::Display>(self, plan: &Plan<S>) -> bool {
        self.digest == plan.digest()
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changed something.
    Done,
    /// It found the world as it was to be.
    AlreadyDone,
}

/// A reason why a plan must not be carried out: the planner erred, so nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection(pub String);

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn consent_is_to_one_plan_only() {
        let plan = Plan { steps: vec!["move a", "move b"], exclusions: vec![] };
        let consent = plan.confirm();
        assert!(consent.covers(&plan));
        let other = Plan { steps: vec!["move a", "move c"], exclusions: vec![] };
        assert!(!consent.covers(&other));
        let glued = Plan { steps: vec!["move amove b"], exclusions: vec![] };
        assert!(!consent.covers(&glued));
    }

    #[test]
    fn a_digest_is_the_sha_256_of_the_text() {
        assert_eq!(Digest::of(["a", "bc"]).to_string(), "ba7816bf8f01");
    }
}
