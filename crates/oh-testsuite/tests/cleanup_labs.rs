//! `oh-cleanup` on trees that were made to hurt whoever removes them. Each stands in namespaces of its
//! own, because it mounts things or plants them as root.

#[path = "cleanup/everything.rs"]
mod everything;
#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "no editor runs here")]
mod scene;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use everything::everything;
use oh_testsuite::alone::alone;
use oh_testsuite::components;
use oh_testsuite::instances::user_ids;
use oh_testsuite::lab::Said;
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, XattrFlags, setxattr};
use scene::Scene;

/// Takes whatever has a left-over's name, however new it is.
const NOW: [&str; 4] = ["--temp", "--yes", "--older-than", "0s"];

/// The same, where not all of it can be looked at, or work may be in it.
const FORCED: [&str; 5] = ["--temp", "--yes", "--older-than", "0s", "--force-unsaved"];

/// A folder, and one with links of the names that it has.
type Pair = (PathBuf, PathBuf);

/// How many precious files there are.
const PRECIOUS: usize = 8000;

const QUARANTINE: &str = "var/lib/openhands-toolkit/quarantine";

/// How many levels a deep tree has.
const DEPTH: usize = 30_000;

fn system(program: &str, words: &[&OsStr]) -> Result<()> {
    let status = Command::new(components::program(program)?).args(words).status()?;
    ensure!(status.success(), "{program} {words:?}: {status}");
    Ok(())
}

fn mount(options: &[&str], what: &Path, there: &Path) -> Result<()> {
    let words = options.iter().map(OsStr::new);
    system("mount", &words.chain([what.as_os_str(), there.as_os_str()]).collect::<Vec<_>>())
}

/// A folder with precious files in a hundred folders, outside of all that may be taken.
fn precious(scene: &Scene) -> Result<PathBuf> {
    let precious = scene.instances.lab.at("home/precious");
    for number in 0..PRECIOUS {
        let folder = precious.join(format!("{}", number % 100));
        if number < 100 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(number.to_string()), "ten years")?;
    }
    Ok(precious)
}

fn leftover(scene: &Scene, name: &[u8]) -> Result<PathBuf> {
    let path = scene.instances.lab.at("tmp").join(OsStr::from_bytes(name));
    fs::create_dir(&path)?;
    Ok(path)
}

/// The run that a report or a hint names.
fn purge(scene: &Scene) -> Result<Said> {
    scene.run(&["purge", &last_run(scene)?, "--others", "--yes"])
}

/// The folders of runs in the quarantine; what is made ahead for the next one is none.
fn quarantined(scene: &Scene) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for run in fs::read_dir(scene.instances.lab.at(QUARANTINE))? {
        let run = run?;
        let is_spare = run.file_name().as_encoded_bytes().starts_with(b".");
        runs.extend((!is_spare).then(|| run.path()));
    }
    Ok(runs)
}

fn last_run(scene: &Scene) -> Result<String> {
    let runs = scene.run(&["runs", "--format", "json"])?.expect(0)?.json()?;
    let runs = runs["result"]["runs"].as_array().cloned().unwrap_or_default();
    Ok(runs.last().and_then(|run| run["run"].as_str()).context("a run")?.to_owned())
}

/// Exchanges entries of the same name of two folders, until it is told to end. By paths: an open folder
/// would be one that somebody uses.
fn exchange(pairs: &[(PathBuf, PathBuf)], is_over: &AtomicBool, count: &AtomicU64) -> Result<()> {
    let mut names = Vec::new();
    for (tree, links) in pairs {
        for entry in fs::read_dir(links)? {
            let name = entry?.file_name();
            names.push((tree.join(&name), links.join(&name)));
        }
    }
    while !is_over.load(Ordering::Relaxed) {
        for (one, other) in &names {
            // One that is gone by now is not exchanged any more.
            let done = rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            count.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
        }
    }
    Ok(())
}

