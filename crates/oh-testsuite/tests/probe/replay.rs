//! Conversations that are joined twice: of the stand-in, directly and through nginx, and of servers that send them
//! again wrongly.

use std::future::pending;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use oh_probe::ladder::Ended;
use oh_probe::replay::{
    ConversationId, Fault, NotJoined, Replay, Replayed, Status, Verdict, gather, judge,
};
use oh_testsuite::lab::Lab;
use oh_testsuite::process::Running;
use oh_testsuite::{components, net, wait};
use serde_json::Value;

use super::peer::{BOUND, UPGRADE, asked, nginx, way};

/// A real python-socketio that sends a conversation again, with the fault that its id names.
const FAULTY_SERVER: &str = "
import asyncio, json, socketio, uvicorn
from urllib.parse import parse_qs
io = socketio.AsyncServer(async_mode='asgi')
@io.event
async def connect(sid, environ):
    query = {name: values[0] for name, values in parse_qs(environ['QUERY_STRING']).items()}
    fault, latest = query['conversation_id'], int(query['latest_event_id'])
    if fault == 'refuses':
        raise socketio.exceptions.ConnectionRefusedError('Settings not found')
    if fault == 'hangs':
        await asyncio.sleep(3600)
    ids = list(range(latest + 1, 10))
    if latest >= 0:
        if fault == 'gap': ids.pop(0)
        if fault == 'double': ids.append(ids[-1])
        if fault == 'again': ids.insert(0, latest)
        if fault == 'disorder': ids.reverse()
    for number in ids:
        await io.emit('oh_event', {'id': number, 'action': 'message'}, to=sid)
async def api(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': json.dumps({'status': 'RUNNING'}).encode()})
uvicorn.run(socketio.ASGIApp(io, api), host='127.0.0.1', port=0, lifespan='off')
";

fn stand_in(conversations: &[&str]) -> Result<(Running, u16)> {
    let mut command = Command::new(components::built("oh-stand-in")?);
    command.args(["openhands", "--listen", "127.0.0.1:0"]);
    for conversation in conversations {
        command.args(["--conversation", conversation]);
    }
    let mut running = Running::start(&mut command)?;
    let line = running.wait_for_line("listening on ", BOUND)?;
    let port = line.rsplit(':').next().context("no port")?.parse()?;
    Ok((running, port))
}

fn replay(id: &str) -> Result<Replay> {
    let conversation = ConversationId::parse(id).context("no id")?;
    Ok(Replay { conversation, api: "/api/conversations/".to_owned(), within: BOUND })
}

async fn seen(port: u16, id: &str) -> Result<Replayed> {
    Ok(gather(&way(port)?, &asked(), &replay(id)?, pending()).await)
}

/// Returns what the stand-in says of all its conversations.
fn state(port: u16) -> Result<Value> {
    let url = format!("http://127.0.0.1:{port}/api/conversations");
    Ok(serde_json::from_slice(&net::get(&url, &[])?.body)?)
}

#[tokio::test]
async fn a_conversation_that_runs_comes_again_whole() -> Result<()> {
    let (_stand_in, upstream) = stand_in(&["c1=RUNNING:20", "c2=RUNNING:0"])?;
    let mut lab = Lab::plain()?;
    let port = net::free_port()?;
    let server = format!(
        "server {{ listen 127.0.0.1:{port}; \
         location / {{ proxy_pass http://127.0.0.1:{upstream}; {UPGRADE} }} }}"
    );
    nginx(&mut lab, &server)?;
    let before = state(upstream)?;
    for port in [upstream, port] {
        let seen = seen(port, "c1").await?;
        // Of twenty, three say nothing, and of four states the last comes.
        assert_eq!(judge(&seen), Verdict::Whole { first: 14, again: 7 }, "{seen:#?}");
        let first = seen.first.context("it was joined")?;
        let last = first.events.last().context("it has events")?;
        assert_eq!((last.id, last.is_state), (19, true));
        assert_eq!(seen.again.context("it was joined again")?.behind, 9);
    }
    assert_eq!(judge(&seen(port, "c2").await?), Verdict::Empty);
    wait::until_true("the end of all connections", BOUND, || {
        state(upstream).is_ok_and(|now| now == before)
    })
}

/// To join one that does not run would start it, and to join one that there is not would make it.
#[tokio::test]
async fn what_does_not_run_is_left_as_it_is() -> Result<()> {
    let (_stand_in, port) = stand_in(&["c1=STOPPED:20", "c2=ARCHIVED:2"])?;
    let before = state(port)?;
    for (id, status) in [
        ("c1", Status::Other("STOPPED".to_owned())),
        ("c2", Status::Other("ARCHIVED".to_owned())),
        ("c3", Status::Unknown),
    ] {
        let seen = seen(port, id).await?;
        assert_eq!(judge(&seen), Verdict::NotJoined(status));
        ensure!(seen.first.is_none(), "it was joined: {seen:#?}");
    }
    assert_eq!(state(port)?, before);

    // Which the stand-in would have told.
    let url =
        format!("http://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket&conversation_id=c3");
    let mut socket = net::upgrade(&url, &[])?.open()?;
    net::send_text(&mut socket, "40")?;
    wait::until_true("a conversation that was made", BOUND, || {
        state(port).is_ok_and(|now| now["results"].as_array().is_some_and(|all| all.len() == 3))
    })
}

#[tokio::test]
async fn what_comes_again_wrongly_is_told() -> Result<()> {
    let mut command = Command::new(components::python()?);
    let mut server = Running::start(command.args(["-u", "-c", FAULTY_SERVER]))?;
    let line = server.wait_for_line("running on http://127.0.0.1:", BOUND)?;
    let (_, rest) = line.split_once("http://127.0.0.1:").context("no address")?;
    let port = rest.split_whitespace().next().context("no port")?.parse()?;
    for (id, expected) in [
        ("none", Verdict::Whole { first: 10, again: 5 }),
        ("gap", Verdict::Faulty(vec![Fault::Gap { id: 5 }])),
        ("double", Verdict::Faulty(vec![Fault::Twice { id: 9 }])),
        ("again", Verdict::Faulty(vec![Fault::Again { id: 4 }])),
        ("refuses", Verdict::Failed(NotJoined::Refused("Settings not found".to_owned()))),
    ] {
        assert_eq!(judge(&seen(port, id).await?), expected, "{id}");
    }
    let disorder = judge(&seen(port, "disorder").await?);
    ensure!(
        matches!(&disorder, Verdict::Faulty(faults) if matches!(faults.first(), Some(Fault::Disorder { .. }))),
        "{disorder:?}"
    );
    // A server that does not come to an end costs its time limit.
    let hangs = Replay { within: Duration::from_millis(500), ..replay("hangs")? };
    let late = gather(&way(port)?, &asked(), &hangs, pending()).await;
    let quiet = NotJoined::Ended(Ended::Quiet(hangs.within));
    assert_eq!(judge(&late), Verdict::Failed(quiet), "{late:#?}");
    Ok(())
}

#[tokio::test]
async fn a_replay_that_is_stopped_tells_nothing_and_leaves_nobody() -> Result<()> {
    let (_stand_in, port) = stand_in(&["c1=RUNNING:20"])?;
    let before = state(port)?;
    let seen = gather(&way(port)?, &asked(), &replay("c1")?, async {}).await;
    assert_eq!(judge(&seen), Verdict::Untold);
    wait::until_true("the end of all connections", BOUND, || {
        state(port).is_ok_and(|now| now == before)
    })
}
