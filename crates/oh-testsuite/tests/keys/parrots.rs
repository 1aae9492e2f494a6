//! What arrives where: parrots repeat the head of what they are asked.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_host::instances::Record;
use oh_model::instance::{Server, Subject};
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said, repository_back_end};
use oh_testsuite::stranger::{STRANGER, strangers_listener};
use oh_testsuite::{net, wait};
use serde_json::json;

use crate::scene::{key, on_port, own_uid, put_record, put_session, record};
use crate::site::{Parrot, Site, header, publish};

/// How long nginx may take to start.
const START_BOUND: Duration = Duration::from_secs(20);

fn record_on(id: &str, server: Server, key: &str, port: u16) -> Result<Record> {
    on_port(record(id, Subject::Session, server, key)?, port)
}

/// A site whose session `S` has a record, and another whose editor is the second parrot.
fn keyed(sets: &[&str]) -> Result<(Site, Parrot)> {
    let (site, other) = (Site::of(Lab::with_tls()?, sets)?, Parrot::start()?);
    let first = record_on("S", Server::CodeServer, &key("a1"), site.editor.port)?;
    put_record(&site.lab, &first)?;
    put_session(&site.lab, &record_on("two", Server::Openvscode, &key("b2"), other.port)?)?;
    publish(&site.lab, &site.openhands.address(), sets)?;
    Ok((site, other))
}

/// Asks by HTTP/2, where a browser sends each cookie in a header of its own.
fn by_http2(site: &Site, path: &str, cookies: &[&str]) -> Result<()> {
    let mut command = Command::new(components::program("curl")?);
    command.args(["--silent", "--insecure", "--http2", "--output", "/dev/null"]);
    command.args(["--header", &format!("Authorization: {}", site.login)]);
    for cookie in cookies {
        command.args(["--header", &format!("Cookie: {cookie}")]);
    }
    let said: Said = command.arg(site.lab.url(path)).output()?.into();
    said.expect(0).map(drop)
}

#[test]
fn a_key_goes_to_its_own_editor_before_what_the_visitor_brings() -> Result<()> {
    let (site, other) = keyed(&[])?;
    let (first, second) =
        (format!("code-server-session={}", key("a1")), format!("vscode-tkn={}", key("b2")));
    let cookie = |head: &str| header(head, "Cookie").map(ToOwned::to_owned);
    for path in ["/vscode/S/x", "/vscode/s/x", "/vscode/S/apps/S-0/"] {
        assert_eq!(cookie(&site.get(path, &[])?.text()).as_ref(), Some(&first), "{path}");
    }
    assert_eq!(cookie(&site.get("/vscode/two/x", &[])?.text()).as_ref(), Some(&second));
    let forged = [("Cookie", "a=b; code-server-session=forged")];
    let both = format!("{first}; a=b; code-server-session=forged");
    assert_eq!(cookie(&site.get("/vscode/S/x", &forged)?.text()), Some(both));

    site.editor.received();
    by_http2(&site, "/vscode/S/x", &["a=b", "code-server-session=forged", "c=d"])?;
    let heads = site.editor.received();
    let lines: Vec<_> = heads[0].lines().filter(|line| line.starts_with("Cookie:")).collect();
    assert_eq!(lines, [format!("Cookie: {first}; a=b; code-server-session=forged; c=d")]);

    // code-server 4.100 hands all cookies on to any port of the machine, whosever it is.
    for path in
        ["proxy/22/", "PROXY/22/x", "absproxy/22/", "/proxy/22/", "%70roxy/22/", "x/../proxy/22"]
    {
        let path = format!("/vscode/S/{path}");
        assert_eq!(cookie(&site.get(&path, &[])?.text()), None, "{path}");
    }
    assert_eq!(cookie(&site.get("/vscode/S/proxyx", &[])?.text()).as_ref(), Some(&first));

    // Applications, OpenHands and what has no key get what the visitor brings, as ever.
    other.received();
    for path in ["/apps/S-0/x", "/apps/S-0/vscode/S/", "/", "/api/vscode/S/"] {
        assert_eq!(cookie(&site.get(path, &[])?.text()), None, "{path}");
        let own = [("Cookie", "a=b")];
        assert_eq!(cookie(&site.get(path, &own)?.text()).as_deref(), Some("a=b"), "{path}");
    }
    for path in ["/vscode/none/x", "/vscode/S-0/"] {
        assert_eq!(site.get(path, &[])?.status, 404, "{path}");
    }
    assert_eq!(site.lab.get("/vscode/S/x", &[])?.status, 401);
    let all = [site.received(), other.received()].concat().concat();
    ensure!(!all.contains(&key("b2")) && all.contains("/api/vscode/S/"), "{all}");
    Ok(())
}

#[test]
fn with_hosts_of_their_own_a_key_goes_to_the_editors_host_alone() -> Result<()> {
    let (site, other) = keyed(&["site.isolation=subdomain"])?;
    let at = |label: &str| format!("https://{label}.localhost:{}/x", site.lab.site_port);
    let login = site.with_login(&[]);
    let first = net::get(&at("s"), &login)?.text();
    let own = format!("code-server-session={}", key("a1"));
    assert_eq!(header(&first, "Cookie"), Some(own.as_str()), "{first}");
    // Read, the second leads elsewhere; the editor's host hands it on unread.
    for path in ["x/..//%50roxy/22/", "proxy/22/..%2F..%2Fx", "PROXY/22"] {
        let said = net::get(&at("s").replace("/x", &format!("/{path}")), &login)?.text();
        assert_eq!(header(&said, "Cookie"), None, "{path}: {said}");
    }
    let second = net::get(&at("two"), &login)?.text();
    assert_eq!(header(&second, "Cookie"), Some(format!("vscode-tkn={}", key("b2")).as_str()));
    assert_eq!(header(&net::get(&at("s-0"), &login)?.text(), "Cookie"), None);
    assert_eq!(other.received().len(), 1);
    Ok(())
}