#[test]
fn links_that_are_swapped_in_meanwhile_lead_nowhere() -> Result<()> {
    alone("links_that_are_swapped_in_meanwhile_lead_nowhere", || {
        const TREES: usize = 40;
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let precious = precious(&scene)?;
        let mut pairs = vec![(lab.at("tmp"), lab.at("home/links/top"))];
        fs::create_dir_all(&pairs[0].1)?;
        for round in 0..TREES {
            let name = format!("code-server-{round}");
            let tree = leftover(&scene, name.as_bytes())?;
            let links = lab.at(&format!("home/links/{round}"));
            fs::create_dir_all(&links)?;
            for number in 0..40 {
                let name = number.to_string();
                fs::create_dir(tree.join(&name))?;
                fs::write(tree.join(&name).join("a"), "x")?;
                symlink(precious.join(&name), links.join(&name))?;
            }
            // Some are exchanged whole, and not inside too: that would lead the attacker astray.
            if round % 4 == 0 {
                symlink(&precious, pairs[0].1.join(&name))?;
            } else {
                pairs.push((tree, links));
            }
        }
        let before = everything(&precious)?;
        // While they are looked at and moved away …
        let swaps = while_exchanging(&pairs, || {
            let said = scene.run(&FORCED)?;
            ensure!([0, 1].contains(&said.code) && said.stdout.contains("done  "), "{said:?}");
            Ok(())
        })?;
        ensure!(swaps > 1000, "only {swaps} exchanges");
        ensure!(everything(&precious)? == before, "something precious is gone");
        // … and, which no stranger could, while they are removed in the quarantine.
        scene.run(&FORCED)?.expect(0)?;
        ensure!(fs::read_dir(lab.at("tmp"))?.count() == 1, "{}", scene.tree("tmp")?);
        let (runs, pairs) = moved(&scene)?;
        ensure!(pairs.len() >= TREES / 2, "only {} were moved", pairs.len());
        let swaps = while_exchanging(&pairs, || {
            runs.iter().try_for_each(|run| scene.run(&["purge", run, "--yes"]).map(drop))
        })?;
        ensure!(swaps > 1000, "only {swaps} exchanges");
        ensure!(everything(&precious)? == before, "something precious is gone");
        // What was exchanged under it may have stayed; with nobody about, all goes.
        for run in &runs {
            scene.run(&["purge", run, "--yes"])?;
        }
        ensure!(!scene.tree(QUARANTINE)?.contains("/a "), "{}", scene.tree(QUARANTINE)?);
        ensure!(everything(&precious)? == before, "something precious is gone");
        Ok(())
    })
}

/// Does something while a thread exchanges; returns how often it did.
fn while_exchanging(pairs: &[(PathBuf, PathBuf)], act: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| exchange(pairs, &is_over, &count));
        let done = act();
        is_over.store(true, Ordering::Relaxed);
        attacker.join().map_err(|_| anyhow::anyhow!("the attacker panicked"))??;
        done
    })?;
    Ok(count.into_inner())
}

/// Finds the trees in the quarantine, and gives each links to be exchanged; returns the runs too.
fn moved(scene: &Scene) -> Result<(Vec<String>, Vec<Pair>)> {
    let (mut runs, mut pairs) = (Vec::new(), Vec::new());
    for run in quarantined(scene)? {
        let name = run.file_name().context("a run")?;
        runs.push(name.to_string_lossy().into_owned());
        for tree in fs::read_dir(&run)? {
            let tree = tree?;
            if tree.file_type()?.is_dir() {
                let links = scene.instances.lab.at(&format!("home/links/{}", pairs.len()));
                pairs.push((tree.path(), links));
            }
        }
    }
    Ok((runs, pairs))
}

#[test]
fn what_is_mounted_in_a_left_over_is_kept() -> Result<()> {
    alone("what_is_mounted_in_a_left_over_is_kept", || {
        let scene = Scene::new()?;
        let precious = precious(&scene)?;
        let before = everything(&precious)?;
        // Of the same file system, so that only the mount tells it apart.
        let bound = leftover(&scene, b"code-server-bound")?.join("inside");
        fs::create_dir(&bound)?;
        mount(&["--bind"], &precious, &bound)?;
        // A mount of its own, busy.
        let busy = leftover(&scene, b"code-server-busy")?;
        mount(&["-t", "tmpfs"], Path::new("none"), &busy)?;
        let open = File::create(busy.join("open"))?;
        let later = leftover(&scene, b"code-server-later")?.join("inside");
        fs::create_dir(&later)?;
        let said = scene.run(&NOW)?.expect(0)?;
        ensure!(said.stdout.contains("code-server-bound: something is mounted in it"), "{said:?}");
        ensure!(said.stdout.contains("code-server-busy: something is mounted there"), "{said:?}");
        ensure!(bound.join("0/0").exists() && busy.join("open").exists(), "{said:?}");
        ensure!(!later.exists(), "{said:?}");
        drop(open);
        // And where somebody mounts it in the quarantine itself.
        let run = quarantined(&scene)?.pop().context("a run")?;
        let thing = fs::read_dir(run)?.next().context("a thing")??;
        let inside = thing.path().join("inside");
        mount(&["--bind"], &precious, &inside)?;
        let said = purge(&scene)?.expect(1)?;
        ensure!(said.stdout.contains("something is mounted there"), "{said:?}");
        ensure!(everything(&precious)? == before, "something precious is gone");
        system("umount", &[inside.as_os_str()])?;
        purge(&scene)?.expect(0)?;
        ensure!(everything(&precious)? == before, "something precious is gone");
        Ok(())
    })
}

