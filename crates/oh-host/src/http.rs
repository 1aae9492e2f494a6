//! One small HTTP/1.1 GET on this machine: is the thing that we started, or nginx, there?
//!
//! Loopback addresses and unix sockets only, one fresh connection per question, no TLS, no
//! redirects, no compression. Everything together has one deadline, and everything that is read
//! has a limit, so that a peer which drips bytes or never ends cannot hold us. Probing the
//! network is `oh-probe`'s. The format is RFC 9112.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use oh_model::path::RealPath;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use thiserror::Error;

/// The most bytes of a status line and headers together.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most interim responses (1xx) before the real one.
const INTERIM_MAX: usize = 4;
/// The most bytes of the line before a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// How many bytes are read at once.
const READ_BYTES: usize = 8 * 1024;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A port of 127.0.0.0/8 or ::1.
    Tcp(SocketAddr),
    /// A unix socket; its path has at most 107 bytes.
    Unix(RealPath),
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// One question.
#[derive(Debug, Clone)]
pub struct Get<'a> {
    /// Where the server is.
    pub target: Target,
    /// The path with its query; begins with `/`, no blanks, no control characters.
    pub path: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// Further headers, names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// How long all of it may take together.
    pub timeout: Duration,
    /// The most bytes of the body.
    pub body_bytes_max: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status, 200 to 999.
    pub status: u16,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Says why there is no answer.
#[derive(Debug, Error)]
pub enum HttpFault {
    /// The address is not of this machine's loopback.
    #[error("{0} is not on the loopback")]
    NotLoopback(SocketAddr),
    /// The path, the host or a header cannot stand in a request.
    #[error("{0:?} cannot stand in a request")]
    Request(String),
    /// Nobody is there, or the connection cannot be made.
    #[error("cannot connect to {target}")]
    Connect {
        /// The server.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// The time is over.
    #[error("{target} did not answer within {} ms", timeout.as_millis())]
    Timeout {
        /// The server.
        target: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection broke.
    #[error("the connection to {target} broke")]
    Io {
        /// The server.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server closed the connection in the middle of its answer.
    #[error("{target} closed the connection before its answer was whole")]
    Truncated {
        /// The server.
        target: String,
    },
    /// What came is no answer of HTTP/1.
    #[error("{target} does not answer in HTTP/1: {why}")]
    NotHttp {
        /// The server.
        target: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Head or body have more bytes than are taken.
    #[error("{target} answers with more than {max} bytes of {what}")]
    TooLarge {
        /// The server.
        target: String,
        /// `headers` or `body`.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// Asks, and reads the whole answer.
///
/// # Errors
/// [`HttpFault`]; an answer of any status is no fault.
pub fn get(question: &Get<'_>) -> Result<Response, HttpFault> {
    let request = request(question)?;
    let deadline = Instant::now().checked_add(question.timeout);
    let mut peer =
        Peer { stream: Stream::Closed, question, deadline, buffer: Vec::new(), taken: 0 };
    peer.connect()?;
    peer.send(request.as_bytes())?;
    let mut head = peer.head()?;
    let mut interim = 0;
    while (100..200).contains(&head.status) {
        interim += 1;
        if interim > INTERIM_MAX || head.status == 101 {
            return Err(peer.not_http("it answers with interim responses only"));
        }
        head = peer.head()?;
    }
    let body = peer.body(&head)?;
    Ok(Response { status: head.status, headers: head.headers, body })
}

fn request(question: &Get<'_>) -> Result<String, HttpFault> {
    let bad = |text: &str| HttpFault::Request(text.to_owned());
    if let Target::Tcp(address) = question.target
        && !address.ip().is_loopback()
    {
        return Err(HttpFault::NotLoopback(address));
    }
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !question.path.starts_with('/') || !visible(question.path) || question.path.contains('#') {
        return Err(bad(question.path));
    }
    if question.host.is_empty() || !visible(question.host) {
        return Err(bad(question.host));
    }
    let mut text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        question.path, question.host
    );
    for (name, value) in question.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(bad(name));
        }
        // The value may be a password: it is not repeated.
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(HttpFault::Request(format!("the value of {name}")));
        }
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text)
}

enum Stream {
    Closed,
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A status line and headers.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, v)| v.as_str())
    }
}

/// The server, and what of its bytes is not used yet.
struct Peer<'q> {
    stream: Stream,
    question: &'q Get<'q>,
    deadline: Option<Instant>,
    buffer: Vec<u8>,
    /// How many bytes of the buffer are used.
    taken: usize,
}

