//! SPDY/3.1 frames: from bytes and to bytes. Header blocks stay compressed here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload of every frame.
pub(super) const HEAD: usize = 8;

/// Largest payload that is read; clients write 32 KiB at once.
const PAYLOAD: usize = 1 << 20;
const VERSION: u16 = 3;
const CONTROL: u32 = 1 << 31;
/// The last frame of its sender on a stream.
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// `RST_STREAM` with status CANCEL.
const CANCEL: u32 = 5;

/// Bytes that are not SPDY/3.1, or more of it than is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Another version of the protocol.
    #[error("SPDY version {0} in a frame, expected 3")]
    Version(u16),
    /// More than a frame may hold.
    #[error("a SPDY frame of {0} bytes is too long")]
    Length(usize),
    /// Less than its kind needs.
    #[error("a SPDY frame of type {0} is too short")]
    Short(u16),
    /// Headers that cannot be read.
    #[error("a SPDY header block is broken: {0}")]
    Headers(&'static str),
    /// A stream id that a client may not use, or not again.
    #[error("SPDY stream id {0} is out of order")]
    Order(u32),
}

/// What precedes the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    kind: Kind,
    flags: u8,
    /// Length of the payload in bytes.
    pub(super) length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Control(u16),
    Data(u32),
}

/// A frame of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    Open { id: u32, fin: bool, headers: Bytes },
    /// More headers of a stream.
    Headers { id: u32, fin: bool, headers: Bytes },
    /// Bytes of a stream.
    Data { id: u32, fin: bool, data: Bytes },
    /// The end of a stream both ways.
    Reset(u32),
    /// To be answered in kind.
    Ping(u32),
    /// No more streams will come.
    GoAway,
    /// Settings, windows, and kinds the draft says to ignore.
    Other,
}

