//! HTTP/1.1, one request a connection: what was answered, as it was answered.
//!
//! No redirect is followed, no cookie kept, nothing decompressed. A body is kept up to a limit; that there was
//! more is said.

use std::borrow::Cow;
use std::str;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::failure::{FIRST_BYTES_MAX, Failure};
use crate::limits::Limits;

/// How many headers an answer may have.
const HEADERS_MAX: usize = 128;

/// The bytes of the line before a chunk.
const CHUNK_HEAD_BYTES_MAX: usize = 4 << 10;

/// How much is read at once: as much as there was before, within these. Most answers are short, and where many
/// connections are held, room that was made for long ones lies between them.
const READ_BYTES_MIN: usize = 1 << 10;
const READ_BYTES_MAX: usize = 16 << 10;

/// A request. Whoever makes one answers for what is in it: line breaks in a header are refused by
/// [`Header::new`].
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, or what `CONNECT` wants.
    pub target: &'a str,
    /// The `Host` header.
    pub authority: &'a str,
    /// All others but `Content-Length`.
    pub headers: Vec<Header<'a>>,
    /// The body; it is sent, with its length, where it is not empty.
    pub body: &'a [u8],
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Header<'a> {
    /// Makes a header, where its name is one and its value has no control characters (RFC 9110, section 5).
    pub fn new(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Option<Self> {
        let (name, value) = (name.into(), value.into());
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        let is_value = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        (is_name && is_value).then_some(Self { name, value })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl<'a> Request<'a> {
    /// Makes a GET without further headers.
    pub const fn get(target: &'a str, authority: &'a str) -> Self {
        Self { method: "GET", target, authority, headers: Vec::new(), body: &[] }
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("Host") {
            head += &format!("Host: {}\r\n", self.authority);
        }
        for header in &self.headers {
            head += &format!("{}: {}\r\n", header.name, header.value);
        }
        if !self.has("Connection") && self.method != "CONNECT" {
            head += "Connection: close\r\n";
        }
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body);
        bytes
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, in their order; bytes that are no text are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding, up to the limit.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
    /// What came behind the head of an answer that has no body: the first bytes of another protocol.
    pub rest: Vec<u8>,
}

impl Answer {
    /// Returns the first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns all headers of a name.
    pub fn headers_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str())
    }

    /// Says whether a header, of which there may be several, has a word in its list (RFC 9110, section 5.6.1).
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        let mut words = self.headers_of(name).flat_map(|value| value.split(','));
        words.any(|one| one.trim().eq_ignore_ascii_case(word))
    }

    /// Returns the media type, without its parameters and in small letters.
    pub fn media_type(&self) -> Option<String> {
        let value = self.header("Content-Type")?;
        let media_type = value.split_once(';').map_or(value, |(media_type, _)| media_type);
        Some(media_type.trim().to_ascii_lowercase())
    }

    /// Returns the body as text; bytes that are none are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// A connection that can be reset.
pub trait Resets {
    /// Says whether the connection is reset when it is dropped, and not ended.
    fn resets_when_dropped(&self, is_reset: bool);
}

impl Resets for TcpStream {
    fn resets_when_dropped(&self, is_reset: bool) {
        #[expect(
            deprecated,
            reason = "a linger of nothing blocks nobody, and nothing else takes one away"
        )]
        let set = if is_reset { self.set_zero_linger() } else { self.set_linger(None) };
        // A connection that has ended has nothing to be reset.
        set.unwrap_or_default();
    }
}

/// Sends a request and reads the answer, within the limit of time of HTTP.
///
/// A connection is reset where it is left before its answer was whole: a server may keep one that was only ended until
/// it has answered, which may be never. Servers of Node do.
///
/// An answer that goes on for longer than that, or beyond the limit of bytes, is returned as far as it came.
///
/// # Errors
/// [`Failure`], where no whole head came, or nothing at all.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Resets>(
    stream: &mut S,
    request: &Request<'_>,
    limits: &Limits,
) -> Result<Answer, Failure> {
    let mut reader = Reader {
        stream,
        read: Vec::new(),
        total: 0,
        deadline: Instant::now() + limits.http,
        allowed: limits.http,
    };
    reader.stream.resets_when_dropped(true);
    reader.send(&request.bytes()).await?;
    let mut answer = loop {
        let answer = reader.head(limits).await?;
        // 100 and 103 come before the answer; 101 is one.
        if !(100..200).contains(&answer.status) || answer.status == 101 {
            break answer;
        }
    };
    let is_bodiless = matches!(answer.status, 101 | 204 | 304)
        || request.method == "HEAD"
        || (request.method == "CONNECT" && (200..300).contains(&answer.status));
    if is_bodiless {
        (answer.rest, answer.is_whole) = (reader.read, true);
    } else {
        reader.body(&mut answer, limits.body_bytes_max).await;
    }
    stream.resets_when_dropped(!answer.is_whole);
    Ok(answer)
}

