//! A test in namespaces of its own: with processes, a network and mounts that end with it.
//!
//! The test runs itself once more, inside. There it may mount what it likes, take any port, and give
//! numbers of processes anew; nothing of it is seen outside, and nothing is left when it ends, however
//! it ends.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::components;
use crate::instances::is_root;
use crate::process::Running;

/// Which test is inside.
const MARK: &str = "OHT_TEST_ALONE";

/// How long a test may take inside; the longest ones make a million files.
const BOUND: Duration = Duration::from_secs(1800);

/// The first process: it reaps, as an init does.
const INIT: &str = "ip link set lo up || exit 97; \"$@\"; exit \"$?\"";

/// Runs the body of the test `name`, which is its path in its file, in namespaces of its own.
///
/// # Errors
///
/// With all that it wrote, where it fails; as "environment" for anybody but root.
pub fn alone(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    inside(name, &["setsid"], body)
}

/// The same below a first process that leads no session, as in some containers: the group and the
/// session of all are outside then, and have no number.
///
/// # Errors
///
/// As [`alone`].
pub fn alone_without_session(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    inside(name, &[], body)
}

fn inside(name: &str, first: &[&str], body: impl FnOnce() -> Result<()>) -> Result<()> {
    if env::var_os(MARK).is_some_and(|inside| inside == name) {
        return body();
    }
    ensure!(is_root()?, "environment: namespaces are root's to make");
    let mut command = Command::new(components::program("setpriv")?);
    // Ends with the test, whatever ends the test.
    command.args(["--pdeathsig", "KILL"]).arg(components::program("unshare")?);
    command.args(["--mount", "--propagation", "private", "--net", "--pid", "--fork"]);
    command.args(["--kill-child=KILL", "--mount-proc"]).args(first);
    command.args(["sh", "-c", INIT, "sh"]);
    command.arg(env::current_exe().context("could not see which program this is")?);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(MARK, name);
    let mut running = Running::start(&mut command)?;
    let status = running.wait(BOUND)?;
    let log = running.log();
    // A name that is none is a test that was not run.
    ensure!(status.success() && log.contains("1 passed"), "inside, {status}:\n{log}");
    Ok(())
}
