//! What both databases have in common: a text, and the object that it says.

use alloc::string::String;
use alloc::vec::Vec;

use super::DatabaseFault;
use super::json::{self, Member, Node};

/// The object of a database, and the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// None where it was not read from a whole text.
    original: Option<String>,
    /// The members of the object.
    pub(super) members: Vec<Member>,
}

impl Text {
    pub(super) const fn new(members: Vec<Member>) -> Self {
        Self { original: None, members }
    }

    pub(super) fn parse(text: &str) -> Result<Self, DatabaseFault> {
        if let Some(why) = json::fault(text) {
            return Err(DatabaseFault::Json(why));
        }
        match Node::parse(text) {
            Some(Node::Object(members)) => Ok(Self { original: Some(text.into()), members }),
            _ => Err(DatabaseFault::Kind { key: "the whole text", wanted: "an object" }),
        }
    }

    /// Writes the object; the very text that was read where the object is the same.
    pub(super) fn render(&self) -> String {
        let object = Node::Object(self.members.clone());
        let original = self.original.as_deref().unwrap_or_default();
        if Node::parse(original).as_ref() == Some(&object) {
            return original.into();
        }
        let mut text = object.print();
        if original.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    pub(super) const fn is_anew(&self) -> bool {
        self.original.is_none()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        json::last(&self.members, name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let found = self.members.iter_mut().rev().find(|member| member.is(name));
        found.map(|member| &mut member.value)
    }
}
