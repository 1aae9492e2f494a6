//! The units that are printed: systemd understands them, and what they close stays closed.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::Lab;
use oh_testsuite::stranger::STRANGER;
use oh_testsuite::watching::BOUND;
use oh_testsuite::{components, net, wait};

use super::run;

/// The exposure that `systemd-analyze security` may find, of 10.
const EXPOSURE_MAX: f64 = 5.0;

#[test]
fn systemd_understands_the_units() -> Result<()> {
    let lab = Lab::plain()?;
    let mut files = Vec::new();
    for (unit, name) in [
        ("service", "oh-nginx-watch.service"),
        ("once", "oh-nginx-once.service"),
        ("timer", "oh-nginx-once.timer"),
        ("path", "oh-nginx-once.path"),
    ] {
        let said = lab.run(&["watch", "--print-unit", unit])?.expect(0)?;
        lab.write(name, &said.stdout)?;
        files.push(lab.at(name).to_string_lossy().into_owned());
    }
    let mut arguments = vec!["verify", "--man=no", "--generators=no"];
    arguments.extend(files.iter().map(String::as_str));
    let (good, said) = run("systemd-analyze", &arguments)?;
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("oh-nginx")).collect();
    ensure!(good && about_ours.is_empty(), "{said}");
    let service = fs::read_to_string(&files[0])?;
    ensure!(service.contains(&format!("--root {} watch", lab.root())), "{service}");
    ensure!(service.contains("\nRestartPreventExitStatus=2 78\n"), "{service}");
    Ok(())
}

#[test]
fn a_configuration_that_cannot_work_has_no_unit_and_no_watch() -> Result<()> {
    let lab = Lab::plain()?;
    let config = lab.at("etc/openhands-toolkit/config.toml");
    let text = fs::read_to_string(&config)?;
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("domain")).collect();
    lab.write("etc/openhands-toolkit/config.toml", &without.join("\n"))?;
    for unit in ["service", "once", "timer", "path"] {
        let said = lab.run(&["watch", "--print-unit", unit])?.expect(78)?;
        ensure!(said.stdout.is_empty() && said.stderr.contains("site.domain"), "{said:?}");
    }
    let said = lab.run(&["watch"])?.expect(78)?;
    ensure!(said.stderr.contains("site.domain"), "{said:?}");
    Ok(())
}

#[test]
fn the_capabilities_of_the_service_suffice() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let unit = lab.run(&["watch", "--print-unit", "once"])?.expect(0)?.stdout;
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let allowed = line.context("the unit bounds no capabilities")?.to_lowercase();
    let allowed = allowed.split_whitespace().map(|one| one.replace("cap_", "+"));
    let bounds = format!("-all,{}", allowed.collect::<Vec<_>>().join(","));
    // A change of structure, so that nginx judges it, and a session of another user that is over.
    let session = lab.at("tmp/openhands-sessions/dead.json");
    lab.session("dead", &format!("{{\"vscode_port\":{}}}", net::free_port()?))?;
    chown(&session, Some(STRANGER), Some(STRANGER))?;
    let folder = lab.at("tmp/openhands-sessions");
    chown(&folder, Some(STRANGER), Some(STRANGER))?;
    let program = components::built("oh-nginx")?;
    let owners = format!("sessions.owners=[\"root\",\"{STRANGER}\"]");
    let look = || -> Result<String> {
        let output = Command::new(components::program("setpriv")?)
            .args(["--no-new-privs", "--bounding-set", &bounds, "--inh-caps", "-all"])
            .arg(&program)
            .args(["--root", &lab.root(), "--set", &owners])
            .args(["--set", "sessions.retire_after_s=1", "watch", "--once"])
            .output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{said}");
        Ok(said)
    };
    ensure!(look()?.contains("test the whole configuration"), "nginx judged nothing");
    wait::until("the retirement", BOUND, || {
        Ok(look()?.contains("retired dead.json").then_some(()))
    })?;
    Ok(())
}

#[test]
fn the_service_may_do_little() -> Result<()> {
    let lab = Lab::plain()?;
    let said = lab.run(&["watch", "--print-unit", "service"])?.expect(0)?;
    lab.write("oh-nginx-watch.service", &said.stdout)?;
    let unit = lab.at("oh-nginx-watch.service");
    let (_, said) = run(
        "systemd-analyze",
        &["security", "--offline=yes", "--no-pager", &unit.to_string_lossy()],
    )?;
    let line =
        said.lines().find(|line| line.contains("Overall exposure level")).context(said.clone())?;
    let words = line.split_whitespace();
    let level =
        words.filter_map(|word| word.parse::<f64>().ok()).next().context(line.to_owned())?;
    ensure!(level <= EXPOSURE_MAX, "{said}");
    Ok(())
}
