//! Every way from an address to a program: the prefix stripped or kept, ports and sockets, the site's
//! origin, a sandbox, and hosts of their own.
//!
//! nginx is the real one; a back end shows the bytes that arrive. The editors are in
//! `workbench_upstreams.rs`.

#[expect(dead_code, reason = "the tests of a site use more of it")]
#[path = "wire/site.rs"]
mod site;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::components;
use oh_testsuite::lab::{Lab, Said};
use oh_testsuite::net;
use serde_json::{Value, json};
use site::{Parrot, Site, header, publish, start_nginx};

/// The folder of sockets in a laboratory.
const SOCKETS: &str = "/run/sockets";

/// A site whose sessions are these, each with an editor and one application that is a parrot.
fn site_of(lab: Lab, sets: &[&str], sessions: &[(&str, Value)]) -> Result<Site> {
    let site = Site::of(lab, sets)?;
    for (id, ours) in sessions {
        let (editor, app) = (site.editor.port, site.app.port);
        let text = json!({ "vscode_port": editor, "app_ports": [app], "toolkit": ours });
        site.lab.end_session("S")?;
        site.lab.session(id, &text.to_string())?;
    }
    publish(&site.lab, &site.openhands.address(), sets)?;
    Ok(site)
}

/// Answers each request on a socket with the head of it.
fn parrot_on(socket: &Path) -> Result<()> {
    let folder = socket.parent().context("a socket is in a folder")?;
    fs::create_dir_all(folder)?;
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = String::new();
            let mut lines = BufReader::new(&stream);
            while lines.read_line(&mut head).is_ok_and(|count| count > 2) {}
            let answer = format!("HTTP/1.0 200 OK\r\n\r\nsocket {head}");
            // A client that went away has its answer.
            stream.write_all(answer.as_bytes()).unwrap_or_default();
        }
    });
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().split_once(' ').map_or("", |(_, line)| line)
}

#[test]
fn a_prefix_is_stripped_and_said_or_stripped_or_kept_byte_by_byte() -> Result<()> {
    let raw = "/a%2Fb//c%20d/../e;f?x=%2F&y";
    for (upstream, line, prefix) in [
        ("strip+prefix", "/a/b/e;f?x=%2F&y", Some("/vscode/T")),
        ("strip", "/a/b/e;f?x=%2F&y", None),
        ("base-path", "/vscode/T/a%2Fb//c%20d/../e;f?x=%2F&y", None),
    ] {
        let ours = json!({ "schema": 1, "upstream": upstream, "app_upstream": upstream });
        let site = site_of(Lab::with_tls()?, &[], &[("T", ours)])?;
        let said = site.get(&format!("/vscode/T{raw}"), &[])?.text();
        assert_eq!(first_line(&said), format!("GET {line} HTTP/1.1"), "{upstream}");
        assert_eq!(header(&said, "X-Forwarded-Prefix"), prefix, "{upstream}");
        assert_eq!(header(&said, "X-Forwarded-Path"), Some("/vscode/T/"), "{upstream}");
        let said = site.get(&format!("/apps/T-0{raw}"), &[])?.text();
        assert_eq!(
            first_line(&said),
            format!("GET {} HTTP/1.1", line.replace("vscode/T", "apps/T-0"))
        );

        // A redirect to a folder, as editors answer `?tkn=`, stays below the prefix.
        for (said, seen) in [
            ("/vscode/T?folder=%2Fw", "/vscode/T?folder=%2Fw"),
            ("/?folder=%2Fw", "/vscode/T/?folder=%2Fw"),
            (".?folder=%2Fw", ".?folder=%2Fw"),
        ] {
            let say = format!("Location: {said}");
            let answer = site.get("/vscode/T/?tkn=x", &[("X-Say", &say)])?;
            assert_eq!(answer.header("Location"), Some(seen), "{upstream} {said}");
        }
        let own = site.lab.url("");
        assert_eq!(site.upgrade("/vscode/T/x", &[("Origin", "https://evil.example")])?, 403);
        assert_eq!(site.upgrade("/vscode/T/x", &[("Origin", "null")])?, 403);
        assert_eq!(site.upgrade("/vscode/T/x", &[("Origin", &own)])?, 200);
        assert_eq!(site.lab.get("/vscode/T/x", &[])?.status, 401);
        let log = site.lab.error_log();
        assert!(!log.contains("[error]") && !log.contains("[warn]"), "{log}");
    }
    Ok(())
}