#[test]
fn a_tree_deeper_than_there_are_descriptors_goes() -> Result<()> {
    alone("a_tree_deeper_than_there_are_descriptors_goes", || {
        let scene = Scene::new()?;
        let tree = leftover(&scene, b"code-server-deep")?;
        let mut here = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty())?;
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&here, "a", Mode::RWXU)?;
            here = rustix::fs::openat(&here, "a", OFlags::DIRECTORY, Mode::empty())?;
        }
        drop(here);
        let limited = |arguments: &[&str]| -> Result<Said> {
            let lab = &scene.instances.lab;
            let mut command = Command::new(components::program("prlimit")?);
            command.env_clear().current_dir("/").arg("--nofile=1024").arg("--");
            command.arg(lab.built("oh-cleanup")?.get_program()).args(arguments);
            command.arg("--root").arg(lab.root()).stdin(Stdio::null());
            Ok(command.output()?.into())
        };
        let said = limited(&NOW)?.expect(0)?;
        ensure!(said.stdout.contains("not all of it could be looked at"), "{said:?}");
        ensure!(tree.exists(), "{said:?}");
        limited(&FORCED)?.expect(0)?;
        ensure!(!tree.exists());
        limited(&["undo"])?.expect(0)?;
        ensure!(tree.join("a/a/a").exists());
        limited(&FORCED)?.expect(0)?;
        let said = limited(&["purge", &last_run(&scene)?, "--yes"])?.expect(0)?;
        ensure!(said.stdout.contains(&format!("{} names", DEPTH + 1 + 1)), "{said:?}");
        ensure!(!scene.tree(QUARANTINE)?.contains("/0"), "it is left");
        Ok(())
    })
}

/// A tree with all that a file system can hold.
fn odd_tree(tree: &Path) -> Result<()> {
    let odd = tree.join(OsStr::from_bytes(b"a\n\t\xff\xfe b"));
    fs::create_dir(&odd)?;
    let file = odd.join("f\n");
    fs::write(&file, [0, 0xff, b'\n'])?;
    fs::set_permissions(&file, Permissions::from_mode(0o6751))?;
    chown(&file, Some(4242), Some(4343))?;
    fs::set_permissions(&file, Permissions::from_mode(0o6751))?;
    for name in ["user.oht", "trusted.oht", "security.oht"] {
        setxattr(&file, name, b"a\0b\xff", XattrFlags::CREATE)
            .with_context(|| format!("environment: no {name} on this file system"))?;
    }
    setxattr(&odd, "user.oht", b"", XattrFlags::CREATE)?;
    fs::hard_link(&file, tree.join("again"))?;
    symlink("/etc/passwd", odd.join("absolute"))?;
    symlink(OsStr::from_bytes(b"no\xffwhere\n"), odd.join("dangling"))?;
    rustix::fs::mknodat(CWD, odd.join("fifo"), FileType::Fifo, Mode::RUSR, 0)?;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, odd.join("device"), FileType::CharacterDevice, Mode::RUSR, null)?;
    drop(UnixListener::bind(odd.join("socket"))?);
    let empty = tree.join("empty");
    fs::create_dir(&empty)?;
    fs::set_permissions(&empty, Permissions::from_mode(0o3000))?;
    // Long ago, and to the nanosecond.
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in [&file, &empty, &odd, &tree.to_owned()] {
        File::open(path)?.set_modified(then)?;
    }
    Ok(())
}

