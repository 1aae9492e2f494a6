//! A server that does it wrong: each way on a port of its own, as long as the test's process lives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt::set_socket_linger;
use tungstenite::handshake::derive_accept_key;

/// How long the slow one takes for a byte.
const BYTE_PAUSE: Duration = Duration::from_millis(50);

type Answers = fn(TcpStream, &str) -> std::io::Result<()>;

/// Each way to do it wrong; it is given the connection and the head of the request.
const WAYS: [(&str, Answers); 12] = [
    ("silent", |stream, _| until_the_end(stream)),
    ("half-closed", |stream, _| {
        stream.shutdown(Shutdown::Write)?;
        until_the_end(stream)
    }),
    // Without lingering, the end is a reset.
    ("reset", |stream, _| Ok(set_socket_linger(&stream, Some(Duration::ZERO))?)),
    ("garbage", |stream, head| upgraded(stream, head, &[0xff; 64])),
    // A text frame that is no packet of Engine.IO (RFC 6455, section 5.2).
    ("another protocol", |stream, head| upgraded(stream, head, b"\x81\x05hello")),
    ("mute", |stream, head| upgraded(stream, head, b"")),
    ("wrong key", |stream, head| {
        let other = head.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: another");
        upgraded(stream, &other, b"")
    }),
    ("no Upgrade", |mut stream, head| {
        let head = accepting(head).replace("Upgrade: websocket\r\n", "");
        stream.write_all(head.as_bytes())?;
        until_the_end(stream)
    }),
    ("endless head", |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"X-Header: and another one\r\n")?;
        }
    }),
    ("slow", |mut stream, _| {
        stream.set_read_timeout(Some(BYTE_PAUSE))?;
        for byte in b"HTTP/1.1 200 OK\r\nX-Header: ".iter().chain(std::iter::repeat(&b'a')) {
            stream.write_all(&[*byte])?;
            // Nothing is sent any more: what is waited for is that time goes by.
            if let Ok(0) = stream.read(&mut [0]) {
                break;
            }
        }
        Ok(())
    }),
    ("banner", |mut stream, _| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")),
    ("midway", |mut stream, _| stream.write_all(b"HTTP/1.1 101 Switching")),
];

/// Starts all of them, and returns the port of each.
pub(crate) fn start() -> Result<Vec<(String, u16)>> {
    let mut ports = Vec::new();
    for (name, answers) in WAYS {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        ports.push((name.to_owned(), listener.local_addr()?.port()));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                // Whoever goes away has seen enough.
                thread::spawn(move || answers_one(stream, answers).unwrap_or_default());
            }
        });
    }
    Ok(ports)
}

fn answers_one(stream: TcpStream, answers: Answers) -> std::io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(&stream);
    while lines.read_line(&mut head)? > 2 {}
    answers(stream, &head)
}

fn until_the_end(mut stream: TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

fn accepting(head: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Upgrades as it should, and goes on as it should not; a request for something else has no answer.
fn upgraded(mut stream: TcpStream, head: &str, then: &[u8]) -> std::io::Result<()> {
    if !head.contains("Sec-WebSocket-Key: ") {
        return Ok(());
    }
    stream.write_all(accepting(head).as_bytes())?;
    stream.write_all(then)?;
    until_the_end(stream)
}
