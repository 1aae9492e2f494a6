//! The way from `main` into a tool's library and back: arguments in, one answer and a code out.

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use clap::Parser;
use oh_model::check::Verdict;
use oh_model::exit::Exit;
use serde_json::{Value, json};

use crate::lines::lines;
use crate::text::escaped_lines;
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

    /// Returns the arguments that commands of ours have to carry to go on where this one was.
    fn carried(&self) -> Vec<String> {
        Vec::new()
    }

    /// Says whether it was asked to end with the codes of a plugin of Nagios.
    fn is_plugin(&self) -> bool {
        false
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// [`Failure`] with its exit code.
    fn answer(self) -> Result<Answer, Failure>;
}

/// Reads the arguments, runs the tool, prints, and returns the exit code.
///
/// A panic, in whatever thread, is a bug of ours and ends the process as 70, at once: what a bug has made
/// wrong is not tidied up by more of the same code, and what is left is what a kill leaves. A reader who
/// closed the pipe has seen enough: 0. That nobody reads stderr changes neither the answer nor the code.
pub fn run<T: Tool>(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    end_with_a_panic::<T>();
    let tool = match T::try_parse_from(arguments) {
        Ok(tool) => tool,
        Err(usage) if usage.use_stderr() => {
            drop(usage.print());
            return ExitCode::from(Exit::Refused.code());
        }
        Err(help) => return delivered(help.print(), Exit::Ok, &[], &mut io::stderr().lock()),
    };
    let (format, carried, is_plugin) = (tool.format(), tool.carried(), tool.is_plugin());
    let outcome = tool.answer();
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    match outcome {
        Ok(answer) => {
            answer.notes.iter().for_each(|note| aside(&mut stderr, note));
            if answer.is_shown {
                return ExitCode::from(answer.exit.code());
            }
            let shown = show_answer::<T>(&answer, &carried, format, &mut stdout);
            let code = delivered(shown, answer.exit, &answer.next(&carried), &mut stderr);
            answer.plugin_code.filter(|_| is_plugin).map_or(code, ExitCode::from)
        }
        Err(failure) => {
            aside(&mut stderr, &failure.text(&carried));
            if is_plugin {
                // Whoever asks as a plugin reads one line of stdout, and nothing else.
                let line = failure.reason().replace('|', " ");
                drop(writeln!(stdout, "UNKNOWN - {}", escaped_lines(&line)));
                return ExitCode::from(Verdict::Unknown.plugin_code());
            }
            if format != Format::Human {
                // The failure keeps its code, whether or not anybody reads the document.
                drop(show_failure::<T>(&failure, &carried, format, &mut stdout));
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Lets whichever thread panics say what the standard library says of it, and that it is a bug, and end
/// the process.
fn end_with_a_panic<T: Tool>() {
    let said = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        said(panic);
        aside(&mut io::stderr(), &format!("error: this is a bug of {} {}", T::NAME, T::VERSION));
        #[expect(clippy::exit, reason = "nothing is to run behind a bug")]
        std::process::exit(Exit::Bug.code().into());
    }));
}

/// Writes a line to stderr while a tool goes on.
pub fn say(line: &str) {
    aside(&mut io::stderr().lock(), line);
}

/// Writes one of several answers to stdout while a tool goes on; [`Answer::shown`] ends such a run.
///
/// # Errors
/// The system's; a reader who closed the pipe has seen enough.
pub fn show<T: Tool>(answer: &Answer, carried: &[String], format: Format) -> io::Result<()> {
    show_answer::<T>(answer, carried, format, &mut io::stdout().lock())
}

fn show_answer<T: Tool>(
    answer: &Answer,
    carried: &[String],
    format: Format,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let next = answer.next(carried);
    match format {
        Format::Human => {
            let lines = next.iter().map(|line| format!("{line}\n"));
            let text = std::iter::once(answer.human.clone()).chain(lines).collect::<String>();
            stdout.write_all(text.as_bytes())?;
        }
        Format::Json | Format::Lines => {
            let document = document::<T>(answer.exit, &answer.result, &json!(next), &Value::Null);
            write(stdout, format, &document)?;
        }
    }
    stdout.flush()
}

fn show_failure<T: Tool>(
    failure: &Failure,
    carried: &[String],
    format: Format,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let error = failure.to_json(carried);
    write(stdout, format, &document::<T>(failure.exit, &Value::Null, &json!([]), &error))?;
    stdout.flush()
}

fn document<T: Tool>(exit: Exit, result: &Value, next: &Value, error: &Value) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "tool": T::NAME,
        "tool_version": T::VERSION,
        "exit": exit.code(),
        "result": result,
        "next": next,
        "error": error,
    })
}

