//! A database that ends in the midst of itself, wherever that is.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::scene::{PORTS, Scene};

/// Tears the database of ports at each `stride`th byte and cleans up: afterwards it is whole, what was
/// torn is kept beside, and taking it back brings the torn one.
pub(crate) fn at_each(scene: &Scene, stride: usize) -> Result<()> {
    let port = scene.instances.first_port;
    // One that lives by its listener, and one that is gone.
    let _listener = std::net::TcpListener::bind(("127.0.0.1", port + 3))?;
    scene.enter_dead("live", port + 3)?;
    scene.enter_dead("gone", port + 4)?;
    let whole = fs::read(scene.instances.lab.at(PORTS))?;
    let mut count = 0;
    for length in (0..whole.len()).step_by(stride) {
        let torn = &whole[..length];
        one(scene, torn, port).with_context(|| format!("torn at byte {length}"))?;
        count += 1;
    }
    ensure!(count > 5, "only {count} places of {}", whole.len());
    Ok(())
}

fn one(scene: &Scene, torn: &[u8], port: u16) -> Result<()> {
    let path = scene.instances.lab.at(PORTS);
    fs::write(&path, torn)?;
    let said = scene.run(&["--databases", "--yes", "--no-evidence"])?.expect(0)?;
    let now = scene.instances.json(PORTS).with_context(|| format!("{said:?}"))?;
    let instances = now["instances"].as_object().context("an object")?;
    // What is whole of it goes on, and nothing is made up.
    ensure!(instances.keys().all(|id| id == "live"), "{now:#}");
    let free = now["availablePorts"].as_array().context("an array")?;
    ensure!(instances.is_empty() || !free.contains(&serde_json::json!(port + 3)), "{now:#}");
    ensure!(free.len() + instances.len() == 12 || free.len() == 12, "{now:#}");
    let again = scene.run(&["--databases", "--yes"])?.expect(0)?;
    ensure!(again.stdout.starts_with("nothing to do"), "{again:?}");
    scene.run(&["undo"])?.expect(0)?;
    ensure!(fs::read(&path)? == torn, "{said:?}");
    Ok(())
}
