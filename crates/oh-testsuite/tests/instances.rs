//! `oh-instances` with a real code-server behind a real nginx.

use anyhow::{Result, ensure};
use oh_testsuite::instances::Instances;
use oh_testsuite::lab::basic;
use serde_json::json;

#[test]
fn one_repository_is_started_served_and_stopped() -> Result<()> {
    let scene = Instances::new("")?;
    let folder = scene.repository("hello")?;
    let said = scene.run(&["start", "--repo", &folder])?.expect(0)?;
    eprintln!("{}{}", said.stderr, said.stdout);
    let password = scene.login()?;
    let login = basic("openhands", &password);
    let again = scene.ask(&["start", "--repo", &folder])?;
    ensure!(again["ran_before"] == json!(true), "{again:#}");
    let instance = &again["instance"];
    ensure!(instance["port"] == json!(scene.first_port), "{instance:#}");
    let answer = scene.lab.get("/vscode/hello/", &[("Authorization", &login)])?;
    eprintln!("{} {:?}", answer.status, answer.headers);
    eprintln!(
        "{}",
        std::fs::read_to_string(scene.lab.at("var/www/ai-desktop/data/vscode-ports.json"))?
    );
    eprintln!(
        "{}",
        std::fs::read_to_string(scene.lab.at("var/www/ai-desktop/data/repositories.json"))?
    );
    eprintln!("{:#?}", scene.processes()?);
    let said = scene.run(&["stop", "hello"])?.expect(0)?;
    eprintln!("{}{}", said.stderr, said.stdout);
    ensure!(scene.processes()?.is_empty());
    eprintln!(
        "{}",
        std::fs::read_to_string(scene.lab.at("var/www/ai-desktop/data/vscode-ports.json"))?
    );
    Ok(())
}
