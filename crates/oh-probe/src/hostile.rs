//! Servers that mean harm, or are no servers of HTTP at all: each costs its deadline and its bytes, and is told
//! from the others.

use std::net::SocketAddr;
use std::time::Duration;

use crate::dial::Route;
use crate::failure::Failure;
use crate::http1::{Answer, Request, exchange};
use crate::limits::Limits;
use crate::reach::{Stream, Way};
use crate::socketio::{Connection, End, Next};
use crate::target::Target;
use crate::websocket::{AcceptFault, Handshake, Upgraded, upgrade};
use oh_socketio::client::{Incoming, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// What a server does with one connection, once it has read the head of a request.
type Script = fn(TcpStream, String) -> Behaviour;
type Behaviour = std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>;

/// How long an answer may take that is expected to come, on a machine with other work.
const BOUND: Duration = Duration::from_secs(60);

/// How long one may take that never comes.
const SILENCE: Duration = Duration::from_millis(300);

fn limits() -> Limits {
    Limits { http: BOUND, ..Limits::default() }
}

/// Listens on a free port of this machine, and does the same with each connection.
async fn serve(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && head.len() < 9999 {
                    head.push(stream.read_u8().await?);
                }
                script(stream, String::from_utf8_lossy(&head).into_owned()).await
            });
        }
    });
    address
}

async fn reach(address: SocketAddr) -> (Stream, Target) {
    let target = Target::parse(&format!("http://{address}/")).expect("it is a URL");
    let way = Way {
        target: target.clone(),
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: limits(),
    };
    (way.reach().await.stream.expect("it listens"), target)
}

async fn ask(script: Script) -> Result<Answer, Failure> {
    ask_within(script, BOUND).await
}

async fn ask_within(script: Script, http: Duration) -> Result<Answer, Failure> {
    let (mut stream, target) = reach(serve(script).await).await;
    let limits = Limits { http, ..limits() };
    exchange(&mut stream, &Request::get("/", &target.authority()), &limits).await
}

async fn ask_to_upgrade(script: Script) -> Result<Upgraded<Stream>, Failure> {
    let (stream, target) = reach(serve(script).await).await;
    let authority = target.authority();
    let handshake =
        Handshake { target: "/", authority: &authority, origin: None, headers: Vec::new() };
    upgrade(stream, &handshake, &limits()).await
}

