//! The sandbox comes up, is found as it was, is mended, and leaves nothing: with the built tools,
//! a real nginx and real editors.

#[path = "sandbox/deployment.rs"]
mod deployment;
#[path = "sandbox/edges.rs"]
mod edges;
#[path = "sandbox/editors.rs"]
mod editors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use deployment::{Deployment, With, carriers, naming};
use oh_testsuite::lab::{self, Said};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long one run of `oh-deploy` may take on two busy cores.
const BOUND: Duration = Duration::from_secs(120);

/// The parts that carry a token; nginx writes its title over its environment.
const PARTS: [&str; 2] = ["app", "openhands"];

/// Asks for a page with a login.
fn get(sandbox: &Deployment, path: &str, login: &(String, String)) -> Result<net::Answer> {
    let key = lab::basic(&login.0, &login.1);
    net::get(&sandbox.url(path)?, &[("Authorization", &key)])
}

/// Demands that every address answers as it should, with the login and without.
fn serves_everything(sandbox: &Deployment, editors: bool) -> Result<()> {
    let login = sandbox.login()?;
    let session = sandbox.session()?;
    let (editor, app) = (format!("/vscode/{session}/"), format!("/apps/{session}-0/"));
    let mut pages = vec![("/".to_owned(), "This is a stand-in for OpenHands")];
    let mut sockets = vec!["/socket.io/?EIO=4&transport=websocket".to_owned()];
    if editors {
        pages.push((app.clone(), "This is a stand-in for a web application"));
        sockets.push(format!("{app}ws"));
        let folders =
            [(editor, sandbox.workspace()?), ("/vscode/hello/".into(), sandbox.repository())];
        for (path, folder) in folders {
            let opened = get(sandbox, &path, &login)?;
            let expected = format!("{path}?folder={}", folder.display());
            ensure!(opened.header("Location") == Some(&expected), "{path}: {opened:?}");
            pages.push((expected, "vscode-workbench-web-configuration"));
            sockets.push(path);
        }
    }
    for (path, text) in pages {
        let page = get(sandbox, &path, &login)?;
        ensure!(page.status == 200 && page.text().contains(text), "{path}: {page:?}");
        ensure!(net::get(&sandbox.url(&path)?, &[])?.status == 401, "{path} asks for no login");
    }
    let (key, origin) = (lab::basic(&login.0, &login.1), sandbox.url("")?);
    for path in sockets {
        let url = sandbox.url(&path)?;
        let status = net::upgrade(&url, &[("Authorization", &key), ("Origin", &origin)])?.status();
        ensure!(status == 101, "{path}: no WebSocket, but {status}");
        ensure!(net::upgrade(&url, &[("Origin", &origin)])?.status() == 401, "{path}");
    }
    Ok(())
}

/// Demands that all but the editors is up: 1 is the exit code of a failure too.
fn rest_is_up(said: Said) -> Result<Said> {
    let said = said.expect(1)?;
    ensure!(said.json()?["result"]["editors"] == false, "{said:?}");
    Ok(said)
}

/// Demands that there are both editors, each once, as `oh-instances` says of them.
fn edits_once(sandbox: &Deployment) -> Result<()> {
    let instances = sandbox.instances()?;
    let ids: BTreeSet<&str> = instances.iter().filter_map(|one| one["id"].as_str()).collect();
    let session = sandbox.session()?;
    ensure!(ids == BTreeSet::from(["hello", session.as_str()]), "{instances:#?}");
    for instance in &instances {
        ensure!(instance["is_well"] == true, "{instance:#}");
        let token = sandbox.token_of(instance["id"].as_str().context("no id")?)?;
        let known: BTreeSet<u64> = instance["processes"]
            .as_array()
            .context("no processes")?
            .iter()
            .filter_map(|process| process["pid"].as_u64())
            .collect();
        let unknown: Vec<u32> = leaders(&token, "")?
            .into_iter()
            .filter(|pid| !known.contains(&u64::from(*pid)))
            .collect();
        ensure!(unknown.is_empty(), "{unknown:?} beside {instance:#}");
    }
    Ok(())
}

/// Demands one leader for each part, the recorded one, and one nginx.
fn runs_once(sandbox: &Deployment, parts: &[&str]) -> Result<()> {
    let record = sandbox.record()?;
    let token = record["token"].as_str().context("no token")?;
    for part in parts {
        let leaders = leaders(token, part)?;
        ensure!(json!(leaders) == json!([record["started"][part]["pid"]]), "{part}: {leaders:?}");
    }
    let masters = masters(sandbox)?;
    ensure!(json!(masters) == json!([record["started"]["nginx"]["pid"]]), "nginx: {masters:?}");
    Ok(())
}

