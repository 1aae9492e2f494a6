//! In a browser: the login, the workbench of a session through nginx, its terminal, its files and
//! nobody else's, the repository's editor, the application, and whose cookies go where.

#[path = "sandbox/deployment.rs"]
mod deployment;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use deployment::{Deployment, With, carriers, naming};
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::wait;
use serde_json::{Value, json};

/// A cold start of an editor's page, on two busy cores.
const BOUND: Duration = Duration::from_secs(90);

/// Where the picture of a test is kept.
fn picture(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let folder = target.context("cargo's target folder has its mark")?.join("screenshots");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{name}.png")))
}

/// Opens a workbench and waits until it shows the files of its folder.
fn open_workbench(browser: &Browser, url: &str) -> Result<()> {
    browser.open(url)?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
    browser.wait_until("the files of the folder", BOUND, |browser| {
        Ok(explorer(browser)?.contains("README.md"))
    })?;
    no_dialog(browser)
}

/// Returns what the explorer shows.
fn explorer(browser: &Browser) -> Result<String> {
    let text = "return document.querySelector('.explorer-folders-view')?.innerText ?? ''";
    Ok(browser.script(text, &[])?.as_str().unwrap_or_default().to_owned())
}

/// Demands that the workbench complains about nothing, a lost WebSocket above all.
fn no_dialog(browser: &Browser) -> Result<()> {
    let text =
        "return [...document.querySelectorAll('.monaco-dialog-box')].map((d) => d.innerText)";
    let dialogs = browser.script(text, &[])?;
    ensure!(dialogs == json!([]), "a dialog: {dialogs}");
    Ok(())
}

/// Runs a command of the palette.
fn command(browser: &Browser, name: &str) -> Result<()> {
    browser.wait_until("the command palette", BOUND, |browser| {
        browser.press(&[Key::F1])?;
        Ok(!browser.find_all(".quick-input-widget input:focus")?.is_empty())
    })?;
    browser.type_text(name)?;
    browser.wait_for(".quick-input-list .monaco-list-row.focused", BOUND)?;
    browser.press(&[Key::Enter])
}

/// Types a line into a new terminal.
fn type_into_terminal(browser: &Browser, line: &str) -> Result<()> {
    command(browser, "Terminal: Create New Terminal")?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    browser.type_text(line)?;
    browser.press(&[Key::Enter])
}

/// Returns the names of the cookies that the server gets at an address, as the application shows.
fn cookies_sent(browser: &Browser, url: &str) -> Result<String> {
    let ask = "return fetch(arguments[0]).then((answer) => answer.json())";
    let shown = browser.script(ask, &[json!(url)])?;
    Ok(shown["headers"]["cookie"].as_str().unwrap_or_default().to_owned())
}

