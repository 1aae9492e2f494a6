//! Old files for nginx: which of them go, behind a real nginx, and when they come back.

#[path = "cleanup/old_site.rs"]
mod old_site;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::instances::is_root;
use oh_testsuite::lab::{Said, back_end_on};
use old_site::{FOLDER, text};
use rustix::process::{Pid, Signal, kill_process};
use scene::Scene;

const YES: &[&str] = &["--nginx", "--yes", "--no-evidence"];

/// A scene in which the old site has a route to an editor that is gone, and serves it.
fn served() -> Result<Scene> {
    let scene = Scene::new()?;
    scene.old_site(&scene.include_all())?;
    scene.generated("gone", scene.instances.first_port + 3)?;
    scene.reload(|scene| scene.has_old_route("gone"))?;
    Ok(scene)
}

/// Asks nginx what it says of the configuration.
fn tested(scene: &Scene) -> Result<Said> {
    let mut command = Command::new(components::program("nginx")?);
    command.arg("-t").arg("-c").arg(scene.instances.lab.at("etc/nginx/nginx.conf"));
    Ok(command.output()?.into())
}

#[test]
fn an_old_route_goes_and_comes_back() -> Result<()> {
    let scene = served()?;
    let foreign = "# VS Code of mine\nlocation /vscode/mine/ { return 204; }\n";
    scene.beside("mine.conf", foreign)?;
    scene.beside("note.txt", "# Auto-generated config for nobody\n")?;
    scene.reload(|scene| Ok(scene.status("/vscode/mine/")? == 204))?;
    let before = scene.tree(FOLDER)?;

    let said = scene.run(YES)?.expect(0)?;
    ensure!(said.stdout.contains("/vscode/gone/ to port "), "{said:?}");
    ensure!(said.stdout.contains("new workers serve what is left"), "{said:?}");
    ensure!(said.stdout.contains("mine.conf: it does not begin with"), "{said:?}");
    ensure!(!scene.has_old_route("gone")? && scene.status("/vscode/mine/")? == 204, "{said:?}");
    let left = scene.tree(FOLDER)?;
    ensure!(!left.contains("gone.conf") && left.contains("note.txt"), "{left}");

    let (workers, trees) = (scene.workers()?, (scene.tree("var")?, scene.tree("etc")?));
    let again = scene.run(YES)?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    ensure!(scene.workers()? == workers && (scene.tree("var")?, scene.tree("etc")?) == trees);

    let undone = scene.run(&["undo"])?.expect(0)?;
    ensure!(undone.stdout.contains("nginx, which has read them again"), "{undone:?}");
    ensure!(scene.tree(FOLDER)? == before && scene.has_old_route("gone")?, "{undone:?}");
    let none = scene.run(&["undo"])?.expect(2)?;
    ensure!(none.stderr.contains("no run has anything"), "{none:?}");
    Ok(())
}

#[test]
fn what_nginx_misses_comes_back_and_is_served_all_the_time() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.instances.first_port;
    let by_name = format!("include {}/{FOLDER}/named.conf;", scene.instances.lab.root());
    scene.old_site(&format!(
        "{by_name}\n    include {}/{FOLDER}/o*.conf;",
        scene.instances.lab.root()
    ))?;
    scene.generated("named", first + 3)?;
    scene.generated("other", first + 4)?;
    scene.reload(|scene| Ok(scene.has_old_route("named")? && scene.has_old_route("other")?))?;
    let (before, workers) = (scene.tree(FOLDER)?, scene.workers()?);
    for _ in 0..2 {
        let said = scene.run(YES)?.expect(7)?;
        ensure!(said.stdout.contains("old-site.conf:3: open() "), "{said:?}");
        ensure!(said.stdout.contains("all is back, and nginx accepts it"), "{said:?}");
        let now = scene.tree(FOLDER)?;
        ensure!(now == before, "{now}\n{before}");
        ensure!(scene.workers()? == workers, "{workers:?} {:?} {said:?}", scene.workers()?);
        for id in ["named", "other"] {
            ensure!(scene.has_old_route(id)?, "{id}: {said:?}");
        }
        let none = scene.run(&["undo"])?.expect(2)?;
        ensure!(none.stderr.contains("no run has anything"), "{none:?}");
    }
    scene.run(&["--only", "other", "--nginx", "--yes", "--no-evidence"])?.expect(0)?;
    ensure!(scene.has_old_route("named")? && !scene.has_old_route("other")?);
    Ok(())
}