/// Returns the processes of a part that lead a process group: what was started itself.
fn leaders(token: &str, part: &str) -> Result<Vec<u32>> {
    let mut all = carriers(token)?.remove(part).unwrap_or_default();
    all.retain(|pid| group_of(*pid) == Some(*pid));
    Ok(all)
}

fn group_of(pid: u32) -> Option<u32> {
    stat(pid)?.get(2)?.parse().ok()
}

/// Tells whether a process has ended: the first of its threads alone is not the whole of it.
fn is_dead(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.first().is_some_and(|state| state == "Z") && stat[17] == "1")
}

/// Returns the fields of `/proc/PID/stat` from the state on (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn masters(sandbox: &Deployment) -> Result<Vec<u32>> {
    let all = naming(&sandbox.dir())?.into_iter();
    Ok(all.filter(|(_, line)| line.starts_with("nginx: master")).map(|(pid, _)| pid).collect())
}

/// Demands that nothing of a sandbox is left: no process, no folder, no port.
fn is_gone(sandbox: &Deployment, record: &Value) -> Result<()> {
    let token = record["token"].as_str().context("no token")?;
    let left = carriers(token)?;
    ensure!(left.is_empty(), "processes are left: {left:?}");
    // Editors and their supervisors name it too.
    let left = naming(&sandbox.dir())?;
    ensure!(left.is_empty(), "processes are left: {left:?}");
    ensure!(!sandbox.dir().exists(), "the folder is left");
    let started = record["started"].as_object().context("nothing was started")?;
    for part in started.keys() {
        let name = if part == "nginx" { "site" } else { part.as_str() };
        let port = record["ports"][name].as_u64().context("no port")?;
        let port = u16::try_from(port)?;
        // Somebody else who looks for a port may probe this one.
        let what = format!("port {port} of {part}");
        wait::until_true(&what, BOUND, || TcpListener::bind(("127.0.0.1", port)).is_ok())?;
    }
    Ok(())
}

/// What a file is: mode, inode and content.
type FileState = (u32, u64, Vec<u8>);

/// Returns all that is in the sandbox, but for what its programs write while they run; of a lock
/// file the name alone, because its content says who held it last.
fn tree(sandbox: &Deployment) -> Result<BTreeMap<PathBuf, FileState>> {
    let dir = sandbox.dir();
    let programs = ["var/log", "var/lib"].map(|below| dir.join(below));
    let mut found = BTreeMap::new();
    let mut next = vec![dir];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() && !programs.contains(&path) {
                next.push(path.clone());
            }
            let advice = path.components().any(|part| part.as_os_str() == "locks");
            let content = if meta.is_file() && !advice { fs::read(&path)? } else { Vec::new() };
            found.insert(path, (meta.permissions().mode(), meta.ino(), content));
        }
    }
    Ok(found)
}

#[test]
fn everything_is_up_and_a_second_run_finds_nothing_to_do() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    let first = sandbox.up()?.expect(0)?.json()?;
    let session = sandbox.session()?;
    assert_eq!(first["tool"], "oh-deploy");
    assert_eq!(first["result"]["origin"], json!(sandbox.url("")?));
    assert_eq!(first["result"]["session"], json!(session));
    assert_eq!(first["result"]["editors"], true);
    let password = first["result"]["login"]["password"].as_str().context("no password")?;
    let login = ("openhands".to_owned(), password.to_owned());
    assert_eq!(get(&sandbox, "/alive", &login)?.status, 200);
    serves_everything(&sandbox, true)?;
    runs_once(&sandbox, &PARTS)?;

    edits_once(&sandbox)?;

    let (files, record) = (tree(&sandbox)?, sandbox.record()?);
    let editors = sandbox.editors()?;
    let second = sandbox.up()?.expect(0)?.json()?;
    assert_eq!(second["result"]["steps"], json!([]));
    assert_eq!(second["result"]["login"], Value::Null);
    assert_eq!(sandbox.record()?, record);
    let changed = changed(&files, &tree(&sandbox)?);
    assert_eq!(changed, BTreeSet::new());
    runs_once(&sandbox, &PARTS)?;
    assert_eq!(sandbox.editors()?, editors);

    let said: Said = sandbox.up_command("human")?.output()?.into();
    ensure!(said.stdout.starts_with("nothing to do"), "{said:?}");
    ensure!(!said.stdout.contains(password), "the password is shown again");

    assert_eq!(sandbox.down()?.expect(0)?.code, 0);
    is_gone(&sandbox, &record)?;
    let again = sandbox.down()?.expect(0)?;
    let gone = format!("nothing to do: there is no {}, and no process", sandbox.dir().display());
    ensure!(again.stdout.starts_with(&gone), "{}", again.stdout);
    Ok(())
}

