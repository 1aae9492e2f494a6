//! A real OpenHands 0.62: the stand-in answers as it does, its config.toml and ours live in one
//! file, and our nginx in front of it takes nothing away.

#[path = "full_openhands/probes.rs"]
mod probes;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_testsuite::components;
use oh_testsuite::openhands::OpenHands;
use oh_testsuite::process::Running;
use oh_testsuite::transcript::{self, facts};

const BOUND: Duration = Duration::from_secs(60);

/// Starts the stand-in and returns it with its base URL.
fn stand_in() -> Result<(Running, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut running = Running::start(command.args(["openhands", "--listen", "127.0.0.1:0"]))?;
    let line = running.wait_for_line("listening on ", BOUND)?;
    let address = line.strip_prefix("listening on ").context("no address")?;
    Ok((running, format!("http://{address}")))
}

#[test]
fn the_stand_in_answers_as_the_real_one_and_both_as_recorded() -> Result<()> {
    let real = OpenHands::start(None)?;
    let (_stand_in, stand_in) = stand_in()?;
    for file in ["http.json", "socketio.json"] {
        let fixture = components::workspace()?.join("fixtures/openhands-0.62").join(file);
        let recording = transcript::read(&fixture)?;
        assert_eq!(transcript::differences(&real.base(), &recording)?, Vec::<String>::new());
    }
    let real = facts::observe(&real.base(), probes::PROBES)?;
    let other = facts::observe(&stand_in, probes::PROBES)?;
    let found = facts::differences(&real, &other, probes::EXCEPTIONS);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    Ok(())
}
