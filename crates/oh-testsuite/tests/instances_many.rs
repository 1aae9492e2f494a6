//! Two hundred starts at once for twelve ports.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::instances::Instances;
use oh_testsuite::lab::Said;
use serde_json::{Value, json};

/// How many repositories are asked for.
const STARTS: usize = 200;

/// How many commands run at a time.
const AT_ONCE: usize = 12;

/// How often; the full tier goes on with ten.
const ROUNDS: usize = if cfg!(feature = "full") { 10 } else { 2 };

const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";
const REPOSITORIES: &str = "var/www/ai-desktop/data/repositories.json";

#[test]
fn two_hundred_starts_give_twelve_instances_and_as_many_clear_answers() -> Result<()> {
    let scene = Instances::new("")?;
    let folders = (0..STARTS)
        .map(|number| scene.repository(&format!("repository-{number}")))
        .collect::<Result<Vec<_>>>()?;
    for round in 0..ROUNDS {
        one_round(&scene, &folders).with_context(|| format!("round {round}"))?;
        scene.run(&["stop", "--all"])?.expect(0)?;
        ensure!(scene.processes()?.is_empty(), "{:?}", scene.processes()?);
        let ports = scene.json(PORTS)?;
        ensure!(ports["instances"] == json!({}), "{ports:#}");
        ensure!(ports["availablePorts"].as_array().is_some_and(|ports| ports.len() == 12));
    }
    Ok(())
}

fn one_round(scene: &Instances, folders: &[String]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let answers: Vec<(usize, Said)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<(usize, Said)>> {
                    let mut answers = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(folder) = folders.get(number) else { return Ok(answers) };
                        let arguments = ["start", "--repo", folder, "--format", "json"];
                        answers.push((number, scene.run(&arguments)?));
                    }
                })
            })
            .collect();
        let answers = workers.into_iter().map(|worker| worker.join().answered());
        answers.collect::<Result<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
    })?;

    let (started, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, said)| said.code == 0);
    for (_, said) in &refused {
        ensure!(said.code == 2 && said.stderr.contains("all ports in use"), "{said:?}");
    }
    ensure!(started.len() == 12 && refused.len() == STARTS - 12, "{} started", started.len());
    let mut ports = BTreeSet::new();
    let (leases, known) = (scene.json(PORTS)?, scene.json(REPOSITORIES)?);
    for (number, said) in &started {
        let instance = said.json()?["result"]["instance"].clone();
        let (id, port) = (format!("repository-{number}"), &instance["port"]);
        ensure!(instance["id"] == json!(id), "{instance:#}");
        ensure!(ports.insert(port.as_u64().context("a port")?), "{port} twice");
        ensure!(leases["instances"][&id]["port"] == *port, "{leases:#}");
        let entry = known["repositories"]
            .as_array()
            .and_then(|all| all.iter().find(|entry| entry["id"] == json!(id)));
        ensure!(entry.is_some_and(|entry| entry["vscodePort"] == *port), "{id} is not known");
    }
    ensure!(leases["instances"].as_object().is_some_and(|all| all.len() == 12), "{leases:#}");
    ensure!(leases["availablePorts"] == Value::Array(Vec::new()), "{leases:#}");
    // One supervisor, one wrapper and one server each, and nothing else.
    let running = scene.processes()?;
    ensure!(running.len() == 3 * 12, "{running:#?}");
    Ok(())
}

/// A worker that panicked has failed.
trait Joined<T> {
    fn answered(self) -> Result<T>;
}

impl<T> Joined<T> for thread::Result<Result<T>> {
    fn answered(self) -> Result<T> {
        self.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
    }
}
