//! `oh-cleanup` where the machine is not as it should be: databases, locks, clocks, ports, disks, eyes.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "other tests need all of it")]
mod scene;
#[path = "cleanup/stand_in.rs"]
mod stand_in;
#[path = "cleanup/torn.rs"]
mod torn;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use oh_testsuite::alone::alone;
use oh_testsuite::components;
use oh_testsuite::instances::{Instances, user_ids};
use oh_testsuite::lab::Said;
use oh_testsuite::process::Running;
use oh_testsuite::trace::{Stopped, stopped_behind};
use oh_testsuite::{net, wait};
use scene::{PORTS, REPOSITORIES, Scene};
use serde_json::json;
use stand_in::WAITS;

/// How long something may take on two busy cores.
const BOUND: Duration = Duration::from_secs(60);

/// What changes something outside of a process, or could.
const CHANGING: &str = "trace=write,pwrite64,writev,pwritev2,openat,open,openat2,creat,rename,renameat,renameat2,\
     unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,\
     chown,fchown,lchown,fchownat,truncate,ftruncate,fallocate,utimensat,futimesat,setxattr,\
     lsetxattr,fsetxattr,removexattr,mount,umount2,kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo,\
     connect,sendto,sendmsg,execve,execveat,flock,fcntl";

fn tool(scene: &Scene, arguments: &[&str]) -> Result<Command> {
    let lab = &scene.instances.lab;
    let mut command = lab.built("oh-cleanup")?;
    command.env_clear().current_dir("/").args(arguments).arg("--root").arg(lab.root());
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs it under strace, and demands that it changes nothing and signals nobody.
fn without_a_change(scene: &Scene, arguments: &[&str]) -> Result<Said> {
    let log = scene.instances.lab.at("log/strace");
    let plain = tool(scene, arguments)?;
    let mut command = Command::new(components::program("strace")?);
    command.env_clear().current_dir("/").args(["-f", "-qq", "-y", "-e", CHANGING, "-o"]).arg(&log);
    command.arg("--").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    let said = Said::from(command.output()?).expect(0)?;
    let text = fs::read_to_string(&log)?;
    ensure!(text.contains("execve(") && text.contains("openat("), "strace saw nothing: {text}");
    let mut programs = 0;
    for line in text.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"];
        let is_harmless = match call.split_once('(') {
            Some(("execve", _)) => {
                programs += 1;
                programs == 1
            }
            Some(("write", rest)) => rest.starts_with("1<") || rest.starts_with("2<"),
            Some(("open" | "openat" | "openat2", rest)) => {
                !writes.iter().any(|flag| rest.contains(flag)) || rest.contains("\"/dev/")
            }
            // The kernel is asked for sockets, and one's own flags are changed.
            Some(("connect" | "sendto" | "sendmsg", rest)) => {
                rest.contains("NETLINK") || rest.contains("nlmsg_type=SOCK_DIAG_BY_FAMILY")
            }
            Some(("fcntl", rest)) => !rest.contains("SETLK"),
            // A lock is asked for, of what would be taken.
            Some(("flock", rest)) => rest.contains("LOCK_NB"),
            // It goes on, or ended.
            Some(_) => call.starts_with("<...") || call.starts_with("+++"),
            None => true,
        };
        ensure!(is_harmless, "{line}");
    }
    Ok(said)
}

#[test]
fn a_plan_that_is_shown_and_a_second_run_write_and_signal_nothing() -> Result<()> {
    alone("a_plan_that_is_shown_and_a_second_run_write_and_signal_nothing", || {
        let scene = Scene::new()?;
        let first = scene.instances.first_port;
        let editor = stand_in::start(&scene, "old", first, WAITS)?;
        scene.leave("tmp/code-server-userdata-gone-8890/User/settings.json", "{}")?;
        scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
        scene.enter_dead("gone", first + 3)?;
        let before = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        let dry = without_a_change(&scene, &["--dry-run"])?;
        for step in ["would stop", "would move", "would release"] {
            ensure!(dry.stdout.contains(step), "{dry:?}");
        }
        let now = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        ensure!(now == before && !editor.has_ended()?);
        scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(editor.has_ended()?);
        let again = without_a_change(&scene, &["--all", "--yes"])?;
        ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
        Ok(())
    })
}

