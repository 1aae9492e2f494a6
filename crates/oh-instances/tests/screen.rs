//! What `oh-instances list --watch` shows on a terminal: a real one, tmux(1), says what stands on it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

const RECORDS: &str = "var/lib/openhands-toolkit/instances";
/// How long anything may take to show, on two busy cores.
const BOUND: Duration = Duration::from_secs(20);
/// A terminal whose columns hold the widest table.
const COLUMNS: usize = 100;

/// A terminal with a shell in it, and a root in which nothing runs.
struct Terminal {
    root: TempDir,
}

impl Terminal {
    fn new(rows: usize) -> Self {
        let root = tempfile::Builder::new().prefix("oh-screen-").tempdir().unwrap();
        let terminal = Self { root };
        terminal.write(
            "etc/openhands-toolkit/config.toml",
            "[toolkit.site]\ndomain = \"oh.example\"\ntls = \"off\"\n",
        );
        let (columns, rows) = (COLUMNS.to_string(), rows.to_string());
        let shell = "env --ignore-environment PATH=/usr/bin:/bin TERM=screen PS1='$ ' sh";
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, shell]);
        terminal.until("a prompt", |screen| screen == ["$"]);
        terminal
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.root.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the record of an instance of which nothing runs: three lines of the table.
    fn record(&self, id: &str) {
        let record = json!({
            "schema": 1, "id": id, "subject": "repository", "wanted": "running",
            "server": "code-server", "port": 21_999, "apps": [], "upstream": "strip+prefix",
            "folder": format!("/var/www/github/{id}"), "uid": 0, "gid": 0,
            "token": "of-a-test-that-runs-nothing", "key_is_nginxs": true,
            "announced": true, "generation": 0, "created_ms": 1_700_000_000_000_u64,
        });
        self.write(&format!("{RECORDS}/{id}.json"), &record.to_string());
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.tmux_command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn tmux_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")]);
        command.arg("-S").arg(self.root.path().join("tmux")).args(["-f", "/dev/null"]);
        command.args(arguments);
        command
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types the line that watches this root.
    fn watch(&self, before: &str, interval: &str) {
        let program = assert_cmd::cargo::cargo_bin!("oh-instances").display().to_string();
        let root = self.root.path().display();
        let line = format!("{before} {program} list --watch {interval} --root {root}");
        self.keys(&["clear", "Enter"]);
        self.until("an empty screen", |screen| screen == ["$"]);
        self.keys(&["echo before", "Enter"]);
        self.keys(&[&line, "Enter"]);
    }

    /// Returns the lines that the screen shows, down to the last with anything in it.
    fn screen(&self) -> Vec<String> {
        let text = self.tmux(&["capture-pane", "-p"]);
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        until(what, || self.screen(), |screen| holds(screen))
    }

    /// Waits until the cursor is seen and stands in this column and row, from 0, and long lines go
    /// on in the next one.
    fn is_in_order_at(&self, column: usize, row: usize) {
        let told = "#{cursor_x},#{cursor_y} seen=#{cursor_flag} wraps=#{wrap_flag}";
        let expected = format!("{column},{row} seen=1 wraps=1\n");
        until(&expected, || self.tmux(&["display-message", "-p", told]), |now| *now == expected);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It ends what runs in it by SIGHUP, as a terminal does that is closed.
        let ended = self.tmux_command(&["kill-server"]).status().unwrap();
        assert!(ended.success() || std::thread::panicking(), "{ended}");
    }
}

fn until<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + BOUND;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "{what} did not come to pass: {seen:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn begins(screen: &[String], first: &str) -> bool {
    screen.first().is_some_and(|line| line == first)
}

#[test]
fn a_table_is_cut_to_the_terminal_and_follows_its_size() {
    let terminal = Terminal::new(12);
    ["one", "two", "three", "four"].iter().for_each(|id| terminal.record(id));
    // Nothing but the change of its size draws it anew for an hour.
    terminal.watch("", "1h");
    let has_hint = |line: &String| line.starts_with("look closer: oh-instances status four");
    let screen = terminal.until("the first drawing", |screen| screen.last().is_some_and(has_hint));
    assert_eq!(screen[0], "0 of 4 instances run", "{screen:#?}");
    assert_eq!(screen[9], "… 7 more lines do not fit here", "{screen:#?}");
    assert_eq!(screen.len(), 11, "{screen:#?}");
    terminal.is_in_order_at(0, 11);

    terminal.tmux(&["resize-window", "-x", "60", "-y", "30"]);
    let all = terminal.until("all of it", |screen| screen.len() == 17 && has_hint(&screen[16]));
    assert_eq!(all[..9], screen[..9].iter().map(|line| cut(line, 60)).collect::<Vec<_>>());
    assert!(all[2].ends_with('…') && all[3].ends_with('…'), "{all:#?}");
    terminal.is_in_order_at(0, 17);

    terminal.tmux(&["resize-window", "-x", "40", "-y", "5"]);
    let screen = terminal.until("less of it", |screen| screen.len() == 4 && has_hint(&screen[3]));
    let said = "… 14 more lines do not fit here";
    assert_eq!(screen[..3], [&all[0], "", said], "{screen:#?}");
    terminal.is_in_order_at(0, 4);
}

