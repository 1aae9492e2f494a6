//! The rules on texts: every example of the table, our own file, parts of configurations, and
//! hostile texts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use oh_model::path::{InRoot, RealPath};
use oh_model::port::{Port, PortRange, PortSet};
use oh_model::routes::{FoundSession, Inputs, Policy, agree};
use oh_model::upstream::Upstream as Way;
use oh_nginx_conf::inspect::{File, Tree};
use oh_nginx_conf::layout::{Auth, Hosts, Isolation, Site, Tls, layout};
use oh_nginx_conf::lint::{
    Finding, HEALTHY, KeyKind, Known, Rule, Setting, Severity, Upstream, UpstreamKind, explain,
    lint, rules,
};
use oh_nginx_conf::parse::parse;
use oh_nginx_conf::version::NginxVersion;
use proptest::prelude::*;

fn tree(text: &str) -> Tree {
    let file = File {
        path: "/site".into(),
        text: text.into(),
        directives: parse(text).unwrap(),
        includes: Vec::new(),
    };
    Tree { files: vec![file] }
}

fn known(setting: Setting) -> Known {
    let upstream = |kind, asks_login| Upstream { kind, asks_login };
    let patch = if setting == Setting::NewNginx { 4 } else { 1 };
    let minor = if setting == Setting::NewNginx { 27 } else { 22 };
    Known {
        nginx: Some(NginxVersion { major: 1, minor, patch }),
        upstreams: BTreeMap::from([
            ("127.0.0.1:8888".into(), upstream(UpstreamKind::CodeServer, Some(false))),
            ("127.0.0.1:8889".into(), upstream(UpstreamKind::OpenVsCodeBase, None)),
            ("127.0.0.1:8890".into(), upstream(UpstreamKind::OpenVsCode, None)),
        ]),
        certificates: BTreeMap::from([("/etc/ssl/oh/fullchain.pem".into(), KeyKind::Ecdsa)]),
        left_out: match setting {
            Setting::LeftOut => vec!["/etc/nginx/vscode-projects/*.conf".into()],
            _ => Vec::new(),
        },
        ..Known::default()
    }
}

fn changed(changes: &[(&str, &str)], rule: &Rule) -> String {
    changes.iter().fold(HEALTHY.to_owned(), |text, (before, after)| {
        assert_eq!(text.matches(before).count(), 1, "{}: {before:?}", rule.id);
        text.replace(before, after)
    })
}

fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| {
        let sure = if finding.sure { "" } else { " (cannot tell)" };
        format!(
            "{} {} {}{sure}: {}\n",
            finding.rule.id, finding.place, finding.severity, finding.what
        )
    });
    told.collect()
}

fn found(text: &str, known: &Known) -> Vec<Finding> {
    lint(&tree(text), known).unwrap()
}

/// Without nginx, its own rule has no example here.
fn with_examples() -> impl Iterator<Item = &'static Rule> {
    rules().filter(|rule| rule.id != "OH-NGX-001")
}

#[test]
fn a_healthy_configuration_is_silent() {
    assert_eq!(told(&found(HEALTHY, &known(Setting::Usual))), "");
}

