//! Units of systemd, where it runs: what holds something that was started.

use core::time::Duration;
use std::path::Path;

use oh_model::path::RealPath;

use crate::command::{self, CommandFault};

/// The folder that is there where systemd is the first process (sd_booted(3)).
pub const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// The program that is asked.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// How long systemd may take beyond what ending the unit takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Says whether systemd is the first process.
pub fn is_systemd() -> bool {
    Path::new(SYSTEMD_RUNS).is_dir()
}

/// Waits until a unit has ended, and with it all that is in its group, which may take `limit`; one that
/// is not there has.
///
/// # Errors
/// [`CommandFault`] where systemd does not answer.
pub fn end(unit: &str, limit: Duration) -> Result<(), CommandFault> {
    let Ok(program) = RealPath::parse(SYSTEMCTL) else { return Ok(()) };
    if is_systemd() {
        command::run(&program, &["stop", "--quiet", unit], None, limit + ANSWER_LIMIT)?;
    }
    Ok(())
}
