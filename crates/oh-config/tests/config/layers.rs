//! Environment and command line: names, types, trust, and who wins.

use insta::assert_snapshot;
use oh_config::{Key, Layer, Sources, load, show_origin};

use super::{environment, file, read, sets};

fn blamed(sources: &Sources) -> String {
    load(sources).unwrap_err().to_string()
}

#[test]
fn the_last_layer_wins_and_shows_what_it_hides() {
    let sources = Sources {
        file: file("[toolkit.site]\ndomain = 'a'\n[toolkit.nginx]\ngeneration_port = 9181\n").file,
        environment: environment(&[("OHT_SITE__DOMAIN", "b")]).environment,
        sets: sets(&["site.domain=c", "toolkit.site.domain=d"]).sets,
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.site.domain.as_ref().unwrap().to_string(), "d");
    let shown = show_origin(&loaded);
    let lines: Vec<_> = shown
        .lines()
        .filter(|line| !line.ends_with("  (default)") || line.starts_with("  "))
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    toolkit.site.domain = "d"  (--set toolkit.site.domain=d)
      shadows "c"  (--set site.domain=c)
      shadows "b"  (OHT_SITE__DOMAIN)
      shadows "a"  (config.toml:2:10)
    toolkit.nginx.generation_port = 9181  (config.toml:4:19)
      shadows 9180  (default)
    "#);
    let domain = loaded.values.iter().find(|value| value.key.path == "site.domain").unwrap();
    assert_eq!(domain.origin.layer(), Layer::CommandLine);
    let layers: Vec<_> = domain.shadowed.iter().map(|s| s.origin.layer()).collect();
    assert_eq!(layers, [Layer::CommandLine, Layer::Environment, Layer::File]);
}

#[test]
fn values_are_typed_by_the_key() {
    let loaded = load(&Sources {
        environment: environment(&[
            ("OHT_SITE__DOMAIN", "8899.example"),
            ("OHT_NGINX__GENERATION_PORT", "9181"),
            ("OHT_SESSIONS__EDITOR_PORTS", "8080, 8888-8899"),
            ("OHT_SESSIONS__APP_PORTS", ""),
            ("OHT_WSCHECK__DEVELOPMENT_PORTS", "[1, 0x10]"),
            ("OHT_TEST_ANYTHING", "passed over"),
            ("OH_RUNTIME", "of OpenHands"),
        ])
        .environment,
        sets: sets(&["nginx.listen=[::1],10.0.0.1", "sessions.owners=[\"root\", \"1000\"]"]).sets,
        file: None,
    })
    .unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.site.origin().unwrap(), "https://8899.example");
    assert_eq!(settings.nginx.generation_port.get(), 9181);
    assert_eq!(settings.sessions.editor_ports.to_string(), "8080, 8888-8899");
    assert!(settings.sessions.app_ports.0.is_empty());
    let ports: Vec<_> = settings.wscheck.development_ports.iter().map(|port| port.get()).collect();
    assert_eq!(ports, [1, 16]);
    let listen: Vec<_> = settings.nginx.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["[::1]", "10.0.0.1"]);
    let owners: Vec<_> = settings.sessions.owners.iter().map(ToString::to_string).collect();
    assert_eq!(owners, ["root", "1000"]);
    // One IPv6 address alone is an item, though it looks like an array.
    let alone = load(&sets(&["nginx.listen=[2001:db8::1]"])).unwrap();
    assert_eq!(alone.settings.nginx.listen.len(), 1);
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    assert_snapshot!(blamed(&environment(&[
        ("OHT_FOO", "2"),
        ("OHT_SCHEMA", "2"),
        ("OHT_SESSIONS__EDITOR_PORTS", "[8080, 2.5]"),
        ("OHT_SITE", ""),
        ("OHT_SITE_DOMAIN", "x"),
        ("OHT_SITE__AUTH", "none"),
        ("OHT_SITE__DOMAIN", ""),
        ("OHT_SITE__PORT", "8443 "),
        ("OHT_WSCHECK__DEVELOPMENT_PORTS", "1,x"),
        ("OHT_site__domain", "2"),
    ])), @r#"
    OHT_FOO: unknown variable
      hint: unset it; OHT_TABLE__KEY sets toolkit.table.key
    OHT_SCHEMA: toolkit.schema: says of a file which keys it has, and belongs into it
      hint: leave it out here
    OHT_SESSIONS__EDITOR_PORTS: toolkit.sessions.editor_ports[1]: found 2.5, a number with a point in the list
    OHT_SITE: unknown variable
      hint: that is a table; its keys are OHT_SITE__KEY
    OHT_SITE_DOMAIN: unknown variable
      hint: did you mean OHT_SITE__DOMAIN
    OHT_SITE__AUTH: toolkit.site.auth: cannot come from the environment: it decides what is run, read or let in
      hint: write it in the file, or pass --set 'site.auth=none'
    OHT_SITE__DOMAIN: toolkit.site.domain: is empty, expected a host name or an IP address such as "oh.example"
      hint: leave it out to have the default
    OHT_SITE__PORT: toolkit.site.port: expected a number in digits, found "8443 "
    OHT_WSCHECK__DEVELOPMENT_PORTS: toolkit.wscheck.development_ports[1]: expected a number in digits, found "x"
    OHT_site__domain: unknown variable
      hint: did you mean OHT_SITE__DOMAIN
    "#);
}

