//! Who can read a key: nginx's master and root, in two files, and nobody anywhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_model::instance::{Server, Subject};
use oh_testsuite::instances::{Instances, kill};
use oh_testsuite::lab::{Lab, Said, back_end};
use oh_testsuite::process::Running;
use oh_testsuite::stranger::STRANGER;
use oh_testsuite::{components, openvscode, wait};
use serde_json::json;

use crate::scene::{BOUND, key, on_port, own_uid, put_session, record};

/// How long nginx may take to start.
const START_BOUND: Duration = Duration::from_secs(20);

/// The folder of our sets.
const SETS: &str = "etc/nginx/openhands";

/// A site with nginx, and a session `s` with the key `a1…`.
fn served() -> Result<Lab> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    session(&lab, "a1")?;
    Ok(lab)
}

fn session(lab: &Lab, digits: &str) -> Result<()> {
    let editor = record("s", Subject::Session, Server::CodeServer, &key(digits))?;
    put_session(lab, &on_port(editor, back_end()?)?)
}

/// Demands that a run has said nothing of a key.
fn silent(said: &Said, what: &str) -> Result<()> {
    for digits in ["a1", "b2"] {
        for text in [&said.stdout, &said.stderr] {
            // Not even a part of it.
            ensure!(!text.contains(&digits.repeat(4)), "{what}: {text}");
        }
    }
    Ok(())
}

#[test]
fn no_command_prints_a_key() -> Result<()> {
    let lab = served()?;
    let commands: [&[&str]; 6] =
        [&["render"], &["plan"], &["status"], &["apply"], &["lint"], &["watch", "--once"]];
    // Before there is a set, with one, and with one whose key changes.
    for digits in ["a1", "b2", "b2"] {
        session(&lab, digits)?;
        for command in commands {
            for format in ["human", "json"] {
                let arguments = [command, &["--format", format]].concat();
                let said = lab.run(&arguments)?;
                ensure!([0, 1].contains(&said.code), "{arguments:?}: {said:?}");
                silent(&said, &format!("{arguments:?}"))?;
                if command == ["render"] {
                    ensure!(said.stdout.contains("code-server-session=<key>"), "{said:?}");
                }
            }
        }
    }
    let text = fs::read_to_string(lab.at(&format!("{SETS}/routes.conf")))?;
    ensure!(text.contains(&key("b2")) && !text.contains(&key("a1")), "not published: {text}");
    let log = lab.error_log();
    ensure!(!log.contains(&key("a1")) && !log.contains(&key("b2")), "{log}");
    Ok(())
}

#[test]
fn no_fault_repeats_a_key() -> Result<()> {
    let lab = served()?;
    lab.run(&["apply"])?.expect(0)?;
    let file = lab.at(&format!("{SETS}/routes.conf"));
    let whole = fs::read_to_string(&file)?;
    let line = format!("vscode/s \"code-server-session={}\";", key("a1"));
    for broken in [
        format!("vscode/s \"code-server-session={0}\" {0};", key("a1")),
        format!("vscode/s {};", key("a1")),
        format!("vscode/s \"code-server-session={}", key("a1")),
        format!("{line} code-server-session={} x {{ }}", key("a1")),
    ] {
        fs::write(&file, whole.replacen(&line, &broken, 1))?;
        // A plan shows what somebody else wrote there, but for what is written as a cookie.
        let as_cookie = broken.matches(&key("a1")).count() == broken.matches('=').count();
        let plan = as_cookie.then_some("plan");
        for command in ["render", "status", "lint", "apply"].into_iter().chain(plan) {
            let said = lab.run(&[command])?;
            silent(&said, &format!("{command}, {broken}"))?;
        }
        fs::write(&file, &whole)?;
    }
    // nginx itself refuses: what it says goes through us.
    lab.write("etc/nginx/conf.d/zz.conf", &format!("vscode-tkn={};\n", key("a1")))?;
    lab.session("t", &format!("{{\"vscode_port\":{}}}", back_end()?))?;
    let said = lab.run(&["apply", "--set", "site.upstream=127.0.0.1:1"])?;
    silent(&said, "nginx -t")?;
    ensure!(said.stderr.contains("unknown directive \"vscode-tkn=<key>\""), "{said:?}");
    fs::remove_file(lab.at("etc/nginx/conf.d/zz.conf"))?;

    let folder = lab.at("var/lib/openhands-toolkit/instances");
    fs::write(folder.join("t.json"), format!("{{\"key\": \"{}\", ", key("a1")))?;
    let generation = lab.generation();
    for command in ["render", "plan", "status", "apply"] {
        let said = lab.run(&[command])?.expect(4)?;
        silent(&said, command)?;
        ensure!(said.stderr.contains("t.json is no file of this toolkit"), "{}", said.stderr);
        ensure!(said.stderr.contains("what was served is still served"), "{}", said.stderr);
    }
    ensure!(lab.generation() == generation && lab.get("/vscode/s/x", &[])?.status == 200);
    Ok(())
}