#[test]
fn whatever_a_tree_has_comes_back_as_it_was() -> Result<()> {
    alone("whatever_a_tree_has_comes_back_as_it_was", || {
        let scene = Scene::new()?;
        let tmp = scene.instances.lab.at("tmp");
        for name in [&b"code-server-\n\t\xff\xfe"[..], b"code-server- ", b"code-server-'$(x)`"] {
            odd_tree(&leftover(&scene, name)?)?;
        }
        let plain = tmp.join(OsStr::from_bytes(b"vscode-agent-\x1b[2J\xff"));
        fs::write(&plain, "not a folder")?;
        let before = everything(&tmp)?;
        ensure!(
            before.iter().filter(|line| line.contains("trusted.oht")).count() >= 3,
            "{before:#?}"
        );
        let said = scene.run(&["--temp", "--yes", "--older-than", "0s"])?.expect(0)?;
        ensure!(said.stdout.contains("4 things moved"), "{said:?}");
        let is_plain =
            |said: &Said| said.stdout.chars().all(|one| one == '\n' || !one.is_control());
        ensure!(is_plain(&said), "{said:?}");
        ensure!(fs::read_dir(&tmp)?.count() == 1, "{:#?}", everything(&tmp)?);
        let back = scene.run(&["undo"])?.expect(0)?;
        ensure!(is_plain(&back), "{back:?}");
        let now = everything(&tmp)?;
        ensure!(now == before, "{now:#?}\n{before:#?}");
        Ok(())
    })
}