#[test]
fn a_login_endpoint_learns_no_key() -> Result<()> {
    let endpoint = Parrot::endpoint()?;
    let auth = format!("site.auth_request=http://{}/auth", endpoint.address());
    let sets = ["site.auth=request", auth.as_str()];
    let (site, _other) = keyed(&sets)?;
    let visitor = [("Cookie", "let=in")];
    let said = site.get("/vscode/S/x", &visitor)?.text();
    let own = format!("code-server-session={}; let=in", key("a1"));
    assert_eq!(header(&said, "Cookie"), Some(own.as_str()));
    let heads = endpoint.received().concat();
    ensure!(heads.contains("let=in") && !heads.contains(&key("a1")), "{heads}");
    Ok(())
}

#[test]
fn what_runs_in_a_session_cannot_draw_the_key_elsewhere() -> Result<()> {
    let (site, other) = keyed(&[])?;
    other.received();
    for accel in ["/vscode/two/x", "@oh_editor", "/reach/vscode/two/version"] {
        let say = format!("X-Accel-Redirect: {accel}");
        let answer = site.get("/vscode/S/x", &[("X-Say", &say)])?;
        assert_eq!(site.name_of(&answer.text()), "editor");
    }
    assert_eq!(other.received(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_stranger_on_the_port_gets_neither_route_nor_key() -> Result<()> {
    ensure!(own_uid()? == 0, "environment: root is needed");
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    let editor = repository_back_end()?;
    let databases = |port: u16| -> Result<()> {
        lab.write(
            "var/www/ai-desktop/data/repositories.json",
            &json!({ "repositories": [{ "id": "r", "name": "r", "path": "/srv/r", "type": "git",
                "vscodePort": port, "vscodeRunning": true }] })
            .to_string(),
        )?;
        let ports = json!({ "instances": { "r": { "port": port, "pid": 1 } } });
        lab.write("var/www/ai-desktop/data/vscode-ports.json", &ports.to_string())
    };
    databases(editor)?;
    let repository =
        |port| on_port(record("r", Subject::Repository, Server::CodeServer, &key("a1"))?, port);
    put_record(&lab, &repository(editor)?)?;
    lab.run(&["apply"])?.expect(0)?;
    let presented = lab.get("/vscode/r/x", &[])?.text();
    ensure!(presented.contains(&key("a1")), "{presented}");

    // The record is of another user than the one that listens.
    put_record(&lab, &Record { uid: STRANGER, ..repository(editor)? })?;
    let said = lab.run(&["apply"])?.expect(0)?;
    let reason = format!(
        "repository r: user \"root\" listens on port {editor}, and the record of the editor says \
         uid {STRANGER}"
    );
    ensure!(said.stdout.contains(&reason), "{}", said.stdout);
    assert_eq!(lab.get("/vscode/r/x", &[])?.status, 404);

    // The same with a real stranger, who has taken the port of a session.
    let port = net::free_port()?;
    put_session(&lab, &record_on("s", Server::CodeServer, &key("c3"), port)?)?;
    let _stranger = strangers_listener(port)?;
    lab.run(&["apply"])?.expect(0)?;
    assert_eq!(lab.get("/vscode/s/x", &[])?.status, 404);
    let served = fs::read_to_string(lab.at("etc/nginx/openhands/routes.conf"))?;
    ensure!(!served.contains("code-server-session="), "a key is written: {served}");
    Ok(())
}

#[test]
fn a_watch_presents_a_key_once_its_editor_listens_and_no_longer() -> Result<()> {
    let mut lab = Lab::plain()?;
    lab.start_nginx()?;
    lab.run(&["apply"])?.expect(0)?;
    let mut command = lab.command(&["watch", "--set", "nginx.rescan_s=3600"])?;
    let mut watch = oh_testsuite::process::Running::start(&mut command)?;
    watch.wait_for_line("generation 1-", START_BOUND)?;
    let port = net::free_port()?;
    put_session(&lab, &record_on("s", Server::CodeServer, &key("a1"), port)?)?;
    let routes = lab.at("etc/nginx/openhands/routes.conf");
    let keyed = |wanted: bool| {
        wait::until_true("the key", START_BOUND, || {
            let text = fs::read_to_string(&routes).unwrap_or_default();
            text.contains("vscode/s ") && text.contains(&key("a1")) == wanted
        })
    };
    keyed(false)?;
    // Nobody writes a file; that the editor has come, and gone, is seen by itself.
    let editor = std::net::TcpListener::bind(("127.0.0.1", port))?;
    keyed(true)?;
    drop(editor);
    keyed(false)?;
    let log = watch.log();
    ensure!(!log.contains(&key("a1")), "{log}");
    watch.stop().context("the watch does not end").map(drop)
}
