//! Sessions of long polling before two real servers, with affinity and without.

use std::future::pending;

use anyhow::{Result, ensure};
use oh_probe::diagnose::{Certainty, connects};
use oh_probe::ladder::climb;
use oh_probe::sticky::{Request, SESSIONS, Verdict, gather, judge};
use oh_testsuite::lab::Lab;
use oh_testsuite::net;

use super::peer::{Peer, UPGRADE, asked, nginx, way};

/// nginx before two servers; by turns, and by the address of who asks.
fn servers(peers: &[Peer; 2], name: &str, ports: [u16; 2]) -> String {
    let [one, two] = [peers[0].port, peers[1].port];
    let backs = format!("server 127.0.0.1:{one}; server 127.0.0.1:{two};");
    let [turns, affine] = ports;
    format!(
        "upstream {name}_turns {{ {backs} }}\nupstream {name}_affine {{ ip_hash; {backs} }}\n\
         server {{ listen 127.0.0.1:{turns}; \
         location / {{ proxy_pass http://{name}_turns; {UPGRADE} }} }}\n\
         server {{ listen 127.0.0.1:{affine}; \
         location / {{ proxy_pass http://{name}_affine; {UPGRADE} }} }}\n"
    )
}

#[tokio::test]
async fn servers_without_affinity_are_known() -> Result<()> {
    let python = [Peer::python(25, 20)?, Peer::python(25, 20)?];
    let node = [Peer::node(25, 20)?, Peer::node(25, 20)?];
    let mut lab = Lab::plain()?;
    // One worker, so that the turns are those of one list.
    let text = std::fs::read_to_string(lab.at("etc/nginx/nginx.conf"))?;
    lab.write("etc/nginx/nginx.conf", &text.replace("worker_processes 2;", "worker_processes 1;"))?;
    let mut ports = [[0; 2]; 2];
    for port in ports.iter_mut().flatten() {
        *port = net::free_port()?;
    }
    let text = [servers(&python, "python", ports[0]), servers(&node, "node", ports[1])].concat();
    nginx(&mut lab, &text)?;
    for ([turns, affine], peers) in ports.into_iter().zip([&python, &node]) {
        let seen = gather(&way(turns)?, &asked(), SESSIONS, pending()).await;
        let verdict = judge(&seen);
        ensure!(
            matches!(verdict, Verdict::Lost { certainty: Certainty::Certain, .. }),
            "{seen:#?}"
        );
        assert_eq!(verdict.cause().map(|cause| cause.id), Some("STK-1"));
        assert_eq!(seen.left, 0, "what was opened was ended");

        let seen = gather(&way(affine)?, &asked(), SESSIONS, pending()).await;
        assert_eq!(judge(&seen), Verdict::Kept { requests: 9 }, "{seen:#?}");
        let opened = seen.steps.iter().filter(|step| step.request == Request::Open);
        assert_eq!((opened.count(), seen.left), (SESSIONS, 0));

        // Which is why a WebSocket does not tell it.
        ensure!(connects(&climb(&way(turns)?, &asked()).await), "it has to connect");
        for peer in peers {
            peer.wait_for_sessions(0)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_said_of_affinity() -> Result<()> {
    let port = net::free_port()?;
    let seen = gather(&way(port)?, &asked(), SESSIONS, pending()).await;
    assert_eq!((seen.steps.len(), judge(&seen)), (1, Verdict::Broken));
    let peer = Peer::node(25, 20)?;
    let seen = gather(&way(peer.port)?, &asked(), SESSIONS, async {}).await;
    assert_eq!((seen.steps.len(), judge(&seen)), (0, Verdict::Untold));
    peer.wait_for_sessions(0)
}
