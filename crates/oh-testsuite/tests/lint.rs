//! The linter against real nginx, a real code-server and a real python-socketio: its examples, and
//! a sample of the mutants of a healthy site; `full_lint.rs` has all of them.

#[path = "lint/mutants.rs"]
mod mutants;
#[path = "lint/site.rs"]
mod site;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mutants::{Tally, judge, mutants};
use oh_nginx_conf::lint::{HEALTHY, Setting, rules};
use oh_testsuite::components;
use oh_testsuite::lab::Lab;
use site::Site;

/// How many mutants the standard tier looks at.
const SAMPLE: usize = 24;

#[test]
fn a_sample_of_mutants_is_named_and_healed() -> Result<()> {
    let mut site = Site::new()?;
    let healthy = site.healthy.clone();
    let found = site.lint(&healthy)?;
    ensure!(found["findings"].as_array().is_some_and(Vec::is_empty), "{found:#}");
    let seen = site.seen(&healthy, "")?;
    let all = mutants(&healthy);
    let step = all.len() / SAMPLE;
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    for mutant in all.iter().step_by(step) {
        wrong.extend(judge(&mut site, &seen, mutant, &mut tally)?);
    }
    ensure!(wrong.is_empty(), "{seen:#?}\n{}", wrong.join("\n"));
    ensure!(tally.healed >= 5, "{tally:?}");
    Ok(())
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
            let text = text.replacen("http {\n", &format!("http {{\n{}", temporary(&root)), 1);
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

/// Folders that nginx makes when it tests, below the laboratory.
fn temporary(root: &str) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {root}/run/{kind};\n"))
        .concat()
}
