//! A connection that ends when nothing has been read or written for some time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection with a limit on silence.
#[derive(Debug)]
pub(crate) struct Idle<T> {
    inner: T,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<T> Idle<T> {
    /// `inner`, whose reads fail with `TimedOut` after `limit` without a byte either way.
    pub(crate) fn new(inner: T, limit: Duration) -> Self {
        Self { inner, limit, silence: Box::pin(sleep(limit)) }
    }

    fn moved(&mut self) {
        self.silence.as_mut().reset(Instant::now() + self.limit);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Idle<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.moved();
            return read;
        }
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Idle<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, data);
        if written.is_ready() {
            self.moved();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn silence_ends_a_connection_and_traffic_does_not() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut idle = Idle::new(ours, Duration::ZERO);
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(idle.read_u8().await.unwrap(), b'x', "what has come is read first");
        let err = idle.read_u8().await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut idle = Idle::new(ours, Duration::from_secs(3600));
        let before = idle.silence.deadline();
        let (read, ()) = tokio::join!(idle.read_u8(), async {
            theirs.write_all(b"y").await.unwrap();
        });
        assert_eq!(read.unwrap(), b'y');
        assert!(idle.silence.deadline() > before, "a byte begins the silence anew");
    }
}
