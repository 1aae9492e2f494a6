//! Both kinds of editor, in every way that an address can take to them: by wire the page, an asset, the
//! handshake of the workbench, a foreign Origin and the redirects; and in a browser the workbench and
//! its terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::browser::{Browser, Key};
use oh_testsuite::lab::{self, Lab};
use oh_testsuite::openvscode::Server;
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, net, remote_agent, wait};
use serde_json::{Value, json};

/// A cold start of an editor and its first page, on two busy cores.
const BOUND: Duration = Duration::from_secs(90);

/// The connection token of the servers that have one.
const TOKEN: &str = "4f1c-token";

/// An editor that runs, in its own folder.
struct Editor {
    folder: tempfile::TempDir,
    address: String,
    /// What the workbench says at its handshake, and what visitors bring in their first address.
    token: Option<&'static str>,
    _running: Box<dyn std::any::Any>,
}

impl Editor {
    fn code_server(socket: Option<&Path>) -> Result<Self> {
        let folder = workspace()?;
        let data = folder.path().join(".data");
        fs::create_dir_all(data.join("User"))?;
        fs::write(data.join("User/settings.json"), editor::SETTINGS)?;
        let mut command = Command::new(components::node()?);
        command
            .arg(components::code_server()?)
            .args(["--auth", "none", "--disable-telemetry", "--disable-workspace-trust"])
            .args(["--disable-update-check", "--disable-proxy"]);
        match socket {
            Some(path) => command.args(["--socket-mode", "666", "--socket"]).arg(path),
            None => command.args(["--bind-addr", "127.0.0.1:0"]),
        };
        command
            .arg("--user-data-dir")
            .arg(&data)
            .arg(folder.path())
            .env("HOME", &data)
            .env("TMPDIR", &data)
            .env_remove("XDG_CONFIG_HOME");
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("HTTP server listening on ", BOUND)?;
        let address = line.rsplit(['/', ' ']).find(|part| !part.is_empty()).unwrap_or_default();
        let address = address.to_owned();
        Ok(Self { folder, address, token: None, _running: Box::new(running) })
    }

    fn openvscode(more: &[&str]) -> Result<Self> {
        let folder = workspace()?;
        let path = folder.path().display().to_string();
        let folder_flag = ["--default-folder", path.as_str()];
        let server = Server::start(
            &folder.path().join(".data"),
            TOKEN,
            &[folder_flag.as_slice(), more].concat(),
        )?;
        let address = server.address.clone();
        Ok(Self { folder, address, token: Some(TOKEN), _running: Box::new(server) })
    }

    fn port(&self) -> Result<u16> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        port.parse().with_context(|| format!("{:?} has no port", self.address))
    }

    /// The headers of a visitor whom the editor knows.
    fn cookie(&self) -> Vec<(&'static str, String)> {
        self.token.map(|token| ("Cookie", format!("vscode-tkn={token}"))).into_iter().collect()
    }
}

/// A folder with a file to know it by.
fn workspace() -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("oh-workspace-").tempdir()?;
    fs::write(folder.path().join("README.md"), "known by this\n")?;
    Ok(folder)
}

/// What a visitor finds at an address, by wire.
fn works_by_wire(editor: &Editor, base: &str, login: &str) -> Result<()> {
    let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let cookies = editor.cookie();
    let mut known = vec![("Authorization", login)];
    known.extend(cookies.iter().map(|(name, value)| (*name, value.as_str())));
    let folder = editor.folder.path().display();

    let page = net::get(&format!("{base}?folder={folder}"), &known)?;
    let text = page.text();
    ensure!(page.status == 200, "{base}: {} {text}", page.status);
    ensure!(text.contains("vscode-workbench-web-configuration"), "{base}: {text}");
    let css = text.split('"').find(|part| part.ends_with("workbench.css"));
    let css = css.context("the page has no style")?;
    let css = if css.starts_with('/') { format!("{origin}{css}") } else { format!("{base}{css}") };
    ensure!(css.starts_with(base), "{css} is not below {base}");
    let asset = net::get(&css, &known)?;
    ensure!(asset.status == 200, "{css}: {}", asset.status);

    let commit = remote_agent::commit(&text)?;
    let token = editor.token.unwrap_or(remote_agent::NO_TOKEN);
    let with_origin = |origin| [known.as_slice(), &[("Origin", origin)]].concat();
    remote_agent::handshake(base, &commit, token, &with_origin(origin.as_str()))
        .with_context(|| base.to_owned())?;
    for foreign in ["https://evil.example", "null", "http://localhost"] {
        let url = format!("{base}stable-{commit}");
        let status = net::upgrade(&url, &with_origin(foreign))?.status();
        ensure!(status == 403, "{base}: {foreign} gets {status}");
    }
    ensure!(net::get(base, &[])?.status == 401, "{base} is open");

    if let Some(token) = editor.token {
        let first = [("Authorization", login)];
        let answer = net::get(&format!("{base}?tkn={token}&folder={folder}"), &first)?;
        let target = answer.header("Location").context("the token is not taken")?;
        let stays = target.starts_with('.')
            || format!("{origin}{target}/").replace("?", "/?").starts_with(base);
        ensure!(stays, "{base} leads to {target}");
    }
    Ok(())
}