fn works_in_a_browser(with: With, name: &str) -> Result<()> {
    let sandbox = Deployment::new(with)?;
    sandbox.up()?.expect(0)?;
    let record = sandbox.record()?;
    let (session, workspace) = (sandbox.session()?, sandbox.workspace()?);
    let browser = Browser::start()?;

    // The login is asked for and answered once; later addresses carry none, so that relative
    // requests of the pages work.
    let (user, password) = sandbox.login()?;
    let with_login = sandbox.url("/alive")?.replacen("://", &format!("://{user}:{password}@"), 1);
    browser.open(&with_login)?;
    ensure!(browser.source()?.contains("ok"), "{}", browser.source()?);
    browser.open(&sandbox.url("/")?)?;
    let socket = browser.wait_for("#websocket", BOUND)?;
    browser.wait_until("the WebSocket", BOUND, |browser| Ok(browser.text(&socket)? == "works"))?;

    // The session: its bare address opens its workspace.
    fs::write(workspace.join("only-in-the-session.txt"), "x")?;
    fs::write(sandbox.repository().join("only-in-the-repository.txt"), "x")?;
    open_workbench(&browser, &sandbox.url(&format!("/vscode/{session}/"))?)?;
    let opened = format!("/vscode/{session}/?folder={}", workspace.display());
    assert_eq!(browser.url()?, sandbox.url(&opened)?);
    let files = explorer(&browser)?;
    ensure!(files.contains("only-in-the-session.txt"), "{files}");
    ensure!(!files.contains("only-in-the-repository.txt"), "{files}");
    assert_eq!(browser.script("return window.isSecureContext", &[])?, json!(true));

    type_into_terminal(&browser, "pwd > proof; setsid sleep 1000 & disown; echo it works")?;
    let proof = workspace.join("proof");
    wait::until_true("the file that the terminal writes", BOUND, || {
        fs::read_to_string(&proof).is_ok_and(|text| text == format!("{}\n", workspace.display()))
    })?;
    ensure!(!sandbox.repository().join("proof").exists(), "it is in the repository too");
    browser.wait_until("the new file in the explorer", BOUND, |browser| {
        Ok(explorer(browser)?.contains("proof"))
    })?;
    no_dialog(&browser)?;
    browser.screenshot(&picture(&format!("{name}-session"))?)?;

    // A cookie of the editor's scripts and of the application stay where they were set.
    let app = format!("/apps/{session}-0/");
    browser.open(&sandbox.url(&app)?)?;
    ensure!(browser.source()?.contains("stand-in for a web application"), "{}", browser.source()?);
    browser.open(&sandbox.url(&format!("{app}cookie?name=of-the-app&path=/"))?)?;
    let cookies = browser.cookies()?;
    let paths: Vec<_> = cookies.iter().map(|cookie| (&*cookie.name, &*cookie.path)).collect();
    ensure!(paths.contains(&("of-the-app", &*app)), "{paths:?}");
    let sent = cookies_sent(&browser, &sandbox.url(&format!("{app}headers"))?)?;
    ensure!(sent.contains("of-the-app=value"), "{sent}");
    for other in [format!("/vscode/{session}/login"), "/vscode/hello/login".into(), "/alive".into()]
    {
        browser.open(&sandbox.url(&other)?)?;
        let cookies = browser.cookies()?;
        ensure!(cookies.iter().all(|cookie| cookie.name != "of-the-app"), "{other}: {cookies:?}");
    }

    // The repository opens its own folder.
    open_workbench(&browser, &sandbox.url("/vscode/hello/")?)?;
    let files = explorer(&browser)?;
    ensure!(files.contains("only-in-the-repository.txt"), "{files}");
    ensure!(!files.contains("only-in-the-session.txt") && !files.contains("proof"), "{files}");
    let title = browser.title()?;
    ensure!(title.contains("hello"), "{title}");
    browser.screenshot(&picture(&format!("{name}-repository"))?)?;

    // A cookie of the editor is not sent to the application.
    browser.script("document.cookie = 'of-the-editor=value'", &[])?;
    let of_editor = browser.cookies()?;
    ensure!(of_editor.iter().any(|cookie| cookie.name == "of-the-editor"), "{of_editor:?}");
    browser.open(&sandbox.url(&app)?)?;
    let sent = cookies_sent(&browser, &sandbox.url(&format!("{app}headers"))?)?;
    ensure!(sent == "of-the-app=value", "{sent}");

    // A job that left its terminal, and the terminal itself, go down with everything else.
    drop(browser);
    let tokens = [sandbox.token_of(&session)?, sandbox.token_of("hello")?];
    let of_session = carriers(&tokens[0])?;
    ensure!(of_session.contains_key("") && of_session.contains_key("supervisor"), "{of_session:?}");
    sandbox.down()?.expect(0)?;
    for token in tokens {
        let left = carriers(&token)?;
        ensure!(left.is_empty(), "processes are left: {left:?}");
    }
    is_gone(&sandbox, &record)
}

fn is_gone(sandbox: &Deployment, record: &Value) -> Result<()> {
    let left = carriers(record["token"].as_str().context("no token")?)?;
    ensure!(left.is_empty(), "processes are left: {left:?}");
    let left = naming(&sandbox.dir())?;
    ensure!(left.is_empty(), "processes are left: {left:?}");
    Ok(())
}

#[test]
fn the_sandbox_works_in_a_browser_over_tls() -> Result<()> {
    works_in_a_browser(With::Everything, "tls")
}

#[test]
fn the_sandbox_works_in_a_browser_over_plain_http() -> Result<()> {
    works_in_a_browser(With::Http, "http")
}
