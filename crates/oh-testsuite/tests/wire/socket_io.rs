//! Real clients of Socket.IO talk to real servers through nginx, over TLS and with the login.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oh_testsuite::components;
use oh_testsuite::lab::Lab;
use oh_testsuite::process::Running;

use crate::site::{START_BOUND, publish, start_nginx};

/// How long a Socket.IO client may take for a payload there and back.
const CLIENT_BOUND: Duration = Duration::from_secs(120);

/// A server that returns what it is sent; it takes messages of more than 4 MiB.
const PYTHON_SERVER: &str = "
import socketio, uvicorn
io = socketio.AsyncServer(async_mode='asgi', max_http_buffer_size=16_000_000)
@io.event
async def echo(sid, data):
    return data
uvicorn.run(socketio.ASGIApp(io), host='127.0.0.1', port=0)
";

/// The same on Node.
const NODE_SERVER: &str = "
const http = require('http').createServer();
const io = new (require('socket.io').Server)(http, { maxHttpBufferSize: 16e6 });
io.on('connection', (socket) => socket.on('echo', (data, answer) => answer(data)));
http.listen(0, '127.0.0.1', () => console.log(`running on http://127.0.0.1:${http.address().port}`));
";

/// A client that prints its transport and the number of bytes that came back. The login belongs
/// to its session: what `connect` is given as headers is sent with the handshake alone.
const PYTHON_CLIENT: &str = "
import asyncio, sys, aiohttp, socketio
async def main(url, login, *transports):
    async with aiohttp.ClientSession(headers={'Authorization': login}) as session:
        client = socketio.AsyncClient(reconnection=False, http_session=session,
                                      websocket_extra_options={'max_msg_size': 0})
        await client.connect(url, transports=list(transports))
        back = await client.call('echo', 'x' * 4 * 1024 * 1024, timeout=100)
        print('came back by', client.transport(), len(back), flush=True)
asyncio.run(main(*sys.argv[1:]))
";

/// The same on Node.
const NODE_CLIENT: &str = "
const [url, login, ...transports] = process.argv.slice(1);
const socket = require('socket.io-client').io(url, {
  transports, reconnection: false, extraHeaders: { Authorization: login },
});
const fail = (error) => { console.log('failed', error, error.description); process.exit(1); };
socket.on('connect_error', fail);
socket.on('disconnect', (why) => fail(new Error(why)));
const send = () => socket.timeout(100e3).emit('echo', 'x'.repeat(4 * 1024 * 1024), (error, back) => {
  if (error) fail(error);
  console.log('came back by', socket.io.engine.transport.name, back.length);
});
socket.on('connect', () => {
  const engine = socket.io.engine;
  const last = transports[transports.length - 1];
  if (engine.transport.name === last) send(); else engine.on('upgrade', send);
});
";

fn node_script(script: &str) -> Result<Command> {
    let mut command = Command::new(components::node()?);
    command.args(["-e", script, "--"]).env("NODE_PATH", components::socket_io_modules()?);
    Ok(command)
}

fn python_script(script: &str) -> Result<Command> {
    let mut command = Command::new(components::python()?);
    command.args(["-u", "-c", script]);
    Ok(command)
}

/// Lets real clients talk to a real server through nginx, over TLS and with the login.
fn socket_io_passes(server: &mut Command) -> Result<()> {
    let mut server = Running::start(server)?;
    let line = server.wait_for_line("running on http://127.0.0.1:", START_BOUND)?;
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let mut lab = Lab::with_tls()?;
    start_nginx(&mut lab)?;
    let login = publish(&lab, address.context("no address")?, &[])?;

    let polling = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(lab.get(polling, &[])?.status, 401);
    let handshake = lab.get(polling, &[("Authorization", &login)])?;
    assert_eq!(handshake.status, 200);
    assert!(handshake.text().starts_with("0{\"sid\""), "{}", handshake.text());

    for client in [node_script(NODE_CLIENT), python_script(PYTHON_CLIENT)] {
        let mut client = client?;
        client
            .args([&lab.url(""), &login])
            .env("NODE_EXTRA_CA_CERTS", lab.at("etc/tls.pem"))
            .env("SSL_CERT_FILE", lab.at("etc/tls.pem"));
        for transports in [&["polling"][..], &["websocket"], &["polling", "websocket"]] {
            let mut command = Command::new(client.get_program());
            command.args(client.get_args()).args(transports);
            command.envs(client.get_envs().filter_map(|(key, value)| Some((key, value?))));
            let mut running = Running::start(&mut command)?;
            let line = running.wait_for_line("came back by", CLIENT_BOUND)?;
            let last = transports.last().context("no transport")?;
            assert_eq!(line, format!("came back by {last} 4194304"));
        }
    }
    Ok(())
}

#[test]
fn a_real_python_socketio_takes_both_transports_and_4_mib_from_real_clients() -> Result<()> {
    socket_io_passes(&mut python_script(PYTHON_SERVER)?)
}

#[test]
fn a_real_socket_io_on_node_takes_both_transports_and_4_mib_from_real_clients() -> Result<()> {
    socket_io_passes(&mut node_script(NODE_SERVER)?)
}
