//! What belongs to an editor that `oh-cleanup` stops, by its port or by its name, goes in the same run; and
//! what is asked for by a name that nothing has is no success.

#[path = "cleanup/scene.rs"]
#[expect(dead_code, reason = "not everything of the scene is needed here")]
mod scene;

use std::fs::File;
use std::net::TcpListener;

use anyhow::{Result, ensure};
use scene::Scene;

#[test]
fn what_announces_an_editor_and_what_it_logs_goes_in_the_run_that_stops_it() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    let (lab, port) = (&scene.instances.lab, old.port);
    let announced = format!("{{\"vscode_port\": {port}}}");
    scene.leave("tmp/openhands-sessions/one.json", &announced)?;
    // A log is as young as the last line of its editor.
    let logs = [format!("code-server-old-{port}.log"), "code-server-old.log".into()];
    for log in &logs {
        lab.write(&format!("tmp/{log}"), "young")?;
    }
    // Of nobody who is known, and one that somebody else has open.
    lab.write("tmp/code-server-other.log", "young")?;
    let held = format!("tmp/code-server-{port}.log");
    lab.write(&held, "young")?;
    let _reader = File::open(lab.at(&held))?;
    let said = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(old.is_over() && !said.stdout.contains("its editor listens"), "{said:?}");
    let left = scene.tree("tmp")?;
    for gone in logs.iter().map(String::as_str).chain(["one.json"]) {
        ensure!(!left.contains(gone), "{gone}: {said:?}");
    }
    ensure!(left.contains("code-server-other.log") && left.contains(&held), "{said:?}");
    ensure!(said.stdout.contains(" uses it"), "{said:?}");
    let again = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    scene.run(&["undo"])?.expect(0)?;
    ensure!(scene.text("tmp/openhands-sessions/one.json")? == announced);
    Ok(())
}

#[test]
fn a_session_whose_port_somebody_else_has_too_stays() -> Result<()> {
    let scene = Scene::new()?;
    let old = scene.historic("old", 1)?;
    let session = "tmp/openhands-sessions/one.json";
    scene.leave(session, &format!("{{\"vscode_port\": {}}}", old.port))?;
    let _other = TcpListener::bind(("127.0.0.2", old.port))?;
    let said = scene.run(&["--processes", "--sessions", "--yes", "--grace", "2s"])?.expect(1)?;
    ensure!(old.is_over(), "{said:?}");
    let line = said.stdout.lines().find(|line| line.contains("one.json: "));
    ensure!(line.is_some_and(|line| line.contains(" listens on its port")), "{said:?}");
    ensure!(scene.instances.lab.at(session).exists(), "{said:?}");
    Ok(())
}

#[test]
fn a_log_goes_with_the_one_that_is_named() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["a", "b"] {
        scene.leave(&format!("tmp/code-server-{name}.log"), "old")?;
    }
    let said = scene.run(&["--only", "a", "--yes"])?.expect(0)?;
    // Of the rest it says nothing.
    ensure!(said.stdout.contains("\nclean (--only a): 1 thing moved "), "{said:?}");
    let left = scene.tree("tmp")?;
    ensure!(!left.contains("code-server-a.log") && left.contains("code-server-b.log"), "{left}");
    Ok(())
}

#[test]
fn an_id_that_nothing_has_is_refused_before_anything() -> Result<()> {
    let scene = Scene::new()?;
    scene.leave("tmp/vscode-agent-b-8890/data/a", "a")?;
    scene.enter_dead("gone", scene.instances.first_port)?;
    let file = scene.instances.lab.at("plan.json").display().to_string();
    for words in [
        &["--all", "--only", "nosuch", "--yes"][..],
        &["--only", "b", "--only", "nosuch", "--yes"],
        &["--only", "nosuch", "--dry-run"],
        &["plan", "--only", "nosuch", "--output", &file],
    ] {
        let said = scene.run(words)?.expect(2)?;
        ensure!(said.stderr.contains("nothing that is seen here has the id nosuch"), "{said:?}");
        ensure!(said.stderr.contains("nothing was changed"), "{said:?}");
        ensure!(said.stderr.contains("hint: the ids there are: b, gone\n"), "{said:?}");
    }
    ensure!(scene.tree("tmp")?.contains("vscode-agent-b-8890/data/a"));
    ensure!(!scene.instances.lab.at("plan.json").exists());
    scene.run(&["--only", "B", "--yes"])?.expect(0)?;
    // It has nothing that could be taken, and is known.
    scene.run(&["--only", "gone", "--yes"])?.expect(0)?;
    let none = scene.run(&["--only", "gone", "--yes"])?.expect(0)?;
    ensure!(none.stdout.starts_with("nothing to do\n"), "{none:?}");
    Ok(())
}

#[test]
fn a_run_with_nothing_to_do_says_what_it_kept_and_not_what_it_would() -> Result<()> {
    let scene = Scene::new()?;
    scene.instances.lab.write("tmp/code-server-new.log", "young")?;
    let said = scene.run(&["--temp", "--yes"])?.expect(0)?;
    ensure!(said.stdout.starts_with("nothing to do\nkept      "), "{said:?}");
    let dry = scene.run(&["--temp", "--dry-run"])?.expect(0)?;
    ensure!(dry.stdout.starts_with("nothing to do\nwould keep      1 thing\n"), "{dry:?}");
    Ok(())
}
