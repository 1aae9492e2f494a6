//! What a person reads when `oh-deploy` is asked, without a sandbox being brought up: that is
//! `oh-testsuite`'s to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use tempfile::TempDir;

/// How long a run may take.
const BOUND: Duration = Duration::from_secs(60);

/// Runs in a folder with nothing of our environment; stdout, stderr and the exit code below each
/// other, without the folder and without blanks at the ends of lines.
fn run_in(folder: &Path, arguments: &[&str]) -> String {
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("oh-deploy"));
    command.env_clear().current_dir(folder).args(arguments).timeout(BOUND);
    let output = command.output().unwrap();
    let folder = folder.display().to_string();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "{here}");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let mark = if stderr.is_empty() { "" } else { "--- stderr\n" };
    let code = output.status.code().unwrap();
    let whole = format!("{stdout}{mark}{stderr}--- exit {code}");
    whole.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn run(arguments: &[&str]) -> String {
    run_in(TempDir::new().unwrap().path(), arguments)
}

#[test]
fn help_names_every_command() {
    assert_snapshot!(run(&["--help"]), @"
    Deploy OpenHands with editors in the browser

    Usage: oh-deploy [OPTIONS] <COMMAND>

    Commands:
      sandbox  A whole deployment in one folder, to look at and to try things on
      help     Print this message or the help of the given subcommand(s)

    Options:
          --format <FORMAT>
              Choose how the answer is written

              Possible values:
              - human: Text for people
              - json:  One JSON document

              [default: human]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    --- exit 0
    ");
    assert_snapshot!(run(&["sandbox", "--help"]), @"
    A whole deployment in one folder, to look at and to try things on

    Usage: oh-deploy sandbox [OPTIONS] <COMMAND>

    Commands:
      up    Bring it up, or what of it is missing
      down  Stop everything that runs in it and remove the folder, workspaces included
      help  Print this message or the help of the given subcommand(s)

    Options:
          --format <FORMAT>
              Choose how the answer is written

              Possible values:
              - human: Text for people
              - json:  One JSON document

              [default: human]

      -h, --help
              Print help (see a summary with '-h')
    --- exit 0
    ");
}

#[test]
fn help_of_the_sandbox_names_what_it_needs() {
    assert_snapshot!(run(&["sandbox", "up", "--help"]), @"
    Bring it up, or what of it is missing

    Usage: oh-deploy sandbox up [OPTIONS] --dir <DIR> --stand-in <PROGRAM>

    Options:
          --dir <DIR>
              The folder: a new one, an empty one, or one that is a sandbox already

          --format <FORMAT>
              Choose how the answer is written

              Possible values:
              - human: Text for people
              - json:  One JSON document

              [default: human]

          --stand-in <PROGRAM>
              The program that stands in for OpenHands and for an application

          --node <PROGRAM>
              The Node.js that runs the editors

          --code-server <FILE>
              code-server's out/node/entry.js; without it there is neither a session nor an editor of
              the repository

          --http
              Serve plain HTTP on the bare address 127.0.0.1 instead of TLS on localhost; a sandbox that
              is there already keeps what it was made with, and one of TLS refuses this

      -h, --help
              Print help (see a summary with '-h')
    --- exit 0
    ");
    assert_snapshot!(run(&["sandbox", "down", "--help"]), @"
    Stop everything that runs in it and remove the folder, workspaces included

    Usage: oh-deploy sandbox down [OPTIONS] --dir <DIR>

    Options:
          --dir <DIR>
              The folder of the sandbox

          --format <FORMAT>
              Choose how the answer is written

              Possible values:
              - human: Text for people
              - json:  One JSON document

              [default: human]

      -h, --help
              Print help (see a summary with '-h')
    --- exit 0
    ");
}

#[test]
fn the_version_is_one_line() {
    let line = concat!("oh-deploy ", env!("CARGO_PKG_VERSION"), "\n--- exit 0\n");
    assert_eq!(run(&["--version"]), line);
}

#[test]
fn what_was_typed_wrong_is_named() {
    assert_snapshot!(run(&["sandbx"]), @"
    --- stderr
    error: unrecognized subcommand 'sandbx'

      tip: a similar subcommand exists: 'sandbox'

    Usage: oh-deploy [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(run(&["sandbox", "up"]), @"
    --- stderr
    error: the following required arguments were not provided:
      --dir <DIR>
      --stand-in <PROGRAM>

    Usage: oh-deploy sandbox up --dir <DIR> --stand-in <PROGRAM>

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(run(&["sandbox", "up", "--dir", "s", "--stand-in", "p", "--node", "n"]), @"
    --- stderr
    error: the following required arguments were not provided:
      --code-server <FILE>

    Usage: oh-deploy sandbox up --dir <DIR> --stand-in <PROGRAM> --node <PROGRAM> --code-server <FILE>

    For more information, try '--help'.
    --- exit 2
    ");
}

#[test]
fn without_a_command_the_help_is_on_stderr() {
    for arguments in [[].as_slice(), &["sandbox"]] {
        let said = run(arguments);
        assert!(said.starts_with("--- stderr\n") && said.ends_with("--- exit 2\n"), "{said}");
    }
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/file"), "text").unwrap();
    let here = folder.path();
    let up = ["sandbox", "up", "--dir", "mine", "--stand-in", "/bin/true"];
    let down = ["sandbox", "down", "--dir", "mine"];
    assert_eq!(run_in(here, &up), run_in(here, &down));
    assert_snapshot!(run_in(here, &down), @"
    --- stderr
    error: mine has something in it and is no sandbox
    hint: name another folder with --dir
    --- exit 2
    ");
    let left: Vec<_> = fs::read_dir(here.join("mine")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn the_root_of_the_machine_is_no_sandbox() {
    assert_snapshot!(run(&["sandbox", "down", "--dir", "/"]), @"
    --- stderr
    error: / has something in it and is no sandbox
    hint: name another folder with --dir
    --- exit 2
    ");
}

#[test]
fn what_is_not_there_is_down_already() {
    let said = run(&["sandbox", "down", "--dir", "absent"]);
    // What may be looked at differs from user to user.
    assert!(said.starts_with("nothing to do: there is no absent, and no process "), "{said}");
    assert!(said.ends_with("--- exit 0\n"), "{said}");
}

#[test]
fn both_formats_end_with_the_same_code() {
    let cases: [(&[&str], i64); 2] =
        [(&["sandbox", "down", "--dir", "absent"], 0), (&["sandbox", "down", "--dir", "/"], 2)];
    for (arguments, code) in cases {
        let human = run(arguments);
        let json = run(&[arguments, &["--format", "json"]].concat());
        let end = format!("--- exit {code}\n");
        assert!(human.ends_with(&end) && json.ends_with(&end), "{human}{json}");
        let document: serde_json::Value =
            serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(document["exit"], code, "{document}");
    }
}
