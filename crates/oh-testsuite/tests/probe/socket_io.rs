//! One connection with each real server, by our own client.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oh_probe::dial::Route;
use oh_probe::limits::Limits;
use oh_probe::reach::{Stream, Way};
use oh_probe::socketio::{Connection, End, Next};
use oh_probe::target::Target;
use oh_probe::websocket::{Handshake, Upgraded, upgrade};
use oh_socketio::client::{Incoming, Options, State};
use oh_socketio::deviation::Deviation;
use oh_socketio::socket::{event_arguments, event_name, refusal};
use oh_testsuite::components;
use oh_testsuite::process::Running;
use tokio::time::Instant;

/// How long a server may take to start, and one step with it.
const BOUND: Duration = Duration::from_secs(60);

/// A server that greets before it accepts, as OpenHands sends a conversation again; it has short heartbeats.
const PYTHON_SERVER: &str = "
import socketio, uvicorn
io = socketio.AsyncServer(async_mode='asgi', ping_interval=1, ping_timeout=1)
@io.event
async def connect(sid, environ):
    if 'refuse' in environ['QUERY_STRING']:
        raise socketio.exceptions.ConnectionRefusedError('No conversation_id in query params')
    await io.emit('oh_event', {'id': 0}, to=sid)
@io.event
async def echo(sid, data):
    return data
@io.event
async def bytes(sid):
    await io.emit('bytes', b'\\x00\\xff', to=sid)
uvicorn.run(socketio.ASGIApp(io), host='127.0.0.1', port=0)
";

/// The same on Node, which greets behind its acceptance.
const NODE_SERVER: &str = "
const http = require('http').createServer();
const io = new (require('socket.io').Server)(http, { pingInterval: 1000, pingTimeout: 1000 });
io.use((socket, next) =>
  next('refuse' in socket.handshake.query ? new Error('No conversation_id in query params') : undefined));
