//! The linter against real nginx, a real code-server and a real python-socketio: its examples, and
//! a sample of the mutants of a healthy site; `full_lint.rs` has all of them.

#[path = "lint/clients.rs"]
mod clients;
#[path = "lint/mutants.rs"]
mod mutants;
#[path = "lint/site.rs"]
mod site;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mutants::{Tally, does_look, is_usable, judge, mutants};
use oh_nginx_conf::lint::{HEALTHY, Setting, rules};
use oh_testsuite::components;
use oh_testsuite::lab::{self, Lab};
use site::Site;

/// What the standard tier looks at: mutants by their names, and which of those that are called so.
/// Each kind of client finds one of them broken, and all of them find three healthy.
const SAMPLE: [(&str, usize); 12] = [
    ("`client_max_body_size 16m;` with \"client_max_body_size 1m\"", 0),
    ("`client_max_body_size 16m;` with \"client_max_body_size 5m\"", 0),
    ("`proxy_read_timeout 1h;` with \"proxy_read_timeout 1s\"", 0),
    ("`proxy_set_header Upgrade $upgrade;` with \"Upgrade ''\"", 0),
    ("`proxy_set_header Forwarded '';` with \"Forwarded $http_forwarded\"", 0),
    ("`ssl_protocols TLSv1.2 TLSv1.3;` with \"TLSv1.3\"", 0),
    ("`auth_basic OpenHands;` with \"auth_basic Other\"", 0),
    ("`location / {` with \"location = / {\"", 0),
    // The map of origins.
    ("without `default 0;`", 0),
    // The editor's.
    ("`if ($refused) { return 403; }` with \"if ($upgrading) { return 403; }\"", 1),
    ("`location ^~ /vscode/code/ {` with \"location = /vscode/code/\"", 0),
    ("without `proxy_hide_header Service-Worker-Allowed;`", 0),
];

/// How many of them are broken, named and healed.
const HEALED: usize = 9;

#[test]
fn a_sample_of_mutants_is_named_and_healed() -> Result<()> {
    let mut site = Site::new()?;
    let healthy = site.healthy.clone();
    let found = site.lint(&healthy)?;
    ensure!(found["findings"].as_array().is_some_and(Vec::is_empty), "{found:#}");
    let seen = site.seen(&healthy, "", None)?;
    is_usable(&seen)?;
    // One terminal shows that they are used; each takes as long as a page.
    site.uses_terminal = false;
    let all = mutants(&healthy, &site.folder);
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for (about, nth) in SAMPLE {
        let mutant = all.iter().filter(|one| one.about == about).nth(nth).context(about)?;
        wrong.extend(judge(&mut site, &seen, mutant, &mut tally)?);
    }
    ensure!(wrong.is_empty(), "{seen:#?}\n{}", wrong.join("\n"));
    ensure!(tally.healed == HEALED && tally.harmless == SAMPLE.len() - HEALED, "{tally:?}");
    does_look(&tally)
}

#[test]
fn nginx_accepts_every_example() -> Result<()> {
    let lab = Lab::with_tls()?;
    let root = lab.root();
    fs::write(lab.at("etc/users"), "")?;
    let changed = |changes: &[(&str, &str)]| {
        changes.iter().fold(HEALTHY.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    for rule in rules().filter(|rule| rule.setting != Setting::NewNginx) {
        for text in [changed(rule.failing), changed(rule.passing)] {
            let text = text
                .replace("worker_processes", &format!("pid {root}/run/nginx.pid;\nerror_log {root}/log/error.log;\nworker_processes"))
                .replace("/etc/ssl/oh/fullchain.pem", &format!("{root}/etc/tls.pem"))
                .replace("/etc/ssl/oh/privkey.pem", &format!("{root}/etc/tls.key"))
                .replace("/etc/nginx/openhands.users", &format!("{root}/etc/users"))
                .replace("/var/cache/nginx", &format!("{root}/run"));
            let text =
                text.replacen("http {\n", &format!("http {{\n{}", lab::temporary_paths(&root)), 1);
            lab.write("etc/nginx/nginx.conf", &text)?;
            let output = Command::new(components::program("nginx")?)
                .args(["-t", "-c"])
                .arg(lab.at("etc/nginx/nginx.conf"))
                .output()
                .context("could not run nginx")?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "{}: {said}", rule.id);
        }
    }
    Ok(())
}
