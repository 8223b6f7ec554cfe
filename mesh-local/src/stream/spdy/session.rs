//! One SPDY connection: its streams, from the client's first frame to the last byte written.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};

use super::frame::{self, Frame, FrameError, HEAD, Head};
use super::headers::{HeaderReader, HeaderWriter, Headers};
use crate::stream::channel::{Incoming, Outbound, Outgoing};
use crate::stream::{INCOMING, LINGER, OUTBOUND};

/// Streams of one connection that may be open at once; a forwarded connection has two.
const STREAMS: usize = 1024;
/// Streams that may wait to be taken.
const WAITING: usize = 16;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpdyError {
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Opened {
    headers: Headers,
    /// What the client sends.
    pub(crate) incoming: Incoming,
    /// What is sent to it.
    pub(crate) outgoing: Outgoing,
}

impl Opened {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The streams that the client opens. Dropping it refuses further ones.
#[derive(Debug)]
pub(crate) struct Acceptor {
    opened: mpsc::Receiver<Opened>,
    /// Keeps the connection alive while there is no stream.
    _queue: mpsc::Sender<Outbound>,
}

impl Acceptor {
    /// The next stream; `None` when the client has gone.
    pub(crate) async fn next(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }
}

/// The streams of a connection, and the work behind them. The work is done when the client has
/// gone, or when the acceptor and all streams are dropped and what they sent has been written.
pub(crate) fn session<T>(io: T) -> (Acceptor, impl Future<Output = Result<(), SpdyError>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (queue, outbound) = mpsc::channel(OUTBOUND);
    let (open, opened) = mpsc::channel(WAITING);
    let reader = Reader {
        queue: queue.downgrade(),
        open,
        headers: HeaderReader::new(),
        streams: HashMap::new(),
        permits: Arc::new(Semaphore::new(STREAMS)),
        last: 0,
    };
    let (source, sink) = tokio::io::split(io);
    let work = async move {
        let mut reading = std::pin::pin!(reader.run(BufReader::new(source)));
        tokio::select! {
            ended = &mut reading => return ended,
            ended = write(sink, outbound) => ended?,
        }
        // To close with bytes unread would take back what was just written.
        let _ = tokio::time::timeout(LINGER, reading).await;
        Ok(())
    };
    (Acceptor { opened, _queue: queue }, work)
}

struct Reader {
    /// Gone when nobody uses the connection any more.
    queue: mpsc::WeakSender<Outbound>,
    open: mpsc::Sender<Opened>,
    headers: HeaderReader,
    /// Streams whose client side is open.
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    permits: Arc<Semaphore>,
    /// Id of the newest stream.
    last: u32,
}

impl Reader {
    async fn run(mut self, mut source: impl AsyncRead + Unpin) -> Result<(), SpdyError> {
        let mut head = [0; HEAD];
        loop {
            match source.read_exact(&mut head).await {
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            };
            let head = Head::parse(&head)?;
            let mut body = vec![0; head.length];
            source.read_exact(&mut body).await?;
            self.take(Frame::parse(head, Bytes::from(body))?).await?;
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::Open { id, fin, headers } => {
                let headers = self.headers.read(&headers)?;
                self.open(id, fin, headers).await?;
            }
            Frame::Headers { id, fin, headers } => {
                // They change nothing, but the next block builds on them.
                self.headers.read(&headers)?;
                if fin {
                    self.streams.remove(&id);
                }
            }
            Frame::Data { id, fin, data } => {
                if let Some(stream) = self.streams.get(&id)
                    && !data.is_empty()
                    && stream.send(data).await.is_err()
                {
                    // Nobody reads it any more: what still comes is dropped.
                    self.streams.remove(&id);
                }
                if fin {
                    self.streams.remove(&id);
                }
            }
            Frame::Reset(id) => {
                self.streams.remove(&id);
            }
            Frame::Ping(id) => self.put(Outbound::Pong(id)).await,
            Frame::GoAway | Frame::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), FrameError> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(FrameError::Order(id));
        }
        self.last = id;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let (Ok(permit), Some(queue)) = (permit, self.queue.upgrade()) else {
            self.put(Outbound::Reset(id)).await;
            return Ok(());
        };
        let (stream, incoming) = mpsc::channel(INCOMING);
        self.put(Outbound::Accept(id)).await;
        let outgoing = Outgoing::new(id, queue, Some(permit));
        if self.open.send(Opened { headers, incoming, outgoing }).await.is_err() {
            self.put(Outbound::Reset(id)).await;
        } else if !fin {
            self.streams.insert(id, stream);
        }
        Ok(())
    }

    async fn put(&self, message: Outbound) {
        if let Some(queue) = self.queue.upgrade() {
            // The writer may have ended with the connection.
            let _ = queue.send(message).await;
        }
    }
}

async fn write(
    mut sink: impl AsyncWrite + Unpin,
    mut outbound: mpsc::Receiver<Outbound>,
) -> Result<(), SpdyError> {
    let mut headers = HeaderWriter::new();
    let mut out = BytesMut::new();
    while let Some(message) = outbound.recv().await {
        match message {
            Outbound::Data(id, data) => frame::data(&mut out, id, false, &data),
            Outbound::End(id) => frame::data(&mut out, id, true, &[]),
            Outbound::Reset(id) => frame::reset(&mut out, id),
            Outbound::Accept(id) => frame::reply(&mut out, id, &headers.write(&[])?),
            Outbound::Pong(id) => frame::ping(&mut out, id),
        }
        sink.write_all_buf(&mut out).await?;
        if outbound.is_empty() {
            sink.flush().await?;
        }
    }
    sink.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