#[test]
fn a_broken_old_file_is_what_breaks_nginx_and_one_run_mends_it() -> Result<()> {
    for broken in ["blank", "torn", "port"] {
        let scene = served()?;
        let whole = text("broken", scene.instances.first_port + 4, "/var/www/github/broken");
        let text = match broken {
            "blank" => whole.replace("github/broken;", "github/my own;"),
            "torn" => whole.split_at(whole.find("X-Forwarded").unwrap_or_default()).0.to_owned(),
            _ => text("broken", 0, "/var/www/github/broken").replace(":0/", ":undefined/"),
        };
        scene.beside("broken.conf", &text)?;
        // What nginx would not read as long as the broken one is there.
        scene.beside("late.conf", "location /late/ { return 204; }\n")?;
        ensure!(tested(&scene)?.code != 0, "{broken}");
        let said = scene.run(YES)?.expect(0)?;
        ensure!(said.stdout.contains("new workers serve what is left"), "{broken}: {said:?}");
        ensure!(tested(&scene)?.code == 0 && scene.status("/late/")? == 204, "{broken}: {said:?}");
        ensure!(!scene.has_old_route("gone")?, "{broken}: {said:?}");
        // With it nginx would not start again, so it does not come back; the other one does.
        let undone = scene.run(&["undo"])?.expect(1)?;
        ensure!(undone.stdout.contains("broken.conf\n          nginx refuses"), "{undone:?}");
        ensure!(tested(&scene)?.code == 0 && scene.has_old_route("gone")?, "{undone:?}");
    }
    Ok(())
}

#[test]
fn where_nginx_refuses_for_another_reason_nothing_is_worse_and_the_next_run_goes_on() -> Result<()>
{
    let scene = served()?;
    let other = scene.instances.lab.at("etc/nginx/conf.d/other.conf");
    fs::write(&other, "proxy_pas x;\n")?;
    let workers = scene.workers()?;
    let said = scene.run(YES)?.expect(1)?;
    ensure!(said.stdout.contains("other.conf:1: unknown directive \"proxy_pas\""), "{said:?}");
    ensure!(said.stdout.contains("the files stay in the quarantine"), "{said:?}");
    ensure!(!scene.tree(FOLDER)?.contains("gone.conf"), "{said:?}");
    ensure!(scene.workers()? == workers && scene.has_old_route("gone")?, "{said:?}");
    scene.run(YES)?.expect(1)?;
    fs::remove_file(&other)?;
    let next = scene.run(YES)?.expect(0)?;
    ensure!(next.stdout.contains("new workers serve what is left"), "{next:?}");
    ensure!(!scene.has_old_route("gone")?, "{next:?}");
    let again = scene.run(YES)?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    Ok(())
}

#[test]
fn an_nginx_that_does_not_run_or_is_not_there_is_not_waited_for() -> Result<()> {
    let mut scene = served()?;
    let root = scene.instances.lab.root();
    scene.instances.lab.stop_nginx()?;
    let said = scene.run(YES)?.expect(0)?;
    ensure!(said.stdout.contains("no nginx runs; it accepts what is left"), "{said:?}");
    ensure!(scene.run(YES)?.expect(0)?.stdout.starts_with("nothing to do\n"));
    let undone = scene.run(&["undo"])?.expect(0)?;
    ensure!(undone.stdout.contains("nginx, which does not run"), "{undone:?}");
    let absent = format!("nginx.program={root}/no/nginx");
    let said = scene.run(&[YES, &["--set", &absent]].concat())?.expect(0)?;
    ensure!(said.stdout.contains("there is no nginx here"), "{said:?}");
    ensure!(!scene.tree(FOLDER)?.contains("gone.conf"), "{said:?}");
    ensure!(scene.run(YES)?.expect(0)?.stdout.starts_with("nothing to do\n"));
    scene.run(&["undo", "--set", &absent])?.expect(0)?;
    ensure!(scene.tree(FOLDER)?.contains("gone.conf"));
    Ok(())
}

