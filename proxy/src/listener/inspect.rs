//! What a connection's first bytes say: a TLS ClientHello with its names, or an HTTP preface.
//!
//! Sans I/O: the caller reads, keeps the bytes to replay them, and asks after each read. The
//! bytes come from anybody, so everything is bounded and nothing panics.

use std::sync::Arc;

/// The longest ClientHello looked at, in bytes, record headers included.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;
/// The longest HTTP/1 request line looked at, in bytes.
pub const MAX_REQUEST_LINE: usize = 64 * 1024;
/// How many protocols of one ClientHello are kept.
const MAX_PROTOCOLS: usize = 32;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const MAX_METHOD: usize = 32;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// A TLS ClientHello.
    pub tls: bool,
    /// An HTTP preface in clear.
    pub http: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the connection begins with a ClientHello.
    pub tls: bool,
    /// The name it asks for, in lower case.
    pub server_name: Option<Arc<str>>,
    /// Its protocols; of an HTTP preface: `http/1.0`, `http/1.1` or `h2c`.
    pub application_protocols: Vec<Arc<str>>,
}

/// The state of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not decided before there are at least this many bytes.
    NeedMore(usize),
    /// Decided.
    Decided(Seen),
    /// It begins as a ClientHello and is longer than [`MAX_CLIENT_HELLO`] or is malformed.
    Refused(&'static str),
}

/// Follows the first bytes of one connection.
#[derive(Clone, Debug)]
pub struct Inspector {
    want: Want,
    need: usize,
    line: RequestLine,
}

impl Inspector {
    /// Looks for what is wanted.
    pub fn new(want: Want) -> Self {
        Self { want, need: usize::from(want.tls || want.http), line: RequestLine::default() }
    }

    /// Looks at all bytes read so far, of which those of the last call are the beginning.
    pub fn look(&mut self, bytes: &[u8]) -> Verdict {
        if bytes.len() < self.need {
            return Verdict::NeedMore(self.need);
        }
        let verdict = self.decide(bytes);
        if let Verdict::NeedMore(need) = verdict {
            self.need = need;
        }
        verdict
    }

    fn decide(&mut self, bytes: &[u8]) -> Verdict {
        if self.want.tls && bytes.first() == Some(&HANDSHAKE_RECORD) {
            match client_hello(bytes) {
                Hello::NotTls => {}
                Hello::More(need) => return Verdict::NeedMore(need),
                Hello::Refused(reason) => return Verdict::Refused(reason),
                Hello::Found(seen) => return Verdict::Decided(seen),
            }
        }
        if !self.want.http {
            return Verdict::Decided(Seen::default());
        }
        let common = bytes.len().min(H2_PREFACE.len());
        if bytes[..common] == H2_PREFACE[..common] {
            return if common == H2_PREFACE.len() {
                Verdict::Decided(http("h2c"))
            } else {
                Verdict::NeedMore(bytes.len() + 1)
            };
        }
        match self.line.advance(bytes) {
            Line::More => Verdict::NeedMore(bytes.len() + 1),
            Line::Http(version) => Verdict::Decided(http(version)),
            Line::Other => Verdict::Decided(Seen::default()),
        }
    }
}

fn http(protocol: &str) -> Seen {
    Seen { application_protocols: vec![protocol.into()], ..Seen::default() }
}