#[test]
fn no_command_shows_a_key_that_an_editor_prints() -> Result<()> {
    let server = Server::Openvscode.as_str();
    let scene = Instances::new(&format!("server = \"{server}\"\nrestarts_max = 0\n"))?;
    let entry = openvscode::copy_into(&scene.lab.at("vscode"))?;
    let node = components::node()?;
    let script = format!("#!/bin/sh\nexec {} {} \"$@\"\n", node.display(), entry.display());
    scene.lab.write("code-server", &script)?;
    fs::set_permissions(scene.lab.at("code-server"), fs::Permissions::from_mode(0o755))?;
    let instance = scene.start("hello")?;
    let state = "run/openhands-toolkit/instances/hello.json";
    let key = scene.json(state)?["key"].as_str().context("no key")?.to_owned();
    let log = "var/log/openhands-editors/hello.log";
    let printed = || Ok(fs::read_to_string(scene.lab.at(log))?.contains(&key).then_some(()));
    wait::until("the editor to print its key", BOUND, printed)?;
    let shown = |command: &[&str]| -> Result<String> {
        let mut shown = String::new();
        for format in ["human", "json"] {
            let said = scene.run(&[command, &["--format", format]].concat())?;
            ensure!([0, 1].contains(&said.code), "{command:?}: {said:?}");
            shown.push_str(&format!("{}{}", said.stdout, said.stderr));
        }
        // Not even a part of it.
        let (part, _) = key.split_at(8);
        ensure!(!shown.contains(part), "{command:?}: {shown}");
        Ok(shown)
    };
    let text = shown(&["logs", "hello"])?;
    ensure!(text.contains("?tkn=<key>"), "{text}");
    shown(&["list"])?;
    shown(&["status", "hello"])?;
    // What is kept of its end, too; it says so once more, as after a restart.
    let text = fs::read_to_string(scene.lab.at(log))?;
    let line = text.lines().find(|line| line.contains(&key)).context("no line")?;
    fs::write(scene.lab.at(log), format!("{text}{line}\n"))?;
    kill(u32::try_from(instance["pid"].as_u64().context("no pid")?)?)?;
    let why = wait::until("it to be given up", BOUND, || {
        let state = scene.json(state)?;
        Ok(state["phase"]["failed"]["why"].as_str().map(ToOwned::to_owned))
    })?;
    ensure!(why.contains("?tkn=<key>") && !why.contains(&key), "{why}");
    let text = shown(&["status", "hello"])?;
    ensure!(text.contains("?tkn=<key>"), "{text}");
    shown(&["list"])?;
    let text = shown(&["logs", "hello"])?;
    ensure!(text.contains("?tkn=<key>"), "{text}");
    ensure!(scene.json(state)?["key"] == json!(null), "the state keeps its key");
    Ok(())
}

/// Returns the mode and the owner of a set.
fn who_reads(lab: &Lab, name: &str) -> Result<(u32, u32)> {
    let meta = fs::metadata(lab.at(&format!("{SETS}/{name}")))?;
    Ok((meta.permissions().mode() & 0o777, meta.uid()))
}

#[test]
fn a_set_with_keys_is_nobody_elses_to_read() -> Result<()> {
    let (lab, own) = (served()?, own_uid()?);
    lab.end_session("s")?;
    lab.run(&["apply"])?.expect(0)?;
    assert_eq!(who_reads(&lab, "routes.conf")?, (0o644, own));
    session(&lab, "a1")?;
    lab.run(&["apply"])?.expect(0)?;
    assert_eq!(who_reads(&lab, "routes.conf")?, (0o600, own));
    ensure!(lab.get("/vscode/s/x", &[])?.text().contains(&key("a1")), "it is not presented");
    // Kept to go back to, it stays a secret; and a change of more than data is tested by nginx.
    lab.end_session("s")?;
    lab.run(&["apply", "--set", "site.upstream=127.0.0.1:1"])?.expect(0)?;
    assert_eq!(who_reads(&lab, "previous.conf")?, (0o600, own));
    assert_eq!(who_reads(&lab, "routes.conf")?, (0o644, own));
    session(&lab, "b2")?;
    lab.run(&["apply"])?.expect(0)?;
    assert_eq!(who_reads(&lab, "routes.conf")?, (0o600, own));
    let left = fs::read_dir(lab.at(SETS))?.count();
    assert_eq!(left, 2);
    Ok(())
}

#[test]
fn a_master_of_another_user_reads_its_set_and_nobody_else() -> Result<()> {
    ensure!(own_uid()? == 0, "environment: root is needed");
    let lab = Lab::plain()?;
    for folder in ["run", "log"] {
        chown(lab.at(folder), Some(STRANGER), Some(STRANGER))?;
    }
    let config = lab.at("etc/nginx/nginx.conf");
    let mut command = Command::new(components::program("setpriv")?);
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}")]);
    command.arg("--clear-groups").arg(components::program("nginx")?);
    command.arg("-c").arg(&config).args(["-g", "daemon off;"]).current_dir("/");
    let nginx = Running::start(&mut command)?;
    wait::until_true("the pid file of nginx", START_BOUND, || {
        let written = fs::read_to_string(lab.at("run/nginx.pid")).unwrap_or_default();
        written.trim() == nginx.id().to_string()
    })
    .with_context(|| nginx.log())?;
    session(&lab, "a1")?;
    // The first is tested by nginx as that user, the second is proved, the third tested again.
    for sets in [&[][..], &[], &["--set", "site.upstream=127.0.0.1:1"]] {
        session(&lab, "a1")?;
        lab.run(&[&["apply"], sets].concat())?.expect(0)?;
        assert_eq!(who_reads(&lab, "routes.conf")?, (0o600, STRANGER));
        ensure!(lab.get("/vscode/s/x", &[])?.text().contains(&key("a1")), "{}", lab.error_log());
    }
    Ok(())
}
