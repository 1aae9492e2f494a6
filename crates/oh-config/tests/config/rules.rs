//! Rules about several keys: each fault shows all its places.

use insta::assert_snapshot;

use super::{blamed, read};

/// Loads keys written as `site.port = 1` below `[toolkit]`.
fn judged(keys: &str) -> String {
    blamed(&format!("[toolkit]\n{keys}"))
}

fn sound(keys: &str) {
    let loaded = read(&format!("[toolkit]\n{keys}"));
    assert!(loaded.is_ok(), "{keys}\n{}", loaded.unwrap_err());
}

#[test]
fn ranges_do_not_overlap() {
    assert_snapshot!(judged("sessions.app_ports = ['8081-8099', '9000', '8099-8100']"), @r#"
    config.toml:2:44: toolkit.sessions.app_ports[2]: 8099-8100 overlaps 8081-8099
      also: config.toml:2:23: toolkit.sessions.app_ports[0] = "8081-8099"
      hint: name each port once
    "#);
    sound("sessions.app_ports = ['8081-8099', '8100']");
}

#[test]
fn instances_do_not_get_the_ports_of_others() {
    assert_snapshot!(judged("instances.ports = '9100-9200'"), @r#"
    config.toml:2:19: toolkit.instances.ports: 9100-9200 has 9180 in it, which is taken
      also: default: toolkit.nginx.generation_port = 9180
      hint: keep editor instances clear of it
    "#);
    assert_snapshot!(judged("instances.ports = '8888-8899'\nsite.port = 8890"), @r#"
    config.toml:3:13: toolkit.site.port: 8890 is one of the ports of editor instances, 8888-8899
      also: config.toml:2:19: toolkit.instances.ports = "8888-8899"
      hint: keep editor instances clear of it
    "#);
    assert_snapshot!(judged("site.upstream = '[::1]:8899'"), @r#"
    config.toml:2:17: toolkit.site.upstream: 8899 is one of the ports of editor instances, 8888-8899
      also: default: toolkit.instances.ports = "8888-8899"
      hint: keep editor instances clear of it
    "#);
    sound("site.upstream = '192.0.2.7:8899'");
}

#[test]
fn instances_get_a_sensible_number_of_ports() {
    assert_snapshot!(judged("instances.ports = '888-8899'"), @r#"
    config.toml:2:19: toolkit.instances.ports: begins at 888, but below 1024 only root may listen
      hint: ports = "8888-8899"
    "#);
    assert_snapshot!(judged("instances.ports = '10000-20000'"), @r#"
    config.toml:2:19: toolkit.instances.ports: has 10001 ports, at most 1000 are allowed
      hint: ports = "10000-10999"
    "#);
    sound("instances.ports = '10000-10999'");
    sound("instances.ports = '65535'");
}

#[test]
fn the_generation_port_is_its_own() {
    assert_snapshot!(judged("nginx.generation_port = 443"), @"
    config.toml:2:25: toolkit.nginx.generation_port: 443 is the port of toolkit.site.port too
      also: default: toolkit.site.port is 443 with TLS, 80 without
      hint: give nginx.generation_port a port of its own
    ");
    assert_snapshot!(judged("nginx.generation_port = 3000"), @r#"
    config.toml:2:25: toolkit.nginx.generation_port: 3000 is the port of toolkit.site.upstream too
      also: default: toolkit.site.upstream = "127.0.0.1:3000"
      hint: give nginx.generation_port a port of its own
    "#);
    sound("nginx.generation_port = 80");
}

#[test]
fn nginx_does_not_ask_itself() {
    assert_snapshot!(judged("site.upstream = '127.0.0.1:8443'\nsite.port = 8443"), @r#"
    config.toml:3:13: toolkit.site.port: nginx would pass requests to itself at 127.0.0.1:8443
      also: config.toml:2:17: toolkit.site.upstream = "127.0.0.1:8443"
      hint: site.upstream is where OpenHands or its login listens, site.port is where nginx does
    "#);
    assert_snapshot!(judged("site.auth = 'request'\nsite.auth_request = 'http://127.0.0.1:443/'"), @"
    config.toml:3:21: toolkit.site.auth_request: nginx would pass requests to itself at 127.0.0.1:443
      also: default: toolkit.site.port is 443 with TLS, 80 without
      hint: site.auth_request is where OpenHands or its login listens, site.port is where nginx does
    ");
    sound("site.upstream = '192.0.2.7:443'");
    sound("site.upstream = '127.0.0.1:443'\nnginx.listen = ['192.0.2.7']");
    sound("site.upstream = '[::1]:443'");
    assert!(judged("site.upstream = '[::1]:443'\nnginx.listen = ['*', '[::]']").contains("itself"));
    assert!(
        judged("site.upstream = '192.0.2.7:443'\nnginx.listen = ['192.0.2.7']").contains("itself")
    );
}

#[test]
fn a_login_endpoint_and_its_use_come_together() {
    assert_snapshot!(judged("site.auth = 'request'"), @r#"
    config.toml:2:13: toolkit.site.auth: "request" needs site.auth_request, which is not set
      hint: auth_request = "http://127.0.0.1:4180/oauth2/auth"
    "#);
    assert_snapshot!(judged("site.auth_request = 'http://127.0.0.1:4180'\nsite.auth = 'editor'"), @r#"
    config.toml:2:21: toolkit.site.auth_request: is asked only when site.auth is "request", and that is "editor"
      also: config.toml:3:13: toolkit.site.auth = "editor"
      hint: auth = "request"
    "#);
    sound("site.auth = 'request'\nsite.auth_request = 'http://127.0.0.1:4180'");
    sound("site.auth = 'none'");
}

#[test]
fn only_the_logins_own_folder_is_open_to_everybody() {
    let with = |start: &str| {
        format!(
            "site.auth = 'request'\nsite.auth_request = 'http://127.0.0.1:4180'\n\
             site.auth_start = '{start}'"
        )
    };
    sound(&with("/oauth2/start"));
    assert_snapshot!(judged("site.auth_start = '/oauth2/start'"), @r#"
    config.toml:2:19: toolkit.site.auth_start: belongs to site.auth_request
      also: default: toolkit.site.auth_request is not set
      hint: auth_request = "http://127.0.0.1:4180/oauth2/auth"
    "#);
    for (start, said) in [
        ("/start", "needs a folder of its own"),
        ("/vscode/start", "served otherwise"),
        ("/socket.io/x", "served otherwise"),
        ("/a b/c", "no plain part"),
        ("/a$b/c", "no plain part"),
    ] {
        let judged = judged(&with(start));
        assert!(judged.contains(said), "{judged}");
    }
}

#[test]
fn a_port_that_contradicts_the_scheme_is_odd() {
    let warned = |keys: &str| {
        let loaded = read(&format!("[toolkit]\n{keys}")).unwrap();
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(warned("site.tls = 'off'\nsite.port = 443"), @r#"
    config.toml:3:13: toolkit.site.port: TLS is off, but 443 is where browsers expect a site with TLS
      also: config.toml:2:12: toolkit.site.tls = "off"
    "#);
    assert_snapshot!(warned("site.port = 80\nsite.domain = 'oh.example'"), @r#"
    config.toml:2:13: toolkit.site.port: TLS is on, but 80 is where browsers expect a site without TLS
      also: default: toolkit.site.tls = "auto"
    "#);
    assert_eq!(warned("site.domain = '10.0.0.1'\nsite.port = 80"), "");
    assert_eq!(warned("site.domain = '10.0.0.1'\nsite.tls = 'on'"), "");
}

#[test]
fn different_files_are_different() {
    assert_snapshot!(judged("nginx.legacy_site = '/etc/nginx/nginx.conf'"), @r#"
    config.toml:2:21: toolkit.nginx.legacy_site: /etc/nginx/nginx.conf is toolkit.nginx.config too
      also: default: toolkit.nginx.config = "/etc/nginx/nginx.conf"
      hint: give each its own file
    "#);
    assert_snapshot!(judged("sessions.workspace = '/srv/{id}'\ninstances.repository = '/srv/{repo}'"), @r#"
    config.toml:3:24: toolkit.instances.repository: workspaces of sessions and repositories would share /srv
      also: config.toml:2:22: toolkit.sessions.workspace = "/srv/{id}"
      hint: cleaning up sessions would touch repositories
    "#);
    sound("site.certificate = '/etc/one.pem'\nsite.certificate_key = '/etc/one.pem'");
}

#[test]
fn the_generated_folder_is_nobody_elses() {
    assert_snapshot!(judged("nginx.hook = '/etc/nginx/openhands/hook.conf'"), @r#"
    config.toml:2:14: toolkit.nginx.hook: /etc/nginx/openhands/hook.conf is in /etc/nginx/openhands, the folder of generated files
      also: default: toolkit.nginx.directory = "/etc/nginx/openhands"
      hint: nginx.directory has to be a folder of its own
    "#);
    assert_snapshot!(judged("nginx.directory = '/etc/nginx/vscode-projects'"), @r#"
    config.toml:2:19: toolkit.nginx.directory: /etc/nginx/vscode-projects is in /etc/nginx/vscode-projects, the folder of generated files
      also: default: toolkit.nginx.legacy_repositories = "/etc/nginx/vscode-projects/{repo}.conf"
      hint: nginx.directory has to be a folder of its own
    "#);
    assert_snapshot!(judged("nginx.directory = '/tmp/openhands-sessions/nginx'"), @r#"
    config.toml:2:19: toolkit.nginx.directory: /tmp/openhands-sessions/nginx is in /tmp/openhands-sessions, where sessions write
      also: default: toolkit.sessions.directory = "/tmp/openhands-sessions"
      hint: keep it where only root writes
    "#);
    sound("nginx.directory = '/etc/nginx/openhands2'\nnginx.hook = '/etc/nginx/openhands2.conf'");
}

#[test]
fn a_sandbox_needs_tls_and_gets_no_login() {
    let told = |more: &str| judged(&format!("site.isolation = 'sandbox'\n{more}"));
    assert_snapshot!(told("site.domain = '10.0.0.1'"), @r#"
    config.toml:2:18: toolkit.site.isolation: a sandbox needs TLS
      also: default: toolkit.site.tls = "auto"
      hint: tls = "on", or isolation = "path"
    "#);
    let loaded = read("[toolkit]\nsite.isolation = 'sandbox'").unwrap();
    assert!(loaded.warnings[0].to_string().contains("no login from a sandbox"));
    assert!(
        read("[toolkit]\nsite.isolation = 'sandbox'\nsite.auth = 'none'")
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn hosts_of_sessions_need_a_name_and_a_whole_certificate() {
    let site = |more: &str| read(&format!("[toolkit.site]\n{more}\n"));
    let told = |more: &str| site(more).unwrap_err().to_string();
    assert!(site("domain = 'oh.example'\nisolation = 'subdomain'").is_ok());
    assert!(
        site("domain = '10.0.0.1'\nisolation = 'subdomain'\nsessions_domain = 's.example'").is_ok()
    );
    assert_snapshot!(told("domain = '10.0.0.1'\nisolation = 'subdomain'"), @r#"
    config.toml:3:13: toolkit.site.isolation: 10.0.0.1 is an address and has no hosts below it
      also: config.toml:2:10: toolkit.site.domain = "10.0.0.1"
      hint: sessions_domain = "sessions.example"
    "#);
    assert_snapshot!(told("isolation = 'subdomain'\nsessions_certificate = '/a.pem'"), @"
    config.toml:3:24: toolkit.site.sessions_certificate: a certificate and its key come together
      hint: set site.sessions_certificate and site.sessions_certificate_key
    ");
    assert_snapshot!(told("sessions_domain = 's.example'"), @r#"
    config.toml:2:19: toolkit.site.sessions_domain: site.sessions_domain is for hosts of sessions
      also: default: toolkit.site.isolation = "path"
      hint: isolation = "subdomain"
    "#);
}
