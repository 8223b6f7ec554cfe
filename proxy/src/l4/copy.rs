//! Bytes both ways between two connections: half-close, idle time-out, counters.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes buffered per direction.
const BUFFER: usize = 16 * 1024;

/// How a copy ended.
#[derive(Debug)]
pub enum End {
    /// Both sides finished.
    Finished,
    /// Nothing moved for the idle time.
    Idle,
    /// The downstream side broke.
    Downstream(io::Error),
    /// The upstream side broke.
    Upstream(io::Error),
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes from downstream to upstream.
    pub received: u64,
    /// Bytes from upstream to downstream.
    pub sent: u64,
}

/// Copies until both sides finished, one broke, or nothing moved for `idle`. `counts` is right at
/// any time, also when this future is dropped.
pub async fn copy<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<Duration>,
    counts: &Cell<Counts>,
) -> End
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Direction::new(), Direction::new());
    let mut timer = idle.map(IdleTimer::new);
    poll_fn(|cx| {
        let before = counts.get();
        let mut now = before;
        let upwards = up.poll(cx, downstream, upstream, &mut now.received);
        counts.set(now);
        if let Poll::Ready(Err(broken)) = upwards {
            return Poll::Ready(broken.end(End::Downstream, End::Upstream));
        }
        let downwards = down.poll(cx, upstream, downstream, &mut now.sent);
        counts.set(now);
        if let Poll::Ready(Err(broken)) = downwards {
            return Poll::Ready(broken.end(End::Upstream, End::Downstream));
        }
        if upwards.is_ready() && downwards.is_ready() {
            return Poll::Ready(End::Finished);
        }
        match &mut timer {
            Some(timer) => timer.poll(cx, now != before).map(|()| End::Idle),
            None => Poll::Pending,
        }
    })
    .await
}

/// Which side of a direction broke.
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Broken {
    fn end(self, reading: fn(io::Error) -> End, writing: fn(io::Error) -> End) -> End {
        match self {
            Self::Reading(error) => reading(error),
            Self::Writing(error) => writing(error),
        }
    }
}

struct Direction {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    flushed: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The reader finished; the writer is told when the buffer is empty.
    Ending,
    Done,
}

impl Direction {
    fn new() -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { buffer, start: 0, end: 0, flushed: true, phase: Phase::Open }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &mut u64,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.start < self.end {
                let rest = &self.buffer[self.start..self.end];
                match ready!(Pin::new(&mut *writer).poll_write(cx, rest)) {
                    Ok(0) => {
                        let error = io::Error::from(io::ErrorKind::WriteZero);
                        return Poll::Ready(Err(Broken::Writing(error)));
                    }
                    Ok(written) => {
                        self.start += written;
                        *count += written as u64;
                        self.flushed = false;
                    }
                    Err(error) => return Poll::Ready(Err(Broken::Writing(error))),
                }
            }
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::Ending => {
                    let closed = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    // A peer that is gone already needs no goodbye.
                    if let Err(error) = closed
                        && error.kind() != io::ErrorKind::NotConnected
                    {
                        return Poll::Ready(Err(Broken::Writing(error)));
                    }
                    self.phase = Phase::Done;
                }
                Phase::Open => {
                    let mut space = ReadBuf::new(&mut self.buffer);
                    match Pin::new(&mut *reader).poll_read(cx, &mut space) {
                        Poll::Ready(Ok(())) if space.filled().is_empty() => {
                            self.phase = Phase::Ending;
                        }
                        Poll::Ready(Ok(())) => (self.start, self.end) = (0, space.filled().len()),
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Err(Broken::Reading(error)));
                        }
                        Poll::Pending => {
                            if !self.flushed {
                                let flushed = ready!(Pin::new(&mut *writer).poll_flush(cx));
                                flushed.map_err(Broken::Writing)?;
                                self.flushed = true;
                            }
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }
}

/// Fires when nothing moved for a while. The timer itself is set again only when it fires.
struct IdleTimer {
    idle: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new(idle: Duration) -> Self {
        Self { idle, last: Instant::now(), sleep: Box::pin(tokio::time::sleep(idle)) }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if moved {
            self.last = Instant::now();
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let deadline = self.last + self.idle;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_direction_closes_on_its_own() {
        let (mut client, mut down) = duplex(64);
        let (mut up, mut server) = duplex(64);
        let counts = Cell::new(Counts::default());
        let client_side = async {
            client.write_all(&[b'q'; 100_000]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let server_side = async {
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).await.unwrap();
            server.write_all(b"after the end").await.unwrap();
            server.shutdown().await.unwrap();
            asked.len()
        };
        let copying = copy(&mut down, &mut up, Some(SECOND), &counts);
        let (end, answer, asked) = tokio::join!(copying, client_side, server_side);
        assert!(matches!(end, End::Finished), "{end:?}");
        assert_eq!((answer.as_slice(), asked), (&b"after the end"[..], 100_000));
        assert_eq!(counts.get(), Counts { received: 100_000, sent: 13 });
    }

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_byte() {
        let (mut client, mut down) = duplex(64);
        let (mut up, _server) = duplex(64);
        let counts = Cell::new(Counts::default());
        let begun = Instant::now();
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(SECOND * 3 / 4).await;
                client.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            end = copy(&mut down, &mut up, Some(SECOND), &counts) => end,
            () = talk => unreachable!(),
        };
        assert!(matches!(end, End::Idle), "{end:?}");
        assert_eq!(begun.elapsed(), SECOND * 9 / 4 + SECOND);
        assert_eq!(counts.get().received, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_side_that_broke_is_named() {
        let (mut client, mut down) = duplex(64);
        let (mut up, server) = duplex(64);
        drop(server);
        client.write_all(b"x").await.unwrap();
        let end = copy(&mut down, &mut up, None, &Cell::default()).await;
        assert!(matches!(end, End::Upstream(_)), "{end:?}");
    }
}
