//! The command lines that README.md prints, run as they are printed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said};

/// The lines build into one target folder, so they take turns also where tests do not.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a line of README.md in the root of the workspace.
fn run(line: &str) -> Result<Said> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("an empty line")?);
    command.args(words).current_dir(components::workspace()?);
    Ok(command.output().with_context(|| format!("could not run {line}"))?.into())
}

/// Where the sandbox is that no `--dir` names.
fn default_sandbox() -> Result<PathBuf> {
    let tool = components::built("oh-deploy")?;
    let target = tool.ancestors().nth(2).context("no target folder")?;
    Ok(target.join("sandbox"))
}

#[test]
fn the_sandbox_comes_up_and_goes_down() -> Result<()> {
    let _turn = turn();
    let folder = default_sandbox()?;
    let take_down = "take it down first: cargo xtask deploy --sandbox --down";
    ensure!(!folder.exists(), "environment: {} is in use; {take_down}", folder.display());
    let up = run("cargo xtask deploy --sandbox");
    let again = run("cargo xtask deploy --sandbox");
    // Down before anything is judged, so that nothing runs on after a failure.
    let down = run("cargo xtask deploy --sandbox --down")?;
    let up = up?.expect(0)?;
    ensure!(up.stdout.starts_with("the sandbox is up in "), "{}", up.stdout);
    ensure!(up.stdout.contains("https://localhost:"), "{}", up.stdout);
    ensure!(up.stdout.contains("user openhands   password "), "{}", up.stdout);
    let again = again?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);
    let down = down.expect(0)?;
    ensure!(down.stdout.contains("processes stopped"), "{}", down.stdout);
    ensure!(!folder.exists(), "the folder is still there");
    Ok(())
}

#[test]
fn the_tests_are_run_by_the_command_that_says_so() -> Result<()> {
    let _turn = turn();
    // One pure test of them: this one is run by the same command.
    let said = run("cargo xtask test several_at_once_rank_as_documented")?.expect(0)?;
    let all = format!("{}{}", said.stdout, said.stderr);
    ensure!(all.contains("several_at_once_rank_as_documented"), "{all}");
    ensure!(all.contains("1 test run") || all.contains("1 passed"), "{all}");
    Ok(())
}

#[test]
fn look_plan_and_go() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let check = lab.run(&["config", "check"])?.expect(0)?;
    ensure!(check.stderr.is_empty(), "{}", check.stderr);
    let plan = lab.run(&["plan"])?.expect(0)?;
    ensure!(plan.stdout.contains("go on with: oh-nginx apply"), "{}", plan.stdout);
    lab.run(&["apply"])?.expect(0)?;
    let status = lab.run(&["status"])?.expect(0)?;
    ensure!(status.stdout.contains("serves generation 1-"), "{}", status.stdout);
    let lint = lab.run(&["lint"])?.expect(0)?;
    ensure!(lint.stdout.contains("nginx accepts it"), "{}", lint.stdout);
    let page = lab.run(&["lint", "--explain", "OH-NGX-101"])?.expect(0)?;
    ensure!(page.stdout.starts_with("OH-NGX-101"), "{}", page.stdout);
    Ok(())
}

/// Runs a command in a terminal and says yes.
fn confirmed(command: &Command) -> Result<Said> {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(quoted).collect();
    let mut terminal = Command::new(components::program("script")?);
    terminal.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = terminal.spawn().context("could not run script")?;
    child.stdin.take().context("no stdin")?.write_all(b"y\n")?;
    Ok(child.wait_with_output()?.into())
}

#[test]
fn take_over_and_give_back() -> Result<()> {
    let (mut lab, _) = Lab::installation("fork-http")?;
    // With a configuration of its own, nothing need be said on the command line.
    std::fs::create_dir(lab.at("etc/openhands-toolkit"))?;
    lab.write(
        "etc/openhands-toolkit/config.toml",
        &format!(
            "[toolkit.site]\ndomain = \"127.0.0.1\"\nport = {}\nupstream = \"127.0.0.1:{}\"\n\
             [toolkit.nginx]\nlisten = [\"127.0.0.1\"]\ngeneration_port = {}\n",
            lab.site_port, lab.upstream_port, lab.generation_port
        ),
    )?;
    lab.start_nginx()?;
    let shown = lab.run(&["adopt", "--dry-run"])?.expect(0)?;
    ensure!(shown.stdout.contains("go on with: oh-nginx adopt"), "{}", shown.stdout);
    let done = confirmed(&lab.command(&["adopt"])?)?.expect(0)?;
    ensure!(done.stdout.contains("Go on? [y/N]"), "{}", done.stdout);
    ensure!(done.stdout.contains("taken over: "), "{}", done.stdout);
    let shown = lab.run(&["release", "--dry-run"])?.expect(0)?;
    ensure!(shown.stdout.contains("go on with: oh-nginx release"), "{}", shown.stdout);
    let done = confirmed(&lab.command(&["release"])?)?.expect(0)?;
    ensure!(done.stdout.contains("given back: every file is what it was"), "{}", done.stdout);

    let (mut lab, _) = Lab::installation("ai-desktop-before")?;
    lab.start_nginx()?;
    let port = format!("nginx.generation_port={}", lab.generation_port);
    let mut command = lab.command(&["adopt", "--set", "site.domain=192.0.2.1"])?;
    // The port of the machine's own installation is not ours to take.
    command.args(["--set", &port]);
    let done = confirmed(&command)?.expect(0)?;
    ensure!(done.stdout.contains("taken over: "), "{}", done.stdout);
    Ok(())
}
