//! `oh-instances list`, `status`, `logs` and `stop --idle` over real editors.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::spawn::TOKEN_KEY;
use oh_testsuite::instances::{Instances, kill};
use oh_testsuite::{net, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long an editor may take to come up again, on two busy cores.
const BOUND: Duration = Duration::from_secs(90);
/// How far a state is set back: more than an instance is idle from, and little enough that its
/// supervisor could have been silent for so long.
const AGE_MS: u64 = 100_000;
/// From how long on the tests call an instance idle.
const IDLE: &str = "90s";

fn list(scene: &Instances, code: i32) -> Result<Vec<Value>> {
    let said = scene.run(&["list", "--format", "json"])?.expect(code)?;
    Ok(said.json()?["result"]["instances"].as_array().context("no instances")?.clone())
}

fn status(scene: &Instances, id: &str, code: i32) -> Result<Value> {
    let said = scene.run(&["status", id, "--format", "json"])?.expect(code)?;
    Ok(said.json()?["result"]["instance"].clone())
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("no number: {value}"))
}

#[test]
fn two_editors_are_listed_and_one_that_was_killed_is_told_of() -> Result<()> {
    let scene = Instances::new("")?;
    ensure!(list(&scene, 0)?.is_empty());
    scene.start("hello")?;
    scene.start("two")?;
    let all = list(&scene, 0)?;
    let ids: Vec<&Value> = all.iter().map(|one| &one["id"]).collect();
    ensure!(ids == [&json!("hello"), &json!("two")], "{all:#?}");
    for one in &all {
        ensure!(one["state"] == json!("running") && one["is_well"] == json!(true), "{one:#}");
        ensure!(one["connections"] == json!(0) && one["use"]["idle_ms"].is_u64(), "{one:#}");
        ensure!(number(&one["pss_bytes"])? > 20_000_000, "{one:#}");
        ensure!(number(&one["pss_bytes"])? <= number(&one["rss_bytes"])?, "{one:#}");
        let processes = one["processes"].as_array().context("no processes")?;
        ensure!(processes.iter().any(|process| process["role"] == json!("server")), "{one:#}");
        ensure!(processes.iter().any(|process| process["pid"] == one["pid"]), "{one:#}");
    }
    let said = scene.run(&["list"])?.expect(0)?;
    ensure!(said.stdout.starts_with("all 2 instances run\n"), "{said:?}");
    ensure!(said.stdout.lines().all(|line| line.chars().count() <= 100), "{}", said.stdout);

    let seen = status(&scene, "hello", 0)?;
    ensure!(seen["listener"]["is"] == json!("own"), "{seen:#}");
    ensure!(seen["key_of"] == json!("nginx") && seen["limits"].is_null(), "{seen:#}");
    let told = seen["told"].as_array().context("nothing told")?;
    ensure!(told.len() == 2 && told.iter().all(|one| one["wrong"].is_null()), "{seen:#}");
    let said = scene.run(&["status", "hello"])?.expect(0)?;
    ensure!(said.stdout.starts_with("hello runs: "), "{said:?}");
    let key = scene.json("run/openhands-toolkit/instances/hello.json")?;
    let key = key["key"].as_str().context("no key")?;
    ensure!(!said.stdout.contains(key), "the key is shown");
    let said = scene.run(&["status", "hello", "--reveal-key"])?.expect(2)?;
    ensure!(said.stderr.contains("nginx presents it") && !said.stderr.contains(key), "{said:?}");

    // The application writes its database back as it was before.
    let database = scene.lab.at("var/www/ai-desktop/data/vscode-ports.json");
    let text = fs::read_to_string(&database)?;
    fs::write(&database, text.replace("\"hello\"", "\"none\""))?;
    let said = scene.run(&["status", "hello"])?.expect(1)?;
    ensure!(said.stdout.contains("somebody wrote it anew without this instance"), "{said:?}");
    ensure!(said.stdout.contains("oh-instances start --repo /var/www/github/hello"), "{said:?}");
    fs::write(&database, text)?;

    let pid = u32::try_from(number(&seen["pid"])?)?;
    kill(pid)?;
    let seen = wait::until("the editor after its end", BOUND, || {
        let said = scene.run(&["status", "hello", "--format", "json"])?;
        let seen = said.json()?["result"]["instance"].clone();
        let is_again = seen["state"] == json!("running") && seen["pid"] != json!(pid);
        Ok(is_again.then_some(seen))
    })?;
    ensure!(seen["endings"][0]["how"] == json!("signal 9"), "{seen:#}");
    ensure!(seen["starts"] == json!(2), "{seen:#}");
    let said = scene.run(&["status", "hello"])?.expect(0)?;
    ensure!(said.stdout.contains("ago: signal 9"), "{said:?}");
    ensure!(said.stdout.contains("started 2 times by this supervisor"), "{said:?}");

    // One that is not watched is in the list, and is not well.
    kill(u32::try_from(number(&seen["supervisor_pid"])?)?)?;
    let all = wait::until("the end of the supervisor", BOUND, || {
        let document = scene.run(&["list", "--format", "json"])?.json()?;
        let all = document["result"]["instances"].clone();
        Ok((all[0]["state"] == json!("unsupervised")).then_some(all))
    })?;
    ensure!(all[0]["use"]["is_idle"].is_null() && all[1]["is_well"] == json!(true), "{all:#?}");
    let said = scene.run(&["list"])?.expect(1)?;
    ensure!(
        said.stdout.starts_with("all 2 instances run, and nobody watches 1 of them\n"),
        "{said:?}"
    );
    ensure!(said.stdout.contains("look closer: oh-instances status hello"), "{said:?}");

    // A record that cannot be read is a line of its own.
    scene.lab.write("var/lib/openhands-toolkit/instances/torn.json", "{")?;
    let said = scene.run(&["list"])?.expect(1)?;
    ensure!(said.stdout.contains("torn\n  cannot be read: "), "{said:?}");
    fs::remove_file(scene.lab.at("var/lib/openhands-toolkit/instances/torn.json"))?;
    Ok(())
}