/// The accept header for the key of a request, as a server computes it.
fn accepted(head: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let digest = sha1::Sha1::new()
        .chain_update(key.expect("a key was sent"))
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::engine::general_purpose::STANDARD.encode(digest.finalize());
    format!(
        "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

#[tokio::test]
async fn each_kind_of_silence_is_told_from_the_others() {
    let silent: Script = |stream, _| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(99)).await;
            drop(stream);
            Ok(())
        })
    };
    assert_eq!(ask_within(silent, SILENCE).await, Err(Failure::Silent(SILENCE)));
    let closes: Script = |_, _| Box::pin(async { Ok(()) });
    assert_eq!(ask(closes).await, Err(Failure::Closed { bytes: 0 }));
    let closes_midway: Script =
        |mut stream, _| Box::pin(async move { stream.write_all(b"HTTP/1.1 200").await });
    assert_eq!(ask(closes_midway).await, Err(Failure::Closed { bytes: 12 }));
    let resets: Script = |stream, _| {
        Box::pin(async move {
            // Without lingering, the end is a reset.
            stream.set_zero_linger()
        })
    };
    assert_eq!(ask(resets).await, Err(Failure::Reset { bytes: 0 }));
    let slow: Script = |mut stream, _| {
        Box::pin(async move {
            loop {
                stream.write_all(b"H").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let told = ask_within(slow, SILENCE).await.expect_err("it is no answer");
    assert!(matches!(told, Failure::NotHttp { .. } | Failure::Silent(_)), "{told}");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let way = Way {
        target: Target::parse(&format!("http://{address}/")).expect("it is a URL"),
        route: Route::default(),
        trust: None,
        takes_any_certificate: false,
        limits: limits(),
    };
    let reached = way.reach().await;
    assert!(reached.stream.is_none() && reached.dns.is_none());
    let tried: Vec<_> = reached.tcp.into_iter().map(|(at, tried)| (at, tried.value)).collect();
    assert_eq!(tried, [(address, Err(Failure::Refused))]);
}

#[tokio::test]
async fn what_is_no_http_is_shown() {
    let frames: Script = |mut stream, _| {
        Box::pin(async move { stream.write_all(&[0, 0, 0x12, 4, 0, 0, 0, 0, 0]).await })
    };
    let Err(Failure::NotHttp { first }) = ask(frames).await else { panic!("it is HTTP/2") };
    assert_eq!(first.get(..4), Some(&[0, 0, 0x12, 4][..]));
}

#[tokio::test]
async fn an_answer_costs_so_much_and_no_more() {
    let endless_head: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
            }
        })
    };
    let max = limits().head_bytes_max;
    assert_eq!(ask(endless_head).await, Err(Failure::TooLarge { what: "head", max }));
    let many_headers: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            stream.write_all("A: b\r\n".repeat(200).as_bytes()).await
        })
    };
    let told = ask(many_headers).await;
    assert_eq!(told, Err(Failure::TooLarge { what: "list of headers", max: 128 }));
    let endless_body: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
            }
        })
    };
    let answer = ask(endless_body).await.expect("its head is whole");
    assert_eq!((answer.body.len(), answer.is_whole), (limits().body_bytes_max, false));
    let endless_chunk: Script = |mut stream, _| {
        Box::pin(async move {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n";
            stream.write_all(head).await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
            }
        })
    };
    let answer = ask(endless_chunk).await.expect("its head is whole");
    assert_eq!((answer.body.len(), answer.is_whole), (limits().body_bytes_max, false));
    let endless_extension: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;").await?;
            loop {
                stream.write_all(&[b'a'; 4096]).await?;
            }
        })
    };
    let answer = ask(endless_extension).await.expect("its head is whole");
    assert_eq!((answer.body.len(), answer.is_whole), (0, false));
}

#[tokio::test]
async fn bodies_are_read_whatever_way_they_come() {
    let pieces: Script = |mut stream, _| {
        Box::pin(async move {
            let text = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
            for byte in text.bytes() {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    };
    let answer = ask(pieces).await.expect("it is whole");
    assert_eq!((&*answer.text(), answer.is_whole, answer.status), ("abcde", true, 200));
    let length: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.0 502 Bad\r\nContent-Length: 3\r\n\r\nabcdef").await
        })
    };
    let answer = ask(length).await.expect("it is whole");
    assert_eq!((&*answer.text(), answer.is_whole, answer.status), ("abc", true, 502));
    let until_the_end: Script = |mut stream, _| {
        Box::pin(async move { stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").await })
    };
    let answer = ask(until_the_end).await.expect("it is whole");
    assert_eq!((&*answer.text(), answer.is_whole), ("abc", true));
    let too_short: Script = |mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await
        })
    };
    let answer = ask(too_short).await.expect("its head is whole");
    assert_eq!((&*answer.text(), answer.is_whole), ("abc", false));
}

