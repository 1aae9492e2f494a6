//! The commented example: every key with its documentation, commented out at its default.

use alloc::format;
use alloc::string::String;

use crate::keys::{Key, TABLES};
use crate::literal::Literal;
use crate::text::wrap;
use crate::write_reference::literal_is_long;

/// The longest line of the example, in characters.
const COLUMNS: usize = 98;

/// Where editors find the schema, beside the example.
const SCHEMA_FILE: &str = "./config.schema.json";

/// Writes docs/config.example.toml.
///
/// A comment has a blank after its `#`; a key has none, so that taking the `#` away sets the key
/// to the value that it has anyway. Keys without a default have an example in their comment.
pub fn example() -> String {
    let mut text = format!("#:schema {SCHEMA_FILE}\n\n");
    comment(
        &mut text,
        "The configuration of the toolkit, with every key at its default. These tables may stand \
         in a file of their own or beside those of OpenHands, which are left alone.",
    );
    for table in TABLES {
        text.push('\n');
        comment(&mut text, table.doc);
        text.push_str(&format!("[{}]\n", crate::fault::full(table.name)));
        for key in table.keys() {
            text.push('\n');
            describe(&mut text, key);
        }
    }
    text
}

fn describe(text: &mut String, key: &Key) {
    comment(text, key.doc);
    comment(text, &format!("Value: {}.", key.kind.noun()));
    match key.preset.literal() {
        Some(literal) => {
            if let Some(example) = key.example {
                text.push_str(&format!("# Example: {} = {example}\n", key.name()));
            }
            set(text, key, &literal);
        }
        None => {
            let example = key.example.unwrap_or("");
            text.push_str(&format!("# No default. Example: {} = {example}\n", key.name()));
        }
    }
}

fn set(text: &mut String, key: &Key, literal: &Literal) {
    match literal {
        Literal::List(items) if literal_is_long(items) => {
            text.push_str(&format!("#{} = [\n", key.name()));
            items.iter().for_each(|item| text.push_str(&format!("#{item},\n")));
            text.push_str("#]\n");
        }
        literal => text.push_str(&format!("#{} = {literal}\n", key.name())),
    }
}

fn comment(text: &mut String, paragraph: &str) {
    for line in wrap(paragraph, COLUMNS - 2) {
        text.push_str("# ");
        text.push_str(&line);
        text.push('\n');
    }
}
