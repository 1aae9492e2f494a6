//! What somebody typed into an editor and did not save, in a browser that is gone: `oh-cleanup` keeps it.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "one editor is enough here")]
mod scene;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::{editor, wait};
use scene::Scene;

/// How long the workbench may take to come up, on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// How long the page may take to answer a key.
const KEYS_BOUND: Duration = Duration::from_secs(3);

const TYPED: &str = "nowhere else";

/// Says whether a file below a folder has a text.
fn has_text(folder: &Path, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            has_text(&path, text)
        } else {
            fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        }
    })
}

#[test]
fn what_was_typed_and_not_saved_is_kept() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    let settings = scene.instances.lab.at(&format!("tmp/code-server-userdata-old-{}", old.port));
    fs::create_dir_all(settings.join("User"))?;
    fs::write(settings.join("User/settings.json"), editor::SETTINGS)?;
    let browser = Browser::start()?;
    browser.open(&format!("http://127.0.0.1:{}/", old.port))?;
    browser.wait_for(".monaco-workbench .part.editor", BOUND)?;
    // Its keys are taken up when its commands are there.
    browser.wait_until("an untitled file", BOUND, |browser| {
        browser.press(&[Key::Control, Key::Alt, Key::Character('n')])?;
        Ok(browser.wait_for(".monaco-editor.focused", KEYS_BOUND).is_ok())
    })?;
    browser.type_text(TYPED)?;
    wait::until_true("what was typed to be on the disk", BOUND, || has_text(&settings, TYPED))?;
    drop(browser);

    let said = wait::until("nobody to be connected", BOUND, || {
        let said = scene.run(&["--all", "--yes", "--older-than", "0s"])?.expect(0)?;
        Ok(old.is_over().then_some(said))
    })?;
    ensure!(said.stdout.contains("not saved (--force-unsaved)"), "{said:?}");
    ensure!(has_text(&settings, TYPED), "{said:?}");
    scene.run(&["--all", "--yes", "--older-than", "0s", "--force-unsaved"])?.expect(0)?;
    ensure!(!settings.exists());
    Ok(())
}
