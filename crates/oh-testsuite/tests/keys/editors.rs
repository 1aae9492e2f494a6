//! The real editors behind their keys.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use oh_host::instances::Record;
use oh_model::instance::Server;
use oh_model::upstream::Upstream;
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::{editor, net, remote_agent, wait};

use crate::scene::{BOUND, Editor, SOCKETS, Scene, key, put_record, put_session};

/// What a visitor finds who knows nginx's password and nothing else.
fn works_by_wire(scene: &Scene, editor: &Editor, base: &str) -> Result<()> {
    let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let cookie = editor.server.key_cookie();
    let forged = format!("{cookie}=forged; other=1; {cookie}={}", key("ff"));
    for cookies in ["", forged.as_str()] {
        let mut known = vec![("Authorization", scene.login.as_str())];
        known.extend((!cookies.is_empty()).then_some(("Cookie", cookies)));
        let page = net::get(&format!("{base}?folder={}", editor.folder.path().display()), &known)?;
        let text = page.text();
        ensure!(page.status == 200, "{base}: {} {text}", page.status);
        ensure!(text.contains("vscode-workbench-web-configuration"), "{base}: {text}");
        let css = text.split('"').find(|part| part.ends_with("workbench.css"));
        let css = css.context("the page has no style")?;
        let css =
            if css.starts_with('/') { format!("{origin}{css}") } else { format!("{base}{css}") };
        let asset = net::get(&css, &known)?;
        ensure!(asset.status == 200, "{css}: {}", asset.status);

        let set: Vec<&str> = page.header_all("Set-Cookie").collect();
        match editor.server {
            // It stays between nginx and the editor.
            Server::CodeServer => ensure!(set.is_empty(), "{set:?}"),
            // The page has to say it again in its handshake.
            Server::Openvscode => {
                let said = set.first().context("the page gets no token")?.to_lowercase();
                ensure!(said.starts_with(&format!("vscode-tkn={}", editor.key)), "{said}");
                ensure!(said.contains("; secure") && said.contains("; samesite=strict"), "{said}");
                ensure!(set.len() == 1, "{set:?}");
            }
        }
        let commit = remote_agent::commit(&text)?;
        let with_origin = |origin| [known.as_slice(), &[("Origin", origin)]].concat();
        let own = with_origin(origin.as_str());
        remote_agent::handshake(base, &commit, editor.token(), &own)
            .with_context(|| base.to_owned())?;
        for foreign in ["https://evil.example", "null"] {
            let url = format!("{base}stable-{commit}");
            let status = net::upgrade(&url, &with_origin(foreign))?.status();
            ensure!(status == 403, "{base}: {foreign} gets {status}");
        }
    }
    // nginx's login comes before it presents anything.
    ensure!(net::get(base, &[("Cookie", forged.as_str())])?.status == 401, "{base} is open");
    let with_key = format!("{cookie}={}", editor.key);
    ensure!(net::get(base, &[("Cookie", with_key.as_str())])?.status == 401, "{base} is open");
    Ok(())
}

/// What somebody finds who is on the machine and goes straight to the port.
fn is_closed(editor: &Editor) -> Result<()> {
    let base = format!("http://127.0.0.1:{}/", editor.port()?);
    let cookie = editor.server.key_cookie();
    let (right, wrong) = (format!("{cookie}={}", editor.key), format!("{cookie}={}", key("ff")));
    let page = |cookies: &str| -> Result<u16> {
        let headers = [("Cookie", cookies)];
        let answer = net::get(&format!("{base}?folder=/"), &headers)?;
        let to_login = answer.header("Location").is_some_and(|to| to.contains("login"));
        ensure!(answer.status != 302 || to_login, "{answer:?}");
        Ok(answer.status)
    };
    let refused = match editor.server {
        Server::CodeServer => 302,
        Server::Openvscode => 403,
    };
    assert_eq!(page("a=b")?, refused);
    assert_eq!(page(&wrong)?, refused);
    assert_eq!(page(&right)?, 200);
    // This is why nginx writes its own before the visitor's: of two of one name the first counts.
    assert_eq!(page(&format!("{right}; {wrong}"))?, 200);
    assert_eq!(page(&format!("{wrong}; {right}"))?, refused);

    let text = net::get(&format!("{base}?folder=/"), &[("Cookie", &right)])?.text();
    let commit = remote_agent::commit(&text)?;
    let attempt = remote_agent::handshake(&base, &commit, remote_agent::NO_TOKEN, &[]);
    let why = format!("{:#}", attempt.err().context("anybody connects")?);
    match editor.server {
        Server::CodeServer => ensure!(why.contains("401"), "{why}"),
        Server::Openvscode => ensure!(why.contains("auth mismatch"), "{why}"),
    }
    Ok(())
}

/// code-server's own pages of its login are no way around, and harm nothing.
fn survives_its_logout(scene: &Scene, base: &str) -> Result<()> {
    let known = [("Authorization", scene.login.as_str())];
    let out = net::get(&format!("{base}logout"), &known)?;
    ensure!(out.status == 302, "{out:?}");
    for set in out.header_all("Set-Cookie") {
        ensure!(set.starts_with("code-server-session=;"), "{set}");
    }
    let emptied = [known[0], ("Cookie", "code-server-session=")];
    ensure!(net::get(&format!("{base}?folder=/"), &emptied)?.status == 200, "it is logged out");
    Ok(())
}

