//! The reference of keys in Markdown.

use alloc::format;
use alloc::string::{String, ToString as _};

use crate::keys::{Key, TABLES};
use crate::literal::Literal;
use crate::text::wrap;

/// The longest line of the reference, in characters.
const COLUMNS: usize = 100;

/// The longest list that stands on one line, in characters.
const LIST_COLUMNS: usize = 80;

/// Writes docs/config.md.
pub fn reference() -> String {
    let mut text = String::from("# Configuration\n\n");
    for paragraph in [
        "The keys of the toolkit are in the tables below `[toolkit]`, in a file of their own or \
         beside the tables of OpenHands, which are left alone. `--config FILE` names the file; \
         without it, it is `/etc/openhands-toolkit/config.toml`.",
        "The layers, each stronger than the one before: the defaults, the file, the environment, \
         `--set`. The last layer that has a key wins; lists replace each other and are never \
         joined. `config show --origin` tells where each value comes from and what it shadows.",
        "In the environment, `site.domain` is `OHT_SITE__DOMAIN`; on the command line it is \
         `--set site.domain=oh.example`. In both, a number is written in digits, a text without \
         quotation marks, and a list as a TOML array or as items with commas between them. Keys \
         that name commands, paths, users or hosts, or decide who may come in, cannot be set by \
         the environment. Variables beginning with `OHT_TEST_` are passed over.",
        "All faults are reported at once, each with its line and column. A key that does not \
         exist is a fault; in a file with a newer `schema` it is a warning. A number in quotation \
         marks is no number.",
    ] {
        push_paragraph(&mut text, paragraph);
    }
    for table in TABLES {
        text.push_str(&format!("## `[{}]`\n\n", crate::fault::full(table.name)));
        push_paragraph(&mut text, table.doc);
        for key in table.keys() {
            describe(&mut text, key);
        }
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

fn describe(text: &mut String, key: &Key) {
    text.push_str(&format!("### `{}`\n\n", key.path));
    push_paragraph(text, key.doc);
    text.push_str(&format!("- value: {}\n", key.kind.noun()));
    match key.preset.literal() {
        Some(Literal::List(items)) if literal_is_long(&items) => {
            text.push_str("- default, a list of:\n");
            items.iter().for_each(|item| text.push_str(&format!("  - `{item}`\n")));
        }
        Some(literal) => text.push_str(&format!("- default: `{literal}`\n")),
        None => text.push_str("- default: none\n"),
    }
    if let Some(example) = key.example {
        text.push_str(&format!("- example: `{} = {example}`\n", key.name()));
    }
    if key.path == "schema" {
        text.push_str("- set by: the file\n\n");
    } else if key.trusted {
        text.push_str("- set by: the file or `--set`, not the environment\n\n");
    } else {
        text.push_str(&format!("- environment: `{}`\n\n", key.environment_name()));
    }
}

/// Says whether a list is longer than a line.
pub(crate) fn literal_is_long(items: &[Literal]) -> bool {
    Literal::List(items.to_vec()).to_string().chars().count() > LIST_COLUMNS
}

fn push_paragraph(text: &mut String, paragraph: &str) {
    for line in wrap(paragraph, COLUMNS) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push('\n');
}