#[test]
fn the_route_of_an_editor_that_somebody_works_in_stays_and_others_ports_too() -> Result<()> {
    let scene = served()?;
    let old = scene.historic("old", 1)?;
    scene.generated("old", old.port)?;
    let taken = scene.instances.first_port + 5;
    back_end_on(taken)?;
    scene.generated("taken", taken)?;
    scene.reload(|scene| Ok(scene.has_old_route("old")? && scene.has_old_route("taken")?))?;
    let browser = TcpStream::connect(("127.0.0.1", old.port))?;
    let said = scene.run(&["--all", "--yes", "--no-evidence"])?.expect(0)?;
    ensure!(
        said.stdout.contains(&format!("old.conf: an editor on port {} stays", old.port)),
        "{said:?}"
    );
    let me = format!("taken.conf: pid {} (", std::process::id());
    ensure!(said.stdout.contains(&me), "{said:?}");
    ensure!(scene.has_old_route("old")? && scene.has_old_route("taken")?, "{said:?}");
    ensure!(!scene.has_old_route("gone")? && !old.is_over(), "{said:?}");
    let said = scene.run(&["--all", "--yes", "--no-evidence", "--force-active"])?.expect(0)?;
    ensure!(said.stdout.contains("whose editor is stopped"), "{said:?}");
    ensure!(
        old.is_over() && !scene.has_old_route("old")? && scene.has_old_route("taken")?,
        "{said:?}"
    );
    drop(browser);
    Ok(())
}

#[test]
fn what_is_none_of_a_generators_stays_whatever_it_is() -> Result<()> {
    let scene = served()?;
    let port = scene.instances.first_port + 4;
    let lab = &scene.instances.lab;
    let at = |name: &str| lab.at(&format!("{FOLDER}/{name}.conf"));
    scene.beside(
        "edited.conf",
        &text("edited", port, "/a").replace("# Headers", "# Headers, by Ann"),
    )?;
    scene.beside(
        "allow.conf",
        &text("allow", port, "/a").replace("1.1;\n", "1.1;\n    allow all;\n"),
    )?;
    lab.write("etc/nginx/linked", &text("linked", port, "/a"))?;
    symlink(lab.at("etc/nginx/linked"), at("linked"))?;
    lab.write("etc/nginx/hard", &text("hard", port, "/a"))?;
    fs::hard_link(lab.at("etc/nginx/hard"), at("hard"))?;
    scene.beside(
        "long.conf",
        &format!("# Auto-generated config for x\n{}", "#\n".repeat(100_000)),
    )?;
    fs::create_dir(at("folder"))?;
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o644))?;
    let mut names = vec!["edited", "allow", "linked", "hard", "long", "folder", "pipe"];
    if is_root()? {
        scene.generated("theirs", port)?;
        chown(at("theirs"), Some(4242), Some(4242))?;
        names.push("theirs");
    }
    let before = scene.tree(FOLDER)?;
    let dry = scene.run(&["--nginx", "--dry-run"])?.expect(0)?;
    ensure!(scene.tree(FOLDER)? == before && scene.has_old_route("gone")?, "{dry:?}");
    for (name, why) in [
        ("edited", "line 18 was written by no generator: # Headers, by Ann"),
        ("allow", "line 12 was written by no generator: allow all"),
        ("linked", "it is a symbolic link"),
        ("hard", "it has 2 names (hard links)"),
        ("long", "the most is 65536"),
        ("folder", "it is a folder"),
        ("pipe", "it is a FIFO"),
    ] {
        let line = dry.stdout.lines().find(|line| line.contains(&format!("/{name}.conf: ")));
        ensure!(line.is_some_and(|line| line.ends_with(why)), "{name}: {dry:?}");
    }
    // nginx refuses a folder and waits for a pipe: what it reads has neither.
    fs::remove_file(at("pipe"))?;
    fs::remove_dir(at("folder"))?;
    names.retain(|name| !["pipe", "folder"].contains(name));
    // Twice the same address, which nginx refuses too: that is another reason.
    for name in ["linked", "hard", "long"] {
        fs::rename(at(name), lab.at(&format!("etc/nginx/{name}.away")))?;
    }
    let left: Vec<&str> = names.into_iter().filter(|name| at(name).exists()).collect();
    let said = scene.run(YES)?.expect(0)?;
    let tree = scene.tree(FOLDER)?;
    for name in left {
        ensure!(tree.contains(&format!("/{name}.conf ")), "{name}: {said:?}");
    }
    ensure!(!tree.contains("/gone.conf "), "{said:?}");
    Ok(())
}

