//! What a failure is called and which exit code it has; the same codes as the tools'.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

/// A component, program or registry that this machine lacks: nothing of ours is wrong.
#[derive(Debug)]
pub(crate) struct Environment(pub(crate) String);

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment: {}", self.0)
    }
}

impl std::error::Error for Environment {}

/// A command line that names something that does not exist.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints the chain of a failure to stderr and returns its exit code.
pub(crate) fn exit_code(result: Result<u8>) -> ExitCode {
    let error = match result {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    say(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        say(&format!("  because: {cause}"));
    }
    ExitCode::from(if error.downcast_ref::<Environment>().is_some() {
        4
    } else if error.downcast_ref::<Usage>().is_some() {
        2
    } else {
        1
    })
}

/// Writes a line to stderr; a closed stderr is nobody's loss, so its error is dropped.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
