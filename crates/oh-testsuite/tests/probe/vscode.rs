//! Real editors: what they are, whether they work, and that they do not notice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use oh_probe::ask::Visitor;
use oh_probe::http1::Header;
use oh_probe::kind::{self, Family};
use oh_probe::vscode::{Observed, Outcome, Shaken, judge, look};
use oh_testsuite::openvscode;
use oh_testsuite::process::Running;
use oh_testsuite::{components, editor, lab, net, wait};

use super::servers::{BOUND, UPGRADE, asked, is_left, nginx, port_of, way};

const TOKEN: &str = "4f1c-token";

/// The last line of VS Code's log when it is loaded.
const LOADED: &str = "Completed initializing default profile extensions";

/// Every file below a folder, and what is in it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A code-server without a password, with a folder as `oh-instances` starts it.
struct CodeServer {
    folder: tempfile::TempDir,
    running: Running,
    url: String,
}

impl CodeServer {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("oh-workspace-").tempdir()?;
        let data = folder.path().join(".data");
        fs::create_dir_all(data.join("User"))?;
        fs::write(data.join("User/settings.json"), editor::SETTINGS)?;
        let mut command = Command::new(components::node()?);
        command
            .arg(components::code_server()?)
            .args(["--auth", "none", "--disable-telemetry", "--disable-workspace-trust"])
            .args(["--disable-update-check", "--disable-proxy", "--bind-addr", "127.0.0.1:0"])
            .arg("--user-data-dir")
            .arg(&data)
            .arg(folder.path())
            .env("HOME", &data)
            .env("TMPDIR", &data)
            .env_remove("XDG_CONFIG_HOME");
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("HTTP server listening on ", BOUND)?;
        let url = line.split(' ').find(|word| word.starts_with("http://")).context("no address")?;
        let url = url.trim_end_matches('/').to_owned();
        let server = Self { folder, running, url };
        server.visit("/somewhere")?;
        is_at_rest(&server.data())?;
        Ok(server)
    }

    /// Opens a folder, as a person does: VS Code is loaded, and the folder is what was opened last.
    fn visit(&self, folder: &str) -> Result<()> {
        let page = net::get(&format!("{}/?folder={folder}", self.url), &[])?;
        ensure!(page.status == 200, "{page:?}");
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(".data")
    }

    /// What it has written, and which processes it has.
    fn state(&self) -> Result<(Files, Vec<u32>)> {
        Ok((files(&self.data())?, group(self.running.id())?))
    }
}

/// Returns every file below a folder, and what is in it.
fn files(folder: &Path) -> Result<Files> {
    let mut found = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                let content = if kind.is_file() { fs::read(entry.path())? } else { Vec::new() };
                found.insert(entry.path(), content);
            }
        }
    }
    Ok(found)
}

/// Waits until VS Code has written what it writes when it is loaded.
fn is_at_rest(data: &Path) -> Result<()> {
    wait::until("VS Code to be loaded", BOUND, || {
        let files = files(data)?;
        let mut logs = files.iter().filter(|(path, _)| path.ends_with("remoteagent.log"));
        let is_loaded = logs.any(|(_, log)| String::from_utf8_lossy(log).contains(LOADED));
        Ok(is_loaded.then_some(()))
    })
}

