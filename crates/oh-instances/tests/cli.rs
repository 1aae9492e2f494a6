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
            "announced": true, "generation": 0, "created_ms": 1_700_000_000_000_u64,
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
    assert_snapshot!(help("list"), @"
    Show every instance: how it is, what it uses, who is connected, whether it is in use

    Exit codes: 0 all that are wanted run, 1 one of them does not, or nobody watches it, 4 a record
    cannot be read.

    Usage: oh-instances list [OPTIONS]

    Options:
          --watch [<INTERVAL>]
              Look again and again, e.g. 500ms, 5s, 2m, until interrupted

      -h, --help
              Print help (see a summary with '-h')
    ");
    assert_snapshot!(help("status"), @"
    Show all of one instance, and what to do next

    Exit codes: 0 it is well, 1 it is not, 2 there is none, 4 its record cannot be read.

    Usage: oh-instances status [OPTIONS] <ID>

    Arguments:
      <ID>
              The instance

    Options:
          --reveal-key
              Print the key that visitors enter, and nothing else

      -h, --help
              Print help (see a summary with '-h')
    ");
    assert_snapshot!(help("logs"), @"
    Show what an editor printed, over the logs that were set aside

    Exit codes: 0 shown, 2 there is none, 4 it cannot be read.

    Usage: oh-instances logs [OPTIONS] <ID>

    Arguments:
      <ID>
              The instance

    Options:
      -n, --lines <N>
              Show so many of the last lines

              [default: 50]

      -f, --follow
              Go on with what is added, until interrupted or until the instance is stopped

          --supervisor
              Show what its supervisor printed instead

      -h, --help
              Print help (see a summary with '-h')
    ");
    assert_snapshot!(help("stop"), @"
    Stop editors: all that they started, their routes and their records

    With --idle, those that nobody has used for so long: nobody is connected, no terminal has more than
    a shell that waits, and nothing works. What cannot be judged is spared.

    Exit codes: 0 stopped or nothing to do, 1 something is left and named, 2 refused, 4 some could not
    be judged, 5 another command works on it, 130 interrupted before it came to all.

    Usage: oh-instances stop [OPTIONS] [ID]...

    Arguments:
      [ID]...
              The instances

    Options:
          --all
              Stop every instance

          --purge
              Remove settings, extensions and logs too

          --idle <TIME>
              Stop only what nobody has used for so long, e.g. 1h; without an ID, of all

          --warn <TIME>
              Name what will be idle for long enough within this time

          --dry-run
              Say what would be stopped, and do nothing

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn where_nothing_is_recorded_nothing_runs() {
    let lab = Lab::new();
    assert_snapshot!(lab.run(&["list"]), @"
    no instance is recorded
    --- exit 0
    ");
    assert_snapshot!(lab.run(&["status", "actmcp"]), @"
    --- stderr
    error: there is no instance actmcp
    nothing was changed
    hint: oh-instances list --root {root}
    --- exit 2
    ");
    assert_snapshot!(lab.run(&["logs", "actmcp"]), @"
    --- stderr
    error: there is no instance actmcp
    nothing was changed
    hint: oh-instances list --root {root}
    --- exit 2
    ");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--dry-run"]), @"
    would stop 0 of 0 instances: idle for 1h 00m or longer
    --- exit 0
    ");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--dry-run", "actmcp"]), @"
    --- stderr
    error: there is no instance actmcp
    nothing was changed
    hint: oh-instances list --root {root}
    --- exit 2
    ");
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
    // How much of a long line fits depends on where the root is.
    let list = lab.run(&["list"]);
    let cut = |line: &str| match line.split_once("torn.json is") {
        Some((begin, _)) => format!("{begin}torn.json is"),
        None => line.to_owned(),
    };
    let list: Vec<String> = list.lines().map(cut).collect();
    assert_snapshot!(list.join("\n"), @"
    0 of 4 instances run

    ID            STATE                PORT  PID  PROC  CPU  RSS  PSS  CONN  UP  IDLE
    actmcp        gone                21999    -     0    -    -    -     0   -     ?
      http://oh.example/vscode/actmcp/  /var/www/github/actmcp
      why: neither its supervisor nor its editor lives
    half-started  start not finished  21998    -     0    -    -    -     0   -     ?
      http://oh.example/vscode/half-started/  /var/www/github/half-started
      why: whoever started it has ended
    half-stopped  stop not finished   21999    -     0    -    -    -     0   -     ?
      http://oh.example/vscode/half-stopped/  /var/www/github/half-stopped
      why: it is wanted stopped, and is not gone yet
    torn
      cannot be read: {root}/var/lib/openhands-toolkit/instances/torn.json is

    look closer: oh-instances status actmcp --root {root}
    --- exit 1
    ");
    assert_snapshot!(lab.run(&["stop", "--idle", "1h", "--warn", "5m", "--dry-run"]), @"
    would stop 0 of 4 instances: idle for 1h 00m or longer
      spared     actmcp        not running: gone
      spared     half-started  not running: start not finished
      spared     half-stopped  not running: stop not finished
      spared     torn          cannot be judged: {root}/var/lib/openhands-toolkit/instances/torn.json is no file of this toolkit: EOF while parsing an object at line 1 column 18
    --- exit 4
    ");
}

#[test]
fn a_status_ends_with_the_next_step() {
    let lab = ruins();
    lab.write(&format!("{LOGS}/actmcp.log"), "one\nError: \u{1b}[2Jno\nbytes \u{202e}\n");
    assert_snapshot!(lab.run(&["status", "actmcp"]), @r#"
    actmcp is not running (gone): http://oh.example/vscode/actmcp/
      why         neither its supervisor nor its editor lives

      folder      /var/www/github/actmcp
      editor      code-server on port 21999, user root
      listener    none
      in use      cannot be told: its editor does not run
      supervisor  none has said anything
      limits      none in force: those that are configured need systemd
      key         nginx presents it
      keeps       {root}/var/lib/openhands-editors/actmcp
      log         {root}/var/log/openhands-editors/actmcp.log

      the end of its editor's log
        one
        Error: \u{1b}[2Jno
        bytes \u{202e}

    start it again: oh-instances start --repo /var/www/github/actmcp --root {root}
    --- exit 1
    "#);
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
    assert_snapshot!(lab.run(&["status", "actmcp", "--reveal-key"]), @"
    --- stderr
    error: nobody enters the key of actmcp: nginx presents it
    nothing was changed
    --- exit 2
    ");
    assert_snapshot!(lab.run(&["status", "open", "--reveal-key"]), @"
    --- stderr
    error: open asks for no key
    nothing was changed
    --- exit 2
    ");
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

#[test]
fn a_key_in_a_log_is_not_shown() {
    let lab = Lab::new();
    lab.record("actmcp", &json!({}));
    lab.write(&format!("{LOGS}/actmcp.log"), &format!("http://localhost:1?tkn=ab\nsaid {KEY}\n"));
    let shown = "http://localhost:1?tkn=<key>\nsaid <key>\n--- exit 0\n";
    assert_eq!(lab.run(&["logs", "actmcp"]), shown);
    let status = lab.run(&["status", "actmcp"]);
    assert!(status.contains("said <key>") && !status.contains(KEY), "{status}");
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
        &["stop", "--all", "--warn", "5m"],
        &["start", "--session", "a", "--apps", "101"],
        &["start", "--session", "a", "--apps", "999999999999999999999"],
        &["stop", "--idle", "1h", "--all"],
    ] {
        let output = lab.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