/// Starts a run that stops behind its first rename of a left-over, with all its locks.
fn in_the_midst(scene: &Scene) -> Result<Stopped> {
    let count = || -> Result<usize> { Ok(fs::read_dir(scene.instances.lab.at("tmp"))?.count()) };
    let before = count()?;
    // So that its folders are there: the renames of the next run are its journal's, that of its
    // folder, and those of left-overs.
    scene.run(&["--temp", "--yes"])?.expect(0)?;
    scene.run(&["undo"])?.expect(0)?;
    ensure!(count()? == before);
    // Two runs of one second would be told apart by one rename more.
    let second = || Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let now: u64 = second()?;
    wait::until("the next second", BOUND, || {
        let later: Result<u64> = second();
        Ok((later? > now).then_some(()))
    })?;
    let command = tool(scene, &["--all", "--yes"])?;
    let stopped = stopped_behind(&command, &("renameat2".into(), 3))?;
    ensure!(count()? == before - 1, "{}: {}", scene.tree("tmp")?, stopped.running.log());
    Ok(stopped)
}

#[test]
fn a_second_run_names_the_first_or_waits_for_it() -> Result<()> {
    alone("a_second_run_names_the_first_or_waits_for_it", || {
        let scene = Scene::new()?;
        scene.leave("tmp/vscode-agent-one-1/a", "a")?;
        scene.leave("tmp/vscode-agent-two-2/a", "a")?;
        let first = in_the_midst(&scene)?;
        let holder = format!("held by process {} (oh-cleanup)", first.pid);
        let refused = scene.run(&["--all", "--yes", "--wait", "100ms"])?.expect(5)?;
        ensure!(refused.stderr.contains(&holder), "{holder}: {refused:?}");
        ensure!(refused.stderr.contains("nothing was changed"), "{refused:?}");
        let refused = scene.run(&["undo"])?.expect(5)?;
        ensure!(refused.stderr.contains(&holder), "{refused:?}");
        scene.leave("tmp/vscode-agent-three-3/a", "a")?;
        let waits = tool(&scene, &["--all", "--yes", "--wait", "10m"])?;
        let mut second = Running::start(Command::new(waits.get_program()).args(waits.get_args()))?;
        let lock = scene.instances.lab.at("run/openhands-toolkit/locks/world.lock");
        let lock =
            fs::canonicalize(&lock).with_context(|| scene.tree("run").unwrap_or_default())?;
        wait::until("the second to come to the lock", BOUND, || {
            ensure!(!second.has_ended()?, "it did not wait: {}", second.log());
            let opened = fs::read_dir(format!("/proc/{}/fd", second.id()))?.flatten();
            let mut opened = opened.filter_map(|one| fs::read_link(one.path()).ok());
            Ok(opened.any(|path| path == lock).then_some(()))
        })?;
        first.go_on()?;
        let mut running = first.running;
        ensure!(running.wait(BOUND)?.success(), "{}", running.log());
        second.wait(BOUND)?;
        ensure!(second.log().contains("done      move"), "{}", second.log());
        ensure!(
            fs::read_dir(scene.instances.lab.at("tmp"))?.count() == 1,
            "{}",
            scene.tree("tmp")?
        );
        Ok(())
    })
}

#[test]
fn a_lock_file_that_is_deleted_under_its_holder_loses_nothing() -> Result<()> {
    alone("a_lock_file_that_is_deleted_under_its_holder_loses_nothing", || {
        let scene = Scene::new()?;
        for number in 0..5 {
            scene.leave(&format!("tmp/vscode-agent-gone-{number}/a"), "a")?;
        }
        scene.enter_dead("gone", scene.instances.first_port + 3)?;
        let before = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        let first = in_the_midst(&scene)?;
        let locks = scene.instances.lab.at("run/openhands-toolkit/locks");
        for lock in fs::read_dir(&locks)? {
            fs::remove_file(lock?.path())?;
        }
        // Two are at work now, over the same things.
        scene.run(&["--all", "--yes"])?.expect(0)?;
        first.go_on()?;
        let mut running = first.running;
        running.wait(BOUND)?;
        ensure!(!scene.tree("tmp")?.contains("gone"), "{}", scene.tree("tmp")?);
        ensure!(scene.instances.json(PORTS)?["instances"] == json!({}), "{}", scene.text(PORTS)?);
        ensure!(scene.run(&["--all", "--yes"])?.stdout.starts_with("nothing to do"));
        for _ in 0..2 {
            scene.run(&["undo"])?;
        }
        let now = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        ensure!(now == before, "{now:#?}\n{before:#?}\n{}", running.log());
        Ok(())
    })
}

