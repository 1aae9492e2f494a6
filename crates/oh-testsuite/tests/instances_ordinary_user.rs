//! `oh-instances` of an ordinary user, on a root of their own with an nginx of their own. Where the
//! tests are root's, every command drops to such a user first.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::instances::{Instances, is_root, user_ids};
use oh_testsuite::lab::{Said, basic};
use serde_json::{Value, json};

const RECORDS: &str = "var/lib/openhands-toolkit/instances";

/// Demands that this succeeds, and returns its result.
fn ask(scene: &Instances, arguments: &[&str], code: i32) -> Result<Value> {
    let arguments = [arguments, &["--format", "json"]].concat();
    Ok(scene.run(&arguments)?.expect(code)?.json()?["result"].clone())
}

/// The user whom everything of a scene is.
fn owner(scene: &Instances) -> Result<u32> {
    Ok(fs::metadata(scene.lab.at("etc"))?.uid())
}

fn status_of(scene: &Instances, path: &str, password: Option<&str>) -> Result<u16> {
    let login = password.map(|password| basic("openhands", password));
    let headers: Vec<(&str, &str)> =
        login.iter().map(|login| ("Authorization", login.as_str())).collect();
    Ok(scene.lab.get(path, &headers)?.status)
}

#[test]
fn an_ordinary_user_has_editors_of_their_own() -> Result<()> {
    let scene = Instances::of_ordinary_user("")?;
    let uid = owner(&scene)?;
    ensure!(uid != 0, "root is no ordinary user");
    ensure!(ask(&scene, &["list"], 0)?["instances"] == json!([]));
    let folder = scene.repository("hello")?;
    let started = ask(&scene, &["start", "--repo", &folder], 0)?;
    let hello = &started["instance"];
    ensure!(hello["uid"] == json!(uid) && hello["unit"].is_null(), "{hello:#}");
    let password = started["login"]["password"].as_str().context("no login was made")?.to_owned();
    ask(&scene, &["start", "--session", "4f1c", "--apps", "1"], 0)?;

    // All of it is theirs, and nobody else reads the keys.
    let running = scene.processes()?;
    ensure!(running.len() >= 6, "{running:?}");
    for (pid, line) in &running {
        ensure!(fs::metadata(format!("/proc/{pid}"))?.uid() == uid, "{line} is another user's");
    }
    for id in ["hello", "4f1c"] {
        let record = fs::metadata(scene.lab.at(&format!("{RECORDS}/{id}.json")))?;
        ensure!((record.uid(), record.mode() & 0o777) == (uid, 0o600));
        let path = format!("/vscode/{id}/healthz");
        ensure!(status_of(&scene, &path, None)? == 401, "{id} asks for no login");
        ensure!(status_of(&scene, &path, Some(&password))? == 200, "{id} is not served");
    }

    let all = ask(&scene, &["list"], 0)?;
    let words = all["instances"].as_array().context("no list")?.iter().map(|one| &one["state"]);
    ensure!(words.eq([&json!("running"), &json!("running")]), "{all:#}");
    let status = ask(&scene, &["status", "hello"], 0)?;
    ensure!(status["is_well"] == json!(true), "{status:#}");
    ensure!(status["instance"]["listener"]["is"] == json!("own"), "{status:#}");
    ensure!(!scene.run(&["logs", "hello"])?.expect(0)?.stdout.is_empty());
    let reconciled = scene.run(&["reconcile"])?.expect(0)?;
    ensure!(reconciled.stdout.starts_with("nothing to do\n"), "{reconciled:?}");
    let spared = ask(&scene, &["stop", "--idle", "1h"], 0)?;
    ensure!(spared["instances"][0]["verdict"] == json!("spared"), "{spared:#}");
    let again = ask(&scene, &["restart", "hello"], 0)?;
    ensure!(again["instance"]["pid"] != hello["pid"], "{again:#}");
    ensure!(again["instance"]["port"] == hello["port"], "{again:#}");

    scene.run(&["stop", "hello"])?.expect(0)?;
    scene.run(&["stop", "--all", "--purge"])?.expect(0)?;
    ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
    TcpListener::bind(("127.0.0.1", scene.first_port)).context("the port is still taken")?;
    ensure!(fs::read_dir(scene.lab.at(RECORDS))?.next().is_none(), "a record is left");
    ensure!(status_of(&scene, "/vscode/hello/", Some(&password))? == 404);
    Ok(())
}

