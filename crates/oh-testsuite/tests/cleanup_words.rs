//! What `oh-cleanup` says where it cannot do what it was asked, or does less than somebody may think: what
//! is so, and what to do about it.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;
#[path = "cleanup/stand_in.rs"]
mod stand_in;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::alone::alone;
use oh_testsuite::components;
use oh_testsuite::instances::is_root;
use oh_testsuite::lab::Said;
use scene::{PORTS, Scene};

#[test]
fn a_torn_configuration_is_named_with_what_can_be_done_without_it() -> Result<()> {
    let scene = Scene::new()?;
    let file = "etc/openhands-toolkit/config.toml";
    let whole = scene.text(file)?;
    fs::write(scene.instances.lab.at(file), "[toolkit")?;
    for words in [&["--dry-run"][..], &["undo"], &["runs"]] {
        let said = scene.run(words)?.expect(78)?;
        ensure!(said.stderr.contains("config.toml:1:9: unclosed table"), "{said:?}");
        ensure!(said.stderr.contains("what runs have moved stays where it is"), "{said:?}");
        let hint = "hint: mend it, or name another file for now: --config FILE (/dev/null: the defaults)\n";
        ensure!(said.stderr.ends_with(hint), "{said:?}");
    }
    let other = scene.instances.lab.at("other.toml").display().to_string();
    fs::write(&other, whole)?;
    scene.run(&["--dry-run", "--config", &other])?.expect(0)?;
    scene.run(&["--dry-run", "--config", "/dev/null"])?.expect(0)?;
    scene.run(&["runs", "--config", "/dev/null"])?.expect(0)?;
    Ok(())
}

#[test]
fn what_is_asked_for_at_the_wrong_place_is_said() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let refused = |words: &[&str], why: &str, hint: &str| -> Result<()> {
        let said = scene.run(words)?.expect(2)?;
        ensure!(said.stderr.contains(why) && said.stderr.contains(hint), "{words:?}: {said:?}");
        Ok(())
    };
    refused(
        &["--dry-run", "runs"],
        "options of a cleanup stand before `runs`, which has its own",
        "hint: see them: oh-cleanup runs --help",
    )?;
    refused(
        &["--all", "--grace", "2h"],
        "invalid value '2h' for '--grace <TIME>': at most 1h",
        "For more information, try '--help'.",
    )?;
    refused(
        &["purge", "--set", "cleanup.quarantine_max_mib=0"],
        "nobody said what is to be purged",
        "oh-cleanup purge --older-than 7d",
    )?;
    let nothing = scene.run(&["purge"])?.expect(0)?;
    ensure!(nothing.stdout.starts_with("nothing to do\n"), "{nothing:?}");
    ensure!(nothing.stdout.contains("oh-cleanup purge --older-than 7d"), "{nothing:?}");
    refused(
        &["--temp", "--reset-all", "--yes"],
        "--reset-all is about databases, and they are not asked for",
        "hint: add --databases, or take --all",
    )?;
    let file = scene.instances.lab.at("plan.json").display().to_string();
    scene.run(&["plan", "--temp", "--output", &file])?.expect(0)?;
    refused(
        &["apply", &file],
        "nobody is there to confirm this plan",
        "hint: that is what the plan has; confirm it with --yes\n",
    )?;
    ensure!(scene.tree("tmp")?.contains("gone-1/a"));
    Ok(())
}

#[test]
fn a_run_that_only_stopped_says_that_there_is_nothing_to_undo() -> Result<()> {
    alone("a_run_that_only_stopped_says_that_there_is_nothing_to_undo", || {
        let scene = Scene::new()?;
        let _old = stand_in::start(&scene, "old", scene.instances.first_port, stand_in::WAITS)?;
        let said = scene.run(&["--processes", "--yes"])?.expect(0)?;
        let nothing = "nothing to undo: what was stopped is started by whoever had started it\n";
        ensure!(said.stdout.ends_with(nothing), "{said:?}");
        Ok(())
    })
}