fn cut(line: &str, columns: usize) -> String {
    let is_long = line.chars().count() > columns;
    if is_long { line.chars().take(columns - 1).chain(['…']).collect() } else { line.into() }
}

#[test]
fn an_interrupt_leaves_the_last_look_and_a_terminal_in_order() {
    let terminal = Terminal::new(20);
    terminal.record("one");
    terminal.watch("", "1h");
    let looked =
        |screen: &[String]| screen.last().is_some_and(|line| line.starts_with("look closer: "));
    let drawn = terminal.until("the first drawing", looked);
    assert_eq!(drawn[0], "0 of 1 instance run", "{drawn:#?}");

    // What is typed meanwhile is erased by the next drawing, which a return to the foreground makes.
    terminal.keys(&["C-z"]);
    terminal.until("the prompt", |screen| screen.last().is_some_and(|line| line == "$"));
    terminal.keys(&["fg", "Enter"]);
    terminal.until("the drawing after a stop", |screen| screen == drawn);

    terminal.keys(&["C-c"]);
    let screen = terminal
        .until("the prompt", |screen| screen.last().is_some_and(|line| line.starts_with('$')));
    assert_eq!(screen, [&drawn[..], &["$".to_owned()]].concat());
    terminal.is_in_order_at(2, drawn.len());
    terminal.keys(&["echo code $?", "Enter"]);
    terminal.until("the code", |screen| screen.iter().any(|line| line == "code 130"));
    let all = terminal.tmux(&["capture-pane", "-p", "-S", "-"]);
    assert!(all.lines().any(|line| line == "before"), "what stood there is lost:\n{all}");
}

#[test]
fn each_drawing_is_one_write_and_nothing_of_the_one_before_stays() {
    let terminal = Terminal::new(20);
    ["one", "two"].iter().for_each(|id| terminal.record(id));
    let log = terminal.root.path().join("strace");
    let strace = format!("strace --output={} --trace=write --string-limit=40", log.display());
    terminal.watch(&strace, "100ms");
    terminal.until("two", |screen| begins(screen, "0 of 2 instances run"));
    fs::remove_file(terminal.root.path().join(format!("{RECORDS}/two.json"))).unwrap();
    terminal.until("one", |screen| begins(screen, "0 of 1 instance run"));
    fs::remove_file(terminal.root.path().join(format!("{RECORDS}/one.json"))).unwrap();
    terminal.until("none", |screen| screen == ["no instance is recorded"]);
    terminal.keys(&["C-c"]);
    terminal.until("the prompt", |screen| screen.last().is_some_and(|line| line == "$"));
    let written = fs::read_to_string(log).unwrap();
    let written: Vec<&str> = written.lines().filter(|line| line.starts_with("write(")).collect();
    let (last, drawings) = written.split_last().unwrap();
    assert!(last.contains("\"\\r\\33[J\""), "{written:#?}");
    assert!(drawings.len() >= 3, "{written:#?}");
    assert!(drawings.iter().all(|line| line.contains("\\33[?7l\\33[H")), "{written:#?}");
}

#[test]
fn what_no_drawing_is_possible_on_gets_one_look_behind_the_other() {
    let terminal = Terminal::new(20);
    terminal.record("one");
    let program = assert_cmd::cargo::cargo_bin!("oh-instances");
    let mut piped = Command::new(program)
        .env_clear()
        .env("TERM", "screen")
        .args(["list", "--watch", "100ms", "--root"])
        .arg(terminal.root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(piped.stdout.take().unwrap()).lines().map(Result::unwrap);
    let firsts = |line: &String| line == "0 of 1 instance run";
    let mut seen: Vec<String> = Vec::new();
    for line in lines {
        seen.push(line);
        if seen.iter().filter(|line| firsts(line)).count() == 2 {
            break;
        }
    }
    // Nobody reads any more, and so it ends.
    assert!(piped.wait().unwrap().success());
    assert!(seen.iter().all(|line| !line.contains('\u{1b}')), "{seen:#?}");
    assert_eq!(seen[seen.len() - 2], "", "{seen:#?}");

    terminal.watch("TERM=dumb", "100ms");
    let twice = |screen: &[String]| screen.iter().filter(|line| firsts(line)).count() >= 2;
    terminal.until("two looks", twice);
    terminal.keys(&["C-c"]);
}