io.on('connection', (socket) => {
  socket.emit('oh_event', { id: 0 });
  socket.on('echo', (data, answer) => answer(data));
  socket.on('bytes', () => socket.emit('bytes', Buffer.from([0, 255])));
});
http.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${http.address().port}`));
";

/// A server, and where it listens.
struct Server {
    _running: Running,
    url: String,
}

impl Server {
    fn start(mut command: Command) -> Result<Self> {
        let mut running = Running::start(&mut command)?;
        let line = running.wait_for_line("running on http://127.0.0.1:", BOUND)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        Ok(Self { url: url.context("no address")?.to_owned(), _running: running })
    }

    fn python() -> Result<Self> {
        let mut command = Command::new(components::python()?);
        command.args(["-u", "-c", PYTHON_SERVER]);
        Self::start(command)
    }

    fn node() -> Result<Self> {
        let mut command = Command::new(components::node()?);
        command.args(["-e", NODE_SERVER]).env("NODE_PATH", components::socket_io_modules()?);
        Self::start(command)
    }

    async fn connect(&self, query: &str, options: Options) -> Result<Connection<Stream>> {
        let target = Target::parse(&self.url)?;
        let limits = Limits { http: BOUND, ..Limits::default() };
        let way = Way {
            target: target.clone(),
            route: Route::default(),
            trust: None,
            takes_any_certificate: false,
            limits: limits.clone(),
        };
        let stream = way.reach().await.stream.context("not reached")?;
        let (authority, origin) = (target.authority(), target.origin());
        let path = format!("/socket.io/?EIO=4&transport=websocket{query}");
        let handshake = Handshake {
            target: &path,
            authority: &authority,
            origin: Some(&origin),
            headers: Vec::new(),
        };
        match upgrade(stream, &handshake, &limits).await? {
            Upgraded::Open(_, socket) => Ok(Connection::new(*socket, options, true)),
            other => bail!("no WebSocket: {other:?}"),
        }
    }
}

/// Waits for what is wanted, and leaves out what comes before it but an end.
async fn wait_for<T>(
    connection: &mut Connection<Stream>,
    what: &str,
    mut wanted: impl FnMut(Incoming<'static>) -> Option<T>,
) -> Result<T> {
    let until = Instant::now() + BOUND;
    loop {
        match connection.next(until).await {
            Next::Came(incoming) => {
                if let Some(found) = wanted(incoming) {
                    return Ok(found);
                }
            }
            other => bail!("{what}: {other:?}; {:#?}", connection.seen()),
        }
    }
}

/// A whole connection, with everything that a client does, and the deviations that were met.
async fn goes_over(server: &Server) -> Result<Vec<Deviation>> {
    let mut connection = server.connect("", Options::default()).await?;
    let mut greeting = None;
    let mut is_connected = false;
    wait_for(&mut connection, "the greeting", |incoming| {
        match incoming {
            Incoming::Event { data, .. } => greeting = Some(data.into_owned()),
            Incoming::Connected { sid } => is_connected = sid.is_some(),
            _ => {}
        }
        (greeting.is_some() && is_connected).then_some(())
    })
    .await?;
    let greeting = greeting.context("no greeting")?;
    ensure!(event_name(&greeting).as_deref() == Some("oh_event"), "{greeting}");

    let until = Instant::now() + BOUND;
    let text = "[\"echo\",{\"a\":[1,\"\\u00fc\"]}]";
    let asked = connection.emit(text, true, until).await;
    let asked = asked.ok().flatten().context("not connected")?;
    let answer = wait_for(&mut connection, "the answer", |incoming| match incoming {
        Incoming::Ack { id, data, .. } if id == asked => Some(data.into_owned()),
        _ => None,
    })
    .await?;
    ensure!(
        answer.replace(' ', "") == "[{\"a\":[1,\"ü\"]}]" || answer.contains("\\u00fc"),
        "{answer}"
    );

    ensure!(connection.emit("[\"bytes\"]", false, until).await.is_ok(), "it has ended");
    let attachments = wait_for(&mut connection, "the bytes", |incoming| match incoming {
        Incoming::Event { data, attachments, .. } if !attachments.is_empty() => {
            (event_arguments(&data, 2).len() == 1).then_some(attachments)
        }
        _ => None,
    })
    .await?;
    ensure!(attachments == [[0, 255]], "{attachments:?}");

    let mut pings = 0;
    wait_for(&mut connection, "heartbeats", |incoming| {
        pings += u8::from(incoming == Incoming::Ping);
        (pings == 3).then_some(())
    })
    .await?;
    let deviations = connection.client().deviations().iter().copied().collect();
    let seen = connection.close(Instant::now() + Duration::from_secs(1)).await;
    let ours: Vec<_> =
        seen.iter().filter(|frame| frame.is_ours).map(|frame| &*frame.text).collect();
    ensure!(ours.ends_with(&["41", "1"]), "{ours:?}");
    Ok(deviations)
}

async fn refuses(server: &Server) -> Result<()> {
    let mut connection = server.connect("&refuse=1", Options::default()).await?;
    let data = wait_for(&mut connection, "the refusal", |incoming| match incoming {
        Incoming::Refused { data } => Some(data.map(std::borrow::Cow::into_owned)),
        _ => None,
    })
    .await?;
    let reason = refusal(data.as_deref());
    ensure!(reason.as_deref() == Some("No conversation_id in query params"), "{data:?}");
    ensure!(connection.client().state() == State::Refused, "it is not refused");
    connection.close(Instant::now() + Duration::from_secs(1)).await;
    Ok(())
}

/// Who does not answer heartbeats is left, and says how.
async fn leaves_who_is_silent(server: &Server) -> Result<End> {
    let mut connection = server.connect("", Options::default()).await?;
    wait_for(&mut connection, "the connection", |incoming| {
        matches!(incoming, Incoming::Connected { .. }).then_some(())
    })
    .await?;
    // Nothing is read, so nothing is answered.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let until = Instant::now() + BOUND;
    loop {
        match connection.next(until).await {
            Next::Ended(end) => return Ok(end),
            Next::Came(_) => {}
            Next::Quiet => bail!("it goes on"),
        }
    }
}

#[tokio::test]
async fn a_real_python_socketio_is_spoken_to() -> Result<()> {
    let server = Server::python()?;
    assert_eq!(goes_over(&server).await?, [Deviation::EventBeforeConnect]);
    refuses(&server).await?;
    let end = leaves_who_is_silent(&server).await?;
    assert_eq!(end, End::Closed { code: Some(1000), reason: String::new() });
    Ok(())
}

#[tokio::test]
async fn a_real_socket_io_on_node_is_spoken_to() -> Result<()> {
    let server = Server::node()?;
    assert_eq!(goes_over(&server).await?, []);
    refuses(&server).await?;
    let end = leaves_who_is_silent(&server).await?;
    assert_eq!(end, End::Closed { code: None, reason: String::new() });
    Ok(())
}
