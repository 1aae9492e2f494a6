//! What a person reads when `oh-instances` is asked; `oh-testsuite` has the editors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

const RECORDS: &str = "var/lib/openhands-toolkit/instances";
const LOGS: &str = "var/log/openhands-editors";
const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// A root in which nothing runs.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::Builder::new().prefix("oh-cli-").tempdir().unwrap());
        lab.write(
            "etc/openhands-toolkit/config.toml",
            "[toolkit.site]\ndomain = \"oh.example\"\ntls = \"off\"\n",
        );
        lab
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.0.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a record with changes.
    fn record(&self, id: &str, change: &Value) {
        let mut record = json!({
            "schema": 1, "id": id, "subject": "repository", "wanted": "running",
            "server": "code-server", "port": 21_999, "apps": [], "upstream": "strip+prefix",
            "folder": format!("/var/www/github/{id}"), "uid": 0, "gid": 0,
            "token": "of-a-test-that-runs-nothing", "key": KEY, "key_is_nginxs": true,
            "generation": 0, "created_ms": 1_700_000_000_000_u64,
        });
        let changes = change.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(changes);
        self.write(&format!("{RECORDS}/{id}.json"), &record.to_string());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oh-instances"));
        command.env_clear().current_dir("/").args(arguments).arg("--root").arg(self.0.path());
        command
    }

    /// Runs it for people, and for programs with the same code, and returns what people see; not
    /// a file is changed.
    fn run(&self, arguments: &[&str]) -> String {
        let before = self.files();
        let human = self.command(arguments).output().unwrap();
        let document = self.command(arguments).args(["--format", "json"]).output().unwrap();
        assert_eq!(self.files(), before);
        assert_eq!(document.status.code(), human.status.code());
        let parsed: Value = serde_json::from_slice(&document.stdout).unwrap();
        assert_eq!(parsed["exit"], json!(human.status.code()));
        let text = |bytes: &[u8]| {
            let root = self.0.path().display().to_string();
            String::from_utf8_lossy(bytes).replace(&root, "{root}")
        };
        let (stdout, stderr) = (text(&human.stdout), text(&human.stderr));
        let mark = if stderr.is_empty() { "" } else { "--- stderr\n" };
        format!("{stdout}{mark}{stderr}--- exit {}\n", human.status.code().unwrap())
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                    found.insert(path, Vec::new());
                } else {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

/// The help of a command, without the options that all have.
fn help(command: &str) -> String {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("oh-instances"))
        .env_clear()
        .args([command, "--help"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let own = text.split("\nCommon options:\n").next().unwrap();
    own.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn help_names_every_command() {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("oh-instances"))
        .env_clear()
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["start", "stop", "restart", "list", "status", "logs"] {
        assert!(text.contains(&format!("\n  {command} ")), "{text}");
    }
    assert!(!text.contains("supervise"), "{text}");
}

#[test]
fn the_help_of_those_that_look_says_what_they_show_and_how_they_end() {
    assert_snapshot!(help("list"), @"");
    assert_snapshot!(help("status"), @"");
    assert_snapshot!(help("logs"), @"");
    assert_snapshot!(help("stop"), @"");
}

#[test]
fn where_nothing_is_recorded_nothing_runs() {
    let lab = Lab::new();
    assert_snapshot!(lab.run(&["list"]), @"");
    assert_snapshot!(lab.run(&["status", "actmcp"]), @"");
    assert_snapshot!(lab.run(&["logs", "actmcp"]), @"");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--dry-run"]), @"");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--dry-run", "actmcp"]), @"");
}

/// What is left of instances that do not run, and one that cannot be read.
fn ruins() -> Lab {
    let lab = Lab::new();
    lab.record("actmcp", &json!({}));
    lab.record("half-stopped", &json!({ "wanted": "stopped" }));
    let starter = json!({
        "schema": 1, "boot_id": "00000000-0000-4000-8000-000000000000", "pid": 4121,
        "start_time_ticks": 99, "argv_sha256": "e".repeat(64),
    });
    lab.record("half-started", &json!({ "starter": starter, "port": 21_998 }));
    lab.write(&format!("{RECORDS}/torn.json"), "{\"schema\": 1, \"id\"");
    lab
}

#[test]
fn each_instance_has_its_line_and_one_that_cannot_be_read_too() {
    let lab = ruins();
    assert_snapshot!(lab.run(&["list"]), @"");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--warn", "5m", "--dry-run"]), @"");
}

#[test]
fn a_status_ends_with_the_next_step() {
    let lab = ruins();
    lab.write(&format!("{LOGS}/actmcp.log"), "one\nError: \u{1b}[2Jno\nbytes \u{202e}\n");
    assert_snapshot!(lab.run(&["status", "actmcp"]), @"");
    let next = |id: &str| lab.run(&["status", id]).lines().rev().nth(1).unwrap().to_owned();
    assert!(next("half-stopped").starts_with("finish it: oh-instances stop half-stopped --root "));
    assert!(next("half-started").starts_with("finish it: oh-instances start --repo "));
    assert!(lab.run(&["status", "torn"]).ends_with("--- exit 4\n"));
}

#[test]
fn a_key_is_shown_only_where_visitors_enter_it_and_are_asked_for_it() {
    let lab = ruins();
    lab.record("visited", &json!({ "key_is_nginxs": false }));
    lab.record("open", &json!({ "key": null, "key_is_nginxs": false }));
    for id in ["actmcp", "visited", "open"] {
        assert!(!lab.run(&["status", id]).contains(KEY));
        assert!(!lab.run(&["list"]).contains(KEY));
    }
    assert_eq!(lab.run(&["status", "visited", "--reveal-key"]), format!("{KEY}\n--- exit 0\n"));
    assert_snapshot!(lab.run(&["status", "actmcp", "--reveal-key"]), @"");
    assert_snapshot!(lab.run(&["status", "open", "--reveal-key"]), @"");
}

#[test]
fn a_log_directs_no_terminal_and_loses_nothing_elsewhere() {
    let lab = Lab::new();
    let lines = "one\ntwo \u{1b}]0;title\u{7}\u{1b}[2J\nthree\n";
    lab.write(&format!("{LOGS}/actmcp.log"), "two \u{1b}]0;title\u{7}\u{1b}[2J\nthree\n");
    lab.write(&format!("{LOGS}/actmcp.log.1"), "zero\none\n");
    assert_eq!(lab.run(&["logs", "actmcp", "--lines", "3"]), format!("{lines}--- exit 0\n"));
    // script(1) gives it a terminal.
    let program = assert_cmd::cargo::cargo_bin!("oh-instances");
    let root = lab.0.path();
    let line = format!("{} logs actmcp --lines 2 --root {}", program.display(), root.display());
    let seen = on_a_terminal(&line);
    assert_eq!(seen, "two \\u{1b}]0;title\\u{7}\\u{1b}[2J\r\nthree\r\n");
}

fn on_a_terminal(line: &str) -> String {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", line])
        .arg(Path::new("/dev/null"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn times_without_a_unit_are_refused() {
    let lab = Lab::new();
    for arguments in [
        &["list", "--watch", "5"][..],
        &["list", "--watch", "1ms"],
        &["stop", "--idle", "1"],
        &["stop", "--warn", "5m", "actmcp"],
        &["stop", "--dry-run", "actmcp"],
        &["stop", "--idle", "1h", "--all"],
    ] {
        let output = lab.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
