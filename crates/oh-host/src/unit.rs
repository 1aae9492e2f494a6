//! Units of systemd, where it runs: what holds something that was started.

use core::time::Duration;
use std::path::Path;

use oh_model::path::RealPath;

use crate::command::{self, CommandFault, Output};
use crate::process::Pid;

/// The folder that is there where systemd is the first process (sd_booted(3)).
pub const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// The program that is asked.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// What systemctl(1) exits with where there is no such unit (systemd.exec(5): `EXIT_NOTINSTALLED`).
const NOT_LOADED: i32 = 5;

/// How long systemd may take beyond what ending the unit takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long systemd may take to say what a unit is: it knows that without asking anybody.
const STANDING_LIMIT: Duration = Duration::from_secs(5);

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

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it runs, or is about to.
    pub is_alive: bool,
    /// The process that systemd watches, and starts again where the unit says so.
    pub main: Option<Pid>,
}

/// Asks systemd for a unit of the machine; nothing is changed by that.
///
/// # Errors
/// [`CommandFault`] where systemd does not answer.
pub fn standing(unit: &str) -> Result<Standing, CommandFault> {
    let Ok(program) = RealPath::parse(SYSTEMCTL) else {
        return Ok(Standing { is_alive: true, main: None });
    };
    let words = ["show", "--property=ActiveState", "--property=MainPID", "--", unit];
    let output = command::run(&program, &words, None, STANDING_LIMIT)?.by_itself(&program)?;
    read(&output.stdout).ok_or_else(|| failed(&output, &program))
}

/// Reads the properties of a unit; one that is not there is inactive.
fn read(text: &str) -> Option<Standing> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let state = value("ActiveState").filter(|state| !state.is_empty())?;
    let main = value("MainPID").and_then(|number| number.parse().ok()).and_then(Pid::new);
    Some(Standing { is_alive: !matches!(state, "inactive" | "failed"), main })
}

/// Takes the answer of `systemctl stop`.
fn ended(output: Output, program: &RealPath) -> Result<(), CommandFault> {
    match output.status.code() {
        Some(0 | NOT_LOADED) => Ok(()),
        _ => Err(failed(&output, program)),
    }
}

fn failed(output: &Output, program: &RealPath) -> CommandFault {
    CommandFault::Failed {
        program: program.clone(),
        ending: output.ending(),
        said: output.stderr.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_of_a_unit_is_read() {
        let said =
            |state: &str, main: &str| read(&format!("MainPID={main}\nActiveState={state}\n"));
        let alive = |main| Some(Standing { is_alive: true, main });
        assert_eq!(said("active", "17"), alive(Pid::new(17)));
        assert_eq!(said("activating", "0"), alive(None));
        assert_eq!(said("deactivating", "0"), alive(None));
        let dead = Some(Standing { is_alive: false, main: None });
        assert_eq!(said("failed", "0"), dead);
        assert_eq!(said("inactive", ""), dead);
        assert_eq!(read(""), None);
        assert_eq!(said("", "17"), None);
    }

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
