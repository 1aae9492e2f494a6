//! What a person reads of an older installation before it is taken over.
//!
//! No nginx runs here; `oh-testsuite` takes real ones over and gives them back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the other tests ask more of it")]
mod common;

use std::fs;

use common::Lab;
use insta::assert_snapshot;

const SITE: &str = "etc/nginx/conf.d/openhands.conf";
const GENERATOR: &str = "usr/local/bin/nginx-config-generator.sh";

/// A root with a generator, a caller and a site, and no configuration of ours.
fn old(more: &str) -> Lab {
    let lab = Lab::new();
    fs::remove_file(lab.at("etc/openhands-toolkit/config.toml")).unwrap();
    for below in ["usr", "usr/local", "usr/local/bin", "etc/cron.d", "var", "var/lib"] {
        lab.folder(&format!("root/{below}"));
    }
    lab.write(GENERATOR, "#!/bin/sh\ncat /tmp/openhands-sessions/*.json\n");
    lab.mode(GENERATOR, 0o755);
    lab.write("etc/cron.d/openhands", "* * * * * root nginx-config-generator.sh\n");
    lab.write("tmp/openhands-sessions/3f1c9a.json", "{\"vscode_port\": 8890}\n");
    lab.write(
        SITE,
        &format!(
            "# Auto-generated config for OpenHands\nserver {{\n    listen 127.0.0.1:22080;\n    \
             server_name oh.example;\n    access_log off;\n    location / {{\n        \
             proxy_pass http://localhost:3000;\n    }}\n    location /vscode/3f1c9a/ {{\n        \
             proxy_pass http://localhost:8890/;\n    }}\n    location /vscode/gone/ {{\n        \
             proxy_pass http://localhost:8891/;\n    }}\n{more}}}\n"
        ),
    );
    lab
}