#[test]
fn a_run_that_is_killed_before_nginx_is_asked_is_gone_on_with() -> Result<()> {
    let scene = served()?;
    let mut command = Command::new(components::program("strace")?);
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command.args(["-f", "-o", "/dev/null", "-e", "trace=pidfd_send_signal"]);
    command.args(["-e", "inject=pidfd_send_signal:signal=KILL:when=1", "--"]);
    let tool = scene.instances.lab.built("oh-cleanup")?;
    command.arg(tool.get_program()).args(YES).arg("--root").arg(scene.instances.lab.root());
    command.output()?;
    ensure!(!scene.tree(FOLDER)?.contains("gone.conf") && scene.has_old_route("gone")?);
    let dry = scene.run(&["--nginx", "--dry-run"])?.expect(0)?;
    ensure!(dry.stdout.contains("have nginx test the files"), "{dry:?}");
    let said = scene.run(YES)?.expect(0)?;
    ensure!(said.stdout.contains("new workers serve what is left"), "{said:?}");
    ensure!(!scene.has_old_route("gone")?, "{said:?}");
    ensure!(scene.run(YES)?.expect(0)?.stdout.starts_with("nothing to do\n"));
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.has_old_route("gone")?);
    Ok(())
}

#[test]
fn what_others_can_change_is_read_again_without_a_test() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = served()?;
    let theirs = scene.instances.lab.at("etc/nginx/conf.d/theirs.conf");
    fs::write(&theirs, "# theirs\n")?;
    chown(&theirs, Some(4242), Some(4242))?;
    let said = scene.run(YES)?.expect(0)?;
    ensure!(said.stdout.contains("new workers serve what is left"), "{said:?}");
    ensure!(!scene.has_old_route("gone")?, "{said:?}");
    Ok(())
}

#[test]
fn what_a_request_writes_to_the_log_decides_nothing() -> Result<()> {
    let scene = served()?;
    let pid = fs::read_to_string(scene.instances.lab.at("run/nginx.pid"))?;
    let master = Pid::from_raw(pid.trim().parse()?).context("a pid")?;
    // It reads nothing anew, and somebody forges its reason meanwhile.
    kill_process(master, Signal::STOP)?;
    let is_over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let forge = scope.spawn(|| -> Result<()> {
            let mut log =
                fs::File::options().append(true).open(scene.instances.lab.at("log/error.log"))?;
            let gone = scene.instances.lab.at(FOLDER).join("gone.conf");
            while !is_over.load(Ordering::Relaxed) {
                let line = format!("[emerg] 1#1: open() \"{}\" failed\n", gone.display());
                log.write_all(format!("2026/11/22 03:00:00 {line}").as_bytes())?;
                std::thread::yield_now();
            }
            Ok(())
        });
        let said = scene.run(&[YES, &["--set", "nginx.seen_timeout_ms=300"]].concat());
        is_over.store(true, Ordering::Relaxed);
        let forged = forge.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread is gone")));
        forged.and(said)
    });
    kill_process(master, Signal::CONT)?;
    let said = said?.expect(1)?;
    ensure!(said.stdout.contains("its log says: open() "), "{said:?}");
    ensure!(!scene.tree(FOLDER)?.contains("gone.conf"), "{said:?}");
    Ok(())
}

