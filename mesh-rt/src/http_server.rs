//! A bounded HTTP/1.1 server, with TLS or without, for admin pages, webhooks and samples: limits on
//! everything, drain.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::tasks::Tasks;
use crate::tls::Reloading;
use crate::tls_stream::MaybeTls;

/// How long to rest after accept fails, which it does when descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at the same time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Bytes of a request head; more is answered 431. At least 8192.
    pub head_bytes: usize,
    /// Header fields of a request; more is answered 431.
    pub headers: usize,
    /// How long a TLS handshake and a request head may take, and a connection may idle.
    pub head_timeout: Duration,
    /// How long a request may be worked on; longer is answered 503.
    pub request_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_bytes: 32 * 1024,
            headers: 100,
            head_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// What happens to the server when the process drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtDrain {
    /// Accepts no more; requests under way finish, then their connections close.
    Finish,
    /// Goes on until everything stops: for the pages one looks at during a drain.
    KeepServing,
}

/// Serves `listener` until the tasks' drain.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// For the names of tasks: `admin`, `http`.
    pub name: &'static str,
    /// The bounds.
    pub limits: HttpLimits,
    /// The end.
    pub at_drain: AtDrain,
}

impl HttpServer {
    /// Starts serving in the background; ends with the drain of `tasks`.
    pub fn serve<H, F>(self, tasks: &Tasks, listener: TcpListener, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let group = tasks.clone();
        let accept = async move { self.accept(&group, listener, None, handler).await };
        let _detached = tasks.spawn_background("http accept", accept);
    }

    /// As [`serve`](Self::serve), over TLS; each connection has the configuration of its moment.
    pub fn serve_tls<H, F>(
        self,
        tasks: &Tasks,
        listener: TcpListener,
        tls: Reloading<ServerConfig>,
        handler: H,
    ) where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let group = tasks.clone();
        let accept = async move { self.accept(&group, listener, Some(tls), handler).await };
        let _detached = tasks.spawn_background("https accept", accept);
    }

    async fn accept<H, F>(
        self,
        tasks: &Tasks,
        listener: TcpListener,
        tls: Option<Reloading<ServerConfig>>,
        handler: H,
    ) where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = next_connection(&listener, &slots) => accepted,
                () = tasks.drain().draining(), if self.at_drain == AtDrain::Finish => return,
            };
            let (stream, peer, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(server = self.name, "accept: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let tls = tls.as_ref().map(Reloading::load);
            let (server, group, handler) = (self.clone(), tasks.clone(), handler.clone());
            let task = async move {
                match tokio::time::timeout(server.limits.head_timeout, secure(stream, tls)).await {
                    Ok(Ok(stream)) => server.connection(group, stream, peer, handler).await,
                    Ok(Err(error)) => debug!(server = server.name, %peer, "handshake: {error}"),
                    Err(_late) => debug!(server = server.name, %peer, "handshake took too long"),
                }
                drop(slot);
            };
            let _detached = match self.at_drain {
                AtDrain::Finish => tasks.spawn(format!("{} connection", self.name), task),
                AtDrain::KeepServing => tasks.spawn_background("http connection", task),
            };
        }
    }

    async fn connection<H, F>(self, tasks: Tasks, stream: MaybeTls, peer: SocketAddr, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let timeout = self.limits.request_timeout;
        let service = service_fn(move |request| {
            let work = handler(request, peer);
            async move {
                let late = |_| text(StatusCode::SERVICE_UNAVAILABLE, "the request took too long\n");
                Ok::<_, Infallible>(tokio::time::timeout(timeout, work).await.unwrap_or_else(late))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_headers(self.limits.headers)
            .max_header_size(self.limits.head_bytes)
            .max_buf_size(self.limits.head_bytes.max(8192) * 2)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = tasks.drain().draining(), if self.at_drain == AtDrain::Finish => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(server = self.name, %peer, "connection ended: {error}");
        }
    }
}

async fn secure(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> std::io::Result<MaybeTls> {
    // Small replies must not wait for the peer's delayed acknowledgement.
    let _best_effort = stream.set_nodelay(true);
    Ok(match tls {
        Some(tls) => MaybeTls::Tls(Box::new(TlsAcceptor::from(tls).accept(stream).await?.into())),
        None => MaybeTls::Plain(stream),
    })
}

async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Why a request body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than the limit: answer 413.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The peer broke off or sent nonsense: answer 400, if anyone still listens.
    #[error("the body could not be read")]
    Unreadable,
}

impl BodyError {
    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreadable => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// [`BodyError`]: too large, or cut off.
pub async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { limit }),
        Err(_cut_off) => Err(BodyError::Unreadable),
    }
}

/// A plain-text response.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", body)
}

/// A JSON response.
#[must_use]
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encoding: {error}\n")),
    }
}

/// A response of any type.
#[must_use]
pub fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let value = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    response
}

#[cfg(test)]
mod tests;