fn changed(
    before: &BTreeMap<PathBuf, FileState>,
    after: &BTreeMap<PathBuf, FileState>,
) -> BTreeSet<PathBuf> {
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

#[test]
fn a_killed_part_is_brought_back_and_the_others_stay() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    sandbox.up()?.expect(0)?;
    let session = sandbox.session()?;
    for killed in [session.as_str(), "app", "nginx"] {
        let (before, editors) = (sandbox.record()?, sandbox.editors()?);
        match editors.get(killed) {
            // With its supervisor, which would start it again by itself.
            Some((editor, supervisor)) => kill_all(&[*supervisor, *editor])?,
            None => kill(&before, killed)?,
        }
        let said = sandbox.up()?.expect(0).with_context(|| format!("after the end of {killed}"))?;
        let steps = said.json()?["result"]["steps"].to_string();
        ensure!(steps.contains("start "), "{killed}: {steps}");
        let after = sandbox.record()?;
        for (part, identity) in before["started"].as_object().context("nothing was started")? {
            let is_other = after["started"][part] != *identity;
            ensure!(is_other == (part == killed), "{part} after the end of {killed}");
        }
        for (id, pids) in &sandbox.editors()? {
            let is_other = editors.get(id) != Some(pids);
            ensure!(is_other == (id == killed), "{id} after the end of {killed}");
        }
        serves_everything(&sandbox, true).with_context(|| format!("after the end of {killed}"))?;
        runs_once(&sandbox, &PARTS).with_context(|| format!("after the end of {killed}"))?;
        edits_once(&sandbox).with_context(|| format!("after the end of {killed}"))?;
    }
    Ok(())
}

#[test]
fn what_a_killed_part_leaves_behind_goes_down_too() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    sandbox.up()?.expect(0)?;
    let record = sandbox.record()?;
    let editors = sandbox.editors()?;
    let (editor, supervisor) = editors.get(&sandbox.session()?).context("no session")?;
    kill_all(&[*supervisor, *editor])?;
    let (_, supervisor) = editors.get("hello").context("no repository")?;
    kill_all(&[*supervisor])?;
    for killed in ["app", "nginx"] {
        kill(&record, killed)?;
    }
    sandbox.down()?.expect(0)?;
    is_gone(&sandbox, &record)
}

#[test]
fn a_broken_configuration_is_in_no_way_of_its_end() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    sandbox.up()?.expect(0)?;
    let record = sandbox.record()?;
    fs::write(sandbox.dir().join("etc/openhands-toolkit/config.toml"), "[toolkit\n")?;
    sandbox.down()?.expect(0)?;
    is_gone(&sandbox, &record)
}

/// Kills processes, and waits for their ends.
fn kill_all(pids: &[u32]) -> Result<()> {
    for pid in pids {
        kill_process(Pid::from_raw(pid.cast_signed()).context("no pid")?, Signal::KILL)?;
    }
    pids.iter().try_for_each(|pid| wait::until_true("its end", BOUND, || is_dead(*pid)))
}

/// Kills what the record names, and waits for its end.
fn kill(record: &Value, part: &str) -> Result<()> {
    let pid = record["started"][part]["pid"].as_u64().context("no pid")?;
    kill_all(&[u32::try_from(pid)?])
}

#[test]
fn a_folder_with_something_else_in_it_is_refused_and_untouched() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    fs::create_dir(sandbox.dir())?;
    fs::write(sandbox.dir().join("thesis.txt"), "ten years")?;
    let before = tree(&sandbox)?;
    for said in [sandbox.up()?, sandbox.down()?] {
        let said = said.expect(2)?;
        let dir = sandbox.dir().display().to_string();
        let expected = format!("error: {dir} has something in it and is no sandbox");
        ensure!(said.stderr.starts_with(&expected), "{said:?}");
        assert_eq!(changed(&before, &tree(&sandbox)?), BTreeSet::new());
    }
    Ok(())
}

