//! Connections that are held in silence, through a real nginx that ends them and one that does not.

use std::future::pending;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::diagnose::{Certainty, connects};
use oh_probe::ladder::climb;
use oh_probe::soak::{
    Ending, Forecast, Held, PollVerdict, Verdict, hold_poll, judge, judge_poll, predict, soak,
};
use oh_testsuite::lab::Lab;
use oh_testsuite::net;

use super::peer::{Peer, UPGRADE, asked, nginx, wait_for_sessions, way};

/// The limit of silence of the nginx here.
const LIMIT: Duration = Duration::from_secs(2);

/// How long a connection is held that is not cut: what proves that a limit of 2 s was met, and no longer.
const LASTING: Duration = Duration::from_millis(2800);

fn server(port: u16, peer: &Peer, more: &str) -> String {
    let peer = peer.port;
    format!(
        "server {{ listen 127.0.0.1:{port}; \
         location / {{ proxy_pass http://127.0.0.1:{peer}; {UPGRADE} {more} }} }}\n"
    )
}

async fn held(port: u16, lasting: Duration) -> Result<Held> {
    soak(&way(port)?, &asked(), lasting, pending()).await.held.context("it was not made")
}

#[tokio::test]
async fn a_proxy_that_cuts_what_is_silent_is_known() -> Result<()> {
    let peer = Peer::python(25, 20)?;
    let mut lab = Lab::plain()?;
    let port = net::free_port()?;
    nginx(&mut lab, &server(port, &peer, "proxy_read_timeout 2s;"))?;

    let (way, asked) = (way(port)?, asked());
    let (first, again, direct) = tokio::join!(
        soak(&way, &asked, Duration::from_secs(20), pending()),
        held(port, Duration::from_secs(20)),
        held(peer.port, LASTING),
    );
    let (cut, again, direct) = (first.held.context("it was not made")?, again?, direct?);
    assert_eq!(direct.ending, Ending::Lived, "{direct:?}");
    let near = |took: Duration| took.abs_diff(LIMIT) < Duration::from_millis(500);
    ensure!(near(cut.silence) && cut.heartbeats == 0, "{cut:?}");
    let sure = |verdict| matches!(verdict, Verdict::Cut { certainty: Certainty::Certain, .. });
    ensure!(sure(judge(Some(&cut), None, Some(&direct))), "{cut:?} {direct:?}");
    ensure!(sure(judge(Some(&cut), Some(&again), None)), "{cut:?} {again:?}");
    let verdict = judge(Some(&cut), Some(&again), Some(&direct));
    assert_eq!(verdict.cause().map(|cause| cause.id), Some("TMO-1"));

    // It could have been foretold.
    let open = first.ladder.open.context("not opened")?.value;
    let open = open.ok().context("not opened")?;
    let foretold = predict(LIMIT, open.ping_interval_ms, open.ping_timeout_ms);
    assert_eq!(foretold, Forecast::Cuts);
    peer.wait_for_sessions(0)
}

#[tokio::test]
async fn heartbeats_that_come_in_time_keep_it() -> Result<()> {
    let peers = [Peer::python(1, 1)?, Peer::node(1, 1)?];
    let mut lab = Lab::plain()?;
    let ports = [net::free_port()?, net::free_port()?];
    let servers = ports.iter().zip(&peers);
    let servers = servers.map(|(port, peer)| server(*port, peer, "proxy_read_timeout 2s;"));
    nginx(&mut lab, &servers.collect::<String>())?;
    let (python, node) = tokio::join!(held(ports[0], LASTING), held(ports[1], LASTING));
    for held in [python?, node?] {
        assert_eq!(held.ending, Ending::Lived, "{held:?}");
        ensure!(held.heartbeats >= 1 && held.took >= LASTING, "{held:?}");
        assert_eq!(judge(Some(&held), None, None), Verdict::Lived(held.took));
    }
    peers.iter().try_for_each(|peer| peer.wait_for_sessions(0))
}

#[tokio::test]
async fn a_proxy_that_answers_a_held_poll_is_known() -> Result<()> {
    let peers = [Peer::python(25, 20)?, Peer::node(25, 20)?];
    let mut lab = Lab::plain()?;
    let ports = [net::free_port()?, net::free_port()?];
    let servers = ports.iter().zip(&peers);
    let servers = servers.map(|(port, peer)| server(*port, peer, "proxy_read_timeout 2s;"));
    nginx(&mut lab, &servers.collect::<String>())?;
    for (port, peer) in ports.into_iter().zip(&peers) {
        let (through, direct) = (way(port)?, way(peer.port)?);
        let asked = asked();
        let (through, direct) = tokio::join!(
            hold_poll(&through, &asked, Duration::from_secs(20), pending()),
            hold_poll(&direct, &asked, LASTING, pending()),
        );
        assert_eq!(through.heartbeat_ms(), Some((25_000, 20_000)));
        let verdict = judge_poll(&through);
        assert_eq!(verdict.cause().map(|cause| cause.id), Some("TMO-2"), "{through:?}");
        ensure!(
            matches!(verdict, PollVerdict::Cut(took) if took >= LIMIT && took < LASTING),
            "{verdict:?}"
        );
        ensure!(matches!(judge_poll(&direct), PollVerdict::Held(_)), "{direct:?}");
        peer.wait_for_sessions(0)?;
    }
    Ok(())
}

/// Whoever stops a connection leaves none behind, by each transport.
#[tokio::test]
async fn what_is_stopped_says_goodbye() -> Result<()> {
    for peer in [Peer::python(25, 20)?, Peer::node(25, 20)?] {
        let port = peer.port;
        let is_there = || async move {
            let seen = tokio::task::spawn_blocking(move || wait_for_sessions(port, 1)).await;
            assert!(matches!(seen, Ok(Ok(()))), "{seen:?}");
            // What the first connection waits for is there before the end of a second one, which waits as well.
            let second = way(port).map(|way| async move { climb(&way, &asked()).await });
            assert!(connects(&second.expect("it is a way").await));
        };
        let day = Duration::from_secs(86_400);
        let soaked = soak(&way(port)?, &asked(), day, is_there()).await;
        let held = soaked.held.context("it was not made")?;
        assert_eq!(held.ending, Ending::Stopped);
        let frames = soaked.ladder.frames.iter().filter(|frame| frame.is_ours);
        let frames: Vec<_> = frames.map(|frame| frame.text.as_str()).collect();
        assert_eq!(frames, ["40", "41", "1"]);
        peer.wait_for_sessions(0)?;

        let held = hold_poll(&way(port)?, &asked(), day, is_there()).await;
        assert_eq!(judge_poll(&held), PollVerdict::Untold);
        peer.wait_for_sessions(0)?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_stopped_before_it_is_made_is_not_made() -> Result<()> {
    let peer = Peer::node(25, 20)?;
    let soaked = soak(&way(peer.port)?, &asked(), LASTING, async {}).await;
    assert_eq!(judge(soaked.held.as_ref(), None, None), Verdict::Untold);
    peer.wait_for_sessions(0)
}
