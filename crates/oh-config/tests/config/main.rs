//! The crate as its users have it: texts and pairs in, settings or faults out.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests are tests, which clippy sees only in functions marked as such"
)]

mod agreement;
mod draft07;
mod faults;
mod laws;
mod layers;
mod openhands;
mod rules;
mod shown;
mod syntax;

use oh_config::{Faults, Loaded, SourceText, Sources, load};

/// Loads a text as config.toml, without environment and command line.
fn read(text: &str) -> Result<Loaded, Faults> {
    load(&file(text))
}

fn file(text: &str) -> Sources {
    let file = SourceText { path: "config.toml".to_owned(), text: text.to_owned() };
    Sources { file: Some(file), ..Sources::default() }
}

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources { environment: pairs.collect(), ..Sources::default() }
}

fn sets(sets: &[&str]) -> Sources {
    Sources { sets: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() }
}

/// Returns the messages of a text that has faults.
fn blamed(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// Returns the first line of each message, without the hints.
fn first_lines(faults: &Faults) -> Vec<String> {
    faults.0.iter().map(|f| f.to_string().lines().next().unwrap().to_owned()).collect()
}
