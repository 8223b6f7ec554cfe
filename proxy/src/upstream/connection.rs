//! One HTTP connection to an endpoint. hyper's client side stops here: what leaves are our own
//! bodies and failures.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_rt::tasks::Tasks;
use proxy_model::cluster::{Http1Options, Http2Options};
use proxy_model::facts::PeerIdentity;
use tokio::time::Instant;

use super::body::OutBody;
use super::io::UpstreamIo;
use crate::failure::{Failure, FailureKind};

/// Bytes of response headers that are accepted: Envoy's 60 KiB.
const MAX_RESPONSE_HEADERS: u32 = 60 * 1024;
/// Response headers that are accepted: Envoy's 100.
const MAX_RESPONSE_HEADER_COUNT: usize = 100;
/// Envoy's default windows are 256 MiB; what a stalled client makes us hold is bounded by ours.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How long a connection that ends stays without a request.
const DRAIN_CHECK: Duration = Duration::from_millis(100);

/// What is known of a connection, and how it is used.
#[derive(Debug)]
pub struct ConnState {
    /// This end's address.
    pub local: Option<SocketAddr>,
    /// Who the other end proved to be.
    pub peer: Option<Arc<PeerIdentity>>,
    /// Requests so far.
    pub served: Cell<u32>,
    /// Requests under way.
    pub active: Cell<u32>,
    /// When the last request ended.
    pub last_used: Cell<Instant>,
    /// No further request goes over it.
    pub closing: Cell<bool>,
}

impl ConnState {
    /// An unused connection.
    pub fn new(local: Option<SocketAddr>, peer: Option<Arc<PeerIdentity>>) -> Self {
        Self {
            local,
            peer,
            served: Cell::new(0),
            active: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            closing: Cell::new(false),
        }
    }

    /// Ready when the connection had nothing to do for `timeout`; never without one.
    pub async fn idle_for(&self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else { return std::future::pending().await };
        loop {
            let begun = if self.active.get() > 0 { Instant::now() } else { self.last_used.get() };
            tokio::time::sleep_until(begun + timeout).await;
            if self.active.get() == 0 && self.last_used.get() + timeout <= Instant::now() {
                return;
            }
        }
    }
}

/// Spawns hyper's tasks of a connection on this worker.
#[derive(Clone)]
pub struct LocalExecutor(pub Tasks);

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_local_background("http2 stream", async move {
            future.await;
        });
    }
}

/// Starts HTTP/1.1 on a connected stream. The second part is to be polled until it ends.
pub async fn http1(
    io: UpstreamIo,
    options: &Http1Options,
) -> Result<(http1::SendRequest<OutBody>, impl Future<Output = hyper::Result<()>> + use<>), Failure>
{
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(MAX_RESPONSE_HEADERS as usize)
        .max_headers(MAX_RESPONSE_HEADER_COUNT)
        .preserve_header_case(options.preserve_case);
    let (sender, connection) =
        builder.handshake(TokioIo::new(io)).await.map_err(|error| classify(&error))?;
    Ok((sender, connection.with_upgrades()))
}

/// Starts HTTP/2 on a connected stream. The second part is to be polled until it ends.
pub async fn http2(
    io: UpstreamIo,
    options: &Http2Options,
    tasks: &Tasks,
) -> Result<(http2::SendRequest<OutBody>, impl Future<Output = hyper::Result<()>> + use<>), Failure>
{
    let mut builder = http2::Builder::new(LocalExecutor(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_RESPONSE_HEADERS)
        .initial_stream_window_size(options.initial_stream_window_size.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(
            options.initial_connection_window_size.unwrap_or(CONNECTION_WINDOW),
        );
    if let Some(interval) = options.keepalive_interval {
        builder.keep_alive_interval(interval).keep_alive_while_idle(true);
    }
    if let Some(timeout) = options.keepalive_timeout {
        builder.keep_alive_timeout(timeout);
    }
    builder.handshake(TokioIo::new(io)).await.map_err(|error| classify(&error))
}

/// Polls a connection until it ends, has been idle for too long, or is too old.
pub async fn drive(
    connection: impl Future<Output = hyper::Result<()>>,
    state: &ConnState,
    idle: Option<Duration>,
    max_duration: Option<Duration>,
) {
    let mut connection = pin!(connection);
    let too_old = async {
        match max_duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // How it ended is known to the requests on it.
        _ = connection.as_mut() => return,
        () = state.idle_for(idle) => return,
        () = too_old => state.closing.set(true),
    }
    // What is under way is finished.
    tokio::select! {
        _ = connection => {}
        () = state.idle_for(Some(DRAIN_CHECK)) => {}
    }
}

/// What hyper's error means.
pub fn classify(error: &hyper::Error) -> Failure {
    if let Some(h2) = find::<h2::Error>(error) {
        return classify_h2(h2);
    }
    if let Some(body) = find::<super::body::BodyError>(error) {
        return Failure::with_reason(FailureKind::LocalReset, body);
    }
    if error.is_parse() {
        return Failure::with_reason(FailureKind::ProtocolError, error);
    }
    if error.is_user() {
        return Failure::with_reason(FailureKind::LocalReset, error);
    }
    Failure::new(FailureKind::ConnectionTermination)
}

fn classify_h2(error: &h2::Error) -> Failure {
    let reason = error.reason();
    // Only streams that the other end did not look at fail by a GOAWAY (RFC 9113 §6.8).
    if error.is_go_away() && error.is_remote() {
        return Failure::new(FailureKind::RemoteRefusedStreamReset);
    }
    if error.is_remote() {
        return match reason {
            Some(h2::Reason::REFUSED_STREAM) => Failure::new(FailureKind::RemoteRefusedStreamReset),
            _ => Failure::new(FailureKind::RemoteReset),
        };
    }
    match reason {
        Some(reason) if error.is_library() || error.is_go_away() || error.is_reset() => {
            Failure::with_reason(FailureKind::ProtocolError, reason.description())
        }
        _ => Failure::new(FailureKind::ConnectionTermination),
    }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