#[test]
fn a_dry_run_says_what_changes_what_goes_and_what_goes_on() {
    let lab = old("");
    let set = ["adopt", "--dry-run", "--set", "nginx.generation_port=22082"];
    assert_snapshot!(lab.run(&set), @r#"
    would take over an older installation as http://oh.example:22080, in 9 steps
       1  keep what 3 names are now in {root}/var/lib/openhands-toolkit/adopted
       2  write {root}/etc/openhands-toolkit/config.toml
       3  make {root}/usr/local/bin/nginx-config-generator.sh a script that calls oh-nginx apply
       4  take {root}/etc/nginx/conf.d/openhands.conf away
       5  stage generation 1-DIGEST
       6  test the whole configuration with `nginx -t`
       7  put generation 1-DIGEST in place
       8  include it from {root}/etc/nginx/conf.d/00-openhands.conf
       9  make a login in {root}/etc/nginx/openhands/users
    {root}/etc/openhands-toolkit/config.toml will say
      [toolkit]
      schema = 1
      [toolkit.site]
      domain = "oh.example"
      port = 22080
      tls = "off"
      upstream = "127.0.0.1:3000"
      [toolkit.nginx]
      listen = ["127.0.0.1"]
      generation_port = 22082
    worth knowing: 2
      {root}/etc/nginx/conf.d/openhands.conf:5: goes: access_log off
      /vscode/gone/: led to port 8891 by {root}/etc/nginx/conf.d/openhands.conf:12; no session or record counts
    visitors will be asked for a login, which they were not; to leave that to the editors:
      --set site.auth=editor
    goes on working, by the script in the place of the generator
      {root}/etc/cron.d/openhands:1
    go on with: oh-nginx adopt --root {root} --set nginx.generation_port=22082
    --- exit 0
    "#);
}

/// The same over TLS, with a server that sends plain HTTP on.
fn old_with_tls() -> Lab {
    let lab = old("");
    lab.write(
        SITE,
        "# Auto-generated config for OpenHands\nserver {\n    listen 80;\n    server_name \
         oh.example;\n    return 301 https://$host$request_uri;\n}\nserver {\n    listen 443 ssl;\n    \
         server_name oh.example;\n    ssl_certificate /etc/tls.pem;\n    ssl_certificate_key \
         /etc/tls.key;\n    location / {\n        proxy_pass http://localhost:3000;\n    }\n}\n",
    );
    lab
}

#[test]
fn a_server_that_sends_on_goes_unless_certbot_needs_it() {
    let lab = old_with_tls();
    // nginx starts relative paths beside its main file; absolute ones have to be below the root.
    let site = fs::read_to_string(lab.at(SITE)).unwrap();
    lab.write(SITE, &site.replace("/etc/tls", &format!("{}/etc/tls", lab.root())));
    let steps = |shown: String| {
        let (_, steps) = shown.split_once("adopted\n").unwrap();
        let (steps, _) = steps.split_once("visitors").unwrap();
        steps.to_owned()
    };
    let set = ["adopt", "--dry-run", "--set", "nginx.generation_port=22082"];
    assert_snapshot!(steps(lab.run(&set)), @r#"
       2  write {root}/etc/openhands-toolkit/config.toml
       3  make {root}/usr/local/bin/nginx-config-generator.sh a script that calls oh-nginx apply
       4  take {root}/etc/nginx/conf.d/openhands.conf away
       5  stage generation 1-DIGEST
       6  test the whole configuration with `nginx -t`
       7  put generation 1-DIGEST in place
       8  include it from {root}/etc/nginx/conf.d/00-openhands.conf
       9  make a login in {root}/etc/nginx/openhands/users
    {root}/etc/openhands-toolkit/config.toml will say
      [toolkit]
      schema = 1
      [toolkit.site]
      domain = "oh.example"
      certificate = "/etc/tls.pem"
      certificate_key = "/etc/tls.key"
      upstream = "127.0.0.1:3000"
      [toolkit.nginx]
      generation_port = 22082
    "#);
    for below in ["letsencrypt", "letsencrypt/renewal"] {
        lab.folder(&format!("root/etc/{below}"));
    }
    lab.write(
        "etc/letsencrypt/renewal/oh.example.conf",
        "[renewalparams]\nauthenticator = nginx\n[[webroot_map]]\noh.example = /var/www\n",
    );
    assert_snapshot!(steps(lab.run(&set)), @r#"
       2  write {root}/etc/openhands-toolkit/config.toml
       3  make {root}/usr/local/bin/nginx-config-generator.sh a script that calls oh-nginx apply
       4  take out of {root}/etc/nginx/conf.d/openhands.conf lines 7-15
       5  stage generation 1-DIGEST
       6  test the whole configuration with `nginx -t`
       7  put generation 1-DIGEST in place
       8  include it from {root}/etc/nginx/conf.d/00-openhands.conf
       9  make a login in {root}/etc/nginx/openhands/users
    {root}/etc/openhands-toolkit/config.toml will say
      [toolkit]
      schema = 1
      [toolkit.site]
      domain = "oh.example"
      certificate = "/etc/tls.pem"
      certificate_key = "/etc/tls.key"
      upstream = "127.0.0.1:3000"
      [toolkit.nginx]
      generation_port = 22082
    worth knowing: 2
      {root}/etc/nginx/conf.d/openhands.conf:2: stays: it redirects, and serves nothing else
      {root}/etc/letsencrypt/renewal/oh.example.conf:2: renews by nginx, which {root}/etc/nginx/conf.d/openhands.conf:2 answers
    "#);
}

#[test]
fn what_would_be_lost_is_refused_with_its_place() {
    let lab = old("    location /files/ {\n        root /srv;\n    }\n    deny 192.0.2.1;\n");
    assert_snapshot!(lab.run(&["adopt"]), @"
    --- stderr
    error: the server of oh.example:22080 serves more than oh-nginx would
      because: {root}/etc/nginx/conf.d/openhands.conf:15: location /files/
               {root}/etc/nginx/conf.d/openhands.conf:18: deny 192.0.2.1
    nothing was changed
    hint: move what is named into a server of its own, with another name or port
    hint: or let it stay: give oh-nginx another name or port, e.g. --set site.port=8443
    --- exit 2
    ");
}

#[test]
fn a_route_written_by_hand_is_kept_by_a_session_file() {
    let lab = old("");
    let text = fs::read_to_string(lab.at(SITE)).unwrap();
    lab.write(SITE, &text.replace("Auto-generated config for", "By hand for"));
    assert_snapshot!(lab.run(&["adopt"]), @r#"
    --- stderr
    error: the server of oh.example:22080 serves more than oh-nginx would
      because: {root}/etc/nginx/conf.d/openhands.conf:12: /vscode/gone/ leads to port 8891; to keep it, write {"vscode_port": 8891} to {root}/tmp/openhands-sessions/gone.json
    nothing was changed
    hint: move what is named into a server of its own, with another name or port
    hint: or let it stay: give oh-nginx another name or port, e.g. --set site.port=8443
    --- exit 2
    "#);
}

#[test]
fn a_plan_needs_a_yes() {
    let lab = old("");
    let said = lab.both(|| lab.command(&["adopt", "--set", "site.auth=editor"]));
    // The plan comes first, for whoever has to decide.
    let (plan, end) = said.stderr.split_once("error: ").unwrap();
    assert!(plan.starts_with("would take over an older installation as http://oh.example:22080"));
    assert_snapshot!(end, @"
    nobody is there to confirm this plan: stdin and stderr are no terminal
    nothing was changed
    hint: look with --dry-run, then confirm with --yes
    ");
    assert_eq!(said.code, 2);
}

#[test]
fn what_only_the_command_line_says_is_not_forgotten() {
    let lab = old("");
    lab.config("[toolkit.site]\ndomain = \"oh.example\"\nport = 22080\ntls = \"off\"\n");
    assert_snapshot!(lab.run(&["adopt", "--set", "site.auth=none"]), @r#"
    --- stderr
    error: {root}/etc/openhands-toolkit/config.toml is there already, and site.auth would be forgotten
    nothing was changed
    hint: write auth = "none" under [toolkit.site] in it
    --- exit 2
    "#);
}

#[test]
fn where_nothing_is_old_there_is_nothing_to_do() {
    let lab = Lab::new();
    assert_snapshot!(lab.run(&["adopt"]), @"
    nothing to adopt: no older generator, no older site, and no server in the way
    --- exit 0
    ");
    assert_snapshot!(lab.run(&["release"]), @"
    nothing to give back: nothing was taken over here
    --- exit 0
    ");
}