#[test]
fn what_only_root_can_is_refused_by_its_reason() -> Result<()> {
    let scene = Instances::of_ordinary_user("")?;
    let folder = scene.repository("hello")?;
    let repo = ["start", "--repo", folder.as_str()];
    for (more, code, reason) in [
        (["--user", "root"], 2, "only root can start an editor of user root"),
        (["--user", "daemon"], 2, "only root can start an editor of user daemon"),
        (["--set", "instances.user=daemon"], 2, "only root can start an editor of user daemon"),
        (["--set", "instances.supervision=systemd"], 2, "only root can have a unit"),
    ] {
        let said = scene.run(&[&repo[..], &more].concat())?.expect(code)?;
        ensure!(said.stderr.contains(reason), "{more:?}: {said:?}");
        ensure!(said.stderr.contains("nothing was changed"), "{more:?}: {said:?}");
    }
    for user in ["root", "daemon"] {
        let said = scene.run(&["env", "--user", user])?.expect(2)?;
        ensure!(said.stderr.contains("only root can write the file of user "), "{said:?}");
    }
    ensure!(scene.processes()?.is_empty() && !scene.lab.at(RECORDS).exists());
    Ok(())
}

/// Runs the built program as the ordinary user on another's root.
fn as_stranger(scene: &Instances, arguments: &[&str]) -> Result<Said> {
    // A copy, because that user need not see where it was built.
    let program = scene.lab.at("oh-instances");
    if !program.exists() {
        fs::copy(components::built("oh-instances")?, &program)?;
    }
    let (uid, gid) = user_ids()?;
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").arg("--root").arg(scene.lab.root()).args(arguments);
    command.uid(uid).gid(gid);
    Ok(command.output().context("could not run oh-instances")?.into())
}

#[test]
fn the_instances_of_root_are_not_said_to_be_gone() -> Result<()> {
    // Without root there are no two users.
    if !is_root()? {
        return Ok(());
    }
    let scene = Instances::new("")?;
    let hello = scene.start("hello")?;
    let folder = scene.repository("other")?;
    for arguments in [
        &["list"][..],
        &["status", "hello"],
        &["logs", "hello"],
        &["stop", "hello"],
        &["stop", "--all"],
        &["stop", "--idle", "1h"],
        &["restart", "hello"],
        &["reconcile"],
        &["start", "--repo", &folder],
    ] {
        let said = as_stranger(&scene, arguments)?;
        ensure!([1, 4].contains(&said.code), "{arguments:?}: {said:?}");
        ensure!(said.stderr.contains("Permission denied"), "{arguments:?}: {said:?}");
        for word in ["stopped", "does not run", "no instance", "nothing to do", "free"] {
            ensure!(!said.stdout.contains(word), "{arguments:?}: {said:?}");
        }
    }
    let now = scene.ask(&["start", "--repo", "/var/www/github/hello"])?;
    ensure!(now["instance"] == hello, "{now:#}{hello:#}");
    Ok(())
}

#[test]
fn an_ordinary_user_has_an_editor_on_a_socket_and_a_unit_of_their_own() -> Result<()> {
    let scene = Instances::of_ordinary_user("transport = \"unix\"\n")?;
    let folder = scene.repository("hello")?;
    let sockets = ["--set", "sessions.sockets=/run/s"];
    let start = [&["start", "--repo", &folder][..], &sockets].concat();
    let started = ask(&scene, &start, 0)?;
    ensure!(started["instance"]["port"].is_null(), "{started:#}");
    let password = started["login"]["password"].as_str().context("no login was made")?;
    let health = "/vscode/hello/healthz";
    ensure!(status_of(&scene, health, Some(password))? == 200, "it is not served");
    scene.run(&[&["stop", "hello"][..], &sockets].concat())?.expect(0)?;

    // Root would refuse a root that is another user's.
    let owner = owner(&scene)?;
    for unit in ["boot", "service"] {
        let text = scene.run(&["print-unit", unit])?.expect(0)?.stdout;
        let line = text.lines().find_map(|line| line.strip_prefix("User="));
        let user = line.with_context(|| format!("no user: {text}"))?;
        let known = fs::read_to_string("/etc/passwd")?;
        let known = known.lines().find(|line| line.starts_with(&format!("{user}:")));
        let uid = known.and_then(|line| line.split(':').nth(2));
        ensure!(uid == Some(owner.to_string().as_str()), "{user} is not the owner");
    }
    Ok(())
}
