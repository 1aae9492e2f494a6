//! A machine on which three editors of the original application's run, and what is left of others.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::scene::{Running, Scene};

/// How many editors run.
pub(crate) const EDITORS: u16 = 3;

/// How long an editor is given to end by itself.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How long the rest may take.
pub(crate) const BUDGET: Duration = Duration::from_secs(3);

/// Lights one, puts it out with one command, and demands that it is out; returns how long that took.
pub(crate) fn put_out() -> Result<Duration> {
    let scene = Scene::new()?;
    let editors = (0..EDITORS).map(|nth| scene.historic(&format!("editor-{nth}"), nth));
    let editors: Vec<Running> = editors.collect::<Result<_>>()?;
    let decoys = scene.decoys()?;
    for nth in 0..20 {
        scene.leave(&format!("tmp/code-server-userdata-gone-{nth}/User/settings.json"), "{}")?;
        scene.leave(&format!("tmp/vscode-agent-gone-{nth}/data/a"), "a")?;
        let session = format!("tmp/openhands-sessions/gone-{nth}.json");
        scene.leave(&session, "{\"vscode_port\": 1}")?;
    }
    scene.enter_dead("gone", scene.instances.first_port + EDITORS)?;
    let grace = format!("{}ms", GRACE.as_millis());
    let begun = Instant::now();
    let said = scene.run(&["--all", "--yes", "--grace", &grace])?;
    let took = begun.elapsed();
    let said = said.expect(0)?;
    ensure!(said.stdout.contains(&format!("{EDITORS} editors stopped")), "{said:?}");
    ensure!(editors.iter().all(Running::is_over) && decoys.live()?, "{said:?}");
    for editor in &editors {
        TcpListener::bind(("127.0.0.1", editor.port))?;
    }
    let again = scene.run(&["--all", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do\n"), "{again:?}");
    Ok(took)
}