#[test]
fn without_an_editor_the_rest_is_up_and_it_is_said_what_is_missing() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    let said = rest_is_up(sandbox.up()?)?;
    let missing = "missing: the editor of the session, the application of the session, the editor of \
                   the repository (code-server is not installed); all else is up";
    ensure!(said.stderr.contains(missing), "{said:?}");
    assert_eq!(said.json()?["result"]["editors"], false);
    serves_everything(&sandbox, false)?;
    let status =
        get(&sandbox, &format!("/vscode/{}/x", sandbox.session()?), &sandbox.login()?)?.status;
    assert_eq!(status, 404);
    runs_once(&sandbox, &["openhands"])?;

    // It is installed later.
    let mut up = sandbox.up_command("json")?;
    up.arg("--node").arg(components::node()?).arg("--code-server").arg(components::code_server()?);
    Said::from(up.output()?).expect(0)?;
    serves_everything(&sandbox, true)?;
    runs_once(&sandbox, &PARTS)?;
    edits_once(&sandbox)
}

#[test]
fn two_runs_at_once_end_well_and_nothing_is_doubled() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    let mut runs = [
        Running::start(&mut sandbox.up_command("json")?)?,
        Running::start(&mut sandbox.up_command("json")?)?,
    ];
    for run in &mut runs {
        let ended = run.wait(BOUND)?;
        ensure!(ended.success(), "{ended}: {}", run.log());
    }
    let idle = runs.iter().filter(|run| run.log().contains("\"steps\":[]")).count();
    ensure!(idle == 1, "{} and {}", runs[0].log(), runs[1].log());
    serves_everything(&sandbox, true)?;
    runs_once(&sandbox, &PARTS)?;
    edits_once(&sandbox)
}

#[test]
fn up_and_down_at_once_leave_something_that_the_next_run_mends() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    for _ in 0..5 {
        rest_is_up(sandbox.up()?)?;
        let record = sandbox.record()?;
        let mut down = Running::start(&mut sandbox.down_command()?)?;
        let mut up = Running::start(&mut sandbox.up_command("json")?)?;
        let codes = (down.wait(BOUND)?.code(), up.wait(BOUND)?.code());
        ensure!(codes.0 == Some(0), "{codes:?}: {} and {}", down.log(), up.log());
        let left = carriers(record["token"].as_str().context("no token")?)?;
        ensure!(left.is_empty(), "{codes:?}: {left:?}: {} and {}", down.log(), up.log());
        rest_is_up(sandbox.up()?).with_context(|| format!("{codes:?}, {}", up.log()))?;
        serves_everything(&sandbox, false)?;
        runs_once(&sandbox, &["openhands"])?;
    }
    Ok(())
}

/// The calls that change something outside the process, as strace names them.
const CHANGING: &str = "openat,write,fsync,fchmod,mkdirat,mkdir,renameat,renameat2,rename,linkat,\
                        unlinkat,pidfd_send_signal,connect,clone3,clone,vfork";

/// `up` under strace, which kills it right before its `when`-th call of a name.
fn up_killed_at(sandbox: &Deployment, call: &str, when: usize) -> Result<Said> {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    up_under_strace(sandbox, &["-e", &format!("trace={CHANGING}"), "-e", &inject])
}

fn up_under_strace(sandbox: &Deployment, options: &[&str]) -> Result<Said> {
    under_strace(sandbox, &sandbox.up_command("json")?, options)
}

fn under_strace(sandbox: &Deployment, tool: &Command, options: &[&str]) -> Result<Said> {
    let mut command = Command::new(components::program("strace")?);
    command.env_clear().current_dir("/").arg("-o").arg(sandbox.dir().with_extension("strace"));
    command.args(options).arg("--").arg(tool.get_program()).args(tool.get_args());
    Ok(command.output().context("could not run strace")?.into())
}

/// Returns the changing calls of a whole `up`, each with its number among those of its name.
fn calls(sandbox: &Deployment) -> Result<Vec<(String, usize)>> {
    up_under_strace(sandbox, &["-e", &format!("trace={CHANGING}")])?;
    let log = fs::read_to_string(sandbox.dir().with_extension("strace"))?;
    sandbox.down()?.expect(0)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((name, rest)) = line.split_once('(') else { continue };
        let count = counts.entry(name.into()).or_default();
        *count += 1;
        // Opening to read changes nothing, and what it reads is read again by the next run.
        if name != "openat" || rest.contains("O_CREAT") {
            calls.push((name.to_owned(), *count));
        }
    }
    ensure!(calls.len() > 50, "too few calls to be true: {calls:?}");
    Ok(calls)
}

/// Chooses the moments: right after each start of a program, which is not yet written down then,
/// and every `stride`-th of the others.
fn moments(calls: &[(String, usize)], stride: usize) -> Vec<(String, usize)> {
    let starts = |(name, _): &(String, usize)| name.starts_with("clone") || name == "vfork";
    let after_start = calls.windows(2).filter(|pair| starts(&pair[0])).map(|pair| pair[1].clone());
    let sampled = calls.iter().step_by(stride).cloned();
    after_start.chain(sampled).collect()
}

