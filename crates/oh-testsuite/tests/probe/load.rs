//! Many connections, through a real nginx with each limit, and straight to real servers.

use std::future::pending;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::diagnose::Certainty;
use oh_probe::failure::Failure;
use oh_probe::load::{Load, Step, Why, judge, load, worker_connections_about};
use oh_probe::tls::Trust;
use oh_testsuite::alone::alone;
use oh_testsuite::lab::Lab;
use oh_testsuite::net;
use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, listen, socket};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::peer::{Peer, UPGRADE, asked, nginx, wait_for_sessions, way};

fn server(port: u16, peer: &Peer, server: &str, location: &str) -> String {
    let peer = peer.port;
    format!(
        "server {{ listen 127.0.0.1:{port}{server} \
         location / {{ proxy_pass http://127.0.0.1:{peer}; {UPGRADE} {location} }} }}\n"
    )
}

/// What was met, by its name, how sure it is, and how many were held.
fn met(loaded: &oh_probe::load::Loaded) -> Vec<(&'static str, Certainty, usize)> {
    judge(loaded).into_iter().map(|met| (met.cause.id, met.certainty, met.held)).collect()
}

#[tokio::test]
async fn a_server_without_limits_holds_them_all() -> Result<()> {
    for peer in [Peer::node(25, 20)?, Peer::python(25, 20)?] {
        let loaded = load(&way(peer.port)?, &asked(), &Load::of(200), pending()).await;
        assert_eq!((loaded.made, loaded.held_max, loaded.failed()), (200, 200, 0), "{loaded:#?}");
        let steps: Vec<_> =
            loaded.steps.iter().map(|(step, spread)| (*step, spread.count)).collect();
        let expected =
            [Step::Tcp, Step::Upgrade, Step::Open, Step::Connect].map(|step| (step, 200));
        assert_eq!(steps, expected);
        ensure!(loaded.descriptors.is_enough, "{:?}", loaded.descriptors);
        peer.wait_for_sessions(0)?;
    }
    Ok(())
}

#[tokio::test]
async fn each_step_is_told_apart_over_tls_too() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let mut lab = Lab::with_tls()?;
    let port = net::free_port()?;
    let root = lab.root();
    let tls = format!(
        " ssl; ssl_certificate {root}/etc/tls.pem; ssl_certificate_key {root}/etc/tls.key;"
    );
    nginx(&mut lab, &server(port, &peer, &tls, ""))?;
    let mut way = way(port)?;
    way.target.is_tls = true;
    way.trust = Some(Trust::of_pem(&std::fs::read(lab.at("etc/tls.pem"))?)?);
    let load = Load { per_second: Some(200), ..Load::of(50) };
    let loaded = oh_probe::load::load(&way, &asked(), &load, pending()).await;
    assert_eq!((loaded.held_max, loaded.failed()), (50, 0), "{loaded:#?}");
    let steps: Vec<_> = loaded.steps.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, Step::ALL);
    ensure!(loaded.took >= Duration::from_millis(245), "no faster than was asked: {loaded:#?}");
    peer.wait_for_sessions(0)
}

#[tokio::test]
async fn workers_without_connections_are_known() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let mut lab = Lab::plain()?;
    let text = std::fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
    let text = text.replace("worker_processes 2;", "worker_processes 1;");
    lab.write(
        "etc/nginx/nginx.conf",
        &text.replace("events { }", "events { worker_connections 64; }"),
    )?;
    let port = net::free_port()?;
    nginx(&mut lab, &server(port, &peer, ";", ""))?;
    let load = Load { concurrency: 1, ..Load::of(60) };
    let loaded = oh_probe::load::load(&way(port)?, &asked(), &load, pending()).await;
    assert_eq!(met(&loaded), [("LIM-3", Certainty::Likely, 31)], "{loaded:#?}");
    assert_eq!(worker_connections_about(loaded.held_max), 64);
    peer.wait_for_sessions(0)?;

    // All at once, fewer have room; what it is is known all the same.
    let loaded = oh_probe::load::load(&way(port)?, &asked(), &Load::of(120), pending()).await;
    let ids: Vec<_> = judge(&loaded).iter().map(|met| met.cause.id).collect();
    assert_eq!(ids, ["LIM-3"], "{loaded:#?}");
    ensure!(
        lab.error_log().contains("64 worker_connections are not enough"),
        "{}",
        lab.error_log()
    );
    peer.wait_for_sessions(0)
}

