//! The accept loop of one bound listener.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::worker::{Accepted, Ledger, Workers};

/// How long to rest when descriptors or memory run out: connections wait in the kernel's queue.
const REST: Duration = Duration::from_millis(100);

/// Connections that wait in the kernel's queue at most, as its default limit says.
const MOST_WAITING: usize = 4096;

/// Accepts for one listener.
pub struct Acceptor {
    /// The listener's name.
    pub name: Arc<str>,
    /// Who gets its connections.
    pub workers: Workers,
    /// Connections this listener may hold.
    pub ledger: Ledger,
    /// True once the listener is to be drained.
    pub removed: watch::Receiver<bool>,
}

impl Acceptor {
    /// Accepts until the listener is removed.
    pub async fn run(mut self, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => Some(accepted),
                _removed = self.removed.wait_for(|removed| *removed) => None,
            };
            let Some(accepted) = accepted else { return self.rest(socket) };
            match accepted {
                // Out of this runtime: the worker's own takes it over.
                Ok((stream, peer)) => match stream.into_std() {
                    Ok(stream) => self.hand(stream, peer),
                    Err(reason) => {
                        debug!(listener = %self.name, %peer, "cannot use the connection: {reason}");
                    }
                },
                Err(reason) if is_of_one_connection(&reason) => {}
                Err(reason) => {
                    warn!(listener = %self.name, "cannot accept, resting: {reason}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Takes the connections that the kernel made already: closing the socket would reset them.
    fn rest(&self, socket: TcpListener) {
        // Straight from the kernel: the runtime may not have heard of them.
        let Ok(socket) = socket.into_std() else { return };
        for _ in 0..MOST_WAITING {
            let Ok((stream, peer)) = socket.accept() else { return };
            if stream.set_nonblocking(true).is_ok() {
                self.hand(stream, peer);
            }
        }
    }

    fn hand(&self, stream: StdStream, peer: SocketAddr) {
        let Some(entry) = self.ledger.enter() else {
            debug!(listener = %self.name, %peer, "shed: the listener's connection limit is reached");
            return;
        };
        let accepted = Accepted {
            stream,
            peer,
            listener: self.name.clone(),
            removed: self.removed.clone(),
            entry: vec![entry],
        };
        if !self.workers.hand(accepted) {
            debug!(listener = %self.name, %peer, "shed: too many connections");
        }
    }
}

/// Errors of accept that speak of a connection which is gone already (accept(2)).
fn is_of_one_connection(reason: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, TimedOut,
    };
    matches!(
        reason.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | TimedOut
    )
}
