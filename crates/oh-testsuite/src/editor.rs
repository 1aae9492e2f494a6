//! What a person does in the editor's page, done through [`crate::browser`].

use std::time::Duration;

use anyhow::Result;

use crate::browser::{Browser, Key};

/// User settings under which nothing but the test takes the focus: a chat and a welcome page
/// would, whenever they happen to be ready. They go to `User/settings.json` in the user data.
pub const SETTINGS: &str = r#"{"chat.disableAIFeatures": true, "workbench.startupEditor": "none"}"#;

/// How long the palette may take to list a command before it is opened anew.
const LIST_BOUND: Duration = Duration::from_secs(3);

/// Runs a command by its full name through the command palette.
///
/// The palette does not take up a command that is registered after it was asked, so it is opened
/// again until the command is there; Enter before that would run a similar one.
///
/// # Errors
///
/// When the command is not listed within `bound`.
pub fn run_command(browser: &Browser, name: &str, bound: Duration) -> Result<()> {
    let row = format!(".quick-input-list .monaco-list-row.focused[aria-label^='{name}']");
    browser.wait_until(&format!("the command {name:?}"), bound, |browser| {
        browser.press(&[Key::Escape])?;
        browser.press(&[Key::F1])?;
        if browser.wait_for(".quick-input-widget input:focus", LIST_BOUND).is_err() {
            return Ok(false);
        }
        browser.type_text(name)?;
        Ok(browser.wait_for(&row, LIST_BOUND).is_ok())
    })?;
    browser.press(&[Key::Enter])
}
