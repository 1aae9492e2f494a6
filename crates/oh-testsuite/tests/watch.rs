//! `oh-nginx watch` on a real nginx: what comes is routed, what goes is not, and nothing that
//! happens to it or around it makes it stop, hurry or forget.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, back_end, repository_back_end};
use oh_testsuite::watching::{BOUND, Watch, generation_number, heartbeat, routed};
use oh_testsuite::{components, wait};
use rustix::process::Signal;
use serde_json::Value;

#[path = "watch/beats.rs"]
mod beats;
#[path = "watch/hostile.rs"]
mod hostile;
#[path = "watch/strangers.rs"]
mod strangers;
#[path = "watch/units.rs"]
mod units;

/// A laboratory with an nginx and a watch.
fn watched(arguments: &[&str]) -> Result<(Lab, Watch)> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let watch = Watch::start(&lab, arguments)?;
    Ok((lab, watch))
}

fn port_only(port: u16) -> String {
    format!("{{\"vscode_port\":{port}}}")
}

/// Each session has a port of its own that nobody listens on, but for an editor of another
/// laboratory: where these are another user's, its listener is the session's too.
fn silent(index: usize) -> String {
    let port = 22000 + index;
    if rustix::process::geteuid().is_root() {
        let user = oh_testsuite::instances::USER;
        let ours = format!("{{\"schema\":1,\"user\":\"{user}\"}}");
        return format!("{{\"vscode_port\":{port},\"toolkit\":{ours}}}");
    }
    format!("{{\"vscode_port\":{port}}}")
}

/// Waits until so many claims are routed, by the heartbeat.
fn wait_for_routed(lab: &Lab, count: usize) -> Result<()> {
    let count = Value::from(count);
    wait::until("all to be routed", BOUND, || {
        Ok((heartbeat(lab)?.get("routed") == Some(&count)).then_some(()))
    })
}

#[test]
fn what_comes_is_routed_and_what_goes_is_not() -> Result<()> {
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    routed(&lab, "one", Ok(port))?;
    ensure!(watch.tells("came /vscode/one/")?.starts_with("generation 2-"), "{}", watch.log());
    lab.end_session("one")?;
    routed(&lab, "one", Err(404))?;
    watch.tells("went /vscode/one/")?;
    // Written in place, without a rename.
    let file = "tmp/openhands-sessions/two.json";
    fs::write(lab.at(file), port_only(port))?;
    fs::set_permissions(lab.at(file), fs::Permissions::from_mode(0o644))?;
    routed(&lab, "two", Ok(port))?;
    // Until the old workers have gone, they answer too.
    watch.tells("came /vscode/two/")?;
    let status = lab.run(&["status"])?.expect(0)?;
    let line = format!("a watch (process {}) looked ", watch.id());
    ensure!(status.stdout.contains(&line), "{}", status.stdout);
    let (code, log) = watch.end(Signal::TERM)?;
    ensure!(code == Some(0) && log.contains("ended by SIGTERM after 4 reloads"), "{code:?} {log}");
    ensure!(lab.routed("two")? == Ok(port), "what is served stays served");
    let status = lab.run(&["status"])?.expect(0)?;
    ensure!(status.stdout.contains("has ended; it last looked"), "{}", status.stdout);
    Ok(())
}