#[test]
fn on_ports_nginx_presents_what_nobody_else_knows() -> Result<()> {
    let code = Editor::code_server(&key("a1"), None)?;
    let open = Editor::openvscode(&key("b2"), None, &[])?;
    let based = Editor::openvscode(&key("c3"), None, &["--server-base-path", "/vscode/based"])?;
    for isolation in ["path", "sandbox", "subdomain"] {
        let scene = Scene::new(&[&format!("site.isolation={isolation}")])?;
        put_session(&scene.lab, &code.record("code")?)?;
        put_session(&scene.lab, &open.record("open")?)?;
        put_session(
            &scene.lab,
            &Record { upstream: Upstream::BasePath, ..based.record("based")? },
        )?;
        scene.apply()?;
        works_by_wire(&scene, &code, &scene.base("code"))?;
        works_by_wire(&scene, &open, &scene.base("open"))?;
        let base = match isolation {
            "subdomain" => format!("{}vscode/based/", scene.base("based")),
            _ => scene.base("based"),
        };
        works_by_wire(&scene, &based, &base)?;
        survives_its_logout(&scene, &scene.base("code"))?;
    }
    is_closed(&code)?;
    is_closed(&open)
}

#[test]
fn on_sockets_nginx_presents_what_nobody_else_knows() -> Result<()> {
    for isolation in ["path", "subdomain"] {
        let scene = Scene::new(&[&format!("site.isolation={isolation}"), SOCKETS])?;
        let code = Editor::code_server(&key("a1"), Some(&scene.socket("code")?))?;
        let open = Editor::openvscode(&key("b2"), Some(&scene.socket("open")?), &[])?;
        put_session(&scene.lab, &code.record_on_socket("code")?)?;
        // A repository on a socket is announced by its record alone.
        let repository = oh_model::instance::Subject::Repository;
        put_record(&scene.lab, &Record { subject: repository, ..open.record_on_socket("open")? })?;
        scene.apply()?;
        works_by_wire(&scene, &code, &scene.base("code"))?;
        works_by_wire(&scene, &open, &scene.base("open"))?;
    }
    Ok(())
}

/// Opens the workbench and lets its terminal write a file; no address has a key in it.
fn works_in_a_browser(scene: &Scene, editor: &Editor, base: &str) -> Result<()> {
    let browser = Browser::start()?;
    // The login is answered once, at an address that leads nowhere; later ones carry none.
    let with_login = base.replacen("://", &format!("://{}@", scene.credentials), 1);
    browser.open(&format!("{with_login}healthz"))?;
    browser.open(&format!("{base}?folder={}", editor.folder.path().display()))?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
    let url = browser.url()?;
    ensure!(url.starts_with(base.trim_end_matches('/')) && !url.contains("tkn"), "{url}");

    editor::run_command(&browser, "Terminal: Create New Terminal", BOUND)?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    browser.type_text("echo 42 > proof")?;
    browser.press(&[Key::Enter])?;
    let proof = editor.folder.path().join("proof");
    wait::until_true("the file that the terminal writes", BOUND, || {
        fs::read_to_string(&proof).is_ok_and(|text| text == "42\n")
    })?;
    let kept = browser.cookies()?;
    let kept: Vec<_> = kept.iter().filter(|cookie| cookie.value.contains(&editor.key)).collect();
    match editor.server {
        Server::CodeServer => ensure!(kept.is_empty(), "{kept:?}"),
        Server::Openvscode => {
            let path = base.splitn(4, '/').nth(3).unwrap_or_default().trim_end_matches('/');
            ensure!(kept.len() == 1, "{kept:?}");
            let one = kept.first().context("no cookie")?;
            ensure!(one.path == format!("/{path}"), "{one:?}");
            ensure!(one.secure && one.same_site == "Strict", "{one:?}");
        }
    }
    Ok(())
}

#[test]
fn code_server_works_in_a_browser_by_nginxs_login_alone() -> Result<()> {
    let code = Editor::code_server(&key("a1"), None)?;
    let scene = Scene::new(&[])?;
    put_session(&scene.lab, &code.record("code")?)?;
    scene.apply()?;
    works_in_a_browser(&scene, &code, &scene.base("code"))
}

#[test]
fn openvscode_works_in_a_browser_by_nginxs_login_alone() -> Result<()> {
    let open = Editor::openvscode(&key("b2"), None, &[])?;
    for isolation in ["path", "subdomain"] {
        let scene = Scene::new(&[&format!("site.isolation={isolation}")])?;
        put_session(&scene.lab, &open.record("open")?)?;
        scene.apply()?;
        fs::remove_file(open.folder.path().join("proof")).unwrap_or_default();
        works_in_a_browser(&scene, &open, &scene.base("open"))?;
    }
    Ok(())
}

#[test]
fn openvscode_on_a_socket_and_below_its_prefix_works_in_a_browser() -> Result<()> {
    let scene = Scene::new(&[SOCKETS])?;
    let base_path = ["--server-base-path", "/vscode/based"];
    let based = Editor::openvscode(&key("c3"), Some(&scene.socket("based")?), &base_path)?;
    let record = based.record_on_socket("based")?;
    put_session(&scene.lab, &Record { upstream: Upstream::BasePath, ..record })?;
    scene.apply()?;
    works_in_a_browser(&scene, &based, &scene.base("based"))
}
