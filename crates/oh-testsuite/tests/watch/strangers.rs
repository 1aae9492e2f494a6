//! Ports that somebody else than the session's user listens on.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end};
use oh_testsuite::net;
use oh_testsuite::stranger::{STRANGER, strangers_listener};
use oh_testsuite::watching::routed;

use super::{port_only, watched};

fn session_of(lab: &Lab, id: &str, text: &str, owner: u32) -> Result<()> {
    lab.session(id, text)?;
    Ok(chown(lab.at(&format!("tmp/openhands-sessions/{id}.json")), Some(owner), Some(owner))?)
}

#[test]
fn a_strangers_listener_is_not_routed_until_it_is_gone() -> Result<()> {
    ensure!(fs::metadata("/proc/self")?.uid() == 0, "environment: root is needed");
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let port = net::free_port()?;
    lab.session("mine", &port_only(port))?;
    watch.tells("came /vscode/mine/")?;
    // Nobody wrote a file; that somebody else listens now is seen by itself.
    let stranger = strangers_listener(port)?;
    routed(&lab, "mine", Err(404))?;
    let told = watch.tells("not routed: session file mine.json")?;
    let reason = format!(
        "uid {STRANGER} listens on port {port}, and the session's file belongs to \"root\""
    );
    ensure!(told.contains(&reason), "{told}");
    for command in ["plan", "status", "apply"] {
        let said = lab.run(&[command])?;
        ensure!(said.stdout.contains(&reason), "{command}: {}{}", said.stdout, said.stderr);
    }
    drop(stranger);
    watch.tells("no longer refused: session file mine.json")?;
    Ok(())
}

#[test]
fn root_may_say_whose_the_listener_is() -> Result<()> {
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let port = net::free_port()?;
    let _editor = strangers_listener(port)?;
    let text =
        format!("{{\"vscode_port\":{port},\"toolkit\":{{\"schema\":1,\"user\":{STRANGER}}}}}");
    lab.session("said", &text)?;
    watch.tells("came /vscode/said/")?;
    lab.end_session("said")?;
    // The same word of somebody else, whose files count, is worth nothing.
    let owners = format!("sessions.owners=[\"root\",\"{}\"]", STRANGER + 1);
    watch.end(rustix::process::Signal::TERM)?;
    let (id, owner) = ("theirs", STRANGER + 1);
    session_of(&lab, id, &text, owner)?;
    let said = lab.run(&["--set", &owners, "status"])?;
    let reason = "`toolkit.user` counts in files of root only";
    ensure!(said.stdout.contains(reason), "{}{}", said.stdout, said.stderr);
    Ok(())
}

#[test]
fn a_stranger_beside_neither_vetoes_nor_takes() -> Result<()> {
    let (lab, _watch) = watched(&[])?;
    let port = back_end()?;
    // Other addresses of the same port are reached by nobody who asks 127.0.0.1.
    let _second = std::net::TcpListener::bind(("127.0.0.2", port))?;
    lab.session("mine", &port_only(port))?;
    routed(&lab, "mine", Ok(port))?;
    // A newer file of another user claims the port, on which that user does not listen.
    let owners = format!("sessions.owners=[\"root\",\"{STRANGER}\"]");
    session_of(&lab, "theft", &port_only(port), STRANGER)?;
    let said = lab.run(&["--set", &owners, "--format", "json", "status"])?;
    let document = said.json()?;
    let routes = document.pointer("/result/routes").context("no routes")?.to_string();
    ensure!(routes.contains("/vscode/mine/") && !routes.contains("theft"), "{routes}");
    Ok(())
}