#[test]
fn a_plan_of_another_boot_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let file = scene.instances.lab.at("plan.json");
    let path = file.display().to_string();
    scene.run(&["plan", "--all", "--output", &path])?.expect(0)?;
    let text = fs::read_to_string(&file)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(text.contains(boot.trim()), "{text}");
    let other = "123e4567-e89b-42d3-a456-426614174000";
    fs::write(&file, text.replace(boot.trim(), other))?;
    let said = scene.run(&["apply", &path, "--yes"])?.expect(2)?;
    ensure!(said.stderr.contains("before this machine was booted"), "{said:?}");
    ensure!(scene.tree("tmp")?.contains("gone-1/a"), "{said:?}");
    fs::write(&file, text)?;
    scene.run(&["apply", &path, "--yes"])?.expect(0)?;
    ensure!(!scene.tree("tmp")?.contains("gone-1"));
    Ok(())
}

#[test]
fn a_clock_that_jumped_back_keeps_nothing_for_ever() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    scene.leave("tmp/openhands-sessions/gone.json", "{\"vscode_port\": 1}")?;
    let later = SystemTime::now() + Duration::from_secs(86_400);
    for below in ["vscode-agent-gone-1", "vscode-agent-gone-1/a", "openhands-sessions/gone.json"] {
        File::open(scene.instances.lab.at("tmp").join(below))?.set_modified(later)?;
    }
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(said.stdout.contains("it was changed less than 10m ago"), "{said:?}");
    ensure!(said.stdout.contains("it is new: its editor may be starting"), "{said:?}");
    let said = scene.run(&["--all", "--yes", "--older-than", "0s"])?.expect(0)?;
    ensure!(said.stdout.contains("2 things moved"), "{said:?}");
    Ok(())
}

#[test]
fn what_is_hidden_from_an_ordinary_user_is_said() -> Result<()> {
    alone("what_is_hidden_from_an_ordinary_user_is_said", || {
        let scene = Scene { instances: Instances::of_ordinary_user("")? };
        let lab = &scene.instances.lab;
        let (uid, gid) = user_ids()?;
        let program = lab.at("usr/bin/oh-cleanup");
        fs::copy(components::built("oh-cleanup")?, &program)?;
        scene.leave("tmp/vscode-agent-own-1/a", "a")?;
        for path in ["tmp", "tmp/vscode-agent-own-1", "tmp/vscode-agent-own-1/a"] {
            chown(lab.at(path), Some(uid), Some(gid))?;
        }
        scene.leave("tmp/vscode-agent-roots-2/a", "a")?;
        // An editor of root's, which is none of theirs to end, nor to see.
        let roots = stand_in::start(&scene, "roots", scene.instances.first_port, WAITS)?;
        // What others use is not shown to anybody but root.
        let said = scene.run(&["--all", "--dry-run"])?.expect(4)?;
        ensure!(said.stdout.contains("not seen  "), "{said:?}");
        ensure!(!said.stdout.contains("hidepid"), "{said:?}");
        let status = Command::new(components::program("mount")?)
            .args(["-o", "remount,hidepid=2", "/proc"])
            .status()?;
        ensure!(status.success(), "environment: hidepid");
        let said = scene.run(&["--all", "--yes"])?.expect(4)?;
        ensure!(said.stdout.contains("processes that are hidden from us (hidepid)"), "{said:?}");
        ensure!(!said.stdout.lines().any(|line| line.starts_with("clean")), "{said:?}");
        ensure!(said.stdout.contains("vscode-agent-roots-2: it belongs to root"), "{said:?}");
        ensure!(!lab.at("tmp/vscode-agent-own-1").exists(), "{said:?}");
        ensure!(lab.at("tmp/vscode-agent-roots-2/a").exists() && !roots.has_ended()?, "{said:?}");
        Ok(())
    })
}

