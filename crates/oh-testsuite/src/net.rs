//! A raw HTTP/1.1 client over TCP and TLS, and a WebSocket handshake whose answer can be seen.
//!
//! It sends what it is told and shows what came back: no redirect is followed, no cookie is kept,
//! no certificate is refused. Names under `localhost`, `test`, `example` and `invalid` (RFC 6761)
//! are loopback here, so a test can use a site's name.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tungstenite::Message;
use tungstenite::protocol::Role;

mod tls;

/// How long one exchange may wait for the other side, unless the caller says otherwise.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of an answer.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// The largest body of an answer.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Any 16 bytes: the key of a handshake is no secret (RFC 6455, section 4.1).
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in their order, as they were written.
    pub headers: Vec<(String, String)>,
    /// The body, with the transfer coding taken off.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns every header of this name, in whatever case.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request; start from [`Request::get`] and change what the test is about.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The whole URL: `http`, `https`, `ws` or `wss`.
    pub url: &'a str,
    /// Headers to add; `Host`, `Connection` and `Content-Length` replace our own.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// How long to wait for the other side at each step.
    pub timeout: Duration,
}

impl<'a> Request<'a> {
    /// Describes a GET without further headers.
    pub fn get(url: &'a str) -> Request<'a> {
        Request { method: "GET", url, headers: &[], body: &[], timeout: EXCHANGE_TIMEOUT }
    }
}

/// Gets a URL.
///
/// # Errors
///
/// When no whole answer comes; a status is never an error.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    send(&Request { headers, ..Request::get(url) })
}

/// Sends a request on a fresh connection and reads the whole answer.
///
/// # Errors
///
/// When no whole answer comes; a status is never an error.
pub fn send(request: &Request<'_>) -> Result<Answer> {
    let exchange = || {
        let target = Target::parse(request.url)?;
        let mut stream = target.connect(request.timeout)?;
        stream.write_all(&head(request, &target, "close"))?;
        stream.write_all(request.body)?;
        stream.flush()?;
        read_answer(&mut BufReader::new(stream), request.method)
    };
    exchange().with_context(|| format!("{} {}", request.method, request.url))
}

/// A connected WebSocket.
pub type WebSocket = tungstenite::WebSocket<Stream>;

/// How a server answered a WebSocket handshake.
#[derive(Debug)]
pub enum Upgrade {
    /// 101: frames can be sent and received.
    Open(Box<WebSocket>),
    /// Anything else.
    Refused(Answer),
}

impl Upgrade {
    /// Returns the status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Upgrade::Open(_) => 101,
            Upgrade::Refused(answer) => answer.status,
        }
    }

    /// Returns the WebSocket.
    ///
    /// # Errors
    ///
    /// When the handshake was refused, with the answer.
    pub fn open(self) -> Result<WebSocket> {
        match self {
            Upgrade::Open(socket) => Ok(*socket),
            Upgrade::Refused(answer) => {
                bail!("no WebSocket: {} {:?}", answer.status, answer.text())
            }
        }
    }
}

/// Asks for a WebSocket; `headers` are added to the handshake, `Origin` for example.
///
/// # Errors
///
/// When no whole answer comes, or a 101 that is not a WebSocket's; a refusal is no error.
pub fn upgrade(url: &str, headers: &[(&str, &str)]) -> Result<Upgrade> {
    let handshake = || {
        let target = Target::parse(url)?;
        let mut all = vec![
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", WEBSOCKET_KEY),
        ];
        all.extend_from_slice(headers);
        let request = Request { headers: &all, ..Request::get(url) };
        let mut stream = target.connect(request.timeout)?;
        stream.write_all(&head(&request, &target, "Upgrade"))?;
        stream.flush()?;
        let mut reader = BufReader::new(stream);
        let answer = read_answer(&mut reader, "GET")?;
        if answer.status != 101 {
            return Ok(Upgrade::Refused(answer));
        }
        let expected = tungstenite::handshake::derive_accept_key(WEBSOCKET_KEY.as_bytes());
        let accept = answer.header("Sec-WebSocket-Accept");
        ensure!(accept == Some(&expected), "101 with the wrong accept key {accept:?}");
        let early = reader.buffer().to_vec();
        let stream = reader.into_inner();
        let socket = WebSocket::from_partially_read(stream, early, Role::Client, None);
        Ok(Upgrade::Open(Box::new(socket)))
    };
    handshake().with_context(|| format!("upgrade {url}"))
}

/// Sends a text frame.
///
/// # Errors
///
/// When the connection is gone.
pub fn send_text(socket: &mut WebSocket, text: &str) -> Result<()> {
    socket.send(Message::text(text)).with_context(|| format!("could not send {text:?}"))
}

/// Receives the next text frame; pings are answered on the way.
///
/// # Errors
///
/// When the connection is closed, or nothing comes within [`EXCHANGE_TIMEOUT`].
pub fn receive_text(socket: &mut WebSocket) -> Result<String> {
    loop {
        match socket.read().context("no frame came")? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Ping(_) | Message::Pong(_) => {}
            other => bail!("not a text frame: {other:?}"),
        }
    }
}

/// The ports that were returned already: the kernel may have one free again that was not used yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a port of 127.0.0.1 that was free a moment ago, and that this process was not given before.
///
/// Somebody may take it before it is used; where a program can listen on port 0, let it.
///
/// # Errors
///
/// When no port is free.
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Held until another one is found, or the kernel would offer the same.
    let mut offered = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let port = listener.local_addr()?.port();
        if given.insert(port) {
            return Ok(port);
        }
        offered.push(listener);
    }
}

