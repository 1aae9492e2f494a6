//! Headless Chromium, driven through chromedriver's WebDriver protocol (W3C) over loopback HTTP.
//!
//! The protocol is JSON over HTTP/1.1, so [`crate::net`] is enough of a client. It blocks, as the
//! tests do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Running;
use crate::{components, net, wait};

/// How long chromedriver may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one command may take; loading a page is one.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// How long to look for leftovers of a browser that was ended.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The key under which WebDriver wraps the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How every browser is started.
const SWITCHES: [&str; 11] = [
    "--headless=new",
    // Tests run as root in containers, where Chromium's own sandbox cannot.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
];

/// A browser with a profile of its own that trusts every certificate.
///
/// Dropping it ends the browser, its helpers and chromedriver.
#[derive(Debug)]
pub struct Browser {
    driver: Running,
    session: String,
    profile: TempDir,
}

/// An element of the page that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element(String);

/// A key to press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key that writes this character.
    Character(char),
    /// Return.
    Enter,
    /// Escape.
    Escape,
    /// The tabulator.
    Tab,
    /// Backspace.
    Backspace,
    /// Arrow down.
    Down,
    /// Arrow up.
    Up,
    /// Control.
    Control,
    /// Shift.
    Shift,
    /// Alt.
    Alt,
    /// F1, which opens the command palette of VS Code.
    F1,
}

impl Key {
    /// Returns the code point that WebDriver gives the key (W3C WebDriver, "keyboard actions").
    fn code(self) -> char {
        match self {
            Key::Character(character) => character,
            Key::Enter => '\u{e007}',
            Key::Escape => '\u{e00c}',
            Key::Tab => '\u{e004}',
            Key::Backspace => '\u{e003}',
            Key::Down => '\u{e015}',
            Key::Up => '\u{e013}',
            Key::Control => '\u{e009}',
            Key::Shift => '\u{e008}',
            Key::Alt => '\u{e00a}',
            Key::F1 => '\u{e031}',
        }
    }
}

