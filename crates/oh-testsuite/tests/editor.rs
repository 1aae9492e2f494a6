//! The installed editor works in a browser, down to its terminal.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, wait};

/// A cold start of the editor and its first page, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

fn start_editor(folder: &Path) -> Result<(Running, String)> {
    let user = folder.join("data/User");
    fs::create_dir_all(&user)?;
    fs::write(user.join("settings.json"), editor::SETTINGS)?;
    let mut command = Command::new(components::node()?);
    command
        .arg(components::code_server()?)
        .args(["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry"])
        .args(["--disable-workspace-trust", "--disable-update-check"])
        .arg("--user-data-dir")
        .arg(folder.join("data"))
        .arg(folder)
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .env_remove("XDG_CONFIG_HOME");
    let mut running = Running::start(&mut command)?;
    let line = running.wait_for_line("HTTP server listening on ", BOUND)?;
    let url = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('/').to_owned();
    Ok((running, url))
}

#[test]
fn a_terminal_of_the_editor_writes_a_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_editor, url) = start_editor(folder.path())?;
    let browser = Browser::start()?;
    browser.open(&format!("{url}/?folder={}", folder.path().display()))?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;

    editor::run_command(&browser, "Terminal: Create New Terminal", BOUND)?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    browser.type_text("echo 42 > proof")?;
    browser.press(&[Key::Enter])?;
    wait::until_true("the file that the terminal writes", BOUND, || {
        fs::read_to_string(folder.path().join("proof")).is_ok_and(|text| text == "42\n")
    })
}