/// Kills `up` at each moment, each time from nothing, and demands what `order` demands.
fn at_each_moment(order: fn(&Deployment) -> Result<()>) -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    let stride = if cfg!(feature = "full") { 1 } else { 20 };
    let (mut struck, mut wrong) = (0, Vec::new());
    for (call, when) in moments(&calls(&sandbox)?, stride) {
        let killed = up_killed_at(&sandbox, &call, when)?;
        struck += usize::from(killed.code == -1);
        if let Err(error) = order(&sandbox) {
            wrong.push(format!("killed at {call} number {when}: {error:#}"));
            sandbox.down()?;
        }
        ensure!(!sandbox.dir().exists(), "the next one would not begin from nothing: {wrong:#?}");
    }
    ensure!(wrong.is_empty(), "{} of {struck}: {wrong:#?}", wrong.len());
    ensure!(struck > 10, "only {struck} blows");
    Ok(())
}

#[test]
fn killed_at_any_moment_the_next_run_ends_with_everything_up_once() -> Result<()> {
    at_each_moment(|sandbox| {
        rest_is_up(sandbox.up()?)?;
        serves_everything(sandbox, false)?;
        runs_once(sandbox, &["openhands"])?;
        let record = sandbox.record()?;
        sandbox.down()?.expect(0)?;
        is_gone(sandbox, &record)
    })
}

#[test]
fn killed_at_any_moment_it_can_be_taken_down_and_nothing_is_left() -> Result<()> {
    at_each_moment(|sandbox| {
        let Ok(record) = sandbox.record() else {
            // Nothing is started before the record is written.
            rest_is_up(sandbox.up()?)?;
            return sandbox.down()?.expect(0).map(drop);
        };
        sandbox.down()?.expect(0)?;
        is_gone(sandbox, &record)
    })
}

#[test]
fn a_killed_down_is_finished_by_the_next_one() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    // Several threads remove the folder, and each counts for itself.
    for (call, when) in
        [("pidfd_send_signal", 1), ("unlinkat", 1), ("unlinkat", 4), ("unlinkat", 8)]
    {
        rest_is_up(sandbox.up()?)?;
        let record = sandbox.record()?;
        let inject = format!("inject={call}:signal=KILL:when={when}");
        let killed = under_strace(&sandbox, &sandbox.down_command()?, &["-f", "-e", &inject])?;
        ensure!(killed.code == -1 && sandbox.dir().exists(), "{call} {when}: {killed:?}");
        sandbox.down()?.expect(0).with_context(|| format!("killed at {call} number {when}"))?;
        is_gone(&sandbox, &record)?;
    }
    Ok(())
}

#[test]
fn killed_while_editors_start_the_next_run_adopts_them() -> Result<()> {
    let sandbox = Deployment::new(With::Everything)?;
    for line in ["openhands ", "nginx ", "session ", "app "] {
        let mut run = Running::start(&mut sandbox.up_command("json")?)?;
        run.wait_for_line(line, BOUND)?;
        run.signal(Signal::KILL);
        run.wait(BOUND)?;
        sandbox.up()?.expect(0).with_context(|| format!("killed after {line:?}"))?;
        serves_everything(&sandbox, true).with_context(|| format!("killed after {line:?}"))?;
        runs_once(&sandbox, &PARTS).with_context(|| format!("killed after {line:?}"))?;
        edits_once(&sandbox).with_context(|| format!("killed after {line:?}"))?;
        let record = sandbox.record()?;
        sandbox.down()?.expect(0)?;
        is_gone(&sandbox, &record).with_context(|| format!("killed after {line:?}"))?;
    }
    Ok(())
}

#[test]
fn a_sandbox_keeps_its_scheme() -> Result<()> {
    let sandbox = Deployment::new(With::NoEditor)?;
    rest_is_up(sandbox.up()?)?;
    let before = sandbox.record()?;
    let said: Said = sandbox.up_command("json")?.arg("--http").output()?.into();
    let said = said.expect(2)?;
    ensure!(said.stderr.starts_with("error: this sandbox serves TLS on localhost"), "{said:?}");
    let command = "first: cargo xtask deploy --sandbox --down --dir /";
    ensure!(said.stderr.contains(command), "{said:?}");
    assert_eq!(sandbox.record()?, before);
    serves_everything(&sandbox, false)
}
