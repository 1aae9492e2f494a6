//! The way to a WebSocket without a protocol of its own, through a real nginx.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::ask::Visitor;
use oh_probe::raw::{Asked, First, Hop, Ladder, climb, connects, diagnose_raw};
use oh_probe::socketio::End;
use oh_testsuite::wait;

use super::servers::{BOUND, OPENED, Server, UPGRADE, is_left, nginx, way};

async fn climbed(base: &str, path: &str, visitor: &Visitor) -> Result<Ladder> {
    Ok(climb(&way(base)?, &Asked::at(path.to_owned(), visitor.clone())).await)
}

fn first(ladder: &Ladder) -> Result<&First> {
    let first = ladder.first.as_ref().with_context(|| format!("not open: {ladder:?}"))?;
    Ok(&first.value)
}

fn browser(base: &str) -> Visitor {
    Visitor { origin: Some(base.to_owned()), ..Visitor::default() }
}

/// Waits until a server has seen so many of its WebSockets end with a code.
fn ended(server: &Server, code: &str, count: usize) -> Result<()> {
    let what = format!("{count} times {code:?}");
    let line = format!("CLOSED {code}");
    wait::until(&what, BOUND, || {
        let log = server.log();
        Ok((log.lines().filter(|one| *one == line).count() == count).then_some(()))
    })
    .with_context(|| server.log())
}

#[tokio::test]
async fn what_comes_first_is_told_and_the_end_is_a_goodbye() -> Result<()> {
    let server = Server::node_web_socket()?;
    let lab = nginx(&format!("location / {{ proxy_pass {}; {UPGRADE} }}", server.url))?;
    for (count, base) in [(1, server.url.clone()), (2, lab.url(""))] {
        let visitor = browser(&base);
        let closed =
            |code| First::Ended(End::Closed { code: Some(code), reason: "said so".into() });
        for (path, expected) in [
            ("/hello", First::Text("hello".to_owned())),
            ("/bytes", First::Binary(3)),
            ("/quiet", First::Quiet(Duration::from_secs(1))),
            ("/4004", closed(4004)),
            ("/1013", closed(1013)),
        ] {
            let ladder = climbed(&base, path, &visitor).await?;
            assert_eq!(first(&ladder)?, &expected, "{base} {path}");
            ensure!(ladder.is_parted && connects(&ladder), "{base} {path}: {ladder:?}");
            let hop = Hop { name: "public", ladder: &ladder };
            ensure!(diagnose_raw(&[hop]).is_none(), "{base} {path}");
        }
        // `/hello`, `/bytes` and `/quiet`.
        ended(&server, "1000", 3 * count)?;
        ended(&server, "4004", count)?;
    }
    ensure!(server.log().contains(&format!("\"origin\":\"{}\"", lab.url(""))), "{}", server.log());
    is_left(server.port()?)?;
    is_left(lab.site_port)
}

/// What is wrong with a location, the path that is asked for, and the cause that is told with the server behind it.
const FAULTS: [(&str, &str, &str); 7] = [
    ("proxy_http_version 1.1;", "/quiet", "UPG-5"),
    ("proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;", "/quiet", "UPG-5"),
    (UPGRADE, "/cut", "TMO-1"),
    ("proxy_pass http://127.0.0.1:1;", "/quiet", "GW-1"),
    ("return 301 /other$uri;", "/quiet", "PATH-4"),
    ("deny all;", "/quiet", "AUTH-2"),
    ("limit_except POST { deny all; }", "/quiet", "AUTH-2"),
];

#[tokio::test]
async fn each_fault_of_a_proxy_before_a_page_is_named() -> Result<()> {
    let server = Server::node_web_socket()?;
    for (fault, path, id) in FAULTS {
        let pass = if fault.contains("proxy_pass") {
            String::new()
        } else {
            format!("proxy_pass {};", server.url)
        };
        let mut lab = nginx(&format!("location / {{ {pass} {fault} }}"))?;
        let visitor = browser(&lab.url(""));
        let outside = climbed(&lab.url(""), path, &visitor).await?;
        let inside = climbed(&server.url, "/quiet", &visitor).await?;
        let hops =
            [Hop { name: "public", ladder: &outside }, Hop { name: "upstream", ladder: &inside }];
        let found = diagnose_raw(&hops).with_context(|| format!("{fault}: {outside:?}"))?;
        assert_eq!((found.cause.id, found.hop.as_str()), (id, "public"), "{fault}: {outside:?}");
        lab.stop_nginx()?;
    }
    is_left(server.port()?)
}

#[tokio::test]
async fn a_lost_upgrade_before_an_api_is_named() -> Result<()> {
    for implementation in ["websockets", "wsproto"] {
        let server = Server::python_web_socket(implementation)?;
        let lab = nginx(&format!("location / {{ proxy_pass {}; }}", server.url))?;
        let visitor = browser(&lab.url(""));
        let outside = climbed(&lab.url(""), "/quiet", &visitor).await?;
        let inside = climbed(&server.url, "/quiet", &visitor).await?;
        let hops =
            [Hop { name: "public", ladder: &outside }, Hop { name: "upstream", ladder: &inside }];
        let found = diagnose_raw(&hops).context("it connects")?;
        assert_eq!((found.cause.id, found.hop.as_str()), ("UPG-1", "public"), "{outside:?}");

        let refused = climbed(&server.url, "/refused", &visitor).await?;
        let found = diagnose_raw(&[Hop { name: "public", ladder: &refused }]);
        assert_eq!(found.context("it connects")?.cause.id, "SIO-0", "{refused:?}");
        ensure!(server.log().matches(OPENED).count() == 1, "{}", server.log());
        ended(&server, "1000", 1)?;
        is_left(server.port()?)?;
    }
    Ok(())
}