#[test]
fn a_database_that_is_torn_anywhere_is_written_anew_and_kept() -> Result<()> {
    torn::at_each(&Scene::new()?, 61)
}

#[cfg(feature = "full")]
#[test]
fn a_database_that_is_torn_at_each_byte_is_written_anew_and_kept() -> Result<()> {
    torn::at_each(&Scene::new()?, 1)
}

#[test]
fn a_database_of_another_shape_gets_its_own_back() -> Result<()> {
    let scene = Scene::new()?;
    // As the original cleanup wrote it, which the application could not read.
    for other in ["{\"instances\":[]}", "{}", "{\"instances\":{},\"availablePorts\":null}"] {
        fs::write(scene.instances.lab.at(PORTS), other)?;
        let said = scene.run(&["--databases", "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("its ports are not as they are to be"), "{other}: {said:?}");
        let now = scene.instances.json(PORTS)?;
        ensure!(now["instances"] == json!({}), "{other}: {now}");
        let free = now["availablePorts"].as_array().context("a list")?;
        ensure!(free.len() == 12, "{other}: {now}");
        let again = scene.run(&["--databases", "--yes"])?.expect(0)?;
        ensure!(again.stdout.starts_with("nothing to do"), "{other}: {again:?}");
    }
    // What is no such database at all is somebody else's, and is said to be.
    for other in ["[]", "null", "{\"instances\":[1]}"] {
        fs::write(scene.instances.lab.at(PORTS), other)?;
        let said = scene.run(&["--databases", "--yes"])?.expect(4)?;
        ensure!(said.stdout.contains("not seen  "), "{other}: {said:?}");
        ensure!(scene.text(PORTS)? == other, "{said:?}");
    }
    Ok(())
}

#[test]
fn a_port_that_a_healthy_stranger_has_keeps_its_entry() -> Result<()> {
    let scene = Scene::new()?;
    let port = scene.instances.first_port + 4;
    scene.enter_dead("taken", port)?;
    scene.enter_dead("gone", port + 1)?;
    let session = format!("{{\"vscode_port\": {port}}}");
    scene.leave("tmp/openhands-sessions/taken.json", &session)?;
    let stranger = TcpListener::bind(("127.0.0.1", port))?;
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    let own = format!("pid {} (", std::process::id());
    let is_named = said.stdout.lines().any(|line| {
        line.contains("taken of ") && line.contains(&own) && line.contains("listens on its port")
    });
    ensure!(is_named && said.stdout.contains("taken.json: its editor listens"), "{said:?}");
    let now = scene.instances.json(PORTS)?["instances"].clone();
    ensure!(now["taken"]["port"] == json!(port) && now["gone"].is_null(), "{now:#}");
    TcpStream::connect(("127.0.0.1", port))?;
    drop(stranger);
    scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(scene.instances.json(PORTS)?["instances"] == json!({}));
    Ok(())
}

#[test]
fn an_editor_whose_port_a_variable_has_changed_is_known_by_its_listener() -> Result<()> {
    alone("an_editor_whose_port_a_variable_has_changed_is_known_by_its_listener", || {
        let scene = Scene::new()?;
        let (told, real) = (scene.instances.first_port, scene.instances.first_port + 1);
        let plain = stand_in::command(&scene, "told", told, WAITS)?;
        let mut command = Command::new(components::node()?);
        command.arg(components::code_server()?).args(["--auth", "none"]);
        command.args(plain.get_args().skip(1)).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", scene.instances.lab.at("home")).env("PORT", real.to_string());
        let editor = Running::start(&mut command)?;
        wait::until("the editor to answer", BOUND, || {
            let answer = net::get(&format!("http://127.0.0.1:{real}/healthz"), &[]);
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })?;
        ensure!(
            TcpStream::connect(("127.0.0.1", told)).is_err(),
            "it has the port that it was told"
        );
        let browser = TcpStream::connect(("127.0.0.1", real))?;
        let said = scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains("1 connection is open ("), "{said:?}");
        ensure!(!editor.has_ended()?, "{said:?}");
        drop(browser);
        wait::until("the end of the connection", BOUND, || {
            let said = scene.run(&["--all", "--dry-run"])?;
            Ok((!said.stdout.contains("is open")).then_some(()))
        })?;
        // The tool's own variables decide nothing either.
        let mut command = tool(&scene, &["--all", "--yes"])?;
        command.env("PORT", "1").env("VSCODE_IPC_HOOK_CLI", "/tmp/none");
        let said = Said::from(command.output()?).expect(0)?;
        ensure!(said.stdout.contains("1 editor stopped") && editor.has_ended()?, "{said:?}");
        TcpListener::bind(("127.0.0.1", real))?;
        Ok(())
    })
}

/// A file system in memory with these options in the place of a folder.
fn disk(scene: &Scene, below: &str, options: &str) -> Result<()> {
    let there = scene.instances.lab.at(below);
    fs::create_dir_all(&there)?;
    let status = Command::new(components::program("mount")?)
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(&there)
        .status()?;
    ensure!(status.success(), "mount {options}: {status}");
    Ok(())
}

/// Makes files there until there is room for none.
fn fill(folder: &Path, bytes: &[u8]) -> Result<()> {
    for number in 0..1_000_000 {
        let made = File::create(folder.join(format!("filler-{number}")));
        match made.and_then(|mut file| file.write_all(bytes)) {
            Ok(()) => {}
            Err(fault) if fault.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(fault) => return Err(fault.into()),
        }
    }
    bail!("there is room without end")
}

#[test]
fn a_disk_without_inodes_keeps_a_run_from_beginning() -> Result<()> {
    alone("a_disk_without_inodes_keeps_a_run_from_beginning", || {
        let scene = Scene::new()?;
        let editor = stand_in::start(&scene, "old", scene.instances.first_port, WAITS)?;
        scene.enter_dead("gone", scene.instances.first_port + 3)?;
        let own = "var/lib/openhands-toolkit";
        disk(&scene, own, "mode=0755,size=64m,nr_inodes=64")?;
        fill(&scene.instances.lab.at(own), b"")?;
        let before = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        for more in [&[][..], &["--no-evidence"]] {
            let said = scene.run(&[&["--all", "--yes"], more].concat())?.expect(6)?;
            ensure!(said.stderr.contains("No space left on device"), "{said:?}");
            ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
            let now = (scene.tree("tmp")?, scene.text(PORTS)?, scene.text(REPOSITORIES)?);
            ensure!(now == before && !editor.has_ended()?, "{said:?}");
        }
        for number in 0..32 {
            fs::remove_file(scene.instances.lab.at(own).join(format!("filler-{number}")))?;
        }
        scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(editor.has_ended()? && scene.instances.json(PORTS)?["instances"] == json!({}));
        Ok(())
    })
}

#[test]
fn a_full_disk_of_the_databases_loses_neither_them_nor_their_copies() -> Result<()> {
    alone("a_full_disk_of_the_databases_loses_neither_them_nor_their_copies", || {
        let scene = Scene::new()?;
        scene.enter_dead("gone", scene.instances.first_port + 3)?;
        let whole = (scene.text(PORTS)?, scene.text(REPOSITORIES)?);
        let folder = Path::new(PORTS).parent().context("a folder")?.display().to_string();
        let there = scene.instances.lab.at(&folder);
        disk(&scene, &folder, "mode=0755,size=32k")?;
        scene.instances.lab.write(PORTS, &whole.0)?;
        scene.instances.lab.write(REPOSITORIES, &whole.1)?;
        fill(&there, &[0; 4096])?;
        scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
        for _ in 0..2 {
            let said = scene.run(&["--all", "--yes"])?.expect(1)?;
            ensure!(said.stdout.contains("not done  release"), "{said:?}");
            ensure!((scene.text(PORTS)?, scene.text(REPOSITORIES)?) == whole, "{said:?}");
        }
        ensure!(!scene.tree("tmp")?.contains("gone"), "a full disk elsewhere keeps left-overs");
        for entry in fs::read_dir(&there)? {
            let path = entry?.path();
            if path.display().to_string().contains("filler") {
                fs::remove_file(path)?;
            }
        }
        scene.run(&["--all", "--yes"])?.expect(0)?;
        ensure!(scene.instances.json(PORTS)?["instances"] == json!({}));
        scene.run(&["undo"])?.expect(0)?;
        ensure!((scene.text(PORTS)?, scene.text(REPOSITORIES)?) == whole);
        Ok(())
    })
}
