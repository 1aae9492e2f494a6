//! A folder of session files whose owner means harm.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use oh_testsuite::lab::{back_end, touch};
use oh_testsuite::wait;
use oh_testsuite::watching::{BOUND, generation_number, heartbeat, routed};
use serde_json::Value;

use super::{port_only, run, watched};

#[test]
fn whatever_lies_in_the_folder_the_others_stay_routed() -> Result<()> {
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let good = back_end()?;
    lab.session("good", &port_only(good))?;
    routed(&lab, "good", Ok(good))?;
    let folder = lab.at("tmp/openhands-sessions");
    let at = |name: &str| folder.join(name);
    let text = |name: &str, text: &str| -> Result<()> {
        fs::write(at(name), text)?;
        Ok(fs::set_permissions(at(name), fs::Permissions::from_mode(0o644))?)
    };
    let other = back_end()?;
    ensure!(run("mkfifo", &[&at("fifo.json").to_string_lossy()])?.0, "mkfifo");
    drop(UnixListener::bind(at("socket.json"))?);
    symlink("/etc/shadow", at("link.json"))?;
    // A second name of a file that root alone reads; where links across disks are not to be had,
    // one of the laboratory's.
    if fs::hard_link("/etc/shadow", at("hard.json")).is_err() {
        lab.write("outside", "{}")?;
        fs::hard_link(lab.at("outside"), at("hard.json"))?;
    }
    text("foreign.json", &port_only(other))?;
    let can_give_away = chown(at("foreign.json"), Some(12345), Some(12345)).is_ok();
    fs::File::create(at("huge.json"))?.set_len(1 << 30)?;
    text(&format!("{}.json", "n".repeat(250)), &port_only(other))?;
    let stray = folder.join(OsStr::from_bytes(b"\xff\xfe.json"));
    fs::write(&stray, port_only(other))?;
    // Older, as far as times can tell: of two files for one id the newer one counts.
    text("GOOD.json", &port_only(other))?;
    touch(&at("GOOD.json"), SystemTime::now() - Duration::from_secs(60))?;
    for name in ["~.*", "$host", "a b", "a;b", "a\nb"] {
        text(&format!("{name}.json"), &port_only(other))?;
    }
    for (name, port) in [
        ("true", "true"),
        ("ssh", "22"),
        ("openhands", "3000"),
        ("minus", "-1"),
        ("quoted", "\"8888\""),
    ] {
        let port = if port == "3000" { lab.upstream_port.to_string() } else { port.to_owned() };
        text(&format!("p-{name}.json"), &format!("{{\"vscode_port\":{port}}}"))?;
    }
    // Words of nginx's own are ids like others.
    let (default, include) = (back_end()?, back_end()?);
    lab.session("default", &port_only(default))?;
    lab.session("include", &port_only(include))?;
    let odd = 18 + usize::from(can_give_away);
    let excluded = Value::from(odd);
    wait::until("all of it to be reported", BOUND, || {
        Ok((heartbeat(&lab)?.get("excluded") == Some(&excluded)).then_some(()))
    })
    .map_err(|fault| fault.context(watch.log()))?;
    for (id, port) in [("good", good), ("default", default), ("include", include)] {
        routed(&lab, id, Ok(port))?;
    }
    ensure!(lab.routed("nobody")? == Err(404), "`default` became everybody's");
    for told in ["fifo.json: it is a FIFO", "link.json: it is a symbolic link", "\\xff\\xfe.json"] {
        watch.tells(told)?;
    }
    // What was looked at is as it was: a FIFO that is opened would have let its writer go on.
    ensure!(Path::new("/etc/shadow").exists() && at("fifo.json").exists(), "something is gone");
    Ok(())
}

#[test]
fn a_flood_of_events_neither_hurries_the_watch_nor_hides_others() -> Result<()> {
    let (lab, watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let (stop, writes) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    let port = back_end()?;
    let folder = lab.at("tmp/openhands-sessions");
    let (before, looks) = (generation_number(&lab)?, std::time::Instant::now());
    thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            let mut number: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                // Each change is a different set of routes, and each is a reason to publish.
                let text = port_only(22000 + u16::try_from(number % 1000).unwrap_or_default());
                let drafted = fs::write(folder.join(".draft"), text);
                drafted
                    .and_then(|()| fs::rename(folder.join(".draft"), folder.join("flood.json")))
                    .unwrap_or_default();
                writes.store(number, Ordering::Relaxed);
            }
        });
        let done = (|| {
            lab.session("quiet", &port_only(port))?;
            routed(&lab, "quiet", Ok(port))?;
            wait::until_true("a flood", BOUND, || writes.load(Ordering::Relaxed) > 5000)
        })();
        stop.store(true, Ordering::Relaxed);
        done
    })?;
    let (reloads, took) = (generation_number(&lab)? - before, looks.elapsed());
    let most = u64::try_from(took.as_millis() / 250)? + 2;
    ensure!(reloads <= most, "{reloads} reloads in {took:?}\n{}", watch.log());
    Ok(())
}