enum Line {
    More,
    Http(&'static str),
    Other,
}

/// Walks over `<method> <target> HTTP/1.x`, remembering how far it came, so that bytes that
/// trickle in are looked at once.
#[derive(Clone, Debug, Default)]
struct RequestLine {
    at: usize,
    target: usize,
    version: usize,
}

impl RequestLine {
    fn advance(&mut self, bytes: &[u8]) -> Line {
        while let Some(&byte) = bytes.get(self.at) {
            if self.at >= MAX_REQUEST_LINE {
                return Line::Other;
            }
            if self.target == 0 {
                match byte {
                    b' ' if self.at > 0 => self.target = self.at + 1,
                    _ if self.at < MAX_METHOD && is_token(byte) => {}
                    _ => return Line::Other,
                }
            } else if self.version == 0 {
                match byte {
                    b' ' if self.at > self.target => self.version = self.at + 1,
                    _ if byte > b' ' && byte != 127 => {}
                    _ => return Line::Other,
                }
            } else if let Some(found) = version(&bytes[self.version..=self.at]) {
                return found;
            }
            self.at += 1;
        }
        Line::More
    }
}

/// `text` is what there is of the version and the end of the line.
fn version(text: &[u8]) -> Option<Line> {
    for (end, protocol) in [
        (&b"HTTP/1.1\r\n"[..], "http/1.1"),
        (b"HTTP/1.1\n", "http/1.1"),
        (b"HTTP/1.0\r\n", "http/1.0"),
        (b"HTTP/1.0\n", "http/1.0"),
    ] {
        if text == end {
            return Some(Line::Http(protocol));
        }
        if end.starts_with(text) {
            return None;
        }
    }
    Some(Line::Other)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

enum Hello {
    NotTls,
    More(usize),
    Refused(&'static str),
    Found(Seen),
}

/// RFC 8446 §5.1 and §4.1.2; a ClientHello may be cut into several records.
fn client_hello(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        // Content type, version 3.x, length.
        let header = bytes.get(at..).unwrap_or_default();
        let known = header.len().min(2);
        if header[..known] != [HANDSHAKE_RECORD, 3][..known] {
            return if at == 0 { Hello::NotTls } else { Hello::Refused("malformed ClientHello") };
        }
        let Some(&[_, _, minor, high, low]) = header.get(..RECORD_HEADER) else {
            return Hello::More(at + RECORD_HEADER);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if minor > 4 || length == 0 {
            return if at == 0 { Hello::NotTls } else { Hello::Refused("malformed ClientHello") };
        }
        let end = at + RECORD_HEADER + length;
        if end > MAX_CLIENT_HELLO {
            return Hello::Refused("ClientHello larger than 16 KiB");
        }
        let Some(content) = bytes.get(at + RECORD_HEADER..end) else {
            let first = header.get(RECORD_HEADER);
            return match first {
                Some(&kind) if at == 0 && kind != CLIENT_HELLO => Hello::NotTls,
                _ => Hello::More(if first.is_some() { end } else { at + RECORD_HEADER + 1 }),
            };
        };
        message.extend_from_slice(content);
        at = end;
        if message.first() != Some(&CLIENT_HELLO) {
            return Hello::NotTls;
        }
        let Some(&[_, a, b, c]) = message.get(..HANDSHAKE_HEADER) else { continue };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MAX_CLIENT_HELLO {
            return Hello::Refused("ClientHello larger than 16 KiB");
        }
        if let Some(body) = message.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + length) {
            return names(body).map_or(Hello::Refused("malformed ClientHello"), Hello::Found);
        }
    }
}

/// A reader over a slice that answers `None` past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).map(|b| usize::from(b[0]))
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn short(&mut self) -> Option<Self> {
        let length = usize::from(self.u16()?);
        self.take(length).map(Reader)
    }

    fn tiny(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(length).map(Reader)
    }
}

/// The names in the body of a ClientHello; `None` when it is malformed.
fn names(body: &[u8]) -> Option<Seen> {
    let mut hello = Reader(body);
    // Version and random, session id, cipher suites, compression methods.
    hello.take(34)?;
    hello.tiny()?;
    hello.short()?;
    hello.tiny()?;
    let mut seen = Seen { tls: true, ..Seen::default() };
    if hello.0.is_empty() {
        return Some(seen);
    }
    let mut extensions = hello.short()?;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.short()?;
        match kind {
            EXTENSION_SERVER_NAME => seen.server_name = server_name(content)?,
            EXTENSION_ALPN => seen.application_protocols = protocols(content)?,
            _ => {}
        }
    }
    Some(seen)
}

fn server_name(mut content: Reader<'_>) -> Option<Option<Arc<str>>> {
    let mut list = content.short()?;
    while !list.0.is_empty() {
        let kind = list.u8()?;
        let name = list.short()?.0;
        if kind == 0 {
            let text = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
            return Some(Some(text.to_ascii_lowercase().into()));
        }
    }
    Some(None)
}

fn protocols(mut content: Reader<'_>) -> Option<Vec<Arc<str>>> {
    let mut list = content.short()?;
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let name = list.tiny()?.0;
        // A protocol that is no text (GREASE is not) cannot be one that a chain names.
        if let Ok(text) = std::str::from_utf8(name)
            && found.len() < MAX_PROTOCOLS
        {
            found.push(text.into());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests;
