//! `oh-wscheck` as a person runs it, in front of real nginx and a real server of Socket.IO.

#[path = "wscheck/scene.rs"]
mod scene;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use rustix::process::{Pid, Signal, kill_process};
use scene::{GOOD, Scene};
use serde_json::{Value, json};

/// A header of its own in the location discards those of the server.
const INHERITED: &str = "        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        location / {
            proxy_set_header X-Forwarded-Path $request_uri;
            proxy_pass UPSTREAM;
        }
";

fn good() -> String {
    format!("        location / {{\n{GOOD}            proxy_pass UPSTREAM;\n        }}\n")
}

#[test]
fn the_line_that_breaks_it_is_named_and_its_mend_heals() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(INHERITED)?;
    let said = scene.run(&[&scene.url(), "--format", "json"])?.expect(1)?;
    let result = &said.json()?["result"];
    ensure!(result["connects"] == json!(false), "{said:?}");
    ensure!(result["cause"]["id"] == json!("UPG-2"), "{said:?}");
    ensure!(
        result["served_by"]["upstream"]["address"]
            == json!(scene.upstream.trim_start_matches("http://"))
    );
    let line = &result["cause"]["lines"][0];
    let text = fs::read_to_string(scene.config())?;
    let number = line["line"].as_u64().context("no line")?;
    let named = text.lines().nth(usize::try_from(number)? - 1).context("no such line")?;
    ensure!(named.contains("X-Forwarded-Path"), "{named}");
    // What is to be written is written, where it is said.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for change in line["changes"].as_array().context("no changes")? {
        let instruction = change["instruction"].as_str().unwrap_or_default();
        ensure!(instruction.starts_with("at the beginning of `location / {`"), "{instruction}");
        let at = usize::try_from(change["line"].as_u64().context("no line")?)?;
        let new = change["lines"].as_array().context("no lines")?;
        let new = new.iter().filter_map(Value::as_str).map(str::to_owned);
        lines.splice(at..at, new);
    }
    scene.serve_text(&lines.join("\n"))?;
    let said = scene.run(&[&scene.url(), "--format", "json"])?.expect(0)?;
    ensure!(said.json()?["result"]["connects"] == json!(true), "{said:?}");
    scene.is_left_alone()
}

#[test]
fn people_read_the_rungs_the_cause_and_the_mend() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(INHERITED)?;
    let said = scene.run(&[&scene.url()])?.expect(1)?;
    let head =
        format!("OpenHands V0 (Socket.IO) at {}, through nginx: does not connect\n", scene.url());
    ensure!(said.stdout.starts_with(&head), "{said:?}");
    for part in [
        "upgrade    400 \"Invalid websocket upgrade\"",
        "socket.io  the application answers: No conversation_id in query params",
        "cause  UPG-2  the location drops the headers that the block above sets\n",
        "nginx.conf:",
        "           proxy_set_header Connection $connection_upgrade;\n",
        "then:  nginx -t && nginx -s reload\n",
        "more: oh-wscheck --explain UPG-2 ",
    ] {
        ensure!(said.stdout.contains(part), "{part:?} is not in {said:?}");
    }
    let longest = said.stdout.lines().map(|line| line.chars().count()).max();
    let is_config = |line: &&str| line.contains("nginx.conf") || line.starts_with("more: ");
    let long: Vec<_> = said.stdout.lines().filter(|line| line.chars().count() > 100).collect();
    ensure!(long.iter().all(is_config), "{longest:?}: {long:#?}");
    ensure!(said.stderr.is_empty(), "{said:?}");
    Ok(())
}

#[test]
fn a_site_that_works_is_said_to_in_each_format() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(&good())?;
    let url = scene.url();
    let human = scene.run(&[&url])?.expect(0)?;
    ensure!(
        human.stdout.lines().next().is_some_and(|line| line.ends_with(": connects")),
        "{human:?}"
    );
    let nagios = scene.run(&[&url, "--format", "nagios"])?.expect(0)?;
    ensure!(nagios.stdout.starts_with("WS OK - OpenHands V0 (Socket.IO) at "), "{nagios:?}");
    ensure!(nagios.stdout.contains(" | 'public_tcp'=0.0"), "{nagios:?}");
    let prometheus = scene.run(&[&url, "--format", "prometheus"])?.expect(0)?;
    ensure!(
        prometheus.stdout.contains(&format!("oh_wscheck_up{{target=\"{url}\"}} 1\n")),
        "{prometheus:?}"
    );
    let junit = scene.run(&[&url, "--format", "junit"])?.expect(0)?;
    ensure!(junit.stdout.contains("failures=\"0\" errors=\"0\" skipped=\"0\""), "{junit:?}");
    let lines = scene.run(&[&url, "--format", "jsonl"])?.expect(0)?;
    for line in lines.stdout.lines() {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["verdict"] == json!("ok"), "{line}");
    }
    // The same in each format, where it does not.
    scene.serve(INHERITED)?;
    for format in ["human", "json", "jsonl", "junit", "prometheus"] {
        scene.run(&[&url, "--format", format])?.expect(1)?;
    }
    let nagios = scene.run(&[&url, "--format", "nagios"])?.expect(2)?;
    ensure!(nagios.stdout.starts_with("WS CRITICAL - "), "{nagios:?}");
    ensure!(nagios.stdout.contains("UPG-2"), "{nagios:?}");
    let unknown = scene.run(&["bogus", "--format", "nagios"])?.expect(3)?;
    ensure!(unknown.stdout.starts_with("UNKNOWN - "), "{unknown:?}");
    scene.is_left_alone()
}

