//! What a fault tells beside its message: how the run ends, in which state things are, what to do.
//!
//! The doors to the outside know it, the edge to people prints it, and neither imports the other.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use crate::exit::Exit;
use crate::hint::Hint;

/// A fault that a run can end with.
pub trait Diagnostic: core::error::Error {
    /// Returns how a run ends that failed so.
    fn exit(&self) -> Exit;

    /// Says in which state things are now, in a line of its own.
    fn state(&self) -> Option<String> {
        None
    }

    /// Returns what to do next.
    fn hints(&self) -> Vec<Hint> {
        Vec::new()
    }

    /// Returns the single faults for programs, where it is a list of them.
    fn faults(&self) -> Vec<Value> {
        Vec::new()
    }
}