/// What was read of a connection and not yet understood.
struct Reader<'s, S> {
    stream: &'s mut S,
    read: Vec<u8>,
    total: usize,
    deadline: Instant,
    allowed: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<'_, S> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout_at(self.deadline, sending).await {
            Err(_) => Err(Failure::Silent(self.allowed)),
            Ok(sent) => sent.map_err(|fault| Failure::of_io(&fault, 0)),
        }
    }

    /// Reads more, and says how much: nothing at the end.
    async fn more(&mut self) -> Result<usize, Failure> {
        let at = self.read.len();
        self.read.resize(at + self.total.clamp(READ_BYTES_MIN, READ_BYTES_MAX), 0);
        let room = self.read.get_mut(at..).unwrap_or_default();
        let read = timeout_at(self.deadline, self.stream.read(room)).await;
        let (count, failed) = match read {
            Ok(Ok(count)) => (count, None),
            Ok(Err(fault)) => (0, Some(Failure::of_io(&fault, self.total))),
            Err(_) => (0, Some(Failure::Silent(self.allowed))),
        };
        self.read.truncate(at + count);
        self.total += count;
        failed.map_or(Ok(count), Err)
    }

    async fn head(&mut self, limits: &Limits) -> Result<Answer, Failure> {
        loop {
            if let Some((answer, bytes)) = parse_head(&self.read)? {
                self.read.drain(..bytes);
                return Ok(answer);
            }
            if self.read.len() > limits.head_bytes_max {
                return Err(Failure::TooLarge { what: "head", max: limits.head_bytes_max });
            }
            if self.more().await? == 0 {
                return Err(Failure::Closed { bytes: self.total });
            }
        }
    }

    /// Reads the body, as far as it comes.
    async fn body(&mut self, answer: &mut Answer, bytes_max: usize) {
        let is_chunked = answer.has_word("Transfer-Encoding", "chunked");
        let length = answer.header("Content-Length").and_then(|value| value.trim().parse().ok());
        let mut chunks = Chunks::default();
        loop {
            let taken = if is_chunked {
                chunks.take(&mut self.read, &mut answer.body)
            } else {
                answer.body.append(&mut self.read);
                match length {
                    Some(length) if answer.body.len() >= length => {
                        answer.body.truncate(length);
                        Taken::Whole
                    }
                    _ => Taken::Part,
                }
            };
            match taken {
                Taken::Whole => {
                    answer.is_whole = answer.body.len() <= bytes_max;
                    break;
                }
                Taken::Part if answer.body.len() < bytes_max => {}
                Taken::Part | Taken::Broken => break,
            }
            match self.more().await {
                // Without a length, the end of the connection is the end of the body.
                Ok(0) => {
                    answer.is_whole = !is_chunked && length.is_none();
                    break;
                }
                Ok(_) => {}
                // What came is worth more than why no more did.
                Err(_) => break,
            }
        }
        answer.body.truncate(bytes_max);
    }
}

/// How far a body is.
enum Taken {
    Whole,
    Part,
    Broken,
}

/// The chunked transfer coding (RFC 9112, section 7.1), as far as it was read.
#[derive(Default)]
struct Chunks {
    /// What is to come of the chunk.
    bytes: u64,
    /// What is to come of the line end behind it.
    line_end: u64,
}

impl Chunks {
    /// Moves what is in the chunks to the body, and takes away what was understood.
    fn take(&mut self, read: &mut Vec<u8>, body: &mut Vec<u8>) -> Taken {
        let mut rest = read.as_slice();
        let taken = loop {
            body.extend_from_slice(pass(&mut rest, &mut self.bytes));
            pass(&mut rest, &mut self.line_end);
            if self.bytes > 0 || self.line_end > 0 {
                break Taken::Part;
            }
            match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((_, 0))) => break Taken::Whole,
                Ok(httparse::Status::Complete((length, bytes))) => {
                    rest = rest.get(length..).unwrap_or_default();
                    (self.bytes, self.line_end) = (bytes, 2);
                }
                Ok(httparse::Status::Partial) if rest.len() <= CHUNK_HEAD_BYTES_MAX => {
                    break Taken::Part;
                }
                Ok(httparse::Status::Partial) | Err(_) => break Taken::Broken,
            }
        };
        let understood = read.len() - rest.len();
        read.drain(..understood);
        taken
    }
}

/// Goes on by as many bytes as are there and wanted, and returns them.
fn pass<'b>(rest: &mut &'b [u8], wanted: &mut u64) -> &'b [u8] {
    let count = usize::try_from(*wanted).unwrap_or(usize::MAX).min(rest.len());
    let (passed, behind) = rest.split_at(count);
    *rest = behind;
    *wanted -= count as u64;
    passed
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let headers = response.headers.iter();
            let headers = headers.map(|header| (header.name.to_owned(), text(header.value)));
            let answer = Answer {
                status: response.code.unwrap_or_default(),
                headers: headers.collect(),
                body: Vec::new(),
                is_whole: false,
                rest: Vec::new(),
            };
            Ok(Some((answer, length)))
        }
        Err(httparse::Error::TooManyHeaders) => {
            Err(Failure::TooLarge { what: "list of headers", max: HEADERS_MAX })
        }
        Err(_) => {
            let first = bytes.iter().take(FIRST_BYTES_MAX).copied().collect();
            Err(Failure::NotHttp { first })
        }
    }
}