#[tokio::test]
async fn limits_of_connections_and_requests_are_known() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let mut lab = Lab::plain()?;
    let ports = [net::free_port()?, net::free_port()?];
    let zones = "limit_conn_zone $binary_remote_addr zone=c:1m;\n\
                 limit_req_zone $binary_remote_addr zone=r:1m rate=1r/m;\n";
    let servers = [
        zones.to_owned(),
        server(ports[0], &peer, ";", "limit_conn c 10;"),
        server(ports[1], &peer, ";", "limit_req zone=r burst=4 nodelay;"),
    ];
    nginx(&mut lab, &servers.concat())?;
    for (port, held) in ports.into_iter().zip([10, 5]) {
        let loaded = load(&way(port)?, &asked(), &Load::of(30), pending()).await;
        assert_eq!(met(&loaded), [("LIM-2", Certainty::Certain, held)], "{loaded:#?}");
        assert_eq!(loaded.failed(), 30 - held);
        peer.wait_for_sessions(0)?;
    }
    Ok(())
}

/// A server that listens with a short queue, and takes its time to accept.
fn slow_to_accept(peer: u16) -> Result<u16> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&listener, &SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, 4)?;
    let port = SocketAddrV4::try_from(getsockname(&listener)?)?.port();
    let listener = std::net::TcpListener::from(listener);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", peer))) else {
                return;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
                thread::spawn(move || pass(from, to));
            }
            // What a busy server does; it is the fault that is looked for.
            thread::sleep(Duration::from_millis(20));
        }
    });
    Ok(port)
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Whoever has gone already needs no goodbye.
    drop(to.shutdown(Shutdown::Write));
}

#[tokio::test]
async fn a_queue_that_overflows_is_known() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let port = slow_to_accept(peer.port)?;
    let loaded = load(&way(port)?, &asked(), &Load::of(12), pending()).await;
    assert_eq!(met(&loaded), [("LIM-4", Certainty::Likely, loaded.held_max)], "{loaded:#?}");
    let slowest = loaded.spread(Step::Tcp).context("no connection")?.p95;
    ensure!(slowest >= Duration::from_secs(1), "{loaded:#?}");
    peer.wait_for_sessions(0)
}

#[test]
fn our_own_limit_is_known() -> Result<()> {
    alone("probe::load::our_own_limit_is_known", || {
        let peer = Peer::node(25, 20)?;
        let limit = Some(100);
        setrlimit(Resource::Nofile, Rlimit { current: Some(80), maximum: limit })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let loaded = runtime.block_on(async {
            anyhow::Ok(load(&way(peer.port)?, &asked(), &Load::of(150), pending()).await)
        })?;
        assert_eq!((loaded.descriptors.limit, loaded.descriptors.is_enough), (limit, false));
        let ids: Vec<_> = judge(&loaded).iter().map(|met| met.cause.id).collect();
        assert_eq!(ids, ["LIM-5"], "{loaded:#?}");
        ensure!(loaded.held_max > 80, "the limit was to be raised: {loaded:#?}");
        ensure!(loaded.begun < 150, "what is not there is not asked for: {loaded:#?}");
        peer.wait_for_sessions(0)
    })
}

#[tokio::test]
async fn a_load_that_is_stopped_leaves_none() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let port = peer.port;
    let some_are_there = async move {
        let seen = tokio::task::spawn_blocking(move || wait_for_sessions(port, 3)).await;
        assert!(matches!(seen, Ok(Ok(()))), "{seen:?}");
    };
    // The fourth comes long after that was seen.
    let slow = Load { per_second: Some(4), ..Load::of(1000) };
    let loaded = load(&way(port)?, &asked(), &slow, some_are_there).await;
    ensure!(loaded.is_stopped && (3..1000).contains(&loaded.begun), "{loaded:#?}");
    peer.wait_for_sessions(0)
}

#[tokio::test]
async fn where_nobody_listens_one_tells_it() -> Result<()> {
    let loaded = load(&way(net::free_port()?)?, &asked(), &Load::of(500), pending()).await;
    let failed = loaded.failures.first().context("it failed")?;
    assert_eq!((loaded.begun, failed.step), (1, Step::Tcp));
    assert_eq!(failed.why, Why::Failure(Failure::Refused));
    Ok(())
}
