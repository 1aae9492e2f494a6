//! config.toml: texts and pairs in, validated [`Settings`] out, with the origin of every value.
//!
//! Everything is pure (`no_std`): reading the file, the environment and the command line is the
//! work of `oh-host`, which hands in texts. One table of keys ([`KEYS`]) yields the loader, the
//! JSON Schema ([`schema`]), the commented example ([`example`]), the reference ([`reference()`])
//! and the suggestions; the tests hold them together.
//!
//! Only `[toolkit]` is ours. All other tables of the file belong to OpenHands: they have to be
//! TOML, and beyond that nothing is said about them. This room does not edit files, does not ask
//! whether a path exists, and knows no secret: no key holds one.

#![no_std]

extern crate alloc;

mod fault;
mod grammar;
mod keys;
mod literal;
mod merge;
mod network;
mod pairs;
mod parse;
mod places;
mod settings;
mod show;
mod suggest;
mod syntax;
mod text;
mod validate;
mod write_example;
mod write_reference;
mod write_schema;

use alloc::string::String;
use alloc::vec::Vec;

pub use fault::{Also, Fault, Faults, Layer, Origin};
pub use keys::{KEYS, Key, Kind, Preset, SCHEMA_VERSION, TABLES, Table};
pub use literal::Literal;
pub use merge::{Shadowed, Value};
pub use network::{Domain, HttpUrl, Listen, Scheme, WebOrigin};
pub use places::{HomePath, Owner, RepositoryPath, SessionPath};
pub use settings::{
    Auth, Instances, Isolation, Limits, Nginx, Sessions, Settings, Site, Supervision, Tls,
    Transport, Wscheck,
};
pub use show::{fault_json, report, report_json, show, show_json, show_origin};
pub use write_example::example;
pub use write_reference::reference;
pub use write_schema::schema;

/// Where the configuration is looked for when nobody names a file.
pub const FILE_DEFAULT: &str = "/etc/openhands-toolkit/config.toml";

/// Holds everything that can set a key, weakest layer first; the defaults are below them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file, where there is one.
    pub file: Option<SourceText>,
    /// The environment's pairs; names that do not begin with `OHT_` are passed over.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--set`, as typed: `key=value`.
    pub sets: Vec<String>,
}

/// Holds the text of a file and the path that messages name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// The path as messages show it.
    pub path: String,
    /// The text.
    pub text: String,
}

/// Holds a configuration without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Every key of the table, in its order, with the origin of its value and what it shadowed.
    pub values: Vec<Value>,
    /// What is odd and yet usable, sorted by position.
    pub warnings: Vec<Fault>,
}

/// Reads all layers, merges them (the last layer wins, lists replace) and checks them.
///
/// # Errors
/// [`Faults`]: every fault of every layer, sorted by position. A fault counts even where a
/// stronger layer shadows the value.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut notes = fault::Notes::default();
    let mut written = Vec::new();
    let mut whole = true;
    if let Some(file) = &sources.file {
        whole = parse::read_file(file, &mut written, &mut notes);
    }
    pairs::read_environment(&sources.environment, &mut written, &mut notes);
    pairs::read_sets(&sources.sets, &mut written, &mut notes);

    let merged = merge::merge(written);
    validate::check(&merged, whole, &mut notes);
    notes.sort();
    if !notes.faults.is_empty() {
        return Err(Faults(notes.faults));
    }
    let path = sources.file.as_ref().map_or(FILE_DEFAULT, |file| file.path.as_str());
    match settings::build(&merged, path) {
        Some(settings) => {
            Ok(Loaded { settings, values: merged.into_values(), warnings: notes.warnings })
        }
        // Held by a test over all keys; a fault is still better than a panic in a tool.
        None => Err(Faults(Vec::from([Fault::new(
            Origin::Default,
            "toolkit",
            "the table of keys and the settings disagree, which is a bug of the toolkit",
        )]))),
    }
}