impl Peer<'_> {
    fn connect(&mut self) -> Result<(), HttpFault> {
        let left = self.left()?;
        let made = match &self.question.target {
            Target::Tcp(address) => TcpStream::connect_timeout(address, left).map(Stream::Tcp),
            Target::Unix(path) => connect_unix(path, left).map(Stream::Unix),
        };
        self.stream = made.map_err(|source| {
            if is_timeout(&source) {
                self.timeout()
            } else {
                HttpFault::Connect { target: self.target(), source }
            }
        })?;
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), HttpFault> {
        while !bytes.is_empty() {
            let left = self.left()?;
            let sent = match &mut self.stream {
                Stream::Closed => Ok(0),
                Stream::Tcp(stream) => {
                    stream.set_write_timeout(Some(left)).and_then(|()| stream.write(bytes))
                }
                Stream::Unix(stream) => {
                    stream.set_write_timeout(Some(left)).and_then(|()| stream.write(bytes))
                }
            };
            match sent {
                Ok(0) => return Err(HttpFault::Truncated { target: self.target() }),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                // A server may answer and close before it has read everything.
                Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(fault) => self.tolerate(fault)?,
            }
        }
        Ok(())
    }

    /// Reads once more; false where the server has closed.
    fn more(&mut self) -> Result<bool, HttpFault> {
        let mut fresh = [0; READ_BYTES];
        loop {
            let left = self.left()?;
            let read = match &mut self.stream {
                Stream::Closed => Ok(0),
                Stream::Tcp(stream) => {
                    stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut fresh))
                }
                Stream::Unix(stream) => {
                    stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut fresh))
                }
            };
            match read {
                Ok(count) => {
                    self.buffer.drain(..self.taken);
                    self.taken = 0;
                    self.buffer.extend_from_slice(fresh.get(..count).unwrap_or_default());
                    return Ok(count > 0);
                }
                Err(fault) => self.tolerate(fault)?,
            }
        }
    }

    /// Takes the line up to the next line feed, without it.
    fn line(&mut self, max: usize, what: &'static str) -> Result<Vec<u8>, HttpFault> {
        let mut searched = 0;
        loop {
            let rest = self.rest();
            let end = rest.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| end + searched).filter(|end| *end <= max) {
                let line = rest.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.taken += end + 1;
                return Ok(line);
            }
            searched = rest.len();
            if searched > max {
                return Err(HttpFault::TooLarge { target: self.target(), what, max });
            }
            if !self.more()? {
                return Err(HttpFault::Truncated { target: self.target() });
            }
        }
    }

    fn head(&mut self) -> Result<Head, HttpFault> {
        let mut room = HEAD_BYTES_MAX;
        let mut next = |peer: &mut Self| {
            let line = peer.line(room, "headers")?;
            room = room.saturating_sub(line.len() + 1);
            Ok::<_, HttpFault>(line)
        };
        let line = next(self)?;
        let status = status(&line).ok_or_else(|| self.not_http("its first line is no status"))?;
        let mut headers = Vec::new();
        loop {
            let line = next(self)?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let (name, value) = line
                .split_once(':')
                .filter(|(name, _)| !name.is_empty() && !name.contains([' ', '\t']))
                .ok_or_else(|| self.not_http("a header has no name"))?;
            headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    fn body(&mut self, head: &Head) -> Result<Vec<u8>, HttpFault> {
        if matches!(head.status, 204 | 304) {
            return Ok(Vec::new());
        }
        let coding: Vec<&str> = head.values("transfer-encoding").collect();
        let mut lengths = head.values("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(self.not_http("it has two lengths"));
        }
        match (coding.as_slice(), length) {
            ([], None) => {
                while self.more()? {
                    self.check_body(self.rest().len())?;
                }
                self.take_exactly(self.rest().len())
            }
            ([], Some(length)) => {
                let digits = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse().ok().filter(|_| digits);
                let length = length.ok_or_else(|| self.not_http("its length is no number"))?;
                self.check_body(length)?;
                self.take_exactly(length)
            }
            ([chunked], None) if chunked.eq_ignore_ascii_case("chunked") => self.chunks(),
            (_, None) => Err(self.not_http("it uses a transfer coding other than chunked")),
            (_, Some(_)) => Err(self.not_http("it has a length and a transfer coding")),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, HttpFault> {
        let mut body = Vec::new();
        loop {
            let line = self.line(CHUNK_LINE_BYTES_MAX, "chunk size")?;
            let size = chunk_size(&line).ok_or_else(|| self.not_http("a chunk has no size"))?;
            if size == 0 {
                break;
            }
            self.check_body(size.saturating_add(body.len()))?;
            body.append(&mut self.take_exactly(size)?);
            if !self.line(CHUNK_LINE_BYTES_MAX, "chunk end")?.is_empty() {
                return Err(self.not_http("a chunk is longer than its size"));
            }
        }
        // The trailer is read, so that the answer is known to be whole, and not used.
        let mut room = HEAD_BYTES_MAX;
        loop {
            let line = self.line(room, "headers")?;
            if line.is_empty() {
                return Ok(body);
            }
            room = room.saturating_sub(line.len() + 1);
        }
    }

    fn take_exactly(&mut self, count: usize) -> Result<Vec<u8>, HttpFault> {
        while self.rest().len() < count {
            if !self.more()? {
                return Err(HttpFault::Truncated { target: self.target() });
            }
        }
        let bytes = self.rest().get(..count).unwrap_or_default().to_vec();
        self.taken += count;
        Ok(bytes)
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn check_body(&self, length: usize) -> Result<(), HttpFault> {
        let max = self.question.body_bytes_max;
        if length > max {
            return Err(HttpFault::TooLarge { target: self.target(), what: "body", max });
        }
        Ok(())
    }

    /// Returns the time that is left; never zero, which would mean "for ever" to the kernel.
    fn left(&self) -> Result<Duration, HttpFault> {
        let Some(deadline) = self.deadline else { return Ok(Duration::MAX) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.timeout()) } else { Ok(left.max(Duration::from_micros(1))) }
    }

    fn tolerate(&self, fault: io::Error) -> Result<(), HttpFault> {
        if is_timeout(&fault) {
            Err(self.timeout())
        } else if fault.kind() == io::ErrorKind::Interrupted {
            Ok(())
        } else {
            Err(HttpFault::Io { target: self.target(), source: fault })
        }
    }

    fn timeout(&self) -> HttpFault {
        HttpFault::Timeout { target: self.target(), timeout: self.question.timeout }
    }

    fn not_http(&self, why: &'static str) -> HttpFault {
        HttpFault::NotHttp { target: self.target(), why }
    }

    fn target(&self) -> String {
        self.question.target.to_string()
    }
}

/// Connects with a limit: a unix socket whose queue is full makes connect(2) wait, for as long as
/// the send timeout says.
fn connect_unix(path: &RealPath, left: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path.as_str())?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
    rustix::net::connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

fn is_timeout(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
        || Errno::from_io_error(fault) == Some(Errno::INPROGRESS)
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (digits, after) = (rest.get(2..5)?, rest.get(5));
    let well = matches!(rest.get(..2)?, b"0 " | b"1 ")
        && digits.iter().all(u8::is_ascii_digit)
        && after.is_none_or(|byte| *byte == b' ');
    let number = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (well && number >= 100).then_some(number)
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(line).ok()?;
    let digits = text.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
    let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal { usize::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    fn ask(target: Target) -> Get<'static> {
        Get {
            target,
            path: "/healthz",
            host: "localhost",
            headers: &[],
            timeout: Duration::from_secs(5),
            body_bytes_max: 1000,
        }
    }

    /// Answers one connection with these pieces and returns the request.
    fn server(pieces: Vec<&'static [u8]>) -> (Target, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            for piece in pieces {
                // The client may be gone, having seen enough.
                let Ok(()) = stream.write_all(piece) else { break };
            }
            String::from_utf8(request).unwrap()
        });
        (target, thread)
    }

    fn answer(text: &'static str) -> Result<Response, HttpFault> {
        let (target, thread) = server(vec![text.as_bytes()]);
        let answer = get(&ask(target));
        thread.join().unwrap();
        answer
    }

    #[test]
    fn one_question_one_answer() {
        let (target, thread) = server(vec![
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCONTENT-LENGTH:",
            b" 5\r\n\r\nhello and more",
        ]);
        let question = Get { headers: &[("Accept", "*/*")], ..ask(target) };
        let found = get(&question).unwrap();
        assert_eq!((found.status, found.body.as_slice()), (200, b"hello".as_slice()));
        assert_eq!(found.header("content-type"), Some("text/plain"));
        assert_eq!(
            thread.join().unwrap(),
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn a_body_ends_in_one_of_three_ways() {
        assert_eq!(answer("HTTP/1.0 404 \r\n\r\nto the end").unwrap().body, b"to the end");
        assert_eq!(answer("HTTP/1.1 204\r\nContent-Length: 9\r\n\r\n").unwrap().body, b"");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5;x=y\r\nhello\r\n006\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
        assert_eq!(answer(chunked).unwrap().body, b"hello world");
        let interim = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok";
        assert_eq!(answer(interim).unwrap().body, b"ok");
    }

    #[test]
    fn what_is_no_answer_is_named() {
        for (text, expected) in [
            ("SSH-2.0-x\r\n", "does not answer in HTTP/1: its first line is no status"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "before its answer was whole"),
            ("HTTP/1.1 200 OK\r\nContent-Le", "before its answer was whole"),
            ("", "before its answer was whole"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "its length is no number"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                "it has two lengths",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "a transfer coding other than chunked",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                "more than 1000 bytes of body",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "a chunk has no size"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "more than 1000 bytes of body"),
            ("HTTP/1.1 101 Switching\r\n\r\n", "interim responses only"),
        ] {
            let fault = answer(text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{text:?}: {fault}");
        }
    }

    #[test]
    fn a_head_without_end_is_cut_off() {
        let (target, thread) = server(vec![b"HTTP/1.1 200 OK\r\n", &[b'x'; 100_000]]);
        let fault = get(&ask(target)).unwrap_err();
        assert!(matches!(fault, HttpFault::TooLarge { what: "headers", .. }), "{fault}");
        thread.join().unwrap();
    }

    #[test]
    fn a_body_without_end_is_cut_off() {
        let (target, thread) = server(vec![b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 100_000]]);
        let fault = get(&ask(target)).unwrap_err();
        assert!(matches!(fault, HttpFault::TooLarge { what: "body", .. }), "{fault}");
        thread.join().unwrap();
    }

    #[test]
    fn dripping_bytes_do_not_stretch_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let started = Instant::now();
        let timeout = Duration::from_millis(200);
        // Each byte is in time; all of them together are not.
        let fault = get(&Get { timeout, ..ask(target) }).unwrap_err();
        assert!(matches!(fault, HttpFault::Timeout { .. } | HttpFault::TooLarge { .. }), "{fault}");
        assert!(started.elapsed() < Duration::from_secs(3));
        thread.join().unwrap();
    }

    #[test]
    fn unix_sockets_answer_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let target = Target::Unix(RealPath::parse(path.to_str().unwrap()).unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nunix").unwrap();
            // Closing with an unread request would reset the connection.
            let mut request = [0; 1000];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let count = stream.read(&mut request).unwrap();
                assert!(count > 0);
            }
        });
        assert_eq!(get(&ask(target)).unwrap().body, b"unix");
        thread.join().unwrap();
    }

    #[test]
    fn a_unix_socket_that_takes_nobody_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let real = RealPath::parse(path.to_str().unwrap()).unwrap();
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let nobody = get(&ask(Target::Unix(real.clone()))).unwrap_err();
        assert!(matches!(nobody, HttpFault::Connect { .. }), "{nobody}");
        rustix::net::listen(&socket, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let timeout = Duration::from_millis(50);
        let fault = get(&Get { timeout, ..ask(Target::Unix(real)) }).unwrap_err();
        assert!(matches!(fault, HttpFault::Timeout { .. }), "{fault}");
    }

    #[test]
    fn only_this_machine_and_only_well_formed_questions() {
        let far = Target::Tcp("192.0.2.1:80".parse().unwrap());
        assert!(matches!(get(&ask(far)), Err(HttpFault::NotLoopback(_))));
        let near = || Target::Tcp("127.0.0.1:1".parse().unwrap());
        for path in ["", "healthz", "/a b", "/a\r\nX: y", "/é", "/#x"] {
            let question = Get { path, ..ask(near()) };
            assert!(matches!(get(&question), Err(HttpFault::Request(_))), "{path:?}");
        }
        let question = Get { host: "a\r\nb", ..ask(near()) };
        assert!(matches!(get(&question), Err(HttpFault::Request(_))));
        let secret = [("Authorization", "Basic x\n")];
        let fault = get(&Get { headers: &secret, ..ask(near()) }).unwrap_err();
        assert!(!fault.to_string().contains("Basic"), "{fault}");
        assert!(matches!(get(&ask(near())), Err(HttpFault::Connect { .. })));
    }
}