#[tokio::test]
async fn an_upgrade_is_taken_as_a_browser_takes_it() {
    let good: Script = |mut stream, head| {
        Box::pin(async move { stream.write_all(accepted(&head).as_bytes()).await })
    };
    assert!(matches!(ask_to_upgrade(good).await, Ok(Upgraded::Open(..))));
    let refused: Script = |mut stream, _| {
        Box::pin(async move {
            let body = r#""Invalid websocket upgrade""#;
            let head = format!("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await
        })
    };
    let Ok(Upgraded::Refused(answer)) = ask_to_upgrade(refused).await else {
        panic!("it is a 400")
    };
    assert_eq!(answer.text(), r#""Invalid websocket upgrade""#);
    let wrong_key: Script = |mut stream, _| {
        Box::pin(async move {
            let head = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(head.as_bytes()).await
        })
    };
    let told = ask_to_upgrade(wrong_key).await;
    assert!(matches!(told, Ok(Upgraded::Faulty(_, AcceptFault::Accept))));
    let no_connection: Script = |mut stream, head| {
        Box::pin(async move {
            let answer = accepted(&head).replace("Connection: keep-alive, upgrade\r\n", "");
            stream.write_all(answer.as_bytes()).await
        })
    };
    let told = ask_to_upgrade(no_connection).await;
    assert!(matches!(told, Ok(Upgraded::Faulty(_, AcceptFault::Connection))));
}

/// The server's text frames, unmasked (RFC 6455, section 5.2).
fn text_frames(texts: &[&str]) -> Vec<u8> {
    let frame = |text: &&str| {
        let length = u8::try_from(text.len()).expect("it is short");
        let head = if length < 126 { vec![0x81, length] } else { vec![0x81, 126, 0, length] };
        [head, text.as_bytes().to_vec()].concat()
    };
    texts.iter().flat_map(frame).collect()
}

/// Opens, and says what comes then.
async fn after_the_opening(script: Script) -> Next {
    let Ok(Upgraded::Open(_, socket)) = ask_to_upgrade(script).await else { panic!("it is a 101") };
    let mut connection = Connection::new(*socket, Options::default(), true);
    let until = Instant::now() + BOUND;
    let opened = connection.next(until).await;
    assert!(matches!(opened, Next::Came(Incoming::Opened(_))), "{opened:?}");
    connection.next(until).await
}

const OPEN: &str = r#"0{"sid":"e","upgrades":[],"pingInterval":100,"pingTimeout":100}"#;

#[tokio::test]
async fn each_end_of_a_connection_is_told_from_the_others() {
    let cut: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN])).await
        })
    };
    let Next::Ended(End::Cut(Failure::Closed { .. })) = after_the_opening(cut).await else {
        panic!("it ends without a word")
    };
    let closes: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN])).await?;
            stream.write_all(&[0x88, 4, 0x0f, 0xa4, b'n', b'o']).await
        })
    };
    let Next::Ended(end) = after_the_opening(closes).await else { panic!("it ends") };
    assert_eq!(end, End::Closed { code: Some(4004), reason: "no".to_owned() });
    let silent: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN])).await?;
            tokio::time::sleep(Duration::from_secs(99)).await;
            Ok(())
        })
    };
    let Next::Ended(end) = after_the_opening(silent).await else { panic!("it is overdue") };
    assert_eq!(end, End::Silent(Duration::from_millis(200)));
    let nonsense: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN, "<html>"])).await
        })
    };
    assert!(matches!(after_the_opening(nonsense).await, Next::Ended(End::Nonsense(_))));
    let garbage: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN])).await?;
            stream.write_all(&[0xff; 64]).await
        })
    };
    assert!(matches!(after_the_opening(garbage).await, Next::Ended(End::NoFrame(_))));
    let too_large: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN])).await?;
            stream.write_all(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]).await
        })
    };
    assert!(matches!(after_the_opening(too_large).await, Next::Ended(End::NoFrame(_))));
}

#[tokio::test]
async fn a_connection_says_goodbye() {
    let script: Script = |mut stream, head| {
        Box::pin(async move {
            stream.write_all(accepted(&head).as_bytes()).await?;
            stream.write_all(&text_frames(&[OPEN, r#"40{"sid":"s"}"#])).await?;
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await?;
            Ok(())
        })
    };
    let Ok(Upgraded::Open(_, socket)) = ask_to_upgrade(script).await else { panic!("it is a 101") };
    let mut connection = Connection::new(*socket, Options::default(), true);
    let until = Instant::now() + BOUND;
    while connection.client().state() != oh_socketio::client::State::Connected {
        assert!(matches!(connection.next(until).await, Next::Came(_)));
    }
    let seen = connection.close(Instant::now() + Duration::from_millis(100)).await;
    let ours: Vec<_> =
        seen.iter().filter(|frame| frame.is_ours).map(|frame| &*frame.text).collect();
    assert_eq!(ours, ["40", "41", "1"]);
}
