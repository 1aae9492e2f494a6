//! The raw client against a real nginx with a certificate of its own: HTTP and WebSocket in TLS.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};

const BOUND: Duration = Duration::from_secs(10);

fn certificate(folder: &Path) -> Result<()> {
    let output = Command::new(components::program("openssl")?)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=site.example", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn configuration(port: u16, upstream: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name};"))
        .concat();
    format!(
        "daemon off; pid nginx.pid; error_log stderr; events {{}}
         http {{ access_log off; {temporary}
           server {{ listen 127.0.0.1:{port} ssl;
             ssl_certificate cert.pem; ssl_certificate_key key.pem;
             location / {{ proxy_pass {upstream}; }}
             location = /ws {{ proxy_pass {upstream}; proxy_http_version 1.1;
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}"
    )
}

#[test]
fn http_and_websocket_are_spoken_through_tls() -> Result<()> {
    let mut app = Command::new(env!("CARGO_BIN_EXE_oh-stand-in"));
    let mut app = Running::start(app.args(["app", "--listen", "127.0.0.1:0"]))?;
    let line = app.wait_for_line("listening on ", BOUND)?;
    let upstream = line.replace("listening on ", "http://");

    let folder = tempfile::tempdir()?;
    let port = net::free_port()?;
    certificate(folder.path())?;
    let file = folder.path().join("nginx.conf");
    fs::write(&file, configuration(port, &upstream))?;
    let mut nginx = Command::new(components::program("nginx")?);
    nginx.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
    let nginx = Running::start(&mut nginx)?;

    let site = format!("https://site.example:{port}");
    wait::until("nginx", BOUND, || match net::get(&site, &[]) {
        Ok(answer) => Ok(Some(answer)),
        Err(_) if !nginx.has_ended()? => Ok(None),
        Err(error) => Err(error).with_context(|| nginx.log()),
    })?;
    let page = net::get(&format!("{site}/headers"), &[])?;
    assert_eq!(page.status, 200);
    // Without HTTP/1.1 and the two headers, the location drops the upgrade.
    assert_eq!(net::upgrade(&format!("{site}/ws?"), &[])?.status(), 101);
    assert_ne!(net::upgrade(&format!("{site}/ws/"), &[])?.status(), 101);

    let mut socket = net::upgrade(&format!("wss://site.example:{port}/ws"), &[])?.open()?;
    net::send_text(&mut socket, "through TLS")?;
    assert_eq!(net::receive_text(&mut socket)?, "through TLS");
    Ok(())
}
