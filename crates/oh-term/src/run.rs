//! The way from `main` into a tool's library and back: arguments in, one answer and a code out.

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use oh_model::exit::Exit;
use serde_json::{Value, json};

use crate::{Answer, Failure, Format};

/// The version of the JSON document around every result.
const SCHEMA_VERSION: u32 = 1;

/// A tool, as the edge sees it.
pub trait Tool: Parser {
    /// The name of the command.
    const NAME: &'static str;
    /// The version of the command.
    const VERSION: &'static str;

    /// Returns how the answer is to be written.
    fn format(&self) -> Format;

    /// Does what was asked.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    fn answer(self) -> Result<Answer, Failure>;
}

/// Reads the arguments, runs the tool, prints, and returns the exit code.
///
/// A panic is a bug of ours and ends as 70. A reader who closed the pipe has seen enough: 0.
pub fn run<T: Tool>(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let tool = match T::try_parse_from(arguments) {
        Ok(tool) => tool,
        Err(usage) => {
            let code = if usage.use_stderr() { Exit::Refused } else { Exit::Ok };
            return printed(usage.print(), code);
        }
    };
    let format = tool.format();
    let outcome = catch_unwind(AssertUnwindSafe(|| tool.answer()));
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    match outcome {
        Ok(Ok(answer)) => {
            let shown = show_answer::<T>(&answer, format, &mut stdout, &mut stderr);
            printed(shown, answer.exit)
        }
        Ok(Err(failure)) => {
            let shown = show_failure::<T>(&failure, format, &mut stdout, &mut stderr);
            printed(shown, failure.exit)
        }
        Err(_panic) => {
            let line = format!("error: this is a bug of {} {}", T::NAME, T::VERSION);
            printed(writeln!(stderr, "{line}"), Exit::Bug)
        }
    }
}

fn show_answer<T: Tool>(
    answer: &Answer,
    format: Format,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    answer.notes.iter().try_for_each(|note| writeln!(stderr, "{note}"))?;
    match format {
        Format::Human => stdout.write_all(answer.human.as_bytes())?,
        Format::Json => document::<T>(stdout, &answer.result, &Value::Null, answer.exit)?,
    }
    stdout.flush()
}

fn show_failure<T: Tool>(
    failure: &Failure,
    format: Format,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    writeln!(stderr, "{failure}")?;
    if format == Format::Json {
        document::<T>(stdout, &Value::Null, &failure.to_json(), failure.exit)?;
    }
    stdout.flush()
}

fn document<T: Tool>(
    stdout: &mut impl Write,
    result: &Value,
    error: &Value,
    exit: Exit,
) -> io::Result<()> {
    let document = json!({
        "schema_version": SCHEMA_VERSION,
        "tool": T::NAME,
        "tool_version": T::VERSION,
        "exit": exit.code(),
        "result": result,
        "error": error,
    });
    writeln!(stdout, "{document}")
}

fn printed(printing: io::Result<()>, exit: Exit) -> ExitCode {
    match printing {
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        // The answer was not delivered (a full disk behind `>`), so it must not look delivered.
        Err(_) if exit == Exit::Ok => ExitCode::from(Exit::No.code()),
        _ => ExitCode::from(exit.code()),
    }
}
