//! What `instances_browser.rs` meets in one combination, for each kind of editor on each transport.

#[expect(dead_code, reason = "one alone is met in each combination there")]
#[path = "instances/plan.rs"]
mod plan;
#[path = "instances/scene.rs"]
mod scene;

use anyhow::{Context as _, Result};
use oh_config::Transport::{Port, Unix};
use oh_model::instance::Server::{CodeServer, Openvscode};
use scene::How;

fn in_every_way(story: fn(How) -> Result<()>) -> Result<()> {
    for how in [(CodeServer, Port), (CodeServer, Unix), (Openvscode, Port), (Openvscode, Unix)] {
        story(How(how.0, how.1)).with_context(|| format!("{how:?}"))?;
    }
    Ok(())
}

#[test]
fn of_two_one_is_stopped_and_the_other_works_on() -> Result<()> {
    in_every_way(plan::two_in_sequence)
}

#[test]
fn three_are_started_and_stopped_at_once() -> Result<()> {
    in_every_way(plan::three_at_once)
}

#[test]
fn one_that_is_killed_with_its_supervisor_starts_again() -> Result<()> {
    in_every_way(plan::a_crash)
}

#[test]
fn all_are_stopped_with_one_command_and_fresh_ones_start() -> Result<()> {
    in_every_way(plan::all_stopped)
}

#[test]
fn a_setting_and_an_extension_of_one_are_absent_in_the_other() -> Result<()> {
    in_every_way(plan::each_has_its_own)
}

#[test]
fn a_session_serves_the_application_that_its_terminal_starts() -> Result<()> {
    in_every_way(plan::a_session)
}
