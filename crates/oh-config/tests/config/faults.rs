//! Every fault at once, each with its place, its key, what is wrong, and how to mend it.

use insta::assert_snapshot;

use super::{blamed, first_lines, read};

#[test]
fn seven_faults_are_seven_messages() {
    let faults = read(include_str!("../../../../fixtures/config/seven-faults.toml")).unwrap_err();
    assert_eq!(faults.0.len(), 7);
    assert_eq!(faults.exit(), oh_model::exit::Exit::Config);
    assert_snapshot!(faults, @r#"
    config.toml:6:10: toolkit.site.domain: "https://oh.example:8443/" has a scheme, the domain is the host alone
      hint: domain = "oh.example" (the port goes into site.port = 8443)
    config.toml:7:8: toolkit.site.port: expected a number, found the text "8443"
      hint: port = 8443
    config.toml:8:12: toolkit.site.upstream: "localhost:3000" is a name, expected an IP address
      hint: upstream = "127.0.0.1:3000" (localhost is ::1 as well, where nothing may listen)
    config.toml:11:1: toolkit.instances.prots: unknown key
      hint: did you mean ports
    config.toml:12:9: toolkit.instances.ports: the range "8899-8888" is backwards
      hint: ports = "8888-8899"
    config.toml:14:10: toolkit.ngnix: unknown key
      hint: did you mean nginx
    config.toml:18:19: toolkit.nginx.generation_port: 91800 is no port, they go from 1 to 65535
    "#);
}

#[test]
fn what_is_not_a_host_is_told_apart() {
    for (domain, message) in [
        (
            "https://oh.example",
            "\"https://oh.example\" has a scheme, the domain is the host alone\n  \
             hint: domain = \"oh.example\" (the scheme is site.tls = \"on\")",
        ),
        (
            "oh.example:8443",
            "\"oh.example:8443\" has a port, the domain is the host alone\n  \
             hint: domain = \"oh.example\" (the port goes into site.port = 8443)",
        ),
        (
            "oh.example/vscode",
            "\"oh.example/vscode\" has a path, the domain is the host alone\n  \
             hint: domain = \"oh.example\"",
        ),
        ("OH.Example", "\"OH.Example\" has upper-case letters\n  hint: domain = \"oh.example\""),
        (
            "[::1]",
            "\"[::1]\" is in brackets, an IPv6 address stands alone here\n  hint: domain = \"::1\"",
        ),
        (
            "[::1]:8443",
            "\"[::1]:8443\" has a port, the domain is the host alone\n  \
             hint: domain = \"::1\" (the port goes into site.port = 8443)",
        ),
        ("a b", "\"a b\" is neither a host name nor an IP address"),
        ("", "is empty, expected a host name or an IP address such as \"oh.example\""),
    ] {
        let text = format!("[toolkit.site]\ndomain = \"{domain}\"\n");
        assert_eq!(
            blamed(&text),
            format!("config.toml:2:10: toolkit.site.domain: {message}"),
            "{domain}"
        );
    }
}

#[test]
fn a_value_of_another_type_is_shown_as_it_should_be() {
    assert_snapshot!(blamed(r#"
[toolkit.site]
port = 8899.0
tls = true
origins = [1, "https://x/", 2.5, "x"]
[toolkit.nginx]
listen = "*"
seen_timeout_ms = 99999
[toolkit.sessions]
editor_ports = [8080, "8888–8899"]
owners = []
[toolkit.wscheck]
development_ports = ["12000", 1, 1]
"#), @r#"
    config.toml:3:8: toolkit.site.port: expected a number, found 8899.0, a number with a point
      hint: port = 8899
    config.toml:4:7: toolkit.site.tls: expected a text, found true
      hint: one of "auto", "on", "off"
    config.toml:5:12: toolkit.site.origins[0]: expected a text, found the number 1
      hint: "1" in its place
    config.toml:5:15: toolkit.site.origins[1]: "https://x/" is no web origin
      hint: "https://x" in its place
    config.toml:5:29: toolkit.site.origins[2]: expected a text, found 2.5, a number with a point
      hint: a list of origins such as ["https://other.example"]
    config.toml:5:34: toolkit.site.origins[3]: "x" is no web origin
      hint: "https://x" in its place
    config.toml:7:10: toolkit.nginx.listen: expected a list of texts, found the text "*"
      hint: listen = ["*"]
    config.toml:8:19: toolkit.nginx.seen_timeout_ms: 99999 is not between 100 and 60000 milliseconds
      hint: seen_timeout_ms = 60000
    config.toml:10:17: toolkit.sessions.editor_ports[0]: expected a text, found the number 8080
      hint: "8080" in its place
    config.toml:10:23: toolkit.sessions.editor_ports[1]: "8888–8899" is no range of ports
      hint: "8888-8899" in its place
    config.toml:11:10: toolkit.sessions.owners: is empty, expected a list of user names or numbers such as ["root", "1000"]
    config.toml:13:22: toolkit.wscheck.development_ports[0]: expected a number, found the text "12000"
      hint: 12000 in its place
    config.toml:13:34: toolkit.wscheck.development_ports[2]: 1 is in the list twice
    "#);
}

#[test]
fn paths_say_what_they_lack() {
    assert_snapshot!(blamed(r#"
[toolkit.nginx]
config = "/etc//nginx/"
legacy_repositories = "/a/b"
program = "nginx"
directory = "/"
[toolkit.sessions]
directory = "/tmp/{id}"
workspace = "/w/{id}/{id}"
[toolkit.site]
certificate = "/etc/{repo}.pem"
users_file = "/etc/../users"
[toolkit.instances]
environment_file = "~ubuntu/x"
"#), @r#"
    config.toml:3:10: toolkit.nginx.config: "/etc//nginx/" is no such path: a path has no empty part: no `//`, no `/` at its end
      hint: config = "/etc/nginx"
    config.toml:4:23: toolkit.nginx.legacy_repositories: "/a/b" has to have {repo} in it once
      hint: legacy_repositories = "/a/b/{repo}"
    config.toml:5:11: toolkit.nginx.program: "nginx" is no such path: a path begins with `/`
    config.toml:6:13: toolkit.nginx.directory: "/" is the root folder, expected a path below it
    config.toml:8:13: toolkit.sessions.directory: "/tmp/{id}" has braces that mean nothing here
    config.toml:9:13: toolkit.sessions.workspace: "/w/{id}/{id}" has to have {id} in it once
    config.toml:11:15: toolkit.site.certificate: "/etc/{repo}.pem" has braces that mean nothing here
      hint: only {domain} is filled in
    config.toml:12:14: toolkit.site.users_file: "/etc/../users" is no such path: a path has no `.` or `..` in it
    config.toml:14:20: toolkit.instances.environment_file: "~ubuntu/x" is no such path: a path begins with `/`
    "#);
}

#[test]
fn unknown_names_get_the_nearest_right_one_or_the_list() {
    assert_snapshot!(blamed(r#"
[toolkit]
domain = "x"
"site.domain" = "x"
[toolkit.nginx]
generation = 1
port_database = "/x"
[toolkit.verify]
x = 1
[toolkit.instances]
colour = 1
[toolkit.site]
colour = 1
"#), @r#"
    config.toml:3:1: toolkit.domain: unknown key
      hint: did you mean toolkit.site.domain
    config.toml:4:1: toolkit."site.domain": unknown key
      hint: did you mean toolkit.site.domain
    config.toml:6:1: toolkit.nginx.generation: unknown key
      hint: did you mean generation_port
    config.toml:7:1: toolkit.nginx.port_database: unknown key
      hint: did you mean toolkit.instances.port_database
    config.toml:9:1: toolkit.verify.x: unknown key
      hint: [toolkit.verify] has no keys yet
    config.toml:11:1: toolkit.instances.colour: unknown key
      hint: docs/config.md has the keys of [toolkit.instances]
    config.toml:13:1: toolkit.site.colour: unknown key
      hint: docs/config.md has the keys of [toolkit.site]
    "#);
}

#[test]
fn a_table_is_a_table_and_a_value_is_a_value() {
    for (text, message) in [
        ("toolkit = 3", "config.toml:1:11: toolkit: expected a table, found the number 3"),
        ("[[toolkit]]\nx = 1", "config.toml:1:1: toolkit: expected a table, found a list"),
        (
            "\n[[toolkit.site]]\nx = 1",
            "config.toml:2:1: toolkit.site: expected a table, found a list",
        ),
        (
            "toolkit.site = 'x'",
            "config.toml:1:16: toolkit.site: expected a table, found the text \"x\"",
        ),
        (
            "[toolkit.site.domain]\nx = 1",
            "config.toml:1:1: toolkit.site.domain: expected a text, found a table",
        ),
        (
            "[[toolkit.site.origins]]\nx = 1",
            "config.toml:1:1: toolkit.site.origins[0]: expected a text, found a table",
        ),
        (
            "toolkit.site.domain.x = 1",
            "config.toml:1:14: toolkit.site.domain: expected a text, found a table",
        ),
    ] {
        assert_eq!(first_lines(&read(text).unwrap_err()), [message], "{text}");
    }
}

#[test]
fn positions_count_from_one_and_in_characters() {
    for (text, place) in [
        // Dotted keys, inline tables, and what stands before on the line.
        ("toolkit.site.port = 0", "config.toml:1:21"),
        ("[toolkit]\nsite.port = 0", "config.toml:2:13"),
        ("toolkit = { site = { domain = \"x\", port = 0 } }", "config.toml:1:43"),
        ("[toolkit.site] # é\nport = 0", "config.toml:2:8"),
        ("toolkit = { site = { users_file = \"/é\", port = 0 } }", "config.toml:1:48"),
        ("a = \"é\"\ntoolkit.site = { origins = [], port = 0 }", "config.toml:2:39"),
        // Windows line ends, and a byte order mark.
        ("[toolkit.site]\r\n\r\nport = 0\r\n", "config.toml:3:8"),
        ("\u{feff}toolkit.site.port = 0", "config.toml:1:21"),
        ("\u{feff}[toolkit.site]\r\nport = 0", "config.toml:2:8"),
        // Texts of several lines.
        ("a = '''\n\n'''\n[toolkit.site]\nport = 0", "config.toml:5:8"),
        ("[toolkit.wscheck]\ndevelopment_ports = [\n  1,\n  0,\n]", "config.toml:4:3"),
    ] {
        let faults = read(text).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert_eq!(faults.0[0].origin.to_string(), place, "{text:?}");
    }
}

#[test]
fn the_version_decides_about_unknown_keys() {
    let newer =
        read("[toolkit]\nschema = 2\nnew = 1\n[toolkit.site]\nport = 8443\nfresh = 2\n").unwrap();
    assert_eq!(newer.settings.site.port().get(), 8443);
    let warnings: Vec<_> = newer.warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @"
    config.toml:2:10: toolkit.schema: 2 is newer than this toolkit, which knows 1: unknown keys are passed over
    config.toml:3:1: toolkit.new: unknown key
      hint: docs/config.md has the keys of [toolkit]
    config.toml:6:1: toolkit.site.fresh: unknown key
      hint: docs/config.md has the keys of [toolkit.site]
    ");
    // A wrong value is wrong in every version.
    assert_eq!(
        first_lines(&read("toolkit = { schema = 2, new = 1, site.port = '1' }").unwrap_err()),
        ["config.toml:1:46: toolkit.site.port: expected a number, found the text \"1\""]
    );
    // Without a version it is the first one.
    assert!(read("[toolkit]\nnew = 1").is_err());
    for (value, what) in [
        ("0", "0 is no version, they begin at 1"),
        ("-1", "-1 is no version, they begin at 1"),
        ("'1'", "expected a number, found the text \"1\""),
        ("1.5", "expected a number, found 1.5, a number with a point"),
        ("99999999999999999999", "expected a number, found the number 99999999999999999999"),
    ] {
        assert_eq!(
            first_lines(&read(&format!("toolkit.schema = {value}")).unwrap_err()),
            [format!("config.toml:1:18: toolkit.schema: {what}")]
        );
    }
}

#[test]
fn a_long_or_wicked_value_cannot_forge_lines() {
    let text = format!("toolkit.site.domain = \"a\\nerror: {}\"", "x".repeat(500));
    let message = blamed(&text);
    assert!(message.lines().count() == 1 && message.len() < 200, "{message}");
}
