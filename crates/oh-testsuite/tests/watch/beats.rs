//! The heartbeat says what is served, and not only what is wanted; the end is no failure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end};
use oh_testsuite::watching::{BOUND, Watch, heartbeat};
use oh_testsuite::{components, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{port_only, watched};

/// Waits for a heartbeat that has this value at this place, and returns it.
fn beats(lab: &Lab, pointer: &str, expected: &Value) -> Result<Value> {
    wait::until(&format!("{pointer} {expected}"), BOUND, || {
        let beat = heartbeat(lab).ok();
        Ok(beat.filter(|beat| beat.pointer(pointer) == Some(expected)))
    })
}

#[test]
fn a_watch_that_cannot_publish_tells_what_is_served_all_the_same() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    for id in ["one", "two"] {
        lab.session(id, &port_only(back_end()?))?;
    }
    lab.run(&["apply"])?.expect(0)?;
    let generation = lab.generation().context("nothing is served")?;
    lab.write("var/www/ai-desktop/data/repositories.json", "{\"repositories\":[{\"id\":")?;
    let mut watch = Watch::start_only(&lab, &[])?;
    watch.tells("cannot be used")?;
    let beat = beats(&lab, "/served", &json!({ "generation": generation, "routed": 2 }))?;
    ensure!(beat["generation"] == json!(generation), "{beat}");
    ensure!(beat["routed"].is_null() && beat["excluded"].is_null(), "{beat}");
    ensure!(beat["nginx_runs"] == json!(true), "{beat}");
    let reason = beat.pointer("/failing/reason").and_then(Value::as_str).context("no reason")?;
    ensure!(reason.contains("repositories.json cannot be used"), "{reason}");
    ensure!(!reason.contains('\n'), "{reason}");
    ensure!(!reason.contains("error:") && !reason.contains("hint:"), "{reason}");
    Ok(())
}

#[test]
fn without_nginx_nothing_is_served_and_the_heartbeat_says_so() -> Result<()> {
    let (mut lab, _watch) = watched(&["--set", "nginx.rescan_s=1"])?;
    lab.session("one", &port_only(back_end()?))?;
    let beat = beats(&lab, "/served/routed", &json!(1))?;
    ensure!(beat["nginx_runs"] == json!(true) && beat["routed"] == json!(1), "{beat}");
    ensure!(beat["served"]["generation"] == beat["generation"], "{beat}");
    lab.nginx()?.signal(Signal::KILL);
    lab.stop_nginx()?;
    let beat = beats(&lab, "/nginx_runs", &json!(false))?;
    ensure!(beat["routed"] == json!(1), "{beat}");
    beats(&lab, "/served", &Value::Null)?;
    lab.start_nginx()?;
    let beat = beats(&lab, "/nginx_runs", &json!(true))?;
    ensure!(beat["served"]["generation"] == beat["generation"], "{beat}");
    Ok(())
}

/// Writes a program that is nginx, but ends its caller and itself instead of the given answer.
fn ending_nginx(lab: &Lab, at: &str) -> Result<String> {
    let nginx = components::program("nginx")?;
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in {at}) kill -TERM $PPID; kill -TERM $$;; esac\nexec {} \"$@\"\n",
        nginx.display()
    );
    lab.write("nginx.sh", &script)?;
    fs::set_permissions(lab.at("nginx.sh"), fs::Permissions::from_mode(0o755))?;
    Ok(format!("nginx.program={}", lab.at("nginx.sh").display()))
}

#[test]
fn a_program_that_ends_with_the_watch_has_not_failed() -> Result<()> {
    for at in ["-V", "-t"] {
        let lab = Lab::plain()?;
        let program = ending_nginx(&lab, at)?;
        let mut command = lab.command(&["--set", &program, "watch"])?;
        let output = command.output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{at}: {said}");
        ensure!(said.contains("ended by SIGTERM"), "{at}: {said}");
        ensure!(!said.contains("error:") && !said.contains("because:"), "{at}: {said}");
    }
    Ok(())
}