#[test]
fn a_key_reaches_the_server_and_is_never_shown() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(&good())?;
    let key = "k3y+that no0ne&may=see";
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "{key}")?;
    let path = file.path().display().to_string();
    for format in ["human", "json", "jsonl", "junit", "nagios", "prometheus"] {
        let said = scene.run(&[&scene.url(), "-v", "--key-file", &path, "--format", format])?;
        let said = said.expect(0)?;
        let shown = format!("{}{}", said.stdout, said.stderr);
        ensure!(!shown.contains("k3y") && !shown.contains("no0ne"), "{format}: {shown}");
    }
    // A password in the address is refused without being repeated.
    let said = scene.run(&["http://user:k3y@oh.example"])?.expect(2)?;
    ensure!(!said.stderr.contains("k3y"), "{said:?}");
    let sent = "session_api_key=k3y%2Bthat%20no0ne%26may%3Dsee";
    ensure!(scene.server.log().contains(sent), "{}", scene.server.log());
    scene.is_left_alone()
}

#[test]
fn the_hops_that_were_asked_for_are_each_seen() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(&good())?;
    // The address is that of the configuration.
    let words = ["--via", "public,nginx,upstream", "--format", "json"];
    let said = scene.run(&words)?.expect(0)?;
    let result = &said.json()?["result"];
    let hops: Vec<_> = result["hops"].as_array().context("no hops")?.iter().collect();
    let names: Vec<_> = hops.iter().map(|hop| &hop["name"]).collect();
    ensure!(names == [&json!("public"), &json!("nginx"), &json!("upstream")], "{said:?}");
    ensure!(hops.iter().all(|hop| hop["connects"] == json!(true)), "{said:?}");
    ensure!(hops[2]["target"] == json!(scene.upstream), "{said:?}");
    scene.is_left_alone()
}

/// Whoever accepts and says nothing costs the time that was given, and no more.
#[test]
fn who_says_nothing_is_waited_for_as_long_as_was_said() -> Result<()> {
    let scene = Scene::new()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", silent.local_addr()?);
    let said = scene.run(&[&url, "--timeout", "300ms", "--format", "json"])?.expect(3)?;
    let result = &said.json()?["result"];
    ensure!(result["connects"] == json!(false), "{said:?}");
    ensure!(
        result["hops"][0]["rungs"][0]["verdict"] == json!("ok"),
        "what was seen is told: {said:?}"
    );
    Ok(())
}

#[test]
fn an_interrupt_ends_it_at_once() -> Result<()> {
    let scene = Scene::new()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", silent.local_addr()?);
    let mut command = scene.command(&[&url, "--timeout", "1h"])?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (connection, _) = silent.accept()?;
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT)?;
    let status = wait::until("its end", Duration::from_secs(20), || Ok(child.try_wait()?));
    if status.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(130), "{output:?}");
    drop(connection);
    Ok(())
}

/// A second of silence and no more, which is less than any heartbeat.
#[test]
fn a_limit_of_silence_is_found_with_its_line() -> Result<()> {
    let mut scene = Scene::new()?;
    let short = good().replace("proxy_pass", "proxy_read_timeout 1s;\n            proxy_pass");
    scene.serve(&short)?;
    let url = scene.url();
    scene.run(&[&url])?.expect(0)?;
    let said = scene.run(&[&url, "--soak", "4s", "--format", "json"])?.expect(1)?;
    let result = &said.json()?["result"];
    ensure!(result["connects"] == json!(true), "{said:?}");
    ensure!(result["further"][0]["verdict"] == json!("FAILED"), "{said:?}");
    ensure!(result["cause"]["id"] == json!("TMO-1"), "{said:?}");
    ensure!(result["cause"]["is_certain"] == json!(true), "cut twice, and not directly: {said:?}");
    let line = result["cause"]["lines"][0]["line"].as_u64().context("no line")?;
    let text = fs::read_to_string(scene.config())?;
    let named = text.lines().nth(usize::try_from(line)? - 1).unwrap_or_default();
    ensure!(named.contains("proxy_read_timeout 1s"), "{named}");
    scene.serve(&good())?;
    let said = scene.run(&["--soak", "2s", "--load", "100", "--sticky"])?.expect(0)?;
    ensure!(said.stdout.contains("stood for 2."), "{said:?}");
    ensure!(said.stdout.contains("100 of 100 made, 100 held at once"), "{said:?}");
    scene.is_left_alone()
}

