//! Forwards the TCP connections of one host port to the endpoints of a service, in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Backends;
use crate::net::SocketFactory;
use crate::service_proxy::relay;

/// Connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 1024;
/// How long one endpoint may take to accept.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(3600);
/// How long to wait when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until it is dropped.
pub(super) async fn forward(listener: TcpListener, sockets: SocketFactory, backends: Backends) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut turn = 0usize;
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(err) => {
                tracing::debug!(error = %err, "accept failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let choices = in_turn(&backends, turn);
        turn = turn.wrapping_add(1);
        let sockets = sockets.clone();
        connections.spawn(async move {
            let _slot = slot;
            match serve(client, &sockets, &choices).await {
                Ok(()) => {}
                Err(err) => tracing::debug!(error = %err, "forwarded connection ended"),
            }
        });
    }
}

/// All endpoints, starting with the one whose turn it is.
fn in_turn(backends: &Backends, turn: usize) -> Vec<SocketAddr> {
    let forward = backends.borrow();
    let mut choices: Vec<SocketAddr> = forward.backends.iter().copied().map(Into::into).collect();
    if !choices.is_empty() {
        let first = turn % choices.len();
        choices.rotate_left(first);
    }
    choices
}

/// Relays to the first endpoint that accepts; closes the connection when none does.
async fn serve(
    client: TcpStream,
    sockets: &SocketFactory,
    choices: &[SocketAddr],
) -> io::Result<()> {
    let mut outcome = Err(io::Error::other("the service has no endpoints"));
    for address in choices {
        let attempt = tokio::time::timeout(CONNECT, sockets.connect(*address)).await;
        outcome = attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if outcome.is_ok() {
            break;
        }
    }
    let server = outcome?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    relay(client, server, IDLE).await
}