#[test]
fn nothing_comes_back_through_a_planted_link_or_over_something_new() -> Result<()> {
    alone("nothing_comes_back_through_a_planted_link_or_over_something_new", || {
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let (uid, gid) = user_ids()?;
        // A folder of the editors' user's: it can be exchanged at any time.
        let own = lab.at("tmp/openhands-sandboxes");
        fs::create_dir_all(own.join("one"))?;
        fs::write(own.join("one/a"), "old")?;
        scene.leave("tmp/code-server-two/a", "old")?;
        for path in ["", "one", "one/a"] {
            chown(own.join(path), Some(uid), Some(gid))?;
        }
        scene.run(&NOW)?.expect(0)?;
        ensure!(!own.join("one").exists() && !lab.at("tmp/code-server-two").exists());
        let precious = lab.at("home/precious");
        fs::create_dir_all(&precious)?;
        fs::rename(&own, lab.at("tmp/away"))?;
        symlink(&precious, &own)?;
        rustix::fs::chownat(
            CWD,
            &own,
            Some(rustix::fs::Uid::from_raw(uid)),
            Some(rustix::fs::Gid::from_raw(gid)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        scene.leave("tmp/code-server-two/a", "new")?;
        let said = scene.run(&["undo"])?.expect(1)?;
        ensure!(said.stdout.matches("not back  ").count() == 2, "{said:?}");
        ensure!(said.stdout.contains("something new has its name"), "{said:?}");
        ensure!(fs::read_dir(&precious)?.next().is_none(), "{said:?}");
        ensure!(scene.text("tmp/code-server-two/a")? == "new", "{said:?}");
        // With the way free again both come back.
        fs::remove_file(&own)?;
        fs::rename(lab.at("tmp/away"), &own)?;
        fs::remove_file(lab.at("tmp/code-server-two/a"))?;
        fs::remove_dir(lab.at("tmp/code-server-two"))?;
        scene.run(&["undo"])?.expect(0)?;
        let back = ["tmp/openhands-sandboxes/one/a", "tmp/code-server-two/a"];
        ensure!(back.iter().all(|path| scene.text(path).is_ok_and(|text| text == "old")));
        Ok(())
    })
}

#[test]
fn a_root_that_is_a_link_is_not_followed() -> Result<()> {
    alone("a_root_that_is_a_link_is_not_followed", || {
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let (uid, gid) = user_ids()?;
        let precious = precious(&scene)?;
        let before = everything(&precious)?;
        // A left-over that is a link: the link goes, and what it leads to stays.
        symlink(&precious, lab.at("tmp/code-server-link"))?;
        // The folder of left-overs is a link that a user has planted.
        let planted = lab.at("tmp/openhands-sandboxes");
        symlink(&precious, &planted)?;
        std::os::unix::fs::lchown(&planted, Some(uid), Some(gid))?;
        let said = scene.run(&NOW)?.expect(4)?;
        ensure!(
            said.stdout.contains("not seen  ") && said.stdout.contains("sandboxes"),
            "{said:?}"
        );
        ensure!(fs::symlink_metadata(lab.at("tmp/code-server-link")).is_err(), "{said:?}");
        purge(&scene)?.expect(0)?;
        ensure!(everything(&precious)? == before, "something precious is gone");
        // The root of everything is a link of root's: that is the operator's own way to say it.
        let other = tempfile::tempdir()?;
        symlink(lab.root(), other.path().join("root"))?;
        scene.leave("tmp/code-server-other/a", "a")?;
        let mut command = lab.built("oh-cleanup")?;
        command.env_clear().args(NOW).arg("--root").arg(other.path().join("root"));
        // One that somebody else planted is still said.
        let said = Said::from(command.output()?).expect(4)?;
        ensure!(!lab.at("tmp/code-server-other").exists(), "{said:?}");
        ensure!(everything(&precious)? == before, "something precious is gone");
        Ok(())
    })
}

#[test]
fn what_cannot_be_moved_or_removed_is_named_and_keeps_nothing_else() -> Result<()> {
    alone("what_cannot_be_moved_or_removed_is_named_and_keeps_nothing_else", || {
        let scene = Scene::new()?;
        let lab = &scene.instances.lab;
        let hard = leftover(&scene, b"code-server-hard")?;
        system("chattr", &["+i".as_ref(), hard.as_os_str()]).context("environment")?;
        let inside = leftover(&scene, b"code-server-inside")?.join("a");
        fs::write(&inside, "a")?;
        system("chattr", &["+i".as_ref(), inside.as_os_str()])?;
        // Of a file system that cannot be written.
        let fixed = lab.at("var/www/vscode-workspaces");
        fs::create_dir_all(&fixed)?;
        mount(&["-t", "tmpfs"], Path::new("none"), &fixed)?;
        fs::create_dir(fixed.join("one"))?;
        mount(&["-o", "remount,ro"], Path::new("none"), &fixed)?;
        // Others' things: by themselves they stay, and in ours they go along.
        let theirs = leftover(&scene, b"code-server-theirs")?;
        let ours = leftover(&scene, b"code-server-ours")?;
        fs::write(ours.join("theirs"), "a")?;
        chown(ours.join("theirs"), Some(4242), Some(4242))?;
        chown(&theirs, Some(4242), Some(4242))?;
        let said = scene.run(&NOW)?;
        system("chattr", &["-i".as_ref(), hard.as_os_str()])?;
        let said = said.expect(1)?;
        let is_hard = |line: &str| line.starts_with("not done  ") && line.contains("hard (");
        let mut lines = said.stdout.lines().skip_while(|line| !is_hard(line)).skip(1);
        ensure!(
            lines.next().is_some_and(|line| line.contains("Operation not permitted")),
            "{said:?}"
        );
        // That is known before.
        ensure!(
            said.stdout.contains("/one: the mount of ")
                && said.stdout.contains(" may only be read")
        );
        ensure!(said.stdout.contains("code-server-theirs: it belongs to "), "{said:?}");
        ensure!(said.stdout.contains("not clean: "), "{said:?}");
        ensure!(hard.exists() && fixed.join("one").exists() && theirs.exists(), "{said:?}");
        ensure!(!inside.exists() && !ours.exists(), "{said:?}");
        let kept = purge(&scene)?;
        let quarantine = scene.instances.lab.at(QUARANTINE);
        let found = find(&quarantine, "a").context("the file that cannot be removed")?;
        system("chattr", &["-i".as_ref(), found.as_os_str()])?;
        let kept = kept.expect(1)?;
        ensure!(kept.stdout.contains("stays     ") && kept.stdout.contains("/a: "), "{kept:?}");
        purge(&scene)?.expect(0)?;
        ensure!(find(&quarantine, "a").is_none());
        Ok(())
    })
}

/// Finds a name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        if entry.file_name() == name { Some(entry.path()) } else { find(&entry.path(), name) }
    })
}