#[test]
fn a_load_meets_the_limit_of_the_proxy() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(&good())?;
    let text = fs::read_to_string(scene.config())?;
    scene.serve_text(&text.replace("events {}", "events { worker_connections 64; }"))?;
    let said = scene.run(&[&scene.url(), "--load", "80", "--format", "json"])?.expect(1)?;
    let result = &said.json()?["result"];
    ensure!(result["cause"]["id"] == json!("LIM-3"), "{said:?}");
    let named = &result["cause"]["lines"][0]["what"];
    ensure!(named.as_str().is_some_and(|what| what.contains("64")), "{said:?}");
    scene.is_left_alone()
}

#[test]
fn an_editor_is_known_and_proved_below_its_path() -> Result<()> {
    let mut scene = Scene::new()?;
    let home = tempfile::tempdir()?;
    let mut command = Command::new(components::node()?);
    command
        .arg(components::code_server()?)
        .args(["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry"])
        .arg("--user-data-dir")
        .arg(home.path().join("data"))
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env_remove("XDG_CONFIG_HOME");
    let mut editor = Running::start(&mut command)?;
    let line = editor.wait_for_line("HTTP server listening on ", Duration::from_secs(90))?;
    let url = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('/');
    let serve = |host: &str| {
        let lines = GOOD.replace("$http_host", host);
        format!(
            "        location /vscode/a/ {{\n{lines}            proxy_pass {url}/;\n        }}\n"
        )
    };
    scene.serve(&serve("$http_host"))?;
    let address = format!("{}/vscode/a/", scene.url());
    for words in [&[address.as_str()][..], &["--vscode", &address]] {
        let said = scene.run(words)?.expect(0)?;
        let head = format!("code-server at {address}: works\n");
        ensure!(said.stdout.starts_with(&head), "{said:?}");
        ensure!(said.stdout.contains("a page of others is refused: 403"), "{said:?}");
    }
    // The port is dropped: it takes its own pages for those of others.
    scene.serve(&serve("$host"))?;
    let said = scene.run(&[&address, "--format", "json"])?.expect(1)?;
    ensure!(said.json()?["result"]["cause"]["id"] == json!("ORI-1"), "{said:?}");
    let said = scene.run(&["--vscode", &scene.upstream])?.expect(1)?;
    ensure!(said.stdout.contains("the address leads to something else"), "{said:?}");
    editor.stop()?;
    Ok(())
}

#[test]
fn a_conversation_that_does_not_run_is_not_joined() -> Result<()> {
    let mut command = Command::new(components::built("oh-stand-in")?);
    command.args(["openhands", "--listen", "127.0.0.1:0"]);
    command.args(["--conversation", "c1=RUNNING:20", "--conversation", "c2=STOPPED:2"]);
    let mut stand_in = Running::start(&mut command)?;
    let line = stand_in.wait_for_line("listening on ", Duration::from_secs(60))?;
    let port = line.rsplit(':').next().context("no port")?.trim().to_owned();
    let mut scene = Scene::new()?;
    scene.upstream = format!("http://127.0.0.1:{port}");
    scene.serve(&good())?;
    let state = || -> Result<String> {
        Ok(net::get(&format!("{}/api/conversations", scene.upstream), &[])?.text())
    };
    let before = state()?;
    let said = scene.run(&["--conversation", "c1"])?.expect(0)?;
    ensure!(said.stdout.starts_with("OpenHands V0 (Socket.IO) 0."), "{said:?}");
    ensure!(said.stdout.contains("no gap, nothing twice"), "{said:?}");
    for (id, why) in [("c2", "it is STOPPED"), ("c3", "the server knows none of this id")] {
        let said = scene.run(&["--conversation", id])?.expect(4)?;
        ensure!(said.stdout.contains(&format!("not joined, to start nothing: {why}")), "{said:?}");
    }
    let ended = wait::until("the state of before", Duration::from_secs(20), || {
        Ok((state()? == before).then_some(()))
    });
    ensure!(ended.is_ok(), "{before} became {}", state()?);
    Ok(())
}

#[test]
fn whether_other_pages_may_read_is_said() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.serve(&good())?;
    let origin = "https://pages.example";
    let said = scene.run(&["--cors", origin])?.expect(0)?;
    ensure!(said.stdout.contains("https://pages.example may read them"), "{said:?}");
    let twice = good().replace(
        "proxy_pass",
        "add_header Access-Control-Allow-Origin * always;\n            proxy_pass",
    );
    scene.serve(&twice)?;
    let said = scene.run(&["--cors", origin, "--format", "json"])?.expect(1)?;
    let result = &said.json()?["result"];
    ensure!(result["cause"]["id"] == json!("ORI-2"), "{said:?}");
    let what = result["cause"]["lines"][0]["what"].as_str().unwrap_or_default();
    ensure!(what.contains("Access-Control-Allow-Origin"), "{said:?}");
    scene.is_left_alone()
}
