//! What a person reads when `oh-nginx lint` looks at a file of anybody's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::Lab;
use insta::assert_snapshot;
use serde_json::Value;

/// What an old generator wrote, in short.
const OLD: &str = "server {
    listen 443 ssl;
    server_name oh.example;
    ssl_certificate /nowhere.pem;
    ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection \"upgrade\";
    proxy_set_header Host $host;
    # VS Code
    location /vscode/s1/ {
        proxy_pass http://127.0.0.1:8888/;
        proxy_set_header X-Forwarded-Path /vscode/s1/;
    }
}
";

/// Keeps what is said about one rule.
fn about(shown: &str, rule: &str) -> String {
    let parts =
        shown.split("\n\n").filter(|part| part.contains(rule) && !part.starts_with("more:"));
    parts.map(|part| format!("{}\n", part.trim_start())).collect()
}

fn lint_of(text: &str) -> String {
    let lab = Lab::new();
    fs::write(lab.here("site.conf"), text).unwrap();
    lab.run(&["lint", "site.conf"])
}

#[test]
fn a_finding_has_its_place_its_reason_and_the_lines_to_write() {
    let shown = lint_of(OLD);
    assert!(shown.contains("nginx was not asked: it is a part of a configuration"), "{shown}");
    assert!(shown.ends_with("--- exit 1\n"), "{shown}");
    assert_snapshot!(about(&shown, "OH-NGX-101"), @"
    {lab}/cwd/site.conf:13  OH-NGX-101  error
      this proxy_set_header drops those of the block above: Upgrade, Connection, Host
      why: nginx inherits proxy_set_header all or not at all: one line in a location drops every line
           above it.
      at the beginning of `location /vscode/s1/ {` (line 11), write:
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection \"upgrade\";
          proxy_set_header Host $host;
    ");
}

#[test]
fn what_the_text_cannot_tell_is_said_so() {
    assert_snapshot!(about(&lint_of(OLD), "OH-NGX-401"), @"
    {lab}/cwd/site.conf:5  OH-NGX-401  error if it is so: the text cannot tell
      these ciphers serve RSA keys only; which one /nowhere.pem has could not be seen
      why: Ciphers that name ECDHE-RSA only cannot serve an ECDSA certificate: every client of TLS 1.2
           gets a handshake failure, while TLS 1.3 works.
      in the place of line 5, write:
          ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ");
}

#[test]
fn the_key_of_a_certificate_is_seen() {
    let lab = Lab::new();
    let made = |arguments: &[&str], name: &str| {
        let path = lab.here(name);
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=x", "-newkey"])
            .args(arguments)
            .arg("-keyout")
            .arg(lab.here("key"))
            .arg("-out")
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        path.display().to_string()
    };
    let ecdsa = made(&["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "ecdsa.pem");
    let rsa = made(&["rsa:2048"], "rsa.pem");
    let mut found = Vec::new();
    for path in [ecdsa, rsa] {
        fs::write(lab.here("site.conf"), OLD.replace("/nowhere.pem", &path)).unwrap();
        found.push(about(&lab.run(&["lint", "site.conf"]), "OH-NGX-401"));
    }
    assert!(found[0].contains("ecdsa.pem has an ECDSA key; no cipher here serves it"), "{found:?}");
    assert_eq!(found[1], "");
}

#[test]
fn what_nginx_prints_is_read_with_the_places_of_its_files() {
    let dump = format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n include sites/*;\n}}\n\n# configuration file /etc/nginx/sites/a:\n{OLD}\n"
    );
    let lab = Lab::new();
    let run = assert_cmd::Command::from_std(lab.command(&["lint", "-"]))
        .write_stdin(dump)
        .output()
        .unwrap();
    let shown = String::from_utf8(run.stdout).unwrap();
    assert!(shown.contains("in the text from stdin (2 files)"), "{shown}");
    assert!(shown.contains("/etc/nginx/sites/a:13  OH-NGX-101  error"), "{shown}");
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn a_fault_of_syntax_comes_first() {
    assert_snapshot!(lint_of("server {\n  listen 80\n}\n"), @r#"
    1 error in {lab}/cwd/site.conf

    {lab}/cwd/site.conf:3  OH-NGX-001  error
      unexpected "}"
      why: nginx does not start with it, and a reload keeps what was there

    more: oh-nginx lint --explain OH-NGX-001
    --- exit 1
    "#);
}

#[test]
fn nginx_judges_the_machines_configuration_first() {
    let lab = Lab::new();
    let shown = lab.run(&["lint"]);
    assert!(shown.contains("there is no server and no location in it"), "{shown}");
    lab.write(
        "etc/nginx/conf.d/a.conf",
        "server {\n    listen 127.0.0.1:22081;\n    nonsense on;\n}\n",
    );
    let shown = lab.run(&["lint"]);
    assert!(shown.contains("{root}/etc/nginx/conf.d/a.conf:3  OH-NGX-001  error"), "{shown}");
    assert!(shown.contains("unknown directive \"nonsense\""), "{shown}");
}

#[test]
fn files_of_routes_that_nobody_includes_are_named() {
    let lab = Lab::new();
    lab.folder("root/etc/nginx/vscode-projects");
    lab.write(
        "etc/nginx/vscode-projects/actmcp.conf",
        "location /vscode/actmcp/ { return 404; }\n",
    );
    lab.write("etc/nginx/conf.d/a.conf", "server {\n    listen 127.0.0.1:22081;\n}\n");
    let shown = about(&lab.run(&["lint"]), "OH-NGX-212");
    assert!(shown.starts_with("{root}/etc/nginx/conf.d/a.conf:1  OH-NGX-212  error\n"), "{shown}");
    let line = "      include {root}/etc/nginx/vscode-projects/*.conf;\n";
    assert!(shown.ends_with(line), "{shown}");
    let included =
        "server {\n    listen 127.0.0.1:22081;\n    include vscode-projects/*.conf;\n}\n";
    lab.write("etc/nginx/conf.d/a.conf", included);
    assert_eq!(about(&lab.run(&["lint"]), "OH-NGX-212"), "");
}

#[test]
fn a_file_of_others_is_not_given_to_nginx() {
    let lab = Lab::new();
    let whole =
        "load_module /nowhere.so;\nevents { }\nhttp {\n    server { listen 127.0.0.1:22081; }\n}\n";
    fs::write(lab.here("site.conf"), whole).unwrap();
    let shown = lab.run(&["lint", "site.conf"]);
    assert!(shown.contains("nginx was not asked: it loads modules, which are programs"), "{shown}");
    let whole = whole.replace("load_module /nowhere.so;\n", "");
    fs::write(lab.here("site.conf"), whole).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(lab.here("site.conf"), open).unwrap();
    let shown = lab.run(&["lint", "site.conf"]);
    assert!(shown.contains("nginx was not asked: others can change it"), "{shown}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let lab = Lab::new();
    assert_snapshot!(lab.run(&["lint", "missing.conf"]), @"
    --- stderr
    error: could not read {lab}/cwd/missing.conf: No such file or directory (os error 2)
    --- exit 4
    ");
    symlink("/dev/zero", lab.here("zero")).unwrap();
    fs::write(lab.here("a.conf"), "include zero;\nserver { }\n").unwrap();
    let shown = lab.run(&["lint", "a.conf"]);
    assert!(shown.contains("it is a device") && shown.ends_with("--- exit 4\n"), "{shown}");
    fs::write(lab.here("b.conf"), "include .;\nserver { }\n").unwrap();
    let shown = lab.run(&["lint", "b.conf"]);
    assert!(shown.contains("it is a folder") && shown.ends_with("--- exit 4\n"), "{shown}");
}

#[test]
fn a_hostile_file_moves_no_cursor() {
    let shown = lint_of(
        "server {\n  location /vscode/a\u{1b}[2J/ { proxy_pass http://localhost:8888/\u{202e}; }\n}\n",
    );
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    assert!(shown.contains("\\u{1b}[2J"), "{shown}");
}

#[test]
fn a_rule_has_a_page() {
    let lab = Lab::new();
    let shown = lab.run(&["lint", "--explain", "oh-ngx-302"]);
    assert_snapshot!(shown, @"
    OH-NGX-302  error  a silent connection is cut

    A healthy Socket.IO connection is silent for 25 seconds between two pings. proxy_read_timeout ends
    it before; held polls get 504.

    Fails:

      proxy_read_timeout 20s;

    Passes:

      proxy_read_timeout 1h;

    known from: measured: nginx VERSION, python-socketio, OpenHands 0.62
    --- exit 0
    ");
    assert_eq!(lab.run(&["lint", "--explain", "302"]), shown);
    let unknown = lab.run(&["lint", "--explain", "OH-NGX-999"]);
    assert!(unknown.contains("error: there is no rule \"OH-NGX-999\""), "{unknown}");
    assert!(unknown.ends_with("--- exit 2\n"), "{unknown}");
}

#[test]
fn programs_get_the_bytes_to_change() {
    let lab = Lab::new();
    fs::write(lab.here("site.conf"), OLD).unwrap();
    let run = lab.said(lab.command(&["lint", "site.conf", "--format", "json"]));
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = document["result"]["findings"].as_array().unwrap();
    let lost = findings.iter().find(|one| one["rule"] == "OH-NGX-101").unwrap();
    let at = lost["changes"][0]["bytes"][0].as_u64().unwrap();
    assert!(OLD.get(..usize::try_from(at).unwrap()).unwrap().ends_with("location /vscode/s1/ {"));
    assert_eq!(lost["changes"][0]["verb"], "add");
}

/// Two editors without a login and without a check of the Origin.
const BARE: &str = "server {
    listen 127.0.0.1:22081;
    server_name oh.example;
    location /vscode/a/ { proxy_pass http://127.0.0.1:8888/; }
    location /vscode/b/ { proxy_pass http://127.0.0.1:8889/; }
}
";

#[test]
fn the_same_lines_are_printed_once() {
    let shown = lint_of(BARE);
    assert_eq!(shown.matches("auth_basic OpenHands;").count(), 1, "{shown}");
    let again = "  at the beginning of `server {` (line 1): the lines above\n";
    assert_eq!(about(&shown, "OH-NGX-501").matches(again).count(), 1, "{shown}");
    let lab = Lab::new();
    fs::write(lab.here("site.conf"), BARE).unwrap();
    let run = lab.said(lab.command(&["lint", "site.conf", "--format", "json"]));
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = document["result"]["findings"].as_array().unwrap();
    let logins = findings.iter().filter(|one| one["rule"] == "OH-NGX-501");
    let ids: Vec<&Value> = logins.map(|one| &one["changes"][0]["id"]).collect();
    assert!(ids.len() == 2 && ids[0].is_u64() && ids[0] == ids[1], "{document:#}");
}

/// Makes the changes of what was found, each once.
fn mended(text: &str, result: &Value) -> String {
    let mut changes = Vec::new();
    for change in result["findings"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|one| one["changes"].as_array().unwrap())
    {
        let at = |index: usize| usize::try_from(change["bytes"][index].as_u64().unwrap()).unwrap();
        let lines: Vec<&str> =
            change["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        changes.push((at(0), at(1), change["id"].as_u64().unwrap(), lines.join("\n")));
    }
    changes.sort();
    changes.dedup();
    changes.into_iter().rev().fold(text.to_owned(), |mut text, (start, end, _, lines)| {
        text.replace_range(start..end, &format!("\n{lines}\n"));
        text
    })
}

#[test]
fn maps_are_written_where_nginx_takes_them() {
    let lab = Lab::new();
    let path = lab.at("etc/nginx/nginx.conf");
    let main = fs::read_to_string(&path).unwrap();
    let (before, _) = main.split_once("http {").unwrap();
    let users = lab.here("users");
    fs::write(&users, "").unwrap();
    let mut text = format!("{before}http {{\n    map_hash_bucket_size 128;\n    {BARE}}}\n");
    // Who opens WebSockets is judged once they arrive.
    for _ in 0..2 {
        fs::write(&path, &text).unwrap();
        let run = lab.said(lab.command(&["lint", "--format", "json"]));
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        text = mended(&text, &document["result"])
            .replace("/etc/nginx/openhands.users", users.to_str().unwrap());
    }
    assert!(text.contains("map $http_origin"), "{text}");
    fs::write(&path, &text).unwrap();
    let shown = lab.run(&["lint"]);
    assert!(shown.contains("\nnginx accepts it\n"), "{shown}\n{text}");
}

#[test]
fn a_finding_without_lines_has_a_next_step() {
    let shown = lint_of(
        "server {\n    listen 22081;\n    location /vscode/a/ { proxy_pass http://127.0.0.1:8888/; }\n    \
         location ~ (?<p>\\d+)(?<rest>/.*) { proxy_pass http://127.0.0.1:$p$rest; }\n}\n",
    );
    for (rule, step) in [
        ("OH-NGX-405", "  next: give the server `listen 443 ssl;`"),
        ("OH-NGX-510", "  next: lead it to the port of a session"),
        ("OH-NGX-512", "[^\\x00-\\x1f\\x7f]*"),
    ] {
        assert!(about(&shown, rule).contains(step), "{rule}: {shown}");
    }
}

/// How long to wait for a process to come or to go.
const BOUND: Duration = Duration::from_secs(30);

/// Looks until there is something to return.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < BOUND, "{what}: not within {} s", BOUND.as_secs());
        thread::sleep(PAUSE);
    }
}

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(5);

/// The children of a process, each with its command line.
fn children(parent: u32) -> Vec<(String, String)> {
    let listed = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = listed.map(|task| fs::read_to_string(task.path().join("children")));
    let pids: String = lists.flatten().collect();
    let line = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.split_whitespace().map(|pid| (pid.to_owned(), line(pid).replace('\0', " "))).collect()
}

/// Reads a pipe in the end, so that nobody waits for it any more.
struct Reader(PathBuf);

impl Drop for Reader {
    fn drop(&mut self) {
        // For both ways: that waits for nobody.
        drop(fs::File::options().read(true).write(true).open(&self.0));
    }
}

#[test]
fn nginx_ends_with_the_linter_that_waits_for_it() {
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let lab = Lab::new();
        lab.write("etc/nginx/conf.d/a.conf", "server {\n    listen 127.0.0.1:22081;\n}\n");
        // nginx waits until somebody reads its log, which is nobody.
        let made = Command::new("mkfifo").arg(lab.at("log/error.log")).status().unwrap();
        assert!(made.success());
        let _reader = Reader(lab.at("log/error.log"));
        let mut linter = lab.command(&["lint"]).stdout(Stdio::null()).spawn().unwrap();
        let nginx = until("nginx -t", || {
            let found = children(linter.id()).into_iter().find(|(_, line)| line.contains(" -t "));
            found.map(|(pid, _)| pid)
        });
        let pid = linter.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        let ended = until("the end of the linter", || linter.try_wait().unwrap());
        assert_eq!(ended.signal(), Some(number), "{ended:?}");
        let is_there = Path::new(&format!("/proc/{nginx}")).exists();
        assert!(!is_there, "nginx lives on after SIG{name}");
    }
}

#[test]
fn what_nginx_printed_is_read_from_a_file_too() {
    let dump = format!(
        "nginx: configuration file /e/nginx.conf test is successful\n\
         # configuration file /e/nginx.conf:\nhttp {{ include conf.d/*.conf; }}\n\n\
         # configuration file /e/conf.d/a.conf:\n{OLD}\n"
    );
    let shown = lint_of(&dump);
    assert!(shown.contains("/e/conf.d/a.conf:13  OH-NGX-101  error"), "{shown}");
}
