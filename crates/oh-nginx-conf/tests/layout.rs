//! The file as a whole: what it looks like, and that no data can become syntax.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use oh_model::id::InstanceId;
use oh_model::instance::{Instance, Key, Server, Subject};
use oh_model::listening::Listening;
use oh_model::path::{InRoot, RealPath};
use oh_model::port::{Port, PortRange, PortSet};
use oh_model::routes::{FileNumber, FoundSession, Inputs, Policy, agree};
use oh_model::upstream::{Target, Upstream};
use oh_nginx_conf::layout::{Auth, Generation, Hosts, Isolation, LoginPages, Site, Tls, layout};
use oh_nginx_conf::served;
use oh_nginx_conf::version::NginxVersion;
use proptest::prelude::*;

fn real(path: &str) -> RealPath {
    RealPath::parse(path).unwrap()
}

fn site() -> Site {
    Site {
        name: "oh.example".into(),
        authority: "oh.example".into(),
        port: Port::new(443).unwrap(),
        tls: Some(Tls { certificate: real("/tls/fullchain.pem"), key: real("/tls/privkey.pem") }),
        listen: vec!["*".into()],
        upstream: "127.0.0.1:3000".into(),
        auth: Auth::Basic { users: real("/etc/nginx/openhands/users") },
        origins: vec!["https://oh.example".into()],
        isolation: Isolation::Path,
        sockets: None,
        generation_port: Port::new(9180).unwrap(),
        nginx: NginxVersion { major: 1, minor: 22, patch: 1 },
        set_map_bucket: true,
        set_map_max_size: true,
        port_is_exclusive: true,
        http_is_served: false,
    }
}

fn policy() -> Policy {
    let all = PortRange::parse("1024-65535").unwrap();
    Policy {
        editor_ports: PortSet(vec![all]),
        app_ports: PortSet(vec![all]),
        repository_ports: all,
        reserved: BTreeMap::new(),
        id_bytes_max: 64,
        sockets: true,
        hosts: false,
        site_label: None,
        session_upstream: Upstream::default(),
        repository_upstream: Upstream::default(),
    }
}

fn text_of(site: &Site, sessions: Vec<FoundSession>) -> String {
    let routes = agree(&Inputs { sessions, ..Inputs::default() }, &policy());
    layout(site, &routes, |folder: &InRoot| Some(real(folder.as_str())))
        .unwrap()
        .text(7)
        .reveal()
        .into()
}

fn session(name: &str, text: &str) -> FoundSession {
    let (text, file) = (Ok(text.into()), FileNumber::default());
    FoundSession { name: name.into(), modified_ns: 0, owner: 0, file, text }
}

#[test]
fn the_whole_file_is_as_documented() {
    let text = text_of(
        &site(),
        vec![session(
            "4f1c.json",
            r#"{"vscode_port":40123,"app_ports":[50001],"toolkit":{"schema":1,"folder":"/srv/a b"}}"#,
        )],
    );
    insta::assert_snapshot!(text);
}

const EVERYTHING: &str = r#"{"vscode_port":40123,"app_ports":[50001],"toolkit":{"schema":1,
    "upstream":"base-path","app_upstream":"strip","owner":"ann+x@oh.example","folder":"/srv/a b"}}"#;

#[test]
fn hosts_sockets_and_an_endpoint_are_as_documented() {
    let tls = Tls { certificate: real("/tls/wildcard.pem"), key: real("/tls/wildcard.key") };
    let site = Site {
        auth: Auth::Request {
            endpoint: "http://127.0.0.1:4180/oauth2/auth".into(),
            pages: Some(LoginPages {
                prefix: "/oauth2/".into(),
                start: "/oauth2/start".into(),
                upstream: "127.0.0.1:4180".into(),
            }),
        },
        isolation: Isolation::Hosts(Hosts { base: "s.example".into(), tls: Some(tls) }),
        sockets: Some(real("/run/openhands-sessions")),
        ..site()
    };
    insta::assert_snapshot!(text_of(&site, vec![session("4f1c.json", EVERYTHING)]));
}

#[test]
fn sockets_and_a_sandbox_are_as_documented() {
    let site = Site {
        auth: Auth::Editor,
        isolation: Isolation::Sandbox,
        sockets: Some(real("/run/openhands-sessions")),
        ..site()
    };
    insta::assert_snapshot!(text_of(&site, vec![session("4f1c.json", EVERYTHING)]));
}