#[test]
fn each_failing_example_has_exactly_its_rule_and_each_passing_one_none() {
    let mut wrong = String::new();
    for rule in with_examples() {
        if rule.setting == Setting::LeftOut {
            continue; // What is left out is not in any text.
        }
        let known = known(rule.setting);
        let failing = found(&changed(rule.failing, rule), &known);
        let ids: BTreeSet<&str> = failing.iter().map(|finding| finding.rule.id).collect();
        if ids != BTreeSet::from([rule.id]) {
            wrong += &format!("{} fails as:\n{}", rule.id, told(&failing));
        }
        if failing.iter().any(|finding| finding.severity < rule.severity) {
            wrong += &format!("{} is worse than it says:\n{}", rule.id, told(&failing));
        }
        let passing = found(&changed(rule.passing, rule), &known);
        if !passing.is_empty() {
            wrong += &format!("{} passes as:\n{}", rule.id, told(&passing));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_left_out_is_named() {
    let known = known(Setting::LeftOut);
    assert_eq!(
        told(&found(HEALTHY, &known)),
        "OH-NGX-212 /site:36 error: /etc/nginx/vscode-projects/*.conf is there, and no include brings it in\n"
    );
}

#[test]
fn the_rules_are_in_order_and_have_pages() {
    let ids: Vec<&str> = rules().map(|rule| rule.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for rule in rules() {
        let page = explain(&rule.id.to_ascii_lowercase()).unwrap();
        assert!(page.contains(rule.why) && page.contains(rule.source), "{page}");
    }
    assert_eq!(explain("OH-NGX-999"), None);
}

/// What is found by one rule in one location of a server.
fn in_location(location: &str, rule: &str) -> String {
    let text = format!("server {{\n{location}\n}}\n");
    let findings = found(&text, &known(Setting::Usual));
    told(&findings.into_iter().filter(|one| one.rule.id == rule).collect::<Vec<_>>())
}

#[test]
fn what_a_pattern_captures_is_tried_wherever_it_begins() {
    for head in [
        r"(?<p>\d+)(?<rest>/.*)",
        r"(?<p>\d+)(?<rest>/[^x]*)",
        r"^/(?<p>\d+)(?<rest>/.*)",
        r"^/port/(?<p>\d+)(?<rest>/.*)$",
        r"^/vscode/(?<p>\d+)(?<rest>/.*)",
        r"^/apps/(?<p>\d+)(?<rest>/.*)",
    ] {
        let location = format!("location ~ {head} {{ proxy_pass http://127.0.0.1:$p$rest; }}");
        assert!(in_location(&location, "OH-NGX-512").contains("$rest can hold"), "{head}");
        assert!(in_location(&location, "OH-NGX-510").contains("$p may be 22"), "{head}");
    }
    let clean = r#"location ~ "^/vscode/(?<p>888[0-9])(?<rest>/[^\x00-\x1f\x7f]*)\z" { proxy_pass http://127.0.0.1:$p$rest; }"#;
    assert_eq!(in_location(clean, "OH-NGX-512") + &in_location(clean, "OH-NGX-510"), "");
}

#[test]
fn the_origin_of_a_site_without_a_name_is_not_judged() {
    let about = |name: &str, listen: &str, origin: &str| {
        let text = HEALTHY
            .replace("server_name oh.example", &format!("server_name {name}"))
            .replace("listen 443", listen)
            .replace("\"https://oh.example\"", origin);
        assert!(text.contains(origin), "{text}");
        let findings = found(&text, &known(Setting::Usual));
        told(&findings.into_iter().filter(|one| one.rule.id == "OH-NGX-509").collect::<Vec<_>>())
    };
    assert_eq!(about("_", "listen 443", "\"https://right.example\""), "");
    assert_eq!(about("localhost", "listen 443", "\"https://right.example\""), "");
    assert_eq!(about("localhost", "listen 8444", "\"https://localhost:8444\""), "");
    let wrong = about("localhost", "listen 8444", "\"https://localhost:9999\"");
    assert!(wrong.contains("https://localhost:8444"), "{wrong}");
}

/// Applies all changes of the findings of one text.
fn mended(text: &str, findings: &[Finding]) -> String {
    let mut changes: Vec<_> = findings.iter().flat_map(|finding| &finding.changes).collect();
    changes.sort_by_key(|change| (change.span.start, change.span.end));
    changes.dedup();
    changes.iter().rev().fold(text.to_owned(), |mut text, change| {
        text.replace_range(change.span.clone(), &format!("\n{}\n", change.lines.join("\n")));
        text
    })
}

#[test]
fn the_printed_lines_silence_the_rule() {
    let mut wrong = String::new();
    for rule in with_examples() {
        let known = known(rule.setting);
        let text = if rule.setting == Setting::Usual {
            changed(rule.failing, rule)
        } else {
            HEALTHY.into()
        };
        let first = found(&text, &known);
        if first.iter().all(|finding| finding.changes.is_empty())
            || rule.setting == Setting::LeftOut
        {
            continue;
        }
        let text = mended(&text, &first);
        let after = found(&text, &known);
        let is_silent = after.iter().all(|finding| finding.rule.id != rule.id);
        // A location that is written anew may have to learn the site's other habits.
        let text = mended(&text, &after);
        let last = found(&text, &known);
        if !is_silent || last.iter().any(|finding| finding.severity == Severity::Error) {
            wrong += &format!("{}:\n{}then\n{}{}\n", rule.id, told(&after), told(&last), text);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_pages_of_openhands_need_their_files() {
    let site = open_site("443 ssl", "one.example", 8888);
    let by_name = "location ~* \\.(js|css)$ { root /var/www; }\n    location / {";
    for (from, to, rule) in [
        ("location / {", by_name, "OH-NGX-214"),
        ("location / {", "location = / {", "OH-NGX-207"),
        ("location / { proxy_pass http://127.0.0.1:3000; }", "location / { }", "OH-NGX-211"),
    ] {
        let text = site.replacen(from, to, 1);
        let (said, last) = rounds(&format!("http {{ {text} }}"), &known(Setting::Usual));
        assert!(said.first().unwrap().contains(rule), "{said:?}");
        // Those that are served from a folder may lie there.
        let is_sure = !said.first().unwrap().contains("(cannot tell)");
        assert_eq!(is_sure, rule != "OH-NGX-214", "{said:?}");
        assert!(!said.last().unwrap().contains(rule), "{said:?}\n{last}");
    }
    // A server that serves files at its root means it.
    let text = site
        .replace("location / { proxy_pass http://127.0.0.1:3000; }", "root /srv; location / { }");
    assert!(!told(&found(&text, &known(Setting::Usual))).contains("OH-NGX-211"));
}

#[test]
fn a_second_permission_hurts_only_where_another_origin_is_let_in() {
    let location = "location /socket.io/ {\n";
    let twice = format!("{location}add_header Access-Control-Allow-Origin *;\n");
    let text = HEALTHY.replace(location, &twice);
    let about = |text: &str| {
        let findings = found(text, &known(Setting::Usual));
        told(&findings.into_iter().filter(|one| one.rule.id == "OH-NGX-114").collect::<Vec<_>>())
    };
    assert!(about(&text).contains(" warning: "), "{}", about(&text));
    let own = "\"https://oh.example\" 1;";
    let text = text.replace(own, &format!("{own} \"https://app.example\" 1;"));
    let said = about(&text);
    assert!(said.contains(" error: ") && said.contains("https://app.example"), "{said}");
}

/// What is said when the printed lines are written again and again, and the text at the end.
fn rounds(text: &str, known: &Known) -> (Vec<String>, String) {
    let (mut text, mut said) = (text.to_owned(), Vec::new());
    for _ in 0..ROUNDS_MAX {
        let findings = found(&text, known);
        said.push(told(&findings));
        if findings.iter().all(|finding| finding.changes.is_empty()) {
            break;
        }
        text = mended(&text, &findings);
    }
    (said, text)
}

/// How often lines are written before they are said to go in circles.
const ROUNDS_MAX: usize = 6;

/// One address of a site, with OpenHands and an editor that let everybody in.
fn open_site(listen: &str, name: &str, port: u16) -> String {
    format!(
        "server {{
    listen {listen};
    server_name {name};
    client_max_body_size 5m;
    auth_basic OpenHands;
    auth_basic_user_file /users;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
    location / {{ proxy_pass http://127.0.0.1:3000; }}
    location /socket.io/ {{ proxy_pass http://127.0.0.1:3000; }}
    location /vscode/{port}/ {{ proxy_pass http://127.0.0.1:{port}/; }}
}}
"
    )
}

#[test]
fn the_lines_for_several_addresses_do_not_undo_each_other() {
    let sites = [
        open_site("443 ssl", "one.example", 8888),
        open_site("8443 ssl", "one.example", 8889),
        open_site("443 ssl", "two.example", 8890),
        open_site("8444 ssl", "three.example", 8891),
    ];
    let text = format!("events {{ }}\nhttp {{\n{}}}\n", sites.concat());
    let (said, last) = rounds(&text, &known(Setting::Usual));
    assert!(said.len() < ROUNDS_MAX, "{}\n{last}", said.join("then\n"));
    let later = said.iter().skip(1).any(|said| said.contains("OH-NGX-50"));
    assert!(!later, "{}\n{last}", said.join("then\n"));
}

#[test]
fn one_map_of_several_addresses_gets_all_of_them() {
    let guarded = |listen: &str, name: &str, port| {
        open_site(listen, name, port)
            .replace("{ proxy_pass", "{ if ($ok = 0) { return 403; } proxy_pass")
    };
    let map = "map $http_origin $ok { default 0; '' 1; \"https://one.example\" 1; }\n";
    let sites = [guarded("443 ssl", "one.example", 8888), guarded("443 ssl", "two.example", 8889)];
    let text = format!("events {{ }}\nhttp {{\n{map}{}}}\n", sites.concat());
    let (said, last) = rounds(&text, &known(Setting::Usual));
    assert!(said.first().unwrap().contains("OH-NGX-509"), "{said:?}");
    assert!(said.len() < ROUNDS_MAX, "{}\n{last}", said.join("then\n"));
    assert!(last.contains("\"https://one.example\" 1;"), "{last}");
}

#[test]
fn two_editors_with_a_redirect_keep_one_each() {
    let redirects = |name: &str, port: u16| {
        open_site("443 ssl", name, port).replace(
            &format!("/vscode/{port}/ {{"),
            &format!("/vscode/{port}/ {{ if ($arg_folder = '') {{ return 302 /vscode/{port}/?folder=/srv; }}"),
        )
    };
    let sites = [redirects("one.example", 8888), redirects("two.example", 8890)];
    let text = format!("events {{ }}\nhttp {{\n{}}}\n", sites.concat());
    let (said, last) = rounds(&text, &known(Setting::Usual));
    assert!(said.first().unwrap().contains("OH-NGX-206"), "{said:?}");
    let maps: BTreeSet<&str> =
        last.lines().filter(|line| line.contains("$is_args$uri")).map(str::trim).collect();
    assert_eq!(maps.len(), 2, "{last}");
}

#[test]
fn a_rewrite_that_leaves_the_location_is_named_and_mended() {
    for flag in ["", " last"] {
        let location = format!(
            "location /vscode/d/ {{ rewrite ^/vscode/d/(.*) /$1{flag}; proxy_pass http://127.0.0.1:8888; }}"
        );
        let text = open_site("443 ssl", "one.example", 8889)
            .replace("location /vscode/8889/ { proxy_pass http://127.0.0.1:8889/; }", &location);
        let findings = found(&text, &known(Setting::Usual));
        let said = told(&findings);
        assert!(said.contains("OH-NGX-217 /site:13 error: "), "{said}");
        let (said, last) = rounds(&text, &known(Setting::Usual));
        assert!(!said.last().unwrap().contains("OH-NGX-217"), "{said:?}");
        assert!(last.contains("rewrite ^/vscode/d/(.*) /$1 break;"), "{last}");
    }
    // What comes out at the same editor is another way to write it.
    let text = open_site("443 ssl", "one.example", 8888).replace(
        "location / {",
        "location /vscode/d/ { rewrite ^/vscode/d/(.*) /vscode/8888/$1; proxy_pass http://127.0.0.1:8888/; }\n    location / {",
    );
    let said = told(&found(&text, &known(Setting::Usual)));
    assert!(!said.contains("OH-NGX-217"), "{said}");
}

#[test]
fn a_query_is_missed_behind_a_pattern_of_ones_own() {
    for (head, passed) in [
        ("^/vscode/e/([a-z/.]*)$", "$1"),
        ("^/vscode/e/(?<rest>[^\\x00-\\x1f]*)\\z", "$rest"),
        ("^/(?:tools/)?editor/([a-z/._-]*)$", "$1"),
    ] {
        let location =
            format!("location ~ {head} {{ proxy_pass http://127.0.0.1:8888/{passed}; }}");
        let said = in_location(&location, "OH-NGX-205");
        assert!(said.contains("drops the query"), "{head}: {said}");
        let location = location.replace(&format!("{passed};"), &format!("{passed}$is_args$args;"));
        assert_eq!(in_location(&location, "OH-NGX-205"), "", "{head}");
    }
}

#[test]
fn a_changed_path_of_socket_io_is_found_where_only_pages_with_an_origin_are_let_in() {
    let block = "        location /socket.io/ {\n            if ($origin_ok = 0) { return 403; }\n            proxy_pass http://openhands;\n";
    let text = HEALTHY.replace(
        block,
        "        location /socket.io/ {\n            if ($http_origin !~ ^https://oh) { return 403; }\n            proxy_pass http://openhands/;\n",
    );
    let said = told(&found(&text, &known(Setting::Usual)));
    assert!(said.contains("OH-NGX-204"), "{said}");
}

#[test]
fn socket_io_below_a_path_may_be_stripped_to_its_own_path_and_no_further() {
    let text = |target: &str| {
        HEALTHY.replace(
            "        location ^~ /vscode/ {\n",
            &format!(
                "        location /oh/socket.io/ {{\n            proxy_pass http://openhands{target};\n        }}\n        location ^~ /vscode/ {{\n"
            ),
        )
    };
    for (target, expected) in [
        ("", None),
        ("/socket.io/", None),
        ("/", Some("proxy_pass http://openhands/socket.io/;")),
        ("/x/", Some("proxy_pass http://openhands/socket.io/;")),
    ] {
        let findings = found(&text(target), &known(Setting::Usual));
        let finding = findings.iter().find(|finding| finding.rule.id == "OH-NGX-204");
        let lines = finding.map(|finding| finding.changes[0].lines.join("\n"));
        assert_eq!(lines.as_deref(), expected, "{target}: {}", told(&findings));
    }
}

#[test]
fn files_in_the_location_of_socket_io_are_named_and_mended() {
    let text = "http { upstream openhands { server 127.0.0.1:3000; } server { listen 8080; server_name oh.example;\n\
                location = /index.html { root /srv; }\nlocation / { proxy_pass http://openhands; }\n\
                location /socket.io/ { root /srv; try_files $uri /index.html; proxy_set_header Host $http_host; } } }";
    let mut findings = found(text, &known(Setting::Usual));
    findings.retain(|finding| finding.rule.id == "OH-NGX-215");
    let mended = mended(text, &findings);
    assert!(findings.len() == 1 && !mended.contains("try_files"), "{mended}");
    assert!(!told(&found(&mended, &known(Setting::Usual))).contains("OH-NGX-215"), "{mended}");
}

#[test]
fn a_rule_is_found_by_its_number_alone() {
    let page = explain("OH-NGX-101");
    assert!(page.is_some());
    for short in ["101", "NGX-101", "ngx-101", "oh-ngx-101"] {
        assert_eq!(explain(short), page, "{short}");
    }
    assert_eq!(explain("1"), explain("OH-NGX-001"));
    for none in ["", "-", "10", "NGX", "OH-NGX-", "1011", "-101", "+101", "X-101"] {
        assert_eq!(explain(none), None, "{none}");
    }
}

#[test]
fn a_configuration_that_would_take_hours_is_refused() {
    let many = |line: &str, count: usize| -> String {
        let lines = (0..count).map(|number| line.replace('N', &number.to_string()));
        format!("server {{\n{}}}", lines.collect::<String>())
    };
    let patterns = many(
        "location ~ \"^/vscode/N/(a{1,100}){1,100}\" { proxy_pass http://127.0.0.1:8888; }\n",
        3_000,
    );
    let pairs = many("location ~ ^/vscode/N/ { proxy_pass http://127.0.0.1:8888; }\n", 1_100);
    for text in [patterns, pairs] {
        let fault = lint(&tree(&text), &Known::default()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the configuration has more directives, levels, locations or patterns than are judged"
        );
    }
}

#[test]
fn requests_are_not_led_in_circles() {
    let text = "server { rewrite ^ /a last; location /vscode/a/ { rewrite ^ /vscode/a/ last; \
                proxy_pass http://127.0.0.1:8888; } }\nmap $a $b { default $b; }\nmap $b $a { default $a$b; }\n\
                server { location /vscode/b/ { if ($a) { return 403; } proxy_pass http://127.0.0.1:8888/; } }";
    assert!(lint(&tree(text), &Known::default()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_text_makes_the_rules_panic(cut in 0_usize..200, line in "[a-z$~^(){}|*+.;\"'/ 0-9\\\\]{0,60}") {
        let mut lines: Vec<&str> = HEALTHY.lines().collect();
        let at = cut % lines.len();
        lines[at] = &line;
        let text = lines.join("\n");
        if let Ok(directives) = parse(&text) {
            let file = File { path: "/x".into(), text, directives, includes: Vec::new() };
            drop(lint(&Tree { files: vec![file] }, &Known::default()));
        }
    }
}

fn real(path: &str) -> RealPath {
    RealPath::parse(path).unwrap()
}

fn sites() -> Vec<Site> {
    let tls =
        || Some(Tls { certificate: real("/tls/fullchain.pem"), key: real("/tls/privkey.pem") });
    let mut out = Vec::new();
    for (port, tls) in [(443, tls()), (8444, tls()), (80, None), (8080, None)] {
        for name in ["oh.example", "192.0.2.9", "localhost"] {
            for auth in [
                Auth::Basic { users: real("/etc/nginx/openhands/users") },
                Auth::Request { endpoint: "http://127.0.0.1:4180/oauth2/auth".into(), pages: None },
                Auth::Editor,
                Auth::Nobody,
            ] {
                for (minor, patch) in [(22, 1), (28, 0)] {
                    let scheme = if tls.is_some() { "https" } else { "http" };
                    let is_usual = port == 443 || port == 80;
                    let authority = if is_usual { name.into() } else { format!("{name}:{port}") };
                    out.push(Site {
                        name: name.into(),
                        origins: vec![format!("{scheme}://{authority}")],
                        authority,
                        port: Port::new(port).unwrap(),
                        tls: tls.clone(),
                        listen: vec!["*".into(), "[::]".into()],
                        upstream: "127.0.0.1:3000".into(),
                        auth: auth.clone(),
                        generation_port: Port::new(9180).unwrap(),
                        nginx: NginxVersion { major: 1, minor, patch },
                        isolation: Isolation::Path,
                        sockets: None,
                        set_map_bucket: true,
                        set_map_max_size: true,
                        http_is_served: false,
                        port_is_exclusive: true,
                    });
                }
            }
        }
    }
    out
}

/// The same site with ports and with sockets, and in every isolation.
fn isolated(site: Site) -> Vec<Site> {
    let hosts = Hosts { base: "s.example".into(), tls: site.tls.clone() };
    let mut out = Vec::new();
    for isolation in [Isolation::Path, Isolation::Sandbox, Isolation::Hosts(hosts)] {
        for sockets in [None, Some(real("/run/openhands-sessions"))] {
            out.push(Site { isolation: isolation.clone(), sockets, ..site.clone() });
        }
    }
    out
}

#[test]
fn our_own_file_is_clean_in_every_mode() {
    let all = PortRange::parse("1024-65535").unwrap();
    let policy = Policy {
        editor_ports: PortSet(vec![all]),
        app_ports: PortSet(vec![all]),
        repository_ports: all,
        reserved: BTreeMap::new(),
        id_bytes_max: 64,
        sockets: true,
        hosts: false,
        site_label: None,
        session_upstream: Way::default(),
        repository_upstream: Way::default(),
    };
    let text =
        r#"{"vscode_port":40123,"app_ports":[50001],"toolkit":{"schema":1,"folder":"/srv"}}"#;
    let sessions = vec![FoundSession {
        name: "4f1c.json".into(),
        modified_ns: 0,
        owner: 0,
        file: oh_model::routes::FileNumber::default(),
        text: Ok(text.into()),
    }];
    let routes = agree(&Inputs { sessions, ..Inputs::default() }, &policy);
    for site in sites().into_iter().flat_map(isolated) {
        let own = layout(&site, &routes, |folder: &InRoot| Some(real(folder.as_str())))
            .unwrap()
            .text(7)
            .reveal()
            .to_owned();
        let text = format!("events {{ }}\nhttp {{\n{own}}}\n");
        let known = Known { nginx: Some(site.nginx), ..Known::default() };
        let allowed: &[&str] = match (&site.auth, &site.tls) {
            // What the operator chose is said, as it should be.
            (Auth::Editor | Auth::Nobody, Some(_)) => &["OH-NGX-501"],
            (Auth::Editor | Auth::Nobody, None) => &["OH-NGX-501", "OH-NGX-405"],
            (_, None) => &["OH-NGX-405"],
            _ => &[],
        };
        let found = found(&text, &known);
        // The locations are recognised, otherwise silence would say nothing; but for hosts of their
        // own, which are patterns of names.
        let asks_nobody = found.iter().any(|finding| finding.rule.id == "OH-NGX-501");
        if !matches!(site.isolation, Isolation::Hosts(_)) {
            let expected = matches!(site.auth, Auth::Editor | Auth::Nobody);
            assert_eq!(asks_nobody, expected, "{site:?}");
        }
        let other: Vec<Finding> =
            found.into_iter().filter(|finding| !allowed.contains(&finding.rule.id)).collect();
        assert!(other.is_empty(), "{site:?}\n{}{text}", told(&other));
    }
}
