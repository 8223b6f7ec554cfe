//! One stream of a connection as its user sees it: a queue of bytes each way.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// What the peer sends. Its end is the end of the peer's side.
pub type Incoming = mpsc::Receiver<Bytes>;

/// The connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

/// What may be sent to the peer. Waits when the peer is slow.
#[derive(Debug)]
pub struct Outgoing {
    id: u32,
    queue: mpsc::Sender<Outbound>,
    /// Counts the stream as open.
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a connection's writer is told.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// Our side of a stream has ended.
    End(u32),
    /// A stream is of no use any more, or never was.
    Reset(u32),
    /// A stream of the peer is accepted.
    Accept(u32),
    /// An answer to the peer's ping.
    Pong(u32),
}

impl Outgoing {
    pub(crate) fn new(
        id: u32,
        queue: mpsc::Sender<Outbound>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { id, queue, _permit: permit }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&self, data: Bytes) -> Result<(), Gone> {
        self.put(Outbound::Data(self.id, data)).await
    }

    /// Ends our side.
    pub async fn close(self) {
        // A connection that has ended has ended this stream too.
        let _ = self.put(Outbound::End(self.id)).await;
    }

    /// Ends both sides: what the peer wanted of the stream cannot be had.
    pub(crate) async fn reset(self) {
        let _ = self.put(Outbound::Reset(self.id)).await;
    }

    async fn put(&self, message: Outbound) -> Result<(), Gone> {
        self.queue.send(message).await.map_err(|_| Gone)
    }
}
