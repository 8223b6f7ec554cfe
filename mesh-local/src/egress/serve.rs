//! Accepts what the packet rule hands over, and connects to where the pod wanted to go.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::scope::Scope;
use crate::net::{Node, NodeError};
use crate::node_api::Connector;
use crate::service_proxy::relay;

/// Connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 1024;
/// How long the outside may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(3600);
/// How long to wait when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Why pods cannot reach the outside.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The relay's listener could not be made.
    #[error("cannot listen for pods' connections to the outside: {0}")]
    Listen(#[source] io::Error),
    /// The packet rule could not be set.
    #[error("cannot hand pods' connections to the relay: {0}")]
    Rules(#[from] NodeError),
}

/// Connects from the network this process is in: the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostConnector;

impl Connector for HostConnector {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        TcpStream::connect(address).boxed()
    }
}

/// The relay of a node, listening.
pub struct Egress {
    listener: TcpListener,
    relay: Relay,
}

/// What one connection needs.
#[derive(Clone)]
struct Relay {
    scope: Scope,
    outside: Arc<dyn Connector>,
}

impl Egress {
    /// Listens in the node's namespace and hands pods' connections to the outside over to there.
    /// They are made anew by `outside`.
    ///
    /// # Errors
    /// [`EgressError`].
    pub async fn bind(node: &Node, outside: Arc<dyn Connector>) -> Result<Self, EgressError> {
        let scope = Scope::outside_of(node.config());
        let gateway = node.config().gateway;
        let listener = node.listen_tcp((gateway, 0).into()).await.map_err(EgressError::Listen)?;
        let port = listener.local_addr().map_err(EgressError::Listen)?.port();
        node.apply_rules(scope.rules(SocketAddrV4::new(gateway, port))).await?;
        Ok(Self { listener, relay: Relay { scope, outside } })
    }

    /// Relays until it is dropped, which also ends what it relays.
    pub async fn run(self) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let pod = match self.listener.accept().await {
                Ok((pod, _)) => pod,
                Err(err) => {
                    tracing::debug!(error = %err, "accept failed");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let relay = self.relay.clone();
            connections.spawn(async move {
                let _slot = slot;
                relay.serve(pod).await;
            });
        }
    }
}

impl Relay {
    /// Serves one connection; one that leads nowhere is reset.
    async fn serve(&self, pod: TcpStream) {
        let (target, outcome) = match destination(&pod) {
            Ok(target) => (Some(target), self.connect(target).await),
            Err(err) => (None, Err(err)),
        };
        let ended = match outcome {
            Ok(outside) => relay(pod, outside, IDLE).await,
            Err(err) => {
                // The pod's connection may have ended by itself.
                let _gone = pod.set_zero_linger();
                Err(err)
            }
        };
        if let Err(err) = ended {
            tracing::debug!(?target, error = %err, "connection to the outside ended");
        }
    }

    async fn connect(&self, target: SocketAddrV4) -> io::Result<TcpStream> {
        if !self.scope.admits(*target.ip()) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let attempt = tokio::time::timeout(CONNECT, self.outside.connect(target.into())).await;
        let outside = attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        outside.set_nodelay(true)?;
        Ok(outside)
    }
}

/// Where the pod wanted to go. Asked before anything else is done with the connection.
fn destination(pod: &TcpStream) -> io::Result<SocketAddrV4> {
    pod.set_nodelay(true)?;
    let original = SockRef::from(pod).original_dst_v4()?;
    original
        .as_socket_ipv4()
        .filter(|address| *address.ip() != Ipv4Addr::UNSPECIFIED)
        .ok_or_else(|| io::Error::other("the kernel knows no original destination"))
}