#[test]
fn a_watch_goes_on_until_it_is_told_to_end() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let mut command = scene.command(&["list", "--watch", "100ms", "--format", "json"])?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut next = || -> Result<Value> {
        let line = lines.next().context("no line")??;
        Ok(serde_json::from_str::<Value>(&line)?["result"].clone())
    };
    let (first, second) = (next(), next());
    signal(child.id(), Signal::INT)?;
    let status = child.wait()?;
    let (first, second) = (first?, second?);
    ensure!(first["cpu_since"] == json!("start of each editor"), "{first:#}");
    ensure!(second["cpu_since"] == json!("previous look"), "{second:#}");
    // From the beginning of one look to that of the next, of which each takes its own time.
    ensure!(number(&second["interval_ms"])? > 0, "{second:#}");
    ensure!(second["instances"][0]["cpu_permille"].is_u64(), "{second:#}");
    ensure!(status.code() == Some(130), "{status}");
    Ok(())
}

#[test]
fn a_log_is_followed_until_its_instance_is_stopped() -> Result<()> {
    let scene = Instances::new("")?;
    scene.start("hello")?;
    let said = scene.run(&["logs", "hello", "--lines", "20"])?.expect(0)?;
    ensure!(said.stdout.contains("HTTP server listening on "), "{said:?}");
    let mut command = scene.command(&["logs", "hello", "--lines", "20", "--follow"])?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let log = scene.lab.at("var/log/openhands-editors/hello.log");
    let append = |text: &str| -> Result<()> {
        use std::io::Write as _;
        Ok(fs::File::options().append(true).open(&log)?.write_all(text.as_bytes())?)
    };
    // It is among the last lines or follows them; from then on its reader is behind it.
    let mut line = String::new();
    append("first\n")?;
    while line != "first\n" {
        line.clear();
        ensure!(stdout.read_line(&mut line)? > 0, "the follower ended");
    }
    let path = oh_model::path::RealPath::parse(&log.display().to_string())?;
    append("second\n")?;
    ensure!(oh_host::logs::rotate(&path, 0, 3)?);
    append("third\n")?;
    scene.run(&["stop", "hello"])?.expect(0)?;
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    ensure!(child.wait()?.code() == Some(0));
    ensure!(rest.starts_with("second\nthird\n"), "{rest}");
    // Its log outlives it.
    let said = scene.run(&["logs", "hello"])?.expect(0)?;
    ensure!(said.stdout.contains("second\nthird\n"), "{said:?}");
    scene.run(&["logs", "two"])?.expect(2)?;
    Ok(())
}