const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// The text for an editor of each kind of server, both with a key.
fn text_with_keys(site: &Site) -> String {
    let instance = |(id, port, server): (&str, u64, Server)| Instance {
        id: InstanceId::parse(id).unwrap(),
        subject: Subject::Session,
        target: Target::Port(Port::new(port).unwrap()),
        uid: 0,
        folder: InRoot::parse("/srv").unwrap(),
        upstream: Upstream::default(),
        server,
        announced: false,
        key: Key::parse(KEY),
    };
    let editors = [("code", 40123, Server::CodeServer), ("open", 40124, Server::Openvscode)];
    let listening = editors.map(|(_, port, _)| (Port::new(port).unwrap(), 0));
    let sessions = editors.map(|(id, port, _)| {
        let text = format!(r#"{{"vscode_port":{port},"app_ports":[{}]}}"#, port + 10_000);
        session(&format!("{id}.json"), &text)
    });
    let inputs = Inputs {
        sessions: sessions.into(),
        instances: editors.map(instance).into(),
        listening: Listening::of(listening),
        ..Inputs::default()
    };
    let routes = agree(&inputs, &policy());
    assert_eq!(routes.exclusions, []);
    layout(site, &routes, |_: &InRoot| None).unwrap().text(7).reveal().into()
}

#[test]
fn a_key_is_a_line_of_one_map_that_editors_alone_are_presented() {
    let tls = Tls { certificate: real("/tls/wildcard.pem"), key: real("/tls/wildcard.key") };
    let hosts = Isolation::Hosts(Hosts { base: "s.example".into(), tls: Some(tls) });
    let sockets = Some(real("/run/openhands-sessions"));
    for (isolation, ways) in [(Isolation::Path, 4), (Isolation::Sandbox, 4), (hosts, 4)] {
        let site = Site { isolation, sockets: sockets.clone(), ..site() };
        let text = text_with_keys(&site);
        assert_eq!(text.matches(KEY).count(), 2);
        assert!(text.contains(&format!("    vscode/code \"code-server-session={KEY}\";\n")));
        assert!(text.contains(&format!("    vscode/open \"vscode-tkn={KEY}\";\n")));
        let mut location = "";
        let mut keyed = 0;
        for line in text.lines() {
            location = line.trim().strip_prefix("location ").unwrap_or(location);
            if line.contains("$oh_cookies") && !line.starts_with("map ") {
                assert!(location.starts_with("@oh_editor"), "{location}");
                keyed += 1;
            }
            let uses = line.contains("$oh_key") && line.starts_with("        ");
            assert!(!uses, "{location}: {line}");
        }
        assert_eq!(keyed, ways);
        assert_eq!(served::data_only(&text_of(&site, vec![]), &text), Ok(()));
    }
}

#[test]
fn the_proof_accepts_keys_of_one_form_and_repeats_none() {
    let old = text_of(&site(), vec![]);
    let new = text_with_keys(&site());
    let line = format!("vscode/code \"code-server-session={KEY}\";");
    for hostile in [
        format!("apps/code-0 \"code-server-session={KEY}\";"),
        format!("vscode/code \"session={KEY}\";"),
        format!("vscode/code \"code-server-session={KEY}0\";"),
        format!("vscode/code \"code-server-session={}\";", KEY.to_uppercase()),
        format!("vscode/code \"code-server-session={KEY}; a=b\";"),
        format!("vscode/code {KEY};"),
        "vscode/code \"code-server-session=$http_cookie\";".to_owned(),
        format!("vscode/code \"code-server-session={KEY}\" {KEY};"),
        format!("~.* \"code-server-session={KEY}\";"),
    ] {
        let text = new.replace(&line, &hostile);
        assert_ne!(text, new);
        let fault = served::data_only(&old, &text).unwrap_err();
        assert!(!fault.contains("0f0f") && !fault.contains("0F0F"), "{fault}");
    }
}

#[test]
fn an_older_nginx_does_without_the_flags_of_cookies() {
    let older = Site { nginx: NginxVersion { major: 1, minor: 18, patch: 0 }, ..site() };
    assert!(!text_of(&older, vec![]).contains("proxy_cookie_flags"));
}

#[test]
fn plain_http_is_left_to_an_operators_server_for_the_name() {
    let redirects = |site: &Site| text_of(site, Vec::new()).contains("listen *:80;");
    assert!(redirects(&site()));
    assert!(!redirects(&Site { http_is_served: true, ..site() }));
}

#[test]
fn a_bare_address_speaks_plain_http_and_sets_no_hsts() {
    let plain = Site {
        name: "92.112.181.127".into(),
        authority: "92.112.181.127".into(),
        port: Port::new(80).unwrap(),
        tls: None,
        origins: vec!["http://92.112.181.127".into()],
        port_is_exclusive: false,
        ..site()
    };
    let text = text_of(&plain, vec![]);
    assert!(text.contains("listen *:80;"), "{text}");
    for absent in ["ssl", "add_header Strict-Transport-Security", "http2", "default_server"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn newer_nginx_gets_its_own_directives() {
    let newer = Site { nginx: NginxVersion { major: 1, minor: 28, patch: 0 }, ..site() };
    let text = text_of(&newer, vec![]);
    assert!(text.contains("http2 on;") && text.contains("keepalive_min_timeout 10s;"), "{text}");
    assert!(!text.contains("ssl http2"), "{text}");
}

#[test]
fn a_configured_value_that_nginx_cannot_quote_is_refused() {
    let odd = Site { name: "a$b".into(), ..site() };
    let routes = agree(&Inputs::default(), &policy());
    let fault = layout(&odd, &routes, |folder: &InRoot| Some(real(folder.as_str()))).unwrap_err();
    assert_eq!(fault.to_string(), "nginx has no way to write '$' in a value: \"a$b\"");
}

#[test]
fn our_file_reads_back_and_a_changed_byte_is_noticed() {
    let text =
        text_of(&site(), vec![session("ab.json", r#"{"vscode_port":40123,"app_ports":[50001]}"#)]);
    let read = served::read(&text).unwrap();
    assert_eq!(read.generation.number, 7);
    assert!(read.intact);
    assert_eq!(read.editors["ab"].get(), 40123);
    assert_eq!(read.apps["ab-0"].get(), 50001);
    let changed = text.replace("40123", "40124");
    assert!(!served::read(&changed).unwrap().intact);
    assert_eq!(Generation::parse(&read.generation.to_string()), Some(read.generation));
    assert!(served::read("server { }").is_err());
}

#[test]
fn the_proof_accepts_data_and_nothing_else() {
    let old = text_of(&site(), vec![]);
    let new = text_of(&site(), vec![session("ab.json", r#"{"vscode_port":40123}"#)]);
    assert_eq!(served::data_only(&old, &new), Ok(()));
    let other = text_of(&Site { upstream: "127.0.0.1:3001".into(), ..site() }, vec![]);
    assert_eq!(served::data_only(&old, &other), Err("more than data lines changed".into()));
    for line in [
        "vscode/ab 40123;default 22;",
        "~.* 22;",
        "vscode/~.* 22;",
        "vscode/ab $http_host;",
        "vscode/ab 022;",
        "vscode/ab 40123 22;",
        "volatile;",
        "include /etc/shadow;",
        "vscode/ab { }",
        "vscode/ab 40123;vscode/AB 40124;",
    ] {
        let hostile = new.replace("vscode/ab 40123;", line);
        assert_ne!(hostile, new);
        assert!(served::data_only(&old, &hostile).is_err(), "{line}");
    }
    let new = text_of(&site(), vec![session("ab.json", EVERYTHING)]);
    assert_eq!(served::data_only(&old, &new), Ok(()));
    for (line, hostile) in [
        ("vscode/ab base-path;", "vscode/ab @oh_open;"),
        ("vscode/ab base-path;", "vscode/ab strip+prefix;"),
        ("vscode/ab base-path;", "base-path vscode/ab;"),
        ("vscode/ab \"ann+x@oh.example\";", "vscode/ab $http_user;"),
        ("vscode/ab \"ann+x@oh.example\";", "vscode/ab \"a b\";"),
        ("vscode/ab /srv/a%20b;", "vscode/ab \"/srv/a b\";"),
    ] {
        let hostile = new.replace(line, hostile);
        assert_ne!(hostile, new, "{line}");
        assert!(served::data_only(&old, &hostile).is_err(), "{line}");
    }
}

proptest! {
    /// Whatever stands in a session directory, what nginx reads of it is lines of one form.
    #[test]
    fn no_session_file_can_write_syntax(
        files in proptest::collection::vec(
            ("[a-z0-9A-Z$~ ;{}/\\-\n.]{0,12}(\\.json)?", prop_oneof![
                (1024_u16..65535).prop_map(|port| format!("{{\"vscode_port\":{port}}}")),
                "\\PC{0,40}",
                ("[a-z@.+$; -]{1,9}", "(strip|base-path|unix|[a-z$;]{0,5})").prop_map(|(owner, how)| {
                    format!(
                        "{{\"vscode_port\":5001,\"app_ports\":[6001],\"toolkit\":{{\"schema\":1,\
                         \"owner\":\"{owner}\",\"upstream\":\"{how}\",\"app_upstream\":\"{how}\"}}}}"
                    )
                }),
                "[ {}\":$;a-z0-9\n]{0,20}".prop_map(|folder| {
                    let folder = serde_json::to_string(&format!("/{folder}")).unwrap();
                    format!("{{\"vscode_port\":5000,\"toolkit\":{{\"schema\":1,\"folder\":{folder}}}}}")
                }),
            ]),
            0..20,
        )
    ) {
        let sessions = files.iter().map(|(name, text)| session(name, text)).collect();
        let text = text_of(&site(), sessions);
        prop_assert_eq!(served::data_only(&text_of(&site(), vec![]), &text), Ok(()));
        prop_assert!(served::read(&text).unwrap().intact);
    }
}
