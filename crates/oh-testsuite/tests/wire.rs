//! What goes over the wire: who is let in, what reaches the programs behind nginx, and what comes
//! back from them.
//!
//! nginx, code-server, python-socketio and socket.io are the real ones. Where a test is about the
//! bytes that arrive, a back end shows them, and answers with the headers that it is asked for.

#[path = "wire/site.rs"]
mod site;
#[path = "wire/socket_io.rs"]
mod socket_io;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::{self, Lab, Said};
use oh_testsuite::net::{self, Answer, Request};
use oh_testsuite::process::Running;
use serde_json::json;
use site::{FOLDER, Parrot, START_BOUND, Site, header, port_of, publish, stand_in, start_nginx};

#[test]
fn without_the_login_every_address_answers_401_page_and_upgrade_alike() -> Result<()> {
    let site = Site::with_tls()?;
    let origin = site.lab.url("");
    let paths = [
        "/",
        "/x",
        "/socket.io/?EIO=4&transport=polling",
        "/vscode/S",
        "/vscode/S?x",
        "/vscode/S/",
        "/vscode/S/?x",
        "/vscode/S/static/a.js",
        "/vscode/unknown",
        "/vscode/unknown/",
        "/vscode/",
        "/vscode/S;/",
        "/vscode/S/%0a",
        "/apps/",
        "/apps/S",
        "/apps/S-0",
        "/apps/S-0/",
        "/apps/S-0/x?y",
        "/apps/S-7/",
        "/apps/unknown-0/",
    ];
    for path in paths {
        let page = site.lab.get(path, &[])?;
        assert_eq!(page.status, 401, "{path}");
        assert_eq!(page.header("WWW-Authenticate"), Some("Basic realm=\"OpenHands\""), "{path}");
        let wrong = lab::basic("openhands", "guess");
        assert_eq!(site.lab.get(path, &[("Authorization", &wrong)])?.status, 401, "{path}");
        for headers in [&[][..], &[("Origin", origin.as_str())]] {
            assert_eq!(net::upgrade(&site.lab.url(path), headers)?.status(), 401, "{path}");
        }
    }
    assert_eq!(site.received(), Vec::<String>::new());
    Ok(())
}

#[test]
fn workers_whose_user_nobody_named_can_read_the_login() -> Result<()> {
    let mut lab = Lab::with_login()?;
    lab.start_nginx()?;
    let login = publish(&lab, &Parrot::start()?.address(), &[])?;
    assert_eq!(lab.get("/", &[])?.status, 401, "{}", lab.error_log());
    assert_eq!(lab.get("/", &[("Authorization", &login)])?.status, 200);
    Ok(())
}

#[test]
fn with_the_login_each_kind_of_address_has_its_answer() -> Result<()> {
    let site = Site::with_tls()?;
    let folder = format!("{}{FOLDER}", site.lab.root());
    let open = format!("/vscode/S/?folder={folder}");
    let cases: &[(&str, u16, Option<&str>, &str)] = &[
        ("/", 200, None, "OpenHands"),
        ("/vscode", 200, None, "OpenHands"),
        ("/vscodes/S/", 200, None, "OpenHands"),
        // The bare address opens the folder; whatever asks for something gets it.
        ("/vscode/S/", 302, Some(&open), "nginx"),
        ("/vscode/S/?folder=/x", 200, None, "editor"),
        ("/vscode/S/?ew=true", 200, None, "editor"),
        ("/vscode/S/static/a.js", 200, None, "editor"),
        ("/vscode/S/static/", 200, None, "editor"),
        ("/apps/S-0/", 200, None, "app"),
        // A missing slash is added; host and port stay the browser's.
        ("/vscode/S", 301, Some("/vscode/S/"), "nginx"),
        ("/vscode/S?a=b&tkn=c%20d", 301, Some("/vscode/S/?a=b&tkn=c%20d"), "nginx"),
        ("/apps/S-0", 301, Some("/apps/S-0/"), "nginx"),
        ("/apps/S-0?x", 301, Some("/apps/S-0/?x"), "nginx"),
        // What does not exist, or cannot be an id.
        ("/vscode/unknown/", 404, None, "nginx"),
        ("/vscode/unknown/x?y", 404, None, "nginx"),
        ("/vscode/", 404, None, "nginx"),
        ("/vscode/-S/", 404, None, "nginx"),
        ("/vscode/$oh_id/", 404, None, "nginx"),
        ("/apps/S-1/", 404, None, "nginx"),
        ("/apps/S/", 404, None, "nginx"),
        ("/apps/S-100/", 404, None, "nginx"),
        // Ways inside nginx are no addresses.
        ("/@oh_open", 200, None, "OpenHands"),
        ("/@oh_editor", 200, None, "OpenHands"),
    ];
    for (path, status, location, who) in cases {
        let answer = site.get(path, &[])?;
        let seen = (answer.status, answer.header("Location"), site.name_of(&answer.text()));
        assert_eq!(seen, (*status, *location, *who), "{path}");
    }
    let log = site.lab.error_log();
    assert!(!log.contains("[error]") && !log.contains("[crit]"), "{log}");
    Ok(())
}