/// A cookie as the browser keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The path that it is sent to.
    pub path: String,
    /// The host that it is sent to.
    pub domain: String,
    /// Whether it is sent through TLS only.
    pub secure: bool,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// `None`, `Lax` or `Strict`; empty where the server said nothing.
    pub same_site: String,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Errors
    ///
    /// As "environment" when Chromium or its driver is missing; when it does not come up.
    pub fn start() -> Result<Browser> {
        Self::start_with(&[])
    }

    /// Starts a browser with further switches, such as `--host-resolver-rules=…`.
    ///
    /// # Errors
    ///
    /// As [`Browser::start`].
    pub fn start_with(switches: &[&str]) -> Result<Browser> {
        let chromium = components::program("chromium")?;
        let profile = tempfile::tempdir().context("could not make a profile")?;
        let mut command = Command::new(components::program("chromedriver")?);
        // Its temporary files and the browser's stay in the profile and go with it.
        command.arg("--port=0").env("TMPDIR", profile.path()).env("HOME", profile.path());
        let mut driver = Running::start(&mut command)?;
        let line = driver.wait_for_line("started successfully on port", START_TIMEOUT)?;
        let port = line.trim_end_matches('.').rsplit(' ').next().unwrap_or_default();
        let mut browser =
            Browser { driver, session: format!("http://127.0.0.1:{port}/session"), profile };
        let wish = browser.capabilities(&chromium, switches);
        let mut answer = browser.call("POST", "", &wish);
        // Chromium itself ends now and then right after its start, before any page of ours.
        if answer.as_ref().is_err_and(|fault| fault.to_string().contains("session not created")) {
            answer = browser.call("POST", "", &wish);
        }
        let answer = answer?;
        let id = answer.get("sessionId").and_then(Value::as_str).context("no session came")?;
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    fn capabilities(&self, chromium: &Path, switches: &[&str]) -> Value {
        let user_data = self.profile.path().join("profile");
        let mut arguments: Vec<String> = SWITCHES.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", user_data.display()));
        arguments.extend(switches.iter().map(|switch| (*switch).to_owned()));
        json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": chromium,
                "args": arguments,
            },
        }}})
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// A user and password in the URL answer the site's question for them.
    ///
    /// # Errors
    ///
    /// When the page cannot be reached; a status such as 404 is a page too.
    pub fn open(&self, url: &str) -> Result<()> {
        self.call("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// Loads the page again.
    ///
    /// # Errors
    ///
    /// When the page cannot be reached.
    pub fn reload(&self) -> Result<()> {
        self.call("POST", "/refresh", &json!({})).map(drop)
    }

    /// Returns the address of the page that is open.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn url(&self) -> Result<String> {
        text(self.call("GET", "/url", &Value::Null)?)
    }

    /// Returns the title of the page that is open.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn title(&self) -> Result<String> {
        text(self.call("GET", "/title", &Value::Null)?)
    }

    /// Returns the source of the page as it is now.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn source(&self) -> Result<String> {
        text(self.call("GET", "/source", &Value::Null)?)
    }

    /// Finds the elements that a CSS selector matches, in the order of the page.
    ///
    /// # Errors
    ///
    /// When the selector is wrong or the browser is gone.
    pub fn find_all(&self, css: &str) -> Result<Vec<Element>> {
        let query = json!({"using": "css selector", "value": css});
        let found = self.call("POST", "/elements", &query)?;
        let found = found.as_array().context("no list of elements")?;
        let ids = found.iter().map(|element| element.get(ELEMENT)?.as_str());
        ids.map(|id| id.map(|id| Element(id.to_owned())).context("an element without id")).collect()
    }

    /// Waits for the first element that a CSS selector matches.
    ///
    /// # Errors
    ///
    /// After `bound`, or when the browser is gone.
    pub fn wait_for(&self, css: &str, bound: Duration) -> Result<Element> {
        let found = wait::until(css, bound, || Ok(self.find_all(css)?.into_iter().next()));
        found.with_context(|| format!("on the page {:?}", self.url().unwrap_or_default()))
    }

    /// Waits until a condition holds.
    ///
    /// # Errors
    ///
    /// After `bound`, or at once when the condition itself fails.
    pub fn wait_until(
        &self,
        what: &str,
        bound: Duration,
        mut holds: impl FnMut(&Browser) -> Result<bool>,
    ) -> Result<()> {
        wait::until(what, bound, || Ok(holds(self)?.then_some(())))
            .with_context(|| format!("on the page {:?}", self.url().unwrap_or_default()))
    }

    /// Clicks an element.
    ///
    /// # Errors
    ///
    /// When it cannot be clicked, for example because another one covers it.
    pub fn click(&self, element: &Element) -> Result<()> {
        self.call("POST", &format!("/element/{}/click", element.0), &json!({})).map(drop)
    }

    /// Returns the text of an element as a person sees it.
    ///
    /// # Errors
    ///
    /// When the element has left the page.
    pub fn text(&self, element: &Element) -> Result<String> {
        text(self.call("GET", &format!("/element/{}/text", element.0), &Value::Null)?)
    }

    /// Types a text into whatever has the focus.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn type_text(&self, text: &str) -> Result<()> {
        for character in text.chars() {
            self.press(&[Key::Character(character)])?;
        }
        Ok(())
    }

    /// Presses keys together, as in `&[Key::Control, Key::Character('s')]`, and lets them go.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn press(&self, keys: &[Key]) -> Result<()> {
        let action = |kind: &str, key: &Key| json!({"type": kind, "value": key.code().to_string()});
        let down = keys.iter().map(|key| action("keyDown", key));
        let up = keys.iter().rev().map(|key| action("keyUp", key));
        let actions: Vec<Value> = down.chain(up).collect();
        let source = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.call("POST", "/actions", &json!({"actions": [source]})).map(drop)
    }

    /// Runs the body of a function in the page and returns what it returns; `arguments` is there.
    ///
    /// A promise that it returns is waited for.
    ///
    /// # Errors
    ///
    /// When the script throws.
    pub fn script(&self, body: &str, arguments: &[Value]) -> Result<Value> {
        self.call("POST", "/execute/sync", &json!({"script": body, "args": arguments}))
    }

    /// Writes a picture of the page into a PNG file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written or the browser is gone.
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let picture = text(self.call("GET", "/screenshot", &Value::Null)?)?;
        let picture = BASE64_STANDARD.decode(picture).ok().context("the picture is not base64")?;
        fs::write(file, picture).with_context(|| format!("could not write {}", file.display()))
    }

    /// Returns the cookies that the open page may see, those of scripts and of HTTP only.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn cookies(&self) -> Result<Vec<Cookie>> {
        let cookies = self.call("GET", "/cookie", &Value::Null)?;
        let cookies = cookies.as_array().context("no list of cookies")?;
        let word = |cookie: &Value, key: &str| {
            cookie.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let flag = |cookie: &Value, key: &str| {
            cookie.get(key).and_then(Value::as_bool).unwrap_or_default()
        };
        let cookies = cookies.iter().map(|cookie| Cookie {
            name: word(cookie, "name"),
            value: word(cookie, "value"),
            path: word(cookie, "path"),
            domain: word(cookie, "domain"),
            secure: flag(cookie, "secure"),
            http_only: flag(cookie, "httpOnly"),
            same_site: word(cookie, "sameSite"),
        });
        Ok(cookies.collect())
    }

    /// Forgets the service workers of an origin and what they keep, as a browser that never was there.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn forget_workers(&self, origin: &str) -> Result<()> {
        let kinds = json!({"origin": origin, "storageTypes": "service_workers,cache_storage"});
        let command = json!({"cmd": "Storage.clearDataForOrigin", "params": kinds});
        self.call("POST", "/goog/cdp/execute", &command).map(drop)
    }

    /// Returns what the page wrote to the console since the last call, errors of requests included.
    ///
    /// # Errors
    ///
    /// When the browser is gone.
    pub fn console(&self) -> Result<Vec<String>> {
        let lines = self.call("POST", "/se/log", &json!({"type": "browser"}))?;
        let lines = lines.as_array().context("no list of lines")?;
        let messages = lines.iter().filter_map(|line| line.get("message")?.as_str());
        Ok(messages.map(str::to_owned).collect())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.session);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = net::send(&net::Request {
            method,
            headers: &[("Content-Type", "application/json")],
            body: body.as_bytes(),
            timeout: COMMAND_TIMEOUT,
            ..net::Request::get(&url)
        })?;
        let mut answer: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("chromedriver answered {:?}", answer.text()))?;
        let value = answer.get_mut("value").map(Value::take).unwrap_or_default();
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
            bail!("{path}: {error}: {}", message.lines().next().unwrap_or_default());
        }
        Ok(value)
    }

    /// Returns the folder that holds the profile and all temporary files.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// Returns the processes of this browser.
    pub fn processes(&self) -> Vec<PathBuf> {
        processes_of(self.profile())
    }
}

/// Returns the `/proc` folders of the processes whose command line names this profile.
pub fn processes_of(profile: &Path) -> Vec<PathBuf> {
    let profile = profile.as_os_str().as_encoded_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.windows(profile.len()).any(|window| window == profile)
    });
    found
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser first, by its own way; then the driver's whole group. A browser that hangs
        // is ended with the group, so neither error has anything to tell.
        drop(self.call("DELETE", "", &Value::Null));
        drop(self.driver.stop());
        drop(wait::until_true("the end of the browser", END_TIMEOUT, || {
            self.processes().is_empty()
        }));
    }
}

fn text(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        other => bail!("not a text: {other}"),
    }
}