/// Writes the document in a format for programs.
fn write(stdout: &mut impl Write, format: Format, document: &Value) -> io::Result<()> {
    // As one text first: where serde_json is built without std, its Display panics when the writer
    // fails, and a reader who closed the pipe would make it look like a bug of ours.
    let text = match format {
        Format::Lines => lines(document),
        Format::Human | Format::Json => format!("{document}\n"),
    };
    stdout.write_all(text.as_bytes())
}

/// Writes lines to stderr, which people read and no program; where that cannot be written, nobody wants
/// to read it.
fn aside(stderr: &mut impl Write, lines: &str) {
    drop(writeln!(stderr, "{}", escaped_lines(lines)));
}

/// Returns the code to end with. What was done was done, whether or not it could be told: what there is to
/// do next, as to take it back, is told to whoever reads stderr.
fn delivered(
    shown: io::Result<()>,
    exit: Exit,
    next: &[String],
    stderr: &mut impl Write,
) -> ExitCode {
    match shown {
        Ok(()) => ExitCode::from(exit.code()),
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        // The answer was not delivered (a full disk behind `>`), so it must not look delivered.
        Err(fault) => {
            let exit = if exit == Exit::Ok { Exit::No } else { exit };
            aside(stderr, &format!("error: could not write the answer\n  because: {fault}"));
            next.iter().for_each(|line| aside(stderr, &format!("hint: {line}")));
            ExitCode::from(exit.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    /// Says to the test below that it is the process that panics.
    const PANICS: &str = "OH_TERM_TEST_PANICS";

    #[derive(Parser)]
    struct Panics {
        within: String,
    }

    impl Tool for Panics {
        const NAME: &'static str = "oh-panics";
        const VERSION: &'static str = "1";

        fn format(&self) -> Format {
            Format::Human
        }

        fn carried(&self) -> Vec<String> {
            Vec::new()
        }

        fn answer(self) -> Result<Answer, Failure> {
            if self.within == "main" {
                panic!("a hole in the floor");
            }
            // Whoever waits for the thread would not learn of it.
            let joined = thread::spawn(|| -> () { panic!("a hole in the floor") }).join();
            Ok(Answer::new("went on\n".to_owned(), json!(joined.is_err())))
        }
    }

    #[test]
    fn a_panic_in_any_thread_ends_as_a_bug() {
        if let Some(within) = std::env::var_os(PANICS) {
            let code = run::<Panics>([OsString::from("oh-panics"), within]);
            unreachable!("it goes on with {code:?}");
        }
        for within in ["main", "thread"] {
            let mut child = Command::new(std::env::current_exe().expect("it runs"));
            child.args([
                "--exact",
                "run::tests::a_panic_in_any_thread_ends_as_a_bug",
                "--nocapture",
            ]);
            let output =
                child.env(PANICS, within).stdin(Stdio::null()).output().expect("it starts");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(70), "{stderr}");
            assert!(stderr.contains("a hole in the floor"), "{stderr}");
            assert!(stderr.ends_with("error: this is a bug of oh-panics 1\n"), "{stderr}");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("went on"));
        }
    }
}
