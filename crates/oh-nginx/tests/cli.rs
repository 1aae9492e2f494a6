//! What a person reads when `oh-nginx` is asked, and when something stands in its way.
//!
//! No nginx runs here; `oh-testsuite` has those that do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use common::{Lab, Said, is_root};
use insta::assert_snapshot;

const SESSIONS: &str = "tmp/openhands-sessions";
const HOOK: &str = "etc/nginx/conf.d/00-openhands.conf";
const ROUTES: &str = "etc/nginx/openhands/routes.conf";

/// Runs once without a root.
fn bare(arguments: &[&str]) -> Said {
    let lab = Lab::new();
    lab.said(lab.bare(arguments))
}

/// Leaves out the hunks of the diff: the file itself is `oh-nginx-conf`'s to test.
fn without_hunks(shown: &str) -> String {
    let mut in_hunk = false;
    let kept = shown.lines().filter(|line| {
        in_hunk = line.starts_with("@@") || (in_hunk && !line.contains(" applications, in "));
        !in_hunk
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn help_names_every_command_and_option() {
    assert_snapshot!(bare(&["--help"]).shown(), @"
    Route sessions and repositories through nginx

    Reads the session files and the repository databases, writes one file of nginx configuration, and
    makes nginx serve it: tested before, seen after, put back if it is not.

    Usage: oh-nginx [OPTIONS] <COMMAND>

    Commands:
      render   Print the file that would be served
      plan     Show what would change, as a diff and as steps
      apply    Make nginx serve what the sessions and repositories say
      watch    Keep what is served in step with the sessions and repositories
      status   Say which routes are served, and what is not routed and why
      login    Make a new password for the login and print it once
      adopt    Take over an older installation: its site, its generator, its routes
      release  Give back what `adopt` took over, byte for byte
      lint     Name each line that breaks VS Code or Socket.IO, and the lines that mend it
      config   Look at the configuration
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Common options:
          --config <FILE>
              Read this configuration file instead of /etc/openhands-toolkit/config.toml

              With /dev/null the defaults count, and no file is read.

          --root <DIR>
              Put every path below this folder: a sandbox, a test, a mounted disk

          --set <KEY=VALUE>
              Override one key of the configuration, e.g. --set site.port=8443

          --format <FORMAT>
              Choose how the answer is written

              Possible values:
              - human: Text for people
              - json:  One JSON document
              - lines: The same, one line for each value: its way, a tab, and the value as in JSON

              [default: human]
    --- exit 0
    ");
}

#[test]
fn each_command_says_what_it_does() {
    let common = |page: &str| page.split_once("Common options:\n").unwrap().1.to_owned();
    let (all, mut pages) = (common(&bare(&["--help"]).stdout), String::new());
    for command in
        ["render", "plan", "apply", "status", "login", "adopt", "release", "lint", "config"]
    {
        let said = bare(&[command, "--help"]);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{command}");
        let (own, _) = said.stdout.split_once("\nOptions:\n").unwrap();
        assert_eq!(common(&said.stdout), all, "{command}");
        pages += &format!("$ oh-nginx {command} --help\n{own}\n");
    }
    assert_snapshot!(pages, @"
    $ oh-nginx render --help
    Print the file that would be served

    Usage: oh-nginx render [OPTIONS]

    $ oh-nginx plan --help
    Show what would change, as a diff and as steps

    Usage: oh-nginx plan [OPTIONS]

    $ oh-nginx apply --help
    Make nginx serve what the sessions and repositories say

    Exit codes: 0 served, 1 in place but no nginx runs, 2 refused, 5 another run publishes, 6 failed and
    nothing changed, 7 put back, 8 could not be put back, 78 configuration.

    Usage: oh-nginx apply [OPTIONS]

    $ oh-nginx status --help
    Say which routes are served, and what is not routed and why

    Exit codes: 0 all is served, 1 something waits for `apply` or nginx does not run.

    Usage: oh-nginx status [OPTIONS]

    $ oh-nginx login --help
    Make a new password for the login and print it once

    Usage: oh-nginx login [OPTIONS]

    $ oh-nginx adopt --help
    Take over an older installation: its site, its generator, its routes

    Keeps every file that changes, disables the old site, puts a script that calls `apply` in the place
    of the generator, and serves the routes. All of it comes back with `release`.

    Exit codes: 0 taken over or nothing to do, 1 in place but no nginx runs, 2 refused, 5 another run
    publishes, 7 failed and put back, 8 could not be put back, 78 configuration.

    Usage: oh-nginx adopt [OPTIONS]

    $ oh-nginx release --help
    Give back what `adopt` took over, byte for byte

    Exit codes: 0 given back or nothing to do, 1 given back but not served, 2 refused because something
    was changed since, 5 another run publishes.

    Usage: oh-nginx release [OPTIONS]

    $ oh-nginx lint --help
    Name each line that breaks VS Code or Socket.IO, and the lines that mend it

    What opens a hole is named too. Exit codes: 0 nothing but warnings and notes, 1 an error found, 2
    usage, 4 could not look.

    Usage: oh-nginx lint [OPTIONS] [FILE]

    Arguments:
      [FILE]
              Read this file and what it includes, or with - what `nginx -T` prints; without it, nginx's
              own configuration

    $ oh-nginx config --help
    Look at the configuration

    Usage: oh-nginx config [OPTIONS] <COMMAND>

    Commands:
      show   Print the settings in force
      check  Name every fault of the configuration, with file, line and column
      help   Print this message or the help of the given subcommand(s)
    ");
    for command in ["show", "check"] {
        let said = bare(&["config", command, "--help"]);
        assert_eq!((said.code, common(&said.stdout)), (0, all.clone()), "{command}");
    }
    let show = bare(&["config", "show", "--help"]).stdout;
    assert_snapshot!(show.split_once("Common options:").unwrap().0, @"
    Print the settings in force

    Usage: oh-nginx config show [OPTIONS]

    Options:
          --origin
              Say where each value comes from and what it shadows

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn the_version_is_one_line() {
    let said = bare(&["--version"]);
    let line = concat!("oh-nginx ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, line, ""));
}

#[test]
fn without_a_command_the_short_help_is_on_stderr() {
    let said = bare(&[]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    assert_snapshot!(said.stderr, @"
    Route sessions and repositories through nginx

    Usage: oh-nginx [OPTIONS] <COMMAND>

    Commands:
      render   Print the file that would be served
      plan     Show what would change, as a diff and as steps
      apply    Make nginx serve what the sessions and repositories say
      watch    Keep what is served in step with the sessions and repositories
      status   Say which routes are served, and what is not routed and why
      login    Make a new password for the login and print it once
      adopt    Take over an older installation: its site, its generator, its routes
      release  Give back what `adopt` took over, byte for byte
      lint     Name each line that breaks VS Code or Socket.IO, and the lines that mend it
      config   Look at the configuration
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Common options:
          --config <FILE>    Read this configuration file instead of /etc/openhands-toolkit/config.toml
          --root <DIR>       Put every path below this folder: a sandbox, a test, a mounted disk
          --set <KEY=VALUE>  Override one key of the configuration, e.g. --set site.port=8443
          --format <FORMAT>  Choose how the answer is written [default: human] [possible values: human,
                             json, lines]
    ");
}

#[test]
fn what_was_typed_wrong_is_named() {
    assert_snapshot!(bare(&["aply"]).shown(), @"
    --- stderr
    error: unrecognized subcommand 'aply'

      tip: a similar subcommand exists: 'apply'

    Usage: oh-nginx [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(bare(&["frobnicate"]).shown(), @"
    --- stderr
    error: unrecognized subcommand 'frobnicate'

    Usage: oh-nginx [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(bare(&["config", "chek"]).shown(), @"
    --- stderr
    error: unrecognized subcommand 'chek'

      tip: a similar subcommand exists: 'check'

    Usage: oh-nginx config [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(bare(&["plan", "--dry-run"]).shown(), @"
    --- stderr
    error: unexpected argument '--dry-run' found

    Usage: oh-nginx plan [OPTIONS]

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(bare(&["plan", "--format", "xml"]).shown(), @"
    --- stderr
    error: invalid value 'xml' for '--format <FORMAT>'
      [possible values: human, json, lines]

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(bare(&["plan", "--set"]).shown(), @"
    --- stderr
    error: a value is required for '--set <KEY=VALUE>' but none was supplied

    For more information, try '--help'.
    --- exit 2
    ");
}

#[test]
fn a_root_that_cannot_be_one_is_refused() {
    let lab = Lab::new();
    let missing = || lab.bare(&["plan", "--root", "missing"]);
    assert_snapshot!(lab.both(missing).shown(), @"
    --- stderr
    error: --root cannot be used
      because: cannot open the root folder missing
      because: No such file or directory (os error 2)
    --- exit 2
    ");
    fs::write(lab.here("file"), "").unwrap();
    assert_snapshot!(lab.both(|| lab.bare(&["plan", "--root", "file"])).shown(), @"
    --- stderr
    error: --root cannot be used
      because: the root file is not a folder
    --- exit 2
    ");
}

#[test]
fn render_prints_the_file_and_nothing_else() {
    let lab = Lab::new();
    lab.write(&format!("{SESSIONS}/s1.json"), "{\"vscode_port\": 40001, \"app_ports\": [40002]}");
    let said = lab.both(|| lab.command(&["render"]));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.starts_with("# Written by oh-nginx."), "{}", said.stdout);
    for line in ["    vscode/s1 40001;", "    apps/s1-0 40002;", "    server_name 127.0.0.1;"] {
        assert_eq!(said.stdout.lines().filter(|found| *found == line).count(), 1, "{line}");
    }
}

#[test]
fn a_first_plan_lists_the_steps_and_what_is_left_out() {
    let lab = Lab::new();
    lab.write(&format!("{SESSIONS}/good.json"), "{\"vscode_port\": 40001}");
    lab.write(&format!("{SESSIONS}/text.json"), "{\"vscode_port\": \"40003\"}");
    lab.write(&format!("{SESSIONS}/torn.json"), "{\"vscode_port\": 40");
    lab.write(&format!("{SESSIONS}/a b.json"), "{\"vscode_port\": 40004}");
    lab.write(&format!("{SESSIONS}/ssh.json"), "{\"vscode_port\": 22}");
    symlink("/etc/passwd", lab.at(&format!("{SESSIONS}/link.json"))).unwrap();
    assert_snapshot!(without_hunks(&lab.run(&["plan"])), @r#"
    --- {root}/etc/nginx/openhands/routes.conf
    +++ {root}/etc/nginx/openhands/routes.conf (planned)
    1 editor, 0 applications, in 4 steps
       1  stage generation 1-DIGEST
       2  test the whole configuration with `nginx -t`
       3  put generation 1-DIGEST in place
       4  include it from {root}/etc/nginx/conf.d/00-openhands.conf
    not routed: 5
      session file a b.json: an id has only letters, digits, `_` and `-`, not ' '
      session file link.json: it is a symbolic link, not a regular file: put a plain file there
      session file ssh.json: port 22 is outside sessions.editor_ports (8080, 8888-8899, 35000-49999)
      session file text.json: `vscode_port` has to be a port (1 to 65535), not "40003"
      session file torn.json: it is not whole, its JSON ends too early: EOF while parsing an object at line 1 column 18
    go on with: oh-nginx apply --root {root}
    --- exit 0
    "#);
    assert_snapshot!(lab.run(&["status"]), @r#"
    http://127.0.0.1:22080  nginx VERSION does not run, serves nothing of ours
      /vscode/good/  127.0.0.1:40001  waiting  session
    not routed: 5
      session file a b.json: an id has only letters, digits, `_` and `-`, not ' '
      session file link.json: it is a symbolic link, not a regular file: put a plain file there
      session file ssh.json: port 22 is outside sessions.editor_ports (8080, 8888-8899, 35000-49999)
      session file text.json: `vscode_port` has to be a port (1 to 65535), not "40003"
      session file torn.json: it is not whole, its JSON ends too early: EOF while parsing an object at line 1 column 18
    what is served is not what the sessions say
    go on with: oh-nginx plan --root {root}
    --- exit 1
    "#);
    assert_snapshot!(lab.both(|| lab.command(&["render"])).stderr, @r#"
    not routed: session file a b.json: an id has only letters, digits, `_` and `-`, not ' '
    not routed: session file link.json: it is a symbolic link, not a regular file: put a plain file there
    not routed: session file ssh.json: port 22 is outside sessions.editor_ports (8080, 8888-8899, 35000-49999)
    not routed: session file text.json: `vscode_port` has to be a port (1 to 65535), not "40003"
    not routed: session file torn.json: it is not whole, its JSON ends too early: EOF while parsing an object at line 1 column 18
    "#);
}

#[test]
fn applied_without_a_running_nginx_it_says_so_and_the_next_plan_is_empty() {
    let lab = Lab::new();
    lab.write(&format!("{SESSIONS}/good.json"), "{\"vscode_port\": 40001}");
    assert_snapshot!(lab.said(lab.command(&["apply"])).shown(), @"
    1 editor, 0 applications in place as generation 1-DIGEST, not served
    no nginx master of this configuration runs; start it, and they are served
       1  stage generation 1-DIGEST
       2  test the whole configuration with `nginx -t`
       3  put generation 1-DIGEST in place
       4  include it from {root}/etc/nginx/conf.d/00-openhands.conf
    --- exit 1
    ");
    assert_snapshot!(lab.run(&["plan"]), @"
    nothing would be changed: 1 editor, 0 applications in place, not served
    no nginx master of this configuration runs; start it, and they are served
    start nginx, by its service or with: /usr/sbin/nginx -c {root}/etc/nginx/nginx.conf
    --- exit 1
    ");
    assert_snapshot!(lab.run(&["status"]), @"
    http://127.0.0.1:22080  nginx VERSION does not run, serves nothing of ours
      /vscode/good/  127.0.0.1:40001  waiting  session
    no nginx master of this configuration runs
    start nginx, by its service or with: /usr/sbin/nginx -c {root}/etc/nginx/nginx.conf
    --- exit 1
    ");
    assert_snapshot!(lab.run(&["apply"]), @"
    1 editor, 0 applications in place as generation 1-DIGEST, not served
    no nginx master of this configuration runs; start it, and they are served
    --- exit 1
    ");
}

#[test]
fn a_missing_domain_is_asked_for_by_file_and_line() {
    let lab = Lab::new();
    lab.config("[toolkit.site]\nport = 22080\n");
    for command in ["render", "apply", "status"] {
        assert_eq!(lab.run(&[command]), lab.run(&["plan"]), "{command}");
    }
    assert_snapshot!(lab.run(&["plan"]), @r#"
    --- stderr
    error: toolkit.site.domain: is not set
    nothing was changed; what was served is still served
    hint: write domain = "oh.example" under [toolkit.site] in {root}/etc/openhands-toolkit/config.toml, or pass --set site.domain=oh.example
    --- exit 78
    "#);
}

#[test]
fn no_folder_of_sessions_is_no_sessions() {
    let lab = Lab::new();
    fs::remove_dir(lab.at(SESSIONS)).unwrap();
    assert_snapshot!(lab.run(&["status"]), @"
    http://127.0.0.1:22080  nginx VERSION does not run, serves nothing of ours
    not routed: 1
      all sessions: there is no folder {root}/tmp/openhands-sessions
    what is served is not what the sessions say
    go on with: oh-nginx plan --root {root}
    --- exit 1
    ");
    fs::remove_dir(lab.at("tmp")).unwrap();
    assert_snapshot!(lab.run(&["status"]), @"
    http://127.0.0.1:22080  nginx VERSION does not run, serves nothing of ours
    not routed: 1
      all sessions: there is no folder {root}/tmp/openhands-sessions
    what is served is not what the sessions say
    go on with: oh-nginx plan --root {root}
    --- exit 1
    ");
}

#[test]
fn a_folder_of_sessions_that_others_can_write_is_not_read() {
    let lab = Lab::new();
    lab.mode(SESSIONS, 0o777);
    for command in ["render", "apply", "status"] {
        assert_eq!(lab.run(&[command]), lab.run(&["plan"]), "{command}");
    }
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: could not read the session files
      because: the folder {root}/tmp/openhands-sessions has mode 0777: others than its owner may put files there
    nothing was changed; what was served is still served
    hint: chmod go-w {root}/tmp/openhands-sessions
    --- exit 4
    ");
    // A sticky bit keeps others from removing files, not from adding theirs.
    lab.mode(SESSIONS, 0o1777);
    assert_snapshot!(lab.run(&["apply"]), @"
    --- stderr
    error: could not read the session files
      because: the folder {root}/tmp/openhands-sessions has mode 1777: others than its owner may put files there
    nothing was changed; what was served is still served
    hint: chmod go-w {root}/tmp/openhands-sessions
    --- exit 4
    ");
}

#[test]
fn a_folder_of_sessions_that_is_none_is_not_read() {
    let lab = Lab::new();
    fs::rename(lab.at(SESSIONS), lab.at("tmp/real")).unwrap();
    symlink("real", lab.at(SESSIONS)).unwrap();
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: could not read the session files
      because: {root}/tmp/openhands-sessions is a symbolic link, not a folder
    nothing was changed; what was served is still served
    hint: put a real folder there, or set sessions.directory to one
    --- exit 4
    ");
    fs::remove_file(lab.at(SESSIONS)).unwrap();
    lab.write(SESSIONS, "");
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: could not read the session files
      because: {root}/tmp/openhands-sessions is a regular file, not a folder
    nothing was changed; what was served is still served
    hint: put a real folder there, or set sessions.directory to one
    --- exit 4
    ");
}

#[test]
fn a_folder_of_sessions_of_somebody_else_is_not_read() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    std::os::unix::fs::chown(lab.at(SESSIONS), Some(65533), None).unwrap();
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: could not read the session files
      because: the folder {root}/tmp/openhands-sessions belongs to uid 65533, who is not among the owners
    nothing was changed; what was served is still served
    hint: chown --no-dereference root: {root}/tmp/openhands-sessions
    --- exit 4
    ");
}

#[test]
fn a_missing_nginx_is_could_not_look() {
    let lab = Lab::new();
    assert_snapshot!(lab.run(&["--set", "nginx.program=/usr/sbin/absent", "plan"]), @"
    --- stderr
    error: could not ask nginx
      because: could not run /usr/sbin/absent
      because: No such file or directory (os error 2)
    nothing was changed; what was served is still served
    hint: install nginx, or set nginx.program to where it is
    --- exit 4
    ");
    assert_snapshot!(lab.run(&["--set", "nginx.program=/bin/true", "status"]), @"
    --- stderr
    error: could not ask nginx
      because: /bin/true -V printed no version of nginx:
    nothing was changed; what was served is still served
    --- exit 4
    ");
    assert_snapshot!(lab.run(&["--set", "nginx.program=nginx", "plan"]), @r#"
    --- stderr
    error: --set nginx.program=nginx: toolkit.nginx.program: "nginx" is no such path: a path begins with `/`
    --- exit 78
    "#);
}

#[test]
fn a_configuration_of_nginx_that_cannot_be_read_is_named() {
    let lab = Lab::new();
    lab.write("etc/nginx/conf.d/legacy.conf", "# old\nserver {\n    listen 80\n}\n");
    assert_snapshot!(lab.run(&["plan"]), @r#"
    --- stderr
    error: could not read nginx's configuration
      because: {root}/etc/nginx/conf.d/legacy.conf:4: unexpected "}"
    nothing was changed; what was served is still served
    hint: mend what is named above, then run: oh-nginx apply --root {root}
    --- exit 4
    "#);
    lab.write("etc/nginx/nginx.conf", "events { }\nhttp {\n");
    assert_snapshot!(lab.run(&["status"]), @r#"
    --- stderr
    error: could not read nginx's configuration
      because: {root}/etc/nginx/nginx.conf:3: unexpected end of file, expecting "}"
    nothing was changed; what was served is still served
    hint: mend what is named above, then run: oh-nginx apply --root {root}
    --- exit 4
    "#);
    fs::remove_file(lab.at("etc/nginx/nginx.conf")).unwrap();
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: could not read nginx's configuration
      because: could not read {root}/etc/nginx/nginx.conf
      because: No such file or directory (os error 2)
    nothing was changed; what was served is still served
    hint: mend what is named above, then run: oh-nginx apply --root {root}
    --- exit 4
    ");
}

#[test]
fn what_nginx_refuses_is_named_and_nothing_is_changed() {
    let lab = Lab::new();
    lab.write("etc/nginx/conf.d/legacy.conf", "# old\nproxy_pas http://127.0.0.1;\n");
    // Nothing is left on a fresh machine, not even a folder.
    assert_snapshot!(lab.run(&["apply"]), @r#"
    --- stderr
    error: `nginx -t` refused the staged configuration
      because: {root}/etc/nginx/conf.d/legacy.conf:2: unknown directive "proxy_pas"
    nothing was changed; what was served is still served
    hint: mend what is named above, then run: oh-nginx apply --root {root}
    --- exit 6
    "#);
}

#[test]
fn a_command_that_is_pasted_goes_on_where_it_was_said() {
    let lab = Lab::new();
    // A root, a file and a value that a shell would take apart.
    symlink(lab.root(), lab.here("it's a root")).unwrap();
    // For root, a file has to be where only root writes.
    let file = lab.at("my own.toml").display().to_string();
    fs::copy(lab.at("etc/openhands-toolkit/config.toml"), &file).unwrap();
    let given = ["--root", "it's a root", "--config", file.as_str()];
    let set = ["--set", "site.upstream=127.0.0.1:3456", "--set", "nginx.listen=[ '127.0.0.1' ]"];
    let said = lab.both(|| lab.bare(&[["plan"].as_slice(), &given, &set].concat()));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let (_, line) = said.stdout.trim_end().rsplit_once("go on with: ").unwrap();
    let expected = [
        r"oh-nginx apply --root 'it'\''s a root' --config '{root}/my own.toml'",
        r"--set site.upstream=127.0.0.1:3456 --set 'nginx.listen=[ '\''127.0.0.1'\'' ]'",
    ];
    assert_eq!(line, expected.join(" "));
    let tool = std::path::Path::new(assert_cmd::cargo::cargo_bin!("oh-nginx")).parent().unwrap();
    let mut pasted = std::process::Command::new("/bin/sh");
    pasted
        .args(["-c", &line.replace("{root}", &lab.root())])
        .current_dir(lab.here(""))
        .env("PATH", tool);
    // 1: it is in its place, and no nginx runs.
    assert_eq!(lab.said(pasted).code, 1);
    let routes = fs::read_to_string(lab.at(ROUTES)).unwrap();
    assert!(routes.contains("127.0.0.1:3456"), "{routes}");
}

#[test]
fn programs_get_the_same_command() {
    let lab = Lab::new();
    let next = |command: &str| {
        let said =
            lab.said(lab.command(&[command, "--format", "json", "--set", "site.port=22081"]));
        let document: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        document["next"].clone()
    };
    let tail = format!("--root {} --set site.port=22081", "{root}");
    assert_eq!(next("plan"), serde_json::json!([format!("go on with: oh-nginx apply {tail}")]));
    assert_eq!(next("status"), serde_json::json!([format!("go on with: oh-nginx plan {tail}")]));
}

#[test]
fn an_nginx_that_does_not_include_us_is_told_the_line() {
    let lab = Lab::new();
    let text = fs::read_to_string(lab.at("etc/nginx/nginx.conf")).unwrap();
    lab.write("etc/nginx/nginx.conf", &text.replace("    include conf.d/*.conf;\n", ""));
    assert_eq!(lab.run(&["apply"]), lab.run(&["plan"]));
    let shown = lab.run(&["plan"]);
    assert_snapshot!(shown, @"
    --- stderr
    error: {root}/etc/nginx/nginx.conf does not include {root}/etc/nginx/conf.d/00-openhands.conf
    nothing was changed; what was served is still served
    hint: add to its http block: include {root}/etc/nginx/conf.d/*.conf;
    --- exit 2
    ");
    // The line is what it says.
    let line = shown.lines().find_map(|line| line.split_once("http block: ")).unwrap().1;
    let line = line.replace("{root}", &lab.root());
    let added = text.replace("include conf.d/*.conf;", &line);
    lab.write("etc/nginx/nginx.conf", &added);
    assert_eq!(lab.both(|| lab.command(&["plan"])).code, 0, "{added}");
}

#[test]
fn a_file_of_somebody_else_in_the_place_of_the_hook_stays() {
    let lab = Lab::new();
    lab.write(HOOK, "# mine\n");
    assert_eq!(lab.run(&["apply"]), lab.run(&["plan"]));
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: {root}/etc/nginx/conf.d/00-openhands.conf exists and is not ours
    nothing was changed; what was served is still served
    hint: move it away, or set nginx.hook to another name in the same folder
    --- exit 2
    ");
    lab.mode(HOOK, 0o600);
    assert_eq!(lab.both(|| lab.command(&["status"])).code, 1);
}

#[test]
fn a_set_of_somebody_else_stays() {
    let lab = Lab::new();
    lab.folder("root/etc/nginx/openhands");
    lab.write(ROUTES, "server {\n    listen 22080;\n}\n");
    assert_eq!(lab.run(&["apply"]), lab.run(&["plan"]));
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: {root}/etc/nginx/openhands/routes.conf is not ours: it names no generation of ours
    nothing was changed; what was served is still served
    hint: move it away, then run: oh-nginx apply --root {root}
    --- exit 2
    ");
    fs::rename(lab.at(ROUTES), lab.at("moved")).unwrap();
    assert_eq!(lab.both(|| lab.command(&["plan"])).code, 0);
}

#[test]
fn a_set_that_was_edited_is_written_anew() {
    let lab = Lab::new();
    assert_eq!(lab.said(lab.command(&["apply"])).code, 1);
    let text = fs::read_to_string(lab.at(ROUTES)).unwrap();
    lab.write(ROUTES, &format!("{text}# by hand\n"));
    assert_snapshot!(without_hunks(&lab.run(&["plan"])), @"
    --- {root}/etc/nginx/openhands/routes.conf
    +++ {root}/etc/nginx/openhands/routes.conf (planned)
    0 editors, 0 applications, in 4 steps
       1  stage generation 2-DIGEST
       2  test the whole configuration with `nginx -t`
       3  keep generation 1-DIGEST to go back to
       4  put generation 2-DIGEST in place
    go on with: oh-nginx apply --root {root}
    --- exit 0
    ");
    assert_eq!(lab.said(lab.command(&["apply"])).code, 1);
    let text = fs::read_to_string(lab.at(ROUTES)).unwrap();
    assert!(!text.contains("# by hand"), "{text}");
}

#[test]
fn a_server_of_the_same_name_and_port_is_named() {
    let lab = Lab::new();
    let server = "server {\n    listen 22080;\n    server_name 127.0.0.1;\n}\n";
    lab.write("etc/nginx/conf.d/legacy.conf", &format!("# old\n{server}"));
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: {root}/etc/nginx/conf.d/legacy.conf:2 has a server for 127.0.0.1:22080 already
    nothing was changed; what was served is still served
    hint: remove that server, or choose another site.domain or site.port
    --- exit 2
    ");
}

#[test]
fn whoever_stops_reading_has_seen_enough() {
    let lab = Lab::new();
    for format in ["human", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(&["render", "--format", format]);
        let run = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{format}");
    }
}

#[test]
fn an_answer_that_could_not_be_written_does_not_look_written() {
    let lab = Lab::new();
    let into_a_full_disk = |format| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = lab.command(&["render", "--format", format]);
        let run = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = run.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = into_a_full_disk("human");
    assert_snapshot!(said, @"
    error: could not write the answer
      because: No space left on device (os error 28)
    ");
    assert_eq!(code, Some(1));
    assert_eq!(into_a_full_disk("json"), (code, said));
}

#[test]
fn that_nobody_reads_stderr_changes_neither_answer_nor_code() {
    let lab = Lab::new();
    lab.write(&format!("{SESSIONS}/torn.json"), "{");
    let unheard = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(arguments);
        let run = command.stderr(writer).stdout(Stdio::piped()).spawn().unwrap();
        let output = run.wait_with_output().unwrap();
        (output.status.code().unwrap(), output.stdout.len())
    };
    let (code, length) = unheard(&["render"]);
    assert!(code == 0 && length > 0, "exit {code}, {length} bytes");
    lab.mode(SESSIONS, 0o777);
    assert_eq!(unheard(&["plan"]), (4, 0));
    let (code, length) = unheard(&["plan", "--format", "json"]);
    assert!(code == 4 && length > 0, "exit {code}, {length} bytes");
    assert_eq!(unheard(&["bogus"]), (2, 0));
}