#[test]
fn what_has_another_name_elsewhere_is_left_as_it_is() -> Result<()> {
    alone("what_has_another_name_elsewhere_is_left_as_it_is", || {
        let scene = Scene::new()?;
        let precious = scene.instances.lab.at("home/thesis.txt");
        fs::create_dir_all(precious.parent().context("home")?)?;
        fs::write(&precious, "ten years")?;
        fs::set_permissions(&precious, Permissions::from_mode(0o640))?;
        let told = |path: &Path| -> Result<_> {
            let meta = fs::metadata(path)?;
            Ok((fs::read(path)?, meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.uid()))
        };
        let before = told(&precious)?;
        let tree = leftover(&scene, b"code-server-tree")?;
        fs::hard_link(&precious, tree.join("a"))?;
        fs::hard_link(&precious, scene.instances.lab.at("tmp/code-server-file"))?;
        let said = scene.run(&NOW)?.expect(0)?;
        ensure!(said.stdout.contains("2 things moved"), "{said:?}");
        ensure!(told(&precious)? == before && fs::metadata(&precious)?.nlink() == 3);
        purge(&scene)?.expect(0)?;
        ensure!(told(&precious)? == before && fs::metadata(&precious)?.nlink() == 1);
        Ok(())
    })
}

#[test]
fn pipes_devices_and_sockets_go_unopened() -> Result<()> {
    alone("pipes_devices_and_sockets_go_unopened", || {
        let scene = Scene::new()?;
        let tmp = scene.instances.lab.at("tmp");
        let at = |name: &str| tmp.join(name);
        // Whoever opens it waits for ever.
        rustix::fs::mknodat(CWD, at("code-server-fifo"), FileType::Fifo, Mode::RUSR, 0)?;
        let tape = rustix::fs::makedev(9, 0);
        let device = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, at("code-server-device"), device, Mode::RUSR, tape)?;
        let inside = leftover(&scene, b"code-server-tree")?.join("fifo");
        rustix::fs::mknodat(CWD, &inside, FileType::Fifo, Mode::RUSR, 0)?;
        let _live = UnixListener::bind(at("vscode-ipc-live.sock"))?;
        drop(UnixListener::bind(at("vscode-ipc-dead.sock"))?);
        let log = scene.instances.lab.at("log/strace");
        let mut command = Command::new(components::program("strace")?);
        command.env_clear().current_dir("/").args(["-f", "-e", "trace=open,openat,openat2", "-o"]);
        command.arg(&log).arg("--").arg(scene.instances.lab.built("oh-cleanup")?.get_program());
        command.args(NOW).arg("--root").arg(scene.instances.lab.root()).stdin(Stdio::null());
        let said = Said::from(command.output()?).expect(0)?;
        let me = format!("somebody listens on it: pid {} (", std::process::id());
        ensure!(said.stdout.contains(&format!("vscode-ipc-live.sock: {me}")), "{said:?}");
        ensure!(said.stdout.contains("4 things moved"), "{said:?}");
        for line in BufReader::new(File::open(&log)?).lines() {
            let line = line?;
            let is_odd = ["-fifo\"", "/fifo\"", "\"fifo\"", "-device\"", ".sock\""];
            let is_opened =
                is_odd.iter().any(|name| line.contains(name)) && !line.contains("O_PATH");
            ensure!(!is_opened, "{line}");
        }
        purge(&scene)?.expect(0)?;
        ensure!(fs::read_dir(&tmp)?.count() == 2, "{}", scene.tree("tmp")?);
        Ok(())
    })
}

#[test]
fn what_somebody_holds_the_lock_of_is_kept() -> Result<()> {
    alone("what_somebody_holds_the_lock_of_is_kept", || {
        let scene = Scene::new()?;
        let locked = leftover(&scene, b"code-server-locked")?;
        let mut holder = Command::new(components::program("flock")?);
        holder.arg(&locked).args(["sh", "-c", "echo held; exec 0<&- 1>&- 2>&-; exec sleep 1000"]);
        let mut holder = oh_testsuite::process::Running::start(&mut holder)?;
        holder.wait_for_line("held", Duration::from_secs(20))?;
        let said = scene.run(&NOW)?.expect(0)?;
        ensure!(said.stdout.contains("code-server-locked: "), "{said:?}");
        ensure!(locked.exists(), "{said:?}");
        // Its holder has it open too; with another's lock alone it is the lock that keeps it.
        let file = File::open(&locked)?;
        holder.stop()?;
        rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::LockExclusive)?;
        let said = scene.run(&NOW)?.expect(0)?;
        let me = format!("somebody holds its lock: pid {} (", std::process::id());
        ensure!(said.stdout.contains(&format!("code-server-locked: {me}")), "{said:?}");
        drop(file);
        scene.run(&NOW)?.expect(0)?;
        ensure!(!locked.exists());
        Ok(())
    })
}

