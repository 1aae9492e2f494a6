//! Real OpenHands of each generation: what they are, how an agent server answers a WebSocket, and that
//! nothing is begun by asking.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::ask::Visitor;
use oh_probe::dial::Route;
use oh_probe::kind::{Family, Kind, judge, look};
use oh_probe::limits::Limits;
use oh_probe::raw::{Asked, First, Hop, Ladder, climb, diagnose_raw};
use oh_probe::reach::Way;
use oh_probe::socketio::End;
use oh_probe::target::Target;
use oh_testsuite::lab::Lab;
use oh_testsuite::net;
use oh_testsuite::openhands::{OpenHands, files_below};

const KEY: &str = "4f1c-key";

fn way(url: &str) -> Result<Way> {
    Ok(Way {
        target: Target::parse(url)?,
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        // The first OpenAPI of a busy machine.
        limits: Limits { http: Duration::from_secs(60), ..Limits::default() },
    })
}

async fn kind(url: &str) -> Result<Kind> {
    Ok(judge(&look(&way(url)?, &Visitor::default()).await))
}

fn told(kind: &Kind) -> (Family, Option<&str>, Option<bool>) {
    (kind.family, kind.version.as_deref(), kind.has_fallback)
}

/// An nginx that has a server below a prefix.
fn below_prefix(address: &str) -> Result<Lab> {
    let mut lab = Lab::plain()?;
    let site = format!(
        "server {{ listen 127.0.0.1:{}; location /oh/ {{ proxy_pass http://{address}/; \
         proxy_http_version 1.1; proxy_set_header Host $http_host; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}\n",
        lab.site_port
    );
    lab.write("etc/nginx/conf.d/site.conf", &site)?;
    lab.start_nginx()?;
    Ok(lab)
}

#[tokio::test]
async fn a_real_openhands_of_each_generation_is_known() -> Result<()> {
    for (real, expected) in [
        (OpenHands::start(None)?, (Family::OpenHandsV0, Some("0.62.0"), Some(true))),
        (OpenHands::start_1_11()?, (Family::OpenHandsV1, Some("1.11.0"), Some(true))),
    ] {
        // What the first request of all makes is made.
        net::get(&format!("{}/alive", real.base()), &[])?;
        let before = files_below(&real.store());
        let lab = below_prefix(&real.address)?;
        for url in [real.base(), lab.url("/oh/"), lab.url("/oh/conversations/4f1c")] {
            let kind = kind(&url).await?;
            assert_eq!(told(&kind), expected, "{url} {kind:?}");
        }
        assert_eq!(files_below(&real.store()), before, "something was stored");
        let log = real.log();
        ensure!(!log.contains("Traceback"), "{log}");
    }
    Ok(())
}

async fn asked(base: &str, prefix: &str, key: Option<&str>) -> Result<Ladder> {
    let asked = Asked::agent_server(prefix, &Visitor::default(), key);
    Ok(climb(&way(base)?, &asked).await)
}

fn cause(ladder: &Ladder) -> Option<&'static str> {
    diagnose_raw(&[Hop { name: "public", ladder }]).map(|found| found.cause.id)
}

#[tokio::test]
async fn a_real_agent_server_is_known_and_proved_by_its_key() -> Result<()> {
    let real = OpenHands::start_agent_server(KEY)?;
    let lab = below_prefix(&real.address)?;
    let before = files_below(&real.at(""));
    for (base, prefix) in [(real.base(), ""), (lab.url(""), "/oh")] {
        let kind = kind(&format!("{base}{prefix}/")).await?;
        assert_eq!(told(&kind), (Family::AgentServer, Some("1.34.0"), Some(false)), "{kind:?}");

        let known = asked(&base, prefix, Some(KEY)).await?;
        let first = &known.first.as_ref().with_context(|| format!("{known:?}"))?.value;
        ensure!(first.is_no_conversation() && known.is_parted, "{known:?}");
        ensure!(
            matches!(first, First::Ended(End::Closed { reason, .. }) if reason == "Conversation not found"),
            "{first:?}"
        );
        assert_eq!(cause(&known), None);
        let unknown = asked(&base, prefix, Some("another")).await?;
        assert_eq!(cause(&unknown), Some("SIO-0"), "{unknown:?}");
        // It waits for a key, and we do not.
        let waiting = asked(&base, prefix, None).await?;
        let quiet = waiting.first.as_ref().map(|first| &first.value);
        ensure!(matches!(quiet, Some(First::Quiet(_))) && waiting.is_parted, "{waiting:?}");
        assert_eq!(cause(&waiting), None);
    }
    assert_eq!(files_below(&real.at("")), before, "something was stored");
    let conversations = net::get(
        &format!("{}/api/conversations/count", real.base()),
        &[("X-Session-API-Key", KEY)],
    )?;
    assert_eq!((conversations.status, conversations.text().as_str()), (200, "0"));
    Ok(())
}
