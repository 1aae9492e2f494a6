//! Writes the files under docs/ that the tools can write themselves, or checks that they are
//! current: `cargo xtask docs [--check]`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use oh_testsuite::components;

/// The tools whose help stands in docs/cli.md.
const TOOLS: &[&str] = &["oh-nginx", "oh-instances", "oh-cleanup", "oh-wscheck", "oh-deploy"];
/// Subcommands of subcommands end here.
const DEPTH_MAX: usize = 4;

/// Write the files under docs/ that the tools can write themselves
#[derive(Parser)]
struct Cli {
    /// Fail where a file is out of date, and write nothing
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr is nobody's loss.
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let docs = components::workspace()?.join("docs");
    let generated = [
        ("config.schema.json", oh_config::schema()),
        ("config.example.toml", oh_config::example()),
        ("config.md", oh_config::reference()),
        ("lint.md", oh_nginx_conf::lint::reference()),
        ("diagnosis.md", oh_probe::reference::reference()),
        ("cli.md", command_line_reference()?),
    ];
    let mut outdated = Vec::new();
    for (name, mut text) in generated {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let file = docs.join(name);
        if fs::read_to_string(&file).is_ok_and(|current| current == text) {
            continue;
        }
        outdated.push(format!("docs/{name}"));
        if !cli.check {
            write(&file, &text)?;
        }
    }
    if !cli.check {
        for file in outdated {
            writeln!(std::io::stderr(), "docs: wrote {file}")?;
        }
        return Ok(());
    }
    ensure!(outdated.is_empty(), "out of date: {}\nhint: cargo xtask docs", outdated.join(", "));
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}

fn command_line_reference() -> Result<String> {
    let mut page = String::from(
        "# The command line\n\n\
         Written by `cargo xtask docs` from the tools' own help; edit it there.\n",
    );
    for tool in TOOLS {
        append_help(&mut page, &[tool])?;
    }
    Ok(page)
}

/// Appends the help of a command and of all its subcommands.
fn append_help(page: &mut String, words: &[&str]) -> Result<()> {
    let help = help(words)?;
    let level = "#".repeat(words.len() + 1);
    write!(page, "\n{level} {}\n\n```text\n{}\n```\n", words.join(" "), help.trim_end())?;
    if words.len() < DEPTH_MAX {
        for subcommand in subcommands(&help) {
            append_help(page, &[words, &[subcommand]].concat())?;
        }
    }
    Ok(())
}

/// Runs a tool for its help in an environment that is the same everywhere.
fn help(words: &[&str]) -> Result<String> {
    let (tool, rest) = words.split_first().context("no tool")?;
    let output = Command::new(components::built(tool)?)
        .args(rest)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .with_context(|| format!("could not run {tool}"))?;
    let name = words.join(" ");
    ensure!(output.status.success(), "{name} --help ended with {}", output.status);
    let text = String::from_utf8(output.stdout).with_context(|| format!("{name} --help"))?;
    Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// Returns the names below `Commands:` of a help text, without `help` itself.
fn subcommands(help: &str) -> Vec<&str> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    section
        .take_while(|line| line.is_empty() || line.starts_with("  "))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_the_help() {
        let help = "Routes\n\nUsage: oh-nginx <COMMAND>\n\nCommands:\n  plan   Show\n  apply  \
                    Publish, which is\n         long\n  help   Print\n\nOptions:\n  -h, --help\n";
        assert_eq!(subcommands(help), ["plan", "apply"]);
        assert_eq!(subcommands("Usage: oh-nginx\n"), Vec::<&str>::new());
    }
}
