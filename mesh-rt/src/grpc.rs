//! gRPC over reloading TLS: tonic servers and clients whose new connections use new certificates.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tower::Service;
use tracing::{debug, warn};

use crate::tasks::Tasks;
use crate::tls::Reloading;
use crate::tls_stream::MaybeTls;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at the same time; further connections wait in the kernel's queue.
const HANDSHAKES: usize = 256;

/// Keep-alive of idle connections, so that a dead peer is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long to rest after accept fails, which it does when descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a handler learns of a connection, from the request's extensions.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The peer's address.
    pub address: SocketAddr,
    /// The certificate chain the peer proved, leaf first; empty without mutual TLS.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

/// Serves `service` (a tonic `Routes`, or one generated server) on `listener`, over TLS if given,
/// until the drain of `tasks`: then no new connections, and calls under way finish.
///
/// # Errors
/// tonic's, when it cannot serve.
pub async fn serve<S, B>(
    tasks: &Tasks,
    listener: TcpListener,
    tls: Option<Reloading<ServerConfig>>,
    service: S,
) -> Result<(), tonic::transport::Error>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (send, receive) = mpsc::channel(HANDSHAKES);
    let accept = accept(tasks.clone(), listener, tls, send);
    let accepting = tasks.spawn_background("grpc accept", accept);
    let drain = tasks.drain().clone();
    let guard = drain.guard("grpc server");
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_max_header_list_size(64 * 1024)
        .serve_with_incoming_shutdown(service, ReceiverStream::new(receive), async move {
            drain.draining().await;
        })
        .await;
    accepting.abort();
    drop(guard);
    served
}

async fn accept(
    tasks: Tasks,
    listener: TcpListener,
    tls: Option<Reloading<ServerConfig>>,
    send: mpsc::Sender<io::Result<ServerStream>>,
) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("grpc accept: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            },
            () = send.closed() => return,
            () = tasks.drain().draining() => return,
        };
        let tls = tls.as_ref().map(Reloading::load);
        let send = send.clone();
        let _detached = tasks.spawn_background("grpc handshake", async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, address, tls)).await {
                Ok(Ok(stream)) => {
                    // The receiver is gone only when the server is.
                    let _sent = send.send(Ok(stream)).await;
                }
                Ok(Err(error)) => debug!(%address, "TLS handshake: {error}"),
                Err(_elapsed) => debug!(%address, "TLS handshake took too long"),
            }
            drop(slot);
        });
    }
}

async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<ServerStream> {
    stream.set_nodelay(true)?;
    let Some(config) = tls else {
        let peer = PeerInfo { address, certificates: Arc::from([]), is_tls: false };
        return Ok(ServerStream { io: MaybeTls::Plain(stream), peer });
    };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let proven = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = proven.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let peer = PeerInfo { address, certificates, is_tls: true };
    Ok(ServerStream { io: MaybeTls::Tls(Box::new(stream.into())), peer })
}

/// An accepted connection with what is known of its peer.
struct ServerStream {
    io: MaybeTls,
    peer: PeerInfo,
}

impl Connected for ServerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where a client connects.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port` to dial; also the authority of requests.
    pub authority: String,
    /// The name the server must prove; the host of `authority` when not given.
    pub server_name: Option<String>,
    /// How long dialling and the handshake may take.
    pub connect_timeout: Duration,
}

/// A target that cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not `host:port`.
    #[error("{authority:?} is not host:port")]
    Authority {
        /// The text.
        authority: String,
    },
    /// Not a DNS name or IP address.
    #[error("{name:?} cannot be a server's name in TLS")]
    ServerName {
        /// The text.
        name: String,
    },
}

/// A channel that dials at first use and again after a loss; each time with the TLS configuration
/// of that moment. Without TLS it speaks HTTP/2 in clear.
///
/// # Errors
/// [`TargetError`] when the target cannot be dialled at all.
pub fn channel(
    target: &Target,
    tls: Option<Reloading<ClientConfig>>,
) -> Result<Channel, TargetError> {
    marked_channel(target, tls, None)
}

/// As [`channel`], over sockets with this mark (`SO_MARK`), by which packet rules know them. Where
/// the process may not set it, sockets go without.
///
/// # Errors
/// As [`channel`].
pub fn marked_channel(
    target: &Target,
    tls: Option<Reloading<ClientConfig>>,
    mark: Option<u32>,
) -> Result<Channel, TargetError> {
    let bad = || TargetError::Authority { authority: target.authority.clone() };
    let uri: Uri = format!("http://{}", target.authority).parse().map_err(|_| bad())?;
    let (host, port) = (uri.host().ok_or_else(bad)?, uri.port_u16().ok_or_else(bad)?);
    let address = format!("{host}:{port}");
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin = format!("{scheme}://{}", target.authority).parse().map_err(|_| bad())?;
    let name = target.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']).to_owned();
    let server_name =
        ServerName::try_from(name.clone()).map_err(|_| TargetError::ServerName { name })?;
    let endpoint = Endpoint::from(uri)
        .origin(origin)
        .connect_timeout(target.connect_timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connector = tower::service_fn(move |_uri: Uri| {
        dial(address.clone(), server_name.clone(), tls.as_ref().map(Reloading::load), mark)
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn dial(
    address: String,
    name: ServerName<'static>,
    tls: Option<Arc<ClientConfig>>,
    mark: Option<u32>,
) -> io::Result<TokioIo<MaybeTls>> {
    let stream = match mark {
        None => TcpStream::connect(&address).await?,
        Some(mark) => connect_marked(&address, mark).await?,
    };
    stream.set_nodelay(true)?;
    let io = match tls {
        Some(config) => {
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            MaybeTls::Tls(Box::new(stream.into()))
        }
        None => MaybeTls::Plain(stream),
    };
    Ok(TokioIo::new(io))
}

/// Connects to the first address that answers, as `TcpStream::connect` does.
async fn connect_marked(address: &str, mark: u32) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address}: no address"));
    for address in tokio::net::lookup_host(address).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Err(error) = SockRef::from(&socket).set_mark(mark) {
            debug!("the socket is not marked: {error}");
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