/// Returns the processes of a group.
fn group(id: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse() else { continue };
        // A process that has ended meanwhile is in no group.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if behind.split(' ').nth(2) == Some(&id.to_string()) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

async fn observed(url: &str, family: Family, token: Option<&str>) -> Result<Observed> {
    observed_by(url, &Visitor::default(), family, token).await
}

async fn observed_by(
    url: &str,
    visitor: &Visitor,
    family: Family,
    token: Option<&str>,
) -> Result<Observed> {
    Ok(look(&way(url)?, visitor, family, token).await)
}

#[tokio::test]
async fn code_server_is_proved_and_does_not_notice() -> Result<()> {
    let server = CodeServer::start()?;
    let lab = nginx(&format!("location /vscode/a/ {{ proxy_pass {}/; {UPGRADE} }}", server.url))?;
    let before = server.state()?;
    let last =
        before.0.get(&server.data().join("coder.json")).context("nothing was opened last")?;
    ensure!(String::from_utf8_lossy(last).contains("/somewhere"), "{last:?}");

    for url in [format!("{}/", server.url), lab.url("/vscode/a/"), lab.url("/vscode/a")] {
        let kind = kind::judge(&kind::look(&way(&url)?, &Visitor::default()).await);
        assert_eq!((kind.family, kind.version), (Family::CodeServer, None), "{url}");
        let observed = observed(&url, Family::CodeServer, None).await?;
        let proof = judge(&observed);
        assert_eq!(
            (proof.outcome, proof.is_open_to_origins),
            (Outcome::Works, Some(false)),
            "{url}"
        );
        ensure!(proof.commit.is_some_and(|commit| commit.len() == 40), "{url}");
        let shaken = observed.handshake.context("no handshake")?.value?;
        assert_eq!(shaken, Shaken::Signed, "{url}");
        ensure!(
            observed.asset.is_some_and(|(_, reply)| reply.value.is_ok_and(|it| it.status == 200))
        );
    }
    is_left(port_of(&server.url)?)?;
    is_left(lab.site_port)?;
    // Its log, in which each workbench would be, is among the files.
    let after = server.state()?;
    ensure!(before == after, "{:?} and {:?}", changed(&before.0, &after.0), (before.1, after.1));

    // What would have changed by another question.
    server.visit("/elsewhere")?;
    let changed = changed(&after.0, &server.state()?.0);
    assert_eq!(changed, [server.data().join("coder.json")]);
    let requests = asked(&lab)?;
    ensure!(requests.iter().all(|line| !line.contains("GET /vscode/a/ ")), "{requests:?}");
    ensure!(requests.iter().all(|line| !line.contains("folder")), "{requests:?}");
    Ok(())
}

/// Returns the files that are not the same.
fn changed(one: &Files, other: &Files) -> Vec<PathBuf> {
    let mut paths: Vec<_> = one.keys().chain(other.keys()).cloned().collect();
    paths.sort_unstable();
    paths.dedup();
    paths.retain(|path| one.get(path) != other.get(path));
    paths
}

#[tokio::test]
async fn each_fault_before_code_server_is_named() -> Result<()> {
    let server = CodeServer::start()?;
    let strip = format!("proxy_pass {}/;", server.url);
    let keep = format!("proxy_pass {};", server.url);
    let upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                   proxy_set_header Connection $connection_upgrade;";
    let within = |lines: &str| format!("location /vscode/a/ {{ {lines} }}");
    let folder = "if ($arg_folder = \"\") { return 302 ./?folder=/w; }";
    for (what, lines, outcome, cause) in [
        (
            "the Host without its port",
            within(&format!("{strip} {upgrade} proxy_set_header Host $host;")),
            Outcome::OwnOrigin,
            Some("ORI-1"),
        ),
        (
            "no Host at all",
            within(&format!("{strip} {upgrade}")),
            Outcome::OwnOrigin,
            Some("ORI-1"),
        ),
        (
            "no headers of an upgrade",
            within(&format!("{strip} proxy_set_header Host $http_host;")),
            Outcome::NoWebSocket,
            Some("UPG-1"),
        ),
        (
            "a prefix that is not stripped",
            within(&format!("{keep} {UPGRADE}")),
            Outcome::Elsewhere(404),
            Some("PATH-1"),
        ),
        (
            "a redirect to a folder for every request",
            within(&format!("{folder} {strip} {UPGRADE}")),
            Outcome::Elsewhere(302),
            Some("PATH-4"),
        ),
        (
            "a redirect to a folder where it has to be",
            format!(
                "location = /vscode/a/ {{ {folder} {strip} {UPGRADE} }} {}",
                within(&format!("{strip} {UPGRADE}"))
            ),
            Outcome::Works,
            None,
        ),
        (
            "a redirect to the site",
            format!(
                "location = /vscode/a/ {{ return 302 /; }} {}",
                within(&format!("{strip} {UPGRADE}"))
            ),
            Outcome::Leaves("http://127.0.0.1:PORT/".to_owned()),
            Some("PATH-6"),
        ),
        (
            "a pattern that takes the files",
            format!(
                "location ~ \\.css$ {{ default_type text/html; return 200 page; }} {}",
                within(&format!("{strip} {UPGRADE}"))
            ),
            Outcome::Asset(
                "/vscode/a/stable-COMMIT/static/out/vs/code/browser/workbench/workbench.css"
                    .to_owned(),
            ),
            Some("EDIT-1"),
        ),
        (
            "an Origin that is taken away",
            within(&format!("{strip} {UPGRADE} proxy_set_header Origin '';")),
            Outcome::OpenToOrigins,
            Some("ORI-3"),
        ),
        (
            "a login",
            within(&format!("auth_basic a; auth_basic_user_file users; {strip} {UPGRADE}")),
            Outcome::WantsLogin,
            Some("AUTH-1"),
        ),
        (
            "nobody behind",
            within(&format!("proxy_pass http://127.0.0.1:1/; {UPGRADE}")),
            Outcome::Elsewhere(502),
            Some("GW-1"),
        ),
    ] {
        let mut lab = nginx(&lines)?;
        lab.write("etc/nginx/users", "known:{PLAIN}secret\n")?;
        let proof = judge(&observed(&lab.url("/vscode/a/"), Family::CodeServer, None).await?);
        let outcome = match outcome {
            Outcome::Leaves(to) => Outcome::Leaves(to.replace("PORT", &lab.site_port.to_string())),
            Outcome::Asset(path) => {
                Outcome::Asset(path.replace("COMMIT", proof.commit.as_deref().unwrap_or_default()))
            }
            other => other,
        };
        assert_eq!(
            (&proof.outcome, proof.cause.map(|cause| cause.id)),
            (&outcome, cause),
            "{what}"
        );
        if outcome == Outcome::WantsLogin {
            let mut visitor = Visitor::default();
            visitor.headers.extend(Header::new("Authorization", lab::basic("known", "secret")));
            let url = lab.url("/vscode/a/");
            let known = observed_by(&url, &visitor, Family::CodeServer, None).await?;
            assert_eq!(judge(&known).outcome, Outcome::Works);
        }
        lab.stop_nginx()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_of_vs_code_is_proved_by_its_token_and_does_not_notice() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("oh-workspace-").tempdir()?;
    let data = folder.path().join(".data");
    let server = openvscode::Server::start(&data, TOKEN, &[])?;
    let url = format!("http://{}", server.address);
    is_at_rest(&data)?;
    let before = (files(&data)?, group(server.id())?);

    let kind = kind::judge(&kind::look(&way(&url)?, &Visitor::default()).await);
    assert_eq!(kind.family, Family::OpenVscode);
    let told = |observed: &Observed| {
        let proof = judge(observed);
        (proof.outcome, proof.is_open_to_origins)
    };
    let known = observed(&url, Family::OpenVscode, Some(TOKEN)).await?;
    assert_eq!(told(&known), (Outcome::Works, Some(true)), "{known:?}");
    assert_eq!(judge(&known).commit, kind.version);
    ensure!(!format!("{known:?}").contains(TOKEN), "the token is shown: {known:?}");
    let unknown = observed(&url, Family::OpenVscode, None).await?;
    assert_eq!(told(&unknown), (Outcome::WantsToken, Some(true)));
    let wrong = observed(&url, Family::OpenVscode, Some("wrong")).await?;
    assert_eq!(told(&wrong), (Outcome::TokenRefused, Some(true)));

    // Below a prefix: told of it, not told of it, and not told of the site's host.
    let at = |lines: &str| nginx(&format!("location /vscode/a/ {{ proxy_pass {url}/; {lines} }}"));
    let lab = at(&format!("{UPGRADE} proxy_set_header X-Forwarded-Prefix /vscode/a;"))?;
    let below = observed(&lab.url("/vscode/a/"), Family::OpenVscode, Some(TOKEN)).await?;
    assert_eq!(told(&below), (Outcome::Works, Some(true)), "{below:?}");
    let (asset, _) = below.asset.context("no file")?;
    ensure!(asset.starts_with("/vscode/a/stable-") && asset.ends_with("/workbench.css"), "{asset}");
    let lab = at(UPGRADE)?;
    let left = observed(&lab.url("/vscode/a/"), Family::OpenVscode, Some(TOKEN)).await?;
    let site = format!("{}/", lab.url(""));
    assert_eq!(told(&left).0, Outcome::Leaves(site), "{left:?}");
    let lab = at(&format!(
        "{} proxy_set_header X-Forwarded-Prefix /vscode/a;",
        UPGRADE.replace("$http_host", "other.example")
    ))?;
    let other = observed(&lab.url("/vscode/a/"), Family::OpenVscode, Some(TOKEN)).await?;
    assert_eq!(told(&other).0, Outcome::OtherHost("other.example".to_owned()), "{other:?}");

    is_left(port_of(&url)?)?;
    let after = (files(&data)?, group(server.id())?);
    // Its log, in which each workbench and each that was refused would be, is among the files.
    ensure!(before == after, "{:?} and {:?}", changed(&before.0, &after.0), server.log());
    Ok(())
}

#[tokio::test]
async fn who_opens_a_server_of_vs_code_before_us_is_not_given_its_token() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("oh-workspace-").tempdir()?;
    let server = openvscode::Server::start(&folder.path().join(".data"), TOKEN, &[])?;
    let lab = nginx(&format!(
        "location / {{ proxy_pass http://{}; {UPGRADE} proxy_set_header Cookie 'vscode-tkn={TOKEN}'; \
         if ($http_origin = https://hostile.example) {{ return 403; }} }}",
        server.address
    ))?;
    let observed = observed(&lab.url("/"), Family::OpenVscode, Some(TOKEN)).await?;
    let proof = judge(&observed);
    assert_eq!(
        (proof.outcome, proof.is_open_to_origins),
        (Outcome::Works, Some(false)),
        "{observed:?}"
    );
    ensure!(observed.token.is_none(), "it was given the token: {observed:?}");
    let requests = asked(&lab)?;
    ensure!(requests.iter().all(|line| !line.contains("tkn=")), "{requests:?}");
    Ok(())
}