#[test]
fn engines_that_are_not_there_are_named() -> Result<()> {
    let scene = Scene::new()?;
    let has_one = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| {
            ["docker", "podman"]
                .iter()
                .any(|name| fs::exists(format!("{folder}/{name}")).unwrap_or(true))
        });
    let said = scene.run(&["--containers", "--dry-run"])?;
    let is_said = said.stdout.contains("containers: there is neither docker nor podman here");
    ensure!(is_said != has_one, "{said:?}");
    ensure!(has_one || said.code == 4, "{said:?}");
    Ok(())
}

#[test]
fn what_is_no_session_and_what_is_no_database_is_named_with_the_cause() -> Result<()> {
    let scene = Scene::new()?;
    let odd = scene.instances.lab.at("tmp/openhands-sessions/my session.json");
    fs::write(&odd, "{\"vscode_port\": 1}")?;
    let said = scene.run(&["--sessions", "--dry-run"])?.expect(0)?;
    let line = format!("{}: its name is no id of a session", odd.display());
    ensure!(said.stdout.contains(&line), "{said:?}");
    let ports = scene.instances.lab.at(PORTS);
    fs::remove_file(&ports)?;
    fs::create_dir(&ports)?;
    let said = scene.run(&["--databases", "--dry-run"])?.expect(4)?;
    let line = said.stdout.lines().find(|line| line.contains("vscode-ports.json"));
    ensure!(
        line.is_some_and(|line| line.contains("it is a folder, not a regular file")),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn who_is_not_root_is_told_what_to_do() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new()?;
    let state = scene.instances.lab.at("var/lib/openhands-toolkit");
    fs::create_dir_all(state.join("journal"))?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
    for folder in ["", "var", "var/lib"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(scene.instances.lab.at(folder), mode)?;
    }
    for words in
        [&["runs"][..], &["purge", "--older-than", "0s"], &["undo", "--dry-run"], &["undo"]]
    {
        let mut command = scene.instances.lab.built("oh-cleanup")?;
        command.env_clear().current_dir("/").args(words).uid(4242).gid(4242);
        command.arg("--root").arg(scene.instances.lab.root()).stdin(Stdio::null());
        let said = Said::from(command.output()?).expect(4)?;
        let hint = "run it as root, or on a folder of yours with --root DIR\n";
        ensure!(said.stderr.ends_with(hint), "{words:?}: {said:?}");
    }
    Ok(())
}

#[test]
fn nobody_is_promised_what_no_quarantine_can_hold() -> Result<()> {
    alone("nobody_is_promised_what_no_quarantine_can_hold", || {
        let scene = Scene::new()?;
        let at = |below: &str| scene.instances.lab.at(below).display().to_string();
        let run = |program: &str, words: &[&str]| -> Result<()> {
            let status = Command::new(components::program(program)?).args(words).status()?;
            ensure!(status.success(), "{program} {words:?}: {status}");
            Ok(())
        };
        scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
        let (var, tmp) = (at("var"), at("tmp"));
        run("mount", &["--bind", &tmp, &tmp])?;
        run("mount", &["--bind", &var, &var])?;
        run("mount", &["-o", "remount,bind,ro", &var])?;
        let said = scene.run(&["--temp", "--dry-run"])?.expect(6)?;
        ensure!(said.stdout.contains("a run would do nothing of it: the mount of "), "{said:?}");
        scene.run(&["--temp", "--yes"])?.expect(6)?;
        run("mount", &["-o", "remount,bind,rw", &var])?;
        run("umount", &[&tmp])?;
        // What is left over is on another mount by now, which begins above the root.
        let way = format!("give it a mount of its own (mount --bind {tmp} {tmp})");
        for words in [["--temp", "--dry-run"], ["--temp", "--yes"]] {
            let said = scene.run(&words)?.expect(1)?;
            ensure!(
                said.stdout.starts_with("nothing to do\n") && said.stdout.contains(&way),
                "{said:?}"
            );
        }
        run("mount", &["--bind", &tmp, &tmp])?;
        scene.run(&["--temp", "--dry-run"])?.expect(0)?;
        scene.run(&["--temp", "--yes"])?.expect(0)?;
        ensure!(!scene.tree("tmp")?.contains("vscode-agent-gone-1/a"));
        scene.run(&["undo"])?.expect(0)?;
        ensure!(scene.tree("tmp")?.contains("vscode-agent-gone-1/a"));
        run("umount", &[&tmp])?;
        run("umount", &[&var])
    })
}

#[test]
fn a_run_that_could_not_be_told_says_how_to_take_it_back() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let into_a_full_disk = |format| -> Result<String> {
        let mut command = scene.instances.lab.built("oh-cleanup")?;
        command.args([
            "--temp",
            "--yes",
            "--root",
            &scene.instances.lab.root(),
            "--format",
            format,
        ]);
        let full = fs::File::options().write(true).open("/dev/full")?;
        let output = command.stdout(full).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8(output.stderr)?)
    };
    for format in ["human", "json", "lines"] {
        let said = into_a_full_disk(format)?;
        ensure!(!scene.tree("tmp")?.contains("gone-1/a"), "{said}");
        ensure!(said.contains("error: could not write the answer\n  because: No space"), "{said}");
        let (_, undo) = said.split_once("oh-cleanup undo ").with_context(|| said.clone())?;
        let run = undo.split_whitespace().next().unwrap_or_default();
        scene.run(&["undo", run])?.expect(0)?;
        ensure!(scene.tree("tmp")?.contains("gone-1/a"));
    }
    Ok(())
}

