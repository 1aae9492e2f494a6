//! Chromium opens a stand-in's page, and nothing of it is left afterwards.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::process::Running;
use serde_json::json;

const BOUND: Duration = Duration::from_secs(20);

fn stand_in(kind: &str) -> Result<(Running, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut running = Running::start(command.args([kind, "--listen", "127.0.0.1:0"]))?;
    let line = running.wait_for_line("listening on ", BOUND)?;
    let address = line.strip_prefix("listening on ").context("no address")?;
    Ok((running, format!("http://{address}")))
}

#[test]
fn a_page_is_opened_clicked_typed_into_and_pictured() -> Result<()> {
    let (_openhands, openhands) = stand_in("openhands")?;
    let (_app, app) = stand_in("app")?;
    let browser = Browser::start()?;

    browser.open(&openhands)?;
    assert_eq!(browser.title()?, "OpenHands (stand-in)");
    let socket = browser.wait_for("#websocket", BOUND)?;
    browser.wait_until("the WebSocket", BOUND, |browser| Ok(browser.text(&socket)? == "works"))?;

    let folder = tempfile::tempdir()?;
    let picture = folder.path().join("page.png");
    browser.screenshot(&picture)?;
    assert!(fs::read(&picture)?.starts_with(b"\x89PNG\r\n\x1a\n"));

    let form = "document.body.innerHTML = '<input id=a><button id=b>b</button>';
        window.keys = [];
        document.onkeydown = (event) => { event.preventDefault(); keys.push(event.key); };
        document.getElementById('b').onclick = () => keys.push('click');
        document.getElementById('a').focus();
        return arguments[0] + 1;";
    assert_eq!(browser.script(form, &[json!(41)])?, json!(42));
    browser.press(&[Key::F1])?;
    browser.press(&[Key::Control, Key::Character('s')])?;
    browser.type_text("hi")?;
    browser.press(&[Key::Enter])?;
    browser.click(&browser.wait_for("#b", BOUND)?)?;
    let keys = browser.script("return window.keys", &[])?;
    assert_eq!(keys, json!(["F1", "Control", "s", "h", "i", "Enter", "click"]));

    browser.open(&format!("{app}/cookie?path=/&name=n"))?;
    let cookies = browser.cookies()?;
    let cookie = cookies.first().context("no cookie")?;
    assert_eq!((&*cookie.name, &*cookie.path, &*cookie.same_site), ("n", "/", "Lax"));
    assert!(cookie.http_only && !cookie.secure);

    browser.open(&format!("{app}/nope"))?;
    let console = browser.console()?;
    assert!(console.iter().any(|line| line.contains("404")), "{console:?}");
    let error = browser.script("throw new Error('no')", &[]).unwrap_err();
    assert!(error.to_string().contains("javascript error"), "{error}");
    Ok(())
}

#[test]
fn a_dropped_browser_leaves_no_process_and_no_file() -> Result<()> {
    let browser = Browser::start()?;
    let profile = browser.profile().to_path_buf();
    assert!(browser.processes().len() > 2);
    drop(browser);
    assert_eq!(oh_testsuite::browser::processes_of(&profile), Vec::<std::path::PathBuf>::new());
    assert!(!profile.exists());
    Ok(())
}
