//! Units of systemd, where it runs: what holds something that was started.

use core::time::Duration;
use std::path::Path;

use oh_model::path::RealPath;

use crate::command::{self, CommandFault, Output};

/// The folder that is there where systemd is the first process (sd_booted(3)).
pub const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// The program that is asked.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// What systemctl(1) exits with where there is no such unit (systemd.exec(5): `EXIT_NOTINSTALLED`).
const NOT_LOADED: i32 = 5;

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
/// [`CommandFault`] where systemd does not answer, or did not end it.
pub fn end(unit: &str, limit: Duration) -> Result<(), CommandFault> {
    let Ok(program) = RealPath::parse(SYSTEMCTL) else { return Ok(()) };
    if !is_systemd() {
        return Ok(());
    }
    let limit = limit.saturating_add(ANSWER_LIMIT);
    let output = command::run(&program, &["stop", "--quiet", unit], None, limit)?;
    ended(output.by_itself(&program)?, &program)
}

/// Takes the answer of `systemctl stop`.
fn ended(output: Output, program: &RealPath) -> Result<(), CommandFault> {
    match output.status.code() {
        Some(0 | NOT_LOADED) => Ok(()),
        _ => Err(CommandFault::Failed {
            program: program.clone(),
            ending: output.ending(),
            said: output.stderr.split_whitespace().collect::<Vec<_>>().join(" "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_systemd_did_not_end_is_named_with_its_reason() {
        let shell = RealPath::parse("/bin/sh").unwrap();
        let said = |script: &str| {
            let output = command::run(&shell, &["-c", script], None, ANSWER_LIMIT).unwrap();
            ended(output, &shell).map_err(|fault| fault.to_string())
        };
        assert_eq!(said("exit 0"), Ok(()));
        // A unit that is not there has ended.
        assert_eq!(said("echo 'Unit a.service not loaded.' >&2; exit 5"), Ok(()));
        let why = "/bin/sh failed (exit code 4): Failed to stop a.service: Access denied";
        let script = "echo 'Failed to stop a.service: Access denied' >&2; exit 4";
        assert_eq!(said(script), Err(why.into()));
    }
}
