//! The stand-ins answer as the real programs were recorded to answer.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, transcript};
use serde_json::{Value, json};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a stand-in and returns it with its base URL.
fn start(arguments: &[&str]) -> Result<(Running, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut running = Running::start(command.args(arguments).args(["--listen", "127.0.0.1:0"]))?;
    let line = running.wait_for_line("listening on ", START_TIMEOUT)?;
    let address = line.strip_prefix("listening on ").context("no address")?;
    Ok((running, format!("http://{address}")))
}

fn assert_as_recorded(file: &str) -> Result<()> {
    let (_running, base) = start(&["openhands"])?;
    let fixture = components::workspace()?.join("fixtures/openhands-0.62").join(file);
    let differences = transcript::differences(&base, &transcript::read(&fixture)?)?;
    assert_eq!(differences, Vec::<String>::new());
    Ok(())
}

#[test]
fn openhands_answers_http_as_recorded() -> Result<()> {
    assert_as_recorded("http.json")
}

#[test]
fn openhands_answers_socket_io_as_recorded() -> Result<()> {
    assert_as_recorded("socketio.json")
}

#[test]
fn a_difference_is_found_and_named() -> Result<()> {
    let (_running, base) = start(&["app"])?;
    let fixture = components::workspace()?.join("fixtures/openhands-0.62/http.json");
    let mut recording = transcript::read(&fixture)?;
    recording.exchanges.truncate(1);
    let differences = transcript::differences(&base, &recording)?;
    assert_eq!(differences.first().context("none")?, "/alive: status is 404, recorded was 200");
    Ok(())
}

#[test]
fn the_page_says_what_it_is_and_escapes_its_links() -> Result<()> {
    let link = r#"--link=A <b>=/vscode/a/?x="y"&z"#;
    let (_running, base) = start(&["openhands", link])?;
    let page = net::get(&base, &[])?.text();
    assert!(page.contains("This is a stand-in for OpenHands in a sandbox."), "{page}");
    let escaped = r#"<a href="/vscode/a/?x=&quot;y&quot;&amp;z">A &lt;b&gt;</a>"#;
    assert!(page.contains(escaped), "{page}");
    Ok(())
}

#[test]
fn with_settings_a_conversation_connects() -> Result<()> {
    let (_running, base) = start(&["openhands"])?;
    let socket = format!("{base}/socket.io/?EIO=4&transport=websocket&conversation_id=c1");
    let answer_to_40 = || -> Result<String> {
        let mut socket = net::upgrade(&socket, &[])?.open()?;
        transcript::receive_packet(&mut socket)?;
        net::send_text(&mut socket, "40")?;
        transcript::receive_packet(&mut socket)
    };
    let answer = answer_to_40()?;
    let refusal: Value = serde_json::from_str(answer.strip_prefix("44").context("no refusal")?)?;
    let data = json!({"msg_id": "CONFIGURATION$SETTINGS_NOT_FOUND"});
    assert_eq!(refusal, json!({"message": "Settings not found", "data": data}));
    let url = format!("{base}/api/settings");
    let stored = net::send(&net::Request { method: "POST", ..net::Request::get(&url) })?;
    assert_eq!(stored.status, 200);
    assert!(answer_to_40()?.starts_with(r#"40{"sid":""#));
    Ok(())
}

#[test]
fn a_message_of_four_mebibytes_is_taken_by_polling() -> Result<()> {
    let (_running, base) = start(&["openhands"])?;
    let open = net::get(&format!("{base}/socket.io/?EIO=4&transport=polling"), &[])?.text();
    let json = open.strip_prefix('0').context("no open packet")?;
    let sid = serde_json::from_str::<Value>(json)?["sid"].as_str().context("no sid")?.to_owned();
    let url = format!("{base}/socket.io/?EIO=4&transport=polling&sid={sid}");
    let mut body = br#"42["oh_user_action",""#.to_vec();
    body.resize(4 * 1024 * 1024 - 2, b'x');
    body.extend(br#""]"#);
    let post = |body: &[u8]| -> Result<u16> {
        Ok(net::send(&net::Request { method: "POST", body, ..net::Request::get(&url) })?.status)
    };
    assert_eq!(post(b"40")?, 200);
    assert_eq!(post(&body)?, 200);
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_named() -> Result<()> {
    let (_running, base) = start(&["app"])?;
    let address = base.strip_prefix("http://").context("no address")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut second = Running::start(command.args(["app", "--listen", address]))?;
    assert_eq!(second.wait(START_TIMEOUT)?.code(), Some(1));
    let log = second.log();
    assert!(log.starts_with(&format!("error: could not listen on {address}: ")), "{log}");
    Ok(())
}

#[test]
fn a_signal_ends_it_cleanly() -> Result<()> {
    let (mut running, base) = start(&["app"])?;
    let mut socket = net::upgrade(&format!("{base}/ws"), &[])?.open()?;
    net::send_text(&mut socket, "still open")?;
    assert_eq!(net::receive_text(&mut socket)?, "still open");
    assert_eq!(running.stop()?.code(), Some(0));
    Ok(())
}

#[test]
fn the_application_shows_what_reached_it() -> Result<()> {
    let (_running, base) = start(&["app", "--name", "Notes & <more>"])?;
    let page = net::get(&base, &[])?;
    assert!(page.text().contains("<h1>Notes &amp; &lt;more&gt;</h1>"), "{}", page.text());

    let headers = net::get(&format!("{base}/headers?a=b"), &[("X-Forwarded-Proto", "https")])?;
    let seen: Value = serde_json::from_slice(&headers.body)?;
    assert_eq!(seen["uri"], "/headers?a=b");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "https");

    let cookie = net::get(&format!("{base}/cookie?path=/apps/x/&name=n"), &[])?;
    let expected = "n=value; Path=/apps/x/; HttpOnly; SameSite=Lax";
    assert_eq!(cookie.header("Set-Cookie"), Some(expected));

    let redirect = net::get(&format!("{base}/redirect"), &[])?;
    assert_eq!((redirect.status, redirect.header("Location")), (302, Some("/")));
    assert_eq!(net::get(&format!("{base}/big?bytes=300000"), &[])?.body.len(), 300_000);
    assert_eq!(net::get(&format!("{base}/nope"), &[])?.status, 404);
    assert_eq!(net::upgrade(&format!("{base}/"), &[])?.status(), 200);
    Ok(())
}