#[test]
fn the_configuration_says_what_becomes_of_the_prefix_where_a_file_does_not() -> Result<()> {
    let site = Site::of(Lab::with_tls()?, &["sessions.upstream=base-path"])?;
    let said = site.get("/vscode/S/x", &[])?.text();
    assert_eq!(first_line(&said), "GET /vscode/S/x HTTP/1.1");
    Ok(())
}

#[test]
fn a_socket_is_served_as_soon_as_it_is_there_without_a_reload() -> Result<()> {
    let sockets = format!("sessions.sockets={SOCKETS}");
    let site = Site::of(Lab::with_tls()?, &[&sockets])?;
    let generation = site.lab.generation();
    let at = |below: &str| site.lab.at(&format!("run/sockets/{below}/socket"));
    assert_eq!(site.get("/vscode/new/x", &[])?.status, 404);

    parrot_on(&at("vscode/new"))?;
    parrot_on(&at("apps/new-3"))?;
    let said = site.get("/vscode/new/x%2Fy?z", &[])?.text();
    assert_eq!(
        said.lines().next(),
        Some("socket GET /x/y?z HTTP/1.1"),
        "{said}{}",
        site.lab.error_log()
    );
    assert_eq!(header(&said, "X-Forwarded-Prefix"), Some("/vscode/new"));
    assert_eq!(header(&said, "Authorization"), None);
    let said = site.get("/apps/new-3/", &[])?.text();
    assert_eq!(said.lines().next(), Some("socket GET / HTTP/1.1"));
    // A port goes before a socket, and the login before both.
    parrot_on(&at("vscode/S"))?;
    assert_eq!(site.name_of(&site.get("/vscode/S/x", &[])?.text()), "editor");
    assert_eq!(site.lab.get("/vscode/new/x", &[])?.status, 401);
    assert_eq!(site.upgrade("/vscode/new/x", &[("Origin", "https://evil.example")])?, 403);
    parrot_on(&at("vscode/UPPER"))?;
    for path in [
        "/vscode/UPPER/",
        "/vscode/New/",
        "/vscode/ne/",
        "/vscode/new/../../apps/new-4/",
        "/apps/new-3x/",
    ] {
        assert_eq!(site.get(path, &[])?.status, 404, "{path}");
    }
    assert_eq!(site.lab.generation(), generation);

    // The folder is the session; without a socket in it, its program is away.
    fs::remove_file(at("vscode/new"))?;
    assert_eq!(site.get("/vscode/new/x", &[])?.status, 502);
    fs::remove_dir(site.lab.at("run/sockets/vscode/new"))?;
    assert_eq!(site.get("/vscode/new/x", &[])?.status, 404);
    Ok(())
}

#[test]
fn a_session_file_says_what_becomes_of_the_prefix_before_a_socket() -> Result<()> {
    let sockets = format!("sessions.sockets={SOCKETS}");
    let site = Site::of(Lab::with_tls()?, &[&sockets])?;
    parrot_on(&site.lab.at("run/sockets/vscode/u/socket"))?;
    let ours = json!({ "schema": 1, "transport": "unix", "upstream": "base-path", "folder": "/w" });
    site.lab.session("u", &json!({ "toolkit": ours }).to_string())?;
    publish(&site.lab, &site.openhands.address(), &[&sockets])?;
    let said = site.get("/vscode/u/a%2Fb", &[])?.text();
    assert_eq!(said.lines().next(), Some("socket GET /vscode/u/a%2Fb HTTP/1.1"));
    let answer = site.get("/vscode/u/", &[])?;
    assert_eq!(answer.status, 200, "a folder is opened where there is a port");
    Ok(())
}