#[test]
fn a_configuration_without_a_server_is_told() -> Result<()> {
    let mut scene = served()?;
    scene.instances.lab.stop_nginx()?;
    let root = scene.instances.lab.root().to_string();
    let config = format!(
        "pid {root}/run/nginx.pid;\nerror_log {root}/log/error.log;\nevents {{}}\n\
         http {{ upstream u {{ server 127.0.0.1:1; }} }}\n"
    );
    fs::write(scene.instances.lab.at("etc/nginx/nginx.conf"), config)?;
    let said = scene.run(YES)?.expect(0)?;
    ensure!(
        said.stdout.contains("it accepts what is left; its configuration has no server"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn an_undo_asks_nginx_once_for_all_files_and_one_that_was_killed_is_gone_on_with() -> Result<()> {
    let scene = served()?;
    let first = scene.instances.first_port;
    for (id, port) in [("a", 4), ("b", 5), ("c", 6)] {
        scene.generated(id, first + port)?;
    }
    scene.reload(|scene| scene.has_old_route("c"))?;
    scene.run(YES)?.expect(0)?;
    let calls = scene.instances.lab.at("calls");
    let undo = |options: &[&str]| -> Result<()> {
        let mut command = Command::new(components::program("strace")?);
        command.env_clear().current_dir("/").stdin(Stdio::null());
        command.args(["-f", "-o"]).arg(&calls).args(options).arg("--");
        command.arg(scene.instances.lab.built("oh-cleanup")?.get_program());
        command.args(["undo", "--root"]).arg(scene.instances.lab.root());
        command.output()?;
        Ok(())
    };
    undo(&["-e", "trace=execve"])?;
    // Before the first, behind the last, and before it is to read them.
    let asked = fs::read_to_string(&calls)?;
    ensure!(asked.matches("\"-t\"").count() == 3, "{asked}");
    ensure!(scene.has_old_route("a")? && scene.has_old_route("gone")?);

    let whole = text("broken", first + 7, "/var/www/github/broken");
    scene.beside("broken.conf", &whole.replace("github/broken;", "github/my own;"))?;
    scene.run(YES)?.expect(0)?;
    // Killed when all are back, with the broken one.
    undo(&["-e", "trace=renameat2", "-e", "inject=renameat2:signal=KILL:when=5"])?;
    ensure!(tested(&scene)?.code != 0 && scene.tree(FOLDER)?.contains("broken.conf"));
    let undone = scene.run(&["undo"])?.expect(1)?;
    ensure!(undone.stdout.contains("broken.conf\n          nginx refuses"), "{undone:?}");
    ensure!(tested(&scene)?.code == 0 && scene.has_old_route("a")?, "{undone:?}");
    Ok(())
}

/// Is nginx, beside somebody who puts another file in the place of one that is gone.
const RIVAL: &str = "#!/bin/sh\n[ -e PLACE ] || echo 'another one;' >PLACE\nexec NGINX \"$@\"\n";

#[test]
fn what_cannot_be_put_back_is_named() -> Result<()> {
    let scene = Scene::new()?;
    let lab = &scene.instances.lab;
    let place = lab.at(&format!("{FOLDER}/named.conf")).display().to_string();
    scene.old_site(&format!("include {place};"))?;
    scene.generated("named", scene.instances.first_port + 3)?;
    scene.reload(|scene| scene.has_old_route("named"))?;
    let workers = scene.workers()?;
    let nginx = components::program("nginx")?.display().to_string();
    lab.write("rival", &RIVAL.replace("PLACE", &place).replace("NGINX", &nginx))?;
    fs::set_permissions(lab.at("rival"), fs::Permissions::from_mode(0o755))?;
    let rival = format!("nginx.program={}", lab.at("rival").display());
    let said = scene.run(&[YES, &["--set", &rival]].concat())?.expect(8)?;
    let kept = format!("named.conf: it stays as {}", lab.at("var").display());
    ensure!(said.stdout.contains("and not all is as it was: "), "{said:?}");
    ensure!(said.stdout.contains(&kept), "{kept}: {said:?}");
    ensure!(fs::read_to_string(&place)? == "another one;\n", "{said:?}");
    ensure!(scene.workers()? == workers && scene.has_old_route("named")?, "{said:?}");
    // Whoever takes the other one away has it back.
    fs::remove_file(&place)?;
    scene.run(&["undo"])?.expect(0)?;
    ensure!(tested(&scene)?.code == 0 && scene.has_old_route("named")?);
    Ok(())
}
