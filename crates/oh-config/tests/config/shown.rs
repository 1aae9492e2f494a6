//! `config show`, `config show --origin` and `config check`.

use insta::assert_snapshot;
use oh_config::{load, report, report_json, show, show_json};

use super::{environment, file, read};

const SOME: &str = "\
[toolkit.site]
domain = 'oh.example'
port = 80
auth = 'request'
auth_request = 'http://127.0.0.1:4180/oauth2/auth'
origins = ['https://other.example']
[toolkit.nginx]
listen = ['*', '[::]']
";

#[test]
fn what_is_shown_has_the_same_effect() {
    for text in ["", SOME] {
        let loaded = read(text).unwrap();
        let again = read(&show(&loaded)).unwrap();
        assert_eq!(again.settings, loaded.settings);
        assert_eq!(show(&again), show(&loaded));
    }
}

#[test]
fn the_result_of_a_check_is_one_line_or_the_faults() {
    assert_snapshot!(report(&read(SOME)), @r#"
    warning: config.toml:3:8: toolkit.site.port: TLS is on, but 80 is where browsers expect a site without TLS
      also: default: toolkit.site.tls = "auto"
    sound: 70 keys, 6 from the file, 0 from the environment, 0 from --set, 1 warning
    "#);
    assert_snapshot!(report(&read("toolkit.site.port = 0")), @"
    config.toml:1:21: toolkit.site.port: 0 is no port, they go from 1 to 65535
    1 fault
    ");
}

#[test]
fn programs_get_the_same() {
    let sources = oh_config::Sources {
        environment: environment(&[("OHT_SITE__PORT", "8443")]).environment,
        ..file("[toolkit.site]\nport = 8080\n")
    };
    let shown = show_json(&load(&sources).unwrap());
    let port = shown.as_array().unwrap().iter().find(|v| v["key"] == "toolkit.site.port").unwrap();
    assert_eq!(
        *port,
        serde_json::json!({
            "key": "toolkit.site.port",
            "value": 8443,
            "origin": {"layer": "environment", "variable": "OHT_SITE__PORT"},
            "shadowed": [{
                "value": 8080,
                "origin": {"layer": "file", "file": "config.toml", "line": 2, "column": 8},
            }],
        })
    );
    assert_eq!(
        report_json(&read("toolkit.sessions.app_ports = ['1', '01']")),
        serde_json::json!({
            "sound": false,
            "faults": [{
                "layer": "file",
                "file": "config.toml",
                "line": 1,
                "column": 36,
                "variable": null,
                "argument": null,
                "key": "toolkit.sessions.app_ports[1]",
                "message": "1 overlaps 1",
                "hint": "name each port once",
                "also": [{
                    "layer": "file",
                    "file": "config.toml",
                    "line": 1,
                    "column": 31,
                    "variable": null,
                    "argument": null,
                    "message": "toolkit.sessions.app_ports[0] = \"1\"",
                }],
            }],
            "warnings": [],
        })
    );
    assert_eq!(
        report_json(&read("")),
        serde_json::json!({"sound": true, "faults": [], "warnings": []})
    );
}