/// A TLS connection over TCP.
pub type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A connection, plain or within TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Changes how long a read may wait.
    ///
    /// # Errors
    ///
    /// When the timeout is zero.
    pub fn set_read_timeout(&self, timeout: Duration) -> Result<()> {
        let socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref(),
        };
        Ok(socket.set_read_timeout(Some(timeout))?)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(buffer),
            Stream::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// The parts of a URL that a connection needs.
struct Target<'a> {
    tls: bool,
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Result<Target<'a>> {
        let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
        let tls = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => bail!("{scheme} is not spoken here"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("{port:?} is not a port"))?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Target { tls, authority, host, port, path })
    }

    fn address(&self) -> Result<SocketAddr> {
        let last = self.host.rsplit('.').next().unwrap_or_default();
        if ["localhost", "test", "example", "invalid"].contains(&last) {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        }
        let mut addresses = (self.host, self.port).to_socket_addrs()?;
        addresses.next().with_context(|| format!("{} has no address", self.host))
    }

    fn connect(&self, timeout: Duration) -> Result<Stream> {
        let socket = TcpStream::connect_timeout(&self.address()?, timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        socket.set_nodelay(true)?;
        if !self.tls {
            return Ok(Stream::Plain(socket));
        }
        Ok(Stream::Tls(Box::new(tls::connect(self.host, socket)?)))
    }
}

fn head(request: &Request<'_>, target: &Target<'_>, connection: &str) -> Vec<u8> {
    let given = |name: &str| request.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let slash = if target.path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{} {slash}{} HTTP/1.1\r\n", request.method, target.path);
    let length = request.body.len().to_string();
    let sends_length = !request.body.is_empty() || request.method == "POST";
    let mut own = vec![("Host", target.authority), ("Connection", connection)];
    own.extend(sends_length.then_some(("Content-Length", length.as_str())));
    let own = own.into_iter().filter(|(key, _)| !given(key));
    for (key, value) in own.chain(request.headers.iter().copied()) {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn read_answer(reader: &mut BufReader<Stream>, method: &str) -> Result<Answer> {
    let (status, headers) = read_head(reader)?;
    let mut answer = Answer { status, headers, body: Vec::new() };
    let bodiless = method == "HEAD" || status == 101 || status == 204 || status == 304;
    if bodiless {
        return Ok(answer);
    }
    let chunked = answer.header("Transfer-Encoding").is_some_and(|coding| coding == "chunked");
    let length = answer.header("Content-Length").map(str::parse::<u64>).transpose()?;
    answer.body = match length {
        _ if chunked => read_chunks(reader)?,
        Some(length) => read_exactly(reader, length)?,
        None => {
            let mut body = Vec::new();
            match reader.by_ref().take(BODY_BYTES_MAX).read_to_end(&mut body) {
                // A server may end TLS without a word (no close_notify).
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => bail!(error),
                _ => body,
            }
        }
    };
    Ok(answer)
}

type Head = (u16, Vec<(String, String)>);

fn read_head(reader: &mut BufReader<Stream>) -> Result<Head> {
    let mut limited = reader.by_ref().take(HEAD_BYTES_MAX);
    let mut line = || -> Result<String> {
        let mut line = Vec::new();
        limited.read_until(b'\n', &mut line).context("no whole answer came")?;
        ensure!(line.ends_with(b"\n"), "the answer ends within its head: {line:?}");
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    };
    let first = line()?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {first:?}"))?;
    let mut headers = Vec::new();
    loop {
        let text = line()?;
        if text.is_empty() {
            return Ok((status, headers));
        }
        let (key, value) = text.split_once(':').with_context(|| format!("no header: {text:?}"))?;
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut BufReader<Stream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).with_context(|| format!("chunk {line:?}"))?;
        body.extend(read_exactly(reader, length)?);
        reader.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(reader: &mut BufReader<Stream>, length: u64) -> Result<Vec<u8>> {
    ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let got = body.len();
    ensure!(u64::try_from(got)? == length, "the body ends after {got} of {length} bytes");
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            while request.read_line(&mut String::new()).unwrap() > 2 {}
            stream.write_all(answer).unwrap();
        });
        format!("http://site.example:{port}/a?b=c")
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let url = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n");
        assert_eq!(get(&url, &[]).unwrap().text(), "abcde");
    }

    #[test]
    fn a_short_body_is_an_error_that_says_so() {
        let url = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        let error = get(&url, &[]).unwrap_err();
        assert!(format!("{error:#}").ends_with("the body ends after 3 of 9 bytes"), "{error:#}");
    }

    #[test]
    fn headers_are_found_in_any_case_and_kept_apart() {
        let url = serve(b"HTTP/1.1 401 No\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nwho?");
        let answer = get(&url, &[]).unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header_all("SET-COOKIE").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(answer.text(), "who?");
    }

    #[test]
    fn a_given_host_replaces_the_one_of_the_url() {
        let target = Target::parse("http://127.0.0.1:7?q=1").unwrap();
        let request = Request { headers: &[("host", "site.example")], ..Request::get("") };
        let head = String::from_utf8(head(&request, &target, "close")).unwrap();
        assert_eq!(head, "GET /?q=1 HTTP/1.1\r\nConnection: close\r\nhost: site.example\r\n\r\n");
    }

    #[test]
    fn a_url_without_a_port_means_the_port_of_its_scheme() {
        let target = Target::parse("wss://site.example/a").unwrap();
        assert_eq!(
            (target.tls, target.host, target.port, target.path),
            (true, "site.example", 443, "/a")
        );
        assert_eq!(Target::parse("http://[::1]:80/").unwrap().host, "::1");
    }
}
