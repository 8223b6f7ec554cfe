//! Looks at the bytes of an HTTP/1 connection before the parser does, and refuses what parsers
//! disagree about: both content-length and chunked, a transfer coding that is not chunked, two
//! hosts, lines that end without CR, folded headers. Refused bytes are replaced by a NUL, which
//! no parser takes, so that the parser answers 400 and closes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a line that are kept to be looked at. What is looked for is shorter.
const LINE: usize = 96;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Violation {
    /// Content-length and transfer-encoding.
    LengthAndChunked = 1,
    /// A transfer coding that is not chunked.
    TransferEncoding = 2,
    /// Content lengths that differ or are no numbers.
    ContentLength = 3,
    /// More than one host.
    Host = 4,
    /// A line that does not end with CR and LF.
    LineEnd = 5,
    /// A header that goes on in the next line.
    Folded = 6,
    /// A chunk that has no size.
    Chunk = 7,
}

impl Violation {
    /// Envoy's `response_code_details`.
    pub const fn details(self) -> &'static str {
        match self {
            Self::LengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding => "http1.invalid_transfer_encoding",
            Self::ContentLength => "http1.invalid_content_length",
            Self::Host => "http1.multiple_host_headers",
            Self::LineEnd | Self::Folded | Self::Chunk => "http1.codec_error",
        }
    }

    const ALL: [Self; 7] = [
        Self::LengthAndChunked,
        Self::TransferEncoding,
        Self::ContentLength,
        Self::Host,
        Self::LineEnd,
        Self::Folded,
        Self::Chunk,
    ];
}

/// What the guard and the server of a connection tell each other.
#[derive(Debug, Default)]
pub struct GuardState {
    violation: AtomicU8,
    tunnel: AtomicBool,
    in_head: AtomicBool,
}

impl GuardState {
    /// What was refused.
    pub fn violation(&self) -> Option<Violation> {
        let code = self.violation.load(Ordering::Relaxed);
        Violation::ALL.into_iter().find(|violation| *violation as u8 == code)
    }

    /// From now on the bytes are not HTTP.
    pub fn tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// Whether a request's head has begun and not ended.
    pub fn in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }
}

/// The stream, guarded.
pub struct Guard<S> {
    io: S,
    scan: Scan,
    state: Arc<GuardState>,
}