#[test]
fn only_a_plain_get_of_the_bare_address_opens_the_folder() -> Result<()> {
    let site = Site::with_tls()?;
    let origin = site.lab.url("");
    let url = site.lab.url("/vscode/S/");
    for method in ["HEAD", "POST", "OPTIONS"] {
        let headers = site.with_login(&[]);
        let answer = net::send(&Request { method, headers: &headers, ..Request::get(&url) })?;
        assert_eq!(answer.status, 200, "{method}");
    }
    assert_eq!(site.upgrade("/vscode/S/", &[("Origin", &origin)])?, 200);
    assert_eq!(site.editor.received().len(), 4);
    Ok(())
}

#[test]
fn an_upgrade_from_a_foreign_page_is_refused_with_and_without_the_login() -> Result<()> {
    let site = Site::with_tls()?;
    let own = site.lab.url("");
    let other_port = "https://localhost:1";
    let evil = "https://evil.example";
    let longer = format!("{own}0");
    let with_slash = format!("{own}/");
    let plain = own.replace("https:", "http:");
    let hosted = format!("host={own}");
    let pages: &[&[(&str, &str)]] = &[
        &[("Origin", evil)],
        &[("Origin", "null")],
        &[("Origin", other_port)],
        &[("Origin", "https://localhost")],
        &[("Origin", &plain)],
        &[("Origin", &longer)],
        &[("Origin", &with_slash)],
        &[("Origin", evil), ("Forwarded", "host=evil.example")],
        &[("Origin", evil), ("Forwarded", &hosted)],
        &[("Origin", evil), ("X-Forwarded-Host", "evil.example")],
        &[("Origin", evil), ("X-Original-Host", "evil.example")],
        &[("Origin", evil), ("Upgrade", "websocket, foo")],
        &[("Origin", evil), ("Upgrade", "h2c")],
        &[("Origin", evil), ("Upgrade", "WebSocket")],
        &[("Origin", evil), ("Upgrade", "foo")],
    ];
    let paths = [
        "/",
        "/socket.io/?EIO=4&transport=websocket",
        "/vscode/S",
        "/vscode/S/",
        "/vscode/S/x",
        "/vscode/unknown/x",
        "/vscode/;",
        "/apps/S-0",
        "/apps/S-0/",
        "/apps/unknown-0/x",
        "/apps/;",
    ];
    for path in paths {
        for page in pages {
            let url = site.lab.url(path);
            let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
            let given = page.iter().any(|(name, _)| *name == "Upgrade");
            let mut headers = upgrade[..if given { 1 } else { 2 }].to_vec();
            headers.extend_from_slice(page);
            assert_eq!(net::get(&url, &headers)?.status, 403, "{path} {page:?}");
            let headers = site.with_login(&headers);
            assert_eq!(net::get(&url, &headers)?.status, 403, "{path} {page:?} with the login");
        }
    }
    assert_eq!(site.received(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_page_of_the_site_opens_websockets_through_tls_on_a_port_of_its_own() -> Result<()> {
    let mut lab = Lab::with_tls()?;
    let (_openhands, openhands) = stand_in()?;
    let (_editor, editor) = stand_in()?;
    let (_app, app) = stand_in()?;
    let session = json!({ "vscode_port": port_of(&editor)?, "app_ports": [port_of(&app)?] });
    lab.session("S", &session.to_string())?;
    start_nginx(&mut lab)?;
    let login = publish(&lab, &openhands, &[])?;
    let origin = lab.url("");
    for path in ["/ws", "/vscode/S/ws", "/apps/S-0/ws"] {
        for headers in
            [&[("Authorization", &*login), ("Origin", &*origin)][..], &[("Authorization", &*login)]]
        {
            let mut socket = net::upgrade(&lab.url(path), headers)?.open()?;
            net::send_text(&mut socket, path)?;
            assert_eq!(net::receive_text(&mut socket)?, path);
        }
    }
    Ok(())
}

#[test]
fn no_other_protocol_reaches_a_back_end_as_an_upgrade() -> Result<()> {
    let site = Site::with_tls()?;
    let own = site.lab.url("");
    for path in ["/", "/vscode/S/x", "/apps/S-0/"] {
        for upgrade in ["h2c", "websocket, h2c", "TLS/1.0", "foo"] {
            let headers = [
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", upgrade),
                ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
                ("Origin", &own),
            ];
            let head = site.get(path, &headers)?.text();
            assert_eq!(header(&head, "Upgrade"), None, "{path} {upgrade}\n{head}");
            assert_ne!(header(&head, "Connection"), Some("upgrade"), "{path} {upgrade}\n{head}");
        }
    }
    Ok(())
}

/// Headers that a client may try to say, and no back end may believe.
const FORGED: &[(&str, &str)] = &[
    ("Forwarded", "host=evil.example;proto=gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "666"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-For", "192.0.2.66"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Path", "/evil/"),
    ("X-Real-IP", "192.0.2.66"),
    ("X-Original-URI", "/evil"),
    ("X-Original-Host", "evil.example"),
    ("X_Forwarded_Host", "evil.example"),
    ("Proxy", "http://evil.example"),
];

#[test]
fn a_back_end_receives_where_it_is_and_neither_forgeries_nor_the_password() -> Result<()> {
    let site = Site::with_tls()?;
    let port = site.lab.site_port;
    let expected = |first: &str, uri: &str, prefix: Option<&str>| {
        let prefix = prefix.map_or_else(String::new, |prefix| {
            format!("X-Forwarded-Prefix: {prefix}\r\nX-Forwarded-Path: {prefix}/\r\n")
        });
        format!(
            "GET {first} HTTP/1.1\r\nHost: localhost:{port}\r\nX-Real-IP: 127.0.0.1\r\n\
             X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: localhost:{port}\r\nX-Forwarded-Port: {port}\r\n\
             X-Original-URI: {uri}\r\n{prefix}Cookie: a=b\r\n\r\n"
        )
    };
    let cases = [
        ("/vscode/S/a?b=c", expected("/a?b=c", "/vscode/S/a?b=c", Some("/vscode/S"))),
        ("/apps/S-0/a?b=c", expected("/a?b=c", "/apps/S-0/a?b=c", Some("/apps/S-0"))),
        ("/api/a?b=c", expected("/api/a?b=c", "/api/a?b=c", None)),
    ];
    for (path, expected) in cases {
        let mut headers = vec![("Cookie", "a=b")];
        headers.extend_from_slice(FORGED);
        site.get(path, &headers)?;
        assert_eq!(site.received(), [expected]);
    }
    Ok(())
}

#[test]
fn an_upgrade_carries_the_same_and_the_upgrade() -> Result<()> {
    let site = Site::with_tls()?;
    let port = site.lab.site_port;
    let own = site.lab.url("");
    let mut headers = vec![("Origin", own.as_str())];
    headers.extend_from_slice(FORGED);
    site.upgrade("/vscode/S/ws?reconnectionToken=x", &headers)?;
    let expected = format!(
        "GET /ws?reconnectionToken=x HTTP/1.1\r\nHost: localhost:{port}\r\n\
         Upgrade: websocket\r\nConnection: upgrade\r\nX-Real-IP: 127.0.0.1\r\n\
         X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: localhost:{port}\r\nX-Forwarded-Port: {port}\r\n\
         X-Original-URI: /vscode/S/ws?reconnectionToken=x\r\nX-Forwarded-Prefix: /vscode/S\r\n\
         X-Forwarded-Path: /vscode/S/\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {own}\r\n\r\n"
    );
    assert_eq!(site.received(), [expected]);
    Ok(())
}

#[test]
fn a_path_is_normalised_before_it_is_matched_and_splits_no_request() -> Result<()> {
    let site = Site::with_tls()?;
    // The path that is asked for, who answers, and the first line that it received.
    let cases = [
        ("/vscode/S/a%20b%25c%3Fd%23e", "editor", "GET /a%20b%25c%3Fd%23e HTTP/1.1"),
        ("/vscode/S/a%2Fb", "editor", "GET /a/b HTTP/1.1"),
        ("/vscode/S//a", "editor", "GET /a HTTP/1.1"),
        ("/vscode/S/a/../b", "editor", "GET /b HTTP/1.1"),
        (
            "/vscode/S/%C3%A4?q=%0d%0aX-Evil:%201",
            "editor",
            "GET /%C3%A4?q=%0d%0aX-Evil:%201 HTTP/1.1",
        ),
        ("/apps/S-0/../../vscode/S/a", "editor", "GET /a HTTP/1.1"),
        ("/vscode/S/../../", "OpenHands", "GET /vscode/S/../../ HTTP/1.1"),
        (
            "/vscode/S/%2e%2e%2f%2e%2e%2fa",
            "OpenHands",
            "GET /vscode/S/%2e%2e%2f%2e%2e%2fa HTTP/1.1",
        ),
        ("/x/../vscode/S/a", "editor", "GET /a HTTP/1.1"),
        ("/%76scode/S/a", "editor", "GET /a HTTP/1.1"),
        ("/vscode%2FS%2Fa", "editor", "GET /a HTTP/1.1"),
        ("/vscode/S/a%0d%0aX-Evil:%201", "nginx", ""),
        ("/vscode/S%0d%0aX-Evil:%201/", "nginx", ""),
        ("/vscode/S/%00", "nginx", ""),
        ("/vscode/S/%7f", "nginx", ""),
        ("/vscode/S%0a", "nginx", ""),
        ("/apps/S-0/%0d%0a%0d%0aGET%20/evil", "nginx", ""),
        ("/vscode/S/../../../", "nginx", ""),
        ("/a%0d%0aX-Evil:%201", "OpenHands", "GET /a%0d%0aX-Evil:%201 HTTP/1.1"),
    ];
    for (path, who, first) in cases {
        let answer = site.get(path, &[])?;
        assert_eq!(site.name_of(&answer.text()), who, "{path} {}", answer.status);
        let received = site.received();
        let lines: Vec<&str> = received.iter().flat_map(|head| head.lines().take(1)).collect();
        let expected: Vec<&str> =
            Some(first).filter(|first| !first.is_empty()).into_iter().collect();
        assert_eq!(lines, expected, "{path}");
        let evil = received.iter().any(|head| head.lines().any(|line| line.starts_with("X-Evil")));
        assert!(!evil, "{path} {received:?}");
    }
    Ok(())
}

#[test]
fn an_upload_of_20_mib_passes() -> Result<()> {
    let site = Site::with_tls()?;
    let body = vec![b'x'; 20 * 1024 * 1024];
    for path in ["/vscode/S/upload", "/apps/S-0/upload", "/upload"] {
        let url = site.lab.url(path);
        let headers = site.with_login(&[]);
        let request =
            Request { method: "POST", headers: &headers, body: &body, ..Request::get(&url) };
        let answer = net::send(&request)?;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().ends_with("20971520 bytes"), "{path}");
    }
    Ok(())
}

/// Returns the paths of the cookies that an answer sets, as a browser reads them (RFC 6265,
/// 5.2.4): the last `Path` that begins with a slash counts.
fn cookie_paths(answer: &Answer) -> Vec<Option<String>> {
    let path = |cookie: &str| {
        let attributes =
            cookie.split(';').skip(1).filter_map(|attribute| attribute.split_once('='));
        let paths = attributes.filter(|(name, _)| name.trim().eq_ignore_ascii_case("path"));
        paths.last().map(|(_, path)| path.trim().to_owned()).filter(|path| path.starts_with('/'))
    };
    answer.header_all("Set-Cookie").map(path).collect()
}

#[test]
fn a_cookie_of_an_instance_stays_below_its_prefix() -> Result<()> {
    let site = Site::with_tls()?;
    for (asked, prefix) in [("/vscode/S/a/b", "/vscode/S/"), ("/apps/S-0/a/b", "/apps/S-0/")] {
        for attributes in [
            "; Path=/",
            "; Path=/vscode/other",
            "; Path=/vscode/other/; HttpOnly",
            "; path=/x; Secure",
            "; Path=/vscode/S/a",
            "; Path=",
            "; Path=x",
            "; HttpOnly; PATH=/; SameSite=Lax",
            "; Path=/a; Path=/",
            ";Path=/",
            "; Path=/%2e%2e/",
            "; Path=\"/\"",
            "; Path=/\\x",
            "; Path =/",
            ";  Path=/",
            "; Path= /",
            "; Domain=localhost; Path=/",
        ] {
            let say = format!("Set-Cookie: name=value{attributes}");
            let answer = site.get(asked, &[("X-Say", &say)])?;
            assert_eq!(cookie_paths(&answer), [Some(prefix.to_owned())], "{say}");
            let cookie = answer.header("Set-Cookie").context("no cookie")?;
            assert!(cookie.starts_with("name=value;"), "{cookie}");
        }
        // Without a path a browser takes the folder of the request, which is below the prefix.
        let answer = site.get(asked, &[("X-Say", "Set-Cookie: name=value; HttpOnly")])?;
        assert_eq!(answer.header("Set-Cookie"), Some("name=value; HttpOnly"));
        // Each of several.
        let two = [
            ("X-Say", "Set-Cookie: a=1; Path=/"),
            ("X-Say", "Set-Cookie: b=2; Path=/vscode/other/"),
        ];
        let answer = site.get(asked, &two)?;
        assert_eq!(cookie_paths(&answer), [Some(prefix.to_owned()), Some(prefix.to_owned())]);
    }
    // OpenHands has the whole site.
    let answer = site.get("/", &[("X-Say", "Set-Cookie: a=1; Path=/")])?;
    assert_eq!(answer.header("Set-Cookie"), Some("a=1; Path=/"));
    Ok(())
}

#[test]
fn a_redirect_of_an_instance_ends_below_its_prefix_exactly_once() -> Result<()> {
    let site = Site::with_tls()?;
    let kinds = [("/vscode/S", site.editor.port), ("/apps/S-0", site.app.port)];
    for (prefix, port) in kinds {
        let asked = format!("{prefix}/a/b");
        let (own, local) = (site.lab.url(""), format!("http://127.0.0.1:{port}"));
        let below = format!("{prefix}/x?y=/z#w");
        let full = format!("{own}{prefix}/x");
        let plain = own.replace("https:", "http:");
        let cases: &[(String, &str)] = &[
            ("/x?y=/z#w".into(), &below),
            ("/".into(), &format!("{prefix}/")),
            (format!("{local}/x?y=/z#w"), &below),
            (format!("{own}/x?y=/z#w"), &below),
            // Starlette, Tomcat and others name the scheme that they see themselves.
            (format!("{plain}/x?y=/z#w"), &below),
            // What knows its prefix says it.
            (format!("{prefix}/x"), &format!("{prefix}/x")),
            (format!("{prefix}/"), &format!("{prefix}/")),
            (full.clone(), &full),
            // Relative ones are below the prefix as they are.
            ("./?folder=/x".into(), "./?folder=/x"),
            ("x".into(), "x"),
            ("?a=b".into(), "?a=b"),
            // Elsewhere is elsewhere.
            ("https://elsewhere.example/x".into(), "https://elsewhere.example/x"),
            ("http://elsewhere.example/x".into(), "http://elsewhere.example/x"),
        ];
        for (said, expected) in cases {
            let say = format!("Location: {said}");
            let answer = site.get(&asked, &[("X-Say", &say)])?;
            assert_eq!(
                (answer.status, answer.header("Location")),
                (302, Some(*expected)),
                "{said}"
            );
        }
    }
    let answer = site.get("/", &[("X-Say", "Location: /login")])?;
    assert_eq!(answer.header("Location"), Some("/login"));
    Ok(())
}

#[test]
fn a_service_worker_of_an_instance_gets_no_more_than_its_prefix() -> Result<()> {
    let site = Site::with_tls()?;
    for prefix in ["/vscode/S/", "/apps/S-0/"] {
        let answer =
            site.get(&format!("{prefix}sw.js"), &[("X-Say", "Service-Worker-Allowed: /")])?;
        let allowed: Vec<&str> = answer.header_all("Service-Worker-Allowed").collect();
        assert_eq!(allowed, [prefix]);
    }
    Ok(())
}

/// Starts a real code-server that asks for a password itself.
fn code_server(home: &Path, password: &str) -> Result<(Running, String)> {
    let mut command = Command::new(components::node()?);
    command
        .arg(components::code_server()?)
        .args(["--auth", "password", "--bind-addr", "127.0.0.1:0", "--disable-telemetry"])
        .args(["--disable-update-check", "--disable-proxy", "--ignore-last-opened"])
        .arg("--user-data-dir")
        .arg(home.join("data"))
        .arg(home)
        .env("PASSWORD", password)
        .env("HOME", home)
        .env("TMPDIR", home)
        .env_remove("XDG_CONFIG_HOME");
    let mut running = Running::start(&mut command)?;
    let line = running.wait_for_line("HTTP server listening on ", START_BOUND)?;
    let url = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('/');
    let address = url.strip_prefix("http://").context("no address")?.to_owned();
    Ok((running, address))
}

#[test]
fn the_login_of_a_real_editor_works_below_its_prefix_and_its_cookie_stays_there() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (_editor, address) = code_server(home.path(), "correct horse")?;
    let mut lab = Lab::with_tls()?;
    lab.session("S", &json!({ "vscode_port": port_of(&address)? }).to_string())?;
    start_nginx(&mut lab)?;
    publish(
        &lab,
        &lab::back_end().map(|port| format!("127.0.0.1:{port}"))?,
        &["site.auth=editor"],
    )?;

    let page = lab.get("/vscode/S/?x=y", &[])?;
    assert_eq!((page.status, page.header("Location")), (302, Some("./login?x=y&to=")));
    let url = lab.url("/vscode/S/login");
    assert_eq!(lab.get("/vscode/S/login", &[])?.status, 200);
    let own = lab.url("");
    assert_eq!(net::upgrade(&lab.url("/vscode/S/"), &[("Origin", &own)])?.status(), 401);

    // As the page's own script fills the form in.
    let href = url.replace(':', "%3A").replace('/', "%2F");
    let log_in = |password: &str| {
        let body = format!("base=.&href={href}&password={password}");
        let headers =
            [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", own.as_str())];
        net::send(&Request {
            method: "POST",
            headers: &headers,
            body: body.as_bytes(),
            ..Request::get(&url)
        })
    };
    assert_eq!(log_in("wrong")?.header("Set-Cookie"), None);
    let answer = log_in("correct+horse")?;
    assert_eq!((answer.status, answer.header("Location")), (302, Some("./")));
    assert_eq!(cookie_paths(&answer), [Some("/vscode/S/".to_owned())]);

    let cookie = answer.header("Set-Cookie").and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.context("no cookie")?;
    let page = lab.get("/vscode/S/?folder=/", &[("Cookie", cookie)])?;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("vscode-workbench-web-configuration"));
    let with_cookie = [("Origin", own.as_str()), ("Cookie", cookie)];
    assert_eq!(net::upgrade(&lab.url("/vscode/S/"), &with_cookie)?.status(), 101);
    Ok(())
}

#[test]
fn without_a_login_of_nginx_everything_else_holds() -> Result<()> {
    for auth in ["site.auth=none", "site.auth=editor"] {
        let site = Site::of(Lab::with_tls()?, &[auth])?;
        assert_eq!(site.login, "", "{auth}");
        let own = site.lab.url("");
        for path in ["/", "/vscode/S/x", "/apps/S-0/x"] {
            assert_eq!(site.get(path, &[])?.status, 200, "{auth} {path}");
            assert_eq!(site.upgrade(path, &[("Origin", &own)])?, 200, "{auth} {path}");
            assert_eq!(
                site.upgrade(path, &[("Origin", "https://evil.example")])?,
                403,
                "{auth} {path}"
            );
            assert_eq!(site.upgrade(path, &[("Origin", "null")])?, 403, "{auth} {path}");
            // The header is the program's own here.
            let head = site.get(path, &[("Authorization", "Bearer token")])?.text();
            assert_eq!(header(&head, "Authorization"), Some("Bearer token"), "{auth} {path}");
        }
        assert_eq!(site.get("/vscode/unknown/", &[])?.status, 404, "{auth}");
        assert_eq!(site.get("/vscode/S", &[])?.status, 301, "{auth}");
    }
    Ok(())
}

#[test]
fn an_endpoint_decides_about_pages_uploads_and_upgrades_alike() -> Result<()> {
    let endpoint = Parrot::endpoint()?;
    let auth_request = format!("site.auth_request=http://{}/auth", endpoint.address());
    let site = Site::of(Lab::with_tls()?, &["site.auth=request", &auth_request])?;
    let (own, evil) = (site.lab.url(""), "https://evil.example");
    for path in
        ["/", "/vscode/S/", "/vscode/S/x", "/vscode/S", "/vscode/unknown/", "/apps/S-0/", "/apps/;"]
    {
        assert_eq!(site.get(path, &[])?.status, 401, "{path}");
        assert_eq!(site.upgrade(path, &[("Origin", &own)])?, 401, "{path}");
        assert_eq!(site.upgrade(path, &[("Origin", evil), ("Cookie", "let=in")])?, 403, "{path}");
    }
    assert_eq!(site.received(), Vec::<String>::new());

    let cookie = ("Cookie", "let=in");
    let expected = [
        ("/", 200),
        ("/vscode/S/", 302),
        ("/vscode/S/x", 200),
        ("/vscode/S", 301),
        ("/vscode/unknown/", 404),
        ("/apps/S-0/", 200),
        ("/apps/;", 404),
        ("/.oh/login", 404),
    ];
    for (path, status) in expected {
        assert_eq!(site.get(path, &[cookie])?.status, status, "{path}");
    }
    for path in ["/", "/vscode/S/", "/apps/S-0/"] {
        assert_eq!(site.upgrade(path, &[("Origin", &own), cookie])?, 200, "{path}");
    }
    let url = site.lab.url("/apps/S-0/upload");
    let upload =
        Request { method: "POST", headers: &[cookie], body: b"12345", ..Request::get(&url) };
    assert!(net::send(&upload)?.text().ends_with("5 bytes"));
    Ok(())
}

#[test]
fn the_endpoint_is_asked_without_the_body_without_the_upgrade_and_with_the_address() -> Result<()> {
    let endpoint = Parrot::endpoint()?;
    let auth_request = format!("site.auth_request=http://{}/auth", endpoint.address());
    let site = Site::of(Lab::with_tls()?, &["site.auth=request", &auth_request])?;
    let own = site.lab.url("");
    let port = site.lab.site_port;
    let url = site.lab.url("/apps/S-0/ws?x=y");
    let mut headers = vec![
        ("Cookie", "let=in"),
        ("Origin", &own),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
    ];
    headers.extend_from_slice(FORGED);
    net::send(&Request {
        method: "POST",
        headers: &headers,
        body: b"12345",
        ..Request::get(&url)
    })?;
    let expected = format!(
        "GET /auth HTTP/1.1\r\nHost: localhost:{port}\r\nX-Real-IP: 127.0.0.1\r\n\
         X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: localhost:{port}\r\nX-Forwarded-Port: {port}\r\n\
         X-Original-URI: /apps/S-0/ws?x=y\r\nX-OpenHands-Route: apps/S-0\r\n\
         X-Forwarded-Uri: /apps/S-0/ws?x=y\r\nX-Auth-Request-Redirect: /apps/S-0/ws?x=y\r\n\
         X-Forwarded-Method: POST\r\nX-Original-Method: POST\r\n\
         X-Original-URL: {own}/apps/S-0/ws?x=y\r\nCookie: let=in\r\nOrigin: {own}\r\n\r\n"
    );
    assert_eq!(endpoint.received(), [expected]);
    Ok(())
}

/// Tells whether a client that speaks this version alone comes to an understanding with the site.
fn speaks(site: &Site, version: &str) -> Result<bool> {
    let mut command = Command::new(components::program("openssl")?);
    command
        .args(["s_client", "-connect", &format!("127.0.0.1:{}", site.lab.site_port)])
        .args(["-servername", "localhost", "-cipher", "ALL:@SECLEVEL=0", version])
        .stdin(Stdio::null());
    Ok(command.output().context("could not run openssl")?.status.success())
}

#[test]
fn the_site_speaks_tls_1_2_and_1_3_and_nothing_older() -> Result<()> {
    let site = Site::with_tls()?;
    let mut spoken = Vec::new();
    for version in ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"] {
        if speaks(&site, version)? {
            spoken.push(version);
        }
    }
    assert_eq!(spoken, ["-tls1_2", "-tls1_3"]);
    Ok(())
}

#[test]
fn another_name_gets_no_answer_and_plain_http_is_sent_to_tls() -> Result<()> {
    let site = Site::with_tls()?;
    let port = site.lab.site_port;
    let other = format!("https://other.test:{port}/");
    assert!(net::get(&other, &site.with_login(&[])).is_err());
    assert!(site.get("/", &[("Host", "other.test")]).is_err());
    let plain = net::get(&format!("http://localhost:{port}/vscode/S/?x"), &[])?;
    let location = site.lab.url("/vscode/S/?x");
    assert_eq!((plain.status, plain.header("Location")), (301, Some(&*location)));
    assert_eq!(site.received(), Vec::<String>::new());
    Ok(())
}

#[test]
fn no_answer_says_which_nginx_this_is() -> Result<()> {
    let site = Site::with_tls()?;
    let plain = Site::of(Lab::with_login()?, &[])?;
    let answers = [
        site.lab.get("/", &[])?,
        site.get("/vscode/unknown/", &[])?,
        net::get(&format!("http://127.0.0.1:{}/", site.lab.site_port), &[])?,
        net::get(&format!("http://127.0.0.1:{}/", site.lab.generation_port), &[])?,
        // What is no request has no name either.
        plain.lab.get("/", &[("Host", "a b")])?,
    ];
    for answer in answers {
        assert_eq!(answer.header("Server"), Some("nginx"), "{}", answer.text());
        assert!(!answer.text().contains("nginx/"), "{}", answer.text());
    }
    Ok(())
}

/// What gixy says about our file and is not mended, each with the reason.
const GIXY_MAY_SAY: &[(&str, &str)] =
    &[("hsts_header", "HSTS holds for a name on all its ports, so only port 443 may say it")];

#[test]
fn gixy_finds_nothing_in_our_file() -> Result<()> {
    let site = Site::with_tls()?;
    let routes = site.lab.at("etc/nginx/openhands/routes.conf").display().to_string();
    let mut command = Command::new(components::gixy_python()?);
    command.args(["-m", "gixy", "-f", "json"]).arg(site.lab.at("etc/nginx/nginx.conf"));
    let said: Said = command.output().context("could not run gixy")?.into();
    let found = said.json()?;
    let found = found.as_array().with_context(|| format!("no list: {said:?}"))?;
    let ours = found.iter().filter(|issue| issue["file"] == *routes);
    let ours: Vec<_> = ours.map(|issue| (issue["plugin"].as_str(), &issue["reason"])).collect();
    // That it says these shows that it has read the file.
    let expected: Vec<_> = GIXY_MAY_SAY.iter().map(|(plugin, _)| Some(*plugin)).collect();
    let plugins: Vec<_> = ours.iter().map(|(plugin, _)| *plugin).collect();
    ensure!(plugins == expected, "{ours:#?}");
    Ok(())
}
