//! Forwards the datagrams of one host port to the endpoints of a service, in turn by client.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::Backends;
use crate::net::SocketFactory;

/// Clients remembered at a time; datagrams of further ones are dropped.
const CLIENTS: usize = 512;
/// How long a silent client is remembered.
const IDLE: Duration = Duration::from_secs(60);
/// Largest datagram.
const DATAGRAM: usize = 65_535;

/// Receives until it is dropped.
pub(super) async fn forward(socket: UdpSocket, sockets: SocketFactory, backends: Backends) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    let mut turn = 0usize;
    loop {
        let (count, client) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // A client that is gone answers with an ICMP error: nothing to do about it.
                Err(_) => continue,
            },
            Some(ended) = answers.join_next() => {
                if let Ok(client) = ended {
                    clients.remove(&client);
                }
                continue;
            }
        };
        let upstream = match clients.get(&client) {
            Some(upstream) => Arc::clone(upstream),
            None if clients.len() >= CLIENTS => continue,
            None => {
                turn = turn.wrapping_add(1);
                let Ok(upstream) = connect(&sockets, &backends, turn).await else { continue };
                let upstream = Arc::new(upstream);
                clients.insert(client, Arc::clone(&upstream));
                answers.spawn(answer(Arc::clone(&socket), Arc::clone(&upstream), client));
                upstream
            }
        };
        // A datagram that cannot be sent is lost, as datagrams are.
        let _ = upstream.send(&buffer[..count]).await;
    }
}

async fn connect(
    sockets: &SocketFactory,
    backends: &Backends,
    turn: usize,
) -> io::Result<UdpSocket> {
    let backend = {
        let forward = backends.borrow();
        let count = forward.backends.len().max(1);
        forward.backends.get(turn % count).copied()
    };
    let backend = backend.ok_or_else(|| io::Error::other("the service has no endpoints"))?;
    let upstream = sockets.bind_udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
    upstream.connect(backend).await?;
    Ok(upstream)
}

/// Sends what comes back to the client, until nothing has come for a while.
async fn answer(
    socket: Arc<UdpSocket>,
    upstream: Arc<UdpSocket>,
    client: SocketAddr,
) -> SocketAddr {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(count)) = tokio::time::timeout(IDLE, upstream.recv(&mut buffer)).await {
        if socket.send_to(&buffer[..count], client).await.is_err() {
            break;
        }
    }
    client
}