#[test]
fn the_runbook_names_only_what_there_is() -> Result<()> {
    let page = fs::read_to_string(components::workspace()?.join("docs/operations/incident.md"))?;
    let reference = fs::read_to_string(components::workspace()?.join("docs/cli.md"))?;
    let config = fs::read_to_string(components::workspace()?.join("docs/config.md"))?;
    // Behind the fences, whose commands other tests run, every odd piece is quoted.
    let fenced = page.split("```").step_by(2).collect::<Vec<_>>().join("");
    let quoted = fenced.split('`').skip(1).step_by(2);
    let (mut options, mut keys) = (0, 0);
    for quoted in quoted {
        for word in quoted.split_whitespace().filter(|word| word.starts_with("--")) {
            ensure!(reference.contains(word), "no command has {word}: {quoted}");
            options += 1;
        }
        if let Some((section, key)) = quoted.split_once('.')
            && ["cleanup", "nginx", "sessions", "instances"].contains(&section)
        {
            ensure!(config.contains(&format!("### `{section}.{key}`")), "no such key: {quoted}");
            keys += 1;
        }
    }
    ensure!(options > 10 && keys > 5, "{options} options and {keys} keys are looked at");
    Ok(())
}

#[test]
fn the_live_line_is_gone_before_the_answer() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-gone-1/a", "a")?;
    let mut command = Command::new(components::program("script")?);
    let tool = scene.instances.lab.built("oh-cleanup")?;
    let tool = tool.get_program().to_string_lossy().into_owned();
    let line = format!("{tool} --temp --yes --root {}", scene.instances.lab.root());
    let output = command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).output()?;
    let seen = String::from_utf8_lossy(&output.stdout);
    let (before, _) = seen.split_once("done      move").with_context(|| seen.to_string())?;
    ensure!(before.contains("keep evidence"), "it is a terminal: {seen}");
    let at_start = before.rsplit(['\r', '\n']).next().unwrap_or_default();
    ensure!(at_start.replace("\u{1b}[2K", "").trim().is_empty(), "{seen:?}");
    Ok(())
}
