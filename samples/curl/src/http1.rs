//! A client's end of an HTTP/1 connection, with heads as they were sent: names keep their case and
//! their order (RFC 9112).

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest head of an answer.
const HEAD_BYTES: usize = 300 * 1024;

/// The longest line between chunks.
const LINE_BYTES: usize = 16 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Why no answer could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Closed before the first byte of an answer.
    #[error("the connection was closed without an answer")]
    Empty,
    /// Closed within an answer; how much of the body is missing, if that is known.
    #[error("the connection was closed within the answer")]
    Cut(Option<u64>),
    /// What came is not HTTP/1.
    #[error("the answer is not HTTP/1")]
    NotHttp,
    /// A head or a line between chunks is too long, or no chunk.
    #[error("{0}")]
    Framing(&'static str),
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `HTTP/1.1`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// Names and values as sent.
    pub headers: Vec<(String, String)>,
    /// All of it as sent, with the empty line at its end.
    pub raw: Vec<u8>,
}

impl Head {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// Reads a head that ends with an empty line; `None` if it is none.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let first = lines.next()?;
        let (version, rest) = first.split_once(' ')?;
        if !version.starts_with("HTTP/") {
            return None;
        }
        let status = rest.trim_start().split(' ').next()?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Some(Self { version: version.to_owned(), status, headers, raw: raw.to_vec() })
    }

    /// Whether the connection is of use after this answer.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let said = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        match self.version.as_str() {
            "HTTP/1.1" => !said.contains("close"),
            _ => said.contains("keep-alive"),
        }
    }

    /// How the body is framed in answer to `method`.
    #[must_use]
    pub fn framing(&self, method: &str) -> Framing {
        let bodiless = method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304);
        let coding = self.header("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        let length = self.header("content-length").and_then(|text| text.parse().ok());
        match length {
            _ if bodiless => Framing::Length(0),
            _ if coding.contains("chunked") => Framing::Chunk(None),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks: what is left of the one under way.
    Chunk(Option<u64>),
    /// All until the connection is closed.
    UntilClose,
}

/// A connection.
#[derive(Debug)]
pub struct Http1<S> {
    io: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    /// Over an open stream.
    pub fn new(io: S) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    /// The stream, without what was read ahead of need.
    pub fn into_inner(self) -> S {
        self.io
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Reads the next head; informational ones count.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn head(&mut self) -> Result<Head, ReadError> {
        loop {
            if let Some(end) = head_end(&self.buffer) {
                let raw = self.buffer.split_to(end);
                return Head::parse(&raw).ok_or(ReadError::NotHttp);
            }
            let start = self.buffer.len().min(5);
            if self.buffer[..start] != b"HTTP/"[..start] {
                return Err(ReadError::NotHttp);
            }
            if self.buffer.len() > HEAD_BYTES {
                return Err(ReadError::Framing("Too large response headers"));
            }
            if !self.fill().await? {
                return Err(match self.buffer.is_empty() {
                    true => ReadError::Empty,
                    false => ReadError::Cut(None),
                });
            }
        }
    }

    /// Reads on in a body; `None` at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn chunk(&mut self, left: &mut Framing) -> Result<Option<Bytes>, ReadError> {
        loop {
            let limit = match *left {
                Framing::Length(0) => return Ok(None),
                Framing::Length(bytes) | Framing::Chunk(Some(bytes)) => bytes,
                Framing::UntilClose => u64::MAX,
                Framing::Chunk(None) => {
                    *left = self.chunk_size().await?;
                    continue;
                }
            };
            if self.buffer.is_empty() && !self.fill().await? {
                return match *left {
                    Framing::UntilClose => Ok(None),
                    Framing::Length(bytes) => Err(ReadError::Cut(Some(bytes))),
                    Framing::Chunk(_) => Err(ReadError::Cut(None)),
                };
            }
            let count = self.buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
            let bytes = self.buffer.split_to(count).freeze();
            *left = match *left {
                Framing::Length(before) => Framing::Length(before - count as u64),
                Framing::Chunk(Some(before)) if before > count as u64 => {
                    Framing::Chunk(Some(before - count as u64))
                }
                Framing::Chunk(_) => {
                    if !self.line().await?.is_empty() {
                        return Err(ReadError::Framing(
                            "Malformed encoding found in chunked-encoding",
                        ));
                    }
                    Framing::Chunk(None)
                }
                Framing::UntilClose => Framing::UntilClose,
            };
            return Ok(Some(bytes));
        }
    }

    /// Reads the line before a chunk; at the last one, also the trailers.
    async fn chunk_size(&mut self) -> Result<Framing, ReadError> {
        let line = self.line().await?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let digits = text.split(';').next().unwrap_or_default().trim();
        let bad = |_| ReadError::Framing("Malformed encoding found in chunked-encoding");
        let size = u64::from_str_radix(digits, 16).map_err(bad)?;
        if size > 0 {
            return Ok(Framing::Chunk(Some(size)));
        }
        let mut trailers = 0;
        loop {
            let line = self.line().await?;
            trailers += line.len();
            if line.is_empty() {
                return Ok(Framing::Length(0));
            }
            if trailers > HEAD_BYTES {
                return Err(ReadError::Framing("Too large response headers"));
            }
        }
    }

    /// Reads a line, without its end.
    async fn line(&mut self) -> Result<Vec<u8>, ReadError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end).to_vec();
                self.buffer.advance(1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > LINE_BYTES {
                return Err(ReadError::Framing("Malformed encoding found in chunked-encoding"));
            }
            if !self.fill().await? {
                return Err(ReadError::Cut(None));
            }
        }
    }

    /// Reads once; whether anything came.
    async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        match self.io.read_buf(&mut self.buffer).await {
            Ok(count) => Ok(count > 0),
            // A peer that ends without TLS's farewell has ended all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The end of a head: behind its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let next = from + at + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client reads of `answer`: status, body, and whether that is its end.
    async fn read(answer: &[u8], method: &str) -> (Option<u16>, Vec<u8>, Result<(), String>) {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(answer).await.unwrap();
        drop(far);
        let mut client = Http1::new(near);
        let head = match client.head().await {
            Ok(head) => head,
            Err(error) => return (None, Vec::new(), Err(error.to_string())),
        };
        let (mut left, mut body) = (head.framing(method), Vec::new());
        loop {
            match client.chunk(&mut left).await {
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Ok(None) => return (Some(head.status), body, Ok(())),
                Err(error) => return (Some(head.status), body, Err(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn bodies_by_their_framing() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (answer, method, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef".to_owned(), "GET", "abc"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n".to_owned(), "HEAD", ""),
            ("HTTP/1.1 204 No Content\r\nX: y\r\n\r\nabc".to_owned(), "GET", ""),
            ("HTTP/1.0 200 OK\n\nall of it".to_owned(), "GET", "all of it"),
            (format!("{chunked}2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: r\r\n\r\n"), "GET", "abc"),
            (format!("{chunked}0\r\n\r\n"), "GET", ""),
        ] {
            let (status, got, end) = read(answer.as_bytes(), method).await;
            assert_eq!((status.is_some(), got.as_slice(), end), (true, body.as_bytes(), Ok(())));
        }
    }

    #[tokio::test]
    async fn broken_answers() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (answer, error) in [
            (String::new(), "without an answer"),
            ("HTTP/1.1 200".to_owned(), "within the answer"),
            ("SSH-2.0\r\n\r\n".to_owned(), "not HTTP/1"),
            ("HTTP/1.1 x\r\n\r\n".to_owned(), "not HTTP/1"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab".to_owned(), "within the answer"),
            (format!("{chunked}2\r\nabc\r\n"), "Malformed"),
            (format!("{chunked}zz\r\n"), "Malformed"),
            (format!("{chunked}2\r\na"), "within the answer"),
            (format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES)), "Too large"),
        ] {
            let (_, _, end) = read(answer.as_bytes(), "GET").await;
            assert!(end.as_ref().is_err_and(|text| text.contains(error)), "{error}: {end:?}");
        }
    }

    #[test]
    fn heads_keep_their_case() {
        let raw = b"HTTP/1.1 200 OK\r\nX-One: a\r\nx-one:b\r\nConnection: close\r\n\r\n";
        let head = Head::parse(raw).unwrap();
        assert_eq!(head.headers[0], ("X-One".to_owned(), "a".to_owned()));
        assert_eq!(head.values("X-ONE").collect::<Vec<_>>(), ["a", "b"]);
        assert!(!head.keeps_alive());
        assert_eq!(head.raw, raw);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(answer in "(HTTP/1.1 200 OK\r\n|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|\r\n|\n|[0-9a-f]|;|:| ){0,30}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, body, _) = runtime.block_on(read(answer.as_bytes(), "GET"));
            proptest::prop_assert!(body.len() <= answer.len());
        }
    }
}