#[test]
fn an_abandoned_editor_is_stopped_and_a_busy_shell_is_spared() -> Result<()> {
    let scene = Instances::new("")?;
    for id in ["abandoned", "fresh", "shell"] {
        scene.start(id)?;
    }
    // A terminal that works, and nobody is connected.
    let record = scene.json("var/lib/openhands-toolkit/instances/shell.json")?;
    let mut terminal = Command::new("script")
        .args(["--quiet", "--command", "sleep 3000", "/dev/null"])
        .env(TOKEN_KEY, record["token"].as_str().context("no token")?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("script(1) is missing")?;
    wait::until("the terminal", BOUND, || {
        let all = list(&scene, 0)?;
        Ok((all[2]["busy_terminals"] == json!(1)).then_some(()))
    })?;
    // Their supervisors would write anew what is known of their use.
    let supervisors = supervisors(&scene)?;
    supervisors.iter().try_for_each(|pid| signal(*pid, Signal::STOP))?;
    for id in ["abandoned", "shell"] {
        set_back(&scene, id)?;
    }
    let before = tree(&scene)?;
    let arguments = ["stop", "--idle", IDLE, "--warn", "5m", "--dry-run"];
    let said = scene.run(&arguments)?.expect(0)?;
    ensure!(tree(&scene)? == before, "something was changed");
    let line = |id: &str| {
        let lines = said.stdout.lines();
        lines.map(str::trim).find(|line| line.contains(id)).unwrap_or_default().to_owned()
    };
    ensure!(line("abandoned").starts_with("would stop"), "{}", said.stdout);
    let hour = scene.run(&["stop", "--idle", "1h", "--warn", "5m", "--dry-run"])?.expect(0)?;
    ensure!(hour.stdout.starts_with("would stop 0 of 3 instances"), "{}", hour.stdout);
    ensure!(line("fresh").starts_with("spared") || line("fresh").starts_with("soon"), "{said:?}");
    ensure!(line("shell").starts_with("spared"), "{}", said.stdout);
    ensure!(line("shell").contains("in use: 1 terminal at work"), "{}", said.stdout);
    let all = list(&scene, 0)?;
    ensure!(all[0]["use"]["is_idle"] == json!(true), "{all:#?}");
    ensure!(all[2]["use"]["is_idle"] == json!(false), "{all:#?}");
    supervisors.iter().try_for_each(|pid| signal(*pid, Signal::CONT))?;

    wait::until("the end of the abandoned one", BOUND, || {
        set_back(&scene, "abandoned")?;
        set_back(&scene, "shell")?;
        let said = scene.run(&["stop", "--idle", IDLE])?.expect(0)?;
        Ok(said.stdout.contains("stopped    abandoned").then_some(()))
    })?;
    let left: Vec<Value> = list(&scene, 0)?.iter().map(|one| one["id"].clone()).collect();
    ensure!(left == [json!("fresh"), json!("shell")], "{left:?}");
    ensure!(terminal.try_wait()?.is_none(), "the busy shell was ended");

    // Without what goes on in its terminal, it is idle too.
    terminal.kill()?;
    terminal.wait()?;
    wait::until("the end of the shell's editor", BOUND, || {
        set_back(&scene, "shell")?;
        let said = scene.run(&["stop", "--idle", IDLE, "shell"])?.expect(0)?;
        Ok(said.stdout.contains("stopped    shell").then_some(()))
    })?;

    // Nobody knows of one that was not observed.
    let supervisor = self::supervisors(&scene)?[0];
    signal(supervisor, Signal::STOP)?;
    let state = "run/openhands-toolkit/instances/fresh.json";
    let mut fresh = scene.json(state)?;
    fresh.as_object_mut().context("no state")?.remove("activity");
    scene.lab.write(state, &fresh.to_string())?;
    let said = scene.run(&["stop", "--idle", "0s"])?;
    signal(supervisor, Signal::CONT)?;
    let said = said.expect(4)?;
    ensure!(said.stdout.contains("cannot be judged: it was not observed yet"), "{said:?}");
    Ok(())
}

fn supervisors(scene: &Instances) -> Result<Vec<u32>> {
    let all = list(scene, 0)?;
    all.iter().map(|one| Ok(u32::try_from(number(&one["supervisor_pid"])?)?)).collect()
}

/// Makes what is known of the use of an instance so old, as if nobody had come since.
fn set_back(scene: &Instances, id: &str) -> Result<()> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds = uptime.split('.').next().context("proc(5)")?.parse::<u64>()?;
    let then_ms = (seconds * 1000).checked_sub(AGE_MS).context("the machine was just started")?;
    let state = format!("run/openhands-toolkit/instances/{id}.json");
    let mut value = scene.json(&state)?;
    for time in ["/activity/last_active_ms", "/activity/seen_ms", "/activity/mark/at_ms"] {
        let time = value.pointer_mut(time).with_context(|| format!("{state} has no {time}"))?;
        *time = json!(then_ms);
    }
    scene.lab.write(&state, &value.to_string())
}

