//! The layers on top of each other: the last one wins, lists replace, nothing is forgotten.

use alloc::vec::Vec;

use crate::fault::Origin;
use crate::grammar::Parsed;
use crate::keys::{KEYS, Key};
use crate::literal::Literal;
use crate::parse::Written;

/// A key with the value that counts, where it comes from, and what it shadowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The key.
    pub key: &'static Key,
    /// The value; `None` where nobody set a key that has no default.
    pub literal: Option<Literal>,
    /// Where it was written.
    pub origin: Origin,
    /// The values of weaker layers, the strongest first.
    pub shadowed: Vec<Shadowed>,
}

/// A value that a stronger one hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The value.
    pub literal: Literal,
    /// Where it was written.
    pub origin: Origin,
}

/// A key while the layers are checked.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) value: Value,
    /// What the value means; `None` where it is faulty.
    pub(crate) parsed: Option<Parsed>,
    /// The origins of a list's items, where they have some.
    pub(crate) items: Vec<Origin>,
}

/// All keys, in the order of the table.
#[derive(Debug)]
pub(crate) struct Merged(Vec<Slot>);

impl Merged {
    pub(crate) fn slot(&self, path: &str) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.value.key.path == path)
    }

    pub(crate) fn parsed(&self, path: &str) -> Option<&Parsed> {
        self.slot(path).and_then(|slot| slot.parsed.as_ref())
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.0.into_iter().map(|slot| slot.value).collect()
    }
}

/// Merges what the layers set, given weakest first, over the defaults.
pub(crate) fn merge(written: Vec<Written>) -> Merged {
    let mut slots: Vec<_> = KEYS.iter().map(preset).collect();
    for Written { key, literal, origin, items, parsed } in written {
        let Some(slot) = slots.iter_mut().find(|slot| slot.value.key.path == key.path) else {
            continue;
        };
        let value = &mut slot.value;
        let hidden = value.literal.replace(literal);
        let origin = core::mem::replace(&mut value.origin, origin);
        if let Some(literal) = hidden {
            value.shadowed.insert(0, Shadowed { literal, origin });
        }
        slot.parsed = parsed;
        slot.items = items;
    }
    Merged(slots)
}

fn preset(key: &'static Key) -> Slot {
    let literal = key.preset.literal();
    let parsed = match &literal {
        Some(literal) => key.kind.read(literal).ok(),
        None => Some(Parsed::Unset),
    };
    let value = Value { key, literal, origin: Origin::Default, shadowed: Vec::new() };
    Slot { value, parsed, items: Vec::new() }
}