#[test]
fn a_folder_of_sockets_that_others_can_add_to_is_refused() -> Result<()> {
    let mut lab = Lab::plain()?;
    start_nginx(&mut lab)?;
    for (below, mode, code) in [("vscode", 0o755, 0), ("vscode", 0o1777, 2), ("apps", 0o775, 2)] {
        let folder = lab.at(&format!("run/sockets/{below}"));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
        let set = format!("sessions.sockets={SOCKETS}");
        let said = lab.run(&["apply", "--set", &set])?.expect(code)?;
        if code != 0 {
            ensure!(said.stderr.contains("others could take an id by a socket"), "{said:?}");
            ensure!(said.stderr.contains("chmod go-w"), "{said:?}");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[test]
fn every_session_has_a_host_and_an_origin_of_its_own() -> Result<()> {
    let sets = ["site.isolation=subdomain"];
    let mut lab = Lab::with_tls()?;
    start_nginx(&mut lab)?;
    let (editor, app, other) = (Parrot::start()?, Parrot::start()?, Parrot::start()?);
    let openhands = Parrot::start()?;
    let session = |port, apps: &[u16]| json!({ "vscode_port": port, "app_ports": apps });
    lab.session("S", &session(editor.port, &[app.port]).to_string())?;
    lab.session("other-7", &session(other.port, &[]).to_string())?;
    let login = publish(&lab, &openhands.address(), &sets)?;
    let login = ("Authorization", login.as_str());
    let url = |host: &str, path: &str| format!("https://{host}localhost:{}{path}", lab.site_port);
    let port_of = |text: &str| text.split(' ').next().and_then(|word| word.parse::<u16>().ok());

    for (host, port) in [("s.", editor.port), ("s-0.", app.port), ("other-7.", other.port)] {
        let raw = "/a%2Fb//c?x=%2F";
        assert_eq!(net::get(&url(host, raw), &[])?.status, 401, "{host}");
        let said = net::get(&url(host, raw), &[login])?.text();
        assert_eq!(port_of(&said), Some(port), "{host}: {said}");
        assert_eq!(first_line(&said), format!("GET {raw} HTTP/1.1"));
        let authority = format!("{host}localhost:{}", lab.site_port);
        assert_eq!(header(&said, "Host"), Some(authority.as_str()));
        assert_eq!(header(&said, "X-Forwarded-Host"), Some(authority.as_str()));
        assert_eq!(header(&said, "X-Forwarded-Prefix"), None);
        assert_eq!(header(&said, "Authorization"), None);

        // Only the host's own pages open WebSockets: not the site's, not a sibling's.
        let own = url(host, "");
        for (origin, status) in [
            (own.as_str(), 200),
            (&url("", ""), 403),
            (&url("sibling.", ""), 403),
            ("null", 403),
            ("https://evil.example", 403),
            (&format!("{own}0"), 403),
        ] {
            let answer = net::upgrade(&url(host, "/ws"), &[login, ("Origin", origin)])?;
            assert_eq!(answer.status(), status, "{host} {origin}");
        }
        assert_eq!(net::upgrade(&url(host, "/ws"), &[login])?.status(), 200, "no browser");
        for (origin, status) in [(own.as_str(), 200), (&url("", ""), 403), ("null", 403)] {
            let (url, headers) = (url(host, "/x"), [login, ("Origin", origin)]);
            let request =
                net::Request { method: "POST", headers: &headers, ..net::Request::get(&url) };
            assert_eq!(net::send(&request)?.status, status, "{host} {origin}");
        }

        let say = "Set-Cookie: a=b; Domain=localhost; Path=/";
        let answer = net::get(&url(host, "/"), &[login, ("X-Say", say)])?;
        let cookie = format!("a=b; Domain={host}localhost; Path=/");
        assert_eq!(answer.header("Set-Cookie"), Some(cookie.as_str()));
        let say = format!("Location: http://127.0.0.1:{port}/x");
        let answer = net::get(&url(host, "/"), &[login, ("X-Say", &say)])?;
        assert_eq!(answer.header("Location"), Some("/x"));
    }
    for host in ["s-1.", "unknown.", "unknown-0."] {
        assert_eq!(net::get(&url(host, "/"), &[login])?.status, 404, "{host}");
        assert_eq!(net::get(&url(host, "/"), &[])?.status, 401, "{host}");
    }
    // Old addresses lead on; OpenHands is where it was.
    for (path, host) in
        [("/vscode/S/?x=y", "S."), ("/vscode/S/deep?x=y", "S."), ("/apps/S-0/?x=y", "S-0.")]
    {
        let answer = net::get(&url("", path), &[login])?;
        let target = url(host, "/?x=y");
        assert_eq!(
            (answer.status, answer.header("Location")),
            (302, Some(target.as_str())),
            "{path}"
        );
    }
    assert_eq!(net::get(&url("", "/vscode/unknown/"), &[login])?.status, 404);
    assert_eq!(port_of(&net::get(&url("", "/"), &[login])?.text()), Some(openhands.port));

    let said = lab.run(&[
        "status",
        "--set",
        sets[0],
        "--set",
        &format!("site.upstream={}", openhands.address()),
    ])?;
    ensure!(said.stdout.contains(&url("s-0.", "/")), "{said:?}");
    let log = lab.error_log();
    assert!(!log.contains("[error]") && !log.contains("[warn]"), "{log}");
    Ok(())
}

#[test]
fn a_host_with_a_prefix_to_keep_leads_to_it_and_a_socket_has_a_host_too() -> Result<()> {
    let sockets = format!("sessions.sockets={SOCKETS}");
    let sets = ["site.isolation=subdomain", sockets.as_str()];
    let ours = json!({ "schema": 1, "upstream": "base-path", "folder": "/w" });
    let site = site_of(Lab::with_tls()?, &sets, &[("kept", ours)])?;
    let url =
        |host: &str, path: &str| format!("https://{host}.localhost:{}{path}", site.lab.site_port);
    let login = ("Authorization", site.login.as_str());
    let folder = format!("{}/w", site.lab.root());
    let answer = net::get(&url("kept", "/"), &[login])?;
    let target = format!("/vscode/kept/?folder={folder}");
    assert_eq!((answer.status, answer.header("Location")), (302, Some(target.as_str())));
    let said = net::get(&url("kept", "/vscode/kept/?folder=/w"), &[login])?.text();
    assert_eq!(first_line(&said), "GET /vscode/kept/?folder=/w HTTP/1.1");

    parrot_on(&site.lab.at("run/sockets/vscode/sock/socket"))?;
    parrot_on(&site.lab.at("run/sockets/apps/sock-0/socket"))?;
    for host in ["sock", "sock-0"] {
        let said = net::get(&url(host, "/a%2Fb"), &[login])?.text();
        assert_eq!(said.lines().next(), Some("socket GET /a%2Fb HTTP/1.1"), "{host}");
        let status = net::upgrade(&url(host, "/"), &[login, ("Origin", "null")])?.status();
        assert_eq!(status, 403);
    }
    let answer = site.get("/vscode/sock/", &[])?;
    assert_eq!(answer.header("Location"), Some(url("sock", "/").as_str()));
    Ok(())
}

/// Asks by HTTP/2, which our own client does not speak; returns the status and the head.
fn by_http2(site: &Site, path: &str, headers: &[&str]) -> Result<(String, String)> {
    let mut command = Command::new(components::program("curl")?);
    command.args([
        "--silent",
        "--insecure",
        "--http2",
        "--dump-header",
        "-",
        "--output",
        "/dev/null",
    ]);
    command.args(["--header", &format!("Authorization: {}", site.login)]);
    command.args(headers.iter().flat_map(|header| ["--header", *header]));
    let said: Said = command.arg(site.lab.url(path)).output()?.into();
    let head = said.expect(0)?.stdout.to_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, head))
}

#[test]
fn a_sandboxed_application_has_an_origin_that_nobody_else_has() -> Result<()> {
    let site = Site::of(Lab::with_tls()?, &["site.isolation=sandbox"])?;
    let say = "X-Say: Content-Security-Policy: default-src 'self'";
    let cookie = "X-Say: Set-Cookie: a=b";
    let (status, head) = by_http2(&site, "/apps/S-0/", &[say, cookie, "Cookie: login=x"])?;
    assert_eq!(status, "200", "{head}");
    let policies: Vec<_> =
        head.lines().filter_map(|line| line.strip_prefix("content-security-policy: ")).collect();
    // What the application says itself stays beside ours: browsers obey both.
    assert_eq!(policies.len(), 2, "{head}");
    ensure!(policies.iter().any(|policy| policy.starts_with("sandbox ")), "{head}");
    ensure!(!head.contains("allow-same-origin") && !head.contains("set-cookie"), "{head}");
    let heads = site.app.received();
    ensure!(header(&heads[0], "Cookie").is_none(), "{heads:?}");
    for path in ["/vscode/S/x", "/"] {
        ensure!(!by_http2(&site, path, &[])?.1.contains("content-security-policy"), "{path}");
    }
    // An answer of HTTP/1 that is no HTTP would go on without any header of ours.
    assert_eq!(site.get("/apps/S-0/", &[])?.status, 505);
    assert_eq!(site.app.received(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_page_of_a_foreign_origin_changes_nothing() -> Result<()> {
    for isolation in ["path", "sandbox"] {
        let site = Site::of(Lab::with_tls()?, &[&format!("site.isolation={isolation}")])?;
        let own = site.lab.url("");
        for path in ["/api/conversations", "/vscode/S/x", "/socket.io/?EIO=4&transport=polling"] {
            for (origin, status) in [
                (Some("https://evil.example"), 403),
                (Some("null"), 403),
                (Some(own.as_str()), 200),
                (None, 200),
            ] {
                for method in ["POST", "PUT", "PATCH", "DELETE"] {
                    let origin = origin.map(|origin| ("Origin", origin));
                    let headers = site.with_login(origin.as_slice());
                    let url = site.lab.url(path);
                    let request =
                        net::Request { method, headers: &headers, ..net::Request::get(&url) };
                    let answer = net::send(&request)?;
                    assert_eq!(answer.status, status, "{isolation} {method} {path} {origin:?}");
                }
            }
        }
        site.received();
        // What another origin only reads is the browser's to refuse.
        let foreign = [("Origin", "https://evil.example")];
        assert_eq!(site.get("/api/conversations", &foreign)?.status, 200);
    }
    Ok(())
}

#[test]
fn the_endpoint_learns_which_session_is_asked_for_and_whose_it_is() -> Result<()> {
    for isolation in ["path", "subdomain"] {
        let endpoint = Parrot::endpoint()?;
        let sets = [
            "site.auth=request".to_owned(),
            format!("site.auth_request=http://{}/auth", endpoint.address()),
            format!("site.isolation={isolation}"),
        ];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let ours = json!({ "schema": 1, "owner": "ann+x@oh.example" });
        let site = site_of(Lab::with_tls()?, &sets, &[("T", ours)])?;
        let host = |label: &str, path: &str| {
            format!("https://{label}localhost:{}{path}", site.lab.site_port)
        };
        let asked = match isolation {
            "path" => [host("", "/vscode/T/x"), host("", "/apps/T-0/x")],
            _ => [host("t.", "/x"), host("t-0.", "/x")],
        };
        let forged = ("X-OpenHands-Owner", "root@oh.example");
        for (url, route) in asked.iter().zip(["vscode/T", "apps/T-0"]) {
            assert_eq!(net::get(url, &[("Cookie", "let=in"), forged])?.status, 200, "{url}");
            let heads = endpoint.received();
            assert_eq!(heads.len(), 1, "the login is asked for once: {heads:?}");
            let head = &heads[0];
            assert_eq!(header(head, "X-OpenHands-Owner"), Some("ann+x@oh.example"), "{head}");
            let said = header(head, "X-OpenHands-Route").unwrap_or_default();
            assert!(said.eq_ignore_ascii_case(route), "{head}");
        }
        net::get(&host("", "/"), &[("Cookie", "let=in"), forged])?;
        let heads = endpoint.received();
        assert_eq!(header(&heads[0], "X-OpenHands-Owner"), None, "{heads:?}");
        let log = site.lab.error_log();
        assert!(!log.contains("[error]") && !log.contains("[warn]"), "{log}");
    }
    Ok(())
}

#[test]
fn a_browser_without_a_login_is_sent_to_the_endpoints_pages() -> Result<()> {
    for isolation in ["path", "subdomain"] {
        let endpoint = Parrot::endpoint()?;
        let sets = [
            "site.auth=request".to_owned(),
            format!("site.auth_request=http://{}/oauth2/auth", endpoint.address()),
            "site.auth_start=/oauth2/start".to_owned(),
            format!("site.isolation={isolation}"),
        ];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let site = Site::of(Lab::with_tls()?, &sets)?;
        let at = |label: &str, path: &str| {
            format!("https://{label}localhost:{}{path}", site.lab.site_port)
        };
        let (asked, back) = match isolation {
            "path" => (at("", "/vscode/S/?x=y"), "/oauth2/start?rd=/vscode/S/?x=y".to_owned()),
            _ => {
                let asked = at("s.", "/?x=y");
                let back = at("", &format!("/oauth2/start?rd={asked}"));
                (asked, back)
            }
        };
        let page = [("Sec-Fetch-Mode", "navigate")];
        for headers in [&page[..], &[]] {
            let answer = net::get(&asked, headers)?;
            assert_eq!((answer.status, answer.header("Location")), (302, Some(back.as_str())));
        }
        // Scripts, uploads and WebSockets are told, not led.
        assert_eq!(net::get(&asked, &[("Sec-Fetch-Mode", "cors")])?.status, 401);
        let post = net::Request { method: "POST", body: b"x", ..net::Request::get(&asked) };
        assert_eq!(net::send(&post)?.status, 401);
        assert_eq!(net::upgrade(&asked, &page)?.status(), 401);
        assert_eq!(net::get(&asked, &[("Cookie", "let=in")])?.status, 200);

        // The login's own pages are open, and nothing beside them.
        endpoint.received();
        let login = [("Cookie", "let=in")];
        assert_eq!(net::get(&at("", "/oauth2/start?rd=/x"), &login)?.status, 200);
        let heads = endpoint.received();
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert!(heads[0].starts_with("GET /oauth2/start?rd=/x HTTP/1.1"), "{heads:?}");
        for path in ["/oauth2x/", "/oauth2/../", "/OAUTH2/start"] {
            assert_eq!(
                net::get(&at("", path), &[("Sec-Fetch-Mode", "cors")])?.status,
                401,
                "{path}"
            );
        }
    }
    Ok(())
}

#[test]
fn gixy_finds_nothing_new_in_any_of_them() -> Result<()> {
    let sockets = format!("sessions.sockets={SOCKETS}");
    for isolation in ["path", "sandbox", "subdomain"] {
        let isolation = format!("site.isolation={isolation}");
        let site = Site::of(Lab::with_tls()?, &[&isolation, &sockets])?;
        let routes = site.lab.at("etc/nginx/openhands/routes.conf").display().to_string();
        let mut command = Command::new(components::gixy_python()?);
        command.args(["-m", "gixy", "-f", "json"]).arg(site.lab.at("etc/nginx/nginx.conf"));
        let said: Said = command.output().context("could not run gixy")?.into();
        let found = said.json()?;
        let found = found.as_array().with_context(|| format!("no list: {said:?}"))?;
        let ours = found.iter().filter(|issue| issue["file"] == *routes);
        let mut plugins: Vec<_> = ours.filter_map(|issue| issue["plugin"].as_str()).collect();
        plugins.sort_unstable();
        plugins.dedup();
        // The reason for it is beside the test of the default layout.
        ensure!(plugins == ["hsts_header"], "{isolation}: {found:#?}");
    }
    Ok(())
}
