//! A real OpenHands 0.62: the stand-in answers as it does, its config.toml and ours live in one
//! file, and our nginx in front of it takes nothing away.

#[path = "full_openhands/probes.rs"]
mod probes;

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::lab::{Lab, Said};
use oh_testsuite::openhands::{OpenHands, Work};
use oh_testsuite::process::Running;
use oh_testsuite::transcript::{self, facts, receive_packet};
use oh_testsuite::{components, net};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(60);

/// Writes and reads config.toml with OpenHands' own models.
const TABLES: &str = include_str!("full_openhands/tables.py");

/// Starts the stand-in and returns it with its base URL.
fn stand_in() -> Result<(Running, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut running = Running::start(command.args(["openhands", "--listen", "127.0.0.1:0"]))?;
    let line = running.wait_for_line("listening on ", BOUND)?;
    let address = line.strip_prefix("listening on ").context("no address")?;
    Ok((running, format!("http://{address}")))
}

#[test]
fn the_stand_in_answers_as_the_real_one_and_both_as_recorded() -> Result<()> {
    let real = OpenHands::start(None)?;
    let (_stand_in, stand_in) = stand_in()?;
    for file in ["http.json", "socketio.json"] {
        let fixture = components::workspace()?.join("fixtures/openhands-0.62").join(file);
        let recording = transcript::read(&fixture)?;
        assert_eq!(transcript::differences(&real.base(), &recording)?, Vec::<String>::new());
    }
    let probes = [probes::PROBES, probes::LAST_PROBES].concat();
    let real = facts::observe(&real.base(), &probes)?;
    let other = facts::observe(&stand_in, &probes)?;
    let found = facts::differences(&real, &other, probes::EXCEPTIONS);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    Ok(())
}

/// Returns every key of ours, those without a default at their example.
fn our_tables() -> Result<String> {
    let example = fs::read_to_string(components::workspace()?.join("docs/config.example.toml"))?;
    let line = |line: &str| {
        let unset = line.strip_prefix("# No default. Example: ");
        let default = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', ':']));
        format!("{}\n", unset.or(default).unwrap_or(line))
    };
    let text: String = example.lines().map(line).collect();
    // Keys without a default that only another value of a third key makes sense of.
    let demanded = [("auth = \"basic\"", "auth = \"request\""), ("\"path\"", "\"subdomain\"")];
    Ok(demanded.iter().fold(text, |text, (default, value)| text.replace(default, value)))
}

/// Runs our script in the real installation.
fn tables(work: &Work, arguments: &[&str]) -> Result<Said> {
    fs::write(work.at("tables.py"), TABLES)?;
    let mut command = work.python(&[&["tables.py"], arguments].concat())?;
    Said::from(command.output()?).expect(0)
}

/// Returns what the real loader warns of, and what it understood.
fn read(work: &Work, text: &str) -> Result<(Vec<String>, String)> {
    fs::write(work.at("config.toml"), text)?;
    let said = tables(work, &["read", "config.toml"])?.stdout;
    let json = said.lines().find_map(|line| line.strip_prefix("READ ")).context("no answer")?;
    let json: Value = serde_json::from_str(json)?;
    let warnings = json["warnings"].as_array().context("no list")?.iter();
    let warnings = warnings.map(|one| one.as_str().unwrap_or_default().to_owned()).collect();
    Ok((warnings, json["config"].to_string()))
}

#[test]
fn every_table_of_the_real_one_and_ours_live_in_one_file() -> Result<()> {
    let work = Work::make()?;
    tables(&work, &["write", "theirs.toml"])?;
    let theirs = fs::read_to_string(work.at("theirs.toml"))?;
    let keys = theirs.lines().filter(|line| line.contains(" = ")).count();
    ensure!(keys > 150, "only {keys} keys");
    let ours = our_tables()?;
    let keys = ours.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    ensure!(keys > 30, "only {keys} keys");
    let both = format!("{theirs}\n{ours}");

    // Ours reads all: theirs alone, one file for each kind of condenser, ours, and both in one.
    let mut texts = vec![theirs.clone(), ours.clone(), both.clone()];
    for kind in 0..10 {
        let condenser = fs::read_to_string(work.at(&format!("theirs.toml.{kind}")))?;
        texts.push(format!("{condenser}\n{ours}"));
    }
    ensure!(!work.at("theirs.toml.10").exists(), "one more kind of condenser");
    let lab = Lab::plain()?;
    for text in texts {
        lab.write("etc/openhands-toolkit/config.toml", &text)?;
        let said = lab.run(&["config", "check", "--set", "site.domain=oh.example"])?;
        ensure!(said.code == 0 && said.stderr.is_empty(), "{said:?}\n{text}");
    }

    // Theirs reads both: our table is one more that it does not know, and changes nothing.
    let (alone, understood) = read(&work, &theirs)?;
    assert_eq!(alone, ["Unknown section [cli] in config.toml"]);
    let (with_ours, still_understood) = read(&work, &both)?;
    let toolkit = "Unknown section [toolkit] in config.toml";
    assert_eq!(with_ours, ["Unknown section [cli] in config.toml", toolkit]);
    assert_eq!(still_understood, understood);
    Ok(())
}

#[test]
fn our_nginx_in_front_of_the_real_one_takes_nothing_away() -> Result<()> {
    // It serves with our tables in its file.
    let real = OpenHands::start(Some(&format!("[core]\ndebug = false\n\n{}", our_tables()?)))?;
    let log = real.log();
    ensure!(log.contains("Unknown section [toolkit] in config.toml"), "{log}");
    ensure!(!log.contains("Cannot parse"), "{log}");

    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let upstream = format!("site.upstream={}", real.address);
    lab.run(&["--set", &upstream, "apply"])?.expect(0)?;
    let direct = facts::observe(&real.base(), probes::PROBES)?;
    let published = facts::observe(&lab.url(""), probes::PROBES)?;
    let found = facts::differences(&direct, &published, probes::WHAT_NGINX_DECIDES);
    ensure!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));

    // The largest message as one WebSocket frame, which `PROBES` has by polling only.
    let url = lab.url("/socket.io/?EIO=4&transport=websocket");
    let mut socket = net::upgrade(&url, &[("Origin", lab.url("").as_str())])?.open()?;
    receive_packet(&mut socket)?;
    let mut message = r#"40/nobody,{"x":""#.to_owned();
    message.push_str(&"x".repeat(probes::PAYLOAD_MAX - message.len() - 2));
    message.push_str("\"}");
    net::send_text(&mut socket, &message)?;
    assert_eq!(receive_packet(&mut socket)?, "44/nobody,\"Unable to connect\"");

    // Nothing that was asked has started anything or left a conversation behind.
    let answer = net::get(&format!("{}/api/conversations", real.base()), &[])?;
    assert_eq!(answer.text(), r#"{"results":[],"next_page_id":null}"#);
    Ok(())
}