impl<S> Guard<S> {
    /// Guards `io`.
    pub fn new(io: S, state: Arc<GuardState>) -> Self {
        Self { io, scan: Scan::default(), state }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() == before || this.state.tunnel.load(Ordering::Relaxed) {
            return result;
        }
        if let Err((at, violation)) = this.scan.feed(&buf.filled()[before..]) {
            this.state.violation.store(violation as u8, Ordering::Relaxed);
            buf.set_filled(before + at);
            buf.put_slice(&[0]);
        }
        this.state.in_head.store(this.scan.in_head(), Ordering::Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where in the messages the scan is.
#[derive(Debug, Default)]
struct Scan {
    part: Part,
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    host: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    RequestLine,
    Header,
    Body(u64),
    ChunkSize,
    ChunkEnd(u8),
    Trailer,
    Refused,
}

impl Scan {
    fn in_head(&self) -> bool {
        self.part == Part::Header || (self.part == Part::RequestLine && !self.line.is_empty())
    }

    /// Reads on; an error names the first byte of what is refused.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        while at < bytes.len() {
            match self.part {
                Part::Refused => return Err((at, Violation::Chunk)),
                Part::Body(left) => {
                    let here = left.min((bytes.len() - at) as u64);
                    at += usize::try_from(here).unwrap_or(bytes.len() - at);
                    self.part = after_data(left - here, self.chunked);
                }
                Part::ChunkEnd(seen) => {
                    if bytes[at] != [b'\r', b'\n'][usize::from(seen)] {
                        return self.refuse(at, Violation::Chunk);
                    }
                    at += 1;
                    self.part = if seen == 0 { Part::ChunkEnd(1) } else { Part::ChunkSize };
                }
                Part::RequestLine | Part::Header | Part::ChunkSize | Part::Trailer => {
                    let rest = &bytes[at..];
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let part = &rest[..end.unwrap_or(rest.len())];
                    // The last byte is kept always: it must be the CR.
                    let room = LINE.saturating_sub(self.line.len());
                    if part.len() <= room {
                        self.line.extend_from_slice(part);
                    } else if let Some(last) = part.last() {
                        self.line.extend_from_slice(&part[..room.saturating_sub(1)]);
                        if self.line.len() >= LINE {
                            self.line.truncate(LINE - 1);
                        }
                        self.line.push(*last);
                    }
                    if end.is_none() {
                        return Ok(());
                    }
                    if let Err(violation) = self.line_end() {
                        return self.refuse(at, violation);
                    }
                    self.line.clear();
                    at += part.len() + 1;
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, at: usize, violation: Violation) -> Result<(), (usize, Violation)> {
        self.part = Part::Refused;
        Err((at, violation))
    }

    fn line_end(&mut self) -> Result<(), Violation> {
        let Some((b'\r', line)) = self.line.split_last() else {
            return Err(Violation::LineEnd);
        };
        match self.part {
            // Servers should ignore an empty line before a request.
            Part::RequestLine if line.is_empty() => {}
            Part::RequestLine => {
                self.part = Part::Header;
                (self.length, self.chunked, self.host) = (None, false, false);
            }
            Part::Header if line.is_empty() => {
                self.part = if self.chunked {
                    Part::ChunkSize
                } else {
                    after_data(self.length.unwrap_or(0), false)
                };
            }
            Part::Header => {
                if matches!(line[0], b' ' | b'\t') {
                    return Err(Violation::Folded);
                }
                let header = header(line)?;
                self.header(header)?;
            }
            Part::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(size).ok().map(str::trim_end);
                let size = size
                    .filter(|size| size.len() <= 16 && size.bytes().all(|b| b.is_ascii_hexdigit()))
                    .and_then(|size| u64::from_str_radix(size, 16).ok())
                    .ok_or(Violation::Chunk)?;
                self.part = if size == 0 { Part::Trailer } else { Part::Body(size) };
            }
            Part::Trailer if line.is_empty() => self.part = Part::RequestLine,
            Part::Trailer | Part::Body(_) | Part::ChunkEnd(_) | Part::Refused => {}
        }
        Ok(())
    }

    fn header(&mut self, header: Framing) -> Result<(), Violation> {
        match header {
            Framing::None => {}
            Framing::Host if self.host => return Err(Violation::Host),
            Framing::Host => self.host = true,
            Framing::Length(length) => {
                if self.length.is_some_and(|known| known != length) {
                    return Err(Violation::ContentLength);
                }
                self.length = Some(length);
            }
            Framing::Chunked if self.chunked => return Err(Violation::TransferEncoding),
            Framing::Chunked => self.chunked = true,
        }
        if self.chunked && self.length.is_some() {
            return Err(Violation::LengthAndChunked);
        }
        Ok(())
    }
}

/// What follows when `left` bytes of data are still to come.
fn after_data(left: u64, chunked: bool) -> Part {
    match left {
        0 if chunked => Part::ChunkEnd(0),
        0 => Part::RequestLine,
        left => Part::Body(left),
    }
}

/// A header that decides about framing or routing.
enum Framing {
    None,
    Host,
    Length(u64),
    Chunked,
}

fn header(line: &[u8]) -> Result<Framing, Violation> {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if name.eq_ignore_ascii_case(b"host") {
        Ok(Framing::Host)
    } else if name.eq_ignore_ascii_case(b"content-length") {
        let text = std::str::from_utf8(value).ok();
        let digits =
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok());
        length.map(Framing::Length).ok_or(Violation::ContentLength)
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if value.eq_ignore_ascii_case(b"chunked") {
            Ok(Framing::Chunked)
        } else {
            Err(Violation::TransferEncoding)
        }
    } else {
        Ok(Framing::None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scan, Violation};

    fn scan(parts: &[&[u8]]) -> Option<Violation> {
        let mut scan = Scan::default();
        parts.iter().find_map(|part| scan.feed(part).err()).map(|(_, violation)| violation)
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\n";
        for (rest, refused) in [
            ("\r\n", None),
            ("Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", None),
            (
                "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\n",
                None,
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(Violation::LengthAndChunked),
            ),
            (
                "Transfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\n",
                Some(Violation::LengthAndChunked),
            ),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n", Some(Violation::TransferEncoding)),
            ("Transfer-Encoding: xchunked\r\n\r\n", Some(Violation::TransferEncoding)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(Violation::TransferEncoding),
            ),
            ("Content-Length: 3\r\nContent-Length: 4\r\n\r\n", Some(Violation::ContentLength)),
            ("Content-Length: +3\r\n\r\n", Some(Violation::ContentLength)),
            ("Content-Length: 3, 3\r\n\r\n", Some(Violation::ContentLength)),
            ("Host: b\r\n\r\n", Some(Violation::Host)),
            ("X: y\n\r\n", Some(Violation::LineEnd)),
            ("X: y\r\n z\r\n\r\n", Some(Violation::Folded)),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", Some(Violation::Chunk)),
            ("Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n", Some(Violation::Chunk)),
            ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n", Some(Violation::LineEnd)),
        ] {
            assert_eq!(scan(&[head.as_bytes(), rest.as_bytes()]), refused, "{rest:?}");
        }
    }

    #[test]
    fn long_headers_are_no_violation() {
        let long = "x".repeat(5000);
        let text = format!("GET /{long} HTTP/1.1\r\nHost: a\r\nCookie: {long}\r\n\r\nGET");
        assert_eq!(scan(&[text.as_bytes()]), None);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_split_does_not_matter(
            text in "(POST / HTTP/1.1\r\n(Host: a\r\n|Content-Length: [0-4]\r\n|Transfer-Encoding: chunked\r\n|X: y\r?\n){0,3}\r\n([0-3]\r\n)?[a-c]{0,4}\r\n){1,2}",
            cuts in prop::collection::vec(0_usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts {
                parts.push(&bytes[from..cut]);
                from = cut;
            }
            parts.push(&bytes[from..]);
            prop_assert_eq!(scan(&parts), scan(&[bytes]));
        }
    }
}
