//! The configuration as people meet it: shown, judged, and believed only where it can be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use common::{Lab, is_root};
use insta::assert_snapshot;

const SEVEN_FAULTS: &str = include_str!("../../../fixtures/config/seven-faults.toml");
const FILE: &str = "etc/openhands-toolkit/config.toml";
/// Nobody: neither root nor an owner of anything.
const STRANGER: u32 = 65534;
/// Somebody else again.
const OTHER: u32 = 65533;

/// Keeps the lines of one table, so that a new key elsewhere is no news here.
fn lines_with(text: &str, mark: &str) -> String {
    let mut keep = false;
    let kept = text.lines().filter(|line| {
        keep = line.contains(mark) || (keep && line.starts_with("  "));
        keep
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_settings_in_force_are_shown_as_a_file_that_would_have_the_same_effect() {
    let lab = Lab::new();
    let said = lab.both(|| lab.command(&["config", "show"]));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let (_, table) = said.stdout.split_once("[toolkit.site]\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    assert_snapshot!(table, @r#"
    domain = "127.0.0.1"
    port = 22080
    tls = "auto"
    certificate = "/etc/letsencrypt/live/{domain}/fullchain.pem"
    certificate_key = "/etc/letsencrypt/live/{domain}/privkey.pem"
    upstream = "127.0.0.1:3000"
    auth = "none"
    # auth_request is not set
    # auth_start is not set
    users_file = "/etc/nginx/openhands/users"
    origins = []
    isolation = "path"
    # sessions_domain is not set
    # sessions_certificate is not set
    # sessions_certificate_key is not set
    "#);
    lab.config(&said.stdout);
    assert_eq!(lab.both(|| lab.command(&["config", "show"])).stdout, said.stdout);
}

#[test]
fn each_value_has_its_origin_and_what_it_shadows() {
    let lab = Lab::new();
    let layers = || {
        let mut command = lab.command(&["config", "show", "--origin"]);
        command.env("OHT_SITE__DOMAIN", "environment.example").env("OHT_SITE__PORT", "8001");
        command.args(["--set", "site.port=8002", "--set", "site.port=8003"]);
        command
    };
    let said = lab.both(layers);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert_snapshot!(lines_with(&said.stdout, "toolkit.site."), @r#"
    toolkit.site.domain = "environment.example"  (OHT_SITE__DOMAIN)
      shadows "127.0.0.1"  ({root}/etc/openhands-toolkit/config.toml:2:10)
    toolkit.site.port = 8003  (--set site.port=8003)
      shadows 8002  (--set site.port=8002)
      shadows 8001  (OHT_SITE__PORT)
      shadows 22080  ({root}/etc/openhands-toolkit/config.toml:3:8)
    toolkit.site.tls = "auto"  (default)
    toolkit.site.certificate = "/etc/letsencrypt/live/{domain}/fullchain.pem"  (default)
    toolkit.site.certificate_key = "/etc/letsencrypt/live/{domain}/privkey.pem"  (default)
    toolkit.site.upstream = "127.0.0.1:3000"  (default)
    toolkit.site.auth = "none"  ({root}/etc/openhands-toolkit/config.toml:4:8)
      shadows "basic"  (default)
    toolkit.site.auth_request is not set  (default)
    toolkit.site.auth_start is not set  (default)
    toolkit.site.users_file = "/etc/nginx/openhands/users"  (default)
    toolkit.site.origins = []  (default)
    toolkit.site.isolation = "path"  (default)
    toolkit.site.sessions_domain is not set  (default)
    toolkit.site.sessions_certificate is not set  (default)
    toolkit.site.sessions_certificate_key is not set  (default)
    "#);
}

#[test]
fn a_sound_configuration_is_counted() {
    let lab = Lab::new();
    let counted = |said: common::Said| {
        let (_, from) = said.stdout.split_once(" keys, ").unwrap();
        format!("{}{from}--- exit {}", said.stderr, said.code)
    };
    let layers = || {
        let mut command = lab.command(&["config", "check", "--set", "site.port=9000"]);
        command.env("OHT_SITE__DOMAIN", "oh.example");
        command
    };
    assert_snapshot!(counted(lab.both(layers)), @"
    3 from the file, 1 from the environment, 1 from --set
    --- exit 0
    ");
}

/// Every other command would end with it.
#[test]
fn a_configuration_without_a_domain_is_not_sound() {
    let lab = Lab::new();
    lab.config("[toolkit.site]\nport = 22080\n");
    assert_snapshot!(lab.run(&["config", "check"]), @r#"
    toolkit.site.domain: is not set
      hint: write domain = "oh.example" under [toolkit.site] in {root}/etc/openhands-toolkit/config.toml, or pass --set site.domain=oh.example
    1 fault
    --- exit 78
    "#);
    let said = lab.said(lab.command(&["config", "check", "--format", "json"]));
    let document: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let (sound, fault) = (&document["result"]["sound"], &document["result"]["faults"][0]);
    assert_eq!((sound, &fault["key"]), (&false.into(), &"toolkit.site.domain".into()));
    // What it is without a file at all.
    fs::remove_file(lab.at(FILE)).unwrap();
    assert_eq!(lab.both(|| lab.command(&["config", "check"])).code, 78);
    let named = ["config", "check", "--set", "site.domain=oh.example"];
    assert_eq!(lab.both(|| lab.command(&named)).code, 0);
}

#[test]
fn seven_faults_are_seven_messages() {
    let lab = Lab::new();
    lab.config(SEVEN_FAULTS);
    assert_snapshot!(lab.run(&["config", "check"]), @r#"
    {root}/etc/openhands-toolkit/config.toml:6:10: toolkit.site.domain: "https://oh.example:8443/" has a scheme, the domain is the host alone
      hint: domain = "oh.example" (the port goes into site.port = 8443)
    {root}/etc/openhands-toolkit/config.toml:7:8: toolkit.site.port: expected a number, found the text "8443"
      hint: port = 8443
    {root}/etc/openhands-toolkit/config.toml:8:12: toolkit.site.upstream: "localhost:3000" is a name, expected an IP address
      hint: upstream = "127.0.0.1:3000" (localhost is ::1 as well, where nothing may listen)
    {root}/etc/openhands-toolkit/config.toml:11:1: toolkit.instances.prots: unknown key
      hint: did you mean ports
    {root}/etc/openhands-toolkit/config.toml:12:9: toolkit.instances.ports: the range "8899-8888" is backwards
      hint: ports = "8888-8899"
    {root}/etc/openhands-toolkit/config.toml:14:10: toolkit.ngnix: unknown key
      hint: did you mean nginx
    {root}/etc/openhands-toolkit/config.toml:18:19: toolkit.nginx.generation_port: 91800 is no port, they go from 1 to 65535
    7 faults
    --- exit 78
    "#);
    // Whatever needs the configuration names all of them as well.
    let check = lab.run(&["config", "check"]);
    let (faults, _) = check.split_once("7 faults\n").unwrap();
    let error = "--- stderr\nerror: the configuration has 7 faults\n";
    let shown = format!("{error}{faults}--- exit 78\n");
    for arguments in [["config", "show"].as_slice(), &["plan"], &["render"], &["apply"]] {
        assert_eq!(lab.run(arguments), shown, "{arguments:?}");
    }
}

#[test]
fn programs_get_the_same_seven_faults_in_fields() {
    let lab = Lab::new();
    lab.config(SEVEN_FAULTS);
    let said = lab.said(lab.command(&["config", "check", "--format", "json"]));
    let document: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&document["exit"], &document["result"]["sound"]), (&78.into(), &false.into()));
    let field = |fault: &serde_json::Value, name: &str| fault[name].to_string();
    let faults = document["result"]["faults"].as_array().unwrap();
    let place = format!("\"{{root}}/{FILE}\"");
    assert!(faults.iter().all(|fault| field(fault, "file") == place), "{document}");
    let rows = faults
        .iter()
        .map(|fault| ["line", "column", "key", "hint"].map(|name| field(fault, name)).join("  "));
    assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r#"
    6  10  "toolkit.site.domain"  "domain = \"oh.example\" (the port goes into site.port = 8443)"
    7  8  "toolkit.site.port"  "port = 8443"
    8  12  "toolkit.site.upstream"  "upstream = \"127.0.0.1:3000\" (localhost is ::1 as well, where nothing may listen)"
    11  1  "toolkit.instances.prots"  "did you mean ports"
    12  9  "toolkit.instances.ports"  "ports = \"8888-8899\""
    14  10  "toolkit.ngnix"  "did you mean nginx"
    18  19  "toolkit.nginx.generation_port"  null
    "#);
}

#[test]
fn programs_get_the_faults_in_fields_from_every_command() {
    let lab = Lab::new();
    lab.config(SEVEN_FAULTS);
    let document = |arguments: &[&str]| -> serde_json::Value {
        let said = lab.said(lab.command(&[arguments, &["--format", "json"]].concat()));
        serde_json::from_str(&said.stdout).unwrap()
    };
    let check = document(&["config", "check"])["result"]["faults"].clone();
    assert_eq!(check.as_array().unwrap().len(), 7);
    assert_eq!(check[1]["message"], "expected a number, found the text \"8443\"");
    for command in [["plan"].as_slice(), &["apply"], &["status"], &["login"], &["config", "show"]] {
        assert_eq!(document(command)["error"]["faults"], check, "{command:?}");
    }
    // One fault, of the command line, and one that publishing finds.
    lab.config("");
    let faults = document(&["plan", "--set", "site.port=0"])["error"]["faults"].clone();
    assert_eq!(faults[0]["argument"], "site.port=0");
    assert_eq!((&faults[0]["file"], &faults[0]["line"]), (&().into(), &().into()));
    let faults = document(&["plan"])["error"]["faults"].clone();
    assert_eq!(faults[0]["key"], "toolkit.site.domain");
    assert!(faults[0]["hint"].as_str().unwrap().starts_with("write domain = "), "{faults}");
    // What is no fault of the configuration has none.
    lab.mode("tmp/openhands-sessions", 0o777);
    assert_eq!(
        document(&["plan", "--set", "site.domain=a.b"])["error"]["faults"],
        serde_json::json!([])
    );
}

#[test]
fn a_fault_of_the_command_line_or_the_environment_is_named_as_it_was_typed() {
    let lab = Lab::new();
    let typed = || {
        let mut command = lab.command(&["--set", "site.prot=1", "--set", "site.port"]);
        command.args(["--set", "site.port=many", "plan"]).env("OHT_SITE__PROT", "1");
        command
    };
    assert_snapshot!(lab.both(typed).shown(), @r#"
    --- stderr
    error: the configuration has 4 faults
    OHT_SITE__PROT: unknown variable
      hint: did you mean OHT_SITE__PORT
    --set site.prot=1: toolkit.site.prot: unknown key
      hint: did you mean site.port
    --set site.port: expected KEY=VALUE
      hint: --set site.domain=oh.example
    --set site.port=many: toolkit.site.port: expected a number in digits, found "many"
    --- exit 78
    "#);
    assert_snapshot!(lab.run(&["--set", "site.port=0", "plan"]), @"
    --- stderr
    error: --set site.port=0: toolkit.site.port: 0 is no port, they go from 1 to 65535
    --- exit 78
    ");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_line_and_column() {
    let lab = Lab::new();
    lab.config("[toolkit.site]\ndomain = oh.example\n[toolkit.nginx\nlisten = [\"*\"]\n");
    assert_snapshot!(lab.run(&["config", "check"]), @r#"
    {root}/etc/openhands-toolkit/config.toml:2:10: a text needs quotation marks
      hint: domain = "oh.example"
    {root}/etc/openhands-toolkit/config.toml:3:15: unclosed table, expected `]`
    2 faults
    --- exit 78
    "#);
}

#[test]
fn what_decides_what_is_run_or_let_in_does_not_come_from_the_environment() {
    let lab = Lab::new();
    let set = || {
        let mut command = lab.command(&["plan"]);
        command.env("OHT_NGINX__PROGRAM", "/tmp/evil").env("OHT_SITE__AUTH", "none");
        command.env("OHT_SESSIONS__DIRECTORY", "/tmp/mine").env("OHT_SITE__DOMAIN", "oh.example");
        // Not ours: OpenHands itself reads such names.
        command.env("OH_NGINX__PROGRAM", "x").env("NGINX__PROGRAM", "x");
        command
    };
    assert_snapshot!(lab.both(set).shown(), @"
    --- stderr
    error: the configuration has 3 faults
    OHT_NGINX__PROGRAM: toolkit.nginx.program: cannot come from the environment: it decides what is run, read or let in
      hint: write it in the file, or pass --set 'nginx.program=/tmp/evil'
    OHT_SESSIONS__DIRECTORY: toolkit.sessions.directory: cannot come from the environment: it decides what is run, read or let in
      hint: write it in the file, or pass --set 'sessions.directory=/tmp/mine'
    OHT_SITE__AUTH: toolkit.site.auth: cannot come from the environment: it decides what is run, read or let in
      hint: write it in the file, or pass --set 'site.auth=none'
    --- exit 78
    ");
}

#[test]
fn a_missing_file_that_was_asked_for_is_no_empty_one() {
    let lab = Lab::new();
    let missing = lab.at("etc/mine.toml").display().to_string();
    assert_snapshot!(lab.run(&["--config", &missing, "config", "check"]), @"
    --- stderr
    error: there is no file {root}/etc/mine.toml
    --- exit 78
    ");
    assert_eq!(
        lab.run(&["--config", &missing, "plan"]),
        lab.run(&["--config", &missing, "config", "check"])
    );
    let folder = lab.at("etc").display().to_string();
    assert_snapshot!(lab.run(&["--config", &folder, "plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc is a folder, not a regular file
    --- exit 78
    ");
}

#[test]
fn the_file_that_was_asked_for_replaces_the_others() {
    let lab = Lab::new();
    lab.write("etc/mine.toml", "[toolkit.site]\nport = 9001\n");
    let mine = lab.at("etc/mine.toml").display().to_string();
    let said = lab.both(|| lab.command(&["--config", &mine, "config", "show", "--origin"]));
    assert_snapshot!(lines_with(&said.stdout, "toolkit.site.port"), @"toolkit.site.port = 9001  ({root}/etc/mine.toml:2:8)");
    assert_snapshot!(lines_with(&said.stdout, "toolkit.site.domain"), @"toolkit.site.domain is not set  (default)");
}

#[test]
fn for_root_a_file_in_the_current_folder_is_none() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    fs::write(lab.here("config.toml"), "[toolkit.site]\ndomain = \"here.example\"\n").unwrap();
    let said = lab.both(|| lab.bare(&["config", "show", "--origin"]));
    assert!(!said.stdout.contains("here.example"), "{}", said.stdout);
    // Not even a broken one, and nothing is said of it.
    fs::write(lab.here("config.toml"), "[toolkit.site]\nbogus = \n").unwrap();
    let domain = ["config", "check", "--set", "site.domain=oh.example"];
    let said = lab.both(|| lab.bare(&domain));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

/// Returns the command, run by nobody. The program is copied to where nobody may go.
fn by_a_stranger(lab: &Lab, arguments: &[&str]) -> Command {
    let program = lab.at("oh-nginx");
    if !program.exists() {
        fs::copy(assert_cmd::cargo::cargo_bin!("oh-nginx"), &program).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([format!("--reuid={STRANGER}"), format!("--regid={STRANGER}")]);
    command.arg("--clear-groups").arg(program).args(arguments);
    command.env_clear().current_dir(lab.here(""));
    command
}

#[test]
fn for_others_a_file_in_the_current_folder_counts_where_it_is_theirs() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let file = lab.here("config.toml");
    fs::write(&file, "[toolkit.site]\ndomain = \"here.example\"\n").unwrap();
    let mode = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    // The program is copied before anything is compared.
    drop(by_a_stranger(&lab, &[]));
    let domain = || {
        let said = lab.both(|| by_a_stranger(&lab, &["config", "show", "--origin"]));
        format!("{}{}", lines_with(&said.stdout, "toolkit.site.domain"), said.stderr)
    };
    mode(0o644);
    for owner in [0, OTHER] {
        chown(&file, Some(owner), None).unwrap();
        let expected = format!(
            "toolkit.site.domain is not set  (default)\n\
             warning: ./config.toml is passed over: it belongs to uid {owner}, not to you\n"
        );
        assert_eq!(domain(), expected);
    }
    chown(&file, Some(STRANGER), None).unwrap();
    assert_snapshot!(domain(), @r#"toolkit.site.domain = "here.example"  (config.toml:2:10)"#);
    mode(0o666);
    let said = lab.both(|| by_a_stranger(&lab, &["config", "check"]));
    assert_snapshot!(said.shown(), @"
    --- stderr
    error: the configuration file cannot be used
      because: {lab}/cwd/config.toml is a regular file of uid 65534 with mode 0666: others may write to it
    hint: chmod o-w {lab}/cwd/config.toml
    --- exit 78
    ");
    // A link may lead anywhere, so it is passed over as well; and every command says so.
    mode(0o644);
    fs::rename(&file, lab.here("real.toml")).unwrap();
    symlink("real.toml", &file).unwrap();
    assert_snapshot!(domain(), @"
    toolkit.site.domain is not set  (default)
    warning: ./config.toml is passed over: it is a symbolic link, not a regular file
    ");
    let said = lab.both(|| by_a_stranger(&lab, &["config", "check"]));
    assert!(said.stderr.starts_with("warning: ./config.toml is passed over: "), "{}", said.stderr);
}

#[test]
fn a_named_file_of_somebody_else_is_refused() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    drop(by_a_stranger(&lab, &[]));
    let file = lab.here("mine.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    chown(&file, Some(OTHER), None).unwrap();
    let said = lab.both(|| by_a_stranger(&lab, &["--config", "mine.toml", "plan"]));
    assert_snapshot!(said.shown(), @"
    --- stderr
    error: the configuration file cannot be used
      because: {lab}/cwd/mine.toml is a regular file that belongs to uid 65533 (mode 0644), not to root or to you
    hint: chown root: {lab}/cwd/mine.toml
    --- exit 78
    ");
}

#[test]
fn a_file_that_others_can_write_is_refused_with_the_command_that_mends_it() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    for mode in [0o666, 0o664, 0o646] {
        lab.mode(FILE, mode);
        let said = lab.both(|| lab.command(&["plan"]));
        assert_eq!(said.code, 78);
        let (_, mend) = said.stderr.trim_end().rsplit_once("hint: ").unwrap();
        let words: Vec<String> =
            mend.split(' ').map(|word| word.replace("{root}", &lab.root())).collect();
        let (program, arguments) = words.split_first().unwrap();
        assert!(Command::new(program).args(arguments).status().unwrap().success());
        assert_eq!(lab.both(|| lab.command(&["config", "check"])).code, 0, "{mend}");
    }
    lab.mode(FILE, 0o666);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc/openhands-toolkit/config.toml is a regular file of uid 0 with mode 0666: others may write to it
    hint: chmod go-w {root}/etc/openhands-toolkit/config.toml
    --- exit 78
    ");
    assert_eq!(lab.run(&["config", "check"]), lab.run(&["plan"]));
}

#[test]
fn a_file_of_somebody_else_is_refused_for_root() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    chown(lab.at(FILE), Some(OTHER), None).unwrap();
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc/openhands-toolkit/config.toml is a regular file that belongs to uid 65533 (mode 0644), not to root
    hint: chown root: {root}/etc/openhands-toolkit/config.toml
    --- exit 78
    ");
}

#[test]
fn a_folder_above_that_others_can_write_is_refused_for_root() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    lab.mode("etc", 0o777);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc is a folder of uid 0 with mode 0777: others may write to it
    hint: chmod go-w {root}/etc
    --- exit 78
    ");
    lab.mode("etc", 0o755);
    lab.mode("", 0o777);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: --root cannot be used
      because: the root folder {root} has mode 0777: others may write to it
    hint: chmod go-w {root}
    --- exit 2
    ");
}

/// `chmod go-w /tmp` would break the machine, so it is not what a hint says.
#[test]
fn a_sticky_folder_above_is_not_to_be_closed() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    lab.mode("etc", 0o1777);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc is a folder of uid 0 with mode 1777: others may write to it
    hint: keep the file where only root can write, such as /etc/openhands-toolkit
    --- exit 78
    ");
}

#[test]
fn a_link_to_what_is_not_believed_is_not_believed() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    fs::rename(lab.at(FILE), lab.at("real.toml")).unwrap();
    symlink("../../real.toml", lab.at(FILE)).unwrap();
    assert_eq!(lab.both(|| lab.command(&["config", "check"])).code, 0);
    lab.mode("real.toml", 0o666);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/real.toml is a regular file of uid 0 with mode 0666: others may write to it
    hint: chmod go-w {root}/real.toml
    --- exit 78
    ");
    lab.mode("real.toml", 0o644);
    std::os::unix::fs::lchown(lab.at(FILE), Some(OTHER), None).unwrap();
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc/openhands-toolkit/config.toml is a symbolic link that belongs to uid 65533 (mode 0777), not to root
    hint: chown -h root: {root}/etc/openhands-toolkit/config.toml
    --- exit 78
    ");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let lab = Lab::new();
    fs::remove_file(lab.at(FILE)).unwrap();
    let made = Command::new("mkfifo").args(["-m", "644"]).arg(lab.at(FILE)).status().unwrap();
    assert!(made.success());
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc/openhands-toolkit/config.toml is a FIFO, not a regular file
    --- exit 78
    ");
    fs::remove_file(lab.at(FILE)).unwrap();
    fs::write(lab.at(FILE), b"[toolkit]\n# \xff\n").unwrap();
    lab.mode(FILE, 0o644);
    assert_snapshot!(lab.run(&["plan"]), @"
    --- stderr
    error: the configuration file cannot be used
      because: {root}/etc/openhands-toolkit/config.toml is not UTF-8 at byte 12
    --- exit 78
    ");
}