/// Mode, device or inode, time and content of each file, as they are compared.
type Tree = BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)>;

/// Every file below the root but what editors and nginx write by themselves.
fn tree(scene: &Instances) -> Result<Tree> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> =
        ["etc", "run", "tmp", "var/lib/openhands-toolkit", "var/www", "home"]
            .map(|below| scene.lab.at(below))
            .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                folders.push(path.clone());
            }
            let content = if meta.is_file() { fs::read(&path)? } else { Vec::new() };
            found.insert(path, (meta.mode(), meta.ino(), meta.mtime_nsec(), content));
        }
    }
    Ok(found)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    Ok(rustix::process::kill_process(raw, signal)?)
}

#[test]
fn the_key_that_is_revealed_lets_a_visitor_in() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let set = ["--set", "site.auth=editor"];
    let start = [&["start", "--repo", &*folder][..], &set].concat();
    let instance = scene.ask(&start)?["instance"].clone();
    let said = scene.run(&[&["status", "hello"][..], &set].concat())?.expect(0)?;
    ensure!(said.stdout.contains("visitors enter it"), "{said:?}");
    let said = scene.run(&["status", "hello", "--reveal-key"])?.expect(0)?;
    let key = said.stdout.trim();
    ensure!(key.len() == 64, "{said:?}");
    let url = format!("http://127.0.0.1:{}/login", number(&instance["port"])?);
    let enter = |password: &str| -> Result<net::Answer> {
        net::send(&net::Request {
            method: "POST",
            body: format!("password={password}").as_bytes(),
            headers: &[("Content-Type", "application/x-www-form-urlencoded")],
            ..net::Request::get(&url)
        })
    };
    let wrong = enter(&"0".repeat(64))?;
    ensure!(wrong.header("set-cookie").is_none(), "{}", wrong.text());
    let right = enter(key)?;
    ensure!(right.status == 302 && right.header("set-cookie").is_some(), "{}", right.text());
    Ok(())
}
