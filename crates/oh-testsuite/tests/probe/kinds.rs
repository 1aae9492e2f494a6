//! What a server is, asked of the real ones.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, ensure};
use oh_probe::ask::Visitor;
use oh_probe::http1::Header;
use oh_probe::kind::{Family, Kind, judge, look};
use oh_testsuite::{lab, net, wait};

use super::servers::{BOUND, Server, UPGRADE, asked, nginx, way};

async fn kind(url: &str) -> Result<Kind> {
    kind_for(url, &Visitor::default()).await
}

async fn kind_for(url: &str, visitor: &Visitor) -> Result<Kind> {
    Ok(judge(&look(&way(url)?, visitor).await))
}

fn told(kind: &Kind) -> (Family, Option<&str>, Option<bool>) {
    (kind.family, kind.version.as_deref(), kind.has_fallback)
}

#[tokio::test]
async fn openhands_is_known_directly_and_below_a_prefix() -> Result<()> {
    let server = Server::stand_in("openhands")?;
    let expected = (Family::OpenHandsV0, Some("0.62.0"), Some(true));
    let direct = kind(&server.url).await?;
    assert_eq!((told(&direct), direct.proxy.as_deref()), (expected, None));

    let lab = nginx(&format!("location /oh/ {{ proxy_pass {}/; {UPGRADE} }}", server.url))?;
    for path in ["/oh/", "/oh", "/oh/socket.io/", "/oh/conversations/4f1c?x=y"] {
        let kind = kind(&lab.url(path)).await?;
        assert_eq!(told(&kind), expected, "{path}: {kind:?}");
        let proxy = kind.proxy.unwrap_or_default();
        ensure!(proxy.starts_with("nginx/"), "{proxy:?}");
    }
    server.was_only_asked()
}

/// The requests to whoever is not known by the first, with the name that changes each time replaced.
const ASKED: [&str; 6] = [
    "GET /oh/__oh_canary_ HTTP/1.1",
    "GET /oh/healthz HTTP/1.1",
    "GET /oh/openapi.json HTTP/1.1",
    "GET /oh/server_info HTTP/1.1",
    "GET /oh/socket.io/?EIO=4&transport=none HTTP/1.1",
    "GET /oh/version HTTP/1.1",
];

#[tokio::test]
async fn few_things_are_asked_and_none_begins_anything() -> Result<()> {
    let server = Server::stand_in("openhands")?;
    let lab = nginx(&format!("location /oh/ {{ proxy_pass {}/; {UPGRADE} }}", server.url))?;
    let before = net::get(&format!("{}/api/conversations", server.url), &[])?.text();
    kind(&lab.url("/oh/")).await?;
    // nginx logs a request behind its answer.
    let mut requests = wait::until("the log of six requests", BOUND, || {
        let requests = asked(&lab)?;
        Ok((requests.len() >= ASKED.len()).then_some(requests))
    })?;
    for request in &mut requests {
        if let Some((before, after)) = request.split_once("__oh_canary_") {
            let name = after.split(' ').next().unwrap_or_default();
            ensure!(
                name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{after}"
            );
            *request = format!("{before}__oh_canary_ HTTP/1.1");
        }
    }
    requests.sort();
    assert_eq!(requests, ASKED);
    assert_eq!(net::get(&format!("{}/api/conversations", server.url), &[])?.text(), before);
    server.was_only_asked()
}

#[tokio::test]
async fn socket_io_is_known_and_no_session_is_opened() -> Result<()> {
    for (server, fallback) in
        [(Server::python_socket_io()?, Some(false)), (Server::node_socket_io()?, None)]
    {
        let kind = kind(&server.url).await?;
        assert_eq!(told(&kind), (Family::SocketIo, None, fallback), "{kind:?}");
        server.was_only_asked()?;
        // What a session looks like there, so that its absence means something.
        let poll = format!("{}/socket.io/?EIO=4&transport=polling", server.url);
        ensure!(net::get(&poll, &[])?.status == 200, "it does not open");
        wait::until_true("the session", BOUND, || server.was_only_asked().is_err())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_websocket_is_known_and_none_is_opened() -> Result<()> {
    let mut servers: Vec<_> = Server::web_sockets_alone()?.into();
    for implementation in ["websockets", "websockets-sansio", "wsproto"] {
        servers.push(Server::python_web_socket(implementation)?);
    }
    servers.push(Server::node_web_socket()?);
    for server in servers {
        let mut way = way(&server.url)?;
        // The answers that do not come are not what is looked at here.
        way.limits.http = Duration::from_secs(2);
        let kind = judge(&look(&way, &Visitor::default()).await);
        assert_eq!(kind.family, Family::WebSocket, "{kind:?} {}", server.log());
        server.was_only_asked()?;
    }
    Ok(())
}

#[tokio::test]
async fn whatever_stands_in_front_is_told() -> Result<()> {
    let server = Server::stand_in("openhands")?;
    let mut lab = nginx("return 301 https://oh.example$request_uri;")?;
    let moved = kind(&lab.url("/")).await?;
    assert_eq!(told(&moved), (Family::Moved, None, None));
    ensure!(moved.evidence[0].contains("https://oh.example/"), "{:?}", moved.evidence);
    lab.stop_nginx()?;

    let lab = nginx(&format!(
        "location / {{ auth_basic a; auth_basic_user_file users; proxy_pass {}; {UPGRADE} }}",
        server.url
    ))?;
    lab.write("etc/nginx/users", "known:{PLAIN}secret\n")?;
    assert_eq!(told(&kind(&lab.url("/")).await?), (Family::Locked, None, None));
    let mut visitor = Visitor::default();
    visitor.headers.extend(Header::new("Authorization", lab::basic("known", "secret")));
    let known = kind_for(&lab.url("/"), &visitor).await?;
    assert_eq!(told(&known), (Family::OpenHandsV0, Some("0.62.0"), Some(true)));

    let lab = nginx("location / { try_files $uri /index.html; }")?;
    fs::create_dir_all(lab.at("html"))?;
    let index = lab.at("html/index.html");
    fs::write(&index, "<!doctype html>")?;
    let lab = nginx(&format!(
        "root {}; location / {{ try_files $uri /index.html; }}",
        lab.at("html").display()
    ))?;
    assert_eq!(told(&kind(&lab.url("/")).await?), (Family::Other, None, Some(true)));

    let gone = nginx("location / { proxy_pass http://127.0.0.1:1; }")?;
    let kind = kind(&gone.url("/")).await?;
    assert_eq!(told(&kind), (Family::Other, None, None));
    ensure!(kind.evidence[0].contains("502"), "{:?}", kind.evidence);
    Ok(())
}

#[tokio::test]
async fn who_says_nothing_is_left_soon() -> Result<()> {
    let port = net::free_port()?;
    let nobody = kind(&format!("http://127.0.0.1:{port}/")).await?;
    assert_eq!(
        (nobody.family, nobody.evidence[0].as_str()),
        (Family::Silent, "connection refused")
    );

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut way = way(&format!("http://{}", listener.local_addr()?))?;
    way.limits.http = Duration::from_millis(100);
    let silent = judge(&look(&way, &Visitor::default()).await);
    assert_eq!(silent.family, Family::Silent);
    assert_eq!(silent.evidence, ["no answer within 100 ms"]);
    Ok(())
}
