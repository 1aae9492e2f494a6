//! Editors from `oh-instances` behind nginx's login, in Chromium: each kind on each transport.
//!
//! What is met here in one combination is met in the others by `full_instances_browser.rs`, which alone looks at
//! settings and extensions: they take a browser minutes.

#[expect(dead_code, reason = "settings and extensions are looked at in the full tier")]
#[path = "instances/plan.rs"]
mod plan;
#[path = "instances/scene.rs"]
mod scene;

use anyhow::Result;
use oh_config::Transport::{Port, Unix};
use oh_model::instance::Server::{CodeServer, Openvscode};
use scene::How;

#[test]
fn one_code_server_on_a_port() -> Result<()> {
    plan::one(How(CodeServer, Port))
}

#[test]
fn one_code_server_on_a_socket() -> Result<()> {
    plan::one(How(CodeServer, Unix))
}

#[test]
fn one_openvscode_on_a_port() -> Result<()> {
    plan::one(How(Openvscode, Port))
}

#[test]
fn one_openvscode_on_a_socket() -> Result<()> {
    plan::one(How(Openvscode, Unix))
}

#[test]
fn of_two_one_is_stopped_and_the_other_works_on() -> Result<()> {
    plan::two_in_sequence(How(Openvscode, Port))
}

#[test]
fn three_are_started_and_stopped_at_once() -> Result<()> {
    plan::three_at_once(How(CodeServer, Unix))
}

#[test]
fn one_that_is_killed_with_its_supervisor_starts_again() -> Result<()> {
    plan::a_crash(How(Openvscode, Unix))
}

#[test]
fn all_are_stopped_with_one_command_and_fresh_ones_start() -> Result<()> {
    plan::all_stopped(How(CodeServer, Port))
}

#[test]
fn a_session_serves_the_application_that_its_terminal_starts() -> Result<()> {
    plan::a_session(How(Openvscode, Unix))
}
