//! Whether a connection of which nobody said it begins as HTTP/2 does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How every HTTP/2 client begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes were looked at; they come again.
#[derive(Debug)]
pub struct Sniffed<S> {
    prefix: BytesMut,
    io: S,
}

impl<S: AsyncRead + Unpin> Sniffed<S> {
    /// A connection that was not looked at yet.
    pub fn new(io: S) -> Self {
        Self { prefix: BytesMut::new(), io }
    }

    /// Reads until it is decided; `None` when the client goes away first.
    pub async fn http2(mut self) -> Option<(Self, bool)> {
        loop {
            let seen = self.prefix.len().min(PREFACE.len());
            if self.prefix[..seen] != PREFACE[..seen] {
                return Some((self, false));
            }
            if seen == PREFACE.len() {
                return Some((self, true));
            }
            match self.io.read_buf(&mut self.prefix).await {
                Ok(0) if self.prefix.is_empty() => return None,
                Ok(0) => return Some((self, false)),
                Ok(_more) => {}
                Err(_reset) => return None,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let length = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn sniff(chunks: &[&str]) -> Option<(bool, String)> {
        let (mut client, server) = duplex(64);
        let sniffing = Sniffed::new(server).http2();
        let sending = async {
            for chunk in chunks {
                client.write_all(chunk.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (found, ()) = tokio::join!(sniffing, sending);
        let (mut io, http2) = found?;
        let mut again = String::new();
        io.read_to_string(&mut again).await.unwrap();
        Some((http2, again))
    }

    #[tokio::test]
    async fn the_preface_decides_and_comes_again() {
        let told = |http2, text: &str| Some((http2, text.to_owned()));
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(sniff(&[&preface[..9], &preface[9..]]).await, told(true, preface));
        assert_eq!(sniff(&["PUT / HTTP/1.1\r\n"]).await, told(false, "PUT / HTTP/1.1\r\n"));
        assert_eq!(sniff(&["PRI"]).await, told(false, "PRI"));
        assert_eq!(sniff(&[]).await, None);
    }
}