impl Head {
    /// Reads what precedes the payload.
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Result<Self, FrameError> {
        let mut bytes = bytes.as_slice();
        let first = bytes.get_u32();
        let second = bytes.get_u32();
        let flags = second.to_be_bytes()[0];
        let length = (second & 0x00ff_ffff) as usize;
        if length > PAYLOAD {
            return Err(FrameError::Length(length));
        }
        if first & CONTROL == 0 {
            return Ok(Self { kind: Kind::Data(first), flags, length });
        }
        let [high, low, kind @ ..] = (first & !CONTROL).to_be_bytes();
        let version = u16::from_be_bytes([high, low]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok(Self { kind: Kind::Control(u16::from_be_bytes(kind)), flags, length })
    }
}

impl Frame {
    /// Reads the payload that `head` announced.
    pub(super) fn parse(head: Head, mut body: Bytes) -> Result<Self, FrameError> {
        let fin = head.flags & FIN != 0;
        let kind = match head.kind {
            Kind::Data(id) => return Ok(Self::Data { id, fin, data: body }),
            Kind::Control(kind) => kind,
        };
        let number = |body: &mut Bytes| {
            if body.remaining() < 4 { Err(FrameError::Short(kind)) } else { Ok(body.get_u32()) }
        };
        Ok(match kind {
            SYN_STREAM => {
                let id = number(&mut body)? & !CONTROL;
                // The stream it belongs to; then priority and slot.
                number(&mut body)?;
                if body.remaining() < 2 {
                    return Err(FrameError::Short(kind));
                }
                body.advance(2);
                Self::Open { id, fin, headers: body }
            }
            SYN_REPLY | HEADERS => {
                let id = number(&mut body)? & !CONTROL;
                Self::Headers { id, fin, headers: body }
            }
            RST_STREAM => Self::Reset(number(&mut body)? & !CONTROL),
            PING => Self::Ping(number(&mut body)?),
            GOAWAY => Self::GoAway,
            _ => Self::Other,
        })
    }
}

/// Writes bytes of a stream, or its end.
pub(super) fn data(out: &mut BytesMut, id: u32, fin: bool, data: &[u8]) {
    // A frame's length has 24 bits.
    let mut chunks = data.chunks(PAYLOAD).peekable();
    if chunks.peek().is_none() {
        head(out, id, fin, 0);
    }
    while let Some(chunk) = chunks.next() {
        head(out, id, fin && chunks.peek().is_none(), chunk.len());
        out.put_slice(chunk);
    }
}

/// Writes the acceptance of a stream.
pub(super) fn reply(out: &mut BytesMut, id: u32, headers: &[u8]) {
    head(out, control(SYN_REPLY), false, headers.len() + 4);
    out.put_u32(id);
    out.put_slice(headers);
}

/// Writes the end of a stream both ways.
pub(super) fn reset(out: &mut BytesMut, id: u32) {
    head(out, control(RST_STREAM), false, 8);
    out.put_u32(id);
    out.put_u32(CANCEL);
}

/// Writes a ping, or the answer to one.
pub(super) fn ping(out: &mut BytesMut, id: u32) {
    head(out, control(PING), false, 4);
    out.put_u32(id);
}

fn control(kind: u16) -> u32 {
    CONTROL | u32::from(VERSION) << 16 | u32::from(kind)
}

fn head(out: &mut BytesMut, first: u32, fin: bool, length: usize) {
    out.put_u32(first);
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    out.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Frame, FrameError> {
        let (head, body) = bytes.split_first_chunk().unwrap();
        let head = Head::parse(head)?;
        assert_eq!(head.length, body.len());
        Frame::parse(head, Bytes::copy_from_slice(body))
    }

    #[test]
    fn frames_of_the_client() {
        let open = b"\x80\x03\x00\x01\x01\x00\x00\x0d\0\0\0\x03\0\0\0\0\x20\0abc";
        let headers = Bytes::from_static(b"abc");
        assert_eq!(read(open), Ok(Frame::Open { id: 3, fin: true, headers }));
        let data = Bytes::from_static(b"hi");
        assert_eq!(read(b"\0\0\0\x05\0\0\0\x02hi"), Ok(Frame::Data { id: 5, fin: false, data }));
        assert_eq!(read(b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x07\0\0\0\x05"), Ok(Frame::Reset(7)));
        assert_eq!(read(b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x09"), Ok(Frame::Ping(9)));
        assert_eq!(read(b"\x80\x03\0\x04\0\0\0\0"), Ok(Frame::Other));
        assert_eq!(read(b"\x80\x02\0\x06\0\0\0\0"), Err(FrameError::Version(2)));
        assert_eq!(read(b"\x80\x03\0\x01\0\0\0\x02ab"), Err(FrameError::Short(1)));
        let long = Head::parse(b"\0\0\0\x05\0\xff\xff\xff");
        assert_eq!(long, Err(FrameError::Length(0xff_ffff)));
    }

    #[test]
    fn frames_of_the_server() {
        let mut out = BytesMut::new();
        data(&mut out, 5, true, b"hi");
        assert_eq!(out, &b"\0\0\0\x05\x01\0\0\x02hi"[..]);
        out.clear();
        ping(&mut out, 9);
        assert_eq!(out, &b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x09"[..]);
        out.clear();
        reset(&mut out, 7);
        assert_eq!(read(&out), Ok(Frame::Reset(7)));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(head in any::<[u8; 8]>(), body in any::<Vec<u8>>()) {
            if let Ok(head) = Head::parse(&head) {
                let _ = Frame::parse(head, Bytes::from(body));
            }
        }

        #[test]
        fn data_survives(id in 1_u32..1 << 31, fin: bool, body in any::<Vec<u8>>()) {
            let mut out = BytesMut::new();
            data(&mut out, id, fin, &body);
            prop_assert_eq!(read(&out), Ok(Frame::Data { id, fin, data: Bytes::from(body) }));
        }
    }
}
