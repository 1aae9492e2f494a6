//! What of our file is not for people: the keys that nginx presents to editors.
//!
//! A key opens a shell of its editor's user to whoever is on the machine. So the text of our file is a
//! [`SetText`], which shows itself without them, and what quotes a file of nginx's goes through
//! [`without_keys`].

use alloc::string::{String, ToString};
use core::fmt;

use oh_model::instance::Server;

/// What stands in the place of a key.
pub const NOT_SHOWN: &str = "<key>";

/// The text of our file, with the keys that are in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SetText(String);

impl SetText {
    /// Takes the text of our file.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns all of it, for the file itself and for what reads it back.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns it as people and programs may see it.
    pub fn shown(&self) -> String {
        without_keys(&self.0)
    }

    /// Says whether there is a key in it, so that others must not read it.
    pub fn has_keys(&self) -> bool {
        self.shown() != self.0
    }
}

impl fmt::Debug for SetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetText({:?})", self.shown())
    }
}

/// Returns the text with [`NOT_SHOWN`] in the place of each key that is the value of its cookie.
pub fn without_keys(text: &str) -> String {
    Server::ALL
        .iter()
        .fold(text.to_string(), |text, server| without_values(&text, server.key_cookie()))
}

/// Returns the text with [`NOT_SHOWN`] in the place of each value that a name is given (`NAME=…`).
pub fn without_values(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        out.push_str(name);
        match part.strip_prefix('=').map(|value| value.trim_start_matches(in_value)) {
            // A value that is none (`NAME=;`) hides nothing.
            Some(rest) if rest.len() + 1 < part.len() => {
                out.push('=');
                out.push_str(NOT_SHOWN);
                out.push_str(rest);
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// Says whether a character can stand in a key, or in what was meant for one.
fn in_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn keys_are_shown_nowhere() {
        let key = "0f".repeat(32);
        let text = format!("a \"code-server-session={key}\";\nb \"vscode-tkn={key}\";\nc x=1;");
        let shown = "a \"code-server-session=<key>\";\nb \"vscode-tkn=<key>\";\nc x=1;";
        let text = SetText::new(text);
        assert_eq!(text.shown(), shown);
        assert!(text.has_keys() && !format!("{text:?}").contains(&key));
        assert!(!SetText::new(shown.replace("<key>", "")).has_keys());
        assert_eq!(without_keys("vscode-tkn=ab; vscode-tkn"), "vscode-tkn=<key>; vscode-tkn");
    }
}
