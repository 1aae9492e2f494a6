//! What `oh-instances` writes for systemd and for OpenHands, read by the programs that read it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said};

/// The exposure that `systemd-analyze security` may find, of 10.
const EXPOSURE_MAX: f64 = 5.0;

/// systemd's own reader of files of variables, as a program.
const GENERATOR: &str =
    "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";

fn instances(lab: &Lab, arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new(components::built("oh-instances")?);
    command.env_clear().current_dir("/").arg("--root").arg(lab.root()).args(arguments);
    Ok(command.output().context("could not run oh-instances")?.into())
}

/// Runs a program; says whether it succeeded, and all that it said.
fn run(program: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(components::program(program)?).args(arguments).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.success(), said))
}

#[test]
fn systemd_understands_the_units() -> Result<()> {
    let lab = Lab::plain()?;
    for supervision in ["systemd", "process"] {
        let set = format!("instances.supervision={supervision}");
        let mut files = Vec::new();
        for (unit, name) in [
            ("boot", "oh-instances-boot.service"),
            ("service", "oh-instances-reconcile.service"),
            ("timer", "oh-instances-reconcile.timer"),
        ] {
            let said = instances(&lab, &["print-unit", unit, "--set", &set])?.expect(0)?;
            lab.write(name, &said.stdout)?;
            files.push(lab.at(name).to_string_lossy().into_owned());
        }
        let mut arguments = vec!["verify", "--man=no", "--generators=no"];
        arguments.extend(files.iter().map(String::as_str));
        let (good, said) = run("systemd-analyze", &arguments)?;
        let about_ours: Vec<&str> =
            said.lines().filter(|line| line.contains("oh-instances")).collect();
        ensure!(good && about_ours.is_empty(), "{said}");
        let boot = fs::read_to_string(&files[0])?;
        let line = format!("--root {} --set {set} reconcile --start\n", lab.root());
        ensure!(boot.contains(&line) && boot.contains("After=network.target"), "{boot}");
        let service = fs::read_to_string(&files[1])?;
        ensure!(service.contains(&line), "{service}");
        // What is started by a service with walls would be behind them.
        let has_walls = service.contains("\nProtectSystem=strict\n");
        let leaves_alone = service.contains("\nKillMode=process\n");
        let expected = supervision == "systemd";
        ensure!((has_walls, leaves_alone) == (expected, !expected), "{service}");
    }
    Ok(())
}

#[test]
fn the_services_may_do_little() -> Result<()> {
    let lab = Lab::plain()?;
    for unit in ["boot", "service"] {
        let set = "instances.supervision=systemd";
        let said = instances(&lab, &["print-unit", unit, "--set", set])?.expect(0)?;
        lab.write("oh-instances-test.service", &said.stdout)?;
        let file = lab.at("oh-instances-test.service");
        let arguments = ["security", "--offline=yes", "--no-pager", &file.to_string_lossy()];
        let (_, said) = run("systemd-analyze", &arguments)?;
        let line = said.lines().find(|line| line.contains("Overall exposure level"));
        let words = line.context(said.clone())?.split_whitespace();
        let level = words.filter_map(|word| word.parse::<f64>().ok()).next();
        ensure!(level.context(said.clone())? <= EXPOSURE_MAX, "{said}");
    }
    Ok(())
}

#[test]
fn the_folder_of_session_files_is_made_at_boot() -> Result<()> {
    let lab = Lab::plain()?;
    let said = instances(&lab, &["print-unit", "tmpfiles"])?.expect(0)?;
    let folder = lab.at("tmp/openhands-sessions");
    ensure!(said.stdout == format!("d {} 0755 root root -\n", folder.display()), "{said:?}");
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir(&folder)?;
    }
    lab.write("openhands.conf", &said.stdout)?;
    let file = lab.at("openhands.conf").to_string_lossy().into_owned();
    let (good, said) = run("systemd-tmpfiles", &["--create", &file])?;
    ensure!(good && folder.is_dir(), "{said}");
    ensure!(fs::metadata(&folder)?.mode() & 0o7777 == 0o755);
    Ok(())
}

#[test]
fn a_configuration_that_cannot_work_has_no_unit() -> Result<()> {
    let lab = Lab::plain()?;
    let config = lab.at("etc/openhands-toolkit/config.toml");
    let text = fs::read_to_string(&config)?;
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("domain")).collect();
    lab.write("etc/openhands-toolkit/config.toml", &without.join("\n"))?;
    for unit in ["boot", "service", "timer", "tmpfiles"] {
        let said = instances(&lab, &["print-unit", unit])?.expect(78)?;
        ensure!(said.stdout.is_empty() && said.stderr.contains("site.domain"), "{said:?}");
    }
    Ok(())
}

/// Who runs the tests, and the home of that user.
fn own() -> Result<(String, String)> {
    let uid = fs::metadata("/proc/self")?.uid().to_string();
    let passwd = fs::read_to_string("/etc/passwd")?;
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2) == Some(&uid.as_str()));
    let user = user.context("environment: whoever runs this is not in /etc/passwd")?;
    let home = user.get(5).context("passwd(5)")?.trim_start_matches('/');
    Ok((user.first().context("passwd(5)")?.to_string(), home.to_owned()))
}

fn variables(text: &str, separator: char) -> BTreeMap<String, String> {
    let pairs = text.split(separator).filter_map(|one| one.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The variables that a shell hands on after it has read a file.
fn sourced(shell: &str, file: &Path) -> Result<BTreeMap<String, String>> {
    let mut command = Command::new(components::program(shell)?);
    command.env_clear().args(["-c", ". \"$1\" && exec /usr/bin/env -0", shell]).arg(file);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(variables(&String::from_utf8(output.stdout)?, '\0'))
}

/// The variables that systemd reads in a file.
fn of_systemd(lab: &Lab, file: &Path) -> Result<BTreeMap<String, String>> {
    fs::create_dir_all(lab.at("xdg/environment.d"))?;
    fs::copy(file, lab.at("xdg/environment.d/10-test.conf"))?;
    let output = Command::new(GENERATOR).env_clear().env("XDG_CONFIG_HOME", lab.at("xdg")).output();
    let output = output.context("environment: systemd is missing")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(variables(&String::from_utf8(output.stdout)?, '\n'))
}

#[test]
fn every_reader_takes_the_same_values() -> Result<()> {
    let lab = Lab::plain()?;
    let (user, home) = own()?;
    fs::create_dir_all(lab.at(&home))?;
    fs::set_permissions(lab.at(&home), fs::Permissions::from_mode(0o755))?;
    let set = "site.origins=[\"https://a.example\"]";
    let words = ["env", "--user", &user, "--set", set];
    let planned = instances(&lab, &[&words[..], &["--dry-run"]].concat())?.expect(0)?;
    ensure!(planned.stdout.contains("would be made"), "{}", planned.stdout);
    let made = instances(&lab, &[&words[..], &["--format", "json"]].concat())?.expect(0)?.json()?;
    let file = lab.at(&home).join(".openhands_env");
    let shells = ["sh", "dash", "bash"].map(|shell| sourced(shell, &file));
    let readers = shells.into_iter().chain([of_systemd(&lab, &file)]);
    let written = made["result"]["variables"].as_array().context("no variables")?;
    ensure!(written.len() == 9, "{made:#}");
    for read in readers {
        let read = read?;
        for one in written {
            let key = one["key"].as_str().context("no key")?;
            let value = read.get(key).map(String::as_str);
            ensure!(value == one["value"].as_str(), "{one} is {value:?}");
        }
    }
    Ok(())
}