/// Mounts what a program of uid 1234 is to answer for, which never does while the file is open.
fn mount_unanswered(there: &Path, options: &str) -> Result<File> {
    let program = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd=0,rootmode=40000,user_id=1234,group_id=1234{options}");
    let mut command = Command::new(components::program("mount")?);
    command.args(["-i", "-t", "fuse", "-o", &options, "none"]).arg(there);
    let status = command.stdin(Stdio::from(program.try_clone()?)).status()?;
    ensure!(status.success(), "mount {there:?}: {status}");
    Ok(program)
}

#[test]
fn what_a_stranger_has_mounted_is_asked_nothing() -> Result<()> {
    alone("what_a_stranger_has_mounted_is_asked_nothing", || {
        let scene = Scene::new()?;
        let tmp = scene.instances.lab.at("tmp");
        let ours = leftover(&scene, b"code-server-ours")?;
        let mut programs = Vec::new();
        for (name, options) in [("closed", ""), ("hangs", ",allow_other")] {
            let there = tmp.join(format!("code-server-{name}"));
            fs::create_dir(&there)?;
            chown(&there, Some(1234), Some(1234))?;
            programs.push(mount_unanswered(&there, options)?);
        }
        // In what is ours, where others may write.
        let deep = leftover(&scene, b"code-server-deep")?.join("theirs");
        fs::create_dir(&deep)?;
        programs.push(mount_unanswered(&deep, "")?);
        let said = scene.run(&NOW)?.expect(0)?;
        ensure!(said.stdout.contains("1 thing moved") && !ours.exists(), "{said:?}");
        let closed = "code-server-closed: it belongs to whoever mounted it";
        let hangs = "code-server-hangs: something is mounted there";
        let within = "code-server-deep: something is mounted in it: theirs";
        for kept in [closed, hangs, within] {
            ensure!(said.stdout.contains(kept), "{kept}: {said:?}");
        }
        // Where sessions are announced it is said, and ends no run.
        let sessions = tmp.join("openhands-sessions");
        fs::create_dir_all(&sessions)?;
        programs.push(mount_unanswered(&sessions, ",allow_other")?);
        let ours = leftover(&scene, b"code-server-more")?;
        let said = scene.run(&NOW)?;
        ensure!(said.stdout.contains("1 thing moved") && !ours.exists(), "{said:?}");
        let all = format!("{}{}", said.stdout, said.stderr);
        ensure!(all.contains("uid 1234 has mounted a file system on"), "{said:?}");
        drop(programs);
        Ok(())
    })
}

#[test]
fn what_is_open_too_deep_to_be_told_keeps_only_what_it_may_be_in() -> Result<()> {
    alone("what_is_open_too_deep_to_be_told_keeps_only_what_it_may_be_in", || {
        let scene = Scene::new()?;
        let used = leftover(&scene, b"code-server-used")?;
        let mut open = rustix::fs::open(&used, OFlags::PATH, Mode::empty())?;
        let name = "d".repeat(200);
        for _ in 0..30 {
            rustix::fs::mkdirat(&open, &*name, Mode::from_raw_mode(0o777))?;
            open = rustix::fs::openat(&open, &*name, OFlags::PATH, Mode::empty())?;
        }
        let there = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
        let socket = scene.instances.lab.at("tmp/vscode-ipc-dead.sock");
        let start = |uid: u32| -> Result<oh_testsuite::process::Running> {
            let mut sleep = Command::new(components::program("setpriv")?);
            let uid = uid.to_string();
            sleep.args(["--reuid", &uid, "--clear-groups", "sh", "-c", "echo in; exec sleep 1000"]);
            sleep.current_dir(&there);
            let mut sleep = oh_testsuite::process::Running::start(&mut sleep)?;
            sleep.wait_for_line("in", Duration::from_secs(20))?;
            Ok(sleep)
        };
        drop(UnixListener::bind(&socket)?);
        let mut sleep = start(0)?;
        let said = scene.run(&FORCED)?.expect(0)?;
        let why = "does not tell all paths because one is too long, perhaps uses it";
        ensure!(
            said.stdout.contains("code-server-used: pid ") && said.stdout.contains(why),
            "{said:?}"
        );
        ensure!(used.exists() && !socket.exists(), "{said:?}");
        sleep.stop()?;
        // Whoever has nothing to do with it keeps nothing by it.
        let mut sleep = start(4321)?;
        drop(open);
        scene.run(&FORCED)?.expect(0)?;
        ensure!(!used.exists());
        sleep.stop()?;
        Ok(())
    })
}
