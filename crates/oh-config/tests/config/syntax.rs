//! Faults of TOML itself: each one once, and the faults of keys beside them.

use insta::assert_snapshot;

use super::{blamed, read};

#[test]
fn one_slip_is_one_message() {
    assert_snapshot!(blamed(r#"
[toolkit.site]
domain = oh.example
port = 91x0
upstream = 127.0.0.1:3000
tls =
users_file = "/etc/x
origins = [https://a.example]
auth "basic"
[toolkit.instances]
ports = 8888-8899
[core]
debug = True
"#), @r#"
    config.toml:3:10: a text needs quotation marks
      hint: domain = "oh.example"
    config.toml:4:8: neither a number nor a text in quotation marks
    config.toml:5:12: a text needs quotation marks
      hint: upstream = "127.0.0.1:3000"
    config.toml:6:5: the key has no value
    config.toml:7:14: the text that begins here is not closed
    config.toml:8:12: a text needs quotation marks
      hint: "https://a.example" in its place
    config.toml:9:6: key with no value, expected `=`
    config.toml:11:9: a text needs quotation marks
      hint: ports = "8888-8899"
    config.toml:13:9: true and false are written in lower case
      hint: debug = true
    "#);
}

#[test]
fn an_open_list_hides_nothing_below_it() {
    assert_snapshot!(blamed(r#"
[toolkit.site]
origins = ["https://a.example",
  "https://b.example"
tls = "onn"
[toolkit.nginx]
hok = "/x"
"#), @r#"
    config.toml:3:11: the value that begins here is not closed
      also: config.toml:5:1: what is not part of it
    config.toml:5:7: toolkit.site.tls: "onn" is not one of "auto", "on", "off"
      hint: tls = "on"
    config.toml:7:1: toolkit.nginx.hok: unknown key
      hint: did you mean hook
    "#);
}

#[test]
fn an_open_text_is_shown_where_it_begins() {
    assert_snapshot!(blamed("[toolkit.site]\ndomain = \"\"\"abc\nport = 3\nx = 1\n"), @"config.toml:2:10: the value that begins here is not closed");
}

#[test]
fn an_open_text_below_a_repeated_key_is_one_fault() {
    // The parser drops the second value, and with it where the text begins.
    let text = "[[toolkit.site]]\ntoolkit = \"\"\"\n[toolkit.site";
    assert_eq!(read(text).unwrap_err().0.len(), 1);
}

#[test]
fn keys_below_a_broken_header_are_not_blamed_on_another_table() {
    assert_snapshot!(blamed("[toolkit.site]\nport = 1\n[toolkit.nginx\nhook = \"x\"\n[toolkit.wscheck]\nx = 1\n"), @"
    config.toml:3:15: unclosed table, expected `]`
    config.toml:6:1: toolkit.wscheck.x: unknown key
      hint: [toolkit.wscheck] has development_ports
    ");
}

#[test]
fn what_is_there_twice_is_shown_twice() {
    assert_snapshot!(blamed("[toolkit.site]\ndomain = 'a'\ndomain = 'b'\n[toolkit.site]\nport = 0\n"), @r#"
    config.toml:3:1: "domain" is here for the second time
      also: config.toml:2:1: the first one
    config.toml:4:10: "site" is here for the second time
    config.toml:5:8: toolkit.site.port: 0 is no port, they go from 1 to 65535
    "#);
}

#[test]
fn a_value_has_no_keys_below_it() {
    // The parser reports such a header twice.
    assert_snapshot!(blamed("toolkit = ['8080']\n[toolkit.site]\n"), @r#"
    config.toml:1:11: toolkit: expected a table, found a list
      hint: [toolkit] and its keys below
    config.toml:2:2: "toolkit" has a value already, and no keys below it
      also: config.toml:1:1: the first one
    "#);
}

#[test]
fn a_missing_key_is_not_missed_where_the_text_is_broken() {
    // auth_request may be the line that could not be read.
    assert_snapshot!(blamed("[toolkit.site]\nauth = 'request'\nauth_request = http://127.0.0.1\n"), @r#"
    config.toml:3:16: a text needs quotation marks
      hint: auth_request = "http://127.0.0.1"
    "#);
}

#[test]
fn a_text_that_is_no_toml_ends_soon() {
    let faults = read(&"}{\n".repeat(500)).unwrap_err();
    assert_eq!(faults.0.len(), 33);
    assert_eq!(
        faults.0[32].to_string(),
        "config.toml:33:1: more than 32 faults of syntax, the rest is not shown"
    );
}

#[test]
fn foreign_tables_have_to_be_toml_too() {
    assert_snapshot!(blamed("[core]\ndebug = yes\n"), @r#"
    config.toml:2:9: a text needs quotation marks
      hint: debug = "yes"
    "#);
}

#[test]
fn depth_costs_no_stack() {
    for depth in [100, 10_000, 200_000] {
        for text in [
            format!("{}b = 1", "a.".repeat(depth)),
            format!("[{}b]\nx = 1", "a.".repeat(depth)),
            format!("x = {}b = {{}}", "{ a.".repeat(depth)),
            format!("toolkit = {}1", "[".repeat(depth)),
            format!("toolkit.{}b = \n", "site.".repeat(depth)),
        ] {
            assert!(read(&text).is_ok() || !blamed(&text).is_empty());
        }
    }
}