struct Scene {
    lab: Lab,
    /// The login as the value of a header.
    login: String,
    /// The login as a URL has it.
    credentials: String,
}

impl Scene {
    fn new(sets: &[&str], sessions: &[(&str, Value)]) -> Result<Self> {
        let mut lab = Lab::with_tls()?;
        let config = fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
        lab.write("etc/nginx/nginx.conf", &format!("user www-data;\n{config}"))?;
        lab.start_nginx()?;
        for (id, text) in sessions {
            lab.session(id, &text.to_string())?;
        }
        let mut arguments = vec!["apply", "--format", "json"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let password = lab::password(&lab.run(&arguments)?.expect(0)?.json()?)?;
        let login = lab::basic("openhands", &password);
        Ok(Self { lab, login, credentials: format!("openhands:{password}") })
    }

    fn host(&self, label: &str) -> String {
        format!("https://{label}.localhost:{}/", self.lab.site_port)
    }
}

fn session(editor: &Editor, upstream: &str) -> Result<Value> {
    let ours = json!({ "schema": 1, "upstream": upstream });
    Ok(json!({ "vscode_port": editor.port()?, "toolkit": ours }))
}

#[test]
fn both_kinds_of_editor_work_by_wire_in_every_way() -> Result<()> {
    let code = Editor::code_server(None)?;
    let based = Editor::openvscode(&["--server-base-path", "/vscode/based"])?;
    let open = Editor::openvscode(&[])?;
    let sessions = [
        ("code", session(&code, "strip+prefix")?),
        ("based", session(&based, "base-path")?),
        ("open", session(&open, "strip+prefix")?),
    ];
    for isolation in ["path", "sandbox"] {
        let scene = Scene::new(&[&format!("site.isolation={isolation}")], &sessions)?;
        for (id, editor) in [("code", &code), ("based", &based), ("open", &open)] {
            works_by_wire(editor, &scene.lab.url(&format!("/vscode/{id}/")), &scene.login)?;
            let bare = scene.lab.url(&format!("/vscode/{id}?tkn=a%20b"));
            let answer = net::get(&bare, &[("Authorization", &scene.login)])?;
            let target = format!("/vscode/{id}/?tkn=a%20b");
            assert_eq!((answer.status, answer.header("Location")), (301, Some(target.as_str())));
        }
    }
    let stripped = [("code", session(&code, "strip")?)];
    let scene = Scene::new(&[], &stripped)?;
    works_by_wire(&code, &scene.lab.url("/vscode/code/"), &scene.login)?;

    let scene = Scene::new(&["site.isolation=subdomain"], &sessions)?;
    works_by_wire(&code, &scene.host("code"), &scene.login)?;
    works_by_wire(&open, &scene.host("open"), &scene.login)?;
    works_by_wire(&based, &format!("{}vscode/based/", scene.host("based")), &scene.login)
}

#[test]
fn both_kinds_of_editor_work_by_wire_on_sockets() -> Result<()> {
    for isolation in ["path", "subdomain"] {
        let isolation = format!("site.isolation={isolation}");
        let scene = Scene::new(&[&isolation, "sessions.sockets=/run/sockets"], &[])?;
        let socket = |id: &str| -> Result<_> {
            let folder = scene.lab.at(&format!("run/sockets/vscode/{id}"));
            fs::create_dir_all(&folder)?;
            Ok(folder.join("socket"))
        };
        let code = Editor::code_server(Some(&socket("code")?))?;
        let path = socket("open")?;
        let path_text = path.display().to_string();
        let open = Editor::openvscode(&["--socket-path", &path_text])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        for (id, editor) in [("code", &code), ("open", &open)] {
            let base = match isolation.ends_with("path") {
                true => scene.lab.url(&format!("/vscode/{id}/")),
                false => scene.host(id),
            };
            works_by_wire(editor, &base, &scene.login)?;
        }
    }
    Ok(())
}

/// Opens the workbench and lets its terminal write a file.
fn works_in_a_browser(editor: &Editor, base: &str, login: &str) -> Result<()> {
    let browser = Browser::start()?;
    // The login is answered once, at an address that leads nowhere; later ones carry none.
    let with_login = base.replacen("://", &format!("://{login}@"), 1);
    browser.open(&format!("{with_login}healthz"))?;
    let token = editor.token.map(|token| format!("tkn={token}&")).unwrap_or_default();
    browser.open(&format!("{base}?{token}folder={}", editor.folder.path().display()))?;
    browser.wait_for(".monaco-workbench .part.statusbar", BOUND)?;
    ensure!(browser.url()?.starts_with(base.trim_end_matches('/')), "{}", browser.url()?);

    editor::run_command(&browser, "Terminal: Create New Terminal", BOUND)?;
    browser.wait_for(".terminal-wrapper.active .xterm-helper-textarea:focus", BOUND)?;
    browser.type_text("echo 42 > proof")?;
    browser.press(&[Key::Enter])?;
    let proof = editor.folder.path().join("proof");
    wait::until_true("the file that the terminal writes", BOUND, || {
        fs::read_to_string(&proof).is_ok_and(|text| text == "42\n")
    })
}

#[test]
fn an_editor_that_keeps_its_prefix_works_in_a_browser() -> Result<()> {
    let based = Editor::openvscode(&["--server-base-path", "/vscode/based"])?;
    let scene = Scene::new(&[], &[("based", session(&based, "base-path")?)])?;
    works_in_a_browser(&based, &scene.lab.url("/vscode/based/"), &scene.credentials)
}

#[test]
fn an_editor_that_is_told_its_prefix_works_in_a_browser() -> Result<()> {
    let open = Editor::openvscode(&[])?;
    let scene = Scene::new(&[], &[("open", session(&open, "strip+prefix")?)])?;
    works_in_a_browser(&open, &scene.lab.url("/vscode/open/"), &scene.credentials)
}

#[test]
fn an_editor_on_a_socket_and_a_host_of_its_own_works_in_a_browser() -> Result<()> {
    let sets = ["site.isolation=subdomain", "sessions.sockets=/run/sockets"];
    let scene = Scene::new(&sets, &[])?;
    let folder = scene.lab.at("run/sockets/vscode/code");
    fs::create_dir_all(&folder)?;
    let code = Editor::code_server(Some(&folder.join("socket")))?;
    works_in_a_browser(&code, &scene.host("code"), &scene.credentials)
}

#[test]
fn an_editor_whose_prefix_is_only_stripped_works_in_a_browser() -> Result<()> {
    let code = Editor::code_server(None)?;
    let scene = Scene::new(&[], &[("code", session(&code, "strip")?)])?;
    works_in_a_browser(&code, &scene.lab.url("/vscode/code/"), &scene.credentials)
}

#[test]
fn openvscode_on_hosts_of_its_own_works_in_a_browser() -> Result<()> {
    let based = Editor::openvscode(&["--server-base-path", "/vscode/based"])?;
    let open = Editor::openvscode(&[])?;
    let sessions =
        [("based", session(&based, "base-path")?), ("open", session(&open, "strip+prefix")?)];
    let scene = Scene::new(&["site.isolation=subdomain"], &sessions)?;
    let host = format!("{}vscode/based/", scene.host("based"));
    works_in_a_browser(&based, &host, &scene.credentials)?;
    works_in_a_browser(&open, &scene.host("open"), &scene.credentials)
}
