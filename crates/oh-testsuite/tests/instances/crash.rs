//! A start or a stop that is killed at one of its system calls: nothing leaks, and the next run
//! ends in the clean state.

#[path = "../crash/blows.rs"]
#[expect(dead_code, reason = "the other tests fail calls as well")]
mod blows;

use anyhow::{Context as _, Result, ensure};
pub(crate) use blows::Blow;
use oh_testsuite::instances::Instances;
use oh_testsuite::truth;
use serde_json::json;

const PORTS: &str = "var/www/ai-desktop/data/vscode-ports.json";

/// Which command is struck.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Struck {
    Start,
    Stop,
}

/// A root with one repository.
pub(crate) struct Scene {
    instances: Instances,
    folder: String,
}

impl Scene {
    pub(crate) fn set() -> Result<Self> {
        let instances = Instances::new("stop_grace_s = 5\n")?;
        let folder = instances.repository("hello")?;
        // The first set makes the login and the folders of nginx.
        instances.ask(&["start", "--repo", &folder])?;
        instances.run(&["stop", "hello"])?.expect(0)?;
        Ok(Self { instances, folder })
    }

    fn arguments(&self, struck: Struck) -> Vec<&str> {
        match struck {
            Struck::Start => vec!["start", "--repo", &self.folder],
            Struck::Stop => vec!["stop", "hello"],
        }
    }

    /// The calls of a command that change something.
    pub(crate) fn calls(&self, struck: Struck) -> Result<Vec<(String, usize)>> {
        if matches!(struck, Struck::Stop) {
            self.start()?;
        }
        let log = self.instances.lab.at("log/strace").display().to_string();
        let calls = blows::calls(&self.instances.command(&self.arguments(struck))?, &log)?;
        self.stop()?;
        Ok(calls)
    }

    /// Strikes, and demands that the next commands end clean.
    pub(crate) fn survives(
        &self,
        blow: Blow,
        struck: Struck,
        call: &str,
        number: usize,
    ) -> Result<()> {
        self.strike(blow, struck, call, number)
            .with_context(|| format!("{blow:?} of {struck:?} at {call} {number}"))
    }

    fn strike(&self, blow: Blow, struck: Struck, call: &str, number: usize) -> Result<()> {
        if matches!(struck, Struck::Stop) {
            self.start()?;
        }
        let log = self.instances.lab.at("log/strace").display().to_string();
        let tool = self.instances.command(&self.arguments(struck))?;
        let said = blow.strike(&tool, &log, call, number)?;
        if matches!(blow, Blow::NoSpace) {
            // With 1, only the answer could not be written.
            let is_unsaid = said.code == 1 && said.stderr.contains("could not write the answer");
            ensure!([0, 6].contains(&said.code) || is_unsaid, "{said:?}");
            let is_named = said.stderr.contains("No space left on device");
            ensure!(said.code == 0 || is_named, "{said:?}");
            if said.code == 6 {
                truth::nothing_is_left(&self.instances, "hello").with_context(|| said.stderr)?;
            }
        }
        // No process without a record.
        let running = self.instances.processes()?;
        let is_recorded = self.record_exists();
        ensure!(running.is_empty() || is_recorded, "without a record: {running:?}");
        self.is_told_as_it_is()?;
        self.start()?;
        let ports = self.instances.json(PORTS)?;
        ensure!(
            ports["instances"]["hello"]["port"] == json!(self.instances.first_port),
            "{ports:#}"
        );
        self.stop()
    }

    /// Demands that `list` says how far the command has come.
    fn is_told_as_it_is(&self) -> Result<()> {
        let listed = self.instances.run(&["list", "--format", "json"])?.json()?;
        let all = listed["result"]["instances"].as_array().context("a list")?;
        if !self.record_exists() {
            ensure!(all.is_empty(), "{listed:#}");
            return Ok(());
        }
        let record = self.instances.json(&truth::record("hello"))?;
        let state = if record["wanted"] == json!("stopped") {
            "stop not finished"
        } else if record.get("starter").is_some() {
            "start not finished"
        } else {
            "running"
        };
        ensure!(all.len() == 1 && all[0]["state"] == json!(state), "not {state}: {listed:#}");
        Ok(())
    }

    fn record_exists(&self) -> bool {
        self.instances.lab.at(&truth::record("hello")).exists()
    }

    fn start(&self) -> Result<()> {
        let started = self.instances.ask(&["start", "--repo", &self.folder])?;
        let port = &started["instance"]["port"];
        ensure!(*port == json!(self.instances.first_port), "{started:#}");
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        self.instances.run(&["stop", "hello"])?.expect(0)?;
        truth::nothing_is_left(&self.instances, "hello")
    }
}