#[test]
fn a_thousand_files_in_a_second_are_at_most_six_reloads() -> Result<()> {
    let (lab, watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let before = generation_number(&lab)?;
    for index in 0..1000 {
        lab.session(&format!("s{index}"), &silent(index))?;
    }
    wait_for_routed(&lab, 1000)?;
    let reloads = generation_number(&lab)? - before;
    ensure!(reloads <= 6, "{reloads} reloads\n{}", watch.log());
    Ok(())
}

#[test]
fn twelve_thousand_files_at_once_are_all_routed() -> Result<()> {
    let (lab, watch) =
        watched(&["--set", "nginx.rescan_s=3600", "--set", "sessions.sessions_max=20000"])?;
    // More than the kernel's queue keeps, while nobody takes from it.
    watch.signal(Signal::STOP)?;
    let folder = lab.at("tmp/openhands-sessions");
    for index in 0..12_000 {
        let path = folder.join(format!("s{index}.json"));
        fs::write(&path, silent(index))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    watch.signal(Signal::CONT)?;
    wait_for_routed(&lab, 12_000)?;
    let port = back_end()?;
    lab.session("last", &port_only(port))?;
    routed(&lab, "last", Ok(port))?;
    ensure!(watch.log().lines().all(|line| line.len() < 2000), "{}", watch.log());
    Ok(())
}

#[test]
fn a_folder_that_goes_and_comes_again_is_watched_again() -> Result<()> {
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let (folder, aside) = (lab.at("tmp/openhands-sessions"), lab.at("tmp/aside"));
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    routed(&lab, "one", Ok(port))?;
    fs::rename(&folder, &aside)?;
    routed(&lab, "one", Err(404))?;
    watch.tells("not routed: all sessions: there is no folder")?;
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    lab.session("two", &port_only(port))?;
    routed(&lab, "two", Ok(port))?;
    Ok(())
}

#[test]
fn databases_are_watched_too() -> Result<()> {
    let (lab, mut watch) = watched(&["--set", "nginx.rescan_s=3600"])?;
    let port = repository_back_end()?;
    let database = "var/www/ai-desktop/data/repositories.json";
    let text = format!(
        "{{\"repositories\":[{{\"id\":\"repo\",\"path\":\"/srv/repo\",\"vscodePort\":{port},\
         \"vscodeRunning\":true}}]}}"
    );
    lab.write(database, &text)?;
    routed(&lab, "repo", Ok(port))?;
    // Torn: what is served stays, it is told once, and the watch goes on.
    lab.write(database, "{\"repositories\":[{\"id\":")?;
    watch.tells("cannot be used")?;
    lab.session("other", &port_only(back_end()?))?;
    let failing = || Ok(heartbeat(&lab)?.pointer("/failing/reason").is_some().then_some(()));
    wait::until("the failure in the heartbeat", BOUND, failing)?;
    ensure!(lab.routed("repo")? == Ok(port), "what is served stays");
    lab.write(database, &text)?;
    watch.tells("publishing works again")?;
    let told = watch.log().matches("cannot be used").count();
    ensure!(told == 1, "told {told} times:\n{}", watch.log());
    Ok(())
}

#[test]
fn a_second_watch_is_refused_by_the_name_of_the_first() -> Result<()> {
    let (lab, watch) = watched(&[])?;
    for arguments in [["watch"].as_slice(), ["watch", "--once"].as_slice()] {
        let said = lab.run(arguments)?.expect(5)?;
        let holder = format!("is held by process {} (oh-nginx watch)", watch.id());
        ensure!(said.stderr.contains(&holder), "{}", said.stderr);
        let hint = format!("hint: how it is: oh-nginx status --root {}", lab.root());
        ensure!(said.stderr.contains(&hint), "{}", said.stderr);
    }
    // What people do by hand goes on beside it.
    lab.run(&["apply"])?.expect(0)?;
    watch.end(Signal::KILL)?;
    lab.run(&["watch", "--once"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_signal_ends_it_or_makes_it_read_its_configuration_again() -> Result<()> {
    let (lab, mut watch) = watched(&[])?;
    let config = lab.at("etc/openhands-toolkit/config.toml");
    let good = fs::read_to_string(&config)?;
    lab.write("etc/openhands-toolkit/config.toml", &format!("{good}directroy = \"/x\"\n"))?;
    watch.signal(Signal::HUP)?;
    watch.tells("the configuration from before stays in force")?;
    ensure!(watch.log().contains("directroy"), "{}", watch.log());
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    routed(&lab, "one", Ok(port))?;
    // The port of the session is outside the new range.
    let text = good.replace("editor_ports = [\"1024-65535\"]", "editor_ports = [\"1024-1025\"]");
    ensure!(text != good, "the laboratory's configuration changed");
    lab.write("etc/openhands-toolkit/config.toml", &text)?;
    watch.signal(Signal::HUP)?;
    watch.tells("the configuration was read again")?;
    routed(&lab, "one", Err(404))?;
    let (code, log) = watch.end(Signal::INT)?;
    ensure!(code == Some(130) && log.contains("ended by SIGINT"), "{code:?} {log}");
    Ok(())
}

#[test]
fn nginx_may_go_and_come() -> Result<()> {
    let (mut lab, mut watch) = watched(&["--set", "nginx.rescan_s=1"])?;
    lab.nginx()?.signal(Signal::KILL);
    lab.stop_nginx()?;
    watch.tells("no nginx master of this configuration runs")?;
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    watch.tells("came /vscode/one/")?;
    lab.start_nginx()?;
    routed(&lab, "one", Ok(port))?;
    watch.tells("no longer: no nginx master")?;
    lab.session("two", &port_only(back_end()?))?;
    watch.tells("came /vscode/two/")?;
    Ok(())
}

#[test]
fn killed_with_9_it_goes_on_where_it_was() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    for round in 0..5 {
        let watch = Watch::start_only(&lab, &[])?;
        lab.session(&format!("s{round}"), &port_only(back_end()?))?;
        // At any moment of its work.
        wait::until_true("a moment", BOUND, || round == 0 || watch.log().contains("generation"))?;
        watch.end(Signal::KILL)?;
    }
    let port = back_end()?;
    lab.session("last", &port_only(port))?;
    let _watch = Watch::start(&lab, &[])?;
    routed(&lab, "last", Ok(port))?;
    lab.run(&["status"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_broken_include_of_others_is_told_once_and_mended_by_itself() -> Result<()> {
    let (lab, mut watch) =
        watched(&["--set", "nginx.seen_timeout_ms=300", "--set", "nginx.rescan_s=1"])?;
    lab.write("etc/nginx/conf.d/legacy.conf", "proxy_pas http://x;\n")?;
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    watch.tells("unknown directive \"proxy_pas\"")?;
    ensure!(lab.routed("one")? == Err(404), "it cannot be served yet");
    fs::remove_file(lab.at("etc/nginx/conf.d/legacy.conf"))?;
    // Nobody tells of that; the next try finds it.
    routed(&lab, "one", Ok(port))?;
    watch.tells("publishing works again")?;
    Ok(())
}

#[test]
fn a_world_that_is_locked_is_waited_for() -> Result<()> {
    let (lab, mut watch) = watched(&[])?;
    let file = lab.at("run/openhands-toolkit/locks/world.lock");
    let world = fs::File::options().read(true).write(true).open(file)?;
    world.try_lock().context("nobody holds the world between looks")?;
    let port = back_end()?;
    lab.session("one", &port_only(port))?;
    watch.tells("the lock world is held by")?;
    ensure!(lab.routed("one")? == Err(404), "a look was taken in a world of another");
    drop(world);
    routed(&lab, "one", Ok(port))?;
    Ok(())
}

#[test]
fn no_login_is_made_where_the_password_would_be_kept() -> Result<()> {
    let mut lab = Lab::with_login()?;
    lab.start_nginx()?;
    let mut watch = Watch::start(&lab, &[])?;
    watch.tells("nobody has a login yet")?;
    ensure!(!watch.log().contains("password"), "{}", watch.log());
    let users = lab.at("etc/openhands-toolkit/users");
    ensure!(!users.exists(), "a login was made");
    lab.run(&["login"])?.expect(0)?;
    lab.session("one", &port_only(back_end()?))?;
    watch.tells("no longer: nobody has a login yet")?;
    Ok(())
}

#[test]
fn the_service_manager_hears_of_it() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let path = lab.at("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut command = lab.command(&["watch"])?;
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut running = oh_testsuite::process::Running::start(&mut command)?;
    let mut heard = Vec::new();
    wait::until("all words", BOUND, || {
        let mut buffer = [0; 512];
        let count = manager.recv(&mut buffer)?;
        heard.push(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned());
        let alive = heard.iter().filter(|word| *word == "WATCHDOG=1").count();
        let ready = heard.iter().any(|word| word == "READY=1");
        let status = heard.iter().any(|word| word.starts_with("STATUS=generation 1-"));
        Ok((alive >= 3 && ready && status).then_some(()))
    })?;
    running.stop()?;
    let mut buffer = [0; 512];
    while manager.recv(&mut buffer).is_ok_and(|count| !buffer[..count].starts_with(b"STOPPING")) {}
    ensure!(buffer.starts_with(b"STOPPING=1"), "it did not say that it ends");
    Ok(())
}

#[test]
fn a_session_whose_editor_is_gone_is_retired() -> Result<()> {
    let (lab, mut watch) =
        watched(&["--set", "sessions.retire_after_s=1", "--set", "nginx.rescan_s=1"])?;
    let port = back_end()?;
    lab.session("alive", &port_only(port))?;
    let gone = TcpListener::bind("127.0.0.1:0")?;
    let gone_port = gone.local_addr()?.port();
    lab.session("dead", &port_only(gone_port))?;
    watch.tells("/vscode/dead/")?;
    drop(gone);
    routed(&lab, "dead", Err(404))?;
    watch.tells("retired dead.json: nobody of it listens")?;
    let names: Vec<String> = fs::read_dir(lab.at("tmp/openhands-sessions"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(names.iter().any(|name| name.starts_with(".retired-dead-")), "{names:?}");
    ensure!(names.contains(&"alive.json".into()), "{names:?}");
    ensure!(lab.routed("alive")? == Ok(port), "the living one is retired");
    // The port is used again: the old address does not lead there.
    let again = oh_testsuite::lab::back_end_on(gone_port);
    ensure!(again.is_ok() && lab.routed("dead")? == Err(404), "a stranger is served");
    let retired = heartbeat(&lab)?.get("retired").and_then(Value::as_u64);
    ensure!(retired == Some(1), "{retired:?}");
    Ok(())
}

#[test]
fn a_session_that_the_rules_refuse_is_reported_and_stays() -> Result<()> {
    let (lab, mut watch) = watched(&[
        "--set",
        "sessions.retire_after_s=1",
        "--set",
        "nginx.rescan_s=1",
        "--set",
        "sessions.editor_ports=[\"20000-65535\"]",
    ])?;
    lab.session("outside", &port_only(19_999))?;
    watch.tells("not routed: session file outside.json")?;
    // It is missing for less long than the refused one, which would be over first.
    lab.session("dead", &silent(1))?;
    watch.tells("retired dead.json")?;
    let file = lab.at("tmp/openhands-sessions/outside.json");
    ensure!(file.exists() && !watch.log().contains("retired outside"), "{}", watch.log());
    Ok(())
}

#[test]
fn a_timer_retires_as_a_watch_does() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    lab.session("dead", &port_only(oh_testsuite::net::free_port()?))?;
    let arguments = ["--set", "sessions.retire_after_s=1", "watch", "--once"];
    let said = lab.run(&arguments)?.expect(0)?;
    ensure!(said.stdout.contains("1 editor, 0 applications served"), "{}", said.stdout);
    let retired = wait::until("the retirement", BOUND, || {
        let said = lab.run(&arguments)?.expect(0)?;
        Ok(said.stderr.contains("retired dead.json").then_some(said))
    })?;
    ensure!(retired.stdout.contains("0 editors, 0 applications"), "{}", retired.stdout);
    // A record that is not understood is not trusted: a session begins anew.
    lab.session("next", &port_only(oh_testsuite::net::free_port()?))?;
    lab.run(&arguments)?.expect(0)?;
    lab.write("run/openhands-toolkit/missing-editors.json", "torn")?;
    let said = lab.run(&arguments)?.expect(0)?;
    ensure!(said.stderr.contains("sessions age anew"), "{}", said.stderr);
    Ok(())
}

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(components::program(program)?).args(arguments).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