#[test]
fn faults_of_the_command_line_repeat_the_argument() {
    assert_snapshot!(blamed(&sets(&[
        "site.domian=x",
        "site.domain=\"x\"",
        "foo",
        "site=3",
        "verify=3",
        "schema=2",
        "ngnix.hook=/x",
        "site.upstream=localhost:3",
        "wscheck.development_ports=[1",
        "wscheck.development_ports=[1,]]",
        "colour=red",
    ])), @r#"
    --set site.domian=x: toolkit.site.domian: unknown key
      hint: did you mean site.domain
    --set site.domain="x": toolkit.site.domain: "\"x\"" is neither a host name nor an IP address
      hint: leave the quotation marks out: x
    --set foo: expected KEY=VALUE
      hint: --set site.domain=oh.example
    --set site=3: toolkit.site: unknown key
      hint: that is a table; set one of its keys, such as site.domain
    --set verify=3: toolkit.verify: unknown key
      hint: that is a table without keys
    --set schema=2: toolkit.schema: says of a file which keys it has, and belongs into it
      hint: leave it out here
    --set ngnix.hook=/x: toolkit.ngnix.hook: unknown key
      hint: did you mean nginx.hook
    --set site.upstream=localhost:3: toolkit.site.upstream: "localhost:3" is a name, expected an IP address
      hint: --set site.upstream=127.0.0.1:3 (localhost is ::1 as well, where nothing may listen)
    --set wscheck.development_ports=[1: toolkit.wscheck.development_ports[0]: expected a number in digits, found "[1"
    --set wscheck.development_ports=[1,]]: toolkit.wscheck.development_ports: "[1,]]" is no array of TOML
    --set colour=red: toolkit.colour: unknown key
    "#);
}

#[test]
fn trusted_keys_come_from_the_file_or_the_command_line_alone() {
    let (trusted, open): (Vec<&Key>, Vec<&Key>) =
        oh_config::KEYS.iter().partition(|key| key.trusted);
    for key in trusted.iter().filter(|key| key.path != "schema") {
        let pair = [(key.environment_name(), "x".to_owned())];
        let sources = Sources { environment: pair.to_vec(), ..Sources::default() };
        let faults = load(&sources).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert!(faults.0[0].what.starts_with("cannot come from the environment"), "{faults}");
    }
    let open: Vec<_> = open.iter().map(|key| key.path).collect();
    assert_eq!(
        open,
        [
            "site.domain",
            "site.port",
            "site.tls",
            "nginx.generation_port",
            "nginx.seen_timeout_ms",
            "nginx.watch_interval_ms",
            "nginx.old_workers_max",
            "nginx.rescan_s",
            "sessions.sessions_max",
            "sessions.file_bytes_max",
            "sessions.retire_after_s",
            "sessions.editor_ports",
            "sessions.app_ports",
            "sessions.upstream",
            "instances.ports",
            "instances.upstream",
            "instances.server",
            "instances.transport",
            "instances.log_bytes_max",
            "instances.log_files",
            "instances.ready_timeout_s",
            "instances.stop_grace_s",
            "instances.restarts_max",
            "instances.restart_window_s",
            "instances.memory_max_mib",
            "instances.cpu_max_percent",
            "instances.tasks_max",
            "instances.supervision",
            "cleanup.grace_s",
            "cleanup.age_min_s",
            "cleanup.quarantine_max_mib",
            "wscheck.development_ports",
        ]
    );
}

#[test]
fn a_fault_counts_even_where_it_is_shadowed() {
    let sources =
        Sources { sets: sets(&["site.port=8443"]).sets, ..file("[toolkit.site]\nport = 0\n") };
    assert_snapshot!(blamed(&sources), @"config.toml:2:8: toolkit.site.port: 0 is no port, they go from 1 to 65535");
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.values, read("").unwrap().values);
    assert!(loaded.values.iter().all(|value| value.origin.layer() == Layer::Default));
    let site = &loaded.settings.site;
    assert_eq!((site.domain.as_ref(), site.port().get(), site.origin()), (None, 443, None));
    assert_eq!(site.certificate, None);
    assert_eq!(
        site.require_domain().unwrap_err().to_string(),
        "toolkit.site.domain: is not set\n  hint: write domain = \"oh.example\" under \
         [toolkit.site] in /etc/openhands-toolkit/config.toml, or pass --set site.domain=oh.example"
    );
}

#[test]
fn the_site_knows_its_address() {
    for (set, origin, certificate) in [
        (&["site.domain=oh.example"][..], "https://oh.example", "oh.example"),
        (&["site.domain=oh.example", "site.port=8443"], "https://oh.example:8443", "oh.example"),
        (&["site.domain=oh.example", "site.tls=off"], "http://oh.example", "oh.example"),
        (&["site.domain=10.0.0.1"], "http://10.0.0.1", "10.0.0.1"),
        (&["site.domain=10.0.0.1", "site.tls=on"], "https://10.0.0.1", "10.0.0.1"),
        (&["site.domain=2001:db8:0::1"], "http://[2001:db8::1]", "2001:db8::1"),
        (&["site.domain=::1", "site.port=8080"], "http://[::1]:8080", "::1"),
    ] {
        let site = load(&sets(set)).unwrap().settings.site;
        assert_eq!(site.origin().unwrap(), origin);
        assert_eq!(site.certificate.unwrap().name(), "fullchain.pem");
        assert_eq!(
            site.certificate_key.unwrap().as_str(),
            format!("/etc/letsencrypt/live/{certificate}/privkey.pem")
        );
    }
}
